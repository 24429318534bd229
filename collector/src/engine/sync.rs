//! The locks and threads of the engine: those of the standard library, or with the feature
//! `model-check` those of shuttle, which decides itself which thread goes on.

#[cfg(feature = "model-check")]
pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicBool};
pub(super) use std::sync::{Arc, Weak};
#[cfg(not(feature = "model-check"))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicBool};

#[cfg(feature = "model-check")]
use shuttle::thread::Builder;
#[cfg(not(feature = "model-check"))]
use std::thread::Builder;

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

/// Takes a lock. A panic elsewhere does not make the data unusable, since under every lock of the
/// engine each change is complete before anything that could panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits without the lock until it is notified.
pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits without the lock until it is notified, but not longer than `limit`.
pub(super) fn wait_for<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Duration,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
}

/// Starts a thread that is not waited for.
///
/// # Errors
///
/// As [`std::thread::Builder::spawn`].
pub(super) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(test)]
    if REFUSES_THREADS.with(std::cell::Cell::get) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Builder::new().name(name).spawn(work).map(drop)
}

#[cfg(all(test, not(feature = "model-check")))]
std::thread_local! {
    static REFUSES_THREADS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

// Of shuttle's threads, which are all on one of the system's.
#[cfg(all(test, feature = "model-check"))]
shuttle::thread_local! {
    static REFUSES_THREADS: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

/// Whether the calling thread can start no other, as on a system that has no more to give.
#[cfg(test)]
pub(crate) fn refuse_threads(refuses: bool) {
    REFUSES_THREADS.with(|cell| cell.set(refuses));
}
