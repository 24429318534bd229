//! An expression of the regex crate's syntax, compiled.
//!
//! It is compiled by the crate under `regex`, which takes an expression as a tree.

use regex_automata::Input;
use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::captures::Captures;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

/// How much an expression may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// In bytes, once compiled.
    pub(super) size: usize,
    pub(super) nesting: u32,
}

/// Which texts are searched.
#[derive(Clone, Copy)]
pub(super) enum Texts {
    /// Those of ASCII alone.
    Ascii,
    /// Any that are UTF-8.
    Utf8,
}

/// Why an expression does not compile.
#[derive(Debug)]
pub(super) enum Refusal {
    TooLarge,
    /// What the parser or the compiler says, in one line.
    Other(String),
}

/// An expression to search some texts with.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    regex: Regex,
}

impl Compiled {
    /// Compiles an expression. For texts of ASCII it takes no more than for all texts, and mostly much less.
    pub(super) fn new(expression: &str, texts: Texts, limits: Limits) -> Result<Self, Refusal> {
        let mut parser = ParserBuilder::new().nest_limit(limits.nesting).build();
        let tree = parser.parse(expression);
        let tree = tree.map_err(|error| Refusal::Other(last_line(&error.to_string())))?;
        let tree = match texts {
            Texts::Ascii => for_ascii(tree),
            Texts::Utf8 => tree,
        };
        let config = Config::new().nfa_size_limit(Some(limits.size)).utf8_empty(true);
        let regex = Regex::builder().configure(config).build_from_hir(&tree);
        let refusal = |error: BuildError| match error.size_limit() {
            Some(_) => Refusal::TooLarge,
            None => Refusal::Other(error.to_string()),
        };
        regex.map(|regex| Compiled { regex }).map_err(refusal)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Memory for the places of groups.
    pub(super) fn places(&self) -> Captures {
        self.regex.create_captures()
    }

    /// Finds the first match and the places of its groups.
    pub(super) fn captures(&self, text: &str, places: &mut Captures) -> bool {
        self.regex.search_captures(&Input::new(text), places);
        places.is_match()
    }
}

/// regex-syntax draws the place of an error over several lines; the last one is the sentence.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

/// What an expression is on texts of ASCII: each of its classes is only that part.
///
/// Of a class such as `.` or `[^/]` the crate otherwise makes an automaton of bytes, for which it fills
/// 320 KB with zeroes.
fn for_ascii(tree: Hir) -> Hir {
    match tree.into_kind() {
        HirKind::Empty => Hir::empty(),
        // What is not ASCII in it is not in the text.
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Class(Class::Unicode(mut class)) => {
            class.intersect(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\x7F')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(for_ascii(*sub)) })
        }
        HirKind::Capture(Capture { index, name, sub }) => {
            Hir::capture(Capture { index, name, sub: Box::new(for_ascii(*sub)) })
        }
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(for_ascii).collect()),
        HirKind::Alternation(branches) => {
            Hir::alternation(branches.into_iter().map(for_ascii).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::tests::{expressions, texts};
    use crate::pattern::translate;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { size: 4 << 20, nesting: 200 };

    fn both(expression: &str) -> [Compiled; 2] {
        [Texts::Utf8, Texts::Ascii].map(|texts| Compiled::new(expression, texts, LIMITS).unwrap())
    }

    #[test]
    fn takes_each_byte_of_ascii_as_the_whole_expression_does() {
        for class in [
            ".",
            "(?s:.)",
            "[^/]",
            r"[^\x00-\x7E]",
            r"[^\x00-\x7F]",
            "[^é]",
            "[a-é]",
            "é",
            "[Kk\u{212A}]",
        ] {
            let [utf8, ascii] = both(&format!(r"\A{class}\z"));
            for letter in '\0'..='\x7F' {
                for text in [letter.to_string(), format!("{letter}a")] {
                    assert_eq!(ascii.is_match(&text), utf8.is_match(&text), "{class} {text:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// The same verdict, the same match and the same groups.
        #[test]
        fn finds_in_ascii_what_the_whole_expression_finds(
            expression in expressions(),
            texts in prop::collection::vec(texts(), 8),
        ) {
            let expression = translate(&expression).unwrap().expression;
            let [utf8, ascii] = both(&expression);
            for text in texts {
                prop_assert_eq!(ascii.is_match(&text), utf8.is_match(&text), "{:?}", &text);
                let groups = |compiled: &Compiled| {
                    let mut places = compiled.places();
                    compiled.captures(&text, &mut places);
                    (0..places.group_len()).map(|group| places.get_group(group)).collect::<Vec<_>>()
                };
                prop_assert_eq!(groups(&ascii), groups(&utf8), "{:?}", &text);
            }
        }
    }
}
