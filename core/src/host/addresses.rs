//! The addresses of a host that a user named.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::{Host, World};
use crate::error::{Error, Result};

impl Host {
    /// Fills in the addresses of a host, those of IPv4 first; they take the place of what was there.
    ///
    /// An address written out, and `localhost`, which is the loopback in both families (RFC 6761), ask
    /// nobody and allocate nothing. Any other name is asked of the system's resolver, which takes as
    /// long as its own configuration says: a collector that takes such names says `MAY_BLOCK`.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`] when the name has no address or the resolver does not answer.
    pub fn addresses(&self, name: &str, port: u16, into: &mut Vec<SocketAddr>) -> Result<()> {
        into.clear();
        if let Ok(address) = name.parse::<IpAddr>() {
            into.push(SocketAddr::new(address, port));
        } else if name.eq_ignore_ascii_case("localhost") {
            into.push((Ipv4Addr::LOCALHOST, port).into());
            into.push((Ipv6Addr::LOCALHOST, port).into());
        } else {
            self.ask_resolver(name, port, into)
                .map_err(|source| Error::Unreadable { path: name.into(), source })?;
            into.sort_by_key(SocketAddr::is_ipv6);
        }
        Ok(())
    }

    fn ask_resolver(&self, name: &str, port: u16, into: &mut Vec<SocketAddr>) -> io::Result<()> {
        match &self.inner.world {
            World::Real => into.extend((name, port).to_socket_addrs()?),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(_) => {}
        }
        if into.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};

    fn shown(host: &Host, name: &str) -> Vec<String> {
        let mut addresses = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1))];
        match host.addresses(name, 53, &mut addresses) {
            Ok(()) => addresses.iter().map(ToString::to_string).collect(),
            Err(error) => {
                assert!(matches!(error, Error::Unreadable { .. }) && addresses.is_empty());
                vec![error.to_string()]
            }
        }
    }

    #[test]
    fn what_is_written_out_is_taken_as_it_is() {
        for host in [MemoryHost::new().host(), Host::new(Roots::default())] {
            assert_eq!(shown(&host, "192.0.2.7"), ["192.0.2.7:53"]);
            assert_eq!(shown(&host, "::1"), ["[::1]:53"]);
            assert_eq!(shown(&host, "localHost"), ["127.0.0.1:53", "[::1]:53"]);
        }
    }

    #[test]
    fn a_name_without_an_address_is_a_fault() {
        let memory = MemoryHost::new().host();
        assert_eq!(shown(&memory, "time.example"), ["time.example: the name has no address"]);
        // A name that no resolver can have: no label is longer than 63 bytes.
        let real = Host::new(Roots::default());
        let none = "a".repeat(64);
        assert!(shown(&real, &none)[0].starts_with(&none));
    }
}
