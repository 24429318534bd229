//! One that hangs costs its own samples and one thread, whatever is asked, reloaded or switched.

use super::*;
use std::sync::atomic::AtomicBool;

/// Collectors of one name with any settings that all hang at one gate, and how many threads do.
struct Hanging {
    may_block: bool,
    inside: Arc<AtomicUsize>,
    gate: Arc<Mutex<Receiver<()>>>,
}

/// One more thread at the gate, also while it unwinds.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hanging {
    fn new(may_block: bool) -> (Self, Sender<()>) {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        (Hanging { may_block, inside: Arc::default(), gate }, open)
    }

    fn with(&self, settings: u32) -> Maker {
        let (inside, gate) = (Arc::clone(&self.inside), Arc::clone(&self.gate));
        make(0, settings, self.may_block, move |batch| {
            inside.fetch_add(1, Ordering::SeqCst);
            let _inside = Inside(Arc::clone(&inside));
            // Every thread is let through when the other end has gone.
            while lock(&gate).recv_timeout(Duration::from_millis(1))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {}
            batch.value(&RUNS, settings);
            Ok(())
        })
    }

    fn threads(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}

#[test]
fn changed_settings_over_a_hung_collector_cost_one_thread() {
    for may_block in [false, true] {
        let (hanging, gate) = Hanging::new(may_block);
        let first = hanging.with(0);
        let engine = engine(&[&first]);
        assert_eq!(scrape(&engine, SHORT), [("a", State::TimedOut, None)]);
        let later: Vec<Maker> = (1..=8).map(|settings| hanging.with(settings)).collect();
        for changed in &later {
            assert_eq!(swap(&engine, &[changed]).changed, ["a"]);
            assert_eq!(scrape(&engine, SHORT / 4), [("a", State::TimedOut, None)]);
            assert_eq!(hanging.threads(), 1, "may block: {may_block}");
        }
        drop(gate);
        until(|| scrape(&engine, LONG) == [("a", State::Running, Some(8.0))]);
        let open = |maker: &Maker| maker.open.load(Ordering::SeqCst);
        until(|| open(&first) == 0 && later[..7].iter().all(|maker| open(maker) == 0));
    }
}

#[test]
fn off_and_on_over_a_hung_collector_costs_one_thread() {
    for may_block in [false, true] {
        let (hanging, gate) = Hanging::new(may_block);
        let hung = hanging.with(0);
        let engine = engine(&[&hung]);
        assert_eq!(scrape(&engine, SHORT), [("a", State::TimedOut, None)]);
        for _ in 0..4 {
            assert_eq!(swap(&engine, &[]).stopped, ["a"]);
            assert!(scrape(&engine, LONG).is_empty());
            assert_eq!(swap(&engine, &[&hung]).started, ["a"]);
            assert_eq!(scrape(&engine, SHORT / 4), [("a", State::TimedOut, None)]);
            assert_eq!(hanging.threads(), 1, "may block: {may_block}");
        }
        drop(gate);
        until(|| scrape(&engine, LONG) == [("a", State::Running, Some(0.0))]);
        until(|| hung.open.load(Ordering::SeqCst) == 1);
    }
}

/// A client with no time, or an output with a short interval, beside one with much time.
#[test]
fn a_deadline_ends_its_own_request_alone() {
    for may_block in [false, true] {
        let (a, gate) = gated(0, may_block);
        let engine = Arc::new(engine(&[&a]));
        let patient = std::thread::spawn({
            let engine = Arc::clone(&engine);
            move || scrape(&engine, LONG)
        });
        until(|| engine.status()[0].out.is_some());
        for _ in 0..20 {
            let hurried = scrape(&engine, Duration::from_millis(1));
            assert_eq!(hurried, [("a", State::TimedOut, None)]);
        }
        assert_eq!(scrape(&engine, SHORT), [("a", State::TimedOut, None)]);
        assert!(!patient.is_finished(), "it was made to give up");
        assert_eq!(engine.status()[0].counts.timeouts, 0);
        gate.send(()).expect("it waits");
        assert_eq!(patient.join().expect("it ends"), [("a", State::Running, Some(1.0))]);
        drop(gate);
    }
}

#[test]
fn a_flood_of_short_requests_takes_nothing_from_others() {
    let slow = make(0, 0, true, |batch| {
        std::thread::sleep(Duration::from_millis(100));
        batch.value(&RUNS, 1);
        Ok(())
    });
    let engine = Arc::new(engine(&[&slow]));
    let done = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (engine, done) = (Arc::clone(&engine), Arc::clone(&done));
        move || {
            while !done.load(Ordering::SeqCst) {
                scrape(&engine, Duration::from_millis(1));
            }
        }
    });
    for _ in 0..10 {
        let honest = scrape(&engine, Duration::from_secs(10));
        assert_eq!(honest, [("a", State::Running, Some(1.0))]);
    }
    done.store(true, Ordering::SeqCst);
    flood.join().expect("it ends");
    assert_eq!(engine.status()[0].counts.timeouts, 0);
}

