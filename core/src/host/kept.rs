//! A file that is read at every collection.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::extent::Extent;
use super::opened::Opened;
use super::spare::Spare;
use super::{Handle, Host, limits};
use crate::errno::{EFBIG, EIO, ENODATA, ENODEV, ENOENT, ESRCH};
use crate::error::{Error, Malformed, Result, is_absence};
use crate::text;

/// No source is larger; a textfile that is would take the host's memory.
const LARGEST: usize = 64 * 1024 * 1024;

/// No attribute of sysfs is larger than a page, which has at most 64 KiB; what finds its end needs more room.
const LARGEST_ATTRIBUTE: usize = 128 * 1024;

/// The room that the content of a file may take.
fn largest(path: &[u8]) -> usize {
    if path.starts_with(b"sys/") { LARGEST_ATTRIBUTE } else { LARGEST }
}

/// Half of the smallest page.
const HALF_PAGE: usize = 2048;

/// The room a file's buffer starts with.
///
/// The kernel allocates and zeroes as much as is asked for when a sysctl is read, so that one
/// costs by the buffer; elsewhere one page is the least that saves calls.
pub(super) fn first_size(path: &str) -> usize {
    if path.starts_with("proc/sys/") || path.starts_with("sys/") { 512 } else { 4096 }
}

/// Reads an opened file from its beginning to its end; its path says how large it may be. A buffer that it
/// does not fit into is given back.
pub(super) fn fill(
    host: &Host,
    handle: &Handle,
    path: &[u8],
    extent: Extent,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    fill_lines(host, handle, path, extent, usize::MAX, buffer)
}

/// As [`fill`], to the end of that many lines or further.
fn fill_lines(
    host: &Host,
    handle: &Handle,
    path: &[u8],
    extent: Extent,
    wanted: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    loop {
        if buffer.len() == buffer.capacity() {
            let doubled = (buffer.capacity() * 2).max(512);
            if doubled > largest(path) {
                *buffer = Vec::new();
                return Err(io::Error::from_raw_os_error(EFBIG));
            }
            // One record is made anew by each read, and a sysctl says nothing at an offset, so
            // the two halves of one cannot be put together.
            if extent == Extent::Whole {
                buffer.clear();
            }
            buffer.reserve_exact(doubled - buffer.len());
        }
        let read = host.read_at(handle, extent, buffer, buffer.len() as u64)?;
        let has_room = buffer.len() < buffer.capacity();
        let ended = match extent {
            Extent::Records => false,
            Extent::ShortRecords => has_room && read < HALF_PAGE,
            Extent::Whole => has_room,
        };
        if read == 0 || ended || (wanted < usize::MAX && text::count(buffer, b'\n') >= wanted) {
            return Ok(());
        }
    }
}

/// ENOENT, ESRCH, EIO and ENODEV: what a kept descriptor answers after its device, module or
/// process has gone, perhaps to come back as another one under the same name.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOENT | ESRCH | EIO | ENODEV))
}

/// Whether a file of that name may be kept open at all.
pub(super) fn is_keepable(path: &[u8]) -> bool {
    [&b"proc"[..], b"sys"].iter().any(|&root| {
        path.strip_prefix(root).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    })
}

/// What a descriptor is kept for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A file of its own, such as `proc/stat`: there are a few dozen of these in all.
    File,
    /// A directory that many files are opened from, each by a shorter path than without.
    Directory,
    /// One of many attributes of many devices.
    Attribute,
}

/// Permission to keep one descriptor; given back on drop.
pub(super) struct Permit(());

/// How many descriptors are kept in the process.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// No more descriptors are kept, however many the process may have.
const MOST_KEPT: usize = 4096;

