//! Handles on rtnetlink: a socket of one's own, and the dump of the interfaces that is shared.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::Instant;

use super::Host;
use super::kernel::Kernel;
use super::netlink::{Address, Link, LinkStatistics, Route, parse_links};
use crate::error::{Error, Result};
use crate::sync::lock;

/// What the errors call it.
const SOURCE: &str = "netlink route";

/// A netlink socket of its own for one consumer, so that a dump which waits for the kernel holds
/// up no other.
///
/// It is of this process's network namespace, which is not necessarily that of
/// [`Roots::procfs`](super::Roots::procfs).
pub struct RouteSocket(Kernel<Route>);

impl Host {
    /// A socket for interfaces and addresses. Nothing is opened until it is used.
    pub fn route_socket(&self) -> RouteSocket {
        RouteSocket(self.kernel(Route::new))
    }

    /// A handle on the interfaces that other collectors ask for, too.
    pub fn shared_links(&self) -> SharedLinks {
        let known = self.lasting::<Weak<Source>>();
        let mut known = lock(&known);
        let source = known.upgrade().unwrap_or_else(|| {
            let source = Arc::<Source>::default();
            *known = Arc::downgrade(&source);
            source
        });
        SharedLinks { source, socket: self.route_socket() }
    }
}

impl RouteSocket {
    /// Passes on every network interface with its statistics.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], see [`Route::links`].
    pub fn links(&mut self, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(route) => route.links(each).map(drop).map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.links(each),
        }
    }

    /// Asks for what every network interface has counted, and for nothing else of it, for
    /// [`RouteSocket::last_statistics`].
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], see [`Route::dump_statistics`].
    pub(super) fn dump_statistics(&mut self) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(route) => route.dump_statistics().map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.counts_links(),
        }
    }

    /// Passes on the index of every network interface of the last dump of statistics, and what it has counted.
    ///
    /// # Errors
    ///
    /// The last dump was of something else.
    pub(super) fn last_statistics(
        &self,
        each: &mut dyn FnMut(i32, Option<LinkStatistics>),
    ) -> Result<()> {
        match &self.0 {
            Kernel::Real(route) => route.last_statistics(each).map(drop).map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => {
                memory.links_as_they_are(&mut |link| each(link.index, link.statistics))
            }
        }
    }

    /// As [`RouteSocket::links`], without asking for the statistics; they may be there all the
    /// same.
    ///
    /// # Errors
    ///
    /// As [`RouteSocket::links`].
    pub fn links_without_statistics(&mut self, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(route) => route.links_without_statistics(each).map(drop).map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.links(each),
        }
    }

    /// Passes on every IPv4 and IPv6 address.
    ///
    /// # Errors
    ///
    /// As [`RouteSocket::links`].
    pub fn addresses(&mut self, each: &mut dyn FnMut(Address<'_>)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(route) => route.addresses(each).map(drop).map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.addresses(each),
        }
    }
}

fn named(error: std::io::Error) -> Error {
    Error::from_io(SOURCE, error)
}

/// One dump of the interfaces for all collectors that want them.
type Source = Mutex<Dumped>;

/// What a handle has asked for with its own socket.
#[derive(Default)]
struct Dumped {
    bytes: Vec<u8>,
    /// When the dump began that the bytes are; `None` before the first and after a failed one.
    began: Option<Instant>,
}

