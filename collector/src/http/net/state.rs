//! What a connection is at, and how it is asked to end.
//!
//! Its own task says how it gets on (`wire`, `service`) and ends it when its time is up (`connection`). Others ask what it
//! waits for when places or memory are short, and end it.

use super::limits::Timeouts;
use super::pace::Pace;
use super::shares::{Member, Rank};
use crate::http::counters::HttpCounters;
use crate::http::request::{CurrentServe, Reader};
use crate::sync::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long a connection that is to end may still take to send a request that is under way.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long an idle one stays: a timer fires after the reactor has reported what had arrived before.
const LAST_LOOK: Duration = Duration::from_millis(2);
/// How long a peer that is being refused may go on sending before its connection is closed: bytes that nobody
/// has read make the kernel reset it, and the answer is lost. One whose place others wait for has less.
const LAST_BYTES: Duration = Duration::from_millis(500);
const LAST_BYTES_OF_A_CROWD: Duration = Duration::from_millis(20);
/// How long a reader may be behind while others wait for what it holds: one far away answers late. Of a client with more
/// than half of all connections less is expected until it has taken an answer.
const GRACE: Duration = Duration::from_millis(200);
const GRACE_WITH_MANY: Duration = Duration::from_millis(50);

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

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted, and nothing received.
    Fresh,
    /// Received a part of a head.
    Head,
    /// A request waits for its turn.
    Queued,
    /// A request is being served.
    Serving,
    /// An answer is being sent.
    Sending,
    /// Between requests.
    Idle,
    /// The last answer has been sent, and what the peer still sends is thrown away.
    Closing,
}

/// When a connection is to end. What is asked for later never takes back what was asked for before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// When its peer or a timeout ends it.
    Open,
    /// After the request it is at.
    AfterRequest,
    Now,
}

/// A connection as others see it.
pub(super) struct ConnectionState {
    progress: Mutex<Progress>,
    /// Its place among those of its client.
    pub(super) member: Member,
    /// The listener that accepted it.
    pub(super) listener: Arc<ListenerState>,
    pub(super) counters: Arc<HttpCounters>,
}

/// How far it is.
struct Progress {
    phase: Phase,
    /// When the phase began or last got on.
    since: Instant,
    /// Bytes were taken since the sending last stalled.
    has_moved: bool,
    pace: Pace,
    /// The length of the body that came with the request.
    body: u64,
    end: End,
    end_asked: Instant,
    /// Others wait for its place.
    gives_way: bool,
    /// Wakes its task.
    waker: Option<Waker>,
}

/// What a connection waits for that its peer is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    /// To take an answer, and not to ask.
    pub(super) is_reading: bool,
    /// It has been answered, and has begun nothing else.
    pub(super) has_asked: bool,
    /// It has taken an answer before, the last one without delay, and may ask again.
    pub(super) has_behaved: bool,
    /// It has asked more than once, with a pause between.
    pub(super) has_returned: bool,
}

impl ConnectionState {
    pub(super) fn new(
        listener: Arc<ListenerState>,
        counters: Arc<HttpCounters>,
        member: Member,
    ) -> Self {
        let now = Instant::now();
        let progress = Mutex::new(Progress {
            phase: Phase::Fresh,
            since: now,
            has_moved: false,
            pace: Pace::new(now),
            body: 0,
            end: End::Open,
            end_asked: now,
            gives_way: false,
            waker: None,
        });
        ConnectionState { progress, member, listener, counters }
    }

    pub(super) fn phase(&self) -> Phase {
        lock(&self.progress).phase
    }

    /// When it has been asked to end.
    pub(super) fn end(&self) -> End {
        lock(&self.progress).end
    }

    /// What waits for its peer, and since when; `None` while a request is served, and when it is to end anyway.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        lock(&self.progress).waiting()
    }

    /// Whether it has been asked to end and nothing holds it up.
    pub(super) fn leaves_at_once(&self) -> bool {
        let progress = lock(&self.progress);
        progress.end == End::Now
            || progress.end == End::AfterRequest && progress.phase == Phase::Idle
    }

    /// Whether it is at this, and goes on afterwards.
    pub(super) fn stays_after(&self, phase: Phase) -> bool {
        let progress = lock(&self.progress);
        progress.phase == phase && progress.end == End::Open
    }

    /// When its time is up, as things are now; never while a request is served, since every page has
    /// a deadline of its own.
    pub(super) fn due(&self, timeouts: Timeouts) -> Option<Instant> {
        lock(&self.progress).due(timeouts)
    }
}

