//! Netlink, by which the kernel answers with everything of a kind at once.
//!
//! Parsing is apart from the sockets; constants are those of the kernel's headers (linux-raw-sys).

mod diagnostics;
mod disciplines;
mod events;
mod frame;
mod generic;
mod route;
mod socket;
mod tables;

pub(super) use diagnostics::Diagnostics;
pub use diagnostics::{OwnedSocket, TcpSocket, parse_owned_sockets, parse_tcp_sockets};
pub(super) use disciplines::Disciplines;
pub use disciplines::{QueueingDiscipline, parse_disciplines};
pub(super) use events::Events;
pub use frame::{Dump, DumpError};
pub(super) use generic::Generic;
pub use generic::{
    AttributeWriter, GenericMessage, GenericRequest, NetlinkAttributes, parse_messages,
};
pub use route::{
    Address, AlternativeNames, Link, LinkStatistics, Route, parse_addresses, parse_links,
    parse_statistics,
};
pub(super) use tables::Tables;
pub use tables::{Neighbour, NetworkRoute, NextHop, NextHops, parse_neighbours, parse_routes};

#[cfg(test)]
mod tests;
