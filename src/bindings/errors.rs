//! A failure → the exception class that stands for it; the classes themselves are Python's.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyString};

use crate::core::failure::{Failure, HttpFailure};
use crate::core::operation::Operation;
use crate::core::origin::Origin;
use crate::core::waiting::Pending;

use super::convert;

pub fn class<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    MODULE.get_or_try_init(py, || py.import("saymon_bulk.errors").map(Bound::unbind))?.bind(py).getattr(name)
}

/// The exception for one operation's failure, ready to raise.
pub fn exception(py: Python<'_>, failure: &Failure, origin: &Origin, operation: &Operation) -> PyErr {
    match build(py, failure, origin, operation) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

fn build<'py>(
    py: Python<'py>,
    failure: &Failure,
    origin: &Origin,
    operation: &Operation,
) -> PyResult<Bound<'py, PyAny>> {
    let attributes = PyDict::new(py);
    attributes.set_item(intern!(py, "host"), origin.as_str())?;
    attributes.set_item(intern!(py, "id"), operation.id())?;
    let name = match failure {
        Failure::Http(failure) => {
            http_attributes(&attributes, failure)?;
            match failure.status {
                401 | 403 => intern!(py, "AuthError"),
                404 => intern!(py, "NotFoundError"),
                _ => intern!(py, "HTTPStatusError"),
            }
        }
        Failure::Transport { .. } => intern!(py, "TransportError"),
        Failure::Timeout { .. } => intern!(py, "RequestTimeoutError"),
        Failure::Answer { .. } => intern!(py, "ResponseError"),
    };
    let text = format!("{}: bulk operation {}: {failure}", origin.as_str(), operation);
    class(py, name)?.call((text,), Some(&attributes))
}

/// The exception for a wait whose deadline passed; its cause is the failure tolerated last.
pub fn timed_out(py: Python<'_>, pending: &[Pending], elapsed: Duration, origin: &Origin) -> PyResult<PyErr> {
    let statuses = PyDict::new(py);
    for one in pending {
        let status = one.status.as_ref().map(|status| convert::status(py, status)).transpose()?;
        statuses.set_item(one.operation.id(), status)?;
    }
    let attributes = PyDict::new(py);
    attributes.set_item(intern!(py, "host"), origin.as_str())?;
    attributes.set_item(intern!(py, "id"), pending.first().map(|one| one.operation.id()))?;
    attributes.set_item(intern!(py, "pending"), statuses)?;
    attributes.set_item(intern!(py, "elapsed"), elapsed.as_secs_f64())?;
    let which = match pending {
        [one] => format!("bulk operation {}", one.operation),
        [one, rest @ ..] => format!("{} bulk operations, {} and {} more", pending.len(), one.operation, rest.len()),
        [] => "bulk operation".to_owned(),
    };
    let text = format!("{}: {which}: not finished after {:.1} s", origin.as_str(), elapsed.as_secs_f64());
    let error = PyErr::from_value(class(py, intern!(py, "WaitTimeoutError"))?.call((text,), Some(&attributes))?);
    let last = pending.iter().find_map(|one| Some((one.failure.as_ref()?, &one.operation)));
    error.set_cause(py, last.map(|(failure, operation)| exception(py, failure, origin, operation)));
    Ok(error)
}

fn http_attributes(attributes: &Bound<'_, PyDict>, failure: &HttpFailure) -> PyResult<()> {
    let py = attributes.py();
    attributes.set_item(intern!(py, "status_code"), failure.status)?;
    attributes.set_item(intern!(py, "code"), &failure.code)?;
    attributes.set_item(intern!(py, "message"), &failure.message)?;
    attributes.set_item(intern!(py, "body"), &failure.body)?;
    attributes.set_item(intern!(py, "retry_after"), failure.retry_after.map(|delay| delay.as_secs_f64()))
}
