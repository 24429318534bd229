//! Sources of the kernel that hang or are held up: mounts that do not answer, attributes of sysfs that
//! cannot be read, and interfaces that change without end.

mod exposition_reader;
mod harness;
mod system;

use harness::{Daemon, until};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use system::fuse::{DEVICE, Fuse, operation};
use system::namespaces::Namespaces;
use system::page::Page;

const NEEDS: &str = "root, /dev/fuse, util-linux and iproute2";
/// The scrape timeout is long, so that what is measured is not cut by it.
const CONFIG: &str = "[scrape]\ntimeout = \"20s\"\nmax_age = \"0s\"\n";
/// How long a scrape may take in which mounts hang for the first time: less than `mount_timeout`, and far
/// less than the scrape timeout.
const FIRST: Duration = Duration::from_millis(3500);
/// How long one may take while they hang.
const LATER: Duration = Duration::from_millis(1000);

fn start_in(namespaces: &Namespaces, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

/// Answers everything when a test ends or fails: the daemon could not end before.
struct Release<'a>(&'a [Mount]);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|mount| mount.fuse.release());
    }
}

struct Mount {
    fuse: Fuse,
    point: PathBuf,
}

impl Mount {
    fn all(count: usize, namespaces: &Namespaces, directory: &Path) -> Vec<Mount> {
        let mount = |number| {
            let point = directory.join(format!("m{number:02}"));
            std::fs::create_dir(&point).expect("a directory");
            Mount { fuse: Fuse::mount(namespaces, &point), point }
        };
        (0..count).map(mount).collect()
    }

    /// What the page says of it: the word for its error, which is empty if it has none.
    fn error(&self, page: &Page) -> String {
        let point = self.point.to_str().expect("text");
        let of = page.family("node_filesystem_device_error").map(|(series, _)| series);
        let of = of.filter(|series| series.label("mountpoint") == Some(point));
        let words: Vec<_> = of.map(|series| series.label("device_error").unwrap_or("")).collect();
        assert_eq!(words.len(), 1, "{point}: {words:?}");
        let labels = [("mountpoint", point), ("device", DEVICE)];
        let is_shown = page.value("node_filesystem_size_bytes", &labels).is_some();
        assert_eq!(is_shown, words[0].is_empty(), "{point}");
        words[0].to_owned()
    }
}

#[track_caller]
fn scrape(daemon: &Daemon, most: Duration) -> Page {
    let began = Instant::now();
    let answer = daemon.metrics();
    let took = began.elapsed();
    assert!(took < most, "{took:?}");
    if let Err(wrong) = exposition_reader::read(&answer.bytes) {
        panic!("not a page: {wrong}");
    }
    let page = Page::parse(&answer.body);
    assert!(page.value("node_load1", &[]).is_some());
    page
}

fn errors(mounts: &[Mount], page: &Page) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for mount in mounts {
        *counts.entry(mount.error(page)).or_default() += 1;
    }
    counts
}

