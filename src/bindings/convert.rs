//! JSON → Python objects: those that Python's `json` would make, in the server's order.

use std::collections::HashMap;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyType};

use crate::core::api::status::Status;

use super::cached::Interned;

/// Names that are kept for sharing; a server that has more names makes a str for each.
const MAX_NAMES: usize = 4096;

/// Levels of an object, as many as the core reads. The stack is the limit.
pub const MAX_DEPTH: usize = 128;

pub fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyAny>> {
    static FINISHED: Interned = Interned::new("finished");
    match &status.body {
        Some(body) => object(py, body),
        None => {
            let dict = PyDict::new(py);
            dict.set_item(&FINISHED, status.finished)?;
            Ok(dict.into_any())
        }
    }
}

/// The object of an answer that the core has read.
pub fn object<'py>(py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut json = Jiter::new(body);
    let peek = json.peek().map_err(unreadable)?;
    Reader::default().value(py, &mut json, peek, MAX_DEPTH)
}

/// Makes Python objects of JSON.
#[derive(Default)]
pub struct Reader {
    /// The names of fields, which all dicts share.
    names: HashMap<String, Py<PyString>>,
}

impl Reader {
    pub fn value<'py>(
        &mut self,
        py: Python<'py>,
        json: &mut Jiter<'_>,
        peek: Peek,
        depth: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(PyValueError::new_err("nested too deeply"));
        };
        match peek {
            Peek::Null => json.known_null().map(|()| py.None().into_bound(py)).map_err(unreadable),
            Peek::True | Peek::False => {
                Ok(PyBool::new(py, json.known_bool(peek).map_err(unreadable)?).to_owned().into_any())
            }
            Peek::String => Ok(PyString::new(py, json.known_str().map_err(unreadable)?).into_any()),
            Peek::Array => {
                let list = PyList::empty(py);
                let mut next = json.known_array().map_err(unreadable)?;
                while let Some(peek) = next {
                    list.append(self.value(py, json, peek, depth)?)?;
                    next = json.array_step().map_err(unreadable)?;
                }
                Ok(list.into_any())
            }
            Peek::Object => {
                let dict = PyDict::new(py);
                let mut name = json.known_object().map_err(unreadable)?.map(|name| self.name(py, name));
                while let Some(field) = name {
                    let peek = json.peek().map_err(unreadable)?;
                    dict.set_item(field, self.value(py, json, peek, depth)?)?;
                    name = json.next_key().map_err(unreadable)?.map(|name| self.name(py, name));
                }
                Ok(dict.into_any())
            }
            _ => number(py, json.known_number_bytes(peek).map_err(unreadable)?),
        }
    }

    fn name<'py>(&mut self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        if let Some(known) = self.names.get(name) {
            return known.bind(py).clone();
        }
        let new = PyString::new(py, name);
        if self.names.len() < MAX_NAMES {
            self.names.insert(name.to_owned(), new.clone().unbind());
        }
        new
    }
}

/// Why a text is not read that is valid JSON.
pub fn unreadable(error: JiterError) -> PyErr {
    match error.error_type {
        JiterErrorType::JsonError(
            JsonErrorType::LoneLeadingSurrogateInHexEscape | JsonErrorType::UnexpectedEndOfHexEscape,
        ) => PyValueError::new_err("half of a surrogate pair (RFC 8259 section 8.2)"),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// The number types of Python's `json`: an int of any length, else a float. Of an infinity, which a float of too many digits
/// becomes, JSON knows nothing (RFC 8259 section 6).
fn number<'py>(py: Python<'py>, digits: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = String::from_utf8_lossy(digits);
    if let Ok(small) = text.parse::<i64>() {
        return Ok(small.into_pyobject(py)?.into_any());
    }
    if text.contains(['.', 'e', 'E']) {
        return match text.parse() {
            Ok(float) if f64::is_finite(float) => Ok(PyFloat::new(py, float).into_any()),
            _ => Err(PyValueError::new_err("a number that is too large")),
        };
    }
    match text.strip_prefix('-') {
        Some(digits) => integer(py, digits)?.neg(),
        None => integer(py, &text),
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
