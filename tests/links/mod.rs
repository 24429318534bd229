//! Interfaces that change, and whether each page has of them what sysfs has.

#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each test binary uses its own part, and a test says what its machine lacks"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Daemon, until};
use crate::system::namespaces::Namespaces;
use crate::system::page::Page;

/// What is said of interfaces, by their names and the names of attributes.
type Said = BTreeMap<(String, String), String>;

/// What sysfs has of the interfaces in a mount namespace, but for attributes that are empty.
fn attributes(namespaces: &Namespaces) -> Said {
    let names = ATTRIBUTES.map(|(_, attribute, _)| attribute);
    let texts = ["address", "broadcast", "duplex", "operstate", "ifalias"];
    let paths: String =
        names.iter().chain(&texts).map(|attribute| format!(" */{attribute}")).collect();
    // grep fails because of the attributes that have no value.
    let text = namespaces.sh(&format!("cd /sys/class/net && grep -sH '' {paths} || true"));
    let line = |line: &str| {
        let (path, content) = line.split_once(':').expect("a path");
        let (name, attribute) = path.split_once('/').expect("a directory");
        ((name.to_owned(), attribute.to_owned()), content.trim().to_owned())
    };
    text.lines().map(line).filter(|(_, content)| !content.is_empty()).collect()
}

/// The families of attributes that are numbers, and their units.
const ATTRIBUTES: [(&str, &str, f64); 17] = [
    ("node_network_flags", "flags", 1.0),
    ("node_network_address_assign_type", "addr_assign_type", 1.0),
    ("node_network_carrier", "carrier", 1.0),
    ("node_network_carrier_changes_total", "carrier_changes", 1.0),
    ("node_network_carrier_up_changes_total", "carrier_up_count", 1.0),
    ("node_network_carrier_down_changes_total", "carrier_down_count", 1.0),
    ("node_network_device_id", "dev_id", 1.0),
    ("node_network_dormant", "dormant", 1.0),
    ("node_network_iface_id", "ifindex", 1.0),
    ("node_network_iface_link", "iflink", 1.0),
    ("node_network_iface_link_mode", "link_mode", 1.0),
    ("node_network_mtu_bytes", "mtu", 1.0),
    ("node_network_net_dev_group", "netdev_group", 1.0),
    ("node_network_name_assign_type", "name_assign_type", 1.0),
    ("node_network_speed_bytes", "speed", 125_000.0),
    ("node_network_transmit_queue_length", "tx_queue_len", 1.0),
    ("node_network_protocol_type", "type", 1.0),
];

/// What a page has of that.
fn shown_attributes(page: &Page) -> Said {
    let mut shown = BTreeMap::new();
    for (family, attribute, unit) in ATTRIBUTES {
        for (series, value) in page.family(family) {
            let name = series.label("device").expect("a device").to_owned();
            let value = value / unit;
            let text = if attribute == "flags" || attribute == "dev_id" {
                format!("{:#x}", value as u64)
            } else {
                value.to_string()
            };
            shown.insert((name, attribute.to_owned()), text);
        }
    }
    for (series, _) in page.family("node_network_info") {
        let name = series.label("device").expect("a device");
        for attribute in ["address", "broadcast", "duplex", "operstate", "ifalias"] {
            let text = series.label(attribute).unwrap_or_default().to_owned();
            if !text.is_empty() {
                shown.insert((name.to_owned(), attribute.to_owned()), text);
            }
        }
    }
    shown
}

/// Changes of interfaces, and how many pages later all of each is seen.
const LINK_CHANGES: &[(&str, usize)] = &[
    ("ip link add v0 type veth peer name v1", 0),
    ("ip link set v0 up", 0),
    ("ip link set v1 up", 0),
    ("ip link set v1 down", 0),
    ("ip link set v1 up && ip link set v1 down && ip link set v1 up", 0),
    ("ip link set v0 mtu 1400", 0),
    ("ip link set v0 address 02:00:00:00:00:77", 0),
    ("ip link set v0 alias ' to the rack, and a long way further'", 0),
    ("ip link set v0 alias ''", 0),
    ("ip link set v0 txqueuelen 77", 0),
    ("ip link set v0 group 5", 0),
    ("ip link set v0 promisc on", 0),
    ("ip link set v0 allmulticast on", 0),
    ("ip link set v0 multicast off arp off", 0),
    ("ip link set v0 mode dormant", 0),
    ("ip link set v0 mode default", 0),
    ("ip link add br0 type bridge forward_delay 0", 0),
    // In a bridge an interface takes all packets, of which its flags in netlink say nothing.
    ("ip link set v1 master br0 && ip link set br0 up", 0),
    ("ip link add p0 type ifb && ip link set p0 master br0 && ip link set p0 up", 0),
    // The other port has no speed and is still there: of the bridge nothing but the speed changes.
    ("ip link set v0 down", 0),
    ("ip link set v0 up", 0),
    ("ip link delete p0", 0),
    ("ip link set v1 nomaster", 0),
    ("ip link set v0 down && ip link set v0 name w0", 0),
    ("ip link set w0 up", 0),
    (
        "ip link set w0 down && ip link set w0 name x && ip link set v1 down && ip link set v1 name w0",
        0,
    ),
    ("ip link set x name v1", 0),
    (
        "i=$(cat /sys/class/net/v1/ifindex); ip link delete v1 && ip link add v1 index $i type ifb",
        0,
    ),
    ("ip link add i0 type ifb && ip link set i0 up", 0),
    ("ip link delete i0 && ip link add i0 type ifb", 0),
    ("ip tuntap add t0 mode tun && ip link set t0 up", 0),
    // The speed of a tun changes without an event.
    ("ethtool -s t0 speed 1000 duplex half autoneg off", 32),
    ("ip link set lo mtu 1600", 0),
    ("ip link set lo down && ip link set lo up", 0),
    ("for i in $(seq 20); do ip link add many$i type ifb; done", 0),
    ("for i in $(seq 20); do ip link delete many$i; done", 0),
];

