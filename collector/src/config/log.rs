//! `[log]`: how the daemon logs.

use crate::plan::{Log, LogFormat, LogLevel};
use vitald_core::prelude::*;
use vitald_core::setting_words;
use vitald_core::settings::{SettingInfo, Settings as _};

settings! {
    /// The least severe level that is written: `"debug"`, `"info"`, `"warn"` or `"error"`.
    level: LogLevel = "info";
    /// How lines are written: `"logfmt"` (`key=value` pairs) or `"json"`.
    format: LogFormat = "logfmt";
}

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

setting_words! { LogLevel "level":
    "debug" => Debug,
    "info" => Info,
    "warn" => Warn,
    "error" => Error,
}
setting_words! { LogFormat "format": "logfmt" => Logfmt, "json" => Json }

/// Decodes the table.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Log> {
    let Settings { level, format } = Settings::decode(table, mistakes)?;
    Some(Log { level, format })
}
