//! What one collector costs on the host that is large for it, beside node_exporter on the same host.
//!
//! vitald keeps descriptors of what is on procfs and sysfs alone, so at its first scrapes strace has the kernel say of
//! every file of the host that it is there.

use crate::large_host::{LargeHost, Tree};
use crate::system::cost::{Target, scrape};
use crate::system::peer::Peer;
use crate::system::process;
use crate::system::statistics::{median, ratio};
use crate::system::trace::traced;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What was seen of one program on the large host.
pub struct Cost {
    pub samples: usize,
    /// CPU time of a scrape, in milliseconds.
    pub cpu: f64,
    /// How long a scrape took for the client, in milliseconds.
    pub latency: f64,
    /// The most memory that was resident, in MiB.
    pub peak: u64,
}

/// What was seen of one collector.
pub struct Figures {
    pub ours: Cost,
    /// That of node_exporter, and its CPU time by that of vitald with the interval of it; none where it has no such
    /// collector or is not here.
    pub theirs: Option<(Cost, (f64, f64, f64))>,
    /// How vitald's cost grows with the units: 1 is by the same factor.
    pub exponent: f64,
}

/// The head of a table of [`Figures::row`].
pub const HEAD: [&str; 2] = [
    "| collector | units | node_exporter, ms of CPU | vitald | times | a sample, ns | exponent | \
     latency of node_exporter, ms | of vitald | peak of node_exporter, MiB | of vitald |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
];

