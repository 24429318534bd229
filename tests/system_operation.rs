//! Faults of operation that take root to cause: little memory, hardly any CPU time, a process that is suspended or
//! traced, signals at every point of the start, an engine that hangs under systemd's watchdog, a full disk.

mod harness;
mod system;

use harness::{Connection, Daemon, Over, Running, until};
use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use system::cgroup::Cgroup;
use system::fuse::{Fuse, operation};
use system::namespaces::Namespaces;
use system::process;

const NEEDS: &str = "root, strace, gdb, procps and util-linux";
const NEEDS_FUSE: &str = "root, /dev/fuse and util-linux";
const NEEDS_CGROUP: &str = "root and control groups";
const CPU: &str = "[scrape]\ndefault_collectors = false\n[collectors.cpu]\nenabled = true\n";
const MEBIBYTE: u64 = 1 << 20;

/// The binary that is measured, where there is one.
fn measured(command: &mut Command) {
    if let Some(binary) = harness::release_binary() {
        let mut release = Command::new(binary);
        release.args(command.get_args());
        *command = release;
    }
}

/// A service manager that hears what the daemon says.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(place: &Path) -> Manager {
        let path = place.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Manager { socket, path }
    }

    /// The next message; nothing if there is none for so long.
    fn hear(&self, within: Duration) -> Option<String> {
        let mut message = [0; 4096];
        self.socket.set_read_timeout(Some(within)).expect("a socket");
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Whether the watchdog is fed within a time.
    fn is_fed(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.hear(left.max(Duration::from_millis(1))) {
                Some(message) if message.contains("WATCHDOG=1") => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}

fn states(daemon: &Daemon, state: &str) -> Vec<String> {
    let page = daemon.metrics();
    let of_state = format!("state=\"{state}\"}} 1");
    let lines = page.body.lines().filter(|line| line.starts_with("vitald_collector_state{"));
    lines.filter(|line| line.ends_with(&of_state)).map(str::to_owned).collect()
}

// Little of everything.

/// With a little less than it needs it was ended by the first piece of memory that there was not, or by a thread.
#[test]
#[ignore = "needs VITALD_RELEASE: cargo test --features full --test system_operation -- --ignored"]
fn too_little_address_space_is_a_sentence() {
    harness::needs("VITALD_RELEASE");
    let release = harness::release_binary().expect("VITALD_RELEASE names the release binary");
    // In KiB; with much less the system's own loader gives up.
    for limit in [12 << 10, 14 << 10, (24 << 10) - 4] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {limit} && exec \"$0\" run")]).arg(&release);
        command.env("VITALD__SERVER__LISTEN", "127.0.0.1:0");
        let (status, _, said) = harness::output(&mut command);
        assert_eq!(status, 71, "{limit}: {said}");
        assert!(said.contains("the address space is limited to"), "{limit}: {said}");
    }
}

#[test]
#[ignore = "needs root and control groups: cargo test --features full --test system_operation -- --ignored"]
fn sixteen_mebibytes_are_enough() {
    harness::needs(NEEDS_CGROUP);
    let group = Cgroup::with("memory");
    group.limit_memory(16 * MEBIBYTE);
    let mut daemon = Daemon::start_by("", |command| {
        measured(command);
        group.hold(command);
    });
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    for round in 0..60 {
        let form: &[(&str, &str)] =
            if round % 2 == 0 { &[] } else { &[("Accept-Encoding", "gzip")] };
        assert_eq!(daemon.ask("GET", "/metrics", form).status, 200);
    }
    let running = (daemon.status("VmRSS"), group.most_memory() >> 10);
    for round in 0..50 {
        let on = round % 2 == 0;
        daemon.replace_config(&format!("[collectors.loadavg]\nenabled = {on}\n"));
        assert_eq!(daemon.reload().status, 200);
        assert!(daemon.metrics().has("node_memory_MemTotal_bytes"));
    }
    let reloaded = (daemon.status("VmRSS"), group.most_memory() >> 10);
    // Of a MiB each; the word keeps the harness from adding a listener.
    let of =
        |text: &str| format!("# listen\n{}", text.repeat((MEBIBYTE as usize - 100) / text.len()));
    let deep = format!("[{}]\n", ["k"; 79].map(|key| key.repeat(5_000)).join("."));
    let below = (0..5_000).map(|number| format!("k{number} = {{}}\n")).collect::<String>();
    let junk = [
        of("= =\n"),
        of("\n"),
        of("[a]\n"),
        of("["),
        of("a."),
        of("\"a\" "),
        of("{"),
        of("'"),
        of("a "),
        of("k = 1\n"),
        of("\0"),
        of("\u{fffd}"),
        of("k = 1 # x\n"),
        of("#\n"),
        of("a=\"\\n\"\n"),
        format!("# listen\n{deep}{below}"),
        format!("# listen\n[{}]\n{below}", "k".repeat(900_000)),
    ];
    for text in junk {
        daemon.replace_config(&text);
        let answer = daemon.reload();
        let begin: String = text.chars().skip(9).take(9).collect();
        println!("{begin:?}: {}, KiB at most {}", answer.status, group.most_memory() >> 10);
        assert_eq!(answer.status, 422, "{begin:?}: {}", answer.body);
        assert!(answer.body.len() < 100_000, "{begin:?}: {}", answer.body.len());
    }
    println!(
        "figure: KiB resident, and at most in the group: scraped {running:?}, reloaded {reloaded:?}, \
         after junk {:?}",
        (daemon.status("VmRSS"), group.most_memory() >> 10)
    );
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
}

