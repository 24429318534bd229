//! Ports of Fibre Channel adapters, from `/sys/class/fc_host`
//! (drivers/scsi/scsi_transport_fc.c, Documentation/scsi/scsi_fc_transport.rst).

use vitald_core::family::Family;
use vitald_core::host::Attribute;
use vitald_core::host::attribute::Number;
use vitald_core::prelude::*;

families! {
    /// What a port is, and its state; always 1.
    INFO: gauge = "node_fibrechannel_info" [
        fc_host, speed, port_state, port_type, port_id, port_name, fabric_name, symbolic_name,
        supported_classes, supported_speeds, dev_loss_tmo,
    ];
    /// Frames that were lost for want of buffers.
    DUMPED_FRAMES: counter = "node_fibrechannel_dumped_frames_total" [fc_host];
    /// Frames with errors.
    ERROR_FRAMES: counter = "node_fibrechannel_error_frames_total" [fc_host];
    /// Frames whose checksum was wrong.
    INVALID_CHECKSUMS: counter = "node_fibrechannel_invalid_crc_total" [fc_host];
    /// Frames received.
    RECEIVED_FRAMES: counter = "node_fibrechannel_rx_frames_total" [fc_host];
    /// Words of four bytes received.
    RECEIVED_WORDS: counter = "node_fibrechannel_rx_words_total" [fc_host];
    /// Frames sent.
    SENT_FRAMES: counter = "node_fibrechannel_tx_frames_total" [fc_host];
    /// Words of four bytes sent.
    SENT_WORDS: counter = "node_fibrechannel_tx_words_total" [fc_host];
    /// How long ago the statistics of a port began, in seconds.
    SINCE_RESET: counter = "node_fibrechannel_seconds_since_last_reset_total" [fc_host];
    /// Words that were not valid.
    INVALID_WORDS: counter = "node_fibrechannel_invalid_tx_words_total" [fc_host];
    /// How often the link of a port failed.
    LINK_FAILURES: counter = "node_fibrechannel_link_failure_total" [fc_host];
    /// How often a port lost the boundaries of words.
    LOST_SYNCHRONISATIONS: counter = "node_fibrechannel_loss_of_sync_total" [fc_host];
    /// How often a port lost the signal.
    LOST_SIGNALS: counter = "node_fibrechannel_loss_of_signal_total" [fc_host];
    /// How often the other side said that it was not operational.
    NOT_OPERATIONAL: counter = "node_fibrechannel_nos_total" [fc_host];
    /// SCSI packets that were aborted.
    ABORTED_PACKETS: counter = "node_fibrechannel_fcp_packet_aborts_total" [fc_host];
}

attributes! {
    Port {
        SPEED: text = "speed", optional;
        STATE: text = "port_state", optional;
        TYPE: text = "port_type", optional;
        ID: text = "port_id", optional;
        NAME: text = "port_name", optional, slow;
        FABRIC_NAME: text = "fabric_name", optional;
        SYMBOLIC_NAME: text = "symbolic_name", optional, slow;
        SUPPORTED_CLASSES: text = "supported_classes", optional, slow;
        SUPPORTED_SPEEDS: text = "supported_speeds", optional, slow;
        DEVICE_LOSS_TIMEOUT: text = "dev_loss_tmo", optional;
        DUMPED_FRAMES: hex = "statistics/dumped_frames", optional;
        ERROR_FRAMES: hex = "statistics/error_frames", optional;
        INVALID_CHECKSUMS: hex = "statistics/invalid_crc_count", optional;
        RECEIVED_FRAMES: hex = "statistics/rx_frames", optional;
        RECEIVED_WORDS: hex = "statistics/rx_words", optional;
        SENT_FRAMES: hex = "statistics/tx_frames", optional;
        SENT_WORDS: hex = "statistics/tx_words", optional;
        SINCE_RESET: hex = "statistics/seconds_since_last_reset", optional;
        INVALID_WORDS: hex = "statistics/invalid_tx_word_count", optional;
        LINK_FAILURES: hex = "statistics/link_failure_count", optional;
        LOST_SYNCHRONISATIONS: hex = "statistics/loss_of_sync_count", optional;
        LOST_SIGNALS: hex = "statistics/loss_of_signal_count", optional;
        NOT_OPERATIONAL: hex = "statistics/nos_count", optional;
        ABORTED_PACKETS: hex = "statistics/fcp_packet_aborts", optional;
    }
}

const COUNTERS: &[(&Family<1>, &Attribute<Port, Number>)] = &[
    (&DUMPED_FRAMES, &Port::DUMPED_FRAMES),
    (&ERROR_FRAMES, &Port::ERROR_FRAMES),
    (&INVALID_CHECKSUMS, &Port::INVALID_CHECKSUMS),
    (&RECEIVED_FRAMES, &Port::RECEIVED_FRAMES),
    (&RECEIVED_WORDS, &Port::RECEIVED_WORDS),
    (&SENT_FRAMES, &Port::SENT_FRAMES),
    (&SENT_WORDS, &Port::SENT_WORDS),
    (&SINCE_RESET, &Port::SINCE_RESET),
    (&INVALID_WORDS, &Port::INVALID_WORDS),
    (&LINK_FAILURES, &Port::LINK_FAILURES),
    (&LOST_SYNCHRONISATIONS, &Port::LOST_SYNCHRONISATIONS),
    (&LOST_SIGNALS, &Port::LOST_SIGNALS),
    (&NOT_OPERATIONAL, &Port::NOT_OPERATIONAL),
    (&ABORTED_PACKETS, &Port::ABORTED_PACKETS),
];

