//! Disk I/O statistics, from `/proc/diskstats` (Documentation/admin-guide/iostats.rst), and what
//! udev and sysfs know of each disk.

use super::udev::{self, Udev};
use properties::Properties;
use queues::{Queue, Queues};
use vitald_core::family::Family;
use vitald_core::prelude::*;

mod properties;
mod queues;

families! {
    /// What is known of a disk: its place, model and serial number, and whether it spins; always 1.
    INFO: gauge = "node_disk_info"
        [device, major, minor, path, wwn, model, serial, revision, rotational];
    /// Reads completed.
    READS: counter = "node_disk_reads_completed_total" [device];
    /// Reads merged with one that was queued already.
    READS_MERGED: counter = "node_disk_reads_merged_total" [device];
    /// Bytes read.
    READ_BYTES: counter = "node_disk_read_bytes_total" [device];
    /// Time spent by all reads, in seconds.
    READ_TIME: counter = "node_disk_read_time_seconds_total" [device];
    /// Writes completed.
    WRITES: counter = "node_disk_writes_completed_total" [device];
    /// Writes merged with one that was queued already.
    WRITES_MERGED: counter = "node_disk_writes_merged_total" [device];
    /// Bytes written.
    WRITTEN_BYTES: counter = "node_disk_written_bytes_total" [device];
    /// Time spent by all writes, in seconds.
    WRITE_TIME: counter = "node_disk_write_time_seconds_total" [device];
    /// Requests in progress.
    IO_NOW: gauge = "node_disk_io_now" [device];
    /// Time in which any request was in progress, in seconds.
    IO_TIME: counter = "node_disk_io_time_seconds_total" [device];
    /// Time in which any request was in progress, counted once for each of them, in seconds.
    IO_TIME_WEIGHTED: counter = "node_disk_io_time_weighted_seconds_total" [device];
    /// Discards completed.
    DISCARDS: counter = "node_disk_discards_completed_total" [device];
    /// Discards merged with one that was queued already.
    DISCARDS_MERGED: counter = "node_disk_discards_merged_total" [device];
    /// Sectors of 512 bytes discarded.
    DISCARDED_SECTORS: counter = "node_disk_discarded_sectors_total" [device];
    /// Time spent by all discards, in seconds.
    DISCARD_TIME: counter = "node_disk_discard_time_seconds_total" [device];
    /// Flushes of the disk's cache completed.
    FLUSHES: counter = "node_disk_flush_requests_total" [device];
    /// Time spent by all flushes of the disk's cache, in seconds.
    FLUSH_TIME: counter = "node_disk_flush_requests_time_seconds_total" [device];
    /// What udev found on a disk, such as a file system or a physical volume; always 1.
    FILESYSTEM_INFO: gauge = "node_disk_filesystem_info" [device, type, usage, uuid, version];
    /// What a disk that the device mapper made is to it; always 1.
    DEVICE_MAPPER_INFO: gauge = "node_disk_device_mapper_info"
        [device, name, uuid, vg_name, lv_name, lv_layer];
    /// Whether an ATA disk has a write cache.
    ATA_WRITE_CACHE: gauge = "node_disk_ata_write_cache" [device];
    /// Whether an ATA disk uses its write cache.
    ATA_WRITE_CACHE_ENABLED: gauge = "node_disk_ata_write_cache_enabled" [device];
    /// How fast an ATA disk spins, in revolutions per minute, or 0 if it does not.
    ATA_ROTATION_RATE: gauge = "node_disk_ata_rotation_rate_rpm" [device];
}

settings! {
    devices: Filter {
        /// Disks to show, by name. `device_exclude` must be empty then.
        include device_include;
        /// Disks to leave out, by name. It must be empty to use `device_include`.
        exclude device_exclude = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
    } together Refused;
}

register_collector!(Diskstats);

struct Diskstats {
    file: KeptFile,
    filter: Filter,
    /// `None` for those that the filter leaves out.
    disks: Rows<Option<Disk>>,
    queues: Queues,
    udev: Udev,
}

/// What a run knows of a disk besides its counts.
struct Disk {
    queue: Queue,
    in_udev: udev::Known,
    properties: Properties,
}

