//! A slot: one collector that is on, with what its last run gave.

use super::lane::Lane;
use crate::plan::CollectorPlan;
use crate::sync::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::collector::{Descriptor, Running};
use vitald_core::error::{Error, Result};
use vitald_core::host::Host;
use vitald_core::run::{Run, Spares};
use vitald_core::snapshot::{Part, State};

/// The first wait after a panic; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a panic.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How often a fault that goes on is logged again.
const REMIND: Duration = Duration::from_secs(3600);

/// One collector that is on. An unchanged collector keeps its slot through reloads, and with it
/// everything it has open and everything that is counted.
pub(super) struct Slot {
    pub(super) plan: CollectorPlan,
    pub(super) lane: Option<Arc<Lane>>,
    pub(super) inner: Mutex<Inner>,
    /// Gone only while the slot is dropped.
    host: Option<Host>,
    /// The instance with other settings that this one replaced, while it may still be out.
    predecessor: Mutex<Option<Arc<Slot>>>,
}

/// Where the open collector is.
pub(super) enum Seat {
    /// At its place.
    Here(Box<dyn Running>),
    /// Out on a thread that runs it.
    Away { since: Instant },
    /// Lost to a panic, to be opened anew.
    Empty { retry: Instant },
}

pub(super) struct Inner {
    pub(super) seat: Seat,
    /// The next run must begin after this.
    pub(super) need: Option<Instant>,
    /// By when the next run is of use to the first who waits for it.
    pub(super) by: Option<Instant>,
    /// Waits in a queue.
    pub(super) queued: bool,
    /// When the last finished run began.
    began: Option<Instant>,
    /// The same by the wall clock.
    began_at: SystemTime,
    state: State,
    duration: Duration,
    /// The last run's samples; what a panic or an overrun left is not kept.
    last: Option<Arc<Run>>,
    /// Those before, to be written next.
    spares: Spares,
    /// A request has given up on the run that is out.
    stuck: bool,
    panics_in_a_row: u32,
    counts: Counts,
    error: Option<Arc<str>>,
    logged: Option<Instant>,
}

/// What is counted of a collector since it was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Runs that failed, absent sources not among them.
    pub failures: u64,
    /// Runs that panicked.
    pub panics: u64,
    /// Requests that were answered without this collector because it was out.
    pub timeouts: u64,
    /// Lines that a parser refused.
    pub malformed_lines: u64,
    /// Samples left out because an earlier one had their name and labels.
    pub duplicates: u64,
    /// Samples left out because their family has another type.
    pub conflicts: u64,
    /// Samples left out because of `max_series`.
    pub over_limit: u64,
}

/// How a collector that is on is doing.
#[derive(Clone)]
pub struct CollectorStatus {
    /// The collector.
    pub descriptor: &'static Descriptor,
    /// How its last run ended.
    pub state: State,
    /// How long its last finished run took.
    pub duration: Duration,
    /// How long ago the last finished run began.
    pub age: Option<Duration>,
    /// How long the run that is out has been out.
    pub out: Option<Duration>,
    /// How often it is refreshed in the background.
    pub interval: Option<Duration>,
    /// How many samples its last run gave.
    pub samples: usize,
    /// What is counted.
    pub counts: Counts,
    /// What its last run complained of.
    pub error: Option<Arc<str>>,
    /// Why its figures are not all there.
    pub degraded: Option<&'static str>,
}

impl Slot {
    pub(super) fn new(
        plan: CollectorPlan,
        host: Host,
        collector: Box<dyn Running>,
        predecessor: Option<Arc<Slot>>,
    ) -> Arc<Self> {
        let lane = plan
            .prepared
            .may_block()
            .then(|| Arc::new(Lane::new(plan.descriptor.name, plan.descriptor.own_descriptors)));
        let inner = Inner {
            seat: Seat::Here(collector),
            need: None,
            by: None,
            queued: false,
            began: None,
            began_at: SystemTime::UNIX_EPOCH,
            state: State::Waiting,
            duration: Duration::ZERO,
            last: None,
            spares: Spares::new(plan.descriptor.families),
            stuck: false,
            panics_in_a_row: 0,
            counts: Counts::default(),
            error: None,
            logged: None,
        };
        let predecessor = Mutex::new(predecessor);
        Arc::new(Slot { plan, lane, inner: Mutex::new(inner), host: Some(host), predecessor })
    }

