//! Hosts that have much of one thing, as trees of files: what one collector reads, of any size.
//!
//! What is counted changes from round to round, as it does on a host that works: a host that stands
//! still would hide what a change costs. What hardly ever changes, such as names, does not change here.

#![allow(dead_code, reason = "each program uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A host that is large for one collector.
#[derive(Clone, Copy, Debug)]
pub struct LargeHost {
    /// The collector, whose name is the same in vitald and in node_exporter.
    pub collector: &'static str,
    /// What there is so much of.
    pub unit: &'static str,
    /// How many there are where it is large.
    pub units: usize,
    /// The units of the smaller host, which growth is measured from.
    pub few: usize,
    /// Whether node_exporter 1.5 has the collector.
    pub has_peer: bool,
    /// What node_exporter has to be told.
    pub flags: &'static [&'static str],
    /// A family that has a sample for each unit or more, by which is seen that the collector works.
    pub family: &'static str,
    write: fn(&mut Tree, usize),
}

/// All of them.
pub const ALL: &[LargeHost] = &[
    host("interrupts", "interrupts of 512 CPUs", 1_000, interrupts, "node_interrupts_total"),
    LargeHost {
        has_peer: false,
        ..host("softirqs", "CPUs", 512, softirqs, "node_softirqs_functions_total")
    },
    host("schedstat", "CPUs", 512, schedstat, "node_schedstat_timeslices_total"),
    host("cpufreq", "CPUs", 512, cpufreq, "node_cpu_scaling_frequency_hertz"),
    host("hwmon", "chips of 50 sensors", 100, hwmon, "node_hwmon_temp_celsius"),
    host("thermal_zone", "zones", 512, thermal_zone, "node_thermal_zone_temp"),
    host("edac", "controllers of 8 rows", 32, edac, "node_edac_csrow_correctable_errors_total"),
    host("powersupplyclass", "supplies", 256, power_supply, "node_power_supply_online"),
    host("rapl", "zones", 256, rapl, "node_rapl_core_joules_total"),
    host("zfs", "datasets", 500, zfs, "node_zfs_zpool_dataset_nread"),
    host("xfs", "file systems", 256, xfs, "node_xfs_extent_allocation_blocks_allocated_total"),
    host("nvme", "controllers", 256, nvme, "node_nvme_info"),
    host("tapestats", "drives", 256, tapestats, "node_tape_read_bytes_total"),
    host("drbd", "devices", 1_024, drbd, "node_drbd_disk_read_bytes_total"),
    host("mdadm", "arrays of 8 disks", 256, mdadm, "node_md_disks"),
    host("mountstats", "NFS mounts", 2_000, mountstats, "node_mountstats_nfs_age_seconds_total"),
    host("slabinfo", "caches", 2_048, slabinfo, "node_slabinfo_active_objects"),
    host("zoneinfo", "nodes of 64 CPUs", 64, zoneinfo, "node_zoneinfo_nr_free_pages"),
    host("buddyinfo", "nodes", 256, buddyinfo, "node_buddyinfo_blocks"),
    host("meminfo_numa", "nodes", 64, meminfo_numa, "node_memory_numa_MemFree"),
    host("bonding", "bonds of 4 interfaces", 256, bonding, "node_bonding_slaves"),
    host("infiniband", "adapters of 2 ports", 64, infiniband, "node_infiniband_state_id"),
    host("fibrechannel", "ports", 128, fibrechannel, "node_fibrechannel_rx_frames_total"),
    host("lnstat", "CPUs", 512, lnstat, "node_lnstat_entries_total"),
    host("ipvs", "back ends", 4_096, ipvs, "node_ipvs_backend_connections_active"),
    LargeHost {
        flags: &["--collector.textfile.directory={}/textfile"],
        ..host("textfile", "files of 50 samples", 500, textfile, "example_requests_total")
    },
];

const fn host(
    collector: &'static str,
    unit: &'static str,
    units: usize,
    write: fn(&mut Tree, usize),
    family: &'static str,
) -> LargeHost {
    LargeHost { collector, unit, units, few: units / 8, has_peer: true, flags: &[], family, write }
}

