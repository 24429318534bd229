//! Connections that IPVS hands on to other servers, from `/proc/net/ip_vs_stats` and `/proc/net/ip_vs`
//! (`ip_vs_stats_show` and `ip_vs_info_seq_show` in net/netfilter/ipvs/ip_vs_ctl.c).

mod parse;

use parse::{At, Endpoint, Figures, Line, Service, parse_line, parse_totals};
use std::collections::BTreeMap;
use std::io::Write as _;
use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;
use vitald_core::setting_words;

families! {
    /// Connections that were begun.
    CONNECTIONS: counter = "node_ipvs_connections_total";
    /// Packets of clients.
    INCOMING_PACKETS: counter = "node_ipvs_incoming_packets_total";
    /// Packets of servers that went back through this host.
    OUTGOING_PACKETS: counter = "node_ipvs_outgoing_packets_total";
    /// Bytes of clients.
    INCOMING_BYTES: counter = "node_ipvs_incoming_bytes_total";
    /// Bytes of servers that went back through this host.
    OUTGOING_BYTES: counter = "node_ipvs_outgoing_bytes_total";
    /// Connections in use, by service and server.
    ACTIVE: gauge = "node_ipvs_backend_connections_active"
        [local_address, local_port, remote_address, remote_port, proto, local_mark];
    /// Connections that are closed and still remembered, by service and server.
    INACTIVE: gauge = "node_ipvs_backend_connections_inactive"
        [local_address, local_port, remote_address, remote_port, proto, local_mark];
    /// How much of a service's connections a server gets, compared with others.
    WEIGHT: gauge = "node_ipvs_backend_weight"
        [local_address, local_port, remote_address, remote_port, proto, local_mark];
}

setting_words! {
    BackendLabel "label": "local_address" => LocalAddress, "local_port" => LocalPort,
    "remote_address" => RemoteAddress, "remote_port" => RemotePort, "proto" => Protocol,
    "local_mark" => LocalMark,
}

/// In the order of the families' labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BackendLabel {
    LocalAddress,
    LocalPort,
    RemoteAddress,
    RemotePort,
    Protocol,
    LocalMark,
}

impl BackendLabel {
    fn name(self) -> &'static [u8] {
        match self {
            BackendLabel::LocalAddress => b"local_address",
            BackendLabel::LocalPort => b"local_port",
            BackendLabel::RemoteAddress => b"remote_address",
            BackendLabel::RemotePort => b"remote_port",
            BackendLabel::Protocol => b"proto",
            BackendLabel::LocalMark => b"local_mark",
        }
    }
}

settings! {
    /// The labels of what is shown of servers; those that differ in others only are added up.
    backend_labels: Vec<BackendLabel> = [
        "local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark",
    ];
}

register_collector!(Ipvs);

struct Ipvs {
    /// The files come with a module.
    events: DeviceEvents,
    totals: KeptFile,
    backends: KeptFile,
    labels: Vec<BackendLabel>,
    /// By the values of the labels, each of which a line feed ends.
    sums: BTreeMap<Box<[u8]>, Sum>,
    /// The key of a sum.
    key: Vec<u8>,
}

#[derive(Default)]
struct Sum {
    is_there: bool,
    figures: Figures,
}

