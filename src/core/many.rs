//! The statuses of many operations: bounded concurrency, results in the order asked for.

use std::iter;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::answer::Status;
use super::exchange::{Connections, Server};
use super::failure::Failure;
use super::operation::Operation;

/// One outcome and how long its exchange took.
pub type Timed = (Result<Status, Failure>, Duration);

/// One exchange, timed.
pub async fn timed(connections: &Connections, server: &Server, operation: &Operation) -> Timed {
    let started = Instant::now();
    let outcome = connections.status(server, operation).await;
    (outcome, started.elapsed())
}

/// Operations that are each asked for once, by one worker or by several at the same time.
pub struct Batch<'a> {
    server: &'a Server,
    operations: &'a [Operation],
    outcomes: Vec<OnceLock<Timed>>,
    next: AtomicUsize,
    stop_at_failure: bool,
    is_stopped: watch::Sender<bool>,
}

impl<'a> Batch<'a> {
    /// With `stop_at_failure` the first failure ends it all, dropping what is under way: then there is an outcome for
    /// some operations only.
    pub fn new(server: &'a Server, operations: &'a [Operation], stop_at_failure: bool) -> Self {
        Self {
            server,
            operations,
            outcomes: operations.iter().map(|_| OnceLock::new()).collect(),
            next: AtomicUsize::new(0),
            stop_at_failure,
            is_stopped: watch::Sender::new(false),
        }
    }

    /// Asks for what no worker has asked for yet, at most `concurrency` at a time.
    pub async fn work(&self, connections: &Connections, concurrency: usize) {
        let mut stopped = self.is_stopped.subscribe();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let places = iter::from_fn(|| Some(self.next.fetch_add(1, Ordering::Relaxed)));
        let places = places.take_while(|place| *place < self.operations.len());
        let ask = |place| self.ask(connections, place);
        let mut asked = stream::iter(places).map(ask).buffer_unordered(concurrency);
        while let Either::Left((Some(failed), _)) = select(asked.next(), stopped.as_mut()).await {
            if failed && self.stop_at_failure {
                self.stop();
            }
        }
    }

    async fn ask(&self, connections: &Connections, place: usize) -> bool {
        let (Some(operation), Some(outcome)) = (self.operations.get(place), self.outcomes.get(place)) else {
            return false;
        };
        let timed = timed(connections, self.server, operation).await;
        outcome.get_or_init(|| timed).0.is_err()
    }

    /// Lets all workers come to their end, dropping what is under way.
    pub fn stop(&self) {
        self.is_stopped.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.is_stopped.borrow()
    }

    /// In the order of the operations; None where one was not asked for to the end.
    pub fn outcomes(self) -> impl Iterator<Item = Option<Timed>> {
        self.outcomes.into_iter().map(OnceLock::into_inner)
    }
}
