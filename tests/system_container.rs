//! The container image in a real container runtime: what is in it, that it shows the host, and how it
//! is looked after.

mod harness;
mod sandboxed;
mod system;

use harness::{Connection, Daemon, ask, own_address, root, try_ask};
use sandboxed::agreement::assert_agree;
use sandboxed::place::{Place, done, refused};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NEEDS: &str = "root, buildah, podman, crun and util-linux";
const IMAGE: &str = "localhost/vitald-test";
const NAME: &str = "vitald";
/// The most that the image may take, as it is and as a registry sends it.
const MOST_BYTES: u64 = 8 << 20;
const MOST_BYTES_COMPRESSED: u64 = 4 << 20;
/// How long the container may take to stop.
const STOP: Duration = Duration::from_secs(2);
/// How a container is run, as in deploy/Containerfile.
const OPTIONS: [&str; 6] = [
    "--read-only",
    "--user=65534",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--memory=64m",
    "--pids-limit=64",
];
/// What shows it the host, beside the host's process ids.
const HOST: [&str; 3] = ["--network=host", "--uts=host", "--volume=/:/host:ro,rslave"];

/// Images and containers of the test's own, with the image in it.
struct Store {
    place: Place,
}

impl Store {
    fn with_image() -> Store {
        let store = Store { place: Place::make("tests/system_container/store.sh", &[]) };
        let begun = Instant::now();
        store.build();
        println!("image built in {:?}", begun.elapsed());
        store
    }

    fn build(&self) {
        let mut build = self.command(root().join("deploy/image").to_str().expect("text"));
        done(build.arg(IMAGE));
    }

    /// A command that has the store.
    fn command(&self, program: &str) -> Command {
        let [process, directory, _] = &self.place.words[..] else {
            panic!("{:?}", self.place.words)
        };
        let mut command = Command::new("nsenter");
        command
            .args(["--target", process, "--mount", "--", program])
            .env("CONTAINERS_CONF", format!("{directory}/containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", format!("{directory}/storage.conf"));
        command
    }

    fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("podman");
        command.args(arguments);
        command
    }

    /// The command that runs the container.
    fn run_command(&self, more: &[&str]) -> Command {
        let mut run = self.podman(&["run", "--name", NAME]);
        run.arg(format!("--cgroup-parent=/{}", self.place.words[2])).args(OPTIONS).args(more);
        run
    }

    /// Starts the container with the host's network and files, and waits until it answers.
    fn run(&self, address: SocketAddr, more: &[&str]) {
        self.run_until_ready(&[&HOST, more].concat(), || {
            try_ask(address, "GET", "/readyz", &[]).is_ok_and(|answer| answer.status == 200)
        });
    }

    fn run_until_ready(&self, more: &[&str], mut is_ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        done(self.run_command(more).args(["--detach", IMAGE]));
        let limit = begun + harness::LONG;
        while !is_ready() {
            assert!(Instant::now() < limit, "it is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("run to ready: {:?}", begun.elapsed());
    }

    fn wait_for_log(&self, text: &str, times: usize) {
        let limit = Instant::now() + harness::LONG;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < limit, "waited for {text:?}:\n{}", self.log());
        }
    }

    /// Has the health check of the image run once, as a timer of systemd's does where there is one.
    fn health(&self) -> Command {
        self.podman(&["healthcheck", "run", NAME])
    }

    fn inspect(&self, format: &str) -> String {
        done(&mut self.podman(&["inspect", "--format", format, NAME])).trim().to_owned()
    }

    fn log(&self) -> String {
        done(&mut self.podman(&["logs", NAME]))
    }

    /// Runs the program once more, in the container.
    fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = self.podman(&["exec", NAME, "/bin/vitald"]);
        command.args(arguments).args(["--config", "/etc/vitald/config.toml"]);
        command
    }

    /// Stops the container by SIGTERM, which has to be enough.
    fn stop(&self) {
        let begun = Instant::now();
        done(&mut self.podman(&["stop", "--time=30", NAME]));
        let took = begun.elapsed();
        println!("stopped after {took:?}");
        assert!(took < STOP, "{took:?}\n{}", self.log());
        let state = self.inspect("{{.State.Status}} {{.State.ExitCode}}");
        assert_eq!(state, "exited 0", "{}", self.log());
    }

    /// Removes the container, so that another one can have its name.
    fn remove(&self) {
        done(&mut self.podman(&["rm", "--force", "--time=10", NAME]));
    }
}

