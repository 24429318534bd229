//! The manual: texts made from what is declared, so that nothing is said twice.

mod markdown;
mod reference;
#[cfg(test)]
mod tests;

pub use markdown::{config_markdown, metrics_markdown};
pub use reference::config_reference;

use std::fmt::Write;
use vitald_core::settings::{Node, SettingInfo, Table, Value};

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
