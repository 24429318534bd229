//! The engine: runs collectors so that none can hold up a scrape.
//!
//! A [`Request`] names collectors and a deadline. Each collector that is on has a slot with the
//! results of its last run. A slot that has nothing new enough gives a job to its executor: the
//! queue, whose one collection thread runs collectors one after another, or the collector's own
//! lane if it may block and has devices to ask. The executor owns the open collector; what comes back is the run's result,
//! which is shared by all requests that wait for it.
//!
//! While there is no request nothing wakes up. What the collection thread does between collections is up to
//! its [`Server`]: in the daemon it serves those who ask, and a watch looks after it ([`Engine::look_after`]).
//! Without a server it is parked, and the requests that wait look after it ([`Collecting::poll_at`]).
//!
//! A request's deadline ends that request alone. A run that has been out for longer than [`Limits::timeout`] is
//! stuck: it is reported, and not waited for until it has come back. While it is out it occupies its
//! collector's name, so that no second thread can be lost to it ([`Occupancies`]).
//!
//! The files, from the bottom: `occupancy`, `job`, `server`, `watching`, the executors `queue` and `lane`, `results`,
//! `slot`, `set`, `collecting`, `clock`; none of them knows one above it.

mod clock;
mod collecting;
mod executor;
mod job;
mod lane;
mod notice;
mod occupancy;
mod queue;
mod request;
mod results;
mod server;
mod set;
mod slot;
mod status;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod watching;

pub use collecting::Collecting;
pub use occupancy::Occupancies;
pub use request::{Limits, Request, Selection};
pub use server::{Server, wake_all};
pub use set::Changes;
pub use status::{CollectorStatus, Counts};
#[cfg(test)]
pub(crate) use sync::refuse_threads;
pub use watching::{AlarmClock, Watching};

use self::sync::{Arc, Mutex, lock};
use crate::plan::CollectorPlan;
use clock::Clock;
use queue::Queue;
use set::Set;
use std::io;
use std::sync::LazyLock;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use vitald_core::error::Error;
use vitald_core::host::{Host, StuckThreads};
use vitald_core::snapshot::Collection;

/// How long the collection thread waits for one collector before it leaves it behind.
pub const HAND_OVER_AFTER: Duration = Duration::from_millis(50);

/// The collectors of this process that are out.
static OCCUPANCIES: LazyLock<Arc<Occupancies>> =
    LazyLock::new(|| Arc::new(Occupancies::new(StuckThreads::of_process())));

/// The running collectors.
pub struct Engine {
    set: Mutex<Arc<Set>>,
    queue: Arc<Queue>,
    clock: Clock,
    occupancies: Arc<Occupancies>,
}

/// A set that is open and not yet swapped in.
pub struct StagedCollectors {
    set: Set,
    /// What the swap will do.
    pub changes: Changes,
}

impl Engine {
    /// An engine with no collector.
    ///
    /// # Errors
    ///
    /// The collection thread cannot be started.
    pub fn new(host: Host) -> io::Result<Self> {
        Engine::with(host, Arc::clone(&OCCUPANCIES), None)
    }

    /// An engine whose collection thread serves between collections. The server's watch calls
    /// [`Engine::look_after`].
    ///
    /// # Errors
    ///
    /// As [`Engine::new`].
    pub fn with_server(host: Host, server: Arc<dyn Server>) -> io::Result<Self> {
        Engine::with(host, Arc::clone(&OCCUPANCIES), Some(server))
    }

    /// An engine whose collectors have nothing to do with others of this process that have the
    /// same names; for tests.
    ///
    /// # Errors
    ///
    /// As [`Engine::new`].
    pub fn with_occupancies(host: Host, occupancies: Arc<Occupancies>) -> io::Result<Self> {
        Engine::with(host, occupancies, None)
    }

    fn with(
        host: Host,
        occupancies: Arc<Occupancies>,
        server: Option<Arc<dyn Server>>,
    ) -> io::Result<Self> {
        let limits = Limits { max_age: Duration::ZERO, timeout: Duration::MAX };
        let set = Arc::new(Set { slots: Vec::new(), counters: Vec::new(), host, limits });
        Ok(Engine {
            set: Mutex::new(set),
            queue: Queue::start(HAND_OVER_AFTER, server)?,
            clock: Clock::new(),
            occupancies,
        })
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
    ) -> Result<StagedCollectors, Vec<(&'static str, Error)>> {
        let current = self.set();
        let (set, changes) = current.next(plans, host, limits, &self.queue, &self.occupancies)?;
        Ok(StagedCollectors { set, changes })
    }

