//! Python objects that are made once, without a lock that a fork could find held.
//!
//! pyo3's `PyOnceLock`, and `intern!` on it, leave the interpreter inside their lock at first use. A child forked by another
//! thread at that moment waits for ever: the thread that holds the lock does not exist in the child.

use std::convert::Infallible;
use std::sync::OnceLock;

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// A Python object made at first use. Two threads may both make one; the first stays.
pub struct Cached<T>(OnceLock<Py<T>>);

impl<T> Cached<T> {
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub fn get<'a, 'py>(&'a self, py: Python<'py>) -> Option<Borrowed<'a, 'py, T>> {
        self.0.get().map(|made| made.bind_borrowed(py))
    }

    pub fn or_try_make<'a, 'py, E>(
        &'a self,
        py: Python<'py>,
        make: impl FnOnce() -> Result<Bound<'py, T>, E>,
    ) -> Result<Borrowed<'a, 'py, T>, E> {
        match self.0.get() {
            Some(made) => Ok(made.bind_borrowed(py)),
            None => {
                let made = make()?.unbind();
                Ok(self.0.get_or_init(|| made).bind_borrowed(py))
            }
        }
    }
}

/// A name that Python code is asked for often.
pub struct Interned {
    text: &'static str,
    interned: Cached<PyString>,
}

impl Interned {
    pub const fn new(text: &'static str) -> Self {
        Self { text, interned: Cached::new() }
    }
}

impl<'a, 'py> IntoPyObject<'py> for &'a Interned {
    type Target = PyString;
    type Output = Borrowed<'a, 'py, PyString>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        self.interned.or_try_make(py, || Ok(PyString::intern(py, self.text)))
    }
}

/// A module, if the program has imported it.
pub fn imported<'py>(py: Python<'py>, name: &'static Interned) -> PyResult<Option<Bound<'py, PyAny>>> {
    static MODULES: Cached<PyDict> = Cached::new();
    MODULES.or_try_make(py, || Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.cast_into()?))?.get_item(name)
}