impl LargeHost {
    /// The host, so many times as large, in a directory.
    pub fn write_to(&self, directory: &Path, units: usize) -> Tree {
        let files = BTreeMap::new();
        let mut tree = Tree { directory: directory.to_owned(), files, round: 0 };
        for root in ["proc", "sys", "udev", "rootfs", "textfile"] {
            fs::create_dir_all(directory.join(root)).expect("a directory can be made");
        }
        // Of some there is nothing in procfs, and an empty one is refused.
        fs::write(directory.join("proc/uptime"), "3600.00 7200.00\n")
            .expect("a file can be written");
        (self.write)(&mut tree, units);
        tree
    }

    /// Changes what is counted on it.
    pub fn pass_time(&self, tree: &mut Tree, units: usize) {
        tree.round += 1;
        (self.write)(tree, units);
    }
}

/// A host on disk.
pub struct Tree {
    pub directory: PathBuf,
    files: BTreeMap<String, String>,
    round: u64,
}

impl Tree {
    /// What is counted on a unit, in a column. Of eight columns three stay as they are.
    fn count(&self, unit: usize, column: usize) -> u64 {
        let grown = if column % 8 < 5 { self.round * (3 + column as u64) } else { 0 };
        100_000 + unit as u64 * 1_003 + column as u64 * 7 + grown
    }

    /// Writes a file unless it is so already.
    fn file(&mut self, path: &str, text: String) {
        if self.files.get(path) == Some(&text) {
            return;
        }
        let place = self.directory.join(path);
        if !self.files.contains_key(path) {
            let parent = place.parent().expect("every file is in a directory");
            fs::create_dir_all(parent).expect("a directory can be made");
        }
        fs::write(place, &text).expect("a file can be written");
        self.files.insert(path.to_owned(), text);
    }

    /// Writes attributes of one line each, below a directory.
    fn lines(&mut self, directory: &str, lines: &[(&str, &str)]) {
        for (name, line) in lines {
            self.file(&format!("{directory}/{name}"), format!("{line}\n"));
        }
    }

    /// The same with numbers.
    fn counts(&mut self, directory: &str, unit: usize, names: &[&str]) {
        for (column, name) in names.iter().enumerate() {
            let count = self.count(unit, column);
            self.file(&format!("{directory}/{name}"), format!("{count}\n"));
        }
    }

    fn link(&self, path: &str, target: &str) {
        let place = self.directory.join(path);
        if place.symlink_metadata().is_err() {
            let parent = place.parent().expect("every link is in a directory");
            fs::create_dir_all(parent).expect("a directory can be made");
            symlink(target, place).expect("a link can be made");
        }
    }
}

/// The CPUs of the hosts that have much of what each CPU counts.
const CPUS: usize = 512;

/// Adds ` COUNT` for each column.
fn push_counts(text: &mut String, tree: &Tree, unit: usize, columns: usize) {
    for column in 0..columns {
        let _ = write!(text, " {}", tree.count(unit, column));
    }
}

fn heads(text: &mut String, cpus: usize) {
    for cpu in 0..cpus {
        let _ = write!(text, "{:>11}", format!("CPU{cpu}"));
    }
    text.push('\n');
}

/// Each interrupt is the queue of one CPU, and comes there and on a neighbour.
fn interrupts(tree: &mut Tree, units: usize) {
    let mut text = String::new();
    heads(&mut text, CPUS);
    for number in 0..units {
        let _ = write!(text, "{:>4}:", number + 100);
        for cpu in 0..CPUS {
            let comes = cpu == number % CPUS || cpu == (number + 1) % CPUS;
            let count = if comes { tree.count(number, cpu % 5) } else { 0 };
            let _ = write!(text, " {count:>10}");
        }
        let _ = writeln!(
            text,
            "  IR-PCI-MSIX-0000:{:02x}:00.0 {number:>4}-edge      nvme{}q{}",
            number / 64,
            number / 64,
            number % 64
        );
    }
    for (kind, says) in [("LOC", "Local timer interrupts"), ("TLB", "TLB shootdowns")] {
        let _ = write!(text, " {kind}:");
        for cpu in 0..CPUS {
            let _ = write!(text, " {:>10}", tree.count(cpu, 1));
        }
        let _ = writeln!(text, "   {says}");
    }
    text.push_str(" ERR:          0\n MIS:          0\n");
    tree.file("proc/interrupts", text);
}

fn softirqs(tree: &mut Tree, units: usize) {
    let mut text = String::from("          ");
    heads(&mut text, units);
    let kinds = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED"];
    for (column, kind) in kinds.iter().chain(&["HRTIMER", "RCU"]).enumerate() {
        let _ = write!(text, "{kind:>12}:");
        for cpu in 0..units {
            let _ = write!(text, " {:>10}", tree.count(cpu, column));
        }
        text.push('\n');
    }
    tree.file("proc/softirqs", text);
}

