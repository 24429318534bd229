//! What is held of requests, over all connections: of those that have not come whole, and of those that wait for their turn.
//!
//! One connection may hold a head of 32 KiB, and hundreds of them together what a small container has. While
//! they hold more than a budget, each may hold its even part of it only: who then has more and goes on sending
//! is cut. A request of a few hundred bytes that comes in one piece never meets this.
//!
//! A buffer that has grown for a long head stays as long as it is until its connection ends. So it goes on to count, and
//! while half of the budget is spent, a connection with a long head ends with its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A head of this length is always let in: an ordinary request is shorter.
const LEAST_PART: u64 = 1 << 10;
/// What the buffer of every connection has from the start. The bound on connections counts it.
const FIRST_BUFFER: u64 = 8 << 10;

/// The bytes of requests that all connections hold.
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

/// What a connection may do that has received something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoesOn,
    /// The request that has come is its last one.
    LastRequest,
    IsCut,
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Held {
    heads: Arc<Heads>,
    /// What of its counts in all that is held.
    counted: u64,
    /// Bytes that were received and not yet taken as requests.
    bytes: u64,
    /// Those of them that are behind the last whole head.
    unfinished: u64,
    /// Those of these that are the ends of empty lines, and have nothing behind them.
    blank: u64,
    /// Whether the line that is being received has nothing in it so far, and the head before it something.
    line_is_empty: bool,
    has_lines: bool,
    /// What its buffer has grown to; 0 while it is as it was first.
    grown: u64,
}

impl Held {
    pub(super) fn new(heads: &Arc<Heads>) -> Self {
        Held {
            heads: Arc::clone(heads),
            counted: 0,
            bytes: 0,
            unfinished: 0,
            blank: 0,
            line_is_empty: true,
            has_lines: false,
            grown: 0,
        }
    }

    /// Whether the beginning of another request is there. Empty lines before one are none (RFC 9112, 2.2).
    pub(super) fn has_begun(&self) -> bool {
        self.has_lines
    }

    /// More is wanted: what was whole has been taken.
    pub(super) fn wants_more(&mut self) {
        self.bytes = self.unfinished;
        self.count();
    }

    /// So many bytes behind the last whole head were the body of its request, and are gone.
    pub(super) fn passes_over(&mut self, body: u64) {
        self.unfinished = self.unfinished.saturating_sub(body);
        if self.unfinished <= self.blank {
            (self.line_is_empty, self.has_lines) = (true, false);
        }
    }

    /// Takes note of what was received.
    pub(super) fn received(&mut self, bytes: &[u8], budget: Budget) -> Verdict {
        // They are behind one another in the buffer.
        let length = self.unfinished + bytes.len() as u64;
        if length > FIRST_BUFFER {
            self.grown = self.grown.max(length);
        }
        for byte in bytes {
            let is_content = !matches!(byte, b'\r' | b'\n');
            self.blank = if is_content { 0 } else { self.blank + 1 };
            match byte {
                b'\n' if self.line_is_empty && self.has_lines => {
                    (self.unfinished, self.blank, self.has_lines) = (0, 0, false);
                    continue;
                }
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => (self.line_is_empty, self.has_lines) = (false, true),
            }
            self.unfinished += 1;
        }
        self.bytes += bytes.len() as u64;
        self.count();
        let part = (budget.bytes / budget.connections.max(1)).max(LEAST_PART);
        match self.heads.held() {
            held if self.unfinished > part && held > budget.bytes => Verdict::IsCut,
            held if self.unfinished == 0 && self.grown > 0 && held > budget.bytes / 2 => {
                Verdict::LastRequest
            }
            _ => Verdict::GoesOn,
        }
    }

