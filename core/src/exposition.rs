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
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// How many labels a series may have. It is far more than any has.
const MOST_LABELS: usize = 128;

/// What a family, a sample and a label cost beside their text, in bytes, and how often the text of a
/// sample is kept: here, in the shape of the run, in the rendering and in the pages. The memory of a daemon
/// grows by about that much.
const FAMILY_COST: usize = 288;
const SAMPLE_COST: usize = 128;
const LABEL_COST: usize = 40;
const TEXT_COPIES: usize = 5;

/// The most that any text may cost, so that places in its texts fit their 32 bits.
const LARGEST_COST: usize = 1 << 30;

/// What a text says.
#[derive(Debug, Default)]
pub struct Exposition {
    /// All texts.
    arena: Vec<u8>,
    families: Vec<Family>,
    /// Those of the first family, then those of the second one.
    rows: Vec<Row>,
    labels: Vec<Label>,
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
    /// Where its rows begin and end.
    rows: Span,
}

/// A label that a series was given.
#[derive(Clone, Copy, Debug)]
struct Label {
    name: Span,
    value: Span,
}

/// Labels that stand one after another, sorted by name.
#[derive(Clone, Copy, Debug, Default)]
struct LabelSet {
    start: u32,
    count: u8,
}

/// One line, as it is shown.
#[derive(Debug)]
struct Row {
    /// The bucket's upper bound or the quantile; empty if it has none.
    bound: Span,
    value: f64,
    labels: LabelSet,
    suffix: Suffix,
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
        let exposition = self.exposition;
        let labels = self.row.labels.of(&exposition.labels);
        labels.iter().map(|label| (exposition.text(label.name), exposition.text(label.value)))
    }

    /// The label that a bucket (`le`) or a quantile has beside the others.
    pub fn bound(&self) -> Option<(&'static str, &'a [u8])> {
        let bound = self.exposition.text(self.row.bound);
        (!bound.is_empty()).then(|| (self.family.bound_name(), bound))
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

    /// What it takes to keep and to show all of it, in bytes, roughly.
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
        let rows = self.rows.get(family.rows.range()).unwrap_or_default();
        rows.iter().map(move |row| Sample { exposition: self, family, row })
    }

    /// Pushes all series of a family, each with the labels that its line has.
    pub fn push(&self, family: &Family, named: NamedFamily, batch: &mut Batch) {
        // One more, for the bound.
        let mut pairs: [(&[u8], &[u8]); MOST_LABELS + 1] = [(b"", b""); MOST_LABELS + 1];
        for sample in self.samples(family) {
            let bound = sample.bound().map(|(name, bound)| (name.as_bytes(), bound));
            let mut length = 0;
            for (pair, label) in pairs.iter_mut().zip(sample.labels().chain(bound)) {
                *pair = label;
                length += 1;
            }
            let labels = batch.label_pairs(pairs.get(..length).unwrap_or_default());
            batch.push_named(named, sample.suffix(), labels, sample.value());
        }
    }

    fn text(&self, span: Span) -> &[u8] {
        text_in(&self.arena, span)
    }
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl LabelSet {
    fn of(self, labels: &[Label]) -> &[Label] {
        let start = self.start as usize;
        labels.get(start..start + usize::from(self.count)).unwrap_or_default()
    }
}

impl Family {
    /// The label that holds the bounds of its buckets, or its quantiles.
    fn bound_name(&self) -> &'static str {
        if self.kind == Kind::Histogram { "le" } else { "quantile" }
    }
}

fn text_in(arena: &[u8], span: Span) -> &[u8] {
    arena.get(span.range()).unwrap_or_default()
}

/// Appends what is written to the texts.
fn store(arena: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Span {
    let start = arena.len() as u32;
    write(arena);
    Span { start, end: arena.len() as u32 }
}

/// Takes a whole text that costs at most `largest` bytes ([`Exposition::cost`]), such as:
///
/// ```text
/// # HELP backup_seconds How long the last backup took.
/// # TYPE backup_seconds gauge
/// backup_seconds{disk="sda"} 4.25
/// ```
///
/// While it runs it takes no more memory than that, either, beside the text.
///
/// # Errors
///
/// The first place where it is not in the format, or where it has become too much ([`is_too_much`]).
pub fn parse(text: &[u8], largest: usize) -> Result<Exposition, Malformed> {
    let mut drafts = Drafts { largest: largest.min(LARGEST_COST), ..Drafts::default() };
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
        outcome.map_err(|malformed| malformed.moved_by(start))?;
    }
    drafts.finish().map_err(|expected| Malformed::new(text.len(), expected))
}

