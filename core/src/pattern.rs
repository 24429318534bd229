//! Regular expressions of settings, in node_exporter's dialect.

use crate::settings::{Node, Setting, Value};
use std::cmp::Ordering;
use std::fmt;

/// A regular expression over bytes, unanchored, in the dialect of Go's `regexp` (RE2).
///
/// Two patterns are equal when their sources are. Matching allocates nothing once warm.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: regex::bytes::Regex,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        let regex = regex::bytes::RegexBuilder::new(source)
            .unicode(false)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| {
                format!("not a regular expression: {}", last_line(&error.to_string()))
            })?;
        Ok(Pattern { source: source.to_owned(), regex })
    }

    /// Whether it matches anywhere in the text.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of its named groups.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// Calls `each` with the number and text of every group that took part in the first match.
    pub fn captures<'t>(&self, text: &'t [u8], mut each: impl FnMut(&str, &'t [u8])) -> bool {
        let Some(found) = self.regex.captures(text) else { return false };
        for name in self.regex.capture_names().flatten() {
            if let Some(group) = found.name(name) {
                each(name, group.as_bytes());
            }
        }
        true
    }
}

/// regex draws the place of an error over several lines; the last one is the sentence.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.source.partial_cmp(&other.source)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl Setting for Pattern {
    const KIND: &'static str = "regular expression";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => Pattern::new(text),
            other => {
                Err(format!("expected a regular expression in quotes, found {}", other.noun()))
            }
        }
    }
}

/// Names to take and names to leave, by at most one pattern of each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// A filter from an include and an exclude setting; an empty pattern is none.
    pub fn new(include: Option<Pattern>, exclude: Option<Pattern>) -> Self {
        let given = |pattern: Option<Pattern>| pattern.filter(|pattern| !pattern.source.is_empty());
        Filter { include: given(include), exclude: given(exclude) }
    }

    /// Whether a name is taken: included if there is an include, and not excluded.
    pub fn takes(&self, name: &[u8]) -> bool {
        !self.exclude.as_ref().is_some_and(|pattern| pattern.matches(name))
            && self.include.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}
