//! Everything at once and for long: four clients that scrape twenty times a second, a reload a second, devices and
//! mounts that come and go, what hangs and what is broken. No scrape may fail, and nothing may grow.
//!
//! A minute, or as many as `VITALD_SOAK_MINUTES` says.

mod harness;
mod system;

use harness::{Answer, Connection, Daemon, Over, request, until};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use system::fuse::{Fuse, operation};
use system::namespaces::Namespaces;
use system::process;

const NEEDS: &str = "root, /dev/fuse, util-linux and iproute2";
const CLIENTS: u32 = 4;
/// Of all clients together.
const SCRAPES_A_SECOND: u32 = 20;
/// The most that there is in this time there may be later: as much comes and goes with what hangs for a while.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long a scrape may take, of which the scraper would wait ten.
const LONGEST_SCRAPE: Duration = Duration::from_secs(5);
/// What is on every page, whatever hangs.
const ALWAYS: [&str; 5] = [
    "node_load1",
    "node_memory_MemTotal_bytes",
    "node_cpu_seconds_total",
    "node_network_receive_bytes_total",
    "vitald_config_generation",
];

/// What the daemon takes of the system.
#[derive(Clone, Copy, Debug)]
struct Figures {
    minute: u64,
    resident_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Figures {
    /// Of each the more.
    fn or_more(self, other: Figures) -> Figures {
        Figures {
            minute: self.minute,
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }

    /// Without the threads of the runtime's own, which come and go.
    fn of(daemon: &Daemon, began: Instant) -> Figures {
        let threads = process::threads(daemon.pid()).into_values();
        Figures {
            minute: began.elapsed().as_secs() / 60,
            resident_kib: daemon.status("VmRSS"),
            descriptors: daemon.descriptors(),
            threads: threads.filter(|name| name != "page writing").count(),
        }
    }
}

/// The configurations that follow each other.
struct Configurations<'a> {
    textfiles: &'a Path,
}

impl Configurations<'_> {
    fn base(&self) -> String {
        let directory = self.textfiles;
        format!(
            "[scrape]\ntimeout = \"4s\"\nmax_age = \"0s\"\n\
             [collectors.textfile]\nenabled = true\ndirectory = [{directory:?}]\n"
        )
    }

    /// One, and how a reload of it is answered.
    fn of_round(&self, round: u64) -> (String, u16) {
        let base = self.base();
        match round % 10 {
            3 => ("# listen\n".to_owned() + &"= =\n".repeat(5_000), 422),
            7 => (format!("{base}[collectors.nothing]\nenabled = true\n"), 422),
            odd if odd % 2 == 1 => (format!("{base}[collectors.uname]\nenabled = false\n"), 200),
            _ => (format!("{base}[collectors.buddyinfo]\nenabled = true\n"), 200),
        }
    }
}

/// What all threads of the test share.
struct Soak<'a> {
    daemon: &'a Daemon,
    namespaces: &'a Namespaces,
    fuse: &'a Fuse,
    place: &'a Path,
    address: SocketAddr,
    is_over: AtomicBool,
    scrapes: AtomicU64,
    reloads: AtomicU64,
    longest: Mutex<Duration>,
    faults: Mutex<Vec<String>>,
}

