//! Devices that DRBD keeps on two hosts, from `/proc/drbd` (`drbd_seq_show` in drivers/block/drbd/drbd_proc.c).
//!
//! Version 9, which is not the kernel's own, does not list devices there.

use vitald_core::family::Family;
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// Bytes sent to the other host.
    SENT: counter = "node_drbd_network_sent_bytes_total" [device];
    /// Units of 1,024 bytes received from the other host; the name says bytes, as in node_exporter.
    RECEIVED: counter = "node_drbd_network_received_bytes_total" [device];
    /// Bytes written to the disk.
    WRITTEN: counter = "node_drbd_disk_written_bytes_total" [device];
    /// Bytes read from the disk.
    READ: counter = "node_drbd_disk_read_bytes_total" [device];
    /// Changes to the log of what is being written.
    LOG_WRITES: counter = "node_drbd_activitylog_writes_total" [device];
    /// Changes to the map of what is not in sync.
    MAP_WRITES: counter = "node_drbd_bitmap_writes_total" [device];
    /// Requests that the disk has not answered.
    LOCAL_PENDING: gauge = "node_drbd_local_pending" [device];
    /// Requests that the other host has not answered.
    REMOTE_PENDING: gauge = "node_drbd_remote_pending" [device];
    /// Requests of the other host that were not answered.
    UNACKNOWLEDGED: gauge = "node_drbd_remote_unacknowledged" [device];
    /// Requests of programs that were not answered.
    APPLICATION_PENDING: gauge = "node_drbd_application_pending" [device];
    /// Groups of writes that are under way, with a barrier between any two.
    EPOCHS: gauge = "node_drbd_epochs" [device];
    /// Bytes that are not the same on both hosts.
    OUT_OF_SYNC: gauge = "node_drbd_out_of_sync_bytes" [device];
    /// Whether the device may be used on this host (`local`) and on the other (`remote`).
    PRIMARY: gauge = "node_drbd_node_role_is_primary" [device, node];
    /// Whether the data is up to date on this host (`local`) and on the other (`remote`).
    UP_TO_DATE: gauge = "node_drbd_disk_state_is_up_to_date" [device, node];
    /// Whether the hosts are connected and not catching up.
    CONNECTED: gauge = "node_drbd_connected" [device];
}

/// Figures by their words, and how many of a family's units each is.
const FIGURES: [(&[u8], &Family<1>, u64); 12] = [
    (b"ns", &SENT, 1024),
    // So in node_exporter, though the kernel counts what it receives as what it sends.
    (b"nr", &RECEIVED, 1),
    (b"dw", &WRITTEN, 1024),
    (b"dr", &READ, 1024),
    (b"al", &LOG_WRITES, 1),
    (b"bm", &MAP_WRITES, 1),
    (b"lo", &LOCAL_PENDING, 1),
    (b"pe", &REMOTE_PENDING, 1),
    (b"ua", &UNACKNOWLEDGED, 1),
    (b"ap", &APPLICATION_PENDING, 1),
    (b"ep", &EPOCHS, 1),
    (b"oos", &OUT_OF_SYNC, 1024),
];

register_collector!(Drbd);

struct Drbd {
    file: KeptFile,
    /// The device whose lines are read, such as `drbd1`; nothing before the first one.
    device: Vec<u8>,
}

