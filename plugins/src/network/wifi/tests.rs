use super::Wifi;
use super::nl80211::*;
use std::io;
use vitald_core::host::{AttributeWriter, NetlinkAttributes};
use vitald_core::prelude::*;
use vitald_core::testing::*;

/// Command and attributes of an answer.
type Answer = (u8, Vec<u8>);

fn answer(command: u8, write: impl FnOnce(&mut AttributeWriter<'_>)) -> Answer {
    let mut bytes = Vec::new();
    write(&mut AttributeWriter::new(&mut bytes));
    (command + 2, bytes)
}

fn interface(index: u32, name: &[u8], megahertz: Option<u32>) -> Answer {
    answer(GET_INTERFACE, |attributes| {
        attributes.number_32(INTERFACE_INDEX, index);
        if !name.is_empty() {
            attributes.text(INTERFACE_NAME, name);
        }
        attributes.bytes(MAC, &[2, 0, 0, 0, 0, index as u8]);
        if let Some(megahertz) = megahertz {
            attributes.number_32(INTERFACE_FREQUENCY, megahertz);
        }
    })
}

fn network(bssid: u8, status: Option<u32>, elements: &[u8]) -> Answer {
    answer(GET_SCAN, |attributes| {
        attributes.number_32(INTERFACE_INDEX, 3);
        attributes.nested(NETWORK, |network| {
            network.bytes(BSSID, &[2, 0, 0x5e, 0x10, 0, bssid]);
            network.bytes(ELEMENTS, elements);
            if let Some(status) = status {
                network.number_32(STATUS, status);
            }
        });
    })
}

fn station(last: u8, write: impl FnOnce(&mut AttributeWriter<'_>)) -> Answer {
    answer(GET_STATION, |attributes| {
        attributes.bytes(MAC, &[2, 0, 0x5e, 0x10, 0xab, last]);
        attributes.nested(STATION, write);
    })
}

fn full_station(last: u8) -> Answer {
    station(last, |station| {
        station.number_32(INACTIVE_TIME, 1234);
        station.number_32(RECEIVED_BYTES_32, 7);
        station.number_32(TRANSMITTED_BYTES_32, 8);
        station.bytes(RECEIVED_BYTES, &(5_u64 << 32).to_ne_bytes());
        station.bytes(TRANSMITTED_BYTES, &0_u64.to_ne_bytes());
        station.bytes(SIGNAL, &[(-61_i8).cast_unsigned()]);
        station.nested(TRANSMIT_RATE, |rate| {
            rate.bytes(RATE_16, &u16::MAX.to_ne_bytes());
            rate.number_32(RATE_32, 86_667);
        });
        station.nested(RECEIVE_RATE, |rate| rate.bytes(RATE_16, &540_u16.to_ne_bytes()));
        station.number_32(RECEIVED_PACKETS, 91);
        station.number_32(TRANSMITTED_PACKETS, 92);
        station.number_32(RETRIES, 93);
        station.number_32(FAILED, 94);
        station.number_32(CONNECTED_TIME, 3601);
        station.number_32(BEACON_LOSSES, 95);
    })
}

/// A host whose kernel answers with the function's answers to a command for an interface.
fn memory(
    answers: impl Fn(u8, Option<u32>) -> io::Result<Vec<Answer>> + Send + Sync + 'static,
) -> MemoryHost {
    let memory = MemoryHost::new();
    memory.set_generic("nl80211", move |command, attributes: NetlinkAttributes<'_>| {
        let index = attributes.find(INTERFACE_INDEX);
        answers(command, index.map(|index| u32::from_ne_bytes(index.try_into().unwrap())))
    });
    memory
}

fn usual() -> MemoryHost {
    memory(|command, index| {
        Ok(match (command, index) {
            (GET_INTERFACE, None) => vec![
                interface(3, b"wlan0", Some(5180)),
                interface(4, b"wlan1", None),
                interface(5, b"", None),
            ],
            (GET_SCAN, Some(3)) => vec![
                network(1, None, b"\0\x07other!!"),
                network(2, Some(1), b"\0\x04Caf\xc3\x01\x04\x82\x84\x8b\x96"),
                network(3, Some(0), b""),
            ],
            (GET_STATION, Some(3)) => vec![full_station(1)],
            (GET_STATION, Some(4)) => vec![station(2, |_| {}), full_station(3)],
            (GET_SCAN, Some(4)) => Vec::new(),
            asked => panic!("{asked:?}"),
        })
    })
}

#[test]
fn golden() {
    check::<Wifi>(
        &usual().host(),
        &[],
        &expect![[r##"
        # node_wifi_interface_frequency_hertz gauge
        node_wifi_interface_frequency_hertz{device="wlan0"} 5.18e+09
        node_wifi_interface_frequency_hertz{device="wlan1"} 0
        # node_wifi_station_beacon_loss_total counter
        node_wifi_station_beacon_loss_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 95
        node_wifi_station_beacon_loss_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_beacon_loss_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 95
        # node_wifi_station_connected_seconds_total counter
        node_wifi_station_connected_seconds_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 3601
        node_wifi_station_connected_seconds_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_connected_seconds_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 3601
        # node_wifi_station_inactive_seconds gauge
        node_wifi_station_inactive_seconds{device="wlan0",mac_address="02:00:5e:10:ab:01"} 1.234
        node_wifi_station_inactive_seconds{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_inactive_seconds{device="wlan1",mac_address="02:00:5e:10:ab:03"} 1.234
        # node_wifi_station_info gauge
        node_wifi_station_info{device="wlan0",bssid="02:00:5e:10:00:02",ssid="Caf�",mode="client"} 1
        # node_wifi_station_receive_bits_per_second gauge
        node_wifi_station_receive_bits_per_second{device="wlan0",mac_address="02:00:5e:10:ab:01"} 5.4e+07
        node_wifi_station_receive_bits_per_second{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_receive_bits_per_second{device="wlan1",mac_address="02:00:5e:10:ab:03"} 5.4e+07
        # node_wifi_station_receive_bytes_total counter
        node_wifi_station_receive_bytes_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 2.147483648e+10
        node_wifi_station_receive_bytes_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_receive_bytes_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 2.147483648e+10
        # node_wifi_station_received_packets_total counter
        node_wifi_station_received_packets_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 91
        node_wifi_station_received_packets_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_received_packets_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 91
        # node_wifi_station_signal_dbm gauge
        node_wifi_station_signal_dbm{device="wlan0",mac_address="02:00:5e:10:ab:01"} -61
        node_wifi_station_signal_dbm{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_signal_dbm{device="wlan1",mac_address="02:00:5e:10:ab:03"} -61
        # node_wifi_station_transmit_bits_per_second gauge
        node_wifi_station_transmit_bits_per_second{device="wlan0",mac_address="02:00:5e:10:ab:01"} 8.6667e+09
        node_wifi_station_transmit_bits_per_second{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_transmit_bits_per_second{device="wlan1",mac_address="02:00:5e:10:ab:03"} 8.6667e+09
        # node_wifi_station_transmit_bytes_total counter
        node_wifi_station_transmit_bytes_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 0
        node_wifi_station_transmit_bytes_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_transmit_bytes_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 0
        # node_wifi_station_transmit_failed_total counter
        node_wifi_station_transmit_failed_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 94
        node_wifi_station_transmit_failed_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_transmit_failed_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 94
        # node_wifi_station_transmit_retries_total counter
        node_wifi_station_transmit_retries_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 93
        node_wifi_station_transmit_retries_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_transmit_retries_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 93
        # node_wifi_station_transmitted_packets_total counter
        node_wifi_station_transmitted_packets_total{device="wlan0",mac_address="02:00:5e:10:ab:01"} 92
        node_wifi_station_transmitted_packets_total{device="wlan1",mac_address="02:00:5e:10:ab:02"} 0
        node_wifi_station_transmitted_packets_total{device="wlan1",mac_address="02:00:5e:10:ab:03"} 92
    "##]],
    );
}

fn page(memory: &MemoryHost) -> String {
    let (batch, outcome) = run(&mut open::<Wifi>(&memory.host(), &[]), None);
    outcome.unwrap();
    refuse_undeclared::<Wifi>(&batch);
    render(&batch)
}

#[test]
fn a_network_has_a_name_and_a_mode() {
    for (status, elements, labels) in [
        (0, &b"\0\x03one"[..], "ssid=\"one\",mode=\"client\""),
        (2, b"\x01\x01\x82\0\x03two", "ssid=\"two\",mode=\"ad-hoc\""),
        (3, b"", "ssid=\"\",mode=\"unknown\""),
        (1, b"\0\0", "ssid=\"\",mode=\"client\""),
        (1, b"\0\x09short", "ssid=\"\",mode=\"client\""),
        (1, b"\0", "ssid=\"\",mode=\"client\""),
        (1, b"\0\x04\xe2\x82x\"", "ssid=\"\u{fffd}\u{fffd}x\\\"\",mode=\"client\""),
    ] {
        let elements = elements.to_vec();
        let memory = memory(move |command, _| {
            Ok(match command {
                GET_INTERFACE => vec![interface(3, b"wlan0", None)],
                GET_SCAN => vec![network(9, Some(status), &elements)],
                _ => Vec::new(),
            })
        });
        let page = page(&memory);
        let line = format!("{{device=\"wlan0\",bssid=\"02:00:5e:10:00:09\",{labels}}} 1\n");
        assert!(page.contains(&line), "{line}{page}");
    }
}

/// A driver that does not know its stations (EOPNOTSUPP), and an interface that went meanwhile (ENODEV).
#[test]
fn a_refusal_costs_what_was_asked_for() {
    let memory = memory(|command, index| match (command, index) {
        (GET_INTERFACE, _) => {
            Ok(vec![interface(3, b"wlan0", Some(2412)), interface(4, b"wlan1", Some(2412))])
        }
        (GET_STATION, Some(3)) => Err(io::Error::from_raw_os_error(95)),
        (_, Some(3)) => Ok(vec![network(1, Some(1), b"")]),
        _ => Err(io::Error::from_raw_os_error(19)),
    });
    let (batch, outcome) = run(&mut open::<Wifi>(&memory.host(), &[]), None);
    outcome.unwrap();
    assert_eq!(batch.len(), 3);
    let fault = batch.fault().unwrap().error;
    assert!(fault.starts_with("netlink nl80211: "), "{fault}");
}

#[test]
fn odd_answers_are_taken() {
    let memory = memory(|command, _| {
        Ok(match command {
            GET_INTERFACE => vec![
                answer(GET_INTERFACE, |_| {}),
                answer(GET_INTERFACE, |attributes| attributes.text(INTERFACE_NAME, b"x")),
                answer(GET_INTERFACE, |attributes| {
                    attributes.bytes(INTERFACE_NAME, b"w\0lan");
                    attributes.number_32(INTERFACE_INDEX, 7);
                    attributes.bytes(INTERFACE_FREQUENCY, &[1]);
                }),
            ],
            GET_SCAN => vec![
                answer(GET_SCAN, |_| {}),
                answer(GET_SCAN, |attributes| attributes.bytes(NETWORK, &[1, 2, 3])),
            ],
            _ => vec![
                answer(GET_STATION, |_| {}),
                answer(GET_STATION, |attributes| {
                    attributes.bytes(MAC, &[0xff; 40]);
                    attributes.nested(STATION, |station| {
                        station.bytes(SIGNAL, &[]);
                        station.bytes(RECEIVED_BYTES, &[1; 4]);
                        station.number_32(RECEIVED_BYTES_32, 9);
                        station.bytes(RECEIVE_RATE, &[1]);
                    });
                }),
            ],
        })
    });
    let page = page(&memory);
    assert!(page.contains("hertz{device=\"w\"} 0\n"), "{page}");
    let address = ["ff"; 8].join(":");
    let line = format!("receive_bytes_total{{device=\"w\",mac_address=\"{address}\"}} 9\n");
    assert!(page.contains(&line), "{page}");
}

#[test]
fn a_kernel_without_it_is_said() {
    let absent = expect!["netlink nl80211: not on this host"];
    check_fails::<Wifi>(&MemoryHost::new().host(), &[], &absent, &expect![""]);
}

#[test]
fn recorded_answers_take_the_place_of_the_kernel() {
    let files = [
        (
            "file:/rec/interfaces.json",
            r#"[{"name": "wlan0", "type": 2, "frequency": 2437}, {"name": "mon0"}, {"type": 10}]"#,
        ),
        ("file:/rec/wlan0/bss.json", r#"{"ssid": "Café", "bssid": "AgBeEAAB", "status": 1}"#),
        (
            "file:/rec/wlan0/stationinfo.json",
            r#"[{"hardwareaddr": "AgBeEAAC", "connected": 90500000000, "signal": -40, "receivebitrate": 6000000}]"#,
        ),
    ];
    let memory = MemoryHost::from_files(&files);
    let settings = [("fixtures", "/rec/".into())];
    let collect = || run(&mut open::<Wifi>(&memory.host(), &settings), None);
    let (batch, outcome) = collect();
    outcome.unwrap();
    let page = render(&batch);
    assert_eq!(batch.len(), 2 + 1 + 12, "{page}");
    for sample in [
        "frequency_hertz{device=\"wlan0\"} 2.437e+09",
        "frequency_hertz{device=\"mon0\"} 0",
        "info{device=\"wlan0\",bssid=\"02:00:5e:10:00:01\",ssid=\"Café\",mode=\"client\"} 1",
        "connected_seconds_total{device=\"wlan0\",mac_address=\"02:00:5e:10:00:02\"} 90.5",
        "signal_dbm{device=\"wlan0\",mac_address=\"02:00:5e:10:00:02\"} -40",
        "receive_bits_per_second{device=\"wlan0\",mac_address=\"02:00:5e:10:00:02\"} 6e+06",
    ] {
        assert!(page.contains(&format!("{sample}\n")), "{sample}\n{page}");
    }
    memory.write("file:/rec/wlan0/bss.json", r#"{"bssid": "?"}"#);
    let said = collect().1.unwrap_err().to_string();
    assert_eq!(said, "file:/rec/wlan0/bss.json: byte 0: expected an address in base64");
    memory.remove("file:/rec/interfaces.json");
    assert!(matches!(collect().1, Err(Error::Absent { .. })));
}
