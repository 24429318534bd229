//! Names and versions of the running system, from uname(2).

use vitald_core::host::Uname;
use vitald_core::prelude::*;

families! {
    /// Always 1; the labels are what uname(2) says of the kernel, the host and its NIS domain.
    INFO: gauge = "node_uname_info" [sysname, release, version, machine, nodename, domainname];
}

register_collector!(UnameCollector);

struct UnameCollector {
    host: Host,
    uname: Uname,
}

impl Collector for UnameCollector {
    about! {
        name: "uname",
        summary: "Names and versions of the running system",
        families: FAMILIES,
        sources: ["uname"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(UnameCollector { host: host.clone(), uname: Uname::default() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.host.uname(&mut self.uname);
        let uname = &self.uname;
        let texts = [
            &uname.sysname,
            &uname.release,
            &uname.version,
            &uname.machine,
            &uname.nodename,
            &uname.domainname,
        ];
        batch.row(&INFO, texts.map(|text| text.as_bytes()), 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        memory.set_uname(Uname {
            sysname: "Linux".into(),
            nodename: "node7".into(),
            release: "6.18.44".into(),
            version: "#1 SMP PREEMPT_DYNAMIC \"@0\"".into(),
            machine: "x86_64".into(),
            domainname: "(none)".into(),
        });
        memory
    }

    #[test]
    fn golden() {
        check::<UnameCollector>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_uname_info gauge
            node_uname_info{sysname="Linux",release="6.18.44",version="#1 SMP PREEMPT_DYNAMIC \"@0\"",machine="x86_64",nodename="node7",domainname="(none)"} 1
        "##]],
        );
    }

    #[test]
    fn a_new_host_name_is_seen() {
        let memory = memory();
        let mut collector: UnameCollector = open(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.set_uname(Uname { nodename: "node8".into(), ..Uname::default() });
        let (second, _) = run(&mut collector, Some(&first));
        assert!(render(&first).contains("nodename=\"node7\""));
        assert!(render(&second).contains("nodename=\"node8\""));
        assert!(!render(&second).contains("node7"));
    }
}
