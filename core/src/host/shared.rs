//! A file that several collectors read, read once a collection.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Instant;

use super::Host;
use super::extent::Extent;
use super::kept::KeptFile;
use crate::error::{Malformed, Result};
use crate::sync::lock;

/// The files of one host that are shared, by path and by how they are read.
///
/// A source is there as long as a collector has a handle on it.
#[derive(Default)]
struct SharedFiles(Vec<(Box<str>, Extent, Weak<Source>)>);

/// One file for all collectors that read it.
type Source = Mutex<Content>;

struct Content {
    file: KeptFile,
    /// When the read began whose bytes `file` has; `None` before the first and after a failed one.
    began: Option<Instant>,
}

/// A handle on a file that other collectors read, too, such as `proc/stat`: the bytes are those of
/// one read for all of them.
///
/// Handles of one path share one descriptor and one buffer, also those of another [`Host`] with the
/// same roots, which a reload makes.
pub struct SharedFile {
    source: Arc<Source>,
    /// For when another thread has the source.
    private: KeptFile,
}

impl Host {
    /// A handle on a file that several collectors read; it is read to its end.
    ///
    /// Nothing is opened until the first read.
    pub fn shared(&self, path: &str) -> SharedFile {
        self.shared_as(path, Extent::Records)
    }

    /// As [`Host::shared`], for a file that the kernel makes as one record; see
    /// [`Host::keep_whole`].
    pub fn shared_whole(&self, path: &str) -> SharedFile {
        self.shared_as(path, Extent::Whole)
    }

    fn shared_as(&self, path: &str, extent: Extent) -> SharedFile {
        let file = || KeptFile::new(self.clone(), path.into(), extent);
        let files = self.lasting::<SharedFiles>();
        let sources = &mut lock(&files).0;
        sources.retain(|(_, _, source)| source.strong_count() > 0);
        let known = sources
            .iter()
            .find(|(known, how, _)| **known == *path && *how == extent)
            .and_then(|(_, _, source)| source.upgrade());
        let source = known.unwrap_or_else(|| {
            let source = Arc::new(Mutex::new(Content { file: file(), began: None }));
            sources.push((path.into(), extent, Arc::downgrade(&source)));
            source
        });
        SharedFile { source, private: file() }
    }
}

impl SharedFile {
    /// The logical path.
    pub fn path(&self) -> &str {
        self.private.path()
    }

    /// The whole content, from a read that began at `fresh_from` or later; take
    /// [`Batch::fresh_from`](crate::batch::Batch::fresh_from).
    ///
    /// If another thread reads the source or has its bytes at this moment, the file is read
    /// separately, so that a reader that hangs holds up no other.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`](crate::error::Error::Absent) and
    /// [`Error::Unreadable`](crate::error::Error::Unreadable).
    pub fn read(&mut self, fresh_from: Instant) -> Result<SharedBytes<'_>> {
        let mut content = match self.source.try_lock() {
            Ok(content) => content,
            // What a panic left behind is read again.
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut content = poisoned.into_inner();
                content.began = None;
                self.source.clear_poison();
                content
            }
            Err(TryLockError::WouldBlock) => {
                return self.private.read().map(|bytes| SharedBytes(Bytes::Private(bytes)));
            }
        };
        if content.began.is_none_or(|began| began < fresh_from) {
            content.began = None;
            let began = Instant::now();
            content.file.read()?;
            content.began = Some(began);
        }
        Ok(SharedBytes(Bytes::Shared(content)))
    }

    /// Reads the file and parses it; a complaint of the parser gets the file's name.
    ///
    /// # Errors
    ///
    /// As [`SharedFile::read`], and [`Error::Malformed`](crate::error::Error::Malformed).
    pub fn parse<T>(
        &mut self,
        fresh_from: Instant,
        parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        let parsed = parse(&self.read(fresh_from)?);
        parsed.map_err(|malformed| malformed.in_file(self.path()))
    }
}

/// The content of a shared file. Others that want it meanwhile read separately, so it should be
/// parsed and dropped.
pub struct SharedBytes<'f>(Bytes<'f>);

enum Bytes<'f> {
    Shared(MutexGuard<'f, Content>),
    Private(&'f [u8]),
}

impl Deref for SharedBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Shared(content) => content.file.bytes(),
            Bytes::Private(bytes) => bytes,
        }
    }
}

impl fmt::Debug for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFile").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBytes").field("length", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::host::MemoryHost;
    use std::time::Duration;

    fn reads(memory: &MemoryHost, read: impl FnOnce()) -> u64 {
        let before = memory.reads();
        read();
        memory.reads() - before
    }

    #[test]
    fn two_readers_of_one_collection_share_a_read() {
        let memory = MemoryHost::from_files(&[("proc/stat", "cpu 1\n")]);
        let host = memory.host();
        let (mut first, mut second) =
            (host.shared_whole("proc/stat"), host.shared_whole("proc/stat"));
        let began = Instant::now();
        assert_eq!(reads(&memory, || assert_eq!(&*first.read(began).unwrap(), b"cpu 1\n")), 1);
        memory.write("proc/stat", "cpu 2\n");
        assert_eq!(reads(&memory, || assert_eq!(&*second.read(began).unwrap(), b"cpu 1\n")), 0);
        // The next collection has its own.
        let next = Instant::now() + Duration::from_nanos(1);
        assert_eq!(&*second.read(next).unwrap(), b"cpu 2\n");
    }

    #[test]
    fn a_reader_waits_for_no_other_thread() {
        let memory = MemoryHost::from_files(&[("proc/stat", "one")]);
        let host = memory.host();
        let (mut first, mut second) = (host.shared("proc/stat"), host.shared("proc/stat"));
        let began = Instant::now();
        let held = first.read(began).unwrap();
        memory.write("proc/stat", "two");
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(&*second.read(began).unwrap(), b"two"));
        });
        assert_eq!(&*held, b"one");
    }

    #[test]
    fn a_failed_read_is_not_shared() {
        let memory = MemoryHost::from_files(&[("proc/stat", "one")]);
        let mut file = memory.host().shared("proc/stat");
        memory.fail("proc/stat", 5);
        let began = Instant::now();
        assert!(matches!(file.read(began), Err(Error::Unreadable { .. })));
        memory.write("proc/stat", "two");
        assert_eq!(&*file.read(began).unwrap(), b"two");
        let wrong = file.parse(began, |_| Err::<(), _>(Malformed::new(1, "x")));
        assert_eq!(wrong.unwrap_err().to_string(), "proc/stat: byte 1: expected x");
    }

    #[test]
    fn hosts_with_the_same_roots_share_and_others_do_not() {
        let host = || Host::new(Default::default());
        let (first, second) = (host(), host());
        let other =
            Host::new(super::super::Roots { procfs: "/other".into(), ..Default::default() });
        let [first, second, other] =
            [&first, &second, &other].map(|host| host.shared("proc/version"));
        assert!(Arc::ptr_eq(&first.source, &second.source));
        assert!(!Arc::ptr_eq(&first.source, &other.source));
    }
}
