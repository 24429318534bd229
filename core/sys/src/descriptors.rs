//! Threads with a descriptor table of their own.
//!
//! A thread that hangs in the kernel outlives SIGKILL, and with it the descriptor table it shares
//! with the other threads: the successor of a killed daemon then finds the port in use. So a
//! thread that may hang takes a table of its own first and empties it.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// Below are standard input, output and error, which belong to the whole process: a panic writes to them.
const FIRST: RawFd = 3;

/// Whether a thread got a table of its own: not tried yet, yes, or refused once.
static OUTCOME: AtomicU8 = AtomicU8::new(UNTRIED);
const UNTRIED: u8 = 0;
const SEPARATE: u8 = 1;
const REFUSED: u8 = 2;

/// Whether threads that may hang have descriptor tables of their own; `None` before the first one.
///
/// `Some(false)` once the system has refused it: Docker's default seccomp profile allows unshare(2)
/// only with CAP_SYS_ADMIN, and there are none on systems other than Linux. Such a thread works all
/// the same, but if it hangs it keeps the daemon's port taken after the daemon was killed.
pub fn descriptor_tables_are_separate() -> Option<bool> {
    // One word, and no other memory goes with it.
    match OUTCOME.load(Ordering::Relaxed) {
        UNTRIED => None,
        outcome => Some(outcome == SEPARATE),
    }
}

/// The promise that work keeps to descriptors of its own; see [`OwnDescriptors::promise`].
#[derive(Debug)]
pub struct OwnDescriptors(());

impl OwnDescriptors {
    /// Promises of the work that is started with this that no value which holds a descriptor comes
    /// to it or leaves it, not even through a static: what it opens it closes, it uses nothing that
    /// others opened but the one descriptor that it keeps, and it wakes others by that one or by
    /// means that need none.
    ///
    /// The types do not check this. Where it does not hold, a number means one file here and
    /// another one there, so that work reads or closes what it should not; memory stays sound.
    pub const fn promise() -> Self {
        OwnDescriptors(())
    }
}

/// Starts a thread that may hang in the kernel. It has a descriptor table of its own, with nothing
/// in it but standard input, output and error, and the one that it keeps, so that it keeps no port taken
/// when it outlives the process. That one is open for as long as the process is there, so that its
/// number means the same in every table. Where the system refuses the table, which [`descriptor_tables_are_separate`] tells, the
/// thread shares that of the others.
///
/// # Errors
///
/// As [`thread::Builder::spawn`].
pub fn spawn_with_own_descriptors(
    _: OwnDescriptors,
    kept: Option<BorrowedFd<'static>>,
    builder: thread::Builder,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let apart = move || {
        // The handlers of signals write to a socket of the daemon's, which this thread will not have: a signal that
        // came here would be lost. Another thread takes it.
        crate::signals::hold_all_signals();
        let separated = catch_unwind(|| {
            #[cfg(target_os = "linux")]
            // SAFETY: the thread is new and owns no descriptor, and what it is about to run was
            // promised to use none but its own.
            let separated = unsafe { unshare_descriptors(kept) };
            #[cfg(not(target_os = "linux"))]
            let separated: io::Result<()> = {
                let _ = kept;
                Err(io::ErrorKind::Unsupported.into())
            };
            separated
        });
        let outcome = if matches!(separated, Ok(Ok(()))) { SEPARATE } else { REFUSED };
        // Once refused it stays refused: one shared table is enough to hold a port.
        OUTCOME.fetch_max(outcome, Ordering::Relaxed);
        work();
    };
    builder.spawn(apart).map(drop)
}

/// Makes a descriptor of its own from the number of one that the process was started with.
///
/// # Errors
///
/// No such descriptor is open, or there is room for none.
pub fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the borrow ends with this function, which closes nothing. A number that is not open, or no
    // more, is refused by the kernel (EBADF).
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(inherited, 0)?)
}

/// Gives the calling thread a descriptor table of its own (unshare(2), CLONE_FILES) and closes
/// everything in it but standard input, output and error, and the one that it keeps. The other threads
/// keep what they have.
///
/// # Errors
///
/// What unshare(2) says, such as EPERM in a sandbox; nothing was closed then.
///
/// # Safety
///
/// The thread owns no descriptor, and from now on it uses no value that holds one which was opened
/// by another thread, but the one that it keeps, and gives away none that it opens itself.
#[cfg(target_os = "linux")]
pub unsafe fn unshare_descriptors(kept: Option<BorrowedFd<'static>>) -> io::Result<()> {
    // SAFETY: the thread uses no descriptor of another table, which the caller grants.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    let kept = kept.map(|kept| kept.as_raw_fd());
    // SAFETY: the table belongs to this thread alone, in which no value owns what is in it.
    unsafe {
        if close_ranges(kept).is_err() {
            close_each(kept);
        }
    }
    Ok(())
}

