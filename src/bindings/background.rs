//! asyncio: one background thread drives all exchanges of all event loops, one courier hands their results over.
//!
//! The courier and not the driver waits for the interpreter: a loop that keeps it busy holds up no exchange, and what
//! has come meanwhile is handed over in one go. Before Python finalises both are ended, from an `atexit` hook: a foreign
//! thread that is caught inside the interpreter then would abort the process (CPython up to 3.13).

use std::sync::mpsc;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::terms::Stores;

/// How long the exit waits for a courier that is in the middle of handing over.
const PATIENCE: Duration = Duration::from_secs(2);

/// Results handed over before other Python threads get their turn.
const BATCH: usize = 256;

pub type Job = Box<dyn FnOnce() + Send>;

/// The asyncio side of an engine.
#[derive(Default)]
pub struct Background {
    threads: Option<Threads>,
    pub stores: Stores,
    is_shut: bool,
}

pub struct Threads {
    pub handle: Handle,
    courier: mpsc::Sender<Job>,
    stop: oneshot::Sender<()>,
    /// Disconnected once both threads have ended.
    ended: mpsc::Receiver<()>,
}

impl Background {
    /// Its threads, started at first use; an error once it has been shut.
    pub fn threads(&mut self) -> PyResult<&Threads> {
        if self.is_shut {
            return Err(PyRuntimeError::new_err("the interpreter is shutting down"));
        }
        let threads = match self.threads.take() {
            Some(threads) => threads,
            None => Threads::start()?,
        };
        Ok(self.threads.insert(threads))
    }

    pub fn running(&self) -> Option<&Threads> {
        self.threads.as_ref()
    }

    pub fn shut(&mut self) -> Option<Threads> {
        self.is_shut = true;
        self.threads.take()
    }
}

impl Threads {
    fn start() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (courier, mut jobs) = mpsc::channel::<Job>();
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let also_alive = alive.clone();
        std::thread::Builder::new().name("saymon-bulk".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            drop(alive);
        })?;
        std::thread::Builder::new().name("saymon-bulk-courier".to_owned()).spawn(move || {
            deliver(&mut jobs);
            drop(also_alive);
        })?;
        Ok(Self { handle, courier, stop, ended })
    }

    /// Hands a job to the courier; false if that has ended.
    pub fn deliver(&self, job: Job) -> bool {
        self.courier.send(job).is_ok()
    }

    /// Ends both threads. To be called detached, or the courier could not finish what it is handing over.
    pub fn stop(self) {
        let Self { courier, stop, ended, .. } = self;
        let _ = stop.send(());
        drop(courier);
        let _ = ended.recv_timeout(PATIENCE);
    }
}

/// Hands results to their loops, attached once for all that are ready. In between it is detached and not gone: to come
/// and go takes the lock on the interpreter's threads, and a child forked at that moment hangs (CPython up to 3.11).
fn deliver(jobs: &mut mpsc::Receiver<Job>) {
    let _ = Python::try_attach(|py| {
        loop {
            let waiting = &mut *jobs;
            let Ok(first) = py.detach(move || waiting.recv()) else { return };
            first();
            jobs.try_iter().take(BATCH).for_each(|job| job());
        }
    });
}
