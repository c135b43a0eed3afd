//! Waiting: the iterator of a blocking wait over its items, that of an awaited one over its steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
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

/// What `Client.wait_for_bulks` returns: (id, status) of ended waits.
///
/// >>> statuses = client.wait_for_bulks(ids)
/// >>> bulk_id, status = next(statuses)
/// >>> statuses.close()
///
/// The next item comes when the wait for an operation is over. With
/// `return_exceptions=True` an item may be (id, error). One thread at a
/// time may use the iterator; a second one gets a RuntimeError. An error
/// ends all its waits, and who goes on gets a RuntimeError.
#[pyclass(frozen, weakref, module = "saymon_bulk._core")]
pub struct BulkIterator {
    target: Target,
    return_exceptions: bool,
    /// Called with each step, and with None when nothing happens for the time of `tick`.
    on_step: Option<Py<PyAny>>,
    tick: Option<Duration>,
    /// Locked as long as somebody uses the iterator, also while `on_step` runs. Nobody waits for the lock.
    state: Mutex<State<Box<Driven>>>,
}

/// A wait, before and after its first item is asked for.
enum State<R> {
    Ready(Vec<PathSegment>, Plan),
    Running(R),
    Over,
    /// The last item was an error. The end of the iterator would mean that all operations are over.
    Failed,
}

fn failed_before() -> PyErr {
    PyRuntimeError::new_err(
        "this iterator has raised an error before, and its waits have ended: begin a new one for the other ids",
    )
}

/// What an iterator shows of itself. Who looks at one that was not used yet learns how to use it.
fn shown<R>(name: &str, state: &Mutex<State<R>>, how: &str) -> String {
    let count = match state.try_lock().as_deref() {
        Ok(State::Ready(operations, _)) if operations.len() == 1 => "1 operation".to_owned(),
        Ok(State::Ready(operations, _)) => format!("{} operations", operations.len()),
        Ok(_) | Err(_) => return format!("<saymon_bulk.{name}>"),
    };
    format!("<saymon_bulk.{name} of {count}: nothing was sent yet, {how}>")
}

/// A wait that a thread of its own drives, from the first item that the caller asks for.
struct Driven {
    items: Items<Vec<Sent>>,
    /// None once it is dropped.
    listener: Option<Listener>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !self.items.end() {
            std::mem::forget(self.listener.take());
        }
    }
}

impl BulkIterator {
    pub fn new(
        target: &Target,
        operations: Vec<PathSegment>,
        plan: Plan,
        return_exceptions: bool,
        on_step: Option<Py<PyAny>>,
        tick: Option<Duration>,
    ) -> Self {
        let state = Mutex::new(State::Ready(operations, plan));
        Self { target: target.clone(), return_exceptions, on_step, tick, state }
    }

    fn use_alone(&self) -> PyResult<MutexGuard<'_, State<Box<Driven>>>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(
                "this iterator is in use: by another thread, or since its own on_poll uses it",
            )),
        }
    }

    fn item(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        let mut state = self.use_alone()?;
        if matches!(*state, State::Failed) {
            return Err(failed_before());
        }
        let item = self.next_item(py, &mut state);
        match item {
            Ok(Some(_)) => {}
            Ok(None) => *state = State::Over,
            Err(_) => *state = State::Failed,
        }
        item
    }

    fn next_item(&self, py: Python<'_>, state: &mut State<Box<Driven>>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        let unstopped = |error| errors::unstopped(py, error, errors::HANDLER);
        while let Some(event) = self.next_event(py, state).map_err(unstopped)? {
            let step = outcome::step(py, &self.target.server, event, self.return_exceptions).map_err(unstopped)?;
            let Some(step) = step else { continue };
            let step = Bound::new(py, step)?;
            if let Some(on_step) = &self.on_step {
                errors::outlived(|| on_step.call1(py, (&step,)))?;
            }
            if let Some(item) = step.get().item(py) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn next_event(&self, py: Python<'_>, state: &mut State<Box<Driven>>) -> PyResult<Option<Event>> {
        if matches!(state, State::Ready(..)) {
            self.begin(py, state)?;
        }
        let State::Running(running) = state else { return Ok(None) };
        let Driven { items, listener: Some(listener) } = &mut **running else { return Ok(None) };
        items.process.check()?;
        loop {
            errors::check_open(py, &self.target.server)?;
            // It wakes the other end, whose descriptors others may have closed.
            let event = errors::caught(|| listener.next_event())?;
            if event.is_some() || listener.is_over() {
                return Ok(event);
            }
            let end = listener.end().map(|end| end.into_std());
            let tick = self.tick.and_then(|tick| Instant::now().checked_add(tick));
            match items.next(py, [tick, end].into_iter().flatten().min())? {
                Received::Item(sent) => listener.receive(sent),
                Received::Nothing if listener.has_ended() => listener.give_up(),
                Received::Nothing => {
                    if let (Some(on_step), Some(_)) = (&self.on_step, tick) {
                        errors::outlived(|| on_step.call1(py, (py.None(),)))?;
                    }
                }
                Received::End => return Err(errors::panicked()),
            }
        }
    }

    fn begin(&self, py: Python<'_>, state: &mut State<Box<Driven>>) -> PyResult<()> {
        let State::Ready(operations, plan) = std::mem::replace(state, State::Over) else { return Ok(()) };
        let (engine, server) = (Engine::current(), self.target.server.clone());
        errors::check_open(py, &server)?;
        let (runtime, transport) = engine.acquire(&self.target.key, &server)?;
        let (waits, mut listener) = waiting::wait(&transport, server.clone(), operations, plan);
        listener.splits_the_late = self.return_exceptions;
        let mut items = Items::new(engine.process, Some(server));
        runtime.drive(&mut items, |sender| waits.run(move |sent| sender.send(sent)))?;
        *state = State::Running(Box::new(Driven { items, listener: Some(listener) }));
        Ok(())
    }
}

#[pymethods]
impl BulkIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        self.item(py).map_err(|error| {
            // It would end a loop as if all were done.
            if error.is_instance_of::<PyStopIteration>(py) { errors::unstopped(py, error, "on_poll") } else { error }
        })
    }

    /// The only item. What `on_poll` raises comes as it is, since no loop takes it for the end.
    fn _only(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        self.item(py)
    }

    /// End the waits. No item comes after that.
    ///
    /// >>> statuses = client.wait_for_bulks(ids)
    /// >>> statuses.close()
    /// >>> list(statuses)
    /// []
    ///
    /// A second `close` does nothing. The operations go on, on the server.
    fn close(&self) -> PyResult<()> {
        *self.use_alone()? = State::Over;
        Ok(())
    }

    fn __repr__(&self) -> String {
        shown("BulkIterator", &self.state, "loop over it")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot copy or pickle a BulkIterator: the waits are of this process and of one iterator",
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.on_step)
    }
}