/// Closes all but one, at once (close_range(2)).
///
/// # Errors
///
/// ENOSYS before Linux 5.9, and what a sandbox says that does not know it.
///
/// # Safety
///
/// As of [`close_each`].
#[cfg(target_os = "linux")]
unsafe fn close_ranges(kept: Option<RawFd>) -> io::Result<()> {
    let (before, behind) = match kept {
        None => (FIRST..=RawFd::MAX, None),
        Some(kept) => (FIRST..=kept - 1, Some((kept + 1).max(FIRST)..=RawFd::MAX)),
    };
    for range in [Some(before), behind].into_iter().flatten().filter(|range| !range.is_empty()) {
        let [first, last] = [*range.start(), *range.end()].map(libc::c_long::from);
        // SAFETY: it touches no memory, and the caller grants that no value owns what is closed.
        let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes all but one, one after the other.
///
/// # Safety
///
/// No value that is used from now on owns any of them, in the table of the calling thread.
#[cfg(target_os = "linux")]
unsafe fn close_each(kept: Option<RawFd>) {
    for number in numbers().into_iter().filter(|number| Some(*number) != kept) {
        // SAFETY: no other thread opens or closes anything in this table, and the borrow ends at
        // once. A number that is not open is only asked about (EBADF).
        let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
        if is_open {
            // SAFETY: it is open in a table that belongs to this thread alone, where no value owns
            // it; closing it leaves the other threads' tables as they are.
            unsafe { rustix::io::close(number) };
        }
    }
}

/// The numbers of all open descriptors, and of some that are not.
#[cfg(target_os = "linux")]
fn numbers() -> Vec<RawFd> {
    /// What is tried without a list of what is open: a limit can be a thousand million.
    const MOST: u64 = 65_536;

    match std::fs::read_dir("/proc/thread-self/fd") {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&descriptor| descriptor >= FIRST)
            .collect(),
        Err(_) => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            (FIRST..limit.map_or(MOST, |limit| limit.min(MOST)) as i32).collect()
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::sync::mpsc;

    #[test]
    fn a_thread_holds_no_descriptors_of_the_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (send, receive) = mpsc::channel();
        let builder = thread::Builder::new().name("apart".into());
        spawn_with_own_descriptors(OwnDescriptors::promise(), None, builder, move || {
            let open = std::fs::read_dir("/proc/thread-self/fd").unwrap();
            let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            // One of them is the directory itself.
            let held = numbers.filter(|number| number.parse::<i32>().unwrap() > 2).count();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            send.send((held, u64::from_str_radix(blocked.trim(), 16).unwrap())).unwrap();
        })
        .unwrap();
        let (held, blocked) = receive.recv().unwrap();
        // A signal whose handler writes to a descriptor must not come here.
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            assert!(blocked & 1 << (signal - 1) != 0, "{signal}: {blocked:x}");
        }
        // A sandbox that refuses the table says so, and the thread has worked all the same.
        match descriptor_tables_are_separate() {
            Some(true) => assert_eq!(held, 1),
            outcome => {
                assert_eq!(outcome, Some(false));
                assert!(held > 1);
            }
        }
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().is_ok());
    }

    /// Which of some descriptors are open after all but one have been closed, on a thread with a table of its own; `None`
    /// where there is no such table.
    fn left_by(
        kept: Option<usize>,
        close: fn(Option<RawFd>) -> io::Result<()>,
    ) -> Option<io::Result<Vec<usize>>> {
        let test = move || {
            // SAFETY: nothing that was opened before is used from here on.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.ok()?;
            // SAFETY: the same. The first number is free then.
            unsafe { close_each(None) };
            let open = || std::fs::File::open("/dev/null").unwrap();
            // They are closed without them.
            let numbers = [(); 8].map(|()| open().into_raw_fd());
            let closed = close(kept.map(|place| numbers[place]));
            let is_open = |place: &usize| {
                // SAFETY: it is only asked about.
                rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(numbers[*place]) }).is_ok()
            };
            Some(closed.map(|()| (0..numbers.len()).filter(is_open).collect()))
        };
        thread::spawn(test).join().unwrap()
    }

    #[test]
    fn both_ways_to_close_leave_the_same() {
        let each = |kept| {
            // SAFETY: nothing of this table is used any more.
            unsafe { close_each(kept) };
            Ok(())
        };
        // SAFETY: the same.
        let ranges = |kept| unsafe { close_ranges(kept) };
        for kept in [None, Some(0), Some(4), Some(7)] {
            let expected: Vec<usize> = kept.into_iter().collect();
            let Some(left) = left_by(kept, each) else {
                println!("skipped: it needs unshare(2), which is refused here");
                return;
            };
            assert_eq!(left.unwrap(), expected);
            match left_by(kept, ranges).unwrap() {
                Err(error)
                    if [libc::ENOSYS, libc::EPERM].map(Some).contains(&error.raw_os_error()) =>
                {
                    println!("skipped: it needs close_range(2): {error}");
                }
                left => assert_eq!(left.unwrap(), expected),
            }
        }
    }
}
