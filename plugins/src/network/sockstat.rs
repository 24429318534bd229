//! Sockets in use by protocol, from `/proc/net/sockstat` and `/proc/net/sockstat6`
//! (proc_pid_net(5)).
//!
//! The kernel counts sockets in this process's network namespace, but their memory over the whole
//! host.

use vitald_core::family::is_metric_name;
use vitald_core::prelude::*;

families! {
    /// Sockets in use, of all protocols and families.
    SOCKETS_USED: gauge = "node_sockstat_sockets_used";
}

register_collector!(Sockstat);

struct Sockstat {
    ipv4: KeptFile,
    ipv6: KeptFile,
    page_size: i64,
}

impl Collector for Sockstat {
    about! {
        name: "sockstat",
        summary: "Sockets in use and their memory, by protocol",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_sockstat_*",
            kinds: &[Kind::Gauge],
            help: "Sockets of a protocol in a state, or their memory, by the protocol's name and the \
                   kernel's word for the state; `mem` is in pages, `mem_bytes` and `memory` in bytes.",
        }],
        sources: ["proc/net/sockstat", "proc/net/sockstat6"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Sockets",
        &[
            Curve::of("in use", value("node_sockstat_sockets_used")),
            Curve::of("TCP", value("node_sockstat_TCP_inuse")),
            Curve::of("TCP, closing", value("node_sockstat_TCP_tw")),
            Curve::of("TCP, memory", value("node_sockstat_TCP_mem_bytes")),
            Curve::of("UDP", value("node_sockstat_UDP_inuse")),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Sockstat {
            ipv4: host.keep_whole("proc/net/sockstat"),
            ipv6: host.keep_whole("proc/net/sockstat6"),
            page_size: i64::try_from(host.page_size()).unwrap_or(i64::MAX),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        // A kernel without IPv6, or one with nothing else, lacks one of the files.
        let ipv4 = self.ipv4.optional();
        let ipv6 = self.ipv6.optional();
        for line in lines(text_of(&ipv4)) {
            match batch.tolerate(parse_line(line)) {
                Some(Line::Sockets(used)) => batch.value(&SOCKETS_USED, used),
                Some(Line::Protocol(protocol)) => protocol.push(self.page_size, batch),
                None => {}
            }
        }
        for line in lines(text_of(&ipv6)) {
            if let Some(Line::Protocol(protocol)) = batch.tolerate(parse_line(line)) {
                protocol.push(self.page_size, batch);
            }
        }
        ipv4.and(ipv6).map(|_| ())
    }
}

/// A file that is absent or cannot be read has no lines, and costs none of the other one's.
fn text_of<'t>(read: &Result<Option<&'t [u8]>>) -> &'t [u8] {
    read.as_ref().ok().copied().flatten().unwrap_or_default()
}

/// One line of either file.
#[derive(Debug)]
enum Line<'a> {
    /// How many sockets are in use in all.
    Sockets(i64),
    Protocol(Protocol<'a>),
}

/// What the kernel says of one protocol; most of it is for few.
#[derive(Debug, Default)]
struct Protocol<'a> {
    name: &'a [u8],
    inuse: i64,
    orphan: Option<i64>,
    tw: Option<i64>,
    alloc: Option<i64>,
    /// In pages.
    mem: Option<i64>,
    /// In bytes.
    memory: Option<i64>,
}

impl Protocol<'_> {
    fn push(&self, page_size: i64, batch: &mut Batch) {
        let mem_bytes = self.mem.map(|pages| pages.saturating_mul(page_size));
        let states: [(&[u8], &[u8], Option<i64>); 7] = [
            (b"inuse", b" sockets in use.", Some(self.inuse)),
            (b"orphan", b" sockets that no process holds any more.", self.orphan),
            (b"tw", b" sockets in the state TIME_WAIT.", self.tw),
            (b"alloc", b" sockets that are allocated, in any state.", self.alloc),
            (b"mem", b" buffer memory, in pages.", self.mem),
            (b"memory", b" memory of incomplete packets, in bytes.", self.memory),
            (b"mem_bytes", b" buffer memory, in bytes.", mem_bytes),
        ];
        for (state, help, value) in states {
            if let Some(value) = value {
                let name: [&[u8]; 4] = [b"node_sockstat_", self.name, b"_", state];
                batch.named_value(&name, Kind::Gauge, &[self.name, help], value);
            }
        }
    }
}

