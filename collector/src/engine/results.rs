//! What the last run of a collector gave, and what is asked of the next one. Nothing here runs,
//! waits or logs.
//!
//! A collector is *idle* or *busy* (a job of it waits, is queued or is out), and a further run is
//! *wanted* or not. Under one lock of the slot, an idle collector of which a run is wanted becomes
//! busy or is settled, so that no request ever sees it idle and wanted.
//!
//! | what happens | who calls | idle becomes | busy becomes | result |
//! |---|---|---|---|---|
//! | `ask` | a request that begins | wanted, unless a result serves | wanted, unless the run that is out serves | |
//! | `refresh` | the interval clock | wanted | | |
//! | `is_busy` is set | the slot that has a job made | busy | | |
//! | `begin` | the executor that begins the run | | not wanted, one is out | |
//! | `keep` | the executor whose run has come back | | idle | that of the run |
//! | `run_again` | the queue whose probe has found devices | | idle, wanted | |
//! | `settle`, `refuse` | the slot that cannot have a job made | not wanted | idle, not wanted | it is known that there is none |
//! | `set_stuck` | a request or a status that looks | | | it says `TimedOut` until `keep` |

use super::job::{Order, Outcome, Ran};
use super::notice::{Notice, What};
use super::status::Counters;
use super::sync::Arc;
use crate::plan::CollectorPlan;
use std::fmt::{self, Write};
use std::time::{Duration, Instant, SystemTime};
use vitald_core::error::Error;
use vitald_core::run::{Beside, Fault, Run, Spares};
use vitald_core::snapshot::{Part, State};

/// The first wait after a panic; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a panic.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How many sources are named beside that of the first fault.
const NAMED_BESIDE: usize = 3;
/// How often a fault that goes on is logged again.
const REMIND: Duration = Duration::from_secs(3600);
/// For how many of its intervals the result of a collector with an interval is served.
const INTERVALS: u32 = 3;

/// What one request, or the interval clock, wants of a collector.
#[derive(Clone, Copy)]
pub(super) struct Want {
    /// A run may have read this early for its result to be shared.
    pub(super) from: Instant,
    /// A run that read then or later serves in any case.
    pub(super) arrived: Instant,
    /// By when the run is of use; none if no request waits for it.
    pub(super) by: Option<Instant>,
    /// How long it is from its arrival until then.
    pub(super) time: Duration,
    /// The scrape timeout.
    pub(super) timeout: Duration,
}

/// When a run read what it gave, and how much time it had.
#[derive(Clone, Copy)]
struct RunTiming {
    began: Instant,
    /// What it took from others was read then or later.
    fresh_from: Instant,
    /// How long it might take.
    given: Duration,
}

pub(super) struct Results {
    /// A job of it is queued or out, or waits until the collector before it has come back.
    pub(super) is_busy: bool,
    /// A run is asked for that has not begun.
    is_wanted: bool,
    /// When the latest of those arrived that have asked. What a run takes from others is not older.
    arrived: Option<Instant>,
    /// By when the requests that have asked and not taken a result yet want one. Those that have their
    /// answer and wait for other collectors are among them: they will take what the last run gave.
    waiting: Vec<Instant>,
    /// The run that is out.
    running: Option<RunTiming>,
    /// The last run that came back, or the moment from which on it is known that there is none.
    ended: Option<RunTiming>,
    /// When the last run that came back began.
    began: Option<Instant>,
    number: u64,
    state: State,
    /// The state is another one than when this was last asked.
    has_changed: bool,
    duration: Duration,
    /// How long the next run may be out before it is stuck.
    limit: Duration,
    /// The last run's samples; what a panic left is not kept.
    last: Option<Arc<Run>>,
    /// Those before, to be written next.
    spares: Spares,
    /// Before this it is not run, because it panicked.
    retry: Option<Instant>,
    panics_in_a_row: u32,
    error: Option<Arc<str>>,
    logged: Option<Instant>,
}

