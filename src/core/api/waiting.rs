//! Polling until operations have finished. [`Waits`] polls, and is driven without a break from its first poll to its end; its
//! [`Listener`] is the caller's.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::listener::{Event, Listener, Next, Pending, Sent};
use super::schedule::{Deadline, OVERRUN, Plan, is_throttling, is_tolerable, jittered};
use super::status::{self, Status};
use crate::core::failure::Failure;
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Completed, Transport};
use crate::core::transport::gate::{Pass, Ticket};
use crate::core::transport::lanes::{self, Lanes, MAX_KEPT};
use crate::core::transport::rate::Rate;
use crate::core::transport::server::Server;
use crate::core::transport::yields;

/// So many events go to the caller together; otherwise arbitrary.
const MAX_TOGETHER: usize = 64;

/// Waits for operations, all on one schedule's rules and under one deadline.
pub struct Waits {
    common: Arc<Common>,
    polling: FuturesUnordered<Polling>,
    late: Vec<Pending>,
}

/// A pause and a poll. The result is None if the wait ended before the poll.
type Polling = Pin<Box<dyn Future<Output = (Wait, Option<(Completed<Status>, Next)>)> + Send>>;

struct Common {
    lanes: Lanes,
    ticket: Ticket,
    server: Arc<Server>,
    rate: Arc<Rate>,
    plan: Plan,
    started: Instant,
    deadline: Deadline,
    polls: Semaphore,
    /// Polls of this wait queue here. Only the first enters the queue of the rate, so that a large wait does not push others back.
    queue: Semaphore,
    /// Good answers so far, of all operations.
    answers: AtomicU64,
}

/// The two ends of a wait that begins now.
pub fn wait(transport: &Transport, server: Arc<Server>, operations: Vec<PathSegment>, plan: Plan) -> (Waits, Listener) {
    let started = Instant::now();
    let common = Arc::new(Common {
        ticket: transport.ticket(&server),
        lanes: Lanes::new(transport, MAX_KEPT),
        rate: transport.rate(&server),
        started,
        deadline: Deadline::new(started, &plan),
        polls: Semaphore::new(lanes::at_once(plan.concurrency, operations.len())),
        queue: Semaphore::new(1),
        answers: AtomicU64::new(0),
        server,
        plan,
    });
    let polling = FuturesUnordered::new();
    for operation in &operations {
        polling.push(Wait::new(operation.clone(), &common).poll_when_due(common.clone()));
    }
    let listener = Listener::new(operations, &common.plan, started, common.server.request_timeout);
    (Waits { common, polling, late: Vec::new() }, listener)
}

impl Waits {
    /// Polls until every wait is over; returns the last events. To be driven without a break, see `engine/blocking`.
    pub async fn run(mut self, mut send: impl FnMut(Vec<Sent>)) -> Vec<Sent> {
        let mut ready = Vec::new();
        loop {
            // What is ready at the same time goes together: a thread that waits for it wakes once.
            let polled = match self.polling.next().now_or_never() {
                Some(polled) => {
                    if ready.len() >= MAX_TOGETHER {
                        // One stays here, so that the last event of all is returned.
                        let last = ready.split_off(ready.len() - 1);
                        send(std::mem::replace(&mut ready, last));
                    }
                    polled
                }
                None => {
                    if !ready.is_empty() {
                        send(std::mem::take(&mut ready));
                    }
                    self.polling.next().await
                }
            };
            let Some((wait, polled)) = polled else { break };
            let Some((asked, next)) = polled else {
                self.late.push(wait.pending);
                continue;
            };
            let is_refused = asked.outcome.as_ref().is_err_and(Failure::refuses_all);
            let event = Event::Polled { asked, elapsed: self.common.started.elapsed(), failures: wait.failures, next };
            let mut in_hand = None;
            if next != Next::Over {
                let (holding, dealt_with) = oneshot::channel();
                in_hand = Some(holding);
                self.polling.push(Wait { dealt_with: Some(dealt_with), ..wait }.poll_when_due(self.common.clone()));
            }
            ready.push(Sent { event, in_hand });
            if is_refused {
                // The listener gives the refusal to the others, also to those that are late. Their polls are cut off.
                self.late.clear();
                break;
            }
        }
        if !self.late.is_empty() {
            let event = Event::TimedOut { pending: self.late, elapsed: self.common.started.elapsed() };
            ready.push(Sent { event, in_hand: None });
        }
        // Connections go back to their lanes, and those of lanes that are not kept end.
        drop((self.polling, self.common));
        yields::let_connections_settle().await;
        ready
    }
}

