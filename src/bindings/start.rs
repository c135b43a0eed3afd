//! Starts, blocking and awaited: at most one request each, and an interrupted start is logged.

use std::cell::Cell;

use pyo3::prelude::*;

use crate::core::api::start::Started;
use crate::core::failure::Failure;
use crate::core::transport::call::{About, Call};
use crate::core::transport::exchange::Completed;
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::Awaitable;
use super::{convert, errors, log, outcome, twin};

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
    match done {
        Err(interrupt) if is_under_way.get() => Err(interrupted(py, &target.server, &about, interrupt)),
        done => done,
    }
}

/// Whoever awaits it tells of an interruption, with [`interrupted`].
pub fn awaitable(py: Python<'_>, target: &Target, call: Call<Started>) -> PyResult<Awaitable> {
    let ask = |transport, server| twin::ask(transport, server, call);
    twin::awaitable(py, target, ask, |py, server, asked| {
        let about = asked.about.clone();
        errors::of_start(py, about.request_id(), finish(py, server, asked, |_| Ok(())))
    })
}

/// The outcome of a start. If logging or a signal's handler raises instead, the exception says what came of the start.
fn finish<'py>(
    py: Python<'py>,
    server: &Server,
    asked: Completed<Started>,
    check_signals: impl FnOnce(Python<'py>) -> PyResult<()>,
) -> PyResult<Bound<'py, PyAny>> {
    let done = outcome::started(py, server, &asked).and_then(|done| check_signals(py).map(|()| done));
    done.unwrap_or_else(|interrupt| {
        let interrupt = errors::unstopped(py, interrupt, errors::HANDLER);
        let subject = format!("{}: {}", server.origin.as_str(), asked.about);
        let text = match &asked.outcome {
            Ok(started) => format!("{subject}: started bulk operation {}", started.id),
            Err(Failure::Uncertain(_)) => format!("{} {subject}", errors::LOOK_FIRST),
            Err(_) => format!("{subject}: not started"),
        };
        let _ = log::note(interrupt.value(py), &text); // an exception may take none
        let id = match &asked.outcome {
            Ok(started) => Some(&started.id),
            Err(Failure::Uncertain(_)) => None,
            Err(_) => return Err(interrupt),
        };
        Err(errors::uncertain(py, server, &asked.about, interrupt, &text, id))
    })
}

/// What a start raises that was interrupted while it was under way: the server may have it.
pub fn interrupted(py: Python<'_>, server: &Server, about: &About, interrupt: PyErr) -> PyErr {
    let kind = convert::name_of(&interrupt.get_type(py));
    let text = format!("{} {}: {about}: interrupted by {kind}", errors::LOOK_FIRST, server.origin.as_str());
    let told = log::interrupted(py, server, about, interrupt.value(py));
    let interrupt = match told {
        // Ctrl-C while the log is written; any other exception of a log handler gives way to the interruption.
        Err(raised) if errors::is_exception(py, &interrupt) && !errors::is_exception(py, &raised) => {
            let _ = log::note(raised.value(py), &text);
            raised
        }
        Ok(()) | Err(_) => interrupt,
    };
    errors::uncertain(py, server, about, interrupt, &text, None)
}
