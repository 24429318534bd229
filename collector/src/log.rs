//! Logging: one line an event on standard error, as logfmt or JSON.
//!
//! No caller ever waits for standard error, and what could not be written is counted.

mod repeats;
mod writer;

use crate::plan::{Log, LogFormat, LogLevel};
use crate::timestamp;
use repeats::{Repeats, Verdict};
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::{Layer, Registry};
use writer::LineWriter;
pub(crate) use writer::Screen;

/// How long the last lines may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What a reload may change, and where lines go.
struct Control {
    level: Handle<LevelFilter, Registry>,
    json: Arc<AtomicBool>,
    writer: Arc<LineWriter>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Starts logging, or changes how it is done.
pub(crate) fn configure(log: &Log) {
    let level = match log.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let as_json = log.format == LogFormat::Json;
    let control = CONTROL.get_or_init(|| start(level, as_json));
    control.json.store(as_json, Ordering::Relaxed);
    let _ = control.level.modify(|filter| *filter = level);
}

fn start(level: LevelFilter, as_json: bool) -> Control {
    let json = Arc::new(AtomicBool::new(as_json));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(level);
    let writer = LineWriter::start(io::stderr(), {
        let json = Arc::clone(&json);
        move |count| {
            let mut fields = Fields::begin(json.load(Ordering::Relaxed), Level::WARN);
            fields
                .pair("message", "lines are missing because standard error took none for a while");
            fields.bare("lines", &count);
            fields.end()
        }
    });
    let lines =
        Lines { json: Arc::clone(&json), writer: Arc::clone(&writer), repeats: Repeats::default() };
    // A program that embeds this library may have set up its own; then its rules hold.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    // The standard hook writes to standard error itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("the panic has no text");
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            thread = thread.name().unwrap_or_default(),
            place,
            error = message,
            "a thread panicked"
        );
    }));
    Control { level: handle, json, writer }
}

/// Writes a line as it is, for the person who started the daemon at a terminal: why it ends.
pub(crate) fn plain(line: &dyn Display) {
    match CONTROL.get() {
        Some(control) if control.writer.is_open() => control.writer.push(&format!("{line}\n")),
        // Nothing is left that could be held up.
        _ => drop(writeln!(io::stderr().lock(), "{line}")),
    }
}

/// Has lines go to a screen instead of standard error.
pub(crate) fn enter_screen(screen: Arc<dyn Screen>) {
    if let Some(control) = CONTROL.get() {
        control.writer.show_on(Some(screen));
    }
}

/// Has lines go to standard error again, those first that the screen has kept.
pub(crate) fn leave_screen() {
    if let Some(control) = CONTROL.get()
        && let Some(screen) = control.writer.show_on(None)
    {
        control.writer.push(&screen.kept());
    }
}

/// Waits until the lines so far are written, but not for long: the end of the process must not
/// depend on the reader of the log.
pub(crate) fn flush() {
    if let Some(control) = CONTROL.get() {
        control.writer.flush(FLUSH_TIMEOUT);
    }
}

/// How many lines were not written: because standard error did not take them, or because their
/// message repeated without end.
pub(crate) fn dropped_lines() -> u64 {
    CONTROL.get().map_or(0, |control| control.writer.dropped())
}

/// Makes a line of each event.
struct Lines {
    json: Arc<AtomicBool>,
    writer: Arc<LineWriter>,
    repeats: Repeats,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let Verdict::Write(left_out) = self.repeats.judge(metadata.callsite(), Instant::now())
        else {
            self.writer.count(1);
            return;
        };
        let mut fields = Fields::begin(self.json.load(Ordering::Relaxed), *metadata.level());
        event.record(&mut fields);
        if left_out > 0 {
            fields.bare("left_out", &left_out);
        }
        self.writer.push(&fields.end());
    }
}

/// The pairs of one line.
struct Fields {
    json: bool,
    line: String,
}

