//! A model check of the hand-over: shuttle decides which thread goes on, at every lock, and looks
//! for an order in which a request is never woken, a collector runs twice at a time, or one
//! is not closed.
//!
//! `cargo test -p vitald --lib --features full,model-check engine::tests::model`

use super::devices::{Sysfs, of_devices};
use super::served::Idles;
use super::*;
use crate::engine::queue::Queue;
use crate::engine::sync::{Condvar, wait};
use shuttle::rand::Rng;
use shuttle::thread;
use std::collections::VecDeque;
use std::task::Context;
use vitald_core::host::WakeSocket;

/// How many orders are tried.
const ORDERS: usize = 1_000;

#[derive(Default)]
struct Woken {
    is_woken: Mutex<bool>,
    wake: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *lock(&self.is_woken) = true;
        self.wake.notify_one();
    }
}

/// Waits for a collection without ever looking at a clock: a wake-up that is lost is a deadlock.
fn wait_for(mut collecting: Collecting) -> Collection {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    while collecting.poll_at(&waker, Instant::now()).is_err() {
        let mut is_woken = lock(&woken.is_woken);
        while !*is_woken {
            is_woken = wait(&woken.wake, is_woken);
        }
        *is_woken = false;
    }
    let mut collection = Collection::new();
    collecting.finish(&mut collection);
    collection
}

/// Collectors of one name with any settings, of which one may run at a time.
fn alone(name: usize, may_block: bool) -> impl Fn(u32) -> Maker {
    let inside = Arc::new(AtomicUsize::new(0));
    move |settings| {
        let inside = Arc::clone(&inside);
        make(name, settings, may_block, move |batch| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "it runs twice at a time");
            thread::yield_now();
            batch.value(&RUNS, settings);
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    }
}

/// Two threads that each ask twice for everything, and get all of it.
fn two_requesters(engine: &Arc<Engine>) -> Vec<thread::JoinHandle<()>> {
    let requester = |_| {
        let engine = Arc::clone(engine);
        thread::spawn(move || {
            for _ in 0..2 {
                let snapshot = wait_for(engine.collect(request(LONG)));
                let states: Vec<State> = snapshot.parts.iter().map(|part| part.state).collect();
                assert!(states.iter().all(|state| *state == State::Running), "{states:?}");
            }
        })
    };
    (0..2).map(requester).collect()
}

/// A collector that nobody closes is waited for for ever, which the model checker finds.
fn wait_until_closed<'m>(makers: impl IntoIterator<Item = &'m Maker>) {
    for maker in makers {
        while maker.open.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }
}

/// What the collection thread does between collections.
#[derive(Clone, Copy)]
enum Between {
    Parked,
    /// A watch looks after it.
    Serving,
}

/// Requests beside reloads, on a queue whose thread is left behind whenever it is looked after.
fn hand_over(between: Between, hand_over_after: Duration, a_blocks: [bool; 2]) {
    let mut engine = new_engine();
    let idles = matches!(between, Between::Serving).then(Idles::new);
    let server = idles.clone().map(|idles| idles as Arc<dyn Server>);
    let queue = Queue::start(hand_over_after, server).expect("it has its thread");
    if let Some(idles) = idles {
        idles.watch_over(&queue);
    }
    std::mem::replace(&mut engine.queue, queue).end();
    let engine = Arc::new(engine);
    let (a, b) = (a_blocks.map(|may_block| alone(0, may_block)), alone(1, true)(0));
    // Both kinds have one name, but only one of them is on at a time.
    let generations = [a[0](0), a[0](1), a[1](2), a[0](0)];
    swap(&engine, &[&generations[0], &b]);
    let requests = two_requesters(&engine);
    swap(&engine, &[&generations[1], &b]);
    swap(&engine, &[&generations[2]]);
    swap(&engine, &[&generations[3], &b]);
    requests.into_iter().for_each(|request| request.join().expect("it ends"));
    drop(engine);
    wait_until_closed(generations.iter().chain([&b]));
}

