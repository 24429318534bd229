//! The files of the last collection, found again in the next one.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Instant;

use vitald_core::errno::InWords;
use vitald_core::exposition::{self, Exposition};
use vitald_core::host::Version;
use vitald_core::prelude::*;

/// Files in the order in which they are met, which is the same from collection to collection as long as
/// none comes or goes.
#[derive(Default)]
pub(super) struct Files {
    files: Vec<File>,
    /// How many were met in this collection.
    met: usize,
    /// From the first difference on, those that have not been met.
    others: Option<HashMap<Box<str>, File>>,
}

impl Files {
    /// Begins a collection.
    pub(super) fn begin(&mut self) {
        self.met = 0;
        // A collection that did not come to its end has left them.
        self.others = None;
    }

    /// Those that were met, at the end of a collection.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn get(&self, position: usize) -> Option<&File> {
        self.files.get(position)
    }

    /// The next file. There always is one: if it was not there in the last collection, it is made.
    pub(super) fn meet(&mut self, path: &str) -> Option<&mut File> {
        let at = self.met;
        self.met += 1;
        let is_same = self.files.get(at).is_some_and(|file| *file.path == *path);
        if !is_same {
            let files = &mut self.files;
            let others = self.others.get_or_insert_with(|| {
                files.drain(at..).map(|file| (file.path.clone(), file)).collect()
            });
            files.push(others.remove(path).unwrap_or_else(|| File::new(path)));
        }
        self.files.get_mut(at)
    }

    /// Forgets the files that were not met. Whether there are others than before, or in another order.
    pub(super) fn end(&mut self) -> bool {
        let has_changed = self.others.take().is_some() || self.files.len() > self.met;
        self.files.truncate(self.met);
        has_changed
    }
}

/// What a file costs beside what is in it, in bytes: its name, here and as a label, and its time.
const FILE_COST: usize = 512;

/// A file whose name says that it is to be read.
pub(super) struct File {
    /// As the host takes it, `file:` and the path that the label shows.
    pub(super) path: Box<str>,
    /// What it was just before it was read, and since when it has been that.
    pub(super) state: Option<(Version, Instant)>,
    /// It had been as it is for long enough when it was read, so it need not be read again.
    pub(super) is_settled: bool,
    /// Of the text, which is not kept; `None` if it was not read.
    pub(super) digest: Option<[u64; 2]>,
    pub(super) content: Content,
}

pub(super) enum Content {
    Read(Exposition),
    /// What the system says of it; what is no regular file is `InvalidInput`.
    Unreadable(io::Error),
    /// The text is not in the format, or costs more than a file may; with the number of the line.
    Refused(Malformed, usize),
    /// The file has more bytes than one may cost.
    TooLarge,
    /// There was no room for it; it costs so much.
    NoRoom(usize),
}

impl File {
    pub(super) fn new(path: &str) -> Self {
        File {
            path: path.into(),
            state: None,
            is_settled: false,
            digest: None,
            content: Content::TooLarge,
        }
    }

    /// Forgets what was read of it.
    pub(super) fn leave_out(&mut self, why: Content) {
        self.content = why;
        self.is_settled = false;
        self.digest = None;
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.content, Content::Read(_))
    }

    /// What it costs to keep it and show it.
    pub(super) fn cost(&self) -> usize {
        match &self.content {
            Content::Read(exposition) => {
                exposition.cost().saturating_add(FILE_COST + 4 * self.path.len())
            }
            _ => 0,
        }
    }

    /// Whether it was left out for want of room and there is room now.
    pub(super) fn may_come_in(&self, room: usize) -> bool {
        matches!(self.content, Content::NoRoom(cost) if cost <= room)
    }

    /// The path as the label shows it.
    pub(super) fn name(&self) -> &str {
        plain_name(&self.path)
    }
}

/// Reason nothing of a file is shown.
pub(super) struct Reason<'a> {
    pub(super) file: &'a File,
    pub(super) most: usize,
    pub(super) share: usize,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = Bytes(self.share);
        match &self.file.content {
            Content::Read(_) => Ok(()),
            Content::Unreadable(error) if error.kind() == io::ErrorKind::InvalidInput => {
                f.write_str("it is not a regular file")
            }
            Content::Unreadable(error) => InWords(error).fmt(f),
            Content::Refused(malformed, line) if exposition::is_too_much(malformed) => write!(
                f,
                "line {line}: what is before it takes {share}, and one file may take no more; raise \
                 max_memory, or split the file"
            ),
            Content::Refused(malformed, line) => {
                write!(f, "line {line}: expected {}", malformed.expected)
            }
            Content::TooLarge => write!(
                f,
                "it has more than {share}, three quarters of max_memory; make it smaller, or raise \
                 max_memory"
            ),
            Content::NoRoom(cost) => write!(
                f,
                "it would take {}, and the files before it leave less of max_memory ({}); raise it",
                Bytes(*cost),
                Bytes(self.most)
            ),
        }
    }
}

/// A number of bytes as people read it.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            small @ 0..10_240 => write!(f, "{small} bytes"),
            medium @ 10_240..10_485_760 => write!(f, "{} KiB", medium >> 10),
            large => write!(f, "{} MiB", large >> 20),
        }
    }
}

/// The path of a file without what tells the host that it is one.
fn plain_name(path: &str) -> &str {
    path.strip_prefix("file:").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_what_is_known_of_them_when_others_come_and_go() {
        let mut files = Files::default();
        let mut collect = |names: &str| {
            files.begin();
            let mut known = String::new();
            for name in names.chars() {
                let file = files.meet(&name.to_string()).unwrap();
                if file.digest.replace([0, 0]).is_some() {
                    known.push(name);
                }
            }
            let has_changed = files.end();
            let order: String = files.iter().map(|file| &*file.path).collect();
            assert_eq!(order, names);
            (known, has_changed)
        };
        let same = |known: &str| (known.to_owned(), false);
        let other = |known: &str| (known.to_owned(), true);
        assert_eq!(collect("bcd"), other(""));
        assert_eq!(collect("bcd"), same("bcd"));
        assert_eq!(collect("abcd"), other("bcd"));
        assert_eq!(collect("acx"), other("ac"));
        assert_eq!(collect("ac"), other("ac"));
        assert_eq!(collect("ca"), other("ca"));
        assert_eq!(collect("cac"), other("ca"));
        assert_eq!(collect("cac"), same("cac"));
        assert_eq!(collect(""), other(""));
        assert_eq!(collect(""), same(""));
    }
}