impl Want {
    /// Whether a run serves. A result that others asked for is shared, but not one that had to be
    /// quick for a request with little time, if there is much.
    fn is_met_by(&self, run: RunTiming) -> bool {
        run.fresh_from >= self.arrived
            || (run.fresh_from >= self.from && run.given.saturating_mul(2) >= self.time)
    }
}

impl RunTiming {
    /// That of what is known without a run.
    fn known_at(now: Instant) -> Self {
        RunTiming { began: now, fresh_from: now, given: Duration::MAX }
    }
}

impl Results {
    pub(super) fn new(plan: &CollectorPlan) -> Self {
        Results {
            is_busy: false,
            is_wanted: false,
            arrived: None,
            waiting: Vec::new(),
            running: None,
            ended: None,
            began: None,
            number: 0,
            state: State::Waiting,
            has_changed: false,
            duration: Duration::ZERO,
            limit: Duration::MAX,
            last: None,
            spares: Spares::new(plan.descriptor.families),
            retry: None,
            panics_in_a_row: 0,
            error: None,
            logged: None,
        }
    }

    /// Asks for a run, unless there is one that serves.
    pub(super) fn ask(&mut self, plan: &CollectorPlan, want: &Want) {
        self.arrived = self.arrived.max(Some(want.arrived));
        self.waiting.extend(want.by);
        if self.answers(plan, want) || self.running.is_some_and(|run| want.is_met_by(run)) {
            return;
        }
        self.limit = want.timeout.max(plan.interval.unwrap_or_default());
        self.is_wanted = true;
    }

    /// Asks for a run, unless one is under way.
    pub(super) fn refresh(&mut self, plan: &CollectorPlan, want: &Want) {
        if !self.is_busy {
            self.limit = want.timeout.max(plan.interval.unwrap_or_default());
            self.arrived = self.arrived.max(Some(want.arrived));
            self.is_wanted = true;
        }
    }

    /// How long the next run may be out before it is stuck.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether a run is asked for that no job will make.
    pub(super) fn wants_job(&self) -> bool {
        self.is_wanted && !self.is_busy
    }

