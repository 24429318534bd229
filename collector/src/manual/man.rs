//! The man pages: vitald(1), from the command line, and vitald.toml(5), from the settings.

use super::{CONFIGURATION, kind, sentence, with_stop};
use crate::config::{COLLECTOR_FIELDS, OUTPUT_FIELDS, OUTPUT_TYPE, SECTIONS};
use clap::{Arg, Command};
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Node, SettingInfo};

/// What the page says that no declaration does: headings with their paragraphs.
const AFTER_THE_COMMANDS: [(&str, &[&str]); 5] = [
    (
        "EXIT STATUS",
        &[
            "0: all is well; the daemon has ended by `SIGTERM` or `SIGINT`.",
            "64: the command line is wrong. 69: the daemon that was asked does not answer. 71: the system refused \
             something, such as an address in use. 78: the configuration is wrong. 1: all else.",
            "Under the name of node_exporter 1 also says that a flag, or a file that one names, is wrong.",
            "`vitald compare` ends with 1 if something differs, and with 2 if the two could not be compared.",
        ],
    ),
    (
        "SIGNALS",
        &[
            "`SIGHUP`: the daemon reads its configuration again; a wrong one changes nothing.",
            "`SIGTERM`, `SIGINT`: it ends within ten seconds; one more after a second ends it at once.",
        ],
    ),
    (
        "ENVIRONMENT",
        &["Variables that begin with `VITALD__` stand above the file: see `vitald.toml`(5)."],
    ),
    (
        "FILES",
        &[
            "`/etc/vitald/config.toml`: the configuration of the service.",
            "`/run/vitald/vitald.sock`: where root and the user `vitald` administer the service.",
        ],
    ),
    ("SEE ALSO", &["`vitald.toml`(5), `systemctl`(1), `journalctl`(1)"]),
];

/// vitald(1), of the whole command line. `date` is what the page is dated with, such as 2026-01-31.
pub fn command_man(command: &Command, date: &str) -> String {
    let mut command = command.clone();
    // Gives each command its whole name, and the options that clap adds.
    command.build();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = Page::new("vitald", 1, date, "a host-metrics daemon for Linux");
    page.heading("SYNOPSIS");
    page.paragraph("`vitald` [OPTIONS]");
    page.paragraph("`vitald` COMMAND [OPTIONS]");
    page.heading("DESCRIPTION");
    page.paragraph(&with_stop(&about));
    page.paragraph(&command.get_after_help().map(ToString::to_string).unwrap_or_default());
    page.heading("OPTIONS");
    options(&mut page, &command);
    page.heading("COMMANDS");
    // The last one is clap's own, which tells of the others.
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        let usage = inner.render_usage().to_string();
        page.subheading(usage.trim_start_matches("Usage: "));
        page.paragraph(&with_stop(&inner.get_about().map(ToString::to_string).unwrap_or_default()));
        options(&mut page, inner);
        if let Some(text) = inner.get_after_help() {
            text.to_string().split("\n\n").for_each(|paragraph| page.paragraph(paragraph));
        }
    }
    for (heading, paragraphs) in AFTER_THE_COMMANDS {
        page.heading(heading);
        paragraphs.iter().for_each(|paragraph| page.paragraph(paragraph));
    }
    page.text
}

/// The arguments of a command, but for the one that every command has.
fn options(page: &mut Page, command: &Command) {
    for argument in command.get_arguments() {
        if !argument.is_hide_set() && argument.get_id() != "help" {
            page.item(&spelled(argument), &said(argument));
        }
    }
}

