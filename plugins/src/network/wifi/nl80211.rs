//! What the kernel says of wireless interfaces, in the numbers of include/uapi/linux/nl80211.h.

use super::answer::{Answer, Network, Show, Station};
use vitald_core::host::GenericRequest::All;
use vitald_core::host::{AttributeWriter, GenericSocket, NetlinkAttributes};
use vitald_core::prelude::*;

/// `NL80211_CMD_*`.
pub(super) const GET_INTERFACE: u8 = 5;
pub(super) const GET_STATION: u8 = 17;
pub(super) const GET_SCAN: u8 = 32;

/// `NL80211_ATTR_*`.
pub(super) const INTERFACE_INDEX: u16 = 3;
pub(super) const INTERFACE_NAME: u16 = 4;
pub(super) const MAC: u16 = 6;
pub(super) const STATION: u16 = 21;
pub(super) const INTERFACE_FREQUENCY: u16 = 38;
pub(super) const NETWORK: u16 = 47;

/// `NL80211_BSS_*`.
pub(super) const BSSID: u16 = 1;
pub(super) const ELEMENTS: u16 = 6;
pub(super) const STATUS: u16 = 9;

/// `NL80211_STA_INFO_*`.
pub(super) const INACTIVE_TIME: u16 = 1;
pub(super) const RECEIVED_BYTES_32: u16 = 2;
pub(super) const TRANSMITTED_BYTES_32: u16 = 3;
pub(super) const SIGNAL: u16 = 7;
pub(super) const TRANSMIT_RATE: u16 = 8;
pub(super) const RECEIVED_PACKETS: u16 = 9;
pub(super) const TRANSMITTED_PACKETS: u16 = 10;
pub(super) const RETRIES: u16 = 11;
pub(super) const FAILED: u16 = 12;
pub(super) const RECEIVE_RATE: u16 = 14;
pub(super) const CONNECTED_TIME: u16 = 16;
pub(super) const BEACON_LOSSES: u16 = 18;
pub(super) const RECEIVED_BYTES: u16 = 23;
pub(super) const TRANSMITTED_BYTES: u16 = 24;

/// `NL80211_RATE_INFO_*`, in 100 kbit/s.
pub(super) const RATE_16: u16 = 1;
pub(super) const RATE_32: u16 = 5;

/// The information element that has a network's name (IEEE 802.11, `SSID`).
const SSID_ELEMENT: u8 = 0;

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Kernel {
    socket: GenericSocket,
    interfaces: Vec<Interface>,
    /// The names of the interfaces, one after the other.
    names: Vec<u8>,
}

struct Interface {
    index: u32,
    megahertz: u32,
    name_length: usize,
}

impl Kernel {
    pub(super) fn new(host: &Host) -> Self {
        Kernel { socket: host.generic_socket("nl80211"), interfaces: Vec::new(), names: Vec::new() }
    }

    pub(super) fn collect(&mut self, show: Show<'_>, batch: &mut Batch) -> Result<()> {
        let Kernel { socket, interfaces, names } = self;
        interfaces.clear();
        names.clear();
        socket.ask(All, GET_INTERFACE, &mut |_| {}, batch.deadline(TIMEOUT), &mut |message| {
            // What has no network interface, such as a device for peer to peer, has no name.
            if let Some((name, interface)) = parse_interface(&message.attributes) {
                names.extend_from_slice(name);
                interfaces.push(interface);
            }
        })?;
        let mut names = &names[..];
        for Interface { index, megahertz, name_length } in interfaces.iter() {
            let Some((device, rest)) = names.split_at_checked(*name_length) else { break };
            names = rest;
            show(device, Answer::Interface { megahertz: *megahertz }, batch);
            if batch.time_left().is_zero() {
                batch.degraded("timeout");
                continue;
            }
            let mut which = |attributes: &mut AttributeWriter<'_>| {
                attributes.number_32(INTERFACE_INDEX, *index);
            };
            let mut has_network = false;
            let asked =
                socket.ask(All, GET_SCAN, &mut which, batch.deadline(TIMEOUT), &mut |message| {
                    if !has_network && let Some(network) = parse_network(&message.attributes) {
                        has_network = true;
                        show(device, Answer::Network(network), batch);
                    }
                });
            note(asked, batch);
            let asked =
                socket.ask(All, GET_STATION, &mut which, batch.deadline(TIMEOUT), &mut |message| {
                    if let Some(station) = parse_station(&message.attributes) {
                        show(device, Answer::Station(station), batch);
                    }
                });
            note(asked, batch);
        }
        Ok(())
    }
}

