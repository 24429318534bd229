use super::*;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vitald_core::host::{AttributeWriter, Link, LinkStatistics};
use vitald_core::run::Run;
use vitald_core::settings::Node;
use vitald_core::testing::*;

fn write(memory: &MemoryHost, device: &str, attributes: &[(&str, &str)]) {
    for (attribute, content) in attributes {
        memory.write(format!("sys/class/net/{device}/{attribute}"), content);
    }
}

/// An interface that works, one that is down, for which the kernel has no carrier and no speed (EINVAL), and
/// the list of bonds beside them.
fn memory() -> MemoryHost {
    let memory = MemoryHost::new();
    memory.write("sys/class/net/bonding_masters", "\n");
    write(
        &memory,
        "eth0",
        &[
            ("operstate", "up\n"),
            ("address", "02:00:5e:10:00:01\n"),
            ("broadcast", "ff:ff:ff:ff:ff:ff\n"),
            ("duplex", "full\n"),
            ("ifalias", "to the \"rack\"\n"),
            ("flags", "0x1003\n"),
            ("addr_assign_type", "0\n"),
            ("carrier", "1\n"),
            ("carrier_changes", "7\n"),
            ("carrier_up_count", "4\n"),
            ("carrier_down_count", "3\n"),
            ("dev_id", "0x1f\n"),
            ("dormant", "0\n"),
            ("ifindex", "2\n"),
            ("iflink", "2\n"),
            ("link_mode", "0\n"),
            ("mtu", "9000\n"),
            ("netdev_group", "5\n"),
            ("name_assign_type", "4\n"),
            ("speed", "25000\n"),
            ("tx_queue_len", "1000\n"),
            ("type", "1\n"),
        ],
    );
    write(
        &memory,
        "tun0",
        &[("operstate", "down\n"), ("address", "\n"), ("flags", "0x1090\n"), ("ifindex", "9\n")],
    );
    for attribute in ["carrier", "speed", "duplex", "dormant", "name_assign_type"] {
        memory.fail(format!("sys/class/net/tun0/{attribute}"), 22);
    }
    memory
}

