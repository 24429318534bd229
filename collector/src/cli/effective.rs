//! The effective configuration: every value in force, and where it comes from.

use std::fmt::Write as _;
use vitald_core::settings::{Node, Origin, Table};

/// The tables as TOML, each value that was written with its place in a comment.
pub(super) fn render(table: &Table) -> String {
    let mut text = String::new();
    render_table(table, &mut text);
    text
}

fn render_table(table: &Table, text: &mut String) {
    let values = || table.entries.iter().filter(|(_, value)| !matches!(value.node, Node::Table(_)));
    if values().next().is_some() && !table.path.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{}]", table.path);
    }
    for (key, value) in values() {
        let line = match &value.node {
            Node::Unset => format!("# {key} is not set"),
            node => format!("{key} = {node}"),
        };
        let _ = match &value.origin {
            Origin::Default => writeln!(text, "{line}"),
            origin => writeln!(text, "{line:<50}  # {origin}"),
        };
    }
    for value in table.entries.values() {
        if let Node::Table(inner) = &value.node {
            render_table(inner, text);
        }
    }
}
