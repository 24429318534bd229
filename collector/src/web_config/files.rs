//! The files of a web configuration, and how one sees that they have changed.

use crate::config::read_file;
use crate::regular::is_null;
use rustix::fs::stat;
use std::path::{Path, PathBuf};
use vitald_core::host::Version;

/// The files that were looked at, as they were just before.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Files {
    /// Each by what it led to. A file that cannot be looked at has no version.
    versions: Vec<(PathBuf, Option<Version>)>,
}

impl Files {
    /// Reads one whole. It may hang, as any file may.
    ///
    /// # Errors
    ///
    /// What the system said, or what the file is instead of a small regular one.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let found = stat(path);
        let version = found.as_ref().ok().map(Version::of);
        if !self.versions.iter().any(|(known, _)| known == path) {
            self.versions.push((path.to_owned(), version));
        }
        match found {
            Ok(stat) if is_null(&stat) => Ok(Vec::new()),
            _ => read_file(path),
        }
    }

    /// Whether one of them is not what it was.
    pub(super) fn have_changed(&self) -> bool {
        let now = |path: &Path| stat(path).as_ref().ok().map(Version::of);
        self.versions.iter().any(|(path, version)| now(path) != *version)
    }

    /// Watches also what others watch.
    pub(super) fn add(&mut self, others: &Files) {
        for (path, version) in &others.versions {
            if !self.versions.iter().any(|(known, _)| known == path) {
                self.versions.push((path.clone(), *version));
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
        // The same length, and in place, once the file system's clock has gone on.
        let mut rewrites = 0..100_000;
        assert!(rewrites.any(|_| {
            std::fs::write(&path, "two").expect("a file");
            files.have_changed()
        }));
        let (_, again) = read().expect("a file");
        assert!(!again.have_changed());
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
