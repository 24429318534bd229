//! One connection: its bytes, its deadlines, and how it ends.
//!
//! A connection has one timer, and it is only set back when it fires: a request that comes in one piece and
//! is answered at once touches no timer at all. hyper's own timeout would be started and stopped for each
//! request, and cannot tell an idle connection from half a head.

use super::heads::{Heads, Held};
use super::limits::{Limits, Timeouts};
use super::shares::Member;
use super::stream::Stream;
use crate::http::counters::HttpCounters;
use crate::http::request::{CurrentServe, Reader};
use crate::sync::lock;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::reply::Response;

/// The most that a request's head may have, and what is buffered of one connection.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection that is to end may still take to send a request that is under way.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long an idle one stays: until the reactor has reported what had arrived before.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// How long a peer that is being refused may go on sending before its connection is closed: bytes that nobody
/// has read make the kernel reset it, and the answer is lost.
const LAST_BYTES: Duration = Duration::from_millis(500);
/// The most that is read and thrown away of it.
const MOST_LAST_BYTES: usize = 2 << 20;
/// The bytes that a reader takes in a second, at least, beside what it may take its time for.
const LEAST_RATE: u64 = 32 << 10;
/// Who takes an answer within this time has behaved.
const PROMPT: Duration = Duration::from_secs(1);
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
    /// The last answer has been sent, and what the peer still sends is thrown away.
    Closing,
}

impl Phase {
    const ALL: [Phase; 6] =
        [Phase::Fresh, Phase::Head, Phase::Serving, Phase::Sending, Phase::Idle, Phase::Closing];
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
    /// When the answer began that is being sent, or the first of those that were asked for without a pause;
    /// later by the time that the daemon took for the others.
    run_began: AtomicU64,
    /// Bytes that were taken since.
    run_taken: AtomicU64,
    /// The peer has paused: the next answer begins a new run.
    has_paused: AtomicBool,
    /// When the request came, or the answer began, that it is at.
    request_began: AtomicU64,
    /// The answer that is being sent is one that was asked for with success.
    has_succeeded: AtomicBool,
    /// It has taken an answer, and the last one without delay.
    has_behaved: AtomicBool,
    waker: Mutex<Option<Waker>>,
    epoch: Instant,
    member: Member,
    /// The listener that accepted it.
    pub(super) listener: Arc<ListenerState>,
    counters: Arc<HttpCounters>,
}

