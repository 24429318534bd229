//! The kernel's clocks, and how it disciplines the one of the day.

use std::io;
use std::time::Duration;

/// A clock that the standard library does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Since the epoch, as of the last tick: the clock by which file systems date changes.
    RealtimeCoarse,
    /// Since the system booted, with the time that it was suspended.
    Boottime,
}

/// What a clock says, or nothing where it has no sense as a duration or there is no such clock.
///
/// Through the C library. rustix looks for the kernel's own function in the memory of the process by itself, and
/// under valgrind, which measures the daemon in tests, that memory is not there.
pub fn clock_time(clock: Clock) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let clock = match clock {
            Clock::RealtimeCoarse => libc::CLOCK_REALTIME_COARSE,
            Clock::Boottime => libc::CLOCK_BOOTTIME,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is that of a whole structure of this function.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return None;
        }
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = clock;
        None
    }
}

/// What adjtimex(2) says, in the kernel's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockDiscipline {
    /// The answer: the state of the clock, where 5 (`TIME_ERROR`) is not synchronized.
    pub state: i32,
    /// The `STA_*` bits of `linux/timex.h`.
    pub status: i32,
    /// The offset from the reference, in nanoseconds if the status has `STA_NANO`, else in
    /// microseconds.
    pub offset: i64,
    /// The correction of the frequency, in parts per million shifted left by 16 bits.
    pub frequency: i64,
    /// The largest possible error, in microseconds.
    pub maximum_error: i64,
    /// The estimated error, in microseconds.
    pub estimated_error: i64,
    /// The time constant of the phase-locked loop.
    pub constant: i64,
    /// The time between two ticks, in microseconds.
    pub tick: i64,
    /// The frequency of the pulse per second, in parts per million shifted left by 16 bits.
    pub pps_frequency: i64,
    /// The jitter of the pulse per second, in the unit of the offset.
    pub jitter: i64,
    /// The interval of the pulse per second, as a power of two of seconds.
    pub shift: i32,
    /// The stability of the pulse per second, in parts per million shifted left by 16 bits.
    pub stability: i64,
    /// How often the jitter was too large.
    pub jitter_count: i64,
    /// How many intervals were calibrated.
    pub calibration_count: i64,
    /// How many calibrations failed.
    pub error_count: i64,
    /// How often the stability was exceeded.
    pub stability_count: i64,
    /// International Atomic Time less UTC, in seconds.
    pub tai: i32,
}

/// Asks how the kernel disciplines its clock. Nothing is changed by it.
///
/// # Errors
///
/// What adjtimex(2) says: EPERM or ENOSYS where a container may not ask, and always on systems other than
/// Linux.
// The widths of these fields differ between architectures.
#[allow(clippy::useless_conversion)]
pub fn clock_discipline() -> io::Result<ClockDiscipline> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: it is a structure of numbers, for which zeros are a value.
        let mut timex: libc::timex = unsafe { core::mem::zeroed() };
        // SAFETY: the pointer is that of a whole structure of this function. Its modes are 0, which
        // ask and set nothing.
        let state = unsafe { libc::adjtimex(&raw mut timex) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ClockDiscipline {
            state,
            status: timex.status,
            offset: timex.offset.into(),
            frequency: timex.freq.into(),
            maximum_error: timex.maxerror.into(),
            estimated_error: timex.esterror.into(),
            constant: timex.constant.into(),
            tick: timex.tick.into(),
            pps_frequency: timex.ppsfreq.into(),
            jitter: timex.jitter.into(),
            shift: timex.shift,
            stability: timex.stabil.into(),
            jitter_count: timex.jitcnt.into(),
            calibration_count: timex.calcnt.into(),
            error_count: timex.errcnt.into(),
            stability_count: timex.stbcnt.into(),
            tai: timex.tai,
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// The coarse clock is that of the day at its last tick, which is 10 ms ago at most.
    #[test]
    fn the_clocks_go_forward() {
        let coarse = clock_time(Clock::RealtimeCoarse).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(now.abs_diff(coarse) < Duration::from_secs(60), "{coarse:?} {now:?}");
        let before = clock_time(Clock::Boottime).unwrap();
        assert!(clock_time(Clock::Boottime).unwrap() >= before);
        assert!(!before.is_zero() && before < now);
    }

    /// The kernel answers, or a container keeps the call from it: by EPERM or by ENOSYS (seccomp).
    #[test]
    fn this_kernel_answers_or_may_not_be_asked() {
        match clock_discipline() {
            Ok(clock) => {
                // A tick is 10 ms, give or take ten percent, and the states are 0 to 5 (adjtimex(2)).
                assert!((9_000..=11_000).contains(&clock.tick), "{clock:?}");
                assert!((0..=5).contains(&clock.state), "{clock:?}");
            }
            Err(error) => {
                let errno = error.raw_os_error();
                assert!([libc::EPERM, libc::ENOSYS].map(Some).contains(&errno), "{error}");
            }
        }
    }
}
