//! What a process sees of the host: its own part or all of it.

use std::fmt;

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

impl View {
    /// Both at once: the host's only if both are, unknown if one is and the other is not known to
    /// be another.
    pub fn overall(self) -> Namespace {
        match (self.network, self.mount) {
            (Namespace::Own, _) | (_, Namespace::Own) => Namespace::Own,
            (Namespace::Host, Namespace::Host) => Namespace::Host,
            _ => Namespace::Unknown,
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Namespace::Host => "host",
            Namespace::Own => "container",
            Namespace::Unknown => "unknown",
        })
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (network: {}, mounts: {})", self.overall(), self.network, self.mount)
    }
}
