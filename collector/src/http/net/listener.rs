//! One listener: it accepts connections until it is closed.

use super::connections::Connections;
use super::socket::Socket;
use crate::http::request::CurrentServe;
use crate::plan::{Address, Listen, Serve};
use crate::sync::lock;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long accepting rests after the system refused for lack of something, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long nothing may have gone wrong before accepting is said to work again.
const TROUBLE_IS_OVER: Duration = Duration::from_secs(10);

/// A listener. Its address is its identity: what it serves may change while it is open.
pub(super) struct Listener {
    pub(super) address: Address,
    /// By which connections know it.
    number: u64,
    serve: Arc<CurrentServe>,
    socket: Mutex<Option<Arc<Socket>>>,
    accepting: Mutex<Option<AbortHandle>>,
    is_closed: AtomicBool,
}

impl Listener {
    pub(super) fn new(number: u64, listen: &Listen, socket: Socket) -> Arc<Self> {
        Self::with(number, listen, CurrentServe::new(listen.serve.clone()), socket)
    }

    /// One for the same address, whose socket cannot be found any more. The connections of the
    /// earlier one become its own.
    pub(super) fn in_place_of(earlier: &Listener, listen: &Listen, socket: Socket) -> Arc<Self> {
        Self::with(earlier.number, listen, Arc::clone(&earlier.serve), socket)
    }

    fn with(number: u64, listen: &Listen, serve: Arc<CurrentServe>, socket: Socket) -> Arc<Self> {
        Arc::new(Listener {
            address: listen.address.clone(),
            number,
            serve,
            socket: Mutex::new(Some(Arc::new(socket))),
            accepting: Mutex::new(None),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Changes what it serves, on its open connections, too.
    pub(super) fn set_serve(&self, serve: &Serve) {
        self.serve.set(serve);
    }

    fn socket(&self) -> Option<Arc<Socket>> {
        lock(&self.socket).clone()
    }

    /// Where it is bound in truth, if that is an internet address.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        self.socket()?.bound()
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
        let mut accepting = lock(&self.accepting);
        if accepting.is_none() {
            let task = accept(Arc::clone(connections), Arc::clone(self), socket);
            *accepting = Some(connections.handle().spawn(task).abort_handle());
        }
    }

    /// Stops to accept. Its connections go on.
    pub(super) fn stop(&self, connections: &Arc<Connections>) {
        let Some(socket) = lock(&self.socket).take() else { return };
        self.is_closed.store(true, Ordering::Relaxed);
        if connections.is_answered() {
            // The kernel would reset what waits in the backlog.
            let _runtime = connections.handle().enter();
            while let Ok((stream, peer)) = socket.accept_waiting() {
                connections.admit(self.number, &self.serve, stream, peer);
            }
        }
        if let Some(task) = lock(&self.accepting).take() {
            task.abort();
        }
        socket.stop();
    }

    /// Stops to accept and asks its connections to end after the request they are at.
    pub(super) fn close(&self, connections: &Arc<Connections>) {
        self.stop(connections);
        connections.end_those_of(self.number);
    }
}

/// Accepts until the listener is closed.
async fn accept(connections: Arc<Connections>, listener: Arc<Listener>, socket: Arc<Socket>) {
    let mut trouble = Trouble::default();
    loop {
        let error = match socket.accept().await {
            Ok((stream, peer)) => {
                trouble.over(&listener);
                connections.wait_for_room().await;
                connections.admit(listener.number, &listener.serve, stream, peer);
                continue;
            }
            Err(_) if listener.is_closed.load(Ordering::Relaxed) => return,
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
