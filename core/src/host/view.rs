//! What a process sees of the host: its own part or all of it.

/// Whose namespace a process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// That of the host's first process.
    Host,
    /// Another one.
    Own,
    /// The host's could not be read.
    Unknown,
}

/// What this process sees of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose network interfaces and sockets it sees.
    pub network: Namespace,
    /// Whose mounts it sees. A sandboxed service has a mount namespace of its own, too.
    pub mount: Namespace,
}

impl Namespace {
    /// `host` or `own`; nothing if it is not known.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Namespace::Host => Some("host"),
            Namespace::Own => Some("own"),
            Namespace::Unknown => None,
        }
    }
}
