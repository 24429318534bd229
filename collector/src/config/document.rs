//! The strict pass over the file: its syntax, and the place of everything in it.

use config::{Map, Value, ValueKind};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vitald_core::settings::{Mistake, Mistakes, Origin};

/// The most values that a configuration may have, those in lists included: each takes some hundred
/// bytes on its way to a plan, and a file of 1 MiB has room for half a million.
const MOST_VALUES: usize = 10_000;

/// The most pieces that a text may have. That is known before the text is parsed, which takes sixty times the
/// size of noise.
const MOST_PIECES: usize = 64_000;

/// The longest path of a value, in bytes, such as `collectors.cpu.enabled`. No setting comes near it; but
/// everything below a key carries the key, so one of half the file would be there ten thousand times.
pub(super) const LONGEST_PATH: usize = 250;

/// How much of a text is searched for more mistakes of syntax from the first one on: the parser
/// makes an error of some hundred bytes of every word of a text that is noise.
const BROKEN_BYTES: usize = 64 << 10;

/// A line and a column, both from 1; columns count characters.
pub(super) type Place = (u32, u32);

/// The places of a value and of its key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Places {
    pub(super) value: Place,
    pub(super) key: Place,
}

/// The places of the tables, by path: `config` forgets a table's origin when it merges.
pub(super) type TablePlaces = BTreeMap<String, Places>;

/// What a text holds: values for `config`, each with its place as its origin, and the places of the tables.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) values: Map<String, Value>,
    pub(super) places: TablePlaces,
}

/// Reads the text as the daemon takes it, and nothing that it would have to guess. Beside what it holds come the mistakes
/// that leave everything to be read: what is there twice.
///
/// # Errors
///
/// Every mistake of syntax, and every value that no setting can take.
pub(super) fn read(file: &Arc<str>, text: &str) -> Result<(Document, Mistakes), Vec<Mistake>> {
    let pieces = pieces(text);
    if pieces > MOST_PIECES {
        let message = format!(
            "it is not a configuration: it has {pieces} lines, words and signs, and {MOST_PIECES} would be many"
        );
        let origin = Origin::File { file: Arc::clone(file), line: 1, column: 1 };
        return Err(vec![Mistake { origin, path: String::new(), message }]);
    }
    let lines = Lines::of(text);
    let (document, twice) = match DeTable::parse(text) {
        Ok(document) => (document, Mistakes::new()),
        Err(first) => syntax(file, text, &lines, first.span())?,
    };
    let mut walk = Walk::new(Arc::clone(file), lines);
    walk.mistakes = twice;
    let values = walk.table(document.get_ref(), "");
    let Walk { places, mistakes, has_refused, .. } = walk;
    if has_refused {
        return Err(mistakes.into_sorted());
    }
    Ok((Document { values, places }, mistakes))
}

/// At least about as many pieces as a parser makes of a text: each line is one, each word, and each sign that TOML gives a
/// meaning. A line of comment is one, whatever is in it.
fn pieces(text: &str) -> usize {
    let of_line = |line: &str| {
        let mut after_space = true;
        let mut is_piece = |byte: &u8| {
            let is_space = matches!(byte, b' ' | b'\t');
            let begins_word = std::mem::replace(&mut after_space, is_space) && !is_space;
            begins_word
                || matches!(
                    byte,
                    b'=' | b',' | b'.' | b'[' | b']' | b'{' | b'}' | b'"' | b'\'' | b'#'
                )
        };
        line.as_bytes().iter().filter(|byte| is_piece(byte)).count()
    };
    let lines = text.split('\n').map(str::trim_start);
    lines.map(|line| if line.starts_with('#') { 1 } else { 1 + of_line(line) }).sum()
}

/// What the parser says of something that is there twice. It reads on as if it were there once: a table has the
/// settings of both, a setting the value of the first.
const TWICE: &str = "duplicate key";

/// What the parser says of a key below something that is no table.
const NO_TABLE: &str = "cannot extend value";

