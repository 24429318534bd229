//! What is kept of one shape in one format: its lines without their values, family by family.

use super::Format;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use vitald_core::family::Kind;
use vitald_core::identity::SeriesId;
use vitald_core::number::{parse_f64, write_openmetrics_number};
use vitald_core::shape::{SeriesRef, Shape, Suffix};

/// A family of a shape.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Where its name is in the bytes.
    pub(super) name: Range<u32>,
    /// Where its HELP and TYPE lines are in the bytes; nothing if they are not kept.
    pub(super) header: Range<u32>,
    pub(super) kind: Kind,
    /// Where its first sample was pushed, which speaks for the family.
    pub(super) position: u32,
    /// Which entries are its samples.
    pub(super) entries: Range<u32>,
}

/// A sample of a shape. Its line is the name of its family, its text and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its place in the column of values.
    pub(super) position: u32,
    /// Which text it has; without meaning if they are not kept.
    pub(super) text: u32,
}

/// Where a text is in the bytes: what is between the name of a family and a value, such as
/// `{device="sda"} `.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What is kept of one shape.
///
/// The samples of a row have their labels in common and those of a family its name, so each of
/// these is kept once.
#[derive(Debug)]
pub(super) struct Rendering {
    id: u64,
    shape: Weak<Shape>,
    /// How long the column of values is.
    pub(super) values: usize,
    /// By name.
    pub(super) families: Vec<Family>,
    /// Family by family.
    pub(super) entries: Vec<Entry>,
    pub(super) texts: Vec<Span>,
    /// Each family's header and name, and the texts; of a shape that is too large to be kept, the
    /// names of the families alone.
    pub(super) bytes: Vec<u8>,
    /// What is kept takes, or would take.
    pub(super) size: usize,
    /// About how long all of it is on a page.
    pub(super) page_size: usize,
    /// Whether headers and texts are kept.
    pub(super) kept: bool,
}

/// About how long a value is with the line's end.
const VALUE_SIZE: usize = 14;

impl Rendering {
    /// Renders a shape, whole if that takes at most `room` bytes.
    pub(super) fn new(shape: &Arc<Shape>, format: Format, room: usize) -> Self {
        let rows: Vec<(u32, SeriesRef<'_>)> =
            shape.series().map(|(position, series)| (position as u32, series)).collect();
        let (mut order, grouped) = by_family(&rows);
        let mut rendering = Rendering {
            id: shape.id(),
            shape: Arc::downgrade(shape),
            values: shape.len(),
            families: Vec::with_capacity(grouped.len()),
            entries: Vec::with_capacity(rows.len()),
            texts: Vec::new(),
            bytes: Vec::new(),
            size: 0,
            page_size: 0,
            kept: false,
        };
        let mut texts = Texts::default();
        let (mut header_size, mut text_size) = (0, 0);
        for (range, _) in grouped {
            let members = &mut order[range];
            let (position, first) = rows[members[0] as usize];
            let kind = first.kind();
            let shown = match kind {
                Kind::Histogram | Kind::Summary => sort_metrics(members, &rows, format),
                _ => members.len(),
            };
            let start = rendering.entries.len() as u32;
            for (position, series) in members[..shown].iter().map(|row| rows[*row as usize]) {
                let (text, is_new) = texts.of(series);
                let size = text_size_of(&series);
                text_size += if is_new { size } else { 0 };
                rendering.page_size += first.family_name().len() + size + VALUE_SIZE;
                rendering.entries.push(Entry { position, text });
            }
            let entries = start..rendering.entries.len() as u32;
            header_size += 3 * first.family_name().len() + first.help().len() + 32;
            rendering.families.push(Family { name: 0..0, header: 0..0, kind, position, entries });
        }
        rendering.page_size += header_size;
        rendering.size = rendering.entries.capacity() * size_of::<Entry>()
            + rendering.families.capacity() * size_of::<Family>()
            + texts.distinct.len() * size_of::<Span>()
            + header_size
            + text_size;
        rendering.kept = rendering.size <= room;
        if rendering.kept {
            rendering.bytes.reserve_exact(header_size + text_size);
            rendering.write_texts(&texts.distinct, format);
        }
        rendering.write_headers(shape, format);
        if rendering.kept {
            rendering.bytes.shrink_to_fit();
            rendering.size = rendering.bytes.capacity()
                + rendering.entries.capacity() * size_of::<Entry>()
                + rendering.texts.capacity() * size_of::<Span>()
                + rendering.families.capacity() * size_of::<Family>();
        }
        rendering
    }

    fn write_texts(&mut self, texts: &[SeriesRef<'_>], format: Format) {
        self.texts.reserve_exact(texts.len());
        for series in texts {
            let start = self.bytes.len() as u32;
            write_text(&mut self.bytes, *series, format);
            self.texts.push(Span { start, end: self.bytes.len() as u32 });
        }
    }

    fn write_headers(&mut self, shape: &Shape, format: Format) {
        for family in &mut self.families {
            let Some(first) = shape.get(family.position as usize) else { continue };
            let start = self.bytes.len() as u32;
            if self.kept {
                write_usual_header(&mut self.bytes, first, format);
            }
            family.header = start..self.bytes.len() as u32;
            self.bytes.extend_from_slice(first.family_name());
            family.name = family.header.end..self.bytes.len() as u32;
        }
    }

    /// The shape's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether nothing holds the shape any more, so that no run can come with it again.
    pub(super) fn is_out_of_use(&self) -> bool {
        self.shape.strong_count() == 0
    }

    /// How many samples of a family are shown when these positions are not, and whether that is
    /// less than all.
    pub(super) fn shown(&self, family: &Family, hidden: &[u32]) -> (usize, bool) {
        let entries = &self.entries[family.entries.start as usize..family.entries.end as usize];
        if hidden.is_empty() {
            return (entries.len(), false);
        }
        let is_shown = |entry: &&Entry| hidden.binary_search(&entry.position).is_err();
        let shown = entries.iter().filter(is_shown).count();
        (shown, shown < entries.len())
    }

    /// A family's name.
    pub(super) fn name(&self, family: &Family) -> &[u8] {
        &self.bytes[family.name.start as usize..family.name.end as usize]
    }
}

/// The texts of a shape, each once: the samples of a row have the same one, unless their families name
/// the labels differently.
#[derive(Default)]
struct Texts<'a> {
    /// A sample that has each of them.
    distinct: Vec<SeriesRef<'a>>,
    /// By the number of their labels, the text that was met last.
    last: Vec<u32>,
}

impl<'a> Texts<'a> {
    const NONE: u32 = u32::MAX;

