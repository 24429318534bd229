//! The batch: what one run of one collector produced.
//!
//! A batch is a shape (which series, in order) and a column of values. A collector pushes row by
//! row; each push is compared with the same place of the last run. While everything is equal only
//! the value is stored and nothing is allocated; at the first difference the rest of the shape is
//! written anew, under a new id. Encoders and outputs keep what they derive from a shape by its id.

use crate::error::Malformed;
use crate::family::{Family, FamilyInfo, Kind};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Families made at run time have this bit in their index.
const NAMED: u16 = 1 << 15;

/// A text in the arena of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// One set of labels: values alone, whose names the family knows, or names and values in turn.
#[derive(Clone, Copy, Debug)]
struct LabelSet {
    first: u32,
    count: u16,
    paired: bool,
}

/// A family whose name was made at run time.
#[derive(Clone, Copy, Debug)]
struct NamedFamilyEntry {
    name: Span,
    help: Span,
    kind: Kind,
}

/// Which line of a histogram or summary a sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suffix {
    /// The family's own name: every counter and gauge, and a summary's quantiles.
    #[default]
    None,
    /// `_bucket`, with the label `le`.
    Bucket,
    /// `_sum`.
    Sum,
    /// `_count`.
    Count,
}

impl Suffix {
    /// What follows the family's name.
    pub const fn text(self) -> &'static str {
        match self {
            Suffix::None => "",
            Suffix::Bucket => "_bucket",
            Suffix::Sum => "_sum",
            Suffix::Count => "_count",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    family: u16,
    suffix: Suffix,
    set: u32,
}

/// Which series a run produced, in order; shared by all runs that produced the same.
#[derive(Debug)]
pub struct Shape {
    id: u64,
    families: &'static [FamilyInfo],
    bytes: Vec<u8>,
    texts: Vec<Span>,
    sets: Vec<LabelSet>,
    named: Vec<NamedFamilyEntry>,
    series: Vec<Series>,
    /// Positions of samples that are not shown, ascending: doubles, and families at odds in type.
    dropped: Vec<u32>,
    duplicates: u32,
    conflicts: u32,
}

impl Shape {
    fn empty(families: &'static [FamilyInfo]) -> Self {
        Shape {
            id: next_shape_id(),
            families,
            bytes: Vec::new(),
            texts: Vec::new(),
            sets: Vec::new(),
            named: Vec::new(),
            series: Vec::new(),
            dropped: Vec::new(),
            duplicates: 0,
            conflicts: 0,
        }
    }

    /// A number no other shape of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many samples, those not shown included: the length of the column of values.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The series that are shown, each with its position in the column of values.
    pub fn series(&self) -> impl Iterator<Item = (usize, SeriesRef<'_>)> {
        let mut dropped = self.dropped.iter().copied().peekable();
        (0..self.series.len()).filter_map(move |position| {
            if dropped.next_if_eq(&(position as u32)).is_some() {
                return None;
            }
            Some((position, self.at(position)))
        })
    }

    fn at(&self, position: usize) -> SeriesRef<'_> {
        SeriesRef { shape: self, series: self.series[position] }
    }

    fn text(&self, index: usize) -> &[u8] {
        self.span(self.texts[index])
    }

