//! Who counts as one client where something is shared out: connections, requests, checks of passwords.

use std::net::{IpAddr, Ipv4Addr};

/// An address, of IPv6 a network of 64 bits, since a host has as many addresses as it likes there; of a unix socket it is
/// the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientKey {
    /// An address of IPv4, also as a socket for both families shows it.
    V4(Ipv4Addr),
    /// A network of IPv6.
    V6([u16; 4]),
    /// A user of this machine, if the kernel has named one.
    User(Option<u32>),
}

impl ClientKey {
    /// Of an internet address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => ClientKey::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                ClientKey::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let key = |address: &str| ClientKey::of(address.parse().expect("an address"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("fd00:1:2:3::1"), key("fd00:1:2:3:4::2"));
        assert_ne!(key("fd00:1:2:3::1"), key("fd00:1:2:4::1"));
    }
}
