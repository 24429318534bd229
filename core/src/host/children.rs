//! Files of a directory's children that come and go by the thousand, each opened, read and closed.

use std::fmt;
use std::fmt::Write;
use std::io;

use super::extent::Extent;
use super::kept::{Kept, Purpose, fill, is_gone, is_keepable};
use super::listing::{Listed, Listing};
use super::opened::Opened;
use super::path::with_c_string;
use super::{Handle, Host, system};
use crate::error::{Error, Result};
use crate::source_name;

/// What is kept of the memory that [`Children::read_start`] needed for a long file.
const MOST_KEPT: usize = 64 << 10;

/// A directory such as `proc`, whose children are too many and too short-lived for the
/// descriptors and the memory that a [`super::Walk`] spends on each.
///
/// At most one descriptor is kept, that of the directory itself; a child's file is opened relative
/// to it, read whole and closed. Nothing is remembered of a child, so the caller finds out
/// whether a name still means the same one: of a process, by its start time.
///
/// In the steady state nothing here allocates.
pub struct Children {
    host: Host,
    path: Box<str>,
    directory: Option<Kept>,
    buffer: Vec<u8>,
    /// Where the paths of files are put together.
    joined: Vec<u8>,
    /// For what can only be counted by listing it.
    entries: Listing,
}

impl Host {
    /// A handle on a directory of many children. Nothing is opened until the first call.
    pub fn children(&self, path: impl Into<Box<str>>) -> Children {
        Children {
            host: self.clone(),
            path: path.into(),
            directory: None,
            buffer: Vec::new(),
            joined: Vec::new(),
            entries: Listing::new(),
        }
    }

    /// How large what is below an opened directory says it is; the in-memory fake does not say.
    fn size_in(&self, directory: &Handle, path: &[u8]) -> io::Result<u64> {
        match directory {
            Handle::Real(directory) => with_c_string(
                |bytes| bytes.extend_from_slice(path),
                |path| system::size_in(directory, path),
            ),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(_) => Ok(0),
        }
    }
}

impl Children {
    /// The logical path of the directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Lists the directory, sorted by the bytes of the names.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`]; the listing is empty then.
    pub fn list(&mut self, listing: &mut Listing) -> Result<()> {
        self.try_list(listing).map_err(|error| Error::from_io(&self.path, error))
    }

    fn try_list(&mut self, listing: &mut Listing) -> io::Result<()> {
        if let Some(directory) = &self.directory {
            match self.host.list_opened(&directory.handle, Listed::Again, listing) {
                Ok(()) if !listing.is_empty() => return Ok(()),
                Err(error) if !is_gone(&error) => return Err(error),
                // What was unmounted or removed lists as empty; perhaps there is a new one.
                _ => self.directory = None,
            }
        }
        listing.clear();
        let handle = self.host.open(self.path.as_bytes(), Opened::Directory)?;
        let listed = self.host.list_opened(&handle, Listed::New, listing);
        if listed.is_ok() && is_keepable(self.path.as_bytes()) {
            self.directory = Kept::keep(&self.host, handle, Purpose::Directory).ok();
        }
        listed
    }

    /// Lists a directory of a child, such as the `task` of a process, sorted by the bytes of the names. What is in
    /// it is read by a child's name with a path behind it: `27/task/31`.
    ///
    /// # Errors
    ///
    /// What open(2) and getdents(2) say; the listing is empty then.
    pub fn list_in(
        &mut self,
        child: &[u8],
        directory: &str,
        listing: &mut Listing,
    ) -> io::Result<()> {
        listing.clear();
        let handle = self.open(child, directory, Opened::Directory)?;
        self.host.list_opened(&handle, Listed::New, listing)
    }

    /// The content of a child's file, which the kernel makes as one record: `stat`, `status`, `io`,
    /// `limits` or `cgroup` of a process.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say: ENOENT or ESRCH for a child that has gone since it was listed.
    pub fn read(&mut self, child: &[u8], file: &str) -> io::Result<&[u8]> {
        let handle = self.open(child, file, Opened::File)?;
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(4096);
        }
        fill(&self.host, &handle, self.path.as_bytes(), Extent::Whole, &mut self.buffer)?;
        Ok(&self.buffer)
    }

    /// What a read of a child's file said, with the file's name.
    pub fn error(&self, child: &[u8], file: &str, error: io::Error) -> Error {
        let name = source_name::made_by(|name| {
            // Writing into a text cannot fail.
            let _ = write!(name, "{}/{}/{file}", self.path, String::from_utf8_lossy(child));
        });
        Error::of_source(name, error)
    }

    /// At most the first `most` bytes of a child's file, for one whose length others decide, such
    /// as the `cmdline` of a process.
    ///
    /// # Errors
    ///
    /// As [`Children::read`].
    pub fn read_start(&mut self, child: &[u8], file: &str, most: usize) -> io::Result<&[u8]> {
        let handle = self.open(child, file, Opened::File)?;
        self.buffer.clear();
        // What one long file took is not kept for ever.
        self.buffer.shrink_to(MOST_KEPT);
        while self.buffer.len() < most {
            if self.buffer.spare_capacity_mut().is_empty() {
                let more = self.buffer.len().max(4096).min(most - self.buffer.len());
                self.buffer.reserve_exact(more);
            }
            let offset = self.buffer.len() as u64;
            if self.host.read_at(&handle, Extent::Records, &mut self.buffer, offset)? == 0 {
                break;
            }
        }
        self.buffer.truncate(most);
        Ok(&self.buffer)
    }

    /// How many descriptors a process has open, for a child of `proc`.
    ///
    /// Since Linux 6.2 the size of `proc/PID/fd` says so, to everybody who may see the process; an
    /// older kernel says 0, and then the directory is listed, which takes the right to trace the
    /// process (proc_pid_fd(5)).
    ///
    /// # Errors
    ///
    /// What stat(2), open(2) and getdents(2) say.
    pub fn descriptors(&mut self, child: &[u8]) -> io::Result<u64> {
        // Without a listing before, nothing is kept yet, and each call would open the directory.
        if self.directory.is_none() && is_keepable(self.path.as_bytes()) {
            let handle = self.host.open(self.path.as_bytes(), Opened::Directory)?;
            self.directory = Kept::keep(&self.host, handle, Purpose::Directory).ok();
        }
        if let Some(Kept { handle, .. }) = &self.directory {
            join(&mut self.joined, &[child, b"fd"]);
            match self.host.size_in(handle, &self.joined)? {
                0 => {}
                size => return Ok(size),
            }
        }
        let handle = self.open(child, "fd", Opened::Directory)?;
        self.host.list_opened(&handle, Listed::New, &mut self.entries)?;
        Ok(self.entries.len() as u64)
    }

    fn open(&mut self, child: &[u8], file: &str, opened: Opened) -> io::Result<Handle> {
        match &self.directory {
            Some(directory) => {
                join(&mut self.joined, &[child, file.as_bytes()]);
                self.host.open_in(&directory.handle, &self.joined, opened)
            }
            None => {
                join(&mut self.joined, &[self.path.as_bytes(), child, file.as_bytes()]);
                self.host.open(&self.joined, opened)
            }
        }
    }
}

