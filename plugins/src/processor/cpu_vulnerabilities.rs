//! Vulnerabilities of the CPU and what is done about them, from `/sys/devices/system/cpu/vulnerabilities`
//! (Documentation/ABI/testing/sysfs-devices-system-cpu).

use vitald_core::prelude::*;

families! {
    /// A vulnerability that the kernel knows of, whether this CPU has it, and what is done about it; always 1.
    INFO: gauge = "node_cpu_vulnerabilities_info" [codename, state, mitigation];
}

attributes! {
    Vulnerability {
        TEXT: text = "";
    }
}

register_collector!(CpuVulnerabilities);

struct CpuVulnerabilities {
    vulnerabilities: Walk<Vulnerability>,
}

impl Collector for CpuVulnerabilities {
    about! {
        name: "cpu_vulnerabilities",
        summary: "Vulnerabilities of the CPU, and what is done about them",
        families: FAMILIES,
        sources: ["sys/devices/system/cpu/vulnerabilities/*"],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        let vulnerabilities = host.walk("sys/devices/system/cpu/vulnerabilities/*").files();
        Ok(CpuVulnerabilities { vulnerabilities })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for vulnerability in self.vulnerabilities.refresh()? {
            let parsed = parse(vulnerability.text(&Vulnerability::TEXT)?);
            let Some((state, mitigation)) = parsed else { continue };
            batch.row(&INFO, [vulnerability.name(0), state, mitigation], 1);
        }
        Ok(())
    }
}

/// Takes the state and what follows it of `Mitigation: PTE Inversion` or `Not affected`.
///
/// The separator is left out only if it is a colon and a blank, as in node_exporter: what follows
/// in `Vulnerable, IBPB: disabled` begins with the comma. `None` for what the kernel says otherwise, such as
/// `KVM: Mitigation: Split huge pages` or `Unknown: No mitigations`, which have no such state.
fn parse(text: &[u8]) -> Option<(&'static [u8], &[u8])> {
    if text == b"Not affected" {
        return Some((b"not affected", b""));
    }
    let states: [(&[u8], &[u8]); 2] =
        [(b"Vulnerable", b"vulnerable"), (b"Mitigation", b"mitigation")];
    for (word, state) in states {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((state, rest.strip_prefix(b": ").unwrap_or(rest)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn golden() {
        let files = [
            ("itlb_multihit", "Not affected\n"),
            ("l1tf", "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable\n"),
            ("mds", "Vulnerable: Clear CPU buffers attempted, no microcode; SMT vulnerable\n"),
            ("spec_store_bypass", "Vulnerable\n"),
            ("spectre_v2", "Vulnerable, IBPB: disabled, STIBP: disabled\n"),
        ];
        let memory = MemoryHost::new();
        for (name, text) in files {
            memory.write(format!("sys/devices/system/cpu/vulnerabilities/{name}"), text);
        }
        check::<CpuVulnerabilities>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_cpu_vulnerabilities_info gauge
                node_cpu_vulnerabilities_info{codename="itlb_multihit",state="not affected",mitigation=""} 1
                node_cpu_vulnerabilities_info{codename="l1tf",state="mitigation",mitigation="PTE Inversion; VMX: conditional cache flushes, SMT vulnerable"} 1
                node_cpu_vulnerabilities_info{codename="mds",state="vulnerable",mitigation="Clear CPU buffers attempted, no microcode; SMT vulnerable"} 1
                node_cpu_vulnerabilities_info{codename="spec_store_bypass",state="vulnerable",mitigation=""} 1
                node_cpu_vulnerabilities_info{codename="spectre_v2",state="vulnerable",mitigation=", IBPB: disabled, STIBP: disabled"} 1
            "#]],
        );
    }

    /// node_exporter shows none at all when it does not know one of them.
    #[test]
    fn a_state_that_is_not_known_costs_that_one() {
        let memory = MemoryHost::from_files(&[
            (
                "sys/devices/system/cpu/vulnerabilities/itlb_multihit",
                "KVM: Mitigation: VMX disabled\n",
            ),
            ("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n"),
        ]);
        let (batch, outcome) = run(&mut open::<CpuVulnerabilities>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed()), (1, None));
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<CpuVulnerabilities>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/devices/system/cpu/vulnerabilities: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        for text in ["", "not affected", "Unknown: No mitigations"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