/// The wait for one operation, between two polls.
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
    fn new(operation: PathSegment, common: &Common) -> Self {
        let pending = Pending { operation, status: None, failure: None };
        let (pause, due) = (common.plan.interval, common.started);
        Self { pending, pause, due, failures: 0, answers: 0, was_last: false, dealt_with: None }
    }

    fn poll_when_due(mut self, common: Arc<Common>) -> Polling {
        Box::pin(async move {
            let polled = self.poll(&common).await;
            (self, polled)
        })
    }

    async fn poll(&mut self, common: &Common) -> Option<(Completed<Status>, Next)> {
        if self.was_last || common.server.is_closed() {
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
            let _ = timeout_at(common.deadline.at(), dealt_with).await;
        }
        let _permit = common.in_time(common.polls.acquire()).await?;
        // In a box: most operations are in a pause or wait for a permit, which needs no room for an exchange.
        Box::pin(self.ask(common)).await
    }

    async fn ask(&mut self, common: &Common) -> Option<(Completed<Status>, Next)> {
        let pass = match common.pass().await? {
            Ok(pass) => pass,
            Err(failure) => {
                let about = About::Operation(self.pending.operation.clone());
                return Some((Completed::unsent(about, failure), Next::Over));
            }
        };
        let now = Instant::now();
        let limit = common.deadline.time_for_poll(now, common.server.request_timeout)?;
        self.was_last = common.deadline.has_passed(now);
        let call = status::call(&self.pending.operation);
        let asked = common.lanes.take().ask_within(limit, &common.server, call, pass).await;
        let next = match &asked.outcome {
            Ok(status) => self.answered(common, status),
            Err(failure) => self.failed(common, failure, now.elapsed() > limit + OVERRUN),
        };
        Some((asked, next))
    }

    fn answered(&mut self, common: &Common, status: &Status) -> Next {
        common.answers.fetch_add(1, Ordering::Relaxed);
        common.rate.ease();
        self.failures = 0;
        self.pending.failure = None;
        if status.finished {
            return Next::Over;
        }
        self.pending.status = Some(status.shortened());
        self.pause = common.plan.pause_at(common.started.elapsed());
        self.schedule(common, None);
        Next::PollAgain
    }

    /// `was_stopped`: the poll took longer than it may, since the process was stopped.
    fn failed(&mut self, common: &Common, failure: &Failure, was_stopped: bool) -> Next {
        let is_cut_off = matches!(failure, Failure::Timeout { limit, .. } if *limit < common.server.request_timeout);
        if is_cut_off {
            // The deadline cut the poll off; the server may be well.
            self.was_last = self.was_last || !was_stopped;
            self.due = Instant::now();
            self.pending.failure = Some(failure.clone());
            return Next::CutOff;
        }
        let answers = common.answers.load(Ordering::Relaxed);
        if !is_tolerable(failure, answers > 0) {
            return Next::Over;
        }
        let retry_after = match failure {
            Failure::Http(failure) => failure.retry_after,
            _ => None,
        };
        if is_throttling(failure) {
            common.rate.throttle(retry_after, common.plan.longest_pause());
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
        if self.failures > common.plan.retries {
            return Next::Over;
        }
        self.schedule(common, retry_after);
        self.pause = common.plan.grown(self.pause);
        self.pending.failure = Some(failure.clone());
        Next::PollAgain
    }

    /// Sets the next poll: after the pause, or when the server asks for it, but not after the deadline.
    fn schedule(&mut self, common: &Common, retry_after: Option<Duration>) {
        let pause = jittered(self.pause).max(retry_after.unwrap_or_default());
        self.due = common.deadline.next_poll(Instant::now(), pause);
    }
}

impl Common {
    /// The outcome of a future, or None if it does not come before the wait is over.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            let now = Instant::now();
            let end = self.deadline.end(now);
            if now >= end {
                return None;
            }
            // The deadline is the end until it has passed.
            if let Ok(output) = timeout_at(end, future.as_mut()).await {
                return Some(output);
            }
        }
    }

    /// The leave of the rate and of the gate to poll. None if they do not give it before the wait is over.
    async fn pass(&self) -> Option<Result<Pass, Failure>> {
        if self.plan.asks_once() {
            // That is no wait, as a batch is none.
            return Some(self.ticket.pass_in_time(&self.server).await);
        }
        loop {
            if !self.may_poll_at_this_rate().await {
                return None;
            }
            let throttlings = self.rate.throttlings();
            let pass = self.in_time(self.ticket.pass(&self.server)).await?;
            // The answer to the one ahead may have asked for a pause.
            if self.rate.throttlings() == throttlings || pass.is_err() {
                return Some(pass);
            }
        }
    }

    /// Waits until the rate of the server allows a poll. False if it does not do so before the wait is over.
    async fn may_poll_at_this_rate(&self) -> bool {
        if self.rate.is_free() {
            return true;
        }
        let slot = async {
            let _first = self.queue.acquire().await;
            self.rate.wait_for_slot(self.plan.longest_pause(), self.deadline.at().into()).await;
        };
        self.in_time(slot).await.is_some()
    }
}
