//! `cargo xtask fuzz`: builds the fuzzer once, and runs its targets.
//!
//! Coverage comes from LLVM's own pass, which stable Rust has, too; the fuzzer is compiled for a named
//! target, so that build scripts and procedural macros are not part of it.

use crate::files::make_folder;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
     --cfg fuzzing";

/// An input may take this long, in seconds. A slow machine under load needs milliseconds.
const TIMEOUT: u32 = 10;
/// The fuzzer may have this much memory, in MiB, and allocate that much at a time.
const MEMORY: u32 = 1024;
const ALLOCATION: u32 = 256;

/// What a check begins with, so that every one of them tries the same.
const SEED: u32 = 1;
/// How many inputs a check gives each of some hundred targets: a few minutes on two processors.
const RUNS: u32 = 300;

/// How much is tried.
#[derive(Clone, Copy)]
pub enum Effort {
    /// The same at every time: the target's seeds and what is kept in git, and then what follows
    /// from a seed that is always the same. Only where code keeps a hash map, whose keys are random,
    /// may what follows differ a little.
    Check,
    /// Something else each time, for so many seconds, from what earlier runs found.
    Seconds(u32),
}

impl Effort {
    /// As it is written on the command line.
    pub fn seconds(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
        seconds
            .map(Effort::Seconds)
            .ok_or_else(|| format!("{text} is not a number of seconds from 1 on"))
    }
}

/// Where everything is.
struct Fuzzer {
    folder: PathBuf,
    program: PathBuf,
}

/// Fuzzes one target, or each of them.
pub fn each(root: &Path, effort: Effort, target: Option<&str>) -> Result<String, String> {
    let fuzzer = Fuzzer::build(root)?;
    let mut targets = fuzzer.targets()?;
    if let Some(name) = target {
        if !targets.iter().any(|known| known == name) {
            return Err(format!(
                "there is no target {name}; the targets are {}",
                targets.join(", ")
            ));
        }
        targets = vec![name.to_owned()];
    }
    let waiting = Mutex::new(targets.iter());
    let reports = Mutex::new(BTreeMap::new());
    let failed = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let next = waiting.lock().map(|mut waiting| waiting.next());
                    let Ok(Some(name)) = next else { break };
                    let report = fuzzer.fuzz(name, effort);
                    failed.fetch_or(report.is_err(), Ordering::Relaxed);
                    if let Ok(mut reports) = reports.lock() {
                        reports.insert(name, report);
                    }
                }
            });
        }
    });
    let reports = reports.into_inner().map_err(|error| error.to_string())?;
    let mut said = String::new();
    for report in reports.values() {
        said += report.as_deref().unwrap_or_default();
    }
    match reports.into_values().find_map(Result::err) {
        Some(error) => Err(format!("{said}{error}")),
        None => Ok(said.trim_end().to_owned()),
    }
}

/// Runs one input again, with everything that it prints.
pub fn again(root: &Path, input: &Path, target: &str) -> Result<String, String> {
    let fuzzer = Fuzzer::build(root)?;
    let mut command = fuzzer.command(target);
    command.arg(input);
    let status = command.status().map_err(|error| format!("the fuzzer did not start: {error}"))?;
    if status.success() {
        Ok(format!("{}: {target} takes it", input.display()))
    } else {
        Err(format!("{}: {target} fails: {status}", input.display()))
    }
}

impl Fuzzer {
    fn build(root: &Path) -> Result<Self, String> {
        let folder = root.join("fuzz");
        let status = Command::new(env!("CARGO"))
            .current_dir(&folder)
            .args(["build", "--quiet", "--locked", "--release", "--target", PLATFORM])
            .args(["--target-dir", "target"])
            .env("RUSTFLAGS", RUSTFLAGS)
            // Those of the build that this command is part of would count instead.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status()
            .map_err(|error| format!("cargo did not start: {error}"))?;
        if !status.success() {
            return Err("the fuzzer does not build; it needs a C++ compiler".to_owned());
        }
        let program = folder.join("target").join(PLATFORM).join("release/vitald-fuzz");
        Ok(Fuzzer { folder, program })
    }

