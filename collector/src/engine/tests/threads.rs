//! The threads of the engine: what may end one, what must not, and which are counted as hung.

use super::*;

#[test]
fn a_clock_that_had_no_thread_gets_one_later() {
    let mut a = counting(0);
    a.plan.interval = Some(Duration::from_millis(20));
    let engine = new_engine();
    sync::refuse_threads(true);
    swap(&engine, &[&a]);
    sync::refuse_threads(false);
    scrape(&engine, LONG);
    until(|| engine.status()[0].counts.runs > 5);
}
