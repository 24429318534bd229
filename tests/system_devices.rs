//! Interfaces, disks and file systems that come, go and change their names while they are watched.

mod harness;
mod links;
mod system;

use harness::{Daemon, Over, until};
use links::{PORTS, Shown, interfaces_are_those_of_sysfs, netclass_without};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use system::client::Client;
use system::namespaces::Namespaces;
use system::page::Page;

const ONLY: &str = "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\n";

/// Received bytes and packets, sent bytes and packets: what tells one interface from another.
type Figures = [u64; 4];
/// The interfaces by name.
type Links = BTreeMap<String, Figures>;

const FAMILIES: [&str; 4] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
];
/// Headers of Ethernet, IPv4 and UDP.
const HEADERS: u64 = 14 + 20 + 8;
const PAYLOAD: [u8; 100] = [0; 100];
/// Pairs of interfaces with traffic of their own.
const PAIRS: u64 = 4;
/// Changes of name and number while the pages are read.
const CHANGES: usize = 400;

/// Makes pairs of interfaces and sends packets through them, in each pair and each direction
/// another number.
fn pairs(namespaces: &Namespaces) -> Links {
    let mut links = Links::new();
    for pair in 1..=PAIRS {
        namespaces.sh(&format!("ip link add va{pair} type veth peer name vb{pair}"));
        let mut sent = [0; 2];
        for (side, sent) in ["a", "b"].into_iter().zip(&mut sent) {
            let number = pair * 2 + u64::from(side == "b");
            *sent = number * number;
            // A neighbour that no program asks for, so that no other packet is sent.
            namespaces.sh(&format!(
                "ip address add 10.0.{number}.1/24 dev v{side}{pair} && \
                 ip link set v{side}{pair} up && \
                 ip neighbour add 10.0.{number}.2 lladdr 02:00:00:00:00:0{pair} dev v{side}{pair}"
            ));
        }
        for (side, sent) in sent.into_iter().enumerate() {
            let number = pair * 2 + side as u64;
            let name = ["a", "b"][side];
            until("it is up", || {
                namespaces.sh(&format!("ip link show dev v{name}{pair}")).contains("state UP")
            });
            let socket = UdpSocket::bind(format!("10.0.{number}.1:0")).expect("an address");
            for _ in 0..sent {
                socket.send_to(&PAYLOAD, format!("10.0.{number}.2:9")).expect("a packet");
            }
        }
        let [a, b] = sent.map(|packets| [packets * (HEADERS + PAYLOAD.len() as u64), packets]);
        links.insert(format!("va{pair}"), [b[0], b[1], a[0], a[1]]);
        links.insert(format!("vb{pair}"), [a[0], a[1], b[0], b[1]]);
    }
    for name in links.keys() {
        namespaces.sh(&format!("ip link set {name} down"));
    }
    links
}

/// What the interfaces are and have been; changed by one thread and compared by another.
struct History {
    /// Each state is entered before the change that leads to it is made.
    states: Mutex<Vec<Links>>,
    /// Which of them the kernel is known to have reached.
    reached: AtomicUsize,
    /// How many pages have been read.
    pages: AtomicUsize,
}

impl History {
    fn last(&self) -> Links {
        self.states.lock().expect("no panic").last().expect("one at least").clone()
    }

    fn change(&self, namespaces: &Namespaces, command: &str, change: impl FnOnce(&mut Links)) {
        let mut next = self.last();
        change(&mut next);
        self.states.lock().expect("no panic").push(next);
        namespaces.sh(&format!("ip link {command}"));
        self.reached.fetch_add(1, Ordering::SeqCst);
    }

