//! Kernels older than the one here.

mod exposition_reader;
mod harness;

use harness::{Answer, Daemon};
use std::collections::BTreeSet;
use std::process::Command;

/// The system calls that came after Linux 4.18 and that strace knows. The first is `io_uring_setup` of
/// 5.1; the numbers are those of every architecture.
const NEWER: std::ops::RangeInclusive<u32> = 425..=450;

/// The families of the host's metrics.
fn families(page: &Answer) -> BTreeSet<String> {
    let read = exposition_reader::read(&page.bytes).expect("a valid page");
    let names = read.families.into_iter().map(|family| family.name);
    names.filter(|name| !name.starts_with("vitald_")).collect()
}

#[track_caller]
fn assert_same(here: &BTreeSet<String>, there: &BTreeSet<String>) {
    let differing: Vec<&String> = here.symmetric_difference(there).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

#[test]
#[ignore = "needs root and strace: cargo test --features full --test system_kernels -- --ignored"]
fn nothing_needs_a_system_call_newer_than_4_18() {
    harness::needs("root and strace");
    let mut config = String::new();
    // What portable shows of a while is there from its second collection on.
    for name in vitald_plugins::ALL.iter().filter(|name| **name != "portable") {
        config += &format!("[collectors.{name}]\nenabled = true\n");
    }
    let trace = tempfile::NamedTempFile::new().expect("a file");
    let newer: Vec<String> = NEWER.map(|number| number.to_string()).collect();
    let newer = newer.join(",");
    let old = Daemon::start_by(&config, |command| {
        let mut strace = Command::new("strace");
        // The daemon stays the child of this process, so that it ends with it.
        strace.args(["-D", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none"]);
        strace.args(["-e", &format!("trace={newer}")]);
        strace.args(["-e", &format!("inject={newer}:error=ENOSYS")]);
        strace.arg("-o").arg(trace.path()).arg(command.get_program()).args(command.get_args());
        *command = strace;
    });
    let new = Daemon::start(&config);
    let (there, here) = (families(&new.metrics()), families(&old.metrics()));
    assert!(there.len() > 200, "{there:?}");
    assert_same(&here, &there);
    assert_eq!(old.reload().status, 200);
    assert_same(&families(&old.metrics()), &there);
    let refused = std::fs::read_to_string(trace.path()).expect("strace writes what it sees");
    // The C library tries clone3 first.
    assert!(refused.contains("clone3") && refused.contains("ENOSYS"), "{refused}");
}
