//! A handle on the tables of neighbours and routes.

use std::fmt;

use super::Host;
use super::kernel::Kernel;
use super::netlink::{Neighbour, NetworkRoute, Tables};
use crate::error::{Error, Result};

/// What the errors call it.
const SOURCE: &str = "netlink route";

/// A socket of its own for one consumer of neighbours or routes.
///
/// It is of this process's network namespace, which is not necessarily that of
/// [`Roots::procfs`](super::Roots::procfs).
pub struct RoutingTables(Kernel<Tables>);

impl Host {
    /// A socket for neighbours and routes. Nothing is opened until it is used.
    pub fn routing_tables(&self) -> RoutingTables {
        RoutingTables(self.kernel(Tables::new))
    }
}

impl RoutingTables {
    /// Passes on every neighbour of IPv4, which ARP finds.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], see [`Tables::neighbours`].
    pub fn ipv4_neighbours(&mut self, each: &mut dyn FnMut(Neighbour)) -> Result<()> {
        const AF_INET: u8 = 2;
        match &mut self.0 {
            Kernel::Real(tables) => tables
                .neighbours(AF_INET, &mut |one| {
                    if one.family == AF_INET {
                        each(one);
                    }
                })
                .map(drop)
                .map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.neighbours(each),
        }
    }

    /// Passes on every route of every family and table.
    ///
    /// # Errors
    ///
    /// As [`RoutingTables::ipv4_neighbours`].
    pub fn routes(&mut self, each: &mut dyn FnMut(NetworkRoute<'_>)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(tables) => tables.routes(each).map(drop).map_err(named),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.routes(each),
        }
    }
}

fn named(error: std::io::Error) -> Error {
    Error::from_io(SOURCE, error)
}

impl fmt::Debug for RoutingTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingTables").finish_non_exhaustive()
    }
}
