//! How a command line is cut into flags: the rules of kingpin, which node_exporter is built with.

use super::flags::{Shape, flat};
use super::table::Flag;
use crate::regular;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use vitald_core::settings::nearest;

/// A flag as given.
pub(super) struct Given<'f> {
    pub(super) flag: &'f Flag,
    /// As written, without the value: `--no-collector.cpu`.
    pub(super) written: String,
    pub(super) value: Argument,
    /// Which argument it is, or names the file that it is from.
    pub(super) argument: usize,
}

/// What is wrong, and with which argument.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) argument: Option<usize>,
    pub(super) message: String,
}

impl Mistake {
    pub(super) fn of(argument: usize, message: String) -> Self {
        Mistake { argument: Some(argument), message }
    }
}

/// What a flag says.
pub(super) enum Argument {
    /// A switch: whether it is on.
    Switch(bool),
    /// What stands after the flag.
    Text(String),
}

/// The flags without a mistake, and the mistakes. Files of arguments are looked for in a directory.
pub(super) fn cut<'f>(
    arguments: &[impl AsRef<OsStr>],
    directory: &Path,
    flags: &'f [Flag],
) -> (Vec<Given<'f>>, Vec<Mistake>) {
    let mut words = match words(arguments, directory) {
        Ok(words) => words,
        Err(mistake) => return (Vec::new(), vec![mistake]),
    };
    let (mut given, mut mistakes) = (Vec::new(), Vec::new());
    while let Some((argument, word)) = words.pop_front() {
        match take(argument, word, &mut words, flags) {
            Ok(flag) => given.push(flag),
            Err(message) => mistakes.push(Mistake::of(argument, message)),
        }
    }
    (given, mistakes)
}

enum Word {
    /// `--name`, without the dashes.
    Long(String),
    /// `-x`.
    Short(char),
    /// Anything else, and what stands after `=`.
    Plain(String),
}

/// How many files may name each other by `@`.
const MOST_FILES: usize = 64;

fn words(
    arguments: &[impl AsRef<OsStr>],
    directory: &Path,
) -> Result<VecDeque<(usize, Word)>, Mistake> {
    let mut waiting = VecDeque::new();
    for (position, argument) in arguments.iter().enumerate() {
        let argument = argument.as_ref();
        let text = argument
            .to_str()
            .ok_or_else(|| Mistake::of(position, format!("not UTF-8: {argument:?}")))?;
        waiting.push_back((position, text.to_owned()));
    }
    let mut words = VecDeque::new();
    let mut files = 0;
    while let Some((position, text)) = waiting.pop_front() {
        let mut push = |word| words.push_back((position, word));
        if text == "--" {
            words.extend(waiting.drain(..).map(|(position, text)| (position, Word::Plain(text))));
        } else if let Some(name) = text.strip_prefix("--") {
            match name.split_once('=') {
                Some((name, value)) => {
                    push(Word::Long(name.to_owned()));
                    push(Word::Plain(value.to_owned()));
                }
                None => push(Word::Long(name.to_owned())),
            }
        } else if text.starts_with('-') && text.len() > 1 {
            text.chars().skip(1).map(Word::Short).for_each(push);
        } else if let Some(file) = text.strip_prefix('@') {
            files += 1;
            let mistake = |message| Mistake::of(position, message);
            if file.is_empty() {
                return Err(mistake("expected @ file to expand arguments from".to_owned()));
            }
            if files > MOST_FILES {
                return Err(mistake(format!("too many argument files, the last is \"{file}\"")));
            }
            for line in lines(file, directory).map_err(mistake)?.into_iter().rev() {
                waiting.push_front((position, line));
            }
        } else {
            push(Word::Plain(text));
        }
    }
    Ok(words)
}

/// The arguments that a file holds, one a line; empty lines and comments do not count.
fn lines(file: &str, directory: &Path) -> Result<Vec<String>, String> {
    let text = regular::read_text(&directory.join(file))
        .map_err(|error| format!("failed to open arguments file \"{file}\": {error}"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// The flag that a word begins; what stands after it is taken from `words`.
fn take<'f>(
    argument: usize,
    word: Word,
    words: &mut VecDeque<(usize, Word)>,
    flags: &'f [Flag],
) -> Result<Given<'f>, String> {
    let name = match word {
        Word::Short('h') => "help".to_owned(),
        Word::Short(letter) => return Err(format!("unknown short flag '-{letter}'")),
        Word::Plain(text) => return Err(format!("unexpected {text}")),
        Word::Long(name) => name,
    };
    let written = format!("--{name}");
    let off = || {
        let off = name.strip_prefix("no-").and_then(|name| find(flags, name));
        off.filter(|flag| flag.shape == Shape::Switch).map(|flag| (flag, false))
    };
    let Some((flag, is_on)) = find(flags, &name).map(|flag| (flag, true)).or_else(off) else {
        // What stands after it is its value, and no further mistake.
        words.pop_front_if(|(_, word)| matches!(word, Word::Plain(_)));
        let hint = meant(flags, &name).map(|meant| format!(" (did you mean {meant}?)"));
        return Err(format!("unknown long flag '{written}'{}", hint.unwrap_or_default()));
    };
    let value = match flag.shape {
        Shape::Switch => Argument::Switch(is_on),
        Shape::Once | Shape::Many => {
            match words.pop_front_if(|(_, word)| matches!(word, Word::Plain(_))) {
                Some((_, Word::Plain(text))) => Argument::Text(text),
                _ => return Err(format!("expected argument for flag '{written}'")),
            }
        }
    };
    Ok(Given { flag, written, value, argument })
}

/// The flag that a mistyped one most likely meant, with its dashes.
fn meant(flags: &[Flag], name: &str) -> Option<String> {
    let (no, name) = name.strip_prefix("no-").map_or(("", name), |name| ("no-", name));
    // The beginning that most have would make any two look alike.
    let (beginning, rest) = match name.strip_prefix("collector.") {
        Some(rest) => ("collector.", rest),
        None => ("", name),
    };
    let can_be = |flag: &&Flag| !flag.hidden && (no.is_empty() || flag.shape == Shape::Switch);
    let names = flags.iter().filter(can_be).filter_map(|flag| flag.name.strip_prefix(beginning));
    nearest(rest, names).map(|meant| format!("--{no}{beginning}{meant}"))
}

/// The flag of a name: as spelled, else one that differs only in how its words are joined.
fn find<'f>(flags: &'f [Flag], name: &str) -> Option<&'f Flag> {
    flags
        .iter()
        .find(|flag| flag.name == name)
        .or_else(|| flags.iter().find(|flag| flat(&flag.name) == flat(name)))
}