impl Collector for Drbd {
    about! {
        name: "drbd",
        summary: "Devices that DRBD keeps on two hosts",
        families: FAMILIES,
        sources: ["proc/drbd"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Drbd { file: host.keep_whole("proc/drbd"), device: Vec::new() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        self.device.clear();
        let mut rest = lines(text);
        while let Some(line) = rest.next() {
            let mut fields = Fields::new(line);
            while let Some(word) = fields.next() {
                let at = rest.offset() + fields.offset() - word.len();
                let parsed = parse_word(word).map_err(|malformed| malformed.moved_by(at));
                let Some(parsed) = batch.tolerate(parsed) else { continue };
                if let Word::Device(number) = parsed {
                    self.device.clear();
                    self.device.extend_from_slice(b"drbd");
                    self.device.extend_from_slice(text::decimal(number, &mut [0; 20]));
                } else if !self.device.is_empty() {
                    parsed.push(&self.device, batch);
                }
            }
        }
        Ok(())
    }
}

/// A word of the file.
enum Word {
    /// The lines of this device begin.
    Device(u64),
    Figure(&'static Family<1>, f64),
    /// Of this host and of the other one.
    Pair(&'static Family<2>, [bool; 2]),
    Other,
}

impl Word {
    fn push(&self, device: &[u8], batch: &mut Batch) {
        match *self {
            Word::Figure(family, value) => batch.row(family, [device], value),
            Word::Pair(family, [local, remote]) => {
                batch.row(family, [device, b"local"], local);
                batch.row(family, [device, b"remote"], remote);
            }
            Word::Device(_) | Word::Other => {}
        }
    }
}

/// Takes a word of ` 1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----` or of the next line,
/// `    ns:17 nr:0 dw:16 dr:118 al:5 bm:4 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0`.
fn parse_word(word: &[u8]) -> Result<Word, Malformed> {
    let Some((key, value)) = text::split_once(word, b':') else { return Ok(Word::Other) };
    if let (Some(number), b"") = (parse_u64(key), value) {
        return Ok(Word::Device(number));
    }
    let pair = |family, good: &[u8]| {
        let (local, remote) = text::split_once(value, b'/')
            .ok_or(Malformed::new(word.len(), "the state of the other host"))?;
        Ok(Word::Pair(family, [local == good, remote == good]))
    };
    match key {
        // A word such as 0:00:12 is a time.
        _ if value.contains(&b':') => Ok(Word::Other),
        b"cs" => Ok(Word::Figure(&CONNECTED, f64::from(u8::from(value == b"Connected")))),
        b"ro" => pair(&PRIMARY, b"Primary"),
        b"ds" => pair(&UP_TO_DATE, b"UpToDate"),
        _ => {
            let figure = FIGURES.iter().find(|(known, ..)| *known == key);
            let Some((_, family, units)) = figure else { return Ok(Word::Other) };
            let number = parse_u64(value).ok_or(Malformed::new(key.len() + 1, "a number"))?;
            Ok(Word::Figure(family, number as f64 * *units as f64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    /// Version 8.4: a device that is in use, one that catches up, one that nothing is known of.
    const TEXT: &str = "version: 8.4.11 (api:1/proto:86-101)\n\
        srcversion: 0123456789ABCDEF01234567 \n\n \
        0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    \
        ns:2048 nr:7 dw:1024 dr:4096 al:11 bm:12 lo:1 pe:2 ua:3 ap:4 ep:5 wo:f oos:0\n \
        1: cs:SyncTarget ro:Secondary/Unknown ds:Inconsistent/UpToDate C r-----\n    \
        ns:0 nr:1 dw:2 dr:3 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:b oos:524288\n\
        \t[=>..................] sync'ed: 10.5% (2048/4096)K\n\
        \tfinish: 0:00:12 speed: 40,960 (40,960) want: 102,400 K/sec\n\
        \tresync: used:0/61 hits:128 misses:1 starving:0 locked:0 changed:0\n\
        12: cs:Unconfigured\n";

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[("proc/drbd", TEXT)]);
        check::<Drbd>(
            &host.host(),
            &[],
            &expect![[r##"
            # node_drbd_activitylog_writes_total counter
            node_drbd_activitylog_writes_total{device="drbd0"} 11
            node_drbd_activitylog_writes_total{device="drbd1"} 0
            # node_drbd_application_pending gauge
            node_drbd_application_pending{device="drbd0"} 4
            node_drbd_application_pending{device="drbd1"} 0
            # node_drbd_bitmap_writes_total counter
            node_drbd_bitmap_writes_total{device="drbd0"} 12
            node_drbd_bitmap_writes_total{device="drbd1"} 0
            # node_drbd_connected gauge
            node_drbd_connected{device="drbd0"} 1
            node_drbd_connected{device="drbd1"} 0
            node_drbd_connected{device="drbd12"} 0
            # node_drbd_disk_read_bytes_total counter
            node_drbd_disk_read_bytes_total{device="drbd0"} 4.194304e+06
            node_drbd_disk_read_bytes_total{device="drbd1"} 3072
            # node_drbd_disk_state_is_up_to_date gauge
            node_drbd_disk_state_is_up_to_date{device="drbd0",node="local"} 1
            node_drbd_disk_state_is_up_to_date{device="drbd0",node="remote"} 1
            node_drbd_disk_state_is_up_to_date{device="drbd1",node="local"} 0
            node_drbd_disk_state_is_up_to_date{device="drbd1",node="remote"} 1
            # node_drbd_disk_written_bytes_total counter
            node_drbd_disk_written_bytes_total{device="drbd0"} 1.048576e+06
            node_drbd_disk_written_bytes_total{device="drbd1"} 2048
            # node_drbd_epochs gauge
            node_drbd_epochs{device="drbd0"} 5
            node_drbd_epochs{device="drbd1"} 1
            # node_drbd_local_pending gauge
            node_drbd_local_pending{device="drbd0"} 1
            node_drbd_local_pending{device="drbd1"} 0
            # node_drbd_network_received_bytes_total counter
            node_drbd_network_received_bytes_total{device="drbd0"} 7
            node_drbd_network_received_bytes_total{device="drbd1"} 1
            # node_drbd_network_sent_bytes_total counter
            node_drbd_network_sent_bytes_total{device="drbd0"} 2.097152e+06
            node_drbd_network_sent_bytes_total{device="drbd1"} 0
            # node_drbd_node_role_is_primary gauge
            node_drbd_node_role_is_primary{device="drbd0",node="local"} 1
            node_drbd_node_role_is_primary{device="drbd0",node="remote"} 0
            node_drbd_node_role_is_primary{device="drbd1",node="local"} 0
            node_drbd_node_role_is_primary{device="drbd1",node="remote"} 0
            # node_drbd_out_of_sync_bytes gauge
            node_drbd_out_of_sync_bytes{device="drbd0"} 0
            node_drbd_out_of_sync_bytes{device="drbd1"} 5.36870912e+08
            # node_drbd_remote_pending gauge
            node_drbd_remote_pending{device="drbd0"} 2
            node_drbd_remote_pending{device="drbd1"} 0
            # node_drbd_remote_unacknowledged gauge
            node_drbd_remote_unacknowledged{device="drbd0"} 3
            node_drbd_remote_unacknowledged{device="drbd1"} 0
        "##]],
        );
    }

    #[test]
    fn without_devices_there_is_nothing() {
        let nine = "version: 9.2.8 (api:2/proto:86-122)\nGIT-hash: 0a1b2c build by k@b, 2024-03-06\n\
                    Transports (api:20): tcp (9.2.8)\nns:7 cs:Connected\n";
        let host = MemoryHost::from_files(&[("proc/drbd", nine)]);
        check::<Drbd>(&host.host(), &[], &expect![""]);
    }

    #[test]
    fn an_odd_word_costs_itself() {
        let text = " 3: cs:Connected ro:Primary ds: x:y\n    ns:-1 nr: dw:1x dr:18446744073709551615 oos:2\n";
        let host = MemoryHost::from_files(&[("proc/drbd", text)]);
        let (batch, outcome) = run(&mut open::<Drbd>(&host.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 3);
        let first = Malformed::new(27, "the state of the other host");
        assert_eq!(batch.malformed(), Some((5, first)));
        assert!(
            render(&batch)
                .contains("disk_read_bytes_total{device=\"drbd3\"} 1.888946593147858e+22\n")
        );
    }

    #[test]
    fn devices_come_and_go() {
        let memory = MemoryHost::from_files(&[("proc/drbd", TEXT)]);
        let mut collector = open::<Drbd>(&memory.host(), &[]);
        let (all, _) = run(&mut collector, None);
        memory.write("proc/drbd", TEXT.replace(" 0: cs", " 7: cs"));
        let (other, outcome) = run(&mut collector, Some(&all));
        outcome.unwrap();
        assert_eq!(other.len(), all.len());
        let page = render(&other);
        assert!(page.contains("drbd7") && !page.contains("drbd0"), "{page}");
        memory.remove("proc/drbd");
        assert!(run(&mut collector, Some(&other)).1.is_err());
    }

    #[test]
    fn absent_is_said() {
        let absent = expect!["proc/drbd: not on this host"];
        check_fails::<Drbd>(&MemoryHost::new().host(), &[], &absent, &expect![""]);
    }
}
