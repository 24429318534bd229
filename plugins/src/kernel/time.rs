//! The host's clock, its time zone and the hardware that drives it, from
//! `/sys/devices/system/clocksource`.

use vitald_core::host::Zone;
use vitald_core::prelude::*;

families! {
    /// Time by the host's clock, in seconds since 1970-01-01 UTC.
    SECONDS: gauge = "node_time_seconds";
    /// How far the local time zone is east of UTC now, in seconds.
    ZONE_OFFSET: gauge = "node_time_zone_offset_seconds" [time_zone];
    /// Always 1; the labels name a clock source that the kernel could use.
    AVAILABLE: gauge = "node_time_clocksource_available_info" [device, clocksource];
    /// Always 1; the labels name the clock source that the kernel uses.
    CURRENT: gauge = "node_time_clocksource_current_info" [device, clocksource];
}

register_collector!(Time);

struct Time {
    host: Host,
    /// Read at the first collection and kept, as a process keeps its time zone.
    zone: Option<Zone>,
    devices: Walk<Device>,
}

attributes! {
    /// A clock source device, of which the kernel has one.
    Device {
        CURRENT: text = "current_clocksource";
        AVAILABLE: text = "available_clocksource";
    }
}

impl Collector for Time {
    about! {
        name: "time",
        summary: "The clock, its time zone and its source",
        families: FAMILIES,
        sources: [
            "clock_gettime",
            "/etc/localtime",
            "sys/devices/system/clocksource/clocksource*/current_clocksource",
            "sys/devices/system/clocksource/clocksource*/available_clocksource",
        ],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        // The kernel makes its device when it boots (`init_clocksource_sysfs` in
        // kernel/time/clocksource.c), so the directory is listed until it is found.
        let mut devices: Walk<Device> =
            host.walk("sys/devices/system/clocksource/clocksource*").only(0, is_device);
        devices.under(Some(0));
        Ok(Time { host: host.clone(), zone: None, devices })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let now = self.host.now();
        batch.value(&SECONDS, now.as_nanos() as f64 / 1e9);
        let zone = self.zone.get_or_insert_with(|| self.host.zone());
        let (name, offset) = zone.at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        batch.row(&ZONE_OFFSET, [name.as_bytes()], offset);
        self.push_clocksources(batch)
    }
}

impl Time {
    /// A host whose sysfs has no clock sources, or none that may be listed, shows none.
    fn push_clocksources(&mut self, batch: &mut Batch) -> Result<()> {
        let Ok(devices) = self.devices.optional() else { return Ok(()) };
        let mut room = [0; 20];
        for (position, device) in devices.enumerate() {
            let number = text::decimal(position as u64, &mut room);
            let current = device.text(&Device::CURRENT)?;
            for clocksource in Fields::new(device.text(&Device::AVAILABLE)?) {
                batch.row(&AVAILABLE, [number, clocksource], 1);
            }
            batch.row(&CURRENT, [number, current], 1);
        }
        Ok(())
    }
}

