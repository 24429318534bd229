//! In an emulated machine with the kernel that Debian has: what this machine's own kernel has no
//! devices or modules for, beside node_exporter.

mod harness;
mod links;
mod system;

use harness::{Daemon, Over, until};
use links::{ALL_KINDS, PORTS, Shown, interfaces_are_those_of_sysfs, netclass_without};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use system::agreement::{Agreement, Comparison, Exception};
use system::client::Client;
use system::namespaces::Namespaces;
use system::page::Page;
use system::peer::{DEFAULT_FIELDS, NODE_EXPORTER, Peer};
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
/// not there, which node_exporter too calls a failure.
const FAIL_FOR_NOBODY: &[&str] = &[
    "bcachefs",
    "fibrechannel",
    "infiniband",
    "kernel_hung",
    "logind",
    "ntp",
    "runit",
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
#[ignore = "needs root, qemu-system-x86_64, busybox, kmod, cpio, a kernel package of Debian unpacked in VITALD_VM_KERNEL, prometheus-node-exporter and the programs in system_vm/machine.sh: cargo test --features full --test system_vm -- --ignored"]
fn devices_of_other_machines_show_what_node_exporter_shows() {
    harness::needs(NEEDS);
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

/// Has the machine run a test of this program once more.
fn run_inside(name: &str) {
    harness::needs(NEEDS);
    let own = std::env::current_exe().and_then(fs::canonicalize).expect("a program");
    let binary = fs::canonicalize(harness::binary()).expect("the binary");
    let environment = [
        "env".to_owned(),
        format!("{INSIDE}=1"),
        format!("VITALD_BINARY={}", binary.display()),
        own.display().to_string(),
    ];
    let program =
        [environment.to_vec(), words(&[name, "--exact", "--ignored", "--nocapture"])].concat();
    let results = tempfile::tempdir().expect("a directory");
    run(Command::new("chmod").arg("a+rx").arg(results.path()));
    let mut machine = Machine::start(results, "program.sh", &[("program", program)]);
    machine.wait(|machine| machine.emulator.try_wait().expect("a child").is_some());
    let status = fs::read_to_string(machine.file("status")).unwrap_or_default();
    assert_eq!(status.trim(), "0", "{}", machine.said());
    let log = fs::read_to_string(machine.file("program.log")).expect("a file");
    assert!(log.contains("1 passed"), "{log}");
    log.lines().filter(|line| line.starts_with("figure: ")).for_each(|line| println!("{line}"));
}

/// The test of `system_devices` under a kernel that has every kind of interface.
#[test]
#[ignore = "needs root, qemu-system-x86_64, busybox, kmod, cpio, a kernel package of Debian unpacked in VITALD_VM_KERNEL, prometheus-node-exporter and the programs in system_vm/machine.sh: cargo test --features full --test system_vm -- --ignored"]
fn interfaces_of_every_kind_are_what_sysfs_says() {
    match std::env::var_os(INSIDE) {
        Some(_) => every_kind_is_what_sysfs_says(),
        None => run_inside("interfaces_of_every_kind_are_what_sysfs_says"),
    }
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

/// What can be done to the clock and the processors of no machine that others use.
#[test]
#[ignore = "needs root, qemu-system-x86_64, busybox, kmod, cpio, a kernel package of Debian unpacked in VITALD_VM_KERNEL, prometheus-node-exporter and the programs in system_vm/machine.sh: cargo test --features full --test system_vm -- --ignored"]
fn a_clock_that_is_set_and_processors_that_come_and_go_cost_no_scrape() {
    if std::env::var_os(INSIDE).is_none() {
        return run_inside("a_clock_that_is_set_and_processors_that_come_and_go_cost_no_scrape");
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
    a_clock_that_is_set_costs_no_scrape();
    processors_that_come_and_go_cost_no_scrape();
}

/// How long a scrape may take on an emulated processor.
const SLOW: Duration = Duration::from_secs(8);

/// A page that came in time, on which the collectors succeed that do on the other one.
#[track_caller]
fn page_as_before(daemon: &Daemon, well: &BTreeSet<String>) -> Page {
    let began = Instant::now();
    let page = Page::parse(&daemon.metrics().body);
    let took = began.elapsed();
    assert!(took < SLOW, "{took:?}");
    let missing: Vec<_> = well.difference(&well_on(&page)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}: {}", daemon.log());
    page
}

fn well_on(page: &Page) -> BTreeSet<String> {
    let of = page.family("node_scrape_collector_success").filter(|(_, success)| *success == 1.0);
    of.filter_map(|(series, _)| Some(series.label("collector")?.to_owned())).collect()
}

/// Scrapes without a pause while something is done. Answers how often.
fn while_scraping(daemon: &Daemon, well: &BTreeSet<String>, work: impl FnOnce()) -> usize {
    let (is_over, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                page_as_before(daemon, well);
                scrapes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _over = Over(&is_over);
        work();
    });
    scrapes.into_inner()
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

fn a_clock_that_is_set_costs_no_scrape() {
    const HOUR: f64 = 3600.0;
    let texts = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(&format!(
        "[scrape]\nmax_age = \"0s\"\ntimeout = \"6s\"\n[collectors.time]\ninterval = \"1s\"\n\
         [collectors.textfile]\ndirectory = [{:?}]\n\
         [outputs.console]\nenabled = true\ninterval = \"1s\"\n",
        texts.path()
    ));
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let well = well_on(&Page::parse(&daemon.metrics().body));
    assert!(well.len() > 10 && well.contains("textfile"), "{well:?}");
    let sent = || daemon.get("/plugins/console").json()["sent"].as_u64();
    let (began, beginning) = (Instant::now(), now());
    let true_time = || beginning + began.elapsed().as_secs_f64();
    let (mut longest, mut version) = (Duration::ZERO, 0);
    let scrapes = while_scraping(&daemon, &well, || {
        // The kernel refuses a time of day that is less than how long it has been up.
        for (step, to) in [
            ("an hour back", true_time() - HOUR),
            ("two hours on", true_time() + HOUR),
            ("to 1970", 2.0 * HOUR),
            ("to 2100", 4_102_444_800.0),
            ("to what it was", true_time()),
        ] {
            let set = Instant::now();
            run(Command::new("date").args(["-u", "-s", &format!("@{to:.3}")]));
            for _ in 0..3 {
                version += 1;
                // The same length each time.
                let text = format!("stepped {version:03}\n");
                fs::write(texts.path().join("a.prom"), &text).expect("a file");
                let page = page_as_before(&daemon, &well);
                let shown = page.value("stepped", &[]).expect("the text");
                assert_eq!(format!("stepped {shown:03}\n"), text, "{step}");
                for (series, value) in &page.samples {
                    if series.name.contains("duration_seconds")
                        || series.name.contains("_age_seconds")
                    {
                        assert!((0.0..600.0).contains(value), "{step}: {series:?} {value}");
                    }
                }
                let started = page.value("process_start_time_seconds", &[]).expect("a start");
                let since = now() - started;
                assert!((-2.0..600.0).contains(&since), "{step}: started {since} s ago");
                let booted = page.value("node_boot_time_seconds", &[]).expect("a boot");
                let since = now() - booted;
                assert!((0.0..2.0 * HOUR).contains(&since), "{step}: booted {since} s ago");
            }
            // Timers go on: what is refreshed in the background, and what is sent.
            until(&format!("the time is refreshed after the clock went {step}"), || {
                let shown = page_as_before(&daemon, &well).value("node_time_seconds", &[]);
                (shown.expect("a time") - now()).abs() < 10.0
            });
            let before = sent();
            until(&format!("something is sent after the clock went {step}"), || sent() > before);
            assert_eq!(daemon.reload().status, 200, "{step}");
            let page = page_as_before(&daemon, &well);
            let reloaded = "vitald_config_last_reload_success_timestamp_seconds";
            let reloaded = page.value(reloaded, &[]).expect("a reload");
            assert!((reloaded - now()).abs() < 60.0, "{step}: {reloaded}");
            longest = longest.max(set.elapsed());
        }
    });
    let log = daemon.log();
    for odd in ["panic", "has not come back", "level=error"] {
        assert!(!log.contains(odd), "{odd}: {log}");
    }
    let years = ["time=1970-", "time=2100-"].map(|year| log.contains(year));
    println!(
        "figure: the clock was set five times beside {scrapes} scrapes; at most {longest:?} until all had \
         followed; {} lines of the log, of 1970 and 2100: {years:?}",
        log.lines().count()
    );
}

const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";
/// Collectors that say something of each CPU, here and in node_exporter 1.5. (Of softirqs the kernel says something of each
/// that there could be.)
const OF_CPUS: [&str; 4] = ["cpu", "softnet", "schedstat", "interrupts"];

/// The CPUs that each family of a page has something of.
fn cpus(page: &Page) -> BTreeMap<String, BTreeSet<String>> {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in page.samples.keys() {
        if let Some(cpu) = series.label("cpu") {
            of.entry(series.name.clone()).or_default().insert(cpu.to_owned());
        }
    }
    of
}

fn processors_that_come_and_go_cost_no_scrape() {
    let address = "127.0.0.1:9101".parse().expect("an address");
    let mut theirs = Command::new(NODE_EXPORTER);
    theirs.args(["--collector.disable-defaults", "--web.listen-address=127.0.0.1:9101"]);
    theirs.args(OF_CPUS.map(|name| format!("--collector.{name}")));
    let theirs = Peer::start_at(theirs, address).expect("node_exporter");
    let with = |name: &str| format!("[collectors.{name}]\nenabled = true\n");
    let tables: String =
        OF_CPUS.iter().chain(&["perf", "loadavg"]).map(|name| with(name)).collect();
    let daemon = Daemon::start(&format!(
        "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\ntimeout = \"6s\"\n{tables}"
    ));
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let well = well_on(&Page::parse(&daemon.metrics().body));
    assert_eq!(well.len(), OF_CPUS.len() + 2, "{well:?}");
    const SWITCHES: &str = "node_perf_context_switches_total";
    let of_1 = [("cpu", "1")];
    let ours = || page_as_before(&daemon, &well);
    let peer = || Page::parse(&Client::connect(theirs.address()).page());
    let both: BTreeSet<String> = ["0", "1"].map(str::to_owned).into();
    let every = cpus(&ours());
    // What has nothing of one of them has nothing of it at any time.
    let of_both: Vec<&String> =
        every.iter().filter(|(_, cpus)| **cpus == both).map(|(n, _)| n).collect();
    assert!(of_both.len() > 15, "{every:?}");
    let is_shown = |is_online: bool| {
        let (page, before) = (ours(), peer());
        let shown = cpus(&page);
        let is_wrong = |family: &&&String| {
            let cpus = shown.get(**family);
            cpus.is_none_or(|cpus| cpus.contains("1") != is_online || !cpus.contains("0"))
        };
        let wrong: Vec<_> = of_both.iter().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "while CPU 1 is online: {is_online}: {wrong:?}");
        for (family, cpus) in cpus(&before) {
            assert_eq!(shown.get(&family), Some(&cpus), "{family} is not as node_exporter has it");
        }
        for (series, value) in page.family("node_cpu_seconds_total") {
            let other = before.samples[series];
            // Another moment; idle time may stand still until the kernel's has caught up.
            assert!((value - other).abs() < 10.0, "{series:?}: {value} and {other}");
        }
    };
    let put = |is_online: bool| fs::write(CPU1, if is_online { "1" } else { "0" }).expect("a file");
    let until_counted = || {
        until("it is counted again", || {
            let first = ours().value(SWITCHES, &of_1);
            let second = ours().value(SWITCHES, &of_1);
            first.is_some() && second > first
        });
    };
    is_shown(true);
    for _ in 0..3 {
        put(false);
        is_shown(false);
        put(true);
        is_shown(true);
        // Gone and back between two scrapes.
        put(false);
        put(true);
        until_counted();
        is_shown(true);
    }
    let scrapes = while_scraping(&daemon, &well, || {
        for round in 0..30 {
            put(round % 2 == 1);
        }
    });
    until_counted();
    is_shown(true);
    let log = daemon.log();
    for odd in ["panic", "level=error", "has not come back"] {
        assert!(!log.contains(odd), "{odd}: {log}");
    }
    println!(
        "figure: CPU 1 went and came 21 times, beside {scrapes} scrapes; {} families of each CPU",
        of_both.len()
    );
}
