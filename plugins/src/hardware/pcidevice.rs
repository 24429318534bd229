//! PCI devices and their links, from `/sys/bus/pci/devices`
//! (Documentation/ABI/testing/sysfs-bus-pci, drivers/pci/pci-sysfs.c).

mod names;

use names::Names;
use vitald_core::family::Family;
use vitald_core::host::attribute::{Number, Text};
use vitald_core::host::{Attribute, Child};
use vitald_core::prelude::*;

families! {
    /// What a PCI device is, and behind which bridge; always 1.
    INFO: gauge = "node_pcidevice_info" [
        segment, bus, device, function, parent_segment, parent_bus, parent_device, parent_function,
        class_id, vendor_id, device_id, subsystem_vendor_id, subsystem_device_id, revision,
    ];
    /// How fast the link of a device could be, in transfers per second; -1 if it is not known.
    MAXIMUM_SPEED: gauge = "node_pcidevice_max_link_transfers_per_second" [segment, bus, device, function];
    /// How many lanes the link of a device could have; -1 if it is not known.
    MAXIMUM_WIDTH: gauge = "node_pcidevice_max_link_width" [segment, bus, device, function];
    /// How fast the link of a device is, in transfers per second; -1 if it is not known.
    SPEED: gauge = "node_pcidevice_current_link_transfers_per_second" [segment, bus, device, function];
    /// How many lanes the link of a device has; -1 if it is not known.
    WIDTH: gauge = "node_pcidevice_current_link_width" [segment, bus, device, function];
    /// Whether a device may lose its power while it sleeps.
    MAY_LOSE_POWER: gauge = "node_pcidevice_d3cold_allowed" [segment, bus, device, function];
    /// Whether drivers are looked for when a device gets virtual functions.
    PROBES_DRIVERS: gauge = "node_pcidevice_sriov_drivers_autoprobe" [segment, bus, device, function];
    /// Virtual functions that a device has.
    FUNCTIONS: gauge = "node_pcidevice_sriov_numvfs" [segment, bus, device, function];
    /// Virtual functions that a device could have.
    MOST_FUNCTIONS: gauge = "node_pcidevice_sriov_totalvfs" [segment, bus, device, function];
    /// Interrupts that a device has for its virtual functions.
    FUNCTION_INTERRUPTS: gauge = "node_pcidevice_sriov_vf_total_msix" [segment, bus, device, function];
    /// The node of memory that a device is near to.
    NODE: gauge = "node_pcidevice_numa_node" [segment, bus, device, function];
    /// Whether a device is in this power state.
    POWER_STATE: gauge = "node_pcidevice_power_state" [segment, bus, device, function, state];
}

attributes! {
    Device {
        CLASS: text = "class", slow;
        VENDOR: text = "vendor", slow;
        DEVICE: text = "device", slow;
        SUBSYSTEM_VENDOR: text = "subsystem_vendor", optional, slow;
        SUBSYSTEM_DEVICE: text = "subsystem_device", optional, slow;
        REVISION: text = "revision", optional, slow;
        MAXIMUM_SPEED: text = "max_link_speed", optional;
        SPEED: text = "current_link_speed", optional;
        MAXIMUM_WIDTH: text = "max_link_width", optional;
        WIDTH: text = "current_link_width", optional;
        MAY_LOSE_POWER: i64 = "d3cold_allowed", optional;
        PROBES_DRIVERS: i64 = "sriov_drivers_autoprobe", optional;
        FUNCTIONS: u64 = "sriov_numvfs", optional;
        MOST_FUNCTIONS: u64 = "sriov_totalvfs", optional;
        FUNCTION_INTERRUPTS: u64 = "sriov_vf_total_msix", optional;
        NODE: i64 = "numa_node", optional;
        POWER_STATE: text = "power_state", optional;
    }
}

/// What the link is, and the unit of it.
const LINKS: &[(&Family<4>, &Attribute<Device, Text>, f64)] = &[
    (&MAXIMUM_SPEED, &Device::MAXIMUM_SPEED, 1e9),
    (&MAXIMUM_WIDTH, &Device::MAXIMUM_WIDTH, 1.0),
    (&SPEED, &Device::SPEED, 1e9),
    (&WIDTH, &Device::WIDTH, 1.0),
];

