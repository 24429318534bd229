//! The order of a page: the families of several shapes by name, each written once.

use super::Format;
use super::rendering::{Family, Rendering, write_header, write_metric_key};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use vitald_core::batch::{Batch, Dropped, SeriesRef, Suffix};
use vitald_core::family::Kind;

/// Where a step's HELP and TYPE lines come from.
#[derive(Clone, Debug)]
pub(super) enum Header {
    /// From its rendering, as part of its samples.
    Kept,
    /// From nowhere: it goes on with the family of the step before.
    None,
    /// From the bytes of the layout.
    Own(Range<u32>),
    /// From the family of the series at this position, whose rendering is not kept.
    Fresh(u32),
}

/// Samples of one family and one batch that stand together on the page.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Which batch.
    pub(super) part: u32,
    pub(super) header: Header,
    /// Where its header or first prefix begins in the bytes of the rendering.
    pub(super) start: u32,
    /// Which entries of the rendering.
    pub(super) entries: Range<u32>,
}

/// The order of a page, for one list of shapes.
#[derive(Debug)]
pub(super) struct Layout {
    /// One for each batch, in the order of the batches.
    pub(super) parts: Vec<Arc<Rendering>>,
    pub(super) steps: Vec<Step>,
    /// Headers that differ from the usual.
    pub(super) bytes: Vec<u8>,
    /// What was left out of each batch.
    pub(super) dropped: Vec<Dropped>,
    /// About how long the page is.
    pub(super) page_size: usize,
}

/// A family in one batch.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a [u8],
    part: u32,
    family: &'a Family,
}

/// A family on the page: members that stand together in the list of all, the earliest first.
struct Group<'a> {
    name: &'a [u8],
    kind: Kind,
    members: Range<usize>,
    /// Its samples could be taken for those of an earlier family.
    dropped: bool,
}

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
    /// Merges the renderings of these batches.
    pub(super) fn new(parts: Vec<Arc<Rendering>>, batches: &[&Batch], format: Format) -> Self {
        let mut members: Vec<Member<'_>> = Vec::new();
        for (part, rendering) in parts.iter().enumerate() {
            members.extend(rendering.families.iter().map(|family| Member {
                name: rendering.name(family),
                part: part as u32,
                family,
            }));
        }
        // The sort is stable, so the members of a family stay in the order of the batches.
        members.sort_by_key(|member| member.name);
        let mut groups: Vec<Group<'_>> = Vec::with_capacity(members.len());
        let mut first = 0;
        for same in members.chunk_by(|a, b| a.name == b.name) {
            let members = first..first + same.len();
            first = members.end;
            groups.push(Group {
                name: same[0].name,
                kind: same[0].family.kind,
                members,
                dropped: false,
            });
        }
        drop_rivals(&mut groups, &members);
        let mut writer = Writer {
            parts: &parts,
            rows: Rows::new(batches),
            format,
            steps: Vec::with_capacity(groups.len()),
            bytes: Vec::new(),
            dropped: parts
                .iter()
                .map(|part| Dropped { duplicates: part.doubles, ..Dropped::default() })
                .collect(),
        };
        for (at, group) in groups.iter().enumerate() {
            let members = &members[group.members.clone()];
            if group.dropped {
                for member in members {
                    writer.dropped[member.part as usize].conflicts +=
                        member.family.entries.len() as u32;
                }
                continue;
            }
            let declared = match format {
                Format::Text => Declared::Usual,
                Format::OpenMetrics => declare(&groups, at),
            };
            writer.add(members, declared);
        }
        let Writer { steps, bytes, dropped, .. } = writer;
        // A number is rarely longer than this.
        let page_size = parts.iter().map(|part| part.bytes.len() + part.entries.len() * 12).sum();
        Layout { parts, steps, bytes, dropped, page_size }
    }

    /// Whether it is the order of these batches.
    pub(super) fn is_of(&self, batches: &[&Batch]) -> bool {
        let ids = self.parts.iter().map(|part| part.id());
        ids.eq(batches.iter().map(|batch| batch.shape().id()))
    }
}

