//! `cargo xtask order`: finds under callgrind which functions a scrape runs, and which a start, and lists them for the linker.

use crate::files;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The list, in the workspace.
const FILE: &str = "collector/order.ld";
/// Hosts of the tests that have what this machine may lack.
const HOSTS: [&str; 3] = ["server", "storage", "laptop"];
/// What clients ask for; each is a connection of its own.
const HEADERS: [&str; 3] = [
    "Accept: text/plain;version=0.0.4\r\n",
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n",
    "Accept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n",
];
const SCRAPES: usize = 10;
/// Settings of each kind that most configurations have, so that what reads them and what they have run is listed; a collector
/// that is on by default is named for that alone.
const CONFIG: &str = "\
[server]
listen = [\"127.0.0.1:0\"]
[scrape]
max_age = \"0s\"
[collectors.diskstats]
device_exclude = '^(z?ram|loop|fd)\\d+$'
[collectors.filesystem]
mount_points_exclude = '^/(dev|proc|sys|var/lib/docker/.+)($|/)'
[collectors.netdev]
enabled = true
device_exclude = '^veth'
";
const TEXTFILE: &str = "\
# HELP backup_last_success_timestamp_seconds When the last backup ended.
# TYPE backup_last_success_timestamp_seconds gauge
backup_last_success_timestamp_seconds{job=\"nightly\"} 1.7e9
";
/// A name is cut there: that of a future of all routes has thousands of letters.
const LONGEST_NAME: usize = 250;
/// How long the daemon may take to start under callgrind, and how long it has to be idle.
const START: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(1);

const HEAD: &str = "\
/* The functions that a scrape runs, for the linker to put together, and those that a start runs besides. The kernel maps code
   in pieces of 64 KiB: of code that lies together less is resident, and less has to come from memory when a scrape begins.

   `cargo xtask order` writes this file. A name that no function has places nothing, and a function that
   is not here is with all the others: an old list breaks nothing, but more is resident, which
   tests/system_cost.rs notices. The names are those of `-C symbol-mangling-version=v0`, without
   what follows from versions; the section of a cold function is `.text.unlikely.NAME`. */
";

/// Writes the list anew.
pub(crate) fn write(root: &Path) -> Result<String, String> {
    let program = Program::build(root)?;
    let mut scrape = vec![("On each machine", program.run(Part::Scrapes, None)?)];
    for host in HOSTS {
        let folder = root.join("tests/fixtures/hosts").join(host);
        scrape.push((host, program.run(Part::Scrapes, Some(&folder))?));
    }
    let start = vec![("On this machine", program.run(Part::Start, None)?)];
    let mut known = BTreeSet::new();
    let mut text = format!("{HEAD}SECTIONS\n{{\n");
    write_section(&mut text, ".text.scrape", scrape, &mut known);
    write_section(&mut text, ".text.start", start, &mut known);
    text += "}\nINSERT BEFORE .text;\n";
    files::write(&root.join(FILE), &text)?;
    Ok(format!("{FILE}: {} functions; they are placed when vitald is built anew", known.len()))
}

/// Writes what is in a section: groups of functions, less those that are known from before.
fn write_section(
    text: &mut String,
    section: &str,
    groups: Vec<(&str, BTreeSet<&str>)>,
    known: &mut BTreeSet<String>,
) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "  {section} :\n  {{");
    for (title, functions) in groups {
        let patterns: BTreeSet<String> = functions.iter().map(|name| pattern(name)).collect();
        let _ = writeln!(text, "    /* {title}. */");
        for pattern in patterns {
            if !known.contains(&pattern) {
                let _ = writeln!(text, "    *(.text*.{pattern})");
                known.insert(pattern);
            }
        }
    }
    text.push_str("  }\n");
}

