//! What is wrong with a configuration: every mistake, at its place.

use super::value::{Node, Origin, Table, Value};
use std::fmt;

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

impl Value {
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

impl Table {
    /// Records a mistake for each key that is not in `known`, with the nearest known one.
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

/// The candidate that a mistyped word most likely meant, if any is near.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_sorted_by_their_places() {
        let at = |line, column| Origin::File { file: "x.toml".into(), line, column };
        let mut mistakes = Mistakes::new();
        mistakes.add(Origin::Environment("VITALD__X".into()), "x", "third");
        mistakes.add(at(2, 1), "b", "second");
        mistakes.add(at(1, 9), "a", "first");
        let sorted: Vec<_> = mistakes.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(
            sorted,
            ["x.toml:1:9: a: first", "x.toml:2:1: b: second", "environment VITALD__X: x: third"]
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let mut table = Table::at("collectors.x");
        for key in ["devce", "zzz"] {
            table.entries.insert(key.to_owned(), Value::new(1, Origin::Default));
        }
        let mut mistakes = Mistakes::new();
        table.refuse_unknown(&["device", "other"], "setting", &mut mistakes);
        let said: Vec<_> = mistakes.into_sorted().into_iter().map(|one| one.message).collect();
        assert_eq!(
            said,
            ["no such setting; did you mean device?", "no such setting; there are: device, other"]
        );
    }
}
