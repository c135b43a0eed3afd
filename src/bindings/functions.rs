//! One status, blocking and awaited: the plain functions and what `Client` shares with them.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::core::answer::Status;
use crate::core::exchange::Server;
use crate::core::failure::Failure;
use crate::core::many;
use crate::core::operation::Operation;

use super::arguments::{self, Arg, Target};
use super::asyncio::Awaited;
use super::runtime::Engine;
use super::{asyncio, convert, errors, log};

/// Ask a SAYMON server once whether a bulk operation has finished.
///
/// One `GET /node/api/bulk/:id/status` with Basic credentials in UTF-8 (the vendor's page "Get Bulk Operation Status";
/// RFC 7617). Connections are kept and shared by all calls of the process. No redirect is followed and nothing is retried,
/// save once silently when the server has closed a kept connection.
///
/// Args:
///     host: The server: "monitor.example.com", "name:8443", "[2001:db8::1]:8443", with "https://" (the default) or
///         "http://" before it. No path.
///     id: The operation's id, as the server's `bulkId` gave it; at most 255 bytes of UTF-8.
///     login: The login; no colon (RFC 7617).
///     password: The password. It stands in no text and no Python frame of this package.
///     request_timeout: Seconds for the whole exchange, connect to last byte; 30 by default.
///     verify: True (default) trusts the system's CA certificates, or those that SSL_CERT_FILE names; a path trusts the
///         certificates of that PEM file and no others; False checks nothing and warns.
///
/// Returns:
///     The server's JSON object as a dict. `finished` is always there and always a bool; False means that the operation
///     still runs, True that it has ended. Finished does not mean succeeded: the server tells nothing about that.
///
/// Raises:
///     ValueError, TypeError: An argument cannot be used; its name is in the text. Nothing was sent.
///     AuthError: HTTP 401 or 403.
///     NotFoundError: HTTP 404.
///     HTTPStatusError: Any other status but 200, redirects among them.
///     RequestTimeoutError: No complete answer within `request_timeout`.
///     TransportError: No answer: DNS, refused, TLS, cut off; the text names the cause.
///     ResponseError: A 200 that is not an object with a boolean `finished`.
#[pyfunction]
#[pyo3(
    signature = (host, id, login, password, *, request_timeout=Arg::Absent, verify=Arg::Absent),
    text_signature = "(host, id, login, password, *, request_timeout=30.0, verify=True)"
)]
pub fn get_bulk_status<'py>(
    host: &Bound<'py, PyAny>,
    id: &Bound<'py, PyAny>,
    login: &Bound<'py, PyAny>,
    password: &Bound<'py, PyAny>,
    request_timeout: Arg<'py>,
    verify: Arg<'py>,
) -> PyResult<Bound<'py, PyDict>> {
    let operation = arguments::operation(id)?;
    let target = Target::new(host, login, password, &request_timeout, &verify)?;
    status(host.py(), &target, &operation)
}

/// The awaitable behind `get_bulk_status_async`.
#[pyfunction]
#[pyo3(
    signature = (host, id, login, password, *, request_timeout=Arg::Absent, verify=Arg::Absent),
    text_signature = "(host, id, login, password, *, request_timeout=30.0, verify=True)"
)]
pub fn _get_bulk_status_future<'py>(
    host: &Bound<'py, PyAny>,
    id: &Bound<'py, PyAny>,
    login: &Bound<'py, PyAny>,
    password: &Bound<'py, PyAny>,
    request_timeout: Arg<'py>,
    verify: Arg<'py>,
) -> PyResult<Awaited> {
    let operation = arguments::operation(id)?;
    let target = Target::new(host, login, password, &request_timeout, &verify)?;
    status_future(host.py(), target, operation)
}

/// An id that can be one, refused as `id` otherwise.
#[pyfunction]
pub fn _checked_id<'py>(id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    arguments::operation(id).map(|_| id.clone())
}

pub fn status<'py>(py: Python<'py>, target: &Target, operation: &Operation) -> PyResult<Bound<'py, PyDict>> {
    let engine = Engine::current();
    let mut lane = engine.lanes.borrow()?;
    let connections = lane.connections(&target.terms, &engine.sides)?;
    let (outcome, took) = lane.block_on(py, many::timed(&connections, &target.server, operation))?;
    drop(lane);
    value(py, &target.server, operation, outcome, took)
}

pub fn status_future(py: Python<'_>, target: Target, operation: Operation) -> PyResult<Awaited> {
    let connections = asyncio::connections(&target.terms)?;
    let Target { server, .. } = target;
    let exchange = async move {
        let (outcome, took) = many::timed(&connections, &server, &operation).await;
        (server, operation, outcome, took)
    };
    asyncio::future(py, exchange, |py, (server, operation, outcome, took)| {
        value(py, &server, &operation, outcome, took).map(|dict| dict.into_any().unbind())
    })
}

/// One outcome logged, then as a dict or an exception.
pub fn value<'py>(
    py: Python<'py>,
    server: &Server,
    operation: &Operation,
    outcome: Result<Status, Failure>,
    took: Duration,
) -> PyResult<Bound<'py, PyDict>> {
    log::exchange(py, server, operation, outcome.as_ref(), took)?;
    match outcome {
        Ok(status) => convert::status(py, &status),
        Err(failure) => Err(errors::exception(py, &failure, &server.origin, operation)),
    }
}
