//! Small files that others write, of which any may be something else.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, major, minor, open};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most that such a file may hold.
const MOST_BYTES: u64 = 1 << 20;

/// Opens a regular file; nothing else is opened for longer than it takes to see what it is.
///
/// # Errors
///
/// What the system said, or what the file is instead.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, Stat)> {
    let (file, stat) = open_any(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        other => Err(irregular(other)),
    }
}

/// Reads an open file of at most 1 MiB whole.
///
/// # Errors
///
/// What the system said, or that the file is larger.
pub(crate) fn read_bounded(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Reads a regular file of at most 1 MiB as text. `/dev/null` is an empty text: with a link to it a
/// file is masked.
///
/// # Errors
///
/// As [`open_regular`] and [`read_bounded`], and for what is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let (mut file, stat) = open_any(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::CharacterDevice if is_null(&stat) => return Ok(String::new()),
        other => return Err(irregular(other)),
    }
    String::from_utf8(read_bounded(&mut file)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn open_any(path: &Path) -> io::Result<(File, Stat)> {
    // A pipe without a writer would never open, and a terminal must not become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let descriptor = open(path, flags, Mode::empty())?;
    let stat = fstat(&descriptor)?;
    Ok((File::from(descriptor), stat))
}

/// Whether a character device is `/dev/null`, which has these numbers on every Linux (null(4)).
fn is_null(stat: &Stat) -> bool {
    (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}

fn irregular(kind: FileType) -> io::Error {
    let kind = match kind {
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "not a file with content",
    };
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}; it must be a regular file"))
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
}
