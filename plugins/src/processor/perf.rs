//! Performance events of CPUs and of the kernel (perf_event_open(2)).

use std::io;

use vitald_core::errno::{EACCES, EMFILE, ENODEV, EPERM};
use vitald_core::host::PerfCounter;
use vitald_core::prelude::*;

mod cpus;
mod events;
mod tracepoint;

use events::{ALL_FAMILIES, CACHE, Event, HARDWARE, SOFTWARE, chosen};
use tracepoint::Tracepoint;

settings! {
    /// The CPUs to count on, such as `0-3,8` or `0-15:2` for every other one of these; all that are
    /// online without it.
    cpus: String = "";
    /// Tracepoints of the kernel to count, each as SUBSYSTEM:EVENT, such as `sched:sched_process_exec`.
    tracepoint: Vec<String> = [""; 0];
    /// Count none of what the hardware counts.
    disable_hardware_profilers: bool = false;
    /// What to count of the hardware, such as CpuInstr; without it, all of it.
    hardware_profilers: Vec<String> = [""; 0];
    /// Count none of what the kernel counts.
    disable_software_profilers: bool = false;
    /// What to count of the kernel, such as PageFault; without it, all of it.
    software_profilers: Vec<String> = [""; 0];
    /// Count nothing of the caches.
    disable_cache_profilers: bool = false;
    /// What to count of the caches, such as LLReadMiss; without it, all of it.
    cache_profilers: Vec<String> = [""; 0];
}

register_collector!(Perf);

struct Perf {
    host: Host,
    online: KeptFile,
    /// The CPUs that are wanted; all of them if it is `None`.
    wanted: Option<Vec<u32>>,
    events: Vec<&'static Event>,
    tracepoints: Vec<Tracepoint>,
    /// Those that were online at the last collection.
    cpus: Vec<Cpu>,
    numbers: Vec<u32>,
    buffer: Vec<u8>,
}

/// A CPU and what is counted on it.
struct Cpu {
    number: u32,
    label: String,
    counters: Vec<(&'static Event, PerfCounter)>,
    /// One for each tracepoint; none of one that cannot be counted.
    tracepoints: Vec<Option<PerfCounter>>,
    /// Whether something is not counted for want of the right to.
    is_forbidden: bool,
    /// Whether it was offline since the counters were opened. They do not go on when it comes back.
    has_gone: bool,
}

impl Collector for Perf {
    about! {
        name: "perf",
        summary: "Performance events of CPUs and of the kernel",
        families: ALL_FAMILIES,
        patterns: [FamilyPattern {
            name: "node_perf_*",
            kinds: &[Kind::Counter],
            help: "A tracepoint, by subsystem and name.",
        }],
        sources: [
            "perf_event_open",
            "sys/devices/system/cpu/online",
            "sys/kernel/tracing/events/*/*/id",
            "sys/kernel/debug/tracing/events/*/*/id",
        ],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // What another CPU counts is asked of that CPU, some thirty times for each.
    const MAY_BLOCK: bool = true;
    // The directory of tracefs, which has the numbers of tracepoints, has mode 0700.
    const CAPABILITIES: &'static [&'static str] = &["CAP_PERFMON", "CAP_DAC_READ_SEARCH"];

