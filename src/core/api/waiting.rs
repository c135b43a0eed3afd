//! Polling until operations have finished: the schedule, Retry-After, the deadline, what is tolerated and what is not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::status::{self, Status};
use crate::core::failure::{Cause, Failure};
use crate::core::segment::PathSegment;
use crate::core::transport::exchange::{Asked, Server, Transport};

/// Each pause is this many times the one before.
const GROWTH: f64 = 1.5;

/// Each pause is changed at random by up to this part, so that many waits do not ask in step.
const JITTER: f64 = 0.1;

/// How far the last poll may run past the deadline.
const OVERRUN: Duration = Duration::from_secs(1);

/// How to wait.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One limit over everything; None is for ever, zero asks once.
    pub timeout: Option<Duration>,
    /// The first pause between two polls.
    pub interval: Duration,
    /// What the pauses grow to; never less than `interval`.
    pub max_interval: Duration,
    /// Tolerated failures in a row.
    pub retries: u32,
    /// Polls under way at the same time.
    pub concurrency: usize,
}

/// What happened in a wait.
#[derive(Debug)]
pub enum Event {
    /// One operation was asked for, `elapsed` after the start.
    Polled { asked: Asked<Status>, elapsed: Duration, then: Then },
    /// The deadline passed; the last event.
    TimedOut { pending: Vec<Pending>, elapsed: Duration },
}

/// What a poll means for its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The wait is over: the operation has finished, or the failure is not tolerated.
    Over,
    /// Polling goes on.
    PollAgain,
    /// The deadline cut the poll off.
    CutOff,
}

/// An operation that had not finished by the deadline.
#[derive(Debug)]
pub struct Pending {
    pub operation: PathSegment,
    /// The last good answer.
    pub status: Option<Status>,
    /// The failure that was tolerated last.
    pub failure: Option<Failure>,
}

/// Waits for operations, all on one schedule's rules and under one deadline.
pub struct Waits {
    shared: Arc<Shared>,
    turns: FuturesUnordered<Turn>,
    late: Vec<Pending>,
}

/// A pause and a poll. The result is None if the deadline passed before the poll.
type Turn = Pin<Box<dyn Future<Output = (Wait, Option<(Asked<Status>, Then)>)> + Send>>;

struct Shared {
    transport: Transport,
    server: Arc<Server>,
    plan: Plan,
    started: Instant,
    polls: Semaphore,
}

impl Waits {
    pub fn new(transport: Transport, server: Arc<Server>, operations: Vec<PathSegment>, plan: Plan) -> Self {
        let polls = Semaphore::new(plan.concurrency.min(Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared { transport, server, plan, started: Instant::now(), polls });
        let turns = FuturesUnordered::new();
        for operation in operations {
            turns.push(Wait::new(operation, &shared).turn(shared.clone()));
        }
        Self { shared, turns, late: Vec::new() }
    }

    /// The next event; None when every wait is over. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let Some((wait, polled)) = self.turns.next().await else {
                let pending = std::mem::take(&mut self.late);
                let elapsed = self.shared.started.elapsed();
                return (!pending.is_empty()).then_some(Event::TimedOut { pending, elapsed });
            };
            let Some((asked, then)) = polled else {
                self.late.push(wait.pending);
                continue;
            };
            if then != Then::Over {
                self.turns.push(wait.turn(self.shared.clone()));
            }
            return Some(Event::Polled { asked, elapsed: self.shared.started.elapsed(), then });
        }
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits").field("running", &self.turns.len()).finish_non_exhaustive()
    }
}

/// The wait for one operation, between two turns.
struct Wait {
    pending: Pending,
    pause: Duration,
    due: Instant,
    failures: u32,
    was_last: bool,
}

impl Wait {
    fn new(operation: PathSegment, shared: &Shared) -> Self {
        let pending = Pending { operation, status: None, failure: None };
        Self { pending, pause: shared.plan.interval, due: shared.started, failures: 0, was_last: false }
    }

    fn turn(mut self, shared: Arc<Shared>) -> Turn {
        Box::pin(async move {
            let polled = self.poll(&shared).await;
            (self, polled)
        })
    }

    async fn poll(&mut self, shared: &Shared) -> Option<(Asked<Status>, Then)> {
        if self.was_last {
            return None;
        }
        tokio::time::sleep_until(self.due).await;
        // Never closed, so a permit always comes.
        let permit = shared.polls.acquire().await;
        let now = Instant::now();
        let limit = shared.limit(now)?;
        self.was_last = shared.is_over(now);
        let call = status::call(&self.pending.operation);
        // Boxed: an exchange is five times the size of a pause, and most operations are in a pause.
        let asked = Box::pin(shared.transport.ask_within(limit, &shared.server, call)).await;
        drop(permit);
        let then = match &asked.outcome {
            Ok(status) => self.answered(shared, status),
            Err(failure) => self.failed(shared, failure),
        };
        Some((asked, then))
    }

    fn answered(&mut self, shared: &Shared, status: &Status) -> Then {
        self.failures = 0;
        self.pending.failure = None;
        if status.finished {
            return Then::Over;
        }
        self.pending.status = Some(status.clone());
        self.schedule(shared, None);
        Then::PollAgain
    }

