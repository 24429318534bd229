use super::*;
use std::time::Duration;
use vitald_core::settings::Node;
use vitald_core::testing::*;

/// A host with these files, each below the directory of its device, where the class has links to
/// the chips.
fn host(files: &[(&str, &str)]) -> MemoryHost {
    let memory = MemoryHost::new();
    for (path, content) in files {
        memory.write(format!("sys/devices/{path}"), format!("{content}\n"));
        let Some((device, rest)) = path.split_once("/hwmon/") else { continue };
        let entry = rest.split('/').next().unwrap_or_default();
        memory.link(
            format!("sys/class/hwmon/{entry}"),
            format!("../../devices/{device}/hwmon/{entry}"),
        );
        memory.link(
            format!("sys/devices/{device}/hwmon/{entry}/device"),
            format!("/sys/devices/{device}"),
        );
    }
    memory
}

fn page(memory: &MemoryHost, settings: &[(&str, Node)]) -> String {
    let (batch, outcome) = run(&mut open::<Hwmon>(&memory.host(), settings), None);
    outcome.unwrap();
    render(&batch)
}

const BOARD: &[(&str, &str)] = &[
    ("platform/nct6775.2592/hwmon/hwmon1/name", "nct6798"),
    ("platform/nct6775.2592/hwmon/hwmon1/beep_enable", "1"),
    ("platform/nct6775.2592/hwmon/hwmon1/vrm", "9.1"),
    ("platform/nct6775.2592/hwmon/hwmon1/update_interval", "1500"),
    ("platform/nct6775.2592/hwmon/hwmon1/in0_input", "904"),
    ("platform/nct6775.2592/hwmon/hwmon1/in0_beep", "0"),
    ("platform/nct6775.2592/hwmon/hwmon1/cpu0_vid", "1350"),
    ("platform/nct6775.2592/hwmon/hwmon1/fan1_input", "723"),
    ("platform/nct6775.2592/hwmon/hwmon1/fan1_div", "2"),
    ("platform/nct6775.2592/hwmon/hwmon1/fan1_alarm", "1"),
    ("platform/nct6775.2592/hwmon/hwmon1/pwm1", "88"),
    ("platform/nct6775.2592/hwmon/hwmon1/pwm1_auto_point1_temp", "20000"),
    ("platform/nct6775.2592/hwmon/hwmon1/temp10_label", "PECI Agent 0 "),
    ("platform/nct6775.2592/hwmon/hwmon1/temp10_input", "-1500"),
    ("platform/nct6775.2592/hwmon/hwmon1/temp10_fault", "0"),
    ("platform/nct6775.2592/hwmon/hwmon1/temp10_type", "4"),
    ("platform/nct6775.2592/hwmon/hwmon1/curr1_input", "1250"),
    ("platform/nct6775.2592/hwmon/hwmon1/power1_average", "65000000"),
    ("platform/nct6775.2592/hwmon/hwmon1/power1_accuracy", "950000"),
    ("platform/nct6775.2592/hwmon/hwmon1/power1_average_interval", "1000"),
    ("platform/nct6775.2592/hwmon/hwmon1/energy1_input", "1234567"),
    ("platform/nct6775.2592/hwmon/hwmon1/humidity1_input", "480000"),
    ("platform/nct6775.2592/hwmon/hwmon1/intrusion0_alarm", "1"),
    ("platform/nct6775.2592/hwmon/hwmon1/freq1_input", "1350000000"),
    ("platform/nct6775.2592/hwmon/hwmon1/freq1_label", "SCLK"),
    ("platform/nct6775.2592/hwmon/hwmon1/freq2_input", "1"),
    ("platform/nct6775.2592/hwmon/hwmon1/uevent", ""),
    ("platform/nct6775.2592/power/control", "auto"),
];

