//! The terminal, while the console has it.
//!
//! It has a screen of its own (the alternate screen of xterm and of all that came after it), so that what
//! stood there before comes back. Lines of the log go to its foot for as long as standard error is the same terminal, and
//! to the terminal itself when it is left.

use super::block::Block;
use super::layout::pages;
use crate::log;
use crate::sync::lock;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{
    self, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use vitald_core::host::signal_this_thread;

/// The alternate screen without a cursor, and back. No line wraps: a line that is too long after all ends there.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// A terminal that knows these shows all that is between them at once.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[?2026l";
/// Rows for the log at the foot.
const LOG_LINES: usize = 3;
/// Lines of the log that are kept for the terminal itself.
const KEPT_LINES: usize = 100;
/// With less lines there is no room for a log.
const LEAST_LINES: usize = 12;
/// Ctrl-Z.
const SUSPEND: &[u8] = b"\x1a";
/// No key has this meaning (`_POSIX_VDISABLE`, termios(3)).
const DISABLED: u8 = 0;
/// How often to see whether the daemon is in front again.
const IN_BACKGROUND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What the terminal was like before; none while the console has it not.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

/// None of what standard input was like, if that is no terminal.
struct Before(Option<Termios>);

/// The process ends: the terminal is not taken again.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back for the end of the process, which waits for no thread.
pub(crate) fn leave_terminal() {
    IS_OVER.store(true, Ordering::Relaxed);
    leave();
}

/// Gives the terminal back, if the console has it.
fn leave() {
    let Some(Before(modes)) = lock(&BEFORE).take() else { return };
    if let Some(modes) = modes.filter(|_| is_in_front()) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
    // A terminal that is stopped would hold it up; and another thread may have std's lock for it.
    let out = io::stdout();
    let mut ready = [PollFd::new(&out, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(&out, LEAVE.as_bytes());
    }
    log::leave_screen();
}

/// Takes the terminal, unless the console has it: keys come at once and unseen, and the screen is another one.
fn enter(shared: &Arc<Shared>) {
    let mut before = lock(&BEFORE);
    let known = termios::isatty(io::stdin()).then(|| tcgetattr(io::stdin()).ok()).flatten();
    // A shell gives it modes of its own when the process stops, whatever stops it.
    let is_taken = |modes: &Termios| !modes.local_modes.contains(LocalModes::ICANON);
    if before.is_some() && known.as_ref().is_none_or(is_taken) {
        return;
    }
    if let Some(known) = &known {
        let mut modes = known.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Ctrl-Z is a key then, so that the console can leave its screen first.
        modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
    *before = Some(Before(known));
    drop(before);
    // If it goes elsewhere, people read it there.
    if is_same_terminal() {
        log::enter_screen(Arc::clone(shared) as Arc<dyn log::Screen>);
    }
    let _ = write_all(ENTER);
}

/// Whether standard error is the terminal that standard output is.
fn is_same_terminal() -> bool {
    let device = |stat: rustix::io::Result<Stat>| stat.map(|stat| stat.st_rdev).ok();
    termios::isatty(io::stderr()) && device(fstat(io::stderr())) == device(fstat(io::stdout()))
}

/// Whether this process may use its terminal: a shell may have put it into the background.
fn is_in_front() -> bool {
    // Of another session's terminal nothing is known.
    tcgetpgrp(io::stdout()).map_or(true, |group| group == getpgrp())
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(super) struct Screen {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
}

struct Shared {
    state: Mutex<State>,
    /// One draws at a time; nobody waits for a terminal with the state locked.
    drawing: Mutex<()>,
}

/// What is shown.
#[derive(Default)]
struct State {
    hostname: String,
    blocks: Vec<Block>,
    /// Of series as they are, instead of blocks.
    series: Option<String>,
    taken: String,
    max_lines: Option<usize>,
    page: usize,
    /// All rows of all blocks, and not a share of each.
    is_whole: bool,
    log: VecDeque<String>,
    has_ended: bool,
}

impl Screen {
    /// Takes the terminal, if standard output is one that can be written anywhere.
    pub(super) fn open(hostname: &str) -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_dumb || !termios::isatty(io::stdout()) {
            return None;
        }
        let state = State { hostname: hostname.to_owned(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), drawing: Mutex::new(()) });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).ok()?);
        if termios::isatty(io::stdin()) {
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            let keys = move || shared.read_keys(&stop);
            let thread = std::thread::Builder::new().name("console keys".to_owned());
            if let Err(error) = thread.spawn(keys) {
                tracing::warn!(%error, "the console takes no keys: its thread cannot be started");
            }
        }
        Some(Screen { shared, stop })
    }

    pub(super) fn show(
        &mut self,
        blocks: Vec<Block>,
        series: Option<String>,
        taken: String,
        max_lines: Option<usize>,
    ) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        (state.blocks, state.series) = (blocks, series);
        (state.taken, state.max_lines) = (taken, max_lines);
        drop(state);
        self.shared.draw()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        lock(&self.shared.state).has_ended = true;
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        let _drawing = lock(&self.shared.drawing);
        leave();
    }
}

