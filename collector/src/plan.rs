//! The plan: what a valid configuration asks for, decoded and comparable, with nothing opened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vitald_core::collector::{Descriptor, Prepared};
use vitald_core::host::Roots;
use vitald_core::output::{OutputDescriptor, PreparedOutput};
use vitald_core::settings::{Mistake, Node, Table};

/// Everything a configuration decides.
#[derive(Clone)]
pub struct Plan {
    /// Where the kernel's files are.
    pub roots: Roots,
    /// How collections are made and shown.
    pub scrape: Scrape,
    /// Where the daemon listens, and its limits.
    pub server: Server,
    /// How it logs.
    pub log: Log,
    /// Every collector in this binary, by name, those that are off included.
    pub collectors: Vec<CollectorPlan>,
    /// Every output that is configured, and one of each type in this binary, by name, those that are off
    /// included.
    pub outputs: Vec<OutputPlan>,
    /// What is written, merged, with the place of each value; [`effective`](crate::config::effective) adds
    /// the defaults.
    pub written: Table,
    /// A hash of what the configuration means, in hexadecimal: equal for texts that differ in
    /// comments, order or spelling only.
    pub hash: String,
}

impl Plan {
    /// Gives a mistake about a key the place where the key's value is written.
    pub(crate) fn place(&self, mistake: Mistake) -> Mistake {
        let mut table = Some(&self.written);
        let mut origin = None;
        for key in mistake.path.split('.') {
            let value = table.and_then(|table| table.entries.get(key));
            origin = value.map(|value| value.origin.clone());
            table = value.and_then(|value| match &value.node {
                Node::Table(table) => Some(table),
                _ => None,
            });
        }
        Mistake { origin: origin.unwrap_or(mistake.origin), ..mistake }
    }

    /// The same for several.
    pub(crate) fn place_all(&self, mistakes: Vec<Mistake>) -> Vec<Mistake> {
        mistakes.into_iter().map(|mistake| self.place(mistake)).collect()
    }
}

/// `[scrape]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// The longest a collection may take.
    pub timeout: Duration,
    /// Whether collectors run that nobody switched on, if they are on by default.
    pub default_collectors: bool,
    /// Whether OpenMetrics is served to those who ask for it.
    pub openmetrics: bool,
    /// How long before a request a read may have begun for its result to answer it too.
    pub max_age: Duration,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where to listen; in order, without duplicates.
    pub listen: Vec<Listen>,
    /// Requests served at one time; more wait for their turn. 0: no limit.
    pub max_requests: u32,
    /// Connections open at one time; for one more another one ends.
    pub max_connections: u32,
    /// How long a connection may stay idle or take to send a request's head.
    pub idle_timeout: Duration,
    /// Bytes that pages may take while they are sent.
    pub max_page_bytes: u64,
}

/// A listener: an address and what is served there. The address alone is its identity: a listener
/// that is to serve something else stays open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    /// The address.
    pub address: Address,
    /// What it serves.
    pub serve: Serve,
}

/// What a listener serves, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serve {
    /// Who may use the admin routes.
    pub admin: Admin,
    /// What clients must show to read more than whether the daemon is well.
    pub token_file: Option<TokenFile>,
    /// Who may connect, if it is a unix socket.
    pub access: SocketAccess,
    /// The file with its TLS, its passwords and its limit of rate, if it has one.
    pub web_config: Option<PathBuf>,
    /// The file is that of `[server]`: it is not for unix sockets, of which systemd may hand over some.
    pub web_config_is_common: bool,
}

impl Serve {
    /// Where the tokens are that requests show: of who administers, and of who reads.
    pub fn token_files(&self) -> impl Iterator<Item = &TokenFile> {
        let of_admin = match &self.admin {
            Admin::Token(file) => Some(file),
            Admin::Off | Admin::Local => None,
        };
        of_admin.into_iter().chain(&self.token_file)
    }

    /// Whether any request shows a token.
    pub fn wants_token(&self) -> bool {
        self.token_files().next().is_some()
    }

    /// What is served where nothing but the rule of administration is said.
    pub fn with(admin: Admin) -> Self {
        Serve {
            admin,
            token_file: None,
            access: SocketAccess::default(),
            web_config: None,
            web_config_is_common: false,
        }
    }
}

/// Who may connect to a unix socket: those who may write its file (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketAccess {
    /// The mode of its file.
    pub mode: u32,
    /// Whose the file is; without one it is the daemon's.
    pub owner: Option<Account>,
    /// Its group; without one it is the daemon's.
    pub group: Option<Account>,
}

impl Default for SocketAccess {
    fn default() -> Self {
        SocketAccess { mode: 0o600, owner: None, group: None }
    }
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// By number.
    Number(u32),
    /// By name in `/etc/passwd` or `/etc/group`.
    Name(String),
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenFile {
    /// In this file.
    Path(PathBuf),
    /// In the credential of this name that systemd has given the service (systemd.exec(5)).
    Credential(String),
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An internet address. `dual` (written `:9100`): every address of this host, IPv6 with IPv4, or IPv4
    /// alone where IPv6 is off.
    Tcp {
        /// Address and port.
        socket: SocketAddr,
        /// Both families on one socket.
        dual: bool,
    },
    /// A unix socket, written `unix:/path`.
    Unix(PathBuf),
    /// Every socket that systemd hands over, written `systemd` (sd_listen_fds(3)).
    Systemd,
}

/// Who may use a listener's admin routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admin {
    /// The routes do not exist.
    Off,
    /// A process of root's or of the daemon's own user: over loopback, or on a unix socket.
    Local,
    /// A client that shows the token that this file holds.
    Token(TokenFile),
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines are written.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What changes.
    Info,
    /// What is wrong and goes on.
    Warn,
    /// What failed.
    Error,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// `[collectors.NAME]`, decoded.
#[derive(Clone)]
pub struct CollectorPlan {
    /// The collector.
    pub descriptor: &'static Descriptor,
    /// Its settings.
    pub prepared: Arc<dyn Prepared>,
    /// Whether it runs.
    pub enabled: bool,
    /// How often it is refreshed in the background; without one it runs when a client asks.
    pub interval: Option<Duration>,
    /// The most samples a run may give; 0: no limit.
    pub max_series: u32,
}

impl CollectorPlan {
    /// Whether a running instance made from `other` can stay as it is.
    pub fn same(&self, other: &CollectorPlan) -> bool {
        self.descriptor.name == other.descriptor.name
            && self.interval == other.interval
            && self.max_series == other.max_series
            && self.prepared.same(&*other.prepared)
    }
}

/// `[outputs.NAME]`, decoded.
#[derive(Clone)]
pub struct OutputPlan {
    /// The name of the instance.
    pub name: Arc<str>,
    /// Its type.
    pub descriptor: &'static OutputDescriptor,
    /// Its settings.
    pub prepared: Arc<dyn PreparedOutput>,
    /// Whether it runs.
    pub enabled: bool,
    /// How often it is given a snapshot.
    pub interval: Duration,
    /// The collectors it is given; empty: all that are on.
    pub collectors: Vec<&'static str>,
}

impl OutputPlan {
    /// Whether a running instance made from `other` can stay as it is.
    pub fn same(&self, other: &OutputPlan) -> bool {
        self.name == other.name
            && self.descriptor.name == other.descriptor.name
            && self.interval == other.interval
            && self.collectors == other.collectors
            && self.prepared.same(&*other.prepared)
    }
}
