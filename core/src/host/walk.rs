//! A walk over directories of one kind, such as those of a device class, with attributes that are
//! declared once.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Host;
#[cfg(doc)]
use super::Turns;
use super::extent::Extent;
use crate::batch::{Batch, Labels};
use crate::errno::{ENOENT, is_absent, is_forbidden, is_without_value};
use crate::error::{Error, Malformed, Result, is_absence};
use crate::family::Family;
use crate::source_name;
use crate::text;

pub mod attributes;
mod table;
mod tree;

use attributes::{Attribute, Attributes, Number, Text};
use table::Table;
use tree::{Directory, Level, Refresh, Rotation};

/// The children that match a pattern such as `sys/class/infiniband/*/ports/*`, and the attributes
/// `S` of each, which [`attributes!`](crate::attributes) declares.
///
/// [`Walk::refresh`] lists the directories anew, so that children which appeared or went are seen
/// at each collection, reads every attribute of every child, and gives them as a table; what
/// follows is pure. In the steady state nothing of this allocates.
///
/// * A child keeps its descriptors only while its name *and* its inode number are the same: the
///   descriptor of a renamed interface goes on answering under the old name. A descriptor that
///   says that its device has gone (ENODEV, ENOENT, ESRCH, EIO) means one reopen by path.
/// * Children are directories and links; regular files beside them are not, unless
///   [`Walk::files`] says so. Descriptors are kept on procfs and sysfs only.
/// * That a plain attribute is absent (ENOENT) is remembered in sysfs for the life of its child, since it
///   makes a device and its attributes together; an attribute in a directory below the child is
///   looked for each time, since those come with drivers and with CPUs that go on line. So is one elsewhere.
/// * A child that lacks an attribute which is not optional, or whose driver has no value for it now
///   (EINVAL, EIO, ENODATA, EOPNOTSUPP, EAGAIN, EBUSY, ETIMEDOUT), is left out this time; an
///   optional attribute is only absent then. Other errors are given to the reader of the
///   attribute.
/// * Slow attributes are read when their child appears or its inode changes, and then in turn
///   ([`Turns`]): each at least once in a minute of refreshes, and all of them where the last refresh
///   is as long ago. The first few of a walk keep their descriptors; those of thousands of children do not.
/// * Where something else tells that children may have come or gone, [`Walk::under`] saves listing.
pub struct Walk<S> {
    host: Host,
    /// The logical path of the first directory.
    first: Arc<str>,
    levels: Vec<Level>,
    directory: Directory,
    /// The next refresh reads slow attributes as the others.
    reads_all: bool,
    /// How its attributes are made.
    extent: Extent,
    table: Table,
    rotation: Rotation,
    /// The circumstances of the next refresh, and those under which the directories were listed.
    circumstances: Option<u64>,
    listed_under: Option<u64>,
    /// Whether children come only when the circumstances change, and those under which there was none;
    /// whether there was the directory then.
    is_of_devices: bool,
    bare_under: Option<(u64, bool)>,
    path: Vec<u8>,
    buffer: Vec<u8>,
    set: PhantomData<fn() -> S>,
}

impl Host {
    /// A walk over what matches a pattern: a logical path, at least the last component of which has
    /// a `*` in it, such as `sys/class/thermal/thermal_zone*` or `sys/class/nvme/nvme*/nvme*n*`. A
    /// `*` matches any bytes, also none. Nothing is opened until the first [`Walk::refresh`].
    ///
    /// # Panics
    ///
    /// If the last component of the pattern has no `*`.
    pub fn walk<S: Attributes>(&self, pattern: &str) -> Walk<S> {
        let levels = Level::of(pattern);
        Walk {
            host: self.clone(),
            first: levels[0].directory().into(),
            levels,
            directory: Directory::default(),
            reads_all: false,
            extent: Extent::Whole,
            table: Table::default(),
            rotation: Rotation::new(S::LIST.iter().any(|attribute| attribute.is_slow)),
            circumstances: None,
            listed_under: None,
            is_of_devices: false,
            bare_under: None,
            path: Vec::new(),
            buffer: Vec::new(),
            set: PhantomData,
        }
    }
}

impl<S: Attributes> Walk<S> {
    /// Takes only names for which this is true as children of a level, counted from 0 over the
    /// components that have a `*`. It is asked once for each child that appears.
    ///
    /// # Panics
    ///
    /// If the pattern has no such level.
    #[must_use]
    pub fn only(
        mut self,
        level: usize,
        takes: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.levels[level].only = Some(Box::new(takes));
        self
    }

