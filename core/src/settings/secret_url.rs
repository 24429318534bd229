//! A URL with a password in it.

use super::setting::{Setting, SettingInfo};
use super::value::{Node, Value};
use std::fmt;
use std::hint::black_box;

/// A URL that may have a user and a password in it: `http://USER:PASSWORD@HOST/`. It has no `Display`, and
/// its memory is cleared when it is dropped.
///
/// Whatever shows settings shows it by [`SettingInfo::shown`].
#[derive(Clone, PartialEq, PartialOrd)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// All of it, for who asks the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl Drop for SecretUrl {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Else the compiler may leave out what nobody reads.
        black_box(&mut bytes);
    }
}

impl Setting for SecretUrl {
    const KIND: &'static str = "URL";

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) => Ok(SecretUrl(text.clone())),
            other => Err(format!("expected a URL in quotes, found {}", other.noun())),
        }
    }
}

impl SettingInfo {
    /// A value of the setting as it may be shown: a URL without user and password.
    pub fn shown(&self, node: &Node) -> Node {
        match node {
            Node::Text(text) if self.kind == SecretUrl::KIND => Node::Text(without_password(text)),
            other => other.clone(),
        }
    }
}

/// The URL with three stars for what stands before the host. What is no URL may be anything, and is
/// hidden up to its last `@`, too.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, _)| url.split_at(scheme.len() + "://".len()));
    let is_path = scheme.eq_ignore_ascii_case("unix://");
    match rest.rsplit_once('@') {
        Some((_, host)) if !is_path => format!("{scheme}***@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Origin;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("http://localhost:9001/RPC2", "http://localhost:9001/RPC2"),
            ("http://user:secret@localhost/RPC2", "http://***@localhost/RPC2"),
            ("http://secret@localhost/RPC2", "http://***@localhost/RPC2"),
            ("http://user:se@cr/et@localhost/RPC2", "http://***@localhost/RPC2"),
            ("user:secret@localhost", "***@localhost"),
            ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
            ("", ""),
        ] {
            let value = Value::new(url, Origin::Default);
            let decoded = SecretUrl::decode(&value).unwrap();
            assert_eq!((format!("{decoded:?}").as_str(), decoded.reveal()), (shown, url));
        }
    }
}