/// Whether a text was refused for what it costs, and not for what is in it.
pub fn is_too_much(malformed: &Malformed) -> bool {
    malformed.expected == TOO_MUCH
}

/// A place in a line.
struct Cursor<'t> {
    line: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
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

    fn token(&mut self, belongs: impl Fn(u8) -> bool) -> &'t [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn expected(&self, what: &'static str) -> Malformed {
        Malformed::new(self.at, what)
    }

    /// A name, which may be in quotes. Nothing that would have to be escaped is in one.
    fn name(
        &mut self,
        is_name: impl Fn(&[u8]) -> bool,
        what: &'static str,
    ) -> Result<&'t [u8], Malformed> {
        let start = self.at;
        let name = if self.take(b'"') {
            let name = self.token(|byte| byte != b'"');
            if !self.take(b'"') {
                return Err(self.expected("a closing quotation mark"));
            }
            name
        } else {
            self.token(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
        };
        if is_name(name) { Ok(name) } else { Err(Malformed::new(start, what)) }
    }

    fn metric_name(&mut self) -> Result<&'t [u8], Malformed> {
        self.name(is_metric_name, "the name of a metric")
    }

    /// Text in quotes, with `\\`, `\"` and `\n` replaced.
    fn quoted(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if !self.take(b'"') {
            return Err(self.expected("a quotation mark"));
        }
        loop {
            out.extend_from_slice(self.token(|byte| byte != b'"' && byte != b'\\'));
            if self.take(b'"') {
                return Ok(());
            }
            if !self.take(b'\\') {
                return Err(self.expected("a closing quotation mark"));
            }
            out.push(self.escaped()?);
        }
    }

    /// The rest of the line, with what is escaped replaced.
    fn unescaped(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        while self.peek().is_some() {
            out.extend_from_slice(self.token(|byte| byte != b'\\'));
            if self.take(b'\\') {
                out.push(self.escaped()?);
            }
        }
        Ok(())
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
const TOO_MUCH: &str = "fewer samples: these take too much memory";

/// What was read so far. Names and helps stay in the text until it is known which are shown.
#[derive(Default)]
struct Drafts<'t> {
    arena: Vec<u8>,
    labels: Vec<Label>,
    samples: Vec<DraftSample>,
    families: Vec<Draft<'t>>,
    by_name: HashMap<&'t [u8], u32>,
    cost: usize,
    /// What it may cost.
    largest: usize,
    first_time: Option<usize>,
}

struct Draft<'t> {
    name: &'t [u8],
    /// With its escapes.
    help: Option<&'t [u8]>,
    kind: Option<DraftKind>,
    samples: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum DraftKind {
    Known(Kind),
    /// May be declared and cannot be shown.
    GaugeHistogram,
}

/// A line with a sample.
struct DraftSample {
    value: f64,
    /// Of a bucket or a quantile; otherwise it is no number.
    bound: f64,
    family: u32,
    labels: LabelSet,
    suffix: Suffix,
}

impl<'t> Drafts<'t> {
    /// A line such as `# HELP name text`, `# TYPE name gauge` or `# anything`.
    fn comment(&mut self, cursor: &mut Cursor<'t>) -> Result<(), Malformed> {
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
        let help = cursor.rest();
        let cost = if keyword == b"HELP" { TEXT_COPIES * help.len() } else { 0 };
        self.pay(cost).map_err(|what| cursor.expected(what))?;
        let (family, _) = self.find(name).map_err(|what| cursor.expected(what))?;
        let Some(draft) = self.families.get_mut(family as usize) else { return Ok(()) };
        if keyword == b"HELP" {
            if draft.help.is_some() {
                return Err(cursor.expected("no second HELP of this name"));
            }
            draft.help = Some(help);
            // Looked through for what is escaped wrongly, and not kept.
            let start = self.arena.len();
            let outcome = cursor.unescaped(&mut self.arena);
            self.arena.truncate(start);
            outcome
        } else {
            if draft.kind.is_some() {
                return Err(cursor.expected("no second TYPE, and none after samples"));
            }
            draft.kind = Some(kind_of(cursor.rest()).ok_or(cursor.expected("a type"))?);
            Ok(())
        }
    }

