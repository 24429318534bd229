//! A collector of a third party, in a crate that knows vitald as a library only: the example
//! that third parties start from builds and runs.

mod nested_cargo;

use nested_cargo::{cargo, check_lock, shared_target, succeed, workspace};
use std::process::Command;

#[test]
fn a_crate_outside_the_workspace_adds_a_collector() {
    let folder = workspace().join("examples/out-of-tree");
    check_lock(&folder);
    let target = shared_target();
    let mut cargo = cargo(&folder, &target);
    succeed(cargo.args(["build", "--offline", "--locked"]));
    let daemon = || Command::new(target.join("debug/vitald-with-uptime"));

    let version = succeed(daemon().arg("--version"));
    assert!(version.contains("2 collectors: cpu uptime"), "{version}");

    let page = succeed(daemon().args(["once", "--format", "text", "uptime"]));
    assert!(
        page.contains("\n# TYPE example_uptime_seconds gauge\nexample_uptime_seconds "),
        "{page}"
    );
    assert!(!page.contains("node_cpu"), "only uptime was asked for: {page}");

    // It is in the manual as any other collector is.
    let config = succeed(daemon().arg("config"));
    assert!(config.contains("\n#uptime.enabled = true\n"), "{config}");
}
