//! Watchdog timers of the hardware, from `/sys/class/watchdog`
//! (Documentation/ABI/testing/sysfs-class-watchdog).

use vitald_core::prelude::*;

families! {
    /// What the watchdog found at the last boot, as bits: 32 says that it reset the host.
    BOOT_STATUS: gauge = "node_watchdog_bootstatus" [name];
    /// The version of the watchdog's firmware.
    FIRMWARE: gauge = "node_watchdog_fw_version" [name];
    /// Whether the watchdog cannot be stopped once it runs.
    NO_WAY_OUT: gauge = "node_watchdog_nowayout" [name];
    /// How much time is left until the watchdog resets the host.
    TIME_LEFT: gauge = "node_watchdog_timeleft_seconds" [name];
    /// How long the watchdog waits for a sign of life.
    TIMEOUT: gauge = "node_watchdog_timeout_seconds" [name];
    /// How long before the reset the watchdog warns.
    PRETIMEOUT: gauge = "node_watchdog_pretimeout_seconds" [name];
    /// Whether the watchdog made the host boot from its other flash chip.
    ACCESS_CS0: gauge = "node_watchdog_access_cs0" [name];
    /// What a watchdog is, and its state; always 1.
    INFO: gauge = "node_watchdog_info"
        [name, options, identity, state, status, pretimeout_governor];
}

attributes! {
    Watchdog {
        BOOT_STATUS: i64 = "bootstatus", optional;
        FIRMWARE: i64 = "fw_version", optional;
        NO_WAY_OUT: i64 = "nowayout", optional;
        TIME_LEFT: i64 = "timeleft", optional;
        TIMEOUT: i64 = "timeout", optional;
        PRETIMEOUT: i64 = "pretimeout", optional;
        ACCESS_CS0: i64 = "access_cs0", optional;
        OPTIONS: text = "options", optional;
        IDENTITY: text = "identity", optional, slow;
        STATE: text = "state", optional;
        STATUS: text = "status", optional;
        GOVERNOR: text = "pretimeout_governor", optional;
    }
}

register_collector!(Watchdogs);

struct Watchdogs(Walk<Watchdog>);

