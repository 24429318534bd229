//! How many threads hang in the kernel: those of collectors, and by themselves those that ask mounts.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A count of threads that are out for longer than they should be and may never come back. A
/// thread that hangs in the kernel cannot be ended, so what bounds their number is that no further
/// one is risked at [`StuckThreads::LIMIT`].
#[derive(Debug, Default)]
pub struct StuckThreads {
    count: AtomicUsize,
}

/// One thread that hangs; it stops counting when this is dropped.
#[derive(Debug)]
pub struct StuckThread(&'static StuckThreads);

static OF_PROCESS: StuckThreads = StuckThreads::new();

impl StuckThreads {
    /// How many threads may hang at a time before nothing that may block is begun.
    pub const LIMIT: usize = 16;

    /// A count of its own, for a test.
    pub const fn new() -> Self {
        StuckThreads { count: AtomicUsize::new(0) }
    }

    /// The count of this process, but for threads that ask mounts.
    pub fn of_process() -> &'static StuckThreads {
        &OF_PROCESS
    }

    /// Counts one more thread, also beyond the limit: that a thread hangs is a fact.
    #[must_use = "the thread counts until this is dropped"]
    pub fn enter(&'static self) -> StuckThread {
        self.count.fetch_add(1, Ordering::Relaxed);
        StuckThread(self)
    }

    /// How many threads hang now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether no further thread may be risked.
    pub fn is_full(&self) -> bool {
        self.count() >= Self::LIMIT
    }
}

impl Drop for StuckThread {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_until_it_comes_back() {
        static THREADS: StuckThreads = StuckThreads::new();
        let mut stuck: Vec<StuckThread> =
            (0..StuckThreads::LIMIT).map(|_| THREADS.enter()).collect();
        assert!(THREADS.is_full());
        stuck.pop();
        assert_eq!((THREADS.count(), THREADS.is_full()), (StuckThreads::LIMIT - 1, false));
    }
}
