//! TLS handshakes, on a thread of their own.
//!
//! A handshake is arithmetic, and waits for its client. Neither is the affair of the thread that serves: an
//! accepted socket is handed to this one, and comes back when the keys are agreed on. So many handshakes may be
//! under way; if there are more, the oldest of the client that has the most has to go, so that clients that stay silent
//! lock nobody out.

use super::limits::Limits;
use super::shares::{Member, Share};
use super::stream::Stream;
use crate::http::counters::HttpCounters;
use crate::http::request::{CurrentServe, Peer};
use crate::sync::lock;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// The most handshakes under way; each may hold some 40 kB.
const MOST: usize = 64;
/// The most sockets that wait for the thread; more are not accepted meanwhile.
const WAITING: usize = 64;
/// How much the thread yields to the one that serves (nice(2)).
const NICENESS: i32 = 5;
/// The first byte of TLS: a record of a handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// How a request begins, as far as Go's server looks.
const REQUESTS: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// What Go's server answers to one.
const ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// The most of such a request that is taken before the end.
const DRAINED: u64 = 64 << 10;

/// An accepted connection before its handshake.
pub(super) struct Handshake {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) member: Member,
    /// What the listener serves, which a reload may have changed since it accepted.
    pub(super) rules: Arc<CurrentServe>,
    pub(super) limits: Arc<Limits>,
    pub(super) counters: Arc<HttpCounters>,
    /// Has it served afterwards; the socket is watched by no reactor then.
    pub(super) serve: Box<dyn FnOnce(Stream, Peer, Member) + Send>,
}

/// The thread, once there has been a handshake.
#[derive(Default)]
pub(super) struct Handshakes(Mutex<Option<mpsc::Sender<Handshake>>>);

impl Handshakes {
    /// Hands one over, when the thread has taken those before; it never waits for a client. If there is no thread to be had, the
    /// connection is closed.
    pub(super) async fn begin(&self, mut handshake: Handshake) {
        if handshake.stream.leave().is_err() {
            return;
        }
        match self.sender() {
            // It fails only if the thread has ended.
            Ok(sender) => drop(sender.send(handshake).await),
            Err(error) => {
                handshake.counters.count_accept_error();
                tracing::error!(%error, "the thread of TLS handshakes cannot be started");
            }
        }
    }

    /// The way to the thread, which is started if it is not there.
    fn sender(&self) -> io::Result<mpsc::Sender<Handshake>> {
        let mut known = lock(&self.0);
        if let Some(sender) = known.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        Ok(known.insert(start()?).clone())
    }
}

fn start() -> io::Result<mpsc::Sender<Handshake>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("handshakes".to_owned()).spawn(move || {
        let _ = rustix::process::nice(NICENESS);
        runtime.block_on(receive(receiver));
    })?;
    Ok(sender)
}

async fn receive(mut receiver: mpsc::Receiver<Handshake>) {
    let mut under_way = Crowd::default();
    while let Some(handshake) = receiver.recv().await {
        let (limits, counters) = (Arc::clone(&handshake.limits), Arc::clone(&handshake.counters));
        let most = MOST.min(usize::try_from(limits.max_connections()).unwrap_or(MOST));
        let share = Arc::clone(&handshake.member.share);
        let within = limits.timeouts().head;
        let task = tokio::spawn({
            let counters = Arc::clone(&counters);
            async move {
                let peer = handshake.peer.clone();
                match tokio::time::timeout(within, shake(handshake)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        counters.count_failed_handshake();
                        tracing::debug!(%peer, %error, "a TLS handshake failed");
                    }
                    Err(_) => counters.count_timed_out(),
                }
            }
        });
        under_way.add(share, task.abort_handle(), most, &counters);
    }
}

/// Connections of clients that wait for something, each on a task of its own, from the oldest to the newest.
#[derive(Default)]
pub(super) struct Crowd(Vec<UnderWay>);

/// One of them.
struct UnderWay {
    share: Arc<Share>,
    task: AbortHandle,
}

