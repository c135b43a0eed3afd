//! An error of rustls or webpki → words that can be looked up. Their own texts hold Rust's names and dumps.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, OtherError, PeerIncompatible};

use super::certificate;
use crate::core::text;

const NO_TLS: &str = "the other side speaks no TLS";
const OLD_TLS: &str = "the server speaks neither TLS 1.2 nor TLS 1.3";
const NOTHING_IN_COMMON: &str = "no cipher, group or signature in common: the server must offer ECDHE with AES-GCM or ChaCha20 \
     on X25519, P-256 or P-384, and a key of RSA, P-256, P-384 or Ed25519; \
     or it wants a client certificate (cert)";
pub const UNKNOWN_ISSUER: &str = "unknown issuer: no trusted CA has signed it";
const CLIENT_CERTIFICATE: &str = "the server wants a client certificate (cert)";

/// What an error of rustls says.
pub fn of(error: &TlsError) -> String {
    use PeerIncompatible::{ServerDoesNotSupportTls12Or13, ServerTlsVersionIsDisabledByOurConfig};
    match error {
        TlsError::InvalidCertificate(reason) => format!("invalid peer certificate: {}", refusal(reason)),
        TlsError::AlertReceived(alert) => {
            let name = plain(alert);
            match alert {
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                    format!("{NOTHING_IN_COMMON} (TLS alert: {name})")
                }
                AlertDescription::ProtocolVersion => format!("{OLD_TLS}, or its key fits neither (TLS alert: {name})"),
                AlertDescription::CertificateRequired => format!("{CLIENT_CERTIFICATE} (TLS alert: {name})"),
                AlertDescription::UnrecognisedName => {
                    format!("the server knows no host of this name (TLS alert: {name})")
                }
                alert if refuses_client(*alert) => {
                    format!("the server refuses the client certificate (TLS alert: {name})")
                }
                _ => format!("the other side ended TLS (TLS alert: {name})"),
            }
        }
        error if is_no_tls(error) => NO_TLS.to_owned(),
        TlsError::InvalidMessage(reason) => format!("a malformed TLS message: {}", plain(reason)),
        TlsError::PeerIncompatible(ServerDoesNotSupportTls12Or13 | ServerTlsVersionIsDisabledByOurConfig) => {
            OLD_TLS.to_owned()
        }
        TlsError::PeerIncompatible(reason) => format!("the TLS of the other side does not fit: {}", plain(reason)),
        TlsError::PeerMisbehaved(reason) => format!("the other side breaks the rules of TLS: {}", plain(reason)),
        TlsError::General(message) => text::escape(message),
        error => text::escape(&error.to_string()),
    }
}

/// Whether what came is not TLS.
pub fn is_no_tls(error: &TlsError) -> bool {
    use InvalidMessage::{InvalidContentType, InvalidEmptyPayload, MessageTooLarge, UnknownProtocolVersion};
    let TlsError::InvalidMessage(reason) = error else { return false };
    matches!(reason, InvalidContentType | InvalidEmptyPayload | MessageTooLarge | UnknownProtocolVersion)
}

/// Alerts about the client's certificate. In TLS 1.3 they come after the client's side of the handshake is done, and the
/// server reads nothing that the client sends (RFC 8446 section 4.4.2.4).
pub fn refuses_client(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        UnknownCA, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// Why a certificate is refused, where rustls has no reason of its own.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Refused {}

pub fn refused(reason: impl Into<String>) -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(Refused(reason.into()))))
}

