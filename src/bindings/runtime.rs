//! What a process owns: lanes for its blocking calls, a background for asyncio, the TLS sides of both.
//!
//! Everything here belongs to one pid. A forked child finds its parent's engine, leaves it alone (its sockets, timers
//! and locks are the parent's) and makes its own; that is also why the inherited one is leaked and never dropped.

use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::core::origin::Origin;

use super::background::Background;
use super::lane::Lanes;
use super::terms::TlsSides;

/// All that a process owns.
pub struct Engine {
    pid: u32,
    pub sides: TlsSides,
    pub lanes: Lanes,
    pub background: Mutex<Background>,
    pub last_host: Mutex<Option<(String, Origin)>>,
}

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());

impl Engine {
    /// This process's engine; made at first use, and again after a fork.
    #[allow(unsafe_code)]
    pub fn current() -> &'static Self {
        loop {
            if let Some(engine) = Self::existing() {
                return engine;
            }
            let found = ENGINE.load(Ordering::Acquire);
            let pid = std::process::id();
            let made = Box::into_raw(Box::new(Self {
                pid,
                sides: TlsSides::default(),
                lanes: Lanes::of(pid),
                background: Mutex::default(),
                last_host: Mutex::default(),
            }));
            if ENGINE.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `made` was not stored, so it is still this function's alone.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }

    /// This process's engine if it has one.
    #[allow(unsafe_code)]
    pub fn existing() -> Option<&'static Self> {
        // SAFETY: ENGINE holds null or a pointer from Box::into_raw, and what is stored there is never freed.
        unsafe { ENGINE.load(Ordering::Acquire).as_ref() }.filter(|engine| engine.pid == std::process::id())
    }
}
