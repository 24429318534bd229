//! What is measured, one after another.

use super::collectors::collectors;
use super::doubts::{doubt_control, doubt_rest, doubt_samples};
use super::figures::{Figures, Form, OfSet, Regime, Size, Starts};
use super::growth::hosts;
use super::machine;
use super::names::{CONTROL, THEIRS, VITALD};
use super::options::{Effort, Options};
use super::programs::{Programs, Running};
use super::progress::say;
use super::rounds::{at_rate, back_to_back};
use super::sets::{SIXTEEN, Set};
use crate::system::client::PLAIN_TEXT;
use crate::system::cost::scrape;
use std::time::Instant;

/// The forms of a page: a name, what a client sends, and the content type to expect.
const FORMS: [(&str, &str, &str); 4] = [
    ("text", PLAIN_TEXT, "text/plain"),
    ("text, gzip", "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n", "text/plain"),
    (
        "OpenMetrics",
        "Accept: application/openmetrics-text;version=1.0.0\r\n",
        "application/openmetrics-text",
    ),
    (
        "OpenMetrics, gzip",
        "Accept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n",
        "application/openmetrics-text",
    ),
];

pub(crate) fn all(programs: &Programs, options: &Options, figures: &mut Figures) {
    doubt_rest("CPU time of others before the run", machine::used(), figures);
    for set in &options.sets {
        let of_set = of_set(programs, options, set, figures);
        figures.sets.push(of_set);
    }
    figures.starts = Some(starts(programs, options));
    figures.forms = forms(programs, options);
    figures.collectors = collectors(programs, options);
    figures.hosts = hosts(programs, options, figures);
    doubt_rest("CPU time of others after the run", machine::used(), figures);
}

/// One set of collectors, at every rate.
fn of_set(programs: &Programs, options: &Options, set: &Set, figures: &mut Figures) -> OfSet {
    say(&format!("{}: starting the programs", set.name));
    let config = set.config(&programs.textfiles(), &[]);
    let (reader, work) = programs.start_reader(&config);
    let mut running = vec![
        programs.start_vitald(VITALD, &config),
        programs.start_vitald(CONTROL, &config),
        reader,
    ];
    running.extend(programs.start_node_exporter(&set.flags(&programs.textfiles())));
    running.iter_mut().for_each(Running::warm);

    say(&format!("{}: back to back", set.name));
    let Effort { rounds, scrapes, .. } = options.effort;
    let mut regimes =
        vec![controlled(|| back_to_back("back to back", &mut running, 0..rounds, scrapes))];
    let mut of_collectd = None;
    for &rate in &options.rates {
        let rounds = options.effort.rounds_at(rate);
        let seconds = (rounds + 1) as f64 / rate;
        say(&format!("{}: {rate} Hz, {seconds:.0} s", set.name));
        let always = running.len();
        if let Some(program) = programs.collectd.as_ref().filter(|_| set.is_beside_collectd()) {
            match programs.start_collectd(program, rate) {
                Ok(collectd) => running.push(collectd),
                Err(error) => figures.doubts.push(format!(
                    "collectd is missing: {error}; its write_prometheus needs libmicrohttpd and libprotobuf-c, \
                     which Debian does not install with it"
                )),
            }
        }
        regimes.push(controlled(|| at_rate(&mut running, rate, rounds)));
        let collectd = running.drain(always..).next();
        of_collectd = collectd.map(|mut collectd| collectd.size()).or(of_collectd);
    }
    for regime in &regimes {
        doubt_control(set.name, regime, figures);
    }
    let mut sizes: Vec<Size> = running.iter_mut().map(Running::size).collect();
    doubt_samples(set.name, &sizes, figures);
    if programs.strace {
        for (size, running) in sizes.iter_mut().zip(&mut running) {
            size.calls = Some(running.calls());
        }
    }
    sizes.extend(of_collectd);
    OfSet { name: set.name, about: set.about, names: set.names(), sizes, regimes, work }
}

/// Measures once more where vitald beside itself does not cost the same.
fn controlled(mut measure: impl FnMut() -> Regime) -> Regime {
    let first = measure();
    match first.control().filter(|control| !control.holds(1.0)) {
        Some(control) => {
            say(&format!("vitald beside itself is {control}: again"));
            Regime { control_before: Some(control), ..measure() }
        }
        None => first,
    }
}

/// From the start of a process to the end of its first page, in turn.
fn starts(programs: &Programs, options: &Options) -> Starts {
    say("starts");
    let config = SIXTEEN.config(&programs.textfiles(), &[]);
    let flags = SIXTEEN.flags(&programs.textfiles());
    let mut rows = vec![(VITALD, Vec::new())];
    if programs.node_exporter.is_some() {
        rows.push((THEIRS, Vec::new()));
    }
    // Not within what is measured: some file systems write a file to the disk when it is replaced.
    programs.write_config(&config);
    for _ in 0..options.effort.starts {
        for (name, milliseconds) in &mut rows {
            let begun = Instant::now();
            let started = if *name == VITALD {
                Some(programs.start_vitald_again(VITALD))
            } else {
                programs.start_node_exporter(&flags)
            };
            milliseconds.extend(started.map(|mut running| running.first_page(begun)));
        }
    }
    Starts { rows }
}

/// Each form of a page.
fn forms(programs: &Programs, options: &Options) -> Vec<Form> {
    say("gzip and OpenMetrics");
    let config = SIXTEEN.config(&programs.textfiles(), &[]);
    let config = config.replacen("[scrape]\n", "[scrape]\nopenmetrics = true\n", 1);
    let mut running = vec![programs.start_vitald(VITALD, &config)];
    running.extend(programs.start_node_exporter(&SIXTEEN.flags(&programs.textfiles())));
    let form = |(name, accepts, content_type): (&'static str, &'static str, &str)| {
        let mut bytes = Vec::new();
        for Running { target, .. } in &mut running {
            target.client.accepts = accepts;
            scrape(&mut target.client, 5);
            let length = target.client.try_get("/metrics").map_or(0, <[u8]>::len);
            let is_asked_for = target.client.content_type.starts_with(content_type);
            bytes.push((target.name, is_asked_for.then_some(length)));
        }
        let (rounds, scrapes) = (0..options.effort.rounds / 2, options.effort.scrapes);
        Form { name, bytes, regime: back_to_back(name, &mut running, rounds, scrapes) }
    };
    FORMS.map(form).into()
}
