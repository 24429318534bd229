//! The same by netlink: one dump of the interfaces, one of their link modes, and three attributes that
//! only sysfs has.

use std::time::Instant;

use vitald_core::host::{
    GenericMessage, GenericRequest, GenericSocket, Link, LinkEvents, LinkStatistics,
    NetlinkAttributes, RouteSocket,
};
use vitald_core::prelude::*;

use super::changes::write_address;
use super::*;

/// How long the link modes are waited for. Drivers may ask their devices for them.
const DEADLINE: Duration = Duration::from_secs(2);

attributes! {
    /// What netlink does not say.
    Lacking {
        ADDRESS_ASSIGN_TYPE: integer = "addr_assign_type", optional;
        DEVICE_ID: integer = "dev_id", optional;
        NAME_ASSIGN_TYPE: integer = "name_assign_type", optional;
    }
}

/// By the number in `IFLA_OPERSTATE`: the `IF_OPER_*` of `linux/if.h`.
const OPERATIONAL_STATES: [&[u8]; 7] =
    [b"unknown", b"notpresent", b"down", b"lowerlayerdown", b"testing", b"dormant", b"up"];

pub(super) struct Rtnetlink {
    ignored: Pattern,
    with_statistics: bool,
    route: RouteSocket,
    modes: LinkModes,
    /// Each change of these is followed by an event: an address that is set and a name that is given
    /// send one, and a device keeps its number for life. They are read again after any event.
    lacking: Walk<Lacking>,
    events: LinkEvents,
    read_under: Option<u64>,
    known: Rows<Known>,
    address: Vec<u8>,
    broadcast: Vec<u8>,
}

struct Known {
    is_shown: bool,
    /// Its place in `lacking`.
    place: usize,
}

impl Rtnetlink {
    pub(super) fn new(host: &Host, ignored: Pattern, with_statistics: bool) -> Self {
        let is_shown = {
            let ignored = ignored.clone();
            move |name: &[u8]| !ignored.matches(name)
        };
        Rtnetlink {
            ignored,
            with_statistics,
            route: host.route_socket(),
            modes: LinkModes { socket: host.generic_socket("ethtool"), modes: Vec::new() },
            lacking: host.walk("sys/class/net/*").only(0, is_shown),
            events: host.link_events(),
            read_under: None,
            known: Rows::new(),
            address: Vec::new(),
            broadcast: Vec::new(),
        }
    }

    pub(super) fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        // The number comes first, so that what changes while the attributes are read shows in the next one.
        let number = self.events.count();
        if number.is_none() || number != self.read_under {
            self.read_under = number;
            if let Err(error) = self.lacking.optional() {
                self.read_under = None;
                batch.fault("sys/class/net", error);
            }
        }
        if let Err(error) = self.modes.ask(batch.time_left()) {
            batch.fault("netlink ethtool", error);
        }
        let Rtnetlink { ignored, with_statistics, route, modes, lacking, known, .. } = self;
        let (address, broadcast) = (&mut self.address, &mut self.broadcast);
        let mut known = known.begin();
        let mut counters = None;
        let mut each = |link: Link<'_>| {
            let known =
                known.row(link.name, || Known { is_shown: !ignored.matches(link.name), place: 0 });
            if !known.is_shown {
                return;
            }
            let mode = modes.of(link.index);
            write_address(address, link.address);
            write_address(broadcast, link.broadcast);
            push_link(&link, mode, address, broadcast, batch);
            let lacking = lacking.children().find_again(&[link.name], &mut known.place);
            if let Some(lacking) = lacking
                && let Err(error) = push_lacking(&lacking, batch)
            {
                batch.fault("sys/class/net", error);
            }
            if *with_statistics && let Some(statistics) = &link.statistics {
                let families = counters.get_or_insert_with(|| families(batch));
                let labels = batch.label_pairs(&[(b"device", link.name)]);
                for (family, (_, value)) in families.iter().zip(COUNTERS) {
                    batch.push_named(*family, Suffix::None, labels, value(statistics));
                }
            }
        };
        if *with_statistics {
            route.links(&mut each)?;
        } else {
            route.links_without_statistics(&mut each)?;
        }
        known.finish();
        Ok(())
    }
}

