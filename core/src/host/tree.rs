//! A directory whose children come and go, and attributes of each child.

use std::fmt;
use std::io;

use super::kept::{Extent, Kept, Purpose, fill, is_gone, is_keepable};
use super::listing::{Kind, Listing};
use super::{Host, Opened};
use crate::error::{Error, Malformed, Result, is_absence};

/// `ENOENT`, the same number on every Linux architecture.
const ENOENT: i32 = 2;

/// A directory such as `sys/class/net` or `sys/devices/system/cpu`, its children, and attributes
/// of each child.
///
/// [`KeptTree::refresh`] lists the directory anew, so children that appeared or went are seen at
/// each collection. A child keeps its descriptors only while its name *and* its inode number are
/// the same, because the descriptor of a renamed interface goes on answering, under the wrong
/// name. Children are directories and links; regular files beside them are left out.
///
/// An attribute is a small file that one read gets whole, as the attributes of sysfs are. That a
/// plain attribute is absent (ENOENT) is remembered for the life of its child, since sysfs makes a
/// device and its attributes together; an attribute in a directory below the child is looked for
/// each time, since those come with drivers and with CPUs that go on line. No other error is
/// remembered: `speed` of an interface that is down is EINVAL until it is up.
///
/// In the steady state neither `refresh` nor reading allocates.
pub struct KeptTree {
    host: Host,
    path: Box<str>,
    attributes: Vec<Box<str>>,
    only: Option<Box<dyn Fn(&[u8]) -> bool + Send + Sync>>,
    directory: Option<Kept>,
    listing: Listing,
    children: Vec<Child>,
    buffer: Vec<u8>,
    /// Where the paths of attributes are put together.
    joined: Vec<u8>,
}

struct Child {
    name: Box<[u8]>,
    inode: u64,
    /// One for each attribute, or fewer while the last ones were not read yet.
    slots: Vec<Slot>,
}

enum Slot {
    /// Not opened yet, or not kept.
    Closed,
    /// There is none, and there will not be.
    Absent,
    Open(Kept),
}

impl KeptTree {
    pub(super) fn new(host: Host, path: Box<str>, attributes: &[&str]) -> Self {
        KeptTree {
            host,
            path,
            attributes: attributes.iter().map(|&attribute| attribute.into()).collect(),
            only: None,
            directory: None,
            listing: Listing::new(),
            children: Vec::new(),
            buffer: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// Takes only entries of such names as children.
    #[must_use]
    pub fn only(mut self, takes: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Box::new(takes));
        self
    }

    /// The logical path of the directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Lists the directory anew.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`]; there are no children then.
    pub fn refresh(&mut self) -> Result<()> {
        match self.try_refresh() {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::from_io(&self.path, error)),
        }
    }

    /// As [`KeptTree::refresh`], with the system's own error, for which no allocation is made.
    ///
    /// # Errors
    ///
    /// What open(2) and getdents(2) say.
    pub fn try_refresh(&mut self) -> io::Result<()> {
        let listed = self.list_directory();
        if listed.is_err() {
            self.directory = None;
            self.children.clear();
        } else {
            self.match_children();
        }
        listed
    }

    /// How many children there were at the last refresh.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The name of a child. Children are sorted by the bytes of their names: `cpu10` before `cpu9`.
    ///
    /// # Panics
    ///
    /// As an index does, at [`KeptTree::len`] and beyond.
    pub fn name(&self, child: usize) -> &[u8] {
        &self.children[child].name
    }

    /// The number of an attribute by its path below a child, which is added if it is new: for
    /// attributes whose names are known only after listing a child.
    pub fn attribute(&mut self, path: &str) -> usize {
        let known = self.attributes.iter().position(|attribute| &**attribute == path);
        known.unwrap_or_else(|| {
            self.attributes.push(path.into());
            self.attributes.len() - 1
        })
    }

