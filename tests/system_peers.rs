//! Beside the programs that vitald works with or replaces: node_exporter, promtool, Prometheus.

mod harness;
mod prometheus;
mod system;

use harness::{Daemon, until};
use prometheus::Prometheus;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use system::agreement::{Agreement, Comparison, Exception};
use system::client::Client;
use system::fuse::{Fuse, operation};
use system::namespaces::Namespaces;
use system::page::Page;
use system::peer::{MANY_FIELDS, NODE_EXPORTER, Peer, STANDARD, flags};

const NEEDS: &str = "root, util-linux, iproute2, prometheus-node-exporter and prometheus";

/// What node_exporter 1.5 shows and vitald, as 1.12, does not.
const ONLY_THERE: &[Exception] = &[
    ("go_", "tells of Go's runtime"),
    ("node_memory_Balloon_bytes", "1.12 takes from meminfo what it has a name for"),
    ("node_memory_FileHugePages_bytes", "the same"),
    ("node_memory_FilePmdMapped_bytes", "the same"),
    ("node_memory_Hugetlb_bytes", "the same"),
    ("node_memory_KReclaimable_bytes", "the same"),
    ("node_memory_SecPageTables_bytes", "the same"),
];

/// What vitald shows as 1.12 does, or of itself.
const ONLY_HERE: &[Exception] = &[
    ("vitald_", "vitald of itself"),
    ("node_filesystem_mount_info", "since 1.9"),
    ("node_filesystem_purgeable_bytes", "since 1.10"),
    ("node_softnet_backlog_len", "since 1.6"),
    ("node_softnet_cpu_collision_total", "since 1.6"),
    ("node_softnet_flow_limit_count_total", "since 1.6"),
    ("node_softnet_received_rps_total", "since 1.6"),
    ("process_network_", "since client_golang 1.20"),
];

/// Labels that came after 1.5, by the beginning of the family.
const NEW_LABELS: &[(&str, &str)] = &[
    ("node_filesystem_", "device_error"),
    ("node_disk_info", "rotational"),
    ("node_exporter_build_info", "tags"),
    ("node_network_info", "adminstate"),
];

/// Where the values are of the program that shows them, and need not agree.
const OF_THE_PROGRAM: &[&str] = &[
    "process_",
    "promhttp_",
    "node_exporter_build_info",
    "node_scrape_collector_duration_seconds",
];

/// What a reader changes by reading: it has files open and threads that run. By how much they may
/// differ.
const READERS_OWN: &[(&str, f64)] = &[("node_filefd_allocated", 16.0), ("node_procs_running", 4.0)];

/// In how many rounds counters are watched at least.
const LEAST_ROUNDS: usize = 10;
/// The most rounds until every value has agreed once. Some change from one moment to the next.
const MOST_ROUNDS: usize = 400;

/// The defaults of flags that 1.12 has otherwise than Debian's 1.5.
const NEW_DEFAULTS: &[Exception] = &[
    ("collector.diskstats.device-exclude", "1.12 leaves zram out, too"),
    ("collector.filesystem.fs-types-exclude", "1.12 leaves erofs out, too"),
    ("collector.filesystem.mount-points-exclude", "Debian leaves more out"),
    ("collector.netdev.device-exclude", "Debian leaves lo out"),
    ("collector.netstat.fields", "1.12 has two more"),
    ("collector.systemd", "Debian switches it on"),
    ("collector.systemd.unit-exclude", "Debian leaves targets out"),
    ("collector.textfile.directory", "Debian has one"),
];

/// For how long a collection is shared by scrapes that come after it, and a little more.
const SHARED: Duration = Duration::from_millis(120);

/// The flags of a help text with their defaults; of collectors whether they run.
fn flags_of(help: &str) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    let help = help.replace("\n  -h, --", "\n      --");
    for part in help.split("\n      --").skip(1) {
        let words = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let spelled = words.split_once(' ').map_or(&*words, |(spelled, _)| spelled);
        let spelled = spelled.trim_start_matches("[no-]");
        let (name, default) = spelled.split_once('=').unwrap_or((spelled, ""));
        let runs = words.split_once("(default: ").and_then(|(_, rest)| rest.split_once(')'));
        let default = runs.map_or(default, |(runs, _)| runs);
        // Its name in capitals means that it has no default.
        let default = if default.eq_ignore_ascii_case(name) { "" } else { default };
        flags.insert(name.to_owned(), default.to_owned());
    }
    flags
}

