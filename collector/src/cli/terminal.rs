//! What a command prints, and the status with which it ends.

use crate::log;
use rustix::termios::tcgetwinsize;
use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::process::ExitCode;
use vitald_core::settings::{Mistake, Origin};

/// Exit statuses, as sysexits(3) numbers them.
pub(super) mod exit {
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 64;
    /// The daemon that was asked does not answer.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// The system refused something, such as an address in use.
    pub(crate) const OS_ERROR: u8 = 71;
    /// A configuration is wrong, or the binary is.
    pub(crate) const CONFIG: u8 = 78;
}

/// Prints every mistake, and the status of a wrong configuration.
pub(super) fn refuse(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        complain(mistake);
    }
    fail(exit::CONFIG, &conclusion(mistakes))
}

/// What is said after the mistakes of a configuration.
pub(super) fn conclusion(mistakes: &[Mistake]) -> String {
    match mistakes {
        [Mistake { origin: Origin::WholeFile(_), .. }] => {
            "the configuration cannot be read".to_owned()
        }
        [_] => "1 mistake in the configuration".to_owned(),
        _ => format!("{} mistakes in the configuration", mistakes.len()),
    }
}

/// Prints to standard output; a closed pipe ends the program quietly.
pub(super) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Text that may have come from elsewhere, for a person or as JSON: control characters but the ends of lines are
/// escaped as JSON does it, so that a terminal does not act on them.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let is_unsafe = |character: char| character.is_control() && character != '\n';
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing into a text does not fail.
            let _ = write!(printable, "\\u{:04x}", u32::from(character));
        } else {
            printable.push(character);
        }
    }
    Cow::Owned(printable)
}

/// The columns of the terminal that standard output is; nothing if it is none, or does not know them.
pub(super) fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A text whose lines have at most so many columns, as far as its words allow. Those after the first are indented.
pub(super) fn folded(text: &str, columns: usize, indent: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > columns {
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > 0 {
            folded.push(' ');
            column += 1;
        }
        folded.push_str(word);
        column += width;
    }
    folded
}

/// The status of a program whose output was written, or not.
pub(super) fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(exit::OS_ERROR, &format!("cannot write: {error}")),
    }
}

/// One line on standard error, which may be closed.
pub(super) fn complain(what: &dyn Display) {
    let text = log::as_error(&printable(&what.to_string()));
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(super) fn fail(status: u8, what: &dyn Display) -> ExitCode {
    complain(&format_args!("vitald: {what}"));
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_before_the_word_that_has_no_room() {
        assert_eq!(folded("one two three", 13, 2), "one two three");
        assert_eq!(folded("one two three", 12, 2), "one two\n  three");
        assert_eq!(folded("one two three", 1, 2), "one\n  two\n  three");
        assert_eq!(folded("", 3, 2), "");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(printable("a\nµ"), "a\nµ");
        assert_eq!(printable("a\x1b[2J\u{9b}\x7f\r"), r"a\u001b[2J\u009b\u007f\u000d");
    }
}
