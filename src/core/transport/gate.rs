//! One request of a client goes ahead alone until the server has accepted its password: many wrong ones at once lock an
//! account.

use std::future::pending;
use std::pin::pin;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::server::{Known, Server};
use crate::core::failure::Failure;
use crate::lock::lock;

/// How long the one ahead may wait for its answer before the others go. Longer than servers delay the refusal of a password on
/// purpose; otherwise arbitrary.
const MAX_TIME_AHEAD: Duration = Duration::from_secs(10);

/// The gates of a process. They are not part of `Server`, since a forked child shares that one, and may find a lock held.
#[derive(Debug, Default)]
pub struct Gates(Known<usize, Gate>);

/// Where the requests of one client wait.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When the one ahead has begun, if there is one.
    ahead: Option<Instant>,
    /// The last refusal.
    refusal: Option<Failure>,
}

/// The leave to send one request. Dropped, it lets the next one go.
#[derive(Debug, Default)]
pub struct Pass(Option<Arc<Gate>>);

/// What those that wait must know. Dropped, it tells them to look again.
#[derive(Debug)]
pub struct News(Arc<Gate>);

/// What the end of a request tells of the password.
#[derive(Debug, PartialEq)]
enum Verdict {
    Accepted,
    Refused(Failure),
    /// Nobody has answered, so nobody has looked at the password.
    Silent,
    /// A gateway may answer before it asks for a password.
    Unknown,
    /// The caller's own deadline has cut the request off.
    CutOff,
}

/// What a call, a batch or a wait takes when it begins: a refusal that comes later is for all its requests.
#[derive(Debug, Clone)]
pub struct Ticket {
    gate: Arc<Gate>,
    /// Refusals before.
    refusals: u64,
}

impl Gates {
    pub fn ticket(&self, server: &Server) -> Ticket {
        Ticket { gate: self.of(server), refusals: server.refusals() }
    }

    /// The refusal that came after so many, if one did.
    pub fn refusal(&self, server: &Server, refusals: u64) -> Option<Failure> {
        if server.refusals() == refusals {
            return None;
        }
        lock(&self.of(server).state).refusal.clone()
    }

    /// Lets the next one go before the one ahead has an answer.
    pub fn overtake(&self, server: &Server) {
        drop(Pass(Some(self.of(server))));
    }

    /// Learns from the end of a request that began after so many refusals.
    pub fn judge<T>(&self, server: &Server, refusals: u64, outcome: &Result<T, Failure>) -> Option<News> {
        if server.refusals() != refusals {
            // What began before a refusal tells nothing of the password since then.
            return None;
        }
        match verdict(outcome, server.request_timeout) {
            Verdict::CutOff => return None,
            Verdict::Accepted => {
                let was_open = server.is_open();
                server.prove();
                if was_open {
                    return None;
                }
            }
            Verdict::Silent => server.open_gate(),
            Verdict::Unknown => {
                server.shut_gate();
                return None;
            }
            Verdict::Refused(failure) => {
                // First the refusal: who sees the number looks for it.
                lock(&self.of(server).state).refusal = Some(failure);
                server.doubt();
            }
        }
        Some(News(self.of(server)))
    }

    /// The gate of a client, known by the address of its `Server`, which whoever uses a gate keeps. An earlier client's refusal
    /// may be in it: no ticket of this one asks for that.
    fn of(&self, server: &Server) -> Arc<Gate> {
        self.0.of(ptr::from_ref(server).addr(), Gate::default)
    }
}

impl Ticket {
    /// Waits until a request may go. A password that was refused since the ticket was taken is refused for this one too.
    pub async fn pass(&self, server: &Server) -> Result<Pass, Failure> {
        let gate = &self.gate;
        // Without the lock, since most requests find it so.
        if server.is_open() && !server.is_closed() && server.refusals() == self.refusals {
            return Ok(Pass::default());
        }
        loop {
            if server.is_closed() {
                // Nothing is sent any more, and the caller ends what waits here.
                return pending().await;
            }
            let mut changed = pin!(gate.changed.notified());
            changed.as_mut().enable();
            let ahead = {
                let mut state = lock(&gate.state);
                if server.refusals() != self.refusals
                    && let Some(refusal) = &state.refusal
                {
                    return Err(refusal.clone());
                }
                if server.is_open() {
                    return Ok(Pass::default());
                }
                match state.ahead {
                    Some(ahead) => ahead,
                    None => {
                        state.ahead = Some(Instant::now());
                        return Ok(Pass(Some(gate.clone())));
                    }
                }
            };
            // Another one may be ahead by then.
            if timeout_at(ahead + MAX_TIME_AHEAD, changed).await.is_err() && lock(&gate.state).ahead == Some(ahead) {
                server.open_gate();
                gate.changed.notify_waiters();
            }
        }
    }

