//! What uname(2) says.

/// What uname(2) says; kept by the collector and filled anew.
///
/// Bytes that are not UTF-8 are U+FFFD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uname {
    /// The kernel: `Linux`.
    pub sysname: String,
    /// The host name.
    pub nodename: String,
    /// The kernel's release: `6.18.44`.
    pub release: String,
    /// The kernel's build: `#1 SMP PREEMPT_DYNAMIC`.
    pub version: String,
    /// The architecture: `x86_64`.
    pub machine: String,
    /// The NIS domain: `(none)`.
    pub domainname: String,
}
