//! Waiting, blocking and awaited: iterators over what happens to the operations, a list of [`outcome::Step`]s at a time.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::PyList;
use tokio::sync::Mutex as AsyncMutex;

use crate::core::api::waiting::{self, Plan};
use crate::core::segment::PathSegment;
use crate::core::transport::server::Server;
use crate::core::transport::yields;

use super::arguments::Target;
use super::engine::{Awaitable, Engine, RuntimeGuard};
use super::{errors, outcome};

/// A wait that the iterating thread drives.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct Waits {
    server: Arc<Server>,
    return_exceptions: bool,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// None once it is dropped.
    waits: Option<waiting::Waits>,
    runtime: RuntimeGuard,
    concurrency: usize,
    /// When the caller was given the last steps.
    left: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        let waits = self.waits.take();
        self.runtime.dispose(Box::new(waits));
    }
}

/// After a longer absence of the caller, connections first read what arrived meanwhile. Longer than a quick loop body, and
/// short beside any request timeout; otherwise arbitrary.
const ABSENCE: Duration = Duration::from_millis(20);

impl Waits {
    pub fn new(target: &Target, operations: Vec<PathSegment>, plan: Plan, return_exceptions: bool) -> PyResult<Self> {
        let engine = Engine::current();
        let (runtime, transport) = engine.acquire(&target.key)?;
        let server = target.server.clone();
        server.site.belongs_to(engine.process.number());
        let concurrency = plan.concurrency.min(operations.len());
        let waits = waiting::Waits::new(&transport, server.clone(), operations, plan);
        let running = Running { waits: Some(waits), runtime, concurrency, left: Instant::now() };
        Ok(Self { server, return_exceptions, running: Mutex::new(Some(running)) })
    }

    fn steps<'py>(&self, py: Python<'py>, limit: Option<Duration>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.next(py, limit).map_err(|error| errors::unstopped(py, error))
    }

    fn next<'py>(&self, py: Python<'py>, limit: Option<Duration>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut running = match self.running.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(PyRuntimeError::new_err("another thread waits here already")),
        };
        let Some(Running { waits: Some(waits), runtime, concurrency, left }) = running.as_mut() else {
            return Ok(None);
        };
        runtime.process().check()?;
        errors::check_open(&self.server)?;
        if left.elapsed() > ABSENCE {
            runtime.block_on(py, &self.server, yields::poll_idle_connections(*concurrency))?;
        }
        let event = match limit {
            None => Ok(runtime.block_on(py, &self.server, waits.next())?),
            Some(limit) => runtime.block_on(py, &self.server, waits.next_within(limit))?,
        };
        *left = Instant::now();
        let Ok(event) = event else { return Ok(Some(PyList::empty(py).into_any())) };
        match event {
            Some(event) => outcome::steps(py, &self.server, event, self.return_exceptions).map(Some),
            None => {
                *running = None;
                Ok(None)
            }
        }
    }
}

#[pymethods]
impl Waits {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.steps(py, None)
    }

    /// What `__next__` gives, None at the end; an empty list if nothing happens within so many seconds.
    fn next_within<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.steps(py, Some(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }

    /// Stops polling and drops what is under way. Idempotent.
    fn close(&self) {
        if let Ok(mut running) = self.running.try_lock()
            && let Some(mut running) = running.take()
        {
            let waits = running.waits.take();
            running.runtime.dispose(Box::new(waits));
            running.runtime.discard();
        }
    }
}

/// A wait that the background thread drives while a step is awaited.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct AsyncWaits {
    engine: &'static Engine,
    server: Arc<Server>,
    return_exceptions: bool,
    /// None once it is closed.
    waits: Arc<AsyncMutex<Option<waiting::Waits>>>,
}

impl AsyncWaits {
    pub fn new(target: &Target, operations: Vec<PathSegment>, plan: Plan, return_exceptions: bool) -> PyResult<Self> {
        let engine = Engine::current();
        let server = target.server.clone();
        server.site.belongs_to(engine.process.number());
        let waits = waiting::Waits::new(&engine.transport(&target.key)?, server.clone(), operations, plan);
        Ok(Self { engine, server, return_exceptions, waits: Arc::new(AsyncMutex::new(Some(waits))) })
    }
}

impl Drop for AsyncWaits {
    fn drop(&mut self) {
        if !self.engine.process.is_current() {
            // A forked child leaks it: what it would close or wake is its parent's.
            std::mem::forget(self.waits.clone());
        }
    }
}

#[pymethods]
impl AsyncWaits {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Awaitable> {
        self.engine.process.check()?;
        let waits = self.waits.clone();
        let (server, return_exceptions) = (self.server.clone(), self.return_exceptions);
        let next = async move {
            match waits.lock().await.as_mut() {
                Some(waits) => waits.next().await,
                None => None,
            }
        };
        self.engine.awaitable(py, &self.server, next, move |py, event| {
            errors::check_open(&server)?;
            match event.flatten() {
                Some(event) => outcome::steps(py, &server, event, return_exceptions)
                    .map(Bound::unbind)
                    .map_err(|error| errors::unstopped(py, error)),
                None => Err(PyStopAsyncIteration::new_err(())),
            }
        })
    }

    /// Stops polling and drops what is under way, even if a traceback keeps this object. Idempotent.
    fn close(&self) {
        // The parent's locks may be held for ever in a child.
        if !self.engine.process.is_current() {
            return;
        }
        let waits = self.waits.clone();
        self.engine.spawn(async move { drop(waits.lock().await.take()) });
    }
}
