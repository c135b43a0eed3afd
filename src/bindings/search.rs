//! A search. Of a blocking one, objects become dicts while the answer comes, since the whole of it may not fit twice.

use std::collections::{HashMap, HashSet};

use jiter::{Jiter, JiterError, Peek};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString};

use crate::core::api::search::{self, Found, Sink};
use crate::core::failure::Failure;
use crate::core::transport::exchange::Completed;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::Awaitable;
use super::{convert, errors, log, twin};

/// The dicts of an answer.
#[derive(Default)]
struct Dicts {
    /// Made with the first dict.
    list: Option<Py<PyList>>,
    /// The names of fields, which all dicts share.
    names: HashMap<String, Py<PyString>>,
}

/// Names that are kept for sharing; a server that has more names makes a str for each.
const MAX_NAMES: usize = 4096;

/// Levels of an object. The stack is the limit.
const MAX_DEPTH: usize = 128;

impl Sink for Dicts {
    fn take(&mut self, objects: &[u8]) -> Result<(), String> {
        Python::try_attach(|py| self.append(py, objects).map_err(|error| error.to_string()))
            .unwrap_or_else(|| Err("the interpreter has ended".to_owned()))
            .map_err(|error| format!("an object that cannot be read: {error}"))
    }
}

/// The objects of an awaited search in JSON, piece by piece: the background thread never enters the interpreter.
#[derive(Default)]
struct Texts(Vec<Vec<u8>>);

impl Sink for Texts {
    fn take(&mut self, objects: &[u8]) -> Result<(), String> {
        self.0.push(objects.to_vec());
        Ok(())
    }
}

impl Texts {
    /// Makes the dicts. Each piece is dropped when it is read.
    fn dicts(self) -> Result<Dicts, Failure> {
        let mut dicts = Dicts::default();
        for piece in self.0 {
            dicts.take(&piece).map_err(|reason| Failure::BadAnswer { text: format!("HTTP 200 with {reason}") })?;
        }
        Ok(dicts)
    }
}

impl Dicts {
    fn append(&mut self, py: Python<'_>, objects: &[u8]) -> PyResult<()> {
        let list = self.list.get_or_insert_with(|| PyList::empty(py).unbind()).clone_ref(py).into_bound(py);
        let mut json = Jiter::new(objects);
        let mut next = json.next_array().map_err(unreadable)?;
        while let Some(peek) = next {
            list.append(self.value(py, &mut json, peek, MAX_DEPTH)?)?;
            next = json.array_step().map_err(unreadable)?;
        }
        Ok(())
    }

    fn value<'py>(
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

/// Of an infinity, which a float of too many digits becomes, JSON knows nothing (RFC 8259 section 6).
fn number<'py>(py: Python<'py>, digits: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let number = convert::number(py, &String::from_utf8_lossy(digits))?;
    match number.cast::<PyFloat>() {
        Ok(float) if !float.value().is_finite() => Err(PyValueError::new_err("a number that is too large")),
        _ => Ok(number),
    }
}

fn unreadable(error: JiterError) -> PyErr {
    PyValueError::new_err(error.error_type.to_string())
}

pub fn block<'py>(
    py: Python<'py>,
    target: &Target,
    body: Vec<u8>,
    fields: Option<HashSet<String>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = search::call(body, fields, Dicts::default);
    twin::block(py, target, |transport, server| twin::ask(transport, server, call), objects)
}

pub fn awaitable(
    py: Python<'_>,
    target: &Target,
    body: Vec<u8>,
    fields: Option<HashSet<String>>,
) -> PyResult<Awaitable> {
    let call = search::call(body, fields, Texts::default);
    twin::awaitable(py, target, |transport, server| twin::ask(transport, server, call), made_objects, |_, _| Ok(()))
}

/// The objects as a list of dicts, or an exception.
fn objects<'py>(py: Python<'py>, server: &Server, asked: Completed<Found<Dicts>>) -> PyResult<Bound<'py, PyAny>> {
    log::exchange(py, server, &asked)?;
    match asked.outcome {
        Ok(Found { objects: Dicts { list, .. }, .. }) => {
            Ok(list.map_or_else(|| PyList::empty(py), |list| list.into_bound(py)).into_any())
        }
        Err(failure) => Err(errors::exception(py, &failure, &server.origin, &asked.about)?),
    }
}

/// The same of an awaited search, whose dicts are made now.
fn made_objects<'py>(py: Python<'py>, server: &Server, asked: Completed<Found<Texts>>) -> PyResult<Bound<'py, PyAny>> {
    let make = |found: Found<Texts>| Ok(Found { count: found.count, objects: found.objects.dicts()? });
    let Completed { about, outcome, took } = asked;
    objects(py, server, Completed { about, outcome: outcome.and_then(make), took })
}