    /// Takes regular files as children of the last level, too; the attribute with the path `""` is
    /// the file itself. For sensors (`sys/class/hwmon/*/*_input`) and for directories of files
    /// (`udev/b*`).
    #[must_use]
    pub fn files(mut self) -> Self {
        if let Some(last) = self.levels.last_mut() {
            last.takes_files = true;
        }
        self
    }

    /// Reads its attributes to their ends, for files of procfs that have many records (`seq_open`). One
    /// more system call each finds out that there is no more.
    #[must_use]
    pub fn records(mut self) -> Self {
        self.extent = Extent::Records;
        self
    }

    /// Has slow attributes read with their child and never again, for those that cannot change without it. Only
    /// faults are tried again.
    #[must_use]
    pub fn slow_once(mut self) -> Self {
        self.rotation.turns = None;
        self
    }

    /// Has each slow attribute read again within that many refreshes, too, however close together they are.
    /// Each refresh then reads that part of them, at the least.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    pub fn slow_within(mut self, refreshes: usize) -> Self {
        self.rotation.turns.get_or_insert_default().within(refreshes);
        self
    }

    /// Has the next refresh read the slow attributes of a child of the first level again, which is known to
    /// have changed. One that is not known yet is read at once, anyhow.
    pub fn read_again(&mut self, child: &[u8]) {
        self.directory.read_again(child);
    }

    /// Has the next refresh read the slow attributes of all children.
    pub fn read_all(&mut self) -> &mut Self {
        self.reads_all = true;
        self
    }

    /// Takes all attributes of those children of the last level as slow whose name this is true for. It is asked
    /// once for each child that appears. For directories of files some of which hardly ever change. One that cannot
    /// be read is tried again at each refresh.
    #[must_use]
    pub fn slow_children(
        mut self,
        is_slow: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        if let Some(last) = self.levels.last_mut() {
            last.slow = Some(Box::new(is_slow));
        }
        self.rotation.is_needed = true;
        self
    }

    /// Says under which circumstances the next refreshes run: a number that changes whenever a child
    /// may have come or gone or been replaced, such as how many events of devices there were. While
    /// it is the same, the directories are not listed again, unless there was no child or one lacked
    /// an attribute that it needs. Without a number, which is so at first, every refresh lists.
    pub fn under(&mut self, circumstances: Option<u64>) -> &mut Self {
        self.circumstances = circumstances;
        self
    }

    /// As [`Walk::under`], with the number of [`DeviceEvents`](super::DeviceEvents): while it is the same, a class
    /// without a device is not looked at again, either.
    pub fn under_events(&mut self, number: Option<u64>) -> &mut Self {
        self.is_of_devices = true;
        self.under(number)
    }

    /// Lists and reads, and gives the children in the order of the bytes of their names: `cpu10`
    /// before `cpu9`.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] if the first directory is not there; [`Error::Unreadable`] if one cannot be
    /// listed. There are no children then.
    pub fn refresh(&mut self) -> Result<Matches<'_, S>> {
        match self.load() {
            Ok(()) => Ok(self.children()),
            Err(error) => Err(self.unlisted(error)),
        }
    }

    /// As [`Walk::refresh`], with no children where the first directory is absent: no allocation
    /// is made then, so this is for classes that many hosts do not have.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    pub fn optional(&mut self) -> Result<Matches<'_, S>> {
        match self.load() {
            Err(error) if !is_absence(&error) => Err(self.unlisted(error)),
            _ => Ok(self.children()),
        }
    }

    /// The error for the directory that could not be listed, whose path is still there. The first one may
    /// be absent for long, which must cost no allocation.
    fn unlisted(&self, error: io::Error) -> Error {
        if *self.path == *self.first.as_bytes() {
            return Error::of_source(Arc::clone(&self.first), error);
        }
        Error::from_io(&String::from_utf8_lossy(&self.path), error)
    }

    /// The children of the last refresh.
    pub fn children(&self) -> Matches<'_, S> {
        Matches { walk: self, next: 0 }
    }

    fn load(&mut self) -> io::Result<()> {
        self.table.clear();
        self.path.clear();
        self.path.extend_from_slice(self.first.as_bytes());
        if let (Some(now), Some((under, is_there))) = (self.circumstances, self.bare_under)
            && now == under
        {
            return if is_there { Ok(()) } else { Err(io::Error::from_raw_os_error(ENOENT)) };
        }
        self.rotation.begin(&self.host);
        let is_steady = self.circumstances.is_some() && self.listed_under == self.circumstances;
        let mut refresh = Refresh {
            host: &self.host,
            extent: self.extent,
            attributes: S::LIST,
            table: &mut self.table,
            rotation: &mut self.rotation,
            path: &mut self.path,
            buffer: &mut self.buffer,
            is_steady,
            reads_all: std::mem::take(&mut self.reads_all),
            lacks_child: false,
        };
        let loaded = refresh.run(&mut self.levels, &mut self.directory);
        let is_complete = loaded.is_ok() && !refresh.lacks_child && refresh.table.rows() > 0;
        self.listed_under = self.circumstances.filter(|_| is_complete);
        let is_there = match &loaded {
            Ok(()) if refresh.table.rows() == 0 && !refresh.lacks_child => Some(true),
            Err(error) if is_absence(error) && *refresh.path == *self.first.as_bytes() => {
                Some(false)
            }
            _ => None,
        };
        self.bare_under = self.circumstances.filter(|_| self.is_of_devices).zip(is_there);
        if loaded.is_err() {
            self.table.clear();
        }
        loaded
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.directory.kept()
    }
}

