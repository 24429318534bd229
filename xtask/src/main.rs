//! Developer commands: `cargo xtask new GROUP/NAME`, `cargo xtask docs` and `cargo xtask fuzz`.
#![forbid(unsafe_code)]

mod docs;
mod fuzz;
mod new;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  new GROUP/NAME  write a collector that compiles and passes its tests, in plugins/src/GROUP
  docs            write config.toml and docs/*.md from the collectors' descriptors
  docs --check    fail when one of them is stale
  fuzz --seconds N [TARGET]
                  fuzz that target, or each of them, for N seconds; fail at the first crash
  fuzz --input FILE TARGET
                  run one input again";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["new", place] => new::new(&root(), place),
        ["docs"] => docs::write(&root()),
        ["docs", "--check"] => docs::check(&root()),
        ["fuzz", "--seconds", seconds] => fuzz::each(&root(), seconds, None),
        ["fuzz", "--seconds", seconds, target] => fuzz::each(&root(), seconds, Some(target)),
        ["fuzz", "--input", input, target] => fuzz::again(&root(), Path::new(input), target),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(said) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace: above this crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
