//! The connections that are open: how many there may be, and how they are asked to end.

use super::connection;
#[cfg(feature = "tls")]
use super::handshakes::{Crowd, Handshake, Handshakes};
use super::heads::Heads;
use super::limits::Limits;
use super::service::{Answer, ConnectionService};
use super::shares::{Member, Shares};
use super::state::{ConnectionState, End, ListenerState, Phase, Waiting};
use super::stream::Stream;
use super::unread::Unread;
use crate::heap;
use crate::http::counters::HttpCounters;
use crate::http::request::{Client, Peer, Reader};
use crate::plan::Server;
use crate::sync::lock;
use hyper::server::conn::http1;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How often a new connection that waits for room looks whether another one has become idle.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);
/// How long a connection must have been idle to be closed for another one: a client that has just
/// connected may have sent a request that has not been read yet.
const JUST_CAME: Duration = Duration::from_millis(20);
/// How long a reader must have been behind to be closed for another connection, unless its client has most of them.
const SLOW_READER: Duration = Duration::from_secs(1);
/// How many connections of a client with most of them end for one that waits: others may be behind it in the backlog.
const AT_ONCE: usize = 8;
/// How long a connection that shakes hands has for it when all are to end: it has asked for nothing yet, and may never.
/// A test's own may be slow, and its deadlines are near where it waits for this.
const LAST_HANDSHAKE: Duration = Duration::from_millis(if cfg!(test) { 60_000 } else { 500 });
/// So many connections leave memory behind that is worth to be given back, when most of them have ended.
const CROWD: usize = 64;

/// Every open connection, and what they share. What is accepted while there are as many as there
/// may be waits.
pub(super) struct Connections {
    pub(super) limits: Arc<Limits>,
    pub(super) counters: Arc<HttpCounters>,
    handle: Handle,
    builder: http1::Builder,
    open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    /// The most that were open since memory was last given back.
    most_open: AtomicUsize,
    /// When connections were last asked to end for another one.
    last_evicted: Mutex<Option<Instant>>,
    shares: Arc<Shares>,
    pub(super) heads: Arc<Heads>,
    unread: Arc<Unread>,
    next: AtomicU64,
    /// Accepted connections that wait for room.
    waiting: AtomicU64,
    /// Those that shake hands.
    shaking: AtomicU64,
    one_ended: Notify,
    answer: OnceLock<Arc<dyn Answer>>,
    #[cfg(feature = "tls")]
    handshakes: Handshakes,
    /// Those that have shaken hands and wait for room.
    #[cfg(feature = "tls")]
    shaken: Mutex<Crowd>,
}

impl Connections {
    /// Connections that will be served on a runtime.
    pub(super) fn new(counters: Arc<HttpCounters>, handle: Handle) -> Arc<Self> {
        Arc::new(Connections {
            limits: Arc::new(Limits::new()),
            counters,
            handle,
            builder: connection::builder(),
            open: Mutex::new(HashMap::new()),
            most_open: AtomicUsize::new(0),
            last_evicted: Mutex::default(),
            shares: Arc::default(),
            heads: Arc::default(),
            unread: Arc::default(),
            next: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            shaking: AtomicU64::new(0),
            one_ended: Notify::new(),
            answer: OnceLock::new(),
            #[cfg(feature = "tls")]
            handshakes: Handshakes::default(),
            #[cfg(feature = "tls")]
            shaken: Mutex::default(),
        })
    }

    /// The runtime that serves.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Says what answers requests, once.
    pub(super) fn set_answer(&self, answer: Arc<dyn Answer>) {
        self.answer.get_or_init(|| answer);
    }

    /// Whether there is something that answers requests.
    pub(super) fn is_answered(&self) -> bool {
        self.answer.get().is_some()
    }

    /// A connection that was accepted. It is counted as waiting until it is served. None if its client may have no more,
    /// see [`Unread`]; then it is closed.
    pub(super) fn accepted(self: &Arc<Self>, (stream, peer): (Stream, Peer)) -> Option<Accepted> {
        if stream.as_unix().is_some() && !self.unread.has_room_for(peer.key()) {
            self.counters.count_evicted();
            return None;
        }
        let member = self.shares.join(&peer);
        Some(self.waits(stream, peer, member))
    }

    fn waits(self: &Arc<Self>, stream: Stream, peer: Peer, member: Member) -> Accepted {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Accepted { stream, peer, member, waiting: WaitingForRoom(Arc::clone(self)) }
    }

