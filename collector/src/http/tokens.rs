//! The tokens of listeners, as they are asked for by requests.

use super::request::Request;
use crate::contained::Contained;
use crate::plan::TokenFile;
use crate::secret::Secret;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use warp::http::header;

/// How long reading a file may take, the wait for others who read it included.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long another token than the one that was read last is refused without reading the file again: who
/// guesses has it read ten times a second and not more. For the right one it is read each time, so that one
/// that was taken back is refused at once.
const REFUSED: Duration = Duration::from_millis(100);

/// What is in the files of tokens. They are read off the thread that serves.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<TokenFile, Arc<Entry>>>>);

struct Entry {
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
    /// Whether a request shows the token of a file.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub(super) async fn shown_by(
        &self,
        request: &Request,
        file: &TokenFile,
    ) -> Result<bool, Arc<str>> {
        let Some(shown) = request.header(header::AUTHORIZATION).and_then(bearer) else {
            return Ok(false);
        };
        let entry = self.entry(file);
        if let Some(known) = lock(&entry.known).as_ref().filter(|one| one.at.elapsed() < REFUSED) {
            match known.is_shown_by(shown) {
                Ok(true) => {}
                refused => return refused,
            }
        }
        // On a task of its own: the turn must not pass on when the client goes away.
        let read = tokio::spawn(Arc::clone(&entry).read(file.clone(), Instant::now())).await;
        let shown = read.map_err(|error| Arc::from(error.to_string()))?.is_shown_by(shown);
        entry.report(shown.as_ref().err());
        shown
    }

    fn entry(&self, file: &TokenFile) -> Arc<Entry> {
        let mut entries = lock(&self.0);
        if let Some(entry) = entries.get(file) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry {
            reading: Contained::new("token file", "reading the file of a token"),
            turn: Arc::default(),
            known: Mutex::default(),
            reported: Mutex::default(),
        });
        entries.insert(file.clone(), Arc::clone(&entry));
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
    async fn read(self: Arc<Self>, file: TokenFile, asked: Instant) -> Known {
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
        let token = match self.reading.run(left, move || file.read()).await {
            Ok(token) => token.map_err(Arc::from),
            Err(error) => return failed(error.to_string()),
        };
        let known = Known { token, at };
        *lock(&self.known) = Some(known.clone());
        known
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn tokens_in_headers() {
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
