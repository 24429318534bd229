//! One listener: it accepts connections until it is closed.

use super::access::Access;
use super::connections::{Accepted, Connections};
use super::socket::{BACKLOG, Socket};
use super::state::ListenerState;
use super::stream::Stream;
use super::wanted::Wanted;
use crate::http::request::{CurrentServe, Peer};
use crate::plan::Address;
use crate::sync::lock;
use crate::web_config::{Protection, WebConfig};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long accepting rests after the system refused for lack of something, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long nothing may have gone wrong before accepting is said to work again.
const TROUBLE_IS_OVER: Duration = Duration::from_secs(10);

/// A listener. Its address is its identity: what it serves may change while it is open.
pub(super) struct Listener {
    pub(super) address: Address,
    state: Arc<ListenerState>,
    /// Who may connect, if it is a unix socket of the daemon's own.
    access: Mutex<Access>,
    is_unix: bool,
    /// Until it stops.
    socket: Mutex<Option<Arc<Socket>>>,
    is_accepting: AtomicBool,
    /// Ends the task that accepts.
    stopped: Notify,
}

impl Listener {
    pub(super) fn new(wanted: &Wanted, socket: Socket) -> Arc<Self> {
        let web_config = wanted.web_config_of(socket.is_unix()).cloned();
        let serve = CurrentServe::new(wanted.listen.serve.clone(), web_config);
        Self::with(ListenerState::new(serve), wanted, socket)
    }

    /// One for the same address, whose socket cannot be found any more. The connections of the
    /// earlier one become its own.
    pub(super) fn in_place_of(earlier: &Listener, wanted: &Wanted, socket: Socket) -> Arc<Self> {
        Self::with(Arc::clone(&earlier.state), wanted, socket)
    }

    fn with(state: Arc<ListenerState>, wanted: &Wanted, socket: Socket) -> Arc<Self> {
        Arc::new(Listener {
            address: wanted.listen.address.clone(),
            state,
            access: Mutex::new(wanted.access.clone()),
            is_unix: socket.is_unix(),
            socket: Mutex::new(Some(Arc::new(socket))),
            is_accepting: AtomicBool::new(false),
            stopped: Notify::new(),
        })
    }

    /// Changes who may connect, if that is to be changed.
    ///
    /// # Errors
    ///
    /// Why it cannot be. It may have been changed in part: to give what was before undoes it.
    pub(super) fn give(&self, access: &Access) -> Result<(), String> {
        let before = std::mem::replace(&mut *lock(&self.access), access.clone());
        match self.socket() {
            Some(socket) if before != *access => socket.give(&access.after(&before)),
            _ => Ok(()),
        }
    }

    /// Who may connect.
    pub(super) fn access(&self) -> Access {
        lock(&self.access).clone()
    }

    /// Changes what it serves and what stands before it, in one step and on its open connections, too.
    pub(super) fn serve(&self, wanted: &Wanted) {
        let web_config = wanted.web_config_of(self.is_unix).cloned();
        self.state.serve.set(wanted.listen.serve.clone(), web_config);
    }

    /// The settings by which it differs from what is wanted, and what else its clients will notice.
    pub(super) fn differences(&self, wanted: &Wanted) -> Vec<&'static str> {
        let rules = self.state.serve.now();
        let (before, after) = (&rules.serve, &wanted.listen.serve);
        let (earlier, later) = (rules.web_config.as_ref(), wanted.web_config_of(self.is_unix));
        let is_other = match (earlier, later) {
            (Some(earlier), Some(later)) => later.differs_from(earlier),
            (earlier, later) => earlier.is_some() != later.is_some(),
        };
        let protection = |config: Option<&Arc<WebConfig>>| {
            config.map_or_else(Protection::default, |config| config.protection())
        };
        let (had, has) = (protection(earlier), protection(later));
        let all = [
            ("admin", before.admin != after.admin),
            ("token_file", before.token_file != after.token_file),
            ("web_config", is_other),
            ("TLS on", has.encrypts && !had.encrypts),
            ("TLS off", had.encrypts && !has.encrypts),
            ("passwords on", has.wants_passwords && !had.wants_passwords),
            ("passwords off", had.wants_passwords && !has.wants_passwords),
        ];
        let differences = all.into_iter().filter_map(|(what, differs)| differs.then_some(what));
        differences.chain(wanted.access.differences(&self.access())).collect()
    }

    fn socket(&self) -> Option<Arc<Socket>> {
        lock(&self.socket).clone()
    }

    /// Where it is bound in truth, if that is an internet address.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        self.socket()?.bound()
    }

    /// The same of any socket, as configurations write addresses.
    pub(super) fn place(&self) -> Option<String> {
        self.socket()?.place()
    }

    /// Whether clients can still find it. Asks the file system for a unix socket.
    pub(super) fn can_be_found(&self) -> bool {
        self.socket().is_some_and(|socket| socket.can_be_found())
    }

    /// Whether another listener of this process may be bound beside it.
    pub(super) fn share_port(&self, shares_port: bool) {
        if let Some(socket) = self.socket() {
            socket.share_port(shares_port);
        }
    }

    /// Begins to accept, once.
    pub(super) fn start(self: &Arc<Self>, connections: &Arc<Connections>) {
        let Some(socket) = self.socket() else { return };
        if !self.is_accepting.swap(true, Ordering::Relaxed) {
            let task = accept(Arc::clone(connections), Arc::clone(self), socket);
            connections.handle().spawn(task);
        }
    }

    /// Stops to accept. Its connections go on, and what waits in the backlog is accepted, since the
    /// kernel would reset it, and served when there is room.
    pub(super) fn stop(&self, connections: &Arc<Connections>) {
        let Some(socket) = lock(&self.socket).take() else { return };
        if connections.is_answered() {
            let _runtime = connections.handle().enter();
            let accepted = accept_backlog(connections, || socket.accept_waiting());
            let state = Arc::clone(&self.state);
            connections.handle().spawn(async move {
                for accepted in accepted {
                    accepted.serve(&state).await;
                }
            });
        }
        // Before the socket stops: one that has is always ready, and has nothing to accept.
        self.stopped.notify_one();
        socket.stop();
    }

    /// Stops to accept and asks its connections to end after the request they are at.
    pub(super) fn close(&self, connections: &Arc<Connections>) {
        // In this order a client that is refused knows that the connections have been asked.
        connections.end_those_of(&self.state);
        self.stop(connections);
    }
}

