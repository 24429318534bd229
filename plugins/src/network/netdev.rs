//! Traffic of network interfaces, by netlink (rtnetlink(7)) or from `/proc/net/dev`
//! (proc_pid_net(5)), and their addresses.
//!
//! Netlink answers for the network namespace that this process is in, whatever `paths.procfs` is.
//! In a container that sees the host's procfs but has a network of its own, the container's
//! interfaces would be shown: give it the host's network, or set `netlink = false`, which takes
//! the namespace that the procfs shows.

use addresses::{Addresses, ShownAddress};
use vitald_core::family::Family;
use vitald_core::host::{LinkCounters, LinkStatistics, RouteSocket};
use vitald_core::prelude::*;
use vitald_core::rows;

mod addresses;

attributes! {
    Interface {
        ALIAS: text = "ifalias", optional;
    }
}

families! {
    /// Bytes received.
    RECEIVE_BYTES: counter = "node_network_receive_bytes_total" [device];
    /// Packets received.
    RECEIVE_PACKETS: counter = "node_network_receive_packets_total" [device];
    /// Packets received that were compressed (CSLIP, PPP).
    RECEIVE_COMPRESSED: counter = "node_network_receive_compressed_total" [device];
    /// Packets received on an interface that hands none on, such as a bond's spare; netlink only.
    RECEIVE_NOHANDLER: counter = "node_network_receive_nohandler_total" [device];
    /// Bytes sent.
    TRANSMIT_BYTES: counter = "node_network_transmit_bytes_total" [device];
    /// Packets sent.
    TRANSMIT_PACKETS: counter = "node_network_transmit_packets_total" [device];
    /// Packets sent that were compressed (CSLIP, PPP).
    TRANSMIT_COMPRESSED: counter = "node_network_transmit_compressed_total" [device];

    /// Bad packets received.
    RECEIVE_ERRS: counter = "node_network_receive_errs_total" [device];
    /// Packets received that were dropped, for want of buffers in the device or later on.
    RECEIVE_DROP: counter = "node_network_receive_drop_total" [device];
    /// Packets lost because the receive queue overran.
    RECEIVE_FIFO: counter = "node_network_receive_fifo_total" [device];
    /// Packets received with a wrong length, checksum or alignment, or too large for the device.
    RECEIVE_FRAME: counter = "node_network_receive_frame_total" [device];
    /// Multicast packets received.
    RECEIVE_MULTICAST: counter = "node_network_receive_multicast_total" [device];
    /// Packets that could not be sent.
    TRANSMIT_ERRS: counter = "node_network_transmit_errs_total" [device];
    /// Packets dropped on their way out.
    TRANSMIT_DROP: counter = "node_network_transmit_drop_total" [device];
    /// Packets not sent because the transmit queue ran dry.
    TRANSMIT_FIFO: counter = "node_network_transmit_fifo_total" [device];
    /// Collisions while sending.
    TRANSMIT_COLLS: counter = "node_network_transmit_colls_total" [device];
    /// Packets not sent for loss of the carrier, an abort, a missing heartbeat or a late collision.
    TRANSMIT_CARRIER: counter = "node_network_transmit_carrier_total" [device];

    /// Bad packets received; with `enable_detailed_metrics`.
    RECEIVE_ERRORS: counter = "node_network_receive_errors_total" [device];
    /// Packets received but dropped later on; with `enable_detailed_metrics`.
    RECEIVE_DROPPED: counter = "node_network_receive_dropped_total" [device];
    /// Packets the device had no buffer for; with `enable_detailed_metrics`.
    RECEIVE_MISSED_ERRORS: counter = "node_network_receive_missed_errors_total" [device];
    /// Packets lost because the receive queue overran; with `enable_detailed_metrics`.
    RECEIVE_FIFO_ERRORS: counter = "node_network_receive_fifo_errors_total" [device];
    /// Packets received with a wrong length; with `enable_detailed_metrics`.
    RECEIVE_LENGTH_ERRORS: counter = "node_network_receive_length_errors_total" [device];
    /// Packets received that were too large for the device; with `enable_detailed_metrics`.
    RECEIVE_OVER_ERRORS: counter = "node_network_receive_over_errors_total" [device];
    /// Packets received with a wrong checksum; with `enable_detailed_metrics`.
    RECEIVE_CRC_ERRORS: counter = "node_network_receive_crc_errors_total" [device];
    /// Packets received that did not end at a byte; with `enable_detailed_metrics`.
    RECEIVE_FRAME_ERRORS: counter = "node_network_receive_frame_errors_total" [device];
    /// Multicast packets received; with `enable_detailed_metrics`.
    MULTICAST: counter = "node_network_multicast_total" [device];
    /// Packets that could not be sent; with `enable_detailed_metrics`.
    TRANSMIT_ERRORS: counter = "node_network_transmit_errors_total" [device];
    /// Packets dropped on their way out; with `enable_detailed_metrics`.
    TRANSMIT_DROPPED: counter = "node_network_transmit_dropped_total" [device];
    /// Packets not sent because the transmit queue ran dry; with `enable_detailed_metrics`.
    TRANSMIT_FIFO_ERRORS: counter = "node_network_transmit_fifo_errors_total" [device];
    /// Packets not sent for loss of the carrier; with `enable_detailed_metrics`.
    TRANSMIT_CARRIER_ERRORS: counter = "node_network_transmit_carrier_errors_total" [device];
    /// Packets whose sending was aborted; with `enable_detailed_metrics`.
    TRANSMIT_ABORTED_ERRORS: counter = "node_network_transmit_aborted_errors_total" [device];
    /// Packets sent without the heartbeat of old Ethernet; with `enable_detailed_metrics`.
    TRANSMIT_HEARTBEAT_ERRORS: counter = "node_network_transmit_heartbeat_errors_total" [device];
    /// Packets not sent for a late collision; with `enable_detailed_metrics`.
    TRANSMIT_WINDOW_ERRORS: counter = "node_network_transmit_window_errors_total" [device];
    /// Collisions while sending; with `enable_detailed_metrics`.
    COLLISIONS: counter = "node_network_collisions_total" [device];

    /// Always 1; an address of the interface, its prefix length and its scope.
    ADDRESS_INFO: gauge = "node_network_address_info" [device, address, netmask, scope];
}

