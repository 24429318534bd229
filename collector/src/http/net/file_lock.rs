//! The lock under which the stale file of a socket is replaced, so that no two daemons do it at a time: each would take
//! the other's new file for the old one.

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is tried while another process has it.
const ATTEMPTS: Duration = Duration::from_millis(5);
/// What is added to the name of the socket's file.
const SUFFIX: &str = ".lock";

/// The flock(2) of a file beside the socket, which is there only while the lock is held. Who may open a file may
/// hold its lock, and so may hold up all others: this one is open to nobody but the daemon's own user.
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
    file: OwnedFd,
}

impl FileLock {
    /// Takes the lock of a socket's file; waits while another process has it, but not longer than `within`.
    ///
    /// # Errors
    ///
    /// `WOULDBLOCK` if another one still has it; else why there can be no such file.
    pub(super) fn of(socket: &Path, within: Duration) -> Result<Self, Errno> {
        let path = Self::path(socket);
        let deadline = Instant::now() + within;
        loop {
            match take(&path) {
                Ok(file) => return Ok(FileLock { path, file }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(ATTEMPTS);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The file whose lock that is.
    pub(super) fn path(socket: &Path) -> PathBuf {
        let mut path = OsString::from(socket);
        path.push(SUFFIX);
        path.into()
    }
}

/// Tries once.
fn take(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        // One that is there is not opened with O_CREAT: in a directory such as /tmp that is refused, even to root, of
        // another user's file, which a daemon that was killed may have left (fs.protected_regular).
        Err(Errno::NOENT) => {
            let new = flags | OFlags::CREATE | OFlags::EXCL;
            match rustix::fs::open(path, new, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => return Err(Errno::WOULDBLOCK),
                opened => opened?,
            }
        }
        // It is a daemon's of another user.
        Err(Errno::ACCESS) if rustix::fs::lstat(path).is_ok() => return Err(Errno::WOULDBLOCK),
        opened => opened?,
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Who had it before has removed it, and the lock is of a file that nobody else finds.
    let opened = rustix::fs::fstat(&file)?;
    match rustix::fs::lstat(path) {
        Ok(found) if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) => Ok(file),
        Ok(_) | Err(Errno::NOENT) => Err(Errno::WOULDBLOCK),
        Err(error) => Err(error),
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
        // Unlike closing the descriptor this works at once, though there may be a copy of it: a
        // thread that has been started meanwhile may have a descriptor table of its own.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_has_it_at_a_time_and_it_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let (socket, file) =
            (directory.path().join("v.sock"), directory.path().join("v.sock.lock"));
        let lock = FileLock::of(&socket, Duration::ZERO).expect("a lock");
        let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else can open it");
        let refused = FileLock::of(&socket, Duration::ZERO).map(drop);
        assert_eq!(refused, Err(Errno::WOULDBLOCK));
        FileLock::of(&directory.path().join("other"), Duration::ZERO).expect("another one's");
        let copy = lock.file.try_clone().expect("a descriptor");
        drop(lock);
        assert!(!file.exists());
        FileLock::of(&socket, Duration::ZERO).expect("it is free, though there is a copy");
        drop(copy);
        // What a daemon has left that was killed keeps nobody out.
        std::fs::write(&file, "").expect("a file");
        FileLock::of(&socket, Duration::ZERO).expect("a lock");
        let nowhere = FileLock::of(&socket.join("below"), Duration::ZERO).map(drop);
        assert_eq!(nowhere, Err(Errno::NOENT));
    }

    #[test]
    fn it_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("v.sock");
        let lock = FileLock::of(&socket, Duration::ZERO).expect("a lock");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| FileLock::of(&socket, Duration::from_secs(60)));
            drop(lock);
            waits.join().expect("no panic").expect("a lock");
        });
    }

    #[test]
    fn no_two_of_many_have_it_at_once() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().expect("a directory");
        let (socket, is_held) = (directory.path().join("v.sock"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = FileLock::of(&socket, Duration::from_secs(60)).expect("a lock");
                        assert!(!is_held.swap(true, Ordering::SeqCst), "two have it");
                        is_held.store(false, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
