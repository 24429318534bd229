//! `[server]`: where the daemon listens, and its limits.

use super::access::{self, Account, FileMode};
use super::address;
use super::origin;
use crate::plan::{Address, Admin, Listen, Serve, Server, SocketAccess, TokenFile};
use std::path::PathBuf;
use vitald_core::prelude::*;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Settings as _, Value};

settings! {
    /// Where to listen: `"127.0.0.1:9100"`, `"[::]:9100"`, `":9100"` for every address of this
    /// host, `"unix:/run/vitald/metrics.sock"`, `"systemd"` for every socket that systemd hands over, or a
    /// table such as `{ address = ":9100", admin = "off" }`. One text is a list of one. More keys of the table: `token_file =
    /// "/path"`, or `"credential:NAME"` of systemd's, with the bearer token that clients show to read more than
    /// `/healthz` and `/readyz`; of a unix socket `mode = "0660"` (else `"0600"`), `owner` and `group` of its file,
    /// whose writers may connect.
    listen: Vec<Entry> = ["127.0.0.1:9100"];
    /// Who may use the admin routes of a listener that has no `admin` of its own: `"off"` for no
    /// client, `"local"` for processes of root and of the daemon's own user (over loopback or a unix
    /// socket), `"token:/path"` or `"token:credential:NAME"` for clients that show the token in this file.
    admin: Admin = "local";
    /// The file with TLS, client certificates, passwords, headers and a limit of rate, in the format of
    /// node_exporter's `--web.config.file`, for each listener without a `web_config` of its own that is no unix
    /// socket, of systemd's neither: an absolute path, or `"off"`. It is read again when it or a file that it names
    /// has changed.
    web_config: Option<WebConfig> = UNSET;
    /// Requests served at one time. More wait for their turn, and are answered 503 if it has not come in half a
    /// second. 0 is no limit. What one client has beyond half of them does not count against others.
    max_requests: u32 = 40;
    /// Connections open at one time. For one more that one ends by which least is lost: of a client with more
    /// than half of them, one that has asked nothing yet, one that takes its answer slowly. There are
    /// fewer where there are few open files, or a control group has little memory: a quarter of it, at 32 KiB each,
    /// which the log at start and `/plugins` tell.
    max_connections: u32 = 512 in 1..65536;
    /// How long a connection may stay idle, or take to send the head of a request. Longer than
    /// the scrape interval, or every scrape connects anew.
    idle_timeout: Duration = "75s" in "1s".."1h";
    /// Bytes that pages may take while they are sent. For one more the slowest readers are cut; if that does not
    /// help in time, it is answered 503. A control group with a limit of memory gives a quarter of it at most.
    max_page_bytes: u64 = 67108864 in 1048576..1099511627776_i64;
}

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// A listener as written: without an `admin` of its own it takes the table's.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Entry {
    address: Address,
    admin: Option<Admin>,
    token_file: Option<TokenFile>,
    access: SocketAccess,
    web_config: Option<WebConfig>,
}

/// The file of a web configuration; nothing if there is to be none.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct WebConfig(Option<PathBuf>);

impl Setting for WebConfig {
    const KIND: &'static str = "path";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) if text == "off" => Ok(WebConfig(None)),
            Node::Text(text) if text.starts_with('/') => Ok(WebConfig(Some(text.into()))),
            Node::Text(_) => {
                Err("the file of a web configuration needs an absolute path".to_owned())
            }
            other => Err(format!("expected a path in quotes or \"off\", found {}", other.noun())),
        }
    }
}

/// The keys of a listener's table.
const KEYS: &[&str] = &["address", "admin", "token_file", "web_config", "mode", "owner", "group"];
/// Those of a unix socket alone.
const OF_UNIX: [&str; 3] = ["mode", "owner", "group"];

impl Setting for Entry {
    const KIND: &'static str = "address";

