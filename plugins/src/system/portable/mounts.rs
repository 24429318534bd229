//! The file systems and disks of Linux, which sysinfo lists with gaps.
//!
//! sysinfo reads `/proc/mounts` as text, so that one mount point that is not UTF-8 costs all of them,
//! and leaves out what is mounted at a path that begins with `/run`, `/sys` or `/proc` as a word does
//! (`/sysroot`, `/runner`). What it shows beside that, and under which names, is kept here.

use std::collections::HashMap;
use std::time::Duration;
use vitald_core::family::Family;
use vitald_core::host::{Space, StatfsQueue};
use vitald_core::prelude::*;

/// What each file system may take to answer, if there is time enough.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Types that hold nothing of a user's, or whose server may not answer.
const LEFT_OUT: &[&[u8]] = &[
    b"autofs",
    b"cgroup",
    b"cgroup2",
    b"cifs",
    b"devpts",
    b"devtmpfs",
    b"hugetlbfs",
    b"iso9660",
    b"mqueue",
    b"nfs",
    b"nfs4",
    b"proc",
    b"pstore",
    b"rootfs",
    b"rpc_pipefs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
];

/// Types of disks of this machine, which answer at once.
const PROMPT: &[&[u8]] =
    &[b"btrfs", b"exfat", b"ext2", b"ext3", b"ext4", b"f2fs", b"overlay", b"vfat", b"xfs"];

/// The bytes of a sector of `proc/diskstats`, whatever the disk's own are
/// (Documentation/admin-guide/iostats.rst).
const SECTOR: u64 = 512;

pub(super) struct Mounts {
    host: Host,
    mounts: KeptFile,
    disks: KeptFile,
    queue: StatfsQueue,
}

/// What a line of mountinfo says.
#[derive(Debug, PartialEq)]
struct Mount<'a> {
    number: &'a [u8],
    /// As the kernel wrote it, with escapes.
    point: &'a [u8],
    kind: &'a [u8],
    device: &'a [u8],
}

/// A file system's device, mount point and type, and its bytes in all and for users.
pub(super) type PushSpace = fn([&[u8]; 3], u64, u64, &mut Batch);

impl Mounts {
    pub(super) fn new(host: &Host) -> Self {
        Mounts {
            host: host.clone(),
            mounts: host.keep_mounts("proc/self/mountinfo"),
            disks: host.keep("proc/diskstats"),
            queue: StatfsQueue::new(),
        }
    }

