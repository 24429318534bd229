//! Connections that netfilter follows, from `/proc/sys/net/netfilter` (Documentation/networking/nf_conntrack-sysctl.rst)
//! and `/proc/net/stat/nf_conntrack` (`ct_cpu_seq_show` in net/netfilter/nf_conntrack_standalone.c).

use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Connections that are followed now.
    ENTRIES: gauge = "node_nf_conntrack_entries";
    /// The most connections that are followed at a time.
    ENTRIES_LIMIT: gauge = "node_nf_conntrack_entries_limit";
    /// Lookups that found a connection.
    FOUND: gauge = "node_nf_conntrack_stat_found";
    /// Packets that belong to no connection and can begin none.
    INVALID: gauge = "node_nf_conntrack_stat_invalid";
    /// Packets that were not looked at, for their connection was known already.
    IGNORE: gauge = "node_nf_conntrack_stat_ignore";
    /// Connections put into the table.
    INSERT: gauge = "node_nf_conntrack_stat_insert";
    /// Connections that could not be put into the table, mostly because the same one was there.
    INSERT_FAILED: gauge = "node_nf_conntrack_stat_insert_failed";
    /// Packets dropped because their connection could not be followed.
    DROP: gauge = "node_nf_conntrack_stat_drop";
    /// Connections given up to make room in a full table.
    EARLY_DROP: gauge = "node_nf_conntrack_stat_early_drop";
    /// Lookups begun again because the table was resized meanwhile.
    SEARCH_RESTART: gauge = "node_nf_conntrack_stat_search_restart";
}

/// Numbers in a line of the statistics.
const COLUMNS: usize = 17;

/// The columns that are shown. Others have changed their meaning between kernels; these have not.
const SHOWN: [(usize, Family<0>); 8] = [
    (2, FOUND),
    (4, INVALID),
    (5, IGNORE),
    (8, INSERT),
    (9, INSERT_FAILED),
    (10, DROP),
    (11, EARLY_DROP),
    (16, SEARCH_RESTART),
];

register_collector!(Conntrack);

struct Conntrack {
    count: KeptFile,
    limit: KeptFile,
    statistics: KeptFile,
}

impl Collector for Conntrack {
    about! {
        name: "conntrack",
        summary: "Connections that netfilter follows",
        families: FAMILIES,
        sources: [
            "proc/sys/net/netfilter/nf_conntrack_count",
            "proc/sys/net/netfilter/nf_conntrack_max",
            "proc/net/stat/nf_conntrack",
        ],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Conntrack",
        &[
            Curve::of("entries", value("node_nf_conntrack_entries")),
            Curve::of(
                "of the limit",
                Figure::Ratio(
                    &value("node_nf_conntrack_entries"),
                    &value("node_nf_conntrack_entries_limit"),
                ),
            ),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Conntrack {
            count: host.keep_whole("proc/sys/net/netfilter/nf_conntrack_count"),
            limit: host.keep_whole("proc/sys/net/netfilter/nf_conntrack_max"),
            statistics: host.keep_short_records("proc/net/stat/nf_conntrack"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let count = self.count.parse(text::single_u64)?;
        batch.value(&ENTRIES, count);
        let limit = self.limit.parse(text::single_u64)?;
        batch.value(&ENTRIES_LIMIT, limit);
        let sums = self.statistics.parse(parse)?;
        for (column, family) in SHOWN {
            batch.value(&family, sums[column]);
        }
        Ok(())
    }
}

/// Adds up the lines of the CPUs, below one of names. A line that cannot be read makes all sums
/// wrong, so it is not left out.
fn parse(text: &[u8]) -> Result<[u64; COLUMNS], Malformed> {
    let mut sums = [0_u64; COLUMNS];
    let mut lines = lines(text);
    lines.next().ok_or(Malformed::new(0, "a line of names"))?;
    while let Some(line) = lines.next() {
        let numbers = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()))?;
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = sum.saturating_add(number);
        }
    }
    Ok(sums)
}

