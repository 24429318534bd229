//! Free memory, given back to the system: the one place for all who have let go of much.
//!
//! glibc keeps what has been freed: what a start, a reload, a crowd of clients or a long page needed once would be
//! resident for the life of the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use vitald_core::host::{release_heap, release_program};

/// How long what is free stays: more is let go of at about the same time, and who comes next may need it.
const KEPT: Duration = Duration::from_secs(1);
/// The same after the start: until then it may be needed for the first pages.
pub(crate) const KEPT_AFTER_START: Duration = Duration::from_millis(100);

static SOON: Soon = Soon { is_due: AtomicBool::new(false) };

/// Has free memory given back in a second, once for all who ask meanwhile. Does nothing outside of a runtime.
pub(crate) fn give_back_soon() {
    SOON.give_back();
}

/// Has given back, in a moment, what only the start needed: much memory, and most of the program. To be called in a runtime.
pub(crate) fn give_back_after_start() {
    tokio::spawn(async {
        tokio::time::sleep(KEPT_AFTER_START).await;
        on_a_thread(|| {
            release_heap();
            release_program();
        });
    });
}

/// Not on the thread that serves: it takes its time, and reads a file. Where no thread is to be had the memory stays.
fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("giving back".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "the thread that gives memory back cannot be started");
    }
}

struct Soon {
    /// A caller has asked, and it has not been done yet.
    is_due: AtomicBool,
}

impl Soon {
    fn give_back(&'static self) {
        if let Ok(runtime) = Handle::try_current()
            && !self.is_due.swap(true, Ordering::Relaxed)
        {
            let due = Due(self);
            runtime.spawn(async move {
                tokio::time::sleep(KEPT).await;
                // What is let go of from now on is another matter.
                drop(due);
                on_a_thread(release_heap);
            });
        }
    }
}

/// It is due until this is dropped, which is also where the runtime ends before.
struct Due(&'static Soon);

impl Drop for Due {
    fn drop(&mut self) {
        self.0.is_due.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_at_the_same_time_is_one_and_an_ended_runtime_is_none() {
        static OWN: Soon = Soon { is_due: AtomicBool::new(false) };
        let is_due = || OWN.is_due.load(Ordering::Relaxed);
        OWN.give_back();
        assert!(!is_due(), "there is no runtime");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let tasks = || Handle::current().metrics().num_alive_tasks();
            OWN.give_back();
            OWN.give_back();
            assert!(is_due() && tasks() == 1);
            while tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(!is_due());
            OWN.give_back();
            assert!(is_due());
        });
        drop(runtime);
        assert!(!is_due());
    }
}
