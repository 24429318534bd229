//! What SCSI tape drives did, from `/sys/class/scsi_tape`
//! (Documentation/scsi/st.rst, Documentation/ABI/testing/sysfs-class-scsi_tape).

use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// Requests that a drive is working on.
    IN_FLIGHT: gauge = "node_tape_io_now" [device];
    /// Time spent by all requests, those that only move the tape included.
    TIME: counter = "node_tape_io_time_seconds_total" [device];
    /// Requests other than reads and writes.
    OTHERS: counter = "node_tape_io_others_total" [device];
    /// Bytes read from the tape.
    READ_BYTES: counter = "node_tape_read_bytes_total" [device];
    /// Reads completed.
    READS: counter = "node_tape_reads_completed_total" [device];
    /// Time spent by all reads.
    READ_TIME: counter = "node_tape_read_time_seconds_total" [device];
    /// Reads and writes that moved fewer bytes than they should have.
    RESIDUALS: counter = "node_tape_residual_total" [device];
    /// Bytes written to the tape.
    WRITTEN_BYTES: counter = "node_tape_written_bytes_total" [device];
    /// Writes completed.
    WRITES: counter = "node_tape_writes_completed_total" [device];
    /// Time spent by all writes.
    WRITE_TIME: counter = "node_tape_write_time_seconds_total" [device];
}

attributes! {
    Drive {
        IN_FLIGHT: u64 = "stats/in_flight", optional;
        TIME: u64 * 0.000000001 = "stats/io_ns", optional;
        OTHERS: u64 = "stats/other_cnt", optional;
        READ_BYTES: u64 = "stats/read_byte_cnt", optional;
        READS: u64 = "stats/read_cnt", optional;
        READ_TIME: u64 * 0.000000001 = "stats/read_ns", optional;
        RESIDUALS: u64 = "stats/resid_cnt", optional;
        WRITTEN_BYTES: u64 = "stats/write_byte_cnt", optional;
        WRITES: u64 = "stats/write_cnt", optional;
        WRITE_TIME: u64 * 0.000000001 = "stats/write_ns", optional;
    }
}

settings! {
    /// Drives to leave out, by name.
    ignored_devices: Pattern = "^$";
}

register_collector!(Tapes);

struct Tapes {
    walk: Walk<Drive>,
    events: DeviceEvents,
}

impl Collector for Tapes {
    about! {
        name: "tapestats",
        summary: "What SCSI tape drives did",
        families: FAMILIES,
        sources: ["sys/class/scsi_tape/st*/stats/*", "sys/kernel/uevent_seqnum"],
        settings: Settings,
    }
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let walk = host.walk("sys/class/scsi_tape/st*");
        let ignored = settings.ignored_devices;
        let walk = walk.only(0, move |name| is_drive(name) && !ignored.matches(name));
        Ok(Tapes { walk, events: host.device_events() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        for drive in self.walk.under_events(number).refresh()? {
            let labels = batch.labels([drive.name(0)]);
            drive.push(batch, &IN_FLIGHT, labels, &Drive::IN_FLIGHT)?;
            drive.push(batch, &TIME, labels, &Drive::TIME)?;
            drive.push(batch, &OTHERS, labels, &Drive::OTHERS)?;
            drive.push(batch, &READ_BYTES, labels, &Drive::READ_BYTES)?;
            drive.push(batch, &READS, labels, &Drive::READS)?;
            drive.push(batch, &READ_TIME, labels, &Drive::READ_TIME)?;
            drive.push(batch, &RESIDUALS, labels, &Drive::RESIDUALS)?;
            drive.push(batch, &WRITTEN_BYTES, labels, &Drive::WRITTEN_BYTES)?;
            drive.push(batch, &WRITES, labels, &Drive::WRITES)?;
            drive.push(batch, &WRITE_TIME, labels, &Drive::WRITE_TIME)?;
        }
        Ok(())
    }
}

/// Whether this is `st0`; a drive is in the class eight times, as `nst0` or `st0m`, by how it is to be
/// used.
fn is_drive(name: &[u8]) -> bool {
    let number = name.strip_prefix(b"st").unwrap_or_default();
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for drive in ["st0", "st0a", "nst0", "st12"] {
            for (file, content) in [
                ("in_flight", "1"),
                ("io_ns", "7260000000000"),
                ("other_cnt", "12"),
                ("read_byte_cnt", "10485760"),
                ("read_cnt", "160"),
                ("read_ns", "60000000000"),
                ("resid_cnt", "2"),
                ("write_byte_cnt", "6553600000"),
                ("write_cnt", "100000"),
                ("write_ns", "7000000000000"),
            ] {
                memory.write(
                    format!("sys/class/scsi_tape/{drive}/stats/{file}"),
                    format!("{content}\n"),
                );
            }
        }
        memory
    }

    #[test]
    fn golden() {
        check::<Tapes>(
            &memory().host(),
            &[("ignored_devices", "^st12$".into())],
            &expect![[r##"
                # node_tape_io_now gauge
                node_tape_io_now{device="st0"} 1
                # node_tape_io_others_total counter
                node_tape_io_others_total{device="st0"} 12
                # node_tape_io_time_seconds_total counter
                node_tape_io_time_seconds_total{device="st0"} 7260
                # node_tape_read_bytes_total counter
                node_tape_read_bytes_total{device="st0"} 1.048576e+07
                # node_tape_read_time_seconds_total counter
                node_tape_read_time_seconds_total{device="st0"} 60.00000000000001
                # node_tape_reads_completed_total counter
                node_tape_reads_completed_total{device="st0"} 160
                # node_tape_residual_total counter
                node_tape_residual_total{device="st0"} 2
                # node_tape_write_time_seconds_total counter
                node_tape_write_time_seconds_total{device="st0"} 7000
                # node_tape_writes_completed_total counter
                node_tape_writes_completed_total{device="st0"} 100000
                # node_tape_written_bytes_total counter
                node_tape_written_bytes_total{device="st0"} 6.5536e+09
            "##]],
        );
    }

    #[test]
    fn a_pattern_leaves_drives_out() {
        let shown = |pattern: &str| {
            let settings = [("ignored_devices", pattern.into())];
            run(&mut open::<Tapes>(&memory().host(), &settings), None).0.len()
        };
        assert_eq!(shown("^$"), 20);
        assert_eq!(shown("st0"), 10);
        // Every name has an empty text in it.
        assert_eq!(shown(""), 0);
    }

    #[test]
    fn bad_counts_are_left_out_alone() {
        let memory = memory();
        memory.write("sys/class/scsi_tape/st0/stats/read_cnt", "-3\n");
        memory.fail("sys/class/scsi_tape/st0/stats/write_cnt", 13);
        let (batch, outcome) = run(&mut open::<Tapes>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (18, Some(1)));
    }

    #[test]
    fn a_drive_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Tapes>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove("sys/class/scsi_tape/st12");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(batch.len(), 10);
        memory.write("sys/class/scsi_tape/st1/stats/read_cnt", "3\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 11);
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<Tapes>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/scsi_tape: not on this host"],
            &expect![""],
        );
    }
}
