//! Processes in groups, from `/proc/PID` (proc(5)), with the names of process-exporter.
//!
//! A group's counters are sums of what its processes used while the collector looked: they start at zero
//! when the collector is opened (at start and when a reload changes its settings), go on when a
//! process ends or moves to another group, and never go backwards. A group that has neither
//! processes nor a place among those shown is forgotten; its counters start at zero if it returns.
//!
//! A process counts from its birth if it was born since the last collection, and otherwise from the
//! first collection that saw it: its past is not what the group used just now. What it uses between
//! the last collection that saw it and its end is never seen, nor is one that lived between two.
//!
//! The processes alone are needed. When the system booted and for how long it has been up are facts
//! that containers often have wrong or not at all: lxcfs gives the container's own uptime beside
//! start times that count from the boot of the host, and may cut `proc/stat` short before `btime`.

use vitald_core::host::{Children, Listing, Namespace, Turns};
use vitald_core::prelude::*;

use birth::Births;
use groups::{Group, Groups, OTHER, TopBy};
use process::{Classified, NO_GROUP, Process, STATE_NAMES, Wanted, has_gone};
use rules::{Rule, Rules};

mod birth;
mod groups;
mod parse;
mod process;
mod rules;

families! {
    /// Processes in the group.
    PROCESSES: gauge = "namedprocess_namegroup_num_procs" [groupname];
    /// Memory of the group's processes in bytes, by what is counted: in memory, mapped, swapped out,
    /// and with shared pages shared out among those who map them.
    MEMORY: gauge = "namedprocess_namegroup_memory_bytes" [groupname, memtype];
    /// When the oldest process of the group started, in seconds since the epoch.
    OLDEST_START: gauge = "namedprocess_namegroup_oldest_start_time_seconds" [groupname];
    /// Descriptors that the group's processes have open.
    DESCRIPTORS: gauge = "namedprocess_namegroup_open_filedesc" [groupname];
    /// Open descriptors in proportion to the soft limit, of the process nearest to its own.
    WORST_DESCRIPTORS: gauge = "namedprocess_namegroup_worst_fd_ratio" [groupname];
    /// CPU time of the group in seconds, by where it was spent.
    CPU: counter = "namedprocess_namegroup_cpu_seconds_total" [groupname, mode];
    /// Bytes that the group caused to be read from storage.
    READ: counter = "namedprocess_namegroup_read_bytes_total" [groupname];
    /// Bytes that the group caused to be written to storage.
    WRITTEN: counter = "namedprocess_namegroup_write_bytes_total" [groupname];
    /// Page faults of the group that had to wait for storage.
    MAJOR_FAULTS: counter = "namedprocess_namegroup_major_page_faults_total" [groupname];
    /// Page faults of the group that needed no storage.
    MINOR_FAULTS: counter = "namedprocess_namegroup_minor_page_faults_total" [groupname];
    /// Context switches of the first threads of the group's processes, by whether the thread gave way
    /// of its own accord.
    SWITCHES: counter = "namedprocess_namegroup_context_switches_total" [groupname, ctxswitchtype];
    /// Threads of the group's processes.
    THREADS: gauge = "namedprocess_namegroup_num_threads" [groupname];
    /// Processes in the group by the state of their first threads; Waiting is for storage.
    STATES: gauge = "namedprocess_namegroup_states" [groupname, state];
    /// Groups known now, those summed into the group other included.
    GROUPS: gauge = "namedprocess_groups";
    /// Groups that are not shown by name but summed into the group other.
    FOLDED: gauge = "namedprocess_groups_folded";
    /// Times a process was counted in the group other because there was no room for a group of its own.
    LEFT_OUT: counter = "namedprocess_processes_left_out_total";
    /// Collections that found no processes at all to read.
    SCRAPE_ERRORS: counter = "namedprocess_scrape_errors" legacy;
    /// Times a process was there and could not be read.
    READ_ERRORS: counter = "namedprocess_scrape_procread_errors" legacy;
    /// Times a process could be read in part only, mostly for want of the right to trace it.
    PARTIAL_ERRORS: counter = "namedprocess_scrape_partial_errors" legacy;
}