/// The children that a walk found, one after another.
pub struct Matches<'w, S> {
    walk: &'w Walk<S>,
    next: usize,
}

impl<'w, S: Attributes> Matches<'w, S> {
    /// The child whose names are these, one for each level; the children of the walk are searched,
    /// which takes as many steps as their number has binary digits.
    pub fn find(&self, names: &[&[u8]]) -> Option<Child<'w, S>> {
        let walk = self.walk;
        let (mut low, mut high) = (0, walk.table.rows());
        while low < high {
            let row = low.midpoint(high);
            let child = Child { walk, row };
            let own = (0..walk.levels.len()).map(|level| child.name(level));
            match own.cmp(names.iter().copied()) {
                std::cmp::Ordering::Less => low = row + 1,
                std::cmp::Ordering::Greater => high = row,
                std::cmp::Ordering::Equal => return Some(child),
            }
        }
        None
    }
}

impl<'w, S: Attributes> Matches<'w, S> {
    /// As [`Matches::find`], for one that asks for the same child again and again: it looks first
    /// at the place where the child was the last time.
    pub fn find_again(&self, names: &[&[u8]], place: &mut usize) -> Option<Child<'w, S>> {
        let walk = self.walk;
        let levels = walk.levels.len();
        if *place < walk.table.rows() && names.len() == levels {
            let child = Child { walk, row: *place };
            if (0..levels).all(|level| child.name(level) == names[level]) {
                return Some(child);
            }
        }
        let found = self.find(names)?;
        *place = found.row;
        Some(found)
    }
}

impl<'w, S: Attributes> Iterator for Matches<'w, S> {
    type Item = Child<'w, S>;

    fn next(&mut self) -> Option<Child<'w, S>> {
        let row = self.next;
        if row >= self.walk.table.rows() {
            return None;
        }
        self.next += 1;
        Some(Child { walk: self.walk, row })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.walk.table.rows() - self.next;
        (left, Some(left))
    }
}

impl<S: Attributes> ExactSizeIterator for Matches<'_, S> {}
impl<S: Attributes> FusedIterator for Matches<'_, S> {}

/// One child: the names that matched, and its attributes as they were at the refresh.
pub struct Child<'w, S> {
    walk: &'w Walk<S>,
    row: usize,
}

