//! Developer commands: `cargo xtask new FOLDER/NAME --shape SHAPE` and `cargo xtask docs`.
#![forbid(unsafe_code)]

mod docs;
mod new;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  new FOLDER/NAME --shape SHAPE
                  write a collector that compiles and passes its tests, in plugins/src/FOLDER;
                  without a shape, list the shapes
  docs            write config.toml and docs/*.md from the collectors' descriptors
  docs --check    fail when one of them is stale";

const NEW: &str = "usage: cargo xtask new FOLDER/NAME --shape SHAPE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["new", place, "--shape", shape] | ["new", "--shape", shape, place] => {
            new::new(&root(), place, shape)
        }
        ["new"] | ["new", _] => Err(format!("{NEW}\n\nSHAPE is one of\n{}", new::shapes())),
        ["docs"] => docs::write(&root()),
        ["docs", "--check"] => docs::check(&root()),
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
