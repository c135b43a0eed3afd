//! The text of a PEM file → its certificates and its key (RFC 7468), as OpenSSL and Windows write it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate;

const CERTIFICATE: &[u8] = b"CERTIFICATE";
/// Older OpenSSL's name of the same.
const X509: &[u8] = b"X509 CERTIFICATE";
/// A certificate, then OpenSSL's own data about what it is trusted for.
const TRUSTED: &[u8] = b"TRUSTED CERTIFICATE";

const PKCS8: &[u8] = b"PRIVATE KEY";
const PKCS1: &[u8] = b"RSA PRIVATE KEY";
const SEC1: &[u8] = b"EC PRIVATE KEY";
const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY";

/// In UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a section of a file. No fault quotes the file: a private key may stand there.
pub type Fault = &'static str;

const CUT_OFF: Fault = "a certificate in it has no end";
const BROKEN: Fault = "a certificate in it is broken";
const KEY_CUT_OFF: Fault = "the key in it has no end";
const KEY_BROKEN: Fault = "the key in it is broken";
const KEY_ENCRYPTED: Fault = "the key in it is encrypted; openssl pkey -in FILE -out NEW removes the password";
const KEY_UNKNOWN: Fault = "the key in it is of another kind than RSA, ECDSA and Ed25519 in PEM";

/// The certificates of a file that are trusted for servers, in its order. All else in it is passed over: other sections, text
/// before and between.
pub fn certificates(file: &[u8]) -> Vec<Result<CertificateDer<'static>, Fault>> {
    let trusted = |(certificate, is_trusted): (_, bool)| is_trusted.then_some(certificate);
    found(file).into_iter().filter_map(|found| found.map(trusted).transpose()).collect()
}

/// The certificates of a file, whatever they are trusted for.
pub fn chain(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    found(file).into_iter().map(|found| found.map(|(certificate, _)| certificate)).collect()
}

/// The certificates of a file, and whether each is trusted for servers.
fn found(file: &[u8]) -> Vec<Result<(CertificateDer<'static>, bool), Fault>> {
    let text = decode(file);
    sections(&text).iter().filter(|section| section.is_certificate()).map(Section::certificate).collect()
}

/// The first private key of a file.
pub fn key(file: &[u8]) -> Result<Option<PrivateKeyDer<'static>>, Fault> {
    let text = decode(file);
    sections(&text).into_iter().find(Section::is_key).map(|section| section.key()).transpose()
}

/// UTF-16, as PowerShell's `>` writes it, is known by its mark; all other text is as good as ASCII here.
fn decode(file: &[u8]) -> Cow<'_, [u8]> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = file.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(unit).collect();
        Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
    };
    match file {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => Cow::Borrowed(file),
    }
}

/// The sections of a text, those without an end among them. They are read as bytes, not as text: a first call reads the 200 KB of
/// the system's store.
fn sections(text: &[u8]) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut is_open = false;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii) {
        if let Some(label) = boundary(line, b"-----BEGIN ") {
            sections.push(Section { label, end: None, base64: Vec::new(), is_encrypted: label == ENCRYPTED });
            is_open = true;
        } else if let Some(section) = sections.last_mut().filter(|_| is_open) {
            section.end = boundary(line, b"-----END ");
            is_open = section.end.is_none();
            if is_open {
                section.add(line);
            }
        }
    }
    sections
}

/// The label of a line that begins or ends a section. A byte order mark may stand before the first one.
fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).strip_prefix(start)?.strip_suffix(b"-----")
}

struct Section<'a> {
    label: &'a [u8],
    /// The label of the line that ends it.
    end: Option<&'a [u8]>,
    base64: Vec<u8>,
    is_encrypted: bool,
}

