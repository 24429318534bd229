//! What must not be shown.

use std::fmt;
use std::hint::black_box;

/// A password, a hash, a key or a token. It has no `Display`, `Debug` says nothing of it, and its memory is cleared when it is
/// dropped.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into())
    }

    /// Whether it is this one, in a time that does not depend on where the first difference is.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let mut difference = shown.len() ^ self.0.len();
        for (position, byte) in shown.iter().enumerate() {
            let own = self.0.get(position % self.0.len().max(1)).copied().unwrap_or_default();
            difference |= usize::from(byte ^ own);
        }
        black_box(difference) == 0
    }

    /// As text, for who uses it and shows it to nobody; empty if it is none.
    #[cfg(feature = "tls")]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As it is, for who uses it and shows it to nobody.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler may leave out what nobody reads.
        black_box(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole_and_not_shown() {
        for (shown, secret, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("", "a", false),
            ("aa", "a", false),
            ("a", "aa", false),
            ("a", "", false),
        ] {
            let secret = Secret::new(secret);
            assert_eq!(secret.is(shown.as_bytes()), expected, "{shown}");
        }
        assert_eq!(format!("{:?}", Secret::new(b"marker".to_vec())), "Secret");
    }
}
