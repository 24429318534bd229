//! A host that is only in memory, for tests.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use vitald_sys::{BtrfsDevices, PerfEvent};

use super::clock::ClockDiscipline;
use super::extent::Extent;
use super::listing::{Kind, Listing};
use super::opened::Opened;
use super::space::{Space, StatfsError};
use super::uname::Uname;
use super::version::{Place, Version};
#[cfg(target_os = "linux")]
use super::{
    Address, AttributeWriter, BusCall, BusWriter, EthtoolAnswers, GenericMessage, Link, Neighbour,
    NetlinkAttributes, NetworkRoute, Peer, QueueingDiscipline, TcpSocket,
};
use crate::errno::{ECONNREFUSED, EINVAL, EISDIR, ENODEV, ENOENT, ENOSYS, ENOTDIR, ETIMEDOUT};
#[cfg(target_os = "linux")]
use crate::error::{Error, Result};
use crate::sync::lock;

mod names;
mod reads;

pub(super) use names::Inode;

use names::{Content, Names, errno};
use reads::Chunks;

/// A host that is only in memory: files by logical path, and what else a [`Host`](super::Host) gives.
///
/// Clones share everything, so a test keeps one and changes the host under a collector. As in the
/// kernel, an opened file stays what it was: after a rename it goes on answering, after a removal
/// it says ENODEV. Directories are there when files below them are. A path is bytes, as names are
/// on a real host, and mostly given as a `&str`.
///
/// A file of procfs with many records is read as the kernel gives it: whole records, as many as fit
/// into a page. A collector that takes such a read for the end, because it reads the file by the
/// wrong one of [`Host::keep`], [`Host::keep_short_records`] and [`Host::keep_whole`], is found out
/// if the file has more than a page, or by [`MemoryHost::set_chunk`].
#[derive(Clone)]
pub struct MemoryHost {
    state: Arc<Mutex<State>>,
}

/// Answers a datagram.
type Exchange = Arc<dyn Fn(SocketAddr, &[u8]) -> io::Result<Vec<u8>> + Send + Sync>;

/// Answers a request over a stream.
#[cfg(target_os = "linux")]
type Conversation = Arc<dyn Fn(&str, &[u8]) -> io::Result<Vec<u8>> + Send + Sync>;

/// How often an event took place on a CPU, or the `errno` of counting it.
#[cfg(target_os = "linux")]
type PerfCounts = Arc<dyn Fn(PerfEvent, u32) -> std::result::Result<u64, i32> + Send + Sync>;

/// Answers for a family of generic netlink.
#[cfg(target_os = "linux")]
type Generic =
    Arc<dyn Fn(u8, NetlinkAttributes<'_>) -> io::Result<Vec<(u8, Vec<u8>)>> + Send + Sync>;

/// What a method of the bus returns, as signature and body, or the name of an error.
#[cfg(target_os = "linux")]
pub type BusReply = Result<(String, Vec<u8>), String>;

/// How often a host in memory was asked for what a system call gives on a real one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Reads of files, those that found the end included.
    pub reads: u64,
    /// Files and directories that were opened, or were to be.
    pub opened: u64,
    /// Listings of directories.
    pub listings: u64,
    /// What is no file: netlink, file systems' space, the clock's discipline, the bus, datagrams.
    pub others: u64,
}

impl ops::Add for Requests {
    type Output = Requests;

    fn add(self, other: Requests) -> Requests {
        Requests {
            reads: self.reads + other.reads,
            opened: self.opened + other.opened,
            listings: self.listings + other.listings,
            others: self.others + other.others,
        }
    }
}

impl ops::Sub for Requests {
    type Output = Requests;

    fn sub(self, earlier: Requests) -> Requests {
        Requests {
            reads: self.reads - earlier.reads,
            opened: self.opened - earlier.opened,
            listings: self.listings - earlier.listings,
            others: self.others - earlier.others,
        }
    }
}