/// Whatever the one shows as a flag the other shows with the same default, if its collector is there.
#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_peers -- --ignored"]
fn the_help_shows_the_flags_of_the_real_one() {
    harness::needs(NEEDS);
    let help = |command: &mut Command| harness::output(command.arg("--help")).1;
    let theirs = flags_of(&help(&mut Command::new(NODE_EXPORTER)));
    let ours = flags_of(&help(Command::new(harness::binary()).arg("node_exporter")));
    assert!(theirs.len() > 130, "{}", theirs.len());
    let mut wrong = Vec::new();
    let mut differ = BTreeSet::new();
    for (name, default) in &theirs {
        // The old spelling is taken and not shown.
        let name = name.replace(".qdisk.", ".qdisc.");
        match ours.get(&name) {
            None => {
                let collector = name.trim_start_matches("collector.").split('.').next();
                let collector = match collector.unwrap_or_default() {
                    "netclass_rtnl" => "netclass",
                    "powersupply" => "powersupplyclass",
                    other => other,
                };
                if !name.starts_with("collector.")
                    || ours.contains_key(&format!("collector.{collector}"))
                {
                    wrong.push(name);
                }
            }
            Some(here) if here == default => {}
            Some(_) => drop(differ.insert(name)),
        }
    }
    assert!(wrong.is_empty(), "not shown: {wrong:?}");
    let listed = |name: &&String| NEW_DEFAULTS.iter().any(|(known, _)| known == *name);
    let unlisted: Vec<_> = differ.iter().filter(|name| !listed(name)).collect();
    assert!(unlisted.is_empty(), "other defaults: {unlisted:?}");

    // What Debian has otherwise is in the manual, as its build has it: in lines of a shell.
    let manual = include_str!("../docs/migration.md").replace(" \\\n", "\n").replace('\'', "");
    for (name, _) in NEW_DEFAULTS.iter().filter(|(_, why)| why.starts_with("Debian")) {
        let default = theirs[*name].trim_matches('"').replace(r"\\.", "[.]");
        let flag = match &*default {
            "enabled" => format!("--{name}\n"),
            value => format!("--{name}={value}\n"),
        };
        assert!(manual.contains(&flag), "{flag}");
    }
}

fn drop_in(namespaces: &Namespaces, directory: tempfile::TempDir, flags: &[String]) -> Daemon {
    let link = directory.path().join("node_exporter");
    std::os::unix::fs::symlink(harness::binary(), &link).expect("a link");
    let mut command = namespaces.command(link);
    command.args(flags);
    Daemon::spawn(command, directory)
}

fn write_textfiles(directory: &Path) {
    let text = "# HELP jobs_done_total Jobs.\n# TYPE jobs_done_total counter\n\
                jobs_done_total{queue=\"a b\"} 12\njobs_done_total{queue=\"\\\"\\\\\\n\"} 0.25\n\
                # TYPE job_seconds histogram\njob_seconds_bucket{le=\"0.5\"} 2\n\
                job_seconds_bucket{le=\"+Inf\"} 3\njob_seconds_sum 4.5\njob_seconds_count 3\n\
                untyped_value 1e+300\n";
    fs::write(directory.join("jobs.prom"), text).expect("a file");
    fs::write(directory.join("ignored.txt"), "ignored 1\n").expect("a file");
}

#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_peers -- --ignored"]
fn the_drop_in_says_what_node_exporter_says() {
    harness::needs(NEEDS);
    let textfile = tempfile::tempdir().expect("a directory");
    write_textfiles(textfile.path());
    let flags = flags(textfile.path(), &MANY_FIELDS);
    let namespaces = Namespaces::of_both();
    namespaces.sh("ip link add veth1 type veth peer name veth2 && ip link set veth1 up");
    namespaces.run(|| {
        let mut theirs = namespaces.command(NODE_EXPORTER);
        theirs.args(&flags);
        let theirs = Peer::start(theirs);
        let ours = drop_in(&namespaces, tempfile::tempdir().expect("a directory"), &flags);
        let (mut their, mut our) =
            (Client::connect(theirs.address()), Client::connect(ours.address()));

        let mut comparison = Comparison::new(Agreement {
            only_there: ONLY_THERE,
            only_here: ONLY_HERE,
            new_labels: NEW_LABELS,
            of_the_program: OF_THE_PROGRAM,
            readers_own: READERS_OWN,
            changed: &[],
            momentary: &[],
        });
        while comparison.rounds < LEAST_ROUNDS || !comparison.undecided.is_empty() {
            // So that no scrape before this one is shared.
            std::thread::sleep(SHARED);
            let [before, shown, after] =
                [their.page(), our.page(), their.page()].map(|text| Page::parse(&text));
            comparison.round(&before, &shown, &after);
            let Comparison { rounds, undecided, .. } = &comparison;
            assert!(*rounds < MOST_ROUNDS, "after {rounds} rounds: {undecided:#?}");
        }
        let Comparison { rounds, compared, .. } = comparison;
        println!("{compared} series; every value agreed after {rounds} rounds");
        assert!(compared > 300);
    });
}