impl Fields {
    fn begin(json: bool, level: Level) -> Self {
        let mut fields = Fields { json, line: String::new() };
        fields.pair("time", &timestamp::with_milliseconds(SystemTime::now()));
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        fields.pair("level", level);
        fields
    }

    /// The line, with its line feed.
    fn end(mut self) -> String {
        if self.json {
            self.line.insert(0, '{');
            self.line.push('}');
        }
        self.line.push('\n');
        self.line
    }

    /// A pair whose value is text.
    fn pair(&mut self, key: &str, value: &str) {
        let must_quote =
            value.is_empty() || value.contains(|c: char| c.is_control() || " \"=\\".contains(c));
        if self.json || must_quote {
            self.bare(key, &quoted(value));
        } else {
            self.bare(key, &value);
        }
    }

    /// A pair whose value is written as it is: a number, `true` or `false`.
    fn bare(&mut self, key: &str, value: &dyn Display) {
        if !self.line.is_empty() {
            self.line.push(if self.json { ',' } else { ' ' });
        }
        let key = if key == "message" { "msg" } else { key };
        let _ = match self.json {
            true => write!(self.line, "{}:{value}", quoted(key)),
            false => write!(self.line, "{key}={value}"),
        };
    }
}

/// A JSON string, which is also how logfmt quotes.
fn quoted(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    // To JSON these two kinds are ordinary characters; a terminal acts on some.
    let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !quoted.contains(is_control) {
        return quoted;
    }
    quoted.chars().fold(String::new(), |mut line, c| {
        let _ = match is_control(c) {
            true => write!(line, "\\u{:04x}", u32::from(c)),
            false => line.write_char(c),
        };
        line
    })
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not finite.
        match value.is_finite() {
            true => self.bare(field.name(), &value),
            false => self.pair(field.name(), &value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let mut fields = Fields { json: false, line: String::new() };
        fields.pair("a", "plain");
        fields.pair("message", "two words \"x\"\n");
        assert_eq!(fields.line, r#"a=plain msg="two words \"x\"\n""#);
        let mut fields = Fields { json: true, line: String::new() };
        fields.pair("a", "plain");
        fields.pair("b", "\u{1}");
        assert_eq!(fields.line, r#""a":"plain","b":"\u0001""#);
        for (json, line) in
            [(false, r#"a="\u001b\u009b\u007fµ""#), (true, r#""a":"\u001b\u009b\u007fµ""#)]
        {
            let mut fields = Fields { json, line: String::new() };
            fields.pair("a", "\u{1b}\u{9b}\u{7f}µ");
            assert_eq!(fields.line, line);
        }
    }

    /// Keeps what was logged last, as both formats have it.
    #[derive(Clone, Default)]
    struct Last(Arc<std::sync::Mutex<[String; 2]>>);

    impl<S: Subscriber> Layer<S> for Last {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().expect("no panic") = [false, true].map(|json| {
                let mut fields = Fields { json, line: String::new() };
                event.record(&mut fields);
                fields.line
            });
        }
    }

    #[test]
    fn numbers_and_truths_are_no_text() {
        let last = Last::default();
        let subscriber = tracing_subscriber::registry().with(last.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                generation = 3_u64,
                change = -1,
                seconds = 0.5,
                none = f64::NAN,
                dry_run = false,
                connections = 7_usize,
                text = "8",
                "said"
            );
        });
        let [logfmt, json] = &*last.0.lock().expect("no panic");
        assert_eq!(
            logfmt,
            "msg=said generation=3 change=-1 seconds=0.5 none=NaN dry_run=false connections=7 text=8"
        );
        let json: serde_json::Value =
            serde_json::from_str(&format!("{{{json}}}")).expect("an object");
        assert_eq!(
            json,
            serde_json::json!({
                "msg": "said", "generation": 3, "change": -1, "seconds": 0.5, "none": "NaN",
                "dry_run": false, "connections": 7, "text": "8",
            })
        );
    }
}
