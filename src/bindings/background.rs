//! asyncio: one background thread drives all exchanges of all event loops and never enters the interpreter.

use std::sync::mpsc;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::mailbox::Mailboxes;
use super::terms::Stores;

/// How long the exit waits for the driver, and for a knock at a loop that is under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// The asyncio side of an engine.
#[derive(Default)]
pub struct Background {
    driver: Option<Driver>,
    pub stores: Stores,
    pub mailboxes: Mailboxes,
    is_shut: bool,
}

pub struct Driver {
    pub handle: Handle,
    stop: oneshot::Sender<()>,
    alive: mpsc::SyncSender<()>,
    /// Disconnected once nothing of it is alive.
    ended: mpsc::Receiver<()>,
}

impl Background {
    /// The driver, started at first use; an error once it has been shut.
    pub fn driver(&mut self) -> PyResult<&Driver> {
        if self.is_shut {
            return Err(PyRuntimeError::new_err("the interpreter is shutting down"));
        }
        let driver = match self.driver.take() {
            Some(driver) => driver,
            None => Driver::start()?,
        };
        Ok(self.driver.insert(driver))
    }

    pub fn running(&self) -> Option<&Driver> {
        self.driver.as_ref()
    }

    pub fn shut(&mut self) -> Option<Driver> {
        self.is_shut = true;
        self.driver.take()
    }
}

impl Driver {
    fn start() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let driving = alive.clone();
        std::thread::Builder::new().name("saymon-bulk".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            drop(driving);
        })?;
        Ok(Self { handle, stop, alive, ended })
    }

    /// Runs on another thread what has to wait for the interpreter.
    pub fn apart(&self, job: impl FnOnce() + Send + 'static) {
        let running = self.alive.clone();
        self.handle.spawn_blocking(move || {
            job();
            drop(running);
        });
    }

    /// To be called detached, or what waits for the interpreter could not end.
    pub fn stop(self) {
        let Self { stop, alive, ended, .. } = self;
        let _ = stop.send(());
        drop(alive);
        let _ = ended.recv_timeout(PATIENCE);
    }
}
