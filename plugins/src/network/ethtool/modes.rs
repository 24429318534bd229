//! The modes of a link: the first 32 of the `ETHTOOL_LINK_MODE_*_BIT` of `linux/ethtool.h`, which the question
//! that node_exporter asks has room for.

pub(super) const NEGOTIATION: u32 = 6;
pub(super) const PAUSE: u32 = 13;
pub(super) const ASYMMETRIC_PAUSE: u32 = 14;

/// A speed that is a mode.
pub(super) struct Speed {
    bit: u32,
    pub(super) megabits: u32,
    pub(super) duplex: &'static str,
    pub(super) mode: &'static str,
}

const fn speed(bit: u32, megabits: u32, duplex: &'static str, mode: &'static str) -> Speed {
    Speed { bit, megabits, duplex, mode }
}

/// The bits between are no speeds; 2500baseX (15) is none that node_exporter shows.
const SPEEDS: [Speed; 22] = [
    speed(0, 10, "half", "10baseT"),
    speed(1, 10, "full", "10baseT"),
    speed(2, 100, "half", "100baseT"),
    speed(3, 100, "full", "100baseT"),
    speed(4, 1000, "half", "1000baseT"),
    speed(5, 1000, "full", "1000baseT"),
    speed(12, 10_000, "full", "10000baseT"),
    speed(17, 1000, "full", "1000baseKX"),
    speed(18, 10_000, "full", "10000baseKX4"),
    speed(19, 10_000, "full", "10000baseKR"),
    speed(20, 10_000, "full", "10000baseR_FEC"),
    speed(21, 20_000, "full", "20000baseMLD2"),
    speed(22, 20_000, "full", "20000baseKR2"),
    speed(23, 40_000, "full", "40000baseKR4"),
    speed(24, 40_000, "full", "40000baseCR4"),
    speed(25, 40_000, "full", "40000baseSR4"),
    speed(26, 40_000, "full", "40000baseLR4"),
    speed(27, 56_000, "full", "56000baseKR4"),
    speed(28, 56_000, "full", "56000baseCR4"),
    speed(29, 56_000, "full", "56000baseSR4"),
    speed(30, 56_000, "full", "56000baseLR4"),
    speed(31, 25_000, "full", "25000baseCR"),
];

const PORTS: [(u32, &str); 6] =
    [(7, "TP"), (8, "AUI"), (9, "MII"), (10, "FIBRE"), (11, "BNC"), (16, "Backplane")];

/// The speeds among the modes.
pub(super) fn speeds(modes: u32) -> impl Iterator<Item = &'static Speed> {
    SPEEDS.iter().filter(move |speed| modes >> speed.bit & 1 == 1)
}

/// The kinds of ports among the modes.
pub(super) fn ports(modes: u32) -> impl Iterator<Item = &'static str> {
    PORTS.iter().filter(move |(bit, _)| modes >> bit & 1 == 1).map(|(_, name)| *name)
}
