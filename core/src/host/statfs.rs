//! The space of file systems, some of which may never answer.
//!
//! statfs(2) on a network file system whose server is away hangs in the kernel, where no signal
//! reaches it. So mounts that may block are asked on a thread that can be given up: whoever waits
//! takes the list back, remembers what hangs, and goes on with a fresh thread. The given-up thread
//! forgets what it hung on when its call returns, and ends.

use std::ffi::{CStr, OsStr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::space::{Space, StatfsError};
use super::{lock, refuse_parent, with_c_string};

/// How many threads of the process may hang at a time.
const MOST_STUCK: usize = 16;
/// What even a late mount gets: a loaded machine may take this long to run a thread.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);

/// The mounts to ask, and then their answers. It is filled again at each collection and allocates
/// only when a list outgrows all before it.
#[derive(Debug, Default)]
pub struct StatfsQueue {
    /// Those from `length` on are left from a longer list, for their memory.
    asked: Vec<Asked>,
    length: usize,
}

#[derive(Debug, Default)]
struct Asked {
    mount: Vec<u8>,
    device: Vec<u8>,
    may_block: bool,
    answer: Option<Result<Space, StatfsError>>,
}

/// One mount and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatfsAnswer<'a> {
    /// The mount point, as it was pushed.
    pub mount: &'a [u8],
    /// The device, as it was pushed.
    pub device: &'a [u8],
    /// What the file system said. [`StatfsError::Stuck`] before it is asked.
    pub answer: Result<Space, StatfsError>,
}

impl StatfsQueue {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all mounts and answers.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Appends a mount point, to be looked up under the root file system's prefix. `device` tells
    /// apart what was mounted there one after another. `may_block` says that the file system may
    /// not answer: network file systems, FUSE, autofs.
    pub fn push(&mut self, mount: &[u8], device: &[u8], may_block: bool) {
        if self.length == self.asked.len() {
            self.asked.push(Asked::default());
        }
        let asked = &mut self.asked[self.length];
        asked.mount.clear();
        asked.mount.extend_from_slice(mount);
        asked.device.clear();
        asked.device.extend_from_slice(device);
        asked.may_block = may_block;
        asked.answer = None;
        self.length += 1;
    }

    /// How many mounts were pushed.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none were.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The answer of a mount, by the order they were pushed in. [`StatfsError::Stuck`] before it
    /// is asked.
    ///
    /// # Errors
    ///
    /// See [`StatfsError`].
    ///
    /// # Panics
    ///
    /// As an index does, at [`StatfsQueue::len`] and beyond.
    pub fn answer(&self, index: usize) -> Result<Space, StatfsError> {
        self.mounts()[index].answer.unwrap_or(Err(StatfsError::Stuck))
    }

    /// The mounts and their answers, in the order they were pushed in.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StatfsAnswer<'_>> {
        self.mounts().iter().map(|asked| StatfsAnswer {
            mount: &asked.mount,
            device: &asked.device,
            answer: asked.answer.unwrap_or(Err(StatfsError::Stuck)),
        })
    }

    fn mounts(&self) -> &[Asked] {
        &self.asked[..self.length]
    }

    fn unanswered(&mut self) -> impl Iterator<Item = &mut Asked> {
        self.asked[..self.length].iter_mut().filter(|asked| asked.answer.is_none())
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn answer_each(&mut self, answer: impl Fn(&[u8]) -> Result<Space, StatfsError>) {
        for asked in self.unanswered() {
            asked.answer = Some(answer(&asked.mount));
        }
    }
}

/// The call itself; tests put one in that hangs.
type Ask = Arc<dyn Fn(&CStr) -> Result<Space, StatfsError> + Send + Sync>;

/// What hangs, as (operation, path, device).
#[derive(Debug, Default)]
pub(super) struct Stuck {
    calls: Mutex<Vec<(&'static str, Vec<u8>, Vec<u8>)>>,
}

/// What hangs in this process. It is no host's own, so that a reload does not forget it.
static STUCK: Stuck = Stuck { calls: Mutex::new(Vec::new()) };

const OPERATION: &str = "statfs";

impl Stuck {
    fn len(&self) -> usize {
        lock(&self.calls).len()
    }

