//! What a run was made on, and with what.

use super::options::{Options, Place};
use super::programs::Programs;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Whether this is root, with the programs that make namespaces.
pub(crate) fn can_make_namespaces() -> bool {
    let is_there = |program| Command::new(program).arg("-V").output().is_ok();
    rustix::process::geteuid().is_root() && ["unshare", "nsenter", "ip"].into_iter().all(is_there)
}

/// The share of the CPU time that is used, over some seconds in which this program does nothing. What a host
/// takes from a guest is used, too.
pub(crate) fn used() -> f64 {
    let before = times();
    std::thread::sleep(Duration::from_secs(3));
    let (total, idle) = times();
    let (total, idle) = (total - before.0, idle - before.1);
    if total == 0 { 0.0 } else { 1.0 - idle as f64 / total as f64 }
}

/// The ticks of all CPUs, and those of which were idle or waited for a disk.
fn times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // cpu user nice system idle iowait irq softirq steal guest guest_nice, and guest is in user.
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    (ticks.iter().sum(), ticks.iter().skip(3).take(2).sum())
}

/// The machine and the programs, a line each.
pub(crate) fn circumstances(
    root: &Path,
    programs: &Programs,
    options: &Options,
) -> Vec<(&'static str, String)> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let uname = rustix::system::uname();
    let (release, hardware) =
        (uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    let place = if options.place == Place::Inside {
        "interfaces made for the run: lo and three virtual ones, without traffic; mounts of this machine"
    } else {
        "those of this machine; root could make some that are the same everywhere"
    };
    let size = fs::metadata(&programs.vitald).map_or(0, |metadata| metadata.len());
    // A list of the collectors follows.
    let named = version(Command::new(&programs.vitald).arg("--version"));
    let named = named.split(" (").next().unwrap_or_default();
    // Of a binary from elsewhere the tree says nothing.
    let revision = if programs.vitald.starts_with(root) {
        version(Command::new("git").current_dir(root).args(["describe", "--always", "--dirty"]))
    } else {
        "not built by this run".to_owned()
    };
    let size = size as f64 / 1e6;
    let vitald = format!("{named} ({revision}), {size:.1} MB, every collector compiled in");
    let mut lines = vec![
        ("CPUs", format!("{cpus}, {}", field("/proc/cpuinfo", "model name"))),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", format!("Linux {release}, {hardware}")),
        ("virtual machine", virtual_machine()),
        ("mounts and interfaces", place.to_owned()),
        ("vitald", vitald),
    ];
    let absent = "is not installed and not in the tables";
    lines.push(match &programs.node_exporter {
        Some(program) => ("node_exporter", version(Command::new(program).arg("--version"))),
        None => ("node_exporter", absent.to_owned()),
    });
    lines.push(match &programs.collectd {
        Some(program) => ("collectd", collectd(program)),
        None => ("collectd", absent.to_owned()),
    });
    if !programs.strace {
        let without = "not counted: this needs root and strace. The bare reader reads the files that \
                       vitald keeps open";
        lines.push(("system calls", without.to_owned()));
    }
    lines
}

/// The first line that a command prints.
fn version(command: &mut Command) -> String {
    let output = command.output().map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    text.lines().next().unwrap_or("of an unknown version").trim().to_owned()
}

/// collectd's help ends with its version.
fn collectd(program: &Path) -> String {
    let output = Command::new(program).arg("-h").output().map(|output| output.stdout);
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    let line = text.lines().find(|line| line.starts_with("collectd "));
    line.unwrap_or("of an unknown version").to_owned()
}

/// A field of a file of the kernel that has one on each line.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or("unknown", |(_, value)| value.trim()).to_owned()
}

fn virtual_machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    let is_guest = flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    if is_guest { "yes" } else { "no" }.to_owned()
}
