//! Many statuses, blocking and awaited, as a dict in the order of the ids.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use pyo3::prelude::*;
use tokio::sync::mpsc;

use crate::core::api::batch::{self, Batch};
use crate::core::api::status::Status;
use crate::core::segment::PathSegment;
use crate::core::transport::exchange::{Asked, Transport};
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::{Awaitable, Engine, RuntimeGuard};
use super::{errors, outcome, twin};

/// Asks from several threads where that is quicker; so it is the one verb that does not go through [`twin::block`].
pub fn block<'py>(
    py: Python<'py>,
    target: &Target,
    operations: Vec<PathSegment>,
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let engine = Engine::current();
    let workers = batch::workers(&target.server.origin, operations.len(), concurrency);
    let share = concurrency / workers;
    let own = concurrency - share * (workers - 1);
    let (mut runtime, transport) = engine.acquire(&target.key, own.min(operations.len()))?;
    let helpers = (1..workers).map(|_| engine.acquire(&target.key, share)).collect::<PyResult<Vec<_>>>()?;

    let batch = Arc::new(Batch::new(target.server.clone(), operations, !return_exceptions));
    let (working, mut all_done) = mpsc::channel::<()>(1);
    let mut threads = Vec::new();
    for (runtime, transport) in helpers {
        let (batch, working) = (batch.clone(), working.clone());
        let help = move || {
            let helped = help(&batch, runtime, &transport, share);
            drop(working);
            helped
        };
        // If no thread can be started, the other workers do its part.
        threads.extend(thread::Builder::new().name("saymon-bulk-batch".to_owned()).spawn(help));
    }
    drop(working);
    let working = batch.clone();
    let done = runtime.block_on(py, &target.server, async move {
        working.work(&transport, own).await;
        all_done.recv().await
    });
    if let Err(interrupt) = done {
        // A forked child has no such threads. Where a handler has closed the descriptors, nothing wakes them.
        if runtime.is_sound() && catch_unwind(AssertUnwindSafe(|| batch.stop())).is_ok() {
            let _ = join(py, threads);
        } else {
            std::mem::forget(threads);
        }
        runtime.dispose(batch);
        return Err(interrupt);
    }
    let helped = join(py, threads);
    if batch.is_stopped() {
        runtime.discard();
    }
    drop(runtime);
    helped?;
    let batch = Arc::into_inner(batch).ok_or_else(errors::panicked)?;
    outcome::values(py, &target.server, batch.results(), return_exceptions)
}

fn join(py: Python<'_>, threads: Vec<JoinHandle<PyResult<()>>>) -> PyResult<()> {
    let join = |thread: JoinHandle<PyResult<()>>| thread.join().unwrap_or_else(|_| Err(errors::panicked()));
    py.detach(|| threads.into_iter().map(join).fold(Ok(()), PyResult::and))
}

fn help(batch: &Batch, mut runtime: RuntimeGuard, transport: &Transport, concurrency: usize) -> PyResult<()> {
    let helped = runtime.block_on_detached(batch.work(transport, concurrency));
    if helped.is_err() {
        batch.stop();
    }
    if batch.is_stopped() {
        // Requests were dropped in flight, and nobody drives their connections.
        runtime.discard();
    }
    helped
}

pub fn awaitable(
    py: Python<'_>,
    target: &Target,
    operations: Vec<PathSegment>,
    concurrency: usize,
    return_exceptions: bool,
) -> PyResult<Awaitable> {
    let ask = |transport, server| ask(transport, server, operations, concurrency, !return_exceptions);
    twin::awaitable(
        py,
        target,
        ask,
        move |py, server, results| outcome::values(py, server, results, return_exceptions),
        |_, _| Ok(()),
    )
}

async fn ask(
    transport: Transport,
    server: Arc<Server>,
    operations: Vec<PathSegment>,
    concurrency: usize,
    stop_at_failure: bool,
) -> Vec<Asked<Status>> {
    let batch = Batch::new(server, operations, stop_at_failure);
    batch.work(&transport, concurrency).await;
    batch.results().collect()
}
