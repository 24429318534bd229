//! A handle on what the drivers of network interfaces say.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use vitald_sys::{EthtoolMemory, EthtoolQuestion};

#[cfg(any(test, feature = "testing"))]
use super::ethtool_answers::NAME;
use super::ethtool_answers::{
    EthtoolDriver, EthtoolSettings, EthtoolStatistics, number, parse_driver, parse_settings,
};
#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::{Host, World};
use crate::errno::{EAGAIN, EFAULT};

/// `sizeof(struct ethtool_gstrings)` and `sizeof(struct ethtool_stats)`.
const NAMES_HEADER: usize = 12;
const STATISTICS_HEADER: usize = 8;

/// No driver has so many statistics; node_exporter takes no more either.
const MOST_STATISTICS: u32 = 32_768;

/// A socket of its own for one consumer of what drivers say.
///
/// It is of the network namespace of the thread that uses it first. Every question may wait for a lock of the
/// kernel and for the device, without a deadline: take it in a collector that
/// [may block](crate::collector::Collector::MAY_BLOCK).
pub struct Ethtool(Kernel);

enum Kernel {
    Real(Box<Driver>),
    #[cfg(any(test, feature = "testing"))]
    /// With the statistics as a driver has them.
    Memory(MemoryHost, [Vec<u8>; 2]),
}

#[derive(Default)]
struct Driver {
    socket: Option<OwnedFd>,
    answer: EthtoolMemory,
    names: EthtoolMemory,
}

impl Host {
    /// A handle on the drivers of network interfaces. Nothing is opened until it is used.
    pub fn ethtool(&self) -> Ethtool {
        Ethtool(match &self.inner.world {
            World::Real => Kernel::Real(Box::default()),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => Kernel::Memory(memory.clone(), Default::default()),
        })
    }
}

impl Ethtool {
    /// What the link can do and is to do.
    ///
    /// # Errors
    ///
    /// What ioctl(2) says: EOPNOTSUPP where the driver does not say, ENODEV without such an interface.
    pub fn settings(&mut self, interface: &[u8]) -> io::Result<EthtoolSettings> {
        match &mut self.0 {
            Kernel::Real(driver) => {
                parse_settings(driver.ask(interface, EthtoolQuestion::Settings)?)
            }
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory, _) => {
                memory.ethtool(interface)?.settings.map_err(io::Error::from_raw_os_error)
            }
        }
    }

    /// What drives the device.
    ///
    /// # Errors
    ///
    /// As [`Ethtool::settings`].
    pub fn driver(&mut self, interface: &[u8]) -> io::Result<EthtoolDriver<'_>> {
        match &mut self.0 {
            Kernel::Real(driver) => {
                parse_driver(driver.ask(interface, EthtoolQuestion::Driver)?).map(|(of, _)| of)
            }
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory, _) => {
                memory.ethtool(interface)?.driver.map_err(io::Error::from_raw_os_error)
            }
        }
    }

    /// What the driver counts; nothing where it says that it counts nothing.
    ///
    /// # Errors
    ///
    /// As [`Ethtool::settings`]; EAGAIN where the statistics become others at each attempt.
    pub fn statistics(&mut self, interface: &[u8]) -> io::Result<EthtoolStatistics<'_>> {
        match &mut self.0 {
            Kernel::Real(driver) => driver.statistics(interface),
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory, [names, values]) => {
                let counted = memory.ethtool(interface)?.statistics;
                names.clear();
                values.clear();
                for (name, value) in counted.map_err(io::Error::from_raw_os_error)? {
                    let start = names.len();
                    names.extend_from_slice(name.as_bytes());
                    names.resize(start + NAME, 0);
                    values.extend_from_slice(&value.to_ne_bytes());
                }
                Ok(EthtoolStatistics { names, values })
            }
        }
    }
}

impl Driver {
    fn ask(&mut self, interface: &[u8], question: EthtoolQuestion) -> io::Result<&[u8]> {
        ask(&mut self.socket, &mut self.answer, interface, question)?;
        Ok(self.answer.answer())
    }