impl Section<'_> {
    fn add(&mut self, line: &[u8]) {
        // OpenSSL's older keys begin with a header: `Proc-Type: 4,ENCRYPTED` (RFC 1421 section 4.6.1.1).
        if line.contains(&b':') {
            self.is_encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        } else {
            self.base64.extend_from_slice(line);
        }
    }

    fn is_certificate(&self) -> bool {
        [CERTIFICATE, X509, TRUSTED].contains(&self.label)
    }

    fn is_key(&self) -> bool {
        self.label.ends_with(PKCS8)
    }

    fn is_complete(&self) -> bool {
        self.end == Some(self.label)
    }

    /// The decoded content. Blanks within a line are rare, so they are looked for last.
    fn der(&self) -> Option<Vec<u8>> {
        let packed = || self.base64.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
        STANDARD.decode(&self.base64).or_else(|_| STANDARD.decode(packed())).ok()
    }

    /// The certificate, and whether it is trusted for servers.
    fn certificate(&self) -> Result<(CertificateDer<'static>, bool), Fault> {
        if !self.is_complete() {
            return Err(CUT_OFF);
        }
        let der = self.der().ok_or(BROKEN)?;
        let (certificate, trust) = certificate::split_trust(&der).ok_or(BROKEN)?;
        let is_trusted = match (self.label, certificate::is_for_servers(trust)) {
            (TRUSTED, Some(is_trusted)) => is_trusted,
            _ if trust.is_empty() => true,
            _ => return Err(BROKEN),
        };
        let certificate = CertificateDer::from(certificate.to_vec());
        webpki::anchor_from_trusted_cert(&certificate).map_err(|_| BROKEN)?;
        Ok((certificate, is_trusted))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Fault> {
        if !self.is_complete() {
            return Err(KEY_CUT_OFF);
        }
        if self.is_encrypted {
            return Err(KEY_ENCRYPTED);
        }
        let der = || self.der().ok_or(KEY_BROKEN);
        match self.label {
            PKCS8 => Ok(PrivateKeyDer::Pkcs8(der()?.into())),
            PKCS1 => Ok(PrivateKeyDer::Pkcs1(der()?.into())),
            SEC1 => Ok(PrivateKeyDer::Sec1(der()?.into())),
            _ => Err(KEY_UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::CA;
    use super::*;

    fn read(file: impl AsRef<[u8]>) -> Result<usize, Fault> {
        certificates(file.as_ref()).into_iter().collect::<Result<Vec<_>, _>>().map(|found| found.len())
    }

    fn marked(mark: [u8; 2], unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.into_iter().chain(CA.encode_utf16().flat_map(unit)).collect()
    }

    #[test]
    fn reads_what_windows_and_openssl_write() {
        let old = CA.replace("CERTIFICATE", "X509 CERTIFICATE");
        for file in [
            CA.to_owned(),
            format!("\u{feff}{CA}"),
            CA.replace('\n', "\r\n"),
            CA.replace('\n', "\r"),
            CA.replace('\n', " \n  "),
            CA.replace("MII", "M I\tI"),
            CA.replace('\n', "\n\r"),
            format!("subject=CN = a\n\n{CA}\nno line end before the end"),
            old,
        ] {
            assert_eq!(read(&file), Ok(1), "{file:?}");
            assert_eq!(read(format!("{file}\r\n{CA}")), Ok(2), "{file:?}");
        }
        assert_eq!(read(marked([0xff, 0xfe], u16::to_le_bytes)), Ok(1));
        assert_eq!(read(marked([0xfe, 0xff], u16::to_be_bytes)), Ok(1));
        assert_eq!(read([b"\xcf\xf0\xe8\xe2\xe5\xf2\n", CA.as_bytes()].concat()), Ok(1));
    }

    #[test]
    fn finds_the_key() {
        let section = |label: &[u8], inside: &str| {
            let label = str::from_utf8(label).unwrap();
            format!("-----BEGIN {label}-----\n{inside}\n-----END {label}-----\n")
        };
        let parameters = section(b"EC PARAMETERS", "BggqhkjOPQMBBw==");
        for label in [PKCS8, PKCS1, SEC1] {
            let file = format!("{CA}\n{parameters}{}", section(label, "QUJD"));
            assert_eq!(key(file.as_bytes()).unwrap().unwrap().secret_der(), b"ABC", "{file}");
            assert_eq!(key(file.replace('\n', "\r\n").as_bytes()).unwrap().unwrap().secret_der(), b"ABC", "{file}");
            assert_eq!(chain(file.as_bytes()).unwrap().len(), 1);
        }
        let header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nQUJD";
        let fault = |file: &str| key(file.as_bytes()).unwrap_err();
        assert_eq!(fault(&section(PKCS1, header)), KEY_ENCRYPTED);
        assert_eq!(fault(&section(SEC1, header)), KEY_ENCRYPTED);
        assert_eq!(fault(&section(ENCRYPTED, "QUJD")), KEY_ENCRYPTED);
        assert_eq!(fault(&section(b"OPENSSH PRIVATE KEY", "QUJD")), KEY_UNKNOWN);
        assert_eq!(fault(&section(b"DSA PRIVATE KEY", "QUJD")), KEY_UNKNOWN);
        assert_eq!(fault(&section(PKCS8, "Q?JD")), KEY_BROKEN);
        assert_eq!(fault("-----BEGIN PRIVATE KEY-----\nQUJD"), KEY_CUT_OFF);
        assert_eq!(key(CA.as_bytes()), Ok(None));
    }
}
