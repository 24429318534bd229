//! `/plugins`: what is compiled in and how it is doing, from the descriptors and the engine.

use crate::blind::{self, BlindSpot};
use crate::engine::CollectorStatus;
use crate::http::counters::{HttpCounters, LastScrape};
use crate::http::net::{Lowered, descriptor_limit, lowered};
use crate::http::query;
use crate::http::reply::{Problem, json};
use crate::http::request::Request;
use crate::http::site::Site;
use crate::memory_limit;
use crate::outputs::OutputStatus;
use crate::plan::{Address, CollectorPlan, Listen, OutputPlan, Plan, Serve};
use crate::privileges;
use crate::reload::ReloadStatus;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vitald_core::collector::Descriptor;
use vitald_core::family::Kind;
use vitald_core::run::Beside;
use vitald_core::settings::{Node, Origin, SettingInfo, Table, nearest};
use vitald_core::snapshot::State;
use warp::http::StatusCode;
use warp::reply::Response;

/// Everything that is compiled in.
pub(in crate::http) async fn list(site: &Site, request: &Request) -> Response {
    json(&Overview::of(site, site.admission.is_admin(request).await))
}

/// One collector or output, with what it promises.
pub(in crate::http) async fn show(site: &Site, request: &Request, name: &str) -> Response {
    let to_admin = site.admission.is_admin(request).await;
    let applied = site.served.applied();
    let plan = &applied.plan;
    if let Some(own) = plan.collectors.iter().find(|plan| plan.descriptor.name == name) {
        let statuses = site.served.engine().status();
        return json(&CollectorDetail::of(own, plan, &statuses, to_admin));
    }
    if let Some(own) = plan.outputs.iter().find(|plan| *plan.name == *name) {
        let statuses = site.served.outputs();
        return json(&OutputDetail::of(own, plan, &statuses, to_admin));
    }
    let collectors = plan.collectors.iter().map(|plan| plan.descriptor.name);
    let names: Vec<&str> = collectors.chain(plan.outputs.iter().map(|plan| &*plan.name)).collect();
    let mut detail = "no collector or output of this name is configured or compiled in".to_owned();
    if let Some(meant) = nearest(name, names.iter().copied()) {
        detail += &format!("; did you mean {meant}?");
    }
    Problem::new(StatusCode::NOT_FOUND, "no-such-plugin", "Not found")
        .detail(detail)
        .member("plugins", names)
        .reply()
}

/// What `/plugins` and the status page show.
#[derive(Serialize)]
pub(super) struct Overview {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) hostname: String,
    pub(super) uptime_seconds: f64,
    pub(super) ready: bool,
    /// Whether the one who asks may administer.
    pub(super) admin: bool,
    /// The file that a reload reads, for admins only; null if there is none.
    pub(super) config_file: Option<String>,
    pub(super) generation: u64,
    pub(super) hash: String,
    /// When the configuration was applied, in seconds since the epoch.
    pub(super) applied_timestamp_seconds: f64,
    /// The least limit of memory of the daemon's control groups; null if there is none.
    pub(super) memory_limit_bytes: Option<u64>,
    /// How many files the daemon may have open; null if that is not limited.
    pub(super) open_files_limit: Option<u64>,
    /// The limits that are lower because of one of these.
    pub(super) lowered_limits: Vec<Lowered>,
    /// What is shown of a container instead of the host.
    pub(super) blind: Vec<BlindSpot>,
    pub(super) collectors: Vec<Collector>,
    pub(super) outputs: Vec<Output>,
    pub(super) last_scrape: Option<Scraped>,
    pub(super) last_reload: Reloaded,
    /// Where the daemon listens and what for, as it is configured; for admins only.
    pub(super) listeners: Option<Vec<Listener>>,
}

/// The last request for metrics that got them.
#[derive(Serialize)]
pub(super) struct Scraped {
    /// How long ago it came.
    pub(super) age_seconds: f64,
    /// From its head to its answer.
    pub(super) took_seconds: f64,
    /// Who asked, for admins only: the address, or the user of a unix socket.
    pub(super) peer: Option<String>,
    /// What the client says it is, for admins only.
    pub(super) agent: Option<String>,
}

/// How the last reload went.
#[derive(Serialize)]
pub(super) struct Reloaded {
    /// How long ago it ended; null if there was none since the start.
    pub(super) age_seconds: Option<f64>,
    pub(super) succeeded: bool,
    /// Why it did not, for admins only.
    pub(super) trouble: Option<Arc<str>>,
}