/// A name without what another version of a compiler or a crate changes: the numbers of crates (`Cs7n3BPlN6OBi_`), and
/// those of places in the name (`B2_`), which follow from their length.
///
/// A wildcard matches what it replaces, so that nothing is lost where a word of the name only looks so.
fn pattern(name: &str) -> String {
    let mut pattern = String::new();
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        let number = |tag: &str| {
            let tagged = rest.strip_prefix(tag)?;
            let end = tagged.find(|letter: char| !letter.is_ascii_alphanumeric())?;
            tagged[end..].strip_prefix('_')
        };
        if let (true, Some(after)) = (name.starts_with("_R"), number("Cs")) {
            pattern += "Cs*_";
            rest = after;
        } else if let (true, Some(after)) =
            (name.starts_with("_R"), number("B").filter(|after| rest.len() - after.len() <= 5))
        {
            pattern += "B*_";
            rest = after;
        } else {
            pattern.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    if pattern.len() > LONGEST_NAME {
        pattern.truncate(LONGEST_NAME);
        pattern.push('*');
    }
    pattern
}

/// What of the life of a daemon is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// All up to the moment at which it has nothing left to do.
    Start,
    /// Scrapes after that.
    Scrapes,
}

/// The release binary with the names of its functions.
struct Program {
    binary: PathBuf,
    /// Where each begins, its length, and its name; sorted.
    functions: Vec<(u64, u64, String)>,
}

impl Program {
    fn build(root: &Path) -> Result<Program, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).args(["rustc", "--release", "--locked", "--package", "vitald"]);
        cargo.args(["--features", "full", "--bin", "vitald", "--", "-C", "strip=none"]);
        if !cargo.status().is_ok_and(|status| status.success()) {
            return Err("the release binary cannot be built".to_owned());
        }
        let target = files::target(root);
        // Where the next build does not replace it.
        let binary = target.join("release/vitald-with-names");
        fs::copy(target.join("release/vitald"), &binary)
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let table = said(Command::new("nm").args(["--print-size", "--defined-only"]).arg(&binary))?;
        // 00000000001c9b20 000000000000006c t _RNvNtNtNtCs6UNvsZeZY3L_5hyper5proto2h14role27write
        let function = |line: &str| {
            let mut fields = line.split(' ');
            let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
            let (start, length) = (number()?, number()?);
            let kind = fields.next()?;
            let name = fields.next().filter(|_| matches!(kind, "t" | "T" | "w" | "W"))?;
            Some((start, length, name.to_owned()))
        };
        let mut functions: Vec<_> = table.lines().filter_map(function).collect();
        functions.sort();
        Ok(Program { binary, functions })
    }

    fn function_at(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, length, name) = self.functions.get(after.checked_sub(1)?)?;
        (address < start + length).then_some(name)
    }

    /// The functions that it runs in a part of its life, on this machine or on a host whose files are in this folder.
    fn run(&self, part: Part, host: Option<&Path>) -> Result<BTreeSet<&str>, String> {
        let folder = self.binary.with_extension("order");
        let _ = fs::remove_dir_all(&folder);
        files::make_folder(&folder)?;
        let mut daemon = Daemon::start(&self.binary, &folder, part, host)?;
        if part == Part::Scrapes {
            daemon.control("instrumentation on")?;
            for headers in HEADERS {
                daemon.scrape(headers).map_err(|error| format!("a scrape failed: {error}"))?;
            }
        }
        daemon.control("dump")?;
        let base = daemon.base(&self.binary)?;
        drop(daemon);
        let counted = files::read(&folder.join("counted.1"))?;
        let functions = addresses(&counted, &self.binary, base);
        let functions = functions.into_iter().filter_map(|address| self.function_at(address));
        let functions: BTreeSet<&str> = functions.collect();
        let _ = fs::remove_dir_all(&folder);
        if functions.len() < 100 {
            return Err(format!("callgrind saw {} functions, which is too few", functions.len()));
        }
        Ok(functions)
    }
}

/// The addresses in a binary, loaded at `base`, that have run: `ob=/usr/bin/vitald` begins what is in an object, and
/// `0x12340 2` is an instruction.
///
/// Of a binary, valgrind knows the section `.text` alone. What is in another one, as the functions that are in order, is
/// in the object `???` and has its address in memory.
fn addresses(counted: &str, binary: &Path, base: u64) -> BTreeSet<u64> {
    let mut less = None;
    let mut addresses = BTreeSet::new();
    for line in counted.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            let is_binary = Path::new(object) == binary;
            less = if is_binary { Some(0) } else { (object == "???").then_some(base) };
        } else if let (Some(less), Some(rest)) = (less, line.strip_prefix("0x")) {
            let digits = rest.split(' ').next().unwrap_or(rest);
            let address = u64::from_str_radix(digits, 16).ok();
            addresses.extend(address.and_then(|address| address.checked_sub(less)));
        }
    }
    addresses
}

