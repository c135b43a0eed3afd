//! asyncio: one background thread drives the exchanges of all event loops and never enters the interpreter.

use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::bindings::errors;
use crate::core::transport::pool::Clients;
use crate::lock::lock;

use super::process::{start_thread, without_signals};

/// How long the exit waits for the background thread, and for a wake-up of a loop that is under way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the background thread may take to answer at the first use by an event loop. Long beside any delay of a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// asyncio's part of an engine.
#[derive(Default)]
pub struct Asyncio {
    runtime: Option<BackgroundRuntime>,
    pub clients: Clients,
    is_shut: bool,
}

pub struct BackgroundRuntime {
    handle: Handle,
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    alive: mpsc::SyncSender<()>,
    /// Disconnected when the thread and all its jobs have ended.
    ended: mpsc::Receiver<()>,
}

impl Asyncio {
    /// The runtime, started at first use; an error after the exit has begun.
    fn runtime(&mut self) -> PyResult<&BackgroundRuntime> {
        if self.is_shut {
            return Err(PyRuntimeError::new_err("the interpreter is shutting down"));
        }
        let runtime = match self.runtime.take() {
            // A thread that has ended has panicked.
            Some(runtime) if !runtime.thread.is_finished() => runtime,
            found => {
                if found.is_some() {
                    self.give_up();
                }
                BackgroundRuntime::start()?
            }
        };
        Ok(self.runtime.insert(runtime))
    }

    /// Where tasks are started, with [`spawn`].
    pub fn handle(&mut self) -> PyResult<Handle> {
        Ok(self.runtime()?.handle())
    }

    /// Leaks the runtime with its connections: what it would close by number may be others' by now.
    fn give_up(&mut self) {
        std::mem::forget(self.runtime.take());
        std::mem::forget(std::mem::take(&mut self.clients));
    }

    pub fn running(&self) -> Option<&BackgroundRuntime> {
        self.runtime.as_ref()
    }

    /// What holds up the exit until it is dropped; None once the exit has begun.
    pub fn job(&self) -> Option<Option<mpsc::SyncSender<()>>> {
        (!self.is_shut).then(|| self.runtime.as_ref().map(|runtime| runtime.alive.clone()))
    }

    pub fn shut(&mut self) -> Option<BackgroundRuntime> {
        self.is_shut = true;
        self.runtime.take()
    }
}

/// Starts a task. A panic means that the runtime's descriptors were closed by others: the next task gets a new runtime. Not
/// called under the lock, since the task that is lost takes it.
pub fn spawn(
    asyncio: &Mutex<Asyncio>,
    handle: &Handle,
    task: impl Future<Output = ()> + Send + 'static,
) -> PyResult<tokio::task::JoinHandle<()>> {
    errors::caught(|| handle.spawn(task)).inspect_err(|_| lock(asyncio).give_up())
}

/// Checks that the background thread answers, and gives it up if not. After its descriptors were closed by others, it sleeps for
/// ever: what should wake it goes to a number that is somebody else's by then.
pub fn check(py: Python<'_>, asyncio: &Mutex<Asyncio>) -> PyResult<()> {
    let handle = lock(asyncio).handle()?;
    let (answer, answered) = mpsc::channel();
    spawn(asyncio, &handle, async move {
        let _ = answer.send(());
    })?;
    py.detach(move || answered.recv_timeout(ANSWER_TIMEOUT)).map_err(|_| {
        lock(asyncio).give_up();
        errors::panicked()
    })
}

impl BackgroundRuntime {
    fn start() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let driving = alive.clone();
        let thread = start_thread("saymon-bulk", move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            drop(driving);
        })
        .map_err(errors::no_thread)?;
        Ok(Self { handle, thread, stop, alive, ended })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs on another thread what has to wait for the interpreter.
    pub fn spawn_blocking(&self, job: impl FnOnce() + Send + 'static) {
        let running = self.alive.clone();
        without_signals(|| {
            self.handle.spawn_blocking(move || {
                job();
                drop(running);
            })
        });
    }

    /// To be called detached: a job that waits for the interpreter could not end otherwise.
    pub fn stop(self) {
        let Self { stop, alive, ended, .. } = self;
        let _ = errors::caught(|| stop.send(()));
        drop(alive);
        let _ = ended.recv_timeout(SHUTDOWN_TIMEOUT);
    }
}
