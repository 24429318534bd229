//! The entries of one directory, in memory that is used again.

/// What a directory entry is, as far as the directory itself says (`d_type` of getdents(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, whatever it leads to.
    Link,
    /// Something else, or a file system that does not say.
    Unknown,
}

/// What is known of an opened directory that is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// It was not listed before.
    New,
    /// It may have been.
    Again,
}

/// One directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, never `.` or `..` and never with a slash in it.
    pub name: &'a [u8],
    /// The inode number of the entry itself; of the link, not of what it leads to.
    pub inode: u64,
    /// What the entry is.
    pub kind: Kind,
}

/// The entries of one directory, sorted by the bytes of their names.
///
/// One value is filled again and again and allocates only when a directory outgrows all before it.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Stored>,
}

/// An entry whose name is in the bytes of all names.
#[derive(Clone, Copy, Debug)]
struct Stored {
    start: usize,
    end: usize,
    inode: u64,
    kind: Kind,
}

impl Listing {
    /// An empty listing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the directory was empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.entries.iter().map(|stored| Entry {
            name: &self.names[stored.start..stored.end],
            inode: stored.inode,
            kind: stored.kind,
        })
    }

    /// The entry of that name.
    pub fn find(&self, name: &[u8]) -> Option<Entry<'_>> {
        let found = self
            .entries
            .binary_search_by(|stored| self.names[stored.start..stored.end].cmp(name))
            .ok()?;
        self.iter().nth(found)
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
    }

    pub(super) fn push(&mut self, name: &[u8], inode: u64, kind: Kind) {
        if name == b"." || name == b".." {
            return;
        }
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(Stored { start, end: self.names.len(), inode, kind });
    }

    pub(super) fn sort(&mut self) {
        let names = &self.names;
        self.entries.sort_unstable_by(|a, b| names[a.start..a.end].cmp(&names[b.start..b.end]));
    }
}
