//! Whether a directory has an entry, such as that of a class of devices.

use std::fmt;
use std::sync::Arc;

use super::Host;
use super::listing::Listing;
use super::opened::Opened;
use crate::error::{Error, Result};

/// A directory that is asked again and again whether it has an entry. Nothing of it stays open, so
/// it may be asked on any thread.
pub struct Presence {
    host: Host,
    path: Arc<str>,
    listing: Listing,
}

impl Host {
    /// The handle on the directory of that logical path. Nothing is opened until it is asked.
    pub fn presence(&self, path: &str) -> Presence {
        Presence { host: self.clone(), path: path.into(), listing: Listing::new() }
    }
}

impl Presence {
    /// Whether the directory has an entry. Where it stays absent no allocation is made.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where there is no such directory, and [`Error::Unreadable`].
    pub fn has_entry(&mut self) -> Result<bool> {
        let opened = self.host.open(self.path.as_bytes(), Opened::Directory);
        let listed = opened.and_then(|handle| self.host.list_opened(&handle, &mut self.listing));
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

    #[test]
    fn an_entry_comes_and_goes() {
        let memory = MemoryHost::new();
        let mut presence = memory.host().presence("sys/class/nvme");
        assert!(matches!(presence.has_entry(), Err(Error::Absent { .. })));
        memory.make_directory("sys/class/nvme");
        assert!(!presence.has_entry().unwrap());
        memory.make_directory("sys/class/nvme/nvme0");
        assert!(presence.has_entry().unwrap());
        memory.remove("sys/class/nvme/nvme0");
        assert!(!presence.has_entry().unwrap());
        memory.fail_open("sys/class/nvme", 13);
        assert!(matches!(presence.has_entry(), Err(Error::Unreadable { .. })));
    }
}
