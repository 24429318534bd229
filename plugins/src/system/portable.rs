//! The same basic figures on every system that the crate [sysinfo] knows, under OpenTelemetry's names.
//!
//! It is for systems that have no collectors of their own. On Linux, which has, it is off, since it
//! reads much more than they do and shows less.
//!
//! Three things differ from every other collector. sysinfo reads fixed paths and system calls of the
//! process's own machine, whatever roots the configuration names. It allocates at every collection.
//! And it has been run on Linux on x86_64 only: this file has not been tried on macOS, Windows and
//! the BSDs.
//!
//! What sysinfo gets wrong on Linux is checked or read here: a CPU that goes off line (it knows CPUs
//! by their lines), amounts below zero, and file systems ([`mounts`]).
//!
//! [sysinfo]: https://docs.rs/sysinfo

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::time::Instant;

use sysinfo::{
    Component, Components, CpuRefreshKind, DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL,
    MemoryRefreshKind, NetworkData, Networks, System,
};
use vitald_core::prelude::*;

use mounts::Mounts;

mod mounts;

families! {
    /// Share of the time since the last collection that a CPU was busy, from 0 to 1.
    CPU_UTILIZATION: gauge = "system_cpu_utilization_ratio" [cpu];
    /// CPUs that the system schedules on.
    CPU_COUNT: gauge = "system_cpu_logical_count";
    /// Tasks running or waiting, averaged over one minute.
    LOAD_1M: gauge = "system_cpu_load_average_1m";
    /// Tasks running or waiting, averaged over five minutes.
    LOAD_5M: gauge = "system_cpu_load_average_5m";
    /// Tasks running or waiting, averaged over fifteen minutes.
    LOAD_15M: gauge = "system_cpu_load_average_15m";
    /// Memory in bytes by what it is used for; reclaimable is neither free nor lost to other use.
    MEMORY: gauge = "system_memory_usage_bytes" [state];
    /// Memory that the system has, in bytes.
    MEMORY_LIMIT: gauge = "system_memory_limit_bytes";
    /// Swap space in bytes, used and free.
    PAGING: gauge = "system_paging_usage_bytes" [state];
    /// Space of a file system in bytes, used and free; free is what an ordinary user may take.
    FILESYSTEM: gauge = "system_filesystem_usage_bytes" [device, mountpoint, type, state];
    /// Size of a file system in bytes.
    FILESYSTEM_LIMIT: gauge = "system_filesystem_limit_bytes" [device, mountpoint, type];
    /// Bytes read from and written to a device with a mounted file system.
    DISK_IO: counter = "system_disk_io_bytes_total" [device, direction];
    /// Bytes received and transmitted by a network interface.
    NETWORK_IO: counter = "system_network_io_bytes_total" [device, direction];
    /// Packets received and transmitted by a network interface.
    NETWORK_PACKETS: counter = "system_network_packets_total" [device, direction];
    /// Packets that a network interface failed to receive or transmit.
    NETWORK_ERRORS: counter = "system_network_errors_total" [device, direction];
    /// Temperature of a part of the machine in degrees Celsius.
    TEMPERATURE: gauge = "system_temperature_celsius" [sensor];
    /// Temperature at which a part of the machine stops, in degrees Celsius.
    TEMPERATURE_CRITICAL: gauge = "system_temperature_critical_celsius" [sensor];
    /// Time since the system was started, in seconds.
    UPTIME: gauge = "system_uptime_seconds";
}

settings! {
    /// Ask every mounted file system for its space, and its device for what was read and written.
    /// One whose server does not answer stops this collector until it does.
    filesystems: bool = true;
}

register_collector!(Portable);

struct Portable {
    settings: Settings,
    mounts: Mounts,
    sources: Option<Sources>,
}

/// What sysinfo keeps from one collection to the next.
struct Sources {
    system: System,
    disks: Option<Disks>,
    networks: Option<Networks>,
    components: Option<Components>,
    /// When the CPUs were looked at first: their use is a difference.
    first_look: Option<Instant>,
}

