//! What the NFS server did, from `/proc/net/rpc/nfsd` (fs/nfsd/stats.c, `svc_seq_show` in net/sunrpc/stats.c).

use super::nfs_statistics::{PROCEDURES_2, PROCEDURES_3, calls, expect_calls, numbers};
use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

families! {
    /// Calls whose answer was still known, because the client had sent them again.
    REPEATED: counter = "node_nfsd_reply_cache_hits_total" since(Boot);
    /// Calls whose answer was kept, because it must not be made twice.
    KEPT: counter = "node_nfsd_reply_cache_misses_total" since(Boot);
    /// Calls whose answer was not kept, because they may be repeated.
    NOT_KEPT: counter = "node_nfsd_reply_cache_nocache_total" since(Boot);
    /// Handles that clients had of files that are gone.
    STALE: counter = "node_nfsd_file_handles_stale_total" since(Boot);
    /// Bytes read from files.
    READ: counter = "node_nfsd_disk_bytes_read_total" since(Boot);
    /// Bytes written to files.
    WRITTEN: counter = "node_nfsd_disk_bytes_written_total" since(Boot);
    /// Threads of the server.
    THREADS: gauge = "node_nfsd_server_threads";
    /// The size of the cache for reading ahead, which newer kernels do not have.
    READ_AHEAD_SIZE: gauge = "node_nfsd_read_ahead_cache_size_blocks";
    /// Files that were not in the cache for reading ahead.
    READ_AHEAD_MISSES: counter = "node_nfsd_read_ahead_cache_not_found_total" since(Boot);
    /// Packets received; of a connection each call is one.
    PACKETS: counter = "node_nfsd_packets_total" [proto] since(Boot);
    /// Connections by TCP that clients made.
    CONNECTIONS: counter = "node_nfsd_connections_total" since(Boot);
    /// Calls that were refused: with a wrong format, without a right to it, or by an unknown client.
    ERRORS: counter = "node_nfsd_rpc_errors_total" [error] since(Boot);
    /// Calls of clients.
    CALLS: counter = "node_nfsd_server_rpcs_total" since(Boot);
    /// Calls of each procedure; `proto` is the version of NFS. Of version 4 they are the operations in calls.
    REQUESTS: counter = "node_nfsd_requests_total" [proto, method] since(Boot);
}

/// The operations of version 4 by their numbers (RFC 7530), as node_exporter names them; it does not
/// show those without a name here. Those of later versions have higher numbers.
const OPERATIONS: [&str; 40] = [
    "",
    "",
    "",
    "Access",
    "Close",
    "Commit",
    "Create",
    "DelegPurge",
    "DelegReturn",
    "GetAttr",
    "GetFH",
    "Link",
    "Lock",
    "Lockt",
    "Locku",
    "Lookup",
    "LookupRoot",
    "Nverify",
    "Open",
    "OpenAttr",
    "OpenConfirm",
    "OpenDgrd",
    "PutFH",
    "",
    "",
    "Read",
    "ReadDir",
    "ReadLink",
    "Remove",
    "Rename",
    "Renew",
    "RestoreFH",
    "SaveFH",
    "SecInfo",
    "SetAttr",
    "SetClientID",
    "SetClientIDConfirm",
    "Verify",
    "Write",
    "RelLockOwner",
];

register_collector!(Nfsd);

struct Nfsd {
    file: KeptFile,
    /// The file comes with a module.
    events: DeviceEvents,
}