#[test]
#[ignore = "needs root and control groups: cargo test --features full --test system_operation -- --ignored"]
fn one_percent_of_a_cpu_is_enough() {
    harness::needs(NEEDS_CGROUP);
    const WATCHDOG: Duration = Duration::from_secs(3);
    let group = Cgroup::with("cpu");
    let place = tempfile::tempdir().expect("a directory");
    let manager = Manager::new(place.path());
    let daemon = Daemon::start_by("", |command| {
        measured(command);
        command.env("NOTIFY_SOCKET", &manager.path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        group.hold(command);
    });
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    group.limit_cpu(1_000);
    let (mut longest, mut gap) = (Duration::ZERO, Duration::ZERO);
    let mut fed = Instant::now();
    for _ in 0..8 {
        let began = Instant::now();
        daemon.metrics();
        longest = longest.max(began.elapsed());
        // A second between two scrapes.
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            if manager.is_fed(until.saturating_duration_since(Instant::now())) {
                gap = gap.max(std::mem::replace(&mut fed, Instant::now()).elapsed());
                fed = Instant::now();
            }
        }
    }
    daemon.replace_config("[collectors.loadavg]\nenabled = false\n");
    let began = Instant::now();
    assert_eq!(daemon.reload().status, 200);
    println!(
        "figure: at 1 % of a CPU the longest scrape {longest:?}, a reload {:?}, longest without a feed {gap:?}",
        began.elapsed()
    );
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    assert!(gap < WATCHDOG, "{gap:?}");
    let complaints = daemon.log().matches("has not come back").count();
    assert_eq!(complaints, 0, "{}", daemon.log());
    assert_eq!(states(&daemon, "stuck"), Vec::<String>::new());
}

// Suspended and traced.

/// What four clients get while something is done to the daemon. It begins when each has had a page.
fn under_load(daemon: &Daemon, work: impl FnOnce()) -> u64 {
    let (is_over, scrapes) = (AtomicBool::new(false), AtomicU64::new(0));
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(daemon.address());
                for round in 0.. {
                    assert!(connection.get("/metrics").has("node_exporter_build_info"));
                    scrapes.fetch_add(1, Ordering::Relaxed);
                    served.fetch_add(u64::from(round == 0), Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        until("each client has had a page", || served.load(Ordering::Relaxed) == 4);
        work();
    });
    scrapes.into_inner()
}

/// How many threads a daemon has that has run all its collectors, and so has their lanes.
fn threads_at_work(daemon: &Daemon) -> usize {
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    under_load(daemon, || {});
    daemon.threads()
}

/// Asserts that nothing is left of a suspension: all is collected, by as many threads as before, and little was said.
fn assert_well(daemon: &Daemon, threads: usize, suspensions: usize) {
    until("everything is collected", || {
        states(daemon, "stuck").is_empty()
            && states(daemon, "timed_out").is_empty()
            && daemon.metrics().has("node_load1")
    });
    daemon.has_no_more_threads_than(threads);
    let complaints = daemon.log().matches("level=warn").count();
    // At most what was out at that moment.
    assert!(complaints <= 8 * suspensions, "{}", daemon.log());
}

