use super::*;
use vitald_core::run::Run;
use vitald_core::testing::*;

const STATISTICS: &str = "proc/self/mountstats";
const MOUNTS: &str = "proc/self/mountinfo";

const HEAD: &str = "device nas:/home mounted on /home with fstype nfs4 statvers=1.1\n";
const BODY: &str = "\topts:\trw,vers=4.2,proto=tcp,addr=1.2.3.4\n\
    \tage:\t86400\n\
    \tcaps:\tcaps=0xffffff\n\
    \tevents:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 \n\
    \tbytes:\t101 102 103 104 105 106 107 18446744073709551615 \n\
    \tRPC iostats version: 1.1  p/v: 100003/4 (nfs)\n\
    \txprt:\ttcp 832 2 3 9 11 701 702 4 705 5 24 26 5726\n\
    \txprt:\ttcp 833 0 1 0 9007199254740993 1 1 0 0 0 2 0 0\n\
    \tper-op statistics\n\
    \t        NULL: 1 1 0 44 24 0 2 2 0\n\
    \t        READ: 1298 1299 1 207680 1210292152 18446744073709551610 79386 79407 7\n\
    \t          68: 1 1 0 44 24 0 2 2\n\n";

const MOUNTINFO: &str = "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
    28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
    70 28 0:50 / /home rw,relatime shared:40 - nfs4 nas:/home rw,vers=4.2,clientaddr=10.0.0.9,addr=10.0.0.1\n";

fn statistics(nfs: &str) -> String {
    format!(
        "device sysfs mounted on /sys with fstype sysfs\n\
         device /dev/sda1 mounted on / with fstype ext4\n{nfs}"
    )
}

fn memory(nfs: &str) -> MemoryHost {
    MemoryHost::from_files(&[(STATISTICS, &statistics(nfs)), (MOUNTS, MOUNTINFO)])
}

fn page(memory: &MemoryHost) -> (Run, String) {
    let (batch, outcome) = run(&mut open::<Mountstats>(&memory.host(), &[]), None);
    outcome.unwrap();
    refuse_undeclared::<Mountstats>(&batch);
    let page = render(&batch);
    (batch, page)
}

/// The samples of a family without its labels of the mount.
fn samples(page: &str, family: &str) -> Vec<String> {
    let prefix = format!("node_mountstats_nfs_{family}{{");
    let of = |line: &str| line.strip_prefix(&prefix).map(|sample| sample.replace('"', ""));
    page.lines().filter_map(of).collect()
}

const LABELS: &str = "export=nas:/home,protocol=tcp,mountaddr=10.0.0.1";

#[test]
fn a_mount() {
    let (batch, page) = page(&memory(&format!("{HEAD}{BODY}")));
    assert_eq!((batch.len(), batch.malformed()), (2 + 8 + 26 + 2 * 10 + 3 * 8, None));
    let one = |family: &str| samples(&page, family).join(" ");
    for (family, value) in [
        ("age_seconds_total", "86400"),
        ("read_bytes_total", "101"),
        ("direct_write_bytes_total", "104"),
        ("write_pages_total", "1.8446744073709552e+19"),
        ("event_inode_revalidate_total", "1"),
        ("event_vfs_file_release_total", "18"),
        ("event_truncation_total", "20"),
        ("event_pnfs_write_total", "27"),
    ] {
        assert_eq!(one(family), format!("{LABELS}}} {value}"), "{family}");
    }
    assert_eq!(one("mountpoint_info"), format!("{LABELS},mountpoint=/home}} 1"));
    for (family, first, second) in [
        ("bind_total", "2", "0"),
        ("connect_total", "3", "1"),
        ("idle_time_seconds", "11", "1"),
        ("sends_total", "701", "1"),
        ("receives_total", "702", "1"),
        ("bad_transaction_ids_total", "4", "0"),
        ("backlog_queue_total", "5", "0"),
        ("maximum_rpc_slots", "24", "2"),
        ("sending_queue_total", "26", "0"),
        ("pending_queue_total", "5726", "0"),
    ] {
        let sample = |index, value| format!("{LABELS},transport={index}}} {value}");
        let both = [sample(0, first), sample(1, second)];
        assert_eq!(samples(&page, &format!("transport_{family}")), both, "{family}");
    }
    for (family, read) in [
        ("requests_total", "1298"),
        ("transmissions_total", "1299"),
        ("major_timeouts_total", "1"),
        ("sent_bytes_total", "207680"),
        ("received_bytes_total", "1.210292152e+09"),
        ("queue_time_seconds_total", "9.007199254740986e+12"),
        ("response_time_seconds_total", "79.386"),
        ("request_time_seconds_total", "79.407"),
    ] {
        let all = samples(&page, &format!("operations_{family}"));
        assert!(all.contains(&format!("{LABELS},operation=READ}} {read}")), "{family}: {all:?}");
    }
    assert!(page.contains("operation=\"68\"} 0.002\n"), "{page}");
}

