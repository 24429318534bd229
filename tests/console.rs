//! The console on a terminal, and on what is none.

mod harness;

use harness::{Connection, Daemon, until};
use nix::pty::{OpenptyResult, Winsize, openpty};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
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
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
        for end in [&master, &slave] {
            // What other tests start meanwhile is not to have it.
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).expect("a descriptor");
        }
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
                let mut command = Command::new(harness::binary());
                command.arg("run").arg("--config").arg(&file).args(arguments);
                let copy = || Stdio::from(slave.try_clone().expect("a descriptor"));
                command.stdin(copy()).stdout(copy()).stderr(copy());
                let up = socket.clone();
                Daemon::spawn_as_it_is(command, directory, move || UnixStream::connect(&up).is_ok())
            },
            socket,
            master: Some(File::from(master)),
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
        let end = written.rfind("\x1b[J").unwrap_or(0);
        let begin = written[..end].rfind("\x1b[H").map_or(end, |begin| begin + "\x1b[H".len());
        let lines = written[begin..end].split('\n');
        lines.map(|line| line.trim_end_matches('\r').replace("\x1b[K", "")).collect()
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

fn write(file: &std::path::Path, socket: &std::path::Path, config: &str) {
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
