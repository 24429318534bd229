//! The daemon: one running plan, and the reload that replaces it as a transaction.

use crate::engine::{Changes, Engine, Limits, Request, Selection};
use crate::http::{HttpCounters, Listeners, Served};
use crate::outputs::{OutputStatus, Outputs};
use crate::own::{Configuration, ConfigurationStatus, Own, process};
use crate::plan::Plan;
use crate::reload::{
    Applied, ListenerChanges, ReloadOutcome, ReloadReport, ReloadStatus, ReloadWish,
};
use crate::sync::lock;
use crate::{log, systemd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::host::Host;
use vitald_core::settings::{Mistake, Node, Origin};
use vitald_core::snapshot::State;

/// The longest that reading, checking and opening a new configuration may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long the first run of what a reload started may take before it is reported as it is.
const FIRST_RUN: Duration = Duration::from_secs(1);

/// Reads the configuration: from a file and the environment, or always the same plan.
pub(crate) type Source = dyn Fn() -> Result<Plan, Vec<Mistake>> + Send + Sync;

/// The running daemon.
pub(crate) struct Daemon {
    /// The collectors.
    pub(crate) engine: Arc<Engine>,
    /// The outputs.
    pub(crate) outputs: Outputs,
    /// The daemon's own families.
    pub(crate) own: Arc<Own>,
    /// The listeners.
    pub(crate) listeners: Arc<Listeners>,
    source: Arc<Source>,
    applied: Mutex<Arc<Applied>>,
    status: Mutex<ReloadStatus>,
    busy: AtomicBool,
}

/// Everything that is opened before the running set is touched.
struct Staged {
    plan: Plan,
    collectors: crate::engine::Staged,
    outputs: crate::outputs::StagedOutputs,
}

/// Clears the mark of a reload in progress on every way out.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Daemon {
    /// Starts collectors and outputs of a first plan; listeners are bound by the caller.
    ///
    /// # Errors
    ///
    /// Every collector and output that would not open.
    pub(crate) fn start(
        plan: Plan,
        listeners: Arc<Listeners>,
        source: Arc<Source>,
        counters: Arc<HttpCounters>,
        collections_only: bool,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let engine = Arc::new(Engine::new(Host::new(plan.roots.clone())));
        let now = SystemTime::now();
        let applied = Arc::new(Applied { plan: plan.clone(), generation: 1, since: now });
        let daemon = Arc::new_cyclic(|daemon: &Weak<Daemon>| {
            let daemon: Weak<Daemon> = Weak::clone(daemon);
            let own = Arc::new(Own::new(Arc::clone(&engine), daemon, counters, collections_only));
            Daemon {
                outputs: Outputs::new(Arc::clone(&engine), own.clone()),
                engine,
                own,
                listeners,
                source,
                applied: Mutex::new(applied),
                status: Mutex::new(ReloadStatus {
                    last_attempt: None,
                    last_success: now,
                    last_succeeded: true,
                }),
                busy: AtomicBool::new(false),
            }
        });
        let staged = daemon.stage(plan)?;
        daemon.engine.warm(&staged.collectors, Instant::now() + FIRST_RUN);
        daemon.engine.swap(staged.collectors);
        daemon.outputs.swap(staged.outputs);
        Ok(daemon)
    }

    /// The plan that is running.
    pub(crate) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&lock(&self.applied))
    }

    /// How reloads have gone.
    pub(crate) fn reload_status(&self) -> ReloadStatus {
        lock(&self.status).clone()
    }

    /// Reads the configuration again and applies it, or says why not.
    ///
    /// Everything is read, checked, opened and bound before anything that runs is touched, on a
    /// thread of its own with a deadline.
    pub(crate) async fn reload(self: &Arc<Self>, wish: ReloadWish) -> ReloadOutcome {
        if self.busy.swap(true, Ordering::Acquire) {
            return ReloadOutcome::Busy;
        }
        let busy = Busy(&self.busy);
        let told = (!wish.dry_run).then(systemd::reloading);
        let running = self.applied().plan.hash.clone();
        if wish.if_match.is_some_and(|hash| hash != running) {
            return ReloadOutcome::Mismatch(running);
        }
        let outcome = self.attempt(wish.dry_run).await;
        drop((busy, told));
        if !wish.dry_run {
            self.note(&outcome);
        }
        outcome
    }

    async fn attempt(self: &Arc<Self>, dry_run: bool) -> ReloadOutcome {
        let began = Instant::now();
        let daemon = Arc::clone(self);
        let staging = tokio::task::spawn_blocking(move || {
            let plan = (daemon.source)()?;
            daemon.stage(plan)
        });
        let staged = match tokio::time::timeout(RELOAD_DEADLINE, staging).await {
            Ok(Ok(Ok(staged))) => staged,
            Ok(Ok(Err(mistakes))) => return ReloadOutcome::Refused(mistakes),
            Ok(Err(panic)) => return ReloadOutcome::Refused(vec![unplaced(panic.to_string())]),
            Err(_) => return ReloadOutcome::TimedOut(RELOAD_DEADLINE),
        };
        // The listeners go first: an address that has to be handed over is the one thing that can
        // still be refused, and then everything runs as before.
        let placed = |mistakes: Vec<Mistake>| {
            let place = |mistake| place(mistake, &staged.plan);
            ReloadOutcome::Refused(mistakes.into_iter().map(place).collect())
        };
        let listeners = match self.listeners.stage(&staged.plan.server) {
            Ok(listeners) => listeners,
            Err(mistakes) => return placed(mistakes),
        };
        if dry_run {
            let report = ReloadReport {
                dry_run,
                generation: self.applied().generation,
                hash: staged.plan.hash.clone(),
                listeners: self.listeners.changes(&staged.plan.server.listen),
                collectors: staged.collectors.changes,
                outputs: staged.outputs.changes,
                degraded: Vec::new(),
                took: began.elapsed(),
            };
            return ReloadOutcome::Applied(Box::new(report));
        }
        match self.listeners.swap(listeners) {
            Ok(changes) => {
                let report = self.swap(staged, changes, began).await;
                ReloadOutcome::Applied(Box::new(report))
            }
            Err(mistakes) => placed(mistakes),
        }
    }

    /// Opens what a plan asks for, beside what runs.
    fn stage(&self, plan: Plan) -> Result<Staged, Vec<Mistake>> {
        let host = Host::new(plan.roots.clone());
        let limits = Limits { max_age: plan.scrape.max_age, timeout: plan.scrape.timeout };
        let mut plans = plan.collectors.clone();
        if !self.own.is_of_collections_only() {
            plans.push(process::plan());
        }
        let collectors = self.engine.stage(&plans, &host, limits);
        let outputs = self.outputs.stage(&plan.outputs);
        match (collectors, outputs) {
            (Ok(mut collectors), Ok(outputs)) => {
                // What no configuration asks for is no news of a configuration.
                collectors.changes.forget(process::PROCESS.name);
                Ok(Staged { plan, collectors, outputs })
            }
            (collectors, outputs) => {
                let collectors = collectors.err().into_iter().flatten();
                let outputs = outputs.err().into_iter().flatten();
                Err(collectors
                    .map(|(name, error)| unplaced(format!("collectors.{name}: {error}")))
                    .chain(
                        outputs.map(|(name, error)| unplaced(format!("outputs.{name}: {error}"))),
                    )
                    .collect())
            }
        }
    }

    /// Replaces what runs by what was staged. Nothing here can be refused.
    async fn swap(
        self: &Arc<Self>,
        staged: Staged,
        listeners: ListenerChanges,
        began: Instant,
    ) -> ReloadReport {
        let Staged { plan, collectors, outputs } = staged;
        let unchanged = self.applied().plan.hash == plan.hash;
        let generation = self.applied().generation + u64::from(!unchanged);
        log::configure(&plan.log);
        let hash = plan.hash.clone();
        let daemon = Arc::clone(self);
        // Closing files and ending outputs may take a while: not on the thread that serves.
        let swapped = tokio::task::spawn_blocking(move || {
            daemon.engine.warm(&collectors, Instant::now() + FIRST_RUN);
            let collectors = daemon.engine.swap(collectors);
            let since = SystemTime::now();
            if !unchanged {
                *lock(&daemon.applied) = Arc::new(Applied { plan, generation, since });
            }
            let outputs = daemon.outputs.swap(outputs);
            let degraded = daemon.first_runs(&collectors);
            (collectors, outputs, degraded)
        });
        let (collectors, outputs, degraded) = swapped.await.unwrap_or_default();
        let took = began.elapsed();
        ReloadReport {
            dry_run: false,
            generation,
            hash,
            collectors,
            outputs,
            listeners,
            degraded,
            took,
        }
    }

    /// Runs what was started or changed once, to tell which of them found less than everything.
    fn first_runs(&self, changes: &Changes) -> Vec<(&'static str, String)> {
        let fresh: Vec<&'static str> =
            changes.started.iter().chain(&changes.changed).copied().collect();
        if fresh.is_empty() {
            return Vec::new();
        }
        let arrived = Instant::now();
        self.engine.collect_blocking(Request {
            arrived,
            deadline: arrived + FIRST_RUN,
            selection: Selection::Only(fresh.iter().map(|name| (*name).to_owned()).collect()),
        });
        let mut degraded = Vec::new();
        for status in self.engine.status() {
            let name = status.descriptor.name;
            if !fresh.contains(&name) {
                continue;
            }
            if status.state != State::Running {
                let why = status.error.as_deref().unwrap_or_default();
                degraded.push((name, format!("{}: {why}", status.state.word())));
            } else if let Some(reason) = status.degraded {
                degraded.push((name, reason.to_owned()));
            }
        }
        degraded
    }

    fn note(&self, outcome: &ReloadOutcome) {
        let now = SystemTime::now();
        let mut status = lock(&self.status);
        status.last_attempt = Some(now);
        status.last_succeeded = matches!(outcome, ReloadOutcome::Applied(_));
        match outcome {
            ReloadOutcome::Applied(report) => {
                status.last_success = now;
                systemd::status(&format!(
                    "Generation {}, configuration {}",
                    report.generation, report.hash
                ));
                tracing::info!(
                    generation = report.generation,
                    hash = report.hash,
                    started = report.collectors.started.join(","),
                    stopped = report.collectors.stopped.join(","),
                    changed = report.collectors.changed.join(","),
                    "configuration applied"
                );
            }
            ReloadOutcome::Refused(mistakes) => {
                let count = mistakes.len();
                systemd::status(&format!(
                    "Reload refused ({count} in the log); the earlier configuration runs"
                ));
                for mistake in mistakes {
                    tracing::error!(mistake = %mistake, "configuration refused; the running one stays");
                }
            }
            ReloadOutcome::TimedOut(after) => {
                tracing::error!(
                    seconds = after.as_secs(),
                    "the configuration could not be read in time"
                );
            }
            ReloadOutcome::Busy | ReloadOutcome::Mismatch(_) => {}
        }
    }
}

