//! The lock under which files of sockets are replaced and removed, so that no two daemons do it at a
//! time: each would take the other's new file for the old one.

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often it is tried while another process has it.
const ATTEMPTS: Duration = Duration::from_millis(5);

/// The flock(2) of a directory. It leaves no file, and ends with the process. It is the kernel's
/// own on every file system, and no file system is asked for it.
#[derive(Debug)]
pub(super) struct DirectoryLock(OwnedFd);

impl DirectoryLock {
    /// Locks the directory of a file; waits while another one has it, but not longer than `within`.
    ///
    /// # Errors
    ///
    /// `WOULDBLOCK` if another one still has it; else why the directory cannot be opened.
    pub(super) fn of(file: &Path, within: Duration) -> Result<Self, Errno> {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let deadline = Instant::now() + within;
        loop {
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(DirectoryLock(directory)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(ATTEMPTS);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Unlike closing the descriptor this works at once, though there may be a copy of it: a
        // thread that has been started meanwhile may have a descriptor table of its own.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        let lock = DirectoryLock::of(&one, Duration::ZERO).expect("a lock");
        let refused = DirectoryLock::of(&other, Duration::ZERO).map(drop);
        assert_eq!(refused, Err(Errno::WOULDBLOCK));
        let copy = lock.0.try_clone().expect("a descriptor");
        drop(lock);
        DirectoryLock::of(&other, Duration::ZERO).expect("it is free, though there is a copy");
        drop(copy);
        let nowhere = DirectoryLock::of(&one.join("below"), Duration::ZERO).map(drop);
        assert_eq!(nowhere, Err(Errno::NOENT));
        DirectoryLock::of(Path::new("in the working directory"), Duration::ZERO).expect("a lock");
    }

    #[test]
    fn it_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("v.sock");
        let lock = DirectoryLock::of(&file, Duration::ZERO).expect("a lock");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| DirectoryLock::of(&file, Duration::from_secs(60)));
            drop(lock);
            waits.join().expect("no panic").expect("a lock");
        });
    }
}