    fn decode(value: &Value) -> Result<Self, String> {
        let mut mistakes = Mistakes::new();
        Entry::decode_at(value, "", &mut mistakes).ok_or_else(|| {
            mistakes.into_sorted().into_iter().next().map(|first| first.message).unwrap_or_default()
        })
    }

    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let Node::Table(table) = &value.node else {
            let address = Address::decode_at(value, path, mistakes)?;
            return Some(Entry {
                address,
                admin: None,
                token_file: None,
                access: SocketAccess::default(),
                web_config: None,
            });
        };
        table.refuse_unknown(KEYS, "key of a listener", mistakes);
        let address = match table.entries.get("address") {
            Some(address) => Address::decode_at(address, path, mistakes),
            None => {
                mistakes.add(value.origin.clone(), path, "this listener has no address");
                None
            }
        };
        let admin = optional::<Admin>(table, "admin", path, mistakes);
        let token_file = optional::<TokenFile>(table, "token_file", path, mistakes);
        let web_config = optional::<WebConfig>(table, "web_config", path, mistakes);
        let mode = optional::<FileMode>(table, "mode", path, mistakes);
        let owner = optional::<Account>(table, "owner", path, mistakes);
        let group = optional::<Account>(table, "group", path, mistakes);
        let address = address?;
        if !matches!(address, Address::Unix(_)) {
            for key in OF_UNIX {
                if let Some(value) = table.entries.get(key) {
                    let message = format!("{address} is no unix socket, so it has no {key}");
                    mistakes.add(value.key_origin.clone(), path, message);
                }
            }
        }
        let access = access::of(mode?, owner?, group?);
        Some(Entry {
            address,
            admin: admin?,
            token_file: token_file?,
            access,
            web_config: web_config?,
        })
    }
}

/// The value of a key that may be left out.
fn optional<T: Setting>(
    table: &Table,
    key: &str,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<Option<T>> {
    match table.entries.get(key) {
        Some(value) => T::decode_at(value, path, mistakes).map(Some),
        None => Some(None),
    }
}

impl Setting for TokenFile {
    const KIND: &'static str = "file of a token";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => TokenFile::parse(text),
            other => Err(format!("expected a path in quotes, found {}", other.noun())),
        }
    }
}

impl Setting for Address {
    const KIND: &'static str = "address";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => address::parse(text.trim()),
            other => Err(address::refusal_of(other)),
        }
    }
}

impl Setting for Admin {
    const KIND: &'static str = "admin rule";

    fn decode(value: &Value) -> Result<Self, String> {
        let expected =
            "expected \"off\", \"local\", \"token:/path/of/a/file\" or \"token:credential:NAME\"";
        let Node::Text(text) = &value.node else {
            return Err(format!("{expected}, found {}", value.node.noun()));
        };
        match text.split_once(':') {
            None if text == "off" => Ok(Admin::Off),
            None if text == "local" => Ok(Admin::Local),
            Some(("token", file)) => TokenFile::parse(file).map(Admin::Token),
            _ => Err(expected.to_owned()),
        }
    }
}

/// Decodes the table; two listeners that cannot both be bound are a mistake.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Server> {
    let settings = Settings::decode(table, mistakes)?;
    if settings.listen.is_empty() {
        let origin =
            table.entries.get("listen").map_or(Origin::Default, |list| list.origin.clone());
        mistakes.add(
            origin,
            table.path_of("listen"),
            "the list is empty, so the daemon could not be reached; name at least one address, such as \
             \"127.0.0.1:9100\", or leave the key out",
        );
    }
    let mut listen: Vec<Listen> = Vec::new();
    for (position, entry) in settings.listen.iter().enumerate() {
        if let Some(other) = listen.iter().find(|o| address::overlap(&o.address, &entry.address)) {
            mistakes.add(
                origin::of_item(table, "listen", position),
                table.path_of("listen"),
                match other.address == entry.address {
                    true => format!("{} is there twice; remove one of them", entry.address),
                    false => format!("{} cannot be bound beside {}", entry.address, other.address),
                },
            );
        }
        let admin = entry.admin.as_ref().unwrap_or(&settings.admin).clone();
        let (token_file, access) = (entry.token_file.clone(), entry.access.clone());
        // A unix socket is on this machine, where a user who may connect to it needs no password.
        let common =
            settings.web_config.as_ref().filter(|_| !matches!(entry.address, Address::Unix(_)));
        let web_config = entry.web_config.as_ref().or(common).and_then(|file| file.0.clone());
        let web_config_is_common = web_config.is_some() && entry.web_config.is_none();
        let serve = Serve { admin, token_file, access, web_config, web_config_is_common };
        listen.push(Listen { address: entry.address.clone(), serve });
    }
    Some(Server {
        listen,
        max_requests: settings.max_requests,
        max_connections: settings.max_connections,
        idle_timeout: settings.idle_timeout,
        max_page_bytes: settings.max_page_bytes,
    })
}
