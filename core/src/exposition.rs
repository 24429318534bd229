//! The text format of Prometheus, version 0.0.4, taken apart.
//!
//! The grammar is that of [the format's description][format], and where it leaves room, that of the
//! parser in prometheus/common, which node_exporter reads textfiles with. Strict is: every line that is
//! not blank ends with a newline, so that a text that is still being written is refused; a name is not
//! given a second type or help. Anything else is taken. What reads a text may refuse times
//! ([`Exposition::first_time`]).
//!
//! [format]: https://prometheus.io/docs/instrumenting/exposition_formats/

use crate::batch::{Batch, NamedFamily};
use crate::error::Malformed;
use crate::family::{Kind, is_label_name, is_metric_name};
use crate::number::{parse_f64, parse_i64, write_number};
use crate::shape::Suffix;
use crate::text::lines;
use std::collections::HashMap;

/// How many label names a family may have. It is far more than any has, and bounds what a small
/// text can grow to, because each of a family's series gets all its label names.
const MOST_LABELS: usize = 128;

/// What a sample and a label cost beside their text, in bytes.
const SAMPLE_COST: usize = 48;
const LABEL_COST: usize = 16;

/// The most that any text may cost, so that places in its texts fit their 32 bits.
const LARGEST_COST: usize = 1 << 30;

/// What a text says.
#[derive(Debug, Default)]
pub struct Exposition {
    /// All texts.
    arena: Vec<u8>,
    families: Vec<Family>,
    cost: usize,
    first_time: Option<usize>,
}

/// A text in the arena, which [`LARGEST_COST`] keeps shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// A family of a text.
#[derive(Debug)]
pub struct Family {
    name: Span,
    help: Option<Span>,
    /// Its type; untyped if no line gives one.
    pub kind: Kind,
    /// Sorted.
    label_names: Vec<Span>,
    rows: Vec<Row>,
    /// The labels that each set has, one set after the other.
    labels: Vec<Label>,
    /// Where the labels of each set end.
    set_ends: Vec<u32>,
}

/// A label that a series was given.
#[derive(Clone, Copy, Debug)]
struct Label {
    /// The position of its name among those of the family.
    name: u8,
    value: Span,
}

/// One line, as it is shown.
#[derive(Debug)]
struct Row {
    suffix: Suffix,
    /// Which of the sets of labels it has.
    set: u32,
    /// The bucket's upper bound or the quantile.
    bound: Option<Span>,
    value: f64,
}

/// A sample of a text.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    exposition: &'a Exposition,
    family: &'a Family,
    row: &'a Row,
}

impl<'a> Sample<'a> {
    /// Which line of a histogram or summary it is.
    pub fn suffix(&self) -> Suffix {
        self.row.suffix
    }

    /// The labels that its line gives, by name; the bound of a bucket and the quantile are not among them.
    pub fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let (exposition, family) = (self.exposition, self.family);
        family.labels_of(self.row.set).iter().filter_map(move |label| {
            let name = family.label_names.get(usize::from(label.name))?;
            Some((exposition.text(*name), exposition.text(label.value)))
        })
    }

    /// The label that a bucket (`le`) or a quantile has beside the others.
    pub fn bound(&self) -> Option<(&'static str, &'a [u8])> {
        let bound = self.row.bound?;
        Some((self.family.bound_name(), self.exposition.text(bound)))
    }

    /// Its value.
    pub fn value(&self) -> f64 {
        self.row.value
    }
}

impl Exposition {
    /// The families that have samples, in the order of the text.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// What it takes to keep and to show all of it, in bytes, roughly. Since each series is shown with
    /// the label names of its whole family, half a megabyte of text can become a page of thirty.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Where the first time of a sample is, as an offset from the start of the text.
    pub fn first_time(&self) -> Option<usize> {
        self.first_time
    }

    /// The name of a family.
    pub fn name(&self, family: &Family) -> &[u8] {
        self.text(family.name)
    }