fn static_binary() -> PathBuf {
    root().join("target/static/x86_64-unknown-linux-gnu/release/vitald")
}

/// A directory that the user of the container can look into.
fn shared_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
    directory
}

#[test]
#[ignore = "needs root, buildah, podman, crun and util-linux: cargo test --features full --test system_container -- --ignored"]
fn the_image_is_one_small_static_binary() {
    harness::needs(NEEDS);
    let store = Store::with_image();
    let binary = fs::read(static_binary()).expect("the binary");
    // A dynamic one names the loader that it wants.
    let loader = b"/ld-linux-x86-64.so.2\0";
    assert!(!binary.windows(loader.len()).any(|window| window == loader), "it is not static");
    let binary = binary.len() as u64;
    let size = done(&mut store.podman(&["image", "inspect", "--format", "{{.Size}}", IMAGE]));
    let size: u64 = size.trim().parse().expect("a number");
    let save = format!("podman save --format docker-archive {IMAGE} | gzip | wc -c");
    let compressed = store.command("sh").args(["-c", &save]).output().expect("gzip").stdout;
    let compressed = String::from_utf8_lossy(&compressed).trim().parse().expect("a number");
    println!("figure: the image has {size} bytes, {compressed} compressed; its binary {binary}");
    assert!(size < MOST_BYTES && (1..MOST_BYTES_COMPRESSED).contains(&compressed));
    // The second name is a link: it costs nothing.
    assert!(size < binary + (64 << 10));

    // The same tree makes the same image.
    let id = |store: &Store| {
        done(&mut store.podman(&["image", "inspect", "--format", "{{.Id}} {{.Digest}}", IMAGE]))
    };
    let before = id(&store);
    store.build();
    assert_eq!(id(&store), before);

    let about = done(&mut store.podman(&["image", "inspect", IMAGE]));
    let about: serde_json::Value = serde_json::from_str(about.trim()).expect("JSON");
    let about = &about[0];
    let label = |name: &str| {
        let label = &about["Labels"][format!("org.opencontainers.image.{name}")];
        label.as_str().unwrap_or_else(|| panic!("{name} is not in {}", about["Labels"])).to_owned()
    };
    assert_eq!(label("title"), "vitald");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert!(!label("description").is_empty() && !label("revision").is_empty());
    let created = label("created");
    // The image's own has the fraction that a second has not.
    let of_image = about["Created"].as_str().unwrap_or_default().to_owned();
    assert!(
        created.ends_with('Z') && of_image.starts_with(created.trim_end_matches('Z')),
        "{created} {of_image}"
    );
    assert_eq!(about["ManifestType"], "application/vnd.docker.distribution.manifest.v2+json");
    let check = &about["Healthcheck"]["Test"];
    let expected = ["CMD", "/bin/vitald", "health", "--config", "/etc/vitald/config.toml"];
    assert_eq!(*check, serde_json::json!(expected));

    let run = |arguments: &[&str]| {
        let group = format!("--cgroup-parent=/{}", store.place.words[2]);
        let mut command = store.podman(&["run", "--rm", "--network=none", &group]);
        done(command.args(arguments))
    };
    assert!(run(&[IMAGE, "--version"]).starts_with("vitald "));
    let version = run(&["--entrypoint=/bin/node_exporter", IMAGE, "--version"]);
    assert!(version.starts_with("node_exporter, version "), "{version}");
    let list = format!("podman create --name {NAME} {IMAGE} >&2 && podman export {NAME} | tar -t");
    let files = store.command("sh").args(["-c", &list]).output().expect("tar");
    let files = String::from_utf8_lossy(&files.stdout).into_owned();
    let expected = "bin/ bin/node_exporter bin/vitald etc/ etc/vitald/ etc/vitald/config.toml";
    assert_eq!(files.split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

#[test]
#[ignore = "needs root, buildah, podman, crun and util-linux: cargo test --features full --test system_container -- --ignored"]
fn the_container_shows_the_host() {
    harness::needs(NEEDS);
    let store = Store::with_image();
    let address = own_address(Ipv4Addr::LOCALHOST);
    let listen = format!("--env=VITALD__SERVER__LISTEN={address}");
    let max_age = "VITALD__SCRAPE__MAX_AGE=0s";
    store.run(address, &["--pid=host", &listen, &format!("--env={max_age}")]);

    let process = store.inspect("{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the daemon");
    for line in ["Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.lines().any(|have| have == line), "{line}\n{status}");
    }

    // What other programs say of the host.
    let page = ask(address, "GET", "/metrics", &[]);
    let file =
        |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let number = |text: &str, key: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("a number")
    };
    let memory = number(&file("/proc/meminfo"), "MemTotal:") * 1024.0;
    assert_eq!(page.value("node_memory_MemTotal_bytes"), Some(memory));
    assert_eq!(page.value("node_boot_time_seconds"), Some(number(&file("/proc/stat"), "btime ")));
    let uname = |flag: &str| done(Command::new("uname").arg(flag)).trim().to_owned();
    let uname =
        format!("release=\"{}\"", uname("-r")) + "|" + &format!("nodename=\"{}\"", uname("-n"));
    let info = page.body.lines().find(|line| line.starts_with("node_uname_info{")).expect("names");
    assert!(uname.split('|').all(|label| info.contains(label)), "{info}");

    // And a daemon of the same user with no container around it, of everything.
    let directory = shared_directory();
    let copy = directory.path().join("vitald");
    fs::copy(static_binary(), &copy).expect("a copy");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    command.arg(copy).env("VITALD__SERVER__LISTEN", "127.0.0.1:0");
    let (variable, value) = max_age.split_once('=').expect("a variable");
    command.env(variable, value);
    let reference = Daemon::spawn(command, directory);
    assert_agree(reference.address(), address);
    // Both see all of the host that this machine is.
    let ready = ask(reference.address(), "GET", "/readyz", &[]).body;
    assert_eq!(ask(address, "GET", "/readyz", &[]).body, ready);
    assert!(!ready.contains("blind: the network") && !ready.contains("paths.rootfs"), "{ready}");
    let memory = fs::read_to_string(format!("/proc/{process}/status")).expect("the daemon");
    let lines =
        memory.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    lines.for_each(|line| println!("figure: the daemon in the container, {line}"));

    assert_eq!(done(&mut store.exec(&["health"])).trim(), "ok");
    assert_eq!(done(&mut store.exec(&["health", "--ready"])).trim(), "ready");
    // It cannot be administered over the network, not even from here.
    assert_eq!(ask(address, "PUT", "/plugins/reload", &[]).status, 404);
    let told = refused(&mut store.exec(&["reload"]));
    let said = "no listener of /etc/vitald/config.toml takes administration by this command: send the daemon a SIGHUP";
    assert!(told.contains(said), "{told}");
    done(&mut store.podman(&["kill", "--signal=HUP", NAME]));
    store.wait_for_log("configuration applied", 1);

    done(&mut store.health());
    assert_eq!(store.inspect("{{.State.Health.Status}}"), "healthy");
    let signal = |name: &str| done(Command::new("kill").args(["-s", name, &process]));
    // What hangs answers nothing, and the check says so itself before it is ended.
    signal("STOP");
    let begun = Instant::now();
    refused(&mut store.health());
    let (took, log) = (begun.elapsed(), store.inspect("{{json .State.Health.Log}}"));
    signal("CONT");
    assert!(took < Duration::from_secs(15) && log.contains("none within 4 s"), "{took:?} {log}");
    done(&mut store.health());
    store.stop();
}

#[test]
#[ignore = "needs root, buildah, podman, crun and util-linux: cargo test --features full --test system_container -- --ignored"]
fn a_container_that_is_given_less_says_so() {
    harness::needs(NEEDS);
    let store = Store::with_image();
    // Without the host's files the configured procfs is none.
    let told = refused(store.run_command(&["--network=none", "--rm", IMAGE]).args([
        "run",
        "--config",
        "/etc/vitald/config.toml",
    ]));
    assert!(told.contains("/etc/vitald/config.toml:") && told.contains("paths.procfs: "), "{told}");
    assert!(told.contains("/host/proc is no procfs (No such file or directory"), "{told}");
    assert!(told.contains("-v /:/host:ro,rslave"), "{told}");

    let directory = shared_directory();
    let sockets = directory.path().join("sockets");
    fs::create_dir(&sockets).expect("a directory");
    chown(&sockets, Some(65534), Some(65534)).expect("a directory");
    let socket = sockets.join("vitald.sock");
    let volume = format!("--volume={}:/sockets", sockets.display());
    let listen = "--env=VITALD__SERVER__LISTEN=unix:/sockets/vitald.sock";
    let groups = "--env=VITALD__COLLECTORS__PROCESS_GROUPS__ENABLED=true";
    let own_paths = ["PROCFS=/proc", "SYSFS=/sys", "ROOTFS=/"]
        .map(|path| format!("--env=VITALD__PATHS__{path}"));
    let own_paths = own_paths.each_ref().map(String::as_str);
    let cases: [(&[&str], &[&str], &[&str]); 3] = [
        (&own_paths, &["processes", "root"], &["--pid=host", "/host:ro,rslave"]),
        (&["--volume=/:/host:ro,rslave"], &["network"], &["--network=host"]),
        (
            &["--pid=host", own_paths[0], own_paths[1], own_paths[2]],
            &["network", "root"],
            &["--network=host", "-v /:/host:ro,rslave"],
        ),
    ];
    for (given, blind, remedies) in cases {
        let mut options = vec!["--network=none", volume.as_str(), listen, groups];
        options.extend(given);
        store.run_until_ready(&options, || {
            ask_socket(&socket, "/readyz").is_some_and(|answer| answer.0 == 200)
        });
        let (_, ready) = ask_socket(&socket, "/readyz").expect("an answer");
        assert!(ready.starts_with("ready\nblind: "), "{ready}");
        assert_eq!(ready.lines().count(), 1 + blind.len(), "{ready}");
        let (_, plugins) = ask_socket(&socket, "/plugins").expect("an answer");
        let plugins: serde_json::Value = serde_json::from_str(&plugins).expect("JSON");
        let said: Vec<&str> = plugins["blind"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|spot| spot["of"].as_str())
            .collect();
        assert_eq!(said, blind);
        let (_, metrics) = ask_socket(&socket, "/metrics").expect("an answer");
        assert!(metrics.contains("namedprocess_groups "), "{metrics}");
        let (_, of_groups) = ask_socket(&socket, "/plugins/process_groups").expect("an answer");
        assert_eq!(of_groups.contains("\"own processes\""), blind.contains(&"processes"));
        assert!(!of_groups.contains("hidepid"), "{of_groups}");
        let (_, page) = ask_socket(&socket, "/").expect("an answer");
        let check = done(&mut store.exec(&["check"]));
        let log = store.log();
        assert_eq!(log.matches("the daemon does not see its host").count(), blind.len(), "{log}");
        for remedy in remedies {
            for text in [&ready, &page, &check, &log] {
                assert!(text.contains(remedy), "{remedy}: {text}");
            }
        }
        // It goes on all the same.
        assert_eq!(
            done(&mut store.exec(&["health", "--ready", "--to=unix:/sockets/vitald.sock"])).trim(),
            "ready"
        );
        let absent = log.matches("collectors without a source on this host").count();
        assert_eq!(absent, 1, "{log}");
        store.remove();
    }
}

/// The status and the text of an answer; nothing while nobody answers.
fn ask_socket(socket: &Path, path: &str) -> Option<(u16, String)> {
    UnixStream::connect(socket).ok()?;
    let answer = Connection::open_unix(socket).get(path);
    Some((answer.status, answer.body))
}

/// Puts a configuration in the place of another one, as kubelet does with a ConfigMap: `config.toml` leads through
/// the link `..data` to a folder of this version, and that link is replaced by a new one.
fn publish(directory: &Path, version: u32, config: &str) {
    let folder = directory.join(format!("..version_{version}"));
    fs::create_dir(&folder).expect("a directory");
    fs::write(folder.join("config.toml"), config).expect("a file");
    let link = directory.join("..data_tmp");
    symlink(folder.file_name().expect("a name"), &link).expect("a link");
    fs::rename(&link, directory.join("..data")).expect("a link");
    if version == 1 {
        symlink("..data/config.toml", directory.join("config.toml")).expect("a link");
    }
}

#[test]
#[ignore = "needs root, buildah, podman, crun and util-linux: cargo test --features full --test system_container -- --ignored"]
fn a_reload_goes_through_a_socket_a_token_and_a_signal() {
    harness::needs(NEEDS);
    let store = Store::with_image();
    let (address, admin) = (own_address(Ipv4Addr::LOCALHOST), own_address(Ipv4Addr::LOCALHOST));
    // As the file for compose, with one more listener.
    let shipped = fs::read_to_string(root().join("deploy/compose/vitald/config.toml")).expect("it");
    let config = shipped.replace("\":9100\"", &format!("\"{address}\"")).replace(
        "{ address = \"unix:",
        &format!("{{ address = \"{admin}\", admin = \"token:/etc/vitald/admin-token\" }}, {{ address = \"unix:"),
    );
    assert!(config.contains("admin-token") && config.contains(&address.to_string()), "{config}");
    let with = |more: &str| format!("{config}\n{more}\n");
    let without_loadavg = with("[collectors.loadavg]\nenabled = false");

    let directory = shared_directory();
    let token = directory.path().join("admin-token");
    fs::write(&token, "d54b9a3c-token\n").expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("a file");
    chown(&token, Some(65534), Some(65534)).expect("a file");
    publish(directory.path(), 1, &config);
    let volume = format!("--volume={}:/etc/vitald:ro", directory.path().display());
    // In process ids of its own, so that the daemon is process 1, which no signal ends by default.
    store.run(address, &[&volume, "--tmpfs=/run/vitald:mode=1777"]);
    let has_loadavg = || ask(address, "GET", "/metrics", &[]).has("node_load1");
    assert!(has_loadavg());
    assert_eq!(ask(address, "GET", "/readyz", &[]).body, "ready\n");

    // In the container; of what is wrong it says where, and everything runs on.
    publish(directory.path(), 2, &without_loadavg);
    let told = done(&mut store.exec(&["reload"]));
    assert!(told.contains("collectors stopped: loadavg"), "{told}");
    assert!(!has_loadavg());
    publish(directory.path(), 3, &with("[scrpe]"));
    let without_options = ["exec", NAME, "/bin/vitald", "reload"];
    for told in
        [refused(&mut store.podman(&without_options)), refused(&mut store.exec(&["reload"]))]
    {
        assert!(told.contains("scrpe"), "{told}");
    }
    publish(directory.path(), 4, &config);
    let told = done(&mut store.podman(&without_options));
    let reached = "the daemon at unix:/run/vitald/vitald.sock reads /etc/vitald/config.toml\n";
    assert!(told.starts_with(reached), "{told}");
    assert!(told.contains("collectors started: loadavg"), "{told}");

    // With the token, which the listener of the scrapes does not take.
    let bearer = ("Authorization", "Bearer d54b9a3c-token");
    let put = |headers: &[(&str, &str)]| ask(admin, "PUT", "/plugins/reload", headers);
    publish(directory.path(), 5, &without_loadavg);
    assert_eq!(ask(address, "PUT", "/plugins/reload", &[bearer]).status, 404);
    assert_eq!(put(&[]).status, 401);
    assert!(has_loadavg());
    let answer = put(&[bearer]);
    assert!(answer.status == 200 && answer.json()["stopped"][0] == "loadavg", "{}", answer.body);
    assert!(!has_loadavg());
    publish(directory.path(), 6, &with("[collectors.loadavg]\nenabled = 1"));
    let answer = put(&[bearer]);
    assert!(
        answer.status == 422 && answer.body.contains("collectors.loadavg.enabled"),
        "{}",
        answer.body
    );

    // By a signal, whose outcome is in the log.
    let hangup = || done(&mut store.podman(&["kill", "--signal=HUP", NAME]));
    hangup();
    // Once for the token, and once for the signal.
    store.wait_for_log("collectors.loadavg.enabled", 2);
    assert!(!has_loadavg());
    publish(directory.path(), 7, &config);
    let applied = store.log().matches("configuration applied").count();
    hangup();
    store.wait_for_log("configuration applied", applied + 1);
    assert!(has_loadavg());

    // A health check that asks where nobody listens fails.
    let nowhere = format!("--to={}", own_address(Ipv4Addr::LOCALHOST));
    let told = refused(&mut store.exec(&["health", &nowhere]));
    assert!(told.contains("no answer from"), "{told}");
    store.stop();
}