    /// How many accepted connections wait for room.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Serves a connection on a task of its own. Without anything that answers it is closed.
    fn admit(
        self: &Arc<Self>,
        listener: &Arc<ListenerState>,
        stream: Stream,
        peer: Peer,
        member: Member,
    ) {
        let Some(answer) = self.answer.get() else { return };
        let counters = Arc::clone(&self.counters);
        let state = Arc::new(ConnectionState::new(Arc::clone(listener), counters, member));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.counters.count_accepted();
        {
            let mut open = lock(&self.open);
            open.insert(number, Arc::clone(&state));
            self.counters.connections_are(open.len());
            self.most_open.fetch_max(open.len(), Ordering::Relaxed);
        }
        if listener.is_closed() {
            // Its other connections were asked before this one was among them.
            state.end_after_request();
        }
        let (ends, is_encrypted) = (stream.ends(&peer), stream.is_encrypted());
        let service = ConnectionService {
            answer: Arc::clone(answer),
            limits: Arc::clone(&self.limits),
            counters: Arc::clone(&self.counters),
            client: Arc::new(Client {
                peer,
                ends,
                is_own: Default::default(),
                is_encrypted,
                #[cfg(feature = "tls")]
                shaken: stream.shaken(),
                serve: Arc::clone(&listener.serve),
                reader: Arc::clone(&state) as Arc<dyn Reader>,
            }),
            state: Arc::clone(&state),
        };
        let entry = Entry { connections: Arc::clone(self), number };
        self.handle.spawn(async move {
            let Connections { builder, limits, heads, unread, .. } = &*entry.connections;
            connection::serve(builder, limits, heads, unread, state, stream, service).await;
        });
    }

    /// Takes the limits of a configuration, also for what waits.
    pub(super) fn set_limits(&self, server: &Server) {
        self.limits.set(server);
        self.shares.set_most(self.limits.max_requests());
    }

    /// Waits until there may be another connection. If all are taken, one has to go, so that many clients that are
    /// idle or take their answers slowly cannot lock out one that asks. Others may wait, too, each of which has one go: where
    /// one has ended and another one of these was faster, its own is still on its way.
    async fn wait_for_room(&self) {
        let mut look = Instant::now();
        loop {
            let ended = self.one_ended.notified();
            let most = self.limits.max_connections();
            if (lock(&self.open).len() as u64) < most {
                return;
            }
            if look <= Instant::now() {
                self.end_beyond(most);
                let is_found = self.will_have_room(most) || self.evict();
                look = Instant::now() + if is_found { LOOK_FOR_ROOM } else { JUST_CAME };
            }
            let _ = tokio::time::timeout_at(look.into(), ended).await;
        }
    }

    /// Whether there is room for those that wait as soon as those have gone that nothing holds up.
    fn will_have_room(&self, most: u64) -> bool {
        let open = lock(&self.open);
        let staying = open.values().filter(|state| !state.leaves_at_once()).count() as u64;
        staying + self.waiting() <= most
    }

    /// Asks connections to end that wait for their peers and by which least is lost: one, or several of a crowd. Those of a
    /// client with more than half of them come before all others: if none of these waits, since it asks without a pause,
    /// several of them end with the requests they are at, so that who comes next finds room. So does one of the client with
    /// the most, if nobody at all has waited for long enough: several clients that ask without a pause, none of which has
    /// more than half, lock out nobody. Answers whether there is one.
    pub(super) fn evict(&self) -> bool {
        let now = Instant::now();
        let open = lock(&self.open);
        // Where one has just gone for another one, more are behind that one in the backlog.
        let last = *lock(&self.last_evicted);
        let is_pressed =
            last.is_some_and(|last| now.saturating_duration_since(last) < LOOK_FOR_ROOM);
        let candidates = open.values().filter_map(|state| Some((Lost::with(state, now)?, state)));
        let leaving = least_lost(candidates.collect(), now, is_pressed);
        let are_greedy = leaving.first().is_some_and(|(lost, _)| !lost.is_within_share);
        if !are_greedy && end_greedy(&open) {
            return true;
        }
        if !leaving.is_empty() {
            *lock(&self.last_evicted) = Some(now);
            leaving.iter().for_each(|(_, state)| state.give_way());
            return true;
        }
        // Without one it is worth to wait for a moment rather than to close one by which more is lost.
        let asking = open
            .values()
            .filter(|state| state.stays_after(Phase::Serving) || state.stays_after(Phase::Queued));
        let greediest = asking.max_by_key(|state| state.member.connections());
        greediest.inspect(|state| state.give_way()).is_some()
    }

    /// Asks those to end that are more than there may be since the limit was lowered (a reload, prlimit), as far as they
    /// wait for their peers. One for each that comes would be too slow, since the next ones are let in by them.
    fn end_beyond(&self, most: u64) {
        let now = Instant::now();
        let open = lock(&self.open);
        let staying = open.values().filter(|state| state.end() == End::Open).count();
        let beyond = staying.saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        if beyond == 0 {
            return;
        }
        let waiting = open.values().filter(|state| state.end() == End::Open);
        let due = waiting.filter_map(|state| Some((Lost::with(state, now)?, state)));
        let mut due: Vec<_> = due.filter(|(lost, _)| lost.due <= now).collect();
        due.sort_by_key(|(lost, _)| *lost);
        due.iter().take(beyond).for_each(|(_, state)| state.give_way());
    }