/// What its own task says.
impl ConnectionState {
    /// Its task. A task has one waker for its whole life, so once is enough unless the waker has been used.
    pub(super) fn wake_with(&self, waker: &Waker) {
        lock(&self.progress).waker.get_or_insert_with(|| waker.clone());
    }

    pub(super) fn received(&self) {
        let mut progress = lock(&self.progress);
        if matches!(progress.phase, Phase::Fresh | Phase::Idle) {
            progress.enter(Phase::Head, Instant::now());
        }
    }

    /// There is no request to be had at the moment.
    pub(super) fn pauses(&self) {
        let mut progress = lock(&self.progress);
        if progress.phase == Phase::Idle {
            progress.pace.pauses();
        }
    }

    /// A request is served from now on, with a body of so many bytes. Answers who asks it.
    pub(super) fn begins_to_serve(&self, now: Instant, body: u64) -> Rank {
        let mut progress = lock(&self.progress);
        progress.enter(Phase::Serving, now);
        progress.body = body;
        match progress.pace.asks(now) {
            true => Rank::Ahead,
            false if progress.pace.has_behaved() => Rank::Behaved,
            false => Rank::Stranger,
        }
    }

    /// Its request waits for its turn.
    pub(super) fn waits_for_turn(&self) {
        lock(&self.progress).phase = Phase::Queued;
    }

    /// It waits no longer.
    pub(super) fn has_waited(&self) {
        lock(&self.progress).phase = Phase::Serving;
    }

    /// Its answer is sent from now on.
    pub(super) fn begins_to_send(&self, now: Instant, has_succeeded: bool) {
        let mut progress = lock(&self.progress);
        progress.enter(Phase::Sending, now);
        progress.pace.answer_begins(now, has_succeeded);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.counters.count_sent(bytes);
        let mut progress = lock(&self.progress);
        progress.pace.takes(bytes);
        progress.has_moved = true;
    }

    /// The peer takes nothing at the moment.
    pub(super) fn stalled(&self) {
        let mut progress = lock(&self.progress);
        if progress.phase == Phase::Sending && std::mem::take(&mut progress.has_moved) {
            progress.enter(Phase::Sending, Instant::now());
        }
    }

    /// Everything that was to be sent has been handed to the kernel. The beginning of the next request may have
    /// come with the last one: `has_begun` says so, from the length of the last one's body. Answers what it is at now.
    pub(super) fn flushed(&self, has_begun: impl FnOnce(u64) -> bool) -> Phase {
        let mut progress = lock(&self.progress);
        if progress.phase == Phase::Sending {
            let now = Instant::now();
            progress.pace.answer_ends(now);
            let next = if has_begun(progress.body) { Phase::Head } else { Phase::Idle };
            progress.enter(next, now);
        }
        progress.phase
    }

    /// The last answer has been sent.
    pub(super) fn closes(&self) {
        lock(&self.progress).enter(Phase::Closing, Instant::now());
    }
}

/// How others end it.
impl ConnectionState {
    /// To end after the request it is at.
    pub(super) fn end_after_request(&self) {
        self.ask_to_end(End::AfterRequest);
    }

    /// To end now.
    pub(super) fn end_now(&self) {
        self.ask_to_end(End::Now);
    }

    /// To make room for another one. A request that is served, or has come in this moment to an idle one, is still
    /// answered.
    pub(super) fn give_way(&self) {
        self.counters.count_evicted();
        let phase = {
            let mut progress = lock(&self.progress);
            progress.gives_way = true;
            progress.phase
        };
        match phase {
            Phase::Idle | Phase::Queued | Phase::Serving => self.end_after_request(),
            _ => self.end_now(),
        }
    }