    /// Runs once what is refreshed in the background and has no result yet, so that no scrape after
    /// the swap finds a gap.
    pub fn warm(&self, staged: &StagedCollectors, deadline: Instant) {
        let Set { slots, host, limits, .. } = &staged.set;
        let is_cold = |slot: &&Arc<slot::Slot>| slot.plan.interval.is_some() && !slot.has_result();
        let slots: Vec<Arc<slot::Slot>> = slots.iter().filter(is_cold).cloned().collect();
        if !slots.is_empty() {
            let set = Set { slots, counters: Vec::new(), host: host.clone(), limits: *limits };
            let request = Request { arrived: Instant::now(), deadline, selection: Selection::All };
            block_on(Collecting::begin(&self.queue, Arc::new(set), request, None));
        }
    }

    /// Makes the staged set the running one. Collectors that are not needed any more are closed
    /// where they ran; nothing of that can hold up the swap or make it fail.
    pub fn swap(&self, staged: StagedCollectors) -> Changes {
        let set = Arc::new(staged.set);
        self.clock.watch(&self.queue, &set);
        let previous = std::mem::replace(&mut *lock(&self.set), set);
        drop(previous);
        staged.changes
    }

    /// Asks for a collection.
    pub fn collect(&self, request: Request) -> Collecting {
        self.clock.ensure_thread(&self.queue);
        self.occupancies.count_threads(Instant::now());
        Collecting::begin(&self.queue, self.set(), request, None)
    }

    /// Asks for a collection to which a result may be older than the request by `max_age`, in place of
    /// [`Limits::max_age`]. What runs for it takes nothing that was read before the request.
    pub fn collect_within(&self, request: Request, max_age: Duration) -> Collecting {
        self.clock.ensure_thread(&self.queue);
        self.occupancies.count_threads(Instant::now());
        Collecting::begin(&self.queue, self.set(), request, Some(max_age))
    }

    /// Asks for a collection and waits for it on this thread.
    pub fn collect_blocking(&self, request: Request) -> Collection {
        block_on(self.collect(request))
    }

    /// Looks after the collection thread; for the watch of a server, when its time has come. If the
    /// collection thread hangs and the system has no thread to take its place, the server is not served: the
    /// requests that wait are handed over, and the caller is to serve them and to look again soon.
    pub fn look_after(&self, now: Instant) -> Option<Vec<Waker>> {
        self.queue.look_after(now)
    }

    /// A number that is another one at the next call if collections can be made: the collection thread, or the
    /// one that has taken its place, has been called in between and has looked for something to do.
    pub fn sign_of_life(&self) -> u64 {
        self.queue.looks()
    }

    /// Has this called whenever a collector has another state; only the first one who asks has it. It is called
    /// under a lock, so it may only take note.
    pub fn tell_changes(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.queue.tell_changes(tell);
    }

    /// Names of the collectors that are on.
    pub fn names(&self) -> Vec<&'static str> {
        self.set().shown().map(|slot| slot.name()).collect()
    }

    /// How each collector that is on is doing.
    pub fn status(&self) -> Vec<CollectorStatus> {
        let now = Instant::now();
        self.set().shown().map(|slot| slot.status(now, true)).collect()
    }

    /// Calls `each` with the status of every collector that is on, without making a list, and without the text
    /// of what could not be read.
    pub fn each_status(&self, mut each: impl FnMut(&CollectorStatus)) {
        let now = Instant::now();
        for slot in self.set().shown() {
            each(&slot.status(now, false));
        }
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&lock(&self.set))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.stop();
        self.queue.end();
    }
}

/// Waits for a collection on this thread.
fn block_on(mut collecting: Collecting) -> Collection {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while let Err(again) = collecting.poll_at(&waker, Instant::now()) {
        match again {
            Some(again) => {
                std::thread::park_timeout(again.saturating_duration_since(Instant::now()));
            }
            None => std::thread::park(),
        }
    }
    let mut collection = Collection::new();
    collecting.finish(&mut collection);
    collection
}