    /// The help, if a line gave one.
    pub fn help(&self, family: &Family) -> Option<&[u8]> {
        family.help.map(|help| self.text(help))
    }

    /// The samples of a family. A histogram's and a summary's have their sum and count in any case, and
    /// a histogram's the bucket of all.
    pub fn samples<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = Sample<'a>> {
        family.rows.iter().map(move |row| Sample { exposition: self, family, row })
    }

    /// Pushes all series of a family. Each gets the labels that others of its family have, without a
    /// value, as node_exporter shows them.
    pub fn push(&self, family: &Family, named: NamedFamily, batch: &mut Batch) {
        let bound_name = family.bound_name().as_bytes();
        // One more, for the bound.
        let mut pairs: [(&[u8], &[u8]); MOST_LABELS + 1] = [(b"", b""); MOST_LABELS + 1];
        let count = family.label_names.len();
        for row in &family.rows {
            for (pair, name) in pairs.iter_mut().zip(&family.label_names) {
                *pair = (self.text(*name), b"");
            }
            for label in family.labels_of(row.set) {
                if let Some((_, value)) = pairs.get_mut(usize::from(label.name)) {
                    *value = self.text(label.value);
                }
            }
            let mut length = count;
            if let (Some(bound), Some(pair)) = (row.bound, pairs.get_mut(count)) {
                *pair = (bound_name, self.text(bound));
                length += 1;
            }
            let labels = batch.label_pairs(pairs.get(..length).unwrap_or_default());
            batch.push_named(named, row.suffix, labels, row.value);
        }
    }

    fn text(&self, span: Span) -> &[u8] {
        self.arena.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn store(&mut self, text: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(text);
        Span { start, end: self.arena.len() as u32 }
    }
}

impl Family {
    /// The label that holds the bounds of its buckets, or its quantiles.
    fn bound_name(&self) -> &'static str {
        if self.kind == Kind::Histogram { "le" } else { "quantile" }
    }

    fn labels_of(&self, set: u32) -> &[Label] {
        let set = set as usize;
        let start = set.checked_sub(1).and_then(|before| self.set_ends.get(before));
        let end = self.set_ends.get(set).map_or(0, |end| *end as usize);
        self.labels.get(start.map_or(0, |start| *start as usize)..end).unwrap_or_default()
    }
}

/// Takes a whole text that costs at most `largest` bytes ([`Exposition::cost`]), such as:
///
/// ```text
/// # HELP backup_seconds How long the last backup took.
/// # TYPE backup_seconds gauge
/// backup_seconds{disk="sda"} 4.25
/// ```
///
/// # Errors
///
/// The first place where it is not in the format, or where it has become too much.
pub fn parse(text: &[u8], largest: usize) -> Result<Exposition, Malformed> {
    let largest = largest.min(LARGEST_COST);
    let mut drafts = Drafts { largest, ..Drafts::default() };
    let mut lines = lines(text);
    while let Some(line) = lines.next() {
        let start = lines.offset();
        let ended = text.get(start + line.len()) == Some(&b'\n');
        let mut cursor = Cursor { line, at: 0 };
        cursor.skip_blanks();
        if !ended && cursor.peek().is_some() {
            return Err(Malformed::new(text.len(), "a newline at the end of the file"));
        }
        let outcome = match cursor.peek() {
            None => Ok(()),
            Some(b'#') => drafts.comment(&mut cursor),
            Some(_) => drafts.sample(&mut cursor, start),
        };
        outcome.map_err(|malformed| Malformed::new(start + malformed.at, malformed.expected))?;
    }
    drafts.finish().map_err(|expected| Malformed::new(text.len(), expected))
}