impl Collector for Nfsd {
    about! {
        name: "nfsd",
        summary: "What the NFS server did",
        families: FAMILIES,
        sources: ["proc/net/rpc/nfsd", "sys/kernel/uevent_seqnum"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        let file = host.keep_whole("proc/net/rpc/nfsd");
        Ok(Nfsd { file, events: host.device_events() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        self.file.under(number).parse(|text| {
            expect_calls(text)?;
            push_server(text, batch);
            push_transport(text, batch);
            // Procedure 0 does nothing, and node_exporter does not show it.
            push(batch, b"2", &PROCEDURES_2, calls(text, b"proc2", 18));
            push(batch, b"3", &PROCEDURES_3, calls(text, b"proc3", 22));
            push(batch, b"4", &OPERATIONS, calls(text, b"proc4ops", 39));
            if let Some([calls]) = batch.tolerate(numbers(text, b"wdeleg_getattr")) {
                batch.row(&REQUESTS, [b"4", b"WdelegGetattr"], calls);
            }
            Ok(())
        })
    }
}

/// What `nfsd_show` of fs/nfsd/stats.c says of itself.
fn push_server(text: &[u8], batch: &mut Batch) {
    if let Some([repeated, kept, not_kept]) = batch.tolerate(numbers(text, b"rc")) {
        batch.value(&REPEATED, repeated);
        batch.value(&KEPT, kept);
        batch.value(&NOT_KEPT, not_kept);
    }
    if let Some([stale]) = batch.tolerate(numbers(text, b"fh")) {
        batch.value(&STALE, stale);
    }
    if let Some([read, written]) = batch.tolerate(numbers(text, b"io")) {
        batch.value(&READ, read);
        batch.value(&WRITTEN, written);
    }
    if let Some([threads]) = batch.tolerate(numbers(text, b"th")) {
        batch.value(&THREADS, threads);
    }
    // Between the two are ten tenths of the cache, and how deep in each a file was found.
    if let Some([size, .., misses]) = batch.tolerate(numbers::<12>(text, b"ra")) {
        batch.value(&READ_AHEAD_SIZE, size);
        batch.value(&READ_AHEAD_MISSES, misses);
    }
}

/// What the layer below says, which other services have, too.
fn push_transport(text: &[u8], batch: &mut Batch) {
    if let Some([_, udp, tcp, connections]) = batch.tolerate(numbers(text, b"net")) {
        batch.row(&PACKETS, [b"udp"], udp);
        batch.row(&PACKETS, [b"tcp"], tcp);
        batch.value(&CONNECTIONS, connections);
    }
    // The second number is the sum of those that follow.
    if let Some([calls, _, format, right, client]) = batch.tolerate(numbers(text, b"rpc")) {
        batch.row(&ERRORS, [b"fmt"], format);
        batch.row(&ERRORS, [b"auth"], right);
        batch.row(&ERRORS, [b"cInt"], client);
        batch.value(&CALLS, calls);
    }
}

fn push<const N: usize>(
    batch: &mut Batch,
    version: &[u8],
    procedures: &[&str; N],
    calls: Result<[u64; N], Malformed>,
) {
    let Some(calls) = batch.tolerate(calls) else { return };
    for (procedure, calls) in procedures.iter().zip(calls).skip(1) {
        if !procedure.is_empty() {
            batch.row(&REQUESTS, [version, procedure.as_bytes()], calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::run::Run;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/rpc/nfsd";

    /// Linux 6.12: no version 2, no reading ahead, 77 operations.
    fn text() -> String {
        let calls: Vec<String> = (100..177).map(|call| call.to_string()).collect();
        format!(
            "rc 4 1205 88310\nfh 2 0 0 0 0\nio 5368709120 73400320\n\
             th 16 0 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000\n\
             net 89519 55 89464 12\nrpc 89519 9 3 5 1\n\
             proc3 22 2 310 11 402 96 0 5210 88 3 1 0 0 2 0 1 0 0 41 7 4 2 19\n\
             proc4 2 6 83311\nproc4ops 77 {}\nwdeleg_getattr 3\n",
            calls.join(" ")
        )
    }

    fn page(text: &str) -> (Run, String) {
        let host = MemoryHost::from_files(&[(PATH, text)]);
        let (batch, outcome) = run(&mut open::<Nfsd>(&host.host(), &[]), None);
        outcome.unwrap();
        refuse_undeclared::<Nfsd>(&batch);
        let page = render(&batch);
        (batch, page)
    }

    #[test]
    fn counters() {
        let (batch, page) = page(&text());
        assert_eq!(batch.len(), 90);
        for line in [
            "node_nfsd_reply_cache_hits_total 4",
            "node_nfsd_reply_cache_misses_total 1205",
            "node_nfsd_reply_cache_nocache_total 88310",
            "node_nfsd_file_handles_stale_total 2",
            "node_nfsd_disk_bytes_read_total 5.36870912e+09",
            "node_nfsd_disk_bytes_written_total 7.340032e+07",
            "node_nfsd_server_threads 16",
            "node_nfsd_read_ahead_cache_size_blocks 0",
            "node_nfsd_read_ahead_cache_not_found_total 0",
            "node_nfsd_packets_total{proto=\"udp\"} 55",
            "node_nfsd_packets_total{proto=\"tcp\"} 89464",
            "node_nfsd_connections_total 12",
            "node_nfsd_rpc_errors_total{error=\"fmt\"} 3",
            "node_nfsd_rpc_errors_total{error=\"auth\"} 5",
            "node_nfsd_rpc_errors_total{error=\"cInt\"} 1",
            "node_nfsd_server_rpcs_total 89519",
            "node_nfsd_requests_total{proto=\"2\",method=\"FsStat\"} 0",
            "node_nfsd_requests_total{proto=\"3\",method=\"GetAttr\"} 310",
            "node_nfsd_requests_total{proto=\"3\",method=\"Commit\"} 19",
            "node_nfsd_requests_total{proto=\"4\",method=\"Access\"} 103",
            "node_nfsd_requests_total{proto=\"4\",method=\"Read\"} 125",
            "node_nfsd_requests_total{proto=\"4\",method=\"RelLockOwner\"} 139",
            "node_nfsd_requests_total{proto=\"4\",method=\"WdelegGetattr\"} 3",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
        assert!(!page.contains("Null") && !page.contains("method=\"\""), "{page}");
    }

    /// Linux 3.10 reads ahead, and has 40 operations with one of version 4 less.
    #[test]
    fn an_old_kernel() {
        let calls = vec!["1"; 39].join(" ");
        let text = format!("ra 128 5 0 0 0 0 0 0 0 0 0 7\nrpc 1 0 0 0 0\nproc4ops 39 {calls}\n");
        let (batch, page) = page(&text);
        assert_eq!((batch.len(), batch.malformed()), (90, None));
        assert!(page.contains("read_ahead_cache_size_blocks 128\n"), "{page}");
        assert!(page.contains("read_ahead_cache_not_found_total 7\n"), "{page}");
        assert!(page.contains("method=\"Write\"} 1\n"), "{page}");
        assert!(page.contains("method=\"RelLockOwner\"} 0\n"), "{page}");
    }

    #[test]
    fn a_line_that_is_odd_costs_itself() {
        for (bad, lost) in [
            ("rc 1 2", 3),
            ("fh x", 1),
            ("io 1 -1", 2),
            ("th", 1),
            ("net 1 2 3", 3),
            ("rpc 1 2 3 4", 4),
            ("proc3 21 1", 21),
            ("proc4ops 38 1", 35),
            ("wdeleg_getattr ?", 1),
        ] {
            let word = bad.split(' ').next().unwrap();
            let text: String = text()
                .lines()
                .map(|line| if line.split(' ').next() == Some(word) { bad } else { line })
                .flat_map(|line| [line, "\n"])
                .collect();
            let (batch, _) = page(&text);
            assert_eq!(90 - batch.len(), lost, "{bad}");
            assert_eq!(batch.malformed().map(|(count, _)| count), Some(1), "{bad}");
        }
    }

    #[test]
    fn a_server_that_comes_and_goes() {
        let memory = MemoryHost::new();
        let mut collector = open::<Nfsd>(&memory.host(), &[]);
        assert!(matches!(run(&mut collector, None).1, Err(Error::Absent { .. })));
        memory.write(PATH, text());
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 90);
        memory.remove(PATH);
        assert!(run(&mut collector, Some(&batch)).1.is_err());
    }

    #[test]
    fn another_file_is_refused() {
        check_fails::<Nfsd>(
            &MemoryHost::from_files(&[(PATH, "net 1 2 3 4\n")]).host(),
            &[],
            &expect!["proc/net/rpc/nfsd: byte 12: expected a line that begins with rpc"],
            &expect![""],
        );
    }

    #[test]
    fn absent_is_said() {
        check_fails::<Nfsd>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/rpc/nfsd: not on this host"],
            &expect![""],
        );
    }
}
