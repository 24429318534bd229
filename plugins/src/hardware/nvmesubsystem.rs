//! NVMe subsystems and the paths to them, from `/sys/class/nvme-subsystem`
//! (drivers/nvme/host/core.c, drivers/nvme/host/sysfs.c).

use vitald_core::prelude::*;

families! {
    /// What an NVMe subsystem is; always 1.
    INFO: gauge = "node_nvmesubsystem_info" [subsystem, nqn, model, serial, iopolicy];
    /// The disk that a namespace of a subsystem is; always 1.
    NAMESPACE_INFO: gauge = "node_nvmesubsystem_namespace_info" [subsystem, device];
    /// Controllers through which a subsystem can be reached.
    PATHS: gauge = "node_nvmesubsystem_paths" [subsystem];
    /// Controllers through which a subsystem can be reached now.
    LIVE_PATHS: gauge = "node_nvmesubsystem_paths_live" [subsystem];
    /// Whether a controller is in this state.
    STATE: gauge = "node_nvmesubsystem_path_state" [subsystem, controller, transport, state];
}

attributes! {
    Subsystem {
        NAME: text = "subsysnqn", slow;
        MODEL: text = "model", optional, slow;
        SERIAL: text = "serial", optional, slow;
        // Only of a kernel that can use several paths.
        POLICY: text = "iopolicy", optional;
    }
}

attributes! {
    Controller {
        STATE: text = "state";
        TRANSPORT: text = "transport", optional, slow;
    }
}

attributes! {
    Namespace {}
}

/// The states that are shown.
const STATES: [&[u8]; 5] = [b"live", b"connecting", b"resetting", b"dead", b"unknown"];

/// The states in which none of those shown is.
const PASSING_STATES: [&[u8]; 3] = [b"deleting", b"deleting (no IO)", b"new"];

register_collector!(NvmeSubsystem);

struct NvmeSubsystem {
    subsystems: Walk<Subsystem>,
    controllers: Walk<Controller>,
    namespaces: Walk<Namespace>,
}

impl Collector for NvmeSubsystem {
    about! {
        name: "nvmesubsystem",
        summary: "NVMe subsystems and the paths to them",
        families: FAMILIES,
        sources: [
            "sys/class/nvme-subsystem/nvme-subsys*/subsysnqn",
            "sys/class/nvme-subsystem/nvme-subsys*/model",
            "sys/class/nvme-subsystem/nvme-subsys*/serial",
            "sys/class/nvme-subsystem/nvme-subsys*/iopolicy",
            "sys/class/nvme-subsystem/nvme-subsys*/nvme*/state",
            "sys/class/nvme-subsystem/nvme-subsys*/nvme*/transport",
        ],
    }
    const ENABLED: bool = false;

