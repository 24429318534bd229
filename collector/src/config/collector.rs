//! The settings that every `[collectors.NAME]` has.

use std::time::Duration;
use vitald_core::prelude::*;
use vitald_core::settings::{SettingInfo, Settings as _};

settings! {
    /// Whether it runs.
    enabled: Option<bool> = UNSET;
    /// How often it is refreshed in the background; a scrape then gets the last result. Without
    /// one it runs when a client asks.
    interval: Option<Duration> = UNSET in "1s".."1h";
    /// The most samples a run may give; `max_series` of `[scrape]` unless set.
    max_series: Option<u32> = UNSET;
}

/// What is declared of the keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// The decoded settings.
pub(super) struct Common {
    pub(super) enabled: Option<bool>,
    pub(super) interval: Option<Duration>,
    pub(super) max_series: Option<u32>,
}

/// Decodes the keys; the table holds no others.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Common> {
    let Settings { enabled, interval, max_series } = Settings::decode(table, mistakes)?;
    Some(Common { enabled, interval, max_series })
}
