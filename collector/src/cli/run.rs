//! Running the daemon, natively or as node_exporter's stand-in.

use super::load::{config_file, load_from};
use super::registry::Registry;
use super::terminal::{complain, conclusion, exit, print};
use crate::blind;
use crate::contained::{Contained, ContainedError};
use crate::daemon::roots::require_procfs;
use crate::daemon::{self, Daemon, Source, StartError};
use crate::dropin::{self, Command, DropIn, Note, Web};
use crate::engine::{CollectorStatus, Engine, Request, Selection, Server};
use crate::heap;
use crate::http::{self, Http, HttpCounters, Listeners, Lowered, Mode, Scarce, Served};
use crate::memory_limit;
use crate::outputs;
use crate::plan::{Address, Log, LogFormat, LogLevel, OutputPlan, Plan};
use crate::serving::Serving;
use crate::{log, privileges, systemd};
use clap::ArgMatches;
use rustix::io::Errno;
use rustix::process::{self, Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::field;
use vitald_core::host::{hold_signals, take_without_meaning};
use vitald_core::sealer::OwnFamilies;
use vitald_core::snapshot::State;

/// How long requests under way, and a reload before them, may take to end after the signal to stop.
/// With what outputs may take it is less than the `TimeoutStopSec` of deploy/vitald.service.
const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// How long the first collection waits for a scrape, whose own it may then be: a scrape that came just after it had begun
/// would wait for what it is not answered with.
const SCRAPE_COMES_FIRST: Duration = Duration::from_millis(10);
/// How long the start may take before the log says that it is slow.
const SLOW_START: Duration = Duration::from_secs(10);
/// How much of that a reload, or a start, in progress may take.
const END_OF_CHANGE: Duration = Duration::from_secs(3);
/// How long the files of unix sockets may take to be removed when all else has ended, or is not waited for.
const END_OF_FILES: Duration = Duration::from_secs(1);
/// For how long after the signal to stop another one means the same. Some send it several times at once: `timeout`
/// tells its child and then its group, and a shell tells all of a job.
const SAME_STOP: Duration = Duration::from_secs(1);

/// What a start is made from.
struct Start {
    /// Where the configuration comes from, now and at every reload.
    source: Source,
    /// What only the drop-in has, which ends as node_exporter does.
    web: Option<Web>,
    notes: Vec<Note>,
}

/// Removes the files of unix sockets at the end, whatever the way out: a start that fails, one that hangs when
/// SIGTERM comes, a stop that is not waited for, a panic.
struct LeavesNoFile(Arc<Listeners>);

impl Drop for LeavesNoFile {
    fn drop(&mut self) {
        self.0.leave_no_file(END_OF_FILES);
    }
}

/// What has been started.
struct Started {
    signals: Signals,
    counters: Arc<HttpCounters>,
    listeners: Arc<Listeners>,
    daemon: Arc<Daemon>,
    web: Option<Web>,
}

/// Runs the daemon.
pub(super) fn run(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let file = config_file(own);
    // Without a current directory a relative path has no absolute one, and cannot be read either.
    let absolute =
        file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    let (collectors, outputs) = (registry.collectors.to_vec(), registry.outputs.to_vec());
    let console = own.get_one::<Duration>("console").copied();
    let read = move || {
        let mut plan = load_from(file.as_deref(), &collectors, &outputs)?;
        require_procfs(&plan.roots).map_err(|mistake| vec![plan.place(mistake)])?;
        if let Some(interval) = console {
            show_console(&mut plan, interval);
        }
        Ok(plan)
    };
    let source = Source { file: absolute, read: Box::new(read) };
    start(Start { source, web: None, notes: Vec::new() })
}

/// Switches the console on, if the configuration has none on already.
fn show_console(plan: &mut Plan, interval: Duration) {
    let is_console = |output: &OutputPlan| output.descriptor.name == "console";
    let on = plan.outputs.iter().position(|output| output.enabled && is_console(output));
    let known = on.or_else(|| plan.outputs.iter().position(is_console));
    if let Some(console) = known.map(|place| &mut plan.outputs[place]) {
        (console.enabled, console.interval) = (true, interval);
    }
}

/// Runs as node_exporter would with these flags.
pub(super) fn drop_in(program: &str, arguments: &[OsString], registry: Registry<'_>) -> ExitCode {
    match dropin::parse(program, arguments, registry.collectors) {
        Ok(Command::Help(text) | Command::Version(text)) => print(&text),
        Ok(Command::Run(drop_in)) => {
            let DropIn { plan, web, mut notes, names_processors, .. } = *drop_in;
            // node_exporter takes it from the environment if no flag says it.
            let variable = std::env::var("GOMAXPROCS").ok().filter(|_| !names_processors);
            match variable.map(|value| dropin::note_of_processors(&value)) {
                Some(Ok(note)) => notes.push(note),
                Some(Err(error)) => {
                    complain(&format_args!("GOMAXPROCS: {error}"));
                    return ExitCode::FAILURE;
                }
                None => {}
            }
            let source = Source { file: None, read: Box::new(move || Ok(plan.clone())) };
            start(Start { source, web: Some(web), notes })
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(start: Start) -> ExitCode {
    // Before the first other thread starts. It fails for no signal that there is.
    let _ = hold_signals(&ANSWERED.map(process::Signal::as_raw), true);
    vitald_core::host::keep_heap_small();
    log::configure(&Log { level: LogLevel::Info, format: LogFormat::Logfmt });
    systemd::status("Reading and opening the first configuration");
    raise_descriptor_limit();
    let status = match runtime().and_then(Serving::new) {
        Ok(serving) => {
            let status = run_with(&serving, start);
            // A blocking task that hangs must not keep the process, and other threads drive the runtime: it ends
            // with the process.
            std::mem::forget(serving);
            systemd::flush();
            status
        }
        Err(error) => {
            let remedy = match Errno::from_io_error(&error) {
                Some(Errno::MFILE) => "; raise the limit of open files (LimitNOFILE=, ulimit -n)",
                _ => "",
            };
            fail(exit::OS_ERROR, &format_args!("cannot start: {error}{remedy}"))
        }
    };
    outputs::leave_terminal();
    log::flush();
    status
}

/// Starts on this thread, has the collection thread serve, and watches it meanwhile.
fn run_with(serving: &Arc<Serving>, start: Start) -> ExitCode {
    let counters = Arc::new(HttpCounters::new());
    let listeners = serving.block_on(async { Listeners::new(Arc::clone(&counters)) });
    let _leaves_no_file = LeavesNoFile(Arc::clone(&listeners));
    let started = match serving.block_on(begin(start, serving, counters, listeners)) {
        Ok(started) => started,
        Err(status) => return status,
    };
    let engine = Arc::clone(&started.daemon.engine);
    let served = serving.begin(serve(started));
    serving.keep_watch(&engine);
    // What collectors have open is closed with the process: on this thread it could hang.
    std::mem::forget(engine);
    match serving.block_on(served) {
        Ok(status) => status,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => ExitCode::FAILURE,
        },
    }
}

/// The runtime of the thread that serves.
fn runtime() -> io::Result<Runtime> {
    // It panics where it gets no socket for its signals, so as many descriptors as it takes are
    // asked for before.
    [(); 3].map(|()| UnixStream::pair()).into_iter().collect::<io::Result<Vec<_>>>()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Threads of the runtime's own are for that alone.
    runtime.enable_all().thread_name("page writing").build()
}

/// The signals the daemon answers to. They are taken before anything slow happens: a SIGHUP during
/// the start must not end the process.
struct Signals {
    hangup: Signal,
    stop: StopSignals,
}

/// Those that stop the daemon.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// The signals that it answers. They wait until it can: one that came between the taking of a signal and the first wait
/// for it would be lost.
const ANSWERED: [process::Signal; 3] =
    [process::Signal::HUP, process::Signal::TERM, process::Signal::INT];

/// Signals that mean nothing to the daemon. It goes on after them, as a program in Go does: log rotation, for
/// one, sends SIGUSR1 to whatever it knows.
const WITHOUT_MEANING: &[process::Signal] = &[
    process::Signal::USR1,
    process::Signal::USR2,
    process::Signal::ALARM,
    process::Signal::VTALARM,
    process::Signal::PROF,
    process::Signal::IO,
    #[cfg(target_os = "linux")]
    process::Signal::POWER,
];
/// The realtime signals, which mean nothing to it, either.
const REALTIME: RangeInclusive<i32> = 34..=64;

impl Signals {
    fn take() -> io::Result<Self> {
        // A write beyond the limit of a file's size fails with an error then, as on a full disk.
        take_without_meaning(process::Signal::XFSZ.as_raw())?;
        WITHOUT_MEANING.iter().try_for_each(|signal| take_without_meaning(signal.as_raw()))?;
        // Some libraries keep the first of these for themselves.
        REALTIME.for_each(|number| drop(take_without_meaning(number)));
        let signals = Signals {
            hangup: signal(SignalKind::hangup())?,
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        };
        hold_signals(&ANSWERED.map(process::Signal::as_raw), false)?;
        Ok(signals)
    }
}

impl StopSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the end of everything, unless the signal comes once more: who sends it again has waited
    /// enough. To be called when the first one has come.
    async fn hasten(&mut self, end: impl Future<Output = ()>) {
        tokio::select! {
            () = end => {}
            () = self.recv_after(Instant::now() + SAME_STOP) => {
                tracing::warn!("told to stop once more: not waiting for what is under way");
            }
        }
    }

    /// Waits for one that comes after a moment; what comes before means nothing.
    async fn recv_after(&mut self, moment: Instant) {
        loop {
            self.recv().await;
            if Instant::now() >= moment {
                return;
            }
        }
    }
}

/// Reads the first configuration and starts what it asks for, or says with which status the process ends.
async fn begin(
    start: Start,
    serving: &Arc<Serving>,
    counters: Arc<HttpCounters>,
    listeners: Arc<Listeners>,
) -> Result<Started, ExitCode> {
    let Start { source, web, notes } = start;
    let drop_in = web.is_some();
    let mut signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return Err(fail(exit::OS_ERROR, &format!("cannot take signals: {error}"))),
    };
    // The configuration may be on a file system that hangs: not on the thread that takes signals.
    let work = {
        let collections_only = web.as_ref().is_some_and(|web| web.disable_exporter_metrics);
        let (listeners, runtime) = (Arc::clone(&listeners), Handle::current());
        let counters = Arc::clone(&counters);
        let server: Arc<dyn Server> = Arc::clone(serving) as Arc<dyn Server>;
        move || {
            let _inside = runtime.enter();
            Daemon::start(listeners, source, counters, collections_only, Some(server))
        }
    };
    let mut starting = match Contained::new("start", "the start").begin(work) {
        Ok(starting) => starting,
        Err(error) => return Err(fail(exit::OS_ERROR, &error)),
    };
    let daemon = loop {
        tokio::select! {
            () = signals.stop.recv() => {
                tracing::warn!("stopping before the start has ended");
                // What it has opened by now is closed in peace.
                let end = async {
                    if let Ok(Ok(daemon)) = starting.wait(END_OF_CHANGE).await {
                        stop(daemon).await;
                    }
                };
                signals.stop.hasten(end).await;
                return Err(ExitCode::SUCCESS);
            }
            started = starting.wait(SLOW_START) => match started {
                Ok(Ok(daemon)) => break daemon,
                Ok(Err(error)) => return Err(cannot_start(error, drop_in)),
                Err(ContainedError::TimedOut(..)) => {
                    tracing::warn!("reading and opening the first configuration takes long");
                    systemd::status("Reading and opening the first configuration takes long");
                }
                Err(error) => return Err(fail(exit::OS_ERROR, &error)),
            },
        }
    };
    for note in &notes {
        tracing::warn!("{note}");
    }
    Ok(Started { signals, counters, listeners, daemon, web })
}

/// Answers requests and signals until the daemon is to stop.
async fn serve(started: Started) -> ExitCode {
    let Started { mut signals, counters, listeners, daemon, web } = started;
    let own: Arc<dyn OwnFamilies> = daemon.own.clone();
    let mode = web.map_or(Mode::Native, |web| Mode::DropIn { telemetry_path: web.telemetry_path });
    let served: Arc<dyn Served> = daemon.clone();
    let http = Http::new(served, mode, env!("CARGO_PKG_VERSION"), Some(own), counters);
    listeners.open(Arc::clone(&http));
    announce(&daemon);
    systemd::ready();
    let says = Arc::downgrade(&daemon);
    systemd::status_is(move || says.upgrade().map_or_else(String::new, |daemon| daemon.summary()));
    tokio::spawn(first_collection(Arc::clone(&daemon), http));
    let engine = Arc::clone(&daemon.engine);
    let watchdog = tokio::spawn(systemd::feed_watchdog(move || engine.sign_of_life()));
    let hangups = tokio::spawn(answer_hangups(signals.hangup, Arc::clone(&daemon)));
    signals.stop.recv().await;
    watchdog.abort();
    hangups.abort();
    tracing::info!("stopping");
    signals.stop.hasten(stop(daemon)).await;
    ExitCode::SUCCESS
}

/// Makes the first collection, which opens what later ones keep open, and says that the daemon is ready.
async fn first_collection(daemon: Arc<Daemon>, http: Arc<Http>) {
    let begun = Instant::now();
    heap::give_back_after_start();
    tokio::time::sleep(SCRAPE_COMES_FIRST).await;
    let (ready, runtime) = (Arc::clone(&http), Handle::current());
    let engine = Arc::clone(&daemon.engine);
    let work = move || {
        let deadline = Instant::now() + daemon.applied().plan.scrape.timeout;
        // What a scrape has collected meanwhile is not collected again.
        daemon.engine.collect_blocking(Request {
            arrived: begun,
            deadline,
            selection: Selection::All,
        });
        http.set_ready();
        // Not before, or each of them would be told of by itself.
        tell_systemd(&daemon.engine);
        let statuses = daemon.engine.status();
        announce_absent(&statuses);
        privileges::log(&statuses, &daemon.applied().plan.roots);
        // Of a large host it takes long, and leaves much.
        if begun.elapsed() > heap::KEPT_AFTER_START {
            let _inside = runtime.enter();
            heap::give_back_after_start();
        }
    };
    let thread = std::thread::Builder::new().name("first run".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "the thread of the first collection cannot be started");
        ready.set_ready();
        tell_systemd(&engine);
    }
}

