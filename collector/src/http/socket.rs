//! Listening sockets: how they are made, and the file of a unix socket.

use crate::plan::Address;
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that listens. A unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) descriptor: OwnedFd,
    #[expect(dead_code, reason = "removes the file when it is dropped")]
    file: Option<SocketFile>,
}

/// Why a socket does not listen.
#[derive(Debug)]
pub(super) enum BindError {
    /// Something listens there already.
    InUse,
    /// The path of a unix socket is something else.
    NotASocket,
    /// What the system said.
    System(Errno),
}

impl From<Errno> for BindError {
    fn from(error: Errno) -> Self {
        if error == Errno::ADDRINUSE { BindError::InUse } else { BindError::System(error) }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse => f.write_str("something else listens there already"),
            BindError::NotASocket => f.write_str("the path exists and is not a socket"),
            BindError::System(Errno::ACCESS) => f.write_str(
                "permission denied (a port below 1024, or a directory of somebody else?)",
            ),
            BindError::System(Errno::ADDRNOTAVAIL) => f.write_str("this host has no such address"),
            BindError::System(error) => std::io::Error::from(*error).fmt(f),
        }
    }
}

impl Socket {
    /// Binds and listens.
    pub(super) fn listen(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Tcp { socket, dual: false } => Self::tcp(*socket, true),
            Address::Tcp { socket, dual: true } => Self::dual(socket.port()),
            Address::Unix(path) => Self::unix(path),
        }
    }

    fn tcp(address: SocketAddr, v6_only: bool) -> Result<Self, BindError> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let descriptor = open(family)?;
        sockopt::set_socket_reuseaddr(&descriptor, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&descriptor, v6_only)?;
        }
        rustix::net::bind(&descriptor, &address)?;
        rustix::net::listen(&descriptor, BACKLOG)?;
        Ok(Socket { descriptor, file: None })
    }

    /// One socket for both families, as Go does it for `:PORT`; IPv4 alone where IPv6 is off.
    fn dual(port: u16) -> Result<Self, BindError> {
        let every_address = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        match Self::tcp(every_address, false) {
            Err(BindError::System(
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL,
            )) => Self::tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), true),
            bound => bound,
        }
    }

    fn unix(path: &Path) -> Result<Self, BindError> {
        remove_stale(path)?;
        let descriptor = open(AddressFamily::UNIX)?;
        // On Linux the file takes the mode of the socket's own inode, so it is never there with
        // another one (unix(7) leaves it to the umask, which all threads share).
        rustix::fs::fchmod(&descriptor, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&descriptor, &SocketAddrUnix::new(path)?)?;
        let file = SocketFile::at(path)?;
        rustix::net::listen(&descriptor, BACKLOG)?;
        Ok(Socket { descriptor, file: Some(file) })
    }

    /// Stops listening. Unlike closing the descriptor this works at once, whoever has a copy of it: a
    /// task of this process, or a thread with a descriptor table of its own that hangs in the kernel.
    pub(super) fn stop(&self) {
        let _ = rustix::net::shutdown(&self.descriptor, Shutdown::Both);
    }

    /// Takes back [`Socket::stop`] for a TCP socket, which stays bound if it was to a port of our choice.
    pub(super) fn resume(&self) -> Result<(), BindError> {
        Ok(rustix::net::listen(&self.descriptor, BACKLOG)?)
    }

    /// Where it is bound in truth: the port that the kernel chose for port 0.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(&self.descriptor).ok()?.try_into().ok()
    }
}

fn open(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

/// Removes the file of a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let mode = match rustix::fs::lstat(path) {
        Ok(found) => found.st_mode,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Socket {
        return Err(BindError::NotASocket);
    }
    let probe = open(AddressFamily::UNIX)?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        // Only this says that nobody is there; a full backlog or a lack of rights does not.
        Err(Errno::CONNREFUSED) => Ok(rustix::fs::unlink(path)?),
        Err(Errno::NOENT) => Ok(()),
        _ => Err(BindError::InUse),
    }
}

/// The file of a unix socket, removed when this is dropped, unless somebody has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> Result<Self, Errno> {
        let stat = rustix::fs::lstat(path)?;
        Ok(SocketFile { path: path.to_owned(), device: stat.st_dev, inode: stat.st_ino })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = rustix::fs::lstat(&self.path)
            .is_ok_and(|stat| stat.st_dev == self.device && stat.st_ino == self.inode);
        if ours {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn tcp(text: &str) -> Address {
        Address::Tcp { socket: text.parse().expect("an address"), dual: false }
    }

    fn dual(port: u16) -> Address {
        let socket = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        Address::Tcp { socket, dual: true }
    }

    #[test]
    fn a_dual_socket_takes_both_families() {
        let socket = Socket::listen(&dual(0)).expect("a socket");
        let port = socket.bound().expect("an address").port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("IPv4");
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            std::net::TcpStream::connect(("::1", port)).expect("IPv6");
        }
    }

    #[test]
    fn a_stopped_socket_frees_its_port_and_can_resume() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let old = Socket::listen(&tcp(&format!("127.0.0.1:{port}"))).expect("a socket");
        let wide = tcp(&format!("0.0.0.0:{port}"));
        assert!(matches!(Socket::listen(&wide), Err(BindError::InUse)));
        old.stop();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        let new = Socket::listen(&wide).expect("the port is free though the old socket is open");
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("the new one answers");
        new.stop();
        drop(new);
        old.resume().expect("listens again");
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("the old one answers");
    }

    #[test]
    fn unix_sockets_are_private_and_leave_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let address = Address::Unix(path.clone());
        // Stale: the file of a listener that has gone.
        drop(UnixListener::bind(&path).expect("a socket"));
        let socket = Socket::listen(&address).expect("replaces the stale file");
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).expect("it answers");
        assert!(matches!(Socket::listen(&address), Err(BindError::InUse)));
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "precious").expect("a file");
        assert!(matches!(Socket::listen(&address), Err(BindError::NotASocket)));
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn another_socket_in_our_place_is_not_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let socket = Socket::listen(&Address::Unix(path.clone())).expect("a socket");
        std::fs::remove_file(&path).expect("removed by somebody");
        let _other = UnixListener::bind(&path).expect("another");
        drop(socket);
        assert!(path.exists());
    }
}
