//! Blocking calls: each acquires a runtime with its connections and enters it once, on its own thread. A call hops to no other
//! thread, and as many runtimes exist as calls run at the same time.
//!
//! No future outlives the `block_on` that has polled it: tokio delivers some wake-ups when its loop comes round again, and
//! loses them if `block_on` has returned. So a wait, which goes on while its caller does something else, has a thread of its own.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::bindings::errors;
use crate::core::transport::exchange::Transport;
use crate::core::transport::pool::{Clients, PoolKey, TlsConfigs};
use crate::core::transport::server::Server;
use crate::core::transport::yields;
use crate::lock::lock;

use super::driven::{ItemSender, Items, Received, SIGNAL_CHECK, look};
use super::process::Process;

/// Steps of a connection between two looks at the clock: a server that never stops sending must not outrun the limits.
const TIMER_CHECK: u32 = 3;

/// Idle runtimes that are kept; bounds memory, otherwise arbitrary.
const MAX_IDLE_RUNTIMES: usize = 64;

/// How long a runtime may be idle: as long as reqwest keeps an idle connection.
const MAX_IDLE_TIME: Duration = Duration::from_secs(90);

/// How often a call looks after the idle runtimes.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

struct BlockingRuntime {
    runtime: Runtime,
    clients: Clients,
    /// Kept from call to call: a timer that is set wakes the very thread that sets it, by a write and a poll.
    signal_check: Interval,
}

impl BlockingRuntime {
    fn new() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TIMER_CHECK).build()?;
        let mut signal_check = {
            let _entered = runtime.enter();
            interval(SIGNAL_CHECK)
        };
        signal_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { runtime, clients: Clients::default(), signal_check })
    }

    /// Lets connections that the server has closed end. None if the runtime was idle too long, and after a panic.
    fn swept(self, idle: Duration) -> Option<Self> {
        if idle >= MAX_IDLE_TIME {
            self.runtime.shutdown_background();
            return None;
        }
        match errors::caught(|| self.runtime.block_on(yields::let_connections_settle())) {
            Ok(()) => Some(self),
            Err(_) => {
                // Its descriptors were closed by others: see `leak`.
                std::mem::forget(self);
                None
            }
        }
    }
}

/// Runtimes that no call holds. The last one used is at the end: its connections are the warmest.
pub struct RuntimePool {
    process: Process,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Each with the moment at which it was returned.
    runtimes: Vec<(Instant, BlockingRuntime)>,
    swept: Option<Instant>,
}

impl RuntimePool {
    pub fn of(process: Process) -> Self {
        Self { process, idle: Mutex::default() }
    }

    /// A runtime for one call.
    pub fn acquire(&'static self) -> PyResult<RuntimeGuard> {
        let idle = lock(&self.idle).runtimes.pop();
        let runtime = idle.map_or_else(BlockingRuntime::new, |(_, runtime)| Ok(runtime))?;
        Ok(RuntimeGuard { pool: self, runtime: Some(runtime) })
    }

    /// Takes a runtime back, and looks after those that were not used lately; returns it if there are enough.
    fn release(&self, runtime: BlockingRuntime) -> Option<BlockingRuntime> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        if idle.runtimes.len() >= MAX_IDLE_RUNTIMES {
            return Some(runtime);
        }
        // A handler's own call is within a runtime, which cannot enter another one.
        if !is_within_a_runtime() && idle.swept.is_none_or(|swept| now - swept >= SWEEP_INTERVAL) {
            idle.swept = Some(now);
            let runtimes = std::mem::take(&mut idle.runtimes);
            idle.runtimes =
                runtimes.into_iter().filter_map(|(since, idle)| Some((since, idle.swept(now - since)?))).collect();
        }
        idle.runtimes.push((now, runtime));
        None
    }
}

/// Whether this thread drives a runtime now: a signal's handler that calls this package does.
pub fn is_within_a_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Ends when something interrupts the call.
async fn interruption(signal_check: &mut Interval, process: Process, server: &Server) -> PyErr {
    loop {
        signal_check.tick().await;
        // None while the interpreter ends, where no signal is handled.
        if let Some(Err(interrupt)) = Python::try_attach(|py| look(py, process, Some(server))) {
            return interrupt;
        }
    }
}