settings! {
    devices: Filter {
        /// Interfaces to show, by name; not together with `device_exclude`.
        include device_include, old device_whitelist;
        /// Interfaces to leave out, by name; not together with `device_include`.
        exclude device_exclude, old device_blacklist;
    } together Refused;
    /// Ask by netlink, which answers for the daemon's own network namespace, instead of reading
    /// `/proc/net/dev` below `paths.procfs`.
    netlink: bool = true;
    /// Show the addresses of every interface, also of those that are left out.
    address_info: bool = false;
    /// Show each counter of the kernel under its own name instead of the sums of `/proc/net/dev`;
    /// most names are others then.
    enable_detailed_metrics: bool = false;
    /// Add a label `ifalias` with the interface's alias (`ip link set DEVICE alias TEXT`).
    label_ifalias: bool = false;
}

register_collector!(Netdev);

struct Netdev {
    counters: LinkCounters,
    route: RouteSocket,
    shown: Shown,
    detailed: bool,
    label_ifalias: bool,
    /// Instead of netlink.
    procfs: Option<Box<Procfs>>,
    addresses: Option<Addresses>,
}

impl Collector for Netdev {
    about! {
        name: "netdev",
        summary: "Traffic of network interfaces, and their addresses",
        families: FAMILIES,
        sources: ["netlink route", "proc/net/dev", "sys/class/net/*/ifalias"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["device"],
        "Network",
        &[
            Curve::of("received", Figure::Bits(&rate("node_network_receive_bytes_total"))),
            Curve::of("sent", Figure::Bits(&rate("node_network_transmit_bytes_total"))),
            Curve::of("packets in", rate("node_network_receive_packets_total")),
            Curve::of("packets out", rate("node_network_transmit_packets_total")),
            Curve::of("drops", rate("node_network_receive_drop_total")),
        ],
    )];
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let procfs = || {
            let filter = settings.devices.clone();
            let shown = move |name: &[u8]| filter.takes(name);
            let interfaces = || host.walk("sys/class/net/*").only(0, shown);
            Box::new(Procfs {
                file: host.keep_short_records("proc/net/dev"),
                interfaces: settings.label_ifalias.then(interfaces),
            })
        };
        Ok(Netdev {
            counters: host.link_counters().with_aliases(settings.label_ifalias),
            route: host.route_socket(),
            procfs: (!settings.netlink).then(procfs),
            shown: Shown { filter: settings.devices, interfaces: Rows::new() },
            detailed: settings.enable_detailed_metrics,
            label_ifalias: settings.label_ifalias,
            addresses: settings.address_info.then(Addresses::default),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Netdev { counters: counted, route, shown, detailed, label_ifalias, procfs, addresses } =
            self;
        let mut shown = shown.begin();
        if let Some(addresses) = addresses {
            addresses.forget();
        }
        match procfs {
            None => counted.each(batch.fresh_from(), &mut |link| {
                if let Some(addresses) = addresses.as_mut() {
                    addresses.name(link.index, link.name);
                }
                let Some(statistics) = &link.statistics else { return };
                if !shown.takes(link.name) {
                    return;
                }
                let alias = label_ifalias.then(|| text::trim(link.alias.unwrap_or_default()));
                if *detailed {
                    push_row(batch, link.name, alias, counters(statistics));
                } else {
                    push_row(batch, link.name, alias, sums(statistics));
                }
            })?,
            Some(procfs) => {
                procfs.push(&mut shown, *detailed, batch)?;
                if let Some(addresses) = addresses {
                    route.links_without_statistics(&mut |link| {
                        addresses.name(link.index, link.name);
                    })?;
                }
            }
        }
        shown.end();
        match addresses {
            None => Ok(()),
            Some(addresses) => addresses.each(route, |shown| {
                let ShownAddress { device, address, prefix_length, scope } = shown;
                batch.row(&ADDRESS_INFO, [device, address, prefix_length, scope], 1);
            }),
        }
    }
}

/// Which interfaces are shown, decided once for each.
struct Shown {
    filter: Filter,
    interfaces: Rows<bool>,
}

/// A pass over the interfaces; where all are shown there is nothing to know of each.
struct Pass<'s> {
    filter: &'s Filter,
    interfaces: Option<rows::Pass<'s, bool>>,
}

