//! The threads that give each output a snapshot on its interval.

use crate::engine::{Changes, Engine, Request, Selection};
use crate::plan::OutputPlan;
use crate::sync::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vitald_core::output::{OutputError, RunningOutput};
use vitald_core::sealer::{OwnFamilies, Sealer};

/// How long a stopped output may take to end what it is sending before it is left to itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// The outputs that are on.
pub struct Outputs {
    engine: Arc<Engine>,
    own: Arc<dyn OwnFamilies>,
    running: Mutex<Vec<Runner>>,
}

/// New outputs, open where that does not disturb a running one.
pub struct StagedOutputs {
    plans: Vec<(OutputPlan, Option<Box<dyn RunningOutput>>)>,
    /// What the swap will do.
    pub changes: Changes,
}

/// How an output is doing.
#[derive(Clone, Debug, Default)]
pub struct OutputStatus {
    /// Its name.
    pub name: &'static str,
    /// Snapshots sent.
    pub sent: u64,
    /// Snapshots that could not be sent.
    pub failed: u64,
    /// What the last failure said.
    pub error: Option<String>,
}

struct Runner {
    plan: OutputPlan,
    shared: Arc<RunnerShared>,
    thread: Option<JoinHandle<()>>,
}

struct RunnerShared {
    state: Mutex<RunnerState>,
    wake: Condvar,
}

#[derive(Default)]
struct RunnerState {
    stop: bool,
    ended: bool,
    status: OutputStatus,
}

impl Outputs {
    /// No output yet.
    pub fn new(engine: Arc<Engine>, own: Arc<dyn OwnFamilies>) -> Self {
        Outputs { engine, own, running: Mutex::new(Vec::new()) }
    }

    /// What a change to these plans would do, with nothing opened.
    pub fn changes(&self, plans: &[OutputPlan]) -> Changes {
        let running = lock(&self.running);
        let mut changes = Changes::default();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let name = plan.descriptor.name;
            match running.iter().find(|runner| runner.plan.descriptor.name == name) {
                None => changes.started.push(name),
                Some(runner) if runner.plan.same(plan) => changes.unchanged.push(name),
                Some(_) => changes.changed.push(name),
            }
        }
        changes.stopped = running
            .iter()
            .map(|runner| runner.plan.descriptor.name)
            .filter(|name| !plans.iter().any(|plan| plan.enabled && plan.descriptor.name == *name))
            .collect();
        changes
    }

    /// Opens what is new or changed, except what only one instance may have open.
    ///
    /// # Errors
    ///
    /// Every output that would not open.
    pub fn stage(
        &self,
        plans: &[OutputPlan],
    ) -> Result<StagedOutputs, Vec<(&'static str, OutputError)>> {
        let changes = self.changes(plans);
        let mut staged = Vec::new();
        let mut refused = Vec::new();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let name = plan.descriptor.name;
            let handed_over = plan.descriptor.exclusive && changes.changed.contains(&name);
            if changes.unchanged.contains(&name) || handed_over {
                staged.push((plan.clone(), None));
                continue;
            }
            match plan.prepared.open() {
                Ok(output) => staged.push((plan.clone(), Some(output))),
                Err(error) => refused.push((name, error)),
            }
        }
        if refused.is_empty() { Ok(StagedOutputs { plans: staged, changes }) } else { Err(refused) }
    }

    /// Makes the staged outputs the running ones.
    pub fn swap(&self, staged: StagedOutputs) -> Changes {
        let mut running = lock(&self.running);
        let mut before = std::mem::take(&mut *running);
        for (plan, open) in staged.plans {
            let name = plan.descriptor.name;
            let position = before.iter().position(|runner| runner.plan.descriptor.name == name);
            let old = position.map(|position| before.swap_remove(position));
            if staged.changes.unchanged.contains(&name) {
                running.extend(old);
                continue;
            }
            if let Some(old) = old {
                old.stop();
            }
            match open.map_or_else(|| plan.prepared.open(), Ok) {
                Ok(output) => running.extend(Runner::start(
                    plan,
                    output,
                    Arc::clone(&self.engine),
                    Sealer::new(Some(Arc::clone(&self.own))),
                )),
                Err(error) => tracing::error!(output = name, %error, "does not open"),
            }
        }
        drop(running);
        before.into_iter().for_each(Runner::stop);
        staged.changes
    }

    /// How each output that is on is doing.
    pub fn status(&self) -> Vec<OutputStatus> {
        lock(&self.running).iter().map(|runner| lock(&runner.shared.state).status.clone()).collect()
    }

    /// Stops them all.
    pub fn stop(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        running.into_iter().for_each(Runner::stop);
    }
}

