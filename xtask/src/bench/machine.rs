//! What a run was made on, and with what.

use super::options::{Options, Place};
use super::programs::Programs;
use super::progress::say;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether this is root, with the programs that make namespaces.
pub(crate) fn can_make_namespaces() -> bool {
    let is_there = |program| Command::new(program).arg("-V").output().is_ok();
    rustix::process::geteuid().is_root() && ["unshare", "nsenter", "ip"].into_iter().all(is_there)
}

/// How many processes ran or waited for a disk at a time, in the mean over the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::INFINITY)
}

/// What that may be: half a process on two CPUs.
pub(crate) fn most_load() -> f64 {
    std::thread::available_parallelism().map_or(1, usize::from) as f64 / 4.0
}

/// Waits until what a build has made of the load average is forgotten, and no longer.
pub(crate) fn settle() {
    const LONG: Duration = Duration::from_secs(240);
    let begun = Instant::now();
    if load_average() > most_load() {
        say("waiting for the load average to fall, for four minutes at most");
    }
    while load_average() > most_load() && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_secs(5));
    }
    if load_average() > most_load() {
        say("only printed: the machine has other work");
    }
}

/// The CPU time of the machine and of this program, in ticks since they began.
pub(crate) struct Usage {
    all: u64,
    idle: u64,
    /// That of this program and of those that it has started and that have ended.
    own: u64,
}

impl Usage {
    pub(crate) fn now() -> Usage {
        Usage::parse(
            &fs::read_to_string("/proc/stat").unwrap_or_default(),
            &fs::read_to_string("/proc/self/stat").unwrap_or_default(),
        )
    }

    /// From `/proc/stat`: cpu user nice system idle iowait irq softirq steal guest guest_nice, and guest is in user. From
    /// `/proc/self/stat`: fields 14 to 17, and the name, which may have spaces, is the second.
    fn parse(machine: &str, process: &str) -> Usage {
        let numbers = |words: &str, skip, take| -> Vec<u64> {
            let words = words.split_whitespace().skip(skip).take(take);
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let all = numbers(machine.lines().next().unwrap_or_default(), 1, 8);
        let own = numbers(process.rsplit(')').next().unwrap_or_default(), 11, 4);
        Usage {
            all: all.iter().sum(),
            idle: all.iter().skip(3).take(2).sum(),
            own: own.iter().sum(),
        }
    }

    /// The share of the CPU time that others had. What a host takes from a guest is of others, too.
    pub(crate) fn of_others_since(&self, before: &Usage) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        let others = all.saturating_sub(idle).saturating_sub(self.own.saturating_sub(before.own));
        if all == 0 { 1.0 } else { others as f64 / all as f64 }
    }
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
        let without = "not counted: this needs root and strace, and so does the bare reader";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_what_is_neither_idle_nor_own() {
        let usage = |machine, own: &str| {
            let process = format!("42 (a) b) S 1 42 42 0 -1 4194304 10 20 30 40 {own} 20 0 1\n");
            Usage::parse(machine, &process)
        };
        let before = usage("cpu 10 0 10 70 10 0 0 0 5 0\ncpu0 1 1\n", "3 1 5 1");
        let after = usage("cpu 40 0 30 100 20 0 0 10 5 0\n", "13 11 15 11");
        assert_eq!((before.all, before.idle, before.own), (100, 80, 10));
        // 100 of all, of which 40 idle and 40 own.
        assert!((after.of_others_since(&before) - 0.2).abs() < 1e-9);
        // What cannot be known is not taken for quiet.
        assert!((before.of_others_since(&before) - 1.0).abs() < 1e-9);
    }
}
