//! A search. Of a blocking one, objects become dicts while the answer comes, since the whole of it may not fit twice.

use std::collections::HashSet;

use jiter::Jiter;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::core::api::search::{self, Found, Sink};
use crate::core::failure::Failure;
use crate::core::transport::exchange::Completed;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::convert::{MAX_DEPTH, Reader, unreadable};
use super::engine::Awaitable;
use super::{errors, log, twin};

/// The dicts of an answer.
#[derive(Default)]
struct Dicts {
    /// Made with the first dict.
    list: Option<Py<PyList>>,
    /// One for all, which share the names of their fields.
    reader: Reader,
}

impl Sink for Dicts {
    fn take(&mut self, objects: &[u8]) -> Result<(), String> {
        let append = |py: Python<'_>| {
            let list = self.list.get_or_insert_with(|| PyList::empty(py).unbind()).bind(py);
            append(list, &mut self.reader, objects)
                .map_err(|error| format!("an array whose item {} cannot be read: {}", list.len(), error.value(py)))
        };
        Python::try_attach(append)
            .unwrap_or_else(|| Err("an array that cannot be read: the interpreter has ended".to_owned()))
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

/// Appends the dicts of an array of objects.
fn append(list: &Bound<'_, PyList>, reader: &mut Reader, objects: &[u8]) -> PyResult<()> {
    let mut json = Jiter::new(objects);
    let mut next = json.next_array().map_err(unreadable)?;
    while let Some(peek) = next {
        list.append(reader.value(list.py(), &mut json, peek, MAX_DEPTH)?)?;
        next = json.array_step().map_err(unreadable)?;
    }
    Ok(())
}

pub fn block<'py>(
    py: Python<'py>,
    target: &Target,
    body: Vec<u8>,
    fields: Option<HashSet<String>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = search::call::<Dicts>(body, fields);
    twin::block(py, target, |transport, server| twin::ask(transport, server, call), objects)
}

pub fn awaitable(
    py: Python<'_>,
    target: &Target,
    body: Vec<u8>,
    fields: Option<HashSet<String>>,
) -> PyResult<Awaitable> {
    let call = search::call::<Texts>(body, fields);
    twin::awaitable(py, target, |transport, server| twin::ask(transport, server, call), made_objects)
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
