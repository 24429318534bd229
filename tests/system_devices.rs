//! Interfaces, disks and file systems that come, go and change their names while they are watched.

mod harness;
mod system;

use harness::{Daemon, until};
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
                disturb(&namespaces, &history);
                ended.store(true, Ordering::SeqCst);
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
fn interfaces_have_their_own_figures_under_every_name() {
    if harness::system("root and iproute2") {
        interfaces("netlink = true");
        interfaces("netlink = false");
    }
}

/// What sysfs has of the interfaces in a mount namespace, but for attributes that are empty.
fn attributes(namespaces: &Namespaces) -> BTreeMap<(String, String), String> {
    let names = ATTRIBUTES.map(|(_, attribute, _)| attribute);
    let texts = ["address", "broadcast", "duplex", "operstate", "ifalias"];
    let paths: String =
        names.iter().chain(&texts).map(|attribute| format!(" */{attribute}")).collect();
    // grep fails because of the attributes that have no value.
    let text = namespaces.sh(&format!("cd /sys/class/net && grep -sH '' {paths} || true"));
    let line = |line: &str| {
        let (path, content) = line.split_once(':').expect("a path");
        let (name, attribute) = path.split_once('/').expect("a directory");
        ((name.to_owned(), attribute.to_owned()), content.trim().to_owned())
    };
    text.lines().map(line).filter(|(_, content)| !content.is_empty()).collect()
}

/// The families of attributes that are numbers, and their units.
const ATTRIBUTES: [(&str, &str, f64); 17] = [
    ("node_network_flags", "flags", 1.0),
    ("node_network_address_assign_type", "addr_assign_type", 1.0),
    ("node_network_carrier", "carrier", 1.0),
    ("node_network_carrier_changes_total", "carrier_changes", 1.0),
    ("node_network_carrier_up_changes_total", "carrier_up_count", 1.0),
    ("node_network_carrier_down_changes_total", "carrier_down_count", 1.0),
    ("node_network_device_id", "dev_id", 1.0),
    ("node_network_dormant", "dormant", 1.0),
    ("node_network_iface_id", "ifindex", 1.0),
    ("node_network_iface_link", "iflink", 1.0),
    ("node_network_iface_link_mode", "link_mode", 1.0),
    ("node_network_mtu_bytes", "mtu", 1.0),
    ("node_network_net_dev_group", "netdev_group", 1.0),
    ("node_network_name_assign_type", "name_assign_type", 1.0),
    ("node_network_speed_bytes", "speed", 125_000.0),
    ("node_network_transmit_queue_length", "tx_queue_len", 1.0),
    ("node_network_protocol_type", "type", 1.0),
];

/// What a page has of that.
fn shown_attributes(page: &Page) -> BTreeMap<(String, String), String> {
    let mut shown = BTreeMap::new();
    for (family, attribute, unit) in ATTRIBUTES {
        for (series, value) in page.family(family) {
            let name = series.label("device").expect("a device").to_owned();
            let value = value / unit;
            let text = if attribute == "flags" || attribute == "dev_id" {
                format!("{:#x}", value as u64)
            } else {
                value.to_string()
            };
            shown.insert((name, attribute.to_owned()), text);
        }
    }
    for (series, _) in page.family("node_network_info") {
        let name = series.label("device").expect("a device");
        for attribute in ["address", "broadcast", "duplex", "operstate", "ifalias"] {
            let text = series.label(attribute).unwrap_or_default().to_owned();
            if !text.is_empty() {
                shown.insert((name.to_owned(), attribute.to_owned()), text);
            }
        }
    }
    shown
}

/// Changes of interfaces, and how many pages later all of each is seen.
const LINK_CHANGES: &[(&str, usize)] = &[
    ("ip link add v0 type veth peer name v1", 0),
    ("ip link set v0 up", 0),
    ("ip link set v1 up", 0),
    ("ip link set v1 down", 0),
    ("ip link set v1 up && ip link set v1 down && ip link set v1 up", 0),
    ("ip link set v0 mtu 1400", 0),
    ("ip link set v0 address 02:00:00:00:00:77", 0),
    ("ip link set v0 alias ' to the rack, and a long way further'", 0),
    ("ip link set v0 alias ''", 0),
    ("ip link set v0 txqueuelen 77", 0),
    ("ip link set v0 group 5", 0),
    ("ip link set v0 promisc on", 0),
    ("ip link set v0 allmulticast on", 0),
    ("ip link set v0 multicast off arp off", 0),
    ("ip link set v0 mode dormant", 0),
    ("ip link set v0 mode default", 0),
    ("ip link add br0 type bridge", 0),
    // In a bridge an interface takes all packets, of which its flags in netlink say nothing.
    ("ip link set v1 master br0 && ip link set br0 up", 0),
    ("ip link set v1 nomaster", 0),
    ("ip link set v0 down && ip link set v0 name w0", 0),
    ("ip link set w0 up", 0),
    (
        "ip link set w0 down && ip link set w0 name x && ip link set v1 down && ip link set v1 name w0",
        0,
    ),
    ("ip link set x name v1", 0),
    (
        "i=$(cat /sys/class/net/v1/ifindex); ip link delete v1 && ip link add v1 index $i type ifb",
        0,
    ),
    ("ip link add i0 type ifb && ip link set i0 up", 0),
    ("ip link delete i0 && ip link add i0 type ifb", 0),
    ("ip tuntap add t0 mode tun && ip link set t0 up", 0),
    // The speed of a tun changes without an event.
    ("ethtool -s t0 speed 1000 duplex half autoneg off", 32),
    ("ip link set lo mtu 1600", 0),
    ("ip link set lo down && ip link set lo up", 0),
    ("for i in $(seq 20); do ip link add many$i type ifb; done", 0),
    ("for i in $(seq 20); do ip link delete many$i; done", 0),
];

