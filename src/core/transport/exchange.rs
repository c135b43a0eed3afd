//! One call sent: the exact request, its limits, the silent reconnect.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Request};
use rustls::ClientConfig;

use super::attempt::Attempt;
use super::call::{About, Call};
use super::client::{KeptClient, Settings, Shared};
use super::error;
use super::gate::{Pass, Ticket};
use super::pieces;
use super::progress::{self, Connection};
use super::proxy::{self, Route, Variables};
use super::rate::Rate;
use super::response;
use super::server::Server;
use super::tunnel;
use super::yields;
use crate::core::failure::{Cause, Failure};
use crate::lock::lock;

const JSON: &str = "application/json";

/// What came of a call: what it was about, how it ended, how long it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed<T> {
    pub about: About,
    pub outcome: Result<T, Failure>,
    /// None if nothing was sent, since the failure of another call was enough.
    pub took: Option<Duration>,
}

impl<T> Completed<T> {
    pub fn unsent(about: About, failure: Failure) -> Self {
        Self { about, outcome: Err(failure), took: None }
    }
}

/// How long the first address of a name may take until the next one is tried; half of what is left, if that is less.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends calls with one client.
#[derive(Clone)]
pub struct Transport {
    settings: Arc<Settings>,
    client: Arc<Mutex<KeptClient>>,
    /// Clients of lanes that nobody uses now.
    idle_lanes: Arc<Mutex<Vec<Arc<Mutex<KeptClient>>>>>,
}

impl Transport {
    pub fn new(tls: ClientConfig, variables: &Variables, shared: &Shared) -> Self {
        let settings = Arc::new(Settings::new(tls, variables, shared));
        Self { settings, client: Arc::default(), idle_lanes: Arc::default() }
    }

    /// The same with a client of its own, for one request at a time.
    pub(super) fn lane(&self) -> Self {
        let client = lock(&self.idle_lanes).pop().unwrap_or_default();
        Self { client, ..self.clone() }
    }

    /// Keeps so many clients of lanes for the next calls.
    pub(super) fn keep(&self, lanes: Vec<Self>, at_most: usize) {
        let mut idle = lock(&self.idle_lanes);
        idle.extend(lanes.into_iter().map(|lane| lane.client).filter(|client| !Arc::ptr_eq(client, &self.client)));
        // Those that were used last stand at the end. The client of single calls is one of them.
        let excess = idle.len().saturating_sub(at_most.saturating_sub(1));
        idle.drain(..excess);
    }

    /// The client for a call. A call that must not be sent twice gets one with no kept connections: a dead one would make
    /// its outcome uncertain, and hyper-util sends again on another (its `retry_canceled_requests`).
    fn client<T>(&self, server: &Server, call: &Call<T>) -> Result<Client, reqwest::Error> {
        if call.is_repeatable { lock(&self.client).get(&self.settings, server) } else { self.settings.one_way_client() }
    }

    /// Makes a call within the server's own limit. It may wait at the gate as long before.
    pub async fn ask<T>(&self, server: &Server, call: Call<T>) -> Completed<T> {
        let pass = if server.is_open() {
            Pass::default()
        } else {
            // In a box, since few calls wait there.
            match Box::pin(self.ticket(server).pass_in_time(server)).await {
                Ok(pass) => pass,
                Err(failure) => return Completed::unsent(call.about, failure),
            }
        };
        self.ask_within(server.request_timeout, server, call, pass).await
    }

    /// For the passes of all requests of a call that begins now.
    pub fn ticket(&self, server: &Server) -> Ticket {
        self.settings.shared.gates.ticket(server)
    }

    /// Lets the next call of this client go, though the one ahead has no answer yet.
    pub fn overtake(&self, server: &Server) {
        self.settings.shared.gates.overtake(server);
    }

    /// The rate of all polls to the origin of a server.
    pub fn rate(&self, server: &Server) -> Arc<Rate> {
        self.settings.shared.rates.of(server.origin.clone(), Rate::default)
    }

    /// Makes a call within another limit.
    pub async fn ask_within<T>(&self, limit: Duration, server: &Server, call: Call<T>, pass: Pass) -> Completed<T> {
        let (started, refusals) = (Instant::now(), server.refusals());
        let (outcome, was_sent) = self.exchange(limit, server, &call, refusals).await;
        let news = self.settings.shared.gates.judge(server, refusals, &outcome);
        // Not before: a connection that comes back is for the next call, which must know of a refusal.
        if outcome.is_err() || !call.is_repeatable {
            yields::let_connections_settle().await;
        }
        // Not before: the first error of many is that of the request which was sent.
        drop((news, pass));
        Completed { about: call.about, outcome, took: was_sent.then(|| started.elapsed()) }
    }

