//! Mounted file systems, from `/proc/1/mountinfo` (proc_pid_mountinfo(5)), and which of them may not
//! answer.

use std::collections::HashSet;
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

/// Types whose statfs(2) answers from what the kernel has in memory, or at worst from a local disk:
/// it waits for no server, no process and no firmware.
///
/// Not among them, and asked on a thread that can be given up: everything on a network or in user
/// space (nfs, cifs, ceph, 9p, virtiofs, fuse and all it carries), cluster file systems, zfs, which
/// waits while a pool is suspended, efivarfs, which asks the firmware, vfat, which may read its
/// whole table first, autofs, which mounts, and whatever is not known here. overlay asks its upper
/// layer, which the kernel wants to be local.
pub(super) const PROMPT_TYPES: &[&[u8]] = &[
    b"bpf",
    b"binfmt_misc",
    b"btrfs",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"fusectl",
    b"hugetlbfs",
    b"iso9660",
    b"jfs",
    b"mqueue",
    b"nilfs2",
    b"nsfs",
    b"overlay",
    b"proc",
    b"pstore",
    b"ramfs",
    b"reiserfs",
    b"rootfs",
    b"rpc_pipefs",
    b"securityfs",
    b"selinuxfs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
    b"tracefs",
    b"udf",
    b"xfs",
];

/// A mount point as seen from the root file system's prefix, which some of them have.
pub(super) fn below<'a>(root: &[u8], point: &'a [u8]) -> &'a [u8] {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match point.strip_prefix(root) {
        Some(b"") => b"/",
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => point,
    }
}

/// Whether a path is one of these or leads through one. It takes as long as the path is deep, however
/// many there are.
pub(super) fn is_within_any(path: &[u8], above: &HashSet<Vec<u8>>) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at.max(1));
    ends.chain([path.len()]).any(|end| path.get(..end).is_some_and(|part| above.contains(part)))
}

/// What is taken of a line; its paths still have the kernel's escapes.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) number: &'a [u8],
    pub(super) point: &'a [u8],
    pub(super) kind: &'a [u8],
    pub(super) device: &'a [u8],
    pub(super) read_only: bool,
}

/// Takes `36 35 98:0 /sub /mnt/a\040b rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`,
/// where any number of optional fields stand before the hyphen.
pub(super) fn parse_line(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let hyphen = line.windows(3).position(|three| three == b" - ");
    let hyphen = hyphen.ok_or(Malformed::new(line.len(), "a hyphen"))?;
    let (before, after) = line.split_at(hyphen);
    let mut fields = Fields::new(before);
    fields.u64()?;
    fields.u64()?;
    let number = fields.text()?;
    let is_number = text::split_once(number, b':')
        .is_some_and(|(major, minor)| parse_u64(major).is_some() && parse_u64(minor).is_some());
    if !is_number {
        return Err(Malformed::new(fields.offset() - number.len(), "major:minor"));
    }
    let point = fields.pass(1).text()?;
    let options = fields.text()?;
    // These three are separated by one blank each, and the device may be empty.
    let mut fields = after.get(3..).unwrap_or_default().splitn(3, |byte| *byte == b' ');
    let (Some(kind), Some(device), Some(of_super_block)) =
        (fields.next(), fields.next(), fields.next())
    else {
        return Err(Malformed::new(line.len(), "a type, a device and options"));
    };
    // ext4 says emergency_ro since Linux 6.15 when an error has stopped all writing, while its
    // other options still say rw.
    let has = |options: &[u8], wanted: &[u8]| options.split(|b| *b == b',').any(|o| o == wanted);
    let read_only =
        has(options, b"ro") || has(of_super_block, b"ro") || has(of_super_block, b"emergency_ro");
    Ok(Line { number, point, kind, device, read_only })
}
