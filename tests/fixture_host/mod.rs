//! The hosts of `tests/fixtures/hosts`, loaded into memory.
//!
//! A host is a folder. Its folders `proc`, `sys`, `udev` and `rootfs` are the roots of those
//! names, and `file` holds what a collector names by a path of the user's (`file:/etc/localtime`
//! is `file/etc/localtime`). What a folder in git cannot hold stands in `links.txt`, a line each:
//!
//! ```text
//! link PATH TARGET         a symbolic link
//! name FILE PATH           names/FILE is the file PATH, whose name not every file system takes
//! directory PATH           a directory that may be empty
//! fails PATH ERRNO         reading the file, or listing the directory, fails
//! space-fails MOUNT ERRNO  statfs(2) on the mount point fails
//! space-hangs MOUNT        statfs(2) on the mount point does not return
//! machine NAME             what uname(2) says of the hardware, where it is not x86_64
//! ```
//!
//! Attributes of sysfs are mostly files of one line, so that most of them are together in `attributes.txt`: a
//! line with a directory in brackets, and below it a line for each file, its name and its line.
//!
//! ```text
//! [sys/class/power_supply/BAT0]
//! type Battery
//! capacity 81
//! ```
//!
//! `config.toml` has the settings with which the collectors make the host's page, and `page.prom` is that page.
//!
//! What services say over the bus is in `bus.txt` (see `bus.rs`).
//!
//! What is no file is made from what is one, so that the two agree: network interfaces, their addresses,
//! routes, queueing disciplines and drivers from `proc/net/dev`, neighbours from `proc/net/arp`, TCP sockets from
//! `proc/net/tcp` and `tcp6`, the space of file systems from `proc/1/mountinfo`, the kernel's release from
//! `proc/sys/kernel/osrelease`. The clock is the same on each, and so are the NTP
//! server and supervisord.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use vitald_core::host::{
    Address, BtrfsDevice, BtrfsDevices, ClockDiscipline, Entry, EthtoolAnswers, EthtoolDriver,
    EthtoolSettings, Kind, Link, LinkStatistics, Listing, Neighbour, NetworkRoute,
    QueueingDiscipline, Space, StatfsError, TcpSocket, Uname,
};
use vitald_core::testing::MemoryHost;
use vitald_core::text;

mod bus;

/// A host as it is in its folder.
#[derive(Clone)]
pub struct FixtureHost {
    /// The folder's name.
    pub name: String,
    /// By logical path.
    pub files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
    directories: Vec<String>,
    failures: Vec<(String, i32)>,
    spaces: Vec<(String, Result<Space, StatfsError>)>,
    interfaces: Vec<Link<'static>>,
    neighbours: Vec<Neighbour>,
    tcp_sockets: Vec<TcpSocket>,
    bus: String,
    uname: Uname,
}

/// Where the hosts are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hosts")
}

/// Every host, by name.
pub fn hosts() -> Vec<FixtureHost> {
    let entries = fs::read_dir(folder()).expect("the folder of the hosts is there");
    let folders = entries.map(|entry| entry.expect("the folder can be listed").path());
    let mut hosts: Vec<FixtureHost> =
        folders.filter(|path| path.is_dir()).map(|path| FixtureHost::load(&path)).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!hosts.is_empty(), "there are no hosts");
    hosts
}

/// The host of that name.
pub fn host(name: &str) -> FixtureHost {
    FixtureHost::load(&folder().join(name))
}

