//! The thread that writes lines to standard error, so that no caller waits for its reader.
//!
//! A pipe that is not read, a stopped terminal or a wedged log driver blocks a write for as long as
//! it likes. Here it blocks one thread. Callers append to a bounded buffer; a line for which there
//! is no room is dropped and counted. One thread writes whole lines, so that no two are mixed.
//!
//! `tracing-appender` has such a writer, but bounds lines, not bytes, and at the end prints to
//! standard output when its queue is full.

use crate::sync::lock;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most that may wait to be written, and as much again may be under way.
const MOST_BYTES: usize = 256 << 10;
/// A buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 16 << 10;
/// The thread formats one short line at most.
const STACK_BYTES: usize = 64 << 10;

/// A screen that shows lines while standard error, which is the same terminal, is not seen.
pub(crate) trait Screen: Send + Sync {
    /// Shows lines, each with its line feed. Called by the thread of the log alone.
    fn take(self: Arc<Self>, lines: &str);

    /// Gives back the last of them, for standard error.
    fn kept(&self) -> String;
}

/// Lines that wait to be written.
#[derive(Default)]
pub(super) struct LineWriter {
    pending: Mutex<Pending>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
    /// Where lines go instead.
    screen: Mutex<Option<Arc<dyn Screen>>>,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    is_writing: bool,
    /// There is no thread that could write.
    is_closed: bool,
    /// Dropped since the log last said so.
    unreported: u64,
}

