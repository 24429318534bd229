//! Large hosts, in memory: every series of them is there, and work grows with what there is to
//! read and no faster.
//!
//! Work is counted where it can be, in reads and in allocated bytes, and not timed.
#![cfg(target_os = "linux")]
// An allocator is unsafe to write; this one hands everything on and counts.
#![allow(unsafe_code)]

mod fixture_host;
mod large_host;
mod synthetic_host;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;
use synthetic_host::{SyntheticHost, Trees, count};
use vitald_core::collector::{Running, registry, roll_call};
use vitald_core::host::{Host, Roots};
use vitald_core::run::{MAX_SERIES, Run};
use vitald_core::settings::{Mistakes, Node, Origin, Table, Value};
use vitald_core::testing::MemoryHost;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    /// Bytes that this thread has asked for.
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// What a run is limited to unless the configuration says otherwise.
const DEFAULT_MAX_SERIES: u32 = 100_000;

fn note(size: usize) {
    // The value has no destructor, so it is there for as long as the thread.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + size as u64));
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract;
// what is done beside it touches no memory of the caller's and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.saturating_sub(layout.size()));
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.dealloc(block, layout) }
    }
}

/// One collector on one host.
struct Subject {
    collector: Box<dyn Running>,
    /// The last two runs, which are written in turn.
    last: Run,
    spare: Run,
    /// 0: no limit.
    max_series: u32,
}

impl Subject {
    /// The collector of that name with its default settings, but for these.
    fn open(name: &str, settings: &[(&str, Node)], host: &Host) -> Subject {
        let linked = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete");
        let descriptor = linked.into_iter().find(|descriptor| descriptor.name == name);
        let descriptor = descriptor.unwrap_or_else(|| panic!("{name} is not in {:?}", registry()));
        let mut table = Table::at(format!("collectors.{name}"));
        for (key, node) in settings {
            table.entries.insert((*key).to_owned(), Value::new(node.clone(), Origin::Default));
        }
        let mut mistakes = Mistakes::new();
        let prepared = (descriptor.prepare)(&table, &mut mistakes);
        let prepared = prepared.unwrap_or_else(|| panic!("{name}: {mistakes:?}"));
        let collector = prepared.open(host).unwrap_or_else(|error| panic!("{name}: {error}"));
        let run = || Run::new(descriptor.families);
        let (last, spare) = (run(), run());
        Subject { collector, last, spare, max_series: DEFAULT_MAX_SERIES }
    }

    /// One more run, which must succeed.
    fn run(&mut self) {
        let run = &mut self.spare;
        run.begin(Some(&self.last), self.max_series);
        self.collector.collect(run.batch()).unwrap_or_else(|error| panic!("{error}"));
        run.seal();
        std::mem::swap(&mut self.last, &mut self.spare);
    }

    /// How many bytes one more run asks for.
    fn allocated_by_a_run(&mut self) -> u64 {
        let before = ALLOCATED.get();
        self.run();
        ALLOCATED.get() - before
    }

    /// The samples of each family, by their label values.
    fn samples(&self) -> BTreeMap<String, BTreeMap<Vec<String>, f64>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut samples: BTreeMap<String, BTreeMap<Vec<String>, f64>> = BTreeMap::new();
        for (series, value) in self.last.samples() {
            let labels = series.labels().map(|(_, value)| text(value)).collect();
            samples.entry(text(series.family_name())).or_default().insert(labels, value);
        }
        samples
    }

    /// Fails if anything was left out or said to be incomplete.
    #[track_caller]
    fn assert_complete(&self) {
        assert!(self.last.dropped().is_none(), "{:?}", self.last.dropped());
        assert!(self.last.malformed().is_none(), "{:?}", self.last.malformed());
        assert_eq!(self.last.degraded_reason(), None);
    }
}

/// The families whose samples are one a unit with these label values and this value.
#[track_caller]
fn assert_each(
    samples: &BTreeMap<String, BTreeMap<Vec<String>, f64>>,
    family: &str,
    expected: impl IntoIterator<Item = (Vec<String>, f64)>,
) {
    let expected: BTreeMap<Vec<String>, f64> = expected.into_iter().collect();
    let found = samples.get(family).unwrap_or_else(|| panic!("{family} has no samples"));
    let missing = expected.keys().find(|labels| !found.contains_key(*labels));
    assert_eq!(missing, None, "{family}: {} of {}", found.len(), expected.len());
    assert_eq!(found.len(), expected.len(), "{family}");
    for (labels, value) in &expected {
        assert_eq!(found[labels], *value, "{family} {labels:?}");
    }
}

