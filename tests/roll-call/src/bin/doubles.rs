//! A daemon with two collectors of one name.

use std::process::ExitCode;
use vitald_core::prelude::*;

const ROLL: &[&str] = &["twin"];

/// Makes a collector named `twin`.
macro_rules! twin {
    ($module:ident, $type:ident) => {
        mod $module {
            use super::*;

            families! {
                /// Nothing that is of use.
                VALUE: gauge = "twin_value";
            }

            register_collector!($type);

            struct $type;

            impl Collector for $type {
                const NAME: &'static str = "twin";
                const SUMMARY: &'static str = "One of two collectors of this name";
                const FAMILIES: &'static [FamilyInfo] = FAMILIES;
                type Settings = ();

                fn open((): (), _host: &Host) -> Result<Self> {
                    Ok($type)
                }

                fn collect(&mut self, batch: &mut Batch) -> Result<()> {
                    batch.value(&VALUE, 1);
                    Ok(())
                }
            }
        }
    };
}

twin!(first, First);
twin!(second, Second);

fn main() -> ExitCode {
    vitald::main(&[vitald_plugins::ROLL, ROLL])
}