impl Collector for Diskstats {
    about! {
        name: "diskstats",
        summary: "Disk I/O, and what udev knows of each disk",
        families: FAMILIES,
        sources: [
            "proc/diskstats",
            "sys/block/*/queue/rotational",
            "sys/kernel/uevent_seqnum",
            "udev/b*:*",
        ],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["device"],
        "Disks",
        &[
            Curve::of("read", rate("node_disk_read_bytes_total")),
            Curve::of("written", rate("node_disk_written_bytes_total")),
            Curve::of("reads", rate("node_disk_reads_completed_total")),
            Curve::of("writes", rate("node_disk_writes_completed_total")),
            Curve::of("busy", rate("node_disk_io_time_seconds_total")),
        ],
    )];
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Diskstats {
            file: host.keep_short_records("proc/diskstats"),
            queues: Queues::new(host, settings.devices.clone()),
            filter: settings.devices,
            disks: Rows::new(),
            udev: Udev::new(host),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Diskstats { file, filter, disks, queues, udev } = self;
        let text = file.read()?;
        queues.look(batch.fresh_from());
        udev.look();
        let mut run = disks.begin();
        for line in lines(text) {
            let Some(Some(row)) = batch.tolerate(parse_line(line)) else { continue };
            let disk = run.row(row.key, || {
                filter.takes(row.name).then(|| Disk {
                    queue: queues.queue(row.name),
                    in_udev: udev::Known::new(row.major, row.minor),
                    properties: Properties::default(),
                })
            });
            let Some(Disk { queue, in_udev, properties }) = disk else { continue };
            udev.bring_up_to_date(in_udev, |text| *properties = Properties::parse(text));
            push(batch, &row, properties, queues.rotational(queue));
        }
        run.finish();
        Ok(())
    }
}

fn push(batch: &mut Batch, row: &Row<'_>, udev: &Properties, rotational: &[u8]) {
    let info = [
        row.name,
        row.major,
        row.minor,
        &udev.path,
        &udev.wwn,
        &udev.model,
        udev.serial(),
        &udev.revision,
        rotational,
    ];
    batch.row(&INFO, info, 1);
    let device = batch.labels([row.name]);
    let columns = COLUMNS.iter().zip(row.counts());
    batch.push_each(
        device,
        columns.map(|((family, scale), count)| (*family, *count as f64 * scale)),
    );
    if !udev.filesystem_type.is_empty() {
        let filesystem = [
            row.name,
            &udev.filesystem_type,
            &udev.filesystem_usage,
            &udev.filesystem_uuid,
            &udev.filesystem_version,
        ];
        batch.row(&FILESYSTEM_INFO, filesystem, 1);
    }
    if !udev.mapper_name.is_empty() {
        let mapper = [
            row.name,
            &udev.mapper_name,
            &udev.mapper_uuid,
            &udev.volume_group,
            &udev.logical_volume,
            &udev.logical_volume_layer,
        ];
        batch.row(&DEVICE_MAPPER_INFO, mapper, 1);
    }
    if !udev.ata.is_empty() {
        for (family, number) in [
            (&ATA_WRITE_CACHE, &udev.ata_write_cache),
            (&ATA_WRITE_CACHE_ENABLED, &udev.ata_write_cache_enabled),
            (&ATA_ROTATION_RATE, &udev.ata_rotation_rate),
        ] {
            if !number.is_empty()
                && let Some(number) = batch.tolerate(text::single_f64(number))
            {
                batch.push(family, device, number);
            }
        }
    }
}

/// The kernel's unit of disk space whatever the disk's own is.
const SECTOR_BYTES: f64 = 512.0;
/// Times are in milliseconds, and this is not the same as dividing by 1,000.
const MILLISECOND: f64 = 0.001;

/// The columns after the name in the kernel's order, and their units.
const COLUMNS: [(Family<1>, f64); 17] = [
    (READS, 1.0),
    (READS_MERGED, 1.0),
    (READ_BYTES, SECTOR_BYTES),
    (READ_TIME, MILLISECOND),
    (WRITES, 1.0),
    (WRITES_MERGED, 1.0),
    (WRITTEN_BYTES, SECTOR_BYTES),
    (WRITE_TIME, MILLISECOND),
    (IO_NOW, 1.0),
    (IO_TIME, MILLISECOND),
    (IO_TIME_WEIGHTED, MILLISECOND),
    (DISCARDS, 1.0),
    (DISCARDS_MERGED, 1.0),
    (DISCARDED_SECTORS, 1.0),
    (DISCARD_TIME, MILLISECOND),
    (FLUSHES, 1.0),
    (FLUSH_TIME, MILLISECOND),
];

