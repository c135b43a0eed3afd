//! One request of a client goes ahead alone until the server has accepted its password: many wrong ones at once lock an
//! account.

use std::collections::HashMap;
use std::pin::pin;
use std::ptr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::server::Server;
use crate::core::failure::Failure;
use crate::lock::lock;

/// What fails later than this has failed in silence; otherwise arbitrary.
const SILENCE: Duration = Duration::from_secs(1);

/// How long the one ahead may wait for its answer before the others go. Longer than servers delay the refusal of a password on
/// purpose; otherwise arbitrary.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many gates may be known before those that nobody uses are forgotten; bounds memory, otherwise arbitrary.
const MAX_UNUSED: usize = 64;

/// The gates of a process. They are not part of `Server`, since a forked child shares that one, and may find a lock held.
#[derive(Debug, Default)]
pub struct Gates(Mutex<HashMap<usize, Weak<Gate>>>);

/// Where the requests of one client wait. It lives as long as somebody waits or is ahead.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When the one ahead has begun, if there is one.
    ahead: Option<Instant>,
    /// How often the password was refused, and the last refusal.
    refusals: u64,
    refusal: Option<Failure>,
}

/// The leave to send one request. Dropped, it lets the next one go.
#[derive(Debug, Default)]
pub struct Pass(Option<Arc<Gate>>);

/// What the end of a request tells of the password.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
    /// Nobody has answered, so nobody has looked at the password.
    Silent,
    /// A gateway may answer before it asks for a password.
    Unknown,
}

impl Gates {
    /// Waits until a request may go. A password that is refused meanwhile is refused for those that wait, too.
    pub async fn pass(&self, server: &Server) -> Result<Pass, Failure> {
        if server.is_open() {
            return Ok(Pass::default());
        }
        let gate = self.of(server);
        let came = lock(&gate.state).refusals;
        loop {
            let mut changed = pin!(gate.changed.notified());
            changed.as_mut().enable();
            let ahead = {
                let mut state = lock(&gate.state);
                if state.refusals != came
                    && let Some(refusal) = &state.refusal
                {
                    return Err(refusal.clone());
                }
                if server.is_open() {
                    return Ok(Pass::default());
                }
                let Some(ahead) = state.ahead else {
                    state.ahead = Some(Instant::now());
                    return Ok(Pass(Some(gate.clone())));
                };
                ahead
            };
            if timeout_at(ahead + PATIENCE, changed).await.is_err() {
                server.open_gate();
                gate.changed.notify_waiters();
            }
        }
    }

    /// Learns from the end of a request.
    pub fn judge<T>(&self, server: &Server, outcome: &Result<T, Failure>, took: Duration) {
        let verdict = verdict(outcome, took);
        match (&verdict, outcome) {
            (Verdict::Accepted, _) => {
                let was_open = server.is_open();
                server.prove();
                if was_open {
                    return;
                }
            }
            (Verdict::Silent, _) => server.open_gate(),
            (Verdict::Unknown, _) => server.shut_gate(),
            (Verdict::Refused, Err(failure)) => {
                server.doubt();
                if let Some(gate) = self.known(server) {
                    let mut state = lock(&gate.state);
                    state.refusals += 1;
                    state.refusal = Some(failure.plain().clone());
                }
            }
            (Verdict::Refused, Ok(_)) => {}
        }
        if verdict != Verdict::Unknown
            && let Some(gate) = self.known(server)
        {
            gate.changed.notify_waiters();
        }
    }