    fn rename(&self, namespaces: &Namespaces, from: &str, to: &str) {
        self.change(namespaces, &format!("set {from} name {to}"), |links| {
            let figures = links.remove(from).expect("it is there");
            links.insert(to.to_owned(), figures);
        });
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Renames, swaps, makes and deletes interfaces.
fn disturb(namespaces: &Namespaces, history: &History) {
    let mut dice = Dice(1);
    let mut fresh = 0;
    while history.reached.load(Ordering::SeqCst) < CHANGES {
        let links = history.last();
        let names: Vec<&String> = links.keys().collect();
        let (one, other) = (names[dice.below(names.len())], names[dice.below(names.len())]);
        let unused: Vec<&String> =
            links.iter().filter(|(_, figures)| **figures == [0; 4]).map(|(name, _)| name).collect();
        fresh += 1;
        if fresh % 5 == 0 {
            // Some pages are read while nothing changes.
            let pages = history.pages.load(Ordering::SeqCst) + 2;
            until("two pages are read", || history.pages.load(Ordering::SeqCst) >= pages);
        }
        match dice.below(5) {
            0 | 1 if one != other => {
                history.rename(namespaces, one, "swapped");
                history.rename(namespaces, other, one);
                history.rename(namespaces, "swapped", other);
            }
            2 => {
                // The name goes over to an interface that is made anew.
                let kind = ["ifb", "bridge"][dice.below(2)];
                history.rename(namespaces, one, &format!("gone{fresh}"));
                history.change(namespaces, &format!("add {one} type {kind}"), |links| {
                    links.insert(one.clone(), [0; 4]);
                });
            }
            3 | 4 if !unused.is_empty() => {
                let name = unused[dice.below(unused.len())];
                history.change(namespaces, &format!("delete {name}"), |links| {
                    links.remove(name);
                });
            }
            _ => {}
        }
    }
}

fn links_of(page: &Page) -> Links {
    let mut links = Links::new();
    for (place, family) in FAMILIES.iter().enumerate() {
        for (series, value) in page.family(family) {
            let device = series.label("device").expect("a device");
            links.entry(device.to_owned()).or_default()[place] = value as u64;
        }
    }
    links.remove("lo");
    links
}

fn interfaces(source: &str) {
    let namespaces = Namespaces::of_network();
    namespaces.run(|| {
        let links = pairs(&namespaces);
        let config = format!("{ONLY}[collectors.netdev]\nenabled = true\n{source}\n");
        let daemon = Daemon::start(&config);
        let mut client = Client::connect(daemon.address());
        assert_eq!(links_of(&Page::parse(&client.page())), links, "before any change");

        let history = History {
            states: Mutex::new(vec![links]),
            reached: AtomicUsize::new(0),
            pages: AtomicUsize::new(0),
        };
        let ended = AtomicBool::new(false);
        let mut during = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _over = Over(&ended);
                disturb(&namespaces, &history);
            });
            while !ended.load(Ordering::SeqCst) {
                let first = history.reached.load(Ordering::SeqCst);
                let shown = links_of(&Page::parse(&client.page()));
                let possible = history.states.lock().expect("no panic")[first..].to_vec();
                history.pages.fetch_add(1, Ordering::SeqCst);
                during += usize::from(possible.len() > 1);
                for (name, figures) in &shown {
                    let is_right = possible.iter().any(|state| state.get(name) == Some(figures));
                    assert!(is_right, "{name} has {figures:?}, of {possible:#?}");
                }
                for name in possible[0].keys() {
                    let stays = possible.iter().all(|state| state.contains_key(name));
                    assert!(!stays || shown.contains_key(name), "{name} is not in {shown:?}");
                }
            }
        });
        assert_eq!(links_of(&Page::parse(&client.page())), history.last(), "after all changes");
        let changes = history.reached.load(Ordering::SeqCst);
        let pages = history.pages.load(Ordering::SeqCst);
        println!("{source}: {pages} pages, {during} of them during one of {changes} changes");
        assert!(during > 10 && pages - during > 10);
    });
}

#[test]
#[ignore = "needs root and iproute2: cargo test --features full --test system_devices -- --ignored"]
fn interfaces_have_their_own_figures_under_every_name() {
    harness::needs("root and iproute2");
    interfaces("netlink = true");
    interfaces("netlink = false");
}

/// Of the kinds that not every kernel has, the least that is there; `system_vm` has all of them.
const LEAST_KINDS: usize = 1;

