//! Energy that the processors used, from `/sys/class/powercap`
//! (Documentation/power/powercap/powercap.rst).

use vitald_core::family::write_metric_name_part;
use vitald_core::host::DeviceEvents;
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// Energy that a zone used; it starts again from zero at the zone's `max_energy_range_uj`.
    JOULES: counter = "node_rapl_joules_total" [index, path, rapl_zone];
}

attributes! {
    Zone {
        NAME: text = "name", slow;
        // A zone whose energy cannot be read now, or by root alone, is counted all the same.
        ENERGY: u64 / 1e6 = "energy_uj", optional;
    }
}

settings! {
    /// Show all zones in one family with the label `rapl_zone`, instead of a family for each name.
    enable_zone_label: bool = false;
}

register_collector!(Rapl);

struct Rapl {
    events: DeviceEvents,
    zones: Walk<Zone>,
    has_zone_label: bool,
    /// The names that zones have had, without the numbers at their ends.
    names: Vec<Name>,
    /// The path of the class and a slash; then that of a zone.
    path: Vec<u8>,
    class_length: usize,
}

/// What zones of one name have in common.
struct Name {
    name: Box<[u8]>,
    /// The name as a metric's name may have it.
    in_metric: Box<[u8]>,
    /// The number of the next zone without one.
    next: u64,
    /// The family of this run.
    family: Option<NamedFamily>,
}

