//! The dashboard and the rules that come with vitald, in a real Prometheus that scrapes vitald in both formats, and
//! node_exporter beside it.

mod harness;
mod prometheus;
mod promql;
mod system;

use harness::{Daemon, until};
use prometheus::{Prometheus, Vector};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use system::client::Client;
use system::namespaces::Namespaces;
use system::peer::{DEFAULT_FIELDS, NODE_EXPORTER, Peer, filters};
use vitald_core::collector::Descriptor;

const NEEDS: &str = "root, util-linux, iproute2, prometheus-node-exporter and prometheus";

/// The jobs: vitald's drop-in and node_exporter with the same flags, and vitald in OpenMetrics with all that it has.
const JOBS: [&str; 3] = ["text", "theirs", "openmetrics"];

/// The most rounds until every query has agreed once. Some values change from one moment to the next, and the programs
/// are not scraped at the same time.
const MOST_ROUNDS: usize = 60;

/// Names of which node_exporter 1.5 has other labels, or another meaning.
const CHANGED: &[(&str, &str)] = &[
    ("node_network_info", "1.12 has adminstate, too"),
    ("node_disk_info", "1.12 has rotational, too"),
];

fn deployed(file: &str) -> PathBuf {
    harness::root().join("deploy").join(file)
}

fn collectors() -> Vec<&'static Descriptor> {
    vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete")
}

/// A question of the dashboard.
struct Question {
    /// Whose row it is in.
    collector: String,
    expression: String,
    unit: String,
}

impl Question {
    /// As Grafana asks it of a host, over a time that is enough for several scrapes.
    fn of(&self, job: &str, instance: &str) -> String {
        let asked = self.expression.replace("$job", job).replace("$instance", instance);
        asked.replace("[$__rate_interval:15s]", "[10s:1s]").replace("$__rate_interval", "10s")
    }
}

