//! asyncio: one background thread drives all exchanges of all event loops, one courier hands their results over.
//!
//! The courier and not the driver waits for the interpreter: a loop that keeps it busy holds up no exchange, and what
//! has come meanwhile is handed over in one go. Before Python finalises both are ended, from an `atexit` hook: a foreign
//! thread that is caught inside the interpreter then would abort the process (CPython up to 3.13).

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::core::exchange::Connections;

use super::runtime::{Engine, Stores, Terms, lock};

/// How long the exit waits for a courier that is in the middle of handing over.
const PATIENCE: Duration = Duration::from_secs(2);

/// Results handed over before other Python threads get their turn.
const BATCH: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// The asyncio side of an engine.
#[derive(Default)]
pub struct Background {
    threads: Option<Threads>,
    stores: Stores,
    is_shut: bool,
}

struct Threads {
    handle: Handle,
    courier: mpsc::Sender<Job>,
    stop: oneshot::Sender<()>,
    /// Disconnected once both threads have ended.
    ended: mpsc::Receiver<()>,
}

impl Background {
    fn threads(&mut self) -> PyResult<&Threads> {
        if self.is_shut {
            return Err(PyRuntimeError::new_err("the interpreter is shutting down"));
        }
        let threads = match self.threads.take() {
            Some(threads) => threads,
            None => Threads::start()?,
        };
        Ok(self.threads.insert(threads))
    }
}

impl Threads {
    fn start() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (courier, jobs) = mpsc::channel::<Job>();
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let also_alive = alive.clone();
        std::thread::Builder::new().name("saymon-bulk".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            drop(alive);
        })?;
        std::thread::Builder::new().name("saymon-bulk-courier".to_owned()).spawn(move || {
            deliver(&jobs);
            drop(also_alive);
        })?;
        Ok(Self { handle, courier, stop, ended })
    }
}

/// Hands results to their loops, attached once for all that are ready.
fn deliver(jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let attached = Python::try_attach(|_| {
            first();
            jobs.try_iter().take(BATCH).for_each(|job| job());
        });
        if attached.is_none() {
            return;
        }
    }
}

/// Connections for asyncio, where all loops share them.
pub fn connections(terms: &Arc<Terms>) -> PyResult<Connections> {
    let engine = Engine::current();
    let mut background = lock(&engine.background);
    // Told now and not from a future that would never come.
    background.threads()?;
    background.stores.under(terms, engine)
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
    let threads = {
        let mut background = lock(&engine.background);
        background.is_shut = true;
        background.threads.take()
    };
    // Detached, or the courier could not finish what it is handing over.
    py.detach(|| {
        if let Some(Threads { courier, stop, ended, .. }) = threads {
            let _ = stop.send(());
            drop(courier);
            let _ = ended.recv_timeout(PATIENCE);
        }
    });
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
        let handle = lock(&Engine::current().background).threads.as_ref().map(|threads| threads.handle.clone());
        let Some(handle) = handle else { return Box::pin(async { Err(Ended(None)) }) };
        let task = handle.spawn(future);
        Box::pin(async move { task.await.map_err(|error| Ended(error.try_into_panic().ok())) })
    }

    fn spawn_blocking<F>(job: F) -> Self::JoinHandle
    where
        F: FnOnce() + Send + 'static,
    {
        let background = lock(&Engine::current().background);
        let sent = background.threads.as_ref().is_some_and(|threads| threads.courier.send(Box::new(job)).is_ok());
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
