//! A web configuration that is in force, and its files, which may change.
//!
//! Each request and each handshake asks whether it is fresh. At most once a second that has a thread look whether one
//! of the files is another one or has been written to, and waits for the thread, but not for long: a file
//! may be where looking hangs. What has changed is read; if it is right it is in force from then on. If not,
//! what was in force stays, and that is said once.
//!
//! A reload never changes one that is in force: it reads another one, which the listeners get with all else that they
//! are to serve.

use super::dates::{Dated, Told, of_the_first_to_end};
use super::decode::{Notebook, Rate, decode};
use super::files::Files;
use super::protection::Protection;
use super::rate::Bucket;
use super::tls::{self, ClientRule, Tls};
use super::users::{Answer, Passwords, Users};
use crate::client_key::ClientKey;
use crate::contained::{Contained, ContainedError};
use crate::sync::lock;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::settings::{Mistake, Origin};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

/// How long the files are taken to be as they were.
const FRESH: Duration = Duration::from_secs(1);
/// How long a request or a handshake waits for the thread that looks.
const LOOK_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a request waits for the check of its password.
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a web configuration comes to.
pub(crate) struct Content {
    tls: Option<Tls>,
    headers: HeaderMap,
    users: Users,
    rate: Option<Rate>,
    notes: Vec<String>,
    dates: Vec<Dated>,
}

impl Content {
    /// What it does for its listener.
    pub(super) fn protection(&self) -> Protection {
        Protection {
            encrypts: self.tls.is_some(),
            wants_passwords: !self.users.is_empty(),
            verifies_clients: self.tls.as_ref().is_some_and(|tls| tls.clients.verifies()),
        }
    }

    /// What TLS is served with, if it is.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The headers of every answer.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// A web configuration, as the start or a reload has read it and as its files have changed since.
pub(crate) struct WebConfig {
    path: PathBuf,
    /// A listener with it asks for a token, so that it may have no users.
    is_beside_token: bool,
    passwords: Arc<Passwords>,
    content: RwLock<Arc<Content>>,
    state: Mutex<State>,
    looking: Contained,
    is_well: AtomicBool,
}

struct State {
    /// The files as they were when they were last read.
    files: Files,
    looked: Instant,
    faults: Faults,
    /// What was said last of the dates of its certificates.
    told: Told,
}

/// What is wrong, if something is.
#[derive(Clone, Default, PartialEq)]
struct Faults {
    /// With what the files say.
    content: Option<String>,
    /// With looking at them.
    looking: Option<String>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It came in the clear, and TLS has been switched on since.
    NotEncrypted,
    /// Its connection has shaken hands when other certificates were asked of clients, or none.
    OtherCertificates,
    /// There are too many.
    TooMany,
    /// It does not show a user's password.
    Unauthorized,
    /// Too many passwords are being checked.
    Busy,
}

/// Reads a file, which mistakes call by a name, and all that it names; beside the content, what is to be watched.
pub(super) fn read(
    path: &Path,
    name: &Path,
    passwords: &Passwords,
) -> (Result<Content, Vec<Mistake>>, Files) {
    let (mut files, mut book) = (Files::default(), Notebook::new(name));
    let content = read_into(path, passwords, &mut files, &mut book);
    let mistakes = book.mistakes.into_sorted();
    let content = match content {
        Some(content) if mistakes.is_empty() => Ok(content),
        _ => Err(mistakes),
    };
    (content, files)
}

fn read_into(
    path: &Path,
    passwords: &Passwords,
    files: &mut Files,
    book: &mut Notebook,
) -> Option<Content> {
    let whole = |book: &Notebook| Origin::WholeFile(Arc::clone(&book.file));
    let bytes = match files.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            book.mistakes.add(whole(book), "", format!("cannot be read: {error}"));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        book.mistakes.add(whole(book), "", "it is not UTF-8");
        return None;
    };
    // Relative paths in the file begin where it is.
    let directory = path.parent().unwrap_or(Path::new(""));
    let written = decode(&text, directory, book)?;
    let tls = match &written.tls {
        Some(written) => Some(tls::build(written, files, book)?),
        None => None,
    };
    let headers = written.headers.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    });
    Some(Content {
        tls,
        headers: headers.collect(),
        users: passwords.users(written.users),
        rate: written.rate,
        notes: std::mem::take(&mut book.notes),
        dates: std::mem::take(&mut book.dates),
    })
}

