//! The HTTP side without listeners and without a daemon, for the fuzzer: a socket goes in, and all that would be
//! answered on it comes out.

use super::net::Wires;
use super::request::Peer;
use super::stub::{self, Stub};
use super::{Http, HttpCounters, Mode, Served};
use crate::engine::{Engine, Limits};
use crate::plan::{Admin, Plan, Serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use vitald_core::host::Host;

/// How often a task gives way, so that what it has written is read by itself: the runtime looks at its
/// sockets after some sixty turns.
const TURNS: usize = 64;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of the daemon's own user, over a unix socket.
    OwnUser,
    /// One of another user.
    OtherUser,
    /// A process of this machine, over TCP, of which nobody knows whose it is.
    Loopback,
    /// Another machine.
    Remote,
}

/// What answers, and the runtime that it answers on.
pub struct HttpSide {
    runtime: Runtime,
    wires: Wires,
    stub: Arc<Stub>,
}

impl HttpSide {
    /// The pages of a plan's collectors on a host; with a path for the metrics those of the drop-in.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread, or a collector does not open.
    pub fn new(plan: Plan, host: &Host, telemetry_path: Option<&str>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let engine = Engine::new(host.clone()).expect("a thread");
        let limits = Limits { max_age: plan.scrape.max_age, timeout: plan.scrape.timeout };
        match engine.stage(&plan.collectors, host, limits) {
            Ok(staged) => drop(engine.swap(staged)),
            Err(refused) => panic!("{refused:?}"),
        }
        let mode = match telemetry_path {
            Some(path) => Mode::DropIn { telemetry_path: path.to_owned() },
            None => Mode::Native,
        };
        let server = plan.server.clone();
        let stub = Arc::new(Stub::new(engine, plan, stub::busy(), Duration::ZERO));
        let counters = Arc::new(HttpCounters::new());
        let served: Arc<dyn Served> = stub.clone();
        let http = Http::new(served, mode, "0.0.0", None, Arc::clone(&counters));
        let wires = {
            let _runtime = runtime.enter();
            Wires::new(&server, counters, http)
        };
        HttpSide { runtime, wires, stub }
    }

    /// Says something in pieces on a new connection, on which what is local may administer, and no more after that.
    /// Answers with everything that came back until the end.
    ///
    /// # Panics
    ///
    /// When there are no more descriptors.
    pub fn say<'p>(&self, who: Who, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<u8> {
        let own = rustix::process::geteuid().as_raw();
        let peer = match who {
            Who::OwnUser => Peer::Unix(Some(own)),
            // Root may administer, also where the daemon is another user.
            Who::OtherUser => Peer::Unix(Some(if own == 1 { 2 } else { 1 })),
            Who::Loopback => Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 40_000))),
            Who::Remote => Peer::Tcp(SocketAddr::from(([192, 0, 2, 1], 40_000))),
        };
        self.runtime.block_on(async {
            let (mut client, server) = UnixStream::pair().expect("two sockets");
            self.wires.serve(server, peer, Serve::with(Admin::Local)).await;
            for piece in pieces {
                if client.write_all(piece).await.is_err() {
                    // It has been refused, and the answer is there.
                    break;
                }
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
            }
            let _ = client.shutdown().await;
            let mut said = Vec::new();
            let _ = client.read_to_end(&mut said).await;
            said
        })
    }

    /// How often a reload was asked for by one who may.
    pub fn reloads(&self) -> usize {
        self.stub.reloads()
    }
}
