//! Starts, blocking and awaited: at most one request each, and an interrupted one is told of.

use std::cell::Cell;

use pyo3::prelude::*;

use crate::core::api::start::Started;
use crate::core::failure::Failure;
use crate::core::transport::call::Call;
use crate::core::transport::exchange::Asked;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::Awaitable;
use super::{errors, log, outcome, twin};

pub fn block<'py>(py: Python<'py>, target: &Target, call: Call<Started>) -> PyResult<Bound<'py, PyAny>> {
    let about = call.about.clone();
    let is_under_way = Cell::new(false);
    let begin = |transport, server| {
        is_under_way.set(true);
        twin::ask(transport, server, call)
    };
    let done = twin::block(py, target, begin, |py, server, asked| {
        is_under_way.set(false);
        // A signal may have come together with the answer.
        finish(py, server, asked, Python::check_signals)
    });
    if let Err(interrupt) = &done
        && is_under_way.get()
    {
        // A signal's handler has raised it, and any class may be its own.
        log::interrupted(py, &target.server, &about, interrupt.value(py))?;
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
    twin::awaitable(
        py,
        target,
        |transport, server| twin::ask(transport, server, call),
        |py, server, asked| finish(py, server, asked, |_| Ok(())),
        closed,
    )
}

/// The outcome of a start. If logging or a signal's handler raises instead, the exception has a note of what came of the start.
fn finish<'py>(
    py: Python<'py>,
    server: &Server,
    asked: Asked<Started>,
    check_signals: impl FnOnce(Python<'py>) -> PyResult<()>,
) -> PyResult<Bound<'py, PyAny>> {
    let done = outcome::started(py, server, &asked).and_then(|done| check_signals(py).map(|()| done));
    done.unwrap_or_else(|interrupt| {
        let interrupt = errors::unstopped(py, interrupt);
        let known = match &asked.outcome {
            Ok(started) => format!("started bulk operation {}", started.id),
            Err(Failure::Uncertain(_)) => errors::LOOK_FIRST.to_owned(),
            Err(_) => "not started".to_owned(),
        };
        log::note(interrupt.value(py), &format!("{}: {}: {known}", server.origin.as_str(), asked.about))?;
        Err(interrupt)
    })
}
