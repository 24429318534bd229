//! The thread of one output: it opens, feeds and closes whatever instance the configuration has
//! under its name.
//!
//! There is one thread a name, however often the configuration changes: an instance that hangs keeps
//! it, and what is to come after it waits. Nothing that may block is done under the lock.

use crate::engine::{Engine, Request, Selection};
use crate::plan::OutputPlan;
use crate::sync::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use vitald_core::output::{Context, OutputError, RunningOutput};
use vitald_core::sealer::{OwnFamilies, Sealer};
use vitald_core::snapshot::Collection;

/// How an output is doing. What is counted is counted since the daemon started.
#[derive(Clone, Debug)]
pub struct OutputStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Snapshots sent.
    pub sent: u64,
    /// Snapshots that could not be sent.
    pub failed: u64,
    /// Intervals in which nothing was sent because it was still at an earlier snapshot.
    pub missed: u64,
    /// Whether it has ended of itself; [`OutputStatus::error`] says why. The next reload starts it again.
    pub ended: bool,
    /// Whether it was to end and has not: its thread hangs, and a successor waits for it.
    pub stuck: bool,
    /// What the last failure said, while it lasts.
    pub error: Option<String>,
}

/// An instance that is to run.
pub(super) struct Assignment {
    pub(super) plan: OutputPlan,
    pub(super) context: Context,
    /// Open already, unless it needs what its predecessor holds.
    pub(super) output: Option<Box<dyn RunningOutput>>,
}

/// What the outputs share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) own: Option<Arc<dyn OwnFamilies>>,
    /// How long a collection may take, in milliseconds.
    pub(super) timeout: AtomicU64,
}

/// One name and its thread.
pub(super) struct Instance {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    status: OutputStatus,
    next: Option<Assignment>,
    /// By when what runs is to have ended; none while it may run.
    stop_by: Option<Instant>,
    has_thread: bool,
    /// The engine has something to look at.
    woken: bool,
}

/// Why an instance does not run on.
enum End {
    Stopped(Instant),
    Failed(String),
}

