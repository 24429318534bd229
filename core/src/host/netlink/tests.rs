//! Frames, routes and sockets against bytes made here and against this machine's kernel.

use super::frame::*;
use super::route::*;
use super::socket::*;
use crate::host::tests::left_out;
use rustix::io::Errno;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + ATTRIBUTE_HEADER).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

pub(super) fn message_of(sequence: u32, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + HEADER).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

pub(super) fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    message_of(7, kind, 0, payload)
}

fn done() -> Vec<u8> {
    message(NLMSG_DONE, &0_i32.to_ne_bytes())
}

fn link_message(index: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![0, 0];
    payload.extend_from_slice(&772_u16.to_ne_bytes());
    payload.extend_from_slice(&index.to_ne_bytes());
    payload.extend_from_slice(&0x1_0049_u32.to_ne_bytes());
    payload.extend_from_slice(&0_u32.to_ne_bytes());
    payload.extend(attributes.concat());
    message(RTM_NEWLINK, &payload)
}

fn address_message(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![family, 24, 0x80, 253];
    payload.extend_from_slice(&3_u32.to_ne_bytes());
    payload.extend(attributes.concat());
    message(RTM_NEWADDR, &payload)
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
            attribute(ifla::PROMISCUITY, &2_u32.to_ne_bytes()),
            attribute(ifla::ALLMULTI, &3_u32.to_ne_bytes()),
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
        assert_eq!((link.promiscuity, link.all_multicast), (Some(2), Some(3)));
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
        // One without an address, one whose length is not one, and another family's.
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
    assert_eq!(refused(NLMSG_ERROR), Err(DumpError::Refused(16)));
    assert_eq!(refused(NLMSG_DONE), Err(DumpError::Refused(16)));
    let worst = message(NLMSG_ERROR, &i32::MIN.to_ne_bytes());
    assert_eq!(no_links(&worst), Err(DumpError::Refused(i32::MAX)));
    assert_eq!(no_links(&message(NLMSG_OVERRUN, &[])), Err(DumpError::Overrun));
    let acknowledged = message(NLMSG_ERROR, &0_i32.to_ne_bytes());
    assert_eq!(no_links(&acknowledged), Ok(Dump::default()));
    let interrupted = message_of(7, NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]);
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
    assert_eq!(no_links(&message(RTM_NEWLINK, &[0; 15])), Err(DumpError::Message));
    let short = message(RTM_NEWADDR, &[0; 7]);
    assert_eq!(parse_addresses(&short, &mut |_| {}), Err(DumpError::Message));
}

/// What an interface has counted, as a kernel says it that knows one counter more.
fn counters() -> Vec<u8> {
    let counted = (1..=26_u64).flat_map(u64::to_ne_bytes).collect::<Vec<u8>>();
    let header = [vec![0; 4], 5_i32.to_ne_bytes().to_vec(), 1_u32.to_ne_bytes().to_vec()];
    let attributes = [attribute(3, &[0; 8]), attribute(IFLA_STATS_LINK_64, &counted)];
    message(RTM_NEWSTATS, &[header.concat(), attributes.concat()].concat())
}

#[test]
fn counters_alone_are_parsed() {
    let mut seen = Vec::new();
    let dump = parse_statistics(&counters(), &mut |index, counted| seen.push((index, counted)));
    assert_eq!(dump.map(|dump| dump.entries), Ok(1));
    let [(5, Some(counted))] = seen[..] else { panic!("{seen:?}") };
    let ends = (counted.rx_packets, counted.tx_bytes, counted.rx_otherhost_dropped);
    assert_eq!(ends, (1, 4, 25));
    // Without the attribute there are none.
    let header = [vec![0; 4], 5_i32.to_ne_bytes().to_vec(), vec![0; 4]].concat();
    let mut seen = Vec::new();
    let bytes = message(RTM_NEWSTATS, &header);
    parse_statistics(&bytes, &mut |index, counted| seen.push((index, counted))).unwrap();
    assert_eq!(seen, [(5, None)]);
    assert_eq!(
        parse_statistics(&message(RTM_NEWSTATS, &header[..11]), &mut |_, _| {}),
        Err(DumpError::Message)
    );
}

/// Reads everything there is in the bytes, as each of the dumps.
fn exhaust(bytes: &[u8]) -> [Result<Dump, DumpError>; 3] {
    let links = parse_links(bytes, &mut |link| {
        assert!(!link.name.is_empty());
        assert!(link.alternative_names.count() <= bytes.len());
    });
    [links, parse_statistics(bytes, &mut |_, _| {}), parse_addresses(bytes, &mut |_| {})]
}

