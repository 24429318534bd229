//! The queue: the executor of the collectors that do not block. One collection thread runs them
//! one after another, because parallel reads contend in the kernel. It is started with the queue.
//!
//! When one does not return within the queue's hand-over time it keeps its thread and a fresh one goes
//! on with the rest. Who looks after that follows from what the collection thread does between collections:
//!
//! - It serves ([`Server`]), so that those who ask for a collection are on the same thread. They cannot look
//!   while a collector hangs, so a watch does ([`Queue::look_after`]), a thread that sleeps and is not woken by
//!   any collection. The fresh thread goes on with the serving first.
//! - It is parked. Then the requests that wait for a result look ([`LockedQueue::look`]); there is no supervisor, and
//!   while there is none nothing wakes up.

use super::job::{Job, Work};
use super::notice::{Notice, What};
use super::server::{Server, wake_all};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, lock, spawn, wait};
use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::task::Waker;
use std::time::{Duration, Instant};
use vitald_core::host::{WakeSocket, is_apart};

/// How long the collection thread collects before what else it serves has a turn between two collectors.
const TURN: Duration = Duration::from_millis(5);

/// Jobs for the collection thread, and the requests that it wakes when it has done them.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// How long one job may take before its thread is left behind.
    hand_over_after: Duration,
    /// What the collection thread does between collections; none: it is parked.
    server: Option<Arc<dyn Server>>,
    /// Called when a collector has another state.
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The collection thread while it is that.
struct Leader<'a> {
    queue: &'a Queue,
    /// Its number, see [`State::leader`].
    ticket: u64,
    /// The requests that it is about to wake.
    requests: Vec<Waker>,
    /// The watch looks after it.
    is_watched: bool,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when the collection thread has been at its job.
    busy: Option<Instant>,
    /// The number of the collection thread. A thread that returns and finds another number here
    /// has been left behind and ends.
    leader: u64,
    leader_alive: bool,
    /// It has been notified that there are jobs, and has not taken one yet.
    is_woken: bool,
    /// No thread could be started, which has been reported.
    thread_refused: bool,
    waiting: Vec<Waker>,
    /// A run has come back since the requests that wait were last woken, or there is a fresh collection thread, which
    /// they may count on ([`LockedQueue::wakes_requests_soon`]). Those that still wait for a lane are not woken again
    /// before that, or each would keep the collection thread awake, and it them.
    has_news: bool,
    /// How often a collection thread has looked for jobs.
    looks: u64,
    /// The watch of the server looks after the collection thread. Before, the requests do.
    has_watch: bool,
    /// The engine has gone: what is left is closed and nothing runs any more.
    ended: bool,
}

impl State {
    /// Whether the collection thread, or the one that takes its place, comes to look at those who wait without
    /// being woken.
    fn is_at_work(&self) -> bool {
        self.leader_alive && (self.busy.is_some() || !self.jobs.is_empty())
    }
}

/// The queue while its lock is held.
pub(super) struct LockedQueue<'a> {
    queue: &'a Arc<Queue>,
    state: MutexGuard<'a, State>,
}

/// What is left to do when the lock of the queue is free again.
#[must_use = "the collection thread may have to be woken"]
pub(super) struct FollowUp {
    /// When to look again.
    pub(super) again: Option<Instant>,
    /// The collection thread is parked. It is woken after the lock is free, or it would wake only
    /// to wait for it.
    wakes: bool,
    notice: Option<Notice>,
}