/// A collector that says how many seconds it has, and waits at a gate first.
fn timed(may_block: bool) -> (Maker, Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let maker = make(0, 0, may_block, move |batch| {
        batch.value(&RUNS, batch.time_left().as_secs_f64());
        let _ = lock(&gate).recv();
        Ok(())
    });
    (maker, open)
}

fn first_value(snapshot: &Collection) -> f64 {
    snapshot.parts[0].run.as_ref().expect("it has samples").values()[0]
}

#[test]
fn a_run_may_take_as_long_as_the_most_patient_waits() {
    for may_block in [false, true] {
        let (a, gate) = timed(may_block);
        let engine = engine(&[&a]);
        let first = engine.collect(request(LONG));
        until(|| engine.status()[0].out.is_some());
        let patient = engine.collect(request(LONG));
        let _hurried = engine.collect(request(Duration::from_millis(1)));
        drop(gate);
        block_on(first);
        assert!(first_value(&block_on(patient)) > LONG.as_secs_f64() / 2.0);
    }
}

#[test]
fn what_had_to_be_quick_is_not_shared_with_the_patient() {
    let (a, gate) = timed(false);
    drop(gate);
    let engine = new_engine();
    swap_with(&engine, Limits { max_age: LONG, ..FRESH }, &[&a]);
    let run = |limit| first_value(&engine.collect_blocking(request(limit)));
    assert!(run(SHORT) <= SHORT.as_secs_f64());
    assert!(run(LONG) > LONG.as_secs_f64() / 2.0);
    // The other way round it is shared.
    assert!(run(SHORT) > LONG.as_secs_f64() / 2.0);
    assert_eq!(engine.status()[0].counts.runs, 2);
}