/// The mistakes of syntax, of which the first one is known to be at `first`, with the document if all it has twice
/// is there.
///
/// # Errors
///
/// The mistakes, if there are others.
fn syntax<'t>(
    file: &Arc<str>,
    text: &'t str,
    lines: &Lines<'_>,
    first: Option<Range<usize>>,
) -> Result<(Spanned<DeTable<'t>>, Mistakes), Vec<Mistake>> {
    let mut mistakes = Mistakes::new();
    let mut add = |offset: usize, message: String| {
        let (line, column) = lines.place(offset);
        mistakes.add(Origin::File { file: Arc::clone(file), line, column }, "", message);
    };
    let from = first.map_or(0, |first| first.start);
    let end = text.floor_char_boundary(from.saturating_add(BROKEN_BYTES));
    let (document, errors) = DeTable::parse_recoverable(&text[..end]);
    let mut is_whole = end == text.len() && errors.iter().all(|error| error.message() == TWICE);
    let mut last = None;
    // Each message is looked for in the text: of a text that is noise, as many as are reported.
    for error in errors.iter().take(Mistakes::MOST) {
        let span = error.span().unwrap_or(end..end);
        let message = if error.message() == TWICE && replaces_value(text, span.start) {
            // Nothing is known any more of what was there before.
            is_whole = false;
            no_table(text, &span)
        } else {
            plainly(error.message(), text, span.clone())
        };
        // The parser says it at the beginning of a table and at its end.
        if last.replace((span.start, message.clone())) != Some((span.start, message.clone())) {
            add(span.start, message);
        }
    }
    if end < text.len() {
        add(end, "because of these mistakes the text is not read beyond this place".to_owned());
    }
    mistakes.add_unlisted(errors.len().saturating_sub(Mistakes::MOST));
    if is_whole { Ok((document, mistakes)) } else { Err(mistakes.into_sorted()) }
}

/// Whether a key is in the header of a table, `[a.b]`, that the parser takes in place of something that is no table.
fn replaces_value(text: &str, key: usize) -> bool {
    let line = text[..key].rfind('\n').map_or(0, |before| before + 1);
    if !text[line..].trim_start().starts_with('[') {
        return false;
    }
    let header = text[line..].lines().next().unwrap_or_default();
    let (before, own) =
        (DeTable::parse_recoverable(&text[..line]).0, DeTable::parse_recoverable(header).0);
    let (mut before, mut own) = (before.get_ref(), own.get_ref());
    while let Some((key, below)) = own.iter().next() {
        match (before.get(key).map(Spanned::get_ref), below.get_ref()) {
            (Some(DeValue::Table(there)), DeValue::Table(here)) => (before, own) = (there, here),
            (there, _) => return there.is_some(),
        }
    }
    false
}

/// What is wrong with a table whose name something else has.
fn no_table(text: &str, key: &Range<usize>) -> String {
    let key = text.get(key.clone()).unwrap_or_default();
    format!("{key} is there already, and is no table; remove one of the two")
}

/// The parser's sentence, put better where it speaks of something other than the mistake.
fn plainly(message: &str, text: &str, span: Range<usize>) -> String {
    if message == TWICE {
        let key = text.get(span.clone()).unwrap_or_default();
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let is_header = line.starts_with('[') && !line.contains(['{', ',']);
        let is_dotted = text.get(span.end..).unwrap_or_default().trim_start().starts_with('.');
        return if is_header || is_dotted {
            format!("the table {key} is there already; add these settings to it")
        } else {
            format!("{key} is set twice")
        };
    }
    if message.starts_with(NO_TABLE) && !message.contains("inline table") {
        return no_table(text, &span);
    }
    let (before, after) = text.split_at(text.floor_char_boundary(span.start));
    let word_end = after.find(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
    let word = &after[..word_end.unwrap_or(after.len())];
    let is_value = before.trim_end_matches([' ', '\t']).ends_with(['=', '[', ',']);
    if is_value && word.starts_with(char::is_alphabetic) {
        // The parser takes every such word for the beginning of `inf`, `nan`, `true` or `false`.
        let line = before.rsplit('\n').next().unwrap_or_default();
        return match may_be_secret(line) {
            true => "text needs quotes".to_owned(),
            false => format!("text needs quotes: \"{word}\""),
        };
    }
    message.to_owned()
}

/// Whether a line up to its value names a setting whose value nobody should see.
fn may_be_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["admin", "token", "url", "password", "secret"].iter().any(|word| line.contains(word))
}

