//! Faults that really happen, in collectors made for the purpose.

mod containment;
mod deadlines;
mod devices;
#[cfg(feature = "model-check")]
mod model;
mod served;
mod threads;

use super::*;
use std::any::Any;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use vitald_core::batch::Batch;
use vitald_core::collector::{Descriptor, Prepared, Running};
use vitald_core::error::{Malformed, Result};
use vitald_core::families;
use vitald_core::family::FamilyInfo;
use vitald_core::host::Roots;
use vitald_core::snapshot::State;
use vitald_core::testing::descriptor;

families! {
    /// Runs.
    RUNS: gauge = "t_runs";
    /// Half of it.
    HALF: gauge = "t_half";
}

const TABLE: &[FamilyInfo] = FAMILIES;

type Script = dyn Fn(&mut Batch) -> Result<()> + Send + Sync;

struct Prepare {
    script: Arc<Script>,
    settings: u32,
    may_block: bool,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

struct Open {
    script: Arc<Script>,
    open: Arc<AtomicUsize>,
}

impl Prepared for Prepare {
    fn same(&self, other: &dyn Prepared) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.settings == self.settings)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn open(&self, _host: &Host) -> Result<Box<dyn Running>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Open { script: Arc::clone(&self.script), open: Arc::clone(&self.open) }))
    }

    fn may_block(&self) -> bool {
        self.may_block
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Running for Open {
    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        (self.script)(batch)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

static NAMES: [Descriptor; 8] = [
    descriptor("a", TABLE, false),
    descriptor("b", TABLE, false),
    descriptor("c", TABLE, false),
    descriptor("d", TABLE, false),
    descriptor("e", TABLE, false),
    descriptor("f", TABLE, false),
    descriptor("g", TABLE, false),
    descriptor("h", TABLE, false),
];

#[derive(Clone)]
pub(crate) struct Maker {
    plan: CollectorPlan,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

fn make(
    name: usize,
    settings: u32,
    may_block: bool,
    script: impl Fn(&mut Batch) -> Result<()> + Send + Sync + 'static,
) -> Maker {
    let (opened, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let prepare = Prepare {
        script: Arc::new(script),
        settings,
        may_block,
        opened: Arc::clone(&opened),
        open: Arc::clone(&open),
    };
    let plan = CollectorPlan {
        descriptor: &NAMES[name],
        prepared: Arc::new(prepare),
        enabled: true,
        interval: None,
        max_series: 0,
    };
    Maker { plan, opened, open }
}

/// A collector that does this at each run, and succeeds.
pub(crate) fn made(name: usize, may_block: bool, work: impl Fn() + Send + Sync + 'static) -> Maker {
    make(name, 0, may_block, move |batch| {
        work();
        batch.value(&RUNS, 1);
        Ok(())
    })
}

impl Maker {
    /// The same on a thread with a descriptor table of its own.
    pub(crate) fn with_own_descriptors(mut self) -> Maker {
        let descriptor = Descriptor { own_descriptors: true, ..*self.plan.descriptor };
        self.plan.descriptor = Box::leak(Box::new(descriptor));
        self
    }
}

/// An engine with these collectors that shares nothing with those of other tests.
pub(crate) fn engine_served_by(server: Arc<dyn Server>, makers: &[&Maker]) -> Engine {
    let stuck = Box::leak(Box::new(StuckThreads::new()));
    let engine = Engine::with(host(), Arc::new(Occupancies::new(stuck)), Some(server));
    let engine = engine.expect("it has its thread");
    swap(&engine, makers);
    engine
}

/// A collector that counts its runs and always succeeds.
pub(crate) fn counting(name: usize) -> Maker {
    let runs = AtomicUsize::new(0);
    make(name, 0, false, move |batch| {
        batch.value(&RUNS, runs.fetch_add(1, Ordering::SeqCst) + 1);
        Ok(())
    })
}

/// A collector that does not return before its gate is opened.
pub(crate) fn gated(name: usize, may_block: bool) -> (Maker, Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate: Mutex<Receiver<()>> = Mutex::new(gate);
    let maker = make(name, 0, may_block, move |batch| {
        // A closed channel opens the gate for good.
        let _ = lock(&gate).recv();
        batch.value(&RUNS, 1);
        Ok(())
    });
    (maker, open)
}

const FRESH: Limits = Limits { max_age: Duration::ZERO, timeout: LONG };
/// A run is stuck soon.
const HASTY: Limits = Limits { timeout: SHORT, ..FRESH };

fn host() -> Host {
    Host::new(Roots::default())
}

fn swap(engine: &Engine, makers: &[&Maker]) -> Changes {
    swap_with(engine, FRESH, makers)
}

fn swap_with(engine: &Engine, limits: Limits, makers: &[&Maker]) -> Changes {
    let plans: Vec<CollectorPlan> = makers.iter().map(|maker| maker.plan.clone()).collect();
    let staged = engine.stage(&plans, &host(), limits).expect("it opens");
    engine.swap(staged)
}

/// An engine that shares nothing with those of other tests.
fn new_engine() -> Engine {
    engine_that_counts(Box::leak(Box::new(StuckThreads::new())))
}

/// The same with a count of threads that hang.
fn engine_that_counts(stuck: &'static StuckThreads) -> Engine {
    if served::is_served() {
        return served::served_engine(stuck).0;
    }
    Engine::with_occupancies(host(), Arc::new(Occupancies::new(stuck))).expect("it has its thread")
}

fn engine(makers: &[&Maker]) -> Engine {
    let engine = new_engine();
    swap(&engine, makers);
    engine
}

fn request(limit: Duration) -> Request {
    let arrived = Instant::now();
    Request { arrived, deadline: arrived + limit, selection: Selection::All }
}

fn scrape(engine: &Engine, limit: Duration) -> Vec<(&'static str, State, Option<f64>)> {
    let snapshot = engine.collect_blocking(request(limit));
    snapshot
        .parts
        .iter()
        .map(|part| {
            let value = part.run.as_ref().and_then(|run| run.values().first().copied());
            (part.descriptor.name, part.state, value)
        })
        .collect()
}

/// A run that has come back.
fn ran(run: Arc<vitald_core::run::Run>, outcome: job::Outcome, began: Instant) -> job::Ran {
    job::Ran { run, outcome, began, took: Duration::ZERO, was_stuck: false }
}

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const SHORT: Duration = Duration::from_millis(200);

/// Waits for something that another thread will bring about.
pub(crate) fn until(mut what: impl FnMut() -> bool) {
    let limit = Instant::now() + LONG;
    while !what() {
        assert!(Instant::now() < limit, "it never came to be");
        std::thread::yield_now();
    }
}

/// Calls a function at each line of the log.
struct Listener<F>(F);

impl<F: Fn() + Send + Sync + 'static> tracing::Subscriber for Listener<F> {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, _event: &tracing::Event<'_>) {
        (self.0)();
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

#[test]
fn every_request_gets_a_read_of_its_own_time() {
    let a = counting(0);
    let engine = engine(&[&a]);
    assert_eq!(scrape(&engine, LONG), [("a", State::Running, Some(1.0))]);
    assert_eq!(scrape(&engine, LONG), [("a", State::Running, Some(2.0))]);
}

/// A run that is made for such a request serves the next one of its kind, and takes nothing that is as old.
#[test]
fn a_request_may_say_how_old_a_result_may_be() {
    let fresh_from = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&fresh_from);
    let a = make(0, 0, false, move |batch| {
        *seen.lock().unwrap() = Some(batch.fresh_from());
        Ok(())
    });
    let engine = engine(&[&a]);
    let number = |max_age| {
        let collection = block_on(engine.collect_within(request(LONG), max_age));
        collection.parts[0].run_number
    };
    let start = Instant::now();
    assert_eq!((number(LONG), number(LONG), number(Duration::ZERO)), (1, 1, 2));
    assert!(fresh_from.lock().unwrap().is_some_and(|from| from >= start));
    // Also one that had to be quick.
    block_on(engine.collect(request(SHORT)));
    assert_eq!((number(LONG), number(LONG)), (3, 3));
}

#[test]
fn requests_of_one_moment_share_a_run() {
    let a = counting(0);
    let engine = new_engine();
    let limits = Limits { max_age: LONG, ..FRESH };
    let staged = engine.stage(std::slice::from_ref(&a.plan), &host(), limits).expect("it opens");
    engine.swap(staged);
    for _ in 0..3 {
        assert_eq!(scrape(&engine, LONG), [("a", State::Running, Some(1.0))]);
    }
}

#[test]
fn a_request_that_came_during_a_run_gets_the_next_one() {
    let (a, gate) = gated(0, false);
    let engine = Arc::new(engine(&[&a]));
    let first = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || scrape(&engine, LONG)
    });
    until(|| engine.status()[0].out.is_some());
    let second = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || scrape(&engine, LONG)
    });
    gate.send(()).expect("it waits");
    assert_eq!(first.join().expect("it ends")[0].1, State::Running);
    // The second asked after the first run began: it has to wait for a run of its own.
    assert!(!second.is_finished());
    gate.send(()).expect("it waits again");
    assert_eq!(second.join().expect("it ends")[0].1, State::Running);
    assert_eq!(engine.status()[0].counts.runs, 2);
}