/// A listener.
#[derive(Serialize)]
pub(super) struct Listener {
    /// As it is configured.
    pub(super) address: String,
    /// Where it is bound in truth, if the address does not say: of port 0, and of what systemd hands over.
    pub(super) bound: Vec<String>,
    /// The mode of its file, if it is a unix socket of the daemon's own: who may write it may connect.
    pub(super) mode: Option<String>,
    /// Who may administer: `off`, `local`, or those who show the token of a file.
    pub(super) admin: String,
    /// Whether reading takes a token.
    pub(super) token: bool,
    pub(super) web_config: Option<String>,
    pub(super) tls: bool,
    pub(super) passwords: bool,
    pub(super) client_certificates: bool,
}

/// One collector.
#[derive(Serialize)]
pub(super) struct Collector {
    #[serde(skip)]
    pub(super) descriptor: &'static Descriptor,
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) enabled: bool,
    /// Whether the configuration itself switches it on, and not a default.
    pub(super) asked_for: bool,
    pub(super) state: &'static str,
    pub(super) samples: usize,
    /// What the last finished run took.
    pub(super) duration_seconds: Option<f64>,
    /// How long ago it began.
    pub(super) age_seconds: Option<f64>,
    /// How long the present run has been out.
    pub(super) out_seconds: Option<f64>,
    pub(super) interval_seconds: Option<f64>,
    pub(super) may_block: bool,
    pub(super) max_series: u32,
    pub(super) degraded: Option<&'static str>,
    /// The whole complaint for admins; for others the state.
    pub(super) error: Option<Arc<str>>,
    /// What the last run could not read, for admins; for others that there is something.
    pub(super) fault: Option<Arc<str>>,
    /// The same part by part, of many the first ones; for admins only.
    pub(super) unread: Vec<Unread>,
    /// How many there are beside these.
    pub(super) unread_more: u32,
    pub(super) counts: Option<Counts>,
}

/// A part of a source that could not be read.
#[derive(Serialize)]
pub(super) struct Unread {
    /// The file or directory; empty if it is the source as such.
    pub(super) source: String,
    pub(super) error: String,
}

/// What is counted of a collector since the daemon started.
#[derive(Serialize)]
pub(super) struct Counts {
    runs: u64,
    failures: u64,
    panics: u64,
    timeouts: u64,
    faults: u64,
    malformed_lines: u64,
    dropped_samples: Dropped,
}

#[derive(Serialize)]
struct Dropped {
    duplicate: u64,
    type_conflict: u64,
    max_series: u64,
}

/// One output.
#[derive(Serialize)]
pub(super) struct Output {
    pub(super) name: Arc<str>,
    #[serde(rename = "type")]
    of_type: &'static str,
    pub(super) summary: &'static str,
    pub(super) enabled: bool,
    pub(super) interval_seconds: f64,
    pub(super) collectors: Vec<&'static str>,
    pub(super) sent: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) missed: Option<u64>,
    pub(super) ended: bool,
    pub(super) stuck: bool,
    pub(super) error: Option<String>,
}

impl Overview {
    pub(super) fn of(site: &Site, to_admin: bool) -> Self {
        let applied = site.served.applied();
        let plan = &applied.plan;
        let statuses = site.served.engine().status();
        let outputs = site.served.outputs();
        Overview {
            name: "vitald",
            version: site.version,
            hostname: site.hostname.clone(),
            uptime_seconds: site.uptime().as_secs_f64(),
            ready: site.is_ready(),
            admin: to_admin,
            config_file: site.config_file().filter(|_| to_admin),
            generation: applied.generation,
            hash: plan.hash.clone(),
            applied_timestamp_seconds: applied
                .since
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs_f64(),
            memory_limit_bytes: memory_limit::limit(),
            open_files_limit: Some(descriptor_limit()).filter(|limit| *limit != u64::MAX),
            lowered_limits: lowered(&plan.server),
            blind: blind::spots(applied.view),
            collectors: plan
                .collectors
                .iter()
                .map(|own| Collector::of(own, plan, &statuses, to_admin))
                .collect(),
            outputs: plan.outputs.iter().map(|plan| Output::of(plan, &outputs, to_admin)).collect(),
            last_scrape: site.counters.last_scrape().map(|last| Scraped::of(last, to_admin)),
            last_reload: Reloaded::of(site.served.reload_status(), to_admin),
            listeners: to_admin.then(|| {
                plan.server
                    .listen
                    .iter()
                    .map(|listen| Listener::of(listen, &site.counters))
                    .collect()
            }),
        }
    }
}

impl Scraped {
    fn of(last: LastScrape, to_admin: bool) -> Self {
        Scraped {
            age_seconds: last.arrived.elapsed().as_secs_f64(),
            took_seconds: last.took.as_secs_f64(),
            peer: to_admin.then(|| last.peer.to_string()),
            agent: to_admin.then_some(last.agent),
        }
    }
}

