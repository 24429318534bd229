//! Locks and threads.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use std::io;
use std::sync::PoisonError;

/// Takes a lock. A panic elsewhere does not make the data unusable, since under every lock of this
/// crate each change is complete before anything that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits without the lock until it is notified.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that is not waited for.
///
/// # Errors
///
/// As [`std::thread::Builder::spawn`].
pub(crate) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}