/// A place in a line.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn token(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn expected(&self, what: &'static str) -> Malformed {
        Malformed::new(self.at, what)
    }

    /// A name, which may be in quotes.
    fn name(
        &mut self,
        belongs: impl Fn(u8) -> bool,
        is_name: impl Fn(&[u8]) -> bool,
        what: &'static str,
    ) -> Result<Vec<u8>, Malformed> {
        let start = self.at;
        let name =
            if self.peek() == Some(b'"') { self.quoted()? } else { self.token(belongs).to_vec() };
        if is_name(&name) { Ok(name) } else { Err(Malformed::new(start, what)) }
    }

    fn metric_name(&mut self) -> Result<Vec<u8>, Malformed> {
        self.name(
            |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':',
            is_metric_name,
            "the name of a metric",
        )
    }

    /// Text in quotes, with `\\`, `\"` and `\n` replaced.
    fn quoted(&mut self) -> Result<Vec<u8>, Malformed> {
        if !self.take(b'"') {
            return Err(self.expected("a quotation mark"));
        }
        let mut text = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.expected("a closing quotation mark")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(byte) => {
                    self.at += 1;
                    text.push(if byte == b'\\' { self.escaped()? } else { byte });
                }
            }
        }
    }

    /// What the byte after a backslash means.
    fn escaped(&mut self) -> Result<u8, Malformed> {
        let byte = match self.peek() {
            Some(b'n') => b'\n',
            Some(byte @ (b'\\' | b'"')) => byte,
            _ => return Err(self.expected("n, a backslash or a quotation mark")),
        };
        self.at += 1;
        Ok(byte)
    }
}

/// What is wrong with a text that costs more than it may.
const TOO_MUCH: &str =
    "fewer samples: they take too much memory, with all labels of their families";

/// What was read so far.
#[derive(Default)]
struct Drafts {
    families: Vec<Draft>,
    /// What it costs without the labels that a series gets from others.
    cost: usize,
    /// What it may cost.
    largest: usize,
    first_time: Option<usize>,
    by_name: HashMap<Vec<u8>, usize>,
}

struct Draft {
    name: Vec<u8>,
    help: Option<Vec<u8>>,
    kind: Option<DraftKind>,
    series: Vec<Series>,
    /// The series of a summary or histogram by their labels.
    by_labels: HashMap<Labels, usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum DraftKind {
    Known(Kind),
    /// May be declared and cannot be shown.
    GaugeHistogram,
}

/// Names and values, sorted by name.
type Labels = Vec<(Vec<u8>, Vec<u8>)>;

struct Series {
    labels: Labels,
    value: f64,
    /// Bounds of buckets with their counts, or quantiles with their values.
    bounds: Vec<(f64, f64)>,
    sum: f64,
    count: f64,
}

impl Drafts {
    /// A line such as `# HELP name text`, `# TYPE name gauge` or `# anything`.
    fn comment(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        cursor.take(b'#');
        cursor.skip_blanks();
        let keyword = cursor.token(|byte| byte != b' ' && byte != b'\t');
        if keyword != b"HELP" && keyword != b"TYPE" {
            return Ok(());
        }
        cursor.skip_blanks();
        if cursor.peek().is_none() {
            return Ok(());
        }
        let name = cursor.metric_name()?;
        let end = cursor.at;
        cursor.skip_blanks();
        if cursor.peek().is_none() {
            return Ok(());
        }
        if cursor.at == end {
            return Err(cursor.expected("a blank after the name"));
        }
        let Some((draft, _)) = self.find(&name) else { return Ok(()) };
        if keyword == b"HELP" {
            if draft.help.is_some() {
                return Err(cursor.expected("no second HELP of this name"));
            }
            let mut help = Vec::new();
            while let Some(byte) = cursor.peek() {
                cursor.at += 1;
                help.push(if byte == b'\\' { cursor.escaped()? } else { byte });
            }
            draft.help = Some(help);
        } else {
            if draft.kind.is_some() {
                return Err(cursor.expected("no second TYPE, and none after samples"));
            }
            let kind = kind_of(cursor.rest());
            draft.kind = Some(kind.ok_or(cursor.expected("a type"))?);
        }
        Ok(())
    }

