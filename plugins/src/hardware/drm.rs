//! Graphics cards that the driver amdgpu runs, from `/sys/class/drm`
//! (Documentation/gpu/amdgpu/driver-misc.rst).

use super::chip_names::of_device;
use vitald_core::family::Family;
use vitald_core::host::Attribute;
use vitald_core::host::attribute::Number;
use vitald_core::prelude::*;

families! {
    /// What a card is; always 1. The label `chip` is that of hwmon.
    INFO: gauge = "node_drm_card_info" [card, memory_vendor, power_performance_level, unique_id, vendor];
    /// How busy a card is, in percent.
    BUSY: gauge = "node_drm_gpu_busy_percent" [card] legacy;
    /// The host's memory that a card can use.
    HOST_SIZE: gauge = "node_drm_memory_gtt_size_bytes" [card];
    /// The host's memory that a card uses.
    HOST_USED: gauge = "node_drm_memory_gtt_used_bytes" [card];
    /// The memory of a card that the processor can reach.
    VISIBLE_SIZE: gauge = "node_drm_memory_vis_vram_size_bytes" [card];
    /// The memory in use of what the processor can reach.
    VISIBLE_USED: gauge = "node_drm_memory_vis_vram_used_bytes" [card];
    /// The memory of a card.
    SIZE: gauge = "node_drm_memory_vram_size_bytes" [card];
    /// The memory of a card that is in use.
    USED: gauge = "node_drm_memory_vram_used_bytes" [card];
}

attributes! {
    Card {
        // The names of the driver and of the device.
        EVENT: text = "device/uevent", slow;
        MEMORY_VENDOR: text = "device/mem_info_vram_vendor", optional, slow;
        LEVEL: text = "device/power_dpm_force_performance_level", optional;
        UNIQUE_ID: text = "device/unique_id", optional, slow;
        BUSY: u64 = "device/gpu_busy_percent", optional;
        HOST_SIZE: u64 = "device/mem_info_gtt_total", optional;
        HOST_USED: u64 = "device/mem_info_gtt_used", optional;
        VISIBLE_SIZE: u64 = "device/mem_info_vis_vram_total", optional;
        VISIBLE_USED: u64 = "device/mem_info_vis_vram_used", optional;
        SIZE: u64 = "device/mem_info_vram_total", optional;
        USED: u64 = "device/mem_info_vram_used", optional;
    }
}

const NUMBERS: &[(&Family<1>, &Attribute<Card, Number>)] = &[
    (&BUSY, &Card::BUSY),
    (&HOST_SIZE, &Card::HOST_SIZE),
    (&HOST_USED, &Card::HOST_USED),
    (&VISIBLE_SIZE, &Card::VISIBLE_SIZE),
    (&VISIBLE_USED, &Card::VISIBLE_USED),
    (&SIZE, &Card::SIZE),
    (&USED, &Card::USED),
];

register_collector!(Drm);

struct Drm {
    host: Host,
    cards: Walk<Card>,
    /// The label `chip` of each card.
    chips: Rows<Vec<u8>>,
    key: Vec<u8>,
}

impl Collector for Drm {
    about! {
        name: "drm",
        summary: "Memory and use of AMD graphics cards",
        families: FAMILIES,
        sources: [
            "sys/class/drm/card*/device/uevent",
            "sys/class/drm/card*/device/mem_info_*",
            "sys/class/drm/card*/device/power_dpm_force_performance_level",
            "sys/class/drm/card*/device/unique_id",
            "sys/class/drm/card*/device/gpu_busy_percent",
        ],
    }
    const ENABLED: bool = false;
    // The card is asked, and woken for it if it sleeps.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::optional("sys/class/drm"));
    const OWN_DESCRIPTORS: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Drm {
            host: host.clone(),
            cards: host.walk("sys/class/drm/card*").only(0, is_card),
            chips: Rows::new(),
            key: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Drm { host, cards, chips, key } = self;
        let mut chips = chips.begin();
        for card in cards.optional()? {
            if !has_driver(card.text(&Card::EVENT)?, b"amdgpu") {
                continue;
            }
            let name = card.name(0);
            key.clear();
            key.extend_from_slice(name);
            key.extend_from_slice(&card.inode().to_ne_bytes());
            let chip = chips.row(key, || chip_of(host, name).unwrap_or_default());
            let pairs = [
                (&b"card"[..], name),
                (b"memory_vendor", card.text(&Card::MEMORY_VENDOR)?),
                (b"power_performance_level", card.text(&Card::LEVEL)?),
                (b"unique_id", card.text(&Card::UNIQUE_ID)?),
                (b"vendor", b"amd"),
                (b"chip", chip),
            ];
            let labels = batch.label_pairs(&pairs[..pairs.len() - usize::from(chip.is_empty())]);
            batch.push_pairs(&INFO, labels, 1);
            let labels = batch.labels([name]);
            for (family, attribute) in NUMBERS {
                // As in node_exporter, what a card does not tell is 0.
                if let Some(number) = card.number_or(attribute, 0.0, batch)? {
                    batch.push(family, labels, number);
                }
            }
        }
        chips.finish();
        Ok(())
    }
}

/// Whether this is `card0`, and not one of its outputs such as `card0-DP-1`; node_exporter shows
/// no more than ten cards.
fn is_card(name: &[u8]) -> bool {
    matches!(name.strip_prefix(b"card"), Some([digit]) if digit.is_ascii_digit())
}