impl Served for Daemon {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn applied(&self) -> Arc<Applied> {
        Daemon::applied(self)
    }

    fn outputs(&self) -> Vec<OutputStatus> {
        self.outputs.status()
    }

    fn reload(
        self: Arc<Self>,
        wish: ReloadWish,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>> {
        Box::pin(async move { Daemon::reload(&self, wish).await })
    }
}

impl Configuration for Daemon {
    fn describe(&self, take: &mut dyn FnMut(&ConfigurationStatus<'_>)) {
        let (applied, status) = (Daemon::applied(self), self.reload_status());
        take(&ConfigurationStatus {
            generation: applied.generation,
            hash: &applied.plan.hash,
            last_succeeded: status.last_succeeded,
            last_success: status.last_success,
            last_attempt: status.last_attempt.unwrap_or(status.last_success),
        });
    }
}

/// Gives a mistake about a key the place where the key's value is written.
fn place(mistake: Mistake, plan: &Plan) -> Mistake {
    let mut table = Some(&plan.effective);
    let mut origin = None;
    for key in mistake.path.split('.') {
        let value = table.and_then(|table| table.entries.get(key));
        origin = value.map(|value| value.origin.clone());
        table = value.and_then(|value| match &value.node {
            Node::Table(table) => Some(table),
            _ => None,
        });
    }
    Mistake { origin: origin.unwrap_or(mistake.origin), ..mistake }
}

fn unplaced(message: String) -> Mistake {
    Mistake { origin: Origin::Default, path: String::new(), message }
}
