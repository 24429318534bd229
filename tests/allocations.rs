//! A steady collection allocates nothing, from its start to the compressed page, on any thread.
//!
//! Every allocation of the process is counted while a collection of this machine's own kernel runs
//! through the engine and the writer of pages, the daemon's own families included; the first one
//! is named with the place it comes from.
#![cfg(target_os = "linux")]
// An allocator is unsafe to write; this one hands everything on and counts.
#![allow(unsafe_code)]

mod fixture_host;
mod in_process;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Instant;
use vitald::encode::{Format, PageBuffer, PageWriter};
use vitald::engine::{Engine, Request, Selection};
use vitald::own::process;
use vitald::plan::CollectorPlan;
use vitald_core::collector::{Descriptor, roll_call};
use vitald_core::families;
use vitald_core::host::{Host, Roots};
use vitald_core::run::Run;
use vitald_core::settings::{Node, Setting};
use vitald_core::snapshot::{Collection, State};

use in_process::{Applied, TIMEOUT, apply, own, plan};

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

/// What they are made with allocates: sysinfo as it likes, and quick-xml a few bytes a document for the
/// names of the elements that are open.
const NOT_OURS: [&str; 2] = ["portable", "supervisord"];

/// Which series they have depends on what processes and connections do at that moment, so a busy machine gives them
/// new shapes. Processes are measured on a written host.
const MOMENTARY: [&str; 2] = ["processes", "tcpstat"];

/// What asks for pages, with everything that is used again from one to the next.
struct Scraper {
    engine: Arc<Engine>,
    waker: Waker,
    collection: Collection,
    pages: PageWriter,
    page: PageBuffer,
    /// How each collector did in the last scrape.
    states: Vec<(&'static str, State, bool)>,
    _configuration: Arc<Applied>,
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
    /// With these collectors on, and the daemon's process beside them.
    fn new(mut plans: Vec<CollectorPlan>, roots: Roots) -> Self {
        plans.push(process::plan());
        let host = Host::new(roots);
        let engine = Arc::new(Engine::new(host.clone()).expect("it has its thread"));
        apply(&engine, &host, &plans);
        let (own, configuration) = own(&engine);
        Scraper {
            engine,
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
            collection: Collection::new(),
            pages: PageWriter::new(Some(own)),
            page: PageBuffer::default(),
            states: Vec::new(),
            _configuration: configuration,
        }
    }

    /// One scrape in a format, compressed or not.
    fn scrape(&mut self, format: Format, compressed: bool) -> &[u8] {
        let arrived = Instant::now();
        let deadline = arrived + TIMEOUT;
        let mut collecting =
            self.engine.collect(Request { arrived, deadline, selection: Selection::All });
        while let Err(again) = collecting.poll_at(&self.waker, Instant::now()) {
            let again = again.expect("nothing is watched");
            std::thread::park_timeout(again.saturating_duration_since(Instant::now()));
        }
        collecting.finish(&mut self.collection);
        self.states.clear();
        for part in &self.collection.parts {
            self.states.push((part.descriptor.name, part.state, part.run.is_some()));
        }
        self.pages.write(&mut self.collection, format, compressed, &mut self.page);
        self.page.as_ref()
    }

    /// One scrape in every form.
    fn scrape_all(&mut self) {
        for (format, compressed) in [
            (Format::Text, false),
            // Over the page of the same format.
            (Format::Text, false),
            (Format::Text, true),
            (Format::OpenMetrics, false),
        ] {
            std::hint::black_box(self.scrape(format, compressed));
        }
    }
}

/// Settings without which a collector has nothing to ask on this machine.
fn needed(descriptor: &'static Descriptor) -> Vec<(&'static str, Node)> {
    static NTP_PORT: LazyLock<u16> = LazyLock::new(serve_ntp);
    match descriptor.name {
        "ntp" => vec![("server_port", i64::from(*NTP_PORT).into())],
        _ => Vec::new(),
    }
}

/// Settings that give a collector more to do than its defaults: everything that can be switched on.
fn everything_on(descriptor: &'static Descriptor) -> Vec<(&'static str, Node)> {
    let switches = descriptor.settings.iter().filter(|setting| setting.kind == bool::KIND);
    needed(descriptor)
        .into_iter()
        .chain(switches.map(|setting| (setting.key, true.into())))
        .collect()
}

/// Answers as an NTP server on the loopback for as long as the process runs, without an allocation.
fn serve_ntp() -> u16 {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let port = server.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut packet = [0; 48];
        while let Ok((48, client)) = server.recv_from(&mut packet) {
            packet.copy_within(40..48, 24);
            packet[..2].copy_from_slice(&[4 << 3 | 4, 2]);
            packet[32] = 0xe8;
            packet[40] = 0xe9;
            let _ = server.send_to(&packet, client);
        }
    });
    port
}