/// Why a certificate is refused.
fn refusal(reason: &CertificateError) -> String {
    let words = match reason {
        CertificateError::UnknownIssuer => UNKNOWN_ISSUER.to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("expired since {}", date(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => format!("not valid before {}", date(*not_before)),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names =
                if names.is_empty() { "no name (a common name does not count)".to_owned() } else { names.join(", ") };
            format!("not valid for name {:?}; it is for {names}", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not for servers: its extended key usage lacks serverAuth".to_owned()
        }
        CertificateError::BadEncoding => "malformed: not DER as RFC 5280 wants it".to_owned(),
        CertificateError::BadSignature => {
            "its signature is wrong: it was changed, or signed with another key".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            let signature = algorithm(signature_algorithm_id);
            let unusual = if signature == PSS { " with unusual parameters" } else { "" };
            format!("signed with {signature}{unusual}, which this package cannot verify")
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => {
            let (signature, key) = (algorithm(signature_algorithm_id), algorithm(public_key_algorithm_id));
            let key = if key == PSS { format!("for {PSS} alone") } else { format!("on {key}") };
            format!("signed with {signature} and a key {key}, which this package cannot verify")
        }
        CertificateError::Other(OtherError(reason)) => match reason.downcast_ref() {
            Some(reason) => webpki(reason),
            None => reason.to_string(),
        },
        reason => plain(reason),
    };
    text::escape(&words)
}

fn webpki(reason: &webpki::Error) -> String {
    use webpki::Error;
    let words = match reason {
        Error::CaUsedAsEndEntity => "a CA's certificate, used as a server's",
        Error::EndEntityUsedAsCa => "a certificate above it is not a CA's (no CA:TRUE)",
        Error::NameConstraintViolation => {
            "the name constraints of a CA above it do not allow this name, or are of a kind that cannot be checked \
             (directory names, mail addresses, URIs)"
        }
        Error::PathLenConstraintViolated => "more CAs above it than one of them allows (path length)",
        Error::MaximumPathDepthExceeded => "more than six CAs above it",
        Error::UnsupportedCriticalExtension => "a critical extension that this package does not know",
        Error::UnsupportedCertVersion => "of X.509 version 1 or 2; only version 3 can be checked",
        reason => return plain(reason),
    };
    words.to_owned()
}

/// The name of a Rust value as words: `HandshakeFailure` is a handshake failure.
fn plain(value: &dyn std::fmt::Debug) -> String {
    let name = format!("{value:?}");
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
        before = c;
    }
    words
}

/// A name as webpki gives it: `DnsName("example.com")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// 06 Nov 1994 08:49:37 UTC.
fn date(time: UnixTime) -> String {
    // X.509 knows no later date (RFC 5280 section 4.1.2.5), and httpdate neither.
    let seconds = time.as_secs().min(253_402_300_799);
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    format!("{} UTC", date.get(5..25).unwrap_or(&date))
}

/// The kind of a key, by the contents of its SubjectPublicKeyInfo.
pub fn key_kind(key: &[u8]) -> String {
    algorithm(certificate::key_algorithm(key))
}

const PSS: &str = "RSA-PSS";

/// The name of an AlgorithmIdentifier (RFC 5280 section 4.1.1.2), or its numbers.
fn algorithm(identifier: &[u8]) -> String {
    let numbers = certificate::object_identifiers(identifier);
    let Some(last) = numbers.last() else { return "an algorithm without a name".to_owned() };
    let name = match (numbers.first().map_or("", String::as_str), last.as_str()) {
        ("1.2.840.113549.1.1.10", _) => PSS,
        (_, "1.2.840.113549.1.1.1") => "RSA",
        (_, "1.2.840.113549.1.1.4") => "RSA with MD5",
        (_, "1.2.840.113549.1.1.5") => "RSA with SHA-1",
        (_, "1.2.840.113549.1.1.11") => "RSA with SHA-256",
        (_, "1.2.840.113549.1.1.12") => "RSA with SHA-384",
        (_, "1.2.840.113549.1.1.13") => "RSA with SHA-512",
        (_, "1.2.840.113549.1.1.14") => "RSA with SHA-224",
        (_, "1.2.840.10045.4.1") => "ECDSA with SHA-1",
        (_, "1.2.840.10045.4.3.1") => "ECDSA with SHA-224",
        (_, "1.2.840.10045.4.3.2") => "ECDSA with SHA-256",
        (_, "1.2.840.10045.4.3.3") => "ECDSA with SHA-384",
        (_, "1.2.840.10045.4.3.4") => "ECDSA with SHA-512",
        (_, "1.2.840.10045.3.1.7") => "P-256",
        (_, "1.3.132.0.10") => "secp256k1",
        (_, "1.3.132.0.33") => "P-224",
        (_, "1.3.132.0.34") => "P-384",
        (_, "1.3.132.0.35") => "P-521",
        (_, "1.3.101.112") => "Ed25519",
        (_, "1.3.101.113") => "Ed448",
        (_, "1.2.643.7.1.1.3.2" | "1.2.643.7.1.1.3.3") => "GOST R 34.10-2012",
        (_, last) if last.starts_with("1.3.36.3.3.2.8.1.1.") => "a Brainpool curve",
        (_, last) if last.starts_with("2.16.840.1.101.3.4.3.") => return format!("a newer algorithm of NIST, {last}"),
        (_, last) => return format!("the algorithm {last}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_become_words() {
        assert_eq!(plain(&AlertDescription::BadRecordMac), "bad record mac");
        assert_eq!(plain(&AlertDescription::UnknownCA), "unknown ca");
        assert_eq!(plain(&InvalidMessage::MissingData("x")), "missing data");
        assert_eq!(plain(&webpki::Error::TrailingData(webpki::DerTypeId::Certificate)), "trailing data");
    }

    #[test]
    fn dates_are_in_utc() {
        let at = |seconds| date(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(at(1_609_459_199), "31 Dec 2020 23:59:59 UTC");
        assert_eq!(at(u64::MAX), "31 Dec 9999 23:59:59 UTC");
    }

    #[test]
    fn algorithms_have_names() {
        assert_eq!(algorithm(b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04"), "ECDSA with SHA-512");
        assert_eq!(algorithm(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00"), "RSA with SHA-1");
        assert_eq!(algorithm(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23"), "P-521");
        assert_eq!(algorithm(b"\x06\x03\x2a\x03\x04"), "the algorithm 1.2.3.4");
        assert_eq!(algorithm(b"\x06"), "an algorithm without a name");
    }

    #[test]
    fn no_certificate_error_shows_rust() {
        for reason in [
            CertificateError::Other(OtherError(Arc::new(webpki::Error::NameConstraintViolation))),
            CertificateError::Other(OtherError(Arc::new(webpki::Error::SignatureAlgorithmMismatch))),
            CertificateError::NotValidForNameContext {
                expected: "h".try_into().unwrap(),
                presented: vec!["DnsName(\"a\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()],
            },
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6, 1, 1],
                supported_algorithms: Vec::new(),
            },
            CertificateError::Revoked,
        ] {
            let words = refusal(&reason);
            assert!(!words.contains(['{', '[', ':', '(']) || words.contains("name constraints"), "{words}");
        }
    }
}