impl Reloaded {
    fn of(status: ReloadStatus, to_admin: bool) -> Self {
        let age = |at: SystemTime| at.elapsed().unwrap_or_default().as_secs_f64();
        Reloaded {
            age_seconds: status.last_attempt.map(age),
            succeeded: status.last_succeeded(),
            trouble: status.last_trouble.filter(|_| to_admin).map(|trouble| trouble.details),
        }
    }
}

impl Listener {
    fn of(listen: &Listen, counters: &HttpCounters) -> Self {
        let Serve { admin, token_file, access, web_config, .. } = &listen.serve;
        let says_where = match &listen.address {
            Address::Tcp { socket, .. } => socket.port() != 0,
            Address::Unix(_) => true,
            Address::Systemd => false,
        };
        let mode = matches!(listen.address, Address::Unix(_)).then_some(access.mode);
        let configs = counters.web_configs();
        let own = configs.iter().find(|config| Some(config.path()) == web_config.as_deref());
        let protection = own.map(|config| config.protection()).unwrap_or_default();
        Listener {
            address: listen.address.to_string(),
            bound: if says_where { Vec::new() } else { counters.bound(&listen.address) },
            mode: mode.map(|mode| format!("{mode:04o}")),
            tls: protection.encrypts,
            passwords: protection.wants_passwords,
            client_certificates: protection.verifies_clients,
            admin: admin.to_string(),
            token: token_file.is_some(),
            web_config: web_config.as_ref().map(|file| file.display().to_string()),
        }
    }
}

/// Whether the configuration itself switches a collector on.
fn is_asked_for(name: &str, plan: &Plan) -> bool {
    let all = plan.written.entries.get("collectors").map(|collectors| &collectors.node);
    let Some(Node::Table(all)) = all else { return false };
    let Some(Node::Table(own)) = all.entries.get(name).map(|own| &own.node) else { return false };
    own.entries.get("enabled").is_some_and(|value| {
        matches!(value.node, Node::Boolean(true)) && value.origin != Origin::Default
    })
}

impl Collector {
    fn of(own: &CollectorPlan, plan: &Plan, statuses: &[CollectorStatus], to_admin: bool) -> Self {
        let descriptor = own.descriptor;
        let status = statuses.iter().find(|status| status.descriptor.name == descriptor.name);
        let state = status.map_or(State::Off, |status| status.state);
        let ran = status.filter(|status| status.counts.runs > 0);
        Collector {
            descriptor,
            name: descriptor.name,
            summary: descriptor.summary,
            enabled: status.is_some(),
            asked_for: is_asked_for(descriptor.name, plan),
            state: state.word(),
            samples: status.map_or(0, |status| status.samples),
            duration_seconds: ran.map(|status| status.duration.as_secs_f64()),
            age_seconds: status.and_then(|status| status.age).map(|age| age.as_secs_f64()),
            out_seconds: status.and_then(|status| status.out).map(|out| out.as_secs_f64()),
            interval_seconds: own.interval.map(|interval| interval.as_secs_f64()),
            may_block: own.prepared.may_block(),
            max_series: own.max_series,
            degraded: status.and_then(|status| status.degraded),
            error: status.and_then(|status| status.error.clone()).map(|error| {
                // The complaint names files of this host.
                if to_admin { error } else { state.word().into() }
            }),
            fault: status.and_then(|status| status.fault.clone()).map(|fault| {
                if to_admin { fault } else { "a part of its source cannot be read".into() }
            }),
            unread: status
                .filter(|_| to_admin)
                .map(|status| status.unread.iter().map(Unread::of).collect())
                .unwrap_or_default(),
            unread_more: status.filter(|_| to_admin).map_or(0, |status| status.unread_more),
            counts: status.map(|status| Counts {
                runs: status.counts.runs,
                failures: status.counts.failures,
                panics: status.counts.panics,
                timeouts: status.counts.timeouts,
                faults: status.counts.faults,
                malformed_lines: status.counts.malformed_lines,
                dropped_samples: Dropped {
                    duplicate: status.counts.duplicates,
                    type_conflict: status.counts.conflicts,
                    max_series: status.counts.over_limit,
                },
            }),
        }
    }
}

impl Unread {
    fn of(beside: &Beside) -> Self {
        Unread { source: beside.source.clone(), error: beside.error.clone() }
    }
}

