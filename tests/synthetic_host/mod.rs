//! Hosts of any size, generated: so many CPUs, disks, interfaces and mounts, in memory or as
//! trees of files that a real daemon reads.
//!
//! Every figure follows from what it counts and its column, so that a test can say which value a
//! series must have. What does not grow with a host is that of the fixture host `small_vm`.

#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::fixture_host;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vitald_core::host::Space;
use vitald_core::testing::MemoryHost;

/// How large a host is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyntheticHost {
    /// Two of them are a core, 64 are a package.
    pub cpus: usize,
    pub disks: usize,
    pub interfaces: usize,
    /// Every second one is of a network file system.
    pub mounts: usize,
}

/// What `small_vm` gives: files whose length hardly depends on the size of a host.
const OF_SMALL_VM: [&str; 15] = [
    "proc/loadavg",
    "proc/meminfo",
    "proc/vmstat",
    "proc/uptime",
    "proc/net/netstat",
    "proc/net/snmp",
    "proc/net/snmp6",
    "proc/net/sockstat",
    "proc/net/sockstat6",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "proc/sys/fs/file-nr",
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    "sys/devices/system/clocksource/clocksource0/current_clocksource",
];

/// Interrupts that a CPU has to itself: the queues of its network cards and disks.
const INTERRUPTS_OF_A_CPU: usize = 16;

/// What is counted on the unit of that number, in a column.
pub fn count(unit: usize, column: usize) -> u64 {
    count_at(0, unit, column)
}

/// The same at an age, with which every count grows, each by a step of its own.
fn count_at(age: u64, unit: usize, column: usize) -> u64 {
    let (unit, column) = (unit as u64, column as u64);
    1_000_000 + unit * 1_000 + column * 7 + age * (1 + unit % 100 + column)
}

pub fn disk(number: usize) -> String {
    format!("nvme{number}n1")
}

pub fn interface(number: usize) -> String {
    format!("veth{number:08x}")
}

pub fn mount_point(number: usize) -> String {
    format!("/data/volume{number}")
}

/// The type of a mount's file system: a local disk's, or one that asks a server.
pub fn mount_type(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "ext4" } else { "nfs4" }
}

/// The space of the mount of that number, where the host is in memory.
pub fn space(number: usize) -> Space {
    Space {
        block_size: 4096,
        blocks: count(number, 0),
        blocks_free: count(number, 0) / 2,
        blocks_available: count(number, 0) / 3,
        files: 1000,
        files_free: 500,
        ..Space::default()
    }
}

/// The directories that a host was written to.
#[derive(Debug)]
pub struct Trees {
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    pub udev: PathBuf,
    pub rootfs: PathBuf,
}

impl Trees {
    /// Counts on, as the kernel of a busy host does between two scrapes: every counter of every CPU, disk and
    /// interface is another one at each age. The files are written where they are, and nothing may read them
    /// meanwhile.
    pub fn advance(&self, host: &SyntheticHost, age: u64) {
        for (name, text) in host.counters(age) {
            let path = self.procfs.join(name);
            let written = fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.set_len(text.len() as u64)
            });
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// The directories as they are in a configuration.
    pub fn config(&self) -> String {
        let Trees { procfs, sysfs, udev, rootfs } = self;
        format!(
            "\n[paths]\nprocfs = {procfs:?}\nsysfs = {sysfs:?}\nudev = {udev:?}\nrootfs = {rootfs:?}\n"
        )
    }

    /// The directories as node_exporter's flags. The interfaces are those of the generated procfs.
    pub fn flags(&self) -> Vec<String> {
        let Trees { procfs, sysfs, udev, rootfs } = self;
        let paths = [("procfs", procfs), ("sysfs", sysfs), ("udev.data", udev), ("rootfs", rootfs)]
            .map(|(flag, path)| format!("--path.{flag}={}", path.display()));
        ["--no-collector.netdev.netlink".to_owned()].into_iter().chain(paths).collect()
    }
}

