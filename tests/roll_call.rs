//! A daemon whose collectors do not add up does not start, however it was compiled, and features
//! decide what is in one.

mod harness;
mod nested_cargo;

use nested_cargo::{cargo, check_lock, run, shared_target, succeed, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

const MINUTES: &str = "minutes of compiling";

fn folder() -> PathBuf {
    workspace().join("tests/roll-call")
}

/// Builds the two wrong daemons and looks what they say.
fn wrong_daemons_refuse_to_start(profile: &str) {
    check_lock(&folder());
    let target = shared_target();
    let mut cargo = cargo(&folder(), &target);
    succeed(cargo.args(["build", "--offline", "--locked", "--profile", profile]));
    let built = target.join(if profile == "dev" { "debug" } else { profile });
    for (daemon, sentence) in [
        (
            "forgets",
            "compiled in but not registered (is register_collector! missing?): forgetful\n",
        ),
        ("doubles", "registered more than once (two collectors share a NAME): twin\n"),
    ] {
        for arguments in [&["run"][..], &["--version"], &["check"]] {
            let output = run(Command::new(built.join(daemon)).args(arguments));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{daemon} {arguments:?}: {said}");
            // The end of the line, so that no collector is named that is well, such as cpu.
            assert!(said.ends_with(sentence), "{daemon} {arguments:?}: {said}");
            assert!(output.stdout.is_empty(), "{daemon} {arguments:?} prints something");
        }
    }
}

#[test]
fn a_wrong_daemon_refuses_to_start() {
    wrong_daemons_refuse_to_start("dev");
}

/// The linker sees all of the program here, and leaves out what nothing names.
#[test]
fn a_wrong_daemon_refuses_to_start_in_release() {
    if !harness::system(MINUTES) {
        return;
    }
    let profile = |manifest: PathBuf| {
        let text = std::fs::read_to_string(&manifest).expect("a manifest can be read");
        let (_, profile) = text.split_once("\n[profile.release]\n").expect("it has a profile");
        let end = profile.find("\n[").unwrap_or(profile.len());
        let lines =
            profile[..end].lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (shipped, tested) =
        (profile(workspace().join("Cargo.toml")), profile(folder().join("Cargo.toml")));
    assert_eq!(tested, shipped, "what is tested is not built as what is shipped");
    wrong_daemons_refuse_to_start("release");
}

/// What `--version` says of a daemon of the workspace with these features.
fn roll_with(features: &[&str], target: &Path) -> String {
    let mut cargo = cargo(&workspace(), target);
    succeed(cargo.args(["build", "--offline", "--locked", "--package", "vitald"]).args(features));
    let version = succeed(Command::new(target.join("debug/vitald")).arg("--version"));
    let line = version.lines().next().unwrap_or_default();
    let (_, roll) = line.split_once(" (").unwrap_or_else(|| panic!("{version} has no roll"));
    roll.trim_end_matches(')').to_owned()
}

#[test]
fn features_decide_what_is_in_a_daemon() {
    if !harness::system(MINUTES) {
        return;
    }
    // Not where the build is that is being tested, whose daemon other tests are using.
    let target = shared_target().join("tmp/features");
    assert_eq!(roll_with(&[], &target), "1 collector: cpu");
    for (features, expected) in [
        (&["--features", "disk"][..], "3 collectors: cpu diskstats filesystem"),
        (&["--no-default-features", "--features", "disk"], "2 collectors: diskstats filesystem"),
        (&["--no-default-features"], "0 collectors: none"),
    ] {
        assert_eq!(roll_with(features, &target), expected, "{features:?}");
    }
    // The last one built has no collector, and serves what it knows of itself.
    let directory = tempfile::tempdir().expect("a directory");
    let mut empty = Command::new(target.join("debug/vitald"));
    empty.env("VITALD__SERVER__LISTEN", "127.0.0.1:0");
    let daemon = harness::Daemon::spawn(empty, directory);
    let page = daemon.metrics();
    assert!(page.has("vitald_build_info") && page.has("process_cpu_seconds_total"));
    assert!(!page.has("node_cpu_seconds_total"));
}

/// A collector compiles without a warning and passes its tests when it is the only one.
#[test]
fn each_collector_builds_alone() {
    if !harness::system(MINUTES) {
        return;
    }
    // Other flags would make the workspace's own build compile everything anew.
    let target = shared_target().join("tmp/alone");
    for name in vitald_plugins::ROLL {
        let mut cargo = cargo(&workspace(), &target);
        cargo.args(["test", "--quiet", "--offline", "--locked", "--package", "vitald-plugins"]);
        succeed(
            cargo
                .args(["--no-default-features", "--features", name])
                .env("RUSTFLAGS", "-D warnings"),
        );
    }
}