/// Marks families whose name is that of another family's sum, count or buckets: of the two the
/// later batch's goes.
///
/// client_golang refuses such families when it gathers them, in every format.
fn drop_rivals(groups: &mut [Group<'_>], members: &[Member<'_>]) {
    let part = |group: &Group<'_>| members[group.members.start].part;
    for at in 0..groups.len() {
        let suffixes = match groups[at].kind {
            Kind::Histogram => &SUFFIXES[1..],
            Kind::Summary => &SUFFIXES[2..],
            _ => continue,
        };
        for suffix in suffixes {
            if groups[at].dropped {
                break;
            }
            let Some(rival) = find(groups, groups[at].name, suffix.text()) else { continue };
            let later = if part(&groups[rival]) < part(&groups[at]) { at } else { rival };
            groups[later].dropped = true;
        }
    }
}

/// The family of this name, if it is on the page.
fn find(groups: &[Group<'_>], name: &[u8], suffix: &str) -> Option<usize> {
    let compare = |group: &Group<'_>| {
        let (front, back) = group.name.split_at(name.len().min(group.name.len()));
        front.cmp(name).then_with(|| back.cmp(suffix.as_bytes()))
    };
    let at = groups.binary_search_by(compare).ok()?;
    (!groups[at].dropped).then_some(at)
}

