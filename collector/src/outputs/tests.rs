//! Outputs that hang, panic and end, and what a reload makes of them.

use super::thread::{Assignment, OutputThread, Shared};
use super::{OutputStatus, Outputs};
use crate::engine::Engine;
use crate::plan::OutputPlan;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use vitald_core::collector::Descriptor;
use vitald_core::host::{Host, Roots};
use vitald_core::output::{Context, Output, OutputDescriptor, OutputError};
use vitald_core::prelude::*;
use vitald_core::sealer::OwnFamilies;
use vitald_core::settings::{Origin, Table, Value};
use vitald_core::snapshot::{Collection, Snapshot};
use vitald_core::testing::descriptor;

const LONG: Duration = Duration::from_secs(60);

settings! {
    /// Which test it belongs to.
    world: String = "";
    /// What it does when it is given a snapshot: `count`, `hang`, `panic`, `end`. Or it does not open, with
    /// `refuse`, or panics when it is dropped, with `burst`.
    does: String = "count";
    /// What it holds alone.
    holds: Option<String> = UNSET;
}

/// What the outputs of one test have done.
#[derive(Default)]
struct World {
    events: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl World {
    fn of(name: &str) -> Arc<World> {
        static WORLDS: OnceLock<Mutex<HashMap<String, Arc<World>>>> = OnceLock::new();
        let mut worlds = lock(WORLDS.get_or_init(Mutex::default));
        Arc::clone(worlds.entry(name.to_owned()).or_default())
    }

    fn note(&self, event: String) {
        lock(&self.events).0.push(event);
        self.changed.notify_all();
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        let events = lock(&self.events);
        let (events, _) = self
            .changed
            .wait_timeout_while(events, LONG, |(events, _)| !is_so(events))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(is_so(&events.0), "waited in vain until {what}: {:?}", events.0);
    }

    fn wait_for_event(&self, event: &str) {
        self.wait_for(event, |events| events.iter().any(|seen| seen == event));
    }

    fn events(&self) -> Vec<String> {
        lock(&self.events).0.clone()
    }

    fn hang(&self) {
        let events = lock(&self.events);
        drop(self.changed.wait_while(events, |(_, released)| !*released));
    }

    fn release(&self) {
        lock(&self.events).1 = true;
        self.changed.notify_all();
    }
}

struct Probe {
    settings: Settings,
    world: Arc<World>,
    name: String,
}

impl Output for Probe {
    const NAME: &'static str = "probe";
    const SUMMARY: &'static str = "For tests";
    type Settings = Settings;

    fn resource(settings: &Settings) -> Option<String> {
        settings.holds.clone()
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, OutputError> {
        let world = World::of(&settings.world);
        if settings.does == "refuse" {
            return Err(std::io::Error::other("as the test wants").into());
        }
        world.note(format!("{} opens", context.name()));
        assert!(!context.identity().hostname.is_empty());
        Ok(Probe { settings, world, name: context.name().to_owned() })
    }

    fn send(&mut self, _snapshot: &Snapshot) -> Result<(), OutputError> {
        self.world.note(format!("{} {}s", self.name, self.settings.does));
        match &*self.settings.does {
            "hang" => self.world.hang(),
            "panic" => panic!("as the test wants"),
            "end" => return Err(OutputError::Closed),
            _ => {}
        }
        Ok(())
    }

    fn close(self, by: Instant) -> Result<(), OutputError> {
        assert!(by > Instant::now() - LONG);
        self.world.note(format!("{} closes", self.name));
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(self.settings.does != "burst", "as the test wants");
    }
}

static PROBE: OutputDescriptor = OutputDescriptor::of::<Probe>();

fn plan(world: &str, name: &str, does: &str, holds: Option<&str>) -> OutputPlan {
    let mut table = Table::default();
    let pairs = [("world", Some(world)), ("does", Some(does)), ("holds", holds)];
    for (key, text) in pairs {
        if let Some(text) = text {
            table.entries.insert(key.to_owned(), Value::new(text, Origin::Default));
        }
    }
    let prepared = (PROBE.prepare)(&table, &mut Mistakes::new()).expect("valid settings");
    OutputPlan {
        name: Arc::from(name),
        descriptor: &PROBE,
        prepared: Arc::from(prepared),
        enabled: true,
        interval: Duration::from_millis(1),
        collectors: Vec::new(),
    }
}

struct Site {
    outputs: Outputs,
    host: Host,
    world: Arc<World>,
}

impl Site {
    fn new(world: &str) -> Site {
        Site::with_own_families(world, None)
    }

