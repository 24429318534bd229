//! `vitald migrate`: the configuration that is equal to node_exporter's flags.

use super::registry::Registry;
use super::terminal::{complain, exit, fail, print};
use super::unit_flags::UnitFlags;
use crate::dropin::{self, Command, Note};
use clap::ArgMatches;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints the configuration, and what it cannot say on standard error.
pub(super) fn migrate(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let migrated = match own.get_one::<PathBuf>("unit") {
        Some(file) => of_unit(file, registry),
        None => {
            let flags: Vec<OsString> =
                own.get_many("flags").into_iter().flatten().cloned().collect();
            of_flags(&flags, registry)
        }
    };
    migrated.unwrap_or_else(|status| status)
}

fn of_flags(flags: &[OsString], registry: Registry<'_>) -> Result<ExitCode, ExitCode> {
    let here = std::env::current_dir()
        .map_err(|error| fail(exit::OS_ERROR, &format!("no current directory: {error}")))?;
    convert(&here, flags, registry, |_| None)
}

fn of_unit(file: &Path, registry: Registry<'_>) -> Result<ExitCode, ExitCode> {
    let UnitFlags { arguments, directory, notes, is_debians } =
        UnitFlags::read(file).map_err(|error| fail(exit::CONFIG, &error))?;
    for note in &notes {
        complain(note);
    }
    if is_debians {
        complain(&format_args!("{}: {OF_DEBIAN}", file.display()));
    }
    let flags: Vec<&str> = arguments.iter().map(|argument| argument.text.as_str()).collect();
    convert(&directory, &flags, registry, |position| {
        arguments.get(position).map(|argument| argument.place.as_str())
    })
}

/// What the patches of Debian's build change, as a configuration has it.
const OF_DEBIAN: &str = "Debian's build has other defaults, without a flag: it also collects systemd, and there leaves \
     targets out; it reads text files in /var/lib/prometheus/node-exporter, and leaves out lo and mount points below \
     /run, /mnt and /media; what you need of it, add to the configuration:
    [collectors.filesystem]
    mount_points_exclude = \
     '^/(dev|proc|run|sys|mnt|media|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)'
    [collectors.netdev]
    device_exclude = '^lo$'
    [collectors.systemd]
    enabled = true
    unit_exclude = '.+\\.(automount|device|mount|scope|slice|target)'
    [collectors.textfile]
    directory = [\"/var/lib/prometheus/node-exporter\"]";

fn convert<'p>(
    directory: &Path,
    flags: &[impl AsRef<std::ffi::OsStr>],
    registry: Registry<'_>,
    place: impl Fn(usize) -> Option<&'p str>,
) -> Result<ExitCode, ExitCode> {
    let at = |argument: Option<usize>| match argument.and_then(&place) {
        Some(place) => format!("{place}: "),
        None => String::new(),
    };
    let parsed = dropin::parse_in(directory, "node_exporter", flags, registry.collectors);
    let drop_in = match parsed {
        Ok(Command::Run(drop_in)) => drop_in,
        Ok(Command::Help(_) | Command::Version(_)) => {
            return Err(fail(
                exit::USAGE,
                &"these flags make node_exporter print a text and end, so there is nothing to migrate",
            ));
        }
        Err(errors) => {
            for error in &errors {
                complain(&format_args!("vitald: {}{}", at(error.argument), error.message));
            }
            return Err(ExitCode::from(exit::CONFIG));
        }
    };
    let migrated = dropin::migrate(&drop_in, directory);
    for Note { argument, text } in &migrated.notes {
        complain(&format_args!("{}{text}", at(*argument)));
    }
    Ok(print(&migrated.text))
}
