//! The reload as users meet it: the real binary, a file, and `PUT /plugins/reload`.

mod harness;

use harness::{Daemon, LONG, until};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CPU_ALONE: &str =
    "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\n[collectors.cpu]\nenabled = true\n";

fn with(more: &str) -> String {
    format!("{CPU_ALONE}{more}")
}

fn names(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(serde_json::Value::as_str).collect()
}

#[test]
fn a_collector_is_switched_on_in_the_running_daemon() {
    let daemon = Daemon::start(CPU_ALONE);
    let before = daemon.metrics();
    assert!(before.has("node_cpu_seconds_total") && !before.has("node_disk_reads_completed_total"));
    daemon.write_config(&with("[collectors.diskstats]\nenabled = true\ndevice_exclude = \"\"\n"));
    let answer = daemon.reload();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = answer.json();
    assert_eq!(names(&told["started"]), ["diskstats"]);
    assert_eq!(names(&told["unchanged"]), ["cpu"]);
    assert_eq!(told["generation"], 2);
    let after = daemon.metrics();
    assert_eq!(after.value("node_scrape_collector_success{collector=\"diskstats\"}"), Some(1.0));
    assert!(after.has("node_cpu_seconds_total"));
    assert_eq!(after.value("vitald_config_generation"), Some(2.0));

    // And off again.
    daemon.write_config(CPU_ALONE);
    assert_eq!(names(&daemon.reload().json()["stopped"]), ["diskstats"]);
    assert!(!daemon.metrics().has("node_disk_info"));
}

#[test]
fn the_same_file_again_changes_nothing() {
    let daemon = Daemon::start(CPU_ALONE);
    let hash = daemon.reload().json()["hash"].as_str().expect("a hash").to_owned();
    daemon.write_config(&CPU_ALONE.replace("enabled = true", "# a remark\nenabled    = true"));
    let told = daemon.reload().json();
    assert_eq!((told["hash"].as_str(), &told["generation"]), (Some(&*hash), &1.into()));
    assert_eq!(names(&told["unchanged"]), ["cpu"]);
}

#[test]
fn a_broken_file_is_refused_with_every_mistake_and_nothing_changes() {
    let daemon = Daemon::start(CPU_ALONE);
    let good = daemon.get("/plugins").json()["hash"].clone();
    daemon.write_config(&with(
        "[collectors.diskstats]\nenabled = \"yes\"\ndevice_exlude = \"x\"\n[collectors.meminfos]\n",
    ));
    let answer = daemon.reload();
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let told = answer.json();
    let texts: Vec<&str> = told["mistakes"]
        .as_array()
        .expect("mistakes")
        .iter()
        .map(|mistake| mistake["text"].as_str().expect("a text"))
        .collect();
    let file = daemon.config_file().display().to_string();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(
        texts[0].starts_with(&format!("{file}:7:11: collectors.diskstats.enabled: ")),
        "{texts:?}"
    );
    assert!(
        texts[1].contains(":8:1: ") && texts[1].contains("did you mean device_exclude?"),
        "{texts:?}"
    );
    assert!(texts[2].contains(":9:") && texts[2].contains("did you mean meminfo?"), "{texts:?}");
    assert_eq!(daemon.get("/plugins").json()["hash"], good);
    let page = daemon.metrics();
    assert!(page.has("node_cpu_seconds_total"));
    assert_eq!(page.value("vitald_config_last_reload_successful"), Some(0.0));

    daemon.write_config("[scrape\n");
    assert_eq!(daemon.reload().status, 422);
    std::fs::remove_file(daemon.config_file()).expect("it was there");
    let refused = daemon.reload();
    assert_eq!(refused.status, 422);
    let missing = &refused.json()["mistakes"][0];
    assert_eq!((missing["file"].as_str(), missing["key"].as_str()), (Some(&*file), Some("")));
    daemon.write_config(CPU_ALONE);
    assert_eq!(daemon.reload().status, 200);
    assert_eq!(daemon.metrics().value("vitald_config_last_reload_successful"), Some(1.0));
}

