//! Processes and threads by state, from `/proc/PID/stat` (proc_pid_stat(5)), and the limits of their numbers.

use std::io;

use vitald_core::errno::ESRCH;
use vitald_core::host::{Children, Listing};
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// Threads of all processes.
    THREADS: gauge = "node_processes_threads";
    /// The most threads that there can be.
    MAX_THREADS: gauge = "node_processes_max_threads";
    /// Processes in each state, by the kernel's letter for it.
    STATE: gauge = "node_processes_state" [state];
    /// Threads in each state, by the kernel's letter for it.
    THREADS_STATE: gauge = "node_processes_threads_state" [thread_state];
    /// Processes.
    PIDS: gauge = "node_processes_pids";
    /// The number that process numbers stay below.
    MAX_PROCESSES: gauge = "node_processes_max_processes";
}

register_collector!(Processes);

struct Processes {
    processes: Children,
    threads_max: KeptFile,
    pid_max: KeptFile,
    listing: Listing,
    tasks: Listing,
    /// Where the path of a thread is put together.
    path: Vec<u8>,
}

impl Collector for Processes {
    about! {
        name: "processes",
        summary: "Processes and threads, by state",
        families: FAMILIES,
        sources: [
            "proc/*/stat",
            "proc/*/task/*/stat",
            "proc/sys/kernel/threads-max",
            "proc/sys/kernel/pid_max",
        ],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Processes",
        &[
            Curve::of("processes", value("node_processes_pids")),
            Curve::of("threads", value("node_processes_threads")),
            Curve::each("state", value("node_processes_state")),
        ],
    )];
    const ENABLED: bool = false;
    // A host with thousands of threads takes tens of milliseconds.
    const MAY_BLOCK: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Processes {
            processes: host.children("proc"),
            threads_max: host.keep_whole("proc/sys/kernel/threads-max"),
            pid_max: host.keep_whole("proc/sys/kernel/pid_max"),
            listing: Listing::new(),
            tasks: Listing::new(),
            path: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let sums = self.count(batch)?;
        batch.value(&THREADS, sums.threads);
        let threads_max = self.threads_max.parse(text::single_u64)?;
        batch.value(&MAX_THREADS, threads_max);
        for (state, count) in present(&sums.process_states) {
            batch.row(&STATE, [&[state]], count);
        }
        for (state, count) in present(&sums.thread_states) {
            batch.row(&THREADS_STATE, [&[state]], count);
        }
        batch.value(&PIDS, sums.processes);
        let pid_max = self.pid_max.parse(text::single_u64)?;
        batch.value(&MAX_PROCESSES, pid_max);
        Ok(())
    }
}

struct Sums {
    processes: u64,
    threads: u64,
    /// By letter.
    process_states: [u64; 256],
    thread_states: [u64; 256],
}

impl Processes {
    fn count(&mut self, batch: &mut Batch) -> Result<Sums> {
        let Processes { processes, listing, tasks, path, .. } = self;
        let (process_states, thread_states) = ([0; 256], [0; 256]);
        let mut sums = Sums { processes: 0, threads: 0, process_states, thread_states };
        processes.list(listing)?;
        let is_number = |name: &[u8]| parse_u64(name).is_some();
        for process in listing.iter().filter(|entry| is_number(entry.name)) {
            let Some(stat) = read(processes, process.name, batch)? else { continue };
            sums.processes += 1;
            sums.threads = sums.threads.saturating_add(stat.threads);
            sums.process_states[usize::from(stat.state)] += 1;
            if processes.list_in(process.name, "task", tasks).is_err() {
                // It has gone meanwhile, or its threads are hidden.
                continue;
            }
            // The first thread has the number of its process, and has been read.
            for thread in tasks.iter().filter(|entry| is_number(entry.name)) {
                let mut state = Some(stat.state);
                if thread.name != process.name {
                    path.clear();
                    for part in [process.name, b"/task/", thread.name] {
                        path.extend_from_slice(part);
                    }
                    state = read(processes, path, batch)?.map(|stat| stat.state);
                }
                if let Some(state) = state {
                    sums.thread_states[usize::from(state)] += 1;
                }
            }
        }
        Ok(sums)
    }
}

/// What is shown of a process or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
}

/// `None` for what has gone since it was listed, or cannot be read.
fn read(processes: &mut Children, name: &[u8], batch: &mut Batch) -> Result<Option<Stat>> {
    match processes.read(name, "stat") {
        Ok(text) => Ok(batch.tolerate(parse(text))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            batch.degraded("permission");
            Ok(None)
        }
        Err(error) => Err(processes.error(name, "stat", error)),
    }
}