/// No unlucky moment is a fault, and no fault is taken for one.
#[test]
fn a_counter_lies_between_each_time_and_what_falls_once() {
    const NOTHING: Agreement = Agreement {
        only_there: &[],
        only_here: &[],
        new_labels: &[],
        of_the_program: &[],
        readers_own: &[],
        changed: &[],
        momentary: &[],
    };
    let round = |family: &str, comparison: &mut Comparison, values: [u32; 3]| {
        let page = |value| Page::parse(&format!("# TYPE {family} counter\n{family} {value}\n"));
        let [before, shown, after] = values.map(page);
        comparison.round(&before, &shown, &after);
    };
    for falls in
        ["node_lnstat_entries_total", "node_xfs_vnode_active_total", "node_cpu_seconds_total"]
    {
        let mut comparison = Comparison::new(NOTHING);
        round(falls, &mut comparison, [7, 9, 7]);
        assert_eq!(comparison.undecided.len(), 1, "{falls} has not agreed yet");
        round(falls, &mut comparison, [8, 7, 6]);
        assert!(comparison.undecided.is_empty(), "{falls} has agreed");
    }
    let rises = "node_forks_total";
    let mut comparison = Comparison::new(NOTHING);
    round(rises, &mut comparison, [7, 8, 9]);
    let unlucky = std::panic::catch_unwind(move || round(rises, &mut comparison, [9, 12, 11]));
    assert!(unlucky.is_err(), "a counter that is beyond both is wrong each time");
}

/// As who may do nothing.
const NOBODY: [&str; 3] = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"];

#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_peers -- --ignored"]
fn compare_finds_what_later_releases_changed_and_nothing_else() {
    harness::needs(NEEDS);
    let directory = tempfile::tempdir().expect("a directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("its owner may");
    write_textfiles(directory.path());
    let binary = directory.path().join("vitald");
    fs::copy(harness::binary(), &binary).expect("a copy that everyone may run");
    let flags = flags(directory.path(), &MANY_FIELDS);
    let namespaces = Namespaces::of_both();
    namespaces.sh("ip link add veth1 type veth peer name veth2 && ip link set veth1 up");
    let mut theirs = namespaces.command(NODE_EXPORTER);
    theirs.args(&flags);
    let theirs = Peer::start(theirs);
    let compare = |arguments: &[&str]| {
        let mut command = namespaces.command("setpriv");
        command.args(NOBODY).arg(&binary).arg("compare");
        command.arg(format!("http://{}/metrics", theirs.address())).args(arguments);
        harness::output(command.arg("--").args(&flags))
    };

    let (status, text, complaint) = compare(&["--format", "json"]);
    println!("{text}");
    assert_eq!((status, complaint.as_str()), (1, ""));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(report["series"].as_u64().is_some_and(|series| series > 300));
    let found: BTreeSet<(&str, &str)> = report["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .map(|difference| ["fault", "family"].map(|key| difference[key].as_str().expect("text")))
        .map(|[fault, family]| (fault, family))
        .collect();
    let of_itself = ["go_", "process_network_", "vitald_"];
    let listed = |fault, list: &'static [Exception]| {
        let families = list.iter().map(|(family, _)| *family);
        families.filter(|family| !of_itself.contains(family)).map(move |family| (fault, family))
    };
    let mut expected: BTreeSet<(&str, &str)> =
        listed("missing", ONLY_THERE).chain(listed("extra", ONLY_HERE)).collect();
    // Its labels are others. An empty label, as that of an error of a file system, is none.
    expected.insert(("label", "node_disk_info"));
    assert_eq!(found, expected);
    assert!(report["peer_version"].as_str().is_some_and(|version| version.starts_with("1.5")));

    // What a user may find is in the manual.
    let manual = include_str!("../docs/migration.md");
    let lists = [ONLY_THERE, ONLY_HERE].concat();
    let changed = lists.iter().chain(NEW_LABELS).filter(|(family, _)| !of_itself.contains(family));
    for (family, _) in changed {
        let any = if family.ends_with('_') { "*" } else { "" };
        assert!(manual.contains(&format!("`{family}{any}`")), "{family}");
    }

    let known: Vec<&str> = expected.iter().map(|(_, family)| *family).collect();
    let known = format!("^({})($|{{)", known.join("|"));
    let (status, text, complaint) = compare(&["--ignore", &known]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
    let (status, text, complaint) = compare(&["--ignore", &known, "--for", "3s"]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
}

/// What promtool complains of, line by line.
fn complaints(page: &str) -> BTreeSet<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("promtool");
    let mut stdin = child.stdin.take().expect("a pipe");
    let page = page.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, page.as_bytes()));
    let output = child.wait_with_output().expect("promtool ends");
    writer.join().expect("no panic").expect("promtool reads everything");
    // 3: it could read everything and has complaints.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines().chain(String::from_utf8_lossy(&output.stdout).lines()).map(str::to_owned).collect()
}

