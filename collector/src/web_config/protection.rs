//! What a web configuration does for its listener.

/// What a web configuration does for its listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Protection {
    /// It is served over TLS alone.
    pub(crate) encrypts: bool,
    /// Clients show a name and a password.
    pub(crate) wants_passwords: bool,
    /// Clients show a certificate of an authority that is named.
    pub(crate) verifies_clients: bool,
}
