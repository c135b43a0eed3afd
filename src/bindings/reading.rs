//! Reads the files that arguments name. Other threads of Python run on meanwhile, and a signal's handler ends what blocks.

use std::sync::Arc;
use std::sync::mpsc::channel;

use pyo3::prelude::*;

use crate::core::origin::Origin;
use crate::core::transport::pool::{self, Cert, Environment, PoolKey, Verify};

use super::engine::{self, Engine, Received};
use super::errors;

/// The key that these arguments and the environment give now, with the content of the files.
pub fn key(
    py: Python<'_>,
    engine: &'static Engine,
    origin: &Origin,
    verify: Verify,
    cert: Option<Cert>,
) -> PyResult<Arc<PoolKey>> {
    let environment = Environment::read(origin, &verify)?;
    if cert.is_none() && !matches!(verify, Verify::File(_)) {
        return Ok(engine.tls.key(environment, &verify, None)?);
    }
    let at_once = py.detach(|| {
        let may_block = pool::may_block(&verify, cert.as_ref());
        (!may_block).then(|| engine.tls.key(environment.clone(), &verify, cert.as_ref()))
    });
    match at_once {
        Some(key) => Ok(key?),
        None => blocking(py, engine, environment, verify, cert),
    }
}

/// The same on a thread of its own, which no signal interrupts. An interrupted caller leaves it behind: it holds no lock while
/// it waits, and knows no Python.
fn blocking(
    py: Python<'_>,
    engine: &'static Engine,
    environment: Environment,
    verify: Verify,
    cert: Option<Cert>,
) -> PyResult<Arc<PoolKey>> {
    let (sender, mut receiver) = channel();
    let read = move || {
        let _ = sender.send(engine.tls.key(environment, &verify, cert.as_ref()));
    };
    engine::start_thread("saymon-bulk-file", read).map_err(|_| errors::panicked())?;
    // A handler may have forked, and the thread is the parent's.
    let look = || py.check_signals().and_then(|()| engine.process.check());
    match engine::receive(py, &mut receiver, None, look)? {
        Received::Item(key) => Ok(key?),
        Received::Nothing | Received::End => Err(errors::panicked()),
    }
}