impl Shown {
    fn begin(&mut self) -> Pass<'_> {
        let Shown { filter, interfaces } = self;
        let interfaces = (!filter.takes_all()).then(|| interfaces.begin());
        Pass { filter, interfaces }
    }
}

impl Pass<'_> {
    fn takes(&mut self, name: &[u8]) -> bool {
        let Pass { filter, interfaces } = self;
        interfaces.as_mut().is_none_or(|interfaces| *interfaces.row(name, || filter.takes(name)))
    }

    fn end(self) {
        if let Some(interfaces) = self.interfaces {
            interfaces.finish();
        }
    }
}

/// Shows what was counted on one interface.
fn push_row(
    batch: &mut Batch,
    device: &[u8],
    alias: Option<&[u8]>,
    values: impl IntoIterator<Item = (Family<1>, u64)>,
) {
    match alias {
        None => {
            let labels = batch.labels([device]);
            batch.push_each(labels, values);
        }
        Some(alias) => {
            let labels = batch.label_pairs(&[(b"device", device), (b"ifalias", alias)]);
            for (family, value) in values {
                batch.push_pairs(&family, labels, value);
            }
        }
    }
}

/// The counters as `/proc/net/dev` sums them up (`dev_seq_printf_stats` in net/core/net-procfs.c),
/// and one that it lacks.
fn sums(of: &LinkStatistics) -> [(Family<1>, u64); 17] {
    let sum = |counters: &[u64]| counters.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
    [
        (RECEIVE_BYTES, of.rx_bytes),
        (RECEIVE_PACKETS, of.rx_packets),
        (RECEIVE_ERRS, of.rx_errors),
        (RECEIVE_DROP, sum(&[of.rx_dropped, of.rx_missed_errors])),
        (RECEIVE_FIFO, of.rx_fifo_errors),
        (
            RECEIVE_FRAME,
            sum(&[of.rx_frame_errors, of.rx_length_errors, of.rx_over_errors, of.rx_crc_errors]),
        ),
        (RECEIVE_COMPRESSED, of.rx_compressed),
        (RECEIVE_MULTICAST, of.multicast),
        (RECEIVE_NOHANDLER, of.rx_nohandler),
        (TRANSMIT_BYTES, of.tx_bytes),
        (TRANSMIT_PACKETS, of.tx_packets),
        (TRANSMIT_ERRS, of.tx_errors),
        (TRANSMIT_DROP, of.tx_dropped),
        (TRANSMIT_FIFO, of.tx_fifo_errors),
        (TRANSMIT_COLLS, of.collisions),
        (
            TRANSMIT_CARRIER,
            sum(&[
                of.tx_carrier_errors,
                of.tx_aborted_errors,
                of.tx_heartbeat_errors,
                of.tx_window_errors,
            ]),
        ),
        (TRANSMIT_COMPRESSED, of.tx_compressed),
    ]
}