/// What promtool complains of in names that are not those of node_exporter 1.5, and whose names they are.
const COMPLAINTS: &[(&str, &str)] = &[
    (
        "namedprocess_scrape_errors counter metrics should have \"_total\" suffix",
        "process-exporter",
    ),
    (
        "namedprocess_scrape_partial_errors counter metrics should have \"_total\" suffix",
        "process-exporter",
    ),
    (
        "namedprocess_scrape_procread_errors counter metrics should have \"_total\" suffix",
        "process-exporter",
    ),
    (
        "system_cpu_logical_count non-histogram and non-summary metrics should not have \"_count\" suffix",
        "OpenTelemetry",
    ),
];

/// The collectors of this build that node_exporter 1.5 has, too.
fn in_both() -> Vec<&'static str> {
    let (status, help, complaint) = harness::output(Command::new(NODE_EXPORTER).arg("--help"));
    assert_eq!(status, 0, "{complaint}");
    let words: BTreeSet<&str> = help.split_whitespace().collect();
    let is_there = |name: &&&str| words.contains(&*format!("--collector.{name}"));
    vitald_plugins::ALL.iter().filter(is_there).copied().collect()
}

#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_peers -- --ignored"]
fn promtool_complains_of_what_it_complains_of_in_node_exporter() {
    harness::needs(NEEDS);
    let textfile = tempfile::tempdir().expect("a directory");
    let mut flags = flags(textfile.path(), &MANY_FIELDS);
    // Whatever a machine has, both show it: so what is said of a family of node_exporter's is known.
    let more = in_both().into_iter().filter(|name| !STANDARD.contains(name));
    flags.extend(more.map(|name| format!("--collector.{name}")));
    let namespaces = Namespaces::of_both();
    namespaces.run(|| {
        let mut theirs = namespaces.command(NODE_EXPORTER);
        theirs.args(&flags);
        let theirs = Peer::start(theirs);
        let ours = drop_in(&namespaces, tempfile::tempdir().expect("a directory"), &flags);
        let mut config = String::new();
        for name in vitald_plugins::ALL {
            config += &format!("[collectors.{name}]\nenabled = true\n");
        }
        let netstat = format!("[collectors.netstat]\nfields = '{}'\n", MANY_FIELDS.0);
        let native = start_in(&namespaces, &config.replace("[collectors.netstat]\n", &netstat));
        let known = complaints(&Client::connect(theirs.address()).page());
        for (name, address) in [("drop-in", ours.address()), ("native", native.address())] {
            let said = complaints(&Client::connect(address).page());
            let is_listed = |line: &str| COMPLAINTS.iter().any(|(listed, _)| *listed == line);
            let new: Vec<&String> =
                said.difference(&known).filter(|line| !is_listed(line)).collect();
            println!("{name}: {} complaints, of them not of node_exporter: {new:#?}", said.len());
            assert!(new.is_empty(), "{name}");
        }
    });
}

