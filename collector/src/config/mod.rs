//! From a configuration file and the environment to a [`Plan`], with every mistake reported at once.
//!
//! The text goes through a strict pass that knows lines and columns ([`document`]); `config`
//! merges it with the environment ([`layers`]); what comes out are
//! the neutral values of `vitald_core::settings`, which each section and each collector decodes by
//! its own declarations, the built-in defaults among them. Nothing is guessed: text in the file never
//! becomes a number.

mod access;
mod address;
mod collector;
mod document;
mod effective;
mod file;
mod layers;
mod log;
mod meaning;
mod origin;
mod output;
mod paths;
mod scrape;
mod sections;
mod server;
#[cfg(test)]
mod tests;

use crate::plan::{CollectorPlan, OutputPlan, Plan, Scrape};
use layers::File;
use meaning::Meaning;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vitald_core::collector::Descriptor;
use vitald_core::error::Error;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Mistake, Mistakes, Node, Origin, SettingInfo, Table, Value, nearest};

pub(crate) use address::SYSTEMD as SYSTEMD_SOCKETS;
pub(crate) use address::parse as parse_address;
pub(crate) use address::parse_go as parse_go_address;
pub use effective::effective;
#[cfg(feature = "tls")]
pub(crate) use file::read as read_file;
pub(crate) use layers::{PREFIX, insert};
pub(crate) use paths::PATH;
use sections::Section;
pub(crate) use sections::{COLLECTOR_FIELDS, OUTPUT_FIELDS, OUTPUT_TYPE, SECTIONS};

/// What a configuration is made from, above the built-in defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one. One that is named and missing is a mistake.
    pub file: Option<PathBuf>,
    /// Variables of the environment; only names that begin with `VITALD__` are looked at.
    pub environment: Vec<(String, String)>,
}

