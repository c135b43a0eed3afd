//! The server's JSON object → a Python dict, in the server's order.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString};
use serde_json::{Map, Number, Value};

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
        Value::Number(number) => self::number(py, number)?,
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
fn number<'py>(py: Python<'py>, number: &Number) -> PyResult<Bound<'py, PyAny>> {
    if let Some(small) = number.as_i64() {
        return Ok(small.into_pyobject(py)?.into_any());
    }
    let digits = number.as_str();
    if digits.contains(['.', 'e', 'E']) {
        Ok(PyFloat::new(py, digits.parse().unwrap_or(f64::NAN)).into_any())
    } else {
        py.get_type::<PyInt>().call1((digits,))
    }
}
