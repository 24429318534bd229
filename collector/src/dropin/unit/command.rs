//! `ExecStart=`: the command of a service, and the variables in it.

use super::specifiers::{self, Unit};
use super::words::{self, Rule};
use std::collections::BTreeMap;

/// A command as written, before its variables are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The path of the program.
    pub(super) program: String,
    /// What follows it.
    pub(super) words: Vec<String>,
    /// Whether variables are replaced.
    replaces_variables: bool,
}

/// The commands of a value: `;` parts them.
pub(super) fn commands(value: &str, unit: Unit<'_>) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    let mut rest = value;
    while let Some((first, mut after)) = next(rest)? {
        rest = after;
        if first == ";" {
            continue;
        }
        let program = first.trim_start_matches(['-', '@', ':', '+', '!']);
        let prefix = &first[..first.len() - program.len()];
        let mut command = Command {
            program: specifiers::replace(program, unit)?,
            words: Vec::new(),
            replaces_variables: !prefix.contains(':'),
        };
        if command.program.is_empty() {
            return Err("there is no program".to_owned());
        }
        // The name that the program is given is no argument.
        let mut skips_name = prefix.contains('@');
        loop {
            // Only these spellings have a meaning: `";"` is a word as any other.
            if let Some(after_it) = separator(after, ";") {
                after = after_it;
                break;
            }
            let word = match separator(after, "\\;") {
                Some(after_it) => {
                    after = after_it;
                    ";".to_owned()
                }
                None => {
                    let Some((word, after_it)) = next(after)? else { break };
                    after = after_it;
                    specifiers::replace(&word, unit)?
                }
            };
            if !std::mem::take(&mut skips_name) {
                command.words.push(word);
            }
        }
        rest = after;
        commands.push(command);
    }
    Ok(commands)
}

fn next(text: &str) -> Result<Option<(String, &str)>, String> {
    words::first(text, Rule::Command).map_err(|mistake| mistake.to_string())
}

/// What follows a mark that is a word of its own.
fn separator<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    let after = text.strip_prefix(mark)?;
    let rest = after.trim_start();
    (after.is_empty() || rest.len() < after.len()).then_some(rest)
}

/// What variables of the environment come to.
pub(super) type Values<'v> = BTreeMap<&'v str, &'v str>;

/// A word of a command with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) text: String,
    /// The variable it is from, if it is a part of one.
    pub(super) from: Option<String>,
}

impl Command {
    /// The arguments, and the names of variables that have no value.
    pub(super) fn arguments(&self, values: &Values<'_>) -> (Vec<Replaced>, Vec<String>) {
        let mut arguments = Vec::new();
        let mut missing = Vec::new();
        for word in &self.words {
            let whole = word.strip_prefix('$').filter(|name| !name.starts_with(['{', '$']));
            match whole {
                _ if !self.replaces_variables => {
                    arguments.push(Replaced { text: word.clone(), from: None });
                }
                // A variable that is a word of its own becomes as many words as it has.
                Some(name) => match values.get(name) {
                    Some(value) => {
                        // No text is refused by this rule.
                        let words = words::all(value, Rule::Variable).unwrap_or_default();
                        let from = Some(name.to_owned());
                        arguments.extend(
                            words.into_iter().map(|text| Replaced { text, from: from.clone() }),
                        );
                    }
                    None => missing.push(name.to_owned()),
                },
                None => {
                    let text = with_values(word, values, &mut missing);
                    arguments.push(Replaced { text, from: None });
                }
            }
        }
        (arguments, missing)
    }
}

/// The word with `${NAME}` replaced by its value, and `$$` by a dollar sign.
fn with_values(word: &str, values: &Values<'_>, missing: &mut Vec<String>) -> String {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let Some(inside) = after.strip_prefix('{') else {
            rest = after.strip_prefix('$').unwrap_or(after);
            text.push('$');
            continue;
        };
        let end = inside.find(['}', ':']);
        let (name, after) = inside.split_at(end.unwrap_or(inside.len()));
        match after.strip_prefix('}') {
            Some(after) => {
                match values.get(name) {
                    Some(value) => text.push_str(value),
                    None => missing.push(name.to_owned()),
                }
                rest = after;
            }
            // What a shell has behind a colon systemd does not know.
            None => {
                text.extend(["${", name]);
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}