#[test]
fn a_run_is_stuck_when_it_has_been_out_for_the_scrape_timeout() {
    for may_block in [false, true] {
        let (a, gate) = gated(0, may_block);
        let engine = new_engine();
        swap_with(&engine, HASTY, &[&a]);
        // It has a minute, and is answered when the run is stuck.
        let began = Instant::now();
        assert_eq!(scrape(&engine, LONG), [("a", State::TimedOut, None)]);
        assert!((SHORT..LONG / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
        let status = &engine.status()[0];
        assert_eq!((status.state, status.counts.timeouts), (State::TimedOut, 1));
        drop(gate);
        until(|| scrape(&engine, LONG) == [("a", State::Running, Some(1.0))]);
    }
}

#[test]
fn another_state_is_reported_once() {
    for may_block in [false, true] {
        let (a, gate) = gated(0, may_block);
        let engine = new_engine();
        let told = Arc::new(AtomicUsize::new(0));
        let tell = Arc::clone(&told);
        engine.tell_changes(move || {
            tell.fetch_add(1, Ordering::SeqCst);
        });
        let told = || told.load(Ordering::SeqCst);
        swap_with(&engine, HASTY, &[&a]);
        assert_eq!(told(), 0);
        for _ in 0..3 {
            assert_eq!(scrape(&engine, LONG), [("a", State::TimedOut, None)]);
            assert_eq!(told(), 1);
        }
        drop(gate);
        until(|| scrape(&engine, LONG)[0].1 == State::Running);
        assert_eq!(told(), 2);
        scrape(&engine, LONG);
        assert_eq!(told(), 2);
    }
}

#[test]
fn a_run_that_was_not_waited_for_is_counted_when_it_comes_back() {
    let (a, gate) = gated(0, true);
    let engine = new_engine();
    swap_with(&engine, Limits { timeout: Duration::from_millis(1), ..FRESH }, &[&a]);
    let began = Instant::now();
    drop(engine.collect(request(LONG)));
    until(|| began.elapsed() > SHORT);
    drop(gate);
    until(|| engine.status()[0].counts.runs == 1);
    assert_eq!(engine.status()[0].counts.timeouts, 1);
}

/// An engine, and its count of threads that hang.
fn counted_engine(makers: &[&Maker]) -> (Engine, &'static StuckThreads) {
    let stuck: &StuckThreads = Box::leak(Box::new(StuckThreads::new()));
    let engine = engine_that_counts(stuck);
    swap_with(&engine, HASTY, makers);
    (engine, stuck)
}

#[test]
fn lanes_and_collection_threads_that_hang_are_counted() {
    let ((a, a_gate), (b, b_gate)) = (gated(0, false), gated(1, true));
    let (engine, stuck) = counted_engine(&[&a, &b]);
    until(|| {
        scrape(&engine, SHORT);
        stuck.count() == 2
    });
    drop(a_gate);
    until(|| stuck.count() == 1);
    drop(b_gate);
    until(|| stuck.count() == 0);
}

#[test]
fn at_the_limit_nothing_is_begun_that_may_block() {
    let (a, b) = (counting(0), make(1, 0, true, |_| Ok(())));
    let (engine, stuck) = counted_engine(&[&a, &b]);
    let hung: Vec<_> = (0..StuckThreads::LIMIT).map(|_| stuck.enter()).collect();
    let page = scrape(&engine, LONG);
    assert_eq!(page, [("a", State::Running, Some(1.0)), ("b", State::TimedOut, None)]);
    let status = &engine.status()[1];
    assert!(status.error.as_deref().is_some_and(|error| error.starts_with("16 threads hang")));
    assert_eq!(status.counts.runs, 0);
    drop(hung);
    assert_eq!(scrape(&engine, LONG)[1].1, State::Running);
    assert_eq!(engine.status()[1].error, None);
}

#[test]
fn neither_other_settings_nor_a_time_off_begin_the_counts_anew() {
    let failing = |settings| {
        make(0, settings, false, |_| Err(Malformed::new(3, "a number").in_file("proc/x")))
    };
    let (first, changed) = (failing(0), failing(1));
    let engine = engine(&[&first]);
    let number = || engine.collect_blocking(request(LONG)).parts[0].run_number;
    assert_eq!((number(), number()), (1, 2));
    swap(&engine, &[&changed]);
    assert_eq!(engine.status()[0].counts.failures, 2);
    assert_eq!(number(), 3);
    assert_eq!(engine.status()[0].counts.failures, 3);
    swap(&engine, &[]);
    swap(&engine, &[&changed]);
    assert_eq!(engine.status()[0].counts.failures, 3);
    assert_eq!(number(), 4);
}

/// A collector that panics when it is dropped.
struct Bomb;

impl Running for Bomb {
    fn collect(&mut self, _batch: &mut Batch) -> Result<()> {
        Ok(())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as the test wants");
    }
}

struct PrepareBomb(u32);

impl Prepared for PrepareBomb {
    fn same(&self, other: &dyn Prepared) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.0 == self.0)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn open(&self, _host: &Host) -> Result<Box<dyn Running>> {
        Ok(Box::new(Bomb))
    }

    fn may_block(&self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn a_panic_while_the_old_is_closed_does_not_reach_the_reload() {
    let other = counting(1);
    let bomb = |settings| {
        let mut maker = counting(0);
        maker.plan.prepared = Arc::new(PrepareBomb(settings));
        maker
    };
    let engine = engine(&[&bomb(0), &other]);
    for settings in 1..5 {
        // Each second one has run; the others have never been used.
        if settings % 2 == 0 {
            assert_eq!(scrape(&engine, LONG)[0].1, State::Running);
        }
        let changes = swap(&engine, &[&bomb(settings), &other]);
        assert_eq!((changes.changed, changes.unchanged), (vec!["a"], vec!["b"]));
    }
    assert_eq!(swap(&engine, &[&other]).stopped, ["a"]);
    assert_eq!(scrape(&engine, LONG).len(), 1);
}

#[test]
fn nothing_is_logged_under_a_lock() {
    let lines = Arc::new(AtomicUsize::new(0));
    let engine = Arc::new(new_engine());
    // It asks the engine at each line, which never ends if the line is written under a lock.
    let nosy = || {
        let (engine, lines) = (Arc::clone(&engine), Arc::clone(&lines));
        Listener(move || {
            lines.fetch_add(1, Ordering::SeqCst);
            engine.status();
            drop(engine.collect(request(LONG)));
        })
    };
    // Which of its runs fails, and on whose thread: it is listened to from the first run on.
    let subscriber = Mutex::new(Some(nosy()));
    let failing = make(0, 0, false, move |_| {
        if let Some(nosy) = lock(&subscriber).take() {
            std::mem::forget(tracing::subscriber::set_default(nosy));
        }
        Err(Malformed::new(3, "a number").in_file("proc/x"))
    });
    let (hung, gate) = gated(1, true);
    swap_with(&engine, HASTY, &[&failing, &hung]);
    let asking = std::thread::spawn({
        let (engine, nosy) = (Arc::clone(&engine), nosy());
        move || tracing::subscriber::with_default(nosy, || scrape(&engine, LONG))
    });
    until(|| asking.is_finished());
    assert_eq!(asking.join().expect("it ends")[1], ("b", State::TimedOut, None));
    until(|| lines.load(Ordering::SeqCst) >= 2);
    drop(gate);
}