/// The counters one by one.
fn counters(of: &LinkStatistics) -> [(Family<1>, u64); 24] {
    [
        (RECEIVE_BYTES, of.rx_bytes),
        (RECEIVE_PACKETS, of.rx_packets),
        (RECEIVE_ERRORS, of.rx_errors),
        (RECEIVE_DROPPED, of.rx_dropped),
        (RECEIVE_MISSED_ERRORS, of.rx_missed_errors),
        (RECEIVE_FIFO_ERRORS, of.rx_fifo_errors),
        (RECEIVE_LENGTH_ERRORS, of.rx_length_errors),
        (RECEIVE_OVER_ERRORS, of.rx_over_errors),
        (RECEIVE_CRC_ERRORS, of.rx_crc_errors),
        (RECEIVE_FRAME_ERRORS, of.rx_frame_errors),
        (RECEIVE_COMPRESSED, of.rx_compressed),
        (RECEIVE_NOHANDLER, of.rx_nohandler),
        (MULTICAST, of.multicast),
        (TRANSMIT_BYTES, of.tx_bytes),
        (TRANSMIT_PACKETS, of.tx_packets),
        (TRANSMIT_ERRORS, of.tx_errors),
        (TRANSMIT_DROPPED, of.tx_dropped),
        (TRANSMIT_FIFO_ERRORS, of.tx_fifo_errors),
        (TRANSMIT_CARRIER_ERRORS, of.tx_carrier_errors),
        (TRANSMIT_ABORTED_ERRORS, of.tx_aborted_errors),
        (TRANSMIT_HEARTBEAT_ERRORS, of.tx_heartbeat_errors),
        (TRANSMIT_WINDOW_ERRORS, of.tx_window_errors),
        (TRANSMIT_COMPRESSED, of.tx_compressed),
        (COLLISIONS, of.collisions),
    ]
}

/// `/proc/net/dev`, and what it lacks.
struct Procfs {
    file: KeptFile,
    /// The aliases of the interfaces shown, if they are to be labels.
    interfaces: Option<Walk<Interface>>,
}

impl Procfs {
    fn push(&mut self, shown: &mut Pass<'_>, detailed: bool, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        let interfaces = self.interfaces.as_mut().map(Walk::refresh).transpose()?;
        let families = if detailed { COLUMNS_DETAILED } else { COLUMNS };
        // Two lines of headings are above the interfaces.
        for line in lines(text).skip(2) {
            let Some((device, columns)) = batch.tolerate(parse_line(line)) else { continue };
            if shown.takes(device) {
                // Empty if it has none, or has gone since the others were listed.
                let alias = interfaces.as_ref().map(|interfaces| {
                    let interface = interfaces.find(&[device]);
                    interface.and_then(|one| one.text(&Interface::ALIAS).ok()).unwrap_or_default()
                });
                push_row(batch, device, alias, families.into_iter().zip(columns));
            }
        }
        Ok(())
    }
}

/// The families of the columns of `/proc/net/dev`.
const COLUMNS: [Family<1>; 16] = [
    RECEIVE_BYTES,
    RECEIVE_PACKETS,
    RECEIVE_ERRS,
    RECEIVE_DROP,
    RECEIVE_FIFO,
    RECEIVE_FRAME,
    RECEIVE_COMPRESSED,
    RECEIVE_MULTICAST,
    TRANSMIT_BYTES,
    TRANSMIT_PACKETS,
    TRANSMIT_ERRS,
    TRANSMIT_DROP,
    TRANSMIT_FIFO,
    TRANSMIT_COLLS,
    TRANSMIT_CARRIER,
    TRANSMIT_COMPRESSED,
];

/// As [`COLUMNS`], where details are asked for: the file has none, but four have other names.
const COLUMNS_DETAILED: [Family<1>; 16] = [
    RECEIVE_BYTES,
    RECEIVE_PACKETS,
    RECEIVE_ERRORS,
    RECEIVE_DROPPED,
    RECEIVE_FIFO,
    RECEIVE_FRAME,
    RECEIVE_COMPRESSED,
    RECEIVE_MULTICAST,
    TRANSMIT_BYTES,
    TRANSMIT_PACKETS,
    TRANSMIT_ERRORS,
    TRANSMIT_DROPPED,
    TRANSMIT_FIFO,
    TRANSMIT_COLLS,
    TRANSMIT_CARRIER,
    TRANSMIT_COMPRESSED,
];

