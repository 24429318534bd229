//! Neighbours and routes, as rtnetlink dumps them. Layouts are those of `linux/neighbour.h` and
//! `linux/rtnetlink.h`.
//!
//! Parsing ([`parse_neighbours`], [`parse_routes`]) is apart from the socket: it takes any bytes,
//! never panics and always ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux_raw_sys::netlink;

use super::frame::{
    Attributes, Dump, DumpError, HEADER, align, dump_request, number_32, parse, signed_32,
};
use super::socket::Socket;

pub(super) const RTM_NEWNEIGH: u16 = netlink::RTM_NEWNEIGH as u16;
const RTM_GETNEIGH: u16 = netlink::RTM_GETNEIGH as u16;
pub(super) const RTM_NEWROUTE: u16 = netlink::RTM_NEWROUTE as u16;
const RTM_GETROUTE: u16 = netlink::RTM_GETROUTE as u16;
/// `sizeof(struct ndmsg)` and `sizeof(struct rtmsg)`.
const MESSAGE: usize = 12;
/// `sizeof(struct rtnexthop)`.
const NEXT_HOP: usize = 8;

/// `linux/rtnetlink.h`: the attributes of a route.
pub(super) mod rta {
    use linux_raw_sys::netlink;

    pub(crate) const DST: u16 = netlink::rtattr_type_t::RTA_DST as u16;
    pub(crate) const OIF: u16 = netlink::rtattr_type_t::RTA_OIF as u16;
    pub(crate) const GATEWAY: u16 = netlink::rtattr_type_t::RTA_GATEWAY as u16;
    pub(crate) const PRIORITY: u16 = netlink::rtattr_type_t::RTA_PRIORITY as u16;
    pub(crate) const PREFSRC: u16 = netlink::rtattr_type_t::RTA_PREFSRC as u16;
    pub(crate) const MULTIPATH: u16 = netlink::rtattr_type_t::RTA_MULTIPATH as u16;
}

/// A neighbour: `struct ndmsg` of one `RTM_NEWNEIGH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// `ndm_family`: 2 is IPv4 (ARP), 10 is IPv6.
    pub family: u8,
    /// `ndm_ifindex`: the interface on whose link it is.
    pub interface: i32,
    /// `ndm_state`: the `NUD_*` of `linux/neighbour.h`.
    pub state: u16,
}

/// A route: `struct rtmsg` and the `RTA_*` attributes of one `RTM_NEWROUTE`.
///
/// What the kernel did not send, or sent in too few bytes, is `None`.
#[derive(Debug, Clone, Default)]
pub struct NetworkRoute<'a> {
    /// `rtm_family`: 2 is IPv4, 10 is IPv6.
    pub family: u8,
    /// `rtm_type`: the `RTN_*` of `linux/rtnetlink.h`; 1 is a gateway or direct route.
    pub kind: u8,
    /// `rtm_protocol`: the `RTPROT_*`, who made it.
    pub protocol: u8,
    /// `rtm_dst_len`: the length of the prefix; 0 is the default route.
    pub prefix_length: u8,
    /// `RTA_DST`; a default route has none.
    pub destination: Option<IpAddr>,
    /// `RTA_PREFSRC`: the address that packets have as their source.
    pub source: Option<IpAddr>,
    /// `RTA_GATEWAY`.
    pub gateway: Option<IpAddr>,
    /// `RTA_PRIORITY`, 0 without one.
    pub priority: u32,
    /// `RTA_OIF`: the interface.
    pub interface: Option<i32>,
    /// `RTA_MULTIPATH`: the ways of a route that has several.
    pub next_hops: NextHops<'a>,
}

/// One way of a route that has several: `struct rtnexthop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// `rtnh_ifindex`.
    pub interface: i32,
    /// `rtnh_hops` and 1: how much of the traffic goes this way, against the other ways.
    pub weight: u32,
    /// `RTA_GATEWAY`.
    pub gateway: Option<IpAddr>,
}

/// The ways of a route, one by one.
#[derive(Debug, Clone, Default)]
pub struct NextHops<'a> {
    rest: &'a [u8],
}

