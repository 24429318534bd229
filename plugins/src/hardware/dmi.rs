//! What the firmware says of the machine (SMBIOS), from `/sys/class/dmi/id`
//! (drivers/firmware/dmi-id.c).

use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// What the firmware says of the machine, one label for each thing that it says; always 1.
    INFO: gauge = "node_dmi_info";
}

attributes! {
    /// The kernel reads these once, when it boots.
    Table {
        BIOS_DATE: text = "bios_date", optional, slow;
        BIOS_RELEASE: text = "bios_release", optional, slow;
        BIOS_VENDOR: text = "bios_vendor", optional, slow;
        BIOS_VERSION: text = "bios_version", optional, slow;
        BOARD_ASSET_TAG: text = "board_asset_tag", optional, slow;
        BOARD_NAME: text = "board_name", optional, slow;
        BOARD_SERIAL: text = "board_serial", optional, slow;
        BOARD_VENDOR: text = "board_vendor", optional, slow;
        BOARD_VERSION: text = "board_version", optional, slow;
        CHASSIS_ASSET_TAG: text = "chassis_asset_tag", optional, slow;
        CHASSIS_SERIAL: text = "chassis_serial", optional, slow;
        CHASSIS_VENDOR: text = "chassis_vendor", optional, slow;
        CHASSIS_VERSION: text = "chassis_version", optional, slow;
        PRODUCT_FAMILY: text = "product_family", optional, slow;
        PRODUCT_NAME: text = "product_name", optional, slow;
        PRODUCT_SERIAL: text = "product_serial", optional, slow;
        PRODUCT_SKU: text = "product_sku", optional, slow;
        PRODUCT_UUID: text = "product_uuid", optional, slow;
        PRODUCT_VERSION: text = "product_version", optional, slow;
        SYSTEM_VENDOR: text = "sys_vendor", optional, slow;
    }
}

register_collector!(Dmi);

struct Dmi {
    walk: Walk<Table>,
    events: DeviceEvents,
}

impl Collector for Dmi {
    about! {
        name: "dmi",
        summary: "Vendor, model and serial numbers of the machine",
        families: FAMILIES,
        sources: [
            "sys/class/dmi/id/bios_date",
            "sys/class/dmi/id/bios_release",
            "sys/class/dmi/id/bios_vendor",
            "sys/class/dmi/id/bios_version",
            "sys/class/dmi/id/board_asset_tag",
            "sys/class/dmi/id/board_name",
            "sys/class/dmi/id/board_serial",
            "sys/class/dmi/id/board_vendor",
            "sys/class/dmi/id/board_version",
            "sys/class/dmi/id/chassis_asset_tag",
            "sys/class/dmi/id/chassis_serial",
            "sys/class/dmi/id/chassis_vendor",
            "sys/class/dmi/id/chassis_version",
            "sys/class/dmi/id/product_family",
            "sys/class/dmi/id/product_name",
            "sys/class/dmi/id/product_serial",
            "sys/class/dmi/id/product_sku",
            "sys/class/dmi/id/product_uuid",
            "sys/class/dmi/id/product_version",
            "sys/class/dmi/id/sys_vendor",
            "sys/kernel/uevent_seqnum",
        ],
    }
    // The kernel lets only root read what tells one machine from another.
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH"];
    const LACKS_WITHOUT: &'static str = "the serial numbers and the UUID";

