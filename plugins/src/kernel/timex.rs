//! How the kernel disciplines its clock, from adjtimex(2).

use vitald_core::errno::{EACCES, EPERM};
use vitald_core::host::ClockDiscipline;
use vitald_core::prelude::*;

families! {
    /// Whether the clock is synchronized to a reliable server.
    SYNC_STATUS: gauge = "node_timex_sync_status";
    /// Offset of the clock from its reference, in seconds.
    OFFSET: gauge = "node_timex_offset_seconds";
    /// How much faster than its oscillator the clock is made to run: 1 is not at all.
    FREQUENCY: gauge = "node_timex_frequency_adjustment_ratio";
    /// Largest possible error of the clock, in seconds.
    MAXIMUM_ERROR: gauge = "node_timex_maxerror_seconds";
    /// Estimated error of the clock, in seconds.
    ESTIMATED_ERROR: gauge = "node_timex_estimated_error_seconds";
    /// The bits of the clock's status (STA_* in linux/timex.h).
    STATUS: gauge = "node_timex_status";
    /// Time constant of the phase-locked loop.
    LOOP_TIME_CONSTANT: gauge = "node_timex_loop_time_constant";
    /// Time between two ticks of the clock, in seconds.
    TICK: gauge = "node_timex_tick_seconds";
    /// Frequency of the pulse per second, in hertz.
    PPS_FREQUENCY: gauge = "node_timex_pps_frequency_hertz";
    /// Jitter of the pulse per second, in seconds.
    PPS_JITTER: gauge = "node_timex_pps_jitter_seconds";
    /// Interval of the pulse per second: the kernel's number, which is a power of two of seconds.
    PPS_SHIFT: gauge = "node_timex_pps_shift_seconds";
    /// Stability of the pulse per second, an average of its changes of frequency, in hertz.
    PPS_STABILITY: gauge = "node_timex_pps_stability_hertz";
    /// Times that the jitter of the pulse per second was too large.
    PPS_JITTER_COUNT: counter = "node_timex_pps_jitter_total";
    /// Intervals of the pulse per second that were calibrated.
    PPS_CALIBRATION_COUNT: counter = "node_timex_pps_calibration_total";
    /// Calibrations of the pulse per second that failed.
    PPS_ERROR_COUNT: counter = "node_timex_pps_error_total";
    /// Times that the frequency of the pulse per second changed too much.
    PPS_STABILITY_COUNT: counter = "node_timex_pps_stability_exceeded_total";
    /// International Atomic Time less UTC, in seconds; 0 until a time server says so.
    TAI_OFFSET: gauge = "node_timex_tai_offset_seconds";
}

/// `TIME_ERROR` of `linux/timex.h`: the clock is not synchronized.
const TIME_ERROR: i32 = 5;
/// `STA_NANO`: offset and jitter are in nanoseconds.
const STA_NANO: i32 = 0x2000;
const NANOSECONDS: f64 = 1e9;
const MICROSECONDS: f64 = 1e6;
/// Frequencies are in parts per million, with 16 bits behind the point.
const PARTS: f64 = 1e6 * 65_536.0;

register_collector!(Timex);

struct Timex {
    host: Host,
}