impl log::Screen for Shared {
    fn take(self: Arc<Self>, lines: &str) {
        let mut state = lock(&self.state);
        state.log.extend(lines.lines().map(str::to_owned));
        let more = state.log.len().saturating_sub(KEPT_LINES);
        state.log.drain(..more);
        drop(state);
        let _ = self.draw();
    }

    fn kept(&self) -> String {
        let log = std::mem::take(&mut lock(&self.state).log);
        log.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

impl Shared {
    /// Draws the page that is chosen, if the terminal is this process's at the moment.
    fn draw(self: &Arc<Self>) -> io::Result<()> {
        let _drawing = lock(&self.drawing);
        let has_ended = IS_OVER.load(Ordering::Relaxed) || lock(&self.state).has_ended;
        if has_ended || !is_in_front() {
            return Ok(());
        }
        enter(self);
        let (rows, columns) = size();
        let lines = lock(&self.state).lines(rows, columns);
        // Drawn in place, each line cleared before it is written and the rest of the screen before the last one: behind a line as
        // wide as the screen a terminal stays in the last column, and clearing there would take the last letter.
        let mut text = BEGIN.to_owned();
        for (place, line) in lines.iter().enumerate() {
            text += if place > 0 { "\n" } else { "" };
            text += if place + 1 < lines.len() { "\x1b[K" } else { "\x1b[J" };
            text += line;
        }
        write_all(&(text + END))
    }

    /// Answers keys until the console ends.
    fn read_keys(self: &Arc<Self>, stop: &OwnedFd) {
        let (input, mut keys) = (io::stdin(), [0; 16]);
        loop {
            let is_in_front = is_in_front();
            let mut ready = [PollFd::new(stop, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
            // What is typed while another program is in front is for that one.
            let polled = match is_in_front {
                true => poll(&mut ready, None),
                false => poll(&mut ready[..1], Some(&IN_BACKGROUND)),
            };
            if !ready[0].revents().is_empty() || polled.is_err_and(|error| error != Errno::INTR) {
                return;
            }
            let has_gone = ready[1].revents().contains(PollFlags::HUP);
            if is_in_front && !ready[1].revents().is_empty() {
                match rustix::io::read(&input, &mut keys) {
                    // An end of input that was typed before keys came at once.
                    Ok(0) if !has_gone => {}
                    // Who closes the window has ended what ran in it.
                    Ok(0) | Err(Errno::IO) => {
                        tracing::info!("stopping: the terminal of the console has gone");
                        let _ = kill_process(getpid(), Signal::INT);
                        return;
                    }
                    Ok(count) => self.answer(&keys[..count]),
                    Err(_) => {}
                }
            }
        }
    }

    fn answer(self: &Arc<Self>, keys: &[u8]) {
        match keys {
            b" " | b"n" | b"\x1b[C" | b"\x1b[B" | b"\x1b[6~" => lock(&self.state).page += 1,
            b"b" | b"p" | b"\x1b[D" | b"\x1b[A" | b"\x1b[5~" => {
                let mut state = lock(&self.state);
                state.page = state.page.saturating_sub(1);
            }
            b"a" => {
                let mut state = lock(&self.state);
                (state.is_whole, state.page) = (!state.is_whole, 0);
            }
            // As Ctrl-C does, which the terminal makes of that key.
            b"q" => drop(kill_process(getpid(), Signal::INT)),
            SUSPEND => {
                let _drawing = lock(&self.drawing);
                leave();
                // It goes on here when the shell says so. Had another thread to take the signal, this one would draw before it stops.
                let _ = signal_this_thread(Signal::TSTP.as_raw());
            }
            _ => return,
        }
        let _ = self.draw();
    }
}

/// Rows and columns of the terminal.
fn size() -> (usize, usize) {
    // A serial line may not know its size.
    let known = |count: u16, usual: usize| if count == 0 { usual } else { usize::from(count) };
    let size = tcgetwinsize(io::stdout());
    size.map_or((24, 80), |size| (known(size.ws_row, 24), known(size.ws_col, 80)))
}

impl State {
    /// What fills the screen. The page that is chosen is one that there is.
    fn lines(&mut self, rows: usize, columns: usize) -> Vec<String> {
        let log = if rows >= LEAST_LINES { self.log_rows(columns) } else { Vec::new() };
        // The heading and the keys.
        let room = rows.saturating_sub(log.len() + 2).max(1);
        let room = self.max_lines.map_or(room, |most| room.min(most));
        let pages = match &self.series {
            Some(series) => chunks(series.lines().map(str::to_owned).collect(), room),
            None if self.is_whole => chunks(pages(&self.blocks, columns, None).concat(), room),
            None => pages(&self.blocks, columns, Some(room)),
        };
        self.page = self.page.min(pages.len().saturating_sub(1));
        let place = if pages.len() > 1 {
            format!("page {} of {}", self.page + 1, pages.len())
        } else {
            String::new()
        };
        let heading = format!("{}  {}  {place}", self.hostname, self.taken);
        let mut lines = vec![heading.trim_end().to_owned()];
        lines.extend(pages.into_iter().nth(self.page).unwrap_or_default());
        lines.resize(rows.saturating_sub(log.len() + 1).max(1), String::new());
        lines.extend(log);
        lines.push(format!(
            "space: next  b: back  a: {}  q: quit",
            if self.is_whole { "less" } else { "all" }
        ));
        lines.truncate(rows.max(1));
        lines.iter_mut().for_each(|line| *line = line.chars().take(columns).collect());
        lines
    }

    /// The last lines of the log that there is room for. Of one that is too long for all of it, its beginning.
    fn log_rows(&self, columns: usize) -> Vec<String> {
        let mut rows: VecDeque<String> = VecDeque::new();
        for line in self.log.iter().rev() {
            let letters: Vec<char> = short_log_line(line).chars().collect();
            let of_line: Vec<String> =
                letters.chunks(columns.max(1)).map(|row| row.iter().collect()).collect();
            let left = LOG_LINES - rows.len();
            if of_line.len() > left && !rows.is_empty() {
                break;
            }
            of_line.into_iter().take(left).rev().for_each(|row| rows.push_front(row));
        }
        rows.into()
    }
}

fn chunks(lines: Vec<String>, room: usize) -> Vec<Vec<String>> {
    lines.chunks(room.max(1)).map(<[String]>::to_vec).collect()
}

/// `12:34:56 warn a message key=value` of a line of the log, which is longer.
fn short_log_line(line: &str) -> String {
    let short = || {
        let (time, rest) = line.strip_prefix("time=")?.split_once(" level=")?;
        let (level, rest) = rest.split_once(" msg=")?;
        let clock = time.get("2026-01-01T".len().."2026-01-01T00:00:00".len())?;
        Some(format!("{clock} {level} {rest}"))
    };
    short().unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::block::Body;
    use super::*;
    use expect_test::expect;

    fn state(blocks: usize) -> State {
        let block = |number| {
            let pairs = vec![("now".to_owned(), format!("{number} kB/s"))];
            Block { title: format!("Block {number}"), body: Body::Pairs(pairs) }
        };
        State {
            hostname: "host".to_owned(),
            taken: "2026-01-01T00:00:00Z".to_owned(),
            blocks: (0..blocks).map(block).collect(),
            ..State::default()
        }
    }

    fn drawn(state: &mut State, rows: usize, columns: usize) -> String {
        let lines = state.lines(rows, columns);
        assert!(lines.len() == rows.max(1), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:?}");
        lines.iter().map(|line| format!("{line}|\n")).collect()
    }

    #[test]
    fn pages_are_turned_and_end() {
        let mut state = state(5);
        expect![[r#"
            host  2026-01-01T00:00:00Z  page 1 of 2|
            Block 0     now    0 kB/s|
            Block 1     now    1 kB/s|
            Block 2     now    2 kB/s|
            space: next  b: back  a: all  q: quit|
        "#]]
        .assert_eq(&drawn(&mut state, 5, 50));
        state.page = 1;
        expect![[r#"
            host  2026-01-01T00:00:00Z  page 2 of 2|
            Block 3     now    3 kB/s|
            Block 4     now    4 kB/s|
            |
            space: next  b: back  a: all  q: quit|
        "#]]
        .assert_eq(&drawn(&mut state, 5, 50));
        // There is no third page.
        state.page = 7;
        let _ = state.lines(5, 50);
        assert_eq!(state.page, 1);
        (state.series, state.page) = (Some("one\ntwo\nthree\nfour\n".to_owned()), 1);
        expect![[r#"
            host  2026-01-01T00:00:00Z  page 2 of 2|
            four|
            |
            |
            space: next  b: back  a: all  q: quit|
        "#]]
        .assert_eq(&drawn(&mut state, 5, 50));
    }

    #[test]
    fn every_size_is_filled_and_no_more() {
        let mut state = state(40);
        state.log.push_back("x".repeat(1000));
        for rows in 0..30 {
            for columns in [0, 1, 2, 10, 39, 80] {
                state.page = 3;
                let _ = drawn(&mut state, rows, columns);
            }
        }
    }

    #[test]
    fn the_log_is_at_the_foot() {
        let mut state = state(2);
        state.log.push_back("time=2026-11-28T19:58:37.384Z level=info msg=stopping".to_owned());
        state.log.push_back("not logfmt".to_owned());
        expect![[r#"
            host  2026-01-01T00:00:00Z|
            Block 0     now    0 kB/s|
            Block 1     now    1 kB/s|
            |
            |
            |
            |
            |
            |
            19:58:37 info stopping|
            not logfmt|
            space: next  b: back  a: all  q: quit|
        "#]]
        .assert_eq(&drawn(&mut state, 12, 40));
        state.log.push_back(format!(
            "time=2026-11-28T19:58:38.000Z level=warn msg=\"{}\"",
            "long ".repeat(30)
        ));
        expect![[r#"
            19:58:38 warn "long long long long long |
            long long long long long long long long |
            long long long long long long long long "#]]
        .assert_eq(&state.log_rows(40).join("|\n"));
        assert!(drawn(&mut state, 11, 40).find("warn").is_none());
    }
}
