//! Sources that are at fault, under the real binary: text files that are not in the format, and a bus that misbehaves.
//! Every scrape answers in time with everything else, says what is wrong, and all comes back by itself.

mod exposition_reader;
mod harness;

use harness::{Answer, Daemon, Over, until};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vitald_core::testing::{BusServer, FakeBus};

const ALONE: &str = "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\ntimeout = \"5s\"\n\
                     [collectors.loadavg]\nenabled = true\n";

/// A directory of text files, of which one is good, and a daemon that reads them.
struct Place {
    daemon: Daemon,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(more: &str) -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("m.prom"), "good 1\n").expect("a file");
        let path = directory.path();
        let daemon = Daemon::start(&format!(
            "{ALONE}[collectors.textfile]\nenabled = true\ndirectory = [{path:?}]\n{more}"
        ));
        Place { daemon, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// A page, which is valid, has what others say, and came in time.
    #[track_caller]
    fn page(&self) -> Answer {
        let began = Instant::now();
        let page = self.daemon.metrics();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        if let Err(wrong) = exposition_reader::read(&page.bytes) {
            panic!("not a page: {wrong}");
        }
        assert_eq!(page.value("good"), Some(1.0), "the good file is not shown");
        assert!(page.has("node_load1"));
        page
    }

    /// Whether a page says that something is wrong with a file.
    #[track_caller]
    fn fails(&self) -> bool {
        self.page().value("node_textfile_scrape_error") == Some(1.0)
    }

    /// What is reported to an administrator.
    fn fault(&self) -> String {
        let status = self.daemon.get("/plugins/textfile").json();
        status["fault"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that a file is reported to be at fault for a reason, and that all is well without it.
    #[track_caller]
    fn is_at_fault(&self, name: &str, reason: &str) {
        assert!(self.fails(), "{name} is taken");
        let fault = self.fault();
        let words = format!("{}: {reason}", self.path(name).display());
        assert!(fault.starts_with(&words), "{fault}");
        // Quotes in it are escaped there.
        let named = self.path(name).display().to_string();
        self.daemon.wait_for_log(&named);
        let _ = fs::remove_file(self.path(name)).or_else(|_| fs::remove_dir(self.path(name)));
        assert!(!self.fails(), "{name} is gone");
        assert_eq!(self.fault(), "");
    }
}

#[test]
fn a_text_that_is_not_one_is_named_with_its_line_and_costs_itself_alone() {
    let place = Place::new("");
    let cases: &[(&[u8], &str)] = &[
        (b"a 1\nb\0 2\n", "line 2: expected a number"),
        (b"\xef\xbb\xbfa 1\n", "line 1: expected the name of a metric"),
        (b"a 1\r\nb 2\r\n", "line 1: expected a number"),
        (b"a{b=\"\xff\"} 1\n", "line 1: expected UTF-8"),
        (b"a 1\nb 2", "line 2: expected a newline at the end of the file"),
        (b"a 1\n\nb 2 1441205977284\n", "line 3: expected a newline after the value, and no time"),
        (
            b"# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {trace=\"x\"} 0.5\n",
            "line 2: expected a newline after the value, or a time",
        ),
        (b"# TYPE h histogram\nh_bucket{le=\"one\"} 1\n", "line 2: expected a number in le"),
        (b"# TYPE a gauge\n# TYPE a counter\na 1\n", "line 2: expected no second TYPE"),
        (b"# HELP a x\n# HELP a y\na 1\n", "line 2: expected no second HELP"),
        (b"a 1\n# TYPE a gauge\n", "line 2: expected no second TYPE, and none after samples"),
        (b"# TYPE a stateset\na 1\n", "line 1: expected a type"),
        (b"a{b=\"1\",b=\"2\"} 1\n", "line 1: expected no two labels of one name"),
        (b"a{b=\"1} 1\n", "line 1: expected a closing quotation mark"),
        (b"a{__name__=\"b\"} 1\n", "line 1: expected the name of a label"),
        (b"<html>\n", "line 1: expected the name of a metric"),
        (&[0; 5000], "line 1: expected"),
    ];
    for (text, reason) in cases {
        place.write("bad.prom", text);
        place.is_at_fault("bad.prom", reason);
    }
    let log = place.daemon.log();
    assert!(log.contains("line 2: expected") && log.contains("gives all its samples again"));
    // Of several the first says why, and a few are named.
    let named = |names: &[&str]| {
        let named: Vec<_> =
            names.iter().map(|name| place.path(name).display().to_string()).collect();
        named.join(", ")
    };
    let (x, y) = (place.path("x.prom"), named(&["y.prom", "z.prom"]));
    for name in ["x.prom", "y.prom", "z.prom"] {
        place.write(name, "x\n");
    }
    assert!(place.fails());
    let fault = format!("{}: line 1: expected a number (and {y})", x.display());
    assert_eq!(place.fault(), fault);
    place.daemon.wait_for_log(&format!("(and {y})"));
    for number in 1..4 {
        place.write(&format!("z{number}.prom"), "x\n");
    }
    assert!(place.fails());
    let named = named(&["y.prom", "z.prom", "z1.prom"]);
    assert!(place.fault().ends_with(&format!("(and {named}, and 2 more)")), "{}", place.fault());
    place.daemon.wait_for_log(&format!("(and {named}, and 2 more)"));
}

/// What is in the format, and contradicts itself or others. The page is valid whatever it is.
#[test]
fn a_page_is_valid_whatever_text_files_say() {
    let place = Place::new("");
    // The text, its name, and what is shown of it.
    let cases: &[(&str, &str, &[(&str, Option<f64>)])] = &[
        ("", "e.prom", &[]),
        ("\n \n# nothing\n# EOF\n", "e.prom", &[]),
        ("a{b=\"x\0y\"} 1\n", "e.prom", &[("a{b=\"x\0y\"}", Some(1.0))]),
        (
            "a NaN\nb +Inf\nc -Inf\nd 1e308\n",
            "e.prom",
            &[("d", Some(1e308)), ("b", Some(f64::INFINITY))],
        ),
        ("twice 1\ntwice 2\n", "e.prom", &[("twice", Some(1.0))]),
        ("good 2\n", "n.prom", &[("good", Some(1.0))]),
        ("# TYPE good counter\ngood{n=\"1\"} 2\n", "n.prom", &[("good{n=\"1\"}", None)]),
        (
            "mixed 1\nmixed{a=\"1\"} 2\nmixed{b=\"1\"} 3\n",
            "e.prom",
            &[("mixed{a=\"1\"}", Some(2.0))],
        ),
        ("empty{a=\"\"} 1\nempty 2\n", "e.prom", &[]),
        (
            "# TYPE node_load1 counter\nnode_load1{x=\"y\"} 7\n",
            "e.prom",
            &[("node_load1{x=\"y\"}", None)],
        ),
        ("# HELP node_load1 Other.\n# TYPE node_load1 gauge\nnode_load1 4711\n", "e.prom", &[]),
        (
            "# TYPE node_load1 gauge\nnode_load1{x=\"y\"} 7\n",
            "e.prom",
            &[("node_load1{x=\"y\"}", Some(7.0))],
        ),
        (
            "# TYPE node_load histogram\nnode_load_sum 1\n# TYPE node_load1 summary\nnode_load1_sum 1\n",
            "e.prom",
            &[],
        ),
        (
            "node_textfile_scrape_error 7\nnode_textfile_mtime_seconds{file=\"x\"} 1\n",
            "e.prom",
            &[("node_textfile_scrape_error", Some(0.0))],
        ),
        (
            "vitald_build_info 3\nprocess_cpu_seconds_total 1\nnode_scrape_collector_success 9\n",
            "e.prom",
            &[],
        ),
        ("x_count 3\n# TYPE x summary\nx_sum 1\nx_count{a=\"b\"} 2\n", "e.prom", &[]),
        (
            "# TYPE h histogram\nh_bucket{le=\"2\"} 9\nh_bucket{le=\"1\"} 10\nh_bucket{le=\"+Inf\"} 3\nh_count 5\nh_count 6\nh_sum NaN\n",
            "e.prom",
            &[("h_count", Some(6.0))],
        ),
        (
            "# TYPE s summary\ns{quantile=\"2\"} -1\ns{quantile=\"NaN\"} 1\ns_sum 1\n",
            "e.prom",
            &[("s_count", Some(0.0))],
        ),
        ("# HELP help Line\\none \\\\ two\nhelp 1\n", "e.prom", &[("help", Some(1.0))]),
    ];
    for (text, name, shown) in cases {
        place.write(name, text);
        assert!(!place.fails(), "{text}: {}", place.fault());
        let page = place.page();
        for (series, value) in *shown {
            assert_eq!(page.value(series), *value, "{series} of {text}");
        }
        assert!(page.value("node_load1") != Some(4711.0));
        fs::remove_file(place.path(name)).expect("a file");
    }
    // Of two helps the second file's goes.
    place.write("1.prom", "# HELP two One.\ntwo{f=\"1\"} 1\n");
    place.write("2.prom", "# HELP two Other.\ntwo{f=\"2\"} 1\nalso 1\n");
    let page = place.page();
    assert_eq!((page.value("two{f=\"1\"}"), page.value("two{f=\"2\"}")), (Some(1.0), None));
    assert_eq!(page.value("also"), Some(1.0));
    place.is_at_fault("2.prom", "a family has another help than in a file before it");
}

#[test]
fn what_is_no_file_is_named_and_not_touched() {
    let place = Place::new("");
    let pipe = place.path("x.prom");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    place.is_at_fault("x.prom", "it is not a regular file");
    fs::create_dir(&pipe).expect("a directory");
    place.is_at_fault("x.prom", "it is not a regular file");
    for (target, reason) in [
        ("/dev/zero", "it is not a regular file"),
        ("/dev/null", "it is not a regular file"),
        ("no such file", "No such file or directory"),
        ("x.prom", "Too many levels of symbolic links"),
        ("/proc/self/mem", "Input/output error"),
    ] {
        symlink(target, &pipe).expect("a link");
        if target != "/proc/self/mem" {
            place.is_at_fault("x.prom", reason);
        } else {
            // Nothing is at its address 0, or nothing is read of what says that it has no bytes.
            place.page();
            fs::remove_file(&pipe).expect("a link");
        }
    }
    let socket = std::os::unix::net::UnixListener::bind(&pipe).expect("a socket");
    place.is_at_fault("x.prom", "it is not a regular file");
    drop(socket);
    // No block of it is on the disk.
    let sparse = fs::File::create(&pipe).expect("a file");
    sparse.set_len(1 << 30).expect("a file of 1 GiB");
    let peak = place.daemon.status("VmHWM");
    place.is_at_fault("x.prom", "it has more than");
    assert!(place.daemon.status("VmHWM") < peak + (8 << 10), "1 GiB was read");
    place.write("x.prom", "x 1\n");
    let may_read_all = rustix::process::geteuid().is_root();
    if !may_read_all {
        fs::set_permissions(&pipe, std::os::unix::fs::PermissionsExt::from_mode(0o000))
            .expect("a file");
        place.is_at_fault("x.prom", "Permission denied");
    }
}

#[test]
fn files_that_change_while_they_are_read_cost_no_page() {
    let place = Place::new("");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let line = |number: usize| format!("grown{{n=\"{number}\"}} 1\n");
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                match number % 500 {
                    0 => place.write("grown.prom", ""),
                    1 => place.write("cut.prom", (0..2000).map(line).collect::<String>()),
                    250 => fs::OpenOptions::new()
                        .write(true)
                        .open(place.path("cut.prom"))
                        .and_then(|file| file.set_len(777))
                        .expect("a file"),
                    400 => fs::remove_file(place.path("cut.prom")).expect("a file"),
                    _ => {
                        use std::io::Write as _;
                        let file =
                            fs::OpenOptions::new().append(true).open(place.path("grown.prom"));
                        file.expect("a file").write_all(line(number).as_bytes()).expect("a line");
                    }
                }
            }
        });
        let _over = Over(&is_over);
        for _ in 0..200 {
            place.page();
        }
    });
    place.write("grown.prom", "grown 5\n");
    place.write("cut.prom", "cut 6\n");
    let page = place.page();
    assert_eq!((page.value("grown"), page.value("cut")), (Some(5.0), Some(6.0)));
    assert!(!place.fails());
}

