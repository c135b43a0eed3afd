//! Polling until operations have finished: the schedule, Retry-After, the deadline, what is tolerated and what is not.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::status::{self, Status};
use crate::core::failure::{Cause, Failure};
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Asked, Transport};
use crate::core::transport::server::Server;
use crate::core::transport::yields;
use crate::lock::lock;

/// A pause is this part of the time waited so far, so that what is known late is late by this part of its length.
const PART: f64 = 0.1;

/// After a failure, each pause is this many times the one before.
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
    /// The shortest pause between two polls.
    pub interval: Duration,
    /// The longest pause; never less than `interval`.
    pub max_interval: Duration,
    /// Tolerated failures in a row.
    pub retries: u32,
    /// Polls under way at the same time.
    pub concurrency: usize,
}

/// What happened in a wait.
#[derive(Debug)]
pub enum Event {
    /// One operation was asked for, `elapsed` after the start. `failures` counts its failures in a row.
    Polled { asked: Asked<Status>, elapsed: Duration, failures: u32, then: Then },
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
    /// The last failure since then.
    pub failure: Option<Failure>,
}

/// Waits for operations, all on one schedule's rules and under one deadline.
pub struct Waits {
    shared: Arc<Shared>,
    turns: FuturesUnordered<Turn>,
    late: Vec<Pending>,
    /// The operations in order, and those whose wait is over.
    operations: Vec<PathSegment>,
    over: HashSet<PathSegment>,
    /// After a 401: the operations that share it, the last one first.
    refused: Option<(Failure, Vec<PathSegment>)>,
    /// When the caller was given the last event.
    left: Instant,
}

/// A pause and a poll. The result is None if the deadline passed before the poll.
type Turn = Pin<Box<dyn Future<Output = (Wait, Option<(Asked<Status>, Then)>)> + Send>>;

struct Shared {
    transport: Transport,
    server: Arc<Server>,
    plan: Plan,
    started: Instant,
    /// One permit until the credentials are proved, then as many as `concurrency`: many wrong ones at once lock an account.
    polls: Semaphore,
    /// Where polls wait for the rate of the server. The first one alone has a turn, so that other waits get theirs.
    queue: Semaphore,
    is_open: AtomicBool,
    /// Good answers so far, of all operations.
    answers: AtomicU64,
    /// When the last polls must be done. Set by the first of them: a process that was stopped finds its deadline long past.
    end: Mutex<Option<Instant>>,
}

impl Waits {
    pub fn new(transport: &Transport, server: Arc<Server>, operations: Vec<PathSegment>, plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            transport: transport.of_calls(plan.concurrency.min(operations.len())),
            server,
            plan,
            started: Instant::now(),
            polls: Semaphore::new(1),
            queue: Semaphore::new(1),
            is_open: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            end: Mutex::default(),
        });
        let turns = FuturesUnordered::new();
        for operation in &operations {
            turns.push(Wait::new(operation.clone(), &shared).turn(shared.clone()));
        }
        let (left, over) = (shared.started, HashSet::new());
        Self { shared, turns, late: Vec::new(), operations, over, refused: None, left }
    }

    /// The next event; None when every wait is over. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Event> {
        self.shared.excuse(self.left.elapsed());
        let event = self.event().await;
        self.left = Instant::now();
        event
    }

    /// The same, or an error if nothing happens within the limit.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<Event>, Elapsed> {
        let event = timeout(limit, self.next()).await;
        self.left = Instant::now();
        event
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((failure, left)) = &mut self.refused {
                let Some(operation) = left.pop() else {
                    // The polls that the 401 has cut off.
                    yields::let_connections_settle().await;
                    return None;
                };
                let about = About::Operation(operation);
                let asked = Asked { about, outcome: Err(failure.clone()), took: None };
                let elapsed = self.shared.started.elapsed();
                return Some(Event::Polled { asked, elapsed, failures: 1, then: Then::Over });
            }
            let Some((wait, polled)) = self.turns.next().await else {
                let pending = std::mem::take(&mut self.late);
                let elapsed = self.shared.started.elapsed();
                return (!pending.is_empty()).then_some(Event::TimedOut { pending, elapsed });
            };
            let Some((asked, then)) = polled else {
                self.late.push(wait.pending);
                continue;
            };
            let failures = wait.failures;
            if then == Then::Over {
                self.over.insert(wait.pending.operation);
            } else {
                self.turns.push(wait.turn(self.shared.clone()));
            }
            if let Err(failure) = &asked.outcome
                && failure.is_unauthorized()
            {
                self.refuse(failure.clone());
            }
            return Some(Event::Polled { asked, elapsed: self.shared.started.elapsed(), failures, then });
        }
    }

    /// Ends all waits with a 401 that one of them got.
    fn refuse(&mut self, failure: Failure) {
        self.turns.clear();
        self.late.clear();
        let mut left = std::mem::take(&mut self.operations);
        left.retain(|operation| !self.over.contains(operation));
        left.reverse();
        self.refused = Some((failure, left));
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
    /// Good answers of all operations when this one failed last.
    answers: u64,
    was_last: bool,
}

