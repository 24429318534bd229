//! One connection, from its first byte to its end.
//!
//! hyper reads requests and writes answers. Around it are three thoughts: [`Wire`], the bytes on their way;
//! [`ConnectionState`], what the connection is at and who wants it to end; and here the one timer. That is only set
//! back when it fires: a request that comes in one piece and is answered at once touches no timer at all. hyper's own
//! timeout would be started and stopped for each request, and cannot tell an idle connection from half a head.

use super::heads::Heads;
use super::limits::Limits;
use super::state::{ConnectionState, End, Phase};
use super::stream::Stream;
use super::unread::Unread;
use super::wire::Wire;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use warp::reply::Response;

/// The most that a request's head may have, and what is buffered of one connection.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How often the timer of a connection comes round while a request is served.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How every connection is served; made once.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // See the top of this file.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(true)
        // A client may end its side as soon as it has asked, as `nc -N` does.
        .half_close(true);
    builder
}

/// Serves a connection until it ends: by its peer, by a timeout, or because it was asked to.
pub(super) async fn serve<S>(
    builder: &http1::Builder,
    limits: &Arc<Limits>,
    heads: &Arc<Heads>,
    unread: &Arc<Unread>,
    state: Arc<ConnectionState>,
    stream: Stream,
    service: S,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let wire = TokioIo::new(Wire::new(stream, &state, limits, heads, unread));
    let mut connection = pin!(builder.serve_connection(wire, service));
    let first = state.due(limits.timeouts()).unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
    let mut timer = pin!(tokio::time::sleep_until(first.into()));
    let mut is_last_answer = false;
    std::future::poll_fn(|cx| {
        state.wake_with(cx.waker());
        loop {
            let end = state.end();
            // Before the answer is polled: its head says so. hyper would close an idle connection at once, though a
            // request may just be arriving.
            if end == End::AfterRequest && !is_last_answer && is_at_request(&state) {
                is_last_answer = true;
                connection.as_mut().graceful_shutdown();
            }
            if end == End::Now || connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // A request that was read in this turn is the last one, too.
            if is_last_answer || state.end() == End::Open || !is_at_request(&state) {
                break;
            }
        }
        poll_deadline(&state, limits, timer.as_mut(), cx)
    })
    .await;
}

fn is_at_request(state: &ConnectionState) -> bool {
    matches!(state.phase(), Phase::Queued | Phase::Serving | Phase::Sending)
}

/// Ready when the time of what the connection is at is up.
fn poll_deadline(
    state: &ConnectionState,
    limits: &Limits,
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let due = state.due(limits.timeouts());
        if let Some(due) = due
            && due < timer.deadline().into_std()
        {
            timer.as_mut().reset(due.into());
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        match due {
            Some(due) if due <= now => {
                if state.end() == End::Open {
                    state.counters.count_timed_out();
                }
                return Poll::Ready(());
            }
            Some(due) => timer.as_mut().reset(due.into()),
            None => timer.as_mut().reset((now + LOOK_AGAIN).into()),
        }
    }
}