#[test]
fn a_root_that_is_not_what_it_should_be_is_logged_when_it_is_configured() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("loadavg"), "0 0 0 1/1 1\n").expect("a file");
    let paths = format!("[paths]\nprocfs = {:?}\n", directory.path());
    let daemon = Daemon::start(CPU_ALONE);
    let warnings = || daemon.log().matches("setting=paths.procfs").count();
    assert_eq!(warnings(), 0);
    daemon.write_config(&with(&paths));
    assert_eq!(daemon.ask("PUT", "/plugins/reload?dry_run=true", &[]).status, 200);
    for _ in 0..2 {
        assert_eq!(daemon.reload().status, 200);
    }
    daemon.wait_for_log("setting=paths.procfs");
    daemon.write_config(CPU_ALONE);
    assert_eq!(daemon.reload().status, 200);
    daemon.wait_for_log("generation=3");
    assert_eq!(warnings(), 1, "{}", daemon.log());

    let started = Daemon::start(&with(&paths));
    started.wait_for_log("setting=paths.procfs");
}

#[test]
fn a_procfs_that_is_not_one_is_refused_at_a_reload_and_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = with(&format!("[paths]\nprocfs = {:?}\n", directory.path()));
    let daemon = Daemon::start(CPU_ALONE);
    daemon.write_config(&wrong);
    for path in ["/plugins/reload?dry_run=true", "/plugins/reload"] {
        let refused = daemon.ask("PUT", path, &[]);
        assert_eq!(refused.status, 422, "{}", refused.body);
        let mistake = &refused.json()["mistakes"][0];
        assert_eq!((&mistake["key"], &mistake["line"]), (&"paths.procfs".into(), &7.into()));
        let text = mistake["message"].as_str().unwrap_or_default();
        assert!(text.contains("is no procfs (it is an empty directory)"), "{mistake}");
        assert!(text.contains("-v /:/host:ro,rslave"), "{mistake}");
    }
    assert!(daemon.metrics().has("node_cpu_seconds_total"));

    let file = directory.path().with_extension("toml");
    std::fs::write(&file, &wrong).expect("a file");
    let file = file.to_str().expect("UTF-8");
    for arguments in [["check", "--config", file], ["run", "--config", file]] {
        let mut command = Command::new(harness::binary());
        let (status, out, err) = harness::output(command.args(arguments));
        assert_eq!((status, &*out), (78, ""), "{err}");
        assert!(err.contains(&format!("{file}:7:10: paths.procfs: ")), "{err}");
    }
    std::fs::remove_file(file).expect("it was there");
}

#[test]
fn a_dry_run_changes_nothing_and_a_stale_hash_is_refused() {
    let daemon = Daemon::start(CPU_ALONE);
    let hash = daemon.get("/plugins").json()["hash"].as_str().expect("a hash").to_owned();
    daemon.write_config(&with("[collectors.loadavg]\nenabled = true\n"));
    let told = daemon.ask("PUT", "/plugins/reload?dry_run=true", &[]).json();
    assert_eq!(names(&told["started"]), ["loadavg"]);
    assert!(!daemon.metrics().has("node_load1"));
    daemon.wait_for_log("dry run: the configuration would be applied");
    let stale = daemon.ask("PUT", "/plugins/reload", &[("If-Match", "\"0000000000000000\"")]);
    assert_eq!(stale.status, 412, "{}", stale.body);
    daemon.wait_for_log("the running configuration has another hash");
    assert!(!daemon.metrics().has("node_load1"));
    let matching = daemon.ask("PUT", "/plugins/reload", &[("If-Match", &format!("\"{hash}\""))]);
    assert_eq!(matching.status, 200, "{}", matching.body);
    assert!(daemon.metrics().has("node_load1"));
    daemon.write_config(&with("[collectors.loadavg]\nenabled = 1\n"));
    let refused = daemon.ask("PUT", "/plugins/reload?dry_run=true", &[]);
    assert_eq!(refused.status, 422, "{}", refused.body);
    daemon.wait_for_log("dry run: the configuration would be refused\" mistakes=1");
}

