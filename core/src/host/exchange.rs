//! One datagram out and one back.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use super::deadline::left;
use super::{Host, World};
use crate::errno::ETIMEDOUT;
use crate::error::{Error, Result};
use crate::source_name;

/// No answer is longer; NTP's have some tens of bytes, and a datagram that is not fragmented at
/// most some 1,500.
const LONGEST: usize = 4096;

/// When an exchange took place, by the clock of [`Host::now`], as times since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeTimes {
    /// Just before the request was sent.
    pub sent: Duration,
    /// Just after the answer was received; never before `sent`.
    pub received: Duration,
}

impl Host {
    /// Sends a datagram by UDP and waits for the first one that comes back from that address. The
    /// answer takes the place of what the buffer had.
    ///
    /// With `hops` no more than so many routers but one pass the request on (the TTL of IPv4, the hop
    /// limit of IPv6); without it the system's default holds.
    ///
    /// A new socket with a port of the system's choice is taken for each exchange, so a late answer
    /// to an earlier request is never taken for this one's. Anybody who guesses the port can forge
    /// the address, though: put something into the request that the answer must repeat.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`]: with `ETIMEDOUT` when the deadline has passed, with what the network
    /// said by ICMP, such as `ECONNREFUSED`, and for an answer of more than 4,096 bytes.
    pub fn exchange(
        &self,
        address: SocketAddr,
        hops: Option<u8>,
        request: &[u8],
        answer: &mut Vec<u8>,
        deadline: Instant,
    ) -> Result<ExchangeTimes> {
        answer.clear();
        let exchanged = match &self.inner.world {
            World::Real => exchange(address, hops, request, answer, deadline),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => {
                let sent = memory.now();
                let answered = memory.exchange(address, request, answer);
                answered.map(|()| ExchangeTimes { sent, received: memory.now().max(sent) })
            }
        };
        exchanged.map_err(|source| {
            answer.clear();
            // Also where the system's number says that there is no such device: the peer is there
            // because a user named it.
            Error::Unreadable {
                path: source_name::made_by(|name| {
                    // Writing into a text cannot fail.
                    let _ = write!(name, "udp {address}");
                }),
                source,
            }
        })
    }
}

fn exchange(
    address: SocketAddr,
    hops: Option<u8>,
    request: &[u8],
    answer: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<ExchangeTimes> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    // A connected socket takes datagrams of its peer alone, and hears of ICMP errors.
    socket.connect(address)?;
    if let Some(hops) = hops {
        limit_hops(&socket, address, hops)?;
    }
    socket.set_write_timeout(Some(left(deadline)?))?;
    answer.resize(LONGEST + 1, 0);
    let sent = since_epoch();
    repeat(|| socket.send(request))?;
    let length = repeat(|| {
        socket.set_read_timeout(Some(left(deadline)?))?;
        socket.recv(answer)
    })?;
    // The clock may have been set back in between.
    let received = since_epoch().max(sent);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
    }
    answer.truncate(length);
    Ok(ExchangeTimes { sent, received })
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// An address of IPv6 that means one of IPv4 takes the limits of both.
fn limit_hops(socket: &UdpSocket, address: SocketAddr, hops: u8) -> io::Result<()> {
    #[cfg(unix)]
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_unicast_hops(socket, Some(hops))?;
    }
    #[cfg(not(unix))]
    let _ = address;
    socket.set_ttl(hops.into())
}

/// Repeats a call that a signal interrupted; one that ran into its timeout is ETIMEDOUT.
fn repeat(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::from_raw_os_error(ETIMEDOUT));
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};
    use std::time::Duration;

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn errno(outcome: Result<ExchangeTimes>) -> Option<i32> {
        match outcome {
            Err(Error::Unreadable { source, .. }) => source.raw_os_error(),
            other => panic!("{other:?}"),
        }
    }

    /// A server on the loopback that answers one request with these datagrams, the first of which
    /// come from another socket.
    fn serve(strange: &'static [u8], answer: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<()>) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut request = [0; 16];
            let (length, client) = server.recv_from(&mut request).unwrap();
            assert_eq!(&request[..length], b"what time is it");
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            stranger.send_to(strange, client).unwrap();
            server.send_to(&answer, client).unwrap();
        });
        (address, serving)
    }

    #[test]
    fn the_answer_of_the_peer_is_taken_and_no_other() {
        let host = Host::new(Roots::default());
        let mut answer = b"of an earlier exchange".to_vec();
        for length in [0, 48, LONGEST] {
            let (address, serving) = serve(b"late", vec![7; length]);
            host.exchange(address, None, b"what time is it", &mut answer, long()).unwrap();
            assert_eq!(answer, vec![7; length]);
            serving.join().unwrap();
        }
        let (address, serving) = serve(b"late", vec![7; LONGEST + 1]);
        assert_eq!(
            errno(host.exchange(address, None, b"what time is it", &mut answer, long())),
            None
        );
        assert!(answer.is_empty());
        serving.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_answer_costs_the_deadline_and_no_more() {
        let host = Host::new(Roots::default());
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let mut answer = Vec::new();
        for wait in [Duration::ZERO, Duration::from_millis(50)] {
            let began = Instant::now();
            assert_eq!(
                errno(host.exchange(address, None, b"x", &mut answer, began + wait)),
                Some(110)
            );
            assert!(began.elapsed() >= wait && began.elapsed() < Duration::from_secs(30));
        }
        // The port is closed: the loopback says so at once.
        drop(silent);
        assert_eq!(errno(host.exchange(address, None, b"x", &mut answer, long())), Some(111));
    }

    #[test]
    fn the_times_enclose_the_exchange() {
        let host = Host::new(Roots::default());
        let (address, serving) = serve(b"late", vec![7; 48]);
        let before = host.now();
        let times =
            host.exchange(address, Some(1), b"what time is it", &mut Vec::new(), long()).unwrap();
        assert!(
            before <= times.sent && times.sent <= times.received && times.received <= host.now()
        );
        serving.join().unwrap();
    }

    /// What the other side sees of the limit is a control message that takes unsafe code to read, so
    /// the socket is asked.
    #[test]
    fn hops_are_limited_in_both_families() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let Ok(socket) = UdpSocket::bind(any) else { continue };
            limit_hops(&socket, any.parse().unwrap(), 3).unwrap();
            if any.starts_with('[') {
                #[cfg(unix)]
                assert_eq!(rustix::net::sockopt::ipv6_unicast_hops(&socket).unwrap(), 3);
            } else {
                assert_eq!(socket.ttl().unwrap(), 3);
            }
        }
    }

    #[test]
    fn the_memory_host_answers_by_a_function() {
        let memory = MemoryHost::new();
        let host = memory.host();
        let (near, far) = ("192.0.2.1:123".parse().unwrap(), "[2001:db8::1]:123".parse().unwrap());
        let mut answer = Vec::new();
        assert_eq!(errno(host.exchange(near, None, b"x", &mut answer, long())), Some(110));
        memory.set_exchange(move |address, request| match address == near {
            true => Ok([request, b"!"].concat()),
            false => Err(io::Error::from_raw_os_error(113)),
        });
        host.exchange(near, None, b"x", &mut answer, long()).unwrap();
        assert_eq!(answer, b"x!");
        let failed = host.exchange(far, None, b"x", &mut answer, long());
        assert_eq!(
            failed.as_ref().unwrap_err().to_string().split(": ").next(),
            Some("udp [2001:db8::1]:123")
        );
        assert_eq!(errno(failed), Some(113));
    }
}
