//! vitald with the collector of this crate and one of vitald's own.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Naming the rolls is what links the crates.
    vitald::main(&[vitald_plugins::ROLL, uptime_collector::ROLL])
}
