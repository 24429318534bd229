//! The tokens of listeners, as they are asked for by requests.

use crate::contained::{Contained, ContainedError};
use crate::plan::{Serve, TokenFile};
use crate::secret::Secret;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long reading a file may take, the wait for others who read it included.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long another token than the one that was read last is refused without reading the file again: who
/// guesses has it read ten times a second and not more. For the right one it is read each time, so that one
/// that was taken back is refused at once.
const REFUSED: Duration = Duration::from_millis(100);

/// The files of tokens that are known, each once: whichever listeners name one, a single thread at a time reads it.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<TokenFile, Weak<Entry>>>);

/// The files of tokens that the rules of a listener name, once they have been asked for. What is known of a file goes
/// with the last rules that name it.
#[derive(Default)]
pub(super) struct OwnTokens(Mutex<Vec<Arc<Entry>>>);

/// What is known of a file. It is read off the thread that serves.
struct Entry {
    file: TokenFile,
    /// One that hangs holds up no other one.
    reading: Contained,
    /// Requests that want it to be read wait for each other here.
    turn: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Option<Known>>,
    /// Why the file cannot be used, as it was logged.
    reported: Mutex<Option<Arc<str>>>,
}

/// What was read last, or why it could not be.
#[derive(Clone)]
struct Known {
    token: Result<Secret, Arc<str>>,
    /// When the reading began.
    at: Instant,
}

impl Known {
    fn is_shown_by(&self, shown: &str) -> Result<bool, Arc<str>> {
        self.token.as_ref().map(|token| token.is(shown.as_bytes())).map_err(Arc::clone)
    }
}

impl Tokens {
    /// Whether a request that came under the rules with these tokens, and shows this as its `Authorization`, shows the
    /// token of a file.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub(super) async fn shown_by(
        &self,
        authorization: Option<&str>,
        own: &OwnTokens,
        file: &TokenFile,
    ) -> Result<bool, Arc<str>> {
        let Some(shown) = authorization.and_then(bearer) else { return Ok(false) };
        let entry = own.entry(file, self);
        if let Some(known) = lock(&entry.known).as_ref().filter(|one| one.at.elapsed() < REFUSED) {
            match known.is_shown_by(shown) {
                Ok(true) => {}
                refused => return refused,
            }
        }
        // On a task of its own: the turn must not pass on when the client goes away.
        let read = tokio::spawn(Arc::clone(&entry).read(Instant::now())).await;
        let shown = read.map_err(|error| Arc::from(error.to_string()))?.is_shown_by(shown);
        entry.report(shown.as_ref().err());
        shown
    }

    fn entry(&self, file: &TokenFile) -> Arc<Entry> {
        let mut entries = lock(&self.0);
        if let Some(entry) = entries.get(file).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry {
            file: file.clone(),
            reading: Contained::parked("token file", "reading the file of a token"),
            turn: Arc::default(),
            known: Mutex::default(),
            reported: Mutex::default(),
        });
        entries.retain(|_, entry| entry.strong_count() > 0);
        entries.insert(file.clone(), Arc::downgrade(&entry));
        entry
    }
}

impl OwnTokens {
    /// Those of them that a listener has that is to serve this.
    pub(super) fn of(&self, serve: &Serve) -> Self {
        let is_named = |entry: &&Arc<Entry>| serve.token_files().any(|file| *file == entry.file);
        OwnTokens(Mutex::new(lock(&self.0).iter().filter(is_named).cloned().collect()))
    }

    fn entry(&self, file: &TokenFile, tokens: &Tokens) -> Arc<Entry> {
        let mut own = lock(&self.0);
        if let Some(entry) = own.iter().find(|entry| entry.file == *file) {
            return Arc::clone(entry);
        }
        let entry = tokens.entry(file);
        own.push(Arc::clone(&entry));
        entry
    }
}

impl Entry {
    /// Logs why the file cannot be used, once until it can be or there is another reason: any client may ask as
    /// often as it likes.
    fn report(&self, error: Option<&Arc<str>>) {
        let before = std::mem::replace(&mut *lock(&self.reported), error.cloned());
        if let Some(error) = error.filter(|error| before.as_ref() != Some(*error)) {
            tracing::error!(error = %error, "the token of a listener cannot be read");
        }
    }