fn questions() -> Vec<Question> {
    let text = fs::read_to_string(deployed("grafana/hosts.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let none = Vec::new();
    let list = |value: &Value, key: &str| value[key].as_array().unwrap_or(&none).clone();
    let (mut questions, mut collector) = (Vec::new(), String::new());
    for panel in list(&dashboard, "panels") {
        if panel["type"] == "row" {
            let title = panel["title"].as_str().expect("a title");
            collector = title.split(':').next().expect("a name").to_owned();
        }
        for panel in list(&panel, "panels").into_iter().chain([panel]) {
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
            questions.extend(list(&panel, "targets").iter().map(|target| Question {
                collector: collector.clone(),
                expression: target["expr"].as_str().expect("an expression").to_owned(),
                unit: unit.to_owned(),
            }));
        }
    }
    questions
}

/// The flags of node_exporter's default collectors that are vitald's, too.
fn flags(textfile: &Path) -> Vec<String> {
    let (status, help, complaint) = harness::output(Command::new(NODE_EXPORTER).arg("--help"));
    assert_eq!(status, 0, "{complaint}");
    let words: BTreeSet<&str> = help.split_whitespace().collect();
    let flags = collectors().into_iter().filter(|collector| collector.enabled);
    let flags = flags.map(|collector| format!("--collector.{}", collector.name));
    let flags = flags.filter(|flag| words.contains(&**flag));
    let alone = ["--collector.disable-defaults".to_owned()];
    flags.chain(alone).chain(filters(textfile, &DEFAULT_FIELDS)).collect()
}

fn promtool(arguments: &[&str], file: &str) {
    let mut command = Command::new("promtool");
    let file = deployed(file);
    command.current_dir(file.parent().expect("a directory")).args(arguments).arg(&file);
    let (status, said, complaint) = harness::output(&mut command);
    assert_eq!(status, 0, "{command:?}: {said}{complaint}");
}

#[test]
#[ignore = "needs root, util-linux, iproute2, prometheus-node-exporter and prometheus: cargo test --features full --test system_prometheus -- --ignored"]
fn the_dashboard_and_the_rules_hold_in_prometheus() {
    harness::needs(NEEDS);
    promtool(&["check", "rules"], "prometheus/vitald.rules.yml");
    promtool(&["test", "rules"], "prometheus/vitald.rules.test.yml");

    let directory = tempfile::tempdir().expect("a directory");
    let textfile = tempfile::tempdir().expect("a directory");
    let jobs = "# TYPE jobs_done_total counter\njobs_done_total 12\n";
    fs::write(textfile.path().join("jobs.prom"), jobs).expect("a file");
    let namespaces = Namespaces::of_four_interfaces();
    namespaces.run(|| {
        let flags = flags(textfile.path());
        let start = |mut command: Command| {
            command.args(&flags);
            Peer::start(command)
        };
        let theirs = start(namespaces.command(NODE_EXPORTER));
        let mut drop_in = namespaces.command(harness::binary());
        drop_in.arg("node_exporter");
        let text = start(drop_in);
        let all = everything(&namespaces, textfile.path());
        let addresses = [text.address(), theirs.address(), all.address()].map(|a| a.to_string());
        let rules = deployed("prometheus/vitald.rules.yml");
        let mut config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\nscrape_configs:\n",
            rules.display()
        );
        for (job, address) in JOBS.iter().zip(&addresses) {
            config +=
                &format!("- {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}\n");
        }
        let prometheus = Prometheus::start(&namespaces, &config, directory.path());
        for job in JOBS {
            until("there are rates", || {
                prometheus.one(&format!("count_over_time(up{{job=\"{job}\"}}[1m])")) >= Some(5.0)
            });
        }

        formats_are_those_wanted(&prometheus);
        let of =
            |job: &str| &*addresses[JOBS.iter().position(|known| *known == job).expect("a job")];
        let questions = questions();
        everything_is_shown(&prometheus, &questions, of("openmetrics"), &all);
        everything_agrees(&prometheus, &questions, of("text"), of("theirs"));
        rules_hold(&prometheus);
        for job in JOBS {
            let up = prometheus.one(&format!("min_over_time(up{{job=\"{job}\"}}[5m])"));
            assert_eq!(up, Some(1.0), "{job}");
        }
    });
}

/// vitald with every collector, as OpenMetrics.
fn everything(namespaces: &Namespaces, textfile: &Path) -> Daemon {
    let mut config = "[scrape]\nopenmetrics = true\n".to_owned();
    for name in vitald_plugins::ALL {
        config += &format!("[collectors.{name}]\nenabled = true\n");
        if *name == "textfile" {
            config += &format!("directory = [\"{}\"]\n", textfile.display());
        }
    }
    Daemon::start_by(&config, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

/// What is said of a counter is said of its name without the ending in OpenMetrics alone.
fn formats_are_those_wanted(prometheus: &Prometheus) {
    let described = |name: &str| -> BTreeSet<String> {
        let data = prometheus.ask(&format!("/api/v1/targets/metadata?metric={name}"));
        let said = data.as_array().expect("a list").iter();
        said.map(|one| one["target"]["job"].as_str().expect("a job").to_owned()).collect()
    };
    let jobs = |jobs: &[&str]| jobs.iter().map(|job| (*job).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(described("node_cpu_seconds"), jobs(&["openmetrics"]));
    assert_eq!(described("node_cpu_seconds_total"), jobs(&["text", "theirs"]));
}

/// Metrics of a job that have a value now.
fn names_of(prometheus: &Prometheus, job: &str) -> BTreeSet<String> {
    let counted = prometheus.query(&format!("count by (__name__) ({{job=\"{job}\"}})"));
    counted.into_keys().filter_map(|mut labels| labels.remove("__name__")).collect()
}

/// Asserts that every question gives something where what it asks for is there, and that there is something of each
/// collector that has any samples.
fn everything_is_shown(
    prometheus: &Prometheus,
    questions: &[Question],
    instance: &str,
    daemon: &Daemon,
) {
    let mut answered = BTreeSet::new();
    let mut given = 0;
    for question in questions {
        let asked = question.of("openmetrics", instance);
        let names = promql::names(&question.expression);
        // What it asks for may have come just now, or go: there is no rate of it yet, or no more.
        let mut is_given = false;
        until(&format!("something is given for {asked}"), || {
            is_given = !prometheus.query(&asked).is_empty();
            is_given || names.is_empty() || !names.is_subset(&names_of(prometheus, "openmetrics"))
        });
        if is_given {
            given += 1;
            answered.insert(&*question.collector);
        }
    }
    println!("figure: of {} queries of the dashboard {given} give something here", questions.len());
    let plugins = Client::connect(daemon.address()).get("/plugins");
    let plugins: Value = serde_json::from_str(&plugins).expect("JSON");
    let mut running = 0;
    for plugin in plugins["collectors"].as_array().expect("collectors") {
        if matches!(plugin["state"].as_str(), Some("running" | "degraded"))
            && plugin["samples"].as_u64() > Some(0)
        {
            running += 1;
            let name = plugin["name"].as_str().expect("a name");
            assert!(answered.contains(name), "nothing is shown of {name}");
        }
    }
    println!("figure: {running} collectors have samples here, and each is on the dashboard");
    assert!(running > 25, "{running}");
}

/// Asserts that node_exporter answers what vitald answers, label by label and value by value.
fn everything_agrees(prometheus: &Prometheus, questions: &[Question], ours: &str, theirs: &str) {
    let (here, there) = (names_of(prometheus, "text"), names_of(prometheus, "theirs"));
    let is_in_both = |question: &&Question| {
        let names = promql::names(&question.expression);
        let is_changed = |name: &String| CHANGED.iter().any(|(changed, _)| changed == name);
        !matches!(&*question.collector, "vitald" | "process")
            && !names.is_empty()
            && names.is_subset(&here)
            && names.is_subset(&there)
            && !names.iter().any(is_changed)
    };
    let mut undecided: Vec<&Question> = questions.iter().filter(is_in_both).collect();
    let compared = undecided.len();
    let (mut rounds, mut last) = (0, "");
    while !undecided.is_empty() {
        let mut said = Vec::new();
        undecided.retain(|question| {
            let our = without_target(prometheus.query(&question.of("text", ours)));
            let their = without_target(prometheus.query(&question.of("theirs", theirs)));
            let agree = agree(&our, &their, &question.unit);
            if !agree {
                last = &question.expression;
                said.push(format!("{}\n  {our:?}\n  {their:?}", question.expression));
            }
            !agree
        });
        rounds += 1;
        assert!(rounds < MOST_ROUNDS, "no agreement after {rounds} rounds:\n{}", said.join("\n"));
        let scraped = || prometheus.one("timestamp(up{job=\"theirs\"})");
        let last = scraped();
        until("there is something new", || undecided.is_empty() || scraped() > last);
    }
    println!(
        "figure: {compared} queries give the same of node_exporter, after {rounds} rounds; last {last}"
    );
    assert!(compared > 60, "{compared}");
}

/// What differs because the targets do.
fn without_target(vector: Vector) -> Vector {
    let bare = |mut labels: BTreeMap<String, String>| {
        labels.retain(|name, _| !matches!(&**name, "job" | "instance"));
        labels
    };
    vector.into_iter().map(|(labels, value)| (bare(labels), value)).collect()
}

/// Whether the same series have values that may be of two moments a second apart.
fn agree(one: &Vector, other: &Vector, unit: &str) -> bool {
    let slack = match unit {
        "percentunit" => 0.02,
        // Both programs have files open, and tasks that run.
        "short" | "cps" => 2.0,
        _ => 0.0,
    };
    one.keys().eq(other.keys())
        && one.values().zip(other.values()).all(|(one, other)| {
            let larger = one.abs().max(other.abs());
            (one.is_nan() && other.is_nan()) || (one - other).abs() <= slack + larger * 0.1
        })
}

/// Asserts that every rule can be evaluated, that what is recorded is there, and that vitald, which is well, is not said
/// to be otherwise.
fn rules_hold(prometheus: &Prometheus) {
    let rules = prometheus.rules();
    assert!(rules.len() > 40);
    for rule in &rules {
        let name = rule["name"].as_str().expect("a name");
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" && !name.contains("disk") {
            for job in ["text", "theirs"] {
                let count = prometheus.one(&format!("count({name}{{job=\"{job}\"}})"));
                assert!(count.is_some(), "{name} gives nothing of {job}");
            }
        }
        if name.starts_with("Vitald") {
            let alerts = rule["alerts"].as_array().expect("alerts");
            let told = alerts.iter().filter(|alert| alert["labels"]["job"] == "text");
            let told: Vec<&Value> = told.collect();
            assert!(told.is_empty(), "{told:?}");
        }
    }
}