    /// Has given back what a crowd of connections has left behind, when most of it has gone.
    fn give_memory_back(&self, open: usize) {
        let most = self.most_open.load(Ordering::Relaxed);
        if most >= CROWD && open <= most / 4 {
            self.most_open.store(open, Ordering::Relaxed);
            heap::give_back_soon();
        }
    }

    /// Ends when the next connection has ended.
    pub(super) fn one_ended(&self) -> Notified<'_> {
        self.one_ended.notified()
    }

    /// Asks the connections of a listener to end after the request they are at, those that wait
    /// included.
    pub(super) fn end_those_of(&self, listener: &Arc<ListenerState>) {
        listener.close();
        for state in lock(&self.open).values() {
            if Arc::ptr_eq(&state.listener, listener) {
                state.end_after_request();
            }
        }
    }

    /// Waits until all have ended, those that wait and those that shake hands included, and cuts those that are left at
    /// the deadline. Answers how many these were.
    pub(super) async fn end_by(&self, deadline: Instant) -> usize {
        let last_handshake = deadline.min(Instant::now() + LAST_HANDSHAKE);
        let shaken = self.until(|all| all.shaking() == 0);
        let _ = tokio::time::timeout_at(last_handshake.into(), shaken).await;
        // What waits is open before it has stopped to wait.
        let ended = self.until(|all| all.waiting() == 0 && lock(&all.open).is_empty());
        let _ = tokio::time::timeout_at(deadline.into(), ended).await;
        let left = std::mem::take(&mut *lock(&self.open));
        let others = self.waiting() + self.shaking();
        left.values().for_each(|state| state.end_now());
        if !left.is_empty() {
            // The connections' tasks close them as soon as they are polled.
            tokio::task::yield_now().await;
        }
        left.len() + others as usize
    }

    /// Waits until something is so, which is looked at whenever one of them has got on.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let ended = self.one_ended.notified();
            if is_so(self) {
                return;
            }
            ended.await;
        }
    }

    /// How many shake hands.
    pub(super) fn shaking(&self) -> u64 {
        self.shaking.load(Ordering::Relaxed)
    }
}

/// Those by which least is lost, of those whose time is up: as many as end at once.
fn least_lost(
    candidates: Vec<Candidate<'_>>,
    now: Instant,
    is_pressed: bool,
) -> Vec<Candidate<'_>> {
    let (mut due, early): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|(lost, _)| lost.due <= now);
    due.sort_unstable_by_key(|(lost, _)| *lost);
    let Some(&(least, first)) = due.first() else { return due };
    // Who has just come is waited for rather than that one goes by which more is lost. A crowd that asks once and stays
    // leaves one that has just come at every moment: these are few beside those.
    let has_greedy = early.iter().any(|(lost, _)| !lost.is_within_share);
    let rather = |(lost, _): &&Candidate<'_>| {
        lost.is_within_share == least.is_within_share && least.is_kept && !lost.is_kept
    };
    let (rather, beside) = (early.iter().filter(rather).count(), due.len());
    if least.is_within_share && has_greedy || rather > 0 && rather >= beside {
        return Vec::new();
    }
    let at_once = match least {
        _ if !is_pressed => 1,
        Lost { is_within_share: false, .. } => first.member.beyond_half() as usize / 4,
        Lost { has_returned: false, .. } => AT_ONCE,
        _ => 1,
    };
    let class = |lost: &Lost| (lost.is_within_share, lost.has_returned);
    due.retain(|(lost, _)| class(lost) == class(&least));
    due.truncate(at_once.max(1));
    due
}

/// Asks connections of a client with more than half of them to end after the requests they are at, but leaves it half of
/// all: first those that have their turn. Answers whether there is one that leaves.
fn end_greedy(open: &HashMap<u64, Arc<ConnectionState>>) -> bool {
    let greedy = || open.values().filter(|state| state.member.has_most());
    let beyond = greedy().next().map_or(0, |first| first.member.beyond_half() as usize);
    let leaving = greedy().filter(|state| state.end() > End::Open).count();
    let asking = |phase| greedy().filter(move |state| state.stays_after(phase));
    let most = AT_ONCE.min(beyond.saturating_sub(leaving));
    let asked = asking(Phase::Serving).chain(asking(Phase::Queued)).take(most);
    asked.map(|state| state.give_way()).count() + leaving > 0
}

/// So many connections at most wait for room after their handshakes; of more, the oldest of the client with the most goes.
#[cfg(feature = "tls")]
const MOST_WAITING: usize = 64;