fn schedstat(tree: &mut Tree, units: usize) {
    let mut text = format!("version 15\ntimestamp {}\n", 4_295_000_000 + tree.round * 250);
    for cpu in 0..units {
        let _ = write!(text, "cpu{cpu} 0 0");
        push_counts(&mut text, tree, cpu, 7);
        text.push('\n');
        for domain in 0..3 {
            let _ = write!(text, "domain{domain} ffffffff,ffffffff");
            push_counts(&mut text, tree, cpu, 36);
            text.push('\n');
        }
    }
    tree.file("proc/schedstat", text);
}

fn cpufreq(tree: &mut Tree, units: usize) {
    for cpu in 0..units {
        let directory = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq");
        tree.lines(
            &directory,
            &[
                ("cpuinfo_min_freq", "800000"),
                ("cpuinfo_max_freq", "3900000"),
                ("scaling_min_freq", "800000"),
                ("scaling_max_freq", "3900000"),
                ("scaling_governor", "performance"),
                ("scaling_available_governors", "performance powersave"),
                ("scaling_driver", "intel_cpufreq"),
                ("related_cpus", &cpu.to_string()),
                ("cpuinfo_transition_latency", "0"),
                ("scaling_setspeed", "<unsupported>"),
            ],
        );
        tree.counts(&directory, cpu, &["scaling_cur_freq", "cpuinfo_cur_freq"]);
    }
    tree.lines("sys/devices/system/cpu", &[("offline", "")]);
}

/// Sensors of a chip: 30 temperatures with labels and limits, 10 voltages, 5 fans, 5 powers.
fn hwmon(tree: &mut Tree, units: usize) {
    for chip in 0..units {
        let device = format!("sys/devices/platform/sensors.{chip}");
        let directory = format!("{device}/hwmon/hwmon{chip}");
        tree.link(
            &format!("sys/class/hwmon/hwmon{chip}"),
            &format!("../../devices/platform/sensors.{chip}/hwmon/hwmon{chip}"),
        );
        tree.lines(&directory, &[("name", "coretemp")]);
        tree.link(&format!("{directory}/device"), &format!("../../../sensors.{chip}"));
        for number in 1..=30 {
            tree.lines(
                &directory,
                &[
                    (&format!("temp{number}_label"), &format!("Core {number}")),
                    (&format!("temp{number}_max"), "84000"),
                    (&format!("temp{number}_crit"), "100000"),
                ],
            );
        }
        for (kind, sensors) in [("temp", 30), ("in", 10), ("fan", 5), ("power", 5)] {
            for number in 1..=sensors {
                let value = tree.count(chip, number);
                tree.lines(&directory, &[(&format!("{kind}{number}_input"), &value.to_string())]);
            }
        }
    }
}

fn thermal_zone(tree: &mut Tree, units: usize) {
    for zone in 0..units {
        let directory = format!("sys/class/thermal/thermal_zone{zone}");
        tree.lines(&directory, &[("type", "x86_pkg_temp"), ("policy", "step_wise")]);
        tree.counts(&directory, zone, &["temp"]);
        let directory = format!("sys/class/thermal/cooling_device{zone}");
        tree.lines(&directory, &[("type", "Processor"), ("max_state", "10"), ("cur_state", "0")]);
    }
}

fn edac(tree: &mut Tree, units: usize) {
    for controller in 0..units {
        let directory = format!("sys/devices/system/edac/mc/mc{controller}");
        tree.counts(&directory, controller, &["ce_count", "ue_count"]);
        tree.lines(&directory, &[("ce_noinfo_count", "0"), ("ue_noinfo_count", "0")]);
        for row in 0..8 {
            let directory = format!("{directory}/csrow{row}");
            tree.counts(&directory, row, &["ce_count"]);
            tree.lines(
                &directory,
                &[
                    ("ue_count", "0"),
                    ("ch0_ce_count", "0"),
                    ("ch0_dimm_label", &format!("CPU_SrcID#0_MC#{controller}_Chan#0_DIMM#{row}")),
                ],
            );
        }
    }
}

