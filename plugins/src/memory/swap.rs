//! Each swap device and swap file, from `/proc/swaps` (proc_swaps(5)).

use vitald_core::prelude::*;

families! {
    /// Size of a swap device or file, in bytes.
    SIZE: gauge = "node_swap_size_bytes" [device, swap_type];
    /// Space in use on a swap device or file, in bytes.
    USED: gauge = "node_swap_used_bytes" [device, swap_type];
    /// Priority of a swap device or file; the highest one is filled first.
    PRIORITY: gauge = "node_swap_priority" [device, swap_type];
}

register_collector!(Swap);

struct Swap {
    file: KeptFile,
}

impl Collector for Swap {
    about! {
        name: "swap",
        summary: "Space on each swap device and swap file",
        families: FAMILIES,
        sources: ["proc/swaps"],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Swap { file: host.keep("proc/swaps") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut lines = lines(self.file.read()?);
        lines.next();
        while let Some(line) = lines.next() {
            let parsed = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()));
            let Some((device, kind, [size, used, priority])) = batch.tolerate(parsed) else {
                continue;
            };
            let labels = batch.labels([device, kind]);
            batch.push(&SIZE, labels, size.saturating_mul(1024));
            batch.push(&USED, labels, used.saturating_mul(1024));
            batch.push(&PRIORITY, labels, priority);
        }
        Ok(())
    }
}

/// Takes all of
/// `/dev/zram0                              partition       8388604         76              100`.
///
/// Blanks of a file's name are escaped (`\040`) and stay so, as in node_exporter.
fn parse_line(line: &[u8]) -> Result<(&[u8], &[u8], [i64; 3]), Malformed> {
    let mut fields = Fields::new(line);
    let (device, kind) = (fields.text()?, fields.text()?);
    Ok((device, kind, [fields.i64()?, fields.i64()?, fields.i64()?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/swaps";
    const HEAD: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn golden() {
        let text = [
            HEAD,
            "/dev/dm-1                               partition\t4194300\t\t76\t\t-2\n",
            "/swap\\040file                           file\t\t1048572\t\t0\t\t100\n",
        ];
        check::<Swap>(
            &MemoryHost::from_files(&[(PATH, &text.concat())]).host(),
            &[],
            &expect![[r#"
                # node_swap_priority gauge
                node_swap_priority{device="/dev/dm-1",swap_type="partition"} -2
                node_swap_priority{device="/swap\\040file",swap_type="file"} 100
                # node_swap_size_bytes gauge
                node_swap_size_bytes{device="/dev/dm-1",swap_type="partition"} 4.2949632e+09
                node_swap_size_bytes{device="/swap\\040file",swap_type="file"} 1.073737728e+09
                # node_swap_used_bytes gauge
                node_swap_used_bytes{device="/dev/dm-1",swap_type="partition"} 77824
                node_swap_used_bytes{device="/swap\\040file",swap_type="file"} 0
            "#]],
        );
    }

    #[test]
    fn swap_that_is_switched_off_and_on() {
        let memory = MemoryHost::from_files(&[(PATH, HEAD)]);
        let mut collector = open::<Swap>(&memory.host(), &[]);
        let (none, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert!(none.is_empty());
        memory.write(PATH, [HEAD, "/dev/sda2 partition 8 0 -2\n"].concat());
        assert_eq!(run(&mut collector, Some(&none)).0.len(), 3);
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let text = [HEAD, "/dev/sda2 partition 8\n/dev/sdb2 partition 8 0 -2\n"].concat();
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<Swap>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.malformed(), Some((1, Malformed::new(HEAD.len() + 21, "a number"))));
    }

    /// The kernel was built without CONFIG_SWAP.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Swap>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/swaps: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_line, &["", "/a", "/a file", "/a file 1 2", "/a file x 2 3"]);
    }
}
