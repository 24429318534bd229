//! What is known of the reloads so far.

use crate::reload::{ReloadOutcome, ReloadReport, ReloadStatus};
use crate::sync::lock;
use crate::systemd;
use std::sync::Mutex;
use std::time::SystemTime;

/// How reloads have gone. One that is not waited for any longer may end after others have been refused.
pub(super) struct Record(Mutex<State>);

struct State {
    status: ReloadStatus,
    /// How many there have been.
    attempts: u64,
    /// The last one whose thread has ended.
    ended: u64,
}

/// Who says how a reload has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Witness {
    /// Its own thread, at its end.
    Thread,
    /// The task that has waited for it and does not any longer.
    Task,
}

impl Record {
    /// Of a daemon that has been started now.
    pub(super) fn new(now: SystemTime) -> Self {
        let status = ReloadStatus { last_attempt: None, last_success: now, last_trouble: None };
        Record(Mutex::new(State { status, attempts: 0, ended: 0 }))
    }

    pub(super) fn status(&self) -> ReloadStatus {
        lock(&self.0).status.clone()
    }

    /// A reload begins; its number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = lock(&self.0);
        state.attempts += 1;
        state.attempts
    }

    /// Records and logs how the reload of this number has gone; false if that is known better already. A dry
    /// run has no number and is only logged.
    pub(super) fn note(
        &self,
        number: Option<u64>,
        outcome: &ReloadOutcome,
        witness: Witness,
    ) -> bool {
        let Some(number) = number else {
            log_dry_run(outcome);
            return true;
        };
        {
            let mut state = lock(&self.0);
            if !state.note(number, outcome, witness) {
                return false;
            }
        }
        systemd::status_changed();
        log(outcome);
        true
    }
}

impl State {
    fn note(&mut self, number: u64, outcome: &ReloadOutcome, witness: Witness) -> bool {
        match witness {
            Witness::Thread => self.ended = number,
            Witness::Task if self.ended >= number => return false,
            Witness::Task => {}
        }
        let (now, trouble) = (SystemTime::now(), outcome.trouble());
        if trouble.is_none() {
            self.status.last_success = now;
        }
        // A late success is not one of the request that was refused meanwhile.
        if number == self.attempts {
            self.status.last_attempt = Some(now);
            self.status.last_trouble = trouble;
        }
        true
    }
}

fn log(outcome: &ReloadOutcome) {
    match outcome {
        ReloadOutcome::Applied(report) | ReloadOutcome::Faulty(report) => {
            tracing::info!(
                generation = report.generation,
                hash = report.hash,
                started = report.collectors.started.join(","),
                stopped = report.collectors.stopped.join(","),
                changed = report.collectors.changed.join(","),
                "configuration applied"
            );
            log_changes(report);
            for fault in &report.faults {
                tracing::error!(fault, "the configuration was applied with a fault");
            }
        }
        ReloadOutcome::Unavailable(reason) => {
            tracing::error!(reason, "the configuration could not be read and opened");
        }
        ReloadOutcome::Unfinished(reason) => {
            tracing::error!(reason, "the reload does not come to an end");
        }
        // These are in the log already.
        ReloadOutcome::Refused(_) | ReloadOutcome::Busy | ReloadOutcome::Mismatch(_) => {}
    }
}

/// What else a reload has changed, where it has.
fn log_changes(report: &ReloadReport) {
    let (outputs, listeners) = (&report.outputs, &report.listeners);
    if !(outputs.started.is_empty() && outputs.stopped.is_empty() && outputs.changed.is_empty()) {
        tracing::info!(
            started = outputs.started.join(","),
            stopped = outputs.stopped.join(","),
            changed = outputs.changed.join(","),
            "outputs changed"
        );
    }
    let changed: Vec<String> = listeners.changed.iter().map(ToString::to_string).collect();
    if !(listeners.started.is_empty() && listeners.stopped.is_empty() && changed.is_empty()) {
        tracing::info!(
            started = listeners.started.join(","),
            stopped = listeners.stopped.join(","),
            changed = changed.join(","),
            "listeners changed"
        );
    }
}

/// Logs how a dry run has ended; its mistakes are for the client that asked.
fn log_dry_run(outcome: &ReloadOutcome) {
    match outcome {
        ReloadOutcome::Applied(report) | ReloadOutcome::Faulty(report) => {
            tracing::info!(hash = report.hash, "dry run: the configuration would be applied");
        }
        ReloadOutcome::Refused(mistakes) => {
            let count = mistakes.len();
            tracing::info!(mistakes = count, "dry run: the configuration would be refused");
        }
        ReloadOutcome::Unavailable(reason) | ReloadOutcome::Unfinished(reason) => {
            tracing::info!(reason, "dry run: the configuration could not be read and opened");
        }
        // These are in the log already.
        ReloadOutcome::Busy | ReloadOutcome::Mismatch(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Changes;
    use crate::outputs::OutputChanges;
    use crate::reload::ListenerChanges;
    use std::time::Duration;

    fn applied() -> ReloadOutcome {
        ReloadOutcome::Applied(Box::new(ReloadReport {
            dry_run: false,
            generation: 2,
            hash: String::new(),
            collectors: Changes::default(),
            outputs: OutputChanges::default(),
            listeners: ListenerChanges::default(),
            degraded: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
            took: Duration::ZERO,
        }))
    }

    #[test]
    fn what_is_known_at_the_end_replaces_what_was_said_before() {
        let hangs = ReloadOutcome::Unfinished(String::new());
        let record = Record::new(SystemTime::now());
        let number = Some(record.begin());
        let succeeded = || record.status().last_succeeded();
        assert!(record.note(number, &hangs, Witness::Task) && !succeeded());
        assert!(record.note(number, &applied(), Witness::Thread) && succeeded());
        // It ended in the moment in which the task gave up.
        let number = Some(record.begin());
        assert!(record.note(number, &applied(), Witness::Thread));
        assert!(!record.note(number, &hangs, Witness::Task) && succeeded());
    }

    #[test]
    fn a_late_success_does_not_hide_that_a_later_reload_failed() {
        let record = Record::new(SystemTime::UNIX_EPOCH);
        let late = Some(record.begin());
        record.note(late, &ReloadOutcome::Unfinished(String::new()), Witness::Task);
        let refused = Some(record.begin());
        record.note(refused, &ReloadOutcome::Unavailable(String::new()), Witness::Task);
        record.note(late, &applied(), Witness::Thread);
        assert!(record.status().last_success > SystemTime::UNIX_EPOCH);
        let trouble = record.status().last_trouble;
        assert!(trouble.is_some_and(|trouble| trouble.verdict.contains("failed")));
    }
}
