//! The space of file systems, some of which may never answer.
//!
//! statfs(2) on a network file system whose server is away hangs in the kernel, where no signal
//! reaches it. So mounts that may block are asked on threads that can be given up: the caller takes
//! the list back when its time is over, and what hangs is remembered until its call returns.
//!
//! A slow mount is not a hung one. While there is time a call is let go on, and others are asked
//! beside it by further threads. How long it is waited for follows from how long it took the last time:
//! what comes too late is an answer, too, though only of how long to wait.

use std::ffi::{CStr, OsStr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vitald_sys::{OwnDescriptors, spawn_with_own_descriptors};

use super::path::{refuse_parent, with_c_string};
use super::space::{Space, StatfsError};
use super::stuck::{StuckThread, StuckThreads};
use crate::errno::{EINVAL, EIO};
use crate::sync::lock;

/// How many mounts are asked at a time while none is slow, unless the queue says otherwise.
const WORKERS: usize = 4;
/// What even a late call gets: a loaded machine may take this long to run a thread.
const SHORTEST_CALL: Duration = Duration::from_millis(20);
/// A call that takes longer than this gets another thread beside it.
const SLOW_CALL: Duration = Duration::from_millis(50);
/// How long a mount is waited for that is not known to take longer: mounts that hang for the first time
/// cost a scrape no more than that.
const USUAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Beyond the limit of threads that hang, so many more may be lost one by one, so that mounts of which nothing
/// bad is known are asked until twice as many hang.
const MOST_HUNG: usize = 2 * StuckThreads::LIMIT;

/// The mounts to ask, and then their answers. It is filled again at each collection and allocates
/// only when a list outgrows all before it.
#[derive(Debug)]
pub struct StatfsQueue {
    /// Those from `length` on are left from a longer list, for their memory.
    asked: Vec<Asked>,
    length: usize,
    workers: usize,
}

impl Default for StatfsQueue {
    fn default() -> Self {
        StatfsQueue { asked: Vec::new(), length: 0, workers: WORKERS }
    }
}

#[derive(Debug, Default)]
struct Asked {
    mount: Vec<u8>,
    device: Vec<u8>,
    may_block: bool,
    asks_place: bool,
    /// The file system answered the last time it was asked.
    is_known_well: bool,
    /// How long it took then, or when it answered too late.
    took: Duration,
    answer: Option<Result<Space, StatfsError>>,
}

impl Asked {
    /// How long a call may take, of which `timeout` is the most. Who takes longer than that hangs.
    fn own_timeout(&self, timeout: Duration) -> Duration {
        let took = if self.took < timeout { self.took } else { Duration::ZERO };
        took.saturating_mul(2).max(USUAL_TIMEOUT).min(timeout).max(SHORTEST_CALL)
    }
}

/// One mount and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatfsAnswer<'a> {
    /// The mount point, as it was pushed.
    pub mount: &'a [u8],
    /// The device, as it was pushed.
    pub device: &'a [u8],
    /// What the file system said. [`StatfsError::NotAsked`] before it is asked.
    pub answer: Result<Space, StatfsError>,
}

impl StatfsQueue {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many of the mounts that may block are asked at a time while none is slow, from 1 to
    /// [`StuckThreads::LIMIT`]; what is less or more is taken as that.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.clamp(1, StuckThreads::LIMIT);
        self
    }

    /// Forgets all mounts and answers.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Appends a mount point, to be looked up under the root file system's prefix.
    ///
    /// `source` is what is mounted, such as `server:/export`: mounts of one server share its
    /// suspicion when it does not answer. `number`, such as `0:45`, tells apart what was mounted
    /// at one place one after another. `may_block` says that the file system may not answer:
    /// network file systems, FUSE, autofs.
    pub fn push(&mut self, mount: &[u8], source: &[u8], number: &[u8], may_block: bool) {
        if self.length == self.asked.len() {
            self.asked.push(Asked::default());
        }
        let asked = &mut self.asked[self.length];
        let is_same_device = asked.device.len() == source.len() + 1 + number.len()
            && asked.device.starts_with(source)
            && asked.device.ends_with(number);
        if asked.mount != mount || !is_same_device {
            asked.is_known_well = false;
            asked.took = Duration::ZERO;
            asked.mount.clear();
            asked.mount.extend_from_slice(mount);
            asked.device.clear();
            asked.device.extend_from_slice(source);
            asked.device.push(b' ');
            asked.device.extend_from_slice(number);
        }
        asked.may_block = may_block;
        asked.asks_place = false;
        asked.answer = None;
        self.length += 1;
    }

    /// Has the mount that was pushed last say, too, what its mount point leads to ([`Space::place`]). It costs one more
    /// system call.
    pub fn ask_place(&mut self) {
        if let Some(asked) = self.asked[..self.length].last_mut() {
            asked.asks_place = true;
        }
    }

    /// How many mounts were pushed.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none were.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The answer of a mount, by the order they were pushed in. [`StatfsError::NotAsked`] before
    /// it is asked.
    ///
    /// # Errors
    ///
    /// See [`StatfsError`].
    ///
    /// # Panics
    ///
    /// As an index does, at [`StatfsQueue::len`] and beyond.
    pub fn answer(&self, index: usize) -> Result<Space, StatfsError> {
        self.mounts()[index].answer.unwrap_or(Err(StatfsError::NotAsked))
    }

    /// The mounts and their answers, in the order they were pushed in.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StatfsAnswer<'_>> {
        self.mounts().iter().map(|asked| StatfsAnswer {
            mount: &asked.mount,
            device: &asked.device,
            answer: asked.answer.unwrap_or(Err(StatfsError::NotAsked)),
        })
    }

    fn mounts(&self) -> &[Asked] {
        &self.asked[..self.length]
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn answer_each(&mut self, answer: impl Fn(&[u8]) -> Result<Space, StatfsError>) {
        for asked in &mut self.asked[..self.length] {
            let mut space = answer(&asked.mount);
            if !asked.asks_place
                && let Ok(space) = &mut space
            {
                space.place = Default::default();
            }
            asked.answer = Some(space);
        }
    }
}

