//! What the kernel says of a running process.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

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

/// CPU time of all its threads, also of those that have ended, by the clock that the kernel has of each process.
pub fn time(process: u32) -> Duration {
    let process = Pid::from_raw(process.try_into().expect("the kernel's numbers are small"));
    let time = clock_getcpuclockid(process).and_then(clock_gettime);
    time.expect("the process is there").into()
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

/// How many page faults it has had that needed no device (proc(5)), those of threads that have ended included.
pub fn faults(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    // The name, which is in brackets, may have spaces.
    let (_, fields) = text.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).expect("a number")
}

/// A figure of `/proc/PID/status` of the whole process or, summed, of all its threads.
pub fn sum_over_threads(process: u32, key: &str) -> u64 {
    threads(process).into_keys().filter_map(|thread| status(process, thread, key)).sum()
}

/// A figure of one thread, such as `VmRSS` (KiB); those of memory are of the whole process.
pub fn status(process: u32, thread: u32, key: &str) -> Option<u64> {
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
