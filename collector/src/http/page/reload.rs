//! `PUT /plugins/reload`: reads the configuration again and reports what came of it.

use crate::engine::Changes;
use crate::http::query;
use crate::http::reply::{Problem, json, not_allowed};
use crate::http::request::Request;
use crate::http::site::Site;
use crate::outputs::OutputChanges;
use crate::reload::{ListenerChanges, ReloadOutcome, ReloadReport, ReloadRequest};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use vitald_core::settings::{Mistake, Origin};
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

/// Answers a request to reload.
pub(in crate::http) async fn reload(site: &Site, request: &Request) -> Response {
    // Who may not use the route must not learn its methods either.
    if let Err(refusal) = site.admission.admit(request).await {
        return refusal;
    }
    if request.method != Method::PUT {
        return not_allowed("PUT");
    }
    let running = site.served.applied().plan.hash.clone();
    let wanted = match read_request(request, &running) {
        Ok(wanted) => wanted,
        Err(reason) => {
            return Problem::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request")
                .detail(reason)
                .reply();
        }
    };
    tracing::info!(peer = %request.client.peer, dry_run = wanted.dry_run, "a client asks for a reload");
    // On a task of its own: a client that goes away must not leave a reload half done.
    match tokio::spawn(Arc::clone(&site.served).reload(wanted)).await {
        Ok(outcome) => answer(outcome, site.config_file()),
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The reload failed")
            .detail("the daemon's log says more")
            .reply(),
    }
}

fn read_request(request: &Request, running: &str) -> Result<ReloadRequest, String> {
    let mut wanted = ReloadRequest::default();
    let mut has_dry_run = false;
    for (key, value) in query::pairs(request.query()) {
        // A mistyped `dry_run` must not become a reload.
        if key != "dry_run" {
            return Err(format!("there is no parameter {key}; there is: dry_run"));
        }
        if std::mem::replace(&mut has_dry_run, true) {
            return Err("dry_run is given more than once".to_owned());
        }
        wanted.dry_run = match value.as_str() {
            "true" | "1" | "" => true,
            "false" | "0" => false,
            _ => return Err("dry_run is true or false".to_owned()),
        };
    }
    let mut hashes: Vec<&str> = Vec::new();
    for value in request.headers.get_all(header::IF_MATCH) {
        let value = value.to_str().map_err(|_| "If-Match is not text".to_owned())?;
        hashes.extend(value.split(',').map(entity_tag).filter(|hash| !hash.is_empty()));
    }
    if !hashes.contains(&"*") {
        let matching = hashes.iter().find(|hash| **hash == running);
        wanted.if_match = matching.or(hashes.first()).map(|hash| (*hash).to_owned());
    }
    Ok(wanted)
}

/// `"hash"`, `W/"hash"` or the bare hash.
fn entity_tag(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn answer(outcome: ReloadOutcome, config_file: Option<String>) -> Response {
    match outcome {
        ReloadOutcome::Applied(report) => {
            with_hash(json(&Report::of(&report, config_file)), &report.hash)
        }
        ReloadOutcome::Refused(mistakes) => refused(&mistakes),
        ReloadOutcome::Busy => {
            Problem::new(StatusCode::CONFLICT, "busy", "Another reload is in progress")
                .detail("nothing was done; try again when it has ended")
                .retry_after(1)
                .reply()
        }
        ReloadOutcome::Mismatch(hash) => with_hash(
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "mismatch",
                "The running configuration is another one",
            )
            .detail(format!("nothing was done; the running configuration has the hash {hash}"))
            .member("hash", hash.as_str())
            .reply(),
            &hash,
        ),
        ReloadOutcome::Unavailable(reason) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The configuration could not be read and opened",
        )
        .detail(format!("nothing was changed: {reason}"))
        .reply(),
        ReloadOutcome::Faulty(report) => {
            let faults: Vec<Value> =
                report.faults.iter().map(|fault| fault.as_str().into()).collect();
            let known = serde_json::to_value(Report::of(&report, config_file)).unwrap_or_default();
            let failed = StatusCode::INTERNAL_SERVER_ERROR;
            let problem =
                Problem::new(failed, "faulty", "The configuration was applied with faults")
                    .detail("the new configuration is in force; the daemon's log says more")
                    .member("faults", faults)
                    .member("report", known);
            with_hash(problem.reply(), &report.hash)
        }
        ReloadOutcome::Unfinished(reason) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unfinished",
            "The configuration is being applied and does not come to an end",
        )
        .detail(reason)
        .reply(),
    }
}

