//! The YAML of a web configuration: a tree in which everything has its place.
//!
//! What the text may hold is bounded while it is read, so that a text that is noise, or one whose aliases
//! name each other again and again, costs no more than a large configuration. Nothing here can be printed
//! with `Debug`: any value may be a key or a hash.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The most values that a text may have, those that its aliases repeat included.
const MOST_VALUES: usize = 10_000;
/// How deep values may be in each other; a web configuration has three levels.
const DEEPEST: usize = 16;

/// A line and a column, both from 1.
pub(super) type Place = (u32, u32);

/// What is wrong with a text as YAML, and where.
pub(super) type SyntaxError = (Place, String);

/// A value with its place.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) node: Node,
    pub(super) place: Place,
    /// How many values it is, itself included.
    values: usize,
    /// How many levels it has.
    depth: usize,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Node {
    /// A word or a text. Only a plain one may be a number, a boolean or nothing.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Value>),
    Map(Vec<(Key, Value)>),
}

/// A key of a map with its place.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Value {
    fn new(node: Node, place: Place) -> Self {
        let inner: Vec<&Value> = match &node {
            Node::Scalar { .. } => Vec::new(),
            Node::List(items) => items.iter().collect(),
            Node::Map(entries) => entries.iter().map(|(_, value)| value).collect(),
        };
        let values = 1 + inner.iter().map(|value| value.values).sum::<usize>();
        let depth = 1 + inner.iter().map(|value| value.depth).max().unwrap_or(0);
        Value { node, place, values, depth }
    }

    /// Whether it is nothing: an empty place or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.node {
            Node::Scalar { text, is_plain: true } => {
                matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, with an article.
    pub(super) fn noun(&self) -> &'static str {
        match &self.node {
            _ if self.is_null() => "nothing",
            Node::Scalar { .. } => "a single value",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }
}

/// Reads a text; nothing if it has no value.
///
/// # Errors
///
/// What is no YAML, or more than a configuration has.
pub(super) fn parse(text: &str) -> Result<Option<Value>, SyntaxError> {
    let mut reading = Reading::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let place = (count(error.marker().line()), count(error.marker().col() + 1));
            (place, format!("this is not YAML: {}", error.info()))
        })?;
        reading.take(event, span)?;
    }
    Ok(reading.whole)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A list or a map that has not ended.
struct Open {
    items: Vec<Value>,
    /// The keys of a map, one for each item, and one more while the item of a key is awaited.
    keys: Option<Vec<Key>>,
    place: Place,
    anchor: usize,
}

#[derive(Default)]
struct Reading {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    values: usize,
    documents: usize,
    whole: Option<Value>,
}

impl Reading {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let place = (count(span.start.line()), count(span.start.col() + 1));
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err((place, "a second document begins; a file has one".to_owned()));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), place)?;
                let is_plain = style == ScalarStyle::Plain;
                let node = Node::Scalar { text: Cow::into_owned(text), is_plain };
                self.add(Value::new(node, place), anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), place)?;
                self.begin(None, place, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), place)?;
                self.begin(Some(Vec::new()), place, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { items, keys, place, anchor }) = self.open.pop() {
                    // It was counted when it began.
                    self.values -= 1;
                    let node = match keys {
                        None => Node::List(items),
                        Some(keys) => Node::Map(keys.into_iter().zip(items).collect()),
                    };
                    let value = Value::new(node, place);
                    self.values -= value.values - 1;
                    self.add(value, anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let value = known.ok_or_else(|| (place, "this alias has no anchor".to_owned()))?;
                self.refuse_excess(value.values, value.depth, place)?;
                let value = Value { place, ..value.clone() };
                self.add(value, 0)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        keys: Option<Vec<Key>>,
        place: Place,
        anchor: usize,
    ) -> Result<(), SyntaxError> {
        self.refuse_excess(1, 1, place)?;
        if self.open.last().is_some_and(Open::awaits_key) {
            return Err((place, "a key is a single word here".to_owned()));
        }
        self.values += 1;
        self.open.push(Open { items: Vec::new(), keys, place, anchor });
        Ok(())
    }

    fn refuse_excess(&self, values: usize, depth: usize, place: Place) -> Result<(), SyntaxError> {
        if self.values + values > MOST_VALUES {
            let message =
                format!("the text has more than {MOST_VALUES} values; it is no web configuration");
            return Err((place, message));
        }
        if self.open.len() + depth > DEEPEST {
            let message = format!("values are more than {DEEPEST} levels deep in each other");
            return Err((place, message));
        }
        Ok(())
    }

    /// Adds a value that is whole to what it stands in.
    fn add(&mut self, value: Value, anchor: usize) -> Result<(), SyntaxError> {
        self.refuse_excess(value.values, value.depth, value.place)?;
        self.values += value.values;
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.whole = Some(value);
            return Ok(());
        };
        if !open.awaits_key() {
            open.items.push(value);
            return Ok(());
        }
        let place = value.place;
        let Node::Scalar { text: name, is_plain } = value.node else {
            return Err((place, "a key is a single word here".to_owned()));
        };
        if is_plain && name == "<<" {
            return Err((place, "maps are not merged (<<) here; write the keys out".to_owned()));
        }
        if let Some(keys) = &mut open.keys {
            keys.push(Key { name, place });
        }
        Ok(())
    }
}

