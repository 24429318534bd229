//! Settings: declared once with type, default and doc; decoded strictly from neutral values.
//!
//! A loader (the daemon's is built on the `config` crate) turns files, environment and flags into
//! [`Value`]s that remember where they came from; [`settings!`](crate::settings) makes the struct
//! and the decoder. The core crate knows no file format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// In a configuration file; lines and columns count from 1.
    File {
        /// The file, as the user named it.
        file: Arc<str>,
        /// The line.
        line: u32,
        /// The column, in characters.
        column: u32,
    },
    /// In a variable of the environment.
    Environment(Arc<str>),
    /// In a flag of the command line.
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as the user wrote it, before any setting's type has seen it.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Not set: the default of an optional setting.
    Unset,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// true or false.
    Boolean(bool),
    /// A list.
    List(Vec<Value>),
    /// A table.
    Table(Table),
}

impl Node {
    /// What this is, for a sentence such as "expected a duration, found a whole number".
    pub fn noun(&self) -> &'static str {
        match self {
            Node::Unset => "nothing",
            Node::Text(_) => "text",
            Node::Integer(_) => "a whole number",
            Node::Float(_) => "a number",
            Node::Boolean(_) => "true or false",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
        }
    }
}

/// The node as TOML would write it; [`Node::Unset`] as nothing.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Unset => Ok(()),
            Node::Text(text) if text.contains('\\') && !text.contains('\'') => {
                write!(f, "'{text}'")
            }
            Node::Text(text) => {
                f.write_str("\"")?;
                for c in text.chars() {
                    match c {
                        '"' => f.write_str("\\\"")?,
                        '\\' => f.write_str("\\\\")?,
                        '\n' => f.write_str("\\n")?,
                        '\t' => f.write_str("\\t")?,
                        c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            Node::Integer(number) => write!(f, "{number}"),
            Node::Float(number) => write!(f, "{number:?}"),
            Node::Boolean(truth) => write!(f, "{truth}"),
            Node::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { ", " } else { "" }, item.node)?;
                }
                f.write_str("]")
            }
            Node::Table(table) => {
                f.write_str("{ ")?;
                for (i, (key, value)) in table.entries.iter().enumerate() {
                    write!(f, "{}{key} = {}", if i > 0 { ", " } else { "" }, value.node)?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What was written.
    pub node: Node,
    /// Where the value stands.
    pub origin: Origin,
    /// Where its key stands, which is where an unknown key is reported.
    pub key_origin: Origin,
}

impl Value {
    /// A value whose key and text stand at one place.
    pub fn new(node: impl Into<Node>, origin: Origin) -> Self {
        Value { node: node.into(), key_origin: origin.clone(), origin }
    }

    /// The table that this is, under the path of the setting whose value it is; a mistake is
    /// recorded if it is something else.
    pub fn table_at(&self, path: &str, mistakes: &mut Mistakes) -> Option<Table> {
        match &self.node {
            Node::Table(table) => {
                Some(Table { path: path.to_owned(), entries: table.entries.clone() })
            }
            other => {
                let message = format!("expected a table, found {}", other.noun());
                mistakes.add(self.origin.clone(), path, message);
                None
            }
        }
    }
}

/// Keys and values, with the dotted path from the top of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Such as `collectors.diskstats`; empty at the top.
    pub path: String,
    /// By key.
    pub entries: BTreeMap<String, Value>,
}

impl Table {
    /// An empty table at a path.
    pub fn at(path: impl Into<String>) -> Self {
        Table { path: path.into(), entries: BTreeMap::new() }
    }

    /// The full path of a key in it.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Decodes one key; records a mistake and answers `None` when it does not decode.
    ///
    /// An absent key decodes `default`.
    pub fn decode<T: Setting>(&self, info: &SettingInfo, mistakes: &mut Mistakes) -> Option<T> {
        let fallback;
        let value = match self.entries.get(info.key) {
            Some(value) => value,
            None => {
                fallback = Value::new((info.default)(), Origin::Default);
                &fallback
            }
        };
        let path = self.path_of(info.key);
        let decoded = T::decode_at(value, &path, mistakes)?;
        // A bound is about what is set: nothing is neither too small nor too large.
        if let Some((low, high)) = info.bounds
            && value.node != Node::Unset
            && let Err(message) = within(&decoded, low, high)
        {
            mistakes.add(value.origin.clone(), path, message);
            return None;
        }
        Some(decoded)
    }

