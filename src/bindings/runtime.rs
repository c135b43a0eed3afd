//! Where the core's futures run: lanes of the process, each a runtime with its connections, driven by the thread that calls.
//!
//! Everything here belongs to one pid. A forked child finds its parent's engine, leaves it alone (its sockets, timers
//! and locks are the parent's) and makes its own; that is also why the inherited one is leaked and never dropped.

use std::pin::pin;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};

use crate::core::exchange::Connections;
use crate::core::failure::InvalidInput;
use crate::core::proxy;
use crate::core::trust::{CaFile, CaStamp, SystemStore, Trust};

/// How often a blocking call looks for signals: Ctrl-C must end it within 0.1 s.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Steps of a connection between two looks at the clock: a server that never stops sending must not outrun the limits.
const TIMER_CHECK: u32 = 11;

/// Idle lanes kept; threads beyond this number open connections of their own.
const KEPT_LANES: usize = 64;

/// Terms kept per lane and per engine: CA files that changed, environments that were.
const KEPT_TERMS: usize = 16;

/// The `verify` argument.
pub enum Verify {
    System,
    File(PathBuf),
    Off,
}

/// What connections may be shared under: the same trust and the same proxies. Plain data, good across a fork.
#[derive(Debug, PartialEq, Eq)]
pub struct Terms {
    trust: Trust,
    proxies: Vec<(&'static str, OsString)>,
}

/// All that a process owns.
pub struct Engine {
    pid: u32,
    idle: Mutex<Vec<Lane>>,
    /// One TLS side per terms, shared by the lanes: the trust store is read once, sessions are resumed by all.
    tls: Mutex<Vec<(Arc<Terms>, ClientConfig)>>,
}

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());

impl Engine {
    /// This process's engine; made at first use, and again after a fork.
    #[allow(unsafe_code)]
    pub fn current() -> PyResult<&'static Self> {
        let pid = std::process::id();
        loop {
            let found = ENGINE.load(Ordering::Acquire);
            // SAFETY: ENGINE holds null or a pointer from Box::into_raw below, and no engine is ever freed once it is stored.
            if let Some(engine) = unsafe { found.as_ref() }.filter(|engine| engine.pid == pid) {
                return Ok(engine);
            }
            let made = Box::into_raw(Box::new(Self { pid, idle: Mutex::default(), tls: Mutex::default() }));
            if ENGINE.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `made` was not stored, so it is still this function's alone.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }

    /// The terms that `verify` and the environment give now.
    pub fn terms(&self, verify: &Verify) -> Result<Arc<Terms>, InvalidInput> {
        let trust = match verify {
            Verify::System => Trust::System(SystemStore::from_env()),
            Verify::Off => Trust::Nobody,
            Verify::File(path) => Trust::File(self.ca_file(CaStamp::of(path)?)?),
        };
        let proxies = proxy::VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))).collect();
        let terms = Terms { trust, proxies };
        let known = lock(&self.tls).iter().map(|(known, _)| known).find(|known| ***known == terms).cloned();
        Ok(known.unwrap_or_else(|| Arc::new(terms)))
    }

    fn ca_file(&self, stamp: CaStamp) -> Result<Arc<CaFile>, InvalidInput> {
        let known = lock(&self.tls).iter().find_map(|(terms, _)| match &terms.trust {
            Trust::File(file) if *file.stamp() == stamp => Some(file.clone()),
            _ => None,
        });
        known.map_or_else(|| CaFile::read(stamp).map(Arc::new), Ok)
    }

    fn tls(&self, terms: &Arc<Terms>) -> PyResult<ClientConfig> {
        let mut known = lock(&self.tls);
        if let Some((_, tls)) = known.iter().find(|(known, _)| same(known, terms)) {
            return Ok(tls.clone());
        }
        let tls =
            terms.trust.tls().map_err(|error| PyRuntimeError::new_err(format!("TLS cannot be set up: {error}")))?;
        keep(&mut known, (terms.clone(), tls.clone()));
        Ok(tls)
    }

    /// A lane for one blocking call; the one used last comes first, its connections are the warmest.
    pub fn lane(&'static self) -> PyResult<LaneGuard> {
        let idle = lock(&self.idle).pop();
        let lane = match idle {
            Some(lane) => lane,
            None => Lane::new()?,
        };
        Ok(LaneGuard { engine: self, lane: Some(lane) })
    }
}

fn same(a: &Arc<Terms>, b: &Arc<Terms>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn keep<T>(kept: &mut Vec<T>, item: T) {
    if kept.len() >= KEPT_TERMS {
        kept.remove(0);
    }
    kept.push(item);
}

/// Nothing that is held under these locks can be left half done, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime that the calling thread drives, and the connections that live in it.
struct Lane {
    runtime: Runtime,
    stores: Vec<(Arc<Terms>, Connections)>,
}

impl Lane {
    fn new() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TIMER_CHECK).build()?;
        Ok(Self { runtime, stores: Vec::new() })
    }
}

/// A lane lent to one call.
pub struct LaneGuard {
    engine: &'static Engine,
    lane: Option<Lane>,
}

impl LaneGuard {
    fn lent(&mut self) -> PyResult<&mut Lane> {
        self.lane.as_mut().ok_or_else(|| PyRuntimeError::new_err("the call was interrupted"))
    }

    /// The connections under these terms. Made while attached: it reads the environment, which Python may change.
    pub fn connections(&mut self, terms: &Arc<Terms>) -> PyResult<Connections> {
        let engine = self.engine;
        let lane = self.lent()?;
        if let Some((_, store)) = lane.stores.iter().find(|(known, _)| same(known, terms)) {
            return Ok(store.clone());
        }
        let store = Connections::new(engine.tls(terms)?)
            .map_err(|error| PyRuntimeError::new_err(format!("no HTTP client can be made: {error}")))?;
        keep(&mut lane.stores, (terms.clone(), store.clone()));
        Ok(store)
    }

    /// Runs a future on this thread, detached, looking for signals between its steps: a handler may raise, or call us again.
    pub fn block_on<F>(&mut self, py: Python<'_>, future: F) -> PyResult<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let mut future = pin!(future);
        loop {
            let runtime = &self.lent()?.runtime;
            let step = py.detach(|| {
                runtime.block_on(async {
                    // Lets connections notice what happened to them while nobody drove this lane.
                    tokio::task::yield_now().await;
                    tokio::time::timeout(SIGNAL_CHECK, future.as_mut()).await
                })
            });
            if let Ok(output) = step {
                return Ok(output);
            }
            if let Err(interrupt) = py.check_signals() {
                self.abandon();
                return Err(interrupt);
            }
        }
    }

    /// Ends the lane with all its connections: only so is a request dropped at once that nobody drives any more.
    pub fn abandon(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.runtime.shutdown_background();
        }
    }
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        let Some(lane) = self.lane.take() else { return };
        // A child that was forked in the middle of a call must not touch what is the parent's.
        if self.engine.pid != std::process::id() {
            return std::mem::forget(lane);
        }
        let mut idle = lock(&self.engine.idle);
        if idle.len() < KEPT_LANES {
            idle.push(lane);
        } else {
            drop(idle);
            lane.runtime.shutdown_background();
        }
    }
}
