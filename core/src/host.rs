//! The only way to the world: files under four roots, and what is not a file.
//!
//! A collector names a source by a logical path, such as `proc/diskstats` or
//! `sys/class/net/lo/mtu`. The first component says which root the rest is joined to:
//!
//! | prefix | root | without settings |
//! |---|---|---|
//! | `proc/` | [`Roots::procfs`] | `/proc` |
//! | `sys/` | [`Roots::sysfs`] | `/sys` |
//! | `rootfs/` | [`Roots::rootfs`] | `/` |
//! | `udev/` | [`Roots::udev`] | `/run/udev/data` |
//! | `file:` | none: the rest is a path as the user gave it | |
//!
//! A component `..` is refused everywhere but after `file:`, because parts of a path come from the
//! kernel's or another program's text. A name with a slash in it can only come from such text, too:
//! build paths from the names of a [`Listing`] or a [`Walk`].
//!
//! * [`KeptFile`]: one file, read at every collection;
//! * [`SharedFile`]: one file that several collectors read;
//! * [`Walk`]: directories of a class, and attributes of each child;
//! * [`Children`]: a directory of too many children to keep anything of each, such as `proc`;
//! * [`DeviceEvents`]: whether a device or a module may have come;
//! * [`Turns`]: which of much that hardly changes is read this time;
//! * [`Host::read`], [`Host::list`]: what is read seldom or never twice;
//! * [`StatfsQueue`]: the space of file systems, some of which may never answer;
//! * [`Host::route_socket`], [`Host::shared_links`], [`Host::link_counters`], [`Host::link_events`],
//!   [`Host::routing_tables`], [`Host::queueing_disciplines`], [`Host::socket_diagnostics`],
//!   [`Host::generic_socket`]: netlink;
//! * [`Host::ethtool`]: what the drivers of network interfaces say;
//! * [`Host::bus`], [`Host::systemd_bus`]: methods over D-Bus;
//! * [`Host::addresses`], [`Host::exchange`], [`Host::converse`]: a request and its answer, as a datagram
//!   or over a stream;
//! * [`Host::btrfs_devices`]: the devices of a Btrfs file system;
//! * [`Host::perf_counter`]: counters of performance events;
//! * [`Host::uname`], [`Host::now`], [`Host::zone`], [`Host::clock_discipline`].

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, Result};

mod addresses;
mod apart;
#[cfg(target_os = "linux")]
mod btrfs;
#[cfg(target_os = "linux")]
mod bus;
mod children;
mod clock;
mod connection_owner;
#[cfg(target_os = "linux")]
mod conversation;
mod deadline;
mod device_events;
#[cfg(target_os = "linux")]
mod ethtool;
#[cfg(target_os = "linux")]
mod ethtool_answers;
mod exchange;
mod extent;
#[cfg(target_os = "linux")]
mod generic_socket;
#[cfg(target_os = "linux")]
mod interface_names;
mod kept;
#[cfg(target_os = "linux")]
mod kernel;
mod lasting;
mod limits;
#[cfg(target_os = "linux")]
mod link_counters;
#[cfg(target_os = "linux")]
mod link_events;
mod listing;
#[cfg(any(test, feature = "testing"))]
mod memory;
#[cfg(target_os = "linux")]
pub mod netlink;
mod opened;
mod path;
mod pause;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod perf;
mod presence;
#[cfg(target_os = "linux")]
mod queueing_disciplines;
mod read;
mod real_path;
mod regular;
mod roots;
#[cfg(target_os = "linux")]
mod route_socket;
#[cfg(target_os = "linux")]
mod routing_tables;
mod shared;
#[cfg(target_os = "linux")]
mod socket_diagnostics;
mod space;
mod spare;
mod statfs;
mod stuck;
#[cfg_attr(not(target_os = "linux"), path = "host/elsewhere.rs")]
mod system;
mod turns;
mod uname;
mod version;
mod view;
mod walk;
mod zone;

