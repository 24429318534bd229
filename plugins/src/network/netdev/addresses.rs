//! The addresses of network interfaces, by netlink.

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

use vitald_core::host::RouteSocket;
use vitald_core::prelude::*;

/// The addresses of interfaces, which know their interface by its index alone.
#[derive(Default)]
pub(super) struct Addresses {
    names: Vec<u8>,
    /// The interfaces by index, and where their names are.
    interfaces: Vec<(i32, Range<usize>)>,
    /// Where an address is written.
    text: Vec<u8>,
}

impl Addresses {
    /// Forgets the interfaces.
    pub(super) fn forget(&mut self) {
        self.names.clear();
        self.interfaces.clear();
    }

    /// Learns the name of an interface.
    pub(super) fn name(&mut self, index: i32, name: &[u8]) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.interfaces.push((index, start..self.names.len()));
    }

    /// Passes on every address of an interface that has a name.
    pub(super) fn each(
        &mut self,
        route: &mut RouteSocket,
        mut each: impl FnMut(ShownAddress<'_>),
    ) -> Result<()> {
        let Addresses { names, interfaces, text } = self;
        interfaces.sort_unstable_by_key(|(index, _)| *index);
        route.addresses(&mut |address| {
            let name = i32::try_from(address.index)
                .ok()
                .and_then(|index| interfaces.binary_search_by_key(&index, |known| known.0).ok())
                .and_then(|position| names.get(interfaces.get(position)?.1.clone()));
            // One that came after the interfaces were listed is there at the next collection.
            let Some(device) = name else { return };
            text.clear();
            let written = write!(text, "{}", address.address);
            debug_assert!(written.is_ok(), "a vector takes everything");
            let mut room = [0; 20];
            each(ShownAddress {
                device,
                address: text,
                prefix_length: text::decimal(address.prefix_length.into(), &mut room),
                scope: scope(address.address).as_bytes(),
            });
        })
    }
}

/// An address as its labels have it.
pub(super) struct ShownAddress<'a> {
    pub(super) device: &'a [u8],
    pub(super) address: &'a [u8],
    pub(super) prefix_length: &'a [u8],
    pub(super) scope: &'a [u8],
}

/// How far an address is good for, in node_exporter's words, which are those of Go's `net.IP`
/// rather than the kernel's.
fn scope(address: IpAddr) -> &'static str {
    let (is_link_local, is_interface_local, is_broadcast) = match address {
        IpAddr::V4(address) => {
            let is_multicast = matches!(address.octets(), [224, 0, 0, _]);
            (address.is_link_local() || is_multicast, false, address.is_broadcast())
        }
        IpAddr::V6(address) => {
            let [first, second, ..] = address.octets();
            let multicast_scope = (first == 0xff).then_some(second & 0xf);
            let is_link_local = address.is_unicast_link_local() || multicast_scope == Some(2);
            (is_link_local, multicast_scope == Some(1), false)
        }
    };
    if address.is_loopback() || is_link_local {
        "link-local"
    } else if is_interface_local {
        "interface-local"
    } else if address.is_multicast() || address.is_unspecified() || is_broadcast {
        ""
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_node_exporter() {
        let scope = |text: &str| scope(text.parse().expect("an address"));
        for text in
            ["127.0.0.1", "169.254.7.1", "224.0.0.251", "::1", "fe80::1", "ff02::1", "ff12::1"]
        {
            assert_eq!(scope(text), "link-local", "{text}");
        }
        assert_eq!(scope("ff01::1"), "interface-local");
        for text in ["10.0.0.1", "192.0.2.2", "fd00::2", "2001:db8::1"] {
            assert_eq!(scope(text), "global", "{text}");
        }
        for text in ["0.0.0.0", "255.255.255.255", "224.0.1.1", "::", "ff0e::1"] {
            assert_eq!(scope(text), "", "{text}");
        }
    }
}
