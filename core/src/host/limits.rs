//! What the process may have.

/// How many descriptors the process may have open, `None` without a limit.
#[cfg(target_os = "linux")]
pub(super) fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// No limit is known on systems other than Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn descriptors() -> Option<u64> {
    None
}
