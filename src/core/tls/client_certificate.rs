//! The `cert` argument → the certificate and key by which a server knows its client (RFC 8446 section 4.4.2).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate;
use super::explain;
use super::file_id::{self, FileId};
use super::pem;
use super::provider;
use crate::core::failure::InvalidInput;
use crate::core::text;

const PKCS12_ADVICE: &str = "; openssl pkcs12 -in FILE -noenc makes PEM of a .p12 or .pfx file";

const DER_ADVICE: &str = "; openssl pkey -in FILE -out NEW makes PEM of DER";

/// The keys that ring signs with.
const KINDS: &str = "RSA of 2048, 3072 or 4096 bits with the exponent 65537, P-256, P-384 or Ed25519";

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
        let key_file = if path == key_path { file } else { read(key_path)? };
        let key = pem::key(&key_file).map_err(|fault| unusable(key_path, fault))?.ok_or_else(|| {
            let advice = match path == key_path {
                true => "; cert=(certificate, key) names two files",
                false if certificate::is_der(&key_file) => DER_ADVICE,
                false => "",
            };
            refused(format!("names a file without a PEM private key: {}{advice}", text::of_path(key_path)))
        })?;
        let signer = provider::provider().key_provider.load_private_key(key).map_err(|_| {
            let why = why_unusable(first);
            refused(format!("names a key that cannot be used: {}: {why}; it must be {KINDS}", text::of_path(key_path)))
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

/// Why ring takes no key for a certificate. The certificate says of which kind its key is.
fn why_unusable(certificate: &[u8]) -> String {
    let Some(key) = certificate::key(certificate) else { return "broken".to_owned() };
    match (certificate::rsa_bits(key), certificate::rsa_exponent(key)) {
        (Some(bits @ (2048 | 3072 | 4096)), Some(65537)) => {
            format!("not the RSA key of {bits} bits of its certificate")
        }
        (Some(2048 | 3072 | 4096), Some(exponent)) => format!("RSA with the exponent {exponent}"),
        (Some(bits), _) => format!("RSA of {bits} bits"),
        (None, _) => match explain::key_kind(key).as_str() {
            kind @ ("P-256" | "P-384") => {
                format!(
                    "a key on {kind} that is broken or lacks its public half, which openssl ec -in FILE -out NEW adds"
                )
            }
            "Ed25519" => "not the Ed25519 key of its certificate".to_owned(),
            kind => kind.to_owned(),
        },
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