#[test]
#[ignore = "needs root and control groups: cargo test --features full --test system_operation -- --ignored"]
fn after_a_suspension_everything_goes_on() {
    harness::needs(NEEDS_CGROUP);
    let group = Cgroup::that_freezes();
    let place = tempfile::tempdir().expect("a directory");
    let manager = Manager::new(place.path());
    let daemon = Daemon::start_by("[scrape]\ntimeout = \"1s\"\nmax_age = \"0s\"\n", |command| {
        command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "600000");
        group.hold(command);
    });
    let threads = threads_at_work(&daemon);
    // Longer than the timeout of a scrape and the limit of the watchdog.
    let suspended = Duration::from_millis(1500);
    const EACH: usize = 3;
    let scrapes = under_load(&daemon, || {
        for round in 0..2 * EACH {
            if round % 2 == 0 {
                daemon.signal("STOP");
            } else {
                group.freeze(true);
            }
            while manager.hear(suspended).is_some() {}
            if round % 2 == 0 {
                daemon.signal("CONT");
            } else {
                group.freeze(false);
            }
            assert!(manager.is_fed(Duration::from_secs(5)), "it is not fed after round {round}");
        }
    });
    println!("{scrapes} scrapes beside {} suspensions", 2 * EACH);
    assert_well(&daemon, threads, 2 * EACH);
}

#[test]
#[ignore = "needs root, strace, gdb, procps and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn being_traced_changes_nothing() {
    harness::needs(NEEDS);
    let daemon = Daemon::start("[scrape]\ntimeout = \"1s\"\nmax_age = \"0s\"\n");
    let threads = threads_at_work(&daemon);
    let place = tempfile::tempdir().expect("a directory");
    let mut calls = 0;
    let scrapes = under_load(&daemon, || {
        let (seen, _) = system::trace::system_calls(daemon.pid(), || {
            (0..20).for_each(|_| drop(daemon.metrics()));
        });
        calls = seen.values().sum();
        let gdb = Command::new("gdb")
            .args(["--batch", "-nx", "-p", &daemon.pid().to_string()])
            .args(["-ex", "info threads", "-ex", "shell sleep 2", "-ex", "detach"])
            .current_dir(place.path())
            .output()
            .expect("gdb");
        assert!(gdb.status.success(), "{}", String::from_utf8_lossy(&gdb.stderr));
    });
    println!("{scrapes} scrapes beside strace, which saw {calls} calls, and gdb");
    assert!(calls > 0);
    assert_well(&daemon, threads, 2);
}

#[test]
#[ignore = "needs root and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn in_a_time_namespace_durations_make_sense() {
    harness::needs("root and util-linux");
    let daemon = Daemon::start_by("", |command| {
        let mut inside = Command::new("unshare");
        inside.args([
            "--time",
            "--fork",
            "--kill-child",
            "--monotonic=86400",
            "--boottime=1000000",
        ]);
        inside.arg(command.get_program()).args(command.get_args());
        *command = inside;
    });
    for _ in 0..3 {
        let page = daemon.metrics();
        for line in page.body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            if name.contains("duration_seconds") || name.contains("_age_seconds") {
                let value: f64 = value.parse().expect("a number");
                assert!((0.0..600.0).contains(&value), "{line}");
            }
        }
    }
    assert_eq!(daemon.reload().status, 200);
}

// The watchdog.

/// A user who has no other process: root's threads are not limited.
const USER: u32 = 64_322;

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn an_engine_that_hangs_is_not_fed() {
    harness::needs(NEEDS_FUSE);
    const LIMIT: Duration = Duration::from_millis(600);
    let namespaces = Namespaces::of_mounts();
    // Nothing is in it, so the collector looks for its files each time.
    let fuse = Fuse::mount(&namespaces, Path::new("/proc/pressure"));
    let place = tempfile::tempdir().expect("a directory");
    chown(place.path(), Some(USER), Some(USER)).expect("root may");
    let binary = place.path().join("vitald");
    std::fs::copy(harness::binary(), &binary).expect("a copy");
    let config = place.path().join("config.toml");
    let pressure = "[server]\nlisten = [\"127.0.0.1:0\"]\n[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n\
                    default_collectors = false\n[collectors.pressure]\nenabled = true\n";
    std::fs::write(&config, pressure).expect("a file");
    let manager = Manager::new(place.path());
    chown(&manager.path, Some(USER), Some(USER)).expect("root may");
    let mut command = namespaces.command("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}")]).arg("--clear-groups");
    command.arg(&binary).arg("--config").arg(&config);
    command.env("NOTIFY_SOCKET", &manager.path);
    command.env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    let mut daemon = Daemon::spawn(command, tempfile::tempdir().expect("a directory"));
    struct Release<'a>(&'a Fuse);
    impl Drop for Release<'_> {
        fn drop(&mut self) {
            self.0.release();
        }
    }
    let _release = Release(&fuse);
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let hang = || {
        fuse.hold(&[operation::LOOKUP]);
        let mut client = Connection::open(daemon.address());
        client.send(harness::request("GET", "/metrics", &[]));
        until("it hangs", || fuse.waiting() > 0);
        client
    };
    // With a thread to take its place: collections go on.
    let client = hang();
    for _ in 0..5 {
        assert!(manager.is_fed(LIMIT), "it is fed while one collector hangs");
    }
    fuse.release();
    drop(client);
    assert!(manager.is_fed(LIMIT));

    // Without one nothing can be collected, and health is answered all the same.
    let mut limit = Command::new("prlimit");
    limit.args(["--nproc=1:1", "--pid"]).arg(daemon.pid().to_string()).uid(USER).gid(USER);
    assert!(limit.status().expect("util-linux").success());
    let client = hang();
    until("feeding ends", || !manager.is_fed(2 * LIMIT));
    assert_eq!(daemon.get("/healthz").status, 200);
    assert!(!manager.is_fed(2 * LIMIT));
    fuse.release();
    assert!(manager.is_fed(10 * LIMIT), "it is fed again when it comes back");
    drop(client);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

