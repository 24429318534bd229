//! The rules that every collector of this build obeys, written once.
//!
//! A collector sees the world through `Host` alone, so that each of them can be run on hosts in
//! memory, which these tests spoil in every way that a kernel, a disk or a user could think of.

mod exposition_reader;
mod fixture_host;

use fixture_host::FixtureHost;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use toml::de::{DeTable, DeValue};
use vitald::encode::{Encoder, Format};
use vitald_core::collector::{Descriptor, Prepared, Running, roll_call};
use vitald_core::errno::{EACCES, EINVAL, EIO};
use vitald_core::family::FamilyInfo;
use vitald_core::host::{Host, Roots};
use vitald_core::pattern::Pattern;
use vitald_core::run::Run;
use vitald_core::settings::{Mistakes, Node, Origin, Setting, Table, Value};
use vitald_core::testing::{MemoryHost, descriptor, snapshot};

/// Collectors that do not read through `Host`, so that no host in memory is theirs.
const LIVE: &[&str] = &["portable"];

/// Settings of other types than true or false and pattern that give a collector more to do: each
/// makes runs of its own.
fn further_settings(collector: &str) -> Vec<(&'static str, Node)> {
    match collector {
        "textfile" => vec![
            ("directory", ["/var/lib/node_exporter"].into()),
            ("directory", ["/var/lib/*", "/not/there"].into()),
        ],
        "sysctl" => vec![
            ("include", ["fs.file-nr", "net.ipv4.conf.all.rp_filter", "kernel.threads-max"].into()),
            ("include", ["fs.file-nr:total,current,max"].into()),
            ("include_info", ["kernel.seccomp.actions_avail", "net.netfilter.nf_log.2"].into()),
        ],
        "perf" => vec![
            ("tracepoint", ["sched:sched_switch", "block:block_rq_issue"].into()),
            ("cpus", "0-2:2".into()),
        ],
        "process_groups" => {
            let rule = |name: &str, condition: &str, text: &str| {
                let entries = [("name", name), (condition, text)]
                    .map(|(key, text)| (key.to_owned(), Value::new(text, Origin::Default)));
                Node::Table(Table { path: String::new(), entries: entries.into() })
            };
            let rules = [
                rule("${unit}", "cgroup", r"/(?P<unit>[^/]+)\.service"),
                rule("${user}: ${comm}", "user", "www-data"),
                rule("${program}", "command_line", "^(?P<program>[^ ]+)"),
            ];
            vec![("rules", rules.into()), ("top_groups", 1.into()), ("top_by", "cpu".into())]
        }
        "wifi" => vec![("fixtures", "/var/lib/wifi".into())],
        _ => Vec::new(),
    }
}

fn collectors() -> Vec<&'static Descriptor> {
    roll_call(&[vitald_plugins::ROLL]).expect("the roll and the linked collectors agree")
}

/// Those that can be run on hosts in memory.
fn collectors_of_files() -> Vec<&'static Descriptor> {
    collectors().into_iter().filter(|descriptor| !LIVE.contains(&descriptor.name)).collect()
}

/// A collector with all the ways to set it, decoded once for all tests: what a pattern costs to compile is many
/// times what a run costs.
struct Subject {
    descriptor: &'static Descriptor,
    variations: Vec<Variation>,
}

/// One way to set a collector.
struct Variation {
    name: String,
    prepared: Box<dyn Prepared>,
}

impl Variation {
    fn open(&self, host: &Host) -> Box<dyn Running> {
        let opened = self.prepared.open(host);
        opened.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Every collector that can be run on hosts in memory.
fn subjects() -> &'static [Subject] {
    static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
        let of = |descriptor| Subject { descriptor, variations: variations(descriptor) };
        collectors_of_files().into_iter().map(of).collect()
    });
    &SUBJECTS
}

/// Every host, loaded once for all tests.
fn hosts() -> &'static [FixtureHost] {
    static HOSTS: LazyLock<Vec<FixtureHost>> = LazyLock::new(fixture_host::hosts);
    &HOSTS
}

/// A collector on a host that has the files which the collector may read and no others: a host is built for
/// each of many tries, and most of its files are other collectors'.
struct Place {
    host: FixtureHost,
    subject: &'static Subject,
}

impl Place {
    /// Every collector on every host.
    fn all() -> &'static [Place] {
        static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
            let place = |host: &FixtureHost, subject| {
                let files = files_of(subject, host);
                Place { host: host.with_only(&files), subject }
            };
            let each = |host| subjects().iter().map(move |subject| place(host, subject));
            hosts().iter().flat_map(each).collect()
        });
        &PLACES
    }

    fn label(&self, variation: &Variation) -> String {
        format!("{}, {}, {}", self.subject.descriptor.name, self.host.name, variation.name)
    }
}