    /// The content of a child's attribute as it is now; `attribute` counts the attributes that
    /// [`Host::keep_tree`] was given.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    ///
    /// # Panics
    ///
    /// As an index does, for a child or an attribute that is none.
    pub fn read(&mut self, child: usize, attribute: usize) -> Result<&[u8]> {
        match self.load(child, attribute) {
            Ok(()) => Ok(&self.buffer),
            Err(error) => Err(Error::from_io(&self.attribute_path(child, attribute), error)),
        }
    }

    /// As [`KeptTree::read`], with `None` for an absent attribute: no allocation is made then, so
    /// this is for attributes that not every child has.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    ///
    /// # Panics
    ///
    /// As [`KeptTree::read`].
    pub fn optional(&mut self, child: usize, attribute: usize) -> Result<Option<&[u8]>> {
        match self.load(child, attribute) {
            Ok(()) => Ok(Some(&self.buffer)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Error::from_io(&self.attribute_path(child, attribute), error)),
        }
    }

    /// As [`KeptTree::read`], with the system's own error, for which no allocation is made.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say.
    ///
    /// # Panics
    ///
    /// As [`KeptTree::read`].
    pub fn try_read(&mut self, child: usize, attribute: usize) -> io::Result<&[u8]> {
        self.load(child, attribute)?;
        Ok(&self.buffer)
    }

    /// Reads an attribute and parses it; a complaint of the parser gets the attribute's path.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::Unreadable`] and [`Error::Malformed`].
    ///
    /// # Panics
    ///
    /// As [`KeptTree::read`].
    pub fn parse<T>(
        &mut self,
        child: usize,
        attribute: usize,
        parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        let parsed = parse(self.read(child, attribute)?);
        parsed.map_err(|malformed| malformed.in_file(&self.attribute_path(child, attribute)))
    }

