//! Pages: the buffers that answers are written into and sent from.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers kept for the next answers: as many as one scrape needs, plain and compressed, and one
/// for a second scraper.
const KEPT: usize = 3;

/// The pool of pages.
#[derive(Default)]
pub(super) struct PagePool {
    free: Mutex<Vec<Vec<u8>>>,
    /// Bytes of the pages that are being sent.
    lent: AtomicU64,
}

/// A page that goes back to its pool when it is dropped.
pub(super) struct Page {
    /// Behind its length they have no meaning, and are kept: a buffer that is used again need not
    /// be filled with zeros.
    pub(super) bytes: Vec<u8>,
    /// How many bytes of it are the page.
    pub(super) length: usize,
    pool: Arc<PagePool>,
    /// What the pool has counted for it.
    counted: u64,
}

impl PagePool {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of no length yet, in a buffer that may hold what an earlier one left.
    pub(super) fn page(self: &Arc<Self>) -> Page {
        let bytes = self.free().pop().unwrap_or_default();
        Page { bytes, length: 0, pool: Arc::clone(self), counted: 0 }
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
        self.counted = self.bytes.capacity() as u64;
        self.pool.lent.fetch_add(self.counted, Ordering::Relaxed);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.lent.fetch_sub(self.counted, Ordering::Relaxed);
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.free();
        if free.len() < KEPT {
            free.push(bytes);
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
        page.bytes.extend_from_slice(&[b'x'; 1200]);
        page.length = 1000;
        let buffer = page.bytes.as_ptr();
        let body = page.lend();
        let copy = body.clone();
        assert_eq!(body.len(), 1000);
        assert!(!pages.has_room(1000, 1500));
        drop(body);
        assert!(!pages.has_room(1000, 1500));
        drop(copy);
        assert!(pages.has_room(1000, 1500) && pages.has_room(10_000, 0));
        let again = pages.page();
        assert_eq!((again.bytes.as_ptr(), again.length), (buffer, 0));
    }
}