settings! {
    /// The groups, each a table: `{ name = "web", command = "^(nginx|caddy)$" }`. A process belongs
    /// to the first rule that it matches in everything the rule gives: `command`, `command_line` and
    /// `cgroup` are patterns, `user` is a name or a number. In `name`, `${comm}` and `${user}` stand
    /// for the process's own, and `${word}` for what `(?P<word>...)` in one of the patterns caught:
    /// `{ name = "${unit}", cgroup = '/(?P<unit>[^/]+)\.service' }`. Nothing else of a command line
    /// is ever shown. Without rules every command name is a group.
    rules: Vec<Rule> = [""; 0];
    /// Count a process that no rule takes with its nearest ancestor that one does.
    children: bool = true;
    /// Ask the rules about every process at every collection, not only when it is new and when its
    /// command name changes: for programs that rewrite their command line or move between control
    /// groups.
    recheck: bool = false;
    /// Take threads of the kernel's own, too; their names count up to the first slash.
    kernel_threads: bool = false;
    /// Groups shown by name; the smaller ones are summed into the group `other`.
    top_groups: u32 = 100 in 1..10000;
    /// Which groups are the largest: those with the most resident `memory`, or those whose living
    /// processes have used the most `cpu` time.
    top_by: TopBy = "memory";
    /// Groups known at one time; the processes of any more are counted in `other`.
    max_groups: u32 = 1000 in 1..100000;
    /// Stop showing a group when its last process has ended.
    remove_empty_groups: bool = false;
    /// Read `status` of each process, for swapped memory and context switches.
    read_status: bool = true;
    /// Read `io` of each process, for bytes read and written.
    read_io: bool = true;
    /// Count the descriptors of each process, and read `limits` now and then.
    read_descriptors: bool = true;
    /// Read `smaps_rollup` of each process, for proportional memory. It makes the kernel walk all of
    /// the process's memory, which may take long and hold the process up.
    read_smaps: bool = false;
}

register_collector!(ProcessGroups);

/// More threads of the system than we see, beyond this part of all, are hidden from us.
const HIDDEN_PART: u64 = 4;
/// So many threads may come and go while we look.
const HIDDEN_SLACK: u64 = 16;

/// Ancestors that are asked. Numbers given again between two readings could else lead in a circle.
const MOST_ANCESTORS: usize = 64;

struct ProcessGroups {
    settings: Settings,
    host: Host,
    /// Whose processes are seen.
    namespace: Namespace,
    children: Children,
    uptime: KeptFile,
    load: KeptFile,
    rules: Rules,
    groups: Groups,
    /// By number.
    processes: Vec<Process>,
    /// Those of this collection that the last one did not have.
    born: Vec<Process>,
    pids: Vec<u32>,
    listing: Listing,
    command_name: Vec<u8>,
    buffer: Vec<u8>,
    /// Counts collections, wrapping.
    round: u32,
    /// Of which processes the soft limit of descriptors is read this time.
    turns: Turns,
    births: Births,
    /// When the system booted, if it says so.
    boot_seconds: Option<u64>,
    ticks_per_second: f64,
    page_size: u64,
    errors: Errors,
}

/// Since the collector was opened.
#[derive(Clone, Copy, Default)]
struct Errors {
    scrape: u64,
    read: u64,
    partial: u64,
    left_out: u64,
}

