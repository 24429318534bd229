//! Logging: one line an event on standard error, as logfmt or JSON, or an entry with fields if that is systemd's journal.
//!
//! No caller ever waits for standard error, and what could not be written is counted.

mod journal;
mod repeats;
mod writer;

use crate::plan::{Log, LogFormat, LogLevel};
use crate::timestamp;
use journal::Record;
use repeats::{Repeats, Verdict};
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
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
pub(crate) use writer::Screen;
use writer::{LineWriter, to_stream};

/// How long the last lines may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What a reload may change, and where lines go.
struct Control {
    level: Handle<LevelFilter, Registry>,
    style: Arc<Style>,
    writer: Arc<LineWriter>,
}

/// How lines are written.
struct Style {
    json: AtomicBool,
    to_journal: bool,
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
    control.style.json.store(as_json, Ordering::Relaxed);
    let _ = control.level.modify(|filter| *filter = level);
}

fn start(level: LevelFilter, as_json: bool) -> Control {
    let to_journal = is_journal();
    let style = Arc::new(Style { json: AtomicBool::new(as_json), to_journal });
    let (filter, handle) = tracing_subscriber::reload::Layer::new(level);
    let notice = {
        let style = Arc::clone(&style);
        move |count| {
            let mut fields = Fields::begin(&style, Level::WARN);
            fields
                .pair("message", "lines are missing because standard error took none for a while");
            fields.bare("lines", &count);
            fields.end()
        }
    };
    let writer = match to_journal {
        true => {
            LineWriter::start(journal::writer(Path::new(journal::SOCKET), io::stderr()), notice)
        }
        false => LineWriter::start(to_stream(io::stderr()), notice),
    };
    let lines = Lines {
        style: Arc::clone(&style),
        writer: Arc::clone(&writer),
        repeats: Repeats::default(),
    };
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
    Control { level: handle, style, writer }
}

/// Whether standard error is systemd's journal.
pub(crate) fn is_journal() -> bool {
    journal::is_standard_error()
}

/// A line as standard error is to have it: as it is, but in the journal as an error.
pub(crate) fn as_error(line: &dyn Display) -> String {
    let line = line.to_string();
    if is_journal() { journal::as_errors(&line) } else { line }
}

/// Writes a line as it is, for the person who started the daemon at a terminal: why it ends.
pub(crate) fn plain(line: &dyn Display) {
    let line = as_error(line);
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
    style: Arc<Style>,
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
        let mut fields = Fields::begin(&self.style, *metadata.level());
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
    /// The same for the journal, if they go there.
    record: Option<Record>,
}

impl Fields {
    fn begin(style: &Style, level: Level) -> Self {
        let json = style.json.load(Ordering::Relaxed);
        let record = style.to_journal.then(|| Record::new(level));
        let mut fields = Fields { json, line: String::new(), record };
        if fields.has_bare_message() {
            // The journal has its own.
            return fields;
        }
        fields.write("time", &timestamp::with_milliseconds(SystemTime::now()));
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        fields.write("level", level);
        fields
    }

    /// Whether the message comes first, as it is: for people who read the journal.
    fn has_bare_message(&self) -> bool {
        self.record.is_some() && !self.json
    }

    /// The line, with its line feed.
    fn end(mut self) -> String {
        if self.json {
            self.line.insert(0, '{');
            self.line.push('}');
        }
        if let Some(record) = self.record {
            return record.line(&self.line);
        }
        self.line.push('\n');
        self.line
    }

    /// A pair whose value is text.
    fn pair(&mut self, key: &str, value: &str) {
        let has_control = value.contains(char::is_control);
        if let Some(record) = self.record.as_mut().filter(|_| key != "message") {
            match has_control {
                true => record.field(key, &quoted(value)),
                false => record.field(key, &value),
            }
        }
        if key == "message" && self.has_bare_message() && !has_control {
            self.line.push_str(value);
        } else {
            self.write(key, value);
        }
    }

    /// A pair whose value is written as it is: a number, `true` or `false`.
    fn bare(&mut self, key: &str, value: &dyn Display) {
        if let Some(record) = &mut self.record {
            record.field(key, value);
        }
        self.append(key, value);
    }

    /// Writes text into the line.
    fn write(&mut self, key: &str, value: &str) {
        let must_quote =
            value.is_empty() || value.contains(|c: char| c.is_control() || " \"=\\".contains(c));
        if self.json || must_quote {
            self.append(key, &quoted(value));
        } else {
            self.append(key, &value);
        }
    }

    fn append(&mut self, key: &str, value: &dyn Display) {
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
        let mut fields = Fields { json: false, line: String::new(), record: None };
        fields.pair("a", "plain");
        fields.pair("message", "two words \"x\"\n");
        assert_eq!(fields.line, r#"a=plain msg="two words \"x\"\n""#);
        let mut fields = Fields { json: true, line: String::new(), record: None };
        fields.pair("a", "plain");
        fields.pair("b", "\u{1}");
        assert_eq!(fields.line, r#""a":"plain","b":"\u0001""#);
        for (json, line) in
            [(false, r#"a="\u001b\u009b\u007fµ""#), (true, r#""a":"\u001b\u009b\u007fµ""#)]
        {
            let mut fields = Fields { json, line: String::new(), record: None };
            fields.pair("a", "\u{1b}\u{9b}\u{7f}µ");
            assert_eq!(fields.line, line);
        }
    }

    #[test]
    fn the_journal_has_the_message_first_and_fields() {
        let said = |json: bool| {
            let style = Style { json: AtomicBool::new(json), to_journal: true };
            let mut fields = Fields::begin(&style, Level::ERROR);
            fields.pair("message", "it failed");
            fields.pair("collector", "perf");
            fields.pair("error", "two\nlines");
            fields.bare("left_out", &3);
            fields.end().replace('\u{1f}', "\n")
        };
        let fields = "VITALD_COLLECTOR=perf\nVITALD_ERROR=\"two\\nlines\"\nVITALD_LEFT_OUT=3\n";
        assert_eq!(
            said(false),
            format!(
                "PRIORITY=3\nMESSAGE=it failed collector=perf error=\"two\\nlines\" left_out=3\n{fields}"
            )
        );
        let json = said(true);
        assert!(json.starts_with("PRIORITY=3\nMESSAGE={\"time\":\""), "{json}");
        assert!(json.ends_with(&format!("\"left_out\":3}}\n{fields}")), "{json}");
    }

    /// Keeps what was logged last, as both formats have it.
    #[derive(Clone, Default)]
    struct Last(Arc<std::sync::Mutex<[String; 2]>>);

    impl<S: Subscriber> Layer<S> for Last {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().expect("no panic") = [false, true].map(|json| {
                let mut fields = Fields { json, line: String::new(), record: None };
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