/// The daemon under callgrind; ends with the value.
struct Daemon {
    valgrind: Child,
    address: String,
    /// Before the pipes through which it takes commands.
    pipes: PathBuf,
}

impl Daemon {
    fn start(
        binary: &Path,
        folder: &Path,
        part: Part,
        host: Option<&Path>,
    ) -> Result<Daemon, String> {
        let textfiles = folder.join("textfiles");
        files::make_folder(&textfiles)?;
        files::write(&textfiles.join("backup.prom"), TEXTFILE)?;
        let mut config = format!("{CONFIG}[collectors.textfile]\ndirectory = {textfiles:?}\n");
        if let Some(host) = host {
            config += "[paths]\n";
            for (key, name) in
                [("procfs", "proc"), ("sysfs", "sys"), ("udev", "udev"), ("rootfs", "rootfs")]
            {
                let _ = writeln!(config, "{key} = {:?}", host.join(name));
            }
        }
        files::write(&folder.join("config.toml"), &config)?;
        let pipes = folder.join("pipe");
        let mut valgrind = Command::new("valgrind")
            .args(["--tool=callgrind", "--fair-sched=yes"])
            .arg(match part {
                Part::Start => "--instr-atstart=yes",
                Part::Scrapes => "--instr-atstart=no",
            })
            .args([
                "--dump-instr=yes",
                "--dump-line=no",
                "--compress-pos=no",
                "--compress-strings=no",
            ])
            .arg(format!("--vgdb-prefix={}", pipes.display()))
            .arg(format!("--callgrind-out-file={}", folder.join("counted").display()))
            .arg(binary)
            .args(["run", "--config"])
            .arg(folder.join("config.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("valgrind cannot be started: {error}"))?;
        let log = valgrind.stderr.take();
        let mut daemon = Daemon { valgrind, address: String::new(), pipes };
        daemon.address = address_in(log.ok_or("no log")?, START)?;
        daemon.wait_until_idle()?;
        Ok(daemon)
    }

    /// Waits until the first collection, which belongs to the start, has ended.
    fn wait_until_idle(&self) -> Result<(), String> {
        let stat = PathBuf::from(format!("/proc/{}/stat", self.valgrind.id()));
        let began = Instant::now();
        let mut known = String::new();
        while began.elapsed() < START {
            let text = files::read(&stat)?;
            // The CPU time of the process is in the fields 14 and 15; the name may have spaces.
            let fields = text.rsplit(')').next().unwrap_or_default().split(' ').skip(12).take(2);
            let times: String = fields.collect::<Vec<_>>().join(" ");
            if times == known {
                return Ok(());
            }
            known = times;
            thread::sleep(IDLE);
        }
        Err("the daemon is never idle".to_owned())
    }

    /// Where the binary is in memory.
    fn base(&self, binary: &Path) -> Result<u64, String> {
        let maps = files::read(&PathBuf::from(format!("/proc/{}/maps", self.valgrind.id())))?;
        let name = binary.display().to_string();
        // 108000-25f000 r--p 00000000 fe:00 1234    /usr/bin/vitald
        let first = maps.lines().find(|line| line.ends_with(&name));
        let start = first.and_then(|line| line.split('-').next());
        let base = start.and_then(|start| u64::from_str_radix(start, 16).ok());
        base.ok_or_else(|| format!("{name} is not in memory"))
    }

    fn control(&self, command: &str) -> Result<(), String> {
        said(
            Command::new("vgdb")
                .arg(format!("--pid={}", self.valgrind.id()))
                .arg(format!("--vgdb-prefix={}", self.pipes.display()))
                .args(command.split(' ')),
        )
        .map(drop)
    }

    /// Scrapes on a connection of its own.
    fn scrape(&mut self, headers: &str) -> std::io::Result<()> {
        let mut connection = BufReader::new(TcpStream::connect(&self.address)?);
        connection.get_ref().set_read_timeout(Some(START))?;
        for _ in 0..SCRAPES {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
            connection.get_mut().write_all(request.as_bytes())?;
            let mut length = None;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if connection.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let lower = line.to_ascii_lowercase();
                length = lower
                    .strip_prefix("content-length:")
                    .and_then(|number| number.trim().parse().ok())
                    .or(length);
            }
            let length = length.ok_or(std::io::ErrorKind::InvalidData)?;
            connection.read_exact(&mut vec![0; length])?;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.valgrind.kill();
        let _ = self.valgrind.wait();
    }
}

/// Where a daemon listens, by its log; an error where it says nothing of it within this time, or ends.
fn address_in(log: impl Read + Send + 'static, limit: Duration) -> Result<String, String> {
    let (tells, hears) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let _ = tells.send(lines.find(|line| line.contains("listening")));
        // What it says later is of no interest, and must not fill the pipe.
        lines.for_each(drop);
    });
    let line = hears.recv_timeout(limit);
    let line = line.map_err(|_| format!("the daemon does not listen after {limit:?}"))?;
    let line = line.ok_or("the daemon ended before it listened")?;
    let mut words = line.split(['"', '=', ' ']);
    let address = words.find(|word| word.parse::<std::net::SocketAddr>().is_ok());
    Ok(address.ok_or("the log names no address")?.to_owned())
}

