//! Which interfaces have changed, by one dump of all of them (`rtnl_fill_ifinfo` in net/core/rtnetlink.c).
//!
//! The dump has nearly all that sysfs has of an interface, in other words. So it is only compared with the dump
//! before: while it says the same of an interface, sysfs does, too. Where an address is from, a name is from, and
//! how fast the link is, it does not say: an address or a name that changes, and a link that is lost and found,
//! show in it. So sysfs is read again once more at the next collection, because a driver may find out how fast a link
//! is after it has said that there is one. How fast a bridge, a bond or a VLAN is follows from the interfaces below,
//! so that a change of any interface counts for these, too, at once and once more; also of one that is not shown.
//!
//! Netlink is of the daemon's own network namespace, and sysfs of the one it was mounted in. Only where both know
//! the same interfaces by the same indexes, with the same addresses and the same changes of their carriers, is
//! the one taken for the other.

use std::time::Instant;

use vitald_core::host::{Link, Pause, SharedLinks};
use vitald_core::prelude::*;

pub(super) struct Changes {
    links: SharedLinks,
    ignored: Pattern,
    known: Rows<Known>,
    /// There was a dump in this collection.
    is_dumped: bool,
    /// Where the two always differ, the dump is not asked for; an interface that comes or changes just now is in one of
    /// them first.
    pause: Pause,
    facts: Vec<u8>,
}

/// What a dump says of the interfaces together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interfaces {
    /// There is no dump.
    Unknown,
    /// They are those of the last dump.
    Same,
    /// There are others, or some have gone.
    Others,
}

/// What the last dump said of an interface.
#[derive(Default)]
pub(super) struct Known {
    is_shown: bool,
    /// It changed in the collection before.
    has_just_changed: bool,
    /// What it is follows from other interfaces, too. Those that a driver made for a device are not, nor is a pair
    /// of veth, of which there may be hundreds.
    follows_others: bool,
    facts: Vec<u8>,
    pub(super) index: i32,
    pub(super) carrier_changes: Option<u32>,
    /// As sysfs writes it.
    pub(super) address: Vec<u8>,
    /// The place of the interface among those of sysfs.
    pub(super) place: usize,
}

impl Changes {
    pub(super) fn new(host: &Host, ignored: Pattern) -> Self {
        Changes {
            links: host.shared_links(),
            ignored,
            known: Rows::new(),
            is_dumped: false,
            pause: Pause::default(),
            facts: Vec::new(),
        }
    }

    /// Gives the name of each interface of which sysfs is to be read again: it is new, it has changed since the last
    /// dump or the one before, or it follows others of which one has, shown or not.
    pub(super) fn look(
        &mut self,
        fresh_from: Instant,
        changed: &mut dyn FnMut(&[u8]),
    ) -> Interfaces {
        self.is_dumped = false;
        if !self.pause.lets_ask() {
            return Interfaces::Unknown;
        }
        let Changes { links, ignored, known, facts, .. } = self;
        let mut has_changed = false;
        let mut pass = known.begin();
        let dumped = links.each(fresh_from, &mut |link| {
            let is_shown = || !ignored.matches(link.name);
            let known = pass.row(link.name, || Known { is_shown: is_shown(), ..Known::default() });
            write_facts(facts, &link);
            if known.facts == *facts {
                if !std::mem::take(&mut known.has_just_changed) {
                    return;
                }
            } else {
                known.has_just_changed = true;
                known.follows_others = link.kind.is_some_and(|kind| kind != b"veth");
                known.facts.clone_from(facts);
                (known.index, known.carrier_changes) = (link.index, link.carrier_changes);
                write_address(&mut known.address, link.address);
            }
            has_changed = true;
            if known.is_shown {
                changed(link.name);
            }
        });
        if dumped.is_err() {
            self.pause.begin();
            return Interfaces::Unknown;
        }
        self.is_dumped = true;
        let are_others = pass.finish();
        if has_changed || are_others {
            self.known
                .iter()
                .filter(|(_, known)| known.is_shown && known.follows_others)
                .for_each(|(name, _)| changed(name));
        }
        if are_others { Interfaces::Others } else { Interfaces::Same }
    }

