//! What a reader of snapshots can know: everything that push, history and the console need.

mod in_process;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;
use vitald::engine::{Engine, Request, Selection};
use vitald::own::process;
use vitald::plan::CollectorPlan;
use vitald_core::collector::{Descriptor, roll_call};
use vitald_core::host::{Host, Roots};
use vitald_core::identity::SeriesId;
use vitald_core::sealer::Sealer;
use vitald_core::snapshot::Snapshot;
use vitald_core::testing::MemoryHost;

use in_process::{TIMEOUT, apply, own, plan};

/// An output that is written against the snapshot alone.
///
/// It writes a line for each series that has come, that has a new value, and that has gone. A part
/// whose run it has seen has nothing new to say.
#[derive(Default)]
struct Journal {
    last: Option<Snapshot>,
    lines: String,
}

impl Journal {
    fn send(&mut self, snapshot: &Snapshot) -> String {
        self.lines.clear();
        for sample in snapshot.samples() {
            let name = sample.part.descriptor.name;
            let seen = self.last.iter().flat_map(|last| last.parts()).any(|part| {
                part.descriptor.name == name
                    && (part.run_number, part.began) == (sample.part.run_number, sample.part.began)
            });
            if seen {
                continue;
            }
            let series = String::from_utf8_lossy(sample.series.family_name());
            let labels: Vec<String> = sample
                .series
                .labels()
                .map(|(label, value)| {
                    format!("{}={}", String::from_utf8_lossy(label), String::from_utf8_lossy(value))
                })
                .collect();
            let _ = writeln!(
                self.lines,
                "{} {series}{} {{{}}} {} unit={} since={} run={}",
                sample.id(),
                sample.series.suffix().text(),
                labels.join(","),
                sample.value,
                sample.unit().word(),
                sample.since().word(),
                sample.part.run_number,
            );
        }
        if let Some(last) = &self.last {
            let gone = last.diff(snapshot).gone;
            for (at, sample) in last.samples().enumerate() {
                if gone.binary_search(&at).is_ok() {
                    let _ = writeln!(self.lines, "{} is stale", sample.id());
                }
            }
        }
        self.last = Some(snapshot.clone());
        self.lines.clone()
    }
}

fn linked(name: &str) -> &'static Descriptor {
    let all = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete");
    all.into_iter().find(|descriptor| descriptor.name == name).expect("it is built in")
}

fn collect(engine: &Engine, sealer: &mut Sealer) -> Snapshot {
    let arrived = Instant::now();
    let deadline = arrived + TIMEOUT;
    let request = Request { arrived, deadline, selection: Selection::All };
    let snapshot = sealer.seal(&mut engine.collect_blocking(request)).clone();
    sealer.release();
    snapshot
}

fn disk(number: u32, name: &str, reads: u32) -> String {
    format!("   8 {number} {name} {reads} 0 8 4 5 0 8 9 0 10 11\n")
}

/// The identity and the run number of the reads of a disk.
fn reads(snapshot: &Snapshot, disk: &[u8]) -> Option<(SeriesId, u64)> {
    snapshot
        .samples()
        .find(|sample| {
            sample.series.family_name() == b"node_disk_reads_completed_total"
                && sample.series.labels().any(|(_, value)| value == disk)
        })
        .map(|sample| (sample.id(), sample.part.run_number))
}

#[test]
fn a_reader_follows_series_over_runs_reloads_and_restarts() {
    let memory = MemoryHost::new();
    let both = disk(0, "sda", 7) + &disk(16, "sdb", 9);
    memory.write("proc/diskstats", &both);
    let (host, diskstats) = (memory.host(), linked("diskstats"));
    let engine = Engine::new(host.clone()).expect("it has its thread");
    let mut sealer = Sealer::new(None);
    let mut journal = Journal::default();

    apply(&engine, &host, &[plan(diskstats, &[])]);
    let first = collect(&engine, &mut sealer);
    let lines = journal.send(&first);
    let (id, run) = reads(&first, b"sdb").expect("it is there");
    let line = format!("{id} node_disk_reads_completed_total {{device=sdb}} 9 unit= ");
    assert!(lines.contains(&line), "{lines}");
    assert!(lines.contains("node_disk_read_bytes_total {device=sda} 4096 unit=bytes"), "{lines}");
    assert!(lines.contains("since=source run=1"), "{lines}");
    assert!(!lines.contains("stale"), "{lines}");
    assert_eq!(run, 1);
    assert_eq!(journal.send(&first), "", "a run is new once");
    assert!(first.began <= first.taken && first.parts()[0].began >= first.began);

    // A disk goes: each of its series is stale, and nothing else is.
    memory.write("proc/diskstats", disk(0, "sda", 8));
    let second = collect(&engine, &mut sealer);
    let lines = journal.send(&second);
    let of_disk = |snapshot: &Snapshot, name: &[u8]| {
        let has = |(_, value): (&[u8], &[u8])| value == name;
        snapshot.samples().filter(|sample| sample.series.labels().any(has)).count()
    };
    assert_eq!(lines.matches(" is stale").count(), of_disk(&first, b"sdb"), "{lines}");
    assert!(lines.contains(&format!("{id} is stale")), "{lines}");

    // The collector is opened anew with another setting; what it gives has the same names.
    memory.write("proc/diskstats", &both);
    apply(&engine, &host, &[plan(diskstats, &[("device_exclude", "^sdx$".into())])]);
    let reloaded = collect(&engine, &mut sealer);
    assert_eq!(reads(&reloaded, b"sdb").map(|(id, _)| id), Some(id));
    // Off and on again, and in another process.
    apply(&engine, &host, &[]);
    let lines = journal.send(&collect(&engine, &mut sealer));
    assert_eq!(lines.matches(" is stale").count(), of_disk(&second, b"sda"), "{lines}");
    apply(&engine, &host, &[plan(diskstats, &[])]);
    assert_eq!(reads(&collect(&engine, &mut sealer), b"sdb").map(|(id, _)| id), Some(id));
    let another = Engine::new(host.clone()).expect("it has its thread");
    apply(&another, &host, &[plan(diskstats, &[])]);
    let restarted = collect(&another, &mut Sealer::new(None));
    assert_eq!(reads(&restarted, b"sdb"), Some((id, 1)));
    assert!(first.diff(&restarted).is_empty());
}

