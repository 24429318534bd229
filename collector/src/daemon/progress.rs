//! How far a reload has come, between its thread and those who wait for it.

use tokio::sync::watch;

/// A reload in progress.
pub(super) struct Progress(watch::Sender<State>);

#[derive(Clone, Copy, Default)]
struct State {
    step: Step,
    /// Nothing more may be touched.
    is_closed: bool,
    /// Its thread has ended it.
    has_ended: bool,
}

/// What a reload is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// It reads, checks and opens. Nothing has been touched.
    #[default]
    Staging,
    /// The listeners are being swapped; all else is as before.
    Listeners,
    /// The new configuration is in force; the collectors before are being closed.
    Collectors,
    /// The outputs before are being closed.
    Outputs,
    /// What was started runs for the first time.
    FirstRuns,
}

/// Marks a reload as ended when it is dropped, also by a panic.
pub(super) struct Ended<'a>(pub(super) &'a Progress);

impl Progress {
    pub(super) fn new() -> Self {
        Progress(watch::Sender::new(State::default()))
    }

    /// Goes on to a step.
    ///
    /// # Errors
    ///
    /// The step that it has come to, if nothing more may be touched.
    pub(super) fn enter(&self, step: Step) -> Result<(), Step> {
        let mut entered = Ok(());
        self.0.send_modify(|state| match state.is_closed {
            true => entered = Err(state.step),
            false => state.step = step,
        });
        entered
    }

    /// Keeps the thread from touching anything, if it has not begun to.
    ///
    /// # Errors
    ///
    /// The step that it has come to.
    pub(super) fn abandon(&self) -> Result<(), Step> {
        let mut abandoned = Ok(());
        self.0.send_modify(|state| match state.step {
            Step::Staging => state.is_closed = true,
            step => abandoned = Err(step),
        });
        abandoned
    }

    /// Keeps the thread from touching anything more, and waits until it has ended: what it has staged is
    /// closed then. One that was abandoned before is known to hang, and is not waited for.
    pub(super) async fn close(&self) {
        let mut was_closed = false;
        self.0.send_modify(|state| was_closed = std::mem::replace(&mut state.is_closed, true));
        if was_closed {
            return;
        }
        // The sender is borrowed here, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|state| state.has_ended).await;
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.has_ended = true);
    }
}

impl Step {
    /// What is known of a reload that did not get further than this.
    pub(super) fn known(self) -> &'static str {
        match self {
            Step::Staging => "nothing was changed",
            Step::Listeners => {
                "the listeners are being changed; collectors and outputs run as before"
            }
            Step::Collectors => {
                "listeners and collectors are the new ones; the collectors before are being closed, and \
                 the outputs run as before"
            }
            Step::Outputs => {
                "listeners and collectors are the new ones; the outputs are being changed"
            }
            Step::FirstRuns => {
                "the new configuration is in force; what it started has not run for the first time"
            }
        }
    }
}
