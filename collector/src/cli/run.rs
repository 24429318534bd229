//! Running the daemon, natively or as node_exporter's stand-in.

use super::{Registry, complain, config_file, exit, fail, load_from, print, refuse};
use crate::daemon::{Daemon, Source};
use crate::dropin::{self, Command, DropIn, Web};
use crate::engine::{Request, Selection};
use crate::http::{Http, HttpCounters, Listeners, Mode, Served};
use crate::plan::{Address, Log, LogFormat, LogLevel};
use crate::reload::{ReloadOutcome, ReloadWish};
use crate::{log, systemd};
use clap::ArgMatches;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use vitald_core::host::Host;
use vitald_core::sealer::OwnFamilies;
use vitald_core::settings::Mistake;

/// How long requests under way may take to end after the signal to stop.
const FAREWELL: Duration = Duration::from_secs(5);
/// When to try again to reload while somebody else's reload is in progress.
const BUSY: Duration = Duration::from_millis(50);

/// What a start is made from.
struct Start {
    /// Reads the configuration, now and at every reload.
    source: Arc<Source>,
    /// What only the drop-in has; its SIGHUP is no reload, and it ends as node_exporter does.
    web: Option<Web>,
    notes: Vec<String>,
}

/// Runs the daemon.
pub(super) fn run(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let file = config_file(own);
    let (collectors, outputs) = (registry.collectors.to_vec(), registry.outputs.to_vec());
    let source = move || load_from(file.as_deref(), &collectors, &outputs);
    start(Start { source: Arc::new(source), web: None, notes: Vec::new() })
}

/// Runs as node_exporter would with these flags.
pub(super) fn drop_in(program: &str, arguments: &[OsString], registry: Registry<'_>) -> ExitCode {
    match dropin::parse(program, arguments, registry.collectors) {
        Ok(Command::Help(text) | Command::Version(text)) => print(&text),
        Ok(Command::Run(drop_in)) => {
            let DropIn { plan, web, notes } = *drop_in;
            start(Start { source: Arc::new(move || Ok(plan.clone())), web: Some(web), notes })
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(start: Start) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let status = runtime.block_on(serve(start));
            // A blocking task that hangs must not keep the process.
            runtime.shutdown_background();
            status
        }
        Err(error) => fail(exit::OS_ERROR, &format!("cannot start: {error}")),
    }
}

/// The signals the daemon answers to. They are taken before anything slow happens: a SIGHUP during
/// the start must not end the process.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn serve(start: Start) -> ExitCode {
    let drop_in = start.web.is_some();
    let mut signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return fail(exit::OS_ERROR, &format!("cannot take signals: {error}")),
    };
    log::configure(&Log { level: LogLevel::Info, format: LogFormat::Logfmt });
    let plan = match (start.source)() {
        Ok(plan) => plan,
        Err(mistakes) => return refuse(&mistakes),
    };
    log::configure(&plan.log);
    for note in &start.notes {
        tracing::warn!("{note}");
    }
    let counters = Arc::new(HttpCounters::new());
    let listeners = Listeners::new(Arc::clone(&counters));
    let staged = match listeners.stage(&plan.server) {
        Ok(staged) => staged,
        Err(mistakes) => return cannot_start(&mistakes, drop_in),
    };
    let collections_only = start.web.as_ref().is_some_and(|web| web.disable_exporter_metrics);
    let started = Daemon::start(
        plan,
        Arc::clone(&listeners),
        Arc::clone(&start.source),
        Arc::clone(&counters),
        collections_only,
    );
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(mistakes) => return cannot_start(&mistakes, drop_in),
    };
    let own: Arc<dyn OwnFamilies> = daemon.own.clone();
    let mode =
        start.web.map_or(Mode::Native, |web| Mode::DropIn { telemetry_path: web.telemetry_path });
    let served: Arc<dyn Served> = daemon.clone();
    let http = Http::new(served, mode, env!("CARGO_PKG_VERSION"), Some(own), counters);
    if let Err(mistakes) = listeners.swap(staged) {
        return cannot_start(&mistakes, drop_in);
    }
    listeners.open(Arc::clone(&http));
    announce(&daemon);
    tokio::task::spawn_blocking({
        let (daemon, http) = (Arc::clone(&daemon), Arc::clone(&http));
        move || {
            // The first collection opens what later ones keep open.
            let arrived = Instant::now();
            let deadline = arrived + daemon.applied().plan.scrape.timeout;
            daemon.engine.collect_blocking(Request {
                arrived,
                deadline,
                selection: Selection::All,
            });
            // A start needs most of the program, and what follows little of it.
            vitald_core::host::release_code();
            http.set_ready();
        }
    });
    systemd::ready();
    let watchdog = tokio::spawn(systemd::feed_watchdog());
    let reloading = (!drop_in).then(|| Arc::clone(&daemon));
    let hangups = tokio::spawn(answer_hangups(signals.hangup, reloading));
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
    }
    systemd::stopping();
    watchdog.abort();
    hangups.abort();
    tracing::info!("stopping");
    let cut = listeners.stop(Instant::now() + FAREWELL).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not end");
    }
    daemon.outputs.stop();
    ExitCode::SUCCESS
}

/// Reports why the daemon cannot start; the drop-in ends with node_exporter's status.
fn cannot_start(mistakes: &[Mistake], drop_in: bool) -> ExitCode {
    mistakes.iter().for_each(|mistake| complain(&format_args!("vitald: {mistake}")));
    if drop_in { ExitCode::FAILURE } else { ExitCode::from(exit::OS_ERROR) }
}

/// Tells the log where the daemon listens and what it sees.
fn announce(daemon: &Daemon) {
    let applied = daemon.applied();
    let plan = &applied.plan;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        collectors = daemon.engine.names().join(","),
        sees = %Host::new(plan.roots.clone()).view(),
        "started"
    );
    for listen in &plan.server.listen {
        if let Address::Unix(path) = &listen.address {
            tracing::info!(address = %format_args!("unix:{}", path.display()), "listening");
        }
    }
    for address in daemon.listeners.bound() {
        tracing::info!(%address, "listening");
    }
}

/// Reloads at each SIGHUP, one after another. A signal that comes during a reload is kept for
/// another one: nobody is told that it was in vain, and the file may have changed since it was read.
async fn answer_hangups(mut hangups: Signal, daemon: Option<Arc<Daemon>>) {
    while hangups.recv().await.is_some() {
        match &daemon {
            Some(daemon) => drop(tokio::spawn(reload(Arc::clone(daemon))).await),
            None => tracing::info!("SIGHUP: there is no web configuration to read again"),
        }
    }
}

/// A reload whose outcome is in the log and told to systemd.
async fn reload(daemon: Arc<Daemon>) {
    while let ReloadOutcome::Busy = Arc::clone(&daemon).reload(ReloadWish::default()).await {
        tokio::time::sleep(BUSY).await;
    }
}
