//! The files of unix sockets. A file system may hang, so a file is removed on a thread of its own
//! wherever its listener ends: on the thread that serves, too.

use super::access::Access;
use crate::sync::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The file of a bound unix socket; removed when this is dropped, unless another one has taken its
/// place.
#[derive(Debug)]
pub(super) struct SocketFile {
    file: File,
    remover: Arc<Remover>,
}

/// Which file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl File {
    /// Whether it is still where it was bound. Asks the file system, so under no lock.
    pub(super) fn is_there(&self) -> Result<bool, Errno> {
        match rustix::fs::lstat(&self.path) {
            Ok(stat) => Ok(stat.st_dev == self.device && stat.st_ino == self.inode),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets in whom `access` names. Asks the file system, so under no lock.
    ///
    /// # Errors
    ///
    /// Why not, and what to do about it.
    pub(super) fn give(&self, access: &Access) -> Result<(), String> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let gone = "the file of the socket has been removed";
        let file = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|_| gone)?;
        match rustix::fs::fstat(&file) {
            Ok(stat) if stat.st_dev == self.device && stat.st_ino == self.inode => {
                access.give(file.as_fd())
            }
            _ => Err(gone.to_owned()),
        }
    }
}

impl SocketFile {
    /// The file that has just been bound at a path.
    pub(super) fn at(path: &Path, mut lease: Lease) -> Result<Self, Errno> {
        let stat = rustix::fs::lstat(path)?;
        let file = File { path: path.to_owned(), device: stat.st_dev, inode: stat.st_ino };
        let remover = Arc::clone(&lease.remover);
        remover.bound(Removal { file: file.clone(), _socket: lease.socket.take() });
        Ok(SocketFile { file, remover })
    }

    pub(super) fn file(&self) -> File {
        self.file.clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let mut queue = lock(&self.remover.queue);
        // At the end of the daemon it has been asked for already.
        let found = queue.in_use.iter().position(|removal| removal.file == self.file);
        if let Some(at) = found {
            let removal = queue.in_use.swap_remove(at);
            queue.files.push_back(removal);
            self.remover.wanted.notify_one();
        }
    }
}

/// Removes files one after another, on a thread that is there as long as there are leases or files. It knows those in
/// use, too: what has them at the end of the daemon may not come to drop them.
#[derive(Debug, Default)]
pub(super) struct Remover {
    queue: Mutex<Queue>,
    /// Something has changed for the thread.
    wanted: Condvar,
    removed: Condvar,
    all_removed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// The first one is being removed.
    files: VecDeque<Removal>,
    in_use: Vec<Removal>,
    /// Leases whose socket has no file yet.
    binding: usize,
    has_thread: bool,
    /// No file is to be left, and no other one begun.
    has_ended: bool,
}

/// A file to be removed. Its socket is open until then: no other daemon finds it stale, and the file
/// system gives its inode number to no other file.
#[derive(Debug)]
struct Removal {
    file: File,
    _socket: Option<OwnedFd>,
}

/// What the removal of a file takes: the remover's thread, and a descriptor of the socket. It is taken
/// before the socket is bound, since there may be neither to be had when the socket ends.
#[derive(Debug)]
pub(super) struct Lease {
    remover: Arc<Remover>,
    /// Until there is a file.
    socket: Option<OwnedFd>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.socket.is_some() {
            lock(&self.remover.queue).binding -= 1;
            self.remover.wanted.notify_one();
            self.remover.removed.notify_all();
        }
    }
}

impl Remover {
    /// A lease for a socket, for which the thread is started if it is not there.
    ///
    /// # Errors
    ///
    /// The system refuses the thread, or the daemon ends.
    pub(super) fn lease(self: &Arc<Self>, socket: OwnedFd) -> io::Result<Lease> {
        let mut queue = lock(&self.queue);
        if queue.has_ended {
            return Err(io::Error::other("the daemon is stopping"));
        }
        if !queue.has_thread {
            let remover = Arc::clone(self);
            let thread = std::thread::Builder::new().name("socket removal".to_owned());
            thread.spawn(move || remover.remove_all())?;
            queue.has_thread = true;
        }
        queue.binding += 1;
        Ok(Lease { remover: Arc::clone(self), socket: Some(socket) })
    }

    /// A lease has got its file.
    fn bound(&self, removal: Removal) {
        let mut queue = lock(&self.queue);
        queue.binding -= 1;
        if queue.has_ended {
            queue.files.push_back(removal);
            self.wanted.notify_one();
        } else {
            queue.in_use.push(removal);
        }
    }

    /// Removes every file, whatever has it, and lets none be bound any more: for the end of the daemon. Waits until
    /// this is so, but not longer than `within`.
    pub(super) fn end(&self, within: Duration) {
        {
            let mut queue = lock(&self.queue);
            queue.has_ended = true;
            let in_use = std::mem::take(&mut queue.in_use);
            queue.files.extend(in_use);
            self.wanted.notify_one();
        }
        self.wait(within, |queue| !queue.files.is_empty() || queue.binding > 0);
    }

