//! Which process and which interpreter this is, and what each process makes for itself. All unsafe code stands here.
//!
//! A pid does not tell a process from its child: a child in a new PID namespace has its parent's pid, and a pid is used again.
//! So libc counts forks in each child. A child made by the raw system call, past libc, is taken for its parent.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use once_cell::race::OnceBox;
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
    match unsafe { nix::libc::pthread_atfork(None, None, Some(count)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error).into()),
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
pub fn without_signals<T>(act: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    /// Those that a fault of the thread itself sends; Python's faulthandler reports them.
    const FAULTS: [Signal; 6] =
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS];

    struct Restored(Option<SigSet>);
    impl Drop for Restored {
        fn drop(&mut self) {
            let _ = self.0.map(|before| before.thread_set_mask());
        }
    }
    let mut others = SigSet::all();
    FAULTS.into_iter().for_each(|fault| others.remove(fault));
    let _restored = Restored(others.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok());
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
/// parent's. Nothing here waits, since a fork could find a lock held.
pub struct PerProcess<T: 'static> {
    value: OnceBox<T>,
    /// Of the children that this process forks.
    children: OnceBox<Self>,
}

impl<T> PerProcess<T> {
    pub const fn new() -> Self {
        Self { value: OnceBox::new(), children: OnceBox::new() }
    }

    /// This process's value if it has one.
    pub fn get(&self) -> Option<&T> {
        self.of(Process::current()).value.get()
    }

    /// This process's value, made at first use and again after a fork. Two threads may both make one; the first stays.
    pub fn get_or_make(&self, make: fn(Process) -> T) -> &T {
        let process = Process::current();
        self.of(process).value.get_or_init(|| Box::new(make(process)))
    }

    fn of(&self, process: Process) -> &Self {
        (0..process.0).fold(self, |parent, _| parent.children.get_or_init(|| Box::new(Self::new())))
    }
}
