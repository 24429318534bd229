//! What a scrape costs, in what does not depend on the machine's speed: instructions, and the cache lines and
//! pages of code and of data that it touches. And the size of the binary.
//!
//! Reading, parsing and encoding are counted under callgrind on the hosts of `tests/fixtures/hosts`, written to files, in a program
//! that does them on one thread (`cargo xtask counted`), so that the same is counted each time. On a machine that
//! does other work between two scrapes, every line that a scrape touches has to come from memory: code that
//! lies together and data that is touched once make a scrape cheap.
//!
//! Of the daemon itself, whose threads take turns as they like, instructions and places of code are counted with more
//! slack.
//!
//! The budgets are in `tests/budgets.txt`; `cargo xtask budgets` writes them anew. Files on disk are opened anew by each
//! scrape, where files of procfs are kept open: what the kernel's own files cost is in `system_cost`.

mod fixture_host;
mod harness;
mod system;

use fixture_host::FixtureHost;
use harness::Daemon;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use system::client::Client;
use system::cost::{scrape, standard};
use system::peer::STANDARD;
use vitald_core::collector::{Descriptor, roll_call};

/// How far over its budget a figure may be: 1 %, and 5 % where it follows a little from threads, or is counted once and so
/// has what happens now and then. Pieces are few: with a twentieth of a CPU there is one more, and one page more, and another
/// release of the C library may lie across one more, which together are 8 % of them.
const SLACK: f64 = 0.01;
const SLACK_OF_PLACES: f64 = 0.05;
const SLACK_OF_PIECES: f64 = 0.1;
/// A budget of which less than this is used is of other code: it would hide the next regression.
const LEAST_USED: f64 = 0.8;
/// How the figures of the daemon and its threads begin, and that of the binary.
const DAEMON: &str = "the daemon: ";
const BINARY: &str = "binary: ";
/// What the figures of all collectors that read files have after their host.
const EVERY_FILE: &str = ", every file: ";
/// Scrapes before anything is counted, and scrapes whose mean is taken.
const WARM: usize = 20;
const SCRAPES: usize = 10;
/// How many such means are taken.
const TRIES: usize = 4;
/// Scrapes of the daemon, of which each is counted by itself: so many that are fast enough for the watch to sleep all the
/// time, which on a busy machine are a part of all, and at most so many in all.
const FAST: usize = 20;
const FAST_ENOUGH: Duration = Duration::from_millis(50);
const MOST_COUNTED: usize = 200;
/// Bytes of a cache line, of a page, and of what the kernel maps at a time.
const LINE: u64 = 64;
const PAGE: u64 = 4096;
const PIECE: u64 = 64 << 10;

const HOW_TO_ACCEPT: &str = "If the change is worth it, write the budgets anew by `cargo xtask budgets` and look at the \
     difference. Where `pieces of code` has grown, write the order of functions anew before, by `cargo xtask order`.";

/// The C library chooses among its functions by the processor; these choices are the same on each.
const SAME_LIBRARY: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-RTM,-BMI2,-LZCNT,\
     -MOVBE,-SSE4_2,-SSE4_1,-SSSE3,-AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy";

/// The binary to measure.
fn release() -> PathBuf {
    harness::needs("VITALD_RELEASE and valgrind");
    harness::release_binary().expect("VITALD_RELEASE is the path of the release binary")
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/budgets.txt")
}

/// A line each: a figure in words, and its budget.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let budget = line.rsplit_once(": ").and_then(|(name, budget)| {
                Some((name.to_owned(), budget.replace(',', "").parse().ok()?))
            });
            budget.unwrap_or_else(|| panic!("tests/budgets.txt: no figure and budget: {line}"))
        })
        .collect()
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Which of the tests measures a figure: the part of its name that says so, or nothing where it is of the fixed collectors.
fn measured_by(name: &str) -> &'static str {
    let is_part =
        |part: &&str| name.starts_with(part) || *part == EVERY_FILE && name.contains(part);
    [DAEMON, BINARY, EVERY_FILE].into_iter().find(is_part).unwrap_or_default()
}

