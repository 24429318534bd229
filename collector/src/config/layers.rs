//! The layers, merged by `config`: the file, and what stands above it.
//!
//! The built-in defaults are no layer: each setting has its own, and what is not written is decoded from that.

use super::document::{self, Document, Place};
use config::{Config, ConfigError, Map, Source, ValueKind};
use std::sync::Arc;
use vitald_core::settings::{Mistakes, Node, Origin, Table, Value};

/// A file, which has been read.
pub(super) struct File {
    pub(super) name: Arc<str>,
    pub(super) document: Document,
}

/// Merges the layers; a later one wins, key by key.
pub(super) fn merge(file: Option<&File>, above: &Table) -> Result<Table, ConfigError> {
    let mut layers = Config::builder();
    if let Some(file) = file {
        layers = layers.add_source(Layer(file.document.values.clone()));
    }
    let merged = layers.add_source(Layer::of(above)).build()?;
    let back = Back { file, above };
    match merged.cache.kind {
        ValueKind::Table(entries) => Ok(back.table(entries, "")),
        _ => Ok(Table::default()),
    }
}

/// Values as a source of `config`.
#[derive(Clone, Debug)]
struct Layer(Map<String, config::Value>);

impl Layer {
    fn of(table: &Table) -> Self {
        Layer(entries(table))
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

const ENVIRONMENT: &str = "environment ";
const FLAG: &str = "flag ";

fn entries(table: &Table) -> Map<String, config::Value> {
    table.entries.iter().map(|(key, value)| (key.clone(), to_config(value))).collect()
}

fn to_config(value: &Value) -> config::Value {
    let kind = match &value.node {
        Node::Unset => ValueKind::Nil,
        Node::Text(text) => ValueKind::String(text.clone()),
        Node::Integer(number) => ValueKind::I64(*number),
        Node::Float(number) => ValueKind::Float(*number),
        Node::Boolean(truth) => ValueKind::Boolean(*truth),
        Node::List(items) => ValueKind::Array(items.iter().map(to_config).collect()),
        Node::Table(table) => ValueKind::Table(entries(table)),
    };
    let origin = match &value.origin {
        Origin::Environment(name) => Some(format!("{ENVIRONMENT}{name}")),
        Origin::Flag(name) => Some(format!("{FLAG}{name}")),
        // No layer of ours stands in a file.
        Origin::Default | Origin::WholeFile(_) | Origin::File { .. } => None,
    };
    config::Value::new(origin.as_ref(), kind)
}

/// The way back from `config`.
struct Back<'a> {
    file: Option<&'a File>,
    above: &'a Table,
}

impl Back<'_> {
    fn table(&self, entries: Map<String, config::Value>, path: &str) -> Table {
        let mut table = Table::at(path);
        for (key, value) in entries {
            let value = self.value(value, &table.path_of(&key));
            table.entries.insert(key, value);
        }
        table
    }

    fn value(&self, value: config::Value, path: &str) -> Value {
        let (origin, key_origin) = self.origins(value.origin(), path);
        let node = match value.kind {
            ValueKind::Nil => Node::Unset,
            ValueKind::Boolean(truth) => Node::Boolean(truth),
            ValueKind::I64(number) => Node::Integer(number),
            // These three do not come out of our layers: a number that is too large is refused.
            ValueKind::I128(number) => Node::Float(number as f64),
            ValueKind::U64(number) => Node::Float(number as f64),
            ValueKind::U128(number) => Node::Float(number as f64),
            ValueKind::Float(number) => Node::Float(number),
            ValueKind::String(text) => Node::Text(text),
            ValueKind::Array(items) => {
                Node::List(items.into_iter().map(|item| self.value(item, path)).collect())
            }
            ValueKind::Table(entries) => Node::Table(self.table(entries, path)),
        };
        Value { node, origin, key_origin }
    }

    fn origins(&self, kept: Option<&str>, path: &str) -> (Origin, Origin) {
        if let Some(name) = kept.and_then(|kept| kept.strip_prefix(ENVIRONMENT)) {
            let origin = Origin::Environment(name.into());
            return (origin.clone(), origin);
        }
        if let Some(name) = kept.and_then(|kept| kept.strip_prefix(FLAG)) {
            let origin = Origin::Flag(name.into());
            return (origin.clone(), origin);
        }
        if let Some(file) = self.file
            && let Some(places) = kept
                .and_then(document::places_of)
                .or_else(|| file.document.places.get(path).copied())
        {
            let at = |(line, column): Place| Origin::File { file: file.name.clone(), line, column };
            return (at(places.value), at(places.key));
        }
        // A table that only the layer above the file has: any of its values says where it is from.
        let origin = first_origin(self.above, path).unwrap_or(Origin::Default);
        (origin.clone(), origin)
    }
}

fn first_origin(table: &Table, path: &str) -> Option<Origin> {
    let value = path.split('.').try_fold(None, |parent: Option<&Value>, key| match parent {
        None => table.entries.get(key).map(Some),
        Some(Value { node: Node::Table(table), .. }) => table.entries.get(key).map(Some),
        Some(_) => None,
    });
    let mut value = value.flatten()?;
    while let Node::Table(inner) = &value.node {
        value = inner.entries.values().next()?;
    }
    Some(value.origin.clone())
}

/// How the names of our variables begin.
pub(crate) const PREFIX: &str = "VITALD__";
/// How much is shown of a name that is longer than any of ours, in bytes.
const SHOWN_NAME: usize = 60;

/// The variables of the environment as a layer: `VITALD__LOG__LEVEL` is `level` of `[log]`.
///
/// Other names are not looked at, `VITALD_PORT` among them: Kubernetes makes such variables for a
/// service that is called vitald.
pub(super) fn environment(variables: &[(String, String)], mistakes: &mut Mistakes) -> Table {
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    let mut layer = Table::default();
    for (name, text) in ours {
        if name.len() > PREFIX.len() + document::LONGEST_PATH {
            let shown = &name[..name.floor_char_boundary(SHOWN_NAME)];
            let origin = Origin::Environment(format!("{shown}…").into());
            mistakes.add(origin, "", "no setting lies so deep or has so long a name");
            continue;
        }
        let origin = Origin::Environment(name.as_str().into());
        let is_key = |key: &str| {
            let is_of_key = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            !key.is_empty() && key.bytes().all(is_of_key)
        };
        let path = &name[PREFIX.len()..];
        let is_name = path.split("__").all(is_key);
        let path = path.to_ascii_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        if !is_name {
            mistakes.add(origin, "", "expected a name in capitals, such as VITALD__LOG__LEVEL");
        } else if !insert(&mut layer, &keys, Value::new(text.as_str(), origin.clone())) {
            mistakes.add(origin, keys.join("."), "another variable sets this or a part of it");
        }
    }
    layer
}

/// Puts a value at a path, with the tables on the way; whether the path was free.
pub(crate) fn insert(table: &mut Table, keys: &[&str], value: Value) -> bool {
    match keys {
        [] => false,
        [key] => table.entries.insert((*key).to_owned(), value).is_none(),
        [key, rest @ ..] => {
            let path = table.path_of(key);
            let entry = table.entries.entry((*key).to_owned()).or_insert_with(|| Value {
                node: Node::Table(Table::at(path)),
                origin: value.origin.clone(),
                key_origin: value.origin.clone(),
            });
            match &mut entry.node {
                Node::Table(inner) => insert(inner, rest, value),
                _ => false,
            }
        }
    }
}