/// Of a mount that is there twice the figures are those of the first.
#[test]
fn an_export_is_shown_once() {
    let again = HEAD.replace("/home with", "/srv/home with");
    let memory = memory(&format!("{HEAD}{BODY}{again}{}{HEAD}{BODY}", BODY.replace("86400", "7")));
    let line = MOUNTINFO.lines().last().unwrap();
    memory.write(
        MOUNTS,
        format!("{MOUNTINFO}{}\n{line}\n", line.replace(" /home rw", " /srv/home rw")),
    );
    let (batch, page) = page(&memory);
    assert_eq!(batch.len(), 80 + 1);
    assert_eq!(samples(&page, "age_seconds_total"), [format!("{LABELS}}} 86400")]);
    assert_eq!(samples(&page, "mountpoint_info").len(), 2);
    assert_eq!(batch.dropped().duplicates, 0);
}

#[test]
fn exports_differ_by_address_and_protocol() {
    let udp = BODY.replace("tcp 832 2 3 9 11", "udp 832 2").replace("\txprt:\ttcp 833", "\tx: ");
    let memory = memory(&format!("{HEAD}{BODY}{HEAD}{udp}{HEAD}{BODY}"));
    let line = MOUNTINFO.lines().last().unwrap();
    memory.write(MOUNTS, format!("{MOUNTINFO}{line}\n{}\n", line.replace("10.0.0.1", "fd00::1")));
    let (_, page) = page(&memory);
    let all = samples(&page, "transport_connect_total");
    let udp = "export=nas:/home,protocol=udp,mountaddr=10.0.0.1,transport=0} 0";
    let other = "export=nas:/home,protocol=tcp,mountaddr=fd00::1,transport=1} 1";
    assert!(all.iter().any(|sample| sample == udp), "{all:?}");
    assert!(all.iter().any(|sample| sample == other), "{all:?}");
    assert_eq!(all.len(), 5);
    assert_eq!(samples(&page, "transport_pending_queue_total").len(), 5);
}

/// The two files are not read at the same time, and the fake device without a name is in both.
#[test]
fn addresses_are_found_by_mount_point_too() {
    let memory = memory(&format!(
        "no device mounted on /x with fstype tmpfs\ndevice  mounted on /y with fstype tmpfs\n{HEAD}{BODY}{}{BODY}",
        HEAD.replace("/home", "/a\\040b")
    ));
    let mounts = "70 28 0:50 / /a\\040b rw - nfs4 nas:/a\\040b rw,addr=10.0.0.2,addr=10.0.0.3\n";
    memory.write(MOUNTS, format!("{MOUNTINFO}{mounts}"));
    let (batch, page) = page(&memory);
    assert_eq!(batch.malformed(), None);
    assert_eq!(
        samples(&page, "mountpoint_info"),
        [
            format!("{LABELS},mountpoint=/home}} 1"),
            "export=nas:/a\\\\040b,protocol=tcp,mountaddr=10.0.0.3,mountpoint=/a\\\\040b} 1".into()
        ]
    );
    memory.write(MOUNTS, mounts);
    assert!(self::page(&memory).1.contains("mountaddr=\"\",mountpoint=\"/home\"} 1"));
}

