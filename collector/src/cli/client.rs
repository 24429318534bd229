//! `reload`, `health` and `check --running`: talking to the running daemon.

use super::connection::{Answer, Connection, Deadline};
use super::places::{self, Place, SERVICE_SOCKET, Search, without_tls};
use super::registry::Registry;
use super::terminal::{complain, exit, fail, print, printable};
use crate::log;
use crate::plan::Address;
use clap::ArgMatches;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long a daemon that is well may take to say so: less than the five seconds that the image's health check has,
/// so that the check says why it fails.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);

/// Makes the running daemon read its configuration again, and tells what it says.
pub(super) fn reload(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    put_reload(own, registry, own.get_flag("dry-run"))
}

/// What a reload of its own file would change in the running daemon.
pub(super) fn what_would_change(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    put_reload(own, registry, true)
}

/// Asks whether the daemon is alive, or ready.
pub(super) fn health(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let (place, mistakes) = match places::first(own, registry) {
        Ok(found) => found,
        Err(status) => return status,
    };
    let (path, well) =
        if own.get_flag("ready") { ("/readyz", "ready\n") } else { ("/healthz", "ok\n") };
    let deadline = Deadline::after(HEALTH_TIMEOUT);
    let connection = Connection::open_by(&place.address, place.token, deadline);
    match connection.and_then(|mut connection| connection.ask_by(Method::GET, path, deadline)) {
        Ok(answer) if answer.status == StatusCode::OK => print(well),
        Ok(Answer { lacks: Some(what), .. }) => Miss::lacking(&place.address, what).fail(),
        Ok(answer) => fail(1, &format!("{path} answered {}", answer.status)),
        Err(error) => {
            // The daemon may be somewhere else than where a file says that is not there, or is wrong.
            mistakes.iter().for_each(|mistake| complain(mistake));
            Miss::unanswered(&place.address, &error).fail()
        }
    }
}

/// A daemon that lets this user administer.
struct Daemon {
    connection: Connection,
    address: Address,
    /// The file that it reads.
    file: Option<String>,
    /// The hash of the configuration that is in force.
    hash: Value,
}

/// Why the daemon that is looked for is not at a place.
struct Miss {
    status: u8,
    reason: String,
    /// What to do about it, if the user has said that the daemon is there, or if it refuses.
    remedy: Cow<'static, str>,
    /// A daemon is there, and it may be the one, but it does not do this for who asks.
    refuses: bool,
}

impl Miss {
    fn unanswered(address: &Address, error: &dyn Display) -> Self {
        Miss {
            status: exit::UNAVAILABLE,
            reason: format!("no answer from {address}: {error}"),
            remedy: "; is the daemon running there? --to says where".into(),
            refuses: false,
        }
    }

    fn lacking(address: &Address, what: &str) -> Self {
        Miss::refused(format!(
            "the listener at {address} asks for {what}, which this command has not; name one {}",
            without_tls()
        ))
    }

    fn refused(reason: String) -> Self {
        Miss { status: 1, reason, remedy: "".into(), refuses: false }
    }

    fn fail(&self) -> ExitCode {
        fail(self.status, &format!("{}{}", self.reason, self.remedy))
    }
}

fn put_reload(own: &ArgMatches, registry: Registry<'_>, dry_run: bool) -> ExitCode {
    let mut search = match Search::of(own, registry) {
        Ok(search) => search,
        Err(status) => return status,
    };
    let mut misses = Vec::new();
    for place in std::mem::take(&mut search.places) {
        match Daemon::at(place, &search) {
            Ok(daemon) => return daemon.reload(dry_run),
            Err(miss) => misses.push(miss),
        }
    }
    not_found(&search, &misses)
}