/// How many calls of read(2) and its like a process has made (proc_pid_io(5)).
fn reads(daemon: &Daemon) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", daemon.pid())).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    line.and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn ten_thousand_files_are_shown_and_not_read_again() {
    const FILES: usize = 10_000;
    let place = Place::new("");
    for number in 0..FILES - 1 {
        place.write(&format!("f{number}.prom"), format!("f{{n=\"{number}\"}} {number}\n"));
    }
    let page = place.page();
    assert_eq!(page.value("node_textfile_scrape_error"), Some(0.0));
    assert_eq!(page.body.matches("node_textfile_mtime_seconds{").count(), FILES);
    assert_eq!(page.value("f{n=\"4711\"}"), Some(4711.0));
    // Each is read once more when it has been as it is for some seconds.
    until("they are not read again", || {
        let before = reads(&place.daemon);
        place.page();
        reads(&place.daemon) - before < 1000
    });
    place.write("f7.prom", "f{n=\"7\"} 8\n");
    fs::remove_file(place.path("f8.prom")).expect("a file");
    let page = place.page();
    assert_eq!((page.value("f{n=\"7\"}"), page.value("f{n=\"8\"}")), (Some(8.0), None));
    assert_eq!(page.body.matches("node_textfile_mtime_seconds{").count(), FILES - 1);
}

