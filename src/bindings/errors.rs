//! A failure → the exception class that stands for it; the classes themselves are Python's.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError, PyStopAsyncIteration, PyStopIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::core::api::listener::Pending;
use crate::core::failure::{Failure, HttpFailure, InvalidInput, SetupFailure};
use crate::core::origin::Origin;
use crate::core::segment::PathSegment;
use crate::core::transport::call::About;
use crate::core::transport::server::Server;

use super::cached::{self, Cached, Interned};
use super::convert;

/// A class of `saymon_bulk.errors`. A program may import the package again, as two runs of pytest in one process do, and its
/// `except` has the classes of the later import. While the interpreter ends no module can be found, so the first is kept.
pub fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static NAME: Interned = Interned::new("saymon_bulk.errors");
    static FIRST: Cached<PyAny> = Cached::new();
    let found = cached::imported(py, &NAME)?.filter(|module| !module.is_none());
    let first = FIRST.or_try_make(py, || match &found {
        Some(module) => Ok(module.clone()),
        None => py.import("saymon_bulk.errors").map(Bound::into_any),
    })?;
    found.as_ref().unwrap_or(&first).getattr(name)
}

impl From<InvalidInput> for PyErr {
    fn from(error: InvalidInput) -> Self {
        Python::attach(|py| about(py, error.argument, PyValueError::new_err(error.to_string())))
    }
}

/// A refusal that also has the name of its argument as an attribute. The command line calls an argument by another name.
pub fn about(py: Python<'_>, argument: &str, refusal: PyErr) -> PyErr {
    match refusal.value(py).setattr("argument", argument) {
        Ok(()) => refusal,
        Err(error) => error,
    }
}

impl From<SetupFailure> for PyErr {
    fn from(error: SetupFailure) -> Self {
        PyRuntimeError::new_err(error.to_string())
    }
}

/// Does what drives or wakes a runtime. tokio panics only if its descriptors were closed or no thread can start; what may close or
/// wake something by such a descriptor is leaked then.
pub fn caught<T>(act: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| panicked())
}

/// Calls a function of the program. While the interpreter ends, CPython before 3.14 ends a daemon thread in there by unwinding its
/// stack, and glibc ends the process if a frame of Rust stops that. So the thread sleeps until the process has ended.
pub fn outlived<T>(call: impl FnOnce() -> T) -> T {
    struct Unwound;
    impl Drop for Unwound {
        fn drop(&mut self) {
            while !std::thread::panicking() {
                std::thread::park();
            }
        }
    }
    let unwound = Unwound;
    let result = call();
    std::mem::forget(unwound);
    result
}

/// The runtime of a call has panicked. An OSError, so that `except Exception` catches it.
pub fn panicked() -> PyErr {
    PyOSError::new_err(
        "the runtime of this call has failed: its file descriptors were closed, or no thread can be started; \
         the next call makes a new one",
    )
}

pub fn no_thread(error: io::Error) -> PyErr {
    PyOSError::new_err(format!("no thread can be started: {error}"))
}

/// Who raises, where Python calls handlers of its own.
pub const HANDLER: &str = "a log handler or a signal's handler";

/// Turns a StopIteration that somebody's function has raised into a RuntimeError: it would end the caller's loop silently (PEP 479).
pub fn unstopped(py: Python<'_>, error: PyErr, who: &str) -> PyErr {
    let kind = if error.is_instance_of::<PyStopIteration>(py) {
        "StopIteration"
    } else if error.is_instance_of::<PyStopAsyncIteration>(py) {
        "StopAsyncIteration"
    } else {
        return error;
    };
    let changed = PyRuntimeError::new_err(format!("{who} raised {kind}"));
    changed.set_cause(py, Some(error));
    changed
}

/// Refuses the calls of a closed client.
pub fn check_open(py: Python<'_>, server: &Server) -> PyResult<()> {
    if !server.is_closed() {
        return Ok(());
    }
    let attributes = PyDict::new(py);
    attributes.set_item("host", server.origin.as_str())?;
    let text = format!("{}: the client is closed", server.origin.as_str());
    Err(PyErr::from_value(class(py, "ClosedError")?.call((text,), Some(&attributes))?))
}

/// What to do when nobody knows whether an operation was started. Why stands behind it, with the X-Request-Id.
pub const LOOK_FIRST: &str = "Perhaps started. Look at the server before you start again.";

/// The exception for a call's failure, ready to raise. What a signal's handler raises meanwhile is no failure of the call and
/// comes as an error.
pub fn exception(py: Python<'_>, failure: &Failure, origin: &Origin, about: &About) -> PyResult<PyErr> {
    let lead = match (failure, about) {
        (Failure::Uncertain(_), _) | (_, About::Operation(_) | About::Search) => about.to_string(),
        (_, About::Start { .. } | About::Clone { .. }) => format!("{about}: not started"),
    };
    Ok(PyErr::from_value(build(py, failure, origin, about, &lead)?))
}

