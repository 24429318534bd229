//! The container image in a real container runtime: what is in it, that it shows the host, and how it
//! is looked after.

mod harness;
mod sandboxed;
mod system;

use harness::{Daemon, ask, root, try_ask};
use sandboxed::agreement::assert_agree;
use sandboxed::place::{Place, done, refused};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const NEEDS: &str = "root, buildah, podman, crun and util-linux";
const IMAGE: &str = "localhost/vitald-test";
const NAME: &str = "vitald";
const MOST_BYTES: u64 = 8 << 20;
/// How long the container may take to stop.
const STOP: Duration = Duration::from_secs(2);
/// How a container is run, as in deploy/Containerfile.
const OPTIONS: [&str; 9] = [
    "--read-only",
    "--user=65534",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--network=host",
    "--uts=host",
    "--volume=/:/host:ro,rslave",
    "--memory=64m",
    "--pids-limit=64",
];

/// Images and containers of the test's own, with the image in it.
struct Store {
    place: Place,
}

impl Store {
    fn with_image() -> Store {
        let store = Store { place: Place::make("tests/system_container/store.sh", &[]) };
        let begun = Instant::now();
        let mut build = store.command(root().join("deploy/image").to_str().expect("text"));
        done(build.arg(IMAGE));
        println!("image built in {:?}", begun.elapsed());
        store
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

    /// Starts the container and waits until it answers.
    fn run(&self, address: SocketAddr, more: &[&str]) {
        let mut run = self.podman(&["run", "--detach", "--name", NAME]);
        run.arg(format!("--cgroup-parent=/{}", self.place.words[2]));
        let begun = Instant::now();
        done(run.args(OPTIONS).args(more).arg(IMAGE));
        let limit = begun + harness::LONG;
        while !try_ask(address, "GET", "/readyz", &[]).is_ok_and(|answer| answer.status == 200) {
            assert!(Instant::now() < limit, "it is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("run to ready: {:?}", begun.elapsed());
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
        let state = "{{.State.Status}} {{.State.ExitCode}}";
        let state = done(&mut self.podman(&["inspect", "--format", state, NAME]));
        assert_eq!(state.trim(), "exited 0", "{}", self.log());
    }
}

fn static_binary() -> PathBuf {
    root().join("target/static/x86_64-unknown-linux-gnu/release/vitald")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn the_image_is_one_small_static_binary() {
    if !harness::system(NEEDS) {
        return;
    }
    let store = Store::with_image();
    let binary = fs::read(static_binary()).expect("the binary");
    // A dynamic one names the loader that it wants.
    let loader = b"/ld-linux-x86-64.so.2\0";
    assert!(!binary.windows(loader.len()).any(|window| window == loader), "it is not static");
    let binary = binary.len() as u64;
    let size = done(&mut store.podman(&["image", "inspect", "--format", "{{.Size}}", IMAGE]));
    let size: u64 = size.trim().parse().expect("a number");
    println!("image {size} bytes, binary {binary} bytes");
    assert!(binary < MOST_BYTES);
    // The second name is a link: it costs nothing.
    assert!(size < binary + (64 << 10));

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
fn the_container_shows_the_host() {
    if !harness::system(NEEDS) {
        return;
    }
    let store = Store::with_image();
    let address = free_address();
    let listen = format!("--env=VITALD__SERVER__LISTEN={address}");
    let max_age = "VITALD__SCRAPE__MAX_AGE=0s";
    store.run(address, &["--pid=host", &listen, &format!("--env={max_age}")]);

    let status = done(&mut store.podman(&["inspect", "--format", "{{.State.Pid}}", NAME]));
    let status = fs::read_to_string(format!("/proc/{}/status", status.trim())).expect("the daemon");
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
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
    let copy = directory.path().join("vitald");
    fs::copy(static_binary(), &copy).expect("a copy");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    command.arg(copy).env("VITALD__SERVER__LISTEN", "127.0.0.1:0");
    let (variable, value) = max_age.split_once('=').expect("a variable");
    command.env(variable, value);
    let reference = Daemon::spawn(command, directory);
    assert_agree(reference.address(), address);

    assert_eq!(done(&mut store.exec(&["health"])).trim(), "ok");
    assert_eq!(done(&mut store.exec(&["health", "--ready"])).trim(), "ready");
    // It cannot be administered over the network, not even from here.
    assert_eq!(ask(address, "PUT", "/plugins/reload", &[]).status, 404);
    let told = refused(&mut store.exec(&["reload"]));
    let said = "no listener of /etc/vitald/config.toml takes administration by this command: send the daemon a SIGHUP";
    assert!(told.contains(said), "{told}");
    done(&mut store.podman(&["kill", "--signal=HUP", NAME]));
    let limit = Instant::now() + harness::LONG;
    while !store.log().contains("configuration applied") {
        assert!(Instant::now() < limit, "{}", store.log());
    }
    store.stop();
}

#[test]
fn a_reload_inside_goes_through_a_socket() {
    if !harness::system(NEEDS) {
        return;
    }
    let store = Store::with_image();
    let address = free_address();
    // As the shipped file says.
    let shipped = fs::read_to_string(root().join("deploy/container.toml")).expect("container.toml");
    let commented = shipped.lines().find_map(|line| line.strip_prefix("#   listen = ["));
    let listen = format!("listen = [{}", commented.expect("how to have a socket"));
    let config = shipped.replace("\nlisten = [\":9100\"]", &format!("\n{listen}"));
    assert_ne!(config, shipped);
    let config = config.replace("\":9100\"", &format!("\"{address}\""));

    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, &config).expect("a file");
    let volume = format!("--volume={}:/etc/vitald:ro", directory.path().display());
    // In process ids of its own, so that the daemon is process 1, which no signal ends by default.
    store.run(address, &[&volume, "--tmpfs=/run/vitald:mode=1777"]);
    assert!(ask(address, "GET", "/metrics", &[]).has("node_load1"));

    fs::write(&file, format!("{config}\n[collectors.loadavg]\nenabled = false\n")).expect("a file");
    let told = done(&mut store.exec(&["reload"]));
    assert!(told.contains("collectors stopped: loadavg"), "{told}");
    assert!(!ask(address, "GET", "/metrics", &[]).has("node_load1"));

    fs::write(&file, format!("{config}\n[scrpe]\n")).expect("a file");
    let without_options = ["exec", NAME, "/bin/vitald", "reload"];
    for told in
        [refused(&mut store.podman(&without_options)), refused(&mut store.exec(&["reload"]))]
    {
        assert!(told.contains("scrpe"), "{told}");
    }
    fs::write(&file, &config).expect("a file");
    let told = done(&mut store.podman(&without_options));
    let reached = "the daemon at unix:/run/vitald/vitald.sock reads /etc/vitald/config.toml\n";
    assert!(told.starts_with(reached), "{told}");
    assert!(told.contains("collectors started: loadavg"), "{told}");
    assert_eq!(ask(address, "PUT", "/plugins/reload", &[]).status, 404);
    store.stop();
}
