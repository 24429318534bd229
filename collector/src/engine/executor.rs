//! Where a collector runs and is closed: the queue, or a lane of its own.

use super::job::{Job, OpenCollector, Work};
use super::lane::Lane;
use super::occupancy::{Occupancy, Successor, Waiting};
use super::queue::Queue;
use super::sync::Arc;
use std::io;

/// The executor that owns a collector.
#[derive(Clone)]
pub(super) enum Executor {
    /// It does not block and shares the collection thread.
    Queue(Arc<Queue>),
    /// It may block and has a thread of its own.
    Lane(Arc<Lane>),
}

/// A collector that is closed when its name is free.
struct Closing {
    executor: Executor,
    collector: Arc<OpenCollector>,
    occupancy: Arc<Occupancy>,
}

impl Executor {
    pub(super) fn is_lane(&self) -> bool {
        matches!(self, Executor::Lane(_))
    }

    /// Whether its thread was to have a descriptor table of its own and could not.
    pub(super) fn shares_descriptors(&self) -> bool {
        matches!(self, Executor::Lane(lane) if lane.shares_descriptors())
    }

    /// Gives the executor something to do.
    ///
    /// # Errors
    ///
    /// There is no thread to be had for a lane; the job is dropped.
    pub(super) fn submit(&self, job: Job) -> io::Result<()> {
        match self {
            Executor::Queue(queue) => {
                queue.submit(job);
                Ok(())
            }
            Executor::Lane(lane) => lane.submit(job),
        }
    }

    /// Has a collector closed where it ran, when no run of its name is out. One that has never run
    /// has nothing open and is dropped at once, so that none of them pile up.
    pub(super) fn close(self, collector: Arc<OpenCollector>, occupancy: Arc<Occupancy>) {
        if collector.has_run() {
            Arc::new(Closing { executor: self, collector, occupancy }).vacated();
        } else {
            collector.close();
        }
    }
}

impl Successor for Closing {
    fn vacated(self: Arc<Self>) {
        let waiting = || Waiting::Strong(Arc::clone(&self) as Arc<dyn Successor>);
        if let Some(occupant) = self.occupancy.enter(waiting) {
            let job = Job { collector: Arc::clone(&self.collector), occupant, work: Work::Close };
            // The thread of a collector that has run is there.
            let _ = self.executor.submit(job);
        }
    }
}
