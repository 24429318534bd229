//! One target.

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
    pub(crate) fn new(
        name: &str,
        seeds: &[&str],
        run: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        Target { name: name.to_owned(), seeds, run: Box::new(run) }
    }
}