/// The same of kinds of interfaces that not every kernel has.
const CHANGES_OF_KINDS: &[(&str, &[&str])] = &[
    ("dummy", &["ip link add d0 type dummy && ip link set d0 up", "ip link set d0 carrier off"]),
    (
        "vlan",
        &[
            // A bridge without a port has no address, and so no VLAN that is up.
            "ip link set br0 address 02:00:00:00:00:b0",
            "ip link add link br0 name br0.5 type vlan id 5",
            "ip link set br0.5 up",
            "ip link set br0 down",
            "ip link set br0 up",
        ],
    ),
    (
        "macvlan",
        &[
            "ip link add link br0 name m0 type macvlan && ip link set m0 up",
            "ip link set m0 protodown on",
            "ip link set m0 protodown off",
        ],
    ),
    (
        "bond",
        &[
            "ip link add bond0 type bond && ip link add s0 type veth peer name s1",
            "ip link set s0 master bond0",
            "ip link set s1 up && ip link set bond0 up",
            "ip link add s2 type veth peer name s3",
            "ip link set s2 master bond0 && ip link set s3 up",
            // The bond is as fast as those together that have a link.
            "ip link set s3 down",
            "ip link set s3 up",
            "ip link set s0 nomaster",
        ],
    ),
];

/// How many kinds these are.
pub const ALL_KINDS: usize = CHANGES_OF_KINDS.len();

/// What is below a bridge or a bond.
pub const PORTS: [&str; 9] = ["p0", "s0", "s1", "s2", "s3", "v0", "v1", "w0", "x"];

/// Whether the kernel has interfaces of this kind. Says so where it has not: `system_vm` makes the changes under a kernel
/// that has all of them.
fn has_kind(namespaces: &Namespaces, kind: &str) -> bool {
    let parent = if kind.ends_with("vlan") { "link br0" } else { "" };
    let id = if kind == "vlan" { "id 9" } else { "" };
    let add = format!("ip link add {parent} name probe type {kind} {id}");
    let answer =
        namespaces.sh(&format!("({add} && ip link delete probe && echo yes) 2>&1 || true"));
    let has = answer.contains("yes");
    if !has {
        println!("this kernel has no interfaces of kind {kind}: {}", answer.trim());
    }
    has
}

/// A daemon, and the interfaces that its pages leave out.
pub struct Shown<'d> {
    pub daemon: &'d Daemon,
    pub left_out: &'d [&'d str],
}

impl Shown<'_> {
    fn page(&self) -> Page {
        Page::parse(&self.daemon.metrics().body)
    }
}

/// Its configuration.
pub fn netclass_without(left_out: &[&str]) -> String {
    format!(
        "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\n\
         [collectors.netclass]\nenabled = true\nignored_devices = \"^({})$\"\n",
        left_out.join("|")
    )
}

/// Changes interfaces in namespaces with a sysfs of their own and compares each page of the daemons with it, but for the
/// interfaces that it leaves out. At least `kinds` of the kinds that not every kernel has must be there.
pub fn interfaces_are_those_of_sysfs(namespaces: &Namespaces, kinds: usize, daemons: &[Shown<'_>]) {
    namespaces.sh("ip link add br0 type bridge");
    let there: Vec<_> =
        CHANGES_OF_KINDS.iter().filter(|(kind, _)| has_kind(namespaces, kind)).collect();
    namespaces.sh("ip link delete br0");
    assert!(there.len() >= kinds, "{there:?}");
    let pages = |count| {
        for shown in daemons.iter().cycle().take(count * daemons.len()) {
            shown.page();
        }
    };
    let more = there.iter().flat_map(|(_, changes)| changes.iter().map(|change| (*change, 0)));
    for (change, later) in LINK_CHANGES.iter().copied().chain(more) {
        // What has settled is not read again.
        pages(3);
        namespaces.sh(&format!("({change}) 2>&1"));
        pages(later);
        // The state of a link changes some time after the link.
        until("a page shows what sysfs has before it and after it", || {
            let before = attributes(namespaces);
            let pages: Vec<Said> =
                daemons.iter().map(|shown| shown_attributes(&shown.page())).collect();
            let is_settled = attributes(namespaces) == before;
            for (Shown { left_out, .. }, page) in daemons.iter().zip(&pages) {
                let mut expected = before.clone();
                expected.retain(|(name, _), _| !left_out.contains(&name.as_str()));
                let is_right = !is_settled || *page == expected;
                assert!(is_right, "{change}: {}", differences(page, &expected));
            }
            is_settled
        });
    }
}

fn differences(shown: &Said, expected: &Said) -> String {
    let both: BTreeSet<_> = shown.keys().chain(expected.keys()).collect();
    let different = both.into_iter().filter(|key| shown.get(key) != expected.get(key));
    different
        .map(|key| format!("{key:?}: {:?}, not {:?}; ", shown.get(key), expected.get(key)))
        .collect()
}