/// Takes the hexadecimal numbers of
/// `00000021  00000000 00000000 00000000 00000003 ...`.
fn parse_line(line: &[u8]) -> Result<[u64; COLUMNS], Malformed> {
    let mut fields = Fields::new(line);
    let mut numbers = [0; COLUMNS];
    for number in &mut numbers {
        *number = fields.hex()?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const COUNT: &str = "proc/sys/net/netfilter/nf_conntrack_count";
    const LIMIT: &str = "proc/sys/net/netfilter/nf_conntrack_max";
    const STATISTICS: &str = "proc/net/stat/nf_conntrack";

    /// As Linux 5.15 and newer write it: `clashres` was `searched`, `chainlength` was
    /// `delete_list`.
    const TEXT: &str = "\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
0000002a  00000001 00000010 00000000 00000003 0000588a 00000000 00000007 00000004 00000005 00000006 00000007 00000008  00000009 0000000a 0000000b 0000000c
0000002a  00000001 00000001 00000000 00000001 00000001 00000000 00000007 00000001 00000001 00000001 00000001 00000001  00000001 00000001 00000001 00000001
";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[(COUNT, "42\n"), (LIMIT, "262144\n"), (STATISTICS, TEXT)])
    }

    #[test]
    fn golden() {
        check::<Conntrack>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_nf_conntrack_entries gauge
                node_nf_conntrack_entries 42
                # node_nf_conntrack_entries_limit gauge
                node_nf_conntrack_entries_limit 262144
                # node_nf_conntrack_stat_drop gauge
                node_nf_conntrack_stat_drop 7
                # node_nf_conntrack_stat_early_drop gauge
                node_nf_conntrack_stat_early_drop 8
                # node_nf_conntrack_stat_found gauge
                node_nf_conntrack_stat_found 17
                # node_nf_conntrack_stat_ignore gauge
                node_nf_conntrack_stat_ignore 22667
                # node_nf_conntrack_stat_insert gauge
                node_nf_conntrack_stat_insert 5
                # node_nf_conntrack_stat_insert_failed gauge
                node_nf_conntrack_stat_insert_failed 6
                # node_nf_conntrack_stat_invalid gauge
                node_nf_conntrack_stat_invalid 4
                # node_nf_conntrack_stat_search_restart gauge
                node_nf_conntrack_stat_search_restart 13
            "#]],
        );
    }

    #[test]
    fn a_module_that_is_not_loaded_is_absent_until_it_is() {
        let memory = MemoryHost::new();
        let mut collector = open::<Conntrack>(&memory.host(), &[]);
        let (none, outcome) = run(&mut collector, None);
        assert!(matches!(outcome, Err(Error::Absent { .. })));
        assert!(none.is_empty());
        memory.write(COUNT, "1\n");
        memory.write(LIMIT, "8\n");
        memory.write(STATISTICS, TEXT);
        let (all, outcome) = run(&mut collector, Some(&none));
        outcome.unwrap();
        assert_eq!(all.len(), 10);
    }

    /// CONFIG_NF_CONNTRACK_PROCFS is off, or the file is hidden.
    #[test]
    fn without_statistics_the_rest_is_shown() {
        let memory = memory();
        memory.remove(STATISTICS);
        check_fails::<Conntrack>(
            &memory.host(),
            &[],
            &expect!["proc/net/stat/nf_conntrack: not on this host"],
            &expect![[r#"
                # node_nf_conntrack_entries gauge
                node_nf_conntrack_entries 42
                # node_nf_conntrack_entries_limit gauge
                node_nf_conntrack_entries_limit 262144
            "#]],
        );
    }

    #[test]
    fn a_bad_line_spoils_the_sums() {
        let text = TEXT.replace("0000588a", "588x");
        assert_eq!(parse(text.as_bytes()), Err(Malformed::new(211, "a hexadecimal number")));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse, &["", "names\n1 2 3\n", "names\n\n"]);
        assert_eq!(parse(b"names of columns\n"), Ok([0; COLUMNS]));
    }
}