#[test]
fn one_that_hangs_costs_its_own_samples_only() {
    for may_block in [false, true] {
        let (b, gate) = gated(1, may_block);
        let (a, c) = (counting(0), counting(2));
        let engine = new_engine();
        swap_with(&engine, HASTY, &[&a, &b, &c]);
        let began = Instant::now();
        let page = scrape(&engine, SHORT);
        assert!(began.elapsed() >= SHORT);
        assert_eq!(
            page,
            [
                ("a", State::Running, Some(1.0)),
                ("b", State::TimedOut, None),
                ("c", State::Running, Some(1.0))
            ]
        );
        // It is known now and not waited for: this ends although the limit is a minute.
        let began = Instant::now();
        for run in 2..5 {
            let page = scrape(&engine, LONG);
            assert_eq!(page[1], ("b", State::TimedOut, None));
            assert_eq!(page[2], ("c", State::Running, Some(f64::from(run))));
        }
        assert!(began.elapsed() < LONG / 2);
        assert_eq!(engine.status()[1].counts.timeouts, 1, "it is one run");
        drop(gate);
        until(|| engine.status()[1].out.is_none());
        assert_eq!(scrape(&engine, LONG)[1], ("b", State::Running, Some(1.0)));
    }
}

/// Five that take two seconds each so end after two seconds and four times [`HAND_OVER_AFTER`].
#[test]
fn five_that_take_long_run_beside_each_other() {
    let all_run = Arc::new(Barrier::new(5));
    let slow = |name| {
        let all_run = Arc::clone(&all_run);
        make(name, 0, false, move |batch| {
            all_run.wait();
            batch.value(&RUNS, 1);
            Ok(())
        })
    };
    let slow: Vec<Maker> = (0..5).map(slow).collect();
    let quick = counting(5);
    let mut all: Vec<&Maker> = slow.iter().collect();
    all.push(&quick);
    let engine = engine(&all);
    let page = scrape(&engine, LONG);
    assert!(page.iter().all(|(_, state, value)| *state == State::Running && *value == Some(1.0)));
}

