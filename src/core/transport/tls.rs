//! verify → whom a TLS connection trusts, and its TLS configuration.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::certificate;
use crate::core::failure::{InvalidInput, SetupFailure};
use crate::core::text;

/// The `verify` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    System,
    /// The path of a CA file.
    File(PathBuf),
    Off,
}

/// All that TLS connections must have in common to be shared. Plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    pub trust: Trust,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
    System(SystemStore),
    /// The certificates of one file, and no others.
    File(Arc<CaFile>),
    /// Anyone's: the connection is encrypted, and nothing of the certificate or of its key is checked.
    Anyone,
}

/// The system's store, as the environment names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemStore {
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl SystemStore {
    pub fn from_env() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { file: path("SSL_CERT_FILE"), directory: path("SSL_CERT_DIR") }
    }
}

/// A CA file as it was when read.
#[derive(Debug)]
pub struct CaFile {
    stamp: FileStamp,
    certificates: Vec<CertificateDer<'static>>,
}

/// Detects a changed file by path, length and modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

impl FileStamp {
    pub fn of(path: &Path) -> Result<Self, InvalidInput> {
        let meta = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        // A relative path depends on the working directory of this moment.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, length: meta.len(), modified: meta.modified().ok() })
    }
}

impl CaFile {
    pub fn read(stamp: FileStamp) -> Result<Self, InvalidInput> {
        let pem = fs::read(&stamp.path).map_err(|error| unreadable(&stamp.path, &error))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| unreadable(&stamp.path, &error))?;
        if certificates.is_empty() {
            return Err(InvalidInput::new(
                "verify",
                format!("names a file without a PEM certificate: {}", stamp.path.display()),
            ));
        }
        let file = Self { stamp, certificates };
        file.store()?;
        Ok(file)
    }

    pub fn stamp(&self) -> &FileStamp {
        &self.stamp
    }

    fn store(&self) -> Result<Store, InvalidInput> {
        let mut store = Store::new();
        for certificate in &self.certificates {
            store.add(certificate.clone()).map_err(|error| unreadable(&self.stamp.path, &error))?;
        }
        Ok(store)
    }
}

impl PartialEq for CaFile {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

impl Eq for CaFile {}

fn unreadable(path: &Path, error: &dyn fmt::Display) -> InvalidInput {
    InvalidInput::new("verify", format!("names a CA file that cannot be read: {}: {error}", path.display()))
}

impl TlsOptions {
    /// The configuration of all connections with these options: TLS 1.2 and 1.3.
    pub fn config(&self) -> Result<ClientConfig, SetupFailure> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier { trust: self.trust.clone(), provider: provider.clone(), judge: OnceLock::new() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupFailure(format!("TLS cannot be set up: {error}")))?;
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }
}

/// What ring cannot verify and a server may sign with all the same (RFC 8446 section 4.2.3). A server gets an offer of these
/// only where its signature is not checked anyway.
const UNVERIFIABLE: [SignatureScheme; 7] = [
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED448,
    SignatureScheme::Unknown(0x0809), // rsa_pss_pss_sha256
    SignatureScheme::Unknown(0x080a), // rsa_pss_pss_sha384
    SignatureScheme::Unknown(0x080b), // rsa_pss_pss_sha512
    SignatureScheme::ECDSA_SHA1_Legacy,
    SignatureScheme::RSA_PKCS1_SHA1,
];

/// Verifies certificates under a [`Trust`]. The trust store is read at the first handshake: plain http must work on a
/// machine that has none, and reading it takes milliseconds.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    judge: OnceLock<Result<Judge, String>>,
}

impl Verifier {
    fn judge(&self) -> Result<&Judge, rustls::Error> {
        let judge = self.judge.get_or_init(|| match &self.trust {
            Trust::System(store) => system(store, &self.provider),
            Trust::File(file) => file.store().map(Judge::Store).map_err(|error| error.to_string()),
            Trust::Anyone => Err("certificates are not checked".to_owned()),
        });
        judge.as_ref().map_err(|text| rustls::Error::General(text.clone()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust == Trust::Anyone {
            return Ok(ServerCertVerified::assertion());
        }
        let verdict = match self.judge()? {
            Judge::Store(store) => store.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            #[cfg(not(all(unix, not(target_vendor = "apple"))))]
            Judge::System(system) => {
                system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        };
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) if is_self_signed(end_entity) => {
                Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust == Trust::Anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust == Trust::Anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        if self.trust == Trust::Anyone {
            schemes.extend(UNVERIFIABLE);
        }
        schemes
    }
}

/// Why a certificate was refused, in words that can be looked up.
pub fn describe(reason: &CertificateError) -> String {
    let words = match reason {
        CertificateError::UnknownIssuer => "unknown issuer: no trusted CA has signed it".to_owned(),
        CertificateError::Other(OtherError(reason)) => reason.to_string(),
        reason => reason.to_string(),
    };
    format!("invalid peer certificate: {}", text::escape(&words))
}

#[derive(Debug)]
struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-signed certificate; verify='/path/to/it.pem' would trust it alone")
    }
}

impl std::error::Error for SelfSigned {}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// Trusted certificates that this package has read itself.
#[derive(Debug)]
struct Store {
    certificates: Vec<CertificateDer<'static>>,
    /// Those that may vouch for others.
    roots: RootCertStore,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl Store {
    fn new() -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        Self { certificates: Vec::new(), roots: RootCertStore::empty(), algorithms }
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        // webpki lets any trusted certificate vouch for others, and one that is no CA's stands for itself alone
        // (RFC 5280 section 6.1.4, k).
        if certificate::is_ca(&certificate) != Some(false) {
            self.roots.add(certificate.clone())?;
        }
        self.certificates.push(certificate);
        Ok(())
    }

