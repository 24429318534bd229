//! Memory of UDP datagrams that wait, from `/proc/net/udp` and `/proc/net/udp6` (proc_pid_net(5)).

use vitald_core::prelude::*;

families! {
    /// Memory of UDP datagrams that wait to be sent or to be read, of all sockets, in bytes.
    QUEUES: gauge = "node_udp_queues" [queue, ip] unit(Bytes);
}

register_collector!(UdpQueues);

struct UdpQueues {
    udp: KeptFile,
    udp6: KeptFile,
}

impl Collector for UdpQueues {
    about! {
        name: "udp_queues",
        summary: "Memory of UDP datagrams that wait",
        families: FAMILIES,
        sources: ["proc/net/udp", "proc/net/udp6"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(UdpQueues {
            udp: host.keep_short_records("proc/net/udp"),
            udp6: host.keep_short_records("proc/net/udp6"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut is_absent = true;
        for (file, version) in [(&mut self.udp, b"v4"), (&mut self.udp6, b"v6")] {
            // Either version of IP may be off.
            let Some(sums) = file.optional()?.map(parse) else { continue };
            let [sent, received] = sums.map_err(|wrong| wrong.in_file(file.path()))?;
            batch.row(&QUEUES, [b"tx", version], sent);
            batch.row(&QUEUES, [b"rx", version], received);
            is_absent = false;
        }
        if is_absent { Err(Error::absent(self.udp.path())) } else { Ok(()) }
    }
}

/// Adds up the two queues of all sockets. One that cannot be read makes the sums wrong, so it is
/// not left out.
fn parse(text: &[u8]) -> Result<[u64; 2], Malformed> {
    let mut sums = [0_u64; 2];
    let mut lines = lines(text);
    lines.next();
    while let Some(line) = lines.next() {
        let queues = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()))?;
        for (sum, queue) in sums.iter_mut().zip(queues) {
            *sum = sum.saturating_add(queue);
        }
    }
    Ok(sums)
}

/// Takes the two numbers that a colon joins in the fifth field of
/// `   0: 00000000:0016 00000000:0000 0A 00000015:00000000 00:00000000 00000000     0        0 2740`.
fn parse_line(line: &[u8]) -> Result<[u64; 2], Malformed> {
    let mut fields = Fields::new(line);
    let field = fields.pass(4).text()?;
    let start = fields.offset() - field.len();
    let (sent, received) = text::split_once(field, b':').ok_or(Malformed::new(start, "a colon"))?;
    let hex = |text, at: usize| Fields::new(text).hex().map_err(|wrong| wrong.moved_by(at));
    Ok([hex(sent, start)?, hex(received, start + sent.len() + 1)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/udp";
    const PATH6: &str = "proc/net/udp6";
    const TEXT: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             
  101: 00000000:0044 00000000:0000 07 00000010:00000200 00:00000000 00000000     0        0 13204 2 0000000000000000 0         
 5353: 0100007F:14E9 00000000:0000 07 0000000F:000000ff 00:00000000 00000000   104        0 13309 2 0000000000000000 12        
";

    #[test]
    fn golden() {
        let text6 = TEXT.replace("0100007F:", "00000000000000000000000001000000:");
        check::<UdpQueues>(
            &MemoryHost::from_files(&[(PATH, TEXT), (PATH6, &text6)]).host(),
            &[],
            &expect![[r#"
                # node_udp_queues gauge
                node_udp_queues{queue="tx",ip="v4"} 31
                node_udp_queues{queue="rx",ip="v4"} 767
                node_udp_queues{queue="tx",ip="v6"} 31
                node_udp_queues{queue="rx",ip="v6"} 767
            "#]],
        );
    }

    #[test]
    fn one_version_of_ip_is_enough() {
        let head = TEXT.lines().next().unwrap();
        check::<UdpQueues>(
            &MemoryHost::from_files(&[(PATH6, head)]).host(),
            &[],
            &expect![[r#"
                # node_udp_queues gauge
                node_udp_queues{queue="tx",ip="v6"} 0
                node_udp_queues{queue="rx",ip="v6"} 0
            "#]],
        );
        check_fails::<UdpQueues>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/net/udp: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn a_bad_socket_spoils_the_sums() {
        let text = TEXT.replace("0000000F", "0000000G");
        check_fails::<UdpQueues>(
            &MemoryHost::from_files(&[(PATH, TEXT), (PATH6, &text)]).host(),
            &[],
            &expect!["proc/net/udp6: byte 292: expected a hexadecimal number"],
            &expect![[r#"
                # node_udp_queues gauge
                node_udp_queues{queue="tx",ip="v4"} 31
                node_udp_queues{queue="rx",ip="v4"} 767
            "#]],
        );
    }

    #[test]
    fn thousands_of_sockets_are_read_to_the_end() {
        let line = TEXT.lines().nth(1).unwrap();
        let text = ["head\n", &[line, "\n"].concat().repeat(3000)].concat();
        assert_eq!(parse(text.as_bytes()), Ok([48_000, 1_536_000]));
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<UdpQueues>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.samples().map(|(_, value)| value).collect::<Vec<_>>(), [48e3, 1536e3]);
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse_line,
            &[
                "",
                "0: a b 07",
                "0: a b 07 00000000",
                "0: a b 07 0:",
                "0: a b 07 :0",
                "0: a b 07 -1:0",
            ],
        );
    }
}
