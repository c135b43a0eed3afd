//! The logger `saymon_bulk`: DEBUG for every exchange, WARNING for every failure that a wait tolerates.

use std::fmt::Display;

use pyo3::prelude::*;

use crate::core::failure::Failure;
use crate::core::transport::exchange::{Asked, Server};

use super::cached::{self, Cached, Interned};

const DEBUG: u8 = 10;
const WARNING: u8 = 30;

/// One exchange: origin, what it was about, HTTP status, milliseconds.
pub fn exchange<T: Display>(py: Python<'_>, server: &Server, asked: &Asked<T>) -> PyResult<()> {
    let Some(logger) = logger(py, DEBUG)? else { return Ok(()) };
    let outcome = match &asked.outcome {
        Ok(answer) => format!("200 {answer}"),
        Err(Failure::Http(failure)) => failure.http_status.to_string(),
        Err(failure) => failure.to_string(),
    };
    let (about, milliseconds) = (asked.about.to_string(), asked.took.as_secs_f64() * 1e3);
    let line = (DEBUG, "%s: %s: %s in %.1f ms", server.origin.as_str(), about, outcome, milliseconds);
    logger.call_method1("log", line)?;
    Ok(())
}

/// A failure after which polling goes on.
pub fn tolerated(py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(logger) = logger(py, WARNING)? {
        logger.call_method1("log", (WARNING, "%s; polling goes on", error))?;
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
