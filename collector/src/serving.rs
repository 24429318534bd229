//! The threads that serve.
//!
//! The collection thread serves between collections: it drives the runtime, and leaves it to collect. So a
//! request finds its collection on the thread that it is on itself, and no other thread is woken for it. The
//! runtime is nobody's while its thread collects, so that another thread can go on with it at any time.
//!
//! The main thread is the watch. It sleeps until a collection has been out for too long, and then has another
//! collection thread started, which goes on with serving and collecting. It never runs a collector, so that it is
//! there at the end whatever hangs. Only where the system has no thread to give it serves itself.

mod alarm;

use crate::engine::{Engine, HAND_OVER_AFTER, Server, Watching, wake_all};
use alarm::Alarm;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use vitald_core::host::{WakeSocket, is_apart};

/// A runtime, and who drives it.
pub(crate) struct Serving {
    runtime: Runtime,
    watching: Watching<Alarm>,
    wake_socket: &'static WakeSocket,
    has_panicked: AtomicBool,
}

/// A panic of the runtime's own, or of who drives it, ends the daemon: there would be nothing that serves.
struct EndsAtPanic<'a>(&'a Serving);

impl Drop for EndsAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_panicked.store(true, Ordering::SeqCst);
            self.0.watching.end();
        }
    }
}

impl Serving {
    /// One that nothing drives yet.
    ///
    /// # Errors
    ///
    /// There are no descriptors to be had.
    pub(crate) fn new(runtime: Runtime) -> io::Result<Arc<Self>> {
        let (wake_socket, woken) = WakeSocket::pair()?;
        woken.set_nonblocking(true)?;
        let serving = Arc::new(Serving {
            watching: Watching::new(Alarm::new()?),
            wake_socket,
            has_panicked: AtomicBool::new(false),
            runtime,
        });
        let inside = serving.runtime.enter();
        let woken = UnixStream::from_std(woken)?;
        drop(inside);
        serving.runtime.spawn(take_wakes(woken, Arc::downgrade(&serving)));
        Ok(serving)
    }

    /// Drives the runtime, on this thread or while another one does, until the work is done.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Has the collection thread serve this until it ends, which ends the watch, too.
    pub(crate) fn begin<F>(self: &Arc<Self>, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        struct EndsWatch(Arc<Serving>);
        impl Drop for EndsWatch {
            fn drop(&mut self) {
                self.0.watching.end();
            }
        }
        let ends = EndsWatch(Arc::clone(self));
        self.runtime.spawn(async move {
            let _ends = ends;
            work.await
        })
    }

    /// Looks after the collection thread until what was begun has ended.
    pub(crate) fn keep_watch(&self, engine: &Engine) {
        self.watching.keep(
            || engine.look_after(Instant::now()),
            |requests| self.serve_for(requests, HAND_OVER_AFTER),
        );
        assert!(!self.has_panicked.load(Ordering::SeqCst), "the thread that serves has panicked");
    }
}

impl Server for Serving {
    fn serve(&self, requests: &mut Vec<Waker>) {
        let _guard = EndsAtPanic(self);
        self.block_on(std::future::poll_fn(|cx| {
            wake_all(requests);
            self.watching.poll_called(cx)
        }));
    }

    fn serve_for(&self, requests: &mut Vec<Waker>, time: Duration) {
        let _guard = EndsAtPanic(self);
        self.block_on(async {
            wake_all(requests);
            // The first one ends when all that is ready has had its turn and the kernel was asked for more,
            // the second one when that had its turn.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
        });
    }

    fn wake_socket(&self) -> Option<&'static WakeSocket> {
        Some(self.wake_socket)
    }

    fn wake(&self) {
        if is_apart() {
            return self.wake_socket.wake();
        }
        self.watching.call();
    }

    fn watch(&self, after: Option<Duration>) {
        self.watching.set_alarm(after);
    }
}

/// Calls the collection thread for those who cannot wake it themselves.
async fn take_wakes(woken: UnixStream, serving: Weak<Serving>) {
    while woken.readable().await.is_ok() {
        while matches!(woken.try_read(&mut [0; 64]), Ok(1..)) {}
        let Some(serving) = serving.upgrade() else { return };
        serving.wake();
    }
}

#[cfg(test)]
mod tests;
