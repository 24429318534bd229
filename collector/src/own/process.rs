//! What the kernel says of the daemon's own process: the families that every Prometheus client
//! library has.
//!
//! It is an internal collector, so that its files are read where those of the other collectors
//! are, where the watch looks after the thread.

use crate::plan::CollectorPlan;
use rustix::process::Resource;
use vitald_core::collector::Descriptor;
use vitald_core::host::{Children, Clock, Roots, clock_time};
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// CPU time this daemon has used, in seconds.
    CPU: counter = "process_cpu_seconds_total";
    /// Memory this daemon has resident, in bytes.
    RESIDENT: gauge = "process_resident_memory_bytes";
    /// Address space of this daemon, in bytes.
    VIRTUAL: gauge = "process_virtual_memory_bytes";
    /// Address space this daemon may have, in bytes.
    VIRTUAL_MAX: gauge = "process_virtual_memory_max_bytes" unit(Bytes);
    /// When this daemon started, in seconds since the epoch.
    START: gauge = "process_start_time_seconds";
    /// Descriptors this daemon has open.
    OPEN_FDS: gauge = "process_open_fds";
    /// Descriptors this daemon may have open.
    MAX_FDS: gauge = "process_max_fds";
    /// Bytes that this daemon's network namespace has received by IP.
    RECEIVED: counter = "process_network_receive_bytes_total";
    /// Bytes that this daemon's network namespace has sent by IP.
    SENT: counter = "process_network_transmit_bytes_total";
}

/// By how many seconds a clock is off that has been set; adjusting it in small steps moves it by less.
const CLOCK_IS_SET: f64 = 1.0;

/// It is not in the registry: no configuration names it.
pub static PROCESS: Descriptor = Descriptor::of::<Process>();

/// What the engine is given to run it.
pub fn plan() -> CollectorPlan {
    let settings = Table::at(format!("collectors.{}", PROCESS.name));
    let prepared = (PROCESS.prepare)(&settings, &mut Mistakes::new());
    CollectorPlan {
        descriptor: &PROCESS,
        prepared: prepared.expect("it has no settings that could be wrong").into(),
        enabled: true,
        interval: None,
        max_series: 0,
    }
}

struct Process {
    stat: KeptFile,
    netstat: SharedFile,
    processes: Children,
    host: Host,
    /// When the system booted, in seconds since the epoch.
    boot_time: f64,
    max_fds: f64,
    max_virtual: f64,
}

impl Collector for Process {
    const NAME: &'static str = "process";
    const SUMMARY: &'static str = "The daemon's own process";
    const INTERNAL: bool = true;
    const SINCE: Since = Since::Source;
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    const SOURCES: &'static [&'static str] =
        &["proc/self/stat", "proc/self/fd", "proc/net/netstat"];
    type Settings = ();

    /// It reads the real `/proc` whatever `[paths]` says, because the daemon is a process of its
    /// own machine, not of the host that it reports on.
    fn open((): (), _: &Host) -> Result<Self> {
        Ok(Process::on(Host::new(Roots::default())))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        batch.value(&MAX_FDS, self.max_fds);
        batch.value(&VIRTUAL_MAX, self.max_virtual);
        if let Ok(open) = self.open_descriptors() {
            batch.value(&OPEN_FDS, open);
        }
        let ticks = self.host.ticks_per_second();
        let page = self.host.page_size() as f64;
        if let Some(stat) = batch.tolerate(parse_stat(self.stat.read()?)) {
            batch.value(&CPU, stat.user.saturating_add(stat.system) as f64 / ticks);
            batch.value(&RESIDENT, stat.resident_pages as f64 * page);
            batch.value(&VIRTUAL, stat.address_space);
            self.follow_clock(boot_time(&self.host));
            batch.value(&START, self.boot_time + stat.start as f64 / ticks);
        }
        if let Ok(netstat) = self.netstat.read(batch.fresh_from()) {
            let (received, sent) = parse_octets(&netstat);
            batch.value(&RECEIVED, received);
            batch.value(&SENT, sent);
        }
        Ok(())
    }
}

