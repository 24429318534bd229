//! The engine: runs collectors so that none can hold up a scrape.
//!
//! Collectors that may block run on lanes, threads of their own, and are started first. The others run one
//! after another on one collection thread, because parallel reads contend in the kernel; when one
//! does not return within [`PATIENCE`] it keeps its thread and a fresh one goes on with the rest.
//! There is no supervisor: the requests that wait are the watchdog ([`Collecting::poll_at`]), and while nobody
//! asks nothing wakes up.
//!
//! Results are shared per collector. A request takes a result whose read began after the request
//! arrived, or at most [`Limits::max_age`] before; otherwise it asks for a run, and whoever waits for the
//! same collector gets the same run.
//!
//! Locks: [`State`] (the queue) before a slot's [`Inner`]; neither is held while a collector runs.

mod clock;
mod lane;
mod slot;
#[cfg(test)]
mod tests;

pub use slot::{CollectorStatus, Counts};

use crate::plan::CollectorPlan;
use crate::sync::lock;
use slot::{Inner, Predecessor, Seat, Slot};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::error::Error;
use vitald_core::host::Host;
use vitald_core::snapshot::{Collection, State as CollectorState};

/// How long the collection thread waits for one collector before it leaves it behind.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// What holds for all collections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How long before a request a read may have begun for its result to answer it.
    pub max_age: Duration,
}

/// One wish for a collection.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was made: results may be older than this by [`Limits::max_age`] only.
    pub arrived: Instant,
    /// When it is answered at the latest, with what there is.
    pub deadline: Instant,
    /// Which collectors.
    pub selection: Selection,
}

/// Which collectors a request is about.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// All that are on.
    #[default]
    All,
    /// These, of those that are on.
    Only(Vec<String>),
    /// All that are on but these.
    Except(Vec<String>),
}

impl Selection {
    fn takes(&self, slot: &Slot) -> bool {
        let name = slot.name();
        if slot.plan.descriptor.internal {
            return true;
        }
        match self {
            Selection::All => true,
            Selection::Only(names) => names.iter().any(|wanted| wanted == name),
            Selection::Except(names) => !names.iter().any(|unwanted| unwanted == name),
        }
    }
}

/// What a change of the set did, by collector name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Switched on.
    pub started: Vec<&'static str>,
    /// Switched off.
    pub stopped: Vec<&'static str>,
    /// On before and after, with other settings.
    pub changed: Vec<&'static str>,
    /// On before and after, not touched.
    pub unchanged: Vec<&'static str>,
}

impl Changes {
    /// Takes a name out of the lists.
    pub(crate) fn forget(&mut self, name: &str) {
        for list in [&mut self.started, &mut self.stopped, &mut self.changed, &mut self.unchanged] {
            list.retain(|known| *known != name);
        }
    }
}

/// The collectors that are on; replaced whole by a reload.
struct Set {
    /// By name.
    slots: Vec<Arc<Slot>>,
    host: Host,
    limits: Limits,
}

impl Set {
    /// Those that users see.
    fn shown(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter(|slot| !slot.plan.descriptor.internal)
    }
}

struct State {
    set: Arc<Set>,
    /// Slots that wait for the collection thread.
    queue: VecDeque<Arc<Slot>>,
    /// When the collection thread began what it is at.
    busy_since: Option<Instant>,
    /// Who the collection thread is: a thread that returns and finds another number here has been
    /// left behind and ends.
    leader: u64,
    leader_alive: bool,
    waiting: Vec<Waker>,
    /// Replaced instances that the collection thread is to close.
    replaced: Vec<Arc<Slot>>,
    closing: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    clock: clock::Clock,
}

/// The running collectors.
pub struct Engine {
    shared: Arc<Shared>,
}

/// A set that is open and not yet swapped in.
pub struct Staged {
    set: Set,
    /// What the swap will do.
    pub changes: Changes,
}

