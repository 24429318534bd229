//! Batteries and power adapters, from `/sys/class/power_supply`
//! (Documentation/ABI/testing/sysfs-class-power, Documentation/power/power_supply_class.rst).

use vitald_core::family::Family;
use vitald_core::host::attribute::{Number, Text};
use vitald_core::host::{Attribute, Child};
use vitald_core::prelude::*;

/// Declares each number as a family and as an attribute of the same name, and each text as an
/// attribute and as the label that has the file's name.
macro_rules! supply {
    (
        numbers {$(
            $(#[doc = $doc:literal])*
            $number:ident : $name:literal = i64 $(/ $divisor:literal)? $file:literal;
        )*}
        texts { $($text:ident : $label:literal;)* }
    ) => {
        families! {
            $($(#[doc = $doc])* $number: gauge = $name [power_supply];)*
            /// What a power supply is, one label for each thing that its driver says; always 1.
            INFO: gauge = "node_power_supply_info" [power_supply];
        }

        attributes! {
            Supply {
                $($number: i64 $(/ $divisor)? = $file, optional;)*
                $($text: text = $label, optional;)*
            }
        }

        const NUMBERS: &[(&Family<1>, &Attribute<Supply, Number>)] =
            &[$((&$number, &Supply::$number)),*];

        const TEXTS: &[(&str, &Attribute<Supply, Text>)] = &[$(($label, &Supply::$text)),*];
    };
}

// The kernel counts in millionths and tenths, and gives times in seconds.
supply! {
    numbers {
        /// Whether the supply is an authentic product of its maker.
        AUTHENTIC: "node_power_supply_authentic" = i64 "authentic";
        /// Whether the battery is being calibrated.
        CALIBRATE: "node_power_supply_calibrate" = i64 "calibrate";
        /// How full the battery is, in percent.
        CAPACITY: "node_power_supply_capacity" = i64 "capacity";
        /// How full the battery may be before the driver warns, in percent.
        CAPACITY_ALERT_MAX: "node_power_supply_capacity_alert_max" = i64 "capacity_alert_max";
        /// How empty the battery may be before the driver warns, in percent.
        CAPACITY_ALERT_MIN: "node_power_supply_capacity_alert_min" = i64 "capacity_alert_min";
        /// How often the battery has been charged fully.
        CYCLE_COUNT: "node_power_supply_cyclecount" = i64 "cycle_count";
        /// Whether the supply gives power: 1 at its fixed voltage, 2 at one that it can choose.
        ONLINE: "node_power_supply_online" = i64 "online";
        /// Whether the battery is there.
        PRESENT: "node_power_supply_present" = i64 "present";
        /// How long the battery lasts at the present load.
        TIME_TO_EMPTY_NOW: "node_power_supply_time_to_empty_seconds" = i64 "time_to_empty_now";
        /// How long the battery takes to be full.
        TIME_TO_FULL_NOW: "node_power_supply_time_to_full_seconds" = i64 "time_to_full_now";
        /// The current when the host booted, in amperes.
        CURRENT_BOOT: "node_power_supply_current_boot" = i64 / 1e6 "current_boot";
        /// The most current that the supply can give or take, in amperes.
        CURRENT_MAX: "node_power_supply_current_max" = i64 / 1e6 "current_max";
        /// The current now; below zero while a battery is discharged, if its driver says so.
        CURRENT_NOW: "node_power_supply_current_ampere" = i64 / 1e6 "current_now";
        /// The energy of the battery when it counts as empty, in watt hours.
        ENERGY_EMPTY: "node_power_supply_energy_empty" = i64 / 1e6 "energy_empty";
        /// The energy at which the battery counts as empty by design, in watt hours.
        ENERGY_EMPTY_DESIGN: "node_power_supply_energy_empty_design" = i64 / 1e6 "energy_empty_design";
        /// The energy of the battery when it was last full, in watt hours.
        ENERGY_FULL: "node_power_supply_energy_full" = i64 / 1e6 "energy_full";
        /// The energy of the battery when it is full by design, in watt hours.
        ENERGY_FULL_DESIGN: "node_power_supply_energy_full_design" = i64 / 1e6 "energy_full_design";
        /// The energy of the battery now, in watt hours.
        ENERGY_NOW: "node_power_supply_energy_watthour" = i64 / 1e6 "energy_now";
        /// The voltage when the host booted, in volts.
        VOLTAGE_BOOT: "node_power_supply_voltage_boot" = i64 / 1e6 "voltage_boot";
        /// The highest voltage that was measured or is allowed, in volts.
        VOLTAGE_MAX: "node_power_supply_voltage_max" = i64 / 1e6 "voltage_max";
        /// The highest voltage by design, in volts.
        VOLTAGE_MAX_DESIGN: "node_power_supply_voltage_max_design" = i64 / 1e6 "voltage_max_design";
        /// The lowest voltage that was measured or is allowed, in volts.
        VOLTAGE_MIN: "node_power_supply_voltage_min" = i64 / 1e6 "voltage_min";
        /// The lowest voltage by design, in volts.
        VOLTAGE_MIN_DESIGN: "node_power_supply_voltage_min_design" = i64 / 1e6 "voltage_min_design";
        /// The voltage now.
        VOLTAGE_NOW: "node_power_supply_voltage_volt" = i64 / 1e6 "voltage_now";
        /// The voltage of the battery without a load, in volts.
        VOLTAGE_OCV: "node_power_supply_voltage_ocv" = i64 / 1e6 "voltage_ocv";
        /// The current that charging is throttled to, in amperes.
        CHARGE_CONTROL_LIMIT: "node_power_supply_charge_control_limit" = i64 / 1e6 "charge_control_limit";
        /// The largest current that charging can be throttled to, in amperes.
        CHARGE_CONTROL_LIMIT_MAX: "node_power_supply_charge_control_limit_max" = i64 / 1e6 "charge_control_limit_max";
        /// What the charge counter of the battery says, in ampere hours.
        CHARGE_COUNTER: "node_power_supply_charge_counter" = i64 / 1e6 "charge_counter";
        /// The charge of the battery when it counts as empty, in ampere hours.
        CHARGE_EMPTY: "node_power_supply_charge_empty" = i64 / 1e6 "charge_empty";
        /// The charge at which the battery counts as empty by design, in ampere hours.
        CHARGE_EMPTY_DESIGN: "node_power_supply_charge_empty_design" = i64 / 1e6 "charge_empty_design";
        /// The charge of the battery when it was last full, in ampere hours.
        CHARGE_FULL: "node_power_supply_charge_full" = i64 / 1e6 "charge_full";
        /// The charge of the battery when it is full by design, in ampere hours.
        CHARGE_FULL_DESIGN: "node_power_supply_charge_full_design" = i64 / 1e6 "charge_full_design";
        /// The charge of the battery now, in ampere hours.
        CHARGE_NOW: "node_power_supply_charge_ampere" = i64 / 1e6 "charge_now";
        /// The current below which charging ends, in amperes.
        CHARGE_TERM_CURRENT: "node_power_supply_charge_term_current" = i64 / 1e6 "charge_term_current";
        /// The constant current that the battery is charged with, in amperes.
        CONSTANT_CHARGE_CURRENT: "node_power_supply_constant_charge_current" = i64 / 1e6 "constant_charge_current";
        /// The largest constant current to charge the battery with, in amperes.
        CONSTANT_CHARGE_CURRENT_MAX: "node_power_supply_constant_charge_current_max" = i64 / 1e6 "constant_charge_current_max";
        /// The constant voltage that the battery is charged with, in volts.
        CONSTANT_CHARGE_VOLTAGE: "node_power_supply_constant_charge_voltage" = i64 / 1e6 "constant_charge_voltage";
        /// The highest constant voltage to charge the battery with, in volts.
        CONSTANT_CHARGE_VOLTAGE_MAX: "node_power_supply_constant_charge_voltage_max" = i64 / 1e6 "constant_charge_voltage_max";
        /// The current that a nearly empty battery is charged with at first, in amperes.
        PRECHARGE_CURRENT: "node_power_supply_precharge_current" = i64 / 1e6 "precharge_current";
        /// The most current that is taken from the supply, in amperes.
        INPUT_CURRENT_LIMIT: "node_power_supply_input_current_limit" = i64 / 1e6 "input_current_limit";
        /// The power that the supply gives or takes now.
        POWER_NOW: "node_power_supply_power_watt" = i64 / 1e6 "power_now";
        /// The temperature of the supply.
        TEMP: "node_power_supply_temp_celsius" = i64 / 10.0 "temp";
        /// The temperature above which the driver warns.
        TEMP_ALERT_MAX: "node_power_supply_temp_alert_max_celsius" = i64 / 10.0 "temp_alert_max";
        /// The temperature below which the driver warns.
        TEMP_ALERT_MIN: "node_power_supply_temp_alert_min_celsius" = i64 / 10.0 "temp_alert_min";
        /// The temperature around the supply.
        TEMP_AMBIENT: "node_power_supply_temp_ambient_celsius" = i64 / 10.0 "temp_ambient";
        /// The temperature around the supply above which the driver warns.
        TEMP_AMBIENT_MAX: "node_power_supply_temp_ambient_max_celsius" = i64 / 10.0 "temp_ambient_max";
        /// The temperature around the supply below which the driver warns.
        TEMP_AMBIENT_MIN: "node_power_supply_temp_ambient_min_celsius" = i64 / 10.0 "temp_ambient_min";
        /// The highest temperature that the supply may have.
        TEMP_MAX: "node_power_supply_temp_max_celsius" = i64 / 10.0 "temp_max";
        /// The lowest temperature that the supply may have.
        TEMP_MIN: "node_power_supply_temp_min_celsius" = i64 / 10.0 "temp_min";
    }
    texts {
        CAPACITY_LEVEL: "capacity_level";
        CHARGE_TYPE: "charge_type";
        HEALTH: "health";
        MANUFACTURER: "manufacturer";
        MODEL_NAME: "model_name";
        SERIAL_NUMBER: "serial_number";
        STATUS: "status";
        TECHNOLOGY: "technology";
        TYPE: "type";
        USB_TYPE: "usb_type";
        SCOPE: "scope";
    }
}

settings! {
    /// Power supplies to leave out, by name.
    ignored_supplies: Pattern = "^$";
}

register_collector!(Supplies);

struct Supplies(Walk<Supply>);

impl Collector for Supplies {
    about! {
        name: "powersupplyclass",
        summary: "Batteries and power adapters",
        families: FAMILIES,
        sources: ["sys/class/power_supply/*/*"],
        settings: Settings,
    }
    // Drivers ask the firmware or the battery itself, some over a slow bus.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/power_supply"));
    const OWN_DESCRIPTORS: bool = true;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let walk = host.walk("sys/class/power_supply/*");
        Ok(Supplies(walk.only(0, move |name| !settings.ignored_supplies.matches(name))))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for supply in self.0.refresh()? {
            let labels = batch.labels([supply.name(0)]);
            for (family, attribute) in NUMBERS {
                supply.push(batch, family, labels, attribute)?;
            }
            push_info(batch, &supply)?;
        }
        Ok(())
    }
}

/// Pushes the texts that are there.
fn push_info(batch: &mut Batch, supply: &Child<'_, Supply>) -> Result<()> {
    let mut pairs = [(&b""[..], &b""[..]); TEXTS.len() + 1];
    pairs[0] = (b"power_supply", supply.name(0));
    let mut count = 1;
    for (label, attribute) in TEXTS {
        let text = supply.text(attribute)?;
        if !text.is_empty() {
            pairs[count] = (label.as_bytes(), text);
            count += 1;
        }
    }
    let labels = batch.label_pairs(&pairs[..count]);
    batch.push_pairs(&INFO, labels, 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("sys/class/power_supply/ADP1/online", "1\n"),
            ("sys/class/power_supply/ADP1/type", "Mains\n"),
            ("sys/class/power_supply/BAT1/capacity", "57\n"),
            ("sys/class/power_supply/BAT1/charge_now", "2310000\n"),
            ("sys/class/power_supply/BAT1/current_now", "-812000\n"),
            ("sys/class/power_supply/BAT1/health", "\n"),
            ("sys/class/power_supply/BAT1/manufacturer", "SMP \n"),
            ("sys/class/power_supply/BAT1/temp", "285\n"),
            ("sys/class/power_supply/BAT1/time_to_empty_now", "5400\n"),
            ("sys/class/power_supply/BAT1/type", "Battery\n"),
            ("sys/class/power_supply/BAT1/uevent", "POWER_SUPPLY_NAME=BAT1\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<Supplies>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_power_supply_capacity gauge
                node_power_supply_capacity{power_supply="BAT1"} 57
                # node_power_supply_charge_ampere gauge
                node_power_supply_charge_ampere{power_supply="BAT1"} 2.31
                # node_power_supply_current_ampere gauge
                node_power_supply_current_ampere{power_supply="BAT1"} -0.812
                # node_power_supply_info gauge
                node_power_supply_info{power_supply="ADP1",type="Mains"} 1
                node_power_supply_info{power_supply="BAT1",manufacturer="SMP",type="Battery"} 1
                # node_power_supply_online gauge
                node_power_supply_online{power_supply="ADP1"} 1
                # node_power_supply_temp_celsius gauge
                node_power_supply_temp_celsius{power_supply="BAT1"} 28.5
                # node_power_supply_time_to_empty_seconds gauge
                node_power_supply_time_to_empty_seconds{power_supply="BAT1"} 5400
            "#]],
        );
    }

    #[test]
    fn a_pattern_leaves_supplies_out() {
        let shown = |pattern: &str| {
            let settings = [("ignored_supplies", pattern.into())];
            run(&mut open::<Supplies>(&memory().host(), &settings), None).0.len()
        };
        assert_eq!(shown("^$"), 8);
        assert_eq!(shown("^BAT"), 2);
        // Every name has an empty text in it.
        assert_eq!(shown(""), 0);
    }

    /// A driver without a value now says ENODATA, EINVAL or ENODEV, by its age.
    #[test]
    fn what_has_no_value_now_is_left_out_alone() {
        let memory = memory();
        let mut collector = open::<Supplies>(&memory.host(), &[]);
        for errno in [13, 19, 22, 61, 95] {
            memory.fail("sys/class/power_supply/BAT1/current_now", errno);
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert_eq!(batch.len(), 7, "{errno}");
        }
        memory.write("sys/class/power_supply/BAT1/current_now", "0\n");
        memory.write("sys/class/power_supply/BAT1/temp", "warm\n");
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (7, Some(1)));
    }

    #[test]
    fn a_supply_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Supplies>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove("sys/class/power_supply/BAT1");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(batch.len(), 2);
        memory.write("sys/class/power_supply/hidpp_battery_0/scope", "Device\n");
        expect![[r#"
            # node_power_supply_info gauge
            node_power_supply_info{power_supply="ADP1",type="Mains"} 1
            node_power_supply_info{power_supply="hidpp_battery_0",scope="Device"} 1
            # node_power_supply_online gauge
            node_power_supply_online{power_supply="ADP1"} 1
        "#]]
        .assert_eq(&render(&run(&mut collector, Some(&batch)).0));
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<Supplies>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/power_supply: not on this host"],
            &expect![""],
        );
    }
}