impl Open {
    fn awaits_key(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.len() == self.items.len())
    }
}

fn refuse_tag(tag: Option<&Tag>, place: Place) -> Result<(), SyntaxError> {
    match tag {
        Some(tag)
            if !(tag.is_yaml_core_schema() && matches!(&*tag.suffix, "str" | "map" | "seq")) =>
        {
            Err((place, "tags (!) have no meaning here; leave them out".to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text) {
            Ok(_) => panic!("it is taken: {text}"),
            Err(((line, column), message)) => format!("{line}:{column}: {message}"),
        }
    }

    #[test]
    fn values_have_their_places() {
        let Ok(Some(value)) = parse("# first\na:\n  b: [x, 'y']\n  c: &c z\n  d: *c\n") else {
            panic!("it is YAML");
        };
        let Node::Map(entries) = value.node else { panic!("a map") };
        let (key, inner) = &entries[0];
        assert_eq!((&*key.name, key.place), ("a", (2, 1)));
        let Node::Map(inner) = &inner.node else { panic!("a map") };
        let places: Vec<_> = inner.iter().map(|(key, value)| (key.place, value.place)).collect();
        assert_eq!(places, [((3, 3), (3, 6)), ((4, 3), (4, 6)), ((5, 3), (5, 6))]);
        assert!(matches!(&inner[2].1.node, Node::Scalar { text, is_plain: true } if text == "z"));
        assert!(matches!(parse("# nothing\n---\n"), Ok(None) | Ok(Some(_))));
        assert!(matches!(parse(""), Ok(None)));
    }

    #[test]
    fn what_is_no_tree_of_values_is_refused() {
        assert!(refused("a: [1").contains("this is not YAML"));
        assert!(refused("a: !!int 1").contains("tags"));
        assert!(refused("a: 1\n---\nb: 1\n").contains("second document"));
        assert!(refused("x: &x {a: 1}\ny:\n  <<: *x\n").starts_with("3:3: maps are not merged"));
        assert!(refused("? [a]\n: 1\n").contains("a key is a single word"));
    }

    #[test]
    fn bombs_are_bounded() {
        // A million leaves in seven lines.
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..7 {
            let names = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{names}]\n");
        }
        assert!(refused(&text).contains("more than 10000 values"));
        assert!(refused(&format!("a: {}", "[".repeat(200))).contains("levels deep"));
        let chain: String = (1..100).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
        assert!(refused(&format!("a0: &a0 [x]\n{chain}")).contains("levels deep"));
        for noise in
            ["- ", "a: b\n", "[", "{", "? ", "&a ", "*a ", "\"", "'", "\u{feff}", "|\n ", "- - "]
        {
            let _ = parse(&noise.repeat((1 << 20) / noise.len()));
        }
    }
}
