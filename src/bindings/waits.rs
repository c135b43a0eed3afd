//! Waiting, blocking and awaited: iterators over what happens to the operations.
//!
//! Each item is a list of steps (id, outcome, elapsed, ended): a status with its elapsed seconds, or an exception and None.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::PyList;
use tokio::sync::Mutex as AsyncMutex;

use crate::core::exchange::Server;
use crate::core::operation::Operation;
use crate::core::waiting::{self, Event, Plan};

use super::arguments::Target;
use super::asyncio::Awaited;
use super::lane::Lent;
use super::runtime::Engine;
use super::{asyncio, convert, errors, log};

/// A wait that the iterating thread drives.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct Waits {
    telling: Telling,
    running: Mutex<Option<Running>>,
}

struct Running {
    // Dropped before the lane in which its exchanges live.
    waits: waiting::Waits,
    lane: Lent,
    concurrency: usize,
    /// When the caller was given the last steps, to do with its time what it likes.
    left: Instant,
}

/// Longer than this between two steps, and exchanges under way must not be blamed for it.
const ABSENCE: Duration = Duration::from_millis(20);

impl Waits {
    pub fn new(target: &Target, operations: Vec<Operation>, plan: Plan, return_exceptions: bool) -> PyResult<Self> {
        let engine = Engine::current();
        let mut lane = engine.lanes.borrow()?;
        let connections = lane.connections(&target.terms, &engine.sides)?;
        let telling = Telling { server: target.server.clone(), return_exceptions };
        let concurrency = plan.concurrency.min(operations.len());
        let waits = waiting::Waits::new(connections, target.server.clone(), operations, plan);
        let running = Running { waits, lane, concurrency, left: Instant::now() };
        Ok(Self { telling, running: Mutex::new(Some(running)) })
    }
}

#[pymethods]
impl Waits {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let mut running = match self.running.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(PyRuntimeError::new_err("another thread waits here already")),
        };
        let Some(Running { waits, lane, concurrency, left }) = running.as_mut() else { return Ok(None) };
        lane.check_process()?;
        if left.elapsed() > ABSENCE {
            lane.catch_up(py, *concurrency)?;
        }
        let event = lane.block_on(py, waits.next())?;
        *left = Instant::now();
        match event {
            Some(event) => self.telling.steps(py, event).map(Some),
            None => {
                *running = None;
                Ok(None)
            }
        }
    }

    /// Stops polling and drops what is under way. Idempotent.
    fn close(&self) {
        if let Ok(mut running) = self.running.try_lock()
            && let Some(Running { waits, mut lane, .. }) = running.take()
        {
            drop(waits);
            lane.abandon();
        }
    }
}

/// A wait that the background thread drives while a step is awaited.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct AsyncWaits {
    telling: Telling,
    /// None once it is closed.
    waits: Arc<AsyncMutex<Option<waiting::Waits>>>,
}

impl AsyncWaits {
    pub fn new(target: &Target, operations: Vec<Operation>, plan: Plan, return_exceptions: bool) -> PyResult<Self> {
        let connections = asyncio::connections(&target.terms)?;
        let telling = Telling { server: target.server.clone(), return_exceptions };
        let waits = waiting::Waits::new(connections, target.server.clone(), operations, plan);
        Ok(Self { telling, waits: Arc::new(AsyncMutex::new(Some(waits))) })
    }
}

#[pymethods]
impl AsyncWaits {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Awaited> {
        let waits = self.waits.clone();
        let telling = self.telling.clone();
        let next = async move {
            match waits.lock().await.as_mut() {
                Some(waits) => waits.next().await,
                None => None,
            }
        };
        asyncio::future(py, next, move |py, event| match event {
            Some(event) => telling.steps(py, event).map(|steps| steps.into_any().unbind()),
            None => Err(PyStopAsyncIteration::new_err(())),
        })
    }

    /// Stops polling and drops what is under way, though this object may be kept, by a traceback for one. Idempotent.
    fn close(&self) {
        let waits = self.waits.clone();
        asyncio::run(async move { drop(waits.lock().await.take()) });
    }
}

/// How events become steps.
#[derive(Clone)]
struct Telling {
    server: Arc<Server>,
    return_exceptions: bool,
}

impl Telling {
    fn steps<'py>(&self, py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyList>> {
        let server = &self.server;
        let origin = &server.origin;
        let steps = PyList::empty(py);
        match event {
            Event::Polled { operation, status, elapsed, took } => {
                log::exchange(py, server, &operation, Ok(&status), took)?;
                let told = convert::status(py, &status)?;
                steps.append((operation.id(), told, elapsed.as_secs_f64(), status.finished))?;
            }
            Event::Tolerated { operation, failure, took } => {
                log::exchange(py, server, &operation, Err(&failure), took)?;
                let error = errors::exception(py, &failure, origin, &operation).into_value(py);
                log::tolerated(py, error.bind(py))?;
                steps.append((operation.id(), error, py.None(), false))?;
            }
            Event::Cut { operation, failure, took } => {
                log::exchange(py, server, &operation, Err(&failure), took)?;
            }
            Event::Failed { operation, failure, took } => {
                log::exchange(py, server, &operation, Err(&failure), took)?;
                let error = errors::exception(py, &failure, origin, &operation);
                if !self.return_exceptions {
                    return Err(error);
                }
                steps.append((operation.id(), error.into_value(py), py.None(), true))?;
            }
            Event::TimedOut { pending, elapsed } if self.return_exceptions => {
                for one in &pending {
                    let error = errors::timed_out(py, std::slice::from_ref(one), elapsed, origin)?;
                    steps.append((one.operation.id(), error.into_value(py), py.None(), true))?;
                }
            }
            Event::TimedOut { pending, elapsed } => return Err(errors::timed_out(py, &pending, elapsed, origin)?),
        }
        Ok(steps)
    }
}