struct State {
    names: Names,
    chunks: Chunks,
    requests: Requests,
    spaces: HashMap<Vec<u8>, Result<Space, StatfsError>>,
    uname: Uname,
    now: Duration,
    instant: Instant,
    clock: Option<std::result::Result<ClockDiscipline, i32>>,
    exchange: Option<Exchange>,
    #[cfg(target_os = "linux")]
    conversation: Option<Conversation>,
    #[cfg(target_os = "linux")]
    perf: Option<PerfCounts>,
    /// How often all counters were stopped.
    #[cfg(target_os = "linux")]
    perf_stops: usize,
    /// By mount point.
    #[cfg(target_os = "linux")]
    btrfs: HashMap<Vec<u8>, std::result::Result<BtrfsDevices, i32>>,
    /// By path, interface, member and, where they count, arguments.
    #[cfg(target_os = "linux")]
    bus: BTreeMap<Vec<Box<str>>, BusReply>,
    /// Sockets where a bus and systemd listen in place of the replies.
    #[cfg(target_os = "linux")]
    bus_sockets: [Option<Vec<u8>>; 2],
    #[cfg(target_os = "linux")]
    generic: HashMap<Box<str>, Generic>,
    #[cfg(target_os = "linux")]
    links: Option<Vec<Link<'static>>>,
    /// How often the links were set.
    #[cfg(target_os = "linux")]
    link_events: u64,
    link_counters: bool,
    #[cfg(target_os = "linux")]
    addresses: Option<Vec<Address<'static>>>,
    #[cfg(target_os = "linux")]
    neighbours: Option<Vec<Neighbour>>,
    #[cfg(target_os = "linux")]
    routes: Option<Vec<NetworkRoute<'static>>>,
    #[cfg(target_os = "linux")]
    ethtool: HashMap<Vec<u8>, EthtoolAnswers>,
    #[cfg(target_os = "linux")]
    queueing_disciplines: Option<Vec<QueueingDiscipline<'static>>>,
    #[cfg(target_os = "linux")]
    tcp_sockets: Option<Vec<TcpSocket>>,
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
    /// A host without files, interfaces or file systems. Its clock is at 1,700,000,000 s.
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
            names: Names::new(),
            chunks: Chunks::Unlimited,
            requests: Requests::default(),
            spaces: HashMap::new(),
            uname,
            now: Duration::from_secs(1_700_000_000),
            instant: Instant::now(),
            clock: None,
            exchange: None,
            #[cfg(target_os = "linux")]
            bus: BTreeMap::new(),
            #[cfg(target_os = "linux")]
            bus_sockets: [None, None],
            #[cfg(target_os = "linux")]
            conversation: None,
            #[cfg(target_os = "linux")]
            perf: None,
            #[cfg(target_os = "linux")]
            perf_stops: 0,
            #[cfg(target_os = "linux")]
            btrfs: HashMap::new(),
            #[cfg(target_os = "linux")]
            generic: HashMap::new(),
            #[cfg(target_os = "linux")]
            links: None,
            #[cfg(target_os = "linux")]
            link_events: 0,
            link_counters: true,
            #[cfg(target_os = "linux")]
            addresses: None,
            #[cfg(target_os = "linux")]
            neighbours: None,
            #[cfg(target_os = "linux")]
            routes: None,
            #[cfg(target_os = "linux")]
            ethtool: HashMap::new(),
            #[cfg(target_os = "linux")]
            queueing_disciplines: None,
            #[cfg(target_os = "linux")]
            tcp_sockets: None,
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

    /// Makes a file, or gives the one of that name another content; a failure of it is lifted.
    ///
    /// # Panics
    ///
    /// If the path or a directory above it is something else.
    pub fn write(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = path.as_ref();
        let mut state = self.lock();
        let now = state.now.as_secs_f64();
        let inode = state.names.make(path, now, || Content::File(Vec::new()));
        let node = state.names.node_mut(inode);
        let is_file = matches!(node.content, Content::File(_));
        assert!(is_file, "{}: something other than a file is there", path.escape_ascii());
        node.content = Content::File(content.as_ref().into());
        (node.failure, node.open_failure) = (None, None);
        // A file system's clock goes on between two writes.
        (node.modified, node.changed) = (now, now.max(node.changed + 1e-6));
    }

