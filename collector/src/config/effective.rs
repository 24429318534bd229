//! The effective configuration: what is written, and the defaults of what is not.

use super::meaning;
use super::sections::{COLLECTOR_FIELDS, OUTPUT_FIELDS, SECTIONS};
use crate::plan::{CollectorPlan, OutputPlan, Plan};
use vitald_core::settings::{Node, Origin, SettingInfo, Table, Value};

/// Every value in force as it may be shown, with its place.
pub fn effective(plan: &Plan) -> Table {
    let mut all = plan.written.clone();
    for section in SECTIONS {
        if let Some(table) = inner(&mut all, section.name) {
            add_defaults(table, section.fields);
        }
    }
    for plan in &plan.collectors {
        let table = inner(&mut all, "collectors").and_then(|all| inner(all, plan.descriptor.name));
        if let Some(table) = table {
            add_defaults(table, COLLECTOR_FIELDS);
            add_defaults(table, plan.descriptor.settings);
            hide_secrets(table, plan.descriptor.settings);
            fill(table, "enabled", plan.enabled);
            fill(table, "max_series", i64::from(plan.max_series));
        }
    }
    for plan in &plan.outputs {
        let table = inner(&mut all, "outputs").and_then(|all| inner(all, &plan.name));
        if let Some(table) = table {
            add_defaults(table, OUTPUT_FIELDS);
            add_defaults(table, plan.descriptor.settings);
            hide_secrets(table, plan.descriptor.settings);
        }
    }
    all
}

/// Writes the values of a merged configuration as its file would have them.
pub(super) fn write_plainly(
    written: &mut Table,
    collectors: &[CollectorPlan],
    outputs: &[OutputPlan],
) {
    for section in SECTIONS {
        if let Some(table) = written_inner(written, section.name) {
            plain(table, section.fields);
        }
    }
    if let Some(all) = written_inner(written, "collectors") {
        for plan in collectors {
            if let Some(table) = written_inner(all, plan.descriptor.name) {
                plain(table, COLLECTOR_FIELDS);
                plain(table, plan.descriptor.settings);
            }
        }
    }
    if let Some(all) = written_inner(written, "outputs") {
        for plan in outputs {
            if let Some(table) = written_inner(all, &plan.name) {
                plain(table, OUTPUT_FIELDS);
                plain(table, plan.descriptor.settings);
            }
        }
    }
}

/// The table of a name in a table, which is made if nothing has this name.
fn inner<'t>(table: &'t mut Table, name: &str) -> Option<&'t mut Table> {
    let path = table.path_of(name);
    let made = || Value::new(Node::Table(Table::at(path)), Origin::Default);
    match &mut table.entries.entry(name.to_owned()).or_insert_with(made).node {
        Node::Table(inner) => Some(inner),
        _ => None,
    }
}

fn written_inner<'t>(table: &'t mut Table, name: &str) -> Option<&'t mut Table> {
    match &mut table.entries.get_mut(name)?.node {
        Node::Table(inner) => Some(inner),
        _ => None,
    }
}

fn add_defaults(table: &mut Table, fields: &[SettingInfo]) {
    for info in fields {
        let entry = table.entries.entry(info.key.to_owned());
        entry.or_insert_with(|| Value::new((info.default)(), Origin::Default));
    }
}

fn hide_secrets(table: &mut Table, fields: &[SettingInfo]) {
    for info in fields {
        if let Some(value) = table.entries.get_mut(info.key) {
            value.node = info.shown(&value.node);
        }
    }
}

/// Shows what an unset key comes to.
fn fill(table: &mut Table, key: &str, node: impl Into<Node>) {
    if let Some(value) = table.entries.get_mut(key)
        && value.node == Node::Unset
    {
        value.node = node.into();
    }
}

fn plain(table: &mut Table, fields: &[SettingInfo]) {
    for info in fields {
        if let Some(value) = table.entries.get_mut(info.key)
            && let Some(node) = meaning::plain(value, info)
        {
            value.node = node;
        }
    }
}
