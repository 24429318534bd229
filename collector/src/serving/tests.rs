use super::*;
use crate::engine::tests::{LONG, Maker, SHORT, counting, engine_served_by, gated, made, until};
use crate::engine::{Request, Selection, refuse_threads};
use crate::sync::lock;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::thread::ThreadId;
use vitald_core::snapshot::{Collection, State};

/// An engine whose collection thread serves, and its watch.
struct Site {
    serving: Arc<Serving>,
    engine: Arc<Engine>,
    watch: Option<std::thread::JoinHandle<()>>,
}

impl Site {
    fn new(makers: &[&Maker], has_threads: bool) -> Site {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("descriptors");
        let serving = Serving::new(runtime).expect("descriptors");
        let engine = Arc::new(engine_served_by(Arc::clone(&serving) as Arc<dyn Server>, makers));
        let watch = std::thread::spawn({
            let (serving, engine) = (Arc::clone(&serving), Arc::clone(&engine));
            move || {
                refuse_threads(!has_threads);
                serving.keep_watch(&engine);
            }
        });
        Site { serving, engine, watch: Some(watch) }
    }

    /// Serves a task, and gives what it says.
    fn serve<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (send, receive) = channel();
        self.serving.runtime.spawn(async move {
            let _ = send.send(work.await);
        });
        receive
    }

    /// A request, as a connection makes it: its states, and the thread that it ends on.
    fn scrape(&self, limit: Duration) -> Receiver<(Vec<State>, ThreadId)> {
        let engine = Arc::clone(&self.engine);
        self.serve(async move {
            let arrived = Instant::now();
            let deadline = arrived + limit;
            let mut collecting =
                engine.collect(Request { arrived, deadline, selection: Selection::All });
            let mut timer = std::pin::pin!(tokio::time::sleep_until(deadline.into()));
            std::future::poll_fn(|cx| {
                match collecting.poll_at(cx.waker(), Instant::now()) {
                    Ok(()) => return Poll::Ready(()),
                    Err(None) => return Poll::Pending,
                    Err(Some(again)) => timer.as_mut().reset(again.into()),
                }
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            let mut collection = Collection::new();
            collecting.finish(&mut collection);
            let states = collection.parts.iter().map(|part| part.state).collect();
            (states, std::thread::current().id())
        })
    }

    /// Whether it serves: a task that waits for a timer ends.
    fn serves(&self) -> bool {
        let slept = self.serve(async { tokio::time::sleep(Duration::from_millis(1)).await });
        slept.recv_timeout(LONG).is_ok()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.serving.begin(async {}));
        let watch = self.watch.take().expect("it is ended once");
        let ended = watch.join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[test]
fn a_collection_is_made_on_the_thread_that_was_asked() {
    let (ran_on, on) = channel();
    let ran_on = Mutex::new(ran_on);
    let a = made(0, false, move || lock(&ran_on).send(std::thread::current().id()).expect("heard"));
    let site = Site::new(&[&a], true);
    for _ in 0..10 {
        let (states, answered_on) = site.scrape(LONG).recv_timeout(LONG).expect("an answer");
        assert_eq!((states, Ok(answered_on)), (vec![State::Running], on.recv()));
    }
}

#[test]
fn serving_goes_on_while_a_collector_hangs() {
    let ((a, gate), b) = (gated(0, false), counting(1));
    let site = Site::new(&[&a, &b], true);
    // The watch has looked once when it began, and sleeps.
    gate.send(()).expect("it waits");
    assert_eq!(site.scrape(LONG).recv_timeout(LONG).expect("an answer").0, [State::Running; 2]);
    let request = site.scrape(LONG);
    until(|| site.engine.status()[0].out.is_some());
    assert!(site.serves());
    // Another thread looks for jobs, so the watchdog is to be fed.
    let before = site.engine.sign_of_life();
    until(|| site.engine.sign_of_life() != before);
    let (states, _) = site.scrape(SHORT).recv_timeout(LONG).expect("an answer");
    assert_eq!(states, [State::TimedOut, State::Running]);
    assert!(request.try_recv().is_err(), "it has more time");
    drop(gate);
    let (states, _) = request.recv_timeout(LONG).expect("an answer");
    assert_eq!(states, [State::Running, State::Running]);
    let all_run =
        || site.scrape(LONG).recv_timeout(LONG).expect("an answer").0 == [State::Running; 2];
    until(all_run);
}

#[test]
fn without_a_further_thread_the_watch_serves_what_needs_no_collector() {
    let ((a, gate), b) = (gated(0, false), counting(1));
    let site = Site::new(&[&a, &b], false);
    let patient = site.scrape(LONG);
    until(|| site.engine.status()[0].out.is_some());
    let before = site.engine.sign_of_life();
    assert!(site.serves());
    let (states, _) = site.scrape(SHORT).recv_timeout(LONG).expect("an answer");
    assert_eq!(states, [State::TimedOut, State::TimedOut]);
    // What is served is no sign of life: nothing can be collected.
    assert_eq!(site.engine.sign_of_life(), before);
    // The one that hung goes on, and serves.
    drop(gate);
    let (states, _) = patient.recv_timeout(LONG).expect("an answer");
    assert_eq!(states, [State::Running, State::Running]);
    assert!(site.serves());
    until(|| site.engine.sign_of_life() != before);
}

#[test]
fn a_lane_wakes_the_requests_for_what_it_has_brought() {
    let (a, gate) = gated(0, true);
    let a = a.with_own_descriptors();
    let site = Site::new(&[&a], true);
    for _ in 0..3 {
        let request = site.scrape(LONG);
        until(|| site.engine.status()[0].out.is_some());
        gate.send(()).expect("it waits");
        let began = Instant::now();
        let (states, _) = request.recv_timeout(LONG).expect("an answer");
        assert_eq!(states, [State::Running]);
        assert!(began.elapsed() < LONG / 2, "it was found by the request's own timer");
    }
}