impl Engine {
    /// An engine with no collector.
    pub fn new(host: Host) -> Self {
        let limits = Limits { max_age: Duration::from_millis(100) };
        let state = State {
            set: Arc::new(Set { slots: Vec::new(), host, limits }),
            queue: VecDeque::new(),
            busy_since: None,
            leader: 0,
            leader_alive: false,
            waiting: Vec::new(),
            replaced: Vec::new(),
            closing: false,
        };
        Engine {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                work: Condvar::new(),
                clock: clock::Clock::new(),
            }),
        }
    }

    /// Opens what is new or changed and touches nothing that runs.
    ///
    /// # Errors
    ///
    /// Every collector that would not open.
    pub fn stage(
        &self,
        plans: &[CollectorPlan],
        host: &Host,
        limits: Limits,
    ) -> Result<Staged, Vec<(&'static str, Error)>> {
        let current = Arc::clone(&lock(&self.shared.state).set);
        let same_host = current.host.roots() == host.roots();
        let mut changes = Changes::default();
        let mut slots = Vec::new();
        let mut refused = Vec::new();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let name = plan.descriptor.name;
            let running = current.slots.iter().find(|slot| slot.name() == name);
            if let Some(slot) = running
                && same_host
                && slot.plan.same(plan)
            {
                changes.unchanged.push(name);
                slots.push(Arc::clone(slot));
                continue;
            }
            // What runs on a lane shares no descriptor with anybody.
            let apart = plan.prepared.may_block().then(|| Host::new(host.roots().clone()));
            let host = apart.as_ref().unwrap_or(host);
            match plan.prepared.open(host) {
                Ok(collector) => {
                    let list =
                        if running.is_some() { &mut changes.changed } else { &mut changes.started };
                    list.push(name);
                    slots.push(Slot::new(plan.clone(), host.clone(), collector, running.cloned()));
                }
                Err(error) => refused.push((name, error)),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        slots.sort_by_key(|slot| slot.name());
        changes.stopped.extend(
            current
                .slots
                .iter()
                .map(|slot| slot.name())
                .filter(|name| !slots.iter().any(|slot| slot.name() == *name)),
        );
        let host = if same_host { current.host.clone() } else { host.clone() };
        Ok(Staged { set: Set { slots, host, limits }, changes })
    }

    /// Runs once what is refreshed in the background and has no result yet, so that no scrape after the
    /// swap finds a gap.
    pub fn warm(&self, staged: &Staged, deadline: Instant) {
        let slots: Vec<Arc<Slot>> = staged
            .set
            .slots
            .iter()
            .filter(|slot| slot.plan.interval.is_some() && !lock(&slot.inner).has_result())
            .cloned()
            .collect();
        if !slots.is_empty() {
            let arrived = Instant::now();
            let request = Request { arrived, deadline, selection: Selection::All };
            let set = Set { slots, host: staged.set.host.clone(), limits: staged.set.limits };
            self.block_on(self.ask(Arc::new(set), request));
        }
    }

    /// Makes the staged set the running one.
    pub fn swap(&self, staged: Staged) -> Changes {
        let set = Arc::new(staged.set);
        self.shared.clock.watch(&self.shared, &set);
        let previous = std::mem::replace(&mut lock(&self.shared.state).set, set);
        // Closing files may take a while: not under the lock.
        drop(previous);
        staged.changes
    }

    /// Asks for a collection.
    pub fn collect(&self, request: Request) -> Collecting {
        let set = Arc::clone(&lock(&self.shared.state).set);
        self.ask(set, request)
    }

    /// Asks for a collection and waits for it on this thread.
    pub fn collect_blocking(&self, request: Request) -> Collection {
        self.block_on(self.collect(request))
    }

    /// Names of the collectors that are on.
    pub fn names(&self) -> Vec<&'static str> {
        lock(&self.shared.state).set.shown().map(|slot| slot.name()).collect()
    }

    /// How each collector that is on is doing.
    pub fn status(&self) -> Vec<CollectorStatus> {
        let set = Arc::clone(&lock(&self.shared.state).set);
        set.shown().map(|slot| slot.status()).collect()
    }

    /// Calls `each` with the status of every collector that is on, without making a list.
    pub fn each_status(&self, mut each: impl FnMut(&CollectorStatus)) {
        let set = Arc::clone(&lock(&self.shared.state).set);
        for slot in set.shown() {
            each(&slot.status());
        }
    }

    fn ask(&self, set: Arc<Set>, request: Request) -> Collecting {
        let need = request.arrived.checked_sub(set.limits.max_age).unwrap_or(request.arrived);
        let mut state = lock(&self.shared.state);
        // Those that may block go first: they run beside everything else.
        for lanes in [true, false] {
            for slot in set.slots.iter().filter(|slot| slot.lane.is_some() == lanes) {
                if request.selection.takes(slot) {
                    state.demand(slot, need, &request, &self.shared);
                }
            }
        }
        let attention = state.tend(&self.shared, Instant::now());
        drop(state);
        attention.wake(&self.shared);
        Collecting { shared: Arc::clone(&self.shared), set, request, need }
    }

    fn block_on(&self, mut collecting: Collecting) -> Collection {
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match collecting.poll_at(&waker, Instant::now()) {
                Ok(()) => {
                    let mut collection = Collection::new();
                    collecting.finish(&mut collection);
                    return collection;
                }
                Err(again) => {
                    std::thread::park_timeout(again.saturating_duration_since(Instant::now()));
                }
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.clock.stop();
        let mut state = lock(&self.shared.state);
        state.closing = true;
        state.queue.clear();
        self.shared.work.notify_all();
    }
}