    /// Puts another file where one is; what is open of the one goes on, with the content `left`. As a list of the
    /// mounts of a process does when that has taken another root.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn replace(
        &self,
        path: impl AsRef<[u8]>,
        left: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) {
        self.write(path.as_ref(), left);
        let is_detached = self.lock().names.detach_file(path.as_ref());
        assert!(is_detached, "{} is not there", path.as_ref().escape_ascii());
        self.write(path, content);
    }

    /// Makes a directory that may stay empty.
    pub fn make_directory(&self, path: impl AsRef<[u8]>) {
        self.make(path.as_ref(), || Content::Directory(Default::default()));
    }

    /// Makes a symbolic link. The target is as in a real link: relative to the link's directory,
    /// or absolute, where `/proc/`, `/sys/` and `/run/udev/data/` are those roots.
    pub fn link(&self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        self.make(path.as_ref(), || Content::Link(target.as_ref().into()));
    }

    fn make(&self, path: &[u8], content: impl FnOnce() -> Content) {
        let mut state = self.lock();
        let now = state.now.as_secs_f64();
        state.names.make(path, now, content);
    }

    /// Removes a file, a link, or a directory with all that is in it.
    ///
    /// # Panics
    ///
    /// If nothing has that name.
    pub fn remove(&self, path: impl AsRef<[u8]>) {
        let path = path.as_ref();
        let is_gone = self.lock().names.remove(path);
        assert!(is_gone, "{} is not there", path.escape_ascii());
    }

    /// Renames a file or a directory; what was at the new name is gone.
    ///
    /// # Panics
    ///
    /// If nothing has the old name.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut state = self.lock();
        let now = state.now.as_secs_f64();
        let is_renamed = state.names.rename(from, to, now);
        assert!(is_renamed, "{} is not there", from.escape_ascii());
    }

    /// Lets a read give at most so many bytes where it may end early: with [`Host::keep`] and what
    /// else reads until 0 bytes come, in any file; with [`Host::keep_whole`], in a file of procfs
    /// that is not known to be one record, which must not be read so. Not with
    /// [`Host::keep_short_records`]: while records are as short as they have to be there, the
    /// kernel ends no read before half a page. Not a sysctl, which cannot be read in pieces.
    ///
    /// # Panics
    ///
    /// If it is 0, which would be the end of every file.
    pub fn set_chunk(&self, most: usize) {
        assert!(most > 0, "a read of 0 bytes is the end of a file");
        self.lock().chunks = Chunks::Fixed(most);
    }

    /// As [`MemoryHost::set_chunk`], with another number for each read, from 1 to 4,096. The seed
    /// decides which.
    pub fn set_chunks(&self, seed: u64) {
        // A state of 0 would stay 0.
        self.lock().chunks = Chunks::Seeded(seed | 1 << 63);
    }

    /// Makes every read, or listing, fail with that `errno` until the file is written again. What
    /// is not there becomes a file.
    pub fn fail(&self, path: impl AsRef<[u8]>, errno: i32) {
        self.make(path.as_ref(), || Content::File(Vec::new()));
        self.change(path.as_ref(), |node| node.failure = Some(errno));
    }

    /// Makes every opening fail with that `errno` until the file is written again; what is open
    /// goes on answering. What is not there becomes a file.
    pub fn fail_open(&self, path: impl AsRef<[u8]>, errno: i32) {
        self.make(path.as_ref(), || Content::File(Vec::new()));
        self.change(path.as_ref(), |node| node.open_failure = Some(errno));
    }

    /// Sets when a file was last changed, in seconds since the epoch, as if that had been all; writing it takes the
    /// clock.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn set_modified(&self, path: impl AsRef<[u8]>, seconds: f64) {
        self.change(path.as_ref(), |node| (node.modified, node.changed) = (seconds, seconds));
    }

    /// Says that what has this path is on another mount.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn set_mount(&self, path: impl AsRef<[u8]>, mount: u64) {
        self.change(path.as_ref(), |node| node.mount = mount);
    }

    /// As a program sets the time of a file's content, which changes something of it now.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn pretend_modified(&self, path: impl AsRef<[u8]>, seconds: f64) {
        let now = self.now().as_secs_f64();
        self.change(path.as_ref(), |node| (node.modified, node.changed) = (seconds, now));
    }

    /// Announces a change of a file, as the kernel does of the list of mounts. A file is one of those whose
    /// changes are announced from the first time on; that it is written announces nothing by itself.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn announce(&self, path: impl AsRef<[u8]>) {
        self.change(path.as_ref(), |node| node.announced = Some(true));
    }

    fn change(&self, path: &[u8], change: impl FnOnce(&mut names::Node)) {
        let mut state = self.lock();
        let inode = state.names.find(path).expect("the file is there");
        change(state.names.node_mut(inode));
    }

    /// Sets the network interfaces, which is an event of [`LinkEvents`](super::LinkEvents), too. Without it
    /// [`Host::links`] is absent, and nobody can listen for events.
    #[cfg(target_os = "linux")]
    pub fn set_links(&self, links: Vec<Link<'static>>) {
        let mut state = self.lock();
        state.links = Some(links);
        state.link_events += 1;
    }

    /// Has the interfaces count on, which is no event.
    #[cfg(target_os = "linux")]
    pub fn count_links(&self, mut count: impl FnMut(&mut Vec<Link<'static>>)) {
        count(self.lock().links.get_or_insert_default());
    }

    /// Whether the kernel can be asked for the counters of interfaces alone, as it can unless set otherwise.
    #[cfg(target_os = "linux")]
    pub fn set_link_counters(&self, can_be_asked: bool) {
        self.lock().link_counters = can_be_asked;
    }

    /// Sets the addresses of the interfaces. Without it [`Host::addresses`] is absent.
    #[cfg(target_os = "linux")]
    pub fn set_addresses(&self, addresses: Vec<Address<'static>>) {
        self.lock().addresses = Some(addresses);
    }

    /// Sets the neighbours. Without it they are absent.
    #[cfg(target_os = "linux")]
    pub fn set_neighbours(&self, neighbours: Vec<Neighbour>) {
        self.lock().neighbours = Some(neighbours);
    }

    /// Sets the routes. Without it they are absent.
    #[cfg(target_os = "linux")]
    pub fn set_routes(&self, routes: Vec<NetworkRoute<'static>>) {
        self.lock().routes = Some(routes);
    }

    /// Sets what the driver of an interface says to [`Host::ethtool`]. One without is no device (ENODEV).
    #[cfg(target_os = "linux")]
    pub fn set_ethtool(&self, interface: impl AsRef<[u8]>, answers: EthtoolAnswers) {
        self.lock().ethtool.insert(interface.as_ref().into(), answers);
    }

    /// Sets the queueing disciplines. Without it they are absent.
    #[cfg(target_os = "linux")]
    pub fn set_queueing_disciplines(&self, disciplines: Vec<QueueingDiscipline<'static>>) {
        self.lock().queueing_disciplines = Some(disciplines);
    }

    /// Sets the TCP sockets of both families. Without it they are absent.
    #[cfg(target_os = "linux")]
    pub fn set_tcp_sockets(&self, sockets: Vec<TcpSocket>) {
        self.lock().tcp_sockets = Some(sockets);
    }

    /// Sets what a family of generic netlink answers: the function takes the command and the
    /// attributes of a request and gives command and attributes of each answer. Without it the
    /// family is absent.
    #[cfg(target_os = "linux")]
    pub fn set_generic(
        &self,
        family: &str,
        answer: impl Fn(u8, NetlinkAttributes<'_>) -> io::Result<Vec<(u8, Vec<u8>)>>
        + Send
        + Sync
        + 'static,
    ) {
        self.lock().generic.insert(family.into(), Arc::new(answer));
    }

    /// Sets what a method returns on [`Host::bus`] and [`Host::systemd_bus`], whatever its
    /// arguments: values of the types `signature`, such as `a(su)`, which `write` puts down. A
    /// method without one is absent.
    #[cfg(target_os = "linux")]
    pub fn set_bus_reply(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        signature: &str,
        write: impl FnOnce(&mut BusWriter<'_>),
    ) {
        let mut body = Vec::new();
        write(&mut BusWriter::new(&mut body));
        self.set_bus(&[path, interface, member], Some(Ok((signature.into(), body))));
    }

    /// Sets the property of an object, a value of the type `signature`, as
    /// `org.freedesktop.DBus.Properties.Get` returns it.
    #[cfg(target_os = "linux")]
    pub fn set_bus_property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
        signature: &str,
        write: impl FnOnce(&mut BusWriter<'_>),
    ) {
        let mut body = Vec::new();
        BusWriter::new(&mut body).variant(signature, write);
        let key = [path, "org.freedesktop.DBus.Properties", "Get", interface, name];
        self.set_bus(&key, Some(Ok(("v".into(), body))));
    }

    /// Sets the name of the error that a method of the bus answers with.
    #[cfg(target_os = "linux")]
    pub fn set_bus_error(&self, path: &str, interface: &str, member: &str, name: &str) {
        self.set_bus(&[path, interface, member], Some(Err(name.into())));
    }

    /// Sets or removes a reply by its key: path, interface and member, and arguments for a reply to a
    /// call with these alone. For tests that spoil replies.
    #[cfg(target_os = "linux")]
    pub fn set_bus(&self, key: &[&str], reply: Option<BusReply>) {
        let key = key.iter().map(|part| (*part).into()).collect();
        let bus = &mut self.lock().bus;
        match reply {
            Some(reply) => drop(bus.insert(key, reply)),
            None => drop(bus.remove(&key)),
        }
    }

    /// All replies of the bus, by their keys.
    #[cfg(target_os = "linux")]
    pub fn bus_replies(&self) -> Vec<(Vec<Box<str>>, BusReply)> {
        self.lock().bus.iter().map(|(key, reply)| (key.clone(), reply.clone())).collect()
    }

    /// Lets [`Host::bus`] connect to a socket, as to that of a [`FakeBus`](crate::testing::FakeBus);
    /// the replies do not count there.
    #[cfg(target_os = "linux")]
    pub fn set_bus_socket(&self, path: &std::path::Path) {
        self.lock().bus_sockets[1] = Some(path.as_os_str().as_encoded_bytes().to_vec());
    }

    /// Lets [`Host::systemd_bus`] connect to a socket.
    #[cfg(target_os = "linux")]
    pub fn set_systemd_socket(&self, path: &std::path::Path) {
        self.lock().bus_sockets[0] = Some(path.as_os_str().as_encoded_bytes().to_vec());
    }

    #[cfg(target_os = "linux")]
    pub(super) fn bus_socket(&self, is_bus: bool) -> Option<Vec<u8>> {
        self.lock().bus_sockets[usize::from(is_bus)].clone()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn has_bus(&self) -> bool {
        !self.lock().bus.is_empty()
    }

    /// Sets what [`Host::exchange`] answers to a datagram: the function takes the address and the
    /// request. Without it no peer answers (`ETIMEDOUT`).
    pub fn set_exchange(
        &self,
        answer: impl Fn(SocketAddr, &[u8]) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.lock().exchange = Some(Arc::new(answer));
    }

    /// Sets what [`Host::converse`] gets for an answer: the function takes the peer in words, such as
    /// `tcp 127.0.0.1:80` or `unix /run/socket`, and the request. Without it every peer is
    /// `ECONNREFUSED`.
    #[cfg(target_os = "linux")]
    pub fn set_conversation(
        &self,
        answer: impl Fn(&str, &[u8]) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.lock().conversation = Some(Arc::new(answer));
    }

    /// Sets how often an event took place on a CPU, or the `errno` that counting it fails with. Without
    /// it nothing is counted (`ENOSYS`).
    #[cfg(target_os = "linux")]
    pub fn set_perf_counters(
        &self,
        count: impl Fn(PerfEvent, u32) -> std::result::Result<u64, i32> + Send + Sync + 'static,
    ) {
        self.lock().perf = Some(Arc::new(count));
    }

    /// Stops the counters that are open, as when every CPU was offline for a moment.
    #[cfg(target_os = "linux")]
    pub fn stop_perf_counters(&self) {
        self.lock().perf_stops += 1;
    }

    /// Sets the devices of the Btrfs file system at a mount point, or the `errno` of asking for them;
    /// the mount point is then a directory.
    #[cfg(target_os = "linux")]
    pub fn set_btrfs_devices(&self, mount: &str, devices: std::result::Result<BtrfsDevices, i32>) {
        self.make_directory(format!("rootfs{mount}"));
        self.lock().btrfs.insert(mount.into(), devices);
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

    /// Lets time pass on the clock by which durations are measured, which stands still otherwise. That of
    /// [`MemoryHost::set_now`] is another one.
    pub fn pass_time(&self, time: Duration) {
        self.lock().instant += time;
    }

    /// Sets what adjtimex(2) says, or its `errno`. Without it the answer is ENOSYS.
    pub fn set_clock_discipline(&self, answer: std::result::Result<ClockDiscipline, i32>) {
        self.lock().clock = Some(answer);
    }

    /// The logical paths of all files, sorted; bytes that are not UTF-8 are U+FFFD.
    pub fn files(&self) -> Vec<String> {
        let files = self.lock().names.files();
        files.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    /// The content of a file, for a test that spoils it.
    pub fn content(&self, path: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let state = self.lock();
        match &state.names.node(state.names.find(path.as_ref())?).ok()?.content {
            Content::File(content) => Some(content.clone()),
            _ => None,
        }
    }

    /// What has that name; no link is followed.
    pub fn kind(&self, path: impl AsRef<[u8]>) -> Option<Kind> {
        let state = self.lock();
        let node = state.names.node(state.names.find(path.as_ref())?).ok()?;
        Some(node.content.kind())
    }

    /// How many reads of files there were, those that found the end included.
    pub fn reads(&self) -> u64 {
        self.lock().requests.reads
    }

    /// What the host was asked for so far.
    pub fn requests(&self) -> Requests {
        self.lock().requests
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// As `lock`, for a request that is not one for a file.
    fn asked(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.requests.others += 1;
        state
    }

    pub(super) fn open(&self, path: &[u8], opened: Opened) -> io::Result<Inode> {
        let mut state = self.lock();
        state.requests.opened += 1;
        let inode = state.names.resolve(path, true)?;
        state.open(inode, opened)
    }

    pub(super) fn open_in(
        &self,
        directory: Inode,
        path: &[u8],
        opened: Opened,
    ) -> io::Result<Inode> {
        let mut state = self.lock();
        state.requests.opened += 1;
        let inode = state.names.resolve_in(directory, path)?;
        state.open(inode, opened)
    }

    pub(super) fn read_at(
        &self,
        inode: Inode,
        extent: Extent,
        buffer: &mut Vec<u8>,
        offset: u64,
    ) -> io::Result<usize> {
        let mut state = self.lock();
        let state = &mut *state;
        state.requests.reads += 1;
        let node = state.names.node(inode)?;
        if let Some(failure) = node.failure {
            return Err(errno(failure));
        }
        let Content::File(content) = &node.content else { return Err(errno(EISDIR)) };
        let (path, room) = (state.names.path(inode), buffer.capacity() - buffer.len());
        let length = reads::length(&path, extent, content, offset, room, &mut state.chunks);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        buffer.extend_from_slice(&content[start..start + length]);
        Ok(length)
    }

    pub(super) fn is_announced_unchanged(&self, inode: Inode) -> bool {
        let mut state = self.asked();
        let Ok(node) = state.names.node(inode) else { return false };
        let announced = node.announced;
        if announced.is_some() {
            state.names.node_mut(inode).announced = Some(false);
        }
        announced == Some(false)
    }

    pub(super) fn list(&self, inode: Inode, listing: &mut Listing) -> io::Result<()> {
        let mut state = self.lock();
        state.requests.listings += 1;
        let node = state.names.node(inode)?;
        if let Some(failure) = node.failure {
            return Err(errno(failure));
        }
        let Content::Directory(children) = &node.content else { return Err(errno(ENOTDIR)) };
        for (name, &inode) in children {
            listing.push(name, inode, state.names.node(inode)?.content.kind());
        }
        Ok(())
    }

    pub(super) fn read_link(&self, path: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        let state = self.lock();
        match &state.names.node(state.names.resolve(path, false)?)?.content {
            Content::Link(target) => {
                buffer.clear();
                buffer.extend_from_slice(target);
                Ok(())
            }
            _ => Err(errno(EINVAL)),
        }
    }

    pub(super) fn real_path(&self, path: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        let state = self.lock();
        let inode = state.names.resolve(path, true)?;
        buffer.clear();
        buffer.extend_from_slice(&state.names.path(inode));
        Ok(())
    }

    pub(super) fn modified(&self, path: &[u8]) -> io::Result<f64> {
        let state = self.lock();
        Ok(state.names.node(state.names.resolve(path, true)?)?.modified)
    }

    pub(super) fn version(&self, path: &[u8]) -> io::Result<Version> {
        let mut state = self.lock();
        state.requests.others += 1;
        let inode = state.names.resolve(path, true)?;
        let node = state.names.node(inode)?;
        let size = match &node.content {
            Content::File(content) => Some(content.len() as u64),
            _ => None,
        };
        let place = Place { mount: node.mount, device: 0, inode };
        Ok(Version {
            is_regular: size.is_some(),
            place,
            size: size.unwrap_or_default(),
            modified: node.modified,
            changed: node.changed,
        })
    }

    pub(super) fn uname(&self) -> Uname {
        self.lock().uname.clone()
    }

    pub(super) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(super) fn instant(&self) -> Instant {
        self.lock().instant
    }

    pub(super) fn clock_discipline(&self) -> io::Result<ClockDiscipline> {
        self.asked().clock.unwrap_or(Err(ENOSYS)).map_err(errno)
    }

    pub(super) fn space(&self, mount: &[u8]) -> Result<Space, StatfsError> {
        self.asked().spaces.get(mount).copied().unwrap_or(Err(StatfsError::Failed(ENOENT)))
    }

    pub(super) fn exchange(
        &self,
        address: SocketAddr,
        request: &[u8],
        answer: &mut Vec<u8>,
    ) -> io::Result<()> {
        // The function may use the host itself, so the lock is not held over it.
        let exchange = self.asked().exchange.clone().ok_or_else(|| errno(ETIMEDOUT))?;
        *answer = exchange(address, request)?;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn answer_bus(&self, call: &BusCall<'_>) -> Option<BusReply> {
        let key: Vec<Box<str>> = [call.path, call.interface, call.member].map(Into::into).into();
        let arguments = call.arguments.iter().map(|argument| (*argument).into());
        let with_arguments = key.iter().cloned().chain(arguments).collect::<Vec<_>>();
        let bus = &self.asked().bus;
        bus.get(&with_arguments).or_else(|| bus.get(&key)).cloned()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn converse(
        &self,
        peer: Peer<'_>,
        request: &[u8],
        answer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let conversation = self.lock().conversation.clone().ok_or_else(|| errno(ECONNREFUSED))?;
        *answer = conversation(&peer.to_string(), request)?;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn btrfs_devices(&self, path: &[u8], into: &mut BtrfsDevices) -> io::Result<()> {
        let mount = path.strip_prefix(b"rootfs").unwrap_or(path);
        let state = self.lock();
        let devices =
            state.btrfs.get(mount).cloned().unwrap_or(Err(crate::errno::ENOTTY)).map_err(errno)?;
        *into = devices;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn perf_count(&self, event: PerfEvent, cpu: u32) -> io::Result<u64> {
        let count = self.lock().perf.clone().ok_or_else(|| errno(ENOSYS))?;
        count(event, cpu).map_err(errno)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn perf_stops(&self) -> usize {
        self.lock().perf_stops
    }

    #[cfg(target_os = "linux")]
    pub(super) fn answer_generic(
        &self,
        family: &str,
        command: u8,
        write: &mut dyn FnMut(&mut AttributeWriter<'_>),
        each: &mut dyn FnMut(GenericMessage<'_>),
    ) -> io::Result<()> {
        let known = self.asked().generic.get(family).cloned();
        let answer = known.ok_or_else(|| errno(ENOENT))?;
        let mut request = Vec::new();
        write(&mut AttributeWriter::new(&mut request));
        for (command, attributes) in answer(command, NetlinkAttributes::nested(&request))? {
            each(GenericMessage { command, attributes: NetlinkAttributes::nested(&attributes) });
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn links(&self, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        drop(self.asked());
        self.links_as_they_are(each)
    }

    /// A request for the counters alone, which needs another one for the interfaces themselves.
    #[cfg(target_os = "linux")]
    pub(super) fn counts_links(&self) -> Result<()> {
        let state = self.asked();
        if state.links.is_none() || !state.link_counters {
            return Err(Error::absent("netlink route"));
        }
        Ok(())
    }

    /// The interfaces without a request for them.
    #[cfg(target_os = "linux")]
    pub(super) fn links_as_they_are(&self, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        let links = self.lock().links.clone();
        let links = links.ok_or_else(|| Error::absent("netlink route"))?;
        links.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn link_events(&self) -> Option<u64> {
        Some(self.lock().link_events).filter(|count| *count > 0)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn addresses(&self, each: &mut dyn FnMut(Address<'_>)) -> Result<()> {
        let addresses = self.asked().addresses.clone();
        let addresses = addresses.ok_or_else(|| Error::absent("netlink route"))?;
        addresses.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn neighbours(&self, each: &mut dyn FnMut(Neighbour)) -> Result<()> {
        let neighbours = self.asked().neighbours.clone();
        let neighbours = neighbours.ok_or_else(|| Error::absent("netlink route"))?;
        neighbours.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn routes(&self, each: &mut dyn FnMut(NetworkRoute<'_>)) -> Result<()> {
        let routes = self.asked().routes.clone();
        let routes = routes.ok_or_else(|| Error::absent("netlink route"))?;
        routes.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn ethtool(&self, interface: &[u8]) -> io::Result<EthtoolAnswers> {
        self.lock().ethtool.get(interface).cloned().ok_or_else(|| errno(ENODEV))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn queueing_disciplines(
        &self,
        each: &mut dyn FnMut(QueueingDiscipline<'_>),
    ) -> Result<()> {
        let disciplines = self.asked().queueing_disciplines.clone();
        let disciplines = disciplines.ok_or_else(|| Error::absent("netlink route"))?;
        disciplines.into_iter().for_each(each);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn tcp_sockets(&self, family: u8, each: &mut dyn FnMut(TcpSocket)) -> Result<()> {
        let sockets = self.asked().tcp_sockets.clone();
        let sockets = sockets.ok_or_else(|| Error::absent("netlink sock_diag"))?;
        sockets.into_iter().filter(|socket| socket.family == family).for_each(each);
        Ok(())
    }
}

impl State {
    fn open(&self, inode: Inode, opened: Opened) -> io::Result<Inode> {
        let node = self.names.node(inode)?;
        match (node.open_failure, &node.content, opened) {
            (Some(failure), ..) => Err(errno(failure)),
            (None, Content::File(_), Opened::Directory) => Err(errno(ENOTDIR)),
            _ => Ok(inode),
        }
    }
}
