//! Whether interfaces have changed since they were looked at.

use std::fmt;

use super::Host;
use super::kernel::Kernel;
use super::netlink::Events;

/// Tells when something of a network interface has changed: it came or went, it has another name, address,
/// state or MTU, or whatever else the kernel sends an `RTM_NEWLINK` or `RTM_DELLINK` for.
///
/// It is of the network namespace of the thread that uses it first, which is not necessarily the one that
/// [`Roots::sysfs`](super::Roots::sysfs) shows.
pub struct LinkEvents(Kernel<Events>);

impl Host {
    /// A handle on the changes of interfaces. Nothing is opened until it is used.
    pub fn link_events(&self) -> LinkEvents {
        LinkEvents(self.kernel(Events::default))
    }
}

impl LinkEvents {
    /// A number that is another one if something may have changed since the call before, for
    /// [`Walk::under`](super::Walk::under) and for what a collector keeps of interfaces itself. Ask for it
    /// before they are read, so that a change meanwhile shows in the next number. `None` where the system
    /// lets nobody listen: nothing may be kept then.
    ///
    /// It waits for nothing and makes no allocation.
    pub fn count(&mut self) -> Option<u64> {
        match &mut self.0 {
            Kernel::Real(events) => events.count(),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.link_events(),
        }
    }
}

impl fmt::Debug for LinkEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkEvents").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::left_out;
    use crate::host::{Link, MemoryHost};
    use std::process::Command;

    #[test]
    fn without_a_change_the_number_is_the_same() {
        let host = Host::new(Default::default());
        let mut events = host.link_events();
        let Some(first) = events.count() else {
            left_out("rtnetlink lets nobody listen here");
            return;
        };
        // Other tests may change interfaces of this namespace; the number never goes back.
        assert!(events.count().is_some_and(|next| next >= first));
        let memory = MemoryHost::new();
        let mut events = memory.host().link_events();
        assert_eq!(events.count(), None);
        memory.set_links(vec![Link { index: 1, name: b"lo", ..Link::default() }]);
        let first = events.count();
        assert!(first.is_some() && first == events.count());
        memory.set_links(Vec::new());
        assert_ne!(events.count(), first);
    }

    /// The alias of the loopback interface is written as it is, which the kernel announces.
    #[test]
    fn a_change_is_counted() {
        let host = Host::new(Default::default());
        let mut events = host.link_events();
        let first = events.count();
        let alias = std::fs::read("/sys/class/net/lo/ifalias").unwrap_or_default();
        let alias = String::from_utf8_lossy(&alias);
        let set = Command::new("ip").args(["link", "set", "lo", "alias", alias.trim()]).output();
        if first.is_none() || !set.is_ok_and(|set| set.status.success()) {
            left_out("no interface can be changed here");
            return;
        }
        assert_ne!(events.count(), first);
    }
}
