//! Counters of the kernel's performance events.

#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

/// What is counted (perf_event_open(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerfEvent {
    /// Whose event it is: `PERF_TYPE_HARDWARE` (0), `PERF_TYPE_SOFTWARE` (1), `PERF_TYPE_TRACEPOINT` (2)
    /// or `PERF_TYPE_HW_CACHE` (3).
    pub kind: u32,
    /// Which of these.
    pub config: u64,
}

/// The first version of `struct perf_event_attr`, which every kernel takes.
#[cfg(target_os = "linux")]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

/// The bit `exclude_hv` of `perf_event_attr`, where bit fields begin at the lowest bit.
#[cfg(all(target_os = "linux", target_endian = "little"))]
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
/// The bit `exclude_hv` of `perf_event_attr`, where bit fields begin at the highest bit.
#[cfg(all(target_os = "linux", target_endian = "big"))]
const EXCLUDE_HYPERVISOR: u64 = 1 << (63 - 6);

/// `PERF_FORMAT_TOTAL_TIME_ENABLED`.
#[cfg(target_os = "linux")]
const TOTAL_TIME_ENABLED: u64 = 1 << 0;

/// Opens a counter of an event on a CPU, whatever process runs there, but not in a hypervisor. It counts
/// from now on. A read gives two numbers, each as eight bytes of this machine: how often, and the nanoseconds for which
/// it has been there to count. These stand still from when the CPU went offline, also when it comes back.
///
/// # Errors
///
/// What perf_event_open(2) says: EACCES or EPERM without the right to it, ENODEV for a CPU that is
/// offline, ENOENT or EOPNOTSUPP for an event that this machine does not count.
#[cfg(target_os = "linux")]
pub fn open_perf_event(event: PerfEvent, cpu: u32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let attributes = Attributes {
        kind: event.kind,
        size: size_of::<Attributes>() as u32,
        config: event.config,
        sample_period: 0,
        sample_type: 0,
        read_format: TOTAL_TIME_ENABLED,
        flags: EXCLUDE_HYPERVISOR,
        wakeup_events: 0,
        breakpoint_type: 0,
        breakpoint_address: 0,
    };
    let cpu = libc::c_int::try_from(cpu).map_err(|_| io::ErrorKind::InvalidInput)?;
    const ALL_PROCESSES: libc::pid_t = -1;
    const NO_GROUP: libc::c_int = -1;
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    // SAFETY: the pointer is that of a whole structure of this function, which says how large it is and
    // which the kernel only reads.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            ALL_PROCESSES,
            cpu,
            NO_GROUP,
            CLOSE_ON_EXEC,
        )
    };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened as libc::c_int) })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// `PERF_COUNT_SW_CPU_CLOCK`, the nanoseconds that go by on a CPU: every kernel that counts at all has it.
    const CPU_CLOCK: PerfEvent = PerfEvent { kind: 1, config: 0 };

    /// The kernel gives a counter that moves, or it says that this process may not have one (EPERM, EACCES) or that
    /// it was built without counters (ENOSYS). A machine without hardware counters has those of software.
    #[test]
    fn this_kernel_counts_or_says_why_not() {
        assert_eq!(size_of::<Attributes>(), 64);
        match open_perf_event(CPU_CLOCK, 0) {
            Ok(counter) => {
                let read = || {
                    let mut numbers = [[0; 8]; 2];
                    let length = rustix::io::read(&counter, numbers.as_flattened_mut()).unwrap();
                    assert_eq!(length, 16);
                    numbers.map(u64::from_ne_bytes)
                };
                let (first, second) = (read(), read());
                assert!(second[0] > first[0], "the clock of CPU 0 stands at {first:?}");
                assert!(first[1] > 0 && second[1] > first[1], "{first:?} {second:?}");
            }
            Err(error) => {
                let errno = error.raw_os_error();
                let may_be = [libc::EPERM, libc::EACCES, libc::ENOSYS].map(Some);
                assert!(may_be.contains(&errno), "{error}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (event, cpu) in [
            (CPU_CLOCK, 1 << 20),
            (CPU_CLOCK, u32::MAX),
            (PerfEvent { kind: 1, config: 1 << 40 }, 0),
            (PerfEvent { kind: u32::MAX, config: 0 }, 0),
        ] {
            assert!(open_perf_event(event, cpu).is_err(), "{event:?}");
        }
    }
}
