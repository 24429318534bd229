//! The devices of Btrfs file systems, which a file system tells at any place where it is mounted.

use std::io;
use std::os::fd::AsFd;

pub use vitald_sys::{BtrfsDevice, BtrfsDevices};

use super::opened::Opened;
use super::{Handle, Host};

const MOST_DEVICES: u64 = 1 << 16;

impl Host {
    /// Asks the Btrfs file system that is mounted at a path, such as `rootfs/srv`, for its devices.
    /// They take the place of what was there. The descriptor is not kept, so that the file system can
    /// be unmounted.
    ///
    /// The path must lead through no file system that may not answer.
    ///
    /// # Errors
    ///
    /// What open(2) and ioctl(2) say: ENOTTY for another file system, ENODEV where the errors of a
    /// device are not known.
    pub fn btrfs_devices(&self, path: &[u8], into: &mut BtrfsDevices) -> io::Result<()> {
        into.devices.clear();
        let handle = self.open(path, Opened::Directory)?;
        match &handle {
            Handle::Real(descriptor) => {
                let file = descriptor.as_fd();
                let file_system = vitald_sys::btrfs_file_system(file)?;
                into.uuid = file_system.uuid;
                // No file system has that many devices.
                for number in 0..=file_system.highest_device.min(MOST_DEVICES) {
                    into.devices.extend(vitald_sys::btrfs_device(file, number)?);
                    if into.devices.len() as u64 == file_system.devices {
                        break;
                    }
                }
                Ok(())
            }
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(_) => self.memory().btrfs_devices(path, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};

    #[test]
    fn another_file_system_has_no_devices() {
        let host = Host::new(Roots::default());
        let mut devices = BtrfsDevices::default();
        assert!(host.btrfs_devices(b"rootfs/proc", &mut devices).is_err());
        let error = host.btrfs_devices(b"rootfs/not/there", &mut devices).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(2));
    }

    #[test]
    fn the_memory_host_has_what_was_set() {
        let memory = MemoryHost::new();
        let mut devices = BtrfsDevices::default();
        let errno = |devices: &mut BtrfsDevices| {
            memory.host().btrfs_devices(b"rootfs/srv", devices).unwrap_err().raw_os_error()
        };
        assert_eq!(errno(&mut devices), Some(2));
        let device = BtrfsDevice::new(b"/dev/sda", [1; 16], 8, 4, [0; 5]);
        let expected = BtrfsDevices { uuid: [2; 16], devices: vec![device] };
        memory.set_btrfs_devices("/srv", Ok(expected.clone()));
        memory.host().btrfs_devices(b"rootfs/srv", &mut devices).unwrap();
        assert_eq!(devices, expected);
        memory.set_btrfs_devices("/srv", Err(13));
        assert_eq!(errno(&mut devices), Some(13));
        assert!(devices.devices.is_empty());
    }
}
