//! The command line.

mod arguments;
mod client;
mod collections;
mod compare;
mod connection;
mod effective;
mod load;
mod migrate;
mod once;
mod places;
mod registry;
mod run;
mod scraper;
mod terminal;
mod unit_flags;

use load::{config_file, load};
use registry::Registry;
use run::run;
use terminal::{complain, exit, fail, print, refuse, written};

use crate::daemon::roots;
use crate::http::WantedListeners;
use crate::{blind, config, dropin, listener_warnings, log, manual, memory_limit};
use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue};
use std::ffi::OsString;
use std::process::ExitCode;
use vitald_core::collector::{Descriptor, roll_call};
use vitald_core::host::Host;
use vitald_core::output::{OutputDescriptor, outputs};

/// Runs the program: the daemon or one of its commands.
///
/// `rolls` are the lists of the crates whose collectors belong into this binary; naming them is what
/// links those crates.
pub fn main(rolls: &[&[&'static str]]) -> ExitCode {
    if let Some(refusal) = memory_limit::refusal() {
        return fail(exit::OS_ERROR, &refusal);
    }
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
    match arguments::command(registry).try_get_matches_from(&arguments) {
        Ok(matches) => dispatch(&matches, registry),
        Err(error) => {
            let error = with_remedy(error, &arguments);
            // Help and version are no errors.
            match error.use_stderr() {
                // With its priority, and without colours.
                true if log::is_journal() => complain(&error.render()),
                true => drop(error.print()),
                false => return written(error.print()),
            }
            ExitCode::from(exit::USAGE)
        }
    }
}

/// The error, with a tip where a configuration is named without its option, or an interval apart from its own.
fn with_remedy(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .into_iter()
        .find_map(|kind| error.get(kind));
    let Some(ContextValue::String(word)) = word else { return error };
    let follows_console =
        || arguments.windows(2).any(|pair| pair[0] == "--console" && pair[1] == **word);
    let tip = if word.ends_with(".toml") {
        format!("a configuration is named by an option: '--config {word}'")
    } else if follows_console() {
        format!("an interval follows an equals sign: '--console={word}'")
    } else {
        return error;
    };
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// The command line with what these add to it, for its man page.
pub fn command(
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> clap::Command {
    arguments::command(Registry { collectors, outputs })
}

fn dispatch(matches: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let (command, own) = matches.subcommand().unwrap_or(("run", matches));
    match command {
        "check" => check(own, registry),
        "compare" => compare::compare(own, registry),
        "once" => once::once(own, registry),
        "plugins" => once::plugins(own, registry),
        "metrics" => print(&manual::metrics_markdown(registry.collectors)),
        "config" if own.get_flag("effective") => match load(own, registry) {
            Ok(plan) => print(&effective::render(&config::effective(&plan))),
            Err(mistakes) => refuse(&mistakes),
        },
        "config" => print(&manual::config_reference(registry.collectors, registry.outputs)),
        "reload" => client::reload(own, registry),
        "health" => client::health(own, registry),
        "migrate" => migrate::migrate(own, registry),
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
    let mut mistakes = Vec::from_iter(roots::require_procfs(&plan.roots).err());
    let wanted = match WantedListeners::read(&plan.server, &[]) {
        Ok(wanted) if mistakes.is_empty() => wanted,
        wanted => {
            mistakes.extend(wanted.err().into_iter().flatten());
            return refuse(&plan.place_all(mistakes));
        }
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
        text += &match &listen.serve.web_config {
            Some(file) => format!("listens on: {} ({})\n", listen.address, file.display()),
            None => format!("listens on: {}\n", listen.address),
        };
    }
    for doubt in roots::doubts(&plan.roots) {
        text += &format!("warning: {doubt}\n");
    }
    for spot in blind::spots(Host::new(plan.roots.clone()).view()) {
        text += &format!("warning: {spot}\n");
    }
    let warnings = wanted.notes().chain(listener_warnings::warnings(&plan, &wanted));
    for warning in warnings.chain(listener_warnings::without_admin(&plan).map(str::to_owned)) {
        text += &format!("warning: {warning}\n");
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