#[test]
fn sighup_and_the_reload_command_do_the_same() {
    let daemon = Daemon::start(CPU_ALONE);
    daemon.write_config(&with("[collectors.loadavg]\nenabled = true\n"));
    daemon.signal("HUP");
    daemon.wait_for_log("configuration applied");
    assert!(daemon.metrics().has("node_load1"));
    daemon.write_config(CPU_ALONE);
    let to = daemon.address().to_string();
    let (status, out, err) =
        harness::output(Command::new(harness::binary()).args(["reload", "--to", &to]));
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("collectors stopped: loadavg"), "{out}");
    assert!(!daemon.metrics().has("node_load1"));
    daemon.write_config("nonsense");
    let (status, _, err) =
        harness::output(Command::new(harness::binary()).args(["reload", "--to", &to]));
    assert_eq!(status, 78, "{err}");
    assert!(err.contains("config.toml:1:"), "{err}");
}

#[test]
fn the_log_names_the_listeners_and_outputs_that_a_reload_changed() {
    let daemon = Daemon::start(CPU_ALONE);
    let socket = format!("unix:{}", daemon.directory.path().join("socket").display());
    let console = "[outputs.console]\nenabled = true\n";
    daemon.write_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"{socket}\"]\n{CPU_ALONE}{console}"
    ));
    daemon.signal("HUP");
    daemon.wait_for_log(&format!("msg=listening address={socket}"));
    daemon.wait_for_log("msg=\"outputs changed\" started=console stopped=\"\" changed=\"\"");
    daemon.wait_for_log(&format!("msg=\"listeners changed\" started={socket} stopped=\"\""));
    let before = daemon.address();
    daemon.write_config(&format!("[server]\nlisten = [\"127.0.0.2:0\"]\n{CPU_ALONE}"));
    daemon.signal("HUP");
    daemon.wait_for_log("msg=listening address=127.0.0.2:");
    daemon.wait_for_log("msg=\"outputs changed\" started=\"\" stopped=console");
    daemon.wait_for_log(&format!("started=127.0.0.2:0 stopped=127.0.0.1:0,{socket}"));
    let listening = format!("msg=listening address={before}");
    assert_eq!(daemon.log().matches(&listening).count(), 1, "{}", daemon.log());
}

/// The daemon's command line, asked about the file of a daemon.
fn vitald(words: &[&str], daemon: &Daemon) -> (i32, String, String) {
    harness::output(Command::new(harness::binary()).args(words).arg(daemon.config_file()))
}

#[test]
fn a_reload_says_what_has_changed_at_a_listener() {
    let daemon = Daemon::start(CPU_ALONE);
    let folder = daemon.directory.path();
    let (socket, web) = (folder.join("socket"), folder.join("web.yml"));
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    std::fs::write(folder.join("crt"), pair.cert.pem()).expect("a file");
    std::fs::write(folder.join("key"), pair.signing_key.serialize_pem()).expect("a file");
    let configure = |content: &str, mode: &str| {
        std::fs::write(&web, content).expect("a file");
        daemon.write_config(&format!(
            "[server]\nweb_config = \"{}\"\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:{}\", mode = \"{mode}\" }}]\n{CPU_ALONE}",
            web.display(),
            socket.display()
        ));
    };
    configure("# nothing\n", "0600");
    assert_eq!(daemon.reload().status, 200);
    let reload = || harness::Connection::open_unix(&socket).ask("PUT", "/plugins/reload", &[]);
    let nothing = reload().json();
    assert_eq!(nothing["listeners"]["changed"], serde_json::json!([]));
    assert_eq!(nothing["listeners"]["unchanged"].as_array().map(Vec::len), Some(2));
    configure("tls_server_config: { cert_file: crt, key_file: key }\n", "0660");
    let socket = format!("unix:{}", socket.display());
    let (status, told, err) =
        vitald(&["reload", "--dry-run", "--to", &socket, "--config"], &daemon);
    assert_eq!(status, 0, "{err}");
    let line = format!("listeners changed: 127.0.0.1:0 (web_config, TLS on), {socket} (mode)\n");
    assert!(told.contains(&line), "{told}");
    assert_eq!(
        reload().json()["listeners"]["changed"],
        serde_json::json!([
            { "address": "127.0.0.1:0", "what": ["web_config", "TLS on"] },
            { "address": socket, "what": ["mode"] },
        ])
    );
    daemon.wait_for_log(&format!(
        "msg=\"listeners changed\" started=\"\" stopped=\"\" changed=\"127.0.0.1:0 (web_config, TLS on),{socket} (mode)\""
    ));
}

