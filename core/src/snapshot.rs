//! The snapshot: one collection, sealed and merged, as every reader sees it.
//!
//! The engine gives a [`Collection`]; a [`Sealer`](crate::sealer::Sealer) adds the daemon's own
//! samples, settles what several parts have in common, and gives a [`Snapshot`]. Pages, the
//! console and outputs see snapshots alone.

use crate::collector::Descriptor;
use crate::family::{Kind, Since, Unit};
use crate::identity::{Difference, SeriesId};
use crate::merge::Merge;
use crate::run::Run;
use crate::shape::{Dropped, SeriesRef};
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
    /// The last run succeeded, but did not give all there is: the reason or the fault says why.
    Degraded,
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
    pub const ALL: [State; 8] = [
        State::Waiting,
        State::Running,
        State::Degraded,
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
            State::Degraded => "degraded",
            State::Absent => "absent",
            State::Failing => "failing",
            State::TimedOut => "timed_out",
            State::Panicked => "panicked",
            State::Off => "off",
        }
    }

    /// Whether the last run succeeded, even if it did not give all there is.
    pub const fn is_success(self) -> bool {
        matches!(self, State::Running | State::Degraded)
    }
}

/// What one collector contributed to a snapshot.
#[derive(Clone)]
pub struct Part {
    /// The collector.
    pub descriptor: &'static Descriptor,
    /// How its last run ended.
    pub state: State,
    /// The number of the run that gave the samples, counted from 1 for as long as the daemon runs,
    /// also while the collector is off; 0 before the first. Two parts of one number hold the same samples.
    pub run_number: u64,
    /// When that run began.
    pub began: SystemTime,
    /// How long its last finished run took.
    pub duration: Duration,
    /// How old the samples are.
    pub age: Duration,
    /// The samples; none if the run gave none that may be shown.
    pub run: Option<Arc<Run>>,
}

/// What the collectors gave in one collection, not merged yet.
#[derive(Clone)]
pub struct Collection {
    /// When it was asked for.
    pub began: SystemTime,
    /// When it ended.
    pub taken: SystemTime,
    /// By collector name.
    pub parts: Vec<Part>,
}

impl Collection {
    /// Without any part, to be filled.
    pub fn new() -> Self {
        let epoch = SystemTime::UNIX_EPOCH;
        Collection { began: epoch, taken: epoch, parts: Vec::new() }
    }

    /// How many samples there are, before the merge.
    pub fn samples(&self) -> usize {
        self.parts.iter().filter_map(|part| part.run.as_ref()).map(|run| run.len()).sum()
    }
}

impl Default for Collection {
    fn default() -> Self {
        Collection::new()
    }
}

/// One collection, sealed: the samples of the collectors and the daemon's own, merged.
///
/// A clone is cheap: it shares the samples. A reader may keep one for as long as it likes.
#[derive(Clone)]
pub struct Snapshot {
    /// When the collection was asked for.
    pub began: SystemTime,
    /// When it ended.
    pub taken: SystemTime,
    pub(crate) parts: Vec<Part>,
    pub(crate) merge: Arc<Merge>,
}

impl Snapshot {
    /// The collectors that took part, in the order of the merge: first those that made their
    /// families themselves, by name, then the daemon, then those that pass on what others wrote.
    /// Internal ones are among them.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The samples that are shown, part after part, in the order in which they were pushed.
    pub fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        (0..self.parts.len()).flat_map(|part| self.samples_of(part))
    }

    /// The samples of the part at this place in [`Snapshot::parts`] that are shown.
    pub fn samples_of(&self, part: usize) -> impl Iterator<Item = Sample<'_>> {
        let mut hidden = self.hidden(part).iter().copied().peekable();
        let (part, run) = (&self.parts[part], self.parts[part].run.as_deref());
        run.into_iter().flat_map(|run| run.shape().series().zip(std::iter::repeat(run))).filter_map(
            move |((position, series), run)| {
                if hidden.next_if_eq(&(position as u32)).is_some() {
                    return None;
                }
                let value = *run.values().get(position)?;
                Some(Sample { part, series, position, value })
            },
        )
    }

    /// The series at a position in the column of a part, shown or not.
    pub fn series(&self, part: usize, position: usize) -> Option<SeriesRef<'_>> {
        self.parts.get(part)?.run.as_deref()?.shape().get(position)
    }

    /// Positions in the column of a part that are not shown because of other parts, ascending.
    pub fn hidden(&self, part: usize) -> &[u32] {
        &self.merge.hidden[part]
    }

    /// What is not shown of each part because of the others; what a run left out itself is not
    /// among it.
    pub fn dropped(&self) -> &[Dropped] {
        &self.merge.dropped
    }

    /// Whether parts had something in common that could not be shown twice.
    pub fn has_conflicts(&self) -> bool {
        self.dropped().iter().any(|dropped| !dropped.is_none())
    }

    /// A number that snapshots share only if they have the same series in the same order.
    pub fn order(&self) -> u64 {
        self.merge.id()
    }

    /// Which samples of this snapshot a later one lacks, and which it has beyond them; positions
    /// are those in the order of [`Snapshot::samples`].
    pub fn diff(&self, later: &Snapshot) -> Difference {
        if self.order() == later.order() {
            return Difference::default();
        }
        let ids = |snapshot: &Snapshot| -> Vec<(usize, SeriesId)> {
            snapshot.samples().map(|sample| sample.series.id()).enumerate().collect()
        };
        Difference::between(ids(self).into_iter(), ids(later).into_iter())
    }
}

/// One sample of a snapshot, with what is known of it.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// Which collector's run it is of.
    pub part: &'a Part,
    /// Its family and labels.
    pub series: SeriesRef<'a>,
    /// Its place in the column of the part: the same for as long as the part's shape is.
    pub position: usize,
    /// Its value.
    pub value: f64,
}

impl Sample<'_> {
    /// What names the series in every snapshot, over reloads and restarts.
    pub fn id(&self) -> SeriesId {
        self.series.id()
    }

    /// The unit of its value.
    pub fn unit(&self) -> Unit {
        self.series.unit()
    }

    /// Since when a counter, histogram or summary counts; of another family, unknown.
    pub fn since(&self) -> Since {
        match self.series.kind() {
            Kind::Counter | Kind::Histogram | Kind::Summary => {
                self.series.since().unwrap_or(self.part.descriptor.since)
            }
            Kind::Gauge | Kind::Untyped => Since::Unknown,
        }
    }
}
