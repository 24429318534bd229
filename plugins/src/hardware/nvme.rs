//! NVMe controllers and their namespaces, from `/sys/class/nvme`
//! (drivers/nvme/host/sysfs.c, Documentation/ABI/testing/sysfs-nvme).

use vitald_core::prelude::*;

families! {
    /// What an NVMe controller is, and its state; always 1.
    INFO: gauge = "node_nvme_info" [device, firmware_revision, model, serial, state, cntlid];
    /// How a controller reaches a namespace (Asymmetric Namespace Access); always 1.
    NAMESPACE_INFO: gauge = "node_nvme_namespace_info" [device, nsid, ana_state];
    /// The blocks that a namespace can hold, times the size of a block.
    CAPACITY: gauge = "node_nvme_namespace_capacity_bytes" [device, nsid];
    /// The size of a namespace as `size` gives it, times the size of a block.
    SIZE: gauge = "node_nvme_namespace_size_bytes" [device, nsid];
    /// The blocks of a namespace that are in use, times the size of a block.
    USED: gauge = "node_nvme_namespace_used_bytes" [device, nsid];
    /// The size of a namespace's logical blocks.
    BLOCK_SIZE: gauge = "node_nvme_namespace_logical_block_size_bytes" [device, nsid];
}

attributes! {
    Controller {
        MODEL: text = "model", slow;
        SERIAL: text = "serial", slow;
        FIRMWARE: text = "firmware_rev", slow;
        STATE: text = "state", optional;
        ID: text = "cntlid", optional, slow;
    }
}

attributes! {
    /// A namespace as one controller sees it.
    Namespace {
        SIZE: u64 = "size";
        // Since Linux 6.8.
        USED: u64 = "nuse", optional;
        BLOCK_SIZE: u64 = "queue/logical_block_size";
        ACCESS: text = "ana_state", optional;
    }
}

register_collector!(Nvme);

struct Nvme {
    controllers: Walk<Controller>,
    namespaces: Walk<Namespace>,
}

impl Collector for Nvme {
    about! {
        name: "nvme",
        summary: "NVMe controllers and the sizes of their namespaces",
        families: FAMILIES,
        sources: [
            "sys/class/nvme/*/model",
            "sys/class/nvme/*/serial",
            "sys/class/nvme/*/firmware_rev",
            "sys/class/nvme/*/state",
            "sys/class/nvme/*/cntlid",
            "sys/class/nvme/*/nvme*/size",
            "sys/class/nvme/*/nvme*/nuse",
            "sys/class/nvme/*/nvme*/queue/logical_block_size",
            "sys/class/nvme/*/nvme*/ana_state",
        ],
    }
    // Linux 6.8 and later ask the controller for the blocks in use.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/nvme"));
    const OWN_DESCRIPTORS: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        let namespaces = host.walk("sys/class/nvme/*/nvme*");
        Ok(Nvme {
            controllers: host.walk("sys/class/nvme/*"),
            namespaces: namespaces.only(1, |name| namespace_id(name).is_some()),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for controller in self.controllers.refresh()? {
            let labels = [
                controller.name(0),
                controller.text(&Controller::FIRMWARE)?,
                controller.text(&Controller::MODEL)?,
                controller.text(&Controller::SERIAL)?,
                controller.text(&Controller::STATE)?,
                controller.text(&Controller::ID)?,
            ];
            batch.row(&INFO, labels, 1);
        }
        for namespace in self.namespaces.optional()? {
            let (device, id) = (namespace.name(0), namespace_id(namespace.name(1)));
            let labels = batch.labels([device, id.unwrap_or_default()]);
            let mut bytes = |attribute| namespace.number(attribute, batch);
            let size = bytes(&Namespace::SIZE)?;
            let used = bytes(&Namespace::USED)?;
            let Some(block) = bytes(&Namespace::BLOCK_SIZE)? else { continue };
            if let Some(size) = size {
                batch.push(&CAPACITY, labels, size * block);
                batch.push(&SIZE, labels, size * block);
            }
            if let Some(used) = used {
                batch.push(&USED, labels, used * block);
            }
            batch.push(&BLOCK_SIZE, labels, block);
            let access = namespace.optional_text(&Namespace::ACCESS)?.unwrap_or(b"unknown");
            batch.row(&NAMESPACE_INFO, [device, id.unwrap_or_default(), access], 1);
        }
        Ok(())
    }
}

/// Takes the 7 of `nvme0n7`, the disk that a namespace is, or of `nvme0c1n7`, the path to it through one
/// controller where the kernel can use several.
fn namespace_id(name: &[u8]) -> Option<&[u8]> {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let (before, id) = text::split_once(name.strip_prefix(b"nvme")?, b'n')?;
    let (subsystem, controller) = text::split_once(before, b'c').unwrap_or((before, b"0"));
    (digits(subsystem) && digits(controller) && digits(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const NAMESPACE: &str = "sys/class/nvme/nvme1/nvme0c1n12";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("sys/class/nvme/nvme0/model", "KIOXIA KCM61RUL3T84                     \n"),
            ("sys/class/nvme/nvme0/serial", "                7150A00BTLR8\n"),
            ("sys/class/nvme/nvme0/firmware_rev", "0105    \n"),
            ("sys/class/nvme/nvme0/nvme0n1/size", "7501476528\n"),
            ("sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", "512\n"),
            ("sys/class/nvme/nvme0/nvme0n2/size", "it goes\n"),
            ("sys/class/nvme/nvme1/model", "Linux\n"),
            ("sys/class/nvme/nvme1/serial", "4e1d\n"),
            ("sys/class/nvme/nvme1/firmware_rev", "6.8.0\n"),
            ("sys/class/nvme/nvme1/state", "connecting\n"),
            ("sys/class/nvme/nvme1/cntlid", "2\n"),
        ]);
        memory.write(format!("{NAMESPACE}/size"), "2000\n");
        memory.write(format!("{NAMESPACE}/nuse"), "1500\n");
        memory.write(format!("{NAMESPACE}/queue/logical_block_size"), "4096\n");
        memory.write(format!("{NAMESPACE}/ana_state"), "non-optimized\n");
        memory
    }