#[test]
fn a_reload_reads_a_web_configuration_once() {
    use rustix::fs::inotify;
    let daemon = Daemon::start(CPU_ALONE);
    let web = daemon.directory.path().join("web.yml");
    let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
    std::fs::write(&web, format!("basic_auth_users: {{alice: {hash}}}\n")).expect("a file");
    let listen = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"127.0.0.2:0\", web_config = \"{0}\" }}, \
         {{ address = \"127.0.0.3:0\", web_config = \"{0}\" }}]\n{CPU_ALONE}",
        web.display()
    );
    daemon.write_config(&listen);
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).expect("a watch");
    // Two events that are alike are one, so its closing has to come between two openings.
    let of = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE;
    inotify::add_watch(&watch, &web, of).expect("a watch");
    // For the first time, dry, and again.
    for query in ["", "?dry_run=true", ""] {
        let answer = daemon.ask("PUT", &format!("/plugins/reload{query}"), &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut opened = 0;
        while let Ok(event) = events.next() {
            opened += usize::from(event.events().contains(inotify::ReadFlags::OPEN));
        }
        assert_eq!(opened, 1, "{query}");
    }
}

#[test]
fn who_does_not_exist_is_refused_before_anything_is_changed() {
    let daemon = Daemon::start(CPU_ALONE);
    let socket = daemon.directory.path().join("socket");
    let configure = |group: &str| {
        daemon.write_config(&format!(
            "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:{}\"{group} }}]\n{CPU_ALONE}",
            socket.display()
        ));
    };
    configure("");
    assert_eq!(daemon.reload().status, 200);
    configure(", group = \"no-such-group\"");
    for query in ["?dry_run=true", ""] {
        let answer = daemon.ask("PUT", &format!("/plugins/reload{query}"), &[]);
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
        let mistake = &answer.json()["mistakes"][0];
        assert_eq!((&mistake["line"], &mistake["key"]), (&2.into(), &"server.listen".into()));
        let message = mistake["message"].as_str().expect("text");
        assert!(message.contains("no group no-such-group in /etc/group; make it"), "{message}");
    }
    let (status, _, err) = vitald(&["check", "--config"], &daemon);
    let place = "config.toml:2:10: server.listen: cannot listen on unix:";
    assert!(status == 78 && err.contains(place) && err.contains("no-such-group"), "{err}");
    let (status, _, err) = vitald(&["run", "--config"], &daemon);
    assert!(status == 78 && err.contains(place), "{err}");
}

#[test]
fn a_listener_is_moved_without_a_refused_connection() {
    let daemon = Daemon::start(CPU_ALONE);
    let old = daemon.address();
    let taken = harness::own_address(Ipv4Addr::LOCALHOST);
    let other = std::net::TcpListener::bind(taken).expect("its port");
    let both =
        |second: &str| format!("[server]\nlisten = [\"127.0.0.1:0\", \"{second}\"]\n{CPU_ALONE}");
    daemon.write_config(&both(&taken.to_string()));
    let answer = daemon.reload();
    assert_eq!(answer.status, 422, "the address is taken: {}", answer.body);
    drop(other);
    assert_eq!(daemon.reload().status, 200);
    assert_eq!(harness::ask(taken, "GET", "/healthz", &[]).status, 200);
    assert_eq!(harness::ask(old, "GET", "/healthz", &[]).status, 200);
    daemon.write_config(CPU_ALONE);
    assert_eq!(daemon.reload().status, 200);
    until("the second listener is closed", || {
        harness::try_ask(taken, "GET", "/healthz", &[]).is_err()
    });
}

