//! The console on a terminal, and on what is none.

mod harness;

use harness::{Connection, Daemon, until};
use nix::pty::{OpenptyResult, Winsize, openpty};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

const CPU: &str = "[scrape]\ndefault_collectors = false\n[collectors.cpu]\nenabled = true\n";
const LOAD: &str = "[collectors.loadavg]\nenabled = true\n";
/// The alternate screen, and back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A daemon whose three streams are a terminal.
struct Console {
    daemon: Daemon,
    socket: PathBuf,
    master: Option<File>,
    slave: std::os::fd::OwnedFd,
    /// All that it has written.
    written: Arc<Mutex<String>>,
    /// The thread that reads it until `open` is closed.
    reading: Option<JoinHandle<()>>,
    open: Option<PipeWriter>,
}

fn read(mut master: File, closed: &PipeReader, written: &Mutex<String>) {
    let mut bytes = [0; 4096];
    loop {
        let mut ready = [PollFd::new(&master, PollFlags::IN), PollFd::new(closed, PollFlags::IN)];
        poll(&mut ready, None).expect("descriptors");
        if !ready[1].revents().is_empty() {
            return;
        }
        match master.read(&mut bytes) {
            Ok(count) if count > 0 => {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                written.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
            _ => return,
        }
    }
}

impl Console {
    fn start(config: &str, rows: u16, columns: u16, arguments: &[&str]) -> Console {
        Console::start_by(config, rows, columns, |file| {
            let mut command = Command::new(harness::binary());
            command.arg("run").arg("--config").arg(file).args(arguments);
            command
        })
    }

    /// As the command wants it that is made of the file of the configuration.
    fn start_by(
        config: &str,
        rows: u16,
        columns: u16,
        command: impl FnOnce(&Path) -> Command,
    ) -> Console {
        Console::start_typed("", config, rows, columns, command)
    }

    /// With keys that were pressed before.
    fn start_typed(
        keys: &str,
        config: &str,
        rows: u16,
        columns: u16,
        command: impl FnOnce(&Path) -> Command,
    ) -> Console {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
        for end in [&master, &slave] {
            // What other tests start meanwhile is not to have it.
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).expect("a descriptor");
        }
        let mut master = File::from(master);
        master.write_all(keys.as_bytes()).expect("the terminal takes it");
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let file = directory.path().join("config.toml");
        let (closed, open) = std::io::pipe().expect("a pipe");
        let mut console = Console {
            written: Arc::default(),
            reading: None,
            open: Some(open),
            daemon: {
                write(&file, &socket, config);
                let mut command = command(&file);
                let copy = || Stdio::from(slave.try_clone().expect("a descriptor"));
                command.stdin(copy()).stdout(copy()).stderr(copy());
                let up = socket.clone();
                Daemon::spawn_as_it_is(command, directory, move || UnixStream::connect(&up).is_ok())
            },
            socket,
            master: Some(master),
            slave,
        };
        let reader = console.master.as_ref().expect("open").try_clone().expect("a descriptor");
        let written = Arc::clone(&console.written);
        let reading = std::thread::spawn(move || read(reader, &closed, &written));
        console.reading = Some(reading);
        console
    }

    /// Closes the window.
    fn hang_up(&mut self) {
        drop((self.master.take(), self.open.take()));
        self.reading.take().expect("it reads").join().expect("no panic");
    }

    fn written(&self) -> String {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines of the last screen that was drawn to its end.
    fn screen(&self) -> Vec<String> {
        let written = self.written();
        let Some(end) = written.rfind("\x1b[?2026l") else { return Vec::new() };
        let begin = written[..end].rfind("\x1b[H").map_or(end, |begin| begin + "\x1b[H".len());
        let lines = written[begin..end].split('\n');
        // Nothing is cleared behind a line: where it is as wide as the screen, its last letter would be.
        let cleared = |line: &str| {
            let line = line.trim_end_matches('\r');
            line.strip_prefix("\x1b[K").or(line.strip_prefix("\x1b[J")).map(str::to_owned)
        };
        let lines = lines.map(|line| cleared(line).unwrap_or_else(|| panic!("{line:?}")));
        let lines: Vec<String> = lines.collect();
        assert!(!lines.iter().any(|line| line.contains('\x1b')), "{lines:#?}");
        lines
    }

    fn until_it_shows(&self, what: &str) -> Vec<String> {
        let mut screen = Vec::new();
        until(&format!("the console shows {what:?}"), || {
            screen = self.screen();
            screen.iter().any(|line| line.contains(what))
        });
        screen
    }

    fn press(&mut self, keys: &str) {
        let master = self.master.as_mut().expect("open");
        master.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    fn reload(&self, config: &str) -> u16 {
        write(&self.daemon.config_file(), &self.socket, config);
        Connection::open_unix(&self.socket).ask("PUT", "/plugins/reload", &[]).status
    }
}

fn write(file: &Path, socket: &Path, config: &str) {
    let listen = format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display());
    std::fs::write(file, format!("{listen}{config}")).expect("a file");
}

fn fits(screen: &[String], rows: usize, columns: usize) -> bool {
    screen.len() == rows && screen.iter().all(|line| line.chars().count() <= columns)
}

#[test]
fn a_put_adds_to_what_is_seen() {
    let console = Console::start(CPU, 24, 80, &["--console=1s"]);
    let screen = console.until_it_shows("CPU ");
    assert!(fits(&screen, 24, 80), "{screen:#?}");
    assert!(!screen.iter().any(|line| line.starts_with("Load ")), "{screen:#?}");
    // A second snapshot has shares.
    until("there are shares", || console.screen().iter().any(|line| line.contains(" %")));
    assert_eq!(console.reload(&format!("{CPU}{LOAD}")), 200);
    let screen = console.until_it_shows("Load ");
    assert!(screen.iter().any(|line| line.starts_with("CPU ")), "{screen:#?}");
    // A mistake shows at the foot, and takes nothing away.
    assert_eq!(console.reload(&format!("{CPU}{LOAD}[servr]\n")), 422);
    let screen = console.until_it_shows("configuration refused");
    assert!(fits(&screen, 24, 80), "{screen:#?}");
    assert!(screen.iter().any(|line| line.starts_with("Load ")), "{screen:#?}");
}

#[test]
fn keys_turn_pages_and_end_it() {
    let mut console = Console::start(&format!("{CPU}{LOAD}"), 4, 60, &["--console=1s"]);
    let screen = console.until_it_shows("page 1 of 2");
    assert!(fits(&screen, 4, 60) && screen[1].starts_with("CPU "), "{screen:#?}");
    let modes = tcgetattr(&console.slave).expect("a terminal");
    assert!(!modes.local_modes.contains(LocalModes::ICANON), "keys come at once");
    console.press(" ");
    let screen = console.until_it_shows("page 2 of 2");
    assert!(screen[1].starts_with("Load "), "{screen:#?}");
    console.press("b");
    console.until_it_shows("page 1 of 2");
    let size = rustix::termios::Winsize { ws_row: 30, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&console.slave, size).expect("a terminal");
    until("it has the new size", || fits(&console.screen(), 30, 40));
    console.press("q");
    assert!(console.daemon.wait().success());
    until("the screen before is back", || console.written().contains(LEAVE));
    let after = tcgetattr(&console.slave).expect("a terminal");
    assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    // Why it has ended is on the terminal itself.
    let written = console.written();
    let (screens, rest) = written.split_once(LEAVE).expect("it is there");
    assert_eq!(screens.matches(ENTER).count(), 1);
    assert!(rest.contains("msg=stopping"), "{rest}");
}

/// As a shell does it, which has the terminal while the console is stopped.
#[test]
fn it_stops_and_goes_on_as_the_shell_says() {
    const TIMES: usize = 3;
    let mut console = Console::start_by(&format!("{CPU}{LOAD}"), 24, 80, |file| {
        let script = "\"$0\" run --config \"$1\" --console=1s; echo stopped=$?
            for _ in 2 3; do read -r _; fg; echo stopped=$?; done
            stty icanon echo; read -r _; fg; echo ended=$?";
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-m", "-c", script]).arg(harness::binary()).arg(file);
        command
    });
    for time in 1..=TIMES {
        console.until_it_shows("Load ");
        // Other threads draw now, too, which must not take the terminal again.
        let drawn = console.written().matches("\x1b[H").count();
        until("it draws", || console.written().matches("\x1b[H").count() > drawn + 1);
        console.press("\x1a");
        until("it has stopped", || console.written().matches("stopped=").count() == time);
        let written = console.written();
        let (screens, _) = written.rsplit_once("stopped=").expect("it is there");
        assert_eq!([ENTER, LEAVE].map(|text| screens.matches(text).count()), [time; 2]);
        assert!(screens.rfind(LEAVE) > screens.rfind(ENTER), "{screens}");
        let modes = tcgetattr(&console.slave).expect("a terminal");
        assert!(modes.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        console.press("\n");
        until("it has the terminal", || console.written().matches(ENTER).count() == time + 1);
    }
    console.press("q");
    until("it has ended", || console.written().contains("ended=0"));
}

/// Stopped by another program it cannot leave its screen, and the shell has given the terminal other modes when it goes on.
#[test]
fn modes_that_a_shell_has_set_are_set_again() {
    let mut console = Console::start(CPU, 24, 80, &["--console=1s"]);
    console.until_it_shows("CPU ");
    let mut modes = tcgetattr(&console.slave).expect("a terminal");
    modes.local_modes.insert(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(&console.slave, OptionalActions::Now, &modes).expect("a terminal");
    until("keys come at once again", || {
        let modes = tcgetattr(&console.slave).expect("a terminal");
        !modes.local_modes.contains(LocalModes::ICANON)
    });
    // Of which nothing is left when it ends.
    console.press("q");
    assert!(console.daemon.wait().success());
    let after = tcgetattr(&console.slave).expect("a terminal");
    assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
}

#[test]
fn an_end_of_input_that_was_typed_before_does_not_end_it() {
    let mut console = Console::start_typed("\x04", CPU, 24, 80, |file| {
        let mut command = Command::new(harness::binary());
        command.arg("run").arg("--config").arg(file).arg("--console=1s");
        command
    });
    console.until_it_shows(" %");
    console.press("q");
    assert!(console.daemon.wait().success());
    assert!(!console.written().contains("has gone"), "{}", console.written());
}

#[test]
fn a_terminal_that_goes_ends_it() {
    let mut console = Console::start(CPU, 24, 80, &["--console=1s"]);
    console.until_it_shows("CPU ");
    console.hang_up();
    assert!(console.daemon.wait().success());
}

#[test]
fn a_pipe_gets_one_block_after_the_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("written");
    let daemon = Daemon::start_by(&format!("{CPU}{LOAD}"), |command| {
        command.arg("--console=1s");
        command.stdout(Stdio::from(File::create(&file).expect("a file")));
    });
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("there are two", || read().matches("\nLoad ").count() >= 2);
    let text = read();
    assert!(text.contains("\nCPU ") && text.contains(" %"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    drop(daemon);
}