    pub(super) fn name(&self) -> &'static str {
        self.plan.descriptor.name
    }

    /// Runs the collector once, on this thread, and keeps what it gave.
    pub(super) fn run(&self) {
        let (began, began_at) = (Instant::now(), SystemTime::now());
        let (seat, last, mut batch, by, need) = {
            let mut inner = lock(&self.inner);
            inner.queued = false;
            match &inner.seat {
                Seat::Away { .. } => return,
                Seat::Empty { retry } if began < *retry => {
                    inner.ended(began, State::Panicked);
                    return;
                }
                _ => {}
            }
            let seat = std::mem::replace(&mut inner.seat, Seat::Away { since: began });
            (seat, inner.last.clone(), inner.spares.take(), inner.by.take(), inner.need)
        };
        let outcome = match Arc::get_mut(&mut batch) {
            Some(batch) => {
                batch.set_deadline(by);
                batch.set_fresh_from(need);
                self.collect(seat, batch, last.as_deref())
            }
            // Nobody else holds it, as was just seen.
            None => Err(Panicked),
        };
        drop(last);
        self.keep(began, began_at, outcome, batch);
    }

    /// Whether the instance before this one is still out: only one of them may be. Once it is not,
    /// it is handed out, to be closed.
    pub(super) fn predecessor(&self, now: Instant) -> Predecessor {
        let mut predecessor = lock(&self.predecessor);
        let is_out = predecessor.as_ref().is_some_and(|slot| {
            let inner = lock(&slot.inner);
            inner.stuck
                || matches!(inner.seat, Seat::Away { since } if now > since + super::PATIENCE)
        });
        if is_out { Predecessor::Out } else { Predecessor::Gone(predecessor.take()) }
    }

    fn collect(
        &self,
        seat: Seat,
        batch: &mut Run,
        last: Option<&Run>,
    ) -> std::result::Result<(Box<dyn Running>, Result<()>), Panicked> {
        batch.begin(last, self.plan.max_series);
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut collector = match seat {
                Seat::Here(collector) => collector,
                _ => {
                    let host = self.host.as_ref().ok_or_else(|| Error::absent("host"))?;
                    self.plan.prepared.open(host)?
                }
            };
            // A collector that panics is dropped by the unwinding, inside this closure.
            let outcome = collector.collect(batch.batch());
            Ok((collector, outcome))
        }));
        match run {
            Ok(Ok(done)) => {
                batch.seal();
                Ok(done)
            }
            // It would not open again: its settings were good before, so it is treated alike.
            Ok(Err::<_, Error>(_)) | Err(_) => {
                batch.discard();
                Err(Panicked)
            }
        }
    }

    fn keep(
        &self,
        began: Instant,
        began_at: SystemTime,
        outcome: std::result::Result<(Box<dyn Running>, Result<()>), Panicked>,
        batch: Arc<Run>,
    ) {
        let now = Instant::now();
        let mut inner = lock(&self.inner);
        inner.duration = now.duration_since(began);
        inner.stuck = false;
        inner.counts.runs += 1;
        inner.began_at = began_at;
        let (state, error) = match outcome {
            Ok((collector, outcome)) => {
                inner.seat = Seat::Here(collector);
                inner.panics_in_a_row = 0;
                inner.count(&batch);
                let refused = batch.malformed().filter(|_| batch.is_empty());
                if let Some(before) = inner.last.replace(batch) {
                    inner.spares.keep(before);
                }
                match outcome {
                    // Odd lines are tolerated; a source of nothing else is a fault.
                    Ok(()) if refused.is_some() => {
                        inner.counts.failures += 1;
                        (State::Failing, refused.map(|(_, first)| first.in_file("every line")))
                    }
                    Ok(()) => (State::Running, None),
                    Err(error @ Error::Absent { .. }) => (State::Absent, Some(error)),
                    Err(error) => {
                        inner.counts.failures += 1;
                        (State::Failing, Some(error))
                    }
                }
            }
            Err(Panicked) => {
                inner.counts.panics += 1;
                let wait = BACKOFF_FIRST
                    .saturating_mul(1 << inner.panics_in_a_row.min(16))
                    .min(BACKOFF_MAX);
                inner.panics_in_a_row += 1;
                inner.seat = Seat::Empty { retry: now + wait };
                inner.last = None;
                inner.spares.keep(batch);
                (State::Panicked, None)
            }
        };
        inner.complain(self.name(), state, error.as_ref(), now);
        inner.ended(began, state);
    }

    pub(super) fn status(&self) -> CollectorStatus {
        let now = Instant::now();
        let inner = lock(&self.inner);
        CollectorStatus {
            descriptor: self.plan.descriptor,
            state: inner.state,
            duration: inner.duration,
            age: inner.began.map(|began| now.saturating_duration_since(began)),
            out: match inner.seat {
                Seat::Away { since } => Some(now.saturating_duration_since(since)),
                _ => None,
            },
            interval: self.plan.interval,
            samples: inner.samples(),
            counts: inner.counts,
            error: inner.error.clone(),
            degraded: inner.last.as_ref().and_then(|batch| batch.degraded_reason()),
        }
    }
}