impl SyntheticHost {
    /// The host in memory; every mount answers at once.
    pub fn memory(&self) -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in self.files() {
            memory.write(&path, content);
        }
        for (path, target) in self.links() {
            memory.link(&path, &target);
        }
        for number in 0..self.mounts {
            memory.set_space(&mount_point(number), Ok(space(number)));
        }
        // An hour later: what has only just changed is read more often.
        memory.set_now(memory.host().now() + Duration::from_secs(3600));
        memory
    }

    /// The host as files in a directory. A mount point is a directory of the generated root file
    /// system, which answers at once and with the space of the file system that it is on.
    pub fn write_to(&self, directory: &Path) -> Trees {
        let create = |path: &Path| fs::create_dir_all(path).expect("a directory can be made");
        for (path, content) in self.files() {
            let path = directory.join(path);
            create(path.parent().expect("every file is in a directory"));
            fs::write(path, content).expect("a file can be written");
        }
        for (path, target) in self.links() {
            let path = directory.join(path);
            create(path.parent().expect("every link is in a directory"));
            symlink(target, path).expect("a link can be made");
        }
        for number in 0..self.mounts {
            create(&directory.join("rootfs").join(&mount_point(number)[1..]));
        }
        for root in ["proc", "sys", "udev", "rootfs"] {
            create(&directory.join(root));
        }
        Trees {
            procfs: directory.join("proc"),
            sysfs: directory.join("sys"),
            udev: directory.join("udev"),
            rootfs: directory.join("rootfs"),
        }
    }

    /// Every file, by its logical path.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = fixture_host::host("small_vm").files;
        files.retain(|path, _| OF_SMALL_VM.contains(&path.as_str()));
        assert_eq!(files.len(), OF_SMALL_VM.len(), "small_vm lacks a file");
        let mut add = |path: &str, text: String| {
            files.insert(path.to_owned(), text.into_bytes());
        };
        for (name, text) in self.counters(0) {
            add(&format!("proc/{name}"), text);
        }
        add("proc/cpuinfo", self.cpuinfo());
        add("proc/1/mountinfo", self.mountinfo());
        add("proc/self/mountinfo", self.mountinfo());
        add("proc/1/mounts", self.mounts());
        self.add_cpus(&mut add);
        self.add_disks(&mut add);
        for number in 0..self.interfaces {
            add(
                &format!("sys/{}/ifalias", interface_directory(number)),
                format!("port {number}\n"),
            );
        }
        files
    }

    /// Every symbolic link, by its logical path, with its target.
    fn links(&self) -> Vec<(String, String)> {
        let disks = (0..self.disks).map(|number| {
            (format!("sys/block/{}", disk(number)), format!("../{}", disk_directory(number)))
        });
        let interfaces = (0..self.interfaces).map(|number| {
            let path = format!("sys/class/net/{}", interface(number));
            (path, format!("../../{}", interface_directory(number)))
        });
        disks.chain(interfaces).collect()
    }

    fn add_cpus(&self, add: &mut impl FnMut(&str, String)) {
        let Some(last) = self.cpus.checked_sub(1) else { return };
        let cpus = "sys/devices/system/cpu";
        add(&format!("{cpus}/online"), format!("0-{last}\n"));
        add(&format!("{cpus}/isolated"), "\n".to_owned());
        for cpu in 0..self.cpus {
            let (package, core) = place(cpu);
            for (attribute, number) in [
                ("online", 1),
                ("topology/physical_package_id", package as u64),
                ("topology/core_id", core as u64),
                ("thermal_throttle/core_throttle_count", count(cpu / 2, 0)),
                ("thermal_throttle/package_throttle_count", count(package, 1)),
            ] {
                add(&format!("{cpus}/cpu{cpu}/{attribute}"), format!("{number}\n"));
            }
        }
    }

    fn add_disks(&self, add: &mut impl FnMut(&str, String)) {
        for number in 0..self.disks {
            let directory = format!("sys/{}", disk_directory(number));
            let mut attribute = |name: &str, value: &str| {
                add(&format!("{directory}/queue/{name}"), format!("{value}\n"));
            };
            attribute("rotational", "0");
            attribute("scheduler", "[none] mq-deadline");
            attribute("nr_requests", "1023");
            let udev = format!(
                "S:disk/by-path/pci-{number}\nI:{number}\nE:ID_PATH=pci-{number}\n\
                 E:ID_MODEL=EXAMPLE SSD 960\nE:ID_SERIAL_SHORT=S{number:07}\n\
                 E:ID_REVISION=2B4QFXO7\nE:ID_WWN=eui.{number:016x}\n\
                 E:ID_FS_TYPE=xfs\nE:ID_FS_USAGE=filesystem\nE:ID_FS_UUID=uuid-{number}\n"
            );
            add(&format!("udev/b259:{number}"), udev);
        }
    }

    /// What the kernel counts on each CPU, disk and interface: files of procfs, at an age.
    fn counters(&self, age: u64) -> [(&'static str, String); 5] {
        [
            ("stat", self.stat(age)),
            ("schedstat", self.schedstat(age)),
            ("net/softnet_stat", self.softnet_stat(age)),
            ("diskstats", self.diskstats(age)),
            ("net/dev", self.net_dev(age)),
        ]
    }

    /// The number of interrupts grows with the CPUs, as it does where every card has a queue for
    /// each of them.
    fn stat(&self, age: u64) -> String {
        let mut text = String::new();
        let mut line = |name: &str, cpu: usize| {
            let _ = write!(text, "{name}");
            push_counts(&mut text, age, cpu, 10);
        };
        line("cpu ", self.cpus);
        (0..self.cpus).for_each(|cpu| line(&format!("cpu{cpu}"), cpu));
        let _ = write!(text, "intr {}", 88_122_033_441 + age * 5);
        for interrupt in 0..64 + self.cpus * INTERRUPTS_OF_A_CPU {
            // Most of them never came.
            let came = if interrupt.is_multiple_of(4) { count_at(age, interrupt, 0) } else { 0 };
            let _ = write!(text, " {came}");
        }
        let (switches, forks) = (230_122_033_441 + age * 9, 41_220_334 + age);
        let _ = write!(
            text,
            "\nctxt {switches}\nbtime 1695000000\nprocesses {forks}\nprocs_running 3\n\
             procs_blocked 0\nsoftirq 61220334412 12 8122033440 40122 22033412203 120334412 0 \
             812203 18122033440 0 12922033441\n"
        );
        text
    }

    fn cpuinfo(&self) -> String {
        let mut text = String::new();
        for cpu in 0..self.cpus {
            let (package, core) = place(cpu);
            let _ = write!(
                text,
                "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n\
                 model name\t: Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz\nstepping\t: 7\n\
                 microcode\t: 0x5003604\ncpu MHz\t\t: 3700.012\ncache size\t: 28160 KB\n\
                 physical id\t: {package}\nsiblings\t: 64\ncore id\t\t: {core}\ncpu cores\t: 32\n\
                 flags\t\t: fpu vme de pse tsc msr pae mce aes avx avx2 avx512f\n\
                 bugs\t\t: spectre_v1 spectre_v2 taa\nbogomips\t: 4200.00\n\n"
            );
        }
        text
    }

    fn schedstat(&self, age: u64) -> String {
        let mut text = String::from("version 15\ntimestamp 4295000000\n");
        for cpu in 0..self.cpus {
            let [running, waiting, slices] = [0, 1, 2].map(|column| count_at(age, cpu, column));
            let _ = writeln!(text, "cpu{cpu} 0 0 0 0 0 0 {running} {waiting} {slices}");
        }
        text
    }

    fn softnet_stat(&self, age: u64) -> String {
        let mut text = String::new();
        for cpu in 0..self.cpus {
            let _ = write!(text, "{:08x}", count_at(age, cpu, 0));
            for column in 1..12 {
                let _ = write!(text, " {:08x}", column + age);
            }
            let _ = writeln!(text, " {cpu:08x} 00000000 00000000");
        }
        text
    }

    fn diskstats(&self, age: u64) -> String {
        let mut text = String::new();
        for number in 0..self.disks {
            let _ = write!(text, " 259 {number:7} {}", disk(number));
            push_counts(&mut text, age, number, 17);
        }
        text
    }

    fn net_dev(&self, age: u64) -> String {
        let mut text = String::from(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets \
             errs drop fifo colls carrier compressed\n",
        );
        for number in 0..self.interfaces {
            let _ = write!(text, "{:>6}:", interface(number));
            push_counts(&mut text, age, number, 16);
        }
        text
    }

    /// What older releases of node_exporter read instead of `mountinfo`.
    fn mounts(&self) -> String {
        let mut text = String::new();
        for number in 0..self.mounts {
            let (point, kind) = (mount_point(number), mount_type(number));
            let _ = writeln!(text, "server:/export{number} {point} {kind} rw,relatime 0 0");
        }
        text
    }

    fn mountinfo(&self) -> String {
        let mut text = String::new();
        for number in 0..self.mounts {
            let (point, kind) = (mount_point(number), mount_type(number));
            let _ = writeln!(
                text,
                "{} 1 0:{} / {point} rw,relatime shared:{number} - {kind} server:/export{number} rw",
                number + 30,
                number + 30
            );
        }
        text
    }
}

/// Ends a line with what is counted on a unit, in so many columns.
fn push_counts(text: &mut String, age: u64, unit: usize, columns: usize) {
    for column in 0..columns {
        let _ = write!(text, " {}", count_at(age, unit, column));
    }
    text.push('\n');
}

/// The package and the core of a CPU; cores are numbered in each package anew.
pub fn place(cpu: usize) -> (usize, usize) {
    (cpu / 64, cpu % 64 / 2)
}

/// Where a disk is below the root of sysfs.
fn disk_directory(number: usize) -> String {
    format!("devices/pci0000:3a/0000:3a:00.0/nvme/nvme{number}/{}", disk(number))
}

/// Where an interface is below the root of sysfs.
fn interface_directory(number: usize) -> String {
    format!("devices/virtual/net/{}", interface(number))
}
