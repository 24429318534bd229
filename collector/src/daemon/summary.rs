//! How the daemon is, in one line: what `systemctl status` shows.

use crate::http::handed_over;
use crate::plan::{Address, Listen};
use std::fmt::Write as _;
use vitald_core::snapshot::State;

/// How many names or addresses are written one by one.
const MOST: usize = 6;

/// How the collectors that are on are, where they can be asked for, and what else is wrong. What there is nothing of is
/// not mentioned.
pub(super) fn summary(
    states: &[(&'static str, State)],
    listen: &[Listen],
    trouble: Option<&str>,
) -> String {
    let s = if states.len() == 1 { "" } else { "s" };
    let addresses: Vec<String> = listen.iter().map(|listen| place(&listen.address)).collect();
    let mut text = format!("{} collector{s} on {}", states.len(), list(&addresses));
    for (word, of) in [("not run yet", State::Waiting), ("absent", State::Absent)] {
        let count = states.iter().filter(|(_, state)| *state == of).count();
        if count > 0 {
            let _ = write!(text, "; {count} {word}");
        }
    }
    let groups: [(&str, &[State]); 3] = [
        ("degraded", &[State::Degraded]),
        ("failing", &[State::Failing, State::Panicked]),
        ("hanging", &[State::TimedOut]),
    ];
    for (word, of) in groups {
        let named = states.iter().filter(|(_, state)| of.contains(state));
        let names: Vec<String> = named.map(|(name, _)| (*name).to_owned()).collect();
        if !names.is_empty() {
            let _ = write!(text, "; {word}: {}", list(&names));
        }
    }
    if let Some(trouble) = trouble {
        let _ = write!(text, "; {trouble}");
    }
    text
}

/// An address; that of systemd's sockets does not say which these are.
fn place(address: &Address) -> String {
    let sockets: Vec<String> = match address {
        Address::Systemd => handed_over().iter().map(ToString::to_string).collect(),
        Address::Tcp { .. } | Address::Unix(_) => Vec::new(),
    };
    if sockets.is_empty() { address.to_string() } else { sockets.join(", ") }
}

fn list(names: &[String]) -> String {
    match names.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Admin, Serve};

    #[test]
    fn it_names_what_is_wrong_and_counts_the_rest() {
        let listen = |text: &str| Listen {
            address: crate::config::parse_address(text).expect("an address"),
            serve: Serve::with(Admin::Local),
        };
        let (tcp, unix) = (listen(":9100"), listen("unix:/run/v.sock"));
        let running = ("cpu", State::Running);
        assert_eq!(summary(&[running], std::slice::from_ref(&tcp), None), "1 collector on :9100");
        let states = [running, ("zfs", State::Absent), ("xfs", State::Absent)];
        let text = "3 collectors on :9100, unix:/run/v.sock; 2 absent";
        assert_eq!(summary(&states, &[tcp.clone(), unix], None), text);
        let states = [
            ("a", State::TimedOut),
            ("b", State::Failing),
            ("c", State::Degraded),
            ("d", State::Panicked),
            ("e", State::Waiting),
        ];
        assert_eq!(
            summary(&states, std::slice::from_ref(&tcp), Some("the last reload failed")),
            "5 collectors on :9100; 1 not run yet; degraded: c; failing: b, d; hanging: a; \
             the last reload failed"
        );
        let many = [("x", State::Failing); 8];
        let text = summary(&many, &[tcp], None);
        assert!(text.ends_with("failing: x, x, x, x, x, x and 2 more"), "{text}");
    }
}
