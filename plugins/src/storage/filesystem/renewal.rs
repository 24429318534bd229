//! When the list of mounts has to be read again.
//!
//! The kernel writes all of it for each read, with the options of each file system. It announces by
//! poll(2) that in a mount namespace something was mounted, unmounted, moved or given other options
//! (`touch_mnt_namespace` in fs/namespace.c), and while it does not, the list is the same but for this:
//!
//! * A file system becomes read-only by an error, or by a mount(2) in another namespace, or a directory above
//!   a mount point gets another name: statfs(2) then says something else, or fails. It also says which file system
//!   it is (`f_fsid`). Where that may be said of two mounts, because they are of one file system or because its type
//!   says nothing, statx(2) says which mount it is.
//! * ext4 says since Linux 6.15 that an error has stopped all writing in its options only
//!   (`emergency_ro`), and counts the error in sysfs.
//! * A file system of several devices names another one: it is one of [`SILENT_TYPES`].
//!
//! Mounts that are left out are asked nothing, and what is not known here may be announced in another way, so
//! after [`LONGEST`] the list is read in any case.
//!
//! A directory may get its name between the reading and the first question to the mounts. So a list that has changed is
//! read once more at the next collection, before what statfs(2) says counts for what it was.
//!
//! What is open of the list is of the mounts and the root that the process had when it was opened. A pivot_root(2) is
//! announced, another namespace is not: so the list is opened anew whenever something has changed, and when it
//! becomes too old.

use std::time::Instant;

use vitald_core::host::{Place, Space};
use vitald_core::prelude::*;

/// How old a list may become.
const LONGEST: Duration = Duration::from_secs(60);

/// Types that name their devices themselves, and may name others at any time.
const SILENT_TYPES: [&[u8]; 3] = [b"bcachefs", b"btrfs", b"zfs"];

/// Types that are the driver ext4.
const EXT_TYPES: [&[u8]; 3] = [b"ext2", b"ext3", b"ext4"];

attributes! {
    /// A file system of ext4, or its features.
    Ext4 {
        ERRORS: text = "errors_count", optional;
    }
}

/// What statfs(2) says of a mount that does not change by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    kind: u64,
    flags: u64,
    block_size: u64,
    blocks: u64,
    id: u64,
    place: Place,
}

impl Said {
    pub(super) fn of(space: Space) -> Self {
        let Space { kind, flags, block_size, blocks, id, place, .. } = space;
        Said { kind, flags, block_size, blocks, id, place }
    }

    /// What is said by statfs(2) alone.
    pub(super) fn without_place(self) -> Self {
        Said { place: Place::default(), ..self }
    }

    /// Whether it says which file system it is.
    pub(super) fn has_id(self) -> bool {
        self.id != 0
    }
}

pub(super) struct Renewal {
    ext4: Walk<Ext4>,
    /// Under which circumstances the list was read; `None` when it is to be read in any case.
    read: Option<Read>,
    /// When the list was opened anew.
    opened: Option<Instant>,
    /// The list had changed when it was read last.
    is_unconfirmed: bool,
    /// How many lists were read: while it is the same there are the same file systems.
    pub(super) count: u64,
    /// One of the mounts is of a silent type, so that nothing else need be known.
    has_silent: bool,
}

#[derive(Clone, Copy)]
struct Read {
    at: Instant,
    /// `None` where nothing counts errors.
    errors: Option<Errors>,
}

/// How many file systems count errors, and how many errors there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Errors {
    counted: usize,
    sum: u64,
}

impl Renewal {
    pub(super) fn new(host: &Host) -> Self {
        Renewal {
            ext4: host.walk("sys/fs/ext4/*"),
            read: None,
            opened: None,
            is_unconfirmed: false,
            count: 0,
            has_silent: false,
        }
    }

    /// Whether the list that was read is that of now, as far as can be said before the mounts are asked.
    pub(super) fn is_current(&mut self, list: &mut KeptFile, now: Instant) -> bool {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= LONGEST;
        let is_unchanged = list.is_announced_unchanged();
        if !is_unchanged || self.opened.is_none_or(is_old) {
            list.reopen();
            self.opened = Some(now);
        }
        let Some(Read { at, errors }) = self.read else { return false };
        is_unchanged
            && !self.is_unconfirmed
            && !is_old(at)
            && (errors.is_none() || self.errors() == errors)
    }

    /// Whether the list had changed when it was read last, and so is to be read once more.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.is_unconfirmed
    }

    /// Says whether the list was what it had been.
    pub(super) fn confirm(&mut self, is_same: bool) {
        self.is_unconfirmed = !is_same;
    }

    /// Begins a reading: what happens from here on shows in the next question.
    pub(super) fn begin(&mut self, now: Instant) {
        self.count += 1;
        let errors = if self.has_silent { None } else { self.errors() };
        self.read = Some(Read { at: now, errors });
    }

    /// Ends a reading of these types of file systems.
    pub(super) fn end<'t>(&mut self, types: impl Iterator<Item = &'t [u8]> + Clone) {
        self.has_silent = types.clone().any(|kind| SILENT_TYPES.contains(&kind));
        let has_ext = types.clone().any(|kind| EXT_TYPES.contains(&kind));
        match &mut self.read {
            _ if self.has_silent => self.read = None,
            Some(Read { errors: None, .. }) if has_ext => self.read = None,
            Some(read) if !has_ext => read.errors = None,
            _ => {}
        }
    }

    /// Has the list read again at the next collection.
    pub(super) fn forget(&mut self) {
        self.read = None;
    }

    /// `None` where no file system counts any.
    fn errors(&mut self) -> Option<Errors> {
        let mut errors = Errors { counted: 0, sum: 0 };
        for file_system in self.ext4.under(Some(self.count)).optional().ok()? {
            let count = file_system.optional_text(&Ext4::ERRORS).ok()?;
            if let Some(count) = count.and_then(|count| text::single_u64(count).ok()) {
                errors.counted += 1;
                errors.sum = errors.sum.wrapping_add(count);
            }
        }
        Some(errors).filter(|errors| errors.counted > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::MemoryHost;

    #[test]
    fn a_list_becomes_no_older_than_a_minute() {
        let memory = MemoryHost::from_files(&[("proc/1/mountinfo", "x")]);
        memory.announce("proc/1/mountinfo");
        let mut list = memory.host().keep("proc/1/mountinfo");
        let mut renewal = Renewal::new(&memory.host());
        let began = Instant::now();
        assert!(!renewal.is_current(&mut list, began), "it was never read");
        list.read().unwrap();
        renewal.begin(began);
        renewal.end([&b"xfs"[..]].into_iter());
        assert!(!renewal.is_current(&mut list, began), "a change is announced");
        list.read().unwrap();
        let almost = LONGEST - Duration::from_nanos(1);
        assert!(renewal.is_current(&mut list, began + almost));
        assert!(!renewal.is_current(&mut list, began + LONGEST));
    }
}