impl ConnectionState {
    pub(super) fn new(
        epoch: Instant,
        listener: Arc<ListenerState>,
        counters: Arc<HttpCounters>,
        member: Member,
    ) -> Self {
        let state = ConnectionState {
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU64::new(0),
            end: AtomicU8::new(End::Open as u8),
            end_asked: AtomicU64::new(0),
            progressed: AtomicBool::new(false),
            run_began: AtomicU64::new(0),
            run_taken: AtomicU64::new(0),
            has_paused: AtomicBool::new(true),
            request_began: AtomicU64::new(0),
            has_succeeded: AtomicBool::new(false),
            has_behaved: AtomicBool::new(false),
            waker: Mutex::new(None),
            epoch,
            member,
            listener,
            counters,
        };
        state.enter(Phase::Fresh, Instant::now());
        state
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed)).min(Phase::ALL.len() - 1)]
    }

    /// What waits for its peer, and since when; `None` while a request is served, and when it is to end anyway.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        if self.is_to_end(End::Now) {
            return None;
        }
        let phase = self.phase();
        if phase == Phase::Serving {
            return None;
        }
        let is_reading = phase == Phase::Sending;
        let has_asked = matches!(phase, Phase::Idle | Phase::Closing);
        if !is_reading && self.is_to_end(End::AfterRequest) {
            return None;
        }
        let has_behaved = self.has_behaved.load(Ordering::Relaxed);
        let since = self.since.load(Ordering::Relaxed);
        Some(Waiting { since, is_reading, has_asked, has_behaved })
    }

    /// The connection's place among those of its client.
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    pub(super) fn enter(&self, phase: Phase, now: Instant) {
        let now = self.milliseconds(now);
        self.since.store(now, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// A request is served from now on.
    pub(super) fn begins_to_serve(&self, now: Instant) {
        self.enter(Phase::Serving, now);
        self.request_began.store(self.milliseconds(now), Ordering::Relaxed);
    }

    /// Its answer is sent from now on. The time that it took the daemon is not the reader's.
    pub(super) fn begins_to_send(&self, now: Instant, has_succeeded: bool) {
        self.enter(Phase::Sending, now);
        self.has_succeeded.store(has_succeeded, Ordering::Relaxed);
        let now = self.milliseconds(now);
        let began = self.request_began.swap(now, Ordering::Relaxed);
        if self.has_paused.swap(false, Ordering::Relaxed) {
            self.run_began.store(now, Ordering::Relaxed);
            self.run_taken.store(0, Ordering::Relaxed);
        } else {
            self.run_began.fetch_add(now.saturating_sub(began), Ordering::Relaxed);
        }
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

    /// There is no request to be had at the moment.
    fn pauses(&self) {
        if self.phase() == Phase::Idle {
            self.has_paused.store(true, Ordering::Relaxed);
        }
    }

    fn received(&self) {
        if matches!(self.phase(), Phase::Fresh | Phase::Idle) {
            self.enter(Phase::Head, Instant::now());
        }
    }

    fn sent(&self, bytes: usize) {
        self.counters.count_sent(bytes);
        self.run_taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// The peer takes nothing at the moment.
    fn stalled(&self) {
        if self.phase() == Phase::Sending && self.progressed.swap(false, Ordering::Relaxed) {
            self.enter(Phase::Sending, Instant::now());
        }
    }

    /// Everything that was to be sent has been handed to the kernel. The beginning of the next request may have
    /// come with the last one.
    fn flushed(&self, has_unfinished: bool) {
        if self.phase() != Phase::Sending {
            return;
        }
        let now = Instant::now();
        let began = self.instant(self.request_began.load(Ordering::Relaxed));
        if now.saturating_duration_since(began) > PROMPT {
            self.has_behaved.store(false, Ordering::Relaxed);
        } else if self.has_succeeded.load(Ordering::Relaxed) {
            self.has_behaved.store(true, Ordering::Relaxed);
        }
        self.enter(if has_unfinished { Phase::Head } else { Phase::Idle }, now);
    }

    /// When a reader is too slow as a whole, though it gets on: it has the time of a stall for all it takes without
    /// a pause, and beside that as much as the least rate gives it.
    fn too_slow_at(&self, stall: Duration) -> Instant {
        let taken = self.run_taken.load(Ordering::Relaxed);
        let allowed = Duration::from_millis(taken.saturating_mul(1000) / LEAST_RATE);
        self.instant(self.run_began.load(Ordering::Relaxed)) + stall + allowed
    }

    /// When its time is up, as things are now; never while a request is served, since every page has
    /// a deadline of its own.
    fn due(&self, timeouts: Timeouts) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        let (wait, last_call) = match self.phase() {
            Phase::Fresh | Phase::Head => (timeouts.head, LAST_CALL),
            Phase::Idle => (timeouts.idle, LAST_LOOK),
            Phase::Sending => (timeouts.stall, timeouts.stall),
            Phase::Closing => (LAST_BYTES, LAST_BYTES),
            Phase::Serving => return None,
        };
        let mut own = self.instant(since) + wait;
        if self.phase() == Phase::Sending {
            own = own.min(self.too_slow_at(timeouts.stall));
        }
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

/// What a connection waits for that its peer is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// In milliseconds since the epoch.
    pub(super) since: u64,
    /// To take an answer, and not to ask.
    pub(super) is_reading: bool,
    /// It has been answered, and has begun nothing else.
    pub(super) has_asked: bool,
    /// It has taken an answer before, and the last one without delay.
    pub(super) has_behaved: bool,
}

impl Reader for ConnectionState {
    fn waits(&self) -> Option<Duration> {
        let waiting = self.waiting().filter(|waiting| waiting.is_reading)?;
        Some(self.epoch.elapsed().saturating_sub(Duration::from_millis(waiting.since)))
    }

    fn cut(&self) {
        self.counters.count_evicted();
        self.end_now();
    }
}

/// A stream that reports to its connection's state how it gets on.
struct Wire {
    stream: Stream,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    held: Held,
    /// How much has been thrown away since the end was sent; none before it.
    last_bytes: Option<usize>,
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
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { stream, state, limits, held, .. } = &mut *self;
        if !matches!(state.phase(), Phase::Serving | Phase::Sending) {
            held.wants_more();
        }
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        if read.is_pending() && !held.has_unfinished() {
            state.pauses();
        }
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            state.received();
            if !held.received(received, limits.heads()) {
                state.cut();
            }
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
            self.state.flushed(self.held.has_unfinished());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.last_bytes.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.last_bytes = Some(0);
            // What is refused before a request was served is a head that cannot be read or has no end.
            let is_refused = self.state.phase() == Phase::Head;
            self.state.enter(Phase::Closing, Instant::now());
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
    limits: &Arc<Limits>,
    heads: &Arc<Heads>,
    state: Arc<ConnectionState>,
    stream: Stream,
    service: S,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let wire = TokioIo::new(Wire {
        stream,
        state: Arc::clone(&state),
        limits: Arc::clone(limits),
        held: Held::new(heads),
        last_bytes: None,
    });
    let mut connection = pin!(builder.serve_connection(wire, service));
    let first = state.due(limits.timeouts()).unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
    let mut timer = pin!(tokio::time::sleep_until(first.into()));
    let mut is_ending = false;
    std::future::poll_fn(|cx| {
        state.wake_with(cx.waker());
        // hyper would close an idle connection at once, though a request may just be arriving.
        let ends_after_this = || {
            state.is_to_end(End::AfterRequest)
                && matches!(state.phase(), Phase::Serving | Phase::Sending)
        };
        loop {
            if !is_ending && ends_after_this() {
                // Before the answer is polled: its head says so.
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            if state.is_to_end(End::Now) || connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if is_ending || !ends_after_this() {
                break;
            }
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

#[cfg(test)]
mod tests {
    use super::super::shares::Shares;
    use super::*;
    use crate::http::request::Peer;
    use crate::plan::{Admin, Serve};

    const STALL: Duration = Duration::from_secs(10);

    fn state(epoch: Instant) -> ConnectionState {
        let listener = ListenerState::new(CurrentServe::new(Serve::with(Admin::Off), None));
        let member = Arc::new(Shares::default()).join(&Peer::Unix(None));
        ConnectionState::new(epoch, listener, Arc::default(), member)
    }

    #[test]
    fn a_reader_has_the_time_of_a_stall_and_what_its_rate_gives_it() {
        let epoch = Instant::now();
        let at = |seconds| epoch + Duration::from_secs(seconds);
        let state = state(epoch);
        let too_slow_at = || state.too_slow_at(STALL).saturating_duration_since(epoch).as_secs();
        state.begins_to_serve(at(100));
        state.begins_to_send(at(103), true);
        assert_eq!(too_slow_at(), 113);
        state.sent(5 * LEAST_RATE as usize);
        assert_eq!(too_slow_at(), 118);
        // The next one without a pause has no more time than it is served for.
        state.flushed(false);
        state.begins_to_serve(at(110));
        state.begins_to_send(at(114), true);
        state.sent(LEAST_RATE as usize);
        assert_eq!(too_slow_at(), 123);
        // After a pause all begins anew.
        state.flushed(false);
        state.pauses();
        state.begins_to_serve(at(200));
        state.begins_to_send(at(201), true);
        assert_eq!(too_slow_at(), 211);
    }

    #[test]
    fn who_takes_answers_without_delay_has_behaved() {
        let epoch = Instant::now();
        let state = state(epoch);
        let has_behaved = || state.waiting().is_some_and(|waiting| waiting.has_behaved);
        let answered = |after: Duration, is_success| {
            state.begins_to_serve(epoch);
            assert!(state.waiting().is_none());
            state.begins_to_send(Instant::now().checked_sub(after).unwrap_or(epoch), is_success);
            assert!(state.waiting().is_some_and(|waiting| waiting.is_reading));
            state.flushed(false);
        };
        assert!(!has_behaved());
        answered(Duration::ZERO, false);
        assert!(!has_behaved());
        answered(Duration::ZERO, true);
        assert!(has_behaved());
        answered(Duration::ZERO, false);
        assert!(has_behaved());
    }
}