    /// Pushes the space of each file system, and what was read from and written to its disk.
    pub(super) fn push(
        &mut self,
        push_space: PushSpace,
        io: &Family<2>,
        batch: &mut Batch,
    ) -> Result<()> {
        let (mut point, mut device) = (Vec::new(), Vec::new());
        let mut mounts: Vec<(Vec<u8>, Mount<'_>)> = Vec::new();
        for line in lines(self.mounts.read()?) {
            let Some(mount) = batch.tolerate(parse_mount(line)) else { continue };
            let point = text::unescape_octal(mount.point, &mut point);
            if LEFT_OUT.contains(&mount.kind) || is_hidden(point) {
                continue;
            }
            mounts.push((point.to_vec(), mount));
        }
        // Of those at one place the last one is what a path leads to.
        let last: HashMap<&[u8], usize> =
            (0..).zip(&mounts).map(|(at, (point, _))| (point.as_slice(), at)).collect();
        let is_last = |at: usize, point: &[u8]| last.get(point) == Some(&at);
        let shown: Vec<(&[u8], &Mount<'_>)> = (0..)
            .zip(&mounts)
            .filter(|(at, (point, _))| is_last(*at, point))
            .map(|(_, (point, mount))| (point.as_slice(), mount))
            .collect();
        self.queue.clear();
        for (point, mount) in &shown {
            let may_block = !PROMPT.contains(&mount.kind);
            self.queue.push(point, mount.device, mount.number, may_block);
        }
        let within = batch.time_left().min(TIMEOUT.saturating_mul(2));
        self.host.statfs_each(&mut self.queue, TIMEOUT, within);
        for ((point, mount), asked) in shown.iter().zip(self.queue.iter()) {
            let Ok(Space { block_size, blocks, blocks_available, .. }) = asked.answer else {
                continue;
            };
            let size = block_size.saturating_mul(blocks);
            let device = text::unescape_octal(mount.device, &mut device);
            if size > 0 {
                let free = block_size.saturating_mul(blocks_available);
                push_space([device, point, mount.kind], size, free, batch);
            }
        }
        let mut by_number: HashMap<(&[u8], &[u8]), &[u8]> = HashMap::new();
        let mut by_name: HashMap<&[u8], &[u8]> = HashMap::new();
        for (_, mount) in &shown {
            match text::split_once(mount.number, b':') {
                // Btrfs, for one, has a number of its own, and the disk's is known by its name.
                Some((b"0", _)) | None => {
                    if let Some(name) = mount.device.strip_prefix(b"/dev/") {
                        by_name.entry(name).or_insert(mount.device);
                    }
                }
                Some(number) => {
                    by_number.entry(number).or_insert(mount.device);
                }
            }
        }
        for line in lines(self.disks.optional()?.unwrap_or_default()) {
            let Some(disk) = batch.tolerate(parse_disk(line)) else { continue };
            let found = by_number.get(&disk.number).or_else(|| by_name.get(disk.name));
            let Some(name) = found else { continue };
            if disk.read > 0 || disk.written > 0 {
                let device = text::unescape_octal(name, &mut device);
                batch.row(io, [device, b"read"], disk.read.saturating_mul(SECTOR));
                batch.row(io, [device, b"write"], disk.written.saturating_mul(SECTOR));
            }
        }
        Ok(())
    }
}

/// Whether a place is one of the kernel's own or of the running system's: below `/proc`, `/sys` or
/// `/run`, where only removable media are of interest.
fn is_hidden(point: &[u8]) -> bool {
    let is_below = |top: &[u8]| {
        point.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    is_below(b"/proc") || is_below(b"/sys") || is_below(b"/run") && !is_below(b"/run/media")
}

/// Takes the device's number, the place, the type and the device of
/// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue` (proc_pid_mountinfo(5)).
fn parse_mount(line: &[u8]) -> Result<Mount<'_>, Malformed> {
    let mut fields = Fields::new(line);
    let number = fields.pass(2).text()?;
    let point = fields.pass(1).text()?;
    // Any number of optional fields end at a dash.
    while fields.text()? != b"-" {}
    Ok(Mount { number, point, kind: fields.text()?, device: fields.text()? })
}

/// What a line of diskstats says.
struct DiskLine<'a> {
    number: (&'a [u8], &'a [u8]),
    name: &'a [u8],
    read: u64,
    written: u64,
}

/// Takes number, name and sectors of `252 0 vda 9213 1443 619314 1799 3203 3270 216664 ...`.
fn parse_disk(line: &[u8]) -> Result<DiskLine<'_>, Malformed> {
    let mut fields = Fields::new(line);
    Ok(DiskLine {
        number: (fields.text()?, fields.text()?),
        name: fields.text()?,
        read: fields.pass(2).u64()?,
        written: fields.pass(3).u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::run::Run;
    use vitald_core::testing::*;

    /// The page of a host with these lines of mountinfo, each of its places with 10 blocks of 100
    /// bytes, 3 of them free.
    fn page(mountinfo: &[u8], points: &[&str]) -> String {
        let memory = MemoryHost::new();
        memory.write("proc/self/mountinfo", mountinfo);
        memory.write(
            "proc/diskstats",
            "   8       1 sda1 5 0 16 1 4 0 8 2 0 3 3\n   8       2 sdb1 0 0 0 0 0 0 0 0 0 0 0\nodd\n\
             254       0 dm-0 1 0 2 1 4 0 1 2 0 3 3\n 259       0 nvme0n1 1 0 4 1 4 0 4 2 0 3 3\n",
        );
        for point in points {
            memory.set_space(
                point,
                Ok(Space { block_size: 100, blocks: 10, blocks_available: 3, ..Space::default() }),
            );
        }
        let mut run = Run::new(super::super::FAMILIES);
        run.begin(None, 0);
        let (push_space, io) = (super::super::push_space, &super::super::DISK_IO);
        Mounts::new(&memory.host()).push(push_space, io, run.batch()).unwrap();
        run.seal();
        assert_eq!(run.malformed().map(|(lines, _)| lines), Some(1));
        render(&run)
    }

    #[test]
    fn golden() {
        let text = b"1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     2 1 0:20 / /proc rw - proc proc rw\n\
                     3 1 254:0 / /home rw - xfs /dev/mapper/vg-home rw\n\
                     4 1 0:40 /@ /data\\040two rw - btrfs /dev/nvme0n1 rw\n\
                     5 1 8:2 / /gone rw - ext4 /dev/sdb1 rw\n";
        expect![[r#"
            # system_disk_io_bytes_total counter
            system_disk_io_bytes_total{device="/dev/sda1",direction="read"} 8192
            system_disk_io_bytes_total{device="/dev/sda1",direction="write"} 4096
            system_disk_io_bytes_total{device="/dev/mapper/vg-home",direction="read"} 1024
            system_disk_io_bytes_total{device="/dev/mapper/vg-home",direction="write"} 512
            system_disk_io_bytes_total{device="/dev/nvme0n1",direction="read"} 2048
            system_disk_io_bytes_total{device="/dev/nvme0n1",direction="write"} 2048
            # system_filesystem_limit_bytes gauge
            system_filesystem_limit_bytes{device="/dev/sda1",mountpoint="/",type="ext4"} 1000
            system_filesystem_limit_bytes{device="/dev/mapper/vg-home",mountpoint="/home",type="xfs"} 1000
            system_filesystem_limit_bytes{device="/dev/nvme0n1",mountpoint="/data two",type="btrfs"} 1000
            # system_filesystem_usage_bytes gauge
            system_filesystem_usage_bytes{device="/dev/sda1",mountpoint="/",type="ext4",state="used"} 700
            system_filesystem_usage_bytes{device="/dev/sda1",mountpoint="/",type="ext4",state="free"} 300
            system_filesystem_usage_bytes{device="/dev/mapper/vg-home",mountpoint="/home",type="xfs",state="used"} 700
            system_filesystem_usage_bytes{device="/dev/mapper/vg-home",mountpoint="/home",type="xfs",state="free"} 300
            system_filesystem_usage_bytes{device="/dev/nvme0n1",mountpoint="/data two",type="btrfs",state="used"} 700
            system_filesystem_usage_bytes{device="/dev/nvme0n1",mountpoint="/data two",type="btrfs",state="free"} 300
        "#]]
        .assert_eq(&page(text, &["/", "/home", "/data two"]));
    }

    #[test]
    fn a_mount_point_that_is_not_utf8_costs_no_other_one() {
        let text =
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /mnt/cass\xe9 rw - tmpfs none rw\n\
                     3 1 8:2 / /mnt/\xff rw - ext4 /dev/sdb1 rw\n";
        let page = page(text, &["/"]);
        assert!(page.contains("system_filesystem_limit_bytes{device=\"/dev/sda1\""), "{page}");
    }

    #[test]
    fn places_are_hidden_by_their_components() {
        for point in ["/proc", "/proc/x", "/sys", "/sys/fs", "/run", "/run/user/1", "/run/mediax"] {
            assert!(is_hidden(point.as_bytes()), "{point}");
        }
        for point in ["/", "/sysroot", "/system", "/runner", "/process-data", "/run/media/disk"] {
            assert!(!is_hidden(point.as_bytes()), "{point}");
        }
    }

    #[test]
    fn of_two_at_one_place_the_last_one_is_shown() {
        let text = b"1 0 8:1 / /a rw - ext4 /dev/sda1 rw\n2 1 254:0 / /a rw - xfs /dev/dm-0 rw\n";
        let page = page(text, &["/a"]);
        assert!(page.contains("limit_bytes{device=\"/dev/dm-0\",mountpoint=\"/a\""), "{page}");
        assert!(!page.contains("sda1"), "{page}");
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_mount, &["", "1 2 3:4 / /a rw", "1 2 3:4 / /a rw - ext4", "- - -"]);
        rejects(|line| parse_disk(line).map(|disk| disk.read), &["", "8 1 sda", "8 1 sda 1 2 x"]);
    }
}
