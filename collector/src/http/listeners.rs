//! Listeners: bound before anything that runs is touched, swapped by a reload, stopped in peace.

use super::Http;
use super::connection::{self, Patience, Seat, Stream};
use super::counters::HttpCounters;
use super::routes::{Reception, Router};
use super::socket::{BindError, Socket};
use crate::plan::{Address, Admin, Listen, Server};
use crate::reload::ListenerChanges;
use crate::sync::lock;
use hyper::server::conn::http1;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use vitald_core::settings::{Mistake, Origin};

/// The longest a head may take once its first byte is there, and a connection to send that byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader may take nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests after the system refused for lack of something, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long nothing may have gone wrong before accepting is said to work again.
const TROUBLE_IS_OVER: Duration = Duration::from_secs(10);
/// How often those who wait for room look whether a connection has become idle.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);
/// How long a connection must have been idle to be closed for another one: whoever has just come may
/// have sent a request that nobody has looked at yet.
const JUST_CAME: Duration = Duration::from_millis(20);

/// The listeners of the daemon and the connections they accepted.
pub(crate) struct Listeners {
    house: Arc<House>,
}

/// Listeners that are bound and not yet swapped in. Dropping them unbinds them.
pub(crate) struct StagedListeners {
    server: Server,
    bound: Vec<Arc<Listener>>,
    /// Those that a running listener keeps from being bound, which is to go away itself.
    handed_over: Vec<Listen>,
}

/// What listeners and connections share.
pub(super) struct House {
    pub(super) builder: http1::Builder,
    counters: Arc<HttpCounters>,
    epoch: Instant,
    idle_timeout: AtomicU64,
    head_timeout: AtomicU64,
    stall_timeout: AtomicU64,
    max_connections: AtomicU64,
    max_requests: AtomicU64,
    running: Mutex<Vec<Arc<Listener>>>,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    next_seat: AtomicU64,
    left: Notify,
    open: OnceLock<(Arc<Router>, Handle)>,
}