    fn remove_all(&self) {
        while let Some(file) = self.next() {
            if file.is_there() == Ok(true) {
                let _ = rustix::fs::unlink(&file.path);
            }
            let mut queue = lock(&self.queue);
            let removed = queue.files.pop_front();
            if queue.files.is_empty() {
                self.all_removed.notify_waiters();
            }
            drop(queue);
            drop(removed);
            self.removed.notify_all();
        }
    }

    /// Waits for the next file to be removed; `None` when there will be none.
    fn next(&self) -> Option<File> {
        let is_idle = |queue: &mut Queue| {
            queue.files.is_empty() && (queue.binding > 0 || !queue.in_use.is_empty())
        };
        let mut queue = self
            .wanted
            .wait_while(lock(&self.queue), is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        queue.has_thread = !queue.files.is_empty();
        queue.files.front().map(|removal| removal.file.clone())
    }

    /// Waits until a path has no file that is to be removed, but not longer than `within`. Answers
    /// whether this is so.
    pub(super) fn wait_for(&self, path: &Path, within: Duration) -> bool {
        self.wait(within, |queue| queue.files.iter().any(|removal| removal.file.path == path))
    }

    /// Waits until there is no file to be removed, but not longer than `within`.
    pub(super) fn wait_for_all(&self, within: Duration) {
        self.wait(within, |queue| !queue.files.is_empty());
    }

    fn wait(&self, within: Duration, goes_on: impl Fn(&Queue) -> bool) -> bool {
        let (queue, _) = self
            .removed
            .wait_timeout_while(lock(&self.queue), within, |queue| goes_on(queue))
            .unwrap_or_else(PoisonError::into_inner);
        !goes_on(&queue)
    }

    /// Ends when there is no file to be removed.
    pub(super) async fn all_removed(&self) {
        loop {
            let removed = self.all_removed.notified();
            if lock(&self.queue).files.is_empty() {
                return;
            }
            removed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const LONG: Duration = Duration::from_secs(60);

    fn bind(path: &Path, remover: &Arc<Remover>) -> (UnixListener, SocketFile) {
        let listener = UnixListener::bind(path).expect("bound");
        let descriptor = listener.try_clone().expect("a descriptor").into();
        let lease = remover.lease(descriptor).expect("a thread");
        (listener, SocketFile::at(path, lease).expect("a file"))
    }

    #[test]
    fn files_go_when_they_are_dropped_and_others_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let remover = Arc::default();
        let (own, taken) = (directory.path().join("own"), directory.path().join("taken"));
        let (_listeners, files): (Vec<_>, Vec<_>) =
            [&own, &taken].map(|path| bind(path, &remover)).into_iter().unzip();
        let is_there = |file: &SocketFile| file.file().is_there().expect("a file system");
        assert!(files.iter().all(is_there));
        std::fs::remove_file(&taken).expect("a file");
        assert!(!is_there(&files[1]));
        let _other = UnixListener::bind(&taken).expect("bound");
        assert!(!is_there(&files[1]));
        drop(files);
        assert!(remover.wait_for(&own, LONG) && remover.wait_for(&taken, LONG));
        assert!(!own.exists() && taken.exists());
    }

    #[test]
    fn another_file_in_the_same_place_has_another_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let remover = Arc::default();
        let (listener, file) = bind(&path, &remover);
        // Many file systems give the number to the next file as soon as the socket is closed.
        drop(listener);
        std::fs::remove_file(&path).expect("a file");
        let _other = UnixListener::bind(&path).expect("bound");
        assert_eq!(file.file().is_there(), Ok(false));
        drop(file);
        assert!(remover.wait_for(&path, LONG) && path.exists());
    }

    #[test]
    fn at_the_end_no_file_is_left_whatever_has_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let [kept, late] = ["kept", "late"].map(|name| directory.path().join(name));
        let remover: Arc<Remover> = Arc::default();
        let (_listener, file) = bind(&kept, &remover);
        // One that is being bound meanwhile is waited for.
        let late_listener = UnixListener::bind(&late).expect("bound");
        let descriptor = || late_listener.try_clone().expect("a descriptor").into();
        let lease = remover.lease(descriptor()).expect("a thread");
        let ending = std::thread::spawn({
            let remover = Arc::clone(&remover);
            move || remover.end(LONG)
        });
        assert!(remover.wait(LONG, |queue| !queue.has_ended || !queue.files.is_empty()));
        assert!(!kept.exists() && !ending.is_finished());
        let late_file = SocketFile::at(&late, lease).expect("a file");
        ending.join().expect("it ends");
        assert!(!late.exists());
        // Nor is another one's file in the same place removed later.
        let _other = UnixListener::bind(&kept).expect("bound");
        drop((file, late_file));
        assert!(remover.lease(descriptor()).is_err());
        remover.end(LONG);
        assert!(kept.exists());
    }

    #[test]
    fn the_thread_is_there_before_the_file_and_ends_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let remover: Arc<Remover> = Arc::default();
        for _ in 0..3 {
            let (_listener, file) = bind(&path, &remover);
            assert!(lock(&remover.queue).has_thread);
            drop(file);
            assert!(remover.wait_for(&path, LONG) && !path.exists());
        }
        // The thread has it, too.
        while Arc::strong_count(&remover) > 1 {
            std::thread::yield_now();
        }
        assert!(!lock(&remover.queue).has_thread);
    }
}