impl Instance {
    /// A name under which nothing runs.
    pub(super) fn new(name: Arc<str>, shared: Arc<Shared>) -> Arc<Self> {
        let status = OutputStatus {
            name,
            sent: 0,
            failed: 0,
            missed: 0,
            ended: false,
            stuck: false,
            error: None,
        };
        let state = State { status, next: None, stop_by: None, has_thread: false, woken: false };
        Arc::new(Instance { shared, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(super) fn status(&self) -> OutputStatus {
        let state = self.lock();
        let is_late = state.stop_by.is_some_and(|by| by < Instant::now());
        OutputStatus { stuck: state.has_thread && is_late, ..state.status.clone() }
    }

    /// Whether it has ended of itself.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().status.ended
    }

    pub(super) fn has_thread(&self) -> bool {
        self.lock().has_thread
    }

    /// Says that what runs, or waits to run, is to end.
    pub(super) fn stop(&self, by: Instant) {
        let mut state = self.lock();
        let next = state.next.take();
        state.stop_by = Some(by);
        drop(state);
        self.changed.notify_all();
        drop(next);
    }

    /// Waits until nothing runs; false if that takes longer than until `by`.
    pub(super) fn wait_stopped(&self, by: Instant) -> bool {
        let mut state = self.lock();
        while state.has_thread {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Runs this instance: at once, or when the one before it has ended.
    pub(super) fn run(self: &Arc<Self>, assignment: Assignment) -> std::io::Result<()> {
        let mut state = self.lock();
        state.next = Some(assignment);
        if state.has_thread {
            state.status.error =
                Some("an earlier output of this name has not ended; this one waits for it".into());
            return Ok(());
        }
        state.has_thread = true;
        let name = format!("output {}", state.status.name);
        drop(state);
        let instance = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name).spawn(move || instance.work());
        if let Err(error) = thread {
            let mut state = self.lock();
            state.has_thread = false;
            let next = state.next.take();
            drop(state);
            drop(next);
            self.end(format!("its thread cannot be started: {error}"));
            return Err(error);
        }
        Ok(())
    }

    /// Notes that the output has ended of itself.
    pub(super) fn end(&self, reason: String) {
        let mut state = self.lock();
        state.status.ended = true;
        state.status.error = Some(reason);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn work(self: Arc<Self>) {
        while let Some(assignment) = self.take() {
            self.run_one(assignment);
        }
    }

    /// The next instance; without one the thread ends.
    fn take(&self) -> Option<Assignment> {
        let mut state = self.lock();
        let next = state.next.take();
        if next.is_some() {
            state.stop_by = None;
            state.status.ended = false;
            state.status.error = None;
        } else {
            state.has_thread = false;
            self.changed.notify_all();
        }
        next
    }

    fn run_one(self: &Arc<Self>, assignment: Assignment) {
        let Assignment { plan, context, output } = assignment;
        let name = &*plan.name;
        let opened = output.map_or_else(
            || match catch_unwind(AssertUnwindSafe(|| plan.prepared.open(&context))) {
                Ok(opened) => opened.map_err(|error| format!("it does not open: {error}")),
                Err(_) => Err("it panicked while it was opened; see the log".to_owned()),
            },
            Ok,
        );
        let mut output = match opened {
            Ok(output) => output,
            Err(reason) => {
                tracing::error!(output = name, error = reason, "the output has ended");
                return self.end(reason);
            }
        };
        match self.feed(&plan, &mut *output) {
            End::Stopped(by) => match catch_unwind(AssertUnwindSafe(|| output.close(by))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(output = name, %error, "the output lost something at its end");
                }
                Err(_) => tracing::error!(output = name, "the output panicked at its end"),
            },
            End::Failed(reason) => {
                tracing::warn!(
                    output = name,
                    reason,
                    "the output has ended; the next reload starts it again"
                );
                let _ = catch_unwind(AssertUnwindSafe(|| drop(output)));
                self.end(reason);
            }
        }
    }

    /// Gives the output a snapshot on its interval.
    fn feed(self: &Arc<Self>, plan: &OutputPlan, output: &mut dyn RunningOutput) -> End {
        let selection = if plan.collectors.is_empty() {
            Selection::All
        } else {
            Selection::Only(plan.collectors.iter().map(|name| (*name).to_owned()).collect())
        };
        let mut sealer = Sealer::new(self.shared.own.clone());
        let mut next = Instant::now();
        loop {
            let mut collection = match self.wait_until(next).and_then(|()| self.collect(&selection))
            {
                Ok(collection) => collection,
                Err(by) => return End::Stopped(by),
            };
            let snapshot = sealer.seal(&mut collection);
            let sent = catch_unwind(AssertUnwindSafe(|| output.send(snapshot)));
            sealer.release();
            // The first one after this call, on the same beat.
            let late = Instant::now().saturating_duration_since(next).as_nanos();
            let missed = late / plan.interval.as_nanos().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            next += plan.interval.saturating_mul(missed.saturating_add(1));
            match sent {
                Ok(Err(OutputError::Closed)) => {
                    return End::Failed("the receiver has gone".to_owned());
                }
                Ok(result) => self.note(result, missed),
                Err(_) => return End::Failed("it panicked; see the log".to_owned()),
            }
        }
    }

    fn note(&self, sent: Result<(), OutputError>, missed: u32) {
        let error = sent.err().map(|error| error.to_string());
        let mut state = self.lock();
        let status = &mut state.status;
        status.missed += u64::from(missed);
        match &error {
            None => status.sent += 1,
            Some(_) => status.failed += 1,
        }
        let is_news = error.is_some() && status.error != error;
        let name = is_news.then(|| Arc::clone(&status.name));
        status.error.clone_from(&error);
        drop(state);
        if let (Some(output), Some(error)) = (name, error) {
            tracing::warn!(%output, error, "could not send");
        }
    }

    /// Waits for a time; the deadline of its end if it is to stop.
    fn wait_until(&self, time: Instant) -> Result<(), Instant> {
        let mut state = self.lock();
        loop {
            if let Some(by) = state.stop_by {
                return Err(by);
            }
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Collects; the deadline of its end if it is to stop meanwhile.
    fn collect(self: &Arc<Self>, selection: &Selection) -> Result<Collection, Instant> {
        let arrived = Instant::now();
        let timeout = Duration::from_millis(self.shared.timeout.load(Ordering::Relaxed));
        let request =
            Request { arrived, deadline: arrived + timeout, selection: selection.clone() };
        let waker = Waker::from(Arc::clone(self));
        let mut collecting = self.shared.engine.collect(request);
        while let Err(again) = collecting.poll_at(&waker, Instant::now()) {
            let mut state = self.lock();
            loop {
                if let Some(by) = state.stop_by {
                    return Err(by);
                }
                let left = again.saturating_duration_since(Instant::now());
                if std::mem::take(&mut state.woken) || left.is_zero() {
                    break;
                }
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let mut collection = Collection::new();
        collecting.finish(&mut collection);
        Ok(collection)
    }
}

/// The engine has a collection look at its state again.
impl Wake for Instance {
    fn wake(self: Arc<Self>) {
        self.lock().woken = true;
        self.changed.notify_all();
    }
}