    fn with_own_families(world: &str, own: Option<Arc<dyn OwnFamilies>>) -> Site {
        let host = Host::new(Roots::default());
        let engine = Arc::new(Engine::new(host.clone()).expect("it has its thread"));
        Site { outputs: Outputs::new(engine, own), host, world: World::of(world) }
    }

    fn reload(&self, plans: &[OutputPlan], grace: Duration) -> Vec<(Arc<str>, String)> {
        let staged = match self.outputs.stage(plans, &self.host, LONG) {
            Ok(staged) => staged,
            Err(refused) => panic!("{refused:?}"),
        };
        self.outputs.swap(staged, Instant::now() + grace)
    }

    fn status(&self, name: &str) -> OutputStatus {
        let all = self.outputs.status();
        all.into_iter().find(|status| &*status.name == name).expect("it is on")
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let limit = Instant::now() + LONG;
        while !is_so() {
            assert!(Instant::now() < limit, "waited in vain until {what}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.world.release();
        self.outputs.stop(Instant::now() + LONG);
    }
}

/// How many threads this process has for an output of this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let comm = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    let wanted = format!("output {name}");
    tasks.filter_map(comm).filter(|comm| [name, &*wanted].contains(&comm.trim())).count()
}

#[test]
fn what_an_output_holds_goes_to_another_name_in_one_reload() {
    let site = Site::new("goes over");
    let terminal = Some("terminal");
    let faults = site.reload(&[plan("goes over", "z", "count", terminal)], LONG);
    assert_eq!(faults.len(), 0, "{faults:?}");
    // The one that takes it comes first by name, and the one that had it stays on.
    let exchanged =
        [plan("goes over", "a", "count", terminal), plan("goes over", "z", "count", None)];
    let faults = site.reload(&exchanged, LONG);
    assert_eq!(faults.len(), 0, "{faults:?}");
    site.world.wait_for_event("a counts");
}

#[test]
fn an_output_that_hangs_holds_up_neither_status_nor_reload_and_is_one_thread() {
    let site = Site::new("hang");
    site.reload(&[plan("hang", "hanger", "hang", None)], LONG);
    site.world.wait_for_event("hanger hangs");
    let ten = Duration::from_millis(10);
    for round in 0..8 {
        // Changed, off, on again: nothing of it starts a second thread that hangs.
        let faults = match round % 4 {
            3 => site.reload(&[], ten),
            _ => site.reload(&[plan("hang", "hanger", "count", Some(&round.to_string()))], ten),
        };
        assert_eq!(faults.len(), 1, "{round}: {faults:?}");
        assert_eq!(threads("hanger"), 1, "{round}");
    }
    site.reload(&[plan("hang", "hanger", "count", Some("last"))], ten);
    let status = site.status("hanger");
    assert!(status.error.expect("it waits").contains("has not ended"));
    site.world.release();
    site.world.wait_for_event("hanger counts");
    site.until("its successor is well", || {
        let status = site.status("hanger");
        status.error.is_none() && !status.stuck && status.sent > 0
    });
    assert_eq!(threads("hanger"), 1);
}

#[test]
fn the_list_is_free_while_outputs_close() {
    let site = Arc::new(Site::new("free"));
    site.reload(&[plan("free", "slow", "hang", None)], LONG);
    site.world.wait_for_event("slow hangs");
    let reload = std::thread::spawn({
        let site = Arc::clone(&site);
        move || site.reload(&[], LONG)
    });
    // Asked for while the swap waits for the output, and answered.
    site.until("the swap waits for it", || {
        site.outputs.status().iter().any(|status| &*status.name == "slow")
    });
    site.world.release();
    assert!(reload.join().expect("it ends").is_empty());
    assert!(site.outputs.status().is_empty());
    assert!(site.world.events().contains(&"slow closes".to_owned()));
}

#[test]
fn what_ended_says_why_and_the_next_reload_starts_it() {
    let site = Site::new("end");
    let plans = [plan("end", "ender", "end", None), plan("end", "panicker", "panic", None)];
    site.reload(&plans, LONG);
    for (name, reason) in [("ender", "receiver has gone"), ("panicker", "panicked")] {
        site.until("it has ended", || site.status(name).ended);
        assert!(site.status(name).error.expect("a reason").contains(reason));
    }
    let Ok(staged) = site.outputs.stage(&plans, &site.host, LONG) else { panic!("it opens") };
    assert_eq!(staged.changes.started.len(), 2, "{:?}", staged.changes);
    site.outputs.swap(staged, Instant::now() + LONG);
    site.world.wait_for("both ran twice", |events| {
        ["ender ends", "panicker panics"]
            .iter()
            .all(|wanted| events.iter().filter(|event| event == wanted).count() == 2)
    });
}

/// The daemon's own families, where they cannot be written.
struct Broken;

static BROKEN: Descriptor = descriptor("broken", &[], false);

impl OwnFamilies for Broken {
    fn descriptor(&self) -> &'static Descriptor {
        &BROKEN
    }