#[test]
fn own_rows_are_shown_whatever_is_cut() {
    let place = Place::new("max_series = 1000\n");
    let text = (0..100_001).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "many{{n=\"{number}\"}} 1");
        text
    });
    place.write("z.prom", text);
    let page = place.page();
    assert_eq!(page.body.matches("node_textfile_mtime_seconds{").count(), 2);
    assert_eq!(page.value("node_textfile_scrape_error"), Some(0.0));
    assert_eq!(place.daemon.get("/plugins/textfile").json()["degraded"], "max_series");
}

/// Lines that are short and make much.
fn greedy(line: impl Fn(usize) -> String) -> String {
    (0..300_000).map(line).collect()
}

#[test]
fn no_file_takes_more_memory_than_it_may() {
    let texts: [(&str, String); 7] = [
        ("labels", greedy(|at| format!("a{{l{}=\"1\"}} 1\n", at % 128))),
        ("families", greedy(|at| format!("f{at} 1\n"))),
        ("helps", greedy(|at| format!("# HELP f{at} x\n"))),
        ("samples", greedy(|_| "a 1\n".to_owned())),
        ("series", greedy(|at| format!("a{{n=\"{at}\"}} 1\n"))),
        (
            "sums",
            "# TYPE h histogram\n".to_owned() + &greedy(|at| format!("h_sum{{a=\"{at}\"}} 1\n")),
        ),
        ("comments", "# a comment\n".repeat(600_000)),
    ];
    let place = Place::new("max_memory = \"16MiB\"\n");
    place.page();
    let before = place.daemon.status("VmHWM");
    for (name, text) in &texts {
        place.write("x.prom", text);
        let fails = place.fails();
        assert_eq!(fails, *name != "comments", "{name}: {}", place.fault());
        if fails {
            assert!(place.fault().contains("x.prom: "), "{}", place.fault());
            assert!(place.fault().contains("max_memory"), "{}", place.fault());
        }
        // The text is read as a whole, and what came before may be held for one more scrape.
        let grown = (place.daemon.status("VmHWM") - before) >> 10;
        println!("{name}: {} KiB of text, {grown} MiB at the most", text.len() >> 10);
        assert!(grown < 40, "{name}: {grown} MiB");
        fs::remove_file(place.path("x.prom")).expect("a file");
    }
}