#[test]
#[ignore = "needs root, iproute2 and ethtool: cargo test --features full --test system_devices -- --ignored"]
fn interfaces_are_what_sysfs_says() {
    harness::needs("root, iproute2 and ethtool");
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let daemons = [&[][..], &PORTS]
        .map(|left_out| (start_in(&namespaces, &netclass_without(left_out)), left_out));
    namespaces.run(|| {
        let shown = daemons.each_ref().map(|(daemon, left_out)| Shown { daemon, left_out });
        interfaces_are_those_of_sysfs(&namespaces, LEAST_KINDS, &shown);
    });
}

/// Netlink answers for the machine's own interfaces then.
#[test]
#[ignore = "needs root, iproute2 and ethtool: cargo test --features full --test system_devices -- --ignored"]
fn interfaces_are_those_of_the_namespace_of_sysfs() {
    harness::needs("root, iproute2 and ethtool");
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let daemon = Daemon::start_by(&netclass_without(&[]), |command| {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", namespaces.holder())).args(["--mount", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        *command = inside;
    });
    let shown = Shown { daemon: &daemon, left_out: &[] };
    interfaces_are_those_of_sysfs(&namespaces, LEAST_KINDS, &[shown]);
}

/// A file of zeros as a disk; gone with the value.
struct Loop {
    device: String,
    point: PathBuf,
    attached: bool,
}

impl Loop {
    fn attach(directory: &Path, number: u64) -> Loop {
        let (image, point) =
            (directory.join(format!("image{number}")), directory.join(format!("mount{number}")));
        let file = fs::File::create(&image).expect("a file");
        file.set_len((8 + 8 * number) << 20).expect("a sparse file");
        fs::create_dir(&point).expect("a directory");
        let (status, device, stderr) =
            harness::output(Command::new("losetup").args(["--find", "--show"]).arg(&image));
        assert_eq!(status, 0, "{stderr}");
        let device = device.trim().trim_start_matches("/dev/").to_owned();
        Loop { device, point, attached: true }
    }

    fn make_file_system(&self) {
        let mut command = Command::new("mkfs.ext4");
        command.args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        let (status, _, stderr) = harness::output(command.arg(format!("/dev/{}", self.device)));
        assert_eq!(status, 0, "{stderr}");
    }

    fn mount(&self, namespaces: &Namespaces, options: &str) {
        let point = self.point.display();
        namespaces.sh(&format!("mount -t ext4 -o {options} /dev/{} {point}", self.device));
    }

    /// Unmounts it. A statfs under way holds it up for the microsecond that it takes; a descriptor
    /// that is kept would hold it up for good.
    fn unmount(&self, namespaces: &Namespaces) {
        let point = self.point.display();
        namespaces.sh(&format!("umount {point} || umount {point} || umount {point}"));
    }

    /// Detaches it, which the kernel puts off while anyone has it open.
    fn detach(&mut self) {
        let status =
            Command::new("losetup").args(["--detach", &format!("/dev/{}", self.device)]).status();
        self.attached = false;
        assert!(status.expect("losetup of util-linux").success());
        let backing = format!("/sys/block/{}/loop/backing_file", self.device);
        assert!(!Path::new(&backing).exists(), "/dev/{} is held open", self.device);
    }

    /// What statfs(2) says, by coreutils: block size, blocks, free, available, inodes, free.
    fn space(&self, namespaces: &Namespaces) -> [f64; 5] {
        let text =
            namespaces.sh(&format!("stat -f -c '%S %b %f %a %c %d' {}", self.point.display()));
        let numbers: Vec<f64> =
            text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        [
            numbers[1] * numbers[0],
            numbers[2] * numbers[0],
            numbers[3] * numbers[0],
            numbers[4],
            numbers[5],
        ]
    }

    fn shown_space(&self, page: &Page) -> Option<[f64; 5]> {
        let device = format!("/dev/{}", self.device);
        let labels = [
            ("device", device.as_str()),
            ("mountpoint", self.point.to_str().expect("text")),
            ("fstype", "ext4"),
            ("device_error", ""),
        ];
        let value = |what| page.value(&format!("node_filesystem_{what}"), &labels);
        Some([
            value("size_bytes")?,
            value("free_bytes")?,
            value("avail_bytes")?,
            value("files")?,
            value("files_free")?,
        ])
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.attached {
            let _ = Command::new("losetup")
                .args(["--detach", &format!("/dev/{}", self.device)])
                .status();
        }
    }
}