    fn ask_to_end(&self, end: End) {
        let waker = {
            let mut progress = lock(&self.progress);
            progress.end_asked = Instant::now();
            progress.end = progress.end.max(end);
            progress.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Reader for ConnectionState {
    fn waits(&self) -> Option<Duration> {
        let waiting = self.waiting().filter(|waiting| waiting.is_reading)?;
        Some(waiting.since.elapsed())
    }

    fn grace(&self) -> Duration {
        let has_behaved = lock(&self.progress).pace.has_behaved();
        if self.member.has_most() && !has_behaved { GRACE_WITH_MANY } else { GRACE }
    }

    fn cut(&self) {
        self.counters.count_evicted();
        self.end_now();
    }
}

impl Progress {
    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    fn waiting(&self) -> Option<Waiting> {
        let is_reading = match self.phase {
            Phase::Queued | Phase::Serving => return None,
            phase => phase == Phase::Sending,
        };
        // Whose last answer has been sent may still be hurried.
        let is_closing = self.phase == Phase::Closing;
        if self.end == End::Now || !is_reading && !is_closing && self.end == End::AfterRequest {
            return None;
        }
        Some(Waiting {
            // A reader that takes a little now and then is waited for all the same.
            since: if is_reading { self.since.min(self.pace.behind_since()) } else { self.since },
            is_reading,
            has_asked: matches!(self.phase, Phase::Idle | Phase::Closing),
            has_behaved: !is_closing && self.pace.has_behaved(),
            has_returned: self.pace.has_returned(),
        })
    }

    fn due(&self, timeouts: Timeouts) -> Option<Instant> {
        let (wait, last_call) = match self.phase {
            Phase::Fresh | Phase::Head => (timeouts.head, LAST_CALL),
            Phase::Idle => (timeouts.idle, LAST_LOOK),
            Phase::Sending => (timeouts.stall, timeouts.stall),
            Phase::Closing if self.gives_way => (LAST_BYTES_OF_A_CROWD, LAST_BYTES_OF_A_CROWD),
            Phase::Closing => (LAST_BYTES, LAST_BYTES),
            Phase::Queued | Phase::Serving => return None,
        };
        let mut own = self.since + wait;
        if self.phase == Phase::Sending {
            own = own.min(self.pace.too_slow_at(timeouts.stall));
        }
        if self.end < End::AfterRequest {
            return Some(own);
        }
        // The request it was at has ended; a client that goes on asking must not stay.
        if self.phase == Phase::Idle && self.since > self.end_asked {
            return Some(self.since);
        }
        Some(own.min(self.end_asked.max(self.since) + last_call))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::Shares;
    use super::*;
    use crate::http::request::Peer;
    use crate::plan::{Admin, Serve};

    fn state() -> ConnectionState {
        let listener = ListenerState::new(CurrentServe::new(Serve::with(Admin::Off), None));
        let member = Arc::new(Shares::default()).join(&Peer::Unix(None));
        ConnectionState::new(listener, Arc::default(), member)
    }

    #[test]
    fn what_is_served_waits_for_nobody_and_a_reader_for_as_long_as_it_is_behind() {
        let state = state();
        let now = Instant::now();
        let earlier = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        assert_eq!(state.begins_to_serve(earlier, 0), Rank::Stranger);
        assert!(state.waiting().is_none());
        state.begins_to_send(earlier, true);
        // It gets on, a little.
        state.sent(100);
        state.stalled();
        let waiting = state.waiting().expect("it reads");
        assert!(waiting.is_reading && !waiting.has_behaved);
        assert!(state.waits() >= Some(Duration::from_millis(900)), "{waiting:?}");
        // Who takes enough is not behind.
        state.sent(10 << 20);
        state.stalled();
        assert!(state.waits() < Some(Duration::from_millis(900)));
        state.flushed(|_| false);
        assert_eq!(state.waits(), None);
    }

    #[test]
    fn who_asks_is_ranked_by_what_it_did_before() {
        let state = state();
        let answered = |asks_first: bool| {
            if asks_first {
                state.pauses();
            }
            let rank = state.begins_to_serve(Instant::now(), 0);
            state.begins_to_send(Instant::now(), true);
            state.flushed(|_| false);
            rank
        };
        let ranks = [true, true, false, true].map(answered);
        assert_eq!(ranks, [Rank::Stranger, Rank::Behaved, Rank::Ahead, Rank::Behaved]);
    }

    #[test]
    fn one_whose_place_others_wait_for_is_not_waited_for_in_turn() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { idle: second, head: second, stall: second, turn: second };
        let closes_in = |gives_way: bool| {
            let state = state();
            state.begins_to_serve(Instant::now(), 0);
            assert!(state.stays_after(Phase::Serving));
            if gives_way {
                state.give_way();
                assert!(!state.stays_after(Phase::Serving));
            }
            state.begins_to_send(Instant::now(), true);
            state.flushed(|_| false);
            state.closes();
            let due = state.due(timeouts).expect("its peer is waited for");
            due.saturating_duration_since(Instant::now())
        };
        assert!(closes_in(true) <= LAST_BYTES_OF_A_CROWD);
        assert!(closes_in(false) > LAST_BYTES_OF_A_CROWD);
    }

    #[test]
    fn an_idle_one_gives_way_after_a_last_look() {
        let state = state();
        state.begins_to_serve(Instant::now(), 0);
        state.begins_to_send(Instant::now(), true);
        state.flushed(|_| false);
        state.give_way();
        assert!(state.end() == End::AfterRequest && state.waiting().is_none());
        // One that has been asked for more has not to wait for anything.
        state.received();
        state.give_way();
        assert!(state.end() == End::Now);
    }
}
