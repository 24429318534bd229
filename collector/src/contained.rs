//! Work that may never end, on threads that may be lost.
//!
//! Opening a file on a dead mount, binding a socket there, or ending an output can hang in the
//! kernel. Such work runs on a thread of its own with a deadline. A thread that hangs is lost, and
//! while it hangs no second one starts for the same kind of work, so that trying again costs
//! nothing.

use crate::sync::lock;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a thread waits for further work: longer than those who scrape wait between two scrapes.
const PARKED: Duration = Duration::from_secs(90);

/// One kind of work, at which one thread may be at a time.
#[derive(Clone)]
pub(crate) struct Contained {
    /// The name of its thread, of which the kernel keeps 15 bytes.
    thread: &'static str,
    /// What the work is, as the subject of "... has not ended".
    work: &'static str,
    /// How long the thread waits for further work, if it does not end with what it was started for.
    parks: Option<Duration>,
    state: Arc<Mutex<State>>,
}

/// What there is of a kind of work.
#[derive(Default)]
struct State {
    /// Since when a thread has been at it.
    since: Option<Instant>,
    /// The way to a thread that waits for further work, or will when it has ended what it is at.
    parked: Option<Sender<Piece>>,
}

/// What a thread is to do.
type Piece = Box<dyn FnOnce() + Send>;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum ContainedError {
    /// An earlier piece of this work has not ended.
    StillBusy(&'static str, Duration),
    /// The work did not end in time; its thread is left to itself.
    TimedOut(&'static str, Duration),
    /// The work panicked; the text is the panic's.
    Panicked(&'static str),
    /// There is no thread to be had.
    NoThread(&'static str, io::Error),
}

impl fmt::Display for ContainedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainedError::StillBusy(work, since) => {
                write!(f, "{work} that was begun {} s ago has not ended", since.as_secs())
            }
            ContainedError::TimedOut(work, within) => {
                write!(f, "{work} has not ended within {} s", within.as_secs_f64())
            }
            ContainedError::Panicked(work) => write!(f, "{work} panicked; the log says where"),
            ContainedError::NoThread(work, error) => {
                write!(f, "{work} needs a thread, and none can be started: {error}")
            }
        }
    }
}

impl std::error::Error for ContainedError {}

/// Marks the work as ended, also when it panics.
struct Ended(Arc<Mutex<State>>);

impl Drop for Ended {
    fn drop(&mut self) {
        lock(&self.0).since = None;
    }
}

impl Contained {
    /// A kind of work such as "the reload", and the name of the thread that does it. Each piece has a
    /// thread of its own.
    pub(crate) fn new(thread: &'static str, work: &'static str) -> Self {
        Contained { thread, work, parks: None, state: Arc::default() }
    }

    /// The same for work that each request may want: its thread waits for more of it, until there has
    /// been none for a while or nobody is left who could bring it.
    pub(crate) fn parked(thread: &'static str, work: &'static str) -> Self {
        Contained { parks: Some(PARKED), ..Self::new(thread, work) }
    }

    /// Does a piece of work and waits for it, but not longer than `within`.
    ///
    /// # Errors
    ///
    /// See [`ContainedError`]. The work may still end later; what it gives is dropped then, on its
    /// thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ContainedError> {
        self.begin(work)?.wait(within).await
    }

    /// Begins a piece of work, to be waited for.
    ///
    /// # Errors
    ///
    /// An earlier one has not ended, or there is no thread.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<ContainedWork<T>, ContainedError> {
        let mut state = lock(&self.state);
        if let Some(since) = state.since {
            return Err(ContainedError::StillBusy(self.work, since.elapsed()));
        }
        state.since = Some(Instant::now());
        let (sender, receiver) = oneshot::channel();
        let ended = Ended(Arc::clone(&self.state));
        let piece: Piece = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(ended);
            // If there is no waiter any more, the result is dropped here.
            drop(sender.send(result));
        });
        let left = match &state.parked {
            // The thread has gone if it could not be started.
            Some(parked) => parked.send(piece).err().map(|unsent| unsent.0),
            None => Some(piece),
        };
        drop(state);
        if let Some(piece) = left {
            let started = self.start(piece);
            started.map_err(|error| ContainedError::NoThread(self.work, error))?;
        }
        Ok(ContainedWork { work: self.work, receiver })
    }

    /// Starts the thread with its first piece.
    fn start(&self, first: Piece) -> io::Result<()> {
        let (sender, pieces) = mpsc::channel();
        // Who could bring more keeps the state, and with it the other end of the channel.
        let (parks, state) = (self.parks, Arc::downgrade(&self.state));
        if parks.is_some() {
            lock(&self.state).parked = Some(sender);
        }
        let thread = std::thread::Builder::new().name(self.thread.to_owned());
        thread.spawn(move || {
            first();
            while let Some(piece) = parks.and_then(|parks| further(&pieces, parks, &state)) {
                piece();
            }
        })?;
        Ok(())
    }
}

