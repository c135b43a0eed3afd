//! Waiting, blocking and awaited: iterators over what happens to the operations, a list of [`outcome::Step`]s at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::PyList;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use crate::core::api::listener::{Event, Listener, Sent};
use crate::core::api::schedule::Plan;
use crate::core::api::waiting;
use crate::core::segment::PathSegment;
use crate::lock::lock;

use super::arguments::Target;
use super::engine::{Awaitable, Engine, Items, Received, running_loop};
use super::{errors, outcome};

/// A wait that a thread of its own drives, from the first step that the caller takes.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct Waits {
    target: Target,
    return_exceptions: bool,
    state: Mutex<State>,
}

enum State {
    Ready(Vec<PathSegment>, Plan),
    Running(Running),
    Over,
}

/// What the caller has of a wait.
struct Running {
    items: Items<Vec<Sent>>,
    /// None once it is dropped.
    listener: Option<Listener>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.items.end() {
            std::mem::forget(self.listener.take());
        }
    }
}

impl Waits {
    pub fn new(target: &Target, operations: Vec<PathSegment>, plan: Plan, return_exceptions: bool) -> Self {
        Self { target: target.clone(), return_exceptions, state: Mutex::new(State::Ready(operations, plan)) }
    }

    fn steps<'py>(&self, py: Python<'py>, limit: Option<Duration>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(PyRuntimeError::new_err("another thread waits here already")),
        };
        let next = self.next(py, &mut state, limit).and_then(|next| match next {
            Next::Event(event) => outcome::steps(py, &self.target.server, event, self.return_exceptions).map(Some),
            Next::Nothing => Ok(Some(PyList::empty(py).into_any())),
            Next::End => Ok(None),
        });
        next.map_err(|error| errors::unstopped(py, error))
    }

    fn next(&self, py: Python<'_>, state: &mut State, limit: Option<Duration>) -> PyResult<Next> {
        if matches!(state, State::Ready(..)) {
            self.begin(state)?;
        }
        let State::Running(Running { items, listener: Some(listener) }) = state else { return Ok(Next::End) };
        items.process.check()?;
        let limit = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            errors::check_open(&self.target.server)?;
            // It wakes the other end, whose descriptors others may have closed.
            match catch_unwind(AssertUnwindSafe(|| listener.next_event())) {
                Ok(Some(event)) => return Ok(Next::Event(event)),
                Ok(None) => {}
                Err(_) => {
                    *state = State::Over;
                    return Err(errors::panicked());
                }
            }
            let end = listener.end().map(|end| end.into_std());
            let until = [limit, end].into_iter().flatten().min();
            match items.next(py, &self.target.server, until)? {
                Received::Item(sent) => listener.receive(sent),
                Received::Nothing if listener.has_ended() => {
                    let last = listener.give_up();
                    *state = State::Over;
                    return Ok(last.map_or(Next::End, Next::Event));
                }
                Received::Nothing if limit.is_some_and(|limit| Instant::now() >= limit) => return Ok(Next::Nothing),
                Received::Nothing => {}
                Received::End => {
                    let is_whole = listener.is_over();
                    *state = State::Over;
                    return if is_whole { Ok(Next::End) } else { Err(errors::panicked()) };
                }
            }
        }
    }

    fn begin(&self, state: &mut State) -> PyResult<()> {
        let State::Ready(operations, plan) = std::mem::replace(state, State::Over) else { return Ok(()) };
        let (engine, server) = (Engine::current(), self.target.server.clone());
        errors::check_open(&server)?;
        let (runtime, transport) = engine.acquire(&self.target.key, plan.concurrency.min(operations.len()))?;
        let (waits, listener) = waiting::wait(&transport, server, operations, plan);
        let items = runtime.drive(|sender| waits.run(move |sent| sender.send(sent)))?;
        *state = State::Running(Running { items, listener: Some(listener) });
        Ok(())
    }
}

enum Next {
    Event(Event),
    /// Nothing happened within the limit.
    Nothing,
    End,
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
        if let Ok(mut state) = self.state.try_lock() {
            *state = State::Over;
        }
    }
}

