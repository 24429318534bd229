//! Queueing disciplines, as rtnetlink dumps them. Layouts are those of `linux/rtnetlink.h`,
//! `linux/pkt_sched.h` and `linux/gen_stats.h`.
//!
//! Parsing ([`parse_disciplines`]) is apart from the socket: it takes any bytes, never panics and always
//! ends.

use std::io;

use linux_raw_sys::netlink::{self, _bindgen_ty_66 as tca};

use super::frame::{Attributes, Dump, DumpError, HEADER, dump_request, number_32, parse, text};
use super::socket::Socket;

pub(super) const RTM_NEWQDISC: u16 = netlink::RTM_NEWQDISC as u16;
const RTM_GETQDISC: u16 = netlink::RTM_GETQDISC as u16;
/// `sizeof(struct tcmsg)`.
const MESSAGE: usize = 20;
pub(super) const TCA_KIND: u16 = tca::TCA_KIND as u16;
pub(super) const TCA_STATS2: u16 = tca::TCA_STATS2 as u16;
/// Inside `TCA_STATS2`.
pub(super) const TCA_STATS_BASIC: u16 = 1;
pub(super) const TCA_STATS_QUEUE: u16 = 3;
/// `TC_H_ROOT` of `linux/pkt_sched.h`.
const ROOT: u32 = u32::MAX;

/// A queueing discipline: `struct tcmsg` and the `TCA_*` attributes of one `RTM_NEWQDISC`.
///
/// What the kernel did not send, or sent in too few bytes, is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueingDiscipline<'a> {
    /// `tcm_ifindex`: the interface that it is of.
    pub interface: i32,
    /// `tcm_parent`: the class that it is in. The discipline at the root of an interface says that it is
    /// there instead, see [`QueueingDiscipline::is_root`].
    pub parent: u32,
    /// `TCA_KIND`, such as `fq_codel`.
    pub kind: &'a [u8],
    /// Bytes sent (`TCA_STATS_BASIC`).
    pub bytes: u64,
    /// Packets sent (`TCA_STATS_BASIC`); starts again after 32 bits.
    pub packets: u32,
    /// Packets in the queue (`TCA_STATS_QUEUE`, as the following).
    pub queue_length: u32,
    /// Bytes in the queue.
    pub backlog: u32,
    /// Packets dropped.
    pub drops: u32,
    /// Packets put back because the device did not take them.
    pub requeues: u32,
    /// Packets that were over a limit.
    pub overlimits: u32,
}

impl QueueingDiscipline<'_> {
    /// Whether all that the interface sends goes through it. That for what it receives (`ingress`,
    /// `clsact`) is not.
    pub fn is_root(&self) -> bool {
        matches!(self.parent, 0 | ROOT)
    }
}