/// What the kernel writes where the adapter does not count: all bits set.
const NOT_COUNTED: f64 = u64::MAX as f64;

register_collector!(FibreChannel);

struct FibreChannel(Walk<Port>);

impl Collector for FibreChannel {
    about! {
        name: "fibrechannel",
        summary: "Ports of Fibre Channel adapters",
        families: FAMILIES,
        sources: ["sys/class/fc_host/*/*", "sys/class/fc_host/*/statistics/*"],
    }
    // Drivers ask the firmware of the adapter for the statistics.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/fc_host"));
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(FibreChannel(host.walk("sys/class/fc_host/*")))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for port in self.0.refresh()? {
            let info = [
                port.name(0),
                port.text(&Port::SPEED)?,
                port.text(&Port::STATE)?,
                port.text(&Port::TYPE)?,
                digits(port.text(&Port::ID)?),
                digits(port.text(&Port::NAME)?),
                digits(port.text(&Port::FABRIC_NAME)?),
                port.text(&Port::SYMBOLIC_NAME)?,
                port.text(&Port::SUPPORTED_CLASSES)?,
                port.text(&Port::SUPPORTED_SPEEDS)?,
                port.text(&Port::DEVICE_LOSS_TIMEOUT)?,
            ];
            batch.row(&INFO, info, 1);
            let labels = batch.labels([port.name(0)]);
            for (family, attribute) in COUNTERS {
                match port.number(attribute, batch)? {
                    Some(count) if count < NOT_COUNTED => batch.push(family, labels, count),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Takes what follows the `0x` of an identifier, as node_exporter shows it.
fn digits(text: &[u8]) -> &[u8] {
    if text.len() > 2 { &text[2..] } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("sys/class/fc_host/host4/dev_loss_tmo", "60\n"),
            ("sys/class/fc_host/host4/fabric_name", "0x100050eb1a8d3c02\n"),
            ("sys/class/fc_host/host4/port_id", "0x010200\n"),
            ("sys/class/fc_host/host4/port_name", "0x21000024ff7d1a2c\n"),
            ("sys/class/fc_host/host4/port_state", "Online\n"),
            ("sys/class/fc_host/host4/port_type", "NPort (fabric via point-to-point)\n"),
            ("sys/class/fc_host/host4/speed", "32 Gbit\n"),
            ("sys/class/fc_host/host4/supported_classes", "Class 3\n"),
            ("sys/class/fc_host/host4/supported_speeds", "8 Gbit, 16 Gbit, 32 Gbit\n"),
            ("sys/class/fc_host/host4/symbolic_name", "QLE2742 FW:v9.08.02 DVR:v10.02\n"),
            ("sys/class/fc_host/host4/statistics/rx_words", "0x1d91ac3f\n"),
            ("sys/class/fc_host/host4/statistics/nos_count", "0xffffffffffffffff\n"),
            ("sys/class/fc_host/host4/statistics/link_failure_count", "0x10\n"),
            ("sys/class/fc_host/host4/statistics/reset_statistics", "1\n"),
            ("sys/class/fc_host/host5/port_id", "0x\n"),
            ("sys/class/fc_host/host5/port_state", "Linkdown\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<FibreChannel>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_fibrechannel_info gauge
            node_fibrechannel_info{fc_host="host4",speed="32 Gbit",port_state="Online",port_type="NPort (fabric via point-to-point)",port_id="010200",port_name="21000024ff7d1a2c",fabric_name="100050eb1a8d3c02",symbolic_name="QLE2742 FW:v9.08.02 DVR:v10.02",supported_classes="Class 3",supported_speeds="8 Gbit, 16 Gbit, 32 Gbit",dev_loss_tmo="60"} 1
            node_fibrechannel_info{fc_host="host5",speed="",port_state="Linkdown",port_type="",port_id="0x",port_name="",fabric_name="",symbolic_name="",supported_classes="",supported_speeds="",dev_loss_tmo=""} 1
            # node_fibrechannel_link_failure_total counter
            node_fibrechannel_link_failure_total{fc_host="host4"} 16
            # node_fibrechannel_rx_words_total counter
            node_fibrechannel_rx_words_total{fc_host="host4"} 4.96086079e+08
        "##]],
        );
    }

    #[test]
    fn what_an_adapter_does_not_answer_is_left_out_alone() {
        let memory = memory();
        memory.fail("sys/class/fc_host/host4/statistics/rx_words", 95);
        memory.fail("sys/class/fc_host/host4/speed", 22);
        memory.write("sys/class/fc_host/host4/statistics/link_failure_count", "0xz\n");
        let (batch, outcome) = run(&mut open::<FibreChannel>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (2, Some(1)));
    }

    #[test]
    fn a_port_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<FibreChannel>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.rename("sys/class/fc_host/host4", "sys/class/fc_host/host9");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("link_failure_total{fc_host=\"host9\"} 16"), "{page}");
        assert!(!page.contains("host4"), "{page}");
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<FibreChannel>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/fc_host: not on this host"],
            &expect![""],
        );
    }
}
