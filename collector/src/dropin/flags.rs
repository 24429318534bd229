//! The flags of node_exporter 1.12 on Linux: names and defaults, which are facts.
//!
//! The flags of a collector that is in this binary are made from its descriptor. The lists here
//! say what else there is: which collectors node_exporter runs by default, the flags of those that
//! this build lacks, the spellings that a name does not give, and those of old versions.

/// node_exporter's collectors on Linux, and whether they run when no flag says.
pub(super) const COLLECTORS: &[(&str, bool)] = &[
    ("arp", true),
    ("bcache", true),
    ("bcachefs", true),
    ("bonding", true),
    ("btrfs", true),
    ("buddyinfo", false),
    ("cgroups", false),
    ("conntrack", true),
    ("cpu", true),
    ("cpu_vulnerabilities", false),
    ("cpufreq", true),
    ("diskstats", true),
    ("dmi", true),
    ("dmmultipath", true),
    ("drbd", false),
    ("drm", false),
    ("edac", true),
    ("entropy", true),
    ("ethtool", false),
    ("fibrechannel", true),
    ("filefd", true),
    ("filesystem", true),
    ("hwmon", true),
    ("infiniband", true),
    ("interrupts", false),
    ("ipvs", true),
    ("kernel_hung", true),
    ("ksmd", false),
    ("lnstat", false),
    ("loadavg", true),
    ("logind", false),
    ("mdadm", true),
    ("meminfo", true),
    ("meminfo_numa", false),
    ("mountstats", false),
    ("netclass", true),
    ("netdev", true),
    ("netstat", true),
    ("network_route", false),
    ("nfs", true),
    ("nfsd", true),
    ("ntp", false),
    ("nvme", true),
    ("nvmesubsystem", false),
    ("os", true),
    ("pcidevice", false),
    ("perf", false),
    ("powersupplyclass", true),
    ("pressure", true),
    ("processes", false),
    ("qdisc", false),
    ("rapl", true),
    ("runit", false),
    ("schedstat", true),
    ("selinux", true),
    ("slabinfo", false),
    ("sockstat", true),
    ("softirqs", false),
    ("softnet", true),
    ("stat", true),
    ("supervisord", false),
    ("swap", false),
    ("sysctl", false),
    ("systemd", false),
    ("tapestats", true),
    ("tcpstat", false),
    ("textfile", true),
    ("thermal_zone", true),
    ("time", true),
    ("timex", true),
    ("udp_queues", true),
    ("uname", true),
    ("vmstat", true),
    ("watchdog", true),
    ("wifi", false),
    ("xfrm", false),
    ("xfs", true),
    ("zfs", true),
    ("zoneinfo", false),
];

/// What stands after a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing; `--no-` in front switches it off.
    Switch,
    /// One value; the flag may be given once.
    Once,
    /// One value; each time adds one.
    Many,
}

use Shape::{Many, Once, Switch};

