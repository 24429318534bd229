//! Disks that the device mapper reaches over several paths, from `/sys/block/dm-*`
//! (Documentation/ABI/testing/sysfs-block-dm, Documentation/ABI/stable/sysfs-block).

use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// What a multipath device is; always 1.
    INFO: gauge = "node_dmmultipath_device_info" [device, sysfs_name, uuid];
    /// Whether a multipath device takes requests, and is not suspended.
    ACTIVE: gauge = "node_dmmultipath_device_active" [device, sysfs_name];
    /// The size of a multipath device.
    SIZE: gauge = "node_dmmultipath_device_size_bytes" [device, sysfs_name];
    /// Paths to a multipath device.
    PATHS: gauge = "node_dmmultipath_device_paths" [device, sysfs_name];
    /// Paths to a multipath device whose disks are `running` or `live`.
    ACTIVE_PATHS: gauge = "node_dmmultipath_device_paths_active" [device, sysfs_name];
    /// Paths to a multipath device whose disks are in another state.
    FAILED_PATHS: gauge = "node_dmmultipath_device_paths_failed" [device, sysfs_name];
    /// The state of the disk that is a path; always 1.
    STATE: gauge = "node_dmmultipath_path_state" [device, path, state];
}

attributes! {
    Device {
        UUID: text = "dm/uuid", slow;
        NAME: text = "dm/name";
        SUSPENDED: u64 = "dm/suspended", optional;
        SECTORS: u64 = "size", optional;
    }
}

attributes! {
    /// A disk below a device.
    Path {}
}

attributes! {
    Disk {
        STATE: text = "device/state", optional;
    }
}

register_collector!(Multipath);

struct Multipath {
    events: DeviceEvents,
    devices: Walk<Device>,
    paths: Walk<Path>,
    disks: Walk<Disk>,
}

impl Collector for Multipath {
    about! {
        name: "dmmultipath",
        summary: "Disks that are reached over several paths",
        families: FAMILIES,
        sources: [
            "sys/block/dm-*/dm/uuid",
            "sys/block/dm-*/dm/name",
            "sys/block/dm-*/dm/suspended",
            "sys/block/dm-*/size",
            "sys/block/*/device/state",
            "sys/kernel/uevent_seqnum",
        ],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Multipath {
            events: host.device_events(),
            devices: host.walk("sys/block/dm-*"),
            paths: host.walk("sys/block/dm-*/slaves/*"),
            disks: host.walk("sys/block/*").only(0, |name| !name.starts_with(b"dm-")),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Multipath { devices, paths, disks, events } = self;
        let number = events.number(batch.fresh_from());
        let is_multipath = |uuid: Result<&[u8]>| uuid.is_ok_and(|uuid| uuid.starts_with(b"mpath-"));
        let mut devices = devices
            .under_events(number)
            .refresh()?
            .filter(|one| is_multipath(one.text(&Device::UUID)));
        let Some(first) = devices.next() else { return Ok(()) };
        // Most hosts have none, and need not look further.
        let mut paths = paths.optional()?.peekable();
        disks.refresh()?;
        let mut place = 0;
        for device in std::iter::once(first).chain(devices) {
            let (sysfs, name) = (device.name(0), device.text(&Device::NAME)?);
            batch.row(&INFO, [name, sysfs, device.text(&Device::UUID)?], 1);
            let labels = batch.labels([name, sysfs]);
            if let Some(suspended) = device.number(&Device::SUSPENDED, batch)? {
                batch.push(&ACTIVE, labels, suspended != 1.0);
            }
            if let Some(sectors) = device.number(&Device::SECTORS, batch)? {
                batch.push(&SIZE, labels, sectors * 512.0);
            }
            while paths.next_if(|path| path.name(0) < sysfs).is_some() {}
            let (mut all, mut active) = (0_u32, 0_u32);
            while let Some(path) = paths.next_if(|path| path.name(0) == sysfs) {
                let disk = disks.children().find_again(&[path.name(1)], &mut place);
                let state = disk.map(|disk| disk.text(&Disk::STATE)).transpose()?;
                let state = state.unwrap_or_default();
                all += 1;
                active += u32::from(state == b"running" || state == b"live");
                batch.row(&STATE, [name, path.name(1), state], 1);
            }
            let labels = batch.labels([name, sysfs]);
            batch.push(&PATHS, labels, all);
            batch.push(&ACTIVE_PATHS, labels, active);
            batch.push(&FAILED_PATHS, labels, all - active);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("sys/block/dm-0/dm/name", "vg0-root\n"),
            ("sys/block/dm-0/dm/uuid", "LVM-Ak5f\n"),
            ("sys/block/dm-0/dm/suspended", "0\n"),
            ("sys/block/dm-0/size", "8\n"),
            ("sys/block/dm-3/dm/name", "mpathb\n"),
            ("sys/block/dm-3/dm/uuid", "mpath-36001405a\n"),
            ("sys/block/dm-3/dm/suspended", "0\n"),
            ("sys/block/dm-3/size", "2097152\n"),
            ("sys/block/dm-4/dm/name", "array1\n"),
            ("sys/block/dm-4/dm/uuid", "mpath-uuid.9e71\n"),
            ("sys/block/dm-4/dm/suspended", "1\n"),
            ("sys/block/dm-4/size", "4\n"),
            ("sys/block/sdb/device/state", "running\n"),
            ("sys/block/sdc/device/state", "transport-offline\n"),
            ("sys/block/nvme1n1/device/state", "live\n"),
        ]);
        for (device, path) in
            [("dm-0", "sdb"), ("dm-3", "sdb"), ("dm-3", "sdc"), ("dm-4", "nvme1n1")]
        {
            memory.link(format!("sys/block/{device}/slaves/{path}"), format!("../../{path}"));
        }
        memory
    }

