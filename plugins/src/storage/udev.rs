//! What udev knows of block devices, from its data base: a file `b8:0` for each device, by its
//! number, with a line `E:ID_MODEL=TOSHIBA_KSDB4U86` for each property.

use vitald_core::host::{Child, Version};
use vitald_core::prelude::*;

attributes! {
    Device {
        CONTENT: text = "", slow;
    }
}

/// udev's data base of block devices.
///
/// udev replaces a device's file by renaming another one (systemd's `device_update_db`). So the
/// directory's own time of change tells that any of them changed, which one statx(2) asks, and a
/// file's inode number tells which: only those are read again. Where another directory is in its place,
/// the numbers tell nothing.
pub(super) struct Udev {
    host: Host,
    devices: Walk<Device>,
    /// What the directory was; `None` without udev.
    version: Option<Version>,
    /// Counts the directories that were in this place.
    directories: u64,
    /// Counts the refreshes of `devices`; 0 is before the first one.
    refreshes: u64,
    /// Another change could have the same time, because file systems look at the clock only so
    /// often; or something could not be read, and what mends that changes no time.
    is_due: bool,
}

/// Longer than any kernel goes without looking at the clock, in seconds.
const CLOCK_GRANULARITY: f64 = 1.0;

impl Udev {
    pub(super) fn new(host: &Host) -> Self {
        Udev {
            host: host.clone(),
            devices: host.walk("udev/b*").files().slow_once(),
            directories: 0,
            version: None,
            refreshes: 0,
            is_due: true,
        }
    }

    /// Looks whether udev has written anything, and reads it.
    pub(super) fn look(&mut self) {
        let version = self.host.try_version("udev").ok();
        let place = |version: Option<Version>| version.map(|version| version.place);
        if place(version) != place(self.version) {
            self.directories += 1;
            self.devices.read_all();
        }
        if self.is_due || version != self.version {
            self.refreshes += 1;
            self.is_due = self.devices.optional().is_err();
        }
        // A clock that was set back since is as far from the change as one that has gone on.
        let now = self.host.now().as_secs_f64();
        let is_near = |version: Version| (now - version.changed).abs() < CLOCK_GRANULARITY;
        self.is_due |= version.is_some_and(is_near);
        self.version = version;
    }

    /// Gives what udev says of a device to `learn`, unless that is the same as the last time; it
    /// is empty if udev does not run or has not seen the device yet.
    pub(super) fn bring_up_to_date(&mut self, known: &mut Known, learn: impl FnOnce(&[u8])) {
        if known.refresh == self.refreshes {
            return;
        }
        known.refresh = self.refreshes;
        let device = self.devices.children().find_again(&[&known.name], &mut known.place);
        let inode = device.as_ref().map(|device| (self.directories, Child::inode(device)));
        let content = device.map_or(Ok(&b""[..]), |device| device.text(&Device::CONTENT));
        self.is_due |= content.is_err();
        let content = content.unwrap_or_default();
        if inode != known.inode || known.is_empty != content.is_empty() {
            (known.inode, known.is_empty) = (inode, content.is_empty());
            learn(content);
        }
    }
}

/// Which device it is, and what was last learned of it.
pub(super) struct Known {
    /// `b8:0`.
    name: Box<[u8]>,
    place: usize,
    refresh: u64,
    /// The directory and the file's inode number, if there was one.
    inode: Option<(u64, u64)>,
    is_empty: bool,
}

impl Known {
    /// Nothing is known yet of the block device of that number.
    pub(super) fn new(major: &[u8], minor: &[u8]) -> Self {
        let name = [b"b", major, b":", minor].concat().into();
        Known { name, place: 0, refresh: 0, inode: None, is_empty: true }
    }
}

/// The properties in the text of a device, with their values.
pub(super) fn properties(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(text).filter_map(|line| text::split_once(line.strip_prefix(b"E:")?, b'='))
}