fn push_link(
    link: &Link<'_>,
    mode: Option<&Mode>,
    address: &[u8],
    broadcast: &[u8],
    batch: &mut Batch,
) {
    let state = usize::from(link.operational_state.unwrap_or(0));
    let state = OPERATIONAL_STATES.get(state).copied().unwrap_or(OPERATIONAL_STATES[0]);
    let duplex = mode.map_or(&b""[..], |mode| duplex(mode.duplex));
    let alias = link.alias.unwrap_or_default();
    batch.row(&INFO, [link.name, address, broadcast, duplex, state, alias], 1);
    let labels = batch.labels([link.name]);
    batch.push(&UP, labels, state == b"up");
    if let Some(mode) = mode {
        batch.push(&SPEED, labels, u64::from(mode.megabits) * 125_000);
    }
    let sent = [
        (&CARRIER, link.carrier.map(u32::from)),
        (&CARRIER_CHANGES, link.carrier_changes),
        (&CARRIER_UP_CHANGES, link.carrier_up_count),
        (&CARRIER_DOWN_CHANGES, link.carrier_down_count),
        (&FLAGS, Some(link.flags)),
        (&IFACE_LINK_MODE, link.link_mode.map(u32::from)),
        // As in node_exporter, which takes the one for the other.
        (&DORMANT, link.link_mode.map(u32::from)),
        (&MTU, Some(link.mtu.unwrap_or(0))),
        (&GROUP, link.group),
        (&QUEUE_LENGTH, link.tx_queue_len),
        (&PROTOCOL_TYPE, Some(u32::from(link.arp_type))),
    ];
    for (family, value) in sent {
        if let Some(value) = value {
            batch.push(family, labels, value);
        }
    }
    batch.push(&IFACE_ID, labels, link.index);
    let below = link.link.filter(|index| *index != 0);
    batch.push(&IFACE_LINK, labels, below.unwrap_or(link.index));
}

fn push_lacking(lacking: &Child<'_, Lacking>, batch: &mut Batch) -> Result<()> {
    let labels = batch.labels([lacking.name(0)]);
    lacking.push(batch, &ADDRESS_ASSIGN_TYPE, labels, &Lacking::ADDRESS_ASSIGN_TYPE)?;
    lacking.push(batch, &DEVICE_ID, labels, &Lacking::DEVICE_ID)?;
    lacking.push(batch, &NAME_ASSIGN_TYPE, labels, &Lacking::NAME_ASSIGN_TYPE)
}

/// The words of node_exporter for the `DUPLEX_*` of `linux/ethtool.h`.
fn duplex(number: u8) -> &'static [u8] {
    match number {
        0 => b"Half",
        1 => b"Full",
        _ => b"Unknown",
    }
}

/// How fast an interface is, for those whose driver says so.
struct LinkModes {
    socket: GenericSocket,
    /// By index.
    modes: Vec<Mode>,
}

struct Mode {
    index: i32,
    /// Millions of bits a second; all bits are set where it is not known.
    megabits: u32,
    duplex: u8,
}

/// `linux/ethtool_netlink.h`: the request, and attributes of it and of its answers.
mod ethtool {
    pub(super) const LINKMODES_GET: u8 = 4;
    pub(super) const HEADER: u16 = 1;
    pub(super) const SPEED: u16 = 5;
    pub(super) const DUPLEX: u16 = 6;
    /// Inside the header.
    pub(super) const DEVICE_INDEX: u16 = 1;
    pub(super) const FLAGS: u16 = 3;
    /// Each mode is a bit in the answer, not a name.
    pub(super) const COMPACT_BITSETS: u32 = 1;
}