/// A run that ended in a panic.
struct Panicked;

/// The instance that another one replaced.
pub(super) enum Predecessor {
    /// It has not come back.
    Out,
    /// It is not in the way (any more).
    Gone(Option<Arc<Slot>>),
}

impl Drop for Slot {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let seat = std::mem::replace(&mut inner.seat, Seat::Empty { retry: Instant::now() });
        if let (Some(lane), Some(host)) = (&self.lane, self.host.take()) {
            let collector = match seat {
                Seat::Here(collector) => Some(collector),
                _ => None,
            };
            lane.close(collector, host);
        }
    }
}

impl Inner {
    /// Whether somebody has asked for a run that begins later than the last one did.
    pub(super) fn due(&self) -> bool {
        self.need.is_some_and(|need| self.began.is_none_or(|began| began < need))
    }

    pub(super) fn has_result(&self) -> bool {
        self.began.is_some()
    }

    /// How many samples the last run gave.
    pub(super) fn samples(&self) -> usize {
        self.last.as_ref().map_or(0, |batch| batch.len())
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// When the last finished run began.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Whether a request that needs a read from `need` on has its answer: a result that is new
    /// enough, or the knowledge that there will be none.
    pub(super) fn answers(&self, slot: &Slot, need: Instant, now: Instant) -> bool {
        self.stuck || self.is_fresh(slot, need, now)
    }

    /// A collector with an interval serves its last result for three intervals.
    fn is_fresh(&self, slot: &Slot, need: Instant, now: Instant) -> bool {
        let Some(began) = self.began else { return false };
        let in_interval =
            |interval: Duration| now.saturating_duration_since(began) <= interval.saturating_mul(3);
        began >= need || slot.plan.interval.is_some_and(in_interval)
    }

    /// A request is answered without this collector.
    pub(super) fn left_behind(&mut self, slot: &Slot) {
        self.counts.timeouts += 1;
        if let Seat::Away { since } = self.seat {
            if !self.stuck {
                tracing::warn!(
                    collector = slot.name(),
                    seconds = since.elapsed().as_secs_f64(),
                    "has not come back in time and is not waited for until it does"
                );
            }
            self.stuck = true;
            self.state = State::TimedOut;
        }
    }

    pub(super) fn part(&self, slot: &Slot, need: Instant, now: Instant) -> Part {
        let age = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let fresh = self.is_fresh(slot, need, now);
        Part {
            descriptor: slot.plan.descriptor,
            state: if fresh { self.state } else { State::TimedOut },
            run: self.counts.runs,
            began: self.began_at,
            duration: self.duration,
            age,
            batch: if fresh { self.last.clone() } else { None },
        }
    }

    pub(super) fn ended(&mut self, began: Instant, state: State) {
        self.began = Some(began);
        self.state = state;
        if state == State::TimedOut {
            self.last = None;
        }
    }

    fn count(&mut self, batch: &Run) {
        let dropped = batch.dropped();
        self.counts.duplicates += u64::from(dropped.duplicates);
        self.counts.conflicts += u64::from(dropped.conflicts);
        self.counts.over_limit += u64::from(dropped.limit);
        if let Some((lines, _)) = batch.malformed() {
            self.counts.malformed_lines += u64::from(lines);
        }
    }

    /// Logs when the state changes, and hourly while a fault goes on; never at each run.
    fn complain(&mut self, name: &str, state: State, error: Option<&Error>, now: Instant) {
        let same = self.state == state;
        let fault = matches!(state, State::Failing | State::Panicked);
        self.error = match (error, state) {
            (Some(error), _) if same && self.error.is_some() => {
                let text = error.to_string();
                self.error.take().filter(|known| **known == *text).or_else(|| Some(text.into()))
            }
            (Some(error), _) => Some(error.to_string().into()),
            (None, State::Panicked) => Some("panicked; see the log".into()),
            (None, _) => None,
        };
        let due = !same || (fault && self.logged.is_none_or(|logged| now > logged + REMIND));
        if !due {
            return;
        }
        self.logged = Some(now);
        let error = self.error.as_deref().unwrap_or_default();
        match state {
            State::Failing => tracing::warn!(collector = name, error, "failed"),
            State::Panicked => {
                tracing::error!(collector = name, "panicked and is left out for a while")
            }
            State::Absent => tracing::debug!(collector = name, error, "has no source on this host"),
            State::Running if self.state != State::Waiting && self.state != State::Running => {
                tracing::info!(collector = name, "works again");
            }
            _ => {}
        }
    }
}
