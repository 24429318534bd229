//! The text format of Prometheus, version 0.0.4, read as node_exporter reads a textfile.
//!
//! The grammar is that of [the format's description][format], and where it leaves room, that of the
//! parser in prometheus/common. Strict is: every line that is not blank ends with a newline, so
//! that a file that is still being written is refused; a value is followed by nothing, since a time
//! would go stale; a name is not given a second type or help. Anything else is taken.
//!
//! [format]: https://prometheus.io/docs/instrumenting/exposition_formats/

use std::collections::HashMap;

use vitald_core::family::{is_label_name, is_metric_name};
use vitald_core::number::{parse_f64, write_number};
use vitald_core::prelude::*;

/// How many label names a family may have. It is far more than any has, and bounds what a small
/// file can grow to, because each of a family's series gets all its label names.
const MOST_LABELS: usize = 128;

/// The most that a file may cost: its share of what all of them may.
///
/// What counts is what a file grows to, since each series gets the labels of its whole family: half a
/// megabyte of text can become a page of thirty.
pub(super) const LARGEST_COST: usize = 12 << 20;

/// What a sample and a label cost beside their text, in bytes.
const SAMPLE_COST: usize = 48;
const LABEL_COST: usize = 16;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    /// All texts.
    arena: Vec<u8>,
    families: Vec<Family>,
    cost: usize,
}

/// A text in the arena, which [`LARGEST_COST`] keeps much shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug)]
pub(super) struct Family {
    name: Span,
    help: Option<Span>,
    pub(super) kind: Kind,
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

impl Exposition {
    pub(super) fn families(&self) -> &[Family] {
        &self.families
    }

    /// What it takes to keep and to show all of it, in bytes, roughly.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn name(&self, family: &Family) -> &[u8] {
        self.text(family.name)
    }

    /// The help, if a line gave one.
    pub(super) fn help(&self, family: &Family) -> Option<&[u8]> {
        family.help.map(|help| self.text(help))
    }

    /// Pushes all series of a family.
    pub(super) fn push(&self, family: &Family, named: NamedFamily, batch: &mut Batch) {
        let bound_name: &[u8] = if family.kind == Kind::Histogram { b"le" } else { b"quantile" };
        // One more, for the bound.
        let mut pairs: [(&[u8], &[u8]); MOST_LABELS + 1] = [(b"", b""); MOST_LABELS + 1];
        let count = family.label_names.len();
        for row in &family.rows {
            // A series gets the labels that others of its family have, without a value.
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
    fn labels_of(&self, set: u32) -> &[Label] {
        let set = set as usize;
        let start = set.checked_sub(1).and_then(|before| self.set_ends.get(before));
        let end = self.set_ends.get(set).map_or(0, |end| *end as usize);
        self.labels.get(start.map_or(0, |start| *start as usize)..end).unwrap_or_default()
    }
}

/// Takes a whole file, such as:
///
/// ```text
/// # HELP backup_seconds How long the last backup took.
/// # TYPE backup_seconds gauge
/// backup_seconds{disk="sda"} 4.25
/// ```
pub(super) fn parse(text: &[u8]) -> Result<Exposition, Malformed> {
    let mut drafts = Drafts::default();
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
            Some(_) => drafts.sample(&mut cursor),
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

/// What is wrong with a file that costs more than [`LARGEST_COST`].
const TOO_MUCH: &str = "samples that take at most 12 MiB, with all labels of their families";

/// What was read so far.
#[derive(Default)]
struct Drafts {
    families: Vec<Draft>,
    /// What it costs without the labels that a series gets from others.
    cost: usize,
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

    /// A line such as `name{label="text"} 1.5` or `{"name",label="text"} 1.5`.
    fn sample(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
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
        if self.cost > LARGEST_COST {
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
        if cursor.peek().is_some() {
            return Err(cursor.expected("a newline after the value, and no time"));
        }
        draft.add(kind, suffix, labels, bound, value);
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
        let mut all = Exposition::default();
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
                if all.cost > LARGEST_COST {
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
    use vitald_core::run::Run;
    use vitald_core::testing::*;

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
                "a 1 1441205977284\n",
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
        rejects(parse, &[&(many + &"a 1\n".repeat(LARGEST_COST / MOST_LABELS / LABEL_COST))]);
        let most = "a 1\n".repeat(LARGEST_COST / SAMPLE_COST);
        assert_eq!(
            parse(most.as_bytes()).unwrap().cost(),
            LARGEST_COST / SAMPLE_COST * SAMPLE_COST
        );
        rejects(parse, &[&(most + "a 1\n")]);
        // Every bucket of a histogram is a sample with all its labels.
        let value = "x".repeat(10_000);
        let mut histogram = String::from("# TYPE h histogram\n");
        for bound in 0..LARGEST_COST / 10_000 {
            histogram += &format!("h_bucket{{a=\"{value}\",le=\"{bound}\"}} 1\n");
        }
        rejects(parse, &[&histogram]);
    }
}