/// As it is by default; with everything that can be switched on or off switched on, and off; and
/// with one more of its other settings each.
fn variations(descriptor: &Descriptor) -> Vec<Variation> {
    let switched = |on: bool| -> Vec<(&'static str, Node)> {
        let switches = descriptor.settings.iter().filter(|setting| setting.kind == bool::KIND);
        switches.map(|setting| (setting.key, on.into())).collect()
    };
    let mut all = vec![
        ("by default".to_owned(), Vec::new()),
        ("everything on".to_owned(), switched(true)),
        ("everything off".to_owned(), switched(false)),
    ];
    let unset_patterns = descriptor
        .settings
        .iter()
        .filter(|setting| setting.kind == Pattern::KIND && (setting.default)() == Node::Unset);
    let patterns = unset_patterns.map(|setting| (setting.key, Node::from(".*")));
    for (key, node) in patterns.chain(further_settings(descriptor.name)) {
        let name = format!("everything on, {key} = {node}");
        let mut settings = switched(true);
        settings.push((key, node));
        all.push((name, settings));
    }
    // Some settings exclude each other, such as what to show and what to leave out.
    let decoded = |(name, settings): (String, Vec<(&'static str, Node)>)| {
        let prepared = prepare(descriptor, &settings).ok()?;
        prepared.check().is_ok().then_some(Variation { name, prepared })
    };
    let variations: Vec<Variation> = all.into_iter().filter_map(decoded).collect();
    assert_eq!(variations[0].name, "by default", "{} does not open by default", descriptor.name);
    variations
}

fn prepare(
    descriptor: &Descriptor,
    settings: &[(&'static str, Node)],
) -> Result<Box<dyn Prepared>, Mistakes> {
    let mut table = Table::at(format!("collectors.{}", descriptor.name));
    for (key, node) in settings {
        table.entries.insert((*key).to_owned(), Value::new(node.clone(), Origin::Default));
    }
    let mut mistakes = Mistakes::new();
    (descriptor.prepare)(&table, &mut mistakes).ok_or(mistakes)
}

/// What came out of one run.
struct Outcome {
    batch: Arc<Run>,
    error: Option<String>,
}

impl Outcome {
    fn of(collector: &mut dyn Running, descriptor: &Descriptor, last: Option<&Run>) -> Outcome {
        let mut run = Run::new(descriptor.families);
        run.begin(last, 0);
        let error = collector.collect(run.batch()).err().map(|error| error.to_string());
        run.seal();
        Outcome { batch: Arc::new(run), error }
    }

    fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        Encoder::new(Format::Text).encode(&snapshot([&self.batch]), &mut page);
        page
    }

    /// A number for the series that there are and their types, in order.
    fn series(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (series, _) in self.batch.samples() {
            (series.id(), series.kind().word()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What a run later has the same of on a host that does not change: all but what counts what went wrong.
    fn steady(&self) -> (Vec<u8>, Option<String>) {
        let (page, error) = self.outcome();
        let counts = |line: &&[u8]| !line.starts_with(b"namedprocess_scrape_");
        (page.split(|byte| *byte == b'\n').filter(counts).collect::<Vec<_>>().concat(), error)
    }

    /// What can be compared with another run.
    fn outcome(&self) -> (Vec<u8>, Option<String>) {
        (self.page(), self.error.clone())
    }
}

/// Checks that the page is one, and that nothing on it was not declared.
fn check(descriptor: &Descriptor, run: &Outcome) -> Result<(), String> {
    let page = run.page();
    exposition_reader::read(&page).map_err(|wrong| format!("not a page: {wrong}"))?;
    for (series, _) in run.batch.samples() {
        let name = series.family_name();
        let shown = name.escape_ascii();
        let Some(declared) =
            descriptor.families.iter().find(|family| family.name.as_bytes() == name)
        else {
            let covering = descriptor.patterns.iter().filter(|pattern| pattern.covers(name));
            if !covering.flat_map(|pattern| pattern.kinds).any(|kind| *kind == series.kind()) {
                return Err(format!("{shown}, a {}, is not declared", series.kind().word()));
            }
            continue;
        };
        if declared.kind != series.kind() {
            return Err(format!("{shown} is declared as a {}", declared.kind.word()));
        }
        // A setting may add labels, but takes none away.
        let labels: Vec<&[u8]> = series.labels().map(|(label, _)| label).collect();
        if !declared.labels.iter().all(|label| labels.contains(&label.as_bytes())) {
            return Err(format!("{shown} lacks a declared label"));
        }
    }
    Ok(())
}

/// Everything that was pushed on any host, however it was set.
#[test]
fn what_is_pushed_is_declared_and_what_is_declared_is_pushed() {
    let mut wrong = String::new();
    for Subject { descriptor, variations } in subjects() {
        let mut pushed = BTreeSet::new();
        for host in hosts() {
            for variation in variations {
                let mut collector = variation.open(&host.memory().host());
                let run = Outcome::of(&mut *collector, descriptor, None);
                if let Err(what) = check(descriptor, &run) {
                    let _ = writeln!(
                        wrong,
                        "{}, {}, {}: {what}",
                        descriptor.name, host.name, variation.name
                    );
                }
                pushed.extend(run.batch.samples().map(|(series, _)| series.family_name().to_vec()));
            }
        }
        for family in
            descriptor.families.iter().filter(|family| !pushed.contains(family.name.as_bytes()))
        {
            let _ = writeln!(wrong, "{}: no host has {}{REMEDY}", descriptor.name, family.name);
        }
        for pattern in descriptor.patterns {
            if !pushed.iter().any(|name| pattern.covers(name)) {
                let _ =
                    writeln!(wrong, "{}: no host has {}{REMEDY}", descriptor.name, pattern.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_second_collection_gives_the_same_shape_and_a_third_the_same_page() {
    let mut wrong = String::new();
    for place in Place::all() {
        let descriptor = place.subject.descriptor;
        for variation in &place.subject.variations {
            let mut collector = variation.open(&place.host.memory().host());
            let first = Outcome::of(&mut *collector, descriptor, None);
            let second = Outcome::of(&mut *collector, descriptor, Some(&first.batch));
            let third = Outcome::of(&mut *collector, descriptor, Some(&second.batch));
            let place = place.label(variation);
            if first.batch.shape().id() != second.batch.shape().id() {
                let _ = writeln!(wrong, "{place}: the second run has another shape");
            }
            if second.steady() != third.steady() {
                let _ = writeln!(wrong, "{place}: the third run has another page");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What its author is to do about what no host has.
const REMEDY: &str = "; add its files to a tree in tests/fixtures/hosts; if they are there, the \
    collector's paths or its walk match nothing, or its `sources` name another place";

/// The sources of a collector that are files, as patterns of logical paths.
fn file_sources(descriptor: &Descriptor) -> Vec<String> {
    let mut patterns = Vec::new();
    for source in descriptor.sources {
        let root = source.split('/').next().unwrap_or_default();
        if ["proc", "sys", "udev", "rootfs"].contains(&root) {
            patterns.push((*source).to_owned());
        } else if source.starts_with('/') {
            patterns.push(format!("file:{source}"));
        }
    }
    if descriptor.name == "textfile" {
        // Its user says where they are.
        patterns.push("file:/var/lib/node_exporter/*.prom".to_owned());
    }
    if descriptor.name == "wifi" {
        // Recorded answers of one interface; those of the kernel are no files.
        patterns.extend(
            ["file:/var/lib/wifi/*.json", "file:/var/lib/wifi/wlp9s0/*.json"].map(str::to_owned),
        );
    }
    patterns
}

/// The files that a collector may read on a host, by where they really are.
fn files_of(subject: &Subject, host: &FixtureHost) -> BTreeSet<String> {
    file_sources(subject.descriptor).iter().flat_map(|pattern| host.expand(pattern)).collect()
}

#[test]
fn a_collector_reads_what_its_sources_say_and_no_more() {
    let mut wrong = String::new();
    for Subject { descriptor, .. } in subjects() {
        for pattern in file_sources(descriptor) {
            let leads_somewhere = |host: &FixtureHost| {
                !host.expand(&pattern).is_empty() || !host.listed(&pattern).is_empty()
            };
            if !hosts().iter().any(leads_somewhere) {
                let _ = writeln!(
                    wrong,
                    "{}: no host has the source {pattern}{REMEDY}",
                    descriptor.name
                );
            }
        }
    }
    for place in Place::all() {
        let host = hosts().iter().find(|host| host.name == place.host.name).expect("its host");
        for variation in &place.subject.variations {
            let page = |host: &FixtureHost| {
                let mut collector = variation.open(&host.memory().host());
                Outcome::of(&mut *collector, place.subject.descriptor, None).outcome()
            };
            if page(host) != page(&place.host) {
                let _ = writeln!(wrong, "{}: reads more than its sources", place.label(variation));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What can happen to a file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Removed,
    /// A directory is where the file was.
    Directory,
    /// Every read fails with this errno.
    Fails(i32),
    /// It cannot be opened by a user without rights; who has it open goes on reading.
    Refused,
    Empty,
    /// Only so many bytes are left.
    Cut(usize),
    /// Bytes of any value in place of all bytes.
    Noise(u64),
    /// Some bytes replaced by those that texts of numbers are made of.
    Odd(u64),
    /// Every number replaced by the same text.
    Number(&'static str),
    /// The lines in another order, some of them twice.
    Shuffled(u64),
}

/// Numbers that no counter should have.
const ODD_NUMBERS: [&str; 9] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775808",
    "-1",
    "1e999",
    "NaN",
    "0x10",
    "4294967296",
];

impl Fault {
    /// All that is tried on a file of that size.
    fn all(size: usize) -> Vec<Fault> {
        let mut faults = vec![Fault::Removed, Fault::Directory, Fault::Refused, Fault::Empty];
        faults.extend([EIO, EACCES, EINVAL].map(Fault::Fails));
        faults.extend(
            (1..10).flat_map(|seed| [Fault::Noise(seed), Fault::Odd(seed), Fault::Shuffled(seed)]),
        );
        faults.extend(ODD_NUMBERS.map(Fault::Number));
        // Every place in the first part, and often enough beyond to meet every column.
        faults.extend((1..size.min(2048)).chain((2048..size).step_by(37)).map(Fault::Cut));
        faults
    }

    /// What the file then holds; `None` for a fault that is not one of its content.
    fn content(self, content: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Fault::Removed | Fault::Directory | Fault::Fails(_) | Fault::Refused => return None,
            Fault::Empty => Vec::new(),
            Fault::Cut(length) => content[..length].to_vec(),
            Fault::Noise(seed) => {
                let mut noise = Noise(seed);
                content.iter().map(|_| noise.next() as u8).collect()
            }
            Fault::Odd(seed) => {
                let mut noise = Noise(seed);
                let odd = |byte: &u8| match noise.next() % 8 {
                    0 => *noise.pick(b"0123456789 \t\n:=-.,\"\\{}#()/\0\xff"),
                    _ => *byte,
                };
                content.iter().map(odd).collect()
            }
            Fault::Number(number) => with_numbers(content, number),
            Fault::Shuffled(seed) => {
                let mut noise = Noise(seed);
                let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
                let shuffled: Vec<&[u8]> = lines.iter().map(|_| *noise.pick(&lines)).collect();
                shuffled.concat()
            }
        })
    }

    /// Lets it happen; where it makes the same content as a fault before, which `tried` has, nothing happens.
    fn happen(
        self,
        memory: &MemoryHost,
        path: &str,
        content: &[u8],
        tried: &mut HashSet<Vec<u8>>,
    ) -> bool {
        match self {
            Fault::Removed => memory.remove(path),
            Fault::Directory => {
                memory.remove(path);
                memory.make_directory(path);
            }
            Fault::Fails(errno) => memory.fail(path, errno),
            Fault::Refused => memory.fail_open(path, EACCES),
            _ => {
                let Some(changed) = self.content(content) else { return false };
                if tried.contains(&changed) {
                    return false;
                }
                rewrite(memory, path, &changed);
                tried.insert(changed);
            }
        }
        true
    }
}

/// Replaces every run of digits that is a field of its own.
fn with_numbers(content: &[u8], number: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for field in content.split_inclusive(|byte| byte.is_ascii_whitespace()) {
        let end = field.iter().position(u8::is_ascii_whitespace).unwrap_or(field.len());
        let (word, blank) = field.split_at(end);
        let is_number = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        text.extend_from_slice(if is_number { number.as_bytes() } else { word });
        text.extend_from_slice(blank);
    }
    text
}

/// Numbers that look random and are the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // The first numbers after a small seed are small, too.
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        self.0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.next() % from.len().max(1) as u64;
        &from[at as usize]
    }
}

#[test]
fn no_fault_of_a_file_stops_a_collector_or_spoils_the_page() {
    // The longest first, so that no thread is left alone with one at the end.
    let mut jobs: Vec<(&Place, &str, &[u8])> = Vec::new();
    for place in Place::all() {
        let files = place.host.files.iter();
        jobs.extend(files.map(|(path, content)| (place, path.as_str(), content.as_slice())));
    }
    jobs.sort_by_key(|(place, _, content)| Reverse(content.len() * place.host.files.len()));
    let asks = |subject: &Subject| subject.descriptor.sources.contains(&EVENTS);
    let counts = |subject: &Subject| {
        let is_same = |place: &&Place| place.subject.descriptor.name == subject.descriptor.name;
        Place::all().iter().filter(is_same).map(counts_events).collect::<BTreeSet<bool>>().len()
    };
    for subject in subjects().iter().filter(|subject| asks(subject)) {
        // With the number of events and without it.
        assert_eq!(counts(subject), 2, "{}", subject.descriptor.name);
    }
    let wrong = Mutex::new(BTreeSet::new());
    on_all_processors(&jobs, |(place, path, content)| {
        if let Err(what) = spoil_file(place, path, content) {
            let place = format!("{}, {}, {path}", place.subject.descriptor.name, place.host.name);
            wrong.lock().expect("no job panics").insert(format!("{place}, {what}"));
        }
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
}

/// Does every job once, on as many threads as there are processors.
fn on_all_processors<T: Sync>(jobs: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(job);
                }
            });
        }
    });
}

/// The files that are read when something happens to one: of a directory with many children, such as processes or
/// batteries, those of the child that it happens to and of one other.
fn near(host: &FixtureHost, path: &str) -> BTreeSet<String> {
    let child = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let Some((directory, _)) = child.rsplit_once('/') else {
        return host.files.keys().cloned().collect();
    };
    let child_of = |file: &str| {
        let below = file.strip_prefix(directory)?.strip_prefix('/')?;
        below.split_once('/').map(|(child, _)| format!("{directory}/{child}"))
    };
    let mut other = None;
    let is_near = |file: &&String| match child_of(file) {
        Some(one) if one != child => *other.get_or_insert_with(|| one.clone()) == one,
        _ => true,
    };
    host.files.keys().filter(is_near).cloned().collect()
}

/// Gives a file another content, as who writes it does.
fn rewrite(memory: &MemoryHost, path: &str, content: &[u8]) {
    if !path.starts_with("udev/") {
        return memory.write(path, content);
    }
    // udev replaces a file by another one, which changes the directory.
    memory.write("udev/.new", content);
    memory.rename("udev/.new", path);
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    memory.set_modified("udev", 1_000_000.0 + TIMES.fetch_add(1, Ordering::Relaxed) as f64);
}

/// How the kernel counts its events of devices.
const EVENTS: &str = "sys/kernel/uevent_seqnum";

/// Lets there be an event of a device, without which what is absent is looked for now and then only. Says whether the host
/// counts them; one that does not has everything looked for each time.
fn announce(memory: &MemoryHost) -> bool {
    let last = memory.content(EVENTS).and_then(|last| String::from_utf8(last).ok());
    let last = last.and_then(|last| last.trim().parse::<u32>().ok());
    if let Some(last) = last {
        memory.write(EVENTS, format!("{}\n", last + 1));
    }
    last.is_some()
}

/// Whether the collector asks for the number of events, on a host that has it.
fn counts_events(place: &Place) -> bool {
    place.host.files.contains_key(EVENTS) && place.subject.descriptor.sources.contains(&EVENTS)
}

/// Lets everything happen to one file, under a collector that finds it so and under one that has
/// run before, and looks whether the latter is well again when it is over.
fn spoil_file(place: &Place, path: &str, content: &[u8]) -> Result<(), String> {
    let memory = place.host.with_only(&near(&place.host, path)).memory();
    if counts_events(place) && path != EVENTS {
        assert!(announce(&memory), "the host counts events, and none is announced");
    }
    let Subject { descriptor, variations } = place.subject;
    // Spoiling what makes no difference by default would be for nothing, so it is done where the
    // file matters; if it matters nowhere, where most is read.
    let host = memory.host();
    let pages = || -> Vec<_> {
        let open = |variation: &Variation| variation.open(&host);
        let page = |mut collector: Box<dyn Running>| Outcome::of(&mut *collector, descriptor, None);
        variations.iter().map(|variation| page(open(variation)).outcome()).collect()
    };
    let whole = pages();
    memory.remove(path);
    let without = pages();
    memory.write(path, content);
    let matters = |at: &usize| whole[*at] != without[*at];
    let most = usize::from(variations.len() > 1);
    let variation = &variations[(1..variations.len()).chain([0]).find(matters).unwrap_or(most)];
    let open = || variation.open(&host);
    let mut lasting = open();
    let before = Outcome::of(&mut *lasting, descriptor, None);
    let (mut last_fresh, mut last_lasting) =
        (Arc::new(Run::new(descriptor.families)), Arc::new(Run::new(descriptor.families)));
    let mut tried = HashSet::from([content.to_vec()]);
    let mut checked = HashSet::new();
    for fault in Fault::all(content.len()) {
        let place = |what: String| format!("{}: {fault:?}: {what}", variation.name);
        // sysfs makes a device and its attributes together, so a collector may take an attribute
        // that has gone from a device that has not as gone for good. So are the files of pressure when the kernel boots.
        let is_for_good = matches!(fault, Fault::Removed | Fault::Directory)
            && ["sys/", "proc/pressure/"].iter().any(|start| path.starts_with(start));
        if !fault.happen(&memory, path, content, &mut tried) {
            continue;
        }
        announce(&memory);
        let runs = catch_unwind(AssertUnwindSafe(|| {
            let first = Outcome::of(&mut *open(), descriptor, Some(&last_fresh));
            let again =
                (!is_for_good).then(|| Outcome::of(&mut *lasting, descriptor, Some(&last_lasting)));
            (first, again)
        }));
        let (first, again) = runs.map_err(|_| place("it panicked".to_owned()))?;
        for (run, last) in [(Some(first), &mut last_fresh), (again, &mut last_lasting)] {
            let Some(run) = run else { continue };
            // A page is one or not by its series; the values are always numbers.
            let is_new = run.batch.shape().id() != last.shape().id();
            if is_new && checked.insert(run.series()) {
                check(descriptor, &run).map_err(place)?;
            }
            *last = run.batch;
        }
        if matches!(fault, Fault::Directory) {
            memory.remove(path);
        }
        rewrite(&memory, path, content);
    }
    announce(&memory);
    // What hardly changes is read in turn. Values may be others for ever: a counter that was seen higher stays so.
    let mut after = None;
    for _ in 0..SCRAPES_OF_A_MINUTE {
        memory.pass_time(Duration::from_secs(15));
        after = Some(Outcome::of(&mut *lasting, descriptor, Some(&last_lasting)));
    }
    let after = after.expect("there are scrapes in a minute");
    // A group of processes stays when they have gone.
    let keeps_series = descriptor.name != "process_groups";
    if after.error != before.error || (keeps_series && after.series() != before.series()) {
        let page = |run: &Outcome| String::from_utf8_lossy(&run.page()).into_owned();
        let (before, after) = (page(&before), page(&after));
        let only = |one: &str, other: &str| {
            let lines = one.lines().filter(|line| !other.contains(line));
            lines.take(3).collect::<Vec<_>>().join("; ")
        };
        let (lacks, has) = (only(&before, &after), only(&after, &before));
        return Err(format!("{}: after all faults it lacks {lacks}, has {has}", variation.name));
    }
    Ok(())
}

/// What hardly ever changes may be shown as it was for less than this, scraped every 15 seconds.
const SCRAPES_OF_A_MINUTE: usize = 4;

/// What is not shown so: by collector and a part of the path, with the reason. Each is met.
const NOT_IN_TURN: &[(&str, &str, &str)] = &[
    ("cpu", "/topology/", "where a CPU is does not change while the same ones are on line"),
    ("cpu", "proc/stat", "times that go back are shown as they were"),
    ("dmi", "sys/devices/virtual/dmi/id/", "the kernel copies the firmware's tables when it boots"),
    ("netclass", "/addr_assign_type", "by netlink each change of it has an event"),
    ("netclass", "/dev_id", "by netlink each change of it has an event"),
    ("netclass", "/name_assign_type", "by netlink each change of it has an event"),
    ("pcidevice", "sys/devices/pci", "which device it is does not change while it is there"),
    ("pcidevice", "pci.ids", "names are looked up when a device comes"),
    ("process_groups", "proc/", "what processes have used is added up"),
];

/// Whether a file is one of these; by default `netclass` reads sysfs, and is no exception.
fn excuse(
    descriptor: &Descriptor,
    variation: &Variation,
    path: &str,
) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let is_default = descriptor.name == "netclass" && variation.name == "by default";
    let of_it = NOT_IN_TURN.iter().filter(|(name, _, _)| *name == descriptor.name && !is_default);
    of_it.into_iter().find(|(_, part, _)| path.contains(part))
}

/// What a file may hold instead: other numbers of as many digits, and another word.
fn changed(content: &[u8]) -> [Vec<u8>; 2] {
    let number = |byte: &u8| match byte {
        b'9' => b'1',
        b'0'..=b'8' => byte + 1,
        _ => *byte,
    };
    let mut word = content.to_vec();
    if let Some(last) = word.iter_mut().rfind(|byte| byte.is_ascii_alphabetic()) {
        *last ^= 1;
    }
    [content.iter().map(number).collect(), word]
}

/// A collector that has run, and what it shows after a minute of scrapes.
struct Lasting<'a> {
    memory: &'a MemoryHost,
    descriptor: &'static Descriptor,
    collector: Box<dyn Running>,
    last: Outcome,
}

impl<'a> Lasting<'a> {
    fn open(
        memory: &'a MemoryHost,
        descriptor: &'static Descriptor,
        variation: &Variation,
    ) -> Self {
        let mut collector = variation.open(&memory.host());
        let last = Outcome::of(&mut *collector, descriptor, None);
        Lasting { memory, descriptor, collector, last }
    }

    fn scrape(&mut self) -> (Vec<u8>, Option<String>) {
        self.last = Outcome::of(&mut *self.collector, self.descriptor, Some(&self.last.batch));
        self.last.steady()
    }

    fn after_a_minute(&mut self) -> (Vec<u8>, Option<String>) {
        for _ in 0..SCRAPES_OF_A_MINUTE {
            self.memory.pass_time(Duration::from_secs(15));
            self.scrape();
        }
        self.last.steady()
    }
}

/// Whatever is kept from scrape to scrape, a change of any file is on the page of a collector that has run for long as
/// it is on that of one that has just begun.
#[test]
fn a_change_of_any_file_is_shown_within_a_minute() {
    let (wrong, excused) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let shown = AtomicUsize::new(0);
    let mut jobs = Vec::new();
    for place in Place::all() {
        // What settings add is on in the second one.
        jobs.extend(place.subject.variations.iter().take(2).map(|variation| (place, variation)));
    }
    on_all_processors(&jobs, |(place, variation)| {
        let descriptor = place.subject.descriptor;
        let memory = place.host.memory();
        let fresh = || {
            let mut collector = variation.open(&memory.host());
            let first = Outcome::of(&mut *collector, descriptor, None);
            Outcome::of(&mut *collector, descriptor, Some(&first.batch)).steady()
        };
        let mut lasting = Lasting::open(&memory, descriptor, variation);
        let before = fresh();
        for (path, content) in &place.host.files {
            for other in changed(content) {
                rewrite(&memory, path, &other);
                let expected = fresh();
                if expected == before {
                    continue;
                }
                shown.fetch_add(1, Ordering::Relaxed);
                let is_shown = lasting.after_a_minute() == expected;
                rewrite(&memory, path, content);
                if is_shown && lasting.after_a_minute() == before {
                    continue;
                }
                match excuse(descriptor, variation, path) {
                    Some(excuse) => drop(excused.lock().expect("no job panics").insert(excuse)),
                    None => {
                        let way = if is_shown { "back " } else { "" };
                        let what = format!("{}, {path}: no change {way}", place.label(variation));
                        wrong.lock().expect("no job panics").insert(what);
                    }
                }
                lasting = Lasting::open(&memory, descriptor, variation);
            }
            rewrite(&memory, path, content);
        }
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
    let excused = excused.into_inner().expect("no job panics");
    let linked = |name: &str| subjects().iter().any(|subject| subject.descriptor.name == name);
    for excuse in NOT_IN_TURN.iter().filter(|(name, _, _)| linked(name)) {
        assert!(excused.contains(excuse), "{excuse:?} is no exception any more");
    }
    assert!(shown.into_inner() > least(1000), "hardly a change makes a difference");
}

/// So many with all collectors, and one at least with any.
fn least(of_all: usize) -> usize {
    if cfg!(feature = "full") { of_all } else { 0 }
}

/// Of how many children each has its turn in time.
const MANY: usize = 500;

/// The collectors that the next test is about: those that keep what they read of children in sysfs.
const WITH_MANY: &[&str] = &[
    "btrfs",
    "dmmultipath",
    "edac",
    "fibrechannel",
    "hwmon",
    "infiniband",
    "nvme",
    "nvmesubsystem",
    "pcidevice",
    "rapl",
    "thermal_zone",
    "watchdog",
];

/// As the test before, of children that are many and all change at once. One host is enough for each kind of children, and
/// kinds of which nothing is kept from scrape to scrape are left out.
#[test]
fn a_change_of_any_of_many_children_is_shown_within_a_minute() {
    let mut kinds = BTreeMap::new();
    for host in hosts() {
        for subject in subjects() {
            for pattern in file_sources(subject.descriptor) {
                let Some(star) = pattern.find('*').filter(|_| pattern.starts_with("sys/")) else {
                    continue;
                };
                let end = pattern[star..].find('/').map_or(pattern.len(), |slash| star + slash);
                let host = host.with_only(&files_of(subject, host));
                if !host.expand(&pattern).is_empty() {
                    let kind = (subject.descriptor.name, pattern[..end].to_owned());
                    kinds.entry(kind).or_insert((host, subject));
                }
            }
        }
    }
    let (wrong, met) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let kinds: Vec<_> = kinds.into_iter().collect();
    on_all_processors(&kinds, |((name, pattern), (host, subject))| {
        let (descriptor, variation) = (subject.descriptor, &subject.variations[0]);
        for many in [2, MANY] {
            let large = host.with_many(pattern, many);
            let children = large.files.iter().filter(|(path, _)| {
                !host.files.contains_key(*path) && excuse(descriptor, variation, path).is_none()
            });
            let memory = large.memory();
            let mut lasting = Lasting::open(&memory, descriptor, variation);
            let mut is_kept = false;
            for change in [0, 1] {
                for (path, content) in children.clone() {
                    rewrite(&memory, path, &changed(content)[change]);
                }
                let fresh = Lasting::open(&memory, descriptor, variation);
                is_kept |= lasting.scrape() != fresh.last.steady();
                if lasting.after_a_minute() != fresh.last.steady() {
                    let what = format!("{name}, {many} of {pattern}");
                    wrong.lock().expect("no job panics").insert(what);
                }
            }
            if !is_kept {
                return;
            }
        }
        met.lock().expect("no job panics").insert(*name);
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
    let met = met.into_inner().expect("no job panics");
    let linked = |name: &&&str| subjects().iter().any(|subject| subject.descriptor.name == **name);
    assert_eq!(met, WITH_MANY.iter().filter(linked).copied().collect::<BTreeSet<_>>());
}

/// What can be wrong with a reply of the bus.
fn spoilt_replies(reply: &(String, Vec<u8>)) -> Vec<Option<Result<(String, Vec<u8>), String>>> {
    let (signature, body) = reply;
    let refusal = |name: &str| Some(Err(format!("org.freedesktop.DBus.Error.{name}")));
    let mut spoilt = vec![None, refusal("AccessDenied"), refusal("ServiceUnknown"), refusal("")];
    let mut add = |signature: &str, body: Vec<u8>| spoilt.push(Some(Ok((signature.into(), body))));
    for other in ["", "v", "u", "s", "as", "a(so)", "a(ssssssouso)", "a{sv}", "(((", "aaaau"] {
        add(other, body.clone());
    }
    for length in (0..body.len()).step_by(1 + body.len() / 256) {
        add(signature, body[..length].to_vec());
    }
    for seed in 1..20 {
        let mut noise = Noise(seed);
        add(signature, body.iter().map(|_| noise.next() as u8).collect());
        let odd =
            |byte: &u8| if noise.next().is_multiple_of(16) { noise.next() as u8 } else { *byte };
        add(signature, body.iter().map(odd).collect());
    }
    spoilt
}

#[test]
fn no_reply_of_the_bus_stops_a_collector_or_spoils_the_page() {
    let mut wrong = String::new();
    let mut spoilt = 0;
    for host in hosts() {
        let memory = host.memory();
        for Subject { descriptor, variations } in subjects() {
            let Some(service) =
                descriptor.sources.iter().find_map(|source| source.strip_prefix("bus "))
            else {
                continue;
            };
            let path = format!("/{}", service.replace('.', "/"));
            let replies = memory.bus_replies().into_iter();
            for (key, reply) in replies.filter(|(key, _)| key[0].starts_with(&path)) {
                let key: Vec<&str> = key.iter().map(|part| &**part).collect();
                let Ok(whole) = &reply else { continue };
                // With everything switched on, most is asked.
                let variation = &variations[1];
                let mut collector = variation.open(&memory.host());
                let mut last = Outcome::of(&mut *collector, descriptor, None);
                let before = last.outcome();
                for fault in spoilt_replies(whole) {
                    spoilt += 1;
                    memory.set_bus(&key, fault.clone());
                    let run = catch_unwind(AssertUnwindSafe(|| {
                        Outcome::of(&mut *collector, descriptor, Some(&last.batch))
                    }));
                    let checked = match run {
                        Ok(run) => {
                            last = run;
                            check(descriptor, &last)
                        }
                        Err(_) => Err("it panicked".to_owned()),
                    };
                    if let Err(what) = checked {
                        let name = descriptor.name;
                        let _ =
                            writeln!(wrong, "{name}, {}, {key:?}, {fault:?}: {what}", host.name);
                    }
                }
                memory.set_bus(&key, Some(reply.clone()));
                let mut fresh = variation.open(&memory.host());
                if Outcome::of(&mut *fresh, descriptor, None).outcome() != before {
                    let _ = writeln!(wrong, "{}, {key:?}: another page after it", descriptor.name);
                }
                if Outcome::of(&mut *collector, descriptor, Some(&last.batch)).error != before.1 {
                    let _ = writeln!(wrong, "{}, {key:?}: after all faults", descriptor.name);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let asks_a_bus = |descriptor: &&Descriptor| {
        descriptor.sources.iter().any(|source| source.starts_with("bus "))
    };
    let is_there = collectors().iter().any(asks_a_bus);
    assert!(spoilt > 1000 || !is_there, "{spoilt} replies were spoilt");
}

/// Every directory that a collector lists on a host.
fn directories() -> Vec<(&'static Place, String)> {
    let mut all = Vec::new();
    for place in Place::all() {
        let patterns = file_sources(place.subject.descriptor);
        let directories: BTreeSet<String> =
            patterns.iter().flat_map(|pattern| place.host.listed(pattern)).collect();
        all.extend(directories.into_iter().map(|directory| (place, directory)));
    }
    all
}

#[test]
fn no_fault_of_a_directory_stops_a_collector_or_spoils_the_page() {
    let wrong = Mutex::new(BTreeSet::new());
    let directories = directories();
    assert!(directories.len() > least(100), "{}", directories.len());
    on_all_processors(&directories, |(place, directory)| {
        let descriptor = place.subject.descriptor;
        for variation in &place.subject.variations {
            for errno in [None, Some(EIO), Some(EACCES), Some(EINVAL)] {
                let memory = place.host.memory();
                let mut lasting = variation.open(&memory.host());
                let before = Outcome::of(&mut *lasting, descriptor, None);
                match errno {
                    None => memory.remove(directory),
                    Some(errno) => memory.fail(directory, errno),
                }
                let mut fresh = variation.open(&memory.host());
                let unannounced = Outcome::of(&mut *lasting, descriptor, Some(&before.batch));
                announce(&memory);
                for run in [
                    Outcome::of(&mut *lasting, descriptor, Some(&unannounced.batch)),
                    Outcome::of(&mut *fresh, descriptor, None),
                    unannounced,
                ] {
                    if let Err(what) = check(descriptor, &run) {
                        let place = place.label(variation);
                        let what = format!("{place}, {directory} {errno:?}: {what}");
                        wrong.lock().expect("no job panics").insert(what);
                    }
                }
            }
        }
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
}

/// A read may end before the file does, wherever the kernel allows it.
#[test]
fn no_size_of_reads_changes_a_page() {
    let wrong = Mutex::new(BTreeSet::new());
    on_all_processors(Place::all(), |place| {
        let descriptor = place.subject.descriptor;
        for variation in &place.subject.variations {
            let pages = |cut: &dyn Fn(&MemoryHost)| {
                let memory = place.host.memory();
                cut(&memory);
                let mut collector = variation.open(&memory.host());
                let first = Outcome::of(&mut *collector, descriptor, None);
                let second = Outcome::of(&mut *collector, descriptor, Some(&first.batch));
                (first.outcome(), second.outcome())
            };
            let whole = pages(&|_| {});
            let compare = |how: String, cut: &dyn Fn(&MemoryHost)| {
                if pages(cut) != whole {
                    let place = place.label(variation);
                    let what = format!("{place}: {how} bytes a read give another page");
                    wrong.lock().expect("no job panics").insert(what);
                }
            };
            for most in [1, 7, 4095] {
                compare(most.to_string(), &|memory| memory.set_chunk(most));
            }
            compare("a random number of".to_owned(), &|memory| memory.set_chunks(1));
        }
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
}

/// Names are any bytes but NUL and a slash: those of files and, by the rights of a container's
/// root, of devices.
#[test]
fn no_name_stops_a_collector_or_spoils_the_page() {
    const NAMES: [&[u8]; 4] = [b"\xff\xfe", b"a\xc3", b"\x01 \n\"\\{}", b"\xed\xa0\x80,=0"];
    let wrong = Mutex::new(BTreeSet::new());
    let tried = AtomicUsize::new(0);
    on_all_processors(&directories(), |(place, directory)| {
        let descriptor = place.subject.descriptor;
        for variation in &place.subject.variations {
            let memory = place.host.memory();
            let mut lasting = variation.open(&memory.host());
            let before = Outcome::of(&mut *lasting, descriptor, None);
            for name in NAMES {
                let is_tried = place.host.copy_a_child(&memory, directory, name);
                tried.fetch_add(usize::from(is_tried), Ordering::Relaxed);
            }
            // Without an event nobody looks for what has come.
            announce(&memory);
            let mut fresh = variation.open(&memory.host());
            let runs = catch_unwind(AssertUnwindSafe(|| {
                [
                    Outcome::of(&mut *lasting, descriptor, Some(&before.batch)),
                    Outcome::of(&mut *fresh, descriptor, None),
                ]
            }));
            let checked = match &runs {
                Err(_) => Err("it panicked".to_owned()),
                Ok(runs) => runs.iter().try_for_each(|run| check(descriptor, run)),
            };
            if let Err(what) = checked {
                let what = format!("{}, {directory}: {what}", place.label(variation));
                wrong.lock().expect("no job panics").insert(what);
            }
        }
    });
    let wrong = wrong.into_inner().expect("no job panics");
    assert!(wrong.is_empty(), "\n{}", Vec::from_iter(wrong).join("\n"));
    assert!(tried.into_inner() > 0, "no directory has children");
}

/// A host without netlink, and one whose file systems say nothing; both happen in sandboxes.
#[test]
fn a_host_without_what_is_no_file_stops_no_collector() {
    for place in Place::all() {
        let descriptor = place.subject.descriptor;
        for variation in &place.subject.variations {
            for memory in [place.host.only_files(), MemoryHost::new()] {
                let mut collector = variation.open(&memory.host());
                let run = Outcome::of(&mut *collector, descriptor, None);
                if let Err(what) = check(descriptor, &run) {
                    panic!("{}: {what}", place.label(variation));
                }
            }
        }
    }
}

/// `portable` and its like, on the machine that runs the test.
#[test]
fn what_reads_the_machine_itself_pushes_what_it_declares() {
    for descriptor in collectors().into_iter().filter(|descriptor| LIVE.contains(&descriptor.name))
    {
        for variation in variations(descriptor) {
            let mut collector = variation.open(&Host::new(Roots::default()));
            let run = Outcome::of(&mut *collector, descriptor, None);
            if let Err(what) = check(descriptor, &run) {
                panic!("{}, {}: {what}", descriptor.name, variation.name);
            }
        }
    }
}

fn is_snake_case(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !word.contains("__")
        && !word.ends_with('_')
}

/// Keys that every collector's table has.
const COMMON_KEYS: [&str; 3] = ["enabled", "interval", "max_series"];

#[test]
fn settings_are_declared_well_and_their_defaults_decode() {
    for descriptor in collectors() {
        let name = descriptor.name;
        assert!(is_snake_case(name), "{name} is not snake_case");
        let mut keys = BTreeSet::new();
        let mut flags = BTreeSet::new();
        for setting in descriptor.settings {
            let key = setting.key;
            assert!(is_snake_case(key), "{name}: {key} is not snake_case");
            assert!(keys.insert(key), "{name}: {key} is there twice");
            assert!(!COMMON_KEYS.contains(&key), "{name}: every collector has {key}");
            assert!(
                flags.insert(setting.flag_name()),
                "{name}: two settings --{}",
                setting.flag_name()
            );
            assert!(setting.doc.ends_with('.'), "{name}: the text of {key} is no sentence");
        }
        let mut mistakes = Mistakes::new();
        let prepared =
            (descriptor.prepare)(&Table::at(format!("collectors.{name}")), &mut mistakes);
        assert!(prepared.is_some() && mistakes.is_empty(), "{name}: {mistakes:?}");
        let may_block = prepared.as_ref().is_some_and(|prepared| prepared.may_block());
        match descriptor.may_block_with {
            Some(key) => assert!(keys.contains(key), "{name}: may block with {key}?"),
            None => assert_eq!(may_block, descriptor.may_block, "{name}: with which setting?"),
        }
        // A default that is written out means what it means when it is not.
        let mut written = Table::at(format!("collectors.{name}"));
        for setting in descriptor.settings {
            let value = Value::new((setting.default)(), Origin::Default);
            written.entries.insert(setting.key.to_owned(), value);
        }
        let same = (descriptor.prepare)(&written, &mut mistakes);
        let same = same.unwrap_or_else(|| panic!("{name}: {mistakes:?}"));
        assert!(prepared.is_some_and(|prepared| prepared.same(&*same)), "{name}: other defaults");
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_one_that_was_meant() {
    let refusal = |descriptor: &Descriptor, key: &str| {
        let mut table = Table::at(format!("collectors.{}", descriptor.name));
        table.entries.insert(key.to_owned(), Value::new(true, Origin::Default));
        let mut mistakes = Mistakes::new();
        let prepared = (descriptor.prepare)(&table, &mut mistakes);
        assert!(prepared.is_none() || !mistakes.is_empty(), "{} takes {key}", descriptor.name);
        let told: Vec<String> = mistakes.into_sorted().iter().map(ToString::to_string).collect();
        told.join("; ")
    };
    for descriptor in collectors() {
        let path = format!("collectors.{}.qqqqqqqqqqqqqqqq", descriptor.name);
        let told = refusal(descriptor, "qqqqqqqqqqqqqqqq");
        assert!(told.contains(&path) && told.contains("no such setting"), "{told}");
        for setting in descriptor.settings {
            let mistyped = format!("{}x", setting.key);
            let told = refusal(descriptor, &mistyped);
            assert!(told.contains(&format!("did you mean {}?", setting.key)), "{told}");
        }
    }
}

#[test]
fn descriptors_say_what_people_need_to_know() {
    if let Err(what) = check_shared_families(&collectors()) {
        panic!("{what}");
    }
    let mut summaries = BTreeSet::new();
    for descriptor in collectors() {
        let name = descriptor.name;
        let summary = descriptor.summary;
        assert!(
            !summary.is_empty() && !summary.ends_with('.'),
            "{name}: {summary:?} ends with a full stop"
        );
        assert!(
            summary.starts_with(|c: char| c.is_uppercase()),
            "{name}: {summary:?} begins small"
        );
        assert!(!summary.contains('\n'), "{name}: a summary is one line");
        assert!(summaries.insert(summary), "{name}: another collector has the summary {summary:?}");
        assert!(!descriptor.sources.is_empty(), "{name} does not say what it reads");
        assert!(
            !descriptor.families.is_empty() || !descriptor.patterns.is_empty(),
            "{name} declares no family"
        );
        for capability in descriptor.capabilities {
            assert!(capability.starts_with("CAP_"), "{name}: {capability} is no capability");
        }
        let lacked = descriptor.lacks_without;
        assert!(
            lacked.is_empty() || !descriptor.capabilities.is_empty(),
            "{name} lacks {lacked:?} without what?"
        );
        assert!(!lacked.ends_with('.'), "{name}: {lacked:?} is no part of a sentence");
        let mut helps = BTreeSet::new();
        for family in descriptor.families {
            assert!(
                helps.insert(family.help),
                "{name}: two families with the help {:?}",
                family.help
            );
            assert!(
                !family.name.to_ascii_lowercase().contains(&family.help.to_ascii_lowercase()),
                "{name}: the help of {} says no more than its name",
                family.name
            );
        }
        for pattern in descriptor.patterns {
            assert!(!pattern.help.is_empty() && !pattern.kinds.is_empty(), "{name}: {pattern:?}");
        }
    }
}

/// A family that several collectors declare must be marked by each of them, with one type and one
/// unit; a family is declared once by one collector.
fn check_shared_families(collectors: &[&'static Descriptor]) -> Result<(), String> {
    let mut known: BTreeMap<&str, (&str, &FamilyInfo)> = BTreeMap::new();
    for descriptor in collectors {
        let name = descriptor.name;
        for family in descriptor.families {
            let Some((owner, first)) = known.insert(family.name, (name, family)) else { continue };
            if owner == name {
                return Err(format!("{name} declares {} twice", family.name));
            }
            let unmarked =
                [(owner, first), (name, family)].into_iter().find(|(_, one)| !one.shared);
            if let Some((unmarked, _)) = unmarked {
                return Err(format!(
                    "{} is declared by {owner} and {name}, and {unmarked} does not mark it `shared`",
                    family.name
                ));
            }
            if (first.kind, first.unit) != (family.kind, family.unit) {
                return Err(format!(
                    "{} has one type or unit in {owner} and another one in {name}",
                    family.name
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn a_family_of_several_collectors_is_marked_by_each_of_them() {
    mod alone {
        vitald_core::families! {
            /// How fast a CPU runs.
            HERTZ: gauge = "t_frequency_hertz" [cpu];
        }
        pub(super) const ALL: &[vitald_core::family::FamilyInfo] = FAMILIES;
    }
    mod marked {
        vitald_core::families! {
            /// How fast a core runs.
            HERTZ: gauge = "t_frequency_hertz" [cpu, package] shared;
        }
        pub(super) const ALL: &[vitald_core::family::FamilyInfo] = FAMILIES;
    }
    mod other_unit {
        vitald_core::families! {
            /// How fast a core runs.
            HERTZ: gauge = "t_frequency_hertz" [cpu] shared unit(Ratio);
        }
        pub(super) const ALL: &[vitald_core::family::FamilyInfo] = FAMILIES;
    }
    mod other_type {
        vitald_core::families! {
            /// How fast a core runs.
            HERTZ: untyped = "t_frequency_hertz" [cpu] shared;
        }
        pub(super) const ALL: &[vitald_core::family::FamilyInfo] = FAMILIES;
    }
    static ALONE: Descriptor = descriptor("alone", alone::ALL, false);
    static FIRST: Descriptor = descriptor("first", marked::ALL, false);
    static SECOND: Descriptor = descriptor("second", marked::ALL, false);
    static OTHER_UNIT: Descriptor = descriptor("other_unit", other_unit::ALL, false);
    static OTHER_TYPE: Descriptor = descriptor("other_type", other_type::ALL, false);

    assert_eq!(check_shared_families(&[&FIRST, &SECOND]), Ok(()));
    assert_eq!(check_shared_families(&[&ALONE]), Ok(()));
    let refused = |all: &[&'static Descriptor]| check_shared_families(all).unwrap_err();
    for pair in [[&ALONE, &FIRST], [&FIRST, &ALONE]] {
        assert!(refused(&pair).ends_with("and alone does not mark it `shared`"));
    }
    assert!(refused(&[&FIRST, &FIRST]).starts_with("first declares t_frequency_hertz twice"));
    for other in [&OTHER_UNIT, &OTHER_TYPE] {
        assert!(refused(&[&FIRST, other]).contains("has one type or unit in first"));
    }
}

/// The folder of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text_of(path: &str) -> String {
    let path = workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below a folder.
fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| if path.is_dir() { sources_below(&path) } else { vec![path] };
    let is_source = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs");
    paths.flat_map(below).filter(is_source).collect()
}

/// The features of a manifest and what each turns on.
fn features(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let text = text_of(manifest);
    let document = DeTable::parse(&text).unwrap_or_else(|error| panic!("{manifest}: {error}"));
    let features =
        document.get_ref().get("features").and_then(|features| features.get_ref().as_table());
    let features = features.unwrap_or_else(|| panic!("{manifest} has no features"));
    let words = |value: &DeValue<'_>| -> Vec<String> {
        let words = value.as_array().expect("a feature is a list");
        words.iter().filter_map(|word| word.get_ref().as_str().map(str::to_owned)).collect()
    };
    features
        .iter()
        .map(|(name, value)| (name.get_ref().to_string(), words(value.get_ref())))
        .collect()
}

/// The names on the roll of `plugins/src/lib.rs`, each with its folder and module, whether they are
/// compiled into this build or not.
fn roll_in_the_source() -> Vec<(String, String, String)> {
    let text = text_of("plugins/src/lib.rs");
    let (_, list) = text.split_once("\ncollectors! {").expect("there is a list of collectors");
    let mut folder = "";
    let mut roll = Vec::new();
    for line in list.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some((name, _)) = line.split_once(" if ") {
            folder = name;
        } else if let Some((name, module)) = line.split_once(" => ") {
            let (name, module) = (name.trim_matches('"'), module.trim_end_matches(','));
            roll.push((name.to_owned(), folder.to_owned(), module.to_owned()));
        }
    }
    roll
}

/// A collector has one name: of its feature in both manifests, of its module and on the roll.
#[test]
fn manifests_and_roll_name_the_same_collectors() {
    let roll = roll_in_the_source();
    let names: BTreeSet<&str> = roll.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names.len(), roll.len(), "a name is on the roll twice");
    for (name, folder, module) in &roll {
        assert_eq!(name, module, "the module of {name} has another name");
        let file = format!("plugins/src/{folder}/{name}.rs");
        let is_there = workspace().join(&file).is_file()
            || workspace().join(format!("plugins/src/{folder}/{name}/mod.rs")).is_file();
        assert!(is_there, "{file} is not there");
    }
    let plugins = features("plugins/Cargo.toml");
    let daemon = features("collector/Cargo.toml");
    // A bundle turns on features of its own manifest, a collector's feature at most dependencies.
    let is_bundle = |turns_on: &[String]| turns_on.iter().any(|word| !word.contains([':', '/']));
    for (feature, turns_on) in &plugins {
        assert!(
            names.contains(feature.as_str()) != is_bundle(turns_on),
            "plugins/Cargo.toml: {feature} is neither a collector on the roll nor a bundle"
        );
        for word in turns_on.iter().filter(|word| !word.contains([':', '/'])) {
            assert!(
                plugins.contains_key(word),
                "plugins/Cargo.toml: {feature} turns on {word}, which is not a feature"
            );
        }
        let forwards = daemon.get(feature);
        let is_collector = names.contains(feature.as_str());
        let forwards =
            forwards.unwrap_or_else(|| panic!("collector/Cargo.toml lacks the feature {feature}"));
        if feature == "default" {
            assert_eq!(forwards, turns_on, "the two manifests have different defaults");
        } else {
            // What the daemon itself can do may be in a bundle, too.
            let of_plugins: Vec<&String> =
                forwards.iter().filter(|word| word.contains('/')).collect();
            assert_eq!(
                of_plugins,
                [&format!("vitald-plugins/{feature}")],
                "collector/Cargo.toml: {feature}"
            );
            assert!(
                !is_collector || forwards.len() == 1,
                "collector/Cargo.toml: {feature} turns on more than the collector"
            );
        }
    }
    // So that a build with one collector shows what a daemon with it alone would: .ci/run relies on it.
    let sources = sources_below(&workspace().join("collector/src"));
    assert!(sources.len() > 50, "{sources:?}");
    for source in sources {
        let text = std::fs::read_to_string(&source).expect("a source");
        let named =
            plugins.keys().find(|feature| text.contains(&format!("feature = \"{feature}\"")));
        assert_eq!(named, None, "{}: the daemon knows no collector by name", source.display());
    }
    // A feature that reaches no collector is the daemon's own.
    let forwarding = daemon
        .iter()
        .filter(|(_, turns_on)| turns_on.iter().any(|word| word.starts_with("vitald-plugins/")));
    for feature in names.iter().copied().chain(forwarding.map(|(name, _)| name.as_str())) {
        assert!(plugins.contains_key(feature), "plugins/Cargo.toml lacks the feature {feature}");
    }
    // A build with everything has everything.
    let full = turned_on(&plugins, "full");
    let left_out: Vec<_> = names.iter().filter(|name| !full.contains(*name)).collect();
    assert!(left_out.is_empty(), "the bundle full lacks {left_out:?}");
    // What is on by default is there by default.
    let standard = turned_on(&plugins, "standard");
    let on = collectors().into_iter().filter(|collector| collector.enabled && !collector.internal);
    let left_out: Vec<_> =
        on.map(|collector| collector.name).filter(|name| !standard.contains(name)).collect();
    assert!(
        left_out.is_empty(),
        "plugins/Cargo.toml: the bundle standard lacks {left_out:?}, on by default"
    );
}

/// A feature and all that it turns on.
fn turned_on<'f>(
    features: &'f BTreeMap<String, Vec<String>>,
    feature: &'f str,
) -> BTreeSet<&'f str> {
    let mut on = BTreeSet::from([feature]);
    let mut unseen = vec![feature];
    while let Some(feature) = unseen.pop() {
        let words = features[feature].iter().map(String::as_str);
        unseen.extend(words.filter(|word| features.contains_key(*word) && on.insert(word)));
    }
    on
}

/// What the features of this build promise is what the linker found.
#[test]
fn every_collector_whose_feature_is_on_is_linked() {
    let linked: Vec<&str> = collectors().iter().map(|descriptor| descriptor.name).collect();
    let mut roll = vitald_plugins::ROLL.to_vec();
    roll.sort_unstable();
    assert_eq!(linked, roll);
    // All of them are known, compiled in or not.
    let source = roll_in_the_source();
    let known: Vec<&str> = source.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(vitald_plugins::ALL, known);
    assert!(linked.iter().all(|name| known.contains(name)));
}