/// The call itself, and whether it asks for the place, too; tests put one in that hangs.
type Ask = Arc<dyn Fn(&CStr, bool) -> Result<Space, StatfsError> + Send + Sync>;

/// A call that hangs, and its thread.
#[derive(Debug)]
struct Hung {
    path: Vec<u8>,
    device: Vec<u8>,
    _thread: StuckThread,
}

/// What hangs.
#[derive(Debug, Default)]
struct Hanging(Mutex<Vec<Hung>>);

/// What hangs in this process. It belongs to no host, so that a reload does not forget it.
static HANGING: Hanging = Hanging(Mutex::new(Vec::new()));

/// The threads that hang with a mount. They are counted by themselves, because mounts that hang may be many and
/// are not to keep collectors from being run.
static STUCK: StuckThreads = StuckThreads::new();

impl Hanging {
    fn contains(&self, path: &[u8], device: &[u8]) -> bool {
        lock(&self.0).iter().any(|hung| hung.path == path && hung.device == device)
    }

    /// How many hang whose device is on the same server.
    fn of_server(&self, device: &[u8]) -> usize {
        lock(&self.0).iter().filter(|hung| server(&hung.device) == server(device)).count()
    }

    /// Takes out one such call: there are two if two hosts asked at the same moment.
    fn remove(&self, path: &[u8], device: &[u8]) {
        let mut calls = lock(&self.0);
        if let Some(at) = calls.iter().position(|hung| hung.path == path && hung.device == device) {
            calls.swap_remove(at);
        }
    }
}

/// The server in a device such as `server:/export 0:45` or `//server/share 0:45`. What names none, such as most
/// of FUSE, is known by its number: each mount has a server of its own.
fn server(device: &[u8]) -> &[u8] {
    let end = device.iter().rposition(|&byte| byte == b' ').unwrap_or(device.len());
    let source = &device[..end];
    if let Some(rest) = source.strip_prefix(b"//") {
        return rest.split(|&byte| byte == b'/').next().unwrap_or_default();
    }
    match source.iter().position(|&byte| byte == b':') {
        Some(colon) => &source[..colon],
        None => device,
    }
}

/// Where a host's mounts are asked, and the threads that ask those that may block.
pub(super) struct StatfsPool {
    shared: Arc<Shared>,
}

struct Shared {
    ask: Ask,
    hanging: &'static Hanging,
    stuck: &'static StuckThreads,
    round: Mutex<Round>,
    /// There is a mount to ask, or the pool has ended.
    work: Condvar,
    /// A call has ended.
    answered: Condvar,
}

/// The list that is being asked.
#[derive(Default)]
struct Round {
    queue: StatfsQueue,
    rootfs: Vec<u8>,
    /// Where paths are put together.
    path: Vec<u8>,
    /// The mounts to ask on threads, in the order in which they are; and the next one.
    order: Vec<usize>,
    next: usize,
    calls: Vec<Call>,
    /// A mount of which nothing is known was asked though too many threads hang: one a round may be.
    has_probed: bool,
    /// Mounts that answered after they were given up, and how long they took.
    late: Vec<Late>,
    /// The threads that have not been given up.
    workers: usize,
    /// How many there are to be while no call is slow.
    workers_wanted: usize,
    last_worker: u64,
    has_ended: bool,
}

/// An answer that came too late.
struct Late {
    mount: Vec<u8>,
    device: Vec<u8>,
    took: Duration,
}

