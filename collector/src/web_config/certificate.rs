//! What is read in certificates beside what rustls reads: the public key, the dates, and the names of a client.
//!
//! DER is read as far as it takes (RFC 5280, 4.1 and 4.2.1.6). Any bytes give an answer or nothing.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Dates with years of two digits, and of four.
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
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

/// What is used of a certificate.
struct Parts<'d> {
    validity: Reader<'d>,
    /// The DER of a SubjectPublicKeyInfo.
    public_key: &'d [u8],
    /// What follows the public key.
    rest: Reader<'d>,
}

fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let mut whole = Reader(Reader(certificate).content(SEQUENCE)?);
    let mut signed = Reader(whole.content(SEQUENCE)?);
    // A certificate of the first version does not say so.
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed.next()?;
    }
    let (_, validity, _) = signed.next()?;
    let _subject = signed.next()?;
    let (_, _, public_key) = signed.next().filter(|(tag, ..)| *tag == SEQUENCE)?;
    Some(Parts { validity: Reader(validity), public_key, rest: signed })
}

/// The public key, as the DER of a SubjectPublicKeyInfo.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    parts(certificate).map(|parts| parts.public_key)
}

/// The first and the last second in which a certificate is valid; nothing if one of them is no date.
pub(super) fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let mut validity = parts(certificate)?.validity;
    let mut date = || validity.next().and_then(|(tag, text, _)| date(tag, text));
    Some((date()?, date()?))
}

/// A date of a certificate (RFC 5280, 4.1.2.5). One before 1970 is taken for its first second: both are over.
fn date(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = match tag {
        UTC_TIME if digits < "5" => format!("20{digits}"),
        UTC_TIME => format!("19{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    if text.len() != "YYYYMMDDHHMMSS".len() {
        return None;
    }
    if &*text < "1970" {
        return Some(SystemTime::UNIX_EPOCH);
    }
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 8..10, 10..12, 12..14].map(|part| &text[part]);
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

/// The alternative names of a certificate, in the words in which a configuration has them: hosts, mail
/// addresses and URIs as they are, addresses as Go writes them.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    alternative_names(certificate).unwrap_or_default()
}

fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let mut rest = parts(certificate)?.rest;
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
                let _ = (names(&noise), public_key(&noise), validity(&noise));
            }
        }
        let plain = CertificateParams::new(Vec::new()).expect("parameters");
        let plain = plain.self_signed(&key).expect("a certificate");
        assert!(names(plain.der()).is_empty());
    }

    #[test]
    fn dates_are_read_in_both_forms() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        // Years from 2050 on are written with four digits.
        params.not_before = rcgen::date_time_ymd(2001, 2, 3);
        params.not_after = rcgen::date_time_ymd(2101, 2, 3);
        let certificate = params.self_signed(&key).expect("a certificate");
        let at = |text: &str| humantime::parse_rfc3339(text).expect("a date");
        let expected = (at("2001-02-03T00:00:00Z"), at("2101-02-03T00:00:00Z"));
        assert_eq!(validity(certificate.der()), Some(expected));
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z")),
            (UTC_TIME, "500101000000Z", Some("1970-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "00010101000000Z", Some("1970-01-01T00:00:00Z")),
            (UTC_TIME, "261301000000Z", None),
            (UTC_TIME, "2611010000Z", None),
            (UTC_TIME, "26110100000\u{e9}", None),
            (GENERALIZED_TIME, "20261101000000+", None),
            (OCTET_STRING, "261101000000Z", None),
        ] {
            assert_eq!(date(tag, text.as_bytes()), expected.map(at), "{text}");
        }
    }
}
