//! Interrupts, context switches, forks and boot time, from `/proc/stat` (proc(5)).

use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Interrupts serviced since boot.
    INTERRUPTS: counter = "node_intr_total";
    /// Context switches since boot.
    CONTEXT_SWITCHES: counter = "node_context_switches_total";
    /// Processes and threads created since boot.
    FORKS: counter = "node_forks_total";
    /// When the system booted, in seconds since the epoch.
    BOOT_TIME: gauge = "node_boot_time_seconds";
    /// Tasks that run or wait for a CPU.
    RUNNING: gauge = "node_procs_running";
    /// Tasks that wait for disk.
    BLOCKED: gauge = "node_procs_blocked";
    /// Software interrupts handled since boot, by vector.
    SOFTIRQS: counter = "node_softirqs_total" [vector];
}

settings! {
    /// Show how often each vector of software interrupts was handled.
    softirq: bool = false;
}

register_collector!(Stat);

struct Stat {
    file: SharedFile,
    softirq: bool,
}

impl Collector for Stat {
    about! {
        name: "stat",
        summary: "Interrupts, context switches, forks and boot time",
        families: FAMILIES,
        sources: ["proc/stat"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Kernel",
        &[
            Curve::of("running", value("node_procs_running")),
            Curve::of("blocked", value("node_procs_blocked")),
            Curve::of("context switches", rate("node_context_switches_total")),
            Curve::of("interrupts", rate("node_intr_total")),
            Curve::of("forks", rate("node_forks_total")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Stat { file: host.shared_whole("proc/stat"), softirq: settings.softirq })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for line in lines(&self.file.read(batch.fresh_from())?) {
            let mut fields = Fields::new(line);
            let (family, kind) = match fields.next() {
                Some(b"softirq") if self.softirq => {
                    let counts = batch.tolerate(parse_softirq(line));
                    for (vector, count) in VECTORS.iter().zip(counts.iter().flatten()) {
                        batch.row(&SOFTIRQS, [vector.as_bytes()], *count);
                    }
                    continue;
                }
                Some(key) => match family_of(key) {
                    Some(found) => found,
                    None => continue,
                },
                None => continue,
            };
            if let Some(value) = batch.tolerate(parse_number(&mut fields, kind)) {
                batch.value(family, value);
            }
        }
        Ok(())
    }
}

/// The family of a line such as `ctxt 660017`, which may go on after its first number, and its type.
fn family_of(key: &[u8]) -> Option<(&'static Family<0>, Kind)> {
    Some(match key {
        b"intr" => (&INTERRUPTS, Kind::Counter),
        b"ctxt" => (&CONTEXT_SWITCHES, Kind::Counter),
        b"processes" => (&FORKS, Kind::Counter),
        b"btime" => (&BOOT_TIME, Kind::Gauge),
        b"procs_running" => (&RUNNING, Kind::Gauge),
        b"procs_blocked" => (&BLOCKED, Kind::Gauge),
        _ => return None,
    })
}

/// The vectors in the kernel's order. The kernel calls `block_iopoll` `IRQ_POLL` by now.
const VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

/// Takes the number of `ctxt 660017`, or the one meant by `processes -2045677862`.
///
/// Kernels of some vendors print what they count in 32 bits with a sign, so that a counter which
/// has gone past 2^31 reads as less than zero; it is the same number modulo 2^32. A number of tasks
/// that is summed over CPUs without a lock can be less than zero for a moment, and is shown as zero.
fn parse_number(fields: &mut Fields<'_>, kind: Kind) -> Result<u64, Malformed> {
    let start = fields.clone();
    let malformed = match fields.u64() {
        Ok(number) => return Ok(number),
        Err(malformed) => malformed,
    };
    *fields = start;
    match (fields.i64()?, kind) {
        (_, Kind::Gauge) => Ok(0),
        (number, _) => i32::try_from(number).map(|number| number as u32 as u64).or(Err(malformed)),
    }
}

/// Takes the counts after the sum in `softirq 225205 0 32131 6 6596 74811 0 151 59755 0 51755`.
fn parse_softirq(line: &[u8]) -> Result<[u64; 10], Malformed> {
    let mut fields = Fields::new(line);
    fields.pass(2);
    let mut counts = [0; 10];
    for count in &mut counts {
        *count = parse_number(&mut fields, Kind::Counter)?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const TEXT: &str = "\
cpu  18175 0 7907 321649 794 0 109 166 0 0
cpu0 7516 0 3210 163515 93 0 13 74 0 0
cpu1 10658 0 4696 158134 701 0 96 91 0 0
intr 395482 0 0 0 14 74812
ctxt 660017
btime 1795413128
processes 13157
procs_running 2
procs_blocked 1
softirq 225205 3 32131 6 6596 74811 4 151 59755 5 51755
";

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[("proc/stat", TEXT)]);
        check::<Stat>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_boot_time_seconds gauge
                node_boot_time_seconds 1.795413128e+09
                # node_context_switches_total counter
                node_context_switches_total 660017
                # node_forks_total counter
                node_forks_total 13157
                # node_intr_total counter
                node_intr_total 395482
                # node_procs_blocked gauge
                node_procs_blocked 1
                # node_procs_running gauge
                node_procs_running 2
            "#]],
        );
    }

