//! The console output: a live table of the chosen collectors on standard output.

use super::table::{Choice, Table};
use crate::timestamp;
use rustix::termios;
use std::io::{self, Write};
use std::time::Instant;
use vitald_core::output::{Context, Output, OutputError};
use vitald_core::pattern::Pattern;
use vitald_core::settings::UNSET;
use vitald_core::snapshot::Snapshot;
use vitald_core::{register_output, settings};

settings! {
    /// Show only metrics whose names match this regular expression.
    metrics: Option<Pattern> = UNSET;
    /// Show at most this many lines; on a terminal never more than fit.
    max_lines: Option<u32> = UNSET;
}

register_output!(Console);

struct Console {
    settings: Settings,
    table: Table,
}

impl Output for Console {
    const NAME: &'static str = "console";
    const SUMMARY: &'static str =
        "An aligned live table on standard output, with rates for counters";
    type Settings = Settings;

    fn resource(_settings: &Settings) -> Option<String> {
        Some("standard output".to_owned())
    }

    fn open(settings: Settings, _context: &Context) -> Result<Self, OutputError> {
        Ok(Console { settings, table: Table::new() })
    }

    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError> {
        let screen = screen();
        let lines = [
            screen.map(|(rows, _)| rows.saturating_sub(2)),
            self.settings.max_lines.map(|n| n as usize),
        ];
        let choice = Choice {
            metrics: self.settings.metrics.clone(),
            max_lines: lines.into_iter().flatten().min(),
            max_columns: screen.map(|(_, columns)| columns),
        };
        let table = self.table.render(snapshot, &choice, Instant::now());
        let heading = timestamp::with_seconds(snapshot.taken);
        let mut out = io::stdout().lock();
        if screen.is_some() {
            // Home, then each line cleared to its end, then the rest of the screen: redrawn in
            // place without flicker.
            let drawn = table.replace('\n', "\x1b[K\n");
            write!(out, "\x1b[H{heading}\x1b[K\n{drawn}\x1b[J")?;
        } else {
            write!(out, "{heading}\n{table}\n")?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Rows and columns of the terminal, if standard output is one.
fn screen() -> Option<(usize, usize)> {
    let out = io::stdout();
    if !termios::isatty(&out) {
        return None;
    }
    let size = termios::tcgetwinsize(&out).ok()?;
    // A serial line may not know its size.
    let known = |count: u16, usual: usize| if count == 0 { usual } else { usize::from(count) };
    Some((known(size.ws_row, 24), known(size.ws_col, 80)))
}
