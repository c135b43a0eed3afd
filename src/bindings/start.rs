//! Starts, blocking and awaited: at most one request each, and an interrupted one is told of.

use std::cell::Cell;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::api::start::Started;
use crate::core::transport::call::Call;
use crate::core::transport::exchange::{Asked, Transport};
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::Awaitable;
use super::{errors, log, outcome, twin};

pub fn block<'py>(py: Python<'py>, target: &Target, call: Call<Started>) -> PyResult<Bound<'py, PyAny>> {
    let about = call.about.clone();
    let is_under_way = Cell::new(false);
    let begin = |transport, server| {
        is_under_way.set(true);
        ask(transport, server, call)
    };
    let finish = |py, server: &Server, asked| {
        is_under_way.set(false);
        outcome::started(py, server, asked)
    };
    let done = twin::block(py, target, begin, finish);
    match &done {
        // A signal's handler has raised it, and any class may be its own.
        Err(interrupt) if is_under_way.get() => {
            log::interrupted(py, &target.server, &about, interrupt.value(py))?;
        }
        // A signal that came with the answer would raise without it, when the caller goes on.
        Ok(started) => py.check_signals().or_else(|interrupt| {
            log::note(interrupt.value(py), &format!("{}: {about}: started: {started}", target.server.origin.as_str()))?;
            Err(interrupt)
        })?,
        Err(_) => {}
    }
    done
}

/// Whoever awaits it tells of an interruption, with [`log::interrupted`].
pub fn awaitable(py: Python<'_>, target: &Target, call: Call<Started>) -> PyResult<Awaitable> {
    let about = call.about.clone();
    let closed = move |py: Python<'_>, server: &Server| match errors::check_open(server) {
        Ok(()) => Ok(()),
        Err(error) => {
            log::interrupted(py, server, &about, error.value(py))?;
            Err(error)
        }
    };
    twin::awaitable(py, target, |transport, server| ask(transport, server, call), outcome::started, closed)
}

async fn ask(transport: Transport, server: Arc<Server>, call: Call<Started>) -> Asked<Started> {
    transport.ask(&server, call).await
}
