//! The types that a setting may have.

use super::mistakes::Mistakes;
use super::setting::Setting;
use super::value::{Node, Origin, Value};
use std::borrow::Cow;
use std::time::Duration;

/// Whether a text is to be parsed as the declared type: in the environment and in flags everything is text.
fn is_spelled(value: &Value) -> bool {
    matches!(value.origin, Origin::Environment(_) | Origin::Flag(_))
}

fn mismatch<T>(expected: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {expected}, found {}", value.node.noun()))
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Boolean(truth) => Ok(*truth),
            Node::Text(text) if is_spelled(value) => {
                text.trim().parse().map_err(|_| "expected true or false".to_owned())
            }
            _ => mismatch("true or false", value),
        }
    }
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const KIND: &'static str = "whole number";

            fn decode(value: &Value) -> Result<Self, String> {
                let out_of_range =
                    || format!("must be from {} to {}", <$number>::MIN, <$number>::MAX);
                match &value.node {
                    Node::Integer(number) => <$number>::try_from(*number).map_err(|_| out_of_range()),
                    Node::Text(text) if is_spelled(value) => text.trim().parse::<i64>()
                        .map_err(|_| "expected a whole number".to_owned())
                        .and_then(|number| <$number>::try_from(number).map_err(|_| out_of_range())),
                    _ => mismatch("a whole number", value),
                }
            }
        }
    )*};
}
whole_number!(u16, u32, u64, i64);

impl Setting for f64 {
    const KIND: &'static str = "number";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Float(number) => Ok(*number),
            Node::Integer(number) => Ok(*number as f64),
            Node::Text(text) if is_spelled(value) => {
                text.trim().parse().map_err(|_| "expected a number".to_owned())
            }
            _ => mismatch("a number", value),
        }
    }
}

impl Setting for String {
    const KIND: &'static str = "text";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => Ok(text.clone()),
            _ => mismatch("text", value),
        }
    }
}

impl Setting for Duration {
    const KIND: &'static str = "duration";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => parse_duration(text),
            _ => mismatch("a duration such as \"10s\", \"1m30s\" or \"500ms\"", value),
        }
    }
}

/// The longest duration that Go has, in nanoseconds.
const LONGEST_DURATION: Duration = Duration::from_nanos(i64::MAX as u64);

/// Parses `1h30m`, `10s`, `1.5s`, `500ms`, `20us`. It takes no unit and no form that Go's
/// `time.ParseDuration` refuses, such as days or a blank: the flags of node_exporter are parsed here, too.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as \"10s\", \"1m30s\" or \"500ms\"".to_owned();
    let (amount, is_negative) = match text.strip_prefix('-') {
        Some(amount) => (amount, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if amount == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = amount;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let amount = number.parse::<f64>().map_err(|_| wrong())? * seconds;
        let part = Duration::try_from_secs_f64(amount).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if amount.is_empty() {
        Err(wrong())
    } else if is_negative && !total.is_zero() {
        Err("must not be below 0".to_owned())
    } else if total > LONGEST_DURATION {
        Err("must not be longer than 2562047h47m16s".to_owned())
    } else {
        Ok(total)
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;

    fn decode(value: &Value) -> Result<Self, String> {
        match value.node {
            Node::Unset => Ok(None),
            _ => T::decode(value).map(Some),
        }
    }

    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match value.node {
            Node::Unset => Some(None),
            _ => T::decode_at(value, path, mistakes).map(Some),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    const KIND: &'static str = match T::KIND.as_bytes() {
        b"table" => "list of tables",
        _ => "list",
    };

    fn decode(value: &Value) -> Result<Self, String> {
        listed::<T>(value)?.iter().map(T::decode).collect()
    }

    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match listed::<T>(value) {
            Ok(items) => {
                // Every item is decoded before the list is given up, so that all mistakes are reported.
                let decoded: Vec<_> =
                    items.iter().map(|item| T::decode_at(item, path, mistakes)).collect();
                decoded.into_iter().collect()
            }
            Err(message) => {
                mistakes.add(value.origin.clone(), path, message);
                None
            }
        }
    }
}

/// The items of a list. Text from the environment or a flag is split at its commas; in a file a text is a list
/// of one. Whether `"a,b"` is one item or two would be a guess there, so the file has to say it.
fn listed<T: Setting>(value: &Value) -> Result<Cow<'_, [Value]>, String> {
    match &value.node {
        Node::List(items) => Ok(Cow::Borrowed(items)),
        Node::Text(text) if is_spelled(value) => Ok(between_commas(text, value).collect()),
        Node::Text(text) if takes_text::<T>(value) => match text.contains(',') {
            false => Ok(Cow::Owned(vec![value.clone()])),
            true => {
                let items = Node::List(between_commas(text, value).collect());
                Err(format!(
                    "expected a list, found text with a comma: write [{}] or {items}",
                    value.node
                ))
            }
        },
        node => match T::decode(value) {
            Ok(_) => Err(format!("expected a list, found {}: write [{node}]", node.noun())),
            // Where a text is a list of one, an item says best how it is written.
            Err(message) if !matches!(node, Node::Table(_)) && takes_text::<T>(&text_of(value)) => {
                Err(message)
            }
            Err(_) => mismatch("a list", value),
        },
    }
}

/// Some text where another value was written.
fn text_of(value: &Value) -> Value {
    Value::new("", value.origin.clone())
}

