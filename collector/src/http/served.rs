//! What the pages need of the daemon.

use crate::engine::Engine;
use crate::outputs::OutputStatus;
use crate::reload::{Applied, ReloadOutcome, ReloadWish};
use std::pin::Pin;
use std::sync::Arc;
use vitald_core::batch::{Batch, Dropped};
use vitald_core::family::FamilyInfo;
use vitald_core::snapshot::Snapshot;

/// The daemon's own samples, added to each page.
pub(crate) trait OwnMetrics: Send + 'static {
    /// The families it may push.
    fn families(&self) -> &'static [FamilyInfo];

    /// Pushes the samples that go with a collection.
    fn write(&mut self, snapshot: &Snapshot, batch: &mut Batch);

    /// Takes note of what a page left out of a collector's samples because of another's.
    fn note_dropped(&mut self, collector: &'static str, dropped: Dropped);
}

/// The daemon behind the pages.
pub(crate) trait Served: Send + Sync + 'static {
    /// The collectors.
    fn engine(&self) -> &Engine;

    /// The plan that is running.
    fn applied(&self) -> Arc<Applied>;

    /// How the outputs that run are doing.
    fn outputs(&self) -> Vec<OutputStatus>;

    /// Reads the configuration again and applies it.
    fn reload(
        self: Arc<Self>,
        wanted: ReloadWish,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>>;
}
