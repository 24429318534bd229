//! What is read in certificates beside what rustls reads: the public key, and the names of a client.
//!
//! DER is read as far as it takes (RFC 5280, 4.1 and 4.2.1.6). Any bytes give an answer or nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, subjectAltName.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// The kinds of names that count: a mail address, a host, a URI, an address.
const MAIL: u8 = 0x81;
const HOST: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

/// The rest of some DER.
struct Reader<'d>(&'d [u8]);

/// A tag, the content, and all of it with its head.
type Element<'d> = (u8, &'d [u8], &'d [u8]);

impl<'d> Reader<'d> {
    /// The next element; nothing at the end, and where it is none.
    fn next(&mut self) -> Option<Element<'d>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Certificates are shorter than 16 MiB.
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next element, if it has this tag.
    fn content(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next().filter(|(tag, ..)| *tag == wanted).map(|(_, content, _)| content)
    }
}

/// The public key of a certificate, as the DER of a SubjectPublicKeyInfo, and what follows it.
fn parts(certificate: &[u8]) -> Option<(&[u8], Reader<'_>)> {
    let mut whole = Reader(Reader(certificate).content(SEQUENCE)?);
    let mut signed = Reader(whole.content(SEQUENCE)?);
    // A certificate of the first version does not say so.
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    // Serial number, algorithm, issuer, validity, subject.
    for _ in 0..5 {
        signed.next()?;
    }
    let (_, _, public_key) = signed.next().filter(|(tag, ..)| *tag == SEQUENCE)?;
    Some((public_key, signed))
}

/// The public key, as the DER of a SubjectPublicKeyInfo.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    parts(certificate).map(|(public_key, _)| public_key)
}

/// The alternative names of a certificate, in the words in which a configuration has them: hosts, mail
/// addresses and URIs as they are, addresses as Go writes them.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    alternative_names(certificate).unwrap_or_default()
}

fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, mut rest) = parts(certificate)?;
    let extensions = std::iter::from_fn(|| rest.next()).find(|(tag, ..)| *tag == EXTENSIONS)?.1;
    let mut extensions = Reader(Reader(extensions).content(SEQUENCE)?);
    let mut names = Vec::new();
    while let Some(extension) = extensions.content(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.content(OBJECT_IDENTIFIER)? != ALTERNATIVE_NAMES {
            continue;
        }
        // A boolean may say that it is critical.
        let value =
            std::iter::from_fn(|| extension.next()).find(|(tag, ..)| *tag == OCTET_STRING)?.1;
        let mut listed = Reader(Reader(value).content(SEQUENCE)?);
        names.extend(
            std::iter::from_fn(|| listed.next()).filter_map(|(tag, name, _)| text(tag, name)),
        );
    }
    Some(names)
}

fn text(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        MAIL | HOST | URI => std::str::from_utf8(name).ok().map(str::to_owned),
        ADDRESS => match name.len() {
            4 => <[u8; 4]>::try_from(name).ok().map(|bytes| Ipv4Addr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(name).ok().map(|bytes| {
                let address = Ipv6Addr::from(bytes);
                // As Go writes it.
                address.to_ipv4_mapped().map_or_else(|| address.to_string(), |v4| v4.to_string())
            }),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};

    #[test]
    fn names_and_the_key_are_found_and_any_bytes_are_taken() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
        params.subject_alt_names.extend([
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
            SanType::Rfc822Name("a@b.example".try_into().expect("a name")),
            SanType::URI("spiffe://b/x".try_into().expect("a name")),
        ]);
        let certificate = params.self_signed(&key).expect("a certificate");
        let der: &[u8] = certificate.der();
        let expected = ["a.example", "10.0.0.1", "::1", "a@b.example", "spiffe://b/x"];
        assert_eq!(names(der), expected);
        assert_eq!(public_key(der), Some(&*key.subject_public_key_info()));
        for end in 0..der.len() {
            assert!(names(&der[..end]).len() <= expected.len());
            let mut noise = der.to_vec();
            for byte in [0x00, 0x30, 0x80, 0x83, 0xff] {
                noise[end] = byte;
                let _ = (names(&noise), public_key(&noise));
            }
        }
        let plain = CertificateParams::new(Vec::new()).expect("parameters");
        let plain = plain.self_signed(&key).expect("a certificate");
        assert!(names(plain.der()).is_empty());
    }
}
