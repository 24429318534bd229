//! From the flags that were given to a plan, by way of a table like that of a configuration file.

use super::command_line::{Argument, Given};
use super::flags::{self, Shape};
use super::help::in_flags;
use super::table::{Flag, Target, runs_by_default};
use crate::config::{self, insert};
use crate::plan::Plan;
use vitald_core::collector::Descriptor;
use vitald_core::settings::{Node, Origin, Setting, Table, Value};

/// How to run as node_exporter.
pub struct DropIn {
    /// What the flags decide, in the daemon's own terms.
    pub plan: Plan,
    /// What has no place in the plan, because only the drop-in has it.
    pub web: Web,
    /// What differs from node_exporter in this build: a sentence each, for the log.
    pub notes: Vec<String>,
}

/// The parts of `--web.*` that only the drop-in has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where the metrics are, `/metrics` unless told otherwise.
    pub telemetry_path: String,
    /// Whether metrics of the daemon itself are left out.
    pub disable_exporter_metrics: bool,
}

/// Turns the flags that were given into a table, and the table into a plan.
pub(super) fn decide(
    given: &[Given<'_>],
    flags: &[Flag],
    collectors: &[&'static Descriptor],
) -> Result<DropIn, String> {
    refuse_repeated(given)?;
    let mut web = Web { telemetry_path: "/metrics".to_owned(), disable_exporter_metrics: false };
    let mut table = Table::default();
    let mut listen = Vec::new();
    let mut defaults_run = (true, Origin::Default);
    let mut notes = Vec::new();
    for given in given {
        let written = &given.written;
        let origin = Origin::Flag(written.as_str().into());
        let (text, is_on) = match &given.value {
            Argument::Text(text) => (text.as_str(), true),
            Argument::Switch(is_on) => ("", *is_on),
        };
        match &given.flag.target {
            Target::Help | Target::Man | Target::Version => {}
            Target::Key { path, kind } => {
                let node = match (&given.value, given.flag.shape) {
                    (Argument::Switch(is_on), _) => Node::Boolean(*is_on),
                    (_, Shape::Many) => {
                        append(&mut table, path, Value::new(text, origin));
                        continue;
                    }
                    // A whole number of Go's may be written as any number.
                    _ if *kind == <u32 as Setting>::KIND => whole(text)?,
                    _ => Node::Text(text.to_owned()),
                };
                insert(&mut table, path, Value::new(node, origin));
            }
            Target::Listen => {
                let address = config::parse_go_address(text);
                let address = address.map_err(|error| format!("{written}: {error}"))?;
                listen.push(Value::new(address.to_string(), origin));
            }
            Target::TelemetryPath if text.starts_with('/') => web.telemetry_path = text.to_owned(),
            Target::TelemetryPath => return Err(format!("{written}: expected a path from /")),
            Target::DisableExporterMetrics => web.disable_exporter_metrics = is_on,
            Target::DisableDefaults => defaults_run = (!is_on, origin),
            Target::LogWord { key, noun, words } => {
                let word = text.to_ascii_lowercase();
                if !words.contains(&word.as_str()) {
                    return Err(format!("unrecognized {noun} {text}"));
                }
                insert(&mut table, &["log", key], Value::new(word, origin));
            }
            Target::Processors => drop(whole(text)?),
            Target::AbsentCollector(name) if is_on => {
                return Err(if vitald_plugins::ALL.contains(name) {
                    format!("{written}: not in this build: build with --features {name}")
                } else {
                    format!("{written}: vitald has no collector {name}")
                });
            }
            Target::AbsentCollector(_) => {}
            Target::AbsentSetting(name) => notes.push(format!(
                "{written} has no effect: this build of vitald has no collector {name}"
            )),
            Target::Unsupported(what) => {
                let asks_for_nothing = match &given.value {
                    Argument::Switch(is_on) => !is_on,
                    Argument::Text(text) => text.is_empty(),
                };
                if !asks_for_nothing {
                    return Err(format!("{written}: vitald does not support {what}"));
                }
            }
        }
    }
    if listen.is_empty() {
        listen.push(Value::new(":9100", Origin::Default));
    }
    let (defaults_run, origin) = defaults_run;
    insert(&mut table, &["scrape", "default_collectors"], Value::new(defaults_run, origin));
    let mut set = |path: &[&str], node: Node| {
        insert(&mut table, path, Value::new(node, Origin::Default));
    };
    set(&["server", "listen"], Node::List(listen));
    set(&["server", "admin"], "off".into());
    set(&["scrape", "openmetrics"], false.into());
    set(&["scrape", "max_series"], 0.into());
    switch_collectors(given, collectors, defaults_run, &mut table);
    if defaults_run {
        notes.extend(lacking(given, collectors));
    }
    let plan = config::load_table(&table, collectors).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes
            .iter()
            .map(|mistake| match &mistake.origin {
                Origin::Flag(flag) => {
                    let (table, _) = mistake.path.rsplit_once('.').unwrap_or_default();
                    format!("{flag}: {}", in_flags(&mistake.message, table, flags))
                }
                _ => mistake.to_string(),
            })
            .collect();
        mistakes.join("; ")
    })?;
    Ok(DropIn { plan, web, notes })
}

