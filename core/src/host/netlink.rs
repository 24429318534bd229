//! Netlink, by which the kernel answers with everything of a kind at once.
//!
//! Parsing is apart from the sockets; constants are those of the kernel's headers (linux-raw-sys).

mod frame;
mod generic;
mod route;
mod socket;

pub use frame::{Dump, DumpError};
pub(super) use generic::Generic;
pub use generic::{
    AttributeWriter, GenericMessage, GenericRequest, NetlinkAttributes, parse_messages,
};
pub use route::{
    Address, AlternativeNames, Link, LinkStatistics, Route, parse_addresses, parse_links,
};

#[cfg(test)]
mod tests;
