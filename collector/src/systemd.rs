//! What is reported to systemd, if it started the daemon as a `Type=notify` service (sd_notify(3)).
//!
//! A manager that does not read its socket blocks every sender once ten datagrams wait. So
//! one thread sends, and nothing else waits for it. What has not been sent yet is replaced by what
//! is newer: the manager misses nothing that still holds. Without a notification socket there is no
//! thread, and nothing is sent.

use crate::sync::lock;
use sd_notify::NotifyState;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How long the last message may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The watchdog is not fed more often than this, whatever limit it is said to have.
const MIN_WATCHDOG_INTERVAL: Duration = Duration::from_millis(10);

static NOTIFIER: OnceLock<Option<Arc<Notifier>>> = OnceLock::new();

/// The daemon serves.
pub(crate) fn ready() {
    report(Pending::ready);
}

/// What `systemctl status` shows, until [`status_is`] says it.
pub(crate) fn status(text: &'static str) {
    report(|pending| pending.status = Some(Status::Is(text)));
}

/// Has `systemctl status` show what this says from now on. It is asked again on the thread that sends, whenever
/// [`status_changed`] was called.
pub(crate) fn status_is(says: impl Fn() -> String + Send + Sync + 'static) {
    if let Some(notifier) = notifier() {
        let _ = notifier.says.set(Box::new(says));
        status_changed();
    }
}

/// What the status says may be another thing now.
pub(crate) fn status_changed() {
    report(Pending::status_changed);
}

/// Whether systemd listens.
pub(crate) fn listens() -> bool {
    notifier().is_some()
}

/// The daemon is about to end, and nothing else is true of it from now on.
pub(crate) fn stopping() {
    report(Pending::stopping);
}

/// A reload has begun; it has ended when what this gives is dropped.
pub(crate) fn reloading() -> Reloading {
    // systemd 253 and later want the time, to distinguish the end of this reload from an earlier one's.
    let now = NotifyState::monotonic_usec_now().ok();
    report(|pending| pending.reloading(now));
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

/// Feeds the watchdog, if the unit has one, while `sign_of_life` answers something else each time. The feed
/// is asked for by the thread that serves: when that hangs, nothing else is of use.
pub(crate) async fn feed_watchdog(mut sign_of_life: impl FnMut() -> u64) {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let Some(limit) = limit else { return };
    let mut ticks = tokio::time::interval((limit / 3).max(MIN_WATCHDOG_INTERVAL));
    // After the process was suspended, one tick is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let sign = Some(sign_of_life());
        if std::mem::replace(&mut last, sign) != sign {
            report(|pending| pending.watchdog = true);
        }
    }
}

/// Waits until everything is sent, but not for long: the end of the process must not depend on the
/// manager.
pub(crate) fn flush() {
    if let Some(Some(notifier)) = NOTIFIER.get() {
        notifier.flush(FLUSH_TIMEOUT);
    }
}

fn report(change: impl FnOnce(&mut Pending)) {
    if let Some(notifier) = notifier() {
        notifier.report(change);
    }
}

fn notifier() -> Option<&'static Notifier> {
    let notifier = NOTIFIER.get_or_init(|| {
        std::env::var_os("NOTIFY_SOCKET")?;
        Notifier::start(sd_notify::notify)
    });
    notifier.as_deref()
}

/// The thread that sends, and what it has to send.
#[derive(Default)]
struct Notifier {
    pending: Mutex<Pending>,
    changed: Condvar,
    /// Says the status.
    says: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
}

/// What has not been sent.
#[derive(Default)]
struct Pending {
    /// A reload began, at this time of the monotonic clock. It is sent before the phase.
    reloading: Option<Option<NotifyState<'static>>>,
    phase: Option<Phase>,
    status: Option<Status>,
    watchdog: bool,
    is_sending: bool,
    /// The daemon is about to end. A reload that ends later is not the end of that.
    is_stopping: bool,
}

/// What the status is.
enum Status {
    /// This.
    Is(&'static str),
    /// To be asked for.
    Changed,
}

#[derive(Clone, Copy)]
enum Phase {
    Ready,
    Stopping,
}

impl Pending {
    fn ready(&mut self) {
        if !self.is_stopping {
            self.phase = Some(Phase::Ready);
        }
    }

