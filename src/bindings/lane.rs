//! Blocking calls: each borrows a lane, a runtime with its connections, and drives it on its own thread. No hop to
//! another thread, and as many lanes as there are calls at the same time.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::core::exchange::Connections;

use super::terms::{Stores, Terms, TlsSides, lock};

/// How often a blocking call looks for signals: Ctrl-C must end it within 0.1 s.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Steps of a connection between two looks at the clock: a server that never stops sending must not outrun the limits.
const TIMER_CHECK: u32 = 3;

/// Turns of a lane that is to catch up, at most: more connections than this are not open.
const CATCH_UP: usize = 20_000;

/// Idle lanes kept; a burst of more threads than this opens its connections anew the next time.
const KEPT: usize = 64;

struct Lane {
    runtime: Runtime,
    stores: Stores,
    /// Kept from call to call: a timer that is set anew wakes the very thread that sets it, by a write and a poll.
    signal_check: Interval,
}

impl Lane {
    fn new() -> PyResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TIMER_CHECK).build()?;
        let mut signal_check = {
            let _entered = runtime.enter();
            interval(SIGNAL_CHECK)
        };
        signal_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { runtime, stores: Stores::default(), signal_check })
    }
}

/// Lanes that no call holds, the one used last at the end: its connections are the warmest.
pub struct Lanes {
    pid: u32,
    idle: Mutex<Vec<Lane>>,
}

impl Lanes {
    pub fn of(pid: u32) -> Self {
        Self { pid, idle: Mutex::default() }
    }

    pub fn borrow(&'static self) -> PyResult<Lent> {
        let idle = lock(&self.idle).pop();
        let lane = idle.map_or_else(Lane::new, Ok)?;
        Ok(Lent { lanes: self, lane: Some(lane) })
    }

    fn are_of_this_process(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// A lane lent to one call.
pub struct Lent {
    lanes: &'static Lanes,
    lane: Option<Lane>,
}

impl Lent {
    fn lane(&mut self) -> PyResult<&mut Lane> {
        self.lane.as_mut().ok_or_else(|| PyRuntimeError::new_err("the call was interrupted"))
    }

    pub fn connections(&mut self, terms: &Arc<Terms>, sides: &TlsSides) -> PyResult<Connections> {
        self.lane()?.stores.under(terms, sides)
    }

    /// Refuses what a child holds of a wait that its parent began: the sockets are the parent's.
    pub fn check_process(&self) -> PyResult<()> {
        if self.lanes.are_of_this_process() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("this wait belongs to the process that forked; begin one in each process"))
    }

    /// Runs a future on this thread, detached. Signals are looked for between its steps and not inside: a handler may
    /// raise, and it may call us again.
    pub fn block_on<F>(&mut self, py: Python<'_>, future: F) -> PyResult<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let mut future = pin!(future);
        loop {
            let Lane { runtime, signal_check, .. } = self.lane()?;
            let step = py.detach(|| {
                runtime.block_on(settled(async {
                    match select(future.as_mut(), pin!(signal_check.tick())).await {
                        Either::Left((output, _)) => Some(output),
                        Either::Right(_) => None,
                    }
                }))
            });
            if let Some(output) = step {
                return Ok(output);
            }
            if let Err(interrupt) = py.check_signals() {
                self.abandon();
                return Err(interrupt);
            }
        }
    }

    /// Runs a future on a thread that is not Python's, where no signal arrives.
    pub fn drive<F: Future>(&mut self, future: F) -> PyResult<F::Output> {
        Ok(self.lane()?.runtime.block_on(settled(future)))
    }

    /// Lets connections take in what has come while nobody drove this lane, before any limit is held against them.
    pub fn catch_up(&mut self, py: Python<'_>, connections: usize) -> PyResult<()> {
        let turns = connections.saturating_mul(2).saturating_add(8);
        self.block_on(py, async move {
            for _ in 0..turns.min(CATCH_UP) {
                tokio::task::yield_now().await;
            }
        })
    }

    /// Ends the lane with all its connections: only so is a request dropped at once that nobody drives any more.
    pub fn abandon(&mut self) {
        let Some(lane) = self.lane.take() else { return };
        if self.lanes.are_of_this_process() {
            lane.runtime.shutdown_background();
        } else {
            std::mem::forget(lane);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.lanes.are_of_this_process()
            && let Some(lane) = self.lane.take()
        {
            let mut idle = lock(&self.lanes.idle);
            if idle.len() < KEPT {
                return idle.push(lane);
            }
            drop(idle);
            self.lane = Some(lane);
        }
        self.abandon();
    }
}

/// A future between two turns of its lane.
async fn settled<F: Future>(future: F) -> F::Output {
    // Connections notice what has come while nobody drove this lane: an end, a farewell nobody asked for.
    tokio::task::yield_now().await;
    let output = future.await;
    // The runtime forgets the wake-ups that it has put off when it is left, but hands them out before this comes back.
    // It also lets a connection that has done its work go back to the kept ones.
    tokio::task::yield_now().await;
    output
}