impl Crowd {
    /// Adds one of a client's, and ends others if there are more than `most`.
    pub(super) fn add(
        &mut self,
        share: Arc<Share>,
        task: AbortHandle,
        most: usize,
        counters: &HttpCounters,
    ) {
        self.0.retain(|one| !one.task.is_finished());
        self.0.push(UnderWay { share, task });
        while self.0.len() > most.max(1) {
            self.0.remove(first_to_go(&self.0)).task.abort();
            counters.count_evicted();
        }
    }
}

/// The one of many that has to go: the oldest of the client that has the most, so that one that floods takes no place from
/// another.
fn first_to_go(under_way: &[UnderWay]) -> usize {
    let of_same = |one: &UnderWay| {
        under_way.iter().filter(|other| Arc::ptr_eq(&one.share, &other.share)).count()
    };
    // The first of those that are equal.
    (0..under_way.len()).rev().max_by_key(|&at| of_same(&under_way[at])).unwrap_or_default()
}

/// Shakes hands, and hands the connection to those who serve it.
async fn shake(handshake: Handshake) -> io::Result<()> {
    let Handshake { mut stream, peer, member, rules, serve, .. } = handshake;
    stream.enter()?;
    let content = match &rules.now().web_config {
        Some(config) => Some(config.fresh().await),
        None => None,
    };
    // Without one TLS has just been switched off.
    if let Some(tls) = content.as_ref().and_then(|content| content.tls()) {
        if let Stream::Tcp(tcp) = &mut stream
            && is_answered_in_the_clear(tcp).await?
        {
            return Ok(());
        }
        let shaken = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await?;
        stream = Stream::Tls(Box::new(shaken), Arc::clone(&tls.clients));
    }
    stream.leave()?;
    serve(stream, peer, member);
    Ok(())
}

/// Answers a client that speaks plain HTTP here, so that its user finds out. Answers whether it does.
async fn is_answered_in_the_clear(stream: &mut TcpStream) -> io::Result<bool> {
    let mut first = [HANDSHAKE_RECORD; 5];
    stream.peek(&mut first[..1]).await?;
    if !first[0].is_ascii_uppercase() {
        return Ok(false);
    }
    stream.read_exact(&mut first).await?;
    if REQUESTS.contains(&&first) {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // What is unread when a socket is closed has the answer thrown away.
        let mut rest = stream.take(DRAINED);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::shares::Shares;
    use super::*;

    #[tokio::test]
    async fn who_floods_takes_no_place_from_another() {
        let shares = Arc::new(Shares::default());
        let of = |address: &str| shares.join(&Peer::Tcp(address.parse().expect("an address")));
        let [honest, flooding] = [of("10.0.0.1:1"), of("10.0.0.2:1")];
        let begin = |member: &Member| UnderWay {
            share: Arc::clone(&member.share),
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        let mut under_way = vec![begin(&honest), begin(&flooding), begin(&flooding)];
        assert_eq!(first_to_go(&under_way), 1);
        under_way.remove(1);
        // Of two that have as many the oldest goes.
        assert_eq!(first_to_go(&under_way), 0);
        under_way.push(begin(&honest));
        assert_eq!(first_to_go(&under_way), 0);
        under_way.iter().for_each(|one| one.task.abort());
    }

    #[tokio::test]
    async fn who_comes_when_one_client_has_all_places_gets_one() {
        let shares = Arc::new(Shares::default());
        let of = |address: &str| shares.join(&Peer::Tcp(address.parse().expect("an address")));
        let [honest, flooding] = [of("10.0.0.1:1"), of("10.0.0.2:1")];
        let (mut crowd, counters) = (Crowd::default(), HttpCounters::new());
        let mut add = |member: &Member| {
            let task = tokio::spawn(std::future::pending::<()>());
            crowd.add(Arc::clone(&member.share), task.abort_handle(), 3, &counters);
            task
        };
        let flood = [(); 3].map(|()| add(&flooding));
        let waits = add(&honest);
        let more = [(); 20].map(|()| add(&flooding));
        let [first, ..] = flood;
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(counters.evicted(), 21);
        let [.., second_last, last] = more;
        for stays in [waits, second_last, last] {
            assert!(!stays.is_finished());
            stays.abort();
            assert!(stays.await.is_err());
        }
        // Those that have ended take no place.
        let again = [(); 3].map(|()| add(&flooding));
        assert_eq!(counters.evicted(), 21);
        again.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
