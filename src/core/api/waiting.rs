//! Polling until operations have finished: the schedule, Retry-After, the deadline, what is tolerated and what is not.
//!
//! A wait has two ends. [`Waits`] polls, and is driven without a break from its first poll to its end. [`Listener`] is the
//! caller's: it takes the events, and knows by its own clock when the wait should have ended.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::status::{self, Status};
use crate::core::failure::{Cause, Failure};
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Asked, Transport};
use crate::core::transport::gate::Ticket;
use crate::core::transport::lanes::{self, Lanes};
use crate::core::transport::rate::Rate;
use crate::core::transport::server::Server;
use crate::core::transport::yields;
use crate::lock::lock;

/// Each pause is a tenth of the time waited so far: the end of an operation is noticed at most a tenth of its duration late.
const PART: f64 = 0.1;

/// After a failure, each pause is this many times the one before.
const GROWTH: f64 = 1.5;

/// Each pause is changed at random by up to this part, so that many waits do not ask in step.
const JITTER: f64 = 0.1;

/// How far the last poll may run past the deadline.
const OVERRUN: Duration = Duration::from_secs(1);

/// How far the caller's clock may run past the end of the last poll before the wait ends all the same; otherwise arbitrary.
const GRACE: Duration = Duration::from_secs(2);

/// So many events go to the caller together; otherwise arbitrary.
const MAX_TOGETHER: usize = 64;

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