/// A collection under way. It needs no runtime, only somebody who looks again when
/// [`Collecting::poll_at`] says or the waker is woken.
pub struct Collecting {
    shared: Arc<Shared>,
    set: Arc<Set>,
    request: Request,
    need: Instant,
}

impl Collecting {
    /// Whether everything is there or the deadline has passed (`Ok`), or when to look again (`Err`);
    /// the waker is woken when it may be earlier.
    pub fn poll_at(&mut self, waker: &Waker, now: Instant) -> Result<(), Instant> {
        if now >= self.request.deadline {
            return Ok(());
        }
        let mut state = lock(&self.shared.state);
        let attention = state.tend(&self.shared, now);
        if attention.wakes {
            drop(state);
            attention.wake(&self.shared);
            state = lock(&self.shared.state);
        }
        if self.slots().all(|slot| lock(&slot.inner).answers(slot, self.need, now)) {
            return Ok(());
        }
        if !state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Err(attention.again.map_or(self.request.deadline, |at| at.min(self.request.deadline)))
    }

    /// Takes what there is. A collector that is still out is not waited for again until it returns.
    pub fn finish(self, collection: &mut Collection) {
        let now = Instant::now();
        collection.taken = SystemTime::now();
        let took = now.saturating_duration_since(self.request.arrived);
        collection.began = collection.taken.checked_sub(took).unwrap_or(collection.taken);
        collection.parts.clear();
        for slot in self.slots() {
            let mut inner = lock(&slot.inner);
            let answers = inner.answers(slot, self.need, now);
            if !answers || inner.is_stuck() {
                inner.left_behind(slot);
            }
            collection.parts.push(inner.part(slot, self.need, now));
        }
    }

    /// How many samples the page will have, going by the runs before.
    pub fn samples(&self) -> usize {
        self.slots().map(|slot| lock(&slot.inner).samples()).sum()
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.set.slots.iter().filter(|slot| self.request.selection.takes(slot))
    }
}

impl State {
    /// Asks for a run of a slot that began after `need`, unless there is one.
    fn demand(&mut self, slot: &Arc<Slot>, need: Instant, request: &Request, shared: &Arc<Shared>) {
        let mut inner = lock(&slot.inner);
        if inner.answers(slot, need, request.arrived) && !inner.is_stuck() {
            return;
        }
        inner.need = Some(inner.need.map_or(need, |earlier| earlier.max(need)));
        // A collector that knows its limit stops a little before it, so that what it has counts.
        let margin = request.deadline.saturating_duration_since(request.arrived) / 10;
        let by = request.deadline.checked_sub(margin).unwrap_or(request.deadline);
        inner.by = Some(inner.by.map_or(by, |earlier| earlier.min(by)));
        self.dispatch(slot, &mut inner, shared);
    }

