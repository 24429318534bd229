//! The error numbers of system calls: those that vitald distinguishes, and all of them in words, for labels and for what
//! is said at every collection.
//!
//! They are those of every Linux architecture but alpha, mips, parisc and sparc, for which vitald is not built.

use std::fmt;
use std::io::{self, Write as _};

/// Operation not permitted.
pub const EPERM: i32 = 1;
/// No such file or directory.
pub const ENOENT: i32 = 2;
/// No such process.
pub const ESRCH: i32 = 3;
/// Input/output error.
pub const EIO: i32 = 5;
/// No such device or address.
pub const ENXIO: i32 = 6;
/// Resource temporarily unavailable.
pub const EAGAIN: i32 = 11;
/// Permission denied.
pub const EACCES: i32 = 13;
/// Bad address.
pub const EFAULT: i32 = 14;
/// Device or resource busy.
pub const EBUSY: i32 = 16;
/// No such device.
pub const ENODEV: i32 = 19;
/// Not a directory.
pub const ENOTDIR: i32 = 20;
/// Is a directory.
pub const EISDIR: i32 = 21;
/// Invalid argument.
pub const EINVAL: i32 = 22;
/// Too many open files.
pub const EMFILE: i32 = 24;
/// Inappropriate ioctl for device.
pub const ENOTTY: i32 = 25;
/// File too large.
pub const EFBIG: i32 = 27;
/// Function not implemented.
pub const ENOSYS: i32 = 38;
/// Too many levels of symbolic links.
pub const ELOOP: i32 = 40;
/// No data available.
pub const ENODATA: i32 = 61;
/// Protocol error.
pub const EPROTO: i32 = 71;
/// Message too long.
pub const EMSGSIZE: i32 = 90;
/// Operation not supported.
pub const EOPNOTSUPP: i32 = 95;
/// Connection timed out.
pub const ETIMEDOUT: i32 = 110;
/// Connection refused.
pub const ECONNREFUSED: i32 = 111;

/// Whether the thing is not there at all.
pub fn is_absent(errno: i32) -> bool {
    matches!(errno, ENOENT | ESRCH | ENXIO | ENODEV | ENOTDIR)
}

/// Whether a driver says that an attribute has no value now: the interface is down, the sensor is
/// asleep, the hardware does not know.
pub fn is_without_value(errno: i32) -> bool {
    matches!(errno, EIO | EAGAIN | EBUSY | EINVAL | ENODATA | EOPNOTSUPP | ETIMEDOUT)
}

/// Whether the daemon may not read it.
pub fn is_forbidden(errno: i32) -> bool {
    matches!(errno, EPERM | EACCES)
}

