//! Network interfaces and their addresses, as rtnetlink dumps them.
//!
//! One request answers for every interface at once, where `/sys/class/net` takes a file per fact
//! and interface. Numbers and layouts are those of `linux/netlink.h`, `linux/rtnetlink.h`,
//! `linux/if_link.h` and `linux/if_addr.h`.
//!
//! Parsing ([`parse_links`], [`parse_addresses`]) is apart from the socket ([`Netlink`]): it takes
//! any bytes, never panics and always ends.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// `linux/netlink.h`: the framing of messages and attributes.
mod frame {
    pub(super) const NLMSG_ERROR: u16 = 2;
    pub(super) const NLMSG_DONE: u16 = 3;
    pub(super) const NLMSG_OVERRUN: u16 = 4;
    pub(super) const NLM_F_REQUEST: u16 = 0x1;
    pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
    pub(super) const NLM_F_DUMP: u16 = 0x300;
    /// `sizeof(struct nlmsghdr)`.
    pub(super) const HEADER: usize = 16;
    /// `sizeof(struct nlattr)`.
    pub(super) const ATTRIBUTE_HEADER: usize = 4;
    /// `NLA_TYPE_MASK`: the type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    pub(super) const NLA_TYPE_MASK: u16 = 0x3fff;
}

/// `linux/rtnetlink.h`: the requests and their answers.
mod route {
    pub(super) const RTM_NEWLINK: u16 = 16;
    pub(super) const RTM_GETLINK: u16 = 18;
    pub(super) const RTM_NEWADDR: u16 = 20;
    pub(super) const RTM_GETADDR: u16 = 22;
    pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
    /// `sizeof(struct ifinfomsg)`.
    pub(super) const IFINFOMSG: usize = 16;
    /// `sizeof(struct ifaddrmsg)`, of `linux/if_addr.h`.
    pub(super) const IFADDRMSG: usize = 8;
}

/// `linux/if_link.h`: the attributes of an interface.
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const BROADCAST: u16 = 2;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const STATS: u16 = 7;
    pub(super) const MASTER: u16 = 10;
    pub(super) const TXQLEN: u16 = 13;
    pub(super) const OPERSTATE: u16 = 16;
    pub(super) const LINKMODE: u16 = 17;
    pub(super) const LINKINFO: u16 = 18;
    /// Inside `IFLA_LINKINFO`.
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const IFALIAS: u16 = 20;
    pub(super) const STATS64: u16 = 23;
    pub(super) const GROUP: u16 = 27;
    pub(super) const EXT_MASK: u16 = 29;
    pub(super) const NUM_TX_QUEUES: u16 = 31;
    pub(super) const NUM_RX_QUEUES: u16 = 32;
    pub(super) const CARRIER: u16 = 33;
    pub(super) const PHYS_PORT_ID: u16 = 34;
    pub(super) const CARRIER_CHANGES: u16 = 35;
    pub(super) const PHYS_SWITCH_ID: u16 = 36;
    pub(super) const LINK_NETNSID: u16 = 37;
    pub(super) const PHYS_PORT_NAME: u16 = 38;
    pub(super) const PROTO_DOWN: u16 = 39;
    pub(super) const CARRIER_UP_COUNT: u16 = 47;
    pub(super) const CARRIER_DOWN_COUNT: u16 = 48;
    pub(super) const PROP_LIST: u16 = 52;
    /// Inside `IFLA_PROP_LIST`.
    pub(super) const ALT_IFNAME: u16 = 53;
}

/// `linux/if_addr.h`: the attributes of an address.
mod ifa {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const LABEL: u16 = 3;
    pub(super) const FLAGS: u16 = 8;
}

/// `linux/socket.h`: the families of [`Address::family`].
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The kernel caps what it puts into one datagram of a dump at this many bytes, and fills it that
/// far only for a receiver which offered as much before (`netlink_dump` in `af_netlink.c`).
const DATAGRAM: usize = 32 * 1024;

/// Some forty thousand interfaces: more is a fault that must not take the host's memory.
const LARGEST_DUMP: usize = 64 * 1024 * 1024;

/// How often one dump is asked for before it is given up, or taken as the kernel gave it.
const ATTEMPTS: u32 = 4;

/// The longest wait for one datagram. The kernel answers a dump as it is asked, so this passes
/// only if an answer was lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// No datagram is waited for any more once a dump, all its attempts together, took this long.
const DUMP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the bytes of a dump said about the dump itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dump {
    /// The interfaces or addresses passed on.
    pub entries: usize,
    /// The kernel marked the dump as inconsistent (`NLM_F_DUMP_INTR`), because the list changed
    /// meanwhile: an entry may be missing or be there twice.
    pub interrupted: bool,
    /// The kernel's end mark (`NLMSG_DONE`) was found.
    pub finished: bool,
}

