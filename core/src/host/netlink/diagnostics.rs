//! Sockets, as the kernel's socket diagnostics dump them (sock_diag(7)). Layouts are those of
//! `linux/inet_diag.h`.
//!
//! Parsing ([`parse_tcp_sockets`]) is apart from the socket: it takes any bytes, never panics and
//! always ends.

use std::io;

use rustix::net::netlink::SOCK_DIAG;

use super::frame::{Dump, DumpError, HEADER, dump_request, number_32, parse};
use super::socket::Socket;

/// `linux/sock_diag.h`.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
/// `sizeof(struct inet_diag_req_v2)`.
const REQUEST: usize = 56;
/// `sizeof(struct inet_diag_msg)`.
const MESSAGE: usize = 72;
/// Where `idiag_rqueue` is in it, behind four bytes, the addresses and a time; `idiag_wqueue` follows.
const QUEUES: usize = 56;
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
