//! The statuses of many operations: bounded concurrency, results in the order asked for, one thread or several.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use super::status::{self, Status};
use crate::core::failure::Failure;
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Completed, Transport};
use crate::core::transport::gate::Ticket;
use crate::core::transport::lanes::{Lanes, at_once};
use crate::core::transport::server::Server;
use crate::core::transport::yields;

/// One thread keeps a core busy with some 30,000 statuses a second. Beyond this many threads, the server is what takes the time.
const MAX_THREADS: usize = 4;

/// With fewer lanes for each thread, another one costs more than it brings (`make bench`).
const LANES_EACH: usize = 8;

/// So many lanes of a thread begin at once. When the others begin, there is a TLS session to resume.
const FIRST_LANES: usize = 8;

/// So many answers let one more lane begin: its handshake takes the CPU time of some thirty requests (`make bench`).
const ANSWERS_A_LANE: usize = 8;

/// Where no answer comes in this time, the CPU is idle, and the number of lanes doubles.
const OPENING_PAUSE: Duration = Duration::from_millis(5);

/// Operations that are asked for once each, by all threads together.
pub struct Batch {
    server: Arc<Server>,
    operations: Vec<PathSegment>,
    next: AtomicUsize,
    /// Whether the first failure ends the batch.
    stops_at_failure: bool,
}

/// A status, with the place of its operation in the batch.
pub type Placed = (usize, Completed<Status>);

/// How many threads a blocking batch with so many requests at once is worth.
pub fn threads(at_once: usize) -> usize {
    let wanted = MAX_THREADS.min(at_once / LANES_EACH).max(1);
    // The last question, since its answer is read from files.
    if wanted == 1 { 1 } else { wanted.min(thread::available_parallelism().map_or(1, NonZero::get)) }
}

impl Batch {
    pub fn new(server: Arc<Server>, operations: Vec<PathSegment>, stops_at_failure: bool) -> Self {
        Self { server, operations, next: AtomicUsize::new(0), stops_at_failure }
    }

    /// Asks for what no thread has asked for yet. Ends when nothing is left, and at a failure that ends the batch, which is among
    /// the results. All threads share one ticket: a thread that begins late must not send a password that was refused meanwhile.
    /// `kept` lanes are kept for the next call.
    pub async fn work(
        self: Arc<Self>,
        transport: Transport,
        ticket: Ticket,
        at_once: usize,
        kept: usize,
    ) -> Vec<Placed> {
        let lanes = Lanes::new(&transport, kept);
        let (mut results, mut asking, mut limit) = (Vec::new(), FuturesUnordered::new(), at_once.min(FIRST_LANES));
        loop {
            while asking.len() < limit
                && let Some((place, operation)) = self.next()
            {
                asking.push(self.ask(&lanes, &ticket, place, operation));
            }
            let asked =
                if limit < at_once { timeout(OPENING_PAUSE, asking.next()).await } else { Ok(asking.next().await) };
            match asked {
                Ok(Some((place, asked))) => {
                    let has_ended = self.is_end(&asked);
                    results.push((place, asked));
                    if has_ended {
                        break;
                    }
                    limit += usize::from(limit < at_once && results.len().is_multiple_of(ANSWERS_A_LANE));
                }
                Ok(None) => break,
                Err(_) => limit = at_once.min(limit * 2),
            }
        }
        // Connections go back to their lanes, and those of requests and lanes that are given up end.
        drop(asking);
        drop(lanes);
        yields::let_connections_settle().await;
        results
    }

    /// How many requests go at once.
    pub fn at_once(&self, concurrency: usize) -> usize {
        at_once(concurrency, self.operations.len())
    }

    /// What no thread has asked for yet.
    fn next(&self) -> Option<(usize, &PathSegment)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        Some((place, self.operations.get(place)?))
    }

    async fn ask(&self, lanes: &Lanes, ticket: &Ticket, place: usize, operation: &PathSegment) -> Placed {
        let asked = match ticket.pass(&self.server).await {
            Ok(pass) => {
                lanes.take().ask_within(self.server.request_timeout, &self.server, status::call(operation), pass).await
            }
            Err(failure) => Completed::unsent(About::Operation(operation.clone()), failure),
        };
        (place, asked)
    }

    /// Whether a result ends the batch. One that was not sent shares the refusal of another, which ends its own call.
    fn is_end(&self, asked: &Completed<Status>) -> bool {
        let ends = |failure: &Failure| self.stops_at_failure || failure.refuses_all();
        asked.took.is_some() && asked.outcome.as_ref().is_err_and(ends)
    }

    /// Whether the results of one thread end the others with what they have under way. After a refused password these end by
    /// themselves, and what they were told before counts.
    pub fn ends_others(&self, placed: &[Placed]) -> bool {
        self.stops_at_failure && placed.iter().any(|(_, asked)| self.is_end(asked))
    }

    /// The results in the order of the operations. A refused password is the result of all that have none.
    pub fn in_order(&self, placed: impl IntoIterator<Item = Placed>) -> impl Iterator<Item = Completed<Status>> {
        let mut results: Vec<_> = self.operations.iter().map(|_| None).collect();
        let mut refused = None;
        for (place, asked) in placed {
            if let Err(failure) = &asked.outcome
                && failure.refuses_all()
            {
                refused.get_or_insert_with(|| failure.clone());
            }
            if let Some(result) = results.get_mut(place) {
                *result = Some(asked);
            }
        }
        results.into_iter().zip(&self.operations).filter_map(move |(result, operation)| {
            result.or_else(|| Some(Completed::unsent(About::Operation(operation.clone()), refused.clone()?)))
        })
    }
}
