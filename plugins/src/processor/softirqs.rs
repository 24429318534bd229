//! Soft interrupts of each CPU by kind, from `/proc/softirqs` (fs/proc/softirqs.c).

use vitald_core::prelude::*;
use vitald_core::text::decimal;

families! {
    /// Soft interrupts that a CPU has handled, by kind.
    FUNCTIONS: counter = "node_softirqs_functions_total" [cpu, type];
}

/// The kinds that node_exporter shows, which are all that Linux has had since 4.5.
const KINDS: [&[u8]; 10] = [
    b"HI",
    b"TIMER",
    b"NET_TX",
    b"NET_RX",
    b"BLOCK",
    b"IRQ_POLL",
    b"TASKLET",
    b"SCHED",
    b"HRTIMER",
    b"RCU",
];

register_collector!(Softirqs);

struct Softirqs {
    file: KeptFile,
}

impl Collector for Softirqs {
    about! {
        name: "softirqs",
        summary: "Soft interrupts of each CPU, by kind",
        families: FAMILIES,
        sources: ["proc/softirqs"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Softirqs { file: host.keep_whole("proc/softirqs") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut lines = lines(self.file.read()?);
        // The first line names the CPUs, which are all that the kernel could ever have.
        lines.next();
        while let Some(line) = lines.next() {
            let Some((kind, counts)) = text::split_once(line, b':') else { continue };
            let kind = text::trim(kind);
            if !KINDS.contains(&kind) {
                continue;
            }
            let offset = lines.offset() + line.len() - counts.len();
            let mut counts = Fields::new(counts);
            for cpu in 0.. {
                if !counts.has_more() {
                    break;
                }
                let count = counts.u64().map_err(|wrong| wrong.moved_by(offset));
                let Some(count) = batch.tolerate(count) else { break };
                batch.row(&FUNCTIONS, [decimal(cpu, &mut [0; 20]), kind], count);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/softirqs";

    #[test]
    fn golden() {
        let text = "                    CPU0       CPU1       \n\
                    \x20         HI:          0          4\n\
                    \x20      TIMER:     478435     531580\n\
                    \x20   IRQ_POLL:          0          0\n";
        check::<Softirqs>(
            &MemoryHost::from_files(&[(PATH, text)]).host(),
            &[],
            &expect![[r#"
                # node_softirqs_functions_total counter
                node_softirqs_functions_total{cpu="0",type="HI"} 0
                node_softirqs_functions_total{cpu="1",type="HI"} 4
                node_softirqs_functions_total{cpu="0",type="TIMER"} 478435
                node_softirqs_functions_total{cpu="1",type="TIMER"} 531580
                node_softirqs_functions_total{cpu="0",type="IRQ_POLL"} 0
                node_softirqs_functions_total{cpu="1",type="IRQ_POLL"} 0
            "#]],
        );
    }

    #[test]
    fn odd_lines_and_unknown_kinds_are_left_out() {
        let text = " CPU0 CPU1\n HI: 1 x 3\n NEW: 1 2\nRCU\n RCU:\n RCU: 5\n";
        let (batch, outcome) =
            run(&mut open::<Softirqs>(&MemoryHost::from_files(&[(PATH, text)]).host(), &[]), None);
        outcome.unwrap();
        expect![[r#"
            # node_softirqs_functions_total counter
            node_softirqs_functions_total{cpu="0",type="HI"} 1
            node_softirqs_functions_total{cpu="0",type="RCU"} 5
        "#]]
        .assert_eq(&render(&batch));
        assert_eq!(batch.malformed(), Some((1, Malformed::new(18, "a number"))));
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Softirqs>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/softirqs: not on this host"],
            &expect![""],
        );
    }
}