/// The flags of node_exporter's collectors: the part after `--collector.`, the collector, and
/// what stands after it.
pub(super) const SETTINGS: &[(&str, &str, Shape)] = &[
    ("arp.device-exclude", "arp", Once),
    ("arp.device-include", "arp", Once),
    ("arp.netlink", "arp", Switch),
    ("bcache.priorityStats", "bcache", Switch),
    ("cpu.guest", "cpu", Switch),
    ("cpu.info", "cpu", Switch),
    ("cpu.info.bugs-include", "cpu", Once),
    ("cpu.info.flags-include", "cpu", Once),
    ("diskstats.device-exclude", "diskstats", Once),
    ("diskstats.device-include", "diskstats", Once),
    ("ethtool.device-exclude", "ethtool", Once),
    ("ethtool.device-include", "ethtool", Once),
    ("ethtool.metrics-include", "ethtool", Once),
    ("filesystem.fs-types-exclude", "filesystem", Once),
    ("filesystem.fs-types-include", "filesystem", Once),
    ("filesystem.mount-points-exclude", "filesystem", Once),
    ("filesystem.mount-points-include", "filesystem", Once),
    ("filesystem.mount-timeout", "filesystem", Once),
    ("filesystem.stat-workers", "filesystem", Once),
    ("hwmon.chip-exclude", "hwmon", Once),
    ("hwmon.chip-include", "hwmon", Once),
    ("hwmon.sensor-exclude", "hwmon", Once),
    ("hwmon.sensor-include", "hwmon", Once),
    ("infiniband.device-exclude", "infiniband", Once),
    ("infiniband.device-include", "infiniband", Once),
    ("interrupts.include-zeros", "interrupts", Switch),
    ("interrupts.name-exclude", "interrupts", Once),
    ("interrupts.name-include", "interrupts", Once),
    ("ipvs.backend-labels", "ipvs", Once),
    ("netclass.ignore-invalid-speed", "netclass", Switch),
    ("netclass.ignored-devices", "netclass", Once),
    ("netclass.netlink", "netclass", Switch),
    ("netclass_rtnl.with-stats", "netclass", Switch),
    ("netdev.address-info", "netdev", Switch),
    ("netdev.device-exclude", "netdev", Once),
    ("netdev.device-include", "netdev", Once),
    ("netdev.enable-detailed-metrics", "netdev", Switch),
    ("netdev.label-ifalias", "netdev", Switch),
    ("netdev.netlink", "netdev", Switch),
    ("netstat.fields", "netstat", Once),
    ("ntp.ip-ttl", "ntp", Once),
    ("ntp.local-offset-tolerance", "ntp", Once),
    ("ntp.max-distance", "ntp", Once),
    ("ntp.protocol-version", "ntp", Once),
    ("ntp.server", "ntp", Once),
    ("ntp.server-is-local", "ntp", Switch),
    ("ntp.server-port", "ntp", Once),
    ("pcidevice.idsfile", "pcidevice", Once),
    ("pcidevice.names", "pcidevice", Switch),
    ("perf.cache-profilers", "perf", Many),
    ("perf.cpus", "perf", Once),
    ("perf.disable-cache-profilers", "perf", Switch),
    ("perf.disable-hardware-profilers", "perf", Switch),
    ("perf.disable-software-profilers", "perf", Switch),
    ("perf.hardware-profilers", "perf", Many),
    ("perf.software-profilers", "perf", Many),
    ("perf.tracepoint", "perf", Many),
    ("powersupply.ignored-supplies", "powersupplyclass", Once),
    ("qdisc.device-exclude", "qdisc", Once),
    ("qdisc.device-include", "qdisc", Once),
    ("qdisc.fixtures", "qdisc", Once),
    ("rapl.enable-zone-label", "rapl", Switch),
    ("runit.servicedir", "runit", Once),
    ("slabinfo.slabs-exclude", "slabinfo", Once),
    ("slabinfo.slabs-include", "slabinfo", Once),
    ("stat.softirq", "stat", Switch),
    ("supervisord.url", "supervisord", Once),
    ("sysctl.include", "sysctl", Many),
    ("sysctl.include-info", "sysctl", Many),
    ("systemd.enable-restarts-metrics", "systemd", Switch),
    ("systemd.enable-start-time-metrics", "systemd", Switch),
    ("systemd.enable-task-metrics", "systemd", Switch),
    ("systemd.private", "systemd", Switch),
    ("systemd.unit-exclude", "systemd", Once),
    ("systemd.unit-include", "systemd", Once),
    ("tapestats.ignored-devices", "tapestats", Once),
    ("textfile.directory", "textfile", Many),
    ("vmstat.fields", "vmstat", Once),
    ("wifi.fixtures", "wifi", Once),
];

/// Spellings that differ from a key of ours by more than `-`, `.` and `_`: the part after
/// `--collector.`, and the key in the collector's table.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("netclass_rtnl.with-stats", "rtnl_with_stats"),
    ("powersupply.ignored-supplies", "ignored_supplies"),
];

/// Spellings of old versions, which 1.12 takes without showing them, and the present ones.
pub(super) const OLD_SPELLINGS: &[(&str, &str)] = &[
    ("diskstats.ignored-devices", "diskstats.device-exclude"),
    ("filesystem.ignored-fs-types", "filesystem.fs-types-exclude"),
    ("filesystem.ignored-mount-points", "filesystem.mount-points-exclude"),
    ("netdev.device-blacklist", "netdev.device-exclude"),
    ("netdev.device-whitelist", "netdev.device-include"),
    ("qdisk.device-exclude", "qdisc.device-exclude"),
    ("qdisk.device-include", "qdisc.device-include"),
    ("systemd.unit-blacklist", "systemd.unit-exclude"),
    ("systemd.unit-whitelist", "systemd.unit-include"),
];

/// Flags that 1.12 takes without showing them.
pub(super) const HIDDEN: &[&str] =
    &["filesystem.mount-timeout", "filesystem.stat-workers", "systemd.private"];

/// A name apart from how its words are joined: `priorityStats`, `priority-stats`.
pub(super) fn flat(name: &str) -> String {
    name.replace(['-', '.', '_'], "").to_ascii_lowercase()
}

/// Whether the node_exporter that the drop-in replaces has a collector of this name.
pub fn is_collector(name: &str) -> bool {
    COLLECTORS.iter().any(|(known, _)| *known == name)
}
