//! Signals that mean nothing, or nothing yet.

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

/// Sends a signal to this thread: what it does is done when the call returns.
///
/// # Errors
///
/// EINVAL for what is no signal.
pub fn signal_this_thread(signal: i32) -> io::Result<()> {
    // SAFETY: a number is passed; what a handler does is its own affair.
    match unsafe { libc::raise(signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Holds signals back on this thread and on those that it starts from now on, or lets them through again on this
/// thread. What comes meanwhile waits.
///
/// # Errors
///
/// EINVAL for what is no signal.
pub fn hold_signals(signals: &[i32], is_held: bool) -> io::Result<()> {
    // SAFETY: all zeroes are a valid `sigset_t`, and the call makes an empty set of it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that lives until the call has returned.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in signals {
        // SAFETY: as above; what is no signal is refused.
        if unsafe { libc::sigaddset(&mut set, *signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let how = if is_held { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: the pointer is to a set, and no place for the one before is asked for.
    match unsafe { libc::pthread_sigmask(how, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Holds every signal back on this thread and on those that it starts from now on, for good.
pub(crate) fn hold_all_signals() {
    // SAFETY: all zeroes are a valid `sigset_t`; the calls fill it and read it while it lives, and no place for the
    // set before is asked for. Neither fails with these arguments.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
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

    #[test]
    fn a_signal_that_is_held_back_waits() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SEEN: AtomicU32 = AtomicU32::new(0);
        extern "C" fn count(_: libc::c_int) {
            SEEN.fetch_add(1, Ordering::SeqCst);
        }
        let handler: extern "C" fn(libc::c_int) = count;
        // SAFETY: the handler does nothing but count.
        unsafe { libc::signal(libc::SIGWINCH, handler as libc::sighandler_t) };
        assert_eq!(hold_signals(&[0], true).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        hold_signals(&[libc::SIGWINCH], true).unwrap();
        // SAFETY: it sends this thread a signal, whose handler is the one above.
        assert_eq!(unsafe { libc::raise(libc::SIGWINCH) }, 0);
        assert_eq!(SEEN.load(Ordering::SeqCst), 0);
        hold_signals(&[libc::SIGWINCH], false).unwrap();
        assert_eq!(SEEN.load(Ordering::SeqCst), 1);
    }
}
