//! A job for an executor: one run of a collector, or its end.
//!
//! The executor (the collection thread or a lane) owns the open collector and all that it has
//! open. Others hold an [`OpenCollector`] only to tell the executor which one is meant.

use super::occupancy::Occupant;
use super::sync::{Arc, Mutex, lock};
use crate::plan::CollectorPlan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use vitald_core::collector::{Devices, Need, Running};
use vitald_core::error::{Error, Result};
use vitald_core::host::{Host, Presence};
use vitald_core::run::Run;

/// How long the end of a collector may take before it is stuck.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// One open collector, or the probe that goes before it. Only its executor touches what is inside.
pub(super) struct OpenCollector {
    plan: CollectorPlan,
    /// Where a probe looks for devices; it is never anything else than a probe.
    probes: Option<Devices>,
    content: Mutex<Content>,
}

/// What an executor owns of a collector.
#[derive(Default)]
struct Content {
    /// None after a panic; it is then opened anew by the next run.
    open: Option<Open>,
    /// None when it is closed.
    host: Option<Host>,
    has_run: bool,
}

enum Open {
    Collector(Box<dyn Running>),
    Probe(Presence),
}

/// What an executor is to do with a collector.
pub(super) struct Job {
    pub(super) collector: Arc<OpenCollector>,
    pub(super) occupant: Occupant,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// One run.
    Run(Arc<dyn Owner>),
    /// The end: the collector is dropped.
    Close,
}

/// Who asked for a run and takes what it gives.
pub(super) trait Owner: Send + Sync {
    /// The run begins: what is it to do?
    fn begin(&self, now: Instant) -> Order;

    /// The run has come back.
    fn ended(self: Arc<Self>, ran: Ran, now: Instant);

    /// The run was that of a probe, which has found devices: it is the collector's turn. The run is
    /// given back as it was.
    fn found_devices(self: Arc<Self>, run: Arc<Run>, now: Instant);
}

/// What a run is given.
pub(super) struct Order {
    /// When it began: not before the last request arrived that counts on it.
    pub(super) began: Instant,
    /// What it writes into, which has begun; no other thread holds it.
    pub(super) run: Arc<Run>,
    /// After how long it is stuck.
    pub(super) limit: Duration,
}

/// What a run gave.
pub(super) struct Ran {
    pub(super) run: Arc<Run>,
    pub(super) outcome: Outcome,
    pub(super) began: Instant,
    pub(super) took: Duration,
    /// It was out for too long, which has not been reported.
    pub(super) was_stuck: bool,
}

pub(super) enum Outcome {
    /// The collector returned.
    Returned(Result<()>),
    /// It panicked, or could not be opened after a panic.
    Panicked,
}

impl OpenCollector {
    pub(super) fn new(plan: CollectorPlan, host: Host, collector: Box<dyn Running>) -> Arc<Self> {
        let open = Some(Open::Collector(collector));
        let content = Content { open, host: Some(host), has_run: false };
        Arc::new(OpenCollector { plan, probes: None, content: Mutex::new(content) })
    }

    /// What takes the collector's place until it first has a device. It keeps nothing open.
    pub(super) fn probe(plan: CollectorPlan, host: Host, devices: Devices) -> Arc<Self> {
        let content = Content { open: None, host: Some(host), has_run: false };
        Arc::new(OpenCollector { plan, probes: Some(devices), content: Mutex::new(content) })
    }

    /// Whether it has read anything yet.
    pub(super) fn has_run(&self) -> bool {
        lock(&self.content).has_run
    }

    /// Drops the collector and its host on this thread.
    pub(super) fn close(&self) {
        let content = std::mem::take(&mut *lock(&self.content));
        // A collector that panics while it is dropped has lost what it had; the hook logs it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(content)));
    }

    fn open(&self, host: Option<&Host>) -> Result<Open> {
        let host = host.ok_or_else(|| Error::absent("host"))?;
        match self.probes {
            Some(devices) => Ok(Open::Probe(host.presence(devices.directory))),
            None => self.plan.prepared.open(host).map(Open::Collector),
        }
    }

    /// How it ended; none if it is a probe that has found devices, which it did not touch.
    fn run(&self, run: &mut Run) -> Option<Outcome> {
        let open = {
            let mut content = lock(&self.content);
            content.has_run = true;
            content.open.take().ok_or_else(|| content.host.clone())
        };
        let returned = catch_unwind(AssertUnwindSafe(|| {
            let mut open = open.or_else(|host| self.open(host.as_ref()))?;
            // A collector that panics is dropped by the unwinding, inside this closure.
            let outcome = match &mut open {
                Open::Collector(collector) => Some(collector.collect(run.batch())),
                Open::Probe(presence) => self.probed(presence.has_entry(run.batch().fresh_from())),
            };
            run.seal();
            Ok((open, outcome))
        }));
        match returned {
            Ok(Ok((open, outcome))) => {
                lock(&self.content).open = Some(open);
                outcome.map(Outcome::Returned)
            }
            // It would not open again: its settings were good before, so it is treated alike.
            Ok(Err::<_, Error>(_)) | Err(_) => {
                run.discard();
                Some(Outcome::Panicked)
            }
        }
    }

    /// What the collector would answer without devices, if there are none.
    fn probed(&self, has_devices: Result<bool>) -> Option<Result<()>> {
        let devices = self.probes?;
        match (has_devices, devices.needs) {
            (Ok(true), _) => None,
            (Ok(false), Need::Device) => Some(Err(Error::absent(devices.directory))),
            (Ok(false), _) | (Err(Error::Absent { .. }), Need::Nothing) => Some(Ok(())),
            (Err(error), _) => Some(Err(error)),
        }
    }
}

impl Job {
    /// Does what is to be done, on this thread, which goes on also if the engine itself panics. It
    /// begins now, and what is answered is when it ended: the clock is read once a job.
    pub(super) fn execute(self, now: Instant) -> Instant {
        let ended = catch_unwind(AssertUnwindSafe(|| self.run(now)));
        ended.unwrap_or_else(|_| Instant::now())
    }

    /// The name is free again before the result is handed over.
    fn run(self, now: Instant) -> Instant {
        let Job { collector, occupant, work } = self;
        let owner = match work {
            Work::Run(owner) => owner,
            Work::Close => {
                occupant.begin(now, CLOSE_LIMIT);
                collector.close();
                return Instant::now();
            }
        };
        let Order { began, mut run, limit } = owner.begin(now);
        occupant.begin(began, limit);
        let outcome = match Arc::get_mut(&mut run) {
            Some(run) => collector.run(run),
            // No other thread can have taken it in between.
            None => Some(Outcome::Panicked),
        };
        let ended = Instant::now();
        let was_stuck = occupant.leave(ended);
        let took = ended.saturating_duration_since(began);
        match outcome {
            Some(outcome) => owner.ended(Ran { run, outcome, began, took, was_stuck }, ended),
            None => owner.found_devices(run, ended),
        }
        ended
    }
}
