//! The daemon: one running plan, and the reload that replaces it as a transaction.

mod progress;
mod record;
pub(crate) mod roots;
mod summary;
#[cfg(test)]
mod tests;

use crate::contained::{Contained, ContainedError, ContainedWork};
use crate::engine::{Changes, Engine, Limits, Request, Selection, Server, StagedCollectors};
use crate::heap;
use crate::http::{HttpCounters, Listeners, Served, StagedListeners, WantedListeners};
use crate::outputs::{OutputStatus, Outputs, StagedOutputs};
use crate::own::{Configuration, ConfigurationStatus, Own, process};
use crate::plan::Plan;
use crate::reload::{
    Applied, ListenerChanges, ReloadOutcome, ReloadReport, ReloadRequest, ReloadStatus,
};
use crate::sync::lock;
use crate::{blind, listener_warnings, log, systemd};
use progress::{Ended, Progress, Step};
use record::{Record, Witness};
use std::fmt::Display;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use vitald_core::host::Host;
use vitald_core::settings::{Mistake, Origin};

/// How long a reload may take before it is answered.
const TIMEOUTS: Timeouts =
    Timeouts { stage: Duration::from_secs(10), swap: Duration::from_secs(6) };
/// How long the first run of what a reload started may take before it is reported as it is.
const FIRST_RUN: Duration = Duration::from_secs(1);
/// How long outputs that stop may take to close.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Where the configuration comes from: a file and the environment, or always the same plan.
pub(crate) struct Source {
    /// The file as an absolute path, by which a client tells this daemon from another one.
    pub(crate) file: Option<PathBuf>,
    /// Reads it.
    pub(crate) read: Box<dyn Fn() -> Result<Plan, Vec<Mistake>> + Send + Sync>,
}

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
    source: Source,
    applied: Mutex<Arc<Applied>>,
    record: Record,
    /// Who has it may have the daemon reload.
    turn: tokio::sync::Mutex<()>,
    /// A reload from its first byte to its end. One that hangs costs this thread, and no second one.
    reloading: Contained,
    last_reload: Mutex<LastReload>,
}

/// Why the daemon does not start.
pub(crate) enum StartError {
    /// The configuration is wrong.
    Configuration(Vec<Mistake>),
    /// What it asks for cannot be opened or bound.
    System(Vec<Mistake>),
}

/// How long a reload is waited for.
#[derive(Clone, Copy)]
struct Timeouts {
    /// The longest that reading, checking and opening the new configuration may take.
    stage: Duration,
    /// The longest that putting it into force may take after that.
    swap: Duration,
}

/// A plan, and everything that it asks for, opened beside what runs.
struct StagedPlan {
    plan: Plan,
    collectors: StagedCollectors,
    outputs: StagedOutputs,
    listeners: StagedListeners,
}

/// The reload that was begun last, which may have ended.
#[derive(Default)]
struct LastReload {
    progress: Option<Arc<Progress>>,
    /// There will be no other one.
    is_stopping: bool,
}

