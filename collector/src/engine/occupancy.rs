//! Which collectors are out, by name, for the whole process.
//!
//! A run occupies the name of its collector until it has come back. Over any number of reloads at
//! most one thread per name can therefore hang: a collector with other settings, or one that was
//! switched off and on again, begins when the occupant has come back.

use super::sync::{Arc, Mutex, Weak, lock};
use std::time::{Duration, Instant};
use vitald_core::host::{StuckThread, StuckThreads};

/// The occupancies of all names.
pub struct Occupancies {
    names: Mutex<Vec<(&'static str, Arc<Occupancy>)>>,
    stuck: &'static StuckThreads,
}

/// Whether the collector of one name is out.
pub(super) struct Occupancy {
    state: Mutex<State>,
    stuck: &'static StuckThreads,
}

#[derive(Default)]
struct State {
    occupant: Option<Occupation>,
    /// Who wants to know when the occupant has come back.
    waiting: Vec<Waiting>,
}

/// The run that occupies a name.
struct Occupation {
    /// When it began and how long it may be out before it is stuck; none while it is queued.
    began: Option<(Instant, Duration)>,
    /// It is stuck, which has been reported.
    reported: bool,
    /// Its thread counts among those that hang.
    thread: Option<StuckThread>,
}

/// Something that wants the name when its occupant has come back.
pub(super) trait Successor: Send + Sync {
    /// The name is free, unless another one has been quicker.
    fn vacated(self: Arc<Self>);
}

/// One that waits for the occupant.
pub(super) enum Waiting {
    /// If it still exists then.
    Weak(Weak<dyn Successor>),
    /// It is kept for that moment.
    Strong(Arc<dyn Successor>),
}

/// The right to run the collector of a name; given back when it is dropped.
pub(super) struct Occupant(Option<Arc<Occupancy>>);

/// How the run that occupies a name is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no run, or it has not begun.
    Waiting,
    /// It is out.
    Out {
        /// Since when.
        began: Instant,
        /// From when on it is stuck.
        until: Instant,
    },
    /// It has been out for too long.
    Stuck {
        /// For how long it has been out.
        out: Duration,
        /// It is the first time that this is said of the run.
        newly: bool,
    },
}

impl Occupancies {
    /// No collector is out. Threads that hang are counted in `stuck`.
    pub fn new(stuck: &'static StuckThreads) -> Self {
        Occupancies { names: Mutex::new(Vec::new()), stuck }
    }

    /// That of a name; it is the same one each time.
    pub(super) fn of(&self, name: &'static str) -> Arc<Occupancy> {
        let mut names = lock(&self.names);
        if let Some((_, known)) = names.iter().find(|(known, _)| *known == name) {
            return Arc::clone(known);
        }
        let new = Arc::new(Occupancy { state: Mutex::new(State::default()), stuck: self.stuck });
        names.push((name, Arc::clone(&new)));
        new
    }

    /// Counts the threads that hang, whatever has become of those who began them: of a collector that
    /// was switched off meanwhile, or that hangs while it is closed, no request asks any more.
    pub(super) fn count_threads(&self, now: Instant) {
        lock(&self.names).iter().for_each(|(_, occupancy)| occupancy.count_thread(now));
    }
}

impl Occupation {
    fn is_stuck(&self, now: Instant) -> bool {
        let until = self.began.and_then(|(began, limit)| began.checked_add(limit));
        until.is_some_and(|until| now >= until)
    }

    fn judge(&mut self, now: Instant) -> Verdict {
        let Some((began, limit)) = self.began else { return Verdict::Waiting };
        match began.checked_add(limit) {
            Some(until) if now >= until => {
                let newly = !std::mem::replace(&mut self.reported, true);
                Verdict::Stuck { out: now.saturating_duration_since(began), newly }
            }
            Some(until) => Verdict::Out { began, until },
            None => Verdict::Waiting,
        }
    }
}

impl Occupancy {
    /// Occupies the name, or has the caller wait until its occupant has come back.
    pub(super) fn enter(self: &Arc<Self>, waiting: impl FnOnce() -> Waiting) -> Option<Occupant> {
        let mut state = lock(&self.state);
        if state.occupant.is_some() {
            // Any number of collectors may come and go while one hangs.
            state.waiting.retain(|waiting| match waiting {
                Waiting::Weak(successor) => successor.strong_count() > 0,
                Waiting::Strong(_) => true,
            });
            state.waiting.push(waiting());
            return None;
        }
        state.occupant = Some(Occupation { began: None, reported: false, thread: None });
        Some(Occupant(Some(Arc::clone(self))))
    }

    /// Judges the run that is out.
    pub(super) fn judge(&self, now: Instant) -> Verdict {
        let mut state = lock(&self.state);
        state.occupant.as_mut().map_or(Verdict::Waiting, |run| run.judge(now))
    }

    /// When the run that is out began.
    pub(super) fn since(&self) -> Option<Instant> {
        Some(lock(&self.state).occupant.as_ref()?.began?.0)
    }

    /// Counts the thread of the run that is out among those that hang, if the run is stuck.
    fn count_thread(&self, now: Instant) {
        if let Some(run) = &mut lock(&self.state).occupant
            && run.is_stuck(now)
        {
            run.thread.get_or_insert_with(|| self.stuck.enter());
        }
    }

    /// How many threads hang, if they are so many that no further one may be risked.
    pub(super) fn threads_at_limit(&self) -> Option<usize> {
        self.stuck.is_full().then(|| self.stuck.count())
    }
}

impl Occupant {
    /// The run begins. After `limit` it is stuck.
    pub(super) fn begin(&self, now: Instant, limit: Duration) {
        if let Some(occupancy) = &self.0
            && let Some(run) = &mut lock(&occupancy.state).occupant
        {
            run.began = Some((now, limit));
        }
    }

    /// The run has come back. Whether it was stuck, which has not been reported.
    pub(super) fn leave(mut self, now: Instant) -> bool {
        let occupant = self.0.take().and_then(|occupancy| occupancy.vacate());
        let verdict = occupant.map(|mut run| run.judge(now));
        matches!(verdict, Some(Verdict::Stuck { newly: true, .. }))
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        if let Some(occupancy) = self.0.take() {
            occupancy.vacate();
        }
    }
}

impl Occupancy {
    /// Frees the name for those who wait for it.
    fn vacate(&self) -> Option<Occupation> {
        let mut state = lock(&self.state);
        let occupant = state.occupant.take();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for successor in waiting {
            let successor = match successor {
                Waiting::Weak(successor) => successor.upgrade(),
                Waiting::Strong(successor) => Some(successor),
            };
            if let Some(successor) = successor {
                successor.vacated();
            }
        }
        occupant
    }
}