    fn check(settings: &Settings) -> Result<()> {
        cpus::parse(&settings.cpus).map_err(|wrong| Error::setting("cpus", wrong))?;
        events_of(settings)?;
        tracepoints_of(settings).map(drop)
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Perf {
            host: host.clone(),
            online: host.keep_whole("sys/devices/system/cpu/online"),
            wanted: cpus::parse(&settings.cpus).map_err(|wrong| Error::setting("cpus", wrong))?,
            events: events_of(&settings)?,
            tracepoints: tracepoints_of(&settings)?,
            cpus: Vec::new(),
            numbers: Vec::new(),
            buffer: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.look_for_cpus()?;
        self.look_for_tracepoints(batch)?;
        for cpu in &mut self.cpus {
            let labels = batch.labels([cpu.label.as_bytes()]);
            for (event, counter) in &mut cpu.counters {
                match counter.read().map_err(not_counted)? {
                    Some(count) => batch.push(event.family, labels, count),
                    None => cpu.has_gone = true,
                }
            }
        }
        if self.cpus.iter().any(|cpu| cpu.is_forbidden) {
            batch.degraded("permission");
        }
        for (position, tracepoint) in self.tracepoints.iter().enumerate() {
            let Tracepoint { subsystem, name, .. } = tracepoint;
            let (subsystem, name) = (subsystem.as_bytes(), name.as_bytes());
            let family = batch.family(
                &[b"node_perf_", subsystem, b"_", name],
                Kind::Counter,
                &[b"How often the tracepoint ", subsystem, b":", name, b" was passed."],
            );
            for cpu in &mut self.cpus {
                let Some(counter) = &mut cpu.tracepoints[position] else { continue };
                let Some(count) = counter.read().map_err(not_counted)? else {
                    cpu.has_gone = true;
                    continue;
                };
                let labels = batch.label_pairs(&[(b"cpu", cpu.label.as_bytes())]);
                batch.push_named(family, Suffix::None, labels, count);
            }
        }
        // One that is back already is found by the next collection, as any that comes.
        self.cpus.retain(|cpu| !cpu.has_gone);
        Ok(())
    }
}

impl Perf {
    /// Opens counters on CPUs that have come, and closes those of CPUs that have gone: a counter does
    /// not go on when its CPU comes back.
    fn look_for_cpus(&mut self) -> Result<()> {
        self.numbers.clear();
        let (numbers, wanted) = (&mut self.numbers, &self.wanted);
        self.online.parse(|text| {
            text::cpu_list(text, |cpu| {
                if wanted.as_ref().is_none_or(|wanted| wanted.contains(&cpu)) {
                    numbers.push(cpu);
                }
            })
        })?;
        if self.cpus.iter().map(|cpu| &cpu.number).eq(&self.numbers) {
            return Ok(());
        }
        self.cpus.retain(|cpu| self.numbers.contains(&cpu.number));
        for number in &self.numbers {
            if let Err(place) = self.cpus.binary_search_by_key(number, |cpu| cpu.number) {
                let cpu = Cpu::open(&self.host, *number, &self.events, self.tracepoints.len())?;
                self.cpus.insert(place, cpu);
            }
        }
        Ok(())
    }