    /// A line such as `name{label="text"} 1.5` or `{"name",label="text"} 1.5 1441205977284`, which
    /// begins at `line`.
    fn sample(&mut self, cursor: &mut Cursor<'_>, line: usize) -> Result<(), Malformed> {
        let mut name = None;
        if cursor.peek() != Some(b'{') {
            name = Some(cursor.metric_name()?);
            cursor.skip_blanks();
        }
        let labels =
            if cursor.peek() == Some(b'{') { labels(cursor, &mut name)? } else { Vec::new() };
        let name = name.ok_or(cursor.expected("the name of a metric"))?;
        let text: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.cost += SAMPLE_COST + LABEL_COST * labels.len() + text;
        if self.cost > self.largest {
            return Err(cursor.expected(TOO_MUCH));
        }
        let Some((draft, suffix)) = self.find(&name) else { return Ok(()) };
        let kind = match *draft.kind.get_or_insert(DraftKind::Known(Kind::Untyped)) {
            DraftKind::Known(kind) => kind,
            DraftKind::GaugeHistogram => return Err(cursor.expected("a type that can be shown")),
        };
        let (labels, bound) = split_bound(kind, labels).map_err(|what| cursor.expected(what))?;
        let start = cursor.at;
        let value = cursor.token(|byte| byte != b' ' && byte != b'\t');
        let value = parse_f64(value).ok_or(Malformed::new(start, "a number"))?;
        let end = cursor.at;
        let has_time = cursor.peek().is_some();
        if has_time {
            cursor.skip_blanks();
            let time = cursor.token(|byte| byte != b' ' && byte != b'\t');
            if parse_i64(time).is_none() || cursor.peek().is_some() {
                return Err(Malformed::new(end, "a newline after the value, or a time"));
            }
        }
        draft.add(kind, suffix, labels, bound, value);
        if has_time {
            self.first_time.get_or_insert(line + end);
        }
        Ok(())
    }

    /// The family that a name belongs to, made if there is none: its own, or that of the summary or
    /// histogram of which it is a part. There always is one.
    fn find(&mut self, name: &[u8]) -> Option<(&mut Draft, Suffix)> {
        let mut found = self.by_name.get(name).map(|position| (*position, Suffix::None));
        for (end, suffix) in
            [(&b"_count"[..], Suffix::Count), (b"_sum", Suffix::Sum), (b"_bucket", Suffix::Bucket)]
        {
            let whole = name.strip_suffix(end).filter(|whole| !whole.is_empty());
            if let (None, Some(position)) = (found, whole.and_then(|whole| self.by_name.get(whole)))
            {
                let kind = self.families.get(*position).and_then(|draft| draft.kind);
                let has_it = kind == Some(DraftKind::Known(Kind::Histogram))
                    || kind == Some(DraftKind::Known(Kind::Summary)) && suffix != Suffix::Bucket;
                found = has_it.then_some((*position, suffix));
            }
        }
        let (position, suffix) = found.unwrap_or_else(|| {
            self.by_name.insert(name.to_vec(), self.families.len());
            self.families.push(Draft {
                name: name.to_vec(),
                help: None,
                kind: None,
                series: Vec::new(),
                by_labels: HashMap::new(),
            });
            (self.families.len() - 1, Suffix::None)
        });
        self.families.get_mut(position).map(|draft| (draft, suffix))
    }