/// What is wrong with the figures of a test, a line each.
fn complaints(figures: &BTreeMap<String, u64>, budgets: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    for (name, figure) in figures {
        let is_loose = name.starts_with(DAEMON)
            || [" of code", " of data"].iter().any(|end| name.ends_with(end));
        let slack = if name.ends_with("pieces of code") {
            SLACK_OF_PIECES
        } else if is_loose {
            SLACK_OF_PLACES
        } else {
            SLACK
        };
        let _ = match budgets.get(name) {
            None => writeln!(text, "{name}: {}, and it has no budget", grouped(*figure)),
            Some(budget) if *figure as f64 > *budget as f64 * (1.0 + slack) => {
                let more = (*figure as f64 / *budget as f64 - 1.0) * 100.0;
                let (figure, budget) = (grouped(*figure), grouped(*budget));
                writeln!(text, "{name}: {figure}, {more:.1} % more than the {budget} of its budget")
            }
            Some(budget) if (*figure as f64) < *budget as f64 * LEAST_USED => {
                let less = (1.0 - *figure as f64 / *budget as f64) * 100.0;
                let (figure, budget) = (grouped(*figure), grouped(*budget));
                writeln!(
                    text,
                    "{name}: {figure}, {less:.1} % less than the {budget} of its budget, which hides what comes next: \
                     write it anew by `cargo xtask budgets`"
                )
            }
            Some(_) => Ok(()),
        };
    }
    let tests: BTreeSet<&str> = figures.keys().map(|name| measured_by(name)).collect();
    for name in budgets.keys() {
        if tests.contains(measured_by(name)) && !figures.contains_key(name) {
            let _ = writeln!(text, "{name}: it has a budget, and nothing measures it");
        }
    }
    text
}

/// What compiles these tests, and by its name what is counted.
fn compiler() -> String {
    let rustc = Command::new("rustc").arg("--version").output().expect("rustc");
    String::from_utf8(rustc.stdout).expect("text").trim().to_owned()
}

/// Whose figures the budgets are: the line of the file that says so.
const COMPILER: &str = "# They are those of ";

/// Holds figures against their budgets, or makes them the budgets.
fn judge(figures: &BTreeMap<String, u64>) {
    static WRITING: Mutex<()> = Mutex::new(());
    for (name, figure) in figures {
        println!("figure: {name}: {}", grouped(*figure));
    }
    let text = fs::read_to_string(file()).expect("tests/budgets.txt");
    if std::env::var_os("VITALD_WRITE_BUDGETS").is_some() {
        let _writing = WRITING.lock();
        let text = fs::read_to_string(file()).expect("tests/budgets.txt");
        let mut budgets = parse(&text);
        budgets.extend(figures.iter().map(|(name, figure)| (name.clone(), *figure)));
        let comments = text.lines().filter(|line| line.starts_with('#'));
        let mut lines: Vec<String> =
            comments.filter(|line| !line.starts_with(COMPILER)).map(str::to_owned).collect();
        lines.push(format!("{COMPILER}{}, glibc and a processor with AVX2.", compiler()));
        lines.push(String::new());
        lines.extend(budgets.iter().map(|(name, budget)| format!("{name}: {}", grouped(*budget))));
        fs::write(file(), lines.join("\n") + "\n").expect("tests/budgets.txt");
        return;
    }
    let complaints = complaints(figures, &parse(&text));
    let known = text.lines().find_map(|line| line.strip_prefix(COMPILER)).unwrap_or_default();
    let other = if known.starts_with(&compiler()) {
        String::new()
    } else {
        format!("The budgets are those of {known} and this is {}.\n", compiler())
    };
    assert!(
        complaints.is_empty(),
        "these figures are not within tests/budgets.txt:\n{complaints}{other}{HOW_TO_ACCEPT}"
    );
}

/// A guard that cannot fail guards nothing.
#[test]
fn what_is_not_within_its_budget_is_reported() {
    let figures = |figure| BTreeMap::from([("a host: instructions".to_owned(), figure)]);
    let lines = |figure| BTreeMap::from([("the daemon: lines of code".to_owned(), figure)]);
    let pieces = |figure| BTreeMap::from([("the daemon: pieces of code".to_owned(), figure)]);
    let budgets = parse("# A comment: 1\n\na host: instructions: 1,000\n");
    assert_eq!(budgets, figures(1000));
    assert_eq!(complaints(&lines(1050), &lines(1000)), "");
    assert!(complaints(&lines(1051), &lines(1000)).contains("5.1 % more than the 1,000"));
    assert_eq!(complaints(&pieces(1100), &pieces(1000)), "");
    assert!(complaints(&pieces(1101), &pieces(1000)).contains("10.1 % more than the 1,000"));
    assert_eq!(complaints(&figures(1010), &budgets), "");
    assert_eq!(
        complaints(&figures(1011), &budgets),
        "a host: instructions: 1,011, 1.1 % more than the 1,000 of its budget\n"
    );
    for stale in [&budgets, &lines(1000), &pieces(1000)] {
        let name = stale.keys().next().expect("a budget");
        let figures = |figure| BTreeMap::from([(name.clone(), figure)]);
        assert_eq!(complaints(&figures(800), stale), "");
        assert_eq!(
            complaints(&figures(799), stale),
            format!(
                "{name}: 799, 20.1 % less than the 1,000 of its budget, which hides what comes next: write it anew by \
                 `cargo xtask budgets`\n"
            )
        );
    }
    let unknown = complaints(&figures(1_234_567), &BTreeMap::new());
    assert_eq!(unknown, "a host: instructions: 1,234,567, and it has no budget\n");
}