const CPUS: usize = 512;
const DISKS: usize = 2_000;
const INTERFACES: usize = 5_000;
const MOUNTS: usize = 10_000;

fn cpus(cpus: usize) -> MemoryHost {
    SyntheticHost { cpus, ..SyntheticHost::default() }.memory()
}

fn disks(disks: usize) -> MemoryHost {
    SyntheticHost { disks, ..SyntheticHost::default() }.memory()
}

fn interfaces(interfaces: usize) -> MemoryHost {
    SyntheticHost { interfaces, ..SyntheticHost::default() }.memory()
}

fn mounts(mounts: usize) -> MemoryHost {
    SyntheticHost { mounts, ..SyntheticHost::default() }.memory()
}

#[test]
fn every_series_of_512_cpus() {
    let mut cpu = Subject::open("cpu", &[("info", true.into())], &cpus(CPUS).host());
    cpu.run();
    cpu.assert_complete();
    let samples = cpu.samples();
    let modes = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let of_modes = |modes: &[&str], first: usize| -> Vec<(Vec<String>, f64)> {
        let each = (0..CPUS).flat_map(|cpu| (0..modes.len()).map(move |mode| (cpu, mode)));
        each.map(|(cpu, mode)| {
            let labels = vec![cpu.to_string(), modes[mode].to_owned()];
            (labels, count(cpu, first + mode) as f64 / 100.0)
        })
        .collect()
    };
    assert_each(&samples, "node_cpu_seconds_total", of_modes(&modes, 0));
    assert_each(&samples, "node_cpu_guest_seconds_total", of_modes(&modes[..2], 8));
    let online = (0..CPUS).map(|cpu| (vec![cpu.to_string()], 1.0));
    assert_each(&samples, "node_cpu_online", online);
    let cores = (0..CPUS / 2).map(|number| {
        let (package, core) = synthetic_host::place(number * 2);
        (vec![package.to_string(), core.to_string()], count(number, 0) as f64)
    });
    assert_each(&samples, "node_cpu_core_throttles_total", cores);
    let packages =
        (0..CPUS / 64).map(|package| (vec![package.to_string()], count(package, 1) as f64));
    assert_each(&samples, "node_cpu_package_throttles_total", packages);
    assert_eq!(samples["node_cpu_info"].len(), CPUS);
    assert_eq!(samples["node_cpu_frequency_hertz"].len(), CPUS);

    let mut softnet = Subject::open("softnet", &[], &cpus(CPUS).host());
    softnet.run();
    softnet.assert_complete();
    let processed = (0..CPUS).map(|cpu| (vec![cpu.to_string()], count(cpu, 0) as f64));
    assert_each(&softnet.samples(), "node_softnet_processed_total", processed);

    let mut stat = Subject::open("stat", &[("softirq", true.into())], &cpus(CPUS).host());
    stat.run();
    stat.assert_complete();
    assert_each(&stat.samples(), "node_intr_total", [(Vec::new(), 88_122_033_441.0)]);
    assert_eq!(stat.samples().len(), 7);
}

#[test]
fn every_series_of_2000_disks() {
    let mut diskstats = Subject::open("diskstats", &[], &disks(DISKS).host());
    diskstats.run();
    diskstats.assert_complete();
    let samples = diskstats.samples();
    let each = |column: usize, scale: f64| {
        (0..DISKS).map(move |number| {
            let value = count(number, column) as f64 * scale;
            (vec![synthetic_host::disk(number)], value)
        })
    };
    assert_each(&samples, "node_disk_reads_completed_total", each(0, 1.0));
    assert_each(&samples, "node_disk_written_bytes_total", each(6, 512.0));
    assert_each(&samples, "node_disk_flush_requests_time_seconds_total", each(16, 0.001));
    let of_a_row = |name: &&String| !name.contains("info");
    assert_eq!(samples.keys().filter(of_a_row).count(), 17);
    for (family, found) in &samples {
        assert_eq!(found.len(), DISKS, "{family}");
    }
    // What udev and sysfs know of each disk is that of this disk.
    let mut serials: Vec<&String> =
        samples["node_disk_info"].keys().map(|labels| &labels[6]).collect();
    serials.sort_unstable();
    let expected: Vec<String> = (0..DISKS).map(|number| format!("S{number:07}")).collect();
    assert!(serials.into_iter().eq(&expected), "the serial numbers are others");
}

