//! The files of a web configuration, and how one sees that they have changed.

use crate::config::read_file;
use rustix::fs::{FileType, Stat, major, minor, stat};
use std::path::{Path, PathBuf};

/// What differs when a file is another one, or has been written to. It tells a file from the one that a
/// symbolic link led to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

/// The files that were looked at, as they were just before.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// A file that cannot be looked at has no stamp.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

impl Files {
    /// Reads one whole. It may hang, as any file may.
    ///
    /// # Errors
    ///
    /// What the system said, or what the file is instead of a small regular one.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let found = stat(path);
        let stamp = found.as_ref().ok().map(Stamp::of);
        if !self.stamps.iter().any(|(known, _)| known == path) {
            self.stamps.push((path.to_owned(), stamp));
        }
        match found {
            // With a link to it a file is masked (null(4)).
            Ok(stat)
                if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                    && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3) =>
            {
                Ok(Vec::new())
            }
            _ => read_file(path),
        }
    }

    /// Whether one of them is not what it was.
    pub(super) fn have_changed(&self) -> bool {
        self.stamps.iter().any(|(path, stamp)| stat(path).as_ref().ok().map(Stamp::of) != *stamp)
    }

    /// Watches also what others watch.
    pub(super) fn add(&mut self, others: &Files) {
        for (path, stamp) in &others.stamps {
            if !self.stamps.iter().any(|(known, _)| known == path) {
                self.stamps.push((path.clone(), *stamp));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        let other = directory.path().join("other");
        std::fs::write(&path, "one").expect("a file");
        std::fs::write(&other, "one").expect("a file");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let read = || {
            let mut files = Files::default();
            files.read(&link).map(|bytes| (bytes, files))
        };
        let (bytes, files) = read().expect("a file");
        assert!(bytes == b"one" && !files.have_changed());
        // The same length, and in place.
        std::fs::write(&path, "two").expect("a file");
        let (_, again) = read().expect("a file");
        assert!(files.have_changed() && !again.have_changed());
        // Another file behind the link.
        std::fs::remove_file(&link).expect("a link");
        std::os::unix::fs::symlink(&other, &link).expect("a link");
        assert!(again.have_changed());
        let (_, files) = read().expect("a file");
        std::fs::remove_file(&other).expect("a file");
        assert!(files.have_changed());
        let mut absent = Files::default();
        assert!(absent.read(&link).is_err() && !absent.have_changed());
        std::fs::write(&other, "").expect("a file");
        assert!(absent.have_changed());
    }

    #[test]
    fn what_is_masked_is_empty() {
        assert_eq!(Files::default().read(Path::new("/dev/null")), Ok(Vec::new()));
        assert!(Files::default().read(Path::new("/dev/zero")).is_err());
    }
}