impl Figures {
    pub fn row(&self, host: &LargeHost) -> String {
        let Figures { ours, theirs, exponent } = self;
        let of_theirs = |cell: &dyn Fn(&Cost) -> String| {
            theirs.as_ref().map_or_else(String::new, |(theirs, _)| cell(theirs))
        };
        let times = theirs.as_ref().map_or_else(String::new, |(_, (ratio, least, most))| {
            format!("{ratio:.1} [{least:.1}..{most:.1}]")
        });
        let cells = [
            host.collector.to_owned(),
            format!("{} {}", host.units, host.unit),
            of_theirs(&|theirs| format!("{:.1}", theirs.cpu)),
            format!("{:.1}", ours.cpu),
            times,
            format!("{:.0}", ours.cpu * 1e6 / ours.samples as f64),
            format!("{exponent:.2}"),
            of_theirs(&|theirs| format!("{:.1}", theirs.latency)),
            format!("{:.1}", ours.latency),
            of_theirs(&|theirs| theirs.peak.to_string()),
            ours.peak.to_string(),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

/// A host on disk that goes with the value, and vitald on it.
struct Running {
    tree: Tree,
    units: usize,
    vitald: Peer,
    _directory: tempfile::TempDir,
}

impl Running {
    fn new(host: &LargeHost, units: usize, binary: &Path) -> Running {
        // In memory: the disk of the machine is no part of what is measured.
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let tree = host.write_to(directory.path(), units);
        let vitald = start(host, directory.path(), binary);
        as_of_sysfs(&vitald);
        Running { tree, units, vitald, _directory: directory }
    }
}

fn start(host: &LargeHost, tree: &Path, binary: &Path) -> Peer {
    let path = |root: &str| tree.join(root);
    let settings = match host.collector {
        "textfile" => format!("directory = [{:?}]\n", path("textfile")),
        _ => String::new(),
    };
    let config = format!(
        "[paths]\nprocfs = {:?}\nsysfs = {:?}\nudev = {:?}\nrootfs = {:?}\n\
         [server]\nlisten = [\"127.0.0.1:0\"]\n\
         [scrape]\nmax_age = \"0s\"\nmax_series = 0\ndefault_collectors = false\n\
         [collectors.{}]\nenabled = true\n{settings}",
        path("proc"),
        path("sys"),
        path("udev"),
        path("rootfs"),
        host.collector,
    );
    let file = tree.join("config.toml");
    std::fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(file);
    Peer::start(command)
}

/// Has the first scrapes of vitald find its files on sysfs.
fn as_of_sysfs(vitald: &Peer) {
    let inject = "inject=fstatfs:poke_exit=@arg2=7265656200000000";
    let arguments = ["-f", "-e", "trace=fstatfs", "-e", inject];
    traced(vitald.pid(), &arguments, Path::new("/dev/null"), || {
        scrape(&mut Target::new("", vitald.pid(), vitald.address()).client, 3);
    });
}

fn start_node_exporter(host: &LargeHost, tree: &Path, binary: &Path) -> Peer {
    let mut command = Command::new(binary);
    command.args(["--web.listen-address=127.0.0.1:0", "--collector.disable-defaults"]);
    command.arg(format!("--collector.{}", host.collector));
    for root in ["proc", "sys", "root"] {
        let directory = if root == "root" { "rootfs" } else { root };
        command.arg(format!("--path.{root}fs={}", tree.join(directory).display()));
    }
    for flag in host.flags {
        command.arg(flag.replace("{}", &tree.display().to_string()));
    }
    Peer::start(command)
}

/// How many samples a page has, and how many of them are of that family.
fn samples(text: &str, family: &str) -> (usize, usize) {
    let lines = || text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    (lines().count(), lines().filter(|line| line.starts_with(family)).count())
}

/// Scrapes vitald on the large host and on the small one, and node_exporter on the large one, in turn.
///
/// # Panics
///
/// Where a program cannot be started, or shows no sample for each unit.
pub fn measure(
    host: &LargeHost,
    vitald: &Path,
    node_exporter: Option<&Path>,
    rounds: usize,
) -> Figures {
    let mut hosts = [host.units, host.few].map(|units| Running::new(host, units, vitald));
    let theirs = node_exporter
        .filter(|_| host.has_peer)
        .map(|binary| start_node_exporter(host, &hosts[0].tree.directory, binary));
    let programs = [("vitald", &hosts[0].vitald), ("vitald, few", &hosts[1].vitald)];
    let mut targets: Vec<Target> = programs
        .into_iter()
        .chain(theirs.as_ref().map(|theirs| ("node_exporter", theirs)))
        .map(|(name, program)| Target::new(name, program.pid(), program.address()))
        .collect();
    let mut shown = Vec::new();
    for target in &mut targets {
        scrape(&mut target.client, 2);
        let (all, of_family) = samples(&target.client.page(), host.family);
        assert!(of_family > 0, "{}: {} has no {}", host.collector, target.name, host.family);
        shown.push((all, of_family));
    }
    assert!(shown[0].1 >= host.units, "{}: {shown:?}", host.collector);
    let mut latencies = vec![Vec::new(); targets.len()];
    for round in 0..rounds {
        for running in &mut hosts {
            host.pass_time(&mut running.tree, running.units);
        }
        for place in 0..targets.len() {
            let which = (place + round) % targets.len();
            let target = &mut targets[which];
            target.reconnect();
            target.spent();
            let begun = Instant::now();
            scrape(&mut target.client, 1);
            latencies[which].push(begun.elapsed().as_secs_f64() * 1e3);
            let spent = target.spent();
            target.rounds.push(spent);
        }
    }
    let cost = |which: usize| {
        let Target { process, rounds, .. } = &targets[which];
        Cost {
            samples: shown[which].0,
            cpu: median(rounds) / 1e6,
            latency: median(&latencies[which]),
            peak: process::status(*process, *process, "VmHWM").unwrap_or(0) / 1024,
        }
    };
    let [ours, few] = [0, 1].map(cost);
    let times = theirs.as_ref().map(|_| ratio(&targets[2].rounds, &targets[0].rounds));
    let exponent = (ours.cpu / few.cpu).log2() / (host.units as f64 / host.few as f64).log2();
    Figures { ours, theirs: times.map(|times| (cost(2), times)), exponent }
}
