//! The configuration that a command is about.

use super::registry::Registry;
use crate::config::{self, Sources};
use crate::plan::Plan;
use clap::ArgMatches;
use std::path::{Path, PathBuf};
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::Mistake;

/// The file that a command is about: its own argument, or `--config`.
pub(super) fn config_file(own: &ArgMatches) -> Option<PathBuf> {
    let file = |id: &str| own.try_get_one::<PathBuf>(id).ok().flatten().cloned();
    file("file").or_else(|| file("config"))
}

pub(super) fn load(own: &ArgMatches, registry: Registry<'_>) -> Result<Plan, Vec<Mistake>> {
    load_from(config_file(own).as_deref(), registry.collectors, registry.outputs)
}

/// Reads a configuration from a file and the environment.
pub(super) fn load_from(
    file: Option<&Path>,
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> Result<Plan, Vec<Mistake>> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources { file: file.map(Path::to_path_buf), environment };
    config::load(&sources, collectors, outputs)
}