/// ENOENT and ESRCH.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Takes the state and the number of threads, the first and the 18th field behind the name, of
/// `1312 (tokio (rt) w) S 1 1312 1312 0 -1 4194560 1182 0 0 0 5 3 0 0 20 0 4 0 4003 ...`.
fn parse(text: &[u8]) -> Result<Stat, Malformed> {
    let end = text.iter().rposition(|byte| *byte == b')');
    let start = end.ok_or(Malformed::new(0, "a name in brackets"))? + 1;
    let mut fields = Fields::new(&text[start..]);
    let wrong = |wrong: Malformed| wrong.moved_by(start);
    let [state] = *fields.text().map_err(wrong)? else {
        return Err(Malformed::new(start + 1, "a letter"));
    };
    Ok(Stat { state, threads: fields.pass(16).u64().map_err(wrong)? })
}

/// The letters that were met, and how often.
fn present(states: &[u64; 256]) -> impl Iterator<Item = (u8, u64)> {
    let letters = (0..=u8::MAX).zip(*states);
    letters.filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn stat(number: u32, name: &str, state: char, threads: u32) -> String {
        format!(
            "{number} ({name}) {state} 1 1 1 0 -1 4194560 1182 0 0 0 5 3 0 0 20 0 {threads} 0 4003 1 2\n"
        )
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("proc/sys/kernel/threads-max", "192000\n"),
            ("proc/sys/kernel/pid_max", "4194304\n"),
            ("proc/1/stat", &stat(1, "init", 'S', 1)),
            ("proc/1/task/1/stat", &stat(1, "init", 'S', 1)),
            ("proc/27/stat", &stat(27, "a) R (b", 'S', 3)),
            ("proc/27/task/27/stat", "not read"),
            ("proc/27/task/28/stat", &stat(28, "worker", 'R', 3)),
            ("proc/27/task/29/stat", &stat(29, "worker", 'D', 3)),
            ("proc/9/stat", &stat(9, "kworker", 'I', 1)),
            ("proc/9/task/9/stat", &stat(9, "kworker", 'I', 1)),
            ("proc/stat", "cpu 1 2 3\n"),
        ]);
        memory.link("proc/self", "27");
        memory
    }

    #[test]
    fn golden() {
        check::<Processes>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_processes_max_processes gauge
                node_processes_max_processes 4.194304e+06
                # node_processes_max_threads gauge
                node_processes_max_threads 192000
                # node_processes_pids gauge
                node_processes_pids 3
                # node_processes_state gauge
                node_processes_state{state="I"} 1
                node_processes_state{state="S"} 2
                # node_processes_threads gauge
                node_processes_threads 5
                # node_processes_threads_state gauge
                node_processes_threads_state{thread_state="D"} 1
                node_processes_threads_state{thread_state="I"} 1
                node_processes_threads_state{thread_state="R"} 1
                node_processes_threads_state{thread_state="S"} 2
            "#]],
        );
    }

    #[test]
    fn what_goes_while_it_is_read_is_left_out() {
        for gone in [2, 3] {
            let memory = memory();
            memory.fail("proc/27/task/28/stat", gone);
            memory.fail_open("proc/1/stat", gone);
            let (batch, outcome) = run(&mut open::<Processes>(&memory.host(), &[]), None);
            outcome.unwrap();
            let page = render(&batch);
            assert!(page.contains("node_processes_pids 2\n"), "{page}");
            assert!(!page.contains("thread_state=\"R\""), "{page}");
        }
    }

    /// Mounted with hidepid=1, the processes of others are there and say nothing.
    #[test]
    fn what_is_hidden_is_left_out_and_said() {
        let memory = memory();
        memory.fail_open("proc/1/stat", 13);
        let (batch, outcome) = run(&mut open::<Processes>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.degraded_reason(), Some("permission"));
        assert!(render(&batch).contains("node_processes_pids 2\n"));
    }

    #[test]
    fn a_limit_that_is_absent_is_an_error() {
        let memory = memory();
        memory.remove("proc/sys/kernel/pid_max");
        let (batch, outcome) = run(&mut open::<Processes>(&memory.host(), &[]), None);
        assert_eq!(outcome.unwrap_err().to_string(), "proc/sys/kernel/pid_max: not on this host");
        assert!(render(&batch).contains("node_processes_pids 3\n"));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse, &["", "1 init S 1", "1 (init)", "1 (init) SS 1", "1 (init) S 1 2 3"]);
        let text = stat(1, "init", 'S', 7);
        assert_eq!(parse(text.as_bytes()), Ok(Stat { state: b'S', threads: 7 }));
        rejects(parse, &["1 (a) S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 x"]);
    }
}
