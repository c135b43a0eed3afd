//! Many statuses, blocking and awaited, as a dict in the order of the ids.

use std::num::NonZero;
use std::thread;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::mpsc;

use crate::core::exchange::{Connections, Server};
use crate::core::many::{Batch, Timed};
use crate::core::operation::Operation;
use crate::core::origin::Origin;

use super::arguments::Target;
use super::asyncio::{self, Awaited};
use super::functions::value;
use super::lane::Lent;
use super::runtime::Engine;

/// One thread keeps a core busy with some 50,000 statuses a second; beyond this many, the server is what is waited for.
const WORKERS: usize = 4;

/// With fewer operations than this for each, or fewer at once, another worker costs more than it brings.
const OPERATIONS_EACH: usize = 64;
const AT_ONCE_EACH: usize = 8;

fn workers(origin: &Origin, operations: usize, concurrency: usize) -> usize {
    let wanted = WORKERS.min(operations / OPERATIONS_EACH).min(concurrency / AT_ONCE_EACH);
    // Over TLS it brings nothing: it only makes more handshakes before there is a session that they could resume.
    if wanted < 2 || origin.is_tls() {
        return 1;
    }
    // The last question, since its answer is read from files.
    wanted.min(thread::available_parallelism().map_or(1, NonZero::get))
}

pub fn statuses<'py>(
    py: Python<'py>,
    target: &Target,
    operations: &[Operation],
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let engine = Engine::current();
    let borrow = || {
        let mut lane = engine.lanes.borrow()?;
        let connections = lane.connections(&target.terms, &engine.sides)?;
        PyResult::Ok((lane, connections))
    };
    let (mut lane, connections) = borrow()?;
    let workers = workers(&target.server.origin, operations.len(), concurrency);
    let helpers = (1..workers).map(|_| borrow()).collect::<PyResult<Vec<_>>>()?;
    let share = concurrency / workers;

    let batch = Batch::new(&target.server, operations, !return_exceptions);
    thread::scope(|scope| {
        let (working, mut all_done) = mpsc::channel::<()>(1);
        for (lane, connections) in helpers {
            let (batch, working) = (&batch, working.clone());
            let help = move || {
                help(batch, lane, &connections, share);
                drop(working);
            };
            // Where there is no thread to be had, the others do its work.
            let _ = thread::Builder::new().name("saymon-bulk-many".to_owned()).spawn_scoped(scope, help);
        }
        drop(working);
        let done = lane.block_on(py, async {
            batch.work(&connections, concurrency - share * (workers - 1)).await;
            all_done.recv().await
        });
        done.inspect_err(|_| batch.stop())
    })?;
    if batch.is_stopped() {
        lane.abandon();
    }
    drop(lane);
    values(py, &target.server, operations, batch.outcomes(), return_exceptions)
}

fn help(batch: &Batch<'_>, mut lane: Lent, connections: &Connections, concurrency: usize) {
    let _ = lane.drive(batch.work(connections, concurrency));
    if batch.is_stopped() {
        // Requests were dropped under way, and nobody drives their connections to the end.
        lane.abandon();
    }
}

pub fn statuses_future(
    py: Python<'_>,
    target: Target,
    operations: Vec<Operation>,
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Awaited> {
    let connections = asyncio::connections(&target.terms)?;
    let Target { server, .. } = target;
    let asked = async move {
        let batch = Batch::new(&server, &operations, !return_exceptions);
        batch.work(&connections, concurrency).await;
        let outcomes: Vec<_> = batch.outcomes().collect();
        (server, operations, outcomes)
    };
    asyncio::future(py, asked, move |py, (server, operations, outcomes)| {
        values(py, &server, &operations, outcomes, return_exceptions).map(|dict| dict.into_any().unbind())
    })
}

fn values<'py>(
    py: Python<'py>,
    server: &Server,
    operations: &[Operation],
    outcomes: impl IntoIterator<Item = Option<Timed>>,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let statuses = PyDict::new(py);
    let mut first_error = None;
    for (operation, outcome) in operations.iter().zip(outcomes) {
        // None: not asked any more after the first failure.
        let Some((outcome, took)) = outcome else { continue };
        match value(py, server, operation, outcome, took) {
            Ok(status) => statuses.set_item(operation.id(), status)?,
            Err(error) if return_exceptions => statuses.set_item(operation.id(), error.into_value(py))?,
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(statuses), Err)
}