pub use apart::{WakeSocket, is_apart, spawn_apart};
#[cfg(target_os = "linux")]
pub use btrfs::{BtrfsDevice, BtrfsDevices};
#[cfg(all(target_os = "linux", any(test, feature = "testing")))]
pub(crate) use bus::wire as bus_wire;
#[cfg(target_os = "linux")]
pub use bus::{Bus, BusCall, BusReader, BusWriter};
pub use children::Children;
pub use clock::ClockDiscipline;
pub use connection_owner::{UnknownOwner, connection_owner};
pub use device_events::DeviceEvents;
#[cfg(target_os = "linux")]
pub use ethtool::Ethtool;
#[cfg(all(target_os = "linux", any(test, feature = "testing")))]
pub use ethtool_answers::EthtoolAnswers;
#[cfg(target_os = "linux")]
pub use ethtool_answers::{EthtoolDriver, EthtoolSettings, EthtoolStatistics};
pub use exchange::ExchangeTimes;
#[cfg(target_os = "linux")]
pub use generic_socket::GenericSocket;
#[cfg(target_os = "linux")]
pub use interface_names::InterfaceNames;
pub use kept::KeptFile;
#[cfg(target_os = "linux")]
pub use link_counters::{CountedLink, LinkCounters};
#[cfg(target_os = "linux")]
pub use link_events::LinkEvents;
pub use listing::{Entry, Kind, Listing};
#[cfg(any(test, feature = "testing"))]
pub use memory::{MemoryHost, Requests};
#[cfg(target_os = "linux")]
pub use netlink::{
    Address, AttributeWriter, GenericMessage, GenericRequest, Link, LinkStatistics, Neighbour,
    NetlinkAttributes, NetworkRoute, NextHop, NextHops, QueueingDiscipline, TcpSocket,
};
pub use pause::Pause;
#[cfg(target_os = "linux")]
pub use peer::Peer;
#[cfg(target_os = "linux")]
pub use perf::{PerfCounter, PerfEvent};
pub use presence::Presence;
#[cfg(target_os = "linux")]
pub use queueing_disciplines::QueueingDisciplines;
pub use roots::Roots;
#[cfg(target_os = "linux")]
pub use route_socket::{RouteSocket, SharedLinks};
#[cfg(target_os = "linux")]
pub use routing_tables::RoutingTables;
pub use shared::{SharedBytes, SharedFile};
#[cfg(target_os = "linux")]
pub use socket_diagnostics::SocketDiagnostics;
pub use space::{Space, StatfsError};
pub use statfs::{StatfsAnswer, StatfsQueue};
pub use stuck::{StuckThread, StuckThreads};
pub use turns::Turns;
pub use uname::Uname;
pub use version::{Place, Version};
pub use view::{Namespace, View};
pub use vitald_sys::{
    Clock, clock_time, descriptor_tables_are_separate, duplicate_inherited, hold_signals,
    keep_heap_small, release_heap, release_program, signal_this_thread, take_without_meaning,
};
#[cfg(target_os = "linux")]
pub use vitald_sys::{bound_unsent, unread_bytes};
#[doc(hidden)]
pub use walk::attributes as attribute;
pub use walk::attributes::{Attribute, AttributeInfo, Attributes};
pub use walk::{Child, Matches, Walk};
pub use zone::Zone;

use crate::errno::EINVAL;
use extent::Extent;
use listing::Listed;
use opened::Opened;
use path::{refuse_parent, with_c_string};

/// The host that is measured, or an in-memory fake of one. Clones share everything.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    roots: Roots,
    world: World,
    statfs: statfs::StatfsPool,
    lasting: Arc<lasting::Lasting>,
}

/// The bottom layer: everything above it is the same for both.
enum World {
    Real,
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost),
}

/// An opened file or directory.
enum Handle {
    Real(system::Descriptor),
    #[cfg(any(test, feature = "testing"))]
    Memory(memory::Inode),
}

#[cfg(any(test, feature = "testing"))]
impl MemoryHost {
    /// The host that collectors are opened with.
    pub fn host(&self) -> Host {
        Host::over(World::Memory(self.clone()), Roots::default(), statfs::StatfsPool::new())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("roots", &self.inner.roots).finish_non_exhaustive()
    }
}

impl Host {
    /// The real host. Opens nothing.
    pub fn new(roots: Roots) -> Host {
        Self::over(World::Real, roots, statfs::StatfsPool::new())
    }

    fn over(world: World, roots: Roots, statfs: statfs::StatfsPool) -> Host {
        let lasting = match &world {
            World::Real => lasting::Lasting::of_process(&roots),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => Arc::default(),
        };
        Host { inner: Arc::new(Inner { roots, world, statfs, lasting }) }
    }

