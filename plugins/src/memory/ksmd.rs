//! What kernel samepage merging has found, from `/sys/kernel/mm/ksm` (Documentation/admin-guide/mm/ksm.rst).

use vitald_core::family::Family;
use vitald_core::number::parse_integer;
use vitald_core::prelude::*;

families! {
    /// Times that all memory which may be merged has been scanned.
    FULL_SCANS: counter = "node_ksmd_full_scans_total";
    /// Memory saved by merging, less what merging takes itself, in bytes.
    GENERAL_PROFIT: gauge = "node_ksmd_general_profit_bytes";
    /// Whether pages of several nodes are merged.
    MERGE_ACROSS_NODES: gauge = "node_ksmd_merge_across_nodes";
    /// Pages that several others have been merged into.
    PAGES_SHARED: gauge = "node_ksmd_pages_shared";
    /// Pages that have been merged into others and saved.
    PAGES_SHARING: gauge = "node_ksmd_pages_sharing";
    /// Pages to scan between two sleeps.
    PAGES_TO_SCAN: gauge = "node_ksmd_pages_to_scan";
    /// Pages that were looked at again and again and are like no other.
    PAGES_UNSHARED: gauge = "node_ksmd_pages_unshared";
    /// Pages that change too fast to be compared.
    PAGES_VOLATILE: gauge = "node_ksmd_pages_volatile";
    /// Whether merging is on: 0 is stopped, 1 runs, 2 is stopped with all pages separated again.
    RUN: gauge = "node_ksmd_run";
    /// Sleep between two scans, in seconds.
    SLEEP: gauge = "node_ksmd_sleep_seconds";
}

/// The files in their order, the family of each, and how many of its unit are one of the family's.
const FILES: [(&str, Family<0>, f64); 10] = [
    ("sys/kernel/mm/ksm/full_scans", FULL_SCANS, 1.0),
    ("sys/kernel/mm/ksm/general_profit", GENERAL_PROFIT, 1.0),
    ("sys/kernel/mm/ksm/merge_across_nodes", MERGE_ACROSS_NODES, 1.0),
    ("sys/kernel/mm/ksm/pages_shared", PAGES_SHARED, 1.0),
    ("sys/kernel/mm/ksm/pages_sharing", PAGES_SHARING, 1.0),
    ("sys/kernel/mm/ksm/pages_to_scan", PAGES_TO_SCAN, 1.0),
    ("sys/kernel/mm/ksm/pages_unshared", PAGES_UNSHARED, 1.0),
    ("sys/kernel/mm/ksm/pages_volatile", PAGES_VOLATILE, 1.0),
    ("sys/kernel/mm/ksm/run", RUN, 1.0),
    ("sys/kernel/mm/ksm/sleep_millisecs", SLEEP, 1000.0),
];

register_collector!(Ksmd);

struct Ksmd {
    files: [KeptFile; FILES.len()],
}

impl Collector for Ksmd {
    about! {
        name: "ksmd",
        summary: "What kernel samepage merging has found",
        families: FAMILIES,
        sources: [
            "sys/kernel/mm/ksm/full_scans",
            "sys/kernel/mm/ksm/general_profit",
            "sys/kernel/mm/ksm/merge_across_nodes",
            "sys/kernel/mm/ksm/pages_shared",
            "sys/kernel/mm/ksm/pages_sharing",
            "sys/kernel/mm/ksm/pages_to_scan",
            "sys/kernel/mm/ksm/pages_unshared",
            "sys/kernel/mm/ksm/pages_volatile",
            "sys/kernel/mm/ksm/run",
            "sys/kernel/mm/ksm/sleep_millisecs",
        ],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Ksmd { files: FILES.map(|(path, ..)| host.keep_whole(path)) })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut is_absent = true;
        for (file, (path, family, divisor)) in self.files.iter_mut().zip(FILES) {
            // A kernel without NUMA, or an older one, lacks some of them.
            let Some(text) = file.optional()? else { continue };
            // All are unsigned but the profit.
            let number = parse_integer(text::trim(text))
                .ok_or_else(|| Malformed::new(0, "a number").in_file(path))?;
            batch.value(&family, number / divisor);
            is_absent = false;
        }
        if is_absent { Err(Error::absent("sys/kernel/mm/ksm")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (number, (path, ..)) in FILES.iter().enumerate() {
            memory.write(path, format!("{number}00\n"));
        }
        memory
    }

    #[test]
    fn golden() {
        let memory = memory();
        memory.write("sys/kernel/mm/ksm/general_profit", "-4096\n");
        memory.write("sys/kernel/mm/ksm/pages_shared", "18446744073709551615\n");
        memory.write("sys/kernel/mm/ksm/sleep_millisecs", "20\n");
        check::<Ksmd>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_ksmd_full_scans_total counter
                node_ksmd_full_scans_total 0
                # node_ksmd_general_profit_bytes gauge
                node_ksmd_general_profit_bytes -4096
                # node_ksmd_merge_across_nodes gauge
                node_ksmd_merge_across_nodes 200
                # node_ksmd_pages_shared gauge
                node_ksmd_pages_shared 1.8446744073709552e+19
                # node_ksmd_pages_sharing gauge
                node_ksmd_pages_sharing 400
                # node_ksmd_pages_to_scan gauge
                node_ksmd_pages_to_scan 500
                # node_ksmd_pages_unshared gauge
                node_ksmd_pages_unshared 600
                # node_ksmd_pages_volatile gauge
                node_ksmd_pages_volatile 700
                # node_ksmd_run gauge
                node_ksmd_run 800
                # node_ksmd_sleep_seconds gauge
                node_ksmd_sleep_seconds 0.02
            "#]],
        );
    }

    /// `general_profit` came with Linux 6.4, and only NUMA has `merge_across_nodes`.
    #[test]
    fn a_kernel_may_lack_some() {
        let memory = memory();
        memory.remove("sys/kernel/mm/ksm/general_profit");
        memory.remove("sys/kernel/mm/ksm/merge_across_nodes");
        let (batch, outcome) = run(&mut open::<Ksmd>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 8);
    }

    /// The kernel was built without CONFIG_KSM.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Ksmd>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/kernel/mm/ksm: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        let memory = memory();
        memory.write("sys/kernel/mm/ksm/full_scans", "all\n");
        check_fails::<Ksmd>(
            &memory.host(),
            &[],
            &expect!["sys/kernel/mm/ksm/full_scans: byte 0: expected a number"],
            &expect![""],
        );
    }
}
