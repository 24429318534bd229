//! A daemon whose collectors do not add up does not start, however it was compiled, and features
//! decide what is in one. A collector that never returns costs a daemon its own samples.

mod harness;
mod nested_cargo;

use nested_cargo::{cargo, cargo_beside, check_lock, run, shared_target, succeed, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const MINUTES: &str = "minutes of compiling";

/// One test at a time: what builds takes every CPU from what is measured, and so does what computes without end.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder() -> PathBuf {
    workspace().join("tests/roll-call")
}

/// Builds the two wrong daemons and looks what they say.
fn wrong_daemons_refuse_to_start(profile: &str) {
    let _alone = alone();
    check_lock(&folder());
    let target = shared_target();
    let mut cargo = cargo(&folder(), &target);
    cargo.args(["build", "--offline", "--locked", "--profile", profile]);
    succeed(cargo.args(["--bin", "forgets", "--bin", "doubles"]));
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
#[ignore = "needs minutes of compiling: cargo test --features full --test roll_call -- --ignored"]
fn a_wrong_daemon_refuses_to_start_in_release() {
    harness::needs(MINUTES);
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

/// A daemon with a collector that does not return while there is a file, beside others.
struct Spinning {
    daemon: harness::Daemon,
    name: &'static str,
    file: PathBuf,
}

/// How long a scrape of it may take.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Spinning {
    fn start(name: &'static str) -> Spinning {
        check_lock(&folder());
        let target = shared_target();
        let mut cargo = cargo(&folder(), &target);
        succeed(cargo.args(["build", "--offline", "--locked", "--bin", "spins"]));
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("spin");
        let config = directory.path().join("config.toml");
        std::fs::write(&config, Self::config(name, &file, 0)).expect("a file");
        let mut command = Command::new(target.join("debug/spins"));
        command.arg("run").arg("--config").arg(config);
        let daemon = harness::Daemon::spawn(command, directory);
        harness::until("the first collection has ended", || daemon.get("/readyz").status == 200);
        Spinning { daemon, name, file }
    }

    fn config(name: &str, file: &Path, note: usize) -> String {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n\
             default_collectors = false\n[collectors.cpu]\nenabled = true\nguest = {}\n\
             [collectors.{name}]\nenabled = true\nwhile_there = {file:?}\nnote = \"{}\"\n",
            note.is_multiple_of(2),
            // Now and then its own settings change.
            note / 10,
        )
    }

    /// A page with everything that is not the collector's own, in time.
    #[track_caller]
    fn page(&self) -> (harness::Answer, Duration) {
        let began = Instant::now();
        let page = self.daemon.metrics();
        let took = began.elapsed();
        assert!(took < TIMEOUT + Duration::from_secs(1), "{took:?}");
        assert!(page.has("node_cpu_seconds_total") && page.has("process_cpu_seconds_total"));
        (page, took)
    }

    fn succeeds(&self, page: &harness::Answer) -> bool {
        let series = format!("node_scrape_collector_success{{collector=\"{}\"}}", self.name);
        let has_value = page.has(&format!("{}_value", self.name));
        match page.value(&series) {
            Some(1.0) if has_value => true,
            Some(0.0) if !has_value => false,
            other => panic!("{other:?} {has_value}"),
        }
    }

    /// Whether a page names it as what is at fault.
    fn is_named(&self, page: &harness::Answer) -> bool {
        let state = format!("vitald_collector_state{{collector=\"{}\",state=", self.name);
        let of = |word: &str| page.value(&format!("{state}\"{word}\"}}")) == Some(1.0);
        !self.succeeds(page) && (of("timed_out") || of("stuck"))
    }

    fn threads(&self) -> usize {
        self.daemon.threads()
    }
}