fn power_supply(tree: &mut Tree, units: usize) {
    for supply in 0..units {
        let directory = format!("sys/class/power_supply/PSU{supply}");
        tree.lines(
            &directory,
            &[
                ("online", "1"),
                ("type", "Mains"),
                ("manufacturer", "Example"),
                ("model_name", "P1200"),
                ("status", "Charging"),
            ],
        );
        tree.counts(&directory, supply, &["voltage_now", "current_now", "power_now", "energy_now"]);
    }
}

fn rapl(tree: &mut Tree, units: usize) {
    for zone in 0..units {
        let directory = format!("sys/class/powercap/intel-rapl:{zone}");
        tree.lines(
            &directory,
            &[("name", &format!("core-{zone}")), ("max_energy_range_uj", "262143328850")],
        );
        tree.counts(&directory, zone, &["energy_uj"]);
    }
}

/// Datasets of one pool, and the numbers of the cache.
fn zfs(tree: &mut Tree, units: usize) {
    let head = "9 1 0x01 123 33456 8007255140 354329591145385\nname                            type data\n";
    let mut text = String::from(head);
    for number in 0..120 {
        let count = tree.count(number, number);
        let _ = writeln!(text, "{:<31} 4    {count}", format!("arc_counter_{number}"));
    }
    tree.file("proc/spl/kstat/zfs/arcstats", text);
    let pool = "proc/spl/kstat/zfs/tank";
    tree.file(&format!("{pool}/state"), "ONLINE\n".to_owned());
    for dataset in 0..units {
        let mut text = format!("{head}{:<31} 7    tank/home/user{dataset}\n", "dataset_name");
        let names = [
            "writes",
            "nwritten",
            "reads",
            "nread",
            "nunlinks",
            "nunlinked",
            "zil_commit_count",
            "zil_commit_writer_count",
            "zil_itx_count",
            "zil_itx_indirect_count",
            "zil_itx_indirect_bytes",
            "zil_itx_copied_count",
            "zil_itx_copied_bytes",
            "zil_itx_needcopy_count",
        ];
        for (column, name) in names.iter().enumerate() {
            let _ = writeln!(text, "{name:<31} 4    {}", tree.count(dataset, column));
        }
        tree.file(&format!("{pool}/objset-0x{:x}", dataset + 54), text);
    }
}

fn xfs(tree: &mut Tree, units: usize) {
    for number in 0..units {
        let mut text = String::new();
        for (name, columns) in [
            ("extent_alloc", 4),
            ("abt", 4),
            ("blk_map", 7),
            ("bmbt", 4),
            ("dir", 4),
            ("trans", 3),
            ("ig", 7),
            ("log", 5),
            ("push_ail", 10),
            ("xstrat", 2),
            ("rw", 2),
            ("attr", 4),
            ("icluster", 3),
            ("vnodes", 8),
            ("buf", 9),
            ("abtb2", 15),
            ("abtc2", 15),
            ("bmbt2", 15),
            ("ibt2", 15),
            ("fibt2", 15),
            ("rmapbt", 15),
            ("refcntbt", 15),
            ("qm", 8),
            ("xpc", 3),
        ] {
            text.push_str(name);
            push_counts(&mut text, tree, number, columns);
            text.push('\n');
        }
        text.push_str("debug 0\n");
        tree.file(&format!("sys/fs/xfs/nvme{number}n1/stats/stats"), text);
    }
}

fn nvme(tree: &mut Tree, units: usize) {
    for number in 0..units {
        let directory = format!("sys/class/nvme/nvme{number}");
        tree.lines(
            &directory,
            &[
                ("model", "EXAMPLE SSD 960"),
                ("serial", &format!("S{number:07}")),
                ("firmware_rev", "2B4QFXO7"),
                ("state", "live"),
                ("cntlid", "5"),
            ],
        );
        let namespace = format!("{directory}/nvme{number}n1");
        tree.lines(
            &namespace,
            &[
                ("size", "1875385008"),
                ("queue/logical_block_size", "512"),
                ("ana_state", "optimized"),
            ],
        );
        tree.counts(&namespace, number, &["nuse"]);
    }
}

fn tapestats(tree: &mut Tree, units: usize) {
    for number in 0..units {
        tree.counts(
            &format!("sys/class/scsi_tape/st{number}/stats"),
            number,
            &[
                "io_ns",
                "other_cnt",
                "read_byte_cnt",
                "read_cnt",
                "read_ns",
                "resid_cnt",
                "write_byte_cnt",
                "write_cnt",
                "write_ns",
                "in_flight",
            ],
        );
    }
}

