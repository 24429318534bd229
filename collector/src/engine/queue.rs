//! The queue: the executor of the collectors that do not block. One collection thread runs them
//! one after another, because parallel reads contend in the kernel. It is started with the queue.
//!
//! When one does not return within the queue's hand-over time it keeps its thread and a fresh one goes
//! on with the rest. The requests that wait for a result look after that ([`LockedQueue::ensure_thread`]); there is no
//! supervisor, and while there is none nothing wakes up.

use super::job::{Job, Work};
use super::notice::{Notice, What};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, lock, spawn, wait};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Jobs for the collection thread, and the requests that it wakes when it has done them.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// How long one job may take before its thread is left behind.
    hand_over_after: Duration,
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
    /// The engine has gone: what is left is closed and nothing runs any more.
    ended: bool,
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
    pub(super) fn start(hand_over_after: Duration) -> io::Result<Arc<Self>> {
        let queue =
            Arc::new(Queue { state: Mutex::default(), work: Condvar::new(), hand_over_after });
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

    /// Has the collection thread wake the requests that wait: a lane has brought a result.
    pub(super) fn wake_requests(&self) {
        // With the lock taken once the thread has either not yet looked, or waits for this.
        drop(lock(&self.state));
        self.work.notify_one();
    }

    /// Ends the collection thread. Jobs that run collectors are not done any more; those that
    /// close them are.
    pub(super) fn end(self: &Arc<Self>) {
        let mut locked = self.lock();
        locked.state.ended = true;
        locked.release(Instant::now());
        self.work.notify_one();
    }

    /// The collection thread: does what is queued, then wakes those who wait and parks.
    fn lead(&self, ticket: u64) {
        let mut wakers: Vec<Waker> = Vec::new();
        // When the last job ended, which is when the next one begins.
        let mut ended = None;
        let mut state = lock(&self.state);
        while state.leader == ticket {
            if let Some(job) = state.jobs.pop_front() {
                if state.ended && matches!(job.work, Work::Run(_)) {
                    drop(state);
                    drop(job);
                    state = lock(&self.state);
                    continue;
                }
                let now = ended.unwrap_or_else(Instant::now);
                (state.busy, state.is_woken) = (Some(now), false);
                drop(state);
                ended = Some(job.execute(now));
                state = lock(&self.state);
                if state.leader == ticket {
                    state.busy = None;
                }
                continue;
            }
            ended = None;
            std::mem::swap(&mut wakers, &mut state.waiting);
            if !wakers.is_empty() {
                drop(state);
                wake_all(&mut wakers);
                state = lock(&self.state);
            } else if state.ended {
                state.leader_alive = false;
                return;
            } else {
                state = wait(&self.work, state);
            }
        }
        // It was left behind. What it has brought may be all that a request still waits for.
        wakers.append(&mut state.waiting);
        drop(state);
        wake_all(&mut wakers);
    }
}

/// Wakes the requests that wait. One that panics does not keep the others waiting, nor does it end
/// the collection thread.
fn wake_all(wakers: &mut Vec<Waker>) {
    for waker in wakers.drain(..) {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
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

    /// Sees to it that there is a collection thread that can work: starts one, or leaves one
    /// behind when it has been at one job for too long, or has it woken. It is needed for an empty
    /// queue, too, because it wakes those who wait for a lane.
    pub(super) fn ensure_thread(&mut self, now: Instant) -> FollowUp {
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
            queue.work.notify_one();
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
