//! `cargo xtask new` writes a collector that compiles and passes its tests.

mod harness;
mod nested_cargo;

use nested_cargo::{cargo, succeed, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies what belongs to the workspace, and nothing that git ignores.
fn copy_workspace(to: &Path) {
    let mut git = Command::new("git");
    git.current_dir(workspace());
    let listed =
        succeed(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    for file in listed.split_terminator('\0') {
        let from = workspace().join(file);
        // A file that was deleted and not committed yet is listed, too.
        let Ok(content) = fs::read(&from) else { continue };
        let copy = to.join(file);
        // A file that did not change keeps its time, so that it is not compiled anew.
        if fs::read(&copy).is_ok_and(|known| known == content) {
            continue;
        }
        fs::create_dir_all(copy.parent().unwrap_or(to)).expect("a folder can be made");
        fs::write(&copy, content).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    }
}

/// In the same place each time, so that what is compiled there can be used again.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("xtask-new")
}

#[test]
fn a_new_collector_compiles_and_passes_its_tests() {
    if !harness::system("git and minutes of compiling") {
        return;
    }
    let place = place();
    // Not the workspace's own: cargo tells packages apart by their place in their workspace, so that
    // it would take the copy's crates for the workspace's.
    let target = place.join("target");
    let made = place.join("plugins/src/kernel/example_thing.rs");
    let _ = fs::remove_file(&made);
    copy_workspace(&place);

    let mut new = cargo(&place, &target);
    succeed(new.args(["xtask", "new", "kernel/example_thing"]));
    assert!(made.is_file(), "{} was not written", made.display());

    let mut test = cargo(&place, &target);
    test.args(["test", "--offline", "--package", "vitald-plugins"]);
    let said = succeed(test.args(["--no-default-features", "--features", "example_thing"]));
    assert!(said.contains("example_thing::tests::golden ... ok"), "{said}");

    // The rules for manifests and roll hold for what was written, too.
    let mut registry = cargo(&place, &target);
    registry.args(["test", "--offline", "--package", "vitald", "--test", "registry"]);
    let said = succeed(registry.arg("manifests_and_roll_name_the_same_collectors"));
    assert!(said.contains("1 passed"), "{said}");

    // A second time there is nothing to write.
    let mut again = cargo(&place, &target);
    let again = nested_cargo::run(again.args(["xtask", "new", "kernel/example_thing"]));
    assert!(!again.status.success(), "the same collector can be made twice");
}
