//! Listening sockets: how they are bound, and what the system says against it.
//!
//! Binding touches the file system where the address is a path, so it does not belong on the thread
//! that serves.

use super::access::Access;
use super::file_lock::FileLock;
use super::limits::{RECEIVE_BUFFER, SEND_BUFFER, UNSENT, descriptor_limit};
use super::socket_file::{Remover, SocketFile};
use super::stream::Stream;
use crate::http::request::Peer;
use crate::plan::Address;
use crate::sync::lock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;
/// How long a new socket waits until an earlier one's file has been removed.
const REMOVAL: Duration = Duration::from_secs(2);
/// How long a new socket waits for the lock of its file. Another daemon has it for a moment.
const LOCK: Duration = Duration::from_secs(2);

/// How long the kernel keeps what a peer does not take.
const NOT_TAKEN: Duration = Duration::from_secs(30);

/// A socket that is bound and does not listen yet.
#[derive(Debug)]
pub(super) struct BoundSocket {
    descriptor: OwnedFd,
    file: Option<SocketFile>,
    is_handed_over: bool,
}

/// A socket that listens and can accept: the reactor knows it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: Listener,
    file: Mutex<Option<SocketFile>>,
    /// It is systemd's, too, and stays open there.
    is_handed_over: bool,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why a socket does not listen.
#[derive(Debug)]
pub(super) enum BindError {
    /// Something listens there already.
    InUse,
    /// The path of a unix socket is something else.
    NotASocket,
    /// The file of an earlier socket is still being removed.
    StillThere,
    /// A stale file cannot be replaced while another process has the lock of this file.
    Locked(PathBuf),
    /// A stale file cannot be replaced, because there is no lock to be had of this file.
    NoLock(PathBuf, Errno),
    /// A stale file cannot be removed.
    Stays(Errno),
    /// The directory of a unix socket does not exist.
    NoDirectory,
    /// The sockets of systemd are to be taken, and there are none.
    NoneHandedOver,
    /// A socket of systemd's is not one that can listen.
    NotListening,
    /// The file of a unix socket does not let in whom it should, for this reason.
    Access(String),
    /// There is no thread to be had that removes the file at the end.
    NoThread(io::Error),
    /// What the system said.
    System(Errno),
}

impl From<Errno> for BindError {
    fn from(error: Errno) -> Self {
        if error == Errno::ADDRINUSE { BindError::InUse } else { BindError::System(error) }
    }
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

impl BindError {
    /// Whether every other socket would fail with it, too.
    pub(super) fn is_general(&self) -> bool {
        matches!(
            self,
            BindError::System(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
        )
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse => f.write_str("something else listens there already; stop it, or choose another address"),
            BindError::NotASocket => f.write_str("the path exists and is not a socket"),
            BindError::StillThere => {
                f.write_str("the file of an earlier socket is still being removed")
            }
            BindError::Locked(lock) => write!(
                f,
                "the file of an earlier socket is in the way, and another process is replacing it: it has the lock \
                 of {}; if none does, remove both",
                lock.display()
            ),
            BindError::NoLock(lock, error) => write!(
                f,
                "the file of an earlier socket is in the way, and {}, under whose lock it is replaced, cannot be \
                 opened: {}; let the daemon's user write the directory, or remove the socket's file",
                lock.display(),
                io::Error::from(*error)
            ),
            BindError::Stays(error) => write!(
                f,
                "the file of an earlier socket is in the way and cannot be removed: {}; remove it",
                io::Error::from(*error)
            ),
            BindError::NoneHandedOver => f.write_str(
                "systemd has handed over no socket; start the socket unit, which starts the service",
            ),
            BindError::NotListening => f.write_str(
                "a socket that systemd has handed over does not listen for connections; it needs \
                 ListenStream= and Accept=no",
            ),
            BindError::Access(reason) => f.write_str(reason),
            BindError::NoThread(error) => {
                write!(f, "it needs a thread, and none can be started: {error}")
            }
            BindError::System(Errno::ACCESS) => f.write_str(
                "permission denied (is this a port below 1024, or another user's directory?)",
            ),
            BindError::NoDirectory => f.write_str(
                "its directory does not exist; make it, or have systemd do it (RuntimeDirectory=)",
            ),
            BindError::System(Errno::ROFS) => f.write_str(
                "its directory is on a file system that is read-only for the daemon; choose one below /run, or \
                 allow it (RuntimeDirectory= or ReadWritePaths= of the systemd unit)",
            ),
            BindError::System(Errno::ADDRNOTAVAIL) => f.write_str("this host has no such address"),
            BindError::System(Errno::MFILE) => write!(
                f,
                "the daemon has no open file left of {}; listen on fewer addresses or raise the \
                 limit (LimitNOFILE= of the systemd unit, ulimit -n)",
                descriptor_limit()
            ),
            BindError::System(error) => io::Error::from(*error).fmt(f),
        }
    }
}

impl BoundSocket {
    /// The sockets of an address: one, but of systemd as many as it hands over.
    pub(super) fn all(
        address: &Address,
        access: &Access,
        remover: &Arc<Remover>,
    ) -> Result<Vec<Self>, BindError> {
        match address {
            Address::Systemd => Self::handed_over(),
            Address::Unix(path) => Ok(vec![Self::unix(path, access, remover)?]),
            Address::Tcp { .. } => Ok(vec![Self::bind(address, false, remover)?]),
        }
    }

