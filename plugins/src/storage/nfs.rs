//! What the NFS client asked its servers, from `/proc/net/rpc/nfs` (`rpc_proc_show` in net/sunrpc/stats.c,
//! fs/nfs/nfs4xdr.c).

use super::nfs_statistics::{PROCEDURES_2, PROCEDURES_3, calls, expect_calls, numbers};
use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// Packets sent and received. The kernel stopped counting them long ago, and shows 0.
    PACKETS: counter = "node_nfs_packets_total" [protocol] since(Boot);
    /// Connections made by TCP. The kernel stopped counting them long ago, and shows 0.
    CONNECTIONS: counter = "node_nfs_connections_total" since(Boot);
    /// Calls to servers.
    CALLS: counter = "node_nfs_rpcs_total" since(Boot);
    /// Calls that were sent again.
    RETRANSMISSIONS: counter = "node_nfs_rpc_retransmissions_total" since(Boot);
    /// How often the credentials of a call were renewed.
    REFRESHES: counter = "node_nfs_rpc_authentication_refreshes_total" since(Boot);
    /// Calls of each procedure; `proto` is the version of NFS.
    REQUESTS: counter = "node_nfs_requests_total" [proto, method] since(Boot);
}

/// What the client may ask of a server of version 4, in the kernel's order, as node_exporter names it.
/// Newer kernels know more.
const PROCEDURES_4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "GetDeviceInfo",
    "LayoutGet",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

register_collector!(Nfs);

struct Nfs {
    file: KeptFile,
    /// The file comes with a module.
    events: DeviceEvents,
}

impl Collector for Nfs {
    about! {
        name: "nfs",
        summary: "What the NFS client asked its servers",
        families: FAMILIES,
        sources: ["proc/net/rpc/nfs", "sys/kernel/uevent_seqnum"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        let file = host.keep_whole("proc/net/rpc/nfs");
        Ok(Nfs { file, events: host.device_events() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        self.file.under(number).parse(|text| {
            expect_calls(text)?;
            if let Some([_, udp, tcp, connections]) = batch.tolerate(numbers(text, b"net")) {
                batch.row(&PACKETS, [b"udp"], udp);
                batch.row(&PACKETS, [b"tcp"], tcp);
                batch.value(&CONNECTIONS, connections);
            }
            if let Some([calls, retransmissions, refreshes]) = batch.tolerate(numbers(text, b"rpc"))
            {
                batch.value(&CALLS, calls);
                batch.value(&RETRANSMISSIONS, retransmissions);
                batch.value(&REFRESHES, refreshes);
            }
            push(batch, b"2", &PROCEDURES_2, calls(text, b"proc2", 18));
            push(batch, b"3", &PROCEDURES_3, calls(text, b"proc3", 22));
            push(batch, b"4", &PROCEDURES_4, calls(text, b"proc4", 0));
            Ok(())
        })
    }
}

fn push<const N: usize>(
    batch: &mut Batch,
    version: &[u8],
    procedures: &[&str; N],
    calls: Result<[u64; N], Malformed>,
) {
    let Some(calls) = batch.tolerate(calls) else { return };
    for (procedure, calls) in procedures.iter().zip(calls) {
        batch.row(&REQUESTS, [version, procedure.as_bytes()], calls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/rpc/nfs";

    /// Linux 6.12, which knows more procedures of version 4 than are shown, without version 2.
    fn text() -> String {
        let calls: Vec<String> = (1..=69).map(|call| call.to_string()).collect();
        format!(
            "net 0 0 0 0\nrpc 3917 12 3921\n\
             proc3 22 1 840 3 61 205 0 77 18446744073709551615 2 0 0 0 1 0 4 0 0 13 9 2 1 5\n\
             proc4 69 {}\n",
            calls.join(" ")
        )
    }

    fn page(text: &str) -> String {
        let host = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Nfs>(&host.host(), &[]), None);
        outcome.unwrap();
        refuse_undeclared::<Nfs>(&batch);
        render(&batch)
    }

    #[test]
    fn counters() {
        let page = page(&text());
        for line in [
            "node_nfs_packets_total{protocol=\"udp\"} 0",
            "node_nfs_connections_total 0",
            "node_nfs_rpcs_total 3917",
            "node_nfs_rpc_retransmissions_total 12",
            "node_nfs_rpc_authentication_refreshes_total 3921",
            "node_nfs_requests_total{proto=\"2\",method=\"GetAttr\"} 0",
            "node_nfs_requests_total{proto=\"3\",method=\"GetAttr\"} 840",
            "node_nfs_requests_total{proto=\"3\",method=\"Write\"} 1.8446744073709552e+19",
            "node_nfs_requests_total{proto=\"3\",method=\"Commit\"} 5",
            "node_nfs_requests_total{proto=\"4\",method=\"Null\"} 1",
            "node_nfs_requests_total{proto=\"4\",method=\"GetDeviceInfo\"} 45",
            "node_nfs_requests_total{proto=\"4\",method=\"Clone\"} 59",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
        assert_eq!(page.lines().filter(|line| !line.starts_with('#')).count(), 6 + 18 + 22 + 59);
    }

    /// Linux 2.6.32 knows 42 procedures of version 4.
    #[test]
    fn what_a_kernel_does_not_know_is_none() {
        let old = "net 0 0 0 0\nrpc 1 0 1\nproc4 3 7 8 9\n";
        let page = page(old);
        assert!(page.contains("{proto=\"4\",method=\"Write\"} 9\n"), "{page}");
        assert!(page.contains("{proto=\"4\",method=\"Clone\"} 0\n"), "{page}");
        assert!(page.contains("{proto=\"3\",method=\"Null\"} 0\n"), "{page}");
    }

    #[test]
    fn a_line_that_is_odd_costs_itself() {
        let whole = page(&text()).lines().filter(|line| !line.starts_with('#')).count();
        for (bad, lost) in
            [("net 0 0 x", 3), ("rpc 1 2", 3), ("proc3 21 1 2", 22), ("proc4 59 1", 59)]
        {
            let word = bad.split(' ').next().unwrap();
            let text: String = text()
                .lines()
                .map(|line| if line.starts_with(word) { bad } else { line })
                .flat_map(|line| [line, "\n"])
                .collect();
            let host = MemoryHost::from_files(&[(PATH, &text)]);
            let (batch, outcome) = run(&mut open::<Nfs>(&host.host(), &[]), None);
            outcome.unwrap();
            assert_eq!(whole - batch.len(), lost, "{bad}");
            assert_eq!(batch.malformed().map(|(count, _)| count), Some(1), "{bad}");
        }
    }

    /// The module is loaded at the first mount.
    #[test]
    fn a_client_that_comes_and_goes() {
        let memory = MemoryHost::new();
        let mut collector = open::<Nfs>(&memory.host(), &[]);
        assert!(matches!(run(&mut collector, None).1, Err(Error::Absent { .. })));
        memory.write(PATH, text());
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 105);
        memory.remove(PATH);
        let (batch, outcome) = run(&mut collector, Some(&batch));
        assert_eq!((batch.len(), outcome.is_err()), (0, true));
    }

    #[test]
    fn another_file_is_refused() {
        check_fails::<Nfs>(
            &MemoryHost::from_files(&[(PATH, "net 1 2 3 4\n")]).host(),
            &[],
            &expect!["proc/net/rpc/nfs: byte 12: expected a line that begins with rpc"],
            &expect![""],
        );
    }

    #[test]
    fn absent_is_said() {
        check_fails::<Nfs>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/rpc/nfs: not on this host"],
            &expect![""],
        );
    }
}
