//! The drop-in: node_exporter's command line, taken by vitald.
//!
//! The flags of collectors come from the descriptors, as does all else that is derived; [`flags`]
//! has what they cannot know, and [`table`] has all flags. What they say becomes a table like that
//! of a configuration file ([`decide`]) and goes through the same decoder, so that a value means the
//! same in both.

mod command_line;
mod decide;
mod flags;
mod help;
mod table;
#[cfg(test)]
mod tests;

pub use decide::{DropIn, Web};
use std::ffi::OsStr;
use std::fmt;
use table::{Target, all_flags};
use vitald_core::collector::Descriptor;
use vitald_core::settings::{Node, Origin, Table};

/// The version of node_exporter that the drop-in replaces.
pub const EMULATED_VERSION: &str = "1.12.1";

/// Writes the roots of the host from the root of the file system, as a configuration file must.
fn make_roots_absolute(effective: &mut Table) {
    let Some(Node::Table(paths)) = effective.entries.get_mut("paths").map(|paths| &mut paths.node)
    else {
        return;
    };
    for path in paths.entries.values_mut() {
        if let Node::Text(text) = &mut path.node
            && let Ok(absolute) = std::path::absolute(&*text)
            && let Ok(absolute) = absolute.into_os_string().into_string()
        {
            *text = absolute;
        }
    }
}

/// Whether the node_exporter that the drop-in replaces has a collector of this name.
pub fn is_collector(name: &str) -> bool {
    flags::COLLECTORS.iter().any(|(known, _)| *known == name)
}

/// What a command line asks for.
pub enum Command {
    /// Run as node_exporter would.
    Run(Box<DropIn>),
    /// Print this text on standard output and end with status 0: help.
    Help(String),
    /// Print this text on standard output and end with status 0: the version.
    Version(String),
}

/// What is wrong with a command line; the daemon prints it and ends with status 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    program: String,
    message: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error: {}, try --help", self.program, self.message)
    }
}

impl std::error::Error for UsageError {}

/// Whether the program was started under a name of node_exporter's: `node_exporter`,
/// `prometheus-node-exporter`, or one of them with a version as in `node_exporter-1.12.1`.
pub fn is_dropin_name(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    ["node_exporter", "node-exporter", "prometheus-node-exporter", "prometheus_node_exporter"]
        .into_iter()
        .filter_map(|known| name.strip_prefix(known))
        .any(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
}

/// Reads node_exporter's command line; `program` is the name in messages, without its path.
///
/// # Errors
///
/// What is wrong, in node_exporter's words where it has some.
pub fn parse(
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    collectors: &[&'static Descriptor],
) -> Result<Command, UsageError> {
    let program = program.rsplit('/').next().unwrap_or(program);
    let fail = |message: String| UsageError { program: program.to_owned(), message };
    let flags = all_flags(collectors);
    let (given, mistake) = command_line::cut(arguments, &flags);
    let asks_for = |target: &Target| given.iter().any(|given| given.flag.target == *target);
    if asks_for(&Target::Version) {
        return Ok(Command::Version(version()));
    }
    if let Some(mistake) = mistake {
        return Err(fail(mistake));
    }
    if asks_for(&Target::Help) {
        return Ok(Command::Help(help::page(program, &flags)));
    }
    if asks_for(&Target::Man) {
        return Ok(Command::Help(help::man(program, &flags)));
    }
    decide::decide(&given, &flags, collectors).map(Box::new).map(Command::Run).map_err(fail)
}

/// What Go calls an architecture of Rust's.
pub(crate) fn go_architecture(architecture: &'static str) -> &'static str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// What `--version` prints, in the form of Prometheus' programs.
fn version() -> String {
    format!(
        "node_exporter, version {EMULATED_VERSION} (branch: vitald, revision: {version})\n  \
           build user:       \n  \
           build date:       \n  \
           go version:       none, this is vitald {version}\n  \
           platform:         {system}/{platform}\n  \
           tags:             \n",
        version = env!("CARGO_PKG_VERSION"),
        system = std::env::consts::OS,
        platform = go_architecture(std::env::consts::ARCH),
    )
}

/// The `config.toml` of a native vitald that collects what the drop-in does.
pub fn migrate(drop_in: &DropIn) -> String {
    let mut text = String::from("# Made by `vitald migrate` from node_exporter's flags.\n");
    let web = &drop_in.web;
    if web.telemetry_path != "/metrics" {
        // As TOML writes it: a line end in it would end the comment.
        let path = Node::from(web.telemetry_path.as_str());
        text.push_str(&format!("# Not taken over: the metrics are under /metrics, not {path}.\n"));
    }
    if web.disable_exporter_metrics {
        text.push_str("# Not taken over: vitald's own metrics are always there.\n");
    }
    for note in &drop_in.notes {
        text.push_str(&format!("# {note}\n"));
    }
    let is_listen = |path: &str| path == "server.listen";
    let mut effective = drop_in.plan.effective.clone();
    make_roots_absolute(&mut effective);
    text.push_str(&crate::manual::toml(&effective, |path, value| {
        is_listen(path) || value.origin != Origin::Default
    }));
    text
}
