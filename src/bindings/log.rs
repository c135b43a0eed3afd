//! The logger `saymon_bulk`: DEBUG for every exchange, WARNING for every failure that a wait tolerates.

use std::time::Duration;

use pyo3::prelude::*;

use crate::core::answer::Status;
use crate::core::exchange::Server;
use crate::core::failure::Failure;
use crate::core::operation::Operation;

use super::once::{self, Name, Once};

const DEBUG: u8 = 10;
const WARNING: u8 = 30;

/// One exchange: origin, id, status, milliseconds.
pub fn exchange(
    py: Python<'_>,
    server: &Server,
    operation: &Operation,
    outcome: Result<&Status, &Failure>,
    took: Duration,
) -> PyResult<()> {
    let Some(logger) = logger(py, DEBUG)? else { return Ok(()) };
    let outcome = match outcome {
        Ok(status) => format!("200 finished={}", status.finished),
        Err(Failure::Http(failure)) => failure.status.to_string(),
        Err(failure) => failure.to_string(),
    };
    let milliseconds = took.as_secs_f64() * 1e3;
    let line = (DEBUG, "%s: bulk operation %s: %s in %.1f ms");
    let (level, text) = line;
    let id = operation.to_string();
    logger.call_method1("log", (level, text, server.origin.as_str(), id, outcome, milliseconds))?;
    Ok(())
}

/// A failure after which polling goes on.
pub fn tolerated(py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(logger) = logger(py, WARNING)? {
        logger.call_method1("log", (WARNING, "%s; polling goes on", error))?;
    }
    Ok(())
}

static LOGGING: Name = Name::new("logging");
static IS_ENABLED_FOR: Name = Name::new("isEnabledFor");

/// The logger, if anybody listens. A program that never imported logging has set up none, and pays for none.
fn logger(py: Python<'_>, level: u8) -> PyResult<Option<Bound<'_, PyAny>>> {
    static LOGGER: Once<PyAny> = Once::new();
    let logger = match LOGGER.get(py) {
        Some(logger) => logger,
        None => {
            let Some(logging) = once::imported(py, &LOGGING)? else { return Ok(None) };
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
