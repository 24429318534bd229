//! What the drivers of network interfaces answer. Layouts are those of `linux/ethtool.h`.

use std::io;

#[cfg(any(test, feature = "testing"))]
use crate::errno::EOPNOTSUPP;
use crate::errno::EPROTO;

/// `ETH_GSTRING_LEN`.
pub(super) const NAME: usize = 32;
/// What a link can do and is to do (`struct ethtool_cmd`): the first 32 of the `ETHTOOL_LINK_MODE_*_BIT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EthtoolSettings {
    /// What the device can do.
    pub supported: u32,
    /// What it offers the other side.
    pub advertised: u32,
    /// Whether the two find out what they use: 0 or 1.
    pub autonegotiation: u8,
}

/// What drives a device (`struct ethtool_drvinfo`), without the NULs at the ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EthtoolDriver<'a> {
    /// The driver's name.
    pub name: &'a [u8],
    /// Its version; for one of the kernel's own that of the kernel.
    pub version: &'a [u8],
    /// The version of what runs in the device.
    pub firmware_version: &'a [u8],
    /// The version of what is in its ROM.
    pub expansion_rom_version: &'a [u8],
    /// Where the device is, such as its address on PCI.
    pub bus: &'a [u8],
}

/// What a driver counts, under its own names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EthtoolStatistics<'a> {
    /// 32 bytes for each name.
    pub(super) names: &'a [u8],
    /// 8 bytes for each number.
    pub(super) values: &'a [u8],
}

impl<'a> EthtoolStatistics<'a> {
    /// All names as the driver gives them, to find out whether they are the same as before: while these bytes
    /// are the same, each place has the same name.
    pub fn raw_names(&self) -> &'a [u8] {
        self.names
    }

    /// The name at each place, which may be empty. A name may be there twice.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.names.chunks_exact(NAME).map(until_nul)
    }

    /// The number at a place; 0 beyond the last.
    pub fn value(&self, place: usize) -> u64 {
        let value = self.values.get(8 * place..).and_then(|rest| rest.first_chunk());
        value.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Takes a `struct ethtool_cmd`.
pub(super) fn parse_settings(answer: &[u8]) -> io::Result<EthtoolSettings> {
    let settings = || {
        Some(EthtoolSettings {
            supported: number(answer, 4)?,
            advertised: number(answer, 8)?,
            autonegotiation: *answer.get(18)?,
        })
    };
    settings().ok_or_else(|| io::Error::from_raw_os_error(EPROTO))
}

/// Takes a `struct ethtool_drvinfo`, and how many statistics there are (`n_stats`).
pub(super) fn parse_driver(answer: &[u8]) -> io::Result<(EthtoolDriver<'_>, u32)> {
    let text = |at: usize| answer.get(at..at + 32).map(until_nul);
    let driver = || {
        let driver = EthtoolDriver {
            name: text(4)?,
            version: text(36)?,
            firmware_version: text(68)?,
            bus: text(100)?,
            expansion_rom_version: text(132)?,
        };
        Some((driver, number(answer, 180)?))
    };
    driver().ok_or_else(|| io::Error::from_raw_os_error(EPROTO))
}

pub(super) fn number(answer: &[u8], at: usize) -> Option<u32> {
    answer.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What the driver of an interface answers in the in-memory fake, each an answer or an `errno`.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug)]
pub struct EthtoolAnswers {
    /// To [`Ethtool::settings`](super::Ethtool::settings).
    pub settings: Result<EthtoolSettings, i32>,
    /// To [`Ethtool::driver`](super::Ethtool::driver).
    pub driver: Result<EthtoolDriver<'static>, i32>,
    /// To [`Ethtool::statistics`](super::Ethtool::statistics): names of at most 32 bytes, and numbers.
    pub statistics: Result<Vec<(&'static str, u64)>, i32>,
}

#[cfg(any(test, feature = "testing"))]
impl Default for EthtoolAnswers {
    /// A driver that does not know of ethtool.
    fn default() -> Self {
        let no = EOPNOTSUPP;
        EthtoolAnswers { settings: Err(no), driver: Err(no), statistics: Err(no) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut answer = vec![0; 44];
        answer[4..8].copy_from_slice(&0x2ff_u32.to_ne_bytes());
        answer[8..12].copy_from_slice(&0x40_u32.to_ne_bytes());
        answer[18] = 1;
        let settings = EthtoolSettings { supported: 0x2ff, advertised: 0x40, autonegotiation: 1 };
        assert_eq!(parse_settings(&answer).unwrap(), settings);
        assert!(parse_settings(&answer[..18]).is_err());
        let mut answer = vec![0; 196];
        answer[4..11].copy_from_slice(b"e1000e\0");
        answer[36..68].fill(b'v');
        answer[100..112].copy_from_slice(b"0000:00:1f.6");
        answer[180..184].copy_from_slice(&12_u32.to_ne_bytes());
        let driver = EthtoolDriver {
            name: b"e1000e",
            version: &[b'v'; 32],
            bus: b"0000:00:1f.6",
            ..EthtoolDriver::default()
        };
        assert_eq!(parse_driver(&answer).unwrap(), (driver, 12));
        assert!(parse_driver(&answer[..183]).is_err());
    }
}
