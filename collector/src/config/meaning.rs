//! What a configuration means, apart from how it is written.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Table, Value};

/// What text is written out: from the environment or a flag `"5"` of a whole number is 5, and everywhere `"a"`
/// of a list is `["a"]`. `None` of what is written so.
pub(super) fn plain(value: &Value, info: &SettingInfo) -> Option<Node> {
    let is_spelled = matches!(value.origin, Origin::Environment(_) | Origin::Flag(_));
    if !matches!(value.node, Node::Text(_))
        || !is_spelled && info.kind != <Vec<String> as Setting>::KIND
    {
        return None;
    }
    match info.kind {
        <bool as Setting>::KIND => bool::decode(value).map(Node::from).ok(),
        <i64 as Setting>::KIND => i64::decode(value).map(Node::from).ok(),
        <f64 as Setting>::KIND => f64::decode(value).map(Node::from).ok(),
        <Vec<String> as Setting>::KIND => Vec::<String>::decode(value).ok().map(|items| {
            let item = |item: String| Value::new(item, value.origin.clone());
            Node::List(items.into_iter().map(item).collect())
        }),
        _ => None,
    }
}

/// A hash that is equal for configurations that mean the same.
///
/// FNV-1a: it tells an edited configuration from an unedited one and protects nothing.
pub(super) struct Meaning(u64);

impl Meaning {
    pub(super) fn new() -> Self {
        Meaning(0xcbf2_9ce4_8422_2325)
    }

    /// Takes one fact up. A zero byte ends it, so that two facts cannot be taken for another two.
    pub(super) fn add(&mut self, fact: fmt::Arguments<'_>) {
        // Writing to a hash does not fail.
        let _ = self.write_fmt(fact);
        let _ = self.write_char('\0');
    }

    /// Takes the settings of a table up, defaults included, but no password: the hash is shown to everyone, and
    /// who knows the rest could try passwords with it.
    pub(super) fn add_settings(&mut self, table: &Table, fields: &[SettingInfo]) {
        for info in fields {
            let node = match table.entries.get(info.key) {
                Some(value) => plain(value, info).unwrap_or_else(|| value.node.clone()),
                None => (info.default)(),
            };
            let node = info.shown(&node);
            self.add(format_args!("{}={}", info.key, canonical(node, info.kind)));
        }
    }

    /// In hexadecimal.
    pub(super) fn hash(&self) -> String {
        format!("{:016x}", self.0)
    }
}

impl fmt::Write for Meaning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

/// A value, written in one way.
#[derive(Debug, PartialEq)]
enum Canonical {
    Nanoseconds(u128),
    Node(Node),
}

impl Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Canonical::Nanoseconds(number) => write!(f, "{number}ns"),
            Canonical::Node(node) => write!(f, "{node}"),
        }
    }
}

/// The same for all spellings of a value: `60s` and `1m` are the same, as are `1` and `1.0` of a number.
fn canonical(node: Node, kind: &str) -> Canonical {
    match (kind, node) {
        (<Duration as Setting>::KIND, node @ Node::Text(_)) => {
            let value = Value::new(node, Origin::Default);
            match Duration::decode(&value) {
                Ok(duration) => Canonical::Nanoseconds(duration.as_nanos()),
                Err(_) => Canonical::Node(value.node),
            }
        }
        (<f64 as Setting>::KIND, Node::Integer(number)) => {
            Canonical::Node(Node::Float(number as f64))
        }
        (_, node) => Canonical::Node(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_one_text() {
        let text = |kind, a: Node| canonical(a, kind);
        assert_eq!(text("duration", "60s".into()), text("duration", "1m".into()));
        assert_ne!(text("duration", "60s".into()), text("duration", "61s".into()));
        assert_eq!(text("number", 1.into()), text("number", 1.0.into()));
        assert_ne!(text("text", "1".into()), text("text", "1.0".into()));
    }
}
