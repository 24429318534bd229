//! Text that nothing may show.

use std::fmt;

/// A hash or a key in memory. It can be compared and used, but neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Box<str>);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Secret(text.into_boxed_str())
    }

    /// The text itself, for who uses it and shows it to nobody.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
