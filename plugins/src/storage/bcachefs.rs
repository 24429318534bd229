//! File systems of bcachefs and their devices, from `/sys/fs/bcachefs` (fs/bcachefs/sysfs.c).

mod parse;

use parse::{
    or_zero, parse_compression, parse_count, parse_counter, parse_errors, parse_size, parse_writes,
};
use vitald_core::family::write_metric_name_part;
use vitald_core::host::Child;
use vitald_core::prelude::*;

families! {
    /// A file system that is mounted, always 1.
    INFO: gauge = "node_bcachefs_info" [uuid];
    /// The memory that the cache of the trees takes.
    TREE_CACHE_SIZE: gauge = "node_bcachefs_btree_cache_size_bytes" [uuid];
    /// Bytes on disk of what is compressed by an algorithm.
    COMPRESSED: gauge = "node_bcachefs_compression_compressed_bytes" [uuid, algorithm];
    /// The same in bytes as files have them.
    UNCOMPRESSED: gauge = "node_bcachefs_compression_uncompressed_bytes" [uuid, algorithm];
    /// Errors of a kind that were found in the file system.
    ERRORS: counter = "node_bcachefs_errors_total" [uuid, error_type];
    /// Writes of nodes of the trees, by why they were written.
    TREE_WRITES: counter = "node_bcachefs_btree_writes_total" [uuid, type];
    /// The size of such writes on average.
    TREE_WRITE_SIZE: gauge = "node_bcachefs_btree_write_average_size_bytes" [uuid, type];
    /// A device's label, and its states with the present one in brackets, always 1.
    DEVICE_INFO: gauge = "node_bcachefs_device_info" [uuid, device, label, state];
    /// The size of a bucket, which a device is divided into.
    BUCKET_SIZE: gauge = "node_bcachefs_device_bucket_size_bytes" [uuid, device];
    /// The buckets of a device.
    BUCKETS: gauge = "node_bcachefs_device_buckets" [uuid, device];
    /// How many copies one on this device counts for.
    DURABILITY: gauge = "node_bcachefs_device_durability" [uuid, device];
    /// Bytes read and written, by what they were.
    IO_DONE: counter = "node_bcachefs_device_io_done_bytes_total" [uuid, device, operation, data_type];
    /// Errors of a device since the file system was made.
    IO_ERRORS: counter = "node_bcachefs_device_io_errors_total" [uuid, device, type];
}

attributes! {
    FileSystem {
        TREE_CACHE_SIZE: text = "btree_cache_size", optional;
        COMPRESSION: line = "compression_stats", optional;
        ERRORS: line = "errors", optional;
        TREE_WRITES: line = "btree_write_stats", optional;
    }
}

attributes! {
    Counter {
        VALUE: line = "", optional;
    }
}

attributes! {
    Device {
        LABEL: text = "label", optional;
        STATE: text = "state", optional;
        BUCKET_SIZE: text = "bucket_size", optional;
        BUCKETS: text = "nbuckets", optional;
        DURABILITY: text = "durability", optional;
        IO_DONE: line = "io_done", optional;
        IO_ERRORS: line = "io_errors", optional;
    }
}

register_collector!(Bcachefs);

struct Bcachefs {
    file_systems: Walk<FileSystem>,
    counters: Walk<Counter>,
    devices: Walk<Device>,
    /// A counter's name as a part of a metric's.
    name: Vec<u8>,
}

