//! The two ends of a verb: a blocking call, and what its coroutine awaits.
//!
//! A verb is `ask`, a core future over a transport, and `finish`, which makes the Python value of the future's output.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::transport::call::Call;
use crate::core::transport::exchange::{Completed, Transport};
use crate::core::transport::server::Server;

use super::arguments::Target;
use super::engine::{Awaitable, Engine};
use super::errors;

/// The core future of a verb that is one call.
pub async fn ask<T>(transport: Transport, server: Arc<Server>, call: Call<T>) -> Completed<T> {
    transport.ask(&server, call).await
}

/// Asks on this thread, and waits for the answer.
pub fn block<'py, F>(
    py: Python<'py>,
    target: &Target,
    ask: impl FnOnce(Transport, Arc<Server>) -> F,
    finish: impl FnOnce(Python<'py>, &Server, F::Output) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (mut runtime, transport) = Engine::current().acquire(&target.key, &target.server)?;
    let output = runtime.block_on(py, &target.server, ask(transport, target.server.clone()))?;
    drop(runtime);
    finish(py, &target.server, output)
}

/// Asks in the background. A client that is closed meanwhile ends it.
pub fn awaitable<F>(
    py: Python<'_>,
    target: &Target,
    ask: impl FnOnce(Transport, Arc<Server>) -> F,
    finish: impl for<'py> FnOnce(Python<'py>, &Server, F::Output) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
) -> PyResult<Awaitable>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let engine = Engine::current();
    let server = target.server.clone();
    let asked = ask(engine.transport(&target.key, &server)?, server.clone());
    engine.awaitable(py, &target.server, asked, move |py, output| match output {
        Some(output) => finish(py, &server, output).map(Bound::unbind),
        None => errors::check_open(py, &server).map(|()| py.None()),
    })
}
