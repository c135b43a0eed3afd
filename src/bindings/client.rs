//! `Client`: the server and the credentials given once.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{self, Arg, Target};
use super::asyncio::Awaited;
use super::functions;
use super::many;
use super::waits::{AsyncWaits, Waits};

/// The native half of `saymon_bulk.Client`, which adds the coroutines.
#[pyclass(subclass, frozen, module = "saymon_bulk._core")]
pub struct Client {
    target: Target,
    is_closed: AtomicBool,
}

impl Client {
    fn target(&self) -> PyResult<&Target> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err("the client is closed"));
        }
        Ok(&self.target)
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(
        signature = (host, login, password, *, request_timeout=Arg::Absent, verify=Arg::Absent),
        text_signature = "(host, login, password, *, request_timeout=30.0, verify=True)"
    )]
    fn new<'py>(
        host: &Bound<'py, PyAny>,
        login: &Bound<'py, PyAny>,
        password: &Bound<'py, PyAny>,
        request_timeout: Arg<'py>,
        verify: Arg<'py>,
    ) -> PyResult<Self> {
        let target = Target::new(host, login, password, &request_timeout, &verify)?;
        Ok(Self { target, is_closed: AtomicBool::new(false) })
    }

    /// The server's origin as it was understood: "https://monitor.example.com:8443".
    #[getter]
    fn host(&self) -> &str {
        self.target.server.origin.as_str()
    }

    /// The login.
    #[getter]
    fn login(&self) -> &str {
        self.target.server.credentials.login()
    }

    /// Ask once whether a bulk operation has finished; see the function `get_bulk_status`.
    ///
    /// Raises:
    ///     RuntimeError: The client is closed.
    #[pyo3(text_signature = "(self, id)")]
    fn get_bulk_status<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let target = self.target()?;
        functions::status(id.py(), target, &arguments::operation(id)?)
    }

    fn _get_bulk_status_future<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Awaited> {
        let target = self.target()?;
        functions::status_future(id.py(), target.clone(), arguments::operation(id)?)
    }

    /// Ask once for each of many bulk operations.
    ///
    /// Args:
    ///     ids: An iterable of ids, not a str; one that is repeated is asked for once.
    ///     concurrency: Requests under way at the same time; 16 by default.
    ///     return_exceptions: False (default) raises the first error, whose `id` says which operation it is about; True
    ///         puts the error in the status's place.
    ///
    /// Returns:
    ///     A dict from id to status, in the order of `ids`.
    ///
    /// Raises:
    ///     ValueError, TypeError: An argument cannot be used. Nothing was sent.
    ///     SaymonError: As `get_bulk_status` raises it, unless `return_exceptions`.
    ///     RuntimeError: The client is closed.
    #[pyo3(
        signature = (ids, *, concurrency=Arg::Absent, return_exceptions=false),
        text_signature = "(self, ids, *, concurrency=16, return_exceptions=False)"
    )]
    fn get_bulk_statuses<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        concurrency: Arg<'py>,
        return_exceptions: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let target = self.target()?;
        let operations = arguments::operations(ids)?;
        let concurrency = arguments::concurrency(&concurrency)?;
        many::statuses(ids.py(), target, &operations, concurrency, return_exceptions)
    }

    #[pyo3(
        signature = (ids, *, concurrency=Arg::Absent, return_exceptions=false),
        text_signature = "(self, ids, *, concurrency=16, return_exceptions=False)"
    )]
    fn _get_bulk_statuses_future<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        concurrency: Arg<'py>,
        return_exceptions: bool,
    ) -> PyResult<Awaited> {
        let target = self.target()?;
        let operations = arguments::operations(ids)?;
        let concurrency = arguments::concurrency(&concurrency)?;
        many::statuses_future(ids.py(), target.clone(), operations, concurrency, return_exceptions)
    }

    #[pyo3(
        signature = (ids, *, timeout=Arg::Absent, interval=Arg::Absent, max_interval=Arg::Absent, retries=Arg::Absent,
                     concurrency=Arg::Absent, return_exceptions=false),
        text_signature = "(self, ids, *, timeout=3600.0, interval=1.0, max_interval=10.0, retries=10, concurrency=16, return_exceptions=False)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn _waits<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        timeout: Arg<'py>,
        interval: Arg<'py>,
        max_interval: Arg<'py>,
        retries: Arg<'py>,
        concurrency: Arg<'py>,
        return_exceptions: bool,
    ) -> PyResult<Waits> {
        let target = self.target()?;
        let plan = arguments::plan(&timeout, &interval, &max_interval, &retries, &concurrency)?;
        Waits::new(target, arguments::operations(ids)?, plan, return_exceptions)
    }

    #[pyo3(
        signature = (ids, *, timeout=Arg::Absent, interval=Arg::Absent, max_interval=Arg::Absent, retries=Arg::Absent,
                     concurrency=Arg::Absent, return_exceptions=false),
        text_signature = "(self, ids, *, timeout=3600.0, interval=1.0, max_interval=10.0, retries=10, concurrency=16, return_exceptions=False)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn _async_waits<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        timeout: Arg<'py>,
        interval: Arg<'py>,
        max_interval: Arg<'py>,
        retries: Arg<'py>,
        concurrency: Arg<'py>,
        return_exceptions: bool,
    ) -> PyResult<AsyncWaits> {
        let target = self.target()?;
        let plan = arguments::plan(&timeout, &interval, &max_interval, &retries, &concurrency)?;
        AsyncWaits::new(target, arguments::operations(ids)?, plan, return_exceptions)
    }

    /// End the use of this client; any later call raises RuntimeError. May be repeated.
    ///
    /// The connections are the process's, shared with other clients, and stay.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.target()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) -> bool {
        self.close();
        false
    }

    fn __repr__(&self) -> String {
        format!("<saymon_bulk.Client {} as {:?}>", self.host(), self.login())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Client holds a password and does not pickle; make one in each process"))
    }
}