/// Every errno of Linux in the words that node_exporter's labels have, by number. 41 and 58 are not used.
const WORDS: [&str; 133] = [
    "",
    "operation not permitted",
    "no such file or directory",
    "no such process",
    "interrupted system call",
    "input/output error",
    "no such device or address",
    "argument list too long",
    "exec format error",
    "bad file descriptor",
    "no child processes",
    "resource temporarily unavailable",
    "cannot allocate memory",
    "permission denied",
    "bad address",
    "block device required",
    "device or resource busy",
    "file exists",
    "invalid cross-device link",
    "no such device",
    "not a directory",
    "is a directory",
    "invalid argument",
    "too many open files in system",
    "too many open files",
    "inappropriate ioctl for device",
    "text file busy",
    "file too large",
    "no space left on device",
    "illegal seek",
    "read-only file system",
    "too many links",
    "broken pipe",
    "numerical argument out of domain",
    "numerical result out of range",
    "resource deadlock avoided",
    "file name too long",
    "no locks available",
    "function not implemented",
    "directory not empty",
    "too many levels of symbolic links",
    "",
    "no message of desired type",
    "identifier removed",
    "channel number out of range",
    "level 2 not synchronized",
    "level 3 halted",
    "level 3 reset",
    "link number out of range",
    "protocol driver not attached",
    "no CSI structure available",
    "level 2 halted",
    "invalid exchange",
    "invalid request descriptor",
    "exchange full",
    "no anode",
    "invalid request code",
    "invalid slot",
    "",
    "bad font file format",
    "device not a stream",
    "no data available",
    "timer expired",
    "out of streams resources",
    "machine is not on the network",
    "package not installed",
    "object is remote",
    "link has been severed",
    "advertise error",
    "srmount error",
    "communication error on send",
    "protocol error",
    "multihop attempted",
    "RFS specific error",
    "bad message",
    "value too large for defined data type",
    "name not unique on network",
    "file descriptor in bad state",
    "remote address changed",
    "can not access a needed shared library",
    "accessing a corrupted shared library",
    ".lib section in a.out corrupted",
    "attempting to link in too many shared libraries",
    "cannot exec a shared library directly",
    "invalid or incomplete multibyte or wide character",
    "interrupted system call should be restarted",
    "streams pipe error",
    "too many users",
    "socket operation on non-socket",
    "destination address required",
    "message too long",
    "protocol wrong type for socket",
    "protocol not available",
    "protocol not supported",
    "socket type not supported",
    "operation not supported",
    "protocol family not supported",
    "address family not supported by protocol",
    "address already in use",
    "cannot assign requested address",
    "network is down",
    "network is unreachable",
    "network dropped connection on reset",
    "software caused connection abort",
    "connection reset by peer",
    "no buffer space available",
    "transport endpoint is already connected",
    "transport endpoint is not connected",
    "cannot send after transport endpoint shutdown",
    "too many references: cannot splice",
    "connection timed out",
    "connection refused",
    "host is down",
    "no route to host",
    "operation already in progress",
    "operation now in progress",
    "stale NFS file handle",
    "structure needs cleaning",
    "not a XENIX named type file",
    "no XENIX semaphores available",
    "is a named type file",
    "remote I/O error",
    "disk quota exceeded",
    "no medium found",
    "wrong medium type",
    "operation canceled",
    "required key not available",
    "key has expired",
    "key has been revoked",
    "key was rejected by service",
    "owner died",
    "state not recoverable",
    "operation not possible due to RF-kill",
];

/// An errno in words, such as `stale NFS file handle` of `ESTALE` (116). A number that has no words is
/// written to `scratch`, as `errno 133`.
pub fn words(errno: i32, scratch: &mut Vec<u8>) -> &[u8] {
    match known_words(errno) {
        Some(words) => words.as_bytes(),
        None => {
            scratch.clear();
            // Writing to memory does not fail.
            let _ = write!(scratch, "errno {errno}");
            scratch
        }
    }
}

/// An error of a system call as the system says it, `Permission denied (os error 13)`, but written without an
/// allocation.
pub struct InWords<'a>(pub &'a io::Error);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.raw_os_error().and_then(|errno| Some((errno, known_words(errno)?)));
        match known {
            Some((errno, words)) => {
                let (first, rest) = words.split_at(1);
                let first = first.chars().next().unwrap_or_default().to_ascii_uppercase();
                write!(f, "{first}{rest} (os error {errno})")
            }
            None => self.0.fmt(f),
        }
    }
}

fn known_words(errno: i32) -> Option<&'static str> {
    let words = usize::try_from(errno).ok().and_then(|errno| WORDS.get(errno));
    words.copied().filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_words_of_its_own() {
        let text = |errno| words(errno, &mut Vec::new()).to_vec();
        for (errno, expected) in [
            (1, "operation not permitted"),
            (40, "too many levels of symbolic links"),
            (59, "bad font file format"),
            (66, "object is remote"),
            (74, "bad message"),
            (77, "file descriptor in bad state"),
            (116, "stale NFS file handle"),
            (122, "disk quota exceeded"),
            (123, "no medium found"),
            (132, "operation not possible due to RF-kill"),
            (0, "errno 0"),
            (41, "errno 41"),
            (58, "errno 58"),
            (133, "errno 133"),
            (-5, "errno -5"),
            (i32::MIN, "errno -2147483648"),
        ] {
            assert_eq!(text(errno), expected.as_bytes(), "{errno}");
        }
        let all: std::collections::HashSet<_> = (0..200).map(text).collect();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn an_error_is_in_words_with_its_number() {
        let shown = |error: io::Error| InWords(&error).to_string();
        assert_eq!(shown(io::Error::from_raw_os_error(13)), "Permission denied (os error 13)");
        assert_eq!(shown(io::Error::other("too much")), "too much");
    }
}