impl<'w, S: Attributes> Child<'w, S> {
    /// The name that matched the pattern's component of that level, counted from 0 over the
    /// components that have a `*`.
    ///
    /// # Panics
    ///
    /// If the pattern has no such level.
    pub fn name(&self, level: usize) -> &'w [u8] {
        assert!(level < self.walk.levels.len(), "the pattern has no such level");
        // Names are always there, unless there are 4 GiB of them.
        self.cell(level).unwrap_or_default()
    }

    /// What the `*` of that level matched: `0` where `thermal_zone*` matched `thermal_zone0`. Of a
    /// component with several, all from the first to the last: `0n1` where `nvme*n*` matched `nvme0n1`.
    ///
    /// # Panics
    ///
    /// As [`Child::name`].
    pub fn star(&self, level: usize) -> &'w [u8] {
        self.walk.levels[level].star(self.name(level)).unwrap_or_default()
    }

    /// The inode number of the child's directory entry. Another one under the same name is another
    /// child.
    pub fn inode(&self) -> u64 {
        self.walk.table.inode(self.row)
    }

    /// A text attribute without white space around it; empty where an optional one is absent, has no
    /// value now, or may not be read by the daemon.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`]: EACCES and EPERM of an attribute that is not optional, and what else
    /// the system says.
    pub fn text(&self, attribute: &Attribute<S, Text>) -> Result<&'w [u8]> {
        let content = self.content(attribute.index())?;
        Ok(content.map_or(&[], attribute.format().0))
    }

    /// As [`Child::text`], with `None` where an optional one is absent, which is not the same as empty.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], such as EACCES of an attribute that is not optional.
    pub fn optional_text(&self, attribute: &Attribute<S, Text>) -> Result<Option<&'w [u8]>> {
        let content = self.content(attribute.index())?;
        Ok(content.map(attribute.format().0))
    }

    /// A number in the unit that was declared; `None` where an optional one is absent, has no value
    /// now, or may not be read by the daemon, and of any where the content is no such number,
    /// which the batch counts.
    ///
    /// # Errors
    ///
    /// As [`Child::text`].
    pub fn number(
        &self,
        attribute: &Attribute<S, Number>,
        batch: &mut Batch,
    ) -> Result<Option<f64>> {
        let content = self.content(attribute.index())?;
        Ok(content.and_then(|content| {
            self.tolerate(attribute, attribute.format().0(text::trim(content)), batch)
        }))
    }

    /// As [`Child::number`], with another number where an optional attribute is absent.
    ///
    /// # Errors
    ///
    /// As [`Child::number`].
    pub fn number_or(
        &self,
        attribute: &Attribute<S, Number>,
        otherwise: f64,
        batch: &mut Batch,
    ) -> Result<Option<f64>> {
        match self.content(attribute.index())? {
            None => Ok(Some(otherwise)),
            Some(content) => {
                let parsed = attribute.format().0(text::trim(content));
                Ok(self.tolerate(attribute, parsed, batch))
            }
        }
    }

    /// As [`Batch::tolerate`], for what a parser made of an attribute or of one of its lines: the fault names
    /// the file.
    pub fn tolerate<F, T>(
        &self,
        attribute: &Attribute<S, F>,
        parsed: Result<T, Malformed>,
        batch: &mut Batch,
    ) -> Option<T> {
        let path = S::LIST[attribute.index()].path;
        batch.tolerate_in(parsed, |source| self.write_path(path, source))
    }

    /// Whether an attribute is that number. One that is absent or cannot be read is not.
    pub fn is(&self, attribute: &Attribute<S, Number>, number: f64) -> bool {
        let content = self.content(attribute.index()).ok().flatten();
        content.is_some_and(|content| {
            attribute.format().0(text::trim(content)).is_ok_and(|own| own == number)
        })
    }

    /// Pushes a number; pushes nothing where [`Child::number`] is `None`.
    ///
    /// # Errors
    ///
    /// As [`Child::number`].
    pub fn push<const N: usize>(
        &self,
        batch: &mut Batch,
        family: &Family<N>,
        labels: Labels<N>,
        attribute: &Attribute<S, Number>,
    ) -> Result<()> {
        if let Some(number) = self.number(attribute, batch)? {
            batch.push(family, labels, number);
        }
        Ok(())
    }

    fn content(&self, attribute: usize) -> Result<Option<&'w [u8]>> {
        let info = &S::LIST[attribute];
        match self.cell(self.walk.levels.len() + attribute) {
            Ok(content) => Ok(Some(content)),
            Err(errno)
                if info.is_optional
                    && (is_absent(errno) || is_without_value(errno) || is_forbidden(errno)) =>
            {
                Ok(None)
            }
            Err(errno) => {
                let path = source_name::made_by(|path| self.write_path(info.path, path));
                Err(Error::of_source(path, io::Error::from_raw_os_error(errno)))
            }
        }
    }

    fn cell(&self, cell: usize) -> Result<&'w [u8], i32> {
        let width = self.walk.levels.len() + S::LIST.len();
        self.walk.table.content(self.row, width, cell)
    }

    /// A path for an error.
    fn write_path(&self, attribute: &str, path: &mut String) {
        for (level, parts) in self.walk.levels.iter().enumerate() {
            if level > 0 {
                path.push('/');
            }
            path.push_str(parts.directory());
            if !parts.directory().is_empty() {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(self.name(level)));
        }
        if !attribute.is_empty() {
            path.push('/');
            path.push_str(attribute);
        }
    }
}

impl<S> fmt::Debug for Walk<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("children", &self.table.rows()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