    fn count(&mut self) {
        let counts = self.bytes.max(self.grown);
        self.heads.held.fetch_add(counts, Ordering::Relaxed);
        self.heads.held.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = counts;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.heads.held.fetch_sub(self.counted, Ordering::Relaxed);
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
        for (received, unfinished, has_begun) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, false),
            // Empty lines are held, and are the beginning of nothing.
            ("\r\n\n", 3, false),
            ("GET / HTTP/1.1\n\n", 0, false),
            ("GET / HTTP/1.1\r\n\r\nGET", 3, true),
            (" / HTTP/1.1\r\n\r", 17, true),
            ("\n", 0, false),
            ("GET / HTTP/1.1\r\n\r\n", 0, false),
        ] {
            assert_eq!(held.received(received.as_bytes(), BUDGET), Verdict::GoesOn);
            assert_eq!((held.unfinished, held.has_begun()), (unfinished, has_begun));
            // Until then they are, also while they wait for their turn.
            assert!(heads.held() >= received.len() as u64);
            held.wants_more();
            assert_eq!(heads.held(), unfinished, "{received:?}");
        }
    }

    #[test]
    fn a_body_begins_no_request() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
        for (behind, has_begun) in [
            ("hello", false),
            ("hello\r\n", false),
            ("hello\r\n\r\n", false),
            ("a\r\n\r\n", false),
            ("hi\r\n\n\r\n", false),
            ("helloG", true),
            ("hello\r\nGET /", true),
        ] {
            let mut held = Held::new(&Arc::default());
            for _ in 0..3 {
                held.received([head, behind].concat().as_bytes(), BUDGET);
                held.passes_over(5);
                assert_eq!(held.has_begun(), has_begun, "{behind:?}");
                // What has begun goes on, and ends.
                held.received(b" / HTTP/1.1\r\n\r\n", BUDGET);
                assert!(held.unfinished == 0 && !held.has_begun(), "{behind:?}");
            }
        }
    }

    #[test]
    fn over_the_budget_each_has_its_even_part() {
        let heads = Arc::default();
        let mut first = Held::new(&heads);
        assert_eq!(first.received(&[b'x'; 9_000], BUDGET), Verdict::GoesOn);
        let mut second = Held::new(&heads);
        // It has not more than its part, and then its head is whole.
        assert_eq!(second.received(&[b'x'; 1_500], BUDGET), Verdict::GoesOn);
        assert_eq!(second.received(b"\r\n\r\n", BUDGET), Verdict::GoesOn);
        assert_eq!(first.received(b"x", BUDGET), Verdict::IsCut);
        assert_eq!(second.received(&[b'x'; 2_001], BUDGET), Verdict::IsCut);
        drop(first);
        second.wants_more();
        assert_eq!(second.received(b"x", BUDGET), Verdict::GoesOn);
        drop(second);
        assert_eq!(heads.held(), 0);
    }

    #[test]
    fn a_buffer_that_has_grown_counts_until_its_connection_ends() {
        let heads = Arc::default();
        let budget = Budget { bytes: 40_000, ..BUDGET };
        let long = |held: &mut Held| {
            assert_eq!(held.received(&[b'x'; 8_000], budget), Verdict::GoesOn);
            let verdict = held.received(&[&[b'x'; 3_996][..], b"\r\n\r\n"].concat(), budget);
            held.wants_more();
            verdict
        };
        let mut first = Held::new(&heads);
        assert_eq!(long(&mut first), Verdict::GoesOn);
        assert_eq!(heads.held(), 12_000);
        // Its next one takes no more, and a short one no less.
        assert_eq!(long(&mut first), Verdict::GoesOn);
        assert_eq!(first.received(b"GET / HTTP/1.1\r\n\r\n", budget), Verdict::GoesOn);
        assert_eq!(heads.held(), 12_000);
        // With another one more than half of the budget is spent.
        let mut second = Held::new(&heads);
        assert_eq!(long(&mut second), Verdict::LastRequest);
        assert_eq!(first.received(b"GET / HTTP/1.1\r\n\r\n", budget), Verdict::LastRequest);
        let mut short = Held::new(&heads);
        assert_eq!(short.received(b"GET / HTTP/1.1\r\n\r\n", budget), Verdict::GoesOn);
        drop((first, second, short));
        assert_eq!(heads.held(), 0);
    }
}
