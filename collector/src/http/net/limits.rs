//! The limits of connections, which a reload may change while they are open.

use super::heads;
use crate::memory_limit;
use crate::plan::Server;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest a head may take once its first byte is there, and a connection to send that byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader may take nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that unfinished heads may take, and the least where memory is limited.
const HEAD_BYTES: (u64, u64) = (128 << 10, 1 << 20);
/// What the kernel keeps of an answer that its reader has not taken. It lowers it to `net.core.wmem_max`, and takes twice as
/// much with what it needs itself. A smaller one holds less than two segments of the loopback interface, and each page
/// then waits for an acknowledgement that the reader's side delays by 40 ms.
const SEND_BUFFER: (u64, u64) = (128 << 10, 256 << 10);
/// What the kernel keeps of requests that have not been read.
pub(super) const RECEIVE_BUFFER: usize = 16 << 10;
/// About what a connection takes that is between requests, with what the kernel has for it.
const CONNECTION_BYTES: u64 = 32 << 10;
/// The fewest connections that a limit of memory leaves.
const LEAST_IN_LITTLE_MEMORY: u64 = 16;
/// The fewest connections that listeners must leave descriptors for.
const LEAST_CONNECTIONS: u64 = 8;

/// How long a connection may take for what it is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// Between requests.
    pub(super) idle: Duration,
    /// From the first byte of a head to its last, and from the start to the first byte.
    pub(super) head: Duration,
    /// Without taking a byte of an answer.
    pub(super) stall: Duration,
}

/// The limits in force.
pub(super) struct Limits {
    idle_timeout: AtomicU64,
    head_timeout: AtomicU64,
    stall_timeout: AtomicU64,
    max_connections: AtomicU64,
    max_requests: AtomicU64,
    head_bytes: AtomicU64,
}

impl Limits {
    pub(super) fn new() -> Self {
        Limits {
            idle_timeout: AtomicU64::new(0),
            head_timeout: AtomicU64::new(milliseconds(HEAD_TIMEOUT)),
            stall_timeout: AtomicU64::new(milliseconds(STALL_TIMEOUT)),
            max_connections: AtomicU64::new(1),
            max_requests: AtomicU64::new(0),
            head_bytes: AtomicU64::new(HEAD_BYTES.1),
        }
    }

    /// Takes those of a configuration.
    pub(super) fn set(&self, server: &Server) {
        self.idle_timeout.store(milliseconds(server.idle_timeout), Ordering::Relaxed);
        self.max_requests.store(u64::from(server.max_requests), Ordering::Relaxed);
        self.head_bytes.store(memory_limit::share(32, HEAD_BYTES), Ordering::Relaxed);
        let most = connections_beside(server.listen.len(), descriptor_limit())
            .min(connections_in_memory())
            .max(1);
        let wanted = match server.max_connections {
            0 => u64::MAX,
            wanted => u64::from(wanted),
        };
        self.max_connections.store(wanted.min(most), Ordering::Relaxed);
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let read = |timeout: &AtomicU64| Duration::from_millis(timeout.load(Ordering::Relaxed));
        let idle = read(&self.idle_timeout);
        Timeouts {
            idle,
            head: read(&self.head_timeout).min(idle),
            stall: read(&self.stall_timeout),
        }
    }

    /// Connections open at one time.
    pub(super) fn max_connections(&self) -> u64 {
        self.max_connections.load(Ordering::Relaxed)
    }

    /// Requests served at one time; 0: no limit.
    pub(super) fn max_requests(&self) -> u64 {
        self.max_requests.load(Ordering::Relaxed)
    }

    /// What may be held of requests that have not come whole.
    pub(super) fn heads(&self) -> heads::Budget {
        let bytes = self.head_bytes.load(Ordering::Relaxed);
        heads::Budget { bytes, connections: self.max_connections() }
    }

    #[cfg(test)]
    pub(super) fn set_head_bytes(&self, bytes: u64) {
        self.head_bytes.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn set_timeouts(&self, head: Duration, stall: Duration) {
        self.head_timeout.store(milliseconds(head), Ordering::Relaxed);
        self.stall_timeout.store(milliseconds(stall), Ordering::Relaxed);
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many descriptors this process may have.
pub(super) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections take a quarter of the memory that the daemon may have.
fn connections_in_memory() -> u64 {
    memory_limit::share(4 * CONNECTION_BYTES, (LEAST_IN_LITTLE_MEMORY, u64::MAX))
}

/// How much of answers the kernel may keep of one connection.
pub(super) fn send_buffer() -> usize {
    memory_limit::share(512, SEND_BUFFER) as usize
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
