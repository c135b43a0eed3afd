//! A core future → what a coroutine awaits.

use std::sync::Mutex;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3_async_runtimes::get_running_loop;
use tokio::task::JoinHandle;

use crate::bindings::cached::Interned;
use crate::lock::lock;

use super::background::{self, Asyncio};
use super::completions::{CompletionQueue, Queues};
use super::process::Process;

static BLOCKING: Interned = Interned::new("_asyncio_future_blocking");
static CREATE_FUTURE: Interned = Interned::new("create_future");
static DONE: Interned = Interned::new("done");
static RESULT: Interned = Interned::new("result");

const NO_LOOP: &str = "no asyncio event loop runs here, and the coroutines of saymon_bulk need one; call the blocking \
                       function instead, in trio with trio.to_thread.run_sync";

/// The event loop that runs here.
pub fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    get_running_loop(py).map_err(|_| PyRuntimeError::new_err(NO_LOOP))
}

pub fn start<F, C>(
    py: Python<'_>,
    process: Process,
    asyncio: &'static Mutex<Asyncio>,
    queues: &'static Queues,
    future: F,
    finish: C,
) -> PyResult<Awaitable>
where
    F: Future + Send + 'static,
    F::Output: Send,
    C: FnOnce(Python<'_>, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
{
    let running = running_loop(py)?;
    let queue = CompletionQueue::of(&running, asyncio, queues)?;
    let handle = lock(asyncio).handle()?;
    let pending = running.call_method0(&CREATE_FUTURE)?.unbind();
    let sender = queue.get().register(pending.clone_ref(py));
    let number = sender.number;
    let task = async move {
        let output = future.await;
        sender.send(Box::new(move |py| finish(py, output)));
    };
    let task = background::spawn(asyncio, &handle, task)?;
    Ok(Awaitable { future: pending, queue: queue.unbind(), number, task, process })
}

/// What a coroutine awaits. Its request is dropped with it: when the task is cancelled or the coroutine is closed.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct Awaitable {
    future: Py<PyAny>,
    queue: Py<CompletionQueue>,
    number: u64,
    task: JoinHandle<()>,
    process: Process,
}

#[pymethods]
impl Awaitable {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// Follows asyncio's own futures: yields the future with a mark for the task, and takes the result when called again.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.future.bind(py);
        if future.call_method0(&DONE)?.is_truthy()? {
            let result = future.call_method0(&RESULT)?;
            return Err(PyStopIteration::new_err((result.unbind(),)));
        }
        future.setattr(&BLOCKING, true)?;
        Ok(future.clone())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.future)?;
        visit.call(&self.queue)
    }
}

impl Drop for Awaitable {
    fn drop(&mut self) {
        // A forked child leaves the task and its locks alone: they are its parent's.
        if self.process.is_current() {
            self.task.abort();
            self.queue.get().remove(self.number);
        }
    }
}