#[test]
fn files_together_take_no_more_memory_than_they_may() {
    let place = Place::new("max_memory = \"1MiB\"\n");
    for number in 0..20 {
        let text = (0..500).fold(String::new(), |mut text, at| {
            let _ = writeln!(text, "a{number}{{n=\"{at}\"}} 1");
            text
        });
        place.write(&format!("x{number:02}.prom"), text);
    }
    assert!(place.fails());
    let fault = place.fault();
    assert!(fault.contains("leave less of max_memory (1024 KiB); raise it (and "), "{fault}");
    let page = place.page();
    let shown = (0..20).filter(|number| page.has(&format!("a{number}"))).count();
    assert!((5..12).contains(&shown), "{shown}");
    // A file is shown whole or not at all.
    assert_eq!(page.body.matches("{n=\"").count(), 500 * shown);
    // What there is room for comes in, and what was shown stays.
    let (first, rest) = (0..shown, shown..20);
    fs::remove_file(place.path("x00.prom")).expect("a file");
    place.page();
    let page = place.page();
    assert!(first.skip(1).all(|number| page.has(&format!("a{number}"))));
    assert!(page.has(&format!("a{}", rest.start)));
    rest.for_each(|number| {
        fs::remove_file(place.path(&format!("x{number:02}.prom"))).expect("a file")
    });
    assert!(!place.fails());
}

