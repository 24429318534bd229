//! Pages: the buffers that answers are written into and sent from.

use crate::encode::PageBuffer;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers kept for the next answers: as many as one scrape needs, plain and compressed, and one
/// for a second scraper.
const KEPT: usize = 3;

/// The pool of pages.
#[derive(Default)]
pub(super) struct PagePool {
    free: Mutex<Free>,
    /// Bytes of the pages that are being sent.
    lent: AtomicU64,
}

/// The buffers that no page is in.
#[derive(Default)]
struct Free {
    /// The one that came back last comes last.
    buffers: Vec<PageBuffer>,
    /// How many of them no page has needed since the last look.
    unused: usize,
    /// How many pages there have been since the last look.
    pages: u8,
}

/// After so many pages those buffers are given up that none of them has needed: what was made for a
/// moment with many scrapers, or for pages that were long once.
const PAGES_BETWEEN_LOOKS: u8 = 60;

impl Free {
    fn take(&mut self) -> PageBuffer {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.unused = self.unused.min(self.buffers.len());
        self.pages += 1;
        if self.pages >= PAGES_BETWEEN_LOOKS {
            self.buffers.drain(..self.unused);
            (self.pages, self.unused) = (0, self.buffers.len());
        }
        buffer
    }
}

/// A page that goes back to its pool when it is dropped.
pub(super) struct Page {
    pub(super) buffer: PageBuffer,
    pool: Arc<PagePool>,
    /// What the pool has counted for it.
    counted: u64,
}

impl PagePool {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page in a buffer that may hold an earlier one. The buffer that came back last comes first: it is likely
    /// still in the processor's caches, and the next page likely the same but for some numbers.
    pub(super) fn page(self: &Arc<Self>) -> Page {
        let buffer = self.free().take();
        Page { buffer, pool: Arc::clone(self), counted: 0 }
    }

    /// Whether those who are being sent pages leave room for another one. One page is always
    /// allowed, however long it is.
    pub(super) fn has_room(&self, length: usize, most: u64) -> bool {
        let lent = self.lent.load(Ordering::Relaxed);
        lent == 0 || lent.saturating_add(length as u64) <= most
    }
}

impl Page {
    /// The page as the body of an answer; it goes back when the last byte is sent or the reader is
    /// cut.
    pub(super) fn lend(mut self) -> Bytes {
        // What a page takes is its buffer, not its text alone.
        self.counted = self.buffer.capacity() as u64;
        self.pool.lent.fetch_add(self.counted, Ordering::Relaxed);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.lent.fetch_sub(self.counted, Ordering::Relaxed);
        let buffer = std::mem::take(&mut self.buffer);
        let mut free = self.pool.free();
        if free.buffers.len() < KEPT {
            free.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back() {
        let pages = Arc::new(PagePool::default());
        let mut page = pages.page();
        page.buffer.fill(|bytes| {
            bytes.resize(1200, b'x');
            1000
        });
        let buffer = page.as_ref().as_ptr();
        let body = page.lend();
        let copy = body.clone();
        assert_eq!(body.len(), 1000);
        assert!(!pages.has_room(1000, 1500));
        drop(body);
        assert!(!pages.has_room(1000, 1500));
        drop(copy);
        assert!(pages.has_room(1000, 1500) && pages.has_room(10_000, 0));
        let again = pages.page();
        assert_eq!(again.as_ref().as_ptr(), buffer);
    }

    #[test]
    fn what_many_scrapers_needed_once_is_given_up() {
        let pages = Arc::new(PagePool::default());
        let free = || pages.free().buffers.len();
        drop([pages.page(), pages.page(), pages.page(), pages.page()]);
        assert_eq!(free(), KEPT);
        for _ in 0..2 * PAGES_BETWEEN_LOOKS {
            drop(pages.page());
        }
        assert_eq!(free(), 1);
        // Two that come at the same time now and then keep theirs.
        for page in 0..10 * u32::from(PAGES_BETWEEN_LOOKS) {
            let first = pages.page();
            drop((page % 20 == 0).then(|| pages.page()));
            drop(first);
        }
        assert_eq!(free(), 2);
    }
}
