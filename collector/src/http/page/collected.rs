//! How pages wait for a collection.

use crate::engine::Collecting;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

/// Waits until everything is there or the time is up. No timer is set while the collection thread is about to
/// do its work: it is this thread, and has the request woken when it is done or was left behind.
pub(super) async fn collected(collecting: &mut Collecting, deadline: Instant) {
    let mut timer = pin!(tokio::time::sleep_until(deadline.into()));
    std::future::poll_fn(|cx| {
        loop {
            match collecting.poll_at(cx.waker(), Instant::now()) {
                Ok(()) => return Poll::Ready(()),
                Err(None) => return Poll::Pending,
                Err(Some(again)) => timer.as_mut().reset(again.into()),
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