impl Collector for Ipvs {
    about! {
        name: "ipvs",
        summary: "Connections that IPVS hands on to other servers",
        families: FAMILIES,
        sources: ["proc/net/ip_vs_stats", "proc/net/ip_vs", "sys/kernel/uevent_seqnum"],
        settings: Settings,
    }
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let mut labels = settings.backend_labels;
        labels.sort_unstable();
        labels.dedup();
        Ok(Ipvs {
            events: host.device_events(),
            totals: host.keep_whole("proc/net/ip_vs_stats"),
            backends: host.keep_short_records("proc/net/ip_vs"),
            labels,
            sums: BTreeMap::new(),
            key: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let [connections, packets_in, packets_out, bytes_in, bytes_out] =
            self.totals.under(number).parse(parse_totals)?;
        batch.value(&CONNECTIONS, connections);
        batch.value(&INCOMING_PACKETS, packets_in);
        batch.value(&OUTGOING_PACKETS, packets_out);
        batch.value(&INCOMING_BYTES, bytes_in);
        batch.value(&OUTGOING_BYTES, bytes_out);
        self.add_up(batch)?;
        let mut pairs: [(&[u8], &[u8]); 6] = [(b"", b""); 6];
        let pairs = &mut pairs[..self.labels.len()];
        for (key, sum) in &self.sums {
            let values = key.split(|byte| *byte == b'\n');
            for ((pair, label), value) in pairs.iter_mut().zip(&self.labels).zip(values) {
                *pair = (label.name(), value);
            }
            let labels = batch.label_pairs(pairs);
            batch.push_pairs(&ACTIVE, labels, sum.figures.active);
            batch.push_pairs(&INACTIVE, labels, sum.figures.inactive);
            batch.push_pairs(&WEIGHT, labels, sum.figures.weight);
        }
        Ok(())
    }
}

impl Ipvs {
    /// Brings `sums` up to date.
    fn add_up(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.backends.read()?;
        self.sums.values_mut().for_each(|sum| *sum = Sum::default());
        // The servers of a service that is not understood are not another one's.
        let mut service = None;
        let mut rest = lines(text);
        while let Some(line) = rest.next() {
            let parsed = parse_line(line).map_err(|malformed| malformed.moved_by(rest.offset()));
            match batch.tolerate(parsed) {
                Some(Line::Service(found)) => service = Some(found),
                Some(Line::Backend(remote, figures)) => {
                    let Some(service) = &service else { continue };
                    write_key(&mut self.key, &self.labels, service, &remote);
                    if !self.sums.contains_key(&self.key[..]) {
                        self.sums.insert(self.key[..].into(), Sum::default());
                    }
                    if let Some(sum) = self.sums.get_mut(&self.key[..]) {
                        sum.is_there = true;
                        sum.figures.add(figures);
                    }
                }
                Some(Line::Heading) => {}
                None if line.starts_with(b" ") => {}
                None => service = None,
            }
        }
        self.sums.retain(|_, sum| sum.is_there);
        Ok(())
    }
}

fn write_key(key: &mut Vec<u8>, labels: &[BackendLabel], service: &Service<'_>, remote: &Endpoint) {
    key.clear();
    for label in labels {
        let written = match (label, service.at) {
            (BackendLabel::LocalAddress, At::Endpoint(endpoint)) => endpoint.write_address(key),
            (BackendLabel::LocalPort, At::Endpoint(endpoint)) => write!(key, "{}", endpoint.port),
            (BackendLabel::LocalPort, At::Mark(_)) => write!(key, "0"),
            (BackendLabel::LocalMark, At::Mark(mark)) => key.write_all(mark),
            (BackendLabel::LocalAddress, At::Mark(_))
            | (BackendLabel::LocalMark, At::Endpoint(_)) => Ok(()),
            (BackendLabel::RemoteAddress, _) => remote.write_address(key),
            (BackendLabel::RemotePort, _) => write!(key, "{}", remote.port),
            (BackendLabel::Protocol, _) => key.write_all(service.protocol),
        };
        debug_assert!(written.is_ok(), "a vector takes everything");
        key.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::{Node, Origin, Value};
    use vitald_core::testing::*;

    const TOTALS: &str = "   Total Incoming Outgoing         Incoming         Outgoing\n   \
        Conns  Packets  Packets            Bytes            Bytes\n \
        1A2B3C4D       FF        0 FFFFFFFFFFFFFFFF               10\n\n \
        Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n       \
        1        2        3                4                5\n";
    const BACKENDS: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  \
        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  0A000001:0050 wlc persistent 360 FFFFFFFF\n  \
        -> 0A000102:1F90      Masq    1      12         30        \n  \
        -> 0A000103:1F90      Masq    3      40         2         \n\
        UDP  [20010db8000000000000000000000001]:0035 rr \n  \
        -> 0A000109:0035      Masq    1      9          9         \n\
        UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 rr \n  \
        -> [2001:0db8:0000:0000:0001:0000:0000:0053]:0035      Route   0      0          7         \n\
        FWM  0000002A rr \n  \
        -> 0A000102:0000      Tunnel  5      1          0         \n\
        SCTP 0A000001:0B59 wrr \n  \
        -> 0A000103:0B59      Masq    1      2          3         \n";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[("proc/net/ip_vs_stats", TOTALS), ("proc/net/ip_vs", BACKENDS)])
    }

    #[test]
    fn golden() {
        check::<Ipvs>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_ipvs_backend_connections_active gauge
            node_ipvs_backend_connections_active{local_address="",local_port="0",remote_address="10.0.1.2",remote_port="0",proto="FWM",local_mark="0000002A"} 1
            node_ipvs_backend_connections_active{local_address="10.0.0.1",local_port="2905",remote_address="10.0.1.3",remote_port="2905",proto="SCTP",local_mark=""} 2
            node_ipvs_backend_connections_active{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.2",remote_port="8080",proto="TCP",local_mark=""} 12
            node_ipvs_backend_connections_active{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.3",remote_port="8080",proto="TCP",local_mark=""} 40
            node_ipvs_backend_connections_active{local_address="2001:db8::1",local_port="53",remote_address="2001:db8::1:0:0:53",remote_port="53",proto="UDP",local_mark=""} 0
            # node_ipvs_backend_connections_inactive gauge
            node_ipvs_backend_connections_inactive{local_address="",local_port="0",remote_address="10.0.1.2",remote_port="0",proto="FWM",local_mark="0000002A"} 0
            node_ipvs_backend_connections_inactive{local_address="10.0.0.1",local_port="2905",remote_address="10.0.1.3",remote_port="2905",proto="SCTP",local_mark=""} 3
            node_ipvs_backend_connections_inactive{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.2",remote_port="8080",proto="TCP",local_mark=""} 30
            node_ipvs_backend_connections_inactive{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.3",remote_port="8080",proto="TCP",local_mark=""} 2
            node_ipvs_backend_connections_inactive{local_address="2001:db8::1",local_port="53",remote_address="2001:db8::1:0:0:53",remote_port="53",proto="UDP",local_mark=""} 7
            # node_ipvs_backend_weight gauge
            node_ipvs_backend_weight{local_address="",local_port="0",remote_address="10.0.1.2",remote_port="0",proto="FWM",local_mark="0000002A"} 5
            node_ipvs_backend_weight{local_address="10.0.0.1",local_port="2905",remote_address="10.0.1.3",remote_port="2905",proto="SCTP",local_mark=""} 1
            node_ipvs_backend_weight{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.2",remote_port="8080",proto="TCP",local_mark=""} 1
            node_ipvs_backend_weight{local_address="10.0.0.1",local_port="80",remote_address="10.0.1.3",remote_port="8080",proto="TCP",local_mark=""} 3
            node_ipvs_backend_weight{local_address="2001:db8::1",local_port="53",remote_address="2001:db8::1:0:0:53",remote_port="53",proto="UDP",local_mark=""} 0
            # node_ipvs_connections_total counter
            node_ipvs_connections_total 4.39041101e+08
            # node_ipvs_incoming_bytes_total counter
            node_ipvs_incoming_bytes_total 1.8446744073709552e+19
            # node_ipvs_incoming_packets_total counter
            node_ipvs_incoming_packets_total 255
            # node_ipvs_outgoing_bytes_total counter
            node_ipvs_outgoing_bytes_total 16
            # node_ipvs_outgoing_packets_total counter
            node_ipvs_outgoing_packets_total 0
        "##]],
        );
    }

    /// The connections in use, with these labels only.
    fn active(labels: &[&str]) -> Vec<String> {
        let origin = Origin::Default;
        let labels = labels.iter().map(|label| Value::new(*label, origin.clone())).collect();
        let settings = [("backend_labels", Node::List(labels))];
        let (batch, outcome) = run(&mut open::<Ipvs>(&memory().host(), &settings), None);
        outcome.unwrap();
        assert_eq!(batch.dropped().duplicates, 0);
        let of = |line: &str| {
            line.strip_prefix("node_ipvs_backend_connections_active").map(str::to_owned)
        };
        render(&batch).lines().filter_map(of).collect()
    }

    #[test]
    fn what_differs_in_other_labels_is_added_up() {
        assert_eq!(active(&[]), [" 55"]);
        assert_eq!(
            active(&["proto", "local_port", "proto"]),
            [
                "{local_port=\"0\",proto=\"FWM\"} 1",
                "{local_port=\"2905\",proto=\"SCTP\"} 2",
                "{local_port=\"53\",proto=\"UDP\"} 0",
                "{local_port=\"80\",proto=\"TCP\"} 52",
            ]
        );
        assert_eq!(
            active(&["local_mark"]),
            ["{local_mark=\"\"} 54", "{local_mark=\"0000002A\"} 1"]
        );
    }

    #[test]
    fn a_label_must_be_one_that_there_is() {
        let labels = Node::List(vec![Value::new("remote_adress", Origin::Default)]);
        expect![[r#"backend_labels: expected one of "local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark""#]].assert_eq(&refusal::<Ipvs>(&[("backend_labels", labels)]));
    }

    #[test]
    fn servers_come_and_go() {
        let memory = memory();
        let mut collector = open::<Ipvs>(&memory.host(), &[]);
        let (all, outcome) = run(&mut collector, None);
        outcome.unwrap();
        memory.write("proc/net/ip_vs", BACKENDS.replace("0A000103:1F90", "0A000104:1F90"));
        let (other, outcome) = run(&mut collector, Some(&all));
        outcome.unwrap();
        assert_eq!(other.len(), all.len());
        let page = render(&other);
        assert!(
            page.contains("10.0.1.4") && !page.contains("10.0.1.3\",remote_port=\"8080"),
            "{page}"
        );
        memory.write("proc/net/ip_vs", "");
        assert_eq!(run(&mut collector, Some(&other)).0.len(), 5);
    }

    #[test]
    fn absence_is_said() {
        let absent = expect!["proc/net/ip_vs_stats: not on this host"];
        check_fails::<Ipvs>(&MemoryHost::new().host(), &[], &absent, &expect![""]);
        let host = MemoryHost::from_files(&[("proc/net/ip_vs_stats", TOTALS)]);
        let (_, outcome) = run(&mut open::<Ipvs>(&host.host(), &[]), None);
        assert_eq!(outcome.unwrap_err().to_string(), "proc/net/ip_vs: not on this host");
    }
}
