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
///
/// A file may be noise. So the [`Mistakes::MOST`] that come first in it are kept, each of a length
/// that a person reads, and the rest is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// At most twice as many as are reported.
    kept: Vec<Mistake>,
    /// How many are not kept.
    unlisted: usize,
}

impl Mistakes {
    /// The most that are reported.
    pub const MOST: usize = 100;
    /// The longest text of a mistake, in characters: a key may be as long as the file.
    const LONGEST_TEXT: usize = 300;

    /// None so far.
    pub fn new() -> Self {
        Mistakes::default()
    }

    /// Records one.
    pub fn add(&mut self, origin: Origin, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (shortened(path.into()), shortened(message.into()));
        self.kept.push(Mistake { origin, path, message });
        if self.kept.len() >= 2 * Self::MOST {
            self.leave_out();
        }
    }

    /// Counts mistakes of which nothing is known but their number.
    pub fn add_unlisted(&mut self, count: usize) {
        self.unlisted = self.unlisted.saturating_add(count);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.unlisted == 0
    }

    /// What the first one says, for where there is room for one only.
    pub fn into_first_message(self) -> String {
        self.kept.into_iter().next().map(|first| first.message).unwrap_or_default()
    }

    /// The [`Mistakes::MOST`] that come first, in the order of their places; if there are more, the
    /// last one says how many.
    pub fn into_sorted(mut self) -> Vec<Mistake> {
        self.leave_out();
        if self.unlisted > 0 {
            let message = match self.unlisted {
                1 => "there is 1 more mistake, which is not listed".to_owned(),
                more => format!("there are {more} more mistakes, which are not listed"),
            };
            self.kept.push(Mistake { origin: Origin::Default, path: String::new(), message });
        }
        self.kept
    }

    /// Keeps those that come first.
    fn leave_out(&mut self) {
        self.kept.sort_by_key(|mistake| match &mistake.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            _ => (1, 0, 0),
        });
        self.unlisted += self.kept.len().saturating_sub(Self::MOST);
        self.kept.truncate(Self::MOST);
    }
}

/// The text, or its beginning if it is longer than a person reads.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(Mistakes::LONGEST_TEXT) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
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

/// The candidate that a mistyped word most likely meant, if any is near: one mistake in every four letters.
///
/// Of a short word, another letter makes another word: `gpu` is no mistyped `cpu`. There a letter may be missing, too many or in
/// the wrong place.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    candidates
        .filter_map(|candidate| {
            let length_there = candidate.chars().count();
            let shorter = length.min(length_there);
            let most = if shorter < SHORTEST { 0 } else { (shorter / 4).max(1) };
            // What a client sends may be long, and comparing it would take long.
            if length.abs_diff(length_there) > most {
                return None;
            }
            let distance = strsim::damerau_levenshtein(word, candidate);
            let is_another = shorter <= SHORT
                && length == length_there
                && strsim::levenshtein(word, candidate) == 1;
            (distance <= most && !is_another).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// In fewer letters nothing is mistyped: too many words are near.
const SHORTEST: usize = 3;
/// In so many letters another one makes another word.
const SHORT: usize = 4;

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
    fn of_too_many_the_first_are_kept_and_the_rest_is_counted() {
        let at = |line| Origin::File { file: "x.toml".into(), line, column: 1 };
        let mut mistakes = Mistakes::new();
        // From the last line to the first.
        for line in (1..=100_000).rev() {
            mistakes.add(at(line), "k".repeat(400), "wrong");
            assert!(mistakes.kept.len() < 2 * Mistakes::MOST);
        }
        mistakes.add_unlisted(7);
        let sorted = mistakes.into_sorted();
        assert_eq!(sorted.len(), Mistakes::MOST + 1);
        assert!((1..).zip(&sorted[..Mistakes::MOST]).all(|(line, one)| one.origin == at(line)));
        assert_eq!(sorted[0].path, format!("{}…", "k".repeat(Mistakes::LONGEST_TEXT)));
        let last = sorted[Mistakes::MOST].to_string();
        assert_eq!(last, "there are 99907 more mistakes, which are not listed");

        let mut one_more = Mistakes::new();
        (1..=101).for_each(|line| one_more.add(at(line), "k", "wrong"));
        let last = one_more.into_sorted().pop().map(|last| last.message);
        assert_eq!(last.as_deref(), Some("there is 1 more mistake, which is not listed"));
    }

    #[test]
    fn what_is_mistyped_is_near_and_what_is_something_else_is_not() {
        let names = [
            "cpu",
            "ipvs",
            "lnstat",
            "netstat",
            "nfs",
            "nvme",
            "os",
            "qdisc",
            "rapl",
            "stat",
            "time",
            "vmstat",
            "xfs",
            "filesystem",
            "process_groups",
            "device_exclude",
            "device_include",
        ];
        let meant = |word| nearest(word, names.iter().copied());
        for (word, expected) in [
            ("cpuu", "cpu"),
            ("pcu", "cpu"),
            ("nvm", "nvme"),
            ("nmve", "nvme"),
            ("vmstst", "vmstat"),
            ("filsystme", "filesystem"),
            ("proces_group", "process_groups"),
            ("device-exlcude", "device_exclude"),
        ] {
            assert_eq!(meant(word), Some(expected), "{word}");
        }
        for word in [
            "", "fs", "gpu", "iostat", "ipmi", "jfs", "mpstat", "name", "named", "node", "smart",
            "temp", "uptime", "io", "ups", "disk", "docker",
        ] {
            assert_eq!(meant(word), None, "{word}");
        }
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
