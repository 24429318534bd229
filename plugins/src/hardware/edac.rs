//! Errors that memory controllers found and corrected, from `/sys/devices/system/edac/mc`
//! (Documentation/driver-api/edac.rst, Documentation/ABI/testing/sysfs-devices-edac).

use vitald_core::host::{Attributes, Child, DeviceEvents, Matches};
use vitald_core::prelude::*;

families! {
    /// Errors of a memory controller that were corrected.
    CORRECTED: counter = "node_edac_correctable_errors_total" [controller];
    /// Errors of a memory controller that could not be corrected.
    UNCORRECTED: counter = "node_edac_uncorrectable_errors_total" [controller];
    /// Errors of a row of memory chips that were corrected; `unknown` where the row is not known.
    ROW_CORRECTED: counter = "node_edac_csrow_correctable_errors_total" [controller, csrow];
    /// Errors of a row of memory chips that could not be corrected; `unknown` where the row is not known.
    ROW_UNCORRECTED: counter = "node_edac_csrow_uncorrectable_errors_total" [controller, csrow];
    /// Errors of a row's part on one channel that were corrected.
    CHANNEL_CORRECTED: counter = "node_edac_channel_correctable_errors_total"
        [controller, csrow, channel, dimm_label];
    /// Errors of a row's part on one channel that could not be corrected.
    CHANNEL_UNCORRECTED: counter = "node_edac_channel_uncorrectable_errors_total"
        [controller, csrow, channel, dimm_label];
}

attributes! {
    Controller {
        CORRECTED: u64 = "ce_count", optional;
        UNCORRECTED: u64 = "ue_count", optional;
        CORRECTED_SOMEWHERE: u64 = "ce_noinfo_count", optional;
        UNCORRECTED_SOMEWHERE: u64 = "ue_noinfo_count", optional;
    }
}

attributes! {
    Row {
        CORRECTED: u64 = "ce_count", optional;
        UNCORRECTED: u64 = "ue_count", optional;
    }
}

attributes! {
    /// One of the files of a row's channel, such as `ch0_ce_count`.
    ChannelFile {
        NUMBER: u64 = "", optional;
        TEXT: text = "", optional;
    }
}

register_collector!(Edac);

struct Edac {
    controllers: Walk<Controller>,
    rows: Walk<Row>,
    channels: Walk<ChannelFile>,
    /// Where a label is changed.
    label: Vec<u8>,
    events: DeviceEvents,
}

