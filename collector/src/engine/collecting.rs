//! A collection under way.

use super::notice::Notice;
use super::queue::Queue;
use super::request::Request;
use super::results::Want;
use super::set::Set;
use super::slot::{Look, Slot};
use super::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};
use vitald_core::snapshot::Collection;

/// A collection under way. It needs no runtime, only a caller that looks again when
/// [`Collecting::poll_at`] says or the waker is woken.
pub struct Collecting {
    queue: Arc<Queue>,
    set: Arc<Set>,
    request: Request,
    want: Want,
    /// It has taken what there was, and waits for no collector any more.
    is_finished: bool,
    /// What the queue may have to wake it.
    waker: Option<Waker>,
}

impl Collecting {
    /// Asks the collectors that a request is about for what it wants. With a `max_age` a result may be older than the request by
    /// that, in place of what holds for all, and serves also if its run had to be quick.
    pub(super) fn begin(
        queue: &Arc<Queue>,
        set: Arc<Set>,
        request: Request,
        max_age: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        // A collector that knows its limit stops a little before it, so that what it has counts.
        let time = request.deadline.saturating_duration_since(request.arrived);
        let margin = time / 10;
        let age = max_age.unwrap_or(set.limits.max_age);
        let want = Want {
            from: request.arrived.checked_sub(age).unwrap_or(request.arrived),
            arrived: request.arrived,
            by: Some(request.deadline.checked_sub(margin).unwrap_or(request.deadline)),
            time: if max_age.is_some() { Duration::ZERO } else { time - margin },
            timeout: set.limits.timeout,
        };
        let collecting = Collecting {
            queue: Arc::clone(queue),
            set,
            request,
            want,
            is_finished: false,
            waker: None,
        };
        let mut notices: Vec<Notice> = Vec::new();
        // Those that may block go first: they run beside everything else, those without devices apart.
        for slot in collecting.slots().filter(|slot| slot.may_block()) {
            let (job, notice) = slot.ask(&want, now);
            match job {
                Some(job) if slot.is_on_lane() => slot.submit(job),
                // The collection thread is woken for all at once.
                Some(job) => queue.lock().add(job),
                None => {}
            }
            notices.extend(notice);
        }
        let mut locked = queue.lock();
        for slot in collecting.slots().filter(|slot| !slot.may_block()) {
            let (job, notice) = slot.ask(&want, now);
            if let Some(job) = job {
                locked.add(job);
            }
            notices.extend(notice);
        }
        locked.release(now);
        notices.into_iter().for_each(Notice::log);
        collecting
    }

    /// Whether everything is there or the deadline has passed (`Ok`), or when to look again (`Err`);
    /// the waker is woken when it may be earlier. Without an instant it is woken in any case, and soon. A
    /// waker waits for one collection at a time.
    pub fn poll_at(&mut self, waker: &Waker, now: Instant) -> Result<(), Option<Instant>> {
        if now >= self.request.deadline {
            return Ok(());
        }
        let mut locked = self.queue.lock();
        let follow_up = locked.look(now);
        let mut again = follow_up.again;
        if follow_up.is_urgent() {
            drop(locked);
            follow_up.carry_out(&self.queue);
            locked = self.queue.lock();
        }
        let mut is_complete = true;
        let mut notices: Vec<Notice> = Vec::new();
        for slot in self.slots() {
            let (look, notice) = slot.look(&self.want, now);
            notices.extend(notice);
            if let Look::Waits(until) = look {
                is_complete = false;
                again = earlier(again, until);
            }
        }
        if !is_complete {
            locked.wake_at_the_end(waker);
        }
        let is_woken_soon = locked.wakes_requests_soon();
        drop(locked);
        if !is_complete && !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        notices.into_iter().for_each(Notice::log);
        match is_complete {
            true => Ok(()),
            false if is_woken_soon => Err(None),
            false => {
                Err(Some(again.map_or(self.request.deadline, |at| at.min(self.request.deadline))))
            }
        }
    }

    /// Takes what there is.
    pub fn finish(mut self, collection: &mut Collection) {
        let now = Instant::now();
        collection.taken = SystemTime::now();
        let took = now.saturating_duration_since(self.request.arrived);
        collection.began = collection.taken.checked_sub(took).unwrap_or(collection.taken);
        collection.parts.clear();
        collection
            .parts
            .extend(self.slots().map(|slot| slot.take(&self.want, now, collection.taken)));
        self.is_finished = true;
    }

    /// How many samples the page will have, going by the runs before.
    pub fn samples(&self) -> usize {
        self.slots().map(|slot| slot.samples()).sum()
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let selection = &self.request.selection;
        self.set.slots.iter().filter(|slot| selection.takes(slot.plan.descriptor))
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let forgotten = self.waker.as_ref().and_then(|waker| self.queue.lock().forget(waker));
        drop(forgotten);
        if !self.is_finished {
            self.slots().for_each(|slot| slot.leave(&self.want));
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
