//! A page as it is compared: the types of its families, and its series by name.

use super::exceptions::falls;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use vitald_core::exposition::{self, Exposition, Family};
use vitald_core::family::Kind;
use vitald_core::shape::Suffix;

/// The largest page that is taken, in bytes; about that of a machine with forty thousand interfaces.
pub(crate) const LARGEST_PAGE: usize = 64 << 20;

/// What the samples of a page may cost. The largest page of real metrics stays below.
const LARGEST_COST: usize = 128 << 20;

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The type of each family that has samples.
    pub(super) kinds: HashMap<Arc<str>, Kind>,
    /// By the series as the text format writes it, its labels in order and without those that are
    /// empty: to Prometheus an empty label is no label.
    pub(super) samples: HashMap<Box<str>, Sample>,
}

/// A sample of a page.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) family: Arc<str>,
    /// It only goes up, but for a reset.
    pub(super) is_cumulative: bool,
    pub(super) value: f64,
}

impl Page {
    /// Takes the text of a page.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and in which line.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let parsed = exposition::parse(text, LARGEST_COST).map_err(|malformed| {
            let before = &text[..malformed.at.min(text.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line}: expected {}", malformed.expected)
        })?;
        let mut page = Page::default();
        for family in parsed.families() {
            let name: Arc<str> = String::from_utf8_lossy(parsed.name(family)).into();
            page.add(&parsed, family, &name)?;
            page.kinds.insert(name, family.kind);
        }
        Ok(page)
    }

    /// Whether it has no sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    fn add(&mut self, parsed: &Exposition, family: &Family, name: &Arc<str>) -> Result<(), String> {
        for sample in parsed.samples(family) {
            let text = series(name, sample);
            match self.samples.entry(text.into()) {
                Entry::Occupied(known) => {
                    return Err(format!("the series {} is there twice", known.key()));
                }
                Entry::Vacant(place) => place.insert(Sample {
                    family: Arc::clone(name),
                    is_cumulative: match family.kind {
                        Kind::Counter => !falls(name),
                        Kind::Histogram => true,
                        Kind::Summary => sample.suffix() != Suffix::None,
                        Kind::Gauge | Kind::Untyped => false,
                    },
                    value: sample.value(),
                }),
            };
        }
        Ok(())
    }
}

/// Writes a series as the text format does, without empty labels.
fn series(family: &str, sample: exposition::Sample<'_>) -> String {
    let mut text = format!("{family}{}", sample.suffix().text());
    let bound = sample.bound().map(|(name, bound)| (name.as_bytes(), bound));
    let mut before = '{';
    for (name, value) in sample.labels().chain(bound).filter(|(_, value)| !value.is_empty()) {
        text.push(before);
        text += &String::from_utf8_lossy(name);
        text += "=\"";
        for character in String::from_utf8_lossy(value).chars() {
            match character {
                '\n' => text += "\\n",
                '\\' | '"' => text.extend(['\\', character]),
                _ => text.push(character),
            }
        }
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    text
}

/// The labels of a series as [`series`] writes it: the name of each, its value as it is written, and the
/// series without it.
pub(super) fn labels(text: &str) -> Vec<(&str, &str, String)> {
    let Some((family, inner)) = text.strip_suffix('}').and_then(|text| text.split_once('{')) else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    let mut rest = inner;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut is_escaped = false;
        let end = after.find(|character| {
            let is_end = character == '"' && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        });
        let Some((value, after)) = end.map(|end| after.split_at(end)) else { break };
        pairs.push((name, value));
        rest = after.strip_prefix("\",").unwrap_or_default();
    }
    let without = |left_out: usize| {
        let kept = pairs.iter().enumerate().filter(|(at, _)| *at != left_out);
        let kept: Vec<_> = kept.map(|(_, (name, value))| format!("{name}=\"{value}\"")).collect();
        match kept.is_empty() {
            true => family.to_owned(),
            false => format!("{family}{{{}}}", kept.join(",")),
        }
    };
    pairs.iter().enumerate().map(|(at, (name, value))| (*name, *value, without(at))).collect()
}
