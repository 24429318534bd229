//! The thread of one output: it opens, feeds and closes whatever instance the configuration has
//! under its name.
//!
//! There is one thread a name, however often the configuration changes: an instance that hangs keeps
//! it, and what is to come after it waits. Nothing that may block is done under the lock. An instance
//! that panics ends alone, wherever it does.

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

/// How an output is doing. What is counted is counted since its name was switched on.
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
    /// What it holds alone.
    pub(super) resource: Option<String>,
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

/// One name and its thread, which is there while an instance runs.
pub(super) struct OutputThread {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    status: OutputStatus,
    /// What is to run next.
    next: Option<Assignment>,
    /// What the instance that runs holds alone.
    held: Option<String>,
    /// The instance that is to run is not open yet.
    is_opening: bool,
    /// Why the last instance did not open.
    open_error: Option<String>,
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

impl OutputThread {
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
        let state = State {
            status,
            next: None,
            held: None,
            is_opening: false,
            open_error: None,
            stop_by: None,
            has_thread: false,
            woken: false,
        };
        Arc::new(OutputThread { shared, state: Mutex::new(state), changed: Condvar::new() })
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

    /// Whether an instance runs, or has not ended.
    pub(super) fn is_alive(&self) -> bool {
        self.lock().has_thread
    }

    /// Whether an instance that runs, or waits to run, needs this for itself alone.
    pub(super) fn holds(&self, resource: &str) -> bool {
        let state = self.lock();
        let next = state.next.as_ref().and_then(|next| next.resource.as_deref());
        state.held.as_deref() == Some(resource) || next == Some(resource)
    }

    /// Says that what runs, or waits to run, is to end.
    pub(super) fn stop(&self, by: Instant) {
        let mut state = self.lock();
        let next = state.next.take();
        // One that hangs has been late since it was first to end.
        state.stop_by.get_or_insert(by);
        drop(state);
        self.changed.notify_all();
        self.drop_contained(next);
    }

    /// Waits until nothing runs; false if that takes longer than until `by`.
    pub(super) fn wait_stopped(&self, by: Instant) -> bool {
        self.wait_while(by, |state| state.has_thread)
    }

    /// Waits until the instance is open, but not longer than until `by`.
    ///
    /// # Errors
    ///
    /// Why it does not open.
    pub(super) fn wait_opened(&self, by: Instant) -> Result<(), String> {
        self.wait_while(by, |state| state.is_opening);
        self.lock().open_error.clone().map_or(Ok(()), Err)
    }

    /// Waits while something is so; false if that takes longer than until `by`.
    fn wait_while(&self, by: Instant, is_so: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        while is_so(&state) {
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
        state.is_opening = true;
        state.open_error = None;
        state.status.ended = false;
        state.status.error = state.has_thread.then(|| {
            "an earlier output of this name has not ended; this one waits for it".to_owned()
        });
        if state.has_thread {
            return Ok(());
        }
        state.has_thread = true;
        state.stop_by = None;
        let name = thread_name(&state.status.name);
        drop(state);
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name).spawn(move || this.work());
        if let Err(error) = thread {
            let mut state = self.lock();
            state.has_thread = false;
            let next = state.next.take();
            drop(state);
            self.drop_contained(next);
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

    /// Drops something of an output; what panics there must not end what others wait for.
    pub(super) fn drop_contained<T>(&self, value: T) {
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            let name = Arc::clone(&self.lock().status.name);
            tracing::error!(output = %name, "the output panicked when it was dropped");
        }
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
        state.held = next.as_ref().and_then(|next| next.resource.clone());
        if next.is_some() {
            state.stop_by = None;
            state.status.error = None;
        } else {
            state.has_thread = false;
            self.changed.notify_all();
        }
        next
    }

    fn run_one(self: &Arc<Self>, assignment: Assignment) {
        let Assignment { plan, context, output, .. } = assignment;
        let name = &*plan.name;
        let opened = output.map_or_else(
            || match catch_unwind(AssertUnwindSafe(|| plan.prepared.open(&context))) {
                Ok(opened) => opened.map_err(|error| format!("it does not open: {error}")),
                Err(_) => Err("it panicked while it was opened; the log says where".to_owned()),
            },
            Ok,
        );
        let mut output = match opened {
            Ok(output) => output,
            Err(reason) => {
                tracing::error!(output = name, error = reason, "the output has ended");
                self.end(reason.clone());
                return self.set_opened(Some(reason));
            }
        };
        self.set_opened(None);
        let fed = catch_unwind(AssertUnwindSafe(|| self.feed(&plan, &mut *output)));
        match fed.unwrap_or_else(|_| End::Failed("it panicked; the log says where".to_owned())) {
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
                self.drop_contained(output);
                self.end(reason);
            }
        }
    }

    fn set_opened(&self, error: Option<String>) {
        let mut state = self.lock();
        // If there is a next one already, it is that one which is not open.
        if state.next.is_none() {
            state.is_opening = false;
            state.open_error = error;
        }
        drop(state);
        self.changed.notify_all();
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
            let sent = output.send(sealer.seal(&mut collection));
            sealer.release();
            // The first one after this call, on the same beat.
            let late = Instant::now().saturating_duration_since(next).as_nanos();
            let missed = late / plan.interval.as_nanos().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            next += plan.interval.saturating_mul(missed.saturating_add(1));
            match sent {
                Err(closed @ OutputError::Closed) => return End::Failed(closed.to_string()),
                sent => self.note(sent, missed),
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
                // It is woken in any case if it is not to look again by itself.
                let again = again.unwrap_or_else(|| Instant::now() + timeout);
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
impl Wake for OutputThread {
    fn wake(self: Arc<Self>) {
        self.lock().woken = true;
        self.changed.notify_all();
    }
}

/// The name of an output's thread, of which the kernel keeps 15 bytes: the output's own name must be
/// among them.
fn thread_name(output: &str) -> String {
    let name = format!("output {output}");
    if name.len() <= 15 { name } else { output.to_owned() }
}