impl Dumped {
    fn links(
        &mut self,
        socket: &mut RouteSocket,
        fresh_from: Instant,
        each: &mut dyn FnMut(Link<'_>),
    ) -> Result<()> {
        match &mut socket.0 {
            Kernel::Real(route) => {
                if self.began.is_none_or(|began| began < fresh_from) {
                    self.began = None;
                    let began = Instant::now();
                    route.dump_links().map_err(named)?;
                    route.swap_dump(&mut self.bytes);
                    self.began = Some(began);
                }
                parse_links(&self.bytes, each).map(drop).map_err(|error| named(error.into()))
            }
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.links(each),
        }
    }
}

/// A handle on the dump of the interfaces: one dump a collection serves all collectors.
///
/// Each handle asks with a socket of its own, and only memory is shared. So it is for a collector with
/// [descriptors of its own](crate::collector::Collector::OWN_DESCRIPTORS), too.
pub struct SharedLinks {
    source: Arc<Source>,
    socket: RouteSocket,
}

impl SharedLinks {
    /// Passes on every network interface with its statistics, from a dump that began at
    /// `fresh_from` or later; take [`Batch::fresh_from`](crate::batch::Batch::fresh_from).
    ///
    /// If another thread has the dump at this moment, the kernel is asked separately.
    ///
    /// # Errors
    ///
    /// As [`RouteSocket::links`].
    pub fn each(&mut self, fresh_from: Instant, each: &mut dyn FnMut(Link<'_>)) -> Result<()> {
        match self.source.try_lock() {
            Ok(mut dumped) => dumped.links(&mut self.socket, fresh_from, each),
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut dumped = poisoned.into_inner();
                self.source.clear_poison();
                dumped.began = None;
                dumped.links(&mut self.socket, fresh_from, each)
            }
            Err(TryLockError::WouldBlock) => self.socket.links(each),
        }
    }

    /// Whether another collector has had a dump that began at `fresh_from` or later.
    pub(super) fn are_dumped(&self, fresh_from: Instant) -> bool {
        let dumped = self.source.try_lock();
        dumped.is_ok_and(|dumped| dumped.began.is_some_and(|began| began >= fresh_from))
    }

    /// The socket of this handle, for other dumps.
    pub(super) fn socket(&mut self) -> &mut RouteSocket {
        &mut self.socket
    }
}

impl fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSocket").finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLinks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Roots;

    /// The real host. Hosts of the same roots share a dump, so that each test has its own, which no other asks anew.
    fn host(test: &str) -> Host {
        Host::new(Roots { procfs: test.into(), ..Roots::default() })
    }

    fn count(links: &mut SharedLinks, fresh_from: Instant) -> (usize, Instant) {
        let mut count = 0;
        links.each(fresh_from, &mut |_| count += 1).unwrap();
        let began = lock(&links.source).began.unwrap();
        (count, began)
    }

    #[test]
    fn one_dump_serves_a_collection() {
        let host = host("one_dump_serves_a_collection");
        let (mut first, mut second) = (host.shared_links(), host.shared_links());
        let fresh_from = Instant::now();
        let (interfaces, began) = count(&mut first, fresh_from);
        assert_eq!(count(&mut second, fresh_from), (interfaces, began));
        let (_, next) = count(&mut first, Instant::now() + std::time::Duration::from_nanos(1));
        assert!(next > began);
        // While another thread has the dump, this one asks for its own.
        let source = Arc::clone(&first.source);
        let _held = lock(&source);
        let mut own = 0;
        second.each(fresh_from, &mut |_| own += 1).unwrap();
        assert_eq!(own, interfaces);
    }
    /// A thread with descriptors of its own shares the bytes of a dump and no socket.
    #[test]
    fn a_dump_is_shared_with_a_thread_that_shares_no_descriptor() {
        let host = host("a_dump_is_shared_with_a_thread_that_shares_no_descriptor");
        let (mut apart, mut own) = (host.shared_links(), host.shared_links());
        let fresh_from = Instant::now();
        let (send, receive) = std::sync::mpsc::channel();
        let work = move || {
            let dumped = count(&mut apart, fresh_from);
            // The socket is closed where it was opened.
            drop(apart);
            send.send(dumped).unwrap();
        };
        crate::host::spawn_apart("apart".to_owned(), None, work).unwrap();
        let dumped = receive.recv().unwrap();
        assert_eq!(count(&mut own, fresh_from), dumped);
        let (_, next) = count(&mut own, Instant::now() + std::time::Duration::from_nanos(1));
        assert!(next > dumped.1);
    }
}