/// An alarm that may go off at any time after it was set: time passes as the order of the threads has it.
#[derive(Default)]
struct Bell {
    is_set: Mutex<bool>,
    rings: Condvar,
}

impl AlarmClock for Bell {
    fn set(&self, after: Option<Duration>) {
        *lock(&self.is_set) = after.is_some();
        self.rings.notify_one();
    }

    fn wait(&self) {
        let mut is_set = lock(&self.is_set);
        while !*is_set {
            is_set = wait(&self.rings, is_set);
        }
        *is_set = false;
    }
}

/// What serves as the daemon does, with a runtime whose tasks are done by who drives it.
struct Site {
    watching: Watching<Bell>,
    runtime: Mutex<Runtime>,
    changed: Condvar,
}

#[derive(Default)]
struct Runtime {
    tasks: VecDeque<Box<dyn FnOnce() + Send>>,
    is_woken: bool,
    /// The collection threads that serve.
    serving: usize,
}

impl Site {
    fn new() -> Arc<Self> {
        let (runtime, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Site { watching: Watching::new(Bell::default()), runtime, changed })
    }

    fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        lock(&self.runtime).tasks.push_back(Box::new(task));
        self.changed.notify_all();
    }

    /// Does one task, if there is any.
    fn turn(&self) -> bool {
        let task = lock(&self.runtime).tasks.pop_front();
        task.map(|task| task()).is_some()
    }

    /// The watch, which gets no thread now and then, or whenever it wants one.
    fn keep_watch(&self, queue: &Arc<Queue>, refuses: bool) {
        let look = || {
            refuse_threads(refuses && shuttle::rand::thread_rng().gen_ratio(2, 3));
            queue.look_after(Instant::now())
        };
        self.watching.keep(look, |requests| {
            wake_all(requests);
            while self.turn() {}
            thread::yield_now();
        });
    }
}

impl Wake for Site {
    fn wake(self: Arc<Self>) {
        lock(&self.runtime).is_woken = true;
        self.changed.notify_all();
    }
}

/// What the queue has of it.
struct Served(Arc<Site>);

impl Server for Served {
    fn serve(&self, requests: &mut Vec<Waker>) {
        let Served(site) = self;
        let mut runtime = lock(&site.runtime);
        runtime.serving += 1;
        assert_eq!(runtime.serving, 1, "two collection threads serve");
        drop(runtime);
        wake_all(requests);
        let waker = Waker::from(Arc::clone(site));
        while site.watching.poll_called(&mut Context::from_waker(&waker)).is_pending() {
            if site.turn() {
                continue;
            }
            let mut runtime = lock(&site.runtime);
            while !runtime.is_woken && runtime.tasks.is_empty() {
                runtime = wait(&site.changed, runtime);
            }
            runtime.is_woken = false;
        }
        lock(&site.runtime).serving -= 1;
    }

    fn serve_for(&self, requests: &mut Vec<Waker>, _time: Duration) {
        wake_all(requests);
        self.0.turn();
    }

    fn wake(&self) {
        self.0.watching.call();
    }

    fn wake_socket(&self) -> Option<&'static WakeSocket> {
        None
    }

    fn watch(&self, after: Option<Duration>) {
        self.0.watching.set_alarm(after);
    }
}

/// A collector that returns when a task of the runtime has had its turn, which the thread that it is on cannot give it.
fn hung_until_others_serve(site: &Arc<Site>) -> Maker {
    let site = Arc::clone(site);
    make(0, 0, false, move |batch| {
        let woken = Arc::new(Woken::default());
        let task = Waker::from(Arc::clone(&woken));
        site.spawn(move || task.wake());
        let mut is_woken = lock(&woken.is_woken);
        while !*is_woken {
            is_woken = wait(&woken.wake, is_woken);
        }
        batch.value(&RUNS, 1);
        Ok(())
    })
}

