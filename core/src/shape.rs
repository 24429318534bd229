//! The shape: which series a run produced, in order.
//!
//! A shape is written by a [`Batch`](crate::batch::Batch), sealed at the end of the run, and then
//! shared by every run that produces the same. It knows the identity of each series, and which of
//! them are not shown.

use crate::by_name::ByName;
use crate::family::{FamilyInfo, Kind, Since, Unit};
use crate::identity::{Difference, SeriesId, SeriesIdHasher};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A family that was named at run time has this bit in its index.
pub(crate) const NAMED_AT_RUN_TIME: u32 = 1 << 31;

/// A text in the bytes of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    pub(crate) end: u32,
}

/// One set of labels: values alone, whose names the family knows, or names and values in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelSet {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) paired: bool,
}

impl LabelSet {
    /// How many texts it takes.
    pub(crate) fn texts(self) -> usize {
        self.count as usize * if self.paired { 2 } else { 1 }
    }
}

/// A family whose name was made at run time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTimeFamily {
    pub(crate) name: Span,
    pub(crate) help: Span,
    pub(crate) kind: Kind,
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

    /// What follows a family's name in the names of its samples, the name itself aside.
    pub const fn of_kind(kind: Kind) -> &'static [Suffix] {
        match kind {
            Kind::Histogram => &[Suffix::Bucket, Suffix::Sum, Suffix::Count],
            Kind::Summary => &[Suffix::Sum, Suffix::Count],
            Kind::Counter | Kind::Gauge | Kind::Untyped => &[],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) family: u32,
    pub(crate) suffix: Suffix,
    pub(crate) set: u32,
}

/// A family that has samples to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShownFamily {
    /// Its index, as its series have it.
    pub(crate) family: u32,
    /// How many samples it has.
    pub(crate) samples: u32,
}

/// What a run left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Samples whose name and labels an earlier one has.
    pub duplicates: u32,
    /// Samples of a family that has another type elsewhere, or whose name is that of another
    /// family's samples (a gauge `x_count` beside a summary `x`).
    pub conflicts: u32,
    /// Samples beyond the collector's `max_series`.
    pub limit: u32,
}

impl Dropped {
    /// Whether nothing was left out.
    pub fn is_none(&self) -> bool {
        *self == Dropped::default()
    }
}

/// Which series a run produced, in order; shared by all runs that produced the same.
#[derive(Debug)]
pub struct Shape {
    id: u64,
    families: &'static [FamilyInfo],
    pub(crate) bytes: Vec<u8>,
    pub(crate) texts: Vec<Span>,
    pub(crate) sets: Vec<LabelSet>,
    pub(crate) run_time: Vec<RunTimeFamily>,
    pub(crate) series: Vec<Series>,
    /// Of each series; while the shape is written, of those that were copied from the last one.
    ids: Vec<SeriesId>,
    /// By name.
    shown_families: Vec<ShownFamily>,
    /// Positions of samples that are not shown, ascending.
    hidden: Vec<u32>,
    duplicates: u32,
    conflicts: u32,
}

impl Shape {
    /// A shape without series.
    pub(crate) fn empty(families: &'static [FamilyInfo]) -> Self {
        Shape {
            id: next_shape_id(),
            families,
            bytes: Vec::new(),
            texts: Vec::new(),
            sets: Vec::new(),
            run_time: Vec::new(),
            series: Vec::new(),
            ids: Vec::new(),
            shown_families: Vec::new(),
            hidden: Vec::new(),
            duplicates: 0,
            conflicts: 0,
        }
    }

    /// A shape that begins as this one does and is to be written on.
    pub(crate) fn beginning(&self, series: usize, sets: usize, run_time: usize) -> Self {
        let (sets, run_time) = (&self.sets[..sets], &self.run_time[..run_time]);
        let texts = sets.last().map_or(0, |set| set.first as usize + set.texts());
        let texts = &self.texts[..texts];
        let bytes = texts
            .last()
            .map_or(0, |span| span.end)
            .max(run_time.last().map_or(0, |family| family.help.end));
        Shape {
            bytes: self.bytes[..bytes as usize].to_vec(),
            texts: texts.to_vec(),
            sets: sets.to_vec(),
            run_time: run_time.to_vec(),
            series: self.series[..series].to_vec(),
            ids: self.ids[..series].to_vec(),
            ..Shape::empty(self.families)
        }
    }

