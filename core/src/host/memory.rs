//! A host that is only in memory, for tests.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::listing::{Kind, Listing};
use super::space::{Space, StatfsError};
use super::statfs::StatfsPool;
#[cfg(target_os = "linux")]
use super::{Address, Link};
use super::{EINVAL, Host, Opened, Roots, Uname, World, refuse_parent};
#[cfg(target_os = "linux")]
use crate::error::{Error, Result};

const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ELOOP: i32 = 40;

/// What a name stands for; never used twice.
pub(super) type Inode = u64;

/// A host that is only in memory: files by logical path, and what else a [`Host`] tells.
///
/// Clones share everything, so a test keeps one and changes the host under a collector. As in the
/// kernel, an opened file stays what it was: after a rename it goes on answering, after a removal
/// it says ENODEV. Directories are there when files below them are.
#[derive(Clone)]
pub struct MemoryHost {
    state: Arc<Mutex<State>>,
}

struct State {
    names: BTreeMap<String, Inode>,
    /// The name of each inode, the other way round.
    inodes: HashMap<Inode, String>,
    /// The most bytes that a read gives.
    chunk: usize,
    nodes: HashMap<Inode, Node>,
    last: Inode,
    reads: u64,
    spaces: HashMap<Vec<u8>, Result<Space, StatfsError>>,
    uname: Uname,
    now: Duration,
    #[cfg(target_os = "linux")]
    links: Option<Vec<Link<'static>>>,
    #[cfg(target_os = "linux")]
    addresses: Option<Vec<Address<'static>>>,
}

struct Node {
    content: Content,
    failure: Option<i32>,
    modified: f64,
}

enum Content {
    File(Vec<u8>),
    Directory,
    Link(String),
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHost").field("files", &self.files()).finish_non_exhaustive()
    }
}

impl MemoryHost {
    /// A host without files, interfaces or file systems. Its clock stands at 1,700,000,000 s.
    pub fn new() -> Self {
        let uname = Uname {
            sysname: "Linux".into(),
            nodename: "memory".into(),
            release: "6.18.0".into(),
            version: "#1 SMP".into(),
            machine: "x86_64".into(),
            domainname: "(none)".into(),
        };
        let state = State {
            names: BTreeMap::new(),
            inodes: HashMap::new(),
            chunk: usize::MAX,
            nodes: HashMap::new(),
            last: 0,
            reads: 0,
            spaces: HashMap::new(),
            uname,
            now: Duration::from_secs(1_700_000_000),
            #[cfg(target_os = "linux")]
            links: None,
            #[cfg(target_os = "linux")]
            addresses: None,
        };
        MemoryHost { state: Arc::new(Mutex::new(state)) }
    }

    /// A host with these files, as (logical path, content).
    pub fn from_files(files: &[(&str, &str)]) -> Self {
        let memory = Self::new();
        for (path, content) in files {
            memory.write(path, content);
        }
        memory
    }

    /// The host that collectors are opened with.
    pub fn host(&self) -> Host {
        Host::over(World::Memory(self.clone()), Roots::default(), StatfsPool::new())
    }

