//! Whether the other end of a connection is a process of root's or of the daemon's own user.
//!
//! An address says only that the peer is on this machine, and a reverse proxy beside the daemon is, too. Whose
//! process it is the kernel knows: of a unix socket it says it with the connection, of loopback it is asked.

use super::request::{Client, Ends, Peer};
use crate::contained::Contained;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use vitald_core::host::connection_owner;

/// How long asking may take, the wait for others who ask included.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What the kernel shows instead of a user whom this user namespace lacks (user_namespaces(7)).
const OVERFLOW_USER: u32 = 65_534;
/// The map of a user namespace that lacks no user.
const WHOLE_MAP: [u64; 3] = [0, 0, u32::MAX as u64];

/// Asks the kernel about one connection at a time, off the thread that serves.
#[derive(Clone)]
pub(super) struct PeerUsers {
    asking: Contained,
    /// Those who ask at one time wait for each other here.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What has to be asked.
enum Question {
    /// Who has the other end.
    Owner { ends: Ends, peer: SocketAddr },
    /// Whether the daemon's own user, who is the overflow user, can be anybody else.
    OwnUser,
}

impl PeerUsers {
    pub(super) fn new() -> Self {
        let asking = Contained::new("peer's user", "asking the kernel whose a connection is");
        PeerUsers { asking, turn: Arc::default() }
    }

    /// Whether root or the daemon's own user is at the other end. Of each connection it is asked once.
    ///
    /// # Errors
    ///
    /// Why it is not known.
    pub(super) async fn is_own(&self, client: &Client) -> Result<bool, String> {
        client.is_own.get_or_try_init(|| self.ask(client)).await.copied()
    }

    async fn ask(&self, client: &Client) -> Result<bool, String> {
        let question = match (&client.peer, client.ends) {
            (Peer::Unix(None), _) => return Err("the peer has no credentials".to_owned()),
            (Peer::Unix(Some(0)), _) => return Ok(true),
            (Peer::Unix(Some(user)), _) if *user != own_user() => return Ok(false),
            (Peer::Unix(Some(OVERFLOW_USER)), _) => Question::OwnUser,
            (Peer::Unix(Some(_)), _) => return Ok(true),
            (Peer::Tcp(_), None) => return Err("the connection's ends are unknown".to_owned()),
            (Peer::Tcp(peer), Some(ends)) => Question::Owner { ends, peer: *peer },
        };
        // On a task of its own: the turn must not pass on when the client goes away.
        let asking = tokio::spawn(self.clone().answer(question)).await;
        asking.map_err(|error| error.to_string())?
    }

    async fn answer(self, question: Question) -> Result<bool, String> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let Ok(_turn) = tokio::time::timeout_at(deadline, self.turn.lock()).await else {
            return Err("too many others ask whose their connections are".to_owned());
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let answer = self.asking.run(left, move || match question {
            Question::OwnUser => Ok(is_whole_namespace()),
            Question::Owner { ends, peer } => {
                let user = connection_owner(ends.local, peer, ends.inode);
                user.map(|user| is_own_user(user, own_user(), is_whole_namespace))
            }
        });
        match answer.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a user is root or the daemon's own. The overflow user may be any whom the namespace lacks,
/// unless it lacks none.
fn is_own_user(user: u32, own: u32, lacks_none: impl FnOnce() -> bool) -> bool {
    user == 0 || (user == own && (user != OVERFLOW_USER || lacks_none()))
}

/// Whether this process's user namespace has every user: the first one has.
fn is_whole_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_whole(&map))
}

fn is_whole(map: &str) -> bool {
    let numbers: Vec<u64> = map.split_whitespace().map_while(|word| word.parse().ok()).collect();
    numbers == WHOLE_MAP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_processes_may_administer() {
        let of = |user, own, lacks_none| is_own_user(user, own, || lacks_none);
        assert!(of(0, 1000, false) && of(1000, 1000, false) && of(0, 0, false));
        assert!(!of(1000, 0, true) && !of(33, 1000, true));
        // A daemon that runs as nobody, in a namespace that shows all others as nobody, too.
        assert!(!of(OVERFLOW_USER, OVERFLOW_USER, false));
        assert!(of(OVERFLOW_USER, OVERFLOW_USER, true));
    }

    #[test]
    fn maps_of_user_namespaces() {
        assert!(is_whole("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 0 65536\n", "0 0 4294967295\n1 1 1\n", "0 x 1"] {
            assert!(!is_whole(map), "{map}");
        }
    }
}
