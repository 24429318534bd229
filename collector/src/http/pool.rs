//! Pages: the buffers that answers are written into and sent from.

use super::request::Reader;
use crate::encode::PageBuffer;
use crate::heap;
use crate::sync::lock;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Buffers kept for the next answers: as many as one scrape needs, plain and compressed, and one
/// for a second scraper.
const KEPT: usize = 3;

/// How often a page that waits for room looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The pool of pages.
#[derive(Default)]
pub(super) struct PagePool {
    free: Mutex<Free>,
    lent: Mutex<Lent>,
    /// A page has been sent, or its reader cut.
    one_ended: Notify,
}

/// The pages that are being written or sent.
#[derive(Default)]
struct Lent {
    pages: Vec<LentPage>,
    bytes: u64,
    next: u64,
    /// The most that there were since all had ended.
    most: usize,
}

struct LentPage {
    number: u64,
    bytes: u64,
    reader: Arc<dyn Reader>,
    /// It will be free as soon as its connection has ended.
    is_cut: bool,
}

impl Lent {
    fn add(&mut self, bytes: u64, reader: Arc<dyn Reader>) -> u64 {
        self.next += 1;
        self.bytes += bytes;
        self.pages.push(LentPage { number: self.next, bytes, reader, is_cut: false });
        self.most = self.most.max(self.pages.len());
        self.next
    }

    /// Takes one out. Answers whether a crowd of readers has gone with it.
    fn remove(&mut self, number: u64) -> bool {
        if let Some(at) = self.pages.iter().position(|page| page.number == number) {
            self.bytes -= self.pages.swap_remove(at).bytes;
        }
        self.pages.is_empty() && std::mem::take(&mut self.most) > KEPT
    }

    /// Makes room for so many bytes by cutting those who have been behind for longest, beside what they may be. Answers how long it may take
    /// until there is more to be had.
    fn cut_for(&mut self, bytes: u64, most: u64) -> Duration {
        let uncut = |page: &LentPage| if page.is_cut { 0 } else { page.bytes };
        let mut held: u64 = self.pages.iter().map(uncut).sum();
        while held > 0 && held.saturating_add(bytes) > most {
            let waiting = self.pages.iter_mut().filter(|page| !page.is_cut);
            let waiting = waiting.map(|page| {
                let (waits, grace) = (page.reader.waits().unwrap_or_default(), page.reader.grace());
                (grace.saturating_sub(waits), std::cmp::Reverse(waits), page)
            });
            match waiting.min_by_key(|(rest, waits, _)| (*rest, *waits)) {
                Some((Duration::ZERO, _, page)) => {
                    page.is_cut = true;
                    page.reader.cut();
                    held -= page.bytes;
                }
                Some((rest, ..)) => return rest,
                None => break,
            }
        }
        LOOK_AGAIN
    }
}

/// Room for a page, from before it is written until it is sent.
pub(super) struct Room {
    pool: Arc<PagePool>,
    number: u64,
}

impl Room {
    /// The page has become as long as this.
    fn holds(&self, bytes: u64) {
        let mut lent = lock(&self.pool.lent);
        let Lent { pages, bytes: total, .. } = &mut *lent;
        if let Some(page) = pages.iter_mut().find(|page| page.number == self.number) {
            *total = *total - page.bytes + bytes;
            page.bytes = bytes;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let is_over = lock(&self.pool.lent).remove(self.number);
        if is_over {
            self.pool.free().keep_one();
            heap::give_back_soon();
        }
        self.pool.one_ended.notify_waiters();
    }
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

    /// Gives up all but the one that came back last.
    fn keep_one(&mut self) {
        let last = self.buffers.pop();
        self.buffers = Vec::from_iter(last);
        self.unused = 0;
    }
}

/// A page that goes back to its pool when it is dropped.
pub(super) struct Page {
    pub(super) buffer: PageBuffer,
    pool: Arc<PagePool>,
    /// While it is sent.
    room: Option<Room>,
}

impl PagePool {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page in a buffer that may hold an earlier one. The buffer that came back last comes first: it is likely
    /// still in the processor's caches, and the next page likely the same but for some numbers.
    pub(super) fn page(self: &Arc<Self>) -> Page {
        let buffer = self.free().take();
        Page { buffer, pool: Arc::clone(self), room: None }
    }

    /// Room for a page of about so many bytes, if all pages together take no more than `most`. One page is always
    /// allowed, however long it is. Where there is no room those readers are cut who have been behind for longest;
    /// `None` if there is still none at the deadline.
    pub(super) async fn room(
        self: &Arc<Self>,
        bytes: usize,
        most: u64,
        reader: &Arc<dyn Reader>,
        deadline: Instant,
    ) -> Option<Room> {
        loop {
            let one_ended = self.one_ended.notified();
            let wait = match self.try_room(bytes as u64, most, reader) {
                Ok(room) => return Some(room),
                Err(wait) => wait,
            };
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let _ = tokio::time::timeout_at(deadline.min(now + wait).into(), one_ended).await;
        }
    }