impl Daemon {
    /// Reads the first configuration and starts what it asks for; [`Listeners::open`] makes it answer. It
    /// may block. The server is what the collection thread serves between collections.
    ///
    /// # Errors
    ///
    /// Every mistake, or every collector, output and address that cannot be used.
    pub(crate) fn start(
        listeners: Arc<Listeners>,
        source: Source,
        counters: Arc<HttpCounters>,
        collections_only: bool,
        server: Option<Arc<dyn Server>>,
    ) -> Result<Arc<Self>, StartError> {
        let (plan, wanted) = read(&source, &listeners).map_err(StartError::Configuration)?;
        log::configure(&plan.log);
        roots::warn(&roots::doubts(&plan.roots));
        listener_warnings::log(&listener_warnings::warnings(&plan, &wanted));
        let host = Host::new(plan.roots.clone());
        let view = host.view();
        let engine = match server {
            Some(server) => Engine::with_server(host, server),
            None => Engine::new(host),
        };
        let engine = engine.map_err(|error| {
            let message = format!("the collection thread cannot be started: {error}");
            StartError::System(vec![mistake(String::new(), message)])
        })?;
        let engine = Arc::new(engine);
        let now = SystemTime::now();
        let applied = Arc::new(Applied { plan: plan.clone(), generation: 1, since: now, view });
        let daemon = Arc::new_cyclic(|daemon: &Weak<Daemon>| {
            let daemon: Weak<Daemon> = Weak::clone(daemon);
            let own = Arc::new(Own::new(Arc::clone(&engine), daemon, counters, collections_only));
            Daemon {
                outputs: Outputs::new(Arc::clone(&engine), Some(own.clone())),
                engine,
                own,
                listeners,
                source,
                applied: Mutex::new(applied),
                record: Record::new(now),
                turn: tokio::sync::Mutex::new(()),
                reloading: Contained::new("reload", "the reload"),
                last_reload: Mutex::default(),
            }
        });
        let staged = daemon.stage(plan, wanted).map_err(StartError::System)?;
        daemon.engine.warm(&staged.collectors, Instant::now() + FIRST_RUN);
        // As in a reload, what can still be refused goes first.
        daemon.listeners.swap(staged.listeners).map_err(StartError::System)?;
        daemon.engine.swap(staged.collectors);
        for (output, fault) in daemon.outputs.swap(staged.outputs, Instant::now() + GRACE_PERIOD) {
            tracing::error!(%output, fault, "the output is not started");
        }
        Ok(daemon)
    }

