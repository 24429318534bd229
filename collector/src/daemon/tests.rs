//! Reloads that go wrong: a collector before that does not end, or panics at its end, and a daemon that
//! stops meanwhile.

use super::*;
use crate::config;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, LazyLock};
use vitald_core::collector::Descriptor;
use vitald_core::prelude::*;
use vitald_core::settings::Node;

const LONG: Duration = Duration::from_secs(60);

families! {
    /// What the collectors give.
    VALUE: gauge = "test_value" [number];
}

macro_rules! collector_that_ends {
    ($type:ident, $name:literal, $run:expr, $end:expr) => {
        struct $type;

        impl Collector for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "For a test";
            const ENABLED: bool = false;
            const FAMILIES: &'static [FamilyInfo] = FAMILIES;
            type Settings = ();

            fn open(_: (), _: &Host) -> Result<Self> {
                Ok($type)
            }

            fn collect(&mut self, batch: &mut Batch) -> Result<()> {
                $run;
                batch.row(&VALUE, [b"1"], 1);
                Ok(())
            }
        }

        impl Drop for $type {
            fn drop(&mut self) {
                $end
            }
        }
    };
}

collector_that_ends!(Panics, "panics", {}, panic!("as the test wants"));
collector_that_ends!(Hangs, "hangs", {}, {
    let _ = lock(&RELEASED).recv();
});
collector_that_ends!(Steady, "steady", {}, {});
collector_that_ends!(Waits, "waits", GATE.wait(), {});

/// Ends the wait of a collector when its sender is dropped.
static RELEASED: LazyLock<Mutex<Receiver<()>>> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    *lock(&RELEASE) = Some(sender);
    Mutex::new(receiver)
});
static RELEASE: Mutex<Option<Sender<()>>> = Mutex::new(None);

/// A gate that is closed until it is opened.
struct Gate(Mutex<bool>, Condvar);

static GATE: Gate = Gate(Mutex::new(false), Condvar::new());

impl Gate {
    fn wait(&self) {
        drop(self.1.wait_while(lock(&self.0), |is_open| !*is_open));
    }

    fn open(&self) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }
}

static HANGS: Descriptor = Descriptor::of::<Hangs>();
static PANICS: Descriptor = Descriptor::of::<Panics>();
static STEADY: Descriptor = Descriptor::of::<Steady>();
static WAITS: Descriptor = Descriptor::of::<Waits>();

/// A daemon and the text that it reads.
fn start(text: &str) -> (Arc<Daemon>, Arc<Mutex<String>>) {
    start_from(text, || {})
}

/// The same, which does something before it reads.
fn start_from(
    text: &str,
    before: impl Fn() + Send + Sync + 'static,
) -> (Arc<Daemon>, Arc<Mutex<String>>) {
    let text = Arc::new(Mutex::new(text.to_owned()));
    let source = {
        let text = Arc::clone(&text);
        move || {
            before();
            let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{}", lock(&text));
            config::load_text("config.toml", &text, &[], &[&HANGS, &PANICS, &STEADY, &WAITS], &[])
        }
    };
    let counters = Arc::new(HttpCounters::new());
    let listeners = Listeners::new(Arc::clone(&counters));
    let source = Source { file: None, read: Box::new(source) };
    match Daemon::start(listeners, source, counters, true, None) {
        Ok(daemon) => (daemon, text),
        Err(StartError::Configuration(mistakes) | StartError::System(mistakes)) => {
            panic!("{mistakes:?}")
        }
    }
}

fn on(names: &[&str]) -> String {
    names.iter().map(|name| format!("[collectors.{name}]\nenabled = true\n")).collect()
}

async fn reload(daemon: &Arc<Daemon>) -> ReloadOutcome {
    Daemon::reload(daemon, ReloadRequest::default()).await
}

fn applied(outcome: ReloadOutcome) -> ReloadReport {
    match outcome {
        ReloadOutcome::Applied(report) => *report,
        ReloadOutcome::Faulty(report) => panic!("faults: {:?}", report.faults),
        ReloadOutcome::Unavailable(reason) | ReloadOutcome::Unfinished(reason) => {
            panic!("{reason}")
        }
        _ => panic!("refused"),
    }
}

#[tokio::test]
async fn a_panic_while_the_old_is_closed_hides_nothing_of_the_reload() {
    let (daemon, text) = start(&on(&["panics", "steady"]));
    *lock(&text) = on(&["steady"]);
    let report = applied(reload(&daemon).await);
    assert_eq!(report.collectors.stopped, ["panics"]);
    assert_eq!(report.collectors.unchanged, ["steady"]);
    assert_eq!((report.generation, daemon.engine.names()), (2, vec!["steady"]));
}

#[tokio::test]
async fn what_means_the_same_and_is_written_elsewhere_has_its_new_place() {
    let (daemon, text) = start(&on(&["steady"]));
    let before = daemon.applied();
    let line = |applied: &Applied| {
        let mut table = &applied.plan.written;
        for key in ["collectors", "steady"] {
            let Node::Table(inner) = &table.entries[key].node else { panic!("a table") };
            table = inner;
        }
        match &table.entries["enabled"].origin {
            Origin::File { line, .. } => *line,
            origin => panic!("{origin}"),
        }
    };
    *lock(&text) = format!("# It is lower now.\n{}", on(&["steady"]));
    assert_eq!(applied(reload(&daemon).await).generation, 1);
    let after = daemon.applied();
    assert_eq!((after.generation, after.since), (1, before.since));
    assert_eq!(line(&after), line(&before) + 1);
}