/// Whether a line of a device's events says that it has this driver.
fn has_driver(event: &[u8], driver: &[u8]) -> bool {
    lines(event).any(|line| line.strip_prefix(b"DRIVER=") == Some(driver))
}

/// Names a card as hwmon names the chip on it.
fn chip_of(host: &Host, name: &[u8]) -> Option<Vec<u8>> {
    let path = format!("sys/class/drm/{}/device", str::from_utf8(name).ok()?);
    of_device(host.real_path(&path, &mut Vec::new()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const CARD: &str = "sys/devices/pci0/0000:03:00.0";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (file, content) in [
            ("uevent", "DRIVER=amdgpu\nPCI_CLASS=30000"),
            ("gpu_busy_percent", "37"),
            ("mem_info_gtt_total", "16718196736"),
            ("mem_info_gtt_used", "26058752"),
            ("mem_info_vis_vram_total", "268435456"),
            ("mem_info_vis_vram_used", "14995456"),
            ("mem_info_vram_total", "17163091968"),
            ("mem_info_vram_used", "1490042880"),
            ("mem_info_vram_vendor", "hynix"),
            ("power_dpm_force_performance_level", "auto"),
            ("unique_id", "8f2c11dd08e4a3b1"),
        ] {
            memory.write(format!("{CARD}/{file}"), format!("{content}\n"));
        }
        memory.link("sys/class/drm/card1", "../../devices/pci0/0000:03:00.0/drm/card1");
        memory.make_directory(format!("{CARD}/drm/card1"));
        memory.link(format!("{CARD}/drm/card1/device"), "../..");
        memory.write("sys/class/drm/card0/device/uevent", "DRIVER=ast\n");
        memory.write("sys/class/drm/card1-DP-1/status", "connected\n");
        memory.make_directory("sys/class/drm/renderD128");
        memory
    }

    #[test]
    fn golden() {
        check::<Drm>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_drm_card_info gauge
            node_drm_card_info{card="card1",memory_vendor="hynix",power_performance_level="auto",unique_id="8f2c11dd08e4a3b1",vendor="amd",chip="pci0_0000:03:00_0"} 1
            # node_drm_gpu_busy_percent gauge
            node_drm_gpu_busy_percent{card="card1"} 37
            # node_drm_memory_gtt_size_bytes gauge
            node_drm_memory_gtt_size_bytes{card="card1"} 1.6718196736e+10
            # node_drm_memory_gtt_used_bytes gauge
            node_drm_memory_gtt_used_bytes{card="card1"} 2.6058752e+07
            # node_drm_memory_vis_vram_size_bytes gauge
            node_drm_memory_vis_vram_size_bytes{card="card1"} 2.68435456e+08
            # node_drm_memory_vis_vram_used_bytes gauge
            node_drm_memory_vis_vram_used_bytes{card="card1"} 1.4995456e+07
            # node_drm_memory_vram_size_bytes gauge
            node_drm_memory_vram_size_bytes{card="card1"} 1.7163091968e+10
            # node_drm_memory_vram_used_bytes gauge
            node_drm_memory_vram_used_bytes{card="card1"} 1.49004288e+09
        "##]],
        );
    }

    /// A processor with graphics has no memory of its own, and may not say how busy it is.
    #[test]
    fn what_a_card_does_not_tell_is_0() {
        let memory = MemoryHost::from_files(&[
            ("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\n"),
            ("sys/class/drm/card0/device/mem_info_vram_total", "x\n"),
        ]);
        let (batch, outcome) = run(&mut open::<Drm>(&memory.host(), &[]), None);
        outcome.unwrap();
        expect![[r##"
            # node_drm_card_info gauge
            node_drm_card_info{card="card0",memory_vendor="",power_performance_level="",unique_id="",vendor="amd",chip="card0_device"} 1
            # node_drm_gpu_busy_percent gauge
            node_drm_gpu_busy_percent{card="card0"} 0
            # node_drm_memory_gtt_size_bytes gauge
            node_drm_memory_gtt_size_bytes{card="card0"} 0
            # node_drm_memory_gtt_used_bytes gauge
            node_drm_memory_gtt_used_bytes{card="card0"} 0
            # node_drm_memory_vis_vram_size_bytes gauge
            node_drm_memory_vis_vram_size_bytes{card="card0"} 0
            # node_drm_memory_vis_vram_used_bytes gauge
            node_drm_memory_vis_vram_used_bytes{card="card0"} 0
            # node_drm_memory_vram_used_bytes gauge
            node_drm_memory_vram_used_bytes{card="card0"} 0
        "##]].assert_eq(&render(&batch));
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    }

    #[test]
    fn a_card_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Drm>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        assert_eq!(whole.len(), 8);
        memory.remove("sys/class/drm/card1");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert!(batch.is_empty());
        memory.link("sys/class/drm/card2", "../../devices/pci0/0000:03:00.0/drm/card1");
        assert!(render(&run(&mut collector, None).0).contains("{card=\"card2\"} 37"));
    }

    #[test]
    fn names_of_cards() {
        assert!(is_card(b"card0") && is_card(b"card9"));
        assert!(!is_card(b"card") && !is_card(b"card10") && !is_card(b"card0-DP-1"));
    }

    #[test]
    fn a_host_without_cards_has_no_series() {
        check::<Drm>(&MemoryHost::new().host(), &[], &expect![""]);
    }
}