impl FixtureHost {
    fn load(folder: &Path) -> Self {
        let mut host = FixtureHost {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            directories: Vec::new(),
            failures: Vec::new(),
            spaces: Vec::new(),
            interfaces: Vec::new(),
            neighbours: Vec::new(),
            tcp_sockets: Vec::new(),
            bus: fs::read_to_string(folder.join("bus.txt")).unwrap_or_default(),
            uname: Uname::default(),
        };
        for root in ["proc", "sys", "udev", "rootfs", "file"] {
            host.load_files(&folder.join(root), root);
        }
        host.load_attributes(
            &fs::read_to_string(folder.join("attributes.txt")).unwrap_or_default(),
        );
        let mut space_failures = BTreeMap::new();
        let mut machine = "x86_64";
        let text = fs::read_to_string(folder.join("links.txt")).unwrap_or_default();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["link", path, target] => {
                    host.links.insert(path.to_owned(), target.to_owned());
                }
                ["name", file, path] => {
                    host.files.insert(path.to_owned(), read(&folder.join("names").join(file)));
                }
                ["machine", name] => machine = name,
                ["directory", path] => host.directories.push(path.to_owned()),
                ["fails", path, errno] => host.failures.push((path.to_owned(), number(errno))),
                ["space-fails", mount, errno] => {
                    space_failures.insert(mount.to_owned(), StatfsError::Failed(number(errno)));
                }
                ["space-hangs", mount] => {
                    space_failures.insert(mount.to_owned(), StatfsError::Stuck);
                }
                _ => panic!("{}/links.txt: {line}", host.name),
            }
        }
        for (position, mount) in host.mount_points().into_iter().enumerate() {
            let space = match space_failures.remove(&mount) {
                Some(error) => Err(error),
                None => Ok(space(position as u64)),
            };
            host.spaces.push((mount, space));
        }
        assert!(space_failures.is_empty(), "{}: {space_failures:?} are no mounts", host.name);
        host.interfaces = host.interfaces_of_files();
        host.neighbours = host.neighbours_of_files();
        host.tcp_sockets = host.tcp_sockets_of_files();
        let release = host.files.get("proc/sys/kernel/osrelease").map(Vec::as_slice);
        host.uname = Uname {
            sysname: "Linux".into(),
            nodename: host.name.replace('_', "-"),
            release: String::from_utf8_lossy(release.unwrap_or_default()).trim().into(),
            version: "#1 SMP".into(),
            machine: machine.into(),
            domainname: "(none)".into(),
        };
        host
    }

    fn load_attributes(&mut self, text: &str) {
        let mut directory = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                directory = name;
                continue;
            }
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let file =
                self.files.insert(format!("{directory}/{name}"), format!("{value}\n").into_bytes());
            assert!(file.is_none(), "{}: {directory}/{name} is there twice", self.name);
        }
    }

    fn load_files(&mut self, folder: &Path, logical: &str) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.expect("a fixture can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let separator = if logical == "file" { ":/" } else { "/" };
            let logical = format!("{logical}{separator}{name}");
            if path.is_dir() {
                self.load_files(&path, &logical);
            } else {
                self.files.insert(logical, read(&path));
            }
        }
    }

    /// The host in memory, with all that is no file.
    pub fn memory(&self) -> MemoryHost {
        let memory = self.only_files();
        memory.set_links(self.interfaces.clone());
        memory.set_addresses(addresses(&self.interfaces));
        memory.set_neighbours(self.neighbours.clone());
        memory.set_routes(routes(&self.interfaces));
        memory.set_queueing_disciplines(disciplines(&self.interfaces));
        for link in &self.interfaces {
            memory.set_ethtool(link.name, ethtool(link));
        }
        memory.set_tcp_sockets(self.tcp_sockets.clone());
        memory.set_clock_discipline(Ok(clock_discipline()));
        bus::answer(&memory, &self.bus);
        memory.set_exchange(|_, request| Ok(ntp_answer(request)));
        memory.set_conversation(|_, _| Ok(supervisord_answer()));
        memory.set_perf_counters(|event, cpu| {
            Ok((u64::from(event.kind) << 40 | (event.config & 0xfffff) << 8) + u64::from(cpu))
        });
        for (mount, space) in &self.spaces {
            memory.set_space(mount, *space);
        }
        if let Some((mount, devices)) = self.btrfs_of_files() {
            memory.set_btrfs_devices(&mount, Ok(devices));
        }
        memory.set_uname(self.uname.clone());
        memory
    }

    /// The host in memory, where netlink is absent and no file system tells its space.
    pub fn only_files(&self) -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in &self.files {
            memory.write(path, content);
        }
        for (path, target) in &self.links {
            memory.link(path, target);
        }
        for path in &self.directories {
            memory.make_directory(path);
        }
        for (path, errno) in &self.failures {
            memory.fail(path, *errno);
        }
        memory
    }

    /// Writes the files and links below a folder of the disk, where the roots of procfs, sysfs and
    /// udev are then `proc`, `sys` and `udev`.
    pub fn write_to(&self, folder: &Path) {
        for (path, content) in self.files.iter().filter(|(path, _)| !path.starts_with("file:")) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
            let mut file = fs::File::create(path).expect("the file is made");
            file.write_all(content).expect("the file is written");
            // A collector reads what was changed a moment ago once more.
            file.set_modified(UNIX_EPOCH).expect("the file is dated back");
        }
        for (path, target) in &self.links {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
            std::os::unix::fs::symlink(target, path).expect("the link is made");
        }
    }

    /// The host with these files alone.
    pub fn with_only(&self, paths: &BTreeSet<String>) -> FixtureHost {
        let mut host = self.clone();
        host.files.retain(|path, _| paths.contains(path));
        host.failures.retain(|(path, _)| paths.contains(path));
        host
    }

    /// The files that a pattern such as `sys/block/*/queue/rotational` leads to, by the paths that
    /// they really have, those that fail included.
    pub fn expand(&self, pattern: &str) -> BTreeSet<String> {
        let known = |path: &String| {
            self.files.contains_key(path)
                || self.failures.iter().any(|(failing, _)| failing == path)
        };
        self.walk(pattern).into_iter().filter(known).collect()
    }

    /// The directories that are listed on the way to where a pattern leads, and those that it leads
    /// to, such as `proc/*/fd`.
    pub fn listed(&self, pattern: &str) -> BTreeSet<String> {
        let host = self.only_files().host();
        let above = pattern.match_indices('*').filter_map(|(at, _)| pattern[..at].rsplit_once('/'));
        above
            .map(|(above, _)| above)
            .chain([pattern])
            .flat_map(|pattern| self.walk(pattern))
            .filter(|path| host.list(path, &mut Listing::new()).is_ok())
            .collect()
    }

    /// Gives a directory of the memory host another child of any name for each kind of child that
    /// it has: a file, a directory, a link to the same as another one. Says whether it has any.
    pub fn copy_a_child(&self, memory: &MemoryHost, directory: &str, name: &[u8]) -> bool {
        let host = memory.host();
        let mut listing = Listing::new();
        if host.list(directory, &mut listing).is_err() {
            return false;
        }
        let new = |suffix: &str| [directory.as_bytes(), b"/", name, suffix.as_bytes()].concat();
        let first = |kind| listing.iter().find(|entry| entry.kind == kind);
        let path =
            |entry: Entry<'_>| format!("{directory}/{}", String::from_utf8_lossy(entry.name));
        let (file, folder, link) = (first(Kind::File), first(Kind::Directory), first(Kind::Link));
        if let Some(file) = file.map(path) {
            // The name's end may say what the file is, as that of a textfile does.
            let end = file.rfind('.').map_or("", |at| &file[at..]);
            memory.write(new(end), self.files.get(&file).map_or(&[][..], Vec::as_slice));
        }
        if let Some(folder) = folder.map(path) {
            let prefix = format!("{folder}/");
            for (path, content) in &self.files {
                if let Some(below) = path.strip_prefix(&prefix) {
                    memory.write([&new("d")[..], b"/", below.as_bytes()].concat(), content);
                }
            }
        }
        if let Some(link) = link.map(path) {
            let mut target = Vec::new();
            if host.read_link(&link, &mut target).is_ok() {
                memory.link(new("l"), target);
            }
        }
        file.or(folder).or(link).is_some()
    }

    /// The host with so many more children of the kind that the first star of a pattern matches, each a copy of the
    /// one that has the most files. It is the same host where there is none.
    pub fn with_many(&self, pattern: &str, count: usize) -> FixtureHost {
        let mut many = self.clone();
        let Some((directory, rest)) = pattern.find('*').and_then(|star| {
            let slash = pattern[..star].rfind('/')?;
            Some((&pattern[..slash], &pattern[slash + 1..]))
        }) else {
            return many;
        };
        let component = rest.split('/').next().unwrap_or_default();
        let mut listing = Listing::new();
        let _ = self.only_files().host().list(directory, &mut listing);
        let names = listing.iter().map(|entry| String::from_utf8_lossy(entry.name).into_owned());
        let below = |name: &str| {
            let path = self.real_path(&format!("{directory}/{name}"));
            let is_below = |file: &&String| {
                file.strip_prefix(&path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let files: Vec<String> = self.files.keys().filter(is_below).cloned().collect();
            let links: Vec<String> = self.links.keys().filter(is_below).cloned().collect();
            (path, files, links)
        };
        let all = names.filter(|name| matches(component, name)).map(|name| (below(&name), name));
        let Some(((path, files, links), name)) = all.max_by_key(|((_, files, _), _)| files.len())
        else {
            return many;
        };
        for number in 0..count {
            let copy = format!("{directory}/{}", numbered(&name, number));
            for file in &files {
                let content = self.files[file].clone();
                many.files.insert(format!("{copy}{}", &file[path.len()..]), content);
            }
            for link in links.iter().filter(|link| **link != path) {
                let link_copy = format!("{copy}{}", &link[path.len()..]);
                let up = "../".repeat(link_copy.matches('/').count());
                many.links.insert(link_copy, format!("{up}{}", self.real_path(link)));
            }
        }
        many
    }

    /// Where a pattern leads, whether something is there or not.
    fn walk(&self, pattern: &str) -> BTreeSet<String> {
        let host = self.only_files().host();
        let mut found = vec![String::new()];
        let components: Vec<&str> = match pattern.rsplit_once('/') {
            // No collector lists the directories that a path of the user's leads through.
            Some((directory, name)) if pattern.starts_with("file:") => {
                let fixed = directory.find('*').map_or(directory, |star| &directory[..star]);
                let fixed = if fixed == directory {
                    fixed
                } else {
                    fixed.rsplit_once('/').unwrap_or_default().0
                };
                let below = directory[fixed.len()..].split('/').filter(|name| !name.is_empty());
                [fixed].into_iter().chain(below).chain([name]).collect()
            }
            _ => pattern.split('/').collect(),
        };
        for component in components {
            let mut next = Vec::new();
            for path in found {
                let join = |name: &str| {
                    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
                };
                if !component.contains('*') {
                    next.push(join(component));
                    continue;
                }
                let mut listing = Listing::new();
                // What cannot be listed leads to nothing.
                let _ = host.list(&path, &mut listing);
                let names = listing.iter().map(|entry| String::from_utf8_lossy(entry.name));
                next.extend(names.filter(|name| matches(component, name)).map(|name| join(&name)));
            }
            found = next;
        }
        found.iter().map(|path| self.real_path(path)).collect()
    }

    /// A path without links in it.
    pub fn real_path(&self, path: &str) -> String {
        let mut path = path.to_owned();
        'links: for _ in 0..40 {
            for (link, target) in &self.links {
                let Some(rest) = path.strip_prefix(link.as_str()) else { continue };
                if !rest.is_empty() && !rest.starts_with('/') {
                    continue;
                }
                let mut components: Vec<&str> = link.split('/').collect();
                components.pop();
                for component in target.split('/') {
                    match component {
                        ".." => drop(components.pop()),
                        component => components.push(component),
                    }
                }
                path = components.join("/") + rest;
                continue 'links;
            }
            break;
        }
        path
    }

    fn mount_points(&self) -> BTreeSet<String> {
        let text = self.files.get("proc/1/mountinfo").map(Vec::as_slice).unwrap_or_default();
        let mut scratch = Vec::new();
        text::lines(text)
            .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
            .map(|point| {
                String::from_utf8_lossy(text::unescape_octal(point, &mut scratch)).into_owned()
            })
            .collect()
    }

    /// The interfaces of `proc/net/dev` as netlink would tell them.
    fn interfaces_of_files(&self) -> Vec<Link<'static>> {
        let text = self
            .files
            .get("proc/net/dev")
            .map(|text| String::from_utf8_lossy(text))
            .unwrap_or_default();
        let lines = text.lines().skip(2).enumerate();
        lines
            .map(|(position, line)| {
                let (name, columns) = line.rsplit_once(':').expect("an interface has a colon");
                let name = name.trim();
                let columns: Vec<u64> = columns
                    .split_whitespace()
                    .map(|column| column.parse().expect("a number"))
                    .collect();
                let attribute = |attribute: &str| {
                    let path = self.real_path(&format!("sys/class/net/{name}/{attribute}"));
                    let content = self.files.get(&path)?.trim_ascii();
                    (!content.is_empty()).then(|| String::from_utf8_lossy(content).into_owned())
                };
                let number = |of: &str| attribute(of)?.parse::<u32>().ok();
                let address = attribute("address").map(|address| {
                    let byte = |byte| u8::from_str_radix(byte, 16).expect("a byte");
                    address.split(':').map(byte).collect::<Vec<u8>>()
                });
                Link {
                    index: number("ifindex").unwrap_or(position as u32 + 1) as i32,
                    name: leak(name.as_bytes()),
                    alias: attribute("ifalias").map(|alias| leak(alias.as_bytes())),
                    carrier_changes: number("carrier_changes"),
                    address: address.map(|address| leak(&address)),
                    statistics: Some(LinkStatistics {
                        rx_bytes: columns[0],
                        rx_packets: columns[1],
                        rx_errors: columns[2],
                        rx_dropped: columns[3],
                        rx_fifo_errors: columns[4],
                        rx_frame_errors: columns[5],
                        rx_compressed: columns[6],
                        multicast: columns[7],
                        tx_bytes: columns[8],
                        tx_packets: columns[9],
                        tx_errors: columns[10],
                        tx_dropped: columns[11],
                        tx_fifo_errors: columns[12],
                        collisions: columns[13],
                        tx_carrier_errors: columns[14],
                        tx_compressed: columns[15],
                        ..LinkStatistics::default()
                    }),
                    ..Link::default()
                }
            })
            .collect()
    }
}

