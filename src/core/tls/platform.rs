//! The verifier of Windows and macOS, and what its refusals mean. Their texts are in the user's language; a number at the end
//! tells the reason.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, OtherError};

use super::explain::refused;

/// The system's own verifier, if it has one.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub fn verifier(_: &Arc<CryptoProvider>) -> Option<Result<Arc<dyn ServerCertVerifier>, String>> {
    None
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
pub fn verifier(provider: &Arc<CryptoProvider>) -> Option<Result<Arc<dyn ServerCertVerifier>, String>> {
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone());
    Some(verifier.map(|verifier| Arc::new(verifier) as _).map_err(|error| error.to_string()))
}

/// rustls-platform-verifier's text where macOS says that a certificate is for another purpose.
const OTHER_PURPOSE: &str = "certificate had invalid extensions";

/// A refusal of the system's verifier, as rustls or webpki would give it where that is possible.
pub fn reason(refusal: CertificateError) -> CertificateError {
    let CertificateError::Other(OtherError(message)) = &refusal else { return refusal };
    let message = message.to_string();
    if message == OTHER_PURPOSE {
        return CertificateError::InvalidPurpose;
    }
    number(&message).and_then(of_system).unwrap_or(refusal)
}

/// The number at the end: `… (os error -2146762486)` of Windows, `…: -67843` of macOS.
fn number(message: &str) -> Option<i32> {
    message.trim_end_matches(')').rsplit([' ', ':']).next()?.parse().ok()
}

/// The HRESULTs of Windows (winerror.h) and the OSStatuses of macOS (SecBase.h) that rustls-platform-verifier leaves as they are.
fn of_system(number: i32) -> Option<CertificateError> {
    let webpki = |reason| CertificateError::Other(OtherError(Arc::new(reason)));
    Some(match (number.cast_unsigned(), number) {
        // CERT_E_VALIDITYPERIODNESTING, errSecCertificateExpired
        (0x800b_0102, _) | (_, -67818) => CertificateError::Expired,
        // errSecCertificateNotValidYet
        (_, -67819) => CertificateError::NotValidYet,
        // CERT_E_ROLE, TRUST_E_BASIC_CONSTRAINTS
        (0x800b_0103 | 0x8009_6019, _) => webpki(webpki::Error::EndEntityUsedAsCa),
        // CERT_E_PATHLENCONST
        (0x800b_0104, _) => webpki(webpki::Error::PathLenConstraintViolated),
        // CERT_E_CRITICAL
        (0x800b_0105, _) => webpki(webpki::Error::UnsupportedCriticalExtension),
        // CERT_E_PURPOSE
        (0x800b_0106, _) => CertificateError::InvalidPurpose,
        // CERT_E_MALFORMED
        (0x800b_0108, _) => CertificateError::BadEncoding,
        // CERT_E_ISSUERCHAINING, CERT_E_CHAINING, CERT_E_UNTRUSTEDTESTROOT, CERT_E_UNTRUSTEDCA, errSecNotTrusted
        (0x800b_0107 | 0x800b_010a | 0x800b_010d | 0x800b_0112, _) | (_, -67843) => CertificateError::UnknownIssuer,
        // CERT_E_REVOKED
        (0x800b_010c, _) => CertificateError::Revoked,
        // CERT_E_REVOCATION_FAILURE, CRYPT_E_NO_REVOCATION_CHECK, CRYPT_E_REVOCATION_OFFLINE
        (0x800b_010e | 0x8009_2012 | 0x8009_2013, _) => {
            refused("the system cannot learn whether it is revoked; with verify='/path/to/ca.pem' nobody is asked")
        }
        // TRUST_E_EXPLICIT_DISTRUST, errSecTrustSettingDeny
        (0x800b_0111, _) | (_, -67654) => refused("the settings of this system forbid to trust it"),
        // TRUST_E_CERT_SIGNATURE
        (0x8009_6004, _) => CertificateError::BadSignature,
        // errSecCertificateValidityPeriodTooLong
        (_, -67901) => refused(
            "valid for longer than this system allows; verify='/path/to/ca.pem' does without the rules of the system",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> CertificateError {
        let error: Box<dyn std::error::Error + Send + Sync> = text.into();
        reason(CertificateError::Other(OtherError(Arc::from(error))))
    }

    #[test]
    fn reads_the_number_and_not_the_words() {
        for (text, meant) in [
            (
                "A certificate chain could not be built to a trusted root authority. (os error -2146762486)",
                Some("issuer"),
            ),
            ("Не удается построить цепочку сертификатов. (os error -2146762486)", Some("issuer")),
            ("OS Error -2146762482 (FormatMessageW() returned error 317) (os error -2146762482)", Some("cannot learn")),
            ("“localhost” certificate is not trusted: -67843", Some("issuer")),
            ("“localhost” certificate is expired: -67818", Some("expired")),
            ("“localhost” certificate is not standards compliant: -67901", Some("valid for longer")),
            (OTHER_PURPOSE, Some("purpose")),
            ("something else: -1", None),
            ("something else (os error 5)", None),
            ("", None),
        ] {
            let found = format!("{:?}", of(text)).to_lowercase();
            match meant {
                Some(meant) => assert!(found.contains(meant) && !found.contains("os error"), "{text}: {found}"),
                None => assert!(found.contains(text), "{found}"),
            }
        }
    }

    #[test]
    fn keeps_what_is_told_already() {
        assert_eq!(reason(CertificateError::Revoked), CertificateError::Revoked);
        assert_eq!(reason(CertificateError::NotValidForName), CertificateError::NotValidForName);
    }
}
