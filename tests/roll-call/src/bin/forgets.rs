//! A daemon with a collector that is on the roll and has forgotten to register.

use std::process::ExitCode;
use vitald_core::prelude::*;

const ROLL: &[&str] = &["forgetful"];

families! {
    /// Nothing that is of use.
    VALUE: gauge = "forgetful_value";
}

/// Only its `register_collector!` is missing.
#[allow(dead_code, reason = "that nothing names it is what is wrong with it")]
struct Forgetful;

impl Collector for Forgetful {
    const NAME: &'static str = "forgetful";
    const SUMMARY: &'static str = "A collector that has forgotten to register";
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    type Settings = ();

    fn open((): (), _host: &Host) -> Result<Self> {
        Ok(Forgetful)
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        batch.value(&VALUE, 1);
        Ok(())
    }
}

fn main() -> ExitCode {
    vitald::main(&[vitald_plugins::ROLL, ROLL])
}