impl Plan {
    fn asks_once(&self) -> bool {
        self.timeout == Some(Duration::ZERO)
    }
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

/// An event on its way to the caller.
#[derive(Debug)]
pub struct Sent {
    event: Event,
    /// Dropped when the caller has dealt with the event. Its operation is asked again after that, or at the deadline.
    in_hand: Option<oneshot::Sender<()>>,
}

/// An operation that had not finished by the deadline.
#[derive(Debug)]
pub struct Pending {
    pub operation: PathSegment,
    /// The last good answer, without a long body.
    pub status: Option<Status>,
    /// The last failure since then.
    pub failure: Option<Failure>,
}

/// Waits for operations, all on one schedule's rules and under one deadline.
pub struct Waits {
    shared: Arc<Shared>,
    turns: FuturesUnordered<Turn>,
    late: Vec<Pending>,
}

/// A pause and a poll. The result is None if the wait ended before the poll.
type Turn = Pin<Box<dyn Future<Output = (Wait, Option<(Asked<Status>, Then)>)> + Send>>;

struct Shared {
    lanes: Lanes,
    ticket: Ticket,
    server: Arc<Server>,
    rate: Arc<Rate>,
    plan: Plan,
    started: Instant,
    polls: Semaphore,
    /// Polls of this wait queue here. Only the first enters the queue of the rate, so that a large wait does not push others back.
    queue: Semaphore,
    /// Good answers so far, of all operations.
    answers: AtomicU64,
    /// When the last polls must be done. Set by the first of them: a process that was stopped finds its deadline long past.
    end: Mutex<Option<Instant>>,
}

/// The two ends of a wait that begins now.
pub fn wait(transport: &Transport, server: Arc<Server>, operations: Vec<PathSegment>, plan: Plan) -> (Waits, Listener) {
    let shared = Arc::new(Shared {
        ticket: transport.ticket(&server),
        lanes: Lanes::new(transport),
        rate: transport.rate(&server),
        started: Instant::now(),
        polls: Semaphore::new(lanes::at_once(plan.concurrency, operations.len())),
        queue: Semaphore::new(1),
        answers: AtomicU64::new(0),
        end: Mutex::default(),
        server,
        plan,
    });
    let turns = FuturesUnordered::new();
    for operation in &operations {
        turns.push(Wait::new(operation.clone(), &shared).turn(shared.clone()));
    }
    let listener = Listener::new(operations, &shared.plan, shared.started, &shared.server);
    (Waits { shared, turns, late: Vec::new() }, listener)
}

impl Waits {
    /// Polls until every wait is over; returns the last events. To be driven without a break, see `engine/blocking`.
    pub async fn run(mut self, mut send: impl FnMut(Vec<Sent>)) -> Vec<Sent> {
        let mut ready = Vec::new();
        loop {
            // What is ready at the same time goes together: a thread that waits for it wakes once.
            let turn = match self.turns.next().now_or_never() {
                Some(turn) => {
                    if ready.len() >= MAX_TOGETHER {
                        // One stays here, so that the last event of all is returned.
                        let last = ready.split_off(ready.len() - 1);
                        send(std::mem::replace(&mut ready, last));
                    }
                    turn
                }
                None => {
                    if !ready.is_empty() {
                        send(std::mem::take(&mut ready));
                    }
                    self.turns.next().await
                }
            };
            let Some((wait, polled)) = turn else { break };
            let Some((asked, then)) = polled else {
                self.late.push(wait.pending);
                continue;
            };
            let is_refused = asked.outcome.as_ref().is_err_and(Failure::refuses_all);
            let event = Event::Polled { asked, elapsed: self.shared.started.elapsed(), failures: wait.failures, then };
            let mut in_hand = None;
            if then != Then::Over {
                let (holding, dealt_with) = oneshot::channel();
                in_hand = Some(holding);
                self.turns.push(Wait { dealt_with: Some(dealt_with), ..wait }.turn(self.shared.clone()));
            }
            ready.push(Sent { event, in_hand });
            if is_refused {
                // The listener gives the refusal to the others. Their polls are cut off.
                self.turns.clear();
                yields::let_connections_settle().await;
                return ready;
            }
        }
        if !self.late.is_empty() {
            let event = Event::TimedOut { pending: self.late, elapsed: self.shared.started.elapsed() };
            ready.push(Sent { event, in_hand: None });
        }
        ready
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits").field("running", &self.turns.len()).finish_non_exhaustive()
    }
}

/// The caller's end of a wait.
#[derive(Debug)]
pub struct Listener {
    operations: Vec<PathSegment>,
    over: HashSet<PathSegment>,
    started: Instant,
    timeout: Option<Duration>,
    /// When the wait ends by the caller's clock, whatever the other end does.
    end: Option<Instant>,
    was_suspended: bool,
    /// After a refused password: the operations that share it, the last one first.
    refused: Option<(Failure, Vec<PathSegment>)>,
    received: VecDeque<Sent>,
    /// Of the last event.
    in_hand: Option<oneshot::Sender<()>>,
}

impl Listener {
    fn new(operations: Vec<PathSegment>, plan: &Plan, started: Instant, server: &Server) -> Self {
        let requests = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        // Each operation is asked once, one after the other if the password is not proved.
        let longest = if plan.asks_once() {
            Some(server.request_timeout.saturating_mul(requests.saturating_add(1)))
        } else {
            plan.timeout.map(|timeout| timeout.saturating_add(OVERRUN))
        };
        let end = longest.and_then(|longest| started.checked_add(longest)?.checked_add(GRACE));
        Self {
            operations,
            over: HashSet::new(),
            started,
            timeout: plan.timeout,
            end,
            was_suspended: false,
            refused: None,
            received: VecDeque::new(),
            in_hand: None,
        }
    }

    /// When the wait ends by the caller's clock.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Whether that end has come. A process that was suspended finds it long past, and both ends of the wait get their time once.
    pub fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        let Some(end) = self.end.filter(|end| *end <= now) else { return false };
        if now > end + GRACE && !self.was_suspended {
            self.was_suspended = true;
            self.end = Some(now + OVERRUN + GRACE);
            return false;
        }
        true
    }

    /// Takes what the other end has sent.
    pub fn receive(&mut self, sent: Vec<Sent>) {
        self.received.extend(sent);
    }

    /// The next event, if it is there. The caller has dealt with the one before.
    pub fn next_event(&mut self) -> Option<Event> {
        self.in_hand = None;
        while let Some(sent) = self.received.pop_front() {
            if let Some(event) = self.take(sent) {
                return Some(event);
            }
        }
        self.refusal()
    }