/// Requests while a watch looks after the collection thread, which it takes for one that hangs whenever it finds it at a
/// job; then the end, which comes from a task of the runtime. Nobody may be left asleep.
fn watched(refuses: bool, hangs: bool) {
    let (mut engine, site) = (new_engine(), Site::new());
    let server = Arc::new(Served(Arc::clone(&site))) as Arc<dyn Server>;
    let queue = Queue::start(Duration::ZERO, Some(server)).expect("it has its thread");
    std::mem::replace(&mut engine.queue, Arc::clone(&queue)).end();
    let engine = Arc::new(engine);
    let a = if hangs { hung_until_others_serve(&site) } else { alone(0, false)(0) };
    let b = alone(1, false)(0);
    let watch = {
        let (site, queue) = (Arc::clone(&site), queue);
        thread::spawn(move || site.keep_watch(&queue, refuses))
    };
    swap(&engine, &[&a, &b]);
    let requests = two_requesters(&engine);
    let end = || {
        let ends = Arc::clone(&site);
        site.spawn(move || ends.watching.end());
    };
    if hangs {
        requests.into_iter().for_each(|request| request.join().expect("it ends"));
        end();
    } else {
        // The end may come at any time while requests still wait for what they have asked for.
        end();
        requests.into_iter().for_each(|request| request.join().expect("it ends"));
    }
    watch.join().expect("the watch ends");
    drop(engine);
    wait_until_closed([&a, &b]);
}

/// Requests of which one has a probe find the first device, beside a reload.
fn first_device() {
    let (sysfs, engine) = (Sysfs::new(), Arc::new(new_engine()));
    let (a, b) = (alone(0, true), alone(1, false)(0));
    let generations = [a(0), a(1)].map(of_devices);
    sysfs.make_class();
    sysfs.swap(&engine, &[&generations[0], &b]);
    let requests = two_requesters(&engine);
    sysfs.add("t0");
    thread::yield_now();
    sysfs.swap(&engine, &[&generations[1], &b]);
    requests.into_iter().for_each(|request| request.join().expect("it ends"));
    let snapshot = wait_for(engine.collect(request(LONG)));
    assert_eq!(snapshot.parts[1].run.as_ref().map(|run| run.len()), Some(1));
    drop(engine);
    wait_until_closed(generations.iter().chain([&b]));
}

#[test]
fn a_collector_whose_first_device_appears() {
    shuttle::check_random(first_device, ORDERS);
}

#[test]
fn the_collection_thread_is_never_left_behind() {
    for between in [Between::Parked, Between::Serving] {
        shuttle::check_random(move || hand_over(between, LONG, [false, false]), ORDERS);
    }
}

#[test]
fn the_collection_thread_is_left_behind_each_time() {
    for between in [Between::Parked, Between::Serving] {
        shuttle::check_random(move || hand_over(between, Duration::ZERO, [false, false]), ORDERS);
    }
}

#[test]
fn a_collector_moves_between_the_queue_and_a_lane() {
    for between in [Between::Parked, Between::Serving] {
        let hand_over = move |a_blocks| hand_over(between, Duration::ZERO, a_blocks);
        shuttle::check_random(move || hand_over([false, true]), ORDERS);
        shuttle::check_random(move || hand_over([true, false]), ORDERS);
    }
}

#[test]
fn a_watch_looks_after_the_collection_thread_until_the_end() {
    shuttle::check_random(|| watched(false, false), ORDERS);
}

#[test]
fn a_watch_has_another_thread_serve_while_a_collector_hangs() {
    shuttle::check_random(|| watched(false, true), ORDERS);
}

#[test]
fn a_watch_that_gets_no_thread_stands_in() {
    shuttle::check_random(|| watched(true, false), ORDERS);
    shuttle::check_random(|| watched(true, true), ORDERS);
}