    /// Lays everything out as it will be shown. Families without samples are not.
    fn finish(self) -> Result<Exposition, &'static str> {
        let mut all = Exposition { first_time: self.first_time, ..Exposition::default() };
        for draft in self.families {
            let Some(DraftKind::Known(kind)) = draft.kind.filter(|_| !draft.series.is_empty())
            else {
                continue;
            };
            let mut names: Vec<&[u8]> = Vec::new();
            for series in &draft.series {
                for (name, _) in &series.labels {
                    if let Err(place) = names.binary_search(&name.as_slice()) {
                        names.insert(place, name);
                    }
                }
                if names.len() > MOST_LABELS {
                    return Err("at most 128 label names in a family");
                }
            }
            let mut family = Family {
                name: all.store(&draft.name),
                help: draft.help.as_ref().map(|help| all.store(help)),
                kind,
                label_names: names.iter().map(|name| all.store(name)).collect(),
                rows: Vec::new(),
                labels: Vec::new(),
                set_ends: Vec::new(),
            };
            let names_length: usize = names.iter().map(|name| name.len() + LABEL_COST).sum();
            let per_row = SAMPLE_COST + names_length;
            for (set, series) in (0..).zip(&draft.series) {
                let rows_before = family.rows.len();
                let mut values_length = 0;
                for (name, value) in &series.labels {
                    let place = names.binary_search(&name.as_slice()).ok();
                    let Some(name) = place.and_then(|place| u8::try_from(place).ok()) else {
                        continue;
                    };
                    values_length += value.len();
                    family.labels.push(Label { name, value: all.store(value) });
                }
                family.set_ends.push(family.labels.len() as u32);
                series.lay_out(kind, set, &mut all, &mut family.rows);
                all.cost += (family.rows.len() - rows_before) * (per_row + values_length);
                if all.cost > self.largest {
                    return Err(TOO_MUCH);
                }
            }
            all.families.push(family);
        }
        all.arena.shrink_to_fit();
        Ok(all)
    }
}

impl Draft {
    fn add(&mut self, kind: Kind, suffix: Suffix, labels: Labels, bound: Option<f64>, value: f64) {
        let is_compound = matches!(kind, Kind::Histogram | Kind::Summary);
        let position = match self.by_labels.get(&labels) {
            Some(position) if is_compound => *position,
            _ => {
                if is_compound {
                    self.by_labels.insert(labels.clone(), self.series.len());
                }
                self.series.push(Series {
                    labels,
                    value,
                    bounds: Vec::new(),
                    sum: 0.0,
                    count: 0.0,
                });
                self.series.len() - 1
            }
        };
        let Some(series) = self.series.get_mut(position) else { return };
        match (suffix, bound) {
            (Suffix::Count, _) => series.count = whole(value),
            (Suffix::Sum, _) => series.sum = value,
            (_, Some(bound)) if kind == Kind::Histogram => {
                series.bounds.push((bound, whole(value)))
            }
            (_, Some(bound)) => series.bounds.push((bound, value)),
            (_, None) => {}
        }
    }
}

/// A count as node_exporter keeps it, in 64 bits without a fraction.
fn whole(value: f64) -> f64 {
    value as u64 as f64
}

impl Series {
    fn lay_out(&self, kind: Kind, set: u32, all: &mut Exposition, rows: &mut Vec<Row>) {
        let part = match kind {
            Kind::Histogram => Suffix::Bucket,
            Kind::Summary => Suffix::None,
            _ => {
                let value = self.value;
                return rows.push(Row { suffix: Suffix::None, set, bound: None, value });
            }
        };
        let mut bounds = self.bounds.clone();
        if kind == Kind::Histogram && !bounds.iter().any(|(bound, _)| *bound == f64::INFINITY) {
            bounds.push((f64::INFINITY, self.count));
        }
        // Of two with the same bound the later one counts; a stable sort keeps their order.
        bounds.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        for (position, (bound, value)) in bounds.iter().enumerate() {
            if bounds.get(position + 1).is_some_and(|next| next.0 == *bound) {
                continue;
            }
            let start = all.arena.len() as u32;
            write_number(&mut all.arena, *bound);
            let bound = Some(Span { start, end: all.arena.len() as u32 });
            rows.push(Row { suffix: part, set, bound, value: *value });
        }
        rows.push(Row { suffix: Suffix::Sum, set, bound: None, value: self.sum });
        rows.push(Row { suffix: Suffix::Count, set, bound: None, value: self.count });
    }
}

