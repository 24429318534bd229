//! Reloads whose swap goes wrong: a collector before that does not end, or panics at its end.

use super::*;
use crate::config;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use vitald_core::collector::Descriptor;
use vitald_core::prelude::*;

families! {
    /// What the collectors give.
    VALUE: gauge = "test_value" [number];
}

macro_rules! collector_that_ends {
    ($type:ident, $name:literal, $end:expr) => {
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

collector_that_ends!(Panics, "panics", panic!("as the test wants"));
collector_that_ends!(Hangs, "hangs", {
    let _ = lock(&RELEASED).recv();
});
collector_that_ends!(Steady, "steady", {});

/// Ends the wait of a collector when its sender is dropped.
static RELEASED: LazyLock<Mutex<Receiver<()>>> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    *lock(&RELEASE) = Some(sender);
    Mutex::new(receiver)
});
static RELEASE: Mutex<Option<Sender<()>>> = Mutex::new(None);

static HANGS: Descriptor = Descriptor::of::<Hangs>();
static PANICS: Descriptor = Descriptor::of::<Panics>();
static STEADY: Descriptor = Descriptor::of::<Steady>();

/// A daemon and the text that it reads.
fn start(text: &str) -> (Arc<Daemon>, Arc<Mutex<String>>) {
    let text = Arc::new(Mutex::new(text.to_owned()));
    let source = {
        let text = Arc::clone(&text);
        move || {
            let text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{}", lock(&text));
            config::load_text("config.toml", &text, &[], &[&HANGS, &PANICS, &STEADY], &[])
        }
    };
    let counters = Arc::new(HttpCounters::new());
    let listeners = Listeners::new(Arc::clone(&counters));
    match Daemon::start(listeners, Arc::new(source), counters, true) {
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
async fn a_swap_that_hangs_is_reported_as_far_as_it_is_known() {
    let (daemon, text) = start(&on(&["hangs", "steady"]));
    *lock(&text) = on(&["steady"]);
    let timeouts = Timeouts { stage: Duration::from_secs(2), swap: Duration::from_millis(10) };
    let outcome = daemon.reload_within(ReloadRequest::default(), timeouts).await;
    let ReloadOutcome::Unfinished(reason) = outcome else { panic!("it hangs") };
    assert!(reason.contains("collectors before are being closed"), "{reason}");
    // What is known is true.
    assert_eq!((daemon.applied().generation, daemon.engine.names()), (2, vec!["steady"]));
    assert!(!daemon.reload_status().last_succeeded);

    let again = reload(&daemon).await;
    let ReloadOutcome::Unavailable(reason) = again else { panic!("the thread hangs") };
    assert!(reason.contains("has not ended"), "{reason}");

    drop(lock(&RELEASE).take());
    loop {
        match reload(&daemon).await {
            ReloadOutcome::Unavailable(_) => tokio::task::yield_now().await,
            outcome => break assert_eq!(applied(outcome).collectors.unchanged, ["steady"]),
        }
    }
    assert!(daemon.reload_status().last_succeeded);
}