    /// Copies of what systemd has handed over, so that a reload can take them again.
    fn handed_over() -> Result<Vec<Self>, BindError> {
        let bound: Vec<Self> =
            sd_notify::listen_fds()?.map(Self::copy_of).collect::<Result<_, _>>()?;
        if bound.is_empty() { Err(BindError::NoneHandedOver) } else { Ok(bound) }
    }

    fn copy_of(number: RawFd) -> Result<Self, BindError> {
        let descriptor = vitald_core::host::duplicate_inherited(number)?;
        let listens = sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
        if !listens || sockopt::socket_type(&descriptor)? != SocketType::STREAM {
            return Err(BindError::NotListening);
        }
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(BoundSocket { descriptor, file: None, is_handed_over: true })
    }

    /// Binds. With `shares_port` also where a socket of this process listens that shares its port,
    /// too.
    pub(super) fn bind(
        address: &Address,
        shares_port: bool,
        remover: &Arc<Remover>,
    ) -> Result<Self, BindError> {
        match address {
            Address::Tcp { socket, dual: false } => Self::tcp(*socket, true, shares_port),
            Address::Tcp { socket, dual: true } => Self::dual(socket.port(), shares_port),
            Address::Unix(path) => Self::unix(path, &Access::default(), remover),
            Address::Systemd => Err(BindError::NoneHandedOver),
        }
    }

