//! HTTP: listeners, routes, and what is answered.
//!
//! ```text
//! service      Http: all of it together; refuses what no page is asked about
//! routes       which page a request is for (warp)
//! page/*       one file a page: scrape, plugins, status, reload, health
//! gate         what a web configuration asks of every request
//! admin        who may administer, and who may read
//! tokens, peer_users   what is in the files of tokens; whose process a peer is
//! site         what the pages share: the daemon behind them, its counters
//! request, reply, query, paths, pool   what goes in and out
//! net/*        sockets, limits, connections, listeners, over one trait: `Answer`
//! ```
//!
//! Each layer knows those below it only; `net` knows nothing but requests and replies, so it is tested
//! without routes and without a daemon. Connections are accepted and served by our own loop over
//! hyper, because warp's server has no limits, no timeouts and no unix socket's peer.

mod admin;
mod counters;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzed;
#[cfg(feature = "tls")]
mod gate;
mod net;
mod page;
mod paths;
mod peer_users;
mod pool;
pub mod query;
mod reply;
mod request;
mod routes;
mod served;
mod service;
mod site;
#[cfg(any(test, feature = "fuzzing"))]
mod stub;
#[cfg(test)]
mod tests;
mod tokens;

pub use counters::HttpCounters;
pub(crate) use net::listeners::{Listeners, StagedListeners};
pub(crate) use net::wanted::WantedListeners;
pub(crate) use net::{Lowered, Scarce, descriptor_limit, handed_over, lowered};
pub(crate) use served::Served;
pub(crate) use service::Http;
pub(crate) use site::Mode;
