//! The vitald binary: the daemon with the collectors of this workspace.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // Naming the roll is what links the crate of collectors.
    vitald::main(&[vitald_plugins::ROLL])
}
