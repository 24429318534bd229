//! Sets of code points, and which code points differ only in case.

use std::fmt::Write as _;

/// The last code point whose case folds to another in any version of Unicode so far.
const LAST_CASED: char = '\u{1E943}';
const LAST: u32 = char::MAX as u32;
const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// A class of the language, by its ranges with both ends included.
pub(super) type Ranges = &'static [(u8, u8)];

/// A set of code points, surrogates among them.
#[derive(Clone, Debug, Default)]
pub(super) struct CodePoints {
    /// Both ends are included; sorted and apart only after `tidy`.
    ranges: Vec<(u32, u32)>,
}

impl CodePoints {
    pub(super) fn one(code: u32) -> Self {
        CodePoints { ranges: vec![(code, code)] }
    }

    pub(super) fn all() -> Self {
        CodePoints { ranges: vec![(0, LAST)] }
    }

    pub(super) fn ascii(ranges: Ranges) -> Self {
        let wide = |&(first, last): &(u8, u8)| (u32::from(first), u32::from(last));
        CodePoints { ranges: ranges.iter().map(wide).collect() }
    }

    pub(super) fn add(&mut self, first: u32, last: u32) {
        self.ranges.push((first, last));
    }

    pub(super) fn add_all(&mut self, other: &CodePoints) {
        self.ranges.extend_from_slice(&other.ranges);
    }

    pub(super) fn negate(&mut self) {
        self.tidy();
        let mut next = 0;
        let mut gaps = Vec::with_capacity(self.ranges.len() + 1);
        for &(first, last) in &self.ranges {
            if next < first {
                gaps.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST {
            gaps.push((next, LAST));
        }
        self.ranges = gaps;
    }

    /// Adds whatever differs from a member only in case.
    ///
    /// `folds` is filled when the set is the first to need it.
    pub(super) fn fold(&mut self, folds: &mut Option<Folds>) {
        self.tidy();
        let mut more = Vec::new();
        if self.ranges.last().is_some_and(|&(_, last)| last >= 0x80) {
            folds.get_or_insert_with(Folds::new).add_missing(self, &mut more);
        } else {
            for code in self.ranges.iter().flat_map(|&(first, last)| first..=last) {
                let letter = code as u8;
                if letter.is_ascii_alphabetic() {
                    more.push(u32::from(letter ^ 0x20));
                }
                match letter {
                    b'k' | b'K' => more.push(0x212A),
                    b's' | b'S' => more.push(0x017F),
                    _ => {}
                }
            }
        }
        self.ranges.extend(more.into_iter().map(|code| (code, code)));
    }

    /// Writes the set in the syntax of the regex crate, as something that `*` can follow.
    pub(super) fn write(&mut self, out: &mut String) {
        self.tidy();
        // No text has a surrogate, and regex has no way to write one.
        let mut ranges = self.ranges.iter().flat_map(|&(first, last)| {
            let below = (first, last.min(SURROGATES.0 - 1));
            let above = (first.max(SURROGATES.1 + 1), last);
            [below, above].into_iter().filter(|(first, last)| first <= last)
        });
        match (ranges.next(), ranges.next()) {
            (None, _) => out.push_str("[a&&b]"),
            (Some((one, same)), None) if one == same => write_code(out, one),
            (one, two) => {
                out.push('[');
                for (first, last) in one.into_iter().chain(two).chain(ranges) {
                    write_code(out, first);
                    if first < last {
                        out.push('-');
                        write_code(out, last);
                    }
                }
                out.push(']');
            }
        }
    }

    /// Those of ASCII, a bit each.
    pub(super) fn ascii_bits(&self) -> u128 {
        let codes = self.ranges.iter().flat_map(|&(first, last)| first..=last.min(0x7F));
        codes.fold(0, |bits, code| bits | 1 << code)
    }

    fn tidy(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, kept| {
            let touches = next.0 <= kept.1.saturating_add(1);
            if touches {
                kept.1 = kept.1.max(next.1);
            }
            touches
        });
    }

    /// Right only of a tidy set.
    fn contains(&self, code: u32) -> bool {
        let position = self.ranges.partition_point(|&(_, last)| last < code);
        self.ranges.get(position).is_some_and(|&(first, _)| first <= code)
    }
}

/// Writes a code point that is not a surrogate in the syntax of the regex crate.
pub(super) fn write_code(out: &mut String, code: u32) {
    match char::from_u32(code) {
        Some(letter) if letter.is_ascii_alphanumeric() || !letter.is_ascii() => out.push(letter),
        // Writing to a string cannot fail.
        _ => _ = write!(out, r"\x{code:02X}"),
    }
}

/// The code points that differ from others only in case.
#[derive(Debug)]
pub(super) struct Folds {
    /// What `simple_fold` makes of a code point, and the code point, where the two differ.
    pairs: Vec<(char, char)>,
}

impl Folds {
    fn new() -> Self {
        let mut pairs: Vec<_> = ('A'..=LAST_CASED)
            .map(|letter| (simple_fold(letter), letter))
            .filter(|(folded, letter)| folded != letter)
            .collect();
        pairs.sort_unstable();
        Folds { pairs }
    }

