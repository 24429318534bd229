//! The manual: texts made from what is declared, so that nothing is said twice.

mod dashboard;
mod man;
mod markdown;
mod reference;
#[cfg(test)]
mod tests;

pub use dashboard::dashboard;
pub use man::{command_man, config_man};
pub use markdown::{config_markdown, metrics_markdown};
pub use reference::config_reference;

use std::fmt::Write;
use vitald_core::settings::{Node, SettingInfo, Table, Value};

/// What is to be known of a configuration as a whole; code is between backquotes.
const CONFIGURATION: [&str; 3] = [
    "One TOML file; the environment stands above it, the built-in defaults below. A variable's \
     name is `VITALD__`, the table and the key in capitals, joined by `__`: \
     `VITALD__SERVER__MAX_REQUESTS` is `max_requests` of `[server]`. Its text is read as the \
     setting's type, a list's items between commas. Variables that begin otherwise are not looked at.",
    "Text in the file is never taken for a number or a truth value, unknown keys are mistakes, \
     and so is what is wrong in the table of a collector that is off. `vitald check FILE` tells \
     all mistakes at once, each with line and column.",
    "Durations are written as `\"500ms\"`, `\"10s\"`, `\"1m30s\"` or `\"1h\"`. Regular \
     expressions match anywhere in a name unless they begin with `^` and end with `$`.",
];

/// A table as TOML, of the values that `keep` (given the dotted path) wants to see.
///
/// What is not set has no spelling and is left out.
pub fn toml(table: &Table, keep: impl Fn(&str, &Value) -> bool) -> String {
    let mut text = String::new();
    write_table(&mut text, table, &keep);
    text
}

fn write_table(text: &mut String, table: &Table, keep: &impl Fn(&str, &Value) -> bool) {
    let mut lines = String::new();
    for (key, value) in &table.entries {
        let has_spelling = !matches!(value.node, Node::Table(_) | Node::Unset);
        if has_spelling && keep(&table.path_of(key), value) {
            lines.push_str(&format!("{key} = {}\n", value.node));
        }
    }
    if !lines.is_empty() {
        if !table.path.is_empty() {
            let separator = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{separator}[{}]\n", table.path));
        }
        text.push_str(&lines);
    }
    for value in table.entries.values() {
        if let Node::Table(inner) = &value.node {
            write_table(text, inner, keep);
        }
    }
}

/// The documentation of a setting as one line.
fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A summary as a sentence.
fn with_stop(summary: &str) -> String {
    format!("{}.", summary.trim_end_matches('.'))
}

/// The type with its bounds, such as `duration from "1s" to "1h"`.
fn kind(info: &SettingInfo) -> String {
    let mut text = info.kind.to_owned();
    if let Some((low, high)) = info.bounds {
        // Writing to a String cannot fail.
        let _ = write!(text, " from {} to {}", low(), high());
    }
    text
}
