//! The limits of connections, which a reload may change while they are open.

use super::heads;
use crate::memory_limit::{self, Part};
use crate::plan::Server;
use serde::Serialize;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The longest a head may take once its first byte is there, and a connection to send that byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader may take nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_millis(500);
/// The most that unfinished heads may take.
const HEAD_BYTES: Part = Part { divisor: 32, least: 128 << 10, most: 1 << 20 };
/// What the kernel keeps of an answer that its reader has not acknowledged. It lowers it to `net.core.wmem_max`, and takes
/// twice as much with what it needs itself. A smaller one holds less than two segments of the loopback interface, and each
/// page then waits for an acknowledgement that the reader's side delays by 40 ms.
pub(super) const SEND_BUFFER: Part = Part { divisor: 512, least: 128 << 10, most: 256 << 10 };
/// What it keeps of it for a reader that has no room: beyond that the daemon knows that a reader takes nothing, and has
/// the rest of the page in its own memory, which is bounded.
pub(super) const UNSENT: Part = Part { divisor: 1024, least: 16 << 10, most: 64 << 10 };
/// What those who read unix sockets may leave unread of connections that are over.
pub(super) const UNREAD: Part = Part { divisor: 16, least: 512 << 10, most: 2 << 20 };
/// What the kernel keeps of requests that have not been read.
pub(super) const RECEIVE_BUFFER: usize = 16 << 10;
/// Connections: they have a quarter of the memory, at about 32 KiB for one that is between requests, with what the
/// kernel has for it.
const CONNECTIONS: Part = Part { divisor: 4 * (32 << 10), least: 16, most: u64::MAX };
/// What pages may take while they are sent.
const PAGE_BYTES: Part = Part { divisor: 4, least: 1 << 20, most: u64::MAX };
/// The fewest connections that listeners must leave descriptors for. As many are left for all else, of which the daemon has
/// a dozen before a collector opens a file.
const LEAST_CONNECTIONS: u64 = 12;

/// How long a connection may take for what it is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// Between requests.
    pub(super) idle: Duration,
    /// From the first byte of a head to its last, and from the start to the first byte.
    pub(super) head: Duration,
    /// Without taking a byte of an answer.
    pub(super) stall: Duration,
    /// From the end of a head that is one too many to the turn of its request.
    pub(super) turn: Duration,
}

/// The limits in force.
pub(super) struct Limits {
    idle_timeout: AtomicU64,
    head_timeout: AtomicU64,
    stall_timeout: AtomicU64,
    turn_timeout: AtomicU64,
    /// As many as are configured, or as there is memory for.
    max_connections: AtomicU64,
    /// The listeners, which have descriptors, too.
    listeners: AtomicUsize,
    max_requests: AtomicU64,
    head_bytes: AtomicU64,
}

impl Limits {
    pub(super) fn new() -> Self {
        Limits {
            idle_timeout: AtomicU64::new(0),
            head_timeout: AtomicU64::new(milliseconds(HEAD_TIMEOUT)),
            stall_timeout: AtomicU64::new(milliseconds(STALL_TIMEOUT)),
            turn_timeout: AtomicU64::new(milliseconds(TURN)),
            max_connections: AtomicU64::new(1),
            listeners: AtomicUsize::new(0),
            max_requests: AtomicU64::new(0),
            head_bytes: AtomicU64::new(HEAD_BYTES.most),
        }
    }

    /// Takes those of a configuration.
    pub(super) fn set(&self, server: &Server) {
        self.idle_timeout.store(milliseconds(server.idle_timeout), Ordering::Relaxed);
        self.max_requests.store(u64::from(server.max_requests), Ordering::Relaxed);
        self.head_bytes.store(HEAD_BYTES.now(), Ordering::Relaxed);
        let most = wanted_connections(server).min(CONNECTIONS.now());
        self.max_connections.store(most, Ordering::Relaxed);
        self.listeners.store(server.listen.len(), Ordering::Relaxed);
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let read = |timeout: &AtomicU64| Duration::from_millis(timeout.load(Ordering::Relaxed));
        let idle = read(&self.idle_timeout);
        Timeouts {
            idle,
            head: read(&self.head_timeout).min(idle),
            stall: read(&self.stall_timeout),
            turn: read(&self.turn_timeout),
        }
    }