/// How many descriptors may be kept where the process may have `limit`, after that purpose.
///
/// Each costs the kernel some memory, and the daemon needs descriptors for connections. One kept
/// descriptor saves an open and a close at each collection whatever it is for, but one device class
/// could take all of them, so attributes leave an eighth to the files and directories, which are
/// few and whose paths are long.
fn budget(limit: Option<u64>, purpose: Purpose) -> usize {
    let quarter = limit.map_or(u64::MAX, |limit| limit / 4);
    let whole = usize::try_from(quarter).unwrap_or(usize::MAX).min(MOST_KEPT);
    if purpose == Purpose::Attribute { whole - whole / 8 } else { whole }
}

impl Permit {
    /// The limit is looked at when the first file is kept, after the start has raised it.
    fn take(purpose: Purpose) -> Option<Permit> {
        static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
        let budget = budget(*LIMIT.get_or_init(limits::descriptors), purpose);
        // The count guards no other memory, so its order does not matter.
        TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < budget).then_some(taken + 1)
            })
            .ok()
            .map(|_| Permit(()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handle that stays open.
pub(super) struct Kept {
    pub(super) handle: Handle,
    _permit: Permit,
}

impl Kept {
    /// Keeps the handle if it may be kept and the budget allows it, or gives it back.
    pub(super) fn keep(host: &Host, handle: Handle, purpose: Purpose) -> Result<Kept, Handle> {
        match Permit::take(purpose) {
            Some(permit) if host.is_kernel_made(&handle) => Ok(Kept { handle, _permit: permit }),
            _ => Err(handle),
        }
    }
}

/// A file that is read at every collection.
///
/// It is opened at the first read, and looked for again at every read while it is absent. On
/// procfs and sysfs the descriptor is kept, within a budget that the process has; elsewhere the
/// file is opened anew each time. A read that finds its device gone looks by path once more. The
/// buffer grows to the file's size and is used again; what a file needed once and needs no more is
/// given back after a while.
pub struct KeptFile {
    host: Host,
    path: Arc<str>,
    extent: Extent,
    kept: Option<Kept>,
    buffer: Vec<u8>,
    spare: Spare,
    /// The circumstances of the next read, and those under which the file was absent.
    circumstances: Option<u64>,
    absent_under: Option<u64>,
    /// How often it was read since it was opened, of a list of mounts.
    reads_of_mounts: Option<u32>,
}

/// So often a list of mounts is read before it is opened anew.
const MOST_READS_OF_MOUNTS: u32 = 64;

impl Host {
    /// A handle on a list of the mounts of a process, such as `proc/1/mountinfo` or `proc/self/mountstats`.
    ///
    /// Opening one of these decides for good whose mounts it has, and below which directory: those that the process
    /// had then (`mounts_open_common` in fs/proc_namespace.c). After the process has taken another root (pivot_root(2)
    /// of a container's first process, say) or other namespaces, what is open has nothing or what is no longer so. So a
    /// list that is empty is opened anew and is ENODATA if it still is, and after some reads it is opened
    /// anew in any case.
    pub fn keep_mounts(&self, path: impl Into<Box<str>>) -> KeptFile {
        let mut file = self.keep(path);
        file.reads_of_mounts = Some(0);
        file
    }

    /// A handle on a file that is read at every collection; it is read to its end.
    ///
    /// Nothing is opened until the first read. Not for a path with the name of a device in it,
    /// which may be renamed: that is what [`Host::walk`] is for.
    pub fn keep(&self, path: impl Into<Box<str>>) -> KeptFile {
        KeptFile::new(self.clone(), path.into(), Extent::Records)
    }

    /// As [`Host::keep`], for a file that the kernel makes as one record: a sysctl, a sysfs
    /// attribute, a procfs file by `single_open` such as `proc/stat` or `proc/meminfo`.
    ///
    /// A read that leaves room in the buffer has got all of it, which saves the read that would
    /// find the end.
    pub fn keep_whole(&self, path: impl Into<Box<str>>) -> KeptFile {
        KeptFile::new(self.clone(), path.into(), Extent::Whole)
    }

    /// As [`Host::keep`], for a file of many records none of which is longer than 2,048 bytes,
    /// such as `proc/diskstats`, `proc/vmstat` or `proc/net/dev`.
    ///
    /// A read of less than half a page has got all that was left, which mostly saves the read that
    /// would find the end. Not for `proc/1/mountinfo` or `proc/self/mountstats`, whose records can
    /// be longer: they would be cut.
    pub fn keep_short_records(&self, path: impl Into<Box<str>>) -> KeptFile {
        KeptFile::new(self.clone(), path.into(), Extent::ShortRecords)
    }
}

impl KeptFile {
    pub(super) fn new(host: Host, path: Box<str>, extent: Extent) -> Self {
        KeptFile {
            host,
            path: path.into(),
            extent,
            kept: None,
            buffer: Vec::new(),
            spare: Spare::new(),
            circumstances: None,
            absent_under: None,
            reads_of_mounts: None,
        }
    }

    /// Has the next read open the file by its path.
    pub fn reopen(&mut self) {
        self.kept = None;
    }

    /// The logical path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says under which circumstances the next reads run: a number that changes whenever the file may have
    /// come, such as that of [`DeviceEvents`](super::DeviceEvents). While it is the same, a file that was
    /// absent is not looked for again. Without a number, which is so at first, every read looks.
    pub fn under(&mut self, circumstances: Option<u64>) -> &mut Self {
        self.circumstances = circumstances;
        self
    }

    /// The content that the last read got.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The whole content as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    pub fn read(&mut self) -> Result<&[u8]> {
        match self.load(usize::MAX) {
            Ok(()) => Ok(&self.buffer),
            Err(error) => Err(Error::of_source(Arc::clone(&self.path), error)),
        }
    }

    /// The content up to the end of that many lines or further: for a file of many records of which the
    /// last ones are not wanted, because another read makes the kernel count everything anew.
    ///
    /// # Errors
    ///
    /// As [`KeptFile::read`].
    pub fn read_first_lines(&mut self, wanted: usize) -> Result<&[u8]> {
        match self.load(wanted) {
            Ok(()) => Ok(&self.buffer),
            Err(error) => Err(Error::of_source(Arc::clone(&self.path), error)),
        }
    }

    /// As [`KeptFile::read`], with `None` for an absent file: no allocation is made then, so this
    /// is for a file that many hosts do not have.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    pub fn optional(&mut self) -> Result<Option<&[u8]>> {
        match self.load(usize::MAX) {
            Ok(()) => Ok(Some(&self.buffer)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Error::of_source(Arc::clone(&self.path), error)),
        }
    }

    /// As [`KeptFile::read`], with the system's own error, for which no allocation is made.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say.
    pub fn try_read(&mut self) -> io::Result<&[u8]> {
        self.load(usize::MAX)?;
        Ok(&self.buffer)
    }

    /// Whether the kernel announces changes of this file by poll(2) and has announced none since this was
    /// asked before, or since the file was opened. Ask before the file is read, so that a change meanwhile
    /// is found by the next question.
    ///
    /// `false` of a file that is not open, and of one whose changes are never announced: of those in
    /// procfs the lists of mounts are announced, and what some drivers want polled. What of a content is
    /// announced is for the caller to know: of a mountinfo that mounts come, go, move and get other options
    /// in that namespace, but not what an error or another namespace does to a file system.
    pub fn is_announced_unchanged(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| self.host.is_announced_unchanged(&kept.handle))
    }

    /// Reads the file and parses it; a complaint of the parser gets the file's name.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::Unreadable`] and [`Error::Malformed`].
    pub fn parse<T>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T, Malformed>) -> Result<T> {
        let parsed = parse(self.read()?);
        parsed.map_err(|malformed| malformed.in_file(&self.path))
    }

    fn load(&mut self, wanted: usize) -> io::Result<()> {
        let outcome = match self.reads_of_mounts {
            None => self.fill(wanted),
            Some(reads) => self.fill_mounts(wanted, reads),
        };
        self.spare.look(&mut self.buffer);
        outcome
    }

    /// As [`KeptFile::fill`], for a list of mounts that was read so often since it was opened.
    fn fill_mounts(&mut self, wanted: usize, reads: u32) -> io::Result<()> {
        if reads >= MOST_READS_OF_MOUNTS {
            self.kept = None;
        }
        let was_open = self.kept.is_some();
        self.reads_of_mounts = Some(if was_open { reads + 1 } else { 1 });
        self.fill(wanted)?;
        if self.buffer.is_empty() && was_open {
            self.kept = None;
            self.reads_of_mounts = Some(1);
            self.fill(wanted)?;
        }
        if self.buffer.is_empty() { Err(io::Error::from_raw_os_error(ENODATA)) } else { Ok(()) }
    }

    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if let Some(kept) = &self.kept {
            match fill_lines(
                &self.host,
                &kept.handle,
                self.path.as_bytes(),
                self.extent,
                wanted,
                &mut self.buffer,
            ) {
                Err(error) if is_gone(&error) => self.kept = None,
                outcome => return outcome,
            }
        }
        if self.absent_under.is_some() && self.absent_under == self.circumstances {
            return Err(io::Error::from_raw_os_error(ENOENT));
        }
        let opened = self.host.open(self.path.as_bytes(), Opened::File);
        let is_absent = opened.as_ref().is_err_and(is_absence);
        self.absent_under = self.circumstances.filter(|_| is_absent);
        let handle = opened?;
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(first_size(&self.path));
        }
        let outcome = fill_lines(
            &self.host,
            &handle,
            self.path.as_bytes(),
            self.extent,
            wanted,
            &mut self.buffer,
        );
        let lasts = !outcome.as_ref().is_err_and(is_gone);
        if lasts && is_keepable(self.path.as_bytes()) {
            self.kept = Kept::keep(&self.host, handle, Purpose::File).ok();
        }
        outcome
    }
}

