//! A handle on socket diagnostics.

use std::fmt;

use super::Host;
use super::kernel::Kernel;
use super::netlink::{Diagnostics, TcpSocket};
use crate::error::{Error, Result};

/// What the errors call it.
const SOURCE: &str = "netlink sock_diag";

/// A socket of its own for one consumer of socket diagnostics.
///
/// It is of this process's network namespace, which is not necessarily that of
/// [`Roots::procfs`](super::Roots::procfs).
pub struct SocketDiagnostics(Kernel<Diagnostics>);

impl Host {
    /// A socket that tells of sockets. Nothing is opened until it is used.
    pub fn socket_diagnostics(&self) -> SocketDiagnostics {
        SocketDiagnostics(self.kernel(Diagnostics::new))
    }
}

impl SocketDiagnostics {
    /// Passes on every TCP socket over IPv4, in any state from established to closing.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where the kernel has no diagnostics of TCP; [`Error::Unreadable`], see
    /// [`Diagnostics::tcp_sockets`].
    pub fn tcp_over_ipv4(&mut self, each: &mut dyn FnMut(TcpSocket)) -> Result<()> {
        self.tcp(2, each)
    }

    /// As [`SocketDiagnostics::tcp_over_ipv4`], for IPv6.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn tcp_over_ipv6(&mut self, each: &mut dyn FnMut(TcpSocket)) -> Result<()> {
        self.tcp(10, each)
    }

    fn tcp(&mut self, family: u8, each: &mut dyn FnMut(TcpSocket)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(diagnostics) => diagnostics
                .tcp_sockets(family, each)
                .map(drop)
                .map_err(|error| Error::from_io(SOURCE, error)),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.tcp_sockets(family, each),
        }
    }
}

impl fmt::Debug for SocketDiagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketDiagnostics").finish_non_exhaustive()
    }
}
