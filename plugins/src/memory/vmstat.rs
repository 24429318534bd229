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
}

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
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Vmstat {
            file: host.keep_short_records("proc/vmstat"),
            fields: settings.fields,
            shown: Rows::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        let mut shown = self.shown.begin();
        for line in lines(text) {
            let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            let is_shown = shown.row(name, || is_field_name(name) && self.fields.matches(name));
            if *is_shown && let Some(value) = batch.tolerate(parse_line(line)) {
                batch.named_value(
                    &[b"node_vmstat_", name],
                    Kind::Untyped,
                    &[b"Field ", name, b" of /proc/vmstat."],
                    value,
                );
            }
        }
        shown.finish();
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
