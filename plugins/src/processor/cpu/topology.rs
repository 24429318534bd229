//! Where each CPU is, and how often each core and package was slowed down because it was hot
//! (Documentation/admin-guide/cputopology.rst).

use std::collections::HashSet;
use vitald_core::prelude::*;

attributes! {
    /// All of it comes and goes with a CPU that goes on line and off.
    Place {
        PACKAGE: text = "topology/physical_package_id", optional, slow;
        CORE: text = "topology/core_id", optional, slow;
        CORE_THROTTLES: text = "thermal_throttle/core_throttle_count", optional, slow;
        PACKAGE_THROTTLES: text = "thermal_throttle/package_throttle_count", optional, slow;
        ONLINE: text = "online", optional, slow;
    }
}

/// The CPUs' directories.
pub(super) const CPUS: &str = "sys/devices/system/cpu/cpu*";

/// Whether it is `cpu0` or such, and not `cpufreq`.
pub(super) fn is_cpu(name: &[u8]) -> bool {
    name.strip_prefix(b"cpu").is_some_and(|digits| text::single_u64(digits).is_ok())
}

/// What sysfs has of the CPUs while the same ones are on line.
///
/// Counts of throttling and their topology come and go with a CPU that goes on line and off, and
/// at no other time: the processor has them or not. So they are looked for when `/proc/stat` lists
/// other CPUs than before, and a machine that has none is not searched at each collection.
pub(super) struct Topology {
    pub(super) cores: Vec<Core>,
    pub(super) packages: Vec<Package>,
    /// Whether the first CPU has a file `online`; without it node_exporter shows none either.
    pub(super) has_online: bool,
}

/// A core that counts how often it was slowed down.
pub(super) struct Core {
    pub(super) package: Box<[u8]>,
    pub(super) core: Box<[u8]>,
    pub(super) throttles: KeptFile,
}

/// A package that counts how often it was slowed down.
pub(super) struct Package {
    pub(super) package: Box<[u8]>,
    pub(super) throttles: KeptFile,
}

impl Topology {
    /// Looks at all CPUs; `None` without sysfs.
    pub(super) fn survey(host: &Host) -> Option<Self> {
        let mut places: Walk<Place> = host.walk(CPUS).only(0, is_cpu);
        let places = places.optional().ok().filter(|places| places.len() > 0)?;
        let mut topology = Topology { cores: Vec::new(), packages: Vec::new(), has_online: false };
        let (mut cores_seen, mut packages_seen) = (HashSet::new(), HashSet::new());
        for (position, place) in places.enumerate() {
            let says = |attribute| place.text(attribute).ok().filter(|text| !text.is_empty());
            if position == 0 {
                topology.has_online = says(&Place::ONLINE).is_some();
            }
            let number = |attribute| says(attribute).filter(|text| text::single_u64(text).is_ok());
            let (Some(package), Some(core)) = (number(&Place::PACKAGE), number(&Place::CORE))
            else {
                continue;
            };
            let file = |path: &str| {
                let cpu = String::from_utf8_lossy(place.name(0));
                host.keep_whole(format!("sys/devices/system/cpu/{cpu}/{path}"))
            };
            // The threads of a core count together, as do the cores of a package.
            if number(&Place::PACKAGE_THROTTLES).is_some() && packages_seen.insert(package) {
                let throttles = file("thermal_throttle/package_throttle_count");
                topology.packages.push(Package { package: package.into(), throttles });
            }
            if number(&Place::CORE_THROTTLES).is_some() && cores_seen.insert((package, core)) {
                let throttles = file("thermal_throttle/core_throttle_count");
                topology.cores.push(Core { package: package.into(), core: core.into(), throttles });
            }
        }
        Some(topology)
    }
}