    fn span(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    fn store(&mut self, parts: &[&[u8]]) -> Span {
        let start = self.bytes.len() as u32;
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        Span { start, end: self.bytes.len() as u32 }
    }

    /// Finds doubles and families of two types, once for each new shape.
    fn seal(&mut self) {
        self.id = next_shape_id();
        self.dropped.clear();
        let conflicts = self.find_conflicts();
        let duplicates = self.find_duplicates(&conflicts);
        self.conflicts = conflicts.len() as u32;
        self.duplicates = duplicates.len() as u32;
        self.dropped.extend(conflicts);
        self.dropped.extend(duplicates);
        self.dropped.sort_unstable();
    }

    /// Positions whose family has another type than the first family of that name.
    fn find_conflicts(&self) -> Vec<u32> {
        if self.named.is_empty() {
            return Vec::new();
        }
        let mut names: Vec<(&[u8], usize, Kind)> = Vec::new();
        for (position, family) in self.named.iter().enumerate() {
            names.push((self.span(family.name), self.families.len() + position, family.kind));
        }
        names.extend(
            self.families
                .iter()
                .enumerate()
                .map(|(i, family)| (family.name.as_bytes(), i, family.kind)),
        );
        names.sort_unstable();
        let mut at_odds: Vec<usize> = Vec::new();
        for same in names.chunk_by(|a, b| a.0 == b.0) {
            at_odds
                .extend(same.iter().filter(|family| family.2 != same[0].2).map(|family| family.1));
        }
        if at_odds.is_empty() {
            return Vec::new();
        }
        let global = |family: u16| match family & NAMED {
            0 => usize::from(family),
            _ => self.families.len() + usize::from(family & !NAMED),
        };
        (0..self.series.len() as u32)
            .filter(|&i| at_odds.contains(&global(self.series[i as usize].family)))
            .collect()
    }

    /// Positions of samples whose name and labels an earlier one has.
    fn find_duplicates(&self, ignore: &[u32]) -> Vec<u32> {
        let state = std::hash::RandomState::new();
        let mut key = SeriesKey::default();
        let mut hashes: Vec<(u64, u32)> = Vec::with_capacity(self.series.len());
        for position in 0..self.series.len() {
            if ignore.binary_search(&(position as u32)).is_ok() {
                continue;
            }
            let mut hasher = state.build_hasher();
            hasher.write(key.of(self.at(position)));
            hashes.push((hasher.finish(), position as u32));
        }
        hashes.sort_unstable();
        let mut other = SeriesKey::default();
        let mut duplicates = Vec::new();
        for alike in hashes.chunk_by(|a, b| a.0 == b.0) {
            for (i, (_, later)) in alike.iter().enumerate() {
                let later_key = key.of(self.at(*later as usize));
                if alike[..i]
                    .iter()
                    .any(|(_, earlier)| other.of(self.at(*earlier as usize)) == later_key)
                {
                    duplicates.push(*later);
                }
            }
        }
        duplicates
    }
}

/// Bytes that are equal for two series when their names and label sets are, as a reader sees them:
/// label order does not count, and bytes that are not UTF-8 read as U+FFFD.
#[derive(Default)]
struct SeriesKey {
    bytes: Vec<u8>,
}

impl SeriesKey {
    fn of(&mut self, series: SeriesRef<'_>) -> &[u8] {
        self.bytes.clear();
        self.bytes.extend_from_slice(series.family_name());
        self.bytes.extend_from_slice(series.suffix().text().as_bytes());
        self.bytes.push(0xff);
        let mut labels: Vec<(&[u8], &[u8])> = series.labels().collect();
        labels.sort_unstable();
        for (name, value) in labels {
            // An empty label value means the same as no such label.
            if value.is_empty() {
                continue;
            }
            self.bytes.extend_from_slice(name);
            self.bytes.push(0xff);
            self.bytes.extend_from_slice(String::from_utf8_lossy(value).as_bytes());
            self.bytes.push(0xff);
        }
        &self.bytes
    }
}

fn next_shape_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One series of a shape: its family and labels.
#[derive(Clone, Copy)]
pub struct SeriesRef<'a> {
    shape: &'a Shape,
    series: Series,
}

impl<'a> SeriesRef<'a> {
    /// The family's name, without the sample's suffix.
    pub fn family_name(&self) -> &'a [u8] {
        match self.named() {
            Some(named) => self.shape.span(named.name),
            None => self.declared().name.as_bytes(),
        }
    }

    /// The family's help.
    pub fn help(&self) -> &'a [u8] {
        match self.named() {
            Some(named) => self.shape.span(named.help),
            None => self.declared().help.as_bytes(),
        }
    }

    /// The family's type.
    pub fn kind(&self) -> Kind {
        self.named().map_or_else(|| self.declared().kind, |named| named.kind)
    }

    /// Which line of a histogram or summary it is.
    pub fn suffix(&self) -> Suffix {
        self.series.suffix
    }

    /// Names and values of the labels, as they were pushed; values may be any bytes.
    pub fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let shape = self.shape;
        let set = shape.sets[self.series.set as usize];
        let names = if set.paired { &[] } else { self.declared().labels };
        let first = set.first as usize;
        (0..usize::from(set.count)).map(move |i| {
            if set.paired {
                (shape.text(first + 2 * i), shape.text(first + 2 * i + 1))
            } else {
                (names[i].as_bytes(), shape.text(first + i))
            }
        })
    }

    /// A number that two series of one shape share when they belong to one family.
    pub fn family_id(&self) -> u16 {
        self.series.family
    }

    fn named(&self) -> Option<NamedFamilyEntry> {
        (self.series.family & NAMED != 0)
            .then(|| self.shape.named[usize::from(self.series.family & !NAMED)])
    }

    fn declared(&self) -> &'static FamilyInfo {
        &self.shape.families[usize::from(self.series.family & !NAMED)]
    }
}

