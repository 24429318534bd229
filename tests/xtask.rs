//! `cargo xtask new` writes collectors that compile and pass their tests, one of each shape;
//! `cargo xtask bench` measures and says what is wrong.

mod harness;
mod nested_cargo;

use nested_cargo::{cargo, cargo_beside, succeed, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies what belongs to the workspace, and nothing that git ignores. cargo tells packages apart by their place in their
/// workspace and their version, so the copy has another version: what is compiled of it is not taken for the
/// workspace's own, and both share what is compiled of others.
fn copy_workspace(to: &Path) {
    let mut git = Command::new("git");
    git.current_dir(workspace());
    let listed =
        succeed(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    for file in listed.split_terminator('\0') {
        let from = workspace().join(file);
        // A file that was deleted and not committed yet is listed, too.
        let Ok(mut content) = fs::read(&from) else { continue };
        if file == "Cargo.toml" {
            let text = String::from_utf8(content).expect("a manifest is text");
            let own = "[workspace.package]\nversion = \"0.1.0\"";
            assert!(text.contains(own), "the version of the workspace is not where it was");
            content = text.replace(own, "[workspace.package]\nversion = \"0.1.999\"").into_bytes();
        }
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

/// The developer commands, built where the others build them and working on the copy.
fn xtask(place: &Path) -> Command {
    let mut build = cargo(&workspace(), &nested_cargo::shared_target());
    succeed(build.args(["build", "--offline", "--locked", "--package", "xtask"]));
    let mut xtask = Command::new(nested_cargo::shared_target().join("debug/xtask"));
    xtask.current_dir(place).env("CARGO_MANIFEST_DIR", place.join("xtask"));
    xtask
}

/// The words after `SHAPE is one of`, from what `cargo xtask new` says without a shape.
fn shapes(place: &Path) -> Vec<String> {
    let said = nested_cargo::run(xtask(place).arg("new"));
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
#[ignore = "needs git and minutes of compiling: cargo test --features full --test xtask -- --ignored"]
fn a_new_collector_of_each_shape_compiles_and_passes_its_tests() {
    harness::needs("git and minutes of compiling");
    let place = place();
    let target = place.join("target");
    for folder in ["plugins/src/kernel", "xtask/src/templates", "tests/fixtures/hosts"] {
        // What an earlier run wrote, and templates that are no more.
        let _ = fs::remove_dir_all(place.join(folder));
    }
    copy_workspace(&place);

    let shapes = shapes(&place);
    let names: Vec<String> = shapes.iter().map(|shape| format!("example_{shape}")).collect();
    for (shape, name) in shapes.iter().zip(&names) {
        succeed(xtask(&place).args(["new", &format!("kernel/{name}"), "--shape", shape]));
        let made = place.join(format!("plugins/src/kernel/{name}.rs"));
        assert!(made.is_file(), "{} was not written", made.display());
    }

    let mut test = cargo_beside(&place, &target);
    test.args(["test", "--offline", "--package", "vitald-plugins"]);
    let tested =
        nested_cargo::run(test.args(["--no-default-features", "--features", &names.join(",")]));
    let said = String::from_utf8_lossy(&tested.stdout);
    let compiled = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{compiled}{said}");
    assert!(!compiled.contains("warning"), "{compiled}");
    assert!(compiled.contains("vitald-plugins v0.1.999"), "{compiled}");
    for name in &names {
        assert!(said.contains(&format!("{name}::tests::golden ... ok")), "{said}");
    }
    let mut format = cargo(&place, &target);
    succeed(format.args(["fmt", "--package", "vitald-plugins", "--check"]));

    // What was written is named everywhere, and reads what the host was given.
    let mut registry = cargo_beside(&place, &target);
    registry.args(["test", "--offline", "--package", "vitald", "--test", "registry"]);
    registry.args(["--no-default-features", "--features", &names.join(","), "--"]);
    let said = succeed(registry.args([
        "manifests_and_roll_name_the_same_collectors",
        "a_collector_reads_what_its_sources_say_and_no_more",
    ]));
    assert!(said.contains("2 passed"), "{said}");

    // What their authors have not replaced yet is named.
    let untidy = nested_cargo::run(xtask(&place).arg("tidy"));
    let said = String::from_utf8_lossy(&untidy.stderr);
    assert!(!untidy.status.success(), "{said}");
    for name in &names {
        for line in said.lines().filter(|line| line.contains(&format!("/{name}.rs:"))) {
            assert!(line.contains("a placeholder is left: "), "{line}");
        }
        assert!(said.contains(&format!("plugins/src/kernel/{name}.rs:")), "{name}: {said}");
    }

    // A second time there is nothing to write.
    let mut again = xtask(&place);
    again.args(["new", &format!("kernel/{}", names[0]), "--shape", &shapes[0]]);
    let again = nested_cargo::run(&mut again);
    assert!(!again.status.success(), "the same collector can be made twice");
}

/// What does not depend on time of a quick run. Its figures are not looked at.
#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, iproute2, prometheus-node-exporter, collectd-core, libmicrohttpd12 and libprotobuf-c1: cargo test --features full --test xtask -- --ignored"]
fn a_quick_benchmark_fills_every_table() {
    harness::needs(
        "root, VITALD_RELEASE, strace, iproute2, prometheus-node-exporter, collectd-core, libmicrohttpd12 and libprotobuf-c1",
    );
    let release =
        harness::release_binary().expect("VITALD_RELEASE is the path of the release binary");
    let folder = tempfile::tempdir().expect("a directory");
    let output = folder.path().join("benchmark.md");
    let mut bench = cargo(&workspace(), &nested_cargo::shared_target());
    bench.args(["xtask", "bench", "--quick", "--binary"]);
    // On a busy machine the command fails, and the tables are there.
    let said = nested_cargo::run(bench.arg(release).arg("--output").arg(&output));
    let text = fs::read_to_string(&output)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said.stderr)));
    let has = |line: &dyn Fn(&[&str]) -> bool| {
        text.lines().any(|text| line(&text.split('|').map(str::trim).collect::<Vec<_>>()))
    };
    // The first and the last cell are before and behind the row.
    let number = |cell: &str| cell.parse::<f64>().is_ok_and(|number| number > 0.0);
    let sets: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("## The set ")).collect();
    assert_eq!(sets, ["`sixteen`", "`fixed`", "`default`"]);
    for program in ["vitald", "vitald again", "bare reader", "node_exporter"] {
        let counts_calls = |row: &[&str]| row.len() == 10 && row[1] == program && number(row[8]);
        assert!(has(&counts_calls), "no system calls of {program}:\n{text}");
    }
    let programs = ["vitald", "vitald again", "bare reader", "node_exporter", "collectd"];
    for (regime, programs) in [("back to back", &programs[..4]), ("2 Hz", &programs)] {
        for program in programs {
            let is_filled = |row: &[&str]| {
                row.len() == 8
                    && row[1..3] == [regime, *program]
                    && row[3..7].iter().all(|cell| number(cell))
            };
            assert!(has(&is_filled), "no times of {program}, {regime}:\n{text}");
        }
    }
    // What it reads is what vitald reads, and there is something that vitald does besides.
    let is_same = |line: &&str| line.contains(" vitald was seen to read and to ask the same, ");
    let same: Vec<&str> = text.lines().filter(is_same).collect();
    assert_eq!(same.len(), sets.len(), "{text}");
    assert!(same.iter().all(|line| line.contains(" a scrape more than it.")), "{same:#?}");
    for (form, program) in [("text, gzip", "node_exporter"), ("OpenMetrics, gzip", "vitald")] {
        let is_there =
            |row: &[&str]| row.len() == 7 && row[1] == form && row[2] == program && number(row[3]);
        assert!(has(&is_there), "no {form} of {program}:\n{text}");
    }
    for set in ["sixteen", "default"] {
        for program in ["vitald", "vitald again", "node_exporter"] {
            // Of the kernel there are `lo` and 50 pairs, and 20 mounts beside those of the machine.
            let is_host = |row: &[&str]| {
                row.len() == 12
                    && row[1..3] == [set, "101"]
                    && row[3].parse::<usize>().is_ok_and(|mounts| mounts > 20)
                    && row[4] == program
                    && number(row[6])
            };
            assert!(has(&is_host), "no {set} of {program} on many interfaces:\n{text}");
        }
    }
    for (cpus, disks) in [("64", "250"), ("128", "500")] {
        let is_host =
            |row: &[&str]| row.len() == 12 && row[1] == cpus && row[2] == disks && number(row[6]);
        assert!(has(&is_host), "no host with {cpus} CPUs:\n{text}");
    }
    let is_ratio = |cell: &str| cell.split_once(" [").is_some_and(|(middle, _)| number(middle));
    let start = |row: &[&str]| row.len() == 7 && row[1] == "vitald" && is_ratio(row[5]);
    assert!(has(&start), "no time of the first page:\n{text}");
    // Of two hosts and few scrapes it may be anything.
    let is_exponent = |cell: &str| {
        cell.split_once(" [").is_some_and(|(middle, _)| middle.parse().is_ok_and(f64::is_finite))
    };
    for program in ["vitald", "node_exporter"] {
        let grows = |row: &[&str]| row.len() == 4 && row[1] == program && is_exponent(row[2]);
        assert!(has(&grows), "no exponent of {program}:\n{text}");
    }
}

#[test]
#[ignore = "needs minutes of compiling: cargo test --features full --test xtask -- --ignored"]
fn a_benchmark_says_what_is_wrong_with_its_arguments() {
    harness::needs("minutes of compiling");
    for (arguments, expected) in [
        (["--sets", "fourteen"], "there is no set fourteen; the sets are sixteen, fixed, default"),
        (["--rates", "often"], "often is not a number of scrapes a second from 1/60 to 5"),
        (["--binary", "/no/such"], "/no/such: there is no such file"),
    ] {
        let mut bench = cargo(&workspace(), &nested_cargo::shared_target());
        let said = nested_cargo::run(bench.args(["xtask", "bench"]).args(arguments));
        assert!(!said.status.success());
        assert_eq!(String::from_utf8_lossy(&said.stderr).trim_end(), expected);
    }
}
