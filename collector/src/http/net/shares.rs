//! Who takes how many of the places: no client may have more than half of them while others want one.
//!
//! A request that is one too many waits for its turn, and is refused if it has not come in half a second: what a crowd
//! asks in one moment shares one collection and is served in a few milliseconds. The turn is that of the client with
//! the fewest under way, so that many who ask without a pause cannot shut out another; of these by [`Rank`], so that
//! those who have not read what they asked for cannot shut out one of the same client that has; then in order.

use crate::client_key::ClientKey;
use crate::http::request::Peer;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Who asks. What comes first is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has taken its last answer without delay.
    Behaved,
    /// It is new, or was slow.
    Stranger,
    /// It had asked before it had taken its last answer.
    Ahead,
}

impl Rank {
    /// How many requests there may be at one time, with this one, of as many as there may be at all: half of them are
    /// for those who wait for their answers.
    pub(super) fn may_have(self, most: u64) -> u64 {
        if self == Rank::Ahead { most.div_ceil(2) } else { most }
    }
}

/// What one client has.
#[derive(Debug)]
pub(super) struct Share {
    client: ClientKey,
    connections: AtomicU64,
    /// Those that have their turn.
    requests: AtomicU64,
    shares: Weak<Shares>,
}

impl Share {
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> OwnRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        OwnRequest(Arc::clone(self))
    }
}

/// A request of a client's that is under way.
#[derive(Debug)]
pub(super) struct OwnRequest(Arc<Share>);

impl Drop for OwnRequest {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
        if let Some(shares) = self.0.shares.upgrade() {
            shares.give_turns();
        }
    }
}

/// The clients that have connections.
#[derive(Debug, Default)]
pub(super) struct Shares {
    table: Mutex<Table>,
    connections: AtomicU64,
    /// How many requests wait for their turn.
    waiting: AtomicU64,
    /// How many there may be at one time; 0 is no limit.
    most: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<ClientKey, Arc<Share>>,
    /// In the order in which they came.
    waiting: Vec<WaitingRequest>,
}

#[derive(Debug)]
struct WaitingRequest {
    share: Arc<Share>,
    rank: Rank,
    turn: oneshot::Sender<OwnRequest>,
}

/// A turn that may come.
pub(super) struct Turn(oneshot::Receiver<OwnRequest>);

impl Turn {
    /// Waits for it; `None` if it does not come in time.
    pub(super) async fn comes_within(self, time: Duration) -> Option<OwnRequest> {
        tokio::time::timeout(time, self.0).await.ok()?.ok()
    }
}

impl Shares {
    /// Counts a connection of a client until the guard is dropped.
    pub(super) fn join(self: &Arc<Self>, peer: &Peer) -> Member {
        let client = peer.key();
        let new = || {
            let (connections, requests) = (AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Share { client, connections, requests, shares: Arc::downgrade(self) })
        };
        let mut table = lock(&self.table);
        let share = Arc::clone(table.clients.entry(client).or_insert_with(new));
        share.connections.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Member { shares: Arc::clone(self), share }
    }

    /// So many requests there may be at one time from now on; those who wait are looked at.
    pub(super) fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
        self.give_turns();
    }

    /// Gives turns to those who wait for one, as many as there are.
    fn give_turns(&self) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let next = {
                let mut table = lock(&self.table);
                let next = table.next_turn(self.most.load(Ordering::Relaxed));
                self.waiting.store(table.waiting.len() as u64, Ordering::SeqCst);
                next
            };
            let Some((turn, request)) = next else { return };
            // One that has given up drops it, so that it goes to the next one.
            let _ = turn.send(request);
        }
    }

    #[cfg(test)]
    fn clients(&self) -> usize {
        lock(&self.table).clients.len()
    }
}

impl Table {
    /// How many requests count against every client where there may be `most`. What one has beyond half of them does not,
    /// so that one client that has them all leaves as many as half to others.
    fn taken(&self, most: u64) -> u64 {
        let half = most.div_ceil(2);
        self.clients.values().map(|share| share.requests().min(half)).sum()
    }

    /// Takes out whose turn it is.
    fn next_turn(&mut self, most: u64) -> Option<(oneshot::Sender<OwnRequest>, OwnRequest)> {
        self.waiting.retain(|request| !request.turn.is_closed());
        // Once for all who wait: there may be as many clients as requests, and this is asked whenever one ends.
        let [of_all, of_half] =
            [Rank::Stranger, Rank::Ahead].map(|rank| self.taken(rank.may_have(most)));
        let has_turn = |request: &WaitingRequest| {
            let taken = if request.rank == Rank::Ahead { of_half } else { of_all };
            has_room(taken, &request.share, request.rank, most)
        };
        let (at, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, request)| has_turn(request))
            .min_by_key(|(_, request)| (request.share.requests(), request.rank))?;
        let WaitingRequest { share, turn, .. } = self.waiting.remove(at);
        Some((turn, share.begin_request()))
    }
}

/// Whether a client may have one more where there may be `most`, and this many count against every client.
fn has_room(taken: u64, own: &Share, rank: Rank, most: u64) -> bool {
    if most == 0 {
        return true;
    }
    let (most, requests) = (rank.may_have(most), own.requests());
    taken.saturating_sub(requests.min(most.div_ceil(2))) + requests < most
}

/// A connection's membership in its client's share.
#[derive(Debug)]
pub(super) struct Member {
    shares: Arc<Shares>,
    pub(super) share: Arc<Share>,
}

impl Member {
    /// Whether its client has more than half of all connections.
    pub(super) fn has_most(&self) -> bool {
        self.beyond_half() > 0
    }

    /// How many connections its client has beyond half of all.
    pub(super) fn beyond_half(&self) -> u64 {
        let all = self.shares.connections.load(Ordering::Relaxed);
        self.connections().saturating_sub(all / 2)
    }

