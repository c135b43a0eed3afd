//! One status, blocking and awaited, and the plain function `get_bulk_status`.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat};

use crate::core::api::status;
use crate::core::segment::PathSegment;

use super::arguments::{self, Target};
use super::engine::Awaitable;
use super::{outcome, twin};

/// Ask a SAYMON server once whether a bulk operation has finished.
///
/// >>> bulk_id = "079b3102-c326-4dd7-bf48-a945232b32d6"
/// >>> saymon_bulk.get_bulk_status(
/// ...     "monitor.example.com", bulk_id, "login", "password"
/// ... )
/// {'finished': True}
///
/// The function sends one `GET /node/api/bulk/:id/status` with Basic
/// credentials. It follows no redirect and retries nothing, with one
/// exception: when a kept connection has died, it sends the request once
/// more. All calls of the process share the kept connections.
///
/// Args:
///     host: The server: "monitor.example.com", "name:8443" or
///         "[2001:db8::1]:8443". "https://" (the default) or "http://" may
///         stand before it. A path may not follow.
///     id: The id of the operation, which is the `bulkId` of the answer to
///         the start; at most 255 bytes of UTF-8.
///     login: The login. It cannot hold a colon (RFC 7617).
///     password: The password. It appears in no text and in no Python
///         frame of this package.
///     request_timeout: Seconds for the whole exchange, from connecting to
///         the last byte; 30 by default.
///     verify: True (default) trusts the CA certificates of the system, or
///         those that SSL_CERT_FILE and SSL_CERT_DIR name. A path trusts
///         the certificates of that PEM file or directory, and no others.
///         False checks nothing and warns.
///     cert: The client certificate, if the server asks for one (mutual
///         TLS): the path of a PEM file with the certificate and its key,
///         or two paths, (certificate, key). The key must not be
///         encrypted. None (default) sends no certificate.
///
/// Returns:
///     The JSON object of the server as a dict. `finished` is always in it:
///     False while the operation runs, True when it has ended. Finished
///     does not mean succeeded: the server says nothing about success.
///
/// Raises:
///     ValueError, TypeError: An argument cannot be used. The text names
///         the argument. Nothing was sent.
///     AuthError: HTTP 401 or 403.
///     NotFoundError: HTTP 404.
///     HTTPStatusError: Any other status than 200. A redirect is one.
///     RequestTimeoutError: No complete answer came within
///         `request_timeout`.
///     TransportError: No answer came. The text names the cause, such as
///         DNS, a refused connection or TLS.
///     ResponseError: The status is 200, but the body is no JSON object
///         with a boolean `finished`.
///
/// Sources: the vendor's page "Get Bulk Operation Status"; RFC 7617, Basic
/// credentials in UTF-8.
#[pyfunction]
#[pyo3(
    signature = (host, id, login, password, *, request_timeout=None, verify=None, cert=None),
    text_signature = "(host, id, login, password, *, request_timeout=30.0, verify=True, cert=None)"
)]
pub fn get_bulk_status<'py>(
    host: &Bound<'py, PyAny>,
    id: &Bound<'py, PyAny>,
    login: &Bound<'py, PyAny>,
    password: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = arguments::given)] request_timeout: Option<Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::given)] verify: Option<Bound<'py, PyAny>>,
    cert: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = host.py();
    let operation = arguments::operation(id)?;
    let request_timeout = request_timeout.unwrap_or_else(|| PyFloat::new(py, 30.0).into_any());
    let verify = verify.unwrap_or_else(|| PyBool::new(py, true).to_owned().into_any());
    let target = Target::new(host, login, password, &request_timeout, &verify, cert)?;
    target.server.open_gate();
    target.warn(py)?;
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
    )
}
