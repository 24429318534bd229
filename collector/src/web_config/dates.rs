//! When certificates are valid, and what is to be said of it while the daemon runs.
//!
//! node_exporter serves with certificates that are not valid, too, and a clock may be wrong, so that is no mistake.

use std::time::{Duration, Instant, SystemTime};

/// How long before its end a certificate is said to expire soon, if it is valid for long.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The last part of their time in which those are that are valid for a short while: who renews them in time does so
/// earlier, mostly after two thirds of it.
const LAST_PART: u32 = 8;
/// How often it is looked at while the daemon runs.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How often the same is said.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate with its dates.
pub(super) struct Dated {
    /// Which one it is, and where it is named.
    pub(super) which: String,
    /// The first and the last second in which it is valid.
    pub(super) validity: (SystemTime, SystemTime),
    /// What is so when it is not valid.
    pub(super) consequence: &'static str,
}

impl Dated {
    /// What is to be said of it at a time, if anything is.
    pub(super) fn said(&self, now: SystemTime) -> Option<String> {
        let Dated { which, validity: (first, last), consequence } = self;
        let at = humantime::format_rfc3339_seconds;
        if now < *first {
            let at = at(*first);
            return Some(format!(
                "{which} is not valid before {at}: {consequence}; is the clock of this machine right?"
            ));
        }
        let Ok(left) = last.duration_since(now) else {
            return Some(format!("{which} expired at {}: {consequence}; renew it", at(*last)));
        };
        let whole = last.duration_since(*first).unwrap_or_default();
        (left < SOON.min(whole / LAST_PART))
            .then(|| format!("{which} expires at {}: then {consequence}; renew it", at(*last)))
    }
}

/// The first and the last second of the certificate that ends first.
pub(super) fn of_the_first_to_end(dates: &[Dated]) -> Option<(SystemTime, SystemTime)> {
    dates.iter().map(|dated| dated.validity).min_by_key(|(_, last)| *last)
}

/// What was said of dates last, and when.
#[derive(Clone)]
pub(super) struct Told {
    said: Vec<String>,
    at: Instant,
    pub(super) looked: Instant,
}

impl Told {
    /// Of these it has been said just now, or earlier if it was the same.
    pub(super) fn of(dates: &[Dated], earlier: Option<Told>) -> Self {
        let (said, looked) = (said(dates, SystemTime::now()), Instant::now());
        let at =
            earlier.filter(|earlier| earlier.said == said).map_or(looked, |earlier| earlier.at);
        Told { said, at, looked }
    }

    /// What is to be said again: what is new since the last time, and once a day what is as it was. The clock may be
    /// set meanwhile, so days are counted without it.
    pub(super) fn news(&mut self, dates: &[Dated], now: SystemTime, at: Instant) -> Vec<String> {
        if at.saturating_duration_since(self.looked) < LOOK {
            return Vec::new();
        }
        self.looked = at;
        let now = said(dates, now);
        if now == self.said && at.saturating_duration_since(self.at) < AGAIN {
            return Vec::new();
        }
        *self = Told { said: now.clone(), at, looked: at };
        now
    }
}

fn said(dates: &[Dated], now: SystemTime) -> Vec<String> {
    dates.iter().filter_map(|dated| dated.said(now)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).expect("a date")
    }

    fn dated(first: &str, last: &str) -> Dated {
        Dated {
            which: "c".to_owned(),
            validity: (at(first), at(last)),
            consequence: "nobody comes in",
        }
    }

    #[test]
    fn an_end_is_announced_early_enough_and_not_earlier() {
        let year = dated("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(year.said(at("2026-12-18T00:00:00Z")), None);
        let said = year.said(at("2026-12-18T00:00:01Z")).expect("it is soon");
        assert_eq!(said, "c expires at 2027-01-01T00:00:00Z: then nobody comes in; renew it");
        assert!(year.said(at("2027-01-01T00:00:00Z")).expect("soon").contains("expires at"));
        assert!(year.said(at("2027-01-01T00:00:01Z")).expect("it is over").contains("expired at"));
        assert!(year.said(at("2025-01-01T00:00:00Z")).expect("early").contains("not valid before"));
        // What is renewed every few hours is not said to expire all its life.
        let day = dated("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert_eq!(day.said(at("2026-01-01T20:59:00Z")), None);
        assert!(day.said(at("2026-01-01T21:01:00Z")).is_some());
        // Dates that contradict each other.
        let never = dated("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
        assert!(never.said(at("2026-01-03T00:00:00Z")).is_some());
    }

    #[test]
    fn the_first_to_end_is_known() {
        let dates = [
            dated("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
            dated("2026-02-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ];
        assert_eq!(of_the_first_to_end(&dates), Some(dates[1].validity));
        assert_eq!(of_the_first_to_end(&[]), None);
    }

    #[test]
    fn what_is_new_is_said_at_once_and_the_same_once_a_day() {
        let dates = [dated("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z")];
        let began = Instant::now();
        let mut told = Told::of(&dates, None);
        let mut news = |now: &str, hours: u32| {
            let news = told.news(&dates, at(now), began + LOOK * hours + LOOK / 2);
            news.concat().split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(news("2099-12-20T00:00:00Z", 0), "", "it was looked at just now");
        assert_eq!(news("2099-12-01T00:00:00Z", 48), "");
        assert_eq!(news("2099-12-20T00:00:00Z", 49), "expires");
        assert_eq!(news("2099-12-20T23:00:00Z", 72), "");
        // The clock stands still, or is set.
        assert_eq!(news("2099-12-20T00:00:00Z", 73), "expires");
        assert_eq!(news("2100-02-01T00:00:00Z", 74), "expired");
        assert_eq!(news("2100-02-01T01:00:00Z", 75), "");
        assert_eq!(news("2099-12-01T00:00:00Z", 76), "");
        assert_eq!(news("2099-12-31T00:00:00Z", 77), "expires");
        // A reload does not begin the day anew, and another certificate does.
        let soon = SystemTime::now() + Duration::from_secs(60);
        let [mut soon_over] = dates;
        soon_over.validity.1 = soon;
        let dates = [soon_over];
        let first = Told::of(&dates, None);
        let before = began - Duration::from_secs(1);
        let earlier = || Some(Told { at: before, ..first.clone() });
        assert_eq!((Told::of(&dates, earlier()).at, first.said.len()), (before, 1));
        assert!(Told::of(&[], earlier()).at >= began);
    }
}
