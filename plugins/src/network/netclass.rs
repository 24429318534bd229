//! What network interfaces are, from `/sys/class/net` (Documentation/ABI/testing/sysfs-class-net) or by netlink
//! (rtnetlink(7), Documentation/networking/ethtool-netlink.rst).
//!
//! What sysfs says is kept, and of an interface read again when one dump of all interfaces says that it has
//! changed (`changes`).
//!
//! The two differ as they do in node_exporter: by netlink, `node_network_info` has no `adminstate`, a
//! carrier is there for interfaces that are down, too, and an unknown speed is the highest number of 32 bits.

use changes::{Changes, Interfaces, Known};
use rtnetlink::Rtnetlink;
use vitald_core::family::Family;
use vitald_core::host::attribute::Number;
use vitald_core::host::{Attribute, Child, Matches};
use vitald_core::prelude::*;

mod changes;
mod rtnetlink;

families! {
    /// Whether the interface works, by its `operstate`: 1 if that is `up`.
    UP: gauge = "node_network_up" [device];
    /// Always 1; what is not a number.
    INFO: gauge = "node_network_info" [device, address, broadcast, duplex, operstate, ifalias];
    /// Where the hardware address is from: 0 the device, 1 random, 2 another device, 3 set by a program.
    ADDRESS_ASSIGN_TYPE: gauge = "node_network_address_assign_type" [device];
    /// Whether there is a carrier.
    CARRIER: gauge = "node_network_carrier" [device];
    /// How often the carrier was lost or found.
    CARRIER_CHANGES: counter = "node_network_carrier_changes_total" [device];
    /// How often the carrier was found.
    CARRIER_UP_CHANGES: counter = "node_network_carrier_up_changes_total" [device];
    /// How often the carrier was lost.
    CARRIER_DOWN_CHANGES: counter = "node_network_carrier_down_changes_total" [device];
    /// Tells devices that share a hardware address.
    DEVICE_ID: gauge = "node_network_device_id" [device];
    /// Whether the interface waits for something from outside, such as authentication; by netlink, its
    /// link mode.
    DORMANT: gauge = "node_network_dormant" [device];
    /// The flags of the interface (`IFF_*` of `linux/if.h`).
    FLAGS: gauge = "node_network_flags" [device];
    /// The index of the interface.
    IFACE_ID: gauge = "node_network_iface_id" [device];
    /// The index of the interface below, or of the other end; its own without one.
    IFACE_LINK: gauge = "node_network_iface_link" [device];
    /// The link mode: 0 is the default, 1 is dormant.
    IFACE_LINK_MODE: gauge = "node_network_iface_link_mode" [device];
    /// The largest packet.
    MTU: gauge = "node_network_mtu_bytes" [device];
    /// The group that the interface is in.
    GROUP: gauge = "node_network_net_dev_group" [device];
    /// Where the name is from: 1 the kernel, 2 a rule, 3 a program, 4 it was renamed.
    NAME_ASSIGN_TYPE: gauge = "node_network_name_assign_type" [device];
    /// How many bytes a second the interface can move.
    SPEED: gauge = "node_network_speed_bytes" [device];
    /// How many packets the transmit queue holds at most.
    QUEUE_LENGTH: gauge = "node_network_transmit_queue_length" [device];
    /// What kind of link it is (`ARPHRD_*` of `linux/if_arp.h`).
    PROTOCOL_TYPE: gauge = "node_network_protocol_type" [device];
}

settings! {
    /// Interfaces to leave out, by name.
    ignored_devices: Pattern = "^$";
    /// Show no speed where the driver does not know it, instead of a number below zero; not by netlink.
    ignore_invalid_speed: bool = false;
    /// Ask by netlink, which answers for the daemon's own network namespace, instead of reading most from
    /// `class/net` below `paths.sysfs`.
    netlink: bool = false;
    /// Show what each interface counts, too, instead of the collector netdev; by netlink only.
    rtnl_with_stats: bool = false;
}

attributes! {
    Interface {
        OPERATIONAL_STATE: text = "operstate", optional, slow;
        ADDRESS: text = "address", optional, slow;
        BROADCAST: text = "broadcast", optional, slow;
        DUPLEX: text = "duplex", optional, slow;
        ALIAS: text = "ifalias", optional, slow;
        FLAGS: integer = "flags", optional, slow;
        ADDRESS_ASSIGN_TYPE: integer = "addr_assign_type", optional, slow;
        CARRIER: integer = "carrier", optional, slow;
        CARRIER_CHANGES: integer = "carrier_changes", optional, slow;
        CARRIER_UP_CHANGES: integer = "carrier_up_count", optional, slow;
        CARRIER_DOWN_CHANGES: integer = "carrier_down_count", optional, slow;
        DEVICE_ID: integer = "dev_id", optional, slow;
        DORMANT: integer = "dormant", optional, slow;
        IFACE_ID: integer = "ifindex", optional, slow;
        IFACE_LINK: integer = "iflink", optional, slow;
        IFACE_LINK_MODE: integer = "link_mode", optional, slow;
        MTU: integer = "mtu", optional, slow;
        GROUP: integer = "netdev_group", optional, slow;
        NAME_ASSIGN_TYPE: integer = "name_assign_type", optional, slow;
        /// In bytes; sysfs has millions of bits.
        SPEED: integer * 125000.0 = "speed", optional, slow;
        QUEUE_LENGTH: integer = "tx_queue_len", optional, slow;
        PROTOCOL_TYPE: integer = "type", optional, slow;
    }
}

