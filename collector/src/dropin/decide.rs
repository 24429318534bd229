//! From the flags that were given to a plan, by way of a table like that of a configuration file.

use super::command_line::{Argument, Given, Mistake};
use super::flags::{self, Shape};
use super::help::in_flags;
use super::table::{Flag, Target, runs_by_default};
use crate::config::{self, insert};
use crate::plan::Plan;
use crate::regular;
use crate::web_config;
use std::fmt;
use std::path::{Path, absolute};
use std::time::Duration;
use vitald_core::collector::Descriptor;
use vitald_core::settings::{self, Node, Origin, Setting, Table, Value};

/// How to run as node_exporter.
pub struct DropIn {
    /// What the flags decide, in the daemon's own terms.
    pub plan: Plan,
    /// What has no place in the plan, because only the drop-in has it.
    pub web: Web,
    /// What differs from node_exporter, for the log.
    pub notes: Vec<Note>,
    /// What a configuration file cannot say.
    pub lost_in_file: Vec<Note>,
    /// Whether a flag says on how many processors to run.
    pub names_processors: bool,
}

/// A sentence about the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The argument that it is about, if it is about one; the first is 0.
    pub argument: Option<usize>,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of `--web.*` that only the drop-in has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where the metrics are, `/metrics` unless told otherwise.
    pub telemetry_path: String,
    /// Whether metrics of the daemon itself are left out.
    pub disable_exporter_metrics: bool,
}