impl WebConfig {
    /// Reads a file, which may hang, as any file may. What has been checked for an `earlier` one of the same file
    /// need not be checked again, and no second thread looks at the file.
    ///
    /// # Errors
    ///
    /// Every mistake in it and in the files that it names.
    pub(crate) fn read(
        path: &Path,
        is_beside_token: bool,
        earlier: Option<&WebConfig>,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let passwords = match earlier {
            Some(earlier) => Arc::clone(&earlier.passwords),
            None => Passwords::new().map_err(|message| {
                let origin = Origin::WholeFile(path.to_string_lossy().into());
                vec![Mistake { origin, path: String::new(), message }]
            })?,
        };
        let looking = earlier.map_or_else(
            || Contained::parked("web config", "looking at the files of a web configuration"),
            |earlier| earlier.looking.clone(),
        );
        let looked = Instant::now();
        let (content, files) = read(path, path, &passwords);
        let content = content?;
        let told = earlier.map(|earlier| lock(&earlier.state).told.clone());
        let told = Told::of(&content.dates, told);
        Ok(Arc::new(WebConfig {
            path: path.to_owned(),
            is_beside_token,
            passwords,
            content: RwLock::new(Arc::new(content)),
            state: Mutex::new(State { files, looked, faults: Faults::default(), told }),
            looking,
            is_well: AtomicBool::new(true),
        }))
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is in force is what the files say.
    pub(crate) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
    }

    /// The first and the last second in which that of its certificates is valid that ends first.
    pub(crate) fn certificate_validity(&self) -> Option<(SystemTime, SystemTime)> {
        of_the_first_to_end(&self.content().dates)
    }

    /// What it does for its listener.
    pub(crate) fn protection(&self) -> Protection {
        self.content().protection()
    }

