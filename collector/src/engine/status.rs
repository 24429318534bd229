//! What is known of a collector besides its samples.

use super::sync::Arc;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vitald_core::collector::Descriptor;
use vitald_core::run::{Beside, Run};
use vitald_core::snapshot::State;

/// What is counted of a collector since the daemon started: neither a change of its settings nor a time
/// in which it was off begins the count anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Runs that failed, absent sources not among them.
    pub failures: u64,
    /// Runs that panicked.
    pub panics: u64,
    /// Runs that were out for longer than the scrape timeout.
    pub timeouts: u64,
    /// Parts of its source that runs could not read.
    pub faults: u64,
    /// Lines that a parser refused.
    pub malformed_lines: u64,
    /// Samples left out because an earlier one had their name and labels.
    pub duplicates: u64,
    /// Samples left out because their family has another type.
    pub conflicts: u64,
    /// Samples left out because of `max_series`.
    pub over_limit: u64,
}

/// The same where it is counted. Every instance of its name goes on with it.
#[derive(Default)]
pub(super) struct Counters {
    runs: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
    faults: AtomicU64,
    malformed_lines: AtomicU64,
    duplicates: AtomicU64,
    conflicts: AtomicU64,
    over_limit: AtomicU64,
}

impl Counters {
    pub(super) fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            runs: count(&self.runs),
            failures: count(&self.failures),
            panics: count(&self.panics),
            timeouts: count(&self.timeouts),
            faults: count(&self.faults),
            malformed_lines: count(&self.malformed_lines),
            duplicates: count(&self.duplicates),
            conflicts: count(&self.conflicts),
            over_limit: count(&self.over_limit),
        }
    }

    /// Counts a run and gives it its number, from 1.
    pub(super) fn count_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn count_failure(&self) {
        add(&self.failures, 1);
    }

    pub(super) fn count_panic(&self) {
        add(&self.panics, 1);
    }

    pub(super) fn count_timeout(&self) {
        add(&self.timeouts, 1);
    }

    /// Counts what a run left out.
    pub(super) fn count_dropped(&self, run: &Run) {
        add(&self.faults, run.faults());
        let dropped = run.dropped();
        add(&self.duplicates, dropped.duplicates);
        add(&self.conflicts, dropped.conflicts);
        add(&self.over_limit, dropped.limit);
        add(&self.malformed_lines, run.malformed().map_or(0, |(lines, _)| lines));
    }
}

fn add(counter: &AtomicU64, count: u32) {
    if count > 0 {
        counter.fetch_add(u64::from(count), Ordering::Relaxed);
    }
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
    /// How long the run that is out has been out; it may be that of the collector
    /// before a change of settings.
    pub out: Option<Duration>,
    /// How often it is refreshed in the background.
    pub interval: Option<Duration>,
    /// How many samples its last run gave.
    pub samples: usize,
    /// What is counted.
    pub counts: Counts,
    /// The error of its last run, or why it does not run.
    pub error: Option<Arc<str>>,
    /// The first part of its source that its last run, which succeeded, could not read.
    pub fault: Option<Arc<str>>,
    /// The parts that it could not read, one by one; of many the first ones.
    pub unread: Vec<Beside>,
    /// How many there are beside these.
    pub unread_more: u32,
    /// Why its figures are not all there, or what it runs without.
    pub degraded: Option<&'static str>,
}

impl CollectorStatus {
    /// Why it has not run as it should.
    pub fn reason(&self) -> Cow<'_, str> {
        if let (State::Degraded, Some(reason)) =
            (self.state, self.fault.as_deref().or(self.degraded))
        {
            return Cow::from(reason);
        }
        match (&self.error, self.out) {
            (Some(error), _) => Cow::from(&**error),
            // It may be a run of the collector that had this name before.
            (None, Some(out)) => {
                format!("a run that began {:.1} s ago has not come back", out.as_secs_f64()).into()
            }
            (None, None) => Cow::from("its run has not begun"),
        }
    }
}
