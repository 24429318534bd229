//! The bytes of a connection on their way: what is read counts as held, what is written as taken.

use super::heads::{Heads, Held, Verdict};
use super::limits::Limits;
use super::state::{ConnectionState, Phase};
use super::stream::Stream;
use super::unread::Unread;
use crate::http::request::Reader;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is read and thrown away of what comes after the last answer.
const MOST_LAST_BYTES: usize = 2 << 20;
/// The most that is read at once. hyper's buffer has room for 8 KiB and more of it each time it was filled: with less than
/// that only a long head makes it grow, in steps between which the budget of heads is looked at, and no crowd of short ones.
const MOST_AT_ONCE: usize = 4 << 10;

/// A stream that reports to its connection's state how it gets on.
pub(super) struct Wire {
    stream: Stream,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    held: Held,
    unread: Arc<Unread>,
    /// How much has been thrown away since the end was sent; none before it.
    last_bytes: Option<usize>,
}

impl Wire {
    pub(super) fn new(
        stream: Stream,
        state: &Arc<ConnectionState>,
        limits: &Arc<Limits>,
        heads: &Arc<Heads>,
        unread: &Arc<Unread>,
    ) -> Self {
        Wire {
            stream,
            state: Arc::clone(state),
            limits: Arc::clone(limits),
            held: Held::new(heads),
            unread: Arc::clone(unread),
            last_bytes: None,
        }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.state.sent(*bytes),
            Poll::Pending => self.state.stalled(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    /// Reads what the peer still sends, until it ends or has sent too much.
    fn poll_last_bytes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [MaybeUninit::uninit(); 4 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut room);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            let (bytes, total) = (buffer.filled().len(), self.last_bytes.get_or_insert(0));
            *total += bytes;
            if read.is_err() || bytes == 0 || *total > MOST_LAST_BYTES {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.state.phase() == Phase::Sending {
            self.stream.discard_on_close();
        }
        if let Some(socket) = self.stream.as_unix() {
            self.unread.keep(socket, self.state.member.client());
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { stream, state, limits, held, .. } = &mut *self;
        if !matches!(state.phase(), Phase::Queued | Phase::Serving | Phase::Sending) {
            held.wants_more();
        }
        let mut room = [MaybeUninit::uninit(); MOST_AT_ONCE];
        let room_for = buf.remaining().min(MOST_AT_ONCE);
        let mut part = ReadBuf::uninit(&mut room[..room_for]);
        let read = Pin::new(stream).poll_read(cx, &mut part);
        if read.is_pending() && !held.has_begun() {
            state.pauses();
        }
        let received = part.filled();
        if !received.is_empty() {
            // Clients may send empty lines between requests, and a connection with nothing else is as idle as before.
            if received.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
                state.received();
            }
            match held.received(received, limits.heads()) {
                Verdict::GoesOn => {}
                Verdict::LastRequest => state.end_after_request(),
                Verdict::IsCut => state.cut(),
            }
            buf.put_slice(received);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Wire { stream, state, held, .. } = &mut *self;
        let flushed = Pin::new(&mut *stream).poll_flush(cx);
        if flushed.is_ready() {
            let phase = state.flushed(|body| {
                held.passes_over(body);
                held.has_begun()
            });
            // hyper comes here whenever the connection is woken, and reads nothing meanwhile.
            if phase == Phase::Queued && stream.has_gone(cx) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.last_bytes.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.last_bytes = Some(0);
            // What is refused before a request was served is a head that cannot be read or has no end.
            let is_refused = self.state.phase() == Phase::Head;
            self.state.closes();
            let ended = self.poll_last_bytes(cx);
            return if is_refused || self.last_bytes > Some(0) {
                ended.map(Ok)
            } else {
                Poll::Ready(Ok(()))
            };
        }
        self.poll_last_bytes(cx).map(Ok)
    }
}