    /// What in it is otherwise than it may be meant, a sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.content().notes.clone()
    }

    /// Whether the files have been written to since an earlier one was read, or what they said then was not taken.
    pub(crate) fn differs_from(&self, earlier: &WebConfig) -> bool {
        let files = lock(&earlier.state).files.clone();
        !earlier.is_well() || self.path != earlier.path || lock(&self.state).files != files
    }

    /// Logs what is to be said of its content, if it was not said of an earlier one.
    pub(crate) fn tell_notes(&self, earlier: Option<&WebConfig>) {
        let content = self.content();
        if earlier.is_none_or(|earlier| earlier.content().notes != content.notes) {
            tell_notes(&content.notes);
        }
    }

    /// Logs what is to be said of the dates of its certificates now, if that was not said lately.
    fn tell_dates(&self, at: Instant) {
        let content = self.content();
        let news = lock(&self.state).told.news(&content.dates, SystemTime::now(), at);
        tell_notes(&news);
    }

    /// What is in force.
    pub(crate) fn content(&self) -> Arc<Content> {
        Arc::clone(&self.content.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force, after the files have been looked at if that was a while ago.
    pub(crate) async fn fresh(self: &Arc<Self>) -> Arc<Content> {
        {
            let mut state = lock(&self.state);
            if state.looked.elapsed() < FRESH {
                drop(state);
                return self.content();
            }
            state.looked = Instant::now();
        }
        let work = {
            let config = Arc::clone(self);
            move || config.look(Instant::now())
        };
        match self.looking.run(LOOK_TIMEOUT, work).await {
            Ok(()) => {}
            // The next one will see whether it has ended.
            Err(ContainedError::TimedOut(..)) => {}
            // The one before a reload looks for a last time.
            Err(ContainedError::StillBusy(_, since)) if since < FRESH => {}
            // What hangs says each time for how long.
            Err(error) => self.change_faults(|faults| {
                faults.looking.get_or_insert_with(|| error.to_string());
            }),
        }
        self.content()
    }

    /// Looks at the files, and reads them if they have changed.
    fn look(&self, at: Instant) {
        let files = lock(&self.state).files.clone();
        if !files.have_changed() {
            self.change_faults(|faults| faults.looking = None);
            self.tell_dates(at);
            return;
        }
        let (content, mut now) = read(&self.path, &self.path, &self.passwords);
        let (content, fault) = match content {
            Ok(content) => match self.refusal(&content) {
                None => (Some(content), None),
                Some(reason) => (None, Some(format!("{}: {reason}", self.path.display()))),
            },
            Err(mistakes) => {
                let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                (None, Some(mistakes.join("; ")))
            }
        };
        let mut state = lock(&self.state);
        match content {
            Some(content) => {
                state.files = now;
                let notes = content.notes.clone();
                let earlier = self.content();
                state.told = Told::of(&content.dates, Some(state.told.clone()));
                *self.content.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(content);
                drop(state);
                if notes != earlier.notes {
                    tell_notes(&notes);
                }
                tracing::info!(file = %self.path.display(), "the web configuration has changed and is in force");
                // Nothing is wrong any more.
                self.change_faults(|faults| *faults = Faults::default());
            }
            None => {
                // Of a file that is no configuration it is not known which ones it would name.
                now.add(&files);
                state.files = now;
                drop(state);
                self.change_faults(|faults| *faults = Faults { content: fault, looking: None });
            }
        }
    }

    /// Why content that has changed by itself is not taken.
    fn refusal(&self, new: &Content) -> Option<&'static str> {
        if self.is_beside_token && !new.users.is_empty() {
            return Some(
                "it has users, and a listener with it asks for a token, for which a request has the same header",
            );
        }
        weaker(&self.content(), new)
    }

    /// Changes what is wrong, and logs what is new of it.
    fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        let (before, now) = {
            let mut state = lock(&self.state);
            let before = state.faults.clone();
            change(&mut state.faults);
            self.is_well.store(state.faults == Faults::default(), Ordering::Relaxed);
            (before, state.faults.clone())
        };
        let file = self.path.display();
        if now == Faults::default() {
            if before != now {
                tracing::info!(%file, "the web configuration is right again");
            }
            return;
        }
        for (before, now) in [(&before.content, &now.content), (&before.looking, &now.looking)] {
            if let Some(error) = now
                && before != now
            {
                tracing::error!(%file, error, "the web configuration cannot be read again; what was in force stays");
            }
        }
    }

    /// Whether a request may be answered, over a connection that has shaken hands under a rule, if it has.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        content: &Content,
        bucket: &Mutex<Bucket>,
        shaken: Option<&ClientRule>,
        authorization: Option<&[u8]>,
        from: ClientKey,
    ) -> Result<(), Refusal> {
        match (&content.tls, shaken) {
            (Some(_), None) => return Err(Refusal::NotEncrypted),
            (Some(tls), Some(earlier)) if !tls.clients.is_met_after(earlier) => {
                return Err(Refusal::OtherCertificates);
            }
            _ => {}
        }
        if let Some(rate) = content.rate
            && !lock(bucket).takes(rate, Instant::now())
        {
            return Err(Refusal::TooMany);
        }
        if content.users.is_empty() {
            return Ok(());
        }
        let Some(authorization) = authorization else { return Err(Refusal::Unauthorized) };
        let checked = self.passwords.check(&content.users, authorization, from);
        match tokio::time::timeout(PASSWORD_TIMEOUT, checked).await {
            Ok(Answer::Right) => Ok(()),
            Ok(Answer::Wrong) => Err(Refusal::Unauthorized),
            Ok(Answer::Busy) | Err(_) => Err(Refusal::Busy),
        }
    }
}

