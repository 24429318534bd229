//! A netlink socket that asks for dumps and single answers, whatever they are of.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::super::spare::Spare;
use super::frame::{DumpError, Messages, NLM_F_DUMP_INTR, NLMSG_ERROR, align};

/// The kernel caps what it puts into one datagram of a dump at this many bytes, and fills it that
/// far only for a receiver which offered as much before (`netlink_dump` in `af_netlink.c`).
pub(super) const DATAGRAM: usize = 32 * 1024;

/// Some forty thousand interfaces: more is a fault that must not take the host's memory.
pub(super) const LARGEST_DUMP: usize = 64 * 1024 * 1024;

/// How often one dump is asked for before it is given up, or taken as the kernel gave it.
pub(super) const ATTEMPTS: u32 = 4;

/// The longest wait for one datagram. The kernel answers a dump as it is asked, so this passes
/// only if an answer was lost.
pub(super) const RECEIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// No datagram is waited for any more once a dump, all its attempts together, took this long.
pub(super) const DUMP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the last message of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The end mark of a dump (`NLMSG_DONE`).
    Done,
    /// What was asked for by `NLM_F_ACK` (`NLMSG_ERROR` with 0).
    Acknowledgement,
}

/// Why an attempt at a dump failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Answers were lost: another attempt may do.
    Lost,
    Final(io::Error),
}

impl From<DumpError> for Failure {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Overrun => Self::Lost,
            other => Self::Final(other.into()),
        }
    }
}

/// A kept netlink socket of one consumer, and its receive buffer.
///
/// The socket is opened at the first dump, and again after a failed one. A dump makes no
/// allocation once the buffer has grown to the host's size.
///
/// A socket stays with the network namespace that its thread was in when it was opened: a process
/// that changes namespaces needs a new one to see the other's interfaces.
///
/// Waiting is bounded, but for the kernel's own locks, which a request waits for while it is sent.
#[derive(Debug)]
pub struct Socket {
    /// `None` is protocol 0, and that is NETLINK_ROUTE.
    protocol: Option<Protocol>,
    socket: Option<OwnedFd>,
    sequence: u32,
    /// All the messages of a dump, since one that was interrupted has to be asked for again before
    /// anything of it is passed on.
    buffer: Vec<u8>,
    spare: Spare,
    /// What is offered for each datagram.
    offer: usize,
    /// How long the open socket waits for a datagram.
    timeout: Duration,
}

impl Socket {
    /// Opens nothing and allocates nothing yet.
    pub(super) const fn new(protocol: Option<Protocol>) -> Self {
        Self {
            protocol,
            socket: None,
            sequence: 0,
            buffer: Vec::new(),
            spare: Spare::new(),
            offer: DATAGRAM,
            timeout: RECEIVE_TIMEOUT,
        }
    }

    /// The messages of the last dump.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Gives the messages of the last dump away for memory that the next one may take.
    pub(super) fn swap_bytes(&mut self, memory: &mut Vec<u8>) {
        std::mem::swap(&mut self.buffer, memory);
    }

    /// Fills the buffer with one whole dump, which is consistent if a few attempts can do it.
    ///
    /// `request` is a message whose sequence number is filled in here.
    ///
    /// # Errors
    ///
    /// The socket was refused, the kernel refused the dump, or it did not answer in time.
    pub(super) fn dump(&mut self, request: &mut [u8]) -> io::Result<()> {
        self.exchange(request, End::Done, Instant::now() + DUMP_TIMEOUT)
    }

    /// As [`Socket::dump`], for any request, with a deadline that the caller gives.
    pub(super) fn exchange(
        &mut self,
        request: &mut [u8],
        end: End,
        deadline: Instant,
    ) -> io::Result<()> {
        for left in (0..ATTEMPTS).rev() {
            match self.attempt(request, end, deadline) {
                Ok(interrupted) if !interrupted || left == 0 => {
                    self.spare.look(&mut self.buffer);
                    return Ok(());
                }
                Ok(_) => {}
                // The rest of a failed dump would still come, and the kernel refuses a second dump
                // meanwhile (EBUSY). A new socket has neither.
                Err(Failure::Lost) => self.socket = None,
                Err(Failure::Final(error)) => {
                    self.socket = None;
                    return Err(error);
                }
            }
        }
        Err(Errno::NOBUFS.into())
    }

