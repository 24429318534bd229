//! The command line.

mod arguments;
mod client;
mod effective;
mod once;
mod run;

use run::run;

use crate::config::{self, Sources};
use crate::plan::Plan;
use crate::{dropin, manual};
use clap::ArgMatches;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vitald_core::collector::{Descriptor, roll_call};
use vitald_core::output::{OutputDescriptor, outputs};
use vitald_core::settings::Mistake;

/// Exit statuses, as sysexits(3) numbers them.
mod exit {
    /// The command line is wrong.
    pub(super) const USAGE: u8 = 64;
    /// The daemon that was asked does not answer.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// The system refused something, such as an address in use.
    pub(super) const OS_ERROR: u8 = 71;
    /// A configuration is wrong, or the binary is.
    pub(super) const CONFIG: u8 = 78;
}

/// What is compiled into this binary.
#[derive(Clone, Copy)]
pub(crate) struct Registry<'a> {
    /// The collectors, by name.
    pub(crate) collectors: &'a [&'static Descriptor],
    /// The outputs, by name.
    pub(crate) outputs: &'a [&'static OutputDescriptor],
}

/// Runs the program: the daemon or one of its commands.
///
/// `rolls` are the lists of the crates whose collectors belong into this binary; naming them is what
/// links those crates.
pub fn main(rolls: &[&[&'static str]]) -> ExitCode {
    let collectors = match roll_call(rolls) {
        Ok(collectors) => collectors,
        Err(error) => return fail(exit::CONFIG, &error),
    };
    let outputs = match outputs() {
        Ok(outputs) => outputs,
        Err(error) => return fail(exit::CONFIG, &error),
    };
    let registry = Registry { collectors: &collectors, outputs: &outputs };
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let program = arguments.first().map(|name| name.to_string_lossy().into_owned());
    if program.as_deref().is_some_and(dropin::is_dropin_name) {
        return run::drop_in(&program.unwrap_or_default(), &arguments[1..], registry);
    }
    if arguments.get(1).is_some_and(|command| command == "node_exporter") {
        arguments.drain(..2);
        return run::drop_in("node_exporter", &arguments, registry);
    }
    match arguments::command(registry).try_get_matches_from(arguments) {
        Ok(matches) => dispatch(&matches, registry),
        Err(error) => {
            let printed = written(error.print());
            // Help and version are no errors.
            if error.use_stderr() { ExitCode::from(exit::USAGE) } else { printed }
        }
    }
}

fn dispatch(matches: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let (command, own) = matches.subcommand().unwrap_or(("run", matches));
    match command {
        "check" => check(own, registry),
        "once" => once::once(own, registry),
        "plugins" => once::plugins(own, registry),
        "metrics" => print(&manual::metrics_markdown(registry.collectors)),
        "config" if own.get_flag("effective") => match load(own, registry) {
            Ok(plan) => print(&effective::render(&plan.effective)),
            Err(mistakes) => refuse(&mistakes),
        },
        "config" => print(&manual::config_reference(registry.collectors, registry.outputs)),
        "reload" => client::reload(own, registry),
        "health" => client::health(own, registry),
        "completions" => completions(own, registry),
        _ => run(own, registry),
    }
}

/// Whether a file is valid, and what would run.
fn check(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let plan = match load(own, registry) {
        Ok(plan) => plan,
        Err(mistakes) => return refuse(&mistakes),
    };
    let on = |enabled: bool| {
        let names: Vec<&str> = plan
            .collectors
            .iter()
            .filter(|collector| collector.enabled == enabled)
            .map(|collector| collector.descriptor.name)
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let name = config_file(own)
        .map_or_else(|| "the built-in defaults".to_owned(), |file| file.display().to_string());
    let mut text = format!(
        "{name}: valid\nhash: {}\ncollectors on: {}\ncollectors off: {}\n",
        plan.hash,
        on(true),
        on(false)
    );
    for output in plan.outputs.iter().filter(|output| output.enabled) {
        let every = humantime::format_duration(output.interval);
        text += &format!("output: {} every {every}\n", output.name);
    }
    for listen in &plan.server.listen {
        text += &format!("listens on: {}\n", listen.address);
    }
    let printed = print(&text);
    if own.get_flag("running") { client::what_would_change(own, registry) } else { printed }
}

fn completions(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let Some(shell) = own.get_one::<clap_complete::Shell>("shell") else {
        return ExitCode::FAILURE;
    };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut arguments::command(registry), "vitald", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// The file that a command is about: its own argument, or `--config`.
fn config_file(own: &ArgMatches) -> Option<PathBuf> {
    let file = |id: &str| own.try_get_one::<PathBuf>(id).ok().flatten().cloned();
    file("file").or_else(|| file("config"))
}

fn load(own: &ArgMatches, registry: Registry<'_>) -> Result<Plan, Vec<Mistake>> {
    load_from(config_file(own).as_deref(), registry.collectors, registry.outputs)
}

/// Reads a configuration from a file and the environment.
fn load_from(
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

/// Prints every mistake, and the status of a wrong configuration.
fn refuse(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        complain(mistake);
    }
    let count = mistakes.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    fail(exit::CONFIG, &format!("{count} {noun} in the configuration"))
}

/// Prints to standard output; a closed pipe ends the program quietly.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The status of a program whose output was written, or not.
fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(exit::OS_ERROR, &format!("cannot write: {error}")),
    }
}

/// One line on standard error, which may be closed.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{what}");
}

fn fail(status: u8, what: &dyn Display) -> ExitCode {
    complain(&format_args!("vitald: {what}"));
    ExitCode::from(status)
}
