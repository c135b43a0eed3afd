//! What came of a call → a log line, then a dict or an exception.

use pyo3::prelude::*;
use pyo3::types::PyDict;

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
        Ok(status) => Ok(convert::status(py, status)?),
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
            Ok(convert::object(py, &started.body)?)
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
    let (mut first_error, mut first_shared) = (None, None);
    for asked in results {
        let id = asked.about.id();
        match answered(py, server, &asked)? {
            Ok(status) => statuses.set_item(id, status)?,
            Err(error) if return_exceptions => statuses.set_item(id, error.into_value(py))?,
            // One that was not sent shares the refusal of another: of this batch, or of another call at the same time.
            Err(error) => {
                let first = if asked.took.is_some() { &mut first_error } else { &mut first_shared };
                first.get_or_insert(error);
            }
        }
    }
    first_error.or(first_shared).map_or(Ok(statuses.into_any()), Err)
}

/// What happened to one operation of a wait.
#[pyclass(frozen, get_all, module = "saymon_bulk._core")]
pub struct Step {
    id: Py<PyAny>,
    /// The status of a good answer.
    status: Option<Py<PyAny>>,
    /// The exception of a failure.
    error: Option<Py<PyAny>>,
    /// Seconds since the start of the wait.
    elapsed: f64,
    /// Failures in a row.
    failures: u32,
    /// Whether the wait for this operation is over.
    is_over: bool,
}

impl Step {
    /// The id and the outcome of a wait that is over.
    pub fn item(&self, py: Python<'_>) -> Option<(Py<PyAny>, Py<PyAny>)> {
        let error = self.error.as_ref().map(|error| error.clone_ref(py));
        let outcome = error.or_else(|| Some(self.status.as_ref()?.clone_ref(py)));
        outcome.filter(|_| self.is_over).map(|outcome| (self.id.clone_ref(py), outcome))
    }
}

/// An event of a wait as a step, or as the exception that ends the wait. None if there is nothing to tell. Of what is late a
/// step has the first operation alone.
pub fn step(py: Python<'_>, server: &Server, event: Event, return_exceptions: bool) -> PyResult<Option<Step>> {
    let (asked, elapsed, failures, next) = match event {
        Event::Polled { asked, elapsed, failures, next } => (asked, elapsed, failures, next),
        Event::TimedOut { pending, elapsed } => {
            let error = errors::timed_out(py, &pending, elapsed, &server.origin)?;
            if !return_exceptions {
                return Err(error);
            }
            let id = pending.first().map(|one| one.operation.as_str()).into_pyobject(py)?.unbind();
            let (error, elapsed) = (Some(error.into_value(py).into_any()), elapsed.as_secs_f64());
            return Ok(Some(Step { id, status: None, error, elapsed, failures: 0, is_over: true }));
        }
    };
    log::exchange(py, server, &asked)?;
    let (mut status, mut error) = (None, None);
    match &asked.outcome {
        Ok(answer) => status = Some(convert::status(py, answer)?.unbind()),
        Err(_) if next == Next::CutOff => return Ok(None),
        Err(failure) => {
            let exception = errors::exception(py, failure, &server.origin, &asked.about)?;
            if next == Next::Over && !return_exceptions {
                return Err(exception);
            }
            let exception = exception.into_value(py).into_any();
            if next == Next::PollAgain {
                log::warning(py, server, &asked, "%s; polling goes on", exception.bind(py))?;
            }
            error = Some(exception);
        }
    }
    let id = asked.about.id().into_pyobject(py)?.into_any().unbind();
    Ok(Some(Step { id, status, error, elapsed: elapsed.as_secs_f64(), failures, is_over: next == Next::Over }))
}