    /// Connections open at one time. How many descriptors there may be is asked each time: that
    /// may be lowered while the daemon runs (prlimit).
    pub(super) fn max_connections(&self) -> u64 {
        let listeners = self.listeners.load(Ordering::Relaxed);
        let of_files = connections_beside(listeners, descriptor_limit()).max(1);
        self.max_connections.load(Ordering::Relaxed).min(of_files)
    }

    /// Requests served at one time; 0: no limit.
    pub(super) fn max_requests(&self) -> u64 {
        self.max_requests.load(Ordering::Relaxed)
    }

    /// What may be held of requests that have not come whole.
    pub(super) fn heads(&self) -> heads::Budget {
        let bytes = self.head_bytes.load(Ordering::Relaxed);
        // Asked for whenever something comes, so not of the kernel.
        let connections = self.max_connections.load(Ordering::Relaxed);
        heads::Budget { bytes, connections }
    }

    #[cfg(test)]
    pub(super) fn set_head_bytes(&self, bytes: u64) {
        self.head_bytes.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn set_turn(&self, turn: Duration) {
        self.turn_timeout.store(milliseconds(turn), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn set_timeouts(&self, head: Duration, stall: Duration) {
        self.head_timeout.store(milliseconds(head), Ordering::Relaxed);
        self.stall_timeout.store(milliseconds(stall), Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn wanted_connections(server: &Server) -> u64 {
    match server.max_connections {
        0 => u64::MAX,
        wanted => u64::from(wanted),
    }
}

/// What pages may take while they are sent.
pub(in crate::http) fn page_bytes(server: &Server) -> u64 {
    server.max_page_bytes.min(PAGE_BYTES.now())
}

/// The most connections that the daemon can have, and for lack of what there are no more.
fn most_connections(memory: Option<u64>, descriptors: u64, server: &Server) -> (u64, Scarce) {
    let of_memory = CONNECTIONS.of(memory);
    let of_files = connections_beside(server.listen.len(), descriptors);
    if of_files < of_memory {
        (of_files.max(1), Scarce::Files)
    } else {
        (of_memory, Scarce::Memory)
    }
}

/// A limit that is lower than it is configured.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Lowered {
    pub(crate) limit: &'static str,
    pub(crate) value: u64,
    /// What it would be with enough; the largest number is no limit.
    pub(crate) instead_of: u64,
    /// Enough of what.
    pub(crate) scarce: Scarce,
}

/// What the daemon may have little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scarce {
    /// A control group limits it.
    Memory,
    /// Open files, which a limit of resources limits.
    Files,
}

impl Scarce {
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Files];
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lowered { limit, value, instead_of, .. } = self;
        match instead_of {
            &u64::MAX => write!(f, "{limit} {value} instead of no limit"),
            wanted => write!(f, "{limit} {value} instead of {wanted}"),
        }
    }
}

/// Which limits are lower because of the memory or the descriptors that the daemon may have.
pub(crate) fn lowered(server: &Server) -> Vec<Lowered> {
    lowered_by(memory_limit::limit(), descriptor_limit(), server)
}

fn lowered_by(memory: Option<u64>, descriptors: u64, server: &Server) -> Vec<Lowered> {
    let (connections, scarce) = most_connections(memory, descriptors, server);
    let limit = "server.max_connections";
    let instead_of = wanted_connections(server);
    let connections = Lowered { limit, value: connections, instead_of, scarce };
    let of_memory = [
        ("server.max_page_bytes", server.max_page_bytes, PAGE_BYTES),
        ("bytes of unfinished requests", HEAD_BYTES.most, HEAD_BYTES),
        ("bytes of a send buffer", SEND_BUFFER.most, SEND_BUFFER),
        ("unsent bytes of a connection", UNSENT.most, UNSENT),
    ]
    .map(|(limit, instead_of, part)| Lowered {
        limit,
        value: part.of(memory),
        instead_of,
        scarce: Scarce::Memory,
    });
    std::iter::once(connections)
        .chain(of_memory)
        .filter(|Lowered { value, instead_of, .. }| value < instead_of)
        .collect()
}

/// For how many connections so many listeners leave room: half of the descriptors that are left
/// is for the collectors.
fn connections_beside(listeners: usize, descriptors: u64) -> u64 {
    descriptors.saturating_sub(listeners as u64) / 2
}

/// Whether so many listeners leave descriptors for connections; if not, why.
pub(super) fn check_room(listeners: usize, descriptors: u64) -> Result<(), String> {
    let connections = connections_beside(listeners, descriptors);
    if connections >= LEAST_CONNECTIONS {
        return Ok(());
    }
    Err(format!(
        "{listeners} listeners leave room for {connections} connections, because the daemon may \
         have {descriptors} open files; listen on fewer addresses or raise the limit (LimitNOFILE= \
         of the systemd unit, ulimit -n)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 1 << 20;

    fn server(max_connections: u32) -> Server {
        Server {
            listen: Vec::new(),
            max_requests: 40,
            max_connections,
            idle_timeout: Duration::from_secs(75),
            max_page_bytes: 64 << 20,
        }
    }

    #[test]
    fn little_memory_makes_limits_lower_and_they_are_reported() {
        assert_eq!(lowered_by(None, PLENTY, &server(512)), []);
        assert_eq!(lowered_by(Some(1 << 30), PLENTY, &server(512)), []);
        let told = |memory, most| {
            let lowered = lowered_by(Some(memory), PLENTY, &server(most));
            assert!(lowered.iter().all(|lowered| lowered.scarce == Scarce::Memory));
            lowered.iter().map(Lowered::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told(16 << 20, 512),
            [
                "server.max_connections 128 instead of 512",
                "server.max_page_bytes 4194304 instead of 67108864",
                "bytes of unfinished requests 524288 instead of 1048576",
                "bytes of a send buffer 131072 instead of 262144",
                "unsent bytes of a connection 16384 instead of 65536",
            ]
        );
        assert_eq!(told(16 << 20, 0)[0], "server.max_connections 128 instead of no limit");
        // What is configured lower than that is not lowered.
        assert!(!told(16 << 20, 100).iter().any(|line| line.contains("connections 1")));
    }

    #[test]
    fn few_descriptors_make_connections_fewer_and_that_is_reported() {
        let fewer = |value, scarce| Lowered {
            limit: "server.max_connections",
            value,
            instead_of: 512,
            scarce,
        };
        assert_eq!(lowered_by(None, 256, &server(512)), [fewer(128, Scarce::Files)]);
        assert_eq!(lowered_by(None, 256, &server(128)), []);
        assert_eq!(lowered_by(None, 0, &server(512)), [fewer(1, Scarce::Files)]);
        // Of two reasons it is the one that would still be there without the other.
        let both =
            |descriptors| lowered_by(Some(16 << 20), descriptors, &server(512)).swap_remove(0);
        assert_eq!(both(258), fewer(128, Scarce::Memory));
        assert_eq!(both(254), fewer(127, Scarce::Files));
        // What is reported is what is in force.
        let limits = Limits::new();
        limits.set(&server(u32::MAX));
        let told = lowered(&server(u32::MAX)).swap_remove(0);
        assert_eq!((told.limit, told.value), ("server.max_connections", limits.max_connections()));
    }

    #[test]
    fn listeners_leave_room_for_connections() {
        assert_eq!(connections_beside(1, 1025), 512);
        assert_eq!(connections_beside(60, 128), 34);
        assert!(check_room(60, 128).is_ok());
        assert!(check_room(1, 32).is_ok());
        let refused = check_room(120, 128).expect_err("no room");
        assert!(refused.contains("room for 4 connections") && refused.contains("LimitNOFILE"));
        assert!(check_room(300, 128).is_err());
    }
}
