//! Which capabilities collectors would use and the daemon has not, and how to give them.

use crate::engine::CollectorStatus;
use crate::plan::CollectorPlan;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use vitald_core::collector::Descriptor;
use vitald_core::host::Roots;

/// Capabilities that do as well as another one (capabilities(7)): before Linux 5.8 `CAP_PERFMON` was a part of
/// `CAP_SYS_ADMIN`.
const AS_WELL: [(&str, CapabilitySet); 2] = [
    ("CAP_PERFMON", CapabilitySet::SYS_ADMIN),
    ("CAP_DAC_READ_SEARCH", CapabilitySet::DAC_OVERRIDE),
];
/// The reasons of collectors that are about what another user or root may see.
pub(crate) const OF_PERMISSION: [&str; 2] = ["permission", "permissions"];
/// The system call that the unit of systemd refuses, and the capability that is of no use without it.
const PERF: &str = "CAP_PERFMON";

/// The capabilities that a collector needs and this thread has not.
pub(crate) fn missing(descriptor: &Descriptor) -> Vec<&'static str> {
    if descriptor.capabilities.is_empty() {
        return Vec::new();
    }
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let is_missing = |name: &&'static str| !is_in(has, name);
    descriptor.capabilities.iter().copied().filter(is_missing).collect()
}

fn is_in(has: CapabilitySet, name: &str) -> bool {
    let own = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
    let mut others = AS_WELL.iter().filter(|(one, _)| *one == name).map(|(_, other)| *other);
    own.is_some_and(|own| has.contains(own)) || others.any(|other| has.contains(other))
}

/// A collector that is on, what it lacks and which capabilities would give it that.
pub(crate) struct Shortfall {
    name: &'static str,
    lacks: &'static str,
    capabilities: Vec<&'static str>,
}

/// What the collectors that have run lack on this host: those that say that they may not see something, and those with a
/// source that is here and that this process may not read. It looks for the sources, and may block.
pub(crate) fn shortfalls(statuses: &[CollectorStatus], roots: &Roots) -> Vec<Shortfall> {
    let all = statuses.iter().map(|status| (status, missing(status.descriptor)));
    let lacking = all.filter(|(status, missing)| {
        !missing.is_empty() && (says_so(status) || is_any_closed(status.descriptor, roots))
    });
    lacking.map(|(status, missing)| Shortfall::of(status.descriptor, missing)).collect()
}

/// What the collectors that are on use beyond what deploy/vitald.service gives, whatever this process has.
pub(crate) fn needs(plans: &[CollectorPlan]) -> Vec<Shortfall> {
    let on = plans.iter().filter(|plan| plan.enabled).map(|plan| plan.descriptor);
    let needing = on.filter(|descriptor| !descriptor.capabilities.is_empty());
    needing.map(|one| Shortfall::of(one, one.capabilities.to_vec())).collect()
}

impl Shortfall {
    fn of(descriptor: &Descriptor, capabilities: Vec<&'static str>) -> Self {
        Shortfall { name: descriptor.name, lacks: descriptor.lacks_without, capabilities }
    }
}

/// Whether a reason or an error is about what another user or root may see.
pub(crate) fn is_about_permission(said: &str) -> bool {
    OF_PERMISSION.contains(&said) || said.to_ascii_lowercase().contains("permission denied")
}

/// Whether the last run of a collector was refused something.
fn says_so(status: &CollectorStatus) -> bool {
    let said = [status.degraded, status.error.as_deref(), status.fault.as_deref()];
    said.into_iter().flatten().any(is_about_permission)
        || status.unread.iter().any(|unread| is_about_permission(&unread.error))
}

/// Whether there is a source of a collector that this process may not read. Most figures that are for root alone have a file
/// each, which a collector leaves out without a word.
fn is_any_closed(descriptor: &Descriptor, roots: &Roots) -> bool {
    descriptor.sources.iter().any(|source| match source.split_once('/') {
        Some(("sys", below)) => is_closed(&roots.sysfs, below),
        // Processes are many, and a collector of theirs says what it lacks.
        Some(("proc", below)) if !below.starts_with('*') => is_closed(&roots.procfs, below),
        Some(("", below)) => is_closed(Path::new("/"), below),
        _ => false,
    })
}

/// The same of what a pattern, with a star for any part of a name, finds below a directory.
fn is_closed(directory: &Path, pattern: &str) -> bool {
    let (name, below) = pattern.split_once('/').unwrap_or((pattern, ""));
    let is_closed = |path: &Path| match below {
        "" => access(path, Access::READ_OK) == Err(Errno::ACCESS),
        below => is_closed(path, below),
    };
    match name.split_once('*') {
        None => is_closed(&directory.join(name)),
        Some((start, end)) => match matching(directory, start, end) {
            Ok(paths) => paths.iter().any(|path| is_closed(path)),
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        },
    }
}

