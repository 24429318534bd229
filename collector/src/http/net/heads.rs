//! What is held of requests that have not come whole, over all connections.
//!
//! One connection may hold a head of 32 KiB, and hundreds of them together what a small container has. While
//! they hold more than a budget, each may hold its even part of it only: who then has more and goes on sending
//! is cut. A request of a few hundred bytes that comes in one piece never meets this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A head of this length is always let in: an ordinary request is shorter.
const LEAST_PART: u64 = 1 << 10;

/// The bytes of unfinished requests that all connections hold.
#[derive(Debug, Default)]
pub(super) struct Heads {
    held: AtomicU64,
}

impl Heads {
    /// Bytes held at this moment.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// How much may be held together, and by how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes: u64,
    pub(super) connections: u64,
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Held {
    heads: Arc<Heads>,
    /// Bytes that were received and not yet taken as requests.
    bytes: u64,
    /// Those of them that are behind the last whole head.
    unfinished: u64,
    /// Whether the line that is being received has nothing in it so far, and the head before it something.
    line_is_empty: bool,
    has_lines: bool,
}

impl Held {
    pub(super) fn new(heads: &Arc<Heads>) -> Self {
        Held {
            heads: Arc::clone(heads),
            bytes: 0,
            unfinished: 0,
            line_is_empty: true,
            has_lines: false,
        }
    }

    /// Whether the beginning of another request is there.
    pub(super) fn has_unfinished(&self) -> bool {
        self.unfinished > 0
    }

    /// More is wanted: what was whole has been taken.
    pub(super) fn wants_more(&mut self) {
        self.hold(self.unfinished);
    }

    /// Takes note of what was received. Answers whether the connection may go on.
    pub(super) fn received(&mut self, bytes: &[u8], budget: Budget) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.line_is_empty && self.has_lines => {
                    (self.unfinished, self.has_lines) = (0, false);
                    continue;
                }
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => (self.line_is_empty, self.has_lines) = (false, true),
            }
            self.unfinished += 1;
        }
        self.hold(self.bytes + bytes.len() as u64);
        let part = (budget.bytes / budget.connections.max(1)).max(LEAST_PART);
        self.unfinished <= part || self.heads.held() <= budget.bytes
    }

    fn hold(&mut self, bytes: u64) {
        self.heads.held.fetch_add(bytes, Ordering::Relaxed);
        self.heads.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { bytes: 10_000, connections: 5 };

    #[test]
    fn whole_heads_are_not_held_once_they_are_taken() {
        let heads = Arc::default();
        let mut held = Held::new(&heads);
        for (received, unfinished) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            ("\r\n\nGET / HTTP/1.1\n\n", 0),
            ("GET / HTTP/1.1\r\n\r\nGET", 3),
            (" / HTTP/1.1\r\n\r", 17),
            ("\n", 0),
            ("GET / HTTP/1.1\r\n\r\n", 0),
        ] {
            assert!(held.received(received.as_bytes(), BUDGET));
            assert_eq!((held.unfinished, held.has_unfinished()), (unfinished, unfinished > 0));
            assert!(heads.held() >= received.len() as u64);
            held.wants_more();
            assert_eq!(heads.held(), unfinished, "{received:?}");
        }
    }

    #[test]
    fn over_the_budget_each_has_its_even_part() {
        let heads = Arc::default();
        let mut first = Held::new(&heads);
        assert!(first.received(&[b'x'; 9_000], BUDGET), "the budget is not spent");
        let mut second = Held::new(&heads);
        assert!(second.received(&[b'x'; 1_500], BUDGET), "it has not more than its part");
        assert!(second.received(b"\r\n\r\n", BUDGET), "its head is whole");
        assert!(!first.received(b"x", BUDGET));
        assert!(!second.received(&[b'x'; 2_001], BUDGET));
        drop(first);
        second.wants_more();
        assert!(second.received(b"x", BUDGET));
        drop(second);
        assert_eq!(heads.held(), 0);
    }
}
