//! The order of a page: the families of a snapshot by name, each written once.
//!
//! Which samples are shown was settled when the snapshot was sealed. Here is only what a format
//! needs: the order, and how OpenMetrics declares families whose names get in each other's way.

use super::Format;
use super::rendering::{Family, Rendering, write_header};
use std::ops::Range;
use std::sync::Arc;
use vitald_core::by_name::ByName;
use vitald_core::family::Kind;
use vitald_core::shape::{SeriesRef, Suffix};
use vitald_core::snapshot::Snapshot;

/// Where a step's HELP and TYPE lines come from.
#[derive(Clone, Debug)]
pub(super) enum Header {
    /// From the bytes of its rendering.
    Kept(Range<u32>),
    /// From nowhere: it goes on with the family of the step before.
    None,
    /// From the bytes of the layout.
    Own(Range<u32>),
    /// From the family of the series at this position, whose rendering is not kept.
    Fresh(u32),
}

/// Samples of one family and one part that follow each other on the page.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Which part of the snapshot.
    pub(super) part: u32,
    pub(super) header: Header,
    /// Where the name of the family is in the bytes of the rendering.
    pub(super) name: Range<u32>,
    /// Which entries of the rendering.
    pub(super) entries: Range<u32>,
}

/// The order of a page, for the snapshots of one order.
#[derive(Debug)]
pub(super) struct Layout {
    /// Which snapshots it is for.
    order: u64,
    /// One for each part of the snapshot that has samples, in the order of the parts.
    pub(super) parts: Vec<Option<Arc<Rendering>>>,
    pub(super) steps: Vec<Step>,
    /// Headers that differ from the usual.
    pub(super) bytes: Vec<u8>,
    /// About how long the page is.
    pub(super) page_size: usize,
    /// How many samples it has.
    pub(super) samples: usize,
}

/// A family in one part.
#[derive(Clone, Copy)]
struct Member<'a> {
    part: u32,
    rendering: &'a Rendering,
    family: &'a Family,
    /// Whether some of its samples are not shown, because of other parts.
    thinned: bool,
}

/// The families of the page: of each, its members in the order of the parts.
type Groups<'a> = ByName<'a, Member<'a>>;

/// How a family is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// As its rendering has it.
    Usual,
    /// As unknown, under its full name.
    Unknown,
    /// Each of its sample names as an unknown family.
    Apart,
}

/// Every suffix of a sample, in the order of a page.
const SUFFIXES: [Suffix; 4] = [Suffix::None, Suffix::Bucket, Suffix::Sum, Suffix::Count];

impl Layout {
    /// Puts the renderings of a snapshot's parts in order.
    pub(super) fn new(
        snapshot: &Snapshot,
        parts: Vec<Option<Arc<Rendering>>>,
        format: Format,
    ) -> Self {
        let members = parts.iter().enumerate().flat_map(|(part, rendering)| {
            let hidden = snapshot.hidden(part);
            rendering.iter().flat_map(move |rendering| {
                rendering.families.iter().filter_map(move |family| {
                    let (shown, thinned) = rendering.shown(family, hidden);
                    let member = Member { part: part as u32, rendering, family, thinned };
                    (shown > 0).then_some((rendering.name(family), member))
                })
            })
        });
        let groups = Groups::new(members);
        let mut writer =
            Writer { snapshot, format, steps: Vec::with_capacity(groups.len()), bytes: Vec::new() };
        for group in 0..groups.len() {
            let declared = match format {
                Format::Text => Declared::Usual,
                Format::OpenMetrics => declare(&groups, group),
            };
            writer.add(&groups, group, declared);
        }
        let Writer { steps, bytes, .. } = writer;
        let page_size = parts.iter().flatten().map(|part| part.page_size).sum();
        let samples = steps.iter().map(|step| step.entries.len()).sum();
        Layout { order: snapshot.order(), parts, steps, bytes, page_size, samples }
    }

    /// Whether it is the order of this snapshot.
    pub(super) fn is_of(&self, snapshot: &Snapshot) -> bool {
        self.order == snapshot.order()
    }

    /// Whether all runs of this snapshot were sealed, so that its page has every sample.
    pub(super) fn is_whole(&self, snapshot: &Snapshot) -> bool {
        self.parts.iter().zip(snapshot.parts()).all(|(rendering, part)| {
            let values = part.run.as_ref().map_or(0, |run| run.values().len());
            rendering.as_ref().is_none_or(|rendering| rendering.values <= values)
        })
    }
}

/// How OpenMetrics declares a family, so that no sample name can be taken for one of another
/// family's, not even for a `_created` that it might have.
fn declare(groups: &Groups<'_>, at: usize) -> Declared {
    let name = groups.name(at);
    match groups.first(at).family.kind {
        Kind::Histogram | Kind::Summary => {
            if groups.find(name, "_created").is_some() {
                return Declared::Apart;
            }
        }
        Kind::Counter => {
            let Some(base) = name.strip_suffix(b"_total") else { return Declared::Usual };
            // All three sort before the counter, and what is between begins like them.
            let neighbour = at.checked_sub(1).map(|before| groups.name(before));
            let taken = neighbour.is_some_and(|name| name.starts_with(base))
                && ["", "_created", "_created_total"]
                    .iter()
                    .any(|suffix| groups.find(base, suffix).is_some());
            if taken || is_sample_of_another(groups, base) {
                return Declared::Unknown;
            }
        }
        Kind::Gauge | Kind::Untyped => {}
    }
    Declared::Usual
}