fn kind_of(word: &[u8]) -> Option<DraftKind> {
    if word.eq_ignore_ascii_case(b"gauge_histogram") {
        return Some(DraftKind::GaugeHistogram);
    }
    [Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Histogram, Kind::Summary]
        .into_iter()
        .find(|kind| word.eq_ignore_ascii_case(kind.word().as_bytes()))
        .map(DraftKind::Known)
}

/// What is between the braces, with the name of the metric if it is there.
fn labels(cursor: &mut Cursor<'_>, name: &mut Option<Vec<u8>>) -> Result<Labels, Malformed> {
    let named_before = name.is_some();
    let mut labels = Labels::new();
    cursor.take(b'{');
    loop {
        cursor.skip_blanks();
        if cursor.take(b'}') {
            break;
        }
        let start = cursor.at;
        let label = cursor.name(
            |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':',
            is_metric_name,
            "the name of a label",
        )?;
        cursor.skip_blanks();
        if !named_before && name.is_none() && matches!(cursor.peek(), Some(b',' | b'}')) {
            *name = Some(label);
        } else {
            if !is_label_name(&label) {
                return Err(Malformed::new(start, "the name of a label"));
            }
            if !cursor.take(b'=') {
                return Err(cursor.expected("="));
            }
            cursor.skip_blanks();
            let start = cursor.at;
            let value = cursor.quoted()?;
            if std::str::from_utf8(&value).is_err() {
                return Err(Malformed::new(start, "UTF-8"));
            }
            labels.push((label, value));
            cursor.skip_blanks();
        }
        if cursor.peek() != Some(b'}') && !cursor.take(b',') {
            return Err(cursor.expected("a comma or a closing brace"));
        }
    }
    cursor.skip_blanks();
    Ok(labels)
}

