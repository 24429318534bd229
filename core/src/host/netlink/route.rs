//! Network interfaces and their addresses, as rtnetlink dumps them.
//!
//! One request answers for every interface at once, where `/sys/class/net` takes a file per fact
//! and interface. Layouts are those of `linux/rtnetlink.h`, `linux/if_link.h` and
//! `linux/if_addr.h`.
//!
//! Parsing ([`parse_links`], [`parse_statistics`], [`parse_addresses`]) is apart from the socket: it takes any bytes,
//! never panics and always ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux_raw_sys::netlink;

use super::frame::{self, Attributes, Dump, DumpError, number_32, parse, signed_32, text};
use super::socket::Socket;

pub(super) const RTM_NEWLINK: u16 = netlink::RTM_NEWLINK as u16;
pub(super) const RTM_GETLINK: u16 = netlink::RTM_GETLINK as u16;
pub(super) const RTM_NEWADDR: u16 = netlink::RTM_NEWADDR as u16;
pub(super) const RTM_GETADDR: u16 = netlink::RTM_GETADDR as u16;
pub(super) const RTM_NEWSTATS: u16 = netlink::RTM_NEWSTATS as u16;
pub(super) const RTM_GETSTATS: u16 = netlink::RTM_GETSTATS as u16;
pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = netlink::RTEXT_FILTER_SKIP_STATS;
/// `sizeof(struct ifinfomsg)`.
pub(super) const IFINFOMSG: usize = 16;
/// `sizeof(struct ifaddrmsg)`, of `linux/if_addr.h`.
pub(super) const IFADDRMSG: usize = 8;
/// `sizeof(struct if_stats_msg)`, of `linux/if_link.h`.
pub(super) const IF_STATS_MSG: usize = 12;
/// `IFLA_STATS_LINK_64` of `linux/if_link.h`, the first bit of `if_stats_msg.filter_mask` and an attribute.
pub(super) const IFLA_STATS_LINK_64: u16 = 1;

/// `linux/if_link.h`: the attributes of an interface.
pub(super) mod ifla {
    use linux_raw_sys::netlink;

    pub(crate) const ADDRESS: u16 = netlink::IFLA_ADDRESS as u16;
    pub(crate) const BROADCAST: u16 = netlink::IFLA_BROADCAST as u16;
    pub(crate) const IFNAME: u16 = netlink::IFLA_IFNAME as u16;
    pub(crate) const MTU: u16 = netlink::IFLA_MTU as u16;
    pub(crate) const LINK: u16 = netlink::IFLA_LINK as u16;
    pub(crate) const STATS: u16 = netlink::IFLA_STATS as u16;
    pub(crate) const MASTER: u16 = netlink::IFLA_MASTER as u16;
    pub(crate) const TXQLEN: u16 = netlink::IFLA_TXQLEN as u16;
    pub(crate) const OPERSTATE: u16 = netlink::IFLA_OPERSTATE as u16;
    pub(crate) const LINKMODE: u16 = netlink::IFLA_LINKMODE as u16;
    pub(crate) const LINKINFO: u16 = netlink::IFLA_LINKINFO as u16;
    /// Inside `IFLA_LINKINFO`.
    pub(crate) const INFO_KIND: u16 = netlink::IFLA_INFO_KIND as u16;
    pub(crate) const IFALIAS: u16 = netlink::IFLA_IFALIAS as u16;
    pub(crate) const STATS64: u16 = netlink::IFLA_STATS64 as u16;
    pub(crate) const GROUP: u16 = netlink::IFLA_GROUP as u16;
    pub(crate) const EXT_MASK: u16 = netlink::IFLA_EXT_MASK as u16;
    pub(crate) const NUM_TX_QUEUES: u16 = netlink::IFLA_NUM_TX_QUEUES as u16;
    pub(crate) const NUM_RX_QUEUES: u16 = netlink::IFLA_NUM_RX_QUEUES as u16;
    pub(crate) const CARRIER: u16 = netlink::IFLA_CARRIER as u16;
    pub(crate) const PHYS_PORT_ID: u16 = netlink::IFLA_PHYS_PORT_ID as u16;
    pub(crate) const CARRIER_CHANGES: u16 = netlink::IFLA_CARRIER_CHANGES as u16;
    pub(crate) const PHYS_SWITCH_ID: u16 = netlink::IFLA_PHYS_SWITCH_ID as u16;
    pub(crate) const PROMISCUITY: u16 = netlink::IFLA_PROMISCUITY as u16;
    pub(crate) const ALLMULTI: u16 = netlink::IFLA_ALLMULTI as u16;
    pub(crate) const LINK_NETNSID: u16 = netlink::IFLA_LINK_NETNSID as u16;
    pub(crate) const PHYS_PORT_NAME: u16 = netlink::IFLA_PHYS_PORT_NAME as u16;
    pub(crate) const PROTO_DOWN: u16 = netlink::IFLA_PROTO_DOWN as u16;
    pub(crate) const CARRIER_UP_COUNT: u16 = netlink::IFLA_CARRIER_UP_COUNT as u16;
    pub(crate) const CARRIER_DOWN_COUNT: u16 = netlink::IFLA_CARRIER_DOWN_COUNT as u16;
    pub(crate) const PROP_LIST: u16 = netlink::IFLA_PROP_LIST as u16;
    /// Inside `IFLA_PROP_LIST`.
    pub(crate) const ALT_IFNAME: u16 = netlink::IFLA_ALT_IFNAME as u16;
}

