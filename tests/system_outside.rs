//! What is outside of the daemon hangs: the file system of its configuration, a file of the kernel's.
//! The daemon answers all the same, and ends when it is to end.

mod harness;
mod system;

use harness::{Daemon, until};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use system::fuse::{Fuse, operation};
use system::namespaces::Namespaces;
use system::process;

const NEEDS: &str = "root, /dev/fuse and util-linux";
const NEEDS_ROOT: &str = "root and util-linux";
const CPU: &str = "[scrape]\ndefault_collectors = false\n[collectors.cpu]\nenabled = true\n";

/// Lets the file system answer when a test ends or fails: the daemon could not end before.
struct Release<'a>(&'a Fuse);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn start_in(namespaces: &Namespaces, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

/// Sends SIGTERM and waits until nothing is left but threads that hang in the kernel.
fn terminate(daemon: &Daemon) {
    daemon.signal("TERM");
    until("the daemon ends but for what hangs", || {
        matches!(process::state(daemon.pid()), Some('Z') | None)
    });
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_outside -- --ignored"]
fn a_start_whose_configuration_hangs_ends_at_sigterm() {
    harness::needs(NEEDS);
    let place = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let fuse = Fuse::mount(&namespaces, place.path());
    fuse.hold(&[operation::LOOKUP]);
    let mut command = namespaces.command(harness::binary());
    command.arg("--config").arg(place.path().join("config.toml"));
    let own = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::spawn_unheard(command, own, || fuse.waiting() > 0);
    let _release = Release(&fuse);
    terminate(&daemon);
    fuse.release();
    assert!(daemon.wait().success());
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_outside -- --ignored"]
fn a_configuration_that_hangs_costs_one_thread_and_one_late_answer() {
    harness::needs(NEEDS);
    let place = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let fuse = Fuse::mount(&namespaces, place.path());
    let mut daemon = start_in(&namespaces, CPU);
    let _release = Release(&fuse);
    assert_eq!(daemon.reload().status, 200);
    let threads = daemon.threads();
    let good = daemon.directory.path().join("good.toml");
    std::fs::rename(daemon.config_file(), &good).expect("the configuration");
    std::os::unix::fs::symlink(place.path().join("config.toml"), daemon.config_file())
        .expect("a link");
    fuse.hold(&[operation::LOOKUP]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| daemon.reload());
        until("the reload hangs", || fuse.waiting() > 0);
        for _ in 0..10 {
            assert_eq!(daemon.reload().status, 409);
            assert!(daemon.metrics().has("node_cpu_seconds_total"));
        }
        assert!(!first.is_finished(), "the others were answered after it");
        let answer = first.join().expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.body);
    });
    for _ in 0..10 {
        let answer = daemon.reload();
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("has not ended"), "{}", answer.body);
    }
    assert_eq!(fuse.asked(operation::LOOKUP, daemon.pid()), 1);
    daemon.has_no_more_threads_than(threads);
    assert!(daemon.metrics().has("node_cpu_seconds_total"));

    fuse.release();
    std::fs::rename(&good, daemon.config_file()).expect("the configuration");
    until("reloads work again", || daemon.reload().status == 200);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_outside -- --ignored"]
fn a_proc_stat_that_hangs_costs_what_it_tells() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_mounts();
    // As lxcfs puts its own over it.
    let fuse = Fuse::mount_on_file(&namespaces, Path::new("/proc/stat"));
    fuse.hold(&[operation::OPEN]);
    let mut daemon = start_in(&namespaces, "[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n");
    let _release = Release(&fuse);
    // The thread that serves is the one that hangs, and another one goes on.
    std::thread::scope(|scope| {
        let scrape = scope.spawn(|| daemon.metrics());
        until("it hangs", || fuse.waiting() > 0);
        assert_eq!(daemon.get("/healthz").status, 200);
        assert!(!scrape.is_finished(), "the other request was answered after the scrape");
        assert!(scrape.join().expect("an answer").has("node_load1"));
    });
    for _ in 0..3 {
        let page = daemon.metrics();
        assert!(page.has("node_memory_MemTotal_bytes") && page.has("node_load1"));
        let success = page.value("node_scrape_collector_success{collector=\"cpu\"}");
        assert_eq!(success, Some(0.0));
        assert_eq!(daemon.get("/healthz").status, 200);
        assert_eq!(daemon.reload().status, 200);
    }
    assert!(fuse.waiting() > 0);
    terminate(&daemon);
    fuse.release();
    assert!(daemon.wait().success());
}

