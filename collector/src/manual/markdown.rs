//! The reference pages under `docs/`.

use super::{CONFIGURATION, kind, sentence, with_stop};
use crate::config::{COLLECTOR_FIELDS, OUTPUT_FIELDS, OUTPUT_TYPE, SECTIONS};
use crate::own::{VITALD, process::PROCESS};
use vitald_core::collector::Descriptor;
use vitald_core::family::FamilyInfo;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Node, SettingInfo};

/// `docs/metrics.md`: every collector with its families, and those of the daemon itself.
pub fn metrics_markdown(collectors: &[&'static Descriptor]) -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Made from what the collectors declare; do not edit.\n\n\
         What each asks of the kernel in a scrape is [counted](requests.md). The daemon's own metrics are \
         [at the end](#the-daemon-itself).\n\n\
         | collector | on by default | privileges | what |\n|---|---|---|---|\n",
    );
    for descriptor in collectors {
        page.push_str(&format!(
            "| [{name}](#{name}) | {on} | {privileges} | {summary} |\n",
            name = descriptor.name,
            on = yes_or_no(descriptor.enabled),
            privileges = match descriptor.capabilities {
                [] => "none".to_owned(),
                capabilities => codes(capabilities),
            },
            summary = cell(descriptor.summary),
        ));
    }
    for descriptor in collectors {
        page.push_str(&format!("\n## {}\n\n{}\n", descriptor.name, with_stop(descriptor.summary)));
        let mut facts = Vec::new();
        if !descriptor.sources.is_empty() {
            facts.push(format!("Reads {}.", codes(descriptor.sources)));
        }
        facts.push(match (codes(descriptor.capabilities), descriptor.lacks_without) {
            (none, _) if none.is_empty() => "Needs no privileges.".to_owned(),
            (needed, "") => format!("Needs {needed}."),
            (needed, lacked) => format!("Needs {needed}, and lacks {lacked} without."),
        });
        if descriptor.may_block {
            let when = descriptor.devices.map(|devices| {
                format!(" as soon as there is a device in {}", codes(&[devices.directory]))
            });
            let when = when.unwrap_or_default();
            let read = match descriptor.may_block_with {
                Some(setting) => format!("With `{setting}` a read"),
                None => "A read".to_owned(),
            };
            facts.push(format!("{read} may block, so it has a thread of its own{when}."));
        }
        let on = if descriptor.enabled { "On" } else { "Off" };
        facts.push(format!("{on} by default."));
        if !descriptor.settings.is_empty() {
            facts.push(format!("[Settings](config.md#collectors{}).", descriptor.name));
        }
        page.push_str(&format!("\n{}\n", facts.join(" ")));
        if !descriptor.families.is_empty() {
            families(&mut page, descriptor.families);
        }
        if !descriptor.patterns.is_empty() {
            page.push_str("\n| names made at run time | type | what |\n|---|---|---|\n");
            for pattern in descriptor.patterns {
                let kinds: Vec<_> = pattern.kinds.iter().map(|kind| kind.word()).collect();
                page.push_str(&format!(
                    "| `{}` | {} | {} |\n",
                    pattern.name,
                    kinds.join(" or "),
                    cell(&sentence(pattern.help)),
                ));
            }
        }
    }
    page.push_str(
        "\n## The daemon itself\n\n\
         There whatever collectors are on. Of these, node_exporter's `--web.disable-exporter-metrics` leaves \
         `node_scrape_*` and `node_exporter_build_info`.\n",
    );
    families(&mut page, VITALD.families.iter().chain(PROCESS.families));
    page
}

fn families<'a>(page: &mut String, families: impl IntoIterator<Item = &'a FamilyInfo>) {
    page.push_str("\n| metric | type | unit | labels | help |\n|---|---|---|---|---|\n");
    for family in families {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            family.name,
            family.kind.word(),
            family.unit.word(),
            codes(family.labels),
            cell(&sentence(family.help)),
        ));
    }
}

/// `docs/config.md`: every table and key.
pub fn config_markdown(
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> String {
    let mut page = format!(
        "# Configuration\n\n\
         Made from what is declared in the code; do not edit.\n\n\
         {}\n",
        CONFIGURATION.join("\n\n")
    );
    for section in SECTIONS {
        page.push_str(&format!("\n## \\[{}\\]\n\n{}\n", section.name, section.summary));
        keys(&mut page, section.fields);
    }
    page.push_str("\n## \\[collectors.NAME\\]\n\nThe settings that every collector has.\n");
    keys(&mut page, COLLECTOR_FIELDS);
    for descriptor in collectors.iter().filter(|descriptor| !descriptor.settings.is_empty()) {
        let name = descriptor.name;
        let summary = with_stop(descriptor.summary);
        page.push_str(&format!("\n## \\[collectors.{name}\\]\n\n{summary}\n"));
        page.push_str(&format!("Its metrics are [here](metrics.md#{name}).\n"));
        keys(&mut page, descriptor.settings);
    }
    page.push_str("\n## \\[outputs.NAME\\]\n\nThe settings that every output has.\n");
    keys(&mut page, std::iter::once(OUTPUT_TYPE).chain(OUTPUT_FIELDS));
    for descriptor in outputs {
        let summary = with_stop(descriptor.summary);
        page.push_str(&format!("\n## \\[outputs.{}\\]\n\n{summary}\n", descriptor.name));
        keys(&mut page, descriptor.settings);
    }
    page
}

fn keys<'a>(page: &mut String, fields: impl IntoIterator<Item = &'a SettingInfo>) {
    let mut fields = fields.into_iter().peekable();
    if fields.peek().is_none() {
        return;
    }
    page.push_str("\n| key | type | default | what |\n|---|---|---|---|\n");
    for info in fields {
        let default = match (info.default)() {
            Node::Unset => "not set".to_owned(),
            default => code(&default.to_string()),
        };
        page.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            info.key,
            cell(&kind(info)),
            default,
            cell(&sentence(info.doc)),
        ));
    }
}

fn yes_or_no(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}

fn codes(words: &[&str]) -> String {
    words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ")
}

/// Text in backquotes; a bar would end the cell even there.
fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
