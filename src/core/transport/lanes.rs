//! Many requests at once: a lane for each, which has a client and one connection of its own.
//!
//! hyper-util begins a connection for each request that finds no idle one. A burst on one client would make more connections than
//! it has requests at once.

use std::ops::Deref;
use std::sync::Mutex;

use super::exchange::Transport;
use crate::lock::lock;

/// Lanes that are kept from call to call: as many as a batch or a wait has by default.
pub const MAX_KEPT: usize = 16;

/// As many as a process may have sockets, by the usual limit of its descriptors.
const MAX_LANES: usize = 1024;

/// How many requests go at once for so many operations.
pub fn at_once(concurrency: usize, operations: usize) -> usize {
    concurrency.min(operations).min(MAX_LANES)
}

/// The lanes of one batch or wait.
pub struct Lanes {
    transport: Transport,
    free: Mutex<Vec<Transport>>,
    /// How many are kept at the end. The connections of the others end when they are driven next.
    kept: usize,
}

impl Lanes {
    pub fn new(transport: &Transport, kept: usize) -> Self {
        // The client of single calls is the first lane.
        Self { transport: transport.clone(), free: Mutex::new(vec![transport.clone()]), kept }
    }

    /// A lane that no request uses: the last one used, since its connection is the warmest, or a new one.
    pub fn take(&self) -> Lane<'_> {
        let free = lock(&self.free).pop();
        Lane { lanes: self, transport: free.unwrap_or_else(|| self.transport.lane()) }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let free = std::mem::take(&mut *lock(&self.free));
        self.transport.keep(free, self.kept);
    }
}

/// What sends one request at a time. Dropped, it is free.
pub struct Lane<'a> {
    lanes: &'a Lanes,
    transport: Transport,
}

impl Deref for Lane<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        lock(&self.lanes.free).push(self.transport.clone());
    }
}
