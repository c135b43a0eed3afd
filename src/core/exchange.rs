//! One status request and its answer: the exact request, its limits, the silent reconnect.

use std::cell::Cell;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Method, Request, Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, Error as TlsError};
use tower::util::MapFutureLayer;

use super::answer::{self, BODY_LIMIT, Status};
use super::credentials::Credentials;
use super::failure::{Cause, Failure, HttpFailure};
use super::operation::Operation;
use super::origin::Origin;
use super::proxy::{Proxies, Route, Variables};
use super::{text, trust};

/// The server, who asks, and for how long one exchange may last.
#[derive(Debug)]
pub struct Server {
    pub origin: Origin,
    pub credentials: Credentials,
    pub request_timeout: Duration,
}

tokio::task_local! {
    /// Whether the exchange under way had to open a connection of its own.
    static OPENED: Cell<bool>;
}

/// A store of kept connections under one trust, through the proxies of one reading of the environment.
#[derive(Debug, Clone)]
pub struct Connections {
    client: Client,
    proxies: Arc<Proxies>,
}

impl Connections {
    pub fn new(tls: ClientConfig, variables: &Variables) -> Result<Self, reqwest::Error> {
        let proxies = Arc::new(Proxies::new(variables));
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("saymon-bulk/", env!("CARGO_PKG_VERSION")))
            .connector_layer(MapFutureLayer::new(|connecting| async move {
                let connection = connecting.await;
                // Outside an exchange, a connection that lost the race against a kept one: nobody's.
                let _ = OPENED.try_with(|opened| opened.set(true));
                connection
            }));
        let client = proxies.apply(builder).build()?;
        Ok(Self { client, proxies })
    }

    /// `GET {origin}/node/api/bulk/{id}/status`, the vendor's "Get Bulk Operation Status".
    pub async fn status(&self, server: &Server, operation: &Operation) -> Result<Status, Failure> {
        self.status_within(server.request_timeout, server, operation).await
    }

    /// The same, with a limit of its own for this exchange.
    pub async fn status_within(
        &self,
        limit: Duration,
        server: &Server,
        operation: &Operation,
    ) -> Result<Status, Failure> {
        let route = self.proxies.route(server.origin.url());
        if let Route::Unusable(variable) = route {
            let text = format!("the environment variable {variable} names no http, https or socks proxy");
            return Err(Failure::Transport { cause: Cause::Connect, text });
        }
        let outcome = match tokio::time::timeout(limit, ask(&self.client, server, operation)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Timeout { limit }),
        };
        if outcome.is_err() {
            // What was given up is closed now, not when this runtime is next driven.
            for _ in 0..3 {
                yield_once().await;
            }
        }
        outcome.map_err(|failure| name_proxy(failure, route))
    }
}

fn name_proxy(failure: Failure, route: &Route) -> Failure {
    match (failure, route) {
        (Failure::Transport { cause, text }, Route::Through(hop)) => {
            Failure::Transport { cause, text: format!("through the proxy {}: {text}", hop.authority) }
        }
        (failure, _) => failure,
    }
}

/// Lets the connections run. tokio's own yield_now is owed a wake-up by the runtime's current drive, and forgotten if
/// that ends first, as it does whenever signals are looked for.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn ask(client: &Client, server: &Server, operation: &Operation) -> Result<Status, Failure> {
    loop {
        let sent = OPENED.scope(Cell::new(false), async {
            let answer = client.execute(request(server, operation)).await;
            (answer, OPENED.with(Cell::get))
        });
        match sent.await {
            (Ok(response), _) => return read(response, server).await,
            // The server closed a kept connection in the meantime: a GET may be sent again (RFC 9110 section 9.2.2).
            // Each turn uses up one kept connection, so a new one comes at last, and its end is an error.
            (Err(error), false) if is_cut(&error) => {}
            (Err(error), _) => return Err(transport(&error)),
        }
    }
}

fn request(server: &Server, operation: &Operation) -> Request {
    let mut request = Request::new(Method::GET, server.origin.join(&operation.status_path()));
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(AUTHORIZATION, server.credentials.authorization().clone());
    request
}

