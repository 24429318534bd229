//! The pages, one file each.

pub(super) mod health;
pub(super) mod plugins;
pub(super) mod reload;
pub(super) mod scrape;
pub(super) mod status;
