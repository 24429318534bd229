//! What can be fuzzed, as one list: each target takes any bytes and must neither panic, hang nor
//! grow without bound, and checks what it can of the result.
//!
//! There is one target for each registered collector, found in the registry, so that a new
//! collector is fuzzed without a line here. The others are the parsers and printers that are not
//! behind a collector.
#![forbid(unsafe_code)]

mod collectors;
#[path = "../../tests/exposition_reader/mod.rs"]
mod exposition_reader;
#[path = "../../tests/fixture_host/mod.rs"]
mod fixture_host;
mod http;
mod pages;
mod parsers;
mod protocols;
mod script;
mod target;

pub use target::Target;

/// All targets.
pub fn targets() -> Vec<Target> {
    let mut targets = collectors::targets();
    targets.extend(parsers::targets());
    targets.extend(protocols::targets());
    targets.extend(http::targets());
    targets.extend(pages::targets());
    targets
}
