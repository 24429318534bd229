//! Free blocks of memory by size, from `/proc/buddyinfo` (Documentation/filesystems/proc.rst).

use vitald_core::prelude::*;
use vitald_core::text::decimal;

families! {
    /// Free blocks of 2 to the power of `size` pages in a zone of a node.
    BLOCKS: gauge = "node_buddyinfo_blocks" [node, zone, size];
}

register_collector!(Buddyinfo);

struct Buddyinfo {
    file: KeptFile,
}

impl Collector for Buddyinfo {
    about! {
        name: "buddyinfo",
        summary: "Free blocks of memory, by size",
        families: FAMILIES,
        sources: ["proc/buddyinfo"],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Buddyinfo { file: host.keep_short_records("proc/buddyinfo") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut lines = lines(self.file.read()?);
        while let Some(line) = lines.next() {
            let parsed = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()));
            let Some((node, zone, mut counts)) = batch.tolerate(parsed) else { continue };
            for size in 0.. {
                if counts.rest().is_empty() {
                    break;
                }
                let count = counts.f64().map_err(|wrong| wrong.moved_by(lines.offset()));
                let Some(count) = batch.tolerate(count) else { break };
                batch.row(&BLOCKS, [node, zone, decimal(size, &mut [0; 20])], count);
            }
        }
        Ok(())
    }
}

/// Takes node, zone and the counts that follow of
/// `Node 0, zone    DMA32    366    283    240    128     90     60     49     52     42     41    684`.
fn parse_line(line: &[u8]) -> Result<(&[u8], &[u8], Fields<'_>), Malformed> {
    let mut fields = Fields::new(line);
    if fields.text()? != b"Node" {
        return Err(Malformed::new(0, "a node"));
    }
    let node = fields.text()?;
    let node = node.strip_suffix(b",").unwrap_or(node);
    let zone = fields.pass(1).text()?;
    Ok((node, zone, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/buddyinfo";

    #[test]
    fn golden() {
        let text = "Node 0, zone    DMA32    366    283    240 \n\
                    Node 0, zone   Normal  20176   6860      0 \n\
                    Node 1, zone   Normal      7     16      5 \n";
        check::<Buddyinfo>(
            &MemoryHost::from_files(&[(PATH, text)]).host(),
            &[],
            &expect![[r#"
                # node_buddyinfo_blocks gauge
                node_buddyinfo_blocks{node="0",zone="DMA32",size="0"} 366
                node_buddyinfo_blocks{node="0",zone="DMA32",size="1"} 283
                node_buddyinfo_blocks{node="0",zone="DMA32",size="2"} 240
                node_buddyinfo_blocks{node="0",zone="Normal",size="0"} 20176
                node_buddyinfo_blocks{node="0",zone="Normal",size="1"} 6860
                node_buddyinfo_blocks{node="0",zone="Normal",size="2"} 0
                node_buddyinfo_blocks{node="1",zone="Normal",size="0"} 7
                node_buddyinfo_blocks{node="1",zone="Normal",size="1"} 16
                node_buddyinfo_blocks{node="1",zone="Normal",size="2"} 5
            "#]],
        );
    }

    #[test]
    fn odd_lines_are_left_out() {
        let text = "Node\nZone 0, zone DMA 1\nNode 0, zone DMA 1 x 3\nNode 0, zone Normal\n";
        let memory = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Buddyinfo>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.malformed(), Some((3, Malformed::new(4, "a field"))));
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Buddyinfo>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/buddyinfo: not on this host"],
            &expect![""],
        );
    }
}
