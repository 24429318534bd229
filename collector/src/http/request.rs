//! A request as those see it who answer it: what was asked, when, by whom, over which listener.

use super::tokens::OwnTokens;
use crate::client_key::ClientKey;
use crate::plan::Serve;
use crate::sync::lock;
use crate::web_config::WebConfig;
#[cfg(feature = "tls")]
use crate::web_config::{Bucket, ClientRule};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use warp::http::request::Parts;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, Method, Uri, Version, header};

/// One request. Its body is never read.
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// When its head was complete.
    pub(super) arrived: Instant,
    pub(super) client: Arc<Client>,
    /// What the listener served when it came.
    pub(super) rules: Arc<Rules>,
    /// Why it is to be refused, if the connection's side found a reason.
    pub(super) fault: Option<Fault>,
}

/// What is wrong with a request, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// HTTP/1.1 wants a `Host` (RFC 9112, 3.2).
    NoHost,
    /// Two hosts: a proxy before the daemon may have believed the other one.
    TwoHosts,
    /// Its body is longer than this many bytes.
    LongBody(u64),
    /// More than this many requests are being served.
    TooManyRequests(u64),
}

impl Request {
    pub(super) fn new(
        head: Parts,
        arrived: Instant,
        client: Arc<Client>,
        fault: Option<Fault>,
    ) -> Self {
        let fault = fault.or_else(|| host_fault(&head));
        Request {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            arrived,
            rules: client.serve.now(),
            client,
            fault,
        }
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// What follows the `?`; empty without one.
    pub(super) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The host of a request whose target is a whole URL; it counts for more than `Host`.
    pub(super) fn authority(&self) -> Option<&Authority> {
        self.uri.authority()
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it only wants to know something.
    pub(super) fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

fn host_fault(head: &Parts) -> Option<Fault> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version >= Version::HTTP_11 => Some(Fault::NoHost),
        (Some(_), Some(_)) => Some(Fault::TwoHosts),
        _ => None,
    }
}

/// The other end of a connection, and what the listener lets it do.
pub(super) struct Client {
    pub(super) peer: Peer,
    /// Of a connection over loopback, by what it can be asked for.
    pub(super) ends: Option<Ends>,
    /// Whether the peer is a process of root's or of the daemon's own user, once that has been asked.
    pub(super) is_own: tokio::sync::OnceCell<bool>,
    /// Whether a listener between the two ends could not read what is said.
    pub(super) is_encrypted: bool,
    /// What was asked of it when it shook hands, if it has.
    #[cfg(feature = "tls")]
    pub(super) shaken: Option<Arc<ClientRule>>,
    pub(super) serve: Arc<CurrentServe>,
    /// Its connection, as the reader of answers.
    pub(super) reader: Arc<dyn Reader>,
}

/// Who reads answers, as it is known to what has their memory.
pub(super) trait Reader: Send + Sync {
    /// How long it has been behind with an answer that is being sent.
    fn waits(&self) -> Option<Duration>;

    /// How long it may be behind while others wait for what it holds.
    fn grace(&self) -> Duration;

    /// Ends its connection, so that others get what it holds.
    fn cut(&self);
}

/// This side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    /// What `fstat` says of its socket.
    pub(super) inode: u64,
}

/// What a listener serves at this moment. A reload may change it while connections are open.
pub(super) struct CurrentServe {
    rules: Mutex<Arc<Rules>>,
    /// What a limit of rate counts: the listener's requests, whatever it serves.
    #[cfg(feature = "tls")]
    pub(super) bucket: Mutex<Bucket>,
}

/// What a listener serves, and what stands before it. Each request is judged by one of these from its beginning to its
/// end: between two that protect, none may pass because each was asked for half of it.
pub(super) struct Rules {
    pub(super) serve: Serve,
    /// What is known of the files of tokens that `serve` names.
    pub(super) tokens: OwnTokens,
    pub(super) web_config: Option<Arc<WebConfig>>,
}

impl CurrentServe {
    pub(super) fn new(serve: Serve, web_config: Option<Arc<WebConfig>>) -> Arc<Self> {
        Arc::new(CurrentServe {
            rules: Mutex::new(Arc::new(Rules { serve, tokens: OwnTokens::default(), web_config })),
            #[cfg(feature = "tls")]
            bucket: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Arc<Rules> {
        Arc::clone(&lock(&self.rules))
    }

    /// What is known of the same files of tokens goes on.
    pub(super) fn set(&self, serve: Serve, web_config: Option<Arc<WebConfig>>) {
        let mut rules = lock(&self.rules);
        let tokens = rules.tokens.of(&serve);
        *rules = Arc::new(Rules { serve, tokens, web_config });
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// An internet address.
    Tcp(SocketAddr),
    /// A process of this machine, with its uid if the kernel gave one.
    Unix(Option<u32>),
}

impl Peer {
    /// As whom it counts for its share of what there is.
    pub(super) fn key(&self) -> ClientKey {
        match self {
            Peer::Tcp(address) => ClientKey::of(address.ip()),
            Peer::Unix(user) => ClientKey::User(*user),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(Some(uid)) => write!(f, "uid {uid}"),
            Peer::Unix(None) => f.write_str("a unix socket"),
        }
    }
}