    #[test]
    fn golden() {
        check::<Nvme>(
            &memory().host(),
            &[],
            &expect![[r##"
                # node_nvme_info gauge
                node_nvme_info{device="nvme0",firmware_revision="0105",model="KIOXIA KCM61RUL3T84",serial="7150A00BTLR8",state="",cntlid=""} 1
                node_nvme_info{device="nvme1",firmware_revision="6.8.0",model="Linux",serial="4e1d",state="connecting",cntlid="2"} 1
                # node_nvme_namespace_capacity_bytes gauge
                node_nvme_namespace_capacity_bytes{device="nvme0",nsid="1"} 3.840755982336e+12
                node_nvme_namespace_capacity_bytes{device="nvme1",nsid="12"} 8.192e+06
                # node_nvme_namespace_info gauge
                node_nvme_namespace_info{device="nvme0",nsid="1",ana_state="unknown"} 1
                node_nvme_namespace_info{device="nvme1",nsid="12",ana_state="non-optimized"} 1
                # node_nvme_namespace_logical_block_size_bytes gauge
                node_nvme_namespace_logical_block_size_bytes{device="nvme0",nsid="1"} 512
                node_nvme_namespace_logical_block_size_bytes{device="nvme1",nsid="12"} 4096
                # node_nvme_namespace_size_bytes gauge
                node_nvme_namespace_size_bytes{device="nvme0",nsid="1"} 3.840755982336e+12
                node_nvme_namespace_size_bytes{device="nvme1",nsid="12"} 8.192e+06
                # node_nvme_namespace_used_bytes gauge
                node_nvme_namespace_used_bytes{device="nvme1",nsid="12"} 6.144e+06
            "##]],
        );
    }

    #[test]
    fn without_asymmetric_access_it_is_not_known() {
        let memory = memory();
        memory.remove(format!("{NAMESPACE}/ana_state"));
        let (batch, outcome) = run(&mut open::<Nvme>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert!(render(&batch).contains("nsid=\"12\",ana_state=\"unknown\"} 1"));
    }

    /// A controller that resets answers no command.
    #[test]
    fn what_a_controller_does_not_answer_is_left_out_alone() {
        let memory = memory();
        let mut collector = open::<Nvme>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.fail(format!("{NAMESPACE}/nuse"), 5);
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!((whole.len(), batch.len()), (11, 10));
        memory.write(format!("{NAMESPACE}/nuse"), "1\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 11);
    }

    #[test]
    fn a_controller_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Nvme>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.rename("sys/class/nvme/nvme1", "sys/class/nvme/nvme2");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("device=\"nvme2\",nsid=\"12\"") && !page.contains("nvme1"), "{page}");
        memory.remove("sys/class/nvme/nvme2");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 5);
    }

    #[test]
    fn names_of_namespaces() {
        assert_eq!(namespace_id(b"nvme0c1n7"), Some(&b"7"[..]));
        assert_eq!(namespace_id(b"nvme10c210n65535"), Some(&b"65535"[..]));
        assert_eq!(namespace_id(b"nvme0n1"), Some(&b"1"[..]));
        for name in
            ["nvme0n1p1", "nvme0c1n", "nvme0cn1", "nvmec1n1", "nvme0c1n1p1", "ng0n1", "nvme"]
        {
            assert_eq!(namespace_id(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<Nvme>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/nvme: not on this host"],
            &expect![""],
        );
    }
}
