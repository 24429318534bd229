//! In an emulated machine with the kernel that Debian has: what this machine's own kernel has no
//! devices or modules for, beside node_exporter.

mod harness;
mod links;
mod system;

use harness::Daemon;
use links::{ALL_KINDS, PORTS, Shown, interfaces_are_those_of_sysfs, netclass_without};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system::agreement::{Agreement, Comparison, Exception};
use system::namespaces::Namespaces;
use system::page::Page;
use system::peer::{DEFAULT_FIELDS, NODE_EXPORTER};
use vitald_core::collector::roll_call;

const NEEDS: &str = "root, qemu-system-x86_64, busybox, kmod, cpio, a kernel package of Debian unpacked in \
                     VITALD_VM_KERNEL, prometheus-node-exporter and the programs in system_vm/machine.sh";

/// Modules that are loaded before there is a root to load others from.
const FIRST_MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Collectors that node_exporter 1.5 has too, and that are on in the comparison.
const BOTH: &[&str] = &[
    "arp",
    "bcache",
    "bonding",
    "btrfs",
    "buddyinfo",
    "cgroups",
    "conntrack",
    "cpu",
    "cpufreq",
    "diskstats",
    "dmi",
    "drbd",
    "edac",
    "entropy",
    "ethtool",
    "fibrechannel",
    "filefd",
    "filesystem",
    "hwmon",
    "infiniband",
    "interrupts",
    "ipvs",
    "ksmd",
    "lnstat",
    "loadavg",
    "mdadm",
    "meminfo",
    "meminfo_numa",
    "mountstats",
    "netclass",
    "netdev",
    "netstat",
    "network_route",
    "nfs",
    "nfsd",
    "nvme",
    "os",
    "powersupplyclass",
    "pressure",
    "processes",
    "qdisc",
    "rapl",
    "schedstat",
    "selinux",
    "slabinfo",
    "sockstat",
    "softnet",
    "stat",
    "tapestats",
    "thermal_zone",
    "time",
    "timex",
    "udp_queues",
    "uname",
    "vmstat",
    "wifi",
    "xfs",
    "zoneinfo",
];

/// What vitald shows as 1.12 does, or of itself.
const ONLY_HERE: &[Exception] = &[
    ("vitald_", "vitald of itself"),
    ("node_btrfs_commit_seconds_total", "since 1.10"),
    ("node_btrfs_commits_total", "since 1.10"),
    ("node_btrfs_last_commit_seconds", "since 1.10"),
    ("node_btrfs_max_commit_seconds", "since 1.10"),
    ("node_mountstats_nfs_mountpoint_info", "after 1.5"),
    ("node_wifi_station_received_packets_total", "after 1.5"),
    ("node_wifi_station_transmitted_packets_total", "after 1.5"),
    ("node_filesystem_mount_info", "since 1.9"),
    ("node_filesystem_purgeable_bytes", "since 1.10"),
    ("node_md_degraded", "since 1.11"),
    ("node_md_raid_disks", "since 1.11"),
    ("node_nvme_namespace_", "since 1.10"),
    ("node_softnet_backlog_len", "since 1.6"),
    ("node_softnet_cpu_collision_total", "since 1.6"),
    ("node_softnet_flow_limit_count_total", "since 1.6"),
    ("node_softnet_received_rps_total", "since 1.6"),
    ("process_network_", "since client_golang 1.20"),
];

/// What node_exporter 1.5 shows and vitald, as 1.12, does not.
const ONLY_THERE: &[Exception] = &[
    ("go_", "tells of Go's runtime"),
    ("node_memory_FileHugePages_bytes", "1.12 takes from meminfo what it has a name for"),
    ("node_memory_FilePmdMapped_bytes", "the same"),
    ("node_memory_Hugetlb_bytes", "the same"),
    ("node_memory_KReclaimable_bytes", "the same"),
    ("node_memory_SecPageTables_bytes", "the same"),
];

