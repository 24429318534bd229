//! The set of collectors that are on; a reload replaces it whole.

use super::executor::Executor;
use super::job::OpenCollector;
use super::lane::Lane;
use super::occupancy::Occupancies;
use super::queue::Queue;
use super::request::Limits;
use super::slot::{Post, Slot};
use super::status::Counters;
use super::sync::Arc;
use crate::plan::CollectorPlan;
use vitald_core::error::Error;
use vitald_core::host::Host;

/// What a change of the set did, by collector name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Switched on.
    pub started: Vec<&'static str>,
    /// Switched off.
    pub stopped: Vec<&'static str>,
    /// On before and after, with other settings.
    pub changed: Vec<&'static str>,
    /// On before and after, not touched.
    pub unchanged: Vec<&'static str>,
}

impl Changes {
    /// Takes a name out of the lists.
    pub(crate) fn forget(&mut self, name: &str) {
        for list in [&mut self.started, &mut self.stopped, &mut self.changed, &mut self.unchanged] {
            list.retain(|known| *known != name);
        }
    }
}

/// The collectors that are on.
pub(super) struct Set {
    /// By name.
    pub(super) slots: Vec<Arc<Slot>>,
    /// What is counted of every collector that has been on: a counter must not go back because its
    /// collector was changed, or off for a while.
    pub(super) counters: Vec<(&'static str, Arc<Counters>)>,
    pub(super) host: Host,
    pub(super) limits: Limits,
}

impl Set {
    /// Those that users see.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter(|slot| !slot.plan.descriptor.internal)
    }

    /// A set for these plans. What is new or changed is opened; what is not is taken over.
    ///
    /// # Errors
    ///
    /// Every collector that would not open.
    pub(super) fn next(
        &self,
        plans: &[CollectorPlan],
        host: &Host,
        limits: Limits,
        queue: &Arc<Queue>,
        occupancies: &Occupancies,
    ) -> Result<(Set, Changes), Vec<(&'static str, Error)>> {
        let is_same_host = self.host.roots() == host.roots();
        let mut changes = Changes::default();
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        let mut counters = self.counters.clone();
        let mut refused = Vec::new();
        for plan in plans.iter().filter(|plan| plan.enabled) {
            let descriptor = plan.descriptor;
            let before = self.slots.iter().find(|slot| slot.name() == descriptor.name);
            if let Some(slot) = before
                && is_same_host
                && slot.plan.same(plan)
            {
                changes.unchanged.push(descriptor.name);
                slots.push(Arc::clone(slot));
                continue;
            }
            // What runs on a lane shares no descriptor with others.
            let (executor, own_host) = if plan.prepared.may_block() {
                let lane =
                    Lane::new(descriptor.name, descriptor.own_descriptors, queue.wake_socket());
                (Executor::Lane(lane), Host::new(host.roots().clone()))
            } else {
                (Executor::Queue(Arc::clone(queue)), host.clone())
            };
            let collector = match plan.prepared.open(&own_host) {
                Ok(collector) => collector,
                Err(error) => {
                    refused.push((descriptor.name, error));
                    continue;
                }
            };
            let collector =
                Post { executor, collector: OpenCollector::new(plan.clone(), own_host, collector) };
            let devices = descriptor.devices.filter(|_| collector.executor.is_lane());
            let probe = devices.map(|devices| Post {
                executor: Executor::Queue(Arc::clone(queue)),
                collector: OpenCollector::probe(plan.clone(), host.clone(), devices),
            });
            let list = if before.is_some() { &mut changes.changed } else { &mut changes.started };
            list.push(descriptor.name);
            let queue = Arc::clone(queue);
            slots.push(Slot::new(
                plan.clone(),
                collector,
                probe,
                queue,
                occupancies,
                counters_of(&mut counters, descriptor.name),
            ));
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        slots.sort_by_key(|slot| slot.name());
        let names = self.slots.iter().map(|slot| slot.name());
        changes.stopped.extend(names.filter(|name| !slots.iter().any(|slot| slot.name() == *name)));
        let host = if is_same_host { self.host.clone() } else { host.clone() };
        Ok((Set { slots, counters, host, limits }, changes))
    }
}

/// The counters of a name; they are the same for as long as the engine lives.
fn counters_of(
    known: &mut Vec<(&'static str, Arc<Counters>)>,
    name: &'static str,
) -> Arc<Counters> {
    if let Some((_, counters)) = known.iter().find(|(known, _)| *known == name) {
        return Arc::clone(counters);
    }
    let new = Arc::<Counters>::default();
    known.push((name, Arc::clone(&new)));
    new
}
