//! Python arguments → what the core takes. Every refusal names the argument and comes before any network use.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::Borrowed;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString};

use crate::core::credentials::Credentials;
use crate::core::exchange::Server;
use crate::core::failure::InvalidInput;
use crate::core::operation::Operation;
use crate::core::origin::Origin;
use crate::core::waiting::Plan;

use super::errors;
use super::runtime::Engine;
use super::terms::{Terms, Verify, lock};

/// A hundred years of seconds.
const LONGEST: f64 = 100.0 * 365.25 * 86400.0;

/// An optional argument as it came. `None` given by the caller is not an argument left out.
pub enum Arg<'py> {
    Absent,
    Given(Bound<'py, PyAny>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Arg<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Given(object.to_owned()))
    }
}

impl From<InvalidInput> for PyErr {
    fn from(error: InvalidInput) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// A server and the terms on which connections to it are shared.
#[derive(Clone)]
pub struct Target {
    pub server: Arc<Server>,
    pub terms: Arc<Terms>,
}

impl Target {
    pub fn new<'py>(
        host: &Bound<'py, PyAny>,
        login: &Bound<'py, PyAny>,
        password: &Bound<'py, PyAny>,
        request_timeout: &Arg<'py>,
        verify: &Arg<'py>,
    ) -> PyResult<Self> {
        let py = host.py();
        let origin = origin(&text("host", host)?)?;
        let credentials = Credentials::new(&text("login", login)?, &text("password", password)?)?;
        let request_timeout = match request_timeout {
            Arg::Absent => Duration::from_secs(30),
            Arg::Given(value) => positive("request_timeout", value)?,
        };
        let verify = verify_from(verify)?;
        let terms = Engine::current().sides.terms(&verify)?;
        if matches!(verify, Verify::Off) {
            warn(py, &origin, "verify=False, whoever answers there gets the password")?;
        }
        if origin.is_exposed() {
            warn(py, &origin, "plain http, whoever is on the way can read the password")?;
        }
        Ok(Self { server: Arc::new(Server { origin, credentials, request_timeout }), terms })
    }
}

/// A script asks one server again and again: a host is read once, as long as no other comes.
fn origin(host: &str) -> Result<Origin, InvalidInput> {
    let mut last = lock(&Engine::current().last_host);
    if let Some((text, origin)) = &*last
        && text == host
    {
        return Ok(origin.clone());
    }
    let origin = Origin::parse(host)?;
    *last = Some((host.to_owned(), origin.clone()));
    Ok(origin)
}

pub fn operation(id: &Bound<'_, PyAny>) -> PyResult<Operation> {
    Ok(Operation::parse(&text("id", id)?)?)
}

/// Operations from an iterable of ids, each once, in the order of their first mention.
pub fn operations(ids: &Bound<'_, PyAny>) -> PyResult<Vec<Operation>> {
    if ids.is_instance_of::<PyString>() || ids.is_instance_of::<PyBytes>() {
        return Err(wrong_type("ids", "an iterable of str", ids));
    }
    let Ok(iterator) = ids.try_iter() else {
        return Err(wrong_type("ids", "an iterable of str", ids));
    };
    let mut seen = HashSet::new();
    let mut operations = Vec::new();
    for (place, id) in iterator.enumerate() {
        let operation = operation(&id?).map_err(|error| in_place(ids.py(), place, &error))?;
        if seen.insert(operation.clone()) {
            operations.push(operation);
        }
    }
    Ok(operations)
}

/// The same refusal, told with the place of the item that it is about.
fn in_place(py: Python<'_>, place: usize, error: &PyErr) -> PyErr {
    PyErr::from_type(error.get_type(py), format!("ids: item {place}: {}", error.value(py)))
}

/// The polling arguments of the waiting functions.
pub fn plan<'py>(
    timeout: &Arg<'py>,
    interval: &Arg<'py>,
    max_interval: &Arg<'py>,
    retries: &Arg<'py>,
    concurrency: &Arg<'py>,
) -> PyResult<Plan> {
    let seconds_or = |argument, value: &Arg<'py>, default| match value {
        Arg::Absent => Ok(Duration::from_secs(default)),
        Arg::Given(value) => positive(argument, value),
    };
    Ok(Plan {
        timeout: match timeout {
            Arg::Absent => Some(Duration::from_secs(3600)),
            Arg::Given(value) if value.is_none() => None,
            Arg::Given(value) => Some(seconds("timeout", value)?),
        },
        interval: seconds_or("interval", interval, 1)?,
        max_interval: seconds_or("max_interval", max_interval, 10)?,
        retries: u32::try_from(count("retries", retries, 10, 0)?).unwrap_or(u32::MAX),
        concurrency: self::concurrency(concurrency)?,
    })
}

