//! The date of an answer when the clock has been set back.
//!
//! hyper writes `Date:` from a text that it keeps until the clock is beyond it: of a clock that was an hour fast, for an
//! hour. Where that is so, an answer gets a date of its own, which hyper leaves as it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use warp::http::HeaderValue;
use warp::http::header::{DATE, HeaderMap};

/// That of all answers: the thread that serves has one text for all connections, and never a later one.
pub(super) static LATEST: Latest = Latest::new();

/// The latest second in which an answer was made.
#[derive(Debug)]
pub(super) struct Latest(AtomicU64);

impl Latest {
    const fn new() -> Self {
        Latest(AtomicU64::new(0))
    }

    /// Gives an answer of now its date, if an earlier one was made at a later one.
    pub(super) fn correct(&self, now: SystemTime, headers: &mut HeaderMap) {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.0.fetch_max(second, Ordering::Relaxed) <= second || headers.contains_key(DATE) {
            return;
        }
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        if let Ok(date) = HeaderValue::try_from(date) {
            headers.insert(DATE, date);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_was_set_back_is_corrected() {
        let latest = Latest::new();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let date = |seconds| {
            let mut headers = HeaderMap::new();
            latest.correct(at(seconds), &mut headers);
            headers.get(DATE).map(|date| date.to_str().expect("text").to_owned())
        };
        assert_eq!((date(784_111_777), date(784_111_777), date(784_111_778)), (None, None, None));
        assert_eq!(date(784_108_177).as_deref(), Some("Sun, 06 Nov 1994 07:49:37 GMT"));
        assert_eq!(date(784_111_777).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(784_111_778), None);
        // Before 1970 there is none to be written.
        latest.correct(UNIX_EPOCH - Duration::from_secs(1), &mut HeaderMap::new());
    }
}
