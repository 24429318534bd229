//! `cargo xtask bench`: what a scrape costs, beside node_exporter, collectd and the bare reads of the same
//! files, in one run that needs nothing but the programs.

mod document;
mod doubts;
mod figures;
mod growth;
mod kernels;
mod large_hosts;
mod lineup;
mod machine;
mod measure;
mod names;
mod options;
mod programs;
mod progress;
mod publish;
mod quote;
mod reader;
mod rounds;
mod sets;
mod work;

use crate::files;
use crate::system::namespaces::Namespaces;
use figures::Figures;
use options::{Options, Place};
use programs::Programs;
use progress::say;
use publish::publish;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Does what the words say that come after `bench`.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<String, String> {
    if let ["--reader", arguments @ ..] = words {
        return reader::serve(arguments);
    }
    if matches!(words, ["--help" | "-h"]) {
        return Ok(options::USAGE.to_owned());
    }
    if let ["--inside", folder, ..] = words {
        // Who enters a mount namespace is at its root.
        std::env::set_current_dir(folder).map_err(|error| format!("{folder}: {error}"))?;
    }
    let options = Options::parse(words)?;
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().map_err(|error| error.to_string())?,
        None => build(root)?,
    };
    if let Some(hosts) = &options.large_hosts {
        return large_hosts::run(&Programs::find(&options, binary)?, &options, hosts);
    }
    if options.place == Place::Made && machine::can_make_namespaces() {
        return inside(words, &binary);
    }
    let mut programs = Programs::find(&options, binary)?;
    let left_out = [options.left_out(), programs.missing()].concat();
    if options.output.is_none() {
        left_out.iter().for_each(|reason| say(&format!("only printed: {reason}")));
        if left_out.is_empty() {
            machine::settle();
        }
    }
    let circumstances = machine::circumstances(root, &programs, &options);
    let mut figures = Figures { circumstances, left_out, ..Figures::default() };
    measure::all(&mut programs, &options, &mut figures);
    publish(root, options.output.as_deref(), &figures)
}

/// The release binary with every collector, as it is delivered.
fn build(root: &Path) -> Result<PathBuf, String> {
    say("building the release binary");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--release", "-p", "vitald", "--features", "full"])
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !status.success() {
        return Err("vitald does not build".to_owned());
    }
    Ok(files::target(root).join("release/vitald"))
}

/// Runs the same command again, with mounts and interfaces that are the same on every machine.
fn inside(words: &[&str], binary: &Path) -> Result<String, String> {
    let namespaces = Namespaces::of_four_interfaces();
    // Without any address but the loopback ones the C library finds none to listen on, as collectd asks it.
    namespaces.sh("ip address add 192.0.2.1/24 dev bridge1");
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = namespaces.command(this);
    let folder = std::env::current_dir().map_err(|error| error.to_string())?;
    command.args(["bench", "--inside"]).arg(folder).args(words).arg("--binary").arg(binary);
    let status = command.status().map_err(|error| format!("nsenter: {error}"))?;
    if status.success() { Ok(String::new()) } else { Err("the benchmark failed".to_owned()) }
}
