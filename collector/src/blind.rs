//! What of its host the daemon does not see, because it is in a container that was given less.

use serde::Serialize;
use std::fmt;
use vitald_core::host::{Namespace, View};

/// A part of the page that tells of a container where it should tell of the host. The texts are the same on every
/// machine and name no path of it, so that everybody may read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BlindSpot {
    /// One word for it: `processes`, `network`, `root` or `kernel`.
    pub(crate) of: &'static str,
    /// What is shown instead.
    pub(crate) message: &'static str,
    /// What shows the host.
    pub(crate) remedy: &'static str,
}

const PROCESSES: BlindSpot = BlindSpot {
    of: "processes",
    message: "paths.procfs is that of a process namespace of the daemon's own: it shows the processes in it and not the \
              host's, and the mounts and network of its process 1",
    remedy: "start the container with --pid=host --network=host -v /:/host:ro,rslave (of a pod: hostPID: true, \
             hostNetwork: true, and / as a hostPath volume at /host), and set the paths to those below /host; \
             of a unit: no PrivatePIDs=",
};
const NETWORK: BlindSpot = BlindSpot {
    of: "network",
    message: "the network interfaces and sockets are those of a network namespace of the daemon's own and not the \
              host's",
    remedy: "start the container with --network=host (of a pod: hostNetwork: true; of a unit: no PrivateNetwork=)",
};
const ROOT: BlindSpot = BlindSpot {
    of: "root",
    message: "paths.rootfs is the root of a container, in which the host's file systems are not",
    remedy: "start the container with -v /:/host:ro,rslave (of a pod: / as a hostPath volume at /host), and set \
             paths.rootfs to \"/host\"",
};

const KERNEL: BlindSpot = BlindSpot {
    of: "kernel",
    message: "paths.procfs shows processes and nothing else (it is mounted with subset=pid): no CPU, no memory, no disk",
    remedy: "take ProcSubset=pid out of the unit, or mount a whole procfs and set paths.procfs to it",
};

impl BlindSpot {
    /// What of the host is not seen.
    pub(crate) fn of_host(&self) -> &'static str {
        match self.of {
            "processes" => "the host's processes",
            "network" => "the host's network",
            "kernel" => "the host's CPUs, memory and disks",
            _ => "the host's file systems",
        }
    }
}

/// What is not seen. What is not known is not said.
pub(crate) fn spots(view: View) -> Vec<BlindSpot> {
    let parts = [(view.processes, PROCESSES), (view.network, NETWORK), (view.root, ROOT)];
    let blind = parts.into_iter().filter(|(of, _)| *of == Namespace::Own);
    let of_kernel = view.has_processes_only.then_some(KERNEL);
    blind.map(|(_, spot)| spot).chain(of_kernel).collect()
}

/// Logs each.
pub(crate) fn warn(view: View) {
    for BlindSpot { of, message, remedy } in spots(view) {
        tracing::warn!(of, remedy, "the daemon does not see its host: {message}");
    }
}

impl fmt::Display for BlindSpot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        use Namespace::{Host, Own, Unknown};
        let of = |processes, network, root| {
            let has_processes_only = processes == Unknown && network == Own;
            let spots = spots(View { processes, network, root, has_processes_only });
            spots.iter().map(|spot| spot.of).collect::<Vec<_>>()
        };
        assert_eq!(of(Own, Own, Own), ["processes", "network", "root"]);
        assert_eq!(of(Host, Own, Host), ["network"]);
        assert_eq!(of(Unknown, Unknown, Unknown), [""; 0]);
        assert_eq!(of(Unknown, Own, Unknown), ["network", "kernel"]);
    }

    #[test]
    fn each_remedy_is_for_a_container_and_for_a_pod() {
        for BlindSpot { of, remedy, .. } in [PROCESSES, NETWORK, ROOT] {
            let (of_container, of_pod) = remedy.split_once("(of a pod: ").expect("both");
            assert!(of_container.starts_with("start the container with -"), "{of}");
            assert!(of_pod.contains("host"), "{of}");
        }
    }
}
