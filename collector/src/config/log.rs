//! `[log]`: how the daemon logs.

use crate::plan::{Log, LogFormat, LogLevel};
use vitald_core::prelude::*;
use vitald_core::settings::{Node, Setting, SettingInfo, Settings as _, Value};

settings! {
    /// The least severe level that is written: `"debug"`, `"info"`, `"warn"` or `"error"`.
    level: LogLevel = "info";
    /// How lines are written: `"logfmt"` (`key=value` pairs) or `"json"`.
    format: LogFormat = "logfmt";
}

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

impl Setting for LogLevel {
    const KIND: &'static str = "level";

    fn decode(value: &Value) -> Result<Self, String> {
        one_of(
            value,
            &[
                ("debug", LogLevel::Debug),
                ("info", LogLevel::Info),
                ("warn", LogLevel::Warn),
                ("error", LogLevel::Error),
            ],
        )
    }
}

impl Setting for LogFormat {
    const KIND: &'static str = "format";

    fn decode(value: &Value) -> Result<Self, String> {
        one_of(value, &[("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)])
    }
}

fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    if let Node::Text(text) = &value.node
        && let Some((_, meant)) = words.iter().find(|(word, _)| word == text)
    {
        return Ok(*meant);
    }
    let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    Err(format!("expected one of {}", words.join(", ")))
}

/// Decodes the table.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Log> {
    let Settings { level, format } = Settings::decode(table, mistakes)?;
    Some(Log { level, format })
}