fn never_returning_costs_only_itself(name: &'static str) {
    let _alone = alone();
    let mut spinning = Spinning::start(name);
    assert!(spinning.succeeds(&spinning.page().0));
    let without = spinning.threads();

    std::fs::write(&spinning.file, "").expect("a file");
    let (page, first) = spinning.page();
    assert!(spinning.is_named(&page), "{}", page.body);
    let words = format!("collector={name} ");
    harness::until("the log names it", || {
        let (page, _) = spinning.page();
        assert!(spinning.is_named(&page), "{}", page.body);
        let log = spinning.daemon.log();
        log.lines().any(|line| line.contains("has not come back") && line.contains(&words))
    });
    let status = || spinning.daemon.get(&format!("/plugins/{name}")).json();
    assert!(["timed_out", "stuck"].map(Into::into).contains(&status()["state"]), "{}", status());
    let (before, mut longest) = (spinning.threads(), Duration::ZERO);
    for _ in 0..100 {
        let (page, took) = spinning.page();
        assert!(spinning.is_named(&page), "{}", page.body);
        longest = longest.max(took);
    }
    assert!(longest < TIMEOUT / 2, "{longest:?}");
    let scraped = spinning.threads();
    let mut longest_reload = Duration::ZERO;
    for note in 1..=100 {
        let config = Spinning::config(name, &spinning.file, note);
        std::fs::write(spinning.daemon.config_file(), config).expect("a file");
        let began = Instant::now();
        let answer = spinning.daemon.reload();
        assert_eq!(answer.status, 200, "{}", answer.body);
        longest_reload = longest_reload.max(began.elapsed());
        assert!(spinning.is_named(&spinning.page().0));
    }
    let reloaded = spinning.threads();
    println!(
        "figure: {name}: the first scrape {first:?}, the longest of 100 more {longest:?}, the longest of 100 reloads \
         {longest_reload:?}; threads {without}, {before} while it computes, {scraped}, {reloaded}"
    );
    // Those that reload come and go.
    harness::until("no thread is left over", || spinning.threads() <= before);
    assert!(before <= without + 2, "{without} threads became {before}");
    let told = spinning.daemon.log().matches("has not come back").count();
    assert_eq!(told, 1, "{}", spinning.daemon.log());

    std::fs::remove_file(&spinning.file).expect("a file");
    harness::until("it is back", || spinning.succeeds(&spinning.page().0));
    harness::until("its thread has ended", || spinning.threads() <= without);

    std::fs::write(&spinning.file, "").expect("a file");
    assert!(spinning.is_named(&spinning.page().0));
    let began = Instant::now();
    spinning.daemon.signal("TERM");
    assert!(spinning.daemon.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_collector_that_never_returns_costs_only_itself() {
    never_returning_costs_only_itself("spins");
}

#[test]
fn a_collector_that_never_returns_on_a_thread_of_its_own_costs_only_itself() {
    never_returning_costs_only_itself("spins_on_a_lane");
}

/// What `--version` says of a daemon of the workspace with these features.
fn roll_with(features: &[&str], target: &Path) -> String {
    let mut cargo = cargo_beside(&workspace(), target);
    succeed(cargo.args(["build", "--offline", "--locked", "--package", "vitald"]).args(features));
    let version = succeed(Command::new(target.join("debug/vitald")).arg("--version"));
    let line = version.lines().next().unwrap_or_default();
    let (_, roll) = line.split_once(" (").unwrap_or_else(|| panic!("{version} has no roll"));
    roll.trim_end_matches(')').to_owned()
}

#[test]
#[ignore = "needs minutes of compiling: cargo test --features full --test roll_call -- --ignored"]
fn features_decide_what_is_in_a_daemon() {
    harness::needs(MINUTES);
    let _alone = alone();
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
#[ignore = "needs minutes of compiling: cargo test --features full --test roll_call -- --ignored"]
fn each_collector_builds_alone() {
    harness::needs(MINUTES);
    let _alone = alone();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // One crate keeps one processor busy, and a folder is for one build at a time.
        for lane in 0..2 {
            // Other flags would make the workspace's own build compile everything anew.
            let target = shared_target().join(format!("tmp/alone-{lane}"));
            let next = &next;
            scope.spawn(move || {
                let names = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                for name in names.map_while(|at| vitald_plugins::ROLL.get(at)) {
                    let mut cargo = cargo(&workspace(), &target);
                    cargo.args(["test", "--quiet", "--offline", "--locked", "--lib"]);
                    cargo.args(["--package", "vitald-plugins", "--no-default-features"]);
                    let said =
                        succeed(cargo.args(["--features", name]).env("RUSTFLAGS", "-D warnings"));
                    assert!(said.contains("test result: ok. "), "{name}: {said}");
                }
            });
        }
    });
    assert!(next.into_inner() >= vitald_plugins::ROLL.len());
}
