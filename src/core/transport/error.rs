//! reqwest's chain of errors → a `Failure`, in words that can be looked up. The texts of hyper and hyper-util hold Rust's names
//! and links.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use rustls::Error as TlsError;

use super::resolver::Unresolved;
use crate::core::failure::{Cause, Failure};
use crate::core::text;
use crate::core::tls::explain;

/// rustls' text for a connection that ends without TLS's own end begins so; a link to its manual follows.
const NO_CLOSE_NOTIFY: &str = "peer closed connection without sending TLS close_notify";

/// hyper-util, hyper, reqwest.
const STAGES: [&str; 5] =
    ["client error (", "connection error", "error connecting to socks proxy", "dns error", "error resolving DNS"];

/// hyper-util's text for a connection that is not made; its `Debug` has the address.
const NO_CONNECTION: &str = "tcp connect error";

/// hyper-util's text for a tunnel whose connection to the proxy is not made.
const NO_PROXY: &str = "tunnel error: failed to create underlying connection";

/// hyper's text for an answer that begins like no HTTP/1.x.
const NO_HTTP: &str = "invalid HTTP version parsed";

/// hyper-util's text for every answer to CONNECT but 200 and 407.
const REFUSED_TUNNEL: &str = "tunnel error: unsuccessful";

/// hyper-util's texts for a login that a proxy refuses: by 407, and by the two answers of SOCKS 5 (RFC 1928, RFC 1929).
const REFUSED_LOGINS: [&str; 3] = [
    "tunnel error: proxy authorization required",
    "SOCKS error: credentials not accepted",
    "SOCKS error: server does not support user/pass authentication",
];

/// hyper's text for a write that failed.
const CUT_WHILE_SENT: &str = "error writing a body to connection";

/// Texts of error types that hyper, hyper-util and tokio-rustls do not export.
const TEXTS: [(&str, &str); 21] = [
    ("connection closed before message completed", "the other side closed the connection without answering"),
    ("tls handshake eof", "the other side closed the connection during the TLS handshake"),
    ("error reading a body from connection", "the answer broke off"),
    (CUT_WHILE_SENT, "the request was sent in part"),
    (NO_HTTP, "the other side speaks no HTTP"),
    ("invalid HTTP header parsed", "the answer has a header that is not as HTTP wants it"),
    ("invalid HTTP status-code parsed", "the answer has a status that is not as HTTP wants it"),
    ("invalid content-length parsed", "the answer has a Content-Length that is no length, or two of them"),
    ("invalid transfer-encoding parsed", "the answer has a Transfer-Encoding that is not as HTTP wants it"),
    (
        "unexpected transfer-encoding parsed",
        "the answer is of HTTP/1.0 and has a Transfer-Encoding, which HTTP/1.1 alone knows",
    ),
    ("message head is too large", "the answer has more than 100 headers, or too long ones"),
    (REFUSED_TUNNEL, "the proxy refused the tunnel: its answer to CONNECT is not 200, or no HTTP"),
    (REFUSED_LOGINS[0], "the proxy refused the tunnel with 407: it wants a login, or another one"),
    (REFUSED_LOGINS[1], "the proxy refused the login"),
    ("tunnel error: unexpected end of file", "the proxy closed the connection instead of opening a tunnel"),
    ("tunnel error: proxy response headers too long", "the proxy's answer to CONNECT is too long"),
    (NO_PROXY, "no connection to the proxy"),
    ("SOCKS error: failed to create underlying connection", "no connection to the proxy"),
    (REFUSED_LOGINS[2], "the proxy wants another kind of login"),
    ("SOCKS error: io error during SOCKS handshake", "the proxy broke off the SOCKS handshake"),
    ("SOCKS error: failed parsing server response", "the proxy speaks no SOCKS, or another version of it"),
];

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
    chain(error).any(|link| link.to_string() == REFUSED_TUNNEL)
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// A transport failure with its whole chain of causes, each once.
pub fn failure(error: &reqwest::Error) -> Failure {
    let is_in_body = error.is_body() || error.is_decode();
    let mut reasons: Vec<String> = Vec::new();
    // The first link says "error sending request" and the URL; the causes follow.
    for link in chain(error).skip(1) {
        // An io::Error around another error repeats what the next link says.
        if link.downcast_ref::<io::Error>().is_some_and(|outer| outer.get_ref().is_some()) {
            continue;
        }
        let words = words(link, is_in_body).filter(|words| !reasons.iter().any(|before| before.contains(words)));
        reasons.extend(words);
    }
    if reasons.is_empty() {
        reasons.push(if is_in_body { "broken body" } else { "broken exchange" }.to_owned());
    }
    let mut text = reasons.join(": ");
    // A server that refuses a request by its head closes the connection, and its answer may be lost.
    if is_cut(error) && chain(error).any(|link| link.to_string() == CUT_WHILE_SENT) {
        text.push_str("; perhaps the other side refuses a body of this length, or this login");
    }
    Failure::Transport { cause: cause(error), text }
}

