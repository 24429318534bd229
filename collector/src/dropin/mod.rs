//! The drop-in: node_exporter's command line, taken by vitald.
//!
//! The flags of collectors come from the descriptors, as does all else that is derived; [`flags`]
//! has what they cannot know. What the flags say becomes a table like that of a configuration
//! file and goes through the same decoder, so that a value means the same in both.

mod command_line;
mod flags;
mod help;
#[cfg(test)]
mod tests;

use crate::config::{self, insert};
use crate::plan::Plan;
use command_line::{Argument, Given, flat};
use flags::Shape;
use std::ffi::OsStr;
use std::fmt;
use std::net::ToSocketAddrs;
use vitald_core::collector::Descriptor;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Table, Value};

/// The version of node_exporter that the drop-in stands for.
pub const EMULATED_VERSION: &str = "1.12.1";

/// Whether the node_exporter that the drop-in stands for has a collector of this name.
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

/// How to run as node_exporter.
pub struct DropIn {
    /// What the flags decide, in the daemon's own terms.
    pub plan: Plan,
    /// What has no place in the plan, because only the drop-in has it.
    pub web: Web,
    /// What differs from node_exporter in this build: a sentence each, for the log.
    pub notes: Vec<String>,
}

/// The parts of `--web.*` that only the drop-in has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where the metrics are, `/metrics` unless told otherwise.
    pub telemetry_path: String,
    /// Whether metrics of the daemon itself are left out.
    pub disable_exporter_metrics: bool,
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
    run(&given, collectors).map(Box::new).map(Command::Run).map_err(fail)
}

/// What `--version` prints, in the form of Prometheus' programs.
fn version() -> String {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!(
        "node_exporter, version {EMULATED_VERSION} (branch: vitald, revision: {version})\n  \
           build user:       \n  \
           build date:       \n  \
           go version:       none, this is vitald {version}\n  \
           platform:         {system}/{platform}\n  \
           tags:             \n",
        version = env!("CARGO_PKG_VERSION"),
        system = std::env::consts::OS,
    )
}

/// A flag that the command line may have.
struct Flag {
    /// Without the dashes.
    name: String,
    shape: Shape,
    target: Target,
    /// Whether `--help` leaves it out.
    hidden: bool,
    /// For `--help`.
    help: String,
    /// The default as `--help` shows it.
    default: String,
}