    /// What is in the file now, or was after `asked`.
    async fn read(self: Arc<Self>, asked: Instant) -> Known {
        let failed = |reason: String| Known { token: Err(reason.into()), at: Instant::now() };
        let deadline = asked + TIMEOUT;
        let Ok(_turn) = tokio::time::timeout_at(deadline, self.turn.lock()).await else {
            return failed("too many other requests wait for the file of a token".to_owned());
        };
        if let Some(known) = lock(&self.known).as_ref().filter(|known| known.at >= asked) {
            return known.clone();
        }
        let at = Instant::now();
        let left = deadline.saturating_duration_since(at);
        // While it hangs the file stays known, so that no second thread hangs at it.
        let entry = Arc::clone(&self);
        let token = match self.reading.run(left, move || entry.file.read()).await {
            Ok(token) => token.map_err(Arc::from),
            // Not in the words of the error, which say for how long: each time they would be another reason to log.
            Err(ContainedError::TimedOut(..) | ContainedError::StillBusy(..)) => {
                return failed(hangs(&self.file));
            }
            Err(error) => return failed(error.to_string()),
        };
        let known = Known { token, at };
        *lock(&self.known) = Some(known.clone());
        known
    }
}

fn hangs(file: &TokenFile) -> String {
    format!("{file}: reading it hangs; look at the file system that it is on")
}

/// The token of `Bearer TOKEN`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Admin;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn tokens_in_headers() {
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("Bearer"), None);
    }

    fn token_file(directory: &Path, token: &str) -> TokenFile {
        let path = directory.join(token);
        std::fs::write(&path, token).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        TokenFile::Path(path)
    }

    #[tokio::test]
    async fn what_no_listener_names_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tokens, mut own) = (Tokens::default(), OwnTokens::default());
        let reader = token_file(directory.path(), "reader");
        let shown = |text: &str| format!("Bearer {text}");
        let mut of_reader = None;
        for number in 0..100 {
            let name = format!("admin{number}");
            let admin = token_file(directory.path(), &name);
            let mut serve = Serve::with(Admin::Token(admin.clone()));
            serve.token_file = Some(reader.clone());
            own = own.of(&serve);
            let is_admin = tokens.shown_by(Some(&shown(&name)), &own, &admin).await;
            assert_eq!(is_admin, Ok(true));
            let is_reader = tokens.shown_by(Some(&shown("reader")), &own, &reader).await;
            assert_eq!(is_reader, Ok(true));
            assert_eq!(lock(&own.0).len(), 2);
            assert!(lock(&tokens.0).len() <= 3, "{}", lock(&tokens.0).len());
            // What stays is not begun anew: a fault that was logged is not logged again.
            let same = own.entry(&reader, &tokens);
            assert!(of_reader.is_none_or(|before| Arc::ptr_eq(&before, &same)));
            of_reader = Some(same);
        }
        drop((own, of_reader));
        assert!(lock(&tokens.0).values().all(|entry| entry.strong_count() == 0));
    }

    #[test]
    fn listeners_that_name_one_file_share_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = token_file(directory.path(), "shared");
        let (tokens, one, other) = (Tokens::default(), OwnTokens::default(), OwnTokens::default());
        let entry = one.entry(&file, &tokens);
        assert!(Arc::ptr_eq(&entry, &other.entry(&file, &tokens)));
        // While a thread hangs at it, no other rules start another one.
        let hanging = Arc::clone(&entry);
        drop((entry, one, other));
        assert!(Arc::ptr_eq(&hanging, &OwnTokens::default().entry(&file, &tokens)));
    }

    #[tokio::test]
    async fn a_file_that_hangs_is_always_said_to_hang_and_may_come_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = token_file(directory.path(), "late");
        let (tokens, own) = (Tokens::default(), OwnTokens::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let reading = own.entry(&file, &tokens).reading.clone();
        let hung = reading.begin(move || held.recv().is_err()).expect("a thread");
        let shown = || tokens.shown_by(Some("Bearer late"), &own, &file);
        for _ in 0..2 {
            assert_eq!(shown().await, Err(hangs(&file).into()));
        }
        drop(release);
        drop(hung);
        let until = Instant::now() + Duration::from_secs(60);
        while shown().await != Ok(true) {
            assert!(Instant::now() < until, "it never comes back");
            tokio::task::yield_now().await;
        }
    }
}
