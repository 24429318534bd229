//! A steady collection allocates nothing, from its start to the compressed page, on any thread.
//!
//! Every allocation of the process is counted while a collection of this machine's own kernel runs
//! through the engine and the encoders; the first one is named with the place it comes from.
#![cfg(target_os = "linux")]
// An allocator is unsafe to write; this one hands everything on and counts.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};
use vitald::encode::{Encoder, Format, Gzip};
use vitald::engine::{Engine, Limits, Request, Selection};
use vitald::plan::CollectorPlan;
use vitald_core::collector::{Descriptor, roll_call};
use vitald_core::host::{Host, Roots};
use vitald_core::settings::{Mistakes, Table};
use vitald_core::snapshot::{Snapshot, State};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

/// Whether allocations count now.
static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Where the first one that counted came from.
static FIRST: Mutex<Option<Backtrace>> = Mutex::new(None);

impl Counting {
    fn note(&self) {
        if !COUNTS.load(Ordering::Relaxed) || ALLOCATIONS.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        // Only the first one comes here, and what it allocates itself is not the first.
        let backtrace = Backtrace::force_capture();
        *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(backtrace);
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract;
// what is done beside it touches no memory of the caller's and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note();
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.note();
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.note();
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What happened since counting began, which ends here.
fn stop_counting() -> Option<String> {
    COUNTS.store(false, Ordering::SeqCst);
    let count = ALLOCATIONS.swap(0, Ordering::SeqCst);
    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Frames of the standard library and of this allocator say nothing.
    let first = first.map_or_else(String::new, |first| first.to_string());
    let is_place = |line: &&str| {
        line.starts_with("at ")
            && !line.contains("/rustc/")
            && !line.contains("tests/allocations.rs")
    };
    let places: Vec<&str> = first.lines().map(str::trim).filter(is_place).take(5).collect();
    (count > 0).then(|| format!("{count} allocations, the first {}", places.join(" < ")))
}

/// node_exporter's default set, which is the bundle `standard`.
const STANDARD: [&str; 17] = [
    "cpu",
    "diskstats",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netdev",
    "netstat",
    "pressure",
    "sockstat",
    "softnet",
    "stat",
    "textfile",
    "thermal_zone",
    "time",
    "uname",
    "vmstat",
];

/// What asks for pages, with everything that is used again from one to the next.
struct Scraper {
    engine: Engine,
    waker: Waker,
    snapshot: Snapshot,
    encoders: [Encoder; 2],
    page: Vec<u8>,
    gzip: Gzip,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl Scraper {
    /// With these collectors on.
    fn new(collectors: &[&'static Descriptor]) -> Self {
        let host = Host::new(Roots::default());
        let plans: Vec<CollectorPlan> =
            collectors.iter().map(|descriptor| plan(descriptor)).collect();
        let engine = Engine::new(host.clone());
        let staged = engine.stage(&plans, &host, Limits { max_age: Duration::ZERO });
        engine.swap(staged.unwrap_or_else(|refused| panic!("{refused:?}")));
        Scraper {
            engine,
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
            snapshot: Snapshot { taken: SystemTime::now(), parts: Vec::new() },
            encoders: [Encoder::new(Format::Text), Encoder::new(Format::OpenMetrics)],
            page: Vec::new(),
            gzip: Gzip::new(),
        }
    }

    /// One scrape in both formats.
    fn scrape(&mut self) {
        let arrived = Instant::now();
        let deadline = arrived + Duration::from_secs(10);
        let mut collecting =
            self.engine.collect(Request { arrived, deadline, selection: Selection::All });
        while let Err(again) = collecting.poll_at(&self.waker, Instant::now()) {
            std::thread::park_timeout(again.saturating_duration_since(Instant::now()));
        }
        collecting.finish(&mut self.snapshot);
        for encoder in &mut self.encoders {
            self.page.clear();
            let batches = self.snapshot.parts.iter().filter_map(|part| part.batch.as_deref());
            encoder.encode(batches, &mut self.page);
            std::hint::black_box(self.gzip.compress(&self.page));
        }
    }
}

fn plan(descriptor: &'static Descriptor) -> CollectorPlan {
    let mut mistakes = Mistakes::new();
    let table = Table::at(format!("collectors.{}", descriptor.name));
    let prepared = (descriptor.prepare)(&table, &mut mistakes);
    CollectorPlan {
        descriptor,
        prepared: prepared.unwrap_or_else(|| panic!("{mistakes:?}")).into(),
        enabled: true,
        interval: None,
        max_series: 0,
    }
}

/// What a scrape after three others allocates.
///
/// The machine is in use: a file may have grown beyond its buffer, or an interface have come, just
/// now. What allocates each time is found three times in a row.
fn steady_allocations(collectors: &[&'static Descriptor]) -> Option<String> {
    let mut scraper = Scraper::new(collectors);
    let mut found = None;
    for _ in 0..3 {
        for _ in 0..3 {
            scraper.scrape();
        }
        COUNTS.store(true, Ordering::SeqCst);
        scraper.scrape();
        found = stop_counting();
        let missing = scraper.snapshot.parts.iter().find(|part| {
            !matches!(part.state, State::Running | State::Absent) || part.batch.is_none()
        });
        if let Some(part) = missing {
            panic!("{} is {}", part.descriptor.name, part.state.word());
        }
        assert!(scraper.page.ends_with(b"# EOF\n"), "there is no page");
        found.as_ref()?;
    }
    found
}

#[test]
fn a_steady_scrape_allocates_nothing() {
    // The counter itself: a test that counts nothing would always pass.
    COUNTS.store(true, Ordering::SeqCst);
    std::hint::black_box(Box::new(1_u8));
    assert!(stop_counting().is_some(), "the counter does not count");

    let mut linked = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete");
    linked.retain(|descriptor| STANDARD.contains(&descriptor.name));
    assert_eq!(linked.len(), STANDARD.len(), "this build lacks some of the standard collectors");
    let mut offenders = String::new();
    for descriptor in &linked {
        if let Some(found) = steady_allocations(&[descriptor]) {
            let _ = writeln!(offenders, "{}: {found}", descriptor.name);
        }
    }
    if offenders.is_empty()
        && let Some(found) = steady_allocations(&linked)
    {
        let _ = writeln!(offenders, "all together: {found}");
    }
    assert!(offenders.is_empty(), "\n{offenders}");
}