const AGREEMENT: Agreement = Agreement {
    only_there: ONLY_THERE,
    only_here: ONLY_HERE,
    new_labels: &[
        ("node_filesystem_", "device_error"),
        ("node_disk_info", "rotational"),
        ("node_exporter_build_info", "tags"),
        ("node_mountstats_nfs_transport_", "transport"),
        ("node_network_info", "adminstate"),
        ("node_nvme_info", "cntlid"),
    ],
    of_the_program: &[
        "process_",
        "promhttp_",
        "node_exporter_build_info",
        "node_scrape_collector_duration_seconds",
    ],
    readers_own: &[("node_filefd_allocated", 16.0), ("node_procs_running", 4.0)],
    changed: &[(
        "node_nfsd_requests_total",
        "1.5 counts fewer operations, and no writes of version 4",
    )],
    momentary: &["node_processes_state", "node_processes_threads_state"],
};

/// What fails for a user without rights when every collector is on: classes, files and services that are
/// not there, which node_exporter too calls a failure, and slabinfo, which the kernel shows to root
/// alone.
const FAIL_FOR_NOBODY: &[&str] = &[
    "bcachefs",
    "fibrechannel",
    "infiniband",
    "kernel_hung",
    "logind",
    "ntp",
    "runit",
    "slabinfo",
    "supervisord",
    "systemd",
    "zfs",
];

/// How long anything in the machine may take: an emulated processor is slow.
const LIMIT: Duration = Duration::from_secs(600);
const LEAST_ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 200;

/// An emulated machine; ends with the value.
struct Machine {
    emulator: Child,
    /// The directory that the machine has as `/results`.
    results: tempfile::TempDir,
    console: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The file of a directory whose name begins so.
fn beginning(directory: &Path, beginning: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(beginning.as_bytes()))
    };
    found.find(is_it).unwrap_or_else(|| panic!("{beginning}* in {directory:?}"))
}

/// Packs what the kernel starts from: busybox, the first script, and the modules to reach the rest.
fn pack_start(kernel: &Path, release: &str, work: &Path) -> PathBuf {
    run(Command::new("depmod").arg("-b").arg(kernel).arg(release));
    let tree = work.join("start");
    for place in ["proc", "sys", "dev", "outside", "kernel", "memory", "root", "modules"] {
        fs::create_dir_all(tree.join(place)).expect("a directory");
    }
    let mut order = String::new();
    for module in FIRST_MODULES {
        let mut needed = Command::new("modprobe");
        needed.arg("-d").arg(kernel).args(["-S", release, "--show-depends", module]);
        for line in run(&mut needed).lines() {
            let path = Path::new(line.strip_prefix("insmod ").expect("a module").trim());
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            if !order.lines().any(|known| known == name) {
                fs::copy(path, tree.join("modules").join(name)).expect("a module");
                order += &format!("{name}\n");
            }
        }
    }
    fs::write(tree.join("modules/order"), order).expect("a file");
    fs::copy("/bin/busybox", tree.join("busybox")).expect("busybox");
    fs::copy(beside("init.sh"), tree.join("init")).expect("the script");
    run(Command::new("chmod").arg("755").arg(tree.join("init")));
    let packed = work.join("start.cpio");
    run(Command::new("sh")
        .args(["-c", "find . | cpio --quiet -o -H newc -R 0:0 >\"$1\"", "sh"])
        .arg(&packed)
        .current_dir(&tree));
    packed
}

/// A file of this test's own.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/system_vm").join(name)
}

