//! Wireless interfaces and the stations that each talks to, by nl80211 (include/uapi/linux/nl80211.h), which answers
//! for the daemon's own network namespace.

mod answer;
mod nl80211;
mod recording;
#[cfg(test)]
mod tests;

use answer::{Answer, Network, Station};
use nl80211::Kernel;
use recording::Recording;
use vitald_core::prelude::*;

families! {
    /// The frequency that the interface is tuned to; 0 if it is not.
    FREQUENCY: gauge = "node_wifi_interface_frequency_hertz" [device];
    /// The network that the interface is in, always 1.
    INFO: gauge = "node_wifi_station_info" [device, bssid, ssid, mode];
    /// How long the station has been connected.
    CONNECTED: counter = "node_wifi_station_connected_seconds_total" [device, mac_address];
    /// How long nothing was heard of the station.
    INACTIVE: gauge = "node_wifi_station_inactive_seconds" [device, mac_address];
    /// How fast the station sent last, in bits per second.
    RECEIVE_RATE: gauge = "node_wifi_station_receive_bits_per_second" [device, mac_address];
    /// How fast was sent to the station last, in bits per second.
    TRANSMIT_RATE: gauge = "node_wifi_station_transmit_bits_per_second" [device, mac_address];
    /// Bytes received from the station.
    RECEIVED: counter = "node_wifi_station_receive_bytes_total" [device, mac_address];
    /// Bytes sent to the station.
    TRANSMITTED: counter = "node_wifi_station_transmit_bytes_total" [device, mac_address];
    /// Packets received from the station.
    RECEIVED_PACKETS: counter = "node_wifi_station_received_packets_total" [device, mac_address];
    /// Packets sent to the station.
    TRANSMITTED_PACKETS: counter = "node_wifi_station_transmitted_packets_total" [device, mac_address];
    /// How strong the station was heard last, in decibels above a milliwatt.
    SIGNAL: gauge = "node_wifi_station_signal_dbm" [device, mac_address] legacy;
    /// How often a packet to the station was sent again.
    RETRIES: counter = "node_wifi_station_transmit_retries_total" [device, mac_address];
    /// Packets to the station that were given up.
    FAILED: counter = "node_wifi_station_transmit_failed_total" [device, mac_address];
    /// How often the beacons of the station were not heard for long.
    BEACON_LOSSES: counter = "node_wifi_station_beacon_loss_total" [device, mac_address];
}

settings! {
    /// A directory with answers in JSON that are shown instead of the kernel's, for tests.
    fixtures: String = "";
}

register_collector!(Wifi);

struct Wifi {
    source: Source,
    text: Vec<u8>,
}

enum Source {
    Kernel(Kernel),
    Recording(Recording),
}

impl Collector for Wifi {
    about! {
        name: "wifi",
        summary: "Wireless interfaces and the stations that each talks to",
        families: FAMILIES,
        sources: ["netlink nl80211"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // Of stations a driver may ask its device.
    const MAY_BLOCK: bool = true;
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let source = match &*settings.fixtures {
            "" => Source::Kernel(Kernel::new(host)),
            directory => Source::Recording(Recording::new(host, directory)),
        };
        Ok(Wifi { source, text: Vec::new() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Wifi { source, text } = self;
        let mut show = |device: &[u8], answer: Answer<'_>, batch: &mut Batch| {
            push(device, &answer, text, batch);
        };
        match source {
            Source::Kernel(kernel) => kernel.collect(&mut show, batch),
            Source::Recording(recording) => recording.collect(&mut show, batch),
        }
    }
}

fn push(device: &[u8], answer: &Answer<'_>, text: &mut Vec<u8>, batch: &mut Batch) {
    match answer {
        Answer::Interface { megahertz } => {
            batch.row(&FREQUENCY, [device], f64::from(*megahertz) * 1e6);
        }
        Answer::Network(network) => push_network(device, network, text, batch),
        Answer::Station(station) => push_station(device, station, batch),
    }
}

fn push_network(device: &[u8], network: &Network<'_>, text: &mut Vec<u8>, batch: &mut Batch) {
    let mut address = AddressText::default();
    text.clear();
    // As in node_exporter each byte that is not of a character is one; pages show such bytes together.
    for chunk in network.name.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| text.extend_from_slice("\u{fffd}".as_bytes()));
    }
    // NL80211_BSS_STATUS_AUTHENTICATED, _ASSOCIATED and _IBSS_JOINED.
    let mode: &[u8] = match network.status {
        0 | 1 => b"client",
        2 => b"ad-hoc",
        _ => b"unknown",
    };
    batch.row(&INFO, [device, address.write(network.address), text, mode], 1u64);
}

fn push_station(device: &[u8], station: &Station<'_>, batch: &mut Batch) {
    let mut address = AddressText::default();
    let labels = batch.labels([device, address.write(station.address)]);
    batch.push(&CONNECTED, labels, station.connected_seconds);
    batch.push(&INACTIVE, labels, station.inactive_seconds);
    batch.push(&SIGNAL, labels, station.signal);
    for (family, value) in [
        (&RECEIVE_RATE, station.receive_rate),
        (&TRANSMIT_RATE, station.transmit_rate),
        (&RECEIVED, station.received_bytes),
        (&TRANSMITTED, station.transmitted_bytes),
        (&RECEIVED_PACKETS, station.received_packets),
        (&TRANSMITTED_PACKETS, station.transmitted_packets),
        (&RETRIES, station.retries),
        (&FAILED, station.failed),
        (&BEACON_LOSSES, station.beacon_losses),
    ] {
        batch.push(family, labels, value);
    }
}

/// Room for an address as text, such as `02:00:5e:10:00:01`. One that is longer than any is cut.
#[derive(Default)]
struct AddressText([u8; 3 * 8]);

impl AddressText {
    fn write(&mut self, address: &[u8]) -> &[u8] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut length = 0;
        for (three, byte) in self.0.chunks_exact_mut(3).zip(address) {
            three[0] = DIGITS[usize::from(byte >> 4)];
            three[1] = DIGITS[usize::from(byte & 15)];
            three[2] = b':';
            length += 3;
        }
        // The last colon is between nothing.
        &self.0[..usize::saturating_sub(length, 1)]
    }
}
