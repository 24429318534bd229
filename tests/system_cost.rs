//! What the release binary costs, and beside it what node_exporter costs with the same collectors.
//!
//! Gates are on what the machine cannot disturb: system calls, wake-ups, memory. The ratio of CPU
//! time is printed, and only a collapse fails.

mod harness;
mod system;

use harness::{Daemon, until};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use system::bare::Bare;
use system::client::Client;
use system::cost::{DEFAULTS, Target, as_flags, scrape, standard};
use system::namespaces::Namespaces;
use system::page::Page;
use system::peer::{DEFAULT_FIELDS, NODE_EXPORTER, Peer, STANDARD, flags, node_exporter};
use system::process;
use system::statistics::{median, ratio};
use system::trace::system_calls;
use vitald_core::collector::{Descriptor, roll_call};

const MOST_CALLS: f64 = 60.0;
/// Without libraries, and with the program in the page cache as [`in_single_pages`] puts it there. More where the linker was
/// not told what belongs together (`collector/order.ld`).
const MOST_RESIDENT_KIB: u64 = 3600;
const LEAST_RATIO: f64 = 5.0;
/// The same of all collectors that are on by default, each of which makes a few calls where it has no
/// source, too. Those of a place with mounts, interfaces and hardware of its own are more.
const MOST_CALLS_OF_DEFAULTS: f64 = 100.0;
const MOST_RESIDENT_KIB_OF_DEFAULTS: u64 = 4100;
/// The one that serves and collects, the watch, and the one that writes the log.
const THREADS: u64 = 3;
const LEAST_RATIO_OF_DEFAULTS: f64 = 5.0;
/// The collectors in the daemon's own table of descriptors that want all interfaces: arp and netdev. Who comes first in a
/// collection asks for all of them, netclass on its lane among them, and has a netlink socket from then on.
const SHARING_LINKS: usize = 2;
/// From the start to the end of the first page. The faults are of memory, of which a start touches what it
/// does whatever the machine is at: 372 of the fixed ones and 430 of all defaults were seen, and 1,040 and 1,090
/// when a start compiled every pattern. The time beside node_exporter's is printed.
const MOST_FAULTS_OF_START: u64 = 600;
/// How many times as much each collector adds to the cost of node_exporter, and how many microseconds are no
/// matter: where there is no source, both do next to nothing.
const LEAST_RATIO_OF_EACH: f64 = 3.0;
const SLACK: f64 = 20.0;

/// The binary to measure.
fn release() -> PathBuf {
    harness::needs(
        "root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter",
    );
    harness::release_binary().expect("VITALD_RELEASE is the path of the release binary")
}

/// A copy of the binary that the page cache has whole, and each page by itself.
///
/// A fault maps what the page cache has in the 64 KiB around it, and of a larger piece all that is in it; which pieces there
/// are follows from who wrote or read the file last. Of one binary 3,300 KiB were resident when it had been read from the
/// disk, 3,400 some time later and 3,900 when it had just been written. So it is put there in one way: written, taken out of
/// the cache, and read page by page without reading ahead.
fn in_single_pages(binary: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("vitald");
    fs::copy(binary, &copy).expect("a copy");
    let mut file = fs::File::open(&copy).expect("the copy");
    // What has not reached the disk stays in the cache.
    file.sync_all().expect("a file system");
    for advice in [Advice::DontNeed, Advice::Random] {
        fadvise(&file, 0, None, advice).expect("an advice");
    }
    let mut page = vec![0; rustix::param::page_size()];
    while file.read(&mut page).expect("it can be read") > 0 {}
    copy
}

/// Mounts and interfaces of which no other program makes more: `lo` and three.
fn place() -> Namespaces {
    Namespaces::of_four_interfaces()
}

fn start(namespaces: &Namespaces, binary: &Path, config: &str) -> Daemon {
    let daemon = start_with(namespaces.command(binary), config);
    // What the start needed is given back once, by a thread of its own, shortly after the first collection.
    let kib = |key| process::status(daemon.pid(), daemon.pid(), key).unwrap_or_default();
    until("the memory of the start has been given back", || kib("VmHWM") > kib("VmRSS") + 1024);
    until("the thread that gave it back has ended", || {
        !process::threads(daemon.pid()).values().any(|name| name == "giving back")
    });
    daemon
}

