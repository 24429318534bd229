//! systemd's journal, if standard error is that: lines with a priority and fields (systemd.journal-fields(7)).
//!
//! A line of the daemon is one datagram to the journal's socket. What has no fields, and what the socket does not take, goes to
//! standard error with its priority before it (sd-daemon(3)). That is also the way for the last words of a process: of a
//! datagram whose sender has ended the journal may not find out any more which unit it was of.

use super::writer::write_all;
use std::ffi::OsStr;
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::stderr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use tracing::Level;

/// Where the journal takes datagrams.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// Between the fields of a record that waits to be sent. No value has it: control characters are escaped.
const SEPARATOR: char = '\u{1f}';
/// How a record begins.
const PRIORITY: &[u8] = b"PRIORITY=";
/// How a record goes on.
const MESSAGE: &[u8] = b"MESSAGE=";
/// The priority of errors (syslog(3)).
const ERROR: u8 = 3;

/// Whether standard error is the journal.
pub(super) fn is_standard_error() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let about = stderr().as_fd().try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    about.is_ok_and(|about| names(&stream, about.dev(), about.ino()))
}

/// Whether the variable is about this file.
fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
    stream.to_str().is_some_and(|stream| stream == format!("{device}:{inode}"))
}

/// Text of errors as it is written to standard error.
pub(super) fn as_errors(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| format!("<{ERROR}>{line}")).collect();
    lines.join("\n")
}

/// One line, on its way to the journal.
pub(super) struct Record {
    priority: u8,
    fields: String,
}

impl Record {
    pub(super) fn new(level: Level) -> Self {
        let priority = match level {
            Level::ERROR => ERROR,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        Record { priority, fields: String::new() }
    }

    /// Adds a field. Its value has no control character.
    pub(super) fn field(&mut self, key: &str, value: &dyn Display) {
        let name: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        // Writing into a text does not fail.
        let _ = write!(self.fields, "{SEPARATOR}VITALD_{name}={value}");
    }

    /// The record as a line that waits.
    pub(super) fn line(self, message: &str) -> String {
        format!("PRIORITY={}{SEPARATOR}MESSAGE={message}{}\n", self.priority, self.fields)
    }
}

/// What writes lines: records to the journal's socket, all else to standard error. It answers how many could not be
/// written.
pub(super) fn writer(
    socket: &'static Path,
    standard_error: impl AsFd + Send + 'static,
) -> impl FnMut(&[u8]) -> u64 + Send + 'static {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let identifier = format!("SYSLOG_IDENTIFIER={}\n", program.to_string_lossy());
    // Not connected: so it reaches a journal that has been started anew.
    let sender = UnixDatagram::unbound().ok();
    move |lines| {
        let mut lost = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let is_sent = line.starts_with(PRIORITY)
                && sender.as_ref().is_some_and(|sender| {
                    let datagram = [identifier.as_bytes(), &datagram(line)].concat();
                    sender.send_to(&datagram, socket).is_ok()
                });
            if !is_sent && write_all(&standard_error, &in_a_stream(line)).is_err() {
                lost += 1;
            }
        }
        lost
    }
}

/// A record as the journal takes it: a field a line.
fn datagram(record: &[u8]) -> Vec<u8> {
    record.iter().map(|byte| if *byte == SEPARATOR as u8 { b'\n' } else { *byte }).collect()
}

/// A record as standard error takes it; what is none stays as it is.
fn in_a_stream(line: &[u8]) -> Vec<u8> {
    let mut parts = line.split(|byte| *byte == SEPARATOR as u8);
    let priority = parts.next().and_then(|part| part.strip_prefix(PRIORITY));
    let message = parts.next().and_then(|part| part.strip_prefix(MESSAGE));
    match (priority, message) {
        (Some(priority), Some(message)) => {
            [b"<", priority, b">", message.trim_ascii_end(), b"\n"].concat()
        }
        _ => line.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn record() -> String {
        let mut record = Record::new(Level::WARN);
        record.field("collector", &"perf");
        record.field("took.seconds", &0.5);
        record.line("it failed collector=perf")
    }

    #[test]
    fn the_variable_is_compared_as_a_whole() {
        for (stream, is_it) in [("9:42", true), ("9:4", false), ("9:421", false), ("", false)] {
            assert_eq!(names(OsStr::new(stream), 9, 42), is_it, "{stream}");
        }
    }

    #[test]
    fn records_go_to_the_socket_and_all_else_to_standard_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let path: &'static Path = Box::leak(directory.path().join("s").into_boxed_path());
        let journal = UnixDatagram::bind(path).expect("a socket");
        let (mut reader, pipe) = std::io::pipe().expect("a pipe");
        let mut write = writer(path, pipe);
        assert_eq!(write(format!("{}{}\n", record(), as_errors("one\n\ntwo\n")).as_bytes()), 0);
        let mut heard = [0; 4096];
        let length = journal.recv(&mut heard).expect("a datagram");
        let heard = String::from_utf8_lossy(&heard[..length]).into_owned();
        let (identifier, rest) = heard.split_once('\n').expect("lines");
        assert!(identifier.starts_with("SYSLOG_IDENTIFIER=vitald"), "{identifier}");
        assert_eq!(
            rest,
            "PRIORITY=4\nMESSAGE=it failed collector=perf\nVITALD_COLLECTOR=perf\nVITALD_TOOK_SECONDS=0.5\n"
        );
        // Nobody takes it there any more.
        std::fs::remove_file(path).expect("it is there");
        assert_eq!(write(record().as_bytes()), 0);
        drop(write);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert_eq!(text, "<3>one\n<3>two\n<4>it failed collector=perf\n");
    }

    #[test]
    fn what_nobody_takes_is_counted() {
        let (reader, pipe) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut write = writer(Path::new("/nonexistent/socket"), pipe);
        assert_eq!(write(record().repeat(3).as_bytes()), 3);
    }
}