/// The columns that every kernel has: discards came with Linux 4.18, flushes with 5.5.
const FEWEST_COLUMNS: usize = 11;

/// One line.
#[derive(Debug)]
struct Row<'t> {
    /// The line up to the end of the name.
    key: &'t [u8],
    major: &'t [u8],
    minor: &'t [u8],
    name: &'t [u8],
    columns: [u64; COLUMNS.len()],
    count: usize,
}

impl Row<'_> {
    /// The columns that the kernel has.
    fn counts(&self) -> &[u64] {
        self.columns.get(..self.count).unwrap_or(&self.columns)
    }
}

/// Takes ` 254       0 vda 85628 10765 8920162 93682 20569 29295 5327144 10842 0 13620 105104`,
/// which may go on with four columns of discards and two of flushes.
///
/// A shorter line is none: kernels before 2.6.25 wrote them for partitions.
fn parse_line(line: &[u8]) -> Result<Option<Row<'_>>, Malformed> {
    let mut fields = Fields::new(line);
    let major = number_text(&mut fields)?;
    let minor = number_text(&mut fields)?;
    let name = fields.text()?;
    let key = line.get(..line.len() - fields.rest().len()).unwrap_or(line);
    let mut row = Row { key, major, minor, name, columns: [0; _], count: 0 };
    row.count = fields.numbers(&mut row.columns)?;
    Ok((row.count >= FEWEST_COLUMNS).then_some(row))
}

/// The next field as it is written, if it is a number.
fn number_text<'t>(fields: &mut Fields<'t>) -> Result<&'t [u8], Malformed> {
    let mut ahead = fields.clone();
    fields.u64()?;
    ahead.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const TEXT: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 85628 10765 8920162 93682 20569 29295 5327144 10842 0 13620 105104 5183 35 700736 543 784 36
 254       1 vda1 1 0 8 1 0 0 0 0 0 1 1 0 0 0 0 0 0
";

    const UDEV: &str = "S:disk/by-path/pci-0000:00:02.0
