//! One status, blocking and awaited, and the plain function `get_bulk_status`.

use pyo3::prelude::*;

use crate::core::api::status;
use crate::core::segment::PathSegment;

use super::arguments::{self, Argument, Target};
use super::engine::Awaitable;
use super::{outcome, twin};

/// Ask a SAYMON server once whether a bulk operation has finished.
///
/// One `GET /node/api/bulk/:id/status` with Basic credentials in UTF-8 (the vendor's page "Get Bulk Operation Status";
/// RFC 7617). Connections are kept and shared by all calls of the process. No redirect is followed and nothing is retried,
/// but a request on a kept connection that has died, once and in silence.
///
/// Args:
///     host: The server: "monitor.example.com", "name:8443", "[2001:db8::1]:8443", with "https://" (the default) or
///         "http://" before it. No path.
///     id: The operation's id, as the server's `bulkId` gave it; at most 255 bytes of UTF-8.
///     login: The login; no colon (RFC 7617).
///     password: The password. It stands in no text and no Python frame of this package.
///     request_timeout: Seconds for the whole exchange, connect to last byte; 30 by default.
///     verify: True (default) trusts the system's CA certificates, or those that SSL_CERT_FILE names; a path trusts the
///         certificates of that PEM file or directory and no others; False checks nothing and warns.
///     cert: A client certificate, where the server asks for one: the path of a PEM file with certificate and key, or
///         (certificate, key) with two paths. None (default) gives none.
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
    signature = (
        host, id, login, password, *, request_timeout=Argument::Default(30.0), verify=Argument::Default(true), cert=None
    ),
    text_signature = "(host, id, login, password, *, request_timeout=30.0, verify=True, cert=None)"
)]
pub fn get_bulk_status<'py>(
    host: &Bound<'py, PyAny>,
    id: &Bound<'py, PyAny>,
    login: &Bound<'py, PyAny>,
    password: &Bound<'py, PyAny>,
    request_timeout: Argument<'py, f64>,
    verify: Argument<'py, bool>,
    cert: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = host.py();
    let operation = arguments::operation(id)?;
    let request_timeout = request_timeout.into_bound(py)?;
    let target = Target::new(host, login, password, &request_timeout, &verify.into_bound(py)?, cert)?;
    block(py, &target, operation)
}

pub fn block<'py>(py: Python<'py>, target: &Target, operation: PathSegment) -> PyResult<Bound<'py, PyAny>> {
    twin::block(py, target, |transport, server| twin::ask(transport, server, status::call(&operation)), outcome::status)
}

pub fn awaitable(py: Python<'_>, target: &Target, operation: PathSegment) -> PyResult<Awaitable> {
    twin::awaitable(
        py,
        target,
        |transport, server| twin::ask(transport, server, status::call(&operation)),
        outcome::status,
        |_, _| Ok(()),
    )
}