    /// Whether the dump, if there was one, is of so many interfaces, and `is_same` of each by its name.
    pub(super) fn are_of(
        &mut self,
        count: usize,
        mut is_same: impl FnMut(&[u8], &mut Known) -> bool,
    ) -> bool {
        if !self.is_dumped {
            return true;
        }
        let shown = || self.known.iter().filter(|(_, known)| known.is_shown);
        let is_of = shown().count() == count
            && self.known.iter_mut().all(|(name, known)| !known.is_shown || is_same(name, known));
        self.pause.note(is_of);
        is_of
    }
}

/// Writes down all that the dump says of an interface beside what it counts.
fn write_facts(into: &mut Vec<u8>, link: &Link<'_>) {
    into.clear();
    let bytes = [link.operational_state, link.link_mode, link.carrier, link.proto_down];
    for byte in bytes {
        into.extend_from_slice(&byte.map_or(u16::MAX, u16::from).to_ne_bytes());
    }
    let numbers = [
        link.mtu,
        link.tx_queue_len,
        link.carrier_changes,
        link.carrier_up_count,
        link.carrier_down_count,
        link.group,
        link.promiscuity,
        link.all_multicast,
        link.link.map(i32::cast_unsigned),
        link.link_namespace.map(i32::cast_unsigned),
        link.master.map(i32::cast_unsigned),
        Some(link.index.cast_unsigned()),
        Some(link.flags),
        Some(u32::from(link.arp_type)),
    ];
    for number in numbers {
        into.extend_from_slice(&number.map_or(u64::MAX, u64::from).to_ne_bytes());
    }
    for text in [link.address, link.broadcast, link.alias] {
        let text = text.unwrap_or_default();
        into.extend_from_slice(&text.len().to_ne_bytes());
        into.extend_from_slice(text);
    }
}

