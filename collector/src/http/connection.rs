//! One connection: its bytes, its deadlines, and how it ends.
//!
//! A connection has one timer, and it is only set back when it fires: a request that comes in one piece and
//! is answered at once touches no timer at all. hyper's own timeout would be started and stopped for each
//! request, and cannot tell an idle connection from half a head.

use super::counters::HttpCounters;
use super::listeners::{House, Listener};
use super::routes::Reception;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The most that a request's head may have, and what is buffered of one connection.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection that is to end may still take to send a request that is under way.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long an idle one stays: until the reactor has reported what had arrived before.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// How often the timer of a connection comes round while a request is served.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Accepted, and nothing received.
    Fresh,
    /// Received a part of a head.
    Head,
    /// A request is being served.
    Serving,
    /// An answer is being sent.
    Sending,
    /// Between requests.
    Idle,
}

impl Phase {
    const ALL: [Phase; 5] =
        [Phase::Fresh, Phase::Head, Phase::Serving, Phase::Sending, Phase::Idle];
}

/// What a connection has been told to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
enum Order {
    Stay,
    /// To end after the request it is at.
    Leave,
    /// To end now.
    Cut,
}

/// How long a connection may take for what it is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between requests.
    pub(super) idle: Duration,
    /// From the first byte of a head to its last, and from the start to the first byte.
    pub(super) head: Duration,
    /// Without taking a byte of an answer.
    pub(super) stall: Duration,
}

/// What others know of a connection, and how they end it.
pub(super) struct Seat {
    phase: AtomicU8,
    /// When the phase began or last got on, in milliseconds since the epoch of the house.
    since: AtomicU64,
    order: AtomicU8,
    /// When the order was given, likewise.
    ordered: AtomicU64,
    /// Bytes were taken since the sending last stalled.
    progressed: AtomicBool,
    waker: Mutex<Option<Waker>>,
    epoch: Instant,
    pub(super) listener: Arc<Listener>,
    counters: Arc<HttpCounters>,
}

impl Seat {
    pub(super) fn new(
        epoch: Instant,
        listener: Arc<Listener>,
        counters: Arc<HttpCounters>,
    ) -> Self {
        let seat = Seat {
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU64::new(0),
            order: AtomicU8::new(Order::Stay as u8),
            ordered: AtomicU64::new(0),
            progressed: AtomicBool::new(false),
            waker: Mutex::new(None),
            epoch,
            listener,
            counters,
        };
        seat.enter(Phase::Fresh, Instant::now());
        seat
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed)).min(Phase::ALL.len() - 1)]
    }

    /// Since when it has been waiting for a request; `None` while it is at one.
    pub(super) fn idle_since(&self) -> Option<u64> {
        let ordered = self.order.load(Ordering::Relaxed) != Order::Stay as u8;
        match self.phase() {
            Phase::Fresh | Phase::Head | Phase::Idle if !ordered => {
                Some(self.since.load(Ordering::Relaxed))
            }
            _ => None,
        }
    }

    pub(super) fn enter(&self, phase: Phase, now: Instant) {
        self.since.store(self.milliseconds(now), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }

    /// To end after the request it is at.
    pub(super) fn leave(&self) {
        self.order(Order::Leave);
    }

    /// To end now.
    pub(super) fn cut(&self) {
        self.order(Order::Cut);
    }

    fn order(&self, order: Order) {
        self.ordered.store(self.milliseconds(Instant::now()), Ordering::Relaxed);
        self.order.fetch_max(order as u8, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers whom to wake. A task has one waker for its whole life, so once is enough unless an
    /// order has used it.
    fn wake_with(&self, waker: &Waker) {
        self.waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| waker.clone());
    }

    fn ordered(&self, order: Order) -> bool {
        self.order.load(Ordering::Acquire) >= order as u8
    }

    fn received(&self) {
        if matches!(self.phase(), Phase::Fresh | Phase::Idle) {
            self.enter(Phase::Head, Instant::now());
        }
    }

    fn sent(&self, bytes: usize) {
        self.counters.count_sent(bytes);
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// The peer takes nothing at the moment.
    fn stalled(&self) {
        if self.phase() == Phase::Sending && self.progressed.swap(false, Ordering::Relaxed) {
            self.enter(Phase::Sending, Instant::now());
        }
    }

    /// Everything that was to be sent has been handed to the kernel.
    fn flushed(&self) {
        if self.phase() == Phase::Sending {
            self.enter(Phase::Idle, Instant::now());
        }
    }

    /// When its time is up, as things are now; never while a request is served, since whatever
    /// serves it has a deadline of its own.
    fn due(&self, patience: Patience) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        let (wait, last_call) = match self.phase() {
            Phase::Fresh | Phase::Head => (patience.head, LAST_CALL),
            Phase::Idle => (patience.idle, LAST_LOOK),
            Phase::Sending => (patience.stall, patience.stall),
            Phase::Serving => return None,
        };
        let own = self.instant(since) + wait;
        if self.ordered(Order::Leave) {
            let ordered = self.ordered.load(Ordering::Relaxed).max(since);
            return Some(own.min(self.instant(ordered) + last_call));
        }
        Some(own)
    }

    fn instant(&self, milliseconds: u64) -> Instant {
        self.epoch + Duration::from_millis(milliseconds)
    }
}

/// The bytes of a connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that tells its seat how it gets on.
struct Wire {
    stream: Stream,
    seat: Arc<Seat>,
}

macro_rules! stream {
    ($wire:expr, $stream:ident => $call:expr) => {
        match &mut $wire.stream {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl Wire {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.seat.sent(*bytes),
            Poll::Pending => self.seat.stalled(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl Drop for Wire {
    /// An answer that a peer does not read must not stay in the kernel's memory for minutes after
    /// the connection was cut.
    fn drop(&mut self) {
        if let Stream::Tcp(stream) = &self.stream
            && self.seat.phase() == Phase::Sending
        {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = stream!(self, stream => Pin::new(stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.seat.received();
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
        let written = stream!(self, stream => Pin::new(stream).poll_write(cx, buf));
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = stream!(self, stream => Pin::new(stream).poll_flush(cx));
        if flushed.is_ready() {
            self.seat.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// How every connection is served; made once.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // See the top of this file.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(true)
        .half_close(false);
    builder
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    house: Arc<House>,
    seat: Arc<Seat>,
    stream: Stream,
    reception: Reception,
) {
    let wire = TokioIo::new(Wire { stream, seat: Arc::clone(&seat) });
    let mut connection = pin!(house.builder.serve_connection(wire, reception));
    let first = seat.due(house.patience()).unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
    let mut timer = pin!(tokio::time::sleep_until(first.into()));
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        seat.wake_with(cx.waker());
        loop {
            if seat.ordered(Order::Cut) || connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // hyper would close an idle connection at once, though a request may just be arriving.
            let told = leaving
                || !seat.ordered(Order::Leave)
                || !matches!(seat.phase(), Phase::Serving | Phase::Sending);
            if told {
                break;
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            let due = seat.due(house.patience());
            if due.is_some_and(|due| due < timer.deadline().into_std()) {
                timer.as_mut().reset(due.unwrap_or_else(Instant::now).into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match due {
                Some(due) if due <= now => {
                    if !seat.ordered(Order::Leave) {
                        seat.counters.count_timed_out();
                    }
                    return Poll::Ready(());
                }
                Some(due) => timer.as_mut().reset(due.into()),
                None => timer.as_mut().reset((now + LOOK_AGAIN).into()),
            }
        }
    })
    .await;
}
