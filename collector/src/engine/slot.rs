//! A slot: one collector that is on. It keeps what runs gave and asks its executor for more.
//!
//! Locks: the queue's before that of a slot's results, and that before the occupancy's. Jobs go to
//! an executor, and lines to the log, when none of them is held.

use super::executor::Executor;
use super::job::{Job, OpenCollector, Order, Owner, Ran, Work};
use super::notice::{Notice, What};
use super::occupancy::{Occupancies, Occupancy, Occupant, Successor, Verdict, Waiting};
use super::queue::Queue;
use super::results::{Results, Want};
use super::status::{CollectorStatus, Counters};
use super::sync::{Arc, Mutex, MutexGuard, lock};
use crate::plan::CollectorPlan;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::run::Run;
use vitald_core::snapshot::{Part, State};

/// One collector that is on. An unchanged collector keeps its slot through reloads, and with it
/// everything it has open and everything that is counted.
pub(super) struct Slot {
    pub(super) plan: CollectorPlan,
    queue: Arc<Queue>,
    collector: Post,
    /// What runs instead until the collector first has a device.
    probe: Option<Post>,
    /// Whether it has ever had one.
    has_had_devices: AtomicBool,
    occupancy: Arc<Occupancy>,
    counters: Arc<Counters>,
    results: Mutex<Results>,
}

/// What runs, and where.
pub(super) struct Post {
    pub(super) executor: Executor,
    pub(super) collector: Arc<OpenCollector>,
}

/// What a request sees of a collector.
pub(super) enum Look {
    /// There is a result that serves, or nothing under way that would bring one in time.
    Answered,
    /// There will be one; at this instant it is to be judged again.
    Waits(Option<Instant>),
}