/// Why bytes are not a dump. What was passed on before stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpError {
    /// A message is shorter than its header says, or its length cannot be.
    Message,
    /// An attribute is shorter than its header says, or its length cannot be.
    Attribute,
    /// The kernel refused or broke off the dump, with this `errno` (`NLMSG_ERROR`, `NLMSG_DONE`).
    Refused(i32),
    /// The kernel lost answers (`NLMSG_OVERRUN`).
    Overrun,
}

impl fmt::Display for DumpError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => out.write_str("a netlink message has an impossible length"),
            Self::Attribute => out.write_str("a netlink attribute has an impossible length"),
            Self::Refused(errno) => {
                write!(out, "the kernel refused: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Overrun => out.write_str("netlink answers were lost"),
        }
    }
}

impl std::error::Error for DumpError {}

impl From<DumpError> for io::Error {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Refused(errno) => Self::from_raw_os_error(errno),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// A network interface: `struct ifinfomsg` and the `IFLA_*` attributes of one `RTM_NEWLINK`.
///
/// Texts come without their terminating NUL, and are bytes because the kernel takes any but `/`,
/// `:`, white space and NUL. What the kernel did not tell, or told in too few bytes, is `None`.
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
    /// `IFLA_CARRIER`. Unlike sysfs, it is told for an interface that is down, too.
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
    /// `IFLA_LINK_NETNSID`: told if [`Link::link`] is an index in another network namespace.
    pub link_namespace: Option<i32>,
    /// `IFLA_GROUP`.
    pub group: Option<u32>,
    /// `IFLA_PROTO_DOWN`.
    pub proto_down: Option<u8>,
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
    parse(bytes, route::RTM_NEWLINK, &mut |payload| {
        let Some(link) = parse_link(payload)? else { return Ok(false) };
        each(link);
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
    parse(bytes, route::RTM_NEWADDR, &mut |payload| {
        let Some(address) = parse_address(payload)? else { return Ok(false) };
        each(address);
        Ok(true)
    })
}

/// Walks the messages; `entry` takes the payload of those of type `wanted`.
fn parse(
    bytes: &[u8],
    wanted: u16,
    entry: &mut dyn FnMut(&[u8]) -> Result<bool, DumpError>,
) -> Result<Dump, DumpError> {
    let mut dump = Dump::default();
    for message in (Messages { rest: bytes }) {
        let message = message?;
        dump.interrupted |= message.flags & frame::NLM_F_DUMP_INTR != 0;
        if message.ends_dump()? {
            dump.finished = true;
            break;
        }
        if message.kind == wanted && entry(message.payload)? {
            dump.entries += 1;
        }
    }
    Ok(dump)
}

fn parse_link(payload: &[u8]) -> Result<Option<Link<'_>>, DumpError> {
    // ifi_family, a byte of padding, ifi_type, ifi_index, ifi_flags, ifi_change.
    let Some((header, attributes)) = payload.split_first_chunk::<{ route::IFINFOMSG }>() else {
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
    let Some((header, attributes)) = payload.split_first_chunk::<{ route::IFADDRMSG }>() else {
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

/// The bytes before the first NUL.
fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn number_32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|it| u32::from_ne_bytes(*it))
}

fn signed_32(value: &[u8]) -> Option<i32> {
    value.first_chunk().map(|it| i32::from_ne_bytes(*it))
}

/// Takes the first `N` bytes off, or nothing if there are fewer.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// `NLMSG_ALIGN` and `NLA_ALIGN`, which are the same.
const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// One message: `struct nlmsghdr` and what follows it.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// Whether it is the end mark; an error if it says that the dump failed.
    fn ends_dump(&self) -> Result<bool, DumpError> {
        // Both begin with an `int`: 0, or a negative errno.
        let result = || signed_32(self.payload).unwrap_or(0);
        match self.kind {
            frame::NLMSG_DONE | frame::NLMSG_ERROR if result() < 0 => {
                Err(DumpError::Refused(result().saturating_neg()))
            }
            frame::NLMSG_DONE => Ok(true),
            frame::NLMSG_OVERRUN => Err(DumpError::Overrun),
            // An error of 0 is an acknowledgement.
            _ => Ok(false),
        }
    }
}

/// The messages in bytes; ends after the first error.
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let Some(header) = bytes.first_chunk::<{ frame::HEADER }>() else {
            return Some(Err(DumpError::Message));
        };
        let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        // This also refuses a length below the header's own, so that the walk always advances.
        let Some(payload) = bytes.get(frame::HEADER..length) else {
            return Some(Err(DumpError::Message));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([t0, t1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        }))
    }
}

