//! The clock: refreshes collectors that have an interval of their own. Without any it has no
//! thread.

use super::slot::Slot;
use super::{Set, Shared};
use crate::sync::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

pub(super) struct Clock {
    watch: Mutex<Option<Arc<Watch>>>,
}

/// One thread's list; a reload makes a new one and ends the old.
struct Watch {
    slots: Vec<(Weak<Slot>, Duration)>,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock { watch: Mutex::new(None) }
    }

    /// Watches the collectors of a set that have an interval. The schedule of one that was running
    /// already goes on, since it counts from its last run.
    pub(super) fn watch(&self, shared: &Arc<Shared>, set: &Set) {
        self.stop();
        let slots: Vec<(Weak<Slot>, Duration)> = set
            .slots
            .iter()
            .filter_map(|slot| Some((Arc::downgrade(slot), slot.plan.interval?)))
            .collect();
        if slots.is_empty() {
            return;
        }
        let watch = Arc::new(Watch { slots, ended: Mutex::new(false), wake: Condvar::new() });
        *lock(&self.watch) = Some(Arc::clone(&watch));
        let shared = Arc::downgrade(shared);
        let started = std::thread::Builder::new()
            .name("interval clock".to_owned())
            .spawn(move || watch.work(&shared));
        if let Err(error) = started {
            tracing::error!(%error, "cannot start the interval clock");
        }
    }

    pub(super) fn stop(&self) {
        if let Some(watch) = lock(&self.watch).take() {
            *lock(&watch.ended) = true;
            watch.wake.notify_all();
        }
    }
}

impl Watch {
    fn work(&self, shared: &Weak<Shared>) {
        let mut ended = lock(&self.ended);
        while !*ended {
            drop(ended);
            let Some(next) = self.turn(shared) else { return };
            ended = lock(&self.ended);
            if !*ended {
                let wait = next.saturating_duration_since(Instant::now());
                ended =
                    self.wake.wait_timeout(ended, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Asks for what is due; answers when to look again, or `None` when the engine has gone.
    fn turn(&self, shared: &Weak<Shared>) -> Option<Instant> {
        let shared = shared.upgrade()?;
        let now = Instant::now();
        let mut next = now + Duration::from_secs(3600);
        let mut state = lock(&shared.state);
        for (slot, interval) in &self.slots {
            let Some(slot) = slot.upgrade() else { continue };
            let mut inner = lock(&slot.inner);
            let due = inner.began().map_or(now, |began| began + *interval);
            if due <= now {
                inner.need = Some(now);
                state.dispatch(&slot, &mut inner, &shared);
                next = next.min(now + *interval);
            } else {
                next = next.min(due);
            }
        }
        let attention = state.tend(&shared, now);
        drop(state);
        attention.wake(&shared);
        Some(attention.again.map_or(next, |at| at.min(next)))
    }
}
