//! Sockets, as the kernel's socket diagnostics dump them (sock_diag(7)). Layouts are those of
//! `linux/inet_diag.h`.
//!
//! Parsing ([`parse_tcp_sockets`]) is apart from the socket: it takes any bytes, never panics and
//! always ends.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use linux_raw_sys::netlink;
use rustix::net::netlink::SOCK_DIAG;

use super::frame::{Dump, DumpError, HEADER, dump_request, number_32, parse, write_request};
use super::socket::{DUMP_TIMEOUT, End, Socket};

/// `linux/sock_diag.h`.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;
/// `sizeof(struct inet_diag_req_v2)`.
const REQUEST: usize = 56;
/// `sizeof(struct inet_diag_msg)`.
const MESSAGE: usize = 72;
/// Where `idiag_rqueue` is in it, behind four bytes, the addresses and a time; `idiag_wqueue` follows.
const QUEUES: usize = 56;
/// Where `idiag_uid` and `idiag_inode` are in it.
const UID: usize = 64;
const INODE: usize = 68;
/// Where `struct inet_diag_sockid` is, in the request and in the message: ports, addresses, an
/// interface and a cookie.
const REQUEST_ID: usize = 8;
const MESSAGE_ID: usize = 4;
/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: [u8; 8] = [0xff; 8];
const NLM_F_ACK: u16 = netlink::NLM_F_ACK as u16;
/// Every state of `net/tcp_states.h` from TCP_ESTABLISHED (1) to TCP_CLOSING (11).
const ALL_STATES: u32 = 0xfff;

/// A TCP socket: `struct inet_diag_msg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    /// `idiag_family`: 2 is IPv4, 10 is IPv6.
    pub family: u8,
    /// `idiag_state`: the states of `net/tcp_states.h`.
    pub state: u8,
    /// `idiag_rqueue`: bytes not read yet; of a socket that listens, connections not accepted yet.
    pub receive_queue: u32,
    /// `idiag_wqueue`: bytes not acknowledged yet; of a socket that listens, how many connections may
    /// wait to be accepted.
    pub send_queue: u32,
}

/// A TCP socket, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnedSocket {
    /// Its own address and port.
    pub local: SocketAddr,
    /// Those of its peer.
    pub peer: SocketAddr,
    /// `idiag_uid`: the user who made it, as the asking process's user namespace names it.
    pub uid: u32,
    /// `idiag_inode`: what `fstat` says of its descriptor. 0 if no process has the socket any more, and then
    /// the kernel says 0 for the user, too.
    pub inode: u32,
}

/// The sockets in an answer, with their users.
///
/// # Errors
///
/// As [`parse_tcp_sockets`].
pub fn parse_owned_sockets(
    bytes: &[u8],
    each: &mut dyn FnMut(OwnedSocket),
) -> Result<Dump, DumpError> {
    parse(bytes, SOCK_DIAG_BY_FAMILY, &mut |payload| {
        let message = payload.first_chunk::<MESSAGE>().ok_or(DumpError::Message)?;
        let id = &message[MESSAGE_ID..];
        let end = |port: usize, address: usize| {
            let port = u16::from_be_bytes([id[port], id[port + 1]]);
            SocketAddr::new(address_of(message[0], &id[address..]), port)
        };
        each(OwnedSocket {
            local: end(0, 4),
            peer: end(2, 20),
            uid: number_32(&message[UID..]).unwrap_or(u32::MAX),
            inode: number_32(&message[INODE..]).unwrap_or(0),
        });
        Ok(true)
    })
}

/// Four bytes of IPv4, sixteen of anything else.
fn address_of(family: u8, bytes: &[u8]) -> IpAddr {
    if family == INET {
        let bytes = bytes.first_chunk::<4>().copied().unwrap_or_default();
        return IpAddr::from(bytes);
    }
    IpAddr::from(bytes.first_chunk::<16>().copied().unwrap_or_default()).to_canonical()
}

/// Passes on every socket in a dump.
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_tcp_sockets(bytes: &[u8], each: &mut dyn FnMut(TcpSocket)) -> Result<Dump, DumpError> {
    parse(bytes, SOCK_DIAG_BY_FAMILY, &mut |payload| {
        let message = payload.first_chunk::<MESSAGE>().ok_or(DumpError::Message)?;
        let [family, state, ..] = *message;
        let queues = &message[QUEUES..];
        let (receive_queue, send_queue) = (number_32(queues), number_32(&queues[4..]));
        each(TcpSocket {
            family,
            state,
            receive_queue: receive_queue.unwrap_or(0),
            send_queue: send_queue.unwrap_or(0),
        });
        Ok(true)
    })
}

/// A socket for socket diagnostics.
#[derive(Debug)]
pub struct Diagnostics(Socket);

impl Diagnostics {
    /// Opens nothing and allocates nothing yet.
    pub const fn new() -> Self {
        Diagnostics(Socket::new(Some(SOCK_DIAG)))
    }

    /// Passes on every TCP socket of a family.
    ///
    /// # Errors
    ///
    /// The socket was refused, the kernel refused the dump (ENOENT where it has no diagnostics of
    /// TCP), it did not answer in time, or the answer is no sound dump.
    pub fn tcp_sockets(&mut self, family: u8, each: &mut dyn FnMut(TcpSocket)) -> io::Result<Dump> {
        self.0.dump(&mut request(family))?;
        Ok(parse_tcp_sockets(self.0.bytes(), each)?)
    }