#[test]
fn golden() {
    check::<Netclass>(
        &memory().host(),
        &[],
        &expect![[r##"
            # node_network_address_assign_type gauge
            node_network_address_assign_type{device="eth0"} 0
            # node_network_carrier gauge
            node_network_carrier{device="eth0"} 1
            # node_network_carrier_changes_total counter
            node_network_carrier_changes_total{device="eth0"} 7
            # node_network_carrier_down_changes_total counter
            node_network_carrier_down_changes_total{device="eth0"} 3
            # node_network_carrier_up_changes_total counter
            node_network_carrier_up_changes_total{device="eth0"} 4
            # node_network_device_id gauge
            node_network_device_id{device="eth0"} 31
            # node_network_dormant gauge
            node_network_dormant{device="eth0"} 0
            # node_network_flags gauge
            node_network_flags{device="eth0"} 4099
            node_network_flags{device="tun0"} 4240
            # node_network_iface_id gauge
            node_network_iface_id{device="eth0"} 2
            node_network_iface_id{device="tun0"} 9
            # node_network_iface_link gauge
            node_network_iface_link{device="eth0"} 2
            # node_network_iface_link_mode gauge
            node_network_iface_link_mode{device="eth0"} 0
            # node_network_info gauge
            node_network_info{device="eth0",address="02:00:5e:10:00:01",broadcast="ff:ff:ff:ff:ff:ff",duplex="full",operstate="up",adminstate="up",ifalias="to the \"rack\""} 1
            node_network_info{device="tun0",address="",broadcast="",duplex="",operstate="down",adminstate="down",ifalias=""} 1
            # node_network_mtu_bytes gauge
            node_network_mtu_bytes{device="eth0"} 9000
            # node_network_name_assign_type gauge
            node_network_name_assign_type{device="eth0"} 4
            # node_network_net_dev_group gauge
            node_network_net_dev_group{device="eth0"} 5
            # node_network_protocol_type gauge
            node_network_protocol_type{device="eth0"} 1
            # node_network_speed_bytes gauge
            node_network_speed_bytes{device="eth0"} 3.125e+09
            # node_network_transmit_queue_length gauge
            node_network_transmit_queue_length{device="eth0"} 1000
            # node_network_up gauge
            node_network_up{device="eth0"} 1
            node_network_up{device="tun0"} 0
        "##]],
    );
}

#[test]
fn a_speed_that_is_not_known() {
    let memory = MemoryHost::new();
    write(&memory, "virtio", &[("operstate", "up\n"), ("speed", "-1\n")]);
    let page = |settings: &[(&str, Node)]| {
        let (batch, outcome) = run(&mut open::<Netclass>(&memory.host(), settings), None);
        outcome.unwrap();
        render(&batch)
    };
    assert!(page(&[]).contains("node_network_speed_bytes{device=\"virtio\"} -125000\n"));
    let settings = [("ignore_invalid_speed", true.into())];
    assert!(!page(&settings).contains("node_network_speed_bytes"));
    memory.write("sys/class/net/virtio/speed", "10\n");
    assert!(page(&settings).contains("node_network_speed_bytes{device=\"virtio\"} 1.25e+06\n"));
}

#[test]
fn interfaces_are_left_out_by_name() {
    for netlink in [false, true] {
        let memory = memory_with_links();
        let settings = [("ignored_devices", "^(tun|lo)".into()), ("netlink", netlink.into())];
        let mut collector = open::<Netclass>(&memory.host(), &settings);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(devices(&batch), ["eth0"], "{netlink}");
    }
}

/// Without flags nobody knows whether it should be up; what is no number is left out, and counted.
#[test]
fn odd_attributes_cost_themselves() {
    let memory = MemoryHost::new();
    let alias = ["é".repeat(60), " ".repeat(20), "beyond".into()].concat();
    let attributes =
        [("mtu", "many\n"), ("type", "0x304\n"), ("iflink", "-1\n"), ("ifalias", alias.as_str())];
    write(&memory, "odd", &attributes);
    memory.fail("sys/class/net/odd/flags", 13);
    let (batch, outcome) = run(&mut open::<Netclass>(&memory.host(), &[]), None);
    outcome.unwrap();
    assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    let page = render(&batch);
    assert!(page.contains("adminstate=\"unknown\""), "{page}");
    assert!(page.contains(&format!("ifalias=\"{}\"}}", "é".repeat(60))), "{page}");
    assert!(page.contains("node_network_protocol_type{device=\"odd\"} 772\n"), "{page}");
    assert!(page.contains("node_network_iface_link{device=\"odd\"} -1\n"), "{page}");
    assert!(!page.contains("node_network_mtu_bytes"), "{page}");
}

/// While the kernel counts no event, no other interface may have the name.
#[test]
fn interfaces_come_go_and_swap_names() {
    for count in [None, Some(7)] {
        let memory = memory();
        let event = |number: u32| {
            if count.is_some() {
                memory.write("sys/kernel/uevent_seqnum", format!("{number}\n"));
            }
        };
        event(1);
        let mut collector = open::<Netclass>(&memory.host(), &[]);
        let (first, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(values(&first, "node_network_iface_id"), [2.0, 9.0]);
        memory.rename("sys/class/net/eth0", "sys/class/net/spare");
        memory.rename("sys/class/net/tun0", "sys/class/net/eth0");
        memory.rename("sys/class/net/spare", "sys/class/net/tun0");
        event(2);
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.unwrap();
        assert_eq!(values(&second, "node_network_iface_id"), [9.0, 2.0]);
        assert_eq!(values(&second, "node_network_device_id"), [31.0]);
        memory.remove("sys/class/net/eth0");
        event(3);
        let (third, outcome) = run(&mut collector, Some(&second));
        outcome.unwrap();
        assert_eq!(devices(&third), ["tun0"]);
    }
}

#[test]
fn what_changes_without_an_event_is_read_each_time() {
    let memory = memory();
    memory.write("sys/kernel/uevent_seqnum", "1\n");
    let mut collector = open::<Netclass>(&memory.host(), &[]);
    let (first, _) = run(&mut collector, None);
    write(&memory, "eth0", &[("addr_assign_type", "3\n"), ("operstate", "dormant\n")]);
    let (second, outcome) = run(&mut collector, Some(&first));
    outcome.unwrap();
    assert_eq!(values(&second, "node_network_address_assign_type"), [3.0]);
    assert_eq!(values(&second, "node_network_up"), [0.0, 0.0]);
}

#[test]
fn absent_is_an_error() {
    let host = MemoryHost::new().host();
    check_fails::<Netclass>(&host, &[], &expect!["sys/class/net: not on this host"], &expect![""]);
    check_fails::<Netclass>(
        &host,
        &[("netlink", true.into())],
        &expect!["netlink route: not on this host"],
        &expect![""],
    );
}

fn links() -> Vec<Link<'static>> {
    vec![
        Link {
            index: 1,
            name: b"lo",
            flags: 0x49,
            arp_type: 772,
            operational_state: Some(0),
            address: Some(&[0; 6]),
            broadcast: Some(&[0; 6]),
            ..Link::default()
        },
        Link {
            index: 2,
            name: b"eth0",
            alias: Some(b"to the rack"),
            flags: 0x11043,
            arp_type: 1,
            mtu: Some(9000),
            tx_queue_len: Some(1000),
            operational_state: Some(6),
            link_mode: Some(1),
            carrier: Some(1),
            carrier_changes: Some(7),
            carrier_up_count: Some(4),
            carrier_down_count: Some(3),
            link: Some(5),
            group: Some(0),
            address: Some(&[2, 0, 0x5e, 0x10, 0, 0xaf]),
            broadcast: Some(&[0xff; 6]),
            statistics: Some(LinkStatistics {
                rx_packets: 11,
                tx_bytes: u64::MAX,
                rx_nohandler: 13,
                ..LinkStatistics::default()
            }),
            ..Link::default()
        },
        Link { index: 9, name: b"tun0", operational_state: Some(77), ..Link::default() },
    ]
}

/// Answers of the family `ethtool` for these indexes, speeds and duplex modes.
fn modes(modes: &[(u32, Option<u32>, Option<u8>)]) -> Vec<(u8, Vec<u8>)> {
    let answer = |(index, speed, duplex): &(u32, Option<u32>, Option<u8>)| {
        let mut bytes = Vec::new();
        let mut writer = AttributeWriter::new(&mut bytes);
        writer.nested(1, |header| {
            header.number_32(1, *index);
            header.text(2, b"a name");
        });
        if let Some(speed) = speed {
            writer.number_32(5, *speed);
        }
        if let Some(duplex) = duplex {
            writer.bytes(6, &[*duplex]);
        }
        (5, bytes)
    };
    modes.iter().map(answer).collect()
}

fn memory_with_links() -> MemoryHost {
    let memory = memory();
    memory.set_links(links());
    memory.set_generic("ethtool", |command, request| {
        assert_eq!(command, 4);
        assert!(request.find(1).is_some(), "the request has a header");
        Ok(modes(&[(9, Some(u32::MAX), Some(255)), (2, Some(25_000), Some(1))]))
    });
    memory
}

const NETLINK: &str = "netlink";

#[test]
fn golden_by_netlink() {
    check::<Netclass>(
        &memory_with_links().host(),
        &[(NETLINK, true.into())],
        &expect![[r##"
            # node_network_address_assign_type gauge
            node_network_address_assign_type{device="eth0"} 0
            # node_network_carrier gauge
            node_network_carrier{device="eth0"} 1
            # node_network_carrier_changes_total counter
            node_network_carrier_changes_total{device="eth0"} 7
            # node_network_carrier_down_changes_total counter
            node_network_carrier_down_changes_total{device="eth0"} 3
            # node_network_carrier_up_changes_total counter
            node_network_carrier_up_changes_total{device="eth0"} 4
            # node_network_device_id gauge
            node_network_device_id{device="eth0"} 31
            # node_network_dormant gauge
            node_network_dormant{device="eth0"} 1
            # node_network_flags gauge
            node_network_flags{device="lo"} 73
            node_network_flags{device="eth0"} 69699
            node_network_flags{device="tun0"} 0
            # node_network_iface_id gauge
            node_network_iface_id{device="lo"} 1
            node_network_iface_id{device="eth0"} 2
            node_network_iface_id{device="tun0"} 9
            # node_network_iface_link gauge
            node_network_iface_link{device="lo"} 1
            node_network_iface_link{device="eth0"} 5
            node_network_iface_link{device="tun0"} 9
            # node_network_iface_link_mode gauge
            node_network_iface_link_mode{device="eth0"} 1
            # node_network_info gauge
            node_network_info{device="lo",address="00:00:00:00:00:00",broadcast="00:00:00:00:00:00",duplex="",operstate="unknown",ifalias=""} 1
            node_network_info{device="eth0",address="02:00:5e:10:00:af",broadcast="ff:ff:ff:ff:ff:ff",duplex="Full",operstate="up",ifalias="to the rack"} 1
            node_network_info{device="tun0",address="",broadcast="",duplex="Unknown",operstate="unknown",ifalias=""} 1
            # node_network_mtu_bytes gauge
            node_network_mtu_bytes{device="lo"} 0
            node_network_mtu_bytes{device="eth0"} 9000
            node_network_mtu_bytes{device="tun0"} 0
            # node_network_name_assign_type gauge
            node_network_name_assign_type{device="eth0"} 4
            # node_network_net_dev_group gauge
            node_network_net_dev_group{device="eth0"} 0
            # node_network_protocol_type gauge
            node_network_protocol_type{device="lo"} 772
            node_network_protocol_type{device="eth0"} 1
            node_network_protocol_type{device="tun0"} 0
            # node_network_speed_bytes gauge
            node_network_speed_bytes{device="eth0"} 3.125e+09
            node_network_speed_bytes{device="tun0"} 5.36870911875e+14
            # node_network_transmit_queue_length gauge
            node_network_transmit_queue_length{device="eth0"} 1000
            # node_network_up gauge
            node_network_up{device="lo"} 0
            node_network_up{device="eth0"} 1
            node_network_up{device="tun0"} 0
        "##]],
    );
}

#[test]
fn counters_by_netlink() {
    let settings = [(NETLINK, true.into()), ("rtnl_with_stats", true.into())];
    let memory = memory_with_links();
    let mut collector = open::<Netclass>(&memory.host(), &settings);
    let (first, outcome) = run(&mut collector, None);
    outcome.unwrap();
    let (second, outcome) = run(&mut collector, Some(&first));
    outcome.unwrap();
    assert_eq!(first.shape().id(), second.shape().id());
    refuse_undeclared::<Netclass>(&second);
    let page = render(&second);
    let counted: String =
        page.lines().filter(|line| line.contains("_total")).flat_map(|line| [line, "\n"]).collect();
    expect![[r##"
        # node_network_carrier_changes_total counter
        node_network_carrier_changes_total{device="eth0"} 7
        # node_network_carrier_down_changes_total counter
        node_network_carrier_down_changes_total{device="eth0"} 3
        # node_network_carrier_up_changes_total counter
        node_network_carrier_up_changes_total{device="eth0"} 4
        # node_network_collisions_total gauge
        node_network_collisions_total{device="eth0"} 0
        # node_network_multicast_total gauge
        node_network_multicast_total{device="eth0"} 0
        # node_network_receive_bytes_total gauge
        node_network_receive_bytes_total{device="eth0"} 0
        # node_network_receive_compressed_total gauge
        node_network_receive_compressed_total{device="eth0"} 0
        # node_network_receive_crc_errors_total gauge
        node_network_receive_crc_errors_total{device="eth0"} 0
        # node_network_receive_dropped_total gauge
        node_network_receive_dropped_total{device="eth0"} 0
        # node_network_receive_errors_total gauge
        node_network_receive_errors_total{device="eth0"} 0
        # node_network_receive_fifo_errors_total gauge
        node_network_receive_fifo_errors_total{device="eth0"} 0
        # node_network_receive_frame_errors_total gauge
        node_network_receive_frame_errors_total{device="eth0"} 0
        # node_network_receive_length_errors_total gauge
        node_network_receive_length_errors_total{device="eth0"} 0
        # node_network_receive_missed_errors_total gauge
        node_network_receive_missed_errors_total{device="eth0"} 0
        # node_network_receive_nohandler_total gauge
        node_network_receive_nohandler_total{device="eth0"} 13
        # node_network_receive_over_errors_total gauge
        node_network_receive_over_errors_total{device="eth0"} 0
        # node_network_receive_packets_total gauge
        node_network_receive_packets_total{device="eth0"} 11
        # node_network_transmit_aborted_errors_total gauge
        node_network_transmit_aborted_errors_total{device="eth0"} 0
        # node_network_transmit_bytes_total gauge
        node_network_transmit_bytes_total{device="eth0"} 1.8446744073709552e+19
        # node_network_transmit_carrier_errors_total gauge
        node_network_transmit_carrier_errors_total{device="eth0"} 0
        # node_network_transmit_compressed_total gauge
        node_network_transmit_compressed_total{device="eth0"} 0
        # node_network_transmit_dropped_total gauge
        node_network_transmit_dropped_total{device="eth0"} 0
        # node_network_transmit_errors_total gauge
        node_network_transmit_errors_total{device="eth0"} 0
        # node_network_transmit_fifo_errors_total gauge
        node_network_transmit_fifo_errors_total{device="eth0"} 0
        # node_network_transmit_heartbeat_errors_total gauge
        node_network_transmit_heartbeat_errors_total{device="eth0"} 0
        # node_network_transmit_packets_total gauge
        node_network_transmit_packets_total{device="eth0"} 0
        # node_network_transmit_window_errors_total gauge
        node_network_transmit_window_errors_total{device="eth0"} 0
    "##]]
    .assert_eq(&counted);
}

/// The setting for counters does nothing without netlink.
#[test]
fn counters_are_netlinks() {
    let settings = [("rtnl_with_stats", true.into())];
    let (batch, outcome) = run(&mut open::<Netclass>(&memory_with_links().host(), &settings), None);
    outcome.unwrap();
    assert!(values(&batch, "node_network_receive_packets_total").is_empty());
}

/// A kernel before 5.6 has no such family; one that refuses costs speed and duplex, too.
#[test]
fn a_kernel_that_says_nothing_of_speeds() {
    let memory = memory();
    memory.set_links(links());
    let settings = [(NETLINK, true.into())];
    let mut collector = open::<Netclass>(&memory.host(), &settings);
    let (first, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert!(first.fault().is_none());
    assert!(values(&first, "node_network_speed_bytes").is_empty());
    assert_eq!(values(&first, "node_network_up"), [0.0, 1.0, 0.0]);
    memory.set_generic("ethtool", |_, _| Err(io::Error::from_raw_os_error(1)));
    let (second, outcome) = run(&mut collector, Some(&first));
    outcome.unwrap();
    assert!(second.fault().is_some());
    assert_eq!(values(&second, "node_network_up"), [0.0, 1.0, 0.0]);
    memory.set_generic("ethtool", |_, _| Ok(modes(&[(2, None, None), (0, Some(1), None)])));
    let (third, outcome) = run(&mut collector, Some(&second));
    outcome.unwrap();
    assert_eq!(values(&third, "node_network_speed_bytes"), [0.0]);
    assert!(render(&third).contains("duplex=\"Half\""));
}

/// What netlink does not say is read from sysfs once, and again after an event of any interface.
#[test]
fn what_only_sysfs_has_follows_events() {
    let memory = memory_with_links();
    let mut collector = open::<Netclass>(&memory.host(), &[(NETLINK, true.into())]);
    let (first, _) = run(&mut collector, None);
    assert_eq!(values(&first, "node_network_address_assign_type"), [0.0]);
    let reads = memory.reads();
    let (second, _) = run(&mut collector, Some(&first));
    assert_eq!(memory.reads(), reads, "without an event nothing is read");
    write(&memory, "eth0", &[("addr_assign_type", "3\n"), ("name_assign_type", "1\n")]);
    write(&memory, "lo", &[("dev_id", "0x0\n")]);
    memory.set_links(links());
    let (third, outcome) = run(&mut collector, Some(&second));
    outcome.unwrap();
    assert_eq!(values(&third, "node_network_address_assign_type"), [3.0]);
    assert_eq!(values(&third, "node_network_name_assign_type"), [1.0]);
    assert_eq!(values(&third, "node_network_device_id"), [0.0, 31.0]);
    // An interface that goes and another one that has its name.
    memory.rename("sys/class/net/eth0", "sys/class/net/eth1");
    write(&memory, "eth0", &[("dev_id", "0x7\n")]);
    let mut changed = links();
    changed[1].index = 12;
    changed.push(Link { index: 2, name: b"eth1", ..Link::default() });
    memory.set_links(changed);
    let (fourth, outcome) = run(&mut collector, Some(&third));
    outcome.unwrap();
    assert_eq!(values(&fourth, "node_network_device_id"), [0.0, 7.0, 31.0]);
}

#[test]
fn a_fault_of_sysfs_costs_what_only_sysfs_has() {
    let memory = memory_with_links();
    memory.fail("sys/class/net", 13);
    let mut collector = open::<Netclass>(&memory.host(), &[(NETLINK, true.into())]);
    let (first, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert!(first.fault().is_some());
    assert_eq!(values(&first, "node_network_up"), [0.0, 1.0, 0.0]);
}

#[test]
fn thousands_of_interfaces_cost_what_they_are() {
    let answers = Arc::new(AtomicU32::new(0));
    let memory = MemoryHost::new();
    let many = (1..=3000).map(|index| {
        let name = format!("veth{index}").leak().as_bytes();
        Link { index, name, operational_state: Some(6), ..Link::default() }
    });
    memory.set_links(many.collect());
    let count = Arc::clone(&answers);
    memory.set_generic("ethtool", move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(modes(&(1..=3000).rev().map(|index| (index, Some(index), Some(0))).collect::<Vec<_>>()))
    });
    let mut collector = open::<Netclass>(&memory.host(), &[(NETLINK, true.into())]);
    let (batch, outcome) = run(&mut collector, None);
    outcome.unwrap();
    let speeds = values(&batch, "node_network_speed_bytes");
    assert_eq!(speeds.len(), 3000);
    assert!(speeds.iter().enumerate().all(|(at, speed)| *speed == (at + 1) as f64 * 125_000.0));
    assert_eq!(answers.load(Ordering::Relaxed), 1);
}

pub(super) fn values(batch: &Run, family: &str) -> Vec<f64> {
    let of = batch.samples().filter(|(series, _)| series.family_name() == family.as_bytes());
    of.map(|(_, value)| value).collect()
}

fn devices(batch: &Run) -> Vec<String> {
    let up = batch.samples().filter(|(series, _)| series.family_name() == b"node_network_up");
    up.map(|(series, _)| {
        let (_, device) = series.labels().next().expect("a label");
        String::from_utf8_lossy(device).into_owned()
    })
    .collect()
}