impl Queue {
    /// A queue with its collection thread. The thread is started before any other: where the system
    /// has few to give, a lane costs its own collector alone.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn start(
        hand_over_after: Duration,
        server: Option<Arc<dyn Server>>,
    ) -> io::Result<Arc<Self>> {
        let (state, work) = (Mutex::default(), Condvar::new());
        let on_change = OnceLock::new();
        let queue = Arc::new(Queue { state, work, hand_over_after, server, on_change });
        queue.lock().start_leader()?;
        Ok(queue)
    }

    /// Takes the lock, to add jobs and to see to it that they are done.
    pub(super) fn lock(self: &Arc<Self>) -> LockedQueue<'_> {
        LockedQueue { queue: self, state: lock(&self.state) }
    }

    /// Adds one job.
    pub(super) fn submit(self: &Arc<Self>, job: Job) {
        let mut locked = self.lock();
        locked.add(job);
        locked.release(Instant::now());
    }

    /// Has the collection thread wake the requests that wait: a lane has brought a result. It does so of its own
    /// accord when it is done with what it is at.
    pub(super) fn wake_requests(&self) {
        // With the lock taken once the thread has either not yet looked, or waits for this.
        let mut state = lock(&self.state);
        state.has_news = true;
        let is_at_work = state.is_at_work();
        drop(state);
        if !is_at_work {
            self.wake();
        }
    }

    fn wake(&self) {
        match &self.server {
            Some(server) => server.wake(),
            None => self.work.notify_one(),
        }
    }

    /// Has this called whenever a collector has another state; only the first one who asks has it. The lock
    /// of the collector's results is held then, so it may only take note.
    pub(super) fn tell_changes(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_change.set(Box::new(tell));
    }

    /// A collector has another state.
    pub(super) fn state_changed(&self) {
        if let Some(tell) = self.on_change.get() {
            tell();
        }
    }

    /// The socket by which the threads of lanes wake the collection thread.
    pub(super) fn wake_socket(&self) -> Option<&'static WakeSocket> {
        self.server.as_ref()?.wake_socket()
    }

    /// How often a collection thread has looked for jobs, which it will do once more now, if it is well.
    pub(super) fn looks(&self) -> u64 {
        let looks = lock(&self.state).looks;
        self.wake();
        looks
    }

    /// Looks after the collection thread, for the watch of a server. If the collection thread hangs and none could be
    /// started in its place, the server is not served: the requests that wait are handed over for the
    /// caller to serve them until it looks again.
    pub(super) fn look_after(self: &Arc<Self>, now: Instant) -> Option<Vec<Waker>> {
        let mut locked = self.lock();
        locked.state.has_watch = !locked.state.ended;
        let follow_up = locked.replace_if_hung(now);
        let is_hung = locked.state.busy.is_some_and(|since| now >= since + self.hand_over_after);
        let requests = is_hung.then(|| std::mem::take(&mut locked.state.waiting));
        drop(locked);
        if let (Some(server), Some(again), false) = (&self.server, follow_up.again, is_hung) {
            server.watch(Some(again.saturating_duration_since(now)));
        }
        follow_up.carry_out(self);
        requests
    }

    /// Ends the collection thread. Jobs that run collectors are not done any more; those that
    /// close them are.
    pub(super) fn end(self: &Arc<Self>) {
        let mut locked = self.lock();
        // From now on the thread that adds a job sees to it that it is done.
        (locked.state.ended, locked.state.has_watch) = (true, false);
        locked.release(Instant::now());
        self.wake();
    }

    /// The collection thread: does what is queued, then wakes those who wait and serves or parks.
    fn lead(&self, ticket: u64) {
        let mut leader = Leader { queue: self, ticket, requests: Vec::new(), is_watched: false };
        let mut state = lock(&self.state);
        while state.leader == ticket {
            state.looks += 1;
            state = match leader.rest(state) {
                Some(state) => leader.collect(state),
                None => return,
            };
        }
        // It was left behind. What it has brought may be all that a request still waits for.
        leader.requests.append(&mut state.waiting);
        drop(state);
        wake_all(&mut leader.requests);
    }
}

impl<'a> Leader<'a> {
    /// Wakes the requests, and waits until there is something to do; none when there will never be.
    fn rest(&mut self, mut state: MutexGuard<'a, State>) -> Option<MutexGuard<'a, State>> {
        let queue = self.queue;
        let has_jobs = !state.jobs.is_empty();
        let server = queue.server.as_ref().filter(|_| !state.ended);
        if has_jobs && server.is_none() {
            return Some(state);
        }
        if std::mem::take(&mut state.has_news) || state.ended {
            std::mem::swap(&mut self.requests, &mut state.waiting);
        }
        if state.ended && !has_jobs && self.requests.is_empty() {
            state.leader_alive = false;
            return None;
        }
        match server {
            Some(server) => {
                drop(state);
                if std::mem::take(&mut self.is_watched) {
                    server.watch(None);
                }
                match has_jobs {
                    true => server.serve_for(&mut self.requests, Duration::ZERO),
                    false => server.serve(&mut self.requests),
                }
                Some(lock(&queue.state))
            }
            None if self.requests.is_empty() => Some(wait(&queue.work, state)),
            None => {
                drop(state);
                wake_all(&mut self.requests);
                Some(lock(&queue.state))
            }
        }
    }

    /// Does what is queued, but not for so long that what else is served would wait.
    fn collect(&mut self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let queue = self.queue;
        let mut began: Option<Instant> = None;
        // When the last job ended, which is when the next one begins.
        let mut ended: Option<Instant> = None;
        while state.leader == self.ticket && !state.jobs.is_empty() {
            let now = ended.unwrap_or_else(Instant::now);
            let is_long = now.saturating_duration_since(*began.get_or_insert(now)) >= TURN;
            if is_long && queue.server.is_some() {
                break;
            }
            let Some(job) = state.jobs.pop_front() else { break };
            if state.ended && matches!(job.work, Work::Run(_)) {
                drop(state);
                drop(job);
                state = lock(&queue.state);
                continue;
            }
            (state.busy, state.is_woken) = (Some(now), false);
            drop(state);
            if let Some(server) = &queue.server
                && !std::mem::replace(&mut self.is_watched, true)
            {
                server.watch(Some(queue.hand_over_after));
            }
            ended = Some(job.execute(now));
            state = lock(&queue.state);
            state.has_news = true;
            if state.leader == self.ticket {
                state.busy = None;
            }
        }
        state
    }
}

impl LockedQueue<'_> {
    /// Adds one job at the end.
    pub(super) fn add(&mut self, job: Job) {
        self.state.jobs.push_back(job);
    }