    /// Adds those that can be parsed: a system's store may hold others.
    fn add_parsable(&mut self, certificates: Vec<CertificateDer<'static>>) {
        for certificate in certificates {
            let _ = self.add(certificate);
        }
    }

    fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|own| own.as_ref() == certificate.as_ref())
    }
}

impl Store {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // A server may show a certificate that is marked as a CA's, as `openssl req -x509` makes it: the last of a path is
        // not asked for the mark (RFC 5280 section 6.1.4). webpki refuses it, so a copy without the mark is checked, and
        // the signature over the original.
        let copy = certificate::without_ca_mark(end_entity);
        let server = ParsedCertificate::try_from(copy.as_ref().unwrap_or(end_entity))?;
        if self.holds(end_entity) {
            // Nobody need vouch for it. What webpki checks before it looks for an issuer is left: dates and purpose.
            match verify_server_cert_signed_by_trust_anchor(&server, &RootCertStore::empty(), &[], now, self.algorithms)
            {
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                verdict => verdict?,
            }
        } else {
            let signed = |certificate| certificate::signed_part(certificate).unwrap_or_default();
            let of_original: Vec<_> = self
                .algorithms
                .iter()
                .map(|algorithm| OfOriginal {
                    algorithm: *algorithm,
                    copy: copy.as_ref().map(signed),
                    original: signed(end_entity),
                })
                .collect();
            let algorithms: Vec<_> = of_original.iter().map(|one| one as &dyn SignatureVerificationAlgorithm).collect();
            verify_server_cert_signed_by_trust_anchor(&server, &self.roots, intermediates, now, &algorithms)?;
        }
        verify_server_name(&server, server_name)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// Verifies the signature over a certificate of which webpki sees a copy.
#[derive(Debug)]
struct OfOriginal<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    copy: Option<&'a [u8]>,
    original: &'a [u8],
}

impl SignatureVerificationAlgorithm for OfOriginal<'_> {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let message = if Some(message) == self.copy { self.original } else { message };
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Who judges a chain of certificates.
#[derive(Debug)]
enum Judge {
    Store(Store),
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    System(rustls_platform_verifier::Verifier),
}

/// Where systems keep their CA certificates in one file. openssl-probe has such a list too, but reads `SSL_CERT_FILE` again
/// beside it, which may have changed since the key of the connections was made.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SYSTEM_FILES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, ALT
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7 and later, Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",                  // RHEL 6
    "/etc/ssl/ca-bundle.pem",                            // SUSE
    "/etc/ssl/cert.pem",                                 // Alpine, OpenBSD
    "/usr/local/etc/ssl/cert.pem",                       // FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",            // NetBSD
];

/// Reads the store's one file, or its directories if there is none. Debian keeps the same certificates in both, and parsing
/// them twice would double the time of a first call.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn system(place: &SystemStore, _: &Arc<CryptoProvider>) -> Result<Judge, String> {
    let chosen = place.file.is_some() || place.directory.is_some();
    let (file, directories): (_, Vec<_>) = if chosen {
        (place.file.clone(), place.directory.iter().flat_map(|list| std::env::split_paths(list)).collect())
    } else {
        let file = SYSTEM_FILES.iter().map(PathBuf::from).find(|path| path.exists());
        (file, openssl_probe::candidate_cert_dirs().map(Path::to_owned).collect())
    };
    let mut store = Store::new();
    if let Some(file) = &file {
        store.add_parsable(rustls_native_certs::load_certs_from_paths(Some(file), None).certs);
    }
    if chosen || store.certificates.is_empty() {
        for directory in &directories {
            store.add_parsable(rustls_native_certs::load_certs_from_paths(None, Some(directory)).certs);
        }
    }
    if store.certificates.is_empty() {
        let place = if chosen {
            " where SSL_CERT_FILE and SSL_CERT_DIR point"
        } else {
            "; install the package ca-certificates"
        };
        return Err(format!("no CA certificates found on this system{place}, or give verify='/path/to/ca.pem'"));
    }
    Ok(Judge::Store(store))
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn system(_: &SystemStore, provider: &Arc<CryptoProvider>) -> Result<Judge, String> {
    match rustls_platform_verifier::Verifier::new(provider.clone()) {
        Ok(verifier) => Ok(Judge::System(verifier)),
        Err(error) => Err(error.to_string()),
    }
}
