//! The query of a request, as Go's `net/url` reads it.

/// The pairs of a query, decoded. As in Go, a pair with a semicolon or a wrong escape is left out.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key, true)?, decode(value, true)?))
    })
}

/// The values of one key.
pub fn values(query: &str, wanted: &str) -> Vec<String> {
    pairs(query).filter(|(key, _)| key == wanted).map(|(_, value)| value).collect()
}

/// A segment of a path, decoded; `None` with a wrong escape.
pub fn decode_segment(text: &str) -> Option<String> {
    decode(text, false)
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

/// The text as a path segment or a value of a query may carry it.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (query, expected) in [
            ("collect[]=cpu&collect[]=time", vec!["cpu", "time"]),
            ("collect%5B%5D=cpu&x=1&&collect%5b%5d=t%69me", vec!["cpu", "time"]),
            ("collect[]=a+b&collect[]", vec!["a b", ""]),
            ("collect[]=a;b&collect[]=%zz&collect[]=%4&collect[]=%", vec![]),
            ("collect[]=%ff", vec!["\u{fffd}"]),
            ("", vec![]),
        ] {
            assert_eq!(values(query, "collect[]"), expected, "{query}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["cpu", "a b&c=d;e", "ü%", ""] {
            assert_eq!(decode(&encode(text), true).as_deref(), Some(text));
            assert_eq!(decode_segment(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(decode_segment("a+b%").as_deref(), None);
        assert_eq!(decode_segment("a+b%20c").as_deref(), Some("a+b c"));
    }
}