impl Soak<'_> {
    /// Does something again and again, at a steady rate, until the end.
    fn again(&self, every: Duration, mut work: impl FnMut(u64)) {
        let began = Instant::now();
        let mut next = Duration::ZERO;
        let mut round = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            work(round);
            round += 1;
            next += every;
            // What is late is not made up for.
            next = next.max(began.elapsed());
            std::thread::sleep(next - began.elapsed().min(next));
        }
    }

    fn fault(&self, what: String) {
        self.faults.lock().expect("no panic").push(what);
    }

    /// A client that keeps its connection, or has a new one each time.
    fn scrape(&self, client: u32) {
        let every = Duration::from_secs(1) * CLIENTS / SCRAPES_A_SECOND;
        let mut kept: Option<Connection<TcpStream>> = None;
        self.again(every, |_| {
            let began = Instant::now();
            let answer = if client.is_multiple_of(2) {
                let connection = kept.get_or_insert_with(|| Connection::open(self.address));
                // As Prometheus does.
                let headers = [("X-Prometheus-Scrape-Timeout-Seconds", "10")];
                connection.send(request("GET", "/metrics", &headers));
                connection.answer()
            } else {
                harness::try_ask(self.address, "GET", "/metrics", &[])
            };
            match answer {
                Ok(answer) => self.judge(&answer, began.elapsed()),
                Err(error) => {
                    self.fault(format!("client {client}: {error}"));
                    kept = None;
                }
            }
        });
    }

    fn judge(&self, answer: &Answer, took: Duration) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        let missing: Vec<&str> = ALWAYS.into_iter().filter(|family| !answer.has(family)).collect();
        if answer.status != 200 || !missing.is_empty() {
            self.fault(format!("{}, without {missing:?} after {took:?}", answer.status));
        }
        let mut longest = self.longest.lock().expect("no panic");
        *longest = longest.max(took);
    }

    fn reload(&self) {
        let configurations = Configurations { textfiles: &self.place.join("textfiles") };
        self.again(Duration::from_secs(1), |round| {
            let (config, expected) = configurations.of_round(round);
            self.daemon.replace_config(&config);
            match harness::try_ask(self.address, "PUT", "/plugins/reload", &[]) {
                Ok(answer) if answer.status == expected => {
                    self.reloads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    self.fault(format!("reload {round}: {} {}", answer.status, answer.body));
                }
                Err(error) => self.fault(format!("reload {round}: {error}")),
            }
        });
    }

    /// Devices, interfaces and mounts that come and go.
    fn churn(&self) {
        let (disk, mount) = (self.place.join("disk"), self.place.join("mount"));
        let (disk, mount) = (disk.display(), mount.display());
        self.again(Duration::from_millis(500), |round| {
            self.namespaces.sh(&match round % 6 {
                0 => {
                    "ip link add soak1 type veth peer name soak2 && ip link set soak1 up".to_owned()
                }
                1 => format!("mount -t tmpfs tmpfs {mount}"),
                2 => format!("losetup --find --show {disk} >{disk}.device"),
                3 => "ip link del soak1".to_owned(),
                4 => format!("umount {mount}"),
                _ => format!("losetup --detach $(cat {disk}.device)"),
            });
        });
        self.namespaces
            .sh(&format!("losetup --associated {disk} | cut -d: -f1 | xargs -r losetup -d"));
    }

    /// A file system that hangs for a while again and again.
    fn hang(&self) {
        self.again(Duration::from_secs(5), |round| match round % 2 {
            0 => self.fuse.hold(&[operation::STATFS]),
            _ => self.fuse.release(),
        });
        self.fuse.release();
    }

    /// Clients that do what they should not.
    fn misbehave(&self) {
        let mut halves: Vec<Connection<TcpStream>> = Vec::new();
        self.again(Duration::from_millis(200), |round| {
            let mut client = Connection::open(self.address);
            let sent = match round % 4 {
                // Half of a head; it is left there for some seconds.
                0 => client.try_send("GET /metrics HTTP/1.1\r\nHost: x\r\nX: "),
                1 => client.try_send("= = no request\r\n\r\n"),
                // It gives no time.
                2 => client.try_send(request(
                    "GET",
                    "/metrics",
                    &[("X-Prometheus-Scrape-Timeout-Seconds", "0.001")],
                )),
                // It asks again and again, and reads nothing.
                _ => client.try_send(request("GET", "/metrics", &[]).repeat(10)),
            };
            // The daemon may have closed it by then.
            let _ = sent;
            halves.push(client);
            if halves.len() > 20 {
                halves.clear();
            }
        });
    }
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    for directory in ["textfiles", "mount", "fuse"] {
        std::fs::create_dir(at(directory)).expect("a directory");
    }
    std::fs::write(at("textfiles/good.prom"), "soak_test 1\n").expect("a file");
    std::fs::write(at("textfiles/bad.prom"), "= =\n").expect("a file");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("textfiles/pipe.prom"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
    std::fs::File::create(at("disk")).and_then(|disk| disk.set_len(1 << 20)).expect("a file");
    place
}