/// What a flag is for.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Help,
    Man,
    Version,
    /// A key of the configuration; `kind` as its declaration has it.
    Key {
        path: Vec<&'static str>,
        kind: &'static str,
    },
    /// Addresses to listen on.
    Listen,
    TelemetryPath,
    DisableExporterMetrics,
    DisableDefaults,
    /// The level or the format of the log: words whose case does not matter, and their noun.
    LogWord {
        key: &'static str,
        noun: &'static str,
        words: &'static [&'static str],
    },
    /// A number that has no meaning here.
    Processors,
    /// A collector of node_exporter's that this binary lacks.
    AbsentCollector(&'static str),
    /// A setting of such a collector.
    AbsentSetting(&'static str),
    /// What vitald cannot do; a value that asks for nothing is taken.
    Unsupported(&'static str),
}

fn all_flags(collectors: &[&'static Descriptor]) -> Vec<Flag> {
    let mut all = Vec::new();
    let mut add = |name: &str, shape, target, help: &str, default: &str| {
        all.push(Flag {
            name: name.to_owned(),
            shape,
            target,
            hidden: false,
            help: help.to_owned(),
            default: default.to_owned(),
        });
    };
    use Shape::{Many, Once, Switch};
    add("help", Switch, Target::Help, "Show this text.", "");
    add("help-long", Switch, Target::Help, "", "");
    add("help-man", Switch, Target::Man, "", "");
    for (name, key, default, help) in [
        ("path.procfs", "procfs", "/proc", "Where the host's procfs is mounted."),
        ("path.sysfs", "sysfs", "/sys", "Where the host's sysfs is mounted."),
        ("path.rootfs", "rootfs", "/", "The host's root directory, in front of mount points."),
        ("path.udev.data", "udev", "/run/udev/data", "The directory of udev's device data base."),
    ] {
        let target = Target::Key { path: vec!["paths", key], kind: "path" };
        add(name, Once, target, help, &format!("\"{default}\""));
    }
    add(
        "web.telemetry-path",
        Once,
        Target::TelemetryPath,
        "The path that the metrics are served under.",
        "\"/metrics\"",
    );
    add(
        "web.disable-exporter-metrics",
        Switch,
        Target::DisableExporterMetrics,
        "Leave out metrics of the exporter itself.",
        "",
    );
    add(
        "web.max-requests",
        Once,
        Target::Key { path: vec!["server", "max_requests"], kind: <u32 as Setting>::KIND },
        "Requests served at one time; 0 is no limit.",
        "40",
    );
    add(
        "collector.disable-defaults",
        Switch,
        Target::DisableDefaults,
        "Run only the collectors that a flag switches on.",
        "",
    );
    add(
        "runtime.gomaxprocs",
        Once,
        Target::Processors,
        "Taken and without effect: there is no Go runtime here.",
        "1",
    );
    add(
        "web.systemd-socket",
        Switch,
        Target::Unsupported("listening on sockets that systemd hands over"),
        "Not supported: listen on sockets that systemd hands over.",
        "",
    );
    add(
        "web.listen-address",
        Many,
        Target::Listen,
        "An address to listen on; may be given more than once.",
        ":9100",
    );
    add(
        "web.config.file",
        Once,
        Target::Unsupported("a web configuration file (TLS, passwords)"),
        "Not supported: a file with TLS and passwords; only an empty value is taken.",
        "\"\"",
    );
    add(
        "log.level",
        Once,
        Target::LogWord {
            key: "level",
            noun: "log level",
            words: &["debug", "info", "warn", "error"],
        },
        "The least severe level that is logged: debug, info, warn or error.",
        "info",
    );
    add(
        "log.format",
        Once,
        Target::LogWord { key: "format", noun: "log format", words: &["logfmt", "json"] },
        "How lines are logged: logfmt or json.",
        "logfmt",
    );
    add("version", Switch, Target::Version, "Show the version.", "");
    for flag in &mut all {
        flag.hidden = flag.help.is_empty();
    }
    add_collectors(collectors, &mut all);
    all
}

/// The flags of collectors, those of this binary first: they win over a known spelling.
fn add_collectors(collectors: &[&'static Descriptor], all: &mut Vec<Flag>) {
    let here = |name: &str| collectors.iter().find(|descriptor| descriptor.name == name);
    for descriptor in collectors {
        for info in descriptor.settings {
            all.push(of_setting(descriptor, info));
        }
    }
    for (spelling, collector, shape) in flags::SETTINGS.iter().copied() {
        let name = format!("collector.{spelling}");
        if all.iter().any(|flag| flat(&flag.name) == flat(&name)) {
            continue;
        }
        let key = flags::KEYS.iter().find(|(other, _)| *other == spelling).map(|(_, key)| *key);
        let declared = here(collector).and_then(|descriptor| {
            let info = descriptor.settings.iter().find(|info| Some(info.key) == key)?;
            Some(Flag { name: name.clone(), ..of_setting(descriptor, info) })
        });
        let flag = declared.unwrap_or_else(|| Flag {
            name,
            shape,
            target: match here(collector) {
                Some(_) => Target::Unsupported("this setting of the collector"),
                None => Target::AbsentSetting(collector),
            },
            hidden: true,
            help: String::new(),
            default: String::new(),
        });
        all.push(flag);
    }
    for (old, present) in flags::OLD_SPELLINGS {
        let old = format!("collector.{old}");
        let present = flat(&format!("collector.{present}"));
        // A collector may declare the old spelling itself, to tell it from the present one.
        if !all.iter().any(|flag| flag.name == old)
            && let Some(flag) = all.iter().find(|flag| flat(&flag.name) == present)
        {
            all.push(Flag {
                name: old,
                shape: flag.shape,
                target: flag.target.clone(),
                hidden: true,
                help: String::new(),
                default: String::new(),
            });
        }
    }
    for flag in all.iter_mut() {
        let spelling = flag.name.strip_prefix("collector.").unwrap_or_default();
        flag.hidden |= flags::HIDDEN.contains(&spelling)
            || flags::OLD_SPELLINGS.iter().any(|(old, _)| *old == spelling);
    }
    for descriptor in collectors {
        all.push(Flag {
            name: format!("collector.{}", descriptor.name),
            shape: Shape::Switch,
            target: Target::Key {
                path: vec!["collectors", descriptor.name, "enabled"],
                kind: <bool as Setting>::KIND,
            },
            hidden: false,
            help: format!("Collect: {}.", descriptor.summary.trim_end_matches('.')),
            default: if runs_by_default(descriptor) { "on" } else { "off" }.to_owned(),
        });
    }
    for (name, _) in flags::COLLECTORS.iter().filter(|(name, _)| here(name).is_none()) {
        all.push(Flag {
            name: format!("collector.{name}"),
            shape: Shape::Switch,
            target: Target::AbsentCollector(name),
            hidden: true,
            help: String::new(),
            default: String::new(),
        });
    }
}

fn of_setting(descriptor: &'static Descriptor, info: &'static SettingInfo) -> Flag {
    let name = format!("collector.{}.{}", descriptor.name, info.flag_name());
    let known = flags::SETTINGS
        .iter()
        .find(|(spelling, ..)| flat(&format!("collector.{spelling}")) == flat(&name));
    let shape = match (known, info.kind) {
        (_, <bool as Setting>::KIND) => Shape::Switch,
        (Some((.., shape)), _) => *shape,
        (None, <Vec<String> as Setting>::KIND) => Shape::Many,
        (None, _) => Shape::Once,
    };
    let default = match (info.default)() {
        Node::Unset | Node::Boolean(_) => String::new(),
        default => default.to_string(),
    };
    let path = vec!["collectors", descriptor.name, info.key];
    Flag {
        // node_exporter's own spelling, where it is known, is the one to show.
        name: known.map_or(name, |(spelling, ..)| format!("collector.{spelling}")),
        shape,
        target: Target::Key { path, kind: info.kind },
        hidden: false,
        help: info.doc.split_whitespace().collect::<Vec<_>>().join(" "),
        default,
    }
}

/// Whether a collector runs when no flag names it: what node_exporter does not have is off.
fn runs_by_default(descriptor: &Descriptor) -> bool {
    flags::COLLECTORS.iter().any(|(name, is_on)| *name == descriptor.name && *is_on)
}

/// Turns the flags into a table, and the table into a plan.
fn run(given: &[Given<'_>], collectors: &[&'static Descriptor]) -> Result<DropIn, String> {
    for (position, later) in given.iter().enumerate() {
        let is_same = |earlier: &&Given<'_>| earlier.flag.target == later.flag.target;
        // kingpin refuses a switch that is given twice. Taking the last one breaks no command line
        // that works there, and lets a list of flags be corrected at its end.
        let is_repeatable = later.flag.shape != Shape::Once
            || matches!(later.flag.target, Target::AbsentSetting(_) | Target::Unsupported(_));
        if !is_repeatable && let Some(earlier) = given[..position].iter().find(is_same) {
            return Err(if earlier.flag.name == later.flag.name {
                format!("flag '{}' cannot be repeated", later.flag.name)
            } else {
                format!("{} and {} are the same setting", earlier.written, later.written)
            });
        }
    }
    let mut web = Web { telemetry_path: "/metrics".to_owned(), disable_exporter_metrics: false };
    let mut table = Table::default();
    let mut listen = Vec::new();
    let mut defaults_run = (true, Origin::Default);
    let mut notes = Vec::new();
    for given in given {
        let written = &given.written;
        let origin = Origin::Flag(written.as_str().into());
        let (text, is_on) = match &given.value {
            Argument::Text(text) => (text.as_str(), true),
            Argument::Switch(is_on) => ("", *is_on),
        };
        match &given.flag.target {
            Target::Help | Target::Man | Target::Version => {}
            Target::Key { path, kind } => {
                let node = match (&given.value, given.flag.shape) {
                    (Argument::Switch(is_on), _) => Node::Boolean(*is_on),
                    (_, Shape::Many) => {
                        append(&mut table, path, Value::new(text, origin));
                        continue;
                    }
                    // A whole number of Go's may be written as any number.
                    _ if *kind == <u32 as Setting>::KIND => whole(text)?,
                    _ => Node::Text(text.to_owned()),
                };
                insert(&mut table, path, Value::new(node, origin));
            }
            Target::Listen => {
                let address = address(text).map_err(|error| format!("{written}: {error}"))?;
                listen.push(Value::new(address, origin));
            }
            Target::TelemetryPath if text.starts_with('/') => web.telemetry_path = text.to_owned(),
            Target::TelemetryPath => return Err(format!("{written}: expected a path from /")),
            Target::DisableExporterMetrics => web.disable_exporter_metrics = is_on,
            Target::DisableDefaults => defaults_run = (!is_on, origin),
            Target::LogWord { key, noun, words } => {
                let word = text.to_ascii_lowercase();
                if !words.contains(&word.as_str()) {
                    return Err(format!("unrecognized {noun} {text}"));
                }
                insert(&mut table, &["log", key], Value::new(word, origin));
            }
            Target::Processors => drop(whole(text)?),
            Target::AbsentCollector(name) if is_on => {
                return Err(if config::known_collectors().iter().any(|known| known == name) {
                    format!("{written}: not in this build: build with --features {name}")
                } else {
                    format!("{written}: vitald has no collector {name}")
                });
            }
            Target::AbsentCollector(_) => {}
            Target::AbsentSetting(name) => notes.push(format!(
                "{written} has no effect: this build of vitald has no collector {name}"
            )),
            Target::Unsupported(what) => {
                let asks_for_nothing = match &given.value {
                    Argument::Switch(is_on) => !is_on,
                    Argument::Text(text) => text.is_empty(),
                };
                if !asks_for_nothing {
                    return Err(format!("{written}: vitald does not support {what}"));
                }
            }
        }
    }
    if listen.is_empty() {
        listen.push(Value::new(":9100", Origin::Default));
    }
    let (defaults_run, origin) = defaults_run;
    insert(&mut table, &["scrape", "default_collectors"], Value::new(defaults_run, origin));
    let mut set = |path: &[&str], node: Node| {
        insert(&mut table, path, Value::new(node, Origin::Default));
    };
    set(&["server", "listen"], Node::List(listen));
    set(&["server", "admin"], "off".into());
    set(&["scrape", "openmetrics"], false.into());
    set(&["scrape", "max_series"], 0.into());
    for descriptor in collectors {
        let is_given = |given: &Given<'_>| match &given.flag.target {
            Target::Key { path, .. } => path[..] == ["collectors", descriptor.name, "enabled"],
            _ => false,
        };
        if !given.iter().any(is_given) {
            let runs = defaults_run && runs_by_default(descriptor);
            set(&["collectors", descriptor.name, "enabled"], runs.into());
        }
    }
    let lacks: Vec<&str> = flags::COLLECTORS
        .iter()
        .filter(|(name, is_on)| *is_on && !collectors.iter().any(|here| here.name == *name))
        .map(|(name, _)| *name)
        .filter(|name| {
            !given.iter().any(|given| given.flag.target == Target::AbsentCollector(name))
        })
        .collect();
    if defaults_run && !lacks.is_empty() {
        let names = lacks.join(", ");
        notes.push(format!("node_exporter would also run what this build lacks: {names}"));
    }
    let plan = config::load_table(&table, collectors).map_err(|mistakes| {
        let told: Vec<_> = mistakes
            .iter()
            .map(|mistake| match &mistake.origin {
                Origin::Flag(flag) => format!("{flag}: {}", mistake.message),
                _ => mistake.to_string(),
            })
            .collect();
        told.join("; ")
    })?;
    Ok(DropIn { plan, web, notes })
}

/// The `config.toml` of a native vitald that collects what the drop-in does.
pub fn migrate(drop_in: &DropIn) -> String {
    let mut text = String::from("# Made by `vitald migrate` from node_exporter's flags.\n");
    let web = &drop_in.web;
    if web.telemetry_path != "/metrics" {
        let path = &web.telemetry_path;
        text.push_str(&format!("# Not taken over: the metrics are under /metrics, not {path}.\n"));
    }
    if web.disable_exporter_metrics {
        text.push_str("# Not taken over: vitald's own metrics are always there.\n");
    }
    for note in &drop_in.notes {
        text.push_str(&format!("# {note}\n"));
    }
    let is_listen = |path: &str| path == "server.listen";
    text.push_str(&crate::manual::toml(&drop_in.plan.effective, |path, value| {
        is_listen(path) || value.origin != Origin::Default
    }));
    text
}

/// The flags of node_exporter's for collectors of this binary that these cannot take.
///
/// Each is refused when it asks for something, so a registry test keeps this list short.
pub fn unsupported_flags(collectors: &[&'static Descriptor]) -> Vec<String> {
    let is_missing = |flag: &&Flag| {
        flag.name.starts_with("collector.") && matches!(flag.target, Target::Unsupported(_))
    };
    all_flags(collectors).iter().filter(is_missing).map(|flag| flag.name.clone()).collect()
}

/// Adds an item to the list at a path.
fn append(table: &mut Table, path: &[&str], item: Value) {
    let origin = item.origin.clone();
    let mut list = match list_at(table, path) {
        Some(items) => std::mem::take(items),
        None => Vec::new(),
    };
    list.push(item);
    insert(table, path, Value::new(Node::List(list), origin));
}

fn list_at<'t>(table: &'t mut Table, path: &[&str]) -> Option<&'t mut Vec<Value>> {
    match (path, &mut table.entries) {
        ([key], entries) => match &mut entries.get_mut(*key)?.node {
            Node::List(items) => Some(items),
            _ => None,
        },
        ([key, rest @ ..], entries) => match &mut entries.get_mut(*key)?.node {
            Node::Table(inner) => list_at(inner, rest),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a whole number as kingpin does: any number, cut off at its point.
fn whole(text: &str) -> Result<Node, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Node::Integer(number as i64)),
        _ => Err(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax")),
    }
}

/// Reads an address as Go's `net.Listen("tcp", text)` does, and writes it as vitald's own.
fn address(text: &str) -> Result<String, String> {
    if text.starts_with("vsock:") {
        return Err("vitald does not listen on vsock".to_owned());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("address {text}: missing port in address"));
    };
    let port: u16 = match port.parse() {
        Ok(port) => port,
        Err(_) if port.is_empty() => 0,
        Err(_) => return Err(format!("address {text}: invalid port")),
    };
    if host.is_empty() || host == "[::]" {
        // Go opens one socket for both families here.
        return Ok(format!(":{port}"));
    }
    if let Ok(address) = config::parse_address(&format!("{host}:{port}")) {
        return Ok(address.to_string());
    }
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("address {text}: {error}"))?
        .collect::<Vec<_>>();
    // Of a name with several addresses Go takes the first of IPv4.
    found.sort_by_key(|address| !address.is_ipv4());
    match found.first() {
        Some(address) => Ok(address.to_string()),
        None => Err(format!("address {text}: this name has no address")),
    }
}
