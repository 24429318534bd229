//! `--help` and `--help-man`, and settings by the flags that set them.

use super::flags::Shape;
use super::table::{Flag, Shell, Target};

/// Columns of the whole text, and those before the descriptions.
const WIDTH: usize = 80;
const INDENT: usize = 33;

/// What `--help` prints.
pub(super) fn page(program: &str, flags: &[Flag]) -> String {
    let mut page = format!("usage: {program} [<flags>]\n\n\nFlags:\n");
    for flag in flags.iter().filter(|flag| !flag.hidden) {
        let mut line = format!("  {}", spelled(flag));
        for (position, part) in wrapped(&told(flag, flags), WIDTH - INDENT).iter().enumerate() {
            if position > 0 || line.len() + 2 > INDENT {
                page.push_str(&line);
                page.push('\n');
                line.clear();
            }
            line = format!("{line:INDENT$}{part}");
        }
        page.push_str(&line);
        page.push('\n');
    }
    page.push('\n');
    page
}

/// What `--help-man` prints: the same as a man page.
pub(super) fn man(program: &str, flags: &[Flag]) -> String {
    let mut page = format!(
        ".TH {program} 1\n.SH NAME\n{program} \\- metrics of this host for Prometheus, by vitald\n\
         .SH SYNOPSIS\n.B {program}\n[<flags>]\n.SH OPTIONS\n"
    );
    for flag in flags.iter().filter(|flag| !flag.hidden) {
        let escape = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
        page.push_str(&format!(
            ".TP\n\\fB{}\\fR\n{}\n",
            escape(spelled(flag).trim()),
            escape(&told(flag, flags))
        ));
    }
    page
}

/// The text about a flag.
fn told(flag: &Flag, flags: &[Flag]) -> String {
    match &flag.target {
        Target::Key { path, .. } => {
            let table = path.split_last().map(|(_, table)| table.join(".")).unwrap_or_default();
            in_flags(&flag.help, &table, flags)
        }
        _ => flag.help.clone(),
    }
}

/// A text about a setting of a table, in which other settings are keys between backquotes: each becomes
/// its flag. What else is between backquotes stays as it is, without them.
pub(super) fn in_flags(text: &str, table: &str, flags: &[Flag]) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(position, part)| {
            let (key, value) = match part.split_once(" = ") {
                Some((key, value)) => (key, format!("={value}")),
                None => (part, String::new()),
            };
            let path = if key.contains('.') { key.to_owned() } else { format!("{table}.{key}") };
            let sets_it = |flag: &&Flag| match &flag.target {
                Target::Key { path: own, .. } => own.join(".") == path,
                _ => false,
            };
            let shown = flags.iter().filter(|flag| !flag.hidden).find(sets_it);
            match shown.or_else(|| flags.iter().find(sets_it)) {
                Some(flag) if position % 2 == 1 => format!("--{}{value}", flag.name),
                _ => part.to_owned(),
            }
        })
        .collect()
}

/// The flag as it is given, with its default, as kingpin shows it: without one it shows the name
/// in capitals.
fn spelled(flag: &Flag) -> String {
    let short = if flag.name == "help" { "-h, " } else { "    " };
    let name = &flag.name;
    let value = match flag.default.as_str() {
        "" => name.to_uppercase(),
        default => default.to_owned(),
    };
    match flag.shape {
        Shape::Switch => format!("{short}--[no-]{name}"),
        Shape::Once => format!("{short}--{name}={value}"),
        Shape::Many => format!("{short}--{name}={value} ..."),
    }
}

/// The names of all flags that `--help` shows, a line each.
pub(super) fn names(flags: &[Flag]) -> String {
    let shown = flags.iter().filter(|flag| !flag.hidden);
    shown
        .map(|flag| match flag.shape {
            Shape::Switch => format!("--{name}\n--no-{name}\n", name = flag.name),
            Shape::Once | Shape::Many => format!("--{}\n", flag.name),
        })
        .collect()
}

/// A script that completes the flags of the program in a shell.
pub(super) fn completion(shell: Shell, program: &str) -> String {
    let function: String =
        program.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
    let load = match shell {
        Shell::Bash => "",
        Shell::Zsh => "autoload -U +X bashcompinit && bashcompinit\n",
    };
    format!(
        "{load}_{function}_flags() {{\n    \
             local word=\"${{COMP_WORDS[COMP_CWORD]}}\"\n    \
             COMPREPLY=($(compgen -W \"$(\"${{COMP_WORDS[0]}}\" --completion-bash)\" -- \"$word\"))\n\
         }}\ncomplete -o default -F _{function}_flags {program}\n"
    )
}

/// The text in lines of at most `width` characters, at least one line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}
