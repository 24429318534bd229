//! Entries of the ARP table, by netlink (rtnetlink(7)) or from `/proc/net/arp` (arp(7)).
//!
//! Netlink answers for the network namespace that this process is in, whatever `paths.procfs` is.

use vitald_core::host::{InterfaceNames, RoutingTables, SharedLinks};
use vitald_core::prelude::*;

families! {
    /// Neighbours in the ARP table of an interface, but those that need no ARP.
    ENTRIES: gauge = "node_arp_entries" [device];
}

settings! {
    devices: Filter {
        /// Interfaces to show, by name.
        include device_include;
        /// Interfaces to leave out, by name.
        exclude device_exclude;
    };
    /// Ask by netlink, which answers for the daemon's own network namespace, instead of reading
    /// `/proc/net/arp` below `paths.procfs`.
    netlink: bool = true;
}

/// `linux/neighbour.h`: a neighbour that needs no ARP, such as those of the loopback interface, which
/// `/proc/net/arp` leaves out.
const NUD_NOARP: u16 = 0x40;

register_collector!(Arp);

struct Arp {
    source: Source,
    devices: Filter,
    counts: Counts,
}

enum Source {
    Netlink(Box<Netlink>),
    File(KeptFile),
}

struct Netlink {
    links: SharedLinks,
    names: InterfaceNames,
    tables: RoutingTables,
}

impl Collector for Arp {
    about! {
        name: "arp",
        summary: "Entries of the ARP table, by interface",
        families: FAMILIES,
        sources: ["netlink route", "proc/net/arp"],
        settings: Settings,
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let source = if settings.netlink {
            Source::Netlink(Box::new(Netlink {
                links: host.shared_links(),
                names: InterfaceNames::default(),
                tables: host.routing_tables(),
            }))
        } else {
            Source::File(host.keep_short_records("proc/net/arp"))
        };
        Ok(Arp { source, devices: settings.devices, counts: Counts::new() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let counts = &mut self.counts;
        counts.begin();
        match &mut self.source {
            Source::Netlink(netlink) => netlink.count(counts, batch)?,
            Source::File(file) => {
                let mut lines = lines(file.read()?);
                lines.next();
                while let Some(line) = lines.next() {
                    let device = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()));
                    if let Some(device) = batch.tolerate(device) {
                        counts.add(device);
                    }
                }
            }
        }
        for (device, count) in counts.finish() {
            if self.devices.takes(device) {
                batch.row(&ENTRIES, [device], count);
            }
        }
        Ok(())
    }
}

impl Netlink {
    fn count(&mut self, counts: &mut Counts, batch: &Batch) -> Result<()> {
        let Netlink { links, names, tables } = self;
        names.learn(links, batch.fresh_from())?;
        tables.ipv4_neighbours(&mut |neighbour| {
            // An interface that came after the names were learned is there at the next collection.
            if neighbour.state & NUD_NOARP == 0
                && let Some(name) = names.get(neighbour.interface)
            {
                counts.add(name);
            }
        })
    }
}

/// Takes the device of
/// `192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0`.
fn parse_line(line: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields::new(line);
    let device = fields.pass(5).text()?;
    match fields.rest() {
        b"" => Ok(device),
        rest => Err(Malformed::new(line.len() - rest.len(), "the end of the line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::{Link, Neighbour};
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const PATH: &str = "proc/net/arp";
    const TEXT: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:00:5e:10:00:01     *        eth1
192.0.2.2        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.3        0x1         0x6         02:00:5e:10:00:03     *        eth1
";

    /// The same as in the file, and what it does not show.
    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[(PATH, TEXT)]);
        let link = |index, name| Link { index, name, ..Link::default() };
        memory.set_links(vec![link(1, b"lo"), link(3, b"eth0"), link(2, b"eth1")]);
        let neighbour = |interface, state| Neighbour { family: 2, interface, state };
        memory.set_neighbours(vec![
            neighbour(2, 0x04),
            neighbour(3, 0x01),
            neighbour(1, NUD_NOARP),
            neighbour(2, 0x80),
            neighbour(9, 0x02),
        ]);
        memory
    }

    fn both(settings: &[(&str, Node)], page: &Expect) {
        for netlink in [true, false] {
            let settings = [settings, &[("netlink", netlink.into())]].concat();
            check::<Arp>(&memory().host(), &settings, page);
        }
    }

    #[test]
    fn golden() {
        both(
            &[],
            &expect![[r#"
                # node_arp_entries gauge
                node_arp_entries{device="eth0"} 1
                node_arp_entries{device="eth1"} 2
            "#]],
        );
    }

    #[test]
    fn a_name_must_pass_both_patterns() {
        let eth1 = expect![[r#"
            # node_arp_entries gauge
            node_arp_entries{device="eth1"} 2
        "#]];
        both(&[("device_include", "1$".into())], &eth1);
        both(&[("device_exclude", "0$".into())], &eth1);
        both(
            &[("device_include", "^eth".into()), ("device_exclude", "[01]$".into())],
            &expect![""],
        );
    }

    #[test]
    fn netlink_is_the_default() {
        let memory = memory();
        memory.write(PATH, "");
        let (batch, outcome) = run(&mut open::<Arp>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn a_device_that_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Arp>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.set_neighbours(vec![Neighbour { family: 2, interface: 2, state: 2 }]);
        let (second, _) = run(&mut collector, Some(&first));
        memory.set_neighbours(vec![
            Neighbour { family: 2, interface: 3, state: 2 },
            Neighbour { family: 2, interface: 2, state: 2 },
        ]);
        let (third, _) = run(&mut collector, Some(&second));
        assert_eq!([first.len(), second.len(), third.len()], [2, 1, 2]);
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let memory = MemoryHost::from_files(&[(PATH, &TEXT.replace("0x0 ", "0x0 0x0"))]);
        let mut collector = open::<Arp>(&memory.host(), &[("netlink", false.into())]);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    }

    #[test]
    fn a_long_table_is_read_to_the_end() {
        let line = TEXT.lines().nth(1).unwrap();
        let text = ["head\n", &[line, "\n"].concat().repeat(5000)].concat();
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let mut collector = open::<Arp>(&memory.host(), &[("netlink", false.into())]);
        let (batch, _) = run(&mut collector, None);
        assert_eq!(batch.samples().map(|(_, value)| value).collect::<Vec<_>>(), [5000.0]);
    }

    #[test]
    fn absent_is_an_error() {
        let host = MemoryHost::new().host();
        check_fails::<Arp>(&host, &[], &expect!["netlink route: not on this host"], &expect![""]);
        check_fails::<Arp>(
            &host,
            &[("netlink", false.into())],
            &expect!["proc/net/arp: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_line, &["", "192.0.2.1 0x1 0x2 02:00 *", "192.0.2.1 0x1 0x2 02:00 * eth0 x"]);
    }
}