/// Has systemd's status follow what becomes of the collectors.
fn tell_systemd(engine: &Engine) {
    if systemd::listens() {
        engine.tell_changes(systemd::status_changed);
        systemd::status_changed();
    }
}

/// Ends everything in peace. A reload in progress comes first, so that it starts nothing again.
async fn stop(daemon: Arc<Daemon>) {
    systemd::stopping();
    let by = Instant::now() + GRACE_PERIOD;
    daemon.end_reloads(END_OF_CHANGE).await;
    let cut = daemon.listeners.stop(by).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not end");
    }
    let closing = Contained::new("closing outputs", "closing the outputs");
    let by = Instant::now() + daemon::GRACE_PERIOD;
    let closed = closing.run(2 * daemon::GRACE_PERIOD, move || daemon.outputs.stop(by)).await;
    if let Err(error) = closed {
        tracing::warn!("{error}");
    }
}

/// Raises the soft limit of descriptors to the hard one. The soft one is 1,024 nearly everywhere for the
/// sake of programs that use select(2), which has no room for more.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files cannot be raised to the hard limit");
    }
}

/// Reports why the daemon cannot start. A mistake in the drop-in ends with node_exporter's status; an address in use
/// does not, so that a unit can wait for the one and give up at the other.
fn cannot_start(error: StartError, drop_in: bool) -> ExitCode {
    match error {
        StartError::Configuration(mistakes) => {
            mistakes.iter().for_each(|mistake| log::plain(mistake));
            let status = if drop_in { 1 } else { exit::CONFIG };
            fail(status, &conclusion(&mistakes))
        }
        StartError::System(mistakes) if drop_in => {
            for mistake in &mistakes {
                log::plain(&format_args!("node_exporter: {}", dropin::in_flags(mistake)));
            }
            ExitCode::from(exit::OS_ERROR)
        }
        StartError::System(mistakes) => {
            mistakes.iter().for_each(|mistake| log::plain(&format_args!("vitald: {mistake}")));
            ExitCode::from(exit::OS_ERROR)
        }
    }
}

