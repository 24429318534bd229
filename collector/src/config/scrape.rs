//! `[scrape]`: how collections are made and shown.

use crate::plan::Scrape;
use vitald_core::prelude::*;
use vitald_core::settings::{SettingInfo, Settings as _};

settings! {
    /// The longest a collection may take. A scraper that waits less says so in its request, and
    /// is answered before it gives up.
    timeout: Duration = "10s" in "100ms".."1h";
    /// Whether collectors run that are on by default and that no table below switches on or off.
    /// `false` leaves only those with `enabled = true`.
    default_collectors: bool = true;
    /// Whether OpenMetrics is served to those who ask for it; else everyone gets the Prometheus
    /// text format.
    openmetrics: bool = false;
    /// How long before a request a collection may have begun whose results answer it too. It lets
    /// scrapers that come together share one collection.
    max_age: Duration = "100ms" in "0s".."10s";
    /// The most samples a run of one collector may give; the rest is dropped and counted. 0 is
    /// no limit.
    max_series: u32 = 100000;
}

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// Decodes the table; the second part is the limit that collectors take over.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<(Scrape, u32)> {
    let settings = Settings::decode(table, mistakes)?;
    let scrape = Scrape {
        timeout: settings.timeout,
        default_collectors: settings.default_collectors,
        openmetrics: settings.openmetrics,
        max_age: settings.max_age,
    };
    Some((scrape, settings.max_series))
}
