use super::*;
use vitald_core::settings::Node;
use vitald_core::testing::*;

const NETWORK_CARD: &[(&str, &str)] = &[
    ("class", "0x020000"),
    ("vendor", "0x8086"),
    ("device", "0x1533"),
    ("subsystem_vendor", "0x1043"),
    ("subsystem_device", "0x8557"),
    ("revision", "0x03"),
    ("max_link_speed", "2.5 GT/s PCIe"),
    ("max_link_width", "1"),
    ("current_link_speed", "2.5 GT/s PCIe"),
    ("current_link_width", "1"),
    ("d3cold_allowed", "1"),
    ("sriov_drivers_autoprobe", "1"),
    ("sriov_numvfs", "2"),
    ("sriov_totalvfs", "8"),
    ("sriov_vf_total_msix", "64"),
    ("numa_node", "1"),
    ("power_state", "D0"),
];

const BRIDGE: &[(&str, &str)] = &[
    ("class", "0x060400"),
    ("vendor", "0x8086"),
    ("device", "0xa110"),
    ("subsystem_vendor", "0x0000"),
    ("subsystem_device", "0x0000"),
    ("revision", "0xf1"),
    ("max_link_speed", "Unknown"),
    ("numa_node", "-1"),
];

fn add(memory: &MemoryHost, above: &str, name: &str, files: &[(&str, &str)]) {
    for (file, content) in files {
        memory.write(format!("sys/devices/{above}/{name}/{file}"), format!("{content}\n"));
    }
    memory.link(format!("sys/bus/pci/devices/{name}"), format!("../../../devices/{above}/{name}"));
}

fn memory() -> MemoryHost {
    let memory = MemoryHost::new();
    add(&memory, "pci0000:00", "0000:00:1c.0", BRIDGE);
    add(&memory, "pci0000:00/0000:00:1c.0", "0000:02:00.0", NETWORK_CARD);
    memory
}

#[test]
fn golden() {
    check::<PciDevices>(
        &memory().host(),
        &[],
        &expect![[r##"
        # node_pcidevice_current_link_transfers_per_second gauge
        node_pcidevice_current_link_transfers_per_second{segment="0000",bus="00",device="1c",function="0"} -1
        node_pcidevice_current_link_transfers_per_second{segment="0000",bus="02",device="00",function="0"} 2.5e+09
        # node_pcidevice_current_link_width gauge
        node_pcidevice_current_link_width{segment="0000",bus="00",device="1c",function="0"} -1
        node_pcidevice_current_link_width{segment="0000",bus="02",device="00",function="0"} 1
        # node_pcidevice_d3cold_allowed gauge
        node_pcidevice_d3cold_allowed{segment="0000",bus="00",device="1c",function="0"} 0
        node_pcidevice_d3cold_allowed{segment="0000",bus="02",device="00",function="0"} 1
        # node_pcidevice_info gauge
        node_pcidevice_info{segment="0000",bus="00",device="1c",function="0",parent_segment="*",parent_bus="*",parent_device="*",parent_function="*",class_id="0x060400",vendor_id="0x8086",device_id="0xa110",subsystem_vendor_id="0x0000",subsystem_device_id="0x0000",revision="0xf1"} 1
        node_pcidevice_info{segment="0000",bus="02",device="00",function="0",parent_segment="0000",parent_bus="00",parent_device="1c",parent_function="0",class_id="0x020000",vendor_id="0x8086",device_id="0x1533",subsystem_vendor_id="0x1043",subsystem_device_id="0x8557",revision="0x03"} 1
        # node_pcidevice_max_link_transfers_per_second gauge
        node_pcidevice_max_link_transfers_per_second{segment="0000",bus="00",device="1c",function="0"} -1
        node_pcidevice_max_link_transfers_per_second{segment="0000",bus="02",device="00",function="0"} 2.5e+09
        # node_pcidevice_max_link_width gauge
        node_pcidevice_max_link_width{segment="0000",bus="00",device="1c",function="0"} -1
        node_pcidevice_max_link_width{segment="0000",bus="02",device="00",function="0"} 1
        # node_pcidevice_numa_node gauge
        node_pcidevice_numa_node{segment="0000",bus="02",device="00",function="0"} 1
        # node_pcidevice_power_state gauge
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="D0"} 1
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="D1"} 0
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="D2"} 0
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="D3hot"} 0
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="D3cold"} 0
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="unknown"} 0
        node_pcidevice_power_state{segment="0000",bus="02",device="00",function="0",state="error"} 0
        # node_pcidevice_sriov_drivers_autoprobe gauge
        node_pcidevice_sriov_drivers_autoprobe{segment="0000",bus="00",device="1c",function="0"} 0
        node_pcidevice_sriov_drivers_autoprobe{segment="0000",bus="02",device="00",function="0"} 1
        # node_pcidevice_sriov_numvfs gauge
        node_pcidevice_sriov_numvfs{segment="0000",bus="00",device="1c",function="0"} 0
        node_pcidevice_sriov_numvfs{segment="0000",bus="02",device="00",function="0"} 2
        # node_pcidevice_sriov_totalvfs gauge
        node_pcidevice_sriov_totalvfs{segment="0000",bus="00",device="1c",function="0"} 0
        node_pcidevice_sriov_totalvfs{segment="0000",bus="02",device="00",function="0"} 8
        # node_pcidevice_sriov_vf_total_msix gauge
        node_pcidevice_sriov_vf_total_msix{segment="0000",bus="00",device="1c",function="0"} 0
        node_pcidevice_sriov_vf_total_msix{segment="0000",bus="02",device="00",function="0"} 64
    "##]],
    );
}

