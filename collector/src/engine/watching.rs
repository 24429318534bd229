//! What passes between the collection thread while it serves, those who call it back, and the watch that looks after
//! it. There is no runtime and no timer in it, so that a model checker can try any order of it.

use super::sync::{AtomicBool, Mutex, lock};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the watch sleeps on, and others set without waking it.
pub trait AlarmClock {
    /// Has it go off when so much time has passed, or not at all. What was set before is forgotten, also if it has
    /// gone off and nobody has waited since.
    fn set(&self, after: Option<Duration>);

    /// Sleeps until it goes off.
    fn wait(&self);
}

/// The calls, the alarms and the end.
pub struct Watching<A> {
    /// The collection thread is to come back from serving.
    is_called: AtomicBool,
    /// Wakes the collection thread while it serves.
    collector: Mutex<Option<Waker>>,
    alarm: A,
    has_ended: AtomicBool,
}

impl<A: AlarmClock> Watching<A> {
    /// Nobody is called yet.
    pub fn new(alarm: A) -> Self {
        let [is_called, has_ended] = [(); 2].map(|()| AtomicBool::new(false));
        Watching { is_called, collector: Mutex::new(None), alarm, has_ended }
    }

    /// Ends the serving that is under way, or else the next one.
    pub fn call(&self) {
        if !self.is_called.swap(true, Ordering::SeqCst) {
            let collector = lock(&self.collector).clone();
            if let Some(collector) = collector {
                collector.wake();
            }
        }
    }

    /// Whether the collection thread was called. If not, it is woken when it is.
    pub fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut collector = lock(&self.collector);
        if !collector.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *collector = Some(cx.waker().clone());
        }
        drop(collector);
        // After the waker is known, so that no call is missed.
        match self.is_called.swap(false, Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Has the watch look when so much time has passed, or not at all any more.
    pub fn set_alarm(&self, after: Option<Duration>) {
        self.alarm.set(after);
        // The last alarm is that of the end, which may have come just before this one.
        if self.has_ended.load(Ordering::SeqCst) {
            self.alarm.set(Some(Duration::ZERO));
        }
    }

    /// Ends the watch.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.alarm.set(Some(Duration::ZERO));
    }

    /// The watch until the end: it looks, and sleeps until the alarm goes off. While looking gives it requests, which is
    /// while the collection thread hangs and no other is to be had, it stands in for it.
    pub fn keep(
        &self,
        mut look: impl FnMut() -> Option<Vec<Waker>>,
        mut stand_in: impl FnMut(&mut Vec<Waker>),
    ) {
        while !self.has_ended.load(Ordering::SeqCst) {
            match look() {
                Some(mut requests) => stand_in(&mut requests),
                None => self.alarm.wait(),
            }
        }
    }
}