#[test]
#[ignore = "needs root, /dev/fuse, util-linux and iproute2: cargo test --features full --test system_soak -- --ignored"]
fn nothing_fails_and_nothing_grows() {
    harness::needs(NEEDS);
    let minutes = std::env::var("VITALD_SOAK_MINUTES").ok();
    let minutes: u64 = minutes.map_or(1, |text| text.parse().expect("a number of minutes"));
    let namespaces = Namespaces::of_both();
    let place = place();
    let fuse = Fuse::mount(&namespaces, &place.path().join("fuse"));
    let configurations = Configurations { textfiles: &place.path().join("textfiles") };
    let daemon = Daemon::start_by(&configurations.base(), |command| {
        let release = harness::release_binary().map(std::ffi::OsString::from);
        let program = release.unwrap_or_else(|| command.get_program().to_owned());
        let mut inside = namespaces.command(program);
        inside.args(command.get_args());
        *command = inside;
    });
    let soak = Soak {
        daemon: &daemon,
        namespaces: &namespaces,
        fuse: &fuse,
        place: place.path(),
        address: daemon.address(),
        is_over: AtomicBool::new(false),
        scrapes: AtomicU64::new(0),
        reloads: AtomicU64::new(0),
        longest: Mutex::default(),
        faults: Mutex::default(),
    };
    let (mut before, mut figures) = (None, Vec::new());
    // The threads that it starts are where it is: among the interfaces of the namespace.
    namespaces.run(|| {
        std::thread::scope(|scope| {
            let soak = &soak;
            (0..CLIENTS).for_each(|client| drop(scope.spawn(move || soak.scrape(client))));
            scope.spawn(|| soak.reload());
            scope.spawn(|| soak.churn());
            scope.spawn(|| soak.hang());
            scope.spawn(|| soak.misbehave());
            // However this ends, the others end with it.
            let _over = Over(&soak.is_over);
            let began = Instant::now();
            let limit = Duration::from_secs(60) * minutes as u32;
            while began.elapsed() < limit && soak.faults.lock().expect("no panic").len() < 20 {
                std::thread::sleep(Duration::from_secs(1).min(limit - began.elapsed().min(limit)));
                let now = Figures::of(&daemon, began);
                if began.elapsed() < WARM_UP {
                    before = Some(before.map_or(now, |before: Figures| before.or_more(now)));
                }
                if now.minute > figures.len() as u64 {
                    println!("figure: {now:?}, {:?} scrapes", soak.scrapes);
                    figures.push(now);
                }
            }
        });
    });
    let before = before.expect("it ran for long enough");
    println!(
        "figure: {:?} scrapes, of which the longest took {:?}, {:?} reloads; after the warm-up {before:?}",
        soak.scrapes, soak.longest, soak.reloads
    );
    let faults = soak.faults.into_inner().expect("no panic");
    assert!(
        faults.is_empty(),
        "{} faults, such as {:#?}",
        faults.len(),
        &faults[..faults.len().min(10)]
    );
    let longest = soak.longest.into_inner().expect("no panic");
    assert!(longest < LONGEST_SCRAPE, "{longest:?}");
    assert!(!daemon.log().contains("panic"));
    let least = u64::from(SCRAPES_A_SECOND) * 60 * minutes / 4;
    assert!(soak.scrapes.into_inner() >= least, "the clients had hardly a turn");

    // When all is quiet again there is no more of anything than there was under load.
    let mut after = Figures::of(&daemon, Instant::now());
    until("nothing is left over", || {
        after = Figures::of(&daemon, Instant::now());
        after.threads <= before.threads && after.descriptors <= before.descriptors
    });
    println!("figure: afterwards {after:?}");
    let first = figures.first().unwrap_or(&before).resident_kib.max(before.resident_kib);
    let most = figures.iter().map(|figures| figures.resident_kib).max().unwrap_or(0);
    assert!(most <= first + first / 5 + 1024, "{before:?} {figures:?}");
    assert!(after.resident_kib <= first + first / 5 + 1024, "{before:?} {after:?}");
}
