//! File systems that never answer: a FUSE mount of the test's own takes what the kernel asks and
//! keeps it.

mod harness;
mod system;

use harness::{Daemon, until};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use system::fuse::{DEVICE, Fuse, SPACE, operation};
use system::namespaces::Namespaces;
use system::page::{Page, Series};
use system::process;

const NEEDS: &str = "root, /dev/fuse, util-linux and iproute2";
const CONFIG: &str = "[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n";
/// How long a port may stay taken after the daemon was told to end or was killed.
const PORT_FREE: Duration = Duration::from_secs(1);

/// Mounts and interfaces of its own, and the file system in the middle of them.
struct Place {
    // Dropped first: it answers all that waits, and nothing can end before.
    fuse: Fuse,
    namespaces: Namespaces,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(namespaces: Namespaces) -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let fuse = Fuse::mount(&namespaces, directory.path());
        Place { fuse, namespaces, directory }
    }

    fn point(&self) -> &str {
        self.directory.path().to_str().expect("text")
    }

    /// Answers everything when a test ends or fails. To be made after a daemon, whose end would
    /// otherwise be waited for in vain.
    fn released_at_the_end(&self) -> impl Drop {
        struct Release<'a>(&'a Fuse);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        Release(&self.fuse)
    }
}

fn start_in(namespaces: &Namespaces, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

fn scrape(daemon: &Daemon) -> (Page, Duration) {
    let begun = Instant::now();
    let answer = daemon.metrics();
    (Page::parse(&answer.body), begun.elapsed())
}

/// What a page says of the host.
fn of_host(page: &Page) -> Vec<&Series> {
    let own = ["vitald_", "process_", "promhttp_", "node_scrape_collector_", "node_exporter_"];
    let is_own = |series: &Series| own.iter().any(|prefix| series.name.starts_with(prefix));
    page.samples.keys().filter(|series| !is_own(series)).collect()
}

fn is_stuck(page: &Page, point: &str) -> bool {
    let labels = [("mountpoint", point), ("device", DEVICE), ("fstype", "fuse")];
    let stuck = [labels[0], labels[1], labels[2], ("device_error", "mountpoint timeout")];
    page.value("node_filesystem_device_error", &stuck) == Some(1.0)
        && page.value("node_filesystem_size_bytes", &labels).is_none()
}

/// How many threads of each name there are. The runtime's blocking threads end after ten seconds
/// of idleness, and are not of interest.
fn threads(daemon: &Daemon) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for name in process::threads(daemon.pid()).into_values() {
        if name != "page writing" {
            *names.entry(name).or_default() += 1;
        }
    }
    names
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_hang -- --ignored"]
fn a_mount_that_never_answers_costs_only_itself() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_both();
    let reference = namespaces.run(|| scrape(&start_in(&namespaces, CONFIG)).0);
    let place = Place::new(namespaces);
    place.namespaces.run(|| {
        let daemon = start_in(&place.namespaces, CONFIG);
        let _released = place.released_at_the_end();
        // A scrape may not share the collection of the start, and has no time left after it if
        // that one meets the hang.
        until("the first collection has ended", || daemon.get("/readyz").status == 200);
        let asked = || place.fuse.asked(operation::STATFS, daemon.pid());
        let before = asked();
        let statfs = || asked() - before;
        place.fuse.hold(&[operation::STATFS]);

        let (first, took) = scrape(&daemon);
        println!("first scrape with a mount that hangs: {took:?} of 2 s");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(is_stuck(&first, place.point()), "{first:?}");
        assert_eq!(statfs(), 1);
        let (of_mount, others): (Vec<_>, Vec<_>) = of_host(&first)
            .into_iter()
            .partition(|series| series.label("mountpoint") == Some(place.point()));
        assert_eq!(others, of_host(&reference));
        let names: Vec<&str> = of_mount.iter().map(|series| &*series.name).collect();
        assert_eq!(names, ["node_filesystem_device_error", "node_filesystem_readonly"]);
        // Some find nothing to read on this machine, with the mount or without it.
        let success = |page: &Page| -> BTreeMap<String, bool> {
            let of = page.family("node_scrape_collector_success");
            of.map(|(series, value)| (format!("{series:?}"), value == 1.0)).collect()
        };
        let succeeded = |page: &Page| success(page) == success(&reference);
        assert!(success(&reference).values().filter(|success| **success).count() >= 16);
        assert!(succeeded(&first), "{first:?}");

        // A second of the daemon's own time, for what comes with the first reload.
        let reload = |round: usize| {
            let timeout = if round.is_multiple_of(2) { "700ms" } else { "900ms" };
            let exclude = if round.is_multiple_of(4) { "^/(dev|proc|sys)($|/)" } else { "^/none$" };
            daemon.write_config(&format!(
                "{CONFIG}[collectors.filesystem]\nmount_timeout = \"{timeout}\"\n\
                 mount_points_exclude = \"{exclude}\"\n"
            ));
            let answer = daemon.reload();
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.json()["changed"], serde_json::json!(["filesystem"]));
        };
        reload(0);
        scrape(&daemon);
        let before = threads(&daemon);
        let mut longest = Duration::ZERO;
        for round in 1..=50 {
            let (page, took) = scrape(&daemon);
            assert!(is_stuck(&page, place.point()) && succeeded(&page), "scrape {round}");
            longest = longest.max(took);
            if round <= 20 {
                reload(round);
            }
        }
        println!("50 more scrapes and 20 reloads: longest scrape {longest:?}; threads {before:?}");
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        assert_eq!(statfs(), 1, "what hangs was asked again");
        until("no thread is left over", || threads(&daemon) == before);

        place.fuse.release();
        let labels = [("mountpoint", place.point()), ("device_error", "")];
        until("the mount is back", || {
            let (page, _) = scrape(&daemon);
            page.value("node_filesystem_device_error", &labels) == Some(0.0)
                && page.value("node_filesystem_size_bytes", &labels)
                    == Some(SPACE[0] as f64 * 4096.0)
                && page.value("node_filesystem_avail_bytes", &labels)
                    == Some(SPACE[2] as f64 * 4096.0)
                && page.value("node_filesystem_files_free", &labels) == Some(SPACE[4] as f64)
        });
        assert!(statfs() > 1);
        let hung = |threads: &BTreeMap<String, usize>| threads.get("vitald-statfs").copied();
        until("the thread that hung has ended", || hung(&threads(&daemon)) <= Some(1));
    });
}