impl Collector for Portable {
    about! {
        name: "portable",
        summary: "Basic figures on systems that have no collectors of their own",
        families: FAMILIES,
        sources: ["sysinfo", "proc/self/mountinfo", "proc/diskstats"],
        settings: Settings,
    }
    const ENABLED: bool = cfg!(not(target_os = "linux"));
    // statvfs(2) on a file system whose server has gone.
    const MAY_BLOCK: bool = true;
    const MAY_BLOCK_WITH: Option<&'static str> = Some("filesystems");
    const OWN_DESCRIPTORS: bool = true;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Portable { settings, mounts: Mounts::new(host), sources: None })
    }

    fn may_block(settings: &Settings) -> bool {
        settings.filesystems
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let sources = match &mut self.sources {
            Some(sources) => sources,
            empty => empty.insert(Sources::new()?),
        };
        sources.push_cpu(batch);
        sources.push_memory(batch);
        let mut disks = Ok(());
        if self.settings.filesystems {
            if cfg!(target_os = "linux") {
                disks = self.mounts.push(push_space, &DISK_IO, batch);
            } else {
                sources.push_disks(batch);
            }
        }
        sources.push_networks(batch);
        sources.push_temperatures(batch);
        if let Some(load) = supported(System::load_average())? {
            batch.value(&LOAD_1M, load.one);
            batch.value(&LOAD_5M, load.five);
            batch.value(&LOAD_15M, load.fifteen);
        }
        if let Some(seconds) = supported(System::uptime())? {
            batch.value(&UPTIME, seconds);
        }
        disks
    }
}

/// What not every system has is left out where it is not.
fn supported<T>(answer: Result<T, sysinfo::Error>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(sysinfo::Error::Unsupported) => Ok(None),
        Err(sysinfo::Error::Io(error)) => Err(Error::from_io("sysinfo", error)),
        Err(sysinfo::Error::Other(error)) => {
            Err(Error::from_io("sysinfo", io::Error::other(error)))
        }
    }
}

impl Sources {
    fn new() -> Result<Self> {
        Ok(Sources {
            system: supported(System::new())?.ok_or_else(|| Error::absent("sysinfo"))?,
            disks: supported(Disks::new())?,
            networks: supported(Networks::new())?,
            components: supported(Components::new())?,
            first_look: None,
        })
    }

    fn push_cpu(&mut self, batch: &mut Batch) {
        // The first look has nothing to be compared with, and sysinfo takes no other one too soon
        // after it; it would say 0.
        let is_warm =
            self.first_look.is_some_and(|first| first.elapsed() >= MINIMUM_CPU_UPDATE_INTERVAL);
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        let is_same = self.has_same_cpus();
        let cpus = self.system.cpus();
        if is_warm && is_same {
            for cpu in cpus {
                let busy = (f64::from(cpu.usage()) / 100.0).clamp(0.0, 1.0);
                batch.row(&CPU_UTILIZATION, [cpu.name().as_bytes()], rounded(busy));
            }
        }
        if !cpus.is_empty() {
            batch.value(&CPU_COUNT, cpus.len());
        }
        self.first_look.get_or_insert_with(Instant::now);
    }

    /// Whether the CPUs are those of the last collection; if not, they are from now on.
    ///
    /// sysinfo takes each CPU for the one that was at its place in the list, so that after one has
    /// gone off line the next one gets its name and the difference of their times.
    fn has_same_cpus(&mut self) -> bool {
        let Ok(mut fresh) = System::new() else { return true };
        fresh.refresh_cpu_list(CpuRefreshKind::nothing().with_usage());
        let names = |system: &System| -> Vec<String> {
            system.cpus().iter().map(|cpu| cpu.name().to_owned()).collect()
        };
        let is_same = names(&fresh) == names(&self.system);
        if !is_same {
            self.system = fresh;
            self.first_look = None;
        }
        is_same
    }