    /// Records a mistake for each key that is none of `known`, with the nearest known one.
    pub fn refuse_unknown(&self, known: &[&str], noun: &str, mistakes: &mut Mistakes) {
        for (key, value) in &self.entries {
            if !known.contains(&key.as_str()) {
                let mut message = format!("no such {noun}");
                match nearest(key, known.iter().copied()) {
                    Some(meant) => message.push_str(&format!("; did you mean {meant}?")),
                    None if known.is_empty() => message.push_str("; this table has none"),
                    None => message.push_str(&format!("; there are: {}", known.join(", "))),
                }
                mistakes.add(value.key_origin.clone(), self.path_of(key), message);
            }
        }
    }
}

fn within<T: Setting>(decoded: &T, low: fn() -> Node, high: fn() -> Node) -> Result<(), String> {
    let bound = |node: fn() -> Node| T::decode(&Value::new(node(), Origin::Default));
    let (from, to) = (bound(low)?, bound(high)?);
    let inside = from.partial_cmp(decoded).is_some_and(|order| order.is_le())
        && decoded.partial_cmp(&to).is_some_and(|order| order.is_le());
    if inside { Ok(()) } else { Err(format!("must be from {} to {}", low(), high())) }
}

/// The candidate that a mistyped word most likely meant, if any is near.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is written.
    pub origin: Origin,
    /// The dotted key; empty when it is not about a key.
    pub path: String,
    /// What is wrong and how to put it right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything wrong with a configuration: all mistakes are reported together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// None so far.
    pub fn new() -> Self {
        Mistakes::default()
    }

    /// Records one.
    pub fn add(&mut self, origin: Origin, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Mistake { origin, path: path.into(), message: message.into() });
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first one says, for where there is room for one only.
    pub fn into_first_message(self) -> String {
        self.0.into_iter().next().map(|first| first.message).unwrap_or_default()
    }

    /// All of them, in the order of their places.
    pub fn into_sorted(mut self) -> Vec<Mistake> {
        self.0.sort_by_key(|mistake| match &mistake.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            _ => (1, 0, 0),
        });
        self.0
    }
}

/// What is declared of a setting, for the decoder, the shipped configuration and the manual.
#[derive(Debug)]
pub struct SettingInfo {
    /// The key in its table.
    pub key: &'static str,
    /// Its type in words, such as "regular expression".
    pub kind: &'static str,
    /// The documentation, as written above the declaration.
    pub doc: &'static str,
    /// The value when nobody sets it.
    pub default: fn() -> Node,
    /// Least and greatest value.
    pub bounds: Option<(fn() -> Node, fn() -> Node)>,
    /// node_exporter's spelling after `--collector.NAME.`, where the key does not give it.
    pub flag: Option<&'static str>,
}

impl SettingInfo {
    /// The part of node_exporter's flag after `--collector.NAME.`.
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| self.key.replace('_', "-"), str::to_owned)
    }
}

/// A group of settings: made by [`settings!`](crate::settings), or `()` for none.
pub trait Settings: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// What is declared, in order.
    const FIELDS: &'static [SettingInfo];

    /// Decodes a table: every mistake is recorded, unknown keys too.
    fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Self>;
}

impl Settings for () {
    const FIELDS: &'static [SettingInfo] = &[];

    fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Self> {
        table.refuse_unknown(&[], "setting", mistakes);
        Some(())
    }
}

/// The type of a setting.
pub trait Setting: Clone + PartialEq + PartialOrd + Send + Sync + Sized + 'static {
    /// The type in words, for the manual.
    const KIND: &'static str;

    /// Takes a value as written. Text from the environment or a flag is parsed; text from a file
    /// stands for text only and is never coerced.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected.
    fn decode(value: &Value) -> Result<Self, String>;

    /// Takes a value as written, and records what is wrong with it at its own place: a list
    /// records each bad item at that item's place.
    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match Self::decode(value) {
            Ok(decoded) => Some(decoded),
            Err(message) => {
                mistakes.add(value.origin.clone(), path, message);
                None
            }
        }
    }
}

