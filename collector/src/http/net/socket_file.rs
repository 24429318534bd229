//! The files of unix sockets. A file system may hang, so a file is removed on a thread of its own
//! wherever its listener ends: on the thread that serves, too.

use crate::sync::lock;
use rustix::io::Errno;
use std::collections::VecDeque;
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
#[derive(Clone, Debug)]
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
}

impl SocketFile {
    /// The file that has just been bound at a path.
    pub(super) fn at(path: &Path, remover: &Arc<Remover>) -> Result<Self, Errno> {
        let stat = rustix::fs::lstat(path)?;
        let file = File { path: path.to_owned(), device: stat.st_dev, inode: stat.st_ino };
        Ok(SocketFile { file, remover: Arc::clone(remover) })
    }

    pub(super) fn file(&self) -> File {
        self.file.clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remover.remove(self.file.clone());
    }
}

/// Removes files one after another, on one thread that is there while there are any.
#[derive(Debug, Default)]
pub(super) struct Remover {
    queue: Mutex<Queue>,
    removed: Condvar,
    all_removed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// The first one is being removed if there is a thread.
    files: VecDeque<File>,
    has_thread: bool,
}

impl Remover {
    fn remove(self: &Arc<Self>, file: File) {
        lock(&self.queue).files.push_back(file);
        self.start();
    }

    /// Starts the thread if there is something to do and no thread. Where the system refuses one, the
    /// files wait for the next call.
    fn start(self: &Arc<Self>) {
        let mut queue = lock(&self.queue);
        if queue.has_thread || queue.files.is_empty() {
            return;
        }
        let remover = Arc::clone(self);
        let thread = std::thread::Builder::new().name("socket removal".to_owned());
        queue.has_thread = thread.spawn(move || remover.remove_all()).is_ok();
    }

    fn remove_all(&self) {
        loop {
            let next = {
                let mut queue = lock(&self.queue);
                queue.has_thread = !queue.files.is_empty();
                queue.files.front().cloned()
            };
            let Some(file) = next else {
                self.all_removed.notify_waiters();
                return;
            };
            if file.is_there() == Ok(true) {
                let _ = rustix::fs::unlink(&file.path);
            }
            lock(&self.queue).files.pop_front();
            self.removed.notify_all();
        }
    }

    /// Waits until a path has no file that is to be removed, but not longer than `within`. Answers
    /// whether this is so.
    pub(super) fn wait_for(self: &Arc<Self>, path: &Path, within: Duration) -> bool {
        self.wait(within, |queue| queue.files.iter().any(|file| file.path == path))
    }

    /// Waits until there is no file to be removed, but not longer than `within`.
    pub(super) fn wait_for_all(self: &Arc<Self>, within: Duration) {
        self.wait(within, |queue| !queue.files.is_empty());
    }

    fn wait(self: &Arc<Self>, within: Duration, goes_on: impl Fn(&Queue) -> bool) -> bool {
        self.start();
        let queue = lock(&self.queue);
        let (queue, _) = self
            .removed
            .wait_timeout_while(queue, within, |queue| goes_on(queue))
            .unwrap_or_else(PoisonError::into_inner);
        !goes_on(&queue)
    }

    /// Ends when there is no file to be removed.
    pub(super) async fn all_removed(self: &Arc<Self>) {
        self.start();
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

    #[test]
    fn files_go_when_they_are_dropped_and_others_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let remover = Arc::default();
        let (own, taken) = (directory.path().join("own"), directory.path().join("taken"));
        let _listeners = [UnixListener::bind(&own), UnixListener::bind(&taken)]
            .map(|bound| bound.expect("bound"));
        let files = [&own, &taken].map(|path| SocketFile::at(path, &remover).expect("a file"));
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
    fn a_file_whose_thread_was_refused_is_removed_when_its_path_is_wanted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v.sock");
        let _listener = UnixListener::bind(&path).expect("bound");
        let remover = Arc::default();
        let file = SocketFile::at(&path, &remover).expect("a file");
        // As if the system had no thread when the file was to be removed.
        lock(&remover.queue).files.push_back(file.file());
        assert!(remover.wait_for(&path, LONG) && !path.exists());
    }
}
