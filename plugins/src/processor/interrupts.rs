//! Interrupts of each CPU by source, from `/proc/interrupts` (proc_interrupts(5)).

use vitald_core::number::parse_i64;
use vitald_core::prelude::*;
use vitald_core::text::decimal;

families! {
    /// Interrupts that a CPU has handled, by source; `cpu` counts the CPUs that are on line.
    INTERRUPTS: counter = "node_interrupts_total" [cpu, type, info, devices];
}

settings! {
    names: Filter {
        /// Interrupts to show, by type, info and devices with a `;` between, such as
        /// `24;PCI-MSI-0000:00:1f.2;ahci` or `LOC;Local timer interrupts;`.
        include name_include;
        /// Interrupts to leave out, by type, info and devices with a `;` between.
        exclude name_exclude;
    };
    /// Show counters that are zero, too.
    include_zeros: bool = true;
}

register_collector!(Interrupts);

struct Interrupts {
    file: KeptFile,
    names: Filter,
    include_zeros: bool,
    /// By type and what stands behind the counters.
    rows: Rows<Source>,
    key: Vec<u8>,
}

/// What is known of a source of interrupts.
struct Source {
    is_shown: bool,
    info: Box<[u8]>,
    devices: Box<[u8]>,
}

impl Collector for Interrupts {
    about! {
        name: "interrupts",
        summary: "Interrupts of each CPU, by source",
        families: FAMILIES,
        sources: ["proc/interrupts"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Interrupts {
            file: host.keep("proc/interrupts"),
            names: settings.names,
            include_zeros: settings.include_zeros,
            rows: Rows::new(),
            key: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut lines = lines(self.file.read()?);
        let Some(head) = lines.next() else {
            return Err(Malformed::new(0, "a line of CPUs").in_file("proc/interrupts"));
        };
        let cpus = Fields::new(head).count();
        let mut rows = self.rows.begin();
        while let Some(line) = lines.next() {
            let Some(Row { kind, counts, description }) = Row::of(line, cpus) else { continue };
            self.key.clear();
            self.key.extend_from_slice(kind);
            self.key.push(b':');
            self.key.extend_from_slice(description);
            let source = rows.row(&self.key, || Source::learn(kind, description, &self.names));
            if !source.is_shown {
                continue;
            }
            let offset = lines.offset() + line.len() - counts.len();
            let mut counts = Fields::new(counts);
            for cpu in 0..cpus {
                let count = counts.u64().map_err(|wrong| wrong.moved_by(offset));
                let Some(count) = batch.tolerate(count) else { break };
                if count != 0 || self.include_zeros {
                    let mut room = [0; 20];
                    let cpu = decimal(cpu as u64, &mut room);
                    batch.row(&INTERRUPTS, [cpu, kind, &source.info, &source.devices], count);
                }
            }
        }
        rows.finish();
        Ok(())
    }
}

/// The parts of a line such as
/// ` 24:          0         15  IO-APIC   4-edge      ttyS0` or
/// `LOC:    2889425    3152734   Local timer interrupts`.
struct Row<'a> {
    kind: &'a [u8],
    /// The counters of the CPUs, and what follows.
    counts: &'a [u8],
    description: &'a [u8],
}

impl<'a> Row<'a> {
    /// `None` for a line that does not count for each CPU, as those of `ERR` and `MIS`.
    fn of(line: &'a [u8], cpus: usize) -> Option<Row<'a>> {
        // On arm64 the first counter can follow the colon without a blank.
        let (kind, counts) = text::split_once(line, b':')?;
        let mut after = Fields::new(counts);
        let description = after.pass(cpus).rest();
        let kind = kind.trim_ascii_start();
        (!description.is_empty()).then_some(Row { kind, counts, description })
    }
}

impl Source {
    /// A numbered interrupt has a controller and devices, any other one a text.
    fn learn(kind: &[u8], description: &[u8], names: &Filter) -> Source {
        let mut words = Fields::new(description);
        let info = match parse_i64(kind) {
            Some(_) => words.next().unwrap_or_default().to_vec(),
            None => joined(&mut words),
        };
        let devices = joined(&mut words);
        let is_shown = names.takes(&[kind, &info, &devices].join(&b';'));
        Source { is_shown, info: info.into(), devices: devices.into() }
    }
}

/// What is left of the words, with one blank between them.
fn joined(words: &mut Fields<'_>) -> Vec<u8> {
    words.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const PATH: &str = "proc/interrupts";

    /// CPU 1 is off line. The controllers are written as Linux writes them since 6.11.
    const TEXT: &str = "           CPU0       CPU2       \n  \
          9:          0          3  IO-APIC   9-fasteoi   acpi\n \
         26:          0         15 PCI-MSIX-0000:00:02.0   0-edge      virtio1-config,  eth0\n\
        NMI:          0          0   Non-maskable interrupts\n\
        LOC:    2889425    3152734   Local timer interrupts\n\
        ERR:          0\n\
        MIS:          0\n";

    fn page(settings: &[(&str, Node)], page: &Expect) {
        check::<Interrupts>(&MemoryHost::from_files(&[(PATH, TEXT)]).host(), settings, page);
    }

    #[test]
    fn golden() {
        page(
            &[],
            &expect![[r#"
                # node_interrupts_total counter
                node_interrupts_total{cpu="0",type="9",info="IO-APIC",devices="9-fasteoi acpi"} 0
                node_interrupts_total{cpu="1",type="9",info="IO-APIC",devices="9-fasteoi acpi"} 3
                node_interrupts_total{cpu="0",type="26",info="PCI-MSIX-0000:00:02.0",devices="0-edge virtio1-config, eth0"} 0
                node_interrupts_total{cpu="1",type="26",info="PCI-MSIX-0000:00:02.0",devices="0-edge virtio1-config, eth0"} 15
                node_interrupts_total{cpu="0",type="NMI",info="Non-maskable interrupts",devices=""} 0
                node_interrupts_total{cpu="1",type="NMI",info="Non-maskable interrupts",devices=""} 0
                node_interrupts_total{cpu="0",type="LOC",info="Local timer interrupts",devices=""} 2.889425e+06
                node_interrupts_total{cpu="1",type="LOC",info="Local timer interrupts",devices=""} 3.152734e+06
            "#]],
        );
    }

    #[test]
    fn a_filter_sees_type_info_and_devices() {
        page(
            &[
                ("name_include", r"^(\d+;.*;.*acpi|LOC;Local timer interrupts;|NMI;)".into()),
                ("name_exclude", "^NMI".into()),
            ],
            &expect![[r#"
                # node_interrupts_total counter
                node_interrupts_total{cpu="0",type="9",info="IO-APIC",devices="9-fasteoi acpi"} 0
                node_interrupts_total{cpu="1",type="9",info="IO-APIC",devices="9-fasteoi acpi"} 3
                node_interrupts_total{cpu="0",type="LOC",info="Local timer interrupts",devices=""} 2.889425e+06
                node_interrupts_total{cpu="1",type="LOC",info="Local timer interrupts",devices=""} 3.152734e+06
            "#]],
        );
    }

    #[test]
    fn zeros_are_left_out_if_a_setting_says_so() {
        page(
            &[("include_zeros", false.into())],
            &expect![[r#"
                # node_interrupts_total counter
                node_interrupts_total{cpu="1",type="9",info="IO-APIC",devices="9-fasteoi acpi"} 3
                node_interrupts_total{cpu="1",type="26",info="PCI-MSIX-0000:00:02.0",devices="0-edge virtio1-config, eth0"} 15
                node_interrupts_total{cpu="0",type="LOC",info="Local timer interrupts",devices=""} 2.889425e+06
                node_interrupts_total{cpu="1",type="LOC",info="Local timer interrupts",devices=""} 3.152734e+06
            "#]],
        );
    }

    /// On arm64 a count can follow its colon without a blank, and names may have any bytes.
    #[test]
    fn other_architectures() {
        let memory = MemoryHost::new();
        memory.write(
            PATH,
            b"           CPU0\n 11:      9012     GICv3  27 Level     arch_timer\n\
              IPI0:  14567890       Rescheduling interrupts\n\
              IPI1:123456789012       Function: call\xff interrupts\nErr:          0\n",
        );
        let (batch, outcome) = run(&mut open::<Interrupts>(&memory.host(), &[]), None);
        outcome.unwrap();
        expect![[r#"
            # node_interrupts_total counter
            node_interrupts_total{cpu="0",type="11",info="GICv3",devices="27 Level arch_timer"} 9012
            node_interrupts_total{cpu="0",type="IPI0",info="Rescheduling interrupts",devices=""} 1.456789e+07
            node_interrupts_total{cpu="0",type="IPI1",info="Function: call� interrupts",devices=""} 1.23456789012e+11
        "#]]
        .assert_eq(&render(&batch));
    }

    #[test]
    fn a_device_that_goes_and_comes() {
        let memory = MemoryHost::from_files(&[(PATH, TEXT)]);
        let mut collector = open::<Interrupts>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.write(PATH, TEXT.replace(" 26:", " 26 "));
        let (second, _) = run(&mut collector, Some(&first));
        memory.write(PATH, TEXT);
        let (third, _) = run(&mut collector, Some(&second));
        assert_eq!([first.len(), second.len(), third.len()], [8, 6, 8]);
    }

    #[test]
    fn a_bad_count_costs_the_rest_of_its_line() {
        let text = " CPU0 CPU1\n1: 5 x IO-APIC timer\n2: 1 2 IO-APIC rtc\n";
        let memory = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Interrupts>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.malformed(), Some((1, Malformed::new(16, "a number"))));
    }

    /// The line of one source is longer than half a page.
    #[test]
    fn lines_of_many_cpus_are_not_cut() {
        let head: String = (0..300).map(|cpu| format!(" CPU{cpu:<6}")).collect();
        let row = |kind: &str| format!("{kind}:{} IO-APIC x\n", " 1234567890".repeat(300));
        let text = [&head, "\n", &row("1"), &row("2")].concat();
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<Interrupts>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 600);
    }

    #[test]
    fn an_empty_or_absent_file_is_an_error() {
        check_fails::<Interrupts>(
            &MemoryHost::from_files(&[(PATH, "")]).host(),
            &[],
            &expect!["proc/interrupts: byte 0: expected a line of CPUs"],
            &expect![""],
        );
        check_fails::<Interrupts>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/interrupts: not on this host"],
            &expect![""],
        );
    }
}
