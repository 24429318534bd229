//! Options of sockets that rustix lacks.

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bounds what the kernel takes of a TCP connection, or of those that a listener accepts, beyond what it has sent:
/// about so many bytes (`TCP_NOTSENT_LOWAT`, tcp(7)). What is under way to the peer does not count, so a peer that reads
/// is served as fast as without it.
///
/// # Errors
///
/// As setsockopt(2): ENOTSUPP, EOPNOTSUPP or ENOPROTOOPT for what is no TCP socket.
pub fn bound_unsent(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let length = size_of_val(&bytes) as libc::socklen_t;
    let value = (&raw const bytes).cast();
    // SAFETY: the descriptor is open for the call, which only reads `length` bytes of a value that lives until it has
    // returned.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            value,
            length,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes the kernel keeps of what was written into a unix socket and not read by its peer, with what it needs
/// for them itself (`SIOCOUTQ`, unix(7)). It says so also when either side has been shut down.
///
/// # Errors
///
/// As ioctl(2): EINVAL for a socket that listens.
pub fn unread_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const UNREAD: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: this request writes an int.
    let bytes = unsafe { ioctl(socket, Getter::<UNREAD, libc::c_int>::new()) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// How much a connection takes whose peer reads nothing, on the side of the listener.
    fn taken_with(bound: Option<u32>) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        if let Some(bound) = bound {
            bound_unsent(listener.as_fd(), bound).expect("TCP knows it");
        }
        let _peer = TcpStream::connect(listener.local_addr().expect("an address"));
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let piece = [0; 4 << 10];
        std::iter::from_fn(|| stream.write(&piece).ok()).sum()
    }

    #[test]
    fn connections_have_the_bound_of_their_listener() {
        let (bounded, unbounded) = (taken_with(Some(16 << 10)), taken_with(None));
        assert!(bounded + (64 << 10) < unbounded, "{bounded} of {unbounded} bytes");
    }

    #[test]
    fn what_a_unix_socket_has_unread_is_known() {
        let (mut writer, mut reader) = UnixStream::pair().expect("a pair");
        let unread = |writer: &UnixStream| unread_bytes(writer.as_fd()).expect("a unix socket");
        assert_eq!(unread(&writer), 0);
        writer.write_all(&[0; 5000]).expect("there is room");
        assert!(unread(&writer) >= 5000);
        rustix::net::shutdown(&writer, rustix::net::Shutdown::Both).expect("a socket");
        assert!(unread(&writer) >= 5000);
        reader.read_to_end(&mut Vec::new()).expect("it has an end");
        assert_eq!(unread(&writer), 0);
    }

    #[test]
    fn what_is_no_tcp_socket_has_none() {
        let (socket, _) = UnixStream::pair().expect("a pair");
        assert!(bound_unsent(socket.as_fd(), 1).is_err());
    }
}
