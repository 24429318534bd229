//! The outputs that are on, and how a reload changes them.

use super::thread::{Assignment, OutputStatus, OutputThread, Shared};
use crate::engine::Engine;
use crate::plan::OutputPlan;
use crate::sync::lock;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vitald_core::host::{Host, Roots};
use vitald_core::output::{Context, OutputError, RunningOutput};
use vitald_core::sealer::OwnFamilies;

/// The outputs that are on.
pub struct Outputs {
    shared: Arc<Shared>,
    /// Locked to look and to replace, never while an output opens, sends or closes.
    entries: Mutex<Vec<Entry>>,
}

/// A name that is on, or whose thread has not ended.
#[derive(Clone)]
struct Entry {
    name: Arc<str>,
    /// What runs under the name; none if it is off.
    plan: Option<OutputPlan>,
    /// The host that it was given.
    roots: Roots,
    thread: Arc<OutputThread>,
}

/// What a change did, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputChanges {
    /// Switched on, or started again after they had ended of themselves.
    pub started: Vec<Arc<str>>,
    /// Switched off.
    pub stopped: Vec<Arc<str>>,
    /// On before and after, with other settings.
    pub changed: Vec<Arc<str>>,
    /// On before and after, not touched.
    pub unchanged: Vec<Arc<str>>,
}

/// New outputs, open where that does not disturb a running one.
pub struct StagedOutputs {
    outputs: Vec<StagedOutput>,
    context: Context,
    roots: Roots,
    timeout: Duration,
    /// What the swap will do.
    pub changes: OutputChanges,
}

struct StagedOutput {
    plan: OutputPlan,
    /// What it holds alone.
    resource: Option<String>,
    output: Option<Box<dyn RunningOutput>>,
}

impl Outputs {
    /// No output yet.
    pub fn new(engine: Arc<Engine>, own: Option<Arc<dyn OwnFamilies>>) -> Self {
        let shared = Arc::new(Shared { engine, own, timeout: AtomicU64::new(0) });
        Outputs { shared, entries: Mutex::default() }
    }

