//! Completed futures on their way to an event loop: the background thread pushes them to the loop's queue and wakes the loop,
//! the loop drains the queue.
//!
//! So no foreign thread enters the interpreter, where a fork or the exit could catch it (a child forked then may hang, up to
//! CPython 3.11; a process that finalises then aborts, up to 3.13). One wake-up serves all that has completed.

use std::collections::HashMap;
#[cfg(unix)]
use std::io::{Read, Write};
use std::mem;
#[cfg(unix)]
use std::os::{fd::AsRawFd, unix::net::UnixStream};
use std::sync::{Arc, Mutex};

#[cfg(unix)]
use pyo3::exceptions::PyNotImplementedError;
use pyo3::exceptions::{PyException, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::bindings::cached::Interned;
use crate::bindings::errors;
use crate::lock::lock;

use super::background::{self, Asyncio};

/// What a loop calls after a wake-up.
const DRAIN: &str = "drain";

/// Makes the value of an awaited future on the loop's own thread. It holds nothing of Python's, since it may be dropped on
/// another thread.
type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Completed futures of one event loop. The loop's reader callback keeps it alive.
#[pyclass(frozen, weakref, module = "saymon_bulk._core")]
pub struct CompletionQueue {
    running: Py<PyWeakrefReference>,
    channel: Arc<Channel>,
    pending: Mutex<Pending>,
}

/// The futures that are awaited, by number.
#[derive(Default)]
struct Pending {
    futures: HashMap<u64, Py<PyAny>>,
    last: u64,
}

impl CompletionQueue {
    /// The queue of a loop that runs on this thread.
    pub fn of<'py>(
        running: &Bound<'py, PyAny>,
        asyncio: &'static Mutex<Asyncio>,
        queues: &'static Queues,
    ) -> PyResult<Bound<'py, Self>> {
        let py = running.py();
        if let Some(known) = queues.of(running) {
            return Ok(known);
        }
        // The first use by this loop.
        background::check(py, asyncio)?;
        let queue = Self::new(running, asyncio, queues)?.into_bound(py);
        queues.add(&queue)?;
        Ok(queue)
    }

    fn new(
        running: &Bound<'_, PyAny>,
        asyncio: &'static Mutex<Asyncio>,
        queues: &'static Queues,
    ) -> PyResult<Py<Self>> {
        let py = running.py();
        let with = |wakeup| {
            let running = PyWeakrefReference::new(running)?.unbind();
            let channel = Arc::new(Channel { completed: Mutex::default(), wakeup, asyncio });
            Py::new(py, Self { running, channel, pending: Mutex::default() })
        };
        #[cfg(unix)]
        {
            let (writer, reader) = UnixStream::pair()?;
            writer.set_nonblocking(true)?;
            reader.set_nonblocking(true)?;
            let descriptor = reader.as_raw_fd();
            let queue = with(Wakeup::Socket { writer, reader })?;
            match running.call_method1("add_reader", (descriptor, queue.getattr(py, DRAIN)?)) {
                Ok(_) => return Ok(queue),
                Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {}
                Err(error) => return Err(error),
            }
        }
        with(Wakeup::CallSoon { queues })
    }

    /// Expects the completion of a future of this loop.
    pub fn register(&self, future: Py<PyAny>) -> Sender {
        let mut pending = lock(&self.pending);
        pending.last += 1;
        let number = pending.last;
        pending.futures.insert(number, future);
        Sender { channel: self.channel.clone(), number, is_sent: false }
    }

    /// Takes out the future of that number, which is expected no more.
    pub fn remove(&self, number: u64) -> Option<Py<PyAny>> {
        lock(&self.pending).futures.remove(&number)
    }
}

#[pymethods]
impl CompletionQueue {
    /// Resolves the futures that have completed. The loop calls it. Raises what a signal's handler has raised meanwhile, once all
    /// are resolved: a loop ends by KeyboardInterrupt.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        // The exit waits for it: a daemon thread must not be within frames of Rust when the interpreter has ended.
        let Some(_job) = lock(self.channel.asyncio).job() else { return Ok(()) };
        let mut interrupted = Ok(());
        for (number, finish) in self.channel.drain() {
            let Some(future) = self.remove(number) else { continue };
            let future = future.bind(py);
            match resolve(future, finish) {
                Err(error) if !error.is_instance_of::<PyException>(py) => interrupted = Err(error),
                Err(error) => error.write_unraisable(py, Some(future)),
                Ok(()) => {}
            }
        }
        interrupted
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(pending) = self.pending.try_lock() else { return Ok(()) };
        pending.futures.values().try_for_each(|future| visit.call(future))
    }
}

static DONE: Interned = Interned::new("done");
static SET_RESULT: Interned = Interned::new("set_result");
static SET_EXCEPTION: Interned = Interned::new("set_exception");

