//! Core futures as asyncio's, through pyo3-async-runtimes on the background of this process.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
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
    let running = TaskLocals::with_running_loop(py)?;
    let running = Bound::new(py, Loop { running: running.event_loop(py).unbind() })?;
    let locals = TaskLocals::new(running.into_any()).copy_context(py)?;
    generic::future_into_py_with_locals::<Asyncio, _, _>(py, locals, async move {
        let output = future.await;
        Ok(Late(Box::new(move |py| convert(py, output))))
    })
}

type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// An event loop as a result meets it. One that was closed in the meantime wants none, and nobody is to read a traceback
/// for that.
#[pyclass(frozen)]
struct Loop {
    running: Py<PyAny>,
}

#[pymethods]
impl Loop {
    fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.running.bind(py).call_method0(intern!(py, "create_future"))
    }

    #[pyo3(signature = (*arguments, **context))]
    fn call_soon_threadsafe(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        context: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let running = self.running.bind(py);
        let called = running.call_method(intern!(py, "call_soon_threadsafe"), arguments, context);
        match called {
            Err(_) if running.call_method0(intern!(py, "is_closed"))?.is_truthy()? => Ok(()),
            called => called.map(drop),
        }
    }
}

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

/// Runs a core future to its end without telling anybody; where the threads have ended there is nothing to run for.
pub fn run(future: impl Future<Output = ()> + Send + 'static) {
    if let Some(threads) = lock(&Engine::current().background).running() {
        threads.handle.spawn(future);
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