impl FixtureHost {
    /// The neighbours of `proc/net/arp` as netlink would tell them.
    fn neighbours_of_files(&self) -> Vec<Neighbour> {
        let neighbour = |line: &str| {
            let device = line.split_whitespace().last()?;
            let interface = self.interfaces.iter().find(|link| link.name == device.as_bytes())?;
            Some(Neighbour { family: 2, interface: interface.index, state: 2 })
        };
        self.lines_below_the_first("proc/net/arp")
            .iter()
            .filter_map(|line| neighbour(line))
            .collect()
    }

    /// The sockets of `proc/net/tcp` and `tcp6` as netlink would tell them.
    fn tcp_sockets_of_files(&self) -> Vec<TcpSocket> {
        let hex = |digits: &str| u32::from_str_radix(digits, 16).expect("a hexadecimal number");
        let socket = |family, line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (sent, received) = fields[4].split_once(':').expect("two queues");
            let state = hex(fields[3]) as u8;
            TcpSocket { family, state, receive_queue: hex(received), send_queue: hex(sent) }
        };
        [("proc/net/tcp", 2), ("proc/net/tcp6", 10)]
            .into_iter()
            .flat_map(|(path, family)| {
                let lines = self.lines_below_the_first(path);
                lines.into_iter().map(move |line| socket(family, &line))
            })
            .collect()
    }

    /// Where Btrfs is mounted, and the devices of the file system in `sys/fs/btrfs`.
    fn btrfs_of_files(&self) -> Option<(String, BtrfsDevices)> {
        let text = String::from_utf8_lossy(self.files.get("proc/1/mountinfo")?);
        let line = text.lines().find(|line| line.contains(" - btrfs "))?;
        let mount = line.split(' ').nth(4)?.to_owned();
        let sizes = self.files.iter().filter_map(|(path, size)| {
            let (uuid, device) = path.strip_prefix("sys/fs/btrfs/")?.split_once("/devices/")?;
            let sectors: u64 = str::from_utf8(size).ok()?.trim().parse().ok()?;
            Some((uuid, device.strip_suffix("/size")?, sectors * 512))
        });
        let mut devices = BtrfsDevices::default();
        // One file system is mounted, whose UUID is the last of all.
        let last = sizes.clone().next_back().map(|(uuid, _, _)| uuid);
        let own = sizes.filter(|(uuid, _, _)| Some(*uuid) == last);
        for (number, (uuid, device, size)) in own.enumerate() {
            let digits = uuid.replace('-', "");
            devices.uuid = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
            let path = format!("/dev/{device}");
            let own = [number as u8 + 1; 16];
            let errors = [0, 0, 0, number as u64, 0];
            devices.devices.push(BtrfsDevice::new(path.as_bytes(), own, size, size / 3, errors));
        }
        Some((mount, devices))
    }

    fn lines_below_the_first(&self, path: &str) -> Vec<String> {
        let text = self.files.get(path).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(text).lines().skip(1).map(str::to_owned).collect()
    }
}