    fn push_memory(&mut self, batch: &mut Batch) {
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        let system = &self.system;
        let total = system.total_memory();
        // On Linux sysinfo subtracts without a look: lxcfs has more memory available than there is.
        let used = if cfg!(target_os = "linux") {
            total.saturating_sub(system.available_memory())
        } else {
            system.used_memory()
        };
        let [used, free, reclaimable] = memory_states(total, system.free_memory(), used);
        batch.row(&MEMORY, [b"used"], used);
        batch.row(&MEMORY, [b"free"], free);
        batch.row(&MEMORY, [b"reclaimable"], reclaimable);
        batch.value(&MEMORY_LIMIT, total);
        let [used, free] = swap_states(system.total_swap(), system.free_swap());
        batch.row(&PAGING, [b"used"], used);
        batch.row(&PAGING, [b"free"], free);
    }

    fn push_disks(&mut self, batch: &mut Batch) {
        let Some(disks) = &mut self.disks else { return };
        let kind = DiskRefreshKind::nothing().with_storage().with_io_usage();
        disks.refresh_specifics(true, kind);
        // One device is listed once for each place it is mounted at, and one place once for each
        // file system mounted over it.
        let mut devices = HashSet::new();
        let mut places = HashSet::new();
        for disk in disks.iter() {
            if disk.total_space() > 0 && places.insert(disk.mount_point()) {
                let names = [
                    bytes(disk.name()),
                    bytes(disk.mount_point().as_os_str()),
                    bytes(disk.file_system()),
                ];
                push_space(names, disk.total_space(), disk.available_space(), batch);
            }
            let usage = disk.usage();
            let is_known = usage.total_read_bytes > 0 || usage.total_written_bytes > 0;
            if is_known && devices.insert(disk.name()) {
                let device = bytes(disk.name());
                batch.row(&DISK_IO, [device, b"read"], usage.total_read_bytes);
                batch.row(&DISK_IO, [device, b"write"], usage.total_written_bytes);
            }
        }
    }

    fn push_networks(&mut self, batch: &mut Batch) {
        let Some(networks) = &mut self.networks else { return };
        networks.refresh(true);
        // A hash map has another order whenever it grows, and each order would be a new shape.
        let mut networks: Vec<_> = networks.iter().collect();
        networks.sort_unstable_by_key(|(name, _)| *name);
        for (name, network) in networks {
            push_network(bytes(name), network, batch);
        }
    }

    fn push_temperatures(&mut self, batch: &mut Batch) {
        let Some(components) = &mut self.components else { return };
        components.refresh(true);
        let mut sensors: Vec<&Component> = components.iter().collect();
        sensors.sort_by_key(|sensor| (sensor.label(), sensor.id()));
        for same in sensors.chunk_by(|one, other| one.label() == other.label()) {
            for (number, sensor) in (1..).zip(same) {
                // Two disks of one model have sensors of one label.
                let label = match number {
                    1 => sensor.label().to_owned(),
                    _ => format!("{} #{number}", sensor.label()),
                };
                for (family, celsius) in [
                    (&TEMPERATURE, sensor.temperature()),
                    (&TEMPERATURE_CRITICAL, sensor.critical()),
                ] {
                    if let Some(celsius) = celsius.filter(|celsius| celsius.is_finite()) {
                        batch.row(family, [label.as_bytes()], rounded(f64::from(celsius)));
                    }
                }
            }
        }
    }
}

/// Device, mount point and type, and the bytes in all and for users.
fn push_space([device, place, kind]: [&[u8]; 3], size: u64, free: u64, batch: &mut Batch) {
    batch.row(&FILESYSTEM, [device, place, kind, b"used"], size.saturating_sub(free));
    batch.row(&FILESYSTEM, [device, place, kind, b"free"], free);
    batch.row(&FILESYSTEM_LIMIT, [device, place, kind], size);
}