    fn targets(&self) -> Result<Vec<String>, String> {
        let output = run(&mut Command::new(&self.program))?;
        let targets = String::from_utf8_lossy(&output.stdout);
        let targets: Vec<String> = targets.lines().map(str::to_owned).collect();
        if !output.status.success() || targets.is_empty() {
            return Err(format!("the fuzzer names no target: {}", output.status));
        }
        Ok(targets)
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("VITALD_FUZZ_TARGET", target)
            .env("RUST_BACKTRACE", "1")
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg(format!("-malloc_limit_mb={ALLOCATION}"));
        command
    }

    /// Fuzzes one target.
    fn fuzz(&self, target: &str, effort: Effort) -> Result<String, String> {
        let artifacts = self.folder.join("artifacts").join(target);
        make_folder(&artifacts)?;
        let mut command = self.command(target);
        command
            .args(["-max_len=16384", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        let kept = self.folder.join("corpus").join(target);
        match effort {
            Effort::Check => {
                let inputs = self.inputs(target, &kept)?;
                command
                    .arg(format!("-seed_inputs=@{}", inputs.display()))
                    .arg(format!("-seed={SEED}"))
                    // What is compared may be an address, which is another one each time.
                    .arg("-use_cmp=0")
                    .arg(format!("-runs={RUNS}"));
            }
            Effort::Seconds(seconds) => {
                let found = self.folder.join("target/corpus").join(target);
                make_folder(&found)?;
                command
                    .env("VITALD_FUZZ_SEEDS", &found)
                    .arg(format!("-max_total_time={seconds}"))
                    .arg(&found);
                if kept.is_dir() {
                    command.arg(kept);
                }
            }
        }
        let output = run(&mut command)?;
        let log = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(report(target, &log));
        }
        let artifact = log.lines().find_map(|line| line.split("Test unit written to ").nth(1));
        let how = match artifact {
            Some(input) => format!("run it again: cargo xtask fuzz --input {input} {target}"),
            None => "it left no input".to_owned(),
        };
        Err(format!("{}\n{target} failed: {}; {how}", tail(&log, 60), output.status))
    }
}

impl Fuzzer {
    /// A file that lists the target's seeds and what is kept of it. A folder would be read in the
    /// order of the file system, and other inputs would follow.
    fn inputs(&self, target: &str, kept: &Path) -> Result<PathBuf, String> {
        let check = self.folder.join("target/check");
        let seeds = check.join(target);
        // Those of an earlier build may be others.
        let _ = fs::remove_dir_all(&seeds);
        make_folder(&seeds)?;
        let mut command = self.command(target);
        let written = run(command.env("VITALD_FUZZ_SEEDS", &seeds).arg("-runs=0"))?;
        if !written.status.success() {
            let log = String::from_utf8_lossy(&written.stderr);
            return Err(format!("{}\n{target} has no seeds: {}", tail(&log, 60), written.status));
        }
        let mut inputs = files(&seeds)?;
        if kept.is_dir() {
            inputs.extend(files(kept)?);
        }
        let list = check.join(format!("{target}.inputs"));
        fs::write(&list, inputs.join(","))
            .map_err(|error| format!("{}: {error}", list.display()))?;
        Ok(list)
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<String>, String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        files.push(entry.map_err(cannot)?.path().display().to_string());
    }
    files.sort_unstable();
    Ok(files)
}

fn run(command: &mut Command) -> Result<Output, String> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))
}

/// A line of figures, from what libFuzzer says at its end.
fn report(target: &str, log: &str) -> String {
    let figure = |name: &str| {
        let line = log.lines().rev().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("?").trim().to_owned()
    };
    let covered = log.lines().rev().find_map(|line| {
        line.split_once(" cov: ").and_then(|(_, rest)| rest.split_whitespace().next())
    });
    format!(
        "figure: fuzz {target}: {} runs, {} edges covered, {} MiB at most\n",
        figure("stat::number_of_executed_units:"),
        covered.unwrap_or("?"),
        figure("stat::peak_rss_mb:"),
    )
}

fn tail(log: &str, most: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}
