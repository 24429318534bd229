//! cargo, run by a test on crates that are not part of the workspace.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    folder.canonicalize().expect("the workspace is there")
}

/// Where the workspace's own build puts things; using it shares the compiled dependencies.
pub fn shared_target() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("cargo's folder for tests is in its target folder").to_path_buf()
}

/// cargo in a folder, building into `target`: the one that runs this test.
pub fn cargo(folder: &Path, target: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    // What cargo says to this test about its own package is not true of the other.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO_CRATE_NAME"
        {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// The same, with what is compiled on the way where the workspace's own build has it; only programs are put into
/// `target`, so that they do not take the place of those that other tests run.
pub fn cargo_beside(folder: &Path, target: &Path) -> Command {
    let mut cargo = cargo(folder, target);
    cargo.env("CARGO_BUILD_BUILD_DIR", shared_target());
    cargo
}

/// Runs a command that has to succeed, and answers what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{complaint}{printed}", output.status);
    printed
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Checks that a crate outside the workspace is locked to the versions that the workspace is.
pub fn check_lock(folder: &Path) {
    let packages = |path: PathBuf| -> BTreeSet<String> {
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tables = text.split("[[package]]").skip(1);
        // What has no source is of this repository.
        let foreign = tables.filter(|table| table.contains("\nsource = "));
        foreign.map(|table| table.lines().skip(1).take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let ours = packages(workspace().join("Cargo.lock"));
    let theirs = packages(folder.join("Cargo.lock"));
    let others: Vec<_> = theirs.difference(&ours).collect();
    assert!(
        others.is_empty(),
        "{}/Cargo.lock has {others:?}, which the workspace has not: copy the workspace's Cargo.lock \
         there and run `cargo metadata --offline` beside it",
        folder.display()
    );
}