I:1471153
E:ID_PATH=pci-0000:00:02.0
E:ID_PATH_TAG=pci-0000_00_02_0
E:ID_SERIAL=vitald=disk
E:ID_FS_UUID=3deafd0d-faff-4695-8d15-51061ae1f51b
E:ID_FS_VERSION=1.0
E:ID_FS_TYPE=ext4
E:ID_FS_USAGE=filesystem
E:nothing
G:systemd
";

    fn info(udev: &str) -> String {
        let memory = MemoryHost::from_files(&[("proc/diskstats", TEXT), ("udev/b254:0", udev)]);
        let (batch, outcome) = run(&mut open::<Diskstats>(&memory.host(), &[]), None);
        outcome.unwrap();
        let page = render(&batch);
        let is_info = |line: &&str| line.contains("_info{") || line.contains("_ata_");
        page.lines().filter(is_info).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn golden() {
        let memory = MemoryHost::from_files(&[
            ("proc/diskstats", TEXT),
            ("sys/block/vda/queue/rotational", "1\n"),
            ("udev/b254:0", UDEV),
        ]);
        check::<Diskstats>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_disk_discard_time_seconds_total counter
                node_disk_discard_time_seconds_total{device="vda"} 0.543
                # node_disk_discarded_sectors_total counter
                node_disk_discarded_sectors_total{device="vda"} 700736
                # node_disk_discards_completed_total counter
                node_disk_discards_completed_total{device="vda"} 5183
                # node_disk_discards_merged_total counter
                node_disk_discards_merged_total{device="vda"} 35
                # node_disk_filesystem_info gauge
                node_disk_filesystem_info{device="vda",type="ext4",usage="filesystem",uuid="3deafd0d-faff-4695-8d15-51061ae1f51b",version="1.0"} 1
                # node_disk_flush_requests_time_seconds_total counter
                node_disk_flush_requests_time_seconds_total{device="vda"} 0.036000000000000004
                # node_disk_flush_requests_total counter
                node_disk_flush_requests_total{device="vda"} 784
                # node_disk_info gauge
                node_disk_info{device="vda",major="254",minor="0",path="pci-0000:00:02.0",wwn="",model="",serial="vitald=disk",revision="",rotational="1"} 1
                # node_disk_io_now gauge
                node_disk_io_now{device="vda"} 0
                # node_disk_io_time_seconds_total counter
                node_disk_io_time_seconds_total{device="vda"} 13.620000000000001
                # node_disk_io_time_weighted_seconds_total counter
                node_disk_io_time_weighted_seconds_total{device="vda"} 105.104
                # node_disk_read_bytes_total counter
                node_disk_read_bytes_total{device="vda"} 4.567122944e+09
                # node_disk_read_time_seconds_total counter
                node_disk_read_time_seconds_total{device="vda"} 93.682
                # node_disk_reads_completed_total counter
                node_disk_reads_completed_total{device="vda"} 85628
                # node_disk_reads_merged_total counter
                node_disk_reads_merged_total{device="vda"} 10765
                # node_disk_write_time_seconds_total counter
                node_disk_write_time_seconds_total{device="vda"} 10.842
                # node_disk_writes_completed_total counter
                node_disk_writes_completed_total{device="vda"} 20569
                # node_disk_writes_merged_total counter
                node_disk_writes_merged_total{device="vda"} 29295
                # node_disk_written_bytes_total counter
                node_disk_written_bytes_total{device="vda"} 2.727497728e+09
            "#]],
        );
    }

    #[test]
    fn kernels_with_fewer_columns() {
        let line = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8       1 sdaa 1 2 3 4\n";
        check::<Diskstats>(
            &MemoryHost::from_files(&[("proc/diskstats", line)]).host(),
            &[],
            &expect![[r#"
                # node_disk_info gauge
                node_disk_info{device="sda",major="8",minor="0",path="",wwn="",model="",serial="",revision="",rotational="0"} 1
                # node_disk_io_now gauge
                node_disk_io_now{device="sda"} 9
                # node_disk_io_time_seconds_total counter
                node_disk_io_time_seconds_total{device="sda"} 0.01
                # node_disk_io_time_weighted_seconds_total counter
                node_disk_io_time_weighted_seconds_total{device="sda"} 0.011
                # node_disk_read_bytes_total counter
                node_disk_read_bytes_total{device="sda"} 1536
                # node_disk_read_time_seconds_total counter
                node_disk_read_time_seconds_total{device="sda"} 0.004
                # node_disk_reads_completed_total counter
                node_disk_reads_completed_total{device="sda"} 1
                # node_disk_reads_merged_total counter
                node_disk_reads_merged_total{device="sda"} 2
                # node_disk_write_time_seconds_total counter
                node_disk_write_time_seconds_total{device="sda"} 0.008
                # node_disk_writes_completed_total counter
                node_disk_writes_completed_total{device="sda"} 5
                # node_disk_writes_merged_total counter
                node_disk_writes_merged_total{device="sda"} 6
                # node_disk_written_bytes_total counter
                node_disk_written_bytes_total{device="sda"} 3584
            "#]],
        );
    }

    #[test]
    fn the_serial_number_is_the_one_on_the_label() {
        let all = "E:SCSI_IDENT_SERIAL=s\nE:ID_SERIAL_SHORT=short\nE:ID_SERIAL=long\n";
        assert!(info(all).contains(r#"serial="s""#));
        assert!(info(all.split_once('\n').unwrap().1).contains(r#"serial="short""#));
        assert!(info("E:ID_SERIAL=long\n").contains(r#"serial="long""#));
        assert!(info("").contains(r#"serial="""#));
    }

    #[test]
    fn device_mapper() {
        expect![[r#"
            node_disk_device_mapper_info{device="vda",name="vg-root",uuid="LVM-NWEDo8q5",vg_name="vg",lv_name="root",lv_layer="cow"} 1
            node_disk_info{device="vda",major="254",minor="0",path="",wwn="",model="",serial="",revision="",rotational="0"} 1
        "#]]
        .assert_eq(&info(
            "E:DM_NAME=vg-root\nE:DM_UUID=LVM-NWEDo8q5\nE:DM_VG_NAME=vg\nE:DM_LV_NAME=root\nE:DM_LV_LAYER=cow\n",
        ));
    }

    #[test]
    fn ata() {
        let text = "E:ID_ATA=1\nE:ID_ATA_WRITE_CACHE=1\nE:ID_ATA_WRITE_CACHE_ENABLED=no\n\
                    E:ID_ATA_ROTATION_RATE_RPM=7200\n";
        expect![[r#"
            # node_disk_ata_rotation_rate_rpm gauge
            node_disk_ata_rotation_rate_rpm{device="vda"} 7200
            # node_disk_ata_write_cache gauge
            node_disk_ata_write_cache{device="vda"} 1
            node_disk_info{device="vda",major="254",minor="0",path="",wwn="",model="",serial="",revision="",rotational="0"} 1
        "#]]
        .assert_eq(&info(text));
        assert!(!info(text.split_once('\n').unwrap().1).contains("_ata_"));
    }

    fn devices(settings: &[(&str, Node)]) -> Vec<String> {
        let memory = MemoryHost::from_files(&[("proc/diskstats", TEXT)]);
        let (batch, outcome) = run(&mut open::<Diskstats>(&memory.host(), settings), None);
        outcome.unwrap();
        let page = render(&batch);
        let device = |line: &str| line.strip_prefix("node_disk_io_now{").map(str::to_owned);
        page.lines().filter_map(device).collect()
    }

    #[test]
    fn disks_are_chosen_by_name() {
        let (vda, vda1) = (r#"device="vda"} 0"#, r#"device="vda1"} 0"#);
        assert_eq!(devices(&[]), [vda]);
        assert_eq!(devices(&[("device_exclude", "^loop|a$".into())]), [vda1]);
        let include = ("device_include", "^vda".into());
        assert_eq!(devices(&[("device_exclude", "".into()), include]), [vda, vda1]);
        assert_eq!(devices(&[("device_exclude", "".into())]).len(), 3);
    }

    #[test]
    fn one_of_the_two_at_most() {
        expect![[r#"device_include: cannot be used together with `device_exclude`, which has a default: set `device_exclude = ""`, too"#]]
            .assert_eq(&refusal::<Diskstats>(&[("device_include", "b".into())]));
    }

    #[test]
    fn udev_is_read_when_its_directory_changed() {
        let memory = MemoryHost::from_files(&[
            ("proc/diskstats", TEXT),
            ("udev/b254:0", "E:ID_MODEL=first\n"),
        ]);
        let host = memory.host();
        let mut diskstats = open::<Diskstats>(&host, &[]);
        let mut model = |seconds: f64| {
            memory.set_now(Duration::from_secs_f64(seconds));
            let page = render(&run(&mut diskstats, None).0);
            let (_, rest) = page.split_once("model=\"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        // As udev does it.
        let replace = |text: &str| {
            memory.write("udev/.#b254:0", text);
            memory.rename("udev/.#b254:0", "udev/b254:0");
        };
        memory.set_modified("udev", 100.0);
        assert_eq!(model(100.5), "first");
        // It may have changed again within what the clock tells apart.
        replace("E:ID_MODEL=second\n");
        memory.set_modified("udev", 100.0);
        assert_eq!(model(110.0), "second");
        replace("E:ID_MODEL=third\n");
        memory.set_modified("udev", 100.0);
        assert_eq!(model(120.0), "second", "nothing tells of a change");
        memory.set_modified("udev", 130.0);
        assert_eq!(model(140.0), "third");
        // What could not be read is tried again, though nothing tells that it can be now.
        replace("E:ID_MODEL=fourth\n");
        memory.fail("udev/b254:0", 13);
        memory.set_modified("udev", 141.0);
        assert_eq!(model(150.0), "");
        memory.write("udev/b254:0", "E:ID_MODEL=fourth\n");
        memory.set_modified("udev", 141.0);
        assert_eq!(model(150.0), "fourth");
        memory.remove("udev");
        assert_eq!(model(150.0), "");
    }

    /// As a mount over it does, where inode numbers and times are those of the other one by chance.
    #[test]
    fn another_directory_of_udev_is_read() {
        let files = [("proc/diskstats", TEXT), ("udev/b254:0", "E:ID_MODEL=first\n")];
        let memory = MemoryHost::from_files(&files);
        memory.set_modified("udev", 100.0);
        memory.set_now(Duration::from_secs(200));
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let mut shows = |model: &str| {
            let page = render(&run(&mut diskstats, None).0);
            assert!(page.contains(&format!("model=\"{model}\"")), "{page}");
        };
        shows("first");
        // In place, of which the directory knows nothing.
        memory.write("udev/b254:0", "E:ID_MODEL=second\n");
        shows("first");
        memory.set_mount("udev", 7);
        shows("second");
    }

    #[test]
    fn the_steady_state_reads_each_source_once() {
        let memory = MemoryHost::from_files(&[
            ("proc/diskstats", TEXT),
            ("sys/block/vda/queue/rotational", "0\n"),
            ("udev/b254:0", UDEV),
        ]);
        memory.set_now(Duration::from_secs(1_700_000_100));
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let (first, _) = run(&mut diskstats, None);
        let before = memory.reads();
        memory.pass_time(Duration::from_secs(60));
        run(&mut diskstats, Some(&first)).1.unwrap();
        assert_eq!(memory.reads() - before, 2, "diskstats and rotational");
        // The clock is set to before the directory's last change.
        memory.set_now(Duration::from_secs(3600));
        let before = memory.reads();
        run(&mut diskstats, Some(&first)).1.unwrap();
        run(&mut diskstats, Some(&first)).1.unwrap();
        assert_eq!(memory.reads() - before, 2, "diskstats twice");
    }

    #[test]
    fn nothing_is_read_of_a_disk_that_is_left_out() {
        let line = |name: &str| format!("9 0 {name} 1 2 3 4 5 6 7 8 9 10 11\n");
        let memory = MemoryHost::new();
        memory.write("proc/diskstats", ["cciss/c0d0", "a!b", "loop0", "loop1"].map(line).concat());
        // A slash in a name is an exclamation mark in sysfs.
        for name in ["cciss!c0d0", "a!b", "loop0", "loop1"] {
            memory.write(format!("sys/block/{name}/queue/rotational"), "1\n");
        }
        memory.write("sys/kernel/uevent_seqnum", "4711\n");
        let settings = [("device_include", "^(cciss/|a!)".into()), ("device_exclude", "".into())];
        let mut diskstats = open::<Diskstats>(&memory.host(), &settings);
        let before = memory.reads();
        let (page, _) = run(&mut diskstats, None);
        let page = render(&page);
        for name in ["cciss/c0d0", "a!b"] {
            let info = page.lines().find(|line| line.contains("_info{") && line.contains(name));
            assert!(info.is_some_and(|info| info.contains(r#"rotational="1""#)), "{page}");
        }
        assert_eq!(memory.reads() - before, 4, "diskstats, the events and two queues");
    }

    #[test]
    fn disks_that_are_left_out_are_not_listed_again() {
        let memory = MemoryHost::from_files(&[
            ("proc/diskstats", "7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n"),
            ("sys/block/loop0/queue/rotational", "0\n"),
            ("sys/kernel/uevent_seqnum", "4711\n"),
        ]);
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        run(&mut diskstats, None).1.unwrap();
        let before = memory.requests();
        run(&mut diskstats, None).1.unwrap();
        assert_eq!((memory.requests() - before).listings, 0);
        // The first that is shown, before its event.
        memory.write("sys/block/sda/queue/rotational", "1\n");
        memory.write("proc/diskstats", "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n");
        let (page, _) = run(&mut diskstats, None);
        assert!(render(&page).contains(r#"rotational="1"} 1"#));
    }

    #[test]
    fn disks_come_and_go() {
        let memory = MemoryHost::from_files(&[
            (
                "proc/diskstats",
                "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
            ),
            ("sys/block/sdb/queue/rotational", "1\n"),
            ("sys/block/sdc/queue/rotational", "1\n"),
        ]);
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let spinning = |diskstats: &mut Diskstats| {
            let page = render(&run(diskstats, None).0);
            let spins = |line: &&str| line.contains(r#"rotational="1""#);
            page.lines().filter(spins).map(|line| line[..28].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(spinning(&mut diskstats), [r#"node_disk_info{device="sdb","#]);
        memory.write("proc/diskstats", "8 16 sdc 1 2 3 4 5 6 7 8 9 10 11\n");
        assert_eq!(spinning(&mut diskstats), [r#"node_disk_info{device="sdc","#]);
        memory.write("sys/block/sdc/queue/rotational", "0\n");
        memory.pass_time(Duration::from_secs(60));
        assert_eq!(spinning(&mut diskstats), [""; 0]);
    }

    const MANY: usize = 500;

    fn many_disks() -> MemoryHost {
        let memory = MemoryHost::new();
        let mut text = String::new();
        for disk in 0..MANY {
            text += &format!("9 {disk} md{disk} 1 2 3 4 5 6 7 8 9 10 11\n");
            memory.write(format!("sys/block/md{disk}/queue/rotational"), "0\n");
        }
        memory.write("proc/diskstats", text);
        memory.write("sys/kernel/uevent_seqnum", "4711\n");
        memory
    }

    #[test]
    fn another_disk_of_the_same_name_is_noticed_at_once() {
        let memory = many_disks();
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let mut spinning = || {
            let page = render(&run(&mut diskstats, None).0);
            page.matches(r#"rotational="1""#).count()
        };
        assert_eq!(spinning(), 0);
        memory.remove("sys/block/md99");
        memory.write("sys/block/md99/queue/rotational", "1\n");
        assert_eq!(spinning(), 0, "the disks are not listed without an event");
        memory.write("sys/kernel/uevent_seqnum", "4713\n");
        assert_eq!(spinning(), 1);
        // Without the count of events, the disks are listed each time.
        memory.remove("sys/kernel/uevent_seqnum");
        memory.remove("sys/block/md98");
        memory.write("sys/block/md98/queue/rotational", "1\n");
        assert_eq!(spinning(), 2);
    }

    #[test]
    fn a_new_disk_is_looked_at_before_its_event() {
        let memory = many_disks();
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let mut spinning = |disks: &str| {
            memory.write("proc/diskstats", disks);
            let page = render(&run(&mut diskstats, None).0);
            page.matches(r#"rotational="1""#).count()
        };
        assert_eq!(spinning("9 0 md0 1 2 3 4 5 6 7 8 9 10 11\n"), 0);
        memory.write("sys/block/sda!x/queue/rotational", "1\n");
        assert_eq!(spinning("8 0 sda/x 1 2 3 4 5 6 7 8 9 10 11\n"), 1);
    }

    #[test]
    fn many_disks_cost_no_more_reads_than_those_whose_turn_it_is() {
        let memory = many_disks();
        for disk in 0..MANY {
            memory.write(format!("udev/b9:{disk}"), "E:ID_MODEL=x\n");
        }
        // What has just changed is looked at again.
        memory.set_now(memory.host().now() + Duration::from_secs(2));
        let mut diskstats = open::<Diskstats>(&memory.host(), &[]);
        let (first, _) = run(&mut diskstats, None);
        let before = memory.requests();
        run(&mut diskstats, Some(&first)).1.unwrap();
        let steady = memory.requests() - before;
        // The kernel gives whole lines, a page at a time: 17.4 KiB are five reads.
        assert_eq!(steady.reads, 5 + 1, "diskstats and the events");
        assert_eq!(steady.others, 1, "the times of udev's directory");
        assert_eq!(steady.listings, 0, "neither udev's directory nor sysfs is listed");
        // A hint that was set is shown when its turn comes.
        for disk in 0..MANY {
            memory.write(format!("sys/block/md{disk}/queue/rotational"), "1\n");
        }
        let mut last = 0;
        for _ in 0..4 {
            let before = memory.reads();
            memory.pass_time(Duration::from_secs(15));
            let page = render(&run(&mut diskstats, None).0);
            last = page.matches(r#"rotational="1""#).count();
            let queues = memory.reads() - before - steady.reads;
            assert!((148..=152).contains(&queues), "{queues}");
        }
        assert_eq!(last, MANY);
    }

    #[test]
    fn an_odd_line_costs_that_line() {
        let text = "x 0 sda 1\n8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n8 32 sdc 1 2 x\n";
        let memory = MemoryHost::from_files(&[("proc/diskstats", text)]);
        let (batch, outcome) = run(&mut open::<Diskstats>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
        assert_eq!(batch.len(), 12);
    }

    #[test]
    fn absent() {
        check_fails::<Diskstats>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/diskstats: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_line, &["", "8", "8 0", "8 x sda 1", "8 0 sda -1", "8 0 sda 1 2 3.5"]);
    }
}
