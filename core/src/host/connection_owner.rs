//! Whose process is at the other end of a connection over loopback.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why it is not known whose process that is.
#[derive(Debug)]
pub enum UnknownOwner {
    /// The connection is not one of this thread's network namespace, or the kernel has no diagnostics of TCP.
    NotHere,
    /// No process has the peer's socket any more.
    Closed,
    /// The kernel was not to be asked.
    Unasked(io::Error),
}

impl fmt::Display for UnknownOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownOwner::NotHere => f.write_str(
                "the connection is in another network namespace, was redirected, or the kernel has no \
                 diagnostics of TCP (CONFIG_INET_DIAG)",
            ),
            UnknownOwner::Closed => f.write_str("its sender has closed it"),
            UnknownOwner::Unasked(error) => {
                write!(f, "the kernel's socket diagnostics do not answer: {error}")
            }
        }
    }
}

impl std::error::Error for UnknownOwner {}

/// The user who made the socket at the peer's end of an accepted connection of TCP, as this process's user
/// namespace names it: a user that the namespace lacks is the overflow user (user_namespaces(7)).
///
/// `inode` is what `fstat` says of the accepted socket. It tells whether the connection is one of the
/// network namespace that is asked: in another one the same two addresses can be those of others.
///
/// # Errors
///
/// See [`UnknownOwner`].
#[cfg(target_os = "linux")]
pub fn connection_owner(
    local: SocketAddr,
    peer: SocketAddr,
    inode: u64,
) -> Result<u32, UnknownOwner> {
    let mut diagnostics = super::netlink::Diagnostics::new();
    let mut ask = |local, peer| {
        let answer = diagnostics.tcp_socket(local, peer).map_err(UnknownOwner::Unasked);
        answer?.ok_or(UnknownOwner::NotHere)
    };
    if u64::from(ask(local, peer)?.inode) != inode {
        return Err(UnknownOwner::NotHere);
    }
    match ask(peer, local) {
        // The kernel says user 0 of a socket that no process has.
        Ok(socket) if socket.inode == 0 => Err(UnknownOwner::Closed),
        Ok(socket) => Ok(socket.uid),
        Err(UnknownOwner::NotHere) => Err(UnknownOwner::Closed),
        Err(error) => Err(error),
    }
}

/// As on Linux, which alone can be asked.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn connection_owner(_: SocketAddr, _: SocketAddr, _: u64) -> Result<u32, UnknownOwner> {
    Err(UnknownOwner::NotHere)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_peer_that_has_closed_is_not_root() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        let inode = fstat(&server).unwrap().st_ino;
        assert_eq!(
            connection_owner(local, peer, inode).unwrap(),
            rustix::process::geteuid().as_raw()
        );
        let elsewhere = connection_owner(local, peer, inode + 1);
        assert!(matches!(elsewhere, Err(UnknownOwner::NotHere)), "{elsewhere:?}");
        drop(client);
        let closed = connection_owner(local, peer, inode);
        assert!(matches!(closed, Err(UnknownOwner::Closed)), "{closed:?}");
    }
}
