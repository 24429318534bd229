//! Regular expressions of settings, in node_exporter's dialect.

mod class;
mod compiled;
#[cfg(test)]
mod tests;
mod translate;
mod tree;
mod unicode;

use crate::settings::{Node, Setting, Value};
use compiled::{Compiled, Limits, Refusal, Texts};
use regex_automata::util::captures::Captures;
use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::str;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use translate::{NEST_LIMIT, Translation, translate, unsupported};
use tree::Tree;

/// What a compiled expression may take, in bytes: enough for `.{1000}` several times over.
///
/// Named groups share it, as the memory to search with is the product of both.
const SIZE_LIMIT: usize = 4 << 20;

/// The longest expression, in bytes. One that is too large once compiled is found only by
/// translating and parsing it all, which costs time and memory by its length.
const LONGEST_SOURCE: usize = 64 << 10;

/// An expression whose translation is at most so long, in bytes, counted as often as its repetitions write
/// it out and once more for each named group, cannot become too large: no byte of it comes to 1 KiB.
const SMALL: usize = 4 << 10;

/// A regular expression over bytes, unanchored, in the dialect of Go's `regexp` (RE2).
///
/// What Go takes matches what it matches in Go, and what Go refuses is refused. In particular,
/// `.` and classes match one code point, each byte that is not UTF-8 counts as one U+FFFD, and
/// `(?i)` folds beyond ASCII, while `\d`, `\s`, `\w`, `\b` and `[[:alpha:]]` are ASCII alone.
/// These are the differences:
///
/// - An expression is refused if it is longer than 64 KiB, nests more than 128 deep (Go: 1000) or is
///   too large once compiled: 4 MiB, divided by one more than its named groups (Go: 128 MiB).
/// - `(?<name>...)` is `(?P<name>...)`, as from Go 1.22 on, and names of classes are as from 1.25 on:
///   `\p{letter}` is `\pL`. The short names of scripts, such as `\p{Grek}`, are taken as well.
/// - `(?i:s)x|S` matches no `s`: before golang/go#59007 the case of a branch spread to the next.
/// - Letters that Unicode has had since Go's tables were made fold too, and are in classes such as `\pL`.
/// - A surrogate, `\x{D800}`, matches nothing. In Go, `^\x{D800}$` alone matches U+FFFD.
///
/// Two patterns are equal when their sources are.
///
/// What is wrong with an expression is found when it is made. A text of ASCII is matched by walking the tree that was made
/// then; a small expression is compiled only where that would take many steps, or at the first other text.
/// What is compiled for texts of ASCII is an expression of its own, which takes a small part of the memory.
///
/// Matching allocates nothing once warm. The first match of ASCII that is not walked, and that of another text, allocate
/// what every further one uses; a clone has its own. Each further thread that matches with the same pattern allocates as
/// much once, or now and then if many do it at the same moment. Text that is not UTF-8 is copied to a buffer
/// of the thread, which grows to the largest such text.
pub struct Pattern {
    source: String,
    /// For texts of ASCII, which nearly all are; `None` of one that cannot be walked.
    tree: Option<Arc<Tree>>,
    /// The same once a text could not be walked; the tree is not used from then on.
    for_ascii: OnceLock<Option<Compiled>>,
    /// For all other texts and for groups, once it has been needed. `None` of one that does not compile,
    /// which is refused when it is made.
    for_all: OnceLock<Option<Compiled>>,
    /// Of the groups that are captured, in their order.
    group_names: Vec<String>,
    /// Where the groups of the last match were, kept for its memory.
    places: Mutex<Option<Captures>>,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > LONGEST_SOURCE {
            return Err(unsupported("it is longer than 64 KiB"));
        }
        let translation = translate(source)?;
        let for_all = OnceLock::new();
        if !is_small(&translation) {
            _ = for_all.set(Some(compile(&translation, Texts::Utf8)?));
        }
        Ok(Pattern {
            source: source.to_owned(),
            tree: translation.tree.map(Arc::new),
            for_ascii: OnceLock::new(),
            for_all,
            group_names: translation.group_names,
            places: Mutex::default(),
        })
    }

    /// What to search texts with. An expression that was taken compiles, so that there is one.
    fn compiled(&self, texts: Texts) -> Option<&Compiled> {
        let kept = match texts {
            Texts::Ascii => &self.for_ascii,
            Texts::Utf8 => &self.for_all,
        };
        kept.get_or_init(|| compile(&translate(&self.source).ok()?, texts).ok()).as_ref()
    }

    /// Whether a text of ASCII matches, if that is found by walking.
    fn walked(&self, text: &[u8]) -> Option<bool> {
        if self.for_ascii.get().is_some() {
            return None;
        }
        self.tree.as_ref()?.is_match(text)
    }

    /// Whether it matches anywhere in the text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let texts = if text.is_ascii() { Texts::Ascii } else { Texts::Utf8 };
        if matches!(texts, Texts::Ascii)
            && let Some(is_match) = self.walked(text)
        {
            return is_match;
        }
        let Some(regex) = self.compiled(texts) else { return false };
        match str::from_utf8(text) {
            Ok(text) => regex.is_match(text),
            Err(_) => with_replacements(text, |text| regex.is_match(text)),
        }
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of its named groups.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.group_names.iter().map(String::as_str)
    }

    /// Calls `each` with the name and text of every named group that took part in the first match.
    pub fn captures<'t>(&self, text: &'t [u8], mut each: impl FnMut(&str, &'t [u8])) -> bool {
        let Some(regex) = self.compiled(Texts::Utf8) else { return false };
        let kept = self.places.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut places = kept.unwrap_or_else(|| regex.places());
        let valid = str::from_utf8(text);
        let is_match = match valid {
            Ok(text) => regex.captures(text, &mut places),
            Err(_) => with_replacements(text, |text| regex.captures(text, &mut places)),
        };
        if is_match {
            // Group 0 is the whole match.
            for (name, group) in self.group_names.iter().zip(1..) {
                let Some(place) = places.get_group(group) else { continue };
                let range = match valid {
                    Ok(_) => place.start..place.end,
                    Err(_) => {
                        let before = |copied| place_before_replacing(text, copied);
                        before(place.start)..before(place.end)
                    }
                };
                each(name, text.get(range).unwrap_or_default());
            }
        }
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
        is_match
    }
}