/// Reports why the daemon cannot start, on standard error, which may have no reader.
fn fail(status: u8, what: &dyn Display) -> ExitCode {
    log::plain(&format_args!("vitald: {what}"));
    ExitCode::from(status)
}

/// Logs what the daemon reads, where it listens, and whose processes, network and root it sees as far as it
/// can know.
fn announce(daemon: &Daemon) {
    let applied = daemon.applied();
    let plan = &applied.plan;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config_file = daemon.config_file().map(|file| field::display(file.display())),
        collectors = daemon.engine.names().join(","),
        processes = applied.view.processes.word(),
        network = applied.view.network.word(),
        root = applied.view.root.word(),
        "started"
    );
    blind::warn(applied.view);
    announce_lowered_limits(plan);
    for listen in &plan.server.listen {
        if let Address::Unix(_) | Address::Systemd = &listen.address {
            tracing::info!(address = %listen.address, "listening");
        }
    }
    for address in daemon.listeners.bound() {
        tracing::info!(%address, "listening");
    }
}

/// Says in one line which collectors that are on have nothing to read here, and what they looked for. On most
/// hosts they are many, so it is no warning; the log says later what becomes of one only where it fails.
fn announce_absent(statuses: &[CollectorStatus]) {
    let absent = statuses.iter().filter(|status| status.state == State::Absent);
    let reasons: Vec<String> =
        absent.map(|status| format!("{} ({})", status.descriptor.name, status.reason())).collect();
    if !reasons.is_empty() {
        tracing::info!(
            collectors = reasons.join(", "),
            "collectors without a source on this host, and what they looked for"
        );
    }
}

