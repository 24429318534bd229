//! What the command line looks like.

use super::registry::Registry;
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

/// The command with its subcommands.
pub(super) fn command(registry: Registry<'_>) -> Command {
    let names: Vec<&'static str> =
        registry.collectors.iter().map(|descriptor| descriptor.name).collect();
    let version = format!(
        "{} ({} collector{}: {})",
        env!("CARGO_PKG_VERSION"),
        names.len(),
        if names.len() == 1 { "" } else { "s" },
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    );
    Command::new("vitald")
        .version(version)
        .about("A host-metrics daemon: serves what the kernel knows to Prometheus, and is reconfigured while it runs")
        // clap does not break lines without a terminal's width, which costs a dependency.
        .after_help(
            "Without a command it runs the daemon. Under the name node_exporter, or as\n\
             `vitald node_exporter FLAGS...`, it takes node_exporter's flags and serves what\n\
             node_exporter would.",
        )
        .subcommand_required(false)
        .args_conflicts_with_subcommands(true)
        .arg(config())
        .subcommand(Command::new("run").about("Run the daemon").arg(config()))
        .subcommand(
            Command::new("check")
                .about("Say whether a configuration is valid, and what would run")
                .arg(file("file").value_name("FILE").index(1).help("The configuration to check"))
                .arg(config().conflicts_with("file"))
                .arg(
                    switch("running")
                        .help("Also ask the running daemon what a reload of its own file would change"),
                )
                .args(target()),
        )
        .subcommand(
            Command::new("once")
                .about("Collect once and print")
                .arg(config())
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_name("FORMAT")
                        .value_parser(["table", "text", "json"])
                        .default_value("table")
                        .help("In which form"),
                )
                .arg(
                    Arg::new("collectors")
                        .value_name("COLLECTOR")
                        .action(ArgAction::Append)
                        .value_parser(collector_names(&names))
                        .hide_possible_values(true)
                        .help("Only these, even those the configuration leaves off [see: vitald plugins]"),
                ),
        )
        .subcommand(
            Command::new("plugins")
                .about("List what is compiled in, with its state and cost on this host")
                .arg(config()),
        )
        .subcommand(Command::new("metrics").about("Print the reference of all metrics, as Markdown"))
        .subcommand(
            Command::new("config")
                .about("Print the commented default configuration, or the effective one")
                .arg(config())
                .arg(switch("effective").help("Every value in force, and where it comes from")),
        )
        .subcommand(
            Command::new("reload")
                .about("Make the running daemon read its configuration again")
                .arg(config().help("The file that it reads; without one the service is asked first"))
                .arg(switch("dry-run").help("Only say what would change"))
                .args(target()),
        )
        .subcommand(
            Command::new("health")
                .about("Ask the running daemon whether it is well; for container health checks")
                .arg(config())
                .arg(switch("ready").help("Ask whether it is ready to be scraped, not only alive"))
                .args(target()),
        )
        .subcommand(
            Command::new("migrate")
                .about("Print the configuration that is equal to node_exporter's flags")
                .override_usage("vitald migrate [--unit FILE | -- FLAGS...]")
                .arg(
                    file("unit")
                        .long("unit")
                        .value_name("FILE")
                        .conflicts_with("flags")
                        .help("Its systemd unit, or the file with its ARGS, as in Debian's /etc/default"),
                )
                .arg(
                    Arg::new("flags")
                        .value_name("FLAGS")
                        .last(true)
                        .action(ArgAction::Append)
                        .value_parser(value_parser!(OsString))
                        .help("Its flags, after two dashes"),
                ),
        )
        .subcommand(
            Command::new("completions").about("Print the completions of a shell").arg(
                Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)),
            ),
        )
}

/// clap refuses an empty list of possible values, and a build may have no collector.
fn collector_names(names: &[&'static str]) -> ValueParser {
    if names.is_empty() {
        return ValueParser::new(|name: &str| -> Result<String, String> {
            Err(format!("{name} is not in this build, which has no collector"))
        });
    }
    PossibleValuesParser::new(names.to_vec()).into()
}

fn file(id: &'static str) -> Arg {
    Arg::new(id).value_parser(value_parser!(PathBuf))
}

fn switch(id: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue)
}

fn config() -> Arg {
    file("config")
        .long("config")
        .short('c')
        .value_name("FILE")
        .help("The configuration; without one the built-in defaults hold")
}

/// Which daemon a command talks to.
fn target() -> [Arg; 2] {
    [
        Arg::new("to")
            .long("to")
            .value_name("ADDRESS")
            .help("Where it listens: HOST:PORT or unix:/PATH [default: as configured]"),
        file("token-file")
            .long("token-file")
            .value_name("FILE")
            .help("The file with the bearer token of the daemon's listener"),
    ]
}
