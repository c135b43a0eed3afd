//! Blocking calls: each acquires a runtime with its connections and drives it on its own thread. A call hops to no other
//! thread, and as many runtimes exist as calls run at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::bindings::errors;
use crate::core::transport::exchange::{MAX_SHARED_CONNECTIONS, Transport};
use crate::core::transport::pool::{Clients, Key, TlsConfigs};
use crate::core::transport::server::Server;
use crate::core::transport::yields;
use crate::lock::lock;

use super::process::Process;

/// How often a blocking call looks for signals: Ctrl-C must end it within 0.1 s.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

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
    /// Its tasks when it was last returned: about one for each connection.
    tasks: usize,
}

impl BlockingRuntime {
    fn new() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TIMER_CHECK).build()?;
        let mut signal_check = {
            let _entered = runtime.enter();
            interval(SIGNAL_CHECK)
        };
        signal_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { runtime, clients: Clients::default(), signal_check, tasks: 0 })
    }

    /// Lets the connections of a burst end: nobody drives an idle runtime. None if many are still being opened.
    fn settled(mut self) -> Option<Self> {
        let after_a_burst = self.tasks + MAX_SHARED_CONNECTIONS;
        let mut tasks = self.alive_tasks();
        if tasks > after_a_burst {
            self = self.driven()?;
            tasks = self.alive_tasks();
        }
        if tasks > after_a_burst {
            self.runtime.shutdown_background();
            return None;
        }
        self.tasks = tasks;
        Some(self)
    }

    /// Lets connections that the server has closed end. None if the runtime was idle too long.
    fn swept(self, idle: Duration) -> Option<Self> {
        if idle >= MAX_IDLE_TIME {
            self.runtime.shutdown_background();
            return None;
        }
        self.driven()
    }

    /// Lets each connection take its next steps. None after a panic.
    fn driven(self) -> Option<Self> {
        let drive = || self.runtime.block_on(yields::poll_idle_connections(self.alive_tasks()));
        match catch_unwind(AssertUnwindSafe(drive)) {
            Ok(()) => Some(self),
            Err(_) => {
                // Its descriptors were closed by others: see `panicked`.
                std::mem::forget(self);
                None
            }
        }
    }

    fn alive_tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
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

    pub fn acquire(&'static self) -> PyResult<RuntimeGuard> {
        let idle = lock(&self.idle).runtimes.pop();
        let runtime = idle.map_or_else(BlockingRuntime::new, |(_, runtime)| Ok(runtime))?;
        Ok(RuntimeGuard { pool: self, runtime: Some(runtime), has_panicked: false })
    }

    /// Takes a runtime back, and looks after those that were not used lately; returns it if there are enough.
    fn release(&self, runtime: BlockingRuntime) -> Option<BlockingRuntime> {
        let runtime = runtime.settled()?;
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        if idle.runtimes.len() >= MAX_IDLE_RUNTIMES {
            return Some(runtime);
        }
        if idle.swept.is_none_or(|swept| now - swept >= SWEEP_INTERVAL) {
            idle.swept = Some(now);
            let runtimes = std::mem::take(&mut idle.runtimes);
            idle.runtimes =
                runtimes.into_iter().filter_map(|(since, idle)| Some((since, idle.swept(now - since)?))).collect();
        }
        idle.runtimes.push((now, runtime));
        None
    }
}

/// A runtime that one call holds.
pub struct RuntimeGuard {
    pool: &'static RuntimePool,
    runtime: Option<BlockingRuntime>,
    has_panicked: bool,
}

impl RuntimeGuard {
    fn runtime(&mut self) -> PyResult<&mut BlockingRuntime> {
        self.runtime.as_mut().ok_or_else(|| PyRuntimeError::new_err("the call was interrupted"))
    }

    pub fn transport(&mut self, key: &Arc<Key>, configs: &TlsConfigs) -> PyResult<Transport> {
        Ok(self.runtime()?.clients.get_or_make(key, configs)?)
    }

    /// The process whose runtime this is.
    pub fn process(&self) -> Process {
        self.pool.process
    }

    /// Runs a future on this thread, detached. Signals are looked for between its steps: a handler may raise, and it may call
    /// this package. So is the closing of the client.
    pub fn block_on<F>(&mut self, py: Python<'_>, server: &Server, future: F) -> PyResult<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        // In a box, so that a forked child can leak it.
        let mut future = Box::pin(future);
        loop {
            let BlockingRuntime { runtime, signal_check, .. } = self.runtime()?;
            let step = || {
                runtime.block_on(yields::flush_wakeups(async {
                    match select(future.as_mut(), pin!(signal_check.tick())).await {
                        Either::Left((output, _)) => Some(output),
                        Either::Right(_) => None,
                    }
                }))
            };
            match py.detach(|| catch_unwind(AssertUnwindSafe(step))) {
                Ok(Some(output)) => return Ok(output),
                Ok(None) => {}
                Err(_) => {
                    let error = self.panicked();
                    self.dispose(Box::new(future));
                    return Err(error);
                }
            }
            // A handler may have forked, and the answer is the parent's.
            let checked = py.check_signals().and_then(|()| self.process().check());
            if let Err(interrupt) = checked.and_then(|()| errors::check_open(server)) {
                self.dispose(Box::new(future));
                self.discard();
                return Err(interrupt);
            }
        }
    }

    /// Runs a future on a thread that is not Python's, where no signal arrives.
    pub fn block_on_detached(&mut self, future: impl Future<Output = ()>) -> PyResult<()> {
        let BlockingRuntime { runtime, .. } = self.runtime()?;
        let step = || runtime.block_on(yields::flush_wakeups(future.map(Some)));
        catch_unwind(AssertUnwindSafe(step)).map(|_| ()).map_err(|_| self.panicked())
    }

    /// A panic of tokio, which has none but these: its descriptors were closed by others, or no thread can be started. Leaks the
    /// runtime and the idle ones: what they would close by number may be others' by now.
    fn panicked(&mut self) -> PyErr {
        self.has_panicked = true;
        std::mem::forget(self.runtime.take());
        lock(&self.pool.idle).runtimes.drain(..).for_each(std::mem::forget);
        errors::panicked()
    }

    /// Whether the descriptors of this runtime are its own.
    pub fn is_sound(&self) -> bool {
        !self.has_panicked && self.process().is_current()
    }

    /// Drops what lives in this runtime. It is leaked where what it would close or wake is not its own: in a forked child, and
    /// where a handler has closed the descriptors. A panic in several destructors at once would end the process.
    pub fn dispose(&mut self, value: Box<dyn Send + '_>) {
        if self.is_sound() && self.drives() {
            drop(value);
        } else {
            std::mem::forget(value);
        }
    }

    /// Whether the driver still works, if there is one: a look at its descriptor panics if not.
    fn drives(&mut self) -> bool {
        let Some(BlockingRuntime { runtime, .. }) = &self.runtime else { return true };
        let drives = catch_unwind(AssertUnwindSafe(|| runtime.block_on(yields::let_others_run()))).is_ok();
        if !drives {
            self.panicked();
        }
        drives
    }

    /// Drops the runtime and its connections. A request in flight would otherwise wait until the runtime is next driven.
    pub fn discard(&mut self) {
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