/// One listener.
pub(super) struct Listener {
    address: Address,
    admin: Mutex<Arc<Admin>>,
    socket: Socket,
    closed: AtomicBool,
    accepting: Mutex<Option<AbortHandle>>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// An internet address.
    Tcp(SocketAddr),
    /// A process of this machine, with its uid if the kernel told.
    Unix(Option<u32>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(Some(uid)) => write!(f, "uid {uid}"),
            Peer::Unix(None) => f.write_str("a unix socket"),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Listeners {
    /// None yet.
    pub(crate) fn new(counters: Arc<HttpCounters>) -> Arc<Self> {
        let house = House {
            builder: connection::builder(),
            counters,
            epoch: Instant::now(),
            idle_timeout: AtomicU64::new(0),
            head_timeout: AtomicU64::new(milliseconds(HEAD_TIMEOUT)),
            stall_timeout: AtomicU64::new(milliseconds(STALL_TIMEOUT)),
            max_connections: AtomicU64::new(1),
            max_requests: AtomicU64::new(0),
            running: Mutex::new(Vec::new()),
            seats: Mutex::new(HashMap::new()),
            next_seat: AtomicU64::new(0),
            left: Notify::new(),
            open: OnceLock::new(),
        };
        Arc::new(Listeners { house: Arc::new(house) })
    }

    /// What a swap to these would do.
    pub(crate) fn changes(&self, listen: &[Listen]) -> ListenerChanges {
        let running = lock(&self.house.running);
        let runs = |address: &Address| running.iter().any(|listener| listener.address == *address);
        let wanted = |address: &Address| listen.iter().any(|wanted| wanted.address == *address);
        let mut changes = ListenerChanges::default();
        for listen in listen {
            let list =
                if runs(&listen.address) { &mut changes.unchanged } else { &mut changes.started };
            list.push(listen.address.to_string());
        }
        let stopped = running.iter().filter(|listener| !wanted(&listener.address));
        changes.stopped.extend(stopped.map(|listener| listener.address.to_string()));
        changes
    }

    /// Binds what is new and touches nothing that runs. What is bound takes connections into its
    /// backlog at once and answers them after the swap.
    ///
    /// An address that is in use by a listener that goes away is bound in the swap.
    ///
    /// # Errors
    ///
    /// Every address that cannot be bound.
    pub(crate) fn stage(&self, server: &Server) -> Result<StagedListeners, Vec<Mistake>> {
        let running = lock(&self.house.running).clone();
        let mut staged =
            StagedListeners { server: server.clone(), bound: Vec::new(), handed_over: Vec::new() };
        let mut mistakes = Vec::new();
        for listen in &server.listen {
            if running.iter().any(|listener| listener.address == listen.address) {
                continue;
            }
            match Socket::listen(&listen.address) {
                Ok(socket) => staged.bound.push(Listener::new(listen, socket)),
                Err(BindError::InUse) if in_the_way(&running, server, listen).next().is_some() => {
                    staged.handed_over.push(listen.clone());
                }
                Err(error) => mistakes.push(mistake(listen, &error)),
            }
        }
        if mistakes.is_empty() { Ok(staged) } else { Err(mistakes) }
    }

    /// Makes the staged listeners the running ones. Unchanged ones and their connections stay; the
    /// connections of those that stop end after the request they are at.
    ///
    /// # Errors
    ///
    /// Addresses that a stopped listener was to make free and that could not be bound even so. Then
    /// everything runs as before.
    pub(crate) fn swap(
        &self,
        mut staged: StagedListeners,
    ) -> Result<ListenerChanges, Vec<Mistake>> {
        let house = &self.house;
        let mut running = lock(&house.running).clone();
        let changes = self.changes(&staged.server.listen);
        for listen in std::mem::take(&mut staged.handed_over) {
            match hand_over(house, &running, &staged.server, &listen) {
                Ok(listener) => staged.bound.push(listener),
                Err(error) => {
                    // Those handed over before this one give their addresses back.
                    let bound = std::mem::take(&mut staged.bound);
                    bound.iter().for_each(|listener| listener.socket.stop());
                    drop(bound);
                    running.iter().for_each(|listener| listener.resume());
                    return Err(vec![mistake(&listen, &error)]);
                }
            }
        }
        house.limit(&staged.server);
        let wanted = |listener: &Listener| {
            staged.server.listen.iter().find(|listen| listen.address == listener.address)
        };
        running.retain(|listener| match wanted(listener) {
            Some(listen) => {
                listener.set_admin(&listen.admin);
                true
            }
            None => {
                house.close(listener);
                false
            }
        });
        if let Some((router, handle)) = house.open.get() {
            for listener in &staged.bound {
                house.start(listener, router, handle);
            }
        }
        running.append(&mut staged.bound);
        *lock(&house.running) = running;
        Ok(changes)
    }

    /// Starts to answer, on what is bound now and on what a swap will bring. To be called once,
    /// within the runtime that is to serve.
    pub(crate) fn open(&self, http: Arc<Http>) {
        let (router, handle) =
            self.house.open.get_or_init(|| (Router::new(http), Handle::current()));
        for listener in lock(&self.house.running).iter() {
            self.house.start(listener, router, handle);
        }
    }

    /// Where the listeners are bound in truth: for port 0 the port that the kernel chose. Unix
    /// sockets are left out.
    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        lock(&self.house.running).iter().filter_map(|listener| listener.socket.bound()).collect()
    }

    /// Stops listening, lets the requests under way end and cuts what is left at the deadline. Answers
    /// how many connections had to be cut.
    pub(crate) async fn stop(&self, deadline: Instant) -> usize {
        let house = &self.house;
        let running = std::mem::take(&mut *lock(&house.running));
        for listener in &running {
            house.close(listener);
        }
        drop(running);
        let all_left = async {
            loop {
                let left = house.left.notified();
                if lock(&house.seats).is_empty() {
                    return;
                }
                left.await;
            }
        };
        let in_time = tokio::time::timeout_at(deadline.into(), all_left).await.is_ok();
        if in_time {
            return 0;
        }
        let seats = std::mem::take(&mut *lock(&house.seats));
        seats.values().for_each(|seat| seat.cut());
        // The connections' tasks close them as soon as they are polled.
        tokio::task::yield_now().await;
        seats.len()
    }

    #[cfg(test)]
    pub(super) fn set_patience(&self, head: Duration, stall: Duration) {
        self.house.head_timeout.store(milliseconds(head), Ordering::Relaxed);
        self.house.stall_timeout.store(milliseconds(stall), Ordering::Relaxed);
    }
}

fn mistake(listen: &Listen, error: &BindError) -> Mistake {
    Mistake {
        origin: Origin::Default,
        path: "server.listen".to_owned(),
        message: format!("cannot listen on {}: {error}", listen.address),
    }
}

/// Running listeners that go away and have the port of a new one.
fn in_the_way<'a>(
    running: &'a [Arc<Listener>],
    server: &'a Server,
    new: &'a Listen,
) -> impl Iterator<Item = &'a Arc<Listener>> {
    running.iter().filter(|listener| match (&listener.address, &new.address) {
        (Address::Tcp { socket: old, .. }, Address::Tcp { socket: new, .. }) => {
            let stays = server.listen.iter().any(|listen| listen.address == listener.address);
            old.port() == new.port() && !stays
        }
        _ => false,
    })
}

