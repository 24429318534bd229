//! Who is asked over a stream.

use std::fmt;
use std::net::SocketAddr;

/// Who is asked over a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// A server of TCP.
    Tcp(SocketAddr),
    /// The path of a unix socket, as the user gave it.
    Unix(&'a str),
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "tcp {address}"),
            Peer::Unix(path) => write!(f, "unix {path}"),
        }
    }
}