    /// The TCP socket with these two ends; `None` if this network namespace has none.
    ///
    /// # Errors
    ///
    /// As [`Diagnostics::tcp_sockets`]; but ENOENT, which is also the answer of a kernel without
    /// diagnostics of TCP, is `None`.
    pub fn tcp_socket(
        &mut self,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<Option<OwnedSocket>> {
        let [local, peer] = [local, peer].map(canonical);
        let deadline = Instant::now() + DUMP_TIMEOUT;
        let asked = self.0.exchange(&mut question(local, peer), End::Acknowledgement, deadline);
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            asked => asked?,
        }
        let mut found = None;
        parse_owned_sockets(self.0.bytes(), &mut |socket| {
            // Where no connection has these ends the kernel answers with what listens there.
            if (socket.local, socket.peer) == (local, peer) {
                found = Some(socket);
            }
        })?;
        Ok(found)
    }
}

/// Without what IPv6 adds, such as a scope.
fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// A request for one socket. IPv4 in the form of IPv6 is asked for as IPv4, and finds the sockets of
/// both families.
fn question(local: SocketAddr, peer: SocketAddr) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let length = bytes.len() as u32;
    write_request(&mut bytes, length, SOCK_DIAG_BY_FAMILY, NLM_F_ACK);
    bytes[HEADER] = if local.is_ipv4() { INET } else { INET6 };
    bytes[HEADER + 1] = IPPROTO_TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&ALL_STATES.to_ne_bytes());
    let id = &mut bytes[HEADER + REQUEST_ID..];
    for (end, port, address) in [(local, 0, 4), (peer, 2, 20)] {
        id[port..port + 2].copy_from_slice(&end.port().to_be_bytes());
        match end.ip() {
            IpAddr::V4(ip) => id[address..address + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => id[address..address + 16].copy_from_slice(&Ipv6Addr::octets(&ip)),
        }
    }
    id[40..48].copy_from_slice(&NO_COOKIE);
    bytes
}

/// A request for a dump, whose sequence number the socket fills in.
fn request(family: u8) -> [u8; HEADER + REQUEST] {
    let mut bytes = dump_request(SOCK_DIAG_BY_FAMILY);
    bytes[HEADER] = family;
    bytes[HEADER + 1] = IPPROTO_TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&ALL_STATES.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + MESSAGE];
        bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes[HEADER..HEADER + 2].copy_from_slice(&[10, 6]);
        bytes[HEADER + 56..HEADER + 60].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[HEADER + 60..HEADER + 64].copy_from_slice(&9_u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn sockets_are_parsed() {
        let mut seen = Vec::new();
        parse_tcp_sockets(&message(HEADER + MESSAGE), &mut |one| seen.push(one)).unwrap();
        let expected = TcpSocket { family: 10, state: 6, receive_queue: 7, send_queue: 9 };
        assert_eq!(seen, [expected]);
    }

    #[test]
    fn no_bytes_stop_the_parser() {
        for length in 0..HEADER + MESSAGE {
            assert_eq!(parse_tcp_sockets(&message(length), &mut drop), Err(DumpError::Message));
        }
    }

    #[test]
    fn no_bytes_stop_the_parser_of_owners() {
        for length in 0..HEADER + MESSAGE {
            assert_eq!(parse_owned_sockets(&message(length), &mut drop), Err(DumpError::Message));
        }
        let mut seen = Vec::new();
        parse_owned_sockets(&message(HEADER + MESSAGE), &mut |one| seen.push(one)).unwrap();
        assert_eq!((seen[0].uid, seen[0].inode), (0, 0));
    }

    #[test]
    fn the_kernel_says_whose_a_socket_is() {
        use rustix::fs::fstat;
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            // A socket for both families is asked over IPv4.
            let to = if address == "[::]:0" { "127.0.0.1" } else { &address[..address.len() - 2] };
            let client = TcpStream::connect(format!("{to}:{port}")).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let mut diagnostics = Diagnostics::new();
            let mut ask = |local, peer| diagnostics.tcp_socket(local, peer).unwrap();
            // A kernel may be built without.
            let Some(own) = ask(local, peer) else { return };
            assert_eq!(u64::from(own.inode), fstat(&server).unwrap().st_ino);
            let other = ask(peer, local).expect("the client's");
            assert_eq!(u64::from(other.inode), fstat(&client).unwrap().st_ino);
            assert_eq!(other.uid, rustix::process::geteuid().as_raw());
            // What listens is not a connection.
            assert_eq!(ask(local, SocketAddr::new(peer.ip(), 1)), None);
            // The peer has closed, and this end has not: the kernel has a socket that is nobody's.
            drop(client);
            if let Some(left) = ask(peer, local) {
                assert_eq!((left.inode, left.uid), (0, 0));
            }
        }
    }

    #[test]
    fn this_kernel_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut listening, mut established) = (0, 0);
        let dump = Diagnostics::new().tcp_sockets(2, &mut |one| {
            listening += usize::from(one.state == 10);
            established += usize::from(one.state == 1);
        });
        match dump {
            Ok(dump) => assert!(dump.finished && listening >= 1 && established >= 2),
            // A kernel may be built without.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        drop(client);
    }
}