/// A connection that was accepted and is not served yet.
pub(super) struct Accepted {
    stream: Stream,
    peer: Peer,
    member: Member,
    waiting: WaitingForRoom,
}

impl Accepted {
    /// Serves it, on a task of its own, as soon as there is room; where TLS is spoken, after its handshake.
    pub(super) async fn serve(self, listener: &Arc<ListenerState>) {
        #[cfg(feature = "tls")]
        if listener
            .serve
            .now()
            .web_config
            .as_ref()
            .is_some_and(|config| config.protection().encrypts)
        {
            // It does not wait for room any more, and has none yet.
            let Accepted { stream, peer, member, waiting } = self;
            let rules = Arc::clone(&listener.serve);
            let (connections, listener) = (Arc::clone(&waiting.0), Arc::clone(listener));
            let shaking = ShakingHands::of(&connections);
            drop(waiting);
            let (limits, counters) =
                (Arc::clone(&connections.limits), Arc::clone(&connections.counters));
            let served_by = Arc::clone(&connections);
            let serve = Box::new(move |stream: Stream, peer, member: Member| {
                let Connections { handle, limits, counters, shaken, .. } = &*served_by;
                let share = Arc::clone(&member.share);
                let mut accepted = served_by.waits(stream, peer, member);
                drop(shaking);
                let (limits, told) = (Arc::clone(limits), Arc::clone(counters));
                // Handshakes go on while those that have ended wait for room.
                let task = handle.spawn(async move {
                    if accepted.stream.enter().is_err() {
                        return;
                    }
                    let serving = accepted.serve_as_it_is(&listener);
                    if tokio::time::timeout(limits.timeouts().head, serving).await.is_err() {
                        told.count_timed_out();
                    }
                });
                lock(shaken).add(share, task.abort_handle(), MOST_WAITING, counters);
            });
            let handshake = Handshake { stream, peer, member, rules, limits, counters, serve };
            connections.handshakes.begin(handshake).await;
            return;
        }
        self.serve_as_it_is(listener).await;
    }

    /// Serves it without a handshake, or after it.
    pub(super) async fn serve_as_it_is(self, listener: &Arc<ListenerState>) {
        let WaitingForRoom(connections) = &self.waiting;
        connections.wait_for_room().await;
        connections.admit(listener, self.stream, self.peer, self.member);
    }
}

/// A connection that may end for another one.
type Candidate<'a> = (Lost, &'a Arc<ConnectionState>);

/// What is lost when a connection is closed for another one. What is less comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lost {
    /// Its client has no more than half of all connections.
    is_within_share: bool,
    /// It has behaved and waits for its next request.
    is_kept: bool,
    /// It has done so more than once.
    has_returned: bool,
    /// When it has had the time that it is given. Whose is up first is the least likely to go on.
    due: Instant,
}

impl Lost {
    /// None if it is at a request, or is rather waited for.
    fn with(state: &ConnectionState, now: Instant) -> Option<Self> {
        let Waiting { since, is_reading, has_asked, has_behaved, has_returned } =
            state.waiting()?;
        let is_within_share = !state.member.has_most();
        let slow = if is_within_share { SLOW_READER } else { state.grace() };
        let is_kept = has_behaved && !is_reading;
        let due = match () {
            () if is_reading => since + slow,
            // Who has only been refused so far may ask again at every moment, and needs no time to be heard.
            () if has_asked && !has_behaved => since,
            () => since + JUST_CAME,
        };
        // A reader of one that has most of them is rather waited for than that one goes by which more is lost.
        let is_candidate = !is_reading || !is_within_share || due <= now;
        is_candidate.then_some(Lost { is_within_share, is_kept, has_returned, due })
    }
}

/// Counts a connection as waiting until it is dropped.
struct WaitingForRoom(Arc<Connections>);

impl Drop for WaitingForRoom {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.one_ended.notify_waiters();
    }
}

/// Counts a connection as shaking hands until it is dropped.
#[cfg(feature = "tls")]
struct ShakingHands(Arc<Connections>);

#[cfg(feature = "tls")]
impl ShakingHands {
    fn of(connections: &Arc<Connections>) -> Self {
        connections.shaking.fetch_add(1, Ordering::Relaxed);
        ShakingHands(Arc::clone(connections))
    }
}

#[cfg(feature = "tls")]
impl Drop for ShakingHands {
    fn drop(&mut self) {
        self.0.shaking.fetch_sub(1, Ordering::Relaxed);
        self.0.one_ended.notify_waiters();
    }
}

/// A connection's place among the open ones; it is free again when this is dropped.
struct Entry {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = lock(&self.connections.open);
        open.remove(&self.number);
        let left = open.len();
        self.connections.counters.connections_are(left);
        drop(open);
        self.connections.give_memory_back(left);
        self.connections.one_ended.notify_waiters();
    }
}
