//! Whether a directory has an entry, such as that of a class of devices.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::Host;
use super::device_events::DeviceEvents;
use super::listing::{Listed, Listing};
use super::opened::Opened;
use crate::error::{Error, Result, is_absence};

/// A directory that is asked again and again whether it has an entry. Nothing of it stays open.
///
/// What has entries for devices only is not looked at again while there was no event of a device.
pub struct Presence {
    host: Host,
    path: Arc<str>,
    listing: Listing,
    /// `None` where an entry may come without an event.
    events: Option<DeviceEvents>,
    /// The number of events under which there was no entry, and whether the directory was there.
    bare_under: Option<(u64, bool)>,
}

impl Host {
    /// The handle on the directory of that logical path. Nothing is opened until it is asked.
    pub fn presence(&self, path: &str) -> Presence {
        let is_of_devices = ["sys/class/", "sys/devices/"].iter().any(|of| path.starts_with(of));
        Presence {
            host: self.clone(),
            path: path.into(),
            listing: Listing::new(),
            events: is_of_devices.then(|| self.device_events()),
            bare_under: None,
        }
    }
}

impl Presence {
    /// Whether the directory has an entry, now or at `fresh_from`; take
    /// [`Batch::fresh_from`](crate::batch::Batch::fresh_from). Where it stays absent no allocation is made.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where there is no such directory, and [`Error::Unreadable`].
    pub fn has_entry(&mut self, fresh_from: Instant) -> Result<bool> {
        let number = self.events.as_ref().and_then(|events| events.number(fresh_from));
        if let (Some(number), Some((under, is_there))) = (number, self.bare_under)
            && number == under
        {
            return if is_there {
                Ok(false)
            } else {
                Err(Error::Absent { path: self.path.clone() })
            };
        }
        let opened = self.host.open(self.path.as_bytes(), Opened::Directory);
        let listed = opened
            .and_then(|handle| self.host.list_opened(&handle, Listed::New, &mut self.listing));
        self.bare_under = match (&listed, number) {
            (Ok(()), Some(number)) if self.listing.is_empty() => Some((number, true)),
            (Err(error), Some(number)) if is_absence(error) => Some((number, false)),
            _ => None,
        };
        match listed {
            Ok(()) => Ok(!self.listing.is_empty()),
            Err(error) => Err(Error::of_source(Arc::clone(&self.path), error)),
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::host::MemoryHost;
    use std::time::{Duration, Instant};

    #[test]
    fn an_entry_comes_and_goes() {
        let memory = MemoryHost::new();
        let mut presence = memory.host().presence("sys/class/nvme");
        let mut has_entry = || presence.has_entry(Instant::now());
        assert!(matches!(has_entry(), Err(Error::Absent { .. })));
        memory.make_directory("sys/class/nvme");
        assert!(!has_entry().unwrap());
        memory.make_directory("sys/class/nvme/nvme0");
        assert!(has_entry().unwrap());
        memory.remove("sys/class/nvme/nvme0");
        assert!(!has_entry().unwrap());
        memory.fail_open("sys/class/nvme", 13);
        assert!(matches!(has_entry(), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn devices_are_looked_for_after_an_event() {
        let memory = MemoryHost::from_files(&[("sys/kernel/uevent_seqnum", "1\n")]);
        let host = memory.host();
        let (mut devices, mut others) =
            (host.presence("sys/class/nvme"), host.presence("sys/fs/bcachefs"));
        let mut next = Instant::now();
        let mut ask = |presence: &mut super::Presence| {
            next += Duration::from_secs(1);
            let before = memory.requests();
            let has_entry = presence.has_entry(next);
            let asked = memory.requests() - before;
            let has_entry = match has_entry {
                Err(Error::Absent { .. }) => None,
                has_entry => Some(has_entry.unwrap()),
            };
            // The number is opened once.
            (has_entry, asked.listings + asked.opened > 0)
        };
        assert_eq!(ask(&mut devices), (None, true));
        assert_eq!(ask(&mut devices), (None, false));
        memory.make_directory("sys/class/nvme");
        memory.write("sys/kernel/uevent_seqnum", "2\n");
        assert_eq!(ask(&mut devices), (Some(false), true));
        assert_eq!(ask(&mut devices), (Some(false), false));
        memory.make_directory("sys/class/nvme/nvme0");
        memory.write("sys/kernel/uevent_seqnum", "3\n");
        assert_eq!(ask(&mut devices), (Some(true), true));
        assert_eq!(ask(&mut devices), (Some(true), true), "an entry may go");
        // What a file system shows of itself comes without an event.
        assert_eq!(ask(&mut others), (None, true));
        memory.make_directory("sys/fs/bcachefs/1");
        assert_eq!(ask(&mut others), (Some(true), true));
        // Without the number it is looked for each time.
        memory.remove("sys/class/nvme/nvme0");
        memory.remove("sys/kernel/uevent_seqnum");
        assert_eq!(ask(&mut devices), (Some(false), true));
        assert_eq!(ask(&mut devices), (Some(false), true));
    }
}
