//! The module's functions: each converts its arguments and runs one core future.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arguments::{self, Arg, Target};
use super::runtime::Engine;
use super::{convert, errors};

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
    let py = host.py();
    let engine = Engine::current()?;
    let operation = arguments::operation(id)?;
    let target = Target::new(engine, host, login, password, &request_timeout, &verify, 1)?;
    let server = &target.server;
    let mut lane = engine.lane()?;
    let connections = lane.connections(&target.terms)?;
    let outcome = lane.block_on(py, connections.status(server, &operation))?;
    match outcome {
        Ok(status) => convert::status(py, &status),
        Err(failure) => Err(errors::exception(py, &failure, &server.origin, &operation)),
    }
}
