//! The one place of this crate where unsafe calls are made.
//!
//! A thread that hangs in the kernel outlives SIGKILL, and with it the descriptor table it shares
//! with the other threads: the successor of a killed daemon then finds the port in use. So a
//! thread that may hang takes a table of its own first and empties it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use std::panic::catch_unwind;
use std::thread;

use rustix::thread::UnshareFlags;

/// Below are standard input, output and error, which a panic writes to.
const FIRST: RawFd = 3;

/// What is tried without a list of what is open: a limit can be a thousand million.
const MOST: u64 = 65_536;

/// Starts a thread that may hang in the kernel: it has no descriptor of the other threads', so that it
/// keeps no port taken when it outlives the process.
///
/// Descriptors are numbers in a table, and this thread has a table of its own. So no value that holds
/// a descriptor may come to it or leave it: what it opens it has to close itself, and it wakes others by
/// means that need none. Where a sandbox forbids the separation, the thread works all the same and
/// shares the table.
///
/// # Errors
///
/// As [`std::thread::Builder::spawn`].
pub fn spawn_apart(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let apart = move || {
        catch_unwind(forsake_descriptors).ok();
        work();
    };
    thread::Builder::new().name(name).spawn(apart).map(drop)
}

/// Gives the calling thread a descriptor table of its own (unshare(2), CLONE_FILES) and closes
/// everything in it but standard input, output and error. The other threads keep what they have.
///
/// To be called as the first thing in a new thread that uses no descriptor and no value that holds
/// one, then or later.
///
/// # Errors
///
/// What unshare(2) says, such as EPERM in a sandbox; nothing was closed then.
pub(super) fn forsake_descriptors() -> io::Result<()> {
    // SAFETY: the thread must never use a descriptor of another table. It is new and owns none,
    // and what it runs keeps to that: statfs(2) calls on paths, or a collector whose descriptors
    // are opened, used and closed by it alone.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }?;
    for number in numbers() {
        // SAFETY: nobody else opens or closes anything in this table, and the borrow ends at once.
        // A number that is not open is only asked about (EBADF).
        let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
        if is_open {
            // SAFETY: it is open in a table that belongs to this thread alone, where no value owns
            // it; closing it leaves the other threads' tables as they are.
            unsafe { rustix::io::close(number) };
        }
    }
    Ok(())
}

/// The numbers of all open descriptors, and of some that are not.
fn numbers() -> Vec<RawFd> {
    match std::fs::read_dir("/proc/thread-self/fd") {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&descriptor| descriptor >= FIRST)
            .collect(),
        Err(_) => {
            let limit = super::limits::descriptors().map_or(MOST, |limit| limit.min(MOST));
            (FIRST..limit as RawFd).collect()
        }
    }
}

/// Lets go of the program's code that is resident; it is read again where it is used.
///
/// What a start needs (the command line, the configuration, patterns) is most of the program and
/// is not needed again: kept, it is half of what the daemon has resident.
pub fn release_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        // 55d8a3c00000-55d8a3f00000 r-xp 000c0000 fe:00 1234    /usr/bin/vitald
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp")) = (fields.next(), fields.next()) else { continue };
        if !fields.nth(3).is_some_and(|path| path.starts_with('/')) {
            continue;
        }
        let Some((start, end)) = range.split_once('-') else { continue };
        let address = |text| usize::from_str_radix(text, 16);
        let (Ok(start), Ok(end)) = (address(start), address(end)) else { continue };
        let code = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: a private mapping of a file that nobody writes to. A page that is dropped is read
        // from the file when it is next used, with the content it had (madvise(2)).
        unsafe { rustix::mm::madvise(code, end - start, rustix::mm::Advice::LinuxDontNeed) }.ok();
    }
}
