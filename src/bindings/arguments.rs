//! Python arguments → what the core takes. Every refusal names the argument and comes before any network use.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString, PyTuple};

use crate::core::api::schedule::Plan;
use crate::core::credentials::Credentials;
use crate::core::failure::InvalidInput;
use crate::core::origin::Origin;
use crate::core::segment::PathSegment;
use crate::core::transport::pool::{Cert, PoolKey, Verify};
use crate::core::transport::server::Server;

use super::engine::Engine;
use super::{convert, errors, reading};

/// A hundred years of seconds.
const MAX_SECONDS: f64 = 100.0 * 365.25 * 86400.0;

/// An argument as it was given: None too is a value, and not the default.
pub fn given<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(Some(value.clone()))
}

/// A server, and the key under which connections to it are shared.
#[derive(Clone)]
pub struct Target {
    pub server: Arc<Server>,
    pub key: Arc<PoolKey>,
    is_verified: bool,
}

impl Target {
    pub fn new<'py>(
        host: &Bound<'py, PyAny>,
        login: &Bound<'py, PyAny>,
        password: &Bound<'py, PyAny>,
        request_timeout: &Bound<'py, PyAny>,
        verify: &Bound<'py, PyAny>,
        cert: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let engine = Engine::current();
        let (origin, silence) = engine.origin(&text("host", host)?)?;
        let credentials = Credentials::new(text("login", login)?, text("password", password)?)?;
        let request_timeout = positive("request_timeout", request_timeout)?;
        let verify = verify_from(verify)?;
        let is_verified = verify != Verify::Off;
        let key = reading::key(host.py(), engine, &origin, verify, cert.map(cert_from).transpose()?)?;
        let server = Arc::new(Server::new(origin, credentials, request_timeout, silence));
        Ok(Self { server, key, is_verified })
    }

    /// Warns of an insecure connection. A step of its own: who is told of a warning may look at the frames of Python, which
    /// have forgotten the password by then.
    pub fn warn(&self, py: Python<'_>) -> PyResult<()> {
        let origin = &self.server.origin;
        // Plain http has no certificate to check.
        if !self.is_verified && origin.is_tls() {
            warn(py, origin, "the certificate is not checked, whoever answers there gets the password")?;
        }
        if origin.is_exposed() {
            warn(py, origin, "plain http, whoever is on the way can read the password")?;
        }
        Ok(())
    }
}

/// The bare name in a host argument, as the core understands it.
#[pyfunction]
pub fn _host_name(host: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(Origin::parse(&text("host", host)?)?.name().to_owned())
}

/// A path as messages show it: one line in any encoding.
#[pyfunction]
pub fn _shown_path(path: PathBuf) -> String {
    crate::core::text::of_path(&path)
}

/// An id that can be one, refused as `id` otherwise.
#[pyfunction]
pub fn _checked_id<'py>(id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    operation(id).map(|_| id.clone())
}

pub fn operation(id: &Bound<'_, PyAny>) -> PyResult<PathSegment> {
    segment("id", id)
}

pub fn segment(argument: &'static str, id: &Bound<'_, PyAny>) -> PyResult<PathSegment> {
    Ok(PathSegment::parse(argument, &text(argument, id)?)?)
}

/// Operations from an iterable of ids, each once, in the order of their first mention.
pub fn operations(ids: &Bound<'_, PyAny>) -> PyResult<Vec<PathSegment>> {
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

/// The same refusal, with the place of the item that it is about.
fn in_place(py: Python<'_>, place: usize, error: &PyErr) -> PyErr {
    match convert::text_of(error.value(py)) {
        Ok(text) => {
            let text = format!("ids: item {place}: {text}");
            errors::about(py, "ids", PyErr::from_type(error.get_type(py), text))
        }
        Err(interrupt) => interrupt,
    }
}

/// The polling arguments of the waiting functions, as Python passes them: timeout, interval, max_interval, retries,
/// concurrency.
#[derive(FromPyObject)]
pub struct PlanArguments<'py>(
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
);

impl PlanArguments<'_> {
    pub fn plan(&self) -> PyResult<Plan> {
        let Self(timeout, interval, max_interval, retries, concurrency) = self;
        Ok(Plan {
            timeout: if timeout.is_none() { None } else { Some(seconds("timeout", timeout)?) },
            interval: positive("interval", interval)?,
            max_interval: positive("max_interval", max_interval)?,
            retries: u32::try_from(count("retries", retries, 0)?).unwrap_or(u32::MAX),
            concurrency: self::concurrency(concurrency)?,
        })
    }
}

