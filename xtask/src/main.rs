//! Developer commands: `cargo xtask new FOLDER/NAME --shape SHAPE`, `docs`, `tidy`,
//! `fuzz`, `order`, `budgets`, `package` and `bench`.
#![forbid(unsafe_code)]

mod bench;
mod budgets;
mod counted;
mod docs;
mod files;
#[path = "../../tests/fixture_host/mod.rs"]
mod fixture_host;
mod fuzz;
#[path = "../../tests/large_host/mod.rs"]
mod large_host;
#[path = "../../tests/large_host/cost.rs"]
mod large_host_cost;
mod new;
mod order;
mod package;
#[path = "../../tests/synthetic_host/mod.rs"]
mod synthetic_host;
#[path = "../../tests/system/mod.rs"]
mod system;
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
  tidy            fail at import circles, at words that were given up and at what `new` wrote for its author to
                  replace; list the longest files
  fuzz --seconds N [TARGET]
                  fuzz that target, or each of them, for N seconds; fail at the first crash
  fuzz --check [TARGET]
                  the same without chance, as the gate does it: try what is kept in fuzz/corpus and
                  a fixed number of inputs that follow from a fixed seed
  fuzz --input FILE TARGET
                  run one input again
  budgets         write tests/budgets.txt from what a scrape costs now; needs valgrind
  counted HOST COLLECTORS
                  scrape the files of a host once for each line of standard input; this is what
                  tests/system_budgets.rs counts
  order           list in collector/order.ld which functions a scrape runs, for the linker; needs
                  valgrind, and the nm of binutils
  package [--binary FILE] [--version VERSION] [--out FOLDER]
                  write the Debian packages of a release binary into target/package; needs dpkg-dev
  bench [OPTIONS] measure what a scrape costs, beside node_exporter, collectd and the bare reads of the
                  same files, and write docs/benchmark.md; `bench --help` lists the options";

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
        ["budgets"] => budgets::write(&files::root()),
        ["counted", host, collectors] => counted::run(Path::new(host), collectors),
        ["order"] => order::write(&files::root()),
        ["package", words @ ..] => package::write(&files::root(), words),
        ["bench", words @ ..] => bench::run(&files::root(), words),
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