    fn open((): (), host: &Host) -> Result<Self> {
        let walk = host.walk("sys/class/dmi/*");
        let walk = walk.only(0, |name| name == b"id").slow_once();
        Ok(Dmi { walk, events: host.device_events() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let Some(table) = self.walk.under_events(number).refresh()?.next() else {
            return Err(Error::absent("sys/class/dmi/id"));
        };
        let texts = [
            (&b"bios_date"[..], &Table::BIOS_DATE),
            (b"bios_release", &Table::BIOS_RELEASE),
            (b"bios_vendor", &Table::BIOS_VENDOR),
            (b"bios_version", &Table::BIOS_VERSION),
            (b"board_asset_tag", &Table::BOARD_ASSET_TAG),
            (b"board_name", &Table::BOARD_NAME),
            (b"board_serial", &Table::BOARD_SERIAL),
            (b"board_vendor", &Table::BOARD_VENDOR),
            (b"board_version", &Table::BOARD_VERSION),
            (b"chassis_asset_tag", &Table::CHASSIS_ASSET_TAG),
            (b"chassis_serial", &Table::CHASSIS_SERIAL),
            (b"chassis_vendor", &Table::CHASSIS_VENDOR),
            (b"chassis_version", &Table::CHASSIS_VERSION),
            (b"product_family", &Table::PRODUCT_FAMILY),
            (b"product_name", &Table::PRODUCT_NAME),
            (b"product_serial", &Table::PRODUCT_SERIAL),
            (b"product_sku", &Table::PRODUCT_SKU),
            (b"product_uuid", &Table::PRODUCT_UUID),
            (b"product_version", &Table::PRODUCT_VERSION),
            (b"system_vendor", &Table::SYSTEM_VENDOR),
        ];
        let mut pairs = [(&b""[..], &b""[..]); 20];
        let mut count = 0;
        for (label, attribute) in texts {
            // The serial numbers are for root alone, and what the firmware leaves out has no file.
            if let Some(text) = table.optional_text(attribute)? {
                pairs[count] = (label, text);
                count += 1;
            }
        }
        if count == 0 {
            return Err(Error::absent("sys/class/dmi/id/*"));
        }
        let labels = batch.label_pairs(&pairs[..count]);
        batch.push_pairs(&INFO, labels, 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("sys/devices/virtual/dmi/id/bios_vendor", "Lenovo\n"),
            ("sys/devices/virtual/dmi/id/board_asset_tag", " \n"),
            ("sys/devices/virtual/dmi/id/chassis_type", "10\n"),
            ("sys/devices/virtual/dmi/id/modalias", "dmi:bvnLenovo:\n"),
            ("sys/devices/virtual/dmi/id/product_serial", "PF0XYZ12\n"),
            ("sys/devices/virtual/dmi/id/sys_vendor", "LENOVO\n"),
        ]);
        memory.link("sys/class/dmi/id", "../../devices/virtual/dmi/id");
        memory
    }

    #[test]
    fn golden() {
        check::<Dmi>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_dmi_info gauge
                node_dmi_info{bios_vendor="Lenovo",board_asset_tag="",product_serial="PF0XYZ12",system_vendor="LENOVO"} 1
            "#]],
        );
    }

    #[test]
    fn what_is_for_root_alone_is_left_out() {
        let memory = memory();
        memory.fail_open("sys/devices/virtual/dmi/id/product_serial", 13);
        check::<Dmi>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_dmi_info gauge
                node_dmi_info{bios_vendor="Lenovo",board_asset_tag="",system_vendor="LENOVO"} 1
            "#]],
        );
    }

    #[test]
    fn it_is_read_once() {
        let memory = memory();
        let mut collector = open::<Dmi>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        let reads = memory.reads();
        run(&mut collector, Some(&first)).1.unwrap();
        assert_eq!(memory.reads(), reads);
    }

    #[test]
    fn a_machine_without_it_is_said() {
        let memory = MemoryHost::new();
        let said = |host: &MemoryHost| {
            run(&mut open::<Dmi>(&host.host(), &[]), None).1.unwrap_err().to_string()
        };
        assert_eq!(said(&memory), "sys/class/dmi: not on this host");
        memory.make_directory("sys/class/dmi");
        assert_eq!(said(&memory), "sys/class/dmi/id: not on this host");
        memory.write("sys/class/dmi/id/modalias", "dmi:\n");
        assert_eq!(said(&memory), "sys/class/dmi/id/*: not on this host");
    }
}