/// Takes the name and the columns of
/// `  eth0: 183717447  5907  0  0  0  0  0  0  421012  3952  0  0  0  0  0  0`, where the kernel
/// puts more blanks between.
///
/// A name may have colons, as the aliases of old have; the numbers have none. It has no blanks.
fn parse_line(line: &[u8]) -> Result<(&[u8], [u64; 16]), Malformed> {
    let mut fields = Fields::new(line);
    let first = fields.next().unwrap_or_default();
    let colon = first.iter().rposition(|&byte| byte == b':').filter(|colon| *colon > 0);
    let colon = colon.ok_or(Malformed::new(0, "the name of an interface"))?;
    // The first number may follow without a blank.
    let start = fields.offset() - first.len() + colon + 1;
    let mut fields = Fields::new(line.get(start..).unwrap_or_default());
    let mut columns = [0; 16];
    let taken = fields
        .numbers(&mut columns)
        .and_then(|count| if count < columns.len() { fields.u64().map(drop) } else { Ok(()) });
    taken.map_err(|error| Malformed::new(start + error.at, error.expected))?;
    Ok((&first[..colon], columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use vitald_core::host::{Address, Link};
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/dev";
    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0: 183717447    5907    1    2    3     4          5         6   421012    3952    7    8    9    10      11         12
";

    fn link(index: i32, name: &'static [u8], statistics: Option<LinkStatistics>) -> Link<'static> {
        Link { index, name, statistics, ..Link::default() }
    }

    /// Every counter differs, and so do all sums.
    fn statistics() -> LinkStatistics {
        LinkStatistics {
            rx_packets: 1 << 0,
            tx_packets: 1 << 1,
            rx_bytes: 1 << 2,
            tx_bytes: 1 << 3,
            rx_errors: 1 << 4,
            tx_errors: 1 << 5,
            rx_dropped: 1 << 6,
            tx_dropped: 1 << 7,
            multicast: 1 << 8,
            collisions: 1 << 9,
            rx_length_errors: 1 << 10,
            rx_over_errors: 1 << 11,
            rx_crc_errors: 1 << 12,
            rx_frame_errors: 1 << 13,
            rx_fifo_errors: 1 << 14,
            rx_missed_errors: 1 << 15,
            tx_aborted_errors: 1 << 16,
            tx_carrier_errors: 1 << 17,
            tx_fifo_errors: 1 << 18,
            tx_heartbeat_errors: 1 << 19,
            tx_window_errors: 1 << 20,
            rx_compressed: 1 << 21,
            tx_compressed: 1 << 22,
            rx_nohandler: 1 << 23,
            rx_otherhost_dropped: 1 << 24,
        }
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[(PATH, DEV)]);
        memory.set_links(vec![link(2, b"eth0", Some(statistics())), link(3, b"dummy0", None)]);
        memory
    }

    const PROCFS: (&str, Node) = ("netlink", Node::Boolean(false));
    const DETAILED: (&str, Node) = ("enable_detailed_metrics", Node::Boolean(true));
    const ALIASES: (&str, Node) = ("label_ifalias", Node::Boolean(true));
    const ADDRESSES: (&str, Node) = ("address_info", Node::Boolean(true));

    fn page(memory: &MemoryHost, settings: &[(&str, Node)]) -> String {
        let (batch, outcome) = run(&mut open::<Netdev>(&memory.host(), settings), None);
        outcome.expect("the collection succeeds");
        render(&batch)
    }

    #[test]
    fn interfaces_that_come_go_and_change_names_are_chosen_anew() {
        let memory = MemoryHost::new();
        let settings = [("netlink", false.into()), ("device_exclude", "^veth".into())];
        let mut netdev = open::<Netdev>(&memory.host(), &settings);
        let mut shown = |names: &[&str]| {
            let line = |name: &&str| format!("{name:>6}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
            let lines: String = names.iter().map(line).collect();
            memory.write(PATH, format!("one\ntwo\n{lines}"));
            let page = render(&run(&mut netdev, None).0);
            let bytes = page.lines().filter_map(|line| {
                let name = line.strip_prefix("node_network_receive_bytes_total{device=\"")?;
                Some(name.split('"').next()?.to_owned())
            });
            bytes.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&["lo", "eth0", "veth1"]), "lo eth0");
        assert_eq!(shown(&["lo", "eth0", "veth1"]), "lo eth0");
        assert_eq!(shown(&["lo", "veth0", "eth1"]), "lo eth1", "other names at the same places");
        assert_eq!(shown(&["veth2", "lo", "eth1:1", "eth1"]), "lo eth1:1 eth1");
        assert_eq!(shown(&["veth2"]), "");
    }

    #[test]
    fn golden_by_netlink() {
        check::<Netdev>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_network_receive_bytes_total counter
            node_network_receive_bytes_total{device="eth0"} 4
            # node_network_receive_compressed_total counter
            node_network_receive_compressed_total{device="eth0"} 2.097152e+06
            # node_network_receive_drop_total counter
            node_network_receive_drop_total{device="eth0"} 32832
            # node_network_receive_errs_total counter
            node_network_receive_errs_total{device="eth0"} 16
            # node_network_receive_fifo_total counter
            node_network_receive_fifo_total{device="eth0"} 16384
            # node_network_receive_frame_total counter
            node_network_receive_frame_total{device="eth0"} 15360
            # node_network_receive_multicast_total counter
            node_network_receive_multicast_total{device="eth0"} 256
            # node_network_receive_nohandler_total counter
            node_network_receive_nohandler_total{device="eth0"} 8.388608e+06
            # node_network_receive_packets_total counter
            node_network_receive_packets_total{device="eth0"} 1
            # node_network_transmit_bytes_total counter
            node_network_transmit_bytes_total{device="eth0"} 8
            # node_network_transmit_carrier_total counter
            node_network_transmit_carrier_total{device="eth0"} 1.769472e+06
            # node_network_transmit_colls_total counter
            node_network_transmit_colls_total{device="eth0"} 512
            # node_network_transmit_compressed_total counter
            node_network_transmit_compressed_total{device="eth0"} 4.194304e+06
            # node_network_transmit_drop_total counter
            node_network_transmit_drop_total{device="eth0"} 128
            # node_network_transmit_errs_total counter
            node_network_transmit_errs_total{device="eth0"} 32
            # node_network_transmit_fifo_total counter
            node_network_transmit_fifo_total{device="eth0"} 262144
            # node_network_transmit_packets_total counter
            node_network_transmit_packets_total{device="eth0"} 2
        "##]],
        );
    }

    #[test]
    fn golden_by_netlink_in_detail() {
        check::<Netdev>(
            &memory().host(),
            &[DETAILED],
            &expect![[r##"
            # node_network_collisions_total counter
            node_network_collisions_total{device="eth0"} 512
            # node_network_multicast_total counter
            node_network_multicast_total{device="eth0"} 256
            # node_network_receive_bytes_total counter
            node_network_receive_bytes_total{device="eth0"} 4
            # node_network_receive_compressed_total counter
            node_network_receive_compressed_total{device="eth0"} 2.097152e+06
            # node_network_receive_crc_errors_total counter
            node_network_receive_crc_errors_total{device="eth0"} 4096
            # node_network_receive_dropped_total counter
            node_network_receive_dropped_total{device="eth0"} 64
            # node_network_receive_errors_total counter
            node_network_receive_errors_total{device="eth0"} 16
            # node_network_receive_fifo_errors_total counter
            node_network_receive_fifo_errors_total{device="eth0"} 16384
            # node_network_receive_frame_errors_total counter
            node_network_receive_frame_errors_total{device="eth0"} 8192
            # node_network_receive_length_errors_total counter
            node_network_receive_length_errors_total{device="eth0"} 1024
            # node_network_receive_missed_errors_total counter
            node_network_receive_missed_errors_total{device="eth0"} 32768
            # node_network_receive_nohandler_total counter
            node_network_receive_nohandler_total{device="eth0"} 8.388608e+06
            # node_network_receive_over_errors_total counter
            node_network_receive_over_errors_total{device="eth0"} 2048
            # node_network_receive_packets_total counter
            node_network_receive_packets_total{device="eth0"} 1
            # node_network_transmit_aborted_errors_total counter
            node_network_transmit_aborted_errors_total{device="eth0"} 65536
            # node_network_transmit_bytes_total counter
            node_network_transmit_bytes_total{device="eth0"} 8
            # node_network_transmit_carrier_errors_total counter
            node_network_transmit_carrier_errors_total{device="eth0"} 131072
            # node_network_transmit_compressed_total counter
            node_network_transmit_compressed_total{device="eth0"} 4.194304e+06
            # node_network_transmit_dropped_total counter
            node_network_transmit_dropped_total{device="eth0"} 128
            # node_network_transmit_errors_total counter
            node_network_transmit_errors_total{device="eth0"} 32
            # node_network_transmit_fifo_errors_total counter
            node_network_transmit_fifo_errors_total{device="eth0"} 262144
            # node_network_transmit_heartbeat_errors_total counter
            node_network_transmit_heartbeat_errors_total{device="eth0"} 524288
            # node_network_transmit_packets_total counter
            node_network_transmit_packets_total{device="eth0"} 2
            # node_network_transmit_window_errors_total counter
            node_network_transmit_window_errors_total{device="eth0"} 1.048576e+06
        "##]],
        );
    }

    #[test]
    fn golden_from_procfs() {
        check::<Netdev>(
            &memory().host(),
            &[PROCFS],
            &expect![[r##"
            # node_network_receive_bytes_total counter
            node_network_receive_bytes_total{device="lo"} 3193
            node_network_receive_bytes_total{device="eth0"} 1.83717447e+08
            # node_network_receive_compressed_total counter
            node_network_receive_compressed_total{device="lo"} 0
            node_network_receive_compressed_total{device="eth0"} 5
            # node_network_receive_drop_total counter
            node_network_receive_drop_total{device="lo"} 0
            node_network_receive_drop_total{device="eth0"} 2
            # node_network_receive_errs_total counter
            node_network_receive_errs_total{device="lo"} 0
            node_network_receive_errs_total{device="eth0"} 1
            # node_network_receive_fifo_total counter
            node_network_receive_fifo_total{device="lo"} 0
            node_network_receive_fifo_total{device="eth0"} 3
            # node_network_receive_frame_total counter
            node_network_receive_frame_total{device="lo"} 0
            node_network_receive_frame_total{device="eth0"} 4
            # node_network_receive_multicast_total counter
            node_network_receive_multicast_total{device="lo"} 0
            node_network_receive_multicast_total{device="eth0"} 6
            # node_network_receive_packets_total counter
            node_network_receive_packets_total{device="lo"} 29
            node_network_receive_packets_total{device="eth0"} 5907
            # node_network_transmit_bytes_total counter
            node_network_transmit_bytes_total{device="lo"} 3193
            node_network_transmit_bytes_total{device="eth0"} 421012
            # node_network_transmit_carrier_total counter
            node_network_transmit_carrier_total{device="lo"} 0
            node_network_transmit_carrier_total{device="eth0"} 11
            # node_network_transmit_colls_total counter
            node_network_transmit_colls_total{device="lo"} 0
            node_network_transmit_colls_total{device="eth0"} 10
            # node_network_transmit_compressed_total counter
            node_network_transmit_compressed_total{device="lo"} 0
            node_network_transmit_compressed_total{device="eth0"} 12
            # node_network_transmit_drop_total counter
            node_network_transmit_drop_total{device="lo"} 0
            node_network_transmit_drop_total{device="eth0"} 8
            # node_network_transmit_errs_total counter
            node_network_transmit_errs_total{device="lo"} 0
            node_network_transmit_errs_total{device="eth0"} 7
            # node_network_transmit_fifo_total counter
            node_network_transmit_fifo_total{device="lo"} 0
            node_network_transmit_fifo_total{device="eth0"} 9
            # node_network_transmit_packets_total counter
            node_network_transmit_packets_total{device="lo"} 29
            node_network_transmit_packets_total{device="eth0"} 3952
        "##]],
        );
    }

    #[test]
    fn golden_from_procfs_in_detail() {
        let include = ("device_include", Node::from("^eth"));
        check::<Netdev>(
            &memory().host(),
            &[PROCFS, DETAILED, include],
            &expect![[r##"
            # node_network_receive_bytes_total counter
            node_network_receive_bytes_total{device="eth0"} 1.83717447e+08
            # node_network_receive_compressed_total counter
            node_network_receive_compressed_total{device="eth0"} 5
            # node_network_receive_dropped_total counter
            node_network_receive_dropped_total{device="eth0"} 2
            # node_network_receive_errors_total counter
            node_network_receive_errors_total{device="eth0"} 1
            # node_network_receive_fifo_total counter
            node_network_receive_fifo_total{device="eth0"} 3
            # node_network_receive_frame_total counter
            node_network_receive_frame_total{device="eth0"} 4
            # node_network_receive_multicast_total counter
            node_network_receive_multicast_total{device="eth0"} 6
            # node_network_receive_packets_total counter
            node_network_receive_packets_total{device="eth0"} 5907
            # node_network_transmit_bytes_total counter
            node_network_transmit_bytes_total{device="eth0"} 421012
            # node_network_transmit_carrier_total counter
            node_network_transmit_carrier_total{device="eth0"} 11
            # node_network_transmit_colls_total counter
            node_network_transmit_colls_total{device="eth0"} 10
            # node_network_transmit_compressed_total counter
            node_network_transmit_compressed_total{device="eth0"} 12
            # node_network_transmit_dropped_total counter
            node_network_transmit_dropped_total{device="eth0"} 8
            # node_network_transmit_errors_total counter
            node_network_transmit_errors_total{device="eth0"} 7
            # node_network_transmit_fifo_total counter
            node_network_transmit_fifo_total{device="eth0"} 9
            # node_network_transmit_packets_total counter
            node_network_transmit_packets_total{device="eth0"} 3952
        "##]],
        );
    }

    #[test]
    fn sums_do_not_wrap() {
        let memory = memory();
        let statistics =
            LinkStatistics { rx_dropped: u64::MAX, rx_missed_errors: 2, ..Default::default() };
        memory.set_links(vec![link(2, b"eth0", Some(statistics))]);
        let page = page(&memory, &[]);
        assert!(page.contains("receive_drop_total{device=\"eth0\"} 1.8446744073709552e+19\n"));
    }

    #[test]
    fn interfaces_are_chosen_by_name() {
        let memory = memory();
        for (key, pattern, shows_eth0) in [
            ("device_include", "^lo$", false),
            ("device_include", "^eth", true),
            ("device_exclude", "^eth", false),
            ("device_exclude", "^lo$", true),
            ("device_whitelist", "^lo$", false),
            ("device_blacklist", "^lo$", true),
            ("device_exclude", "", true),
        ] {
            for source in [true, false] {
                let settings = [(key, Node::from(pattern)), ("netlink", Node::from(source))];
                let page = page(&memory, &settings);
                assert_eq!(page.contains("eth0"), shows_eth0, "{key} {pattern}");
            }
        }
    }

    #[test]
    fn settings_that_contradict_are_refused() {
        let include = ("device_include", Node::from("^lo$"));
        let refused =
            |other: &str| refusal::<Netdev>(&[include.clone(), (other, Node::from("^lo$"))]);
        expect![
            "device_include: cannot be used together with `device_exclude`: remove one of them"
        ]
        .assert_eq(&refused("device_exclude"));
        expect!["device_whitelist: this is the old name of `device_include`, which is set, too: remove this one"]
            .assert_eq(&refused("device_whitelist"));
    }

    #[test]
    fn aliases_are_labels() {
        let memory = memory();
        let alias = Some(&b" uplink "[..]);
        let eth0 = link(2, b"eth0", Some(statistics()));
        memory.set_links(vec![
            Link { alias, ..eth0 },
            link(1, b"lo", Some(LinkStatistics::default())),
        ]);
        let by_netlink = page(&memory, &[ALIASES]);
        assert!(by_netlink.contains("bytes_total{device=\"eth0\",ifalias=\"uplink\"} 4\n"));
        assert!(by_netlink.contains("bytes_total{device=\"lo\",ifalias=\"\"} 0\n"));

        memory.write("sys/class/net/eth0/ifalias", "uplink\n");
        memory.write("sys/class/net/wlan0/ifalias", "\n");
        let from_procfs = page(&memory, &[PROCFS, ALIASES]);
        assert!(
            from_procfs
                .contains("bytes_total{device=\"eth0\",ifalias=\"uplink\"} 1.83717447e+08\n")
        );
        assert!(from_procfs.contains("bytes_total{device=\"lo\",ifalias=\"\"} 3193\n"));
    }

    #[test]
    fn aliases_need_sysfs_beside_procfs() {
        check_fails::<Netdev>(
            &memory().host(),
            &[PROCFS, ALIASES],
            &expect!["sys/class/net: not on this host"],
            &expect![""],
        );
    }

    fn address(index: u32, text: &str, prefix_length: u8) -> Address<'static> {
        let address: IpAddr = text.parse().expect("an address");
        let family = if address.is_ipv4() { 2 } else { 10 };
        Address { index, family, prefix_length, scope: 0, flags: 0, label: None, address }
    }

    #[test]
    fn addresses_are_those_of_all_interfaces() {
        let memory = memory();
        memory.set_links(vec![link(4, b"eth0", None), link(1, b"lo", None)]);
        memory.set_addresses(vec![
            address(1, "127.0.0.1", 8),
            address(4, "192.0.2.2", 24),
            address(1, "::1", 128),
            address(4, "fd00::2", 64),
            address(4, "fe80::fc:ff:fe00:1", 64),
            address(9, "192.0.2.3", 24),
        ]);
        let exclude = ("device_exclude", Node::from("."));
        let expected = expect![[r#"
            # node_network_address_info gauge
            node_network_address_info{device="lo",address="127.0.0.1",netmask="8",scope="link-local"} 1
            node_network_address_info{device="eth0",address="192.0.2.2",netmask="24",scope="global"} 1
            node_network_address_info{device="lo",address="::1",netmask="128",scope="link-local"} 1
            node_network_address_info{device="eth0",address="fd00::2",netmask="64",scope="global"} 1
            node_network_address_info{device="eth0",address="fe80::fc:ff:fe00:1",netmask="64",scope="link-local"} 1
        "#]];
        check::<Netdev>(&memory.host(), &[ADDRESSES, exclude.clone()], &expected);
        check::<Netdev>(&memory.host(), &[ADDRESSES, exclude, PROCFS], &expected);
    }

    #[test]
    fn absent_sources_are_said() {
        let host = MemoryHost::new().host();
        let (_, outcome) = run(&mut open::<Netdev>(&host, &[]), None);
        assert!(matches!(outcome, Err(Error::Absent { .. })), "{outcome:?}");
        check_fails::<Netdev>(
            &host,
            &[PROCFS],
            &expect!["proc/net/dev: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn odd_lines_cost_only_themselves() {
        let memory = memory();
        let alias = " eth0:1: 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7\n";
        memory.write(PATH, format!("{DEV}odd\n  eth1: 1 2 3\n{alias}"));
        let (batch, outcome) = run(&mut open::<Netdev>(&memory.host(), &[PROCFS]), None);
        outcome.expect("odd lines are tolerated");
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
        assert_eq!(batch.len(), 3 * 16);
        assert!(render(&batch).contains("node_network_receive_bytes_total{device=\"eth0:1\"} 1\n"));
    }

    #[test]
    fn refuses_bad_lines() {
        let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        let (short, nameless) = (format!("eth0: {numbers}"), format!(" : {numbers} 16"));
        let odd = format!("eth0: {numbers} -1");
        rejects(parse_line, &["", "eth0", "eth0:", &short, &nameless, &odd]);
        let error = parse_line(odd.as_bytes()).expect_err("the last column is no number");
        assert_eq!(error, Malformed::new(odd.len() - 2, "a number"));
    }
}