    fn tcp(address: SocketAddr, v6_only: bool, shares_port: bool) -> Result<Self, BindError> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let descriptor = open(family, SocketType::STREAM)?;
        sockopt::set_socket_reuseaddr(&descriptor, true)?;
        if shares_port {
            sockopt::set_socket_reuseport(&descriptor, true)?;
        }
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&descriptor, v6_only)?;
        }
        rustix::net::bind(&descriptor, &address)?;
        Ok(BoundSocket { descriptor, file: None, is_handed_over: false })
    }

    /// One socket for both families, as Go does it for `:PORT`; IPv4 alone where IPv6 is off.
    fn dual(port: u16, shares_port: bool) -> Result<Self, BindError> {
        let every_address = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        match Self::tcp(every_address, false, shares_port) {
            Err(BindError::System(
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL,
            )) => {
                let every_address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                Self::tcp(every_address, true, shares_port)
            }
            bound => bound,
        }
    }

    fn unix(path: &Path, access: &Access, remover: &Arc<Remover>) -> Result<Self, BindError> {
        // An earlier socket of this process is not something else that listens there.
        if !remover.wait_for(path, REMOVAL) {
            return Err(BindError::StillThere);
        }
        let _lock = remove_stale(path)?;
        let descriptor = open(AddressFamily::UNIX, SocketType::STREAM)?;
        let lease = remover.lease(descriptor.try_clone()?).map_err(BindError::NoThread)?;
        // On Linux the file takes the mode of the socket's own inode, so it is never there with a
        // wider one (unix(7) leaves it to the umask, which all threads share).
        let private = Access::default();
        rustix::fs::fchmod(&descriptor, Mode::from_raw_mode(private.mode() & access.mode()))?;
        rustix::net::bind(&descriptor, &SocketAddrUnix::new(path)?).map_err(|error| {
            // procfs, for one, says the same of a directory that is there and takes no socket.
            let is_missing = |directory: &Path| directory.try_exists().is_ok_and(|found| !found);
            match path.parent() {
                Some(directory) if error == Errno::NOENT && is_missing(directory) => {
                    BindError::NoDirectory
                }
                _ => error.into(),
            }
        })?;
        let file = SocketFile::at(path, lease)?;
        if *access != private {
            // Nobody is let in before it listens, and then by these.
            file.file().give(access).map_err(BindError::Access)?;
        }
        Ok(BoundSocket { descriptor, file: Some(file), is_handed_over: false })
    }

    /// Listens, within the runtime that is to accept. Connections wait in the backlog from now on.
    pub(super) fn listen(self) -> Result<Socket, BindError> {
        let BoundSocket { descriptor, file, is_handed_over } = self;
        bound_buffers(&descriptor);
        // The backlog of systemd's sockets is its own to set.
        if !is_handed_over {
            rustix::net::listen(&descriptor, BACKLOG)?;
        }
        let listener = match sockopt::socket_domain(&descriptor)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                Listener::Tcp(TcpListener::from_std(descriptor.into())?)
            }
            AddressFamily::UNIX => Listener::Unix(UnixListener::from_std(descriptor.into())?),
            _ => return Err(BindError::System(Errno::AFNOSUPPORT)),
        };
        Ok(Socket { listener, file: Mutex::new(file), is_handed_over })
    }
}

impl Socket {
    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok(Stream::over_tcp(stream, from))
            }
            Listener::Unix(listener) => Ok(Stream::over_unix(listener.accept().await?.0)),
        }
    }

    /// Takes a connection that waits, without waiting itself.
    pub(super) fn accept_waiting(&self) -> io::Result<(Stream, Peer)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (descriptor, from) = rustix::net::acceptfrom_with(self, flags)?;
        match &self.listener {
            Listener::Tcp(_) => {
                let unknown = || io::Error::from(Errno::NOTCONN);
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let stream = TcpStream::from_std(descriptor.into())?;
                Ok(Stream::over_tcp(stream, from.ok_or_else(unknown)?))
            }
            Listener::Unix(_) => Ok(Stream::over_unix(UnixStream::from_std(descriptor.into())?)),
        }
    }

    /// Stops listening, and has the file of a unix socket removed.
    ///
    /// Unlike closing the descriptor this works at once, though there may be a copy of it: a thread
    /// with a descriptor table of its own that hangs in the kernel may have one.
    pub(super) fn stop(&self) {
        if !self.is_handed_over {
            let _ = rustix::net::shutdown(self, Shutdown::Both);
        }
        // Removed from now on, though the task that accepts may hold the socket a little longer.
        drop(lock(&self.file).take());
    }

    /// Whether another socket of this user that does the same may be bound beside it.
    pub(super) fn share_port(&self, shares_port: bool) {
        if self.is_handed_over {
            return;
        }
        let _ = sockopt::set_socket_reuseport(self, shares_port);
    }

    /// Where it is bound in truth: the port that the kernel chose for port 0.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(self).ok()?.try_into().ok()
    }

    /// The same of any socket, as configurations write addresses.
    pub(super) fn place(&self) -> Option<String> {
        let internet = self.bound().map(|address| address.to_string());
        internet.or_else(|| {
            let unix: SocketAddrUnix = rustix::net::getsockname(self).ok()?.try_into().ok()?;
            let path = unix.path().map(|path| path.to_string_lossy().into_owned());
            Some(path.map_or_else(
                || "an abstract unix socket".to_owned(),
                |path| format!("unix:{path}"),
            ))
        })
    }

    /// Changes who may connect, if it is a unix socket of the daemon's own.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn give(&self, access: &Access) -> Result<(), String> {
        let file = lock(&self.file).as_ref().map(SocketFile::file);
        file.map_or(Ok(()), |file| file.give(access))
    }

    /// Whether it is a unix socket, of systemd's or of the daemon's own.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.listener, Listener::Unix(_))
    }

    /// Whether clients can still find it: the file of a unix socket may have been removed.
    pub(super) fn can_be_found(&self) -> bool {
        let file = lock(&self.file).as_ref().map(SocketFile::file);
        // What cannot be seen may still be there.
        file.is_none_or(|file| file.is_there().unwrap_or(true))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Bounds what the kernel keeps for each connection that the socket accepts: connections have its options. Where the
/// system refuses one, its own bounds hold.
fn bound_buffers(listener: &OwnedFd) {
    let _ = sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BUFFER);
    let _ = sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER.now() as usize);
    let _ = vitald_core::host::bound_unsent(listener.as_fd(), UNSENT.now() as u32);
    // Also of a connection that has been closed, and of a peer that says it has no room again and again.
    let _ = sockopt::set_tcp_user_timeout(listener, NOT_TAKEN.as_millis() as u32);
}