/// What is in a directory with names that begin and end so.
fn matching(directory: &Path, start: &str, end: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let inside = name.strip_prefix(start.as_bytes());
        if inside.is_some_and(|inside| inside.ends_with(end.as_bytes())) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// A drop-in of the unit that gives all of it, by capability, so that a part can be left out; if there is nothing to give it
/// says so.
pub(crate) fn drop_in(needs: &[Shortfall]) -> String {
    let mut text = String::from("[Service]\n");
    if needs.is_empty() {
        text.push_str("# No collector that is on shows more with a capability.\n");
    }
    for capability in all(needs) {
        let _ = writeln!(text, "# {capability}{} is for", beware(capability));
        for Shortfall { name, lacks, .. } in
            needs.iter().filter(|need| need.capabilities.contains(&capability))
        {
            let lacks = if lacks.is_empty() { "all or some of its figures" } else { lacks };
            let _ = writeln!(text, "# - {name}: {lacks}");
        }
        let _ =
            writeln!(text, "CapabilityBoundingSet={capability}\nAmbientCapabilities={capability}");
        if capability == PERF {
            text.push_str("# The system call that it makes\nSystemCallFilter=perf_event_open\n");
        }
    }
    text
}

/// What else a capability lets the daemon do.
fn beware(capability: &str) -> &'static str {
    match capability {
        "CAP_DAC_READ_SEARCH" => ", with which the daemon may read every file of the machine,",
        "CAP_SYS_PTRACE" => ", with which it may read the memory of every process,",
        _ => "",
    }
}

/// A sentence for each, and the lines of a unit that give them what they lack; nothing if they lack
/// nothing.
pub(crate) fn advice(shortfalls: &[Shortfall]) -> String {
    let mut text = String::new();
    for Shortfall { name, lacks, capabilities } in shortfalls {
        let without = capabilities.join(" and ");
        let _ = match *lacks {
            "" => writeln!(text, "{name} shows nothing, or less, without {without}"),
            lacks => writeln!(text, "{name} lacks {lacks} without {without}"),
        };
    }
    let names = all(shortfalls);
    if !names.is_empty() {
        let list = names.join(" ");
        let _ = writeln!(
            text,
            "To give the service all of it: systemctl edit vitald, with these lines, then\n\
             systemctl restart vitald (vitald plugins --systemd says what each is for):\n\
             [Service]\nCapabilityBoundingSet={list}\nAmbientCapabilities={list}"
        );
        if names.contains(&PERF) {
            text.push_str("SystemCallFilter=perf_event_open\n");
        }
    }
    text
}