    /// A line such as `name{label="text"} 1.5` or `{"name",label="text"} 1.5 1441205977284`, which
    /// begins at `line`.
    fn sample(&mut self, cursor: &mut Cursor<'t>, line: usize) -> Result<(), Malformed> {
        let mut name = None;
        if cursor.peek() != Some(b'{') {
            name = Some(cursor.metric_name()?);
            cursor.skip_blanks();
        }
        let start = self.labels.len();
        if cursor.peek() == Some(b'{') {
            self.read_labels(cursor, &mut name)?;
        }
        let name = name.ok_or(cursor.expected("the name of a metric"))?;
        let (family, suffix) = self.find(name).map_err(|what| cursor.expected(what))?;
        let Some(draft) = self.families.get_mut(family as usize) else { return Ok(()) };
        let kind = match *draft.kind.get_or_insert(DraftKind::Known(Kind::Untyped)) {
            DraftKind::Known(kind) => kind,
            DraftKind::GaugeHistogram => return Err(cursor.expected("a type that can be shown")),
        };
        draft.samples += 1;
        let bound = self.split_bound(kind, start).map_err(|what| cursor.expected(what))?;
        let count = self.labels.len() - start;
        let count = u8::try_from(count).ok().filter(|count| usize::from(*count) <= MOST_LABELS);
        let count = count.ok_or(cursor.expected("at most 128 labels"))?;
        let labels = LabelSet { start: start as u32, count };
        let cost = cost_of(&self.arena, labels.of(&self.labels)) + TEXT_COPIES * name.len();
        self.pay(cost).map_err(|what| cursor.expected(what))?;
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
            self.first_time.get_or_insert(line + end);
        }
        self.samples.push(DraftSample { value, bound, family, labels, suffix });
        Ok(())
    }

    /// Adds to the cost.
    fn pay(&mut self, cost: usize) -> Result<(), &'static str> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.largest { Err(TOO_MUCH) } else { Ok(()) }
    }

    /// The family that a name belongs to, made if there is none: its own, or that of the summary or
    /// histogram of which it is a part.
    fn find(&mut self, name: &'t [u8]) -> Result<(u32, Suffix), &'static str> {
        if let Some(family) = self.by_name.get(name) {
            return Ok((*family, Suffix::None));
        }
        for (end, suffix) in
            [(&b"_count"[..], Suffix::Count), (b"_sum", Suffix::Sum), (b"_bucket", Suffix::Bucket)]
        {
            let whole = name.strip_suffix(end).filter(|whole| !whole.is_empty());
            if let Some(family) = whole.and_then(|whole| self.by_name.get(whole)) {
                let kind = self.families.get(*family as usize).and_then(|draft| draft.kind);
                let has_it = kind == Some(DraftKind::Known(Kind::Histogram))
                    || kind == Some(DraftKind::Known(Kind::Summary)) && suffix != Suffix::Bucket;
                if has_it {
                    return Ok((*family, suffix));
                }
            }
        }
        self.pay(FAMILY_COST + TEXT_COPIES * name.len())?;
        let family = self.families.len() as u32;
        self.by_name.insert(name, family);
        self.families.push(Draft { name, help: None, kind: None, samples: 0 });
        Ok((family, Suffix::None))
    }

    /// Appends the labels between the braces, and gives the name of the metric if it is there.
    fn read_labels(
        &mut self,
        cursor: &mut Cursor<'t>,
        name: &mut Option<&'t [u8]>,
    ) -> Result<(), Malformed> {
        let named_before = name.is_some();
        let first = self.labels.len();
        // Lines that follow each other mostly have the same labels in the same order.
        let before = self.samples.last().map_or(0, |sample| sample.labels.start as usize);
        cursor.take(b'{');
        loop {
            cursor.skip_blanks();
            if cursor.take(b'}') {
                break;
            }
            let start = cursor.at;
            let label = cursor.name(is_metric_name, "the name of a label")?;
            cursor.skip_blanks();
            if !named_before && name.is_none() && matches!(cursor.peek(), Some(b',' | b'}')) {
                *name = Some(label);
            } else {
                if !is_label_name(label) {
                    return Err(Malformed::new(start, "the name of a label"));
                }
                if !cursor.take(b'=') {
                    return Err(cursor.expected("="));
                }
                cursor.skip_blanks();
                let start = cursor.at;
                let place = before + self.labels.len() - first;
                let known = self.labels.get(place).map(|label| label.name);
                let name = match known.filter(|known| text_in(&self.arena, *known) == label) {
                    Some(known) => known,
                    None => store(&mut self.arena, |arena| arena.extend_from_slice(label)),
                };
                let value_start = self.arena.len();
                cursor.quoted(&mut self.arena)?;
                let value = Span { start: value_start as u32, end: self.arena.len() as u32 };
                if std::str::from_utf8(text_in(&self.arena, value)).is_err() {
                    return Err(Malformed::new(start, "UTF-8"));
                }
                self.labels.push(Label { name, value });
                cursor.skip_blanks();
            }
            if cursor.peek() != Some(b'}') && !cursor.take(b',') {
                return Err(cursor.expected("a comma or a closing brace"));
            }
        }
        cursor.skip_blanks();
        Ok(())
    }

    /// Sorts the labels from `start` on, takes out the bound that a histogram or summary has among them,
    /// and refuses two of one name. Without a bound it is no number.
    fn split_bound(&mut self, kind: Kind, start: usize) -> Result<f64, &'static str> {
        let Drafts { arena, labels, .. } = self;
        let reserved: &[u8] = match kind {
            Kind::Histogram => b"le",
            Kind::Summary => b"quantile",
            _ => b"",
        };
        let mut bound = f64::NAN;
        let mut kept = start;
        for at in start..labels.len() {
            let Some(label) = labels.get(at).copied() else { break };
            if text_in(arena, label.name) == reserved {
                let value = text_in(arena, label.value);
                bound = parse_f64(value).ok_or("a number in le or quantile")?;
            } else if let Some(place) = labels.get_mut(kept) {
                *place = label;
                kept += 1;
            }
        }
        labels.truncate(kept);
        let labels = labels.get_mut(start..).unwrap_or_default();
        let name = |label: &Label| text_in(arena, label.name);
        if !labels.is_sorted_by(|a, b| name(a) < name(b)) {
            labels.sort_unstable_by(|a, b| name(a).cmp(name(b)));
            if labels.windows(2).any(|two| matches!(two, [a, b] if name(a) == name(b))) {
                return Err("no two labels of one name");
            }
        }
        Ok(bound)
    }

    /// Lays everything out as it will be shown. Families without samples are not.
    fn finish(self) -> Result<Exposition, &'static str> {
        let Drafts { mut arena, labels, mut samples, families, by_name, cost, .. } = self;
        drop(by_name);
        if !samples.is_sorted_by_key(|sample| sample.family) {
            // Stable: of a family, the order of the text.
            samples.sort_by_key(|sample| sample.family);
        }
        let mut rows =
            Rows { rows: Vec::with_capacity(samples.len()), cost, largest: self.largest };
        let mut shown = Vec::new();
        let mut rest = samples.as_slice();
        for draft in families {
            let (own, others) = rest.split_at_checked(draft.samples as usize).unwrap_or_default();
            rest = others;
            let Some(DraftKind::Known(kind)) = draft.kind.filter(|_| !own.is_empty()) else {
                continue;
            };
            let start = rows.rows.len() as u32;
            if matches!(kind, Kind::Histogram | Kind::Summary) {
                rows.add_compounds(kind, own, &mut arena, &labels)?;
            } else {
                rows.rows.extend(own.iter().map(|sample| Row {
                    bound: Span::default(),
                    value: sample.value,
                    labels: sample.labels,
                    suffix: Suffix::None,
                }));
            }
            let rows = Span { start, end: rows.rows.len() as u32 };
            let name = store(&mut arena, |arena| arena.extend_from_slice(draft.name));
            let help = draft.help.map(|help| {
                let mut cursor = Cursor { line: help, at: 0 };
                // It was looked through before.
                store(&mut arena, |arena| cursor.unescaped(arena).unwrap_or_default())
            });
            shown.push(Family { name, help, kind, rows });
        }
        let Rows { mut rows, cost, .. } = rows;
        let mut all = Exposition {
            arena,
            labels,
            families: shown,
            cost,
            first_time: self.first_time,
            ..Exposition::default()
        };
        rows.shrink_to_fit();
        all.rows = rows;
        all.arena.shrink_to_fit();
        all.labels.shrink_to_fit();
        all.families.shrink_to_fit();
        Ok(all)
    }
}

