//! One call sent and its answer read: the exact request, its limits, the silent reconnect.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, ClientBuilder, Request, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;
use tower::util::MapFutureLayer;

use super::answer::{self, BODY_LIMIT};
use super::call::{About, Call};
use super::cause;
use super::progress::{self, Connection};
use super::proxy::{Proxies, Route, Variables};
use super::resolver::Resolver;
use super::server::Server;
use super::yields;
use crate::core::failure::{Cause, Failure, HttpFailure};
use crate::core::origin::Origin;
use crate::core::text;
use crate::lock::lock;

const JSON: &str = "application/json";

/// What came of a call: what it was about, how it ended, how long it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked<T> {
    pub about: About,
    pub outcome: Result<T, Failure>,
    /// None if nothing was sent, since the failure of another call was enough.
    pub took: Option<Duration>,
}

/// How long the first address of a name may take until the next one is tried; half of what is left, if that is less.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls at once that share the connections of all others: as many as a batch makes by default.
pub const MAX_SHARED_CONNECTIONS: usize = 16;

/// A client with its kept connections: one TLS configuration, the proxies of one reading of the environment.
#[derive(Debug, Clone)]
pub struct Transport {
    pooled: Arc<Mutex<Pooled>>,
    tls: ClientConfig,
    proxies: Arc<Proxies>,
}

#[derive(Debug)]
struct Pooled {
    client: Client,
    made: Instant,
}

impl Pooled {
    fn new(tls: &ClientConfig, proxies: &Arc<Proxies>) -> Result<Self, reqwest::Error> {
        Ok(Self { client: builder(tls, proxies).build()?, made: Instant::now() })
    }
}

impl Transport {
    pub fn new(tls: ClientConfig, variables: &Variables) -> Result<Self, reqwest::Error> {
        let proxies = Arc::new(Proxies::new(variables));
        let pooled = Pooled::new(&tls, &proxies)?;
        Ok(Self { pooled: Arc::new(Mutex::new(pooled)), tls, proxies })
    }

    /// The transport of so many calls at once. A burst has connections of its own, which end with it: more than a few would
    /// stay idle afterwards, and a pool with a limit would close and open them all the time.
    pub fn of_calls(&self, at_once: usize) -> Self {
        if at_once <= MAX_SHARED_CONNECTIONS {
            return self.clone();
        }
        let own = Pooled::new(&self.tls, &self.proxies).map(|pooled| Arc::new(Mutex::new(pooled)));
        Self { pooled: own.unwrap_or_else(|_| self.pooled.clone()), ..self.clone() }
    }

    /// The client for a call. A call that must not be sent twice gets one with no kept connections: a dead one would make
    /// its outcome uncertain, and hyper-util sends again on another (its `retry_canceled_requests`).
    fn client<T>(&self, server: &Server, call: &Call<T>) -> Result<Client, reqwest::Error> {
        if !call.is_repeatable() {
            return builder(&self.tls, &self.proxies).pool_max_idle_per_host(0).build();
        }
        let mut pooled = lock(&self.pooled);
        if !server.site.trusts_connections_since(pooled.made) {
            *pooled = Pooled::new(&self.tls, &self.proxies)?;
        }
        Ok(pooled.client.clone())
    }

    /// Makes a call within the server's own limit.
    pub async fn ask<T>(&self, server: &Server, call: Call<T>) -> Asked<T> {
        self.ask_within(server.request_timeout, server, call).await
    }

    /// Makes a call within another limit.
    pub async fn ask_within<T>(&self, limit: Duration, server: &Server, call: Call<T>) -> Asked<T> {
        let started = Instant::now();
        let outcome = self.exchange(limit, server, &call).await;
        if proves_credentials(&outcome) {
            server.prove();
        }
        Asked { about: call.about, outcome, took: Some(started.elapsed()) }
    }

    async fn exchange<T>(&self, limit: Duration, server: &Server, call: &Call<T>) -> Result<T, Failure> {
        let route = self.proxies.route(server.origin.url());
        if let Route::Unusable(variable) = route {
            let text = format!("the environment variable {variable} names no http, https or socks proxy");
            return Err(Failure::Transport { cause: Cause::Connect, text });
        }
        let (outcome, connection) = progress::watch(self.within(limit, server, call)).await;
        let outcome = outcome.unwrap_or_else(|| {
            let on_kept = connection == Connection::Kept;
            if on_kept {
                server.site.distrust_connections();
            }
            Err(Failure::Timeout { limit, on_kept })
        });
        if outcome.is_err() || !call.is_repeatable() {
            yields::let_connections_settle().await;
        }
        let may_have_arrived = !call.is_repeatable() && connection == Connection::Opened;
        outcome.map_err(|failure| name_proxy(failure, route)).map_err(|failure| {
            if may_have_arrived && !is_refusal(&failure) { Failure::Uncertain(Box::new(failure)) } else { failure }
        })
    }