/// The labels of a row, written once and referred to by every push of the row.
#[derive(Clone, Copy, Debug)]
pub struct Labels<const N: usize>(u32);

/// Labels with names of their own, for families whose labels the host or the user decides.
#[derive(Clone, Copy, Debug)]
pub struct LabelPairs(u32);

/// A family made at run time; valid for the run that made it.
#[derive(Clone, Copy, Debug)]
pub struct NamedFamily(u16);

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

/// What a run left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Samples whose name and labels an earlier one has.
    pub duplicates: u32,
    /// Samples of a family that has another type elsewhere in the run.
    pub conflicts: u32,
    /// Samples beyond the collector's `max_series`.
    pub limit: u32,
}

/// What one run of one collector produced; reused from run to run.
pub struct Batch {
    shape: Arc<Shape>,
    /// The shape being written since the run left the last one's; its memory is kept.
    building: Option<Box<Shape>>,
    values: Vec<f64>,
    next_set: u32,
    next_named: u16,
    limit: u32,
    over_limit: u32,
    malformed: u32,
    first_malformed: Option<Malformed>,
    degraded: Option<&'static str>,
    deadline: Option<Instant>,
    fresh_from: Option<Instant>,
}

impl Batch {
    /// An empty batch for a collector with these families.
    pub fn new(families: &'static [FamilyInfo]) -> Self {
        Batch {
            shape: Arc::new(Shape::empty(families)),
            building: None,
            values: Vec::new(),
            next_set: 0,
            next_named: 0,
            limit: u32::MAX,
            over_limit: 0,
            malformed: 0,
            first_malformed: None,
            degraded: None,
            deadline: None,
            fresh_from: None,
        }
    }

    // What a collector calls.

