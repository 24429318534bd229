//! What systemd is told, if it started the daemon as a `Type=notify` service (sd_notify(3)).
//!
//! Without a notification socket nothing is sent; a message that does not arrive is systemd's to
//! notice, and no reason to do anything else differently.

use sd_notify::NotifyState;

/// The daemon serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What `systemctl status` shows.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A reload has begun; it has ended when what this gives is dropped.
pub(crate) fn reloading() -> Reloading {
    // systemd 253 and later want to know when, to tell this reload's end from an earlier one's.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    Reloading
}

/// A reload in progress.
#[must_use]
pub(crate) struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

/// Feeds the watchdog, if the unit has one. The feed comes from the thread that serves: when that
/// hangs, nothing else is of use. A stuck collector does not stop it.
pub(crate) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(limit / 3);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
