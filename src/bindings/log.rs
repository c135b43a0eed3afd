//! The logger `saymon_bulk`: DEBUG for every exchange, INFO for every start, WARNING for every failure that a wait tolerates
//! and for every start whose outcome is uncertain. No body and no secret in any record.

use std::fmt::Display;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::core::api::start::Started;
use crate::core::failure::Failure;
use crate::core::transport::call::About;
use crate::core::transport::exchange::Asked;
use crate::core::transport::server::Server;

use super::cached::{self, Cached, Interned};
use super::errors;

const DEBUG: u8 = 10;
const INFO: u8 = 20;
const WARNING: u8 = 30;

/// One exchange: origin, what it was about, HTTP status, milliseconds.
pub fn exchange<T: Display>(py: Python<'_>, server: &Server, asked: &Asked<T>) -> PyResult<()> {
    let (Some(logger), Some(took)) = (logger(py, DEBUG)?, asked.took) else { return Ok(()) };
    let plain = asked.outcome.as_ref().map_err(Failure::plain);
    let outcome = match plain {
        Ok(answer) => format!("200 {answer}"),
        Err(Failure::Http(failure)) => failure.http_status.to_string(),
        Err(failure) => failure.to_string(),
    };
    let (about, milliseconds) = (asked.about.to_string(), took.as_secs_f64() * 1e3);
    let line = (DEBUG, "%s: %s: %s in %.1f ms", server.origin.as_str(), about, outcome, milliseconds);
    logger.call_method1("log", line)?;
    Ok(())
}

/// A start that the server has answered.
pub fn started(py: Python<'_>, server: &Server, about: &About, started: &Started) -> PyResult<()> {
    if let Some(logger) = logger(py, INFO)? {
        let (origin, about, id) = (server.origin.as_str(), about.to_string(), started.id.to_string());
        logger.call_method1("log", (INFO, "%s: %s: started bulk operation %s", origin, about, id))?;
    }
    Ok(())
}

/// A start that an exception interrupted: Ctrl-C, a signal's handler, the cancellation of a task. The exception says it too.
pub fn interrupted(py: Python<'_>, server: &Server, about: &About, interrupt: &Bound<'_, PyAny>) -> PyResult<()> {
    let text = format!("{}: {about}: interrupted; {}", server.origin.as_str(), errors::LOOK_FIRST);
    note(interrupt, &text)?;
    warning(py, "%s", text.into_pyobject(py)?.as_any())
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

pub fn warning(py: Python<'_>, text: &str, argument: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(logger) = logger(py, WARNING)? {
        logger.call_method1("log", (WARNING, text, argument))?;
    }
    Ok(())
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