impl Process {
    fn on(host: Host) -> Self {
        let limit = |resource| rustix::process::getrlimit(resource).current;
        let (max_fds, max_virtual) = (limit(Resource::Nofile), limit(Resource::As));
        Process {
            max_fds: max_fds.map_or(f64::INFINITY, |limit| limit as f64),
            // No limit is the greatest number, as the kernel has it and node_exporter shows it.
            max_virtual: max_virtual.unwrap_or(u64::MAX) as f64,
            stat: host.keep_whole("proc/self/stat"),
            // It costs the kernel more than all else here. The collector netstat reads it, too.
            netstat: host.shared_whole("proc/net/netstat"),
            processes: host.children("proc"),
            boot_time: boot_time(&host),
            host,
        }
    }

    /// The system booted at another time when its clock has been set since. What the clock is adjusted by moves nothing: to
    /// those who read it another start is another process.
    fn follow_clock(&mut self, boot_time: f64) {
        if (boot_time - self.boot_time).abs() >= CLOCK_IS_SET {
            self.boot_time = boot_time;
        }
    }

    /// Since Linux 6.2 the size of `/proc/self/fd` is the number of descriptors; before, the
    /// directory is listed, and what lists it is among them, as in node_exporter.
    fn open_descriptors(&mut self) -> std::io::Result<u64> {
        self.processes.descriptors(b"self")
    }
}

/// When the system booted, in seconds since the epoch and to a hundredth, which is how exact the
/// start of a process is known (`btime` of `/proc/stat` is the same without the fraction).
fn boot_time(host: &Host) -> f64 {
    let since_boot = clock_time(Clock::Boottime).unwrap_or_default();
    ((host.now().as_secs_f64() - since_boot.as_secs_f64()) * 100.0).round() / 100.0
}

struct Stat {
    /// In ticks, as the next two.
    user: u64,
    system: u64,
    /// Since the system booted.
    start: u64,
    /// In bytes.
    address_space: u64,
    resident_pages: u64,
}

/// Fields 14, 15, 22, 23 and 24 of `1234 (vitald) S 1 ...` (proc_pid_stat(5)).
fn parse_stat(text: &[u8]) -> Result<Stat, Malformed> {
    // The name may hold spaces and parentheses; the last one ends it.
    let end = text.iter().rposition(|byte| *byte == b')').map_or(0, |end| end + 1);
    let mut fields = Fields::new(&text[end..]);
    fields.pass(11);
    let (user, system) = (fields.u64()?, fields.u64()?);
    fields.pass(6);
    let (start, address_space) = (fields.u64()?, fields.u64()?);
    Ok(Stat { user, system, start, address_space, resident_pages: fields.u64()? })
}

