//! Btrfs file systems, from `/sys/fs/btrfs` (fs/btrfs/sysfs.c), and what each says of its devices by
//! ioctl(2) where it is mounted (linux/btrfs.h).

use vitald_core::family::Family;
use vitald_core::host::attribute::Number;
use vitald_core::host::{Attribute, BtrfsDevice};
use vitald_core::prelude::*;

mod asked;

use asked::Asked;

families! {
    /// What a file system is; always 1.
    INFO: gauge = "node_btrfs_info" [uuid, label];
    /// The size of the reserve that all use.
    GLOBAL_RESERVE: gauge = "node_btrfs_global_rsv_size_bytes" [uuid];
    /// Commits of a file system.
    COMMITS: counter = "node_btrfs_commits_total" [uuid];
    /// How long the last commit took.
    LAST_COMMIT: gauge = "node_btrfs_last_commit_seconds" [uuid];
    /// How long the slowest commit took.
    SLOWEST_COMMIT: gauge = "node_btrfs_max_commit_seconds" [uuid];
    /// Time spent by all commits.
    COMMIT_TIME: counter = "node_btrfs_commit_seconds_total" [uuid];
    /// Space that is reserved for one kind of block groups.
    RESERVED: gauge = "node_btrfs_reserved_bytes" [uuid, block_group_type];
    /// Space of block groups that is in use.
    USED: gauge = "node_btrfs_used_bytes" [uuid, block_group_type, mode];
    /// Space of block groups.
    SIZE: gauge = "node_btrfs_size_bytes" [uuid, block_group_type, mode];
    /// How many bytes on disks each byte of block groups takes.
    RATIO: gauge = "node_btrfs_allocation_ratio" [uuid, block_group_type, mode];
    /// The size of a device of a file system, with the device's identifier where the file system tells it.
    DEVICE_SIZE: gauge = "node_btrfs_device_size_bytes" [uuid, device];
    /// Bytes of a device that no block group has taken.
    DEVICE_UNUSED: gauge = "node_btrfs_device_unused_bytes" [uuid, device, btrfs_dev_uuid];
    /// Errors that a file system has counted of a device since someone last set the counts back.
    DEVICE_ERRORS: counter =
        "node_btrfs_device_errors_total" [uuid, type, device, btrfs_dev_uuid] since(Unknown);
}

attributes! {
    FileSystem {
        LABEL: text = "label", optional;
        UUID: text = "metadata_uuid", optional, slow;
        GLOBAL_RESERVE: u64 = "allocation/global_rsv_size", optional;
        DATA: u64 = "allocation/data/bytes_reserved", optional;
        METADATA: u64 = "allocation/metadata/bytes_reserved", optional;
        SYSTEM: u64 = "allocation/system/bytes_reserved", optional;
        // Since Linux 6.1.
        COMMITS: line = "commit_stats", optional;
    }
}

attributes! {
    /// Block groups of one kind and profile.
    Groups {
        SIZE: u64 = "total_bytes", optional;
        USED: u64 = "used_bytes", optional;
    }
}

attributes! {
    Device {
        SECTORS: u64 * 512.0 = "size", optional;
    }
}

const RESERVES: &[(&[u8], &Attribute<FileSystem, Number>)] = &[
    (b"data", &FileSystem::DATA),
    (b"metadata", &FileSystem::METADATA),
    (b"system", &FileSystem::SYSTEM),
];

/// What `commit_stats` says, its unit in seconds, and what is shown of it.
const COMMIT_LINES: &[(&[u8], f64, &Family<1>)] = &[
    (b"commits", 1.0, &COMMITS),
    (b"last_commit_ms", 1000.0, &LAST_COMMIT),
    (b"max_commit_ms", 1000.0, &SLOWEST_COMMIT),
    (b"total_commit_ms", 1000.0, &COMMIT_TIME),
];

register_collector!(Btrfs);

struct Btrfs {
    file_systems: Walk<FileSystem>,
    groups: Walk<Groups>,
    devices: Walk<Device>,
    asked: Asked,
}

/// What a file system counts of a device, in the kernel's order.
const ERRORS: [&[u8]; 5] = [b"write", b"read", b"flush", b"corruption", b"generation"];

