//! The logger `saymon_bulk`: DEBUG for every exchange, INFO for every start, WARNING for every failure that a wait tolerates
//! and for every start whose outcome is uncertain. No body and no secret in any record.
//!
//! Each record has the attributes `host`, `id`, `status_code` and `elapsed` (seconds of the exchange), None where there is none;
//! that of a start has `request_id` too.

use std::fmt::Display;
use std::time::Duration;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyList, PyTuple};

use crate::core::api::start::Started;
use crate::core::failure::Failure;
use crate::core::transport::call::About;
use crate::core::transport::exchange::Completed;
use crate::core::transport::server::Server;

use super::cached::{self, Cached, Interned};
use super::convert;
use super::errors;

const DEBUG: u8 = 10;
const INFO: u8 = 20;
const WARNING: u8 = 30;

/// One exchange: origin, what it was about, HTTP status, milliseconds.
pub fn exchange<T: Display>(py: Python<'_>, server: &Server, asked: &Completed<T>) -> PyResult<()> {
    let (Some(logger), Some(took)) = (logger(py, DEBUG)?, asked.took) else { return Ok(()) };
    let plain = asked.outcome.as_ref().map_err(Failure::plain);
    let outcome = match plain {
        Ok(answer) => format!("200 {answer}"),
        Err(Failure::Http(failure)) => failure.http_status.to_string(),
        Err(failure) => failure.to_string(),
    };
    let (about, milliseconds) = (asked.about.to_string(), took.as_secs_f64() * 1e3);
    let line = (DEBUG, "%s: %s: %s in %.1f ms", server.origin.as_str(), about, outcome, milliseconds);
    write(&logger, line, &attributes_of(py, server, asked)?)
}

/// A start that the server has answered.
pub fn started(py: Python<'_>, server: &Server, asked: &Completed<Started>, started: &Started) -> PyResult<()> {
    let Some(logger) = logger(py, INFO)? else { return Ok(()) };
    let (origin, about, id) = (server.origin.as_str(), asked.about.to_string(), started.id.to_string());
    let attributes = attributes_of(py, server, asked)?;
    attributes.set_item("id", started.id.as_str())?;
    write(&logger, (INFO, "%s: %s: started bulk operation %s", origin, about, id), &attributes)
}

/// A start that an exception interrupted: Ctrl-C, a signal's handler, the cancellation of a task. The exception says it too,
/// unless it has a note of what came of the start.
pub fn interrupted(py: Python<'_>, server: &Server, about: &About, interrupt: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_noted(interrupt, about) {
        return Ok(());
    }
    let text = format!("{} {}: {about}: interrupted", errors::LOOK_FIRST, server.origin.as_str());
    let _ = note(interrupt, &text); // an exception may take none
    let Some(logger) = logger(py, WARNING)? else { return Ok(()) };
    write(&logger, (WARNING, "%s", text), &attributes(py, server, about, None, None)?)
}

/// Does what BaseException.add_note does, on Pythons before 3.11 too.
pub fn note(error: &Bound<'_, PyAny>, text: &str) -> PyResult<()> {
    let notes = match error.getattr("__notes__") {
        Ok(notes) => notes.cast_into::<PyList>()?,
        Err(_) => PyList::empty(error.py()),
    };
    notes.append(text)?;
    error.setattr("__notes__", notes)
}

/// Whether a note of the exception tells of this start.
pub fn is_noted(error: &Bound<'_, PyAny>, about: &About) -> bool {
    let notes = error.getattr("__notes__").and_then(|notes| notes.extract::<Vec<String>>()).unwrap_or_default();
    let id = about.request_id();
    id.is_some_and(|id| notes.iter().any(|note| note.contains(id)))
}

/// A failed call that the caller does not hear of otherwise, or should look into.
pub fn warning<T>(
    py: Python<'_>,
    server: &Server,
    asked: &Completed<T>,
    text: &str,
    error: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(logger) = logger(py, WARNING)? else { return Ok(()) };
    write(&logger, (WARNING, text, error), &attributes_of(py, server, asked)?)
}

fn attributes_of<'py, T>(py: Python<'py>, server: &Server, asked: &Completed<T>) -> PyResult<Bound<'py, PyDict>> {
    let status_code = match asked.outcome.as_ref().map_err(Failure::plain) {
        Ok(_) | Err(Failure::BadAnswer { .. }) => Some(200),
        Err(Failure::Http(failure)) => Some(failure.http_status),
        Err(_) => None,
    };
    attributes(py, server, &asked.about, status_code, asked.took)
}

fn attributes<'py>(
    py: Python<'py>,
    server: &Server,
    about: &About,
    status_code: Option<u16>,
    took: Option<Duration>,
) -> PyResult<Bound<'py, PyDict>> {
    let attributes = PyDict::new(py);
    attributes.set_item("host", server.origin.as_str())?;
    attributes.set_item("id", about.id())?;
    attributes.set_item("status_code", status_code)?;
    attributes.set_item("elapsed", took.map(|took| took.as_secs_f64()))?;
    if let Some(request_id) = about.request_id() {
        attributes.set_item("request_id", request_id)?;
    }
    Ok(attributes)
}

fn write<'py>(
    logger: &Bound<'py, PyAny>,
    line: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    attributes: &Bound<'py, PyDict>,
) -> PyResult<()> {
    let py = logger.py();
    let line = line.into_pyobject(py)?;
    let extra = [("extra", attributes)].into_py_dict(py)?;
    loop {
        let written = errors::outlived(|| logger.call_method("log", &line, Some(&extra)));
        let Err(error) = written else { return Ok(()) };
        match taken(&error, attributes)? {
            Some(name) => attributes.del_item(name)?,
            None => return Err(error),
        }
    }
}

/// The attribute that logging refuses to overwrite, since a LogRecord factory of the program's has set it.
fn taken<'py>(error: &PyErr, attributes: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = attributes.py();
    if !error.is_instance_of::<PyKeyError>(py) {
        return Ok(None);
    }
    let text = convert::text_of(error.value(py))?;
    for name in attributes.keys() {
        if text.contains(&format!("Attempt to overwrite '{}'", name.extract::<String>()?)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

static LOGGING: Interned = Interned::new("logging");
static IS_ENABLED_FOR: Interned = Interned::new("isEnabledFor");

/// The logger, if anybody listens. A program that never imported logging has set up none, and pays for none.
fn logger(py: Python<'_>, level: u8) -> PyResult<Option<Bound<'_, PyAny>>> {
    static LOGGER: Cached<PyAny> = Cached::new();
    let logger = match LOGGER.get(py) {
        Some(logger) => logger,
        None => {
            let Some(logging) = cached::imported(py, &LOGGING)? else { return Ok(None) };
            // Half imported, by another thread or by the import of logging itself.
            let Ok(get_logger) = logging.getattr("getLogger") else { return Ok(None) };
            let logger = get_logger.call1(("saymon_bulk",))?;
            // Without a handler of its own, warnings would go to stderr of a program that set up no logging.
            logger.call_method1("addHandler", (logging.getattr("NullHandler")?.call0()?,))?;
            LOGGER.or_try_make(py, || Ok::<_, PyErr>(logger))?
        }
    };
    let listens = logger.call_method1(&IS_ENABLED_FOR, (level,))?.is_truthy()?;
    Ok(listens.then(|| logger.to_owned()))
}