/// Writes `02:00:5e:00:00:01`.
pub(super) fn write_address(into: &mut Vec<u8>, address: Option<&[u8]>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    into.clear();
    for byte in address.unwrap_or_default() {
        if !into.is_empty() {
            into.push(b':');
        }
        into.push(DIGITS[usize::from(byte >> 4)]);
        into.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::values;
    use super::super::*;
    use vitald_core::host::{Link, Pause};
    use vitald_core::run::Run;
    use vitald_core::testing::*;

    const EVENTS: &str = "sys/kernel/uevent_seqnum";

    fn write(memory: &MemoryHost, link: &Link<'_>) {
        let name = String::from_utf8_lossy(link.name);
        let attributes = [
            ("address", "02:00:00:00:00:01".to_owned()),
            ("ifindex", link.index.to_string()),
            ("carrier_changes", link.carrier_changes.unwrap_or_default().to_string()),
            ("mtu", link.mtu.unwrap_or_default().to_string()),
            ("flags", format!("{:#x}", link.flags)),
            ("speed", "1000".to_owned()),
        ];
        for (attribute, content) in attributes {
            memory.write(format!("sys/class/net/{name}/{attribute}"), format!("{content}\n"));
        }
    }

    fn link(index: i32, name: &'static [u8]) -> Link<'static> {
        Link {
            index,
            name,
            mtu: Some(1500),
            flags: 0x1003,
            carrier_changes: Some(2),
            address: Some(&[2, 0, 0, 0, 0, 1]),
            ..Link::default()
        }
    }

    /// A collector and its host, which netlink and sysfs agree on.
    struct Watched {
        memory: MemoryHost,
        collector: Netclass,
        last: Run,
    }

    impl Watched {
        fn of(links: &[Link<'static>]) -> Watched {
            Self::without(links, "^$")
        }

        /// Without the interfaces of these names.
        fn without(links: &[Link<'static>], ignored: &str) -> Watched {
            let memory = MemoryHost::from_files(&[(EVENTS, "1\n")]);
            links.iter().for_each(|link| write(&memory, link));
            memory.set_links(links.to_vec());
            let settings = [("ignored_devices", ignored.into())];
            let mut collector = open::<Netclass>(&memory.host(), &settings);
            // What is new is read again at the next collection.
            let (first, _) = run(&mut collector, None);
            let (last, outcome) = run(&mut collector, Some(&first));
            outcome.unwrap();
            Watched { memory, collector, last }
        }

        /// The values of a family, and how many files were read for it.
        fn values(&mut self, family: &str) -> (Vec<f64>, u64) {
            let before = self.memory.reads();
            let (batch, outcome) = run(&mut self.collector, Some(&self.last));
            outcome.unwrap();
            self.last = batch;
            (values(&self.last, family), self.memory.reads() - before)
        }
    }

    const ALL: u64 = 2 * 6;

    #[test]
    fn what_has_not_changed_is_read_in_rotation() {
        let mut host = Watched::of(&[link(2, b"eth0"), link(3, b"eth1")]);
        // Forty-four attributes, of which two are read at a time, and the number of events.
        let reads: Vec<u64> = (0..REFRESHES).map(|_| host.values("node_network_up").1).collect();
        assert!(reads.iter().all(|reads| *reads <= 1 + 2), "{reads:?}");
        assert!(reads.iter().sum::<u64>() >= REFRESHES as u64 + ALL, "{reads:?}");
    }

    #[test]
    fn what_the_dump_says_is_seen_at_once() {
        let mut links = [link(2, b"eth0"), link(3, b"eth1")];
        let mut host = Watched::of(&links);
        links[1].mtu = Some(9000);
        write(&host.memory, &links[1]);
        host.memory.set_links(links.to_vec());
        let (mtus, reads) = host.values("node_network_mtu_bytes");
        assert_eq!(mtus, [1500.0, 9000.0]);
        assert!(reads <= 1 + 6 + 2, "only the one that has changed is read: {reads}");
        // A speed is another one after the link was lost and found.
        links[0].carrier_changes = Some(4);
        write(&host.memory, &links[0]);
        host.memory.write("sys/class/net/eth0/speed", "100\n");
        host.memory.set_links(links.to_vec());
        assert_eq!(host.values("node_network_speed_bytes").0, [12.5e6, 125e6]);
    }

    #[test]
    fn what_a_driver_finds_out_after_the_change_is_seen_at_the_next_collection() {
        let mut links = [link(2, b"eth0"), link(3, b"eth1")];
        let mut host = Watched::of(&links);
        links[1].carrier_changes = Some(4);
        write(&host.memory, &links[1]);
        host.memory.set_links(links.to_vec());
        assert_eq!(host.values("node_network_speed_bytes").0, [125e6, 125e6]);
        host.memory.write("sys/class/net/eth1/speed", "2500\n");
        assert_eq!(host.values("node_network_speed_bytes").0, [125e6, 312.5e6]);
    }

    #[test]
    fn what_is_above_a_link_that_changes_is_read_again() {
        let bridge = Link { kind: Some(b"bridge"), ..link(4, b"br0") };
        let mut links = [bridge, link(2, b"eth0"), link(3, b"eth1")];
        let mut host = Watched::of(&links);
        links[2].carrier_changes = Some(3);
        write(&host.memory, &links[2]);
        host.memory.write("sys/class/net/br0/speed", "100\n");
        host.memory.set_links(links.to_vec());
        assert_eq!(host.values("node_network_speed_bytes").0, [12.5e6, 125e6, 125e6]);
        // One that goes does not change itself.
        host.memory.write("sys/class/net/br0/speed", "2500\n");
        host.memory.remove("sys/class/net/eth1");
        host.values("node_network_up");
        host.memory.write("sys/class/net/br0/speed", "10\n");
        host.memory.set_links(links[..2].to_vec());
        assert_eq!(host.values("node_network_speed_bytes").0, [1.25e6, 125e6]);
    }

    /// The ports of a bridge are often left out, and the bridge is what they are.
    #[test]
    fn what_is_above_a_link_that_is_not_shown_is_read_again() {
        let bridge = Link { kind: Some(b"bridge"), ..link(4, b"br0") };
        let vlan = Link { kind: Some(b"vlan"), ..link(5, b"br0.5") };
        let mut links = [bridge, vlan, link(2, b"eth0"), link(3, b"port1")];
        let mut host = Watched::without(&links, "^port");
        assert_eq!(host.values("node_network_speed_bytes").0, [125e6; 3]);
        links[3].carrier_changes = Some(3);
        for speed in ["100\n", "2500\n"] {
            // The second one is found out after the change.
            host.memory.write("sys/class/net/br0/speed", speed);
            host.memory.write("sys/class/net/br0.5/speed", speed);
            host.memory.set_links(links.to_vec());
            let expected = speed.trim().parse::<f64>().unwrap() * 125e3;
            let (speeds, reads) = host.values("node_network_speed_bytes");
            assert_eq!(speeds, [expected, expected, 125e6]);
            assert!(reads <= 1 + 2 * 6 + 2, "only what may follow is read: {reads}");
        }
        let (_, reads) = host.values("node_network_speed_bytes");
        assert!(reads <= 1 + 2, "{reads}");
        // One that goes does not change itself.
        host.memory.write("sys/class/net/br0/speed", "10\n");
        host.memory.remove("sys/class/net/port1");
        host.memory.set_links(links[..3].to_vec());
        assert_eq!(host.values("node_network_speed_bytes").0[0], 1.25e6);
    }

    #[test]
    fn what_no_dump_says_is_seen_in_time() {
        let mut host = Watched::of(&[link(2, b"eth0"), link(3, b"eth1")]);
        for (speed, expected) in [("100\n", 12.5e6), ("2500\n", 312.5e6)] {
            host.memory.write("sys/class/net/eth1/speed", speed);
            let late = (0..=REFRESHES)
                .position(|_| host.values("node_network_speed_bytes").0[1] == expected);
            assert!(late.is_some_and(|late| late < REFRESHES), "{late:?}");
        }
    }

    #[test]
    fn interfaces_come_and_go_with_the_dump() {
        let mut host = Watched::of(&[link(2, b"eth0")]);
        let both = [link(2, b"eth0"), link(3, b"eth1")];
        write(&host.memory, &both[1]);
        host.memory.set_links(both.to_vec());
        assert_eq!(host.values("node_network_iface_id").0, [2.0, 3.0]);
        host.memory.remove("sys/class/net/eth0");
        host.memory.set_links(both[1..].to_vec());
        assert_eq!(host.values("node_network_iface_id").0, [3.0]);
        // Another one of the same name.
        let other = link(4, b"eth1");
        host.memory.remove("sys/class/net/eth1");
        write(&host.memory, &other);
        host.memory.set_links(vec![other]);
        assert_eq!(host.values("node_network_iface_id").0, [4.0]);
    }

    /// Of a namespace with other interfaces, with one of the same name, and of one that looks the same.
    #[test]
    fn a_dump_of_another_namespace_is_not_believed() {
        let own = link(2, b"eth0");
        let mut others = vec![vec![link(2, b"eth1")], vec![link(7, b"eth0")], Vec::new()];
        others.push(vec![Link { address: None, ..own.clone() }]);
        others.push(vec![Link { carrier_changes: Some(9), ..own.clone() }]);
        others.push(vec![own.clone(), link(3, b"eth1")]);
        for other in others {
            let mut host = Watched::of(std::slice::from_ref(&own));
            host.memory.set_links(other.clone());
            for mtu in 1000..1000 + 3 * Pause::LENGTH {
                host.memory.write("sys/class/net/eth0/mtu", format!("{mtu}\n"));
                let shown = host.values("node_network_mtu_bytes").0;
                assert_eq!(shown, [f64::from(mtu)], "{other:?}");
            }
            // The dump is of its own namespace again.
            host.memory.set_links(vec![own.clone()]);
            let reads: Vec<u64> =
                (0..2 * Pause::LENGTH).map(|_| host.values("node_network_up").1).collect();
            assert!(*reads.last().expect("many") <= 1 + 2, "{other:?}: {reads:?}");
        }
        let mut host = Watched::of(std::slice::from_ref(&own));
        host.memory.write("sys/class/net/eth0/carrier_changes", "3\n");
        host.memory.write("sys/class/net/eth0/mtu", "1000\n");
        let late =
            (0..=REFRESHES).position(|_| host.values("node_network_mtu_bytes").0 == [1000.0]);
        assert!(late.is_some(), "it is found by reading in rotation");
    }

    #[test]
    fn without_netlink_everything_is_read() {
        let memory = MemoryHost::new();
        write(&memory, &link(2, b"eth0"));
        let mut collector = open::<Netclass>(&memory.host(), &[]);
        let (mut last, _) = run(&mut collector, None);
        for mtu in 1000..1000 + Pause::LENGTH {
            memory.write("sys/class/net/eth0/mtu", format!("{mtu}\n"));
            (last, _) = run(&mut collector, Some(&last));
            assert_eq!(values(&last, "node_network_mtu_bytes"), [f64::from(mtu)]);
        }
    }
}
