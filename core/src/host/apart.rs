//! Threads that may hang and hold no descriptors of the others, and the socket by which they wake them.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use vitald_sys::{OwnDescriptors, spawn_with_own_descriptors};

thread_local! {
    static IS_APART: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread that may hang in the kernel, with a descriptor table of its own where the system
/// allows it ([`descriptor_tables_are_separate`](super::descriptor_tables_are_separate)), so that
/// it keeps no port taken when it outlives the process.
///
/// Descriptors are numbers in a table. So this is only for work that was written for it: what it
/// opens it closes, no value that holds a descriptor comes to it or leaves it, it starts no thread that
/// uses what others have opened, and it wakes others by the socket that it keeps, or by means that need
/// no descriptor. A collector says so with
/// [`Collector::OWN_DESCRIPTORS`](crate::collector::Collector::OWN_DESCRIPTORS); a client of a
/// crate with threads of its own, such as a bus or a resolver, must not.
///
/// # Errors
///
/// As [`thread::Builder::spawn`].
pub fn spawn_apart(
    name: String,
    wake_socket: Option<&'static WakeSocket>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let kept = wake_socket.map(WakeSocket::descriptor);
    let builder = thread::Builder::new().name(name);
    spawn_with_own_descriptors(OwnDescriptors::promise(), kept, builder, move || {
        IS_APART.set(true);
        work();
    })
}

/// Whether the calling thread was started by [`spawn_apart`], so that it must not use what others have
/// opened.
pub fn is_apart() -> bool {
    IS_APART.get()
}

/// A socket by which any thread of the process wakes one that waits for descriptors (epoll), also a thread
/// that is apart from the others.
pub struct WakeSocket(UnixStream);

impl WakeSocket {
    /// The socket, and its peer, which can be read after a wake-up. It is open for as long as the process is there,
    /// so that its number means the same in every table.
    ///
    /// # Errors
    ///
    /// There are no descriptors to be had.
    pub fn pair() -> io::Result<(&'static WakeSocket, UnixStream)> {
        let (socket, peer) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        Ok((Box::leak(Box::new(WakeSocket(socket))), peer))
    }

    fn descriptor(&'static self) -> BorrowedFd<'static> {
        self.0.as_fd()
    }

    /// Wakes the thread that waits for the peer.
    pub fn wake(&'static self) {
        // Where there is no room, wake-ups wait to be read.
        let _ = (&self.0).write(&[1]);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_is_apart_can_wake_another_one() {
        let (socket, mut peer) = WakeSocket::pair().expect("descriptors");
        let (send, receive) = mpsc::channel();
        let work = move || {
            socket.wake();
            send.send(is_apart()).expect("the test waits");
        };
        spawn_apart("apart".to_owned(), Some(socket), work).expect("a thread");
        assert_eq!((receive.recv(), is_apart()), (Ok(true), false));
        assert_eq!(peer.read(&mut [0; 8]).expect("it was woken"), 1);
    }

    #[test]
    fn wake_ups_that_are_not_read_hold_up_no_thread() {
        let (socket, _peer) = WakeSocket::pair().expect("descriptors");
        (0..10_000).for_each(|_| socket.wake());
    }
}
