//! A daemon that only answers, for the tests and for the fuzzer.

use super::Served;
use crate::engine::Engine;
use crate::outputs::OutputStatus;
use crate::plan::Plan;
use crate::reload::{Applied, ReloadOutcome, ReloadRequest, ReloadStatus};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use vitald_core::host::Host;

/// How a reload ends.
pub(super) type Reload = Box<dyn Fn(ReloadRequest) -> ReloadOutcome + Send + Sync>;

/// A daemon that changes nothing, and counts how often it was asked to.
pub(super) struct Stub {
    engine: Engine,
    applied: Arc<Applied>,
    reload: Reload,
    reload_takes: Duration,
    reloads: AtomicUsize,
}

impl Stub {
    /// One whose reloads end so, after so long.
    pub(super) fn new(engine: Engine, plan: Plan, reload: Reload, reload_takes: Duration) -> Self {
        let view = Host::new(plan.roots.clone()).view();
        let applied = Arc::new(Applied { plan, generation: 3, since: SystemTime::now(), view });
        Stub { engine, applied, reload, reload_takes, reloads: AtomicUsize::new(0) }
    }

    /// How many reloads have ended.
    pub(super) fn reloads(&self) -> usize {
        self.reloads.load(Ordering::Relaxed)
    }
}

/// A reload that is refused because another one is under way.
pub(super) fn busy() -> Reload {
    Box::new(|_| ReloadOutcome::Busy)
}

impl Served for Stub {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied)
    }

    fn config_file(&self) -> Option<&Path> {
        Some(Path::new("/etc/vitald/config.toml"))
    }

    fn outputs(&self) -> Vec<OutputStatus> {
        Vec::new()
    }

    fn reload_status(&self) -> ReloadStatus {
        ReloadStatus { last_attempt: None, last_success: self.applied.since, last_trouble: None }
    }

    fn reload(
        self: Arc<Self>,
        wanted: ReloadRequest,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>> {
        Box::pin(async move {
            // A timer takes a millisecond at least, and the fuzzer asks a thousand times a second.
            if !self.reload_takes.is_zero() {
                tokio::time::sleep(self.reload_takes).await;
            }
            self.reloads.fetch_add(1, Ordering::Relaxed);
            (self.reload)(wanted)
        })
    }
}
