//! Verifies the certificate of a server, and the signature of its handshake.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate;
use super::explain::{UNKNOWN_ISSUER, refused};
use super::leaf::Leaf;
use super::platform;
use super::provider;
use super::trust::Trust;
use crate::lock::lock;

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

/// The RSA keys that ring verifies with.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Verifies certificates under a [`Trust`]. The trust store is read at the first handshake: plain http must work on a
/// machine that has none, and reading it takes milliseconds.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    roots: Mutex<Option<Arc<Roots>>>,
}

impl Verifier {
    pub fn new(trust: Trust, provider: Arc<CryptoProvider>) -> Self {
        Self { trust, provider, roots: Mutex::default() }
    }

    /// An error is not kept: a store that cannot be read now, for want of a descriptor, may be read at the next handshake.
    fn roots(&self) -> Result<Arc<Roots>, rustls::Error> {
        let mut known = lock(&self.roots);
        if let Some(roots) = &*known {
            return Ok(roots.clone());
        }
        let roots = match &self.trust {
            Trust::System(store) => match platform::verifier(&self.provider) {
                Some(system) if !store.is_chosen() => system.map(Roots::System),
                _ => store.certificates().map(|certificates| Roots::Store(Store::new(certificates))),
            },
            Trust::File(file) => Ok(Roots::Store(Store::new(file.certificates().to_vec()))),
            Trust::Anyone => Err("certificates are not checked".to_owned()),
        };
        let roots = Arc::new(roots.map_err(rustls::Error::General)?);
        *known = Some(roots.clone());
        Ok(roots)
    }
}

