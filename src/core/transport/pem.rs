//! The text of a PEM file → its certificates (RFC 7468), as OpenSSL and Windows write it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;

use super::certificate;

const CERTIFICATE: &str = "CERTIFICATE";
/// Older OpenSSL's name of the same.
const X509: &str = "X509 CERTIFICATE";
/// A certificate, then OpenSSL's own data about what it is trusted for.
const TRUSTED: &str = "TRUSTED CERTIFICATE";

/// What is wrong with a certificate in a file. No fault quotes the file: a private key may stand there.
pub type Fault = &'static str;

const CUT_OFF: Fault = "a certificate in it has no end";
const BROKEN: Fault = "a certificate in it is broken";

/// The certificates of a file, in its order. All else in it is passed over: other sections, text before and between.
pub fn certificates(file: &[u8]) -> Vec<Result<CertificateDer<'static>, Fault>> {
    let text = decode(file);
    let mut found = Vec::new();
    let mut section: Option<Section> = None;
    for line in text.split(['\n', '\r']).map(str::trim) {
        if let Some(label) = boundary(line, "-----BEGIN ") {
            let begun = section.replace(Section { label, base64: String::new() });
            found.extend(begun.filter(Section::is_certificate).map(|_| Err(CUT_OFF)));
        } else if let Some(label) = boundary(line, "-----END ") {
            found.extend(section.take().filter(Section::is_certificate).and_then(|section| section.certificate(label)));
        } else if let Some(section) = section.as_mut().filter(|section| section.is_certificate()) {
            section.base64.extend(line.split_whitespace());
        }
    }
    found.extend(section.filter(Section::is_certificate).map(|_| Err(CUT_OFF)));
    found
}

/// UTF-16, as PowerShell's `>` writes it, is known by its mark; all other text is as good as ASCII here.
fn decode(file: &[u8]) -> Cow<'_, str> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = file.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(unit).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match file {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(file),
    }
}

/// The label of a line that begins or ends a section. A byte order mark may stand before the first one.
fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim_start_matches('\u{feff}').strip_prefix(start)?.strip_suffix("-----")
}

struct Section<'a> {
    label: &'a str,
    base64: String,
}

impl Section<'_> {
    fn is_certificate(&self) -> bool {
        [CERTIFICATE, X509, TRUSTED].contains(&self.label)
    }

    /// The certificate of a section that ends with this label; none if it is not trusted for servers.
    fn certificate(&self, end: &str) -> Option<Result<CertificateDer<'static>, Fault>> {
        if end != self.label {
            return Some(Err(CUT_OFF));
        }
        let Ok(der) = STANDARD.decode(&self.base64) else { return Some(Err(BROKEN)) };
        let Some((certificate, trust)) = certificate::split_trust(&der) else { return Some(Err(BROKEN)) };
        match (self.label, certificate::is_for_servers(trust)) {
            (TRUSTED, Some(false)) => return None,
            (TRUSTED, Some(true)) => {}
            _ if trust.is_empty() => {}
            _ => return Some(Err(BROKEN)),
        }
        let certificate = CertificateDer::from(certificate.to_vec());
        Some(if webpki::anchor_from_trusted_cert(&certificate).is_ok() { Ok(certificate) } else { Err(BROKEN) })
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
    fn passes_over_other_sections() {
        let key = "-----BEGIN PRIVATE KEY-----\nno base64!\n-----END PRIVATE KEY-----\n";
        assert_eq!(read(format!("{key}{CA}\n{key}")), Ok(1));
        assert_eq!(read(key), Ok(0));
        assert_eq!(read("-----BEGIN PRIVATE KEY-----\nQUJD"), Ok(0));
        assert_eq!(read(""), Ok(0));
    }

    #[test]
    fn finds_what_is_broken() {
        let (half, _) = CA.split_at(CA.len() / 2);
        assert_eq!(read(half), Err(CUT_OFF));
        assert_eq!(read(format!("{half}\n{CA}")), Err(CUT_OFF));
        assert_eq!(read(CA.replace("END CERTIFICATE", "END X509 CERTIFICATE")), Err(CUT_OFF));
        assert_eq!(read(CA.replace("MII", "M?I")), Err(BROKEN));
        assert_eq!(read("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----"), Err(BROKEN));
        assert_eq!(read("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), Err(BROKEN));
        assert_eq!(certificates(format!("{CA}\n{half}").as_bytes()).len(), 2);
    }

    #[test]
    fn honours_what_openssl_trusts_a_certificate_for() {
        let lines: String = CA.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(lines).unwrap();
        let (servers, clients, any) =
            (b"\x06\x08+\x06\x01\x05\x05\x07\x03\x01", b"\x06\x08+\x06\x01\x05\x05\x07\x03\x02", b"\x06\x04U\x1d%\0");
        let list = |tag: u8, ids: &[u8]| [&[tag, ids.len() as u8], ids].concat();
        let trusted = |trust: &[u8]| {
            let base64 = STANDARD.encode([der.as_slice(), &list(0x30, trust)].concat());
            read(format!("-----BEGIN {TRUSTED}-----\n{base64}\n-----END {TRUSTED}-----"))
        };
        assert_eq!(trusted(b""), Ok(1));
        assert_eq!(trusted(&list(0x30, servers)), Ok(1));
        assert_eq!(trusted(&list(0x30, any)), Ok(1));
        assert_eq!(trusted(&list(0x30, &[clients.as_slice(), servers].concat())), Ok(1));
        assert_eq!(trusted(&list(0xa0, clients)), Ok(1));
        assert_eq!(trusted(&list(0x30, clients)), Ok(0));
        assert_eq!(trusted(&list(0xa0, servers)), Ok(0));
        assert_eq!(trusted(&list(0xa0, any)), Ok(0));
        assert_eq!(trusted(&[list(0x30, servers), list(0xa0, servers)].concat()), Ok(0));
        assert_eq!(trusted(b"\x30\x05"), Err(BROKEN));
    }
}
