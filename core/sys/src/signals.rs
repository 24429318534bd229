//! Signals that mean nothing.

use std::io;

/// Takes a signal and does nothing at it, so that it does not end the process.
///
/// It is taken and not ignored: what is ignored stays ignored in every program that is started from here.
///
/// # Errors
///
/// EINVAL for what is no signal, and for one that cannot be taken or that the C library keeps for itself.
pub fn take_without_meaning(signal: i32) -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}

    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all zeroes are a valid `sigaction`: no flags, no signals in the mask, no restorer.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // A system call that it comes into goes on.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler may run at any moment on any thread, as it does nothing; the pointer is to a
    // value that lives until the call has returned, and no place for the action before is asked for.
    match unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_without_meaning_ends_nothing() {
        assert_eq!(take_without_meaning(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(take_without_meaning(libc::SIGKILL).is_err());
        take_without_meaning(libc::SIGUSR2).unwrap();
        // SAFETY: it sends this thread a signal, whose handler is the one above.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
    }
}