impl<'a> NextHops<'a> {
    /// The ways in the bytes of an `RTA_MULTIPATH`, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub const fn of(bytes: &'a [u8]) -> Self {
        NextHops { rest: bytes }
    }
}

impl Iterator for NextHops<'_> {
    type Item = NextHop;

    fn next(&mut self) -> Option<NextHop> {
        let bytes = std::mem::take(&mut self.rest);
        let [l0, l1, _, hops, i0, i1, i2, i3] = *bytes.first_chunk::<NEXT_HOP>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        // A list that is broken in its middle has no more ways.
        let attributes = bytes.get(NEXT_HOP..length)?;
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        let gateway = Attributes { rest: attributes }
            .map_while(Result::ok)
            .find(|(kind, _)| *kind == rta::GATEWAY)
            .and_then(|(_, value)| ip(value));
        let interface = i32::from_ne_bytes([i0, i1, i2, i3]);
        Some(NextHop { interface, weight: u32::from(hops) + 1, gateway })
    }
}

/// Passes on every neighbour in a dump (`RTM_GETNEIGH`).
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_neighbours(bytes: &[u8], each: &mut dyn FnMut(Neighbour)) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWNEIGH, &mut |payload| {
        let Some(header) = payload.first_chunk::<MESSAGE>() else {
            return Err(DumpError::Message);
        };
        let [family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *header;
        each(Neighbour {
            family,
            interface: i32::from_ne_bytes([i0, i1, i2, i3]),
            state: u16::from_ne_bytes([s0, s1]),
        });
        Ok(true)
    })
}

/// Passes on every route in a dump (`RTM_GETROUTE`).
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_routes(
    bytes: &[u8],
    each: &mut dyn FnMut(NetworkRoute<'_>),
) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWROUTE, &mut |payload| {
        let Some((header, attributes)) = payload.split_first_chunk::<MESSAGE>() else {
            return Err(DumpError::Message);
        };
        let [family, prefix_length, _, _, _, protocol, _, kind, ..] = *header;
        let mut route =
            NetworkRoute { family, kind, protocol, prefix_length, ..NetworkRoute::default() };
        for attribute in (Attributes { rest: attributes }) {
            let (kind, value) = attribute?;
            match kind {
                rta::DST => route.destination = ip(value),
                rta::PREFSRC => route.source = ip(value),
                rta::GATEWAY => route.gateway = ip(value),
                rta::PRIORITY => route.priority = number_32(value).unwrap_or(0),
                rta::OIF => route.interface = signed_32(value),
                rta::MULTIPATH => route.next_hops = NextHops { rest: value },
                _ => {}
            }
        }
        each(route);
        Ok(true)
    })
}

/// An address, whose length says of which family it is.
fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|it| Ipv4Addr::from(*it).into()),
        16 => value.first_chunk::<16>().map(|it| Ipv6Addr::from(*it).into()),
        _ => None,
    }
}

/// A socket for neighbours and routes.
#[derive(Debug)]
pub struct Tables(Socket);

impl Tables {
    /// Opens nothing and allocates nothing yet.
    pub const fn new() -> Self {
        Tables(Socket::new(None))
    }

    /// Passes on every neighbour of a family.
    ///
    /// # Errors
    ///
    /// The socket was refused, the kernel refused the dump, it did not answer in time, or the answer
    /// is no sound dump.
    pub fn neighbours(&mut self, family: u8, each: &mut dyn FnMut(Neighbour)) -> io::Result<Dump> {
        self.0.dump(&mut request(RTM_GETNEIGH, family))?;
        Ok(parse_neighbours(self.0.bytes(), each)?)
    }

    /// Passes on every route of every family and table.
    ///
    /// # Errors
    ///
    /// As [`Tables::neighbours`].
    pub fn routes(&mut self, each: &mut dyn FnMut(NetworkRoute<'_>)) -> io::Result<Dump> {
        self.0.dump(&mut request(RTM_GETROUTE, 0))?;
        Ok(parse_routes(self.0.bytes(), each)?)
    }
}

/// A request for a dump, whose sequence number the socket fills in.
pub(super) fn request(kind: u16, family: u8) -> [u8; HEADER + MESSAGE] {
    let mut bytes = dump_request(kind);
    bytes[HEADER] = family;
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attribute, message};
    use super::*;

