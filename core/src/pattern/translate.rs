//! From the syntax of Go's `regexp` to that of the regex crate.
//!
//! What comes out has no flags, no named groups and no names of classes: those are where the two
//! differ, and some need Unicode tables that are not built in here. Tests are no guard
//! against using those, as proptest has them built into regex-syntax.

use super::class::{CodePoints, Folds, Ranges, write_code};
use super::tree::{Group, Look, Tree};
use super::unicode;

/// A repetition within a repetition multiplies, and Go takes no product above this.
const MOST_COPIES: u32 = 1000;

/// Both this file's idea of depth and, with room to spare, what the stack of a thread can take
/// while the regex crate walks the expression. What is walked here has a limit of its own.
const DEEPEST: u32 = 128;

/// Above what an expression of the deepest kind comes to in the regex crate's count.
pub(super) const NEST_LIMIT: u32 = 4 * DEEPEST;

/// Longer pieces of an expression are cut where a message shows them.
const SHOWN: usize = 40;

const DIGIT: Ranges = &[(b'0', b'9')];
const SPACE: Ranges = &[(b'\t', b'\n'), (0x0C, b'\r'), (b' ', b' ')];
const WORD: Ranges = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];

/// The names in `[[:name:]]`.
const NAMED_CLASSES: &[(&str, Ranges)] = &[
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("ascii", &[(0, 0x7F)]),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1F), (0x7F, 0x7F)]),
    ("digit", DIGIT),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];

/// An expression in the syntax of the regex crate.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) expression: String,
    /// The same to walk on texts of ASCII, if it can be.
    pub(super) tree: Option<Tree>,
    /// The names of its groups, in their order; groups without a name are not captured.
    pub(super) group_names: Vec<String>,
    /// How often its repetitions write out what they repeat, at most.
    pub(super) copies: u32,
}

/// Translates an expression.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub(super) fn translate(source: &str) -> Result<Translation, String> {
    let mut translator = Translator {
        rest: source,
        out: String::with_capacity(2 * source.len()),
        group_names: Vec::new(),
        flags: Flags::default(),
        outer: Vec::new(),
        level: Level::default(),
        folds: None,
    };
    translator.run()?;
    let copies = translator.level.whole_weight().copies.max(1);
    Ok(Translation {
        expression: translator.out,
        tree: translator.level.group.into_tree(),
        group_names: translator.group_names,
        copies,
    })
}

/// The sentence about an expression that Go refuses too.
pub(super) fn invalid(what: &str) -> String {
    format!("not a regular expression: {what}")
}

/// The sentence about an expression that Go may take.
pub(super) fn unsupported(what: &str) -> String {
    format!("not a regular expression that is supported: {what}")
}

/// A piece of an expression for a message of one line.
fn quoted(piece: &str) -> String {
    let plain =
        |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    let mut shown: String = piece.chars().take(SHOWN).map(plain).collect();
    if shown.len() < piece.len() && piece.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

struct Translator<'s> {
    /// What is still to be read.
    rest: &'s str,
    out: String,
    group_names: Vec<String>,
    flags: Flags,
    /// The levels around the present one.
    outer: Vec<Level>,
    level: Level,
    folds: Option<Folds>,
}

/// The flags of `(?imsU)`.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_takes_newline: bool,
    swap_greed: bool,
}

/// The inside of a group, or the whole.
#[derive(Default)]
struct Level {
    /// Where it starts in the translation.
    start: usize,
    /// The flags outside.
    flags: Flags,
    is_named: bool,
    has_branches: bool,
    items: usize,
    /// The item that a repetition would repeat.
    last: Option<Item>,
    /// Of all its items but the last.
    weight: Weight,
    /// The same to walk.
    group: Group,
}

/// What one repetition repeats.
#[derive(Clone, Copy)]
struct Item {
    start: usize,
    /// Whether a repetition may follow without a group around the item.
    is_atom: bool,
    weight: Weight,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    depth: u32,
    /// How often repetitions within write out what they repeat, at most.
    copies: u32,
}

impl Weight {
    const ATOM: Weight = Weight { depth: 0, copies: 1 };