    fn statistics(&mut self, interface: &[u8]) -> io::Result<EthtoolStatistics<'_>> {
        let mut attempts = 0..ATTEMPTS;
        while !self.load_statistics(interface)? {
            if attempts.next().is_none() {
                return Err(io::Error::from_raw_os_error(EAGAIN));
            }
        }
        Ok(EthtoolStatistics {
            names: self.names.answer().get(NAMES_HEADER..).unwrap_or_default(),
            values: self.answer.answer().get(STATISTICS_HEADER..).unwrap_or_default(),
        })
    }

    /// Brings names and numbers into memory; not if there were others in between.
    fn load_statistics(&mut self, interface: &[u8]) -> io::Result<bool> {
        let (_, count) = parse_driver(self.ask(interface, EthtoolQuestion::Driver)?)?;
        if count > MOST_STATISTICS {
            return Err(io::Error::other("the driver has more statistics than can be"));
        }
        let Driver { socket, answer, names } = self;
        let asked = ask(socket, names, interface, EthtoolQuestion::StatisticNames(count))
            .and_then(|()| ask(socket, answer, interface, EthtoolQuestion::Statistics(count)));
        match asked {
            // There was more to say than what was asked for.
            Err(error) if error.raw_os_error() == Some(EFAULT) => Ok(false),
            Err(error) => Err(error),
            // An empty answer has room for one number.
            Ok(()) => Ok([(names.answer(), 8), (answer.answer(), 4)]
                .iter()
                .all(|(answer, at)| number(answer, *at) == Some(count))),
        }
    }
}

/// How often statistics are asked for again that had become others: a driver may have got more queues.
const ATTEMPTS: u32 = 3;

fn ask(
    socket: &mut Option<OwnedFd>,
    memory: &mut EthtoolMemory,
    interface: &[u8],
    question: EthtoolQuestion,
) -> io::Result<()> {
    if socket.is_none() {
        *socket = Some(open()?);
    }
    match socket {
        Some(socket) => memory.ask(socket.as_fd(), interface, question),
        None => Ok(()),
    }
}

/// Any socket will do; a kernel without IPv4 has netlink.
fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
        .or_else(|_| socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None))
}

impl fmt::Debug for Ethtool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ethtool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{ENODEV, EOPNOTSUPP};
    use crate::host::{EthtoolAnswers, Listing};

    /// Loopback is everywhere, and Linux has at most the name of its driver. Whatever the drivers of other interfaces
    /// say is whole, and what they do not say has an error of the kernel's.
    #[test]
    fn the_kernel_answers_or_refuses() {
        let host = Host::new(Default::default());
        let mut interfaces = Listing::new();
        host.list("sys/class/net", &mut interfaces).ok();
        let names = interfaces.iter().map(|interface| interface.name);
        let names: Vec<&[u8]> =
            [&b"lo"[..]].into_iter().chain(names.filter(|name| *name != b"lo")).collect();
        let mut ethtool = host.ethtool();
        for name in names.iter().chain(&names) {
            let said = |error: io::Error| {
                let errno = error.raw_os_error();
                assert!(errno.is_some(), "{error}");
                assert!(*name != b"lo" || errno == Some(EOPNOTSUPP), "{error}");
            };
            ethtool.settings(name).map_or_else(said, drop);
            let driver = ethtool.driver(name);
            driver.map_or_else(said, |driver| assert!(!driver.name.is_empty()));
            match ethtool.statistics(name) {
                Ok(statistics) => {
                    let count = statistics.names().len();
                    assert_eq!(statistics.raw_names().len(), 32 * count);
                    assert_eq!(statistics.value(count + 1), 0);
                    assert!(*name != b"lo" || count == 0);
                }
                Err(error) => said(error),
            }
            let absent = ethtool.statistics(b"no such one").unwrap_err();
            assert_eq!(absent.raw_os_error(), Some(ENODEV));
        }
    }

    #[test]
    fn the_memory_host_answers() {
        let memory = MemoryHost::new();
        let mut ethtool = memory.host().ethtool();
        assert!(ethtool.driver(b"eth0").is_err());
        memory.set_ethtool(
            "eth0",
            EthtoolAnswers {
                statistics: Ok(vec![("rx_packets", 7), ("", 8)]),
                ..EthtoolAnswers::default()
            },
        );
        assert!(ethtool.settings(b"eth0").is_err());
        for _ in 0..2 {
            let statistics = ethtool.statistics(b"eth0").unwrap();
            assert_eq!(statistics.names().collect::<Vec<_>>(), [&b"rx_packets"[..], b""]);
            assert_eq!([0, 1, 2].map(|place| statistics.value(place)), [7, 8, 0]);
        }
    }
}
