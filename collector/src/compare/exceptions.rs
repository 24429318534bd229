//! What two programs do not have alike, and why.

/// A family or a beginning of families.
pub(super) struct Exception {
    /// What a family's name begins with.
    pub(super) beginning: &'static str,
    pub(super) why: &'static str,
}

/// What each program reports of itself: it is not compared.
pub(super) const OF_THE_PROGRAM: &[Exception] = &[
    Exception { beginning: "go_", why: "Go's runtime" },
    Exception { beginning: "node_exporter_build_info", why: "the version of the program" },
    Exception { beginning: "process_", why: "the process of the program" },
    Exception { beginning: "promhttp_", why: "the requests to the program" },
    Exception { beginning: "vitald_", why: "vitald itself" },
];

/// Series that both must have, and whose values are of the program that shows them.
pub(super) const VALUES_OF_THE_PROGRAM: &[Exception] = &[Exception {
    beginning: "node_scrape_collector_duration_seconds",
    why: "how long a program took",
}];

/// By how much a value may differ in addition, and why.
pub(super) struct Slack {
    pub(super) family: &'static str,
    pub(super) slack: f64,
    pub(super) why: &'static str,
}

/// What a program changes by reading, or keeps from before.
pub(super) const SLACKS: &[Slack] = &[
    Slack {
        family: "node_cpu_seconds_total",
        slack: 3.0,
        why: "the kernel lets idle and iowait go back, and a program that ran then keeps the larger value",
    },
    Slack {
        family: "node_filefd_allocated",
        slack: 64.0,
        why: "a program that reads has files open",
    },
    Slack { family: "node_processes_state", slack: 16.0, why: "a program that reads runs itself" },
    Slack {
        family: "node_processes_threads",
        slack: 16.0,
        why: "a program that reads has threads",
    },
    Slack {
        family: "node_processes_threads_state",
        slack: 16.0,
        why: "a program that reads has threads",
    },
    Slack { family: "node_procs_running", slack: 16.0, why: "a program that reads runs itself" },
    Slack {
        family: "node_sockstat_sockets_used",
        slack: 16.0,
        why: "a program that reads has sockets open",
    },
];

/// What both call a counter and is a figure of now, which falls.
const FALLING: &[&str] = &["node_lnstat_entries_total", "node_xfs_vnode_active_total"];

/// Whether a counter's values fall without a reset.
pub(super) fn falls(family: &str) -> bool {
    FALLING.contains(&family)
}

/// The exception that a family is, if it is one.
pub(super) fn find(list: &'static [Exception], family: &str) -> Option<&'static Exception> {
    list.iter().find(|exception| family.starts_with(exception.beginning))
}

/// By how much a family's values may differ in addition.
pub(super) fn slack_of(family: &str) -> f64 {
    SLACKS.iter().find(|slack| slack.family == family).map_or(0.0, |slack| slack.slack)
}
