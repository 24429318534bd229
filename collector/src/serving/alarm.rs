//! What a thread sleeps on until a time that other threads set, without being woken by them.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Alarm;
#[cfg(target_os = "linux")]
pub(super) use linux::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use crate::engine::AlarmClock;
    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    /// A timer of the kernel's (timerfd_create(2)).
    pub(in super::super) struct Alarm(OwnedFd);

    impl Alarm {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Alarm(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?))
        }
    }

    impl AlarmClock for Alarm {
        fn set(&self, after: Option<Duration>) {
            // Zero is the kernel's "never".
            let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
            let it_value = Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let new = Itimerspec { it_interval, it_value };
            // It fails only for a number that is not a timer's, and for nanoseconds that are too many.
            let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &new);
        }

        fn wait(&self) {
            while rustix::io::read(&self.0, &mut [0; 8]) == Err(Errno::INTR) {}
        }
    }
}

/// Where the kernel has no such timer, the thread that sleeps is woken to sleep on.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use crate::engine::AlarmClock;
    use crate::sync::lock;
    use std::io;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    pub(in super::super) struct Alarm {
        at: Mutex<Option<Instant>>,
        changed: Condvar,
    }

    impl Alarm {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Alarm::default())
        }
    }

    impl AlarmClock for Alarm {
        fn set(&self, after: Option<Duration>) {
            *lock(&self.at) = after.map(|after| Instant::now() + after);
            self.changed.notify_one();
        }

        fn wait(&self) {
            let mut at = lock(&self.at);
            loop {
                let left = at.map(|at| at.saturating_duration_since(Instant::now()));
                at = match left {
                    Some(Duration::ZERO) => break,
                    Some(left) => {
                        let waited = self.changed.wait_timeout(at, left);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.changed.wait(at).unwrap_or_else(PoisonError::into_inner),
                };
            }
            *at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AlarmClock;
    use std::time::{Duration, Instant};

    #[test]
    fn it_goes_off_at_the_time_that_was_set_last() {
        let alarm = Alarm::new().expect("a descriptor");
        let began = Instant::now();
        alarm.set(Some(Duration::from_secs(600)));
        alarm.set(None);
        alarm.set(Some(Duration::from_millis(20)));
        alarm.wait();
        assert!((20..600_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        alarm.set(Some(Duration::ZERO));
        alarm.wait();
    }
}
