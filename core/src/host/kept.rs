//! A file that is read at every collection.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Handle, Host, Opened, system};
use crate::error::{Error, Malformed, Result, is_absence};

/// No source is larger; a textfile that is would take the host's memory.
const LARGEST: usize = 64 * 1024 * 1024;

/// `EFBIG`, the same number on every Linux architecture.
const EFBIG: i32 = 27;

/// Half of the smallest page.
const HALF_PAGE: usize = 2048;

/// When a read has got all there is to get.
///
/// A procfs file is mostly a `seq_file`, and `seq_read_iter` (fs/seq_file.c) gathers whole records
/// in a buffer of its own, of a page or more, and returns when the next record does not fit: a
/// short read says nothing of the end. Reading until 0 bytes come is always right and costs one
/// more system call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Many records of any length: only 0 bytes are the end.
    Records,
    /// Many records of at most half a page: had there been another one after a read of less than
    /// half a page, it would have fitted into the page, so there is none.
    ShortRecords,
    /// One record, or a regular file: a read that leaves room in the buffer has all of it.
    Whole,
}

/// The room a file's buffer starts with.
///
/// The kernel allocates and zeroes as much as is asked for when a sysctl is read, so that one
/// costs by the buffer; elsewhere one page is the least that saves calls.
pub(super) fn first_size(path: &str) -> usize {
    if path.starts_with("proc/sys/") || path.starts_with("sys/") { 512 } else { 4096 }
}

/// Reads an opened file from its beginning to its end.
pub(super) fn fill(
    host: &Host,
    handle: &Handle,
    extent: Extent,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    loop {
        if buffer.len() == buffer.capacity() {
            let doubled = (buffer.capacity() * 2).max(512);
            if doubled > LARGEST {
                return Err(io::Error::from_raw_os_error(EFBIG));
            }
            // One record is made anew by each read, and a sysctl says nothing at an offset, so
            // the two halves of one cannot be put together.
            if extent == Extent::Whole {
                buffer.clear();
            }
            buffer.reserve_exact(doubled - buffer.len());
        }
        let read = host.read_at(handle, buffer, buffer.len() as u64)?;
        let has_room = buffer.len() < buffer.capacity();
        let ended = match extent {
            Extent::Records => false,
            Extent::ShortRecords => has_room && read < HALF_PAGE,
            Extent::Whole => has_room,
        };
        if read == 0 || ended {
            return Ok(());
        }
    }
}

/// ENOENT, ESRCH, EIO and ENODEV: what a kept descriptor answers after its device, module or
/// process has gone, perhaps to come back as another one under the same name.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(2 | 3 | 5 | 19))
}

/// Whether a file of that name may be kept open at all.
pub(super) fn is_keepable(path: &str) -> bool {
    ["proc", "sys"].iter().any(|root| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// One of the process's kept descriptors; given back on drop.
pub(super) struct Seat(());

/// How many descriptors are kept in the process.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Seat {
    /// None are left when a quarter of the descriptors the process may have, or 512, are kept.
    fn take() -> Option<Seat> {
        static BUDGET: OnceLock<usize> = OnceLock::new();
        let budget = *BUDGET.get_or_init(|| {
            let quarter = system::descriptor_limit().map_or(u64::MAX, |limit| limit / 4);
            usize::try_from(quarter).unwrap_or(usize::MAX).min(512)
        });
        // The count guards no other memory, so its order does not matter.
        TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < budget).then_some(taken + 1)
            })
            .ok()
            .map(|_| Seat(()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handle that stays open.
pub(super) struct Kept {
    pub(super) handle: Handle,
    _seat: Seat,
}

impl Kept {
    /// Keeps the handle if it may be kept and there is a seat for it, or gives it back.
    pub(super) fn seat(host: &Host, handle: Handle) -> Result<Kept, Handle> {
        match Seat::take() {
            Some(seat) if host.is_kernel_made(&handle) => Ok(Kept { handle, _seat: seat }),
            _ => Err(handle),
        }
    }
}

/// A file that is read at every collection.
///
/// It is opened at the first read, and looked for again at every read while it is absent. On
/// procfs and sysfs the descriptor is kept, within a budget that the process has; elsewhere the
/// file is opened anew each time. A read that finds its device gone looks by path once more. The
/// buffer grows to the file's size and is used again.
pub struct KeptFile {
    host: Host,
    path: Box<str>,
    extent: Extent,
    kept: Option<Kept>,
    buffer: Vec<u8>,
}

impl KeptFile {
    pub(super) fn new(host: Host, path: Box<str>, extent: Extent) -> Self {
        KeptFile { host, path, extent, kept: None, buffer: Vec::new() }
    }

    /// The logical path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The whole content as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    pub fn read(&mut self) -> Result<&[u8]> {
        match self.load() {
            Ok(()) => Ok(&self.buffer),
            Err(error) => Err(Error::from_io(&self.path, error)),
        }
    }

    /// As [`KeptFile::read`], with `None` for an absent file: no allocation is made then, so this
    /// is for a file that many hosts do not have.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    pub fn optional(&mut self) -> Result<Option<&[u8]>> {
        match self.load() {
            Ok(()) => Ok(Some(&self.buffer)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Error::from_io(&self.path, error)),
        }
    }

    /// As [`KeptFile::read`], with the system's own error, for which no allocation is made.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say.
    pub fn try_read(&mut self) -> io::Result<&[u8]> {
        self.load()?;
        Ok(&self.buffer)
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

    fn load(&mut self) -> io::Result<()> {
        if let Some(kept) = &self.kept {
            match fill(&self.host, &kept.handle, self.extent, &mut self.buffer) {
                Err(error) if is_gone(&error) => self.kept = None,
                outcome => return outcome,
            }
        }
        let handle = self.host.open(self.path.as_bytes(), Opened::File)?;
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(first_size(&self.path));
        }
        let outcome = fill(&self.host, &handle, self.extent, &mut self.buffer);
        let lasts = !outcome.as_ref().is_err_and(is_gone);
        if lasts && is_keepable(&self.path) {
            self.kept = Kept::seat(&self.host, handle).ok();
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
