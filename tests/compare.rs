//! `vitald compare` beside fake programs that listen on ports of their own.

mod harness;

use expect_test::expect;
use harness::{binary, output};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a fake writes: it is given the number of the request, from 0.
type Answer = dyn Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A program that listens. It ends with the test's process.
struct Fake {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Fake {
    fn start(
        answer: impl Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (counted, answer) = (Arc::clone(&counted), Arc::clone(&answer));
                // A client that goes away early is its own affair.
                std::thread::spawn(move || drop(serve(&stream, &counted, &*answer)));
            }
        });
        Fake { address, requests }
    }

    /// Gives these pages one after another, and then the last one.
    fn pages(pages: &[&str]) -> Fake {
        let pages: Vec<String> = pages.iter().map(|page| (*page).to_owned()).collect();
        Fake::start(move |request, stream| {
            let page = pages.get(request).or(pages.last()).map_or("", String::as_str);
            stream.write_all(&whole("200 OK", TEXT, page.as_bytes()))
        })
    }

    fn answers(bytes: Vec<u8>) -> Fake {
        Fake::start(move |_, stream| stream.write_all(&bytes))
    }

    fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }
}

const TEXT: &str = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

fn whole(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, counted: &AtomicUsize, answer: &Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let request = counted.fetch_add(1, Ordering::SeqCst);
        answer(request, &mut stream.try_clone()?)?;
    }
}

/// Runs `compare` in rounds that follow each other at once.
fn compare(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("compare").args(["--interval", "1ms"]).args(arguments);
    output(&mut command)
}

/// What it prints without the addresses and times, which change.
fn plain(text: &str, fakes: &[&Fake]) -> String {
    let mut plain = text.to_owned();
    for (fake, name) in fakes.iter().zip(["PEER", "HERE"]) {
        plain = plain.replace(&fake.address.to_string(), name);
    }
    let is_time = |line: &&str| line.starts_with("compared: ");
    let time = plain.lines().find(is_time).and_then(|line| line.split_once(" within "));
    match time.map(|(_, time)| time.to_owned()) {
        Some(time) => plain.replace(&time, "TIME"),
        None => plain,
    }
}

