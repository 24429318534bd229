//! `cargo xtask new` writes collectors that compile and pass their tests, one of each shape.

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

/// The words after `SHAPE is one of`, from what `cargo xtask new` says without a shape.
fn shapes(place: &Path, target: &Path) -> Vec<String> {
    let said = nested_cargo::run(cargo(place, target).args(["xtask", "new"]));
    assert!(!said.status.success(), "nothing was written, and it looks as if something was");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (_, list) = said.split_once("SHAPE is one of\n").unwrap_or_else(|| panic!("{said}"));
    let shapes: Vec<String> = list
        .lines()
        .map(|line| {
            let (shape, about) =
                line.trim_start().split_once("  ").expect("a line says what it is");
            assert!(!about.trim().is_empty(), "{shape}");
            shape.to_owned()
        })
        .collect();
    let templates = fs::read_dir(place.join("xtask/src/templates")).expect("there are templates");
    assert_eq!(shapes.len(), templates.count(), "{shapes:?}");
    shapes
}

#[test]
fn a_new_collector_of_each_shape_compiles_and_passes_its_tests() {
    if !harness::system("git and minutes of compiling") {
        return;
    }
    let place = place();
    // Not the workspace's own: cargo tells packages apart by their place in their workspace, so that
    // it would take the copy's crates for the workspace's.
    let target = place.join("target");
    for folder in ["plugins/src/kernel", "xtask/src/templates"] {
        // What an earlier run wrote, and templates that are no more.
        let _ = fs::remove_dir_all(place.join(folder));
    }
    copy_workspace(&place);

    let shapes = shapes(&place, &target);
    let names: Vec<String> = shapes.iter().map(|shape| format!("example_{shape}")).collect();
    for (shape, name) in shapes.iter().zip(&names) {
        let mut new = cargo(&place, &target);
        succeed(new.args(["xtask", "new", &format!("kernel/{name}"), "--shape", shape]));
        let made = place.join(format!("plugins/src/kernel/{name}.rs"));
        assert!(made.is_file(), "{} was not written", made.display());
    }

    let mut test = cargo(&place, &target);
    test.args(["test", "--offline", "--package", "vitald-plugins"]);
    let tested =
        nested_cargo::run(test.args(["--no-default-features", "--features", &names.join(",")]));
    let said = String::from_utf8_lossy(&tested.stdout);
    let compiled = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{compiled}{said}");
    assert!(!compiled.contains("warning"), "{compiled}");
    for name in &names {
        assert!(said.contains(&format!("{name}::tests::golden ... ok")), "{said}");
    }
    let mut format = cargo(&place, &target);
    succeed(format.args(["fmt", "--package", "vitald-plugins", "--check"]));

    // The rules for manifests and roll hold for what was written, too.
    let mut registry = cargo(&place, &target);
    registry.args(["test", "--offline", "--package", "vitald", "--test", "registry"]);
    let said = succeed(registry.arg("manifests_and_roll_name_the_same_collectors"));
    assert!(said.contains("1 passed"), "{said}");

    // A second time there is nothing to write.
    let mut again = cargo(&place, &target);
    again.args(["xtask", "new", &format!("kernel/{}", names[0]), "--shape", &shapes[0]]);
    let again = nested_cargo::run(&mut again);
    assert!(!again.status.success(), "the same collector can be made twice");
}
