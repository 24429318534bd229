//! What network interfaces count, each under its name.

use std::fmt;
use std::time::{Duration, Instant};

use super::interface_names::Names;
use super::netlink::LinkStatistics;
use super::{Host, LinkEvents, Pause, SharedLinks};
use crate::error::Result;

/// After so long the names are learned anew, event or not.
const LONGEST: Duration = Duration::from_secs(60);

/// What an interface has counted.
#[derive(Debug, Clone, Copy)]
pub struct CountedLink<'a> {
    /// `ifi_index`.
    pub index: i32,
    /// `IFLA_IFNAME`; never empty.
    pub name: &'a [u8],
    /// `IFLA_IFALIAS`; none where [`LinkCounters::with_aliases`] does not ask for it.
    pub alias: Option<&'a [u8]>,
    /// `IFLA_STATS64`; none where the kernel does not send it.
    pub statistics: Option<LinkStatistics>,
}

/// What network interfaces count, without what else a dump of them says.
///
/// A dump of interfaces (`RTM_GETLINK`) makes up more than a kilobyte of each, of which the counters are a
/// sixth; that of the counters alone (`RTM_GETSTATS`) costs the kernel a tenth, and knows interfaces by their
/// indexes. An index stays with its interface and a rename is an event ([`LinkEvents`]), so the names of the last
/// whole dump hold until there is an event, or other indexes. It is whole, too, where another collector has had
/// one in this collection (`arp` and `netclass` have one in each, so that it is for hosts without them, and for scrapes
/// of `netdev` alone), after 60 seconds, and where the kernel cannot do otherwise.
///
/// Sockets are its own and only memory is shared, as with [`SharedLinks`].
pub struct LinkCounters {
    links: SharedLinks,
    events: LinkEvents,
    needs_aliases: bool,
    /// The counters alone may not be to be had, or always be of other interfaces than are known: a kernel before 4.7
    /// refuses, Linux 6.9 has two orders.
    pause: Pause,
    /// What [`LinkEvents::count`] said before the dump that the names are from, and when that was.
    known: Option<(u64, Instant)>,
    /// Those of the last whole dump, in its order.
    names: Names,
}

impl Host {
    /// A handle on what interfaces count. Nothing is opened until it is used.
    pub fn link_counters(&self) -> LinkCounters {
        LinkCounters {
            links: self.shared_links(),
            events: self.link_events(),
            needs_aliases: false,
            pause: Pause::default(),
            known: None,
            names: Names::default(),
        }
    }
}

impl LinkCounters {
    /// Passes on the alias of each interface, too, if it is so; a change of it may come without an event.
    #[must_use]
    pub fn with_aliases(self, needs_aliases: bool) -> Self {
        LinkCounters { needs_aliases, ..self }
    }