    fn write(&self, _collection: &Collection, _batch: &mut Batch) {
        panic!("as the test wants");
    }

    fn sealed(&self, _snapshot: &Snapshot) {}
}

#[test]
fn a_panic_while_a_snapshot_is_sealed_ends_the_output_and_says_so() {
    let site = Site::with_own_families("seal", Some(Arc::new(Broken)));
    for round in 1..=2 {
        site.reload(&[plan("seal", "sealer", "count", None)], LONG);
        site.until("it has ended", || site.status("sealer").ended);
        assert!(site.status("sealer").error.expect("a reason").contains("panicked"));
        let opened = site.world.events().iter().filter(|event| *event == "sealer opens").count();
        assert_eq!(opened, round);
    }
    site.until("its thread has gone", || threads("sealer") == 0);
}

#[test]
fn an_output_that_panics_when_it_is_dropped_keeps_no_other_one_off() {
    let site = Site::new("burst");
    let counts = plan("burst", "steady", "count", None);
    let ten = Duration::from_millis(10);
    site.reload(&[plan("burst", "burster", "hang", None), counts.clone()], LONG);
    site.world.wait_for_event("burster hangs");
    // One that bursts waits for the one that hangs, and is then replaced without having run.
    site.reload(&[plan("burst", "burster", "burst", None), counts.clone()], ten);
    let mut changed = counts;
    changed.interval = Duration::from_millis(2);
    site.reload(&[plan("burst", "burster", "count", None), changed], ten);
    site.world.wait_for("it was opened anew", |events| {
        events.iter().filter(|event| *event == "steady opens").count() == 2
    });
}

#[test]
fn what_an_output_that_hangs_holds_goes_to_no_other_name() {
    let site = Site::new("holder");
    let ten = Duration::from_millis(10);
    let terminal = Some("terminal");
    site.reload(&[plan("holder", "keeper", "hang", terminal)], LONG);
    site.world.wait_for_event("keeper hangs");
    // Its successor does not need it, and another output does.
    let successor = plan("holder", "keeper", "count", None);
    site.reload(std::slice::from_ref(&successor), ten);
    let plans = [successor, plan("holder", "other", "count", terminal)];
    let faults = site.reload(&plans, ten);
    assert!(faults.iter().any(|(name, _)| &**name == "other"), "{faults:?}");
    assert!(site.status("other").ended);
    site.world.release();
    site.world.wait_for_event("keeper counts");
    assert!(!site.world.events().contains(&"other opens".to_owned()));
    assert_eq!(site.reload(&plans, LONG), []);
    site.world.wait_for_event("other counts");
}

#[test]
fn what_does_not_open_in_the_swap_is_reported() {
    let site = Site::new("refuse");
    site.reload(&[plan("refuse", "opener", "count", Some("terminal"))], LONG);
    site.world.wait_for_event("opener counts");
    // What it holds is free only in the swap, so it is opened there.
    let faults = site.reload(&[plan("refuse", "opener", "refuse", Some("terminal"))], LONG);
    assert!(
        matches!(&faults[..], [(_, fault)] if fault.contains("as the test wants")),
        "{faults:?}"
    );
    assert_eq!(site.reload(&[plan("refuse", "opener", "count", Some("terminal"))], LONG), []);
}

#[test]
fn another_host_makes_an_output_another_one() {
    let site = Site::new("elsewhere");
    let plans = [plan("elsewhere", "mover", "count", None)];
    site.reload(&plans, LONG);
    let changes = |roots: Roots| match site.outputs.stage(&plans, &Host::new(roots), LONG) {
        Ok(staged) => staged.changes.clone(),
        Err(refused) => panic!("{refused:?}"),
    };
    assert_eq!(changes(Roots::default()).unchanged.len(), 1);
    let elsewhere = Roots { rootfs: "/elsewhere".into(), ..Roots::default() };
    assert_eq!(changes(elsewhere).changed.len(), 1);
}

#[test]
fn a_later_stop_does_not_hide_that_an_output_is_stuck() {
    let site = Site::new("stuck");
    let engine = Arc::new(Engine::new(site.host.clone()).expect("it has its thread"));
    let shared = Arc::new(Shared { engine, own: None, timeout: AtomicU64::new(0) });
    let thread = OutputThread::new(Arc::from("sleeper"), shared);
    let plan = plan("stuck", "sleeper", "hang", None);
    let context = Context::new(site.host.clone(), None).named(&plan.name);
    let assignment = Assignment { plan, context, resource: None, output: None };
    thread.run(assignment).expect("a thread");
    site.world.wait_for_event("sleeper hangs");
    assert!(!thread.status().stuck);
    thread.stop(Instant::now());
    site.until("it is late", || thread.status().stuck);
    thread.stop(Instant::now() + LONG);
    assert!(thread.status().stuck);
    site.world.release();
    assert!(thread.wait_stopped(Instant::now() + LONG));
}

#[test]
fn what_is_held_alone_is_closed_before_it_is_opened_again() {
    let site = Site::new("alone");
    site.reload(&[plan("alone", "first", "count", Some("terminal"))], LONG);
    site.world.wait_for_event("first counts");
    // Another name for the same resource, then the same name with other settings.
    let second = plan("alone", "second", "count", Some("terminal"));
    assert!(site.reload(std::slice::from_ref(&second), LONG).is_empty());
    site.world.wait_for_event("second counts");
    let mut slower = second;
    slower.interval = Duration::from_millis(2);
    assert!(site.reload(&[slower], LONG).is_empty());
    site.world.wait_for("it is open again", |events| {
        events.iter().filter(|event| *event == "second opens").count() == 2
    });
    let order: Vec<String> =
        site.world.events().into_iter().filter(|event| !event.ends_with("counts")).collect();
    assert_eq!(
        order,
        ["first opens", "first closes", "second opens", "second closes", "second opens"]
    );
    assert!(site.status("second").sent > 0, "counters go on over a change");
}

#[test]
fn intervals_that_pass_during_a_send_are_missed_and_counted() {
    let site = Site::new("missed");
    site.reload(&[plan("missed", "late", "hang", None)], LONG);
    site.world.wait_for_event("late hangs");
    std::thread::sleep(Duration::from_millis(20));
    site.world.release();
    site.until("it has sent", || site.status("late").sent > 0);
    assert!(site.status("late").missed >= 10, "{:?}", site.status("late"));
}
