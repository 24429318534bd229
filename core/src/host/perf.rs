//! Counters of the kernel's performance events.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use vitald_sys::PerfEvent;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::system::Descriptor;
use super::{Host, World, limits};
use crate::errno::EMFILE;

/// A counter of an event on a CPU, which counts from when it was opened until its CPU goes offline. It does not go on when
/// the CPU comes back.
#[derive(Debug)]
pub struct PerfCounter {
    counter: Counter,
    /// For how long it had been there to count when it was read last, in nanoseconds.
    time: u64,
}

#[derive(Debug)]
enum Counter {
    Real(Descriptor, #[allow(dead_code, reason = "it is given back on drop")] Permit),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost, PerfEvent, u32, usize),
}

/// Permission to keep one counter open; given back on drop.
#[derive(Debug)]
struct Permit(());

/// How many counters are open in the process.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    /// Counters may have half of the descriptors that the process may have: there can be dozens for
    /// each of hundreds of CPUs, and without any left no connection is accepted.
    fn take() -> io::Result<Permit> {
        let half = limits::descriptors().map_or(u64::MAX, |limit| limit / 2);
        let most = usize::try_from(half).unwrap_or(usize::MAX);
        TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < most).then_some(taken + 1)
            })
            .map(|_| Permit(()))
            .map_err(|_| io::Error::from_raw_os_error(EMFILE))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Host {
    /// Opens a counter of an event on a CPU, whatever process runs there (perf_event_open(2)). Its
    /// descriptor is kept, and is one of as many as half of what the process may have.
    ///
    /// # Errors
    ///
    /// `EACCES` or `EPERM` without the right to it, `ENODEV` for a CPU that is offline, `ENOENT` or
    /// `EOPNOTSUPP` for an event that this machine does not count, `EMFILE` for one counter too many.
    pub fn perf_counter(&self, event: PerfEvent, cpu: u32) -> io::Result<PerfCounter> {
        match &self.inner.world {
            World::Real => {
                let permit = Permit::take()?;
                let descriptor = vitald_sys::open_perf_event(event, cpu)?;
                Ok(PerfCounter { counter: Counter::Real(descriptor, permit), time: 0 })
            }
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => {
                memory.perf_count(event, cpu)?;
                let counter = Counter::Memory(memory.clone(), event, cpu, memory.perf_stops());
                Ok(PerfCounter { counter, time: 0 })
            }
        }
    }
}

impl PerfCounter {
    /// How often the event took place since the counter was opened. Where the hardware counts fewer
    /// events at a time than were opened, it is how often that was seen. `None` if it counts no more, because its CPU has been
    /// offline since it was opened.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn read(&mut self) -> io::Result<Option<u64>> {
        let [count, time] = match &self.counter {
            Counter::Real(descriptor, _) => {
                let mut numbers = [[0; 8]; 2];
                match rustix::io::read(descriptor, numbers.as_flattened_mut())? {
                    16 => numbers.map(u64::from_ne_bytes),
                    // What the kernel says of a counter that it has given up.
                    0 => return Ok(None),
                    _ => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
            #[cfg(any(test, feature = "testing"))]
            Counter::Memory(memory, event, cpu, stops) => {
                let goes_on = *stops == memory.perf_stops();
                [memory.perf_count(*event, *cpu)?, self.time + u64::from(goes_on)]
            }
        };
        let goes_on = time > self.time;
        self.time = time;
        Ok(goes_on.then_some(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Roots;

    #[test]
    fn counters_of_this_machine_count() {
        // Context switches: this thread makes some while it sleeps.
        let event = PerfEvent { kind: 1, config: 3 };
        let mut counter = match Host::new(Roots::default()).perf_counter(event, 0) {
            Ok(counter) => counter,
            Err(error) => return crate::host::tests::left_out(&format!("perf events: {error}")),
        };
        let first = counter.read().unwrap();
        assert!(first.is_some() && first <= counter.read().unwrap());
    }

    #[test]
    fn the_memory_host_counts_by_a_function() {
        let memory = MemoryHost::new();
        let event = PerfEvent { kind: 0, config: 1 };
        let errno = |outcome: io::Result<PerfCounter>| outcome.unwrap_err().raw_os_error();
        assert_eq!(errno(memory.host().perf_counter(event, 0)), Some(38));
        memory.set_perf_counters(|event, cpu| match cpu {
            0..=3 => Ok(event.config * 10 + u64::from(cpu)),
            _ => Err(19),
        });
        let mut counter = memory.host().perf_counter(event, 2).unwrap();
        assert_eq!(counter.read().unwrap(), Some(12));
        memory.stop_perf_counters();
        assert_eq!(counter.read().unwrap(), None);
        assert_eq!(memory.host().perf_counter(event, 2).unwrap().read().unwrap(), Some(12));
        assert_eq!(errno(memory.host().perf_counter(event, 4)), Some(19));
    }
}
