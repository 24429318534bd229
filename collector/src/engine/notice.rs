//! What the log is to say. It is made under a lock and logged when no lock is held, because a log
//! line may have to wait for its reader.

use super::sync::Arc;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// One line of the log.
#[must_use = "it is to be logged when no lock is held"]
pub(super) struct Notice {
    /// The collector that it is about; none: the engine.
    pub(super) collector: Option<&'static str>,
    pub(super) what: What,
}

/// What has happened.
pub(super) enum What {
    /// A run has been out for too long.
    Stuck(Duration),
    /// A run failed.
    Failed(Arc<str>),
    /// A run panicked.
    Panicked,
    /// The host has no such source.
    Absent(Arc<str>),
    /// A run succeeded after others did not.
    WorksAgain,
    /// A run gave less than there is, for this reason.
    Degraded(&'static str),
    /// A run could not read a part of its source: this one, for this reason.
    Unread(Arc<str>),
    /// A run gave all there is, after others did not.
    Complete,
    /// No run was begun.
    NotRun(Arc<str>),
    /// Its thread was to have a descriptor table of its own, and the system refused it.
    SharesDescriptors,
    /// A thread of this name could not be started.
    NoThread(&'static str, io::Error),
}

impl Notice {
    /// Writes the line. No lock may be held. What takes the lines may panic, and must not end the
    /// thread that has something to say.
    pub(super) fn log(self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.write()));
    }

    fn write(self) {
        let collector = self.collector;
        match self.what {
            What::Stuck(out) => tracing::warn!(
                collector,
                seconds = out.as_secs_f64(),
                "the collector has not come back; scrapes do not wait for it until it does"
            ),
            What::Failed(error) => {
                tracing::warn!(collector, error = &*error, "the collector failed");
            }
            What::Panicked => {
                tracing::error!(collector, "the collector panicked and is left out for a while");
            }
            What::Absent(error) => tracing::debug!(
                collector,
                error = &*error,
                "the collector has no source on this host"
            ),
            What::WorksAgain => tracing::info!(collector, "the collector works again"),
            What::Degraded(reason) => {
                tracing::warn!(collector, reason, "the collector does not give all its samples");
            }
            What::Unread(fault) => {
                tracing::warn!(
                    collector,
                    fault = &*fault,
                    "the collector cannot read all its sources"
                );
            }
            What::Complete => {
                tracing::info!(collector, "the collector gives all its samples again")
            }
            What::NotRun(error) => {
                tracing::error!(collector, error = &*error, "the collector was not run");
            }
            What::SharesDescriptors => tracing::warn!(
                collector,
                "the system refuses a descriptor table of its own to the collector's thread (unshare); if \
                 such a thread hangs, the daemon's ports may stay taken after SIGKILL"
            ),
            What::NoThread(thread, error) => {
                tracing::error!(collector, thread, %error, "a thread cannot be started");
            }
        }
    }
}