impl Runner {
    fn start(
        plan: OutputPlan,
        output: Box<dyn RunningOutput>,
        engine: Arc<Engine>,
        sealer: Sealer,
    ) -> Option<Runner> {
        let name = plan.descriptor.name;
        let status = OutputStatus { name, ..OutputStatus::default() };
        let state = Mutex::new(RunnerState { status, ..RunnerState::default() });
        let shared = Arc::new(RunnerShared { state, wake: Condvar::new() });
        let thread = std::thread::Builder::new().name(format!("output {name}")).spawn({
            let (shared, plan) = (Arc::clone(&shared), plan.clone());
            move || {
                shared.work(&plan, output, &engine, sealer);
                lock(&shared.state).ended = true;
                shared.wake.notify_all();
            }
        });
        match thread {
            Ok(thread) => Some(Runner { plan, shared, thread: Some(thread) }),
            Err(error) => {
                tracing::error!(output = name, %error, "cannot start its thread");
                None
            }
        }
    }

    /// Ends the thread; one that hangs in its receiver is left to itself.
    fn stop(mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.wake.notify_all();
        let state = lock(&self.shared.state);
        let (state, timeout) = self
            .shared
            .wake
            .wait_timeout_while(state, FAREWELL, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if timeout.timed_out() {
            tracing::warn!(
                output = self.plan.descriptor.name,
                "does not end and is left to itself"
            );
        } else if let Some(thread) = self.thread.take() {
            // Its work is done; a panic in it has been logged.
            let _ = thread.join();
        }
    }
}

impl RunnerShared {
    fn work(
        &self,
        plan: &OutputPlan,
        mut output: Box<dyn RunningOutput>,
        engine: &Engine,
        mut sealer: Sealer,
    ) {
        let name = plan.descriptor.name;
        let mut next = Instant::now();
        loop {
            if !self.wait_until(next) {
                return;
            }
            let arrived = Instant::now();
            let selection = if plan.collectors.is_empty() {
                Selection::All
            } else {
                Selection::Only(plan.collectors.iter().map(|name| (*name).to_owned()).collect())
            };
            let deadline = arrived + plan.interval;
            let mut collection = engine.collect_blocking(Request { arrived, deadline, selection });
            let snapshot = sealer.seal(&mut collection);
            let sent =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| output.send(snapshot)));
            sealer.release();
            let mut state = lock(&self.state);
            match sent {
                Ok(Ok(())) => {
                    state.status.sent += 1;
                    state.status.error = None;
                }
                Ok(Err(OutputError::Closed)) => {
                    tracing::warn!(output = name, "its receiver has gone; it ends");
                    state.status.error = Some("the receiver has gone".to_owned());
                    return;
                }
                Ok(Err(error)) => {
                    state.status.failed += 1;
                    let text = error.to_string();
                    if state.status.error.as_ref() != Some(&text) {
                        tracing::warn!(output = name, error = text, "could not send");
                    }
                    state.status.error = Some(text);
                }
                Err(_) => {
                    tracing::error!(output = name, "panicked; it ends");
                    state.status.error = Some("panicked; see the log".to_owned());
                    return;
                }
            }
            drop(state);
            // Ticks that were missed are missed: a slow receiver gets fewer snapshots, not a burst.
            next += plan.interval;
            let now = Instant::now();
            if next < now {
                next = now + plan.interval;
            }
        }
    }

    /// Waits; false when it is to stop.
    fn wait_until(&self, next: Instant) -> bool {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return false;
            }
            let now = Instant::now();
            if now >= next {
                return true;
            }
            state =
                self.wake.wait_timeout(state, next - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