/// So many addresses of the loopback, one port each.
fn free_addresses(count: u8) -> Vec<String> {
    let one = |last| harness::own_address(Ipv4Addr::new(127, 9, 0, last)).to_string();
    (1..=count).map(one).collect()
}

#[test]
fn a_listener_that_is_reported_as_started_accepts() {
    let daemon = Daemon::start_by(CPU_ALONE, |command| {
        let mut limited = Command::new("sh");
        limited.arg("-c").arg("ulimit -n 128; exec \"$0\" \"$@\"").arg(command.get_program());
        limited.args(command.get_args());
        *command = limited;
    });
    let reload = |addresses: &[String]| {
        let own = "127.0.0.1:0".to_owned();
        let listen: Vec<&String> = std::iter::once(&own).chain(addresses).collect();
        daemon.write_config(&format!("[server]\nlisten = {listen:?}\n{CPU_ALONE}"));
        daemon.reload()
    };
    let addresses = free_addresses(60);
    let answer = reload(&addresses);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["listeners"]["started"].as_array().map(Vec::len), Some(60));
    for address in &addresses {
        let address = address.parse().expect("an address");
        assert_eq!(harness::ask(address, "GET", "/healthz", &[]).status, 200, "{address}");
    }
    // These leave no room for connections; and more than the limit cannot even be opened.
    for count in [115, 200] {
        let answer = reload(&free_addresses(count));
        assert_eq!(answer.status, 422, "{}", answer.body);
        let mistakes = &answer.json()["mistakes"];
        assert_eq!(mistakes.as_array().map(Vec::len), Some(1), "{mistakes}");
        assert_eq!(
            (&mistakes[0]["line"], &mistakes[0]["key"]),
            (&2.into(), &"server.listen".into())
        );
        let text = mistakes[0]["text"].as_str().expect("text");
        assert!(text.contains("128") && text.contains("LimitNOFILE"), "{text}");
    }
    let address = addresses[59].parse().expect("an address");
    assert_eq!(harness::ask(address, "GET", "/healthz", &[]).status, 200);
}

#[test]
fn a_dry_run_and_a_reload_agree_on_a_port_that_is_handed_over() {
    let old: SocketAddr = free_addresses(1)[0].parse().expect("an address");
    let narrow = format!("[server]\nlisten = [\"{old}\"]\n{CPU_ALONE}");
    let wide = format!("[server]\nlisten = [\"0.0.0.0:{}\"]\n{CPU_ALONE}", old.port());
    let daemon = Daemon::start(&narrow);
    let reload = |query: &str| daemon.ask("PUT", &format!("/plugins/reload{query}"), &[]);
    daemon.write_config(&wide);
    // Another process has a part of the wide address.
    let taken = std::net::TcpListener::bind(("127.9.0.200", old.port())).expect("an address");
    for query in ["?dry_run=true", "", "?dry_run=true"] {
        let answer = reload(query);
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
        assert!(answer.body.contains("listens there already"), "{}", answer.body);
    }
    drop(taken);
    for query in ["?dry_run=true", ""] {
        let answer = reload(query);
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        assert_eq!(names(&answer.json()["listeners"]["stopped"]), [old.to_string()]);
    }
    let elsewhere = SocketAddr::from(([127, 9, 0, 201], old.port()));
    assert_eq!(harness::ask(elsewhere, "GET", "/healthz", &[]).status, 200);
}