/// Whether it is named like `clocksource0`, unlike `power` and `uevent` beside it.
fn is_device(name: &[u8]) -> bool {
    name.strip_prefix(b"clocksource").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const DIRECTORY: &str = "sys/devices/system/clocksource";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            (
                "sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc kvm-clock \n",
            ),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
            ("sys/devices/system/clocksource/power/control", "auto\n"),
            ("sys/devices/system/clocksource/uevent", ""),
        ]);
        memory.set_now(Duration::new(1_795_414_926, 476_214_400));
        memory
    }

    #[test]
    fn golden() {
        check::<Time>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_time_clocksource_available_info gauge
            node_time_clocksource_available_info{device="0",clocksource="tsc"} 1
            node_time_clocksource_available_info{device="0",clocksource="kvm-clock"} 1
            # node_time_clocksource_current_info gauge
            node_time_clocksource_current_info{device="0",clocksource="tsc"} 1
            # node_time_seconds gauge
            node_time_seconds 1.7954149264762142e+09
            # node_time_zone_offset_seconds gauge
            node_time_zone_offset_seconds{time_zone="UTC"} 0
        "##]],
        );
    }

    /// A file of tzfile(5), version 1, with one time type and no changes.
    fn fixed_zone(name: &str, seconds: i32) -> Vec<u8> {
        let mut file = b"TZif".to_vec();
        file.extend([0; 16]);
        for count in [0, 0, 0, 0, 1, name.len() as u32 + 1] {
            file.extend(count.to_be_bytes());
        }
        file.extend(seconds.to_be_bytes());
        file.extend([0, 0]);
        file.extend(name.as_bytes());
        file.push(0);
        file
    }

    #[test]
    fn the_zone_is_the_local_one() {
        let memory = MemoryHost::new();
        memory.write("file:/etc/localtime", fixed_zone("EST", -18_000));
        check::<Time>(
            &memory.host(),
            &[],
            &expect![[r##"
            # node_time_seconds gauge
            node_time_seconds 1.7e+09
            # node_time_zone_offset_seconds gauge
            node_time_zone_offset_seconds{time_zone="EST"} -18000
        "##]],
        );
    }

    #[test]
    fn devices_are_numbered_in_order() {
        let memory = memory();
        memory.write(format!("{DIRECTORY}/clocksource1/available_clocksource"), "hpet\n");
        memory.write(format!("{DIRECTORY}/clocksource1/current_clocksource"), "hpet\n");
        let (batch, outcome) = run(&mut open::<Time>(&memory.host(), &[]), None);
        outcome.expect("both devices are read");
        let page = render(&batch);
        assert!(page.contains("current_info{device=\"0\",clocksource=\"tsc\"} 1"), "{page}");
        assert!(page.contains("current_info{device=\"1\",clocksource=\"hpet\"} 1"), "{page}");
    }

    #[test]
    fn an_unreadable_source_costs_no_more_than_its_own_samples() {
        let memory = memory();
        memory.fail(format!("{DIRECTORY}/clocksource0/available_clocksource"), 13);
        check_fails::<Time>(
            &memory.host(),
            &[],
            &expect![
                "sys/devices/system/clocksource/clocksource0/available_clocksource: Permission denied (os error 13)"
            ],
            &expect![[r##"
            # node_time_seconds gauge
            node_time_seconds 1.7954149264762142e+09
            # node_time_zone_offset_seconds gauge
            node_time_zone_offset_seconds{time_zone="UTC"} 0
        "##]],
        );
    }

    #[test]
    fn devices_are_looked_for_until_found_and_when_one_is_missed() {
        let memory = MemoryHost::new();
        let mut collector: Time = open(&memory.host(), &[]);
        let mut page = || {
            let (batch, outcome) = run(&mut collector, None);
            (render(&batch), outcome.is_ok())
        };
        assert!(page().1);
        memory.write(format!("{DIRECTORY}/clocksource0/available_clocksource"), "tsc\n");
        memory.write(format!("{DIRECTORY}/clocksource0/current_clocksource"), "tsc\n");
        assert!(page().0.contains("current_info{device=\"0\",clocksource=\"tsc\"} 1"));
        memory.write(format!("{DIRECTORY}/clocksource0/current_clocksource"), "hpet\n");
        assert!(page().0.contains("current_info{device=\"0\",clocksource=\"hpet\"} 1"));
        memory.remove(DIRECTORY);
        for _ in 0..2 {
            let (after, succeeds) = page();
            assert!(succeeds && !after.contains("clocksource"), "{after}");
        }
        memory.write(format!("{DIRECTORY}/clocksource1/available_clocksource"), "tsc\n");
        memory.write(format!("{DIRECTORY}/clocksource1/current_clocksource"), "tsc\n");
        assert!(page().0.contains("current_info{device=\"0\",clocksource=\"tsc\"} 1"));
    }

    #[test]
    fn devices_have_numbers() {
        assert!(is_device(b"clocksource0") && is_device(b"clocksource12"));
        assert!(!is_device(b"power") && !is_device(b"clocksource") && !is_device(b"clocksources"));
    }
}