/// Whether no HTTP came. A port of TLS answers plain http with an alert, or not at all.
pub fn is_no_http(error: &reqwest::Error) -> bool {
    let is_no_http = |error: &hyper::Error| error.is_incomplete_message() || error.to_string() == NO_HTTP;
    chain(error).filter_map(|link| link.downcast_ref()).any(is_no_http)
}

/// Whether a handshake of TLS was answered by something else.
pub fn is_no_tls(error: &reqwest::Error) -> bool {
    error.is_connect() && chain(error).filter_map(|link| link.downcast_ref()).any(explain::is_no_tls)
}

/// Whether no connection to a proxy was made, where a tunnel was to go through it.
pub fn is_no_proxy(error: &reqwest::Error) -> bool {
    chain(error).any(|link| link.to_string() == NO_PROXY)
}

fn cause(error: &reqwest::Error) -> Cause {
    for link in chain(error) {
        match link.downcast_ref::<TlsError>() {
            Some(TlsError::InvalidCertificate(_)) => return Cause::Certificate,
            Some(TlsError::AlertReceived(alert)) if explain::refuses_client(*alert) => return Cause::Tls,
            Some(_) if error.is_connect() => return Cause::Tls,
            Some(_) | None => {}
        }
    }
    if chain(error).any(|link| link.is::<Unresolved>()) {
        Cause::Resolve
    } else if chain(error).any(|link| refuses_proxy_login(&link.to_string())) {
        Cause::Proxy
    } else if error.is_connect() && !is_cut(error) {
        Cause::Connect
    } else {
        Cause::Cut
    }
}

/// What one link of a chain of errors says; none if it says the stage, and the links below it why.
fn words(link: &(dyn StdError + 'static), is_in_body: bool) -> Option<String> {
    if let Some(error) = link.downcast_ref() {
        return Some(explain::of(error));
    }
    let message = link.to_string();
    if message.starts_with(NO_CLOSE_NOTIFY) {
        let end = if is_in_body { " without the closing message of TLS" } else { " without answering" };
        return Some(format!("the other side closed the connection{end}"));
    }
    if STAGES.iter().any(|stage| message.starts_with(stage)) {
        return None;
    }
    if message == NO_CONNECTION {
        return no_connection(link);
    }
    if link.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some()) {
        return Some(text::escape(without_number(&message)));
    }
    let words = TEXTS
        .iter()
        .find(|(text, _)| *text == message)
        .map_or_else(|| text::escape(&message), |(_, words)| (*words).to_owned());
    Some(words)
}

/// Why no connection was made, and to which address. None if hyper-util does not tell the address: the next link says why.
fn no_connection(link: &(dyn StdError + 'static)) -> Option<String> {
    let debug = format!("{link:?}");
    let address: SocketAddr = debug.split(", ").nth(1)?.parse().ok()?;
    let reason = link.source()?.to_string();
    let reason = text::escape(without_number(&reason));
    Some(if reason == "Connection refused" { format!("{reason} by {address}") } else { format!("{reason}: {address}") })
}

/// The text of an error of the system, which ends in a number that says the same.
fn without_number(message: &str) -> &str {
    message.split(" (os error ").next().unwrap_or(message)
}

/// Whether a link of a chain of errors says that a proxy refuses the login.
fn refuses_proxy_login(link: &str) -> bool {
    REFUSED_LOGINS.contains(&link)
}