    #[test]
    fn a_counter_that_is_printed_with_a_sign_is_the_number_meant() {
        let text = "intr -1 0 0\nctxt -2147483648\nprocesses -2045677862\nprocs_running -1\n\
                    procs_blocked 2\nbtime 1604900000\n\
                    softirq 5 -1 2 3 4 5 6 7 8 9 -2147483648\n";
        let host = MemoryHost::from_files(&[("proc/stat", text)]);
        let mut stat = open::<Stat>(&host.host(), &[("softirq", true.into())]);
        let (batch, outcome) = run(&mut stat, None);
        outcome.unwrap();
        assert_eq!(batch.malformed(), None);
        let page = render(&batch);
        for sample in [
            "node_intr_total 4.294967295e+09\n",
            "node_context_switches_total 2.147483648e+09\n",
            "node_forks_total 2.249289434e+09\n",
            "node_procs_running 0\n",
            "node_procs_blocked 2\n",
            "node_boot_time_seconds 1.6049e+09\n",
            "node_softirqs_total{vector=\"hi\"} 4.294967295e+09\n",
            "node_softirqs_total{vector=\"rcu\"} 2.147483648e+09\n",
        ] {
            assert!(page.contains(sample), "{sample}{page}");
        }
    }

    #[test]
    fn what_no_counter_can_be_costs_that_line() {
        let text = "intr -2147483649\nctxt -x\nprocesses --1\nprocs_running 3\n";
        let host = MemoryHost::from_files(&[("proc/stat", text)]);
        let (batch, outcome) = run(&mut open::<Stat>(&host.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(lines, _)| lines), Some(3));
        assert_eq!(render(&batch), "# node_procs_running gauge\nnode_procs_running 3\n");
    }

    #[test]
    fn softirqs_when_asked_for() {
        let host = MemoryHost::from_files(&[(
            "proc/stat",
            "softirq 225205 3 32131 6 6596 74811 4 151 59755 5 51755\n",
        )]);
        check::<Stat>(
            &host.host(),
            &[("softirq", true.into())],
            &expect![[r#"
                # node_softirqs_total counter
                node_softirqs_total{vector="hi"} 3
                node_softirqs_total{vector="timer"} 32131
                node_softirqs_total{vector="net_tx"} 6
                node_softirqs_total{vector="net_rx"} 6596
                node_softirqs_total{vector="block"} 74811
                node_softirqs_total{vector="block_iopoll"} 4
                node_softirqs_total{vector="tasklet"} 151
                node_softirqs_total{vector="sched"} 59755
                node_softirqs_total{vector="hrtimer"} 5
                node_softirqs_total{vector="rcu"} 51755
            "#]],
        );
    }

    #[test]
    fn an_odd_line_costs_that_line() {
        let text = "intr x\nctxt 5\nsoftirq 1 2\n\nprocesses\n";
        let host = MemoryHost::from_files(&[("proc/stat", text)]);
        let mut stat = open::<Stat>(&host.host(), &[("softirq", true.into())]);
        let (batch, outcome) = run(&mut stat, None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(3));
        expect![[r#"
            # node_context_switches_total counter
            node_context_switches_total 5
        "#]]
        .assert_eq(&render(&batch));
    }

    #[test]
    fn absent() {
        check_fails::<Stat>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/stat: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_softirq, &["", "softirq", "softirq 1 2 3", "softirq 9 1 2 3 4 5 6 7 8 9 x"]);
    }
}