    /// How long this run may still take to be of use to whoever waits for it; `Duration::MAX` when
    /// nobody does. For collectors that ask several things that may not answer.
    pub fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// What was read at this instant or later is new enough for this run, so that collectors with
    /// a common source read it once a collection. Without anybody who waits it is now.
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
            Series { family: family.index(), suffix: Suffix::None, set: labels.0 },
            value.to_f64(),
        );
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
            Series { family: family.index(), suffix: Suffix::None, set: labels.0 },
            value.to_f64(),
        );
    }

    /// Names a family at run time; name and help are given in parts so that nobody has to join them.
    ///
    /// Name it once a run and push its samples one after another or not, as it comes.
    pub fn family(&mut self, name: &[&[u8]], kind: Kind, help: &[&[u8]]) -> NamedFamily {
        if self.building.is_none() {
            let same = self.shape.named.get(usize::from(self.next_named)).is_some_and(|known| {
                known.kind == kind
                    && equals_parts(self.shape.span(known.name), name)
                    && equals_parts(self.shape.span(known.help), help)
            });
            if same {
                self.next_named += 1;
                return NamedFamily(NAMED | (self.next_named - 1));
            }
        }
        // 32,768 run-time names are far beyond any host; more would share the last one's index.
        let index = self.next_named.min(NAMED - 1);
        let shape = self.depart();
        if usize::from(index) == shape.named.len() {
            let entry = NamedFamilyEntry { name: shape.store(name), help: shape.store(help), kind };
            shape.named.push(entry);
        }
        self.next_named = index + 1;
        NamedFamily(NAMED | index)
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
                None
            }
        }
    }

    /// Says that this run's figures are right but not all there, and why in a word or two, such as
    /// `hidepid`.
    pub fn degraded(&mut self, reason: &'static str) {
        self.degraded = Some(reason);
    }

    // What the engine calls.

    /// Makes ready for a run that will be compared with an earlier one of the same collector.
    ///
    /// At most `limit` samples are taken (0: no limit).
    pub fn begin(&mut self, last: Option<&Batch>, limit: u32) {
        if let Some(last) = last {
            self.shape = Arc::clone(&last.shape);
        }
        self.building = None;
        self.values.clear();
        self.values.reserve(self.shape.len());
        (self.next_set, self.next_named) = (0, 0);
        self.limit = if limit == 0 { u32::MAX } else { limit };
        (self.over_limit, self.malformed) = (0, 0);
        (self.first_malformed, self.degraded) = (None, None);
    }

    /// Tells the collector how old what it takes from others may be.
    pub fn set_fresh_from(&mut self, instant: Option<Instant>) {
        self.fresh_from = instant;
    }

    /// Tells the collector by when its run is of use.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Ends a run. A run that stopped short of the last one's series has a shape of its own.
    pub fn seal(&mut self) {
        if self.building.is_none() && self.values.len() < self.shape.series.len() {
            self.depart();
        }
        if let Some(mut shape) = self.building.take() {
            shape.seal();
            self.shape = Arc::from(shape);
        }
    }

    /// Throws away what was pushed, keeping what else is known of the run.
    pub fn discard(&mut self) {
        self.building = None;
        self.values.clear();
        (self.next_set, self.next_named) = (0, 0);
    }

    // What a reader of a sealed batch calls.

    /// Which series it has.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Their values, by position.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The series that are shown, with their values.
    pub fn samples(&self) -> impl Iterator<Item = (SeriesRef<'_>, f64)> {
        self.shape.series().map(|(position, series)| (series, self.values[position]))
    }

    /// How many samples are shown.
    pub fn len(&self) -> usize {
        self.shape.series.len() - self.shape.dropped.len()
    }

    /// Whether no sample is shown.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was left out, and why.
    pub fn dropped(&self) -> Dropped {
        Dropped {
            duplicates: self.shape.duplicates,
            conflicts: self.shape.conflicts,
            limit: self.over_limit,
        }
    }

    /// How many lines the parser refused, and what it said of the first.
    pub fn malformed(&self) -> Option<(u32, Malformed)> {
        self.first_malformed.map(|first| (self.malformed, first))
    }

    /// Why the figures are not all there, if a collector said so.
    pub fn degraded_reason(&self) -> Option<&'static str> {
        self.degraded
    }

    fn label_set<'v>(
        &mut self,
        paired: bool,
        count: usize,
        value: impl Fn(usize) -> &'v [u8],
    ) -> u32 {
        let texts = if paired { 2 * count } else { count };
        if self.building.is_none() {
            let shape = &*self.shape;
            let same = shape.sets.get(self.next_set as usize).is_some_and(|set| {
                set.paired == paired
                    && usize::from(set.count) == count
                    && (0..texts).all(|i| shape.text(set.first as usize + i) == value(i))
            });
            if same {
                self.next_set += 1;
                return self.next_set - 1;
            }
        }
        let index = self.next_set;
        let shape = self.depart();
        let first = shape.texts.len() as u32;
        for i in 0..texts {
            let span = shape.store(&[value(i)]);
            shape.texts.push(span);
        }
        shape.sets.push(LabelSet { first, count: count as u16, paired });
        self.next_set = index + 1;
        index
    }

    fn put(&mut self, series: Series, value: f64) {
        let position = self.values.len();
        if position as u32 >= self.limit {
            self.over_limit = self.over_limit.saturating_add(1);
            return;
        }
        if self.building.is_some() || self.shape.series.get(position) != Some(&series) {
            self.depart().series.push(series);
        }
        self.values.push(value);
    }

    /// The shape being written; at the first difference, what was equal so far is copied into it.
    fn depart(&mut self) -> &mut Shape {
        let (next_set, next_named) = (self.next_set as usize, usize::from(self.next_named));
        let (last, pushed) = (&self.shape, self.values.len());
        self.building.get_or_insert_with(|| {
            let sets = &last.sets[..next_set];
            let named = &last.named[..next_named];
            let texts = sets.last().map_or(0, |set| {
                set.first as usize + usize::from(set.count) * if set.paired { 2 } else { 1 }
            });
            let texts = &last.texts[..texts];
            let bytes = texts
                .last()
                .map_or(0, |span| span.end)
                .max(named.last().map_or(0, |family| family.help.end));
            Box::new(Shape {
                bytes: last.bytes[..bytes as usize].to_vec(),
                texts: texts.to_vec(),
                sets: sets.to_vec(),
                named: named.to_vec(),
                series: last.series[..pushed].to_vec(),
                ..Shape::empty(last.families)
            })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    families! {
        /// Reads.
        READS: counter = "t_reads_total" [device];
        /// Load.
        LOAD: gauge = "t_load";
    }

    fn run(last: Option<&Batch>, rows: &[(&str, f64)], limit: u32) -> Batch {
        let mut batch = Batch::new(FAMILIES);
        batch.begin(last, limit);
        batch.value(&LOAD, 1.5);
        for (device, value) in rows {
            batch.row(&READS, [device.as_bytes()], *value);
            batch.named_value(
                &[b"t_", device.as_bytes()],
                Kind::Untyped,
                &[b"Of ", device.as_bytes()],
                *value,
            );
        }
        batch.seal();
        batch
    }

    fn text(batch: &Batch) -> Vec<String> {
        batch
            .samples()
            .map(|(series, value)| {
                let labels: Vec<String> = series
                    .labels()
                    .map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii()))
                    .collect();
                format!("{}{{{}}} {value}", series.family_name().escape_ascii(), labels.join(","))
            })
            .collect()
    }

    #[test]
    fn equal_runs_share_a_shape() {
        let first = run(None, &[("sda", 1.0), ("sdb", 2.0)], 0);
        let second = run(Some(&first), &[("sda", 3.0), ("sdb", 4.0)], 0);
        assert!(Arc::ptr_eq(first.shape(), second.shape()));
        assert_eq!(
            text(&second),
            [
                "t_load{} 1.5",
                "t_reads_total{device=sda} 3",
                "t_sda{} 3",
                "t_reads_total{device=sdb} 4",
                "t_sdb{} 4"
            ]
        );
    }

    #[test]
    fn every_kind_of_difference_makes_a_new_shape() {
        let first = run(None, &[("sda", 1.0), ("sdb", 2.0)], 0);
        for rows in [
            &[("sda", 1.0)][..],
            &[("sdb", 1.0), ("sda", 1.0)],
            &[],
            &[("sda", 1.0), ("sdb", 2.0), ("sdc", 3.0)],
        ] {
            let fresh = run(None, rows, 0);
            let after = run(Some(&first), rows, 0);
            assert_eq!(text(&fresh), text(&after));
            assert_ne!(first.shape().id(), after.shape().id());
            // And back again.
            let again = run(Some(&after), &[("sda", 1.0), ("sdb", 2.0)], 0);
            assert_eq!(text(&first), text(&again));
        }
    }

    #[test]
    fn doubles_are_dropped_and_counted() {
        let batch = run(None, &[("sda", 1.0), ("sda", 2.0)], 0);
        assert_eq!(text(&batch), ["t_load{} 1.5", "t_reads_total{device=sda} 1", "t_sda{} 1"]);
        assert_eq!(batch.dropped(), Dropped { duplicates: 2, conflicts: 0, limit: 0 });
        let mut batch = Batch::new(FAMILIES);
        batch.begin(None, 0);
        batch.row(&READS, [b"a\xff"], 1);
        batch.row(&READS, [b"a\xfe"], 1);
        batch.seal();
        assert_eq!(batch.dropped().duplicates, 1, "both read as a and U+FFFD");
    }

    #[test]
    fn families_at_odds_in_type_are_dropped() {
        let mut batch = Batch::new(FAMILIES);
        batch.begin(None, 0);
        batch.named_value(&[b"t_load"], Kind::Counter, &[b"x"], 1);
        batch.named_value(&[b"t_x"], Kind::Counter, &[b"x"], 1);
        batch.value(&LOAD, 2);
        batch.seal();
        assert_eq!(batch.dropped().conflicts, 1);
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn the_limit_holds() {
        let batch = run(None, &[("sda", 1.0), ("sdb", 2.0)], 2);
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.dropped().limit, 3);
    }
}