fn resolve(future: &Bound<'_, PyAny>, finish: Finish) -> PyResult<()> {
    let py = future.py();
    let is_done = || future.call_method0(&DONE)?.is_truthy();
    if is_done()? {
        return Ok(());
    }
    let outcome = finish(py);
    // What `finish` calls, such as a log handler, may have cancelled the task.
    if is_done()? {
        return Ok(());
    }
    let told = match outcome {
        Ok(value) => future.call_method1(&SET_RESULT, (value,)),
        // A future refuses a StopIteration, and would stay pending.
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            future.call_method1(&SET_EXCEPTION, (errors::unstopped(py, error, errors::HANDLER),))
        }
        Err(error) => future.call_method1(&SET_EXCEPTION, (error,)),
    };
    told.map(drop)
}

/// The queues of a process. Under its lock only reference counts change: threads wait for the lock while attached, and
/// without the GIL even a weak reference may detach the thread that reads it, or hold the last reference to a loop.
#[derive(Default)]
pub struct Queues(Mutex<Vec<Py<PyWeakrefReference>>>);

impl Queues {
    fn known<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyWeakrefReference>> {
        lock(&self.0).iter().map(|queue| queue.bind(py).clone()).collect()
    }

    fn alive<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, CompletionQueue>> {
        self.known(py).into_iter().filter_map(|queue| queue.upgrade()?.cast_into().ok())
    }

    fn of<'py>(&self, running: &Bound<'py, PyAny>) -> Option<Bound<'py, CompletionQueue>> {
        let py = running.py();
        self.alive(py).find(|queue| queue.get().running.bind(py).upgrade().is_some_and(|of| of.is(running)))
    }

    fn with<'py>(&self, py: Python<'py>, channel: &Arc<Channel>) -> Option<Bound<'py, CompletionQueue>> {
        self.alive(py).find(|queue| Arc::ptr_eq(&queue.get().channel, channel))
    }

    fn add(&self, queue: &Bound<'_, CompletionQueue>) -> PyResult<()> {
        let added = PyWeakrefReference::new(queue)?.unbind();
        let gone: Vec<_> = self.known(queue.py()).into_iter().filter(|known| known.upgrade().is_none()).collect();
        let mut queues = lock(&self.0);
        queues.retain(|known| !gone.iter().any(|gone| known.is(gone)));
        queues.push(added);
        Ok(())
    }
}

/// Completes one future. Dropped unsent, it fails its future, except during exit.
pub struct Sender {
    channel: Arc<Channel>,
    pub number: u64,
    is_sent: bool,
}

impl Sender {
    pub fn send(mut self, finish: Finish) {
        self.is_sent = true;
        self.channel.push(self.number, finish);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.is_sent && lock(self.channel.asyncio).running().is_some() {
            let lost = |_: Python<'_>| Err(PyRuntimeError::new_err("the request was lost by an error of saymon_bulk"));
            self.channel.push(self.number, Box::new(lost));
        }
    }
}

/// The background thread's side of a queue. It holds no Python object.
struct Channel {
    completed: Mutex<Vec<(u64, Finish)>>,
    wakeup: Wakeup,
    asyncio: &'static Mutex<Asyncio>,
}

/// How a loop learns that futures have completed.
enum Wakeup {
    /// The loop reads a socket.
    #[cfg(unix)]
    Socket { writer: UnixStream, reader: UnixStream },
    /// The loop has no readers (the proactor of Windows) and is told by `call_soon_threadsafe`.
    CallSoon { queues: &'static Queues },
}

impl Channel {
    fn push(self: &Arc<Self>, number: u64, finish: Finish) {
        let mut completed = lock(&self.completed);
        completed.push((number, finish));
        let is_first = completed.len() == 1;
        drop(completed);
        if is_first {
            self.wake();
        }
    }

    fn wake(self: &Arc<Self>) {
        match &self.wakeup {
            // A full socket wakes the loop already, and a closed one has no loop.
            #[cfg(unix)]
            Wakeup::Socket { writer, .. } => drop((&mut &*writer).write(&[1])),
            Wakeup::CallSoon { queues } => {
                let (channel, queues) = (self.clone(), *queues);
                if let Some(runtime) = lock(self.asyncio).running() {
                    runtime.spawn_blocking(move || {
                        let _ = Python::try_attach(|py| call_soon(py, queues, &channel));
                    });
                }
            }
        }
    }

    /// Reads the wake-up first: a future that completes afterwards wakes the loop again.
    fn drain(&self) -> Vec<(u64, Finish)> {
        #[cfg(unix)]
        if let Wakeup::Socket { reader, .. } = &self.wakeup {
            drop((&mut &*reader).read(&mut [0; 16]));
        }
        mem::take(&mut *lock(&self.completed))
    }
}

/// Does nothing for a loop that was closed in the meantime.
fn call_soon(py: Python<'_>, queues: &Queues, channel: &Arc<Channel>) {
    let Some(queue) = queues.with(py, channel) else { return };
    let Some(running) = queue.get().running.bind(py).upgrade() else { return };
    let told = queue.getattr(DRAIN).and_then(|drain| running.call_method1("call_soon_threadsafe", (drain,)));
    drop(told);
}
