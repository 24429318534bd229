//! Statistics of the network protocols, from `/proc/net/netstat`, `/proc/net/snmp` and
//! `/proc/net/snmp6` (proc_pid_net(5)).
//!
//! The kernel names some five hundred fields and a host shows a few of them. Which ones is decided
//! when a name is first seen: a field whose name is where it was at the last collection needs no
//! regular expression and no copy.

use std::ops::Range;

use vitald_core::family::is_metric_name;
use vitald_core::prelude::*;

settings! {
    /// Which fields to show, by protocol and name with a `_` between, such as `Tcp_InSegs`.
    fields: Pattern = r"^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";
}

register_collector!(Netstat);

struct Netstat {
    /// The daemon reads it, too, for what it reports of itself.
    netstat: SharedFile,
    snmp: KeptFile,
    snmp6: KeptFile,
    fields: Chosen,
    /// By the line of names.
    netstat_shown: Rows<Columns>,
    snmp_shown: Rows<Columns>,
    /// By name: how long the protocol at its beginning is, if the field is shown.
    snmp6_shown: Rows<Option<usize>>,
}

impl Collector for Netstat {
    about! {
        name: "netstat",
        summary: "Statistics of IP, ICMP, TCP and UDP",
        patterns: [FamilyPattern {
            name: "node_netstat_*_*",
            kinds: &[Kind::Untyped],
            help: "A statistic of the kernel's network stack, by the protocol and the kernel's name \
                   for it.",
        }],
        sources: ["proc/net/netstat", "proc/net/snmp", "proc/net/snmp6"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "TCP and UDP",
        &[
            Curve::of("established", value("node_netstat_Tcp_CurrEstab")),
            Curve::of("segments in", rate("node_netstat_Tcp_InSegs")),
            Curve::of("segments out", rate("node_netstat_Tcp_OutSegs")),
            Curve::of("sent again", rate("node_netstat_Tcp_RetransSegs")),
            Curve::of("listen drops", rate("node_netstat_TcpExt_ListenDrops")),
            Curve::of("datagrams in", rate("node_netstat_Udp_InDatagrams")),
            Curve::of("datagrams out", rate("node_netstat_Udp_OutDatagrams")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Netstat {
            netstat: host.shared_whole("proc/net/netstat"),
            snmp: host.keep_whole("proc/net/snmp"),
            snmp6: host.keep_whole("proc/net/snmp6"),
            fields: Chosen { pattern: settings.fields, key: Vec::new() },
            netstat_shown: Rows::new(),
            snmp_shown: Rows::new(),
            snmp6_shown: Rows::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let netstat = self.netstat.read(batch.fresh_from())?;
        let snmp = self.snmp.read()?;
        // It is absent on a host whose IPv6 is off.
        let snmp6 = self.snmp6.optional()?;
        push_pairs_of_lines(&netstat, &mut self.netstat_shown, &mut self.fields, batch);
        push_pairs_of_lines(snmp, &mut self.snmp_shown, &mut self.fields, batch);
        push_lines(snmp6.unwrap_or_default(), &mut self.snmp6_shown, &mut self.fields, batch);
        Ok(())
    }
}

/// The setting, and where keys are put together for it.
struct Chosen {
    pattern: Pattern,
    key: Vec<u8>,
}

impl Chosen {
    /// Whether a field is shown. One whose name no metric can have is not.
    fn takes(&mut self, protocol: &[u8], name: &[u8]) -> bool {
        self.key.clear();
        self.key.extend_from_slice(protocol);
        self.key.push(b'_');
        self.key.extend_from_slice(name);
        is_metric_name(&self.key) && self.pattern.matches(&self.key)
    }
}

/// What is decided of a line of names.
struct Columns {
    /// How many blanks the line has.
    blanks: usize,
    shown: Vec<Column>,
}

/// A field that is shown, by its place in the line of names.
struct Column {
    /// Fields between the one before and this one.
    passed: usize,
    name: Range<usize>,
}

/// Decides on every name of a line such as `Ip: Forwarding DefaultTTL InReceives`.
fn columns(names: &[u8], chosen: &mut Chosen) -> Columns {
    let mut fields = Fields::new(names);
    let mut columns = Columns { blanks: text::count(names, b' '), shown: Vec::new() };
    let Ok(protocol) = protocol(&mut fields) else { return columns };
    let mut passed = 0;
    while let Some(name) = fields.next() {
        if chosen.takes(protocol, name) {
            let end = fields.offset();
            columns.shown.push(Column { passed, name: end - name.len()..end });
            passed = 0;
        } else {
            passed += 1;
        }
    }
    columns
}

/// Shows those fields of a line of values such as `Ip: 2 64 5928`.
fn push_columns(
    names: &[u8],
    values: &[u8],
    columns: &Columns,
    batch: &mut Batch,
) -> Result<(), Malformed> {
    let protocol = protocol(&mut Fields::new(names))?;
    if text::count(values, b' ') != columns.blanks {
        return Err(Malformed::new(0, "as many values as names"));
    }
    let mut fields = Fields::new(values);
    fields.pass(1);
    for column in &columns.shown {
        let name = names.get(column.name.clone()).unwrap_or_default();
        push(protocol, name, fields.pass(column.passed).f64()?, batch);
    }
    Ok(())
}

/// Takes the protocol from the beginning of a line of names: `Ip` of `Ip: Forwarding DefaultTTL`.
fn protocol<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    fields.text()?.strip_suffix(b":").ok_or(Malformed::new(0, "a protocol with a colon"))
}

/// Shows the fields of a file of lines in pairs, names above values.
fn push_pairs_of_lines(
    text: &[u8],
    shown: &mut Rows<Columns>,
    chosen: &mut Chosen,
    batch: &mut Batch,
) {
    let mut shown = shown.begin();
    let mut lines = lines(text);
    while let Some(names) = lines.next() {
        let values = lines.next().unwrap_or_default();
        let columns = shown.row(names, || columns(names, chosen));
        let pushed = push_columns(names, values, columns, batch);
        batch.tolerate(pushed);
    }
    shown.finish();
}

/// Shows the fields of a file of lines such as `Ip6InReceives 1`, whose columns the kernel
/// pads with blanks and a tab.
fn push_lines(
    text: &[u8],
    shown: &mut Rows<Option<usize>>,
    chosen: &mut Chosen,
    batch: &mut Batch,
) {
    let mut shown = shown.begin();
    for line in lines(text) {
        let mut fields = Fields::new(line);
        // A line without a name says nothing.
        let Some(name) = fields.next() else { continue };
        let length = shown.row(name, || {
            // The protocol ends with the first 6.
            let length = name.iter().position(|&byte| byte == b'6')? + 1;
            chosen.takes(&name[..length], &name[length..]).then_some(length)
        });
        if let Some((protocol, rest)) = length.and_then(|length| name.split_at_checked(length))
            && let Some(value) = batch.tolerate(fields.f64())
        {
            push(protocol, rest, value, batch);
        }
    }
    shown.finish();
}

fn push(protocol: &[u8], name: &[u8], value: f64, batch: &mut Batch) {
    batch.named_value(
        &[b"node_netstat_", protocol, b"_", name],
        Kind::Untyped,
        &[b"Field ", name, b" of the kernel's statistics of ", protocol, b"."],
        value,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const NETSTAT: &str = "proc/net/netstat";
    const SNMP: &str = "proc/net/snmp";
    const SNMP6: &str = "proc/net/snmp6";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            (
                NETSTAT,
                "TcpExt: SyncookiesSent PruneCalled ListenOverflows ListenDrops TCPOFOQueue\n\
                 TcpExt: 1 2 3 4 815\n\
                 IpExt: InNoRoutes InOctets OutOctets\n\
                 IpExt: 0 183637618 367881\n",
            ),
            (
                SNMP,
                "Ip: Forwarding DefaultTTL InReceives\n\
                 Ip: 2 64 5928\n\
                 Tcp: RtoMax MaxConn ActiveOpens InErrs\n\
                 Tcp: 120000 -1 75 0\n",
            ),
            (
                SNMP6,
                "Ip6InReceives                   \t1\n\
                 Ip6InOctets                     \t128\n\
                 Icmp6OutType135                 \t4\n\
                 UdpLite6InErrors                \t9\n",
            ),
        ])
    }

    #[test]
    fn golden() {
        check::<Netstat>(
            &memory().host(),
            &[],
            &expect![[r#"
            # node_netstat_Ip6_InOctets untyped
            node_netstat_Ip6_InOctets 128
            # node_netstat_IpExt_InOctets untyped
            node_netstat_IpExt_InOctets 1.83637618e+08
            # node_netstat_IpExt_OutOctets untyped
            node_netstat_IpExt_OutOctets 367881
            # node_netstat_Ip_Forwarding untyped
            node_netstat_Ip_Forwarding 2
            # node_netstat_TcpExt_ListenDrops untyped
            node_netstat_TcpExt_ListenDrops 4
            # node_netstat_TcpExt_ListenOverflows untyped
            node_netstat_TcpExt_ListenOverflows 3
            # node_netstat_TcpExt_SyncookiesSent untyped
            node_netstat_TcpExt_SyncookiesSent 1
            # node_netstat_TcpExt_TCPOFOQueue untyped
            node_netstat_TcpExt_TCPOFOQueue 815
            # node_netstat_Tcp_ActiveOpens untyped
            node_netstat_Tcp_ActiveOpens 75
            # node_netstat_Tcp_InErrs untyped
            node_netstat_Tcp_InErrs 0
            # node_netstat_UdpLite6_InErrors untyped
            node_netstat_UdpLite6_InErrors 9
        "#]],
        );
    }

    #[test]
    fn all_fields_can_be_shown() {
        let (batch, outcome) =
            run(&mut open::<Netstat>(&memory().host(), &[("fields", Node::from(""))]), None);
        outcome.expect("every field is taken");
        assert_eq!(batch.len(), 5 + 3 + 3 + 4 + 4);
        assert!(render(&batch).contains("node_netstat_Tcp_MaxConn -1\n"));
    }

    #[test]
    fn decisions_follow_the_names() {
        let memory = memory();
        let mut collector: Netstat = open(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        // A new line of names in front, names in another order, a name more.
        memory.write(
            SNMP,
            "IcmpMsg: InType3\nIcmpMsg: 1\n\
             Ip: DefaultTTL InReceives Forwarding\nIp: 64 5928 2\n\
             Tcp: RtoMax MaxConn ActiveOpens InErrs\nTcp: 120000 -1 76 0\n",
        );
        memory.write(SNMP6, "Ip6InMcastPkts 5\nIp6InOctets 129\nUdpLite6InErrors 10\n");
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.expect("the files are sound");
        let (fresh, _) = run(&mut open::<Netstat>(&memory.host(), &[]), None);
        assert_eq!(render(&second), render(&fresh));
        assert!(render(&second).contains("node_netstat_Ip_Forwarding 2\n"));
        assert!(render(&second).contains("node_netstat_Tcp_ActiveOpens 76\n"));
        assert!(render(&second).contains("node_netstat_Ip6_InOctets 129\n"));
    }

    #[test]
    fn a_host_without_ipv6_has_the_rest() {
        let memory = memory();
        memory.remove(SNMP6);
        let (batch, outcome) = run(&mut open::<Netstat>(&memory.host(), &[]), None);
        outcome.expect("snmp6 may be absent");
        assert_eq!(batch.len(), 6 + 3);
    }

    #[test]
    fn the_other_files_must_be_there() {
        for path in [NETSTAT, SNMP] {
            let memory = memory();
            memory.remove(path);
            let (batch, outcome) = run(&mut open::<Netstat>(&memory.host(), &[]), None);
            let error = outcome.expect_err("the file is absent");
            assert_eq!(error.to_string(), format!("{path}: not on this host"));
            assert!(batch.is_empty());
        }
    }

    #[test]
    fn odd_lines_cost_only_themselves() {
        let memory = memory();
        memory.write(
            SNMP,
            "Ip: Forwarding\nIp: 1 2\n\
             Udp: NoPorts InErrors\nUdp: x 1\n\
             no colon\nno 1\n\
             Tcp: Active-Opens InErrs\nTcp: 1 2\n\
             Icmp: InMsgs\n",
        );
        memory.write(SNMP6, "Ip6InOctets\nIp6OutOctets x\n\nnosix 1\nUdp6NoPorts 7\n");
        memory.write(NETSTAT, "");
        let (batch, outcome) = run(&mut open::<Netstat>(&memory.host(), &[]), None);
        outcome.expect("odd lines are tolerated");
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(6));
        expect![[r#"
            # node_netstat_Tcp_InErrs untyped
            node_netstat_Tcp_InErrs 2
            # node_netstat_Udp6_NoPorts untyped
            node_netstat_Udp6_NoPorts 7
        "#]]
        .assert_eq(&render(&batch));
    }

    #[test]
    fn a_line_of_names_begins_with_its_protocol() {
        let protocol = |line| protocol(&mut Fields::new(line));
        assert_eq!(protocol(b"IpExt: InNoRoutes"), Ok(&b"IpExt"[..]));
        rejects(protocol, &["", " ", "Ip", "Ip InReceives:"]);
    }
}
