//! Developer commands: `cargo xtask new FOLDER/NAME --shape SHAPE`, `docs`, `tidy` and `fuzz`.
#![forbid(unsafe_code)]

mod docs;
mod files;
mod fuzz;
mod new;
mod tidy;

use fuzz::Effort;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  new FOLDER/NAME --shape SHAPE
                  write a collector that compiles and passes its tests, in plugins/src/FOLDER;
                  without a shape, list the shapes
  docs            write config.toml and docs/*.md from the collectors' descriptors
  docs --check    fail when one of them is stale
  tidy            fail at import circles and at words that were given up; list the longest files
  fuzz --seconds N [TARGET]
                  fuzz that target, or each of them, for N seconds; fail at the first crash
  fuzz --check [TARGET]
                  the same without chance, as the gate does it: try what is kept in fuzz/corpus and
                  a fixed number of inputs that follow from a fixed seed
  fuzz --input FILE TARGET
                  run one input again";

const NEW: &str = "usage: cargo xtask new FOLDER/NAME --shape SHAPE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["new", place, "--shape", shape] | ["new", "--shape", shape, place] => {
            new::new(&files::root(), place, shape)
        }
        ["new"] | ["new", _] => Err(format!("{NEW}\n\nSHAPE is one of\n{}", new::shapes())),
        ["docs"] => docs::write(&files::root()),
        ["docs", "--check"] => docs::check(&files::root()),
        ["tidy"] => tidy::check(&files::root()),
        ["fuzz", "--check"] => fuzz::each(&files::root(), Effort::Check, None),
        ["fuzz", "--check", target] => fuzz::each(&files::root(), Effort::Check, Some(target)),
        ["fuzz", "--seconds", seconds] => {
            Effort::seconds(seconds).and_then(|effort| fuzz::each(&files::root(), effort, None))
        }
        ["fuzz", "--seconds", seconds, target] => Effort::seconds(seconds)
            .and_then(|effort| fuzz::each(&files::root(), effort, Some(target))),
        ["fuzz", "--input", input, target] => fuzz::again(&files::root(), Path::new(input), target),
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
