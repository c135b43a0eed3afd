//! Whom a TLS connection trusts, who its client is → its TLS configuration.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;

use super::client_certificate::ClientCertificate;
use super::provider;
use super::trust::Trust;
use super::verifier::Verifier;
use crate::core::failure::SetupFailure;

/// All that TLS connections must have in common to be shared. Plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    pub trust: Trust,
    /// Whom a server may ask for. Connections and sessions of one client certificate serve no other.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

impl TlsOptions {
    /// The configuration of all connections with these options: TLS 1.2 and 1.3.
    pub fn config(&self) -> Result<ClientConfig, SetupFailure> {
        let provider = Arc::new(provider::provider());
        let verifier = Verifier::new(self.trust.clone(), provider.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupFailure(format!("TLS cannot be set up: {error}")))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match &self.client_certificate {
            None => builder.with_no_client_auth(),
            Some(client_certificate) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client_certificate.certified().clone()))),
        })
    }
}