#[test]
fn a_budget_that_nothing_measures_is_reported() {
    let host = "a host: instructions: 1\n";
    let daemon = "the daemon: instructions: 1\nthe daemon: pages of code: 1\n";
    let (files, binary) = ("a host, every file: instructions: 1\n", "binary: bytes: 1\n");
    let budgets = parse(&[host, daemon, files, binary].concat());
    for measured in [host, daemon, files, binary] {
        assert_eq!(complaints(&parse(measured), &budgets), "", "{measured}");
    }
    for (measured, gone) in [
        ("another host: instructions: 1\n", "a host: instructions"),
        ("the daemon: instructions: 1\n", "the daemon: pages of code"),
        ("another host, every file: instructions: 1\n", "a host, every file: instructions"),
        ("binary: pages: 1\n", "binary: bytes"),
    ] {
        let told = complaints(&parse(measured), &budgets);
        assert!(
            told.ends_with(&format!("{gone}: it has a budget, and nothing measures it\n")),
            "{told}"
        );
    }
}

#[test]
fn code_is_what_ran() {
    let text = "ob=/bin/a\nfn=f\n0x10 2\n0x14 1 0 1\ncob=/lib/b\ncfn=g\ncalls=1 0x20\n0x18 7\n0x1c 1\n\
                ob=/lib/b\nfn=g\n0x20 5\n";
    assert_eq!(
        code(text),
        [("/bin/a", 0x10), ("/bin/a", 0x14), ("/bin/a", 0x1c), ("/lib/b", 0x20)]
    );
}

/// A folder with a host in files, and what callgrind writes.
struct Place {
    directory: tempfile::TempDir,
    dumps: usize,
}

impl Place {
    fn of(host: &FixtureHost) -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        host.write_to(&directory.path().join("host"));
        for root in ["proc", "sys", "udev", "rootfs"] {
            fs::create_dir_all(directory.path().join("host").join(root)).expect("a directory");
        }
        Place { directory, dumps: 0 }
    }

    fn below(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program under callgrind, which counts nothing yet. Where there is a length of lines its first cache holds everything that
    /// was touched since counting began, so that what it lacks is what is touched for the first time. Without, it is twice as fast.
    fn callgrind(&self, line: Option<u64>, binary: &Path) -> Command {
        let caches = line.map(|line| {
            let size = |cache| format!("--{cache}=67108864,16,{line}");
            ["--cache-sim=yes".to_owned(), size("I1"), size("D1"), size("LL")]
        });
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--instr-atstart=no", "--fair-sched=yes"])
            .args([
                "--dump-instr=yes",
                "--dump-line=no",
                "--compress-pos=no",
                "--compress-strings=no",
            ])
            .args(caches.into_iter().flatten())
            .arg(format!("--vgdb-prefix={}", self.below("pipe").display()))
            .arg(format!("--callgrind-out-file={}", self.below("counted").display()))
            .arg(binary)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GLIBC_TUNABLES", SAME_LIBRARY);
        command
    }

    fn control(&self, process: u32, command: &str) {
        let output = Command::new("vgdb")
            .arg(format!("--pid={process}"))
            .arg(format!("--vgdb-prefix={}", self.below("pipe").display()))
            .args(command.split(' '))
            .output()
            .expect("vgdb, which comes with valgrind");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "vgdb {command}: {said}");
    }

    /// What was counted; counting begins anew.
    fn dump(&mut self, process: u32) -> Counted {
        self.control(process, "dump");
        self.dumps += 1;
        let text = fs::read_to_string(self.below(&format!("counted.{}", self.dumps)));
        let counted = Counted { text: text.expect("what callgrind counted") };
        assert!(counted.sum(&["Ir"]) > 10_000, "callgrind saw too little");
        counted
    }
}

/// What callgrind counted.
struct Counted {
    text: String,
}