fn start_in(namespaces: &Namespaces, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

/// Recording rules and alerts as dashboards for node_exporter come with, with short ranges.
const RULES: &str = r#"
groups:
- name: node
  interval: 1s
  rules:
  - record: instance:node_num_cpu:sum
    expr: count without (cpu, mode) (node_cpu_seconds_total{mode="idle"})
  - record: instance:node_cpu_utilisation:rate
    expr: 1 - avg without (cpu) (sum without (mode) (rate(node_cpu_seconds_total{mode=~"idle|iowait|steal"}[5s])))
  - record: instance:node_load1_per_cpu:ratio
    expr: node_load1 / instance:node_num_cpu:sum
  - record: instance:node_memory_utilisation:ratio
    expr: 1 - ((node_memory_MemAvailable_bytes or (node_memory_Buffers_bytes + node_memory_Cached_bytes + node_memory_MemFree_bytes + node_memory_Slab_bytes)) / node_memory_MemTotal_bytes)
  - record: instance:node_vmstat_pgmajfault:rate
    expr: rate(node_vmstat_pgmajfault[5s])
  - record: instance_device:node_disk_io_time_seconds:rate
    expr: rate(node_disk_io_time_seconds_total{device!=""}[5s])
  - record: instance:node_network_receive_bytes_excluding_lo:rate
    expr: sum without (device) (rate(node_network_receive_bytes_total{device!="lo"}[5s]))
  - record: instance:node_network_transmit_drop_excluding_lo:rate
    expr: sum without (device) (rate(node_network_transmit_drop_total{device!="lo"}[5s]))
  - record: instance:node_filesystem_used:ratio
    expr: max without (fstype, mountpoint) (1 - node_filesystem_avail_bytes{fstype!=""} / node_filesystem_size_bytes{fstype!=""})
  - record: instance:node_uptime:seconds
    expr: node_time_seconds - node_boot_time_seconds
  - record: instance:node_pressure_cpu_waiting:rate
    expr: rate(node_pressure_cpu_waiting_seconds_total[5s])
- name: alerts
  interval: 1s
  rules:
  - alert: NodeFilesystemAlmostOutOfSpace
    expr: (node_filesystem_avail_bytes{fstype!=""} / node_filesystem_size_bytes{fstype!=""} * 100 < 0.01 and node_filesystem_readonly{fstype!=""} == 0)
  - alert: NodeFilesystemAlmostOutOfFiles
    expr: (node_filesystem_files_free{fstype!=""} / node_filesystem_files{fstype!=""} * 100 < 0.01 and node_filesystem_readonly{fstype!=""} == 0)
  - alert: NodeFilesystemDeviceError
    expr: node_filesystem_device_error{fstype="fuse"} == 1
  - alert: NodeNetworkReceiveErrs
    expr: rate(node_network_receive_errs_total[5s]) / rate(node_network_receive_packets_total[5s]) > 0.01
  - alert: NodeTextFileCollectorScrapeError
    expr: node_textfile_scrape_error == 1
  - alert: NodeCollectorFailed
    expr: node_scrape_collector_success{collector="textfile"} == 0
  - alert: NodeFileDescriptorLimit
    expr: node_filefd_allocated * 100 / node_filefd_maximum > 90
  - alert: NodeSystemSaturation
    expr: node_load1 / count without (cpu, mode) (node_cpu_seconds_total{mode="idle"}) > 1000
  - alert: NodeMemoryMajorPagesFaults
    expr: rate(node_vmstat_pgmajfault[5s]) > 1e9
  - alert: HostOomKill
    expr: increase(node_vmstat_oom_kill[5s]) > 0
  - alert: HostKernelVersionDeviations
    expr: count(sum(label_replace(node_uname_info, "kernel", "$1", "release", "([0-9]+.[0-9]+.[0-9]+).*")) by (kernel)) > 1
  - alert: HostTcpRetransmits
    expr: rate(node_netstat_Tcp_RetransSegs[5s]) / rate(node_netstat_Tcp_OutSegs[5s]) > 0.9
  - alert: HostSockets
    expr: node_sockstat_TCP_alloc > 1e9 or node_sockstat_sockets_used > 1e9
  - alert: HostContextSwitching
    expr: rate(node_context_switches_total[5s]) / (count without(mode,cpu) (node_cpu_seconds_total{mode="idle"})) > 1e9
  - alert: HostSoftnetDrops
    expr: rate(node_softnet_dropped_total[5s]) > 1e9
"#;

/// The names of node_exporter's metrics that the rules use.
fn names_in(rules: &str) -> BTreeSet<&str> {
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("node_") && !word.contains(':')).collect()
}

