//! How long a socket may wait for its part of an exchange.

use std::io;
use std::time::{Duration, Instant};

use crate::errno::ETIMEDOUT;

/// What is left until the deadline, as a timeout of a socket; `ETIMEDOUT` once it has passed.
pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from_raw_os_error(ETIMEDOUT)),
        // The system's clock for timeouts is coarser, and takes 0 for no timeout at all.
        left => Ok(left.max(Duration::from_millis(1))),
    }
}