impl Machine {
    /// Starts a machine that runs a script beside this test, which starts these programs, by name and words, and has this
    /// directory.
    fn start(
        results: tempfile::TempDir,
        script: &str,
        programs: &[(&str, Vec<String>)],
    ) -> Machine {
        let kernel = std::env::var_os("VITALD_VM_KERNEL");
        let kernel = PathBuf::from(kernel.unwrap_or_else(|| panic!("the test needs {NEEDS}")));
        let image = beginning(&kernel.join("boot"), "vmlinuz-");
        let release = image.file_name().and_then(|name| name.to_str()).expect("a name");
        let release = release.trim_start_matches("vmlinuz-").to_owned();
        for (name, words) in programs {
            fs::write(results.path().join(name), words.join("\n") + "\n").expect("a file");
        }
        let work = results.path().join("work");
        let start = pack_start(&kernel, &release, &work);
        let disk = work.join("disk");
        fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("a disk");
        let console = work.join("console");
        let share = |path: &Path, tag: &str, access: &str| {
            format!("local,path={},mount_tag={tag},security_model=none,{access}", path.display())
        };
        let script = fs::canonicalize(beside(script)).expect("the script");
        let mut emulator = Command::new("qemu-system-x86_64");
        emulator
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "1536",
                "-no-reboot",
            ])
            .args(["-nodefaults", "-display", "none", "-monitor", "none"])
            .args(["-nic", "user,restrict=on,model=e1000e,mac=52:54:00:12:34:56"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-virtfs")
            .arg(share(Path::new("/"), "outside", "readonly=on,multidevs=remap"))
            .arg("-virtfs")
            .arg(share(&kernel, "kernel", "readonly=on"))
            .arg("-virtfs")
            .arg(share(results.path(), "results", "readonly=off"))
            .arg("-drive")
            .arg(format!("file={},if=none,id=disk,format=raw", disk.display()))
            .args(["-device", "nvme,drive=disk,serial=vitald-42"])
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(start)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 script={}", script.display()))
            .stdin(Stdio::null());
        let emulator = emulator.spawn().expect("qemu");
        Machine { emulator, results, console }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.results.path().join(name)
    }

    /// What the machine said of itself and of the programs.
    fn said(&self) -> String {
        let named = |name: &str| {
            let text = fs::read(self.file(name)).unwrap_or_default();
            format!("--- {name}\n{}\n", String::from_utf8_lossy(&text))
        };
        let console = fs::read(&self.console).unwrap_or_default();
        ["log", "theirs.log", "ours.log", "nobodys.log", "program.log"].map(named).concat()
            + &String::from_utf8_lossy(&console)
    }

    /// Waits until the machine has made so many rounds of pages.
    fn rounds(&mut self, least: usize) {
        self.wait(|machine| {
            let ended = machine.emulator.try_wait().expect("a child").is_some();
            assert!(!ended && !machine.file("ended").exists(), "it ended: {}", machine.said());
            let made = fs::read_to_string(machine.file("rounds")).ok();
            made.and_then(|text| text.trim().parse().ok()).unwrap_or(0) >= least
        });
    }

    fn wait(&mut self, mut is_so: impl FnMut(&mut Machine) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < limit, "waited in vain: {}", self.said());
            // The emulator needs the processors.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn page(&self, name: &str) -> Page {
        let path = self.file(name);
        Page::parse(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
    }

    /// Ends the machine.
    fn stop(mut self) {
        fs::write(self.file("stop"), "").expect("a file");
        self.wait(|machine| machine.emulator.try_wait().expect("a child").is_some());
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The flags by which node_exporter 1.5, of which Debian has changed some defaults, and vitald show
/// the same.
fn flags(port: u16) -> Vec<String> {
    let mut flags: Vec<String> = BOTH
        .iter()
        .filter(|n| vitald_plugins::ALL.contains(n))
        .map(|name| format!("--collector.{name}"))
        .collect();
    flags.extend(words(&[
        "--collector.disable-defaults",
        "--collector.diskstats.device-exclude=^(ram|fd)\\d+$",
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys|kernel|outside)($|/)",
        "--collector.filesystem.fs-types-exclude=^(9p|cgroup2?|devpts|devtmpfs|overlay|proc|rootfs|sysfs)$",
        "--collector.netdev.device-exclude=^none$",
        "--collector.netclass.ignored-devices=^none$",
    ]));
    flags.push(format!("--collector.netstat.fields={}", DEFAULT_FIELDS.0));
    flags.push(format!("--collector.vmstat.fields={}", DEFAULT_FIELDS.1));
    flags.push(format!("--web.listen-address=127.0.0.1:{port}"));
    flags
}

#[test]
fn devices_of_other_machines_show_what_node_exporter_shows() {
    if !harness::system(NEEDS) {
        return;
    }
    let results = tempfile::tempdir().expect("a directory");
    let binary = fs::canonicalize(harness::binary()).expect("the binary");
    symlink(&binary, results.path().join("node_exporter")).expect("a link");
    let every = roll_call(&[vitald_plugins::ALL]).expect("collectors");
    let tables =
        every.iter().map(|collector| format!("[collectors.{}]\nenabled = true\n", collector.name));
    let listen = "[server]\nlisten = [\"127.0.0.1:9103\"]\n".to_owned();
    fs::write(results.path().join("config.toml"), listen + &tables.collect::<String>())
        .expect("a file");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(results.path()));
    let with = |program: &str, port| [words(&[program]), flags(port)].concat();
    let nobodys = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let nobodys =
        [&nobodys[..], &[binary.to_str().expect("a path"), "--config", "/results/config.toml"]];
    let programs = [
        ("theirs", with(NODE_EXPORTER, 9101)),
        ("ours", with("/results/node_exporter", 9102)),
        ("nobodys", words(&nobodys.concat())),
    ];
    let mut machine = Machine::start(results, "machine.sh", &programs);

    let mut comparison = Comparison::new(AGREEMENT);
    while comparison.rounds < LEAST_ROUNDS || !comparison.undecided.is_empty() {
        let round = comparison.rounds;
        machine.rounds(round + 1);
        let [before, shown, after] =
            ["before", "shown", "after"].map(|name| machine.page(&format!("{name}.{round}")));
        comparison.round(&before, &shown, &after);
        assert!(round < MOST_ROUNDS, "after {round} rounds: {:#?}", comparison.undecided);
    }
    println!(
        "{} series; every value agreed after {} rounds",
        comparison.compared, comparison.rounds
    );
    let last = machine.page(&format!("nobodys.{}", comparison.rounds - 1));
    let mut failed: Vec<&str> = last
        .family("node_scrape_collector_success")
        .filter(|(_, success)| *success == 0.0)
        .filter_map(|(series, _)| series.label("collector"))
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, FAIL_FOR_NOBODY, "{}", machine.said());
    let kinds = last.family("vitald_collector_incident_kinds_total");
    let panics =
        kinds.filter(|(series, count)| series.label("kind") == Some("panic") && *count > 0.0);
    assert_eq!(panics.count(), 0, "{}", machine.said());
    machine.stop();
}

