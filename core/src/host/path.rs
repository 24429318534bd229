//! Paths as the system takes them.

use crate::errno::EINVAL;
use std::cell::Cell;
use std::ffi::CStr;
use std::io;

/// Refuses a path that climbs.
pub(super) fn refuse_parent(path: &[u8]) -> io::Result<()> {
    // Two dots in a row are rare, so most paths are not split.
    if path.windows(2).any(|two| two == b"..")
        && path.split(|&byte| byte == b'/').any(|component| component == b"..")
    {
        return Err(io::Error::from_raw_os_error(EINVAL));
    }
    Ok(())
}

thread_local! {
    /// Where paths are put together, so that doing so allocates nothing.
    static PATH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Puts a path together and calls with it. A path with a NUL in it is EINVAL.
pub(super) fn with_c_string<T>(
    build: impl FnOnce(&mut Vec<u8>),
    call: impl FnOnce(&CStr) -> io::Result<T>,
) -> io::Result<T> {
    let mut bytes = PATH.take();
    bytes.clear();
    build(&mut bytes);
    bytes.push(0);
    let outcome = match CStr::from_bytes_with_nul(&bytes) {
        Ok(path) => call(path),
        Err(_) => Err(io::Error::from_raw_os_error(EINVAL)),
    };
    PATH.set(bytes);
    outcome
}