    /// Until when it is not run, if that is not over.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| now < retry)
    }

    /// The run that was asked for begins. A request that asked before counts on it, and may have arrived
    /// after the clock was read, so the run begins no earlier than that.
    pub(super) fn begin(&mut self, plan: &CollectorPlan, now: Instant) -> Order {
        let began = self.arrived.map_or(now, |arrived| arrived.max(now));
        // The most patient request says how long it may take. If none waits it has until it would be
        // stuck, and also with an interval: its result is served to others for long.
        let waiting = self.waiting.iter().copied().max();
        let by = waiting.filter(|by| *by > began && plan.interval.is_none());
        let by = by.or_else(|| began.checked_add(self.limit));
        let given = by.map_or(Duration::MAX, |by| by.saturating_duration_since(began));
        let fresh_from = self.arrived.unwrap_or(began);
        self.running = Some(RunTiming { began, fresh_from, given });
        self.is_wanted = false;
        let mut run = self.spares.take();
        if let Some(run) = Arc::get_mut(&mut run) {
            run.begin(self.last.as_deref(), plan.max_series);
            run.set_deadline(by);
            run.set_fresh_from(Some(fresh_from));
        }
        Order { began, run, limit: self.limit }
    }

    /// The run was not one of the collector, which is to make it itself: it is as if it had not
    /// begun.
    pub(super) fn run_again(&mut self, run: Arc<Run>) {
        self.spares.keep(run);
        self.running = None;
        self.is_busy = false;
        self.is_wanted = true;
    }

    /// Keeps what a run gave.
    pub(super) fn keep(
        &mut self,
        plan: &CollectorPlan,
        counters: &Counters,
        ran: Ran,
        now: Instant,
    ) -> impl Iterator<Item = Notice> + use<> {
        self.is_busy = false;
        self.ended = self.running.take().or(Some(RunTiming::known_at(ran.began)));
        self.began = Some(ran.began);
        self.duration = ran.took;
        self.number = counters.count_run();
        if ran.was_stuck {
            counters.count_timeout();
        }
        let (state_before, before) = (self.state, self.last.take());
        let (state, error) = match ran.outcome {
            Outcome::Returned(outcome) => {
                self.retry = None;
                self.panics_in_a_row = 0;
                counters.count_dropped(&ran.run);
                let malformed = ran.run.malformed().filter(|_| ran.run.is_empty());
                self.last = Some(ran.run);
                match (outcome, malformed) {
                    // Malformed lines are tolerated; a source of nothing else is a fault.
                    (Ok(()), Some((_, first))) => {
                        (State::Failing, Some(first.in_file(only_source(plan, "every line"))))
                    }
                    (Ok(()), None) => (State::Running, None),
                    (Err(error @ Error::Absent { .. }), _) => (State::Absent, Some(error)),
                    (Err(error), _) => (State::Failing, Some(error)),
                }
            }
            Outcome::Panicked => {
                counters.count_panic();
                let wait = BACKOFF_FIRST
                    .saturating_mul(1 << self.panics_in_a_row.min(16))
                    .min(BACKOFF_MAX);
                self.panics_in_a_row += 1;
                self.retry = Some(now + wait);
                self.spares.keep(ran.run);
                (State::Panicked, None)
            }
        };
        if state == State::Failing {
            counters.count_failure();
        }
        let state = match state {
            State::Running if !Shortfall::of(state, self.last()).is_none() => State::Degraded,
            state => state,
        };
        let name = plan.descriptor.name;
        let notice = self.notice(name, state, error.as_ref(), now);
        self.set(state);
        let whats = {
            let before = Shortfall::of(state_before, before.as_deref());
            let shortfall = Shortfall::of(state, self.last());
            let degraded = shortfall.degraded.filter(|reason| before.degraded != Some(reason));
            // The place in a source moves when the source is written anew, so it is no news.
            let is_same = |fault: &Fault<'_>| {
                before.fault.is_some_and(|before| {
                    let is_known =
                        |other: &Beside| before.sources().any(|known| known == other.source);
                    before.source == fault.source && named(*fault).iter().all(is_known)
                })
            };
            let unread = shortfall.fault.filter(|fault| !is_same(fault));
            let is_complete = state == State::Running && !before.is_none();
            [
                degraded.map(What::Degraded),
                unread.map(|fault| What::Unread(in_words(plan, fault, shortfall.others))),
                is_complete.then_some(What::Complete),
            ]
        };
        if let Some(before) = before {
            self.spares.keep(before);
        }
        let whats = whats.into_iter().flatten();
        let others = whats.map(move |what| Notice { collector: Some(name), what });
        notice.into_iter().chain(others)
    }

    /// It is not run: those who wait have their answer.
    pub(super) fn settle(&mut self, state: State, now: Instant) {
        self.is_busy = false;
        self.is_wanted = false;
        self.set(state);
        self.ended = Some(RunTiming::known_at(now));
        if state == State::TimedOut {
            self.last = None;
        }
    }

    /// It cannot be run, for a reason that does not lie with it.
    pub(super) fn refuse(
        &mut self,
        name: &'static str,
        why: String,
        now: Instant,
    ) -> Option<Notice> {
        let is_new = self.state != State::TimedOut || self.error.is_none();
        let why: Arc<str> = why.into();
        self.error = Some(Arc::clone(&why));
        self.settle(State::TimedOut, now);
        is_new.then_some(Notice { collector: Some(name), what: What::NotRun(why) })
    }

    /// The run that is out, or that of the collector before it, is stuck.
    pub(super) fn set_stuck(&mut self) {
        self.set(State::TimedOut);
    }

    fn set(&mut self, state: State) {
        self.has_changed |= self.state != state;
        self.state = state;
    }

    /// Whether the state is another one than when this was last asked.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Whether there is a result that serves, or the knowledge that there will be none. What serves
    /// a request once serves it to its end, since every run that follows reads later.
    pub(super) fn answers(&self, plan: &CollectorPlan, want: &Want) -> bool {
        self.ended.is_some_and(|run| want.is_met_by(run) || is_in_intervals(plan, run, want))
    }

    pub(super) fn has_result(&self) -> bool {
        self.ended.is_some()
    }

    /// A request waits no more.
    pub(super) fn leave(&mut self, want: &Want) {
        if let Some(place) = self.waiting.iter().position(|by| Some(*by) == want.by) {
            self.waiting.swap_remove(place);
        }
    }

    /// What a snapshot shows to a request. At its end, which is `now` by one clock and `taken` by the
    /// other, it takes what there is.
    pub(super) fn part(
        &self,
        plan: &CollectorPlan,
        want: &Want,
        now: Instant,
        taken: SystemTime,
    ) -> Part {
        let is_fresh = self
            .ended
            .is_some_and(|run| run.fresh_from >= want.from || is_in_intervals(plan, run, want));
        let age = self.age(now);
        Part {
            descriptor: plan.descriptor,
            state: if is_fresh { self.state } else { State::TimedOut },
            run_number: self.number,
            began: age.and_then(|age| taken.checked_sub(age)).unwrap_or(SystemTime::UNIX_EPOCH),
            duration: self.duration,
            age: age.unwrap_or_default(),
            run: if is_fresh { self.last.clone() } else { None },
        }
    }

    /// When a collector with an interval is due again.
    pub(super) fn due(&self, interval: Duration, now: Instant) -> Instant {
        self.ended.map_or(now, |run| run.began + interval)
    }

    /// For how long there has been no newer run. What is known without a run makes none younger.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.began.map(|began| now.saturating_duration_since(began))
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn duration(&self) -> Duration {
        self.duration
    }

    pub(super) fn last(&self) -> Option<&Run> {
        self.last.as_deref()
    }

    /// Why the samples of the last run are not all there, or what else is wrong with its thread. That
    /// there was a fault says least.
    pub(super) fn degraded(&self, thread: Option<&'static str>) -> Option<&'static str> {
        let shortfall = Shortfall::of(self.state, self.last());
        shortfall.degraded.or(thread).or(shortfall.fault.map(|_| FAULT))
    }

    /// What the last run could not read, though it succeeded.
    pub(super) fn fault(&self, plan: &CollectorPlan) -> Option<Arc<str>> {
        let Shortfall { fault, others, .. } = Shortfall::of(self.state, self.last());
        fault.map(|fault| in_words(plan, fault, others))
    }

    /// The same part by part, with why each could not be read; and how many there are beside these.
    pub(super) fn unread(&self) -> (Vec<Beside>, u32) {
        let Shortfall { fault, others, .. } = Shortfall::of(self.state, self.last());
        let Some(fault) = fault else { return Default::default() };
        let first = Beside { source: fault.source.to_owned(), error: fault.error.to_owned() };
        let listed = std::iter::once(first).chain(fault.beside.iter().cloned()).collect();
        let unnamed = fault.beside.len() - named(fault).len();
        (listed, others.saturating_sub(unnamed as u32))
    }

    pub(super) fn error(&self) -> Option<&Arc<str>> {
        self.error.as_ref()
    }

    /// Says something when the state changes, and hourly while a fault goes on; never at each run.
    fn notice(
        &mut self,
        name: &'static str,
        state: State,
        error: Option<&Error>,
        now: Instant,
    ) -> Option<Notice> {
        let is_same = self.state == state;
        self.error = match (error, state) {
            (Some(error), _) if is_same && self.error.is_some() => {
                let known = self.error.take().filter(|known| reads(error, known));
                known.or_else(|| Some(error.to_string().into()))
            }
            (Some(error), _) => Some(error.to_string().into()),
            (None, State::Panicked) => Some("it panicked; the log says where".into()),
            (None, _) => None,
        };
        let is_fault = matches!(state, State::Failing | State::Panicked);
        let reminds = is_fault && self.logged.is_none_or(|logged| now > logged + REMIND);
        if is_same && !reminds {
            return None;
        }
        self.logged = Some(now);
        let error = || self.error.clone().unwrap_or_default();
        let what = match state {
            State::Failing => What::Failed(error()),
            State::Panicked => What::Panicked,
            State::Absent => What::Absent(error()),
            State::Running | State::Degraded
                if self.state != State::Waiting && !self.state.is_success() =>
            {
                What::WorksAgain
            }
            _ => return None,
        };
        Some(Notice { collector: Some(name), what })
    }
}

