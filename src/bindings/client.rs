//! `Client`: the server and the credentials given once.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{self, PlanArguments, Target};
use super::engine::{Awaitable, Engine};
use super::waiting::{AsyncWaits, BulkIterator};
use super::{batch, errors, log, search, start, status};
use crate::core::api::start as api;

/// The native half of `saymon_bulk.Client`, which adds signatures, defaults, coroutines and most docstrings.
#[pyclass(subclass, frozen, module = "saymon_bulk._core")]
pub struct Client {
    target: OnceLock<Target>,
}

impl Client {
    /// What `_open` has set.
    fn opened(&self) -> PyResult<&Target> {
        self.target.get().ok_or_else(|| {
            PyRuntimeError::new_err("a subclass of Client must call super().__init__(host, login, password) first")
        })
    }

    fn target(&self, py: Python<'_>) -> PyResult<&Target> {
        let target = self.opened()?;
        errors::check_open(py, &target.server)?;
        Ok(target)
    }
}

#[pymethods]
impl Client {
    /// Takes any arguments, since `__init__` of a subclass may have others.
    #[new]
    #[pyo3(signature = (*_arguments, **_named))]
    fn new(_arguments: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Self {
        Self { target: OnceLock::new() }
    }

    fn _open<'py>(
        &self,
        host: &Bound<'py, PyAny>,
        login: &Bound<'py, PyAny>,
        password: &Bound<'py, PyAny>,
        request_timeout: &Bound<'py, PyAny>,
        verify: &Bound<'py, PyAny>,
        cert: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let target = Target::new(host, login, password, request_timeout, verify, cert)?;
        self.target.set(target).map_err(|_| PyRuntimeError::new_err("a Client is initialised once"))
    }

