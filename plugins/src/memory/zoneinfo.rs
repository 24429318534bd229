//! Zones of memory, from `/proc/zoneinfo` (Documentation/admin-guide/sysctl/vm.rst; zoneinfo_show_print
//! in mm/vmstat.c).

use vitald_core::family::Family;
use vitald_core::number::parse_i64;
use vitald_core::prelude::*;
use vitald_core::text::{decimal, sections};

families! {
    /// Free pages in a zone.
    NR_FREE: gauge = "node_zoneinfo_nr_free_pages" [node, zone];
    /// Free pages below which a zone is kept for the kernel's emergencies.
    MIN: gauge = "node_zoneinfo_min_pages" [node, zone];
    /// Free pages below which a zone is reclaimed in the background.
    LOW: gauge = "node_zoneinfo_low_pages" [node, zone];
    /// Free pages above which reclaim of a zone ends.
    HIGH: gauge = "node_zoneinfo_high_pages" [node, zone];
    /// Pages of a zone scanned since the last reclaim; not since Linux 4.8.
    SCANNED: gauge = "node_zoneinfo_scanned_pages" [node, zone];
    /// Pages that a zone spans, holes included.
    SPANNED: gauge = "node_zoneinfo_spanned_pages" [node, zone];
    /// Pages that are there in a zone.
    PRESENT: gauge = "node_zoneinfo_present_pages" [node, zone];
    /// Pages of a zone that the page allocator manages.
    MANAGED: gauge = "node_zoneinfo_managed_pages" [node, zone];
    /// Anonymous pages used lately.
    NR_ACTIVE_ANON: gauge = "node_zoneinfo_nr_active_anon_pages" [node, zone];
    /// Anonymous pages not used lately.
    NR_INACTIVE_ANON: gauge = "node_zoneinfo_nr_inactive_anon_pages" [node, zone];
    /// Anonymous pages taken off their list for the moment.
    NR_ISOLATED_ANON: gauge = "node_zoneinfo_nr_isolated_anon_pages" [node, zone];
    /// Anonymous pages that are mapped.
    NR_ANON: gauge = "node_zoneinfo_nr_anon_pages" [node, zone];
    /// Anonymous transparent huge pages.
    NR_ANON_HUGE: gauge = "node_zoneinfo_nr_anon_transparent_hugepages" [node, zone];
    /// Pages of files used lately.
    NR_ACTIVE_FILE: gauge = "node_zoneinfo_nr_active_file_pages" [node, zone];
    /// Pages of files not used lately.
    NR_INACTIVE_FILE: gauge = "node_zoneinfo_nr_inactive_file_pages" [node, zone];
    /// Pages of files taken off their list for the moment.
    NR_ISOLATED_FILE: gauge = "node_zoneinfo_nr_isolated_file_pages" [node, zone];
    /// Pages of files.
    NR_FILE: gauge = "node_zoneinfo_nr_file_pages" [node, zone];
    /// Pages of slabs that can be reclaimed.
    NR_SLAB_RECLAIMABLE: gauge = "node_zoneinfo_nr_slab_reclaimable_pages" [node, zone];
    /// Pages of slabs that cannot be reclaimed.
    NR_SLAB_UNRECLAIMABLE: gauge = "node_zoneinfo_nr_slab_unreclaimable_pages" [node, zone];
    /// Memory of kernel stacks, in KiB, or a number of stacks before Linux 4.10.
    NR_KERNEL_STACK: gauge = "node_zoneinfo_nr_kernel_stacks" [node, zone];
    /// Pages of files that are mapped.
    NR_MAPPED: gauge = "node_zoneinfo_nr_mapped_pages" [node, zone];
    /// Pages that wait to be written.
    NR_DIRTY: gauge = "node_zoneinfo_nr_dirty_pages" [node, zone];
    /// Pages that are being written.
    NR_WRITEBACK: gauge = "node_zoneinfo_nr_writeback_pages" [node, zone];
    /// Pages that cannot be reclaimed.
    NR_UNEVICTABLE: gauge = "node_zoneinfo_nr_unevictable_pages" [node, zone];
    /// Pages of shared memory and tmpfs.
    NR_SHMEM: gauge = "node_zoneinfo_nr_shmem_pages" [node, zone];
    /// Pages that became dirty.
    NR_DIRTIED: counter = "node_zoneinfo_nr_dirtied_total" [node, zone];
    /// Pages written.
    NR_WRITTEN: counter = "node_zoneinfo_nr_written_total" [node, zone];
    /// Pages allocated on the node they were wanted on.
    NUMA_HIT: counter = "node_zoneinfo_numa_hit_total" [node, zone];
    /// Pages allocated here though they were wanted on another node.
    NUMA_MISS: counter = "node_zoneinfo_numa_miss_total" [node, zone];
    /// Pages wanted here that were allocated on another node.
    NUMA_FOREIGN: counter = "node_zoneinfo_numa_foreign_total" [node, zone];
    /// Pages allocated here because they are spread over the nodes.
    NUMA_INTERLEAVE: counter = "node_zoneinfo_numa_interleave_total" [node, zone];
    /// Pages allocated by a process that ran on this node.
    NUMA_LOCAL: counter = "node_zoneinfo_numa_local_total" [node, zone];
    /// Pages allocated by a process that ran on another node.
    NUMA_OTHER: counter = "node_zoneinfo_numa_other_total" [node, zone];
}

