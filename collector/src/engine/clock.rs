//! The interval clock: refreshes collectors that have an interval of their own. Without any it has
//! no thread.

use super::notice::{Notice, What};
use super::queue::Queue;
use super::results::Want;
use super::set::Set;
use super::slot::Slot;
use super::sync::{Arc, Condvar, Mutex, Weak, lock, spawn, wait_for};
use std::io;
use std::time::{Duration, Instant};

/// The clock of an engine.
pub(super) struct Clock {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is refreshed; none if no collector has an interval.
    watch: Option<Arc<Watch>>,
    has_thread: bool,
}

/// One thread's list; a reload makes a new one and ends the old.
struct Watch {
    slots: Vec<(Weak<Slot>, Duration)>,
    timeout: Duration,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock { state: Mutex::default() }
    }

    /// Watches the collectors of a set that have an interval. The schedule of one that was running
    /// already goes on, since it counts from its last run.
    pub(super) fn watch(&self, queue: &Arc<Queue>, set: &Set) {
        let slots: Vec<(Weak<Slot>, Duration)> = set
            .slots
            .iter()
            .filter_map(|slot| Some((Arc::downgrade(slot), slot.plan.interval?)))
            .collect();
        let (timeout, wake) = (set.limits.timeout, Condvar::new());
        let watch = Watch { slots, timeout, ended: Mutex::new(false), wake };
        self.replace((!watch.slots.is_empty()).then(|| Arc::new(watch)));
        if let Some(error) = self.start(queue) {
            Notice { collector: None, what: What::NoThread("interval clock", error) }.log();
        }
    }

    /// Starts the thread if there was none to be had before, which has been logged. Until there is
    /// one, requests have the runs made.
    pub(super) fn ensure_thread(&self, queue: &Arc<Queue>) {
        let _ = self.start(queue);
    }

    pub(super) fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, watch: Option<Arc<Watch>>) {
        let before = std::mem::replace(&mut *lock(&self.state), State { watch, has_thread: false });
        if let Some(watch) = before.watch {
            *lock(&watch.ended) = true;
            watch.wake.notify_all();
        }
    }

    /// Starts the thread, unless it is there or has nothing to do.
    fn start(&self, queue: &Arc<Queue>) -> Option<io::Error> {
        let mut state = lock(&self.state);
        if state.has_thread {
            return None;
        }
        let (watch, queue) = (Arc::clone(state.watch.as_ref()?), Arc::downgrade(queue));
        let started = spawn("interval clock".to_owned(), move || watch.work(&queue));
        state.has_thread = started.is_ok();
        started.err()
    }
}

impl Watch {
    fn work(&self, queue: &Weak<Queue>) {
        let mut ended = lock(&self.ended);
        while !*ended {
            drop(ended);
            let Some(next) = self.turn(queue) else { return };
            ended = lock(&self.ended);
            if !*ended {
                let wait = next.saturating_duration_since(Instant::now());
                ended = wait_for(&self.wake, ended, wait);
            }
        }
    }

    /// Asks for what is due; answers when to look again, or `None` when the engine has gone.
    fn turn(&self, queue: &Weak<Queue>) -> Option<Instant> {
        let queue = queue.upgrade()?;
        let now = Instant::now();
        let want =
            Want { from: now, arrived: now, by: None, time: Duration::ZERO, timeout: self.timeout };
        let mut next = now + Duration::from_secs(3600);
        for (slot, interval) in &self.slots {
            let Some(slot) = slot.upgrade() else { continue };
            let due = slot.due(*interval, now);
            if due > now {
                next = next.min(due);
                continue;
            }
            let (job, notice) = slot.refresh(&want, now);
            if let Some(job) = job {
                slot.submit(job);
            }
            notice.into_iter().for_each(Notice::log);
            next = next.min(now + *interval);
        }
        let follow_up = queue.lock().look(now);
        let again = follow_up.again;
        follow_up.carry_out(&queue);
        Some(again.map_or(next, |at| at.min(next)))
    }
}
