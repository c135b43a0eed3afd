//! Blocking calls: each acquires a runtime with its connections and enters it once, on its own thread. A call hops to no other
//! thread, and as many runtimes exist as calls run at the same time.
//!
//! No future outlives the `block_on` that has polled it: tokio delivers some wake-ups when its loop comes round again, and
//! loses them if `block_on` has returned. So a wait, which goes on while its caller does something else, has a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::bindings::errors;
use crate::core::transport::exchange::Transport;
use crate::core::transport::lanes::MAX_KEPT;
use crate::core::transport::pool::{Clients, PoolKey, TlsConfigs};
use crate::core::transport::server::Server;
use crate::core::transport::yields;
use crate::lock::lock;

use super::process::Process;

/// How often what blocks looks for signals: Ctrl-C must end it within 0.1 s.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// How often a thread that drives a wait looks at its descriptors at least; otherwise arbitrary.
const HEARTBEAT: Duration = Duration::from_secs(1);

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
        let connections = self.runtime.metrics().num_alive_tasks();
        let drive = || self.runtime.block_on(yields::poll_idle_connections(connections));
        match catch_unwind(AssertUnwindSafe(drive)) {
            Ok(()) => Some(self),
            Err(_) => {
                // Its descriptors were closed by others: see `panicked`.
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

    /// A runtime for a call that asks for so much at once. A burst has one of its own, which ends with it: nobody drives an idle
    /// runtime until so many connections have ended.
    pub fn acquire(&'static self, at_once: usize) -> PyResult<RuntimeGuard> {
        let is_kept = at_once <= MAX_KEPT;
        let idle = if is_kept { lock(&self.idle).runtimes.pop() } else { None };
        let runtime = idle.map_or_else(BlockingRuntime::new, |(_, runtime)| Ok(runtime))?;
        Ok(RuntimeGuard { pool: self, runtime: Some(runtime), is_kept, has_panicked: false })
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
fn is_within_a_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Looks for what may end a call or a wait: a signal's handler that raises, a fork, a closed client.
fn look(py: Python<'_>, process: Process, server: &Server) -> PyResult<()> {
    py.check_signals()?;
    // A handler may have forked, and the answer is the parent's.
    process.check()?;
    errors::check_open(server)
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

/// Never ends. Where others have closed the descriptors of a runtime nothing wakes it, and its next look at them panics.
async fn heartbeat() {
    let mut interval = interval(HEARTBEAT);
    loop {
        interval.tick().await;
    }
}

/// A runtime that one call holds.
pub struct RuntimeGuard {
    pool: &'static RuntimePool,
    runtime: Option<BlockingRuntime>,
    /// Whether other calls use the runtime after this one.
    is_kept: bool,
    has_panicked: bool,
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
        if is_within_a_runtime() {
            return self.block_on_thread(py, server, future);
        }
        let process = self.process();
        let BlockingRuntime { runtime, signal_check, .. } = self.runtime()?;
        // In a box, so that a forked child can leak it.
        let mut future = Box::pin(future);
        let drive = || {
            runtime.block_on(async {
                yields::let_others_run().await;
                match select(future.as_mut(), pin!(interruption(signal_check, process, server))).await {
                    Either::Left((output, _)) => Ok(output),
                    Either::Right((interrupt, _)) => Err(interrupt),
                }
            })
        };
        match py.detach(|| catch_unwind(AssertUnwindSafe(drive))) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(interrupt)) => {
                self.dispose(future);
                self.discard();
                Err(interrupt)
            }
            Err(_) => {
                self.give_up();
                self.dispose(future);
                Err(errors::panicked())
            }
        }
    }

    /// The same for a call from a signal's handler, whose thread drives another runtime already.
    fn block_on_thread<F>(&mut self, py: Python<'_>, server: &Server, future: F) -> PyResult<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Self { pool, is_kept, has_panicked, .. } = *self;
        let lent = Self { pool, runtime: self.runtime.take(), is_kept, has_panicked };
        let mut outputs = lent.drive(|_| future)?;
        match outputs.next(py, server, None)? {
            Received::Item(output) => Ok(output),
            Received::Nothing | Received::End => Err(errors::panicked()),
        }
    }

    /// Drives a future on a thread of its own, from its beginning to its end. It sends items and returns the last one, which
    /// comes when the runtime is free for the next call.
    pub fn drive<T, F>(self, make: impl FnOnce(ItemSender<T>) -> F) -> PyResult<Items<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let process = self.process();
        let (sender, received) = mpsc::channel();
        let sender = ItemSender(sender);
        let future = make(sender.clone());
        let stop = self.drive_on_thread(sender, future)?;
        Ok(Items { inner: Some((received, vec![stop])), process })
    }

    /// The same for several futures, each of which returns one item; and how many threads could be started.
    pub fn drive_all<T, F>(process: Process, futures: Vec<(Self, F)>) -> (Items<T>, usize)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, received) = mpsc::channel();
        let sender = ItemSender(sender);
        let drive = |(runtime, future): (Self, F)| runtime.drive_on_thread(sender.clone(), future).ok();
        let stops: Vec<_> = futures.into_iter().filter_map(drive).collect();
        let started = stops.len();
        (Items { inner: Some((received, stops)), process }, started)
    }

    fn drive_on_thread<T, F>(mut self, sender: ItemSender<T>, future: F) -> PyResult<Stop>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let mut future = Box::pin(future);
        let run = move || {
            let Some(BlockingRuntime { runtime, .. }) = &self.runtime else { return };
            let drive = || {
                runtime.block_on(async {
                    match select(select(future.as_mut(), stopped), pin!(heartbeat())).await {
                        Either::Left((Either::Left((last, _)), _)) => Some(last),
                        Either::Left((Either::Right(_), _)) | Either::Right(_) => None,
                    }
                })
            };
            let driven = catch_unwind(AssertUnwindSafe(drive));
            if driven.is_err() {
                self.give_up();
            }
            self.dispose(future);
            match driven {
                Ok(Some(last)) => {
                    drop(self);
                    sender.send(last);
                }
                // What was under way is dropped with its connections.
                Ok(None) => self.discard(),
                Err(_) => sender.fail(),
            }
        };
        let thread = std::thread::Builder::new().name("saymon-bulk".to_owned());
        thread.spawn(run).map_err(|error| PyOSError::new_err(format!("no thread can be started to wait: {error}")))?;
        Ok(stop)
    }

    /// After a panic of tokio, which has none but these: its descriptors were closed by others, or no thread can be started. Leaks
    /// the runtime and the idle ones: what they would close by number may be others' by now.
    fn give_up(&mut self) {
        self.has_panicked = true;
        std::mem::forget(self.runtime.take());
        lock(&self.pool.idle).runtimes.drain(..).for_each(std::mem::forget);
    }

    /// Whether the descriptors of this runtime are its own.
    pub fn is_sound(&self) -> bool {
        !self.has_panicked && self.process().is_current()
    }

    /// Drops what lives in this runtime. It is leaked where what it would close or wake is not its own: in a forked child, and
    /// where a handler has closed the descriptors. A panic in several destructors at once would end the process.
    pub fn dispose<T>(&mut self, value: T) {
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
            self.give_up();
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
        if self.is_kept
            && self.process().is_current()
            && let Some(runtime) = self.runtime.take()
        {
            self.runtime = self.pool.release(runtime);
        }
        self.discard();
    }
}