register_collector!(Zoneinfo);

struct Zoneinfo {
    file: KeptFile,
}

impl Collector for Zoneinfo {
    about! {
        name: "zoneinfo",
        summary: "Pages of each zone of memory",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_zoneinfo_protection_*",
            kinds: &[Kind::Gauge],
            help: "Free pages of a zone kept from allocations that could be made in a higher zone, by the place of that zone.",
        }],
        sources: ["proc/zoneinfo"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Zoneinfo { file: host.keep("proc/zoneinfo") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        for section in sections(text, |line| line.starts_with(b"Node ")) {
            let Some((node, zone)) = batch.tolerate(parse_head(section.head)) else { continue };
            let labels = batch.labels([node, zone]);
            let mut lines = lines(section.body);
            while let Some(line) = lines.next() {
                let mut fields = Fields::new(line);
                match fields.next() {
                    // Of each CPU's lists, of which a large host has thousands, none is shown.
                    Some(b"pagesets") => break,
                    Some(b"protection:") => push_protection(fields.rest(), [node, zone], batch),
                    name => {
                        let Some(family) = name.and_then(family) else { continue };
                        let offset = section.offset + lines.offset();
                        let value = fields.i64().map_err(|wrong| wrong.moved_by(offset));
                        if let Some(value) = batch.tolerate(value) {
                            batch.push(&family, labels, value);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a line counts, if that is shown. The first zone of a node has the node's counts, too.
/// node_exporter would also show `nr_mlock_stack`, which no kernel writes.
fn family(name: &[u8]) -> Option<Family<2>> {
    Some(match name {
        b"nr_free_pages" => NR_FREE,
        b"min" => MIN,
        b"low" => LOW,
        b"high" => HIGH,
        b"scanned" => SCANNED,
        b"spanned" => SPANNED,
        b"present" => PRESENT,
        b"managed" => MANAGED,
        b"nr_active_anon" => NR_ACTIVE_ANON,
        b"nr_inactive_anon" => NR_INACTIVE_ANON,
        b"nr_isolated_anon" => NR_ISOLATED_ANON,
        b"nr_anon_pages" => NR_ANON,
        b"nr_anon_transparent_hugepages" => NR_ANON_HUGE,
        b"nr_active_file" => NR_ACTIVE_FILE,
        b"nr_inactive_file" => NR_INACTIVE_FILE,
        b"nr_isolated_file" => NR_ISOLATED_FILE,
        b"nr_file_pages" => NR_FILE,
        b"nr_slab_reclaimable" => NR_SLAB_RECLAIMABLE,
        b"nr_slab_unreclaimable" => NR_SLAB_UNRECLAIMABLE,
        b"nr_kernel_stack" => NR_KERNEL_STACK,
        b"nr_mapped" => NR_MAPPED,
        b"nr_dirty" => NR_DIRTY,
        b"nr_writeback" => NR_WRITEBACK,
        b"nr_unevictable" => NR_UNEVICTABLE,
        b"nr_shmem" => NR_SHMEM,
        b"nr_dirtied" => NR_DIRTIED,
        b"nr_written" => NR_WRITTEN,
        b"numa_hit" => NUMA_HIT,
        b"numa_miss" => NUMA_MISS,
        b"numa_foreign" => NUMA_FOREIGN,
        b"numa_interleave" => NUMA_INTERLEAVE,
        b"numa_local" => NUMA_LOCAL,
        b"numa_other" => NUMA_OTHER,
        _ => return None,
    })
}

/// Takes node and zone of `Node 0, zone    DMA32`.
fn parse_head(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut fields = Fields::new(line);
    let node = fields.pass(1).text()?;
    let node = node.strip_suffix(b",").ok_or(Malformed::new(fields.offset(), "a comma"))?;
    Ok((node, fields.pass(1).text()?))
}

/// Shows all of `(0, 2039, 31932, 31932, 31932)`, or nothing if one is no number.
fn push_protection(list: &[u8], [node, zone]: [&[u8]; 2], batch: &mut Batch) {
    let inside = list.strip_prefix(b"(").and_then(|list| list.strip_suffix(b")"));
    let values = || {
        let values = inside.unwrap_or_default().split(|byte| *byte == b',');
        values.map(|value| parse_i64(text::trim(value)))
    };
    if values().any(|value| value.is_none()) {
        batch.tolerate::<()>(Err(Malformed::new(0, "a list of numbers in brackets")));
        return;
    }
    for (place, value) in values().flatten().enumerate() {
        let mut room = [0; 20];
        let place = decimal(place as u64, &mut room);
        let help = [b"Pages kept from allocations for zone ", place, b"."];
        let family = batch.family(&[b"node_zoneinfo_protection_", place], Kind::Gauge, &help);
        let labels = batch.label_pairs(&[(b"node", node), (b"zone", zone)]);
        batch.push_named(family, Suffix::None, labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/zoneinfo";

    /// As Linux 6.18 writes it, some lines left out.
    const TEXT: &str = "\
Node 0, zone    DMA32
  per-node stats
      nr_inactive_anon 24973
      nr_anon_transparent_hugepages 0
      nr_dirtied   1189097
      nr_kernel_stack 2736
  pages free     2949
        boost    0
        min      8
        low      11
        high     14
        promo    17
        spanned  4095
        present  3997
        managed  3973
        cma      0
        protection: (0, 2039, 31932)
      nr_free_pages 2949
      nr_zone_inactive_anon 0
      numa_hit     1
  pagesets
    cpu: 0
              count:    7
              high:     0
              batch:    1
              high_min: 0
  vm stats threshold: 8
  node_unreclaimable:  0
  start_pfn:           1
Node 1, zone  Movable
  pages free     0
        min      32
        low      32
        high     -1
        protection: (0, 0, 0)
";

    #[test]
    fn golden() {
        check::<Zoneinfo>(
            &MemoryHost::from_files(&[(PATH, TEXT)]).host(),
            &[],
            &expect![[r#"
                # node_zoneinfo_high_pages gauge
                node_zoneinfo_high_pages{node="0",zone="DMA32"} 14
                node_zoneinfo_high_pages{node="1",zone="Movable"} -1
                # node_zoneinfo_low_pages gauge
                node_zoneinfo_low_pages{node="0",zone="DMA32"} 11
                node_zoneinfo_low_pages{node="1",zone="Movable"} 32
                # node_zoneinfo_managed_pages gauge
                node_zoneinfo_managed_pages{node="0",zone="DMA32"} 3973
                # node_zoneinfo_min_pages gauge
                node_zoneinfo_min_pages{node="0",zone="DMA32"} 8
                node_zoneinfo_min_pages{node="1",zone="Movable"} 32
                # node_zoneinfo_nr_anon_transparent_hugepages gauge
                node_zoneinfo_nr_anon_transparent_hugepages{node="0",zone="DMA32"} 0
                # node_zoneinfo_nr_dirtied_total counter
                node_zoneinfo_nr_dirtied_total{node="0",zone="DMA32"} 1.189097e+06
                # node_zoneinfo_nr_free_pages gauge
                node_zoneinfo_nr_free_pages{node="0",zone="DMA32"} 2949
                # node_zoneinfo_nr_inactive_anon_pages gauge
                node_zoneinfo_nr_inactive_anon_pages{node="0",zone="DMA32"} 24973
                # node_zoneinfo_nr_kernel_stacks gauge
                node_zoneinfo_nr_kernel_stacks{node="0",zone="DMA32"} 2736
                # node_zoneinfo_numa_hit_total counter
                node_zoneinfo_numa_hit_total{node="0",zone="DMA32"} 1
                # node_zoneinfo_present_pages gauge
                node_zoneinfo_present_pages{node="0",zone="DMA32"} 3997
                # node_zoneinfo_protection_0 gauge
                node_zoneinfo_protection_0{node="0",zone="DMA32"} 0
                node_zoneinfo_protection_0{node="1",zone="Movable"} 0
                # node_zoneinfo_protection_1 gauge
                node_zoneinfo_protection_1{node="0",zone="DMA32"} 2039
                node_zoneinfo_protection_1{node="1",zone="Movable"} 0
                # node_zoneinfo_protection_2 gauge
                node_zoneinfo_protection_2{node="0",zone="DMA32"} 31932
                node_zoneinfo_protection_2{node="1",zone="Movable"} 0
                # node_zoneinfo_spanned_pages gauge
                node_zoneinfo_spanned_pages{node="0",zone="DMA32"} 4095
            "#]],
        );
    }

    #[test]
    fn odd_lines_are_left_out() {
        let text = "min 1\nNode x\nNode 0 zone DMA\nNode 0, zone\nNode 0, zone DMA\n  min x\n  low\n  \
                    high 3\n  protection: (1, x)\n  protection: 1\n  protection: ()\n";
        let memory = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Zoneinfo>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(8));
    }

    /// The record of a node has lines for each CPU, and is longer than half a page.
    #[test]
    fn records_of_many_cpus_are_not_cut() {
        let cpus = "    cpu: 0\n              count:    7\n              high:     0\n".repeat(512);
        let node =
            |node| format!("Node {node}, zone Normal\n  pages free 1\n  min 8\n  pagesets\n{cpus}");
        let memory = MemoryHost::from_files(&[(PATH, &[node(0), node(1)].concat())]);
        let (batch, outcome) = run(&mut open::<Zoneinfo>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Zoneinfo>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/zoneinfo: not on this host"],
            &expect![""],
        );
    }
}
