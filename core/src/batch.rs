//! The batch: what a collector pushes its samples into.
//!
//! A collector pushes row by row; each push is compared with the same place of the last run. While
//! everything is equal only the value is stored and nothing is allocated; at the first difference
//! the rest of the shape is written anew, under a new id. Who runs the collector owns the batch,
//! as part of a [`Run`](crate::run::Run), and lends it.

use crate::error::Malformed;
use crate::family::{Family, FamilyInfo, Kind};
use crate::shape::{LabelSet, NAMED_AT_RUN_TIME, RunTimeFamily, Series, Shape, Suffix};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The index of labels and families that were not taken, because the run has all that it may.
const REFUSED: u32 = u32::MAX;

/// A shape's texts are at places of 32 bits; far below their end nothing more is taken.
const MAX_TEXT_BYTES: usize = 1 << 31;

/// The labels of a row, written once and referred to by every push of the row.
#[derive(Clone, Copy, Debug)]
pub struct Labels<const N: usize>(u32);

/// Labels with names of their own, for families whose labels the host or the user decides.
#[derive(Clone, Copy, Debug)]
pub struct LabelPairs(u32);

/// A family made at run time; valid for the run that made it.
#[derive(Clone, Copy, Debug)]
pub struct NamedFamily(u32);

/// A number as the kernel gives it; whole numbers become the nearest f64.
pub trait Number: Copy {
    /// The value of the sample.
    fn to_f64(self) -> f64;
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
number!(u8, u16, u32, u64, usize, i32, i64, f32, f64);

impl Number for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// How many faults of other sources are kept beside the first one.
const KEPT_BESIDE: usize = 9;

/// A fault of another source than that of the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The file or directory.
    pub source: String,
    /// Why it could not be read.
    pub error: String,
}

/// The first fault that was said of a run, and those of a few other sources, in memory that is used again. Without
/// an error there was none.
#[derive(Default)]
pub(crate) struct FirstFault {
    pub(crate) source: String,
    pub(crate) error: String,
    pub(crate) is_malformed: bool,
    /// The first `kept` are of this run.
    beside: Vec<Beside>,
    kept: usize,
}

impl FirstFault {
    pub(crate) fn clear(&mut self) {
        self.source.clear();
        self.error.clear();
        self.kept = 0;
    }

    /// The faults of other sources.
    pub(crate) fn beside(&self) -> &[Beside] {
        &self.beside[..self.kept]
    }

    /// Keeps the first fault of another source, if there is room.
    fn keep_beside(&mut self, source: &str, error: impl fmt::Display) {
        let is_known = source.is_empty()
            || self.source == source
            || self.beside().iter().any(|known| known.source == source);
        if is_known || self.kept == KEPT_BESIDE {
            return;
        }
        if self.kept == self.beside.len() {
            self.beside.push(Beside::default());
        }
        let beside = &mut self.beside[self.kept];
        beside.source.clear();
        beside.source.push_str(source);
        beside.error.clear();
        // As for the first one.
        let _ = write!(beside.error, "{error}");
        self.kept += 1;
    }
}

/// What one run of one collector pushes; reused from run to run.
pub struct Batch {
    pub(crate) shape: Arc<Shape>,
    /// The shape being written since the run left the last one's.
    pub(crate) building: Option<Box<Shape>>,
    pub(crate) values: Vec<f64>,
    pub(crate) next_set: u32,
    pub(crate) next_family: u32,
    /// When the run has this many samples, no further row is begun.
    pub(crate) limit: u32,
    pub(crate) over_limit: u32,
    pub(crate) malformed: u32,
    pub(crate) first_malformed: Option<Malformed>,
    pub(crate) first_fault: FirstFault,
    pub(crate) faults: u32,
    pub(crate) degraded: Option<&'static str>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) fresh_from: Option<Instant>,
}

impl Batch {
    pub(crate) fn new(families: &'static [FamilyInfo]) -> Self {
        Batch {
            shape: Arc::new(Shape::empty(families)),
            building: None,
            values: Vec::new(),
            next_set: 0,
            next_family: 0,
            limit: u32::MAX,
            over_limit: 0,
            malformed: 0,
            first_malformed: None,
            first_fault: FirstFault::default(),
            faults: 0,
            degraded: None,
            deadline: None,
            fresh_from: None,
        }
    }

    /// How long this run may still take to be of use to those who wait for it, or when nothing waits,
    /// before it is stuck; `Duration::MAX` when there is no limit. For collectors that ask several
    /// things that may not answer.
    pub fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// When a question that may take so long at most is to be given up: no later than this run is of use.
    pub fn deadline(&self, at_most: Duration) -> Instant {
        let latest = Instant::now() + at_most;
        self.deadline.map_or(latest, |at| at.min(latest))
    }