// As in node_exporter, what a device does not have is 0.
const FLAGS: &[(&Family<4>, &Attribute<Device, Number>)] =
    &[(&MAY_LOSE_POWER, &Device::MAY_LOSE_POWER), (&PROBES_DRIVERS, &Device::PROBES_DRIVERS)];
const COUNTS: &[(&Family<4>, &Attribute<Device, Number>)] = &[
    (&FUNCTIONS, &Device::FUNCTIONS),
    (&MOST_FUNCTIONS, &Device::MOST_FUNCTIONS),
    (&FUNCTION_INTERRUPTS, &Device::FUNCTION_INTERRUPTS),
];

const POWER_STATES: [&[u8]; 7] = [b"D0", b"D1", b"D2", b"D3hot", b"D3cold", b"unknown", b"error"];

settings! {
    /// Show the names of vendors, devices and classes, too.
    names: bool = false;
    /// The file that has the names; without it, where distributions have `pci.ids`.
    idsfile: String = "";
}

register_collector!(PciDevices);

struct PciDevices {
    host: Host,
    devices: Walk<Device>,
    known: Rows<Known>,
    key: Vec<u8>,
    settings: Settings,
    /// Why the file that the user named could not be read; it is tried again at each collection.
    unread: Option<Error>,
}

/// What is found out of a device once.
#[derive(Default)]
struct Known {
    /// The name of the bridge that it is behind, if it is behind one.
    parent: Option<Box<[u8]>>,
    names: Option<Names>,
}

