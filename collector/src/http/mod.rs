//! HTTP: listeners, routes, and what is answered.
//!
//! ```text
//! Listeners (socket, listeners, connection) --> Reception --> routes (warp filters) --> scrape, status,
//!    limits, deadlines, graceful stop            counts         one module              plugins, reload
//! ```
//!
//! warp's filters do the routing; connections are accepted and served by our own loop over hyper,
//! because warp's server knows no limits, no timeouts and no unix socket's peer.

mod admin;
mod connection;
mod counters;
mod listeners;
mod page;
mod plugins;
mod problem;
mod query;
mod reload;
mod routes;
mod scrape;
mod socket;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use counters::HttpCounters;
pub(crate) use listeners::{Listeners, StagedListeners};

use crate::engine::Engine;
use crate::outputs::OutputStatus;
use crate::reload::{Applied, ReloadOutcome, ReloadRequest};
use scrape::Scrapes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
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

/// What the routes ask of the daemon.
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
        request: ReloadRequest,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>>;
}

/// Which routes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// vitald's own.
    Native,
    /// node_exporter's: a landing page and the metrics, nothing else.
    DropIn {
        /// Where the metrics are, such as `/metrics`.
        telemetry_path: String,
    },
}

/// What answers requests.
pub(crate) struct Http {
    served: Arc<dyn Served>,
    face: Face,
    version: &'static str,
    hostname: String,
    counters: Arc<HttpCounters>,
    scrapes: Scrapes,
    ready: AtomicBool,
    started: Instant,
}

impl Http {
    /// Makes the answering side; [`Listeners::open`] brings it requests.
    pub(crate) fn new(
        served: Arc<dyn Served>,
        face: Face,
        version: &'static str,
        own: Box<dyn OwnMetrics>,
        counters: Arc<HttpCounters>,
    ) -> Arc<Self> {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Arc::new(Http {
            served,
            face,
            version,
            hostname,
            counters,
            scrapes: Scrapes::new(own),
            ready: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    /// Says that the first collection has ended, or its time has passed, and that the
    /// configuration is applied: from now on `/readyz` answers 200. There is no way back.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}