/// `linux/if_addr.h`: the attributes of an address.
pub(super) mod ifa {
    use linux_raw_sys::netlink;

    pub(crate) const ADDRESS: u16 = netlink::IFA_ADDRESS as u16;
    pub(crate) const LOCAL: u16 = netlink::IFA_LOCAL as u16;
    pub(crate) const LABEL: u16 = netlink::IFA_LABEL as u16;
    pub(crate) const FLAGS: u16 = netlink::IFA_FLAGS as u16;
}

/// `linux/socket.h`: the families of [`Address::family`].
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// A network interface: `struct ifinfomsg` and the `IFLA_*` attributes of one `RTM_NEWLINK`.
///
/// Texts come without their terminating NUL, and are bytes because the kernel takes any but `/`,
/// `:`, white space and NUL. What the kernel did not send, or sent in too few bytes, is `None`.
#[derive(Debug, Clone, Default)]
pub struct Link<'a> {
    /// `ifi_index`.
    pub index: i32,
    /// `IFLA_IFNAME`; never empty.
    pub name: &'a [u8],
    /// `IFLA_IFALIAS`.
    pub alias: Option<&'a [u8]>,
    /// `IFLA_PROP_LIST` with its `IFLA_ALT_IFNAME`s.
    pub alternative_names: AlternativeNames<'a>,
    /// `ifi_flags`: the `IFF_*` of `linux/if.h`.
    pub flags: u32,
    /// `ifi_type`: the `ARPHRD_*` of `linux/if_arp.h`.
    pub arp_type: u16,
    /// `IFLA_LINKINFO` / `IFLA_INFO_KIND`, such as `veth`; hardware has none.
    pub kind: Option<&'a [u8]>,
    /// `IFLA_MTU`, bytes.
    pub mtu: Option<u32>,
    /// `IFLA_TXQLEN`, packets.
    pub tx_queue_len: Option<u32>,
    /// `IFLA_NUM_TX_QUEUES`.
    pub tx_queues: Option<u32>,
    /// `IFLA_NUM_RX_QUEUES`.
    pub rx_queues: Option<u32>,
    /// `IFLA_OPERSTATE`: the `IF_OPER_*` of `linux/if.h`.
    pub operational_state: Option<u8>,
    /// `IFLA_LINKMODE`: the `IF_LINK_MODE_*` of `linux/if.h`.
    pub link_mode: Option<u8>,
    /// `IFLA_CARRIER`. Unlike sysfs, it is sent for an interface that is down, too.
    pub carrier: Option<u8>,
    /// `IFLA_CARRIER_CHANGES`: ups and downs together.
    pub carrier_changes: Option<u32>,
    /// `IFLA_CARRIER_UP_COUNT`.
    pub carrier_up_count: Option<u32>,
    /// `IFLA_CARRIER_DOWN_COUNT`.
    pub carrier_down_count: Option<u32>,
    /// `IFLA_MASTER`: the index of the bridge, bond or VRF this one belongs to.
    pub master: Option<i32>,
    /// `IFLA_LINK`: the index of the interface below, or of a veth's peer. The kernel leaves it
    /// out where it is the interface itself; sysfs' `iflink` is `link.unwrap_or(index)`.
    pub link: Option<i32>,
    /// `IFLA_LINK_NETNSID`: sent if [`Link::link`] is an index in another network namespace.
    pub link_namespace: Option<i32>,
    /// `IFLA_GROUP`.
    pub group: Option<u32>,
    /// `IFLA_PROTO_DOWN`.
    pub proto_down: Option<u8>,
    /// `IFLA_PROMISCUITY`: how many want every packet of the link.
    pub promiscuity: Option<u32>,
    /// `IFLA_ALLMULTI`: how many want every multicast packet; since Linux 6.1.
    pub all_multicast: Option<u32>,
    /// `IFLA_ADDRESS`: the hardware address.
    pub address: Option<&'a [u8]>,
    /// `IFLA_BROADCAST`: the hardware broadcast address.
    pub broadcast: Option<&'a [u8]>,
    /// `IFLA_PHYS_PORT_NAME`.
    pub physical_port_name: Option<&'a [u8]>,
    /// `IFLA_PHYS_PORT_ID`, raw bytes.
    pub physical_port_id: Option<&'a [u8]>,
    /// `IFLA_PHYS_SWITCH_ID`, raw bytes.
    pub physical_switch_id: Option<&'a [u8]>,
    /// `IFLA_STATS64`, or `IFLA_STATS` where the kernel sends no other.
    pub statistics: Option<LinkStatistics>,
}

