//! The settings that every `[outputs.NAME]` has.

use std::time::Duration;
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::prelude::*;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Settings as _, Table, nearest};

settings! {
    /// Whether it runs.
    enabled: bool = false;
    /// How often it is given a snapshot.
    interval: Duration = "5s" in "1s".."1h";
    /// The collectors it is given; an empty list is all that are on.
    collectors: Vec<String> = [""; 0];
}

/// The key that says which type of output it is; it cannot be a field, since `type` is a word of Rust.
pub(super) const TYPE: &SettingInfo = &SettingInfo {
    key: "type",
    kind: <String as Setting>::KIND,
    doc: "The type of the output; NAME itself unless it is set. It makes a second output of one type \
          possible.",
    default: || Node::Unset,
    bounds: None,
    flag: None,
};

/// What is declared of the other keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// The decoded settings.
pub(super) struct Common {
    pub(super) enabled: bool,
    pub(super) interval: Duration,
    pub(super) collectors: Vec<String>,
}

/// Decodes the keys; the table holds no others.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Common> {
    let Settings { enabled, interval, collectors } = Settings::decode(table, mistakes)?;
    Some(Common { enabled, interval, collectors })
}

/// Why no output can have this name: `/plugins/NAME` is of outputs and collectors alike, and an output
/// must not lose its page to a collector that another build has.
pub(super) fn refusal_of_name(name: &str, collectors: &[&'static Descriptor]) -> Option<String> {
    let is_here = collectors.iter().any(|descriptor| descriptor.name == name);
    let holder = match name {
        "reload" => "/plugins/reload is where a reload is requested".to_owned(),
        _ if is_here || vitald_plugins::ALL.contains(&name) => {
            format!("{name} is a collector, and both would be at /plugins/{name}")
        }
        _ => return None,
    };
    Some(format!("{holder}; give the output another name, and its type by `type`"))
}

/// The type of the output whose table this is, under its name.
pub(super) fn type_of(
    name: &str,
    table: &Table,
    outputs: &[&'static OutputDescriptor],
    mistakes: &mut Mistakes,
) -> Option<&'static OutputDescriptor> {
    let path = table.path_of(TYPE.key);
    let names = || outputs.iter().map(|descriptor| descriptor.name);
    let (wanted, origin, path) = match table.entries.get(TYPE.key) {
        None => {
            let first = table.entries.values().next();
            let origin = first.map_or(Origin::Default, |value| value.key_origin.clone());
            (name, origin, table.path.clone())
        }
        Some(value) => match &value.node {
            Node::Unset => (name, value.key_origin.clone(), table.path.clone()),
            Node::Text(text) => (text.as_str(), value.origin.clone(), path),
            other => {
                let message = format!("expected text, found {}", other.noun());
                mistakes.add(value.origin.clone(), path, message);
                return None;
            }
        },
    };
    let found = outputs.iter().find(|descriptor| descriptor.name == wanted);
    if found.is_none() {
        let mut message = "no such output".to_owned();
        match nearest(wanted, names()) {
            Some(meant) => message += &format!("; did you mean {meant}?"),
            None => {
                let names: Vec<&str> = names().collect();
                message +=
                    &format!("; a type is set by `type`, and there are: {}", names.join(", "));
            }
        }
        mistakes.add(origin, path, message);
    }
    found.copied()
}
