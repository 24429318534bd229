//! Who may ask: names, passwords, and the little that their checks may cost.
//!
//! Checking a password takes as long as the maker of its hash wanted, so it is done on at most two threads
//! of their own, which yield to all others. Few may wait for them, and few of one client; where there are too many, those
//! go whose client was wrong before, so that a flood of wrong passwords costs others at most the wait for their first
//! check. What a check gave is kept under a keyed hash of all that it is about: the password itself is not kept, and a hash
//! that has changed makes it void.

use crate::client_key::ClientKey;
use crate::secret::Secret;
use crate::sync::lock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{hmac, rand};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The most threads that check passwords.
const MOST_THREADS: usize = 2;
/// The most checks that are under way or wait, of all clients and of one.
const MOST_CHECKS: usize = 16;
const MOST_CHECKS_OF_ONE: usize = 2;
/// The most requests that wait for one check, and for all together: each counts as being served.
const MOST_WAITERS_OF_ONE: usize = 4;
const MOST_WAITERS: usize = 16;
/// How many answers are kept of either kind, and how many clients whose last password was wrong.
const KEPT: usize = 128;
/// How much the threads that check yield to others (nice(2)).
const NICENESS: i32 = 10;

/// The users of a configuration.
#[derive(Default)]
pub(super) struct Users(BTreeMap<Tag, Secret>);

/// A keyed hash. Without the key nobody can make two that begin alike, so comparing them tells nothing.
type Tag = [u8; 32];

/// What is said of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    /// There are too many checks already.
    Busy,
}

/// The passwords that have been checked, and the checks under way.
pub(super) struct Passwords {
    key: hmac::Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    right: Kept<Tag>,
    wrong: Kept<Tag>,
    /// Clients whose last check said no.
    guessers: Kept<ClientKey>,
    checks: Vec<Check>,
    waiting: VecDeque<Work>,
    threads: usize,
}

/// What the last checks were about.
struct Kept<T>(VecDeque<T>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(VecDeque::new())
    }
}

impl<T: PartialEq> Kept<T> {
    fn has(&self, one: &T) -> bool {
        self.0.contains(one)
    }

    fn keep(&mut self, one: T) {
        if !self.has(&one) {
            if self.0.len() >= KEPT {
                self.0.pop_front();
            }
            self.0.push_back(one);
        }
    }

    fn forget(&mut self, one: &T) {
        self.0.retain(|kept| kept != one);
    }
}

impl State {
    fn is_full(&self) -> bool {
        let waiters: usize = self.checks.iter().map(|check| check.waiters.len()).sum();
        self.checks.len() >= MOST_CHECKS || waiters >= MOST_WAITERS
    }

    /// Whether there is room for one more that waits. For a client that has not guessed lately a check that has not
    /// begun has to go of one that has; who waits for it is refused.
    fn makes_room_for(&mut self, from: ClientKey) -> bool {
        while self.is_full() {
            if self.guessers.has(&from) {
                return false;
            }
            let is_guess = |work: &Work| {
                let check = self.checks.iter().find(|check| check.tag == work.tag);
                check.is_some_and(|check| self.guessers.has(&check.from))
            };
            let Some(at) = self.waiting.iter().rposition(is_guess) else { return false };
            let gone = self.waiting.remove(at).map(|work| work.tag);
            self.checks.retain(|check| Some(check.tag) != gone);
        }
        true
    }
}

/// A check under way, or one that waits.
struct Check {
    tag: Tag,
    from: ClientKey,
    waiters: Vec<oneshot::Sender<bool>>,
}

/// What a thread needs for a check.
struct Work {
    tag: Tag,
    password: Vec<u8>,
    hash: Secret,
    /// Whether there is such a user. If not, the check is made for the time that it takes.
    is_known: bool,
}