/// Set where this test runs inside the machine.
const INSIDE: &str = "VITALD_INSIDE_MACHINE";

/// The test of `system_devices` under a kernel that has every kind of interface: the machine runs this test once more.
#[test]
fn interfaces_of_every_kind_are_what_sysfs_says() {
    if !harness::system(NEEDS) {
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        return every_kind_is_what_sysfs_says();
    }
    let own = std::env::current_exe().and_then(fs::canonicalize).expect("a program");
    let binary = fs::canonicalize(harness::binary()).expect("the binary");
    let environment = [
        "env".to_owned(),
        "VITALD_SYSTEM=1".to_owned(),
        format!("{INSIDE}=1"),
        format!("VITALD_BINARY={}", binary.display()),
        own.display().to_string(),
    ];
    let name = "interfaces_of_every_kind_are_what_sysfs_says";
    let program = [environment.to_vec(), words(&[name, "--exact", "--nocapture"])].concat();
    let results = tempfile::tempdir().expect("a directory");
    run(Command::new("chmod").arg("a+rx").arg(results.path()));
    let mut machine = Machine::start(results, "links.sh", &[("program", program)]);
    machine.wait(|machine| machine.emulator.try_wait().expect("a child").is_some());
    let status = fs::read_to_string(machine.file("status")).unwrap_or_default();
    assert_eq!(status.trim(), "0", "{}", machine.said());
    let log = fs::read_to_string(machine.file("program.log")).expect("a file");
    assert!(log.contains("1 passed"), "{log}");
}

fn every_kind_is_what_sysfs_says() {
    let namespaces = Namespaces::of_both();
    namespaces.sh("mount -t sysfs sysfs /sys");
    let daemons = [&[][..], &PORTS].map(|left_out| {
        let daemon = Daemon::start_by(&netclass_without(left_out), |command| {
            let mut inside = namespaces.command(command.get_program());
            inside.args(command.get_args());
            *command = inside;
        });
        (daemon, left_out)
    });
    namespaces.run(|| {
        let shown = daemons.each_ref().map(|(daemon, left_out)| Shown { daemon, left_out });
        interfaces_are_those_of_sysfs(&namespaces, ALL_KINDS, &shown);
    });
}
