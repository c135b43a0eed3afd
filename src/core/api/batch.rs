//! The statuses of many operations: bounded concurrency, results in the order asked for, one worker or several.

use std::future::pending;
use std::num::NonZero;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::status::{self, Status};
use crate::core::failure::Failure;
use crate::core::origin::Origin;
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::exchange::{Asked, MAX_SHARED_CONNECTIONS, Transport};
use crate::core::transport::gate::Ticket;
use crate::core::transport::server::Server;
use crate::core::transport::yields;

/// One thread keeps a core busy with some 50,000 statuses a second. Beyond this many threads, the server is what takes the
/// time.
const MAX_WORKERS: usize = 4;

/// With fewer operations for each worker, or fewer at once, another worker costs more than it brings (`make bench`).
const OPERATIONS_EACH: usize = 64;
const CONCURRENCY_EACH: usize = 8;

/// Over TLS a worker with few operations begins with so many connections, and opens another one after each interval. A full
/// handshake takes the CPU time of some thirty requests. A resumed one is cheaper, but needs a ticket, which comes with the
/// first answer on an earlier connection.
const FIRST_CONNECTIONS: usize = 8;
const OPENING_INTERVAL: Duration = Duration::from_millis(2);

/// With more operations for each connection, all connections open at once (`make bench`).
const OPERATIONS_A_CONNECTION: usize = 32;

/// So many requests begin in one step of a runtime. With a hundred thousand, all others would wait for seconds.
const AT_A_TIME: usize = 256;

/// Where a request takes longer, with its handshake, the CPU has the time for others, and all connections open at once.
const QUICK_REQUEST: Duration = Duration::from_millis(5);

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
pub struct Batch {
    server: Arc<Server>,
    operations: Vec<PathSegment>,
    results: Vec<OnceLock<Asked<Status>>>,
    next: AtomicUsize,
    stop_at_failure: bool,
    is_stopped: watch::Sender<bool>,
    /// The refused password that ended the batch.
    refused: OnceLock<Failure>,
}

impl Batch {
    /// With `stop_at_failure` the first failure ends the batch and drops what is under way. Some operations then have no
    /// result.
    pub fn new(server: Arc<Server>, operations: Vec<PathSegment>, stop_at_failure: bool) -> Self {
        Self {
            server,
            results: operations.iter().map(|_| OnceLock::new()).collect(),
            operations,
            next: AtomicUsize::new(0),
            stop_at_failure,
            is_stopped: watch::Sender::new(false),
            refused: OnceLock::new(),
        }
    }

    /// Asks for what no worker has asked for yet, at most `concurrency` at a time.
    pub async fn work(&self, transport: &Transport, concurrency: usize) {
        let at_once = concurrency.min(self.operations.len());
        let transport = &transport.of_calls(at_once);
        let ticket = transport.ticket(&self.server);
        let mut limit = Limit::new(at_once, self.saves_handshakes(at_once));
        let mut stopped = self.is_stopped.subscribe();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let mut asking = FuturesUnordered::new();
        loop {
            while asking.len() < limit.now
                && let Some((operation, result)) = self.next()
            {
                asking.push(self.ask(transport, &ticket, operation, result));
            }
            if asking.is_empty() {
                return;
            }
            let next = async {
                match select(asking.next(), pin!(limit.raise())).await {
                    Either::Left((asked, _)) => asked.flatten(),
                    Either::Right(_) => None,
                }
            };
            let Either::Left((next, _)) = select(pin!(next), stopped.as_mut()).await else { return };
            let Some(asked) = next else { continue };
            if asked.took.is_some_and(|took| took > QUICK_REQUEST) {
                limit.lift();
            }
            if asked.outcome.is_err() && self.stop_at_failure {
                self.stop();
            }
        }
    }

    /// Whether a worker opens TLS connections, as far as is known, and has too few operations for so many.
    fn saves_handshakes(&self, at_once: usize) -> bool {
        let opens_connections = at_once > MAX_SHARED_CONNECTIONS || !self.server.is_proved();
        let is_short = self.operations.len() / at_once.max(1) < OPERATIONS_A_CONNECTION;
        self.server.origin.is_tls() && opens_connections && is_short
    }

    /// What no worker has asked for yet.
    fn next(&self) -> Option<(&PathSegment, &OnceLock<Asked<Status>>)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        Some((self.operations.get(place)?, self.results.get(place)?))
    }

    /// None if the batch was stopped before.
    async fn ask<'b>(
        &self,
        transport: &Transport,
        ticket: &Ticket,
        operation: &PathSegment,
        result: &'b OnceLock<Asked<Status>>,
    ) -> Option<&'b Asked<Status>> {
        let pass = ticket.pass(&self.server).await;
        if self.is_stopped() {
            return None;
        }
        let asked = match pass {
            Ok(pass) => {
                transport.ask_within(self.server.request_timeout, &self.server, status::call(operation), pass).await
            }
            Err(failure) => Asked { about: About::Operation(operation.clone()), outcome: Err(failure), took: None },
        };
        if let Err(failure) = &asked.outcome
            && failure.refuses_all()
        {
            let _ = self.refused.set(failure.clone());
            self.stop();
        }
        Some(result.get_or_init(|| asked))
    }

    /// Ends all workers and drops what is under way.
    pub fn stop(&self) {
        self.is_stopped.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.is_stopped.borrow()
    }

    /// The results, in the order of the operations. A refused password is the result of all that have none.
    pub fn results(self) -> impl Iterator<Item = Asked<Status>> {
        let Self { operations, results, refused, .. } = self;
        let refused = refused.into_inner();
        results.into_iter().zip(operations).filter_map(move |(result, operation)| {
            result.into_inner().or_else(|| {
                let outcome = Err(refused.clone()?);
                Some(Asked { about: About::Operation(operation), outcome, took: None })
            })
        })
    }
}

/// How many requests of a worker may be under way.
struct Limit {
    now: usize,
    most: usize,
    /// When one more may begin; None if all may, as soon as other tasks have had their turn.
    interval: Option<Interval>,
}

impl Limit {
    fn new(most: usize, saves_handshakes: bool) -> Self {
        let interval = saves_handshakes.then(|| {
            let mut interval = interval_at(Instant::now() + OPENING_INTERVAL, OPENING_INTERVAL);
            // A worker that is busy with handshakes opens no more of them to catch up.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let first = if saves_handshakes { FIRST_CONNECTIONS } else { AT_A_TIME };
        Self { now: most.min(first), most, interval }
    }

    /// Waits until more requests may go out.
    async fn raise(&mut self) {
        if self.now >= self.most {
            return pending().await;
        }
        match &mut self.interval {
            Some(interval) => {
                interval.tick().await;
                self.now += 1;
            }
            None => {
                yields::let_others_run().await;
                self.now = self.most.min(self.now + AT_A_TIME);
            }
        }
    }

    fn lift(&mut self) {
        self.interval = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_worker_opens_tls_connections_little_by_little() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut limit = Limit::new(64, true);
            assert_eq!(limit.now, FIRST_CONNECTIONS);
            assert!(limit.raise().now_or_never().is_none());
            limit.raise().await;
            assert_eq!(limit.now, FIRST_CONNECTIONS + 1);
            limit.lift();
            limit.raise().await;
            assert_eq!(limit.now, 64);
            assert!(limit.raise().now_or_never().is_none());
            assert_eq!(Limit::new(64, false).now, 64);
            assert_eq!(Limit::new(2, true).now, 2);
            assert_eq!(Limit::new(1000, false).now, AT_A_TIME);
        });
    }
}