/// Whether a text is to be parsed as the declared type: in the environment and in flags everything is text.
fn is_spelled(value: &Value) -> bool {
    matches!(value.origin, Origin::Environment(_) | Origin::Flag(_))
}

fn mismatch<T>(expected: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {expected}, found {}", value.node.noun()))
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Boolean(truth) => Ok(*truth),
            Node::Text(text) if is_spelled(value) => {
                text.trim().parse().map_err(|_| "expected true or false".to_owned())
            }
            _ => mismatch("true or false", value),
        }
    }
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const KIND: &'static str = "whole number";

            fn decode(value: &Value) -> Result<Self, String> {
                let out_of_range =
                    || format!("must be from {} to {}", <$number>::MIN, <$number>::MAX);
                match &value.node {
                    Node::Integer(number) => <$number>::try_from(*number).map_err(|_| out_of_range()),
                    Node::Text(text) if is_spelled(value) => text.trim().parse::<i64>()
                        .map_err(|_| "expected a whole number".to_owned())
                        .and_then(|number| <$number>::try_from(number).map_err(|_| out_of_range())),
                    _ => mismatch("a whole number", value),
                }
            }
        }
    )*};
}
whole_number!(u16, u32, u64, i64);

impl Setting for f64 {
    const KIND: &'static str = "number";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Float(number) => Ok(*number),
            Node::Integer(number) => Ok(*number as f64),
            Node::Text(text) if is_spelled(value) => {
                text.trim().parse().map_err(|_| "expected a number".to_owned())
            }
            _ => mismatch("a number", value),
        }
    }
}

impl Setting for String {
    const KIND: &'static str = "text";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => Ok(text.clone()),
            _ => mismatch("text", value),
        }
    }
}

impl Setting for Duration {
    const KIND: &'static str = "duration";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => parse_duration(text.trim()),
            _ => mismatch("a duration such as \"10s\", \"1m30s\" or \"500ms\"", value),
        }
    }
}

/// Parses `1h30m`, `10s`, `1.5s`, `500ms`, `20us`: the units of Go's durations.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as \"10s\", \"1m30s\" or \"500ms\"".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let amount = number.parse::<f64>().map_err(|_| wrong())? * seconds;
        let part = Duration::try_from_secs_f64(amount).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;

    fn decode(value: &Value) -> Result<Self, String> {
        match value.node {
            Node::Unset => Ok(None),
            _ => T::decode(value).map(Some),
        }
    }

    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match value.node {
            Node::Unset => Some(None),
            _ => T::decode_at(value, path, mistakes).map(Some),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    const KIND: &'static str = "list";

    fn decode(value: &Value) -> Result<Self, String> {
        listed(value)?.iter().map(T::decode).collect()
    }

    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match listed(value) {
            Ok(items) => {
                // Every item is decoded before the list is given up, so that all mistakes are told.
                let decoded: Vec<_> =
                    items.iter().map(|item| T::decode_at(item, path, mistakes)).collect();
                decoded.into_iter().collect()
            }
            Err(message) => {
                mistakes.add(value.origin.clone(), path, message);
                None
            }
        }
    }
}

/// The items of a list; text from the environment or a flag is split at its commas.
fn listed(value: &Value) -> Result<Cow<'_, [Value]>, String> {
    match &value.node {
        Node::List(items) => Ok(Cow::Borrowed(items)),
        Node::Text(text) if is_spelled(value) => Ok(text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::new(item, value.origin.clone()))
            .collect()),
        _ => mismatch("a list", value),
    }
}

/// The default of an optional setting that nobody has set.
pub const UNSET: Node = Node::Unset;

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Node::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Node::Text(text)
    }
}

