//! What is said of wireless interfaces, by the kernel or by who recorded it.

use vitald_core::prelude::*;

/// Takes an answer about the interface of that name.
pub(super) type Show<'s> = &'s mut dyn FnMut(&[u8], Answer<'_>, &mut Batch);

pub(super) enum Answer<'a> {
    /// There is such an interface; 0 if it is not tuned.
    Interface {
        megahertz: u32,
    },
    Network(Network<'a>),
    Station(Station<'a>),
}

/// The network that an interface is in.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Network<'a> {
    pub(super) address: &'a [u8],
    /// Any bytes.
    pub(super) name: &'a [u8],
    pub(super) status: i64,
}

/// What is known of a station; what is not is 0.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Station<'a> {
    pub(super) address: &'a [u8],
    pub(super) connected_seconds: f64,
    pub(super) inactive_seconds: f64,
    pub(super) received_bytes: u64,
    pub(super) transmitted_bytes: u64,
    pub(super) received_packets: u64,
    pub(super) transmitted_packets: u64,
    pub(super) signal: i64,
    pub(super) retries: u64,
    pub(super) failed: u64,
    pub(super) beacon_losses: u64,
    /// In bits per second.
    pub(super) receive_rate: u64,
    pub(super) transmit_rate: u64,
}
