//! The logger `saymon_bulk`: DEBUG for every exchange, WARNING for every failure that a wait tolerates.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::core::answer::Status;
use crate::core::exchange::Server;
use crate::core::failure::Failure;
use crate::core::operation::Operation;

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
    logger.call_method1(intern!(py, "log"), (level, text, server.origin.as_str(), id, outcome, milliseconds))?;
    Ok(())
}

/// A failure after which polling goes on.
pub fn tolerated(py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(logger) = logger(py, WARNING)? {
        logger.call_method1(intern!(py, "log"), (WARNING, "%s; polling goes on", error))?;
    }
    Ok(())
}

/// The logger, if anybody listens. A program that never imported logging has set up none, and pays for none.
fn logger(py: Python<'_>, level: u8) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if LOGGER.get(py).is_none() {
        let modules = MODULES.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
        })?;
        let Some(logging) = modules.bind(py).get_item(intern!(py, "logging"))? else { return Ok(None) };
        // Half imported, by another thread or by the import of logging itself.
        let Ok(get_logger) = logging.getattr(intern!(py, "getLogger")) else { return Ok(None) };
        let logger = get_logger.call1(("saymon_bulk",))?;
        // Without a handler of its own, warnings would go to stderr of a program that set up no logging.
        logger.call_method1("addHandler", (logging.getattr("NullHandler")?.call0()?,))?;
        let _ = LOGGER.set(py, logger.unbind());
    }
    let Some(logger) = LOGGER.get(py) else { return Ok(None) };
    let logger = logger.bind(py);
    let listens = logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy()?;
    Ok(listens.then(|| logger.clone()))
}