/// Turns the flags that were given into a table, and the table into a plan. Files that flags name are
/// looked for in a directory.
pub(super) fn decide(
    given: &[Given<'_>],
    directory: &Path,
    flags: &[Flag],
    collectors: &[&'static Descriptor],
) -> Result<DropIn, Vec<Mistake>> {
    let mut wrong = repeated(given);
    let mut read = Read::default();
    for given in given {
        if let Err(message) = read.take(given, directory) {
            wrong.push(Mistake::of(given.argument, message));
        }
    }
    let Read { web, mut table, mut listen, takes_sockets, defaults_run, mut notes, lost_in_file } =
        read;
    if let Some(origin) = takes_sockets {
        // As there, the addresses do not count then, and a web configuration is for unix sockets, too.
        let web_config =
            table_in(&mut table, "server").and_then(|server| server.entries.remove("web_config"));
        let mut sockets = Value::new(config::SYSTEMD_SOCKETS, origin.clone());
        if let Some(web_config) = web_config {
            let mut entry = Table::default();
            entry.entries.insert("address".to_owned(), sockets);
            entry.entries.insert("web_config".to_owned(), web_config);
            sockets = Value::new(Node::Table(entry), origin);
        }
        listen = vec![sockets];
    } else if listen.is_empty() {
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
    switch_collectors(given, collectors, defaults_run, &mut table);
    if defaults_run {
        notes.extend(lacking(given, collectors).map(|text| Note { argument: None, text }));
    }
    let plan = loop {
        let mistakes = match config::load_table(&table, collectors) {
            Ok(plan) => break Ok(plan),
            Err(mistakes) => mistakes,
        };
        // Each time there is less in the table, so this ends.
        let without_effect = take_without_effect(&mut table, &mistakes, given, flags);
        if without_effect.is_empty() {
            break Err(mistakes);
        }
        notes.extend(without_effect);
    };
    let plan = match plan {
        Ok(plan) if wrong.is_empty() => plan,
        plan => {
            let mistakes = plan.err().into_iter().flatten();
            wrong.extend(mistakes.map(|mistake| refusal(&mistake, given, flags)));
            return Err(wrong);
        }
    };
    let names_processors = given.iter().any(|given| given.flag.target == Target::Processors);
    Ok(DropIn { plan, web, notes, lost_in_file, names_processors })
}

/// Takes out of the table what is wrong about collectors that are off, and says so of each flag:
/// node_exporter looks at the settings of a collector when it makes the collector.
fn take_without_effect(
    table: &mut Table,
    mistakes: &[settings::Mistake],
    given: &[Given<'_>],
    flags: &[Flag],
) -> Vec<Note> {
    let notes = mistakes.iter().filter_map(|mistake| {
        let Origin::Flag(flag) = &mistake.origin else { return None };
        let (own_path, key) = mistake.path.rsplit_once('.')?;
        let name = own_path.strip_prefix("collectors.")?;
        let own = table_in(table_in(table, "collectors")?, name)?;
        if own.entries.get("enabled")?.node != Node::Boolean(false) {
            return None;
        }
        own.entries.remove(key)?;
        let message = in_flags(&mistake.message, own_path, flags);
        let text =
            format!("{flag} has no effect, because collector {name} is off; correct it first to switch that on: {message}");
        Some(Note { argument: argument_of(mistake, given), text })
    });
    notes.collect()
}

/// A table in a table, if there is one.
fn table_in<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Table> {
    match &mut table.entries.get_mut(key)?.node {
        Node::Table(inner) => Some(inner),
        _ => None,
    }
}

/// The argument that a mistake is about.
fn argument_of(mistake: &settings::Mistake, given: &[Given<'_>]) -> Option<usize> {
    let Origin::Flag(flag) = &mistake.origin else { return None };
    given.iter().rfind(|given| **flag == *given.written).map(|given| given.argument)
}

fn refusal(mistake: &settings::Mistake, given: &[Given<'_>], flags: &[Flag]) -> Mistake {
    let message = match &mistake.origin {
        Origin::Flag(flag) => {
            let (table, _) = mistake.path.rsplit_once('.').unwrap_or_default();
            format!("{flag}: {}", in_flags(&mistake.message, table, flags))
        }
        _ => mistake.to_string(),
    };
    Mistake { argument: argument_of(mistake, given), message }
}

/// What the flags so far say.
struct Read {
    web: Web,
    table: Table,
    listen: Vec<Value>,
    /// The flag that has the sockets of systemd's taken, if one has.
    takes_sockets: Option<Origin>,
    defaults_run: (bool, Origin),
    notes: Vec<Note>,
    lost_in_file: Vec<Note>,
}

impl Default for Read {
    fn default() -> Self {
        Read {
            web: Web { telemetry_path: "/metrics".to_owned(), disable_exporter_metrics: false },
            table: Table::default(),
            listen: Vec::new(),
            takes_sockets: None,
            defaults_run: (true, Origin::Default),
            notes: Vec::new(),
            lost_in_file: Vec::new(),
        }
    }
}

impl Read {
    fn take(&mut self, given: &Given<'_>, directory: &Path) -> Result<(), String> {
        let written = &given.written;
        let origin = Origin::Flag(written.as_str().into());
        let note = |text: String| Note { argument: Some(given.argument), text };
        let (text, is_on) = match &given.value {
            Argument::Text(text) => (text.as_str(), true),
            Argument::Switch(is_on) => ("", *is_on),
        };
        match &given.flag.target {
            Target::Help
            | Target::Man
            | Target::Names
            | Target::Completion(_)
            | Target::Version => {}
            Target::Key { path, kind } => {
                let node = match (&given.value, given.flag.shape) {
                    (Argument::Switch(is_on), _) => Node::Boolean(*is_on),
                    (_, Shape::Many) => {
                        append(&mut self.table, path, Value::new(text, origin));
                        return Ok(());
                    }
                    // A whole number of Go's may be written as any number.
                    _ if *kind == <u32 as Setting>::KIND => match whole(text)? {
                        // There a negative number is no limit, either.
                        Node::Integer(count) if path.ends_with(&["max_requests"]) => count.max(0).into(),
                        number => number,
                    },
                    _ => {
                        if *kind == <Duration as Setting>::KIND {
                            refuse_duration(text)
                                .map_err(|message| format!("{written}: {message}"))?;
                        }
                        Node::Text(text.to_owned())
                    }
                };
                insert(&mut self.table, path, Value::new(node, origin));
            }
            Target::Listen => {
                let address = config::parse_go_address(text);
                let address = address.map_err(|error| format!("{written}: {error}"))?;
                self.listen.push(Value::new(address.to_string(), origin));
            }
            Target::SystemdSockets => {
                self.takes_sockets = is_on.then_some(origin);
                if is_on {
                    self.lost_in_file.push(note(format!(
                        "{written}: listen is \"{}\"; the socket unit must start vitald: write \
                         Service=vitald.service in it",
                        config::SYSTEMD_SOCKETS
                    )));
                }
            }
            Target::TelemetryPath if text.starts_with('/') => {
                text.clone_into(&mut self.web.telemetry_path);
                if text != "/metrics" {
                    self.lost_in_file.push(note(format!(
                        "{written}: a configuration has no path for the metrics, which are under /metrics; \
                         scrape them there: set metrics_path in Prometheus"
                    )));
                }
            }
            Target::TelemetryPath => return Err(format!("{written}: expected a path from /")),
            Target::DisableExporterMetrics => {
                self.web.disable_exporter_metrics = is_on;
                if is_on {
                    self.lost_in_file.push(note(format!(
                        "{written}: with a configuration vitald's own metrics are always there; drop \
                         vitald_.*, process_.* and promhttp_.* by metric_relabel_configs in Prometheus"
                    )));
                }
            }
            Target::DisableDefaults => self.defaults_run = (!is_on, origin),
            Target::LogWord { key, noun, words } => {
                let word = text.to_ascii_lowercase();
                if !words.contains(&word.as_str()) {
                    return Err(format!("unrecognized {noun} {text}"));
                }
                insert(&mut self.table, &["log", key], Value::new(word, origin));
            }
            Target::Processors => {
                whole(text)?;
                self.notes.push(note(without_meaning(written)));
            }
            Target::AbsentCollector(name) if is_on => {
                return Err(if vitald_plugins::ALL.contains(name) {
                    format!("{written}: not in this build: build with --features {name}")
                } else {
                    format!("{written}: vitald has no collector {name}")
                });
            }
            Target::AbsentCollector(_) => {}
            Target::AbsentSetting(name) => self.notes.push(note(format!(
                "{written} has no effect: this build of vitald has no collector {name}; remove the flag"
            ))),
            Target::WebConfiguration => {
                if let Some(file) = web_configuration(text, directory)
                    .map_err(|message| format!("{written}: {message}"))?
                {
                    insert(&mut self.table, &["server", "web_config"], Value::new(file, origin));
                }
            }
            Target::OnlyInFile(collector, key) => {
                return Err(format!(
                    "{written}: its value has tables, which a flag cannot give; write a configuration \
                     (`vitald migrate` prints that of the other flags) and set {key} in \
                     [collectors.{collector}]"
                ));
            }
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
        Ok(())
    }
}

/// What is said of a number of processors.
pub(super) fn without_meaning(name: &str) -> String {
    format!(
        "{name} has no meaning: vitald has no Go runtime, and collects on one thread; remove it"
    )
}

/// The file as an absolute path, after everything in it was found right. Nothing without a file, and where
/// this build cannot have one and the file asks for nothing.
fn web_configuration(file: &str, directory: &Path) -> Result<Option<String>, String> {
    if file.is_empty() {
        return Ok(None);
    }
    let path = absolute(directory.join(file)).map_err(|error| format!("{file}: {error}"))?;
    if !cfg!(feature = "tls") {
        let text = regular::read_text(&path)
            .map_err(|error| format!("{file}: cannot be read: {error}"))?;
        let asks_for_nothing = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || matches!(line, "---" | "{}")
        };
        if text.lines().all(asks_for_nothing) {
            return Ok(None);
        }
    }
    web_config::check_file(&path, Path::new(file)).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        mistakes.join("; ")
    })?;
    match path.into_os_string().into_string() {
        Ok(path) => Ok(Some(path)),
        Err(_) => Err(format!("{file}: its path is not UTF-8")),
    }
}

/// kingpin refuses a switch that is given twice. Taking the last one breaks no command line that
/// works there, and lets a list of flags be corrected at its end.
fn repeated(given: &[Given<'_>]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (position, later) in given.iter().enumerate() {
        let is_same = |earlier: &&Given<'_>| earlier.flag.target == later.flag.target;
        let is_repeatable = later.flag.shape != Shape::Once
            || matches!(later.flag.target, Target::AbsentSetting(_) | Target::Unsupported(_));
        if !is_repeatable && let Some(earlier) = given[..position].iter().find(is_same) {
            let message = if earlier.flag.name == later.flag.name {
                format!("flag '{}' cannot be repeated", later.flag.name)
            } else {
                format!("{} and {} are the same setting", earlier.written, later.written)
            };
            mistakes.push(Mistake::of(later.argument, message));
        }
    }
    mistakes
}

/// Switches the collectors that no flag names.
fn switch_collectors(
    given: &[Given<'_>],
    collectors: &[&'static Descriptor],
    defaults_run: bool,
    table: &mut Table,
) {
    for descriptor in collectors {
        let is_given = |given: &Given<'_>| match &given.flag.target {
            Target::Key { path, .. } => path[..] == ["collectors", descriptor.name, "enabled"],
            _ => false,
        };
        if !given.iter().any(is_given) {
            let runs = defaults_run && runs_by_default(descriptor);
            let path = ["collectors", descriptor.name, "enabled"];
            insert(table, &path, Value::new(runs, Origin::Default));
        }
    }
}

/// What node_exporter runs by default and this build lacks, in a sentence.
fn lacking(given: &[Given<'_>], collectors: &[&'static Descriptor]) -> Option<String> {
    let lacks: Vec<&str> = flags::COLLECTORS
        .iter()
        .filter(|(name, is_on)| *is_on && !collectors.iter().any(|here| here.name == *name))
        .map(|(name, _)| *name)
        .filter(|name| {
            !given.iter().any(|given| given.flag.target == Target::AbsentCollector(name))
        })
        .collect();
    let names = lacks.join(", ");
    (!lacks.is_empty())
        .then(|| format!("node_exporter would also run what this build lacks: {names}"))
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

/// Refuses what is no duration for kingpin, whether its collector is on or off.
fn refuse_duration(text: &str) -> Result<(), String> {
    // There it may be negative.
    let amount = match text.strip_prefix('-') {
        Some(amount) => format!("+{amount}"),
        None => text.to_owned(),
    };
    Duration::decode(&Value::new(amount, Origin::Default)).map(|_| ())
}

/// Reads a whole number as kingpin does: any number of Go's `strconv.ParseFloat`, cut off at its point.
/// What an integer has no room for, and what is no number, is the least one, as on amd64.
pub(super) fn whole(text: &str) -> Result<Node, String> {
    let refused = |reason: &str| Err(format!("strconv.ParseFloat: parsing \"{text}\": {reason}"));
    let amount = text.trim_start_matches(['+', '-']);
    if amount.starts_with("0x") || amount.starts_with("0X") {
        return Err(format!("vitald takes no hexadecimal number: write {text} in decimal"));
    }
    // As in a number of Go's source.
    let digits = text.as_bytes();
    let joins_digits = |place: usize| {
        let is_digit = |place: usize| digits.get(place).is_some_and(u8::is_ascii_digit);
        place.checked_sub(1).is_some_and(is_digit) && is_digit(place + 1)
    };
    if !text.match_indices('_').all(|(place, _)| joins_digits(place)) {
        return refused("invalid syntax");
    }
    let is_infinity = amount.starts_with(['i', 'I']);
    match text.replace('_', "").parse::<f64>() {
        Ok(number) if number.is_infinite() && !is_infinity => refused("value out of range"),
        Ok(number) if number.abs() < -(i64::MIN as f64) => Ok(Node::Integer(number as i64)),
        Ok(_) => Ok(Node::Integer(i64::MIN)),
        Err(_) => refused("invalid syntax"),
    }
}