/// Starts the daemon by a command to which its arguments are added.
fn start_with(mut command: Command, config: &str) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
    fs::write(&file, format!("{config}{listen}")).expect("the configuration");
    command.arg("run").arg("--config").arg(file);
    Daemon::spawn(command, directory)
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn system_calls_of_a_scrape() {
    calls_of("the fixed ones", &standard(&[]), STANDARD.len(), MOST_CALLS);
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn system_calls_of_a_scrape_of_all_defaults() {
    calls_of("all defaults", DEFAULTS, defaults().len(), MOST_CALLS_OF_DEFAULTS);
}

fn calls_of(which: &str, config: &str, collectors: usize, most: f64) {
    const SCRAPES: usize = 100;
    let binary = release();
    let namespaces = place();
    namespaces.run(|| {
        let daemon = start(&namespaces, &binary, config);
        let mut client = Client::connect(daemon.address());
        scrape(&mut client, 20);
        let shown = Page::parse(&client.page()).family("node_scrape_collector_success").count();
        assert_eq!(shown, collectors);
        let (calls, threads) = system_calls(daemon.pid(), || scrape(&mut client, SCRAPES));
        assert_eq!(threads, 0, "a thread was started");
        let sum = calls.values().sum::<u64>() as f64 / SCRAPES as f64;
        println!("figure: {which}: system calls a scrape: {sum} (at most {most})");
        for (name, count) in &calls {
            println!("figure:   {name}: {}", *count as f64 / SCRAPES as f64);
        }
        assert!(sum > 10.0, "strace saw too little");
        assert!(sum <= most, "{sum} system calls a scrape");
    });
}

/// A mount more is one statfs(2) more. What the kernel says of interfaces comes in answers of many, so that an interface
/// more is no call more.
#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn system_calls_of_a_scrape_grow_by_the_unit() {
    const SCRAPES: usize = 50;
    const MOUNTS: usize = 40;
    const PAIRS: usize = 100;
    /// The file that has the mounts comes in pages, too.
    const MOST_OF_A_MOUNT: f64 = 1.1;
    const MOST_OF_AN_INTERFACE: f64 = 0.1;
    let binary = release();
    let calls = |namespaces: &Namespaces| {
        namespaces.run(|| {
            let daemon = start(namespaces, &binary, &standard(&[]));
            let mut client = Client::connect(daemon.address());
            scrape(&mut client, 20);
            let page = Page::parse(&client.page());
            let [mounts, interfaces] =
                ["node_filesystem_size_bytes", "node_network_receive_bytes_total"]
                    .map(|family| page.family(family).count());
            let (calls, _) = system_calls(daemon.pid(), || scrape(&mut client, SCRAPES));
            let sum = calls.values().sum::<u64>() as f64 / SCRAPES as f64;
            println!("figure: {mounts} mounts, {interfaces} interfaces: {sum} system calls");
            assert!(sum > 10.0, "strace saw too little");
            (mounts, interfaces, sum)
        })
    };
    let directory = tempfile::tempdir().expect("a directory");
    let namespaces = place();
    let (mounts, interfaces, base) = calls(&namespaces);
    namespaces.add_mounts(MOUNTS, directory.path());
    let (more_mounts, _, with_mounts) = calls(&namespaces);
    assert_eq!(more_mounts, mounts + MOUNTS);
    namespaces.add_pairs(PAIRS);
    let (_, more_interfaces, with_both) = calls(&namespaces);
    assert_eq!(more_interfaces, interfaces + 2 * PAIRS);
    let of_a_mount = (with_mounts - base) / MOUNTS as f64;
    let of_an_interface = (with_both - with_mounts) / (2 * PAIRS) as f64;
    println!("figure: {of_a_mount} system calls a mount, {of_an_interface} an interface");
    assert!(of_a_mount <= MOST_OF_A_MOUNT, "{of_a_mount} system calls a mount");
    assert!(of_an_interface <= MOST_OF_AN_INTERFACE, "{of_an_interface} calls an interface");
}