async fn read(mut response: Response, server: &Server) -> Result<Status, Failure> {
    if response.status() != StatusCode::OK {
        return Err(Failure::Http(Box::new(read_failure(response, server).await)));
    }
    if let Some(encoding) =
        header(&response, CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    {
        return Err(refused(&response, server, &format!("Content-Encoding {encoding}, which was not asked for"), b""));
    }
    let (body, end) = body(&mut response).await;
    match end {
        End::Complete => answer::read_status(&body).map_err(|reason| refused(&response, server, &reason, &body)),
        End::TooLong => Err(refused(&response, server, "more than 64 KiB of body", &body)),
        End::Cut(failure) => Err(failure),
    }
}

fn refused(response: &Response, server: &Server, reason: &str, body: &[u8]) -> Failure {
    answer::not_a_status(reason, header(response, CONTENT_TYPE).as_deref(), body, &server.credentials)
}

async fn read_failure(mut response: Response, server: &Server) -> HttpFailure {
    let status = response.status();
    // A body that breaks off takes nothing from what the status says.
    let (body, _) = body(&mut response).await;
    let mut failure = answer::read_error(status.as_u16(), &body, &server.credentials);
    failure.retry_after =
        header(&response, RETRY_AFTER).and_then(|value| answer::retry_after(&value, SystemTime::now()));
    if status.is_redirection() {
        failure.advice = header(&response, LOCATION)
            .and_then(|target| redirect_advice(&target, &server.origin))
            .map(|advice| server.credentials.mask(&advice));
    }
    failure
}

/// Names a redirect's target by its origin alone: the rest may hold anything.
fn redirect_advice(location: &str, origin: &Origin) -> Option<String> {
    let target = origin.join("/").join(location).ok()?;
    if !matches!(target.scheme(), "http" | "https") {
        return Some(format!("a redirect to another scheme, {}, which is not followed", text::escape(target.scheme())));
    }
    let target = target.origin().ascii_serialization();
    if target == origin.as_str() {
        return Some(format!("a redirect within {target}, which is not followed"));
    }
    let same_name = |url: &Url| url.host_str().map(str::to_owned);
    let upgraded = target.starts_with("https://") && origin.as_str().starts_with("http://");
    if upgraded && Url::parse(&target).ok().and_then(|url| same_name(&url)) == same_name(&origin.join("/")) {
        return Some(format!("a redirect, which is not followed; write {target} as host"));
    }
    Some(format!("a redirect to {target}, which is not followed; if that is the server, write it as host"))
}

fn header(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

enum End {
    Complete,
    TooLong,
    Cut(Failure),
}

/// The body up to its limit, and how it ended.
async fn body(response: &mut Response) -> (Vec<u8>, End) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = BODY_LIMIT - body.len();
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return (body, End::TooLong);
                }
            }
            Ok(None) => return (body, End::Complete),
            Err(error) => return (body, End::Cut(transport(&error))),
        }
    }
}

/// The links of an error's chain, the ones that `io::Error` wraps included: it hides them from `source`.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| {
        match error.downcast_ref::<io::Error>() {
            Some(outer) => outer.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// Whether the connection ended before an answer began, as a kept one does that the server has closed.
fn is_cut(error: &reqwest::Error) -> bool {
    chain(error).any(|link| {
        if let Some(error) = link.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        }
        link.downcast_ref::<io::Error>().is_some_and(is_end)
    })
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// A transport failure with its whole chain of causes in words, each once.
fn transport(error: &reqwest::Error) -> Failure {
    let mut words: Vec<String> = Vec::new();
    // The first link says "error sending request" and the URL; the causes follow.
    for link in chain(error).skip(1) {
        // An io::Error around another error repeats what the next link says.
        if link.downcast_ref::<io::Error>().is_some_and(|outer| outer.get_ref().is_some()) {
            continue;
        }
        let word = match link.downcast_ref() {
            Some(TlsError::InvalidCertificate(reason)) => trust::in_words(reason),
            _ => text::escape(&link.to_string()),
        };
        // hyper-util's own link says at which stage, the links below it say why.
        if !word.starts_with("client error (") && !words.iter().any(|said| said.contains(&word)) {
            words.push(word);
        }
    }
    if words.is_empty() {
        words.push(if error.is_body() { "broken body" } else { "broken exchange" }.to_owned());
    }
    if chain(error).any(|link| matches!(link.downcast_ref(), Some(TlsError::InvalidMessage(_)))) {
        words.push("the other side speaks no TLS; is it an http:// host?".to_owned());
    }
    Failure::Transport { cause: cause(error), text: words.join(": ") }
}

fn cause(error: &reqwest::Error) -> Cause {
    for link in chain(error) {
        match link.downcast_ref::<TlsError>() {
            Some(TlsError::InvalidCertificate(_)) => return Cause::Certificate,
            Some(_) => return Cause::Tls,
            None => {}
        }
    }
    if error.is_dns() {
        Cause::Resolve
    } else if error.is_connect() && !is_cut(error) {
        Cause::Connect
    } else {
        Cause::Cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_where_a_redirect_leads() {
        let plain = Origin::parse("http://h").unwrap();
        assert_eq!(
            redirect_advice("https://h/x?token=1", &plain).unwrap(),
            "a redirect, which is not followed; write https://h as host"
        );
        assert!(redirect_advice("https://u:p@other:1/x", &plain).unwrap().contains(" https://other:1,"));
        assert!(redirect_advice("/login", &plain).unwrap().contains("within http://h,"));
        assert!(redirect_advice("javascript:alert(1)", &plain).unwrap().contains("scheme, javascript,"));
        assert_eq!(redirect_advice("http://[", &plain), None);
    }
}