    /// The event. None for one that comes too late to be told: an answer of an operation that still runs, long after the deadline.
    fn take(&mut self, sent: Sent) -> Option<Event> {
        let Sent { event, in_hand } = sent;
        self.in_hand = in_hand;
        match &event {
            Event::Polled { asked: Asked { outcome: Ok(_), .. }, then: Then::PollAgain, elapsed, .. }
                if self.is_stale(*elapsed) =>
            {
                return None;
            }
            Event::Polled { asked, then, .. } => {
                if *then == Then::Over {
                    self.over.extend(asked.about.operation().cloned());
                }
                if let Err(failure) = &asked.outcome
                    && failure.refuses_all()
                {
                    let mut left = self.left();
                    left.reverse();
                    self.refused = Some((failure.clone(), left));
                }
            }
            Event::TimedOut { pending, .. } => self.over.extend(pending.iter().map(|one| one.operation.clone())),
        }
        Some(event)
    }

    /// Whether an answer is old, after the deadline. What the caller does with answers must not stretch the wait.
    fn is_stale(&self, answered: Duration) -> bool {
        let now = self.started.elapsed();
        self.timeout.is_some_and(|timeout| now > timeout + OVERRUN) && now > answered + OVERRUN
    }

    /// The next event of a wait that a refused password has ended; None if there is none.
    fn refusal(&mut self) -> Option<Event> {
        let (failure, left) = self.refused.as_mut()?;
        let operation = left.pop()?;
        let asked = Asked { about: About::Operation(operation.clone()), outcome: Err(failure.clone()), took: None };
        self.over.insert(operation);
        Some(Event::Polled { asked, elapsed: self.started.elapsed(), failures: 1, then: Then::Over })
    }

    /// Whether the wait for every operation is over.
    pub fn is_over(&self) -> bool {
        self.over.len() == self.operations.len()
    }

    /// The end by the caller's clock; None if every wait is over.
    pub fn give_up(&mut self) -> Option<Event> {
        let text =
            "the wait was not driven in time; this is an error of saymon_bulk, or its file descriptors were closed";
        let failure = Failure::Transport { cause: Cause::Cut, text: text.to_owned() };
        let pend = |operation| Pending { operation, status: None, failure: Some(failure.clone()) };
        let pending: Vec<_> = self.left().into_iter().map(pend).collect();
        self.over.extend(pending.iter().map(|one| one.operation.clone()));
        (!pending.is_empty()).then(|| Event::TimedOut { pending, elapsed: self.started.elapsed() })
    }

    fn left(&self) -> Vec<PathSegment> {
        self.operations.iter().filter(|operation| !self.over.contains(*operation)).cloned().collect()
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
    /// Ready when the caller has dealt with the last event.
    dealt_with: Option<oneshot::Receiver<()>>,
}

impl Wait {
    fn new(operation: PathSegment, shared: &Shared) -> Self {
        let pending = Pending { operation, status: None, failure: None };
        let (pause, due) = (shared.plan.interval, shared.started);
        Self { pending, pause, due, failures: 0, answers: 0, was_last: false, dealt_with: None }
    }

    fn turn(mut self, shared: Arc<Shared>) -> Turn {
        Box::pin(async move {
            let polled = self.poll(&shared).await;
            (self, polled)
        })
    }

    async fn poll(&mut self, shared: &Shared) -> Option<(Asked<Status>, Then)> {
        if self.was_last || shared.server.is_closed() {
            return None;
        }
        // A timer that is over already takes another millisecond.
        if self.due > Instant::now() {
            tokio::time::sleep_until(self.due).await;
        }
        if let Some(mut dealt_with) = self.dealt_with.take()
            && dealt_with.try_recv() == Err(oneshot::error::TryRecvError::Empty)
        {
            // The caller is busy with the last answer. The deadline wants another one all the same.
            match shared.deadline() {
                Some(deadline) => drop(timeout_at(deadline, dealt_with).await),
                None => drop(dealt_with.await),
            }
        }
        let _permit = shared.in_time(shared.polls.acquire()).await?;
        // In a box: most operations are in a pause or wait for a permit, which needs no room for an exchange.
        Box::pin(self.ask(shared)).await
    }

