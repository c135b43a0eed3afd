//! Core futures as asyncio's, through pyo3-async-runtimes on the background of this process.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError};

use crate::core::exchange::Connections;

use super::background::Threads;
use super::runtime::Engine;
use super::terms::{Terms, lock};

/// Connections for asyncio, where all loops share them.
pub fn connections(terms: &Arc<Terms>) -> PyResult<Connections> {
    let engine = Engine::current();
    let mut background = lock(&engine.background);
    // Told now and not from a future that would never come.
    background.threads()?;
    background.stores.under(terms, &engine.sides)
}

/// A core future as an asyncio one; `convert` makes its Python value, attached. Cancelling drops the core future.
pub fn future<'py, F, C>(py: Python<'py>, future: F, convert: C) -> PyResult<Bound<'py, PyAny>>
where
    F: Future + Send + 'static,
    F::Output: Send,
    C: FnOnce(Python<'_>, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
{
    lock(&Engine::current().background).threads()?;
    generic::future_into_py::<Asyncio, _, _>(py, async move {
        let output = future.await;
        Ok(Late(Box::new(move |py| convert(py, output))))
    })
}

type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A value that is made when the courier is attached.
struct Late(Convert);

impl<'py> IntoPyObject<'py> for Late {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        (self.0)(py).map(|value| value.into_bound(py))
    }
}

/// Ends the threads of this process while Python still works. Idempotent; blocking calls go on as before.
#[pyfunction]
pub fn _shutdown(py: Python<'_>) {
    let Some(engine) = Engine::existing() else { return };
    let threads = lock(&engine.background).shut();
    py.detach(|| threads.map(Threads::stop));
}

/// pyo3-async-runtimes on the engine of this process instead of its own runtime, which a forked child would inherit dead.
struct Asyncio;

impl generic::Runtime for Asyncio {
    type JoinError = Ended;
    type JoinHandle = Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>>;

    fn spawn<F>(future: F) -> Self::JoinHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = lock(&Engine::current().background).running().map(|threads| threads.handle.clone());
        let Some(handle) = handle else { return Box::pin(async { Err(Ended(None)) }) };
        let task = handle.spawn(future);
        Box::pin(async move { task.await.map_err(|error| Ended(error.try_into_panic().ok())) })
    }

    fn spawn_blocking<F>(job: F) -> Self::JoinHandle
    where
        F: FnOnce() + Send + 'static,
    {
        let background = lock(&Engine::current().background);
        let sent = background.running().is_some_and(|threads| threads.deliver(Box::new(job)));
        Box::pin(async move { if sent { Ok(()) } else { Err(Ended(None)) } })
    }
}

/// The loop and the context are those of the call; no task of ours needs them again.
impl ContextExt for Asyncio {
    fn scope<F, R>(_: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(future)
    }

    fn get_task_locals() -> Option<TaskLocals> {
        None
    }
}

/// How a task ended without its output: by a panic, or because the runtime has been shut down.
struct Ended(Option<Box<dyn Any + Send>>);

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "panicked" } else { "shut down" })
    }
}

impl JoinError for Ended {
    fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    fn into_panic(self) -> Box<dyn Any + Send> {
        self.0.unwrap_or_else(|| Box::new("shut down"))
    }
}
