//! A lane: a parked thread that belongs to one collector that may block.
//!
//! It may hang in the kernel, and then outlives SIGKILL; so it has a descriptor table of its own,
//! and with it no listener and no connection. Its collector lives and dies on it, with a `Host` that
//! nobody else uses, since descriptors mean nothing in another table. For the same reason it wakes
//! no request itself, which would take the runtime's descriptors: the collection thread does.

use super::slot::Slot;
use super::{Shared, lane_returned};
use crate::sync::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use vitald_core::collector::Running;
use vitald_core::host::{Host, spawn_apart};

/// The thread is started at the first job and ends when the collector's slot is dropped. While it
/// is parked it holds no slot, so that a collector that was switched off is closed at once.
pub(super) struct Lane {
    name: &'static str,
    own_descriptors: bool,
    state: Mutex<LaneState>,
    wake: Condvar,
}

#[derive(Default)]
struct LaneState {
    job: Option<Arc<Slot>>,
    alive: bool,
    closing: bool,
    /// What is to be closed by the thread that opened it.
    remains: Option<(Option<Box<dyn Running>>, Host)>,
}

impl Lane {
    pub(super) fn new(name: &'static str, own_descriptors: bool) -> Self {
        Lane {
            name,
            own_descriptors,
            state: Mutex::new(LaneState::default()),
            wake: Condvar::new(),
        }
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
        let work = move || lane.work(&shared);
        let started = match self.own_descriptors {
            true => spawn_apart(name, work),
            false => std::thread::Builder::new().name(name).spawn(work).map(drop),
        };
        match started {
            Ok(()) => state.alive = true,
            Err(error) => tracing::error!(%error, collector = self.name, "cannot start its thread"),
        }
    }

    /// Lets the thread end, and close what it has opened. A thread that never began has opened
    /// nothing.
    pub(super) fn close(&self, collector: Option<Box<dyn Running>>, host: Host) {
        let mut state = lock(&self.state);
        state.closing = true;
        if state.alive {
            state.remains = Some((collector, host));
        }
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
                lane_returned(&slot, &shared);
            }
            drop(slot);
            state = lock(&self.state);
        }
        let remains = state.remains.take();
        drop(state);
        drop(remains);
    }
}