/// The attributes in bytes, as type and value; ends after the first error.
#[derive(Debug, Clone, Default)]
struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let Some([l0, l1, t0, t1]) = bytes.first_chunk::<{ frame::ATTRIBUTE_HEADER }>() else {
            return Some(Err(DumpError::Attribute));
        };
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = bytes.get(frame::ATTRIBUTE_HEADER..length) else {
            return Some(Err(DumpError::Attribute));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok((u16::from_ne_bytes([*t0, *t1]) & frame::NLA_TYPE_MASK, value)))
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Links { statistics: bool },
    Addresses,
}

/// The longest request: a header, `struct ifinfomsg` and one attribute of 32 bits.
const REQUEST: usize = frame::HEADER + route::IFINFOMSG + frame::ATTRIBUTE_HEADER + 4;

impl Request {
    /// The request's bytes, and how many of them count. Every family and flag asked for is 0: all.
    fn encode(self, sequence: u32) -> ([u8; REQUEST], usize) {
        let (kind, length) = match self {
            Self::Links { statistics: true } => {
                (route::RTM_GETLINK, frame::HEADER + route::IFINFOMSG)
            }
            Self::Links { statistics: false } => (route::RTM_GETLINK, REQUEST),
            Self::Addresses => (route::RTM_GETADDR, frame::HEADER + route::IFADDRMSG),
        };
        let mut bytes = [0; REQUEST];
        bytes[0..4].copy_from_slice(&(length as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(frame::NLM_F_REQUEST | frame::NLM_F_DUMP).to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        if self == (Self::Links { statistics: false }) {
            let at = frame::HEADER + route::IFINFOMSG;
            bytes[at..at + 2].copy_from_slice(&8_u16.to_ne_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&ifla::EXT_MASK.to_ne_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&route::RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        }
        (bytes, length)
    }
}

/// Why an attempt at a dump failed.
#[derive(Debug)]
enum Failure {
    /// Answers were lost: another attempt may do.
    Lost,
    Final(io::Error),
}

impl From<DumpError> for Failure {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Overrun => Self::Lost,
            other => Self::Final(other.into()),
        }
    }
}

/// A kept rtnetlink socket and its receive buffer.
///
/// The socket is opened at the first dump, and again after a failed one. A dump makes no
/// allocation once the buffer has grown to the host's size.
///
/// A socket stays with the network namespace that its thread was in when it was opened: a process
/// that changes namespaces needs a new `Netlink` to see the other's interfaces.
///
/// Waiting is bounded, but for the kernel's own lock on the interfaces, which a request waits for
/// while it is sent.
#[derive(Debug)]
pub struct Netlink {
    socket: Option<OwnedFd>,
    sequence: u32,
    /// All the messages of a dump, since one that was interrupted has to be asked for again before
    /// anything of it is passed on.
    buffer: Vec<u8>,
    /// What is offered for each datagram.
    offer: usize,
}

impl Default for Netlink {
    fn default() -> Self {
        Self::new()
    }
}

impl Netlink {
    /// Opens nothing and allocates nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { socket: None, sequence: 0, buffer: Vec::new(), offer: DATAGRAM }
    }

