//! Bonds and the interfaces that they have, from `/sys/class/net/bonding_masters` and the attributes of
//! each (Documentation/networking/bonding.rst, drivers/net/bonding/bond_sysfs.c).

use std::io;

use vitald_core::host::Children;
use vitald_core::prelude::*;

families! {
    /// Interfaces that a bond has been given.
    SLAVES: gauge = "node_bonding_slaves" [master];
    /// Interfaces of a bond whose link is up.
    ACTIVE: gauge = "node_bonding_active" [master];
}

register_collector!(Bonding);

/// What the kernel ends a list with that is longer than a page.
const MORE: &[u8] = b"++more++";

struct Bonding {
    masters: KeptFile,
    interfaces: Interfaces,
    /// The names of a bond's interfaces.
    slaves: Vec<u8>,
}

impl Collector for Bonding {
    about! {
        name: "bonding",
        summary: "How many interfaces each bond has, and how many of them are up",
        families: FAMILIES,
        sources: [
            "sys/class/net/bonding_masters",
            "sys/class/net/*/bonding/slaves",
            "sys/class/net/*/lower_*/bonding_slave/mii_status",
            "sys/class/net/*/slave_*/bonding_slave/mii_status",
        ],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Bonding {
            masters: host.keep_whole("sys/class/net/bonding_masters"),
            interfaces: Interfaces { children: host.children(CLASS), path: Vec::new() },
            slaves: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let mut outcome = Ok(());
        for master in Fields::new(text::trim(self.masters.read()?)) {
            if master == MORE {
                batch.degraded("list cut");
                break;
            }
            match self.interfaces.count(master, &mut self.slaves) {
                Ok(Count { slaves, active, is_cut }) => {
                    let labels = batch.labels([master]);
                    batch.push(&SLAVES, labels, slaves);
                    batch.push(&ACTIVE, labels, active);
                    if is_cut {
                        batch.degraded("list cut");
                    }
                }
                // One that went since the others were listed is as one that cannot be read: the others are
                // shown, and the collection is no success, for which node_exporter shows none at all.
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}

const CLASS: &str = "sys/class/net";
const LIST: &str = "bonding/slaves";
const STATE: &str = "bonding_slave/mii_status";

/// The directories of interfaces. No attribute keeps a descriptor: when two interfaces swap their names, it
/// would go on answering for the one that had the name before.
struct Interfaces {
    children: Children,
    /// Where a path is put together.
    path: Vec<u8>,
}

/// What is known of a bond.
#[derive(Default)]
struct Count {
    slaves: u32,
    active: u32,
    /// It has more of them than a page holds.
    is_cut: bool,
}

impl Interfaces {
    fn count(&mut self, master: &[u8], slaves: &mut Vec<u8>) -> Result<Count> {
        slaves.clear();
        match self.children.read(master, LIST) {
            Ok(list) => slaves.extend_from_slice(list),
            Err(error) => return Err(self.unreadable(master, LIST, error)),
        }
        let mut count = Count::default();
        for slave in Fields::new(text::trim(slaves)) {
            if slave == MORE {
                count.is_cut = true;
                break;
            }
            let state = match self.is_up(master, b"lower_", slave) {
                // Before Linux 3.13 the link had another name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Where neither is there, the name of today is the one to look for.
                    self.is_up(master, b"slave_", slave).map_err(|_| error)
                }
                state => state,
            };
            count.slaves += 1;
            match state {
                Ok(is_up) => count.active += u32::from(is_up),
                Err(error) => {
                    self.put_path(master, b"lower_", slave);
                    return Err(self.unreadable(&self.path, STATE, error));
                }
            }
        }
        Ok(count)
    }

    /// The bond is there, so that what it lacks is a fault of it and not a host without bonds.
    fn unreadable(&self, directory: &[u8], file: &str, source: io::Error) -> Error {
        let directory = String::from_utf8_lossy(directory);
        Error::Unreadable { path: format!("{CLASS}/{directory}/{file}").into(), source }
    }

    fn is_up(&mut self, master: &[u8], link: &[u8], slave: &[u8]) -> io::Result<bool> {
        self.put_path(master, link, slave);
        let state = self.children.read(&self.path, STATE)?;
        Ok(text::trim(state) == b"up")
    }

    fn put_path(&mut self, master: &[u8], link: &[u8], slave: &[u8]) {
        self.path.clear();
        for part in [master, b"/", link, slave] {
            self.path.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::run::Run;
    use vitald_core::testing::*;

    /// A bond whose spare is about to be down, and one of an old kernel.
    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("sys/class/net/bonding_masters", "bond0 uplink\n"),
            ("sys/class/net/bond0/bonding/slaves", "eno1 eno2\n"),
            ("sys/class/net/bond0/lower_eno1/bonding_slave/mii_status", "up\n"),
            ("sys/class/net/bond0/lower_eno2/bonding_slave/mii_status", "going down\n"),
            ("sys/class/net/uplink/bonding/slaves", "eth0 eth1\n"),
            ("sys/class/net/uplink/slave_eth0/bonding_slave/mii_status", "up\n"),
            ("sys/class/net/uplink/slave_eth1/bonding_slave/mii_status", "up\n"),
        ])
    }

    #[test]
    fn golden() {
        let memory = memory();
        memory.write("sys/class/net/bonding_masters", "bond0 new uplink\n");
        memory.write("sys/class/net/new/bonding/slaves", "\n");
        check::<Bonding>(
            &memory.host(),
            &[],
            &expect![[r##"
                # node_bonding_active gauge
                node_bonding_active{master="bond0"} 1
                node_bonding_active{master="new"} 0
                node_bonding_active{master="uplink"} 2
                # node_bonding_slaves gauge
                node_bonding_slaves{master="bond0"} 2
                node_bonding_slaves{master="new"} 0
                node_bonding_slaves{master="uplink"} 2
            "##]],
        );
    }

    #[test]
    fn names_need_not_be_text() {
        let memory = MemoryHost::new();
        memory.write("sys/class/net/bonding_masters", b"\xfe\n");
        memory.write(b"sys/class/net/\xfe/bonding/slaves", b"e\xff\n");
        memory.write(b"sys/class/net/\xfe/lower_e\xff/bonding_slave/mii_status", "up\n");
        let (batch, outcome) = run(&mut open::<Bonding>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.samples().map(|(_, value)| value).collect::<Vec<_>>(), [1.0, 1.0]);
    }

    #[test]
    fn a_host_without_the_module_has_none() {
        check_fails::<Bonding>(
            &MemoryHost::from_files(&[("sys/class/net/lo/operstate", "unknown\n")]).host(),
            &[],
            &expect!["sys/class/net/bonding_masters: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn the_last_bond_may_go() {
        let memory = memory();
        memory.write("sys/class/net/bonding_masters", "\n");
        check::<Bonding>(&memory.host(), &[], &expect![""]);
    }

    #[test]
    fn a_bond_that_cannot_be_read_costs_itself() {
        for path in [
            "sys/class/net/bond0/bonding/slaves",
            "sys/class/net/bond0/lower_eno2/bonding_slave/mii_status",
        ] {
            for errno in [None, Some(13), Some(19)] {
                let memory = memory();
                match errno {
                    None => memory.remove(path),
                    Some(errno) => memory.fail(path, errno),
                }
                let (batch, outcome) = run(&mut open::<Bonding>(&memory.host(), &[]), None);
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::Unreadable { .. }), "{path} {errno:?}");
                assert!(error.to_string().starts_with(&format!("{path}: ")), "{error}");
                assert_eq!(values(&batch), [2.0, 2.0], "{path} {errno:?}");
            }
        }
    }

    #[test]
    fn interfaces_come_go_and_swap_names() {
        let memory = memory();
        let mut collector = open::<Bonding>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        assert_eq!(values(&first), [2.0, 1.0, 2.0, 2.0]);
        // The bonds swap their names.
        memory.rename("sys/class/net/bond0", "sys/class/net/spare");
        memory.rename("sys/class/net/uplink", "sys/class/net/bond0");
        memory.rename("sys/class/net/spare", "sys/class/net/uplink");
        let (second, _) = run(&mut collector, Some(&first));
        assert_eq!(values(&second), [2.0, 2.0, 2.0, 1.0]);
        memory.write("sys/class/net/bond0/bonding/slaves", "eth1\n");
        let (third, _) = run(&mut collector, Some(&second));
        assert_eq!(values(&third), [1.0, 1.0, 2.0, 1.0]);
    }

    #[test]
    fn a_list_that_was_cut_is_said() {
        let memory = memory();
        memory.write("sys/class/net/bonding_masters", "uplink bond0 ++more++ \n");
        memory.write("sys/class/net/bond0/bonding/slaves", "eno1 ++more++ \n");
        let (batch, outcome) = run(&mut open::<Bonding>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(values(&batch), [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(batch.degraded_reason(), Some("list cut"));
    }

    fn values(batch: &Run) -> Vec<f64> {
        batch.samples().map(|(_, value)| value).collect()
    }
}