impl Output {
    fn of(plan: &OutputPlan, statuses: &[OutputStatus], to_admin: bool) -> Self {
        let status = statuses.iter().find(|status| status.name == plan.name);
        Output {
            name: Arc::clone(&plan.name),
            of_type: plan.descriptor.name,
            summary: plan.descriptor.summary,
            enabled: plan.enabled,
            interval_seconds: plan.interval.as_secs_f64(),
            collectors: plan.collectors.clone(),
            sent: status.map(|status| status.sent),
            failed: status.map(|status| status.failed),
            missed: status.map(|status| status.missed),
            ended: status.is_some_and(|status| status.ended),
            stuck: status.is_some_and(|status| status.stuck),
            error: status
                .and_then(|status| status.error.clone())
                .map(|error| if to_admin { error } else { "failing".to_owned() }),
        }
    }
}

/// A collector with everything its descriptor says.
#[derive(Serialize)]
struct CollectorDetail {
    #[serde(flatten)]
    collector: Collector,
    enabled_by_default: bool,
    sources: &'static [&'static str],
    capabilities: &'static [&'static str],
    /// Those of them that the daemon has not.
    missing_capabilities: Vec<&'static str>,
    families: Vec<Value>,
    settings: Vec<Setting>,
    metrics: String,
}

impl CollectorDetail {
    fn of(own: &CollectorPlan, plan: &Plan, statuses: &[CollectorStatus], to_admin: bool) -> Self {
        let descriptor = own.descriptor;
        CollectorDetail {
            collector: Collector::of(own, plan, statuses, to_admin),
            enabled_by_default: descriptor.enabled,
            sources: descriptor.sources,
            capabilities: descriptor.capabilities,
            missing_capabilities: privileges::missing(descriptor),
            families: families(descriptor),
            settings: settings(descriptor.settings, plan, "collectors", descriptor.name, to_admin),
            metrics: format!("/metrics?collect[]={}", query::encode(descriptor.name)),
        }
    }
}

/// An output with everything its descriptor says.
#[derive(Serialize)]
struct OutputDetail {
    #[serde(flatten)]
    output: Output,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    settings: Vec<Setting>,
}

impl OutputDetail {
    fn of(own: &OutputPlan, plan: &Plan, statuses: &[OutputStatus], to_admin: bool) -> Self {
        let descriptor = own.descriptor;
        OutputDetail {
            output: Output::of(own, statuses, to_admin),
            resource: own.prepared.resource().filter(|_| to_admin),
            settings: settings(descriptor.settings, plan, "outputs", &own.name, to_admin),
        }
    }
}

fn families(descriptor: &Descriptor) -> Vec<Value> {
    let declared = descriptor.families.iter().map(|family| {
        let counts = matches!(family.kind, Kind::Counter | Kind::Histogram | Kind::Summary);
        json!({
            "name": family.name,
            "type": family.kind.word(),
            "unit": Some(family.unit.word()).filter(|unit| !unit.is_empty()),
            "since": counts.then(|| family.since.unwrap_or(descriptor.since).word()),
            "help": family.help,
            "labels": family.labels,
        })
    });
    let patterns = descriptor.patterns.iter().map(|pattern| {
        let kinds: Vec<&str> = pattern.kinds.iter().map(|kind| kind.word()).collect();
        json!({ "name": pattern.name, "type": kinds.join(" or "), "help": pattern.help })
    });
    declared.chain(patterns).collect()
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    doc: &'static str,
    default: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<Value>,
    /// What is configured and where, for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

fn settings(
    declared: &[SettingInfo],
    plan: &Plan,
    group: &str,
    name: &str,
    to_admin: bool,
) -> Vec<Setting> {
    let inner = |table: &Table, key: &str| match &table.entries.get(key)?.node {
        Node::Table(table) => Some(table.clone()),
        _ => None,
    };
    let table = inner(&plan.written, group).and_then(|group| inner(&group, name));
    declared
        .iter()
        .map(|info| {
            let set = table.as_ref().and_then(|table| table.entries.get(info.key));
            let set = set.filter(|value| to_admin && value.origin != Origin::Default);
            Setting {
                key: info.key,
                kind: info.kind,
                doc: info.doc,
                default: value(&(info.default)()),
                least: info.bounds.map(|(least, _)| value(&least())),
                most: info.bounds.map(|(_, most)| value(&most())),
                value: set.map(|set| value(&info.shown(&set.node))),
                origin: set.map(|set| set.origin.to_string()),
            }
        })
        .collect()
}

fn value(node: &Node) -> Value {
    match node {
        Node::Unset => Value::Null,
        Node::Text(text) => text.as_str().into(),
        Node::Integer(number) => (*number).into(),
        Node::Float(number) => (*number).into(),
        Node::Boolean(truth) => (*truth).into(),
        Node::List(items) => items.iter().map(|item| value(&item.node)).collect(),
        Node::Table(table) => {
            table.entries.iter().map(|(key, item)| (key.clone(), value(&item.node))).collect()
        }
    }
}
