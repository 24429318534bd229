//! Which capabilities collectors would use and the daemon has not, and how to give them.

use crate::plan::CollectorPlan;
use rustix::thread::{CapabilitySet, capabilities};
use std::fmt::Write as _;
use vitald_core::collector::Descriptor;

/// Capabilities that do as well as another one (capabilities(7)): before Linux 5.8 `CAP_PERFMON` was a part of
/// `CAP_SYS_ADMIN`.
const AS_WELL: [(&str, CapabilitySet); 2] = [
    ("CAP_PERFMON", CapabilitySet::SYS_ADMIN),
    ("CAP_DAC_READ_SEARCH", CapabilitySet::DAC_OVERRIDE),
];
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

/// What the collectors that are on lack.
pub(crate) fn shortfalls(plans: &[CollectorPlan]) -> Vec<Shortfall> {
    of_those_on(plans, missing)
}

/// What the collectors that are on use beyond what deploy/vitald.service gives, whatever this process has.
pub(crate) fn needs(plans: &[CollectorPlan]) -> Vec<Shortfall> {
    of_those_on(plans, |descriptor| descriptor.capabilities.to_vec())
}

/// Those of the collectors that are on of which there are any.
fn of_those_on(
    plans: &[CollectorPlan],
    capabilities: impl Fn(&Descriptor) -> Vec<&'static str>,
) -> Vec<Shortfall> {
    let on = plans.iter().filter(|plan| plan.enabled).map(|plan| plan.descriptor);
    let all = on.map(|descriptor| Shortfall {
        name: descriptor.name,
        lacks: descriptor.lacks_without,
        capabilities: capabilities(descriptor),
    });
    all.filter(|shortfall| !shortfall.capabilities.is_empty()).collect()
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
            "To give the service all of it: systemctl edit vitald, then systemctl restart vitald\n\
             (vitald plugins --systemd says what each line is for):\n\
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

/// Logs once what the collectors that are on lack.
pub(crate) fn log(plans: &[CollectorPlan]) {
    let shortfalls = shortfalls(plans);
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
