//! What the queueing disciplines at the roots of network interfaces count, by netlink (rtnetlink(7), tc(8)), which
//! answers for the daemon's own network namespace.

use recorded::Recorded;
use vitald_core::family::Family;
use vitald_core::host::{InterfaceNames, QueueingDiscipline, QueueingDisciplines, SharedLinks};
use vitald_core::prelude::*;

mod recorded;

families! {
    /// Bytes sent.
    BYTES: counter = "node_qdisc_bytes_total" [device, kind];
    /// Packets sent.
    PACKETS: counter = "node_qdisc_packets_total" [device, kind];
    /// Packets dropped.
    DROPS: counter = "node_qdisc_drops_total" [device, kind];
    /// Packets that the device did not take and that were put back into the queue.
    REQUEUES: counter = "node_qdisc_requeues_total" [device, kind];
    /// Packets that were over a limit.
    OVERLIMITS: counter = "node_qdisc_overlimits_total" [device, kind];
    /// Packets in the queue.
    QUEUE_LENGTH: gauge = "node_qdisc_current_queue_length" [device, kind];
    /// Bytes in the queue.
    BACKLOG: gauge = "node_qdisc_backlog" [device, kind] unit(Bytes);
}

settings! {
    devices: Filter {
        /// Interfaces to show, by name; not together with `device_exclude`.
        include device_include;
        /// Interfaces to leave out, by name; not together with `device_include`.
        exclude device_exclude;
    } together Refused;
    /// A directory with a file `results.json` that is shown instead of what the kernel says, for tests.
    fixtures: String = "";
}

register_collector!(Qdisc);

struct Qdisc {
    links: SharedLinks,
    names: InterfaceNames,
    disciplines: QueueingDisciplines,
    devices: Filter,
    recorded: Option<Recorded>,
}

