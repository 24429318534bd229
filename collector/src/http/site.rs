//! What all pages share.

use super::admin::Admission;
use super::counters::HttpCounters;
use super::page::host::Host;
use super::served::Served;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Which routes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// vitald's own.
    Native,
    /// node_exporter's: a landing page and the metrics, nothing else.
    DropIn {
        /// Where the metrics are, such as `/metrics`.
        telemetry_path: String,
    },
}

/// The daemon as its pages show it.
pub(super) struct Site {
    pub(super) served: Arc<dyn Served>,
    pub(super) mode: Mode,
    pub(super) version: &'static str,
    pub(super) hostname: String,
    pub(super) counters: Arc<HttpCounters>,
    pub(super) admission: Admission,
    pub(super) host: Host,
    ready: AtomicBool,
    started: Instant,
}

impl Site {
    pub(super) fn new(
        served: Arc<dyn Served>,
        mode: Mode,
        version: &'static str,
        counters: Arc<HttpCounters>,
    ) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Site {
            served,
            mode,
            version,
            hostname,
            counters,
            admission: Admission::new(),
            host: Host::new(),
            ready: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The file that a reload reads, for admins.
    pub(super) fn config_file(&self) -> Option<String> {
        self.served.config_file().map(|file| file.to_string_lossy().into_owned())
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