#[test]
fn every_series_of_5000_interfaces() {
    for chunk in [usize::MAX, 4096] {
        let memory = interfaces(INTERFACES);
        memory.set_chunk(chunk);
        let mut netdev = Subject::open("netdev", &[("netlink", false.into())], &memory.host());
        netdev.run();
        netdev.assert_complete();
        let samples = netdev.samples();
        assert_eq!(samples.len(), 16);
        for (family, found) in &samples {
            assert_eq!(found.len(), INTERFACES, "{family}");
        }
        for (family, column) in [
            ("node_network_receive_bytes_total", 0),
            ("node_network_transmit_bytes_total", 8),
            ("node_network_transmit_compressed_total", 15),
        ] {
            let each = (0..INTERFACES).map(|number| {
                (vec![synthetic_host::interface(number)], count(number, column) as f64)
            });
            assert_each(&samples, family, each);
        }
    }
}

#[test]
fn every_series_of_10000_mounts() {
    let mut filesystem = Subject::open("filesystem", &[], &mounts(MOUNTS).host());
    filesystem.run();
    filesystem.assert_complete();
    let samples = filesystem.samples();
    let sizes = (0..MOUNTS).map(|number| {
        let labels = vec![
            format!("server:/export{number}"),
            synthetic_host::mount_point(number),
            synthetic_host::mount_type(number).to_owned(),
            String::new(),
        ];
        (labels, synthetic_host::space(number).blocks as f64 * 4096.0)
    });
    assert_each(&samples, "node_filesystem_size_bytes", sizes);
    assert_eq!(samples.len(), 9);
    for (family, found) in &samples {
        assert_eq!(found.len(), MOUNTS, "{family}");
    }
}

#[test]
fn what_is_over_max_series_is_whole_rows_and_is_reported() {
    const MORE: usize = 7_000;
    let mut netdev =
        Subject::open("netdev", &[("netlink", false.into())], &interfaces(MORE).host());
    netdev.run();
    assert_eq!(netdev.last.degraded_reason(), Some(MAX_SERIES));
    let shown = DEFAULT_MAX_SERIES as usize / 16;
    assert_eq!(netdev.last.dropped().limit as usize, (MORE - shown) * 16);
    for (family, found) in &netdev.samples() {
        assert_eq!(found.len(), shown, "{family}");
    }
}

/// How often a steady run of a collector reads, on each of these hosts.
fn reads_of<const HOSTS: usize>(
    name: &str,
    settings: &[(&str, Node)],
    hosts: [MemoryHost; HOSTS],
) -> [u64; HOSTS] {
    hosts.map(|memory| {
        let mut subject = Subject::open(name, settings, &memory.host());
        for _ in 0..4 {
            subject.run();
        }
        let before = memory.reads();
        subject.run();
        memory.reads() - before
    })
}

/// How many reads the kernel takes to give a file of short records: whole records, a page at a time.
fn pages(memory: &MemoryHost, path: &str) -> u64 {
    const PAGE: usize = 4096;
    const LONGEST_RECORD: usize = 512;
    let content = memory.content(path).expect("the file is there");
    content.len().div_ceil(PAGE - LONGEST_RECORD) as u64
}

/// One file has all units of the host: there are no more reads than it has pages.
#[test]
fn reads_grow_with_the_pages_of_one_file_only() {
    for (name, path, settings, [few, many]) in [
        ("softnet", "proc/net/softnet_stat", &[][..], [cpus(2), cpus(CPUS)]),
        ("stat", "proc/stat", &[], [cpus(2), cpus(CPUS)]),
        (
            "netdev",
            "proc/net/dev",
            &[("netlink", false.into())],
            [interfaces(2), interfaces(INTERFACES)],
        ),
        ("filesystem", "proc/1/mountinfo", &[], [mounts(2), mounts(MOUNTS)]),
    ] {
        let more = pages(&many, path);
        let [few, many] = reads_of(name, settings, [few, many]);
        assert!(few > 0, "{name} reads nothing");
        let most = few + more;
        assert!(
            many <= most,
            "{name}: {few} reads on a small host, {many} of {most} on a large one"
        );
    }
}

/// The files of single disks are read a few at a time, however many disks there are; what grows
/// is the one file that has them all.
#[test]
fn reads_of_the_diskstats_collector_hardly_grow_with_the_disks() {
    const MOST_MORE: u64 = 10;
    let hosts = [disks(2), disks(DISKS)];
    let more = pages(&hosts[1], "proc/diskstats") + MOST_MORE;
    let [few, many] = reads_of("diskstats", &[], hosts);
    assert!(many <= few + more, "{few} reads for 2 disks, {many} for {DISKS}");
}