/// For how long a mount hangs that answers in the end; `VITALD_HANG_SECONDS` makes it longer.
fn long_hang() -> Duration {
    let seconds = std::env::var("VITALD_HANG_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_hang -- --ignored"]
fn a_mount_that_answers_after_a_long_time_is_named_until_then() {
    harness::needs(NEEDS);
    let place = Place::new(Namespaces::of_both());
    place.namespaces.run(|| {
        let daemon = start_in(&place.namespaces, CONFIG);
        let _released = place.released_at_the_end();
        until("the first collection has ended", || daemon.get("/readyz").status == 200);
        let asked = || place.fuse.asked(operation::STATFS, daemon.pid());
        let answers = || !is_stuck(&scrape(&daemon).0, place.point());
        let fault = || {
            let status = daemon.get("/plugins/filesystem").json();
            status["fault"].as_str().unwrap_or_default().to_owned()
        };
        assert!(answers());
        assert_eq!(fault(), "");
        let before = asked();
        place.fuse.hold(&[operation::STATFS]);
        let began = Instant::now();
        let (first, took) = scrape(&daemon);
        assert!(is_stuck(&first, place.point()), "{first:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        let named = format!("{}: the mount does not answer", place.point());
        daemon.wait_for_log(&named);
        let count = || threads(&daemon).into_values().sum::<usize>();
        let (at_first, mut most) = (count(), 0);
        let (mut scrapes, mut longest) = (1, Duration::ZERO);
        while began.elapsed() < long_hang() {
            let (page, took) = scrape(&daemon);
            assert!(is_stuck(&page, place.point()), "scrape {scrapes}");
            let success = [("collector", "filesystem")];
            assert_eq!(page.value("node_scrape_collector_success", &success), Some(1.0));
            longest = longest.max(took);
            scrapes += 1;
            if scrapes % 50 == 0 {
                most = most.max(count());
                assert_eq!(fault(), named);
            }
            // As a scraper that leaves the CPUs to others.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(scrapes >= 50, "{scrapes} scrapes in {:?}", long_hang());
        assert_eq!(asked() - before, 1, "what hangs was asked again");
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        assert!(most <= at_first, "{at_first} threads became {most}");
        place.fuse.release();
        let released = Instant::now();
        until("the mount is back", answers);
        println!(
            "figure: a mount that hangs for {:?}: {scrapes} scrapes, the first {took:?}, the longest of the others \
             {longest:?}, {at_first} threads, then {most}; back {:?} after it answers",
            long_hang(),
            released.elapsed()
        );
        assert!(scrape(&daemon).0.value("node_filesystem_size_bytes", &[("mountpoint", place.point())]).is_some());
        assert_eq!(fault(), "");
        assert_eq!(daemon.log().matches(&named).count(), 1, "{}", daemon.log());
        daemon.wait_for_log("gives all its samples again");
    });
}

/// How the daemon's end is brought about, while a thread of it hangs where no signal reaches.
fn ends(place: &Place, config: &str, hanging: u32, signal: &str) {
    place.fuse.hold(&[hanging]);
    let mut daemon = start_in(&place.namespaces, config);
    let _released = place.released_at_the_end();
    let (page, _) = scrape(&daemon);
    assert!(page.value("node_load1", &[]).is_some());
    until("it hangs", || place.fuse.waiting() > 0);
    // Another scrape, so that there is a connection that is younger than the thread that hangs.
    scrape(&daemon);
    let mut open = TcpStream::connect(daemon.address()).expect("it listens");
    open.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");

    let begun = Instant::now();
    daemon.signal(signal);
    let took = free_again(daemon.address(), begun);
    println!("SIG{signal}, thread hung in operation {hanging}: port free after {took:?}");
    assert!(took < PORT_FREE, "the port is taken for {took:?} after SIG{signal}");
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0);
    assert!(place.fuse.waiting() > 0);
    until("it has ended but for the thread", || process::state(daemon.pid()) == Some('Z'));

    // The successor serves on the same port while the thread still hangs.
    let listen = format!("{config}[server]\nlisten = [\"{}\"]\n", daemon.address());
    let successor = start_in(&place.namespaces, &listen);
    let _released_before = place.released_at_the_end();
    assert_eq!(successor.address(), daemon.address());
    let (page, took) = scrape(&successor);
    assert!(took < Duration::from_secs(2) && page.value("node_load1", &[]).is_some());

    place.fuse.release();
    daemon.wait();
}

/// When the port can be bound, as a successor binds it; or for how long it could not.
fn free_again(address: SocketAddr, begun: Instant) -> Duration {
    while TcpListener::bind(address).is_err() && begun.elapsed() < 2 * PORT_FREE {
        std::thread::yield_now();
    }
    begun.elapsed()
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_hang -- --ignored"]
fn the_port_is_free_at_once_while_statfs_hangs() {
    harness::needs(NEEDS);
    let place = Place::new(Namespaces::of_both());
    place.namespaces.run(|| {
        // Not ABRT: before the kernel dumps core it waits for every thread, this one too, and the
        // port stays taken, also when KILL follows. So a watchdog must not send it.
        for signal in ["KILL", "TERM"] {
            ends(&place, CONFIG, operation::STATFS, signal);
        }
    });
}

fn textfile(directory: &Path) -> String {
    format!("{CONFIG}[collectors.textfile]\ndirectory = [\"{}\"]\n", directory.display())
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_hang -- --ignored"]
fn the_port_is_free_at_once_while_a_lane_hangs() {
    harness::needs(NEEDS);
    let place = Place::new(Namespaces::of_both());
    let config = textfile(place.directory.path());
    place.namespaces.run(|| {
        for signal in ["KILL", "TERM"] {
            ends(&place, &config, operation::OPENDIR, signal);
        }
    });
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_hang -- --ignored"]
fn a_lane_that_hangs_costs_only_its_collector() {
    harness::needs(NEEDS);
    let place = Place::new(Namespaces::of_both());
    let config = textfile(place.directory.path());
    place.fuse.hold(&[operation::OPENDIR]);
    place.namespaces.run(|| {
        let daemon = start_in(&place.namespaces, &config);
        let _released = place.released_at_the_end();
        let success = |page: &Page, collector: &str| {
            page.value("node_scrape_collector_success", &[("collector", collector)])
        };
        for round in 0..20 {
            let (page, took) = scrape(&daemon);
            let limit = if round == 0 { 2000 } else { 1000 };
            assert!(took < Duration::from_millis(limit), "scrape {round}: {took:?}");
            assert_eq!(success(&page, "textfile"), Some(0.0));
            assert_eq!(success(&page, "filesystem"), Some(1.0));
            let state = [("collector", "textfile"), ("state", "timed_out")];
            assert_eq!(page.value("vitald_collector_state", &state), Some(1.0));
            assert!(page.value("node_load1", &[]).is_some());
        }
        assert_eq!(place.fuse.asked(operation::OPENDIR, daemon.pid()), 1);
        place.fuse.release();
        until("the collector is back", || success(&scrape(&daemon).0, "textfile") == Some(1.0));
    });
}

/// A container's seccomp profile may refuse unshare(2). A thread that may hang then holds the daemon's
/// port, which nothing can change; so it is said.
#[test]
#[ignore = "needs root and strace: cargo test --features full --test system_hang -- --ignored"]
fn a_lane_that_shares_the_descriptors_is_degraded() {
    harness::needs("root and strace");
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let config = textfile(directory.path());
    let daemon = Daemon::start_by(&config, |command| {
        // -D keeps the daemon the test's child, with its process id.
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-e", "trace=unshare", "-e", "inject=unshare:error=EPERM"]);
        strace.arg("-o").arg(&trace).arg(command.get_program()).args(command.get_args());
        *command = strace;
    });
    let degraded = || daemon.get("/plugins/textfile").json()["degraded"].clone();
    let reason = "its thread shares the daemon's descriptors";
    scrape(&daemon);
    until("the collector is degraded", || degraded() == reason);
    assert!(daemon.get("/plugins").body.contains(reason));
    let page = scrape(&daemon).0;
    let success = [("collector", "textfile")];
    assert_eq!(page.value("node_scrape_collector_success", &success), Some(1.0));

    // Another thread of the same collector is refused it, too, and the log has said it.
    daemon.write_config(&format!("{CONFIG}[collectors.textfile]\ndirectory = [\"/none\"]\n"));
    let answer = daemon.reload();
    assert_eq!(answer.status, 200, "{}", answer.body);
    scrape(&daemon);
    until("the collector is degraded again", || degraded() == reason);
    let refused = std::fs::read_to_string(&trace).expect("strace writes what it sees");
    assert!(refused.matches("EPERM").count() >= 2, "{refused}");
    assert_eq!(daemon.log().matches("may stay taken after SIGKILL").count(), 1);
}
