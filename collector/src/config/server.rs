//! `[server]`: where the daemon listens, and its limits.

use super::address;
use super::origin;
use crate::plan::{Address, Admin, Listen, Serve, Server};
use vitald_core::prelude::*;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Settings as _, Value};

settings! {
    /// Where to listen: `"127.0.0.1:9100"`, `"[::]:9100"`, `":9100"` for every address of this
    /// host, `"unix:/run/vitald/metrics.sock"`, `"systemd"` for every socket that systemd hands over, or a
    /// table such as `{ address = ":9100", admin = "off" }`.
    listen: Vec<Entry> = ["127.0.0.1:9100"];
    /// Who may use the admin routes of a listener that has no `admin` of its own: `"off"` for no
    /// client, `"local"` for processes on this machine (loopback addresses, and root or the daemon's
    /// own user on a unix socket), `"token:/path"` for clients that show the token in this file.
    admin: Admin = "local";
    /// Requests served at one time; more are answered 503. 0 is no limit.
    max_requests: u32 = 40;
    /// Connections open at one time; more wait.
    max_connections: u32 = 512 in 1..65536;
    /// How long a connection may stay idle, or take to send the head of a request. Longer than
    /// the scrape interval, or every scrape connects anew.
    idle_timeout: Duration = "75s" in "1s".."1h";
    /// Bytes of pages that slow readers may hold before others are answered 503.
    max_page_bytes: u64 = 67108864 in 1048576..1099511627776_i64;
}

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// A listener as written: without an `admin` of its own it takes the table's.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Entry {
    address: Address,
    admin: Option<Admin>,
}

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
            return Some(Entry { address, admin: None });
        };
        table.refuse_unknown(&["address", "admin"], "key of a listener", mistakes);
        let address = match table.entries.get("address") {
            Some(address) => Address::decode_at(address, path, mistakes),
            None => {
                mistakes.add(value.origin.clone(), path, "this listener has no address");
                None
            }
        };
        let admin = match table.entries.get("admin") {
            Some(admin) => Admin::decode_at(admin, path, mistakes).map(Some),
            None => Some(None),
        };
        Some(Entry { address: address?, admin: admin? })
    }
}

impl Setting for Address {
    const KIND: &'static str = "address";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => address::parse(text.trim()),
            other => Err(format!("expected an address in quotes, found {}", other.noun())),
        }
    }
}

impl Setting for Admin {
    const KIND: &'static str = "admin rule";

    fn decode(value: &Value) -> Result<Self, String> {
        let expected = "expected \"off\", \"local\" or \"token:/path/of/a/file\"";
        let Node::Text(text) = &value.node else {
            return Err(format!("{expected}, found {}", value.node.noun()));
        };
        match text.split_once(':') {
            None if text == "off" => Ok(Admin::Off),
            None if text == "local" => Ok(Admin::Local),
            Some(("token", path)) if path.starts_with('/') => Ok(Admin::Token(path.into())),
            Some(("token", _)) => Err("the token's file needs an absolute path".to_owned()),
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
                format!("{} cannot be bound beside {}", entry.address, other.address),
            );
        }
        let admin = entry.admin.as_ref().unwrap_or(&settings.admin).clone();
        listen.push(Listen { address: entry.address.clone(), serve: Serve { admin } });
    }
    Some(Server {
        listen,
        max_requests: settings.max_requests,
        max_connections: settings.max_connections,
        idle_timeout: settings.idle_timeout,
        max_page_bytes: settings.max_page_bytes,
    })
}