    fn or(self, other: Weight) -> Weight {
        Weight { depth: self.depth.max(other.depth), copies: self.copies.max(other.copies) }
    }

    fn deeper(self, by: u32) -> Weight {
        Weight { depth: self.depth + by, ..self }
    }
}

impl Level {
    fn whole_weight(&self) -> Weight {
        self.last.map_or(self.weight, |last| self.weight.or(last.weight))
    }
}

impl<'s> Translator<'s> {
    fn run(&mut self) -> Result<(), String> {
        let mut is_repeated = false;
        while let Some(letter) = self.rest.chars().next() {
            let was_repeated = std::mem::take(&mut is_repeated);
            match letter {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.skip(1);
                    self.level.weight = self.level.whole_weight();
                    self.level.last = None;
                    self.level.has_branches = true;
                    self.out.push('|');
                    self.level.group.end_branch();
                }
                '^' if self.flags.multi_line => self.look(1, "(?m:^)", Some(Look::LineStart))?,
                '^' => self.look(1, r"\A", Some(Look::Start))?,
                '$' if self.flags.multi_line => self.look(1, "(?m:$)", Some(Look::LineEnd))?,
                '$' => self.look(1, r"\z", Some(Look::End))?,
                '.' if self.flags.dot_takes_newline => self.dot("(?s:.)", u128::MAX)?,
                '.' => self.dot(".", !(1 << b'\n'))?,
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.repeat(1, None, was_repeated)?;
                    is_repeated = true;
                }
                '{' => match Counts::read(self.rest) {
                    Some(counts) => {
                        self.repeat(counts.length, Some(counts), was_repeated)?;
                        is_repeated = true;
                    }
                    None => self.plain_letter(letter)?,
                },
                '\\' => self.backslash()?,
                letter => self.plain_letter(letter)?,
            }
        }
        if self.outer.is_empty() { Ok(()) } else { Err(invalid("unclosed group")) }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// What was read since the rest was `from`.
    fn read_since(&self, from: &'s str) -> &'s str {
        from.get(..from.len() - self.rest.len()).unwrap_or(from)
    }

    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let next = letters.next();
        self.rest = letters.as_str();
        next
    }

    fn eat(&mut self, letter: char) -> bool {
        let after = self.rest.strip_prefix(letter);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Makes the end of the translation, from `start`, what a repetition would repeat.
    fn item(&mut self, start: usize, is_atom: bool, weight: Weight) -> Result<(), String> {
        if weight.depth > DEEPEST {
            return Err(unsupported(&format!("it nests more than {DEEPEST} deep")));
        }
        self.level.last = Some(Item { start, is_atom, weight });
        Ok(())
    }

    fn new_item(&mut self, start: usize, is_atom: bool, weight: Weight) -> Result<(), String> {
        self.level.weight = self.level.whole_weight();
        self.level.items += 1;
        self.item(start, is_atom, weight)
    }

    /// Replaces some bytes of the source by one item, which a repetition can follow.
    fn atom(&mut self, bytes: usize, written: &str) -> Result<(), String> {
        self.skip(bytes);
        let start = self.out.len();
        self.out.push_str(written);
        self.new_item(start, true, Weight::ATOM)
    }

    /// Replaces some bytes of the source, which tell of a place in the text.
    fn look(&mut self, bytes: usize, written: &str, look: Option<Look>) -> Result<(), String> {
        match look {
            Some(look) => self.level.group.look(look),
            None => self.level.group.give_up(),
        }
        self.atom(bytes, written)
    }

    fn dot(&mut self, written: &str, ascii: u128) -> Result<(), String> {
        self.level.group.set(ascii);
        self.atom(1, written)
    }

    fn set(&mut self, set: &mut CodePoints) -> Result<(), String> {
        let start = self.out.len();
        set.write(&mut self.out);
        self.level.group.set(set.ascii_bits());
        self.new_item(start, true, Weight::ATOM)
    }

    fn literal(&mut self, code: u32) -> Result<(), String> {
        match u8::try_from(code) {
            Ok(byte) if byte.is_ascii() && !self.flags.ignore_case => {
                let start = self.out.len();
                write_code(&mut self.out, code);
                self.level.group.byte(byte);
                self.new_item(start, true, Weight::ATOM)
            }
            _ => {
                let mut set = CodePoints::one(code);
                if self.flags.ignore_case {
                    set.fold(&mut self.folds);
                }
                self.set(&mut set)
            }
        }
    }

    fn plain_letter(&mut self, letter: char) -> Result<(), String> {
        self.skip(letter.len_utf8());
        self.literal(u32::from(letter))
    }

    fn repeat(
        &mut self,
        length: usize,
        counts: Option<Counts>,
        was_repeated: bool,
    ) -> Result<(), String> {
        let operator = self.rest.get(..length).unwrap_or_default();
        self.skip(length);
        let is_lazy = self.eat('?') != self.flags.swap_greed;
        if counts.is_some_and(|counts| !counts.are_valid()) {
            return Err(invalid(&format!(
                "the counts of {} are above {MOST_COPIES} or the wrong way round",
                quoted(operator)
            )));
        }
        if was_repeated {
            return Err(invalid(&format!("{} repeats a repetition", quoted(operator))));
        }
        let Some(Item { start, is_atom, mut weight }) = self.level.last else {
            return Err(invalid(&format!("{} has nothing to repeat", quoted(operator))));
        };
        if let Some(counts) = counts {
            weight.copies = counts.copies_of(weight.copies);
            if weight.copies > MOST_COPIES {
                return Err(invalid(&format!(
                    "{} and the repetitions within repeat more than {MOST_COPIES} times",
                    quoted(operator)
                )));
            }
        }
        if !is_atom {
            self.out.insert_str(start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(operator);
        if is_lazy {
            self.out.push('?');
        }
        let (least, most) = match counts {
            Some(counts) => (counts.least, counts.most),
            None if operator == "*" => (0, None),
            None if operator == "+" => (1, None),
            None => (0, Some(1)),
        };
        self.level.group.repeat(least, most);
        self.item(start, false, weight.deeper(if is_atom { 1 } else { 2 }))
    }

    /// Reads `(` and what belongs to it.
    fn open(&mut self) -> Result<(), String> {
        let from = self.rest;
        self.skip(1);
        if !self.eat('?') {
            self.push_level(false);
            return Ok(());
        }
        if let Some(after) = self.rest.strip_prefix("P<").or(self.rest.strip_prefix('<')) {
            let is_word = |name: &str| {
                !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
            };
            let Some((name, after)) = after.split_once('>').filter(|(name, _)| is_word(name))
            else {
                let shown = from.split_inclusive('>').next().unwrap_or(from);
                return Err(invalid(&format!("{} gives a group no valid name", quoted(shown))));
            };
            self.rest = after;
            self.push_level(true);
            self.group_names.push(name.to_owned());
            return Ok(());
        }
        let mut flags = self.flags;
        let mut is_set = true;
        let mut is_complete = true;
        while let Some(letter) = self.next() {
            match letter {
                'i' => flags.ignore_case = is_set,
                'm' => flags.multi_line = is_set,
                's' => flags.dot_takes_newline = is_set,
                'U' => flags.swap_greed = is_set,
                '-' if is_set => {
                    is_set = false;
                    is_complete = false;
                    continue;
                }
                ':' | ')' if is_complete => {
                    if letter == ':' {
                        self.push_level(false);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            is_complete = true;
        }
        let shown = quoted(self.read_since(from));
        Err(invalid(&format!("{shown} starts no kind of group that there is")))
    }

    fn push_level(&mut self, is_named: bool) {
        let start = self.out.len();
        let inner = Level { start, flags: self.flags, is_named, ..Level::default() };
        self.outer.push(std::mem::replace(&mut self.level, inner));
    }

    fn close(&mut self) -> Result<(), String> {
        self.skip(1);
        let Some(outer) = self.outer.pop() else { return Err(invalid("unopened group")) };
        let mut inner = std::mem::replace(&mut self.level, outer);
        self.flags = inner.flags;
        self.level.group.add_group(std::mem::take(&mut inner.group));
        let mut weight = inner.whole_weight();
        // A group that only holds a sequence together melts into the sequence around it: Go sets no
        // limit to the depth of those.
        let is_empty = self.out.len() == inner.start;
        let is_group = inner.is_named || inner.has_branches || is_empty;
        if is_group {
            self.out.insert_str(inner.start, if inner.is_named { "(" } else { "(?:" });
            self.out.push(')');
            weight = weight.deeper(2);
        }
        let is_one_atom = inner.items == 1 && inner.last.is_some_and(|last| last.is_atom);
        self.new_item(inner.start, is_group || is_one_atom, weight)
    }

    /// Reads what starts with a backslash outside a class.
    fn backslash(&mut self) -> Result<(), String> {
        match self.rest.as_bytes().get(1) {
            Some(b'A') => return self.look(2, r"\A", Some(Look::Start)),
            Some(b'z') => return self.look(2, r"\z", Some(Look::End)),
            Some(b'b') => return self.look(2, r"(?-u:\b)", None),
            Some(b'B') => return self.look(2, r"(?-u:\B)", None),
            Some(b'Q') => {
                self.skip(2);
                let (quoted, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = after;
                return quoted.chars().try_for_each(|letter| self.literal(u32::from(letter)));
            }
            _ => {}
        }
        match self.class_escape()? {
            Some(mut set) => self.set(&mut set),
            None => {
                let code = self.escape()?;
                self.literal(code)
            }
        }
    }

    /// Reads `[` and all up to its `]`.
    fn class(&mut self) -> Result<(), String> {
        self.skip(1);
        let is_negated = self.eat('^');
        let mut set = CodePoints::default();
        // The first `]` is one of the set.
        let mut is_first = true;
        while std::mem::take(&mut is_first) || !self.eat(']') {
            if let Some(other) = self.named_class()? {
                set.add_all(&other);
                continue;
            }
            if let Some(other) = self.class_escape()? {
                set.add_all(&other);
                continue;
            }
            let from = self.rest;
            let first = self.class_letter()?;
            let mut last = first;
            let has_end = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if has_end && self.rest.len() > 1 {
                self.skip(1);
                last = self.class_letter()?;
            }
            if last < first {
                let shown = quoted(self.read_since(from));
                return Err(invalid(&format!("{shown} is a range that ends before it starts")));
            }
            set.add(first, last);
        }
        if self.flags.ignore_case {
            set.fold(&mut self.folds);
        }
        if is_negated {
            set.negate();
        }
        self.set(&mut set)
    }

    fn class_letter(&mut self) -> Result<u32, String> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.next().map(u32::from).ok_or_else(|| invalid("unclosed character class"))
    }

    /// Reads `[:alpha:]` if that is what comes.
    fn named_class(&mut self) -> Result<Option<CodePoints>, String> {
        let from = self.rest;
        let after = from.strip_prefix("[:").and_then(|after| after.split_once(":]"));
        let Some((name, after)) = after else { return Ok(None) };
        self.rest = after;
        let positive = name.strip_prefix('^').unwrap_or(name);
        let found = NAMED_CLASSES.iter().find(|(known, _)| *known == positive);
        let Some((_, ranges)) = found else {
            let shown = quoted(self.read_since(from));
            return Err(invalid(&format!("{shown} is no class of characters")));
        };
        Ok(Some(self.ascii_class(ranges, name != positive)))
    }

    /// Reads `\d`, `\pN` and their like if that is what comes.
    fn class_escape(&mut self) -> Result<Option<CodePoints>, String> {
        let from = self.rest;
        let Some(letter) = from.strip_prefix('\\').and_then(|after| after.chars().next()) else {
            return Ok(None);
        };
        let ranges = match letter {
            'd' | 'D' => DIGIT,
            's' | 'S' => SPACE,
            'w' | 'W' => WORD,
            'p' | 'P' => return self.unicode_class().map(Some),
            _ => return Ok(None),
        };
        self.skip(2);
        Ok(Some(self.ascii_class(ranges, letter.is_ascii_uppercase())))
    }

    fn ascii_class(&mut self, ranges: Ranges, is_negated: bool) -> CodePoints {
        let mut set = CodePoints::ascii(ranges);
        if self.flags.ignore_case {
            set.fold(&mut self.folds);
        }
        if is_negated {
            set.negate();
        }
        set
    }

    /// Reads `\pN` or `\p{Name}`.
    fn unicode_class(&mut self) -> Result<CodePoints, String> {
        let from = self.rest;
        self.skip(1);
        let is_upper = self.next() == Some('P');
        let start = self.rest;
        let name = if self.eat('{') {
            let Some((name, after)) = self.rest.split_once('}') else {
                return Err(invalid(&format!("{} has no end", quoted(from))));
            };
            self.rest = after;
            name
        } else {
            _ = self.next();
            self.read_since(start)
        };
        let positive = name.strip_prefix('^').unwrap_or(name);
        let Some(mut set) = unicode::class(positive) else {
            let shown = quoted(self.read_since(from));
            return Err(invalid(&format!("{shown} is no class of Unicode")));
        };
        if self.flags.ignore_case {
            set.fold(&mut self.folds);
        }
        if is_upper != (name != positive) {
            set.negate();
        }
        Ok(set)
    }

    /// Reads a backslash and what it makes one code point.
    fn escape(&mut self) -> Result<u32, String> {
        let from = self.rest;
        self.skip(1);
        let Some(letter) = self.next() else {
            return Err(invalid("it ends in a lone backslash"));
        };
        let code = match letter {
            '0'..='7' => self.octal(letter),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0C),
            'n' => Some(0x0A),
            'r' => Some(0x0D),
            't' => Some(0x09),
            'v' => Some(0x0B),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(u32::from(other)),
            _ => None,
        };
        code.ok_or_else(|| {
            let shown = quoted(self.read_since(from));
            invalid(&format!("{shown} is no escape sequence"))
        })
    }

    /// Reads the rest of `\012`; a lone digit other than zero would refer to a group.
    fn octal(&mut self, first: char) -> Option<u32> {
        let mut code = first.to_digit(8)?;
        let mut digits = 1;
        while let Some(digit) = self.rest.chars().next().and_then(|letter| letter.to_digit(8))
            && digits < 3
        {
            self.skip(1);
            code = code * 8 + digit;
            digits += 1;
        }
        (digits > 1 || first == '0').then_some(code)
    }

    /// Reads the rest of `\x7F` or `\x{10FFFF}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        if !self.eat('{') {
            let high = self.next()?.to_digit(16);
            let low = self.next()?.to_digit(16);
            return Some(high? * 16 + low?);
        }
        let mut code = 0;
        let mut has_digits = false;
        loop {
            let letter = self.next()?;
            if letter == '}' {
                return has_digits.then_some(code);
            }
            code = code * 16 + letter.to_digit(16)?;
            has_digits = true;
            if code > u32::from(char::MAX) {
                return None;
            }
        }
    }
}

/// A `{2}`, `{2,}` or `{2,3}`.
#[derive(Clone, Copy)]
struct Counts {
    least: u32,
    most: Option<u32>,
    /// The bytes that it takes.
    length: usize,
}

impl Counts {
    /// Of the start of a text; `None` where a brace is only a brace.
    fn read(text: &str) -> Option<Counts> {
        let (least, after) = number(text.strip_prefix('{')?)?;
        let (most, after) = match after.strip_prefix(',') {
            None => (Some(least), after),
            Some(after) if after.starts_with('}') => (None, after),
            Some(after) => number(after).map(|(most, after)| (Some(most), after))?,
        };
        let after = after.strip_prefix('}')?;
        Some(Counts { least, most, length: text.len() - after.len() })
    }

    fn are_valid(self) -> bool {
        let most = self.most.unwrap_or(self.least);
        self.least <= most && most <= MOST_COPIES
    }

    /// How many copies there are when there are so many within what is repeated.
    fn copies_of(self, within: u32) -> u32 {
        match self.most {
            Some(0) => 1,
            // An empty group has no copies within.
            most => within.max(1) * most.unwrap_or(self.least).max(1),
        }
    }
}

/// The number at the start of a text, and what follows; none has a zero before other digits.
fn number(text: &str) -> Option<(u32, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = text.split_at_checked(length)?;
    if digits.is_empty() || (length > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), after))
}
