//! What a walk keeps: the directories of each level, their children, and the descriptors.

use std::io;

use super::attributes::AttributeInfo;
use super::table::Table;
use crate::errno::{ENOENT, is_absent};
use crate::error::is_absence;
use crate::host::extent::Extent;
use crate::host::kept::{Kept, Purpose, fill, is_gone, is_keepable};
use crate::host::listing::{Kind, Listed, Listing};
use crate::host::opened::Opened;
use crate::host::{Handle, Host, Turns};

/// One component of a pattern that matches names, and what is before it.
pub(super) struct Level {
    /// The components without `*` between the level above and this one.
    directory: Box<str>,
    /// What is before the first `*`.
    prefix: Box<str>,
    /// What is between one `*` and the next.
    middle: Box<[Box<str>]>,
    /// What is after the last `*`.
    suffix: Box<str>,
    /// Whether regular files are children.
    pub(super) takes_files: bool,
    pub(super) only: Option<Box<dyn Fn(&[u8]) -> bool + Send + Sync>>,
    /// Whether all attributes of a child are slow.
    pub(super) slow: Option<Box<dyn Fn(&[u8]) -> bool + Send + Sync>>,
    listing: Listing,
}

impl Level {
    /// The levels of a pattern such as `sys/class/infiniband/*/ports/*`.
    pub(super) fn of(pattern: &str) -> Vec<Level> {
        let mut levels = Vec::new();
        let mut directory = String::new();
        for component in pattern.split('/') {
            let mut parts = component.split('*').map(Box::from);
            let (Some(prefix), Some(suffix)) = (parts.next(), parts.next_back()) else {
                let slash = if directory.is_empty() { "" } else { "/" };
                directory = format!("{directory}{slash}{component}");
                continue;
            };
            levels.push(Level {
                directory: std::mem::take(&mut directory).into(),
                prefix,
                middle: parts.collect(),
                suffix,
                takes_files: false,
                only: None,
                slow: None,
                listing: Listing::new(),
            });
        }
        assert!(
            !levels.is_empty() && directory.is_empty(),
            "a walk's pattern ends with a component that has a * in it: {pattern}"
        );
        levels
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// What is between the beginning and the end of the pattern in a name that has both.
    pub(super) fn star<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        name.strip_prefix(self.prefix.as_bytes())?.strip_suffix(self.suffix.as_bytes())
    }

    fn matches(&self, name: &[u8]) -> bool {
        let Some(mut rest) = self.star(name) else { return false };
        // Taking each part where it first occurs leaves most for those that follow.
        self.middle.iter().all(|part| {
            let found = (0..=rest.len()).find(|at| rest[*at..].starts_with(part.as_bytes()));
            found.inspect(|at| rest = &rest[at + part.len()..]).is_some()
        })
    }

    fn takes(&self, name: &[u8], kind: Kind) -> bool {
        (self.takes_files || kind != Kind::File)
            && self.matches(name)
            && self.only.as_ref().is_none_or(|only| only(name))
    }
}

/// A directory and its children.
#[derive(Default)]
pub(super) struct Directory {
    kept: Option<Kept>,
    children: Vec<Child>,
    is_listed: bool,
}

struct Child {
    name: Box<[u8]>,
    inode: u64,
    /// Decided once, when the child appears.
    is_taken: bool,
    /// All of its attributes are slow. Decided likewise.
    is_slow: bool,
    /// Its directory of the next level.
    below: Directory,
    /// One for each attribute, on the last level and once it was read.
    slots: Vec<Slot>,
    /// Its slow attributes are read again at the next refresh.
    is_due: bool,
    /// The number of its first attribute among the walk's turns, given with the slots.
    number: u32,
}

enum Slot {
    /// Not opened yet, or not kept.
    Closed,
    /// There is no such attribute, and there will not be.
    Absent,
    Open(Kept),
    /// The content of a slow attribute, or why there is none.
    Slow {
        content: Result<Box<[u8]>, i32>,
        kept: Option<Kept>,
    },
}

impl Slot {
    #[cfg(test)]
    fn is_open(&self) -> bool {
        matches!(self, Slot::Open(_) | Slot::Slow { kept: Some(_), .. })
    }
}

/// How many slow attributes of a walk keep a descriptor. Opening costs several times what reading
/// does, which shows on a host of a few disks; thousands of descriptors would cost memory instead.
const SLOW_KEPT: usize = 96;