/// A mount that is being asked.
struct Call {
    worker: u64,
    index: usize,
    began: Instant,
}

impl Call {
    fn is_slow(&self) -> bool {
        self.began.elapsed() >= SLOW_CALL
    }
}

impl Round {
    /// Takes the next mount that may be asked.
    ///
    /// A server that has left as many calls waiting as there are workers is asked nothing more until
    /// one of them returns: the mounts of others are not to wait for it.
    fn take(&mut self, shared: &Shared) -> Option<usize> {
        let found = self.first_to_ask(shared)?;
        let is_full = self.is_full(shared);
        let left = self.order.get_mut(self.next..)?;
        left[..=found].rotate_right(1);
        let index = left[0];
        self.next += 1;
        self.has_probed |= is_full && !self.queue.asked[index].is_known_well;
        Some(index)
    }

    /// Where it is among those that are left.
    fn first_to_ask(&self, shared: &Shared) -> Option<usize> {
        let may_probe = !self.is_full(shared) || (self.calls.is_empty() && !self.has_probed);
        let may_ask = |index: usize| {
            let asked = &self.queue.asked[index];
            let is_its = |call: &&Call| {
                server(&self.queue.asked[call.index].device) == server(&asked.device)
            };
            let hanging = shared.hanging.of_server(&asked.device);
            let is_suspected = hanging > 0 || self.calls.iter().filter(is_its).any(Call::is_slow);
            let out = hanging + self.calls.iter().filter(is_its).count();
            (asked.is_known_well || may_probe) && !(is_suspected && out >= self.workers_wanted)
        };
        self.order.get(self.next..)?.iter().position(|&index| may_ask(index))
    }

    /// Whether too many threads hang, or may come to hang: any call that is out may.
    fn is_full(&self, shared: &Shared) -> bool {
        shared.stuck.count() + self.calls.len() >= StuckThreads::LIMIT
    }

    /// Whether another thread is to be started: fewer are at hand than there is work for.
    fn lacks_workers(&self, shared: &Shared) -> bool {
        let slow = self.calls.iter().filter(|call| call.is_slow()).count();
        let at_hand = self.workers.saturating_sub(slow);
        let left = self.order.len().saturating_sub(self.next);
        // Beyond the limit one at a time, for mounts of which nothing bad is known.
        let most = if at_hand == 0 { MOST_HUNG } else { StuckThreads::LIMIT };
        at_hand < left.min(self.workers_wanted) && shared.stuck.count() + slow < most
    }
}

