//! Where the host's file systems are mounted.

use std::path::PathBuf;

/// Where the host's file systems are mounted, as seen by this process.
///
/// They differ from the default in a container that has the host's mounted elsewhere, and in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The host's procfs.
    pub procfs: PathBuf,
    /// The host's sysfs.
    pub sysfs: PathBuf,
    /// The host's root directory, in front of every mount point.
    pub rootfs: PathBuf,
    /// The directory of udev's device data base.
    pub udev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev: "/run/udev/data".into(),
        }
    }
}
