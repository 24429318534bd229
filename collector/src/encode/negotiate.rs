//! Which format and coding a request asks for: pure functions of its headers.
//!
//! They follow [RFC 9110] section 12.5 and are total: parts of a header that are no media range or
//! coding are passed over, and so are formats that vitald does not write, such as protobuf.
//!
//! [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#name-content-negotiation-fields

use super::Format;
use std::cmp::Reverse;

/// How a scraper wants names escaped that are not `[a-zA-Z_:][a-zA-Z0-9_:]*`.
///
/// vitald has no such names, so every answer is right for all of them; Prometheus 3 likes to see
/// its choice confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// As they are.
    AllowUtf8,
    /// With `_` for what is not allowed; what client_golang names when the scraper names nothing.
    Underscores,
    /// With `_dot_` for a dot.
    Dots,
    /// With code points between underscores.
    Values,
}

impl Escaping {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"allow-utf-8" => Some(Escaping::AllowUtf8),
            b"underscores" => Some(Escaping::Underscores),
            b"dots" => Some(Escaping::Dots),
            b"values" => Some(Escaping::Values),
            _ => None,
        }
    }
}

/// What an `Accept` header came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The format to answer in.
    pub format: Format,
    /// The escaping to confirm, if the scraper named one.
    pub escaping: Option<Escaping>,
}

impl Negotiated {
    /// The value of the `Content-Type` header, with the escaping.
    pub const fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($format:literal) => {
                match self.escaping {
                    None => $format,
                    Some(Escaping::AllowUtf8) => concat!($format, "; escaping=allow-utf-8"),
                    Some(Escaping::Underscores) => concat!($format, "; escaping=underscores"),
                    Some(Escaping::Dots) => concat!($format, "; escaping=dots"),
                    Some(Escaping::Values) => concat!($format, "; escaping=values"),
                }
            };
        }
        match self.format {
            Format::Text => with_escaping!("text/plain; version=0.0.4; charset=utf-8"),
            Format::OpenMetrics => {
                with_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
        }
    }
}

/// How well a format is wanted. The order of the fields is that of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    /// In thousandths.
    quality: u16,
    /// 0 for `*/*`, up to 3 for a media type with its version.
    precision: u8,
    /// Among equals the first in the header is meant.
    place: Reverse<usize>,
}

/// A part of an `Accept` header: `text/plain;version=0.0.4;q=0.5`.
struct MediaRange<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    version: Option<&'a [u8]>,
    escaping: Option<Escaping>,
    quality: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(part: &'a [u8]) -> Option<Self> {
        let mut pieces = split(part, b';');
        let media = pieces.next()?;
        let slash = media.iter().position(|byte| *byte == b'/')?;
        let (kind, subtype) = (&media[..slash], &media[slash + 1..]);
        if kind.is_empty() || subtype.is_empty() {
            return None;
        }
        let mut range = MediaRange { kind, subtype, version: None, escaping: None, quality: 1000 };
        for (name, value) in pieces.filter_map(parameter) {
            if name.eq_ignore_ascii_case(b"q") {
                range.quality = quality(value);
            } else if name.eq_ignore_ascii_case(b"version") {
                range.version = Some(value);
            } else if name.eq_ignore_ascii_case(b"escaping") {
                range.escaping = Escaping::parse(value);
            }
        }
        Some(range)
    }

    /// How precisely it names a format; `None` if it does not.
    fn precision(&self, format: Format) -> Option<u8> {
        let (kind, subtype, versions): (&[u8], &[u8], &[&[u8]]) = match format {
            Format::Text => (b"text", b"plain", &[b"0.0.4"]),
            Format::OpenMetrics => (b"application", b"openmetrics-text", &[b"1.0.0", b"0.0.1"]),
        };
        if self.kind == b"*" {
            return (self.subtype == b"*").then_some(0);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        if self.subtype == b"*" {
            return Some(1);
        }
        if !self.subtype.eq_ignore_ascii_case(subtype) {
            return None;
        }
        match self.version {
            None => Some(2),
            Some(version) => versions.contains(&version).then_some(3),
        }
    }
}