/// Waits for more to do, but not longer than `parks`.
fn further(pieces: &Receiver<Piece>, parks: Duration, state: &Weak<Mutex<State>>) -> Option<Piece> {
    match pieces.recv_timeout(parks) {
        Ok(piece) => return Some(piece),
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => {}
    }
    let state = state.upgrade()?;
    let mut state = lock(&state);
    // What was sent in this moment must not be lost; sent is under this lock.
    let last = pieces.try_recv().ok();
    if last.is_none() {
        state.parked = None;
    }
    last
}

/// A piece of work that has begun.
pub(crate) struct ContainedWork<T> {
    work: &'static str,
    receiver: oneshot::Receiver<std::thread::Result<T>>,
}

impl<T> ContainedWork<T> {
    /// Waits for the result, but not longer than `within`. After a [`ContainedError::TimedOut`] it
    /// may be waited for again.
    ///
    /// # Errors
    ///
    /// It has not ended, or it panicked.
    pub(crate) async fn wait(&mut self, within: Duration) -> Result<T, ContainedError> {
        match tokio::time::timeout(within, &mut self.receiver).await {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(_) => Err(ContainedError::Panicked(self.work)),
            Err(_) => Err(ContainedError::TimedOut(self.work, within)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn what_ends_is_given_back() {
        let work = Contained::new("test", "counting");
        assert_eq!(block_on(work.run(Duration::from_secs(60), || 1 + 1)).unwrap(), 2);
    }

    #[test]
    fn one_thread_is_lost_and_no_second_one() {
        let work = Contained::new("test", "waiting");
        let (release, held) = mpsc::channel::<()>();
        let hang = move || held.recv().is_err();
        let late = block_on(work.run(Duration::from_millis(10), hang));
        assert!(matches!(late, Err(ContainedError::TimedOut(..))), "{late:?}");
        let busy = block_on(work.run(Duration::from_secs(60), || true));
        assert!(matches!(busy, Err(ContainedError::StillBusy(..))), "{busy:?}");
        drop(release);
        while lock(&work.state).since.is_some() {
            std::thread::yield_now();
        }
        assert!(block_on(work.run(Duration::from_secs(60), || true)).unwrap());
    }

    #[test]
    fn a_panic_is_reported() {
        let work = Contained::new("test", "falling over");
        let fallen = block_on(work.run(Duration::from_secs(60), || panic!("as the test wants")));
        assert!(matches!(fallen, Err(ContainedError::Panicked(..))), "{fallen:?}");
        assert!(block_on(work.run(Duration::from_secs(60), || true)).unwrap());
    }

    /// A kind of work whose thread waits for so long.
    fn parked_for(parks: Duration) -> Contained {
        Contained { parks: Some(parks), ..Contained::new("test", "working") }
    }

    #[test]
    fn one_thread_does_one_piece_after_another() {
        let work = parked_for(Duration::from_secs(600));
        let one = || block_on(work.run(Duration::from_secs(60), || std::thread::current().id()));
        let first = one().unwrap();
        assert!((0..200).all(|_| one().unwrap() == first));
        let fallen = block_on(work.run(Duration::from_secs(60), || panic!("as the test wants")));
        assert!(matches!(fallen, Err(ContainedError::Panicked(..))), "{fallen:?}");
        assert_eq!(one().unwrap(), first);
    }

    #[test]
    fn a_parked_thread_ends_with_who_could_bring_work() {
        use std::cell::RefCell;
        thread_local! {
            static UNTIL_THE_END: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
        }
        let work = parked_for(Duration::from_secs(600));
        let other = work.clone();
        let (alive, ends) = mpsc::channel();
        let keep = move || UNTIL_THE_END.set(Some(alive));
        block_on(work.run(Duration::from_secs(60), keep)).unwrap();
        drop(work);
        block_on(other.run(Duration::from_secs(60), || ())).unwrap();
        assert_eq!(ends.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(other);
        let ended = ends.recv_timeout(Duration::from_secs(60));
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn nothing_is_lost_when_the_thread_is_about_to_end() {
        let work = parked_for(Duration::from_micros(50));
        block_on(async {
            for number in 0..2000 {
                let until = Instant::now() + Duration::from_micros(number % 100);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                let done = work.run(Duration::from_secs(60), move || number).await;
                assert_eq!(done.unwrap(), number);
            }
        });
        while lock(&work.state).parked.is_some() {
            std::thread::yield_now();
        }
    }
}