/// The alternative names of an interface, one by one.
#[derive(Debug, Clone, Default)]
pub struct AlternativeNames<'a> {
    list: Attributes<'a>,
}

impl<'a> Iterator for AlternativeNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // A list broken in its middle has no more names: the interface itself is still good.
        while let Some(Ok((kind, value))) = self.list.next() {
            if kind == ifla::ALT_IFNAME {
                return Some(text(value));
            }
        }
        None
    }
}

/// Declares the counters in the order of the C structure, which is the order in the attribute.
macro_rules! link_statistics {
    ($($field:ident: $what:literal,)*) => {
        /// `struct rtnl_link_stats64` of `linux/if_link.h`, whose comments say what each counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct LinkStatistics {
            $(#[doc = $what] pub $field: u64,)*
        }

        impl LinkStatistics {
            /// Reads the counters in their order from `next`, which answers 0 past its end.
            fn read(mut next: impl FnMut() -> u64) -> Self {
                Self { $($field: next(),)* }
            }
        }
    };
}

link_statistics! {
    rx_packets: "Good packets received.",
    tx_packets: "Packets sent.",
    rx_bytes: "Good bytes received.",
    tx_bytes: "Good bytes sent.",
    rx_errors: "Bad packets received.",
    tx_errors: "Packets that could not be sent.",
    rx_dropped: "Packets received but not processed; without `rx_missed_errors`.",
    tx_dropped: "Packets dropped on their way out.",
    multicast: "Multicast packets received.",
    collisions: "Collisions.",
    rx_length_errors: "Packets of an invalid length.",
    rx_over_errors: "Receiver overruns.",
    rx_crc_errors: "Packets with a CRC error.",
    rx_frame_errors: "Packets with an alignment error.",
    rx_fifo_errors: "Receiver queue overruns.",
    rx_missed_errors: "Packets the device had no buffer for.",
    tx_aborted_errors: "Sends aborted.",
    tx_carrier_errors: "Sends that lost the carrier.",
    tx_fifo_errors: "Sender queue underruns.",
    tx_heartbeat_errors: "Heartbeat errors of old half-duplex Ethernet.",
    tx_window_errors: "Late collisions.",
    rx_compressed: "Compressed packets received.",
    tx_compressed: "Compressed packets sent.",
    rx_nohandler: "Packets for a device that takes none; 0 before Linux 4.6.",
    rx_otherhost_dropped: "Packets for another host's address; 0 before Linux 5.19.",
}

impl LinkStatistics {
    /// `IFLA_STATS64`. An older kernel's structure is shorter, a newer one's longer: the fields
    /// that are not there are 0, as the kernel's own zeroed structure would have them.
    fn from_64(mut value: &[u8]) -> Option<Self> {
        (value.len() >= 8).then(|| Self::read(|| take(&mut value).map_or(0, u64::from_ne_bytes)))
    }