#[test]
fn a_panic_costs_its_samples_and_a_while() {
    let runs = AtomicUsize::new(0);
    let a = make(0, 0, false, move |batch| {
        batch.value(&RUNS, 1);
        assert!(runs.fetch_add(1, Ordering::SeqCst) > 0, "the first run panics");
        Ok(())
    });
    let b = counting(1);
    let engine = engine(&[&a, &b]);
    assert_eq!(scrape(&engine, LONG)[0], ("a", State::Panicked, None));
    assert_eq!(a.open.load(Ordering::SeqCst), 0, "the broken one is dropped");
    // Within the back-off it is not tried.
    assert_eq!(scrape(&engine, LONG)[0], ("a", State::Panicked, None));
    assert_eq!(a.opened.load(Ordering::SeqCst), 1);
    assert_eq!(scrape(&engine, LONG)[1], ("b", State::Running, Some(3.0)));
    until(|| scrape(&engine, LONG)[0] == ("a", State::Running, Some(1.0)));
    assert_eq!(a.opened.load(Ordering::SeqCst), 2);
    assert_eq!(engine.status()[0].counts.panics, 1);
}

#[test]
fn an_error_keeps_what_came_before_it() {
    let a = make(0, 0, false, |batch| {
        batch.value(&HALF, 0.5);
        Err(Malformed::new(3, "a number").in_file("proc/x"))
    });
    let b = make(1, 0, false, |_| Err(Error::absent("proc/y")));
    let engine = engine(&[&a, &b]);
    assert_eq!(
        scrape(&engine, LONG),
        [("a", State::Failing, Some(0.5)), ("b", State::Absent, None)]
    );
    let status = engine.status();
    assert_eq!(status[0].error.as_deref(), Some("proc/x: byte 3: expected a number"));
    assert_eq!((status[0].counts.failures, status[1].counts.failures), (1, 0));
}