    /// Opens what is new or changed, except what needs a resource that a running one holds. `timeout` is how
    /// long a collection for an output may take.
    ///
    /// # Errors
    ///
    /// Every output that would not open.
    pub fn stage(
        &self,
        plans: &[OutputPlan],
        host: &Host,
        timeout: Duration,
    ) -> Result<StagedOutputs, Vec<(Arc<str>, OutputError)>> {
        let entries = lock(&self.entries).clone();
        let changes = changes(&entries, plans, host.roots());
        // With several state directories the first one is ours (systemd.exec(5)).
        let directory = std::env::var("STATE_DIRECTORY").ok();
        let directory = directory.and_then(|text| text.split(':').next().map(PathBuf::from));
        let context = Context::new(host.clone(), directory);
        let mut outputs = Vec::new();
        let mut refused = Vec::new();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let resource = plan.prepared.resource();
            let is_held = resource
                .as_ref()
                .is_some_and(|own| entries.iter().any(|entry| entry.thread.holds(own)));
            let output = if changes.unchanged.contains(&plan.name) || is_held {
                Ok(None)
            } else {
                plan.prepared.open(&context.named(&plan.name)).map(Some)
            };
            match output {
                Ok(output) => outputs.push(StagedOutput { plan: plan.clone(), resource, output }),
                Err(error) => refused.push((Arc::clone(&plan.name), error)),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(StagedOutputs { outputs, context, roots: host.roots().clone(), timeout, changes })
    }

    /// Makes the staged outputs the running ones. What has not closed or opened by `by` is not waited for any
    /// longer; answers the names whose change is incomplete, and why.
    pub fn swap(&self, staged: StagedOutputs, by: Instant) -> Vec<(Arc<str>, String)> {
        let StagedOutputs { mut outputs, context, roots, timeout, changes } = staged;
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.shared.timeout.store(timeout, Ordering::Relaxed);
        let stays: Vec<Arc<str>> =
            outputs.iter().map(|staged| Arc::clone(&staged.plan.name)).collect();
        outputs.retain(|staged| !changes.unchanged.contains(&staged.plan.name));
        let mut faults = Vec::new();
        // Everything that ends does so before anything begins: it may hold what another one needs.
        let ending = self.switch_off(|name| !changes.unchanged.contains(name));
        ending.iter().for_each(|entry| entry.thread.stop(by));
        for entry in &ending {
            if !entry.thread.wait_stopped(by) {
                let fault = "it has not ended and is left alone".to_owned();
                faults.push((Arc::clone(&entry.name), fault));
            }
        }
        // What is counted of a name goes on for as long as the name is on.
        lock(&self.entries).retain(|entry| stays.contains(&entry.name) || entry.thread.is_alive());
        let mut started = Vec::new();
        for staged in outputs {
            let name = Arc::clone(&staged.plan.name);
            match self.start(staged, &context, &roots) {
                Ok(thread) => started.push((name, thread)),
                Err(fault) => faults.push((name, fault)),
            }
        }
        for (name, thread) in started {
            if let Err(fault) = thread.wait_opened(by) {
                faults.push((name, fault));
            }
        }
        faults
    }

    /// Takes note that these names are off, and answers what was on.
    fn switch_off(&self, is_meant: impl Fn(&Arc<str>) -> bool) -> Vec<Entry> {
        let mut entries = lock(&self.entries);
        let meant = entries.iter_mut().filter(|entry| is_meant(&entry.name));
        meant.map(|entry| Entry { plan: entry.plan.take(), ..entry.clone() }).collect()
    }

    /// Starts an output, or has it wait for the one before it of its name.
    fn start(
        &self,
        staged: StagedOutput,
        context: &Context,
        roots: &Roots,
    ) -> Result<Arc<OutputThread>, String> {
        let StagedOutput { plan, resource, output } = staged;
        let (thread, holder) = {
            let mut entries = lock(&self.entries);
            let is_holder = |entry: &&Entry| {
                let holds = |resource: &String| entry.thread.holds(resource);
                entry.name != plan.name && resource.as_ref().is_some_and(holds)
            };
            let holder = entries.iter().find(is_holder).map(|entry| Arc::clone(&entry.name));
            let known = entries.iter().position(|entry| entry.name == plan.name);
            let position = known.unwrap_or_else(|| {
                let name = Arc::clone(&plan.name);
                let thread = OutputThread::new(Arc::clone(&name), Arc::clone(&self.shared));
                entries.push(Entry { name, plan: None, roots: roots.clone(), thread });
                entries.len() - 1
            });
            let entry = &mut entries[position];
            (entry.plan, entry.roots) = (Some(plan.clone()), roots.clone());
            (Arc::clone(&entry.thread), holder)
        };
        let started = match holder {
            Some(holder) => {
                thread.drop_contained(output);
                Err(format!("output {holder} has not ended and holds what this one needs"))
            }
            None => {
                let context = context.named(&plan.name);
                let started = thread.run(Assignment { plan, context, resource, output });
                started.map_err(|error| format!("its thread cannot be started: {error}"))
            }
        };
        if let Err(fault) = &started {
            thread.end(fault.clone());
        }
        started.map(|()| thread)
    }

    /// How each output is doing that is on, or that was to end and has not.
    pub fn status(&self) -> Vec<OutputStatus> {
        lock(&self.entries).iter().map(|entry| entry.thread.status()).collect()
    }

    /// Closes them all; what has not closed by `by` is left alone.
    pub fn stop(&self, by: Instant) {
        let ending = self.switch_off(|_| true);
        ending.iter().for_each(|entry| entry.thread.stop(by));
        for entry in ending.iter().filter(|entry| !entry.thread.wait_stopped(by)) {
            tracing::warn!(output = %entry.name, "it has not ended and is left alone");
        }
    }
}

/// What a change to these plans, on this host, would do.
fn changes(entries: &[Entry], plans: &[OutputPlan], roots: &Roots) -> OutputChanges {
    let mut changes = OutputChanges::default();
    let is_on = |entry: &&Entry| entry.plan.is_some();
    for plan in plans.iter().filter(|plan| plan.enabled) {
        let running = entries.iter().filter(is_on).find(|entry| entry.name == plan.name);
        let list = match running {
            None => &mut changes.started,
            Some(entry) if entry.thread.has_ended() => &mut changes.started,
            Some(entry)
                if entry.roots == *roots
                    && entry.plan.as_ref().is_some_and(|old| old.same(plan)) =>
            {
                &mut changes.unchanged
            }
            Some(_) => &mut changes.changed,
        };
        list.push(Arc::clone(&plan.name));
    }
    let stays = |name: &Arc<str>| plans.iter().any(|plan| plan.enabled && plan.name == *name);
    let names = entries.iter().filter(is_on).map(|entry| &entry.name);
    changes.stopped = names.filter(|name| !stays(name)).cloned().collect();
    changes
}
