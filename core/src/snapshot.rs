//! The snapshot: the batches of one collection, with each collector's outcome, age and duration.

use crate::batch::Batch;
use crate::collector::Descriptor;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How a collector is, as `/plugins` and the metrics show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Switched on, and not run yet.
    #[default]
    Waiting,
    /// The last run succeeded.
    Running,
    /// This host has no such source; not a fault.
    Absent,
    /// The last run failed.
    Failing,
    /// The last run has not come back in time, or is still out.
    TimedOut,
    /// The last run panicked; it is opened anew after its back-off.
    Panicked,
    /// Switched off.
    Off,
}

impl State {
    /// Every state, for metrics that show one series each.
    pub const ALL: [State; 7] = [
        State::Waiting,
        State::Running,
        State::Absent,
        State::Failing,
        State::TimedOut,
        State::Panicked,
        State::Off,
    ];

    /// The word users see.
    pub const fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Absent => "absent",
            State::Failing => "failing",
            State::TimedOut => "timed_out",
            State::Panicked => "panicked",
            State::Off => "off",
        }
    }
}

/// What one collector contributed to a snapshot.
#[derive(Clone)]
pub struct Part {
    /// The collector.
    pub descriptor: &'static Descriptor,
    /// How its last run ended.
    pub state: State,
    /// The number of the run that gave the samples, counted from 1 for as long as the collector is
    /// on; 0 before the first. Two parts of one number hold the same samples.
    pub run: u64,
    /// When that run began.
    pub began: SystemTime,
    /// How long its last finished run took.
    pub duration: Duration,
    /// How old the samples are.
    pub age: Duration,
    /// The samples; none if the run gave none that may be shown.
    pub batch: Option<Arc<Batch>>,
}

/// The batches of one collection.
#[derive(Clone)]
pub struct Snapshot {
    /// When the collection ended.
    pub taken: SystemTime,
    /// By collector name.
    pub parts: Vec<Part>,
}