/// The reason of a run that is degraded by a fault alone, which says more.
const FAULT: &str = "fault";

/// How a run fell short of what there is to read.
#[derive(Clone, Copy)]
struct Shortfall<'r> {
    degraded: Option<&'static str>,
    /// Only of a run that succeeded; the error of another one says more.
    fault: Option<Fault<'r>>,
    /// How many parts could not be read beside those that the fault names.
    others: u32,
}

impl<'r> Shortfall<'r> {
    fn of(state: State, run: Option<&'r Run>) -> Self {
        let fault = run.filter(|_| state.is_success()).and_then(Run::fault);
        // A malformed line is not counted among them.
        let told = |fault: Fault<'_>| named(fault).len() as u32 + u32::from(!fault.is_malformed);
        Shortfall {
            degraded: run.and_then(Run::degraded_reason),
            fault,
            others: run.map_or(0, Run::faults).saturating_sub(fault.map_or(0, told)),
        }
    }

    fn is_none(&self) -> bool {
        self.degraded.is_none() && self.fault.is_none()
    }
}

/// A fault with its place, which is that of the collector if it has one source only, the places of a few others, and
/// how many more there are.
fn in_words(plan: &CollectorPlan, fault: Fault<'_>, others: u32) -> Arc<str> {
    let mut words = match (fault.source, fault.error) {
        ("", error) => match only_source(plan, "") {
            "" if fault.is_malformed && !plan.descriptor.sources.is_empty() => {
                format!("one of {}: {error}", plan.descriptor.sources.join(", "))
            }
            "" => error.to_owned(),
            source => format!("{source}: {error}"),
        },
        (source, error) => format!("{source}: {error}"),
    };
    let named: Vec<&str> = named(fault).iter().map(|beside| &*beside.source).collect();
    // Writing into a text does not fail.
    let _ = match (&named[..], others) {
        ([], 0) => Ok(()),
        ([], others) => write!(words, " (and {others} more)"),
        (named, 0) => write!(words, " (and {})", named.join(", ")),
        (named, others) => write!(words, " (and {}, and {others} more)", named.join(", ")),
    };
    words.into()
}

