//! TLS: whom a connection trusts, who its client is, and why a handshake fails. Knows no HTTP.

pub mod certificate;
pub mod client_certificate;
pub mod config;
pub mod explain;
pub mod file_id;
mod leaf;
pub mod pem;
mod platform;
mod provider;
pub mod trust;
mod verifier;
