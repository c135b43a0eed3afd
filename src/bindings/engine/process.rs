//! Which process and which interpreter this is, and what each process makes for itself. All unsafe code stands here.
//!
//! A pid does not tell a process from its child: a child in a new PID namespace has its parent's pid, and a pid is used again.
//! So each process has a mark in memory that a fork wipes. It is read without a system call.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;

/// A process, told apart from those that it forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u64);

/// The number of this process among its ancestors. A child inherits it and counts on.
static GENERATION: AtomicU64 = AtomicU64::new(0);

impl Process {
    pub fn current() -> Self {
        let mark = mark::get();
        match mark.load(Ordering::Acquire) {
            // The first use, or a fork has wiped the mark.
            0 => {
                let next = GENERATION.fetch_add(1, Ordering::AcqRel) + 1;
                match mark.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => Self(next),
                    Err(others) => Self(others),
                }
            }
            known => Self(known),
        }
    }

    pub fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Refuses a call or a wait that a child inherited: the sockets are the parent's.
    pub fn check(self) -> PyResult<()> {
        if self.is_current() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("this call or wait belongs to the process that forked; begin one in each process"))
    }
}

/// Refuses a sub-interpreter: what a process makes once is shared by its interpreters, and would outlive this one.
pub fn check_interpreter(py: Python<'_>) -> PyResult<()> {
    if is_main_interpreter(py) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "saymon_bulk works in the main interpreter alone, and this is a sub-interpreter (in mod_wsgi, \
         WSGIApplicationGroup %{GLOBAL} selects the main one)",
    ))
}

#[allow(unsafe_code)]
#[cfg(not(windows))]
fn is_main_interpreter(_: Python<'_>) -> bool {
    // SAFETY: both are called with an attached thread, as every function that Python calls has.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    id == 0
}

/// The stable ABI of Python 3.9 on Windows lacks `PyInterpreterState_Get`, so CPython's own module is asked.
#[cfg(windows)]
fn is_main_interpreter(py: Python<'_>) -> bool {
    let module = py.import("_interpreters").or_else(|_| py.import("_xxsubinterpreters"));
    let is_main = module.and_then(|module| module.call_method0("get_current")?.eq(module.call_method0("get_main")?));
    is_main.unwrap_or(true)
}

/// A value that each process makes for itself. A child leaks what it inherits: sockets, timers and locks in it are the
/// parent's.
pub struct PerProcess<T: 'static>(AtomicPtr<(Process, T)>);

impl<T> PerProcess<T> {
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value if it has one.
    pub fn get(&self) -> Option<&'static T> {
        Self::read(self.0.load(Ordering::Acquire))
    }

    /// The value behind a pointer that was stored, if it is this process's.
    #[allow(unsafe_code)]
    fn read(stored: *mut (Process, T)) -> Option<&'static T> {
        // SAFETY: the pointer is null or comes from Box::into_raw, and what it points to is never freed.
        let (process, value) = unsafe { stored.as_ref() }?;
        process.is_current().then_some(value)
    }

    /// This process's value, made at first use and again after a fork.
    #[allow(unsafe_code)]
    pub fn get_or_make(&self, make: fn(Process) -> T) -> &'static T {
        loop {
            // Loaded once: another thread may store this process's value meanwhile, which must not be replaced.
            let found = self.0.load(Ordering::Acquire);
            if let Some(value) = Self::read(found) {
                return value;
            }
            let process = Process::current();
            let made = Box::into_raw(Box::new((process, make(process))));
            if self.0.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `made` was not stored, so this function alone owns it.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }
}

#[cfg(unix)]
mod mark {
    use super::{AtomicPtr, AtomicU64, Ordering, ptr};

    static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

    #[allow(unsafe_code)]
    pub fn get() -> &'static AtomicU64 {
        // SAFETY: the pointer is null or comes from `make`, and what it points to is never freed.
        match unsafe { MARK.load(Ordering::Acquire).as_ref() } {
            Some(mark) => mark,
            None => make(),
        }
    }

    /// Makes the mark without a lock, which a fork could find held. Of two threads that both make one, the first wins.
    #[allow(unsafe_code)]
    fn make() -> &'static AtomicU64 {
        let made = wiped_page().unwrap_or_else(|| Box::into_raw(Box::new(AtomicU64::new(0))));
        let first = MARK.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            // SAFETY: `wipe` does nothing but store into an atomic, which is allowed between fork and exec.
            unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
        }
        let mark = first.err().unwrap_or(made);
        // SAFETY: both pointers come from this function, and what they point to is never freed.
        unsafe { &*mark }
    }

    /// Run by libc in a child. Serves kernels without MADV_WIPEONFORK, and systems other than Linux.
    extern "C" fn wipe() {
        get().store(0, Ordering::Release);
    }

    /// A page that the kernel fills with zeros in a child, also in one that was made past libc.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn wiped_page() -> Option<*mut AtomicU64> {
        const PAGE: usize = 4096; // the kernel rounds it up
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, which no one else uses; its zeros are a valid AtomicU64, and a page is aligned for one.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping is the one above. A kernel that does not know the advice returns an error.
        unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) };
        Some(page.cast())
    }

    #[cfg(not(target_os = "linux"))]
    fn wiped_page() -> Option<*mut AtomicU64> {
        None
    }
}

/// No process is forked here.
#[cfg(not(unix))]
mod mark {
    use super::AtomicU64;

    static MARK: AtomicU64 = AtomicU64::new(0);

    pub fn get() -> &'static AtomicU64 {
        &MARK
    }
}
