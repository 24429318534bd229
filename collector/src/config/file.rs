//! Reading the configuration file: whatever stands at its path, it costs a bounded read.

use crate::regular::{MOST_BYTES, read_unchanged};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;
use vitald_core::host::{Clock, clock_time};

/// How long the file must have been unchanged: a program that writes it in place empties it first.
const SETTLED: Duration = Duration::from_millis(10);
/// The same for an empty file, which is valid but seldom meant.
const EMPTY_SETTLED: Duration = Duration::from_millis(200);

/// Reads the file whole.
///
/// # Errors
///
/// A sentence: what the system said, or what the file is instead of a configuration.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let settle = |stat: &Stat| {
        while let Some(rest) = unsettled(stat) {
            std::thread::sleep(rest);
        }
        Ok(())
    };
    read_unchanged(path, MOST_BYTES, settle).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::MFILE) => {
            format!("{error}; raise the limit of open files (LimitNOFILE=, ulimit -n)")
        }
        _ => error.to_string(),
    })
}

/// How much longer the file must stay as it is; nothing if it has been so for long enough, or if its
/// times make no sense.
///
/// By the clock by which the kernel dates changes, which goes on once a tick, and late on a machine
/// that is busy: once it is past the last change, every further one has another date.
fn unsettled(stat: &Stat) -> Option<Duration> {
    let now = clock_time(Clock::RealtimeCoarse)?;
    let seconds = u64::try_from(stat.st_mtime).ok()?;
    let changed = Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).ok()?);
    let settled = if stat.st_size == 0 { EMPTY_SETTLED } else { SETTLED };
    match now.checked_sub(changed) {
        Some(age) => settled.checked_sub(age).filter(|rest| !rest.is_zero()),
        // A finer clock may have dated it; what is further ahead was set by hand.
        None => (changed - now < settled).then_some(settled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Instant;

    #[test]
    fn times_without_sense_do_not_wait() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for seconds in [-1, 0, 1 << 40] {
            std::fs::write(&path, "x").expect("a file");
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            let file = File::options().write(true).open(&path).expect("a file");
            // Not every file system can hold every time.
            let _ = rustix::fs::futimens(&file, &times);
            assert_eq!(read(&path).as_deref(), Ok(&b"x"[..]));
        }
    }

    #[test]
    fn a_file_that_is_replaced_again_and_again_is_read() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().expect("a directory");
        let (path, new) = (directory.path().join("file"), directory.path().join("new"));
        let whole = "x".repeat(64 << 10);
        std::fs::write(&path, &whole).expect("a file");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::fs::write(&new, &whole).expect("a file");
                    std::fs::rename(&new, &path).expect("a file");
                    // While one is read, but later than its own tick of the kernel's clock.
                    std::thread::sleep(SETTLED / 2);
                }
            });
            let read: Vec<_> = (0..20).map(|_| read(&path)).collect();
            stop.store(true, Ordering::Relaxed);
            for read in read {
                assert_eq!(read.map(|bytes| bytes.len()), Ok(whole.len()));
            }
        });
    }

    #[test]
    fn a_file_that_is_rewritten_in_place_is_read_whole_or_not_at_all() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let whole = "x".repeat(64 << 10);
        std::fs::write(&path, &whole).expect("a file");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    std::fs::write(&path, &whole).expect("a file");
                    longest = longest.max(began.elapsed());
                    std::thread::yield_now();
                }
                longest
            });
            let read: Vec<_> = (0..20).map(|_| read(&path)).collect();
            stop.store(true, Ordering::Relaxed);
            let longest = writer.join().expect("it writes");
            for read in read {
                match read {
                    // On a busy machine the writer may stop half-way for so long that it seems done.
                    Ok(bytes) if bytes.is_empty() => assert!(longest >= EMPTY_SETTLED),
                    Ok(_) if longest >= SETTLED => {}
                    Ok(bytes) => assert_eq!(bytes.len(), whole.len()),
                    Err(error) => assert!(error.contains("rename"), "{error}"),
                }
            }
        });
    }
}
