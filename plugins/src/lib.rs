//! The collectors of vitald: one file, or one and a folder of its name, and one cargo feature each.
//!
//! The list below is the only one. It declares a module for each name and makes [`ROLL`], the
//! promise that the daemon checks against the linked registry when it starts, and [`ALL`].

#![forbid(unsafe_code)]
// A closed pipe makes the print macros panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

/// Declares each collector's module behind the feature of its name, and the roll of all that are
/// compiled in. After a `+` come modules that are no collectors.
macro_rules! collectors {
    ($(
        $folder:ident if $system:meta { $($feature:literal => $module:ident),* $(,)? }
        $(+ { $($source:item)* })?
    )*) => {
        $(
            #[cfg($system)]
            mod $folder {
                $(#[cfg(feature = $feature)] mod $module;)*
                $($($source)*)?
            }
        )*

        /// The names of the collectors compiled into this crate.
        ///
        /// Reading it is also what makes the compiler link the crate at all: one that nothing
        /// names is left out, with everything it registers.
        pub const ROLL: &[&str] = &[$($(#[cfg(all($system, feature = $feature))] $feature),*),*];

        /// The names of all collectors that this crate has for this system, compiled in or not; each
        /// is that of the feature which compiles it in.
        pub const ALL: &[&str] = &[$($(#[cfg($system)] $feature),*),*];
    };
}

collectors! {
    processor if target_os = "linux" {
        "cpu" => cpu,
        "cpufreq" => cpufreq,
        "cpu_vulnerabilities" => cpu_vulnerabilities,
        "interrupts" => interrupts,
        "loadavg" => loadavg,
        "perf" => perf,
        "pressure" => pressure,
        "schedstat" => schedstat,
        "softirqs" => softirqs,
        "stat" => stat,
    }
    memory if target_os = "linux" {
        "buddyinfo" => buddyinfo,
        "ksmd" => ksmd,
        "meminfo" => meminfo,
        "meminfo_numa" => meminfo_numa,
        "slabinfo" => slabinfo,
        "swap" => swap,
        "vmstat" => vmstat,
        "zoneinfo" => zoneinfo,
    }
    storage if target_os = "linux" {
        "bcache" => bcache,
        "bcachefs" => bcachefs,
        "btrfs" => btrfs,
        "diskstats" => diskstats,
        "dmmultipath" => dmmultipath,
        "drbd" => drbd,
        "filesystem" => filesystem,
        "mdadm" => mdadm,
        "mountstats" => mountstats,
        "nfs" => nfs,
        "nfsd" => nfsd,
        "xfs" => xfs,
        "zfs" => zfs,
    } + {
        #[cfg(any(feature = "btrfs", feature = "filesystem"))] mod mounts;
        #[cfg(any(feature = "nfs", feature = "nfsd"))] mod nfs_statistics;
        #[cfg(feature = "diskstats")] mod udev;
    }
    network if target_os = "linux" {
        "arp" => arp,
        "bonding" => bonding,
        "conntrack" => conntrack,
        "ethtool" => ethtool,
        "ipvs" => ipvs,
        "lnstat" => lnstat,
        "netclass" => netclass,
        "netdev" => netdev,
        "netstat" => netstat,
        "network_route" => network_route,
        "qdisc" => qdisc,
        "sockstat" => sockstat,
        "softnet" => softnet,
        "tcpstat" => tcpstat,
        "udp_queues" => udp_queues,
        "wifi" => wifi,
        "xfrm" => xfrm,
    }
    hardware if target_os = "linux" {
        "dmi" => dmi,
        "drm" => drm,
        "edac" => edac,
        "fibrechannel" => fibrechannel,
        "hwmon" => hwmon,
        "infiniband" => infiniband,
        "nvme" => nvme,
        "nvmesubsystem" => nvmesubsystem,
        "pcidevice" => pcidevice,
        "powersupplyclass" => powersupplyclass,
        "rapl" => rapl,
        "tapestats" => tapestats,
        "thermal_zone" => thermal_zone,
        "watchdog" => watchdog,
    } + {
        #[cfg(any(feature = "drm", feature = "hwmon"))] mod chip_names;
    }
    kernel if target_os = "linux" {
        "cgroups" => cgroups,
        "entropy" => entropy,
        "filefd" => filefd,
        "kernel_hung" => kernel_hung,
        "os" => os,
        "process_groups" => process_groups,
        "processes" => processes,
        "selinux" => selinux,
        "sysctl" => sysctl,
        "time" => time,
        "timex" => timex,
        "uname" => uname,
    }
    service if target_os = "linux" {
        "logind" => logind,
        "ntp" => ntp,
        "runit" => runit,
        "supervisord" => supervisord,
        "systemd" => systemd,
        "textfile" => textfile,
    }
    system if all() {
        "portable" => portable,
    }
}
