//! What the command line looks like.

use super::registry::Registry;
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use vitald_core::settings::{Origin, Setting, Value};

/// The longest duration that a command takes.
const LONGEST: Duration = Duration::from_secs(720 * 3600);

/// The command with its subcommands.
pub(super) fn command(registry: Registry<'_>) -> Command {
    let names: Vec<&'static str> =
        registry.collectors.iter().map(|descriptor| descriptor.name).collect();
    let version = format!(
        "{} ({} collector{}: {})\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        names.len(),
        if names.len() == 1 { "" } else { "s" },
        if names.is_empty() { "none".to_owned() } else { names.join(" ") },
        // Both are said, as systemd does: a build without it is one to know of.
        if cfg!(feature = "tls") { "+tls" } else { "-tls" }
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
        .arg(console())
        .subcommand(Command::new("run").about("Run the daemon").arg(config()).arg(console()))
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
        .subcommand(compare())
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
                .arg(config())
                .arg(
                    switch("systemd")
                        .help("Print a drop-in for vitald.service with what the collectors that are on need"),
                ),
        )
        .subcommand(Command::new("metrics").about("Print the reference of all metrics, as Markdown"))
        .subcommand(
            Command::new("config")
                .about("Print the commented default configuration, or the effective one")
                .arg(config().requires("effective"))
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

fn compare() -> Command {
    let option = |id: &'static str, value: &'static str| Arg::new(id).long(id).value_name(value);
    Command::new("compare")
        .about("Compare with the metrics of a program that runs, such as node_exporter")
        .after_help(
            "Each round takes three pages: one of the program, one of vitald, and one of the program\n\
             again. Equal are the same series and types, counters between the two pages, and gauges\n\
             that agree in one round at least. Help texts are not compared, nor what a program shows\n\
             of itself. It needs no root; run it as the user that vitald will be, for what that user\n\
             may see.\n\n\
             Status: 0 if they are equal, 1 if they differ, 2 if they could not be compared.",
        )
        .arg(
            Arg::new("url")
                .value_name("URL")
                .required(true)
                .help("Where the program listens, such as http://localhost:9100/metrics, or unix:/PATH"),
        )
        .arg(config())
        .arg(
            option("with", "URL")
                .conflicts_with_all(["config", "flags", "unit"])
                .help("A vitald that runs, in place of collections by this command"),
        )
        .arg(
            file("unit").long("unit").value_name("FILE").conflicts_with_all(["config", "flags"]).help(
                "The unit of node_exporter, or the file of its ARGS, to collect by",
            ),
        )
        .arg(
            option("for", "DURATION")
                .value_parser(duration)
                .help("Go on for so long, such as 10m [default: a few rounds]"),
        )
        .arg(
            option("interval", "DURATION")
                .value_parser(duration)
                .help("The time from one round to the next [default: 1s, with --for 10s]"),
        )
        .arg(
            option("timeout", "DURATION")
                .value_parser(duration)
                .help("The longest that a page may take [default: 10s]"),
        )
        .arg(
            option("ignore", "REGEX")
                .action(ArgAction::Append)
                .help("Leave out series it matches anywhere (^, $ anchor); can be repeated"),
        )
        .arg(
            option("tolerance", "SHARE")
                .value_parser(share)
                .help("By how much of its value a gauge may differ [default: 0.01]"),
        )
        .arg(
            option("format", "FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("In which form"),
        )
        .arg(
            Arg::new("flags")
                .value_name("FLAGS")
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
                .last(true)
                .conflicts_with("config")
                .help("The flags of node_exporter to collect by, in place of a configuration"),
        )
}

/// A duration as a configuration has it; one of use for a command.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = Duration::decode(&Value::new(text, Origin::Default))?;
    if duration.is_zero() || duration > LONGEST {
        return Err("expected more than 0 and at most 720h".to_owned());
    }
    Ok(duration)
}

/// A part of a value.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
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

/// Whether the daemon that is run shows itself.
fn console() -> Arg {
    Arg::new("console")
        .long("console")
        .value_name("INTERVAL")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("2s")
        .value_parser(interval)
        .help("Show on standard output what it sees, every 2 s unless set")
}

/// An interval as an output may have it.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = Duration::decode(&Value::new(text, Origin::Default))?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
    let interval = Some(interval).filter(|interval| allowed.contains(interval));
    interval.ok_or_else(|| "expected from 1s to 1h".to_owned())
}

/// Which daemon a command talks to.
fn target() -> [Arg; 2] {
    [
        Arg::new("to")
            .long("to")
            .value_name("ADDRESS")
            .help("Its listener: HOST:PORT or unix:/PATH, no TLS [default: as configured]"),
        file("token-file")
            .long("token-file")
            .value_name("FILE")
            .help("The file with the bearer token of the daemon's listener"),
    ]
}
