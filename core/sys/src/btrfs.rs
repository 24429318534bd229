//! What Btrfs says of its devices by ioctl(2) (linux/btrfs.h).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// A Btrfs file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BtrfsFileSystem {
    /// The highest number of a device; not all below it are there.
    pub highest_device: u64,
    /// How many devices there are.
    pub devices: u64,
    /// The identifier of the file system.
    pub uuid: [u8; 16],
}

/// A device of a Btrfs file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtrfsDevice {
    /// The identifier of the device.
    pub uuid: [u8; 16],
    /// Bytes that block groups have taken.
    pub used: u64,
    /// All bytes.
    pub size: u64,
    /// Errors: of writes, reads and flushes, of checksums, and of generations.
    pub errors: [u64; 5],
    path: [u8; PATH],
}

/// The devices of a Btrfs file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtrfsDevices {
    /// The identifier of the file system.
    pub uuid: [u8; 16],
    /// By their numbers in the file system.
    pub devices: Vec<BtrfsDevice>,
}

impl BtrfsDevice {
    /// A device with a path, of which no more than 1,023 bytes are taken.
    pub fn new(path: &[u8], uuid: [u8; 16], size: u64, used: u64, errors: [u64; 5]) -> Self {
        let mut room = [0; PATH];
        let length = path.len().min(PATH - 1);
        room[..length].copy_from_slice(&path[..length]);
        BtrfsDevice { uuid, used, size, errors, path: room }
    }

    /// The path of the device, as it was when it was added; empty if it is missing.
    pub fn path(&self) -> &[u8] {
        let end = self.path.iter().position(|byte| *byte == 0).unwrap_or(PATH);
        &self.path[..end]
    }
}

/// `BTRFS_DEVICE_PATH_NAME_MAX`.
const PATH: usize = 1024;
/// `BTRFS_IOCTL_MAGIC`.
const MAGIC: u8 = 0x94;

/// `struct btrfs_ioctl_fs_info_args`, of which the end is not taken.
#[repr(C)]
struct FileSystemArguments {
    highest_device: u64,
    devices: u64,
    uuid: [u8; 16],
    rest: [u64; 124],
}

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
struct DeviceArguments {
    device: u64,
    uuid: [u8; 16],
    used: u64,
    size: u64,
    rest: [u64; 379],
    path: [u8; PATH],
}

/// `struct btrfs_ioctl_get_dev_stats`.
#[repr(C)]
struct ErrorArguments {
    device: u64,
    count: u64,
    flags: u64,
    errors: [u64; 5],
    rest: [u64; 121],
}

const FILE_SYSTEM: Opcode = opcode::read::<FileSystemArguments>(MAGIC, 31);
const DEVICE: Opcode = opcode::read_write::<DeviceArguments>(MAGIC, 30);
const ERRORS: Opcode = opcode::read_write::<ErrorArguments>(MAGIC, 52);

/// Asks what file system a file is on.
///
/// # Errors
///
/// What ioctl(2) says: ENOTTY where it is not Btrfs.
pub fn btrfs_file_system(file: BorrowedFd<'_>) -> io::Result<BtrfsFileSystem> {
    let mut arguments =
        FileSystemArguments { highest_device: 0, devices: 0, uuid: [0; 16], rest: [0; 124] };
    // SAFETY: the structure has the layout and the size that the number of the call names, and any bytes
    // that the kernel puts there are a value of it.
    unsafe { ioctl(file, Updater::<FILE_SYSTEM, _>::new(&mut arguments)) }?;
    let FileSystemArguments { highest_device, devices, uuid, .. } = arguments;
    Ok(BtrfsFileSystem { highest_device, devices, uuid })
}

/// Asks about a device of the file system that a file is on; `None` if no device has that number.
///
/// # Errors
///
/// What ioctl(2) says: ENOTTY where it is not Btrfs, ENODEV where the errors of a device are not known.
pub fn btrfs_device(file: BorrowedFd<'_>, number: u64) -> io::Result<Option<BtrfsDevice>> {
    let mut device = DeviceArguments {
        device: number,
        uuid: [0; 16],
        used: 0,
        size: 0,
        rest: [0; 379],
        path: [0; PATH],
    };
    // SAFETY: as above.
    match unsafe { ioctl(file, Updater::<DEVICE, _>::new(&mut device)) } {
        Err(rustix::io::Errno::NODEV) => return Ok(None),
        outcome => outcome?,
    }
    let mut errors =
        ErrorArguments { device: number, count: 5, flags: 0, errors: [0; 5], rest: [0; 121] };
    // SAFETY: as above. The flags are 0, which ask and reset nothing.
    unsafe { ioctl(file, Updater::<ERRORS, _>::new(&mut errors)) }?;
    let DeviceArguments { uuid, used, size, path, .. } = device;
    Ok(Some(BtrfsDevice { uuid, used, size, errors: errors.errors, path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_calls_have_the_numbers_of_the_kernel() {
        assert_eq!(size_of::<FileSystemArguments>(), 1024);
        assert_eq!(size_of::<DeviceArguments>(), 4096);
        assert_eq!(size_of::<ErrorArguments>(), 1032);
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        assert_eq!([FILE_SYSTEM, DEVICE, ERRORS], [0x8400_941f, 0xd000_941e, 0xc408_9434]);
    }

    #[test]
    fn another_file_system_is_refused() {
        let procfs = std::fs::File::open("/proc").unwrap();
        assert!(btrfs_file_system(procfs.as_fd()).is_err());
        assert!(btrfs_device(procfs.as_fd(), 1).is_err());
    }

    #[test]
    fn a_path_ends_at_its_first_zero() {
        let of = |path: &[u8]| BtrfsDevice::new(path, [1; 16], 2, 1, [0; 5]).path().to_vec();
        assert_eq!(of(b"/dev/sda"), b"/dev/sda");
        assert_eq!(of(b""), b"");
        assert_eq!(of(&[b'a'; 2000]).len(), 1023);
    }
}