/// Passes on every queueing discipline in a dump (`RTM_GETQDISC`).
///
/// # Errors
///
/// The bytes are no sound dump, or the kernel refused it.
pub fn parse_disciplines(
    bytes: &[u8],
    each: &mut dyn FnMut(QueueingDiscipline<'_>),
) -> Result<Dump, DumpError> {
    parse(bytes, RTM_NEWQDISC, &mut |payload| {
        let Some((header, attributes)) = payload.split_first_chunk::<MESSAGE>() else {
            return Err(DumpError::Message);
        };
        // tcm_family and padding, tcm_ifindex, tcm_handle, tcm_parent, tcm_info.
        let mut discipline = QueueingDiscipline {
            interface: field(header, 4) as i32,
            parent: field(header, 12),
            ..QueueingDiscipline::default()
        };
        for attribute in (Attributes { rest: attributes }) {
            match attribute? {
                (TCA_KIND, value) => discipline.kind = text(value),
                (TCA_STATS2, value) => read_statistics(value, &mut discipline),
                _ => {}
            }
        }
        each(discipline);
        Ok(true)
    })
}

/// Reads `struct gnet_stats_basic` and `struct gnet_stats_queue`. A list that is broken ends there.
fn read_statistics(list: &[u8], into: &mut QueueingDiscipline<'_>) {
    for (kind, value) in (Attributes { rest: list }).map_while(Result::ok) {
        match kind {
            TCA_STATS_BASIC => {
                into.bytes = value.first_chunk().map_or(0, |it| u64::from_ne_bytes(*it));
                into.packets = field(value, 8);
            }
            TCA_STATS_QUEUE => {
                into.queue_length = field(value, 0);
                into.backlog = field(value, 4);
                into.drops = field(value, 8);
                into.requeues = field(value, 12);
                into.overlimits = field(value, 16);
            }
            _ => {}
        }
    }
}

/// The number at a place of a structure; 0 where it is shorter.
fn field(structure: &[u8], at: usize) -> u32 {
    structure.get(at..).and_then(number_32).unwrap_or(0)
}

/// A socket for queueing disciplines.
#[derive(Debug)]
pub(in crate::host) struct Disciplines(Socket);

impl Disciplines {
    /// Opens nothing and allocates nothing yet.
    pub(in crate::host) const fn new() -> Self {
        Disciplines(Socket::new(None))
    }

    /// Passes on every queueing discipline of every interface.
    pub(in crate::host) fn each(
        &mut self,
        each: &mut dyn FnMut(QueueingDiscipline<'_>),
    ) -> io::Result<Dump> {
        self.0.dump(&mut dump_request::<{ HEADER + MESSAGE }>(RTM_GETQDISC))?;
        Ok(parse_disciplines(self.0.bytes(), each)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attribute, message_of};
    use super::*;

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    fn message(kind: u16, interface: u32, parent: u32, attributes: &[u8]) -> Vec<u8> {
        let payload =
            [numbers(&[0, interface, 0x8001_0000, parent, 2]), attributes.to_vec()].concat();
        message_of(0, kind, 2, &payload)
    }

    fn dump() -> Vec<u8> {
        let basic = [u64::MAX.to_ne_bytes().to_vec(), numbers(&[7, 0])].concat();
        let queue = numbers(&[1, 2, 3, 4, 5]);
        let statistics =
            [attribute(TCA_STATS_BASIC, &basic), attribute(TCA_STATS_QUEUE, &queue)].concat();
        let whole =
            [attribute(TCA_KIND, b"fq_codel\0"), attribute(TCA_STATS2, &statistics)].concat();
        [
            message(RTM_NEWQDISC, 2, ROOT, &whole),
            message(RTM_NEWQDISC, 2, 0xffff_fff1, &attribute(TCA_KIND, b"clsact\0")),
            message(RTM_NEWQDISC + 2, 3, 0, &[]),
            // Statistics of another kernel, which are cut short.
            message(
                RTM_NEWQDISC,
                4,
                0x0001_0001,
                &attribute(TCA_STATS2, &attribute(TCA_STATS_QUEUE, &numbers(&[9])[..3])),
            ),
        ]
        .concat()
    }

    #[test]
    fn disciplines_are_read() {
        let mut seen = Vec::new();
        parse_disciplines(&dump(), &mut |one| {
            seen.push((
                one.interface,
                one.is_root(),
                String::from_utf8_lossy(one.kind).into_owned(),
            ));
            match one.interface {
                2 if one.is_root() => assert_eq!(
                    one,
                    QueueingDiscipline {
                        interface: 2,
                        parent: ROOT,
                        kind: one.kind,
                        bytes: u64::MAX,
                        packets: 7,
                        queue_length: 1,
                        backlog: 2,
                        drops: 3,
                        requeues: 4,
                        overlimits: 5,
                    }
                ),
                _ => assert_eq!((one.bytes, one.queue_length), (0, 0)),
            }
        })
        .unwrap();
        let name = |name: &str| name.to_owned();
        assert_eq!(
            seen,
            [(2, true, name("fq_codel")), (2, false, name("clsact")), (4, false, name(""))]
        );
    }

    #[test]
    fn any_bytes_end() {
        let dump = dump();
        for length in 0..dump.len() {
            let _ = parse_disciplines(&dump[..length], &mut |_| {});
            let mut spoiled = dump.clone();
            spoiled[length] ^= 0xff;
            let _ = parse_disciplines(&spoiled, &mut |_| {});
        }
    }
}