/// Stops what is in the way of a new listener and binds that; the gap takes three system calls.
fn hand_over(
    house: &Arc<House>,
    running: &[Arc<Listener>],
    server: &Server,
    new: &Listen,
) -> Result<Arc<Listener>, BindError> {
    for old in in_the_way(running, server, new) {
        house.accept_what_waits(old);
        old.socket.stop();
    }
    Ok(Listener::new(new, Socket::listen(&new.address)?))
}

impl Listener {
    fn new(listen: &Listen, socket: Socket) -> Arc<Self> {
        Arc::new(Listener {
            address: listen.address.clone(),
            admin: Mutex::new(Arc::new(listen.admin.clone())),
            socket,
            closed: AtomicBool::new(false),
            accepting: Mutex::new(None),
        })
    }

    /// Who may administer through it.
    pub(super) fn admin(&self) -> Arc<Admin> {
        Arc::clone(&lock(&self.admin))
    }

    fn set_admin(&self, admin: &Admin) {
        let mut own = lock(&self.admin);
        if **own != *admin {
            *own = Arc::new(admin.clone());
        }
    }

    fn resume(&self) {
        if let Address::Tcp { .. } = self.address
            && let Err(error) = self.socket.resume()
        {
            tracing::error!(address = %self.address, %error, "cannot listen again");
        }
    }

    /// Takes one connection that waits, without waiting itself.
    fn take(&self) -> io::Result<(Stream, Peer)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (descriptor, from) = rustix::net::acceptfrom_with(&self.socket.descriptor, flags)?;
        match &self.address {
            Address::Tcp { .. } => {
                let unknown = || io::Error::from(io::ErrorKind::NotConnected);
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let stream = TcpStream::from_std(descriptor.into())?;
                over_tcp(stream, from.ok_or_else(unknown)?)
            }
            Address::Unix(_) => Ok(over_unix(UnixStream::from_std(descriptor.into())?)),
        }
    }
}

fn over_tcp(stream: TcpStream, from: SocketAddr) -> io::Result<(Stream, Peer)> {
    // An answer is written in one piece; what is left of it must not wait for an acknowledgement.
    stream.set_nodelay(true)?;
    Ok((Stream::Tcp(stream), Peer::Tcp(from)))
}