    fn try_room(
        self: &Arc<Self>,
        bytes: u64,
        most: u64,
        reader: &Arc<dyn Reader>,
    ) -> Result<Room, Duration> {
        let mut lent = lock(&self.lent);
        if lent.pages.is_empty() || lent.bytes.saturating_add(bytes) <= most {
            let number = lent.add(bytes, Arc::clone(reader));
            return Ok(Room { pool: Arc::clone(self), number });
        }
        Err(lent.cut_for(bytes, most))
    }
}

impl Page {
    /// The page as the body of an answer; it goes back when the last byte is sent or the reader is
    /// cut.
    pub(super) fn lend(mut self, room: Room) -> Bytes {
        // What a page takes is its buffer, not its text alone.
        room.holds(self.buffer.capacity() as u64);
        self.room = Some(room);
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
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A reader that has taken nothing for a while.
    #[derive(Default)]
    struct Waiting {
        waits: Option<Duration>,
        is_cut: AtomicBool,
    }

    impl Reader for Waiting {
        fn waits(&self) -> Option<Duration> {
            self.waits
        }

        fn grace(&self) -> Duration {
            Duration::from_millis(200)
        }

        fn cut(&self) {
            self.is_cut.store(true, Ordering::Relaxed);
        }
    }

    fn reader(milliseconds: u64) -> (Arc<Waiting>, Arc<dyn Reader>) {
        let waits = Some(Duration::from_millis(milliseconds));
        let waiting = Arc::new(Waiting { waits, ..Waiting::default() });
        (Arc::clone(&waiting), waiting)
    }

    #[test]
    fn pages_come_back() {
        let pages = Arc::new(PagePool::default());
        let mut page = pages.page();
        page.buffer.fill(|bytes| {
            bytes.resize(1200, b'x');
            1000
        });
        let (_, prompt) = reader(0);
        let has_room = |bytes, most| pages.try_room(bytes, most, &prompt).is_ok();
        let buffer = page.as_ref().as_ptr();
        let room = pages.try_room(100, 1500, &prompt).expect("nothing else is there");
        let body = page.lend(room);
        let copy = body.clone();
        assert_eq!(body.len(), 1000);
        assert!(has_room(300, 1500) && !has_room(301, 1500));
        drop(body);
        assert!(!has_room(1000, 1500));
        drop(copy);
        assert!(has_room(1000, 1500) && has_room(10_000, 0));
        let again = pages.page();
        assert_eq!(again.as_ref().as_ptr(), buffer);
    }

    #[tokio::test]
    async fn the_slowest_readers_are_cut_for_another_page() {
        let pages = Arc::new(PagePool::default());
        let (readers, rooms): (Vec<_>, Vec<_>) = [300, 5000, 100, 900]
            .map(|waits| {
                let (waiting, reader) = reader(waits);
                (waiting, pages.try_room(100, 400, &reader).expect("room"))
            })
            .into_iter()
            .unzip();
        let cut = || readers.iter().map(|reader| reader.is_cut.load(Ordering::Relaxed));
        let (_, prompt) = reader(0);
        let soon = || Instant::now() + Duration::from_millis(20);
        assert!(pages.room(150, 400, &prompt, soon()).await.is_none(), "they have not ended");
        assert!(cut().eq([false, true, false, true]));
        let late = Instant::now() + Duration::from_secs(60);
        let mut rooms: Vec<_> = rooms.into_iter().map(Some).collect();
        let ends = async { [1, 3].map(|at| rooms[at].take()).map(drop) };
        let (room, _) = tokio::join!(pages.room(150, 400, &prompt, late), ends);
        assert!(room.is_some());
        // Who waits for a moment is not cut, and there is no room then.
        assert!(pages.room(200, 400, &prompt, soon()).await.is_none());
        assert!(cut().eq([true, true, false, true]));
    }

    #[test]
    fn after_a_crowd_of_readers_one_buffer_is_kept() {
        let pages = Arc::new(PagePool::default());
        let (_, prompt) = reader(0);
        let lend = || {
            let room = pages.try_room(100, u64::MAX, &prompt).expect("room");
            pages.page().lend(room)
        };
        let free = || pages.free().buffers.len();
        // As many as may be kept are none.
        drop([lend(), lend(), lend()]);
        assert_eq!(free(), KEPT);
        let crowd = [lend(), lend(), lend(), lend()];
        let [first, rest @ ..] = crowd;
        drop(rest);
        assert_eq!(free(), KEPT);
        drop(first);
        assert_eq!(free(), 1);
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
