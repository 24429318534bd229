//! Work of each CPU on received packets, from `/proc/net/softnet_stat`.
//!
//! The kernel documents the columns in `softnet_seq_show` (net/core/net-procfs.c) alone.

use vitald_core::prelude::*;

families! {
    /// Packets that the CPU took off its queues.
    PROCESSED: counter = "node_softnet_processed_total" [cpu];
    /// Packets dropped because the CPU's backlog was full.
    DROPPED: counter = "node_softnet_dropped_total" [cpu];
    /// Times the CPU stopped with packets left, because its budget or its time was used up.
    TIMES_SQUEEZED: counter = "node_softnet_times_squeezed_total" [cpu];
    /// Times the CPU found a device's transmit lock taken; always 0 on today's kernels.
    CPU_COLLISION: counter = "node_softnet_cpu_collision_total" [cpu];
    /// Times another CPU woke this one to process packets (RPS).
    RECEIVED_RPS: counter = "node_softnet_received_rps_total" [cpu];
    /// Packets dropped by the flow limit.
    FLOW_LIMIT_COUNT: counter = "node_softnet_flow_limit_count_total" [cpu];
    /// Packets in the CPU's backlog now; 0 on an older kernel, which does not count them.
    BACKLOG_LEN: gauge = "node_softnet_backlog_len" [cpu];
}

register_collector!(Softnet);

struct Softnet {
    file: KeptFile,
}

