//! A strict reader of Prometheus' text format 0.0.4, which knows nothing of the encoders.
//!
//! It refuses what a lenient reader would forgive: a family in two places, a second HELP or TYPE,
//! a sample before its TYPE, a series that is there twice, an unknown escape.
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

/// Reads a page, or says what is wrong with which line.
pub fn read(page: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(page).map_err(|error| format!("not UTF-8: {error}"))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut read = Page::default();
    let mut names = HashSet::new();
    let mut series = HashSet::new();
    // Not `lines`, which would forgive a carriage return.
    for (position, line) in text.split_terminator('\n').enumerate() {
        read_line(line, &mut read, &mut names, &mut series)
            .map_err(|wrong| format!("line {}: {wrong}: {line:?}", position + 1))?;
    }
    match read.families.iter().find(|family| family.kind.is_empty() || family.samples.is_empty()) {
        Some(family) => Err(format!("{} has no type or no sample", family.name)),
        None => Ok(read),
    }
}

fn read_line(
    line: &str,
    page: &mut Page,
    names: &mut HashSet<String>,
    series: &mut HashSet<String>,
) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("# HELP ") {
        let (name, help) = rest.split_once(' ').ok_or("a HELP line without a help")?;
        is_metric_name(name)?;
        if !names.insert(name.to_owned()) {
            return Err("a family in two places".to_owned());
        }
        let help = unescape(help, false)?;
        page.families.push(Family { name: name.to_owned(), help, ..Family::default() });
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("# TYPE ") {
        let (name, kind) = rest.split_once(' ').ok_or("a TYPE line without a type")?;
        if !["counter", "gauge", "untyped", "histogram", "summary"].contains(&kind) {
            return Err("no such type".to_owned());
        }
        let family = page.families.last_mut().filter(|family| family.name == name);
        let family = family.ok_or("a TYPE line that does not follow its HELP line")?;
        if !family.kind.is_empty() {
            return Err("a second TYPE line".to_owned());
        }
        family.kind = kind.to_owned();
        return Ok(());
    }
    if line.starts_with('#') || line.is_empty() {
        return Err("neither HELP nor TYPE nor a sample".to_owned());
    }
    let sample = read_sample(line)?;
    let family = page.families.last_mut().ok_or("a sample before any family")?;
    let suffixes: &[&str] = match family.kind.as_str() {
        "" => return Err("a sample before its TYPE line".to_owned()),
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["", "_sum", "_count"],
        _ => &[""],
    };
    let suffix = sample.name.strip_prefix(family.name.as_str());
    if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
        return Err(format!("a sample among those of {}", family.name));
    }
    let is_bucket = family.kind == "histogram" && suffix == Some("_bucket");
    if is_bucket && !sample.labels.contains_key("le") {
        return Err("a bucket without le".to_owned());
    }
    if !series.insert(format!("{} {:?}", sample.name, sample.labels)) {
        return Err("a series that is there twice".to_owned());
    }
    family.samples.push(sample);
    Ok(())
}

/// Reads `name{label="value",...} 12.5`.
fn read_sample(line: &str) -> Result<Sample, String> {
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
    let value = read_value(rest.strip_prefix(' ').ok_or("no blank before the value")?)?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Numbers as Go's `strconv.FormatFloat(value, 'g', -1, 64)` writes them.
fn read_value(text: &str) -> Result<f64, String> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "+Inf" => return Ok(f64::INFINITY),
        "-Inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
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