pub fn concurrency(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    count("concurrency", value, 1)
}

fn count(argument: &'static str, value: &Bound<'_, PyAny>, least: usize) -> PyResult<usize> {
    let Some(number) = value.cast::<PyInt>().ok().filter(|number| !number.is_instance_of::<PyBool>()) else {
        return Err(wrong_type(argument, "an int", value));
    };
    // More than a machine word is as good as the most that it holds.
    let number = if number.lt(least)? { None } else { Some(number.extract().unwrap_or(usize::MAX)) };
    number.ok_or_else(|| InvalidInput::new(argument, format!("must be at least {least}")).into())
}

pub fn flag(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(wrong_type(argument, "a bool", value)),
    }
}

fn warn(py: Python<'_>, origin: &Origin, danger: &str) -> PyResult<()> {
    let warnings = py.import("saymon_bulk._warnings")?;
    let category = warnings.getattr("InsecureConnectionWarning")?;
    warnings.call_method1("warn", (format!("{}: {danger}", origin.as_str()), category)).map(|_| ())
}

/// A str as UTF-8. Its value goes into no message; Python's own UnicodeEncodeError would hold it.
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
fn positive(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let duration = seconds(argument, value)?;
    if duration.is_zero() {
        return Err(InvalidInput::new(argument, "must be above 0 seconds").into());
    }
    Ok(duration)
}

/// Finite seconds, zero included.
fn seconds(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let refuse = || PyErr::from(InvalidInput::new(argument, "must be a finite number of seconds, 0 or more"));
    // Whatever Python takes for a real number, as numpy's and Fraction; but nobody means True as one second.
    let seconds: f64 = match value.extract() {
        Ok(seconds) if !value.is_instance_of::<PyBool>() => seconds,
        Err(error) if !error.is_instance_of::<PyTypeError>(value.py()) => return Err(refuse()),
        _ => return Err(wrong_type(argument, "a number of seconds", value)),
    };
    if !seconds.is_finite() {
        return Err(refuse());
    }
    // A time beyond a clock's reach becomes the longest, a time below its tick one tick.
    let duration = Duration::try_from_secs_f64(seconds.min(MAX_SECONDS)).map_err(|_| refuse())?;
    Ok(if duration.is_zero() && seconds > 0.0 { Duration::from_nanos(1) } else { duration })
}

fn verify_from(value: &Bound<'_, PyAny>) -> PyResult<Verify> {
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(if flag.is_true() { Verify::System } else { Verify::Off });
    }
    path("verify", "True, False or the path of a CA file or directory", value).map(Verify::File)
}

/// One path, or two in a tuple.
fn cert_from(value: &Bound<'_, PyAny>) -> PyResult<Cert> {
    let wanted = "the path of a PEM file, or (certificate, key) with two paths";
    match value.cast::<PyTuple>() {
        Err(_) => Ok(Cert { certificate: path("cert", wanted, value)?, key: None }),
        Ok(pair) => {
            let (certificate, key) = pair
                .extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()
                .map_err(|_| wrong_type("cert", wanted, value))?;
            let certificate = path("cert", wanted, &certificate)?;
            Ok(Cert { certificate, key: Some(path("cert", wanted, &key)?) })
        }
    }
}

fn path(argument: &'static str, wanted: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let refuse = || wrong_type(argument, wanted, value);
    let os = value.py().import("os")?;
    let name = os.call_method1("fspath", (value,)).map_err(|_| refuse())?;
    let name = name.cast_into::<PyString>().map_err(|_| refuse())?;
    // A name in another encoding than the system's has surrogates in the place of bytes. Others are no name, and pyo3 panics.
    if name.to_cow().is_err() && os.call_method1("fsencode", (&name,)).is_err() {
        return Err(InvalidInput::new(argument, "must not hold lone surrogates").into());
    }
    let path: PathBuf = name.extract()?;
    if path.as_os_str().is_empty() {
        return Err(InvalidInput::new(argument, "must not be an empty path").into());
    }
    Ok(path)
}

fn wrong_type(argument: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let name = convert::name_of(&value.get_type());
    errors::about(value.py(), argument, PyTypeError::new_err(format!("{argument} must be {wanted}, not {name}")))
}
