//! How far a run has come. What it found goes to standard output.

use std::io::Write as _;

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