impl Collector for Edac {
    about! {
        name: "edac",
        summary: "Memory errors, corrected and not",
        families: FAMILIES,
        sources: [
            "sys/devices/system/edac/mc/mc*/ce_count",
            "sys/devices/system/edac/mc/mc*/ue_count",
            "sys/devices/system/edac/mc/mc*/ce_noinfo_count",
            "sys/devices/system/edac/mc/mc*/ue_noinfo_count",
            "sys/devices/system/edac/mc/mc*/csrow*/ce_count",
            "sys/devices/system/edac/mc/mc*/csrow*/ue_count",
            "sys/devices/system/edac/mc/mc*/csrow*/ch*",
            "sys/kernel/uevent_seqnum",
        ],
    }
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        let is_controller = |name: &[u8]| number_after(name, b"mc").is_some();
        let is_row = |name: &[u8]| number_after(name, b"csrow").is_some();
        let controllers = host.walk("sys/devices/system/edac/mc/mc*");
        let rows = host.walk("sys/devices/system/edac/mc/mc*/csrow*");
        let channels = host.walk("sys/devices/system/edac/mc/mc*/csrow*/ch*");
        Ok(Edac {
            controllers: controllers.only(0, is_controller),
            rows: rows.only(0, is_controller).only(1, is_row),
            channels: channels
                .files()
                .only(0, is_controller)
                .only(1, is_row)
                .only(2, |name| ChannelName::of(name).is_some())
                // An administrator may set the label of a memory module.
                .slow_children(|name| name.ends_with(b"_dimm_label")),
            label: Vec::new(),
            events: host.device_events(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let controllers = self.controllers.under_events(number).optional()?;
        // Rows and channels are looked for in controllers.
        if controllers.len() == 0 {
            return Ok(());
        }
        for controller in controllers {
            let number = number_after(controller.name(0), b"mc").unwrap_or_default();
            let labels = batch.labels([number]);
            controller.push(batch, &CORRECTED, labels, &Controller::CORRECTED)?;
            controller.push(batch, &UNCORRECTED, labels, &Controller::UNCORRECTED)?;
            let labels = batch.labels([number, b"unknown"]);
            controller.push(batch, &ROW_CORRECTED, labels, &Controller::CORRECTED_SOMEWHERE)?;
            controller.push(batch, &ROW_UNCORRECTED, labels, &Controller::UNCORRECTED_SOMEWHERE)?;
        }
        for row in self.rows.optional()? {
            let labels = batch.labels(row_labels(&row));
            row.push(batch, &ROW_CORRECTED, labels, &Row::CORRECTED)?;
            row.push(batch, &ROW_UNCORRECTED, labels, &Row::UNCORRECTED)?;
        }
        push_channels(batch, self.channels.optional()?, &mut self.label)
    }
}

/// Pushes the counts of each channel. Its files come one after another: `ch1_ce_count`,
/// `ch1_dimm_label`, `ch1_ue_count`.
fn push_channels(
    batch: &mut Batch,
    files: Matches<'_, ChannelFile>,
    label: &mut Vec<u8>,
) -> Result<()> {
    let mut files = files.peekable();
    while let Some(first) = files.next() {
        let Some(ChannelName { channel, file }) = ChannelName::of(first.name(2)) else { continue };
        // Without it, node_exporter does not look for the others.
        if file != b"ce_count" {
            continue;
        }
        let corrected = first.number(&ChannelFile::NUMBER, batch)?;
        let mut uncorrected = None;
        label.clear();
        label.extend_from_slice(b"unknown");
        let is_same = |next: &Child<'_, ChannelFile>| {
            next.name(0) == first.name(0)
                && next.name(1) == first.name(1)
                && ChannelName::of(next.name(2)).is_some_and(|name| name.channel == channel)
        };
        while let Some(next) = files.next_if(is_same) {
            if next.name(2).ends_with(b"_ue_count") {
                uncorrected = next.number(&ChannelFile::NUMBER, batch)?;
            } else if let Some(text) = next.optional_text(&ChannelFile::TEXT)? {
                write_label(text, label);
            }
        }
        let [controller, row] = row_labels(&first);
        let labels = batch.labels([controller, row, channel, label]);
        if let Some(corrected) = corrected {
            batch.push(&CHANNEL_CORRECTED, labels, corrected);
        }
        if let Some(uncorrected) = uncorrected {
            batch.push(&CHANNEL_UNCORRECTED, labels, uncorrected);
        }
    }
    Ok(())
}

/// Gives the numbers of a controller and a row.
fn row_labels<'w, S: Attributes>(child: &Child<'w, S>) -> [&'w [u8]; 2] {
    [(child.name(0), &b"mc"[..]), (child.name(1), b"csrow")]
        .map(|(name, before)| number_after(name, before).unwrap_or_default())
}

/// Takes the digits that follow.
fn number_after<'n>(name: &'n [u8], before: &[u8]) -> Option<&'n [u8]> {
    let rest = name.strip_prefix(before)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The parts of `ch0_ce_count`.
#[derive(Debug, PartialEq)]
struct ChannelName<'n> {
    channel: &'n [u8],
    file: &'n [u8],
}

impl<'n> ChannelName<'n> {
    fn of(name: &'n [u8]) -> Option<Self> {
        let channel = number_after(name, b"ch")?;
        let file = name.get(2 + channel.len()..)?.strip_prefix(b"_")?;
        let is_known = [&b"ce_count"[..], b"ue_count", b"dimm_label"].contains(&file);
        is_known.then_some(ChannelName { channel, file })
    }
}

