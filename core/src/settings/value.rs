//! Values as the user wrote them, with the places where they were written.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// In a configuration file as a whole: it is missing, or it is not one.
    WholeFile(Arc<str>),
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
            Origin::WholeFile(file) => f.write_str(file),
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
            Node::Text(text)
                if text.contains('\\') && !text.contains(|c: char| c == '\'' || c.is_control()) =>
            {
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
                        c => f.write_char(c)?,
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
    /// Where the value is.
    pub origin: Origin,
    /// Where its key is, which is where an unknown key is reported.
    pub key_origin: Origin,
}

impl Value {
    /// A value whose key and text are at one place.
    pub fn new(node: impl Into<Node>, origin: Origin) -> Self {
        Value { node: node.into(), key_origin: origin.clone(), origin }
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

    /// Leaves only what is written somewhere, and the tables that hold it.
    pub fn forget_defaults(&mut self) {
        self.entries.retain(|_, value| {
            if let Node::Table(table) = &mut value.node {
                table.forget_defaults();
                return !table.entries.is_empty() || value.key_origin != Origin::Default;
            }
            value.origin != Origin::Default
        });
    }

    /// The full path of a key in it.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { [self.path.as_str(), ".", key].concat() }
    }
}

/// The default of an optional setting that has none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_left_with_its_tables() {
        let of = |origin: Origin| Value::new(1, origin);
        let written = || Origin::Environment("VITALD__A__B".into());
        let mut table = Table::at("");
        for (name, origin) in [("both", Some(written())), ("defaults", None)] {
            let mut inner = Table::at(name);
            inner.entries.insert("default".to_owned(), of(Origin::Default));
            inner.entries.extend(origin.map(|origin| ("written".to_owned(), of(origin))));
            let inner = Value::new(Node::Table(inner), Origin::Default);
            table.entries.insert(name.to_owned(), inner);
        }
        table
            .entries
            .insert("empty".to_owned(), Value::new(Node::Table(Table::at("empty")), written()));
        table.forget_defaults();
        assert_eq!(table.entries.keys().collect::<Vec<_>>(), ["both", "empty"]);
        let Node::Table(both) = &table.entries["both"].node else { panic!("a table") };
        assert_eq!(both.entries.keys().collect::<Vec<_>>(), ["written"]);
    }

    #[test]
    fn nodes_are_shown_as_toml() {
        for (node, shown) in [
            (Node::from("a\"b\n"), r#""a\"b\n""#),
            (Node::from(r"^\d+$"), r"'^\d+$'"),
            (Node::from(r"'\'"), r#""'\\'""#),
            (Node::from(1.0), "1.0"),
            (Node::from([1, 2]), "[1, 2]"),
            (UNSET, ""),
        ] {
            assert_eq!(node.to_string(), shown);
        }
    }
}
