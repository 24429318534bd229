//! A collection thread that serves between collections, and the watch that looks after it: the tests of the
//! engine hold for it, too ([`is_served`]), and some are about it alone.

use super::*;
use crate::engine::queue::Queue;
use crate::engine::sync::{Condvar, Weak, spawn, wait, wait_for};
use std::sync::OnceLock;
use vitald_core::host::WakeSocket;

/// Whether the engines of all tests have a server: `VITALD_TEST_SERVED=1 cargo test -p vitald --lib --features full engine::`
pub(super) fn is_served() -> bool {
    std::env::var_os("VITALD_TEST_SERVED").is_some_and(|value| value == "1")
}

/// What serves no one, but waits and is looked after as the daemon's server is.
#[derive(Default)]
struct Idle {
    state: Mutex<Idling>,
    called: Condvar,
    set: Condvar,
    queue: OnceLock<Weak<Queue>>,
}

#[derive(Default)]
struct Idling {
    is_called: bool,
    alarm: Option<Instant>,
    has_ended: bool,
    /// The watch can start no thread.
    has_no_thread: bool,
    /// How often something was served that the collection thread was not there for.
    stood_in: usize,
}

/// What the queue has of it; its end ends the watch.
pub(super) struct Idles(Arc<Idle>);

impl Idles {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Idles(Arc::default()))
    }

    /// Begins to look after a queue.
    pub(super) fn watch_over(&self, queue: &Arc<Queue>) {
        let idle = Arc::clone(&self.0);
        assert!(idle.queue.set(Arc::downgrade(queue)).is_ok(), "it has one already");
        // From here on the requests leave it to the watch.
        queue.look_after(Instant::now());
        spawn("watch".to_owned(), move || idle.keep_watch()).expect("a thread");
    }

    fn stood_in(&self) -> usize {
        lock(&self.0.state).stood_in
    }
}

impl Idle {
    fn keep_watch(&self) {
        let mut state = lock(&self.state);
        while !state.has_ended {
            let now = Instant::now();
            state = match state.alarm {
                None => wait(&self.set, state),
                Some(at) if at > now => wait_for(&self.set, state, at - now),
                Some(_) => {
                    state.alarm = None;
                    refuse_threads(state.has_no_thread);
                    drop(state);
                    let queue = self.queue.get().and_then(Weak::upgrade);
                    let mut requests = queue.and_then(|queue| queue.look_after(now));
                    let mut state = lock(&self.state);
                    if let Some(requests) = &mut requests {
                        state.stood_in += 1;
                        state.alarm = Some(Instant::now() + Duration::from_millis(5));
                        drop(state);
                        wake_all(requests);
                        state = lock(&self.state);
                    }
                    state
                }
            };
        }
    }
}

impl Server for Idles {
    fn serve(&self, requests: &mut Vec<Waker>) {
        wake_all(requests);
        let mut state = lock(&self.0.state);
        while !state.is_called {
            state = wait(&self.0.called, state);
        }
        state.is_called = false;
    }

    fn serve_for(&self, requests: &mut Vec<Waker>, _time: Duration) {
        wake_all(requests);
    }

    fn wake(&self) {
        lock(&self.0.state).is_called = true;
        self.0.called.notify_all();
    }

    fn wake_socket(&self) -> Option<&'static WakeSocket> {
        None
    }

    fn watch(&self, after: Option<Duration>) {
        lock(&self.0.state).alarm = after.map(|after| Instant::now() + after);
        self.0.set.notify_all();
    }
}

impl Drop for Idles {
    fn drop(&mut self) {
        lock(&self.0.state).has_ended = true;
        self.0.set.notify_all();
    }
}

/// An engine with a server, whatever the other tests have.
pub(super) fn served_engine(stuck: &'static StuckThreads) -> (Engine, Arc<Idles>) {
    let (idles, occupancies) = (Idles::new(), Arc::new(Occupancies::new(stuck)));
    let server = Arc::clone(&idles) as Arc<dyn Server>;
    let engine = Engine::with(host(), occupancies, Some(server)).expect("it has its thread");
    idles.watch_over(&engine.queue);
    (engine, idles)
}

fn new_served(makers: &[&Maker]) -> (Engine, Arc<Idles>) {
    let (engine, idles) = served_engine(Box::leak(Box::new(StuckThreads::new())));
    swap_with(&engine, HASTY, makers);
    (engine, idles)
}

#[test]
fn the_watch_has_a_thread_go_on_for_one_that_hangs() {
    let ((a, gate), b) = (gated(0, false), counting(1));
    let (engine, idles) = new_served(&[&a, &b]);
    // Nobody looks after it but the watch: the request is not polled.
    let collecting = engine.collect(request(LONG));
    until(|| engine.status()[1].counts.runs == 1);
    assert_eq!(idles.stood_in(), 0);
    drop(gate);
    assert_eq!(block_on(collecting).parts[0].state, State::Running);
}

#[test]
fn before_the_watch_begins_the_requests_look_after_the_collection_thread() {
    let ((a, gate), b) = (gated(0, false), counting(1));
    let server = Idles::new() as Arc<dyn Server>;
    let stuck = Box::leak(Box::new(StuckThreads::new()));
    let engine = Engine::with(host(), Arc::new(Occupancies::new(stuck)), Some(server));
    let engine = engine.expect("it has its thread");
    swap_with(&engine, HASTY, &[&a, &b]);
    let page = scrape(&engine, SHORT);
    assert_eq!(page, [("a", State::TimedOut, None), ("b", State::Running, Some(1.0))]);
    drop(gate);
}

#[test]
fn a_request_needs_no_timer_while_the_collection_thread_is_to_come_round() {
    let (a, gate) = gated(0, false);
    let (engine, _idles) = new_served(&[&a]);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let limit = SHORT / 2;
    let mut collecting = engine.collect(request(limit));
    let began = Instant::now();
    let again = loop {
        match collecting.poll_at(&waker, Instant::now()) {
            Err(Some(again)) => break Some(again),
            Err(None) => until(|| woken.0.swap(false, Ordering::SeqCst)),
            Ok(()) => break None,
        }
    };
    // It was left behind, and from then on the request has to look at the clock itself.
    assert!(again.is_none_or(|again| again <= began + limit), "{again:?}");
    drop(gate);
}

#[test]
fn without_a_further_thread_the_requests_are_served_by_the_watch() {
    let ((a, gate), b) = (gated(0, false), counting(1));
    let (engine, idles) = served_engine(Box::leak(Box::new(StuckThreads::new())));
    swap_with(&engine, HASTY, &[&a, &b]);
    let refuse = |refuses: bool| lock(&idles.0.state).has_no_thread = refuses;
    refuse(true);
    let page = scrape(&engine, SHORT);
    assert_eq!(page[..2], [("a", State::TimedOut, None), ("b", State::TimedOut, None)]);
    assert!(idles.stood_in() > 0);
    // A thread can be had again.
    refuse(false);
    until(|| scrape(&engine, SHORT)[1].1 == State::Running);
    drop(gate);
    until(|| scrape(&engine, LONG)[0].1 == State::Running);
}

#[test]
fn a_collector_that_is_let_go_after_the_end_is_closed() {
    let a = counting(0);
    let (engine, _idles) = new_served(&[&a]);
    scrape(&engine, LONG);
    let (queue, set) = (Arc::clone(&engine.queue), engine.set());
    drop(engine);
    // The slot has two, the collection thread, which has ended then, none.
    until(|| Arc::strong_count(&queue) == 3);
    drop(set);
    until(|| a.open.load(Ordering::SeqCst) == 0);
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
