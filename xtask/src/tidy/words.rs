//! Words that were given up, because a reader would need a glossary for them.

use std::fmt;
use std::path::Path;

/// What is not written any more, and what is written instead. A word is one of a sentence or one
/// part of an identifier: `seat` is found in `free_seat` and in `FreeSeat`, not in `seating`. Several words
/// are found beside each other, be it over the end of a line.
const GIVEN_UP: &[(&str, &str)] = &[
    ("wish", "request"),
    ("wishes", "requests"),
    ("wished", "asked for"),
    ("farewell", "grace period"),
    ("patience", "timeout"),
    ("seat", "permit, connection or occupancy"),
    ("seats", "permits, connections or occupancies"),
    ("desk", "pool"),
    ("desks", "pools"),
    ("reception", "service"),
    ("house", "connections"),
    ("face", "mode"),
    ("faces", "modes"),
    ("lodger", "connection"),
    ("in memory make", "in-memory fake"),
    ("at odds", "conflict"),
    ("torn page", "incomplete page"),
    ("torn pages", "incomplete pages"),
    ("whoever", "the client, the caller, a reader"),
    ("somebody", "the client, the caller, a reader"),
    ("somebody's", "the client's, the caller's, a reader's"),
    ("is none of", "is not one of"),
    ("are none of", "are not any of"),
    ("which is none", "which is not one"),
    ("that is none", "that is not one"),
    ("that are none", "that are not"),
    ("is told", "is reported"),
    ("are told", "are reported"),
    ("stands for", "means"),
    ("stands beside", "is beside"),
];

/// Where a word has another meaning: the end of a path, the word, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("tidy/words.rs", "", "the list itself"),
    ("network/netdev.rs", "face", "the heading of the kernel's own table"),
    ("synthetic_host/mod.rs", "face", "the heading of the kernel's own table"),
    ("service/logind.rs", "seat", "what logind calls a screen with its keyboard"),
    ("service/logind.rs", "seats", "what logind calls screens with their keyboards"),
    ("logind/tests.rs", "seat", "what logind calls a screen with its keyboard"),
    ("logind/tests.rs", "seats", "what logind calls screens with their keyboards"),
    ("docs/metrics.md", "seat", "a label of logind's, in a text that is generated"),
];

/// A word that was given up, where it still is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    path: String,
    line: usize,
    words: &'static str,
    instead: &'static str,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { path, line, words, instead } = self;
        write!(formatter, "{path}:{line}: {words:?} was given up; the word is: {instead}")
    }
}

/// The words in a text that were given up.
pub(super) fn given_up(path: &Path, text: &str) -> Vec<Found> {
    let all = words_of(text);
    let mut found = Vec::new();
    for (words, instead) in GIVEN_UP {
        let is_allowed = |(end, allowed, _): &(&str, &str, &str)| {
            path.ends_with(end) && (allowed.is_empty() || allowed == words)
        };
        if ALLOWED.iter().any(is_allowed) {
            continue;
        }
        let wanted: Vec<&str> = words.split(' ').collect();
        for place in all.windows(wanted.len()) {
            let is_one = place.iter().zip(&wanted).all(|(word, wanted)| word.text == *wanted);
            if is_one && place.iter().skip(1).all(|word| word.continues) {
                let path = path.display().to_string();
                found.push(Found { path, line: place[0].line, words, instead });
            }
        }
    }
    found.sort_by_key(|found| found.line);
    found
}

/// A word, or one part of an identifier.
struct Word {
    /// In lower case.
    text: String,
    line: usize,
    /// Whether nothing but blanks, hyphens, underscores and the signs of comments is before it.
    continues: bool,
}

fn words_of(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let mut continues = true;
        // Whether the last character was a letter, and whether it was a small one.
        let (mut in_word, mut was_small) = (false, false);
        for character in line.chars() {
            let is_letter = character.is_alphabetic() || (character == '\'' && in_word);
            if is_letter {
                let is_hump = in_word && was_small && character.is_uppercase();
                match words.last_mut() {
                    Some(word) if in_word && !is_hump => word.text.extend(character.to_lowercase()),
                    _ => {
                        let text = character.to_lowercase().collect();
                        words.push(Word { text, line: place + 1, continues });
                        continues = true;
                    }
                }
            } else {
                continues &= character.is_whitespace() || "-_/!*#>|`".contains(character);
            }
            (in_word, was_small) = (is_letter, character.is_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, &'static str)> {
        given_up(Path::new("a.rs"), text).iter().map(|found| (found.line, found.words)).collect()
    }

    #[test]
    fn words_and_parts_of_identifiers() {
        assert_eq!(
            lines("// A seat.\nlet free_seat = Seat::new(SEATS);\nstruct FreeSeat;"),
            [(1, "seat"), (2, "seat"), (2, "seat"), (2, "seats"), (3, "seat"),]
        );
        assert!(lines("seating, interface, surfaces, households, unwished").is_empty());
    }

    #[test]
    fn words_beside_each_other() {
        assert_eq!(
            lines("/// They are at\n/// odds, an in-memory make."),
            [(1, "at odds"), (2, "in memory make"),]
        );
        assert!(lines("It looks at. Odds are even. (in memory) make").is_empty());
    }

    #[test]
    fn what_is_said() {
        let found = given_up(Path::new("core/a.md"), "\n\nWhoever");
        assert_eq!(
            found[0].to_string(),
            "core/a.md:3: \"whoever\" was given up; the word is: the client, the caller, a reader"
        );
    }

    #[test]
    fn the_list_may_name_them() {
        assert!(given_up(Path::new("xtask/src/tidy/words.rs"), "seat").is_empty());
        let mut known = std::collections::BTreeSet::new();
        for (words, instead) in GIVEN_UP {
            assert!(known.insert(words), "{words} is on the list twice");
            assert!(!instead.is_empty());
        }
    }
}
