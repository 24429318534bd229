//! Collections that a command makes in its own process.

use super::terminal::{exit, fail};
use crate::engine::{Engine, Limits, Request, Selection};
use crate::plan::Plan;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vitald_core::host::Host;
use vitald_core::snapshot::Collection;

/// An engine with the collectors of a plan.
pub(super) struct Collections {
    pub(super) engine: Arc<Engine>,
    timeout: Duration,
}

impl Collections {
    /// Opens what a plan asks for and makes the first collection, which opens what later ones keep open.
    pub(super) fn begin(plan: &Plan) -> Result<Self, ExitCode> {
        let host = Host::new(plan.roots.clone());
        let engine = Engine::new(host.clone()).map_err(|error| {
            fail(exit::OS_ERROR, &format!("the collection thread cannot be started: {error}"))
        })?;
        let limits = Limits { max_age: Duration::ZERO, timeout: plan.scrape.timeout };
        let staged = engine.stage(&plan.collectors, &host, limits).map_err(|refused| {
            let refused: Vec<String> =
                refused.iter().map(|(name, error)| format!("collectors.{name}: {error}")).collect();
            fail(exit::CONFIG, &refused.join("; "))
        })?;
        engine.swap(staged);
        let collections = Collections { engine: Arc::new(engine), timeout: plan.scrape.timeout };
        collections.next();
        Ok(collections)
    }

    /// Makes a collection of all collectors.
    pub(super) fn next(&self) -> Collection {
        let arrived = Instant::now();
        let deadline = arrived + self.timeout;
        self.engine.collect_blocking(Request { arrived, deadline, selection: Selection::All })
    }
}