impl Collector for Bcachefs {
    about! {
        name: "bcachefs",
        summary: "File systems of bcachefs and their devices",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_bcachefs_*_total",
            kinds: &[Kind::Counter],
            help: "A file in the directory `counters` of a file system, since that was made; bytes where the \
                   kernel counts sectors.",
        }],
        sources: [
            "sys/fs/bcachefs/*/*",
            "sys/fs/bcachefs/*/counters/*",
            "sys/fs/bcachefs/*/dev-*/*",
        ],
    }
    // Up to Linux 6.10 the kernel goes through all extents for what is compressed.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::any_of("sys/fs/bcachefs"));
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Bcachefs {
            file_systems: host.walk("sys/fs/bcachefs/*"),
            counters: host.walk("sys/fs/bcachefs/*/counters/*").files(),
            devices: host.walk("sys/fs/bcachefs/*/dev-*"),
            name: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let file_systems = self.file_systems.refresh()?;
        if file_systems.len() == 0 {
            return Err(Error::absent("sys/fs/bcachefs/*"));
        }
        for file_system in file_systems {
            let uuid = file_system.name(0);
            batch.row(&INFO, [uuid], 1u64);
            let size = file_system.text(&FileSystem::TREE_CACHE_SIZE)?;
            if let Some(size) =
                file_system.tolerate(&FileSystem::TREE_CACHE_SIZE, or_zero(size, parse_size), batch)
            {
                batch.row(&TREE_CACHE_SIZE, [uuid], size);
            }
            // The first line of a table has the names of its columns.
            for line in lines(file_system.text(&FileSystem::COMPRESSION)?).skip(1) {
                if let Some(Some((name, [compressed, size]))) =
                    file_system.tolerate(&FileSystem::COMPRESSION, parse_compression(line), batch)
                {
                    let labels = batch.labels([uuid, name]);
                    batch.push(&COMPRESSED, labels, compressed);
                    batch.push(&UNCOMPRESSED, labels, size);
                }
            }
            for line in lines(file_system.text(&FileSystem::ERRORS)?) {
                if let Some(Some((name, count))) =
                    file_system.tolerate(&FileSystem::ERRORS, parse_errors(line), batch)
                {
                    batch.row(&ERRORS, [uuid, name], count);
                }
            }
            for line in lines(file_system.text(&FileSystem::TREE_WRITES)?).skip(1) {
                if let Some(Some((name, count, size))) =
                    file_system.tolerate(&FileSystem::TREE_WRITES, parse_writes(line), batch)
                {
                    let labels = batch.labels([uuid, name]);
                    batch.push(&TREE_WRITES, labels, count);
                    batch.push(&TREE_WRITE_SIZE, labels, size);
                }
            }
        }
        for counter in self.counters.optional()? {
            let Some(text) = counter.optional_text(&Counter::VALUE)? else { continue };
            let Some(value) = counter.tolerate(&Counter::VALUE, parse_counter(text), batch) else {
                continue;
            };
            self.name.clear();
            write_metric_name_part(&mut self.name, counter.name(1));
            let help: [&[u8]; 3] =
                [b"What bcachefs counts as ", counter.name(1), b" since the file system was made."];
            let name: [&[u8]; 3] = [b"node_bcachefs_", &self.name, b"_total"];
            let family = batch.family(&name, Kind::Counter, &help);
            let labels = batch.label_pairs(&[(b"uuid", counter.name(0))]);
            batch.push_named(family, Suffix::None, labels, value);
        }
        for device in self.devices.optional()? {
            let (uuid, name) = (device.name(0), device.star(1));
            let info = [uuid, name, device.text(&Device::LABEL)?, device.text(&Device::STATE)?];
            batch.row(&DEVICE_INFO, info, 1u64);
            let labels = batch.labels([uuid, name]);
            let size = device.text(&Device::BUCKET_SIZE)?;
            if let Some(size) =
                device.tolerate(&Device::BUCKET_SIZE, or_zero(size, parse_size), batch)
            {
                batch.push(&BUCKET_SIZE, labels, size);
            }
            for (family, attribute) in
                [(&BUCKETS, &Device::BUCKETS), (&DURABILITY, &Device::DURABILITY)]
            {
                let number = or_zero(device.text(attribute)?, parse_count);
                if let Some(number) = device.tolerate(attribute, number, batch) {
                    batch.push(family, labels, number);
                }
            }
            push_io_done([uuid, name], &device, batch)?;
            push_io_errors([uuid, name], &device, batch)?;
        }
        Ok(())
    }
}

/// Pushes the bytes of a text such as this:
///
/// ```text
/// read:
/// sb          :       86016
/// user        :610019098624
/// write:
/// sb          :      677376
/// ```
fn push_io_done(
    [uuid, device]: [&[u8]; 2],
    child: &Child<'_, Device>,
    batch: &mut Batch,
) -> Result<()> {
    let mut operation = None;
    for line in lines(child.text(&Device::IO_DONE)?) {
        let Some((name, bytes)) = text::key_value(line, b':') else { continue };
        match (name, bytes, operation) {
            (b"read" | b"write", b"", _) => operation = Some(name),
            (_, _, None) => {}
            (_, _, Some(operation)) => {
                if let Some(bytes) = child.tolerate(&Device::IO_DONE, parse_count(bytes), batch) {
                    batch.row(&IO_DONE, [uuid, device, operation, name], bytes);
                }
            }
        }
    }
    Ok(())
}

