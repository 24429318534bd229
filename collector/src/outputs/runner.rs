//! The outputs that are on, and how a reload changes them.

use super::instance::{Assignment, Instance, OutputStatus, Shared};
use crate::engine::Engine;
use crate::plan::OutputPlan;
use crate::sync::lock;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vitald_core::host::Host;
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
    /// What runs under the name; none if it is off.
    plan: Option<OutputPlan>,
    /// What the instance holds alone.
    resource: Option<String>,
    instance: Arc<Instance>,
    name: Arc<str>,
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
    plans: Vec<(OutputPlan, Option<Box<dyn RunningOutput>>)>,
    context: Context,
    timeout: Duration,
    /// What the swap will do.
    pub changes: OutputChanges,
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
        let changes = changes(&entries, plans);
        // With several state directories the first one is ours (systemd.exec(5)).
        let directory = std::env::var("STATE_DIRECTORY").ok();
        let directory = directory.and_then(|text| text.split(':').next().map(PathBuf::from));
        let context = Context::new(host.clone(), directory);
        let held: Vec<&String> =
            entries.iter().filter_map(|entry| entry.resource.as_ref()).collect();
        let mut staged = Vec::new();
        let mut refused = Vec::new();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let is_held = plan.prepared.resource().is_some_and(|own| held.contains(&&own));
            if changes.unchanged.contains(&plan.name) || is_held {
                staged.push((plan.clone(), None));
                continue;
            }
            match plan.prepared.open(&context.named(&plan.name)) {
                Ok(output) => staged.push((plan.clone(), Some(output))),
                Err(error) => refused.push((Arc::clone(&plan.name), error)),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(StagedOutputs { plans: staged, context, timeout, changes })
    }

    /// Makes the staged outputs the running ones. What has not closed by `by` is not waited for any
    /// longer; answers the names whose change is incomplete, and why.
    pub fn swap(&self, staged: StagedOutputs, by: Instant) -> Vec<(Arc<str>, String)> {
        let StagedOutputs { plans, context, timeout, changes } = staged;
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.shared.timeout.store(timeout, Ordering::Relaxed);
        let mut entries = lock(&self.entries).clone();
        let is_touched = |name: &Arc<str>| !changes.unchanged.contains(name);
        // Everything that ends does so before anything begins: it may hold what another one needs.
        let touched = || entries.iter().filter(|entry| is_touched(&entry.name));
        touched().for_each(|entry| entry.instance.stop(by));
        let mut faults: Vec<(Arc<str>, String)> = touched()
            .filter(|entry| !entry.instance.wait_stopped(by))
            .map(|entry| (Arc::clone(&entry.name), "it has not ended and is left alone".to_owned()))
            .collect();
        for (name, fault) in &faults {
            tracing::warn!(output = %name, "{fault}");
        }
        for entry in entries.iter_mut().filter(|entry| is_touched(&entry.name)) {
            entry.plan = None;
            if !entry.instance.has_thread() {
                entry.resource = None;
            }
        }
        // What is counted of a name goes on for as long as the name is on.
        let stays = |name: &Arc<str>| plans.iter().any(|(plan, _)| plan.name == *name);
        entries.retain(|entry| stays(&entry.name) || entry.instance.has_thread());
        for (plan, output) in plans {
            if !is_touched(&plan.name) {
                continue;
            }
            let name = Arc::clone(&plan.name);
            let resource = plan.prepared.resource();
            let holder = entries.iter().find(|entry| {
                resource.is_some() && entry.resource == resource && entry.name != name
            });
            let holder = holder.map(|entry| Arc::clone(&entry.name));
            let position = entries.iter().position(|entry| entry.name == name);
            let position = position.unwrap_or_else(|| {
                let instance = Instance::new(Arc::clone(&name), Arc::clone(&self.shared));
                let name = Arc::clone(&name);
                entries.push(Entry { plan: None, resource: None, instance, name });
                entries.len() - 1
            });
            let entry = &mut entries[position];
            entry.plan = Some(plan.clone());
            let context = context.named(&name);
            let fault = match holder {
                Some(holder) => {
                    Err(format!("output {holder} has not ended and holds what this one needs"))
                }
                None => {
                    entry.resource = resource;
                    let assignment = Assignment { plan, context, output };
                    entry.instance.run(assignment).map_err(|error| error.to_string())
                }
            };
            if let Err(fault) = fault {
                tracing::error!(output = %name, error = fault, "the output is not started");
                entry.instance.end(fault.clone());
                faults.push((name, fault));
            }
        }
        let before = std::mem::replace(&mut *lock(&self.entries), entries);
        drop(before);
        faults
    }

    /// How each output is doing that is on, or that was to end and has not.
    pub fn status(&self) -> Vec<OutputStatus> {
        lock(&self.entries).iter().map(|entry| entry.instance.status()).collect()
    }

    /// Closes them all; what has not closed by `by` is left alone.
    pub fn stop(&self, by: Instant) {
        let entries = lock(&self.entries).clone();
        entries.iter().for_each(|entry| entry.instance.stop(by));
        for entry in entries.iter().filter(|entry| !entry.instance.wait_stopped(by)) {
            tracing::warn!(output = %entry.name, "it has not ended and is left alone");
        }
    }
}

/// What a change to these plans would do.
fn changes(entries: &[Entry], plans: &[OutputPlan]) -> OutputChanges {
    let mut changes = OutputChanges::default();
    let is_on = |entry: &&Entry| entry.plan.is_some();
    for plan in plans.iter().filter(|plan| plan.enabled) {
        let running = entries.iter().filter(is_on).find(|entry| entry.name == plan.name);
        let list = match running {
            None => &mut changes.started,
            Some(entry) if entry.instance.has_ended() => &mut changes.started,
            Some(entry) if entry.plan.as_ref().is_some_and(|old| old.same(plan)) => {
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
