//! Control groups by controller, from `/proc/cgroups` (cgroups(7)).

use vitald_core::prelude::*;

families! {
    /// Control groups of the hierarchy that a controller is in.
    CGROUPS: gauge = "node_cgroups_cgroups" [subsys_name];
    /// Whether a controller is enabled, which the kernel's command line decides.
    ENABLED: gauge = "node_cgroups_enabled" [subsys_name];
}

register_collector!(Cgroups);

struct Cgroups {
    file: KeptFile,
}

impl Collector for Cgroups {
    about! {
        name: "cgroups",
        summary: "Control groups, by controller",
        families: FAMILIES,
        sources: ["proc/cgroups"],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Cgroups { file: host.keep_whole("proc/cgroups") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut lines = lines(self.file.read()?);
        while let Some(line) = lines.next() {
            if line.starts_with(b"#") {
                continue;
            }
            let parsed = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()));
            let Some((controller, cgroups, enabled)) = batch.tolerate(parsed) else { continue };
            let labels = batch.labels([controller]);
            batch.push(&CGROUPS, labels, cgroups);
            batch.push(&ENABLED, labels, enabled);
        }
        Ok(())
    }
}

/// Takes the name and the last two numbers of `memory  4  50  1`, which tabs separate.
fn parse_line(line: &[u8]) -> Result<(&[u8], u64, u64), Malformed> {
    let mut fields = Fields::new(line);
    Ok((fields.text()?, fields.pass(1).u64()?, fields.u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/cgroups";

    #[test]
    fn golden() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                    cpuset\t3\t12\t1\nmemory\t0\t150\t0\nperf_event\t0\t1\t1\n";
        check::<Cgroups>(
            &MemoryHost::from_files(&[(PATH, text)]).host(),
            &[],
            &expect![[r#"
                # node_cgroups_cgroups gauge
                node_cgroups_cgroups{subsys_name="cpuset"} 12
                node_cgroups_cgroups{subsys_name="memory"} 150
                node_cgroups_cgroups{subsys_name="perf_event"} 1
                # node_cgroups_enabled gauge
                node_cgroups_enabled{subsys_name="cpuset"} 1
                node_cgroups_enabled{subsys_name="memory"} 0
                node_cgroups_enabled{subsys_name="perf_event"} 1
            "#]],
        );
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let text = "#subsys_name\ncpu\t0\t1\nmemory\t0\t5\t1\n";
        let memory = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Cgroups>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.malformed(), Some((1, Malformed::new(20, "a number"))));
    }

    /// The kernel was built without CONFIG_PROC_PID_CGROUP, or only for the second version.
    #[test]
    fn absent_is_an_error() {
        check_fails::<Cgroups>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/cgroups: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_line, &["", "cpu", "cpu 0 1", "cpu 0 x 1", "cpu 0 1 -1"]);
    }
}
