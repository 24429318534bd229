//! What the collection thread does between collections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;
use vitald_core::host::WakeSocket;

/// What the collection thread does while there is nothing to collect. The daemon's serves those who
/// ask for collections, so that a collection needs no other thread than the one that was asked.
///
/// What serves has nothing of its own under way while it does not serve: any thread can go on with it.
pub trait Server: Send + Sync {
    /// Wakes the requests, which are taken out, and serves until [`Server::wake`] is called, or has been
    /// called since this last ended.
    fn serve(&self, requests: &mut Vec<Waker>);

    /// Wakes the requests, which are taken out, and serves for so long, or just until those that were woken, and
    /// what else was ready, had a turn.
    fn serve_for(&self, requests: &mut Vec<Waker>, time: Duration);

    /// Ends the serving that is under way, or else the next one. It may be called on any thread, also
    /// on one that has nothing of the others' descriptors but the wake socket.
    fn wake(&self);

    /// The socket by which threads with a descriptor table of their own do what [`Server::wake`] says.
    fn wake_socket(&self) -> Option<&'static WakeSocket>;

    /// Has the watch look after the collection thread when so much time has passed, or not at all any more.
    /// It is called before and after every collection, so it is to be cheap, and must not wake the watch.
    fn watch(&self, after: Option<Duration>);
}

/// Wakes the requests that wait. One that panics does not keep the others waiting, nor does it end
/// the thread.
pub fn wake_all(requests: &mut Vec<Waker>) {
    for request in requests.drain(..) {
        let _ = catch_unwind(AssertUnwindSafe(|| request.wake()));
    }
}