/// What is shown as it is.
const NUMBERS: [(&Family<1>, &Attribute<Interface, Number>); 16] = [
    (&FLAGS, &Interface::FLAGS),
    (&ADDRESS_ASSIGN_TYPE, &Interface::ADDRESS_ASSIGN_TYPE),
    (&CARRIER, &Interface::CARRIER),
    (&CARRIER_CHANGES, &Interface::CARRIER_CHANGES),
    (&CARRIER_UP_CHANGES, &Interface::CARRIER_UP_CHANGES),
    (&CARRIER_DOWN_CHANGES, &Interface::CARRIER_DOWN_CHANGES),
    (&DEVICE_ID, &Interface::DEVICE_ID),
    (&DORMANT, &Interface::DORMANT),
    (&IFACE_ID, &Interface::IFACE_ID),
    (&IFACE_LINK, &Interface::IFACE_LINK),
    (&IFACE_LINK_MODE, &Interface::IFACE_LINK_MODE),
    (&MTU, &Interface::MTU),
    (&GROUP, &Interface::GROUP),
    (&NAME_ASSIGN_TYPE, &Interface::NAME_ASSIGN_TYPE),
    (&QUEUE_LENGTH, &Interface::QUEUE_LENGTH),
    (&PROTOCOL_TYPE, &Interface::PROTOCOL_TYPE),
];

/// node_exporter reads no more of an attribute, which only an alias is longer than.
const ALIAS_BYTES: usize = 128;

register_collector!(Netclass);

enum Netclass {
    Sysfs(Box<Sysfs>),
    Rtnetlink(Box<Rtnetlink>),
}

impl Collector for Netclass {
    about! {
        name: "netclass",
        summary: "What network interfaces are: state, speed, addresses",
        families: FAMILIES,
        patterns: [
            FamilyPattern {
                name: "node_network_receive_*_total",
                kinds: &[Kind::Gauge],
                help: "What an interface counts of what it receives, with `rtnl_with_stats`.",
            },
            FamilyPattern {
                name: "node_network_transmit_*_total",
                kinds: &[Kind::Gauge],
                help: "What an interface counts of what it sends, with `rtnl_with_stats`.",
            },
            FamilyPattern {
                name: "node_network_multicast_total",
                kinds: &[Kind::Gauge],
                help: "Multicast packets received, with `rtnl_with_stats`.",
            },
            FamilyPattern {
                name: "node_network_collisions_total",
                kinds: &[Kind::Gauge],
                help: "Collisions while sending, with `rtnl_with_stats`.",
            },
        ],
        sources: [
            "sys/class/net/*/operstate",
            "sys/class/net/*/address",
            "sys/class/net/*/broadcast",
            "sys/class/net/*/duplex",
            "sys/class/net/*/ifalias",
            "sys/class/net/*/flags",
            "sys/class/net/*/addr_assign_type",
            "sys/class/net/*/carrier",
            "sys/class/net/*/carrier_changes",
            "sys/class/net/*/carrier_up_count",
            "sys/class/net/*/carrier_down_count",
            "sys/class/net/*/dev_id",
            "sys/class/net/*/dormant",
            "sys/class/net/*/ifindex",
            "sys/class/net/*/iflink",
            "sys/class/net/*/link_mode",
            "sys/class/net/*/mtu",
            "sys/class/net/*/netdev_group",
            "sys/class/net/*/name_assign_type",
            "sys/class/net/*/speed",
            "sys/class/net/*/tx_queue_len",
            "sys/class/net/*/type",
            "sys/kernel/uevent_seqnum",
            "netlink route",
            "netlink ethtool",
        ],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["device"],
        "Interfaces",
        &[
            Curve::of("up", value("node_network_up")),
            Curve::of("carrier", value("node_network_carrier")),
            Curve::of("speed", Figure::Bits(&value("node_network_speed_bytes"))),
            Curve::of("carrier changes", rate("node_network_carrier_changes_total")),
        ],
    )];
    // Speed and duplex are asked of the driver, which may have to ask the device.
    const MAY_BLOCK: bool = true;
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let Settings { ignored_devices, ignore_invalid_speed, netlink, rtnl_with_stats } = settings;
        if netlink {
            let rtnetlink = Rtnetlink::new(host, ignored_devices, rtnl_with_stats);
            return Ok(Netclass::Rtnetlink(Box::new(rtnetlink)));
        }
        let is_shown = {
            let ignored = ignored_devices.clone();
            move |name: &[u8]| !ignored.matches(name)
        };
        let interfaces = host.walk("sys/class/net/*").only(0, is_shown);
        Ok(Netclass::Sysfs(Box::new(Sysfs {
            interfaces: interfaces.slow_within(REFRESHES),
            changes: Changes::new(host, ignored_devices),
            events: OptionalFile::new(host.keep_whole("sys/kernel/uevent_seqnum")),
            ignore_invalid_speed,
        })))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        match self {
            Netclass::Sysfs(sysfs) => sysfs.collect(batch),
            Netclass::Rtnetlink(rtnetlink) => rtnetlink.collect(batch),
        }
    }
}