    /// Has the waker woken when the queue is empty.
    pub(super) fn wake_at_the_end(&mut self, waker: &Waker) {
        if !self.state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.state.waiting.push(waker.clone());
        }
    }

    /// A request that has gone need not be woken. What is returned is to be dropped without the lock.
    pub(super) fn forget(&mut self, waker: &Waker) -> Option<Waker> {
        let waiting = &mut self.state.waiting;
        let place = waiting.iter().position(|waiting| waiting.will_wake(waker))?;
        Some(waiting.swap_remove(place))
    }

    /// Whether the collection thread comes to wake the requests that wait whatever happens: it has something to
    /// do, and the watch looks after it.
    pub(super) fn wakes_requests_soon(&self) -> bool {
        let state = &self.state;
        state.has_watch && state.is_at_work() && !state.thread_refused
    }

    /// What a request does for the collection thread while it waits: it looks after it, if there is no watch. It is
    /// needed for an empty queue, too, because the thread wakes those who wait for a lane.
    pub(super) fn look(&mut self, now: Instant) -> FollowUp {
        match self.state.has_watch {
            true => FollowUp { again: None, wakes: false, notice: None },
            false => self.ensure_thread(now),
        }
    }

    /// Sees to it that what was added is done. Where there is a watch, it alone starts threads.
    fn ensure_thread(&mut self, now: Instant) -> FollowUp {
        if !self.state.has_watch {
            return self.replace_if_hung(now);
        }
        let wakes = !self.state.jobs.is_empty() && self.state.busy.is_none();
        FollowUp { again: None, wakes, notice: None }
    }

    /// Sees to it that there is a collection thread that can work: starts one, or leaves one
    /// behind when it has been at one job for too long, or has it woken.
    fn replace_if_hung(&mut self, now: Instant) -> FollowUp {
        let state = &mut *self.state;
        let idle = state.jobs.is_empty();
        let look_again = FollowUp {
            again: (!idle).then(|| now + self.queue.hand_over_after),
            wakes: false,
            notice: None,
        };
        if state.ended && idle {
            return FollowUp { again: None, ..look_again };
        }
        match state.busy {
            Some(since) if now < since + self.queue.hand_over_after => {
                let again = Some(since + self.queue.hand_over_after);
                return FollowUp { again, ..look_again };
            }
            None if state.leader_alive => {
                let wakes = !idle && !std::mem::replace(&mut state.is_woken, !idle);
                return FollowUp { wakes, ..look_again };
            }
            // The new thread would get the descriptor table of this one. A request that looks starts it.
            Some(_) | None if is_apart() => return look_again,
            Some(_) | None => {}
        }
        let notice = self.start_leader().err().and_then(|error| {
            let is_new = !std::mem::replace(&mut self.state.thread_refused, true);
            is_new.then_some(Notice { collector: None, what: What::NoThread("collect", error) })
        });
        FollowUp { again: Some(now + self.queue.hand_over_after), wakes: false, notice }
    }

    /// Starts a collection thread in the place of the one before. If there is no thread to be had, the
    /// one before goes on when it comes back, and the next look tries again.
    fn start_leader(&mut self) -> io::Result<()> {
        let (queue, ticket) = (Arc::clone(self.queue), self.state.leader + 1);
        spawn("collect".to_owned(), move || queue.lead(ticket))?;
        let state = &mut *self.state;
        (state.leader, state.leader_alive) = (ticket, true);
        (state.busy, state.is_woken, state.thread_refused) = (None, false, false);
        state.has_news = true;
        Ok(())
    }

    /// Gives the lock back and sees to it that what was added is done.
    pub(super) fn release(mut self, now: Instant) {
        let follow_up = self.ensure_thread(now);
        let queue = self.queue;
        drop(self);
        follow_up.carry_out(queue);
    }
}

impl FollowUp {
    /// Does what is left to do. No lock may be held.
    pub(super) fn carry_out(self, queue: &Queue) {
        if self.wakes {
            queue.wake();
        }
        if let Some(notice) = self.notice {
            notice.log();
        }
    }

    /// Whether there is something to do before the lock is taken for longer.
    pub(super) fn is_urgent(&self) -> bool {
        self.wakes || self.notice.is_some()
    }
}