    fn failed(&mut self, shared: &Shared, failure: &Failure) -> Then {
        if matches!(failure, Failure::Timeout { limit } if *limit < shared.server.request_timeout) {
            // The deadline cut the poll off; the server may be well.
            self.was_last = true;
            self.pending.failure = Some(failure.clone());
            return Then::CutOff;
        }
        if !is_tolerable(failure, self.pending.status.is_some()) {
            return Then::Over;
        }
        self.failures += 1;
        if self.failures > shared.plan.retries {
            return Then::Over;
        }
        let retry_after = match failure {
            Failure::Http(failure) => failure.retry_after,
            _ => None,
        };
        self.schedule(shared, retry_after);
        self.pending.failure = Some(failure.clone());
        Then::PollAgain
    }

    /// Sets the next poll: after the pause, or when the server asks for it, but not after the deadline.
    fn schedule(&mut self, shared: &Shared, retry_after: Option<Duration>) {
        let pause = jittered(self.pause).max(retry_after.unwrap_or_default());
        self.pause = grown(self.pause, &shared.plan);
        let now = Instant::now();
        // A server may ask for more time than a clock has.
        let due = now.checked_add(pause).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        self.due = shared.deadline().map_or(due, |deadline| due.min(deadline));
    }
}

impl Shared {
    fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.plan.timeout?)
    }

    /// Whether a poll at this moment is the last.
    fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// How long a poll that begins now may take; None if it must not begin.
    fn limit(&self, now: Instant) -> Option<Duration> {
        let request_timeout = self.server.request_timeout;
        match self.deadline() {
            Some(deadline) if self.plan.timeout != Some(Duration::ZERO) => {
                let end = (now + OVERRUN).clamp(deadline, deadline + OVERRUN);
                (now < end).then(|| (end - now).min(request_timeout))
            }
            _ => Some(request_timeout),
        }
    }
}

/// Whether polling goes on after a failure. Before the first good answer, a name, a port or a protocol is more likely wrong
/// than down.
fn is_tolerable(failure: &Failure, answered: bool) -> bool {
    match failure {
        Failure::Http(failure) => matches!(failure.http_status, 408 | 429 | 500 | 502 | 503 | 504),
        Failure::Timeout { .. } | Failure::Transport { cause: Cause::Cut, .. } => true,
        Failure::Transport { cause: Cause::Resolve | Cause::Connect | Cause::Tls, .. } => answered,
        Failure::Transport { cause: Cause::Certificate, .. } | Failure::BadAnswer { .. } | Failure::Uncertain(_) => {
            false
        }
    }
}

fn grown(pause: Duration, plan: &Plan) -> Duration {
    let limit = plan.max_interval.max(plan.interval);
    // Compared as floats: the product may be more than a Duration holds.
    if pause.as_secs_f64() * GROWTH >= limit.as_secs_f64() { limit } else { pause.mul_f64(GROWTH) }
}

fn jittered(pause: Duration) -> Duration {
    // The standard library seeds its hashers at random: enough to spread polls.
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::HttpFailure;

    fn plan(interval: u64, max_interval: u64) -> Plan {
        let second = Duration::from_secs;
        Plan {
            timeout: None,
            interval: second(interval),
            max_interval: second(max_interval),
            retries: 0,
            concurrency: 1,
        }
    }

    #[test]
    fn pauses_grow_to_their_limit() {
        let mut pause = Duration::from_secs(1);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(pause.as_secs_f64());
            pause = grown(pause, &plan(1, 10));
        }
        assert_eq!(pauses, [1.0, 1.5, 2.25, 3.375, 5.0625, 7.59375, 10.0, 10.0]);
        assert_eq!(grown(Duration::from_secs(30), &plan(30, 10)), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_varies() {
        let pauses: Vec<f64> = (0..200).map(|_| jittered(Duration::from_secs(10)).as_secs_f64()).collect();
        assert!(pauses.iter().all(|pause| (9.0..=11.0).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < 9.5) && pauses.iter().any(|pause| *pause > 10.5));
    }

    #[test]
    fn tells_the_tolerable_from_the_fatal() {
        let http = |http_status| Failure::Http(Box::new(HttpFailure { http_status, ..HttpFailure::default() }));
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_tolerable(&http(status), false), "{status}");
        }
        for status in [204, 301, 304, 400, 401, 403, 404, 410, 501, 505] {
            assert!(!is_tolerable(&http(status), true), "{status}");
        }
        let transport = |cause| Failure::Transport { cause, text: String::new() };
        for cause in [Cause::Resolve, Cause::Connect, Cause::Tls] {
            assert!(!is_tolerable(&transport(cause), false) && is_tolerable(&transport(cause), true), "{cause:?}");
        }
        assert!(is_tolerable(&transport(Cause::Cut), false));
        assert!(is_tolerable(&Failure::Timeout { limit: OVERRUN }, false));
        assert!(!is_tolerable(&transport(Cause::Certificate), true));
        assert!(!is_tolerable(&Failure::BadAnswer { text: String::new() }, true));
    }
}