impl Collector for Watchdogs {
    about! {
        name: "watchdog",
        summary: "Watchdog timers that reset the host when it hangs",
        families: FAMILIES,
        sources: [
            "sys/class/watchdog/*/bootstatus",
            "sys/class/watchdog/*/fw_version",
            "sys/class/watchdog/*/nowayout",
            "sys/class/watchdog/*/timeleft",
            "sys/class/watchdog/*/timeout",
            "sys/class/watchdog/*/pretimeout",
            "sys/class/watchdog/*/access_cs0",
            "sys/class/watchdog/*/options",
            "sys/class/watchdog/*/identity",
            "sys/class/watchdog/*/state",
            "sys/class/watchdog/*/status",
            "sys/class/watchdog/*/pretimeout_governor",
        ],
    }
    // The kernel asks the driver for `timeleft`, which may be behind a slow bus, and takes the lock that
    // a sign of life to the hardware is given under.
    const MAY_BLOCK: bool = true;
    const DEVICES: Option<Devices> = Some(Devices::of("sys/class/watchdog"));
    const OWN_DESCRIPTORS: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Watchdogs(host.walk("sys/class/watchdog/*")))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for watchdog in self.0.refresh()? {
            let name = watchdog.name(0);
            let labels = batch.labels([name]);
            watchdog.push(batch, &BOOT_STATUS, labels, &Watchdog::BOOT_STATUS)?;
            watchdog.push(batch, &FIRMWARE, labels, &Watchdog::FIRMWARE)?;
            watchdog.push(batch, &NO_WAY_OUT, labels, &Watchdog::NO_WAY_OUT)?;
            watchdog.push(batch, &TIME_LEFT, labels, &Watchdog::TIME_LEFT)?;
            watchdog.push(batch, &TIMEOUT, labels, &Watchdog::TIMEOUT)?;
            watchdog.push(batch, &PRETIMEOUT, labels, &Watchdog::PRETIMEOUT)?;
            watchdog.push(batch, &ACCESS_CS0, labels, &Watchdog::ACCESS_CS0)?;
            let labels = [
                name,
                watchdog.text(&Watchdog::OPTIONS)?,
                watchdog.text(&Watchdog::IDENTITY)?,
                watchdog.text(&Watchdog::STATE)?,
                watchdog.text(&Watchdog::STATUS)?,
                watchdog.text(&Watchdog::GOVERNOR)?,
            ];
            batch.row(&INFO, labels, 1);
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
            ("sys/class/watchdog/watchdog0/bootstatus", "32\n"),
            ("sys/class/watchdog/watchdog0/fw_version", "0\n"),
            ("sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n"),
            ("sys/class/watchdog/watchdog0/nowayout", "0\n"),
            ("sys/class/watchdog/watchdog0/options", "0x8180\n"),
            ("sys/class/watchdog/watchdog0/pretimeout", "5\n"),
            ("sys/class/watchdog/watchdog0/pretimeout_governor", "panic\n"),
            ("sys/class/watchdog/watchdog0/state", "active\n"),
            ("sys/class/watchdog/watchdog0/status", "0x100\n"),
            ("sys/class/watchdog/watchdog0/timeleft", "28\n"),
            ("sys/class/watchdog/watchdog0/timeout", "30\n"),
            ("sys/class/watchdog/watchdog1/access_cs0", "1\n"),
            ("sys/class/watchdog/watchdog1/fw_version", "-1\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<Watchdogs>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_watchdog_access_cs0 gauge
                node_watchdog_access_cs0{name="watchdog1"} 1
                # node_watchdog_bootstatus gauge
                node_watchdog_bootstatus{name="watchdog0"} 32
                # node_watchdog_fw_version gauge
                node_watchdog_fw_version{name="watchdog0"} 0
                node_watchdog_fw_version{name="watchdog1"} -1
                # node_watchdog_info gauge
                node_watchdog_info{name="watchdog0",options="0x8180",identity="iTCO_wdt",state="active",status="0x100",pretimeout_governor="panic"} 1
                node_watchdog_info{name="watchdog1",options="",identity="",state="",status="",pretimeout_governor=""} 1
                # node_watchdog_nowayout gauge
                node_watchdog_nowayout{name="watchdog0"} 0
                # node_watchdog_pretimeout_seconds gauge
                node_watchdog_pretimeout_seconds{name="watchdog0"} 5
                # node_watchdog_timeleft_seconds gauge
                node_watchdog_timeleft_seconds{name="watchdog0"} 28
                # node_watchdog_timeout_seconds gauge
                node_watchdog_timeout_seconds{name="watchdog0"} 30
            "#]],
        );
    }

    #[test]
    fn what_is_no_number_or_forbidden_is_left_out_alone() {
        let memory = memory();
        memory.write("sys/class/watchdog/watchdog0/timeleft", "soon\n");
        memory.fail("sys/class/watchdog/watchdog0/timeout", 13);
        memory.fail("sys/class/watchdog/watchdog0/status", 13);
        let (batch, outcome) = run(&mut open::<Watchdogs>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 8);
        assert_eq!(batch.malformed(), Some((1, Malformed::new(0, "a number"))));
        assert!(render(&batch).contains("state=\"active\",status=\"\""));
    }

    #[test]
    fn a_watchdog_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Watchdogs>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove("sys/class/watchdog/watchdog0");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!((whole.len(), batch.len()), (10, 3));
        memory.write("sys/class/watchdog/watchdog0/timeout", "60\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 5);
    }

    /// The class is there with every kernel that has the core of the watchdogs, used or not.
    #[test]
    fn a_class_without_a_watchdog_is_no_error_and_none_at_all_is_said() {
        let memory = MemoryHost::new();
        memory.make_directory("sys/class/watchdog");
        check::<Watchdogs>(&memory.host(), &[], &expect![""]);
        check_fails::<Watchdogs>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/watchdog: not on this host"],
            &expect![""],
        );
    }
}
