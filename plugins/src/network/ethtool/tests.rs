use super::*;
use vitald_core::host::EthtoolAnswers;
use vitald_core::run::Run;
use vitald_core::settings::Node;
use vitald_core::testing::*;

const STATISTICS: &[(&str, u64)] = &[
    ("rx_packets", 1_260_062),
    ("tx_packets", 961_500),
    ("rx_errors", 1),
    ("port.rx_dropped", 12_028),
    ("queue 0 tx", u64::MAX),
    ("Same name", 1),
    ("same_name", 2),
    ("same.name", 3),
    ("twice", 4),
    ("", 5),
    ("twice", 6),
];

fn statistics(statistics: &[(&'static str, u64)]) -> EthtoolAnswers {
    EthtoolAnswers { statistics: Ok(statistics.to_vec()), ..EthtoolAnswers::default() }
}

/// A card that says everything, an interface without a driver to ask, and the list of bonds beside them.
fn memory() -> MemoryHost {
    let memory = MemoryHost::new();
    memory.write("sys/class/net/bonding_masters", "\n");
    memory.make_directory("sys/class/net/lo");
    memory.make_directory("sys/class/net/eth0");
    memory.set_ethtool("lo", EthtoolAnswers::default());
    memory.set_ethtool(
        "eth0",
        EthtoolAnswers {
            settings: Ok(EthtoolSettings {
                // 1000baseT in both modes, 25000baseCR, negotiation, twisted pair, pauses, 2500baseX.
                supported: 1 << 4 | 1 << 5 | 1 << 31 | 1 << 6 | 1 << 7 | 1 << 13 | 1 << 15,
                advertised: 1 << 5 | 1 << 14,
                autonegotiation: 1,
            }),
            driver: Ok(EthtoolDriver {
                name: b"ixgbe",
                version: b"6.18.0",
                firmware_version: b"0x800006da",
                expansion_rom_version: b"",
                bus: b"0000:3b:00.0",
            }),
            ..statistics(STATISTICS)
        },
    );
    memory
}

#[test]
fn golden() {
    check::<Ethtool>(
        &memory().host(),
        &[],
        &expect![[r##"
        # node_ethtool_info gauge
        node_ethtool_info{bus_info="0000:3b:00.0",device="eth0",driver="ixgbe",expansion_rom_version="",firmware_version="0x800006da",version="6.18.0"} 1
        # node_ethtool_port_received_dropped untyped
        node_ethtool_port_received_dropped{device="eth0"} 12028
        # node_ethtool_queue_0_transmitted untyped
        node_ethtool_queue_0_transmitted{device="eth0"} 1.8446744073709552e+19
        # node_ethtool_received_errors_total untyped
        node_ethtool_received_errors_total{device="eth0"} 1
        # node_ethtool_received_packets_total untyped
        node_ethtool_received_packets_total{device="eth0"} 1.260062e+06
        # node_ethtool_transmitted_packets_total untyped
        node_ethtool_transmitted_packets_total{device="eth0"} 961500
        # node_ethtool_twice untyped
        node_ethtool_twice{device="eth0"} 6
        # node_network_advertised_speed_bytes gauge
        node_network_advertised_speed_bytes{device="eth0",duplex="full",mode="1000baseT"} 1.25e+08
        # node_network_asymmetricpause_advertised gauge
        node_network_asymmetricpause_advertised{device="eth0"} 1
        # node_network_asymmetricpause_supported gauge
        node_network_asymmetricpause_supported{device="eth0"} 0
        # node_network_autonegotiate gauge
        node_network_autonegotiate{device="eth0"} 1
        # node_network_autonegotiate_advertised gauge
        node_network_autonegotiate_advertised{device="eth0"} 0
        # node_network_autonegotiate_supported gauge
        node_network_autonegotiate_supported{device="eth0"} 1
        # node_network_pause_advertised gauge
        node_network_pause_advertised{device="eth0"} 0
        # node_network_pause_supported gauge
        node_network_pause_supported{device="eth0"} 1
        # node_network_supported_port_info gauge
        node_network_supported_port_info{device="eth0",type="TP"} 1
        # node_network_supported_speed_bytes gauge
        node_network_supported_speed_bytes{device="eth0",duplex="half",mode="1000baseT"} 1.25e+08
        node_network_supported_speed_bytes{device="eth0",duplex="full",mode="1000baseT"} 1.25e+08
        node_network_supported_speed_bytes{device="eth0",duplex="full",mode="25000baseCR"} 3.125e+09
    "##]],
    );
}

fn families(batch: &Run) -> Vec<String> {
    batch
        .samples()
        .filter_map(|(series, _)| {
            let name = series.family_name().strip_prefix(b"node_ethtool_")?;
            Some(String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

fn run_with(memory: &MemoryHost, settings: &[(&str, Node)]) -> Run {
    let (batch, outcome) = run(&mut open::<Ethtool>(&memory.host(), settings), None);
    outcome.unwrap();
    batch
}

#[test]
fn interfaces_and_statistics_are_chosen_by_name() {
    let memory = memory();
    assert!(run_with(&memory, &[("device_exclude", "^eth".into())]).is_empty());
    assert!(run_with(&memory, &[("device_include", "lo".into())]).is_empty());
    let both = [("device_include", "e".into()), ("device_exclude", "0".into())];
    assert!(run_with(&memory, &both).is_empty());
    // The pattern is for the driver's name, not for what is shown.
    let batch =
        run_with(&memory, &[("metrics_include", "^(rx_packets|port_rx|twice|Same)".into())]);
    assert_eq!(
        families(&batch),
        ["info", "port_received_dropped", "received_packets_total", "same_name", "twice"],
        "a name that clashes with none of those that are chosen is shown"
    );
}

#[test]
fn interfaces_share_families() {
    let memory = memory();
    memory.make_directory("sys/class/net/eth1");
    memory.set_ethtool("eth1", statistics(&[("rx_packets", 5), ("only here", 7), ("twice", 0)]));
    let mut collector = open::<Ethtool>(&memory.host(), &[]);
    let mut last = run(&mut collector, None).0;
    let mut shapes = Vec::new();
    for _ in 0..3 {
        let (next, outcome) = run(&mut collector, Some(&last));
        outcome.unwrap();
        refuse_undeclared::<Ethtool>(&next);
        shapes.push(next.shape().id());
        last = next;
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]));
    let page = render(&last);
    for line in [
        "node_ethtool_received_packets_total{device=\"eth0\"} 1.260062e+06\n",
        "node_ethtool_received_packets_total{device=\"eth1\"} 5\n",
        "node_ethtool_only_here{device=\"eth1\"} 7\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert_eq!(page.matches("# node_ethtool_received_packets_total").count(), 1);
}

#[test]
fn drivers_get_other_names_and_interfaces_go() {
    let memory = memory();
    let mut collector = open::<Ethtool>(&memory.host(), &[]);
    let (first, _) = run(&mut collector, None);
    let mut more = STATISTICS.to_vec();
    more.insert(0, ("a new one", 11));
    memory.set_ethtool("eth0", statistics(&more));
    let mut last = first;
    for _ in 0..3 {
        let (next, outcome) = run(&mut collector, Some(&last));
        outcome.unwrap();
        let page = render(&next);
        assert!(page.contains("node_ethtool_a_new_one{device=\"eth0\"} 11\n"), "{page}");
        assert!(page.contains("node_ethtool_received_packets_total{device=\"eth0\"} 1.26"));
        last = next;
    }
    assert_eq!(collector.families.len(), 7);
    memory.set_ethtool("eth0", statistics(&[("b", 1)]));
    for _ in 0..3 {
        last = run(&mut collector, Some(&last)).0;
        assert_eq!(families(&last), ["b"]);
    }
    assert_eq!(collector.families.len(), 1, "what no driver has is forgotten");
    memory.remove("sys/class/net/eth0");
    for _ in 0..2 {
        last = run(&mut collector, Some(&last)).0;
        assert!(last.is_empty());
    }
    assert_eq!(collector.families.len(), 0);
}

/// One interface went after it was listed, and the driver of another one is broken.
#[test]
fn a_fault_of_a_driver_costs_what_it_would_have_said() {
    let memory = memory();
    memory.make_directory("sys/class/net/gone");
    assert!(run_with(&memory, &[]).fault().is_none());
    memory.make_directory("sys/class/net/broken");
    let driver = EthtoolDriver { name: b"odd\xff", ..EthtoolDriver::default() };
    let broken =
        EthtoolAnswers { statistics: Err(5), driver: Ok(driver), ..EthtoolAnswers::default() };
    memory.set_ethtool("broken", broken);
    let batch = run_with(&memory, &[]);
    assert!(batch.fault().is_some());
    assert_eq!(families(&batch).iter().filter(|family| *family == "info").count(), 2);
    assert!(families(&batch).contains(&"received_packets_total".to_owned()));
}

#[test]
fn names_that_make_no_family_are_left_out() {
    let memory = memory();
    memory.set_ethtool("eth0", statistics(&[("__", 1), ("%%%", 2), ("\u{e9}", 3), ("1st", 4)]));
    assert_eq!(families(&run_with(&memory, &[])), ["1st"]);
}

#[test]
fn absent_is_an_error() {
    check_fails::<Ethtool>(
        &MemoryHost::new().host(),
        &[],
        &expect!["sys/class/net: not on this host"],
        &expect![""],
    );
}
