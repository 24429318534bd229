//! How long tasks ran on each CPU and waited for it, from `/proc/schedstat`
//! (Documentation/scheduler/sched-stats.rst).

use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// Time that tasks ran on a CPU, in seconds.
    RUNNING: counter = "node_schedstat_running_seconds_total" [cpu];
    /// Time that tasks which could run waited for a CPU, in seconds.
    WAITING: counter = "node_schedstat_waiting_seconds_total" [cpu];
    /// Times that a task was put on a CPU.
    TIMESLICES: counter = "node_schedstat_timeslices_total" [cpu];
}

const NANOSECONDS: f64 = 1e9;

register_collector!(Schedstat);

struct Schedstat {
    file: KeptFile,
    /// A kernel has the file or not, whatever happens.
    events: DeviceEvents,
}

impl Collector for Schedstat {
    about! {
        name: "schedstat",
        summary: "How long tasks ran on each CPU and waited for it",
        families: FAMILIES,
        sources: ["proc/schedstat", "sys/kernel/uevent_seqnum"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Scheduler",
        &[
            Curve::of("running", rate("node_schedstat_running_seconds_total")),
            Curve::of("waiting", rate("node_schedstat_waiting_seconds_total")),
            Curve::of("time slices", rate("node_schedstat_timeslices_total")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Schedstat { file: host.keep("proc/schedstat"), events: host.device_events() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let mut lines = lines(self.file.under(number).read()?);
        while let Some(line) = lines.next() {
            // Below each CPU are lines of its domains.
            let Some(number) = line.strip_prefix(b"cpu") else { continue };
            let parsed = parse(number).map_err(|wrong| wrong.moved_by(lines.offset() + 3));
            let Some((cpu, [running, waiting, timeslices])) = batch.tolerate(parsed) else {
                continue;
            };
            let labels = batch.labels([cpu]);
            batch.push(&RUNNING, labels, running as f64 / NANOSECONDS);
            batch.push(&WAITING, labels, waiting as f64 / NANOSECONDS);
            batch.push(&TIMESLICES, labels, timeslices);
        }
        Ok(())
    }
}

/// Takes the number and the last three of the nine columns of
/// `0 498494191 0 3533438552 2553969831 3853684107 2465731542 2045936778163039 343796328169361 4767485306`,
/// which follows `cpu` in every version of the file from 10 to 17.
fn parse(line: &[u8]) -> Result<(&[u8], [u64; 3]), Malformed> {
    let mut fields = Fields::new(line);
    let cpu = fields.text()?;
    if !cpu.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::new(0, "the number of a CPU"));
    }
    let running = fields.pass(6).u64()?;
    Ok((cpu, [running, fields.u64()?, fields.u64()?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/schedstat";

    /// Version 17 has names of domains, and more columns in their lines.
    const TEXT: &str = "\
version 17
timestamp 4295892217
cpu0 0 0 6914720 3078110 3601238 1865710 1499502870519 83402916241 3830391
domain0 SMT 00000000,00000003 1 2 3 4 5 6 7 8 9 10 11
cpu11 0 0 1 1 1 1 500000000 2500000000 12
domain0 MC 00000000,00000c00 1 2 3 4 5 6 7 8 9 10 11
";

    #[test]
    fn golden() {
        check::<Schedstat>(
            &MemoryHost::from_files(&[(PATH, TEXT)]).host(),
            &[],
            &expect![[r#"
                # node_schedstat_running_seconds_total counter
                node_schedstat_running_seconds_total{cpu="0"} 1499.502870519
                node_schedstat_running_seconds_total{cpu="11"} 0.5
                # node_schedstat_timeslices_total counter
                node_schedstat_timeslices_total{cpu="0"} 3.830391e+06
                node_schedstat_timeslices_total{cpu="11"} 12
                # node_schedstat_waiting_seconds_total counter
                node_schedstat_waiting_seconds_total{cpu="0"} 83.402916241
                node_schedstat_waiting_seconds_total{cpu="11"} 2.5
            "#]],
        );
    }

    #[test]
    fn a_bad_line_costs_that_cpu() {
        let text = "cpu0 0 0 1 1 1 1 x 2 3\ncpu 1\ncpu1 0 0 1 1 1 1 1 2 3\n";
        let memory = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Schedstat>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.malformed(), Some((2, Malformed::new(17, "a number"))));
    }

    /// A record of a host with many CPUs is longer than half a page.
    #[test]
    fn long_records_are_not_cut() {
        let domain = format!("domain0 {}\n", "00000000,".repeat(400));
        let text: String =
            (0..8).map(|cpu| format!("cpu{cpu} 0 0 1 1 1 1 1 2 3\n{domain}")).collect();
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<Schedstat>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 24);
    }

    /// The kernel was built without CONFIG_SCHEDSTATS.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Schedstat>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/schedstat: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse,
            &["", "0", "0 1 2 3 4 5 6 7 8", "x 1 2 3 4 5 6 7 8 9", "0 1 2 3 4 5 6 7 8 -9"],
        );
    }
}
