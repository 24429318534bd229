//! The error numbers that the handles tell apart (errno(3)).
//!
//! They are those of x86, ARM, RISC-V, PowerPC and s390; none but the first twenty is the same on
//! MIPS, SPARC and Alpha, for which vitald is not built.

pub(super) const ENOENT: i32 = 2;
pub(super) const ESRCH: i32 = 3;
pub(super) const EIO: i32 = 5;
pub(super) const ENXIO: i32 = 6;
pub(super) const EAGAIN: i32 = 11;
pub(super) const EACCES: i32 = 13;
pub(super) const EPERM: i32 = 1;
pub(super) const EBUSY: i32 = 16;
pub(super) const ENODEV: i32 = 19;
pub(super) const ENOTDIR: i32 = 20;
pub(super) const EINVAL: i32 = 22;
#[cfg(target_os = "linux")]
pub(super) const EMFILE: i32 = 24;
pub(super) const EFBIG: i32 = 27;
pub(super) const ENODATA: i32 = 61;
#[cfg(target_os = "linux")]
pub(super) const EPROTO: i32 = 71;
pub(super) const EOPNOTSUPP: i32 = 95;
pub(super) const ETIMEDOUT: i32 = 110;

/// Whether the thing is not there at all.
pub(super) fn is_absent(errno: i32) -> bool {
    matches!(errno, ENOENT | ESRCH | ENXIO | ENODEV | ENOTDIR)
}

/// Whether a driver says that an attribute has no value now: the interface is down, the sensor is
/// asleep, the hardware does not know.
pub(super) fn is_without_value(errno: i32) -> bool {
    matches!(errno, EIO | EAGAIN | EBUSY | EINVAL | ENODATA | EOPNOTSUPP | ETIMEDOUT)
}

/// Whether the daemon may not read it.
pub(super) fn is_forbidden(errno: i32) -> bool {
    matches!(errno, EPERM | EACCES)
}