/// Takes the name and the pairs of `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 297`; a key that is not
/// known is left out.
fn parse_line(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let mut fields = Fields::new(line);
    let name = fields.text()?;
    let name = name.strip_suffix(b":").unwrap_or(name);
    if !is_metric_name(name) {
        return Err(Malformed::new(0, "the name of a protocol"));
    }
    let mut protocol = Protocol { name, ..Protocol::default() };
    let mut used = 0;
    loop {
        let key = fields.text()?;
        let value = fields.i64()?;
        match key {
            b"used" => used = value,
            b"inuse" => protocol.inuse = value,
            b"orphan" => protocol.orphan = Some(value),
            b"tw" => protocol.tw = Some(value),
            b"alloc" => protocol.alloc = Some(value),
            b"mem" => protocol.mem = Some(value),
            b"memory" => protocol.memory = Some(value),
            _ => {}
        }
        if fields.rest().is_empty() {
            break;
        }
    }
    Ok(if name == b"sockets" { Line::Sockets(used) } else { Line::Protocol(protocol) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const IPV4: &str = "proc/net/sockstat";
    const IPV6: &str = "proc/net/sockstat6";

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[
            (
                IPV4,
                "sockets: used 16\n\
                 TCP: inuse 1 orphan 2 tw 3 alloc 4 mem 297\n\
                 UDP: inuse 5 mem 6\n\
                 UDPLITE: inuse 0\n\
                 RAW: inuse 0\n\
                 FRAG: inuse 7 memory 4320\n",
            ),
            (IPV6, "TCP6: inuse 8\nFRAG6: inuse 0 memory 0\n"),
        ]);
        check::<Sockstat>(
            &host.host(),
            &[],
            &expect![[r#"
            # node_sockstat_FRAG6_inuse gauge
            node_sockstat_FRAG6_inuse 0
            # node_sockstat_FRAG6_memory gauge
            node_sockstat_FRAG6_memory 0
            # node_sockstat_FRAG_inuse gauge
            node_sockstat_FRAG_inuse 7
            # node_sockstat_FRAG_memory gauge
            node_sockstat_FRAG_memory 4320
            # node_sockstat_RAW_inuse gauge
            node_sockstat_RAW_inuse 0
            # node_sockstat_TCP6_inuse gauge
            node_sockstat_TCP6_inuse 8
            # node_sockstat_TCP_alloc gauge
            node_sockstat_TCP_alloc 4
            # node_sockstat_TCP_inuse gauge
            node_sockstat_TCP_inuse 1
            # node_sockstat_TCP_mem gauge
            node_sockstat_TCP_mem 297
            # node_sockstat_TCP_mem_bytes gauge
            node_sockstat_TCP_mem_bytes 1.216512e+06
            # node_sockstat_TCP_orphan gauge
            node_sockstat_TCP_orphan 2
            # node_sockstat_TCP_tw gauge
            node_sockstat_TCP_tw 3
            # node_sockstat_UDPLITE_inuse gauge
            node_sockstat_UDPLITE_inuse 0
            # node_sockstat_UDP_inuse gauge
            node_sockstat_UDP_inuse 5
            # node_sockstat_UDP_mem gauge
            node_sockstat_UDP_mem 6
            # node_sockstat_UDP_mem_bytes gauge
            node_sockstat_UDP_mem_bytes 24576
            # node_sockstat_sockets_used gauge
            node_sockstat_sockets_used 16
        "#]],
        );
    }

    #[test]
    fn either_file_may_be_absent() {
        let host = MemoryHost::from_files(&[(IPV4, "sockets: used 16\n")]);
        check::<Sockstat>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_sockstat_sockets_used gauge
                node_sockstat_sockets_used 16
            "#]],
        );
        let host = MemoryHost::from_files(&[(IPV6, "RAW6: inuse 1\n")]);
        check::<Sockstat>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_sockstat_RAW6_inuse gauge
                node_sockstat_RAW6_inuse 1
            "#]],
        );
        check::<Sockstat>(&MemoryHost::new().host(), &[], &expect![""]);
    }

    #[test]
    fn a_file_that_cannot_be_read_costs_no_other_one() {
        let memory = MemoryHost::from_files(&[(IPV4, "sockets: used 16\n")]);
        memory.fail(IPV6, 13);
        check_fails::<Sockstat>(
            &memory.host(),
            &[],
            &expect!["proc/net/sockstat6: Permission denied (os error 13)"],
            &expect![[r#"
                # node_sockstat_sockets_used gauge
                node_sockstat_sockets_used 16
            "#]],
        );
    }

    #[test]
    fn odd_lines_cost_only_themselves() {
        let host = MemoryHost::from_files(&[(
            IPV4,
            "TCP: inuse\nUDP: inuse 5 later 7\nRAW: inuse x\n\nSCTP:\nFRAG: memory 9\n",
        )]);
        let (batch, outcome) = run(&mut open::<Sockstat>(&host.host(), &[]), None);
        outcome.expect("odd lines are tolerated");
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(4));
        expect![[r#"
            # node_sockstat_FRAG_inuse gauge
            node_sockstat_FRAG_inuse 0
            # node_sockstat_FRAG_memory gauge
            node_sockstat_FRAG_memory 9
            # node_sockstat_UDP_inuse gauge
            node_sockstat_UDP_inuse 5
        "#]]
        .assert_eq(&render(&batch));
    }

    #[test]
    fn refuses_bad_lines() {
        rejects(
            parse_line,
            &["", "TCP:", "TCP: inuse", "TCP: inuse x", "T-P: inuse 1", ": inuse 1"],
        );
    }
}