    fn open((): (), host: &Host) -> Result<Self> {
        let controllers = host.walk("sys/class/nvme-subsystem/nvme-subsys*/nvme*");
        let namespaces = host.walk("sys/class/nvme-subsystem/nvme-subsys*/nvme*");
        Ok(NvmeSubsystem {
            subsystems: host.walk("sys/class/nvme-subsystem/nvme-subsys*"),
            controllers: controllers.only(1, is_controller),
            namespaces: namespaces.only(1, is_namespace),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let subsystems = self.subsystems.refresh()?;
        let mut controllers = self.controllers.optional()?.peekable();
        for subsystem in subsystems {
            let name = subsystem.name(0);
            let labels = [
                name,
                subsystem.text(&Subsystem::NAME)?,
                subsystem.text(&Subsystem::MODEL)?,
                subsystem.text(&Subsystem::SERIAL)?,
                subsystem.text(&Subsystem::POLICY)?,
            ];
            batch.row(&INFO, labels, 1);
            // A subsystem that has come since the subsystems were listed is not shown yet.
            while controllers.next_if(|controller| controller.name(0) < name).is_some() {}
            let (mut paths, mut live) = (0_u32, 0_u32);
            while let Some(path) = controllers.next_if(|controller| controller.name(0) == name) {
                let state = shown_state(path.text(&Controller::STATE)?);
                paths += 1;
                live += u32::from(state == b"live");
                let transport = path.text(&Controller::TRANSPORT)?;
                for known in STATES {
                    batch.row(&STATE, [name, path.name(1), transport, known], known == state);
                }
            }
            batch.row(&PATHS, [name], paths);
            batch.row(&LIVE_PATHS, [name], live);
        }
        for namespace in self.namespaces.optional()? {
            batch.row(&NAMESPACE_INFO, [namespace.name(0), namespace.name(1)], 1);
        }
        Ok(())
    }
}

/// Takes a state that the kernel is known to have, or else `unknown`.
fn shown_state(state: &[u8]) -> &[u8] {
    if STATES.contains(&state) || PASSING_STATES.contains(&state) { state } else { b"unknown" }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether this is `nvme0`.
fn is_controller(name: &[u8]) -> bool {
    name.strip_prefix(b"nvme").is_some_and(is_number)
}

/// Whether this is `nvme0n1`.
fn is_namespace(name: &[u8]) -> bool {
    let parts = name.strip_prefix(b"nvme").and_then(|rest| text::split_once(rest, b'n'));
    parts.is_some_and(|(subsystem, id)| is_number(subsystem) && is_number(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const CLASS: &str = "sys/class/nvme-subsystem";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("nvme-subsys0/subsysnqn", "nqn.2014.08.org.nvmexpress:8086"),
            ("nvme-subsys0/model", "INTEL SSDPE2KX040T8"),
            ("nvme-subsys0/serial", "PHLJ9180"),
            ("nvme-subsys0/nvme0/state", "live"),
            ("nvme-subsys0/nvme0/transport", "pcie"),
            ("nvme-subsys1/subsysnqn", "nqn.2019-08.org.example:array"),
            ("nvme-subsys1/iopolicy", "round-robin"),
            ("nvme-subsys1/nvme1/state", "live"),
            ("nvme-subsys1/nvme1/transport", "tcp"),
            ("nvme-subsys1/nvme2/state", "deleting (no IO)"),
            ("nvme-subsys1/nvme2/transport", "tcp"),
            ("nvme-subsys1/nvme3/state", "odd"),
            ("nvme-subsys1/nvme1n1/size", "1"),
            ("nvme-subsys1/nvme1c1n1/size", "1"),
            ("nvme-subsys2/subsysnqn", "nqn.without.controllers"),
        ] {
            memory.write(format!("{CLASS}/{path}"), format!("{content}\n"));
        }
        memory
    }

    #[test]
    fn golden() {
        check::<NvmeSubsystem>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_nvmesubsystem_info gauge
            node_nvmesubsystem_info{subsystem="nvme-subsys0",nqn="nqn.2014.08.org.nvmexpress:8086",model="INTEL SSDPE2KX040T8",serial="PHLJ9180",iopolicy=""} 1
            node_nvmesubsystem_info{subsystem="nvme-subsys1",nqn="nqn.2019-08.org.example:array",model="",serial="",iopolicy="round-robin"} 1
            node_nvmesubsystem_info{subsystem="nvme-subsys2",nqn="nqn.without.controllers",model="",serial="",iopolicy=""} 1
            # node_nvmesubsystem_namespace_info gauge
            node_nvmesubsystem_namespace_info{subsystem="nvme-subsys1",device="nvme1n1"} 1
            # node_nvmesubsystem_path_state gauge
            node_nvmesubsystem_path_state{subsystem="nvme-subsys0",controller="nvme0",transport="pcie",state="live"} 1
            node_nvmesubsystem_path_state{subsystem="nvme-subsys0",controller="nvme0",transport="pcie",state="connecting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys0",controller="nvme0",transport="pcie",state="resetting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys0",controller="nvme0",transport="pcie",state="dead"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys0",controller="nvme0",transport="pcie",state="unknown"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme1",transport="tcp",state="live"} 1
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme1",transport="tcp",state="connecting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme1",transport="tcp",state="resetting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme1",transport="tcp",state="dead"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme1",transport="tcp",state="unknown"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme2",transport="tcp",state="live"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme2",transport="tcp",state="connecting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme2",transport="tcp",state="resetting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme2",transport="tcp",state="dead"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme2",transport="tcp",state="unknown"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme3",transport="",state="live"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme3",transport="",state="connecting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme3",transport="",state="resetting"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme3",transport="",state="dead"} 0
            node_nvmesubsystem_path_state{subsystem="nvme-subsys1",controller="nvme3",transport="",state="unknown"} 1
            # node_nvmesubsystem_paths gauge
            node_nvmesubsystem_paths{subsystem="nvme-subsys0"} 1
            node_nvmesubsystem_paths{subsystem="nvme-subsys1"} 3
            node_nvmesubsystem_paths{subsystem="nvme-subsys2"} 0
            # node_nvmesubsystem_paths_live gauge
            node_nvmesubsystem_paths_live{subsystem="nvme-subsys0"} 1
            node_nvmesubsystem_paths_live{subsystem="nvme-subsys1"} 1
            node_nvmesubsystem_paths_live{subsystem="nvme-subsys2"} 0
        "##]],
        );
    }

    #[test]
    fn a_path_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<NvmeSubsystem>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove(format!("{CLASS}/nvme-subsys1/nvme1"));
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("paths{subsystem=\"nvme-subsys1\"} 2\n"), "{page}");
        assert!(page.contains("paths_live{subsystem=\"nvme-subsys1\"} 0\n"), "{page}");
        memory.write(format!("{CLASS}/nvme-subsys1/nvme9/state"), "live\n");
        assert!(render(&run(&mut collector, None).0).contains("nvme-subsys1\"} 1\n"));
    }

    #[test]
    fn names_of_controllers_and_namespaces() {
        assert!(is_controller(b"nvme0") && is_controller(b"nvme12"));
        assert!(!is_controller(b"nvme") && !is_controller(b"nvme0n1") && !is_controller(b"ng0"));
        assert!(is_namespace(b"nvme0n1") && is_namespace(b"nvme12n34"));
        assert!(!is_namespace(b"nvme0c0n1") && !is_namespace(b"nvme0n1p1"));
    }

    #[test]
    fn a_host_without_the_class_is_said() {
        check_fails::<NvmeSubsystem>(
            &MemoryHost::new().host(),
            &[],
            &expect!["sys/class/nvme-subsystem: not on this host"],
            &expect![""],
        );
    }
}
