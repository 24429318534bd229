//! A place on this machine that a script makes: mounts, control groups, whatever the test needs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use crate::harness::root;

/// A place, as long as the value lives. Its script says so in a line of words when it is made, and
/// takes everything away again at the end of its input: that comes with the value's end, and with
/// that of the test however it comes.
pub struct Place {
    script: Child,
    /// What the script said: `ready WORD...`.
    pub words: Vec<String>,
    // The script would end at a line that is not read.
    _said: BufReader<ChildStdout>,
}

impl Place {
    /// Makes one by a script that is named as from the top of the source tree.
    pub fn make(script: &str, arguments: &[&str]) -> Place {
        let mut script = Command::new("bash")
            .arg(root().join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut said = BufReader::new(script.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        let mut words = line.split_whitespace().map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("ready"), "the place cannot be made");
        Place { words: words.collect(), script, _said: said }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// What a command printed, both streams; the test fails if the command does.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let (output, text) = ended(command);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// What a command printed, if it fails; else the test does.
#[track_caller]
pub fn refused(command: &mut Command) -> String {
    let (output, text) = ended(command);
    assert!(!output.status.success(), "{command:?} was to fail\n{text}");
    text
}

fn ended(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output, text)
}
