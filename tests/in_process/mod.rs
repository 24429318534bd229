//! Collectors and the daemon's own families in the test's own process, without a daemon.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use vitald::HttpCounters;
use vitald::engine::{Engine, Limits};
use vitald::own::{Configuration, ConfigurationStatus, Own};
use vitald::plan::CollectorPlan;
use vitald_core::collector::Descriptor;
use vitald_core::host::Host;
use vitald_core::settings::{Mistakes, Node, Origin, Table, Value};

/// How long a request may take: far longer than it ever should.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector with these settings; the others have their defaults.
pub fn plan(descriptor: &'static Descriptor, settings: &[(&'static str, Node)]) -> CollectorPlan {
    let mut table = Table::at(format!("collectors.{}", descriptor.name));
    for (key, node) in settings {
        table.entries.insert((*key).to_owned(), Value::new(node.clone(), Origin::Default));
    }
    let mut mistakes = Mistakes::new();
    let prepared = (descriptor.prepare)(&table, &mut mistakes);
    CollectorPlan {
        descriptor,
        prepared: prepared.unwrap_or_else(|| panic!("{mistakes:?}")).into(),
        enabled: true,
        interval: None,
        max_series: 0,
    }
}

/// Makes these the collectors that are on. Every request finds them run anew.
pub fn apply(engine: &Engine, host: &Host, plans: &[CollectorPlan]) {
    let limits = Limits { max_age: Duration::ZERO, timeout: TIMEOUT };
    let staged = engine.stage(plans, host, limits);
    engine.swap(staged.unwrap_or_else(|refused| panic!("{refused:?}")));
}

/// A configuration that was applied once.
pub struct Applied;

impl Configuration for Applied {
    fn describe(&self, take: &mut dyn FnMut(&ConfigurationStatus<'_>)) {
        take(&ConfigurationStatus {
            generation: 1,
            hash: "abc",
            last_succeeded: true,
            last_success: SystemTime::UNIX_EPOCH,
            last_attempt: SystemTime::UNIX_EPOCH,
        });
    }
}

/// The daemon's own families; they show a configuration for as long as it is there.
pub fn own(engine: &Arc<Engine>) -> (Arc<Own>, Arc<Applied>) {
    let configuration = Arc::new(Applied);
    let known: Weak<Applied> = Arc::downgrade(&configuration);
    let own = Own::new(Arc::clone(engine), known, Arc::new(HttpCounters::new()), false);
    (Arc::new(own), configuration)
}
