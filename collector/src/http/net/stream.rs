//! The bytes of a connection, over whatever they come.

use super::limits::UNSENT;
use crate::http::request::{Ends, Peer};
#[cfg(feature = "tls")]
use crate::web_config::ClientRule;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsFd;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An accepted connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// One of these, after the handshake, and what that has asked of the client.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Stream>>, Arc<ClientRule>),
    /// On its way from one reactor to another.
    #[cfg(feature = "tls")]
    Away(Away),
}

/// A socket that no reactor watches.
#[cfg(feature = "tls")]
pub(super) enum Away {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Nowhere,
}

impl Stream {
    pub(super) fn over_tcp(stream: TcpStream, from: SocketAddr) -> (Self, Peer) {
        // An answer is written in one piece; what is left of it must not wait for an
        // acknowledgement. Where the system refuses, it waits.
        let _ = stream.set_nodelay(true);
        (Stream::Tcp(stream), Peer::Tcp(from))
    }

    pub(super) fn over_unix(stream: UnixStream) -> (Self, Peer) {
        // A unix socket has no options of its listener's. All that it holds has not been read: see `UNSENT`.
        let _ = sockopt::set_socket_send_buffer_size(&stream, UNSENT.now() as usize);
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        (Stream::Unix(stream), Peer::Unix(uid))
    }

    /// What the kernel needs to say whose process the peer is. Of a unix socket it has said so, and a peer
    /// elsewhere is nobody's here.
    pub(super) fn ends(&self, peer: &Peer) -> Option<Ends> {
        #[cfg(feature = "tls")]
        if let Stream::Tls(stream, _) = self {
            return stream.get_ref().0.ends(peer);
        }
        let (Stream::Tcp(stream), Peer::Tcp(peer)) = (self, peer) else { return None };
        if !peer.ip().to_canonical().is_loopback() {
            return None;
        }
        let local = stream.local_addr().ok()?;
        let inode = rustix::fs::fstat(stream).ok()?.st_ino;
        Some(Ends { local, inode })
    }

    /// Whether others on the way cannot read what is said.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            #[cfg(feature = "tls")]
            Stream::Tls(..) => true,
            #[cfg(feature = "tls")]
            Stream::Away(_) => false,
        }
    }

    /// What was asked of the client when it shook hands, if it has.
    #[cfg(feature = "tls")]
    pub(super) fn shaken(&self) -> Option<Arc<ClientRule>> {
        if let Stream::Tls(_, rule) = self { Some(Arc::clone(rule)) } else { None }
    }

    /// Whether there is nobody any more who could take an answer: the peer has closed a unix socket, or reset the
    /// connection. If not, the task is woken when that may have changed. One that has ended its side may still read; over
    /// TCP nothing tells it from one that has closed its socket.
    pub(super) fn has_gone(&self, cx: &mut Context<'_>) -> bool {
        let (may_have, socket) = match self {
            Stream::Tcp(stream) => (stream.poll_read_ready(cx), stream.as_fd()),
            Stream::Unix(stream) => (stream.poll_read_ready(cx), stream.as_fd()),
            #[cfg(feature = "tls")]
            Stream::Tls(stream, _) => return stream.get_ref().0.has_gone(cx),
            #[cfg(feature = "tls")]
            Stream::Away(_) => return false,
        };
        // These two are reported whatever is asked for (poll(2)).
        let mut told = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
        may_have.is_ready()
            && rustix::event::poll(&mut told, Some(&Timespec::default())).is_ok()
            && told[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// The socket, if it is a unix socket.
    pub(super) fn as_unix(&self) -> Option<&UnixStream> {
        match self {
            Stream::Unix(stream) => Some(stream),
            Stream::Tcp(_) => None,
            #[cfg(feature = "tls")]
            Stream::Tls(stream, _) => stream.get_ref().0.as_unix(),
            #[cfg(feature = "tls")]
            Stream::Away(_) => None,
        }
    }

    /// Makes closing throw away what the peer has not taken: it must not stay in the kernel's memory
    /// for minutes.
    pub(super) fn discard_on_close(&self) {
        match self {
            Stream::Tcp(stream) => {
                let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            }
            Stream::Unix(_) => {}
            #[cfg(feature = "tls")]
            Stream::Tls(stream, _) => stream.get_ref().0.discard_on_close(),
            #[cfg(feature = "tls")]
            Stream::Away(_) => {}
        }
    }

    /// Takes the socket from the reactor that watches it.
    #[cfg(feature = "tls")]
    pub(super) fn leave(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream, _) = self {
            return stream.get_mut().0.leave();
        }
        *self = match std::mem::replace(self, Stream::Away(Away::Nowhere)) {
            Stream::Tcp(stream) => Stream::Away(Away::Tcp(stream.into_std()?)),
            Stream::Unix(stream) => Stream::Away(Away::Unix(stream.into_std()?)),
            other => other,
        };
        Ok(())
    }

    /// Has the reactor of this thread watch a socket that has left another one.
    #[cfg(feature = "tls")]
    pub(super) fn enter(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream, _) = self {
            return stream.get_mut().0.enter();
        }
        *self = match std::mem::replace(self, Stream::Away(Away::Nowhere)) {
            Stream::Away(Away::Tcp(stream)) => Stream::Tcp(TcpStream::from_std(stream)?),
            Stream::Away(Away::Unix(stream)) => Stream::Unix(UnixStream::from_std(stream)?),
            other => other,
        };
        Ok(())
    }
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($stream, _) => {
                let $stream = &mut **$stream;
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Away(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}
impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