impl Collector for Softnet {
    about! {
        name: "softnet",
        summary: "Packets processed and dropped by each CPU",
        families: FAMILIES,
        sources: ["proc/net/softnet_stat"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Softnet",
        &[
            Curve::of("processed", rate("node_softnet_processed_total")),
            Curve::of("dropped", rate("node_softnet_dropped_total")),
            Curve::of("out of time", rate("node_softnet_times_squeezed_total")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Softnet { file: host.keep_short_records("proc/net/softnet_stat") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut room = [0; 20];
        for (position, line) in lines(self.file.read()?).enumerate() {
            let Some(row) = batch.tolerate(parse_line(line)) else { continue };
            let cpu = text::decimal(row.cpu.unwrap_or(position as u64), &mut room);
            let labels = batch.labels([cpu]);
            batch.push(&PROCESSED, labels, row.processed);
            batch.push(&DROPPED, labels, row.dropped);
            batch.push(&TIMES_SQUEEZED, labels, row.times_squeezed);
            batch.push(&CPU_COLLISION, labels, row.cpu_collision);
            batch.push(&RECEIVED_RPS, labels, row.received_rps);
            batch.push(&FLOW_LIMIT_COUNT, labels, row.flow_limit_count);
            batch.push(&BACKLOG_LEN, labels, row.backlog_len);
        }
        Ok(())
    }
}

/// What one line says; a column that an older kernel does not have is 0.
#[derive(Debug)]
struct Row {
    processed: u64,
    dropped: u64,
    times_squeezed: u64,
    cpu_collision: u64,
    received_rps: u64,
    flow_limit_count: u64,
    backlog_len: u64,
    /// Without it CPUs are counted by their lines, which is wrong where one is off line.
    cpu: Option<u64>,
}

/// Takes the hexadecimal columns of `0000171b 00000000 00000000 00000000 00000000 00000000
/// 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000`.
///
/// There were 9 columns at first; then came one for RPS, one for the flow limit (Linux 4.18 has
/// these 11), two for the backlog and the CPU, and later ones that nothing here shows.
fn parse_line(line: &[u8]) -> Result<Row, Malformed> {
    let mut fields = Fields::new(line);
    let mut columns = [0; 13];
    let mut width = 0;
    for column in &mut columns {
        if width >= 9 && !fields.has_more() {
            break;
        }
        *column = fields.hex()?;
        width += 1;
    }
    let [processed, dropped, times_squeezed, .., cpu_collision, rps, flow, backlog, cpu] = columns;
    // The backlog and the CPU came together, so a twelfth column alone would be something else.
    let (backlog_len, cpu) = if width == 13 { (backlog, Some(cpu)) } else { (0, None) };
    Ok(Row {
        processed,
        dropped,
        times_squeezed,
        cpu_collision,
        received_rps: rps,
        flow_limit_count: flow,
        backlog_len,
        cpu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/softnet_stat";

    fn columns(count: usize) -> String {
        let columns: Vec<String> =
            (1..=count).map(|column| format!("{:08x}", 16 * column)).collect();
        columns.join(" ")
    }

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[(
            PATH,
            "00000015 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
             00000000 00000000 00000000 00000000 00000000 00000000\n\
             0000171b 00000029 0000000a 00000000 00000000 00000000 00000000 00000000 00000004 \
             00000003 00000002 000000dc 00000002 00000000 00000000\n",
        )]);
        check::<Softnet>(
            &host.host(),
            &[],
            &expect![[r##"
            # node_softnet_backlog_len gauge
            node_softnet_backlog_len{cpu="0"} 0
            node_softnet_backlog_len{cpu="2"} 220
            # node_softnet_cpu_collision_total counter
            node_softnet_cpu_collision_total{cpu="0"} 0
            node_softnet_cpu_collision_total{cpu="2"} 4
            # node_softnet_dropped_total counter
            node_softnet_dropped_total{cpu="0"} 0
            node_softnet_dropped_total{cpu="2"} 41
            # node_softnet_flow_limit_count_total counter
            node_softnet_flow_limit_count_total{cpu="0"} 0
            node_softnet_flow_limit_count_total{cpu="2"} 2
            # node_softnet_processed_total counter
            node_softnet_processed_total{cpu="0"} 21
            node_softnet_processed_total{cpu="2"} 5915
            # node_softnet_received_rps_total counter
            node_softnet_received_rps_total{cpu="0"} 0
            node_softnet_received_rps_total{cpu="2"} 3
            # node_softnet_times_squeezed_total counter
            node_softnet_times_squeezed_total{cpu="0"} 0
            node_softnet_times_squeezed_total{cpu="2"} 10
        "##]],
        );
    }

    #[test]
    fn older_kernels_have_fewer_columns() {
        let summary = |width| {
            let row = parse_line(columns(width).as_bytes()).expect("a line of an older kernel");
            let Row { cpu_collision, received_rps, flow_limit_count, backlog_len, cpu, .. } = row;
            (cpu_collision, received_rps, flow_limit_count, backlog_len, cpu)
        };
        assert_eq!(summary(9), (0x90, 0, 0, 0, None));
        assert_eq!(summary(10), (0x90, 0xa0, 0, 0, None));
        assert_eq!(summary(11), (0x90, 0xa0, 0xb0, 0, None));
        assert_eq!(summary(12), (0x90, 0xa0, 0xb0, 0, None));
        assert_eq!(summary(13), (0x90, 0xa0, 0xb0, 0xc0, Some(0xd0)));
        assert_eq!(summary(15), (0x90, 0xa0, 0xb0, 0xc0, Some(0xd0)));
    }

    #[test]
    fn lines_count_where_no_column_says_the_cpu() {
        let text = format!("{}\nodd\n{}\n", columns(11), columns(11));
        let host = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<Softnet>(&host.host(), &[]), None);
        outcome.expect("one odd line is tolerated");
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
        let page = render(&batch);
        assert!(page.contains("node_softnet_processed_total{cpu=\"0\"} 16\n"), "{page}");
        assert!(page.contains("node_softnet_processed_total{cpu=\"2\"} 16\n"), "{page}");
    }

    #[test]
    fn an_absent_file_is_an_error() {
        check_fails::<Softnet>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/softnet_stat: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_lines() {
        let short = columns(8);
        let odd = columns(12) + " x";
        rejects(parse_line, &["", "00000001", &short, &odd, "g 0 0 0 0 0 0 0 0"]);
    }
}