/// What a row with these labels costs, without the name of its family.
fn cost_of(arena: &[u8], labels: &[Label]) -> usize {
    let text = |label: &Label| text_in(arena, label.name).len() + text_in(arena, label.value).len();
    let labels = labels.iter().map(|label| LABEL_COST + TEXT_COPIES * text(label));
    SAMPLE_COST + labels.sum::<usize>()
}

/// The rows of all families, and what everything costs with them.
struct Rows {
    rows: Vec<Row>,
    cost: usize,
    largest: usize,
}

/// The samples of a histogram or summary with the same labels.
struct Compound {
    labels: LabelSet,
    sum: f64,
    count: f64,
}

impl Rows {
    /// Adds the rows of a histogram or summary: of each set of labels, in the order in which they first
    /// come, the bounds in their order, the sum and the count.
    fn add_compounds(
        &mut self,
        kind: Kind,
        samples: &[DraftSample],
        arena: &mut Vec<u8>,
        labels: &[Label],
    ) -> Result<(), &'static str> {
        let mut compounds: Vec<Compound> = Vec::new();
        // The compound of each bound, the bound and the value.
        let mut bounds: Vec<(u32, f64, f64)> = Vec::new();
        let mut by_labels: HashMap<Texts<'_>, u32> = HashMap::new();
        for sample in samples {
            let of = Texts { arena, labels: sample.labels.of(labels) };
            let compound = *by_labels.entry(of).or_insert_with(|| {
                compounds.push(Compound { labels: sample.labels, sum: 0.0, count: 0.0 });
                compounds.len() as u32 - 1
            });
            let Some(own) = compounds.get_mut(compound as usize) else { continue };
            match sample.suffix {
                Suffix::Count => own.count = whole(sample.value),
                Suffix::Sum => own.sum = sample.value,
                _ if sample.bound.is_nan() => {}
                _ if kind == Kind::Histogram => {
                    bounds.push((compound, sample.bound, whole(sample.value)));
                }
                _ => bounds.push((compound, sample.bound, sample.value)),
            }
        }
        drop(by_labels);
        // Of two with the same bound the later one counts; a stable sort keeps their order.
        bounds.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal)));
        let part = if kind == Kind::Histogram { Suffix::Bucket } else { Suffix::None };
        let mut bounds = bounds.iter().peekable();
        for (number, compound) in (0..).zip(&compounds) {
            let first = self.rows.len();
            let mut last = f64::NEG_INFINITY;
            while let Some((_, bound, value)) = bounds.next_if(|of| of.0 == number) {
                last = *bound;
                if !bounds.peek().is_some_and(|next| next.0 == number && next.1 == *bound) {
                    self.add(part, compound.labels, Some(*bound), *value, arena);
                }
            }
            if kind == Kind::Histogram && last != f64::INFINITY {
                self.add(part, compound.labels, Some(f64::INFINITY), compound.count, arena);
            }
            self.add(Suffix::Sum, compound.labels, None, compound.sum, arena);
            self.add(Suffix::Count, compound.labels, None, compound.count, arena);
            // What the text said has been paid for, as far as it is known here: a row too many is
            // counted twice rather than one too few.
            let added = self.rows.len() - first;
            let cost = added.min(3) * cost_of(arena, compound.labels.of(labels));
            self.cost = self.cost.saturating_add(cost);
            if self.cost > self.largest {
                return Err(TOO_MUCH);
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        suffix: Suffix,
        labels: LabelSet,
        bound: Option<f64>,
        value: f64,
        arena: &mut Vec<u8>,
    ) {
        let bound = bound.map(|bound| store(arena, |arena| write_number(arena, bound)));
        self.rows.push(Row { bound: bound.unwrap_or_default(), value, labels, suffix });
    }
}