#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_peers -- --ignored"]
fn prometheus_goes_on_scraping_while_a_collector_hangs() {
    harness::needs(NEEDS);
    let hanging = tempfile::tempdir().expect("a directory");
    let directory = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_both();
    namespaces.sh("ip link add veth1 type veth peer name veth2 && ip link set veth1 up");
    let fuse = Fuse::mount(&namespaces, hanging.path());
    // A lane hangs in one and statfs in the other.
    let held = [operation::STATFS, operation::OPENDIR];
    fuse.hold(&held);
    namespaces.run(|| {
        let daemon = start_in(
            &namespaces,
            &format!("[collectors.textfile]\ndirectory = [\"{}\"]\n", hanging.path().display()),
        );
        let _released = Released(&fuse);
        let rules = directory.path().join("rules.yml");
        fs::write(&rules, RULES).expect("a file");
        let (status, said, complaint) =
            harness::output(Command::new("promtool").args(["check", "rules"]).arg(&rules));
        assert_eq!(status, 0, "{said}{complaint}");
        let targets = format!("static_configs: [{{targets: ['{}']}}]", daemon.address());
        let config = format!(
            "rule_files: ['{}']\nscrape_configs:\n\
             - {{job_name: hurried, scrape_interval: 1s, scrape_timeout: 1s, {targets}}}\n\
             - {{job_name: patient, scrape_interval: 2s, scrape_timeout: 2s, {targets}}}\n",
            rules.display()
        );
        let prometheus = Prometheus::start(&namespaces, &config, directory.path());

        // It hangs, is well again, and hangs once more, all under Prometheus's eyes.
        let count = |job: &str| {
            prometheus.one(&format!("count_over_time(up{{job=\"{job}\"}}[1m])")).unwrap_or(0.0)
        };
        until("four scrapes are made", || count("hurried") >= 4.0);
        fuse.release();
        until("the mount is back", || {
            prometheus.one("node_filesystem_device_error{fstype=\"fuse\",job=\"hurried\"}")
                == Some(0.0)
        });
        fuse.hold(&held);
        let so_far = count("hurried");
        let begun = Instant::now();
        until("six more are made", || count("hurried") >= so_far + 6.0);
        println!("six scrapes in {:?}", begun.elapsed());

        for job in ["hurried", "patient"] {
            let up = format!("up{{job=\"{job}\"}}[1m]");
            let least = prometheus.one(&format!("min_over_time({up})"));
            let took = format!("max_over_time(scrape_duration_seconds{{job=\"{job}\"}}[1m])");
            println!("{job}: {} scrapes, the longest {:?} s", count(job), prometheus.one(&took));
            assert_eq!(least, Some(1.0), "{job}");
        }
        for query in [
            "node_load1{job=\"hurried\"}",
            "sum(rate(node_cpu_seconds_total{job=\"hurried\"}[10s]))",
            "node_memory_MemTotal_bytes{job=\"patient\"}",
            "node_filesystem_size_bytes{job=\"hurried\",mountpoint=\"/\"}",
        ] {
            assert!(prometheus.one(query).is_some_and(|value| value >= 0.0), "{query}");
        }
        let timed_out =
            "vitald_collector_state{job=\"hurried\",collector=\"textfile\",state=\"timed_out\"}";
        assert_eq!(prometheus.one(timed_out), Some(1.0));

        rules_hold(&prometheus);
    });
}

/// Asserts that every name in the rules is a series, every rule can be evaluated, every recording
/// gives something, and the alerts that fire are those of what hangs.
fn rules_hold(prometheus: &Prometheus) {
    for name in names_in(RULES) {
        // While the directory hangs there is nothing to tell of it.
        let range = if name == "node_textfile_scrape_error" { "[1m]" } else { "[3s]" };
        let query = format!("count(count_over_time({name}{range}))");
        assert!(prometheus.one(&query).is_some(), "no {name}");
    }
    let rules = prometheus.rules();
    assert!(rules.len() > 20);
    let mut firing = BTreeSet::new();
    for rule in &rules {
        let name = rule["name"].as_str().expect("a name");
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let count = prometheus.one(&format!("count({name})"));
            assert!(count.is_some(), "{name} gives nothing");
        } else if rule["state"] == "firing" {
            firing.insert(name);
        }
    }
    assert_eq!(firing, BTreeSet::from(["NodeCollectorFailed", "NodeFilesystemDeviceError"]));
}

/// Answers everything when a test ends or fails.
struct Released<'a>(&'a Fuse);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}