/// Reads, merges and decodes a configuration.
///
/// # Errors
///
/// Every mistake, in the order of their places.
pub fn load(
    sources: &Sources,
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> Result<Plan, Vec<Mistake>> {
    let Some(path) = &sources.file else {
        return load_layers(None, &sources.environment, collectors, outputs);
    };
    let name = path.to_string_lossy();
    let text = read(path)
        .map_err(|(origin, message)| vec![Mistake { origin, path: String::new(), message }])?;
    load_layers(Some((&name, &text)), &sources.environment, collectors, outputs)
}

/// Like [`load`], from a text that is already there; mistakes name it by `name`.
///
/// # Errors
///
/// As there.
pub fn load_text(
    name: &str,
    text: &str,
    environment: &[(String, String)],
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> Result<Plan, Vec<Mistake>> {
    load_layers(Some((name, text)), environment, collectors, outputs)
}

fn load_layers(
    file: Option<(&str, &str)>,
    environment: &[(String, String)],
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> Result<Plan, Vec<Mistake>> {
    let mut mistakes = Mistakes::new();
    let file = match file {
        Some((name, text)) => {
            let name = Arc::from(name);
            let (document, twice) = document::read(&name, text)?;
            mistakes = twice;
            Some(File { name, document })
        }
        None => None,
    };
    let environment = layers::environment(environment, &mut mistakes);
    assemble(file.as_ref(), &environment, collectors, outputs, mistakes)
}

/// Decodes values that stand in no file: those of a command line.
pub(crate) fn load_table(
    above: &Table,
    collectors: &[&'static Descriptor],
) -> Result<Plan, Vec<Mistake>> {
    assemble(None, above, collectors, &[], Mistakes::new())
}

/// Reads a file whole; says where it is not text.
fn read(path: &Path) -> Result<String, (Origin, String)> {
    let name: Arc<str> = path.to_string_lossy().into();
    let bytes = file::read(path).map_err(|message| (Origin::WholeFile(name.clone()), message))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line_start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(&good[line_start..]).chars().count() + 1;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let origin = Origin::File { file: name, line: count(line), column: count(column) };
        (origin, "this byte is not UTF-8".to_owned())
    })
}

fn assemble(
    file: Option<&File>,
    above: &Table,
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
    mut mistakes: Mistakes,
) -> Result<Plan, Vec<Mistake>> {
    let merged = match layers::merge(file, above) {
        Ok(merged) => merged,
        Err(error) => {
            // The strict pass has been over the file, so this is a fault of vitald's own.
            mistakes.add(Origin::Default, "", format!("the layers do not merge: {error}"));
            return Err(mistakes.into_sorted());
        }
    };
    let plan = decode(merged, collectors, outputs, &mut mistakes);
    match plan {
        Some(plan) if mistakes.is_empty() => Ok(plan),
        _ => Err(mistakes.into_sorted()),
    }
}

/// Decodes the merged tables. Every part is decoded before any is given up.
fn decode(
    merged: Table,
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
    mistakes: &mut Mistakes,
) -> Option<Plan> {
    refuse_unknown_tables(&merged, collectors, mistakes);

    let server = part(&merged, "server", mistakes).and_then(|t| server::decode(&t, mistakes));
    let roots = part(&merged, "paths", mistakes).and_then(|t| paths::decode(&t, mistakes));
    let scrape = part(&merged, "scrape", mistakes).and_then(|t| scrape::decode(&t, mistakes));
    let log = part(&merged, "log", mistakes).and_then(|t| log::decode(&t, mistakes));

    let mut meaning = Meaning::new();
    let descriptors = collectors;
    let collectors = part(&merged, "collectors", mistakes).and_then(|table| {
        refuse_unknown_collectors(&table, collectors, mistakes);
        // Without a valid [scrape] the tables are still checked, under its defaults.
        let built_in = || scrape::decode(&Table::at("scrape"), &mut Mistakes::new());
        let (scrape, max_series) = scrape.clone().or_else(built_in)?;
        let plans: Vec<_> = collectors
            .iter()
            .map(|descriptor| {
                let own = part(&table, descriptor.name, mistakes)?;
                let plan = collector_plan(descriptor, &own, (&scrape, max_series), mistakes)?;
                check(&plan, &own, mistakes);
                meaning.add(format_args!(
                    "collectors.{} {} {:?} {}",
                    descriptor.name, plan.enabled, plan.interval, plan.max_series
                ));
                meaning.add_settings(&own, descriptor.settings);
                Some(plan)
            })
            .collect();
        plans.into_iter().collect::<Option<Vec<_>>>()
    });
    let outputs = part(&merged, "outputs", mistakes).and_then(|table| {
        let chosen = collectors.as_deref().unwrap_or_default();
        // One of each type is there in any case.
        let mut names: BTreeMap<&str, Origin> =
            outputs.iter().map(|descriptor| (descriptor.name, Origin::Default)).collect();
        names.extend(table.entries.iter().map(|(name, v)| (name.as_str(), v.key_origin.clone())));
        let plans: Vec<_> = names
            .into_iter()
            .map(|(name, key_origin)| {
                let own = part(&table, name, mistakes)?;
                // A name that is only a default is not the user's mistake.
                if key_origin != Origin::Default
                    && let Some(message) = output::refusal_of_name(name, descriptors)
                {
                    mistakes.add(key_origin, own.path.clone(), message);
                    return None;
                }
                // An unknown name is reported at its key.
                let mut unknown = Mistakes::new();
                let Some(descriptor) = output::type_of(name, &own, outputs, &mut unknown) else {
                    for mistake in unknown.into_sorted() {
                        let is_name = mistake.path == own.path;
                        let origin = if is_name { &key_origin } else { &mistake.origin };
                        mistakes.add(origin.clone(), mistake.path, mistake.message);
                    }
                    return None;
                };
                let plan = output_plan(name, descriptor, &own, chosen, mistakes)?;
                meaning.add(format_args!(
                    "outputs.{name} {} {:?} {:?}",
                    plan.enabled, plan.interval, plan.collectors
                ));
                if descriptor.name != name {
                    meaning.add(format_args!("type {}", descriptor.name));
                }
                meaning.add_settings(&own, descriptor.settings);
                Some((plan, key_origin))
            })
            .collect();
        let plans = plans.into_iter().collect::<Option<Vec<_>>>()?;
        refuse_shared_resources(&plans, mistakes);
        Some(plans.into_iter().map(|(plan, _)| plan).collect::<Vec<_>>())
    });

    let (server, roots, (scrape, _), log) = (server?, roots?, scrape?, log?);
    meaning.add(format_args!("{server:?}"));
    meaning.add(format_args!("{roots:?}"));
    meaning.add(format_args!("{scrape:?}"));
    meaning.add(format_args!("{log:?}"));
    let (collectors, outputs) = (collectors?, outputs?);
    let mut written = merged;
    effective::write_plainly(&mut written, &collectors, &outputs);
    Some(Plan { roots, scrape, server, log, collectors, outputs, written, hash: meaning.hash() })
}

/// A table in a table; an absent one is empty.
fn part<'t>(table: &'t Table, name: &str, mistakes: &mut Mistakes) -> Option<Cow<'t, Table>> {
    match table.entries.get(name) {
        None => Some(Cow::Owned(Table::at(table.path_of(name)))),
        Some(Value { node: Node::Table(part), .. }) => Some(Cow::Borrowed(part)),
        Some(value) => {
            let path = table.path_of(name);
            let message = format!("expected a table, [{path}], found {}", value.node.noun());
            mistakes.add(value.origin.clone(), path, message);
            None
        }
    }
}

