//! Who takes how many of the places: no client may have more than half of them while others want one.

use crate::client_key::ClientKey;
use crate::http::request::Peer;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What one client has.
#[derive(Debug)]
pub(super) struct Share {
    client: ClientKey,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Share {
    /// Connections that are open.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> OwnRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        OwnRequest(Arc::clone(self))
    }
}

/// A request of a client's that is under way.
pub(super) struct OwnRequest(Arc<Share>);

impl Drop for OwnRequest {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The clients that have connections.
#[derive(Debug, Default)]
pub(super) struct Shares {
    clients: Mutex<HashMap<ClientKey, Arc<Share>>>,
}

impl Shares {
    /// Counts a connection of a client until the guard is dropped.
    pub(super) fn join(self: &Arc<Self>, peer: &Peer) -> Member {
        let client = peer.key();
        let new = || {
            let (connections, requests) = (AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Share { client, connections, requests })
        };
        let mut clients = lock(&self.clients);
        let share = Arc::clone(clients.entry(client).or_insert_with(new));
        share.connections.fetch_add(1, Ordering::Relaxed);
        Member { shares: Arc::clone(self), share }
    }

    /// Whether a request is one too many where there may be `most`. What a client has beyond half of them does not
    /// count against others, so that one client that has them all leaves as many as half to others.
    pub(super) fn are_requests_spent(&self, own: &Share, most: u64) -> bool {
        let requests = |share: &Share| share.requests.load(Ordering::Relaxed);
        let clients = lock(&self.clients);
        let others = clients.values().filter(|share| share.client != own.client);
        let half = most.div_ceil(2);
        others.map(|share| requests(share).min(half)).sum::<u64>() + requests(own) > most
    }

    #[cfg(test)]
    fn clients(&self) -> usize {
        lock(&self.clients).len()
    }
}

/// A connection's membership in its client's share.
#[derive(Debug)]
pub(super) struct Member {
    shares: Arc<Shares>,
    pub(super) share: Arc<Share>,
}

impl Member {
    /// The shares of all clients.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut clients = lock(&self.shares.clients);
        if self.share.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            clients.remove(&self.share.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(address.parse().expect("an address"))
    }

    #[test]
    fn what_one_has_beyond_half_does_not_count_against_others() {
        let shares = Arc::new(Shares::default());
        let (greedy, modest) = (shares.join(&tcp("10.0.0.1:1")), shares.join(&tcp("10.0.0.2:1")));
        // Alone it may have them all, and no more.
        let all: Vec<_> = (0..40).map(|_| greedy.share.begin_request()).collect();
        assert!(!shares.are_requests_spent(&greedy.share, 40));
        let beyond = greedy.share.begin_request();
        assert!(shares.are_requests_spent(&greedy.share, 40));
        drop(beyond);
        let half: Vec<_> = (0..20).map(|_| modest.share.begin_request()).collect();
        assert!(!shares.are_requests_spent(&modest.share, 40));
        let _beyond = modest.share.begin_request();
        assert!(shares.are_requests_spent(&modest.share, 40));
        drop((all, half));
        drop((greedy, modest));
        assert_eq!(shares.clients(), 0);
    }
}