/// A user who has no other process: root's threads are not limited.
const USER: u32 = 64_321;

/// A place of that user's with the daemon and its configuration: the user may have no access to where it was built.
fn place_of_user(config: impl FnOnce(&Path) -> String) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(place.path(), Some(USER), Some(USER)).expect("root may");
    std::fs::copy(harness::binary(), place.path().join("vitald")).expect("a copy");
    std::fs::write(place.path().join("config.toml"), config(place.path())).expect("a file");
    place
}

/// From now on the daemon can start no thread.
fn refuse_threads(daemon: &Daemon) {
    let mut limit = Command::new("prlimit");
    limit.args(["--nproc=1:1", "--pid"]).arg(daemon.pid().to_string()).uid(USER).gid(USER);
    assert!(limit.status().expect("util-linux").success());
}

#[test]
#[ignore = "needs root and util-linux: cargo test --features full --test system_outside -- --ignored"]
fn a_stop_needs_no_further_thread_to_remove_the_socket() {
    harness::needs(NEEDS_ROOT);
    let place = place_of_user(|place| {
        format!("[server]\nlisten = [\"unix:{}\"]\n{CPU}", place.join("v.sock").display())
    });
    let socket = place.path().join("v.sock");
    let mut command = Command::new(place.path().join("vitald"));
    command.arg("--config").arg(place.path().join("config.toml")).uid(USER).gid(USER);
    let own = tempfile::tempdir().expect("a directory");
    let is_up = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let mut daemon = Daemon::spawn_unheard(command, own, is_up);
    refuse_threads(&daemon);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(!socket.exists());
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_outside -- --ignored"]
fn a_collector_that_hangs_when_there_is_no_further_thread_holds_up_no_answer_and_no_stop() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_mounts();
    // Nothing is in it, so the collector looks for its files each time.
    let fuse = Fuse::mount(&namespaces, Path::new("/proc/pressure"));
    let collectors = ["loadavg", "pressure", "uname"]
        .map(|name| format!("[collectors.{name}]\nenabled = true\n"));
    let place = place_of_user(|_| {
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n\
         default_collectors = false\n"
            .to_owned()
            + &collectors.concat()
    });
    let mut command = namespaces.command("setpriv");
    command
        .args([format!("--reuid={USER}"), format!("--regid={USER}")])
        .arg("--clear-groups")
        .arg(place.path().join("vitald"))
        .arg("--config")
        .arg(place.path().join("config.toml"));
    let mut daemon = Daemon::spawn(command, tempfile::tempdir().expect("a directory"));
    let _release = Release(&fuse);
    refuse_threads(&daemon);
    // It is the same for a thread that has hung once.
    for _ in 0..2 {
        until("all collectors run", || daemon.metrics().has("node_uname_info"));
        fuse.hold(&[operation::LOOKUP]);
        std::thread::scope(|scope| {
            let scrape = scope.spawn(|| daemon.metrics());
            until("it hangs", || fuse.waiting() > 0);
            for _ in 0..3 {
                assert_eq!(daemon.get("/healthz").status, 200);
            }
            assert!(!scrape.is_finished(), "the other requests were answered after the scrape");
            let page = scrape.join().expect("an answer");
            assert!(page.has("node_load1") && !page.has("node_uname_info"));
        });
        assert!(daemon.log().contains("a thread cannot be started"), "{}", daemon.log());
        fuse.release();
    }
    until("all collectors run", || daemon.metrics().has("node_uname_info"));
    fuse.hold(&[operation::LOOKUP]);
    let mut connection = harness::Connection::open(daemon.address());
    connection.send(harness::request("GET", "/metrics", &[]));
    until("it hangs", || fuse.waiting() > 0);
    terminate(&daemon);
    fuse.release();
    assert!(daemon.wait().success());
}