    /// `IFLA_STATS`: the same fields, cut to 32 bits.
    fn from_32(mut value: &[u8]) -> Option<Self> {
        (value.len() >= 4)
            .then(|| Self::read(|| take(&mut value).map_or(0, |it| u32::from_ne_bytes(it).into())))
    }
}

/// An address of an interface: `struct ifaddrmsg` and the `IFA_*` attributes of one `RTM_NEWADDR`.
#[derive(Debug, Clone)]
pub struct Address<'a> {
    /// `ifa_index`: [`Link::index`] of its interface.
    pub index: u32,
    /// `ifa_family`: `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// `ifa_prefixlen`.
    pub prefix_length: u8,
    /// `ifa_scope`: the `RT_SCOPE_*` of `linux/rtnetlink.h`.
    pub scope: u8,
    /// `IFA_FLAGS`, or `ifa_flags` where the kernel does not send it: the `IFA_F_*`.
    pub flags: u32,
    /// `IFA_LABEL`; IPv6 has none.
    pub label: Option<&'a [u8]>,
    /// `IFA_LOCAL`, or `IFA_ADDRESS` without one: on a point-to-point interface `IFA_ADDRESS` is
    /// the other side's, with IPv6 as with IPv4.
    pub address: IpAddr,
}

/// Passes on each interface in the bytes of an `RTM_GETLINK` dump, message upon message.
///
/// An interface without a name is left out, since nothing could be said of it.
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_links(bytes: &[u8], each: &mut dyn FnMut(Link<'_>)) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWLINK, &mut |payload| {
        let Some(link) = parse_link(payload)? else { return Ok(false) };
        each(link);
        Ok(true)
    })
}

/// Passes on the index of each interface in the bytes of an `RTM_GETSTATS` dump, and what it has counted.
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_statistics(
    bytes: &[u8],
    each: &mut dyn FnMut(i32, Option<LinkStatistics>),
) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWSTATS, &mut |payload| {
        // family, padding, ifindex, filter_mask.
        let Some((header, attributes)) = payload.split_first_chunk::<{ IF_STATS_MSG }>() else {
            return Err(DumpError::Message);
        };
        let [_, _, _, _, i0, i1, i2, i3, ..] = *header;
        let mut statistics = None;
        for attribute in (Attributes { rest: attributes }) {
            if let (IFLA_STATS_LINK_64, value) = attribute? {
                statistics = LinkStatistics::from_64(value);
            }
        }
        each(i32::from_ne_bytes([i0, i1, i2, i3]), statistics);
        Ok(true)
    })
}

/// Passes on each IPv4 and IPv6 address in the bytes of an `RTM_GETADDR` dump.
///
/// Addresses of other families are left out.
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_addresses(bytes: &[u8], each: &mut dyn FnMut(Address<'_>)) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWADDR, &mut |payload| {
        let Some(address) = parse_address(payload)? else { return Ok(false) };
        each(address);
        Ok(true)
    })
}