/// Columns of `/sys/block/*/stat` (Documentation/block/stat.rst) that are counters, their families
/// and units.
const COLUMNS: [(usize, &str, f64); 8] = [
    (0, "node_disk_reads_completed_total", 1.0),
    (2, "node_disk_read_bytes_total", 512.0),
    (3, "node_disk_read_time_seconds_total", 0.001),
    (4, "node_disk_writes_completed_total", 1.0),
    (6, "node_disk_written_bytes_total", 512.0),
    (7, "node_disk_write_time_seconds_total", 0.001),
    (9, "node_disk_io_time_seconds_total", 0.001),
    (15, "node_disk_flush_requests_total", 1.0),
];

fn counters(device: &str) -> Vec<f64> {
    let text = fs::read_to_string(format!("/sys/block/{device}/stat")).expect("a disk");
    let fields: Vec<f64> =
        text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    COLUMNS.iter().map(|(column, _, scale)| fields[*column] * scale).collect()
}

fn shown_counters(page: &Page, device: &str) -> Vec<f64> {
    COLUMNS
        .iter()
        .map(|(_, family, _)| page.value(family, &[("device", device)]).expect("a disk"))
        .collect()
}

/// The disks that the kernel has now.
fn disks() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/diskstats").expect("a kernel with disks");
    text.lines().filter_map(|line| Some(line.split_whitespace().nth(2)?.to_owned())).collect()
}

