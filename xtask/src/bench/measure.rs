//! What is measured, one after another.

use super::doubts::doubts;
use super::figures::{Beside, Figures, Form, OfSet, Regime, Size, Starts};
use super::growth::hosts;
use super::kernels::kernels;
use super::lineup::{Lineup, in_blocks};
use super::machine::{self, Usage};
use super::names::{COLLECTD, READER, THEIRS, VITALD};
use super::options::{Effort, Options, rate_in_words};
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

pub(crate) fn all(programs: &mut Programs, options: &Options, figures: &mut Figures) {
    figures.load = machine::load_average();
    let before = Usage::now();
    let lineups: Vec<(&Set, Lineup)> =
        options.sets.iter().map(|set| lineup(programs, set)).collect();
    figures.sets = lineups
        .iter()
        .map(|(set, lineup)| back_to_back_of(programs, options, set, lineup))
        .collect();
    for &rate in &options.rates {
        at_rate_of_all(programs, options, &lineups, rate, figures);
    }
    figures.starts = Some(starts(programs, options));
    figures.forms = forms(programs, options);
    figures.kernels = kernels(programs, options);
    figures.hosts = hosts(programs, options);
    figures.others = Usage::now().of_others_since(&before);
    figures.doubts.extend(doubts(figures));
}

fn lineup(programs: &Programs, set: &'static Set) -> (&'static Set, Lineup) {
    say(&format!("{}: what vitald reads", set.name));
    (set, Lineup::new(programs, set).with_reader(programs))
}

/// One set of collectors by itself, and what the programs are like.
fn back_to_back_of(
    programs: &Programs,
    options: &Options,
    set: &'static Set,
    lineup: &Lineup,
) -> OfSet {
    say(&format!("{}: back to back", set.name));
    let Effort { blocks, rounds, scrapes, .. } = options.effort;
    let mut running = Vec::new();
    let regimes = in_blocks("back to back", 1, blocks, |block| {
        running.clear();
        running = lineup.start(programs, block);
        vec![back_to_back(&mut running, block, rounds, scrapes, |_| ())]
    });
    let mut sizes: Vec<Size> = running.iter_mut().map(Running::size).collect();
    if programs.strace {
        for (size, running) in sizes.iter_mut().zip(&mut running) {
            size.calls = Some(running.calls());
        }
    }
    let work = lineup.work().map(|asked| {
        let mut of = |name: &str| {
            let running = running.iter_mut().find(|running| running.target.name == name);
            running.map(Running::work).unwrap_or_default()
        };
        Beside { asked, ours: of(VITALD), done: of(READER) }
    });
    OfSet { name: set.name, about: set.about, names: set.names(), sizes, regimes, work }
}

/// All sets side by side, since most of the time at a rate is waiting.
fn at_rate_of_all(
    programs: &Programs,
    options: &Options,
    lineups: &[(&Set, Lineup)],
    rate: f64,
    figures: &mut Figures,
) {
    let name = rate_in_words(rate);
    let (blocks, rounds) = (options.effort.blocks, options.effort.rounds_at(rate));
    say(&format!("{name}, {:.0} s", (blocks * (rounds + 1)) as f64 / rate));
    let mut of_collectd = None;
    let regimes = in_blocks(&name, lineups.len(), blocks, |block| {
        let mut running = Vec::new();
        let mut lengths = Vec::new();
        for (set, lineup) in lineups {
            let before = running.len();
            running.extend(lineup.start(programs, block));
            if set.is_beside_collectd() {
                running.extend(collectd(programs, rate, figures));
            }
            lengths.push(running.len() - before);
        }
        let mut rows = at_rate(&mut running, block, rounds, rate);
        let collectd = running.iter_mut().find(|running| running.target.name == COLLECTD);
        of_collectd = collectd.map(Running::size).or(of_collectd.take());
        lengths.iter().map(|length| rows.drain(..*length).collect()).collect()
    });
    for (of_set, regime) in figures.sets.iter_mut().zip(regimes) {
        of_set.regimes.push(regime);
    }
    if let Some(sizes) = lineups
        .iter()
        .position(|(set, _)| set.is_beside_collectd())
        .map(|place| &mut figures.sets[place].sizes)
    {
        sizes.retain(|size| size.name != COLLECTD);
        sizes.extend(of_collectd);
    }
}

/// collectd with the rate as its interval, where it is installed and starts.
fn collectd(programs: &Programs, rate: f64, figures: &mut Figures) -> Option<Running> {
    let started = programs.start_collectd(programs.collectd.as_ref()?, rate);
    let doubt = |error: &String| {
        let doubt = format!(
            "collectd is missing: {error}; its write_prometheus needs libmicrohttpd and libprotobuf-c, \
             which Debian does not install with it"
        );
        if !figures.doubts.contains(&doubt) {
            figures.doubts.push(doubt);
        }
    };
    started.inspect_err(doubt).ok()
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
    for start in 0..options.effort.starts {
        let first = start % rows.len();
        let mut in_turn: Vec<_> = rows.iter_mut().collect();
        in_turn.rotate_left(first);
        for (name, milliseconds) in in_turn {
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

/// Each form of a page, of the same processes in each block.
fn forms(programs: &Programs, options: &Options) -> Vec<Form> {
    say("gzip and OpenMetrics");
    let config = SIXTEEN.config(&programs.textfiles(), &[]);
    let config = config.replacen("[scrape]\n", "[scrape]\nopenmetrics = true\n", 1);
    let flags = SIXTEEN.flags(&programs.textfiles());
    let Effort { blocks, rounds, scrapes, .. } = options.effort;
    let mut forms =
        FORMS.map(|(name, ..)| Form { name, bytes: Vec::new(), regime: Regime::new(name) });
    for block in 0..blocks {
        let mut running = vec![programs.start_vitald(VITALD, &config)];
        running.extend(programs.start_node_exporter(&flags));
        for (form, (_, accepts, content_type)) in forms.iter_mut().zip(FORMS) {
            form.bytes.clear();
            for Running { target, .. } in &mut running {
                target.client.accepts = accepts;
                scrape(&mut target.client, 5);
                let length = target.client.try_get("/metrics").map_or(0, <[u8]>::len);
                let is_asked_for = target.client.content_type.starts_with(content_type);
                form.bytes.push((target.name, is_asked_for.then_some(length)));
            }
            form.regime.extend(back_to_back(&mut running, block, rounds, scrapes / 2, |_| ()));
        }
    }
    forms.into()
}