    /// The gate of a client, known by the address of its `Server`: whoever uses a gate keeps that alive.
    fn of(&self, server: &Server) -> Arc<Gate> {
        let mut known = lock(&self.0);
        let address = ptr::from_ref(server).addr();
        if let Some(gate) = known.get(&address).and_then(Weak::upgrade) {
            return gate;
        }
        if known.len() >= MAX_UNUSED {
            known.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(Gate::default());
        known.insert(address, Arc::downgrade(&gate));
        gate
    }

    fn known(&self, server: &Server) -> Option<Arc<Gate>> {
        lock(&self.0).get(&ptr::from_ref(server).addr()).and_then(Weak::upgrade)
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

fn verdict<T>(outcome: &Result<T, Failure>, took: Duration) -> Verdict {
    match outcome.as_ref().map_err(Failure::plain) {
        Ok(_) => Verdict::Accepted,
        Err(failure) if failure.refuses_all() => Verdict::Refused,
        Err(Failure::Timeout { .. }) => Verdict::Silent,
        Err(Failure::Transport { .. }) if took >= SILENCE => Verdict::Silent,
        Err(Failure::Http(failure)) => match failure.http_status {
            // A gateway whose server does not answer (RFC 9110 sections 15.6.3 to 15.6.5).
            504 => Verdict::Silent,
            502 | 503 if took >= SILENCE => Verdict::Silent,
            // About the rate and the shape of a request, which may be looked at before the password.
            408 | 429 => Verdict::Unknown,
            // The server's own form of an error. A gateway has another one.
            400..=499 if failure.code.is_some() => Verdict::Accepted,
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

    const QUICK: Duration = Duration::ZERO;

    /// Where timers work.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn only_the_server_s_own_answers_tell_of_the_password() {
        assert_eq!(verdict(&Ok(()), QUICK), Verdict::Accepted);
        for status in [400, 403, 404, 409] {
            assert_eq!(verdict(&http(status, Some("X")), QUICK), Verdict::Accepted, "{status}");
        }
        for status in [300, 302, 400, 403, 404, 408, 429, 500, 502, 503, 520, 522, 530] {
            assert_eq!(verdict(&http(status, None), QUICK), Verdict::Unknown, "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert_eq!(verdict(&http(status, Some("X")), QUICK), Verdict::Unknown, "{status}");
        }
        for status in [401, 407] {
            assert_eq!(verdict(&http(status, Some("X")), QUICK), Verdict::Refused, "{status}");
        }
        let transport = |cause| Err::<(), _>(Failure::Transport { cause, text: String::new() });
        assert_eq!(verdict(&transport(Cause::Proxy), QUICK), Verdict::Refused);
        assert_eq!(verdict(&transport(Cause::Connect), QUICK), Verdict::Unknown);
        assert_eq!(verdict(&transport(Cause::Resolve), SILENCE), Verdict::Silent);
        assert_eq!(verdict(&http(504, None), QUICK), Verdict::Silent);
        assert_eq!(verdict(&http(503, None), SILENCE), Verdict::Silent);
        assert_eq!(verdict(&http(500, None), SILENCE), Verdict::Unknown);
        assert_eq!(verdict::<()>(&Err(Failure::Timeout { limit: QUICK, on_kept: false }), QUICK), Verdict::Silent);
        assert_eq!(verdict::<()>(&Err(Failure::BadAnswer { text: String::new() }), QUICK), Verdict::Unknown);
    }

    #[test]
    fn one_goes_ahead_and_each_end_lets_one_go() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        let first = gates.pass(&server).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(gates.pass(&server));
        assert!((&mut second).now_or_never().is_none());
        gates.judge(&server, &http(502, None), QUICK);
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().unwrap().unwrap();
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(gates.pass(&server))).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        gates.judge(&server, &Ok(()), QUICK);
        assert!(others.into_iter().all(|other| other.now_or_never().is_some_and(|pass| pass.is_ok())));
        drop(second);
        assert!(server.is_proved());
    }

    #[test]
    fn a_refusal_is_for_those_that_wait_and_not_for_those_that_come() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        let first = gates.pass(&server).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(gates.pass(&server));
        assert!((&mut second).now_or_never().is_none());
        gates.judge(&server, &http(401, None), QUICK);
        drop(first);
        assert!(second.now_or_never().unwrap().is_err_and(|failure| failure.refuses_all()));
        assert!(gates.pass(&server).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn silence_holds_nobody_up_until_somebody_answers() {
        let runtime = runtime();
        let _within = runtime.enter();
        let (gates, server) = (Gates::default(), server());
        gates.judge(&server, &http(504, None), QUICK);
        let passes: Vec<_> = (0..3).map(|_| gates.pass(&server).now_or_never().unwrap().unwrap()).collect();
        gates.judge(&server, &http(502, None), QUICK);
        let ahead = gates.pass(&server).now_or_never().unwrap();
        assert!(gates.pass(&server).now_or_never().is_none());
        drop((passes, ahead));
    }

    #[test]
    fn a_password_that_becomes_wrong_closes_the_gate() {
        let (gates, server) = (Gates::default(), server());
        gates.judge(&server, &Ok(()), QUICK);
        gates.judge(&server, &http(502, None), QUICK);
        assert!(server.is_proved());
        gates.judge(&server, &http(401, None), QUICK);
        assert!(!server.is_open());
    }

    #[test]
    fn one_that_is_given_up_lets_the_next_go() {
        let (gates, server) = (Gates::default(), server());
        runtime().block_on(async {
            let began = Instant::now();
            let first = gates.pass(&server).await.unwrap();
            let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(gates.pass(&server))).collect();
            assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
            drop(first);
            drop(waiting.remove(0));
            for one in waiting {
                drop(one.await.unwrap());
            }
            assert!(began.elapsed() < Duration::from_secs(1));
        });
    }

    #[test]
    fn one_that_takes_long_holds_nobody_up() {
        let (gates, server) = (Gates::default(), server());
        runtime().block_on(async {
            let _first = gates.pass(&server).await.unwrap();
            assert!(gates.pass(&server).now_or_never().is_none());
            lock(&gates.of(&server).state).ahead = Some(Instant::now() - PATIENCE);
            assert!(gates.pass(&server).await.is_ok() && gates.pass(&server).await.is_ok());
        });
    }
}
