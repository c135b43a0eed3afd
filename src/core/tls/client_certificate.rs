//! The `cert` argument → the certificate and key by which a server knows its client (RFC 8446 section 4.4.2).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate;
use super::file_id::{self, FileId};
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
pub struct ClientCertificate {
    stamp: CertStamp,
    certified: Arc<CertifiedKey>,
}

/// Detects that one of the two files has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertStamp {
    certificate: FileId,
    key: FileId,
}

impl CertStamp {
    pub fn of(cert: &Cert) -> Result<Self, InvalidInput> {
        let certificate = file_id(&cert.certificate)?;
        let key = cert.key.as_ref().map_or_else(|| Ok(certificate.clone()), |key| file_id(key))?;
        Ok(Self { certificate, key })
    }
}

impl ClientCertificate {
    pub fn read(stamp: CertStamp) -> Result<Self, InvalidInput> {
        let (path, key_path) = (&stamp.certificate.path, &stamp.key.path);
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
        Ok(Self { stamp, certified: Arc::new(CertifiedKey::new(chain, signer)) })
    }

    pub fn stamp(&self) -> &CertStamp {
        &self.stamp
    }

    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

impl Eq for ClientCertificate {}

/// Without the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

fn file_id(path: &Path) -> Result<FileId, InvalidInput> {
    let path = file_id::absolute(path);
    let meta = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
    Ok(FileId::of(path, &meta))
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