/// Whether it is certain that an expression compiles.
fn is_small(translation: &Translation) -> bool {
    let groups = 1 + translation.group_names.len();
    let copies = usize::try_from(translation.copies).unwrap_or(usize::MAX);
    translation.expression.len().saturating_mul(copies).saturating_mul(groups) <= SMALL
}

fn compile(translation: &Translation, texts: Texts) -> Result<Compiled, String> {
    let size = SIZE_LIMIT / (1 + translation.group_names.len());
    let limits = Limits { size, nesting: NEST_LIMIT };
    Compiled::new(&translation.expression, texts, limits).map_err(|refusal| match refusal {
        Refusal::TooLarge => unsupported("it is too large once compiled"),
        Refusal::Other(message) => unsupported(&message),
    })
}

/// Calls `search` with a copy of the text that has U+FFFD for each byte that is not UTF-8.
fn with_replacements(text: &[u8], search: impl FnOnce(&str) -> bool) -> bool {
    thread_local! {
        static COPY: Cell<String> = const { Cell::new(String::new()) };
    }
    // A thread that ends may have lost it already.
    let mut copy = COPY.try_with(Cell::take).unwrap_or_default();
    copy.clear();
    for chunk in text.utf8_chunks() {
        copy.push_str(chunk.valid());
        copy.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let found = search(&copy);
    _ = COPY.try_with(|kept| kept.set(copy));
    found
}

/// Where a place in the copy of a text with replacements is in the text.
fn place_before_replacing(text: &[u8], place: usize) -> usize {
    let mut left = place;
    let mut passed = 0;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().len();
        if left <= valid {
            break;
        }
        let replaced = chunk.invalid().len() * char::REPLACEMENT_CHARACTER.len_utf8();
        let invalid = (left - valid).min(replaced);
        passed += valid + invalid / char::REPLACEMENT_CHARACTER.len_utf8();
        left -= valid + invalid;
    }
    passed + left
}

impl Clone for Pattern {
    fn clone(&self) -> Self {
        Pattern {
            source: self.source.clone(),
            tree: self.tree.clone(),
            for_ascii: self.for_ascii.clone(),
            for_all: self.for_all.clone(),
            group_names: self.group_names.clone(),
            places: Mutex::default(),
        }
    }
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