/// How often it is tried whether a scrape allocates nothing.
const ROUNDS: usize = 30;

/// What a scrape after three others allocates; its page must have all of `samples`.
///
/// The machine is in use: a file may have grown beyond its buffer, an interface have come, or the
/// thread that collects have waited so long for a CPU that another one was started. What allocates
/// each time does so in each of many rounds.
fn steady_allocations(plans: Vec<CollectorPlan>, roots: Roots, samples: &[&str]) -> Option<String> {
    steady_allocations_in(&[State::Running, State::Degraded, State::Absent], plans, roots, samples)
}

/// The same of collectors that are in one of these states.
fn steady_allocations_in(
    allowed: &[State],
    plans: Vec<CollectorPlan>,
    roots: Roots,
    samples: &[&str],
) -> Option<String> {
    let mut scraper = Scraper::new(plans, roots);
    let mut found = None;
    for _ in 0..ROUNDS {
        for _ in 0..3 {
            scraper.scrape_all();
        }
        COUNTS.store(true, Ordering::SeqCst);
        scraper.scrape_all();
        found = stop_counting();
        let missing = scraper
            .states
            .iter()
            .find(|(_, state, has_samples)| !allowed.contains(state) || !has_samples);
        if let Some((name, state, _)) = missing {
            panic!("{name} is {}", state.word());
        }
        let page = String::from_utf8_lossy(scraper.scrape(Format::OpenMetrics, false)).into_owned();
        assert!(page.ends_with("# EOF\n"), "there is no page");
        let own = ["vitald_config_generation 1.0", "vitald_http_connections 0"];
        for sample in own.iter().chain(samples) {
            assert!(page.contains(sample), "the page lacks {sample}");
        }
        found.as_ref()?;
    }
    found
}

families! {
    /// What a pod has.
    BYTES: counter = "t_bytes_total" [pod];
    /// What else a pod has.
    LIMIT: gauge = "t_limit" [pod];
}

/// Allocations of a run of 10,000 rows in which one row has come in the middle: some for the new
/// shape, none for a row.
fn allocations_of_a_changed_shape() -> usize {
    let names: Vec<String> = (0..10_000).map(|number| format!("pod-{number:08}")).collect();
    let push = |run: &mut Run, last: Option<&Run>, new: bool| {
        run.begin(last, 0);
        for (number, name) in names.iter().enumerate() {
            if new && number == names.len() / 2 {
                let labels = run.batch().labels([b"new"]);
                run.batch().push(&BYTES, labels, 1);
            }
            let labels = run.batch().labels([name.as_bytes()]);
            run.batch().push(&BYTES, labels, number);
            run.batch().push(&LIMIT, labels, number);
        }
        run.seal();
    };
    let (mut last, mut next) = (Run::new(FAMILIES), Run::new(FAMILIES));
    push(&mut last, None, false);
    push(&mut next, Some(&last), false);
    COUNTS.store(true, Ordering::SeqCst);
    push(&mut next, Some(&last), true);
    COUNTS.store(false, Ordering::SeqCst);
    let count = ALLOCATIONS.swap(0, Ordering::SeqCst);
    assert_eq!((next.len(), last.shape().diff(next.shape()).come.len()), (20_001, 1));
    count
}