    #[test]
    fn golden() {
        check::<Multipath>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_dmmultipath_device_active gauge
            node_dmmultipath_device_active{device="mpathb",sysfs_name="dm-3"} 1
            node_dmmultipath_device_active{device="array1",sysfs_name="dm-4"} 0
            # node_dmmultipath_device_info gauge
            node_dmmultipath_device_info{device="mpathb",sysfs_name="dm-3",uuid="mpath-36001405a"} 1
            node_dmmultipath_device_info{device="array1",sysfs_name="dm-4",uuid="mpath-uuid.9e71"} 1
            # node_dmmultipath_device_paths gauge
            node_dmmultipath_device_paths{device="mpathb",sysfs_name="dm-3"} 2
            node_dmmultipath_device_paths{device="array1",sysfs_name="dm-4"} 1
            # node_dmmultipath_device_paths_active gauge
            node_dmmultipath_device_paths_active{device="mpathb",sysfs_name="dm-3"} 1
            node_dmmultipath_device_paths_active{device="array1",sysfs_name="dm-4"} 1
            # node_dmmultipath_device_paths_failed gauge
            node_dmmultipath_device_paths_failed{device="mpathb",sysfs_name="dm-3"} 1
            node_dmmultipath_device_paths_failed{device="array1",sysfs_name="dm-4"} 0
            # node_dmmultipath_device_size_bytes gauge
            node_dmmultipath_device_size_bytes{device="mpathb",sysfs_name="dm-3"} 1.073741824e+09
            node_dmmultipath_device_size_bytes{device="array1",sysfs_name="dm-4"} 2048
            # node_dmmultipath_path_state gauge
            node_dmmultipath_path_state{device="mpathb",path="sdb",state="running"} 1
            node_dmmultipath_path_state{device="mpathb",path="sdc",state="transport-offline"} 1
            node_dmmultipath_path_state{device="array1",path="nvme1n1",state="live"} 1
        "##]],
        );
    }

    /// Disks of other buses have no such state.
    #[test]
    fn what_is_not_known_is_left_out_alone() {
        let memory = memory();
        memory.link("sys/block/dm-4/slaves/vdc", "../../vdc");
        memory.write("sys/block/vdc/size", "4\n");
        memory.write("sys/block/dm-4/dm/suspended", "x\n");
        memory.fail("sys/block/dm-4/size", 13);
        let (batch, outcome) = run(&mut open::<Multipath>(&memory.host(), &[]), None);
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("path_state{device=\"array1\",path=\"vdc\",state=\"\"} 1"), "{page}");
        assert!(page.contains("paths_failed{device=\"array1\",sysfs_name=\"dm-4\"} 1"), "{page}");
        assert!(!page.contains("device_active{device=\"array1\""), "{page}");
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    }

    #[test]
    fn a_path_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Multipath>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove("sys/block/dm-3/slaves/sdc");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert!(render(&batch).contains("paths{device=\"mpathb\",sysfs_name=\"dm-3\"} 1\n"));
        memory.write("sys/block/sdx/device/state", "running\n");
        memory.link("sys/block/dm-3/slaves/sdx", "../../sdx");
        let page = render(&run(&mut collector, None).0);
        assert!(page.contains("paths_active{device=\"mpathb\",sysfs_name=\"dm-3\"} 2\n"), "{page}");
    }

    #[test]
    fn hosts_without_such_devices_have_no_series() {
        let memory = MemoryHost::from_files(&[
            ("sys/block/dm-0/dm/uuid", "LVM-1\n"),
            ("sys/block/dm-0/dm/name", "a\n"),
            ("sys/block/sda/device/state", "running\n"),
        ]);
        check::<Multipath>(&memory.host(), &[], &expect![""]);
        check_fails::<Multipath>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/block: not on this host"],
            &expect![""],
        );
    }
}