impl Wait {
    fn new(operation: PathSegment, shared: &Shared) -> Self {
        let pending = Pending { operation, status: None, failure: None };
        Self { pending, pause: shared.plan.interval, due: shared.started, failures: 0, answers: 0, was_last: false }
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
        let permit = shared.permit().await?;
        shared.turn().await;
        let now = Instant::now();
        let limit = shared.limit(now)?;
        self.was_last = shared.is_over(now);
        let call = status::call(&self.pending.operation);
        // In a box: most operations are in a pause, which needs no room for an exchange.
        let asked = Box::pin(shared.transport.ask_within(limit, &shared.server, call)).await;
        if shared.server.is_proved() {
            shared.open();
        }
        drop(permit);
        let then = match &asked.outcome {
            Ok(status) => self.answered(shared, status),
            Err(failure) => self.failed(shared, failure, now.elapsed() > limit + OVERRUN),
        };
        Some((asked, then))
    }

    fn answered(&mut self, shared: &Shared, status: &Status) -> Then {
        shared.answers.fetch_add(1, Ordering::Relaxed);
        shared.server.site.ease();
        self.failures = 0;
        self.pending.failure = None;
        if status.finished {
            return Then::Over;
        }
        self.pending.status = Some(status.clone());
        self.pause = pause_at(shared.started.elapsed(), &shared.plan);
        self.schedule(shared, None);
        Then::PollAgain
    }

    /// `was_stopped`: the poll took longer than it may, since the process was stopped.
    fn failed(&mut self, shared: &Shared, failure: &Failure, was_stopped: bool) -> Then {
        let is_cut_off = matches!(failure, Failure::Timeout { limit, .. } if *limit < shared.server.request_timeout);
        if is_cut_off {
            // The deadline cut the poll off; the server may be well.
            self.was_last = self.was_last || !was_stopped;
            self.due = Instant::now();
            self.pending.failure = Some(failure.clone());
            return Then::CutOff;
        }
        let answers = shared.answers.load(Ordering::Relaxed);
        if !is_tolerable(failure, answers > 0) {
            return Then::Over;
        }
        let retry_after = match failure {
            Failure::Http(failure) => failure.retry_after,
            _ => None,
        };
        if is_throttling(failure) {
            shared.server.site.throttle(retry_after, longest(&shared.plan));
            if answers > self.answers {
                // Others get answers, so the server is up and this operation's turn comes.
                self.failures = 0;
            }
        }
        self.answers = answers;
        // A kept connection that has died in silence is no failure of the server.
        if !matches!(failure, Failure::Timeout { on_kept: true, .. }) {
            self.failures += 1;
        }
        if self.failures > shared.plan.retries {
            return Then::Over;
        }
        self.schedule(shared, retry_after);
        self.pause = grown(self.pause, &shared.plan);
        self.pending.failure = Some(failure.clone());
        Then::PollAgain
    }