/// A route to the network of each interface, and a default route through the last one.
fn routes(links: &[Link<'static>]) -> Vec<NetworkRoute<'static>> {
    let route = |index: i32| NetworkRoute {
        family: 2,
        kind: 1,
        protocol: 2,
        interface: Some(index),
        ..NetworkRoute::default()
    };
    let networks = links.iter().map(|link| NetworkRoute {
        prefix_length: 24,
        destination: Some(Ipv4Addr::new(192, 0, link.index as u8, 0).into()),
        source: Some(Ipv4Addr::new(192, 0, link.index as u8, 7).into()),
        ..route(link.index)
    });
    let last = links.last().map(|link| NetworkRoute {
        protocol: 16,
        priority: 100,
        gateway: Some(Ipv4Addr::new(192, 0, link.index as u8, 1).into()),
        ..route(link.index)
    });
    networks.chain(last).collect()
}

/// A queueing discipline at the root of each interface, and one in a class below it.
fn disciplines(links: &[Link<'static>]) -> Vec<QueueingDiscipline<'static>> {
    let discipline = |link: &Link<'static>, parent, kind| QueueingDiscipline {
        interface: link.index,
        parent,
        kind,
        bytes: 1_000_000 * u64::from(link.index.unsigned_abs()),
        packets: 1000,
        queue_length: 2,
        backlog: 3028,
        ..QueueingDiscipline::default()
    };
    links
        .iter()
        .flat_map(|link| {
            [discipline(link, u32::MAX, b"htb"), discipline(link, 0x0001_0001, b"fq_codel")]
        })
        .collect()
}

/// What the driver of an interface says; that of the loopback interface says nothing.
fn ethtool(link: &Link<'static>) -> EthtoolAnswers {
    if link.name == b"lo" {
        return EthtoolAnswers::default();
    }
    EthtoolAnswers {
        // Twisted pair with up to 10000baseT, negotiation and pauses.
        settings: Ok(EthtoolSettings { supported: 0x30ef, advertised: 0x70e0, autonegotiation: 1 }),
        driver: Ok(EthtoolDriver {
            name: b"ixgbe",
            version: b"6.18.0",
            firmware_version: b"0x800006da",
            expansion_rom_version: b"1.3429.0",
            bus: b"0000:17:00.0",
        }),
        statistics: Ok(vec![
            ("rx_packets", 7_000 * u64::from(link.index.unsigned_abs())),
            ("rx_queue_0_drops", 3),
            ("VF 0 Rx Bytes", u64::MAX),
        ]),
    }
}

/// A clock that a time server disciplines.
fn clock_discipline() -> ClockDiscipline {
    ClockDiscipline {
        status: 0x2001,
        offset: -181_234,
        frequency: -812_345,
        maximum_error: 16_500,
        estimated_error: 112,
        constant: 7,
        tick: 10_000,
        tai: 37,
        ..ClockDiscipline::default()
    }
}

/// The answer of an NTP server of stratum 3 that is a little ahead of the host's clock.
pub fn ntp_answer(request: &[u8]) -> Vec<u8> {
    // The clock of a host in memory, since 1900.
    const NOW: u64 = 1_700_000_000 + 2_208_988_800;
    let mut answer = vec![0x24, 3, 6, 0xe7, 0, 0, 0x0a, 0x3d, 0, 0, 0x02, 0x8f, 192, 0, 2, 53];
    answer.extend_from_slice(&((NOW - 411) << 32).to_be_bytes());
    answer.extend_from_slice(request.get(40..48).unwrap_or(&[0; 8]));
    answer.extend_from_slice(&(NOW << 32 | 0x0004_0000).to_be_bytes());
    answer.extend_from_slice(&(NOW << 32 | 0x0004_8000).to_be_bytes());
    answer
}

/// The answer of a supervisord with a process that runs and one that does not.
pub fn supervisord_answer() -> Vec<u8> {
    let mut body =
        "<?xml version='1.0'?><methodResponse><params><param><value><array><data>".to_owned();
    for (name, start, state, exit_status) in
        [("queue_00", 1_699_991_234, 20, 0), ("report", 1_699_900_000, 100, 2)]
    {
        body += "<value><struct>";
        for (member, kind, text) in [
            ("name", "string", name.to_owned()),
            ("group", "string", "jobs".to_owned()),
            ("start", "int", start.to_string()),
            ("state", "int", state.to_string()),
            ("exitstatus", "int", exit_status.to_string()),
        ] {
            body += &format!(
                "<member><name>{member}</name><value><{kind}>{text}</{kind}></value></member>"
            );
        }
        body += "</struct></value>";
    }
    body += "</data></array></value></param></params></methodResponse>";
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One address of IPv4 and one of IPv6 for each interface.
fn addresses(links: &[Link<'static>]) -> Vec<Address<'static>> {
    let address = |link: &Link<'static>, address: IpAddr| Address {
        index: link.index.unsigned_abs(),
        family: if address.is_ipv4() { 2 } else { 10 },
        prefix_length: if address.is_loopback() { 8 } else { 24 },
        scope: 0,
        flags: 0,
        label: None,
        address,
    };
    links
        .iter()
        .flat_map(|link| {
            let last = link.index as u8;
            let (ipv4, ipv6) = if link.name == b"lo" {
                (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
            } else {
                (
                    Ipv4Addr::new(192, 0, 2, last),
                    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()),
                )
            };
            [address(link, ipv4.into()), address(link, ipv6.into())]
        })
        .collect()
}

/// The space of a file system; every one has another.
fn space(position: u64) -> Space {
    Space {
        block_size: 4096,
        blocks: 25_600_000 + position,
        blocks_free: 12_800_000 - position,
        blocks_available: 11_500_000 - position,
        files: 6_553_600 + position,
        files_free: 6_100_000 - position,
        ..Space::default()
    }
}

/// Another name of the same form: a UUID, the address of a PCI device, or a number at its end.
fn numbered(name: &str, number: usize) -> String {
    if name.len() == 36 {
        return format!("{}{number:03x}", &name[..33]);
    }
    if let [domain, _, _] = name.split(':').collect::<Vec<_>>()[..]
        && domain.len() == 4
    {
        return format!("{domain}:{:02x}:{:02x}.0", number / 32 + 64, number % 32);
    }
    let end = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    format!("{}{}", &name[..end], 1000 + number)
}

/// Whether a name is what a pattern with stars says.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// The in-memory fake keeps interfaces for as long as the test runs.
fn leak(text: &[u8]) -> &'static [u8] {
    Box::leak(text.to_vec().into_boxed_slice())
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn number(text: &str) -> i32 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no errno"))
}