    /// The outcome, and whether it is that of this exchange. It is not where another one was refused before this one had a
    /// connection.
    async fn exchange<T>(
        &self,
        limit: Duration,
        server: &Server,
        call: &Call<T>,
        refusals: u64,
    ) -> (Result<T, Failure>, bool) {
        let route = self.settings.proxies.route(server.origin.url());
        if let Route::Unusable(variable) = route {
            let schemes = proxy::SCHEMES.join(", ");
            let text = format!("the environment variable {variable} names no proxy that can be used ({schemes})");
            return (Err(Failure::Transport { cause: Cause::Connect, text }), true);
        }
        let attempt = Attempt { server, route, call, refusals, end: Instant::now() + limit, endless: OnceLock::new() };
        let (outcome, connection) = progress::watch(server.place(), self.send_in_time(&attempt)).await;
        let outcome = outcome.unwrap_or_else(|| {
            let on_kept = connection == Connection::Kept;
            if on_kept {
                server.distrust_connections();
            }
            Err(Failure::Timeout { limit, on_kept, reason: attempt.endless.get().cloned() })
        });
        if connection == Connection::Opening && outcome.as_ref().is_err_and(Failure::refuses_all) {
            return (outcome, false);
        }
        let may_have_arrived = !call.is_repeatable && connection == Connection::Opened;
        let outcome = outcome.map_err(|failure| name_proxy(failure, route)).map_err(|failure| {
            if may_have_arrived && !is_refusal(&failure) { Failure::Uncertain(Box::new(failure)) } else { failure }
        });
        (outcome, true)
    }

    /// The outcome; None if the time is over. After a suspension the limit has passed and the answer may be there, so connections
    /// are read once more: by the driver, which a timer calls, and then by their tasks.
    async fn send_in_time<T>(&self, attempt: &Attempt<'_, T>) -> Option<Result<T, Failure>> {
        let mut sent = pin!(self.send(attempt));
        match select(sent.as_mut(), pin!(tokio::time::sleep_until(attempt.end.into()))).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => match select(sent, pin!(yields::read_connections())).await {
                Either::Left((outcome, _)) => Some(outcome),
                Either::Right(_) => None,
            },
        }
    }

    async fn send<T>(&self, attempt: &Attempt<'_, T>) -> Result<T, Failure> {
        let Attempt { server, call, .. } = *attempt;
        let refused = || self.settings.shared.gates.refusal(server, attempt.refusals);
        loop {
            let client = self.client(server, call).map_err(|error| error::failure(&error))?;
            let answer = connected(client.execute(request(server, call)), attempt.end, refused).await?;
            let Some(answer) = answer else { continue };
            let is_kept = progress::connection() == Connection::Kept;
            match answer {
                Ok(response) => {
                    server.note_answer();
                    return response::read(response, attempt).await;
                }
                // Terminates: each turn consumes a kept connection, and a failure on a new one is returned.
                Err(error) if is_kept && call.is_repeatable && error::is_cut(&error) => {}
                Err(error) if is_kept && call.is_repeatable && error::is_dead(&error) => {
                    server.distrust_connections();
                }
                Err(error) => return Err(self.explain(&error, attempt).await),
            }
        }
    }

    /// Why a request was not sent, or not answered.
    async fn explain<T>(&self, error: &reqwest::Error, attempt: &Attempt<'_, T>) -> Failure {
        if error::is_refused_tunnel(error)
            // In a box, since each call would make room for what few of them do.
            && let Some(refusal) = Box::pin(tunnel::refusal(attempt, self.settings.builder())).await
        {
            let text = format!("the proxy refused the tunnel: {refusal}");
            // Other statuses tell of a server that the proxy does not reach now, or of too many requests.
            let is_final = matches!(refusal.http_status, 400..=499) && !matches!(refusal.http_status, 408 | 429);
            let cause = if is_final { Cause::Proxy } else { Cause::Connect };
            return Failure::Transport { cause, text };
        }
        let mut failure = error::failure(error);
        if let (Failure::Transport { text, .. }, Some(guess)) = (&mut failure, guess(error, attempt)) {
            text.push_str(&guess);
        }
        failure
    }
}