/// Sorts the labels, takes out the bound that a histogram or summary has among them, and refuses
/// two of one name.
fn split_bound(kind: Kind, mut labels: Labels) -> Result<(Labels, Option<f64>), &'static str> {
    let reserved: &[u8] = match kind {
        Kind::Histogram => b"le",
        Kind::Summary => b"quantile",
        _ => b"",
    };
    let mut bound = None;
    for (_, value) in labels.iter().filter(|(name, _)| name == reserved) {
        bound = Some(parse_f64(value).ok_or("a number in le or quantile")?);
    }
    labels.retain(|(name, _)| name != reserved);
    labels.sort();
    if labels.windows(2).any(|two| matches!(two, [a, b] if a.0 == b.0)) {
        return Err("no two labels of one name");
    }
    Ok((labels, bound.filter(|bound| !bound.is_nan())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;
    use crate::testing::*;
    use expect_test::expect;

    /// What the texts of the tests may cost.
    const LARGEST: usize = 12 << 20;

    fn parse(text: &[u8]) -> Result<Exposition, Malformed> {
        super::parse(text, LARGEST)
    }

    /// The families in the order of the file, each with its help and type, and its samples.
    fn shown(text: &str) -> String {
        let parsed = parse(text.as_bytes()).unwrap();
        let mut page = String::new();
        for family in parsed.families() {
            let mut run = Run::new(&[]);
            run.begin(None, 0);
            let named = run.batch().family(&[parsed.name(family)], family.kind, &[b"x"]);
            parsed.push(family, named, run.batch());
            run.seal();
            if let Some(help) = parsed.help(family) {
                page += &format!("# HELP {}\n", String::from_utf8_lossy(help));
            }
            page += &render(&run);
        }
        page
    }

    #[test]
    fn every_type() {
        let text = r#"
            # HELP a_total Things.
            # TYPE a_total counter
            a_total{b="1"} 1027
            # TYPE c gauge
            c -0.5
            d +Inf
            d{e="x"} NaN
            # TYPE f histogram
            f_bucket{le="0.5"} 1
            f_bucket{le="1"} 2.9
            f_sum 3.25
            f_count 4
            # TYPE g Summary
            g{quantile="0.9"} 2
            g{quantile="0.50"} 1
            g_sum 30
            g_count 20
        "#;
        expect![[r#"
            # HELP Things.
            # a_total counter
            a_total{b="1"} 1027
            # c gauge
            c -0.5
            # d untyped
            d{e=""} +Inf
            d{e="x"} NaN
            # f histogram
            f_bucket{le="0.5"} 1
            f_bucket{le="1"} 2
            f_bucket{le="+Inf"} 4
            f_sum 3.25
            f_count 4
            # g summary
            g{quantile="0.5"} 1
            g{quantile="0.9"} 2
            g_sum 30
            g_count 20
        "#]]
        .assert_eq(&shown(text));
    }

    #[test]
    fn odd_and_allowed() {
        let text = concat!(
            "\n \t\n#\n# anything \\q\n#TYPE a gauge\n# HELP\n# HELP a\n# TYPE none counter\n",
            "a{ x = \"1\" , y=\"a\\\\b\\\"c\\nd\", } 1\n",
            "\ta-2\n",
            "{\"b\", z=\"1\"} 3\n",
            "{z=\"2\", b}4\n",
            "\"b\"{} 5\n",
            "# HELP b  Two\\nlines \n",
            "b_sum 6\n",
            "   ",
        );
        expect![[r#"
            # a gauge
            a{x="1",y="a\\b\"c\nd"} 1
            a{x="",y=""} -2
            # HELP Two
            lines 
            # b untyped
            b{z="1"} 3
            b{z="2"} 4
            b{z=""} 5
            # b_sum untyped
            b_sum 6
        "#]]
        .assert_eq(&shown(text));
    }

    #[test]
    fn parts_of_a_histogram_or_summary() {
        let text = concat!(
            "# TYPE h histogram\n",
            "h_bucket{a=\"1\",le=\"2\"} 5\nh_bucket{le=\"+Inf\",a=\"1\"} 6\n",
            "h_bucket{a=\"1\",le=\"2.0\"} 7\n",
            "h_sum{a=\"2\"} 1\nh_bucket{a=\"2\",le=\"nan\"} 1\n",
            "# TYPE s summary\n",
            "s_bucket 1\ns{quantile=\"1\",le=\"x\"} 2\n",
            "t_count 1\n# TYPE t summary\nt_count 1\nt_sum 3\n",
        );
        expect![[r#"
            # h histogram
            h_bucket{a="1",le="2"} 7
            h_bucket{a="1",le="+Inf"} 6
            h_sum{a="1"} 0
            h_count{a="1"} 0
            h_bucket{a="2",le="+Inf"} 0
            h_sum{a="2"} 1
            h_count{a="2"} 0
            # s summary
            s{le="x",quantile="1"} 2
            s_sum{le="x"} 0
            s_count{le="x"} 0
            # s_bucket untyped
            s_bucket 1
            # t_count untyped
            t_count 1
            # t summary
            t_sum 3
            t_count 0
        "#]]
        .assert_eq(&shown(text));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse,
            &[
                "a 1",
                "# half a comment",
                "a\n",
                "a 1 soon\n",
                "a 1 2 3\n",
                "a 1 \n",
                "a 1\r\n",
                "a x\n",
                "a 1_0\n",
                "a 0x1p2\n",
                "a 1e999\n",
                "1a 1\n",
                "a{b=\"1\" 1\n",
                "a{b=\"1} 1\n",
                "a{b=1} 1\n",
                "a{b} 1\n",
                "a{b=\"1\",,} 1\n",
                "a{b=\"1\",b=\"2\"} 1\n",
                "a{b=\"\\q\"} 1\n",
                "a{__name__=\"x\"} 1\n",
                "a{\"b c\"=\"x\"} 1\n",
                "{b=\"1\"} 1\n",
                "{\"a b\"} 1\n",
                "{a, b} 1\n",
                "# TYPE a gauge\n# TYPE a gauge\n",
                "a 1\n# TYPE a gauge\n",
                "# TYPE a gauge \n",
                "# TYPE a what\n",
                "# TYPE a gauge_histogram\na 1\n",
                "# HELP a b\n# HELP a b\n",
                "# HELP a b\\\n",
                "# HELP a-b c\n",
                "# TYPE a histogram\na_bucket{le=\"x\"} 1\n",
                "# TYPE a summary\na{quantile=\"\"} 1\n",
            ],
        );
        assert!(parse(b"a{b=\"\xff\"} 1\n").is_err());
    }

    #[test]
    fn times_are_taken_and_said() {
        let first_time = |text: &str| parse(text.as_bytes()).unwrap().first_time();
        assert_eq!(first_time("a 1\nb 2\n"), None);
        assert_eq!(first_time("a 1\nb 2 1441205977284\nc 3\t-5\n"), Some(7));
    }

    #[test]
    fn samples_have_the_labels_of_their_line() {
        let text = "# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"} 2\nh_sum{a=\"x\"} 3\n\
                    h_count{b=\"y\"} 1\ng{q=\"1\"} 4\n";
        let parsed = parse(text.as_bytes()).unwrap();
        let mut page = String::new();
        for family in parsed.families() {
            for sample in parsed.samples(family) {
                page += &String::from_utf8_lossy(parsed.name(family));
                page += sample.suffix().text();
                let bound = sample.bound().map(|(name, bound)| (name.as_bytes(), bound));
                for (name, value) in sample.labels().chain(bound) {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    page += &format!(" {}={}", text(name), text(value));
                }
                page += &format!(" {}\n", sample.value());
            }
        }
        expect![[r#"
            h_bucket a=x le=1 2
            h_bucket a=x le=+Inf 0
            h_sum a=x 3
            h_count a=x 0
            h_bucket b=y le=+Inf 1
            h_sum b=y 0
            h_count b=y 1
            g q=1 4
        "#]]
        .assert_eq(&page);
    }

    #[test]
    fn says_where() {
        let at = |text: &str| parse(text.as_bytes()).unwrap_err().at;
        assert_eq!(at("a 1\nb x\n"), 6);
        assert_eq!(at("a 1\nb{c=\"d\";} 1\n"), 11);
        assert_eq!(at("a 1\nb 1"), 7);
    }

    #[test]
    fn a_small_file_cannot_grow_without_bound() {
        let labels: Vec<String> = (0..=MOST_LABELS).map(|i| format!("l{i}=\"\"")).collect();
        rejects(parse, &[&format!("a{{{}}} 1\n", labels.join(","))]);
        let many = format!("a{{{}}} 1\n", labels[1..].join(","));
        assert!(parse(many.as_bytes()).is_ok());
        rejects(parse, &[&(many + &"a 1\n".repeat(LARGEST / MOST_LABELS / LABEL_COST))]);
        let most = "a 1\n".repeat(LARGEST / SAMPLE_COST);
        assert_eq!(parse(most.as_bytes()).unwrap().cost(), LARGEST / SAMPLE_COST * SAMPLE_COST);
        rejects(parse, &[&(most + "a 1\n")]);
        // Every bucket of a histogram is a sample with all its labels.
        let value = "x".repeat(10_000);
        let mut histogram = String::from("# TYPE h histogram\n");
        for bound in 0..LARGEST / 10_000 {
            histogram += &format!("h_bucket{{a=\"{value}\",le=\"{bound}\"}} 1\n");
        }
        rejects(parse, &[&histogram]);
    }
}