fn push_network(device: &[u8], network: &NetworkData, batch: &mut Batch) {
    let receive = batch.labels([device, b"receive"]);
    batch.push(&NETWORK_IO, receive, network.total_received());
    batch.push(&NETWORK_PACKETS, receive, network.total_packets_received());
    batch.push(&NETWORK_ERRORS, receive, network.total_errors_on_received());
    let transmit = batch.labels([device, b"transmit"]);
    batch.push(&NETWORK_IO, transmit, network.total_transmitted());
    batch.push(&NETWORK_PACKETS, transmit, network.total_packets_transmitted());
    batch.push(&NETWORK_ERRORS, transmit, network.total_errors_on_transmitted());
}

/// Used, free and reclaimable memory, which together are all of it.
fn memory_states(total: u64, free: u64, used: u64) -> [u64; 3] {
    let used = used.min(total);
    let free = free.min(total - used);
    [used, free, total - used - free]
}

/// Swap space used and free, which together are all of it. In some containers less than nothing is
/// used: more is free than there is, by a few pages or by 16 EiB (lxcfs).
fn swap_states(total: u64, free: u64) -> [u64; 2] {
    let free = free.min(total);
    [total - free, free]
}

/// What an f32 holds, without the digits that only its conversion adds.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// On Unix the bytes as they are, on Windows those of UTF-8.
fn bytes(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn states_of_memory_add_up() {
        assert_eq!(memory_states(100, 20, 50), [50, 20, 30]);
        // A system that counts free memory as used, too, or reads the two at different times.
        assert_eq!(memory_states(100, 60, 50), [50, 50, 0]);
        assert_eq!(memory_states(100, 0, 150), [100, 0, 0]);
        assert_eq!(memory_states(0, 0, 0), [0, 0, 0]);
    }

    #[test]
    fn swap_in_use_is_never_below_zero() {
        assert_eq!(swap_states(100, 30), [70, 30]);
        assert_eq!(swap_states(100, 100), [0, 100]);
        assert_eq!(swap_states(100, 101), [0, 100]);
        assert_eq!(swap_states(0, u64::MAX), [0, 0]);
    }

    #[test]
    fn temperatures_are_written_as_they_were_read() {
        assert_eq!(rounded(f64::from(45.3_f32)), 45.3);
        assert_eq!(rounded(f64::from(-0.5_f32)), -0.5);
    }

    #[test]
    fn blocks_only_for_the_sake_of_file_systems() {
        assert!(Portable::may_block(&Settings { filesystems: true }));
        assert!(!Portable::may_block(&Settings { filesystems: false }));
    }

    /// Against this machine's own /proc, read directly before and after.
    #[cfg(target_os = "linux")]
    mod live {
        use super::*;
        use vitald_core::host::Roots;
        use vitald_core::settings::Node;

        /// One sample of a page.
        fn value(page: &str, series: &str) -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{series} is not on the page:\n{page}")).parse().unwrap()
        }

        fn read<'b>(host: &Host, path: &str, buffer: &'b mut Vec<u8>) -> &'b str {
            str::from_utf8(host.read(path, buffer).unwrap()).unwrap()
        }

        fn kilobytes(meminfo: &str, key: &str) -> f64 {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
        }

        /// Name, bytes received and bytes transmitted of each line of `proc/net/dev`.
        fn interfaces(text: &str) -> Vec<(String, f64, f64)> {
            text.lines()
                .skip(2)
                .map(|line| {
                    let (name, rest) = line.split_once(':').unwrap();
                    let numbers: Vec<f64> =
                        rest.split_whitespace().map(|field| field.parse().unwrap()).collect();
                    (name.trim().to_owned(), numbers[0], numbers[8])
                })
                .collect()
        }

        #[test]
        fn agrees_with_proc() {
            let host = Host::new(Roots::default());
            let (mut before, mut after) = (Vec::new(), Vec::new());
            let mut collector = open::<Portable>(&host, &[]);
            let (first, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert!(
                !render(&first).contains("utilization"),
                "there is nothing to compare with yet"
            );
            std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);

            let devices = interfaces(read(&host, "proc/net/dev", &mut before));
            let mut buffer = Vec::new();
            let first_uptime: f64 =
                read(&host, "proc/uptime", &mut buffer).split(' ').next().unwrap().parse().unwrap();
            let (batch, outcome) = run(&mut collector, Some(&first));
            outcome.unwrap();
            let page = render(&batch);
            refuse_undeclared::<Portable>(&batch);
            assert_eq!(batch.dropped(), Default::default(), "no series twice");

            let uptime = value(&page, "system_uptime_seconds");
            let last_uptime: f64 =
                read(&host, "proc/uptime", &mut buffer).split(' ').next().unwrap().parse().unwrap();
            assert!((first_uptime.floor()..=last_uptime).contains(&uptime), "{uptime}");

            let meminfo = read(&host, "proc/meminfo", &mut buffer);
            let total = kilobytes(meminfo, "MemTotal:");
            assert_eq!(value(&page, "system_memory_limit_bytes"), total);
            let state = |state: &str| {
                value(&page, &format!("system_memory_usage_bytes{{state=\"{state}\"}}"))
            };
            assert_eq!(state("used") + state("free") + state("reclaimable"), total);
            // Other tests and builds use memory meanwhile.
            let available = kilobytes(meminfo, "MemAvailable:");
            assert!((total - state("used") - available).abs() < total / 4.0);
            let swap = value(&page, "system_paging_usage_bytes{state=\"used\"}")
                + value(&page, "system_paging_usage_bytes{state=\"free\"}");
            assert_eq!(swap, kilobytes(meminfo, "SwapTotal:"));

            let load = read(&host, "proc/loadavg", &mut buffer);
            let averages: Vec<f64> =
                load.split(' ').take(3).map(|field| field.parse().unwrap()).collect();
            let names = ["1m", "5m", "15m"].map(|name| format!("system_cpu_load_average_{name}"));
            for (name, average) in names.iter().zip(averages) {
                assert!((value(&page, name) - average).abs() <= 1.0, "{name}");
            }

            let later = interfaces(read(&host, "proc/net/dev", &mut after));
            for (name, received, transmitted) in devices {
                let Some(last) = later.iter().find(|device| device.0 == name) else { continue };
                for (direction, least, most) in
                    [("receive", received, last.1), ("transmit", transmitted, last.2)]
                {
                    let series = format!(
                        "system_network_io_bytes_total{{device=\"{name}\",direction=\"{direction}\"}}"
                    );
                    let shown = value(&page, &series);
                    assert!((least..=most).contains(&shown), "{series} {shown}: {least} to {most}");
                }
            }

            let cpus = value(&page, "system_cpu_logical_count");
            let stat = read(&host, "proc/stat", &mut buffer);
            let lines =
                stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
            assert_eq!(cpus, lines.count() as f64);
            let busy: Vec<f64> = page
                .lines()
                .filter(|line| line.starts_with("system_cpu_utilization_ratio{"))
                .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
                .collect();
            assert_eq!(busy.len() as f64, cpus);
            assert!(busy.iter().all(|busy| (0.0..=1.0).contains(busy)));
        }

        #[test]
        fn file_systems_are_left_alone_without_the_setting() {
            let host = Host::new(Roots::default());
            let settings = [("filesystems", Node::Boolean(false))];
            let mut collector = open::<Portable>(&host, &settings);
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            let page = render(&batch);
            assert!(!page.contains("system_filesystem") && !page.contains("system_disk"));
            assert!(page.contains("system_memory_limit_bytes"));
        }

        #[test]
        fn shapes_settle() {
            let host = Host::new(Roots::default());
            let mut collector = open::<Portable>(&host, &[("filesystems", Node::Boolean(false))]);
            let (_, outcome) = run(&mut collector, None);
            outcome.unwrap();
            // An interface may come between two collections, but not between any two of them.
            let (mut last, _) = run(&mut collector, None);
            for _ in 0..1_000 {
                let (again, _) = run(&mut collector, Some(&last));
                if last.shape().id() == again.shape().id() {
                    return;
                }
                last = again;
            }
            panic!("the series never stay the same");
        }
    }
}