    /// Asks once and receives all of the answer; says whether the dump was interrupted.
    fn attempt(
        &mut self,
        request: &mut [u8],
        end: End,
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => {
                self.timeout = RECEIVE_TIMEOUT;
                none.insert(open(self.protocol).map_err(|error| Failure::Final(error.into()))?)
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(place) = request.get_mut(8..12) {
            place.copy_from_slice(&self.sequence.to_ne_bytes());
        }
        retry_interrupted(deadline, || send(&*socket, request, SendFlags::empty()))?;
        let (timeout, sequence) = (&mut self.timeout, self.sequence);
        collect(&mut self.buffer, &mut self.offer, sequence, end, deadline, &mut |buffer| {
            // Mostly the deadline is far and the socket waits for as long as it did before.
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.clamp(Duration::from_millis(1), RECEIVE_TIMEOUT);
            if wait != *timeout {
                set_socket_timeout(&*socket, Timeout::Recv, Some(wait))?;
                *timeout = wait;
            }
            // With MSG_TRUNC the answer is the datagram's whole length, also if it was cut.
            recv(&*socket, spare_capacity(buffer), RecvFlags::TRUNC).map(|(_, whole)| whole)
        })
    }
}

fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
    // A connected socket takes datagrams from its peer only, which here is the kernel: no other
    // process can slip in an answer.
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Repeats a call that a signal interrupted, until the deadline.
pub(super) fn retry_interrupted<T>(
    deadline: Instant,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Failure> {
    loop {
        match call() {
            Ok(value) => return Ok(value),
            Err(Errno::INTR) if Instant::now() < deadline => {}
            Err(Errno::NOBUFS) => return Err(Failure::Lost),
            Err(Errno::AGAIN | Errno::INTR) => return Err(timed_out()),
            Err(error) => return Err(Failure::Final(error.into())),
        }
    }
}

pub(super) fn timed_out() -> Failure {
    Failure::Final(io::ErrorKind::TimedOut.into())
}

/// Receives datagrams into `buffer` up to the end of the answer with number `sequence`; says
/// whether it was a dump that was interrupted.
///
/// `receive` appends a datagram to what the buffer holds, as far as its capacity goes, and answers
/// the datagram's whole length.
pub(super) fn collect(
    buffer: &mut Vec<u8>,
    offer: &mut usize,
    sequence: u32,
    end: End,
    deadline: Instant,
    receive: &mut dyn FnMut(&mut Vec<u8>) -> Result<usize, Errno>,
) -> Result<bool, Failure> {
    buffer.clear();
    let mut interrupted = false;
    loop {
        let start = buffer.len();
        if start > LARGEST_DUMP {
            return Err(Failure::Final(io::Error::other("a netlink dump has no end")));
        }
        buffer.reserve(*offer);
        let whole = retry_interrupted(deadline, || receive(buffer))?;
        let datagram = buffer.get(start..).unwrap_or_default();
        if whole > datagram.len() {
            // The rest of the datagram is gone, but the next attempt knows what to offer.
            *offer = whole.clamp(*offer, LARGEST_DUMP);
            return Err(Failure::Lost);
        }
        let mut messages = (Messages { rest: datagram }).peekable();
        // A datagram answers one request. One of an earlier request was given up by its caller.
        let stale = match messages.peek() {
            None => true,
            Some(Ok(first)) => first.sequence != sequence,
            Some(Err(_)) => false,
        };
        if !stale {
            for message in messages {
                let message = message?;
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                let is_acknowledged = end == End::Acknowledgement && message.kind == NLMSG_ERROR;
                if message.ends_dump()? || is_acknowledged {
                    return Ok(interrupted);
                }
            }
            // The next datagram's first message has to begin where the walk will look for it.
            buffer.resize(align(buffer.len()), 0);
        } else {
            buffer.truncate(start);
        }
        if Instant::now() >= deadline {
            return Err(timed_out());
        }
    }
}