#[tokio::test]
async fn a_swap_that_hangs_is_reported_as_far_as_it_is_known() {
    let (daemon, text) = start(&on(&["hangs", "steady"]));
    *lock(&text) = on(&["steady"]);
    let timeouts = Timeouts { stage: Duration::from_secs(2), swap: Duration::from_millis(10) };
    let outcome = daemon.reload_within(ReloadRequest::default(), timeouts).await;
    let ReloadOutcome::Unfinished(reason) = outcome else { panic!("it hangs") };
    assert!(reason.contains("collectors before are being closed"), "{reason}");
    // What is known is true.
    assert_eq!((daemon.applied().generation, daemon.engine.names()), (2, vec!["steady"]));
    assert!(!daemon.reload_status().last_succeeded());

    let again = reload(&daemon).await;
    let ReloadOutcome::Unavailable(reason) = again else { panic!("the thread hangs") };
    assert!(reason.contains("has not ended"), "{reason}");

    // Its end is noted when it comes, which does not make the later attempt a success.
    let before = daemon.reload_status().last_success;
    drop(lock(&RELEASE).take());
    let limit = Instant::now() + LONG;
    while daemon.reload_status().last_success == before {
        assert!(Instant::now() < limit, "the end of the reload is noted");
        tokio::task::yield_now().await;
    }
    assert!(!daemon.reload_status().last_succeeded());
    loop {
        match reload(&daemon).await {
            ReloadOutcome::Unavailable(_) => tokio::task::yield_now().await,
            outcome => break assert_eq!(applied(outcome).collectors.unchanged, ["steady"]),
        }
    }
    assert!(daemon.reload_status().last_succeeded());
}

#[tokio::test]
async fn a_first_run_that_does_not_end_is_reported_with_a_reason() {
    let (daemon, text) = start(&on(&["steady"]));
    // Its first run hangs, and then hinders that of its successor.
    for _ in 0..2 {
        *lock(&text) = on(&["steady"]);
        applied(reload(&daemon).await);
        *lock(&text) = on(&["steady", "waits"]);
        let report = applied(reload(&daemon).await);
        let [("waits", reason)] = &report.degraded[..] else { panic!("{:?}", report.degraded) };
        assert!(reason.starts_with("waiting: a run that began "), "{reason}");
    }
    GATE.open();
}

#[tokio::test]
async fn a_reload_that_meets_the_end_of_the_daemon_touches_nothing() {
    let (arrive, arrived) = channel();
    let (release, released) = channel::<()>();
    let (arrive, released) = (Mutex::new(arrive), Mutex::new(Some(released)));
    let is_started = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (daemon, text) = start_from(&on(&["steady"]), {
        let is_started = Arc::clone(&is_started);
        move || {
            if is_started.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = lock(&arrive).send(());
                let released = lock(&released).take();
                released.map(|released| released.recv());
            }
        }
    });
    is_started.store(true, std::sync::atomic::Ordering::Relaxed);
    *lock(&text) = on(&[]);
    let meets = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { reload(&daemon).await }
    });
    while arrived.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    let waits = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { daemon.reload_in_turn().await }
    });
    // The first one is polled first.
    tokio::join!(daemon.end_reloads(LONG), async { drop(release) });
    for outcome in [meets.await, waits.await] {
        let ReloadOutcome::Unavailable(reason) = outcome.expect("it ends") else {
            panic!("it was refused")
        };
        assert_eq!(reason, "the daemon is stopping");
    }
    assert_eq!((daemon.applied().generation, daemon.engine.names()), (1, vec!["steady"]));
}

#[tokio::test]
async fn a_reload_whose_listeners_have_stopped_meanwhile_brings_none_back() {
    let (daemon, text) = start(&on(&["steady"]));
    *lock(&text) = on(&[]);
    // As where the swap of listeners hangs for longer than the stop waits for it.
    daemon.listeners.stop(Instant::now() + LONG).await;
    let ReloadOutcome::Unavailable(reason) = reload(&daemon).await else {
        panic!("it was made or refused")
    };
    assert_eq!(reason, "the daemon is stopping");
    assert!(daemon.listeners.bound().is_empty());
    assert_eq!((daemon.applied().generation, daemon.engine.names()), (1, vec!["steady"]));
}

#[test]
fn a_closed_reload_enters_no_further_step() {
    let progress = Progress::new();
    assert_eq!(progress.enter(Step::Listeners), Ok(()));
    assert_eq!(progress.abandon(), Err(Step::Listeners));
    drop(Ended(&progress));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(progress.close());
    assert_eq!(progress.enter(Step::Outputs), Err(Step::Listeners));
    let abandoned = Progress::new();
    assert_eq!(abandoned.abandon(), Ok(()));
    assert_eq!(abandoned.enter(Step::Listeners), Err(Step::Staging));
    // It hangs, so its end would be waited for in vain.
    runtime.block_on(abandoned.close());
}
