//! This machine's own kernel, read by vitald and by another program at the same time.

mod fixture_host;
mod harness;

use harness::{Answer, output};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use vitald_core::collector::Descriptor;
use vitald_core::error::Error;
use vitald_core::host::{Host, Roots};
use vitald_core::run::Run;

/// One collection of these collectors, as Prometheus text.
fn once(collectors: &[&str]) -> Answer {
    let mut command = Command::new(harness::binary());
    let (status, body, err) = output(command.args(["once", "--format", "text"]).args(collectors));
    assert_eq!(status, 0, "{err}");
    Answer { status: 200, headers: BTreeMap::new(), bytes: body.clone().into_bytes(), body }
}

fn near(ours: f64, theirs: f64, tolerance: f64) -> bool {
    (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0)
}

/// What a program of coreutils prints; every machine has those.
fn printed_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    // df fails as a whole when a single mount denies it, and prints the others.
    assert!(!output.stdout.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// sysinfo reads the same kernel in its own way, in the collector `portable`.
#[test]
fn portable_and_the_linux_collectors_agree() {
    let page = once(&["portable", "meminfo", "netdev", "loadavg", "cpu", "filesystem"]);
    let value =
        |series: &str| page.value(series).unwrap_or_else(|| panic!("{series} in\n{}", page.body));
    assert!(near(value("system_memory_limit_bytes"), value("node_memory_MemTotal_bytes"), 1e-9));
    assert!(near(value("system_cpu_load_average_1m"), value("node_load1"), 0.2));
    let received = "system_network_io_bytes_total{device=\"lo\",direction=\"receive\"}";
    assert!(near(value(received), value("node_network_receive_bytes_total{device=\"lo\"}"), 0.05));
    let cpus = page.body.lines().filter(|line| {
        line.starts_with("node_cpu_seconds_total") && line.contains("mode=\"idle\"")
    });
    assert!(near(value("system_cpu_logical_count"), cpus.count() as f64, 0.0));
}

#[test]
fn coreutils_agree() {
    let page = once(&["uname", "time", "cpu", "stat", "filefd"]);
    let release = printed_by("uname", &["-r"]);
    assert!(page.body.contains(&format!("release=\"{release}\"")), "{}", page.body);
    let theirs: f64 = printed_by("date", &["+%s"]).parse().expect("seconds");
    assert!((page.value("node_time_seconds").expect("the time") - theirs).abs() < 60.0);
    let processors = page
        .body
        .lines()
        .filter(|line| line.starts_with("node_cpu_seconds_total") && line.contains("mode=\"user\""))
        .count();
    // Those that this process may use are on, and those that are on are there. The settings of OpenMP would count, too.
    let number = |text: String| text.parse::<usize>().expect("a count");
    let openmp = ["-u", "OMP_NUM_THREADS", "-u", "OMP_THREAD_LIMIT", "nproc"];
    let least = number(printed_by("env", &openmp));
    let most = number(printed_by("nproc", &["--all"]));
    assert!((least..=most).contains(&processors), "{processors} of {least} to {most}");
    assert!(page.value("node_boot_time_seconds").expect("boot time") > 1e9);
    assert!(page.value("node_filefd_allocated").expect("files") > 0.0);
}

#[test]
fn df_agrees() {
    let page = once(&["filesystem"]);
    let table = printed_by("df", &["-B1", "--output=target,size,itotal"]);
    let mut compared = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [mount, size, files] = fields[..] else { continue };
        let of = |family: &str| {
            page.body.lines().find_map(|line| {
                let rest = line.strip_prefix(family)?;
                rest.contains(&format!("mountpoint=\"{mount}\""))
                    .then(|| rest.rsplit(' ').next())?
            })
        };
        let Some(ours) = of("node_filesystem_size_bytes{") else { continue };
        assert!(
            near(ours.parse().expect("a number"), size.parse().expect("a number"), 1e-6),
            "{line}"
        );
        if let (Some(ours), Ok(theirs)) = (of("node_filesystem_files{"), files.parse()) {
            assert!(near(ours.parse().expect("a number"), theirs, 0.01), "{line}");
        }
        compared += 1;
    }
    if compared == 0 && std::env::var_os("VITALD_ALL_THERE").is_none() {
        println!(
            "skipped: needs a mount that is shown and that df lists, as a changed root may lack"
        );
        return;
    }
    assert!(compared > 0, "no mount in common with df:\n{table}\n{}", page.body);
}

/// The place of the hosts' trees, set for the run of this binary that a user without rights makes.
const TREES: &str = "VITALD_TEST_TREES";