impl Collector for Timex {
    about! {
        name: "timex",
        summary: "How the kernel disciplines its clock",
        families: FAMILIES,
        sources: ["adjtimex"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Clock",
        &[
            Curve::of("synchronised", value("node_timex_sync_status")),
            Curve::of("offset", value("node_timex_offset_seconds")),
            Curve::of("error at most", value("node_timex_maxerror_seconds")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Timex { host: host.clone() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let clock = self.host.clock_discipline().map_err(|error| match error.raw_os_error() {
            // A container may not ask, which is no fault.
            Some(EPERM | EACCES) => Error::absent("adjtimex"),
            _ => Error::from_io("adjtimex", error),
        })?;
        push(&clock, batch);
        Ok(())
    }
}

fn push(clock: &ClockDiscipline, batch: &mut Batch) {
    let has_nanoseconds = clock.status & STA_NANO != 0;
    let unit = if has_nanoseconds { NANOSECONDS } else { MICROSECONDS };
    batch.value(&SYNC_STATUS, clock.state != TIME_ERROR);
    batch.value(&OFFSET, clock.offset as f64 / unit);
    batch.value(&FREQUENCY, 1.0 + clock.frequency as f64 / PARTS);
    batch.value(&MAXIMUM_ERROR, clock.maximum_error as f64 / MICROSECONDS);
    batch.value(&ESTIMATED_ERROR, clock.estimated_error as f64 / MICROSECONDS);
    batch.value(&STATUS, clock.status);
    batch.value(&LOOP_TIME_CONSTANT, clock.constant);
    batch.value(&TICK, clock.tick as f64 / MICROSECONDS);
    batch.value(&PPS_FREQUENCY, clock.pps_frequency as f64 / PARTS);
    batch.value(&PPS_JITTER, clock.jitter as f64 / unit);
    batch.value(&PPS_SHIFT, clock.shift);
    batch.value(&PPS_STABILITY, clock.stability as f64 / PARTS);
    batch.value(&PPS_JITTER_COUNT, clock.jitter_count);
    batch.value(&PPS_CALIBRATION_COUNT, clock.calibration_count);
    batch.value(&PPS_ERROR_COUNT, clock.error_count);
    batch.value(&PPS_STABILITY_COUNT, clock.stability_count);
    batch.value(&TAI_OFFSET, clock.tai);
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn clock() -> ClockDiscipline {
        ClockDiscipline {
            state: 0,
            status: 0x2001,
            offset: -250_000,
            frequency: -1_638_400,
            maximum_error: 16_000,
            estimated_error: 500,
            constant: 7,
            tick: 10_000,
            pps_frequency: 65_536,
            jitter: 1_000,
            shift: 4,
            stability: 131_072,
            jitter_count: 1,
            calibration_count: 2,
            error_count: 3,
            stability_count: 4,
            tai: 37,
        }
    }

    #[test]
    fn golden() {
        let memory = MemoryHost::new();
        memory.set_clock_discipline(Ok(clock()));
        check::<Timex>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_timex_estimated_error_seconds gauge
                node_timex_estimated_error_seconds 0.0005
                # node_timex_frequency_adjustment_ratio gauge
                node_timex_frequency_adjustment_ratio 0.999975
                # node_timex_loop_time_constant gauge
                node_timex_loop_time_constant 7
                # node_timex_maxerror_seconds gauge
                node_timex_maxerror_seconds 0.016
                # node_timex_offset_seconds gauge
                node_timex_offset_seconds -0.00025
                # node_timex_pps_calibration_total counter
                node_timex_pps_calibration_total 2
                # node_timex_pps_error_total counter
                node_timex_pps_error_total 3
                # node_timex_pps_frequency_hertz gauge
                node_timex_pps_frequency_hertz 1e-06
                # node_timex_pps_jitter_seconds gauge
                node_timex_pps_jitter_seconds 1e-06
                # node_timex_pps_jitter_total counter
                node_timex_pps_jitter_total 1
                # node_timex_pps_shift_seconds gauge
                node_timex_pps_shift_seconds 4
                # node_timex_pps_stability_exceeded_total counter
                node_timex_pps_stability_exceeded_total 4
                # node_timex_pps_stability_hertz gauge
                node_timex_pps_stability_hertz 2e-06
                # node_timex_status gauge
                node_timex_status 8193
                # node_timex_sync_status gauge
                node_timex_sync_status 1
                # node_timex_tai_offset_seconds gauge
                node_timex_tai_offset_seconds 37
                # node_timex_tick_seconds gauge
                node_timex_tick_seconds 0.01
            "#]],
        );
    }

    /// No server has set the clock since the boot, and its offset is in microseconds.
    #[test]
    fn a_clock_that_is_not_synchronized() {
        let memory = MemoryHost::new();
        let (state, status) = (TIME_ERROR, 0x40);
        memory.set_clock_discipline(Ok(ClockDiscipline { state, status, ..clock() }));
        let (batch, outcome) = run(&mut open::<Timex>(&memory.host(), &[]), None);
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("node_timex_sync_status 0\n"), "{page}");
        assert!(page.contains("node_timex_offset_seconds -0.25\n"), "{page}");
        assert!(page.contains("node_timex_pps_jitter_seconds 0.001\n"), "{page}");
    }

    #[test]
    fn a_container_may_not_ask() {
        let memory = MemoryHost::new();
        memory.set_clock_discipline(Err(EPERM));
        check_fails::<Timex>(
            &memory.host(),
            &[],
            &expect!["adjtimex: not on this host"],
            &expect![""],
        );
        memory.set_clock_discipline(Err(38));
        check_fails::<Timex>(
            &memory.host(),
            &[],
            &expect!["adjtimex: Function not implemented (os error 38)"],
            &expect![""],
        );
    }
}