/// The other sources that are named where a fault is put in one line.
fn named<'r>(fault: Fault<'r>) -> &'r [Beside] {
    &fault.beside[..fault.beside.len().min(NAMED_BESIDE)]
}

/// The source of a collector that has one, or else something else.
fn only_source<'a>(plan: &CollectorPlan, otherwise: &'a str) -> &'a str {
    match plan.descriptor.sources {
        [source] => source,
        _ => otherwise,
    }
}

/// Whether an error is shown as that text. What stays absent is compared at every collection, so no text is made
/// for it.
fn reads(error: &Error, text: &str) -> bool {
    struct Rest<'a>(&'a str);

    impl Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    let mut rest = Rest(text);
    write!(rest, "{error}").is_ok() && rest.0.is_empty()
}

/// A collector with an interval serves its last result to requests that arrive within some
/// intervals.
fn is_in_intervals(plan: &CollectorPlan, run: RunTiming, want: &Want) -> bool {
    plan.interval.is_some_and(|interval| {
        want.arrived.saturating_duration_since(run.began) <= interval.saturating_mul(INTERVALS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_is_compared_as_it_is_shown() {
        let error = Error::absent("proc/schedstat");
        assert!(reads(&error, &error.to_string()));
        for other in
            ["", "proc/schedstat", "proc/schedstat: not on this host.", "x: not on this host"]
        {
            assert!(!reads(&error, other), "{other:?}");
        }
        let error = |errno| Error::from_io("proc/stat", io::Error::from_raw_os_error(errno));
        assert!(reads(&error(13), &error(13).to_string()));
        for other in [error(1), Error::absent("proc/stat")].map(|error| error.to_string()) {
            assert!(!reads(&error(13), &other), "{other:?}");
        }
        assert!(!reads(&error(13), &error(13).to_string().replace("stat", "status")));
    }
}
