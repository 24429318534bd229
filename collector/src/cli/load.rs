//! The configuration that a command is about.

use super::registry::Registry;
use crate::config::{self, Sources};
use crate::plan::Plan;
use clap::ArgMatches;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Mistake, Origin};

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
    let environment = environment(std::env::vars_os())?;
    let sources = Sources { file: file.map(Path::to_path_buf), environment };
    config::load(&sources, collectors, outputs)
}

/// The variables that are text. One of ours that is not must not be passed over in silence.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Vec<Mistake>> {
    let mut environment = Vec::new();
    let mut mistakes = Vec::new();
    for (name, value) in variables {
        let is_ours = name.as_encoded_bytes().starts_with(config::PREFIX.as_bytes());
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => environment.push((name, value)),
            (name, _) if is_ours => {
                let part = if name.is_ok() { "value" } else { "name" };
                let shown = |name: OsString| name.as_encoded_bytes().escape_ascii().to_string();
                let origin = Origin::Environment(name.unwrap_or_else(shown).into());
                let message = format!("the {part} of this variable is not UTF-8");
                mistakes.push(Mistake { origin, path: String::new(), message });
            }
            _ => {}
        }
    }
    if mistakes.is_empty() { Ok(environment) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_variable_that_is_not_text_is_a_mistake_if_it_is_ours() {
        let noise = || OsString::from_vec(vec![b'"', 0xff, b'"']);
        let of = |name: &str| environment([(OsString::from(name), noise())].into_iter());
        assert_eq!(of("LS_COLORS").map_err(|_| ()), Ok(Vec::new()));
        let mistakes = of("VITALD__LOG__LEVEL").expect_err("it is refused");
        let told = "environment VITALD__LOG__LEVEL: the value of this variable is not UTF-8";
        assert_eq!(mistakes[0].to_string(), told);
        let named = |name: &[u8]| {
            environment([(OsString::from_vec(name.to_vec()), "1".into())].into_iter())
        };
        assert_eq!(named(b"VITALD_\xff").map_err(|_| ()), Ok(Vec::new()));
        let mistakes = named(b"VITALD__\xff").expect_err("it is refused");
        let told = r"environment VITALD__\xff: the name of this variable is not UTF-8";
        assert_eq!(mistakes[0].to_string(), told);
    }
}
