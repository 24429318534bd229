//! A strict reader of Prometheus' text format 0.0.4 and of OpenMetrics 1.0, which knows nothing of the
//! encoders.
//!
//! It refuses what a lenient reader would forgive: a family in two places, a second HELP or TYPE,
//! a sample before its TYPE, a series that is there twice, an unknown escape; in OpenMetrics also a name that
//! two families could have, a number that could be taken for an integer, and anything but the end mark at the end.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, HashSet};

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of the page.
    pub families: Vec<Family>,
}

/// A family and its samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// With the suffix that a histogram's or summary's has.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Page {
    /// The samples of all families.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }
}

/// Which format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// The types, each with the suffixes of its samples.
    fn kinds(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Format::Text => &[
                ("counter", &[""]),
                ("gauge", &[""]),
                ("untyped", &[""]),
                ("histogram", &["_bucket", "_sum", "_count"]),
                ("summary", &["", "_sum", "_count"]),
            ],
            Format::OpenMetrics => &[
                ("counter", &["_total"]),
                ("gauge", &[""]),
                ("unknown", &[""]),
                ("histogram", &["_bucket", "_sum", "_count"]),
                ("summary", &["", "_sum", "_count"]),
            ],
        }
    }
}

/// Reads a page in the text format whose families all have a help, or says what is wrong with which line.
pub fn read(page: &[u8]) -> Result<Page, String> {
    let page = read_as(Format::Text, page)?;
    match page.families.iter().find(|family| family.help.is_empty()) {
        Some(family) => Err(format!("{} has no help", family.name)),
        None => Ok(page),
    }
}

/// Reads a page, or says what is wrong with which line.
pub fn read_as(format: Format, page: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(page).map_err(|error| format!("not UTF-8: {error}"))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let text = match format {
        Format::Text => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").ok_or("no end mark at the end")?,
    };
    let mut reading =
        Reading { format, page: Page::default(), names: [].into(), series: [].into() };
    // Not `lines`, which would forgive a carriage return.
    for (position, line) in text.split_terminator('\n').enumerate() {
        reading
            .read_line(line)
            .map_err(|wrong| format!("line {}: {wrong}: {line:?}", position + 1))?;
    }
    let Reading { page, .. } = reading;
    match page.families.iter().find(|family| family.kind.is_empty() || family.samples.is_empty()) {
        Some(family) => Err(format!("{} has no type or no sample", family.name)),
        None => Ok(page),
    }
}

struct Reading {
    format: Format,
    page: Page,
    /// The names of families, and in OpenMetrics those of the samples that they might have.
    names: HashSet<String>,
    series: HashSet<String>,
}

impl Reading {
    fn read_line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("a HELP line without a help")?;
            let help = unescape(help, self.format == Format::OpenMetrics)?;
            return self.begin(name, help);
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("a TYPE line without a type")?;
            return self.set_kind(name, kind);
        }
        if line.starts_with('#') || line.is_empty() {
            return Err("neither HELP nor TYPE nor a sample".to_owned());
        }
        self.add(read_sample(self.format, line)?)
    }

    fn begin(&mut self, name: &str, help: String) -> Result<(), String> {
        is_metric_name(name)?;
        if !self.names.insert(name.to_owned()) {
            return Err("a family in two places".to_owned());
        }
        self.page.families.push(Family { name: name.to_owned(), help, ..Family::default() });
        Ok(())
    }

    fn set_kind(&mut self, name: &str, kind: &str) -> Result<(), String> {
        let kinds = self.format.kinds();
        let known = kinds.iter().find(|(known, _)| *known == kind);
        let (_, suffixes) = known.ok_or("no such type")?;
        match self.page.families.last() {
            Some(family) if family.name == name && !family.kind.is_empty() => {
                return Err("a second TYPE line".to_owned());
            }
            Some(family) if family.name == name => {}
            // A family need not have a help.
            _ => self.begin(name, String::new())?,
        }
        if self.format == Format::OpenMetrics {
            let created = matches!(kind, "counter" | "histogram" | "summary").then_some("_created");
            let suffixes = suffixes.iter().copied().chain(created);
            for suffix in suffixes.filter(|suffix| !suffix.is_empty()) {
                if !self.names.insert(format!("{name}{suffix}")) {
                    return Err(format!("{name}{suffix} is of two families"));
                }
            }
        }
        if let Some(family) = self.page.families.last_mut() {
            family.kind = kind.to_owned();
        }
        Ok(())
    }

    fn add(&mut self, sample: Sample) -> Result<(), String> {
        let family = self.page.families.last_mut().ok_or("a sample before any family")?;
        let kinds = self.format.kinds();
        let known = kinds.iter().find(|(known, _)| *known == family.kind);
        let (kind, suffixes) = known.ok_or("a sample before its TYPE line")?;
        let suffix = sample.name.strip_prefix(family.name.as_str());
        if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
            return Err(format!("a sample among those of {}", family.name));
        }
        let bound = match (*kind, suffix) {
            ("histogram", Some("_bucket")) => Some("le"),
            // The text format does not ask for it.
            ("summary", Some("")) if self.format == Format::OpenMetrics => Some("quantile"),
            _ => None,
        };
        if let Some(label) = bound {
            let bound = sample.labels.get(label).ok_or("a bound without its label")?;
            if self.format == Format::OpenMetrics {
                read_value(self.format, bound)?;
            }
        }
        if !self.series.insert(format!("{} {:?}", sample.name, sample.labels)) {
            return Err("a series that is there twice".to_owned());
        }
        family.samples.push(sample);
        Ok(())
    }
}

/// Reads `name{label="value",...} 12.5`.
fn read_sample(format: Format, line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("a sample without a value")?;
    let (name, mut rest) = line.split_at(end);
    is_metric_name(name)?;
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, tail) = rest.split_once("=\"").ok_or("a label without a value")?;
            is_label_name(label)?;
            let end = closing_quote(tail).ok_or("a label value without an end")?;
            let value = unescape(&tail[..end], true)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("two labels {label}"));
            }
            rest = &tail[end + 1..];
            if let Some(tail) = rest.strip_prefix('}') {
                rest = tail;
                break;
            }
            rest = rest.strip_prefix(',').ok_or("neither a comma nor a brace after a label")?;
        }
    }
    let value = read_value(format, rest.strip_prefix(' ').ok_or("no blank before the value")?)?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Numbers as Go's `strconv.FormatFloat(value, 'g', -1, 64)` writes them; those of OpenMetrics are floats by
/// their looks.
fn read_value(format: Format, text: &str) -> Result<f64, String> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "+Inf" => return Ok(f64::INFINITY),
        "-Inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    if format == Format::OpenMetrics && !text.contains(['.', 'e']) {
        return Err("a number that could be an integer".to_owned());
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte));
    text.parse().ok().filter(|_| is_plain).ok_or_else(|| "a value that is no number".to_owned())
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                _ => return Err("an unknown escape".to_owned()),
            },
            character => character,
        });
    }
    Ok(plain)
}

fn is_metric_name(name: &str) -> Result<(), String> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let is_name =
        name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    if is_name { Ok(()) } else { Err(format!("{name:?} is no name of a metric")) }
}

fn is_label_name(name: &str) -> Result<(), String> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name =
        name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    if is_name && !name.starts_with("__") {
        Ok(())
    } else {
        Err(format!("{name:?} is no name of a label"))
    }
}
