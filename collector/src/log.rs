//! Logging: one line an event on standard error, as logfmt or JSON.

use crate::plan::{Log, LogFormat, LogLevel};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::Handle;

/// What a reload may change.
struct Control {
    level: Handle<LevelFilter, Registry>,
    json: Arc<AtomicBool>,
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
    let control = CONTROL.get_or_init(|| {
        let json = Arc::new(AtomicBool::new(as_json));
        let (filter, handle) = tracing_subscriber::reload::Layer::new(level);
        let lines = tracing_subscriber::fmt::layer()
            // A full disk or a closed pipe under standard error is no reason to say so there.
            .log_internal_errors(false)
            .event_format(Lines { json: Arc::clone(&json) })
            .with_writer(io::stderr);
        // A program that embeds this library may have set up its own; then its rules hold.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Control { level: handle, json }
    });
    control.json.store(as_json, Ordering::Relaxed);
    let _ = control.level.modify(|filter| *filter = level);
}

struct Lines {
    json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let mut fields = Fields { json: self.json.load(Ordering::Relaxed), line: String::new() };
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        fields.pair("time", &now.to_string());
        fields.pair("level", level);
        event.record(&mut fields);
        if fields.json {
            writeln!(writer, "{{{}}}", fields.line)
        } else {
            writeln!(writer, "{}", fields.line)
        }
    }
}

/// The pairs of one line.
struct Fields {
    json: bool,
    line: String,
}

impl Fields {
    fn pair(&mut self, key: &str, value: &str) {
        if !self.line.is_empty() {
            self.line.push(if self.json { ',' } else { ' ' });
        }
        let key = if key == "message" { "msg" } else { key };
        if self.json {
            let _ = write!(self.line, "{}:{}", quoted(key), quoted(value));
        } else if value.is_empty()
            || value.bytes().any(|byte| byte <= b' ' || b"\"=\\".contains(&byte))
        {
            let _ = write!(self.line, "{key}={}", quoted(value));
        } else {
            let _ = write!(self.line, "{key}={value}");
        }
    }
}

/// A JSON string, which is also how logfmt quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field.name(), value);
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
    }
}
