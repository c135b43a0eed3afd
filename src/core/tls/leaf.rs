//! A server's own certificate that is marked as a CA's (CA:TRUE), as `openssl req -x509` makes it.
//!
//! webpki refuses such a certificate; RFC 5280 section 6.1.4 asks for the mark above the last of a path alone, and curl accepts
//! it. So webpki gets a copy without the mark. Why this is safe:
//!
//! 1. The mark only gives a right, to sign other certificates. A copy without it has fewer rights than the original.
//! 2. The copy differs in this one octet: the names, dates, purposes and the key that webpki checks are the original's.
//! 3. The signature is verified over the original, so an original that nobody signed is refused.
//! 4. The copy is the last of its path and is never used as an issuer.
//! 5. The others of the path are verified as they came. One with the copy's signed part is verified over the original, but it
//!    lacks the mark, so webpki refuses it as an issuer.

use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm};

use super::certificate;

/// A server's certificate, and the copy of it that webpki gets if it has the mark of a CA.
pub struct Leaf<'a> {
    original: &'a CertificateDer<'a>,
    copy: Option<CertificateDer<'static>>,
}

impl<'a> Leaf<'a> {
    pub fn new(original: &'a CertificateDer<'a>) -> Self {
        Self { original, copy: certificate::without_ca_mark(original).map(CertificateDer::from) }
    }

    /// What webpki checks.
    pub fn unmarked(&self) -> &CertificateDer<'_> {
        self.copy.as_ref().unwrap_or(self.original)
    }

    /// The algorithms to verify its path with.
    pub fn algorithms(&self, algorithms: &[&'static dyn SignatureVerificationAlgorithm]) -> Vec<OverOriginal<'_>> {
        let original = certificate::signed_part(self.original).unwrap_or_default();
        let copy = self.copy.as_ref().and_then(|copy| certificate::signed_part(copy));
        algorithms.iter().map(|algorithm| OverOriginal { algorithm: *algorithm, copy, original }).collect()
    }
}

/// Verifies over the original what webpki wants verified over the copy.
#[derive(Debug)]
pub struct OverOriginal<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    copy: Option<&'a [u8]>,
    original: &'a [u8],
}

impl SignatureVerificationAlgorithm for OverOriginal<'_> {
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