/// What the user may have meant, where the other side speaks another protocol. Who has spoken once is asked in the right one.
fn guess<T>(error: &reqwest::Error, attempt: &Attempt<'_, T>) -> Option<String> {
    let Attempt { server, route, .. } = *attempt;
    let is_tls = server.origin.is_tls();
    if let Route::Through(hop) = route
        && hop.is_tls()
        && (error::is_no_proxy(error) || !is_tls)
        && error.is_connect()
    {
        let is_plain = error::is_no_tls(error);
        return is_plain.then(|| format!("; is http:// meant in {} for the proxy?", hop.variable));
    }
    if server.has_spoken() {
        return None;
    }
    if is_tls {
        return error::is_no_tls(error).then(|| "; is it an http:// host?".to_owned());
    }
    (*route == Route::Direct && error::is_no_http(error)).then(|| "; is it an https:// host?".to_owned())
}

/// Waits for an answer; None where the next address of the name is to be tried. Sends nothing where the password was `refused`
/// before a connection stood: many may wait for one.
async fn connected<F: Future>(
    answer: F,
    end: Instant,
    refused: impl Fn() -> Option<Failure>,
) -> Result<Option<F::Output>, Failure> {
    // A call on a kept connection sets no timer.
    let given_up = async {
        progress::another_address().await;
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep((left / 2).min(ADDRESS_TIMEOUT)).await;
    };
    let mut answer = pin!(answer);
    let mut answer = poll_fn(|context| match progress::connection() {
        Connection::Opening if let Some(refusal) = refused() => Poll::Ready(Err(refusal)),
        _ => progress::poll(answer.as_mut(), context).map(|output| Ok(Some(output))),
    });
    match select(&mut answer, pin!(given_up)).await {
        Either::Left((output, _)) => output,
        Either::Right(_) if progress::next_attempt() => Ok(None),
        Either::Right(_) => answer.await,
    }
}

/// Whether a failure on an open connection proves that the server did not act on the request.
fn is_refusal(failure: &Failure) -> bool {
    match failure {
        // 408 is about a request that came in part, as the server sees it (RFC 9110 section 15.5.9).
        Failure::Http(failure) => {
            matches!(failure.http_status, 300..=499) && failure.http_status != 408 && !failure.may_be_done
        }
        Failure::Transport { cause, .. } => *cause == Cause::Tls,
        _ => false,
    }
}

fn name_proxy(failure: Failure, route: &Route) -> Failure {
    match (failure, route) {
        (Failure::Transport { cause, text }, Route::Through(hop)) => {
            let is_unresolved = cause == Cause::Resolve && hop.resolves_here();
            let advice = if is_unresolved { "; with socks5h:// the proxy resolves it" } else { "" };
            Failure::Transport { cause, text: format!("through the proxy {}: {text}{advice}", hop.authority) }
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
    if let Some(id) = call.about.request_id_header() {
        headers.insert(HeaderName::from_static("x-request-id"), id.clone());
    }
    if !call.method.is_safe() {
        // hyper leaves out the length of an empty body, and a server may then refuse a POST (RFC 9110 section 8.6).
        headers.insert(CONTENT_LENGTH, call.body.len().into());
    }
    if !call.body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        *request.body_mut() = Some(pieces::body(call.body.clone()));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::api::status;
    use crate::core::credentials::Credentials;
    use crate::core::origin::Origin;
    use crate::core::segment::PathSegment;
    use crate::core::tls::config::TlsOptions;
    use crate::core::tls::trust::Trust;
    use crate::core::transport::resolver::PLAIN_THREAD;

    /// An async function that takes a future holds it twice, and so do those around it.
    #[test]
    fn a_call_is_held_once() {
        let tls = TlsOptions { trust: Trust::Anyone, client_certificate: None }.config().unwrap();
        let transport = Transport::new(tls, &Variables::default(), &Shared::new(PLAIN_THREAD));
        let credentials = Credentials::new("login", "password").unwrap();
        let server = Server::new(Origin::parse("h").unwrap(), credentials, Duration::from_secs(1), Arc::default());
        let call = || status::call(&PathSegment::parse("id", "x").unwrap());
        let (inner, outer) = (call(), size_of_val(&transport.ask(&server, call())));
        let attempt = Attempt {
            server: &server,
            route: &Route::Direct,
            call: &inner,
            refusals: 0,
            end: Instant::now(),
            endless: OnceLock::new(),
        };
        let inner = size_of_val(&transport.send_in_time(&attempt));
        assert!(outer < 2 * inner, "{inner} bytes became {outer}");
    }
}
