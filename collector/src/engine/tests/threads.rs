//! The threads of the engine: what may end one, what must not, and which are counted as hung.

use super::*;
use vitald_core::host::StuckThread;

/// An engine, and a count of hung threads at which one more reaches the limit.
fn engine_near_the_limit() -> (Engine, &'static StuckThreads, Vec<StuckThread>) {
    let stuck: &StuckThreads = Box::leak(Box::new(StuckThreads::new()));
    let hung = (1..StuckThreads::LIMIT).map(|_| stuck.enter()).collect();
    (Engine::with_occupancies(host(), Arc::new(Occupancies::new(stuck))), stuck, hung)
}

#[test]
fn a_slow_collector_is_not_a_hung_one() {
    let ((slow, gate), after) = (gated(0, false), counting(1));
    let lane = make(2, 0, true, |_| Ok(()));
    let (engine, stuck, hung) = engine_near_the_limit();
    swap(&engine, &[&slow, &after, &lane]);
    let engine = Arc::new(engine);
    let all = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || scrape(&engine, LONG)
    });
    // The thread of the slow one is left behind now.
    until(|| engine.status()[1].counts.runs == 1);
    let selection = Selection::Only(vec!["c".to_owned()]);
    let page = engine.collect_blocking(Request { selection, ..request(LONG) });
    assert_eq!(page.parts[0].state, State::Running);
    assert_eq!(stuck.count(), hung.len());
    drop(gate);
    assert_eq!(all.join().expect("it ends")[0].1, State::Running);
}

#[test]
fn one_that_was_switched_off_while_it_hangs_is_counted() {
    for may_block in [false, true] {
        let ((a, gate), b) = (gated(0, may_block), counting(1));
        let stuck: &StuckThreads = Box::leak(Box::new(StuckThreads::new()));
        let engine = Engine::with_occupancies(host(), Arc::new(Occupancies::new(stuck)));
        swap_with(&engine, HASTY, &[&a, &b]);
        drop(engine.collect(request(LONG)));
        until(|| engine.status()[0].out.is_some());
        swap_with(&engine, HASTY, &[&b]);
        until(|| {
            scrape(&engine, LONG);
            stuck.count() == 1
        });
        drop(gate);
        until(|| stuck.count() == 0);
    }
}

/// Panics at each line of the log.
struct Broken;

impl tracing::Subscriber for Broken {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, _event: &tracing::Event<'_>) {
        panic!("as the test wants");
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

#[test]
fn a_panic_outside_of_the_collector_does_not_end_its_thread() {
    for may_block in [false, true] {
        let is_first = AtomicUsize::new(0);
        let a = make(0, 0, may_block, move |batch| {
            if is_first.fetch_add(1, Ordering::SeqCst) == 0 {
                // The failure is logged after the run, on the thread of the run.
                std::mem::forget(tracing::subscriber::set_default(Broken));
                return Err(Malformed::new(3, "a number").in_file("proc/x"));
            }
            batch.value(&RUNS, 1);
            Err(Malformed::new(3, "a number").in_file("proc/x"))
        });
        let engine = engine(&[&a]);
        assert_eq!(scrape(&engine, LONG), [("a", State::Failing, None)]);
        let began = Instant::now();
        assert_eq!(scrape(&engine, LONG), [("a", State::Failing, Some(1.0))]);
        assert!(began.elapsed() < LONG / 2);
        drop(engine);
        until(|| a.open.load(Ordering::SeqCst) == 0);
    }
}

/// Panics when it is woken.
struct BrokenWaker;

impl Wake for BrokenWaker {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants");
    }
}

#[test]
fn a_waker_that_panics_takes_no_result_from_others() {
    let (a, gate) = gated(0, true);
    let engine = Arc::new(engine(&[&a]));
    let mut broken = engine.collect(request(LONG));
    assert!(broken.poll_at(&Waker::from(Arc::new(BrokenWaker)), Instant::now()).is_err());
    let other = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || scrape(&engine, LONG)
    });
    drop(gate);
    assert_eq!(other.join().expect("it ends"), [("a", State::Running, Some(1.0))]);
    let began = Instant::now();
    assert_eq!(scrape(&engine, LONG), [("a", State::Running, Some(1.0))]);
    assert!(began.elapsed() < LONG / 2);
}

struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_request_that_has_gone_is_not_kept_to_be_woken() {
    let (a, gate) = gated(0, true);
    let engine = engine(&[&a]);
    let kept = Arc::new(Silent);
    let waker = Waker::from(Arc::clone(&kept));
    let mut collecting = engine.collect(request(LONG));
    assert!(collecting.poll_at(&waker, Instant::now()).is_err());
    drop(waker);
    assert!(Arc::strong_count(&kept) > 1);
    drop(collecting);
    assert_eq!(Arc::strong_count(&kept), 1);
    drop(gate);
}

#[test]
fn a_collection_thread_that_cannot_be_replaced_goes_on() {
    let ((slow, gate), after) = (gated(0, false), counting(1));
    let engine = engine(&[&slow, &after]);
    let mut collecting = engine.collect(request(LONG));
    until(|| engine.status()[0].out.is_some());
    sync::refuse_threads(true);
    // It has been at its job for long.
    let later = Instant::now() + 2 * HAND_OVER_AFTER;
    assert!(collecting.poll_at(Waker::noop(), later).is_err());
    drop(gate);
    let states = block_on(collecting).parts.iter().map(|part| part.state).collect::<Vec<_>>();
    sync::refuse_threads(false);
    assert_eq!(states, [State::Running, State::Running]);
}

#[test]
fn a_clock_that_had_no_thread_gets_one_later() {
    let mut a = counting(0);
    a.plan.interval = Some(Duration::from_millis(20));
    let engine = new_engine();
    sync::refuse_threads(true);
    swap(&engine, &[&a]);
    sync::refuse_threads(false);
    scrape(&engine, LONG);
    until(|| engine.status()[0].counts.runs > 5);
}