/// An interface that has gone meanwhile costs nothing, any other refusal only what was asked for.
fn note(asked: Result<()>, batch: &mut Batch) {
    match asked {
        Ok(()) | Err(Error::Absent { .. }) => {}
        Err(error) => batch.fault("", error),
    }
}

fn parse_interface<'a>(attributes: &NetlinkAttributes<'a>) -> Option<(&'a [u8], Interface)> {
    let name = attributes.find(INTERFACE_NAME)?;
    let name = name.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
    let index = attributes.find(INTERFACE_INDEX).and_then(number_32)?;
    let megahertz = attributes.find(INTERFACE_FREQUENCY).and_then(number_32).unwrap_or(0);
    Some((name, Interface { index, megahertz, name_length: name.len() }))
}

/// The network in an answer, if it is the one that the interface is in: others were only heard.
fn parse_network<'a>(attributes: &NetlinkAttributes<'a>) -> Option<Network<'a>> {
    let network = NetlinkAttributes::nested(attributes.find(NETWORK)?);
    let status = i64::from(network.find(STATUS).and_then(number_32)?);
    let mut elements = network.find(ELEMENTS).unwrap_or_default();
    let mut name = &b""[..];
    // Each has a number, the length of what follows, and that.
    while let [element, length, rest @ ..] = elements {
        let Some((content, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        if *element == SSID_ELEMENT {
            name = content;
        }
        elements = rest;
    }
    Some(Network { address: network.find(BSSID).unwrap_or_default(), name, status })
}

fn parse_station<'a>(attributes: &NetlinkAttributes<'a>) -> Option<Station<'a>> {
    let station = NetlinkAttributes::nested(attributes.find(STATION)?);
    let number = |kind| u64::from(station.find(kind).and_then(number_32).unwrap_or(0));
    // Older kernels have counters of 32 bits, newer ones those, too, for older readers.
    let bytes =
        |kind, short| station.find(kind).and_then(number_64).unwrap_or_else(|| number(short));
    let signal = station.find(SIGNAL).and_then(|value| value.first());
    let inactive = number(INACTIVE_TIME);
    Some(Station {
        address: attributes.find(MAC).unwrap_or_default(),
        connected_seconds: number(CONNECTED_TIME) as f64,
        // As Go divides a duration, which is not always the nearest number.
        inactive_seconds: (inactive / 1000) as f64 + (inactive % 1000 * 1_000_000) as f64 / 1e9,
        received_bytes: bytes(RECEIVED_BYTES, RECEIVED_BYTES_32),
        transmitted_bytes: bytes(TRANSMITTED_BYTES, TRANSMITTED_BYTES_32),
        received_packets: number(RECEIVED_PACKETS),
        transmitted_packets: number(TRANSMITTED_PACKETS),
        signal: signal.map_or(0, |signal| i64::from(signal.cast_signed())),
        retries: number(RETRIES),
        failed: number(FAILED),
        beacon_losses: number(BEACON_LOSSES),
        receive_rate: station.find(RECEIVE_RATE).map_or(0, rate),
        transmit_rate: station.find(TRANSMIT_RATE).map_or(0, rate),
    })
}

/// A rate in bits per second.
fn rate(value: &[u8]) -> u64 {
    let rate = NetlinkAttributes::nested(value);
    let short = || rate.find(RATE_16).and_then(number_16).map(u32::from);
    u64::from(rate.find(RATE_32).and_then(number_32).or_else(short).unwrap_or(0)) * 100_000
}

fn number_16(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn number_32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn number_64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}
