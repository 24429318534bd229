//! What is reported of a reload: how it was requested, how it ended, what it did.

use crate::engine::Changes;
use crate::outputs::OutputChanges;
use crate::plan::Plan;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use vitald_core::host::View;
use vitald_core::settings::Mistake;

/// The plan that is running.
pub(crate) struct Applied {
    /// What it asks for.
    pub(crate) plan: Plan,
    /// How many plans have been applied since the start, this one included.
    pub(crate) generation: u64,
    /// When it was applied.
    pub(crate) since: SystemTime,
    /// What its paths show of the host.
    pub(crate) view: View,
}

/// How a reload is requested.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadRequest {
    /// Only say what would change.
    pub(crate) dry_run: bool,
    /// Only if the running configuration has this hash.
    pub(crate) if_match: Option<String>,
}

/// How a reload ended.
pub(crate) enum ReloadOutcome {
    /// Applied, or for a dry run: would be.
    Applied(Box<ReloadReport>),
    /// Refused with every mistake; nothing was touched.
    Refused(Vec<Mistake>),
    /// Another one is in progress.
    Busy,
    /// The running configuration has another hash: this one.
    Mismatch(String),
    /// The configuration could not be read and opened, for a reason that is not in it: it took too long,
    /// or an earlier attempt has not ended. Nothing was touched.
    Unavailable(String),
    /// Applied, but not all of what ran before has ended as it should; see [`ReloadReport::faults`].
    Faulty(Box<ReloadReport>),
    /// It was being put into force and did not come to an end; what is known.
    Unfinished(String),
}

/// How many mistakes of a refused configuration are kept.
const KEPT_MISTAKES: usize = 10;

impl ReloadOutcome {
    /// Why it has not led to what was asked for; nothing if it was applied without a fault.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let (verdict, details) = match self {
            // The last two change nothing of how the last reload went.
            ReloadOutcome::Applied(_) | ReloadOutcome::Busy | ReloadOutcome::Mismatch(_) => {
                return None;
            }
            ReloadOutcome::Faulty(report) => {
                ("the last reload had faults (see the log)".to_owned(), report.faults.join("\n"))
            }
            ReloadOutcome::Refused(mistakes) => {
                let (count, s) = (mistakes.len(), if mistakes.len() == 1 { "" } else { "s" });
                let mut lines: Vec<String> =
                    mistakes.iter().take(KEPT_MISTAKES).map(ToString::to_string).collect();
                let more = mistakes.len().saturating_sub(KEPT_MISTAKES);
                if more > 0 {
                    lines.push(format!("and {more} more, which the log has"));
                }
                let verdict =
                    format!("the last reload was refused ({count} mistake{s} in the log)");
                (verdict, lines.join("\n"))
            }
            ReloadOutcome::Unavailable(reason) => {
                ("the last reload failed (see the log)".to_owned(), reason.clone())
            }
            ReloadOutcome::Unfinished(reason) => {
                ("a reload does not come to an end (see the log)".to_owned(), reason.clone())
            }
        };
        Some(Trouble { verdict, details: details.into() })
    }
}

/// Why a reload has not led to what was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In a few words, for `systemctl status`.
    pub(crate) verdict: String,
    /// A line for each thing, for who administers the daemon.
    pub(crate) details: Arc<str>,
}

/// What a reload did.
#[derive(Clone, Debug)]
pub(crate) struct ReloadReport {
    /// Whether nothing was changed.
    pub(crate) dry_run: bool,
    /// The generation that runs now.
    pub(crate) generation: u64,
    /// The hash of the configuration that was read.
    pub(crate) hash: String,
    /// Collectors.
    pub(crate) collectors: Changes,
    /// Outputs.
    pub(crate) outputs: OutputChanges,
    /// Listeners, by address as written.
    pub(crate) listeners: ListenerChanges,
    /// Collectors that started without a source or with less than all of their figures, and why.
    pub(crate) degraded: Vec<(&'static str, String)>,
    /// What went wrong after the new configuration was in force.
    pub(crate) faults: Vec<String>,
    /// What may not be meant of what was asked for.
    pub(crate) warnings: Vec<String>,
    /// What the reload took.
    pub(crate) took: Duration,
}

/// What a change of the listeners did, by address as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerChanges {
    /// Bound.
    pub(crate) started: Vec<String>,
    /// Closed.
    pub(crate) stopped: Vec<String>,
    /// Open as before, with other rules.
    pub(crate) changed: Vec<ListenerChange>,
    /// Not touched.
    pub(crate) unchanged: Vec<String>,
}

/// What has changed at a listener that stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerChange {
    /// Its address.
    pub(crate) address: String,
    /// The settings, and what else clients notice, such as `TLS on`.
    pub(crate) what: Vec<&'static str>,
}

impl fmt::Display for ListenerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.what.join(", "))
    }
}

/// How reloads have gone.
#[derive(Clone, Debug)]
pub(crate) struct ReloadStatus {
    /// When one was last tried.
    pub(crate) last_attempt: Option<SystemTime>,
    /// When one last succeeded; the start counts.
    pub(crate) last_success: SystemTime,
    /// What was wrong with the last one; nothing if it succeeded.
    pub(crate) last_trouble: Option<Trouble>,
}

impl ReloadStatus {
    /// Whether the last one succeeded.
    pub(crate) fn last_succeeded(&self) -> bool {
        self.last_trouble.is_none()
    }
}
