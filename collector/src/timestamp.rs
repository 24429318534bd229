//! Times as text, whatever the clock says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first second of the year 10000, for which RFC 3339 has no text.
const TOO_LATE_SECONDS: u64 = 253_402_300_800;

/// RFC 3339 in UTC with milliseconds. A clock that is before 1970 or after 9999 shows the nearest
/// time that has a text.
pub(crate) fn with_milliseconds(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(shown(time)).to_string()
}

/// The same with whole seconds.
pub(crate) fn with_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(shown(time)).to_string()
}

fn shown(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UNIX_EPOCH + since.min(Duration::from_secs(TOO_LATE_SECONDS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clock_has_a_text() {
        let far = Duration::from_secs(1 << 40);
        assert_eq!(with_milliseconds(UNIX_EPOCH - far), "1970-01-01T00:00:00.000Z");
        assert_eq!(with_seconds(UNIX_EPOCH + far), "9999-12-31T23:59:59Z");
        assert_eq!(
            with_milliseconds(UNIX_EPOCH + Duration::from_millis(1)),
            "1970-01-01T00:00:00.001Z"
        );
    }
}
