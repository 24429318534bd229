//! What the drivers of network interfaces say: what a link can do, what drives it, and what the driver counts
//! (Documentation/networking/statistics.rst, `linux/ethtool.h`), of the daemon's own network namespace.

use statistics::{Families, Statistics};
use vitald_core::errno::{ENODEV, EOPNOTSUPP};
use vitald_core::host::{
    Ethtool as Drivers, EthtoolDriver, EthtoolSettings, Kind as EntryKind, Listing,
};
use vitald_core::prelude::*;

mod modes;
mod statistics;

families! {
    /// Always 1; what drives the interface.
    INFO: gauge = "node_ethtool_info" [
        bus_info, device, driver, expansion_rom_version, firmware_version, version
    ];
    /// Always 1; a kind of port or transceiver that the interface has.
    PORT: gauge = "node_network_supported_port_info" [device, type];
    /// A speed that the interface can have, in bytes a second.
    SUPPORTED_SPEED: gauge = "node_network_supported_speed_bytes" [device, duplex, mode];
    /// A speed that the interface offers the other side, in bytes a second.
    ADVERTISED_SPEED: gauge = "node_network_advertised_speed_bytes" [device, duplex, mode];
    /// Whether the interface can find out with the other side what they use.
    SUPPORTED_NEGOTIATION: gauge = "node_network_autonegotiate_supported" [device];
    /// Whether the interface offers to find out with the other side what they use.
    ADVERTISED_NEGOTIATION: gauge = "node_network_autonegotiate_advertised" [device];
    /// Whether the interface finds out with the other side what they use.
    NEGOTIATION: gauge = "node_network_autonegotiate" [device];
    /// Whether the interface can ask for a pause and heed one.
    SUPPORTED_PAUSE: gauge = "node_network_pause_supported" [device];
    /// Whether the interface offers to ask for a pause and to heed one.
    ADVERTISED_PAUSE: gauge = "node_network_pause_advertised" [device];
    /// Whether pauses can be for one direction only.
    SUPPORTED_ASYMMETRIC_PAUSE: gauge = "node_network_asymmetricpause_supported" [device];
    /// Whether the interface offers pauses for one direction only.
    ADVERTISED_ASYMMETRIC_PAUSE: gauge = "node_network_asymmetricpause_advertised" [device];
}

settings! {
    devices: Filter {
        /// Interfaces to show, by name.
        include device_include;
        /// Interfaces to leave out, by name.
        exclude device_exclude;
    };
    /// Statistics to show, by the driver's name for them, in which every run of characters other than letters,
    /// digits and `_` is one `_`.
    metrics_include: Pattern = ".*";
}

register_collector!(Ethtool);

struct Ethtool {
    host: Host,
    interfaces: Listing,
    drivers: Drivers,
    devices: Filter,
    metrics: Pattern,
    families: Families,
    known: Rows<Statistics>,
}

impl Collector for Ethtool {
    about! {
        name: "ethtool",
        summary: "What the drivers of network interfaces count and can do",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_ethtool_*",
            kinds: &[Kind::Untyped],
            help: "What a driver counts under that name, with `received` for `rx` and `transmitted` for `tx`.",
        }],
        sources: ["sys/class/net/*", "ioctl SIOCETHTOOL"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    const MAY_BLOCK: bool = true;
    const OWN_DESCRIPTORS: bool = true;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Ethtool {
            host: host.clone(),
            interfaces: Listing::new(),
            drivers: host.ethtool(),
            devices: settings.devices,
            metrics: settings.metrics_include,
            families: Families::default(),
            known: Rows::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Ethtool { host, interfaces, drivers, devices, metrics, families, known } = self;
        host.list("sys/class/net", interfaces)?;
        families.begin();
        let mut known = known.begin();
        // A list of bonds may be there, too.
        for entry in interfaces.iter().filter(|entry| entry.kind != EntryKind::File) {
            if !devices.takes(entry.name) {
                continue;
            }
            // What comes after a slow driver would make the whole run late.
            if batch.time_left().is_zero() {
                batch.degraded("timeout");
                return Ok(());
            }
            let device = entry.name;
            let statistics = known.row(device, Statistics::default);
            match drivers.settings(device) {
                Ok(settings) => push_settings(device, settings, batch),
                Err(error) => note(&error, batch),
            }
            match drivers.driver(device) {
                Ok(driver) => push_driver(device, &driver, batch),
                Err(error) => note(&error, batch),
            }
            match drivers.statistics(device) {
                Ok(counted) => statistics.push(device, &counted, families, metrics, batch),
                Err(error) => note(&error, batch),
            }
        }
        families.end(known.finish());
        Ok(())
    }
}

/// Says what went wrong, unless that a driver does not know, or that the interface has gone.
fn note(error: &std::io::Error, batch: &mut Batch) {
    if !matches!(error.raw_os_error(), Some(EOPNOTSUPP | ENODEV)) {
        batch.fault("ioctl SIOCETHTOOL", error);
    }
}

fn push_driver(device: &[u8], driver: &EthtoolDriver<'_>, batch: &mut Batch) {
    let EthtoolDriver { name, version, firmware_version, expansion_rom_version, bus } = *driver;
    batch.row(&INFO, [bus, device, name, expansion_rom_version, firmware_version, version], 1);
}

fn push_settings(device: &[u8], settings: EthtoolSettings, batch: &mut Batch) {
    let EthtoolSettings { supported, advertised, autonegotiation } = settings;
    for (family, modes) in [(&SUPPORTED_SPEED, supported), (&ADVERTISED_SPEED, advertised)] {
        for speed in modes::speeds(modes) {
            let labels = [device, speed.duplex.as_bytes(), speed.mode.as_bytes()];
            batch.row(family, labels, f64::from(speed.megabits) * 125_000.0);
        }
    }
    for port in modes::ports(supported) {
        batch.row(&PORT, [device, port.as_bytes()], 1);
    }
    let labels = batch.labels([device]);
    let bits = [
        (&SUPPORTED_NEGOTIATION, supported, modes::NEGOTIATION),
        (&SUPPORTED_PAUSE, supported, modes::PAUSE),
        (&SUPPORTED_ASYMMETRIC_PAUSE, supported, modes::ASYMMETRIC_PAUSE),
        (&ADVERTISED_NEGOTIATION, advertised, modes::NEGOTIATION),
        (&ADVERTISED_PAUSE, advertised, modes::PAUSE),
        (&ADVERTISED_ASYMMETRIC_PAUSE, advertised, modes::ASYMMETRIC_PAUSE),
    ];
    for (family, modes, bit) in bits {
        batch.push(family, labels, modes >> bit & 1);
    }
    batch.push(&NEGOTIATION, labels, autonegotiation);
}

#[cfg(test)]
mod tests;