fn drbd(tree: &mut Tree, units: usize) {
    let mut text = String::from(
        "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: A1B2C3D4E5F60718293A4B5\n\n",
    );
    for number in 0..units {
        let _ = write!(
            text,
            " {number}: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n   "
        );
        for (column, name) in
            ["ns", "nr", "dw", "dr", "al", "bm", "lo", "pe", "ua", "ap"].iter().enumerate()
        {
            let _ = write!(text, " {name}:{}", tree.count(number, column));
        }
        text.push_str(" ep:1 wo:f oos:0\n");
    }
    tree.file("proc/drbd", text);
}

fn mdadm(tree: &mut Tree, units: usize) {
    let mut text = String::from("Personalities : [raid1] [raid6] [raid5] [raid4]\n");
    for number in 0..units {
        let _ = write!(text, "md{number} : active raid6");
        for disk in 0..8 {
            let _ = write!(
                text,
                " sd{}{}[{disk}]",
                char::from(b'a' + (number % 26) as u8),
                disk + number * 8
            );
        }
        let _ = write!(
            text,
            "\n      {} blocks super 1.2 level 6, 64k chunk, algorithm 2 [8/8] [UUUUUUUU]\n",
            tree.count(number, 5)
        );
        if number.is_multiple_of(16) {
            let done = 1_000 + tree.round;
            let _ = writeln!(
                text,
                "      [>....................]  check =  0.1% ({done}/976630336) finish=150.9min speed=107680K/sec"
            );
        }
        text.push('\n');
        let directory = format!("sys/block/md{number}/md");
        tree.lines(
            &directory,
            &[
                ("array_state", "clean"),
                ("level", "raid6"),
                ("raid_disks", "8"),
                ("degraded", "0"),
                ("metadata_version", "1.2"),
                ("uuid", "155f29ff:1716:4107:b362:52307ef86cac"),
                ("chunk_size", "65536"),
                ("sync_action", "idle"),
            ],
        );
    }
    text.push_str("unused devices: <none>\n");
    tree.file("proc/mdstat", text);
}

/// Mounts of NFS 4.2, each of an export of its own.
fn mountstats(tree: &mut Tree, units: usize) {
    let mut text = String::from("device proc mounted on /proc with fstype proc\n");
    let mut mountinfo = String::new();
    for number in 0..units {
        let _ = writeln!(
            mountinfo,
            "{} 1 0:{} / /mnt/files{number} rw,relatime shared:{number} - nfs4 \
            files{}.example.net:/export{number} rw,vers=4.2,addr=192.0.2.{}",
            number + 30,
            number + 30,
            number % 16,
            number % 16
        );
        let _ = write!(
            text,
            "device files{}.example.net:/export{number} mounted on /mnt/files{number} with fstype nfs4 statvers=1.1\n\
            \topts:\trw,vers=4.2,rsize=1048576,wsize=1048576,namlen=255,acregmin=3,acregmax=60,hard,proto=tcp,timeo=600,retrans=2,mountaddr=192.0.2.{}\n\
            \tage:\t{}\n\timpl_id:\tname='',domain='',date='0,0'\n\tcaps:\tcaps=0x2ffffff,wtmult=512,dtsize=1048576,bsize=0,namlen=255\n\
            \tnfsv4:\tbm0=0xfdffbfff,bm1=0xf9be3e,bm2=0x68800,acl=0x3,sessions,pnfs=not configured\n\tsec:\tflavor=1,pseudoflavor=1\n\tevents:\t",
            number % 16,
            number % 16,
            5_183_944 + tree.round
        );
        push_counts(&mut text, tree, number, 27);
        text.push_str("\n\tbytes:\t");
        push_counts(&mut text, tree, number, 8);
        text.push_str(
            "\n\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)\n\txprt:\ttcp 825 1 2 0 4",
        );
        push_counts(&mut text, tree, number, 8);
        text.push_str("\n\tper-op statistics\n");
        for (place, operation) in [
            "NULL",
            "READ",
            "WRITE",
            "COMMIT",
            "OPEN",
            "OPEN_CONFIRM",
            "OPEN_NOATTR",
            "OPEN_DOWNGRADE",
            "CLOSE",
            "SETATTR",
            "FSINFO",
            "RENEW",
            "SETCLIENTID",
            "LOCK",
            "LOCKT",
            "LOCKU",
            "ACCESS",
            "GETATTR",
            "LOOKUP",
            "LOOKUP_ROOT",
            "REMOVE",
            "RENAME",
            "LINK",
            "SYMLINK",
            "CREATE",
            "PATHCONF",
            "STATFS",
            "READLINK",
            "READDIR",
            "SERVER_CAPS",
            "DELEGRETURN",
            "SEQUENCE",
        ]
        .iter()
        .enumerate()
        {
            let _ = write!(text, "\t{operation:>12}:");
            let columns = if place.is_multiple_of(3) { 9 } else { 0 };
            push_counts(&mut text, tree, number, columns);
            text.push_str(if columns == 0 { " 0 0 0 0 0 0 0 0 0\n" } else { "\n" });
        }
        text.push('\n');
    }
    // node_exporter looks for its own process by the link.
    tree.link("proc/self", "1");
    tree.file("proc/1/mountstats", text);
    tree.file("proc/1/mountinfo", mountinfo);
}