#[test]
fn the_console_shows_both_after_the_reload() {
    let console = "[outputs.console]\nenabled = true\ninterval = \"1s\"\n";
    let mut out = None;
    let config = with(console);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("console");
    let daemon = Daemon::start_by(&config, |command| {
        let sink = std::fs::File::create(&file).expect("a file");
        command.stdout(Stdio::from(sink));
        out = Some(file.clone());
    });
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("it shows cpu", || read().contains("\nCPU "));
    assert!(!read().contains("\nLoad "));
    daemon.write_config(&with(&format!("{console}[collectors.loadavg]\nenabled = true\n")));
    assert_eq!(daemon.reload().status, 200);
    let seen = read().len();
    until("later it shows both, and shares", || {
        let text = read();
        let later = text.get(seen..).unwrap_or_default();
        later.contains("\nLoad ") && later.contains("\nCPU ") && later.contains(" %")
    });
}

/// A thousand reloads that alternate two configurations while four clients scrape without pause.
#[test]
fn a_storm_of_reloads_loses_nothing() {
    let second = "[collectors.meminfo]\nenabled = true\n[collectors.loadavg]\nenabled = true\n[collectors.stat]\nenabled = true\nsoftirq = true\n";
    let third = "[collectors.vmstat]\nenabled = true\n[collectors.loadavg]\nenabled = true\n[collectors.stat]\nenabled = true\n";
    let daemon = Daemon::start(&with(second));
    let address = daemon.address();
    let always: BTreeSet<String> = series(&daemon.metrics().body)
        .into_iter()
        .filter(|name| name.starts_with("node_cpu_seconds_total") || name.starts_with("node_load"))
        .collect();
    assert!(always.len() > 10);
    let stop = Arc::new(AtomicBool::new(false));
    let scrapes = Arc::new(AtomicU64::new(0));
    let faults = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, scrapes, faults) =
                (Arc::clone(&stop), Arc::clone(&scrapes), Arc::clone(&faults));
            let always = always.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let fault = match harness::try_ask(address, "GET", "/metrics", &[]) {
                        Ok(answer) if answer.status != 200 => {
                            format!("{} {}", answer.status, answer.body)
                        }
                        Ok(answer) => {
                            let missing: Vec<String> =
                                always.difference(&series(&answer.body)).cloned().collect();
                            if missing.is_empty() {
                                String::new()
                            } else {
                                format!("missing {missing:?}")
                            }
                        }
                        Err(error) => error.to_string(),
                    };
                    if !fault.is_empty() {
                        faults.lock().expect("no panic").push(fault);
                    }
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let swap = |round: usize| {
        daemon.write_config(&with(if round.is_multiple_of(2) { third } else { second }));
        let answer = daemon.reload();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    (0..100).for_each(swap);
    let before = (daemon.threads(), daemon.descriptors(), daemon.status("VmRSS"));
    (100..1000).for_each(swap);
    let after = (daemon.threads(), daemon.descriptors(), daemon.status("VmRSS"));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("it ends"));
    let faults = faults.lock().expect("no panic");
    assert!(
        faults.is_empty(),
        "{} of {:?} scrapes: {:?}",
        faults.len(),
        scrapes,
        &faults[..faults.len().min(5)]
    );
    println!(
        "1000 reloads, {:?} scrapes; threads, descriptors, KiB: {before:?} -> {after:?}",
        scrapes
    );
    daemon.has_no_more_threads_than(before.0);
    // What comes and goes with the four clients and a reload under way is no growth.
    assert!(after.1 <= before.1 + 12, "{before:?} {after:?}");
    assert!(after.2 <= before.2 + before.2 / 4 + 1024, "{before:?} {after:?}");
}

fn series(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn it_ends_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start(CPU_ALONE);
        daemon.signal(signal);
        assert!(daemon.wait().success(), "{}", daemon.log());
    }
}