/// `InOctets` and `OutOctets` of the lines `IpExt: InNoRoutes InTruncatedPkts ...` and `IpExt: 0 0 ...`
/// (proc_pid_net(5)); 0 where they are not there, as in node_exporter.
fn parse_octets(text: &[u8]) -> (u64, u64) {
    let mut of_ip = lines(text).filter(|line| line.starts_with(b"IpExt:"));
    let (names, values) = (of_ip.next().unwrap_or_default(), of_ip.next().unwrap_or_default());
    let (mut names, mut values) = (Fields::new(names), Fields::new(values));
    let (mut received, mut sent) = (0, 0);
    while let (Some(name), Some(value)) = (names.next(), values.next()) {
        let octets = match name {
            b"InOctets" => &mut received,
            b"OutOctets" => &mut sent,
            _ => continue,
        };
        *octets = parse_u64(value).unwrap_or(0);
    }
    (received, sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    use vitald_core::run::Run;
    use vitald_core::testing::MemoryHost;

    const STAT: &str = "7 (a) b (c) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 4 0 300 \
                        123456789 1000 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0\n";

    fn value(process: &mut Process, name: &str) -> Option<f64> {
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        process.collect(run.batch()).expect("it reads itself");
        run.seal();
        let found = run.samples().find(|(series, _)| series.family_name() == name.as_bytes());
        found.map(|(_, value)| value)
    }

    #[test]
    fn the_name_may_hold_anything() {
        let stat = parse_stat(STAT.as_bytes()).expect("it is valid");
        assert_eq!((stat.user, stat.system, stat.start), (150, 50, 300));
        assert_eq!((stat.address_space, stat.resident_pages), (123_456_789, 1000));
        assert!(parse_stat(b"7 (x").is_err() && parse_stat(b"").is_err());
    }

    #[test]
    fn times_beyond_all_reason_are_no_panic() {
        let memory = MemoryHost::new();
        memory.write("proc/self/stat", STAT.replace("150 50", "18446744073709551615 1"));
        let cpu = value(&mut Process::on(memory.host()), "process_cpu_seconds_total");
        assert!(cpu > Some(1e17), "{cpu:?}");
    }

    #[test]
    fn the_start_moves_with_a_clock_that_is_set() {
        let memory = MemoryHost::new();
        memory.write("proc/self/stat", STAT);
        let mut process = Process::on(memory.host());
        let boot = process.boot_time;
        for (by_clock, taken) in [(0.9, 0.0), (3600.0, 3600.0), (3599.5, 3600.0), (-1e9, -1e9)] {
            process.follow_clock(boot + by_clock);
            assert_eq!(process.boot_time, boot + taken, "{by_clock}");
        }
        memory.set_now(Duration::from_secs(3600));
        let start = value(&mut process, "process_start_time_seconds").expect("a start");
        let since_boot = clock_time(Clock::Boottime).expect("a clock").as_secs_f64();
        assert!((start - (3603.0 - since_boot)).abs() < 60.0, "{start}");
    }

    #[test]
    fn what_the_network_namespace_moved_is_of_the_process() {
        let memory = MemoryHost::new();
        memory.write("proc/self/stat", STAT);
        let mut process = Process::on(memory.host());
        let received = "process_network_receive_bytes_total";
        assert_eq!(value(&mut process, received), None);
        let text = "TcpExt: SyncookiesSent InOctets\nTcpExt: 7 8\n\
                    IpExt: InNoRoutes InOctets OutOctets\nIpExt: 1 23 18446744073709551615\n";
        memory.write("proc/net/netstat", text);
        assert_eq!(value(&mut process, received), Some(23.0));
        let sent = value(&mut process, "process_network_transmit_bytes_total");
        assert_eq!(sent, Some(u64::MAX as f64));
        for text in
            ["", "IpExt: InOctets\n", "IpExt: InOctets\nIpExt:\n", "IpExt: InOctets\nIpExt: x\n"]
        {
            memory.write("proc/net/netstat", text);
            assert_eq!(value(&mut process, received), Some(0.0), "{text}");
        }
    }

    #[test]
    fn a_kernel_before_6_2_has_its_descriptors_listed() {
        // In memory a directory has no size, as on such a kernel.
        let memory = MemoryHost::new();
        memory.write("proc/self/stat", STAT);
        for descriptor in 0..5 {
            memory.write(format!("proc/self/fd/{descriptor}"), "");
        }
        assert_eq!(value(&mut Process::on(memory.host()), "process_open_fds"), Some(5.0));
    }

    #[test]
    fn this_process_has_started_and_has_files_open() {
        let mut process = Process::open((), &MemoryHost::new().host()).expect("it opens");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let start = value(&mut process, "process_start_time_seconds").expect("it is there");
        assert!(start < now.as_secs_f64() + 1.0 && start > now.as_secs_f64() - 3600.0, "{start}");
        let file = std::fs::File::open("/dev/null").expect("it opens");
        assert!(value(&mut process, "process_open_fds") >= Some(4.0));
        drop(file);
    }
}