    /// The plan that is running.
    pub(crate) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&lock(&self.applied))
    }

    /// The file that it reads.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.source.file.as_deref()
    }

    /// How reloads have gone.
    pub(crate) fn reload_status(&self) -> ReloadStatus {
        self.record.status()
    }

    /// How it is, in one line.
    pub(crate) fn summary(&self) -> String {
        let mut states = Vec::new();
        self.engine.each_status(|status| states.push((status.descriptor.name, status.state)));
        let trouble = self.record.status().last_trouble;
        let verdict = trouble.as_ref().map(|trouble| trouble.verdict.as_str());
        summary::summary(&states, &self.applied().plan.server.listen, verdict)
    }

    /// Reads the configuration again and applies it, or says why not.
    ///
    /// Everything is read, checked, opened and bound before anything that runs is touched, and all of it,
    /// the swap too, happens on a thread of its own with a deadline.
    pub(crate) async fn reload(self: &Arc<Self>, request: ReloadRequest) -> ReloadOutcome {
        self.reload_within(request, TIMEOUTS).await
    }

    /// Reloads when the reloads before have been answered.
    pub(crate) async fn reload_in_turn(self: &Arc<Self>) -> ReloadOutcome {
        let _turn = self.turn.lock().await;
        self.attempt(false, TIMEOUTS).await
    }

    /// Lets no further reload begin and waits for the end of the one in progress, which touches nothing
    /// more; but not longer than `within`.
    pub(crate) async fn end_reloads(&self, within: Duration) {
        let progress = {
            let mut last = lock(&self.last_reload);
            last.is_stopping = true;
            last.progress.clone()
        };
        if let Some(progress) = progress
            && tokio::time::timeout(within, progress.close()).await.is_err()
        {
            tracing::warn!("a reload has not ended and is left alone");
        }
    }

    async fn reload_within(
        self: &Arc<Self>,
        request: ReloadRequest,
        timeouts: Timeouts,
    ) -> ReloadOutcome {
        let Ok(_turn) = self.turn.try_lock() else {
            tracing::info!("the reload is refused: another one is in progress");
            return ReloadOutcome::Busy;
        };
        let running = self.applied().plan.hash.clone();
        if let Some(wanted) = request.if_match.filter(|hash| *hash != running) {
            tracing::info!(
                wanted,
                running,
                "the reload is refused: the running configuration has another hash"
            );
            return ReloadOutcome::Mismatch(running);
        }
        self.attempt(request.dry_run, timeouts).await
    }

    async fn attempt(self: &Arc<Self>, dry_run: bool, timeouts: Timeouts) -> ReloadOutcome {
        let _reported = (!dry_run).then(systemd::reloading);
        // A dry run is not recorded.
        let number = (!dry_run).then(|| self.record.begin());
        let progress = Arc::new(Progress::new());
        let mut reload = match self.begin(number, &progress) {
            Ok(reload) => reload,
            Err(reason) => {
                let outcome = ReloadOutcome::Unavailable(reason);
                self.record.note(number, &outcome, Witness::Task);
                return outcome;
            }
        };
        let mut waited = reload.wait(timeouts.stage).await;
        if matches!(waited, Err(ContainedError::TimedOut(..))) && progress.abandon().is_err() {
            waited = reload.wait(timeouts.swap).await;
        }
        let error = match waited {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        let outcome = match (error, progress.abandon()) {
            (ContainedError::TimedOut(_, within), Ok(())) => ReloadOutcome::Unavailable(format!(
                "reading and opening it has not ended within {} s",
                within.as_secs()
            )),
            (error, Ok(())) => ReloadOutcome::Unavailable(error.to_string()),
            (ContainedError::TimedOut(..), Err(step)) => {
                ReloadOutcome::Unfinished(format!("it hangs: {}", step.known()))
            }
            (error, Err(step)) => ReloadOutcome::Unfinished(format!("{error}: {}", step.known())),
        };
        if !self.record.note(number, &outcome, Witness::Task)
            // It has ended in this moment, and has the true answer.
            && let Ok(outcome) = reload.wait(timeouts.swap).await
        {
            return outcome;
        }
        outcome
    }

    /// Begins a reload on its thread, which takes note of how it ends: that may be long after the
    /// request has been answered.
    fn begin(
        self: &Arc<Self>,
        number: Option<u64>,
        progress: &Arc<Progress>,
    ) -> Result<ContainedWork<ReloadOutcome>, String> {
        let work = {
            let (daemon, progress) = (Arc::clone(self), Arc::clone(progress));
            let runtime = Handle::current();
            move || {
                let _ended = Ended(&progress);
                // Sockets are registered with the runtime that serves them.
                let _inside = runtime.enter();
                let outcome = daemon.transact(number.is_none(), &progress);
                daemon.record.note(number, &outcome, Witness::Thread);
                // Two configurations were held at a time, and one is left.
                heap::give_back_soon();
                outcome
            }
        };
        let mut last = lock(&self.last_reload);
        if last.is_stopping {
            return Err("the daemon is stopping".to_owned());
        }
        let reload = self.reloading.begin(work).map_err(|error| error.to_string())?;
        last.progress = Some(Arc::clone(progress));
        Ok(reload)
    }

    /// A whole reload; on a thread that may be lost.
    fn transact(&self, dry_run: bool, progress: &Progress) -> ReloadOutcome {
        let began = Instant::now();
        let read = read(&self.source, &self.listeners);
        let staged = match read.and_then(|(plan, wanted)| self.stage(plan, wanted)) {
            Ok(staged) => staged,
            Err(mistakes) => return refused(mistakes, dry_run),
        };
        let before = self.applied();
        // They read files, which may hang, so they are not for the swap.
        let warnings = listener_warnings::warnings(&staged.plan, staged.listeners.wanted());
        // A plan that never had administration is meant so.
        let lost = listener_warnings::without_admin(&staged.plan)
            .filter(|_| listener_warnings::without_admin(&before.plan).is_none());
        let told = warnings.iter().cloned().chain(lost.map(str::to_owned)).collect();
        if dry_run {
            let report = ReloadReport {
                dry_run,
                generation: before.generation,
                hash: staged.plan.hash.clone(),
                listeners: staged.listeners.changes().clone(),
                collectors: staged.collectors.changes,
                outputs: staged.outputs.changes,
                degraded: Vec::new(),
                faults: Vec::new(),
                warnings: told,
                took: began.elapsed(),
            };
            return ReloadOutcome::Applied(Box::new(report));
        }
        let (doubts, view) = match before.plan.roots == staged.plan.roots {
            true => (Vec::new(), before.view),
            false => {
                let roots = &staged.plan.roots;
                (roots::doubts(roots), Host::new(roots.clone()).view())
            }
        };
        if progress.enter(Step::Listeners).is_err() {
            let reason = match lock(&self.last_reload).is_stopping {
                true => "the daemon is stopping",
                false => "reading and opening it took too long",
            };
            return ReloadOutcome::Unavailable(reason.to_owned());
        }
        // The listeners go first: an address that has to be handed over is the one thing that can
        // still be refused, and then everything runs as before.
        let StagedPlan { plan, collectors, outputs, listeners } = staged;
        let (generation, since) = match before.plan.hash == plan.hash {
            true => (before.generation, before.since),
            false => (before.generation + 1, SystemTime::now()),
        };
        let applied = Applied { plan, generation, since, view };
        let bound_before = self.listeners.bound();
        match self.listeners.swap(listeners) {
            Ok(listeners) => {
                roots::warn(&doubts);
                if view != before.view {
                    blind::warn(view);
                }
                listener_warnings::log(&warnings);
                if let Some(warning) = lost {
                    tracing::warn!("{warning}");
                }
                self.log_listening(&bound_before, &listeners);
                match self.swap(applied, collectors, outputs, listeners, began, progress) {
                    Ok(report) => {
                        let report = Box::new(ReloadReport { warnings: told, ..report });
                        match report.faults.is_empty() {
                            true => ReloadOutcome::Applied(report),
                            false => ReloadOutcome::Faulty(report),
                        }
                    }
                    Err(step) => ReloadOutcome::Unfinished(format!(
                        "the daemon is stopping: {}",
                        step.known()
                    )),
                }
            }
            Err(_) if self.listeners.have_stopped() => {
                ReloadOutcome::Unavailable("the daemon is stopping".to_owned())
            }
            Err(mistakes) => refused(applied.plan.place_all(mistakes), dry_run),
        }
    }

    /// Logs where the daemon listens now and did not before.
    fn log_listening(&self, bound_before: &[SocketAddr], changes: &ListenerChanges) {
        for address in changes.started.iter().filter(|address| address.starts_with("unix:")) {
            tracing::info!(%address, "listening");
        }
        for address in self.listeners.bound().iter().filter(|now| !bound_before.contains(now)) {
            tracing::info!(%address, "listening");
        }
    }

    /// Opens what a plan asks for, beside what runs.
    fn stage(&self, mut plan: Plan, wanted: WantedListeners) -> Result<StagedPlan, Vec<Mistake>> {
        // What node_exporter's flags come to without being written is known without.
        plan.written.forget_defaults();
        let host = Host::new(plan.roots.clone());
        let limits = Limits { max_age: plan.scrape.max_age, timeout: plan.scrape.timeout };
        let mut plans = plan.collectors.clone();
        if !self.own.is_of_collections_only() {
            plans.push(process::plan());
        }
        let collectors = self.engine.stage(&plans, &host, limits);
        let outputs = self.outputs.stage(&plan.outputs, &host, plan.scrape.timeout);
        let listeners = self.listeners.stage(wanted);
        match (collectors, outputs, listeners) {
            (Ok(mut collectors), Ok(outputs), Ok(listeners)) => {
                // An internal collector is in no configuration, so no report names it.
                collectors.changes.forget(process::PROCESS.name);
                Ok(StagedPlan { plan, collectors, outputs, listeners })
            }
            (collectors, outputs, listeners) => {
                let about = |group: &str, name: &str, error: &dyn Display| {
                    plan.place(mistake(format!("{group}.{name}"), error.to_string()))
                };
                let mut mistakes = Vec::new();
                for (name, error) in collectors.err().into_iter().flatten() {
                    mistakes.push(about("collectors", name, &error));
                }
                for (name, error) in outputs.err().into_iter().flatten() {
                    mistakes.push(about("outputs", &name, &error));
                }
                mistakes.extend(plan.place_all(listeners.err().unwrap_or_default()));
                Err(mistakes)
            }
        }
    }

    /// Replaces what runs by what was staged. Nothing here can be refused, and a step that panics does
    /// not keep the others from being done.
    ///
    /// # Errors
    ///
    /// The step after which the daemon has begun to stop.
    fn swap(
        &self,
        applied: Applied,
        collectors: StagedCollectors,
        outputs: StagedOutputs,
        listeners: ListenerChanges,
        began: Instant,
        progress: &Progress,
    ) -> Result<ReloadReport, Step> {
        let mut report = ReloadReport {
            dry_run: false,
            generation: applied.generation,
            hash: applied.plan.hash.clone(),
            collectors: collectors.changes.clone(),
            outputs: outputs.changes.clone(),
            listeners,
            degraded: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
            took: Duration::ZERO,
        };
        let mut faults = Vec::new();
        step(&mut faults, "the first run of what is refreshed in the background", || {
            self.engine.warm(&collectors, Instant::now() + FIRST_RUN);
        });
        progress.enter(Step::Collectors)?;
        log::configure(&applied.plan.log);
        // Also a plan that means the same: its values may be written in other places.
        *lock(&self.applied) = Arc::new(applied);
        step(&mut faults, "closing the collectors before", || {
            self.engine.swap(collectors);
        });
        progress.enter(Step::Outputs)?;
        let outputs = step(&mut faults, "changing the outputs", || {
            self.outputs.swap(outputs, Instant::now() + GRACE_PERIOD)
        });
        let incomplete = outputs.into_iter().flatten();
        faults.extend(incomplete.map(|(name, fault)| format!("output {name}: {fault}")));
        progress.enter(Step::FirstRuns)?;
        let degraded = step(&mut faults, "the first runs", || self.first_runs(&report.collectors));
        report.degraded = degraded.unwrap_or_default();
        report.faults = faults;
        report.took = began.elapsed();
        Ok(report)
    }

    /// Runs what was started or changed once, to learn which of them found less than everything.
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
            if !status.state.is_success() {
                degraded.push((name, format!("{}: {}", status.state.word(), status.reason())));
            } else if let Some(reason) = status.fault.as_deref().or(status.degraded) {
                degraded.push((name, reason.to_owned()));
            }
        }
        degraded
    }
}