/// Which slow attributes are read this time, of all children.
pub(super) struct Rotation {
    /// There are slow attributes. Without any no clock is looked at.
    pub(super) is_needed: bool,
    /// None: they are only read with their child.
    pub(super) turns: Option<Turns>,
    /// How many attributes have got a number.
    numbers: u32,
    /// How many slow ones were passed at this refresh.
    passed: usize,
}

/// What is done with one slow attribute at a refresh.
struct Turn {
    /// Whether it is read again.
    is_due: bool,
    /// Whether it keeps its descriptor when it is read.
    keeps: bool,
}

impl Rotation {
    pub(super) fn new(is_needed: bool) -> Self {
        Rotation { is_needed, turns: Some(Turns::new()), numbers: 0, passed: 0 }
    }

    /// Begins a refresh.
    pub(super) fn begin(&mut self, host: &Host) {
        self.passed = 0;
        if let Some(turns) = self.turns.as_mut().filter(|_| self.is_needed) {
            turns.begin(host);
        }
    }

    /// Gives numbers to so many attributes, and says the first.
    fn take_numbers(&mut self, count: usize) -> u32 {
        let first = self.numbers;
        self.numbers = first.wrapping_add(count as u32);
        first
    }

    /// The turn of an attribute.
    fn turn(&mut self, number: u32) -> Turn {
        let place = self.passed;
        self.passed += 1;
        Turn {
            is_due: self.turns.as_ref().is_some_and(|turns| turns.is_due(number)),
            keeps: self.turns.is_some() && place < SLOW_KEPT,
        }
    }
}

/// What one refresh works with.
pub(super) struct Refresh<'w> {
    pub(super) host: &'w Host,
    pub(super) extent: Extent,
    pub(super) attributes: &'static [AttributeInfo],
    pub(super) table: &'w mut Table,
    pub(super) rotation: &'w mut Rotation,
    /// The logical path of where the refresh is.
    pub(super) path: &'w mut Vec<u8>,
    /// Where an attribute is read to.
    pub(super) buffer: &'w mut Vec<u8>,
    /// Directories that were listed before are not listed again.
    pub(super) is_steady: bool,
    /// Slow attributes are read as the others are.
    pub(super) reads_all: bool,
    /// A child was left out, or a directory below one, so that the next refresh should list.
    pub(super) lacks_child: bool,
}

/// An opened directory, and the length of its path.
#[derive(Clone, Copy)]
struct Parent<'d> {
    handle: &'d Handle,
    length: usize,
}