/// kingpin refuses a switch that is given twice. Taking the last one breaks no command line that
/// works there, and lets a list of flags be corrected at its end.
fn refuse_repeated(given: &[Given<'_>]) -> Result<(), String> {
    for (position, later) in given.iter().enumerate() {
        let is_same = |earlier: &&Given<'_>| earlier.flag.target == later.flag.target;
        let is_repeatable = later.flag.shape != Shape::Once
            || matches!(later.flag.target, Target::AbsentSetting(_) | Target::Unsupported(_));
        if !is_repeatable && let Some(earlier) = given[..position].iter().find(is_same) {
            return Err(if earlier.flag.name == later.flag.name {
                format!("flag '{}' cannot be repeated", later.flag.name)
            } else {
                format!("{} and {} are the same setting", earlier.written, later.written)
            });
        }
    }
    Ok(())
}

/// Switches the collectors that no flag names.
fn switch_collectors(
    given: &[Given<'_>],
    collectors: &[&'static Descriptor],
    defaults_run: bool,
    table: &mut Table,
) {
    for descriptor in collectors {
        let is_given = |given: &Given<'_>| match &given.flag.target {
            Target::Key { path, .. } => path[..] == ["collectors", descriptor.name, "enabled"],
            _ => false,
        };
        if !given.iter().any(is_given) {
            let runs = defaults_run && runs_by_default(descriptor);
            let path = ["collectors", descriptor.name, "enabled"];
            insert(table, &path, Value::new(runs, Origin::Default));
        }
    }
}

/// What node_exporter runs by default and this build lacks, in a sentence.
fn lacking(given: &[Given<'_>], collectors: &[&'static Descriptor]) -> Option<String> {
    let lacks: Vec<&str> = flags::COLLECTORS
        .iter()
        .filter(|(name, is_on)| *is_on && !collectors.iter().any(|here| here.name == *name))
        .map(|(name, _)| *name)
        .filter(|name| {
            !given.iter().any(|given| given.flag.target == Target::AbsentCollector(name))
        })
        .collect();
    let names = lacks.join(", ");
    (!lacks.is_empty())
        .then(|| format!("node_exporter would also run what this build lacks: {names}"))
}

/// Adds an item to the list at a path.
fn append(table: &mut Table, path: &[&str], item: Value) {
    let origin = item.origin.clone();
    let mut list = match list_at(table, path) {
        Some(items) => std::mem::take(items),
        None => Vec::new(),
    };
    list.push(item);
    insert(table, path, Value::new(Node::List(list), origin));
}

fn list_at<'t>(table: &'t mut Table, path: &[&str]) -> Option<&'t mut Vec<Value>> {
    match (path, &mut table.entries) {
        ([key], entries) => match &mut entries.get_mut(*key)?.node {
            Node::List(items) => Some(items),
            _ => None,
        },
        ([key, rest @ ..], entries) => match &mut entries.get_mut(*key)?.node {
            Node::Table(inner) => list_at(inner, rest),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a whole number as kingpin does: any number, cut off at its point.
fn whole(text: &str) -> Result<Node, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Node::Integer(number as i64)),
        _ => Err(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax")),
    }
}