    /// Whose it is.
    pub(super) fn client(&self) -> ClientKey {
        self.share.client
    }

    /// How many connections its client has.
    pub(super) fn connections(&self) -> u64 {
        self.share.connections.load(Ordering::Relaxed)
    }

    /// Begins a request where there may be `most` at one time, or has it wait for its turn.
    pub(super) fn begin_request(&self, rank: Rank, most: u64) -> Result<OwnRequest, Turn> {
        let mut table = lock(&self.shares.table);
        if has_room(table.taken(rank.may_have(most)), &self.share, rank, most) {
            return Ok(self.share.begin_request());
        }
        let (turn, comes) = oneshot::channel();
        table.waiting.push(WaitingRequest { share: Arc::clone(&self.share), rank, turn });
        self.shares.waiting.store(table.waiting.len() as u64, Ordering::SeqCst);
        drop(table);
        // One that has just ended may not have seen that a request waits.
        self.shares.set_most(most);
        Err(Turn(comes))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut table = lock(&self.shares.table);
        self.shares.connections.fetch_sub(1, Ordering::Relaxed);
        if self.share.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            table.clients.remove(&self.share.client);
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
    fn one_may_have_most_connections() {
        let shares = Arc::new(Shares::default());
        let mut members = vec![shares.join(&tcp("10.0.0.1:1"))];
        assert!(members[0].has_most());
        members.push(shares.join(&tcp("10.0.0.2:1")));
        assert!(!members[0].has_most() && !members[1].has_most());
        members.push(shares.join(&tcp("10.0.0.2:2")));
        assert!(!members[0].has_most() && members[1].has_most());
        assert_eq!([0, 1].map(|at| members[at].beyond_half()), [0, 1]);
        members.truncate(2);
        assert!(!members[1].has_most());
    }

    fn begins(member: &Member, most: u64) -> OwnRequest {
        member.begin_request(Rank::Stranger, most).unwrap_or_else(|_| panic!("it has to wait"))
    }

    #[test]
    fn what_one_has_beyond_half_does_not_count_against_others() {
        let shares = Arc::new(Shares::default());
        let (greedy, modest) = (shares.join(&tcp("10.0.0.1:1")), shares.join(&tcp("10.0.0.2:1")));
        // Alone it may have them all, and no more.
        let all: Vec<_> = (0..40).map(|_| begins(&greedy, 40)).collect();
        assert!(greedy.begin_request(Rank::Behaved, 40).is_err());
        let half: Vec<_> = (0..20).map(|_| begins(&modest, 40)).collect();
        assert!(modest.begin_request(Rank::Behaved, 40).is_err());
        drop((all, half));
        drop((greedy, modest));
        assert_eq!(shares.clients(), 0);
    }

    #[test]
    fn turns_go_by_rank_and_then_in_order() {
        let shares = Arc::new(Shares::default());
        let member = shares.join(&tcp("10.0.0.1:1"));
        let mut under_way: Vec<_> = (0..4).map(|_| begins(&member, 4)).collect();
        let ranks = [Rank::Ahead, Rank::Stranger, Rank::Behaved, Rank::Stranger, Rank::Ahead];
        let mut turns: Vec<_> = ranks
            .into_iter()
            .map(|rank| member.begin_request(rank, 4).expect_err("it waits").0)
            .collect();
        // Who asked ahead waits until half is free.
        for expected in [2, 1, 3, usize::MAX, usize::MAX, 0, 4] {
            drop(under_way.pop());
            let come = turns.iter_mut().enumerate().find_map(|(at, turn)| {
                under_way.insert(0, turn.try_recv().ok()?);
                Some(at)
            });
            assert_eq!(come.unwrap_or(usize::MAX), expected);
        }
    }

    /// Two that ask without a pause have all there are, and always one more that waits.
    #[test]
    fn a_third_client_has_its_turn_before_those_who_have_some() {
        let shares = Arc::new(Shares::default());
        let [one, other, third] =
            ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|address| shares.join(&tcp(address)));
        let mut under_way: Vec<_> =
            [&one, &one, &other, &other].map(|member| begins(member, 4)).into();
        let wait = |member: &Member, rank| member.begin_request(rank, 4).expect_err("it waits").0;
        let mut crowd = [wait(&one, Rank::Behaved), wait(&other, Rank::Behaved)];
        let mut turn = wait(&third, Rank::Stranger);
        drop(under_way.pop());
        let given = turn.try_recv();
        assert!(given.is_ok());
        assert!(crowd.iter_mut().all(|turn| turn.try_recv().is_err()));
    }

    #[test]
    fn who_waits_when_there_may_be_more_has_its_turn() {
        for most in [2, 0] {
            let shares = Arc::new(Shares::default());
            let member = shares.join(&tcp("10.0.0.1:1"));
            let _only = begins(&member, 1);
            let mut turn = member.begin_request(Rank::Stranger, 1).expect_err("it waits").0;
            assert!(turn.try_recv().is_err());
            shares.set_most(most);
            assert!(turn.try_recv().is_ok());
        }
    }

    #[test]
    fn a_turn_that_nobody_waits_for_goes_to_the_next_one() {
        let shares = Arc::new(Shares::default());
        let member = shares.join(&tcp("10.0.0.1:1"));
        let only = begins(&member, 1);
        let wait = || member.begin_request(Rank::Stranger, 1).expect_err("it waits").0;
        let (gone, mut given, mut next) = (wait(), wait(), wait());
        drop(gone);
        drop(only);
        assert!(next.try_recv().is_err());
        // It gives up with its turn in hand.
        given.close();
        drop(given);
        assert!(next.try_recv().is_ok());
    }
}