/// Whether a histogram or summary of the page has, or might have, samples of this name.
fn is_sample_of_another(groups: &Groups<'_>, name: &[u8]) -> bool {
    ["_bucket", "_count", "_created", "_sum"].iter().any(|suffix| {
        let base = name.strip_suffix(suffix.as_bytes());
        let found = base.and_then(|base| groups.find(base, ""));
        let kind = found.map(|at| groups.first(at).family.kind);
        matches!(kind, Some(Kind::Histogram | Kind::Summary))
    })
}

struct Writer<'a> {
    snapshot: &'a Snapshot,
    format: Format,
    steps: Vec<Step>,
    bytes: Vec<u8>,
}

/// A sample by part and entry.
#[derive(Clone, Copy)]
struct Placed<'a> {
    part: u32,
    rendering: &'a Rendering,
    entry: u32,
}

impl<'a> Writer<'a> {
    fn add(&mut self, groups: &Groups<'_>, group: usize, declared: Declared) {
        let (name, first) = (groups.name(group), groups.first(group));
        let is_one = groups.members(group).len() == 1 && !first.thinned;
        if is_one && declared == Declared::Usual {
            let header = self.usual_header(first);
            let entries = first.family.entries.clone();
            return self.step(first.part, first.rendering, header, entries);
        }
        let samples = self.shown(groups.members(group));
        match declared {
            Declared::Usual => {
                let header = match samples.first() {
                    // The kept header is beside the first sample that the part has.
                    Some(sample) if sample.entry == first.family.entries.start => {
                        self.usual_header(first)
                    }
                    _ => Header::Fresh(first.family.position),
                };
                self.steps(header, &samples);
            }
            Declared::Unknown => {
                let header = self.own_header(name, first, "");
                self.steps(header, &samples);
            }
            Declared::Apart => {
                for suffix in SUFFIXES {
                    let of_suffix: Vec<Placed<'_>> = samples
                        .iter()
                        .copied()
                        .filter(|sample| {
                            self.series(*sample).is_some_and(|series| series.suffix() == suffix)
                        })
                        .collect();
                    if !of_suffix.is_empty() {
                        let header = self.own_header(name, first, suffix.text());
                        self.steps(header, &of_suffix);
                    }
                }
            }
        }
    }

    /// The samples of a family that are shown.
    fn shown<'m>(&self, members: impl Iterator<Item = &'m Member<'m>>) -> Vec<Placed<'m>> {
        let mut samples = Vec::new();
        for Member { part, rendering, family, thinned } in members.copied() {
            let hidden = self.snapshot.hidden(part as usize);
            let entries = family.entries.clone().filter(|entry| {
                let position = rendering.entries[*entry as usize].position;
                !thinned || hidden.binary_search(&position).is_err()
            });
            samples.extend(entries.map(|entry| Placed { part, rendering, entry }));
        }
        samples
    }

    fn series(&self, sample: Placed<'_>) -> Option<SeriesRef<'a>> {
        let position = sample.rendering.entries[sample.entry as usize].position;
        self.snapshot.series(sample.part as usize, position as usize)
    }

    fn usual_header(&self, member: &Member<'_>) -> Header {
        match member.rendering.kept {
            true => Header::Kept(member.family.header.clone()),
            false => Header::Fresh(member.family.position),
        }
    }

    fn own_header(&mut self, name: &[u8], member: &Member<'_>, suffix: &str) -> Header {
        let start = self.bytes.len() as u32;
        let series = self.snapshot.series(member.part as usize, member.family.position as usize);
        let help = series.map_or(&b""[..], |series| series.help());
        let name = [name, suffix.as_bytes()];
        write_header(&mut self.bytes, &name, "unknown", help, self.format);
        Header::Own(start..self.bytes.len() as u32)
    }

    /// Makes as few steps as will do.
    fn steps(&mut self, mut header: Header, samples: &[Placed<'_>]) {
        let follows = |a: &Placed<'_>, b: &Placed<'_>| (a.part, a.entry + 1) == (b.part, b.entry);
        for run in samples.chunk_by(follows) {
            let (first, entries) = (run[0], run[0].entry..run[0].entry + run.len() as u32);
            let header = std::mem::replace(&mut header, Header::None);
            self.step(first.part, first.rendering, header, entries);
        }
    }

    fn step(&mut self, part: u32, rendering: &Rendering, header: Header, entries: Range<u32>) {
        let first = entries.start;
        let at = rendering.families.partition_point(|family| family.entries.end <= first);
        let Some(name) = rendering.families.get(at).map(|family| family.name.clone()) else {
            return;
        };
        self.steps.push(Step { part, header, name, entries });
    }
}
