//! Many statuses, blocking and awaited, as a dict in the order of the ids.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::api::batch::{self, Batch, Placed};
use crate::core::segment::PathSegment;
use crate::core::transport::exchange::Transport;
use crate::core::transport::lanes::MAX_KEPT;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::{Awaitable, Engine, Items, Received};
use super::{outcome, twin};

/// Asks from several threads where that is quicker.
pub fn block<'py>(
    py: Python<'py>,
    target: &Target,
    operations: Vec<PathSegment>,
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let batch = Arc::new(Batch::new(target.server.clone(), operations, !return_exceptions));
    let at_once = batch.at_once(concurrency);
    let threads = batch::threads(at_once);
    if threads > 1
        && let Some(placed) = on_threads(py, target, &batch, at_once, threads)?
    {
        return outcome::values(py, &target.server, batch.in_order(placed), return_exceptions);
    }
    let finish = |py, server: &Server, placed| outcome::values(py, server, batch.in_order(placed), return_exceptions);
    twin::block(py, target, |transport, server| ask(batch.clone(), transport, &server, at_once), finish)
}

/// Asks on one thread.
fn ask(
    batch: Arc<Batch>,
    transport: Transport,
    server: &Server,
    at_once: usize,
) -> impl Future<Output = Vec<Placed>> + use<> {
    let ticket = transport.ticket(server);
    batch.work(transport, ticket, at_once, MAX_KEPT)
}

/// Asks from so many threads. None if no thread can be started.
fn on_threads(
    py: Python<'_>,
    target: &Target,
    batch: &Arc<Batch>,
    at_once: usize,
    threads: usize,
) -> PyResult<Option<Vec<Placed>>> {
    let engine = Engine::current();
    let mut results = Items::new(engine.process, Some(target.server.clone()));
    let (mut has_begun, mut ticket) = (false, None);
    for number in 0..threads {
        let share = (at_once + number) / threads;
        let (runtime, transport) = engine.acquire(&target.key, &target.server)?;
        let ticket = ticket.get_or_insert_with(|| transport.ticket(&target.server)).clone();
        let work = batch.clone().work(transport, ticket, share, MAX_KEPT / threads);
        // If a thread cannot be started, the others do its part.
        has_begun |= runtime.drive(&mut results, |_| work).is_ok();
    }
    let mut placed = Vec::new();
    while let Received::Item(of_one) = results.next(py, None)? {
        let ends_others = batch.ends_others(&of_one);
        placed.extend(of_one);
        if ends_others {
            break;
        }
    }
    Ok(has_begun.then_some(placed))
}

pub fn awaitable(
    py: Python<'_>,
    target: &Target,
    operations: Vec<PathSegment>,
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Awaitable> {
    let batch = Arc::new(Batch::new(target.server.clone(), operations, !return_exceptions));
    let (working, at_once) = (batch.clone(), batch.at_once(concurrency));
    twin::awaitable(
        py,
        target,
        |transport, server| ask(working, transport, &server, at_once),
        move |py, server, placed| outcome::values(py, server, batch.in_order(placed), return_exceptions),
    )
}