/// Chooses the format from an `Accept` header; `None` if none of ours is acceptable.
///
/// Without a header, or with one that names nothing at all, it is the text format. OpenMetrics is
/// chosen only if it is `offered`; where both are wanted equally and by the same words, it is the
/// text format.
pub fn format(accept: Option<&[u8]>, openmetrics_offered: bool) -> Option<Negotiated> {
    let accept = accept.unwrap_or_default();
    let ranges = || {
        let parts = split(accept, b',').enumerate();
        parts.filter_map(|(place, part)| Some((place, MediaRange::parse(part)?)))
    };
    if ranges().next().is_none() {
        return Some(Negotiated { format: Format::Text, escaping: None });
    }
    let wanted = |format: Format| {
        let of_format = ranges().filter_map(|(place, range)| {
            let precision = range.precision(format)?;
            Some(Wanted { quality: range.quality, precision, place: Reverse(place) })
        });
        // The most precise range speaks for the format, be it to refuse it.
        of_format
            .max_by_key(|wanted| (wanted.precision, *wanted))
            .filter(|wanted| wanted.quality > 0)
    };
    let text = wanted(Format::Text);
    let openmetrics = wanted(Format::OpenMetrics).filter(|_| openmetrics_offered);
    let format = if openmetrics > text { Format::OpenMetrics } else { Format::Text };
    let chosen = openmetrics.max(text)?;
    // As client_golang has it: ranges are read from the most wanted to the chosen one, and the
    // last escaping that was named holds.
    let escaping = ranges()
        .filter_map(|(place, range)| Some(((range.quality, Reverse(place)), range.escaping?)))
        .filter(|(rank, _)| *rank >= (chosen.quality, chosen.place))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, escaping)| escaping);
    Some(Negotiated { format, escaping })
}

/// Whether an `Accept-Encoding` header asks for gzip, and does not like the plain page better.
pub fn gzip(accept_encoding: Option<&[u8]>) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for part in split(accept_encoding.unwrap_or_default(), b',') {
        let mut pieces = split(part, b';');
        let Some(coding) = pieces.next() else { continue };
        let named =
            if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
                &mut gzip
            } else if coding.eq_ignore_ascii_case(b"identity") {
                &mut identity
            } else if coding == b"*" {
                &mut any
            } else {
                continue;
            };
        let quality = pieces
            .filter_map(parameter)
            .find(|(name, _)| name.eq_ignore_ascii_case(b"q"))
            .map_or(1000, |(_, value)| quality(value));
        named.get_or_insert(quality);
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// Cuts a header's value at a separator, but not within quotes.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.iter().position(|&byte| {
            if escaped {
                escaped = false;
            } else if quoted && byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                quoted = !quoted;
            } else {
                return !quoted && byte == separator;
            }
            false
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim_ascii())
    })
}

/// `name=value` or `name="value"`. None of the values that matter here has an escaped character.
fn parameter(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (text[..equals].trim_ascii(), text[equals + 1..].trim_ascii());
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some((name, inner.unwrap_or(value)))
}