#[test]
fn takes_a_dump_cut_at_any_byte() {
    let address =
        address_message(AF_INET, &[attribute(ifa::LOCAL, &[10, 0, 0, 1]), attribute(9, &[])]);
    for whole in [full_link(), counters(), address] {
        for end in 1..whole.len() {
            assert_eq!(exhaust(&whole[..end]), [Err(DumpError::Message); 3], "{end}");
            // The message says that it ends there, so that the attributes are what is cut.
            let mut cut = whole[..end].to_vec();
            if end >= HEADER {
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
    let expected = message_of(9, RTM_GETLINK, 0x301, &[0; 16]);
    assert_eq!(bytes[..length], expected);
    let (bytes, length) = Request::Links { statistics: false }.encode(9);
    let mask = attribute(ifla::EXT_MASK, &8_u32.to_ne_bytes());
    let expected = message_of(9, RTM_GETLINK, 0x301, &[vec![0; 16], mask].concat());
    assert_eq!(bytes[..length], expected);
    let (bytes, length) = Request::Statistics.encode(9);
    let filter = [vec![0; 8], 1_u32.to_ne_bytes().to_vec()].concat();
    assert_eq!(bytes[..length], message_of(9, RTM_GETSTATS, 0x301, &filter));
    let (bytes, length) = Request::Addresses.encode(9);
    assert_eq!(bytes[..length], message_of(9, RTM_GETADDR, 0x301, &[0; 8]));
}

/// Collects these answers, as a socket would give them; the default sequence number is 7.
fn collected(answers: Vec<Result<Vec<u8>, Errno>>) -> (Result<bool, Failure>, Vec<u8>, usize) {
    let (mut buffer, mut offer) = (b"of an earlier dump".to_vec(), DATAGRAM);
    let mut answers = answers.into_iter();
    let deadline = Instant::now() + Duration::from_secs(60);
    let result = collect(&mut buffer, &mut offer, 7, End::Done, deadline, &mut |buffer| {
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
    let stale = message_of(6, NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]);
    // Its padding is missing, which must not shift what follows.
    let odd = message(NLMSG_ERROR, &[0; 5])[..21].to_vec();
    let answers =
        vec![Ok(stale), Err(Errno::INTR), Ok(full_link()), Ok(vec![]), Ok(odd), Ok(done())];
    let (result, buffer, _) = collected(answers);
    assert!(matches!(result, Ok(false)), "{result:?}");
    let dump = parse_links(&buffer, &mut |link| assert_eq!(link.name, b"eth0"));
    assert_eq!(dump, Ok(Dump { entries: 1, interrupted: false, finished: true }));
}

#[test]
fn collecting_tells_interruption_and_loss() {
    let interrupted = message_of(7, RTM_NEWLINK, NLM_F_DUMP_INTR, &[]);
    assert!(matches!(collected(vec![Ok(interrupted), Ok(done())]).0, Ok(true)));
    assert!(matches!(collected(vec![Err(Errno::NOBUFS)]).0, Err(Failure::Lost)));
    let overrun = message(NLMSG_OVERRUN, &[]);
    assert!(matches!(collected(vec![Ok(overrun)]).0, Err(Failure::Lost)));
    let kind_of = |answer| match collected(vec![answer]).0 {
        Err(Failure::Final(error)) => error.kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind_of(Err(Errno::AGAIN)), io::ErrorKind::TimedOut);
    assert_eq!(kind_of(Err(Errno::PERM)), io::ErrorKind::PermissionDenied);
    assert_eq!(kind_of(Ok(vec![0; 20])), io::ErrorKind::InvalidData);
    assert_eq!(kind_of(Ok(vec![0; 3])), io::ErrorKind::InvalidData);
    let refused = message(NLMSG_ERROR, &(-1_i32).to_ne_bytes());
    assert_eq!(kind_of(Ok(refused)), io::ErrorKind::PermissionDenied);
    // A datagram that was cut is lost, and the next attempt offers enough for it.
    let (result, _, offer) = collected(vec![Ok(vec![0; 100_000])]);
    assert!(matches!(result, Err(Failure::Lost)), "{result:?}");
    assert_eq!(offer, 100_000);
}

#[test]
fn a_single_answer_ends_with_its_acknowledgement() {
    let acknowledged = message(NLMSG_ERROR, &0_i32.to_ne_bytes());
    let mut answers = vec![acknowledged, full_link()];
    let (mut buffer, mut offer) = (Vec::new(), DATAGRAM);
    let deadline = Instant::now() + Duration::from_secs(60);
    let result =
        collect(&mut buffer, &mut offer, 7, End::Acknowledgement, deadline, &mut |buffer| {
            let answer = answers.pop().expect("nothing is asked for after the end");
            buffer.extend_from_slice(&answer);
            Ok(answer.len())
        });
    assert!(matches!(result, Ok(false)), "{result:?}");
    assert_eq!(parse_links(&buffer, &mut |_| {}).unwrap().entries, 1);
}

#[test]
fn collecting_ends_at_the_deadline() {
    let (mut buffer, mut offer) = (Vec::new(), DATAGRAM);
    let result = collect(&mut buffer, &mut offer, 7, End::Done, Instant::now(), &mut |_| Ok(0));
    assert!(matches!(result, Err(Failure::Final(_))), "{result:?}");
    let result =
        collect(&mut buffer, &mut offer, 7, End::Done, Instant::now(), &mut |_| Err(Errno::INTR));
    assert!(matches!(result, Err(Failure::Final(_))), "{result:?}");
}

#[test]
fn agrees_with_sysfs_about_the_loopback() {
    let mut netlink = Route::new();
    if let Err(error) = netlink.links(&mut |_| {}) {
        left_out(&format!("netlink is refused here: {error}"));
        return;
    }
    let file = |name| std::fs::read_to_string(format!("/sys/class/net/lo/{name}"));
    let number = |name| Some(file(name).ok()?.trim().parse::<i64>().unwrap());
    if number("ifindex").is_none() {
        left_out("there is no /sys/class/net/lo here");
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
                assert!(Some(i64::try_from(received).unwrap()) <= number("statistics/rx_bytes"));
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
