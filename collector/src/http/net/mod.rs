//! Sockets, connections and listeners. What answers the requests is behind one trait: [`Answer`].

mod access;
mod connection;
mod connections;
mod directory_lock;
#[cfg(feature = "tls")]
mod handshakes;
mod heads;
mod limits;
mod listener;
pub(super) mod listeners;
mod service;
mod shares;
mod socket;
mod socket_file;
mod stream;
#[cfg(test)]
mod tests;
pub(super) mod wanted;

pub(super) use service::{Answer, Answering};