/// What is on by default.
fn defaults() -> Vec<&'static Descriptor> {
    let all = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete").into_iter();
    all.filter(|descriptor| descriptor.enabled && !descriptor.internal).collect()
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn memory_and_descriptors_after_a_thousand_scrapes() {
    memory_of("the fixed ones", &standard(&[]), 0, MOST_RESIDENT_KIB);
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn memory_and_threads_of_all_defaults() {
    let has_entry = |directory: &str| {
        fs::read_dir(Path::new("/").join(directory))
            .is_ok_and(|mut entries| entries.next().is_some())
    };
    let has_lane = |descriptor: &&Descriptor| match descriptor.devices {
        Some(devices) => has_entry(devices.directory),
        // Without a directory nothing is read.
        None => descriptor.may_block && descriptor.name != "textfile",
    };
    let lanes = defaults().iter().filter(|descriptor| has_lane(descriptor)).count();
    memory_of("all defaults", DEFAULTS, lanes as u64, MOST_RESIDENT_KIB_OF_DEFAULTS);
}

fn memory_of(which: &str, config: &str, lanes: u64, most: u64) {
    let folder = tempfile::tempdir().expect("a directory");
    let binary = in_single_pages(&release(), folder.path());
    let namespaces = place();
    namespaces.run(|| {
        let daemon = start(&namespaces, &binary, config);
        let started = daemon.status("VmRSS");
        let mut client = Client::connect(daemon.address());
        scrape(&mut client, 20);
        let (before, warm) = (Descriptors::of(daemon.pid()), daemon.status("VmRSS"));
        scrape(&mut client, 1000);
        let resident = daemon.status("VmRSS");
        println!(
            "figure: {which}: resident: {started} KiB at start, {warm} KiB after 20 scrapes, \
             {resident} KiB after 1,020"
        );
        println!(
            "figure:   anonymous {} KiB, of files {} KiB, threads {}, descriptors {} and {} of netlink",
            daemon.status("RssAnon"),
            daemon.status("RssFile"),
            daemon.status("Threads"),
            before.others.len(),
            before.netlink,
        );
        let pid = daemon.pid();
        for line in fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps").lines()
        {
            if ["Rss", "Pss", "Private", "Shared", "Anonymous"]
                .iter()
                .any(|key| line.starts_with(key))
            {
                println!("figure:   {line}");
            }
        }
        for (rss, name) in mappings(pid).into_iter().take(8) {
            println!("figure:   {rss} KiB of {name}");
        }
        let after = Descriptors::of(pid);
        assert_eq!(after.others, before.others);
        assert!(after.netlink <= before.netlink + SHARING_LINKS, "{after:?}, and {before:?} before");
        // One that has given memory back, or written a long page, may be about to end.
        until("there are no more threads than it takes", || {
            daemon.status("Threads") <= THREADS + lanes
        });
        let of_libraries: u64 =
            mappings(pid).iter().filter(|(_, name)| name.contains(".so")).map(|(rss, _)| rss).sum();
        let own = resident - of_libraries;
        println!("figure:   {own} KiB without libraries (at most {most})");
        assert!(own <= most, "{own} KiB; where code is more, see `cargo xtask order`");
    });
}

/// What a process keeps open.
#[derive(Debug)]
struct Descriptors {
    netlink: usize,
    /// By what they are of.
    others: Vec<PathBuf>,
}

impl Descriptors {
    fn of(process: u32) -> Descriptors {
        let table = fs::read_to_string(format!("/proc/{process}/net/netlink")).expect("netlink");
        let sockets: Vec<String> = table
            .lines()
            .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().last()?)))
            .collect();
        let open = fs::read_dir(format!("/proc/{process}/fd")).expect("a process").flatten();
        let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_netlink =
            |target: &PathBuf| sockets.iter().any(|socket| target.as_os_str() == socket.as_str());
        let (netlink, mut others): (Vec<_>, Vec<_>) = targets.partition(is_netlink);
        others.sort_unstable();
        Descriptors { netlink: netlink.len(), others }
    }
}