/// Writes the label of a memory module as node_exporter does: `mc#0csrow#2channel#1`, which the
/// kernel makes up where it knows none, becomes `mc0_csrow2_channel1`.
fn write_label(text: &[u8], label: &mut Vec<u8>) {
    label.clear();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        // A `#` inside of a word is taken out first, so that the words are looked for without it.
        if byte != b'#' {
            let begins = |word: &[u8]| {
                let mut shown = rest.iter().filter(|byte| **byte != b'#');
                word.iter().all(|byte| shown.next() == Some(byte))
            };
            if begins(b"csrow") || begins(b"channel") {
                label.push(b'_');
            }
            label.push(byte);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const CONTROLLERS: &str = "sys/devices/system/edac/mc";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("mc0/ce_count", "7"),
            ("mc0/ce_noinfo_count", "1"),
            ("mc0/ue_count", "2"),
            ("mc0/ue_noinfo_count", "0"),
            ("mc0/csrow0/ce_count", "4"),
            ("mc0/csrow0/ue_count", "2"),
            ("mc0/csrow0/ch0_ce_count", "4"),
            ("mc0/csrow0/ch0_dimm_label", "mc#0csrow#0channel#0"),
            ("mc0/csrow0/ch0_ue_count", "2"),
            ("mc0/csrow0/ch10_ce_count", "0"),
            ("mc0/csrow0/ch1_ce_count", "0"),
            ("mc0/csrow0/ch1_dimm_label", "P1-DIMMB1 "),
            ("mc0/csrow0/size_mb", "8192"),
            ("mc0/csrow1/ch0_dimm_label", "no count"),
            ("mc0/csrow1/ch0_ue_count", "9"),
            ("mc1/ce_count", "0"),
            ("mc0/dimm0/dimm_ce_count", "4"),
            ("mcu/ce_count", "1"),
        ] {
            memory.write(format!("{CONTROLLERS}/{path}"), format!("{content}\n"));
        }
        memory
    }

    #[test]
    fn golden() {
        check::<Edac>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_edac_channel_correctable_errors_total counter
                node_edac_channel_correctable_errors_total{controller="0",csrow="0",channel="0",dimm_label="mc0_csrow0_channel0"} 4
                node_edac_channel_correctable_errors_total{controller="0",csrow="0",channel="10",dimm_label="unknown"} 0
                node_edac_channel_correctable_errors_total{controller="0",csrow="0",channel="1",dimm_label="P1-DIMMB1"} 0
                # node_edac_channel_uncorrectable_errors_total counter
                node_edac_channel_uncorrectable_errors_total{controller="0",csrow="0",channel="0",dimm_label="mc0_csrow0_channel0"} 2
                # node_edac_correctable_errors_total counter
                node_edac_correctable_errors_total{controller="0"} 7
                node_edac_correctable_errors_total{controller="1"} 0
                # node_edac_csrow_correctable_errors_total counter
                node_edac_csrow_correctable_errors_total{controller="0",csrow="unknown"} 1
                node_edac_csrow_correctable_errors_total{controller="0",csrow="0"} 4
                # node_edac_csrow_uncorrectable_errors_total counter
                node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="unknown"} 0
                node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="0"} 2
                # node_edac_uncorrectable_errors_total counter
                node_edac_uncorrectable_errors_total{controller="0"} 2
            "#]],
        );
    }

    #[test]
    fn labels_are_written_as_node_exporter_does() {
        let written = |text: &str| {
            let mut label = b"before".to_vec();
            write_label(text.as_bytes(), &mut label);
            String::from_utf8(label).unwrap()
        };
        assert_eq!(written("CPU#1_csrow0_channel2"), "CPU1__csrow0__channel2");
        assert_eq!(written("cs#row ch#a#nnel#"), "_csrow _channel");
        assert_eq!(written("CPU_SrcID#0_MC#0_Chan#1_DIMM#0"), "CPU_SrcID0_MC0_Chan1_DIMM0");
        assert_eq!(written(""), "");
    }

    #[test]
    fn names_of_channels() {
        let of = |name: &'static str| {
            ChannelName::of(name.as_bytes()).map(|name| (name.channel, name.file))
        };
        assert_eq!(of("ch0_ce_count"), Some((&b"0"[..], &b"ce_count"[..])));
        assert_eq!(of("ch11_dimm_label"), Some((&b"11"[..], &b"dimm_label"[..])));
        for name in ["ch_ce_count", "ch0ce_count", "ch0_size", "ch0", "chan0_ce_count"] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn bad_and_forbidden_counts_are_left_out_alone() {
        let memory = memory();
        memory.write(format!("{CONTROLLERS}/mc0/ue_count"), "-1\n");
        memory.fail(format!("{CONTROLLERS}/mc0/ce_count"), 13);
        memory.write(format!("{CONTROLLERS}/mc0/csrow0/ch0_ce_count"), "\n");
        let (batch, outcome) = run(&mut open::<Edac>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 8);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
    }

    #[test]
    fn a_driver_is_loaded_later() {
        let memory = MemoryHost::new();
        let mut collector = open::<Edac>(&memory.host(), &[]);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert!(batch.is_empty());
        memory.write(format!("{CONTROLLERS}/mc0/ce_count"), "3\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 1);
        memory.remove("sys/devices/system/edac");
        assert!(run(&mut collector, Some(&batch)).0.is_empty());
    }
}
