//! The statuses of many operations: bounded concurrency, results in the order asked for, one worker or several.

use std::iter;
use std::num::NonZero;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, watch};

use super::status::{self, Status};
use crate::core::failure::Failure;
use crate::core::origin::Origin;
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Asked, Transport};
use crate::core::transport::server::Server;

/// One thread keeps a core busy with some 50,000 statuses a second. Beyond this many threads, the server is what takes the
/// time.
const MAX_WORKERS: usize = 4;

/// With fewer operations for each worker, or fewer at once, another worker costs more than it brings (`make bench`).
const OPERATIONS_EACH: usize = 64;
const CONCURRENCY_EACH: usize = 8;

/// How many workers, each with its own thread, a blocking batch is worth.
pub fn workers(origin: &Origin, operations: usize, concurrency: usize) -> usize {
    let wanted = MAX_WORKERS.min(operations / OPERATIONS_EACH).min(concurrency / CONCURRENCY_EACH);
    // Over TLS, more workers only make more handshakes before there is a session to resume (`make bench`).
    if wanted < 2 || origin.is_tls() {
        return 1;
    }
    // The last question, since its answer is read from files.
    wanted.min(thread::available_parallelism().map_or(1, NonZero::get))
}

/// Operations that are asked for once each, by all workers together.
pub struct Batch<'a> {
    server: &'a Server,
    operations: &'a [PathSegment],
    results: Vec<OnceLock<Asked<Status>>>,
    next: AtomicUsize,
    stop_at_failure: bool,
    is_stopped: watch::Sender<bool>,
    /// Lets one request ahead until the credentials are proved: many wrong ones at once lock an account.
    ahead: Semaphore,
    /// The 401 that ended the batch.
    refused: OnceLock<Failure>,
}

impl<'a> Batch<'a> {
    /// With `stop_at_failure` the first failure ends the batch and drops what is under way. Some operations then have no
    /// result.
    pub fn new(server: &'a Server, operations: &'a [PathSegment], stop_at_failure: bool) -> Self {
        Self {
            server,
            operations,
            results: operations.iter().map(|_| OnceLock::new()).collect(),
            next: AtomicUsize::new(0),
            stop_at_failure,
            is_stopped: watch::Sender::new(false),
            ahead: Semaphore::new(1),
            refused: OnceLock::new(),
        }
    }

    /// Asks for what no worker has asked for yet, at most `concurrency` at a time.
    pub async fn work(&self, transport: &Transport, concurrency: usize) {
        let transport = &transport.of_calls(concurrency.min(self.operations.len()));
        let mut stopped = self.is_stopped.subscribe();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let places = iter::from_fn(|| Some(self.next.fetch_add(1, Ordering::Relaxed)));
        let places = places.take_while(|place| *place < self.operations.len());
        let ask = |place| self.ask(transport, place);
        let mut asked = stream::iter(places).map(ask).buffer_unordered(concurrency);
        while let Either::Left((Some(failed), _)) = select(asked.next(), stopped.as_mut()).await {
            if failed && self.stop_at_failure {
                self.stop();
            }
        }
    }

    async fn ask(&self, transport: &Transport, place: usize) -> bool {
        let (Some(operation), Some(result)) = (self.operations.get(place), self.results.get(place)) else {
            return false;
        };
        let ahead = if self.server.is_proved() { None } else { self.ahead.acquire().await.ok() };
        if self.is_stopped() {
            return false;
        }
        // The one ahead has proved them meanwhile, so the next need not wait for this one.
        let ahead = ahead.filter(|_| !self.server.is_proved());
        let asked = transport.ask(self.server, status::call(operation)).await;
        if let Err(failure) = &asked.outcome
            && failure.is_unauthorized()
        {
            let _ = self.refused.set(failure.clone());
            self.stop();
        }
        drop(ahead);
        result.get_or_init(|| asked).outcome.is_err()
    }

    /// Ends all workers and drops what is under way.
    pub fn stop(&self) {
        self.is_stopped.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.is_stopped.borrow()
    }

    /// The results, in the order of the operations. A 401 of one operation is the result of all that have none.
    pub fn results(self) -> impl Iterator<Item = Asked<Status>> {
        let Self { operations, results, refused, .. } = self;
        let refused = refused.into_inner();
        results.into_iter().zip(operations).filter_map(move |(result, operation)| {
            result.into_inner().or_else(|| {
                let outcome = Err(refused.clone()?);
                Some(Asked { about: About::Operation(operation.clone()), outcome, took: None })
            })
        })
    }
}