/// The exception for a start that ended otherwise than by its answer. `id` is that of the operation, if the answer was there.
///
/// An Exception would read as "not started", so it becomes the cause of a StartUncertainError. Ctrl-C, a cancellation and an exit
/// stay what they are, for those who wait for them.
pub fn uncertain(
    py: Python<'_>,
    server: &Server,
    about: &About,
    interrupt: PyErr,
    text: &str,
    id: Option<&PathSegment>,
) -> PyErr {
    if !is_exception(py, &interrupt) {
        return interrupt;
    }
    let made = || {
        let attributes = PyDict::new(py);
        attributes.set_item("host", server.origin.as_str())?;
        attributes.set_item("id", id.map(PathSegment::as_str))?;
        attributes.set_item("request_id", about.request_id())?;
        let error = PyErr::from_value(class(py, "StartUncertainError")?.call((text,), Some(&attributes))?);
        error.set_cause(py, Some(interrupt));
        Ok(error)
    };
    made().unwrap_or_else(|error| error)
}

/// What a start returns or raises is its outcome, and its error says so: a signal's handler may raise an error of another one right
/// after that.
pub fn of_start<T>(py: Python<'_>, request_id: Option<&str>, outcome: PyResult<T>) -> PyResult<T> {
    outcome.inspect_err(|error| {
        let _ = error.value(py).setattr("_request_id", request_id);
    })
}

pub fn is_exception(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py)
}

fn build<'py>(
    py: Python<'py>,
    failure: &Failure,
    origin: &Origin,
    about: &About,
    lead: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let attributes = PyDict::new(py);
    attributes.set_item("host", origin.as_str())?;
    attributes.set_item("id", about.id())?;
    let name = match failure {
        Failure::Http(failure) => {
            http_attributes(&attributes, failure)?;
            match failure.http_status {
                401 | 403 => "AuthError",
                404 => "NotFoundError",
                _ => "HTTPStatusError",
            }
        }
        Failure::Uncertain(failure) => {
            attributes.set_item("request_id", about.request_id())?;
            if let Failure::Http(failure) = failure.as_ref() {
                http_attributes(&attributes, failure)?;
            }
            "StartUncertainError"
        }
        Failure::Transport { cause, .. } => {
            attributes.set_item("kind", cause.name())?;
            "TransportError"
        }
        Failure::Timeout { .. } => "RequestTimeoutError",
        Failure::BadAnswer { .. } => "ResponseError",
    };
    let mut text = format!("{}: {lead}: {failure}", origin.as_str());
    let Failure::Uncertain(cause) = failure else { return class(py, name)?.call((text,), Some(&attributes)) };
    text.insert_str(0, &format!("{LOOK_FIRST} "));
    let error = class(py, name)?.call((text,), Some(&attributes))?;
    let cause = PyErr::from_value(build(py, cause, origin, about, lead)?);
    PyErr::from_value(error.clone()).set_cause(py, Some(cause));
    Ok(error)
}

/// The exception for a wait whose deadline passed. Its cause is the first of the failures.
pub fn timed_out(py: Python<'_>, pending: &[Pending], elapsed: Duration, origin: &Origin) -> PyResult<PyErr> {
    let (statuses, failures) = (PyDict::new(py), PyDict::new(py));
    let mut cause = None;
    for one in pending {
        let status = one.status.as_ref().map(|status| convert::status(py, status)).transpose()?;
        statuses.set_item(one.operation.as_str(), status)?;
        if let Some(failure) = &one.failure {
            let error = exception(py, failure, origin, &About::Operation(one.operation.clone()))?;
            failures.set_item(one.operation.as_str(), error.clone_ref(py).into_value(py))?;
            cause = cause.or(Some(error));
        }
    }
    let attributes = PyDict::new(py);
    attributes.set_item("host", origin.as_str())?;
    attributes.set_item("id", pending.first().map(|one| one.operation.as_str()))?;
    attributes.set_item("pending", statuses)?;
    attributes.set_item("failures", failures)?;
    attributes.set_item("elapsed", elapsed.as_secs_f64())?;
    let text = format!("{}: {}", origin.as_str(), late(pending, elapsed));
    let error = PyErr::from_value(class(py, "WaitTimeoutError")?.call((text,), Some(&attributes))?);
    error.set_cause(py, cause);
    Ok(error)
}

/// What is known of the operations at the deadline. One that could not be asked is not called unfinished.
fn late(pending: &[Pending], elapsed: Duration) -> String {
    let seconds = format!("{:.1} s", elapsed.as_secs_f64());
    let mut failures = pending.iter().filter_map(|one| one.failure.as_ref());
    let (first, failed) = (failures.next(), failures.count() + 1);
    let which = match pending {
        [one] => format!("bulk operation {}", one.operation),
        many => {
            let id = many.first().map_or("", |one| one.operation.as_str());
            format!("{} bulk operations, {id} and {} more", many.len(), many.len().saturating_sub(1))
        }
    };
    match (first, pending) {
        (Some(failure), [_]) => {
            format!("{which}: not known to be finished after {seconds}; the last poll failed: {failure}")
        }
        (Some(failure), _) => format!(
            "{which}: not known to be finished after {seconds}; the last poll failed for {failed} of them: {failure}"
        ),
        (None, [one]) if one.status.is_none() => format!("{which}: not asked for in {seconds}"),
        (None, _) => format!("{which}: not finished after {seconds}"),
    }
}

fn http_attributes(attributes: &Bound<'_, PyDict>, failure: &HttpFailure) -> PyResult<()> {
    attributes.set_item("status_code", failure.http_status)?;
    attributes.set_item("code", &failure.code)?;
    attributes.set_item("message", &failure.message)?;
    attributes.set_item("body", &failure.body)?;
    attributes.set_item("retry_after", failure.retry_after.map(|delay| delay.as_secs_f64()))
}