    fn reloading(&mut self, since: Option<NotifyState<'static>>) {
        if !self.is_stopping {
            self.reloading = Some(since);
            self.phase = None;
        }
    }

    fn status_changed(&mut self) {
        if !self.is_stopping {
            self.status = Some(Status::Changed);
        }
    }

    fn stopping(&mut self) {
        self.status = Some(Status::Is("Stopping"));
        self.reloading = None;
        self.phase = Some(Phase::Stopping);
        self.is_stopping = true;
    }

    fn is_empty(&self) -> bool {
        let Pending { reloading, phase, status, watchdog, .. } = self;
        reloading.is_none() && phase.is_none() && status.is_none() && !watchdog
    }

    /// Takes the next message out.
    fn next(&mut self) -> Option<Message> {
        if let Some(since) = self.reloading.take() {
            return Some(Message::Reloading(since));
        }
        if let Some(phase) = self.phase.take() {
            return Some(Message::Phase(phase));
        }
        if std::mem::take(&mut self.watchdog) {
            return Some(Message::Watchdog);
        }
        self.status.take().map(Message::Status)
    }
}

/// One datagram.
enum Message {
    Reloading(Option<NotifyState<'static>>),
    Phase(Phase),
    Watchdog,
    Status(Status),
}

impl Message {
    /// Sends it; a status only if it is another one than the last.
    fn send(
        self,
        send: &dyn Fn(&[NotifyState<'_>]) -> std::io::Result<()>,
        says: impl FnOnce() -> Option<String>,
        last_status: &mut String,
    ) -> std::io::Result<()> {
        match self {
            Message::Reloading(Some(since)) => send(&[NotifyState::Reloading, since]),
            Message::Reloading(None) => send(&[NotifyState::Reloading]),
            Message::Phase(Phase::Ready) => send(&[NotifyState::Ready]),
            Message::Phase(Phase::Stopping) => send(&[NotifyState::Stopping]),
            Message::Watchdog => send(&[NotifyState::Watchdog]),
            Message::Status(status) => {
                let text = match status {
                    Status::Is(text) => Some(text.to_owned()),
                    Status::Changed => says(),
                };
                let Some(text) = text.filter(|text| text != last_status) else { return Ok(()) };
                send(&[NotifyState::Status(&text)])?;
                *last_status = text;
                Ok(())
            }
        }
    }
}

impl Notifier {
    fn start(
        send: impl Fn(&[NotifyState<'_>]) -> std::io::Result<()> + Send + 'static,
    ) -> Option<Arc<Self>> {
        let notifier = Arc::new(Notifier::default());
        let worker = Arc::clone(&notifier);
        let thread = std::thread::Builder::new().name("systemd".to_owned());
        match thread.spawn(move || worker.work(&send)) {
            Ok(_) => Some(notifier),
            Err(error) => {
                tracing::warn!(%error, "the thread that reports to systemd cannot be started");
                None
            }
        }
    }

    fn report(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut lock(&self.pending));
        self.changed.notify_all();
    }

    fn work(&self, send: &dyn Fn(&[NotifyState<'_>]) -> std::io::Result<()>) {
        let mut last_status = String::new();
        let mut pending = lock(&self.pending);
        loop {
            let Some(message) = pending.next() else {
                pending.is_sending = false;
                self.changed.notify_all();
                pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            pending.is_sending = true;
            drop(pending);
            let says = || self.says.get().map(|says| says());
            if let Err(error) = message.send(send, says, &mut last_status) {
                tracing::warn!(%error, "systemd could not be notified");
            }
            pending = lock(&self.pending);
        }
    }

    fn flush(&self, within: Duration) {
        let limit = Instant::now() + within;
        let mut pending = lock(&self.pending);
        while pending.is_sending || !pending.is_empty() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};

    /// A manager that takes a message each time the test lets it.
    struct Manager {
        notifier: Arc<Notifier>,
        started: Receiver<()>,
        release: Sender<()>,
        heard: Receiver<String>,
    }

    impl Manager {
        fn new() -> Self {
            let (start, started) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let (send, heard) = mpsc::channel();
            let notifier = Notifier::start(move |state| {
                let _ = start.send(());
                // Without its sender nothing is held any more.
                let _ = released.recv();
                let text: Vec<String> = state.iter().map(ToString::to_string).collect();
                send.send(text.join(" ")).map_err(std::io::Error::other)
            });
            Manager { notifier: notifier.expect("a thread"), started, release, heard }
        }

        /// Takes everything; what has been sent, in order.
        fn heard(self) -> Vec<String> {
            drop(self.release);
            self.notifier.flush(Duration::from_secs(60));
            self.heard.try_iter().collect()
        }
    }

    fn since(at: i128) -> Option<NotifyState<'static>> {
        Some(NotifyState::MonotonicUsec(at))
    }

    #[test]
    fn what_is_newer_replaces_what_waits() {
        let manager = Manager::new();
        let notifier = &manager.notifier;
        notifier.report(Pending::ready);
        manager.started.recv().expect("it sends");
        for at in 0..1000 {
            notifier.report(|pending| pending.reloading(since(at)));
            notifier.report(Pending::ready);
            notifier.report(|pending| pending.watchdog = true);
            notifier.report(|pending| pending.status = Some(Status::Is("early")));
            notifier.report(Pending::status_changed);
        }
        let _ = notifier.says.set(Box::new(|| "late".to_owned()));
        let began = Instant::now();
        notifier.flush(Duration::from_millis(10));
        assert!(began.elapsed() >= Duration::from_millis(10));
        assert_eq!(
            manager.heard(),
            ["READY=1", "RELOADING=1 MONOTONIC_USEC=999", "READY=1", "WATCHDOG=1", "STATUS=late"]
        );
    }

    #[test]
    fn a_status_is_sent_when_it_is_another_one() {
        let manager = Manager::new();
        let notifier = Arc::clone(&manager.notifier);
        // Nobody says it yet.
        notifier.report(Pending::status_changed);
        let said = Arc::new(Mutex::new("one"));
        let says = Arc::clone(&said);
        let _ = notifier.says.set(Box::new(move || (*lock(&says)).to_owned()));
        drop(manager.release);
        for text in ["one", "one", "two"] {
            *lock(&said) = text;
            notifier.report(Pending::status_changed);
            notifier.flush(Duration::from_secs(60));
        }
        let heard: Vec<String> = manager.heard.try_iter().collect();
        assert_eq!(heard, ["STATUS=one", "STATUS=two"]);
    }

    #[test]
    fn a_status_that_did_not_arrive_is_sent_once_more() {
        let (heard, said) = mpsc::channel();
        let full = std::sync::atomic::AtomicBool::new(true);
        let notifier = Notifier::start(move |state| {
            if full.swap(false, std::sync::atomic::Ordering::Relaxed) {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            heard.send(state[0].to_string()).map_err(std::io::Error::other)
        });
        let notifier = notifier.expect("a thread");
        let _ = notifier.says.set(Box::new(|| "well".to_owned()));
        for _ in 0..3 {
            notifier.report(Pending::status_changed);
            notifier.flush(Duration::from_secs(60));
        }
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["STATUS=well"]);
    }

    #[test]
    fn nothing_takes_back_that_the_daemon_stops() {
        // A reload begins before the end and ends after it; another one comes too late.
        let manager = Manager::new();
        let notifier = &manager.notifier;
        notifier.report(Pending::ready);
        manager.started.recv().expect("it sends");
        notifier.report(|pending| pending.reloading(since(1)));
        notifier.report(Pending::stopping);
        notifier.report(Pending::ready);
        notifier.report(|pending| pending.reloading(since(2)));
        notifier.report(Pending::ready);
        notifier.report(Pending::status_changed);
        assert_eq!(manager.heard(), ["READY=1", "STOPPING=1", "STATUS=Stopping"]);
    }

    #[test]
    fn nothing_follows_what_has_been_sent_of_the_end() {
        let manager = Manager::new();
        let notifier = &manager.notifier;
        notifier.report(Pending::stopping);
        manager.started.recv().expect("it sends");
        notifier.report(Pending::ready);
        assert_eq!(manager.heard(), ["STOPPING=1", "STATUS=Stopping"]);
    }
}
