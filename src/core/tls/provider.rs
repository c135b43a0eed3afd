//! The cryptography of TLS connections.

use rustls::CipherSuite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedCipherSuite};

/// Offered first, as by browsers, since they hash with SHA-256: with SHA-384 a new connection takes a tenth longer
/// (`make bench`). A server that prefers another suite gets that one (RFC 8446 section 4.1.3).
const PREFERRED_SUITES: [CipherSuite; 3] =
    [TLS13_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];

pub fn provider() -> CryptoProvider {
    let provider = ring::default_provider();
    let is_first = |suite: &SupportedCipherSuite| PREFERRED_SUITES.contains(&suite.suite());
    let (first, others): (Vec<_>, Vec<_>) = provider.cipher_suites.into_iter().partition(is_first);
    CryptoProvider { cipher_suites: [first, others].concat(), ..provider }
}
