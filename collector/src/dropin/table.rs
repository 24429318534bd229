//! All flags that the command line may have: node_exporter's own, and those of the collectors.

use super::flags::{self, Shape, flat};
use crate::config;
use std::time::Duration;
use vitald_core::collector::Descriptor;
use vitald_core::settings::{Node, Setting, SettingInfo};

/// A flag that the command line may have.
pub(super) struct Flag {
    /// Without the dashes.
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) target: Target,
    /// Whether `--help` leaves it out.
    pub(super) hidden: bool,
    /// For `--help`.
    pub(super) help: String,
    /// The default as `--help` shows it.
    pub(super) default: String,
}

/// A shell that completes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
}

/// What a flag is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Help,
    Man,
    Version,
    /// The names of all flags.
    Names,
    /// A script that completes them.
    Completion(Shell),
    /// A key of the configuration; `kind` as its declaration has it.
    Key {
        path: Vec<&'static str>,
        kind: &'static str,
    },
    /// Addresses to listen on.
    Listen,
    /// Whether the sockets are those that systemd hands over.
    SystemdSockets,
    /// The file with TLS and passwords.
    WebConfiguration,
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
    /// A setting with tables in it, which no flag can give: the collector and the key.
    OnlyInFile(&'static str, &'static str),
    /// What vitald cannot do; a value that asks for nothing is taken.
    Unsupported(&'static str),
}

pub(super) fn all_flags(collectors: &[&'static Descriptor]) -> Vec<Flag> {
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
    add("completion-bash", Switch, Target::Names, "", "");
    for (name, shell) in
        [("completion-script-bash", Shell::Bash), ("completion-script-zsh", Shell::Zsh)]
    {
        add(name, Switch, Target::Completion(shell), "", "");
    }
    for (name, key, default, help) in [
        ("path.procfs", "procfs", "/proc", "Where the host's procfs is mounted."),
        ("path.sysfs", "sysfs", "/sys", "Where the host's sysfs is mounted."),
        ("path.rootfs", "rootfs", "/", "The host's root directory, in front of mount points."),
        ("path.udev.data", "udev", "/run/udev/data", "The directory of udev's device data base."),
    ] {
        let target = Target::Key { path: vec!["paths", key], kind: config::PATH };
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
        Target::SystemdSockets,
        "Listen on the sockets that systemd hands over, and on no address.",
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
        Target::WebConfiguration,
        "A file with TLS, client certificates, passwords, headers and a limit of rate; it is read again when it \
         has changed.",
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
            Some(Flag { name: name.clone(), hidden: false, ..of_setting(descriptor, info) })
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
            help: format!(
                "Collect: {} (default: {}).{}",
                descriptor.summary.trim_end_matches('.'),
                if runs_by_default(descriptor) { "enabled" } else { "disabled" },
                if flags::is_collector(descriptor.name) { "" } else { OWN }
            ),
            default: String::new(),
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
    let is_spelled_otherwise = flags::KEYS.iter().any(|(spelling, key)| {
        let of_spelling = flags::SETTINGS.iter().find(|(known, ..)| known == spelling);
        *key == info.key && of_spelling.is_some_and(|(_, owner, _)| *owner == descriptor.name)
    });
    let shape = match (known, info.kind) {
        (_, <bool as Setting>::KIND) => Shape::Switch,
        (Some((.., shape)), _) => *shape,
        (None, <Vec<String> as Setting>::KIND) => Shape::Many,
        (None, _) => Shape::Once,
    };
    let default = match (info.default)() {
        Node::Text(text) if info.kind == <Duration as Setting>::KIND => text,
        // Go quotes as Rust does.
        Node::Text(text) => format!("{text:?}"),
        Node::List(items) if shape == Shape::Once => {
            let items: Vec<String> = items
                .iter()
                .filter_map(|item| match &item.node {
                    Node::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            format!("{:?}", items.join(","))
        }
        Node::Integer(number) => number.to_string(),
        Node::Float(number) => number.to_string(),
        Node::Unset | Node::Boolean(_) | Node::List(_) | Node::Table(_) => String::new(),
    };
    let target = match info.has_tables() {
        true => Target::OnlyInFile(descriptor.name, info.key),
        false => {
            Target::Key { path: vec!["collectors", descriptor.name, info.key], kind: info.kind }
        }
    };
    let mut help = info.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    if known.is_none() && !is_spelled_otherwise {
        help.push_str(OWN);
    }
    Flag {
        // node_exporter's own spelling, where it is known, is the one to show.
        name: known.map_or(name, |(spelling, ..)| format!("collector.{spelling}")),
        shape,
        target,
        // node_exporter's spelling is shown in place of one of ours.
        hidden: info.has_tables() || known.is_none() && is_spelled_otherwise,
        help,
        default,
    }
}

/// What the help says of a flag that node_exporter does not have.
const OWN: &str = " Only in vitald.";

/// Whether a collector runs when no flag names it: what node_exporter does not have is off.
pub(super) fn runs_by_default(descriptor: &Descriptor) -> bool {
    flags::COLLECTORS.iter().any(|(name, is_on)| *name == descriptor.name && *is_on)
}