/// The capabilities of all of them, once each.
fn all(shortfalls: &[Shortfall]) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        shortfalls.iter().flat_map(|shortfall| shortfall.capabilities.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Logs what the collectors that have run lack.
pub(crate) fn log(statuses: &[CollectorStatus], roots: &Roots) {
    let shortfalls = shortfalls(statuses, roots);
    if shortfalls.is_empty() {
        return;
    }
    let names: Vec<&str> = shortfalls.iter().map(|shortfall| shortfall.name).collect();
    tracing::info!(
        collectors = names.join(","),
        capabilities = all(&shortfalls).join(","),
        "these collectors would show more with these capabilities; vitald plugins says how to give them"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Counts;
    use rustix::thread::{CapabilitySets, set_capabilities};
    use std::time::Duration;
    use vitald_core::snapshot::State;
    use vitald_core::testing::descriptor;

    #[test]
    fn capabilities_have_names() {
        let none = CapabilitySet::empty();
        for name in ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_SYS_ADMIN"] {
            assert!(is_in(CapabilitySet::all(), name) && !is_in(none, name), "{name}");
        }
        assert!(is_in(CapabilitySet::SYS_ADMIN, "CAP_PERFMON"));
        assert!(!is_in(CapabilitySet::SYS_ADMIN, "CAP_SYS_PTRACE"));
    }

    fn two() -> [Shortfall; 2] {
        let shortfall = |name, lacks, capabilities: &[&'static str]| Shortfall {
            name,
            lacks,
            capabilities: capabilities.to_vec(),
        };
        [
            shortfall("dmi", "the serial numbers", &["CAP_DAC_READ_SEARCH"]),
            shortfall("perf", "", &["CAP_PERFMON", "CAP_DAC_READ_SEARCH"]),
        ]
    }

    #[test]
    fn a_drop_in_says_what_each_capability_is_for() {
        let text = drop_in(&two());
        assert_eq!(
            text,
            "[Service]\n\
             # CAP_DAC_READ_SEARCH, with which the daemon may read every file of the machine, is for\n\
             # - dmi: the serial numbers\n\
             # - perf: all or some of its figures\n\
             CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n\
             AmbientCapabilities=CAP_DAC_READ_SEARCH\n\
             # CAP_PERFMON is for\n\
             # - perf: all or some of its figures\n\
             CapabilityBoundingSet=CAP_PERFMON\n\
             AmbientCapabilities=CAP_PERFMON\n\
             # The system call that it makes\n\
             SystemCallFilter=perf_event_open\n"
        );
        let none = drop_in(&[]);
        assert!(
            none.lines().all(|line| line == "[Service]" || line.starts_with("# No ")),
            "{none}"
        );
    }

    #[test]
    fn a_source_is_closed_if_it_is_there_and_not_for_this_process() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let closed = |pattern: &str| is_closed(at, pattern);
        let mode = |path: &str, mode| {
            fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
        };
        for zone in ["zone0", "zone1"] {
            fs::create_dir(at.join(zone)).expect("a directory");
            fs::write(at.join(zone).join("energy"), "1").expect("a file");
        }
        without_capabilities(|| {
            let open = [
                "zone*/energy",
                "*/energy",
                "zone0/energy",
                "none/energy",
                "no*/energy",
                "no*/no*",
            ];
            assert_eq!(open.map(closed), [false; 6]);
            mode("zone1/energy", 0o000);
            assert_eq!(["zone*/energy", "*1/energy", "zone1/*"].map(closed), [true; 3]);
            assert_eq!(["zone0/energy", "zone*/e", "*0/*"].map(closed), [false; 3]);
            mode("zone1/energy", 0o600);
            mode("zone1", 0o000);
            assert_eq!(["zone*/energy", "zone*/*"].map(closed), [true; 2]);
            mode("zone1", 0o700);
        });
    }

    /// Does something on a thread that may no more than any user: root may read what has no mode at all.
    fn without_capabilities(work: impl FnOnce() + Send) {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                set_capabilities(None, sets).expect("less is always granted");
                work();
            });
            thread.join().expect("it holds");
        });
    }

    /// A collector whose last run went well.
    fn ran(descriptor: &'static Descriptor) -> CollectorStatus {
        CollectorStatus {
            descriptor,
            state: State::Running,
            duration: Duration::ZERO,
            age: None,
            out: None,
            interval: None,
            samples: 0,
            counts: Counts::default(),
            error: None,
            fault: None,
            unread: Vec::new(),
            unread_more: 0,
            degraded: None,
        }
    }

    static CLOSED: Descriptor = Descriptor {
        capabilities: &["CAP_DAC_READ_SEARCH"],
        sources: &["proc/slabinfo", "proc/*/io"],
        ..descriptor("closed", &[], false)
    };

    #[test]
    fn only_what_would_show_more_here_is_advised() {
        let directory = tempfile::tempdir().expect("a directory");
        let procfs = directory.path().to_owned();
        let roots = Roots { procfs, ..Roots::default() };
        let named = |status: CollectorStatus| {
            let names =
                shortfalls(&[status], &roots).iter().map(|one| one.name).collect::<Vec<_>>();
            assert!(names.len() < 2);
            names.len() == 1
        };
        let said = |degraded, error: Option<&str>| CollectorStatus {
            degraded,
            error: error.map(Into::into),
            ..ran(&CLOSED)
        };
        without_capabilities(|| {
            assert!(!named(said(None, Some("proc/slabinfo: not on this host"))));
            assert!(!named(said(Some("timeout"), None)));
            assert!(named(said(Some("permission"), None)));
            assert!(named(said(None, Some("proc/slabinfo: Permission denied (os error 13)"))));
            let file = directory.path().join("slabinfo");
            std::fs::write(&file, "").expect("a file");
            assert!(!named(said(None, None)), "it may be read");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
            std::fs::set_permissions(&file, mode).expect("a mode");
            assert!(named(said(None, None)));
        });
        // Who has what it takes lacks nothing.
        if missing(&CLOSED).is_empty() {
            assert!(!named(said(Some("permission"), None)));
        }
    }

    #[test]
    fn the_advice_has_the_lines_of_a_unit() {
        let advice = advice(&two());
        for line in [
            "dmi lacks the serial numbers without CAP_DAC_READ_SEARCH",
            "perf shows nothing, or less, without CAP_PERFMON and CAP_DAC_READ_SEARCH",
            "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_PERFMON",
            "AmbientCapabilities=CAP_DAC_READ_SEARCH CAP_PERFMON",
            "SystemCallFilter=perf_event_open",
        ] {
            assert!(advice.lines().any(|one| one == line), "{line}: {advice}");
        }
        assert_eq!(super::advice(&[]), "");
    }
}
