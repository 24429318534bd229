//! The pages, one file each; the status page has several.

mod collected;
pub(super) mod health;
pub(super) mod host;
mod html;
pub(super) mod plugins;
mod problems;
mod reasons;
pub(super) mod reload;
pub(super) mod scrape;
pub(super) mod status;
mod tiles;