#[test]
fn a_steady_scrape_allocates_nothing() {
    // The counter itself: a test that counts nothing would always pass.
    COUNTS.store(true, Ordering::SeqCst);
    std::hint::black_box(Box::new(1_u8));
    assert!(stop_counting().is_some(), "the counter does not count");

    let changed = allocations_of_a_changed_shape();
    assert!(changed < 100, "{changed} allocations for one row more");

    let linked = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete");
    let mut offenders = String::new();
    let mut check = |what: &str, plans: Vec<CollectorPlan>| {
        let own = ["process_open_fds "];
        if let Some(found) = steady_allocations(plans, Roots::default(), &own) {
            let _ = writeln!(offenders, "{what}: {found}");
        }
    };
    let measured: Vec<&'static Descriptor> =
        linked.into_iter().filter(|descriptor| !NOT_OURS.contains(&descriptor.name)).collect();
    let lasting: Vec<&'static Descriptor> =
        measured.iter().copied().filter(|one| !MOMENTARY.contains(&one.name)).collect();
    for descriptor in &lasting {
        check(descriptor.name, vec![plan(descriptor, &needed(descriptor))]);
        let settings = everything_on(descriptor);
        if settings.len() > needed(descriptor).len() {
            let what = format!("{}, everything on", descriptor.name);
            check(&what, vec![plan(descriptor, &settings)]);
        }
    }
    check(
        "all together",
        lasting.iter().map(|descriptor| plan(descriptor, &needed(descriptor))).collect(),
    );
    // This machine may lack what the walks are over; a written host has it.
    let folder = tempfile::tempdir().expect("a folder");
    fixture_host::host("server").write_to(folder.path());
    let below = |root: &str| folder.path().join(root);
    let roots = Roots {
        procfs: below("proc"),
        sysfs: below("sys"),
        udev: below("udev"),
        ..Roots::default()
    };
    let settings = |name: &str| match name {
        "netdev" => vec![("netlink", false.into()), ("label_ifalias", true.into())],
        _ => Vec::new(),
    };
    let walks = |descriptor: &&&Descriptor| {
        let is_walked = |source: &&str| source.starts_with("sys/") && source.contains('*');
        descriptor.name == "processes" || descriptor.sources.iter().any(is_walked)
    };
    let plans: Vec<CollectorPlan> = measured
        .iter()
        .filter(walks)
        .map(|descriptor| plan(descriptor, &settings(descriptor.name)))
        .collect();
    let samples = [
        "node_cpu_core_throttles",
        "node_cpu_online{",
        "rotational=\"1\"",
        "node_disk_filesystem_info{",
        "ifalias=\"storage",
        "node_thermal_zone_temp{",
        "node_cooling_device_max_state{",
        "node_time_clocksource_current_info{",
        "node_processes_state{",
        "node_memory_numa_MemTotal{node=\"1\"}",
    ];
    if let Some(found) = steady_allocations(plans, roots, &samples) {
        let _ = writeln!(offenders, "walks: {found}");
    }
    for (what, found) in allocations_of_failing_sources(&measured) {
        let _ = writeln!(offenders, "{what}: {found}");
    }
    assert!(offenders.is_empty(), "\n{offenders}");
}

/// What each collector allocates in a steady scrape of a host none of whose files can be read: by a user without
/// rights, or because something other than a file is there.
fn allocations_of_failing_sources(measured: &[&'static Descriptor]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let spoilers: [(&str, fn(&Path)); 2] = [
        ("forbidden files", |file| {
            fs::set_permissions(file, Permissions::from_mode(0o000)).expect("the mode is changed");
        }),
        ("directories for files", |file| {
            fs::remove_file(file).expect("the file is removed");
            fs::create_dir(file).expect("the directory is made");
        }),
    ];
    for (what, spoil) in spoilers {
        let folder = tempfile::tempdir().expect("a folder");
        fixture_host::host("server").write_to(folder.path());
        each_file(folder.path(), &spoil);
        let below = |root: &str| folder.path().join(root);
        let roots = Roots {
            procfs: below("proc"),
            sysfs: below("sys"),
            udev: below("udev"),
            rootfs: below("rootfs"),
        };
        for descriptor in measured {
            let plans = vec![plan(descriptor, &[])];
            let states = [State::Running, State::Degraded, State::Absent, State::Failing];
            let found =
                without_rights(|| steady_allocations_in(&states, plans, roots.clone(), &[]));
            all.extend(found.map(|found| (format!("{}, {what}", descriptor.name), found)));
        }
    }
    all
}

fn each_file(folder: &Path, work: &dyn Fn(&Path)) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            each_file(&entry.path(), work);
        } else if kind.is_file() {
            work(&entry.path());
        }
    }
}

/// Does work on this thread, and those that it starts, without root's right to read every file.
fn without_rights<T>(work: impl FnOnce() -> T) -> T {
    let before = capabilities(None).expect("capget");
    let mut sets = before;
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).expect("capset");
    let done = work();
    set_capabilities(None, before).expect("capset");
    done
}
