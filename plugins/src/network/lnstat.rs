//! Statistics of network caches by CPU, from the tables in `/proc/net/stat` (lnstat(8)).

use vitald_core::family::is_metric_name;
use vitald_core::host::Listing;
use vitald_core::prelude::*;
use vitald_core::text::decimal;

register_collector!(Lnstat);

struct Lnstat {
    host: Host,
    listing: Listing,
    tables: Rows<Option<KeptFile>>,
    /// The families of a table's columns, for one collection.
    columns: Vec<Option<NamedFamily>>,
}

const DIRECTORY: &str = "proc/net/stat";

impl Collector for Lnstat {
    about! {
        name: "lnstat",
        summary: "Statistics of network caches, by CPU",
        patterns: [FamilyPattern {
            name: "node_lnstat_*_total",
            kinds: &[Kind::Counter],
            help: "A column of a table in /proc/net/stat, by the table and the CPU.",
        }],
        sources: ["proc/net/stat/*"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Lnstat {
            host: host.clone(),
            listing: Listing::new(),
            tables: Rows::new(),
            columns: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Lnstat { host, listing, tables, columns } = self;
        host.list(DIRECTORY, listing)?;
        let mut outcome = Ok(());
        let mut rows = tables.begin();
        for entry in listing.iter() {
            let file = rows.row(entry.name, || {
                let name = str::from_utf8(entry.name).ok()?;
                Some(host.keep_short_records(format!("{DIRECTORY}/{name}")))
            });
            let Some(file) = file else { continue };
            // A table that cannot be read is no reason to leave out the others.
            match file.optional() {
                Ok(text) => push_table(entry.name, text.unwrap_or_default(), columns, batch),
                Err(error) => outcome = Err(error),
            }
        }
        rows.finish();
        outcome
    }
}

/// Shows a table: a line of names, and for each CPU one of hexadecimal numbers.
fn push_table(
    table: &[u8],
    text: &[u8],
    columns: &mut Vec<Option<NamedFamily>>,
    batch: &mut Batch,
) {
    let mut lines = lines(text);
    columns.clear();
    for name in Fields::new(lines.next().unwrap_or_default()) {
        // Several tables may have the same column.
        columns.push(is_metric_name(name).then(|| {
            let help = [b"Column ", name, b" of the tables in /proc/net/stat."];
            batch.family(&[b"node_lnstat_", name, b"_total"], Kind::Counter, &help)
        }));
    }
    for cpu in 0.. {
        let Some(line) = lines.next() else { break };
        let mut room = [0; 20];
        let labels = batch.label_pairs(&[(b"subsystem", table), (b"cpu", decimal(cpu, &mut room))]);
        let mut fields = Fields::new(line);
        for family in &*columns {
            if fields.rest().is_empty() {
                break;
            }
            let value = fields.hex().map_err(|wrong| wrong.moved_by(lines.offset()));
            let Some(value) = batch.tolerate(value) else { break };
            if let Some(family) = family {
                batch.push_named(*family, Suffix::None, labels, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const ARP: &str = "proc/net/stat/arp_cache";
    const CONNTRACK: &str = "proc/net/stat/nf_conntrack";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            (ARP, "entries  allocs\n00000014  00000001\n00000014  000000fF\n"),
            (CONNTRACK, "entries\tfound\n00000021\t00000003\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<Lnstat>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_lnstat_allocs_total counter
                node_lnstat_allocs_total{subsystem="arp_cache",cpu="0"} 1
                node_lnstat_allocs_total{subsystem="arp_cache",cpu="1"} 255
                # node_lnstat_entries_total counter
                node_lnstat_entries_total{subsystem="arp_cache",cpu="0"} 20
                node_lnstat_entries_total{subsystem="arp_cache",cpu="1"} 20
                node_lnstat_entries_total{subsystem="nf_conntrack",cpu="0"} 33
                # node_lnstat_found_total counter
                node_lnstat_found_total{subsystem="nf_conntrack",cpu="0"} 3
            "#]],
        );
    }

    #[test]
    fn a_module_that_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Lnstat>(&memory.host(), &[]);
        let (both, _) = run(&mut collector, None);
        memory.remove(CONNTRACK);
        let (one, _) = run(&mut collector, Some(&both));
        memory.write(CONNTRACK, "entries\n1\n");
        let (again, _) = run(&mut collector, Some(&one));
        assert_eq!([both.len(), one.len(), again.len()], [6, 4, 5]);
    }

    #[test]
    fn what_cannot_be_read_costs_itself() {
        let memory = memory();
        memory.fail(ARP, 13);
        memory.write("proc/net/stat/odd", "a b-c d e\n1 2 3 4 5\nx 1\n6\n\n");
        memory.write(b"proc/net/stat/\xff", "a\n1\n");
        let (batch, outcome) = run(&mut open::<Lnstat>(&memory.host(), &[]), None);
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "proc/net/stat/arp_cache: Permission denied (os error 13)"
        );
        expect![[r#"
            # node_lnstat_a_total counter
            node_lnstat_a_total{subsystem="odd",cpu="0"} 1
            node_lnstat_a_total{subsystem="odd",cpu="2"} 6
            # node_lnstat_d_total counter
            node_lnstat_d_total{subsystem="odd",cpu="0"} 3
            # node_lnstat_e_total counter
            node_lnstat_e_total{subsystem="odd",cpu="0"} 4
            # node_lnstat_entries_total counter
            node_lnstat_entries_total{subsystem="nf_conntrack",cpu="0"} 33
            # node_lnstat_found_total counter
            node_lnstat_found_total{subsystem="nf_conntrack",cpu="0"} 3
        "#]]
        .assert_eq(&render(&batch));
        assert_eq!(batch.malformed(), Some((1, Malformed::new(20, "a hexadecimal number"))));
    }

    #[test]
    fn tables_of_many_cpus_are_read_to_the_end() {
        let text = ["a b\n", &"00000001 00000002\n".repeat(1024)].concat();
        let memory = MemoryHost::from_files(&[("proc/net/stat/t", &text)]);
        let (batch, outcome) = run(&mut open::<Lnstat>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 2048);
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Lnstat>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/stat: not on this host"],
            &expect![""],
        );
    }
}