    fn next_hop(interface: i32, hops: u8, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = ((attributes.len() + NEXT_HOP) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[0, hops]);
        bytes.extend_from_slice(&interface.to_ne_bytes());
        bytes.extend_from_slice(attributes);
        bytes
    }

    /// A route with every attribute that is read, and one that is not.
    fn route() -> Vec<u8> {
        let ways = [next_hop(3, 0, &attribute(rta::GATEWAY, &[192, 0, 2, 1])), next_hop(4, 9, &[])];
        let attributes = [
            attribute(rta::DST, &[198, 51, 100, 0]),
            attribute(rta::PREFSRC, &[192, 0, 2, 7]),
            attribute(rta::GATEWAY, &[0xfe; 16]),
            attribute(rta::PRIORITY, &100_u32.to_ne_bytes()),
            attribute(rta::OIF, &2_i32.to_ne_bytes()),
            attribute(rta::MULTIPATH, &ways.concat()),
            attribute(999, b"from the future"),
        ];
        let header = vec![2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        message(RTM_NEWROUTE, &[header, attributes.concat()].concat())
    }

    #[test]
    fn routes_are_parsed() {
        let mut seen = Vec::new();
        let dump = parse_routes(&route(), &mut |route| {
            let ways: Vec<NextHop> = route.next_hops.clone().collect();
            seen.push((format!("{route:?}"), ways));
        });
        assert_eq!(dump.map(|dump| dump.entries), Ok(1));
        let [(text, ways)] = &seen[..] else { panic!("{seen:?}") };
        assert!(text.contains("kind: 1, protocol: 3, prefix_length: 24"), "{text}");
        assert!(
            text.contains("destination: Some(198.51.100.0), source: Some(192.0.2.7)"),
            "{text}"
        );
        assert!(text.contains("priority: 100, interface: Some(2)"), "{text}");
        let gateway = Some(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(
            ways[..],
            [
                NextHop { interface: 3, weight: 1, gateway },
                NextHop { interface: 4, weight: 10, gateway: None },
            ]
        );
    }

    #[test]
    fn neighbours_are_parsed() {
        let payload = [2, 0, 0, 0, 3, 0, 0, 0, 0x40, 0, 0, 1, 8, 0, 1, 0, 192, 0, 2, 1];
        let mut seen = Vec::new();
        parse_neighbours(&message(RTM_NEWNEIGH, &payload), &mut |one| seen.push(one)).unwrap();
        let (interface, state) = (i32::from_ne_bytes([3, 0, 0, 0]), u16::from_ne_bytes([0x40, 0]));
        assert_eq!(seen, [Neighbour { family: 2, interface, state }]);
    }

    #[test]
    fn no_bytes_stop_the_parsers() {
        let whole = route();
        for length in 0..whole.len() {
            let _ =
                parse_routes(&whole[..length], &mut |route| assert!(route.next_hops.count() < 99));
            let _ = parse_neighbours(&whole[..length], &mut drop);
            assert!(NextHops::of(&whole[..length]).count() <= length);
            // The same with a length that fits, so that the attributes are looked at.
            let mut cut = whole[..length].to_vec();
            if length >= HEADER {
                cut[..4].copy_from_slice(&(length as u32).to_ne_bytes());
                let _ = parse_routes(&cut, &mut |route| assert!(route.next_hops.count() < 99));
            }
        }
    }

    #[test]
    fn this_kernel_answers() {
        let mut tables = Tables::new();
        let (mut routes, mut neighbours) = (0, 0);
        let dump = tables.routes(&mut |_| routes += 1).unwrap();
        assert!(dump.finished);
        assert_eq!(dump.entries, routes);
        let dump = tables.neighbours(2, &mut |one| neighbours += usize::from(one.family == 2));
        assert_eq!(dump.unwrap().entries, neighbours);
    }
}