/// A daemon whose system bus is served by the function.
fn on_a_bus(serve: impl FnMut(usize, BusServer) + Send + 'static) -> (Daemon, FakeBus) {
    let bus = FakeBus::new(serve);
    let config = format!("{ALONE}[collectors.logind]\nenabled = true\n")
        .replace("timeout = \"5s\"", "timeout = \"1s\"");
    let daemon = Daemon::start_by(&config, |command| {
        let address = format!("unix:path={}", bus.path().display());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
    });
    (daemon, bus)
}

/// Whatever it is that the bus does, each scrape answers with everything else and says whose fault it is.
fn costs_only_itself(what: &str, serve: impl FnMut(usize, BusServer) + Send + 'static) {
    let (daemon, bus) = on_a_bus(serve);
    daemon.metrics();
    let before = daemon.threads();
    for round in 0..6 {
        let began = Instant::now();
        let page = daemon.metrics();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{what}, scrape {round}: {took:?}");
        assert!(page.has("node_load1"));
        let success = "node_scrape_collector_success{collector=\"logind\"}";
        assert_eq!(page.value(success), Some(0.0), "{what}");
        let status = daemon.get("/plugins/logind").json();
        let state = status["state"].as_str().unwrap_or_default();
        assert!(["failing", "timed_out", "absent"].contains(&state), "{what}: {status}");
        if round == 2 {
            assert_eq!(daemon.reload().status, 200);
        }
    }
    daemon.has_no_more_threads_than(before);
    drop(bus);
}

#[test]
fn a_bus_that_never_answers_costs_only_its_collector() {
    costs_only_itself("no answer to the greeting", |_, mut server| server.wait());
    costs_only_itself("no answer to a call", |_, mut server| {
        server.welcome();
        server.wait();
    });
}

#[test]
fn a_bus_that_answers_byte_by_byte_costs_only_its_collector() {
    costs_only_itself("byte by byte", |_, mut server| {
        server.welcome();
        let Some(call) = server.take() else { return };
        let reply = vitald_core::testing::bus_message(2, call.serial, "s", &[b'x'; 4000]);
        for byte in reply {
            server.send(&[byte]);
            // As slow as a peer that always has something more to say.
            std::thread::sleep(Duration::from_millis(5));
        }
        server.wait();
    });
}

#[test]
fn a_bus_that_sends_garbage_or_ends_costs_only_its_collector() {
    costs_only_itself("garbage for a greeting", |_, mut server| {
        server.line();
        server.send(&[0xff; 100_000]);
        server.wait();
    });
    costs_only_itself("garbage for an answer", |_, mut server| {
        server.welcome();
        server.take();
        server.send(&[0xff; 100_000]);
        server.wait();
    });
    costs_only_itself("the end in the middle of an answer", |_, mut server| {
        server.welcome();
        let Some(call) = server.take() else { return };
        let reply = vitald_core::testing::bus_message(2, call.serial, "s", &[b'x'; 4000]);
        server.send(&reply[..100]);
    });
    costs_only_itself("an end at once", |_, _| {});
}