/// The steps of a wait that the background thread drives, from the first step that is awaited.
#[pyclass(frozen, module = "saymon_bulk._core")]
pub struct AsyncWaits {
    engine: &'static Engine,
    target: Target,
    return_exceptions: bool,
    state: Mutex<State<AsyncRunning>>,
}

/// A wait that the background thread drives.
type AsyncRunning = (AbortHandle, Arc<AsyncMutex<AsyncEvents>>);

struct AsyncEvents {
    received: UnboundedReceiver<Vec<Sent>>,
    listener: Listener,
}

impl AsyncEvents {
    /// The next event. An error if the driver has ended before its time.
    async fn next(&mut self) -> PyResult<Option<Event>> {
        let Self { received, listener } = self;
        loop {
            let event = listener.next_event();
            if event.is_some() || listener.is_over() {
                return Ok(event);
            }
            let sent = match listener.end() {
                Some(end) => timeout_at(end, received.recv()).await,
                None => Ok(received.recv().await),
            };
            match sent {
                Ok(sent) => listener.receive(sent.ok_or_else(errors::panicked)?),
                Err(_) if listener.has_ended() => listener.give_up(),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWaits {
    pub fn new(target: &Target, operations: Vec<PathSegment>, plan: Plan, return_exceptions: bool) -> Self {
        let state = Mutex::new(State::Ready(operations, plan));
        Self { engine: Engine::current(), target: target.clone(), return_exceptions, state }
    }

    /// The events, from the beginning on; None once the wait is over.
    fn events(&self) -> PyResult<Option<Arc<AsyncMutex<AsyncEvents>>>> {
        let mut state = lock(&self.state);
        let (operations, plan) = match std::mem::replace(&mut *state, State::Failed) {
            State::Ready(operations, plan) => (operations, plan),
            State::Failed => return Err(failed_before()),
            known => {
                let events = if let State::Running((_, events)) = &known { Some(events.clone()) } else { None };
                *state = known;
                return Ok(events);
            }
        };
        let server = self.target.server.clone();
        let transport = self.engine.transport(&self.target.key, &server)?;
        let (waits, mut listener) = waiting::wait(&transport, server, operations, plan);
        listener.splits_the_late = self.return_exceptions;
        let (sender, received) = unbounded_channel();
        let driver = self.engine.spawn(async move {
            let last = waits.run(|sent| drop(sender.send(sent))).await;
            let _ = sender.send(last);
        })?;
        let events = Arc::new(AsyncMutex::new(AsyncEvents { received, listener }));
        *state = State::Running((driver, events.clone()));
        Ok(Some(events))
    }

    fn end(&self, end: State<AsyncRunning>) {
        if self.engine.process.is_current()
            && let State::Running((driver, _)) = std::mem::replace(&mut *lock(&self.state), end)
        {
            driver.abort();
        }
    }
}

impl Drop for AsyncWaits {
    fn drop(&mut self) {
        if self.engine.process.is_current() {
            self.close();
        } else {
            // A child leaks its parent's wait: a lock in it may be held for ever.
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::replace(state, State::Over));
        }
    }
}

#[pymethods]
impl AsyncWaits {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// A step; None where there is nothing to tell.
    fn __anext__(&self, py: Python<'_>) -> PyResult<Awaitable> {
        self.engine.process.check()?;
        // The driver asks at once, and a coroutine outside of asyncio must send nothing.
        running_loop(py)?;
        // Not under the lock: the exception runs Python, and another thread may wait for the lock with the interpreter held.
        errors::check_open(py, &self.target.server)?;
        let events = self.events()?;
        let (server, return_exceptions) = (self.target.server.clone(), self.return_exceptions);
        let next = async move {
            match events {
                Some(events) => events.lock().await.next().await,
                None => Ok(None),
            }
        };
        self.engine.awaitable(py, &self.target.server, next, move |py, next| {
            errors::check_open(py, &server)?;
            match next {
                Some(Ok(Some(event))) => outcome::step(py, &server, event, return_exceptions)
                    .and_then(|step| Ok(step.into_pyobject(py)?.unbind()))
                    .map_err(|error| errors::unstopped(py, error, errors::HANDLER)),
                Some(Err(error)) => Err(error),
                Some(Ok(None)) | None => Err(PyStopAsyncIteration::new_err(())),
            }
        })
    }

    fn __repr__(&self) -> String {
        shown("AsyncBulkIterator", &self.state, "use async for")
    }

    /// Stops polling and drops what is under way, even if a traceback keeps this object. Idempotent.
    fn close(&self) {
        self.end(State::Over);
    }

    /// The same after an error.
    fn fail(&self) {
        self.end(State::Failed);
    }
}