impl Counted {
    /// How often these happened.
    fn sum(&self, events: &[&str]) -> u64 {
        let fields = |key: &str| -> Vec<&str> {
            let line = self.text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("callgrind says no {key}")).split_whitespace().collect()
        };
        let (names, totals) = (fields("events:"), fields("totals:"));
        let total = |event: &&str| -> u64 {
            let place = names.iter().position(|name| name == event);
            let total = totals[place.unwrap_or_else(|| panic!("callgrind counts no {event}"))];
            total.parse().expect("a number")
        };
        events.iter().map(total).sum()
    }

    /// The places of this many bytes with code that ran: the object that has the code, and which of its places.
    fn places_of_code(&self, bytes: u64) -> BTreeSet<(&str, u64)> {
        code(&self.text).into_iter().map(|(object, address)| (object, address / bytes)).collect()
    }
}

/// The instructions in what callgrind counted: the object that has them, and their addresses.
///
/// `ob=/usr/bin/vitald` begins an object, and `0x12340 2 0 1` is an instruction. What follows `calls=1 0x12000` says what a call
/// cost as a whole: callgrind says it also of calls that have not returned, as of those by which a thread began long ago, where
/// nothing of the caller ran.
fn code(text: &str) -> Vec<(&str, u64)> {
    let mut object = "";
    let mut code = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("calls=") {
            lines.next();
        } else if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(rest) = line.strip_prefix("0x") {
            let digits = rest.split(' ').next().unwrap_or(rest);
            code.push((object, u64::from_str_radix(digits, 16).expect("an address")));
        }
    }
    code
}