/// What a program prints; it has to succeed.
fn said(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output =
        command.output().map_err(|error| format!("{program} cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_daemon_that_says_nothing_is_not_waited_for_for_ever() {
        let (log, mut daemon) = UnixStream::pair().expect("sockets");
        let brief = Duration::from_millis(20);
        let said = address_in(log.try_clone().expect("a socket"), brief);
        assert_eq!(said, Err("the daemon does not listen after 20ms".to_owned()));
        drop((log, daemon));

        let log;
        (log, daemon) = UnixStream::pair().expect("sockets");
        daemon.write_all(b"msg=hello\nmsg=listening address=127.0.0.1:9\n").expect("a reader");
        assert_eq!(address_in(log, START).as_deref(), Ok("127.0.0.1:9"));
        let ended = address_in(&b"msg=hello\n"[..], START);
        assert_eq!(ended, Err("the daemon ended before it listened".to_owned()));
    }

    #[test]
    fn a_pattern_is_the_same_for_another_version_of_a_crate() {
        let one = "_RNvMs4_NtCslNYArtu3iFV_5alloc7raw_vecNtB5_11RawVecInner11finish_growCs6aKPMZASU4d_5tokio";
        let other =
            "_RNvMs4_NtCs1_5alloc7raw_vecNtB2_11RawVecInner11finish_growCs6aKPMZASU4dX_5tokio";
        assert_eq!(
            pattern(one),
            "_RNvMs4_NtCs*_5alloc7raw_vecNtB*_11RawVecInner11finish_growCs*_5tokio"
        );
        assert_eq!(pattern(one), pattern(other));
        // A function of C.
        assert_eq!(pattern("libdeflate_Cs1_B1_"), "libdeflate_Cs1_B1_");
        assert_eq!(pattern("_RNvB12345678_x"), "_RNvB12345678_x");
        let long = format!("_R{}", "x".repeat(300));
        assert_eq!(pattern(&long), format!("{}*", &long[..LONGEST_NAME]));
    }

    #[test]
    fn addresses_are_those_of_the_binary() {
        let counted = "ob=/lib/libc.so.6\n0x10 2\ncob=/usr/bin/vitald\n0x11 1\nob=/usr/bin/vitald\n\
                       0x20 1\ncalls=1 0x10\n0x2f 5\nob=???\n0x1030 1\n0x40 1\n";
        let found = addresses(counted, Path::new("/usr/bin/vitald"), 0x1000);
        assert_eq!(found, BTreeSet::from([0x20, 0x2f, 0x30]));
    }
}