    /// Puts into `more` what folds like a member of a tidy set; it may be a member itself.
    fn add_missing(&self, set: &CodePoints, more: &mut Vec<u32>) {
        for family in self.pairs.chunk_by(|one, next| one.0 == next.0) {
            let folded = family.first().map(|&(folded, _)| u32::from(folded));
            let members = || family.iter().map(|&(_, letter)| u32::from(letter)).chain(folded);
            if members().any(|code| set.contains(code)) {
                more.extend(members());
            }
        }
    }
}

/// The common form of all that differ only in case.
///
/// By way of upper case, as `ς`, `σ` and `Σ` have only that in common. A mapping to several code
/// points is none here. The dotless `ı` is the one letter that has a simple mapping to a letter it
/// does not fold to.
fn simple_fold(letter: char) -> char {
    if letter == 'ı' {
        return letter;
    }
    let upper = only(letter.to_uppercase()).unwrap_or(letter);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mut set: CodePoints) -> String {
        let mut out = String::new();
        set.write(&mut out);
        out
    }

    fn folded(ranges: &[(char, char)]) -> String {
        let mut set = CodePoints::default();
        for &(first, last) in ranges {
            set.add(u32::from(first), u32::from(last));
        }
        set.fold(&mut None);
        written(set)
    }

    #[test]
    fn folds_ascii_as_the_table_does() {
        let folds = Folds::new();
        for code in 0..0x80 {
            let mut short = CodePoints::one(code);
            short.fold(&mut None);
            let mut long = CodePoints::one(code);
            let mut more = Vec::new();
            folds.add_missing(&long, &mut more);
            more.into_iter().for_each(|code| long.add(code, code));
            assert_eq!(written(short), written(long));
        }
    }

    #[test]
    fn folds_families() {
        assert_eq!(folded(&[('b', 'b')]), "[Bb]");
        assert_eq!(folded(&[('j', 'k')]), "[J-Kj-k\u{212A}]");
        assert_eq!(folded(&[('ς', 'ς')]), "[Σς-σ]");
        assert_eq!(folded(&[('ı', 'ı')]), "ı");
        assert_eq!(folded(&[('İ', 'İ')]), "İ");
        assert_eq!(folded(&[('ß', 'ß')]), "[ßẞ]");
        assert_eq!(folded(&[('ᾀ', 'ᾀ')]), "[ᾀᾈ]");
        assert_eq!(folded(&[('à', 'ö'), ('日', '日')]), "[À-Öà-ö\u{212B}日]");
    }

    #[test]
    fn leaves_surrogates_out() {
        let set = |first, last| CodePoints { ranges: vec![(first, last)] };
        assert_eq!(written(set(0xD800, 0xDFFF)), "[a&&b]");
        assert_eq!(written(set(0xD7FF, 0xE000)), "[\u{D7FF}\u{E000}]");
        assert_eq!(written(set(0xDC00, 0xE000)), "\u{E000}");
        assert_eq!(written(CodePoints::all()), "[\\x00-\u{D7FF}\u{E000}-\u{10FFFF}]");
    }

    #[test]
    fn negates() {
        let mut set = CodePoints::ascii(&[(b'b', b'c'), (b'a', b'b')]);
        set.negate();
        assert!(set.contains(0) && set.contains(0x60) && !set.contains(0x61));
        assert!(!set.contains(0x63) && set.contains(0x64) && set.contains(LAST));
        set.negate();
        assert_eq!(written(set), "[a-c]");
        let mut all = CodePoints::all();
        all.negate();
        assert_eq!(written(all), "[a&&b]");
    }
}