/// In each round the signal to stop meets a reload at another instant. Nothing that ended is started
/// again, and the manager is not told that the service runs.
#[test]
fn the_end_comes_before_every_reload() {
    for round in 0..10 {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let manager = std::os::unix::net::UnixDatagram::bind(at("notify")).expect("a socket");
        manager.set_read_timeout(Some(LONG)).expect("a timeout");
        let hear = || {
            let mut message = [0; 4096];
            let length = manager.recv(&mut message).expect("a message");
            String::from_utf8_lossy(&message[..length]).into_owned()
        };
        let config = |number: usize| {
            let [first, second] = ["first".to_owned(), format!("{number}")];
            let sockets = [first, second].map(|name| format!("\"unix:{}\"", at(&name).display()));
            with(&format!("[server]\nlisten = [{}]\n", sockets.join(", ")))
        };
        let mut daemon = Daemon::start_by(&config(0), |command| {
            command.env("NOTIFY_SOCKET", at("notify"));
        });
        while hear().trim() != "READY=1" {}
        for number in 1..=round {
            daemon.replace_config(&config(number));
            daemon.signal("HUP");
        }
        daemon.replace_config(&config(round + 1));
        daemon.signal("HUP");
        while !hear().starts_with("RELOADING=1") {}
        daemon.signal("TERM");
        // It is heard at once: ten messages that nobody hears block the sender.
        while hear().trim() != "STOPPING=1" {}
        assert!(daemon.wait().success());
        manager.set_nonblocking(true).expect("a socket");
        let mut message = [0; 4096];
        while let Ok(length) = manager.recv(&mut message) {
            let message = String::from_utf8_lossy(&message[..length]);
            assert!(message.starts_with("STATUS="), "{round}: {message}");
        }
        let mut left = std::fs::read_dir(directory.path()).expect("a directory");
        let left =
            left.find(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != "notify"));
        assert!(left.is_none(), "{round}: {left:?}");
    }
}

#[test]
fn a_bad_start_says_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[server]\nlisten = [\"nowhere\"]\n[collectors.cpu]\nenabled = 1\n")
        .expect("a file");
    let (status, _, err) =
        harness::output(Command::new(harness::binary()).arg("--config").arg(&file));
    assert_eq!(status, 78);
    assert!(
        err.contains("config.toml:2:") && err.contains("config.toml:4:11: collectors.cpu.enabled"),
        "{err}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("an address");
    std::fs::write(&file, format!("[server]\nlisten = [\"{listen}\"]\n")).expect("a file");
    let (status, _, err) =
        harness::output(Command::new(harness::binary()).arg("--config").arg(&file));
    assert_eq!(status, 71, "{err}");
    assert!(err.contains(&listen.to_string()), "{err}");
}

#[test]
fn a_start_with_too_few_descriptors_says_so() {
    for limit in 4..12 {
        let limited = format!("ulimit -n {limit}; exec \"$0\"");
        let (status, _, err) =
            harness::output(Command::new("sh").arg("-c").arg(limited).arg(harness::binary()));
        assert_eq!(status, 71, "{limit}: {err}");
        assert!(err.contains("raise the limit") && !err.contains("panicked"), "{err}");
    }
}

/// What is no configuration, under the name of one: each with what is said of it.
fn not_configurations(directory: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| directory.join(name);
    std::fs::create_dir(at("directory")).expect("a directory");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
    // Comments: large alone is what is wrong with it.
    std::fs::write(at("large"), "# 4567890123456\n".repeat(2 << 16)).expect("a file");
    vec![
        (at("directory"), "it is a directory"),
        (at("pipe"), "it is a named pipe"),
        (PathBuf::from("/dev/zero"), "it is a device"),
        (at("large"), "larger than 1 MiB"),
    ]
}

#[test]
fn a_start_with_what_is_no_configuration_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, expected) in not_configurations(directory.path()) {
        let mut command = Command::new(harness::binary());
        let (status, _, err) = harness::output(command.arg("--config").arg(&path));
        assert_eq!(status, 78, "{err}");
        assert!(err.contains(expected) && err.contains(path.to_str().expect("text")), "{err}");
    }
}