/// The same of kinds of interfaces that not every kernel has.
const CHANGES_OF_KINDS: &[(&str, &[&str])] = &[
    ("dummy", &["ip link add d0 type dummy && ip link set d0 up", "ip link set d0 carrier off"]),
    ("vlan", &["ip link add link br0 name br0.5 type vlan id 5", "ip link set br0.5 up"]),
    (
        "macvlan",
        &[
            "ip link add link br0 name m0 type macvlan && ip link set m0 up",
            "ip link set m0 protodown on",
            "ip link set m0 protodown off",
        ],
    ),
    (
        "bond",
        &[
            "ip link add bond0 type bond && ip link add s0 type veth peer name s1",
            "ip link set s0 master bond0",
            "ip link set s1 up && ip link set bond0 up",
        ],
    ),
];

/// Whether the kernel has interfaces of this kind; says what is left out where it has not.
fn has_kind(namespaces: &Namespaces, kind: &str) -> bool {
    let parent = if kind.ends_with("vlan") { "link br0" } else { "" };
    let id = if kind == "vlan" { "id 9" } else { "" };
    let add = format!("ip link add {parent} name probe type {kind} {id}");
    let answer =
        namespaces.sh(&format!("({add} && ip link delete probe && echo yes) 2>&1 || true"));
    let has = answer.contains("yes");
    if !has {
        println!("left out: interfaces of kind {kind}, which this kernel lacks: {}", answer.trim());
    }
    has
}

/// Changes interfaces in namespaces with a sysfs of their own and compares each page with it.
fn interfaces_are_those_of_sysfs(namespaces: &Namespaces, page: &dyn Fn() -> Page) {
    let more = CHANGES_OF_KINDS.iter().filter(|(kind, _)| has_kind(namespaces, kind));
    let more = more.flat_map(|(_, changes)| changes.iter().map(|change| (*change, 0)));
    for (change, later) in LINK_CHANGES.iter().copied().chain(more) {
        // What has settled is not read again.
        for _ in 0..3 {
            page();
        }
        namespaces.sh(&format!("({change}) 2>&1"));
        for _ in 0..later {
            page();
        }
        // The state of a link changes some time after the link.
        until("a page shows what sysfs has before it and after it", || {
            let before = attributes(namespaces);
            let shown = shown_attributes(&page());
            let is_settled = attributes(namespaces) == before;
            assert!(!is_settled || shown == before, "{change}: {}", differences(&shown, &before));
            is_settled
        });
    }
}

fn differences(
    shown: &BTreeMap<(String, String), String>,
    expected: &BTreeMap<(String, String), String>,
) -> String {
    let both: BTreeSet<_> = shown.keys().chain(expected.keys()).collect();
    let different = both.into_iter().filter(|key| shown.get(key) != expected.get(key));
    different
        .map(|key| format!("{key:?}: {:?}, not {:?}; ", shown.get(key), expected.get(key)))
        .collect()
}

const NETCLASS: &str = "[collectors.netclass]\nenabled = true\n";

#[test]
fn interfaces_are_what_sysfs_says() {
    if !harness::system("root, iproute2 and ethtool") {
        return;
    }
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let daemon = start_in(&namespaces, &format!("{ONLY}{NETCLASS}"));
    namespaces.run(|| {
        let page = || Page::parse(&daemon.metrics().body);
        interfaces_are_those_of_sysfs(&namespaces, &page);
    });
}

/// Netlink answers for the machine's own interfaces then.
#[test]
fn interfaces_are_those_of_the_namespace_of_sysfs() {
    if !harness::system("root, iproute2 and ethtool") {
        return;
    }
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let daemon = Daemon::start_by(&format!("{ONLY}{NETCLASS}"), |command| {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", namespaces.holder())).args(["--mount", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        *command = inside;
    });
    let page = || Page::parse(&daemon.metrics().body);
    interfaces_are_those_of_sysfs(&namespaces, &page);
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
fn disks_and_file_systems_come_and_go() {
    if !harness::system("root, loop devices, zram, util-linux and e2fsprogs") {
        return;
    }
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
        let _end = AtTheEnd(&ended);
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

/// Ends the thread that scrapes, also when the test fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_file_system_that_an_error_makes_read_only_is_seen_without_a_reload() {
    if !harness::system("root, loop devices, util-linux and e2fsprogs") {
        return;
    }
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
fn every_change_of_mounts_is_in_the_next_page() {
    if !harness::system("root, util-linux") {
        return;
    }
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
