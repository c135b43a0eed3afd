//! One user of an iterator at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A second user gets an error at once: another thread or task, or `on_poll`. It is native, and a user leaves by the object that
/// it took the turn with: a signal's handler may raise between any two steps of Python code.
#[pyclass(frozen, module = "saymon_bulk._core")]
#[derive(Default)]
pub struct Turn {
    /// The address of the user's object; 0 if nobody has the turn.
    user: AtomicUsize,
}

#[pymethods]
impl Turn {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn take(&self, user: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.user.compare_exchange(0, user.as_ptr().addr(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => Err(PyRuntimeError::new_err(
                "this iterator is in use: by another thread or task, or since its own on_poll uses it",
            )),
        }
    }

    /// Does nothing for anyone but who has the turn.
    fn leave(&self, user: &Bound<'_, PyAny>) {
        let _ = self.user.compare_exchange(user.as_ptr().addr(), 0, Ordering::AcqRel, Ordering::Acquire);
    }
}