impl Daemon {
    /// The daemon at a place, if it is the one that is looked for; nothing is changed in it.
    fn at(place: Place, search: &Search<'_>) -> Result<Self, Miss> {
        let Place { address, token } = place;
        let unanswered = |error: String| Miss::unanswered(&address, &error);
        let mut connection = Connection::open(&address, token).map_err(unanswered)?;
        let about = connection.ask(Method::GET, "/plugins").map_err(unanswered)?;
        if let Some(what) = about.lacks {
            let remedy = "; a SIGHUP needs none".into();
            return Err(Miss { remedy, refuses: true, ..Miss::lacking(&address, what) });
        }
        if about.text("name") != "vitald" {
            return Err(Miss::refused(format!(
                "what answers at {address} is not a vitald that can be administered: it says {} to /plugins",
                about.status
            )));
        }
        if about.body["admin"] != Value::Bool(true) {
            // The daemon says why; were it to agree by now, a dry run would change nothing.
            let path = "/plugins/reload?dry_run=true";
            let refusal = connection.ask(Method::PUT, path).map_err(unanswered)?;
            return Err(match refusal.status {
                StatusCode::NOT_FOUND => {
                    let on = search.others().into_iter().find(|other| administers(other, &about));
                    let remedy = match on {
                        Some(Place { address, .. }) => format!("; it is on at {address}").into(),
                        None => {
                            "; --config or --to names another listener, and a SIGHUP needs neither"
                                .into()
                        }
                    };
                    let reason = format!("administration is off on the listener at {address}");
                    Miss { remedy, refuses: true, ..Miss::refused(reason) }
                }
                status => {
                    let reason = format!("the daemon at {address} refuses: {}", refusal.refusal());
                    let remedy = remedy_of(status);
                    Miss { remedy: remedy.into(), refuses: true, ..Miss::refused(reason) }
                }
            });
        }
        let hash = about.body["hash"].clone();
        let read = about.body["config_file"].as_str().map(str::to_owned);
        if let Some(wanted) = search.file.as_deref()
            && !read.as_ref().is_some_and(|read| is_same(Path::new(read), wanted))
        {
            let read = read.as_deref().unwrap_or("no file");
            let wanted = wanted.display();
            return Err(Miss::refused(format!(
                "the daemon at {address} reads {read}, not {wanted}"
            )));
        }
        Ok(Daemon { connection, address, file: read, hash })
    }

    fn reload(mut self, dry_run: bool) -> ExitCode {
        let path = if dry_run { "/plugins/reload?dry_run=true" } else { "/plugins/reload" };
        let answer = match self.connection.ask(Method::PUT, path) {
            Ok(answer) => answer,
            Err(error) => return Miss::unanswered(&self.address, &error).fail(),
        };
        let file = self.file.as_deref().unwrap_or("no configuration file");
        let daemon = format!("the daemon at {} reads {file}", self.address);
        if answer.status == StatusCode::OK {
            return print(&printable(&format!("{daemon}\n{}", report(&answer.body, &self.hash))));
        }
        let is_wrong = answer.status == StatusCode::UNPROCESSABLE_ENTITY;
        let status = if is_wrong { exit::CONFIG } else { 1 };
        // What a service's own command says is in the log of the service, where the daemon has said it already.
        if log::is_journal() && std::env::var_os("MAINPID").is_some() {
            return fail(status, &format!("{daemon}: {}; its log says why", answer.text("title")));
        }
        for mistake in answer.body["mistakes"].as_array().into_iter().flatten() {
            complain(&mistake["text"].as_str().unwrap_or_default());
        }
        for fault in answer.body["faults"].as_array().into_iter().flatten() {
            complain(&fault.as_str().unwrap_or_default());
        }
        fail(status, &format!("{daemon}: {}", answer.refusal()))
    }
}

/// What lets this command administer where it may not.
fn remedy_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => {
            "; run this command as root or as the daemon's user, or one of them may send the daemon a SIGHUP"
        }
        StatusCode::UNAUTHORIZED => "; --token-file names the file with the token",
        _ => "",
    }
}