#[test]
fn an_unchanged_collector_is_not_touched() {
    let (a, b, c) = (counting(0), counting(1), counting(2));
    let engine = engine(&[&a, &b]);
    scrape(&engine, LONG);
    let changed = make(1, 1, false, |batch| {
        batch.value(&RUNS, 100);
        Ok(())
    });
    let changes = swap(&engine, &[&a, &changed, &c]);
    assert_eq!(
        changes,
        Changes { started: vec!["c"], stopped: vec![], changed: vec!["b"], unchanged: vec!["a"] }
    );
    assert_eq!(
        scrape(&engine, LONG),
        [
            ("a", State::Running, Some(2.0)),
            ("b", State::Running, Some(100.0)),
            ("c", State::Running, Some(1.0))
        ]
    );
    assert_eq!(b.open.load(Ordering::SeqCst), 0, "the one before is closed");
    swap(&engine, &[]);
    until(|| [&a, &changed, &c].iter().all(|maker| maker.open.load(Ordering::SeqCst) == 0));
    assert!(scrape(&engine, LONG).is_empty());
}

#[test]
fn a_successor_waits_for_a_stuck_one() {
    let (a, gate) = gated(0, false);
    let engine = new_engine();
    swap_with(&engine, HASTY, &[&a]);
    assert_eq!(scrape(&engine, SHORT)[0].1, State::TimedOut);
    let successor = make(0, 1, false, |batch| {
        batch.value(&RUNS, 7);
        Ok(())
    });
    swap_with(&engine, HASTY, &[&successor]);
    assert_eq!(scrape(&engine, LONG), [("a", State::TimedOut, None)]);
    drop(gate);
    until(|| scrape(&engine, LONG) == [("a", State::Running, Some(7.0))]);
    until(|| a.open.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_filtered_request_runs_its_collectors_only() {
    let (a, b) = (counting(0), counting(1));
    let engine = engine(&[&a, &b]);
    let only = Selection::Only(vec!["b".to_owned()]);
    let snapshot = engine.collect_blocking(Request { selection: only, ..request(LONG) });
    assert_eq!(snapshot.parts.len(), 1);
    let except = Selection::Except(vec!["b".to_owned()]);
    let snapshot = engine.collect_blocking(Request { selection: except, ..request(LONG) });
    assert_eq!(snapshot.parts.len(), 1);
    let runs: Vec<u64> = engine.status().iter().map(|status| status.counts.runs).collect();
    assert_eq!(runs, [1, 1]);
}

#[test]
fn an_interval_refreshes_in_the_background() {
    let mut a = counting(0);
    a.plan.interval = Some(Duration::from_millis(20));
    let engine = new_engine();
    let staged = engine.stage(std::slice::from_ref(&a.plan), &host(), FRESH).expect("it opens");
    engine.warm(&staged, Instant::now() + LONG);
    assert!(staged.changes.started == ["a"]);
    engine.swap(staged);
    until(|| engine.status()[0].counts.runs > 5);
    let status = &engine.status()[0];
    assert!(status.interval.is_some());
    assert_eq!(scrape(&engine, LONG)[0].1, State::Running);
}

#[test]
fn max_series_cuts_and_counts() {
    let mut a = make(0, 0, false, |batch| {
        batch.value(&RUNS, 1);
        batch.value(&HALF, 1);
        Ok(())
    });
    a.plan.max_series = 1;
    let engine = engine(&[&a]);
    scrape(&engine, LONG);
    assert_eq!(engine.status()[0].samples, 1);
    assert_eq!(engine.status()[0].counts.over_limit, 1);
}

/// Runs a collector once for each step, which says things of its batch, and then fails if it is to;
/// gives what is logged after each.
fn logged<const N: usize>(steps: [(fn(&mut Batch), bool); N]) -> [String; N] {
    use notice::What;
    let plan = counting(0).plan;
    let (counters, mut results) = (status::Counters::default(), results::Results::new(&plan));
    steps.map(|(say, fails)| {
        let mut batch = vitald_core::run::Run::new(TABLE);
        batch.begin(None, 0);
        batch.batch().value(&RUNS, 1);
        say(batch.batch());
        batch.seal();
        let failure = || Err(Malformed::new(0, "a number").in_file("/c"));
        let outcome = job::Outcome::Returned(if fails { failure() } else { Ok(()) });
        let ran = ran(Arc::new(batch), outcome, Instant::now());
        let notices = results.keep(&plan, &counters, ran, Instant::now());
        let words = notices.map(|notice| match notice.what {
            What::Degraded(reason) => reason.to_owned(),
            What::Unread(fault) => fault.to_string(),
            What::Complete => "complete".to_owned(),
            What::Failed(_) => "failed".to_owned(),
            What::WorksAgain => "works again".to_owned(),
            _ => "something else".to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    })
}

#[test]
fn what_a_collector_leaves_out_is_logged_once() {
    let steps: [(fn(&mut Batch), bool); 5] = [
        (|batch| batch.degraded("hidepid"), false),
        (|batch| batch.degraded("hidepid"), false),
        (|batch| batch.degraded("max_series"), false),
        (|_| {}, false),
        (|_| {}, false),
    ];
    assert_eq!(logged(steps), ["hidepid", "", "max_series", "complete", ""]);
}

#[test]
fn what_a_collector_cannot_read_is_logged_once_for_each_source() {
    fn malformed(batch: &mut Batch, at: usize) {
        assert_eq!(batch.tolerate::<()>(Err(Malformed::new(at, "a number"))), None);
    }
    fn two(batch: &mut Batch) {
        batch.fault("/a", "not gone");
        batch.fault("/b", "gone");
        batch.degraded("hidepid");
    }
    let steps: [(fn(&mut Batch), bool); 10] = [
        (|batch| malformed(batch, 7), false),
        (|batch| malformed(batch, 8), false),
        (|batch| batch.fault("/a", "gone"), false),
        (two, false),
        (two, false),
        (|batch| batch.fault("/b", "gone"), false),
        (|batch| batch.fault("/b", "gone"), true),
        (|batch| batch.fault("/b", "gone"), false),
        (|_| {}, false),
        (|_| {}, false),
    ];
    let expected = [
        "byte 7: expected a number",
        "",
        "/a: gone",
        "hidepid, /a: not gone (and /b)",
        "",
        "/b: gone",
        "failed",
        "works again, /b: gone",
        "complete",
        "",
    ];
    assert_eq!(logged(steps), expected);
}

#[test]
fn a_run_that_could_not_read_a_part_is_degraded() {
    let plan = counting(0).plan;
    let (counters, mut results) = (status::Counters::default(), results::Results::new(&plan));
    let mut state_after = |say: fn(&mut Batch)| {
        let mut run = vitald_core::run::Run::new(TABLE);
        run.begin(None, 0);
        run.batch().value(&RUNS, 1);
        say(run.batch());
        run.seal();
        let ran = ran(Arc::new(run), job::Outcome::Returned(Ok(())), Instant::now());
        results.keep(&plan, &counters, ran, Instant::now()).for_each(drop);
        let counts = counters.counts();
        (results.state(), results.degraded(None), counts.faults, counts.malformed_lines)
    };
    assert_eq!(
        state_after(|batch| batch.fault("/a", "gone")),
        (State::Degraded, Some("fault"), 1, 0)
    );
    assert_eq!(state_after(|_| {}), (State::Running, None, 1, 0));
    assert_eq!(
        state_after(|batch| batch.degraded("hidepid")),
        (State::Degraded, Some("hidepid"), 1, 0)
    );
    let malformed = |batch: &mut Batch| {
        let _ = batch.tolerate::<()>(Err(Malformed::new(0, "a number")));
    };
    assert_eq!(state_after(malformed), (State::Degraded, Some("fault"), 1, 1));
    assert_eq!(counters.counts().failures, 0);
}

#[test]
fn nothing_is_left_when_the_engine_goes() {
    let (a, (b, gate)) = (counting(0), gated(1, true));
    let engine = engine(&[&a, &b]);
    scrape(&engine, SHORT);
    assert_eq!(a.open.load(Ordering::SeqCst), 1);
    assert_eq!(b.open.load(Ordering::SeqCst), 1);
    drop(engine);
    until(|| a.open.load(Ordering::SeqCst) == 0);
    drop(gate);
    until(|| b.open.load(Ordering::SeqCst) == 0);
}
