//! The shipped `config.toml`.

use super::{kind, sentence, with_stop};
use crate::config::{COLLECTOR_FIELDS, OUTPUT_FIELDS, SECTIONS};
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Node, SettingInfo};

const WIDTH: usize = 98;

/// The commented configuration. Every setting is commented out and shows its default, so the file
/// changes nothing and is valid for every build.
///
/// The headers of tables are not commented out, and a setting of a collector or an output has its name in
/// front: so a line means the same whichever others are commented out.
pub fn config_reference(
    collectors: &[&'static Descriptor],
    outputs: &[&'static OutputDescriptor],
) -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "The configuration of vitald. Lines that begin with # and a space explain; those that begin \
         with # alone are settings with their defaults: take the # away to change one. The environment \
         stands above this file: VITALD__SERVER__MAX_REQUESTS is max_requests of [server].",
    );
    comment(
        &mut text,
        "`vitald check` says what is wrong in this file, `vitald reload` makes the running daemon \
         read it again. Made by `vitald config` from what is compiled in.",
    );
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.summary);
        text.push_str(&format!("[{}]\n", section.name));
        settings(&mut text, "", section.fields);
    }
    text.push('\n');
    comment(
        &mut text,
        "The collectors. Each setting begins with the name of its collector: cpu.guest here is guest in \
         a table [collectors.cpu]. These settings are common to all, and not repeated below:",
    );
    for info in COLLECTOR_FIELDS {
        comment(&mut text, &format!("  NAME.{}: {}", info.key, sentence(info.doc)));
    }
    text.push_str("[collectors]\n");
    for descriptor in collectors {
        text.push('\n');
        comment(&mut text, &with_stop(descriptor.summary));
        if !descriptor.sources.is_empty() {
            comment(&mut text, &format!("Reads {}.", descriptor.sources.join(", ")));
        }
        if !descriptor.capabilities.is_empty() {
            let needed = descriptor.capabilities.join(", ");
            comment(
                &mut text,
                &match descriptor.lacks_without {
                    "" => format!("Needs {needed}."),
                    lacked => format!("Needs {needed}, and lacks {lacked} without."),
                },
            );
        }
        let prefix = format!("{}.", descriptor.name);
        text.push_str(&format!("#{prefix}enabled = {}\n", descriptor.enabled));
        settings(&mut text, &prefix, descriptor.settings);
    }
    text.push('\n');
    comment(&mut text, "The outputs. Each setting begins with the name of its output.");
    text.push_str("[outputs]\n");
    for descriptor in outputs {
        text.push('\n');
        comment(&mut text, &with_stop(descriptor.summary));
        let prefix = format!("{}.", descriptor.name);
        settings(&mut text, &prefix, OUTPUT_FIELDS);
        settings(&mut text, &prefix, descriptor.settings);
    }
    text
}

/// Writes the settings of a table, each key with what names the table in front.
fn settings(text: &mut String, prefix: &str, fields: &[SettingInfo]) {
    for info in fields {
        let key = format!("{prefix}{}", info.key);
        comment(text, &sentence(info.doc));
        match (info.default)() {
            // There is no value to show, so the line cannot be one to uncomment as it is.
            Node::Unset => comment(text, &format!("{key} = ... ({}; not set)", kind(info))),
            default => {
                if let Some((low, high)) = info.bounds {
                    comment(text, &format!("From {} to {}.", low(), high()));
                }
                text.push_str(&format!("#{key} = {default}\n"));
            }
        }
    }
}

/// Writes a paragraph of comment.
fn comment(text: &mut String, paragraph: &str) {
    let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
    let mut line = String::new();
    // Backquotes are for the pages: here the whole file is code.
    for word in paragraph.replace('`', "").split_whitespace() {
        if !line.is_empty()
            && indent.len() + line.chars().count() + 1 + word.chars().count() > WIDTH
        {
            text.push_str(&format!("# {indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(&format!("# {indent}{line}\n"));
}
