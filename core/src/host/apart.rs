//! Threads that may hang and hold no descriptors of the others.

use std::io;
use std::thread;

use vitald_sys::{OwnDescriptors, spawn_with_own_descriptors};

/// Starts a thread that may hang in the kernel, with a descriptor table of its own where the system
/// allows it ([`descriptor_tables_are_separate`](super::descriptor_tables_are_separate)), so that
/// it keeps no port taken when it outlives the process.
///
/// Descriptors are numbers in a table. So this is only for work that was written for it: what it
/// opens it closes, no value that holds a descriptor comes to it or leaves it, and it wakes others
/// by means that need none. A collector says so with
/// [`Collector::OWN_DESCRIPTORS`](crate::collector::Collector::OWN_DESCRIPTORS); a client of a
/// crate with threads of its own, such as a bus or a resolver, must not.
///
/// # Errors
///
/// As [`thread::Builder::spawn`].
pub fn spawn_apart(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    spawn_with_own_descriptors(OwnDescriptors::promise(), thread::Builder::new().name(name), work)
}