impl fmt::Debug for KeptFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.is_some();
        f.debug_struct("KeptFile").field("path", &self.path).field("kept", &kept).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;

    #[test]
    fn a_source_that_is_too_large_keeps_no_memory() {
        let memory = MemoryHost::new();
        memory.write("proc/net/netstat", "0".repeat(LARGEST + 1));
        for extent in [Extent::Records, Extent::Whole] {
            let mut file = KeptFile::new(memory.host(), "proc/net/netstat".into(), extent);
            let refused = file.try_read().unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(EFBIG));
            assert_eq!(file.buffer.capacity(), 0);
        }
    }

    #[test]
    fn an_absent_file_is_looked_for_when_the_circumstances_change() {
        let memory = MemoryHost::new();
        let mut file = memory.host().keep_whole("proc/net/rpc/nfs");
        let mut read = |circumstances| {
            let before = memory.requests().opened;
            let content = file.under(circumstances).optional().unwrap().map(<[u8]>::to_vec);
            (content, memory.requests().opened - before)
        };
        assert_eq!(read(Some(1)), (None, 1));
        assert_eq!(read(Some(1)), (None, 0));
        assert_eq!(read(None), (None, 1));
        assert_eq!(read(None), (None, 1));
        assert_eq!(read(Some(2)), (None, 1));
        memory.write("proc/net/rpc/nfs", "1");
        assert_eq!(read(Some(2)), (None, 0));
        assert_eq!(read(Some(3)), (Some(b"1".into()), 1));
        memory.write("proc/net/rpc/nfs", "2");
        assert_eq!(read(Some(3)), (Some(b"2".into()), 0));
        memory.remove("proc/net/rpc/nfs");
        assert_eq!(read(Some(3)), (None, 1), "it has gone");
        assert_eq!(read(Some(3)), (None, 0));
    }

    #[test]
    fn only_what_is_announced_is_known_to_be_unchanged() {
        let host = Host::new(Default::default());
        let mut mounts = host.keep("proc/self/mountinfo");
        assert!(!mounts.is_announced_unchanged(), "it is not open");
        mounts.read().unwrap();
        // Other tests may mount something, so that the first questions may find a change.
        assert!((0..1000).any(|_| mounts.is_announced_unchanged()));
        for path in ["proc/loadavg", "proc/sys/kernel/ostype", "sys/kernel/uevent_seqnum"] {
            let mut file = host.keep_whole(path);
            if file.read().is_ok() {
                assert!((0..10).all(|_| !file.is_announced_unchanged()), "{path}");
            }
        }

        let memory = MemoryHost::from_files(&[("proc/1/mountinfo", "1"), ("proc/loadavg", "2")]);
        let [mut mounts, mut load] =
            ["proc/1/mountinfo", "proc/loadavg"].map(|path| memory.host().keep(path));
        memory.announce("proc/1/mountinfo");
        mounts.read().unwrap();
        load.read().unwrap();
        let announced = [(); 3].map(|()| mounts.is_announced_unchanged());
        assert_eq!(announced, [false, true, true]);
        memory.announce("proc/1/mountinfo");
        assert!(!mounts.is_announced_unchanged());
        assert!(!load.is_announced_unchanged() && !load.is_announced_unchanged());
    }

    #[test]
    fn a_list_of_mounts_that_has_lost_its_process_is_opened_again() {
        let path = "proc/1/mountinfo";
        let memory = MemoryHost::from_files(&[(path, "one")]);
        let mut mounts = memory.host().keep_mounts(path);
        let mut plain = memory.host().keep(path);
        let mut read = || {
            let before = memory.requests().opened;
            let content = mounts.try_read().map(<[u8]>::to_vec).map_err(|e| e.raw_os_error());
            (content, memory.requests().opened - before)
        };
        assert_eq!(read(), (Ok(b"one".into()), 1));
        assert_eq!(read(), (Ok(b"one".into()), 0));
        plain.read().unwrap();
        memory.replace(path, "", "two");
        assert_eq!(read(), (Ok(b"two".into()), 1));
        assert_eq!(plain.read().unwrap(), b"", "what is open stays so");
        // It has other mounts by now, and nothing says so.
        memory.replace(path, "two", "three");
        let found = (1..).find(|_| read() == (Ok(b"three".into()), 1)).unwrap();
        assert_eq!(found, MOST_READS_OF_MOUNTS);
        memory.replace(path, "", "");
        for _ in 0..2 {
            assert_eq!(read(), (Err(Some(ENODATA)), 1));
        }
        memory.write(path, "four");
        assert_eq!(read(), (Ok(b"four".into()), 0));
    }

    #[test]
    fn an_attribute_of_sysfs_is_no_larger_than_a_page() {
        let memory = MemoryHost::new();
        let mut file = memory.host().keep_whole("sys/kernel/mm/ksm/run");
        memory.write("sys/kernel/mm/ksm/run", "0".repeat(64 << 10));
        assert_eq!(file.try_read().unwrap().len(), 64 << 10);
        memory.write("sys/kernel/mm/ksm/run", "0".repeat(LARGEST_ATTRIBUTE + 1));
        assert_eq!(file.try_read().unwrap_err().raw_os_error(), Some(EFBIG));
        assert_eq!(file.buffer.capacity(), 0);
    }

    #[test]
    fn the_budget_follows_the_limit_and_leaves_room_for_files() {
        let of = |limit| (budget(limit, Purpose::File), budget(limit, Purpose::Attribute));
        assert_eq!(of(Some(0)), (0, 0));
        assert_eq!(of(Some(1024)), (256, 224));
        assert_eq!(of(Some(524_288)), (4096, 3584));
        assert_eq!(of(None), (4096, 3584));
    }
}