impl From<i32> for Node {
    fn from(number: i32) -> Self {
        Node::Integer(i64::from(number))
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Self {
        Node::Integer(number)
    }
}

impl From<f64> for Node {
    fn from(number: f64) -> Self {
        Node::Float(number)
    }
}

impl From<bool> for Node {
    fn from(truth: bool) -> Self {
        Node::Boolean(truth)
    }
}

impl<T: Into<Node>, const N: usize> From<[T; N]> for Node {
    fn from(items: [T; N]) -> Self {
        Node::List(items.into_iter().map(|item| Value::new(item, Origin::Default)).collect())
    }
}

/// Declares a collector's or an output's settings: doc, key, type and default in one place.
///
/// ```
/// use vitald_core::prelude::*;
///
/// settings! {
///     /// Devices to leave out, by name.
///     device_exclude: Option<Pattern> = UNSET;
///     /// How long a mount may take to answer.
///     mount_timeout: Duration = "5s" in "1ms".."1h";
///     /// Show what the processor can do.
///     info_flags_include: Option<Pattern> = UNSET, flag "info.flags-include";
/// }
/// let mut mistakes = Mistakes::new();
/// let settings = <Settings as vitald_core::settings::Settings>::decode(&Table::default(), &mut mistakes).unwrap();
/// assert_eq!(settings.mount_timeout.as_secs(), 5);
/// ```
///
/// The default is written as a user would write it and goes through the same decoder, as do
/// the bounds after `in`. `flag` gives node_exporter's spelling where the key does not.
/// A list of nothing is `[""; 0]`.
#[macro_export]
macro_rules! settings {
    ($($fields:tt)*) => {
        $crate::settings_struct! { Settings "setting"; $($fields)* }
    };
}

/// Declares a table that is itself the type of a setting, mostly an item of a list of tables.
///
/// ```
/// use vitald_core::prelude::*;
/// use vitald_core::setting_table;
///
/// setting_table! { Rule:
///     /// The name of the group.
///     name: String = "web";
///     /// Whose processes.
///     user: Option<String> = UNSET;
/// }
/// settings! {
///     /// The groups, each a table.
///     rules: Vec<Rule> = [""; 0];
/// }
/// ```
///
/// A table is decoded as strictly as settings are: every mistake is told at its own place.
#[macro_export]
macro_rules! setting_table {
    ($visibility:vis $table:ident : $($fields:tt)*) => {
        $crate::settings_struct! { #[derive(PartialOrd)] $visibility $table "key"; $($fields)* }

        impl $crate::settings::Setting for $table {
            const KIND: &'static str = "table";

            fn decode(value: &$crate::settings::Value) -> Result<Self, String> {
                let mut mistakes = $crate::settings::Mistakes::new();
                <Self as $crate::settings::Setting>::decode_at(value, "", &mut mistakes)
                    .ok_or_else(|| mistakes.into_first_message())
            }

            fn decode_at(
                value: &$crate::settings::Value,
                path: &str,
                mistakes: &mut $crate::settings::Mistakes,
            ) -> Option<Self> {
                let table = value.table_at(path, mistakes)?;
                <Self as $crate::settings::Settings>::decode(&table, mistakes)
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! settings_struct {
    ($(#[$attribute:meta])* $visibility:vis $name:ident $noun:literal; $(
        $(#[doc = $doc:literal])*
        $key:ident : $type:ty = $default:tt $(in $low:literal .. $high:literal)? $(, flag $flag:literal)? ;
    )*) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name { $($(#[doc = $doc])* $key: $type),* }

        impl $crate::settings::Settings for $name {
            const FIELDS: &'static [$crate::settings::SettingInfo] = &[$(
                $crate::settings::SettingInfo {
                    key: stringify!($key),
                    kind: <$type as $crate::settings::Setting>::KIND,
                    doc: concat!($($doc),*).trim_ascii(),
                    default: || $crate::settings::Node::from($default),
                    bounds: $crate::setting_bounds!($($low, $high)?),
                    flag: $crate::setting_flag!($($flag)?),
                }
            ),*];

            fn decode(
                table: &$crate::settings::Table,
                mistakes: &mut $crate::settings::Mistakes,
            ) -> Option<Self> {
                table.refuse_unknown(&[$(stringify!($key)),*], $noun, mistakes);
                let mut fields = Self::FIELDS.iter();
                // Every field is decoded before any is given up, so that all mistakes are told.
                $(let $key: Option<$type> = table.decode(fields.next()?, mistakes);)*
                Some($name { $($key: $key?),* })
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! setting_bounds {
    () => {
        None
    };
    ($low:literal, $high:literal) => {
        Some((|| $crate::settings::Node::from($low), || $crate::settings::Node::from($high)))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! setting_flag {
    () => {
        None
    };
    ($flag:literal) => {
        Some($flag)
    };
}