fn parse_link(payload: &[u8]) -> Result<Option<Link<'_>>, DumpError> {
    // ifi_family, a byte of padding, ifi_type, ifi_index, ifi_flags, ifi_change.
    let Some((header, attributes)) = payload.split_first_chunk::<{ IFINFOMSG }>() else {
        return Err(DumpError::Message);
    };
    let [_, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let mut link = Link {
        arp_type: u16::from_ne_bytes([t0, t1]),
        index: i32::from_ne_bytes([i0, i1, i2, i3]),
        flags: u32::from_ne_bytes([f0, f1, f2, f3]),
        ..Link::default()
    };
    let mut statistics_32 = None;
    for attribute in (Attributes { rest: attributes }) {
        let (kind, value) = attribute?;
        match kind {
            ifla::ADDRESS => link.address = Some(value),
            ifla::BROADCAST => link.broadcast = Some(value),
            ifla::IFNAME => link.name = text(value),
            ifla::MTU => link.mtu = number_32(value),
            ifla::LINK => link.link = signed_32(value),
            ifla::STATS => statistics_32 = Some(value),
            ifla::MASTER => link.master = signed_32(value),
            ifla::TXQLEN => link.tx_queue_len = number_32(value),
            ifla::OPERSTATE => link.operational_state = value.first().copied(),
            ifla::LINKMODE => link.link_mode = value.first().copied(),
            ifla::LINKINFO => {
                link.kind = Attributes { rest: value }
                    .map_while(Result::ok)
                    .find(|(kind, _)| *kind == ifla::INFO_KIND)
                    .map(|(_, value)| text(value));
            }
            ifla::IFALIAS => link.alias = Some(text(value)),
            ifla::STATS64 => link.statistics = LinkStatistics::from_64(value),
            ifla::GROUP => link.group = number_32(value),
            ifla::NUM_TX_QUEUES => link.tx_queues = number_32(value),
            ifla::NUM_RX_QUEUES => link.rx_queues = number_32(value),
            ifla::CARRIER => link.carrier = value.first().copied(),
            ifla::PHYS_PORT_ID => link.physical_port_id = Some(value),
            ifla::CARRIER_CHANGES => link.carrier_changes = number_32(value),
            ifla::PHYS_SWITCH_ID => link.physical_switch_id = Some(value),
            ifla::LINK_NETNSID => link.link_namespace = signed_32(value),
            ifla::PHYS_PORT_NAME => link.physical_port_name = Some(text(value)),
            ifla::PROMISCUITY => link.promiscuity = number_32(value),
            ifla::ALLMULTI => link.all_multicast = number_32(value),
            ifla::PROTO_DOWN => link.proto_down = value.first().copied(),
            ifla::CARRIER_UP_COUNT => link.carrier_up_count = number_32(value),
            ifla::CARRIER_DOWN_COUNT => link.carrier_down_count = number_32(value),
            ifla::PROP_LIST => {
                link.alternative_names = AlternativeNames { list: Attributes { rest: value } };
            }
            _ => {}
        }
    }
    if link.statistics.is_none() {
        link.statistics = statistics_32.and_then(LinkStatistics::from_32);
    }
    Ok((!link.name.is_empty()).then_some(link))
}

fn parse_address(payload: &[u8]) -> Result<Option<Address<'_>>, DumpError> {
    let Some((header, attributes)) = payload.split_first_chunk::<{ IFADDRMSG }>() else {
        return Err(DumpError::Message);
    };
    let [family, prefix_length, flags, scope, i0, i1, i2, i3] = *header;
    let mut flags = u32::from(flags);
    let (mut address, mut local, mut label) = (None, None, None);
    for attribute in (Attributes { rest: attributes }) {
        let (kind, value) = attribute?;
        match kind {
            ifa::ADDRESS => address = ip(family, value),
            ifa::LOCAL => local = ip(family, value),
            ifa::LABEL => label = Some(text(value)),
            ifa::FLAGS => flags = number_32(value).unwrap_or(flags),
            _ => {}
        }
    }
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    Ok(local.or(address).map(|address| Address {
        index,
        family,
        prefix_length,
        scope,
        flags,
        label,
        address,
    }))
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => value.first_chunk::<4>().map(|it| Ipv4Addr::from(*it).into()),
        AF_INET6 => value.first_chunk::<16>().map(|it| Ipv6Addr::from(*it).into()),
        _ => None,
    }
}

/// Takes the first `N` bytes off, or nothing if there are fewer.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    Links { statistics: bool },
    Statistics,
    Addresses,
}

/// The longest request: a header, `struct ifinfomsg` and one attribute of 32 bits.
pub(super) const REQUEST: usize = frame::HEADER + IFINFOMSG + frame::ATTRIBUTE_HEADER + 4;