#[test]
fn a_reload_of_what_is_no_configuration_is_refused_and_costs_nothing() {
    let daemon = Daemon::start(CPU_ALONE);
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    assert_eq!(daemon.reload().status, 200);
    let before = (daemon.threads(), daemon.descriptors());
    let places = not_configurations(daemon.directory.path());
    for (path, expected) in places.iter().chain(&places) {
        std::fs::remove_file(daemon.config_file()).expect("it was there");
        std::os::unix::fs::symlink(path, daemon.config_file()).expect("a link");
        let answer = daemon.reload();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(expected), "{}", answer.body);
        assert!(daemon.metrics().has("node_cpu_seconds_total"));
    }
    // A connection that the client has closed is closed by the daemon a moment later.
    until("nothing of the refused reloads is left", || {
        daemon.threads() <= before.0 && daemon.descriptors() <= before.1
    });
    std::fs::remove_file(daemon.config_file()).expect("it was there");
    daemon.write_config(CPU_ALONE);
    assert_eq!(daemon.reload().status, 200);
}

#[test]
fn noise_as_a_configuration_costs_little_memory() {
    let daemon = Daemon::start(CPU_ALONE);
    daemon.metrics();
    // A first refusal, so that what any of them needs is there.
    daemon.replace_config("listen = nonsense\n");
    assert_eq!(daemon.reload().status, 422);
    let before = daemon.status("VmRSS");
    let listen = |text: String| format!("# listen\n{text}");
    let keys = |count| (0..count).map(|number| format!("k{number}=1\n")).collect::<String>();
    for (name, text) in [
        ("= =", "= =\n".repeat(250_000)),
        ("100,000 keys", keys(100_000)),
        ("10,000 keys", keys(9_990)),
        ("items", format!("[scrape]\ntimeout = [{}]\n", "1, ".repeat(300_000))),
        ("words", "no configuration\n".repeat(60_000)),
    ] {
        daemon.replace_config(&listen(text));
        let answer = daemon.reload();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.len() < 100_000, "{}", answer.body.len());
        println!(
            "figure: {name}: an answer of {} bytes; KiB resident {before} -> {}, at most {}",
            answer.body.len(),
            daemon.status("VmRSS"),
            daemon.status("VmHWM")
        );
    }
    let most = daemon.status("VmHWM");
    assert!(most < before + (32 << 10), "{before} KiB before, {most} KiB at most");
}

/// A pipe that takes nothing more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("flags");
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).expect("flags");
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    while (&writer).write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).expect("flags");
    (reader, writer)
}

#[test]
fn a_console_that_hangs_holds_up_no_page_and_costs_no_thread_a_reload() {
    let (reader, writer) = full_pipe();
    let console = |interval: u32| {
        with(&format!("[outputs.console]\nenabled = true\ninterval = \"{interval}s\"\n"))
    };
    let mut daemon = Daemon::start_by(&console(1), |command| {
        command.stdout(Stdio::from(writer));
    });
    let mut interval = 1;
    let mut reload = || {
        interval += 1;
        daemon.replace_config(&console(interval));
        daemon.reload()
    };
    let mut answer = reload();
    until("a reload finds it hanging", || {
        if answer.status == 200 {
            answer = reload();
        }
        answer.status != 200
    });
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.body.contains("console"), "{}", answer.body);
    let threads = daemon.threads();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let reload = scope.spawn(&mut reload);
            // A reload waits for it for two seconds; a page never does.
            let mut worst = Duration::ZERO;
            while !reload.is_finished() {
                for path in ["/plugins", "/", "/metrics", "/plugins/console"] {
                    let began = Instant::now();
                    assert_eq!(daemon.get(path).status, 200, "{path}");
                    worst = worst.max(began.elapsed());
                }
            }
            assert!(worst < Duration::from_secs(1), "{worst:?}");
            assert_eq!(reload.join().expect("an answer").status, 500);
        });
    }
    assert!(daemon.get("/plugins/console").body.contains("has not ended"));
    daemon.has_no_more_threads_than(threads);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    drop(reader);
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let daemon = Daemon::start_by(CPU_ALONE, |command| {
        let mut limited = Command::new("sh");
        limited.arg("-c").arg("ulimit -Sn 200; exec \"$0\" \"$@\"").arg(command.get_program());
        limited.args(command.get_args());
        *command = limited;
    });
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid()));
    let limits = limits.expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "200", "{line}");
}
