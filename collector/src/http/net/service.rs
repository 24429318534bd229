//! From a connection to what answers its requests.

use super::date::LATEST;
use super::limits::Limits;
use super::shares::{OwnRequest, Rank, Turn};
use super::state::ConnectionState;
use crate::http::counters::{HttpCounters, InFlight};
use crate::http::request::{Client, Fault, Request};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use warp::reply::Response;

/// The longest body that is not refused. No page reads one.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// What answers the requests that connections bring.
pub(crate) trait Answer: Send + Sync + 'static {
    /// Begins to answer one, also one with a fault.
    fn answer(&self, request: Request) -> Answering;
}

/// An answer that is being made.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What a connection hands its requests to: it counts them and finds those that are too many or
/// too large.
pub(super) struct ConnectionService {
    pub(super) answer: Arc<dyn Answer>,
    pub(super) limits: Arc<Limits>,
    pub(super) counters: Arc<HttpCounters>,
    pub(super) client: Arc<Client>,
    pub(super) state: Arc<ConnectionState>,
}

impl ConnectionService {
    /// Begins a request if there are not too many, or has it wait for its turn.
    fn begin(&self, in_flight: u64, rank: Rank, most: u64) -> Result<OwnRequest, Turn> {
        let member = &self.state.member;
        // What waits is in flight, too: while this is true nobody waits who would go first.
        if most == 0 || in_flight <= rank.may_have(most) {
            return Ok(member.share.begin_request());
        }
        member.begin_request(rank, most)
    }
}

impl Service<hyper::Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Served;

    fn call(&self, request: hyper::Request<Incoming>) -> Served {
        let now = Instant::now();
        let body = request.body().size_hint();
        let rank = self.state.begins_to_serve(now, body.exact().unwrap_or(0));
        let in_flight = self.counters.begin_request();
        let most = self.limits.max_requests();
        // hyper passes over a short body and closes the connection after a long one.
        let (head, _) = request.into_parts();
        let is_long = body.lower() > MAX_BODY_BYTES;
        let fault = is_long.then_some(Fault::LongBody(MAX_BODY_BYTES));
        let request = Request::new(head, now, Arc::clone(&self.client), fault);
        let (answering, own) = match self.begin(in_flight.total, rank, most) {
            Ok(own) => (self.answer.answer(request), Some(own)),
            Err(turn) => {
                let within = self.limits.timeouts().turn;
                let (answer, state) = (Arc::clone(&self.answer), Arc::clone(&self.state));
                state.waits_for_turn();
                (answer_in_turn(answer, state, request, turn, within, most), None)
            }
        };
        Served {
            answering,
            state: Arc::clone(&self.state),
            counters: Arc::clone(&self.counters),
            in_flight,
            own,
        }
    }
}

/// Answers a request when its turn comes, or refuses it.
fn answer_in_turn(
    answer: Arc<dyn Answer>,
    state: Arc<ConnectionState>,
    mut request: Request,
    turn: Turn,
    within: Duration,
    most: u64,
) -> Answering {
    Box::pin(async move {
        let own = turn.comes_within(within).await;
        state.has_waited();
        if own.is_none() {
            request.fault = Some(Fault::TooManyRequests(most));
        }
        let response = answer.answer(request).await;
        drop(own);
        response
    })
}

/// A request under way.
pub(super) struct Served {
    answering: Answering,
    state: Arc<ConnectionState>,
    counters: Arc<HttpCounters>,
    #[expect(dead_code, reason = "counts until it is dropped")]
    in_flight: InFlight,
    #[expect(dead_code, reason = "counts until it is dropped")]
    own: Option<OwnRequest>,
}

impl Future for Served {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answering.as_mut().poll(cx).map(|mut response| {
            LATEST.correct(SystemTime::now(), response.headers_mut());
            self.counters.count_answer(response.status().as_u16());
            self.state.begins_to_send(Instant::now(), response.status().is_success());
            Ok(response)
        })
    }
}