/// The program that scrapes on one thread, under callgrind.
struct Single {
    place: Place,
    program: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Single {
    fn start(binary: &Path, host: &FixtureHost, collectors: &[&str], line: u64) -> Single {
        let place = Place::of(host);
        let mut program = place
            .callgrind(Some(line), binary)
            .arg("counted")
            .arg("host")
            .arg(collectors.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("valgrind");
        let input = program.stdin.take().expect("a pipe");
        let mut output = BufReader::new(program.stdout.take().expect("a pipe")).lines();
        let warm = output.next().expect("it is warm").expect("text");
        println!("{}: {warm}", host.name);
        let single = Single { place, program, input, output };
        single.place.control(single.program.id(), "instrumentation on");
        single
    }

    fn scrape(&mut self, times: usize) -> Counted {
        writeln!(self.input, "{times}").expect("it reads");
        assert_eq!(self.output.next().expect("it answers").expect("text"), "done");
        self.place.dump(self.program.id())
    }
}

impl Single {
    /// Instructions of a scrape: the least of a few means, since what happens now and then only adds to them.
    fn instructions(&mut self) -> u64 {
        let mut mean = || self.scrape(SCRAPES).sum(&["Ir"]) / SCRAPES as u64;
        (0..TRIES).map(|_| mean()).min().unwrap_or_default()
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Of which the same is counted each time. `filesystem` asks for space on threads, and these take turns as they like.
fn without_threads() -> Vec<&'static str> {
    STANDARD.into_iter().filter(|name| *name != "filesystem").collect()
}

/// Beside the daemon's binary.
fn single(daemon: &Path) -> PathBuf {
    let binary = daemon.with_file_name("xtask");
    assert!(
        binary.is_file(),
        "{} is missing: cargo build --locked --release --package xtask",
        binary.display()
    );
    binary
}

#[test]
#[ignore = "needs VITALD_RELEASE and valgrind: cargo test --features full --test system_budgets -- --ignored"]
fn a_scrape_of_the_fixed_collectors() {
    let binary = release();
    let mut figures = BTreeMap::new();
    for host in fixture_host::hosts() {
        let mut figure = |what: &str, figure: u64| {
            figures.insert(format!("{}: {what}", host.name), figure);
        };
        let mut lines = Single::start(&single(&binary), &host, &without_threads(), LINE);
        // Callgrind begins with empty caches.
        let first = lines.scrape(1);
        figure("lines of code", first.sum(&["I1mr"]));
        figure("lines of data", first.sum(&["D1mr", "D1mw"]));
        figure("instructions", lines.instructions());
        let mut pages = Single::start(&single(&binary), &host, &without_threads(), PAGE);
        let first = pages.scrape(1);
        // Which pages its code is in is luck: this program's functions are in no order, as the daemon's are.
        figure("pages of data", first.sum(&["D1mr", "D1mw"]));
    }
    judge(&figures);
}

/// So long after a file was written `os` reads it once more, since it could have been changed at the same time again. That
/// is by the time that the kernel alone sets, and is not dated back.
const SETTLED: Duration = Duration::from_secs(3);

/// Of what is read from files and from nothing else, all collectors together.
#[test]
#[ignore = "needs VITALD_RELEASE and valgrind: cargo test --features full --test system_budgets -- --ignored"]
fn a_scrape_of_every_file() {
    let binary = release();
    let mut figures = BTreeMap::new();
    for name in ["laptop", "server", "storage"] {
        let host = fixture_host::host(name);
        let mut single = Single::start(&single(&binary), &host, &of_files(), LINE);
        let written = Instant::now();
        while written.elapsed() < SETTLED {
            let _ = single.scrape(1);
        }
        let instructions = single.instructions();
        figures.insert(format!("{name}{EVERY_FILE}instructions"), instructions);
    }
    judge(&figures);
}

/// What asks the machine for more than files, or does so on threads.
const NOT_OF_FILES: &[&str] =
    &["arp", "ethtool", "filesystem", "network_route", "qdisc", "tcpstat", "timex"];

fn of_files() -> Vec<&'static str> {
    let all = roll_call(&[vitald_plugins::ROLL]).expect("the roll is complete").into_iter();
    let is_of_files =
        |one: &&Descriptor| !one.may_block && !one.internal && !NOT_OF_FILES.contains(&one.name);
    all.filter(is_of_files).map(|one| one.name).collect()
}

/// A request and its answer, on all threads. The pieces of code are few because the linker knows what belongs
/// together (`collector/order.ld`).
#[test]
#[ignore = "needs VITALD_RELEASE and valgrind: cargo test --features full --test system_budgets -- --ignored"]
fn a_scrape_of_the_daemon() {
    let binary = release();
    let mut place = Place::of(&fixture_host::host("server"));
    // The interfaces are those of the host's files.
    let mut config = standard(&[("netdev", "netlink = false")]);
    config += "[paths]\nprocfs = 'host/proc'\nsysfs = 'host/sys'\nudev = 'host/udev'\nrootfs = 'host/rootfs'\n\
               [server]\nlisten = [\"127.0.0.1:0\"]\n";
    let folder = place.directory.path().display().to_string();
    let config = config.replace("'host/", &format!("'{folder}/host/"));
    fs::write(place.below("config.toml"), config).expect("the configuration");
    let mut command = place.callgrind(None, &binary);
    command.args(["run", "--config", "config.toml"]);
    let daemon = Daemon::spawn(command, tempfile::tempdir().expect("a directory"));
    let mut client = Client::connect(daemon.address());
    scrape(&mut client, WARM);
    place.control(daemon.pid(), "instrumentation on");
    scrape(&mut client, WARM);
    place.control(daemon.pid(), "zero");
    // A scrape under callgrind takes as long as fifty others. One that is slow gives what else is served a turn, and has the
    // watch look and start another collection thread, which all adds to what is counted: so the least is taken of
    // instructions, and of places those that each scrape has.
    let mut instructions = u64::MAX;
    let (mut pages, mut pieces) = (Common::default(), Common::default());
    let (mut fast, mut counted) = (0, 0);
    while fast < FAST && counted < MOST_COUNTED {
        let begun = Instant::now();
        scrape(&mut client, 1);
        fast += usize::from(begun.elapsed() < FAST_ENOUGH);
        counted += 1;
        let scrape = place.dump(daemon.pid());
        instructions = instructions.min(scrape.sum(&["Ir"]));
        pages.keep(scrape.places_of_code(PAGE));
        pieces.keep(scrape.places_of_code(PIECE));
    }
    println!("figure: {DAEMON}of {counted} scrapes {fast} were fast");
    judge(&BTreeMap::from([
        (format!("{DAEMON}instructions"), instructions),
        (format!("{DAEMON}pages of code"), pages.count()),
        (format!("{DAEMON}pieces of code"), pieces.count()),
    ]));
}

/// Places with code that every scrape ran.
#[derive(Default)]
struct Common(Option<BTreeSet<(String, u64)>>);

impl Common {
    /// Leaves out those that another scrape did not run.
    fn keep(&mut self, places: BTreeSet<(&str, u64)>) {
        match &mut self.0 {
            Some(common) => {
                common.retain(|(object, place)| places.contains(&(object.as_str(), *place)))
            }
            None => {
                let owned = |(object, place): (&str, u64)| (object.to_owned(), place);
                self.0 = Some(places.into_iter().map(owned).collect());
            }
        }
    }

    fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |common| common.len() as u64)
    }
}

#[test]
#[ignore = "needs VITALD_RELEASE and valgrind: cargo test --features full --test system_budgets -- --ignored"]
fn size_of_the_binary() {
    let binary = release();
    let size = fs::metadata(binary).expect("the binary").len();
    judge(&BTreeMap::from([(format!("{BINARY}bytes"), size)]));
}