impl Collector for PciDevices {
    about! {
        name: "pcidevice",
        summary: "PCI devices, their links and their power states",
        families: FAMILIES,
        sources: ["sys/bus/pci/devices/*/*", "/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // The file with the names is not the kernel's own.
    const MAY_BLOCK: bool = true;
    const MAY_BLOCK_WITH: Option<&'static str> = Some("names");
    const OWN_DESCRIPTORS: bool = true;

    fn may_block(settings: &Settings) -> bool {
        settings.names
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let devices = host.walk("sys/bus/pci/devices/*");
        Ok(PciDevices {
            host: host.clone(),
            devices: devices.only(0, |name| location(name).is_some()),
            known: Rows::new(),
            key: Vec::new(),
            settings,
            unread: None,
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let PciDevices { host, devices, known, key, settings, unread } = self;
        devices.refresh()?;
        let mut run = known.begin();
        for device in devices.children() {
            let learn = || Known { parent: parent_of(host, device.name(0)), names: None };
            run.row(key_of(&device, key), learn);
        }
        if (run.finish() || unread.is_some()) && settings.names {
            *unread = name_devices(host, &settings.idsfile, devices, known, key)?;
        }
        if let Some(error) = unread {
            batch.fault("", error);
        }
        let mut run = known.begin();
        for device in devices.children() {
            let known = run.row(key_of(&device, key), Known::default);
            push_info(batch, &device, known)?;
            push_numbers(batch, &device)?;
        }
        run.finish();
        Ok(())
    }
}

/// Another device under the same name is another one.
fn key_of<'k>(device: &Child<'_, Device>, key: &'k mut Vec<u8>) -> &'k [u8] {
    key.clear();
    key.extend_from_slice(device.name(0));
    key.extend_from_slice(&device.inode().to_ne_bytes());
    key
}

/// The labels of `0000:3a:00.1`: segment, bus, device and function.
fn location(name: &[u8]) -> Option<[&[u8]; 4]> {
    let (segment, rest) = text::split_once(name, b':')?;
    let (bus, rest) = text::split_once(rest, b':')?;
    let (device, function) = text::split_once(rest, b'.')?;
    let parts = [segment, bus, device, function];
    let is_number = |part: &&[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_hexdigit);
    parts.iter().all(is_number).then_some(parts)
}

/// The directory above that of a device, unless it is that of a host bridge, as in
/// `../../../devices/pci0000:00/0000:00:02.1`.
fn parent_of(host: &Host, name: &[u8]) -> Option<Box<[u8]>> {
    let path = format!("sys/bus/pci/devices/{}", str::from_utf8(name).ok()?);
    let mut target = Vec::new();
    let parent = host.read_link(&path, &mut target).ok()?.rsplit(|byte| *byte == b'/').nth(1)?;
    location(parent).is_some().then(|| parent.into())
}

/// Looks the names of all devices up. Where there is no file, each has its number as its name. Gives
/// why a file that the user named could not be read.
fn name_devices(
    host: &Host,
    file: &str,
    devices: &Walk<Device>,
    known: &mut Rows<Known>,
    key: &mut Vec<u8>,
) -> Result<Option<Error>> {
    let mut text = Vec::new();
    let mut read = |path: &str| host.read(&format!("file:{path}"), &mut text).map(drop);
    let unread = if file.is_empty() {
        // The first one that is there; a fault is as good as an absence.
        let _ = names::PATHS.iter().find(|path| read(path).is_ok());
        None
    } else {
        read(file).err()
    };
    let database = names::Database::parse(&text);
    let mut run = known.begin();
    for device in devices.children() {
        run.row(key_of(&device, key), Known::default).names = Some(database.names([
            device.text(&Device::CLASS)?,
            device.text(&Device::VENDOR)?,
            device.text(&Device::DEVICE)?,
            device.text(&Device::SUBSYSTEM_VENDOR)?,
            device.text(&Device::SUBSYSTEM_DEVICE)?,
        ]));
    }
    run.finish();
    Ok(unread)
}

fn push_info(batch: &mut Batch, device: &Child<'_, Device>, known: &Known) -> Result<()> {
    let Some([segment, bus, slot, function]) = location(device.name(0)) else { return Ok(()) };
    let parent = known.parent.as_deref().and_then(location).unwrap_or([b"*"; 4]);
    let names = known.names.as_ref();
    let name = |name: fn(&Names) -> &[u8]| names.map_or(&b""[..], name);
    let pairs: [(&[u8], &[u8]); 19] = [
        (b"segment", segment),
        (b"bus", bus),
        (b"device", slot),
        (b"function", function),
        (b"parent_segment", parent[0]),
        (b"parent_bus", parent[1]),
        (b"parent_device", parent[2]),
        (b"parent_function", parent[3]),
        (b"class_id", device.text(&Device::CLASS)?),
        (b"vendor_id", device.text(&Device::VENDOR)?),
        (b"device_id", device.text(&Device::DEVICE)?),
        (b"subsystem_vendor_id", device.text(&Device::SUBSYSTEM_VENDOR)?),
        (b"subsystem_device_id", device.text(&Device::SUBSYSTEM_DEVICE)?),
        (b"revision", device.text(&Device::REVISION)?),
        (b"vendor_name", name(|names| &names.vendor)),
        (b"device_name", name(|names| &names.device)),
        (b"subsystem_vendor_name", name(|names| &names.subsystem_vendor)),
        (b"subsystem_device_name", name(|names| &names.subsystem_device)),
        (b"class_name", name(|names| &names.class)),
    ];
    let labels = batch.label_pairs(&pairs[..if names.is_some() { 19 } else { 14 }]);
    batch.push_pairs(&INFO, labels, 1);
    Ok(())
}

fn push_numbers(batch: &mut Batch, device: &Child<'_, Device>) -> Result<()> {
    let Some(location) = location(device.name(0)) else { return Ok(()) };
    let labels = batch.labels(location);
    for (family, attribute, unit) in LINKS {
        let text = device.optional_text(attribute)?.unwrap_or_default();
        if let Some(number) = batch.tolerate(parse_link(text)) {
            batch.push(family, labels, number.map_or(-1.0, |number| number * unit));
        }
    }
    for (family, attribute) in FLAGS {
        if let Some(number) = device.number_or(attribute, 0.0, batch)? {
            batch.push(family, labels, number != 0.0);
        }
    }
    for (family, attribute) in COUNTS {
        if let Some(number) = device.number_or(attribute, 0.0, batch)? {
            batch.push(family, labels, number);
        }
    }
    // The kernel writes -1 where a device is near to no node.
    if let Some(node) = device.number(&Device::NODE, batch)?.filter(|node| *node != -1.0) {
        batch.push(&NODE, labels, node);
    }
    let state = device.text(&Device::POWER_STATE)?;
    if !state.is_empty() {
        let [segment, bus, slot, function] = location;
        for known in POWER_STATES {
            batch.row(&POWER_STATE, [segment, bus, slot, function, known], known == state);
        }
    }
    Ok(())
}

/// Takes the number of `8.0 GT/s PCIe` or `16`; none where the link is not known.
fn parse_link(text: &[u8]) -> Result<Option<f64>, Malformed> {
    if text.is_empty() || text.starts_with(b"Unknown") {
        return Ok(None);
    }
    Fields::new(text).f64().map(Some)
}

#[cfg(test)]
mod tests;