impl LinkModes {
    /// Asks for all of them. A kernel before Linux 5.6 has none.
    fn ask(&mut self, time_left: Duration) -> Result<()> {
        let LinkModes { socket, modes } = self;
        modes.clear();
        let asked = socket.ask(
            GenericRequest::All,
            ethtool::LINKMODES_GET,
            &mut |attributes| {
                attributes.nested(ethtool::HEADER, |header| {
                    header.number_32(ethtool::FLAGS, ethtool::COMPACT_BITSETS);
                });
            },
            Instant::now() + DEADLINE.min(time_left),
            &mut |message| modes.extend(parse_mode(&message)),
        );
        modes.sort_unstable_by_key(|mode| mode.index);
        match asked {
            Err(Error::Absent { .. }) => Ok(()),
            asked => asked,
        }
    }

    fn of(&self, index: i32) -> Option<&Mode> {
        let at = self.modes.binary_search_by_key(&index, |mode| mode.index).ok()?;
        self.modes.get(at)
    }
}

/// Takes an answer; none without an interface.
fn parse_mode(message: &GenericMessage<'_>) -> Option<Mode> {
    let mut mode = Mode { index: 0, megabits: 0, duplex: 0 };
    for (kind, value) in message.attributes.iter() {
        match kind {
            ethtool::HEADER => {
                let index = NetlinkAttributes::nested(value).find(ethtool::DEVICE_INDEX)?;
                mode.index = i32::from_ne_bytes(*index.first_chunk()?);
            }
            ethtool::SPEED => mode.megabits = u32::from_ne_bytes(*value.first_chunk()?),
            ethtool::DUPLEX => mode.duplex = *value.first()?,
            _ => {}
        }
    }
    (mode.index != 0).then_some(mode)
}

type Counter = (&'static str, fn(&LinkStatistics) -> u64);

/// What an interface counts, under node_exporter's names.
const COUNTERS: [Counter; 24] = [
    ("receive_packets", |of| of.rx_packets),
    ("transmit_packets", |of| of.tx_packets),
    ("receive_bytes", |of| of.rx_bytes),
    ("transmit_bytes", |of| of.tx_bytes),
    ("receive_errors", |of| of.rx_errors),
    ("transmit_errors", |of| of.tx_errors),
    ("receive_dropped", |of| of.rx_dropped),
    ("transmit_dropped", |of| of.tx_dropped),
    ("multicast", |of| of.multicast),
    ("collisions", |of| of.collisions),
    ("receive_length_errors", |of| of.rx_length_errors),
    ("receive_over_errors", |of| of.rx_over_errors),
    ("receive_crc_errors", |of| of.rx_crc_errors),
    ("receive_frame_errors", |of| of.rx_frame_errors),
    ("receive_fifo_errors", |of| of.rx_fifo_errors),
    ("receive_missed_errors", |of| of.rx_missed_errors),
    ("transmit_aborted_errors", |of| of.tx_aborted_errors),
    ("transmit_carrier_errors", |of| of.tx_carrier_errors),
    ("transmit_fifo_errors", |of| of.tx_fifo_errors),
    ("transmit_heartbeat_errors", |of| of.tx_heartbeat_errors),
    ("transmit_window_errors", |of| of.tx_window_errors),
    ("receive_compressed", |of| of.rx_compressed),
    ("transmit_compressed", |of| of.tx_compressed),
    ("receive_nohandler", |of| of.rx_nohandler),
];

/// Names the families of the counters. In node_exporter they are gauges, where those of netdev are counters.
fn families(batch: &mut Batch) -> [NamedFamily; 24] {
    COUNTERS.map(|(name, _)| {
        let name = name.as_bytes();
        let help: [&[u8]; 3] = [b"The counter ", name, b" of the interface."];
        batch.family(&[b"node_network_", name, b"_total"], Kind::Gauge, &help)
    })
}