/// Throttles are counted in a file of each core and of each package, and in no other file.
#[test]
fn reads_of_the_cpu_collector_grow_with_the_cores() {
    let [few, some, many] = reads_of("cpu", &[], [cpus(64), cpus(128), cpus(CPUS)]);
    let a_package = some - few;
    assert!(a_package <= 32 + 1, "{few} reads for 64 CPUs, {some} for 128");
    assert_eq!(many, few + 7 * a_package, "{few} reads for 64 CPUs, {some} for 128");
}

/// Nothing is allocated for what is there each time, on a host of any size. The host is one of
/// real files, because the in-memory fake allocates itself.
#[test]
fn a_steady_run_of_a_large_host_allocates_nothing() {
    let large = SyntheticHost { cpus: CPUS, disks: DISKS, interfaces: INTERFACES, mounts: 0 };
    let directory = tempfile::tempdir().expect("a directory");
    let Trees { procfs, sysfs, rootfs, udev } = large.write_to(directory.path());
    let host = Host::new(Roots { procfs, sysfs, rootfs, udev });
    let no_netlink = [("netlink", false.into())];
    for (name, settings) in [
        ("cpu", &[][..]),
        ("stat", &[]),
        ("softnet", &[]),
        ("diskstats", &[]),
        ("netdev", &no_netlink),
    ] {
        let mut subject = Subject::open(name, settings, &host);
        let first = subject.allocated_by_a_run();
        assert!(first > 1000, "{name}: the counter does not count");
        for _ in 0..4 {
            subject.run();
        }
        assert_eq!(subject.allocated_by_a_run(), 0, "{name}");
    }
}

/// Nor on a host that has much of what one collector reads, where numbers change and what hardly ever changes is
/// read in turns. A textfile that is written anew is another one, so that collector is not among them.
#[test]
fn a_steady_run_on_each_large_host_allocates_nothing() {
    /// All that is read in turns has had its turn.
    const WARM: usize = 20;
    for large in large_host::ALL.iter().filter(|host| host.collector != "textfile") {
        let directory = tempfile::tempdir().expect("a directory");
        let units = large.few.min(8);
        let mut tree = large.write_to(directory.path(), units);
        let path = |root: &str| directory.path().join(root);
        let host = Host::new(Roots {
            procfs: path("proc"),
            sysfs: path("sys"),
            rootfs: path("rootfs"),
            udev: path("udev"),
        });
        let mut subject = Subject::open(large.collector, &[], &host);
        for _ in 0..WARM {
            large.pass_time(&mut tree, units);
            subject.run();
        }
        let shown = subject.samples()[large.family].len();
        assert!(shown >= units, "{}: {shown} of {units}", large.collector);
        large.pass_time(&mut tree, units);
        assert_eq!(subject.allocated_by_a_run(), 0, "{}", large.collector);
    }
}

/// How much CPU time a run takes, of several the least: what else the machine does makes runs
/// longer and never shorter.
fn least_time(subject: &mut Subject, mut before: impl FnMut(usize)) -> Duration {
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    (0..6)
        .map(|round| {
            before(round);
            let began = now();
            subject.run();
            now() - began
        })
        .min()
        .expect("there are rounds")
}

/// Searches through all mounts for each mount took 80 times as long for 16 times as many, and
/// more than 140 times as long when a mount had come. What such a search compares is neither read
/// nor allocated, so it is not to be counted here.
#[test]
fn time_for_mounts_grows_with_their_number() {
    const FEW: usize = 1_250;
    const TIMES: usize = 16;
    let times = [FEW, FEW * TIMES].map(|number| {
        let memory = mounts(number);
        let mut subject = Subject::open("filesystem", &[], &memory.host());
        subject.max_series = 0;
        subject.run();
        let steady = least_time(&mut subject, |_| {});
        let text = memory.content("proc/1/mountinfo").expect("there are mounts");
        let changed = least_time(&mut subject, |round| {
            let line =
                format!("9{round} 1 0:9{round} / /new{round} rw - ext4 /dev/new{round} rw\n");
            memory.write("proc/1/mountinfo", [&text, line.as_bytes()].concat());
        });
        [steady, changed]
    });
    for (what, few, many) in
        [("steady", times[0][0], times[1][0]), ("changed", times[0][1], times[1][1])]
    {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!(
            "figure: {what}: {few:?} for {FEW} mounts, {ratio:.1} times that for {TIMES} times"
        );
        assert!(ratio <= TIMES as f64 * 2.5, "{what}: {ratio:.1} times as long, {few:?}, {many:?}");
    }
}
