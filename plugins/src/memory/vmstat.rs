//! Events and states of the virtual memory, from `/proc/vmstat` (proc_vmstat(5)).

use vitald_core::prelude::*;

settings! {
    /// The fields to show, by name.
    fields: Pattern = "^(oom_kill|pgpg|pswp|pg.*fault).*";
}

register_collector!(Vmstat);

struct Vmstat {
    file: KeptFile,
    fields: Pattern,
    /// Whether each field is shown. A handful of some two hundred are by default.
    shown: Rows<bool>,
    /// How many lines there are up to the last one that is shown; `None` until all have been read.
    ///
    /// The file is more than a page, and a second read makes the kernel count over all CPUs once more. Which
    /// fields there are is decided when a kernel is built, so what follows is let be while the fields
    /// before are the same.
    wanted: Option<usize>,
    runs: u32,
}

/// How seldom all lines are read: where the file is not the kernel's own, another one may take its place.
const WHOLE_EACH: u32 = 64;

impl Collector for Vmstat {
    about! {
        name: "vmstat",
        summary: "Events and states of the virtual memory",
        patterns: [FamilyPattern {
            name: "node_vmstat_*",
            kinds: &[Kind::Untyped],
            help: "A field of /proc/vmstat.",
        }],
        sources: ["proc/vmstat"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Paging",
        &[
            Curve::of("faults", rate("node_vmstat_pgfault")),
            Curve::of("major faults", rate("node_vmstat_pgmajfault")),
            Curve::of("swapped in", rate("node_vmstat_pswpin")),
            Curve::of("swapped out", rate("node_vmstat_pswpout")),
            Curve::of("killed for memory", rate("node_vmstat_oom_kill")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Vmstat {
            file: host.keep_short_records("proc/vmstat"),
            fields: settings.fields,
            shown: Rows::new(),
            wanted: None,
            runs: 0,
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.runs = self.runs.wrapping_add(1);
        let wanted = self.wanted.take().filter(|_| !self.runs.is_multiple_of(WHOLE_EACH));
        let text = self.file.read_first_lines(wanted.unwrap_or(usize::MAX))?;
        let mut shown = self.shown.begin();
        let (mut count, mut last_shown) = (0, 0);
        for line in lines(text) {
            let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            let is_shown = shown.row(name, || is_field_name(name) && self.fields.matches(name));
            count += 1;
            if !*is_shown {
                continue;
            }
            last_shown = count;
            if let Some(value) = batch.tolerate(parse_line(line)) {
                batch.named_value(
                    &[b"node_vmstat_", name],
                    Kind::Untyped,
                    &[b"Field ", name, b" of /proc/vmstat."],
                    value,
                );
            }
        }
        if wanted.is_none() {
            shown.finish();
            self.wanted = Some(last_shown);
        } else if !shown.leave() {
            self.wanted = wanted;
        }
        Ok(())
    }
}

/// Whether the name can end that of a metric.
fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Takes the value of `pgfault 91838`, which for a few fields is below zero.
fn parse_line(line: &[u8]) -> Result<f64, Malformed> {
    Fields::new(line).pass(1).f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const VMSTAT: &str = "nr_free_pages 5794956\n\
                          pgpgin 690793\n\
                          pswpin 0\n\
                          pgfault 91838\n\
                          pgmajfault 2310\n\
                          oom_kill 0\n\
                          nr_unstable 0\n";

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[("proc/vmstat", VMSTAT)]);
        check::<Vmstat>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_vmstat_oom_kill untyped
                node_vmstat_oom_kill 0
                # node_vmstat_pgfault untyped
                node_vmstat_pgfault 91838
                # node_vmstat_pgmajfault untyped
                node_vmstat_pgmajfault 2310
                # node_vmstat_pgpgin untyped
                node_vmstat_pgpgin 690793
                # node_vmstat_pswpin untyped
                node_vmstat_pswpin 0
            "#]],
        );
    }

    #[test]
    fn the_setting_decides() {
        let host = MemoryHost::from_files(&[("proc/vmstat", VMSTAT)]);
        check::<Vmstat>(
            &host.host(),
            &[("fields", Node::from("free_pages$"))],
            &expect![[r#"
                # node_vmstat_nr_free_pages untyped
                node_vmstat_nr_free_pages 5.794956e+06
            "#]],
        );
    }

    #[test]
    fn a_changed_file_is_matched_anew() {
        let host = MemoryHost::from_files(&[("proc/vmstat", VMSTAT)]);
        let mut collector = open::<Vmstat>(&host.host(), &[]);
        let (first, outcome) = run(&mut collector, None);
        outcome.unwrap();
        host.write("proc/vmstat", "pgpgin 1\nnr_free_pages 2\npgfault 3\n");
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.unwrap();
        expect![[r#"
            # node_vmstat_pgfault untyped
            node_vmstat_pgfault 3
            # node_vmstat_pgpgin untyped
            node_vmstat_pgpgin 1
        "#]]
        .assert_eq(&render(&second));
    }

    /// As the kernel gives it: the first page, and what did not fit into it.
    fn two_pages(names: &[&str]) -> String {
        let others = (0..200).map(|number| format!("nr_of_something_{number} 12345\n"));
        let lines = names.iter().map(|name| format!("{name} 7\n"));
        lines.chain(others).collect()
    }

    #[test]
    fn what_follows_the_last_field_that_is_shown_is_not_read() {
        let memory = MemoryHost::from_files(&[("proc/vmstat", &two_pages(&["pgpgin", "a"]))]);
        let mut collector = open::<Vmstat>(&memory.host(), &[]);
        let mut shown = || {
            let before = memory.reads();
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            let names = render(&batch);
            let names = names.lines().filter(|line| !line.starts_with('#'));
            let names = names.map(|line| line["node_vmstat_".len()..].to_owned());
            (names.collect::<Vec<_>>().join(", "), memory.reads() - before)
        };
        assert_eq!(shown().0, "pgpgin 7");
        assert_eq!(shown(), ("pgpgin 7".into(), 1));
        // Another field, and one that goes.
        memory.write("proc/vmstat", two_pages(&["pgpgin", "pgpgout", "a"]));
        assert_eq!(shown(), ("pgpgin 7, pgpgout 7".into(), 1));
        assert_eq!(shown(), ("pgpgin 7, pgpgout 7".into(), 2), "all is read after a change");
        assert_eq!(shown(), ("pgpgin 7, pgpgout 7".into(), 1));
        memory.write("proc/vmstat", two_pages(&["pgpgout"]));
        assert_eq!(shown(), ("pgpgout 7".into(), 1));
        assert_eq!(shown(), ("pgpgout 7".into(), 2));
        // What no kernel does: a field comes where nothing is read.
        memory.write("proc/vmstat", two_pages(&["pgpgout"]) + "pgfault 8\n");
        let late = (0..WHOLE_EACH).map(|_| shown().0).filter(|shown| shown.contains("pgfault 8"));
        assert!(late.count() > 0);
        assert_eq!(shown(), ("pgfault 8, pgpgout 7".into(), 2), "the last line is wanted now");
    }

    #[test]
    fn odd_lines_are_left_out() {
        let host = MemoryHost::from_files(&[(
            "proc/vmstat",
            "pgpgin\npgfault x\npg-fault 1\noom_kill 1\n",
        )]);
        let (batch, outcome) = run(&mut open::<Vmstat>(&host.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.malformed(), Some((2, Malformed::new(6, "a number"))));
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Vmstat>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/vmstat: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_line, &["", "pgfault", "pgfault x", "pgfault 1x"]);
    }
}