    /// Sets the next poll: after the pause, or when the server asks for it, but not after the deadline.
    fn schedule(&mut self, shared: &Shared, retry_after: Option<Duration>) {
        let pause = jittered(self.pause).max(retry_after.unwrap_or_default());
        let now = Instant::now();
        // A server may ask for more time than a clock has.
        let due = now.checked_add(pause).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        self.due = shared.before_deadline(due);
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

    fn before_deadline(&self, moment: Instant) -> Instant {
        self.deadline().map_or(moment, |deadline| moment.min(deadline))
    }

    /// How long a poll that begins now may take; None if it must not begin.
    fn limit(&self, now: Instant) -> Option<Duration> {
        let request_timeout = self.server.request_timeout;
        match self.deadline() {
            Some(deadline) if self.plan.timeout != Some(Duration::ZERO) => {
                let end = if now < deadline { (now + OVERRUN).max(deadline) } else { self.end(now) };
                (now < end).then(|| (end - now).min(request_timeout))
            }
            _ => Some(request_timeout),
        }
    }

    /// When the last polls must be done, found at a moment after the deadline.
    fn end(&self, now: Instant) -> Instant {
        *lock(&self.end).get_or_insert(now + OVERRUN)
    }

    /// Does not count against the last polls the time in which the caller did something else.
    fn excuse(&self, absence: Duration) {
        if let Some(end) = &mut *lock(&self.end) {
            *end += absence;
        }
    }

    /// Waits for a permit to poll; None if there is none in time.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        if self.server.is_proved() {
            self.open();
        }
        let deadline = self.deadline().filter(|_| self.plan.timeout != Some(Duration::ZERO));
        let Some(mut end) = deadline else { return self.polls.acquire().await.ok() };
        loop {
            if let Ok(permit) = timeout_at(end, self.polls.acquire()).await {
                return permit.ok();
            }
            let now = Instant::now();
            end = self.end(now);
            if end <= now {
                return None;
            }
        }
    }

    /// Waits until the rate of the server allows a poll, or until the deadline.
    async fn turn(&self) {
        if self.server.site.is_free() {
            return;
        }
        // In a box, since few waits are throttled.
        let turn = Box::pin(async {
            let _first = self.queue.acquire().await;
            self.server.site.turn(longest(&self.plan)).await;
        });
        match self.deadline() {
            Some(deadline) => drop(timeout_at(deadline, turn).await),
            None => turn.await,
        }
    }

    /// Lets as many polls as wanted go ahead, once the credentials are proved.
    fn open(&self) {
        if !self.is_open.swap(true, Ordering::AcqRel) {
            let permits = self.plan.concurrency.min(Semaphore::MAX_PERMITS);
            self.polls.add_permits(permits.saturating_sub(1));
        }
    }
}

/// Whether the server says that it is asked too often.
fn is_throttling(failure: &Failure) -> bool {
    matches!(failure, Failure::Http(failure) if matches!(failure.http_status, 429 | 503))
}

/// Whether polling goes on after a failure. Before the first good answer, a name or a protocol is more likely wrong than
/// down.
pub fn is_tolerable(failure: &Failure, answered: bool) -> bool {
    match failure {
        Failure::Http(failure) => matches!(failure.http_status, 408 | 429 | 500 | 502 | 503 | 504),
        // A server that restarts is the commonest trouble of a wait.
        Failure::Timeout { .. } | Failure::Transport { cause: Cause::Cut | Cause::Connect, .. } => true,
        Failure::Transport { cause: Cause::Resolve | Cause::Tls, .. } => answered,
        Failure::Transport { cause: Cause::Certificate, .. } | Failure::BadAnswer { .. } | Failure::Uncertain(_) => {
            false
        }
    }
}

/// The longest pause of a schedule.
fn longest(plan: &Plan) -> Duration {
    plan.max_interval.max(plan.interval)
}

/// The pause after an answer that came at this age of the wait.
fn pause_at(age: Duration, plan: &Plan) -> Duration {
    age.mul_f64(PART).max(plan.interval).min(longest(plan))
}

/// The pause after the next failure in a row.
fn grown(pause: Duration, plan: &Plan) -> Duration {
    let limit = longest(plan);
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
    fn a_pause_is_a_tenth_of_the_age_within_its_limits() {
        let pause = |age: f64| pause_at(Duration::from_secs_f64(age), &plan(1, 10)).as_secs_f64();
        assert_eq!([0.0, 9.0, 10.0, 25.0, 100.0, 7200.0].map(pause), [1.0, 1.0, 1.0, 2.5, 10.0, 10.0]);
        assert_eq!(pause_at(Duration::MAX, &plan(30, 10)), Duration::from_secs(30));
    }

    #[test]
    fn pauses_after_failures_grow_to_their_limit() {
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
        for cause in [Cause::Resolve, Cause::Tls] {
            assert!(!is_tolerable(&transport(cause), false) && is_tolerable(&transport(cause), true), "{cause:?}");
        }
        assert!(is_tolerable(&transport(Cause::Cut), false) && is_tolerable(&transport(Cause::Connect), false));
        assert!(is_tolerable(&Failure::Timeout { limit: OVERRUN, on_kept: false }, false));
        assert!(!is_tolerable(&transport(Cause::Certificate), true));
        assert!(!is_tolerable(&Failure::BadAnswer { text: String::new() }, true));
    }
}
