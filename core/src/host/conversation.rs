//! A request over a stream and its answer, on a connection of its own.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::deadline::left;
use super::peer::Peer;
use super::{Host, World};
use crate::error::{Error, Result};

/// No answer is longer.
const LONGEST: usize = 16 << 20;

/// The buffer grows by no more than this before as much has come.
const PIECE: usize = 16 * 1024;

impl Host {
    /// Opens a connection, sends a request and receives until `is_whole` says of what has come that the
    /// answer is there, or until the other side closes. The answer takes the place of what the
    /// buffer had; whether it is whole when the other side has closed is for the caller to judge.
    ///
    /// The deadline covers all of it. The connection is closed at the end, so a late answer is never
    /// taken for another one's. Finding the socket's file may hang with its file system.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`]: with `ETIMEDOUT` when the deadline has passed, with what the system says,
    /// such as `ECONNREFUSED` or `ENOENT`, and for an answer of more than 16 MiB.
    pub fn converse(
        &self,
        peer: Peer<'_>,
        request: &[u8],
        answer: &mut Vec<u8>,
        is_whole: &mut dyn FnMut(&[u8]) -> bool,
        deadline: Instant,
    ) -> Result<()> {
        answer.clear();
        let conversed = match &self.inner.world {
            World::Real => converse(peer, request, answer, is_whole, deadline),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.converse(peer, request, answer),
        };
        conversed.map_err(|source| {
            answer.clear();
            // Also where the system says that there is no such file: the user named it.
            Error::Unreadable { path: peer.to_string().into(), source }
        })
    }
}

fn converse(
    peer: Peer<'_>,
    request: &[u8],
    answer: &mut Vec<u8>,
    is_whole: &mut dyn FnMut(&[u8]) -> bool,
    deadline: Instant,
) -> io::Result<()> {
    let socket = match peer {
        Peer::Tcp(address) => TcpStream::connect_timeout(&address, left(deadline)?)?.into(),
        Peer::Unix(path) => connect_unix(&SocketAddrUnix::new(path)?, deadline)?,
    };
    send_all(&socket, request, deadline)?;
    loop {
        match receive(&socket, answer, deadline)? {
            0 => return Ok(()),
            _ if is_whole(answer) => return Ok(()),
            _ if answer.len() > LONGEST => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
            }
            _ => {}
        }
    }
}

/// Connects to a unix socket. Where the server accepts no connection, its queue fills up and
/// connecting waits.
pub(super) fn connect_unix(address: &SocketAddrUnix, deadline: Instant) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        set_socket_timeout(&socket, Timeout::Send, Some(left(deadline)?))?;
        match connect(&socket, address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn send_all(socket: &OwnedFd, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        set_socket_timeout(socket, Timeout::Send, Some(left(deadline)?))?;
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Appends what has come, and says how much that is.
fn receive(socket: &OwnedFd, answer: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    loop {
        set_socket_timeout(socket, Timeout::Recv, Some(left(deadline)?))?;
        answer.reserve(PIECE);
        match rustix::io::read(socket, rustix::buffer::spare_capacity(answer)) {
            Ok(received) => return Ok(received),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn host() -> Host {
        Host::new(Roots::default())
    }

    fn errno(outcome: Result<()>) -> Option<i32> {
        match outcome {
            Err(Error::Unreadable { source, .. }) => source.raw_os_error(),
            other => panic!("{other:?}"),
        }
    }

    /// Lets a server take the request and do what it does with the connection.
    fn serve(
        act: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (SocketAddr, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"ask\n");
            act(stream);
        });
        (address, serving)
    }

    #[test]
    fn an_answer_ends_where_the_caller_or_the_other_side_says() {
        let mut answer = b"of an earlier one".to_vec();
        let (address, serving) = serve(|mut stream| {
            stream.write_all(&[b'a'; 100_000]).unwrap();
        });
        let never = &mut |_: &[u8]| false;
        host().converse(Peer::Tcp(address), b"ask\n", &mut answer, never, long()).unwrap();
        assert_eq!(answer, [b'a'; 100_000]);
        serving.join().unwrap();

        // This server does not close before the client does.
        let (address, serving) = serve(|mut stream| {
            stream.write_all(b"whole\n").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        let line = &mut |answer: &[u8]| answer.ends_with(b"\n");
        host().converse(Peer::Tcp(address), b"ask\n", &mut answer, line, long()).unwrap();
        assert_eq!(answer, b"whole\n");
        serving.join().unwrap();
    }

    #[test]
    fn a_server_that_does_not_answer_costs_the_deadline_and_no_more() {
        let (address, serving) = serve(|mut stream| {
            stream.write_all(b"half of").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        let (mut answer, wait) = (Vec::new(), Duration::from_millis(50));
        let began = Instant::now();
        let never = &mut |_: &[u8]| false;
        let conversed =
            host().converse(Peer::Tcp(address), b"ask\n", &mut answer, never, began + wait);
        assert_eq!(errno(conversed), Some(110));
        assert!(answer.is_empty());
        assert!(began.elapsed() >= wait && began.elapsed() < Duration::from_secs(30));
        serving.join().unwrap();
    }

    #[test]
    fn a_server_that_accepts_nothing_costs_the_deadline_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket").display().to_string();
        let listener = UnixListener::bind(&path).unwrap();
        let never = &mut |_: &[u8]| false;
        let mut ask = |wait: u64| {
            let deadline = Instant::now() + Duration::from_millis(wait);
            errno(host().converse(Peer::Unix(&path), b"ask\n", &mut Vec::new(), never, deadline))
        };
        let address = SocketAddrUnix::new(path.as_str()).unwrap();
        // As many as the queue takes connect and get no answer; the others wait to connect.
        rustix::net::listen(&listener, 0).unwrap();
        let waiting: Vec<_> = (0..3)
            .map_while(|_| connect_unix(&address, Instant::now() + Duration::from_millis(20)).ok())
            .collect();
        assert!(waiting.len() < 3, "the queue is full");
        assert_eq!(ask(20), Some(110));
        drop((waiting, listener));
        assert_eq!(ask(60_000), Some(111));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ask(60_000), Some(2));
    }

    #[test]
    fn an_answer_without_an_end_is_given_up() {
        let (address, serving) =
            serve(|mut stream| while stream.write_all(&[b'a'; 1 << 20]).is_ok() {});
        let mut answer = Vec::new();
        let never = &mut |_: &[u8]| false;
        let conversed = host().converse(Peer::Tcp(address), b"ask\n", &mut answer, never, long());
        assert_eq!(errno(conversed), None);
        assert!(answer.is_empty());
        serving.join().unwrap();
    }

    #[test]
    fn the_memory_host_answers_by_a_function() {
        let memory = MemoryHost::new();
        let mut answer = Vec::new();
        let mut ask = || {
            let never = &mut |_: &[u8]| false;
            memory.host().converse(Peer::Unix("/run/x"), b"ask", &mut answer, never, long())?;
            Ok(answer.clone())
        };
        assert_eq!(errno(ask().map(drop)), Some(111));
        memory.set_conversation(|peer, request| Ok([peer.as_bytes(), b" ", request].concat()));
        assert_eq!(ask().unwrap(), b"unix /run/x ask");
    }
}
