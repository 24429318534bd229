//! The settings that every `[outputs.NAME]` has.

use std::time::Duration;
use vitald_core::prelude::*;
use vitald_core::settings::{SettingInfo, Settings as _};

settings! {
    /// Whether it runs.
    enabled: bool = false;
    /// How often it is given a snapshot.
    interval: Duration = "5s" in "1s".."1h";
    /// The collectors it is given; an empty list is all that are on.
    collectors: Vec<String> = [""; 0];
}

/// What is declared of the keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// The decoded settings.
pub(super) struct Common {
    pub(super) enabled: bool,
    pub(super) interval: Duration,
    pub(super) collectors: Vec<String>,
}

/// Decodes the keys; the table holds no others.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Common> {
    let Settings { enabled, interval, collectors } = Settings::decode(table, mistakes)?;
    Some(Common { enabled, interval, collectors })
}