#[test]
fn every_kind_of_difference_is_found() {
    let there = "# TYPE requests_total counter\nrequests_total 10\n# TYPE up gauge\nup 1\n\
                 # TYPE kind gauge\nkind 1\nlost{device=\"a\"} 1\nlost{device=\"b\"} 1\n\
                 go_goroutines 7\n";
    let here = "# TYPE requests_total counter\nrequests_total 11\n# TYPE up gauge\nup 2\n\
                # TYPE kind counter\nkind 1\nfound 1\nvitald_build_info 1\n";
    let (peer, own) = (Fake::pages(&[there]), Fake::pages(&[here]));
    let (status, text, complaint) = compare(&[&peer.url(), "--with", &own.url()]);
    assert_eq!((status, complaint.as_str()), (1, ""));
    expect![[r#"
        peer: http://PEER/metrics
        here: http://HERE/metrics
        compared: 6 series in 10 rounds within TIME

        missing here: 2 series in 1 family
          lost: 2 of 2
            lost{device="a"}

        only here: 1 series in 1 family
          found: 1 of 1
            found

        counters that disagree: 1 series in 1 family
          requests_total: 1 of 1
            requests_total: 11 here, between 10 and 10 there

        gauges that never agree to 1 %: 1 series in 1 family
          up: 1 of 1
            up: 2 here, between 1 and 1 there

        of another type: 1 family
          kind: counter here, gauge there

        not compared: go_* (Go's runtime): 1 there, 0 here
        not compared: vitald_* (vitald itself): 0 there, 1 here

        They differ in 5 families, 5 series.
    "#]]
    .assert_eq(&plain(&text, &[&peer, &own]));
    // All rounds are made before a gauge is blamed, of two pages and of one.
    assert_eq!(peer.requests.load(Ordering::SeqCst), 20);
    assert_eq!(own.requests.load(Ordering::SeqCst), 10);

    let (peer, own) = (peer.url(), own.url());
    let (some, others) = ("^(up|kind|lost|found)", "requests");
    let (status, text, _) = compare(&[&peer, "--with", &own, "--ignore", some, "--ignore", others]);
    assert_eq!(status, 2, "{text}");
    let (status, ..) = compare(&[&peer, "--with", &own, "--ignore", some]);
    assert_eq!(status, 1);
}

#[test]
fn the_same_as_json() {
    let (peer, own) = (Fake::pages(&["a 1\nb 1\n"]), Fake::pages(&["a 1\n"]));
    let json = |arguments: &[&str]| {
        let (status, text, _) = compare(&[&["--format", "json"], arguments].concat());
        (status, serde_json::from_str::<serde_json::Value>(&text).expect("JSON"))
    };
    let (status, report) = json(&[&peer.url(), "--with", &own.url()]);
    assert_eq!((status, &report["equal"]), (1, &false.into()));
    assert_eq!(report["differences"][0]["fault"], "missing");
    assert_eq!(report["differences"][0]["shown"][0]["series"], "b");
    assert_eq!((&report["rounds"], &report["series"]), (&3.into(), &2.into()));
    let (status, report) = json(&[&own.url(), "--with", &own.url()]);
    assert_eq!((status, &report["equal"]), (0, &true.into()));
}

/// A host with a load, for collections of the command's own.
fn procfs(load: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("loadavg"), format!("{load} 0.2 0.1 1/100 1234\n"))
        .expect("a file");
    directory
}

/// The page of a program that sees that load, after a 1.5.
const LOAD_PAGE: &str = "# TYPE node_load1 gauge\nnode_load1 0.5\n# TYPE node_load5 gauge\n\
     node_load5 0.2\n# TYPE node_load15 gauge\nnode_load15 0.1\n\
     # TYPE node_scrape_collector_success gauge\n\
     node_scrape_collector_success{collector=\"loadavg\"} 1\n\
     # TYPE node_scrape_collector_duration_seconds gauge\n\
     node_scrape_collector_duration_seconds{collector=\"loadavg\"} 3\n\
     node_exporter_build_info{version=\"1.5.0\"} 1\nprocess_open_fds 7\n";

#[test]
fn without_a_daemon_it_collects_itself() {
    let peer = Fake::pages(&[LOAD_PAGE]);
    let directory = procfs("0.5");
    let root = directory.path().display();
    let file = directory.path().join("config.toml");
    let config = format!(
        "[paths]\nprocfs = \"{root}\"\n[scrape]\ndefault_collectors = false\n\
         [collectors.loadavg]\nenabled = true\n"
    );
    std::fs::write(&file, config).expect("a file");
    let by_config = ["--config", file.to_str().expect("text")];
    let (status, text, complaint) = compare(&[&[&peer.url()[..]], &by_config[..]].concat());
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
    assert!(text.contains("not compared: process_*"), "{text}");
    assert!(text.ends_with("They are equal.\n"), "{text}");

    let procfs_flag = format!("--path.procfs={root}");
    let flags = ["--", "--collector.disable-defaults", "--collector.loadavg", &procfs_flag];
    let (status, text, complaint) = compare(&[&[&peer.url()[..]], &flags[..]].concat());
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");

    // The file of the variables has quotes for systemd, which a shell's `$ARGS` would leave in.
    let variables = directory.path().join("variables");
    let arguments = format!("--collector.disable-defaults '--collector.loadavg' {procfs_flag}");
    std::fs::write(&variables, format!("ARGS=\"{arguments}\"\n")).expect("a file");
    let variables = variables.display().to_string();
    let (status, text, complaint) = compare(&[&peer.url(), "--unit", &variables]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
    assert!(text.contains(&format!("here: {variables}, collected by this command\n")), "{text}");
    std::fs::write(&variables, "\nARGS=--collector.nonsense\n").expect("a file");
    let said = reason(&[&peer.url(), "--unit", &variables]);
    assert!(said.contains(&format!("{variables}:2: ")), "{said}");
    assert!(said.contains("unknown long flag '--collector.nonsense'"), "{said}");

    // A collector that fails here differs in its success, and the note says why.
    std::fs::write(directory.path().join("loadavg"), "nonsense\n").expect("a file");
    let (status, text, _) = compare(&[&[&peer.url()[..]], &by_config[..]].concat());
    assert_eq!(status, 1);
    assert!(text.contains("note: the collector loadavg here is failing: "), "{text}");
    assert!(text.contains("node_load1: 1 of 1"), "{text}");
    let success = "node_scrape_collector_success{collector=\"loadavg\"}: 0 here, between 1 and 1";
    assert!(text.contains(success), "{text}");
}

#[test]
fn a_counter_that_moves_is_equal_and_one_that_lags_is_not() {
    let page = |value: usize| format!("# TYPE a_total counter\na_total {value}\n");
    let counting = |from: usize, step: usize| {
        Fake::start(move |request, stream| {
            let page = page(from + request * step);
            stream.write_all(&whole("200 OK", TEXT, page.as_bytes()))
        })
    };
    // The peer goes from 0 to 10, 20 to 30 and so on; ours is in the middle, or one behind.
    let (peer, own) = (counting(0, 10), counting(5, 20));
    let (status, text, _) = compare(&[&peer.url(), "--with", &own.url()]);
    assert_eq!(status, 0, "{text}");
    let (peer, own) = (counting(100, 10), counting(99, 20));
    let (status, text, _) = compare(&[&peer.url(), "--with", &own.url()]);
    assert_eq!(status, 1);
    assert!(text.contains("a_total: 139 here, between 140 and 150 there"), "{text}");
}

/// What it says where it could not compare.
fn reason(arguments: &[&str]) -> String {
    let (status, text, complaint) = compare(arguments);
    assert_eq!((status, text.as_str()), (2, ""), "{complaint}");
    complaint
}

#[test]
fn a_peer_that_gives_no_page_is_reported() {
    let own = Fake::pages(&["a 1\n"]);
    let of = |peer: &Fake| {
        let said = reason(&[&peer.url(), "--with", &own.url(), "--timeout", "30s"]);
        plain(&said, &[peer])
    };
    for (answer, expected) in [
        (
            whole("500 Internal Server Error", TEXT, b"no memory\nat all\n"),
            "answers 500 Internal Server Error: no memory",
        ),
        (
            whole("200 OK", "Content-Type: text/html\r\n", b"<html>\n"),
            "gives \"text/html\", which is not the text format of Prometheus",
        ),
        (
            whole("200 OK", "Content-Type: application/openmetrics-text\r\n", b"# EOF\n"),
            "gives \"application/openmetrics-text\", which is not the text format of Prometheus",
        ),
        (
            whole("200 OK", "", b"a 1\n\xff\x00{[\n"),
            "gives a page that is not in the text format: line 2: expected the name of a metric",
        ),
        (
            whole("200 OK", TEXT, b"a 1\na 2\n"),
            "gives a page that is not in the text format: the series a is there twice",
        ),
        (
            whole("200 OK", &format!("{TEXT}Content-Encoding: zstd\r\n"), b"x"),
            "gives the unknown encoding \"zstd\"",
        ),
        (
            whole("200 OK", &format!("{TEXT}Content-Encoding: gzip\r\n"), b"a 1\n"),
            "gives a page that is not gzip as it says, or is cut short",
        ),
        (
            // Its last bytes would be a length of 2 GB.
            whole(
                "200 OK",
                &format!("{TEXT}Content-Encoding: gzip\r\n"),
                &[&packed(&b"a 1\n".repeat(1000))[..15], b"\x80\x80\x80\x80"].concat(),
            ),
            "gives a page that is not gzip as it says, or is cut short",
        ),
        (whole("200 OK", TEXT, b""), "gives a page without samples"),
    ] {
        let expected = format!("vitald: http://PEER/metrics {expected}\n");
        assert_eq!(of(&Fake::answers(answer)), expected);
    }
    for bytes in
        [&b"SSH-2.0-OpenSSH\r\n"[..], b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na 1\n"]
    {
        let bytes = bytes.to_vec();
        let peer = Fake::start(move |_, stream| {
            stream.write_all(&bytes)?;
            stream.shutdown(std::net::Shutdown::Both)
        });
        let said = of(&peer);
        assert!(said.starts_with("vitald: no answer from http://PEER/metrics: "), "{said}");
    }
    let gone = harness::own_address(Ipv4Addr::LOCALHOST);
    let said = reason(&[&gone.to_string(), "--with", &own.url()]);
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
fn a_peer_that_hangs_costs_its_timeout() {
    let own = Fake::pages(&["a 1\n"]);
    // Before its head, and in its body.
    for begin in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na 1\n"] {
        let peer = Fake::start(move |_, stream| {
            stream.write_all(begin)?;
            stream.read_exact(&mut [0])
        });
        let said = reason(&[&peer.url(), "--with", &own.url(), "--timeout", "200ms"]);
        let expected = "vitald: no answer from http://PEER/metrics: none within 0.2 s\n";
        assert_eq!(plain(&said, &[&peer]), expected);
    }
}

#[test]
fn a_page_without_end_is_cut_off() {
    let own = Fake::pages(&["a 1\n"]);
    let peer = Fake::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = [b"10000\r\n", &b"a 1\n".repeat(1 << 14)[..], b"\r\n"].concat();
        loop {
            stream.write_all(&chunk)?;
        }
    });
    let said = reason(&[&peer.url(), "--with", &own.url(), "--timeout", "60s"]);
    assert!(said.ends_with("its answer is longer than 64 MiB\n"), "{said}");
    // A small answer that unpacks to 100 MB.
    let headers = format!("{TEXT}Content-Encoding: gzip\r\n");
    let peer = Fake::answers(whole("200 OK", &headers, &packed(&vec![b'\n'; 100_000_000])));
    let said = reason(&[&peer.url(), "--with", &own.url(), "--timeout", "60s"]);
    assert!(
        said.ends_with("gives a page that is longer than 64 MiB once it is unpacked\n"),
        "{said}"
    );
    // One that says that it unpacks to little.
    let mut lying = packed(&vec![b'\n'; 1_000_000]);
    let length = lying.len();
    lying[length - 4..].copy_from_slice(&7_u32.to_le_bytes());
    let peer = Fake::answers(whole("200 OK", &headers, &lying));
    let said = reason(&[&peer.url(), "--with", &own.url(), "--timeout", "60s"]);
    assert!(
        said.ends_with("gives a page that is not gzip as it says, or is cut short\n"),
        "{said}"
    );
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("it packs");
    encoder.finish().expect("it packs")
}

#[test]
fn a_page_that_is_packed_unasked_is_taken() {
    let headers = format!("{TEXT}Content-Encoding: gzip\r\n");
    let peer = Fake::answers(whole("200 OK", &headers, &packed(b"a 1\n")));
    let own = Fake::pages(&["a 1\n"]);
    let (status, text, complaint) = compare(&[&peer.url(), "--with", &own.url()]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
}

#[test]
fn for_a_time_it_says_what_appeared_and_vanished() {
    let (early, late) = ("a 1\nearly{x=\"1\"} 1\n", "a 1\nlate 1\n");
    let peer = Fake::pages(&[early, early, late]);
    let own = Fake::pages(&[early, late]);
    let arguments = [&peer.url(), "--with", &own.url(), "--for", "1s"];
    let (status, text, complaint) = compare(&arguments);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
    assert!(text.contains("\nappeared: 1 series: late\n"), "{text}");
    assert!(text.contains("\nvanished: 1 series: early{x=\"1\"}\n"), "{text}");

    // A peer that fails meanwhile does not end it, and leaves it open.
    let peer = Fake::start(|request, stream| match request {
        2 => stream.write_all(&whole("503 Service Unavailable", TEXT, b"later\n")),
        _ => stream.write_all(&whole("200 OK", TEXT, b"a 1\n")),
    });
    let own = Fake::pages(&["a 1\n"]);
    let (status, text, _) = compare(&[&peer.url(), "--with", &own.url(), "--for", "1s"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("not made: 1 round: "), "{text}");
    assert!(text.contains("answers 503 Service Unavailable: later\n"), "{text}");
    assert!(
        text.ends_with("Nothing differs so far, but not every round could be made.\n"),
        "{text}"
    );
    assert!(peer.requests.load(Ordering::SeqCst) > 4);
}

#[test]
fn a_connection_that_the_peer_closes_is_opened_again() {
    let peer = Fake::start(|_, stream| {
        stream.write_all(&whole("200 OK", TEXT, b"a 1\n"))?;
        stream.shutdown(std::net::Shutdown::Both)
    });
    let own = Fake::pages(&["a 1\n"]);
    let (status, text, complaint) = compare(&[&peer.url(), "--with", &own.url()]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
}

#[test]
fn what_cannot_be_compared_is_said_before() {
    let own = Fake::pages(&["a 1\n"]);
    for (arguments, expected) in [
        (&["https://localhost:1/metrics"][..], "https://localhost:1/metrics: TLS is not spoken"),
        (&["http://a:b@localhost:1/"], "a user name is not taken here"),
        (&["nonsense"], "nonsense: expected a URL, such as http://"),
        (&["localhost:1", "--ignore", "("], "--ignore (: "),
        (&["localhost:1", "--with", "x y"], "x y: expected a URL"),
        (&["localhost:1", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (&["localhost:1", "--", "--collector.nonsense"], "unknown long flag"),
        (&["localhost:1", "--", "--version"], "collect nothing"),
    ] {
        let said = reason(arguments);
        assert!(said.contains(expected), "{said}");
    }
    let url = own.url();
    // What leaves everything out has compared nothing.
    let (status, text, _) = compare(&[&url, "--with", &url, "--ignore", ""]);
    assert_eq!(status, 2, "{text}");
    assert!(text.ends_with("There is nothing to compare.\n"), "{text}");
    let (_, text, _) = compare(&[&url, "--with", &url, "--ignore", "", "--format", "json"]);
    assert!(text.contains("\"equal\": false"), "{text}");
    for wrong in [
        &[][..],
        &[&url, "--for", "10 minutes"],
        &[&url, "--for", "0s"],
        &[&url, "--for", "1000000h"],
        &[&url, "--tolerance", "2"],
        &[&url, "--tolerance", "NaN"],
        &[&url, "--with", &url, "--config", "x"],
        &[&url, "--with", &url, "--", "--collector.cpu"],
        &[&url, "--config", "x", "--", "--collector.cpu"],
        &[&url, "--with", &url, "--unit", "x"],
        &[&url, "--config", "x", "--unit", "x"],
        &[&url, "--unit", "x", "--", "--collector.cpu"],
    ] {
        let (status, text, complaint) = compare(wrong);
        assert_eq!((status, text.as_str()), (64, ""), "{wrong:?}: {complaint}");
    }
}

#[test]
fn it_finds_the_page_by_its_url() {
    // It answers with the path that was asked for.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or_default();
            let page = format!("path{{is=\"{path}\"}} 1\n");
            let _ = (&stream).write_all(&whole("200 OK", TEXT, page.as_bytes()));
        }
    });
    for (url, path) in [
        (format!("{address}"), "/metrics"),
        (format!("http://{address}"), "/metrics"),
        (format!("http://{address}/"), "/metrics"),
        (format!("{address}/a/b"), "/a/b"),
        (format!("http://{address}?collect[]=cpu"), "/metrics?collect[]=cpu"),
        (format!("localhost:{}/x?y=z", address.port()), "/x?y=z"),
    ] {
        let own = Fake::pages(&[&format!("path{{is=\"{path}\"}} 1\n")]);
        let (status, text, complaint) = compare(&[&url, "--with", &own.url()]);
        assert_eq!(status, 0, "{url}: {text}{complaint}");
    }
}

#[test]
fn a_unix_socket_is_a_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("vitald.sock");
    let config = format!(
        "[server]\nlisten = [\"unix:{}\", \"127.0.0.1:0\"]\n[scrape]\ndefault_collectors = false\n\
         [collectors.uname]\nenabled = true\n",
        socket.display()
    );
    let daemon = harness::Daemon::start(&config);
    assert!(Path::new(&socket).exists());
    let peer = format!("unix:{}", socket.display());
    let (status, text, complaint) = compare(&[&peer, "--with", &daemon.address().to_string()]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{text}");
    assert!(text.contains("not compared: vitald_*"), "{text}");
}
