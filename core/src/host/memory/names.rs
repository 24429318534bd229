//! The names of a host in memory: a tree as in a file system, with links.

use std::collections::BTreeMap;
use std::io;

use super::super::listing::Kind;
use super::super::path::refuse_parent;
use crate::errno::{EINVAL, ELOOP, ENODEV, ENOENT, ENOTDIR};

/// How many links the kernel follows in one path (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// What a name means; never used twice.
pub(in crate::host) type Inode = u64;

/// What holds the directories `proc`, `sys` and so on.
const TOP: Inode = 0;

/// A file, a directory or a link.
pub(super) struct Node {
    name: Box<[u8]>,
    parent: Inode,
    pub(super) content: Content,
    /// What reads and listings fail with.
    pub(super) failure: Option<i32>,
    /// What opening fails with.
    pub(super) open_failure: Option<i32>,
    /// Seconds since the epoch.
    pub(super) modified: f64,
    /// The same, of anything of it.
    pub(super) changed: f64,
    pub(super) mount: u64,
    /// Whether a change is announced that was not asked for yet; `None` where none ever is.
    pub(super) announced: Option<bool>,
}

pub(super) enum Content {
    File(Vec<u8>),
    Directory(BTreeMap<Box<[u8]>, Inode>),
    Link(Vec<u8>),
}

impl Content {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Content::File(_) => Kind::File,
            Content::Directory(_) => Kind::Directory,
            Content::Link(_) => Kind::Link,
        }
    }
}

