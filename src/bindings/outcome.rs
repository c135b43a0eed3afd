//! What came of a call → a log line, then a dict or an exception.

use std::slice;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::core::api::listener::{Event, Next};
use crate::core::api::start::Started;
use crate::core::api::status::Status;
use crate::core::failure::Failure;
use crate::core::transport::exchange::Completed;
use crate::core::transport::server::Server;

use super::{convert, errors, log};

/// One status: its dict, or an exception.
pub fn status<'py>(py: Python<'py>, server: &Server, asked: Completed<Status>) -> PyResult<Bound<'py, PyAny>> {
    answered(py, server, &asked)?
}

/// The same. What logging or a signal's handler raises is no outcome of the operation: it comes as the outer error.
fn answered<'py>(py: Python<'py>, server: &Server, asked: &Completed<Status>) -> PyResult<PyResult<Bound<'py, PyAny>>> {
    log::exchange(py, server, asked)?;
    Ok(match &asked.outcome {
        Ok(status) => Ok(convert::status(py, status)?.into_any()),
        Err(failure) => Err(errors::exception(py, failure, &server.origin, &asked.about)?),
    })
}

/// One start: the server's object as a dict, or an exception. What logging or a signal's handler raises comes as the outer error.
pub fn started<'py>(
    py: Python<'py>,
    server: &Server,
    asked: &Completed<Started>,
) -> PyResult<PyResult<Bound<'py, PyAny>>> {
    log::exchange(py, server, asked)?;
    Ok(match &asked.outcome {
        Ok(started) => {
            log::started(py, server, asked, started)?;
            Ok(convert::dict(py, &started.object)?.into_any())
        }
        Err(failure) => {
            let error = errors::exception(py, failure, &server.origin, &asked.about)?;
            if matches!(failure, Failure::Uncertain(_)) {
                log::warning(py, server, asked, "%s", error.value(py))?;
            }
            Err(error)
        }
    })
}

/// A batch: a dict from id to status, with exceptions among the statuses, or the first exception.
pub fn values<'py>(
    py: Python<'py>,
    server: &Server,
    results: impl IntoIterator<Item = Completed<Status>>,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let statuses = PyDict::new(py);
    let mut first_error = None;
    for asked in results {
        let id = asked.about.id();
        match answered(py, server, &asked)? {
            Ok(status) => statuses.set_item(id, status)?,
            Err(error) if return_exceptions => statuses.set_item(id, error.into_value(py))?,
            Err(error) if asked.took.is_some() => first_error = first_error.or(Some(error)),
            Err(_) => {}
        }
    }
    first_error.map_or(Ok(statuses.into_any()), Err)
}

/// What happened to one operation of a wait.
#[pyclass(frozen, get_all, module = "saymon_bulk._core")]
pub struct Step {
    id: Py<PyAny>,
    /// The status of a good answer.
    status: Option<Py<PyDict>>,
    /// The exception of a failure.
    error: Option<Py<PyAny>>,
    /// Seconds since the start of the wait.
    elapsed: f64,
    /// Failures in a row.
    failures: u32,
    /// Whether the wait for this operation is over.
    is_over: bool,
}

/// An event of a wait: a step for each operation that it is about, or an exception that ends the wait.
pub fn steps<'py>(
    py: Python<'py>,
    server: &Server,
    event: Event,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let steps = PyList::empty(py);
    match event {
        Event::Polled { asked, elapsed, failures, next } => {
            log::exchange(py, server, &asked)?;
            let step = |status, error| {
                let id = asked.about.id().into_pyobject(py)?.into_any().unbind();
                let (elapsed, is_over) = (elapsed.as_secs_f64(), next == Next::Over);
                PyResult::Ok(Step { id, status, error, elapsed, failures, is_over })
            };
            match &asked.outcome {
                Ok(status) => steps.append(step(Some(convert::status(py, status)?.unbind()), None)?)?,
                Err(_) if next == Next::CutOff => {}
                Err(failure) => {
                    let error = errors::exception(py, failure, &server.origin, &asked.about)?;
                    if next == Next::Over && !return_exceptions {
                        return Err(error);
                    }
                    let error = error.into_value(py);
                    if next == Next::PollAgain {
                        log::warning(py, server, &asked, "%s; polling goes on", error.bind(py))?;
                    }
                    steps.append(step(None, Some(error.into_any()))?)?;
                }
            }
        }
        Event::TimedOut { pending, elapsed } if return_exceptions => {
            for one in &pending {
                let error = errors::timed_out(py, slice::from_ref(one), elapsed, &server.origin)?;
                let id = one.operation.as_str().into_pyobject(py)?.into_any().unbind();
                let error = Some(error.into_value(py).into_any());
                let elapsed = elapsed.as_secs_f64();
                steps.append(Step { id, status: None, error, elapsed, failures: 0, is_over: true })?;
            }
        }
        Event::TimedOut { pending, elapsed } => return Err(errors::timed_out(py, &pending, elapsed, &server.origin)?),
    }
    Ok(steps.into_any())
}