    /// Opens the counters that tracepoints do not have yet. A tracepoint is one that the user named:
    /// one that cannot be counted is a fault, and is tried again at the next collection.
    fn look_for_tracepoints(&mut self, batch: &mut Batch) -> Result<()> {
        let Perf { host, tracepoints, cpus, buffer, .. } = self;
        for (position, tracepoint) in tracepoints.iter_mut().enumerate() {
            for cpu in cpus.iter_mut().filter(|cpu| cpu.tracepoints[position].is_none()) {
                match tracepoint.open(host, cpu.number, buffer) {
                    Ok(counter) => cpu.tracepoints[position] = Some(counter),
                    Err(Error::Unreadable { source, .. })
                        if source.raw_os_error() == Some(EMFILE) =>
                    {
                        return Err(not_counted(source));
                    }
                    Err(error) => {
                        if matches!(&error, Error::Unreadable { source, .. }
                            if source.kind() == io::ErrorKind::PermissionDenied)
                        {
                            batch.degraded("permission");
                        }
                        batch.fault("", error);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Cpu {
    /// Without its tracepoints. An event that this CPU does not count is left out.
    fn open(
        host: &Host,
        number: u32,
        events: &[&'static Event],
        tracepoints: usize,
    ) -> Result<Cpu> {
        let mut cpu = Cpu {
            number,
            label: number.to_string(),
            counters: Vec::new(),
            tracepoints: (0..tracepoints).map(|_| None).collect(),
            is_forbidden: false,
            has_gone: false,
        };
        let mut is_offline = false;
        for event in events {
            match host.perf_counter(event.event, number) {
                Ok(counter) => cpu.counters.push((event, counter)),
                Err(error) => match error.raw_os_error() {
                    Some(EPERM | EACCES) => cpu.is_forbidden = true,
                    Some(EMFILE) => return Err(not_counted(error)),
                    Some(ENODEV) => is_offline = true,
                    _ => {}
                },
            }
        }
        cpu.has_gone = is_offline && cpu.counters.is_empty();
        Ok(cpu)
    }
}

fn not_counted(source: io::Error) -> Error {
    Error::Unreadable { path: "perf_event_open".into(), source }
}

fn events_of(settings: &Settings) -> Result<Vec<&'static Event>> {
    let mut events = Vec::new();
    for (is_off, key, words, table) in [
        (
            settings.disable_hardware_profilers,
            "hardware_profilers",
            &settings.hardware_profilers,
            HARDWARE,
        ),
        (
            settings.disable_software_profilers,
            "software_profilers",
            &settings.software_profilers,
            SOFTWARE,
        ),
        (settings.disable_cache_profilers, "cache_profilers", &settings.cache_profilers, CACHE),
    ] {
        let chosen = chosen(words, table).map_err(|wrong| Error::setting(key, wrong))?;
        if !is_off {
            events.extend(chosen);
        }
    }
    Ok(events)
}

fn tracepoints_of(settings: &Settings) -> Result<Vec<Tracepoint>> {
    let wrong = |text: &String| {
        Error::setting(
            "tracepoint",
            format!("{text:?} is not SUBSYSTEM:EVENT, such as sched:sched_switch"),
        )
    };
    let mut all: Vec<Tracepoint> = Vec::new();
    for text in &settings.tracepoint {
        let new = Tracepoint::parse(text).ok_or_else(|| wrong(text))?;
        if !all.iter().any(|known| (&known.subsystem, &known.name) == (&new.subsystem, &new.name)) {
            all.push(new);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use vitald_core::host::PerfEvent;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const ONLINE: &str = "sys/devices/system/cpu/online";
    const SWITCH: &str = "sys/kernel/tracing/events/sched/sched_switch/id";

    /// Every event counts something else on every CPU.
    fn count(event: PerfEvent, cpu: u32) -> Result<u64, i32> {
        Ok(u64::from(event.kind) * 100_000 + event.config * 10 + u64::from(cpu))
    }

    fn memory(online: &str) -> MemoryHost {
        let memory = MemoryHost::from_files(&[(ONLINE, online), (SWITCH, "316\n")]);
        memory.set_perf_counters(count);
        memory
    }

    fn lines(memory: &MemoryHost, settings: &[(&str, Node)]) -> Vec<String> {
        let (batch, outcome) = run(&mut open::<Perf>(&memory.host(), settings), None);
        outcome.unwrap();
        refuse_undeclared::<Perf>(&batch);
        let page = render(&batch);
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    const NOTHING: [(&str, bool); 3] = [
        ("disable_hardware_profilers", true),
        ("disable_software_profilers", true),
        ("disable_cache_profilers", true),
    ];

    fn nothing_but(settings: &[(&'static str, Node)]) -> Vec<(&'static str, Node)> {
        let off = NOTHING.map(|(key, is_off)| (key, is_off.into()));
        [&off[..], settings].concat()
    }

    #[test]
    fn golden() {
        check::<Perf>(
            &memory("0\n").host(),
            &[],
            &expect![[r##"
            # node_perf_branch_instructions_total counter
            node_perf_branch_instructions_total{cpu="0"} 40
            # node_perf_branch_misses_total counter
            node_perf_branch_misses_total{cpu="0"} 50
            # node_perf_cache_bpu_read_hits_total counter
            node_perf_cache_bpu_read_hits_total{cpu="0"} 300050
            # node_perf_cache_bpu_read_misses_total counter
            node_perf_cache_bpu_read_misses_total{cpu="0"} 955410
            # node_perf_cache_l1_instr_read_misses_total counter
            node_perf_cache_l1_instr_read_misses_total{cpu="0"} 955370
            # node_perf_cache_l1d_read_hits_total counter
            node_perf_cache_l1d_read_hits_total{cpu="0"} 300000
            # node_perf_cache_l1d_read_misses_total counter
            node_perf_cache_l1d_read_misses_total{cpu="0"} 955360
            # node_perf_cache_l1d_write_hits_total counter
            node_perf_cache_l1d_write_hits_total{cpu="0"} 302560
            # node_perf_cache_ll_read_hits_total counter
            node_perf_cache_ll_read_hits_total{cpu="0"} 300020
            # node_perf_cache_ll_read_misses_total counter
            node_perf_cache_ll_read_misses_total{cpu="0"} 955380
            # node_perf_cache_ll_write_hits_total counter
            node_perf_cache_ll_write_hits_total{cpu="0"} 302580
            # node_perf_cache_ll_write_misses_total counter
            node_perf_cache_ll_write_misses_total{cpu="0"} 957940
            # node_perf_cache_misses_total counter
            node_perf_cache_misses_total{cpu="0"} 30
            # node_perf_cache_refs_total counter
            node_perf_cache_refs_total{cpu="0"} 20
            # node_perf_cache_tlb_data_read_hits_total counter
            node_perf_cache_tlb_data_read_hits_total{cpu="0"} 300030
            # node_perf_cache_tlb_data_read_misses_total counter
            node_perf_cache_tlb_data_read_misses_total{cpu="0"} 955390
            # node_perf_cache_tlb_data_write_hits_total counter
            node_perf_cache_tlb_data_write_hits_total{cpu="0"} 302590
            # node_perf_cache_tlb_data_write_misses_total counter
            node_perf_cache_tlb_data_write_misses_total{cpu="0"} 957950
            # node_perf_cache_tlb_instr_read_hits_total counter
            node_perf_cache_tlb_instr_read_hits_total{cpu="0"} 300040
            # node_perf_cache_tlb_instr_read_misses_total counter
            node_perf_cache_tlb_instr_read_misses_total{cpu="0"} 955400
            # node_perf_context_switches_total counter
            node_perf_context_switches_total{cpu="0"} 100030
            # node_perf_cpu_migrations_total counter
            node_perf_cpu_migrations_total{cpu="0"} 100040
            # node_perf_cpucycles_total counter
            node_perf_cpucycles_total{cpu="0"} 0
            # node_perf_instructions_total counter
            node_perf_instructions_total{cpu="0"} 10
            # node_perf_major_faults_total counter
            node_perf_major_faults_total{cpu="0"} 100060
            # node_perf_minor_faults_total counter
            node_perf_minor_faults_total{cpu="0"} 100050
            # node_perf_page_faults_total counter
            node_perf_page_faults_total{cpu="0"} 100020
            # node_perf_ref_cpucycles_total counter
            node_perf_ref_cpucycles_total{cpu="0"} 90
            # node_perf_stalled_cycles_backend_total counter
            node_perf_stalled_cycles_backend_total{cpu="0"} 80
            # node_perf_stalled_cycles_frontend_total counter
            node_perf_stalled_cycles_frontend_total{cpu="0"} 70
        "##]],
        );
    }

    #[test]
    fn every_cpu_that_is_online() {
        let settings = [
            ("disable_hardware_profilers", true.into()),
            ("disable_cache_profilers", true.into()),
            ("software_profilers", ["MajorFault", "CpuMigration"].into()),
        ];
        check::<Perf>(
            &memory("0-1,3\n").host(),
            &settings,
            &expect![[r##"
            # node_perf_cpu_migrations_total counter
            node_perf_cpu_migrations_total{cpu="0"} 100040
            node_perf_cpu_migrations_total{cpu="1"} 100041
            node_perf_cpu_migrations_total{cpu="3"} 100043
            # node_perf_major_faults_total counter
            node_perf_major_faults_total{cpu="0"} 100060
            node_perf_major_faults_total{cpu="1"} 100061
            node_perf_major_faults_total{cpu="3"} 100063
        "##]],
        );
    }

    #[test]
    fn settings_choose_what_is_counted() {
        let count_of = |settings: &[(&str, Node)]| lines(&memory("0\n"), settings).len();
        assert_eq!(count_of(&[]), 9 + 5 + 16);
        assert_eq!(count_of(&nothing_but(&[])), 0);
        for (key, count) in NOTHING.map(|(key, _)| key).into_iter().zip([9, 5, 16]) {
            assert_eq!(count_of(&[(key, true.into())]), 30 - count, "{key}");
        }
        for (key, word, family) in [
            ("hardware_profilers", "RefCpuCycles", "node_perf_ref_cpucycles_total{cpu=\"0\"} 90"),
            ("software_profilers", "MinorFault", "node_perf_minor_faults_total{cpu=\"0\"} 100050"),
            (
                "cache_profilers",
                "DataTLBWriteMiss",
                "node_perf_cache_tlb_data_write_misses_total{cpu=\"0\"} 957950",
            ),
        ] {
            let all = lines(&memory("0\n"), &[(key, [word].into())]);
            assert!(all.iter().any(|line| line.starts_with(family)), "{all:?}");
            let table = if key.starts_with('h') {
                9
            } else if key.starts_with('s') {
                5
            } else {
                16
            };
            assert_eq!(all.len(), 30 - table + 1, "{key}");
        }
        let refused = refusal::<Perf>(&[("hardware_profilers", ["BusCycles"].into())]);
        assert!(
            refused.starts_with("hardware_profilers: \"BusCycles\" is not among CpuCycles, "),
            "{refused}"
        );
    }

    #[test]
    fn the_numbers_are_those_of_the_kernel() {
        let config = |word: &str| {
            let all = HARDWARE.iter().chain(SOFTWARE).chain(CACHE);
            let event = all.clone().find(|event| event.word == word).unwrap();
            (event.event.kind, event.event.config)
        };
        assert_eq!(config("StalledCyclesFrontend"), (0, 7));
        assert_eq!(config("ContextSwitch"), (1, 3));
        assert_eq!(config("L1DataReadHit"), (3, 0));
        assert_eq!(config("L1InstrReadMiss"), (3, 0x1_0001));
        assert_eq!(config("LLWriteHit"), (3, 0x102));
        assert_eq!(config("DataTLBWriteMiss"), (3, 0x1_0103));
        assert_eq!(config("BPUReadMiss"), (3, 0x1_0005));
    }

    #[test]
    fn cpus_that_are_wanted() {
        let parsed = |text: &str| cpus::parse(text).unwrap();
        assert_eq!(parsed(""), None);
        assert_eq!(parsed("3,1,3"), Some(vec![1, 3]));
        assert_eq!(parsed("0-2,8"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parsed("1-10:5"), Some(vec![1, 6]));
        for wrong in [
            "x",
            "1,",
            "-1",
            "1-",
            "1-2-3",
            "1-9:0",
            "1:2",
            "65536",
            "0-99999999999",
            "1 ,2",
            "1-2:3:4",
            "3-1",
            "0,3-1",
        ] {
            assert!(cpus::parse(wrong).is_err(), "{wrong}");
            let refused = refusal::<Perf>(&[("cpus", wrong.into())]);
            assert!(refused.starts_with("cpus: "), "{refused}");
        }
        let all = lines(
            &memory("0-3\n"),
            &nothing_but(&[("cpus", "2-9".into()), ("tracepoint", ["sched:sched_switch"].into())]),
        );
        assert_eq!(
            all,
            [
                "node_perf_sched_sched_switch{cpu=\"2\"} 203162",
                "node_perf_sched_sched_switch{cpu=\"3\"} 203163"
            ]
        );
    }

    #[test]
    fn a_cpu_that_goes_and_comes_is_counted_anew() {
        let memory = memory("0-1\n");
        let opened = Arc::new(AtomicUsize::new(0));
        let sum = Arc::clone(&opened);
        memory.set_perf_counters(move |event, cpu| {
            sum.fetch_add(1, Ordering::Relaxed);
            count(event, cpu)
        });
        let mut collector = open::<Perf>(&memory.host(), &[]);
        let mut calls = || {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            (batch.len(), opened.swap(0, Ordering::Relaxed))
        };
        // Each counter is opened and read, and then read only.
        assert_eq!(calls(), (60, 120));
        assert_eq!(calls(), (60, 60));
        memory.write(ONLINE, "0\n");
        assert_eq!(calls(), (30, 30));
        memory.write(ONLINE, "0-1\n");
        assert_eq!(calls(), (60, 90));
    }

    #[test]
    fn a_cpu_that_was_away_between_two_collections_is_counted_anew() {
        let memory = memory("0-1\n");
        let settings = [("tracepoint", ["sched:sched_switch"].into())];
        let mut collector = open::<Perf>(&memory.host(), &settings);
        let mut samples = || {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            batch.len()
        };
        assert_eq!((samples(), samples()), (62, 62));
        memory.stop_perf_counters();
        assert_eq!((samples(), samples(), samples()), (0, 62, 62));
        // Gone between the list and the counters, and back before the next list.
        memory.write(ONLINE, "0\n");
        assert_eq!(samples(), 31);
        memory
            .set_perf_counters(|event, cpu| if cpu == 1 { Err(ENODEV) } else { count(event, cpu) });
        memory.write(ONLINE, "0-1\n");
        assert_eq!(samples(), 31);
        memory.set_perf_counters(count);
        assert_eq!(samples(), 62);
    }

    #[test]
    fn what_a_machine_does_not_count_is_left_out() {
        let memory = memory("0-1\n");
        // A virtual machine without counters, whose second CPU just went offline.
        memory.set_perf_counters(|event, cpu| match (event.kind, cpu) {
            (0, _) => Err(2),
            (3, _) => Err(95),
            (_, 1) => Err(19),
            _ => count(event, cpu),
        });
        assert_eq!(lines(&memory, &[]).len(), 5);
    }

    #[test]
    fn without_the_right_to_it_there_is_nothing_and_a_word() {
        let memory = memory("0\n");
        memory.set_perf_counters(|_, _| Err(EACCES));
        let (batch, outcome) = run(&mut open::<Perf>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.degraded_reason()), (0, Some("permission")));
        let settings = nothing_but(&[("tracepoint", ["sched:sched_switch"].into())]);
        let (batch, outcome) = run(&mut open::<Perf>(&memory.host(), &settings), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.degraded_reason()), (0, Some("permission")));
        let fault = batch.fault().map(|fault| fault.error);
        assert_eq!(fault, Some("tracepoint sched:sched_switch: Permission denied (os error 13)"));
        assert_eq!(Perf::CAPABILITIES, ["CAP_PERFMON", "CAP_DAC_READ_SEARCH"]);
    }

    #[test]
    fn a_counter_that_cannot_be_read_or_is_one_too_many_is_a_fault() {
        let memory = memory("0\n");
        let mut collector = open::<Perf>(&memory.host(), &[]);
        run(&mut collector, None).1.unwrap();
        memory.set_perf_counters(|_, _| Err(5));
        let (_, outcome) = run(&mut collector, None);
        assert!(outcome.unwrap_err().to_string().starts_with("perf_event_open: "));
        memory.set_perf_counters(|_, _| Err(EMFILE));
        check_fails::<Perf>(
            &memory.host(),
            &[],
            &expect!["perf_event_open: Too many open files (os error 24)"],
            &expect![""],
        );
    }

    #[test]
    fn tracepoints_have_families_of_their_own() {
        let memory = memory("0-1\n");
        let old = "sys/kernel/debug/tracing/events/net/netif_rx/id";
        memory.write(old, "1234\n");
        let settings = nothing_but(&[(
            "tracepoint",
            ["net:netif_rx", "sched:sched_switch", "net:netif_rx"].into(),
        )]);
        check::<Perf>(
            &memory.host(),
            &settings,
            &expect![[r##"
            # node_perf_net_netif_rx counter
            node_perf_net_netif_rx{cpu="0"} 212340
            node_perf_net_netif_rx{cpu="1"} 212341
            # node_perf_sched_sched_switch counter
            node_perf_sched_sched_switch{cpu="0"} 203160
            node_perf_sched_sched_switch{cpu="1"} 203161
        "##]],
        );
    }

    #[test]
    fn a_tracepoint_that_is_not_there_is_looked_for_again() {
        let memory = memory("0\n");
        memory.remove(SWITCH);
        let settings = nothing_but(&[("tracepoint", ["sched:sched_switch"].into())]);
        let mut collector = open::<Perf>(&memory.host(), &settings);
        let mut next = || {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            let fault = batch.fault().map(|fault| fault.error.to_owned()).unwrap_or_default();
            (batch.len(), batch.degraded_reason(), fault)
        };
        let absent = "tracepoint sched:sched_switch: not on this host".to_owned();
        assert_eq!(next(), (0, None, absent));
        memory.write(SWITCH, "x\n");
        assert!(next().2.contains("expected a number"));
        memory.fail(SWITCH, EACCES);
        let (length, reason, fault) = next();
        assert_eq!((length, reason), (0, Some("permission")));
        assert!(fault.starts_with(SWITCH), "{fault}");
        memory.write(SWITCH, "316\n");
        assert_eq!(next(), (1, None, String::new()));
    }

    #[test]
    fn a_bad_tracepoint_costs_itself_alone() {
        let memory = memory("0-1\n");
        let both = ["sched:gone", "sched:sched_switch"];
        let settings = [("tracepoint", both.into()), ("disable_cache_profilers", true.into())];
        let (batch, outcome) = run(&mut open::<Perf>(&memory.host(), &settings), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 2 * (9 + 5 + 1));
        assert!(batch.fault().is_some_and(|fault| fault.error.contains("sched:gone")));
        assert!(render(&batch).contains("node_perf_sched_sched_switch{cpu=\"1\"} 203161"));
    }

    #[test]
    fn a_tracepoint_is_a_subsystem_and_an_event() {
        for wrong in ["sched", "sched:", ":x", "a:b:c", "a/b:c", "..:x", "a:b c", ""] {
            let refused = refusal::<Perf>(&[("tracepoint", [wrong].into())]);
            assert!(refused.contains("is not SUBSYSTEM:EVENT"), "{refused}");
        }
    }
}