fn over_unix(stream: UnixStream) -> (Stream, Peer) {
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    (Stream::Unix(stream), Peer::Unix(uid))
}

/// A listener as the reactor takes it: a second descriptor of the same socket.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn of(listener: &Listener) -> io::Result<Self> {
        let descriptor = listener.socket.descriptor.try_clone()?;
        Ok(match listener.address {
            Address::Tcp { .. } => Acceptor::Tcp(TcpListener::from_std(descriptor.into())?),
            Address::Unix(_) => Acceptor::Unix(UnixListener::from_std(descriptor.into())?),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                over_tcp(stream, from)
            }
            Acceptor::Unix(listener) => Ok(over_unix(listener.accept().await?.0)),
        }
    }
}

impl House {
    pub(super) fn patience(&self) -> Patience {
        let read = |timeout: &AtomicU64| Duration::from_millis(timeout.load(Ordering::Relaxed));
        let idle = read(&self.idle_timeout);
        Patience {
            idle,
            head: read(&self.head_timeout).min(idle),
            stall: read(&self.stall_timeout),
        }
    }

    pub(super) fn max_requests(&self) -> u64 {
        self.max_requests.load(Ordering::Relaxed)
    }

    fn limit(&self, server: &Server) {
        self.idle_timeout.store(milliseconds(server.idle_timeout), Ordering::Relaxed);
        self.max_requests.store(u64::from(server.max_requests), Ordering::Relaxed);
        // Connections leave at least half of all descriptors to the collectors.
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let most = descriptors.map_or(u64::MAX, |limit| limit / 2).max(1);
        let wanted = match server.max_connections {
            0 => u64::MAX,
            wanted => u64::from(wanted),
        };
        self.max_connections.store(wanted.min(most), Ordering::Relaxed);
    }

    fn start(self: &Arc<Self>, listener: &Arc<Listener>, router: &Arc<Router>, handle: &Handle) {
        let _runtime = handle.enter();
        let task = accept(Arc::clone(self), Arc::clone(listener), Arc::clone(router));
        let task = handle.spawn(task).abort_handle();
        if let Some(earlier) = lock(&listener.accepting).replace(task) {
            earlier.abort();
        }
    }

    /// Stops a listener; its connections end after the request they are at.
    fn close(self: &Arc<Self>, listener: &Arc<Listener>) {
        self.accept_what_waits(listener);
        listener.closed.store(true, Ordering::Relaxed);
        if let Some(task) = lock(&listener.accepting).take() {
            task.abort();
        }
        listener.socket.stop();
        for seat in lock(&self.seats).values() {
            if Arc::ptr_eq(&seat.listener, listener) {
                seat.leave();
            }
        }
    }

    /// Takes the connections out of the backlog of a listener that is about to stop; the kernel
    /// would reset them.
    fn accept_what_waits(self: &Arc<Self>, listener: &Arc<Listener>) {
        let Some((router, handle)) = self.open.get() else { return };
        let _runtime = handle.enter();
        while let Ok((stream, peer)) = listener.take() {
            self.admit(listener, stream, peer, router);
        }
    }

    /// Waits until there may be another connection. If all are taken, the one that has been idle
    /// longest has to go, so that many idle clients cannot lock out one that asks.
    async fn wait_for_room(&self) {
        loop {
            let left = self.left.notified();
            if (lock(&self.seats).len() as u64) < self.max_connections.load(Ordering::Relaxed) {
                return;
            }
            let wait = if self.evict() { LOOK_FOR_ROOM } else { JUST_CAME };
            let _ = tokio::time::timeout(wait, left).await;
        }
    }