impl StatfsPool {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(super::system::space), &HANGING, &STUCK)
    }

    fn with(ask: Ask, hanging: &'static Hanging, stuck: &'static StuckThreads) -> Self {
        let (round, work, answered) = (Mutex::default(), Condvar::new(), Condvar::new());
        StatfsPool { shared: Arc::new(Shared { ask, hanging, stuck, round, work, answered }) }
    }

    /// Answers every mount of the queue; those that may block have `timeout` each and `within`
    /// together. What there was no time or thread for is [`StatfsError::NotAsked`].
    pub(super) fn ask_each(
        &self,
        queue: &mut StatfsQueue,
        rootfs: &OsStr,
        timeout: Duration,
        within: Duration,
    ) {
        let began = Instant::now();
        let rootfs = rootfs.as_encoded_bytes();
        let Shared { ask: ask_one, hanging, .. } = &*self.shared;
        let mut path = std::mem::take(&mut lock(&self.shared.round).path);
        let mut may_block = 0;
        for asked in &mut queue.asked[..queue.length] {
            join(&mut path, rootfs, &asked.mount);
            asked.answer = if !asked.may_block {
                Some(ask(ask_one, &path, asked.asks_place))
            } else if hanging.contains(&path, &asked.device) {
                Some(Err(StatfsError::Stuck))
            } else {
                may_block += 1;
                None
            };
        }
        let mut round = lock(&self.shared.round);
        round.path = path;
        // Two collections that share a host do not ask at the same time; if they do, the second
        // one asks nothing that may block.
        if may_block == 0 || !round.order.is_empty() {
            return;
        }
        round.workers_wanted = queue.workers;
        round.has_probed = false;
        for asked in &mut queue.asked[..queue.length] {
            let is_its = |late: &Late| late.mount == asked.mount && late.device == asked.device;
            if let Some(at) = round.late.iter().position(is_its) {
                asked.took = round.late.swap_remove(at).took;
            }
        }
        // What is left is mounted no more.
        round.late.clear();
        std::mem::swap(&mut round.queue, queue);
        round.rootfs.clear();
        round.rootfs.extend_from_slice(rootfs);
        let Round { queue: asked, order, .. } = &mut *round;
        // Those that answered the last time come first.
        for is_well in [true, false] {
            let waits = |asked: &Asked| asked.answer.is_none() && asked.is_known_well == is_well;
            let mounts = asked.mounts().iter().enumerate();
            order.extend(mounts.filter(|(_, asked)| waits(asked)).map(|(index, _)| index));
        }
        let mut round = self.wait(round, began, timeout, within);
        std::mem::swap(&mut round.queue, queue);
        round.order.clear();
        round.next = 0;
    }

    /// Waits until every mount of the round is answered or its time is over.
    fn wait<'r>(
        &'r self,
        mut round: MutexGuard<'r, Round>,
        began: Instant,
        timeout: Duration,
        within: Duration,
    ) -> MutexGuard<'r, Round> {
        let shared = &self.shared;
        shared.work.notify_all();
        loop {
            while round.first_to_ask(shared).is_some()
                && round.lacks_workers(shared)
                && self.hire(&mut round)
            {}
            let left = within.saturating_sub(began.elapsed());
            let is_over = left.is_zero();
            if is_over {
                let next = round.next;
                round.order.truncate(next);
            }
            // A call may begin while this waits, so it looks again in time for that one.
            let mut wake = if is_over { SHORTEST_CALL } else { left.min(SLOW_CALL) };
            let before = round.calls.len();
            let mut at = 0;
            while let Some(call) = round.calls.get(at) {
                let spent = call.began.elapsed();
                let own_timeout = round.queue.asked[call.index].own_timeout(timeout);
                let may_take = if is_over { SHORTEST_CALL } else { own_timeout };
                if spent >= may_take {
                    give_up(&mut round, at, shared);
                    continue;
                }
                // A look when it becomes slow, for another thread beside it.
                let look = if spent < SLOW_CALL { SLOW_CALL - spent } else { may_take - spent };
                wake = wake.min(look).min(may_take - spent);
                at += 1;
            }
            let are_all_asked = round.next >= round.order.len();
            if round.calls.len() < before {
                // Their threads are to be replaced.
                shared.work.notify_all();
                continue;
            }
            // Without a thread, or with hung servers only, nothing more will be asked.
            let is_at_end = round.workers == 0 || round.first_to_ask(shared).is_none();
            if round.calls.is_empty() && (are_all_asked || is_at_end) {
                return round;
            }
            let wake = wake.max(Duration::from_millis(1));
            round =
                shared.answered.wait_timeout(round, wake).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a thread; `false` if there is none to be had.
    fn hire(&self, round: &mut Round) -> bool {
        round.last_worker += 1;
        let (worker, shared) = (round.last_worker, Arc::clone(&self.shared));
        let builder = thread::Builder::new().name("vitald-statfs".into()).stack_size(128 * 1024);
        // It is handed paths and gives back numbers, and opens nothing.
        let promise = OwnDescriptors::promise();
        let started =
            spawn_with_own_descriptors(promise, None, builder, move || work(&shared, worker));
        round.workers += usize::from(started.is_ok());
        started.is_ok()
    }
}

/// Leaves a call to itself, and its thread.
fn give_up(round: &mut Round, at: usize, shared: &Shared) {
    let call = round.calls.swap_remove(at);
    round.workers -= 1;
    let asked = &mut round.queue.asked[call.index];
    asked.answer = Some(Err(StatfsError::Stuck));
    asked.is_known_well = false;
    let mut path = Vec::new();
    join(&mut path, &round.rootfs, &asked.mount);
    let device = asked.device.clone();
    lock(&shared.hanging.0).push(Hung { path, device, _thread: shared.stuck.enter() });
}

/// What a thread of the pool does until the pool ends or it is given up.
fn work(shared: &Shared, worker: u64) {
    let (mut path, mut mount, mut device) = (Vec::new(), Vec::new(), Vec::new());
    let mut round = lock(&shared.round);
    loop {
        if round.has_ended {
            return;
        }
        let Some(index) = round.take(shared) else {
            if round.workers > round.workers_wanted {
                round.workers -= 1;
                return;
            }
            round = shared.work.wait(round).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let asked = &round.queue.asked[index];
        join(&mut path, &round.rootfs, &asked.mount);
        mount.clone_from(&asked.mount);
        device.clone_from(&asked.device);
        let asks_place = asked.asks_place;
        let began = Instant::now();
        round.calls.push(Call { worker, index, began });
        drop(round);
        // The caller must get the list back, so no panic may end the thread.
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&shared.ask, &path, asks_place)))
            .unwrap_or(Err(StatfsError::Failed(EIO)));
        round = lock(&shared.round);
        let Some(at) = round.calls.iter().position(|call| call.worker == worker) else {
            let late = Late { mount, device: device.clone(), took: began.elapsed() };
            round.late.push(late);
            drop(round);
            shared.hanging.remove(&path, &device);
            return;
        };
        round.calls.swap_remove(at);
        let asked = &mut round.queue.asked[index];
        asked.answer = Some(answer);
        asked.is_known_well = true;
        asked.took = began.elapsed();
        // The server that was waited for may be asked again.
        shared.work.notify_one();
        if round.calls.is_empty() || round.next >= round.order.len() {
            shared.answered.notify_one();
        }
    }
}

