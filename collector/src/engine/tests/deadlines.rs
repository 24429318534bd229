//! How long a run may take, and that it follows from no request that is more hurried than another.

use super::*;

#[test]
fn a_run_that_comes_too_late_for_its_request_has_an_end_too() {
    for may_block in [false, true] {
        let (said, times) = mpsc::channel::<Duration>();
        let (gate, opened) = mpsc::channel::<()>();
        let (said, opened) = (Mutex::new(said), Mutex::new(opened));
        let a = make(0, 0, may_block, move |batch| {
            let _ = lock(&said).send(batch.time_left());
            let _ = lock(&opened).recv();
            Ok(())
        });
        let engine = engine(&[&a]);
        drop(engine.collect(request(LONG)));
        assert!(times.recv().expect("it runs") <= LONG);
        let late = request(Duration::from_millis(1));
        let deadline = late.deadline;
        drop(engine.collect(late));
        until(|| Instant::now() > deadline);
        gate.send(()).expect("it waits");
        assert!(times.recv().expect("it runs once more") <= LONG, "may block: {may_block}");
        drop(gate);
    }
}
