//! Whom a TLS connection trusts, and who its client is → its TLS configuration.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::certificate;
use super::identity::Identity;
use super::provider;
use super::trust::Trust;
use crate::core::failure::SetupFailure;

/// All that TLS connections must have in common to be shared. Plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    pub trust: Trust,
    /// Whom a server may ask for. Connections and sessions of one identity serve no other.
    pub identity: Option<Arc<Identity>>,
}

impl TlsOptions {
    /// The configuration of all connections with these options: TLS 1.2 and 1.3.
    pub fn config(&self) -> Result<ClientConfig, SetupFailure> {
        let provider = Arc::new(provider::provider());
        let verifier = Verifier { trust: self.trust.clone(), provider: provider.clone(), judge: OnceLock::new() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupFailure(format!("TLS cannot be set up: {error}")))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified().clone())))
            }
        })
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

/// The RSA keys that ring verifies with.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

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
            #[cfg(all(unix, not(target_vendor = "apple")))]
            Trust::System(store) => store.certificates().map(|certificates| Judge::Store(Store::new(certificates))),
            #[cfg(not(all(unix, not(target_vendor = "apple"))))]
            Trust::System(_) => rustls_platform_verifier::Verifier::new(self.provider.clone())
                .map(Judge::System)
                .map_err(|error| error.to_string()),
            Trust::File(file) => Ok(Judge::Store(Store::new(file.certificates().to_vec()))),
            Trust::Anyone => Err("certificates are not checked".to_owned()),
        });
        judge.as_ref().map_err(|text| rustls::Error::General(text.clone()))
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
        let verdict = match self.judge()? {
            Judge::Store(store) => store.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            #[cfg(not(all(unix, not(target_vendor = "apple"))))]
            Judge::System(system) => {
                system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        };
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) if is_self_signed(end_entity) => {
                Err(refused("self-signed certificate; verify='/path/to/it.pem' would trust it alone"))
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

/// Why a certificate is refused, where rustls has no reason of its own.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn refused(reason: impl Into<String>) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(Refused(reason.into())))).into()
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
    match bits.find(|bits| !RSA_BITS.contains(bits)) {
        Some(bits) if bits < *RSA_BITS.start() => {
            refused(format!("{whose} key is too weak: RSA of {bits} bits, and not 2048"))
        }
        Some(bits) => refused(format!("{whose} key is too large: RSA of {bits} bits; 8192 can be verified")),
        None => error,
    }
}

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
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // A server may show a certificate that is marked as a CA's, as `openssl req -x509` makes it: the last of a path is
        // not asked for the mark (RFC 5280 section 6.1.4). webpki refuses it, so a copy without the mark is checked, and
        // the signature over the original.
        let copy = certificate::without_ca_mark(end_entity).map(CertificateDer::from);
        let server = ParsedCertificate::try_from(copy.as_ref().unwrap_or(end_entity))?;
        if self.holds(end_entity) {
            // Nobody need vouch for it. What webpki checks before it looks for an issuer is left: dates and purpose.
            match verify_server_cert_signed_by_trust_anchor(&server, &RootCertStore::empty(), &[], now, self.algorithms)
            {
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                verdict => verdict?,
            }
        } else {
            let original = certificate::signed_part(end_entity).unwrap_or_default();
            let copy = copy.as_ref().and_then(|copy| certificate::signed_part(copy));
            let of_original: Vec<_> =
                self.algorithms.iter().map(|algorithm| OfOriginal { algorithm: *algorithm, copy, original }).collect();
            let algorithms: Vec<_> = of_original.iter().map(|one| one as &dyn SignatureVerificationAlgorithm).collect();
            verify_server_cert_signed_by_trust_anchor(&server, &self.roots, intermediates, now, &algorithms)
                .map_err(|error| or_unusual_key(error, "a CA's", self.issuers(end_entity, intermediates)))?;
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