/// One of rustls' two checks of the handshake's signature.
type SignatureCheck = fn(
    &[u8],
    &CertificateDer<'_>,
    &DigitallySignedStruct,
    &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error>;

impl Verifier {
    fn check_signature(
        &self,
        check: SignatureCheck,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust == Trust::Anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        check(message, certificate, signature, &self.provider.signature_verification_algorithms)
            .map_err(|error| or_unusual_key(error, "the server's", certificate::key(certificate)))
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
        let verdict = match &*self.roots()? {
            Roots::Store(store) => store.verify_server_cert(end_entity, intermediates, server_name, now),
            Roots::System(system) => system
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| in_detail(error, end_entity, server_name, now)),
        };
        verdict.map_err(|error| with_advice(error, end_entity, &self.trust))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(rustls::crypto::verify_tls12_signature, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(rustls::crypto::verify_tls13_signature, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        if self.trust == Trust::Anyone {
            schemes.extend(UNVERIFIABLE);
        }
        schemes
    }
}

/// Tells a key that ring does not verify with from a signature that is wrong: ring reports both alike.
fn or_unusual_key(
    error: rustls::Error,
    whose: &str,
    keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> rustls::Error {
    if error != rustls::Error::InvalidCertificate(CertificateError::BadSignature) {
        return error;
    }
    let mut bits = keys.into_iter().filter_map(|key| certificate::rsa_bits(key.as_ref()));
    let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
    match bits.find(|bits| !RSA_BITS.contains(bits)) {
        Some(bits) if bits < *least => {
            refused(format!("{whose} key is too weak: RSA of {bits} bits, and not {least}")).into()
        }
        Some(bits) => refused(format!("{whose} key is too large: RSA of {bits} bits; {most} can be verified")).into(),
        None => error,
    }
}

/// What to do where the issuer is unknown.
fn with_advice(error: rustls::Error, certificate: &CertificateDer<'_>, trust: &Trust) -> rustls::Error {
    match trust {
        _ if error != rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => error,
        _ if is_self_signed(certificate) => {
            refused("self-signed certificate; verify='/path/to/it.pem' would trust it alone").into()
        }
        Trust::System(_) => {
            refused(format!("{UNKNOWN_ISSUER}; verify='/path/to/ca.pem' would trust the CA in that file")).into()
        }
        _ => error,
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// What webpki checks before it looks for an issuer: dates and purpose.
fn check_alone(server: &ParsedCertificate<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let algorithms = provider::provider().signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(server, &RootCertStore::empty(), &[], now, algorithms) {
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Ok(()),
        verdict => verdict,
    }
}

/// A refusal of the system's verifier, with the dates and names that a [`Store`] would tell. Only what is wrong with the
/// server's own certificate can be told.
fn in_detail(
    error: rustls::Error,
    end_entity: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> rustls::Error {
    use CertificateError::{ExpiredContext, InvalidPurposeContext, NotValidForName, NotValidYetContext};
    let rustls::Error::InvalidCertificate(reason) = error else { return error };
    let reason = platform::reason(reason);
    let Ok(server) = ParsedCertificate::try_from(end_entity) else { return reason.into() };
    match check_alone(&server, now) {
        Err(rustls::Error::InvalidCertificate(
            own @ (ExpiredContext { .. } | NotValidYetContext { .. } | InvalidPurposeContext { .. }),
        )) => own.into(),
        _ if reason == NotValidForName => {
            verify_server_name(&server, server_name).err().unwrap_or_else(|| reason.into())
        }
        _ => reason.into(),
    }
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
    fn new(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        // webpki lets any trusted certificate vouch for others. One that is no CA's stands for itself alone (RFC 5280
        // section 6.1.4, k).
        let may_vouch = |certificate: &&CertificateDer<'_>| certificate::is_ca(certificate) != Some(false);
        roots.add_parsable_certificates(certificates.iter().filter(may_vouch).cloned());
        let algorithms = provider::provider().signature_verification_algorithms.all;
        Self { certificates, roots, algorithms }
    }

    /// The keys of those who may have signed one of these certificates.
    fn issuers<'a>(&'a self, end_entity: &CertificateDer<'_>, above: &'a [CertificateDer<'_>]) -> Vec<&'a [u8]> {
        let shown: Vec<_> = std::iter::once(end_entity)
            .chain(above)
            .filter_map(|one| webpki::EndEntityCert::try_from(one).ok())
            .collect();
        let signed = |name: &[u8]| shown.iter().any(|certificate| certificate.issuer() == name);
        let is_issuer =
            |one: &&CertificateDer<'_>| webpki::EndEntityCert::try_from(*one).is_ok_and(|one| signed(one.subject()));
        let roots = self.roots.roots.iter().filter(|root| signed(&root.subject));
        let above = above.iter().filter(is_issuer).filter_map(|one| certificate::key(one));
        above.chain(roots.map(|root| root.subject_public_key_info.as_ref())).collect()
    }

    fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|own| own.as_ref() == certificate.as_ref())
    }

    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = Leaf::new(end_entity);
        let server = ParsedCertificate::try_from(leaf.unmarked())?;
        if self.holds(end_entity) {
            check_alone(&server, now)?; // nobody need vouch for it
        } else {
            let algorithms = leaf.algorithms(self.algorithms);
            let algorithms: Vec<_> = algorithms.iter().map(|one| one as &dyn SignatureVerificationAlgorithm).collect();
            verify_server_cert_signed_by_trust_anchor(&server, &self.roots, intermediates, now, &algorithms)
                .map_err(|error| or_unusual_key(error, "a CA's", self.issuers(end_entity, intermediates)))?;
        }
        verify_server_name(&server, server_name)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// What a chain of certificates is verified against.
#[derive(Debug)]
enum Roots {
    Store(Store),
    System(Arc<dyn ServerCertVerifier>),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::OtherError;
    use rustls::pki_types::pem::PemObject;

    use super::super::certificate::tests::CA;
    use super::super::explain;
    use super::super::trust::SystemStore;
    use super::*;

    fn other(text: &str) -> CertificateError {
        let error: Box<dyn std::error::Error + Send + Sync> = text.into();
        CertificateError::Other(OtherError(Arc::from(error)))
    }

    /// The words for a self-signed certificate for localhost at a second of 2026 or later.
    fn words(reason: CertificateError, name: &str, second: u64) -> String {
        let certificate = CertificateDer::from_pem_slice(CA.as_bytes()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
        let error = in_detail(reason.into(), &certificate, &name.try_into().unwrap(), now);
        let error = with_advice(error, &certificate, &Trust::System(SystemStore::default()));
        explain::of(&error).replace("invalid peer certificate: ", "")
    }

    const IN_TIME: u64 = 1_900_000_000;

    #[test]
    fn a_systems_refusal_is_told_in_our_words() {
        for (reason, name, second, expected) in [
            (CertificateError::Expired, "localhost", 4_400_000_000, "expired since 14 Jan 2109 18:52:17 UTC"),
            (CertificateError::Expired, "localhost", 1_000_000_000, "not valid before 25 Nov 2026 18:52:17 UTC"),
            (CertificateError::UnknownIssuer, "localhost", 4_400_000_000, "expired since 14 Jan 2109 18:52:17 UTC"),
            (CertificateError::Expired, "localhost", IN_TIME, "expired"),
            (
                CertificateError::NotValidForName,
                "example.com",
                IN_TIME,
                "not valid for name \"example.com\"; it is for localhost",
            ),
            (
                CertificateError::UnknownIssuer,
                "localhost",
                IN_TIME,
                "self-signed certificate; verify='/path/to/it.pem' would trust it alone",
            ),
            (
                other("Цепочка (os error -2146762486)"),
                "localhost",
                IN_TIME,
                "self-signed certificate; verify='/path/to/it.pem' would trust it alone",
            ),
            (other("told: -67820 by somebody"), "localhost", IN_TIME, "told: -67820 by somebody"),
        ] {
            assert_eq!(words(reason, name, second), expected);
        }
    }
}
