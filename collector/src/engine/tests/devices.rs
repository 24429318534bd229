//! A collector that asks devices has a thread only where there are any.

use super::*;
use std::path::{Path, PathBuf};
use vitald_core::collector::Devices;

const CLASS: &str = "sys/class/t";

static NEEDS_DEVICES: Descriptor =
    Descriptor { devices: Some(Devices::of(CLASS)), ..descriptor("needs", TABLE, false) };
static SHOWS_DEVICES: Descriptor =
    Descriptor { devices: Some(Devices::optional(CLASS)), ..descriptor("shows", TABLE, false) };

static NEEDS_ONE: Descriptor =
    Descriptor { devices: Some(Devices::any_of(CLASS)), ..descriptor("one", TABLE, false) };

/// A sysfs of a test's own.
pub(super) struct Sysfs(tempfile::TempDir);

impl Sysfs {
    pub(super) fn new() -> Self {
        Sysfs(tempfile::tempdir().expect("a directory"))
    }

    fn class(&self) -> PathBuf {
        self.0.path().join(Path::new(CLASS).strip_prefix("sys").expect("below sys"))
    }

    pub(super) fn make_class(&self) {
        std::fs::create_dir_all(self.class()).expect("a directory");
    }

    pub(super) fn add(&self, device: &str) {
        std::fs::create_dir_all(self.class().join(device)).expect("a directory");
    }

    pub(super) fn swap(&self, engine: &Engine, makers: &[&Maker]) -> Changes {
        let plans: Vec<CollectorPlan> = makers.iter().map(|maker| maker.plan.clone()).collect();
        let host = Host::new(Roots { sysfs: self.0.path().to_owned(), ..Roots::default() });
        engine.swap(engine.stage(&plans, &host, FRESH).expect("it opens"))
    }
}

/// The same with the devices of a descriptor.
pub(super) fn of_devices(maker: Maker) -> Maker {
    asks(maker, &NEEDS_DEVICES)
}

fn asks(mut maker: Maker, descriptor: &'static Descriptor) -> Maker {
    maker.plan.descriptor = descriptor;
    maker
}

/// A collector that counts its runs and says on which thread they are made.
fn counts_on_thread(descriptor: &'static Descriptor) -> (Maker, Arc<Mutex<Vec<String>>>) {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let maker = make(0, 0, true, {
        let threads = Arc::clone(&threads);
        move |batch| {
            let thread = std::thread::current();
            let mut threads = lock(&threads);
            threads.push(thread.name().unwrap_or_default().to_owned());
            batch.value(&RUNS, threads.len() as u64);
            Ok(())
        }
    });
    (asks(maker, descriptor), threads)
}

#[test]
fn the_thread_comes_with_the_first_device() {
    for (descriptor, without, empty) in [
        (&NEEDS_DEVICES, State::Absent, State::Running),
        (&SHOWS_DEVICES, State::Running, State::Running),
        (&NEEDS_ONE, State::Absent, State::Absent),
    ] {
        let (collector, threads) = counts_on_thread(descriptor);
        let (sysfs, engine) = (Sysfs::new(), new_engine());
        sysfs.swap(&engine, &[&collector]);
        for _ in 0..2 {
            assert_eq!(scrape(&engine, LONG), [(descriptor.name, without, None)]);
        }
        sysfs.make_class();
        for _ in 0..2 {
            assert_eq!(scrape(&engine, LONG), [(descriptor.name, empty, None)]);
        }
        assert!(lock(&threads).is_empty());
        assert_eq!(engine.status()[0].counts.runs, 4);
        // The collection that finds it shows it, and no run more is counted than was made.
        sysfs.add("t0");
        for run in 1..4 {
            let page = [(descriptor.name, State::Running, Some(f64::from(run)))];
            assert_eq!(scrape(&engine, LONG), page);
        }
        assert_eq!(*lock(&threads), [descriptor.name; 3]);
        assert_eq!(engine.status()[0].counts.runs, 7);
        drop(engine);
        until(|| collector.open.load(Ordering::SeqCst) == 0);
    }
}

#[test]
fn what_hangs_at_a_device_costs_its_own_samples() {
    let (hung, gate) = gated(0, true);
    let (hung, other) = (of_devices(hung), counting(1));
    let (sysfs, engine) = (Sysfs::new(), new_engine());
    sysfs.add("t0");
    sysfs.swap(&engine, &[&hung, &other]);
    for run in 1..4 {
        let page = scrape(&engine, SHORT);
        assert_eq!(
            page,
            [("b", State::Running, Some(f64::from(run))), ("needs", State::TimedOut, None)]
        );
    }
    // A change of settings probes again and then waits for the one that hangs.
    sysfs.swap(&engine, &[&other]);
    assert_eq!(sysfs.swap(&engine, &[&hung, &other]).started, ["needs"]);
    assert_eq!(scrape(&engine, SHORT)[1], ("needs", State::TimedOut, None));
    drop(gate);
    until(|| scrape(&engine, LONG)[1] == ("needs", State::Running, Some(1.0)));
}

#[test]
fn a_thread_that_cannot_be_had_is_said_in_the_same_collection() {
    let collector = of_devices(make(0, 0, true, |_| Ok(())));
    let (sysfs, engine) = (Sysfs::new(), new_engine());
    sysfs.add("t0");
    // It is run on the thread that will run the probe.
    let other = make(0, 0, false, |_| {
        refuse_threads(true);
        Ok(())
    });
    sysfs.swap(&engine, &[&other]);
    assert_eq!(scrape(&engine, LONG)[0].1, State::Running);
    sysfs.swap(&engine, &[&other, &collector]);
    assert_eq!(scrape(&engine, LONG)[1], ("needs", State::TimedOut, None));
    let error = engine.status()[1].error.clone();
    assert!(error.is_some_and(|error| error.starts_with("its thread cannot be started")));
}
