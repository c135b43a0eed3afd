//! Many statuses, blocking and awaited, as a dict in the order of the ids.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::api::batch::{self, Batch, Placed};
use crate::core::segment::PathSegment;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::{Awaitable, Engine, Received, RuntimeGuard};
use super::{errors, outcome, twin};

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
    let shares = (0..threads).map(|number| (at_once + number) / threads);
    let workers = shares.map(|share| {
        let (runtime, transport) = engine.acquire(&target.key, share)?;
        Ok((runtime, batch.clone().work(transport, share)))
    });
    let (mut results, started) = RuntimeGuard::drive_all(engine.process, workers.collect::<PyResult<_>>()?);
    let mut placed = Vec::new();
    for _ in 0..started {
        let Received::Item(of_one) = results.next(py, &target.server, None)? else { return Err(errors::panicked()) };
        let has_ended = of_one.iter().any(|(_, asked)| batch.is_end(asked));
        placed.extend(of_one);
        if has_ended {
            break;
        }
    }
    Ok((started > 0).then_some(placed))
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
