//! Blocking calls: each acquires a runtime with its connections and enters it once, on its own thread. A call hops to no other
//! thread, and as many runtimes exist as calls run at the same time.
//!
//! No future outlives the `block_on` that has polled it: tokio delivers some wake-ups when its loop comes round again, and
//! loses them if `block_on` has returned. So a wait, which goes on while its caller does something else, has a thread of its own.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use pyo3::exceptions::PyRuntimeError;
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

/// Drives a future, after a look at the connections of a runtime that was idle.
fn enter<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async {
        yields::let_others_run().await;
        future.await
    })
}

/// Whether this thread drives a runtime now: a signal's handler that calls this package does.
fn is_within_a_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Ends when something interrupts the call.
async fn interruption(signal_check: &mut Interval, process: Process, server: &Server) -> PyErr {
    loop {
        signal_check.tick().await;
        // None while the interpreter ends, where no signal is handled.
        if let Some(Err(interrupt)) = Python::try_attach(|py| look(py, process, server)) {
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
    fn runtime(&mut self) -> PyResult<&mut BlockingRuntime> {
        self.runtime.as_mut().ok_or_else(|| PyRuntimeError::new_err("the call was interrupted"))
    }

    pub fn transport(&mut self, key: &Arc<PoolKey>, configs: &TlsConfigs) -> PyResult<Transport> {
        Ok(self.runtime()?.clients.get_or_make(key, configs)?)
    }

    /// The process whose runtime this is.
    fn process(&self) -> Process {
        self.pool.process
    }

    /// Runs a future on this thread, detached. Signals are looked for meanwhile: a handler may raise, and it may call this
    /// package. So is the closing of the client.
    pub fn block_on<F>(&mut self, py: Python<'_>, server: &Server, future: F) -> PyResult<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let process = self.process();
        if is_within_a_runtime() {
            let lent = Self { pool: self.pool, runtime: self.runtime.take() };
            let mut output = Items::new(process);
            lent.drive(&mut output, |_| future)?;
            return match output.next(py, server, None)? {
                Received::Item(output) => Ok(output),
                Received::Nothing | Received::End => Err(errors::panicked()),
            };
        }
        let BlockingRuntime { runtime, signal_check, .. } = self.runtime()?;
        // In a box, so that it can be leaked.
        let (mut call, mut interrupt) = (Some(Box::pin(future)), None);
        let drive = || {
            enter(runtime, async {
                match select(call.as_mut()?.as_mut(), pin!(interruption(signal_check, process, server))).await {
                    Either::Left((output, _)) => return Some(output),
                    Either::Right((raised, _)) => interrupt = Some(raised),
                }
                if process.is_current() {
                    call = None;
                    // Panics where a handler has closed the descriptors, so that nothing of the runtime is closed once more.
                    yields::let_others_run().await;
                }
                None
            })
        };
        match py.detach(|| errors::caught(drive)) {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => self.discard(),
            Err(_) => self.leak(),
        }
        // None but after a panic, and in a forked child, whose parent it belongs to.
        std::mem::forget(call);
        Err(interrupt.unwrap_or_else(errors::panicked))
    }

    /// Drives a future on a thread of its own, from its beginning to its end. It sends items and returns the last one, which
    /// comes when the runtime is free for the next call.
    pub fn drive<T, F>(mut self, items: &mut Items<T>, make: impl FnOnce(ItemSender<T>) -> F) -> PyResult<()>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let future = make(items.sender());
        items.spawn(move |stopped| {
            let last = self.run(async {
                let last = match select(pin!(future), stopped).await {
                    Either::Left((last, _)) => Some(last),
                    Either::Right(_) => None,
                };
                if last.is_none() {
                    // As for an interrupted call.
                    yields::let_others_run().await;
                }
                last
            })?;
            if last.is_none() {
                // What was under way is dropped with its connections.
                self.discard();
            }
            drop(self);
            Ok(last)
        })
    }

    /// Runs a future on a thread that is not Python's, where no signal arrives.
    fn run<F: Future>(&mut self, future: F) -> PyResult<F::Output> {
        let BlockingRuntime { runtime, .. } = self.runtime()?;
        let mut future = Box::pin(future);
        let output = errors::caught(|| enter(runtime, future.as_mut()));
        if output.is_err() {
            std::mem::forget(future);
            self.leak();
        }
        output
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