    /// The outcome within a limit. A process that was stopped meanwhile finds the limit passed and the answer waiting, so
    /// connections are read once more.
    async fn within<T>(&self, limit: Duration, server: &Server, call: &Call<T>) -> Option<Result<T, Failure>> {
        let end = Instant::now() + limit;
        let mut sent = pin!(self.send(end, server, call));
        match select(sent.as_mut(), pin!(tokio::time::sleep(limit))).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => match select(sent, pin!(yields::let_connections_settle())).await {
                Either::Left((outcome, _)) => Some(outcome),
                Either::Right(_) => None,
            },
        }
    }

    async fn send<T>(&self, end: Instant, server: &Server, call: &Call<T>) -> Result<T, Failure> {
        loop {
            let client = self.client(server, call).map_err(|error| cause::failure(&error))?;
            let Some(answer) = connected(client.execute(request(server, call)), end).await else { continue };
            let is_kept = matches!(progress::connection(), Connection::Kept | Connection::Opening);
            match answer {
                Ok(response) => return read(response, server, call).await,
                // Terminates: each turn consumes a kept connection, and a failure on a new one is returned.
                Err(error) if is_kept && call.is_repeatable() && cause::is_cut(&error) => {}
                Err(error) if is_kept && call.is_repeatable() && cause::is_dead(&error) => {
                    server.site.distrust_connections();
                }
                Err(error) => return Err(cause::failure(&error)),
            }
        }
    }
}

/// Waits for an answer; None where the next address of the name is to be tried.
async fn connected<F: Future>(answer: F, end: Instant) -> Option<F::Output> {
    let patience = (end.saturating_duration_since(Instant::now()) / 2).min(ADDRESS_TIMEOUT);
    let mut answer = pin!(answer);
    match select(answer.as_mut(), pin!(tokio::time::sleep(patience))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) if progress::next_attempt() => None,
        Either::Right(_) => Some(answer.await),
    }
}

fn builder(tls: &ClientConfig, proxies: &Arc<Proxies>) -> ClientBuilder {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        // A line that begins with a blank continues the one above; a client replaces the fold (RFC 9112 section 5.2).
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .user_agent(concat!("saymon-bulk/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Resolver))
        .connector_layer(MapFutureLayer::new(progress::connecting));
    proxies.apply(builder)
}

/// Whether an answer shows that the server has accepted the credentials. A gateway gives some answers before it asks for them.
fn proves_credentials<T>(outcome: &Result<T, Failure>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Failure::Http(failure)) => !matches!(failure.http_status, 401 | 407 | 429 | 502..=504),
        Err(_) => false,
    }
}

/// Whether a failure on an open connection proves that the server did not act on the request.
fn is_refusal(failure: &Failure) -> bool {
    match failure {
        // 408 is about a request that came in part, as the server sees it (RFC 9110 section 15.5.9).
        Failure::Http(failure) => matches!(failure.http_status, 300..=499) && failure.http_status != 408,
        Failure::Transport { cause, .. } => *cause == Cause::Tls,
        _ => false,
    }
}

fn name_proxy(failure: Failure, route: &Route) -> Failure {
    match (failure, route) {
        (Failure::Transport { cause, text }, Route::Through(hop)) => {
            Failure::Transport { cause, text: format!("through the proxy {}: {text}", hop.authority) }
        }
        (Failure::Http(mut failure), Route::Through(hop)) if failure.http_status == 407 => {
            let asked = failure.advice.map_or_else(String::new, |advice| format!(": {advice}"));
            failure.advice = Some(format!("the proxy {} wants a login, or another one{asked}", hop.authority));
            Failure::Http(failure)
        }
        (failure, _) => failure,
    }
}