/// Says which limits are lower because the daemon may have little memory, or few open files.
fn announce_lowered_limits(plan: &Plan) {
    let lowered = http::lowered(&plan.server);
    let of = |scarce: Scarce| {
        let of_it = lowered.iter().filter(|lowered| lowered.scarce == scarce);
        Some(of_it.map(Lowered::to_string).collect::<Vec<_>>().join(", "))
            .filter(|limits| !limits.is_empty())
    };
    if let (Some(bytes), Some(limits)) = (memory_limit::limit(), of(Scarce::Memory)) {
        tracing::info!(
            memory_limit_bytes = bytes,
            limits,
            "a control group limits the daemon's memory, so these limits are lower"
        );
    }
    if let Some(limits) = of(Scarce::Files) {
        tracing::info!(
            open_files_limit = http::descriptor_limit(),
            limits,
            "the daemon may have few open files (LimitNOFILE= of the systemd unit, ulimit -n), so these limits are lower"
        );
    }
}

/// Reloads at each SIGHUP, one after another; of the drop-in only files that its flags name can have changed. A
/// signal that comes meanwhile is kept for another time: its sender gets no answer, and the file may have changed
/// since it was read.
async fn answer_hangups(mut hangups: Signal, daemon: Arc<Daemon>) {
    while hangups.recv().await.is_some() {
        let daemon = Arc::clone(&daemon);
        // On a task of its own: the end of this one must not leave a reload without its report.
        drop(tokio::spawn(async move { daemon.reload_in_turn().await }).await);
    }
}
