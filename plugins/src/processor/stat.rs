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
    const NAME: &'static str = "stat";
    const SUMMARY: &'static str = "Interrupts, context switches, forks and boot time";
    const SINCE: Since = Since::Boot;
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    const SOURCES: &'static [&'static str] = &["proc/stat"];
    type Settings = Settings;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Stat { file: host.shared_whole("proc/stat"), softirq: settings.softirq })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for line in lines(&self.file.read(batch.fresh_from())?) {
            let mut fields = Fields::new(line);
            let family = match fields.next() {
                Some(b"softirq") if self.softirq => {
                    let counts = batch.tolerate(parse_softirq(line));
                    for (vector, count) in VECTORS.iter().zip(counts.iter().flatten()) {
                        batch.row(&SOFTIRQS, [vector.as_bytes()], *count);
                    }
                    continue;
                }
                Some(key) => family_of(key),
                None => continue,
            };
            if let Some(family) = family
                && let Some(value) = batch.tolerate(fields.u64())
            {
                batch.value(family, value);
            }
        }
        Ok(())
    }
}

/// The family of a line such as `ctxt 660017`, which may go on after its first number.
fn family_of(key: &[u8]) -> Option<&'static Family<0>> {
    Some(match key {
        b"intr" => &INTERRUPTS,
        b"ctxt" => &CONTEXT_SWITCHES,
        b"processes" => &FORKS,
        b"btime" => &BOOT_TIME,
        b"procs_running" => &RUNNING,
        b"procs_blocked" => &BLOCKED,
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

/// Takes the counts after the sum in `softirq 225205 0 32131 6 6596 74811 0 151 59755 0 51755`.
fn parse_softirq(line: &[u8]) -> Result<[u64; 10], Malformed> {
    let mut fields = Fields::new(line);
    fields.pass(2);
    let mut counts = [0; 10];
    for count in &mut counts {
        *count = fields.u64()?;
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
