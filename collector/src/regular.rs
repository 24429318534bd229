//! Small files that others write, of which any may be something else.

use crate::secret::Secret;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, major, minor, open};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use vitald_core::host::Version;

/// The most that a configuration or a list of the system's may hold.
pub(crate) const MOST_BYTES: u64 = 1 << 20;
/// How often a file is read that is written to meanwhile.
const ATTEMPTS: usize = 3;

/// Reads a regular file of at most `most` bytes whole, as it was at one moment: again if it was written to meanwhile.
///
/// `look` is shown what the file is before it is read. It may refuse it, or wait until it is fit to be read. Nothing but a
/// regular file is opened for longer than it takes to see what it is.
///
/// # Errors
///
/// What the system said, what the file is instead, that it is larger or never stays the same, and what `look` said.
pub(crate) fn read_unchanged(
    path: &Path,
    most: u64,
    look: impl Fn(&Stat) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let (mut file, before) = open_any(path)?;
        refuse_irregular(&before)?;
        look(&before)?;
        let bytes = read_bounded(&mut file, &before, most)?;
        if is_unchanged(&before, &fstat(&file)?) {
            return Ok(bytes);
        }
        // It may hold a secret.
        drop(Secret::new(bytes));
    }
    Err(io::Error::other(
        "it changed while it was read, several times; write a new file and rename it to this name",
    ))
}

/// Reads a regular file of at most 1 MiB as text. `/dev/null` is an empty text.
///
/// # Errors
///
/// What the system said, what the file is instead, that it is larger, and that it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let (mut file, stat) = open_any(path)?;
    if is_null(&stat) {
        return Ok(String::new());
    }
    refuse_irregular(&stat)?;
    String::from_utf8(read_bounded(&mut file, &stat, MOST_BYTES)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Whether a file is `/dev/null`, which has these numbers on every Linux (null(4)). With a link to it a file is masked.
pub(crate) fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}

fn open_any(path: &Path) -> io::Result<(File, Stat)> {
    // A pipe without a writer would never open, and a terminal must not become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let descriptor = open(path, flags, Mode::empty())?;
    let stat = fstat(&descriptor)?;
    Ok((File::from(descriptor), stat))
}

fn refuse_irregular(stat: &Stat) -> io::Result<()> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "not a file with content",
    };
    let message = format!("it is {kind}; it must be a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn read_bounded(file: &mut File, stat: &Stat, most: u64) -> io::Result<Vec<u8>> {
    // At once as large as it will be: what a buffer leaves behind that grows may be a part of a secret.
    let expected = u64::try_from(stat.st_size).unwrap_or(0).min(most);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    let read = file.take(most + 1).read_to_end(&mut bytes);
    let too_large = || {
        let most = match most {
            MOST_BYTES => "1 MiB".to_owned(),
            most => format!("{most} bytes"),
        };
        io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most}"))
    };
    let error = match read {
        Ok(_) if bytes.len() as u64 <= most => return Ok(bytes),
        Ok(_) => too_large(),
        Err(error) => error,
    };
    drop(Secret::new(bytes));
    Err(error)
}

/// Whether a file was not written to between two looks at it.
fn is_unchanged(before: &Stat, after: &Stat) -> bool {
    let (was, mut is) = (Version::of(before), Version::of(after));
    // One that another file has replaced is whole, but has lost a link, which dates it anew.
    if after.st_nlink < before.st_nlink {
        is.changed = was.changed;
    }
    was == is
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_regular_and_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a pipe");
        let error = |path: &Path| read_text(path).expect_err("it is refused").to_string();
        assert_eq!(error(&pipe), "it is a named pipe; it must be a regular file");
        assert_eq!(error(folder.path()), "it is a directory; it must be a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "it is a device; it must be a regular file");
        let file = folder.path().join("file");
        let text = "x".repeat(MOST_BYTES as usize);
        std::fs::write(&file, &text).expect("a file");
        assert_eq!(read_text(&file).expect("a text").len(), text.len());
        std::fs::write(&file, text + "x").expect("a file");
        assert_eq!(error(&file), "it is larger than 1 MiB");
        std::fs::write(&file, b"\xff").expect("a file");
        assert_eq!(error(&file), "it is not UTF-8");
        let masked = folder.path().join("masked");
        std::os::unix::fs::symlink("/dev/null", &masked).expect("a link");
        assert_eq!(read_text(&masked).expect("a text"), "");
    }

    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "0").expect("a file");
        let looks = std::cell::Cell::new(0);
        // Between the look and the reading, so often.
        let writing = |times: usize| {
            looks.set(0);
            read_unchanged(&file, 4, |_| {
                looks.set(looks.get() + 1);
                if looks.get() <= times {
                    std::fs::write(&file, "x".repeat(looks.get() + 1))?;
                }
                Ok(())
            })
        };
        assert_eq!(writing(0).expect("a file"), b"0");
        assert_eq!((writing(2).expect("a file"), looks.get()), (b"xxx".to_vec(), 3));
        std::fs::write(&file, "0").expect("a file");
        let error = writing(3).expect_err("it is refused").to_string();
        assert!(error.contains("rename"), "{error}");
        // A file that was replaced is whole.
        let new = folder.path().join("new");
        std::fs::write(&file, "old").expect("a file");
        let replaced = read_unchanged(&file, 4, |_| {
            std::fs::write(&new, "new")?;
            std::fs::rename(&new, &file)
        });
        assert_eq!(replaced.expect("a file"), b"old");
        let refused = read_unchanged(&file, 4, |_| Err(io::Error::other("not this one")));
        assert_eq!(refused.expect_err("it is refused").to_string(), "not this one");
        let large = read_unchanged(&file, 2, |_| Ok(())).expect_err("it is refused");
        assert_eq!(large.to_string(), "it is larger than 2 bytes");
    }
}