impl Served for Daemon {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn applied(&self) -> Arc<Applied> {
        Daemon::applied(self)
    }

    fn config_file(&self) -> Option<&Path> {
        Daemon::config_file(self)
    }

    fn outputs(&self) -> Vec<OutputStatus> {
        self.outputs.status()
    }

    fn reload_status(&self) -> ReloadStatus {
        Daemon::reload_status(self)
    }

    fn reload(
        self: Arc<Self>,
        request: ReloadRequest,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>> {
        Box::pin(async move { Daemon::reload(&self, request).await })
    }
}

impl Configuration for Daemon {
    fn describe(&self, take: &mut dyn FnMut(&ConfigurationStatus<'_>)) {
        let (applied, status) = (Daemon::applied(self), self.reload_status());
        take(&ConfigurationStatus {
            generation: applied.generation,
            hash: &applied.plan.hash,
            last_succeeded: status.last_succeeded(),
            last_success: status.last_success,
            last_attempt: status.last_attempt.unwrap_or(status.last_success),
        });
    }
}

/// Reads the configuration, and what has to be read for its listeners.
fn read(source: &Source, listeners: &Listeners) -> Result<(Plan, WantedListeners), Vec<Mistake>> {
    let plan = (source.read)()?;
    match listeners.read(&plan.server) {
        Ok(wanted) => Ok((plan, wanted)),
        Err(mistakes) => Err(plan.place_all(mistakes)),
    }
}

/// The refusal of a configuration; its mistakes are logged here, on the thread that found them.
fn refused(mistakes: Vec<Mistake>, dry_run: bool) -> ReloadOutcome {
    if !dry_run {
        for mistake in &mistakes {
            tracing::error!(mistake = %mistake, "configuration refused; the running one stays");
        }
    }
    ReloadOutcome::Refused(mistakes)
}

/// Does a step of the swap; a panic in it becomes a fault.
fn step<T>(faults: &mut Vec<String>, what: &str, work: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    if result.is_err() {
        faults.push(format!("{what} panicked; the log says where"));
    }
    result.ok()
}

fn mistake(path: String, message: String) -> Mistake {
    Mistake { origin: Origin::Default, path, message }
}