    /// Makes a file, or gives the one of that name another content; a failure of it is lifted.
    ///
    /// # Panics
    ///
    /// If the path or a directory above it is something else.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let mut state = self.lock();
        let now = state.now.as_secs_f64();
        let inode = state.make(path, || Content::File(Vec::new()));
        let node = state.node_mut(inode);
        assert!(matches!(node.content, Content::File(_)), "{path} is no file");
        node.content = Content::File(content.as_ref().into());
        node.failure = None;
        node.modified = now;
    }

    /// Makes a directory that may stay empty.
    pub fn make_directory(&self, path: &str) {
        self.lock().make(path, || Content::Directory);
    }

    /// Makes a symbolic link. The target is as in a real link: relative to the link's directory,
    /// or absolute, where `/proc/`, `/sys/` and `/run/udev/data/` are those roots.
    pub fn link(&self, path: &str, target: &str) {
        self.lock().make(path, || Content::Link(target.into()));
    }

    /// Removes a file, a link, or a directory with all that is in it.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    pub fn remove(&self, path: &str) {
        let mut state = self.lock();
        let gone = state.below(path);
        assert!(!gone.is_empty(), "{path} is not there");
        for name in gone {
            state.forget(&name);
        }
    }

    /// Renames a file or a directory; what was at the new name is gone.
    ///
    /// # Panics
    ///
    /// If there is none of the old name.
    pub fn rename(&self, from: &str, to: &str) {
        let mut state = self.lock();
        for name in state.below(to) {
            state.forget(&name);
        }
        let moved = state.below(from);
        assert!(!moved.is_empty(), "{from} is not there");
        state.make_parents(to);
        for name in moved {
            if let Some(inode) = state.names.remove(&name) {
                let renamed = format!("{to}{}", &name[from.len()..]);
                state.inodes.insert(inode, renamed.clone());
                state.names.insert(renamed, inode);
            }
        }
    }

    /// Lets every read give at most so many bytes, as the kernel does that gathers whole records in
    /// a buffer of its own: what takes a short read for the end is found out.
    ///
    /// # Panics
    ///
    /// If it is 0, which would be the end of every file.
    pub fn set_chunk(&self, most: usize) {
        assert!(most > 0, "a read of 0 bytes is the end of a file");
        self.lock().chunk = most;
    }

    /// Makes every read, or listing, fail with that `errno` until the file is written again. What
    /// is not there becomes a file.
    pub fn fail(&self, path: &str, errno: i32) {
        let mut state = self.lock();
        let inode = state.make(path, || Content::File(Vec::new()));
        state.node_mut(inode).failure = Some(errno);
    }

    /// Sets when a file was last changed, in seconds since the epoch; writing it takes the clock.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn set_modified(&self, path: &str, seconds: f64) {
        let mut state = self.lock();
        let inode = *state.names.get(path).expect("the file is there");
        state.node_mut(inode).modified = seconds;
    }

    /// Sets the network interfaces. Without it [`Host::links`] is absent.
    #[cfg(target_os = "linux")]
    pub fn set_links(&self, links: Vec<Link<'static>>) {
        self.lock().links = Some(links);
    }

    /// Sets the addresses of the interfaces. Without it [`Host::addresses`] is absent.
    #[cfg(target_os = "linux")]
    pub fn set_addresses(&self, addresses: Vec<Address<'static>>) {
        self.lock().addresses = Some(addresses);
    }

    /// Sets the space at a mount point; others are ENOENT.
    pub fn set_space(&self, mount: &str, space: Result<Space, StatfsError>) {
        self.lock().spaces.insert(mount.into(), space);
    }

    /// Sets what uname(2) says.
    pub fn set_uname(&self, uname: Uname) {
        self.lock().uname = uname;
    }

    /// Sets the clock, as the time since the epoch.
    pub fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// The logical paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let state = self.lock();
        let is_file = |inode: &Inode| {
            matches!(state.nodes.get(inode), Some(Node { content: Content::File(_), .. }))
        };
        state
            .names
            .iter()
            .filter(|(_, inode)| is_file(inode))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The content of a file, for a test that spoils it.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        match &state.nodes.get(state.names.get(path)?)?.content {
            Content::File(content) => Some(content.clone()),
            _ => None,
        }
    }

    /// How many reads of files there were, those that found the end included.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, path: &[u8], opened: Opened) -> io::Result<Inode> {
        let state = self.lock();
        let name = state.resolve(logical(path)?, true)?;
        let inode = *state.names.get(&name).ok_or_else(|| errno(ENOENT))?;
        match (&state.node(inode)?.content, opened) {
            (Content::File(_), Opened::Directory) => Err(errno(ENOTDIR)),
            _ => Ok(inode),
        }
    }

    pub(super) fn open_in(
        &self,
        directory: Inode,
        path: &[u8],
        opened: Opened,
    ) -> io::Result<Inode> {
        let mut whole = {
            let state = self.lock();
            let named = state.inodes.get(&directory);
            named.ok_or_else(|| errno(ENOENT))?.clone().into_bytes()
        };
        whole.push(b'/');
        whole.extend_from_slice(path);
        self.open(&whole, opened)
    }

    pub(super) fn read_at(
        &self,
        inode: Inode,
        buffer: &mut Vec<u8>,
        offset: u64,
    ) -> io::Result<usize> {
        let mut state = self.lock();
        state.reads += 1;
        let chunk = state.chunk;
        let node = state.node(inode)?;
        if let Some(failure) = node.failure {
            return Err(errno(failure));
        }
        let Content::File(content) = &node.content else { return Err(errno(EISDIR)) };
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..));
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(buffer.capacity() - buffer.len()).min(chunk);
        buffer.extend_from_slice(&rest[..length]);
        Ok(length)
    }

    pub(super) fn list(&self, inode: Inode, listing: &mut Listing) -> io::Result<()> {
        let state = self.lock();
        if let Some(failure) = state.node(inode)?.failure {
            return Err(errno(failure));
        }
        let named = state.inodes.get(&inode);
        let prefix = format!("{}/", named.ok_or_else(|| errno(ENOENT))?);
        let mut from = prefix.clone();
        while let Some((whole, &inode)) = state.names.range(from.clone()..).next() {
            let Some(name) = whole.strip_prefix(&prefix) else { break };
            // What is in a directory is passed over: it comes after the name and a slash, and a
            // zero is the character after the slash. Names that sort between the two are listed.
            if let Some(slash) = name.find('/') {
                from = format!("{prefix}{}0", &name[..slash]);
                continue;
            }
            from = format!("{whole}\0");
            let kind = match state.node(inode)?.content {
                Content::File(_) => Kind::File,
                Content::Directory => Kind::Directory,
                Content::Link(_) => Kind::Link,
            };
            listing.push(name.as_bytes(), inode, kind);
        }
        Ok(())
    }

    pub(super) fn read_link(&self, path: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        let state = self.lock();
        let name = state.resolve(logical(path)?, false)?;
        let inode = *state.names.get(&name).ok_or_else(|| errno(ENOENT))?;
        match &state.node(inode)?.content {
            Content::Link(target) => {
                buffer.clear();
                buffer.extend_from_slice(target.as_bytes());
                Ok(())
            }
            _ => Err(errno(EINVAL)),
        }
    }

    pub(super) fn modified(&self, path: &[u8]) -> io::Result<f64> {
        let state = self.lock();
        let name = state.resolve(logical(path)?, true)?;
        let inode = *state.names.get(&name).ok_or_else(|| errno(ENOENT))?;
        Ok(state.node(inode)?.modified)
    }

    pub(super) fn uname(&self) -> Uname {
        self.lock().uname.clone()
    }

    pub(super) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(super) fn space(&self, mount: &[u8]) -> Result<Space, StatfsError> {
        self.lock().spaces.get(mount).copied().unwrap_or(Err(StatfsError::Failed(ENOENT)))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn links(&self, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        let links = self.lock().links.clone();
        let links = links.ok_or_else(|| Error::absent("netlink route"))?;
        links.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn addresses(&self, each: &mut dyn FnMut(Address<'_>)) -> Result<()> {
        let addresses = self.lock().addresses.clone();
        let addresses = addresses.ok_or_else(|| Error::absent("netlink route"))?;
        addresses.into_iter().for_each(each);
        Ok(())
    }
}

impl State {
    fn node(&self, inode: Inode) -> io::Result<&Node> {
        self.nodes.get(&inode).ok_or_else(|| errno(ENODEV))
    }

    fn node_mut(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("a name has a node")
    }

    /// The inode of that name, made if there is none.
    fn make(&mut self, path: &str, content: impl FnOnce() -> Content) -> Inode {
        if let Some(&inode) = self.names.get(path) {
            return inode;
        }
        self.make_parents(path);
        self.insert(path, content())
    }

    fn make_parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match self.names.get(parent) {
                None => {
                    self.insert(parent, Content::Directory);
                }
                Some(inode) => assert!(
                    matches!(self.nodes[inode].content, Content::Directory),
                    "{parent} is no directory"
                ),
            }
        }
    }

    fn insert(&mut self, path: &str, content: Content) -> Inode {
        self.last += 1;
        let node = Node { content, failure: None, modified: self.now.as_secs_f64() };
        self.nodes.insert(self.last, node);
        self.names.insert(path.into(), self.last);
        self.inodes.insert(self.last, path.into());
        self.last
    }

    fn forget(&mut self, name: &str) {
        if let Some(inode) = self.names.remove(name) {
            self.inodes.remove(&inode);
            self.nodes.remove(&inode);
        }
    }

    /// The name itself, if there is one, and all names below it.
    fn below(&self, path: &str) -> Vec<String> {
        let itself = self.names.get_key_value(path).map(|(name, _)| name.clone());
        let prefix = format!("{path}/");
        let below = self.names.range(prefix.clone()..).map(|(name, _)| name);
        let below = below.take_while(|name| name.starts_with(&prefix)).cloned();
        itself.into_iter().chain(below).collect()
    }

    /// Follows the links in a path; the last component's only if `last`.
    fn resolve(&self, path: &str, last: bool) -> io::Result<String> {
        let mut path = path.trim_end_matches('/').to_owned();
        'links: for _ in 0..40 {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                let inode = self.names.get(&path[..end]);
                let Some(Content::Link(target)) =
                    inode.and_then(|inode| self.nodes.get(inode)).map(|node| &node.content)
                else {
                    continue;
                };
                if end == path.len() && !last {
                    continue;
                }
                let start = path[..end].rfind('/').unwrap_or(0);
                path = format!("{}{}", target_from(&path[..start], target)?, &path[end..]);
                continue 'links;
            }
            return Ok(path);
        }
        Err(errno(ELOOP))
    }
}

/// The logical path that a link in a directory leads to.
fn target_from(directory: &str, target: &str) -> io::Result<String> {
    if target.starts_with('/') {
        let known = [("/proc/", "proc/"), ("/sys/", "sys/"), ("/run/udev/data/", "udev/")];
        let found =
            known.iter().find_map(|(root, logical)| Some((logical, target.strip_prefix(root)?)));
        return Ok(match found {
            Some((logical, rest)) => format!("{logical}{rest}"),
            None => format!("rootfs{target}"),
        });
    }
    let mut components: Vec<&str> = directory.split('/').collect();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop().ok_or_else(|| errno(ENOENT))?;
            }
            component => components.push(component),
        }
    }
    Ok(components.join("/"))
}

/// Refuses what the real host refuses.
fn logical(path: &[u8]) -> io::Result<&str> {
    let path = std::str::from_utf8(path).map_err(|_| errno(ENOENT))?;
    if path.contains('\0') {
        return Err(errno(EINVAL));
    }
    if path.starts_with("file:") {
        return Ok(path);
    }
    refuse_parent(path.as_bytes())?;
    match path.split('/').next() {
        Some("proc" | "sys" | "rootfs" | "udev") => Ok(path),
        _ => Err(errno(EINVAL)),
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