/// What is between the commas of a text, each of which was written where the text was.
fn between_commas(text: &str, value: &Value) -> impl Iterator<Item = Value> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Value::new(item, value.origin.clone()))
}

/// Whether an item may be text, and be it another one than this.
fn takes_text<T: Setting>(value: &Value) -> bool {
    T::decode(value).err().is_none_or(|message| !message.ends_with(", found text"))
}

/// The value of a word; one that is not among `words` is refused with all of them.
///
/// # Errors
///
/// A sentence with every word.
pub fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    if let Node::Text(text) = &value.node
        && let Some((_, meant)) = words.iter().find(|(word, _)| word == text)
    {
        return Ok(*meant);
    }
    let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    Err(format!("expected one of {}", words.join(", ")))
}

/// An amount of memory or storage in bytes, written with its unit: `"256MiB"`, `"10GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Setting for Size {
    const KIND: &'static str = "size";

    fn decode(value: &Value) -> Result<Self, String> {
        let size = match &value.node {
            Node::Text(text) => parse_size(text.trim()),
            _ => None,
        };
        size.map(Size).ok_or_else(|| "expected a size such as \"256MiB\" or \"10GB\"".to_owned())
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_start);
    let unit: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn file<T: Setting>(node: impl Into<Node>) -> Result<T, String> {
        let origin = Origin::File { file: "x.toml".into(), line: 1, column: 1 };
        T::decode(&Value::new(node, origin))
    }

    fn flag<T: Setting>(text: &str) -> Result<T, String> {
        T::decode(&Value::new(text, Origin::Flag(Arc::from("--flag"))))
    }

    #[test]
    fn text_is_parsed_where_everything_is_text_and_nowhere_else() {
        assert_eq!(flag("true"), Ok(true));
        assert_eq!(flag(" 5 "), Ok(5_u32));
        assert_eq!(flag("1.5"), Ok(1.5));
        assert_eq!(flag("a, b,"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(file::<bool>("true").unwrap_err(), "expected true or false, found text");
        assert_eq!(file::<u32>("5").unwrap_err(), "expected a whole number, found text");
        assert_eq!(file::<String>(5).unwrap_err(), "expected text, found a whole number");
        assert_eq!(file::<u16>(65_536).unwrap_err(), "must be from 0 to 65535");
    }

    #[test]
    fn a_text_that_stands_alone_is_a_list_of_one() {
        assert_eq!(file(":9100"), Ok(vec![":9100".to_owned()]));
        assert_eq!(file("5s"), Ok(vec![Duration::from_secs(5)]));
        let expected = "expected a duration such as \"10s\", \"1m30s\" or \"500ms\"";
        assert_eq!(file::<Vec<Duration>>("soon").unwrap_err(), expected);
        assert_eq!(
            file::<Vec<String>>("a, b").unwrap_err(),
            "expected a list, found text with a comma: write [\"a, b\"] or [\"a\", \"b\"]"
        );
        assert_eq!(file::<Vec<u32>>("5").unwrap_err(), "expected a list, found text");
    }

    #[test]
    fn what_is_no_list_is_refused_with_how_it_is_written() {
        let told = file::<Vec<u32>>(5).unwrap_err();
        assert_eq!(told, "expected a list, found a whole number: write [5]");
        // It may be a text that stands alone, and the item says how that is written.
        let told = file::<Vec<String>>(9100).unwrap_err();
        assert_eq!(told, "expected text, found a whole number");
        let told = file::<Vec<Duration>>(5).unwrap_err();
        assert!(told.starts_with("expected a duration such as \"10s\""), "{told}");
        assert_eq!(file::<Vec<u32>>(true).unwrap_err(), "expected a list, found true or false");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(file("1h1m1.5s"), Ok(Duration::from_millis(3_661_500)));
        assert_eq!(file("0"), Ok(Duration::ZERO));
        // Go knows both letters that look like this one: the sign of micro and that of the alphabet.
        for micro in ["20us", "20\u{b5}s", "20\u{3bc}s"] {
            assert_eq!(file(micro), Ok(Duration::from_micros(20)));
        }
        for zero in ["-0", "+0", "-0s"] {
            assert_eq!(file(zero), Ok(Duration::ZERO));
        }
        assert_eq!(file("+5s"), Ok(Duration::from_secs(5)));
        assert_eq!(file("2562047h"), Ok(Duration::from_secs(2_562_047 * 3600)));
        assert_eq!(file::<Duration>("-1s").unwrap_err(), "must not be below 0");
        for wrong in [
            "", "5", "s", "5 s", " 5s", "5s ", "-1s", "1e400s", "1s1", "1d", "1w", ".", "+", "-",
            "--1s", "-+1s", "2562048h", "9999999h",
        ] {
            assert!(file::<Duration>(wrong).is_err(), "{wrong}");
            assert!(flag::<Duration>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(file("256MiB"), Ok(Size(256 << 20)));
        assert_eq!(file("10 GB"), Ok(Size(10_000_000_000)));
        for wrong in ["", "5", "MiB", "1.5MiB", "-1B", "1XB", "99999999999999TiB"] {
            assert!(file::<Size>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_listed_when_none_of_them_is_meant() {
        let words = [("memory", 1), ("cpu", 2)];
        assert_eq!(one_of(&Value::new("cpu", Origin::Default), &words), Ok(2));
        let refused = one_of(&Value::new("CPU", Origin::Default), &words).unwrap_err();
        assert_eq!(refused, "expected one of \"memory\", \"cpu\"");
    }
}
