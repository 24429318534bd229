//! What the pages need of the daemon.

use crate::engine::Engine;
use crate::outputs::OutputStatus;
use crate::reload::{Applied, ReloadOutcome, ReloadRequest, ReloadStatus};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

/// The daemon behind the pages.
pub(crate) trait Served: Send + Sync + 'static {
    /// The collectors.
    fn engine(&self) -> &Engine;

    /// The plan that is running.
    fn applied(&self) -> Arc<Applied>;

    /// The configuration file that a reload reads, as an absolute path; nothing if there is none.
    fn config_file(&self) -> Option<&Path>;

    /// How the outputs that run are doing.
    fn outputs(&self) -> Vec<OutputStatus>;

    /// How reloads have gone.
    fn reload_status(&self) -> ReloadStatus;

    /// Reads the configuration again and applies it.
    fn reload(
        self: Arc<Self>,
        wanted: ReloadRequest,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>>;
}