fn request<T>(server: &Server, call: &Call<T>) -> Request {
    let mut request = Request::new(call.method.clone(), server.origin.join(&call.path));
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(JSON));
    headers.insert(AUTHORIZATION, server.credentials.authorization().clone());
    if let Some(id) = call.about.request_id() {
        headers.insert(HeaderName::from_static("x-request-id"), id.clone());
    }
    if !call.method.is_safe() {
        // hyper leaves out the length of an empty body, and a server may then refuse a POST (RFC 9110 section 8.6).
        headers.insert(CONTENT_LENGTH, call.body.len().into());
    }
    if !call.body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        *request.body_mut() = Some(call.body.clone().into());
    }
    request
}

async fn read<T>(mut response: Response, server: &Server, call: &Call<T>) -> Result<T, Failure> {
    if response.status() != StatusCode::OK {
        return Err(Failure::Http(Box::new(read_failure(response, server).await)));
    }
    if let Some(encoding) = header(&response, CONTENT_ENCODING).filter(|encoding| is_compressed(encoding)) {
        let reason = format!("Content-Encoding {encoding}, which was not asked for");
        return Err(undocumented(&response, server, &reason, &Body::default()));
    }
    let is_too_long = response.content_length().is_some_and(|length| length > BODY_LIMIT as u64);
    let body = if is_too_long { arrived(&mut response) } else { body(&mut response).await };
    match &body.end {
        End::Complete => (call.read)(&body.bytes).map_err(|reason| undocumented(&response, server, &reason, &body)),
        End::TooLong => {
            let reason = format!("more than {} KiB of body", BODY_LIMIT / 1024);
            Err(undocumented(&response, server, &reason, &body))
        }
        End::Failed(failure) => Err(failure.clone()),
    }
}

fn undocumented(response: &Response, server: &Server, reason: &str, body: &Body) -> Failure {
    let content_type = header(response, CONTENT_TYPE);
    answer::undocumented(reason, content_type.as_deref(), &body.bytes, body.is_cut(), &server.credentials)
}

async fn read_failure(mut response: Response, server: &Server) -> HttpFailure {
    let status = response.status();
    // A body that breaks off takes nothing from what the status says.
    let body = body(&mut response).await;
    let mut failure = answer::read_error(status.as_u16(), &body.bytes, body.is_cut(), &server.credentials);
    failure.retry_after =
        header(&response, RETRY_AFTER).and_then(|value| answer::retry_after(&value, SystemTime::now()));
    if let Some(name) = challenge(status) {
        let values = response.headers().get_all(name).iter();
        let mask = |value: &HeaderValue| server.credentials.mask(&String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.map(mask).collect();
        failure.advice = answer::unmet_challenge(values.iter().map(String::as_str));
    }
    if status.is_redirection() {
        failure.advice = header(&response, LOCATION)
            .and_then(|target| redirect_advice(&target, &server.origin))
            .map(|advice| server.credentials.mask(&advice));
    }
    failure
}

/// The header that says which login is wanted (RFC 9110 section 11.6.1 and 11.7.1).
fn challenge(status: StatusCode) -> Option<HeaderName> {
    match status {
        StatusCode::UNAUTHORIZED => Some(WWW_AUTHENTICATE),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(PROXY_AUTHENTICATE),
        _ => None,
    }
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

/// A body up to its limit.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    end: End,
}

impl Body {
    fn is_cut(&self) -> bool {
        !matches!(self.end, End::Complete)
    }
}

#[derive(Default)]
enum End {
    #[default]
    Complete,
    TooLong,
    Failed(Failure),
}

/// What has arrived by now of a body that is too long by its own account.
fn arrived(response: &mut Response) -> Body {
    let chunk = response.chunk().now_or_never().and_then(|read| read.ok().flatten()).unwrap_or_default();
    Body { bytes: chunk.get(..BODY_LIMIT).unwrap_or(&chunk).to_vec(), end: End::TooLong }
}

/// Whether a content coding changes the body. Servers also say `none`, `utf-8` or nothing, which the body then bears out.
fn is_compressed(encoding: &str) -> bool {
    const COMPRESSIONS: [&str; 7] = ["br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"];
    encoding.split(',').any(|coding| COMPRESSIONS.iter().any(|known| coding.trim().eq_ignore_ascii_case(known)))
}

async fn body(response: &mut Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = BODY_LIMIT - bytes.len();
                bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return Body { bytes, end: End::TooLong };
                }
            }
            Ok(None) => return Body { bytes, end: End::Complete },
            Err(error) => return Body { bytes, end: End::Failed(cause::failure(&error)) },
        }
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
