//! The routing tables, by netlink (rtnetlink(7)), which answers for the daemon's own network namespace.

use std::io::Write;
use std::net::IpAddr;

use vitald_core::host::{InterfaceNames, NetworkRoute, RoutingTables, SharedLinks};
use vitald_core::prelude::*;
use vitald_core::text::decimal;

families! {
    /// A route, or one way of a route that has several; always 1.
    ROUTE_INFO: gauge = "node_network_route_info" [device, src, dest, gw, priority, proto, weight];
    /// Routes through an interface.
    ROUTES: gauge = "node_network_routes" [device];
}

/// `linux/rtnetlink.h`: a gateway or direct route. Broadcast and local addresses are others.
const RTN_UNICAST: u8 = 1;

register_collector!(NetworkRouteCollector);

struct NetworkRouteCollector {
    links: SharedLinks,
    names: InterfaceNames,
    tables: RoutingTables,
    routes: Counts,
    labels: Labels,
}

impl Collector for NetworkRouteCollector {
    about! {
        name: "network_route",
        summary: "The routing tables",
        families: FAMILIES,
        sources: ["netlink route"],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(NetworkRouteCollector {
            links: host.shared_links(),
            names: InterfaceNames::default(),
            tables: host.routing_tables(),
            routes: Counts::new(),
            labels: Labels::default(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let NetworkRouteCollector { links, names, tables, routes, labels } = self;
        names.learn(links, batch.fresh_from())?;
        routes.begin();
        tables.routes(&mut |route| {
            if route.kind != RTN_UNICAST || !matches!(route.family, 2 | 10) {
                return;
            }
            labels.of_route(&route);
            // An interface that came after the names were learned has none yet.
            let name = |index| names.get(index).unwrap_or_default();
            let mut has_ways = false;
            for way in route.next_hops {
                write_address(&mut labels.gateway, way.gateway);
                labels.push(name(way.interface), Some(way.weight), batch);
                routes.add(name(way.interface));
                has_ways = true;
            }
            if !has_ways {
                let device = route.interface.map_or(&[][..], name);
                labels.push(device, None, batch);
                routes.add(device);
            }
        })?;
        for (device, count) in routes.finish() {
            batch.row(&ROUTES, [device], count);
        }
        Ok(())
    }
}

/// Where the labels of a route are written.
#[derive(Default)]
struct Labels {
    source: Vec<u8>,
    destination: Vec<u8>,
    gateway: Vec<u8>,
    priority: u32,
    protocol: u8,
}

impl Labels {
    fn of_route(&mut self, route: &NetworkRoute<'_>) {
        write_address(&mut self.source, route.source);
        write_address(&mut self.gateway, route.gateway);
        self.destination.clear();
        if route.prefix_length == 0 {
            self.destination.extend_from_slice(b"default");
        } else if let Some(address) = route.destination {
            write_address(&mut self.destination, Some(address));
            self.destination.push(b'/');
            let mut room = [0; 20];
            self.destination.extend_from_slice(decimal(route.prefix_length.into(), &mut room));
        }
        self.priority = route.priority;
        self.protocol = route.protocol;
    }

    fn push(&self, device: &[u8], weight: Option<u32>, batch: &mut Batch) {
        let (mut priority, mut room) = ([0; 20], [0; 20]);
        let labels = [
            device,
            &self.source,
            &self.destination,
            &self.gateway,
            decimal(self.priority.into(), &mut priority),
            protocol(self.protocol).as_bytes(),
            weight.map_or(&[][..], |weight| decimal(weight.into(), &mut room)),
        ];
        batch.row(&ROUTE_INFO, labels, 1);
    }
}

fn write_address(into: &mut Vec<u8>, address: Option<IpAddr>) {
    into.clear();
    if let Some(address) = address {
        let written = write!(into, "{address}");
        debug_assert!(written.is_ok(), "a vector takes everything");
    }
}

/// Who made a route: the `RTPROT_*` of `linux/rtnetlink.h`, in node_exporter's words.
fn protocol(number: u8) -> &'static str {
    match number {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::{Link, NextHops};
    use vitald_core::testing::*;

    /// Two ways of `struct rtnexthop`, the first with a gateway.
    fn ways() -> &'static [u8] {
        let two = |number: u16| number.to_ne_bytes();
        let four = |number: i32| number.to_ne_bytes();
        let parts: [&[u8]; 9] = [
            &two(16),
            &[0, 0],
            &four(2),
            &two(8),
            &two(5),
            &[192, 0, 2, 254],
            &two(8),
            &[0, 9],
            &four(9),
        ];
        parts.concat().leak()
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        let link = |index, name| Link { index, name, ..Link::default() };
        memory.set_links(vec![link(1, b"lo"), link(2, b"eth0")]);
        let unicast = NetworkRoute { family: 2, kind: RTN_UNICAST, ..NetworkRoute::default() };
        memory.set_routes(vec![
            NetworkRoute {
                protocol: 16,
                gateway: Some([192, 0, 2, 1].into()),
                priority: 100,
                interface: Some(2),
                ..unicast.clone()
            },
            NetworkRoute {
                protocol: 2,
                prefix_length: 24,
                destination: Some([192, 0, 2, 0].into()),
                source: Some([192, 0, 2, 7].into()),
                interface: Some(2),
                ..unicast.clone()
            },
            NetworkRoute {
                protocol: 186,
                prefix_length: 8,
                destination: Some([10, 0, 0, 0].into()),
                next_hops: NextHops::of(ways()),
                ..unicast.clone()
            },
            NetworkRoute {
                family: 10,
                protocol: 250,
                prefix_length: 64,
                destination: Some([0xfe80, 0, 0, 0, 0, 0, 0, 0].into()),
                interface: Some(2),
                ..unicast.clone()
            },
            // A broadcast address, and a label of MPLS.
            NetworkRoute { kind: 3, ..unicast.clone() },
            NetworkRoute { family: 28, ..unicast },
        ]);
        memory
    }

    #[test]
    fn golden() {
        check::<NetworkRouteCollector>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_network_route_info gauge
                node_network_route_info{device="eth0",src="",dest="default",gw="192.0.2.1",priority="100",proto="dhcp",weight=""} 1
                node_network_route_info{device="eth0",src="192.0.2.7",dest="192.0.2.0/24",gw="",priority="0",proto="kernel",weight=""} 1
                node_network_route_info{device="eth0",src="",dest="10.0.0.0/8",gw="192.0.2.254",priority="0",proto="bgp",weight="1"} 1
                node_network_route_info{device="",src="",dest="10.0.0.0/8",gw="",priority="0",proto="bgp",weight="10"} 1
                node_network_route_info{device="eth0",src="",dest="fe80::/64",gw="",priority="0",proto="unknown",weight=""} 1
                # node_network_routes gauge
                node_network_routes{device=""} 1
                node_network_routes{device="eth0"} 4
            "#]],
        );
    }

    #[test]
    fn routes_that_go() {
        let memory = memory();
        let mut collector = open::<NetworkRouteCollector>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.set_routes(Vec::new());
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.unwrap();
        assert_eq!([first.len(), second.len()], [7, 0]);
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<NetworkRouteCollector>(
            &MemoryHost::new().host(),
            &[],
            &expect!["netlink route: not on this host"],
            &expect![""],
        );
    }
}