/// Where a future sends items that a thread of its own drives.
pub struct ItemSender<T>(mpsc::Sender<Option<T>>);

impl<T> Clone for ItemSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> ItemSender<T> {
    pub fn send(&self, item: T) {
        let _ = self.0.send(Some(item));
    }

    /// Ends the items. The future may be leaked, and its sender with it.
    fn fail(&self) {
        let _ = self.0.send(None);
    }
}

/// Ends a future that a thread of its own drives.
type Stop = oneshot::Sender<()>;

/// What a future sends that a thread of its own drives. Dropped, it ends the future.
pub struct Items<T> {
    /// None once it is dropped.
    inner: Option<(mpsc::Receiver<Option<T>>, Vec<Stop>)>,
    pub process: Process,
}

pub enum Received<T> {
    Item(T),
    /// Nothing came within the limit.
    Nothing,
    /// Nothing more will come.
    End,
}

impl<T: Send> Items<T> {
    /// The next item, if it comes until then. Signals are looked for meanwhile.
    pub fn next(&mut self, py: Python<'_>, server: &Server, until: Option<Instant>) -> PyResult<Received<T>> {
        look(py, self.process, server)?;
        let Some((items, _)) = &mut self.inner else { return Ok(Received::End) };
        Ok(match receive(py, items, until, || look(py, self.process, server))? {
            Received::Item(Some(item)) => Received::Item(item),
            Received::Item(None) | Received::End => Received::End,
            Received::Nothing => Received::Nothing,
        })
    }
}

/// Waits for what another thread sends, detached, and looks for signals meanwhile.
pub fn receive<T: Send>(
    py: Python<'_>,
    sent: &mut mpsc::Receiver<T>,
    until: Option<Instant>,
    look: impl Fn() -> PyResult<()>,
) -> PyResult<Received<T>> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let pause = left.unwrap_or(SIGNAL_CHECK).min(SIGNAL_CHECK);
        let received = match sent.try_recv() {
            Ok(item) => Ok(item),
            Err(mpsc::TryRecvError::Disconnected) => return Ok(Received::End),
            Err(mpsc::TryRecvError::Empty) => {
                let sent = &mut *sent;
                py.detach(move || sent.recv_timeout(pause))
            }
        };
        match received {
            Ok(item) => return Ok(Received::Item(item)),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Received::End),
            Err(mpsc::RecvTimeoutError::Timeout) => look()?,
        }
        if left.is_some_and(|left| left <= pause) {
            return Ok(Received::Nothing);
        }
    }
}

impl<T> Items<T> {
    /// Ends the future. False where all that would wake it must be leaked, and is: in a forked child it is the parent's, and after
    /// a panic its descriptors were closed by others.
    pub fn end(&mut self) -> bool {
        if !self.process.is_current() {
            std::mem::forget(self.inner.take());
            return false;
        }
        let Some((items, stop)) = self.inner.take() else { return true };
        let is_sound = catch_unwind(AssertUnwindSafe(|| drop(stop))).is_ok();
        if !is_sound {
            std::mem::forget(items);
        }
        is_sound
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        self.end();
    }
}
