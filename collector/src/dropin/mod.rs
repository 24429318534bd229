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
mod migrate;
mod table;
#[cfg(test)]
mod tests;
pub mod unit;

use command_line::Mistake;
pub use decide::{DropIn, Note, Web};
pub use flags::is_collector;
pub use migrate::{Migrated, migrate};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use table::{Shell, Target, all_flags};
use vitald_core::collector::Descriptor;
use vitald_core::settings::Mistake as SettingMistake;

/// The version of node_exporter that the drop-in replaces.
pub const EMULATED_VERSION: &str = "1.12.1";

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
    /// What it is, as in node_exporter.
    pub message: String,
    /// The argument that it is about, if it is about one; the first is 0.
    pub argument: Option<usize>,
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

/// Reads node_exporter's command line; `program` is the name in messages, without its path. Files that
/// the flags name are looked for in the current directory.
///
/// # Errors
///
/// What is wrong, in node_exporter's words where it has some.
pub fn parse(
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    collectors: &[&'static Descriptor],
) -> Result<Command, UsageError> {
    parse_in(Path::new(""), program, arguments, collectors).map_err(|mistakes| {
        let messages: Vec<String> =
            mistakes.iter().map(|mistake| mistake.message.clone()).collect();
        let argument = mistakes.first().and_then(|first| first.argument);
        let program = program.rsplit('/').next().unwrap_or(program).to_owned();
        UsageError { program, message: messages.join("; "), argument }
    })
}

/// As [`parse`], with another directory in place of the current one, and each mistake by itself.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_in(
    directory: &Path,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    collectors: &[&'static Descriptor],
) -> Result<Command, Vec<UsageError>> {
    let program = program.rsplit('/').next().unwrap_or(program);
    let fail = |mut mistakes: Vec<Mistake>| {
        mistakes.sort_by_key(|mistake| mistake.argument.unwrap_or(usize::MAX));
        let error = mistakes.into_iter().map(|mistake| UsageError {
            program: program.to_owned(),
            message: on_a_line(&mistake.message),
            argument: mistake.argument,
        });
        error.collect::<Vec<_>>()
    };
    let flags = all_flags(collectors);
    let (given, mut mistakes) = command_line::cut(arguments, directory, &flags);
    let asks_for = |target: &Target| given.iter().any(|given| given.flag.target == *target);
    if asks_for(&Target::Version) {
        return Ok(Command::Version(version()));
    }
    // What is to be completed is not finished, and may be wrong.
    if asks_for(&Target::Names) {
        return Ok(Command::Help(help::names(&flags)));
    }
    for shell in [Shell::Bash, Shell::Zsh] {
        if asks_for(&Target::Completion(shell)) {
            return Ok(Command::Help(help::completion(shell, program)));
        }
    }
    if mistakes.is_empty() && asks_for(&Target::Help) {
        return Ok(Command::Help(help::page(program, &flags)));
    }
    if mistakes.is_empty() && asks_for(&Target::Man) {
        return Ok(Command::Help(help::man(program, &flags)));
    }
    match decide::decide(&given, directory, &flags, collectors) {
        Ok(drop_in) if mistakes.is_empty() => Ok(Command::Run(Box::new(drop_in))),
        decided => {
            mistakes.extend(decided.err().into_iter().flatten());
            Err(fail(mistakes))
        }
    }
}

/// A mistake that the system made known, with the flag in place of the key.
pub fn in_flags(mistake: &SettingMistake) -> String {
    match mistake.path.as_str() {
        "server.listen" => format!("--web.listen-address: {}", mistake.message),
        _ => mistake.to_string(),
    }
}

/// The longest message, in characters: what it quotes may be as long as a file.
const LONGEST_MESSAGE: usize = 1000;

/// A message without characters that do not show, and not longer than a person reads.
fn on_a_line(message: &str) -> String {
    let mut line = String::new();
    for (position, character) in message.chars().enumerate() {
        if position == LONGEST_MESSAGE {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// What is said of the variable `GOMAXPROCS`, which node_exporter's runtime reads.
///
/// # Errors
///
/// As node_exporter: it is no number.
pub fn note_of_processors(value: &str) -> Result<Note, String> {
    decide::whole(value)?;
    Ok(Note { argument: None, text: decide::without_meaning("the variable GOMAXPROCS") })
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
           tags:             {tags}\n",
        // Go's word for a build without any.
        tags = if cfg!(feature = "tls") { "tls" } else { "unknown" },
        version = env!("CARGO_PKG_VERSION"),
        system = std::env::consts::OS,
        platform = go_architecture(std::env::consts::ARCH),
    )
}
