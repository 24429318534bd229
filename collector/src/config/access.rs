//! Who may connect to a unix socket, as it is written.

use crate::plan::SocketAccess;
use vitald_core::settings::{Node, Setting, Value};

pub(super) use crate::plan::Account;

/// The greatest mode of a file without bits that mean nothing for a socket.
const MOST: u32 = 0o777;

/// The mode of a file, as chmod(1) takes it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct FileMode(u32);

impl Setting for FileMode {
    const KIND: &'static str = "mode";

    fn decode(value: &Value) -> Result<Self, String> {
        let expected = "expected a mode in quotes, as chmod takes it, such as \"0660\"";
        let Node::Text(text) = &value.node else {
            return Err(format!("{expected}, found {}", value.node.noun()));
        };
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(text, 8) {
            Ok(mode) if is_octal && mode <= MOST => Ok(FileMode(mode)),
            _ => Err(expected.to_owned()),
        }
    }
}

impl Setting for Account {
    const KIND: &'static str = "user or group";

    fn decode(value: &Value) -> Result<Self, String> {
        let out_of_range = || format!("must be from 0 to {}", u32::MAX - 1);
        match &value.node {
            Node::Text(text) if is_name(text) => Ok(match text.parse() {
                Ok(number) => Account::Number(number),
                Err(_) => Account::Name(text.clone()),
            }),
            Node::Text(_) => Err("this cannot be the name of a user or a group".to_owned()),
            // The greatest number means \"leave it\" to chown(2).
            Node::Integer(number) => match u32::try_from(*number) {
                Ok(u32::MAX) | Err(_) => Err(out_of_range()),
                Ok(number) => Ok(Account::Number(number)),
            },
            other => Err(format!("expected a name or a number, found {}", other.noun())),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text != "4294967295"
        && !text.contains(|c: char| c == ':' || c.is_control() || c.is_whitespace())
}

/// What the keys of a listener come to.
pub(super) fn of(
    mode: Option<FileMode>,
    owner: Option<Account>,
    group: Option<Account>,
) -> SocketAccess {
    let mode = mode.map_or(SocketAccess::default().mode, |FileMode(mode)| mode);
    SocketAccess { mode, owner, group }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Origin;

    fn decoded<T: Setting>(node: impl Into<Node>) -> Result<T, String> {
        T::decode(&Value::new(node.into(), Origin::Default))
    }

    #[test]
    fn modes() {
        for (text, mode) in [("0660", 0o660), ("600", 0o600), ("0777", 0o777), ("000", 0)] {
            assert_eq!(decoded(text), Ok(FileMode(mode)), "{text}");
        }
        for text in ["", "66", "0o660", "1777", "0668", "+660", "u=rw", "00660"] {
            assert!(decoded::<FileMode>(text).is_err(), "{text}");
        }
        let number = decoded::<FileMode>(660).expect_err("it may be meant as octal or not");
        assert!(number.contains("in quotes"), "{number}");
    }

    #[test]
    fn users_and_groups() {
        assert_eq!(decoded("prometheus"), Ok(Account::Name("prometheus".to_owned())));
        assert_eq!(decoded("65534"), Ok(Account::Number(65534)));
        assert_eq!(decoded(0), Ok(Account::Number(0)));
        for text in ["", "a:b", "a b", "a\n", "4294967295"] {
            assert!(decoded::<Account>(text).is_err(), "{text}");
        }
        assert!(decoded::<Account>(-1).is_err() && decoded::<Account>(4_294_967_295_i64).is_err());
    }
}