/// Whether the daemon that has said this can be administered at a place.
fn administers(place: &Place, about: &Answer) -> bool {
    let connection = Connection::open(&place.address, place.token.clone());
    let there = connection.and_then(|mut connection| connection.ask(Method::GET, "/plugins"));
    there.is_ok_and(|there| {
        let is_same = |key: &str| there.body[key] == about.body[key];
        there.body["admin"] == Value::Bool(true)
            && ["name", "hash", "applied_timestamp_seconds"].into_iter().all(is_same)
    })
}

/// Says why no daemon was asked to reload.
fn not_found(search: &Search<'_>, misses: &[Miss]) -> ExitCode {
    if search.is_given()
        && let [miss] = misses
    {
        return miss.fail();
    }
    search.mistakes.iter().for_each(|mistake| complain(mistake));
    // The one that refuses is the one to go on with: what it says comes last.
    let refusal = misses.iter().find(|miss| miss.refuses && !search.lacks_admin);
    for miss in misses.iter().filter(|miss| refusal.is_none_or(|one| !std::ptr::eq(one, *miss))) {
        complain(&format_args!("vitald: {}", miss.reason));
    }
    if let Some(refusal) = refusal {
        return refusal.fail();
    }
    let conclusion = match &search.file {
        Some(file) if search.lacks_admin => format!(
            "no listener of {} takes administration by this command: send the daemon a SIGHUP, or let it listen on a \
             socket, too, such as \"{SERVICE_SOCKET}\"",
            file.display()
        ),
        Some(file) => format!(
            "no daemon that reads {} was found: --to says where it listens, and a SIGHUP needs no address",
            file.display()
        ),
        None => {
            "no daemon that this user may administer was found: --config or --to says which one is \
                 meant, and a SIGHUP needs no address"
                .to_owned()
        }
    };
    fail(exit::UNAVAILABLE, &conclusion)
}

/// Whether two paths name one file; also while there is none.
fn is_same(read: &Path, wanted: &Path) -> bool {
    std::path::absolute(wanted).is_ok_and(|wanted| wanted == read)
        || matches!((read.canonicalize(), wanted.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What a report names: a name, or a listener with what has changed of it.
fn named(one: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match one["what"].as_array() {
        Some(what) => {
            let what: Vec<String> = what.iter().map(text).collect();
            format!("{} ({})", text(&one["address"]), what.join(", "))
        }
        None => text(one),
    }
}

/// What a report says, where the configuration of this hash was in force before.
fn report(told: &Value, before: &Value) -> String {
    let mut text = String::new();
    let mut changes = told["hash"] != *before;
    for (group, noun) in [("", "collectors"), ("outputs", "outputs"), ("listeners", "listeners")] {
        let lists = if group.is_empty() { told } else { &told[group] };
        for what in ["started", "stopped", "changed", "unchanged"] {
            let names: Vec<String> =
                lists[what].as_array().into_iter().flatten().map(named).collect();
            if !names.is_empty() {
                changes |= what != "unchanged";
                text += &format!("{noun} {what}: {}\n", names.join(", "));
            }
        }
    }
    for degraded in told["degraded"].as_array().into_iter().flatten() {
        let word = |key: &str| degraded[key].as_str().unwrap_or_default().to_owned();
        text += &format!("degraded: {}: {}\n", word("name"), word("reason"));
    }
    for warning in told["warnings"].as_array().into_iter().flatten() {
        text += &format!("warning: {}\n", warning.as_str().unwrap_or_default());
    }
    let is_dry = told["dry_run"] == Value::Bool(true);
    let (verb, which) = match (is_dry, changes) {
        (true, true) => ("would be applied", "now "),
        (true, false) => ("is in force: nothing would change", "now "),
        (false, _) => ("applied", ""),
    };
    let hash = told["hash"].as_str().unwrap_or_default();
    text + &format!("configuration {hash} {verb}; {which}generation {}\n", told["generation"])
}