impl LineWriter {
    /// Starts the thread, which has lines written by `write` for as long as the process lives; that answers how many
    /// it could not write. `notice` makes the line that says how many lines are missing. Without a thread everything
    /// is dropped, and counted.
    pub(super) fn start(
        write: impl FnMut(&[u8]) -> u64 + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> Arc<Self> {
        Self::start_in(std::thread::Builder::new().stack_size(STACK_BYTES), write, notice)
    }

    fn start_in(
        thread: std::thread::Builder,
        mut write: impl FnMut(&[u8]) -> u64 + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> Arc<Self> {
        let writer = Arc::new(LineWriter::default());
        let worker = Arc::clone(&writer);
        let started = thread.name("log".to_owned()).spawn(move || worker.work(&mut write, &notice));
        lock(&writer.pending).is_closed = started.is_err();
        writer
    }

    /// Whether there is a thread that writes.
    pub(super) fn is_open(&self) -> bool {
        !lock(&self.pending).is_closed
    }

    /// Takes one line, with its line feed, if there is room for it.
    pub(super) fn push(&self, line: &str) {
        let mut pending = lock(&self.pending);
        if pending.is_closed || pending.lines.len() + line.len() > MOST_BYTES {
            pending.unreported += 1;
            self.count(1);
            return;
        }
        pending.lines.extend_from_slice(line.as_bytes());
        drop(pending);
        self.filled.notify_one();
    }

    /// Has lines go to a screen, or not any longer; answers where they went before.
    pub(super) fn show_on(&self, screen: Option<Arc<dyn Screen>>) -> Option<Arc<dyn Screen>> {
        std::mem::replace(&mut *lock(&self.screen), screen)
    }

    /// Counts lines that are not written.
    pub(super) fn count(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// How many lines were not written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but not longer than `within`.
    pub(super) fn flush(&self, within: Duration) {
        let limit = Instant::now() + within;
        let mut pending = lock(&self.pending);
        while pending.is_writing || !pending.lines.is_empty() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.written.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn work(&self, write: &mut dyn FnMut(&[u8]) -> u64, notice: &dyn Fn(u64) -> String) {
        let mut lines = Vec::new();
        loop {
            let unreported = self.take(&mut lines);
            if unreported > 0 {
                // They came when the buffer was full, so after what was in it.
                lines.extend_from_slice(notice(unreported).as_bytes());
            }
            let screen = lock(&self.screen).clone();
            if let Some(screen) = screen {
                screen.take(&String::from_utf8_lossy(&lines));
            } else {
                // A full disk or a closed pipe: there is no better place to say so.
                self.count(write(&lines));
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits for lines and takes all of them; answers how many were dropped meanwhile.
    fn take(&self, into: &mut Vec<u8>) -> u64 {
        let mut pending = lock(&self.pending);
        pending.is_writing = false;
        self.written.notify_all();
        while pending.lines.is_empty() {
            pending = self.filled.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.is_writing = true;
        std::mem::swap(&mut pending.lines, into);
        std::mem::take(&mut pending.unreported)
    }
}

/// What writes lines as they are.
pub(super) fn to_stream(
    out: impl AsFd + Send + 'static,
) -> impl FnMut(&[u8]) -> u64 + Send + 'static {
    move |lines| match write_all(&out, lines) {
        Ok(()) => 0,
        Err(rest) => rest.iter().filter(|byte| **byte == b'\n').count() as u64,
    }
}

/// Writes all, and answers what could not be written.
pub(super) fn write_all<'l>(out: &impl AsFd, mut lines: &'l [u8]) -> Result<(), &'l [u8]> {
    while !lines.is_empty() {
        // Not by std, whose lock other writers would wait for.
        match rustix::io::write(out, lines) {
            Ok(0) => return Err(lines),
            Ok(written) => lines = &lines[written..],
            Err(Errno::INTR) => {}
            // The descriptor is shared with other programs, one of which made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(out, PollFlags::OUT)], None);
            }
            Err(_) => return Err(lines),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn notice(count: u64) -> String {
        format!("missing={count}\n")
    }

    #[test]
    fn a_pipe_that_is_not_read_holds_up_no_caller() {
        let (reader, pipe) = std::io::pipe().expect("a pipe");
        let writer = LineWriter::start(to_stream(pipe), notice);
        let line = format!("{}\n", "x".repeat(99));
        let count = 10_000;
        (0..count).for_each(|_| writer.push(&line));
        let began = Instant::now();
        writer.flush(Duration::from_millis(10));
        assert!(began.elapsed() >= Duration::from_millis(10), "the pipe took everything");
        let dropped = writer.dropped();
        assert!(dropped > 0 && dropped < count, "{dropped}");

        // Once it is read again the log says what is missing, in whole lines.
        let (mut whole, mut missing) = (0, 0);
        let mut lines = BufReader::new(reader).lines();
        while whole + missing < count {
            let text = lines.next().expect("a line").expect("a line");
            match text.strip_prefix("missing=") {
                Some(number) => missing += number.parse::<u64>().expect("a number"),
                None => {
                    assert_eq!(text, line.trim_end());
                    whole += 1;
                }
            }
        }
        assert_eq!((missing, writer.dropped()), (dropped, dropped));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (reader, pipe) = std::io::pipe().expect("a pipe");
        drop(reader);
        let writer = LineWriter::start(to_stream(pipe), notice);
        writer.push("one\n");
        writer.flush(Duration::from_secs(60));
        assert_eq!(writer.dropped(), 1);
    }

    #[test]
    fn without_a_thread_lines_are_counted_and_no_flush_waits() {
        let (_reader, pipe) = std::io::pipe().expect("a pipe");
        // No address space has room for this stack.
        let thread = std::thread::Builder::new().stack_size(1 << 62);
        let writer = LineWriter::start_in(thread, to_stream(pipe), notice);
        (0..3).for_each(|_| writer.push("line\n"));
        assert!(!writer.is_open());
        assert_eq!(writer.dropped(), 3);
        let began = Instant::now();
        writer.flush(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_flush_waits_for_what_is_written() {
        let (mut reader, pipe) = std::io::pipe().expect("a pipe");
        let writer = LineWriter::start(to_stream(pipe), notice);
        writer.push("one\ntwo\n");
        writer.flush(Duration::from_secs(60));
        let mut text = [0; 8];
        std::io::Read::read_exact(&mut reader, &mut text).expect("it is there");
        assert_eq!(&text, b"one\ntwo\n");
    }
}