// Signals.

/// A system call of a program: its name, and how many of this name there have been on its thread.
type Call = (String, usize);

/// Starts the daemon under strace, which sends it a signal as it enters this system call, on whichever thread.
fn start_with_signal(signal: &str, (call, count): &Call, place: &Path) -> Running {
    let file = place.join("config.toml");
    let socket = place.join("socket");
    std::fs::write(&file, format!("[server]\nlisten = [\"unix:{}\"]\n{CPU}", socket.display()))
        .expect("a file");
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=all", "-e", "signal=none", "-e"])
        .arg(format!("inject={call}:signal={signal}:when={count}"))
        .arg(harness::binary())
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(strace.expect("strace"))
}

/// The system calls of its first thread from when it holds signals back until it serves.
fn calls_of_the_start(place: &Path) -> Vec<Call> {
    let trace = place.join("trace");
    let file = place.join("config.toml");
    let socket = place.join("socket");
    std::fs::write(&file, format!("[server]\nlisten = [\"unix:{}\"]\n{CPU}", socket.display()))
        .expect("a file");
    let strace = Command::new("strace")
        .args(["-ff", "-qq", "-o"])
        .arg(&trace)
        .arg(harness::binary())
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn();
    let mut strace = Running(strace.expect("strace"));
    until("it serves", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let texts = std::fs::read_dir(place).expect("a directory").filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_trace = path.file_name()?.to_str()?.starts_with("trace.");
        is_trace.then(|| std::fs::read_to_string(path).unwrap_or_default())
    });
    // The first thread is the one that has executed the program.
    let first = texts.into_iter().find(|text| text.starts_with("execve(")).expect("a trace");
    let held = "rt_sigprocmask(SIG_BLOCK, [HUP INT TERM]";
    let (mut counts, mut are_held) = (BTreeMap::new(), false);
    let mut calls: Vec<Call> = Vec::new();
    for line in first.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let count: &mut usize = counts.entry(name).or_default();
        *count += 1;
        if are_held {
            calls.push((name.to_owned(), *count));
        }
        are_held |= line.starts_with(held);
    }
    assert!(are_held, "{first}");
    let pids = Command::new("pkill").args(["-TERM", "-P", &strace.0.id().to_string()]).status();
    assert!(pids.expect("procps").success());
    assert!(strace.0.wait().expect("it ends").success());
    calls
}

