//! The threads of the engine: what may end one, what must not, and which are counted as hung.

use super::*;
use crate::engine::job::{Job, OpenCollector, Order, Owner, Ran, Work};
use crate::engine::lane::Lane;
use std::sync::atomic::AtomicBool;
use vitald_core::host::{StuckThread, spawn_apart};

/// An engine, and a count of hung threads at which one more reaches the limit.
fn engine_near_the_limit() -> (Engine, &'static StuckThreads, Vec<StuckThread>) {
    let stuck: &StuckThreads = Box::leak(Box::new(StuckThreads::new()));
    let hung = (1..StuckThreads::LIMIT).map(|_| stuck.enter()).collect();
    (engine_that_counts(stuck), stuck, hung)
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
        let engine = engine_that_counts(stuck);
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

#[test]
fn a_log_that_panics_does_not_end_a_thread() {
    for may_block in [false, true] {
        let is_first = AtomicUsize::new(0);
        let a = make(0, 0, may_block, move |batch| {
            if is_first.fetch_add(1, Ordering::SeqCst) == 0 {
                // The failure is logged after the run, on the thread of the run.
                std::mem::forget(tracing::subscriber::set_default(Listener(|| {
                    panic!("as the test wants")
                })));
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

/// Panics when a result is handed over, and counts.
struct PanicsAtTheEnd(AtomicUsize);

impl Owner for PanicsAtTheEnd {
    fn begin(&self, now: Instant) -> Order {
        let run = Arc::new(vitald_core::run::Run::new(TABLE));
        Order { began: now, run, limit: LONG }
    }

    fn ended(self: Arc<Self>, _ran: Ran, _now: Instant) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("as the test wants");
    }

    fn found_devices(self: Arc<Self>, _run: Arc<vitald_core::run::Run>, _now: Instant) {
        unreachable!("it is no probe")
    }
}

#[test]
fn a_panic_outside_of_the_collector_does_not_end_its_thread() {
    let plan = counting(0).plan;
    let open = plan.prepared.open(&host()).expect("it opens");
    let collector = OpenCollector::new(plan, host(), open);
    let stuck = Box::leak(Box::new(StuckThreads::new()));
    let occupancy = Occupancies::new(stuck).of("a");
    let owner = Arc::new(PanicsAtTheEnd(AtomicUsize::new(0)));
    let lane = Lane::new("a", false, None);
    let submit = |work| {
        let occupant = occupancy.enter(|| unreachable!("it is alone")).expect("it is alone");
        lane.submit(Job { collector: Arc::clone(&collector), occupant, work }).expect("it starts");
    };
    for runs in 1..3 {
        submit(Work::Run(Arc::clone(&owner) as Arc<dyn Owner>));
        until(|| owner.0.load(Ordering::SeqCst) == runs);
    }
    submit(Work::Close);
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

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_request_that_has_gone_is_not_kept_to_be_woken() {
    let (a, gate) = gated(0, true);
    let engine = engine(&[&a]);
    let kept = Arc::new(Woken(AtomicBool::new(false)));
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
    refuse_threads(true);
    // It has been at its job for long.
    let later = Instant::now() + 2 * HAND_OVER_AFTER;
    assert!(collecting.poll_at(Waker::noop(), later).is_err());
    drop(gate);
    let states = block_on(collecting).parts.iter().map(|part| part.state).collect::<Vec<_>>();
    refuse_threads(false);
    assert_eq!(states, [State::Running, State::Running]);
}

#[test]
fn a_thread_with_descriptors_of_its_own_starts_no_collection_thread() {
    let ((hung, gate), ran_on) = (gated(1, false), Arc::new(Mutex::new(Vec::new())));
    let [before, after] = [0, 2].map(|name| {
        let ran_on = Arc::clone(&ran_on);
        made(name, false, move || lock(&ran_on).push(std::thread::current().id()))
    });
    let occupancies = Occupancies::new(Box::leak(Box::new(StuckThreads::new())));
    let engine =
        Engine::with_occupancies(host(), Arc::new(occupancies)).expect("it has its thread");
    swap(&engine, &[&before, &hung, &after]);
    let collecting = engine.collect(request(LONG));
    until(|| engine.status()[1].out.is_some());
    let (queue, (send, looked)) = (Arc::clone(&engine.queue), mpsc::channel());
    let look = move || {
        // The collection thread has been at its job for long.
        queue.lock().release(Instant::now() + 2 * HAND_OVER_AFTER);
        send.send(()).expect("the test waits");
    };
    spawn_apart("apart".to_owned(), None, look).expect("a thread");
    looked.recv().expect("it has looked");
    drop(gate);
    // No request looks after the collection thread meanwhile.
    until(|| engine.status()[2].counts.runs == 1);
    assert_eq!(block_on(collecting).parts.len(), 3);
    let ran_on = lock(&ran_on);
    assert_eq!(ran_on[0], ran_on[1], "the collection thread was left behind");
}

#[test]
fn lanes_cannot_take_the_last_thread_from_the_queue() {
    let (a, b) = (counting(0), make(1, 0, true, |_| Ok(())));
    let engine = engine(&[&a, &b]);
    refuse_threads(true);
    let page = scrape(&engine, LONG);
    refuse_threads(false);
    assert_eq!(page, [("a", State::Running, Some(1.0)), ("b", State::TimedOut, None)]);
}

/// A collector on a lane that waits at a gate while it is dropped, and whose thread can start no other.
struct ClosesSlowly {
    gate: Arc<Mutex<Receiver<()>>>,
    is_closing: Arc<AtomicBool>,
}

impl Running for ClosesSlowly {
    fn collect(&mut self, _batch: &mut Batch) -> Result<()> {
        Ok(())
    }
}

impl Drop for ClosesSlowly {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let _ = lock(&self.gate).recv();
        refuse_threads(true);
    }
}

struct PrepareClosesSlowly {
    gate: Arc<Mutex<Receiver<()>>>,
    is_closing: Arc<AtomicBool>,
}

impl Prepared for PrepareClosesSlowly {
    fn same(&self, _other: &dyn Prepared) -> bool {
        false
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn open(&self, _host: &Host) -> Result<Box<dyn Running>> {
        let (gate, is_closing) = (Arc::clone(&self.gate), Arc::clone(&self.is_closing));
        Ok(Box::new(ClosesSlowly { gate, is_closing }))
    }

    fn may_block(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn a_request_is_woken_when_its_collector_can_have_no_thread() {
    let (open, gate) = mpsc::channel::<()>();
    let mut before = counting(0);
    let (gate, is_closing) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicBool::new(false)));
    let prepared = PrepareClosesSlowly { gate, is_closing: Arc::clone(&is_closing) };
    before.plan.prepared = Arc::new(prepared);
    let engine = engine(&[&before]);
    assert_eq!(scrape(&engine, LONG)[0].1, State::Running);
    let after = make(0, 0, true, |_| Ok(()));
    swap(&engine, &[&after]);
    until(|| is_closing.load(Ordering::SeqCst));
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut collecting = engine.collect(request(LONG));
    assert!(collecting.poll_at(&waker, Instant::now()).is_err());
    // The lane of the one before gives the name to the next, whose lane cannot be started.
    drop(open);
    until(|| {
        woken.0.swap(false, Ordering::SeqCst) && collecting.poll_at(&waker, Instant::now()).is_ok()
    });
    assert_eq!(engine.status()[0].state, State::TimedOut);
}

#[test]
fn a_clock_that_had_no_thread_gets_one_later() {
    let mut a = counting(0);
    a.plan.interval = Some(Duration::from_millis(20));
    let engine = new_engine();
    refuse_threads(true);
    swap(&engine, &[&a]);
    refuse_threads(false);
    scrape(&engine, LONG);
    until(|| engine.status()[0].counts.runs > 5);
}

/// A request that polls its collection in the midst of being woken, as a quick thread may.
struct Poller {
    collecting: Mutex<Option<Collecting>>,
    woken: Arc<AtomicUsize>,
}

impl Poller {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut collecting = lock(&self.collecting);
        if collecting.as_mut().is_some_and(|it| it.poll_at(&waker, Instant::now()).is_ok()) {
            *collecting = None;
        }
    }
}

impl Wake for Poller {
    fn wake(self: Arc<Self>) {
        // Where this is seen to go round and round, it has failed.
        if self.woken.fetch_add(1, Ordering::SeqCst) < 10_000 {
            self.poll();
        }
    }
}

#[test]
fn who_waits_for_a_lane_is_woken_when_something_has_come_back() {
    const OTHERS: usize = 10;
    let ((lane, gate), other) = (gated(0, true), counting(1));
    let engine = engine(&[&lane, &other]);
    let woken = Arc::new(AtomicUsize::new(0));
    let only = |name: &str| Selection::Only(vec![name.to_owned()]);
    let waiting = [0, 1].map(|_| {
        let collecting = engine.collect(Request { selection: only("a"), ..request(LONG) });
        let woken = Arc::clone(&woken);
        Arc::new(Poller { collecting: Mutex::new(Some(collecting)), woken })
    });
    waiting.iter().for_each(Poller::poll);
    for _ in 0..OTHERS {
        engine.collect_blocking(Request { selection: only("b"), ..request(LONG) });
    }
    // Once for each, and for what may have come back before.
    let seen = woken.load(Ordering::SeqCst);
    assert!(seen <= 2 * (OTHERS + 2), "they were woken {seen} times");
    drop(gate);
    until(|| waiting.iter().all(|waiting| lock(&waiting.collecting).is_none()));
}