/// A wait that the background thread drives, from the first step that is awaited.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct AsyncWaits {
    engine: &'static Engine,
    target: Target,
    return_exceptions: bool,
    ready: Mutex<Option<(Vec<PathSegment>, Plan)>>,
    /// None before the first step, and once it is closed.
    driver: Mutex<Option<AbortHandle>>,
    events: Arc<AsyncMutex<Option<Events>>>,
}

struct Events {
    received: UnboundedReceiver<Vec<Sent>>,
    listener: Listener,
}

impl Events {
    /// The next event. An error if the driver has ended before its time.
    async fn next(&mut self) -> Result<Option<Event>, Lost> {
        loop {
            if let Some(event) = self.listener.next_event() {
                return Ok(Some(event));
            }
            let received = match self.listener.end() {
                Some(end) => timeout_at(end, self.received.recv()).await,
                None => Ok(self.received.recv().await),
            };
            match received {
                Ok(Some(sent)) => self.listener.receive(sent),
                Ok(None) if self.listener.is_over() => return Ok(None),
                Ok(None) => return Err(Lost),
                Err(_) if self.listener.has_ended() => return Ok(self.listener.give_up()),
                Err(_) => {}
            }
        }
    }
}

struct Lost;

impl AsyncWaits {
    pub fn new(target: &Target, operations: Vec<PathSegment>, plan: Plan, return_exceptions: bool) -> Self {
        Self {
            engine: Engine::current(),
            target: target.clone(),
            return_exceptions,
            ready: Mutex::new(Some((operations, plan))),
            driver: Mutex::default(),
            events: Arc::default(),
        }
    }

    fn begin(&self, operations: Vec<PathSegment>, plan: Plan) -> PyResult<()> {
        let server = self.target.server.clone();
        errors::check_open(&server)?;
        let transport = self.engine.transport(&self.target.key)?;
        let (waits, listener) = waiting::wait(&transport, server, operations, plan);
        let (sender, received) = unbounded_channel();
        let driver = self.engine.spawn(async move {
            let last = waits.run(|sent| drop(sender.send(sent))).await;
            let _ = sender.send(last);
        })?;
        *lock(&self.driver) = Some(driver);
        if let Ok(mut events) = self.events.try_lock() {
            *events = Some(Events { received, listener });
        }
        Ok(())
    }

    /// Ends the driver. The parent's locks may be held for ever in a child, which leaks it.
    fn stop(&self) {
        if !self.engine.process.is_current() {
            std::mem::forget(self.events.clone());
        } else if let Some(driver) = lock(&self.driver).take() {
            driver.abort();
        }
    }
}

impl Drop for AsyncWaits {
    fn drop(&mut self) {
        self.stop();
    }
}

#[pymethods]
impl AsyncWaits {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Awaitable> {
        self.engine.process.check()?;
        // The driver asks at once, and a coroutine outside of asyncio must send nothing.
        running_loop(py)?;
        let ready = lock(&self.ready).take();
        if let Some((operations, plan)) = ready {
            self.begin(operations, plan)?;
        }
        let events = self.events.clone();
        let (server, return_exceptions) = (self.target.server.clone(), self.return_exceptions);
        let next = async move {
            match events.lock().await.as_mut() {
                Some(events) => events.next().await,
                None => Ok(None),
            }
        };
        self.engine.awaitable(py, &self.target.server, next, move |py, next| {
            errors::check_open(&server)?;
            match next {
                Some(Ok(Some(event))) => outcome::steps(py, &server, event, return_exceptions)
                    .map(Bound::unbind)
                    .map_err(|error| errors::unstopped(py, error)),
                Some(Err(Lost)) => Err(errors::panicked()),
                Some(Ok(None)) | None => Err(PyStopAsyncIteration::new_err(())),
            }
        })
    }

    /// Stops polling and drops what is under way, even if a traceback keeps this object. Idempotent.
    fn close(&self) {
        drop(lock(&self.ready).take());
        self.stop();
    }
}
