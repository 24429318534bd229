//! What an open call is for.

/// What is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    File,
    Directory,
}