/// Within so many collections everything is read again, changed or not: a speed that is set without a change of
/// the link, where the address is from when the same one is set again, and what is missed in another network
/// namespace that looks the same.
const REFRESHES: usize = 32;

struct Sysfs {
    interfaces: Walk<Interface>,
    changes: Changes,
    /// The kernel counts an event for each interface that comes, goes, or gets another name, and while
    /// the count is the same the directory is not listed.
    events: OptionalFile,
    ignore_invalid_speed: bool,
}

impl Sysfs {
    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Sysfs { interfaces, changes, events, ignore_invalid_speed } = self;
        // A kernel has the count or not, whatever happens.
        let count = events.read(0).ok().flatten();
        let count = count.and_then(|count| text::single_u64(count).ok());
        interfaces.under(count);
        match changes.look(batch.fresh_from(), &mut |name| interfaces.read_again(name)) {
            Interfaces::Unknown => {
                interfaces.read_all();
            }
            Interfaces::Same => {}
            Interfaces::Others => {
                interfaces.under(None);
            }
        }
        let children = interfaces.refresh()?;
        if !changes.are_of(children.len(), |name, known| is_known(&children, name, known)) {
            interfaces.under(None).read_all().refresh()?;
        }
        for interface in interfaces.children() {
            // What is wrong with one costs what follows of that one.
            if let Err(error) = push(&interface, *ignore_invalid_speed, batch) {
                batch.fault("", error);
            }
        }
        Ok(())
    }
}

/// Whether sysfs has the interface of a dump.
fn is_known(interfaces: &Matches<'_, Interface>, name: &[u8], known: &mut Known) -> bool {
    interfaces.find_again(&[name], &mut known.place).is_some_and(|interface| {
        let is_number = |attribute, number| interface.is(attribute, number);
        is_number(&Interface::IFACE_ID, f64::from(known.index))
            && known
                .carrier_changes
                .is_none_or(|changes| is_number(&Interface::CARRIER_CHANGES, f64::from(changes)))
            && interface.text(&Interface::ADDRESS).is_ok_and(|own| *own == *known.address)
    })
}

fn push(interface: &Child<'_, Interface>, no_invalid: bool, batch: &mut Batch) -> Result<()> {
    let device = interface.name(0);
    let state = interface.text(&Interface::OPERATIONAL_STATE)?;
    let alias = interface.text(&Interface::ALIAS)?;
    let administrative = administrative_state(interface.number(&Interface::FLAGS, batch)?);
    let labels = batch.label_pairs(&[
        (b"device", device),
        (b"address", interface.text(&Interface::ADDRESS)?),
        (b"broadcast", interface.text(&Interface::BROADCAST)?),
        (b"duplex", interface.text(&Interface::DUPLEX)?),
        (b"operstate", state),
        (b"adminstate", administrative),
        (b"ifalias", text::trim(alias.get(..ALIAS_BYTES).unwrap_or(alias))),
    ]);
    batch.push_pairs(&INFO, labels, 1);
    let labels = batch.labels([device]);
    batch.push(&UP, labels, state == b"up");
    for (family, attribute) in NUMBERS {
        interface.push(batch, family, labels, attribute)?;
    }
    if let Some(speed) = interface.number(&Interface::SPEED, batch)?
        && (speed >= 0.0 || !no_invalid)
    {
        batch.push(&SPEED, labels, speed);
    }
    Ok(())
}

/// Whether the interface is to be up, by the flag `IFF_UP`.
fn administrative_state(flags: Option<f64>) -> &'static [u8] {
    match flags {
        None => b"unknown",
        Some(flags) if flags as i64 & 1 == 1 => b"up",
        Some(_) => b"down",
    }
}

#[cfg(test)]
mod tests;
