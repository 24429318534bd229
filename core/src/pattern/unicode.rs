//! Classes of Unicode by the names that Go has for them from 1.25 on: general categories and scripts,
//! with case, spaces, dashes and underscores in them without meaning.

use super::class::CodePoints;
use regex_syntax::hir::{Class, HirKind};

const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// The code points of a class; nothing if no class has this name.
pub(super) fn class(name: &str) -> Option<CodePoints> {
    let is_letter = |letter: &char| !matches!(letter, ' ' | '_' | '-');
    let name: String = name.chars().filter(is_letter).collect::<String>().to_ascii_lowercase();
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    match name.as_str() {
        "any" => Some(CodePoints::all()),
        "ascii" => Some(CodePoints::ascii(&[(0, 0x7F)])),
        "assigned" => {
            let mut set = property("gc", "cn")?;
            set.negate();
            Some(set)
        }
        // They are no characters, of which alone the regex crate knows.
        "cs" | "surrogate" => {
            let mut set = CodePoints::default();
            set.add(SURROGATES.0, SURROGATES.1);
            Some(set)
        }
        "c" | "other" => {
            let mut set = property("gc", "c")?;
            set.add(SURROGATES.0, SURROGATES.1);
            Some(set)
        }
        name => property("gc", name).or_else(|| property("sc", name)),
    }
}

fn property(kind: &str, name: &str) -> Option<CodePoints> {
    let parsed = regex_syntax::parse(&format!(r"\p{{{kind}={name}}}")).ok()?;
    let mut set = CodePoints::default();
    match parsed.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().for_each(|range| set.add(range.start().into(), range.end().into()));
        }
        // A class of one character is that character.
        HirKind::Literal(literal) => {
            let text = str::from_utf8(&literal.0).ok()?;
            text.chars().for_each(|letter| set.add(letter.into(), letter.into()));
        }
        _ => return None,
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_is_a_class() {
        for name in "C Cc Cf Cn Co Cs L LC Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps \
                     S Sc Sk Sm So Z Zl Zp Zs Letter Old_Italic old-italic ASCII Assigned Nag_Mundari"
            .split(' ')
        {
            assert!(class(name).is_some(), "{name}");
        }
        for name in ["Emoji", "", "L}", "sc=Greek", "é"] {
            assert!(class(name).is_none(), "{name}");
        }
    }
}
