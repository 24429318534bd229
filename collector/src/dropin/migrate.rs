//! From node_exporter's flags to the configuration of a vitald that collects the same.

use super::decide::{DropIn, Note};
use crate::{config, manual};
use std::collections::BTreeSet;
use std::path::{Path, absolute};
use vitald_core::settings::{Node, Origin, Table};

/// A configuration, and what it cannot say.
pub struct Migrated {
    /// The text of a `config.toml`.
    pub text: String,
    /// What differs, with a remedy each.
    pub notes: Vec<Note>,
}

/// Keys whose values are paths: those of `[paths]` and those of collectors.
const PATHS: &[&str] = &["directory", "fixtures", "idsfile", "servicedir"];

/// The `config.toml` of a native vitald that collects what the drop-in does. Relative paths begin at a
/// directory, which must be absolute.
pub fn migrate(drop_in: &DropIn, directory: &Path) -> Migrated {
    let mut effective = config::effective(&drop_in.plan);
    make_paths_absolute(&mut effective, directory);
    let differs = differing_switches(drop_in);
    let text = manual::toml(&effective, |path, value| {
        // node_exporter has no limit, and listens on every address.
        matches!(path, "server.listen" | "scrape.max_series")
            || value.origin != Origin::Default
            || differs.contains(path)
    });
    Migrated {
        text: format!("# Made by `vitald migrate` from node_exporter's flags.\n{text}"),
        notes: drop_in.notes.iter().chain(&drop_in.lost_in_file).cloned().collect(),
    }
}

/// The switches of collectors that no flag names, and that are not as vitald has them by itself.
fn differing_switches(drop_in: &DropIn) -> BTreeSet<String> {
    let defaults_run = drop_in.plan.scrape.default_collectors;
    let plans = drop_in.plan.collectors.iter();
    plans
        .filter(|plan| plan.enabled != (defaults_run && plan.descriptor.enabled))
        .map(|plan| format!("collectors.{}.enabled", plan.descriptor.name))
        .collect()
}

/// A configuration is read in another directory than the one that the flags were written for.
fn make_paths_absolute(table: &mut Table, directory: &Path) {
    let is_paths = table.path == "paths";
    let is_collector = table.path.starts_with("collectors.");
    for (key, value) in &mut table.entries {
        // What no flag has set is a path of its own, or none.
        let is_path = is_paths || is_collector && PATHS.contains(&key.as_str());
        match &mut value.node {
            Node::Table(inner) => make_paths_absolute(inner, directory),
            Node::Text(text) if is_path && value.origin != Origin::Default => {
                make_absolute(text, directory);
            }
            Node::List(items) if is_path => {
                for item in items {
                    if let Node::Text(text) = &mut item.node {
                        make_absolute(text, directory);
                    }
                }
            }
            _ => {}
        }
    }
}

fn make_absolute(text: &mut String, directory: &Path) {
    if !text.is_empty()
        && let Ok(path) = absolute(directory.join(&*text))
        && let Ok(path) = path.into_os_string().into_string()
    {
        *text = path;
    }
}
