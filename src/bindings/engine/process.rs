//! Which process and which interpreter this is, and what each process makes for itself. All unsafe code stands here.
//!
//! A pid does not tell a process from its child: a child in a new PID namespace has its parent's pid, and a pid is used again.
//! So libc counts forks in each child. A child made by the raw system call, past libc, is taken for its parent.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::{io, ptr};

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;

/// A process, told apart from those that it forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u64);

/// How many forks lie between the process that imported this module and the current one.
static FORKS: AtomicU64 = AtomicU64::new(0);

impl Process {
    pub fn current() -> Self {
        Self(FORKS.load(Ordering::Relaxed))
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

/// Counts the forks from now on. Called when the module is imported.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn count_forks() -> PyResult<()> {
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: `count` does nothing but add to an atomic, which is allowed between fork and exec.
    match unsafe { libc::pthread_atfork(None, None, Some(count)) } {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(error).into()),
    }
}

/// No process is forked here.
#[cfg(not(unix))]
pub fn count_forks() -> PyResult<()> {
    Ok(())
}

/// Starts a thread that takes no signal of the process. A program may wait for its signals with sigwait, or look for them between
/// two steps; a thread that takes one meanwhile ends the program.
pub fn start_thread<T>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
{
    without_signals(|| Builder::new().name(name.to_owned()).spawn(work))
}

/// Blocks signals while it runs, also for the threads that are started meanwhile: a thread inherits what is blocked.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn without_signals<T>(act: impl FnOnce() -> T) -> T {
    use std::mem::MaybeUninit;

    /// Those that a fault of the thread itself sends; Python's faulthandler reports them.
    const FAULTS: [libc::c_int; 6] =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

    struct Restored(libc::sigset_t);
    impl Drop for Restored {
        fn drop(&mut self) {
            // SAFETY: the set is what pthread_sigmask wrote.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
        }
    }
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: each function gets a set to write, or one that was written before: sigfillset and sigdelset do not fail for sets and
    // signals that exist, and pthread_sigmask fails before it writes only for another first argument.
    let _restored = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in FAULTS {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Restored(before.assume_init())
    };
    act()
}

/// No signal reaches a thread here.
#[cfg(not(unix))]
pub fn without_signals<T>(act: impl FnOnce() -> T) -> T {
    act()
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
