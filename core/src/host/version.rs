//! Which file something is, and whether it is still as it was.

/// What a path leads to, as statx(2) or stat(2) gives it: while this is the same, it is the same directory or file by
/// way of the same mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The mount; 0 before Linux 5.8. Since 6.8 no number is used twice, before that the kernel takes those of
    /// mounts that have gone.
    pub mount: u64,
    /// The device of the file system, or what it has for one.
    pub device: u64,
    /// The number of the directory or file in its file system.
    pub inode: u64,
}

/// While this of a file is the same, its content is. Also of a file that has been replaced
/// by one with equal times, and of one on a file system that was mounted over it. But before Linux 6.13 two changes
/// within a tick of the kernel's clock (10 ms at most) that leave it as long look alike.
///
/// Collectors get it from [`Host::try_version`](super::Host::try_version), and who has opened a file without a host
/// from [`Version::of`]. Two can be compared that have come by the same way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Version {
    /// Whether it is a regular file.
    pub is_regular: bool,
    /// Where it is.
    pub place: Place,
    /// How large it is, in bytes.
    pub size: u64,
    /// When the content was changed, in seconds since the epoch, less than 0 before 1970; programs can set it.
    pub modified: f64,
    /// When anything of the file was changed, in seconds since the epoch; the kernel alone sets it.
    pub changed: f64,
}

impl Version {
    /// What stat(2) or fstat(2) has said, which knows no mount.
    #[cfg(target_os = "linux")]
    // The widths of these fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(status: &rustix::fs::Stat) -> Version {
        Version {
            is_regular: rustix::fs::FileType::from_raw_mode(status.st_mode).is_file(),
            place: Place { mount: 0, device: status.st_dev, inode: status.st_ino },
            size: u64::try_from(status.st_size).unwrap_or(0),
            modified: seconds(status.st_mtime as i64, status.st_mtime_nsec as f64),
            changed: seconds(status.st_ctime as i64, status.st_ctime_nsec as f64),
        }
    }
}

/// A time as the kernel gives it, in seconds since the epoch; less than 0 before it.
#[cfg(target_os = "linux")]
pub(super) fn seconds(seconds: i64, nanoseconds: f64) -> f64 {
    seconds as f64 + nanoseconds / 1e9
}