    fn contains(&self, path: &[u8], device: &[u8]) -> bool {
        lock(&self.calls).iter().any(|call| is_call(call, path, device))
    }

    fn add(&self, path: &[u8], device: &[u8]) {
        lock(&self.calls).push((OPERATION, path.into(), device.into()));
    }

    /// Takes out one such call: there are two if two hosts asked at the same moment.
    fn remove(&self, path: &[u8], device: &[u8]) {
        let mut calls = lock(&self.calls);
        if let Some(at) = calls.iter().position(|call| is_call(call, path, device)) {
            calls.swap_remove(at);
        }
    }
}

fn is_call(call: &(&'static str, Vec<u8>, Vec<u8>), path: &[u8], device: &[u8]) -> bool {
    call.0 == OPERATION && call.1 == path && call.2 == device
}

/// Where a host's mounts are asked, and the thread that waits to ask those that may block.
pub(super) struct Desk {
    ask: Ask,
    stuck: &'static Stuck,
    parked: Mutex<Option<Arc<Worker>>>,
    path: Mutex<Vec<u8>>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(super::system::space), &STUCK)
    }

    fn with(ask: Ask, stuck: &'static Stuck) -> Self {
        Desk { ask, stuck, parked: Mutex::new(None), path: Mutex::new(Vec::new()) }
    }

    /// Answers every mount of the queue; those that may block have `timeout` each and `within`
    /// together.
    pub(super) fn ask_each(
        &self,
        queue: &mut StatfsQueue,
        rootfs: &OsStr,
        timeout: Duration,
        within: Duration,
    ) {
        let begun = Instant::now();
        let rootfs = rootfs.as_encoded_bytes();
        let mut path = std::mem::take(&mut *lock(&self.path));
        let mut may_block = false;
        for asked in queue.unanswered() {
            join(&mut path, rootfs, &asked.mount);
            if !asked.may_block {
                asked.answer = Some(ask(&self.ask, &path));
            } else if self.stuck.contains(&path, &asked.device) {
                asked.answer = Some(Err(StatfsError::Stuck));
            } else {
                may_block = true;
            }
        }
        *lock(&self.path) = path;
        while may_block && queue.unanswered().next().is_some() {
            let worker = if self.stuck.len() >= MOST_STUCK {
                Err(StatfsError::Stuck)
            } else {
                match lock(&self.parked).take() {
                    Some(worker) => Ok(worker),
                    None => self.hire(),
                }
            };
            match worker {
                Ok(worker) => {
                    // One that hangs leaves the others their share of the time.
                    let left = within.saturating_sub(begun.elapsed());
                    let shares = queue.unanswered().count() as u32 + 1;
                    let patience = timeout.min(left / shares).max(LEAST_PATIENCE);
                    if worker.ask_each(queue, rootfs, patience, self.stuck) {
                        // Another call may have hired one meanwhile; one is enough.
                        let spare = lock(&self.parked).replace(worker);
                        spare.iter().for_each(|spare| spare.dismiss());
                    }
                }
                Err(error) => {
                    queue.unanswered().for_each(|asked| asked.answer = Some(Err(error)));
                }
            }
        }
    }

    fn hire(&self) -> Result<Arc<Worker>, StatfsError> {
        let worker = Arc::new(Worker::default());
        let (its, ask, stuck) = (Arc::clone(&worker), Arc::clone(&self.ask), self.stuck);
        let builder = thread::Builder::new().name("vitald-statfs".into()).stack_size(128 * 1024);
        vitald_sys::spawn_with_own_descriptors(
            vitald_sys::OwnDescriptors::promise(),
            builder,
            move || its.run(&ask, stuck),
        )
        .map(|()| worker)
        .map_err(|error| StatfsError::Failed(error.raw_os_error().unwrap_or(EAGAIN)))
    }
}