/// Puts a path together.
fn join(path: &mut Vec<u8>, parts: &[&[u8]]) {
    path.clear();
    for part in parts {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.directory.is_some();
        f.debug_struct("Children").field("path", &self.path).field("kept", &kept).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};

    fn two_processes() -> MemoryHost {
        MemoryHost::from_files(&[
            ("proc/1/stat", "1 (init) S\n"),
            ("proc/1/cmdline", "/sbin/init\0splash\0"),
            ("proc/1/fd/0", ""),
            ("proc/1/fd/1", ""),
            ("proc/27/stat", "27 (cron) S\n"),
            ("proc/27/task/27/stat", "27 (cron) S\n"),
            ("proc/27/task/31/stat", "31 (cron) D\n"),
        ])
    }

    #[test]
    fn lists_what_a_child_has() {
        let mut children = two_processes().host().children("proc");
        let mut listing = Listing::new();
        for _ in 0..2 {
            children.list_in(b"27", "task", &mut listing).unwrap();
            let names: Vec<&[u8]> = listing.iter().map(|entry| entry.name).collect();
            assert_eq!(names, [&b"27"[..], b"31"]);
            assert_eq!(children.read(b"27/task/31", "stat").unwrap(), b"31 (cron) D\n");
            children.list(&mut Listing::new()).unwrap();
        }
        assert!(children.list_in(b"1", "task", &mut listing).is_err() && listing.is_empty());
    }

    #[test]
    fn lists_and_reads() {
        let memory = two_processes();
        let mut children = memory.host().children("proc");
        // Before the first listing, by whole paths.
        assert_eq!(children.read(b"27", "stat").unwrap(), b"27 (cron) S\n");
        let mut listing = Listing::new();
        for _ in 0..2 {
            children.list(&mut listing).unwrap();
            let names: Vec<&[u8]> = listing.iter().map(|entry| entry.name).collect();
            assert_eq!(names, [&b"1"[..], b"27"]);
            assert_eq!(children.read(b"1", "stat").unwrap(), b"1 (init) S\n");
            assert_eq!(children.descriptors(b"1").unwrap(), 2);
        }
    }

    #[test]
    fn reads_no_more_than_the_start() {
        let mut children = two_processes().host().children("proc");
        assert_eq!(children.read_start(b"1", "cmdline", 4).unwrap(), b"/sbi");
        assert_eq!(children.read_start(b"1", "cmdline", 400).unwrap(), b"/sbin/init\0splash\0");
        let memory = two_processes();
        let mut children = memory.host().children("proc");
        memory.write("proc/27/cmdline", "x".repeat(200_000));
        assert_eq!(children.read_start(b"27", "cmdline", 1 << 20).unwrap().len(), 200_000);
        assert_eq!(children.read_start(b"27", "cmdline", 150_000).unwrap().len(), 150_000);
        children.read_start(b"1", "cmdline", 1 << 20).unwrap();
        assert!(children.buffer.capacity() <= MOST_KEPT);
    }

    #[test]
    fn what_has_gone_is_an_error_and_not_remembered() {
        let memory = two_processes();
        let mut children = memory.host().children("proc");
        children.list(&mut Listing::new()).unwrap();
        assert_eq!(children.read(b"28", "stat").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(children.descriptors(b"28").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(children.read(b"27", "stat").unwrap(), b"27 (cron) S\n");
        assert!(children.read(b"..", "stat").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reads_this_process() {
        let mut children = Host::new(Roots::default()).children("proc");
        let mut listing = Listing::new();
        children.list(&mut listing).unwrap();
        let own = std::process::id().to_string();
        assert!(listing.find(own.as_bytes()).is_some());
        let stat = children.read(own.as_bytes(), "stat").unwrap();
        assert!(stat.starts_with(own.as_bytes()) && stat.ends_with(b"\n"));
        // Other tests open and close files meanwhile; three standard ones are always there.
        assert!(children.descriptors(own.as_bytes()).unwrap() > 2);
        // The other way of counting agrees that there are some.
        children.directory = None;
        assert!(children.descriptors(own.as_bytes()).unwrap() > 2);
    }
}