fn start_in(namespaces: &Namespaces, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

const DISKS: &str = "[collectors.diskstats]\nenabled = true\ndevice_exclude = \"\"\n\
                     [collectors.filesystem]\nenabled = true\n";

#[test]
#[ignore = "needs root, loop devices, zram, util-linux and e2fsprogs: cargo test --features full --test system_devices -- --ignored"]
fn disks_and_file_systems_come_and_go() {
    harness::needs("root, loop devices, zram, util-linux and e2fsprogs");
    let directory = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let daemon = start_in(&namespaces, &format!("{ONLY}{DISKS}"));
    let ended = AtomicBool::new(false);
    let pages = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Scrapes without pause, so that every change meets one.
        scope.spawn(|| {
            let mut client = Client::connect(daemon.address());
            while !ended.load(Ordering::SeqCst) {
                client.page();
                pages.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _over = Over(&ended);
        let page = || Page::parse(&daemon.metrics().body);

        let mut loops: Vec<Loop> =
            (1..=3).map(|number| Loop::attach(directory.path(), number)).collect();
        for disk in &loops {
            disk.make_file_system();
            disk.mount(&namespaces, "noatime");
            let (shown, said) = (disk.shown_space(&page()), disk.space(&namespaces));
            assert_eq!(shown, Some(said), "{}", disk.device);
        }
        assert_eq!(page().values_of("node_disk_read_bytes_total", "device"), disks());

        // Work on the second of them is counted there and nowhere else.
        namespaces.sh("sync");
        let before: Vec<_> =
            loops.iter().map(|disk| shown_counters(&page(), &disk.device)).collect();
        namespaces.sh(&format!(
            "dd if=/dev/zero of={}/file bs=1M count=4 conv=fsync status=none",
            loops[1].point.display()
        ));
        for (number, (disk, before)) in loops.iter().zip(&before).enumerate() {
            let least = counters(&disk.device);
            let shown = shown_counters(&page(), &disk.device);
            let most = counters(&disk.device);
            for (((least, shown), most), column) in least.iter().zip(&shown).zip(&most).zip(COLUMNS)
            {
                assert!(least <= shown && shown <= most, "{}: {column:?} is {shown}", disk.device);
            }
            let written = shown[4] - before[4];
            let expected = if number == 1 { 4 << 20..6 << 20 } else { 0..1 };
            assert!(expected.contains(&(written as i64)), "{}: {written}", disk.device);
        }
        let (shown, said) = (loops[1].shown_space(&page()), loops[1].space(&namespaces));
        assert_eq!(shown, Some(said));

        // Unmounting, mounting and detaching are not held up.
        for round in 0..20 {
            let disk = &loops[round % 3];
            disk.unmount(&namespaces);
            assert_eq!(disk.shown_space(&page()), None, "{} is not mounted", disk.device);
            disk.mount(&namespaces, "noatime");
            assert!(disk.shown_space(&page()).is_some());
        }
        for disk in &mut loops {
            disk.unmount(&namespaces);
            disk.detach();
        }
        let after = page();
        assert!(loops.iter().all(|disk| disk.shown_space(&after).is_none()));
        assert_eq!(page().values_of("node_disk_read_bytes_total", "device"), disks());

        // A disk that is really gone, and its number taken by the next.
        for _ in 0..5 {
            let number = fs::read_to_string("/sys/class/zram-control/hot_add").expect("zram");
            let (number, device) = (number.trim(), format!("zram{}", number.trim()));
            fs::write(format!("/sys/block/{device}/disksize"), "1048576").expect("zram");
            let shows =
                || page().values_of("node_disk_read_bytes_total", "device").contains(&device);
            assert!(shows(), "{device} is not there");
            fs::write("/sys/class/zram-control/hot_remove", number).expect("no program holds it");
            assert!(!shows(), "{device} is still there");
        }
    });
    println!("{} pages meanwhile", pages.load(Ordering::SeqCst));
}

#[test]
#[ignore = "needs root, loop devices, util-linux and e2fsprogs: cargo test --features full --test system_devices -- --ignored"]
fn a_file_system_that_an_error_makes_read_only_is_seen_without_a_reload() {
    harness::needs("root, loop devices, util-linux and e2fsprogs");
    let directory = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let (sick, healthy) = (Loop::attach(directory.path(), 1), Loop::attach(directory.path(), 2));
    for disk in [&sick, &healthy] {
        disk.make_file_system();
        disk.mount(&namespaces, "errors=remount-ro");
    }
    let daemon = start_in(&namespaces, &format!("{ONLY}{DISKS}"));
    let read_only = |disk: &Loop| {
        let point = disk.point.to_str().expect("text");
        Page::parse(&daemon.metrics().body)
            .value("node_filesystem_readonly", &[("mountpoint", point)])
    };
    for _ in 0..10 {
        assert_eq!((read_only(&sick), read_only(&healthy)), (Some(0.0), Some(0.0)));
    }
    let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", sick.device);
    fs::write(&trigger, "1").expect("ext4 can be told to fail");
    let begun = std::time::Instant::now();
    until("it is read-only", || {
        namespaces
            .sh(&format!("touch {}/x 2>&1 || true", sick.point.display()))
            .contains("Read-only")
    });
    assert_eq!((read_only(&sick), read_only(&healthy)), (Some(1.0), Some(0.0)));
    println!("read-only {:?} after the error", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10));
    for disk in [&sick, &healthy] {
        disk.unmount(&namespaces);
    }
    assert_eq!((read_only(&sick), read_only(&healthy)), (None, None));
}

/// The kernel announces most changes of the list of mounts, and the list is read when it has. These are
/// shown by the next page, whether they are announced or not.
#[test]
#[ignore = "needs root, util-linux: cargo test --features full --test system_devices -- --ignored"]
fn every_change_of_mounts_is_in_the_next_page() {
    harness::needs("root, util-linux");
    let directory = tempfile::tempdir().expect("a directory");
    let above = directory.path().join("above");
    let point = above.join("point").display().to_string();
    let moved = directory.path().join("moved").display().to_string();
    let below_moved = format!("{moved}/point");
    let bound = directory.path().join("bound").display().to_string();
    fs::create_dir_all(&point).expect("directories");
    fs::create_dir(&bound).expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let daemon = start_in(&namespaces, &format!("{ONLY}[collectors.filesystem]\nenabled = true\n"));
    // Whether each is read-only, and not there at all.
    let shown = || {
        let page = Page::parse(&daemon.metrics().body);
        [&point, &below_moved, &bound].map(|point| {
            let labels = [("device", "one"), ("mountpoint", point), ("device_error", "")];
            page.value("node_filesystem_readonly", &labels)
        })
    };
    const RW: Option<f64> = Some(0.0);
    const RO: Option<f64> = Some(1.0);
    let steps = [
        ("mounted", format!("mount -t tmpfs one {point}"), [RW, None, None]),
        ("the mount read-only", format!("mount -o remount,bind,ro {point}"), [RO, None, None]),
        ("and writable", format!("mount -o remount,bind,rw {point}"), [RW, None, None]),
        ("the file system", format!("mount -o remount,ro {point}"), [RO, None, None]),
        ("and writable", format!("mount -o remount,rw {point}"), [RW, None, None]),
        ("bound", format!("mount --bind {point} {bound}"), [RW, None, RW]),
        (
            "read-only by another namespace, not announced",
            format!("unshare --mount mount -o remount,ro {point}"),
            [RO, None, RO],
        ),
        (
            "writable by another namespace, not announced",
            format!("unshare --mount mount -o remount,rw {point}"),
            [RW, None, RW],
        ),
        (
            "a directory above renamed, not announced",
            format!("mv {} {moved}", above.display()),
            [None, RW, RW],
        ),
        (
            "and the old name used again, not announced",
            format!("mkdir -p {point} && mv {moved} {moved}2 && mv {} {moved}", above.display()),
            [None, None, RW],
        ),
        ("covered", format!("mount -t tmpfs -o ro two {bound}"), [None, None, RW]),
        ("uncovered", format!("umount {bound} && umount {bound}"), [None, None, None]),
    ];
    for (what, change, expected) in steps {
        // What was asked in between is not to make it right by chance.
        for _ in 0..3 {
            shown();
        }
        namespaces.sh(&change);
        assert_eq!(shown(), expected, "{what}: {change}");
    }
}

/// Directories that get other names take the mounts below them along, which the kernel does not announce. What lies at
/// the old name then is not taken for the mount, though it is as large and of the same type, or the same file system.
#[test]
#[ignore = "needs root, util-linux: cargo test --features full --test system_devices -- --ignored"]
fn what_has_moved_is_not_taken_for_what_is_in_its_place() {
    harness::needs("root, util-linux");
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().display().to_string();
    let namespaces = Namespaces::of_mounts();
    namespaces.sh(&format!(
        "mount -t tmpfs -o size=4m base {base} && cd {base} && mkdir -p bound a/point b/point c/point data && \
         mount -t tmpfs -o size=4m one a/point && mount -t tmpfs -o size=4m two b/point && \
         mount --bind data c/point && mount --bind data bound && \
         dd if=/dev/zero of=a/point/file bs=1M count=1 status=none && \
         dd if=/dev/zero of=b/point/file bs=1M count=2 status=none && \
         dd if=/dev/zero of=file bs=1M count=3 status=none"
    ));
    let daemon = start_in(&namespaces, &format!("{ONLY}[collectors.filesystem]\nenabled = true\n"));
    // The places of each device, and how many MiB are free there.
    let shown = || {
        let page = Page::parse(&daemon.metrics().body);
        let here = page.family("node_filesystem_free_bytes").filter_map(|(series, free)| {
            let point = series.label("mountpoint")?.strip_prefix(&base)?.trim_start_matches('/');
            Some(format!("{} {point} {}", series.label("device")?, free / f64::from(1 << 20)))
        });
        let mut here: Vec<String> = here.collect();
        here.sort_unstable();
        here.join(", ")
    };
    let steps = [
        ("true", "base  1, base bound 1, base c/point 1, one a/point 3, two b/point 2"),
        // Another file system, as large.
        (
            "mv a d && mkdir -p a/point",
            "base  1, base bound 1, base c/point 1, one d/point 3, two b/point 2",
        ),
        // A directory of the same file system.
        (
            "mv c e && mkdir -p c/point",
            "base  1, base bound 1, base e/point 1, one d/point 3, two b/point 2",
        ),
        // Two mounts that are alike.
        (
            "mv d f && mv b d && mv f b",
            "base  1, base bound 1, base e/point 1, one b/point 3, two d/point 2",
        ),
        (
            "mv e f && mv d e && mv f d",
            "base  1, base bound 1, base d/point 1, one b/point 3, two e/point 2",
        ),
    ];
    for (change, expected) in steps {
        // What was asked in between is not to make it right by chance.
        for _ in 0..3 {
            shown();
        }
        namespaces.sh(&format!("cd {base} && {change}"));
        assert_eq!(shown(), expected, "{change}");
    }
}

/// A process that is the first one of namespaces of its own and does what the test says.
struct FirstProcess {
    child: std::process::Child,
    said: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl FirstProcess {
    fn start() -> FirstProcess {
        use std::io::BufRead;
        let mut child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["sh", "-c", "while read -r line; do eval \"$line\" && echo did; done"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let said = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut first = FirstProcess { child, said };
        // It is there.
        first.does("true");
        first
    }

    /// Has it run a line of shell, without another process where that matters.
    fn does(&mut self, line: &str) {
        use std::io::Write;
        let mut input = self.child.stdin.as_ref().expect("a pipe");
        writeln!(input, "{line}").expect("it listens");
        let said = self.said.next().expect("it lives").expect("text");
        assert_eq!(said, "did", "{line}");
    }

    /// A command in its namespaces.
    fn command(&self, program: &std::ffi::OsStr) -> Command {
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let first = children.expect("a process").trim().to_owned();
        let mut command = Command::new("nsenter");
        command.args([format!("--target={first}").as_str(), "--mount", "--pid", "--"]).arg(program);
        command
    }
}

impl Drop for FirstProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a container does, and as a machine does when it leaves its first root.
#[test]
#[ignore = "needs root, util-linux: cargo test --features full --test system_devices -- --ignored"]
fn the_mounts_are_those_of_process_1_after_it_has_taken_another_root() {
    harness::needs("root, util-linux");
    let directory = tempfile::tempdir().expect("a directory");
    let [clone, point] = ["clone", "point"].map(|name| directory.path().join(name));
    for place in [&clone, &point] {
        fs::create_dir(place).expect("a directory");
    }
    let [clone, point] = [clone, point].map(|place| place.display().to_string());
    let mut first = FirstProcess::start();
    let config = format!("{ONLY}[collectors.filesystem]\nenabled = true\n");
    let daemon = Daemon::start_by(&config, |command| {
        let mut inside = first.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    });
    // What is mounted at these places, and whether all went well.
    let shown = || {
        let page = Page::parse(&daemon.metrics().body);
        let success = page.value("node_scrape_collector_success", &[("collector", "filesystem")]);
        let free = |point: &str| {
            let labels = [("mountpoint", point), ("device_error", "")];
            page.family("node_filesystem_free_bytes")
                .filter(|(series, _)| labels.iter().all(|(l, v)| series.label(l) == Some(*v)))
                .filter_map(|(series, _)| series.label("device").map(str::to_owned))
                .collect::<Vec<_>>()
                .join(" ")
        };
        (success, free("/"), free(&point))
    };
    let root = shown().1;
    assert!(!root.is_empty());
    // The old root is still there, at a place in the new one, which is a copy of it; and then it is not.
    let changes = [
        format!("cd {clone} && pivot_root . .{clone}"),
        format!(
            "umount -l {point} && umount -l {clone} && mount --rbind / {clone} && \
                 cd {clone} && pivot_root . . && umount -l ."
        ),
    ];
    first.does(&format!("mount --rbind / {clone}"));
    for (round, change) in changes.iter().enumerate() {
        for _ in 0..3 {
            shown();
        }
        first.does(change);
        for _ in 0..3 {
            assert_eq!(shown(), (Some(1.0), root.clone(), String::new()), "{change}");
        }
        first.does(&format!("mount -t tmpfs after{round} {point}"));
        for _ in 0..3 {
            assert_eq!(shown(), (Some(1.0), root.clone(), format!("after{round}")), "{change}");
        }
    }
}