/// A `q` in thousandths. What cannot be read does not weaken the request.
fn quality(text: &[u8]) -> u16 {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = (&text[..point], &text[(point + 1).min(text.len())..]);
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let empty = whole.is_empty() && fraction.is_empty();
    if empty || !digits(whole) || !digits(fraction) || whole.iter().any(|byte| *byte != b'0') {
        return 1000;
    }
    let digit = |place: usize| fraction.get(place).map_or(0, |byte| u16::from(byte - b'0'));
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
    // Very little is still not a refusal.
    thousandths.max(u16::from(fraction.iter().any(|byte| *byte != b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
         q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
         */*;q=0.2";
    const WITH_PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
         encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3";

    #[test]
    fn formats() {
        const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
        const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        const NONE: &str = "406";
        // The header, the answer without OpenMetrics, the answer with it.
        for (accept, text, open) in [
            ("", TEXT, TEXT),
            (" , ;q=1,", TEXT, TEXT),
            ("nonsense", TEXT, TEXT),
            ("*/*", TEXT, TEXT),
            ("text/*", TEXT, TEXT),
            ("TEXT/Plain", TEXT, TEXT),
            ("text/plain", TEXT, TEXT),
            ("text/plain;version=0.0.4", TEXT, TEXT),
            ("text/plain; version=\"0.0.4\" ; charset=UTF-8", TEXT, TEXT),
            ("text/plain;x=\"a,b;c\\\"\";q=0", NONE, NONE),
            ("text/plain;version=1.0.0", NONE, NONE),
            ("image/png", NONE, NONE),
            ("image/png, */*;q=0.1", TEXT, TEXT),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT, TEXT),
            ("application/openmetrics-text", NONE, OPEN),
            ("application/openmetrics-text;version=1.0.0", NONE, OPEN),
            ("application/openmetrics-text;version=0.0.1", NONE, OPEN),
            ("application/openmetrics-text;version=2.0.0", NONE, NONE),
            ("application/openmetrics-text;version=2.0.0,*/*;q=0.1", TEXT, TEXT),
            ("application/*", NONE, OPEN),
            ("application/openmetrics-text,text/plain", TEXT, OPEN),
            ("text/plain,application/openmetrics-text", TEXT, TEXT),
            ("text/plain,application/openmetrics-text;version=1.0.0", TEXT, OPEN),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.6", TEXT, TEXT),
            ("application/openmetrics-text;q=0,*/*", TEXT, TEXT),
            ("text/plain;q=0,*/*", NONE, OPEN),
            ("text/plain;q=0.0001,image/png", TEXT, TEXT),
            ("*/*;q=0", NONE, NONE),
            ("*/*;q=0,text/plain;q=0.1", TEXT, TEXT),
            ("*/plain", NONE, NONE),
            ("text/plain;q=oops", TEXT, TEXT),
            (PROMETHEUS_2, TEXT, OPEN),
            (WITH_PROTOBUF, TEXT, TEXT),
        ] {
            for (offered, expected) in [(false, text), (true, open)] {
                let content_type =
                    format(Some(accept.as_bytes()), offered).map_or(NONE, Negotiated::content_type);
                assert_eq!(content_type, expected, "{accept} {offered}");
            }
        }
        assert_eq!(format(None, true).map(Negotiated::content_type), Some(TEXT));
        for format in [Format::Text, Format::OpenMetrics] {
            let plain = Negotiated { format, escaping: None };
            assert_eq!(plain.content_type(), format.content_type());
        }
    }

    #[test]
    fn escapings_are_echoed() {
        for (accept, offered, expected) in [
            (PROMETHEUS_3, false, "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"),
            (
                PROMETHEUS_3,
                true,
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (
                "text/plain;version=0.0.4;escaping=values",
                false,
                "text/plain; version=0.0.4; charset=utf-8; escaping=values",
            ),
            (
                "text/plain;escaping=dots,image/png;escaping=underscores",
                false,
                "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            ),
            ("text/plain;escaping=other", false, "text/plain; version=0.0.4; charset=utf-8"),
            (
                "text/plain;q=0.5,image/png;escaping=dots;q=0.4",
                false,
                "text/plain; version=0.0.4; charset=utf-8",
            ),
        ] {
            let negotiated = format(Some(accept.as_bytes()), offered);
            assert_eq!(negotiated.map(Negotiated::content_type), Some(expected), "{accept}");
        }
    }

    #[test]
    fn gzip_when_asked() {
        for (accept_encoding, expected) in [
            ("", false),
            ("gzip", true),
            ("GZip", true),
            ("x-gzip", true),
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0, *", false),
            ("gzip ; q = 0.001", true),
            ("*", true),
            ("*;q=0", false),
            ("*;q=0, gzip", true),
            ("identity", false),
            ("identity, gzip", true),
            ("identity;q=1, gzip;q=0.5", false),
            ("identity;q=0.5, gzip;q=1.0", true),
            ("identity;q=0, *", true),
            ("deflate, br, zstd", false),
            ("gzipped", false),
        ] {
            assert_eq!(gzip(Some(accept_encoding.as_bytes())), expected, "{accept_encoding}");
        }
        assert!(!gzip(None));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            text in "[a-z*/;,=\"\\\\q0-9. ]{0,64}",
        ) {
            for header in [&bytes[..], text.as_bytes()] {
                gzip(Some(header));
                let without = format(Some(header), false);
                let with = format(Some(header), true);
                prop_assert!(without.is_none_or(|it| it.format == Format::Text));
                prop_assert!(with.is_some() || without.is_none());
            }
        }
    }
}