fn with_hash(mut response: Response, hash: &str) -> Response {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn refused(mistakes: &[Mistake]) -> Response {
    let count = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "invalid-configuration", "The configuration is not valid")
        .detail(format!("{count}; nothing was changed, the running configuration stays"))
        .member("mistakes", mistakes.iter().map(mistake).collect::<Vec<Value>>())
        .reply()
}

fn mistake(mistake: &Mistake) -> Value {
    let mut shown = json!({
        "key": mistake.path,
        "message": mistake.message,
        "text": mistake.to_string(),
    });
    let mut add = |key: &str, value: Value| shown[key] = value;
    match &mistake.origin {
        Origin::Default => {}
        Origin::WholeFile(file) => add("file", (**file).into()),
        Origin::File { file, line, column } => {
            add("file", (**file).into());
            add("line", (*line).into());
            add("column", (*column).into());
        }
        Origin::Environment(name) => add("environment", (**name).into()),
        Origin::Flag(name) => add("flag", (**name).into()),
    }
    shown
}

#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    /// The file that was read; null if there is none.
    config_file: Option<String>,
    generation: u64,
    hash: &'a str,
    #[serde(flatten)]
    collectors: Changed<'a, &'static str>,
    outputs: Changed<'a, Arc<str>>,
    listeners: ChangedListeners<'a>,
    degraded: Vec<Degraded<'a>>,
    warnings: &'a [String],
    took_seconds: f64,
}

#[derive(Serialize)]
struct Changed<'a, T> {
    started: &'a [T],
    stopped: &'a [T],
    changed: &'a [T],
    unchanged: &'a [T],
}

#[derive(Serialize)]
struct ChangedListeners<'a> {
    started: &'a [String],
    stopped: &'a [String],
    changed: Vec<ChangedListener<'a>>,
    unchanged: &'a [String],
}

#[derive(Serialize)]
struct ChangedListener<'a> {
    address: &'a str,
    what: &'a [&'static str],
}

#[derive(Serialize)]
struct Degraded<'a> {
    name: &'a str,
    reason: &'a str,
}

impl<'a> Report<'a> {
    fn of(report: &'a ReloadReport, config_file: Option<String>) -> Self {
        let reason = |(name, reason): &'a (&'static str, String)| Degraded { name, reason };
        Report {
            dry_run: report.dry_run,
            config_file,
            generation: report.generation,
            hash: &report.hash,
            collectors: Changed::of(&report.collectors),
            outputs: Changed::of_outputs(&report.outputs),
            listeners: ChangedListeners::of(&report.listeners),
            degraded: report.degraded.iter().map(reason).collect(),
            warnings: &report.warnings,
            took_seconds: report.took.as_secs_f64(),
        }
    }
}

impl<'a> Changed<'a, &'static str> {
    fn of(changes: &'a Changes) -> Self {
        let Changes { started, stopped, changed, unchanged } = changes;
        Changed { started, stopped, changed, unchanged }
    }
}

impl<'a> Changed<'a, Arc<str>> {
    fn of_outputs(changes: &'a OutputChanges) -> Self {
        let OutputChanges { started, stopped, changed, unchanged } = changes;
        Changed { started, stopped, changed, unchanged }
    }
}

impl<'a> ChangedListeners<'a> {
    fn of(changes: &'a ListenerChanges) -> Self {
        let ListenerChanges { started, stopped, changed, unchanged } = changes;
        let changed = changed.iter();
        let changed = changed.map(|one| ChangedListener { address: &one.address, what: &one.what });
        ChangedListeners { started, stopped, changed: changed.collect(), unchanged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags() {
        for (text, expected) in
            [("\"abc\"", "abc"), (" W/\"abc\" ", "abc"), ("abc", "abc"), ("\"a", "\"a"), ("*", "*")]
        {
            assert_eq!(entity_tag(text), expected);
        }
    }
}