    /// The number of a sample's text, and whether no sample before had it.
    fn of(&mut self, series: SeriesRef<'a>) -> (u32, bool) {
        let labels = series.label_set_id() as usize;
        if labels >= self.last.len() {
            self.last.resize(labels + 1, Self::NONE);
        }
        let last = &mut self.last[labels];
        let names = |series: SeriesRef<'a>| series.labels().map(|(name, _)| name);
        // A bound may be written in a form of its own, so samples that have one share no text.
        let is_simple =
            |series: &SeriesRef<'_>| !matches!(series.kind(), Kind::Histogram | Kind::Summary);
        if let Some(known) = self.distinct.get(*last as usize)
            && is_simple(&series)
            && is_simple(known)
            && (series.family_id() == known.family_id() || names(series).eq(names(*known)))
        {
            return (*last, false);
        }
        *last = self.distinct.len() as u32;
        self.distinct.push(series);
        (*last, true)
    }
}

/// The rows in order of their families' names, and which of them are each family's, with its first.
fn by_family<'a>(rows: &[(u32, SeriesRef<'a>)]) -> (Vec<u32>, Vec<(Range<usize>, SeriesRef<'a>)>) {
    // A counting sort: ids are dense, and turning the bit that tells families named at run time
    // from declared ones interleaves the two.
    const NONE: u32 = u32::MAX;
    let slot = |series: &SeriesRef<'_>| series.family_id().rotate_left(1) as usize;
    let mut ordinals: Vec<u32> = Vec::new();
    let mut seen: Vec<(SeriesRef<'a>, usize)> = Vec::new();
    for (_, series) in rows {
        let slot = slot(series);
        if slot >= ordinals.len() {
            ordinals.resize(slot + 1, NONE);
        }
        if ordinals[slot] == NONE {
            ordinals[slot] = seen.len() as u32;
            seen.push((*series, 0));
        }
        seen[ordinals[slot] as usize].1 += 1;
    }
    let mut by_name: Vec<u32> = (0..seen.len() as u32).collect();
    by_name.sort_by_key(|ordinal| seen[*ordinal as usize].0.family_name());
    let mut families: Vec<(Range<usize>, SeriesRef<'a>)> = Vec::with_capacity(seen.len());
    let mut family_of = vec![0u32; seen.len()];
    for ordinal in by_name {
        let (first, count) = seen[ordinal as usize];
        match families.last_mut() {
            // Two families of one name and type are one family.
            Some((range, known)) if known.family_name() == first.family_name() => {
                range.end += count;
            }
            last => {
                let start = last.map_or(0, |(range, _)| range.end);
                families.push((start..start + count, first));
            }
        }
        family_of[ordinal as usize] = families.len() as u32 - 1;
    }
    let mut next: Vec<usize> = families.iter().map(|(range, _)| range.start).collect();
    let mut order = vec![0u32; rows.len()];
    for (row, (_, series)) in rows.iter().enumerate() {
        let place = &mut next[family_of[ordinals[slot(series)] as usize] as usize];
        order[*place] = row as u32;
        *place += 1;
    }
    (order, families)
}

/// Puts the samples of each histogram or summary of a family together, its buckets or quantiles
/// ascending, then sum and count, and returns how many remain without duplicates.
///
/// OpenMetrics asks for this order and Prometheus' own encoders write it. Only OpenMetrics writes
/// the bounds anew, so only there two of them can turn out to be the same.
fn sort_metrics(members: &mut [u32], rows: &[(u32, SeriesRef<'_>)], format: Format) -> usize {
    let mut metrics: HashMap<SeriesId, u32> = HashMap::new();
    let mut keyed: Vec<(u32, Suffix, Bound<'_>, u32)> = Vec::with_capacity(members.len());
    for &row in members.iter() {
        let series = rows[row as usize].1;
        let bound = series.labels().find(|(label, _)| series.is_bound(label));
        let bound = bound.map_or(Bound::None, |(_, value)| {
            parse_f64(value).map_or(Bound::Text(value), Bound::Number)
        });
        let next = metrics.len() as u32;
        let metric = *metrics.entry(series.metric_id()).or_insert(next);
        keyed.push((metric, series.suffix(), bound, row));
    }
    keyed.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| a.2.compare(&b.2)));
    if format == Format::OpenMetrics {
        keyed.dedup_by(|later, earlier| {
            (later.0, later.1) == (earlier.0, earlier.1)
                && later.2.compare(&earlier.2) == Ordering::Equal
        });
    }
    for (place, (.., row)) in members.iter_mut().zip(&keyed) {
        *place = *row;
    }
    keyed.len()
}

/// The value of `le` or `quantile`.
#[derive(Clone, Copy)]
enum Bound<'a> {
    None,
    Number(f64),
    Text(&'a [u8]),
}

impl Bound<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Bound::Number(a), Bound::Number(b)) if a == b => Ordering::Equal,
            (Bound::Number(a), Bound::Number(b)) => a.total_cmp(b),
            (Bound::Text(a), Bound::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Bound::None => 0,
            Bound::Number(_) => 1,
            Bound::Text(_) => 2,
        }
    }
}

/// Writes `# HELP` and `# TYPE` as a family has them whose names no other family could claim.
pub(super) fn write_usual_header(out: &mut Vec<u8>, series: SeriesRef<'_>, format: Format) {
    let name = series.family_name();
    let (name, kind) = match (format, series.kind()) {
        (Format::Text, kind) => (name, kind.word()),
        (Format::OpenMetrics, Kind::Counter) => match name.strip_suffix(b"_total") {
            Some(base) if !base.is_empty() => (base, "counter"),
            _ => (name, "unknown"),
        },
        (Format::OpenMetrics, Kind::Untyped) => (name, "unknown"),
        (Format::OpenMetrics, kind) => (name, kind.word()),
    };
    write_header(out, &[name], kind, series.help(), format);
}

/// Writes `# HELP` and `# TYPE`; a family without a help has no `# HELP`.
pub(super) fn write_header(
    out: &mut Vec<u8>,
    name: &[&[u8]],
    kind: &str,
    help: &[u8],
    format: Format,
) {
    if !help.is_empty() {
        out.extend_from_slice(b"# HELP ");
        name.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b' ');
        write_escaped(out, help, format == Format::OpenMetrics);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    name.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// Writes a sample's line from the name of its family to its value: `{label="value"} `, after the
/// suffix if it has one.
pub(super) fn write_text(out: &mut Vec<u8>, series: SeriesRef<'_>, format: Format) {
    out.extend_from_slice(series.suffix().text().as_bytes());
    let mut separator = b'{';
    for (label, value) in series.labels() {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(label);
        out.extend_from_slice(b"=\"");
        let number = match format {
            Format::OpenMetrics if series.is_bound(label) => parse_f64(value),
            _ => None,
        };
        match number {
            Some(number) => write_openmetrics_number(out, number),
            None => write_escaped(out, value, true),
        }
        out.push(b'"');
    }
    out.extend_from_slice(if separator == b',' { b"} " } else { b" " });
}

/// How long what [`write_text`] writes is, when nothing has to be escaped.
fn text_size_of(series: &SeriesRef<'_>) -> usize {
    let labels = series.labels().map(|(label, value)| label.len() + value.len() + 4);
    series.suffix().text().len() + 3 + labels.sum::<usize>()
}

/// Writes text with `\`, line ends and, if asked for, `"` escaped, and U+FFFD for what is not UTF-8.
fn write_escaped(out: &mut Vec<u8>, text: &[u8], quotes: bool) {
    // Nearly all text is UTF-8, which this finds much faster than `utf8_chunks`.
    if str::from_utf8(text).is_ok() {
        write_escaped_text(out, text, quotes);
        return;
    }
    for chunk in text.utf8_chunks() {
        write_escaped_text(out, chunk.valid().as_bytes(), quotes);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn write_escaped_text(out: &mut Vec<u8>, mut text: &[u8], quotes: bool) {
    let special = |text: &[u8]| match quotes {
        true => memchr::memchr3(b'\\', b'\n', b'"', text),
        false => memchr::memchr2(b'\\', b'\n', text),
    };
    while let Some(at) = special(text) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(match text[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}
