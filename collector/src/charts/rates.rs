//! What counters gain in a second, from one snapshot to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use vitald_core::identity::SeriesId;
use vitald_core::run::Run;
use vitald_core::shape::Shape;
use vitald_core::snapshot::{Part, Snapshot};

/// The values of two runs of each collector, the last one and the one before it.
///
/// Values are copied: a run that is kept could not be reused by the engine.
#[derive(Default)]
pub struct Rates {
    known: HashMap<&'static str, Known>,
}

#[derive(Default)]
struct Known {
    /// See [`Part::run_number`].
    number: u64,
    last: Option<Column>,
    before: Option<Column>,
    /// The values before of the series of the last run, in its order; none of one that is new.
    aligned: Vec<Option<f64>>,
}

struct Column {
    shape: Arc<Shape>,
    values: Vec<f64>,
    at: Instant,
}

impl Rates {
    /// Of no run yet.
    pub fn new() -> Self {
        Rates::default()
    }

    /// Takes note of a snapshot that was taken at `now`.
    pub fn learn(&mut self, snapshot: &Snapshot, now: Instant) {
        for part in snapshot.parts() {
            let name = part.descriptor.name;
            match &part.run {
                Some(run) => self.known.entry(name).or_default().learn(part, run, now),
                None => drop(self.known.remove(name)),
            }
        }
        self.known
            .retain(|name, _| snapshot.parts().iter().any(|part| part.descriptor.name == *name));
    }

    /// What the series at this position of a collector's last run gains in a second. None before its second
    /// run, and of a series that the run before did not have.
    pub fn of(&self, collector: &str, position: usize) -> Option<f64> {
        let known = self.known.get(collector)?;
        let (last, before) = (known.last.as_ref()?, known.before.as_ref()?);
        let seconds = last.at.checked_duration_since(before.at)?.as_secs_f64();
        let (value, earlier) = (*last.values.get(position)?, (*known.aligned.get(position)?)?);
        // A counter that went back was reset; what it has counted since is all there is.
        let gain = if value >= earlier { value - earlier } else { value };
        (seconds > 0.0).then_some(gain / seconds)
    }
}

impl Known {
    fn learn(&mut self, part: &Part, run: &Run, now: Instant) {
        // A collector with an interval of its own has not run again; and of two snapshots the older one may come later.
        if self.last.is_some() && part.run_number <= self.number {
            return;
        }
        self.number = part.run_number;
        let spare = std::mem::replace(&mut self.before, self.last.take());
        let mut values = spare.map_or_else(Vec::new, |column| column.values);
        values.clear();
        values.extend_from_slice(run.values());
        let at = now.checked_sub(part.age).unwrap_or(now);
        let last = Column { shape: Arc::clone(run.shape()), values, at };
        self.aligned.clear();
        if let Some(before) = &self.before {
            before.align(&last.shape, &mut self.aligned);
        }
        self.last = Some(last);
    }
}

impl Column {
    /// The values of the series of another shape.
    fn align(&self, shape: &Shape, aligned: &mut Vec<Option<f64>>) {
        if self.shape.id() == shape.id() {
            aligned.extend(self.values.iter().copied().map(Some));
            return;
        }
        let values = self
            .shape
            .series()
            .filter_map(|(position, series)| Some((series.id(), *self.values.get(position)?)));
        let values: HashMap<SeriesId, f64> = values.collect();
        aligned.resize(shape.len(), None);
        for (position, series) in shape.series() {
            aligned[position] = values.get(&series.id()).copied();
        }
    }
}
