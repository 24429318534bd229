//! What is declared of the tables of a configuration.

use super::{collector, log, output, paths, scrape, server};
use vitald_core::settings::SettingInfo;

/// A table that every configuration has.
pub(crate) struct Section {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is about, in one sentence.
    pub(crate) summary: &'static str,
    /// What is declared of its keys.
    pub(crate) fields: &'static [SettingInfo],
}

/// The tables that every configuration has, in the order of the manual.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "server",
        summary: "Where the daemon listens, and its limits.",
        fields: server::FIELDS,
    },
    Section {
        name: "paths",
        summary: "Where the host's file systems are mounted, as this process sees them.",
        fields: paths::FIELDS,
    },
    Section {
        name: "scrape",
        summary: "How collections are made and shown.",
        fields: scrape::FIELDS,
    },
    Section { name: "log", summary: "How the daemon logs.", fields: log::FIELDS },
];

/// The keys that every `[collectors.NAME]` has.
pub(crate) const COLLECTOR_FIELDS: &[SettingInfo] = collector::FIELDS;

/// The keys that every `[outputs.NAME]` has, `type` apart.
pub(crate) const OUTPUT_FIELDS: &[SettingInfo] = output::FIELDS;

/// The key of `[outputs.NAME]` that says its type.
pub(crate) const OUTPUT_TYPE: &SettingInfo = output::TYPE;
