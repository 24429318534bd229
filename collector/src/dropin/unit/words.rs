//! Words of a value in a unit, cut and unquoted as systemd does it.
//!
//! Spaces part words. Quotes of either kind may begin anywhere in a word, and a backslash begins an
//! escape sequence outside and inside of them (systemd.service(5), "Command lines"; what the manual
//! leaves open was tried, see `table.txt`).

use std::fmt;

/// How words are cut: it depends on where the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `ExecStart=`: in a word with an unknown sequence, such sequences stay as they are.
    Command,
    /// `Environment=`: an unknown sequence is a mistake.
    Assignment,
    /// The value of `$NAME`: a backslash takes any meaning from the next character, and goes. A quote
    /// need not be closed.
    Variable,
}

/// Why a value cannot be cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    OpenQuote,
    NoSequence,
    NotText,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mistake::OpenQuote => "a quote is opened and not closed",
            Mistake::NoSequence => "a backslash begins no escape sequence; write it twice",
            Mistake::NotText => "an escape sequence gives bytes that are not UTF-8",
        })
    }
}

const SPACES: &[char] = &[' ', '\t', '\n', '\r'];

/// The first word of a text and what follows it without the spaces between; nothing if there is no
/// word.
pub(super) fn first(text: &str, rule: Rule) -> Result<Option<(String, &str)>, Mistake> {
    let text = text.trim_start_matches(SPACES);
    if text.is_empty() {
        return Ok(None);
    }
    let cut = match (rule, cut(text, rule, false)) {
        (Rule::Command, Err(Mistake::NoSequence)) => cut(text, rule, true),
        (_, cut) => cut,
    };
    let (word, rest) = cut?;
    let word = String::from_utf8(word).map_err(|_| Mistake::NotText)?;
    Ok(Some((word, rest.trim_start_matches(SPACES))))
}

/// All words of a text.
pub(super) fn all(mut text: &str, rule: Rule) -> Result<Vec<String>, Mistake> {
    let mut words = Vec::new();
    while let Some((word, rest)) = first(text, rule)? {
        words.push(word);
        text = rest;
    }
    Ok(words)
}

fn cut(text: &str, rule: Rule, keeps_unknown: bool) -> Result<(Vec<u8>, &str), Mistake> {
    let mut word = Vec::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        match letter {
            '\\' => {
                rest = match rule {
                    Rule::Command | Rule::Assignment => match sequence(after) {
                        Some((bytes, after)) => {
                            word.extend_from_slice(bytes.as_slice());
                            after
                        }
                        None if keeps_unknown => {
                            word.push(b'\\');
                            verbatim(after, &mut word)
                        }
                        None => return Err(Mistake::NoSequence),
                    },
                    Rule::Variable => verbatim(after, &mut word),
                };
                continue;
            }
            _ if quote == Some(letter) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ if quote.is_none() && SPACES.contains(&letter) => break,
            _ => _ = verbatim(rest, &mut word),
        }
        rest = after;
    }
    if quote.is_some() && rule != Rule::Variable {
        Err(Mistake::OpenQuote)
    } else {
        Ok((word, rest))
    }
}

/// Takes the first character as it is; what follows it.
fn verbatim<'t>(text: &'t str, word: &mut Vec<u8>) -> &'t str {
    let length = text.chars().next().map_or(0, char::len_utf8);
    let (letter, rest) = text.split_at(length);
    word.extend_from_slice(letter.as_bytes());
    rest
}

/// The bytes of one escape sequence.
struct Bytes {
    bytes: [u8; 4],
    count: usize,
}

impl Bytes {
    fn one(byte: u8) -> Self {
        Bytes { bytes: [byte, 0, 0, 0], count: 1 }
    }

    fn of(letter: char) -> Self {
        let mut bytes = [0; 4];
        let count = letter.encode_utf8(&mut bytes).len();
        Bytes { bytes, count }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

/// The bytes of an escape sequence, and what follows it. `text` begins after the backslash.
fn sequence(text: &str) -> Option<(Bytes, &str)> {
    let letter = text.chars().next()?;
    let after = &text[letter.len_utf8()..];
    let plain = |byte: u8| Some((Bytes::one(byte), after));
    match letter {
        'a' => plain(0x07),
        'b' => plain(0x08),
        'f' => plain(0x0C),
        'n' => plain(b'\n'),
        'r' => plain(b'\r'),
        't' => plain(b'\t'),
        'v' => plain(0x0B),
        's' => plain(b' '),
        '\\' => plain(b'\\'),
        '"' => plain(b'"'),
        '\'' => plain(b'\''),
        'x' => number(after, 2, 16).and_then(|(code, after)| byte(code, after)),
        '0'..='7' => number(text, 3, 8).and_then(|(code, after)| byte(code, after)),
        'u' => number(after, 4, 16).and_then(|(code, after)| character(code, after)),
        'U' => number(after, 8, 16).and_then(|(code, after)| character(code, after)),
        _ => None,
    }
}

fn byte(code: u32, after: &str) -> Option<(Bytes, &str)> {
    let code = u8::try_from(code).ok().filter(|code| *code != 0)?;
    Some((Bytes::one(code), after))
}

fn character(code: u32, after: &str) -> Option<(Bytes, &str)> {
    let code = char::from_u32(code).filter(|code| *code != '\0')?;
    Some((Bytes::of(code), after))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let (number, after) = text.split_at_checked(digits)?;
    let is_digits = number.chars().all(|digit| digit.is_digit(radix));
    let number = is_digits.then(|| u32::from_str_radix(number, radix).ok()).flatten()?;
    Some((number, after))
}