/// How OpenMetrics declares a family, so that no sample name can be taken for one of another
/// family's, not even for a `_created` that it might have.
fn declare(groups: &[Group<'_>], at: usize) -> Declared {
    let group = &groups[at];
    match group.kind {
        Kind::Histogram | Kind::Summary => {
            if find(groups, group.name, "_created").is_some() {
                return Declared::Apart;
            }
        }
        Kind::Counter => {
            let Some(base) = group.name.strip_suffix(b"_total") else { return Declared::Usual };
            // All three sort before the counter, and what stands between begins like them.
            let neighbour = at.checked_sub(1).map(|before| groups[before].name);
            let taken = neighbour.is_some_and(|name| name.starts_with(base))
                && ["", "_created", "_created_total"]
                    .iter()
                    .any(|suffix| find(groups, base, suffix).is_some());
            if taken || is_sample_of_another(groups, base) {
                return Declared::Unknown;
            }
        }
        Kind::Gauge | Kind::Untyped => {}
    }
    Declared::Usual
}

/// Whether a histogram or summary of the page has, or might have, samples of this name.
fn is_sample_of_another(groups: &[Group<'_>], name: &[u8]) -> bool {
    ["_bucket", "_count", "_created", "_sum"].iter().any(|suffix| {
        let base = name.strip_suffix(suffix.as_bytes());
        let kind = base.and_then(|base| find(groups, base, "")).map(|at| groups[at].kind);
        matches!(kind, Some(Kind::Histogram | Kind::Summary))
    })
}

struct Writer<'p, 'a> {
    parts: &'p [Arc<Rendering>],
    rows: Rows<'p, 'a>,
    format: Format,
    steps: Vec<Step>,
    bytes: Vec<u8>,
    dropped: Vec<Dropped>,
}

impl<'a> Writer<'_, 'a> {
    fn add(&mut self, members: &[Member<'_>], declared: Declared) {
        if let ([member], Declared::Usual) = (members, declared) {
            let header = self.usual_header(member);
            return self.step(member.part, header, member.family.entries.clone());
        }
        let samples = self.merge(members);
        let first = &members[0];
        match declared {
            Declared::Usual => {
                let header = self.usual_header(first);
                self.steps(header, samples.into_iter());
            }
            Declared::Unknown => {
                let header = self.own_header(first, "");
                self.steps(header, samples.into_iter());
            }
            Declared::Apart => {
                for suffix in SUFFIXES {
                    let of_suffix: Vec<(u32, u32)> = samples
                        .iter()
                        .copied()
                        .filter(|(part, entry)| self.series(*part, *entry).suffix() == suffix)
                        .collect();
                    if !of_suffix.is_empty() {
                        let header = self.own_header(first, suffix.text());
                        self.steps(header, of_suffix.into_iter());
                    }
                }
            }
        }
    }

    /// The samples of a family, by part and entry: without those of another type than the
    /// earliest batch's, and without those that an earlier batch has too.
    fn merge(&mut self, members: &[Member<'_>]) -> Vec<(u32, u32)> {
        let mut samples = Vec::new();
        let mut owners: HashMap<Vec<u8>, u32> = HashMap::new();
        for member in members {
            let part = member.part;
            let entries = member.family.entries.clone();
            if member.family.kind != members[0].family.kind {
                self.dropped[part as usize].conflicts += entries.len() as u32;
                continue;
            }
            for entry in entries {
                let mut key = Vec::new();
                write_metric_key(&mut key, self.series(part, entry));
                if *owners.entry(key).or_insert(part) == part {
                    samples.push((part, entry));
                } else {
                    self.dropped[part as usize].duplicates += 1;
                }
            }
        }
        samples
    }

    fn series(&mut self, part: u32, entry: u32) -> SeriesRef<'a> {
        let position = self.parts[part as usize].entries[entry as usize].position;
        self.rows.at(part, position)
    }

    fn usual_header(&self, member: &Member<'_>) -> Header {
        match self.parts[member.part as usize].kept {
            true => Header::Kept,
            false => Header::Fresh(member.family.position),
        }
    }

    fn own_header(&mut self, member: &Member<'_>, suffix: &str) -> Header {
        let start = self.bytes.len() as u32;
        let help = self.rows.at(member.part, member.family.position).help();
        let name = [member.name, suffix.as_bytes()];
        write_header(&mut self.bytes, &name, "unknown", help, self.format);
        Header::Own(start..self.bytes.len() as u32)
    }

    /// Makes as few steps as will do.
    fn steps(&mut self, mut header: Header, mut samples: impl Iterator<Item = (u32, u32)>) {
        let Some((mut part, first)) = samples.next() else { return };
        let mut entries = first..first + 1;
        for (next_part, entry) in samples {
            if (next_part, entry) == (part, entries.end) {
                entries.end += 1;
            } else {
                let done = std::mem::replace(&mut entries, entry..entry + 1);
                self.step(part, std::mem::replace(&mut header, Header::None), done);
                part = next_part;
            }
        }
        self.step(part, header, entries);
    }

    fn step(&mut self, part: u32, header: Header, entries: Range<u32>) {
        let rendering = &self.parts[part as usize];
        let first = entries.start;
        let at = rendering.families.partition_point(|family| family.entries.end <= first);
        let start = match rendering.families.get(at) {
            Some(family) if family.entries.start == first => match header {
                Header::Kept => family.header.start,
                _ => family.header.end,
            },
            // Past the line end of the sample before.
            _ => rendering.entries[first as usize - 1].end + 1,
        };
        self.steps.push(Step { part, header, start, entries });
    }
}

/// The series of batches by position, looked up only where a layout or rendering cannot tell.
pub(super) struct Rows<'p, 'a> {
    batches: &'p [&'a Batch],
    made: Vec<Vec<Option<SeriesRef<'a>>>>,
}

impl<'p, 'a> Rows<'p, 'a> {
    pub(super) fn new(batches: &'p [&'a Batch]) -> Self {
        Rows { batches, made: Vec::new() }
    }

    /// The series at a position, which must be one that is shown.
    pub(super) fn at(&mut self, part: u32, position: u32) -> SeriesRef<'a> {
        let (part, position) = (part as usize, position as usize);
        if self.made.is_empty() {
            self.made.resize(self.batches.len(), Vec::new());
        }
        let rows = &mut self.made[part];
        if rows.is_empty() {
            let shape = self.batches[part].shape();
            rows.resize(shape.len(), None);
            for (position, series) in shape.series() {
                rows[position] = Some(series);
            }
        }
        rows[position].expect("a rendering has only positions that its shape shows")
    }
}
