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
        assert_eq!(scrape(&engine, SHORT), [("a", Outcome::TimedOut, None)]);
        let later: Vec<Maker> = (1..=8).map(|settings| hanging.with(settings)).collect();
        for changed in &later {
            assert_eq!(swap(&engine, &[changed]).changed, ["a"]);
            assert_eq!(scrape(&engine, SHORT / 4), [("a", Outcome::TimedOut, None)]);
            assert_eq!(hanging.threads(), 1, "may block: {may_block}");
        }
        drop(gate);
        until(|| scrape(&engine, LONG) == [("a", Outcome::Running, Some(8.0))]);
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
        assert_eq!(scrape(&engine, SHORT), [("a", Outcome::TimedOut, None)]);
        for _ in 0..4 {
            assert_eq!(swap(&engine, &[]).stopped, ["a"]);
            assert!(scrape(&engine, LONG).is_empty());
            assert_eq!(swap(&engine, &[&hung]).started, ["a"]);
            assert_eq!(scrape(&engine, SHORT / 4), [("a", Outcome::TimedOut, None)]);
            assert_eq!(hanging.threads(), 1, "may block: {may_block}");
        }
        drop(gate);
        until(|| scrape(&engine, LONG) == [("a", Outcome::Running, Some(0.0))]);
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
            assert_eq!(hurried, [("a", Outcome::TimedOut, None)]);
        }
        assert_eq!(scrape(&engine, SHORT), [("a", Outcome::TimedOut, None)]);
        assert!(!patient.is_finished(), "it was made to give up");
        assert_eq!(engine.status()[0].counts.timeouts, 0);
        gate.send(()).expect("it waits");
        assert_eq!(patient.join().expect("it ends"), [("a", Outcome::Running, Some(1.0))]);
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
        assert_eq!(honest, [("a", Outcome::Running, Some(1.0))]);
    }
    done.store(true, Ordering::SeqCst);
    flood.join().expect("it ends");
    assert_eq!(engine.status()[0].counts.timeouts, 0);
}
