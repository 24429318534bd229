//! The packets of NTP, and the arithmetic of their times (RFC 5905).

use std::time::Duration;

use vitald_core::host::ExchangeTimes;
use vitald_core::prelude::Malformed;

/// In nanoseconds.
pub(super) const SECOND: i64 = 1_000_000_000;
/// MAXDISP of RFC 5905.
const LARGEST_DISPERSION: i64 = 16 * SECOND;
/// The longest time between two queries, 2^17 s (MAXPOLL of RFC 5905): a server asks its own as often.
const LONGEST_POLL: i64 = (1 << 17) * SECOND;
/// From 1900, where the protocol counts from, to 1970.
pub(super) const SECONDS_TO_1970: u64 = 2_208_988_800;

/// What a server says; times and durations in nanoseconds, times since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) leap: u8,
    pub(super) stratum: u8,
    pub(super) root_delay: i64,
    pub(super) root_dispersion: i64,
    pub(super) reference: i64,
    /// When it answered.
    pub(super) time: i64,
    /// When it received the query and when it answered, as the protocol has it.
    pub(super) received: u64,
    pub(super) transmitted: u64,
}

/// What follows from a reply and from when it came, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) reply: Reply,
    pub(super) round_trip: i64,
    pub(super) offset: i64,
    pub(super) root_distance: i64,
    /// By how much the query was received before it was sent, or the answer.
    pub(super) contradiction: i64,
}

pub(super) fn request(version: u8, cookie: u64) -> [u8; 48] {
    const CLIENT: u8 = 3;
    let mut request = [0; 48];
    request[0] = version << 3 | CLIENT;
    // A precision that says nothing, as the IETF's draft on data minimization has it.
    request[3] = 0x20;
    request[40..].copy_from_slice(&cookie.to_be_bytes());
    request
}

impl Reply {
    /// Takes a server's answer to the query with that cookie.
    pub(super) fn parse(packet: &[u8], cookie: u64) -> Result<Reply, Malformed> {
        const SERVER: u8 = 4;
        let packet: &[u8; 48] =
            packet.first_chunk().ok_or(Malformed::new(packet.len(), "a header of 48 bytes"))?;
        let short = |at: usize| {
            let fraction = u32::from_be_bytes([0, 1, 2, 3].map(|byte| packet[at + byte]));
            nanoseconds(u64::from(fraction) << 16)
        };
        let long =
            |at: usize| u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| packet[at + byte]));
        let (received, transmitted) = (long(32), long(40));
        if packet[0] & 7 != SERVER {
            return Err(Malformed::new(0, "the answer of a server"));
        }
        if transmitted == 0 {
            return Err(Malformed::new(40, "when it was sent"));
        }
        if long(24) != cookie {
            return Err(Malformed::new(24, "the cookie of the query"));
        }
        if received > transmitted {
            return Err(Malformed::new(32, "a time before the answer was sent"));
        }
        Ok(Reply {
            leap: packet[0] >> 6,
            stratum: packet[1],
            root_delay: short(4),
            root_dispersion: short(8),
            reference: since_epoch(long(16)),
            time: since_epoch(transmitted),
            received,
            transmitted,
        })
    }

    pub(super) fn measured(self, times: ExchangeTimes) -> Measured {
        let (sent, back) = (timestamp(times.sent), timestamp(times.received));
        // Differences are right across the end of an era, too.
        let difference = |a: u64, b: u64| a.wrapping_sub(b) as i64;
        let there = difference(self.received, sent);
        let here = difference(self.transmitted, back);
        let round_trip = there.wrapping_sub(here).max(0);
        let offset = there.wrapping_add(here.wrapping_sub(there) / 2);
        let round_trip = nanoseconds(round_trip as u64);
        Measured {
            reply: self,
            round_trip,
            offset: offset.signum() * nanoseconds(offset.unsigned_abs()),
            root_distance: (round_trip + self.root_delay) / 2 + self.root_dispersion,
            contradiction: nanoseconds(there.wrapping_neg().max(here).max(0) as u64),
        }
    }

    /// Whether a client may set its clock by it (RFC 5905, A.5.1.1).
    pub(super) fn is_valid(&self) -> bool {
        (1..16).contains(&self.stratum)
            && self.leap != 3
            && self.root_delay / 2 + self.root_dispersion <= LARGEST_DISPERSION
            && (0..=LONGEST_POLL).contains(&(self.time - self.reference))
    }
}

/// Turns seconds with 32 bits behind the point into nanoseconds, rounded.
pub(super) fn nanoseconds(fixed: u64) -> i64 {
    let whole = (fixed >> 32) * SECOND as u64;
    let fraction = (fixed & u64::from(u32::MAX)) * SECOND as u64;
    (whole + ((fraction + (1 << 31)) >> 32)) as i64
}

/// Turns a time of the protocol into nanoseconds since the epoch. What would be before 1970 is after
/// 7 February 2036, when the count begins anew, also 0, by which a server says that it has none.
pub(super) fn since_epoch(fixed: u64) -> i64 {
    let era = if fixed >> 32 < SECONDS_TO_1970 { 1 << 32 } else { 0 };
    nanoseconds(fixed) + (era - SECONDS_TO_1970 as i64) * SECOND
}

/// Turns a time since the epoch into one of the protocol.
pub(super) fn timestamp(time: Duration) -> u64 {
    let second = SECOND as u64;
    let fraction = ((u64::from(time.subsec_nanos()) << 32) + second / 2) / second;
    (time.as_secs().wrapping_add(SECONDS_TO_1970) << 32).wrapping_add(fraction)
}

/// Nanoseconds as Go's `Duration.Seconds` gives them.
pub(super) fn seconds(nanoseconds: i64) -> f64 {
    (nanoseconds / SECOND) as f64 + (nanoseconds % SECOND) as f64 / SECOND as f64
}
