//! One connection: its bytes, its deadlines, and how it ends.
//!
//! A connection has one timer, and it is only set back when it fires: a request that comes in one piece and
//! is answered at once touches no timer at all. hyper's own timeout would be started and stopped for each
//! request, and cannot tell an idle connection from half a head.

use super::limits::{Limits, Timeouts};
use super::stream::Stream;
use crate::http::counters::HttpCounters;
use crate::http::request::CurrentServe;
use crate::sync::lock;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::reply::Response;

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

/// When a connection is to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
enum End {
    /// When its peer or a timeout ends it.
    Open,
    /// After the request it is at.
    AfterRequest,
    Now,
}

/// What a connection knows of the listener that accepted it.
pub(super) struct ListenerState {
    pub(super) serve: Arc<CurrentServe>,
    /// Its connections are to end after the request they are at.
    is_closed: AtomicBool,
}

impl ListenerState {
    pub(super) fn new(serve: Arc<CurrentServe>) -> Arc<Self> {
        Arc::new(ListenerState { serve, is_closed: AtomicBool::new(false) })
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// What others know of a connection, and how they end it.
pub(super) struct ConnectionState {
    phase: AtomicU8,
    /// When the phase began or last got on, in milliseconds since the epoch.
    since: AtomicU64,
    end: AtomicU8,
    /// When the end was asked for, likewise.
    end_asked: AtomicU64,
    /// Bytes were taken since the sending last stalled.
    progressed: AtomicBool,
    waker: Mutex<Option<Waker>>,
    epoch: Instant,
    /// The listener that accepted it.
    pub(super) listener: Arc<ListenerState>,
    counters: Arc<HttpCounters>,
}

impl ConnectionState {
    pub(super) fn new(
        epoch: Instant,
        listener: Arc<ListenerState>,
        counters: Arc<HttpCounters>,
    ) -> Self {
        let state = ConnectionState {
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU64::new(0),
            end: AtomicU8::new(End::Open as u8),
            end_asked: AtomicU64::new(0),
            progressed: AtomicBool::new(false),
            waker: Mutex::new(None),
            epoch,
            listener,
            counters,
        };
        state.enter(Phase::Fresh, Instant::now());
        state
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed)).min(Phase::ALL.len() - 1)]
    }

    /// Since when it has been waiting for a request; `None` while it is at one.
    pub(super) fn idle_since(&self) -> Option<u64> {
        match self.phase() {
            Phase::Fresh | Phase::Head | Phase::Idle if !self.is_to_end(End::AfterRequest) => {
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
    pub(super) fn end_after_request(&self) {
        self.ask_to_end(End::AfterRequest);
    }

    /// To end now.
    pub(super) fn end_now(&self) {
        self.ask_to_end(End::Now);
    }

    fn ask_to_end(&self, end: End) {
        self.end_asked.store(self.milliseconds(Instant::now()), Ordering::Relaxed);
        self.end.fetch_max(end as u8, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers the connection's task. A task has one waker for its whole life, so once is enough
    /// unless the waker has been used.
    fn wake_with(&self, waker: &Waker) {
        lock(&self.waker).get_or_insert_with(|| waker.clone());
    }

    fn is_to_end(&self, end: End) -> bool {
        self.end.load(Ordering::Acquire) >= end as u8
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

    /// When its time is up, as things are now; never while a request is served, since every page has
    /// a deadline of its own.
    fn due(&self, timeouts: Timeouts) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        let (wait, last_call) = match self.phase() {
            Phase::Fresh | Phase::Head => (timeouts.head, LAST_CALL),
            Phase::Idle => (timeouts.idle, LAST_LOOK),
            Phase::Sending => (timeouts.stall, timeouts.stall),
            Phase::Serving => return None,
        };
        let own = self.instant(since) + wait;
        if self.is_to_end(End::AfterRequest) {
            let asked = self.end_asked.load(Ordering::Relaxed);
            // The request it was at has ended; a client that goes on asking must not stay.
            if self.phase() == Phase::Idle && since > asked {
                return Some(self.instant(since));
            }
            return Some(own.min(self.instant(asked.max(since)) + last_call));
        }
        Some(own)
    }

    fn instant(&self, milliseconds: u64) -> Instant {
        self.epoch + Duration::from_millis(milliseconds)
    }
}

/// A stream that reports to its connection's state how it gets on.
struct Wire {
    stream: Stream,
    state: Arc<ConnectionState>,
}

impl Wire {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.state.sent(*bytes),
            Poll::Pending => self.state.stalled(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.state.phase() == Phase::Sending {
            self.stream.discard_on_close();
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
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.received();
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
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.state.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
        // A client may end its side as soon as it has asked, as `nc -N` does.
        .half_close(true);
    builder
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(
    builder: &http1::Builder,
    limits: &Limits,
    state: Arc<ConnectionState>,
    stream: Stream,
    service: S,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let wire = TokioIo::new(Wire { stream, state: Arc::clone(&state) });
    let mut connection = pin!(builder.serve_connection(wire, service));
    let first = state.due(limits.timeouts()).unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
    let mut timer = pin!(tokio::time::sleep_until(first.into()));
    let mut is_ending = false;
    std::future::poll_fn(|cx| {
        state.wake_with(cx.waker());
        loop {
            if state.is_to_end(End::Now) || connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // hyper would close an idle connection at once, though a request may just be arriving.
            let goes_on = is_ending
                || !state.is_to_end(End::AfterRequest)
                || !matches!(state.phase(), Phase::Serving | Phase::Sending);
            if goes_on {
                break;
            }
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            let due = state.due(limits.timeouts());
            if due.is_some_and(|due| due < timer.deadline().into_std()) {
                timer.as_mut().reset(due.unwrap_or_else(Instant::now).into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match due {
                Some(due) if due <= now => {
                    if !state.is_to_end(End::AfterRequest) {
                        state.counters.count_timed_out();
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