/// Why a file that has changed by itself is not taken: it would protect less. A program that writes a file in
/// place empties it first, and who wants it so reloads.
fn weaker(now: &Content, new: &Content) -> Option<&'static str> {
    if now.tls.is_some() != new.tls.is_some() {
        return Some("it switches TLS on or off, which takes a reload");
    }
    if !now.users.is_empty() && new.users.is_empty() {
        return Some("it has no users any more, which takes a reload");
    }
    if let (Some(now), Some(new)) = (&now.tls, &new.tls) {
        let (limits, fewer) = (now.limits, new.limits);
        if !new.clients.asks_as(&now.clients) {
            return Some("it asks for other certificates of clients, which takes a reload");
        }
        if limits.has_no_tls12 && !fewer.has_no_tls12 {
            return Some("it lets clients in with TLS 1.2 again, which takes a reload");
        }
        if limits.has_chosen_suites && !fewer.has_chosen_suites {
            return Some("it has no cipher_suites any more, which takes a reload");
        }
        if limits.has_chosen_curves && !fewer.has_chosen_curves {
            return Some("it has no curve_preferences any more, which takes a reload");
        }
    }
    if now.rate.is_some() && new.rate.is_none() {
        return Some("it has no rate_limit any more, which takes a reload");
    }
    if !now.headers.is_empty() && new.headers.is_empty() {
        return Some("it has no headers any more, which takes a reload");
    }
    None
}

fn tell_notes(notes: &[String]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn with_the_files_the_dates_are_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        std::fs::write(&path, "# nothing\n").expect("a file");
        let config = WebConfig::read(&path, false, None).expect("it is right");
        let later = Instant::now() + Duration::from_secs(2 * 60 * 60);
        config.look(later);
        assert_eq!(lock(&config.state).told.looked, later);
        std::fs::write(&path, "# nothing, again\n").expect("a file");
        config.look(later + Duration::from_secs(1));
        assert!(
            lock(&config.state).told.looked < later,
            "what has changed is looked at when it is read"
        );
    }

    /// Chosen suites and no TLS 1.2 are protection, too, and a file that is being written may lack the lines that
    /// say so.
    #[test]
    fn what_protects_less_is_not_taken_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        std::fs::write(folder.path().join("crt"), certified.cert.pem()).expect("a file");
        std::fs::write(folder.path().join("key"), certified.signing_key.serialize_pem())
            .expect("a file");
        let write = |more: &str| {
            let text = format!("tls_server_config:\n  cert_file: crt\n  key_file: key\n{more}");
            std::fs::write(&path, text).expect("a file");
        };
        let suites = |names: &str| format!("  cipher_suites: [{names}]\n");
        let two = suites(
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        );
        let one = suites("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
        for (before, after, reason) in [
            ("  min_version: TLS13\n", "", Some("TLS 1.2 again")),
            ("  min_version: TLS13\n", "  min_version: TLS12\n", Some("TLS 1.2 again")),
            (&one, "", Some("no cipher_suites")),
            ("  curve_preferences: [X25519]\n", "", Some("no curve_preferences")),
            (&one, &two, None),
            ("", &one, None),
            ("", "  min_version: TLS13\n", None),
        ] {
            write(before);
            let config = WebConfig::read(&path, false, None).expect("it is right");
            write(&format!("{after}# written\n"));
            config.look(Instant::now());
            let said = lock(&config.state).faults.content.clone();
            match reason {
                Some(reason) => {
                    let is_said = said.as_ref().is_some_and(|said| said.contains(reason));
                    assert!(is_said && !config.is_well(), "{before}{after}: {said:?}");
                }
                None => assert_eq!(said, None, "{before}{after}"),
            }
        }
    }

    #[tokio::test]
    async fn what_was_checked_before_a_reload_is_known_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let hash = bcrypt::hash("right", 4).expect("a hash");
        std::fs::write(&path, format!("basic_auth_users: {{alice: {hash}}}\n")).expect("a file");
        let read = |earlier: Option<&WebConfig>| {
            WebConfig::read(&path, false, earlier).expect("it is right")
        };
        let bucket = Mutex::default();
        let admit = async |config: Arc<WebConfig>| {
            let credentials = Some(&b"Basic YWxpY2U6cmlnaHQ="[..]);
            config.admit(&config.content(), &bucket, None, credentials, ClientKey::User(None)).await
        };
        // What has to be checked takes a thread.
        let at_once = |config: Arc<WebConfig>| {
            pin!(admit(config)).poll(&mut Context::from_waker(Waker::noop()))
        };
        let first = read(None);
        assert_eq!(admit(Arc::clone(&first)).await, Ok(()));
        assert_eq!(at_once(read(Some(&first))), Poll::Ready(Ok(())));
        assert_eq!(at_once(read(None)), Poll::Pending);
    }
}