/// Linux 2.6.32: statistics of version 1.0, without pNFS, and by RDMA.
#[test]
fn other_kernels_and_protocols() {
    let old = "\tage:\t7\n\tevents:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25\n\
               \txprt:\ttcp 832 2 3 9 11 701 702 4 705 5\n\tper-op statistics\n";
    let (batch, old) = page(&memory(&format!("{}{old}", HEAD.replace("1.1", "1.0"))));
    assert_eq!(batch.malformed(), None);
    assert_eq!(samples(&old, "event_pnfs_write_total"), [format!("{LABELS}}} 0")]);
    assert_eq!(samples(&old, "total_read_bytes_total"), [format!("{LABELS}}} 0")]);
    assert_eq!(samples(&old, "transport_maximum_rpc_slots"), [format!("{LABELS},transport=0}} 0")]);
    let rdma =
        "\txprt:\trdma 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27\n";
    let (_, rdma) = page(&memory(&format!("{HEAD}{rdma}")));
    assert!(
        rdma.contains("protocol=\"rdma\",mountaddr=\"10.0.0.1\",transport=\"0\"} 9\n"),
        "{rdma}"
    );
    assert!(rdma.contains("maximum_rpc_slots{export=\"nas:/home\",protocol=\"rdma\",mountaddr=\"10.0.0.1\",transport=\"0\"} 0\n"));
    let (nothing, _) = page(&memory(&format!("{HEAD}\tage:\t7\n")));
    assert!(nothing.is_empty());
}

#[test]
fn an_odd_line_costs_itself() {
    let whole = format!("{HEAD}{BODY}");
    for (good, bad, lost) in [
        ("age:\t86400", "age:\t-1", 1),
        (" 27 \n", " x\n", 26),
        ("bytes:\t101", "bytes:\tx", 8),
        ("xprt:\ttcp 832 2", "xprt:\ttcp 832 x", 10),
        ("NULL: 1 1", "NULL: 1", 8),
        ("device nas:/home mounted", "device nas:/home amounted", 80),
    ] {
        // A line of an operation may have nine numbers, so that one less is odd only without the last.
        let text = whole.replace(" 0 2 2 0\n", " 0 2 2\n").replace(good, bad);
        let (batch, _) = page(&memory(&text));
        assert_eq!(80 - batch.len(), lost, "{bad}");
        let (count, malformed) = batch.malformed().unwrap();
        assert_eq!(count, 1, "{bad}");
        let text = statistics(&text);
        let start = text.find(bad).unwrap();
        assert!(
            (start..=start + bad.len() + 70).contains(&malformed.at),
            "{bad} at {}",
            malformed.at
        );
    }
}

#[test]
fn mounts_come_and_go() {
    let memory = memory("");
    let mut collector = open::<Mountstats>(&memory.host(), &[]);
    let (none, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert!(none.is_empty());
    memory.write(STATISTICS, statistics(&format!("{HEAD}{BODY}")));
    let (one, outcome) = run(&mut collector, Some(&none));
    outcome.unwrap();
    assert_eq!(one.len(), 80);
    memory.write(MOUNTS, MOUNTINFO.replace("=10.0.0.1", "=10.0.0.7"));
    assert!(render(&run(&mut collector, Some(&one)).0).contains("mountaddr=\"10.0.0.7\""));
    memory.write(STATISTICS, statistics(""));
    assert!(run(&mut collector, Some(&one)).0.is_empty());
}

#[test]
fn absence_is_said() {
    let mounts = MemoryHost::from_files(&[(MOUNTS, MOUNTINFO)]);
    let absent = expect!["proc/self/mountstats: not on this host"];
    check_fails::<Mountstats>(&mounts.host(), &[], &absent, &expect![""]);
    let statistics = MemoryHost::from_files(&[(STATISTICS, &statistics(""))]);
    let absent = expect!["proc/self/mountinfo: not on this host"];
    check_fails::<Mountstats>(&statistics.host(), &[], &absent, &expect![""]);
}
