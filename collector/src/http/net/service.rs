//! From a connection to what answers its requests.

use super::connection::ConnectionState;
use super::limits::Limits;
use super::shares::OwnRequest;
use crate::http::counters::{HttpCounters, InFlight};
use crate::http::request::{Client, Fault, Request};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
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
    fn fault(&self, body: &Incoming, in_flight: u64) -> Option<Fault> {
        if body.size_hint().lower() > MAX_BODY_BYTES {
            return Some(Fault::LongBody(MAX_BODY_BYTES));
        }
        let most = self.limits.max_requests();
        let member = self.state.member();
        let are_spent = || member.shares().are_requests_spent(&member.share, most);
        (most > 0 && in_flight > most && are_spent()).then_some(Fault::TooManyRequests(most))
    }
}

impl Service<hyper::Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Served;

    fn call(&self, request: hyper::Request<Incoming>) -> Served {
        let now = Instant::now();
        self.state.begins_to_serve(now);
        let own = self.state.member().share.begin_request();
        let in_flight = self.counters.begin_request();
        // hyper passes over a short body and closes the connection after a long one.
        let (head, body) = request.into_parts();
        let fault = self.fault(&body, in_flight.total);
        let request = Request::new(head, now, Arc::clone(&self.client), fault);
        Served {
            answering: self.answer.answer(request),
            state: Arc::clone(&self.state),
            counters: Arc::clone(&self.counters),
            in_flight,
            own,
        }
    }
}

/// A request under way.
pub(super) struct Served {
    answering: Answering,
    state: Arc<ConnectionState>,
    counters: Arc<HttpCounters>,
    #[expect(dead_code, reason = "counts until it is dropped")]
    in_flight: InFlight,
    #[expect(dead_code, reason = "counts until it is dropped")]
    own: OwnRequest,
}

impl Future for Served {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answering.as_mut().poll(cx).map(|response| {
            self.counters.count_answer(response.status().as_u16());
            self.state.begins_to_send(Instant::now(), response.status().is_success());
            Ok(response)
        })
    }
}
