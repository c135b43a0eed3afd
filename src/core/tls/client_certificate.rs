//! The `cert` argument → the certificate and key by which a server knows its client (RFC 8446 section 4.4.2).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate;
use super::file_id::{self, FileStamp};
use super::pem;
use super::provider;
use crate::core::failure::InvalidInput;
use crate::core::text;

const PKCS12_ADVICE: &str = "; openssl pkcs12 -in FILE -noenc makes PEM of a .p12 or .pfx file";

/// The keys that ring signs with.
const KINDS: &str = "RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519";

/// The `cert` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cert {
    pub certificate: PathBuf,
    /// None if the key stands in the file of the certificate.
    pub key: Option<PathBuf>,
}

/// A client certificate with its key, as the files were when read.
pub struct Identity {
    stamps: Stamps,
    certified: Arc<CertifiedKey>,
}

/// Detects that one of the two files has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    certificate: FileStamp,
    key: FileStamp,
}

impl Stamps {
    pub fn of(cert: &Cert) -> Result<Self, InvalidInput> {
        let certificate = stamp(&cert.certificate)?;
        let key = cert.key.as_ref().map_or_else(|| Ok(certificate.clone()), |key| stamp(key))?;
        Ok(Self { certificate, key })
    }
}

impl Identity {
    pub fn read(stamps: Stamps) -> Result<Self, InvalidInput> {
        let (path, key_path) = (&stamps.certificate.path, &stamps.key.path);
        let file = read(path)?;
        let chain = pem::chain(&file).map_err(|fault| unusable(path, fault))?;
        let Some(first) = chain.first() else {
            let advice = if certificate::is_der(&file) { PKCS12_ADVICE } else { "" };
            return Err(refused(format!("names a file without a PEM certificate: {}{advice}", text::of_path(path))));
        };
        let key = if path == key_path { pem::key(&file) } else { pem::key(&read(key_path)?) };
        let key = key.map_err(|fault| unusable(key_path, fault))?.ok_or_else(|| {
            let advice = if path == key_path { "; cert=(certificate, key) names two files" } else { "" };
            refused(format!("names a file without a PEM private key: {}{advice}", text::of_path(key_path)))
        })?;
        let signer = provider::provider().key_provider.load_private_key(key).map_err(|_| {
            refused(format!("names a key that is broken, or is not {KINDS}: {}", text::of_path(key_path)))
        })?;
        let public = signer.public_key();
        if !public.is_none_or(|public| certificate::is_key_of(&public, first)) {
            let place = if chain.len() > 1 { "the first certificate" } else { "the certificate" };
            return Err(refused(format!(
                "names a key that does not fit {place}: {} and {}",
                text::of_path(key_path),
                text::of_path(path)
            )));
        }
        Ok(Self { stamps, certified: Arc::new(CertifiedKey::new(chain, signer)) })
    }

    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.stamps == other.stamps
    }
}

impl Eq for Identity {}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> Result<FileStamp, InvalidInput> {
    let path = file_id::absolute(path);
    let meta = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
    Ok(FileStamp::of(path, &meta))
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidInput> {
    file_id::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn fmt::Display) -> InvalidInput {
    let error = text::escape(&error.to_string());
    refused(format!("names a file that cannot be read: {}: {error}", text::of_path(path)))
}

fn unusable(path: &Path, fault: pem::Fault) -> InvalidInput {
    refused(format!("names a file that cannot be used: {}: {fault}", text::of_path(path)))
}

fn refused(reason: String) -> InvalidInput {
    InvalidInput::new("cert", reason)
}