/// An argument as it is given, between backquotes what is typed.
fn spelled(argument: &Arg) -> String {
    let takes_values = argument.get_action().takes_values();
    let values: Vec<&str> =
        argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let values = if takes_values { values.join(" ") } else { String::new() };
    let short = argument.get_short().map(|short| format!("`-{short}`"));
    let long = argument.get_long().map(|long| format!("`--{long}`"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    match (names.join(", "), values) {
        (names, values) if names.is_empty() && argument.is_last_set() => format!("`--` {values}"),
        (names, values) if names.is_empty() => values,
        (names, values) if values.is_empty() => names,
        (names, values) if argument.is_require_equals_set() => format!("{names}[={values}]"),
        (names, values) => format!("{names} {values}"),
    }
}

/// What an argument is for, which values it has, and which one if none is given.
fn said(argument: &Arg) -> String {
    let help = argument.get_help().map(|help| with_stop(&sentence(&help.to_string())));
    let mut said: Vec<String> = help.into_iter().collect();
    if argument.get_action().takes_values() {
        let possible = argument.get_possible_values();
        if !argument.is_hide_possible_values_set() && !possible.is_empty() {
            let names: Vec<String> =
                possible.iter().map(|value| format!("`{}`", value.get_name())).collect();
            said.push(format!("One of {}.", names.join(", ")));
        }
        if let [default] = argument.get_default_values() {
            said.push(format!("By default `{}`.", default.to_string_lossy()));
        }
    }
    said.join(" ")
}

/// vitald.toml(5): every table and key. `date` is what the page is dated with, such as 2026-01-31.
pub fn config_man(
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
    date: &str,
) -> String {
    let mut page = Page::new("vitald.toml", 5, date, "the configuration of vitald");
    page.heading("DESCRIPTION");
    CONFIGURATION.iter().for_each(|paragraph| page.paragraph(paragraph));
    page.paragraph("The service reads `/etc/vitald/config.toml`. `vitald config` prints a file with every setting.");
    let heading = |page: &mut Page, table: &str, summary: &str| {
        page.subheading(table);
        page.paragraph(&with_stop(summary));
    };
    page.heading("SECTIONS");
    for section in SECTIONS {
        heading(&mut page, &format!("[{}]", section.name), section.summary);
        keys(&mut page, section.fields);
    }
    page.heading("COLLECTORS");
    heading(&mut page, "[collectors.NAME]", "The settings that every collector has");
    keys(&mut page, COLLECTOR_FIELDS);
    for descriptor in collectors.iter().filter(|descriptor| !descriptor.settings.is_empty()) {
        heading(&mut page, &format!("[collectors.{}]", descriptor.name), descriptor.summary);
        keys(&mut page, descriptor.settings);
    }
    page.heading("OUTPUTS");
    heading(&mut page, "[outputs.NAME]", "The settings that every output has");
    keys(&mut page, std::iter::once(OUTPUT_TYPE).chain(OUTPUT_FIELDS));
    for descriptor in outputs {
        heading(&mut page, &format!("[outputs.{}]", descriptor.name), descriptor.summary);
        keys(&mut page, descriptor.settings);
    }
    page.heading("SEE ALSO");
    page.paragraph("`vitald`(1)");
    page.text
}

fn keys<'a>(page: &mut Page, fields: impl IntoIterator<Item = &'a SettingInfo>) {
    for info in fields {
        let default = match (info.default)() {
            Node::Unset => "not set".to_owned(),
            // A backquote in it would end the code.
            default => format!("`{}`", default.to_string().replace('`', "'")),
        };
        let about = format!("({}; default: {default})", kind(info));
        page.item(&format!("`{}`", info.key), &format!("{about} {}", sentence(info.doc)));
    }
}

/// A page in the macros of man(7).
struct Page {
    text: String,
}

impl Page {
    /// One with its title and its name.
    fn new(name: &str, section: u8, date: &str, about: &str) -> Page {
        let version = env!("CARGO_PKG_VERSION");
        let title = escaped(&name.to_uppercase());
        // Long code leaves lines with too few words to be drawn out to the margin.
        let text = format!(".TH \"{title}\" {section} \"{date}\" \"vitald {version}\"\n.ad l\n");
        let mut page = Page { text };
        page.heading("NAME");
        page.text.push_str(&format!("{} \\- {}\n", escaped(name), escaped(about)));
        page
    }

    fn heading(&mut self, heading: &str) {
        self.text.push_str(&format!(".SH \"{}\"\n", escaped(heading)));
    }

    fn subheading(&mut self, heading: &str) {
        self.text.push_str(&format!(".SS \"{}\"\n", escaped(heading)));
    }

    /// A paragraph, in which code is between backquotes.
    fn paragraph(&mut self, paragraph: &str) {
        if paragraph.is_empty() {
            return;
        }
        // The line of a heading is followed by text without a macro for it.
        let is_first = self.text.lines().last().is_some_and(|line| line.starts_with(".S"));
        if !is_first {
            self.text.push_str(".PP\n");
        }
        self.line(paragraph);
    }

    /// An item of a list: what it is about, and what is said of it.
    fn item(&mut self, about: &str, said: &str) {
        self.text.push_str(".TP\n");
        self.line(about);
        self.line(said);
    }

    fn line(&mut self, text: &str) {
        let text = sentence(text);
        let mut line = String::new();
        for (position, part) in text.split('`').enumerate() {
            match position % 2 {
                0 => line.push_str(&escaped(part)),
                _ => line.push_str(&format!("\\fB{}\\fR", escaped(part))),
            }
        }
        // There it would be a request to the formatter.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        self.text.push_str(&format!("{guard}{line}\n"));
    }
}

/// Text in which nothing is a request to the formatter, and signs that are typed stay what they are.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '"' => escaped.push_str("\\(dq"),
            '\'' => escaped.push_str("\\(aq"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            other => escaped.push(other),
        }
    }
    escaped
}
