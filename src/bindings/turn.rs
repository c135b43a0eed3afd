//! One user of an iterator at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A second user gets an error at once: another thread or task, or `on_poll`. It is native, since a signal's handler may raise
/// between two steps of Python code, and the iterator would stay in use for ever.
#[pyclass(frozen, module = "saymon_bulk._core")]
#[derive(Default)]
pub struct Turn {
    is_taken: AtomicBool,
}

#[pymethods]
impl Turn {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __enter__(&self) -> PyResult<()> {
        if self.is_taken.swap(true, Ordering::Acquire) {
            return Err(PyRuntimeError::new_err(
                "this iterator is in use: by another thread or task, or since its own on_poll uses it",
            ));
        }
        Ok(())
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        self.is_taken.store(false, Ordering::Release);
    }
}