/// What a user without rights may not read needs a capability that the collector declares, for the manual and the
/// unit file; a collector that declares none must not be refused anything here, and nothing on a host of which all
/// the files are there that Linux gives to root alone. One that declares it says what it lacks, and does not fail.
#[test]
fn a_collector_that_declares_no_capability_is_refused_nothing() {
    if let Some(trees) = std::env::var_os(TREES) {
        return refuse_undeclared_capabilities(Path::new(&trees));
    }
    // The binary's own folder may be closed to others.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is opened");
    let trees = folder.path().join("trees");
    for host in fixture_host::hosts() {
        let tree = trees.join(&host.name);
        std::fs::create_dir_all(&tree).expect("the folder is made");
        host.write_to(&tree);
        for pattern in OF_ROOT {
            for path in host.expand(pattern) {
                // Not even its owner may read it, who may be the user of the test.
                let file = tree.join(path);
                if file.is_file() {
                    std::fs::set_permissions(file, Permissions::from_mode(0o000))
                        .expect("it is closed");
                }
            }
        }
    }
    // A service of runit, in a directory as runsv makes it.
    let supervise = trees.join(SERVICES).join("web/supervise");
    std::fs::create_dir_all(&supervise).expect("the folder is made");
    std::fs::write(supervise.join("status"), [0; 20]).expect("the file is written");
    std::fs::set_permissions(&supervise, Permissions::from_mode(0o000)).expect("it is closed");
    if !rustix::process::geteuid().is_root() {
        refuse_undeclared_capabilities(&trees);
        // What is closed to its owner could not be removed.
        let opened = std::fs::set_permissions(&supervise, Permissions::from_mode(0o700));
        return opened.expect("it is opened");
    }
    let binary = folder.path().join("live");
    std::fs::copy(std::env::current_exe().expect("its path"), &binary).expect("it is copied");
    let mut command = Command::new(&binary);
    command.args([
        "--exact",
        "a_collector_that_declares_no_capability_is_refused_nothing",
        "--nocapture",
    ]);
    let ran = command.env(TREES, &trees).current_dir("/").uid(NOBODY).gid(NOBODY).output();
    let ran = ran.expect("the binary runs as another user");
    let said =
        [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

const NOBODY: u32 = 65_534;

/// The files that Linux gives to root alone, of those that collectors read.
const OF_ROOT: [&str; 7] = [
    "proc/slabinfo",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/board_serial",
    "sys/class/dmi/id/chassis_serial",
    "sys/class/powercap/*/energy_uj",
    "sys/devices/system/cpu/*/cpufreq/cpuinfo_cur_freq",
];

/// Collectors whose source, or a part of it, is refused on the trees: without them the test would find nothing.
/// Of runit it is a part. Attributes that are `optional` are absent, and nothing is said of them.
const REFUSED_ON_A_TREE: [&str; 2] = ["runit", "slabinfo"];

/// Where among the trees the services of runit are.
const SERVICES: &str = "services";

fn refuse_undeclared_capabilities(trees: &Path) {
    let mut wrong = String::new();
    let mut refused = BTreeSet::new();
    let mut judge = |place: &str, refusals: Vec<Refusal>| {
        for Refusal { descriptor, words, is_failure } in refusals {
            if descriptor.capabilities.is_empty() {
                wrong += &format!(
                    "{} on {place}: {words}, and no capability is declared\n",
                    descriptor.name
                );
            }
            // It would fail at each scrape, and be alerted of for ever, wherever it runs without the right.
            if is_failure {
                wrong += &format!("{} on {place} fails: {words}\n", descriptor.name);
            }
            refused.insert((place.to_owned(), descriptor.name));
        }
    };
    judge("this machine", refusals(&Roots::default(), ""));
    let settings = format!("[collectors.runit]\nservicedir = {:?}", trees.join(SERVICES));
    // What was written: another user may not see the tree of the source.
    for entry in std::fs::read_dir(trees).expect("the folder of the hosts is there") {
        let tree = entry.expect("it can be listed").path();
        let name = tree.file_name().expect("a name").to_string_lossy();
        if name == SERVICES {
            continue;
        }
        let [procfs, sysfs, rootfs, udev] =
            ["proc", "sys", "rootfs", "udev"].map(|of| tree.join(of));
        judge(&name, refusals(&Roots { procfs, sysfs, rootfs, udev }, &settings));
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    for name in REFUSED_ON_A_TREE {
        let is_on_a_tree =
            |(place, known): &(String, &str)| *known == name && place != "this machine";
        assert!(
            refused.iter().any(is_on_a_tree),
            "{name} is refused nothing; only {refused:?} are"
        );
    }
}

/// What a collector may not see.
struct Refusal {
    descriptor: &'static Descriptor,
    words: String,
    /// Whether the run failed with it.
    is_failure: bool,
}

/// What collectors are refused: as a whole, in a part, or so that the figures are not all there.
fn refusals(roots: &Roots, settings: &str) -> Vec<Refusal> {
    let host = Host::new(roots.clone());
    let mut refusals = Vec::new();
    for descriptor in vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete") {
        let settings = if settings.contains(&format!("[collectors.{}]", descriptor.name)) {
            settings
        } else {
            ""
        };
        let plan = vitald::config::load_text("", settings, &[], &[descriptor], &[])
            .expect("the settings hold");
        let mut collector = plan.collectors[0].prepared.open(&host).expect("the collector opens");
        let mut run = Run::new(descriptor.families);
        run.begin(None, 0);
        let outcome = collector.collect(run.batch());
        run.seal();
        let failure = outcome.as_ref().err().filter(|error| {
            matches!(error, Error::Unreadable { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied)
        });
        let fault = run.fault().filter(|fault| is_refusal(fault.error));
        let reason = run.degraded_reason().filter(|reason| is_refusal(reason));
        let words = failure.map(ToString::to_string);
        let words = words
            .or_else(|| fault.map(|fault| format!("{}: {}", fault.source, fault.error)))
            .or_else(|| reason.map(|reason| format!("degraded: {reason}")));
        let is_failure = failure.is_some();
        refusals.extend(words.map(|words| Refusal { descriptor, words, is_failure }));
    }
    refusals
}

/// Whether it is said that the daemon may not: by the words of EACCES and EPERM, or as a reason of its own.
fn is_refusal(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["permission", "not permitted", "hidepid"].iter().any(|word| text.contains(word))
}