impl Slot {
    /// The slot of a collector that was opened, and of the probe that goes before it if it has one.
    pub(super) fn new(
        plan: CollectorPlan,
        collector: Post,
        probe: Option<Post>,
        queue: Arc<Queue>,
        occupancies: &Occupancies,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Slot {
            queue,
            collector,
            probe,
            has_had_devices: AtomicBool::new(false),
            occupancy: occupancies.of(plan.descriptor.name),
            counters,
            results: Mutex::new(Results::new(&plan)),
            plan,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.plan.descriptor.name
    }

    /// What makes the next run. It is another one only after a run of the probe, so it is the same from
    /// when a job is made until the run has come back.
    fn post(&self) -> &Post {
        let probe = self.probe.as_ref().filter(|_| !self.has_had_devices.load(Ordering::SeqCst));
        probe.unwrap_or(&self.collector)
    }

    /// Whether it may block, so that it runs beside the others sooner or later.
    pub(super) fn may_block(&self) -> bool {
        self.collector.executor.is_lane()
    }

    /// Whether its next run is made on a lane.
    pub(super) fn is_on_lane(&self) -> bool {
        self.post().executor.is_lane()
    }

    /// Whether there is a result, or the knowledge that there is none.
    pub(super) fn has_result(&self) -> bool {
        lock(&self.results).has_result()
    }

    /// Asks for a run, unless there is one that serves. What is returned is to be submitted
    /// and logged.
    pub(super) fn ask(
        self: &Arc<Self>,
        want: &Want,
        now: Instant,
    ) -> (Option<Job>, Option<Notice>) {
        let mut results = lock(&self.results);
        results.ask(&self.plan, want);
        self.job(&mut results, now)
    }

    /// Asks for a run whatever there is, unless one is under way.
    pub(super) fn refresh(
        self: &Arc<Self>,
        want: &Want,
        now: Instant,
    ) -> (Option<Job>, Option<Notice>) {
        let mut results = lock(&self.results);
        results.refresh(&self.plan, want);
        self.job(&mut results, now)
    }

    /// Gives a job to the executor. Neither the queue's lock nor another one may be held.
    pub(super) fn submit(&self, job: Job) {
        if let Err(error) = self.post().executor.submit(job) {
            let notice = self.not_started(error, Instant::now());
            // Other requests than the one that asks may wait for it.
            self.queue.wake_requests();
            notice.into_iter().for_each(Notice::log);
        }
    }

    /// The job that is wanted, unless one is under way.
    fn job(
        self: &Arc<Self>,
        results: &mut MutexGuard<'_, Results>,
        now: Instant,
    ) -> (Option<Job>, Option<Notice>) {
        if !results.wants_job() {
            return (None, None);
        }
        if results.is_backing_off(now) {
            results.settle(State::Panicked, now);
            self.tell(results);
            return (None, None);
        }
        if self.is_on_lane()
            && let Some(threads) = self.occupancy.threads_at_limit()
        {
            let why = format!(
                "{threads} threads hang; a collector that may block is not run until one comes back"
            );
            let notice = results.refuse(self.name(), why, now);
            self.tell(results);
            return (None, notice);
        }
        results.is_busy = true;
        (self.enter().map(|occupant| self.run(occupant)), None)
    }

    /// Occupies the name, now or when its occupant has come back.
    fn enter(self: &Arc<Self>) -> Option<Occupant> {
        let waiting = || {
            let this: Arc<dyn Successor> = Arc::clone(self) as Arc<dyn Successor>;
            Waiting::Weak(Arc::downgrade(&this))
        };
        self.occupancy.enter(waiting)
    }

    fn run(self: &Arc<Self>, occupant: Occupant) -> Job {
        let owner: Arc<dyn Owner> = Arc::clone(self) as Arc<dyn Owner>;
        Job { collector: Arc::clone(&self.post().collector), occupant, work: Work::Run(owner) }
    }

    fn not_started(&self, error: io::Error, now: Instant) -> Option<Notice> {
        let why = format!("its thread cannot be started: {error}");
        let mut results = lock(&self.results);
        let notice = results.refuse(self.name(), why, now);
        self.tell(&mut results);
        notice
    }

    /// Tells of another state, if it is one.
    fn tell(&self, results: &mut Results) {
        if results.take_change() {
            self.queue.state_changed();
        }
    }

    /// What a request sees now.
    pub(super) fn look(&self, want: &Want, now: Instant) -> (Look, Option<Notice>) {
        let mut results = lock(&self.results);
        if results.answers(&self.plan, want) || !results.is_busy {
            return (Look::Answered, None);
        }
        let (verdict, notice) = self.judge(&mut results, now);
        let until = match verdict {
            // It has not begun, and no request is woken when it does: it is judged again when it
            // would be stuck had it begun now.
            Verdict::Waiting => now.checked_add(results.limit()),
            // With a long interval it may be out for longer than a request is to wait for it.
            Verdict::Out { began, until } => {
                Some(began.checked_add(want.timeout).map_or(until, |end| until.min(end)))
            }
            Verdict::Stuck { .. } => Some(now),
        };
        match until {
            Some(until) if until <= now => (Look::Answered, notice),
            until => (Look::Waits(until), notice),
        }
    }

    /// Judges the run that is out, its own or that of the collector before: it is stuck when it has been
    /// out for longer than the scrape timeout.
    fn judge(
        &self,
        results: &mut MutexGuard<'_, Results>,
        now: Instant,
    ) -> (Verdict, Option<Notice>) {
        let verdict = self.occupancy.judge(now);
        let mut notice = None;
        if let Verdict::Stuck { out, newly } = verdict {
            results.set_stuck();
            self.tell(results);
            if newly {
                self.counters.count_timeout();
                notice = Some(Notice { collector: Some(self.name()), what: What::Stuck(out) });
            }
        }
        (verdict, notice)
    }

    /// What a snapshot shows to a request, which waits no more.
    pub(super) fn take(&self, want: &Want, now: Instant, taken: SystemTime) -> Part {
        let mut results = lock(&self.results);
        results.leave(want);
        results.part(&self.plan, want, now, taken)
    }

    /// A request waits no more and takes nothing.
    pub(super) fn leave(&self, want: &Want) {
        lock(&self.results).leave(want);
    }

    /// How many samples the last run gave.
    pub(super) fn samples(&self) -> usize {
        lock(&self.results).last().map_or(0, |run| run.len())
    }

    /// When a collector with an interval is due again.
    pub(super) fn due(&self, interval: Duration, now: Instant) -> Instant {
        lock(&self.results).due(interval, now)
    }

    pub(super) fn status(&self, now: Instant, with_fault: bool) -> CollectorStatus {
        let shares_descriptors = self.collector.executor.shares_descriptors();
        let mut results = lock(&self.results);
        let (since, notice) = match results.is_busy {
            true => (self.occupancy.since(), self.judge(&mut results, now).1),
            false => (None, None),
        };
        let (unread, unread_more) = if with_fault { results.unread() } else { Default::default() };
        let status = CollectorStatus {
            descriptor: self.plan.descriptor,
            state: results.state(),
            duration: results.duration(),
            age: results.age(now),
            out: since.map(|since| now.saturating_duration_since(since)),
            interval: self.plan.interval,
            samples: results.last().map_or(0, |run| run.len()),
            counts: self.counters.counts(),
            error: results.error().cloned(),
            // Its text is made anew each time, and a scrape does not show it.
            fault: with_fault.then(|| results.fault(&self.plan)).flatten(),
            unread,
            unread_more,
            degraded: results.degraded(shares_descriptors.then_some(SHARES_DESCRIPTORS)),
        };
        drop(results);
        notice.into_iter().for_each(Notice::log);
        status
    }
}

/// Why a collector is degraded whose thread could not have a descriptor table of its own.
const SHARES_DESCRIPTORS: &str = "its thread shares the daemon's descriptors";

impl Owner for Slot {
    fn begin(&self, now: Instant) -> Order {
        lock(&self.results).begin(&self.plan, now)
    }

    fn ended(self: Arc<Self>, ran: Ran, now: Instant) {
        let mut results = lock(&self.results);
        let notices = results.keep(&self.plan, &self.counters, ran, now);
        self.tell(&mut results);
        // A request may have asked since the run began.
        let (job, other) = self.job(&mut results, now);
        drop(results);
        if let Some(job) = job {
            self.submit(job);
        }
        if self.is_on_lane() {
            self.queue.wake_requests();
        }
        notices.chain(other).for_each(Notice::log);
    }

    fn found_devices(self: Arc<Self>, run: Arc<Run>, now: Instant) {
        self.has_had_devices.store(true, Ordering::SeqCst);
        let mut results = lock(&self.results);
        results.run_again(run);
        // Under the same lock: no request may see that no run is under way.
        let (job, notice) = self.job(&mut results, now);
        drop(results);
        if let Some(job) = job {
            self.submit(job);
        }
        notice.into_iter().for_each(Notice::log);
    }
}

impl Successor for Slot {
    fn vacated(self: Arc<Self>) {
        if let Some(occupant) = self.enter() {
            let job = self.run(occupant);
            self.submit(job);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Post { executor, collector } = &self.collector;
        executor.clone().close(Arc::clone(collector), Arc::clone(&self.occupancy));
    }
}