/// Resident KiB by what is mapped, the largest first.
fn mappings(process: u32) -> Vec<(u64, String)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut name = String::new();
    for line in fs::read_to_string(format!("/proc/{process}/smaps")).expect("smaps").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[0].contains('-') {
            name = format!("{} {}", fields[1], fields.get(5).unwrap_or(&"anonymous"));
        } else if fields[0] == "Rss:" {
            *sums.entry(name.clone()).or_default() += fields[1].parse::<u64>().expect("a number");
        }
    }
    let mut sums: Vec<(u64, String)> = sums.into_iter().map(|(name, rss)| (rss, name)).collect();
    sums.sort_unstable_by(|a, b| b.cmp(a));
    sums
}

/// Each anew for every round, from its start to the end of its first page.
#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn start_beside_node_exporter() {
    const ROUNDS: usize = 15;
    let folder = tempfile::tempdir().expect("a directory");
    // So that a fault brings in the same each time.
    let binary = in_single_pages(&release(), folder.path());
    let namespaces = place();
    let textfile = tempfile::tempdir().expect("a directory");
    let textfile_flag = format!("--collector.textfile.directory={}", textfile.path().display());
    let all = ["--web.listen-address=127.0.0.1:0".to_owned(), textfile_flag];
    namespaces.run(|| {
        for (which, config, flags) in [
            ("the fixed ones", standard(&[]), flags(textfile.path(), &DEFAULT_FIELDS)),
            ("all defaults", DEFAULTS.to_owned(), all.to_vec()),
        ] {
            let mut seconds = [Vec::new(), Vec::new()];
            let mut faults = [0; 2];
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                let mut command = Command::new(NODE_EXPORTER);
                command.args(&flags);
                let theirs = Peer::start(command);
                scrape(&mut Client::connect(theirs.address()), 1);
                seconds[0].push(begun.elapsed().as_secs_f64());
                faults[0] = process::faults(theirs.pid());
                drop(theirs);

                let begun = Instant::now();
                let ours = start_with(Command::new(&binary), &config);
                scrape(&mut Client::connect(ours.address()), 1);
                seconds[1].push(begun.elapsed().as_secs_f64());
                faults[1] = process::faults(ours.pid());
            }
            let [theirs, ours] = seconds.each_ref().map(|seconds| median(seconds) * 1e3);
            let ratio = theirs / ours;
            println!(
                "figure: {which}: start to first page: {ours:.1} ms and {} page faults (at most \
                 {MOST_FAULTS_OF_START}); node_exporter {theirs:.1} ms and {}; node_exporter / \
                 vitald {ratio:.2}",
                faults[1], faults[0]
            );
            assert!(faults[1] <= MOST_FAULTS_OF_START, "{} page faults", faults[1]);
        }
    });
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn nothing_wakes_up_while_nobody_asks() {
    let binary = release();
    let namespaces = place();
    namespaces.run(|| {
        let daemon = start(&namespaces, &binary, DEFAULTS);
        let switches = || {
            ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
                .map(|key| process::sum_over_threads(daemon.pid(), key))
        };
        let mut client = Client::connect(daemon.address());
        scrape(&mut client, 100);
        drop(client);
        // A thread of the runtime that may block ends after ten seconds of idleness, once.
        let is_blocking = |name: &String| name == "page writing";
        until("the blocking threads have ended", || {
            std::thread::sleep(Duration::from_millis(50));
            !process::threads(daemon.pid()).values().any(is_blocking)
        });
        let (before, cpu) = (switches(), process::thread_times(daemon.pid()));
        std::thread::sleep(Duration::from_secs(5));
        let after = switches();
        println!("figure: wake-ups in 5 s of idleness: {}", after[0] - before[0]);
        assert_eq!(after, before, "something woke up");
        assert_eq!(process::thread_times(daemon.pid()), cpu);
    });
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn cpu_beside_node_exporter() {
    let textfile = tempfile::tempdir().expect("a directory");
    let flags = flags(textfile.path(), &DEFAULT_FIELDS);
    cpu_beside("the fixed ones", &flags, &as_flags(textfile.path(), &[]), LEAST_RATIO);
}

/// Each with what it has on by default. vitald has some that an older node_exporter does not have yet.
#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn cpu_of_all_defaults_beside_node_exporter() {
    let textfile = tempfile::tempdir().expect("a directory");
    let textfile = textfile.path().display();
    let flags = [
        "--web.listen-address=127.0.0.1:0".to_owned(),
        format!("--collector.textfile.directory={textfile}"),
    ];
    let config = format!("{DEFAULTS}[collectors.textfile]\ndirectory = ['{textfile}']\n");
    cpu_beside("all defaults", &flags, &config, LEAST_RATIO_OF_DEFAULTS);
}

