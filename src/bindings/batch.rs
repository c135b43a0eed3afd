//! Many statuses, blocking and awaited, as a dict in the order of the ids.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::api::batch::{self, Batch, Placed};
use crate::core::segment::PathSegment;
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
    twin::block(py, target, at_once, |transport, _| batch.clone().work(transport, at_once), finish)
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
    let mut results = Items::new(engine.process);
    let mut has_begun = false;
    for number in 0..threads {
        let share = (at_once + number) / threads;
        let (runtime, transport) = engine.acquire(&target.key, share)?;
        let work = batch.clone().work(transport, share);
        // If a thread cannot be started, the others do its part.
        has_begun |= runtime.drive(&mut results, |_| work).is_ok();
    }
    let mut placed = Vec::new();
    while let Received::Item(of_one) = results.next(py, &target.server, None)? {
        let has_ended = of_one.iter().any(|(_, asked)| batch.is_end(asked));
        placed.extend(of_one);
        if has_ended {
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
        |transport, _| working.work(transport, at_once),
        move |py, server, placed| outcome::values(py, server, batch.in_order(placed), return_exceptions),
        |_, _| Ok(()),
    )
}