/// Every node by its inode, and the names that lead to it.
pub(super) struct Names {
    /// What was removed is `None`, so that a handle on it is known.
    nodes: Vec<Option<Node>>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut names = Names { nodes: Vec::new() };
        names.add(TOP, b"", Content::Directory(BTreeMap::new()), 0.0);
        names
    }

    /// The node of an inode; ENODEV if it was removed.
    pub(super) fn node(&self, inode: Inode) -> io::Result<&Node> {
        self.slot(inode).ok_or_else(|| errno(ENODEV))
    }

    pub(super) fn node_mut(&mut self, inode: Inode) -> &mut Node {
        let slot = usize::try_from(inode).ok().and_then(|at| self.nodes.get_mut(at));
        slot.and_then(Option::as_mut).expect("a name has a node")
    }

    fn slot(&self, inode: Inode) -> Option<&Node> {
        self.nodes.get(usize::try_from(inode).ok()?)?.as_ref()
    }

    fn children(&self, inode: Inode) -> Option<&BTreeMap<Box<[u8]>, Inode>> {
        match &self.slot(inode)?.content {
            Content::Directory(children) => Some(children),
            _ => None,
        }
    }

    fn children_mut(&mut self, inode: Inode) -> Option<&mut BTreeMap<Box<[u8]>, Inode>> {
        match &mut self.node_mut(inode).content {
            Content::Directory(children) => Some(children),
            _ => None,
        }
    }

    /// What has that name; no link is followed.
    pub(super) fn find(&self, path: &[u8]) -> Option<Inode> {
        components(path).try_fold(TOP, |at, name| self.children(at)?.get(name).copied())
    }

    /// What has that name, made if nothing has.
    pub(super) fn make(
        &mut self,
        path: &[u8],
        now: f64,
        content: impl FnOnce() -> Content,
    ) -> Inode {
        let (parent, name) = self.make_parents(path, now);
        match self.children(parent).and_then(|children| children.get(name)) {
            Some(&known) => known,
            None => self.add(parent, name, content(), now),
        }
    }

    /// The directory of that path, made where it is not there, and the last component.
    fn make_parents<'p>(&mut self, path: &'p [u8], now: f64) -> (Inode, &'p [u8]) {
        let mut at = TOP;
        let mut rest = components(path).peekable();
        while let Some(name) = rest.next() {
            if rest.peek().is_none() {
                return (at, name);
            }
            let shown = path.escape_ascii();
            let children = self.children(at).unwrap_or_else(|| panic!("{shown}: not a directory"));
            at = match children.get(name) {
                Some(&known) => known,
                None => self.add(at, name, Content::Directory(BTreeMap::new()), now),
            };
            assert!(
                self.children(at).is_some(),
                "{shown}: above is something that is no directory"
            );
        }
        panic!("a path without a name");
    }

    fn add(&mut self, parent: Inode, name: &[u8], content: Content, modified: f64) -> Inode {
        let inode = self.nodes.len() as Inode;
        self.nodes.push(Some(Node {
            name: name.into(),
            parent,
            content,
            failure: None,
            open_failure: None,
            modified,
            changed: modified,
            mount: 0,
            announced: None,
        }));
        if inode != TOP
            && let Some(children) = self.children_mut(parent)
        {
            children.insert(name.into(), inode);
        }
        inode
    }

    /// Removes what has that name with all that is in it; says whether there was anything.
    pub(super) fn remove(&mut self, path: &[u8]) -> bool {
        let Some(inode) = self.find(path) else { return false };
        self.detach(inode);
        let mut gone = vec![inode];
        while let Some(inode) = gone.pop() {
            gone.extend(self.children(inode).into_iter().flat_map(BTreeMap::values));
            if let Some(slot) = usize::try_from(inode).ok().and_then(|at| self.nodes.get_mut(at)) {
                *slot = None;
            }
        }
        true
    }

    /// Takes the name of a file away, which stays for those who have it open; says whether there was one.
    pub(super) fn detach_file(&mut self, path: &[u8]) -> bool {
        let found = self.find(path);
        found.into_iter().for_each(|inode| self.detach(inode));
        found.is_some()
    }

    /// Gives another name; says whether there was anything. What was at the new name is gone.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8], now: f64) -> bool {
        self.remove(to);
        let Some(inode) = self.find(from) else { return false };
        self.detach(inode);
        let (parent, name) = self.make_parents(to, now);
        let node = self.node_mut(inode);
        (node.parent, node.name) = (parent, name.into());
        if let Some(children) = self.children_mut(parent) {
            children.insert(name.into(), inode);
        }
        true
    }

    fn detach(&mut self, inode: Inode) {
        let Some(node) = self.slot(inode) else { return };
        let (parent, name) = (node.parent, node.name.clone());
        if let Some(children) = self.children_mut(parent) {
            children.remove(&name);
        }
    }

    /// The logical path of an inode that is there.
    pub(super) fn path(&self, inode: Inode) -> Vec<u8> {
        let mut components = Vec::new();
        let mut at = inode;
        while at != TOP
            && let Some(node) = self.slot(at)
        {
            components.push(&*node.name);
            at = node.parent;
        }
        components.reverse();
        components.join(&b'/')
    }

    /// The logical paths of all files, sorted.
    pub(super) fn files(&self) -> Vec<Vec<u8>> {
        let is_file =
            |node: &Option<Node>| matches!(node, Some(Node { content: Content::File(_), .. }));
        let inodes = (TOP..).zip(&self.nodes).filter(|(_, node)| is_file(node));
        let mut files: Vec<_> = inodes.map(|(inode, _)| self.path(inode)).collect();
        files.sort_unstable();
        files
    }

    /// What a logical path leads to; the last component's link is followed only if `last`.
    pub(super) fn resolve(&self, path: &[u8], last: bool) -> io::Result<Inode> {
        self.walk(TOP, logical(path)?, last, &mut MOST_LINKS.clone())
    }

    /// What a path below a directory leads to.
    pub(super) fn resolve_in(&self, directory: Inode, path: &[u8]) -> io::Result<Inode> {
        refuse_what_is_no_path(path)?;
        if self.slot(directory).is_none() {
            return Err(errno(ENOENT));
        }
        self.walk(directory, path, true, &mut MOST_LINKS.clone())
    }

    fn walk(&self, from: Inode, path: &[u8], last: bool, left: &mut u32) -> io::Result<Inode> {
        let mut at = from;
        let mut rest = components(path).peekable();
        while let Some(name) = rest.next() {
            if name == b"." {
                continue;
            }
            let directory = self.node(at)?;
            let Content::Directory(children) = &directory.content else {
                return Err(errno(ENOTDIR));
            };
            if name == b".." {
                at = directory.parent;
                continue;
            }
            let child = *children.get(name).ok_or_else(|| errno(ENOENT))?;
            at = match &self.node(child)?.content {
                Content::Link(target) if last || rest.peek().is_some() => {
                    *left = left.checked_sub(1).ok_or_else(|| errno(ELOOP))?;
                    let (from, target) = start_of(at, target);
                    self.walk(from, &target, true, left)?
                }
                _ => child,
            };
        }
        Ok(at)
    }
}

/// The components of a path; empty ones are none.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

/// Where the target of a link in a directory is looked for.
fn start_of(directory: Inode, target: &[u8]) -> (Inode, Vec<u8>) {
    if !target.starts_with(b"/") {
        return (directory, target.into());
    }
    let known = [("/proc/", "proc/"), ("/sys/", "sys/"), ("/run/udev/data/", "udev/")];
    let found = known.iter().find_map(|(root, logical)| {
        Some([logical.as_bytes(), target.strip_prefix(root.as_bytes())?].concat())
    });
    (TOP, found.unwrap_or_else(|| [b"rootfs", target].concat()))
}

/// Refuses what the real host refuses.
fn logical(path: &[u8]) -> io::Result<&[u8]> {
    if path.starts_with(b"file:") && !path.contains(&0) {
        return Ok(path);
    }
    refuse_what_is_no_path(path)?;
    match path.split(|&byte| byte == b'/').next() {
        Some(b"proc" | b"sys" | b"rootfs" | b"udev") => Ok(path),
        _ => Err(errno(EINVAL)),
    }
}

fn refuse_what_is_no_path(path: &[u8]) -> io::Result<()> {
    if path.contains(&0) {
        return Err(errno(EINVAL));
    }
    refuse_parent(path)
}

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