    async fn ask(&mut self, shared: &Shared) -> Option<(Asked<Status>, Then)> {
        if !shared.may_poll_at_this_rate().await {
            return None;
        }
        let pass = match shared.in_time(shared.ticket.pass(&shared.server)).await? {
            Ok(pass) => pass,
            Err(failure) => {
                let about = About::Operation(self.pending.operation.clone());
                return Some((Asked { about, outcome: Err(failure), took: None }, Then::Over));
            }
        };
        let now = Instant::now();
        let limit = shared.limit(now)?;
        self.was_last = shared.is_over(now);
        let call = status::call(&self.pending.operation);
        let asked = shared.lanes.take().ask_within(limit, &shared.server, call, pass).await;
        let then = match &asked.outcome {
            Ok(status) => self.answered(shared, status),
            Err(failure) => self.failed(shared, failure, now.elapsed() > limit + OVERRUN),
        };
        Some((asked, then))
    }

    fn answered(&mut self, shared: &Shared, status: &Status) -> Then {
        shared.answers.fetch_add(1, Ordering::Relaxed);
        shared.rate.ease();
        self.failures = 0;
        self.pending.failure = None;
        if status.finished {
            return Then::Over;
        }
        self.pending.status = Some(status.shortened());
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
            shared.rate.throttle(retry_after, longest(&shared.plan));
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
            Some(deadline) if !self.plan.asks_once() => {
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

    /// The outcome of a future, or None if it does not come before the wait is over.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let deadline = self.deadline().filter(|_| !self.plan.asks_once());
        let Some(mut end) = deadline else { return Some(future.await) };
        let mut future = pin!(future);
        loop {
            if let Ok(output) = timeout_at(end, future.as_mut()).await {
                return Some(output);
            }
            let now = Instant::now();
            end = self.end(now);
            if end <= now {
                return None;
            }
        }
    }

    /// Waits until the rate of the server allows a poll. False if it does not do so before the wait is over.
    async fn may_poll_at_this_rate(&self) -> bool {
        // Who asks once is no wait, as a batch is none.
        if self.rate.is_free() || self.plan.asks_once() {
            return true;
        }
        let turn = async {
            let _first = self.queue.acquire().await;
            self.rate.wait_for_slot(longest(&self.plan)).await;
        };
        self.in_time(turn).await.is_some()
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
        Failure::Transport { cause: Cause::Certificate | Cause::Proxy, .. }
        | Failure::BadAnswer { .. }
        | Failure::Uncertain(_) => false,
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
    use crate::core::credentials::Credentials;
    use crate::core::failure::HttpFailure;
    use crate::core::origin::Origin;

    fn listener(ids: &[&str], timeout: Option<u64>) -> Listener {
        let credentials = Credentials::new("login", "password").unwrap();
        let server = Server::new(Origin::parse("h").unwrap(), credentials, Duration::from_secs(30), Arc::default());
        let plan = Plan { timeout: timeout.map(Duration::from_secs), concurrency: 16, ..plan(1, 10) };
        let operations = ids.iter().map(|id| PathSegment::parse("id", id).unwrap()).collect();
        Listener::new(operations, &plan, Instant::now(), &server)
    }

    fn polled(id: &str, outcome: Result<&str, Failure>, then: Then) -> Sent {
        let about = About::Operation(PathSegment::parse("id", id).unwrap());
        let outcome = outcome.map(|body| status::read(body.as_bytes()).unwrap());
        let asked = Asked { about, outcome, took: Some(Duration::ZERO) };
        Sent { event: Event::Polled { asked, elapsed: Duration::ZERO, failures: 0, then }, in_hand: None }
    }

    const RUNS: &str = r#"{"finished":false}"#;
    const ENDS: &str = r#"{"finished":true}"#;

    #[test]
    fn the_caller_s_clock_ends_a_wait_whose_other_end_is_silent() {
        let end = |ids: &[&str], timeout| Some(listener(ids, timeout).end()? - Instant::now());
        assert_eq!(end(&["a"], None), None);
        assert!(end(&["a"], Some(10)).is_some_and(|end| end <= Duration::from_secs(13)));
        // One that asks once has the time for each request, and for one more.
        let once = end(&["x"; 40], Some(0)).unwrap();
        assert!(once > Duration::from_secs(41 * 30) && once <= Duration::from_secs(41 * 30 + 2));
        let mut listener = listener(&["a", "b", "c"], Some(10));
        assert!(!listener.has_ended());
        listener.end = Some(Instant::now());
        assert!(listener.has_ended());
        listener.receive(vec![polled("b", Ok(ENDS), Then::Over)]);
        assert!(listener.next_event().is_some() && listener.next_event().is_none());
        let Some(Event::TimedOut { pending, .. }) = listener.give_up() else { panic!() };
        assert_eq!(pending.iter().map(|one| one.operation.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert!(pending.iter().all(|one| one.status.is_none() && one.failure.is_some()));
        assert!(listener.is_over() && listener.give_up().is_none());
    }

    #[test]
    fn a_process_that_was_suspended_gets_its_time_once() {
        let mut listener = listener(&["a"], Some(10));
        listener.end = Some(Instant::now() - Duration::from_secs(60));
        assert!(!listener.has_ended() && listener.end().unwrap() > Instant::now() + OVERRUN);
        listener.end = Some(Instant::now() - Duration::from_secs(60));
        assert!(listener.has_ended());
    }

    #[test]
    fn an_old_answer_after_the_deadline_is_passed_over_but_no_end() {
        let mut listener = listener(&["a", "b"], Some(10));
        listener.started -= Duration::from_secs(12);
        listener.receive(vec![polled("a", Ok(RUNS), Then::PollAgain), polled("b", Ok(ENDS), Then::Over)]);
        let Some(Event::Polled { asked, .. }) = listener.next_event() else { panic!() };
        assert_eq!(asked.about.id(), Some("b"));
        assert!(listener.next_event().is_none());
    }

    #[test]
    fn a_refused_password_is_the_outcome_of_all_that_are_left() {
        let mut listener = listener(&["a", "b", "c", "d"], None);
        let refusal = || Failure::Http(Box::new(HttpFailure { http_status: 401, ..HttpFailure::default() }));
        listener.receive(vec![polled("b", Ok(ENDS), Then::Over), polled("c", Err(refusal()), Then::Over)]);
        let events = std::iter::from_fn(|| listener.next_event());
        let ids: Vec<_> = events
            .filter_map(|event| match event {
                Event::Polled { asked, then: Then::Over, .. } => asked.about.id().map(str::to_owned),
                _ => None,
            })
            .collect();
        assert_eq!(ids, ["b", "c", "a", "d"]);
        assert!(listener.is_over());
    }

    #[test]
    fn an_operation_is_dealt_with_when_the_next_event_is_asked_for() {
        let mut listener = listener(&["a"], None);
        let (in_hand, mut dealt_with) = oneshot::channel();
        let Sent { event, .. } = polled("a", Ok(RUNS), Then::PollAgain);
        listener.receive(vec![Sent { event, in_hand: Some(in_hand) }]);
        assert!(listener.next_event().is_some());
        assert_eq!(dealt_with.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(listener.next_event().is_none());
        assert_eq!(dealt_with.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

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
        assert!(!is_tolerable(&transport(Cause::Certificate), true) && !is_tolerable(&transport(Cause::Proxy), true));
        assert!(!is_tolerable(&Failure::BadAnswer { text: String::new() }, true));
    }
}
