//! What the kernel says of a running process.

use std::collections::BTreeMap;
use std::fs;

/// Its threads, by number, with their names.
pub fn threads(process: u32) -> BTreeMap<u32, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let number =
        |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    tasks
        .filter_map(number)
        .filter_map(|thread: u32| {
            let name = fs::read_to_string(format!("/proc/{process}/task/{thread}/comm")).ok()?;
            Some((thread, name.trim().to_owned()))
        })
        .collect()
}

/// CPU time of each of its threads, in nanoseconds (Documentation/scheduler/sched-stats.rst).
pub fn thread_times(process: u32) -> BTreeMap<u32, u64> {
    threads(process)
        .into_keys()
        .filter_map(|thread| {
            let path = format!("/proc/{process}/task/{thread}/schedstat");
            let text = fs::read_to_string(path).ok()?;
            Some((thread, text.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

/// A figure of `/proc/PID/status` of the whole process or, summed, of all its threads.
pub fn sum_over_threads(process: u32, key: &str) -> u64 {
    threads(process).into_keys().filter_map(|thread| status(process, thread, key)).sum()
}

fn status(process: u32, thread: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The state letter of a process: `Z` when it has ended and something keeps it from going.
/// None when it is gone.
pub fn state(process: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()
}