    /// Answers whether there was one to be closed.
    fn evict(&self) -> bool {
        let latest = milliseconds(self.epoch.elapsed().saturating_sub(JUST_CAME));
        let seats = lock(&self.seats);
        let idle = seats.values().filter_map(|seat| Some((seat.idle_since()?, seat)));
        let Some((since, seat)) = idle.min_by_key(|(since, _)| *since) else { return false };
        if since > latest {
            return false;
        }
        self.counters.count_evicted();
        seat.cut();
        true
    }

    /// Serves a connection on a task of its own.
    fn admit(
        self: &Arc<Self>,
        listener: &Arc<Listener>,
        stream: Stream,
        peer: Peer,
        router: &Arc<Router>,
    ) {
        let seat =
            Arc::new(Seat::new(self.epoch, Arc::clone(listener), Arc::clone(&self.counters)));
        let number = self.next_seat.fetch_add(1, Ordering::Relaxed);
        self.counters.count_accepted();
        {
            let mut seats = lock(&self.seats);
            seats.insert(number, Arc::clone(&seat));
            self.counters.connections_are(seats.len());
        }
        let reception =
            Reception::new(Arc::clone(router), Arc::clone(self), Arc::clone(&seat), peer);
        let leave = Leave { house: Arc::clone(self), number };
        let house = Arc::clone(self);
        tokio::spawn(async move {
            let _leave = leave;
            connection::serve(house, seat, stream, reception).await;
        });
    }
}

/// Gives a connection's place free, however it ends.
struct Leave {
    house: Arc<House>,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut seats = lock(&self.house.seats);
        seats.remove(&self.number);
        self.house.counters.connections_are(seats.len());
        drop(seats);
        self.house.left.notify_waiters();
    }
}

/// Accepts until the listener is closed.
async fn accept(house: Arc<House>, listener: Arc<Listener>, router: Arc<Router>) {
    let acceptor = match Acceptor::of(&listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(address = %listener.address, %error, "cannot accept connections");
            return;
        }
    };
    let mut trouble = Trouble::default();
    loop {
        let error = match acceptor.accept().await {
            Ok((stream, peer)) => {
                trouble.over(&listener);
                house.wait_for_room().await;
                house.admit(&listener, stream, peer, &router);
                continue;
            }
            Err(_) if listener.closed.load(Ordering::Relaxed) => return,
            Err(error) => error,
        };
        house.counters.count_accept_error();
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        // These are faults of one connection, which has been taken out of the backlog (accept(2)).
        let passing = matches!(
            error,
            Errno::CONNABORTED
                | Errno::NOTCONN
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::OPNOTSUPP
        );
        if passing {
            tokio::task::yield_now().await;
            continue;
        }
        let rest = trouble.with(&listener, error);
        let left = house.left.notified();
        // An idle connection that is closed gives its descriptor to the one that waits.
        if matches!(error, Errno::MFILE | Errno::NFILE) && house.evict() {
            let _ = tokio::time::timeout(rest, left).await;
        } else {
            tokio::time::sleep(rest).await;
        }
    }
}

/// A fault in accepting that lasts: it is told when it begins and when it has been over for a while.
#[derive(Default)]
struct Trouble {
    error: Option<(Errno, Instant)>,
    rest: Duration,
}

impl Trouble {
    /// Answers how long to rest.
    fn with(&mut self, listener: &Listener, error: Errno) -> Duration {
        if self.error.is_none_or(|(known, _)| known != error) {
            let text = io::Error::from(error);
            tracing::warn!(address = %listener.address, error = %text, "cannot accept connections");
        }
        self.error = Some((error, Instant::now()));
        self.rest = (self.rest * 2).clamp(REST.0, REST.1);
        self.rest
    }

    /// One connection was accepted. Where descriptors are short this and the fault take turns.
    fn over(&mut self, listener: &Listener) {
        self.rest = Duration::ZERO;
        if self.error.is_some_and(|(_, last)| last.elapsed() > TROUBLE_IS_OVER) {
            tracing::info!(address = %listener.address, "accepts connections again");
            self.error = None;
        }
    }
}
