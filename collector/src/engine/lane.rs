//! A lane: the executor of one collector that may block, a parked thread of its own.
//!
//! It may hang in the kernel, and then outlives SIGKILL. Where the collector says that this is
//! possible, the thread has a descriptor table of its own, and with it no listener and no
//! connection. Its collector lives and dies on it, with a `Host` of its own, since descriptors mean
//! nothing in another table. For the same reason it wakes no request itself, which would take the
//! runtime's descriptors: the collection thread does, which a lane wakes by the socket that it keeps.

use super::job::{Job, Work};
use super::notice::{Notice, What};
use super::sync::{Arc, Condvar, Mutex, lock, wait};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use vitald_core::host::{WakeSocket, descriptor_tables_are_separate, spawn_apart};

/// The system refuses it to every thread for the same reason, so it is logged once.
static HAS_SHARING_BEEN_LOGGED: AtomicBool = AtomicBool::new(false);

/// The thread is started at the first job and ends after the job that closes the collector.
pub(super) struct Lane {
    name: &'static str,
    own_descriptors: bool,
    wake_socket: Option<&'static WakeSocket>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// There is never more than one, since a job occupies the collector's name.
    job: Option<Job>,
    alive: bool,
    /// The thread was to have a descriptor table of its own, and the system has refused it.
    shares_descriptors: bool,
}

impl Lane {
    pub(super) fn new(
        name: &'static str,
        own_descriptors: bool,
        wake_socket: Option<&'static WakeSocket>,
    ) -> Arc<Self> {
        let (state, wake) = (Mutex::default(), Condvar::new());
        Arc::new(Lane { name, own_descriptors, wake_socket, state, wake })
    }

    /// Gives the thread something to do.
    ///
    /// # Errors
    ///
    /// There is no thread to be had; the job is dropped.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.alive {
            state.job = Some(job);
            drop(state);
            self.wake.notify_one();
            return Ok(());
        }
        let lane = Arc::clone(self);
        let name = self.name.to_owned();
        let work = move || lane.work();
        match self.own_descriptors {
            true => spawn_apart(name, self.wake_socket, work)?,
            false => super::sync::spawn(name, work)?,
        }
        state.job = Some(job);
        state.alive = true;
        Ok(())
    }

    /// Whether the thread, which was to have a descriptor table of its own, shares the daemon's.
    pub(super) fn shares_descriptors(&self) -> bool {
        lock(&self.state).shares_descriptors
    }

    fn work(&self) {
        let shares_descriptors =
            self.own_descriptors && descriptor_tables_are_separate() == Some(false);
        if shares_descriptors && !HAS_SHARING_BEEN_LOGGED.swap(true, Ordering::Relaxed) {
            Notice { collector: Some(self.name), what: What::SharesDescriptors }.log();
        }
        let mut state = lock(&self.state);
        state.shares_descriptors = shares_descriptors;
        loop {
            let Some(job) = state.job.take() else {
                state = wait(&self.wake, state);
                continue;
            };
            drop(state);
            let ends = matches!(job.work, Work::Close);
            job.execute(Instant::now());
            if ends {
                return;
            }
            state = lock(&self.state);
        }
    }
}
