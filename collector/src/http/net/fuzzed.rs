//! Connections that no listener accepted, for the fuzzer.

use super::connections::Connections;
use super::service::Answer;
use super::state::ListenerState;
use super::stream::Stream;
use crate::http::counters::HttpCounters;
use crate::http::request::{CurrentServe, Peer};
use crate::plan::{Serve, Server};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// Serves sockets as if a listener had accepted them from whom one says.
pub(in crate::http) struct Wires(Arc<Connections>);

impl Wires {
    /// To be made within the runtime that is to serve.
    pub(in crate::http) fn new(
        server: &Server,
        counters: Arc<HttpCounters>,
        answer: Arc<dyn Answer>,
    ) -> Self {
        let connections = Connections::new(counters, Handle::current());
        connections.set_limits(server);
        connections.set_answer(answer);
        Wires(connections)
    }

    pub(in crate::http) async fn serve(&self, stream: UnixStream, peer: Peer, serve: Serve) {
        let listener = ListenerState::new(CurrentServe::new(serve, None));
        if let Some(accepted) = self.0.accepted((Stream::Unix(stream), peer)) {
            accepted.serve(&listener).await;
        }
    }
}