#[test]
fn golden() {
    check::<Hwmon>(
        &host(BOARD).host(),
        &[],
        &expect![[r##"
        # node_hwmon_beep_enabled gauge
        node_hwmon_beep_enabled{chip="platform_nct6775_2592",sensor="beep_enable0"} 1
        # node_hwmon_chip_names gauge
        node_hwmon_chip_names{chip="platform_nct6775_2592",chip_name="nct6798"} 1
        # node_hwmon_cpu_vid_volts gauge
        node_hwmon_cpu_vid_volts{chip="platform_nct6775_2592",sensor="cpu0"} 1.35
        # node_hwmon_curr_amps gauge
        node_hwmon_curr_amps{chip="platform_nct6775_2592",sensor="curr1"} 1.25
        # node_hwmon_energy_joule_total counter
        node_hwmon_energy_joule_total{chip="platform_nct6775_2592",sensor="energy1"} 1.234567
        # node_hwmon_fan_alarm gauge
        node_hwmon_fan_alarm{chip="platform_nct6775_2592",sensor="fan1"} 1
        # node_hwmon_fan_div gauge
        node_hwmon_fan_div{chip="platform_nct6775_2592",sensor="fan1"} 2
        # node_hwmon_fan_rpm gauge
        node_hwmon_fan_rpm{chip="platform_nct6775_2592",sensor="fan1"} 723
        # node_hwmon_freq_freq_mhz gauge
        node_hwmon_freq_freq_mhz{chip="platform_nct6775_2592",sensor="sclk"} 1350
        # node_hwmon_humidity gauge
        node_hwmon_humidity{chip="platform_nct6775_2592",sensor="humidity1"} 0.48
        # node_hwmon_in_beep_enabled gauge
        node_hwmon_in_beep_enabled{chip="platform_nct6775_2592",sensor="in0"} 0
        # node_hwmon_in_volts gauge
        node_hwmon_in_volts{chip="platform_nct6775_2592",sensor="in0"} 0.904
        # node_hwmon_intrusion_alarm gauge
        node_hwmon_intrusion_alarm{chip="platform_nct6775_2592",sensor="intrusion0"} 1
        # node_hwmon_power_accuracy gauge
        node_hwmon_power_accuracy{chip="platform_nct6775_2592",sensor="power1"} 0.95
        # node_hwmon_power_average_interval_seconds gauge
        node_hwmon_power_average_interval_seconds{chip="platform_nct6775_2592",sensor="power1"} 1
        # node_hwmon_power_average_watt gauge
        node_hwmon_power_average_watt{chip="platform_nct6775_2592",sensor="power1"} 65
        # node_hwmon_pwm gauge
        node_hwmon_pwm{chip="platform_nct6775_2592",sensor="pwm1"} 88
        # node_hwmon_pwm_auto_point1_temp gauge
        node_hwmon_pwm_auto_point1_temp{chip="platform_nct6775_2592",sensor="pwm1"} 20000
        # node_hwmon_sensor_label gauge
        node_hwmon_sensor_label{chip="platform_nct6775_2592",sensor="freq1",label="SCLK"} 1
        node_hwmon_sensor_label{chip="platform_nct6775_2592",sensor="temp10",label="PECI Agent 0 "} 1
        # node_hwmon_temp_celsius gauge
        node_hwmon_temp_celsius{chip="platform_nct6775_2592",sensor="temp10"} -1.5
        # node_hwmon_temp_fault gauge
        node_hwmon_temp_fault{chip="platform_nct6775_2592",sensor="temp10"} 0
        # node_hwmon_temp_type gauge
        node_hwmon_temp_type{chip="platform_nct6775_2592",sensor="temp10"} 4
        # node_hwmon_update_interval_seconds gauge
        node_hwmon_update_interval_seconds{chip="platform_nct6775_2592",sensor="update_interval0"} 1.5
        # node_hwmon_voltage_regulator_version gauge
        node_hwmon_voltage_regulator_version{chip="platform_nct6775_2592",sensor="vrm0"} 9.1
    "##]],
    );
}

/// So it is with old drivers, such as that of Apple's system management controller.
#[test]
fn files_of_the_device_take_the_place_of_the_chips() {
    let memory = host(&[
        ("platform/applesmc.768/hwmon/hwmon0/name", "applesmc"),
        ("platform/applesmc.768/hwmon/hwmon0/fan1_min", "1"),
        ("platform/applesmc.768/fan1_input", "2001"),
        ("platform/applesmc.768/fan1_min", "1200"),
        ("platform/applesmc.768/fan1_label", "Left side "),
    ]);
    expect![[r##"
        # node_hwmon_chip_names gauge
        node_hwmon_chip_names{chip="platform_applesmc_768",chip_name="applesmc"} 1
        # node_hwmon_fan_min_rpm gauge
        node_hwmon_fan_min_rpm{chip="platform_applesmc_768",sensor="fan1"} 1200
        # node_hwmon_fan_rpm gauge
        node_hwmon_fan_rpm{chip="platform_applesmc_768",sensor="fan1"} 2001
        # node_hwmon_sensor_label gauge
        node_hwmon_sensor_label{chip="platform_applesmc_768",sensor="fan1",label="Left side "} 1
    "##]]
    .assert_eq(&page(&memory, &[]));
}

#[test]
fn a_value_beside_an_input_keeps_the_name() {
    let memory = host(&[
        ("a/b/hwmon/hwmon0/temp1", "40000"),
        ("a/b/hwmon/hwmon0/temp1_input", "41000"),
        ("a/b/hwmon/hwmon0/temp2_input", "42000"),
    ]);
    expect![[r##"
        # node_hwmon_temp_celsius gauge
        node_hwmon_temp_celsius{chip="a_b",sensor="temp1"} 40
        node_hwmon_temp_celsius{chip="a_b",sensor="temp2"} 42
        # node_hwmon_temp_input_celsius gauge
        node_hwmon_temp_input_celsius{chip="a_b",sensor="temp1"} 41
    "##]]
    .assert_eq(&page(&memory, &[]));
}

/// Where there is one chip a device, its name says nothing of the driver.
#[test]
fn chips_of_one_device_have_names_of_their_own() {
    let memory = host(&[
        ("platform/laptop/hwmon/hwmon0/name", "laptop"),
        ("platform/laptop/hwmon/hwmon0/fan1_input", "1"),
        ("platform/laptop/hwmon/hwmon1/name", "laptop_sensors"),
        ("platform/laptop/hwmon/hwmon1/fan1_input", "2"),
        ("platform/wifi/hwmon/hwmon2/name", "radio"),
        ("platform/wifi/hwmon/hwmon2/temp1_input", "3000"),
        ("platform/wifi/hwmon/hwmon3/name", "radio"),
        ("platform/wifi/hwmon/hwmon3/temp1_input", "4000"),
        ("platform/wifi/hwmon/hwmon4/temp1_input", "5000"),
        ("platform/one/hwmon/hwmon5/temp1_input", "6000"),
    ]);
    expect![[r##"
        # node_hwmon_chip_names gauge
        node_hwmon_chip_names{chip="platform_laptop_laptop",chip_name="laptop"} 1
        node_hwmon_chip_names{chip="platform_laptop_laptop_sensors",chip_name="laptop_sensors"} 1
        node_hwmon_chip_names{chip="platform_wifi_hwmon2",chip_name="radio"} 1
        node_hwmon_chip_names{chip="platform_wifi_hwmon3",chip_name="radio"} 1
        # node_hwmon_fan_rpm gauge
        node_hwmon_fan_rpm{chip="platform_laptop_laptop",sensor="fan1"} 1
        node_hwmon_fan_rpm{chip="platform_laptop_laptop_sensors",sensor="fan1"} 2
        # node_hwmon_temp_celsius gauge
        node_hwmon_temp_celsius{chip="platform_wifi_hwmon2",sensor="temp1"} 3
        node_hwmon_temp_celsius{chip="platform_wifi_hwmon3",sensor="temp1"} 4
        node_hwmon_temp_celsius{chip="platform_wifi_hwmon4",sensor="temp1"} 5
        node_hwmon_temp_celsius{chip="platform_one",sensor="temp1"} 6
    "##]]
    .assert_eq(&page(&memory, &[]));
}

#[test]
fn a_chip_without_a_device_has_its_own_name_or_that_of_its_directory() {
    let memory = MemoryHost::from_files(&[
        ("sys/class/hwmon/hwmon0/name", "Virtual.Chip\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "1000\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "2000\n"),
        ("sys/class/hwmon/hwmon2/name", "--\n"),
        ("sys/class/hwmon/hwmon2/temp1_input", "3000\n"),
    ]);
    expect![[r##"
        # node_hwmon_chip_names gauge
        node_hwmon_chip_names{chip="virtual_chip",chip_name="virtual_chip"} 1
        # node_hwmon_temp_celsius gauge
        node_hwmon_temp_celsius{chip="virtual_chip",sensor="temp1"} 1
        node_hwmon_temp_celsius{chip="hwmon1",sensor="temp1"} 2
        node_hwmon_temp_celsius{chip="hwmon2",sensor="temp1"} 3
    "##]]
    .assert_eq(&page(&memory, &[]));
}

#[test]
fn filters_take_chips_and_sensors() {
    let memory = host(&[
        ("platform/a/hwmon/hwmon0/name", "a"),
        ("platform/a/hwmon/hwmon0/temp1_input", "1000"),
        ("platform/a/hwmon/hwmon0/temp2_input", "2000"),
        ("platform/b/hwmon/hwmon1/temp1_input", "3000"),
    ]);
    let shown = |settings: &[(&str, Node)]| {
        let page = page(&memory, settings);
        let values = page.lines().filter(|line| line.contains("sensor="));
        values.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(&[]), "1 2 3");
    assert_eq!(shown(&[("chip_include", "_a$".into())]), "1 2");
    assert_eq!(shown(&[("chip_exclude", "_a$".into())]), "3");
    assert_eq!(shown(&[("sensor_include", "^platform_a;temp1$".into())]), "1");
    assert_eq!(shown(&[("sensor_exclude", ";temp1$".into())]), "2");
    assert_eq!(shown(&[("chip_include", "platform".into()), ("chip_exclude", "b".into())]), "1 2");
}

/// A sensor that sleeps says EAGAIN or ENODATA, a broken bus says EREMOTEIO; others are no numbers.
#[test]
fn what_has_no_value_now_is_left_out_alone() {
    let memory = host(BOARD);
    let mut collector = open::<Hwmon>(&memory.host(), &[]);
    let (whole, _) = run(&mut collector, None);
    let chip = "sys/devices/platform/nct6775.2592/hwmon/hwmon1";
    memory.fail(format!("{chip}/in0_input"), 11);
    memory.fail(format!("{chip}/temp10_input"), 61);
    memory.fail(format!("{chip}/curr1_input"), 121);
    memory.write(format!("{chip}/fan1_input"), "N/A\n");
    let (batch, outcome) = run(&mut collector, Some(&whole));
    outcome.unwrap();
    assert_eq!((whole.len() - batch.len(), batch.malformed()), (4, None));
}

/// A label that cannot be read takes the frequency with it, and is tried again at each run.
#[test]
fn labels_and_limits_are_read_again_in_turn() {
    let memory = host(BOARD);
    let chip = "sys/devices/platform/nct6775.2592/hwmon/hwmon1";
    for limit in 0..40 {
        memory.write(format!("{chip}/temp{}_max", 100 + limit), "1000\n");
    }
    memory.fail(format!("{chip}/freq1_label"), 13);
    let mut collector = open::<Hwmon>(&memory.host(), &[]);
    let (batch, _) = run(&mut collector, None);
    assert!(!render(&batch).contains("freq_mhz"));
    memory.write(format!("{chip}/freq1_label"), "MCLK\n");
    let (mut batch, _) = run(&mut collector, Some(&batch));
    assert!(render(&batch).contains("sensor=\"mclk\"} 1350"));
    memory.write(format!("{chip}/freq1_label"), "SCLK\n");
    for limit in 0..40 {
        memory.write(format!("{chip}/temp{}_max", 100 + limit), "2000\n");
    }
    let reads = memory.reads();
    for _ in 0..4 {
        memory.pass_time(Duration::from_secs(15));
        batch = run(&mut collector, Some(&batch)).0;
    }
    let page = render(&batch);
    assert!(page.contains("sensor=\"sclk\"} 1350"));
    let maxima = page.lines().filter(|line| line.starts_with("node_hwmon_temp_max_celsius{"));
    let changed = maxima.clone().filter(|line| line.ends_with(" 2")).count();
    assert_eq!((maxima.count(), changed), (40, 40));
    // Each of the 44 files that hardly change was read once, and in the 10 seconds of the next turn some twice.
    let slow = memory.reads() - reads - 4 * 21;
    assert!((44..=44 + 44 / 4).contains(&slow), "{slow}");
}

#[test]
fn chips_and_files_go_and_come() {
    let memory = host(&[
        ("platform/a/hwmon/hwmon0/name", "a"),
        ("platform/a/hwmon/hwmon0/temp1_input", "1000"),
        ("platform/b/hwmon/hwmon1/temp1_input", "3000"),
    ]);
    let mut collector = open::<Hwmon>(&memory.host(), &[]);
    let mut shown = || {
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        render(&batch)
    };
    assert_eq!(shown().lines().count(), 5);
    memory.write("sys/devices/platform/a/hwmon/hwmon0/temp1_max", "9000\n");
    assert!(
        shown().contains("node_hwmon_temp_max_celsius{chip=\"platform_a\",sensor=\"temp1\"} 9\n")
    );
    // Another device under the same name of the class.
    memory.remove("sys/class/hwmon/hwmon0");
    memory.write("sys/devices/platform/c/hwmon/hwmon0/temp1_input", "5000\n");
    memory.link("sys/devices/platform/c/hwmon/hwmon0/device", "../../../c");
    memory.link("sys/class/hwmon/hwmon0", "../../devices/platform/c/hwmon/hwmon0");
    let page = shown();
    assert!(page.contains("platform_c") && !page.contains("platform_a"), "{page}");
    memory.remove("sys/class/hwmon/hwmon0");
    memory.remove("sys/class/hwmon/hwmon1");
    assert_eq!(shown(), "");
}

#[test]
fn a_host_without_the_class_is_said() {
    check_fails::<Hwmon>(
        &MemoryHost::new().host(),
        &[],
        &expect!["sys/class/hwmon: not on this host"],
        &expect![""],
    );
}