    /// Puts a slot where it will run, unless it is already there or out.
    fn dispatch(&mut self, slot: &Arc<Slot>, inner: &mut Inner, shared: &Arc<Shared>) {
        if inner.queued || matches!(inner.seat, Seat::Away { .. }) {
            return;
        }
        let now = Instant::now();
        match slot.predecessor(now) {
            Predecessor::Out => {
                inner.ended(now, CollectorState::TimedOut);
                return;
            }
            Predecessor::Gone(replaced) => self.replaced.extend(replaced),
        }
        inner.queued = true;
        match &slot.lane {
            Some(lane) => lane.submit(Arc::clone(slot), shared),
            None => self.queue.push_back(Arc::clone(slot)),
        }
    }

    /// Sees to it that there is a collection thread that can work: starts or wakes one, or leaves one
    /// behind when it has been at one collector for too long. It is needed for an empty queue, too,
    /// because it wakes those who wait for a lane.
    fn tend(&mut self, shared: &Arc<Shared>, now: Instant) -> Attention {
        if self.closing {
            return Attention { again: None, wakes: false };
        }
        let idle = self.queue.is_empty();
        match self.busy_since {
            Some(since) if now < since + PATIENCE => {
                return Attention { again: Some(since + PATIENCE), wakes: false };
            }
            None if self.leader_alive => {
                return Attention { again: (!idle).then(|| now + PATIENCE), wakes: !idle };
            }
            _ => {
                self.leader += 1;
                self.busy_since = None;
                self.leader_alive = start_leader(shared, self.leader);
            }
        }
        Attention { again: Some(now + PATIENCE), wakes: false }
    }
}

/// What is left to do after the queue was looked at, without its lock.
struct Attention {
    /// When to look again.
    again: Option<Instant>,
    /// The collection thread is parked. It is woken after the lock is free, or it would wake only to
    /// wait for it.
    wakes: bool,
}

impl Attention {
    fn wake(&self, shared: &Shared) {
        if self.wakes {
            shared.work.notify_one();
        }
    }
}

/// Starts a collection thread; without one (no thread to be had) the requests time out and try again.
fn start_leader(shared: &Arc<Shared>, ticket: u64) -> bool {
    let shared = Arc::clone(shared);
    let started =
        std::thread::Builder::new().name("collect".to_owned()).spawn(move || lead(&shared, ticket));
    if let Err(error) = &started {
        tracing::error!(%error, "cannot start a collection thread");
    }
    started.is_ok()
}

/// The collection thread: runs what is queued, then wakes those who wait and parks.
fn lead(shared: &Arc<Shared>, ticket: u64) {
    let mut wakers: Vec<Waker> = Vec::new();
    let mut state = lock(&shared.state);
    while state.leader == ticket && !state.closing {
        let Some(slot) = state.queue.pop_front() else {
            std::mem::swap(&mut wakers, &mut state.waiting);
            if !state.replaced.is_empty() {
                let replaced = std::mem::take(&mut state.replaced);
                drop(state);
                drop(replaced);
                state = lock(&shared.state);
            }
            if wakers.is_empty() {
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(state);
                wakers.drain(..).for_each(Waker::wake);
                state = lock(&shared.state);
            }
            continue;
        };
        state.busy_since = Some(Instant::now());
        drop(state);
        slot.run();
        state = lock(&shared.state);
        if state.leader == ticket {
            state.busy_since = None;
        }
        state.returned(&slot, shared);
        // A reload may have switched it off meanwhile: closing it may take a while, so not under
        // the lock.
        drop(state);
        drop(slot);
        state = lock(&shared.state);
    }
    wakers.append(&mut state.waiting);
    drop(state);
    wakers.drain(..).for_each(Waker::wake);
}

impl State {
    /// After a run: runs it again if somebody has asked since it began.
    fn returned(&mut self, slot: &Arc<Slot>, shared: &Arc<Shared>) {
        let mut inner = lock(&slot.inner);
        if inner.due() {
            self.dispatch(slot, &mut inner, shared);
        }
    }
}

/// What a lane does after a run: it has the collection thread wake those who wait.
fn lane_returned(slot: &Arc<Slot>, shared: &Arc<Shared>) {
    lock(&shared.state).returned(slot, shared);
    shared.work.notify_one();
}
