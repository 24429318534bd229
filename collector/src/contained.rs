//! Work that may never end, on threads that may be lost.
//!
//! Opening a file on a dead mount, binding a socket there, or ending an output can hang in the
//! kernel. Such work runs on a thread of its own with a deadline. A thread that hangs is lost, and
//! while it hangs no second one starts for the same kind of work, so that trying again costs
//! nothing.

use crate::sync::lock;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One kind of work, at which one thread may be at a time.
#[derive(Clone)]
pub(crate) struct Contained {
    /// The name of its thread, of which the kernel keeps 15 bytes.
    thread: &'static str,
    /// What the work is, as the subject of "... has not ended".
    work: &'static str,
    /// Since when a thread has been at it.
    since: Arc<Mutex<Option<Instant>>>,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum ContainedError {
    /// An earlier piece of this work has not ended.
    StillBusy(&'static str, Duration),
    /// The work did not end in time; its thread is left to itself.
    TimedOut(&'static str, Duration),
    /// The work panicked; the text is the panic's.
    Panicked(&'static str),
    /// There is no thread to be had.
    NoThread(&'static str, io::Error),
}

impl fmt::Display for ContainedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainedError::StillBusy(work, since) => {
                write!(f, "{work} that was begun {} s ago has not ended", since.as_secs())
            }
            ContainedError::TimedOut(work, within) => {
                write!(f, "{work} has not ended within {} s", within.as_secs_f64())
            }
            ContainedError::Panicked(work) => write!(f, "{work} panicked; the log says where"),
            ContainedError::NoThread(work, error) => {
                write!(f, "{work} needs a thread, and none can be started: {error}")
            }
        }
    }
}

impl std::error::Error for ContainedError {}

/// Marks the work as ended, also when it panics.
struct Ended(Arc<Mutex<Option<Instant>>>);

impl Drop for Ended {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

impl Contained {
    /// A kind of work such as "the reload", and the name of the thread that does it.
    pub(crate) fn new(thread: &'static str, work: &'static str) -> Self {
        Contained { thread, work, since: Arc::default() }
    }

    /// Does a piece of work and waits for it, but not longer than `within`.
    ///
    /// # Errors
    ///
    /// See [`ContainedError`]. The work may still end later; what it gives is dropped then, on its
    /// thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ContainedError> {
        self.begin(work)?.wait(within).await
    }

    /// Begins a piece of work, to be waited for.
    ///
    /// # Errors
    ///
    /// An earlier one has not ended, or there is no thread.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<ContainedWork<T>, ContainedError> {
        {
            let mut since = lock(&self.since);
            if let Some(since) = *since {
                return Err(ContainedError::StillBusy(self.work, since.elapsed()));
            }
            *since = Some(Instant::now());
        }
        let (sender, receiver) = oneshot::channel();
        let ended = Ended(Arc::clone(&self.since));
        std::thread::Builder::new()
            .name(self.thread.to_owned())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(work));
                drop(ended);
                // If there is no waiter any more, the result is dropped here.
                drop(sender.send(result));
            })
            .map_err(|error| ContainedError::NoThread(self.work, error))?;
        Ok(ContainedWork { work: self.work, receiver })
    }
}

/// A piece of work that has begun.
pub(crate) struct ContainedWork<T> {
    work: &'static str,
    receiver: oneshot::Receiver<std::thread::Result<T>>,
}

impl<T> ContainedWork<T> {
    /// Waits for the result, but not longer than `within`. After a [`ContainedError::TimedOut`] it
    /// may be waited for again.
    ///
    /// # Errors
    ///
    /// It has not ended, or it panicked.
    pub(crate) async fn wait(&mut self, within: Duration) -> Result<T, ContainedError> {
        match tokio::time::timeout(within, &mut self.receiver).await {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(_) => Err(ContainedError::Panicked(self.work)),
            Err(_) => Err(ContainedError::TimedOut(self.work, within)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn what_ends_is_given_back() {
        let work = Contained::new("test", "counting");
        assert_eq!(block_on(work.run(Duration::from_secs(60), || 1 + 1)).unwrap(), 2);
    }

    #[test]
    fn one_thread_is_lost_and_no_second_one() {
        let work = Contained::new("test", "waiting");
        let (release, held) = mpsc::channel::<()>();
        let hang = move || held.recv().is_err();
        let late = block_on(work.run(Duration::from_millis(10), hang));
        assert!(matches!(late, Err(ContainedError::TimedOut(..))), "{late:?}");
        let busy = block_on(work.run(Duration::from_secs(60), || true));
        assert!(matches!(busy, Err(ContainedError::StillBusy(..))), "{busy:?}");
        drop(release);
        while lock(&work.since).is_some() {
            std::thread::yield_now();
        }
        assert!(block_on(work.run(Duration::from_secs(60), || true)).unwrap());
    }

    #[test]
    fn a_panic_is_reported() {
        let work = Contained::new("test", "falling over");
        let fallen = block_on(work.run(Duration::from_secs(60), || panic!("as the test wants")));
        assert!(matches!(fallen, Err(ContainedError::Panicked(..))), "{fallen:?}");
        assert!(block_on(work.run(Duration::from_secs(60), || true)).unwrap());
    }
}
