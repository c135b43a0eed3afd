//! Which process this is.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A process, told apart from those that it forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

impl Process {
    pub fn current() -> Self {
        Self { pid: std::process::id() }
    }

    pub fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Refuses a wait that a child inherited: the sockets are the parent's.
    pub fn check(self) -> PyResult<()> {
        if self.is_current() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("this wait belongs to the process that forked; begin one in each process"))
    }
}