fn info(memory: &MemoryHost, settings: &[(&str, Node)]) -> String {
    let (batch, outcome) = run(&mut open::<PciDevices>(&memory.host(), settings), None);
    outcome.unwrap();
    let page = render(&batch);
    page.lines()
        .filter(|line| line.starts_with("node_pcidevice_info{"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn names_are_shown_where_there_is_a_file() {
    let memory = memory();
    memory.write("file:/usr/share/hwdata/pci.ids", "8086  Intel\n\t1533  I210\n");
    memory.write("file:/opt/pci.ids", "8086  Other\n");
    let page = info(&memory, &[("names", true.into())]);
    assert!(page.contains("vendor_name=\"Intel\",device_name=\"I210\""), "{page}");
    assert!(page.contains("class_name=\"Unknown class (060400)\""), "{page}");
    let settings = [("names", true.into()), ("idsfile", "/opt/pci.ids".into())];
    assert!(info(&memory, &settings).contains("vendor_name=\"Other\",device_name=\"1533\""));
    let settings = [("names", true.into()), ("idsfile", "/not/there".into())];
    assert!(info(&memory, &settings).contains("vendor_name=\"8086\",device_name=\"1533\""));
    assert!(!info(&memory, &[]).contains("vendor_name"));
}

#[test]
fn a_file_that_the_user_named_is_missed_until_it_is_there() {
    let memory = memory();
    let settings = [("names", true.into()), ("idsfile", "/opt/pci.ids".into())];
    let mut collector = open::<PciDevices>(&memory.host(), &settings);
    let mut next = || {
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        let is_named = render(&batch).contains("vendor_name=\"Other\"");
        (is_named, batch.fault().map(|fault| fault.error.to_owned()))
    };
    let absent = || Some("file:/opt/pci.ids: not on this host".to_owned());
    assert_eq!([next(), next()], [(false, absent()), (false, absent())]);
    memory.write("file:/opt/pci.ids", "8086  Other\n");
    assert_eq!([next(), next()], [(true, None), (true, None)]);
    // Those of distributions may be missing: the user asked for none of them.
    let mut collector = open::<PciDevices>(&memory.host(), &[("names", true.into())]);
    assert!(run(&mut collector, None).0.fault().is_none());
}

#[test]
fn a_device_that_comes_is_named() {
    let memory = memory();
    memory.write("file:/usr/share/misc/pci.ids", "8086  Intel\n");
    let mut collector = open::<PciDevices>(&memory.host(), &[("names", true.into())]);
    let (whole, _) = run(&mut collector, None);
    add(&memory, "pci0000:00", "10000:e0:06.0", BRIDGE);
    memory.remove("sys/bus/pci/devices/0000:02:00.0");
    let (batch, outcome) = run(&mut collector, Some(&whole));
    outcome.unwrap();
    let page = render(&batch);
    assert!(page.contains("segment=\"10000\",bus=\"e0\",device=\"06\",function=\"0\""), "{page}");
    assert_eq!(page.matches("vendor_name=\"Intel\"").count(), 2, "{page}");
    assert!(!page.contains("bus=\"02\",device"), "{page}");
}

#[test]
fn what_is_bad_or_forbidden_is_left_out_alone() {
    let memory = memory();
    let device = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0";
    let (whole, _) = run(&mut open::<PciDevices>(&memory.host(), &[]), None);
    memory.write(format!("{device}/current_link_speed"), "fast\n");
    memory.write(format!("{device}/sriov_numvfs"), "-1\n");
    memory.fail(format!("{device}/numa_node"), 13);
    memory.remove(format!("{device}/power_state"));
    let (batch, outcome) = run(&mut open::<PciDevices>(&memory.host(), &[]), None);
    outcome.unwrap();
    assert_eq!(whole.len() - batch.len(), 10);
    assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
}

#[test]
fn names_of_devices() {
    let parts: [&[u8]; 4] = [b"0000", b"3a", b"00", b"1"];
    assert_eq!(location(b"0000:3a:00.1"), Some(parts));
    for name in ["0000:3a:00", "0000:3a.00.1", "pci0000:00", "0000:3a::00.1", ":3a:00.1", ""] {
        assert_eq!(location(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn refuses_bad_links() {
    rejects(parse_link, &["x", "GT/s", "-", " "]);
    assert_eq!(parse_link(b"32.0 GT/s PCIe"), Ok(Some(32.0)));
    assert_eq!(parse_link(b"8 GT/s"), Ok(Some(8.0)));
    assert_eq!(parse_link(b"Unknown speed"), Ok(None));
}

#[test]
fn a_host_without_the_bus_is_said() {
    check_fails::<PciDevices>(
        &MemoryHost::new().host(),
        &[],
        &expect!["sys/bus/pci/devices: not on this host"],
        &expect![""],
    );
}
