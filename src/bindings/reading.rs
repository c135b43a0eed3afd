//! Reads the files that arguments name. Other threads of Python run on meanwhile, and a signal's handler ends what blocks.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::core::origin::Origin;
use crate::core::transport::pool::{self, Cert, Environment, PoolKey, Verify};

use super::engine::{Engine, Items, Received};
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
    let mut read = Items::new(engine.process, None);
    read.spawn(move |_| Ok(Some(engine.tls.key(environment, &verify, cert.as_ref()))))?;
    match read.next(py, None)? {
        Received::Item(key) => Ok(key?),
        Received::Nothing | Received::End => Err(errors::panicked()),
    }
}