    /// Passes on every network interface and what it has counted since `fresh_from` at the earliest; take
    /// [`Batch::fresh_from`](crate::batch::Batch::fresh_from).
    ///
    /// # Errors
    ///
    /// As [`SharedLinks::each`].
    pub fn each(
        &mut self,
        fresh_from: Instant,
        each: &mut dyn FnMut(CountedLink<'_>),
    ) -> Result<()> {
        self.each_at(Instant::now(), fresh_from, each)
    }

    fn each_at(
        &mut self,
        now: Instant,
        fresh_from: Instant,
        each: &mut dyn FnMut(CountedLink<'_>),
    ) -> Result<()> {
        if self.needs_aliases || self.links.are_dumped(fresh_from) {
            return self.links.each(fresh_from, &mut |link| {
                let (index, name, alias) = (link.index, link.name, link.alias);
                each(CountedLink { index, name, alias, statistics: link.statistics });
            });
        }
        let count = self.events.count();
        let is_known = self.known.is_some_and(|(known, since)| {
            Some(known) == count && now.saturating_duration_since(since) < LONGEST
        });
        // A dump that began before may have an interface under the name that an event has told of since.
        let fresh_from = fresh_from.max(Instant::now());
        if is_known && self.are_counted()? {
            return self.last_counters(each);
        }
        self.learn(fresh_from, each)?;
        self.known = count.map(|count| (count, now));
        Ok(())
    }

    /// Whether the kernel says what the interfaces that are known have counted, and no others.
    fn are_counted(&mut self) -> Result<bool> {
        if !self.pause.lets_ask() {
            return Ok(false);
        }
        // What is wrong shows in the whole dump, too, if it is not this request alone.
        let are_counted = self.links.socket().dump_statistics().is_ok() && self.are_known()?;
        self.pause.note(are_counted);
        Ok(are_counted)
    }

    /// Whether the last counters are of the interfaces that are known, in their order.
    fn are_known(&mut self) -> Result<bool> {
        let LinkCounters { links, names, .. } = self;
        let mut known = names.iter();
        let mut are_known = true;
        links.socket().last_statistics(&mut |index, _| {
            are_known &= known.next().is_some_and(|(known, _)| known == index);
        })?;
        Ok(are_known && known.next().is_none())
    }

    fn last_counters(&mut self, each: &mut dyn FnMut(CountedLink<'_>)) -> Result<()> {
        let LinkCounters { links, names, .. } = self;
        let mut names = names.iter();
        links.socket().last_statistics(&mut |index, statistics| {
            if let Some((_, name)) = names.next() {
                each(CountedLink { index, name, alias: None, statistics });
            }
        })
    }

    /// Asks for all of the interfaces, and keeps their names.
    fn learn(&mut self, fresh_from: Instant, each: &mut dyn FnMut(CountedLink<'_>)) -> Result<()> {
        let LinkCounters { links, names, known, .. } = self;
        *known = None;
        names.clear();
        links.each(fresh_from, &mut |link| {
            let (index, name, alias) = (link.index, link.name, None);
            names.push(index, name);
            each(CountedLink { index, name, alias, statistics: link.statistics });
        })
    }
}

impl fmt::Debug for LinkCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkCounters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::left_out;
    use crate::host::{Link, MemoryHost};

    fn link(index: i32, name: &'static [u8], rx_bytes: u64) -> Link<'static> {
        let statistics = Some(LinkStatistics { rx_bytes, ..LinkStatistics::default() });
        Link { index, name, alias: Some(b"uplink"), statistics, ..Link::default() }
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        memory.set_links(vec![link(1, b"lo", 10), link(7, b"eth0", 20)]);
        memory
    }

    /// The names and counters of a collection that begins now, and how many requests it took.
    fn seen(memory: &MemoryHost, counters: &mut LinkCounters) -> (String, u64) {
        seen_at(Instant::now(), memory, counters)
    }

    fn seen_at(now: Instant, memory: &MemoryHost, counters: &mut LinkCounters) -> (String, u64) {
        let before = memory.requests().others;
        let mut seen = String::new();
        let fresh_from = now + Duration::from_nanos(1);
        let each = &mut |link: CountedLink<'_>| {
            let counted = link.statistics.map_or(0, |statistics| statistics.rx_bytes);
            let name = String::from_utf8_lossy(link.name);
            seen += &format!("{} {name} {counted} {}, ", link.index, link.alias.is_some());
        };
        counters.each_at(now, fresh_from, each).expect("they are there");
        (seen, memory.requests().others - before)
    }

    #[test]
    fn names_hold_until_there_is_an_event() {
        let memory = memory();
        let mut counters = memory.host().link_counters();
        let first = "1 lo 10 false, 7 eth0 20 false, ".to_owned();
        assert_eq!(seen(&memory, &mut counters), (first.clone(), 1));
        assert_eq!(seen(&memory, &mut counters), (first, 1));
        // Were it the whole dump, the name would be another one, too.
        memory.count_links(|links| {
            *links = vec![link(1, b"other", 11), link(7, b"wan", 21)];
        });
        let counted = "1 lo 11 false, 7 eth0 21 false, ".to_owned();
        assert_eq!(seen(&memory, &mut counters), (counted, 1));
        memory.set_links(vec![link(1, b"lo", 12), link(7, b"wan", 22)]);
        let renamed = "1 lo 12 false, 7 wan 22 false, ".to_owned();
        assert_eq!(seen(&memory, &mut counters), (renamed, 1));
    }

    #[test]
    fn other_interfaces_are_seen_without_an_event() {
        let memory = memory();
        let mut counters = memory.host().link_counters();
        let _ = seen(&memory, &mut counters);
        for (links, expected) in [
            (vec![link(1, b"lo", 1)], "1 lo 1 false, "),
            (vec![link(1, b"lo", 1), link(8, b"eth0", 2)], "1 lo 1 false, 8 eth0 2 false, "),
            (vec![link(8, b"eth0", 2), link(1, b"lo", 1)], "8 eth0 2 false, 1 lo 1 false, "),
            (vec![], ""),
            (vec![link(9, b"eth1", 3)], "9 eth1 3 false, "),
        ] {
            memory.count_links(|now| now.clone_from(&links));
            assert_eq!(seen(&memory, &mut counters), (expected.to_owned(), 2));
            assert_eq!(seen(&memory, &mut counters), (expected.to_owned(), 1));
        }
    }

    #[test]
    fn a_kernel_that_does_not_count_alone_is_asked_seldom() {
        let memory = memory();
        memory.set_link_counters(false);
        let mut counters = memory.host().link_counters();
        let mut requests = || seen(&memory, &mut counters).1;
        assert_eq!([(); 4].map(|()| requests()), [1, 2, 2, 2]);
        assert!((0..Pause::LENGTH).all(|_| requests() == 1));
        memory.set_link_counters(true);
        // The names are known, so it is one request for the counters.
        memory.count_links(|links| links[1].name = b"wan");
        let (names, requests) = seen(&memory, &mut counters);
        assert!(names.contains("eth0") && requests == 1, "{names}, {requests}");
    }

    #[test]
    fn aliases_are_of_the_whole_dump() {
        let memory = memory();
        let mut counters = memory.host().link_counters().with_aliases(true);
        for _ in 0..2 {
            let (seen, _) = seen(&memory, &mut counters);
            assert_eq!(seen, "1 lo 10 true, 7 eth0 20 true, ");
        }
    }

    #[test]
    fn names_are_learned_anew_in_time() {
        let memory = memory();
        let mut counters = memory.host().link_counters();
        let start = Instant::now();
        let _ = seen_at(start, &memory, &mut counters);
        memory.count_links(|links| links[1].name = b"wan");
        let mut seen =
            |seconds| seen_at(start + Duration::from_secs(seconds), &memory, &mut counters).0;
        assert!(seen(59).contains("eth0"));
        assert!(seen(60).contains("wan"));
    }

    /// The counters alone are those of the whole dump. Other tests may change the interfaces of this namespace, so that
    /// one of some rounds will do.
    #[test]
    fn this_kernel_says_the_same_both_ways() {
        let host = Host::new(crate::host::Roots::default());
        if host.route_socket().dump_statistics().is_err() {
            left_out("this kernel does not count interfaces alone");
            return;
        }
        let mut counters = host.link_counters();
        let seen = |counters: &mut LinkCounters| {
            let mut seen = Vec::new();
            let fresh_from = Instant::now() + Duration::from_nanos(1);
            let each = &mut |link: CountedLink<'_>| {
                let bytes = link.statistics.expect("it counts").rx_bytes;
                seen.push((link.index, link.name.to_vec(), bytes));
            };
            counters.each(fresh_from, each).expect("the kernel answers");
            seen
        };
        let is_same = (0..20).any(|_| {
            counters.known = None;
            let whole = seen(&mut counters);
            let alone = seen(&mut counters);
            counters.pause == Pause::default()
                && counters.known.is_some()
                && whole.len() == alone.len()
                && whole.iter().zip(&alone).all(|(whole, alone)| {
                    (whole.0, &whole.1) == (alone.0, &alone.1) && whole.2 <= alone.2
                })
        });
        assert!(is_same);
    }
}