/// `EIO` and `EAGAIN`, the same numbers on every Linux architecture.
const EIO: i32 = 5;
const EAGAIN: i32 = 11;

/// A thread that asks, and the list that goes to it and comes back.
#[derive(Default)]
struct Worker {
    work: Mutex<Work>,
    /// The two sides take turns: only one of them waits at a time.
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    turn: Turn,
    queue: StatfsQueue,
    rootfs: Vec<u8>,
    /// The mount that is being asked, and since when.
    current: Option<(usize, Instant)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    /// The worker has nothing to do.
    #[default]
    Parked,
    /// The list is the worker's.
    Asking,
    /// The list is done and to be fetched.
    Answered,
    /// Nobody wants the worker any more.
    Dismissed,
}

impl Worker {
    /// Has the list asked. `false` if the worker hangs: what it hangs on is answered then, and the
    /// rest is for another one.
    fn ask_each(
        &self,
        queue: &mut StatfsQueue,
        rootfs: &[u8],
        timeout: Duration,
        stuck: &Stuck,
    ) -> bool {
        let mut work = lock(&self.work);
        std::mem::swap(&mut work.queue, queue);
        work.rootfs.clear();
        work.rootfs.extend_from_slice(rootfs);
        work.turn = Turn::Asking;
        self.changed.notify_one();
        while work.turn == Turn::Asking {
            // Until the thread gets a processor no call has begun, and none can be late.
            let waited = work.current.map_or(Duration::ZERO, |(_, begun)| begun.elapsed());
            if waited < timeout || work.current.is_none() {
                let left = timeout.saturating_sub(waited).max(Duration::from_millis(1));
                work =
                    self.changed.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            std::mem::swap(&mut work.queue, queue);
            if let Some((index, _)) = work.current {
                let asked = &mut queue.asked[index];
                let mut path = Vec::new();
                join(&mut path, rootfs, &asked.mount);
                stuck.add(&path, &asked.device);
                asked.answer = Some(Err(StatfsError::Stuck));
            }
            work.turn = Turn::Dismissed;
            return false;
        }
        std::mem::swap(&mut work.queue, queue);
        work.turn = Turn::Parked;
        true
    }

    /// Ends a parked worker's thread.
    fn dismiss(&self) {
        lock(&self.work).turn = Turn::Dismissed;
        self.changed.notify_one();
    }

    fn run(&self, ask_one: &Ask, stuck: &Stuck) {
        // Where a sandbox forbids it, the thread works all the same and holds what it inherited.
        // Whoever waits for the list must get it back, so no panic may end the thread.
        let (mut path, mut device) = (Vec::new(), Vec::new());
        let mut work = lock(&self.work);
        loop {
            match work.turn {
                Turn::Dismissed => return,
                Turn::Parked | Turn::Answered => {
                    work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Turn::Asking => {}
            }
            let mounts = work.queue.mounts();
            let Some(index) = mounts.iter().position(|asked| asked.answer.is_none()) else {
                work.turn = Turn::Answered;
                self.changed.notify_one();
                continue;
            };
            join(&mut path, &work.rootfs, &mounts[index].mount);
            device.clone_from(&mounts[index].device);
            work.current = Some((index, Instant::now()));
            drop(work);
            let answer = catch_unwind(AssertUnwindSafe(|| ask(ask_one, &path)));
            let answer = answer.unwrap_or(Err(StatfsError::Failed(EIO)));
            work = lock(&self.work);
            work.current = None;
            if work.turn == Turn::Dismissed {
                drop(work);
                stuck.remove(&path, &device);
                return;
            }
            work.queue.asked[index].answer = Some(answer);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(worker) = lock(&self.parked).take() {
            worker.dismiss();
        }
    }
}

fn ask(ask: &Ask, path: &[u8]) -> Result<Space, StatfsError> {
    let mut answer = Err(StatfsError::Failed(super::EINVAL));
    // What is returned here is only whether there is an answer.
    let asked = refuse_parent(path).and_then(|()| {
        with_c_string(
            |bytes| bytes.extend_from_slice(path),
            |path| {
                answer = ask(path);
                Ok(())
            },
        )
    });
    asked.map_or(Err(StatfsError::Failed(super::EINVAL)), |()| answer)
}

/// The path of a mount point below the prefix of the root file system.
fn join(path: &mut Vec<u8>, rootfs: &[u8], mount: &[u8]) {
    path.clear();
    path.extend_from_slice(rootfs);
    while path.last() == Some(&b'/') {
        path.pop();
    }
    if !mount.starts_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(mount);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// File systems that hang until they are released.
    #[derive(Default)]
    struct Hanging {
        paths: Mutex<HashSet<Vec<u8>>>,
        released: Condvar,
        calls: Mutex<Vec<Vec<u8>>>,
    }

    impl Hanging {
        fn at(paths: &[String]) -> Arc<Self> {
            let hanging = Hanging::default();
            lock(&hanging.paths).extend(paths.iter().map(|path| path.as_bytes().to_vec()));
            Arc::new(hanging)
        }

        fn release(&self) {
            lock(&self.paths).clear();
            self.released.notify_all();
        }

        fn calls(&self) -> usize {
            lock(&self.calls).len()
        }

        fn desk(self: &Arc<Self>, stuck: &'static Stuck) -> Desk {
            let hanging = Arc::clone(self);
            let ask = move |path: &CStr| {
                let path = path.to_bytes();
                lock(&hanging.calls).push(path.into());
                let mut paths = lock(&hanging.paths);
                while paths.contains(path) {
                    paths = hanging.released.wait(paths).unwrap();
                }
                Ok(Space { blocks: path.len() as u64, ..Space::default() })
            };
            Desk::with(Arc::new(ask), stuck)
        }
    }

    fn stuck() -> &'static Stuck {
        Box::leak(Box::default())
    }

    fn ask_mounts(desk: &Desk, queue: &mut StatfsQueue, mounts: &[String]) {
        queue.clear();
        for mount in mounts {
            queue.push(mount.as_bytes(), b"server:/export", mount.starts_with("/n"));
        }
        desk.ask_each(queue, OsStr::new("/host/"), Duration::from_millis(30), Duration::MAX);
    }

    fn eventually(what: impl Fn() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it did not happen");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn one_that_hangs_costs_only_itself_until_it_returns() {
        let hanging = Hanging::at(&strings(&["/host/n2"]));
        let table = stuck();
        let desk = hanging.desk(table);
        let mounts = strings(&["/", "/n1", "/n2", "/n3", "/l"]);
        let mut queue = StatfsQueue::new();
        let answers = |queue: &StatfsQueue| -> Vec<_> {
            queue.iter().map(|asked| asked.answer.map(|space| space.blocks)).collect()
        };
        let without = [Ok(6), Ok(8), Err(StatfsError::Stuck), Ok(8), Ok(7)];

        ask_mounts(&desk, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(table.len(), 1);

        // It is not asked again, also not by another host, and the others are.
        let calls = hanging.calls();
        ask_mounts(&desk, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(hanging.calls(), calls + 4);
        let successor = hanging.desk(table);
        ask_mounts(&successor, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(hanging.calls(), calls + 8);

        // Another device on the same mount point is another file system.
        queue.clear();
        queue.push(b"/n2", b"other:/export", true);
        hanging.release();
        desk.ask_each(&mut queue, OsStr::new("/host"), Duration::from_secs(10), Duration::MAX);
        assert!(queue.answer(0).is_ok());

        eventually(|| table.len() == 0);
        ask_mounts(&desk, &mut queue, &mounts);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    #[test]
    fn at_most_sixteen_hang() {
        let hung: Vec<String> = (0..20).map(|number| format!("/n{number}")).collect();
        let hanging =
            Hanging::at(&hung.iter().map(|mount| format!("/host{mount}")).collect::<Vec<_>>());
        let table = stuck();
        let desk = hanging.desk(table);
        let mut mounts = hung;
        mounts.push("/n-healthy".into());
        mounts.push("/local".into());
        let mut queue = StatfsQueue::new();
        ask_mounts(&desk, &mut queue, &mounts);
        assert_eq!((table.len(), hanging.calls()), (16, 17));
        ask_mounts(&desk, &mut queue, &mounts);
        assert_eq!((table.len(), hanging.calls()), (16, 18));
        assert_eq!(queue.answer(20), Err(StatfsError::Stuck));
        assert!(queue.answer(21).is_ok());
        hanging.release();
        eventually(|| table.len() == 0);
        ask_mounts(&desk, &mut queue, &mounts);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    #[test]
    fn the_worker_is_kept_and_leaves_with_its_desk() {
        let asking: Arc<Mutex<HashSet<thread::ThreadId>>> = Arc::default();
        let seen = Arc::clone(&asking);
        let ask = move |_: &CStr| {
            lock(&seen).insert(thread::current().id());
            Ok(Space::default())
        };
        let desk = Desk::with(Arc::new(ask), stuck());
        let mut queue = StatfsQueue::new();
        for _ in 0..100 {
            ask_mounts(&desk, &mut queue, &strings(&["/n1", "/n2"]));
        }
        assert_eq!(lock(&asking).len(), 1);
        assert!(!lock(&asking).contains(&thread::current().id()));
        let worker = Arc::downgrade(lock(&desk.parked).as_ref().unwrap());
        drop(desk);
        eventually(|| worker.strong_count() == 0);
    }

    #[test]
    fn a_panic_ends_neither_the_worker_nor_the_call() {
        let ask = |path: &CStr| {
            assert!(path.to_bytes() != b"/host/n1", "as a test");
            Ok(Space::default())
        };
        let desk = Desk::with(Arc::new(ask), stuck());
        let mut queue = StatfsQueue::new();
        for _ in 0..2 {
            queue.clear();
            queue.push(b"/n1", b"", true);
            queue.push(b"/n2", b"", true);
            desk.ask_each(&mut queue, OsStr::new("/host"), Duration::from_secs(60), Duration::MAX);
            assert_eq!(queue.answer(0), Err(StatfsError::Failed(EIO)));
            assert!(queue.answer(1).is_ok());
        }
    }

    #[test]
    fn paths_that_climb_or_end_early_are_refused() {
        let desk = Desk::new();
        let mut queue = StatfsQueue::new();
        queue.push(b"/../etc", b"", false);
        queue.push(b"/a\0b", b"", true);
        queue.push(b"/", b"", true);
        queue.push(b"/there is no such place", b"", true);
        desk.ask_each(&mut queue, OsStr::new("/"), Duration::from_secs(10), Duration::MAX);
        assert_eq!(queue.answer(0), Err(StatfsError::Failed(22)));
        assert_eq!(queue.answer(1), Err(StatfsError::Failed(22)));
        assert!(queue.answer(2).is_ok_and(|space| space.block_size > 0 && space.blocks > 0));
        assert_eq!(queue.answer(3), Err(StatfsError::Failed(2)));
    }

    /// What a thread that hangs would keep alive after SIGKILL.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_worker_holds_no_descriptors() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Arc<Mutex<Option<usize>>> = Arc::default();
        let seen = Arc::clone(&held);
        let ask = move |_: &CStr| {
            let open = std::fs::read_dir("/proc/thread-self/fd").unwrap();
            let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            // One of them is the directory itself.
            let others = numbers.filter(|number| number.parse::<i32>().unwrap() > 2).count();
            *lock(&seen) = Some(others);
            Ok(Space::default())
        };
        let desk = Desk::with(Arc::new(ask), stuck());
        ask_mounts(&desk, &mut StatfsQueue::new(), &strings(&["/n1"]));
        let stuck_or_held = *lock(&held);
        assert_eq!(stuck_or_held, Some(1));
        assert!(listener.local_addr().is_ok());
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().is_ok());
    }
}
