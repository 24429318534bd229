//! What strace sees of a program while it is scraped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What strace counts while the scrapes are made, by system call, and how many threads were
/// started meanwhile.
pub fn system_calls(process: u32, scrapes: impl FnOnce()) -> (BTreeMap<String, u64>, usize) {
    let table = tempfile::NamedTempFile::new().expect("a file");
    let threads = traced(process, &["-c", "-f"], table.path(), scrapes);
    let text = fs::read_to_string(table.path()).expect("strace's table");
    // % time     seconds  usecs/call     calls    errors syscall
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let calls = fields.get(3)?.parse().ok()?;
        let name = *fields.last()?;
        (fields.len() >= 5 && name != "total").then(|| (name.to_owned(), calls))
    };
    (text.lines().filter_map(row).collect(), threads)
}

/// Each system call of the kinds that `filter` names, one a line, with the paths of descriptors, one thread
/// after another.
pub fn each_call(process: u32, filter: &str, scrapes: impl FnOnce()) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    // A file for each thread: in one for all of them a call that another thread interrupts is two lines.
    let arguments = ["-ff", "-y", "-s", "1", "-e", filter];
    traced(process, &arguments, &directory.path().join("thread"), scrapes);
    let files = fs::read_dir(directory.path()).expect("the directory is there");
    let text = |entry: std::io::Result<fs::DirEntry>| {
        let text = fs::read(entry.expect("a file").path()).expect("what strace wrote");
        // Texts of the kernel that strace shows need not be UTF-8.
        String::from_utf8_lossy(&text).into_owned()
    };
    files.map(text).collect()
}

/// Has strace write to a file while the scrapes are made; how many threads were started meanwhile.
pub fn traced(process: u32, arguments: &[&str], to: &Path, scrapes: impl FnOnce()) -> usize {
    let mut strace = Command::new("strace")
        .args(arguments)
        .args(["-p", &process.to_string(), "-o"])
        .arg(to)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace");
    let mut said = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
    // Process 12 attached with 3 threads
    let line = said.next().expect("strace attaches to every thread").expect("text");
    assert!(line.contains("attached"), "{line}");
    scrapes();
    let interrupt = format!("kill -INT {}", strace.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().expect("a shell").success());
    let threads = said.map_while(Result::ok).filter(|line| line.contains("attached")).count();
    strace.wait().expect("it ends");
    threads
}