impl Collector for Rapl {
    about! {
        name: "rapl",
        summary: "Energy that processors and memory used",
        families: FAMILIES,
        patterns: [FamilyPattern {
            name: "node_rapl_*_joules_total",
            kinds: &[Kind::Counter],
            help: "Energy that the zones of this name used.",
        }],
        sources: ["sys/class/powercap/*/name", "sys/class/powercap/*/energy_uj", "sys/kernel/uevent_seqnum"],
        settings: Settings,
    }
    // Linux 5.10 and later let only root read the energy. That is so on most machines and no fault of any, so without the
    // capability there is nothing to show, as on a host without zones.
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH"];

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let sysfs = host.roots().sysfs.as_os_str().as_encoded_bytes();
        let end = sysfs.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let path = [&sysfs[..end], b"/class/powercap/"].concat();
        Ok(Rapl {
            events: host.device_events(),
            zones: host.walk("sys/class/powercap/*"),
            has_zone_label: settings.enable_zone_label,
            names: Vec::new(),
            class_length: path.len(),
            path,
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let number = self.events.number(batch.fresh_from());
        let Rapl { zones, names, path, .. } = self;
        for known in &mut *names {
            (known.next, known.family) = (0, None);
        }
        let (mut has_zones, mut has_energy) = (false, false);
        for zone in zones.under_events(number).refresh()? {
            has_zones = true;
            let (name, number) = split_name(zone.text(&Zone::NAME)?);
            let known = look_up(names, name);
            let index = number.unwrap_or(known.next);
            known.next = index.saturating_add(1);
            let Some(joules) = zone.number(&Zone::ENERGY, batch)? else { continue };
            has_energy = true;
            path.truncate(self.class_length);
            path.extend_from_slice(zone.name(0));
            let mut digits = [0; 20];
            let index = text::decimal(index, &mut digits);
            if self.has_zone_label {
                batch.row(&JOULES, [index, path, name], joules);
                continue;
            }
            let family = *known.family.get_or_insert_with(|| {
                batch.family(
                    &[b"node_rapl_", &known.in_metric, b"_joules_total"],
                    Kind::Counter,
                    &[b"Energy that the zones named ", name, b" used, in joules."],
                )
            });
            let labels = batch.label_pairs(&[(b"index", index), (b"path", path)]);
            batch.push_named(family, Suffix::None, labels, joules);
        }
        // node_exporter's collector has no data then, either, and does not fail.
        if has_zones && !has_energy {
            return Err(Error::absent("sys/class/powercap/*/energy_uj"));
        }
        Ok(())
    }
}

/// Splits `package-0` into its name and number; one that is not in two parts, such as
/// `package-0-die-1`, is a name as a whole.
fn split_name(zone: &[u8]) -> (&[u8], Option<u64>) {
    let parts = text::split_once(zone, b'-').filter(|(_, after)| !after.contains(&b'-'));
    match parts.and_then(|(name, digits)| Some((name, parse_u64(digits)?))) {
        Some((name, number)) => (name, Some(number)),
        None => (zone, None),
    }
}

/// Finds what is known of a name. There are a handful.
fn look_up<'n>(names: &'n mut Vec<Name>, name: &[u8]) -> &'n mut Name {
    let place = names.iter().position(|known| *known.name == *name).unwrap_or_else(|| {
        let mut in_metric = Vec::new();
        write_metric_name_part(&mut in_metric, name);
        let in_metric = in_metric.into();
        names.push(Name { name: name.into(), in_metric, next: 0, family: None });
        names.len() - 1
    });
    &mut names[place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::errno::EACCES;
    use vitald_core::testing::*;

    const CLASS: &str = "sys/class/powercap";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (zone, name, energy) in [
            ("intel-rapl:0", "package-0", "1500000"),
            ("intel-rapl:0:0", "dram", "250000"),
            ("intel-rapl:1", "package-1", "262143328850"),
            ("intel-rapl:1:0", "dram", "1"),
            ("intel-rapl:2", "package-0-die-1", "3000000"),
        ] {
            memory.write(format!("{CLASS}/{zone}/name"), format!("{name}\n"));
            memory.write(format!("{CLASS}/{zone}/energy_uj"), format!("{energy}\n"));
        }
        memory.write(format!("{CLASS}/intel-rapl/enabled"), "1\n");
        memory.write(format!("{CLASS}/dtpm:0/name"), "no energy\n");
        memory
    }

    #[test]
    fn golden() {
        check::<Rapl>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_rapl_dram_joules_total counter
                node_rapl_dram_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0:0"} 0.25
                node_rapl_dram_joules_total{index="1",path="/sys/class/powercap/intel-rapl:1:0"} 1e-06
                # node_rapl_package_0_die_1_joules_total counter
                node_rapl_package_0_die_1_joules_total{index="0",path="/sys/class/powercap/intel-rapl:2"} 3
                # node_rapl_package_joules_total counter
                node_rapl_package_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0"} 1.5
                node_rapl_package_joules_total{index="1",path="/sys/class/powercap/intel-rapl:1"} 262143.32885
            "#]],
        );
    }

    #[test]
    fn one_family_for_all() {
        let memory = memory();
        memory.remove(format!("{CLASS}/intel-rapl:1"));
        check::<Rapl>(
            &memory.host(),
            &[("enable_zone_label", true.into())],
            &expect![[r#"
                # node_rapl_joules_total counter
                node_rapl_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0",rapl_zone="package"} 1.5
                node_rapl_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0:0",rapl_zone="dram"} 0.25
                node_rapl_joules_total{index="1",path="/sys/class/powercap/intel-rapl:1:0",rapl_zone="dram"} 1e-06
                node_rapl_joules_total{index="0",path="/sys/class/powercap/intel-rapl:2",rapl_zone="package-0-die-1"} 3
            "#]],
        );
    }

    /// The others keep their numbers.
    #[test]
    fn a_zone_without_its_energy_is_left_out_alone() {
        let memory = memory();
        let mut collector = open::<Rapl>(&memory.host(), &[]);
        memory.fail(format!("{CLASS}/intel-rapl:0:0/energy_uj"), 61);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        assert!(render(&batch).contains("dram_joules_total{index=\"1\""));
        memory.write(format!("{CLASS}/intel-rapl:0:0/energy_uj"), "x\n");
        let (batch, outcome) = run(&mut collector, Some(&batch));
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (4, Some(1)));
    }

    /// As for a user other than root since Linux 5.10: there is nothing to show, which is no failure.
    #[test]
    fn energy_that_is_for_root_alone_is_no_failure() {
        let memory = memory();
        let mut collector = open::<Rapl>(&memory.host(), &[]);
        for zone in ["0", "0:0", "1", "1:0", "2"] {
            memory.fail_open(format!("{CLASS}/intel-rapl:{zone}/energy_uj"), EACCES);
        }
        let (batch, outcome) = run(&mut collector, None);
        assert!(matches!(outcome, Err(Error::Absent { .. })), "{outcome:?}");
        assert_eq!(batch.len(), 0);
        assert_eq!(Rapl::CAPABILITIES, ["CAP_DAC_READ_SEARCH"]);
        // One that everybody may read is shown.
        memory.write(format!("{CLASS}/intel-rapl:1:0/energy_uj"), "1\n");
        let (batch, outcome) = run(&mut collector, Some(&batch));
        outcome.unwrap();
        assert_eq!(
            render(&batch).lines().last(),
            Some(
                "node_rapl_dram_joules_total{index=\"1\",path=\"/sys/class/powercap/intel-rapl:1:0\"} 1e-06"
            )
        );
    }

    #[test]
    fn a_zone_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Rapl>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove(format!("{CLASS}/intel-rapl:0"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        memory.write(format!("{CLASS}/intel-rapl:0/name"), "psys\n");
        memory.write(format!("{CLASS}/intel-rapl:0/energy_uj"), "5\n");
        assert!(render(&run(&mut collector, Some(&batch)).0).contains("rapl_psys_joules_total"));
    }

    #[test]
    fn names_are_split() {
        assert_eq!(split_name(b"package-1"), (&b"package"[..], Some(1)));
        assert_eq!(split_name(b"package-x"), (&b"package-x"[..], None));
        assert_eq!(split_name(b"a-1-2"), (&b"a-1-2"[..], None));
        assert_eq!(split_name(b"core"), (&b"core"[..], None));
        assert_eq!(split_name(b""), (&b""[..], None));
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<Rapl>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/powercap: not on this host"],
            &expect![""],
        );
    }
}
