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
mod pages;
mod parsers;
mod script;

/// One thing to be fuzzed.
pub struct Target {
    /// Its name: that of the collector, or of what is parsed.
    pub name: String,
    /// Inputs to begin with.
    pub seeds: Vec<Vec<u8>>,
    /// Takes any bytes; panics when something is wrong.
    pub run: Box<dyn Fn(&[u8]) + Send + Sync>,
}

impl Target {
    fn new(name: &str, seeds: &[&str], run: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        Target { name: name.to_owned(), seeds, run: Box::new(run) }
    }
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let mut targets = collectors::targets();
    targets.extend(parsers::targets());
    targets.extend(pages::targets());
    targets
}
