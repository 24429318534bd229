//! What the readers of unix sockets have left unread.
//!
//! The kernel keeps what was written into a unix socket until its reader takes it or closes its end, also when the writer
//! has closed its own, and charges it to the writer's control group. Nothing gives it back. So an end with unread
//! bytes is not closed but kept here, where it is known how many there are, and who has left too many gets no more connections.
//! Over TCP closing throws them away.

use super::limits::UNREAD;
use crate::client_key::ClientKey;
use crate::sync::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::sync::Mutex;
use vitald_core::host::unread_bytes;

/// So many ends at most are kept before who has left one gets no more connections: each takes a descriptor.
const MOST_ENDS: usize = 64;

/// The ends of connections that are over and whose readers have not taken all.
#[derive(Default)]
pub(super) struct Unread(Mutex<Vec<End>>);

struct End {
    socket: OwnedFd,
    client: ClientKey,
    bytes: u64,
}

impl Unread {
    /// Keeps the end of a connection that is about to be closed, if its reader has not taken all. The reader gets
    /// what there is, and then the end.
    pub(super) fn keep(&self, socket: impl AsFd, client: ClientKey) {
        let bytes = unread_bytes(socket.as_fd()).unwrap_or(0);
        if bytes == 0 {
            return;
        }
        // Without a descriptor it is closed, as without this.
        let Ok(socket) = rustix::io::dup(socket) else { return };
        let _ = shutdown(&socket, Shutdown::Both);
        lock(&self.0).push(End { socket, client, bytes });
    }

    /// Whether a client may have another connection: it has left nothing unread, or all together have left little.
    pub(super) fn has_room_for(&self, client: ClientKey) -> bool {
        let mut ends = lock(&self.0);
        ends.retain_mut(End::has_bytes);
        let bytes: u64 = ends.iter().map(|end| end.bytes).sum();
        let is_full = bytes >= UNREAD.now() || ends.len() >= MOST_ENDS;
        !is_full || !ends.iter().any(|end| end.client == client)
    }
}

impl End {
    /// Looks how much is left.
    fn has_bytes(&mut self) -> bool {
        self.bytes = unread_bytes(self.socket.as_fd()).unwrap_or(0);
        self.bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const ONE: ClientKey = ClientKey::User(Some(1));
    const OTHER: ClientKey = ClientKey::User(Some(2));

    /// The reader's end of a connection that is over, with so many bytes to read.
    fn left(unread: &Unread, client: ClientKey, bytes: usize) -> UnixStream {
        let (mut writer, reader) = UnixStream::pair().expect("a pair");
        writer.write_all(&vec![b'x'; bytes]).expect("there is room");
        unread.keep(&writer, client);
        reader
    }

    #[test]
    fn who_leaves_much_unread_gets_no_more() {
        let unread = Unread::default();
        let mut readers: Vec<UnixStream> =
            (0..MOST_ENDS - 1).map(|_| left(&unread, ONE, 1)).collect();
        assert!(unread.has_room_for(ONE));
        readers.push(left(&unread, ONE, 1));
        assert!(!unread.has_room_for(ONE) && unread.has_room_for(OTHER));
        // One that is read to its end has room again, and so has one that is closed.
        let mut text = String::new();
        readers[0].read_to_string(&mut text).expect("it has an end");
        assert!(text == "x" && unread.has_room_for(ONE));
        drop(left(&unread, ONE, 1));
        assert!(unread.has_room_for(ONE));
    }

    #[test]
    fn bytes_are_what_counts() {
        let unread = Unread::default();
        let piece = 64 << 10;
        let most = UNREAD.now() as usize / piece;
        let readers: Vec<UnixStream> = (0..most).map(|_| left(&unread, ONE, piece)).collect();
        assert!(most < MOST_ENDS && !unread.has_room_for(ONE));
        drop(readers);
        assert!(unread.has_room_for(ONE));
        // What was read to its end is closed and not kept.
        let _reader = left(&unread, ONE, 0);
        assert!(lock(&unread.0).is_empty());
    }
}