/// Where the sockets are bound that systemd has handed over.
pub(crate) fn handed_over() -> Vec<Address> {
    let bound = |number: RawFd| {
        let descriptor = vitald_core::host::duplicate_inherited(number).ok()?;
        address_of(&rustix::net::getsockname(descriptor).ok()?)
    };
    sd_notify::listen_fds().map_or_else(|_| Vec::new(), |all| all.filter_map(bound).collect())
}

/// The address that a socket has; an abstract name is written with `@`, as systemd does.
fn address_of(bound: &SocketAddrAny) -> Option<Address> {
    if let Ok(socket) = SocketAddr::try_from(bound.clone()) {
        return Some(Address::Tcp { socket, dual: false });
    }
    let unix = SocketAddrUnix::try_from(bound.clone()).ok()?;
    let name = match unix.path() {
        Some(path) => path.to_bytes().to_vec(),
        None => [b"@", unix.abstract_name()?].concat(),
    };
    Some(Address::Unix(OsString::from_vec(name).into()))
}

fn open(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, kind, flags, None)
}

/// Removes the file of a socket that no process has any more. Answers a lock to be held until the
/// new socket is bound: another daemon may have found the same file, and must find the new one.
fn remove_stale(path: &Path) -> Result<Option<FileLock>, BindError> {
    if !is_stale(path)? {
        return Ok(None);
    }
    let lock = match FileLock::of(path, LOCK) {
        Err(Errno::WOULDBLOCK) => return Err(BindError::Locked(FileLock::path(path))),
        Err(error) => return Err(BindError::NoLock(FileLock::path(path), error)),
        Ok(lock) => lock,
    };
    // Another daemon may have replaced it before it gave the lock away.
    if is_stale(path)? {
        rustix::fs::unlink(path).map_err(BindError::Stays)?;
    }
    Ok(Some(lock))
}