impl Refresh<'_> {
    /// Lists the walk's first directory, whose path is set, and all below, and reads.
    pub(super) fn run(
        &mut self,
        levels: &mut [Level],
        directory: &mut Directory,
    ) -> io::Result<()> {
        self.directory(levels, directory, None)
    }

    /// Brings a directory up to date and goes through its children.
    fn directory(
        &mut self,
        levels: &mut [Level],
        directory: &mut Directory,
        parent: Option<Parent<'_>>,
    ) -> io::Result<()> {
        let Some((level, deeper)) = levels.split_first_mut() else { return Ok(()) };
        if !(self.is_steady && directory.is_listed) {
            if let Err(error) = self.list(&mut level.listing, &mut directory.kept, parent) {
                *directory = Directory::default();
                return Err(error);
            }
            directory.match_children(level);
            directory.is_listed = true;
        }
        let length = self.path.len();
        let own = directory.kept.as_ref().map(|kept| Parent { handle: &kept.handle, length });
        for child in directory.children.iter_mut().filter(|child| child.is_taken) {
            self.path.push(b'/');
            self.path.extend_from_slice(&child.name);
            let mark = self.table.name(&child.name);
            let outcome = match deeper.first() {
                None => {
                    self.attributes(child, own);
                    Ok(())
                }
                Some(next) => {
                    if !next.directory.is_empty() {
                        self.path.push(b'/');
                        self.path.extend_from_slice(next.directory.as_bytes());
                    }
                    self.directory(deeper, &mut child.below, own)
                }
            };
            match outcome {
                // The child has no such directory, or has gone since it was listed.
                Err(error) if is_absence(&error) || is_gone(&error) => self.lacks_child = true,
                // The path stays that of the directory, for the error's text.
                outcome => outcome?,
            }
            self.table.leave(mark);
            self.path.truncate(length);
        }
        Ok(())
    }

    fn list(
        &mut self,
        listing: &mut Listing,
        kept: &mut Option<Kept>,
        parent: Option<Parent<'_>>,
    ) -> io::Result<()> {
        if let Some(open) = kept {
            // A directory of sysfs that was removed lists as an empty one for ever, and one of the
            // same name may be there by now: only entries prove that the kept one is alive.
            match self.host.list_opened(&open.handle, Listed::Again, listing) {
                Ok(()) if !listing.is_empty() => return Ok(()),
                Err(error) if !is_gone(&error) => return Err(error),
                _ => *kept = None,
            }
        }
        let handle = self.open(parent, Opened::Directory)?;
        self.host.list_opened(&handle, Listed::New, listing)?;
        // One that is empty would be opened again all the same.
        if !listing.is_empty() && is_keepable(self.path) {
            *kept = Kept::keep(self.host, handle, Purpose::Directory).ok();
        }
        Ok(())
    }

    /// Opens what the path leads to, relative to an opened directory above it if there is one.
    fn open(&self, parent: Option<Parent<'_>>, opened: Opened) -> io::Result<Handle> {
        match parent {
            Some(Parent { handle, length }) => {
                let below = self.path.get(length + 1..).unwrap_or_default();
                self.host.open_in(handle, below, opened)
            }
            None => self.host.open(self.path, opened),
        }
    }

    /// Reads the attributes of a child into the table's next row.
    fn attributes(&mut self, child: &mut Child, parent: Option<Parent<'_>>) {
        if child.slots.len() < self.attributes.len() {
            child.slots.resize_with(self.attributes.len(), || Slot::Closed);
            child.number = self.rotation.take_numbers(self.attributes.len());
        }
        let length = self.path.len();
        let mut is_whole = true;
        let again = std::mem::take(&mut child.is_due) || self.reads_all;
        // What the child itself says, if it is a file: that is in the buffer as long as nothing else is read.
        let mut own: Option<Result<(), i32>> = None;
        self.table.begin_row();
        for ((attribute, slot), number) in
            self.attributes.iter().zip(&mut child.slots).zip(child.number..)
        {
            if !attribute.path.is_empty() {
                self.path.push(b'/');
                self.path.extend_from_slice(attribute.path.as_bytes());
            }
            let read = match own.take().filter(|_| attribute.path.is_empty()) {
                Some(read) => read,
                None if attribute.is_slow || child.is_slow => {
                    // Also one that is read anyhow is counted, so that those behind it keep their descriptors.
                    let mut turn = self.rotation.turn(number);
                    turn.is_due |= again;
                    turn.keeps |= self.reads_all;
                    self.slow_attribute(attribute, child.is_slow, slot, parent, &turn)
                }
                None => self.read(attribute, slot, parent, true).map_err(errno_of),
            };
            if attribute.path.is_empty() {
                own = Some(read);
            }
            self.path.truncate(length);
            match read {
                Ok(()) => self.table.cell(Ok(self.buffer)),
                Err(errno) => {
                    is_whole &= attribute.is_optional || !leaves_out(errno);
                    self.table.cell(Err(errno));
                }
            }
        }
        if is_whole {
            self.table.end_row(child.inode);
        } else {
            self.table.drop_row();
            self.lacks_child = true;
        }
    }

    /// Brings the content of a slow attribute into the buffer.
    fn slow_attribute(
        &mut self,
        attribute: &AttributeInfo,
        is_slow_child: bool,
        slot: &mut Slot,
        parent: Option<Parent<'_>>,
        turn: &Turn,
    ) -> Result<(), i32> {
        let mut opened = Slot::Closed;
        match slot {
            Slot::Absent => return Err(ENOENT),
            // Where nothing is read in rotation, a fault would stay for ever; a device that slept has its
            // values back at once.
            Slot::Slow { content, .. }
                if !turn.is_due
                    && (content.is_ok() || (self.rotation.turns.is_some() && !is_slow_child)) =>
            {
                return content.as_ref().map_err(|errno| *errno).map(|content| {
                    self.buffer.clear();
                    self.buffer.extend_from_slice(content);
                });
            }
            Slot::Slow { kept, .. } => opened = kept.take().map_or(Slot::Closed, Slot::Open),
            _ => {}
        }
        let read = self.read(attribute, &mut opened, parent, turn.keeps).map_err(errno_of);
        let kept = match opened {
            Slot::Absent => {
                *slot = Slot::Absent;
                return read;
            }
            Slot::Open(kept) => Some(kept).filter(|_| turn.keeps),
            _ => None,
        };
        match slot {
            // The usual case allocates nothing: the value is what it was.
            Slot::Slow { content: Ok(known), kept: place }
                if read.is_ok() && **known == **self.buffer =>
            {
                *place = kept;
            }
            slot => {
                let content = read.map(|()| self.buffer.as_slice().into());
                *slot = Slot::Slow { content, kept };
            }
        }
        read
    }

    fn read(
        &mut self,
        attribute: &AttributeInfo,
        slot: &mut Slot,
        parent: Option<Parent<'_>>,
        keeps: bool,
    ) -> io::Result<()> {
        match slot {
            Slot::Absent => return Err(io::Error::from_raw_os_error(ENOENT)),
            Slot::Open(kept) => {
                match fill(self.host, &kept.handle, self.path, self.extent, self.buffer) {
                    Err(error) if is_gone(&error) => *slot = Slot::Closed,
                    outcome => return outcome,
                }
            }
            Slot::Closed | Slot::Slow { .. } => {}
        }
        let handle = match self.open(parent, Opened::File) {
            Ok(handle) => handle,
            Err(error) => {
                // Elsewhere than in sysfs a file may appear at any time: ZFS makes those of a pool one after
                // another. That of a child which has gone itself is absent until the next refresh finds the child
                // gone, so remembering does no harm.
                let lasts = parent.is_some()
                    && self.path.starts_with(b"sys/")
                    && !attribute.path.contains('/');
                if lasts && error.raw_os_error() == Some(ENOENT) {
                    *slot = Slot::Absent;
                }
                return Err(error);
            }
        };
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(512);
        }
        let outcome = fill(self.host, &handle, self.path, self.extent, self.buffer);
        if parent.is_some()
            && keeps
            && !outcome.as_ref().is_err_and(is_gone)
            && let Ok(kept) = Kept::keep(self.host, handle, Purpose::Attribute)
        {
            *slot = Slot::Open(kept);
        }
        outcome
    }
}

