//! reqwest's chain of causes → a failure, in words.

use std::error::Error as StdError;
use std::io;

use rustls::Error as TlsError;

use super::resolver::Unresolved;
use super::words;
use crate::core::failure::{Cause, Failure};

/// The links of an error's chain, with those that `io::Error` hides from `source`.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| {
        match error.downcast_ref::<io::Error>() {
            Some(outer) => outer.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// Whether the connection ended before an answer began. An idle connection does so when the server has closed it.
pub fn is_cut(error: &reqwest::Error) -> bool {
    chain(error).any(|link| {
        if let Some(error) = link.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        }
        link.downcast_ref::<io::Error>().is_some_and(is_end)
    })
}

/// Whether a kept connection turned out to be dead: the network has lost it in silence.
pub fn is_dead(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    let is_lost = |error: &io::Error| matches!(error.kind(), HostUnreachable | NetworkUnreachable | TimedOut);
    chain(error).any(|link| link.downcast_ref::<io::Error>().is_some_and(is_lost))
}

/// Whether a proxy answered CONNECT with something else than 200 and 407, or with no HTTP.
pub fn is_refused_tunnel(error: &reqwest::Error) -> bool {
    chain(error).any(|link| link.to_string() == words::REFUSED_TUNNEL)
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// A transport failure with its whole chain of causes, each once.
pub fn failure(error: &reqwest::Error) -> Failure {
    let is_in_body = error.is_body() || error.is_decode();
    let mut said: Vec<String> = Vec::new();
    // The first link says "error sending request" and the URL; the causes follow.
    for link in chain(error).skip(1) {
        // An io::Error around another error repeats what the next link says.
        if link.downcast_ref::<io::Error>().is_some_and(|outer| outer.get_ref().is_some()) {
            continue;
        }
        let words = words::of(link, is_in_body).filter(|words| !said.iter().any(|before| before.contains(words)));
        said.extend(words);
    }
    if said.is_empty() {
        said.push(if is_in_body { "broken body" } else { "broken exchange" }.to_owned());
    }
    let mut text = said.join(": ");
    // A port of TLS answers plain http with an alert, or not at all.
    let is_no_http = |error: &hyper::Error| error.is_parse() || error.is_incomplete_message();
    let is_unanswered = !is_in_body && chain(error).filter_map(|link| link.downcast_ref()).any(is_no_http);
    if is_unanswered && error.url().is_some_and(|url| url.scheme() == "http") {
        text.push_str("; is it an https:// host?");
    }
    Failure::Transport { cause: cause(error), text }
}

fn cause(error: &reqwest::Error) -> Cause {
    for link in chain(error) {
        match link.downcast_ref::<TlsError>() {
            Some(TlsError::InvalidCertificate(_)) => return Cause::Certificate,
            Some(TlsError::AlertReceived(alert)) if words::refuses_client(*alert) => return Cause::Tls,
            Some(_) if error.is_connect() => return Cause::Tls,
            Some(_) | None => {}
        }
    }
    if chain(error).any(|link| link.is::<Unresolved>()) {
        Cause::Resolve
    } else if chain(error).any(|link| words::refuses_proxy_login(&link.to_string())) {
        Cause::Proxy
    } else if error.is_connect() && !is_cut(error) {
        Cause::Connect
    } else {
        Cause::Cut
    }
}
