//! The console output: what people look at first of each collector, on standard output.
//!
//! On a terminal it is one screen that is drawn again and again, whose pages are turned by keys and which shows the
//! last lines of the log, too. Anything else gets the same blocks, one after the other.

mod block;
mod layout;
mod screen;

use super::table::Table;
use crate::timestamp;
use block::Blocks;
use screen::Screen;
use std::io::{self, Write};
use std::time::Instant;
use vitald_core::output::{Context, Output, OutputError};
use vitald_core::pattern::Pattern;
use vitald_core::settings::UNSET;
use vitald_core::snapshot::Snapshot;
use vitald_core::{register_output, settings};

pub(crate) use screen::leave_terminal;

settings! {
    /// Show the series of metrics whose names match this regular expression, as they are.
    metrics: Option<Pattern> = UNSET;
    /// Show at most this many lines; on a terminal never more than fit.
    max_lines: Option<u32> = UNSET;
}

register_output!(Console);

struct Console {
    settings: Settings,
    blocks: Blocks,
    table: Table,
    screen: Option<Screen>,
}

impl Output for Console {
    const NAME: &'static str = "console";
    const SUMMARY: &'static str = "What people look at first of each collector, on standard output";
    type Settings = Settings;

    fn resource(_settings: &Settings) -> Option<String> {
        Some("standard output".to_owned())
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, OutputError> {
        let screen = Screen::open(&context.identity().hostname);
        Ok(Console { settings, blocks: Blocks::default(), table: Table::new(), screen })
    }

    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError> {
        let Console { settings, blocks, table, screen } = self;
        let now = Instant::now();
        let max_lines = settings.max_lines.map(|lines| lines as usize);
        let metrics = settings.metrics.as_ref();
        let series = metrics.map(|metrics| table.render(snapshot, Some(metrics), now));
        let blocks = if series.is_some() {
            Vec::new()
        } else {
            blocks.learn(snapshot, now);
            blocks.of(snapshot)
        };
        let taken = timestamp::with_seconds(snapshot.taken);
        if let Some(screen) = screen {
            return Ok(screen.show(blocks, series, taken, max_lines)?);
        }
        let mut lines = match &series {
            Some(series) => series.lines().map(str::to_owned).collect(),
            None => layout::pages(&blocks, PLAIN_COLUMNS, None).concat(),
        };
        lines.truncate(max_lines.unwrap_or(usize::MAX));
        let mut out = io::stdout().lock();
        write!(out, "{taken}\n{}\n\n", lines.join("\n"))?;
        Ok(out.flush()?)
    }
}

/// How wide the text is that does not go to a terminal.
const PLAIN_COLUMNS: usize = 120;