/// Pushes the first part of a text such as this; the other begins when an operator wanted it to:
///
/// ```text
/// IO errors since filesystem creation
///   read:    197416
/// IO errors since 8 y ago
///   read:    0
/// ```
fn push_io_errors(
    [uuid, device]: [&[u8]; 2],
    child: &Child<'_, Device>,
    batch: &mut Batch,
) -> Result<()> {
    let is_head = |line: &[u8]| line.starts_with(b"IO errors since ");
    let mut parts = text::sections(child.text(&Device::IO_ERRORS)?, is_head);
    let part = parts.find(|part| part.head.starts_with(b"IO errors since filesystem creation"));
    for line in lines(part.map_or(b"", |part| part.body)) {
        let Some((kind, count)) = text::key_value(line, b':') else { continue };
        if let Some(count) = child.tolerate(&Device::IO_ERRORS, parse_count(count), batch) {
            batch.row(&IO_ERRORS, [uuid, device, kind], count);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const ROOT: &str = "sys/fs/bcachefs/0a1b2c3d-1111-4222-8333-444455556666";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("btree_cache_size", "1.50M"),
            (
                "compression_stats",
                "type              compressed    uncompressed     average extent size\n\
                 lz4                    1.5k              3k                   100\n\
                 incompressible            7               7                    7\n",
            ),
            ("errors", "bset_bad_csum      3       1767112063\nalone\n"),
            (
                "btree_write_stats",
                "      nr        size\ninitial:     12   1.25k\ninterior:    3    697\n",
            ),
            (
                "counters/data_read",
                "since mount:                   475\nsince filesystem creation:     1.5k",
            ),
            ("counters/copygc", "since mount:                   4"),
            ("dev-0/label", "ssd.1"),
            ("dev-0/state", "[rw] ro evacuating spare"),
            ("dev-0/bucket_size", "512k"),
            ("dev-0/nbuckets", "953880"),
            ("dev-0/durability", "1"),
            (
                "dev-0/io_done",
                "sb  : 1\nread:\nsb          :       86016\nwrite:\nsb          :      677376\nuser:7",
            ),
            (
                "dev-0/io_errors",
                "IO errors since filesystem creation\n  read:    18828\n  checksum:5\nIO errors since 8 y ago\n  \
                 read:    1",
            ),
            ("dev-1/label", "(none)"),
        ] {
            memory.write(format!("{ROOT}/{path}"), format!("{content}\n"));
        }
        memory.write(format!("{ROOT}/uuid"), "x\n");
        memory
    }

    #[test]
    fn golden() {
        check::<Bcachefs>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_bcachefs_btree_cache_size_bytes gauge
            node_bcachefs_btree_cache_size_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666"} 1.572864e+06
            # node_bcachefs_btree_write_average_size_bytes gauge
            node_bcachefs_btree_write_average_size_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",type="initial"} 1280
            node_bcachefs_btree_write_average_size_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",type="interior"} 697
            # node_bcachefs_btree_writes_total counter
            node_bcachefs_btree_writes_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",type="initial"} 12
            node_bcachefs_btree_writes_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",type="interior"} 3
            # node_bcachefs_compression_compressed_bytes gauge
            node_bcachefs_compression_compressed_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",algorithm="lz4"} 1536
            node_bcachefs_compression_compressed_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",algorithm="incompressible"} 7
            # node_bcachefs_compression_uncompressed_bytes gauge
            node_bcachefs_compression_uncompressed_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",algorithm="lz4"} 3072
            node_bcachefs_compression_uncompressed_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",algorithm="incompressible"} 7
            # node_bcachefs_copygc_total counter
            node_bcachefs_copygc_total{uuid="0a1b2c3d-1111-4222-8333-444455556666"} 0
            # node_bcachefs_data_read_total counter
            node_bcachefs_data_read_total{uuid="0a1b2c3d-1111-4222-8333-444455556666"} 1536
            # node_bcachefs_device_bucket_size_bytes gauge
            node_bcachefs_device_bucket_size_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0"} 524288
            node_bcachefs_device_bucket_size_bytes{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="1"} 0
            # node_bcachefs_device_buckets gauge
            node_bcachefs_device_buckets{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0"} 953880
            node_bcachefs_device_buckets{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="1"} 0
            # node_bcachefs_device_durability gauge
            node_bcachefs_device_durability{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0"} 1
            node_bcachefs_device_durability{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="1"} 0
            # node_bcachefs_device_info gauge
            node_bcachefs_device_info{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",label="ssd.1",state="[rw] ro evacuating spare"} 1
            node_bcachefs_device_info{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="1",label="(none)",state=""} 1
            # node_bcachefs_device_io_done_bytes_total counter
            node_bcachefs_device_io_done_bytes_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",operation="read",data_type="sb"} 86016
            node_bcachefs_device_io_done_bytes_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",operation="write",data_type="sb"} 677376
            node_bcachefs_device_io_done_bytes_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",operation="write",data_type="user"} 7
            # node_bcachefs_device_io_errors_total counter
            node_bcachefs_device_io_errors_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",type="read"} 18828
            node_bcachefs_device_io_errors_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",device="0",type="checksum"} 5
            # node_bcachefs_errors_total counter
            node_bcachefs_errors_total{uuid="0a1b2c3d-1111-4222-8333-444455556666",error_type="bset_bad_csum"} 3
            # node_bcachefs_info gauge
            node_bcachefs_info{uuid="0a1b2c3d-1111-4222-8333-444455556666"} 1
        "##]],
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let memory = memory();
        let (whole, _) = run(&mut open::<Bcachefs>(&memory.host(), &[]), None);
        memory.write(format!("{ROOT}/btree_cache_size"), "?\n");
        memory.write(format!("{ROOT}/dev-0/io_errors"), "read: 1\n");
        memory.write(format!("{ROOT}/dev-0/io_done"), "read:\nsb : x\nuser : 1\n");
        memory.fail(format!("{ROOT}/counters/copygc"), 13);
        let (batch, outcome) = run(&mut open::<Bcachefs>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(whole.len() - batch.len(), 1 + 2 + 2 + 1);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
    }

    #[test]
    fn counters_have_names_that_metrics_may_have() {
        let memory = memory();
        memory.write(format!("{ROOT}/counters/a - b\u{e9}"), "since filesystem creation: 1\n");
        memory.write("sys/fs/bcachefs/second/counters/copygc", "since filesystem creation: 9\n");
        let (batch, outcome) = run(&mut open::<Bcachefs>(&memory.host(), &[]), None);
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("node_bcachefs_a_b__total{"), "{page}");
        assert!(page.contains("node_bcachefs_copygc_total{uuid=\"second\"} 9\n"), "{page}");
        assert_eq!(page.matches("# node_bcachefs_copygc_total").count(), 1, "{page}");
    }

    #[test]
    fn file_systems_and_devices_come_and_go() {
        let memory = memory();
        let mut collector = open::<Bcachefs>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.rename(format!("{ROOT}/dev-1"), format!("{ROOT}/dev-10"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(batch.len(), whole.len());
        let page = render(&batch);
        assert!(page.contains("device=\"10\"") && !page.contains("device=\"1\""), "{page}");
        memory.remove(ROOT);
        assert!(matches!(run(&mut collector, Some(&batch)).1, Err(Error::Absent { .. })));
    }

    #[test]
    fn absent_is_said() {
        let absent = expect!["sys/fs/bcachefs: not on this host"];
        check_fails::<Bcachefs>(&MemoryHost::new().host(), &[], &absent, &expect![""]);
    }

    #[test]
    fn a_fault_names_the_file() {
        for (file, text) in [
            ("btree_cache_size", "much"),
            ("errors", "some  many  now"),
            ("counters/io_read", "since mount: many\nsince filesystem creation: many"),
            ("dev-0/bucket_size", "much"),
            ("dev-0/io_done", "read:\nsb : many"),
        ] {
            let memory = memory();
            let path = format!("{ROOT}/{file}");
            memory.write(&*path, text);
            let (batch, outcome) = run(&mut open::<Bcachefs>(&memory.host(), &[]), None);
            outcome.unwrap();
            assert_eq!(batch.fault().map(|fault| fault.source), Some(&*path));
        }
    }
}
