//! How a command line is cut into flags: the rules of kingpin, which node_exporter is built with.

use super::flags::{Shape, flat};
use super::table::Flag;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;

/// A flag as given.
pub(super) struct Given<'f> {
    pub(super) flag: &'f Flag,
    /// As written, without the value: `--no-collector.cpu`.
    pub(super) written: String,
    pub(super) value: Argument,
}

/// What a flag says.
pub(super) enum Argument {
    /// A switch: whether it is on.
    Switch(bool),
    /// What stands after the flag.
    Text(String),
}

/// The flags before the first mistake, and that mistake.
pub(super) fn cut<'f>(
    arguments: &[impl AsRef<OsStr>],
    flags: &'f [Flag],
) -> (Vec<Given<'f>>, Option<String>) {
    let mut given = Vec::new();
    let mistake = match words(arguments) {
        Ok(words) => take(words, flags, &mut given).err(),
        Err(mistake) => Some(mistake),
    };
    (given, mistake)
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

fn words(arguments: &[impl AsRef<OsStr>]) -> Result<VecDeque<Word>, String> {
    let mut waiting = VecDeque::new();
    for argument in arguments {
        let argument = argument.as_ref();
        let text = argument.to_str().ok_or_else(|| format!("not UTF-8: {argument:?}"))?;
        waiting.push_back(text.to_owned());
    }
    let mut words = VecDeque::new();
    let mut files = 0;
    while let Some(text) = waiting.pop_front() {
        if text == "--" {
            words.extend(waiting.drain(..).map(Word::Plain));
        } else if let Some(name) = text.strip_prefix("--") {
            match name.split_once('=') {
                Some((name, value)) => {
                    words.push_back(Word::Long(name.to_owned()));
                    words.push_back(Word::Plain(value.to_owned()));
                }
                None => words.push_back(Word::Long(name.to_owned())),
            }
        } else if text.starts_with('-') && text.len() > 1 {
            words.extend(text.chars().skip(1).map(Word::Short));
        } else if let Some(file) = text.strip_prefix('@') {
            files += 1;
            if files > MOST_FILES {
                return Err(format!("too many argument files, the last is \"{file}\""));
            }
            for line in lines(file)?.into_iter().rev() {
                waiting.push_front(line);
            }
        } else {
            words.push_back(Word::Plain(text));
        }
    }
    Ok(words)
}

/// The arguments that a file holds, one a line; empty lines and comments do not count.
fn lines(file: &str) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("failed to open arguments file \"{file}\": {error}"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn take<'f>(
    mut words: VecDeque<Word>,
    flags: &'f [Flag],
    given: &mut Vec<Given<'f>>,
) -> Result<(), String> {
    while let Some(word) = words.pop_front() {
        let name = match word {
            Word::Short('h') => "help".to_owned(),
            Word::Short(letter) => return Err(format!("unknown short flag '-{letter}'")),
            Word::Plain(text) => return Err(format!("unexpected {text}")),
            Word::Long(name) => name,
        };
        let written = format!("--{name}");
        let unknown = || format!("unknown long flag '{written}'");
        let (flag, is_on) = match find(flags, &name) {
            Some(flag) => (flag, true),
            None => {
                let off = name.strip_prefix("no-").and_then(|name| find(flags, name));
                (off.filter(|flag| flag.shape == Shape::Switch).ok_or_else(unknown)?, false)
            }
        };
        let value = match flag.shape {
            Shape::Switch => Argument::Switch(is_on),
            Shape::Once | Shape::Many => match words.pop_front() {
                Some(Word::Plain(text)) => Argument::Text(text),
                _ => return Err(format!("expected argument for flag '{written}'")),
            },
        };
        given.push(Given { flag, written, value });
    }
    Ok(())
}

/// The flag of a name: as spelled, else one that differs only in how its words are joined.
fn find<'f>(flags: &'f [Flag], name: &str) -> Option<&'f Flag> {
    flags
        .iter()
        .find(|flag| flag.name == name)
        .or_else(|| flags.iter().find(|flag| flat(&flag.name) == flat(name)))
}
