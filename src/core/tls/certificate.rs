//! What stands in a certificate where neither rustls nor webpki says it (RFC 5280 section 4.1).

const BOOLEAN: u8 = 0x01;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[3]`, which holds the extensions of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// `[0]`, which holds what OpenSSL does not trust a certificate for.
const REJECTED: u8 = 0xa0;
/// 1.3.6.1.5.5.7.3.1 and 2.5.29.37.0 (RFC 5280 section 4.2.1.12), with tag and length.
const SERVER_AUTH: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const ANY_USAGE: [u8; 6] = [0x06, 0x04, 0x55, 0x1d, 0x25, 0x00];
const RSA: &str = "1.2.840.113549.1.1.1";
/// 2.5.29.19, with tag and length.
const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];

/// One element of DER (X.690 section 8.1).
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// The element with tag and length.
    whole: &'a [u8],
    rest: &'a [u8],
}

fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, after) = der.split_first()?;
    let (&first, after) = after.split_first()?;
    let (length, after) = if first < 0x80 {
        (usize::from(first), after)
    } else {
        // Three octets of length are 16 MiB; a certificate has less.
        let (octets, after) =
            after.split_at_checked(usize::from(first & 0x7f)).filter(|(octets, _)| octets.len() <= 3)?;
        (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), after)
    };
    let (content, rest) = after.split_at_checked(length)?;
    let (whole, _) = der.split_at_checked(der.len() - rest.len())?;
    Some(Element { tag, content, whole, rest })
}

/// The elements in order, until one cannot be read.
fn elements(mut der: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let found = element(der)?;
        der = found.rest;
        Some(found)
    })
}

fn sequence(der: &[u8]) -> Option<Element<'_>> {
    element(der).filter(|found| found.tag == SEQUENCE)
}

/// A certificate, and what OpenSSL appends to it in a `TRUSTED CERTIFICATE`.
pub fn split_trust(der: &[u8]) -> Option<(&[u8], &[u8])> {
    sequence(der).map(|certificate| (certificate.whole, certificate.rest))
}

/// Whether that trust includes TLS servers (X509_CERT_AUX and obj_trust() of OpenSSL): nothing rejects them, and a list of
/// what is trusted names them. None if it cannot be read.
pub fn is_for_servers(trust: &[u8]) -> Option<bool> {
    if trust.is_empty() {
        return Some(true);
    }
    let parts = sequence(trust).filter(|trust| trust.rest.is_empty())?.content;
    let list = |tag| match elements(parts).find(|part| part.tag == tag) {
        Some(part) => part.content,
        None => &[],
    };
    if elements(parts).map(|part| part.whole.len()).sum::<usize>() != parts.len() {
        return None;
    }
    let (trusted, rejected) = (list(SEQUENCE), list(REJECTED));
    let names_servers = |list| elements(list).any(|id| [&SERVER_AUTH[..], &ANY_USAGE].contains(&id.whole));
    Some(!names_servers(rejected) && (trusted.is_empty() || names_servers(trusted)))
}

/// The part of a certificate that is signed.
pub fn signed_part(certificate: &[u8]) -> Option<&[u8]> {
    Some(sequence(sequence(certificate)?.content)?.whole)
}

/// The basic constraints (RFC 5280 section 4.2.1.9), without the SEQUENCE around them.
fn basic_constraints(certificate: &[u8]) -> Option<&[u8]> {
    let signed = sequence(signed_part(certificate)?)?;
    let extensions = elements(signed.content).find(|part| part.tag == EXTENSIONS)?;
    let constraints = elements(sequence(extensions.content)?.content)
        .find(|extension| element(extension.content).is_some_and(|id| id.whole == BASIC_CONSTRAINTS))?;
    // The last part of an extension is its value, an OCTET STRING.
    Some(sequence(elements(constraints.content).last()?.content)?.content)
}

/// The object identifiers of an AlgorithmIdentifier as numbers: the algorithm's, and its parameter's if that is one too.
pub fn object_identifiers(identifier: &[u8]) -> Vec<String> {
    elements(identifier).filter(|part| part.tag == OBJECT_IDENTIFIER).map(|part| numbers(part.content)).collect()
}

/// An object identifier as numbers (X.690 section 8.19).
fn numbers(identifier: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for octet in identifier {
        arc = arc.saturating_mul(128).saturating_add(u64::from(octet & 0x7f));
        if octet & 0x80 == 0 {
            // The first octets hold two arcs.
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first.to_string());
                arc -= first * 40;
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    arcs.join(".")
}

/// The length of an RSA key in bits (RFC 8017 section A.1.1); none of another key. Takes the contents of a
/// SubjectPublicKeyInfo.
pub fn rsa_bits(key: &[u8]) -> Option<usize> {
    let modulus = rsa_numbers(key)?.content;
    let leading = modulus.iter().take_while(|octet| **octet == 0).count();
    let first = modulus.get(leading)?;
    Some((modulus.len() - leading) * 8 - first.leading_zeros() as usize)
}

/// The public exponent of an RSA key, where it is no longer than usual ones.
pub fn rsa_exponent(key: &[u8]) -> Option<u64> {
    let exponent = element(rsa_numbers(key)?.rest)?.content;
    (exponent.len() <= 8).then(|| exponent.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

/// The modulus of an RSA key, before its exponent.
fn rsa_numbers(key: &[u8]) -> Option<Element<'_>> {
    let algorithm = sequence(key)?;
    if object_identifiers(algorithm.content) != [RSA] {
        return None;
    }
    // The first octet of a BIT STRING counts unused bits.
    let (_, key) = element(algorithm.rest)?.content.split_first()?;
    element(sequence(key)?.content)
}

/// The AlgorithmIdentifier of a key, without the SEQUENCE around it. Takes the contents of a SubjectPublicKeyInfo.
pub fn key_algorithm(key: &[u8]) -> &[u8] {
    sequence(key).map_or(&[], |algorithm| algorithm.content)
}

/// The contents of a certificate's SubjectPublicKeyInfo.
pub fn key(certificate: &[u8]) -> Option<&[u8]> {
    // Before it: the version and, as SEQUENCEs, the algorithm of the signature, the issuer, the validity, the subject.
    let parts = elements(sequence(signed_part(certificate)?)?.content);
    Some(parts.filter(|part| part.tag == SEQUENCE).nth(4)?.content)
}

/// Whether a SubjectPublicKeyInfo has the key of a certificate. The algorithm beside it may be written in several ways.
pub fn is_key_of(info: &[u8], certificate: &[u8]) -> bool {
    let bits = |info| elements(info).last().map(|last| last.content);
    let own = sequence(info).and_then(|info| bits(info.content));
    own.is_some() && own == key(certificate).and_then(bits)
}

/// Whether a file holds DER: a certificate, or PKCS #12 (RFC 7292).
pub fn is_der(file: &[u8]) -> bool {
    sequence(file).is_some_and(|whole| whole.rest.is_empty())
}

/// What a certificate says of itself: to be a CA's, not to be one, or nothing.
pub fn is_ca(certificate: &[u8]) -> Option<bool> {
    basic_constraints(certificate).map(|constraints| ca_mark(constraints).is_some())
}

fn ca_mark(constraints: &[u8]) -> Option<&[u8]> {
    element(constraints).filter(|mark| mark.tag == BOOLEAN && mark.content == [0xff]).map(|mark| mark.content)
}

/// A copy that is no CA's, of a certificate that is one: the same but for that one octet, so its signature is broken.
pub fn without_ca_mark(certificate: &[u8]) -> Option<Vec<u8>> {
    let mark = ca_mark(basic_constraints(certificate)?)?;
    let place = mark.as_ptr().addr() - certificate.as_ptr().addr();
    let mut copy = certificate.to_vec();
    *copy.get_mut(place)? = 0x00;
    Some(copy)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// P-256, for localhost, CA:TRUE, as `openssl req -x509` makes it.
    pub const CA: &str = "-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUV4I5aqtOV/FQU7szqRAF85Z3IMswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTE4NTIxN1oYDzIxMDkwMTE0
MTg1MjE3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS92ozBRCftaxThYn9ZCXJDtU9m2RKX0KRBuLA7UiyJ5UlgBKYJQq3k
JUlCwd4/9aUeijbP0P2wBVEjyoUbTKkco2kwZzAdBgNVHQ4EFgQUbHZqUXLkmfAQ
fCAspc+cNnOkd0cwHwYDVR0jBBgwFoAUbHZqUXLkmfAQfCAspc+cNnOkd0cwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgBUBCaYUW/q8wBRnvrxfKtICb/xRJ9T2I5JqtoVMEIAkCIQDftTlXxG7/
En7GRI0j0bp9JXf6EJ0/LPoy6GKltBgaog==
-----END CERTIFICATE-----";

    fn ca() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()
    }

    #[test]
    fn takes_the_mark_of_a_ca_away() {
        let certificate = ca();
        let copy = without_ca_mark(&certificate).unwrap();
        assert_eq!((is_ca(&certificate), is_ca(&copy)), (Some(true), Some(false)));
        assert_eq!(without_ca_mark(&copy), None);
        let changed: Vec<_> = certificate.iter().zip(copy.iter()).filter(|(before, after)| before != after).collect();
        assert_eq!(changed, [(&0xff, &0x00)]);
        assert_ne!(signed_part(&certificate), signed_part(&copy));
        assert!(webpki::EndEntityCert::try_from(&CertificateDer::from(copy)).is_ok());
    }
}
