//! A daemon with collectors that do not return for as long as there is a file: they compute, which nothing interrupts.

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use vitald_core::prelude::*;

const ROLL: &[&str] = &["spins", "spins_on_a_lane"];

/// Makes a collector of this name.
macro_rules! spins {
    ($module:ident, $type:ident, $name:literal, $value:literal, $may_block:literal) => {
        mod $module {
            use super::*;

            families! {
                /// Always 1.
                VALUE: gauge = $value;
            }

            settings! {
                /// It does not return as long as this file is there.
                while_there: String = "";
                /// Anything, so that its settings have changed.
                note: String = "";
            }

            register_collector!($type);

            struct $type {
                file: String,
            }

            impl Collector for $type {
                const NAME: &'static str = $name;
                const SUMMARY: &'static str = "A collector that does not return";
                const FAMILIES: &'static [FamilyInfo] = FAMILIES;
                const MAY_BLOCK: bool = $may_block;
                type Settings = Settings;

                fn open(settings: Settings, _host: &Host) -> Result<Self> {
                    let Settings { while_there, note: _ } = settings;
                    Ok($type { file: while_there })
                }

                fn collect(&mut self, batch: &mut Batch) -> Result<()> {
                    while Path::new(&self.file).exists() {
                        (0..10_000_000).for_each(|number: u32| drop(black_box(number)));
                    }
                    batch.value(&VALUE, 1);
                    Ok(())
                }
            }
        }
    };
}

spins!(queue, Spins, "spins", "spins_value", false);
spins!(lane, SpinsOnALane, "spins_on_a_lane", "spins_on_a_lane_value", true);

fn main() -> ExitCode {
    vitald::main(&[vitald_plugins::ROLL, ROLL])
}
