//! How long a run may take, and that it follows from no request that is more hurried than another.

use super::*;
use crate::engine::job::Outcome;
use crate::engine::results::{Results, Want};
use crate::engine::slot::Slot;

/// Much less than [`LONG`], and enough for a run on a busy machine.
const HURRIED: Duration = Duration::from_secs(10);

/// A collector that says how many seconds it has.
fn timed(name: usize) -> Maker {
    make(name, 0, false, |batch| {
        batch.value(&RUNS, batch.time_left().as_secs_f64());
        Ok(())
    })
}

fn staged(engine: &Engine, makers: &[&Maker]) -> StagedCollectors {
    let plans: Vec<CollectorPlan> = makers.iter().map(|maker| maker.plan.clone()).collect();
    engine.stage(&plans, &host(), FRESH).expect("it opens")
}

fn runs(slot: &Slot) -> u64 {
    slot.status(Instant::now(), false).counts.runs
}

fn value_of(collection: &Collection, position: usize) -> f64 {
    collection.parts[position].run.as_ref().expect("it has samples").values()[0]
}

#[test]
fn a_run_that_comes_too_late_for_its_request_has_an_end_too() {
    for may_block in [false, true] {
        let (said, times) = mpsc::channel::<Duration>();
        let (gate, opened) = mpsc::channel::<()>();
        let (said, opened) = (Mutex::new(said), Mutex::new(opened));
        let a = make(0, 0, may_block, move |batch| {
            let _ = lock(&said).send(batch.time_left());
            let _ = lock(&opened).recv();
            Ok(())
        });
        let engine = engine(&[&a]);
        drop(engine.collect(request(LONG)));
        assert!(times.recv().expect("it runs") <= LONG);
        let late = request(Duration::from_millis(1));
        let deadline = late.deadline;
        let _late = engine.collect(late);
        until(|| Instant::now() > deadline);
        gate.send(()).expect("it waits");
        assert!(times.recv().expect("it runs once more") <= LONG, "may block: {may_block}");
        drop(gate);
    }
}

#[test]
fn a_hurried_run_does_not_spoil_what_a_patient_request_will_take() {
    let (a, (b, gate)) = (timed(0), gated(1, true));
    let engine = engine(&[&a, &b]);
    let patient = engine.collect(request(LONG));
    until(|| engine.status()[0].counts.runs == 1);
    let selection = Selection::Only(vec!["a".to_owned()]);
    engine.collect_blocking(Request { selection, ..request(HURRIED) });
    assert_eq!(engine.status()[0].counts.runs, 2);
    drop(gate);
    assert!(value_of(&block_on(patient), 0) > HURRIED.as_secs_f64());
}

#[test]
fn what_is_served_for_some_intervals_is_not_hurried_by_one_request() {
    let mut a = timed(0);
    a.plan.interval = Some(Duration::from_secs(5));
    let engine = new_engine();
    // It is not swapped in, so that no clock asks beside the request.
    let set = Arc::new(staged(&engine, &[&a]).set);
    let hurried = block_on(Collecting::begin(&engine.queue, set, request(HURRIED), None));
    assert!(value_of(&hurried, 0) > HURRIED.as_secs_f64());
}

#[test]
fn a_result_is_as_old_as_what_its_run_took_from_others() {
    let (plan, counters) = (counting(0).plan, status::Counters::default());
    let mut results = Results::new(&plan);
    let start = Instant::now();
    let want = |arrived: Instant| Want {
        from: arrived,
        arrived: arrived + SHORT,
        by: Some(arrived + LONG),
        time: LONG - SHORT,
        timeout: LONG,
    };
    // It is queued for some seconds, in which another collector may have read what both need.
    results.ask(&plan, &want(start));
    let began = start + LONG / 10;
    let mut order = results.begin(&plan, began);
    let batch = Arc::get_mut(&mut order.run).expect("it is alone").batch();
    let fresh_from = batch.fresh_from();
    let ran = ran(order.run, Outcome::Returned(Ok(())), began);
    let _ = results.keep(&plan, &counters, ran, began);
    let later = want(began - SHORT / 2);
    assert!(fresh_from < later.from);
    assert!(!results.answers(&plan, &later));
}

/// The run before it ended then, and the collection thread reads no clock between the two.
#[test]
fn a_run_that_follows_another_begins_no_earlier_than_its_request_arrived() {
    let (plan, counters) = (counting(0).plan, status::Counters::default());
    let mut results = Results::new(&plan);
    let ended = Instant::now();
    let arrived = ended + SHORT;
    let want = Want { from: arrived, arrived, by: None, time: Duration::ZERO, timeout: LONG };
    results.ask(&plan, &want);
    let order = results.begin(&plan, ended);
    assert_eq!(order.began, arrived);
    let ran = ran(order.run, Outcome::Returned(Ok(())), order.began);
    let _ = results.keep(&plan, &counters, ran, arrived);
    assert!(results.answers(&plan, &want));
    assert_eq!(results.age(arrived), Some(Duration::ZERO));
}

#[test]
fn a_hung_collector_with_a_long_interval_holds_up_one_request() {
    let (mut a, gate) = gated(0, true);
    a.plan.interval = Some(LONG);
    let engine = new_engine();
    swap_with(&engine, HASTY, &[&a]);
    assert_eq!(scrape(&engine, SHORT), [("a", State::TimedOut, None)]);
    let began = Instant::now();
    assert_eq!(scrape(&engine, LONG), [("a", State::TimedOut, None)]);
    assert!(began.elapsed() < LONG / 2);
    assert_eq!(engine.status()[0].counts.timeouts, 0, "it has its interval");
    drop(gate);
}

#[test]
fn a_result_that_ages_while_a_request_waits_for_others_is_not_waited_for() {
    let (mut a, (b, gate)) = (counting(0), gated(1, true));
    a.plan.interval = Some(Duration::from_secs(1));
    let engine = new_engine();
    let staged = staged(&engine, &[&a, &b]);
    engine.warm(&staged, Instant::now() + LONG);
    let set = Arc::new(staged.set);
    let mut collecting = Collecting::begin(&engine.queue, Arc::clone(&set), request(LONG), None);
    let waker = Waker::noop();
    assert!(collecting.poll_at(waker, Instant::now()).is_err());
    drop(gate);
    until(|| runs(&set.slots[1]) == 1);
    // More than three intervals later.
    let later = Instant::now() + Duration::from_secs(10);
    assert_eq!(collecting.poll_at(waker, later), Ok(()));
}

#[test]
fn what_is_not_run_because_it_panicked_grows_older() {
    let (plan, counters) = (counting(0).plan, status::Counters::default());
    let mut results = Results::new(&plan);
    let start = Instant::now();
    let want = |arrived: Instant| Want {
        from: arrived,
        arrived,
        by: None,
        time: Duration::ZERO,
        timeout: LONG,
    };
    results.ask(&plan, &want(start));
    let order = results.begin(&plan, start);
    let _ = results.keep(&plan, &counters, ran(order.run, Outcome::Panicked, start), start);
    let later = start + SHORT;
    assert!(results.is_backing_off(later));
    results.settle(State::Panicked, later);
    let part = results.part(&plan, &want(later), later, std::time::SystemTime::now());
    assert_eq!((part.state, part.age), (State::Panicked, SHORT));
    assert_eq!(results.age(later), Some(SHORT));
}
