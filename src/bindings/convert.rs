//! The server's JSON object → a Python dict, in the server's order.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyType};
use serde_json::{Map, Value};

use crate::core::api::status::Status;

use super::cached::Interned;

pub fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyDict>> {
    static FINISHED: Interned = Interned::new("finished");
    match status.object() {
        Some(object) => dict(py, &object),
        None => {
            let dict = PyDict::new(py);
            dict.set_item(&FINISHED, status.finished)?;
            Ok(dict)
        }
    }
}

pub fn dict<'py>(py: Python<'py>, fields: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, field) in fields {
        dict.set_item(name, value(py, field)?)?;
    }
    Ok(dict)
}

fn value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => flag.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => self::number(py, number.as_str())?,
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(self::value(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(fields) => dict(py, fields)?.into_any(),
    })
}

/// The number types of Python's `json`: an int of any length, else a float. serde_json keeps a number's text by its feature
/// `arbitrary_precision`.
pub fn number<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(small) = text.parse::<i64>() {
        return Ok(small.into_pyobject(py)?.into_any());
    }
    if text.contains(['.', 'e', 'E']) {
        return Ok(PyFloat::new(py, text.parse().unwrap_or(f64::NAN)).into_any());
    }
    match text.strip_prefix('-') {
        Some(digits) => integer(py, digits)?.neg(),
        None => integer(py, text),
    }
}

/// What `str` says of an object. Python runs handlers of signals there, and Rust's `to_string` would lose what these raise.
pub fn text_of(object: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(object.str()?.to_string_lossy().into_owned())
}

/// The name of a type.
pub fn name_of(kind: &Bound<'_, PyType>) -> String {
    kind.name().map_or_else(|_| "another type".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Decimal digits that an i64 holds, whatever they are.
const DIGITS: usize = 18;

/// An int by arithmetic. Python's own reading of digits has a limit that the program chooses, and an answer must not fail by it.
fn integer<'py>(py: Python<'py>, digits: &str) -> PyResult<Bound<'py, PyAny>> {
    let scale = 10_i64.pow(DIGITS as u32).into_pyobject(py)?;
    let mut value = 0_i64.into_pyobject(py)?.into_any();
    // All parts but the first are whole.
    let (first, others) = digits.as_bytes().split_at(digits.len() % DIGITS);
    for part in std::iter::once(first).chain(others.chunks(DIGITS)) {
        let part = part.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit & 0x0f));
        value = value.mul(&scale)?.add(part)?;
    }
    Ok(value)
}