impl Passwords {
    /// None checked yet.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Arc<Self>, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        let key = key.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Arc::new(Passwords { key, state: Mutex::default() }))
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = Tag::default();
        let signed = context.sign();
        for (to, from) in tag.iter_mut().zip(signed.as_ref()) {
            *to = *from;
        }
        tag
    }

    /// The users of a configuration, under their names' hashes.
    pub(super) fn users(&self, written: BTreeMap<String, Secret>) -> Users {
        let users = written.into_iter();
        Users(users.map(|(name, hash)| (self.tag(&[name.as_bytes()]), hash)).collect())
    }

    /// Whether the credentials of an `Authorization` header are a user's. What is not known yet is checked by
    /// a thread, which goes on when this is dropped.
    pub(super) async fn check(
        self: &Arc<Self>,
        users: &Users,
        header: &[u8],
        from: ClientKey,
    ) -> Answer {
        let Some((name, password)) = credentials(header) else { return Answer::Wrong };
        let answer = match self.begin(users, &name, password, from) {
            Ok(answer) => return answer,
            Err(receiver) => receiver.await,
        };
        match answer {
            Ok(true) => Answer::Right,
            Ok(false) => Answer::Wrong,
            Err(_) => Answer::Busy,
        }
    }

    fn begin(
        self: &Arc<Self>,
        users: &Users,
        name: &[u8],
        password: Vec<u8>,
        from: ClientKey,
    ) -> Result<Answer, oneshot::Receiver<bool>> {
        let name = self.tag(&[name]);
        let found = users.0.get(&name);
        // A name that is unknown takes as long as one of the known, and always the same one.
        let stand_in = usize::from(name[0]) * users.0.len() / 256;
        let Some(hash) = found.or_else(|| users.0.values().nth(stand_in)) else {
            return Ok(Answer::Wrong);
        };
        let tag = self.tag(&[&name, hash.bytes(), &password]);
        let mut state = lock(&self.state);
        if found.is_some() && state.right.has(&tag) {
            return Ok(Answer::Right);
        }
        if state.wrong.has(&tag) {
            return Ok(Answer::Wrong);
        }
        let (sender, receiver) = oneshot::channel();
        // Those whose client has gone are none.
        state.checks.iter_mut().for_each(|check| check.waiters.retain(|one| !one.is_closed()));
        if !state.makes_room_for(from) {
            return Ok(Answer::Busy);
        }
        if let Some(check) = state.checks.iter_mut().find(|check| check.tag == tag) {
            if check.waiters.len() >= MOST_WAITERS_OF_ONE {
                return Ok(Answer::Busy);
            }
            check.waiters.push(sender);
            return Err(receiver);
        }
        let of_one = state.checks.iter().filter(|check| check.from == from).count();
        if of_one >= MOST_CHECKS_OF_ONE {
            return Ok(Answer::Busy);
        }
        state.checks.push(Check { tag, from, waiters: vec![sender] });
        let hash = hash.clone();
        state.waiting.push_back(Work { tag, password, hash, is_known: found.is_some() });
        if state.threads < MOST_THREADS {
            let passwords = Arc::clone(self);
            let thread = std::thread::Builder::new().name("passwords".to_owned());
            match thread.spawn(move || passwords.work()) {
                Ok(_) => state.threads += 1,
                // Another one may be at it; else what waits has no prospect.
                Err(_) if state.threads > 0 => {}
                Err(_) => {
                    state.waiting.clear();
                    state.checks.clear();
                }
            }
        }
        Err(receiver)
    }

    /// Checks what waits, and ends when nothing does.
    fn work(&self) {
        let _ = rustix::process::nice(NICENESS);
        while let Some(work) = self.next() {
            let is_right = bcrypt::verify(&work.password, work.hash.text()).unwrap_or(false);
            let is_right = is_right && work.is_known;
            let mut state = lock(&self.state);
            let answers = if is_right { &mut state.right } else { &mut state.wrong };
            answers.keep(work.tag);
            let ended = state.checks.iter().position(|check| check.tag == work.tag);
            let ended = ended.map(|position| state.checks.swap_remove(position));
            if let Some(check) = &ended {
                match is_right {
                    true => state.guessers.forget(&check.from),
                    false => state.guessers.keep(check.from),
                }
            }
            drop(state);
            for waiter in ended.into_iter().flat_map(|check| check.waiters) {
                // Its client may have gone.
                let _ = waiter.send(is_right);
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = lock(&self.state);
        let work = state.waiting.pop_front();
        if work.is_none() {
            state.threads -= 1;
        }
        work
    }
}

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Name and password of `Basic BASE64` (RFC 7617).
fn credentials(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded.get(..colon)?.to_vec(), decoded.get(colon + 1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn hash(password: &str, cost: u32) -> Secret {
        Secret::new(bcrypt::hash(password, cost).expect("a hash"))
    }

    fn header(name: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))).into_bytes()
    }

    fn users(passwords: &Passwords, written: &[(&str, &Secret)]) -> Users {
        let written = written.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).clone()));
        passwords.users(written.collect())
    }

    fn users_of_one(passwords: &Passwords, alice: &Secret) -> Users {
        users(passwords, &[("alice", alice)])
    }

    const FROM: ClientKey = ClientKey::User(Some(0));

    #[tokio::test]
    async fn names_and_passwords_are_checked() {
        let passwords = Passwords::new().expect("random numbers");
        let (alice, bob) = (hash("right:one", 4), hash("", 4));
        let users = users(&passwords, &[("alice", &alice), ("bob", &bob)]);
        for _ in 0..2 {
            for (name, password, answer) in [
                ("alice", "right:one", Answer::Right),
                ("alice", "right:two", Answer::Wrong),
                ("bob", "", Answer::Right),
                ("bob", "right:one", Answer::Wrong),
                // Another user stands in for her.
                ("eve", "right:one", Answer::Wrong),
                ("eve", "", Answer::Wrong),
                ("", "", Answer::Wrong),
            ] {
                let said = passwords.check(&users, &header(name, password), FROM).await;
                assert_eq!(said, answer, "{name} {password}");
            }
        }
        for noise in
            ["", "Basic", "Basic ", "Basic !", "Bearer x", "Basic YWxpY2U=", "Basic \u{e9}"]
        {
            assert_eq!(passwords.check(&users, noise.as_bytes(), FROM).await, Answer::Wrong);
        }
        // Another hash makes what was kept void.
        let changed = hash("another", 4);
        let changed = users_of_one(&passwords, &changed);
        let said = passwords.check(&changed, &header("alice", "right:one"), FROM).await;
        assert_eq!(said, Answer::Wrong);
    }

    #[tokio::test]
    async fn what_is_known_does_not_wait_for_a_flood() {
        let passwords = Passwords::new().expect("random numbers");
        // Some seconds in a build without optimisation.
        let (alice, slow) = (hash("right", 4), hash("x", 4));
        let slow = Secret::new(slow.text().replacen("$04$", "$14$", 1));
        let users = Arc::new(users(&passwords, &[("alice", &alice), ("mallory", &slow)]));
        let right = header("alice", "right");
        assert_eq!(passwords.check(&users, &right, FROM).await, Answer::Right);
        let flood: Vec<_> = (0..64u8)
            .map(|number| {
                let (passwords, users) = (Arc::clone(&passwords), Arc::clone(&users));
                let wrong = header("mallory", &number.to_string());
                tokio::spawn(async move {
                    passwords.check(&users, &wrong, ClientKey::V4([10, 0, 0, number].into())).await
                })
            })
            .collect();
        while lock(&passwords.state).checks.len() < MOST_CHECKS {
            tokio::task::yield_now().await;
        }
        let before = Instant::now();
        assert_eq!(passwords.check(&users, &right, FROM).await, Answer::Right);
        assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
        // What is not known yet is refused at once, not queued.
        assert_eq!(passwords.check(&users, &header("alice", "new"), FROM).await, Answer::Busy);
        assert!(lock(&passwords.state).threads <= MOST_THREADS);
        // Nobody waits for them any more: they end without the rest of the flood.
        lock(&passwords.state).waiting.clear();
        flood.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn one_client_has_two_checks_and_the_same_check_is_made_once() {
        let passwords = Passwords::new().expect("random numbers");
        let slow = Secret::new(hash("x", 4).text().replacen("$04$", "$12$", 1));
        let users = users(&passwords, &[("alice", &slow)]);
        let begin = |password: &str, from| {
            passwords.begin(&users, b"alice", password.as_bytes().to_vec(), from)
        };
        let mut waiting: Vec<_> = (0..MOST_WAITERS_OF_ONE).map(|_| begin("same", FROM)).collect();
        assert!(waiting.iter().all(Result::is_err));
        assert_eq!(lock(&passwords.state).checks.len(), 1);
        assert_eq!(begin("same", FROM).ok(), Some(Answer::Busy));
        waiting.push(begin("second", FROM));
        assert_eq!(begin("third", FROM).ok(), Some(Answer::Busy));
        // Another one has its own share, also on the same machine.
        waiting.push(begin("third", ClientKey::User(Some(1000))));
        for receiver in waiting.into_iter().filter_map(Result::err) {
            assert_eq!(receiver.await, Ok(false));
        }
    }

    #[tokio::test]
    async fn many_who_guess_do_not_shut_out_one_who_does_not() {
        let passwords = Passwords::new().expect("random numbers");
        let alice = hash("right", 4);
        let users = users_of_one(&passwords, &alice);
        let client = |number: u8| ClientKey::V4([10, 0, 0, number].into());
        for number in 0..8 {
            let wrong = header("alice", &number.to_string());
            assert_eq!(passwords.check(&users, &wrong, client(number)).await, Answer::Wrong);
        }
        while lock(&passwords.state).threads > 0 {
            tokio::task::yield_now().await;
        }
        // No thread takes what waits, as if all were busy for long.
        lock(&passwords.state).threads = MOST_THREADS;
        let begin = |password: &str, from| {
            passwords.begin(&users, b"alice", password.as_bytes().to_vec(), from)
        };
        let guess = |number: u8| begin(&format!("new {number}"), client(number / 2));
        let mut guesses: Vec<_> =
            (0..16).map(|number| guess(number).expect_err("it waits")).collect();
        assert_eq!(begin("newer", client(8)).ok(), None, "one that has not guessed has room");
        assert!(guesses.pop().expect("the last guess").await.is_err(), "it is refused");
        assert_eq!(begin("newer", client(7)).ok(), Some(Answer::Busy));
        let mut right = begin("right", client(9)).expect_err("it waits");
        lock(&passwords.state).threads = 1;
        passwords.work();
        assert_eq!(right.try_recv(), Ok(true));
        assert_eq!(guesses.remove(0).try_recv(), Ok(false));
        // Whose password was right has not guessed any more.
        assert!(!lock(&passwords.state).guessers.has(&client(9)));
        assert!(lock(&passwords.state).guessers.has(&client(8)));
    }

    #[test]
    fn as_many_answers_are_kept_as_there_may_be() {
        let mut kept = Kept::default();
        for number in 0..=255u8 {
            kept.keep([number; 32]);
            kept.keep([number; 32]);
        }
        assert_eq!(kept.0.len(), KEPT);
        assert!(kept.has(&[255; 32]) && !kept.has(&[0; 32]));
        kept.forget(&[255; 32]);
        assert!(!kept.has(&[255; 32]));
    }
}
