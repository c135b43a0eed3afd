//! The cryptography of TLS connections.

use rustls::crypto::{CryptoProvider, ring};

pub fn provider() -> CryptoProvider {
    ring::default_provider()
}