impl Collector for ProcessGroups {
    about! {
        name: "process_groups",
        summary: "Processes in groups: CPU, memory, input and output, descriptors",
        families: FAMILIES,
        sources: [
            "proc/*/stat",
            "proc/*/status",
            "proc/*/io",
            "proc/*/fd",
            "proc/*/limits",
            "proc/*/cmdline",
            "proc/*/cgroup",
            "proc/*/smaps_rollup",
            "proc/loadavg",
            "proc/uptime",
            "proc/stat",
            "rootfs/etc/passwd",
        ],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // Reading a command line waits for a lock that a process stuck in the kernel may hold.
    const MAY_BLOCK: bool = true;
    const OWN_DESCRIPTORS: bool = true;
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"];
    const LACKS_WITHOUT: &'static str = "the input and output, the descriptors and the proportional memory of other users' processes";

    fn check(settings: &Settings) -> Result<()> {
        if settings.max_groups < settings.top_groups {
            return Err(Error::setting("max_groups", "must not be less than `top_groups`"));
        }
        Rules::check(&settings.rules)
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(ProcessGroups {
            host: host.clone(),
            children: host.children("proc"),
            uptime: host.keep_whole("proc/uptime"),
            load: host.keep_whole("proc/loadavg"),
            namespace: host.view().processes,
            rules: Rules::new(settings.rules.clone(), host),
            groups: Groups::new(
                settings.max_groups,
                settings.top_groups,
                settings.top_by,
                !settings.remove_empty_groups,
            ),
            settings,
            processes: Vec::new(),
            born: Vec::new(),
            pids: Vec::new(),
            listing: Listing::new(),
            command_name: Vec::new(),
            buffer: Vec::new(),
            round: 0,
            turns: Turns::new(),
            births: Births::default(),
            boot_seconds: None,
            ticks_per_second: host.ticks_per_second(),
            page_size: host.page_size(),
            errors: Errors::default(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.round = self.round.wrapping_add(1);
        if let Err(error) = self.children.list(&mut self.listing) {
            self.errors.scrape += 1;
            self.push_errors(batch);
            return Err(error);
        }
        let uptime = self.read_uptime(batch);
        self.note_boot(uptime, batch);
        let partial_before = self.errors.partial;
        self.begin_births(uptime);
        self.look_at_all(batch);
        self.adopt();
        self.measure(batch);
        self.births.end();
        self.groups.settle();
        self.push_groups(batch);
        self.push_errors(batch);
        self.report_hidden(self.errors.partial > partial_before, batch);
        Ok(())
    }
}

impl ProcessGroups {
    /// For how long the system has been up, in seconds; `None` if it does not say so.
    fn read_uptime(&mut self, batch: &mut Batch) -> Option<f64> {
        let text = self.uptime.optional().ok()??;
        batch.tolerate(parse::uptime(text))
    }

    /// Reads when the system booted, at first and whenever its clock was set since.
    fn note_boot(&mut self, uptime: Option<f64>, batch: &mut Batch) {
        let by_clock = uptime.map(|uptime| self.host.now().as_secs_f64() - uptime);
        // proc/stat is long on a large machine, so it is not read to find the same again.
        let is_known = matches!((self.boot_seconds, by_clock), (Some(known), Some(by_clock))
            if (known as f64 - by_clock).abs() <= 2.0);
        if !is_known {
            let read = self.host.read("proc/stat", &mut self.buffer).ok();
            let boot = read.and_then(|text| batch.tolerate(parse::boot_time(text)));
            // Zero is what a container says that does not know it.
            self.boot_seconds = boot.flatten().filter(|seconds| *seconds > 0);
        }
    }

    fn begin_births(&mut self, uptime: Option<f64>) {
        let ticks = |seconds: f64| (seconds * self.ticks_per_second) as u64;
        let by_clock = self.boot_seconds.map(|boot| self.host.now().as_secs_f64() - boot as f64);
        self.births.begin(uptime.map(ticks), by_clock.map(ticks));
    }

    /// Reads `stat` of every process, and asks the rules about those that are new or changed.
    fn look_at_all(&mut self, batch: &mut Batch) {
        self.rules.begin_collection();
        self.pids.clear();
        let pid = |name: &[u8]| text::single_u64(name).ok().and_then(|pid| u32::try_from(pid).ok());
        self.pids.extend(self.listing.iter().filter_map(|entry| pid(entry.name)));
        self.pids.sort_unstable();
        let mut place = 0;
        for position in 0..self.pids.len() {
            let Some(&pid) = self.pids.get(position) else { break };
            while self.processes.get(place).is_some_and(|process| process.pid < pid) {
                place += 1;
            }
            let known = self.processes.get(place).filter(|process| process.pid == pid).copied();
            let Some(process) = self.look_at(pid, known, batch) else { continue };
            match self.processes.get_mut(place).filter(|_| known.is_some()) {
                Some(same_number) => *same_number = process,
                None => self.born.push(process),
            }
        }
        let round = self.round;
        self.processes.retain(|process| process.round == round);
        if !self.born.is_empty() {
            self.processes.append(&mut self.born);
            self.processes.sort_unstable_by_key(|process| process.pid);
        }
    }

    /// Reads `stat` of one process; `None` if it has gone since it was listed.
    fn look_at(&mut self, pid: u32, known: Option<Process>, batch: &mut Batch) -> Option<Process> {
        let mut digits = [0; 20];
        let name = text::decimal(pid.into(), &mut digits);
        let read = match self.children.read(name, "stat") {
            Ok(text) => batch.tolerate(parse::stat(text)),
            Err(error) if has_gone(&error) => return None,
            Err(_) => {
                self.errors.read += 1;
                None
            }
        };
        let Some((command_name, stat)) = read else {
            // What is remembered of it holds, whatever keeps us from reading it this time.
            return known.map(|mut process| {
                process.round = self.round;
                process
            });
        };
        let command_hash = hash(command_name);
        let mut process = match known {
            // The number may have been given to another process meanwhile.
            Some(same) if same.stat.start_ticks == stat.start_ticks => same,
            _ => Process::new(pid, self.round),
        };
        self.births.saw(stat.start_ticks);
        if process.command_hash != command_hash {
            process.classified = Classified::Never;
        }
        (process.round, process.stat, process.command_hash) = (self.round, stat, command_hash);
        if stat.is_kernel_thread() && !self.settings.kernel_threads {
            return Some(process);
        }
        if process.classified != Classified::Twice || self.settings.recheck {
            self.command_name.clear();
            self.command_name.extend_from_slice(match text::split_once(command_name, b'/') {
                Some((kind, _)) if stat.is_kernel_thread() => kind,
                _ => command_name,
            });
            self.classify(name, &mut process);
        }
        Some(process)
    }

    /// Asks the rules which group a process belongs to.
    fn classify(&mut self, name: &[u8], process: &mut Process) {
        let is_settled = process.classified == Classified::Once || !self.rules.need_files();
        process.classified = if is_settled { Classified::Twice } else { Classified::Once };
        let before = process.group;
        match self.rules.group_of(name, &self.command_name, &mut self.children) {
            // A process stays with those who took it in, also when its parent has ended.
            None if process.is_adopted => {}
            None => process.group = NO_GROUP,
            Some(group) => {
                process.is_adopted = false;
                process.group = self.groups.place(group).unwrap_or_else(|| {
                    self.errors.left_out += u64::from(before != OTHER);
                    OTHER
                });
            }
        }
    }

    /// Gives processes that no rule takes to the groups of their ancestors.
    fn adopt(&mut self) {
        if !self.settings.children {
            return;
        }
        for place in 0..self.processes.len() {
            let Some(process) = self.processes.get(place) else { break };
            if process.group == NO_GROUP && process.classified != Classified::Never {
                let group = self.ancestral_group(process.stat.parent);
                if let Some(process) = self.processes.get_mut(place) {
                    process.group = group;
                    process.is_adopted = group != NO_GROUP;
                }
            }
        }
    }

    fn ancestral_group(&self, mut parent: u64) -> u32 {
        for _ in 0..MOST_ANCESTORS {
            let found =
                self.processes.binary_search_by_key(&parent, |process| u64::from(process.pid));
            let Some(process) = found.ok().and_then(|place| self.processes.get(place)) else {
                break;
            };
            if process.group != NO_GROUP {
                return process.group;
            }
            parent = process.stat.parent;
        }
        NO_GROUP
    }

    /// Reads the other files of every process that has a group, and sums it all up.
    fn measure(&mut self, batch: &mut Batch) {
        let Settings { read_status, read_io, read_descriptors, read_smaps, .. } = self.settings;
        let wanted = Wanted {
            status: read_status,
            io: read_io,
            descriptors: read_descriptors,
            limit: false,
            smaps: read_smaps,
        };
        self.turns.begin(&self.host);
        self.groups.begin();
        for place in 0..self.processes.len() {
            let Some(mut process) = self.processes.get(place).copied() else { break };
            if process.group == NO_GROUP {
                process.stop_counting();
            } else {
                let (births, children) = (&self.births, &mut self.children);
                let wanted = Wanted { limit: self.turns.is_due(process.pid), ..wanted };
                let measured = process.measure(wanted, self.round, births, children, batch);
                self.groups.add(process.group, &measured.now, measured.gained);
                self.errors.partial += u64::from(measured.is_partial);
            }
            if let Some(same) = self.processes.get_mut(place) {
                *same = process;
            }
        }
    }

    fn push_groups(&self, batch: &mut Batch) {
        for group in self.groups.shown() {
            self.push_group(group, batch);
        }
    }

    fn push_group(&self, group: &Group, batch: &mut Batch) {
        let Group { name, totals, now, .. } = group;
        let row = batch.labels([name]);
        batch.push(&PROCESSES, row, now.processes);
        batch.push(&THREADS, row, now.threads);
        if let (Some(boot), Some(ticks)) = (self.boot_seconds, now.oldest_start_ticks) {
            let start = boot as f64 + ticks as f64 / self.ticks_per_second;
            batch.push(&OLDEST_START, row, start.floor());
        }
        batch.push(&MAJOR_FAULTS, row, totals.major_faults);
        batch.push(&MINOR_FAULTS, row, totals.minor_faults);
        if self.settings.read_io {
            batch.push(&READ, row, totals.read_bytes);
            batch.push(&WRITTEN, row, totals.write_bytes);
        }
        if self.settings.read_descriptors {
            batch.push(&DESCRIPTORS, row, now.descriptors);
            batch.push(&WORST_DESCRIPTORS, row, now.worst_descriptor_ratio);
        }
        let seconds = |ticks: u64| ticks as f64 / self.ticks_per_second;
        batch.row(&CPU, [name, b"user"], seconds(totals.user_ticks));
        batch.row(&CPU, [name, b"system"], seconds(totals.system_ticks));
        let resident = now.resident_pages.saturating_mul(self.page_size);
        batch.row(&MEMORY, [name, b"resident"], resident);
        batch.row(&MEMORY, [name, b"virtual"], now.virtual_bytes);
        if self.settings.read_status {
            batch.row(&MEMORY, [name, b"swapped"], now.swapped_bytes);
            batch.row(&SWITCHES, [name, b"voluntary"], totals.voluntary_switches);
            batch.row(&SWITCHES, [name, b"nonvoluntary"], totals.nonvoluntary_switches);
        }
        if self.settings.read_smaps {
            batch.row(&MEMORY, [name, b"proportionalResident"], now.proportional_bytes);
            batch.row(&MEMORY, [name, b"proportionalSwapped"], now.proportional_swapped_bytes);
        }
        for ((state, _), count) in STATE_NAMES.iter().zip(now.states) {
            batch.row(&STATES, [name, state], count);
        }
    }

    fn push_errors(&self, batch: &mut Batch) {
        batch.value(&GROUPS, self.groups.known());
        batch.value(&FOLDED, self.groups.folded());
        batch.value(&LEFT_OUT, self.errors.left_out);
        batch.value(&SCRAPE_ERRORS, self.errors.scrape);
        batch.value(&READ_ERRORS, self.errors.read);
        batch.value(&PARTIAL_ERRORS, self.errors.partial);
    }

    /// Compares the threads seen with those that the system says it has, because processes hidden by
    /// the mount option `hidepid` (proc(5)), or by a process namespace, leave no other trace.
    fn report_hidden(&mut self, is_partial: bool, batch: &mut Batch) {
        if is_partial {
            batch.degraded("permissions");
        }
        let threads = self.processes.iter().map(|process| process.stat.threads);
        let seen = threads.fold(0_u64, u64::saturating_add);
        let total = self.load.parse(parse::thread_total).unwrap_or(0);
        if seen.saturating_add(total / HIDDEN_PART + HIDDEN_SLACK) < total {
            match self.namespace {
                Namespace::Own => batch.degraded("own processes"),
                Namespace::Host | Namespace::Unknown => batch.degraded("hidepid"),
            }
        }
    }
}

/// FNV-1a, to see whether a command name has changed without keeping it.
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