impl Collector for Qdisc {
    about! {
        name: "qdisc",
        summary: "What the queueing disciplines of network interfaces count",
        families: FAMILIES,
        sources: ["netlink route"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // The recorded answer is on a file system of the user's.
    const MAY_BLOCK: bool = true;
    const SINCE: Since = Since::Source;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let Settings { devices, fixtures } = settings;
        Ok(Qdisc {
            links: host.shared_links(),
            names: InterfaceNames::default(),
            disciplines: host.queueing_disciplines(),
            devices,
            recorded: (!fixtures.is_empty()).then(|| Recorded::new(host, &fixtures)),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Qdisc { links, names, disciplines, devices, recorded } = self;
        if let Some(recorded) = recorded {
            for (device, discipline) in recorded.read()? {
                push(device, &discipline, devices, batch);
            }
            return Ok(());
        }
        names.learn(links, batch.fresh_from())?;
        disciplines.each(&mut |discipline| {
            // An interface that came after the names were learned is there at the next collection.
            if let Some(device) = names.get(discipline.interface) {
                push(device, &discipline, devices, batch);
            }
        })
    }
}

/// Shows a discipline, if all that its interface sends goes through it.
fn push(device: &[u8], of: &QueueingDiscipline<'_>, devices: &Filter, batch: &mut Batch) {
    if !of.is_root() || !devices.takes(device) {
        return;
    }
    let labels = batch.labels([device, of.kind]);
    let numbers: [(&Family<2>, u32); 6] = [
        (&PACKETS, of.packets),
        (&DROPS, of.drops),
        (&REQUEUES, of.requeues),
        (&OVERLIMITS, of.overlimits),
        (&QUEUE_LENGTH, of.queue_length),
        (&BACKLOG, of.backlog),
    ];
    batch.push(&BYTES, labels, of.bytes);
    for (family, number) in numbers {
        batch.push(family, labels, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::Link;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const ROOT: u32 = u32::MAX;

    /// The root of one interface with classes below it, the default of a virtual one, what counts the received,
    /// and one of an interface that has gone.
    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        let link = |index, name| Link { index, name, ..Link::default() };
        memory.set_links(vec![link(1, b"lo"), link(2, b"eth0"), link(3, b"eth1")]);
        let of = |interface, parent, kind| QueueingDiscipline {
            interface,
            parent,
            kind,
            ..QueueingDiscipline::default()
        };
        memory.set_queueing_disciplines(vec![
            of(1, ROOT, b"noqueue"),
            QueueingDiscipline {
                bytes: 1 << 53,
                packets: u32::MAX,
                queue_length: 3,
                backlog: 4512,
                drops: 17,
                requeues: 5,
                overlimits: 99,
                ..of(2, ROOT, b"htb")
            },
            QueueingDiscipline { drops: 1, ..of(2, 0x0001_000a, b"fq_codel") },
            of(2, 0xffff_fff1, b"clsact"),
            QueueingDiscipline { bytes: 83, ..of(3, 0, b"mq") },
            of(9, ROOT, b"pfifo_fast"),
        ]);
        memory
    }

    #[test]
    fn golden() {
        check::<Qdisc>(
            &memory().host(),
            &[],
            &expect![[r##"
                # node_qdisc_backlog gauge
                node_qdisc_backlog{device="lo",kind="noqueue"} 0
                node_qdisc_backlog{device="eth0",kind="htb"} 4512
                node_qdisc_backlog{device="eth1",kind="mq"} 0
                # node_qdisc_bytes_total counter
                node_qdisc_bytes_total{device="lo",kind="noqueue"} 0
                node_qdisc_bytes_total{device="eth0",kind="htb"} 9.007199254740992e+15
                node_qdisc_bytes_total{device="eth1",kind="mq"} 83
                # node_qdisc_current_queue_length gauge
                node_qdisc_current_queue_length{device="lo",kind="noqueue"} 0
                node_qdisc_current_queue_length{device="eth0",kind="htb"} 3
                node_qdisc_current_queue_length{device="eth1",kind="mq"} 0
                # node_qdisc_drops_total counter
                node_qdisc_drops_total{device="lo",kind="noqueue"} 0
                node_qdisc_drops_total{device="eth0",kind="htb"} 17
                node_qdisc_drops_total{device="eth1",kind="mq"} 0
                # node_qdisc_overlimits_total counter
                node_qdisc_overlimits_total{device="lo",kind="noqueue"} 0
                node_qdisc_overlimits_total{device="eth0",kind="htb"} 99
                node_qdisc_overlimits_total{device="eth1",kind="mq"} 0
                # node_qdisc_packets_total counter
                node_qdisc_packets_total{device="lo",kind="noqueue"} 0
                node_qdisc_packets_total{device="eth0",kind="htb"} 4.294967295e+09
                node_qdisc_packets_total{device="eth1",kind="mq"} 0
                # node_qdisc_requeues_total counter
                node_qdisc_requeues_total{device="lo",kind="noqueue"} 0
                node_qdisc_requeues_total{device="eth0",kind="htb"} 5
                node_qdisc_requeues_total{device="eth1",kind="mq"} 0
            "##]],
        );
    }

    fn kinds(memory: &MemoryHost, settings: &[(&str, Node)]) -> Vec<String> {
        let (batch, outcome) = run(&mut open::<Qdisc>(&memory.host(), settings), None);
        outcome.unwrap();
        let bytes =
            batch.samples().filter(|(series, _)| series.family_name() == b"node_qdisc_bytes_total");
        bytes
            .map(|(series, _)| {
                let (_, kind) = series.labels().nth(1).expect("two labels");
                String::from_utf8_lossy(kind).into_owned()
            })
            .collect()
    }

    #[test]
    fn interfaces_are_chosen_by_name() {
        let memory = memory();
        assert_eq!(kinds(&memory, &[("device_include", "(lo|eth1)$".into())]), ["noqueue", "mq"]);
        assert_eq!(kinds(&memory, &[("device_exclude", "^eth".into())]), ["noqueue"]);
        let both = [("device_include", "a".into()), ("device_exclude", "b".into())];
        assert!(refusal::<Qdisc>(&both).contains("cannot be used together"));
    }

    #[test]
    fn a_discipline_that_is_replaced() {
        let memory = memory();
        let mut collector = open::<Qdisc>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.set_queueing_disciplines(vec![QueueingDiscipline {
            interface: 2,
            parent: ROOT,
            kind: b"t\xffbf",
            ..QueueingDiscipline::default()
        }]);
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.unwrap();
        assert_eq!([first.len(), second.len()], [21, 7]);
    }

    #[test]
    fn absent_is_an_error() {
        let host = MemoryHost::new().host();
        check_fails::<Qdisc>(&host, &[], &expect!["netlink route: not on this host"], &expect![""]);
    }

    #[test]
    fn a_recorded_answer_is_shown_instead() {
        let memory = memory();
        memory.write(
            "file:/srv/qdisc/results.json",
            r#"[
                {"IfaceName": "eth0", "Parent": 0, "Kind": "fq", "Bytes": 42, "Qlen": 2, "Other": [1]},
                {"IfaceName": "eth0", "Parent": 65537, "Kind": "pfifo", "Bytes": 1},
                {"IfaceName": "lo", "Kind": "noqueue"}
            ]"#,
        );
        let page = expect![[r#"
            # node_qdisc_backlog gauge
            node_qdisc_backlog{device="eth0",kind="fq"} 0
            # node_qdisc_bytes_total counter
            node_qdisc_bytes_total{device="eth0",kind="fq"} 42
            # node_qdisc_current_queue_length gauge
            node_qdisc_current_queue_length{device="eth0",kind="fq"} 2
            # node_qdisc_drops_total counter
            node_qdisc_drops_total{device="eth0",kind="fq"} 0
            # node_qdisc_overlimits_total counter
            node_qdisc_overlimits_total{device="eth0",kind="fq"} 0
            # node_qdisc_packets_total counter
            node_qdisc_packets_total{device="eth0",kind="fq"} 0
            # node_qdisc_requeues_total counter
            node_qdisc_requeues_total{device="eth0",kind="fq"} 0
        "#]];
        for directory in ["/srv/qdisc", "/srv/qdisc/"] {
            let settings = [("fixtures", directory.into()), ("device_include", "^eth".into())];
            check::<Qdisc>(&memory.host(), &settings, &page);
        }
    }

    #[test]
    fn a_recorded_answer_may_change_or_be_none() {
        let memory = memory();
        let settings = [("fixtures", "/srv".into())];
        let missing = expect!["file:/srv/results.json: not on this host"];
        check_fails::<Qdisc>(&memory.host(), &settings, &missing, &expect![""]);
        let mut collector = open::<Qdisc>(&memory.host(), &settings);
        memory.write("file:/srv/results.json", r#"[{"IfaceName": "a", "Kind": "fq"}]"#);
        let (first, outcome) = run(&mut collector, None);
        outcome.unwrap();
        memory.write("file:/srv/results.json", r#"[{"IfaceName": "a"}, {"IfaceName": "b"}]"#);
        let (second, outcome) = run(&mut collector, Some(&first));
        outcome.unwrap();
        assert_eq!([first.len(), second.len()], [7, 14]);
        for wrong in ["", "{}", r#"[{"Bytes": -1}]"#, r#"[{"Kind": 1}]"#, "[{}"] {
            memory.write("file:/srv/results.json", wrong);
            let (batch, outcome) = run(&mut collector, Some(&second));
            assert!(matches!(outcome, Err(Error::Malformed { .. })), "{wrong}: {outcome:?}");
            assert!(batch.is_empty());
        }
    }
}
