//! Taking locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks are held over a few assignments, so what a panic leaves behind is sound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