    fn _check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.target(py).map(|_| ())
    }

    /// Warns of an insecure connection. Who makes a client warns once the password stands in no frame.
    fn _warn(&self, py: Python<'_>) -> PyResult<()> {
        self.opened()?.warn(py)
    }

    /// The server, as the client understood the argument `host`.
    ///
    /// >>> saymon_bulk.Client("Monitor:8443", "login", "password").host
    /// 'https://monitor:8443'
    #[getter]
    fn host(&self) -> PyResult<&str> {
        Ok(self.opened()?.server.origin.as_str())
    }

    /// The login.
    ///
    /// >>> saymon_bulk.Client("monitor", "login", "password").login
    /// 'login'
    #[getter]
    fn login(&self) -> PyResult<&str> {
        Ok(self.opened()?.server.credentials.login())
    }

    /// Ask once whether a bulk operation has finished.
    ///
    /// >>> client.get_bulk_status("079b3102-c326-4dd7-bf48-a945232b32d6")
    /// {'finished': True}
    ///
    /// Args:
    ///     id: The id of the operation: the `bulkId` of its start.
    ///
    /// Returns:
    ///     The JSON object of the server, as from the function
    ///     `saymon_bulk.get_bulk_status`.
    ///
    /// Raises:
    ///     Exception: The errors of `saymon_bulk.get_bulk_status`.
    ///     ClosedError: The client is closed.
    #[pyo3(text_signature = "(self, id)")]
    fn get_bulk_status<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let target = self.target(id.py())?;
        status::block(id.py(), target, arguments::operation(id)?)
    }

    fn _get_bulk_status_awaitable(&self, id: &Bound<'_, PyAny>) -> PyResult<Awaitable> {
        let target = self.target(id.py())?;
        status::awaitable(id.py(), target, arguments::operation(id)?)
    }

    fn _get_bulk_statuses<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        concurrency: &Bound<'py, PyAny>,
        return_exceptions: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let target = self.target(ids.py())?;
        let operations = arguments::operations(ids)?;
        let concurrency = arguments::concurrency(concurrency)?;
        let return_exceptions = arguments::flag("return_exceptions", return_exceptions)?;
        batch::block(ids.py(), target, operations, concurrency, return_exceptions)
    }

    fn _get_bulk_statuses_awaitable(
        &self,
        ids: &Bound<'_, PyAny>,
        concurrency: &Bound<'_, PyAny>,
        return_exceptions: &Bound<'_, PyAny>,
    ) -> PyResult<Awaitable> {
        let target = self.target(ids.py())?;
        let operations = arguments::operations(ids)?;
        let concurrency = arguments::concurrency(concurrency)?;
        let return_exceptions = arguments::flag("return_exceptions", return_exceptions)?;
        batch::awaitable(ids.py(), target, operations, concurrency, return_exceptions)
    }

    /// `on_step` is called with each step, and with None each `tick` seconds in which nothing happens.
    fn _waits(
        &self,
        ids: &Bound<'_, PyAny>,
        plan: PlanArguments<'_>,
        return_exceptions: &Bound<'_, PyAny>,
        on_step: Option<Py<PyAny>>,
        tick: Option<f64>,
    ) -> PyResult<BulkIterator> {
        let target = self.target(ids.py())?;
        let plan = plan.plan()?;
        let return_exceptions = arguments::flag("return_exceptions", return_exceptions)?;
        let tick = tick.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(BulkIterator::new(target, arguments::operations(ids)?, plan, return_exceptions, on_step, tick))
    }

    fn _async_waits(
        &self,
        ids: &Bound<'_, PyAny>,
        plan: PlanArguments<'_>,
        return_exceptions: &Bound<'_, PyAny>,
    ) -> PyResult<AsyncWaits> {
        let target = self.target(ids.py())?;
        let plan = plan.plan()?;
        let return_exceptions = arguments::flag("return_exceptions", return_exceptions)?;
        Ok(AsyncWaits::new(target, arguments::operations(ids)?, plan, return_exceptions))
    }

    fn _search<'py>(
        &self,
        py: Python<'py>,
        body: Vec<u8>,
        fields: Option<HashSet<String>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        search::block(py, self.target(py)?, body, fields)
    }

    fn _search_awaitable(&self, py: Python<'_>, body: Vec<u8>, fields: Option<HashSet<String>>) -> PyResult<Awaitable> {
        search::awaitable(py, self.target(py)?, body, fields)
    }

    fn _start_bulk<'py>(&self, py: Python<'py>, body: Vec<u8>, request_id: &str) -> PyResult<Bound<'py, PyAny>> {
        let start = || start::block(py, self.target(py)?, api::objects(body, request_id)?);
        errors::of_start(py, Some(request_id), start())
    }

    fn _start_bulk_awaitable(&self, py: Python<'_>, body: Vec<u8>, request_id: &str) -> PyResult<Awaitable> {
        let begin = || start::awaitable(py, self.target(py)?, api::objects(body, request_id)?);
        errors::of_start(py, Some(request_id), begin())
    }

    fn _start_clone<'py>(&self, object_id: &Bound<'py, PyAny>, request_id: &str) -> PyResult<Bound<'py, PyAny>> {
        let target = self.target(object_id.py())?;
        start::block(object_id.py(), target, api::clone(arguments::segment("object_id", object_id)?, request_id)?)
    }

    fn _start_clone_awaitable(&self, object_id: &Bound<'_, PyAny>, request_id: &str) -> PyResult<Awaitable> {
        let target = self.target(object_id.py())?;
        start::awaitable(object_id.py(), target, api::clone(arguments::segment("object_id", object_id)?, request_id)?)
    }

    /// The exception for an awaited start that an exception interrupted: the same one, or a StartUncertainError with it as its
    /// cause. Tells in the log, too.
    fn _start_interrupted<'py>(&self, error: &Bound<'py, PyAny>, request_id: &str) -> PyResult<Bound<'py, PyAny>> {
        let about = api::objects(Vec::new(), request_id)?.about;
        if log::is_noted(error, &about) {
            return Ok(error.clone());
        }
        let interrupt = PyErr::from_value(error.clone());
        let raised = start::interrupted(error.py(), &self.opened()?.server, &about, interrupt);
        Ok(raised.into_value(error.py()).into_bound(error.py()).into_any())
    }

    /// End the use of this client.
    ///
    /// >>> client = saymon_bulk.Client(
    /// ...     "monitor.example.com", "login", "password"
    /// ... )
    /// >>> client.close()
    /// >>> try:
    /// ...     client.get_bulk_status(bulk_id)
    /// ... except saymon_bulk.ClosedError:
    /// ...     print("closed")
    /// closed
    ///
    /// Any thread may call `close`, also more than once. Calls and waits
    /// of this client that are under way end with a ClosedError within a
    /// tenth of a second, and starts with a StartUncertainError.
    /// Operations on the server go on. The connections
    /// stay open, because other clients of the process share them.
    ///
    /// A `with` block closes its client at the end.
    fn close(&self) {
        if let Some(target) = self.target.get() {
            Engine::close(&target.server);
        }
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.target(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) -> bool {
        self.close();
        false
    }

    fn __repr__(&self) -> String {
        let Some(Target { server, .. }) = self.target.get() else { return "<saymon_bulk.Client>".to_owned() };
        let closed = if server.is_closed() { ", closed" } else { "" };
        format!("<saymon_bulk.Client {} as {:?}{closed}>", server.origin.as_str(), server.credentials.login())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Client holds a password and does not pickle; make one in each process"))
    }
}
