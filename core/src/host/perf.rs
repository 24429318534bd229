//! Counters of the kernel's performance events.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use vitald_sys::PerfEvent;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::system::Descriptor;
use super::{Host, World, limits};
use crate::errno::EMFILE;

/// A counter of an event on a CPU, which counts from when it was opened. It is not seen to end when its
/// CPU goes offline: it stands still then, also when the CPU comes back.
#[derive(Debug)]
pub struct PerfCounter(Counter);

#[derive(Debug)]
enum Counter {
    Real(Descriptor, #[allow(dead_code, reason = "it is given back on drop")] Permit),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost, PerfEvent, u32),
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
                Ok(PerfCounter(Counter::Real(descriptor, permit)))
            }
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => {
                memory.perf_count(event, cpu)?;
                Ok(PerfCounter(Counter::Memory(memory.clone(), event, cpu)))
            }
        }
    }
}

impl PerfCounter {
    /// How often the event took place since the counter was opened. Where the hardware counts fewer
    /// events at a time than were opened, it is how often that was seen.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn read(&self) -> io::Result<u64> {
        match &self.0 {
            Counter::Real(descriptor, _) => {
                let mut number = [0; 8];
                match rustix::io::read(descriptor, &mut number)? {
                    8 => Ok(u64::from_ne_bytes(number)),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
            #[cfg(any(test, feature = "testing"))]
            Counter::Memory(memory, event, cpu) => memory.perf_count(*event, *cpu),
        }
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
        let counters = match Host::new(Roots::default()).perf_counter(event, 0) {
            Ok(counter) => counter,
            Err(error) => return crate::host::tests::left_out(&format!("perf events: {error}")),
        };
        let first = counters.read().unwrap();
        assert!(first <= counters.read().unwrap());
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
        assert_eq!(memory.host().perf_counter(event, 2).unwrap().read().unwrap(), 12);
        assert_eq!(errno(memory.host().perf_counter(event, 4)), Some(19));
    }
}