/// Whether a path is the file of a socket that no process has any more; `false` if there is nothing.
///
/// # Errors
///
/// There is something else, or a process has the socket, even if it does not listen on it. A stream
/// is refused then as well, but a datagram socket gets another error: it is of the wrong type.
fn is_stale(path: &Path) -> Result<bool, BindError> {
    let mode = match rustix::fs::lstat(path) {
        Ok(found) => found.st_mode,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Socket {
        return Err(BindError::NotASocket);
    }
    let address = SocketAddrUnix::new(path)?;
    for kind in [SocketType::DGRAM, SocketType::STREAM] {
        let probe = open(AddressFamily::UNIX, kind)?;
        match rustix::net::connect(&probe, &address) {
            // Only this says that there is none; a full backlog or a lack of rights does not.
            Err(Errno::CONNREFUSED) => {}
            Err(Errno::NOENT) => return Ok(false),
            _ => return Err(BindError::InUse),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Account, SocketAccess};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const LONG: Duration = Duration::from_secs(60);

    fn listen(address: &Address, remover: &Arc<Remover>) -> Result<Socket, BindError> {
        BoundSocket::bind(address, false, remover)?.listen()
    }

    fn tcp(text: &str) -> Address {
        Address::Tcp { socket: text.parse().expect("an address"), dual: false }
    }

    fn dual(port: u16) -> Address {
        let socket = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        Address::Tcp { socket, dual: true }
    }

    #[tokio::test]
    async fn a_dual_socket_takes_both_families() {
        let socket = listen(&dual(0), &Arc::default()).expect("a socket");
        let port = socket.bound().expect("an address").port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("IPv4");
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            std::net::TcpStream::connect(("::1", port)).expect("IPv6");
        }
    }

    #[tokio::test]
    async fn a_port_is_shared_only_while_both_want_it() {
        let remover = Arc::default();
        let old = listen(&tcp("127.0.0.1:0"), &remover).expect("a socket");
        let port = old.bound().expect("an address").port();
        let alone = BoundSocket::bind(&dual(port), true, &remover);
        assert!(matches!(alone, Err(BindError::InUse)));
        for wide in [tcp(&format!("0.0.0.0:{port}")), dual(port)] {
            assert!(matches!(listen(&wide, &remover), Err(BindError::InUse)));
            old.share_port(true);
            assert!(matches!(listen(&wide, &remover), Err(BindError::InUse)));
            let new = BoundSocket::bind(&wide, true, &remover).expect("a shared port");
            let new = new.listen().expect("listens");
            old.share_port(false);
            std::net::TcpStream::connect(("127.0.0.1", port)).expect("connects");
            // The closer address has it.
            assert!(old.accept_waiting().is_ok() && new.accept_waiting().is_err());
        }
    }

    #[tokio::test]
    async fn a_stopped_socket_frees_its_port_though_it_is_open() {
        let remover = Arc::default();
        let old = listen(&tcp("127.0.0.1:0"), &remover).expect("a socket");
        let address = old.bound().expect("an address");
        old.stop();
        assert!(std::net::TcpStream::connect(address).is_err());
        let _new = listen(&tcp(&address.to_string()), &remover).expect("the port is free");
        std::net::TcpStream::connect(address).expect("the new one answers");
    }

    #[tokio::test]
    async fn unix_sockets_are_private_and_leave_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let remover = Arc::default();
        let path = directory.path().join("v.sock");
        let address = Address::Unix(path.clone());
        // Stale: the file of a listener that has gone.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let socket = listen(&address, &remover).expect("replaces the stale file");
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::os::unix::net::UnixStream::connect(&path).expect("it answers");
        assert!(matches!(listen(&address, &remover), Err(BindError::InUse)));
        drop(socket);
        assert!(remover.wait_for(&path, LONG) && !path.exists());
        // Another process may have the lock, and nothing has to be replaced.
        let lock = FileLock::of(&path, Duration::ZERO).expect("a lock");
        drop(listen(&address, &remover).expect("listens"));
        assert!(remover.wait_for(&path, LONG) && !path.exists());
        drop(lock);
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 0);
        std::fs::write(&path, "precious").expect("a file");
        assert!(matches!(listen(&address, &remover), Err(BindError::NotASocket)));
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
    }

    #[tokio::test]
    async fn a_directory_is_missing_only_where_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let refused = |path: PathBuf| {
            let error = listen(&Address::Unix(path), &Arc::default()).expect_err("refused");
            error.to_string()
        };
        let missing = refused(directory.path().join("none/v.sock"));
        assert!(missing.starts_with("its directory does not exist; make it"), "{missing}");
        assert_eq!(refused("/proc/v.sock".into()), "No such file or directory (os error 2)");
    }

    #[test]
    fn where_a_socket_is_bound_is_said_of_every_kind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let unix = |address: &SocketAddrUnix| {
            let socket = open(AddressFamily::UNIX, SocketType::STREAM).expect("a socket");
            rustix::net::bind(&socket, address).expect("binds");
            socket
        };
        let named = unix(&SocketAddrUnix::new(&path).expect("an address"));
        let name = format!("vitald-test-{}", std::process::id());
        let hidden = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("an address");
        let hidden = unix(&hidden);
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let said = |socket: BorrowedFd<'_>| {
            let bound = rustix::net::getsockname(socket).expect("a name");
            address_of(&bound).expect("an address").to_string()
        };
        assert_eq!(said(named.as_fd()), format!("unix:{}", path.display()));
        assert_eq!(said(hidden.as_fd()), format!("unix:@{name}"));
        assert_eq!(said(tcp.as_fd()), tcp.local_addr().expect("an address").to_string());
    }

    #[tokio::test]
    async fn a_stale_file_that_cannot_be_replaced_is_named_with_its_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let lock = directory.path().join("v.sock.lock");
        std::fs::create_dir(&lock).expect("a directory");
        let error = listen(&Address::Unix(path), &Arc::default()).expect_err("no lock");
        let said = error.to_string();
        assert!(said.contains(&format!("{}, under whose lock", lock.display())), "{said}");
    }

    /// Every user who may look into a directory may lock it, with flock(2), for as long as they like.
    #[tokio::test]
    async fn who_may_open_the_directory_holds_up_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let other = std::fs::File::open(directory.path()).expect("the directory");
        rustix::fs::flock(&other, rustix::fs::FlockOperation::LockShared).expect("a lock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        listen(&Address::Unix(path.clone()), &Arc::default()).expect("replaces the stale file");
    }

    #[tokio::test]
    async fn a_unix_socket_lets_in_whom_it_should() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let remover = Arc::default();
        let own = rustix::process::getgid().as_raw();
        let access = |mode, group: Option<u32>| {
            let group = group.map(Account::Number);
            Access::of(&SocketAccess { mode, owner: None, group }).expect("numbers")
        };
        let bind = |mode, group| BoundSocket::unix(&path, &access(mode, group), &remover);
        let seen = || {
            let file = std::fs::symlink_metadata(&path).expect("the file");
            (file.permissions().mode() & 0o7777, file.gid())
        };
        // The umask of this process, or of a unit, does not narrow it.
        for mode in [0o660, 0o666, 0o600, 0o620, 0o200, 0o777] {
            let socket = bind(mode, Some(own)).expect("binds");
            assert_eq!(seen(), (mode, own), "{mode:o}");
            drop(socket);
            assert!(remover.wait_for(&path, LONG));
        }
        // A running one changes, and only if the file is its own.
        let socket = bind(0o600, None).expect("binds").listen().expect("listens");
        let wider = access(0o666, None);
        socket.give(&wider).expect("it is given");
        assert_eq!(seen().0, 0o666);
        std::fs::remove_file(&path).expect("the file");
        let target = directory.path().join("precious");
        std::fs::write(&target, "precious").expect("a file");
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        assert!(socket.give(&wider).is_err());
        let mode = std::fs::metadata(&target).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_socket_that_does_not_listen_yet_is_not_stale() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let address = Address::Unix(path.clone());
        let first = BoundSocket::bind(&address, false, &Arc::default()).expect("binds");
        let second = BoundSocket::bind(&address, false, &Arc::default());
        assert!(matches!(second, Err(BindError::InUse)), "{second:?}");
        let _first = first.listen().expect("listens");
        std::os::unix::net::UnixStream::connect(&path).expect("it answers");
    }

    #[tokio::test]
    async fn of_several_that_find_a_stale_file_at_once_one_replaces_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let address = Address::Unix(path.clone());
        let runtime = tokio::runtime::Handle::current();
        for round in 0..100 {
            drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
            let at_once = std::sync::Barrier::new(4);
            let start = || {
                let _inside = runtime.enter();
                // As in a process of its own.
                let remover = Arc::default();
                at_once.wait();
                (listen(&address, &remover), remover)
            };
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(start));
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let listening = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
            let in_use = outcomes
                .iter()
                .filter(|(outcome, _)| matches!(outcome, Err(BindError::InUse)))
                .count();
            assert_eq!((listening, in_use), (1, 3), "{round}: {outcomes:?}");
            std::os::unix::net::UnixStream::connect(&path).expect("it answers");
            for (outcome, remover) in outcomes {
                drop(outcome);
                assert!(remover.wait_for(&path, LONG));
            }
            assert!(!path.exists());
        }
    }
}