/// Labels that are compared by their texts.
struct Texts<'a> {
    arena: &'a [u8],
    labels: &'a [Label],
}

impl<'a> Texts<'a> {
    fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let arena = self.arena;
        self.labels.iter().map(|label| (text_in(arena, label.name), text_in(arena, label.value)))
    }
}

impl PartialEq for Texts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Texts<'_> {}

impl Hash for Texts<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in self.iter() {
            name.hash(state);
            value.hash(state);
        }
    }
}

/// A count as node_exporter keeps it, in 64 bits without a fraction.
fn whole(value: f64) -> f64 {
    value as u64 as f64
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
            d +Inf
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
            a -2
            # HELP Two
            lines 
            # b untyped
            b{z="1"} 3
            b{z="2"} 4
            b 5
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
    fn a_series_has_at_most_128_labels() {
        let line = |count: usize| {
            let labels: Vec<String> = (0..count).map(|i| format!("l{i}=\"\"")).collect();
            format!("a{{{}}} 1\n", labels.join(","))
        };
        assert!(parse(line(MOST_LABELS).as_bytes()).is_ok());
        rejects(parse, &[&line(MOST_LABELS + 1), &line(300)]);
    }

    /// What a text costs is at least what is kept of it and what its parsing takes.
    #[test]
    fn a_small_text_cannot_grow_without_bound() {
        let many = |line: &dyn Fn(usize) -> String| (0..100_000).map(line).collect::<String>();
        // Each label of a line is one of many, which no other series is given.
        let different = many(&|at| format!("a{{l{}=\"1\"}} 1\n", at % MOST_LABELS));
        let texts = [
            many(&|_| "a 1\n".to_owned()),
            many(&|at| format!("a{at} 1\n")),
            many(&|at| format!("# HELP a{at} x\n")),
            many(&|at| format!("# TYPE a{at} gauge\n")),
            format!("# TYPE h histogram\n{}", many(&|at| format!("h_sum{{a=\"{at}\"}} 1\n"))),
            format!("# TYPE h histogram\n{}", many(&|at| format!("h_bucket{{le=\"{at}\"}} 1\n"))),
        ];
        for text in &texts {
            let malformed = super::parse(text.as_bytes(), 4 << 20).unwrap_err();
            assert!(is_too_much(&malformed), "{malformed}");
            assert!(malformed.at > 0 && malformed.at <= text.len());
        }
        let parsed = super::parse(different.as_bytes(), 64 << 20).unwrap();
        let kept = parsed.arena.capacity()
            + parsed.rows.capacity() * size_of::<Row>()
            + parsed.labels.capacity() * size_of::<Label>();
        assert!(kept < different.len() * 4, "{kept} bytes of {}", different.len());
        assert!(kept * 3 < parsed.cost(), "{kept} bytes cost {}", parsed.cost());
        assert!(!is_too_much(&parse(b"a x\n").unwrap_err()));
    }

    #[test]
    fn families_may_be_scattered() {
        let text = "a{n=\"1\"} 1\nb 1\na{n=\"2\"} 2\n# TYPE s summary\nb{n=\"x\"} 2\n\
                    s_sum{n=\"1\"} 3\na{n=\"3\"} 3\ns_count{n=\"1\"} 4\n";
        expect![[r#"
            # a untyped
            a{n="1"} 1
            a{n="2"} 2
            a{n="3"} 3
            # b untyped
            b 1
            b{n="x"} 2
            # s summary
            s_sum{n="1"} 3
            s_count{n="1"} 4
        "#]]
        .assert_eq(&shown(text));
    }
}