fn errno_of(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(crate::errno::EIO)
}

impl Directory {
    /// Makes the children those of the listing; the same ones keep what they have.
    fn match_children(&mut self, level: &Level) {
        let listing = &level.listing;
        let is_same = |child: &Child, entry: &crate::host::Entry<'_>| {
            *child.name == *entry.name && child.inode == entry.inode
        };
        let mut entries = listing.iter();
        if self.children.len() == listing.len()
            && self.children.iter().zip(&mut entries).all(|(child, entry)| is_same(child, &entry))
        {
            return;
        }
        let mut before = std::mem::take(&mut self.children).into_iter().peekable();
        self.children.reserve_exact(listing.len());
        for entry in listing.iter() {
            // Both are sorted by name, so what is left behind here has gone.
            while before.next_if(|child| *child.name < *entry.name).is_some() {}
            let known = before.next_if(|child| is_same(child, &entry));
            self.children.push(known.unwrap_or_else(|| Child {
                name: entry.name.into(),
                inode: entry.inode,
                is_taken: level.takes(entry.name, entry.kind),
                is_slow: level.slow.as_ref().is_some_and(|is_slow| is_slow(entry.name)),
                below: Directory::default(),
                slots: Vec::new(),
                is_due: false,
                number: 0,
            }));
        }
    }

    /// Has the slow attributes of a child read again, if there is one of that name.
    pub(super) fn read_again(&mut self, name: &[u8]) {
        if let Ok(at) = self.children.binary_search_by(|child| (*child.name).cmp(name)) {
            self.children[at].is_due = true;
        }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let of_child = |child: &Child| {
            child.below.kept() + child.slots.iter().filter(|slot| slot.is_open()).count()
        };
        usize::from(self.kept.is_some()) + self.children.iter().map(of_child).sum::<usize>()
    }
}

/// Whether a child that answers this for an attribute it needs is left out.
fn leaves_out(errno: i32) -> bool {
    is_absent(errno) || crate::errno::is_without_value(errno)
}
