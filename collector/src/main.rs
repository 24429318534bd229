//! The vitald binary: the daemon with the collectors of this workspace.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // The roll is the promise that the linked registry is checked against.
    vitald::main(&[vitald_plugins::ROLL])
}