    /// Passes on every interface with its statistics (`RTM_GETLINK`).
    ///
    /// # Errors
    ///
    /// The socket was refused, the kernel refused the dump, or it did not answer in time. If the
    /// interfaces change during each of a few attempts, the last is passed on and
    /// [`Dump::interrupted`] says so.
    pub fn links(&mut self, each: &mut dyn FnMut(Link<'_>)) -> io::Result<Dump> {
        self.dump(Request::Links { statistics: true })?;
        Ok(parse_links(&self.buffer, each)?)
    }

    /// Passes on every interface, and tells the kernel that nobody needs the statistics, which it
    /// sums up over all processors (`RTEXT_FILTER_SKIP_STATS`).
    ///
    /// Kernels up to 6.18 at least spare only IPv6's own counters and send `IFLA_STATS64` all the
    /// same, so [`Link::statistics`] may be there.
    ///
    /// # Errors
    ///
    /// As [`Netlink::links`].
    pub fn links_without_statistics(&mut self, each: &mut dyn FnMut(Link<'_>)) -> io::Result<Dump> {
        self.dump(Request::Links { statistics: false })?;
        Ok(parse_links(&self.buffer, each)?)
    }

    /// Passes on every IPv4 and IPv6 address (`RTM_GETADDR`).
    ///
    /// # Errors
    ///
    /// As [`Netlink::links`].
    pub fn addresses(&mut self, each: &mut dyn FnMut(Address<'_>)) -> io::Result<Dump> {
        self.dump(Request::Addresses)?;
        Ok(parse_addresses(&self.buffer, each)?)
    }

    /// Fills the buffer with one whole dump, which is consistent if a few attempts can do it.
    fn dump(&mut self, request: Request) -> io::Result<()> {
        let deadline = Instant::now() + DUMP_TIMEOUT;
        for left in (0..ATTEMPTS).rev() {
            match self.attempt(request, deadline) {
                Ok(interrupted) if !interrupted || left == 0 => return Ok(()),
                Ok(_) => {}
                // The rest of a failed dump would still come, and the kernel refuses a second dump
                // meanwhile (EBUSY). A new socket has neither.
                Err(Failure::Lost) => self.socket = None,
                Err(Failure::Final(error)) => {
                    self.socket = None;
                    return Err(error);
                }
            }
        }
        Err(Errno::NOBUFS.into())
    }

    /// Asks once and receives all of the answer; says whether the dump was interrupted.
    fn attempt(&mut self, request: Request, deadline: Instant) -> Result<bool, Failure> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open().map_err(|error| Failure::Final(error.into()))?),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let (bytes, length) = request.encode(self.sequence);
        retry_interrupted(deadline, || send(&*socket, &bytes[..length], SendFlags::empty()))?;
        collect(&mut self.buffer, &mut self.offer, self.sequence, deadline, &mut |buffer| {
            // With MSG_TRUNC the answer is the datagram's whole length, also if it was cut.
            recv(&*socket, spare_capacity(buffer), RecvFlags::TRUNC).map(|(_, whole)| whole)
        })
    }
}

fn open() -> Result<OwnedFd, Errno> {
    // No protocol is protocol 0, and that is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
    // A connected socket takes datagrams from its peer only, which here is the kernel: no other
    // process can slip in an answer.
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Repeats a call that a signal interrupted, until the deadline.
fn retry_interrupted<T>(
    deadline: Instant,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Failure> {
    loop {
        match call() {
            Ok(value) => return Ok(value),
            Err(Errno::INTR) if Instant::now() < deadline => {}
            Err(Errno::NOBUFS) => return Err(Failure::Lost),
            Err(Errno::AGAIN | Errno::INTR) => return Err(timed_out()),
            Err(error) => return Err(Failure::Final(error.into())),
        }
    }
}

fn timed_out() -> Failure {
    Failure::Final(io::ErrorKind::TimedOut.into())
}

/// Receives datagrams into `buffer` up to the end mark of the dump with number `sequence`; says
/// whether the dump was interrupted.
///
/// `receive` appends a datagram to what the buffer holds, as far as its capacity goes, and answers
/// the datagram's whole length.
fn collect(
    buffer: &mut Vec<u8>,
    offer: &mut usize,
    sequence: u32,
    deadline: Instant,
    receive: &mut dyn FnMut(&mut Vec<u8>) -> Result<usize, Errno>,
) -> Result<bool, Failure> {
    buffer.clear();
    let mut interrupted = false;
    loop {
        let start = buffer.len();
        if start > LARGEST_DUMP {
            return Err(Failure::Final(io::Error::other("a netlink dump has no end")));
        }
        buffer.reserve(*offer);
        let whole = retry_interrupted(deadline, || receive(buffer))?;
        let datagram = buffer.get(start..).unwrap_or_default();
        if whole > datagram.len() {
            // The rest of the datagram is gone, but the next attempt knows what to offer.
            *offer = whole.clamp(*offer, LARGEST_DUMP);
            return Err(Failure::Lost);
        }
        let mut messages = (Messages { rest: datagram }).peekable();
        // A datagram answers one request. One of an earlier request was given up by whoever asked.
        let stale = match messages.peek() {
            None => true,
            Some(Ok(first)) => first.sequence != sequence,
            Some(Err(_)) => false,
        };
        if !stale {
            for message in messages {
                let message = message?;
                interrupted |= message.flags & frame::NLM_F_DUMP_INTR != 0;
                if message.ends_dump()? {
                    return Ok(interrupted);
                }
            }
            // The next datagram's first message has to begin where the walk will look for it.
            buffer.resize(align(buffer.len()), 0);
        } else {
            buffer.truncate(start);
        }
        if Instant::now() >= deadline {
            return Err(timed_out());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + frame::ATTRIBUTE_HEADER).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn message_of(sequence: u32, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + frame::HEADER).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        message_of(7, kind, 0, payload)
    }

    fn done() -> Vec<u8> {
        message(frame::NLMSG_DONE, &0_i32.to_ne_bytes())
    }

    fn link_message(index: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![0, 0];
        payload.extend_from_slice(&772_u16.to_ne_bytes());
        payload.extend_from_slice(&index.to_ne_bytes());
        payload.extend_from_slice(&0x1_0049_u32.to_ne_bytes());
        payload.extend_from_slice(&0_u32.to_ne_bytes());
        payload.extend(attributes.concat());
        message(route::RTM_NEWLINK, &payload)
    }

    fn address_message(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![family, 24, 0x80, 253];
        payload.extend_from_slice(&3_u32.to_ne_bytes());
        payload.extend(attributes.concat());
        message(route::RTM_NEWADDR, &payload)
    }

    fn counters_64(count: u64) -> Vec<u8> {
        (1..=count).flat_map(|it| (it << 33).to_ne_bytes()).collect()
    }

    /// An interface with every attribute that is read, and some that are not.
    fn full_link() -> Vec<u8> {
        let names =
            [attribute(ifla::ALT_IFNAME, b"first\0"), attribute(99, b"x"), attribute(53, b"two\0")];
        let u32 = |kind, value: u32| attribute(kind, &value.to_ne_bytes());
        link_message(
            5,
            &[
                attribute(ifla::IFNAME, b"eth0\0"),
                u32(ifla::TXQLEN, 1000),
                attribute(ifla::OPERSTATE, &[6]),
                attribute(ifla::LINKMODE, &[1]),
                u32(ifla::MTU, 1500),
                u32(ifla::GROUP, 9),
                u32(ifla::NUM_TX_QUEUES, 4),
                u32(ifla::NUM_RX_QUEUES, 8),
                attribute(ifla::CARRIER, &[1]),
                u32(ifla::CARRIER_CHANGES, 5),
                u32(ifla::CARRIER_UP_COUNT, 3),
                u32(ifla::CARRIER_DOWN_COUNT, 2),
                attribute(ifla::PROTO_DOWN, &[1]),
                attribute(ifla::ADDRESS, &[2, 0, 0, 0, 0, 1]),
                attribute(ifla::BROADCAST, &[255; 6]),
                attribute(ifla::IFALIAS, b"up\xfflink\0"),
                u32(ifla::LINK, 2),
                u32(ifla::MASTER, 3),
                u32(ifla::LINK_NETNSID, 0),
                attribute(ifla::PHYS_PORT_NAME, b"p0\0"),
                attribute(ifla::PHYS_PORT_ID, &[1, 2]),
                attribute(ifla::PHYS_SWITCH_ID, &[3, 4, 5]),
                attribute(0x8000 | ifla::LINKINFO, &attribute(ifla::INFO_KIND, b"veth\0")),
                attribute(0x8000 | ifla::PROP_LIST, &names.concat()),
                attribute(ifla::STATS64, &counters_64(25)),
                attribute(ifla::STATS, &[1; 96]),
                attribute(1000, b"from the future"),
            ],
        )
    }

    fn no_links(bytes: &[u8]) -> Result<Dump, DumpError> {
        parse_links(bytes, &mut |link| panic!("{link:?}"))
    }

    /// The statistics of the one interface with these attributes.
    fn statistics(attributes: &[Vec<u8>]) -> Option<LinkStatistics> {
        let named = [&[attribute(ifla::IFNAME, b"a\0")], attributes].concat();
        let mut found = None;
        parse_links(&link_message(1, &named), &mut |link| found = Some(link.statistics)).unwrap();
        found.unwrap()
    }

    #[test]
    fn reads_every_attribute_of_an_interface() {
        let mut count = 0;
        let dump = parse_links(&[full_link(), done()].concat(), &mut |link| {
            count += 1;
            assert_eq!((link.index, link.arp_type, link.flags), (5, 772, 0x1_0049));
            assert_eq!(link.name, b"eth0");
            assert_eq!(link.alias, Some(&b"up\xfflink"[..]));
            assert_eq!(link.kind, Some(&b"veth"[..]));
            assert_eq!((link.mtu, link.tx_queue_len), (Some(1500), Some(1000)));
            assert_eq!((link.tx_queues, link.rx_queues), (Some(4), Some(8)));
            assert_eq!((link.operational_state, link.link_mode), (Some(6), Some(1)));
            assert_eq!((link.carrier, link.carrier_changes), (Some(1), Some(5)));
            assert_eq!((link.carrier_up_count, link.carrier_down_count), (Some(3), Some(2)));
            assert_eq!((link.master, link.link, link.link_namespace), (Some(3), Some(2), Some(0)));
            assert_eq!((link.group, link.proto_down), (Some(9), Some(1)));
            assert_eq!(link.address, Some(&[2, 0, 0, 0, 0, 1][..]));
            assert_eq!(link.broadcast, Some(&[255; 6][..]));
            assert_eq!(link.physical_port_name, Some(&b"p0"[..]));
            assert_eq!(link.physical_port_id, Some(&[1, 2][..]));
            assert_eq!(link.physical_switch_id, Some(&[3, 4, 5][..]));
            let names: Vec<&[u8]> = link.alternative_names.clone().collect();
            assert_eq!(names, [&b"first"[..], b"two"]);
            let statistics = link.statistics.unwrap();
            assert_eq!(statistics.rx_packets, 1 << 33);
            assert_eq!(statistics.rx_bytes, 3 << 33);
            assert_eq!(statistics.collisions, 10 << 33);
            assert_eq!(statistics.tx_window_errors, 21 << 33);
            assert_eq!(statistics.rx_otherhost_dropped, 25 << 33);
        });
        assert_eq!(dump, Ok(Dump { entries: 1, interrupted: false, finished: true }));
        assert_eq!(count, 1);
    }

    #[test]
    fn leaves_out_what_is_not_told() {
        let short = [attribute(ifla::IFNAME, b"a"), attribute(ifla::MTU, &[1, 2])];
        let empty = [attribute(ifla::IFNAME, b"a"), attribute(ifla::CARRIER, &[])];
        for attributes in [short, empty] {
            let dump = parse_links(&link_message(1, &attributes), &mut |link| {
                assert_eq!(link.name, b"a");
                assert_eq!((link.mtu, link.carrier, link.alias), (None, None, None));
                assert_eq!((link.kind, link.statistics), (None, None));
                assert_eq!(link.alternative_names.count(), 0);
            });
            assert_eq!(dump, Ok(Dump { entries: 1, interrupted: false, finished: false }));
        }
        assert_eq!(no_links(&link_message(1, &[])), Ok(Dump::default()));
        assert_eq!(no_links(&address_message(AF_INET, &[])), Ok(Dump::default()));
        assert_eq!(no_links(&[]), Ok(Dump::default()));
    }

    #[test]
    fn reads_the_statistics_of_every_kernel() {
        let before_4_6 = statistics(&[attribute(ifla::STATS64, &counters_64(23))]).unwrap();
        assert_eq!((before_4_6.tx_compressed, before_4_6.rx_nohandler), (23 << 33, 0));
        let later = statistics(&[attribute(ifla::STATS64, &counters_64(30))]).unwrap();
        assert_eq!(later.rx_otherhost_dropped, 25 << 33);
        let old: Vec<u8> = (1..=24_u32).flat_map(u32::to_ne_bytes).collect();
        let old = statistics(&[attribute(ifla::STATS, &old)]).unwrap();
        assert_eq!((old.rx_packets, old.rx_nohandler, old.rx_otherhost_dropped), (1, 24, 0));
        assert_eq!(statistics(&[attribute(ifla::STATS64, &[1; 7])]), None);
        assert_eq!(statistics(&[attribute(ifla::STATS, &[])]), None);
    }

    #[test]
    fn reads_addresses_of_both_families() {
        let bytes = [
            address_message(
                AF_INET,
                &[
                    attribute(ifa::ADDRESS, &[10, 0, 0, 2]),
                    attribute(ifa::LOCAL, &[10, 0, 0, 1]),
                    attribute(ifa::LABEL, b"eth0:1\0"),
                    attribute(ifa::FLAGS, &0x280_u32.to_ne_bytes()),
                ],
            ),
            address_message(AF_INET6, &[attribute(ifa::ADDRESS, &Ipv6Addr::LOCALHOST.octets())]),
            // One without an address, one of a length that is none, and another family's.
            address_message(AF_INET, &[]),
            address_message(AF_INET6, &[attribute(ifa::ADDRESS, &[10, 0, 0, 2])]),
            address_message(35, &[attribute(ifa::ADDRESS, &[1])]),
            done(),
        ];
        let mut found = Vec::new();
        let dump = parse_addresses(&bytes.concat(), &mut |it| {
            assert_eq!((it.index, it.prefix_length, it.scope), (3, 24, 253));
            found.push((it.family, it.address, it.flags, it.label.map(<[u8]>::to_vec)));
        });
        assert_eq!(dump, Ok(Dump { entries: 2, interrupted: false, finished: true }));
        let v4 = (AF_INET, Ipv4Addr::new(10, 0, 0, 1).into(), 0x280, Some(b"eth0:1".to_vec()));
        assert_eq!(found, [v4, (AF_INET6, Ipv6Addr::LOCALHOST.into(), 0x80, None)]);
    }

    #[test]
    fn tells_how_a_dump_ended() {
        let refused = |kind| no_links(&message(kind, &(-16_i32).to_ne_bytes()));
        assert_eq!(refused(frame::NLMSG_ERROR), Err(DumpError::Refused(16)));
        assert_eq!(refused(frame::NLMSG_DONE), Err(DumpError::Refused(16)));
        let worst = message(frame::NLMSG_ERROR, &i32::MIN.to_ne_bytes());
        assert_eq!(no_links(&worst), Err(DumpError::Refused(i32::MAX)));
        assert_eq!(no_links(&message(frame::NLMSG_OVERRUN, &[])), Err(DumpError::Overrun));
        let acknowledged = message(frame::NLMSG_ERROR, &0_i32.to_ne_bytes());
        assert_eq!(no_links(&acknowledged), Ok(Dump::default()));
        let interrupted = message_of(7, frame::NLMSG_DONE, frame::NLM_F_DUMP_INTR, &[0; 4]);
        let dump = Dump { entries: 0, interrupted: true, finished: true };
        // Nothing after the end mark belongs to the dump.
        assert_eq!(no_links(&[interrupted, full_link()].concat()), Ok(dump));
    }

    #[test]
    fn ends_on_impossible_lengths() {
        for length in [0_u32, 1, 15, 17, u32::MAX] {
            let mut bytes = done();
            bytes[0..4].copy_from_slice(&length.to_ne_bytes());
            let expected = if length == 17 { Ok(()) } else { Err(DumpError::Message) };
            assert_eq!(no_links(&bytes).map(drop), expected, "{length}");
        }
        for length in [0_u16, 3, 100, u16::MAX] {
            let mut broken = attribute(ifla::IFNAME, b"a\0");
            broken[0..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(no_links(&link_message(1, &[broken])), Err(DumpError::Attribute));
        }
        assert_eq!(no_links(&message(route::RTM_NEWLINK, &[0; 15])), Err(DumpError::Message));
        let short = message(route::RTM_NEWADDR, &[0; 7]);
        assert_eq!(parse_addresses(&short, &mut |_| {}), Err(DumpError::Message));
    }

    /// Reads everything there is in the bytes, as either dump.
    fn exhaust(bytes: &[u8]) -> [Result<Dump, DumpError>; 2] {
        let links = parse_links(bytes, &mut |link| {
            assert!(!link.name.is_empty());
            assert!(link.alternative_names.count() <= bytes.len());
        });
        [links, parse_addresses(bytes, &mut |_| {})]
    }

    #[test]
    fn takes_a_dump_cut_at_any_byte() {
        let address =
            address_message(AF_INET, &[attribute(ifa::LOCAL, &[10, 0, 0, 1]), attribute(9, &[])]);
        for whole in [full_link(), address] {
            for end in 1..whole.len() {
                assert_eq!(exhaust(&whole[..end]), [Err(DumpError::Message); 2], "{end}");
                // The message says that it ends there, so that the attributes are what is cut.
                let mut cut = whole[..end].to_vec();
                if end >= frame::HEADER {
                    cut[0..4].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
                    let _ = exhaust(&cut);
                }
            }
        }
    }

    #[test]
    fn takes_any_bytes() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let address = address_message(AF_INET6, &[attribute(ifa::ADDRESS, &[1; 16])]);
        let sound = [full_link(), address, full_link(), done()].concat();
        for _ in 0..20_000 {
            let noise: Vec<u8> = (0..random(80)).map(|_| random(256) as u8).collect();
            let _ = exhaust(&noise);
            let mut damaged = sound.clone();
            for _ in 0..=random(4) {
                let at = random(damaged.len());
                damaged[at] = random(256) as u8;
            }
            let _ = exhaust(&damaged);
        }
    }

    #[test]
    fn asks_for_what_it_needs() {
        let (bytes, length) = Request::Links { statistics: true }.encode(9);
        let expected = message_of(9, route::RTM_GETLINK, 0x301, &[0; 16]);
        assert_eq!(bytes[..length], expected);
        let (bytes, length) = Request::Links { statistics: false }.encode(9);
        let mask = attribute(ifla::EXT_MASK, &8_u32.to_ne_bytes());
        let expected = message_of(9, route::RTM_GETLINK, 0x301, &[vec![0; 16], mask].concat());
        assert_eq!(bytes[..length], expected);
        let (bytes, length) = Request::Addresses.encode(9);
        assert_eq!(bytes[..length], message_of(9, route::RTM_GETADDR, 0x301, &[0; 8]));
    }

    /// Collects these answers, as a socket would give them; the default sequence number is 7.
    fn collected(answers: Vec<Result<Vec<u8>, Errno>>) -> (Result<bool, Failure>, Vec<u8>, usize) {
        let (mut buffer, mut offer) = (b"of an earlier dump".to_vec(), DATAGRAM);
        let mut answers = answers.into_iter();
        let deadline = Instant::now() + Duration::from_secs(60);
        let result = collect(&mut buffer, &mut offer, 7, deadline, &mut |buffer| {
            let answer = answers.next().expect("nothing is asked for after the end")?;
            let room = answer.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&answer[..room]);
            Ok(answer.len())
        });
        assert_eq!(answers.count(), 0, "every answer was asked for");
        (result, buffer, offer)
    }

    #[test]
    fn collects_the_datagrams_of_its_own_dump() {
        let stale = message_of(6, frame::NLMSG_DONE, frame::NLM_F_DUMP_INTR, &[0; 4]);
        // Its padding is missing, which must not shift what follows.
        let odd = message(frame::NLMSG_ERROR, &[0; 5])[..21].to_vec();
        let answers =
            vec![Ok(stale), Err(Errno::INTR), Ok(full_link()), Ok(vec![]), Ok(odd), Ok(done())];
        let (result, buffer, _) = collected(answers);
        assert!(matches!(result, Ok(false)), "{result:?}");
        let dump = parse_links(&buffer, &mut |link| assert_eq!(link.name, b"eth0"));
        assert_eq!(dump, Ok(Dump { entries: 1, interrupted: false, finished: true }));
    }

    #[test]
    fn collecting_tells_interruption_and_loss() {
        let interrupted = message_of(7, route::RTM_NEWLINK, frame::NLM_F_DUMP_INTR, &[]);
        assert!(matches!(collected(vec![Ok(interrupted), Ok(done())]).0, Ok(true)));
        assert!(matches!(collected(vec![Err(Errno::NOBUFS)]).0, Err(Failure::Lost)));
        let overrun = message(frame::NLMSG_OVERRUN, &[]);
        assert!(matches!(collected(vec![Ok(overrun)]).0, Err(Failure::Lost)));
        let kind_of = |answer| match collected(vec![answer]).0 {
            Err(Failure::Final(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind_of(Err(Errno::AGAIN)), io::ErrorKind::TimedOut);
        assert_eq!(kind_of(Err(Errno::PERM)), io::ErrorKind::PermissionDenied);
        assert_eq!(kind_of(Ok(vec![0; 20])), io::ErrorKind::InvalidData);
        assert_eq!(kind_of(Ok(vec![0; 3])), io::ErrorKind::InvalidData);
        let refused = message(frame::NLMSG_ERROR, &(-1_i32).to_ne_bytes());
        assert_eq!(kind_of(Ok(refused)), io::ErrorKind::PermissionDenied);
        // A datagram that was cut is lost, and the next attempt offers enough for it.
        let (result, _, offer) = collected(vec![Ok(vec![0; 100_000])]);
        assert!(matches!(result, Err(Failure::Lost)), "{result:?}");
        assert_eq!(offer, 100_000);
    }

    #[test]
    fn collecting_ends_at_the_deadline() {
        let (mut buffer, mut offer) = (Vec::new(), DATAGRAM);
        let result = collect(&mut buffer, &mut offer, 7, Instant::now(), &mut |_| Ok(0));
        assert!(matches!(result, Err(Failure::Final(_))), "{result:?}");
        let result = collect(&mut buffer, &mut offer, 7, Instant::now(), &mut |_| Err(Errno::INTR));
        assert!(matches!(result, Err(Failure::Final(_))), "{result:?}");
    }

    #[test]
    #[allow(clippy::print_stderr)]
    fn agrees_with_sysfs_about_the_loopback() {
        let mut netlink = Netlink::new();
        if let Err(error) = netlink.links(&mut |_| {}) {
            eprintln!("This test is skipped, because netlink is refused here: {error}.");
            return;
        }
        let file = |name| std::fs::read_to_string(format!("/sys/class/net/lo/{name}"));
        let number = |name| Some(file(name).ok()?.trim().parse::<i64>().unwrap());
        if number("ifindex").is_none() {
            eprintln!("This test is skipped, because there is no /sys/class/net/lo here.");
            return;
        }
        let mut found = 0;
        let received_before = number("statistics/rx_bytes");
        // The second dump goes over the socket and into the buffer of the first.
        for _ in 0..2 {
            let dump = netlink.links(&mut |link| {
                if link.name == b"lo" {
                    found += 1;
                    assert_eq!(Some(i64::from(link.index)), number("ifindex"));
                    assert_eq!(link.mtu.map(i64::from), number("mtu"));
                    assert_eq!(link.tx_queue_len.map(i64::from), number("tx_queue_len"));
                    assert_eq!(Some(i64::from(link.arp_type)), number("type"));
                    let received = link.statistics.unwrap().rx_bytes;
                    assert!(Some(i64::try_from(received).unwrap()) >= received_before);
                    assert!(
                        Some(i64::try_from(received).unwrap()) <= number("statistics/rx_bytes")
                    );
                }
            });
            assert!(dump.unwrap().finished);
        }
        assert_eq!(found, 2);
        let mut names = 0;
        let dump = netlink.links_without_statistics(&mut |_| names += 1).unwrap();
        assert_eq!(dump.entries, names);
        let mut known = Vec::new();
        netlink.links(&mut |link| known.push(link.index)).unwrap();
        let dump = netlink.addresses(&mut |it| {
            assert!(known.contains(&i32::try_from(it.index).unwrap()), "{it:?}");
        });
        assert!(dump.unwrap().finished);
    }
}