pub fn concurrency(value: &Arg<'_>) -> PyResult<usize> {
    count("concurrency", value, 16, 1)
}

fn count(argument: &'static str, value: &Arg<'_>, default: usize, least: usize) -> PyResult<usize> {
    let Arg::Given(value) = value else { return Ok(default) };
    let Some(number) = value.cast::<PyInt>().ok().filter(|number| !number.is_instance_of::<PyBool>()) else {
        return Err(wrong_type(argument, "an int", value));
    };
    // More than a machine word is as good as the most that it holds.
    let number = if number.lt(least)? { None } else { Some(number.extract().unwrap_or(usize::MAX)) };
    number.ok_or_else(|| InvalidInput::new(argument, format!("must be at least {least}")).into())
}

fn warn(py: Python<'_>, origin: &Origin, danger: &str) -> PyResult<()> {
    let category = errors::class(py, "InsecureConnectionWarning")?;
    let text = CString::new(format!("{}: {danger}", origin.as_str()))?;
    PyErr::warn(py, &category, &text, frames_to_the_caller(py).unwrap_or(1))
}

/// The `stacklevel` of the innermost frame that is not this package's.
fn frames_to_the_caller(py: Python<'_>) -> PyResult<i32> {
    let mut frame = py.import("sys")?.call_method0("_getframe")?;
    let mut level = 1;
    while frame.getattr("f_globals")?.get_item("__name__")?.extract::<String>()?.starts_with("saymon_bulk.") {
        frame = frame.getattr("f_back")?;
        level += 1;
    }
    Ok(level)
}

/// A str as UTF-8. Its value goes into no message; Python's own UnicodeEncodeError would carry it.
fn text(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(wrong_type(argument, "a str", value));
    };
    match text.to_cow() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(InvalidInput::new(argument, "must not hold lone surrogates").into()),
    }
}

/// Seconds above zero.
pub fn positive(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let duration = seconds(argument, value)?;
    if duration.is_zero() {
        return Err(InvalidInput::new(argument, "must be above 0 seconds").into());
    }
    Ok(duration)
}

/// Finite seconds, zero included.
pub fn seconds(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let refuse = || PyErr::from(InvalidInput::new(argument, "must be a finite number of seconds, not negative"));
    // Whatever Python takes for a real number, numpy's and Fraction included; True is not meant as one second.
    let seconds: f64 = match value.extract() {
        Ok(seconds) if !value.is_instance_of::<PyBool>() => seconds,
        Err(error) if !error.is_instance_of::<PyTypeError>(value.py()) => return Err(refuse()),
        _ => return Err(wrong_type(argument, "a number of seconds", value)),
    };
    if !seconds.is_finite() {
        return Err(refuse());
    }
    // Beyond a clock's reach is as good as at its end, below its tick as good as one tick.
    let duration = Duration::try_from_secs_f64(seconds.min(LONGEST)).map_err(|_| refuse())?;
    Ok(if duration.is_zero() && seconds > 0.0 { Duration::from_nanos(1) } else { duration })
}

fn verify_from(value: &Arg<'_>) -> PyResult<Verify> {
    let Arg::Given(value) = value else { return Ok(Verify::System) };
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(if flag.is_true() { Verify::System } else { Verify::Off });
    }
    if value.is_instance_of::<PyString>() {
        text("verify", value)?;
    }
    match value.extract::<PathBuf>() {
        Ok(path) if path.as_os_str().is_empty() => Err(InvalidInput::new("verify", "must not be an empty path").into()),
        Ok(path) => Ok(Verify::File(path)),
        Err(_) => Err(wrong_type("verify", "True, False or the path of a CA file", value)),
    }
}

fn wrong_type(argument: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let name = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{argument} must be {wanted}, not {name}"))
}
