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
/// The most sockets that wait for the thread.
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
    /// Hands one over. If there are too many, or there is no thread to be had, its connection is closed.
    pub(super) fn begin(&self, mut handshake: Handshake) {
        if handshake.stream.leave().is_err() {
            return;
        }
        let counters = Arc::clone(&handshake.counters);
        let mut sender = lock(&self.0);
        if sender.as_ref().is_none_or(mpsc::Sender::is_closed) {
            *sender = match start() {
                Ok(new) => Some(new),
                Err(error) => {
                    drop(sender);
                    counters.count_accept_error();
                    tracing::error!(%error, "the thread of TLS handshakes cannot be started");
                    return;
                }
            };
        }
        if let Some(sender) = &*sender
            && sender.try_send(handshake).is_err()
        {
            counters.count_evicted();
        }
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
    let mut under_way = Vec::new();
    while let Some(handshake) = receiver.recv().await {
        let (limits, counters) = (Arc::clone(&handshake.limits), Arc::clone(&handshake.counters));
        under_way.retain(|one: &UnderWay| !one.task.is_finished());
        let most = MOST.min(usize::try_from(limits.max_connections()).unwrap_or(MOST));
        while under_way.len() >= most.max(1) {
            under_way.remove(first_to_go(&under_way)).task.abort();
            counters.count_evicted();
        }
        let share = Arc::clone(&handshake.member.share);
        let within = limits.timeouts().head;
        let task = tokio::spawn(async move {
            let peer = handshake.peer.clone();
            match tokio::time::timeout(within, shake(handshake)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    counters.count_failed_handshake();
                    tracing::debug!(%peer, %error, "a TLS handshake failed");
                }
                Err(_) => counters.count_timed_out(),
            }
        });
        under_way.push(UnderWay { share, task: task.abort_handle() });
    }
}

/// A handshake under way.
struct UnderWay {
    share: Arc<Share>,
    task: AbortHandle,
}

/// Of many handshakes the one that has to go, from the oldest to the newest: the oldest of the client that has the
/// most, so that one that floods takes no place from another.
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
}
