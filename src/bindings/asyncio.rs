//! Core futures as what a coroutine awaits.

use std::sync::Arc;

use pyo3::exceptions::PyStopIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3_async_runtimes::get_running_loop;
use tokio::task::JoinHandle;

use crate::core::exchange::Connections;

use super::background::Driver;
use super::mailbox::Mailbox;
use super::once::{self, Name};
use super::runtime::Engine;
use super::terms::{Terms, lock};

static BLOCKING: Name = Name::new("_asyncio_future_blocking");
static CREATE_FUTURE: Name = Name::new("create_future");
static DONE: Name = Name::new("done");
static RESULT: Name = Name::new("result");

/// Connections for asyncio, where all loops share them.
pub fn connections(terms: &Arc<Terms>) -> PyResult<Connections> {
    let engine = Engine::current();
    lock(&engine.background).stores.under(terms, &engine.sides)
}

/// Starts a core future in the background; `convert` makes its Python value, on the loop's thread.
pub fn future<F, C>(py: Python<'_>, future: F, convert: C) -> PyResult<Awaited>
where
    F: Future + Send + 'static,
    F::Output: Send,
    C: FnOnce(Python<'_>, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
{
    let driver = lock(&Engine::current().background).driver()?.handle.clone();
    let running = get_running_loop(py)?;
    let mailbox = Mailbox::of(&running)?;
    let asked = running.call_method0(&CREATE_FUTURE)?.unbind();
    let envelope = mailbox.get().expect(asked.clone_ref(py));
    let number = envelope.number;
    let task = driver.spawn(async move {
        let output = future.await;
        envelope.send(Box::new(move |py| convert(py, output)));
    });
    Ok(Awaited { future: asked, mailbox: mailbox.unbind(), number, task })
}

/// What a coroutine awaits. The request is dropped with it: when the task is cancelled or the coroutine is closed.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct Awaited {
    future: Py<PyAny>,
    mailbox: Py<Mailbox>,
    number: u64,
    task: JoinHandle<()>,
}

#[pymethods]
impl Awaited {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// As asyncio's own futures are awaited: yielded with a mark for the task, and asked for the result when it comes back.
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
        visit.call(&self.mailbox)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.task.abort();
        self.mailbox.get().strike(self.number);
    }
}

/// Runs a core future to its end without telling anybody; where the driver has ended there is nothing to run for.
pub fn run(future: impl Future<Output = ()> + Send + 'static) {
    if let Some(driver) = lock(&Engine::current().background).running() {
        driver.handle.spawn(future);
    }
}

/// Ends the background of this process while Python still works. Idempotent; blocking calls go on as before.
#[pyfunction]
pub fn _shutdown(py: Python<'_>) {
    let Some(engine) = Engine::existing() else { return };
    let driver = lock(&engine.background).shut();
    py.detach(|| driver.map(Driver::stop));
}

/// Called before every fork: what pyo3-async-runtimes sets up at first use is then whole, as the child needs it.
#[pyfunction]
pub fn _before_fork(py: Python<'_>) -> PyResult<()> {
    static ASYNCIO: Name = Name::new("asyncio");
    if once::imported(py, &ASYNCIO)?.is_some() {
        // Outside of a loop it ends in an error, once it has been set up.
        let _ = get_running_loop(py);
    }
    Ok(())
}
