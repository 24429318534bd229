//! Thermal zones and cooling devices, from `/sys/class/thermal`
//! (Documentation/driver-api/thermal/sysfs-api.rst).

use vitald_core::prelude::*;

families! {
    /// The temperature of a thermal zone, in degrees Celsius.
    TEMPERATURE: gauge = "node_thermal_zone_temp" [zone, type];
    /// How much a cooling device cools now, from 0 to its maximum.
    CURRENT: gauge = "node_cooling_device_cur_state" [name, type];
    /// How much a cooling device can cool at most.
    MAXIMUM: gauge = "node_cooling_device_max_state" [name, type];
}

attributes! {
    Zone {
        TYPE: text = "type", slow;
        TEMPERATURE: i64 / 1000.0 = "temp";
    }
}

attributes! {
    CoolingDevice {
        TYPE: text = "type", slow;
        CURRENT: i64 = "cur_state";
        MAXIMUM: i64 = "max_state", slow;
    }
}

register_collector!(ThermalZone);

struct ThermalZone {
    zones: Walk<Zone>,
    devices: Walk<CoolingDevice>,
}

impl Collector for ThermalZone {
    about! {
        name: "thermal_zone",
        summary: "Temperatures of thermal zones, and what cools them",
        families: FAMILIES,
        sources: [
            "sys/class/thermal/thermal_zone*/type",
            "sys/class/thermal/thermal_zone*/temp",
            "sys/class/thermal/cooling_device*/type",
            "sys/class/thermal/cooling_device*/cur_state",
            "sys/class/thermal/cooling_device*/max_state",
        ],
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["type", "zone"],
        "Thermal zones",
        &[Curve::of("now", value("node_thermal_zone_temp"))],
    )];
    // The kernel asks a driver for each temperature and each state: firmware, chips on slow buses,
    // network cards.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::optional("sys/class/thermal"));
    const OWN_DESCRIPTORS: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(ThermalZone {
            zones: host.walk("sys/class/thermal/thermal_zone*"),
            devices: host.walk("sys/class/thermal/cooling_device*"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for zone in self.zones.optional()? {
            let labels = batch.labels([zone.star(0), zone.text(&Zone::TYPE)?]);
            zone.push(batch, &TEMPERATURE, labels, &Zone::TEMPERATURE)?;
        }
        for device in self.devices.optional()? {
            let labels = batch.labels([device.star(0), device.text(&CoolingDevice::TYPE)?]);
            device.push(batch, &CURRENT, labels, &CoolingDevice::CURRENT)?;
            device.push(batch, &MAXIMUM, labels, &CoolingDevice::MAXIMUM)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
            ("sys/class/thermal/thermal_zone0/temp", "49925\n"),
            ("sys/class/thermal/thermal_zone1/type", "iwlwifi_1\n"),
            ("sys/class/thermal/thermal_zone1/temp", "-1500\n"),
            ("sys/class/thermal/cooling_device0/type", "Processor\n"),
            ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
            ("sys/class/thermal/cooling_device0/max_state", "3\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<ThermalZone>(
            &memory().host(),
            &[],
            &expect![[r##"
                # node_cooling_device_cur_state gauge
                node_cooling_device_cur_state{name="0",type="Processor"} 0
                # node_cooling_device_max_state gauge
                node_cooling_device_max_state{name="0",type="Processor"} 3
                # node_thermal_zone_temp gauge
                node_thermal_zone_temp{zone="0",type="x86_pkg_temp"} 49.925
                node_thermal_zone_temp{zone="1",type="iwlwifi_1"} -1.5
            "##]],
        );
    }

    /// A wireless interface that is down has no temperature (ENODATA).
    #[test]
    fn a_zone_without_a_temperature_is_left_out() {
        let memory = memory();
        let mut collector = open::<ThermalZone>(&memory.host(), &[]);
        memory.fail("sys/class/thermal/thermal_zone1/temp", 61);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 3);
        memory.write("sys/class/thermal/thermal_zone1/temp", "38000");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 4);
    }

    #[test]
    fn a_host_without_the_class_has_no_series() {
        let (batch, outcome) = run(&mut open::<ThermalZone>(&MemoryHost::new().host(), &[]), None);
        outcome.unwrap();
        assert!(batch.is_empty());
    }
}