    /// The roots that logical paths are joined to. The in-memory fake has the default ones.
    pub fn roots(&self) -> &Roots {
        &self.inner.roots
    }

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`]; the listing is empty then.
    pub fn list(&self, path: &str, listing: &mut Listing) -> Result<()> {
        self.try_list(path, listing).map_err(|error| Error::from_io(path, error))
    }

    /// As [`Host::list`], with the system's own error: for a directory whose absence is usual, because
    /// no allocation is made then.
    ///
    /// # Errors
    ///
    /// What open(2) and getdents(2) say; the listing is empty then.
    pub fn try_list(&self, path: &str, listing: &mut Listing) -> io::Result<()> {
        listing.clear();
        let handle = self.open(path.as_bytes(), Opened::Directory)?;
        self.list_opened(&handle, Listed::New, listing)
    }

    /// The target of a symbolic link, as it is written in the link.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`], also for what is no link.
    pub fn read_link<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        self.link_target(path.as_bytes(), buffer).map_err(|error| Error::from_io(path, error))?;
        Ok(buffer)
    }

    /// When a file's content was last changed (`st_mtime`), in seconds since the epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    pub fn modified(&self, path: &str) -> Result<f64> {
        self.try_modified(path).map_err(|error| Error::from_io(path, error))
    }

    /// As [`Host::modified`], with the system's own error, for which no allocation is made.
    ///
    /// # Errors
    ///
    /// What stat(2) says.
    pub fn try_modified(&self, path: &str) -> io::Result<f64> {
        match &self.inner.world {
            World::Real => self.joined(path.as_bytes(), system::modified),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.modified(path.as_bytes()),
        }
    }

    /// What tells whether a file is still the one that was read, by one system call. The server of a network file
    /// system is asked, whatever is remembered of it.
    ///
    /// Two changes within the time for which a file system does not look at the clock, which is 2 seconds at most,
    /// may leave the same: what has changed so recently by [`Version::changed`] has to be read anew.
    ///
    /// # Errors
    ///
    /// What statx(2) or stat(2) says; no allocation is made for it.
    pub fn try_version(&self, path: &str) -> io::Result<Version> {
        match &self.inner.world {
            World::Real => self.joined(path.as_bytes(), system::version),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.version(path.as_bytes()),
        }
    }

    /// State of a collector that outlives it: one value of each type, which every host with the
    /// same roots shares for the life of the process.
    ///
    /// For what must survive a reload that opens the collector anew, such as the highest value of
    /// a counter that was shown so far.
    pub fn lasting<T: Default + Send + 'static>(&self) -> Arc<Mutex<T>> {
        self.inner.lasting.get()
    }

    /// Fills in what uname(2) says of the running system. The names are read anew each time,
    /// since the node's can be changed.
    pub fn uname(&self, into: &mut Uname) {
        match &self.inner.world {
            World::Real => system::uname(into),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => into.clone_from(&memory.uname()),
        }
    }

    /// The time since the epoch by the host's clock. For durations take `std::time::Instant`.
    pub fn now(&self) -> Duration {
        match &self.inner.world {
            // A clock before 1970 has lost its battery, and shows as 1970.
            World::Real => {
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
            }
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.now(),
        }
    }

    /// The clock by which durations are measured; in memory it stands still unless a test lets time pass.
    fn instant(&self) -> Instant {
        match &self.inner.world {
            World::Real => Instant::now(),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.instant(),
        }
    }

    /// How the kernel disciplines its clock (adjtimex(2)); nothing is changed by it.
    ///
    /// # Errors
    ///
    /// What adjtimex(2) says: EPERM or ENOSYS where a container may not ask.
    pub fn clock_discipline(&self) -> io::Result<ClockDiscipline> {
        match &self.inner.world {
            World::Real => vitald_sys::clock_discipline(),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.clock_discipline(),
        }
    }

    /// The local time zone: `TZ`, else `/etc/localtime`, else UTC. Reads files: call it once, at
    /// the first collection.
    pub fn zone(&self) -> Zone {
        match &self.inner.world {
            World::Real => Zone::of_process(),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => {
                let mut file = Vec::new();
                self.try_read("file:/etc/localtime", &mut file)
                    .ok()
                    .and_then(Zone::parse)
                    .unwrap_or_default()
            }
        }
    }

    /// The unit of times in procfs, `USER_HZ`: 100 a second (proc(5), sysconf(3)).
    pub fn ticks_per_second(&self) -> f64 {
        match &self.inner.world {
            World::Real => system::ticks_per_second() as f64,
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => 100.0,
        }
    }

    /// The size of a memory page, in bytes.
    pub fn page_size(&self) -> u64 {
        match &self.inner.world {
            World::Real => system::page_size() as u64,
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => 4096,
        }
    }

    /// Asks each mount in the queue for its space (statfs(2)), under [`Roots::rootfs`].
    ///
    /// Mounts pushed with `may_block` are asked on other threads: as many at a time as the queue has
    /// workers, which are four unless it says otherwise, and more beside slow ones.
    ///
    /// A mount that takes longer than `timeout`, or longer than a second when it is not known to take
    /// longer, or is being asked when `within` is over, is [`StatfsError::Stuck`], in this call and in every later one of any host, until the call that
    /// hangs has returned. A mount for which there was no time or no thread, or whose server leaves
    /// as many calls waiting as there are workers, is [`StatfsError::NotAsked`].
    ///
    /// How many of these threads hang at a time is bounded for the whole process: beyond
    /// [`StuckThreads::LIMIT`] only mounts that answered before are asked, and one a call of which nothing is
    /// known, until twice as many hang.
    pub fn statfs_each(&self, queue: &mut StatfsQueue, timeout: Duration, within: Duration) {
        match &self.inner.world {
            World::Real => {
                let rootfs = self.inner.roots.rootfs.as_os_str();
                self.inner.statfs.ask_each(queue, rootfs, timeout, within);
            }
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => queue.answer_each(|mount| memory.space(mount)),
        }
    }

    /// Whose processes, network and root directory this process sees: the host's, or those of a container
    /// that it is in. It reads files, once and not for a collection, and may block.
    pub fn view(&self) -> View {
        match &self.inner.world {
            World::Real => View::of(&self.inner.roots),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => View::UNKNOWN,
        }
    }

    fn open(&self, path: &[u8], opened: Opened) -> io::Result<Handle> {
        match &self.inner.world {
            World::Real => {
                self.joined(path, |path| system::open(None, path, opened)).map(Handle::Real)
            }
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.open(path, opened).map(Handle::Memory),
        }
    }

    /// Opens what is below an opened directory.
    fn open_in(&self, directory: &Handle, path: &[u8], opened: Opened) -> io::Result<Handle> {
        refuse_parent(path)?;
        match directory {
            Handle::Real(directory) => with_c_string(
                |bytes| bytes.extend_from_slice(path),
                |path| system::open(Some(directory), path, opened),
            )
            .map(Handle::Real),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(directory) => {
                self.memory().open_in(*directory, path, opened).map(Handle::Memory)
            }
        }
    }

    /// Whether the file is the kernel's own, so that a descriptor on it may be kept: any other
    /// would hold up an unmount, and go on reading a file that has been replaced.
    fn is_kernel_made(&self, handle: &Handle) -> bool {
        match handle {
            Handle::Real(descriptor) => system::is_kernel_made(descriptor),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(_) => true,
        }
    }

    /// Appends to the spare room of the buffer; 0 bytes are the end. What the reader takes for the
    /// end matters to the fake alone, which gives short reads where that reader must expect them.
    #[cfg_attr(not(any(test, feature = "testing")), allow(unused_variables))]
    fn read_at(
        &self,
        handle: &Handle,
        extent: Extent,
        buffer: &mut Vec<u8>,
        offset: u64,
    ) -> io::Result<usize> {
        match handle {
            Handle::Real(descriptor) => system::read_at(descriptor, buffer, offset),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(inode) => self.memory().read_at(*inode, extent, buffer, offset),
        }
    }

    /// See [`KeptFile::is_announced_unchanged`].
    fn is_announced_unchanged(&self, handle: &Handle) -> bool {
        match handle {
            Handle::Real(descriptor) => system::is_announced_unchanged(descriptor),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(inode) => self.memory().is_announced_unchanged(*inode),
        }
    }

    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    fn list_opened(
        &self,
        handle: &Handle,
        directory: Listed,
        listing: &mut Listing,
    ) -> io::Result<()> {
        listing.clear();
        let listed = match handle {
            Handle::Real(descriptor) => system::list(descriptor, directory, listing),
            #[cfg(any(test, feature = "testing"))]
            Handle::Memory(inode) => self.memory().list(*inode, listing),
        };
        match listed {
            Ok(()) => listing.sort(),
            Err(_) => listing.clear(),
        }
        listed
    }

    fn link_target(&self, path: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        match &self.inner.world {
            World::Real => self.joined(path, |path| system::read_link(None, path, buffer)),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => memory.read_link(path, buffer),
        }
    }

    #[cfg(any(test, feature = "testing"))]
    fn memory(&self) -> &MemoryHost {
        match &self.inner.world {
            World::Memory(memory) => memory,
            World::Real => unreachable!("handles of the two kinds do not mix"),
        }
    }

    /// Calls with the path that the system knows the logical path by.
    fn joined<T>(&self, path: &[u8], call: impl FnOnce(&CStr) -> io::Result<T>) -> io::Result<T> {
        let (root, rest) = self.split(path)?;
        with_c_string(
            |bytes| match root {
                None => bytes.extend_from_slice(rest),
                Some(root) => {
                    bytes.extend_from_slice(root.as_os_str().as_encoded_bytes());
                    bytes.push(b'/');
                    bytes.extend_from_slice(rest);
                }
            },
            call,
        )
    }

    /// Splits a logical path into the root it is joined to and the rest.
    fn split<'a>(&self, path: &'a [u8]) -> io::Result<(Option<&Path>, &'a [u8])> {
        if let Some(rest) = path.strip_prefix(b"file:") {
            return Ok((None, rest));
        }
        refuse_parent(path)?;
        let slash = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
        let roots = &self.inner.roots;
        let root = match &path[..slash] {
            b"proc" => &roots.procfs,
            b"sys" => &roots.sysfs,
            b"rootfs" => &roots.rootfs,
            b"udev" => &roots.udev,
            _ => return Err(io::Error::from_raw_os_error(EINVAL)),
        };
        Ok((Some(root), path.get(slash + 1..).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
