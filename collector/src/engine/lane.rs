//! A lane: a parked thread that belongs to one collector that may block.

use super::slot::Slot;
use super::{Shared, lane_returned, lock};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// The thread is started at the first job and ends when the collector's slot is dropped. While it
/// is parked it holds no slot, so that a collector that was switched off is closed at once.
pub(super) struct Lane {
    name: &'static str,
    state: Mutex<LaneState>,
    wake: Condvar,
}

#[derive(Default)]
struct LaneState {
    job: Option<Arc<Slot>>,
    alive: bool,
    closing: bool,
}

impl Lane {
    pub(super) fn new(name: &'static str) -> Self {
        Lane { name, state: Mutex::new(LaneState::default()), wake: Condvar::new() }
    }

    /// Gives the lane a run to do. The caller sees to it that none is under way.
    pub(super) fn submit(self: &Arc<Self>, slot: Arc<Slot>, shared: &Arc<Shared>) {
        let mut state = lock(&self.state);
        state.job = Some(slot);
        if state.alive {
            self.wake.notify_one();
            return;
        }
        let (lane, shared) = (Arc::clone(self), Arc::downgrade(shared));
        let name = format!("lane {}", self.name);
        match std::thread::Builder::new().name(name).spawn(move || lane.work(&shared)) {
            Ok(_) => state.alive = true,
            Err(error) => tracing::error!(%error, collector = self.name, "cannot start its thread"),
        }
    }

    /// Lets the thread end.
    pub(super) fn close(&self) {
        lock(&self.state).closing = true;
        self.wake.notify_one();
    }

    fn work(&self, shared: &Weak<Shared>) {
        let mut state = lock(&self.state);
        while !state.closing {
            let Some(slot) = state.job.take() else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            slot.run();
            if let Some(shared) = shared.upgrade() {
                lock(&shared.state).returned(&slot, &shared);
                lane_returned(&shared);
            }
            drop(slot);
            state = lock(&self.state);
        }
    }
}