impl Collector for Btrfs {
    about! {
        name: "btrfs",
        summary: "Btrfs file systems: their space, devices and commits",
        families: FAMILIES,
        sources: [
            "sys/fs/btrfs/*/label",
            "sys/fs/btrfs/*/metadata_uuid",
            "sys/fs/btrfs/*/commit_stats",
            "sys/fs/btrfs/*/allocation/global_rsv_size",
            "sys/fs/btrfs/*/allocation/*/bytes_reserved",
            "sys/fs/btrfs/*/allocation/*/*/total_bytes",
            "sys/fs/btrfs/*/allocation/*/*/used_bytes",
            "sys/fs/btrfs/*/devices/*/size",
            "proc/1/mountinfo",
            "proc/self/mountinfo",
            "ioctl(2) of Btrfs",
        ],
    }
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        let is_kind = |name: &[u8]| RESERVES.iter().any(|(kind, _)| *kind == name);
        Ok(Btrfs {
            file_systems: host.walk("sys/fs/btrfs/*").only(0, is_uuid),
            groups: host.walk("sys/fs/btrfs/*/allocation/*/*").only(0, is_uuid).only(1, is_kind),
            devices: host.walk("sys/fs/btrfs/*/devices/*").only(0, is_uuid),
            asked: Asked::new(host),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let file_systems = self.file_systems.optional()?;
        let has_gone = self.groups.children().len() + self.devices.children().len() > 0;
        if file_systems.len() == 0 && !has_gone {
            return Ok(());
        }
        self.groups.optional()?;
        self.devices.optional()?;
        if file_systems.len() > 0 {
            self.asked.ask_all(batch);
        }
        let mut groups = self.groups.children().peekable();
        let mut devices = self.devices.children().peekable();
        for file_system in file_systems {
            let name = file_system.name(0);
            // Another one than the directory's where it was changed by btrfstune(8).
            let own = file_system.text(&FileSystem::UUID)?;
            let uuid = if own.is_empty() { name } else { own };
            batch.row(&INFO, [uuid, file_system.text(&FileSystem::LABEL)?], 1);
            let labels = batch.labels([uuid]);
            // As in node_exporter, what a kernel does not tell is 0.
            if let Some(bytes) = file_system.number_or(&FileSystem::GLOBAL_RESERVE, 0.0, batch)? {
                batch.push(&GLOBAL_RESERVE, labels, bytes);
            }
            let commits = file_system.text(&FileSystem::COMMITS)?;
            for (word, divisor, family) in COMMIT_LINES {
                if let Some(number) = batch.tolerate(number_after(commits, word)) {
                    batch.push(family, labels, number / divisor);
                }
            }
            for (kind, attribute) in RESERVES {
                if let Some(bytes) = file_system.number_or(attribute, 0.0, batch)? {
                    batch.row(&RESERVED, [uuid, kind], bytes);
                }
            }
            let told = self.asked.devices(uuid);
            for device in told.unwrap_or_default() {
                push_device(uuid, device, batch);
            }
            let mut count = 0_u32;
            while devices.next_if(|device| device.name(0) < name).is_some() {}
            while let Some(device) = devices.next_if(|device| device.name(0) == name) {
                count += 1;
                if told.is_none()
                    && let Some(bytes) = device.number_or(&Device::SECTORS, 0.0, batch)?
                {
                    batch.row(&DEVICE_SIZE, [uuid, device.name(1)], bytes);
                }
            }
            while groups.next_if(|group| group.name(0) < name).is_some() {}
            while let Some(group) = groups.next_if(|group| group.name(0) == name) {
                let labels = batch.labels([uuid, group.name(1), group.name(2)]);
                if let Some(bytes) = group.number_or(&Groups::USED, 0.0, batch)? {
                    batch.push(&USED, labels, bytes);
                }
                if let Some(bytes) = group.number_or(&Groups::SIZE, 0.0, batch)? {
                    batch.push(&SIZE, labels, bytes);
                }
                batch.push(&RATIO, labels, ratio(group.name(2), f64::from(count)));
            }
        }
        Ok(())
    }
}

fn push_device(uuid: &[u8], device: &BtrfsDevice, batch: &mut Batch) {
    let name = device.path().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut room = [0; 36];
    let own = asked::written(&device.uuid, &mut room);
    let pairs = [(&b"uuid"[..], uuid), (b"device", name), (b"btrfs_dev_uuid", own)];
    let labels = batch.label_pairs(&pairs);
    batch.push_pairs(&DEVICE_SIZE, labels, device.size);
    batch.row(&DEVICE_UNUSED, [uuid, name, own], device.size.wrapping_sub(device.used));
    for (kind, count) in ERRORS.into_iter().zip(device.errors) {
        batch.row(&DEVICE_ERRORS, [uuid, kind, name, own], count);
    }
}

/// Whether a directory is that of a file system; beside them is `features`.
fn is_uuid(name: &[u8]) -> bool {
    name.contains(&b'-')
}

/// How many bytes on disks a byte takes in block groups of a profile on so many devices; 0 where the
/// profile is not known.
fn ratio(profile: &[u8], devices: f64) -> f64 {
    match profile {
        b"single" | b"raid0" => 1.0,
        b"dup" | b"raid1" | b"raid10" => 2.0,
        b"raid1c3" => 3.0,
        b"raid1c4" => 4.0,
        b"raid5" => devices / (devices - 1.0),
        b"raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

/// Takes the number in the line that begins with this word; 0 without such a line.
fn number_after(text: &[u8], word: &[u8]) -> Result<f64, Malformed> {
    let mut found = lines(text)
        .map(Fields::new)
        .filter_map(|mut fields| (fields.next() == Some(word)).then_some(fields));
    found.next().map_or(Ok(0.0), |mut fields| fields.u64().map(|number| number as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::BtrfsDevices;
    use vitald_core::testing::*;

    const ONE: &str = "sys/fs/btrfs/4f3b2ad1-0000-4000-8000-000000000001";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("label", "backup"),
            ("metadata_uuid", "4f3b2ad1-0000-4000-8000-000000000001"),
            (
                "commit_stats",
                "commits 83\nlast_commit_ms 71\nmax_commit_ms 1204\ntotal_commit_ms 9001",
            ),
            ("allocation/global_rsv_size", "3407872"),
            ("allocation/data/bytes_reserved", "4096"),
            ("allocation/data/single/total_bytes", "8388608"),
            ("allocation/data/single/used_bytes", "196608"),
            ("allocation/metadata/bytes_reserved", "0"),
            ("allocation/metadata/raid1/total_bytes", "1073741824"),
            ("allocation/metadata/raid1/used_bytes", "163840"),
            ("allocation/system/bytes_reserved", "0"),
            ("allocation/system/raid5/total_bytes", "8388608"),
            ("allocation/system/raid5/used_bytes", "16384"),
            ("devices/sdb/size", "2097152"),
            ("devices/sdc1/size", "4194304"),
        ] {
            memory.write(format!("{ONE}/{path}"), format!("{content}\n"));
        }
        memory.write("sys/fs/btrfs/features/raid56", "0\n");
        memory
    }

    #[test]
    fn golden() {
        check::<Btrfs>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_btrfs_allocation_ratio gauge
            node_btrfs_allocation_ratio{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="data",mode="single"} 1
            node_btrfs_allocation_ratio{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="metadata",mode="raid1"} 2
            node_btrfs_allocation_ratio{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="system",mode="raid5"} 2
            # node_btrfs_commit_seconds_total counter
            node_btrfs_commit_seconds_total{uuid="4f3b2ad1-0000-4000-8000-000000000001"} 9.001
            # node_btrfs_commits_total counter
            node_btrfs_commits_total{uuid="4f3b2ad1-0000-4000-8000-000000000001"} 83
            # node_btrfs_device_size_bytes gauge
            node_btrfs_device_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdb"} 1.073741824e+09
            node_btrfs_device_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdc1"} 2.147483648e+09
            # node_btrfs_global_rsv_size_bytes gauge
            node_btrfs_global_rsv_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001"} 3.407872e+06
            # node_btrfs_info gauge
            node_btrfs_info{uuid="4f3b2ad1-0000-4000-8000-000000000001",label="backup"} 1
            # node_btrfs_last_commit_seconds gauge
            node_btrfs_last_commit_seconds{uuid="4f3b2ad1-0000-4000-8000-000000000001"} 0.071
            # node_btrfs_max_commit_seconds gauge
            node_btrfs_max_commit_seconds{uuid="4f3b2ad1-0000-4000-8000-000000000001"} 1.204
            # node_btrfs_reserved_bytes gauge
            node_btrfs_reserved_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="data"} 4096
            node_btrfs_reserved_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="metadata"} 0
            node_btrfs_reserved_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="system"} 0
            # node_btrfs_size_bytes gauge
            node_btrfs_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="data",mode="single"} 8.388608e+06
            node_btrfs_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="metadata",mode="raid1"} 1.073741824e+09
            node_btrfs_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="system",mode="raid5"} 8.388608e+06
            # node_btrfs_used_bytes gauge
            node_btrfs_used_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="data",mode="single"} 196608
            node_btrfs_used_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="metadata",mode="raid1"} 163840
            node_btrfs_used_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",block_group_type="system",mode="raid5"} 16384
        "##]],
        );
    }

    const UUID: [u8; 16] = [0x4f, 0x3b, 0x2a, 0xd1, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];
    const MOUNTINFO: &str = "\
        28 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
        60 28 0:60 / /mnt/share rw - nfs4 server:/export rw\n\
        61 60 0:45 / /mnt/share/below rw - btrfs /dev/sdb rw\n\
        62 28 0:45 / /srv/My\\040disk rw - btrfs /dev/sdb rw\n\
        63 28 0:45 /sub /srv/sub rw - btrfs /dev/sdb rw\n";

    fn told() -> BtrfsDevices {
        let device = |path: &str, own, size, used, errors| {
            BtrfsDevice::new(path.as_bytes(), [own; 16], size, used, errors)
        };
        BtrfsDevices {
            uuid: UUID,
            devices: vec![
                device("/dev/mapper/sdb", 0xab, 1 << 30, 1 << 29, [1, 2, 3, 4, 5]),
                device("/dev/sdc1", 0, 1 << 31, 1 << 29, [0, 0, 0, 0, u64::MAX]),
            ],
        }
    }

    fn mounted() -> MemoryHost {
        let memory = memory();
        memory.write("proc/1/mountinfo", MOUNTINFO);
        memory.set_btrfs_devices("/srv/My disk", Ok(told()));
        memory
    }

    /// The samples of devices.
    fn devices(memory: &MemoryHost) -> Vec<String> {
        let (batch, outcome) = run(&mut open::<Btrfs>(&memory.host(), &[]), None);
        outcome.unwrap();
        let page = render(&batch);
        let lines = page.lines().filter(|line| line.starts_with("node_btrfs_device_"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn what_a_file_system_tells_of_its_devices() {
        expect![[r#"
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="write",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 1
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="read",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 2
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="flush",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 3
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="corruption",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 4
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="generation",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 5
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="write",device="sdc1",btrfs_dev_uuid="<zero>"} 0
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="read",device="sdc1",btrfs_dev_uuid="<zero>"} 0
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="flush",device="sdc1",btrfs_dev_uuid="<zero>"} 0
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="corruption",device="sdc1",btrfs_dev_uuid="<zero>"} 0
            node_btrfs_device_errors_total{uuid="4f3b2ad1-0000-4000-8000-000000000001",type="generation",device="sdc1",btrfs_dev_uuid="<zero>"} 1.8446744073709552e+19
            node_btrfs_device_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 1.073741824e+09
            node_btrfs_device_size_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdc1",btrfs_dev_uuid="<zero>"} 2.147483648e+09
            node_btrfs_device_unused_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdb",btrfs_dev_uuid="abababab-abab-abab-abab-abababababab"} 5.36870912e+08
            node_btrfs_device_unused_bytes{uuid="4f3b2ad1-0000-4000-8000-000000000001",device="sdc1",btrfs_dev_uuid="<zero>"} 1.610612736e+09"#]].assert_eq(&devices(&mounted()).join("\n"));
    }

    #[test]
    fn a_file_system_is_asked_once_and_where_it_answers() {
        let memory = mounted();
        let expected = devices(&memory);
        // The first place fails, and the second one answers.
        memory.set_btrfs_devices("/srv/My disk", Err(13));
        memory.set_btrfs_devices("/srv/sub", Ok(told()));
        assert_eq!(devices(&memory), expected);
        // Mounted by another of its devices, too, it is the same.
        memory.write(
            "proc/1/mountinfo",
            MOUNTINFO.replace("My\\040disk rw - btrfs /dev/sdb", "x rw - btrfs /dev/sdc1"),
        );
        memory.set_btrfs_devices("/srv/x", Ok(told()));
        assert_eq!(devices(&memory), expected);
    }

    #[test]
    fn nothing_is_asked_behind_what_may_not_answer() {
        let memory = mounted();
        memory.set_btrfs_devices("/srv/My disk", Err(19));
        memory.set_btrfs_devices("/mnt/share/below", Ok(told()));
        assert_eq!(devices(&memory).len(), 2);
        memory.write("proc/1/mountinfo", MOUNTINFO.replace(" nfs4 ", " xfs "));
        assert_eq!(devices(&memory).len(), 14);
        // The root itself may be what does not answer.
        memory.write(
            "proc/1/mountinfo",
            MOUNTINFO.replace(" nfs4 ", " xfs ").replace(" ext4 ", " nfs "),
        );
        assert_eq!(devices(&memory).len(), 2);
    }

    #[test]
    fn another_file_system_than_sysfs_has_says_nothing() {
        let memory = mounted();
        memory.set_btrfs_devices("/srv/My disk", Ok(BtrfsDevices { uuid: [7; 16], ..told() }));
        assert_eq!(devices(&memory).len(), 2);
        memory
            .set_btrfs_devices("/srv/My disk", Ok(BtrfsDevices { devices: Vec::new(), ..told() }));
        assert_eq!(devices(&memory).len(), 0);
    }

    #[test]
    fn own_mounts_are_asked_where_the_first_process_is_hidden() {
        let memory = mounted();
        memory.fail("proc/1/mountinfo", 13);
        assert_eq!(devices(&memory).len(), 2);
        memory.write("proc/self/mountinfo", MOUNTINFO);
        assert_eq!(devices(&memory).len(), 14);
    }

    #[test]
    fn a_file_system_that_goes_and_comes() {
        let memory = mounted();
        let mut collector = open::<Btrfs>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.write("proc/1/mountinfo", "");
        let (second, _) = run(&mut collector, Some(&first));
        memory.write("proc/1/mountinfo", MOUNTINFO);
        let (third, outcome) = run(&mut collector, Some(&second));
        outcome.unwrap();
        assert_eq!(first.len(), second.len() + 12);
        assert_eq!(render(&first), render(&third));
    }

    /// The first kernels with this directory tell no more than the sizes of devices.
    #[test]
    fn what_a_kernel_does_not_tell_is_0() {
        let memory = MemoryHost::from_files(&[("sys/fs/btrfs/a-b/devices/vdb/size", "8\n")]);
        check::<Btrfs>(
            &memory.host(),
            &[],
            &expect![[r##"
            # node_btrfs_commit_seconds_total counter
            node_btrfs_commit_seconds_total{uuid="a-b"} 0
            # node_btrfs_commits_total counter
            node_btrfs_commits_total{uuid="a-b"} 0
            # node_btrfs_device_size_bytes gauge
            node_btrfs_device_size_bytes{uuid="a-b",device="vdb"} 4096
            # node_btrfs_global_rsv_size_bytes gauge
            node_btrfs_global_rsv_size_bytes{uuid="a-b"} 0
            # node_btrfs_info gauge
            node_btrfs_info{uuid="a-b",label=""} 1
            # node_btrfs_last_commit_seconds gauge
            node_btrfs_last_commit_seconds{uuid="a-b"} 0
            # node_btrfs_max_commit_seconds gauge
            node_btrfs_max_commit_seconds{uuid="a-b"} 0
            # node_btrfs_reserved_bytes gauge
            node_btrfs_reserved_bytes{uuid="a-b",block_group_type="data"} 0
            node_btrfs_reserved_bytes{uuid="a-b",block_group_type="metadata"} 0
            node_btrfs_reserved_bytes{uuid="a-b",block_group_type="system"} 0
        "##]],
        );
    }

    #[test]
    fn ratios_of_profiles() {
        let of = |profile: &str, devices: u32| ratio(profile.as_bytes(), f64::from(devices));
        assert_eq!(of("raid5", 4), 4.0 / 3.0);
        assert_eq!(of("raid6", 4), 2.0);
        assert_eq!((of("dup", 1), of("raid1c3", 3), of("raid1c4", 4)), (2.0, 3.0, 4.0));
        assert_eq!((of("raid10", 4), of("new", 4)), (2.0, 0.0));
    }

    #[test]
    fn bad_numbers_are_left_out_alone() {
        let memory = memory();
        let (whole, _) = run(&mut open::<Btrfs>(&memory.host(), &[]), None);
        memory.write(format!("{ONE}/commit_stats"), "commits x\nlast_commit_ms\n");
        memory.write(format!("{ONE}/devices/sdb/size"), "-8\n");
        let (batch, outcome) = run(&mut open::<Btrfs>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(whole.len() - batch.len(), 3);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(3));
    }

    #[test]
    fn file_systems_and_devices_go_and_come() {
        let memory = memory();
        let mut collector = open::<Btrfs>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.write("sys/fs/btrfs/0-0/devices/sdz/size", "1\n");
        memory.remove(format!("{ONE}/devices/sdb"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        let page = render(&batch);
        assert!(
            page.contains("uuid=\"0-0\",device=\"sdz\"} 512") && !page.contains("sdb"),
            "{page}"
        );
        memory.remove("sys/fs/btrfs/0-0");
        memory.remove(ONE);
        assert!(run(&mut collector, Some(&batch)).0.is_empty());
    }

    #[test]
    fn a_host_without_btrfs_has_no_series() {
        check::<Btrfs>(&MemoryHost::new().host(), &[], &expect![""]);
    }
}