fn cpu_beside(which: &str, flags: &[String], config: &str, least_ratio: f64) {
    const ROUNDS: usize = 24;
    const SCRAPES: usize = 50;
    const SECONDS: usize = 20;
    let binary = release();
    let namespaces = place();
    println!("figure: {which}:");
    namespaces.run(|| {
        let mut command = namespaces.command(NODE_EXPORTER);
        command.args(flags);
        let theirs = Peer::start(command);
        let ours = start(&namespaces, &binary, config);
        // The same again, to see what the measurement itself makes of nothing.
        let control = start(&namespaces, &binary, config);
        let mut targets = [
            Target::new(node_exporter(), theirs.pid(), theirs.address()),
            Target::new("vitald", ours.pid(), ours.address()),
            Target::new("vitald again", control.pid(), control.address()),
        ];
        for target in &mut targets {
            scrape(&mut target.client, 20);
            let text = target.client.page();
            let page = Page::parse(&text);
            println!(
                "figure: {}: {} samples of the host, {} in all, {} bytes",
                target.name,
                page.of_host().count(),
                page.samples.len(),
                text.len()
            );
        }
        let size = fs::metadata(&binary).expect("the binary").len();
        let load = fs::read_to_string("/proc/loadavg").expect("a kernel");
        println!("figure: binary {size} bytes; load average before {}", load.trim());

        let mut bare = Bare::of(ours.pid());
        let mut reads = Vec::new();
        bare.spent(20);
        for round in 0..ROUNDS {
            for place in 0..targets.len() {
                let target = &mut targets[(place + round) % 3];
                target.spent();
                target.scrape(SCRAPES);
                let spent = target.spent();
                target.rounds.push(spent);
            }
            reads.push(bare.spent(SCRAPES));
        }
        let (to_reads, least, most) = ratio(&targets[1].rounds, &reads);
        println!(
            "figure: dense: bare reads of the {} files that vitald keeps: {:.1} us; vitald / bare \
             reads: {to_reads:.2} [{least:.2}..{most:.2}]",
            bare.files(),
            median(&reads) / SCRAPES as f64 / 1e3
        );
        let dense = told("dense", &mut targets, SCRAPES);

        for target in &mut targets {
            target.spent();
        }
        for _ in 0..SECONDS {
            for target in &mut targets {
                std::thread::sleep(Duration::from_millis(333));
                target.scrape(1);
            }
            // What it does after the answer belongs to the scrape.
            std::thread::sleep(Duration::from_millis(1));
            for target in &mut targets {
                let spent = target.spent();
                target.rounds.push(spent);
            }
        }
        told("1 Hz", &mut targets, 1);
        println!("figure: {which}: {dense:.1} (at least {least_ratio})");
        assert!(dense >= least_ratio, "node_exporter costs only {dense} times as much");
    });
}

/// Both programs with these collectors alone, on one CPU, since threads on two cost more or less by chance.
struct Pair {
    targets: [Target; 2],
    _running: (Peer, Daemon),
}