fn slabinfo(tree: &mut Tree, units: usize) {
    let mut text = String::from(
        "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> \
        <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    );
    for number in 0..units {
        let (active, all) = (tree.count(number, 0), tree.count(number, 6) + 50_000);
        let _ = writeln!(
            text,
            "{:<17} {active:>6} {all:>6}    256   32    2 : tunables    0    0    0 : slabdata    606    606      0",
            format!("dentry({number}:user)")
        );
    }
    tree.file("proc/slabinfo", text);
}

fn zoneinfo(tree: &mut Tree, units: usize) {
    let mut text = String::new();
    for node in 0..units {
        let _ = writeln!(text, "Node {node}, zone   Normal\n  per-node stats");
        for (column, name) in [
            "nr_inactive_anon",
            "nr_active_anon",
            "nr_inactive_file",
            "nr_active_file",
            "nr_unevictable",
            "nr_slab_reclaimable",
            "nr_slab_unreclaimable",
            "nr_isolated_anon",
            "nr_isolated_file",
            "workingset_nodes",
            "workingset_refault_anon",
            "workingset_activate_anon",
            "nr_anon_pages",
            "nr_mapped",
            "nr_file_pages",
            "nr_dirty",
            "nr_writeback",
            "nr_shmem",
            "nr_anon_transparent_hugepages",
            "nr_dirtied",
            "nr_written",
            "nr_kernel_stack",
        ]
        .iter()
        .enumerate()
        {
            let _ = writeln!(text, "      {name:<12} {}", tree.count(node, column));
        }
        for (column, name) in [
            "pages free    ",
            "      boost   ",
            "      min     ",
            "      low     ",
            "      high    ",
            "      spanned ",
            "      present ",
            "      managed ",
            "      cma     ",
        ]
        .iter()
        .enumerate()
        {
            let _ = writeln!(text, "  {name} {}", tree.count(node, column));
        }
        text.push_str("        protection: (0, 0, 0, 0, 0)\n");
        for (column, name) in [
            "nr_free_pages",
            "nr_zone_inactive_anon",
            "nr_zone_active_anon",
            "nr_mlock",
            "nr_bounce",
            "numa_hit",
            "numa_miss",
            "numa_foreign",
            "numa_interleave",
            "numa_local",
            "numa_other",
        ]
        .iter()
        .enumerate()
        {
            let _ = writeln!(text, "      {name:<12} {}", tree.count(node, column));
        }
        text.push_str("  pagesets\n");
        for cpu in 0..64 {
            let _ = write!(
                text,
                "    cpu: {cpu}\n              count: {}\n              high:  14280\n              batch: 63\n  vm stats threshold: 125\n",
                tree.count(cpu, 0)
            );
        }
        text.push_str("  node_unreclaimable:  0\n  start_pfn:           1048576\n");
    }
    tree.file("proc/zoneinfo", text);
}

fn buddyinfo(tree: &mut Tree, units: usize) {
    let mut text = String::new();
    for node in 0..units {
        let _ = write!(text, "Node {node}, zone   Normal");
        push_counts(&mut text, tree, node, 11);
        text.push_str(" \n");
    }
    tree.file("proc/buddyinfo", text);
}

fn meminfo_numa(tree: &mut Tree, units: usize) {
    for node in 0..units {
        let mut text = String::new();
        for (column, name) in [
            "MemTotal",
            "MemFree",
            "MemUsed",
            "SwapCached",
            "Active",
            "Inactive",
            "Active(anon)",
            "Inactive(anon)",
            "Active(file)",
            "Inactive(file)",
            "Unevictable",
            "Mlocked",
            "Dirty",
            "Writeback",
            "FilePages",
            "Mapped",
            "AnonPages",
            "Shmem",
            "KernelStack",
            "PageTables",
            "Bounce",
            "WritebackTmp",
            "KReclaimable",
            "Slab",
            "SReclaimable",
            "SUnreclaim",
        ]
        .iter()
        .enumerate()
        {
            let _ = writeln!(
                text,
                "Node {node} {:<15} {:>8} kB",
                format!("{name}:"),
                tree.count(node, column)
            );
        }
        let directory = format!("sys/devices/system/node/node{node}");
        tree.file(&format!("{directory}/meminfo"), text);
        let mut text = String::new();
        for (column, name) in
            ["numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"]
                .iter()
                .enumerate()
        {
            let _ = writeln!(text, "{name} {}", tree.count(node, column));
        }
        tree.file(&format!("{directory}/numastat"), text);
    }
}

fn bonding(tree: &mut Tree, units: usize) {
    let masters: Vec<String> = (0..units).map(|bond| format!("bond{bond}")).collect();
    tree.lines("sys/class/net", &[("bonding_masters", &masters.join(" "))]);
    for (bond, master) in masters.iter().enumerate() {
        let directory = format!("sys/class/net/{master}");
        let slaves: Vec<String> = (0..4).map(|port| format!("eth{}", bond * 4 + port)).collect();
        tree.lines(&directory, &[("bonding/slaves", &slaves.join(" "))]);
        for (port, slave) in slaves.iter().enumerate() {
            let is_up = !(tree.round + bond as u64 + port as u64).is_multiple_of(16);
            let state = if is_up { "up" } else { "down" };
            tree.lines(&directory, &[(&format!("lower_{slave}/bonding_slave/mii_status"), state)]);
        }
    }
}

fn infiniband(tree: &mut Tree, units: usize) {
    for adapter in 0..units {
        let directory = format!("sys/class/infiniband/mlx5_{adapter}");
        tree.lines(
            &directory,
            &[("board_id", "MT_0000000223"), ("fw_ver", "20.31.1014"), ("hca_type", "MT4123")],
        );
        for port in 1..=2 {
            let directory = format!("{directory}/ports/{port}");
            tree.lines(
                &directory,
                &[
                    ("state", "4: ACTIVE"),
                    ("phys_state", "5: LinkUp"),
                    ("rate", "200 Gb/sec (4X HDR)"),
                    ("link_layer", "InfiniBand"),
                ],
            );
            tree.counts(
                &format!("{directory}/counters"),
                adapter,
                &[
                    "excessive_buffer_overrun_errors",
                    "link_downed",
                    "link_error_recovery",
                    "local_link_integrity_errors",
                    "multicast_rcv_packets",
                    "multicast_xmit_packets",
                    "port_rcv_constraint_errors",
                    "port_rcv_data",
                    "port_rcv_errors",
                    "port_rcv_packets",
                    "port_rcv_remote_physical_errors",
                    "port_rcv_switch_relay_errors",
                    "port_xmit_constraint_errors",
                    "port_xmit_data",
                    "port_xmit_discards",
                    "port_xmit_packets",
                    "port_xmit_wait",
                    "symbol_error",
                    "unicast_rcv_packets",
                    "unicast_xmit_packets",
                    "VL15_dropped",
                ],
            );
            tree.counts(
                &format!("{directory}/hw_counters"),
                adapter,
                &[
                    "duplicate_request",
                    "implied_nak_seq_err",
                    "local_ack_timeout_err",
                    "np_cnp_sent",
                    "np_ecn_marked_roce_packets",
                    "out_of_buffer",
                    "out_of_sequence",
                    "packet_seq_err",
                    "req_cqe_error",
                    "req_cqe_flush_error",
                    "req_remote_access_errors",
                    "rnr_nak_retry_err",
                    "rp_cnp_handled",
                    "rp_cnp_ignored",
                    "rx_atomic_requests",
                    "rx_read_requests",
                    "rx_write_requests",
                ],
            );
            tree.lines(&format!("{directory}/hw_counters"), &[("lifespan", "10")]);
        }
    }
}

fn fibrechannel(tree: &mut Tree, units: usize) {
    for port in 0..units {
        let directory = format!("sys/class/fc_host/host{port}");
        tree.lines(
            &directory,
            &[
                ("speed", "16 Gbit"),
                ("port_state", "Online"),
                ("port_type", "NPort (fabric via point-to-point)"),
                ("port_id", "0x000002"),
                ("port_name", "0x1000e0071bce95f2"),
                ("node_name", "0x2000e0071bce95f2"),
                ("fabric_name", "0x0"),
                ("symbolic_name", "Emulex SN1100E2P FV12.4.270.3"),
                ("supported_classes", "Class 3"),
                ("supported_speeds", "4 Gbit, 8 Gbit, 16 Gbit"),
                ("dev_loss_tmo", "30"),
            ],
        );
        for (column, name) in [
            "dumped_frames",
            "error_frames",
            "invalid_crc_count",
            "rx_frames",
            "rx_words",
            "tx_frames",
            "tx_words",
            "seconds_since_last_reset",
            "invalid_tx_word_count",
            "link_failure_count",
            "loss_of_sync_count",
            "loss_of_signal_count",
            "nos_count",
            "fcp_packet_aborts",
        ]
        .iter()
        .enumerate()
        {
            let count = tree.count(port, column);
            tree.lines(&format!("{directory}/statistics"), &[(name, &format!("0x{count:x}"))]);
        }
    }
}

fn lnstat(tree: &mut Tree, units: usize) {
    for (file, columns) in
        [("arp_cache", 13), ("ndisc_cache", 13), ("nf_conntrack", 17), ("rt_cache", 17)]
    {
        let names = [
            "entries",
            "searched",
            "found",
            "new",
            "invalid",
            "ignore",
            "delete",
            "delete_list",
            "insert",
            "insert_failed",
            "drop",
            "early_drop",
            "icmp_error",
            "expect_new",
            "expect_create",
            "expect_delete",
            "search_restart",
        ];
        let mut text = names[..columns].join(" ") + "\n";
        for cpu in 0..units {
            for column in 0..columns {
                let _ = write!(text, "{:08x} ", tree.count(cpu, column));
            }
            text.push('\n');
        }
        tree.file(&format!("proc/net/stat/{file}"), text);
    }
}

/// 16 back ends of each service.
fn ipvs(tree: &mut Tree, units: usize) {
    tree.file("proc/net/ip_vs_stats", format!("   Total Incoming Outgoing         Incoming         Outgoing\n   Conns  Packets  Packets            Bytes            Bytes\n\
        {:8X} {:8X}        0 {:16X}                0\n\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n       4        8        0               B0                0\n",
        tree.count(1, 0), tree.count(2, 0), tree.count(3, 0)));
    let mut text = String::from(
        "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
    );
    for number in 0..units {
        if number.is_multiple_of(16) {
            let _ = writeln!(text, "TCP  C0A8{:04X}:0CEA wlc", number / 16);
        }
        let _ = writeln!(
            text,
            "  -> C0A9{number:04X}:0CEA      Tunnel  100    {:<10} {}",
            tree.count(number, 0),
            tree.count(number, 1)
        );
    }
    tree.file("proc/net/ip_vs", text);
}

/// Files that programs write, each with three families. Every eighth of them is written anew in a round: its
/// time is another one.
fn textfile(tree: &mut Tree, units: usize) {
    for file in 0..units {
        let mut text = String::from(
            "# HELP example_requests_total Requests that were answered.\n# TYPE example_requests_total counter\n",
        );
        let is_due = (tree.round as usize).is_multiple_of(8)
            || (file + tree.round as usize).is_multiple_of(8);
        if !is_due {
            continue;
        }
        for line in 0..40 {
            let _ = writeln!(
                text,
                "example_requests_total{{service=\"service{file}\",code=\"{}\",method=\"GET\"}} {}",
                200 + line,
                tree.count(file, line)
            );
        }
        text.push_str("# HELP example_size_bytes The size of what was answered.\n# TYPE example_size_bytes gauge\n");
        for line in 0..9 {
            let _ = writeln!(
                text,
                "example_size_bytes{{service=\"service{file}\",volume=\"/data/{line}\"}} {}.5",
                tree.count(file, line)
            );
        }
        let _ = writeln!(
            text,
            "example_last_success_time_seconds{{service=\"service{file}\"}} 1.795{:06}e+09",
            tree.round
        );
        tree.file(&format!("textfile/service{file}.prom"), text);
    }
}
