//! A handle on one family of generic netlink.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::netlink::{AttributeWriter, Generic, GenericMessage, GenericRequest};
use super::{Host, World};
use crate::error::{Error, Result};

/// A socket of its own for one consumer of a family of generic netlink, such as `ethtool` or
/// `nl80211`.
///
/// It is of the network namespace of the thread that uses it first.
pub struct GenericSocket {
    kernel: Kernel,
    /// What errors call it.
    source: Arc<str>,
}

enum Kernel {
    Real(Generic),
    #[cfg(any(test, feature = "testing"))]
    Memory(Box<str>, MemoryHost),
}

impl Host {
    /// A socket for the family of that name. Nothing is opened until it is used.
    pub fn generic_socket(&self, family: &str) -> GenericSocket {
        let kernel = match &self.inner.world {
            World::Real => Kernel::Real(Generic::new(family)),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => Kernel::Memory(family.into(), memory.clone()),
        };
        GenericSocket { kernel, source: format!("netlink {family}").into() }
    }
}

impl GenericSocket {
    /// Asks for everything of a kind or for one thing, and passes on each answer. Nothing is passed
    /// on before the whole answer is there; a dump that the kernel calls inconsistent is asked for
    /// again.
    ///
    /// `write` puts the attributes of the request, and `command` and they are in the family's own
    /// numbers. No answer is waited for beyond `deadline`; what the kernel does before it answers,
    /// such as waiting for a lock of its own, is not bounded by it.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where the kernel has no such family, or not what is asked for (ENOENT,
    /// ENODEV); [`Error::Unreadable`] for any other refusal, and for an answer that did not come or
    /// is not a message.
    pub fn ask(
        &mut self,
        wanted: GenericRequest,
        command: u8,
        write: &mut dyn FnMut(&mut AttributeWriter<'_>),
        deadline: Instant,
        each: &mut dyn FnMut(GenericMessage<'_>),
    ) -> Result<()> {
        let asked = match &mut self.kernel {
            Kernel::Real(generic) => generic.ask(wanted, command, write, deadline, each).map(drop),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(name, memory) => memory.answer_generic(name, command, write, each),
        };
        asked.map_err(|error| Error::of_source(Arc::clone(&self.source), error))
    }
}

impl fmt::Debug for GenericSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenericSocket").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::GenericRequest::{All, One};
    use super::*;
    use crate::host::tests::left_out;
    use crate::host::{MemoryHost, NetlinkAttributes, Roots};
    use std::io;
    use std::time::Duration;

    /// `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME` of
    /// `linux/genetlink.h`.
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// `nlctrl` is in every kernel with generic netlink, and is a family itself.
    #[test]
    fn the_kernel_knows_its_own_families() {
        let host = Host::new(Roots::default());
        let mut socket = host.generic_socket("nlctrl");
        let mut names = Vec::new();
        let dumped = socket.ask(All, GET_FAMILY, &mut |_| {}, soon(), &mut |message| {
            names.extend(message.attributes.find(FAMILY_NAME).map(<[u8]>::to_vec));
        });
        if let Err(error) = dumped {
            left_out(&format!("generic netlink is refused here: {error}"));
            return;
        }
        assert!(names.contains(&b"nlctrl\0".to_vec()), "{names:?}");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let mut write = |attributes: &mut AttributeWriter<'_>| {
                attributes.text(FAMILY_NAME, b"nlctrl");
            };
            socket
                .ask(One, GET_FAMILY, &mut write, soon(), &mut |message| {
                    ids.extend(message.attributes.find(FAMILY_ID).map(<[u8]>::to_vec));
                })
                .unwrap();
        }
        assert_eq!(ids, [16_u16.to_ne_bytes(), 16_u16.to_ne_bytes()]);
        // A request that the kernel refuses leaves a socket that works.
        let mut unknown = |attributes: &mut AttributeWriter<'_>| {
            attributes.text(FAMILY_NAME, b"no such one");
        };
        let refused = socket.ask(One, GET_FAMILY, &mut unknown, soon(), &mut |_| panic!());
        assert!(matches!(refused, Err(Error::Absent { .. })), "{refused:?}");
        let refused = socket.ask(One, 200, &mut |_| {}, soon(), &mut |_| panic!());
        assert!(matches!(refused, Err(Error::Unreadable { .. })), "{refused:?}");
        let mut count = 0;
        socket.ask(All, GET_FAMILY, &mut |_| {}, soon(), &mut |_| count += 1).unwrap();
        assert_eq!(count, names.len());
        let mut absent = host.generic_socket("no such family");
        let refused = absent.ask(All, 1, &mut |_| {}, soon(), &mut |_| panic!());
        assert!(
            matches!(&refused, Err(Error::Absent { path }) if &**path == "netlink no such family")
        );
    }

    #[test]
    fn the_memory_host_answers_for_a_family() {
        let memory = MemoryHost::new();
        memory.set_generic("ethtool", |command, attributes| {
            let name = attributes.find(1).ok_or_else(|| io::Error::from_raw_os_error(22))?;
            let mut answer = Vec::new();
            AttributeWriter::new(&mut answer).nested(2, |inner| inner.bytes(3, name));
            Ok(vec![(command + 1, answer)])
        });
        let host = memory.host();
        let mut socket = host.generic_socket("ethtool");
        let mut seen = Vec::new();
        let mut write = |attributes: &mut AttributeWriter<'_>| attributes.text(1, b"eth0");
        socket
            .ask(All, 7, &mut write, soon(), &mut |message| {
                let inner = NetlinkAttributes::nested(message.attributes.find(2).unwrap());
                seen.push((message.command, inner.find(3).map(<[u8]>::to_vec)));
            })
            .unwrap();
        assert_eq!(seen, [(8, Some(b"eth0\0".to_vec()))]);
        let refused = socket.ask(One, 7, &mut |_| {}, soon(), &mut |_| panic!());
        assert!(matches!(refused, Err(Error::Unreadable { .. })));
        let absent = host.generic_socket("nl80211").ask(One, 1, &mut |_| {}, soon(), &mut |_| {});
        assert!(matches!(absent, Err(Error::Absent { .. })));
    }
}