struct Walk<'t> {
    file: Arc<str>,
    lines: Lines<'t>,
    places: TablePlaces,
    /// How many values there have been.
    values: usize,
    mistakes: Mistakes,
    /// Some of the mistakes are its own: values were left out.
    has_refused: bool,
}

impl<'t> Walk<'t> {
    fn new(file: Arc<str>, lines: Lines<'t>) -> Self {
        let (places, mistakes) = (TablePlaces::new(), Mistakes::new());
        Walk { file, lines, places, values: 0, mistakes, has_refused: false }
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            let name = key.get_ref();
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            if self.values > MOST_VALUES {
                break;
            }
            let key = self.lines.place(key.span().start);
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                // config would take the dots of a quoted key for tables.
                self.values += 1;
                self.refuse(key, &path, "a key has letters, digits and _ only");
                continue;
            }
            if path.len() > LONGEST_PATH {
                self.values += 1;
                self.refuse(key, &path, "no setting lies so deep or has so long a name");
                continue;
            }
            if let Some(value) = self.value(value, Some(key), &path) {
                values.insert(name.to_string(), value);
            }
        }
        values
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: Option<Place>,
        path: &str,
    ) -> Option<Value> {
        self.values += 1;
        if self.values > MOST_VALUES {
            // Looking for the place takes time, and one such mistake is enough.
            if self.values > MOST_VALUES + 1 {
                return None;
            }
            let place = self.lines.place(value.span().start);
            let message =
                format!("the text has more than {MOST_VALUES} values; it is not a configuration");
            return self.refuse(place, path, &message);
        }
        let place = self.lines.place(value.span().start);
        let places = Places { value: place, key: key.unwrap_or(place) };
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Boolean(truth) => ValueKind::Boolean(*truth),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => ValueKind::I64(number),
                    Err(_) => return self.refuse(place, path, "this number is too large"),
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => ValueKind::Float(number),
                Err(_) => return self.refuse(place, path, "this is not a number"),
            },
            DeValue::Datetime(_) => {
                return self.refuse(place, path, "no setting is a date; text needs quotes");
            }
            DeValue::Array(items) => ValueKind::Array(
                items.iter().filter_map(|item| self.value(item, None, path)).collect(),
            ),
            DeValue::Table(table) => {
                self.places.insert(path.to_owned(), places);
                ValueKind::Table(self.table(table, path))
            }
        };
        Some(Value::new(Some(&written(places)), kind))
    }

    fn refuse(&mut self, place: Place, path: &str, message: &str) -> Option<Value> {
        let (line, column) = place;
        let origin = Origin::File { file: Arc::clone(&self.file), line, column };
        self.mistakes.add(origin, path, message);
        self.has_refused = true;
        None
    }
}

/// The origin of a value of the file, in the one text that `config` keeps with it.
fn written(Places { value, key }: Places) -> String {
    format!("{}:{}:{}:{}", value.0, value.1, key.0, key.1)
}

/// The other way round.
pub(super) fn places_of(origin: &str) -> Option<Places> {
    let mut numbers = origin.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Places { value: (next()?, next()?), key: (next()?, next()?) })
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(offset, _)| offset + 1)).collect();
        Lines { text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (count(line), count(column.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let lines = Lines::of("a\nµb = 1\n\nc");
        assert_eq!(lines.place(0), (1, 1));
        assert_eq!(lines.place(1), (1, 2));
        assert_eq!(lines.place(4), (2, 2));
        assert_eq!(lines.place(10), (3, 1));
        assert_eq!(lines.place(11), (4, 1));
        assert_eq!(lines.place(999), (4, 2));
    }

    #[test]
    fn an_origin_survives_config() {
        let places = Places { value: (3, 12), key: (3, 1) };
        assert_eq!(places_of(&written(places)), Some(places));
        assert_eq!(places_of("VITALD__LOG__LEVEL"), None);
    }
}
