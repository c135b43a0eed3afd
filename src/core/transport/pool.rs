//! Which connections may be shared, and the clients that are kept by that.

use std::sync::{Arc, Mutex};

use rustls::ClientConfig;

use super::client::Shared;
use super::exchange::Transport;
use super::proxy::Variables;
use super::resolver::StartThread;
use crate::core::failure::{InvalidInput, SetupFailure};
use crate::core::origin::Origin;
use crate::core::tls::client_certificate::{CertStamp, ClientCertificate};
use crate::core::tls::config::TlsOptions;
use crate::core::tls::file_id;
use crate::core::tls::trust::{CaFile, CaStamp, SystemStore, Trust};
use crate::lock::lock;

pub use crate::core::tls::client_certificate::Cert;
pub use crate::core::tls::trust::Verify;

/// Keys that are kept, those that were used last. A changed CA file and a changed environment make new ones; bounds memory,
/// otherwise arbitrary.
const MAX_KEYS: usize = 256;

/// What connections must have in common to be shared, from one reading of the environment. Connections under a key are made
/// from the key alone. Basic credentials go with each request and are no part of it; a scheme that binds credentials to
/// connections (NTLM) would be.
#[derive(PartialEq, Eq)]
pub struct PoolKey {
    tls: TlsOptions,
    proxies: Variables,
}

/// What the environment says now of connections to an origin. Python writes its environment while it holds the interpreter, so
/// the reading belongs there too; the files can be read without it.
#[derive(Clone)]
pub struct Environment {
    store: SystemStore,
    proxies: Variables,
}

impl Environment {
    pub fn read(origin: &Origin, verify: &Verify) -> Result<Self, InvalidInput> {
        let proxies = Variables::read(origin);
        proxies.check(origin)?;
        let store = if *verify == Verify::System { SystemStore::from_env() } else { SystemStore::default() };
        Ok(Self { store, proxies })
    }
}

/// Whether `verify` or `cert` names what may keep its reader waiting.
pub fn may_block(verify: &Verify, cert: Option<&Cert>) -> bool {
    let trusted = if let Verify::File(path) = verify { Some(path) } else { None };
    let own = cert.into_iter().flat_map(|cert| std::iter::once(&cert.certificate).chain(&cert.key));
    trusted.into_iter().chain(own).any(|path| file_id::may_block(path))
}

/// The TLS configurations of a process. The trust store is read once for all runtimes, and these resume each other's sessions.
pub struct TlsConfigs {
    known: Mutex<Vec<(Arc<PoolKey>, ClientConfig)>>,
    shared: Shared,
}

impl TlsConfigs {
    pub fn new(start_thread: StartThread) -> Self {
        Self { known: Mutex::default(), shared: Shared::new(start_thread) }
    }

    /// The key that the environment and the files of `verify` and `cert` give.
    pub fn key(
        &self,
        environment: Environment,
        verify: &Verify,
        cert: Option<&Cert>,
    ) -> Result<Arc<PoolKey>, InvalidInput> {
        let trust = match verify {
            Verify::System => Trust::System(environment.store),
            Verify::Off => Trust::Anyone,
            Verify::File(path) => Trust::File(self.ca_file(CaStamp::of(path)?)?),
        };
        let client_certificate = cert.map(|cert| self.client_certificate(CertStamp::of(cert)?)).transpose()?;
        let key = PoolKey { tls: TlsOptions { trust, client_certificate }, proxies: environment.proxies };
        let known = lock(&self.known).iter().map(|(known, _)| known).find(|known| ***known == key).cloned();
        Ok(known.unwrap_or_else(|| Arc::new(key)))
    }

    fn ca_file(&self, stamp: CaStamp) -> Result<Arc<CaFile>, InvalidInput> {
        let known = lock(&self.known).iter().find_map(|(key, _)| match &key.tls.trust {
            Trust::File(file) if *file.stamp() == stamp => Some(file.clone()),
            _ => None,
        });
        known.map_or_else(|| CaFile::read(stamp).map(Arc::new), Ok)
    }

    fn client_certificate(&self, stamp: CertStamp) -> Result<Arc<ClientCertificate>, InvalidInput> {
        let known = lock(&self.known).iter().find_map(|(key, _)| {
            let client_certificate = key.tls.client_certificate.as_ref()?;
            (*client_certificate.stamp() == stamp).then(|| client_certificate.clone())
        });
        known.map_or_else(|| ClientCertificate::read(stamp).map(Arc::new), Ok)
    }

    fn config(&self, key: &Arc<PoolKey>) -> Result<ClientConfig, SetupFailure> {
        get_or_make(&mut lock(&self.known), key, || key.tls.config())
    }
}

/// The clients of one runtime, with their connections.
#[derive(Default)]
pub struct Clients(Vec<(Arc<PoolKey>, Transport)>);

impl Clients {
    pub fn get_or_make(&mut self, key: &Arc<PoolKey>, configs: &TlsConfigs) -> Result<Transport, SetupFailure> {
        get_or_make(&mut self.0, key, || Ok(Transport::new(configs.config(key)?, &key.proxies, &configs.shared)))
    }
}

fn get_or_make<T: Clone>(
    kept: &mut Vec<(Arc<PoolKey>, T)>,
    key: &Arc<PoolKey>,
    make: impl FnOnce() -> Result<T, SetupFailure>,
) -> Result<T, SetupFailure> {
    // The last one used stands at the end.
    let entry = match kept.iter().rposition(|(known, _)| known == key) {
        Some(found) => kept.remove(found),
        None => {
            let made = make()?;
            if kept.len() >= MAX_KEYS {
                kept.remove(0);
            }
            (key.clone(), made)
        }
    };
    let found = entry.1.clone();
    kept.push(entry);
    Ok(found)
}