/// Accepts what has been waiting, but lets no more of it wait further than connections may be open.
fn accept_backlog(
    connections: &Arc<Connections>,
    mut accept: impl FnMut() -> io::Result<(Stream, Peer)>,
) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    // What is beyond a whole backlog has come since.
    for _ in 0..BACKLOG {
        if connections.waiting() >= connections.limits.max_connections() {
            break;
        }
        match accept() {
            Ok(new) => accepted.extend(connections.accepted(new)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                connections.counters.count_accept_error();
                if !Errno::from_io_error(&error).is_some_and(concerns_one_connection) {
                    break;
                }
            }
        }
    }
    accepted
}

/// Accepts until the listener has stopped, and what was accepted by then is served.
async fn accept(connections: Arc<Connections>, listener: Arc<Listener>, socket: Arc<Socket>) {
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = listener.stopped.notified() => return,
            accepted = socket.accept() => accepted,
        };
        let error = match accepted {
            Ok(new) => {
                trouble.over(&listener);
                if let Some(accepted) = connections.accepted(new) {
                    accepted.serve(&listener.state).await;
                }
                continue;
            }
            Err(error) => error,
        };
        connections.counters.count_accept_error();
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        if concerns_one_connection(error) {
            tokio::task::yield_now().await;
            continue;
        }
        let rest = trouble.with(&listener, error);
        let ended = connections.one_ended();
        // An idle connection that is closed gives its descriptor to the one that waits.
        if matches!(error, Errno::MFILE | Errno::NFILE) && connections.evict() {
            let _ = tokio::time::timeout(rest, ended).await;
        } else {
            tokio::time::sleep(rest).await;
        }
    }
}

/// These are faults of one connection, which has been taken out of the backlog (accept(2)).
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
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
    )
}

/// A fault in accepting that lasts: it is reported when it begins and when it has been over for a
/// while.
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
            tracing::warn!(
                address = %listener.address,
                error = %text,
                "the listener cannot accept connections"
            );
        }
        self.error = Some((error, Instant::now()));
        self.rest = (self.rest * 2).clamp(REST.0, REST.1);
        self.rest
    }

    /// One connection was accepted. Where descriptors are short this and the fault take turns.
    fn over(&mut self, listener: &Listener) {
        self.rest = Duration::ZERO;
        if self.error.is_some_and(|(_, last)| last.elapsed() > TROUBLE_IS_OVER) {
            tracing::info!(address = %listener.address, "the listener accepts connections again");
            self.error = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::BoundSocket;
    use super::*;
    use crate::http::HttpCounters;
    use crate::plan::{Admin, Listen, Serve};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn a_fault_of_one_connection_does_not_end_the_backlog() {
        let counters = Arc::new(HttpCounters::new());
        let connections =
            Connections::new(Arc::clone(&counters), tokio::runtime::Handle::current());
        let one = || Stream::over_unix(UnixStream::pair().expect("a pair").0);
        let accepted = |outcomes: Vec<Result<(), Errno>>| {
            let mut outcomes = outcomes.into_iter();
            let mut accept = || {
                let outcome = outcomes.next().expect("it has ended");
                outcome.map(|()| one()).map_err(io::Error::from)
            };
            accept_backlog(&connections, &mut accept).len()
        };
        // A new one has room for one connection, and none is open.
        assert_eq!(accepted(vec![Err(Errno::CONNABORTED), Err(Errno::INTR), Ok(())]), 1);
        assert_eq!(accepted(vec![Err(Errno::PERM), Err(Errno::AGAIN)]), 0);
        assert_eq!(accepted(vec![Err(Errno::MFILE)]), 0);
        assert_eq!((counters.accept_errors(), connections.waiting()), (4, 0));
    }

    #[tokio::test]
    async fn a_listener_that_has_stopped_accepts_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = "127.0.0.1:0".parse().expect("an address");
        let connections = Connections::new(Arc::default(), tokio::runtime::Handle::current());
        for address in
            [Address::Tcp { socket, dual: false }, Address::Unix(directory.path().join("v.sock"))]
        {
            let bound = BoundSocket::bind(&address, false, &Arc::default()).expect("binds");
            let wanted = Wanted::without_files(&Listen { address, serve: Serve::with(Admin::Off) });
            let listener = Listener::new(&wanted, bound.listen().expect("listens"));
            listener.start(&connections);
            tokio::task::yield_now().await;
            listener.stop(&connections);
            // The task that accepts has it, too.
            let has_ended = async {
                while Arc::strong_count(&listener) > 1 {
                    tokio::task::yield_now().await;
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(60), has_ended).await;
            assert!(ended.is_ok(), "{}", listener.address);
        }
    }
}
