//! What connections may be shared under, and the stores of connections that are kept by it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustls::ClientConfig;

use crate::core::exchange::Connections;
use crate::core::failure::InvalidInput;
use crate::core::proxy;
use crate::core::trust::{CaFile, CaStamp, SystemStore, Trust};

/// Stores kept per runtime: CA files that changed and environments that were make new ones.
const KEPT: usize = 16;

/// The `verify` argument.
pub enum Verify {
    System,
    File(PathBuf),
    Off,
}

/// The same trust and the same proxies. Plain data, good across a fork.
#[derive(PartialEq, Eq)]
pub struct Terms {
    trust: Trust,
    proxies: proxy::Variables,
}

/// The TLS sides of a process, one per terms: the trust store is read once, and all runtimes resume each other's sessions.
#[derive(Default)]
pub struct TlsSides(Mutex<Vec<(Arc<Terms>, ClientConfig)>>);

impl TlsSides {
    /// The terms that `verify` and the environment give now.
    pub fn terms(&self, verify: &Verify) -> Result<Arc<Terms>, InvalidInput> {
        let trust = match verify {
            Verify::System => Trust::System(SystemStore::from_env()),
            Verify::Off => Trust::Nobody,
            Verify::File(path) => Trust::File(self.ca_file(CaStamp::of(path)?)?),
        };
        let terms = Terms { trust, proxies: proxy::Variables::read() };
        let known = lock(&self.0).iter().map(|(known, _)| known).find(|known| ***known == terms).cloned();
        Ok(known.unwrap_or_else(|| Arc::new(terms)))
    }

    fn ca_file(&self, stamp: CaStamp) -> Result<Arc<CaFile>, InvalidInput> {
        let known = lock(&self.0).iter().find_map(|(terms, _)| match &terms.trust {
            Trust::File(file) if *file.stamp() == stamp => Some(file.clone()),
            _ => None,
        });
        known.map_or_else(|| CaFile::read(stamp).map(Arc::new), Ok)
    }

    fn tls(&self, terms: &Arc<Terms>) -> PyResult<ClientConfig> {
        let mut known = lock(&self.0);
        if let Some((_, tls)) = known.iter().find(|(known, _)| same(known, terms)) {
            return Ok(tls.clone());
        }
        let tls =
            terms.trust.tls().map_err(|error| PyRuntimeError::new_err(format!("TLS cannot be set up: {error}")))?;
        keep(&mut known, (terms.clone(), tls.clone()));
        Ok(tls)
    }
}

/// The connections that live in one runtime, by the terms they are shared under.
#[derive(Default)]
pub struct Stores(Vec<(Arc<Terms>, Connections)>);

impl Stores {
    pub fn under(&mut self, terms: &Arc<Terms>, sides: &TlsSides) -> PyResult<Connections> {
        if let Some((_, store)) = self.0.iter().find(|(known, _)| same(known, terms)) {
            return Ok(store.clone());
        }
        let store = Connections::new(sides.tls(terms)?, &terms.proxies)
            .map_err(|error| PyRuntimeError::new_err(format!("no HTTP client can be made: {error}")))?;
        keep(&mut self.0, (terms.clone(), store.clone()));
        Ok(store)
    }
}

fn same(a: &Arc<Terms>, b: &Arc<Terms>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn keep<T>(kept: &mut Vec<T>, item: T) {
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push(item);
}

/// Nothing that is held under these locks can be left half done, so a panic elsewhere does not spoil it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