impl Request {
    /// The request's bytes, and how many of them count. Every family and flag asked for is 0: all.
    pub(super) fn encode(self, sequence: u32) -> ([u8; REQUEST], usize) {
        let (kind, length) = match self {
            Self::Links { statistics: true } => (RTM_GETLINK, frame::HEADER + IFINFOMSG),
            Self::Links { statistics: false } => (RTM_GETLINK, REQUEST),
            Self::Statistics => (RTM_GETSTATS, frame::HEADER + IF_STATS_MSG),
            Self::Addresses => (RTM_GETADDR, frame::HEADER + IFADDRMSG),
        };
        let mut bytes = [0; REQUEST];
        frame::write_request(&mut bytes, length as u32, kind, frame::NLM_F_DUMP);
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        match self {
            Self::Links { statistics: false } => {
                let at = frame::HEADER + IFINFOMSG;
                bytes[at..at + 2].copy_from_slice(&8_u16.to_ne_bytes());
                bytes[at + 2..at + 4].copy_from_slice(&ifla::EXT_MASK.to_ne_bytes());
                bytes[at + 4..at + 8].copy_from_slice(&RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
            }
            Self::Statistics => {
                let filter = 1_u32 << (IFLA_STATS_LINK_64 - 1);
                bytes[length - 4..length].copy_from_slice(&filter.to_ne_bytes());
            }
            Self::Links { statistics: true } | Self::Addresses => {}
        }
        (bytes, length)
    }
}

/// A kept rtnetlink socket.
#[derive(Debug)]
pub struct Route(Socket);

impl Default for Route {
    fn default() -> Self {
        Self::new()
    }
}

impl Route {
    /// Opens nothing and allocates nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Socket::new(None))
    }

    fn ask(&mut self, request: Request) -> io::Result<()> {
        let (mut bytes, length) = request.encode(0);
        self.0.dump(&mut bytes[..length])
    }

    /// Asks for every interface with its statistics (`RTM_GETLINK`), for [`Route::last_links`].
    ///
    /// # Errors
    ///
    /// The socket was refused, the kernel refused the dump, or it did not answer in time.
    pub fn dump_links(&mut self) -> io::Result<()> {
        self.ask(Request::Links { statistics: true })
    }

    /// Exchanges the memory of the last dump for other memory.
    pub(in crate::host) fn swap_dump(&mut self, memory: &mut Vec<u8>) {
        self.0.swap_bytes(memory);
    }

    /// Passes on every interface of the last dump.
    ///
    /// # Errors
    ///
    /// The last dump was of something else.
    pub fn last_links(&self, each: &mut dyn FnMut(Link<'_>)) -> io::Result<Dump> {
        Ok(parse_links(self.0.bytes(), each)?)
    }

    /// Passes on every interface with its statistics.
    ///
    /// # Errors
    ///
    /// As [`Route::dump_links`]. If the interfaces change during each of a few attempts, the last
    /// is passed on and [`Dump::interrupted`] says so.
    pub fn links(&mut self, each: &mut dyn FnMut(Link<'_>)) -> io::Result<Dump> {
        self.dump_links()?;
        self.last_links(each)
    }

    /// Asks for what every interface has counted and for nothing else of it (`RTM_GETSTATS`), for
    /// [`Route::last_statistics`].
    ///
    /// # Errors
    ///
    /// As [`Route::dump_links`]; before Linux 4.7 the kernel refuses it.
    pub fn dump_statistics(&mut self) -> io::Result<()> {
        self.ask(Request::Statistics)
    }

    /// Passes on the index of every interface of the last dump and what it has counted.
    ///
    /// # Errors
    ///
    /// The last dump was of something else.
    pub fn last_statistics(
        &self,
        each: &mut dyn FnMut(i32, Option<LinkStatistics>),
    ) -> io::Result<Dump> {
        Ok(parse_statistics(self.0.bytes(), each)?)
    }

    /// Passes on every interface, and asks the kernel to leave out the statistics, which it sums up
    /// over all processors (`RTEXT_FILTER_SKIP_STATS`).
    ///
    /// Kernels up to 6.18 at least spare only IPv6's own counters and send `IFLA_STATS64` all the
    /// same, so [`Link::statistics`] may be there.
    ///
    /// # Errors
    ///
    /// As [`Route::links`].
    pub fn links_without_statistics(&mut self, each: &mut dyn FnMut(Link<'_>)) -> io::Result<Dump> {
        self.ask(Request::Links { statistics: false })?;
        self.last_links(each)
    }

    /// Passes on every IPv4 and IPv6 address (`RTM_GETADDR`).
    ///
    /// # Errors
    ///
    /// As [`Route::links`].
    pub fn addresses(&mut self, each: &mut dyn FnMut(Address<'_>)) -> io::Result<Dump> {
        self.ask(Request::Addresses)?;
        Ok(parse_addresses(self.0.bytes(), each)?)
    }
}