#[test]
fn a_collector_costs_at_most_four_series_of_the_daemons_own() {
    let linked = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete");
    assert!(linked.len() >= 18, "this build has {} collectors", linked.len());
    let host = Host::new(Roots::default());
    let engine = Arc::new(Engine::new(host.clone()).expect("it has its thread"));
    let mut plans: Vec<CollectorPlan> =
        linked.iter().map(|descriptor| plan(descriptor, &[])).collect();
    plans.push(process::plan());
    apply(&engine, &host, &plans);
    let (own, _configuration) = own(&engine);
    let mut sealer = Sealer::new(Some(own));
    let snapshot = collect(&engine, &mut sealer);
    let own_series = |collector: &str| {
        let of_collector =
            |(label, value): (&[u8], &[u8])| label == b"collector" && value == collector.as_bytes();
        snapshot
            .samples()
            .filter(|sample| sample.part.descriptor.name == "vitald")
            .filter(|sample| sample.series.labels().any(of_collector))
            .count()
    };
    for descriptor in &linked {
        let kinds = snapshot.samples().filter(|sample| {
            sample.series.family_name() == b"vitald_collector_incident_kinds_total"
                && sample.series.labels().any(|(_, value)| value == descriptor.name.as_bytes())
        });
        // Only this machine decides whether something goes wrong in its collectors.
        assert_eq!(own_series(descriptor.name) - kinds.count(), 4, "{}", descriptor.name);
    }
    assert_eq!(own_series("process") + own_series("vitald"), 0, "no request asked for them");
}

/// Two collectors that have some series in common, as `cpu` and `cpufreq` have.
mod sharing {
    use vitald_core::collector::Descriptor;
    use vitald_core::prelude::*;

    families! {
        /// How fast a CPU runs.
        HERTZ: gauge = "t_frequency_hertz" [cpu] shared;
    }

    struct Early;

    impl Collector for Early {
        about! {
            name: "an_early_name",
            summary: "CPUs 0 and 1",
            families: FAMILIES,
            sources: ["proc/cpuinfo"],
        }

        fn open((): (), _host: &Host) -> Result<Self> {
            Ok(Early)
        }

        fn collect(&mut self, batch: &mut Batch) -> Result<()> {
            batch.row(&HERTZ, [b"0"], 1);
            batch.row(&HERTZ, [b"1"], 1);
            Ok(())
        }
    }

    struct Late;

    impl Collector for Late {
        about! {
            name: "b_late_name",
            summary: "CPUs 1 and 2, the first one with another label",
            families: FAMILIES,
            sources: ["sys/cpufreq"],
        }

        fn open((): (), _host: &Host) -> Result<Self> {
            Ok(Late)
        }

        fn collect(&mut self, batch: &mut Batch) -> Result<()> {
            batch.row(&HERTZ, [b"1"], 2);
            batch.row(&HERTZ, [b"2"], 2);
            let labels = batch.label_pairs(&[(b"cpu", b"1"), (b"package", b"0")]);
            batch.push_pairs(&HERTZ, labels, 2);
            Ok(())
        }
    }

    pub(super) static EARLY: Descriptor = Descriptor::of::<Early>();
    pub(super) static LATE: Descriptor = Descriptor::of::<Late>();
}

/// Of a series that several collectors have, the one of the collector whose name comes first is shown,
/// whatever the order of the configuration.
#[test]
fn of_a_shared_series_the_first_collector_by_name_is_shown() {
    let host = MemoryHost::new().host();
    let engine = Engine::new(host.clone()).expect("it has its thread");
    apply(&engine, &host, &[plan(&sharing::LATE, &[]), plan(&sharing::EARLY, &[])]);
    let snapshot = collect(&engine, &mut Sealer::new(None));
    let shown: Vec<String> = snapshot
        .samples()
        .map(|sample| {
            let labels: Vec<String> = sample
                .series
                .labels()
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .collect();
            format!("{} {} {}", sample.part.descriptor.name, labels.join(","), sample.value)
        })
        .collect();
    assert_eq!(
        shown,
        ["an_early_name 0 1", "an_early_name 1 1", "b_late_name 2 2", "b_late_name 1,0 2"]
    );
    assert!(!snapshot.has_conflicts(), "it was declared, and is no incident");
}