    /// The same within the server's own limit.
    pub async fn pass_in_time(&self, server: &Server) -> Result<Pass, Failure> {
        let limit = server.request_timeout;
        let why = "nothing was sent, since another request of the client had no answer yet";
        let late = Err(Failure::Timeout { limit, on_kept: false, reason: Some(why.to_owned()) });
        timeout(limit, self.pass(server)).await.unwrap_or(late)
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.0.changed.notify_waiters();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            lock(&gate.state).ahead = None;
            gate.changed.notify_one();
        }
    }
}

fn verdict<T>(outcome: &Result<T, Failure>, request_timeout: Duration) -> Verdict {
    match outcome.as_ref().map_err(Failure::plain) {
        Ok(_) => Verdict::Accepted,
        Err(failure) if failure.refuses_all() => Verdict::Refused(failure.clone()),
        Err(Failure::Timeout { limit, .. }) if *limit < request_timeout.min(MAX_TIME_AHEAD) => Verdict::CutOff,
        Err(Failure::Timeout { .. }) => Verdict::Silent,
        Err(Failure::Http(failure)) => match (failure.http_status, failure.code.as_deref()) {
            // A gateway's own time-out (RFC 9110 section 15.6.5).
            (504, _) => Verdict::Silent,
            // About the rate, the shape and the route of a request, which may be looked at before the password.
            (405 | 408 | 429, _) | (_, Some("ResourceNotFound" | "MethodNotAllowed")) => Verdict::Unknown,
            // The server's own form of an error. A gateway has another one.
            (400..=499, Some(_)) => Verdict::Accepted,
            _ => Verdict::Unknown,
        },
        Err(_) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::core::credentials::Credentials;
    use crate::core::failure::{Cause, HttpFailure};
    use crate::core::origin::Origin;

    fn server() -> Server {
        let credentials = Credentials::new("login", "password").unwrap();
        Server::new(Origin::parse("h").unwrap(), credentials, Duration::from_secs(1), Arc::default())
    }

    fn http(http_status: u16, code: Option<&str>) -> Result<(), Failure> {
        let code = code.map(str::to_owned);
        Err(Failure::Http(Box::new(HttpFailure { http_status, code, ..HttpFailure::default() })))
    }

    fn told<T>(outcome: &Result<T, Failure>) -> Verdict {
        verdict(outcome, Duration::from_secs(30))
    }

    fn timeout_of(seconds: u64) -> Result<(), Failure> {
        Err(Failure::Timeout { limit: Duration::from_secs(seconds), on_kept: false, reason: None })
    }

    /// The end of a request that began just now.
    fn judge(gates: &Gates, server: &Server, outcome: &Result<(), Failure>) {
        drop(gates.judge(server, server.refusals(), outcome));
    }

    async fn pass(gates: &Gates, server: &Server) -> Result<Pass, Failure> {
        let ticket = gates.ticket(server);
        ticket.pass(server).await
    }

    /// Where timers work.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn only_the_server_s_own_answers_tell_of_the_password() {
        assert_eq!(told(&Ok(())), Verdict::Accepted);
        for status in [400, 403, 404, 409] {
            assert_eq!(told(&http(status, Some("X"))), Verdict::Accepted, "{status}");
        }
        for status in [300, 302, 400, 403, 404, 408, 429, 500, 502, 503, 520, 522, 530] {
            assert_eq!(told(&http(status, None)), Verdict::Unknown, "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert_eq!(told(&http(status, Some("X"))), Verdict::Unknown, "{status}");
        }
        for status in [401, 407] {
            assert!(matches!(told(&http(status, Some("X"))), Verdict::Refused(_)), "{status}");
        }
        let transport = |cause| Err::<(), _>(Failure::Transport { cause, text: String::new() });
        assert!(matches!(told(&transport(Cause::Proxy)), Verdict::Refused(_)));
        assert_eq!(told(&transport(Cause::Connect)), Verdict::Unknown);
        assert_eq!(told(&transport(Cause::Cut)), Verdict::Unknown);
        assert_eq!(told(&http(504, None)), Verdict::Silent);
        assert_eq!(told(&http(404, Some("ResourceNotFound"))), Verdict::Unknown);
        assert_eq!(told(&http(405, Some("X"))), Verdict::Unknown);
        for (seconds, expected) in
            [(30, Verdict::Silent), (10, Verdict::Silent), (9, Verdict::CutOff), (0, Verdict::CutOff)]
        {
            assert_eq!(told(&timeout_of(seconds)), expected, "{seconds}");
        }
        assert_eq!(verdict(&timeout_of(1), Duration::from_secs(1)), Verdict::Silent);
        assert_eq!(told::<()>(&Err(Failure::BadAnswer { text: String::new() })), Verdict::Unknown);
    }

    #[test]
    fn one_goes_ahead_and_each_end_lets_one_go() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        let first = pass(&gates, &server).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(pass(&gates, &server));
        assert!((&mut second).now_or_never().is_none());
        judge(&gates, &server, &http(502, None));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().unwrap().unwrap();
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(pass(&gates, &server))).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        judge(&gates, &server, &Ok(()));
        assert!(others.into_iter().all(|other| other.now_or_never().is_some_and(|pass| pass.is_ok())));
        drop(second);
        assert!(server.is_proved());
    }

    #[test]
    fn a_refusal_is_for_those_that_wait_and_not_for_those_that_come() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        let first = pass(&gates, &server).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(pass(&gates, &server));
        assert!((&mut second).now_or_never().is_none());
        judge(&gates, &server, &http(401, None));
        drop(first);
        assert!(second.now_or_never().unwrap().is_err_and(|failure| failure.refuses_all()));
        assert!(pass(&gates, &server).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_refusal_is_for_all_that_began_before() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        judge(&gates, &server, &Ok(()));
        let before = gates.ticket(&server);
        assert!(before.pass(&server).now_or_never().unwrap().is_ok());
        judge(&gates, &server, &http(502, None));
        assert!(server.is_proved());
        judge(&gates, &server, &http(401, None));
        assert!(!server.is_open());
        assert!(before.pass(&server).now_or_never().unwrap().is_err());
        assert!(gates.ticket(&server).pass(&server).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn what_was_sent_before_a_refusal_frees_nobody() {
        for late in [Ok(()), http(504, None), timeout_of(30)] {
            let (gates, server) = (Gates::default(), server());
            judge(&gates, &server, &Ok(()));
            let (before, refusals) = (gates.ticket(&server), server.refusals());
            judge(&gates, &server, &http(401, None));
            gates.judge(&server, refusals, &late);
            assert!(!server.is_open());
            // Nor does what comes later free those that began before.
            judge(&gates, &server, &late);
            assert!(server.is_open());
            assert!(before.pass(&server).now_or_never().unwrap().is_err());
            assert!(pass(&gates, &server).now_or_never().unwrap().is_ok());
        }
    }

    #[test]
    fn nobody_goes_once_the_client_is_closed() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        let first = pass(&gates, &server).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(pass(&gates, &server));
        assert!((&mut second).now_or_never().is_none());
        server.close();
        drop(first);
        assert!(second.now_or_never().is_none());
        server.prove();
        assert!(pass(&gates, &server).now_or_never().is_none());
    }

    #[test]
    fn silence_holds_nobody_up_until_somebody_answers() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        judge(&gates, &server, &http(504, None));
        let passes: Vec<_> = (0..3).map(|_| pass(&gates, &server).now_or_never().unwrap().unwrap()).collect();
        judge(&gates, &server, &http(502, None));
        let ahead = pass(&gates, &server).now_or_never().unwrap();
        assert!(pass(&gates, &server).now_or_never().is_none());
        drop((passes, ahead));
    }

    #[test]
    fn one_that_is_given_up_lets_the_next_go() {
        let (gates, server) = (Gates::default(), server());
        runtime().block_on(async {
            let began = Instant::now();
            let first = pass(&gates, &server).await.unwrap();
            let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(pass(&gates, &server))).collect();
            assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
            drop(first);
            drop(waiting.remove(0));
            for one in waiting {
                drop(one.await.unwrap());
            }
            assert!(began.elapsed() < MAX_TIME_AHEAD);
        });
    }

    #[test]
    fn one_that_takes_long_holds_nobody_up() {
        let (gates, server) = (Gates::default(), server());
        runtime().block_on(async {
            let _first = pass(&gates, &server).await.unwrap();
            assert!(pass(&gates, &server).now_or_never().is_none());
            lock(&gates.of(&server).state).ahead = Some(Instant::now() - MAX_TIME_AHEAD);
            assert!(pass(&gates, &server).await.is_ok() && pass(&gates, &server).await.is_ok());
        });
    }

    #[test]
    fn the_time_is_that_of_the_one_ahead_now() {
        const SHORT: Duration = Duration::from_millis(20);
        let (gates, server) = (Gates::default(), server());
        runtime().block_on(async {
            let gate = gates.of(&server);
            let _first = pass(&gates, &server).await.unwrap();
            lock(&gate.state).ahead = Some(Instant::now() + SHORT - MAX_TIME_AHEAD);
            let mut waiting = Box::pin(pass(&gates, &server));
            assert!((&mut waiting).now_or_never().is_none());
            lock(&gate.state).ahead = Some(Instant::now());
            assert!(timeout(SHORT * 10, waiting).await.is_err() && !server.is_open());
        });
    }
}