    /// The families that its collector declares.
    pub(crate) fn families(&self) -> &'static [FamilyInfo] {
        self.families
    }

    /// A number that no other shape of this process has.
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

    /// How many samples are shown.
    pub fn shown(&self) -> usize {
        self.series.len() - self.hidden.len()
    }

    /// The series that are shown, each with its position in the column of values.
    pub fn series(&self) -> impl Iterator<Item = (usize, SeriesRef<'_>)> {
        let mut hidden = self.hidden.iter().copied().peekable();
        (0..self.series.len()).filter_map(move |position| {
            if hidden.next_if_eq(&(position as u32)).is_some() {
                return None;
            }
            Some((position, self.at(position)))
        })
    }

    /// The series at a position, shown or not.
    pub fn get(&self, position: usize) -> Option<SeriesRef<'_>> {
        (position < self.series.len()).then(|| self.at(position))
    }

    /// Which series have gone since this shape, and which have come with the later one; positions
    /// are places in the columns of values.
    pub fn diff(&self, later: &Shape) -> Difference {
        if self.id == later.id {
            return Difference::default();
        }
        let ids = |shape: &Shape| -> Vec<(usize, SeriesId)> {
            shape.series().map(|(position, series)| (position, series.id())).collect()
        };
        Difference::between(ids(self).into_iter(), ids(later).into_iter())
    }

    /// What a run of this shape leaves out, `max_series` aside.
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped { duplicates: self.duplicates, conflicts: self.conflicts, limit: 0 }
    }

    /// The families with samples to show, by name. Two of one name (and so of one type) stand beside each other.
    pub(crate) fn shown_families(&self) -> &[ShownFamily] {
        &self.shown_families
    }

    fn at(&self, position: usize) -> SeriesRef<'_> {
        SeriesRef { shape: self, position: position as u32 }
    }

    pub(crate) fn text(&self, index: usize) -> &[u8] {
        self.span(self.texts[index])
    }

    pub(crate) fn span(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub(crate) fn store(&mut self, parts: &[&[u8]]) -> Span {
        let start = self.bytes.len() as u32;
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        Span { start, end: self.bytes.len() as u32 }
    }

    /// How many families there are, declared and named at run time.
    fn family_count(&self) -> usize {
        self.families.len() + self.run_time.len()
    }

    /// The place of a family in a list of all: first the declared ones.
    pub(crate) fn ordinal(&self, family: u32) -> usize {
        match family & NAMED_AT_RUN_TIME {
            0 => family as usize,
            _ => self.families.len() + (family & !NAMED_AT_RUN_TIME) as usize,
        }
    }

    /// The name of a family.
    pub(crate) fn family_name(&self, family: u32) -> &[u8] {
        match family & NAMED_AT_RUN_TIME {
            0 => self.families[family as usize].name.as_bytes(),
            _ => self.span(self.run_time[(family & !NAMED_AT_RUN_TIME) as usize].name),
        }
    }

    /// The type of a family.
    pub(crate) fn family_kind(&self, family: u32) -> Kind {
        match family & NAMED_AT_RUN_TIME {
            0 => self.families[family as usize].kind,
            _ => self.run_time[(family & !NAMED_AT_RUN_TIME) as usize].kind,
        }
    }

    /// Names the series that are new, and finds duplicates and conflicts, once for each new shape.
    pub(crate) fn seal(&mut self) {
        self.id = next_shape_id();
        self.ids.reserve_exact(self.series.len() - self.ids.len());
        for position in self.ids.len()..self.series.len() {
            let id = self.at(position).identify();
            self.ids.push(id);
        }
        let conflicting = self.conflicting_families();
        let mut seen: HashSet<SeriesId, SeriesIdHasher> =
            HashSet::with_capacity_and_hasher(self.series.len(), SeriesIdHasher::default());
        let mut samples = vec![0u32; self.family_count()];
        for (position, series) in self.series.iter().enumerate() {
            let ordinal = self.ordinal(series.family);
            if conflicting.get(ordinal) == Some(&true) {
                self.conflicts += 1;
            } else if !seen.insert(self.ids[position]) {
                self.duplicates += 1;
            } else {
                samples[ordinal] += 1;
                continue;
            }
            self.hidden.push(position as u32);
        }
        let families = samples.iter().enumerate().filter(|(_, samples)| **samples > 0);
        let mut shown: Vec<ShownFamily> = families
            .map(|(ordinal, samples)| ShownFamily {
                family: self.index(ordinal),
                samples: *samples,
            })
            .collect();
        shown.sort_by_key(|shown| self.family_name(shown.family));
        self.shown_families = shown;
    }

    fn index(&self, ordinal: usize) -> u32 {
        match ordinal.checked_sub(self.families.len()) {
            None => ordinal as u32,
            Some(named) => NAMED_AT_RUN_TIME | named as u32,
        }
    }

    /// By the ordinal of a family, whether its samples are left out: it has another type than the first
    /// family of its name, or its name is that of a histogram's or summary's samples. Empty if
    /// there is no such family.
    fn conflicting_families(&self) -> Vec<bool> {
        // Declared families are of one collector, whose author saw to it.
        if self.run_time.is_empty() {
            return Vec::new();
        }
        let families = (0..self.family_count()).map(|ordinal| {
            let family = self.index(ordinal);
            (self.family_name(family), family)
        });
        // Of one name, the first comes first.
        let groups = ByName::new(families);
        let mut conflicting = vec![false; self.family_count()];
        for group in 0..groups.len() {
            let kind = self.family_kind(*groups.first(group));
            for family in groups.members(group).filter(|family| self.family_kind(**family) != kind)
            {
                conflicting[self.ordinal(*family)] = true;
            }
        }
        for group in 0..groups.len() {
            let first = *groups.first(group);
            if conflicting[self.ordinal(first)] {
                continue;
            }
            // What is left is whole: the histogram or summary, not half of it.
            for suffix in Suffix::of_kind(self.family_kind(first)) {
                let Some(other) = groups.find(groups.name(group), suffix.text()) else { continue };
                for family in groups.members(other) {
                    conflicting[self.ordinal(*family)] = true;
                }
            }
        }
        conflicting
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
    position: u32,
}

impl<'a> SeriesRef<'a> {
    /// What names it in every run, shape, reload and process. Only of a sealed shape.
    pub fn id(&self) -> SeriesId {
        self.shape.ids[self.position as usize]
    }

    /// The family's name, without the sample's suffix.
    pub fn family_name(&self) -> &'a [u8] {
        self.shape.family_name(self.series().family)
    }

    /// The family's help.
    pub fn help(&self) -> &'a [u8] {
        match self.run_time() {
            Some(family) => self.shape.span(family.help),
            None => self.declared().help.as_bytes(),
        }
    }

    /// The family's type.
    pub fn kind(&self) -> Kind {
        self.shape.family_kind(self.series().family)
    }

    /// The unit of the family's values; of a family named at run time, what its name says.
    pub fn unit(&self) -> Unit {
        match self.run_time() {
            Some(family) => Unit::of_name(self.shape.span(family.name)),
            None => self.declared().unit,
        }
    }

    /// Since when the family counts, if its declaration says so itself; otherwise its collector does.
    pub fn since(&self) -> Option<Since> {
        match self.run_time() {
            Some(_) => None,
            None => self.declared().since,
        }
    }

    /// Which line of a histogram or summary it is.
    pub fn suffix(&self) -> Suffix {
        self.series().suffix
    }

    /// Names and values of the labels, as they were pushed; values may be any bytes.
    pub fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let shape = self.shape;
        let set = shape.sets[self.series().set as usize];
        let names = if set.paired { &[] } else { self.declared().labels };
        let first = set.first as usize;
        (0..set.count as usize).map(move |i| {
            if set.paired {
                (shape.text(first + 2 * i), shape.text(first + 2 * i + 1))
            } else {
                (names[i].as_bytes(), shape.text(first + i))
            }
        })
    }

    /// Whether this label is the bound of a bucket (`le`) or a quantile, which tells the samples of
    /// one histogram or summary apart.
    pub fn is_bound(&self, label: &[u8]) -> bool {
        match self.kind() {
            Kind::Histogram => label == b"le" && self.suffix() == Suffix::Bucket,
            Kind::Summary => label == b"quantile" && self.suffix() == Suffix::None,
            Kind::Counter | Kind::Gauge | Kind::Untyped => false,
        }
    }

    /// What names the histogram or summary that this is a sample of, the same for all its samples;
    /// of another family, what names the sample.
    pub fn metric_id(&self) -> SeriesId {
        match self.kind() {
            Kind::Histogram | Kind::Summary => SeriesId::of(
                &[self.family_name()],
                self.labels().filter(|(label, _)| !self.is_bound(label)),
            ),
            Kind::Counter | Kind::Gauge | Kind::Untyped => self.id(),
        }
    }

    /// Whether other collectors declare the family, too, so that a series of it which another one has
    /// is no incident; see [`FamilyInfo::shared`].
    pub fn is_shared(&self) -> bool {
        self.run_time().is_none() && self.declared().shared
    }

    /// A number that two series of one shape share when they belong to one family.
    pub fn family_id(&self) -> u32 {
        self.series().family
    }

    /// A number that two series of one shape share when they have the same label values; where their
    /// families are declared, these may name them differently.
    pub fn label_set_id(&self) -> u32 {
        self.series().set
    }

    fn identify(&self) -> SeriesId {
        SeriesId::of(&[self.family_name(), self.suffix().text().as_bytes()], self.labels())
    }

    fn series(&self) -> Series {
        self.shape.series[self.position as usize]
    }

    fn run_time(&self) -> Option<RunTimeFamily> {
        let family = self.series().family;
        (family & NAMED_AT_RUN_TIME != 0)
            .then(|| self.shape.run_time[(family & !NAMED_AT_RUN_TIME) as usize])
    }

    fn declared(&self) -> &'static FamilyInfo {
        &self.shape.families[(self.series().family & !NAMED_AT_RUN_TIME) as usize]
    }
}