/// A runtime that one call holds.
pub struct RuntimeGuard {
    pool: &'static RuntimePool,
    runtime: Option<BlockingRuntime>,
}

impl RuntimeGuard {
    pub fn transport(&mut self, key: &Arc<PoolKey>, configs: &TlsConfigs) -> PyResult<Transport> {
        let runtime = self.runtime.as_mut().ok_or_else(errors::panicked)?;
        Ok(runtime.clients.get_or_make(key, configs)?)
    }

    /// The process whose runtime this is.
    fn process(&self) -> Process {
        self.pool.process
    }

    /// Runs a future on this thread, detached. Signals are looked for meanwhile: a handler may raise, and it may call this
    /// package. So is the closing of the client.
    pub fn block_on<F>(&mut self, py: Python<'_>, server: &Arc<Server>, future: F) -> PyResult<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let process = self.process();
        if is_within_a_runtime() {
            let lent = Self { pool: self.pool, runtime: self.runtime.take() };
            let mut output = Items::new(process, Some(server.clone()));
            lent.drive(&mut output, |_| future)?;
            return match output.next(py, None)? {
                Received::Item(output) => Ok(output),
                Received::Nothing | Received::End => Err(errors::panicked()),
            };
        }
        let interruption = async |signal_check: &mut Interval| interruption(signal_check, process, server).await;
        py.detach(|| self.run(future, interruption)).map_err(|interrupt| interrupt.unwrap_or_else(errors::panicked))
    }

    /// Drives a future on a thread of its own, from its beginning to its end. It sends items and returns the last one, which
    /// comes when the runtime is free for the next call.
    pub fn drive<T, F>(mut self, items: &mut Items<T>, make: impl FnOnce(ItemSender<T>) -> F) -> PyResult<()>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let future = make(items.sender());
        items.spawn(move |stopped| match self.run(future, async |_: &mut Interval| stopped.await) {
            Ok(last) => Ok(Some(last)),
            Err(Some(_)) => Ok(None),
            Err(None) => Err(errors::panicked()),
        })
    }

    /// Drives a future to its end, or until something else stops it: then it is dropped with its connections. The error is what has
    /// stopped it; none after a panic alone.
    fn run<F: Future, S>(
        &mut self,
        future: F,
        stop: impl AsyncFnOnce(&mut Interval) -> S,
    ) -> Result<F::Output, Option<S>> {
        let process = self.process();
        let Some(BlockingRuntime { runtime, signal_check, .. }) = &mut self.runtime else { return Err(None) };
        // In a box, so that it can be leaked.
        let (mut call, mut stopped) = (Some(Box::pin(future)), None);
        let drive = || {
            runtime.block_on(async {
                // A look at the connections first, since the runtime was idle.
                yields::let_others_run().await;
                match select(call.as_mut()?.as_mut(), pin!(stop(signal_check))).await {
                    Either::Left((output, _)) => return Some(output),
                    Either::Right((by, _)) => stopped = Some(by),
                }
                if process.is_current() {
                    call = None;
                    // Panics where a handler has closed the descriptors, so that nothing of the runtime is closed once more.
                    yields::let_others_run().await;
                }
                None
            })
        };
        match errors::caught(drive) {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => self.discard(),
            Err(_) => self.leak(),
        }
        // None but after a panic, and in a forked child, whose parent it belongs to.
        std::mem::forget(call);
        Err(stopped)
    }

    /// After a panic. Leaks the idle runtimes too: what all these would close by number may be others' by now.
    fn leak(&mut self) {
        std::mem::forget(self.runtime.take());
        lock(&self.pool.idle).runtimes.drain(..).for_each(std::mem::forget);
    }

    /// Drops the runtime and its connections. A request in flight would otherwise wait until the runtime is next driven.
    fn discard(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process().is_current() {
            runtime.runtime.shutdown_background();
        } else {
            std::mem::forget(runtime);
        }
    }
}

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if self.process().is_current()
            && let Some(runtime) = self.runtime.take()
        {
            self.runtime = self.pool.release(runtime);
        }
        self.discard();
    }
}