impl Drop for StatfsPool {
    fn drop(&mut self) {
        lock(&self.shared.round).has_ended = true;
        self.shared.work.notify_all();
    }
}

fn ask(ask: &Ask, path: &[u8], asks_place: bool) -> Result<Space, StatfsError> {
    let mut answer = Err(StatfsError::Failed(EINVAL));
    // What is returned here is only whether there is an answer.
    let asked = refuse_parent(path).and_then(|()| {
        with_c_string(
            |bytes| bytes.extend_from_slice(path),
            |path| {
                answer = ask(path, asks_place);
                Ok(())
            },
        )
    });
    asked.map_or(Err(StatfsError::Failed(EINVAL)), |()| answer)
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// File systems that hang until they are released.
    #[derive(Default)]
    struct Fake {
        hung: Mutex<HashSet<Vec<u8>>>,
        released: Condvar,
        calls: AtomicUsize,
        threads: Mutex<HashSet<thread::ThreadId>>,
        latency: Duration,
    }

    impl Fake {
        fn new(hung: &[&str], latency: Duration) -> Arc<Self> {
            let fake = Fake { latency, ..Fake::default() };
            lock(&fake.hung).extend(hung.iter().map(|path| path.as_bytes().to_vec()));
            Arc::new(fake)
        }

        fn release(&self) {
            lock(&self.hung).clear();
            self.released.notify_all();
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::Relaxed)
        }

        fn pool(self: &Arc<Self>, process: &Process) -> StatfsPool {
            let fake = Arc::clone(self);
            let ask = move |path: &CStr, _: bool| {
                let path = path.to_bytes();
                fake.calls.fetch_add(1, Ordering::Relaxed);
                lock(&fake.threads).insert(thread::current().id());
                if path.starts_with(b"/host/n") {
                    thread::sleep(fake.latency);
                }
                let mut hung = lock(&fake.hung);
                while hung.contains(path) {
                    hung = fake.released.wait(hung).unwrap();
                }
                Ok(Space { blocks: path.len() as u64, ..Space::default() })
            };
            StatfsPool::with(Arc::new(ask), process.hanging, process.stuck)
        }
    }

    /// What is shared in a process.
    #[derive(Clone, Copy)]
    struct Process {
        hanging: &'static Hanging,
        stuck: &'static StuckThreads,
    }

    impl Process {
        fn new() -> Self {
            Process { hanging: Box::leak(Box::default()), stuck: Box::leak(Box::default()) }
        }

        fn hung(self) -> usize {
            assert_eq!(lock(&self.hanging.0).len(), self.stuck.count());
            self.stuck.count()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// A short timeout makes hung calls cost little; calls that do not hang return at once.
    const SHORT: Duration = Duration::from_millis(100);

    fn ask_mounts(pool: &StatfsPool, queue: &mut StatfsQueue, mounts: &[(&str, &str)]) {
        ask_within(pool, queue, mounts, SHORT, MINUTE);
    }

    fn ask_within(
        pool: &StatfsPool,
        queue: &mut StatfsQueue,
        mounts: &[(&str, &str)],
        timeout: Duration,
        within: Duration,
    ) {
        queue.clear();
        for (mount, device) in mounts {
            queue.push(mount.as_bytes(), device.as_bytes(), b"0:45", mount.starts_with("/n"));
        }
        pool.ask_each(queue, OsStr::new("/host/"), timeout, within);
    }

    fn eventually(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < MINUTE, "it did not happen");
            thread::yield_now();
        }
    }

    fn answers(queue: &StatfsQueue) -> Vec<Result<u64, StatfsError>> {
        queue.iter().map(|asked| asked.answer.map(|space| space.blocks)).collect()
    }

    #[test]
    fn one_that_hangs_costs_only_itself_until_it_returns() {
        let process = Process::new();
        let fake = Fake::new(&["/host/n2"], Duration::ZERO);
        let pool = fake.pool(&process);
        let mounts = [("/", "d"), ("/n1", "s:/1"), ("/n2", "s:/2"), ("/n3", "s:/3"), ("/l", "d")];
        let mut queue = StatfsQueue::new();
        let without = [Ok(6), Ok(8), Err(StatfsError::Stuck), Ok(8), Ok(7)];
        ask_mounts(&pool, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(process.hung(), 1);

        // It is not asked again, also not by another host, and the others are.
        let calls = fake.calls();
        ask_mounts(&pool, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(fake.calls(), calls + 4);
        let successor = fake.pool(&process);
        ask_mounts(&successor, &mut queue, &mounts);
        assert_eq!(answers(&queue), without);
        assert_eq!(fake.calls(), calls + 8);

        // Another device on the same mount point is another file system.
        fake.release();
        ask_within(&pool, &mut queue, &[("/n2", "other:/export")], MINUTE, MINUTE);
        assert!(queue.answer(0).is_ok());
        eventually(|| process.hung() == 0);
        ask_mounts(&pool, &mut queue, &mounts);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    #[test]
    fn a_server_is_known_by_the_source_and_not_by_the_number() {
        let mut queue = StatfsQueue::new();
        for (source, number) in [("dead:/a", "0:45"), ("dead:/b", "0:46"), ("well:/a", "0:47")] {
            queue.push(b"/n", source.as_bytes(), number.as_bytes(), true);
        }
        queue.push(b"/n", b"fuse", b"0:48", true);
        queue.push(b"/n", b"//cifs/share", b"0:49", true);
        let servers: Vec<&[u8]> =
            queue.mounts().iter().map(|asked| server(&asked.device)).collect();
        assert_eq!(servers, [&b"dead"[..], b"dead", b"well", b"fuse 0:48", b"cifs"]);
    }

    #[test]
    fn hung_mounts_of_one_server_do_not_condemn_another_server() {
        let process = Process::new();
        let names: Vec<String> = (0..17).map(|number| format!("/n{number}")).collect();
        let paths: Vec<String> = names.iter().map(|name| format!("/host{name}")).collect();
        let fake = Fake::new(&paths.iter().map(String::as_str).collect::<Vec<_>>(), Duration::ZERO);
        let pool = fake.pool(&process);
        let mut mounts: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "dead:/export")).collect();
        mounts.push(("/n-well", "well:/export"));
        let mut queue = StatfsQueue::new();
        for _ in 0..3 {
            ask_mounts(&pool, &mut queue, &mounts);
            assert!(queue.answer(17).is_ok());
            assert_eq!(process.hung(), WORKERS);
            let of = |error| queue.iter().filter(|asked| asked.answer == Err(error)).count();
            assert_eq!((of(StatfsError::Stuck), of(StatfsError::NotAsked)), (WORKERS, 13));
        }
        fake.release();
        eventually(|| process.hung() == 0);
        ask_mounts(&pool, &mut queue, &mounts);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    #[test]
    fn no_more_threads_hang_than_twice_the_limit() {
        let process = Process::new();
        let names: Vec<String> = (0..40).map(|number| format!("/n{number}")).collect();
        let paths: Vec<String> = names.iter().map(|name| format!("/host{name}")).collect();
        let fake = Fake::new(&paths.iter().map(String::as_str).collect::<Vec<_>>(), Duration::ZERO);
        let pool = fake.pool(&process);
        let mut mounts: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        mounts.push(("/l", "local"));
        let mut queue = StatfsQueue::new();
        for round in 1..=20 {
            ask_mounts(&pool, &mut queue, &mounts);
            // One more each time, as long as there may be more.
            assert_eq!(process.hung(), (StuckThreads::LIMIT + round).min(MOST_HUNG));
            assert_eq!(queue.answer(39), Err(StatfsError::NotAsked));
            assert!(queue.answer(40).is_ok());
        }
        fake.release();
        eventually(|| process.hung() == 0);
        ask_within(&pool, &mut queue, &mounts, MINUTE, MINUTE);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    /// Whether they were well before or were never asked: by the second scrape it is known which one is.
    #[test]
    fn one_that_is_well_is_shown_beside_seventeen_that_hang() {
        let names: Vec<String> = (0..17).map(|number| format!("/n{number}")).collect();
        let paths: Vec<String> = names.iter().map(|name| format!("/host{name}")).collect();
        let mut mounts: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "fuse")).collect();
        mounts.push(("/n-well", "fuse"));
        let numbers: Vec<String> = (0..18).map(|number| format!("0:{number}")).collect();
        for were_well in [true, false] {
            let process = Process::new();
            let fake = Fake::new(&[], Duration::ZERO);
            let pool = fake.pool(&process);
            let mut queue = StatfsQueue::new();
            let mut ask = || {
                queue.clear();
                for ((mount, device), number) in mounts.iter().zip(&numbers) {
                    queue.push(mount.as_bytes(), device.as_bytes(), number.as_bytes(), true);
                }
                pool.ask_each(&mut queue, OsStr::new("/host/"), SHORT, MINUTE);
                let answers = queue.iter().map(|asked| asked.answer.is_ok());
                answers.collect::<Vec<_>>()
            };
            if were_well {
                assert!(ask().into_iter().all(|is_well| is_well));
            }
            lock(&fake.hung).extend(paths.iter().map(|path| path.as_bytes().to_vec()));
            ask();
            for _ in 0..3 {
                let answers = ask();
                assert_eq!((answers[17], answers.iter().filter(|well| **well).count()), (true, 1));
            }
            fake.release();
            eventually(|| process.hung() == 0);
            assert!(ask().into_iter().all(|is_well| is_well));
        }
    }

    #[test]
    fn mounts_that_hang_for_the_first_time_cost_no_more_than_a_second() {
        let process = Process::new();
        let fake = Fake::new(&["/host/n1", "/host/n2", "/host/n3"], Duration::ZERO);
        let pool = fake.pool(&process);
        let mounts = [("/n1", "a:/"), ("/n2", "b:/"), ("/n3", "c:/"), ("/n4", "d:/")];
        let mut queue = StatfsQueue::new();
        let began = Instant::now();
        ask_within(&pool, &mut queue, &mounts, MINUTE, MINUTE);
        assert!(began.elapsed() < MINUTE / 4, "{:?}", began.elapsed());
        let stuck = Err(StatfsError::Stuck);
        assert_eq!(answers(&queue), [stuck, stuck, stuck, Ok(8)]);
        fake.release();
        eventually(|| process.hung() == 0);
        // How long they took is known then.
        ask_within(&pool, &mut queue, &mounts, MINUTE, MINUTE);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
        assert!(lock(&pool.shared.round).late.is_empty());
    }

    #[test]
    fn who_is_slow_is_waited_for_and_who_is_hopeless_is_not() {
        let own_timeout = |took: u64, timeout: u64| {
            let took = Duration::from_millis(took);
            Asked { took, ..Asked::default() }
                .own_timeout(Duration::from_millis(timeout))
                .as_millis()
        };
        assert_eq!(own_timeout(0, 5000), 1000);
        assert_eq!(own_timeout(400, 5000), 1000);
        assert_eq!(own_timeout(1500, 5000), 3000);
        assert_eq!(own_timeout(4000, 5000), 5000);
        assert_eq!(own_timeout(60_000, 5000), 1000);
        assert_eq!(own_timeout(0, 700), 700);
        assert_eq!(own_timeout(0, 1), 20);
    }

    #[test]
    fn a_mount_that_answered_before_is_asked_beside_those_that_hang() {
        let process = Process::new();
        let fake = Fake::new(&[], Duration::ZERO);
        let pool = fake.pool(&process);
        let mounts = [("/n1", "a:/"), ("/n2", "b:/")];
        let mut queue = StatfsQueue::new();
        ask_mounts(&pool, &mut queue, &mounts);
        let others: Vec<_> = (0..StuckThreads::LIMIT).map(|_| process.stuck.enter()).collect();
        ask_mounts(&pool, &mut queue, &[("/n1", "a:/"), ("/n3", "c:/"), ("/n4", "d:/")]);
        assert!(queue.answer(0).is_ok());
        // Of those that nothing is known of, one at a time.
        assert!(queue.answer(1).is_ok());
        assert_eq!(queue.answer(2), Err(StatfsError::NotAsked));
        drop(others);
        ask_mounts(&pool, &mut queue, &[("/n1", "a:/"), ("/n3", "c:/"), ("/n4", "d:/")]);
        assert!(queue.iter().all(|asked| asked.answer.is_ok()));
    }

    /// The deadlines are those of a scrape; one thread alone would take 9 s and 10 s.
    #[test]
    fn many_slow_mounts_are_all_answered() {
        for (count, milliseconds) in [(300, 30), (2_500, 2)] {
            let process = Process::new();
            let fake = Fake::new(&[], Duration::from_millis(milliseconds));
            let pool = fake.pool(&process);
            let names: Vec<String> = (0..count).map(|number| format!("/n{number}")).collect();
            let mounts: Vec<(&str, &str)> =
                names.iter().map(|name| (name.as_str(), "server:/export")).collect();
            let mut queue = StatfsQueue::new();
            let within = Duration::from_secs(9);
            ask_within(&pool, &mut queue, &mounts, Duration::from_secs(5), within);
            assert!(queue.iter().all(|asked| asked.answer.is_ok()), "{count} mounts");
            assert_eq!((fake.calls(), process.hung()), (count, 0));
            assert!(lock(&fake.threads).len() <= WORKERS + StuckThreads::LIMIT);
        }
    }

    #[test]
    fn the_queue_says_how_many_are_asked_at_a_time() {
        let names: Vec<String> = (0..20).map(|number| format!("/n{number}")).collect();
        let mounts: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "server:/export")).collect();
        for wanted in [1, 2, 7] {
            let process = Process::new();
            let pool = Fake::new(&[], Duration::ZERO).pool(&process);
            let mut queue = StatfsQueue::new().workers(wanted);
            ask_within(&pool, &mut queue, &mounts, MINUTE, MINUTE);
            assert!(queue.iter().all(|asked| asked.answer.is_ok()));
            // Where a call was slow, another thread was started beside it, and has ended.
            eventually(|| lock(&pool.shared.round).workers == wanted);
            let mut round = lock(&pool.shared.round);
            round.order = (0..20).collect();
            assert!(!round.lacks_workers(&pool.shared));
            round.workers -= 1;
            assert!(round.lacks_workers(&pool.shared));
            round.workers += 1;
            round.order.clear();
        }
        let workers = |wanted| StatfsQueue::new().workers(wanted).workers;
        assert_eq!([0, 3, 99].map(workers), [1, 3, StuckThreads::LIMIT]);
    }

    #[test]
    fn what_there_was_no_time_for_is_not_said_to_hang() {
        let process = Process::new();
        let fake = Fake::new(&["/host/n0", "/host/n1", "/host/n2", "/host/n3"], Duration::ZERO);
        let pool = fake.pool(&process);
        let mounts =
            [("/n0", "s:/"), ("/n1", "s:/"), ("/n2", "s:/"), ("/n3", "s:/"), ("/n4", "s:/")];
        let mut queue = StatfsQueue::new();
        ask_within(&pool, &mut queue, &mounts, MINUTE, SHORT);
        assert_eq!(queue.answer(4), Err(StatfsError::NotAsked));
        assert_eq!(queue.answer(0), Err(StatfsError::Stuck));
        fake.release();
        eventually(|| process.hung() == 0);
    }

    #[test]
    fn the_threads_are_kept_and_end_with_the_pool() {
        let process = Process::new();
        let fake = Fake::new(&[], Duration::ZERO);
        let pool = fake.pool(&process);
        let mut queue = StatfsQueue::new();
        for _ in 0..100 {
            ask_mounts(&pool, &mut queue, &[("/n1", "s:/1"), ("/n2", "s:/2")]);
        }
        assert!(lock(&fake.threads).len() <= WORKERS);
        assert!(!lock(&fake.threads).contains(&thread::current().id()));
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        eventually(|| shared.strong_count() == 0);
    }

    #[test]
    fn a_panic_ends_neither_a_thread_nor_the_call() {
        let ask = |path: &CStr, _: bool| {
            assert!(path.to_bytes() != b"/host/n1", "as a test");
            Ok(Space::default())
        };
        let process = Process::new();
        let pool = StatfsPool::with(Arc::new(ask), process.hanging, process.stuck);
        let mut queue = StatfsQueue::new();
        for _ in 0..2 {
            ask_within(&pool, &mut queue, &[("/n1", ""), ("/n2", "")], MINUTE, MINUTE);
            assert_eq!(queue.answer(0), Err(StatfsError::Failed(EIO)));
            assert!(queue.answer(1).is_ok());
        }
    }

    #[test]
    fn a_place_is_asked_for_where_it_is_wanted() {
        let pool = StatfsPool::new();
        let mut queue = StatfsQueue::new();
        for round in 0..2 {
            queue.clear();
            for (mount, may_block) in [("/", false), ("/proc", false), ("/", true), ("/proc", true)]
            {
                queue.push(mount.as_bytes(), b"", b"", may_block);
                if round == 0 {
                    queue.ask_place();
                }
            }
            pool.ask_each(&mut queue, OsStr::new("/"), MINUTE, MINUTE);
            let places: Vec<_> = queue.iter().map(|asked| asked.answer.unwrap().place).collect();
            if round == 0 {
                assert_ne!(places[0], places[1]);
                assert_eq!(places[..2], places[2..]);
                let status = std::fs::metadata("/proc").unwrap();
                use std::os::linux::fs::MetadataExt;
                let found = (places[1].device, places[1].inode);
                assert_eq!(found, (status.st_dev(), status.st_ino()));
            } else {
                assert_eq!(places, [Default::default(); 4]);
            }
        }
    }

    #[test]
    fn paths_that_climb_or_end_early_are_refused() {
        let pool = StatfsPool::new();
        let mut queue = StatfsQueue::new();
        queue.push(b"/../etc", b"", b"", false);
        queue.push(b"/a\0b", b"", b"", true);
        queue.push(b"/", b"", b"", true);
        queue.push(b"/there is no such place", b"", b"", true);
        pool.ask_each(&mut queue, OsStr::new("/"), MINUTE, MINUTE);
        assert_eq!(queue.answer(0), Err(StatfsError::Failed(22)));
        assert_eq!(queue.answer(1), Err(StatfsError::Failed(22)));
        assert!(queue.answer(2).is_ok_and(|space| space.block_size > 0 && space.blocks > 0));
        assert_eq!(queue.answer(3), Err(StatfsError::Failed(2)));
    }
}