    /// Lists a child, or a directory below it; an empty `below` is the child itself.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`]; the listing is empty then.
    ///
    /// # Panics
    ///
    /// As [`KeptTree::name`].
    pub fn list(&mut self, child: usize, below: &str, listing: &mut Listing) -> Result<()> {
        listing.clear();
        let host = &self.host;
        let name = &self.children[child].name;
        self.joined.clear();
        let opened = match &self.directory {
            Some(directory) => {
                join(&mut self.joined, &[name, below.as_bytes()]);
                host.open_in(&directory.handle, &self.joined, Opened::Directory)
            }
            None => {
                join(&mut self.joined, &[self.path.as_bytes(), name, below.as_bytes()]);
                host.open(&self.joined, Opened::Directory)
            }
        };
        match opened.and_then(|handle| host.list_opened(&handle, listing)) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::from_io(&self.path_below(child, below), error)),
        }
    }

    /// The target of a symbolic link below a child, as it is written in the link; an empty `below`
    /// is the child itself.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`], also for what is no link.
    ///
    /// # Panics
    ///
    /// As [`KeptTree::name`].
    pub fn read_link<'b>(
        &mut self,
        child: usize,
        below: &str,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8]> {
        let name = &self.children[child].name;
        self.joined.clear();
        join(&mut self.joined, &[self.path.as_bytes(), name, below.as_bytes()]);
        match self.host.link_target(&self.joined, buffer) {
            Ok(()) => Ok(buffer),
            Err(error) => Err(Error::from_io(&self.path_below(child, below), error)),
        }
    }

    fn list_directory(&mut self) -> io::Result<()> {
        if let Some(directory) = &self.directory {
            // A directory of sysfs that was removed lists as an empty one for ever, and one of the
            // same name may be there by now: only entries prove that the kept one is alive.
            match self.host.list_opened(&directory.handle, &mut self.listing) {
                Ok(()) if !self.listing.is_empty() => return Ok(()),
                Err(error) if !is_gone(&error) => return Err(error),
                _ => self.directory = None,
            }
        }
        let handle = self.host.open(self.path.as_bytes(), Opened::Directory)?;
        self.host.list_opened(&handle, &mut self.listing)?;
        if is_keepable(self.path.as_bytes()) {
            self.directory = Kept::keep(&self.host, handle, Purpose::Directory).ok();
        }
        Ok(())
    }

    /// Makes the children those of the listing; the same ones keep what they have.
    fn match_children(&mut self) {
        let listed = || {
            self.listing.iter().filter(|entry| {
                entry.kind != Kind::File && self.only.as_ref().is_none_or(|only| only(entry.name))
            })
        };
        let is_same = |child: &Child, entry: &super::Entry<'_>| {
            *child.name == *entry.name && child.inode == entry.inode
        };
        let mut entries = listed();
        let mut same = 0;
        while same < self.children.len()
            && entries.next().is_some_and(|entry| is_same(&self.children[same], &entry))
        {
            same += 1;
        }
        if same == self.children.len() && entries.next().is_none() {
            return;
        }
        let mut before = self.children.drain(..).peekable();
        let mut after = Vec::new();
        for entry in listed() {
            // Both are sorted by name, so what is left behind here has gone.
            while before.next_if(|child| *child.name < *entry.name).is_some() {}
            after.push(before.next_if(|child| is_same(child, &entry)).unwrap_or_else(|| Child {
                name: entry.name.into(),
                inode: entry.inode,
                slots: Vec::new(),
            }));
        }
        drop(before);
        self.children = after;
    }

    fn load(&mut self, child: usize, attribute: usize) -> io::Result<()> {
        let host = &self.host;
        let child = &mut self.children[child];
        let attribute_path = &self.attributes[attribute];
        if child.slots.len() <= attribute {
            child.slots.resize_with(self.attributes.len(), || Slot::Closed);
        }
        let slot = &mut child.slots[attribute];
        match slot {
            Slot::Absent => return Err(io::Error::from_raw_os_error(ENOENT)),
            Slot::Open(kept) => match fill(host, &kept.handle, Extent::Whole, &mut self.buffer) {
                Err(error) if is_gone(&error) => *slot = Slot::Closed,
                outcome => return outcome,
            },
            Slot::Closed => {}
        }
        self.joined.clear();
        let opened = match &self.directory {
            Some(directory) => {
                join(&mut self.joined, &[&child.name, attribute_path.as_bytes()]);
                host.open_in(&directory.handle, &self.joined, Opened::File)
            }
            None => {
                let parts = [self.path.as_bytes(), &child.name, attribute_path.as_bytes()];
                join(&mut self.joined, &parts);
                host.open(&self.joined, Opened::File)
            }
        };
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                // Below a directory that cannot be kept, which is somebody's own file system, a
                // file may appear at any time. That of a child which has gone itself is absent
                // until the next refresh finds the child gone, so remembering does no harm.
                let lasts = self.directory.is_some() && !attribute_path.contains('/');
                if lasts && error.raw_os_error() == Some(ENOENT) {
                    *slot = Slot::Absent;
                }
                return Err(error);
            }
        };
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(512);
        }
        let outcome = fill(host, &handle, Extent::Whole, &mut self.buffer);
        if self.directory.is_some()
            && !outcome.as_ref().is_err_and(is_gone)
            && let Ok(kept) = Kept::keep(host, handle, Purpose::Attribute)
        {
            *slot = Slot::Open(kept);
        }
        outcome
    }

    #[cfg(test)]
    pub(super) fn children_are_kept(&self) -> bool {
        let mut slots = self.children.iter().flat_map(|child| &child.slots);
        self.directory.is_some() && slots.any(|slot| matches!(slot, Slot::Open(_)))
    }

    fn attribute_path(&self, child: usize, attribute: usize) -> String {
        self.path_below(child, &self.attributes[attribute])
    }

    /// A path for an error.
    fn path_below(&self, child: usize, below: &str) -> String {
        let name = String::from_utf8_lossy(&self.children[child].name);
        let slash = if below.is_empty() { "" } else { "/" };
        format!("{}/{name}{slash}{below}", self.path)
    }
}

/// Appends the parts with slashes between; an empty last part is left out.
fn join(path: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
}

impl fmt::Debug for KeptTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptTree")
            .field("path", &self.path)
            .field("attributes", &self.attributes)
            .field("children", &self.children.len())
            .finish_non_exhaustive()
    }
}