/// Whether they were well before, or hang when the daemon starts.
fn one_is_well_beside_seventeen_that_hang(were_well: bool) {
    let namespaces = Namespaces::of_both();
    let directory = tempfile::tempdir().expect("a directory");
    let mounts = Mount::all(18, &namespaces, directory.path());
    let (well, hung) = mounts.split_last().expect("mounts");
    namespaces.run(|| {
        let hold = || hung.iter().for_each(|mount| mount.fuse.hold(&[operation::STATFS]));
        if !were_well {
            hold();
        }
        let text = directory.path().join("text");
        std::fs::create_dir(&text).expect("a directory");
        std::fs::write(text.join("a.prom"), "of_a_lane 1\n").expect("a file");
        let config = format!("{CONFIG}[collectors.textfile]\ndirectory = [{text:?}]\n");
        let daemon = start_in(&namespaces, &config);
        let _release = Release(&mounts);
        until("the first collection has ended", || daemon.get("/readyz").status == 200);
        if were_well {
            let page = scrape(&daemon, LATER);
            assert_eq!(errors(&mounts, &page), BTreeMap::from([(String::new(), 18)]));
            hold();
        }
        let began = Instant::now();
        scrape(&daemon, FIRST);
        println!("17 of 18 mounts hang, before well: {were_well}: {:?}", began.elapsed());
        // One that nothing is known of is asked by one of the next scrapes.
        until("the one that is well is shown", || well.error(&scrape(&daemon, FIRST)).is_empty());
        let threads = daemon.threads();
        for round in 0..20 {
            let page = scrape(&daemon, LATER);
            let errors = errors(&mounts, &page);
            assert_eq!(errors.get(""), Some(&1), "{errors:?}");
            // What has a thread of its own is run, too.
            assert_eq!(page.value("of_a_lane", &[]), Some(1.0));
            let words = ["", "mountpoint timeout", "mountpoint not asked"];
            assert!(errors.keys().all(|error| words.contains(&&**error)), "{errors:?}");
            if round % 5 == 0 {
                assert_eq!(daemon.reload().status, 200);
            }
        }
        daemon.has_no_more_threads_than(threads);
        // A few of them are named.
        let status = daemon.get("/plugins/filesystem").json();
        let fault = status["fault"].as_str().unwrap_or_default();
        let named = fault.matches(&directory.path().display().to_string()).count();
        assert!(named == 4 && fault.ends_with(" more)"), "{fault}");
        hung.iter().for_each(|mount| mount.fuse.release());
        until("all are back", || {
            errors(&mounts, &scrape(&daemon, FIRST)) == BTreeMap::from([(String::new(), 18)])
        });
    });
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_faults -- --ignored"]
fn mounts_that_hang_do_not_condemn_one_that_is_well() {
    harness::needs(NEEDS);
    one_is_well_beside_seventeen_that_hang(true);
    one_is_well_beside_seventeen_that_hang(false);
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_faults -- --ignored"]
fn mounts_that_hang_for_the_first_time_cost_a_scrape_little() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_both();
    let directory = tempfile::tempdir().expect("a directory");
    let mounts = Mount::all(3, &namespaces, directory.path());
    namespaces.run(|| {
        let daemon = start_in(&namespaces, CONFIG);
        let _release = Release(&mounts);
        scrape(&daemon, FIRST);
        mounts.iter().for_each(|mount| mount.fuse.hold(&[operation::STATFS]));
        let began = Instant::now();
        let page = scrape(&daemon, FIRST);
        println!("three mounts hang for the first time: {:?}", began.elapsed());
        let stuck = BTreeMap::from([("mountpoint timeout".to_owned(), 3)]);
        assert_eq!(errors(&mounts, &page), stuck);
        for _ in 0..5 {
            assert_eq!(errors(&mounts, &scrape(&daemon, LATER)), stuck);
        }
        mounts.iter().for_each(|mount| mount.fuse.release());
        until("all are back", || errors(&mounts, &scrape(&daemon, FIRST)).contains_key(""));
    });
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_faults -- --ignored"]
fn an_attribute_of_sysfs_that_hangs_costs_only_its_collector() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let attribute = "/sys/class/net/lo/mtu";
    let fuse = Fuse::mount_on_file(&namespaces, Path::new(attribute));
    fuse.hold(&[operation::OPEN]);
    let mounts = [Mount { fuse, point: PathBuf::from(attribute) }];
    namespaces.run(|| {
        let config = "[scrape]\ntimeout = \"2s\"\nmax_age = \"0s\"\n";
        let daemon = start_in(&namespaces, config);
        let _release = Release(&mounts);
        let success = |page: &Page, collector: &str| {
            page.value("node_scrape_collector_success", &[("collector", collector)])
        };
        scrape(&daemon, Duration::from_secs(3));
        until("it hangs", || mounts[0].fuse.waiting() > 0);
        until("it is stuck", || {
            let page = scrape(&daemon, Duration::from_secs(3));
            let state = [("collector", "netclass"), ("state", "timed_out")];
            page.value("vitald_collector_state", &state) == Some(1.0)
        });
        let threads = daemon.threads();
        for _ in 0..10 {
            let page = scrape(&daemon, LATER);
            assert_eq!(success(&page, "netclass"), Some(0.0));
            for well in ["netdev", "cpu", "meminfo", "filesystem"] {
                assert_eq!(success(&page, well), Some(1.0), "{well}");
            }
            assert_eq!(daemon.reload().status, 200);
        }
        let status = daemon.get("/plugins/netclass").json();
        assert_eq!(status["state"], "timed_out", "{status}");
        assert!(daemon.log().contains("netclass"), "{}", daemon.log());
        daemon.has_no_more_threads_than(threads);
        assert_eq!(mounts[0].fuse.waiting(), 1);
        mounts[0].fuse.release();
        until("the collector is back", || {
            success(&scrape(&daemon, LATER), "netclass") == Some(1.0)
        });
    });
}

/// Each change of an interface holds the kernel's lock of all of them (RTNL), for which a dump may have to wait.
#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_faults -- --ignored"]
fn interfaces_that_change_without_end_hold_no_scrape_up() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let batch = tempfile::NamedTempFile::new().expect("a file");
    let lines = (0..2000).fold(String::new(), |text, number| {
        text + &format!(
            "link add d{number} type veth peer name e{number}\nlink set d{number} up mtu 1400\n\
             link set d{number} name x{number}\n{}",
            if number >= 20 { format!("link del x{}\n", number - 20) } else { String::new() }
        )
    });
    std::fs::write(batch.path(), lines).expect("a file");
    let is_over = AtomicBool::new(false);
    namespaces.run(|| {
        let daemon = start_in(&namespaces, CONFIG);
        scrape(&daemon, FIRST);
        let (mut longest, mut scrapes, mut seen) = (Duration::ZERO, 0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let line = format!("ip -batch {}", batch.path().display());
                let status = namespaces.command("sh").args(["-c", &line]).status();
                is_over.store(true, Ordering::Relaxed);
                assert!(status.expect("ip of iproute2").success());
            });
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let page = scrape(&daemon, Duration::from_secs(5));
                longest = longest.max(began.elapsed());
                scrapes += 1;
                for collector in ["netdev", "netclass"] {
                    let success = [("collector", collector)];
                    let success = page.value("node_scrape_collector_success", &success);
                    assert_eq!(success, Some(1.0), "{collector}");
                }
                seen = seen.max(page.family("node_network_up").count());
                let negative =
                    page.family("node_network_receive_bytes_total").any(|(_, v)| v < 0.0);
                assert!(!negative);
            }
        });
        println!(
            "{scrapes} scrapes during 2,000 changes, the longest {longest:?}; {seen} interfaces"
        );
        assert!(seen > 3);
        let state = |collector: &str| daemon.get(&format!("/plugins/{collector}")).json();
        until("all is well", || {
            scrape(&daemon, FIRST);
            state("netdev")["state"] == "running" && state("netclass")["state"] == "running"
        });
    });
}