    /// What was read at this instant or later is new enough for this run, so that collectors with
    /// a common source read it once a collection. When nothing waits it is now.
    pub fn fresh_from(&self) -> Instant {
        self.fresh_from.unwrap_or_else(Instant::now)
    }

    /// Writes the labels of a row: the values, in the order in which the family names them.
    pub fn labels<const N: usize>(&mut self, values: [&[u8]; N]) -> Labels<N> {
        Labels(self.label_set(false, N, |i| values[i]))
    }

    /// Writes labels with names of their own.
    pub fn label_pairs(&mut self, pairs: &[(&[u8], &[u8])]) -> LabelPairs {
        LabelPairs(self.label_set(true, pairs.len(), |i| {
            let (name, value) = pairs[i / 2];
            if i % 2 == 0 { name } else { value }
        }))
    }

    /// Adds a sample of a declared family.
    pub fn push<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: Labels<N>,
        value: impl Number,
    ) {
        self.put(
            Series { family: family.index().into(), suffix: Suffix::None, set: labels.0 },
            value.to_f64(),
        );
    }

    /// Adds a sample of each of several declared families, all with the same labels: a row whose
    /// samples are many.
    pub fn push_each<const N: usize, V: Number>(
        &mut self,
        labels: Labels<N>,
        samples: impl IntoIterator<Item = (Family<N>, V)>,
    ) {
        let set = labels.0;
        let mut samples = samples.into_iter().map(|(family, value)| {
            let series = Series { family: family.index().into(), suffix: Suffix::None, set };
            (series, value.to_f64())
        });
        if self.building.is_none() && set != REFUSED {
            let known = self.shape.series.get(self.values.len()..).unwrap_or_default();
            for known in known {
                let Some((series, value)) = samples.next() else { return };
                if *known != series {
                    self.put(series, value);
                    break;
                }
                self.values.push(value);
            }
        }
        samples.for_each(|(series, value)| self.put(series, value));
    }

    /// Adds a sample of a declared family without labels.
    pub fn value(&mut self, family: &Family<0>, value: impl Number) {
        let none = self.labels([]);
        self.push(family, none, value);
    }

    /// Adds one sample with labels of its own: `labels` and `push` for a row of one value.
    pub fn row<const N: usize>(
        &mut self,
        family: &Family<N>,
        values: [&[u8]; N],
        value: impl Number,
    ) {
        let labels = self.labels(values);
        self.push(family, labels, value);
    }

    /// Adds a sample of a declared family whose label names differ from the declared ones, because a
    /// setting or the host adds some.
    pub fn push_pairs<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: LabelPairs,
        value: impl Number,
    ) {
        self.put(
            Series { family: family.index().into(), suffix: Suffix::None, set: labels.0 },
            value.to_f64(),
        );
    }

    /// Names a family at run time, once a run; name and help are given in parts so that the collector
    /// need not join them. Samples of other families may come between its own.
    pub fn family(&mut self, name: &[&[u8]], kind: Kind, help: &[&[u8]]) -> NamedFamily {
        if self.building.is_none() {
            let same = self.shape.run_time.get(self.next_family as usize).is_some_and(|known| {
                known.kind == kind
                    && equals_parts(self.shape.span(known.name), name)
                    && equals_parts(self.shape.span(known.help), help)
            });
            // A limit that the last run met is met at the same place again.
            if same && !self.is_full() {
                self.next_family += 1;
                return NamedFamily(NAMED_AT_RUN_TIME | (self.next_family - 1));
            }
        }
        if self.is_full() || self.next_family >= NAMED_AT_RUN_TIME - 1 {
            return NamedFamily(REFUSED);
        }
        let shape = self.depart();
        let entry = RunTimeFamily { name: shape.store(name), help: shape.store(help), kind };
        shape.run_time.push(entry);
        self.next_family += 1;
        NamedFamily(NAMED_AT_RUN_TIME | (self.next_family - 1))
    }

    /// Adds a sample of a family named at run time.
    pub fn push_named(
        &mut self,
        family: NamedFamily,
        suffix: Suffix,
        labels: LabelPairs,
        value: impl Number,
    ) {
        self.put(Series { family: family.0, suffix, set: labels.0 }, value.to_f64());
    }

    /// Names a family at run time and adds its one sample without labels.
    pub fn named_value(&mut self, name: &[&[u8]], kind: Kind, help: &[&[u8]], value: impl Number) {
        let family = self.family(name, kind, help);
        let none = self.label_pairs(&[]);
        self.push_named(family, Suffix::None, none, value);
    }

    /// Takes what a parser made of one line; a line it refused is counted and left out.
    pub fn tolerate<T>(&mut self, parsed: Result<T, Malformed>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(malformed) => {
                self.malformed += 1;
                self.first_malformed.get_or_insert(malformed);
                self.keep_fault("", malformed, true);
                None
            }
        }
    }

    /// As [`Batch::tolerate`], with the name of the file, which is made only for the first fault.
    pub(crate) fn tolerate_in<T>(
        &mut self,
        parsed: Result<T, Malformed>,
        write_path: impl FnOnce(&mut String),
    ) -> Option<T> {
        if parsed.is_err() && self.first_fault.error.is_empty() {
            write_path(&mut self.first_fault.source);
        }
        self.tolerate(parsed)
    }

    /// Says that a part of what this run is to read could not be read, and goes on: a file among
    /// several, a directory. An empty `source` is that of the collector. The first fault of a run and those
    /// of a few other sources are shown to who administers the daemon, and logged when the first one of the run
    /// before was of another source, or one of the others is new. A run with a fault is degraded.
    pub fn fault(&mut self, source: &str, error: impl fmt::Display) {
        self.faults = self.faults.saturating_add(1);
        self.keep_fault(source, error, false);
    }

    fn keep_fault(&mut self, source: &str, error: impl fmt::Display, is_malformed: bool) {
        let first = &mut self.first_fault;
        if first.error.is_empty() {
            first.source.push_str(source);
            first.is_malformed = is_malformed;
            // Writing into a text fails only if the error itself does.
            let _ = write!(first.error, "{error}");
        } else {
            first.keep_beside(source, error);
        }
    }

    /// Says that this run's figures are right but not all there, and why in a word or two, such as
    /// `hidepid`. The first reason is kept.
    pub fn degraded(&mut self, reason: &'static str) {
        self.degraded.get_or_insert(reason);
    }

    fn label_set<'v>(
        &mut self,
        paired: bool,
        count: usize,
        value: impl Fn(usize) -> &'v [u8],
    ) -> u32 {
        if self.is_full() {
            return REFUSED;
        }
        let set = LabelSet { first: 0, count: count as u32, paired };
        if self.building.is_none() {
            let shape = &*self.shape;
            let same = shape.sets.get(self.next_set as usize).is_some_and(|known| {
                known.paired == paired
                    && known.count as usize == count
                    && (0..set.texts()).all(|i| shape.text(known.first as usize + i) == value(i))
            });
            if same {
                self.next_set += 1;
                return self.next_set - 1;
            }
        }
        let shape = self.depart();
        let first = shape.texts.len() as u32;
        for i in 0..set.texts() {
            let span = shape.store(&[value(i)]);
            shape.texts.push(span);
        }
        shape.sets.push(LabelSet { first, ..set });
        self.next_set += 1;
        self.next_set - 1
    }

    /// Whether the run has all that it may have. A row that has begun is finished all the same, so
    /// that what is left out are whole rows; nothing is stored of the others.
    fn is_full(&self) -> bool {
        self.values.len() >= self.limit as usize
            || self.building.as_ref().is_some_and(|shape| shape.bytes.len() >= MAX_TEXT_BYTES)
    }

    fn put(&mut self, series: Series, value: f64) {
        let position = self.values.len();
        // No series of a shape is refused.
        if self.building.is_none() && self.shape.series.get(position) == Some(&series) {
            self.values.push(value);
        } else {
            self.put_other(series, value);
        }
    }

    /// Adds a sample that the last run did not have at this place.
    #[cold]
    fn put_other(&mut self, series: Series, value: f64) {
        if series.set == REFUSED || series.family == REFUSED {
            self.over_limit = self.over_limit.saturating_add(1);
            return;
        }
        self.depart().series.push(series);
        self.values.push(value);
    }

    /// The shape being written; at the first difference, what was equal so far is copied into it.
    pub(crate) fn depart(&mut self) -> &mut Shape {
        let (series, sets, families) = (self.values.len(), self.next_set, self.next_family);
        let last = &self.shape;
        self.building.get_or_insert_with(|| {
            Box::new(last.beginning(series, sets as usize, families as usize))
        })
    }
}

fn equals_parts(text: &[u8], parts: &[&[u8]]) -> bool {
    let mut rest = text;
    for part in parts {
        match rest.strip_prefix(*part) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.is_empty()
}