#[test]
#[ignore = "needs root, strace, gdb, procps and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn a_signal_at_any_call_of_the_start_is_answered() {
    harness::needs(NEEDS);
    let place = tempfile::tempdir().expect("a directory");
    let calls = calls_of_the_start(place.path());
    println!("{} calls of the start, such as {:?}", calls.len(), calls.last());
    assert!(calls.len() > 20);
    for call in calls.iter().step_by(3) {
        let place = tempfile::tempdir().expect("a directory");
        let socket = place.path().join("socket");
        let mut strace = start_with_signal("SIGHUP", call, place.path());
        let is_up = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        until("it serves", || {
            assert_eq!(strace.0.try_wait().expect("a child"), None, "SIGHUP at {call:?} ended it");
            is_up()
        });
        assert!(Connection::open_unix(&socket).get("/metrics").has("node_cpu_seconds_total"));
        let ended =
            Command::new("pkill").args(["-TERM", "-P", &strace.0.id().to_string()]).status();
        assert!(ended.expect("procps").success());
        assert!(strace.0.wait().expect("it ends").success(), "{call:?}");
        assert!(!socket.exists(), "{call:?}");
    }
    // The last one is slept in, which not every thread does.
    for call in calls[1..calls.len() - 1].iter().step_by(3) {
        let place = tempfile::tempdir().expect("a directory");
        let socket = place.path().join("socket");
        let mut strace = start_with_signal("SIGTERM", call, place.path());
        let mut status = None;
        until(&format!("SIGTERM at {call:?} has ended it"), || {
            status = strace.0.try_wait().expect("a child");
            status.is_some()
        });
        let status = status.expect("it ended");
        // strace counts the calls of each thread, so the signal may come several times.
        assert!(status.success(), "SIGTERM at {call:?}: {status}");
        assert!(!socket.exists(), "SIGTERM at {call:?} leaves the socket");
    }
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn a_stop_while_a_reload_hangs_takes_its_time_or_none() {
    harness::needs(NEEDS_FUSE);
    for is_impatient in [false, true] {
        let place = tempfile::tempdir().expect("a directory");
        let namespaces = Namespaces::of_mounts();
        let fuse = Fuse::mount(&namespaces, place.path());
        let outside = tempfile::tempdir().expect("a directory");
        let socket = outside.path().join("socket");
        let doors =
            format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
        let mut daemon = Daemon::start_by(&format!("{CPU}{doors}"), |command| {
            let mut inside = namespaces.command(command.get_program());
            inside.args(command.get_args());
            *command = inside;
        });
        std::fs::remove_file(daemon.config_file()).expect("the configuration");
        std::os::unix::fs::symlink(place.path().join("config.toml"), daemon.config_file())
            .expect("a link");
        fuse.hold(&[operation::LOOKUP]);
        let mut client = Connection::open(daemon.address());
        client.send(harness::request("PUT", "/plugins/reload", &[]));
        until("the reload hangs", || fuse.waiting() > 0);
        let began = Instant::now();
        daemon.signal("TERM");
        daemon.wait_for_log("msg=stopping");
        until("the daemon ends but for what hangs", || {
            let has_ended = matches!(process::state(daemon.pid()), Some('Z') | None);
            if is_impatient && !has_ended {
                daemon.signal("TERM");
            }
            has_ended
        });
        let took = began.elapsed();
        println!("figure: a stop while a reload hangs, told again: {is_impatient}: {took:?}");
        let most = if is_impatient { 2 } else { 10 };
        assert!(took < Duration::from_secs(most), "{took:?}");
        assert!(!socket.exists(), "told again: {is_impatient}");
        fuse.release();
        assert!(daemon.wait().success());
    }
}

// A full disk.

#[test]
#[ignore = "needs root and util-linux: cargo test --features full --test system_operation -- --ignored"]
fn a_log_on_a_full_disk_loses_lines_and_nothing_else() {
    harness::needs("root and util-linux");
    let place = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let disk = place.path().join("disk");
    std::fs::create_dir(&disk).expect("a directory");
    namespaces.sh(&format!("mount -t tmpfs -o size=256k tmpfs {}", disk.display()));
    let socket = place.path().join("socket");
    let file = place.path().join("config.toml");
    let listen = format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display());
    let console = "[outputs.console]\nenabled = true\ninterval = \"1s\"\n";
    std::fs::write(&file, format!("{listen}{CPU}{console}")).expect("a file");
    let mut command = namespaces.command("sh");
    command.arg("-c").arg("exec \"$0\" --config \"$1\" >>\"$2/out\" 2>>\"$2/log\"");
    command.arg(harness::binary()).arg(&file).arg(&disk);
    let up = socket.clone();
    let mut daemon =
        Daemon::spawn_unheard(command, tempfile::tempdir().expect("a directory"), move || {
            std::os::unix::net::UnixStream::connect(&up).is_ok()
        });
    namespaces
        .sh(&format!("dd if=/dev/zero of={}/filler bs=4k 2>/dev/null || true", disk.display()));
    let mut connection = Connection::open_unix(&socket);
    until("lines and tables are lost", || {
        assert_eq!(connection.ask("PUT", "/plugins/reload", &[]).status, 200);
        let page = connection.get("/metrics");
        assert!(page.has("node_cpu_seconds_total"));
        let failed = connection.get("/plugins/console").json()["failed"].as_u64();
        page.value("vitald_log_lines_dropped_total") > Some(0.0) && failed > Some(0)
    });
    namespaces.sh(&format!("rm {}/filler", disk.display()));
    let sent = connection.get("/plugins/console").json()["sent"].as_u64();
    until("the disk has room again", || {
        assert_eq!(connection.ask("PUT", "/plugins/reload", &[]).status, 200);
        connection.get("/plugins/console").json()["sent"].as_u64() > sent
    });
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let log = namespaces.sh(&format!("tail -n 1 {}/log", disk.display()));
    assert!(log.contains("msg=stopping"), "{log}");
}
