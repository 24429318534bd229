//! Sockets, connections and listeners. What answers the requests is behind one trait: [`Answer`].

mod access;
mod connection;
mod connections;
mod date;
mod file_lock;
#[cfg(feature = "fuzzing")]
mod fuzzed;
#[cfg(feature = "tls")]
mod handshakes;
mod heads;
mod limits;
mod listener;
pub(super) mod listeners;
mod pace;
mod service;
mod shares;
mod socket;
mod socket_file;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod unread;
pub(super) mod wanted;
mod wire;

#[cfg(feature = "fuzzing")]
pub(super) use fuzzed::Wires;
pub(super) use limits::page_bytes;
pub(crate) use limits::{Lowered, Scarce, descriptor_limit, lowered};
pub(super) use service::{Answer, Answering};
pub(crate) use socket::handed_over;