/// Refuses names of tables that there are not, and says which table a setting belongs to that stands outside of all.
fn refuse_unknown_tables(
    table: &Table,
    collectors: &[&'static Descriptor],
    mistakes: &mut Mistakes,
) {
    let known: Vec<&str> =
        SECTIONS.iter().map(|section| section.name).chain(["collectors", "outputs"]).collect();
    let here = collectors.iter().map(|descriptor| descriptor.name);
    let collectors: Vec<&str> = here.chain(vitald_plugins::ALL.iter().copied()).collect();
    for (name, value) in table.entries.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let has_it = |section: &&Section| section.fields.iter().any(|info| info.key == name);
        let message = if let Some(meant) = nearest(name, known.iter().copied()) {
            format!("did you mean {meant}?")
        } else if let Some(section) = SECTIONS.iter().find(has_it) {
            format!("{name} is a setting of [{}]", section.name)
        } else if collectors.contains(&name.as_str()) {
            format!("the settings of a collector are in [collectors.{name}]")
        } else {
            format!("there are: {}", known.join(", "))
        };
        let message = format!("no such table; {message}");
        mistakes.add(value.key_origin.clone(), table.path_of(name), message);
    }
}

/// Refuses names of collectors that this binary lacks, and says what to do about each.
fn refuse_unknown_collectors(
    table: &Table,
    collectors: &[&'static Descriptor],
    mistakes: &mut Mistakes,
) {
    let is_here = |name: &String| collectors.iter().any(|descriptor| descriptor.name == name);
    for (name, value) in table.entries.iter().filter(|(name, _)| !is_here(name)) {
        let message = if vitald_plugins::ALL.contains(&name.as_str()) {
            format!("not in this build: build with --features {name}")
        } else {
            let here = collectors.iter().map(|descriptor| descriptor.name);
            match nearest(name, here.chain(vitald_plugins::ALL.iter().copied())) {
                Some(meant) => format!("no such collector; did you mean {meant}?"),
                None => "no such collector; `vitald plugins` lists them".to_owned(),
            }
        };
        mistakes.add(value.key_origin.clone(), table.path_of(name), message);
    }
}

/// Splits a table into the keys that all of its kind have and its own; refuses all others.
fn split(
    table: &Table,
    common: &[SettingInfo],
    own: &[SettingInfo],
    mistakes: &mut Mistakes,
) -> (Table, Table) {
    // The own keys first: a list of what there is shows what is particular here.
    let known: Vec<&str> = own.iter().chain(common).map(|info| info.key).collect();
    table.refuse_unknown(&known, "setting", mistakes);
    let only = |fields: &[SettingInfo]| {
        let mut part = Table::at(table.path.clone());
        for info in fields {
            if let Some(value) = table.entries.get(info.key) {
                part.entries.insert(info.key.to_owned(), value.clone());
            }
        }
        part
    };
    (only(common), only(own))
}

fn collector_plan(
    descriptor: &'static Descriptor,
    table: &Table,
    (scrape, max_series): (&Scrape, u32),
    mistakes: &mut Mistakes,
) -> Option<CollectorPlan> {
    let (common, own) = split(table, COLLECTOR_FIELDS, descriptor.settings, mistakes);
    let common = collector::decode(&common, mistakes);
    let prepared = (descriptor.prepare)(&own, mistakes);
    let (common, prepared) = (common?, prepared?);
    Some(CollectorPlan {
        descriptor,
        prepared: Arc::from(prepared),
        enabled: common.enabled.unwrap_or(descriptor.enabled && scrape.default_collectors),
        interval: common.interval,
        max_series: common.max_series.unwrap_or(max_series),
    })
}

/// Records settings that contradict each other, of a collector that runs or whose table was written.
fn check(plan: &CollectorPlan, table: &Table, mistakes: &mut Mistakes) {
    let is_written = table.entries.values().any(|value| value.origin != Origin::Default);
    if !plan.enabled && !is_written {
        return;
    }
    if let Err(Error::Setting { key, message }) = plan.prepared.check() {
        let origin = match table.entries.get(key) {
            Some(value) => value.origin.clone(),
            None => Origin::Default,
        };
        mistakes.add(origin, table.path_of(key), message);
    }
}

/// Two outputs that are on and need the same thing for themselves alone are a mistake.
fn refuse_shared_resources(plans: &[(OutputPlan, Origin)], mistakes: &mut Mistakes) {
    let mut holders: Vec<(String, &OutputPlan)> = Vec::new();
    for (plan, origin) in plans.iter().filter(|(plan, _)| plan.enabled) {
        let Some(resource) = plan.prepared.resource() else { continue };
        match holders.iter().find(|(held, _)| *held == resource) {
            Some((_, holder)) => mistakes.add(
                origin.clone(),
                format!("outputs.{}", plan.name),
                format!(
                    "needs {resource}, which output {} needs, too; switch one of them off",
                    holder.name
                ),
            ),
            None => holders.push((resource, plan)),
        }
    }
}

fn output_plan(
    name: &str,
    descriptor: &'static OutputDescriptor,
    table: &Table,
    collectors: &[CollectorPlan],
    mistakes: &mut Mistakes,
) -> Option<OutputPlan> {
    let mut table = table.clone();
    table.entries.remove(output::TYPE.key);
    let (common, own) = split(&table, OUTPUT_FIELDS, descriptor.settings, mistakes);
    let decoded = output::decode(&common, mistakes);
    let prepared = (descriptor.prepare)(&own, mistakes);
    let (decoded, prepared) = (decoded?, prepared?);
    let mut chosen = Vec::new();
    for (position, name) in decoded.collectors.iter().enumerate() {
        let here = collectors.iter().map(|plan| plan.descriptor.name);
        if let Some(found) = here.clone().find(|here| here == name) {
            chosen.push(found);
        } else if !collectors.is_empty() {
            let message = match nearest(name, here) {
                Some(meant) => format!("no such collector: {name}; did you mean {meant}?"),
                None => format!("no such collector: {name}"),
            };
            let origin = origin::of_item(&common, "collectors", position);
            mistakes.add(origin, common.path_of("collectors"), message);
        }
    }
    Some(OutputPlan {
        name: Arc::from(name),
        descriptor,
        prepared: Arc::from(prepared),
        enabled: decoded.enabled,
        interval: decoded.interval,
        collectors: chosen,
    })
}