impl Pair {
    fn start(namespaces: &Namespaces, binary: &Path, collectors: &[&str]) -> Pair {
        let mut command = namespaces.command("taskset");
        command.args(["--cpu-list", "0", NODE_EXPORTER, "--collector.disable-defaults"]);
        command.args(["--web.listen-address=127.0.0.1:0", "--web.disable-exporter-metrics"]);
        command.args(collectors.iter().map(|collector| format!("--collector.{collector}")));
        let theirs = Peer::start(command);
        let mut config = format!("{DEFAULTS}default_collectors = false\n");
        for collector in collectors {
            config += &format!("[collectors.{collector}]\nenabled = true\n");
        }
        let mut command = namespaces.command("taskset");
        command.args(["--cpu-list", "0"]).arg(binary);
        let ours = start_with(command, &config);
        let mut targets = [
            Target::new(node_exporter(), theirs.pid(), theirs.address()),
            Target::new("vitald", ours.pid(), ours.address()),
        ];
        targets.iter_mut().for_each(|target| scrape(&mut target.client, 20));
        Pair { targets, _running: (theirs, ours) }
    }
}

/// What each collector adds to the cost of a scrape, in both programs. It is added to `netdev`, from which
/// others take what the kernel says of the interfaces; and that to nothing.
#[test]
#[ignore = "needs root, VITALD_RELEASE, strace, util-linux, iproute2 and prometheus-node-exporter: cargo test --features full --test system_cost -- --ignored"]
fn cpu_of_each_default_beside_node_exporter() {
    const ROUNDS: usize = 16;
    const SCRAPES: usize = 25;
    let binary = release();
    let help = Command::new(NODE_EXPORTER).arg("--help").output().expect("node_exporter");
    let help = String::from_utf8([help.stdout, help.stderr].concat()).expect("text");
    let has = |name: &str| {
        let flag =
            |word: &str| word.rsplit_once("collector.").is_some_and(|(_, flag)| flag == name);
        help.split_whitespace().any(flag)
    };
    let namespaces = place();
    let mut dear = Vec::new();
    namespaces.run(|| {
        for base in [&[][..], &["netdev"]] {
            let mut without = Pair::start(&namespaces, &binary, base);
            let names = defaults().into_iter().map(|descriptor| descriptor.name);
            for name in names.filter(|name| has(name) && (*name == "netdev") == base.is_empty()) {
                let mut with = Pair::start(&namespaces, &binary, &[base, &[name]].concat());
                let mut added = [Vec::new(), Vec::new()];
                for _ in 0..ROUNDS {
                    for (program, added) in added.iter_mut().enumerate() {
                        let spent = [&mut without, &mut with].map(|pair| {
                            let target = &mut pair.targets[program];
                            target.spent();
                            scrape(&mut target.client, SCRAPES);
                            target.spent()
                        });
                        added.push((spent[1] - spent[0]) / SCRAPES as f64 / 1e3);
                    }
                }
                let [theirs, ours] = added.map(|added| median(&added));
                println!("figure: | {name} | {theirs:.0} us | {ours:.0} us |");
                if ours > theirs / LEAST_RATIO_OF_EACH + SLACK {
                    dear.push(format!(
                        "{name} adds {ours:.0} us, and {theirs:.0} us to node_exporter"
                    ));
                }
            }
        }
    });
    assert!(dear.is_empty(), "{dear:#?}");
}

/// Prints how the targets compare, forgets their rounds, and answers the ratio to vitald.
fn told(how: &str, targets: &mut [Target; 3], scrapes: usize) -> f64 {
    for target in targets.iter_mut() {
        target.print(how, scrapes);
    }
    let (theirs, least, most) = ratio(&targets[0].rounds, &targets[1].rounds);
    let rounds = targets[0].rounds.len();
    println!(
        "figure: {how}: CPU of {} / vitald: {theirs:.1} [{least:.1}..{most:.1}], {rounds} rounds of \
         {scrapes}",
        targets[0].name
    );
    let (control, least, most) = ratio(&targets[2].rounds, &targets[1].rounds);
    println!("figure: {how}: control, vitald / vitald: {control:.3} [{least:.3}..{most:.3}]");
    targets.iter_mut().for_each(|target| target.rounds.clear());
    theirs
}
