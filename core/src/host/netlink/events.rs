//! What rtnetlink says when an interface has changed (`RTNLGRP_LINK` of `linux/rtnetlink.h`).

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// `RTMGRP_LINK`.
const LINK_GROUP: u32 = 1;

/// Another process may send to the socket, too: beyond so many datagrams at a time a new socket is taken.
const MOST: u32 = 4096;

/// How often something was said, without looking at what.
#[derive(Debug, Default)]
pub(in crate::host) struct Events {
    socket: Option<OwnedFd>,
    count: u64,
}

impl Events {
    /// Receives what there is, and does not wait. The number is another one than the time before if
    /// something was said, was lost, or was not listened for; there is none where the system refuses it.
    pub(in crate::host) fn count(&mut self) -> Option<u64> {
        let Events { socket, count } = self;
        if socket.is_none() {
            *socket = Some(listen().ok()?);
            *count += 1;
        }
        let listening = socket.as_ref()?;
        // The bytes are of no interest, and what does not fit is cut off.
        let mut start = [0; 16];
        for _ in 0..MOST {
            match recv(listening, &mut start, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return Some(*count),
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => *count += 1,
                Err(_) => break,
            }
        }
        *socket = None;
        *count += 1;
        Some(*count)
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, LINK_GROUP))?;
    Ok(socket)
}
